//! Several clients at once, each driven by a seeded generator, send requests of every kind to one unit, while tasks are paused, ended and
//! set up and connections end: each request gets exactly one last reply and nothing after it, and everything is free again at the end.
//!
//! The seeds decide what is sent; the system decides how the threads interleave. `SOFTPREFIX_TEST_LONG` tries many more seeds.

use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use softprefix_core::prefix::split_mix;
use softprefix_unit::budget::Purpose;
use softprefix_unit::unit::{Unit, UnitOptions};

use crate::common::*;

const CLIENTS: u64 = 4;
/// Actions of a client.
const ACTIONS: usize = 60;
/// Most requests of a client without their last reply.
const OUTSTANDING: u64 = 8;
/// Limits of the unit, so small that they are reached.
const RUNNING: usize = 3;
const WAITING: usize = 12;
const TASKS: usize = 2;
/// How long a unit answers a client that has ended its sending side.
const GRACE: Duration = Duration::from_secs(1);
/// Longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request without its last reply.
struct Outstanding {
    task: String,
    action: String,
    /// The index of the next frame of an inference.
    next_index: u64,
    /// The number of requests sent before.
    sent_before: usize,
}

impl Outstanding {
    /// Whether the task does not end before this request.
    fn holds_task(&self) -> bool {
        ["inference", "softprefix.score", "softprefix.learn"].contains(&self.action.as_str())
    }
}

/// A client with its generator.
struct Tester {
    seed: u64,
    number: u64,
    random: u64,
    client: Client,
    address: SocketAddr,
    unit: Arc<Unit>,
    sent: usize,
    outstanding: BTreeMap<String, Outstanding>,
    /// Number of requests without an error, by action.
    succeeded: BTreeMap<String, usize>,
}

impl Tester {
    fn new(server: &Server, seed: u64, number: u64) -> Self {
        Self {
            seed,
            number,
            random: seed * CLIENTS + number,
            client: server.client(),
            address: server.address,
            unit: Arc::clone(&server.unit),
            sent: 0,
            outstanding: BTreeMap::new(),
            succeeded: BTreeMap::new(),
        }
    }

    /// Returns a number from 0 to `end - 1`.
    fn below(&mut self, end: u64) -> u64 {
        split_mix(&mut self.random) % end
    }

    fn any_of<T: Clone>(&mut self, list: &[T]) -> Option<T> {
        let place = self.below(list.len().max(1) as u64) as usize;
        list.get(place).cloned()
    }

    /// Returns a task of any client, if there is one, otherwise an id without a task.
    fn any_task(&mut self) -> String {
        let tasks = self.unit.tasks();
        self.any_of(&tasks).unwrap_or_else(|| "llm.1".into())
    }

    /// Sends a request under a new id, which is returned.
    fn send(&mut self, mut message: Value) -> String {
        let id = format!("seed{}-client{}-{}", self.seed, self.number, self.sent);
        message["request_id"] = json!(id);
        let text = |key: &str| message[key].as_str().unwrap().to_owned();
        let outstanding = Outstanding {
            task: text("work_id"),
            action: text("action"),
            next_index: 0,
            sent_before: self.sent,
        };
        self.sent += 1;
        self.outstanding.insert(id.clone(), outstanding);
        self.client.send(&message);
        id
    }

    fn send_inference(&mut self) {
        let task = self.any_task();
        let text = ["hello", "and then", "the land in it"][self.below(3) as usize];
        let mut data = json!({});
        if self.below(2) == 0 {
            let number = self.below(300) as usize;
            data["soft_prefix"] = numbered_prefix(number);
        }
        if self.below(3) > 0 {
            let most = if self.below(8) == 0 { 400 } else { 1 + self.below(40) };
            data["softprefix"] = json!({"max_new_tokens": most, "usage": self.below(2) == 0});
            match self.below(3) {
                0 => data["softprefix"]["stream"] = json!(true),
                1 => data["softprefix"]["stream"] = json!(false),
                _ => {}
            }
            if self.below(3) == 0 {
                data["softprefix"]["priority"] = json!("batch");
            }
        }
        let mut message = infer_with("", &task, text, data);
        if self.below(6) > 0 {
            self.send(message);
            return;
        }
        // In two frames. The first is not answered, unless it is refused, and then the second would be refused, too.
        let first = json!({"delta": "well, ", "index": 0, "finish": false});
        let id = self.send(request("", &task, "inference", "llm.utf-8.stream", first));
        let ping = self.send(bare("", "sys", "ping"));
        while self.outstanding.contains_key(&ping) {
            self.read();
        }
        if self.outstanding.contains_key(&id) {
            message["request_id"] = json!(id);
            message["data"]["index"] = json!(1);
            self.client.send(&message);
        }
    }

    /// Sends a request of any kind, or ends the connection.
    fn act(&mut self) {
        let task = self.any_task();
        let ours = |action: &str, data: Value| request("", &task, action, action, data);
        let message = match self.below(40) {
            0..16 => return self.send_inference(),
            16..20 => {
                let soft_prefixes = vec![numbered_prefix(self.number as usize); self.below(3) as usize];
                let data = json!({"prompt": "hello", "tokens": [72, 73, 74, 75], "soft_prefixes": soft_prefixes});
                ours("softprefix.score", data)
            }
            20..23 => {
                let examples = [json!({"prompt": "hello", "target": "the land"})];
                let steps = 1 + self.below(4);
                let data = json!({"examples": examples, "len": 2, "init": "target", "steps": steps});
                ours("softprefix.learn", data)
            }
            23..28 => {
                let stoppable = self.outstanding.iter().filter(|(_, sent)| sent.holds_task());
                let stoppable: Vec<_> = stoppable.map(|(id, sent)| (id.clone(), sent.task.clone())).collect();
                let (id, task) = self.any_of(&stoppable).unwrap_or_else(|| ("none".into(), task));
                let data = json!({"request_id": id});
                request("", &task, "softprefix.stop", "softprefix.stop", data)
            }
            28..30 => ours("softprefix.embed", json!({"text": "the land"})),
            30..32 => bare("", &task, "pause"),
            32..34 => bare("", &task, "exit"),
            34..38 => {
                let data = match self.below(2) {
                    0 => whole(ENDLESS, 600),
                    _ => streaming(ENDLESS, 300),
                };
                request("", "llm", "setup", "llm.setup", data)
            }
            38 => return self.reconnect(),
            _ => return self.shut_down_and_reconnect(),
        };
        self.send(message);
    }

    /// Closes the connection, which cancels its inferences, and opens another. Set-ups are completed all the same.
    fn reconnect(&mut self) {
        self.client = Client::connect(self.address);
        self.outstanding.clear();
    }

    /// Ends the sending side; what was requested is answered before the unit closes the connection, unless it takes longer than that.
    fn shut_down_and_reconnect(&mut self) {
        self.client.stream.shutdown(Shutdown::Write).unwrap();
        let started = Instant::now();
        while let Some(reply) = self.client.next_within(PATIENCE) {
            self.take(&reply);
        }
        assert!(
            self.outstanding.is_empty() || started.elapsed() >= GRACE,
            "{}",
            self.who()
        );
        self.reconnect();
    }

    fn who(&self) -> String {
        let waiting: Vec<&String> = self.outstanding.keys().collect();
        format!(
            "seed {}, client {}, which waits for {waiting:?}",
            self.seed, self.number
        )
    }

    /// Reads a reply and checks that its request waits for it.
    fn read(&mut self) {
        let reply = self.client.next_within(PATIENCE);
        let reply = reply.unwrap_or_else(|| panic!("no reply to {}", self.who()));
        self.take(&reply);
    }

    fn take(&mut self, reply: &Value) {
        let who = self.who();
        let id = reply["request_id"].as_str().unwrap();
        let Some(sent) = self.outstanding.get_mut(id) else {
            panic!("{reply} comes after the last reply of its request, or is another client's: {who}");
        };
        if reply["data"]["delta"].is_string() {
            assert_eq!(reply["data"]["index"], sent.next_index, "{reply}: {who}");
            sent.next_index += 1;
        }
        let succeeds = reply["error"]["code"] == 0;
        if succeeds && reply["data"]["finish"] == false {
            return;
        }
        let ended = self.outstanding.remove(id).unwrap();
        if !succeeds {
            return;
        }
        if ended.action == "exit" {
            let is_left = |other: &Outstanding| {
                other.holds_task() && other.task == ended.task && other.sent_before < ended.sent_before
            };
            assert!(
                !self.outstanding.values().any(is_left),
                "{id} is answered before a request on its task that was sent earlier: {who}"
            );
        }
        *self.succeeded.entry(ended.action).or_default() += 1;
    }

    /// Sends and reads in a random order until all actions are done and all requests have ended.
    fn run(mut self) -> Self {
        for _ in 0..ACTIONS {
            self.act();
            while self.outstanding.len() as u64 > self.below(OUTSTANDING) {
                self.read();
            }
        }
        while !self.outstanding.is_empty() {
            self.read();
        }
        self
    }
}

/// Sets up as many tasks as the unit has places for, after ending all others.
fn set_up_all(server: &Server, client: &mut Client, seed: u64) -> Vec<String> {
    let patience = Instant::now() + PATIENCE;
    loop {
        server.unit.reset();
        let set_up = |_| client.ask(&request("s", "llm", "setup", "llm.setup", whole(ENDLESS, 3000)));
        let replies: Vec<Value> = (0..TASKS).map(set_up).collect();
        // A set-up of a connection that has ended may still take a place.
        if replies.iter().all(|reply| reply["error"]["code"] == 0) {
            let work_id = |reply: &Value| reply["work_id"].as_str().unwrap().to_owned();
            return replies.iter().map(work_id).collect();
        }
        assert!(Instant::now() < patience, "seed {seed}: {replies:?}");
    }
}

/// Waits until nothing is charged to the budget. A request's memory is released a moment after its last reply.
fn assert_memory_is_free(server: &Server, seed: u64) {
    let patience = Instant::now() + PATIENCE;
    let used = || [Purpose::Requests, Purpose::Work].map(|purpose| server.unit.memory().used(purpose));
    while used() != [0, 0] {
        assert!(Instant::now() < patience, "seed {seed}: {:?} bytes stay in use", used());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Checks that as many inferences run at once, and as many wait, as the unit was started with; ends the tasks.
fn assert_all_places_are_free(server: &Server, client: &mut Client, tasks: &[String], seed: u64) {
    let more = json!({"softprefix": {"max_new_tokens": 2000}});
    let long = |id: &str, number: usize| infer_with(id, &tasks[number % TASKS], "hello", more.clone());
    server.gate.close();
    for number in 0..RUNNING {
        client.send(&long("runs", number));
    }
    client.wait_until_queued(&tasks[0]);
    server.gate.step_until_together(RUNNING);
    for number in 0..WAITING {
        client.send(&long("waits", number));
    }
    let reply = client.ask(&long("one more", 0));
    assert_eq!(reply["request_id"], "one more", "seed {seed}: a permit is missing");
    assert_eq!(error(&reply).0, -10, "seed {seed}: {reply}");
    server.gate.open();
    for task in tasks {
        client.send(&bare("exit", task, "exit"));
    }
    let mut ended = BTreeMap::new();
    for _ in 0..RUNNING + WAITING + TASKS {
        let reply = client.next();
        let id = reply["request_id"].as_str().unwrap();
        // One that has not started by then ends with an error.
        let succeeds = error(&reply).0 == 0 || (id == "waits" && error(&reply).0 == -11);
        assert!(succeeds, "seed {seed}: {reply}");
        *ended.entry(id.to_owned()).or_default() += 1;
    }
    let expected = [("exit", TASKS), ("runs", RUNNING), ("waits", WAITING)];
    assert_eq!(
        ended,
        expected.map(|(id, count)| (id.to_owned(), count)).into(),
        "seed {seed}"
    );
}

/// Returns the number of requests without an error, by action.
fn run_seed(seed: u64) -> BTreeMap<String, usize> {
    let server = Server::with(UnitOptions {
        max_inferences: RUNNING,
        waiting: WAITING,
        max_tasks: TASKS,
        ..UnitOptions::default()
    });
    server.client().set_up(&streaming(ENDLESS, 300));
    let mut testers: Vec<Tester> = std::thread::scope(|scope| {
        let start = |number| {
            let tester = Tester::new(&server, seed, number);
            scope.spawn(move || tester.run())
        };
        let threads: Vec<_> = (0..CLIENTS).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut client = server.client();
    let tasks = set_up_all(&server, &mut client, seed);
    // Replies to a client keep their order, so that anything behind a last reply would come before this one.
    for tester in &mut testers {
        let reply = tester.client.ask(&bare("ping", "sys", "ping"));
        assert_eq!(reply["request_id"], "ping", "seed {seed}: {reply}");
    }
    assert_memory_is_free(&server, seed);
    assert_all_places_are_free(&server, &mut client, &tasks, seed);
    assert_memory_is_free(&server, seed);
    let mut succeeded = BTreeMap::new();
    for (action, count) in testers.into_iter().flat_map(|tester| tester.succeeded) {
        *succeeded.entry(action).or_default() += count;
    }
    succeeded
}

/// 4 seeds, or 400 if `SOFTPREFIX_TEST_LONG` is set, which takes minutes.
#[test]
fn each_request_gets_one_last_reply_and_everything_is_free_afterwards() {
    let seeds = std::env::var_os("SOFTPREFIX_TEST_LONG").map_or(4, |_| 400);
    let mut succeeded = BTreeMap::new();
    for (action, count) in (0..seeds).flat_map(run_seed) {
        *succeeded.entry(action).or_insert(0) += count;
    }
    println!("{succeeded:?}");
    let mut actions = vec![
        "inference",
        "setup",
        "exit",
        "pause",
        "softprefix.score",
        "softprefix.stop",
        "softprefix.embed",
    ];
    if cfg!(feature = "learn") {
        actions.push("softprefix.learn");
    }
    for action in actions {
        assert!(succeeded.contains_key(action), "no {action} among {succeeded:?}");
    }
}
