//! Modules that are not there, are not modules, or stop in the middle: each becomes a sentence with a remedy, and what was
//! finished stays.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use softprefix::bridge::Bridge;
use softprefix::messages::{Event, Inference, Pair, PromptAndSettings, Request, Texts};
use softprefix::model::{
    KindChoice, MagnitudeUnit, ModuleState, Problem, ProblemKind, Remembered, Retry, RunId, RunKind, Target,
};
use softprefix::workbench::{Action, Notice, Workbench};
use softprefix_core::client::ConnectOptions;
use softprefix_core::compare::Granularity;
use softprefix_core::experiment::Applied;
use softprefix_core::protocol::extension::{Priority, feature};

use crate::support::{Harness, Seen, at, closed_port, points, serve, tiny_model};

fn short_limits() -> ConnectOptions {
    ConnectOptions {
        connect: Duration::from_secs(2),
        request: Duration::from_secs(1),
        idle: Duration::from_secs(1),
        first_frame: Duration::from_secs(2),
        drain: Duration::from_millis(500),
        ..ConnectOptions::default()
    }
}

/// Accepts connections and gives each to `answer` on a thread of its own.
fn server(answer: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

fn problem_with(target: Target) -> Problem {
    let mut harness = Harness::with(short_limits());
    harness.apply(Action::Connect(target));
    harness.until("the problem", |workbench| {
        matches!(workbench.module, ModuleState::Failed { .. })
    });
    let ModuleState::Failed { problem, .. } = &harness.workbench.module else {
        unreachable!()
    };
    assert!(!problem.remedy.en.is_empty(), "{problem}");
    problem.clone()
}

#[test]
fn a_closed_port_is_named_with_what_to_check() {
    let address = closed_port();
    let problem = problem_with(at(address));
    assert_eq!(problem.kind, ProblemKind::Connection);
    assert!(problem.sentence.en.contains(&address.to_string()), "{problem}");
}

#[test]
fn a_module_that_never_answers_times_out() {
    let problem = problem_with(at(server(|mut stream| {
        let mut sink = [0; 1024];
        while stream.read(&mut sink).is_ok_and(|count| count > 0) {}
    })));
    assert!(problem.sentence.en.contains("ping"), "{problem}");
}

#[test]
fn a_peer_that_does_not_speak_stackflow_is_reported() {
    let problem = problem_with(at(server(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<html></html>");
    })));
    assert_eq!(problem.kind, ProblemKind::Connection);
}

/// Forwards bytes between a client and a module; after `text` has been sent to the client `limit` times, does `then`.
fn between(module: SocketAddr, text: &'static [u8], limit: usize, then: fn(&TcpStream)) -> SocketAddr {
    server(move |client| {
        let module = TcpStream::connect(module).unwrap();
        let (mut from_client, mut to_module) = (client.try_clone().unwrap(), module.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from_client, &mut to_module);
            let _ = to_module.shutdown(Shutdown::Both);
        });
        let (mut from_module, mut to_client) = (module, client);
        // Small pieces, so that a fast module's frames do not all go by at once.
        let mut buffer = [0; 128];
        let mut all = Vec::new();
        while let Ok(count @ 1..) = from_module.read(&mut buffer) {
            if to_client.write_all(&buffer[..count]).is_err() {
                return;
            }
            all.extend_from_slice(&buffer[..count]);
            if all.windows(text.len()).filter(|window| *window == text).count() > limit {
                then(&to_client);
                return;
            }
        }
    })
}

const FRAME: &[u8] = b"\"finish\":false";

/// Whether the module is away and there is another attempt to reach it.
fn is_reconnecting(workbench: &Workbench) -> bool {
    matches!(workbench.module, ModuleState::Failed { retry: Some(_), .. })
}

#[test]
fn a_connection_lost_during_a_stream_is_reported_and_reopened() {
    let address = between(serve(tiny_model()), FRAME, 12, |stream| {
        let _ = stream.shutdown(Shutdown::Both);
    });
    let mut harness = Harness::with(short_limits());
    harness.apply(Action::SetMaxTokens(400));
    harness.connect(at(address));
    harness.apply(Action::Run);
    harness.until("the loss", is_reconnecting);
    let ModuleState::Failed { problem, last, .. } = &harness.workbench.module else {
        unreachable!()
    };
    assert!(!problem.remedy.en.is_empty());
    assert!(last.is_some(), "what the module was stays readable");
    assert!(!harness.workbench.is_running());
    harness.until("the module", |workbench| workbench.module.is_ready());
    harness.apply(Action::SetMaxTokens(12));
    harness.run();
    assert_eq!(points(&harness.workbench), 1);
    let records = &harness.workbench.tuning.saved.records;
    let of_before: Vec<_> = records
        .iter()
        .filter(|record| record.settings.max_new_tokens == Some(400))
        .map(|record| (record.is_complete(), record.error(), record.output().len()))
        .collect();
    // The other run may have ended before: a client that reads slowly gets few, large frames.
    let is_cut = |(is_complete, error, len): &(bool, Option<&str>, usize)| !is_complete && error.is_some() && *len > 0;
    assert!(
        of_before.iter().any(is_cut),
        "what was cut off is kept, and says so: {of_before:?}"
    );
    harness.until_all_is_on_disk();
}

#[test]
fn a_stream_that_stops_without_an_end_times_out_and_its_text_stays_visible() {
    let module = serve(tiny_model());
    let address = between(module, FRAME, 12, |_| std::thread::sleep(Duration::from_secs(60)));
    let mut harness = Harness::with(short_limits());
    harness.apply(Action::SetMaxTokens(400));
    harness.connect(at(address));
    harness.apply(Action::Run);
    harness.until("the error", |workbench| {
        workbench.prefixed.error.is_some() || workbench.baseline.error.is_some()
    });
    // The module says nothing more at all, so that nothing else is waited for either.
    harness.until("the loss", is_reconnecting);
    assert!(!harness.workbench.is_running());
    assert!(!harness.workbench.baseline.text.is_empty() || !harness.workbench.prefixed.text.is_empty());
    harness.until("the module", |workbench| workbench.module.is_ready());
}

/// A relay to a module, whose link breaks and comes back.
pub struct Link {
    pub address: SocketAddr,
    state: Arc<LinkState>,
}

#[derive(Default)]
struct LinkState {
    is_down: AtomicBool,
    clients: Mutex<Vec<Client>>,
    /// Inferences that go through before the link breaks; `None` for all.
    inferences: Mutex<Option<usize>>,
}

impl LinkState {
    fn goes_down(&self) {
        let mut clients = self.clients.lock().unwrap();
        self.is_down.store(true, Ordering::SeqCst);
        for client in clients.drain(..) {
            let _ = client.stream.shutdown(Shutdown::Both);
        }
    }

    /// Whether the link breaks instead of handing this request on.
    fn breaks_at(&self, request: &str) -> bool {
        let mut inferences = self.inferences.lock().unwrap();
        let Some(left) = inferences
            .as_mut()
            .filter(|_| request.contains("\"action\":\"inference\""))
        else {
            return false;
        };
        let breaks = *left == 0;
        *left = left.saturating_sub(1);
        breaks
    }
}

struct Client {
    stream: TcpStream,
    /// Set when nothing more is forwarded, without an error on either side.
    is_mute: Arc<AtomicBool>,
}

impl Link {
    pub fn to(module: SocketAddr) -> Self {
        let state = Arc::<LinkState>::default();
        let shared = Arc::clone(&state);
        let address = server(move |client| {
            let is_mute = Arc::<AtomicBool>::default();
            {
                // Under the lock, so that a link that goes down meanwhile takes this client with it.
                let mut clients = shared.clients.lock().unwrap();
                if shared.is_down.load(Ordering::SeqCst) {
                    return;
                }
                clients.push(Client {
                    stream: client.try_clone().unwrap(),
                    is_mute: Arc::clone(&is_mute),
                });
            }
            let Ok(module) = TcpStream::connect(module) else {
                // The other end is closed now.
                let _ = client.shutdown(Shutdown::Both);
                return;
            };
            let hand_on =
                |from: TcpStream, mut to: TcpStream, is_mute: Arc<AtomicBool>, state: Option<Arc<LinkState>>| {
                    for line in BufReader::new(&from).lines().map_while(Result::ok) {
                        if let Some(state) = state.as_ref().filter(|state| state.breaks_at(&line)) {
                            state.goes_down();
                            break;
                        }
                        if !is_mute.load(Ordering::SeqCst) && writeln!(to, "{line}").is_err() {
                            break;
                        }
                    }
                    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                };
            let (from_client, to_module) = (client.try_clone().unwrap(), module.try_clone().unwrap());
            let (mute, state) = (Arc::clone(&is_mute), Some(Arc::clone(&shared)));
            std::thread::spawn(move || hand_on(from_client, to_module, mute, state));
            hand_on(module, client, is_mute, None);
        });
        Self { address, state }
    }

    /// Breaks all connections; further ones are closed at once.
    pub fn goes_down(&self) {
        self.state.goes_down();
    }

    /// After so many more inferences, the next one breaks the link instead of reaching the module.
    pub fn breaks_after_inferences(&self, count: usize) {
        *self.state.inferences.lock().unwrap() = Some(count);
    }

    pub fn comes_back(&self) {
        *self.state.inferences.lock().unwrap() = None;
        self.state.is_down.store(false, Ordering::SeqCst);
    }

    /// Lets nothing more through on the connections that there are, without closing them: so a machine finds them after a sleep.
    fn goes_mute(&self) {
        for client in self.state.clients.lock().unwrap().iter() {
            client.is_mute.store(true, Ordering::SeqCst);
        }
    }
}

#[test]
fn a_connection_that_died_while_the_machine_slept_is_detected_and_reopened_on_waking() {
    let link = Link::to(serve(tiny_model()));
    let mut harness = Harness::with(short_limits());
    harness.connect(at(link.address));
    harness.bridge.send(Request::Woke);
    harness.run();
    assert!(harness.workbench.module.is_ready(), "a connection that works stays");
    link.goes_mute();
    harness.bridge.send(Request::Woke);
    harness.until("the loss", is_reconnecting);
    harness.until("the module", |workbench| workbench.module.is_ready());
    harness.apply(Action::SetMagnitude(2.0));
    harness.run();
}

#[test]
fn reconnecting_ends_with_a_message_and_works_again_on_request() {
    let link = Link::to(serve(tiny_model()));
    let mut harness = Harness::with(ConnectOptions {
        retries: vec![Duration::from_millis(1); 3],
        ..short_limits()
    });
    harness.connect(at(link.address));
    link.goes_down();
    harness.until("the last attempt", |workbench| {
        matches!(
            workbench.module,
            ModuleState::Failed {
                retry: Some(Retry { attempt: 3, of: 3 }),
                ..
            }
        )
    });
    harness.until("the end", |workbench| {
        matches!(
            &workbench.module,
            ModuleState::Failed {
                retry: None,
                last: Some(_),
                ..
            }
        )
    });
    link.comes_back();
    harness.apply(Action::Reconnect);
    harness.until("the module", |workbench| workbench.module.is_ready());
    harness.run();
}

#[test]
fn choosing_another_module_ends_the_attempts_to_reconnect() {
    let module = serve(tiny_model());
    let link = Link::to(module);
    let mut harness = Harness::with(ConnectOptions {
        // The next attempt would come much later.
        retries: vec![Duration::from_secs(3600)],
        ..short_limits()
    });
    harness.connect(at(link.address));
    link.goes_down();
    harness.until("the loss", is_reconnecting);
    harness.connect(at(module));
    harness.run();
    assert_eq!(harness.workbench.target, at(module));
}

/// A module whose connection ends at the first message with these words in it.
pub fn lost_at(module: SocketAddr, words: &'static str) -> SocketAddr {
    server(move |client| {
        let module = TcpStream::connect(module).unwrap();
        let (mut from_module, mut to_client) = (module.try_clone().unwrap(), client.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from_module, &mut to_client));
        for line in BufReader::new(&client).lines().map_while(Result::ok) {
            if line.contains(words) || writeln!(&module, "{line}").is_err() {
                break;
            }
        }
        let _ = (client.shutdown(Shutdown::Both), module.shutdown(Shutdown::Both));
    })
}

/// A module that gets the second inference with a prefix only together with the request that stops it: until then, it cannot end.
pub fn that_holds_one_back(module: SocketAddr) -> SocketAddr {
    server(move |client| {
        let mut module = TcpStream::connect(module).unwrap();
        let (mut from_module, mut to_client) = (module.try_clone().unwrap(), client.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from_module, &mut to_client));
        let (mut inferences, mut held) = (0, None::<(Value, String)>);
        for line in BufReader::new(&client).lines().map_while(Result::ok) {
            let request: Value = serde_json::from_str(&line).unwrap_or_default();
            if request["action"] == "inference" && line.contains("\"soft_prefix\"") {
                inferences += 1;
                if inferences == 2 {
                    held = Some((request["request_id"].clone(), line));
                    continue;
                }
            }
            let stopped = &request["data"]["request_id"];
            let first = held.take_if(|(id, _)| request["action"] == "softprefix.stop" && stopped == id);
            // In one piece, so that nothing runs in between.
            let lines = first.into_iter().map(|(_, line)| line).chain([line]);
            let bytes: String = lines.map(|line| line + "\n").collect();
            if module.write_all(bytes.as_bytes()).is_err() {
                break;
            }
        }
        let _ = (client.shutdown(Shutdown::Both), module.shutdown(Shutdown::Both));
    })
}

/// Our unit without everything that identifies it, so that it answers like a stock unit.
pub fn stock_module(module: SocketAddr) -> SocketAddr {
    changed(module, |_request| {}, hide)
}

/// A stock unit, which silently ignores prefixes.
pub fn unresponsive_stock_module(module: SocketAddr) -> SocketAddr {
    changed(module, hide, hide)
}

/// A unit of ours whose engine has no gradient.
pub fn that_cannot_learn(module: SocketAddr) -> SocketAddr {
    changed(
        module,
        |_request| {},
        |reply| {
            let features = reply.pointer_mut("/data/soft_prefix/features");
            if let Some(features) = features.and_then(Value::as_array_mut) {
                features.retain(|feature| feature != feature::LEARN);
            }
        },
    )
}

/// A unit that refuses the first `count` inferences with a prefix, whose rows reach it damaged.
pub fn that_refuses_prefixes(module: SocketAddr, count: usize) -> SocketAddr {
    let left = Arc::new(AtomicUsize::new(count));
    let damage = move |request: &mut Value| {
        let rows = request.pointer_mut("/data/soft_prefix/data_b64");
        let is_one_left = |left: usize| left.checked_sub(1);
        if let Some(rows) = rows
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_one_left)
                .is_ok()
        {
            *rows = "damaged".into();
        }
    };
    changed(module, damage, |_reply| {})
}

/// A module that gets set-ups only while `gate` is not held.
pub fn that_sets_up_behind(gate: Arc<Mutex<()>>, module: SocketAddr) -> SocketAddr {
    let wait = move |request: &mut Value| {
        if request["action"] == "setup" {
            drop(gate.lock());
        }
    };
    changed(module, wait, |_reply| {})
}

/// A module, and the priority of each inference that it was asked for so far.
pub fn with_priorities(module: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<Priority>>>) {
    let priorities = Arc::<Mutex<Vec<Priority>>>::default();
    let noted = Arc::clone(&priorities);
    let note = move |request: &mut Value| {
        if request["action"] == "inference" {
            let priority = request["data"]["softprefix"]["priority"].clone();
            noted.lock().unwrap().push(serde_json::from_value(priority).unwrap());
        }
    };
    (changed(module, note, |_reply| {}), priorities)
}

/// A module that lists one card more, without a name.
pub fn with_a_nameless_card(module: SocketAddr) -> SocketAddr {
    changed(
        module,
        |_request| {},
        |reply| {
            if reply["object"] == "sys.lsmode" {
                reply["data"]
                    .as_array_mut()
                    .unwrap()
                    .push(serde_json::json!({"type": "llm"}));
            }
        },
    )
}

/// A module that refuses to score several prefixes in one request; also returns how often it was asked to.
pub fn that_scores_alone(module: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let refused = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&refused);
    let spoil = move |request: &mut Value| {
        let prefixes = request.pointer_mut("/data/soft_prefixes").and_then(Value::as_array_mut);
        if let Some(prefixes) = prefixes.filter(|prefixes| prefixes.len() > 1) {
            // For one that it cannot read, a unit refuses them all.
            prefixes[0]["len"] = 0.into();
            count.fetch_add(1, Ordering::SeqCst);
        }
    };
    (changed(module, spoil, |_reply| {}), refused)
}

/// Hands frames on between a client and a module, changed on their way.
fn changed(
    module: SocketAddr,
    requests: impl Fn(&mut Value) + Clone + Send + Sync + 'static,
    replies: impl Fn(&mut Value) + Clone + Send + Sync + 'static,
) -> SocketAddr {
    fn hand_on(from: TcpStream, mut to: TcpStream, change: impl Fn(&mut Value)) {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut frame: Value = serde_json::from_str(&line).unwrap();
            change(&mut frame);
            if writeln!(to, "{frame}").is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    }
    server(move |client| {
        let module = TcpStream::connect(module).unwrap();
        let (from_client, to_module) = (client.try_clone().unwrap(), module.try_clone().unwrap());
        let requests = requests.clone();
        std::thread::spawn(move || hand_on(from_client, to_module, requests));
        hand_on(module, client, &replies);
    })
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for key in ["soft_prefix", "softprefix", "usage"] {
                map.remove(key);
            }
            // `unit_call`, which shows whether the unit has an action.
            let object = map.get("object").and_then(Value::as_str);
            if object.is_some_and(|object| object.starts_with("llm.softprefix.")) {
                map.insert("data".to_owned(), "NotAction".into());
            }
            map.values_mut().for_each(hide);
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}

#[test]
fn a_stock_module_runs_one_inference_at_a_time_with_raw_values_and_is_not_trusted() {
    let mut harness = Harness::new();
    harness.connect(at(stock_module(serve(tiny_model()))));
    let facts = harness.workbench.module.facts().unwrap().clone();
    assert!(!facts.is_ours() && facts.identity.unit.is_none());
    assert_eq!(facts.concurrency, 1);
    assert_eq!(facts.hidden_size(), Some(64), "H comes from the card");
    assert_eq!(harness.workbench.prefix.unit, MagnitudeUnit::Raw);
    assert!(harness.workbench.budget.is_none() && harness.workbench.vocabulary.is_none());
    harness.apply(Action::SetMagnitude(0.5));
    harness.run();
    assert_eq!(
        harness.applied(),
        Applied::Plausible,
        "the output differs, and nothing else tells"
    );
    harness.until_noise_is_known();
    // Baseline, prefix and repeat each had the task for themselves.
    let order: Vec<RunKind> = harness
        .seen
        .iter()
        .filter_map(|seen| match seen {
            Seen::Finished(kind, ..) => Some(*kind),
            _ => None,
        })
        .collect();
    assert_eq!(order, [RunKind::Baseline, RunKind::Prefixed, RunKind::BaselineRepeat]);
}

#[test]
fn a_prefix_of_words_is_refused_on_a_stock_module_with_a_reason() {
    let mut harness = Harness::new();
    harness.connect(at(stock_module(serve(tiny_model()))));
    harness.apply(Action::SetKind(KindChoice::Words));
    harness.apply(Action::SetWords("the".to_owned()));
    harness.apply(Action::SetUnscaled(true));
    harness.until("the reason", |workbench| {
        matches!(workbench.next_prefix.built, Some(Err(_)))
    });
    let Some(Err(problem)) = &harness.workbench.next_prefix.built else {
        unreachable!()
    };
    assert!(problem.remedy.en.contains("softprefix-unit"), "{problem}");
}

#[test]
fn a_file_that_is_no_results_file_is_refused_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("empty.json", ""),
        ("other.json", "{\"a\": 1}"),
        ("cut.json", "{\"meta\": {"),
        ("text.txt", "hello"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let mut harness = Harness::new();
        harness.apply(Action::OpenPath(path));
        harness.until("the notice", |workbench| {
            matches!(workbench.notice, Some(Notice::Problem(_)))
        });
        assert!(harness.workbench.tuning.is_empty());
        assert_eq!(harness.workbench.prompt.user, "Why is the sky blue?");
    }
    let mut harness = Harness::new();
    harness.apply(Action::OpenPath(folder.path().join("missing.json")));
    harness.until("the notice", |workbench| {
        matches!(workbench.notice, Some(Notice::Problem(_)))
    });
}

/// A bridge whose next wake-up panics, in the task that reports something.
fn bridge_with_a_fault() -> (Bridge, Arc<AtomicBool>) {
    let armed = Arc::new(AtomicBool::new(false));
    let fault = Arc::clone(&armed);
    let bridge = Bridge::start(move || assert!(!fault.swap(false, Ordering::Relaxed), "planted")).unwrap();
    (bridge, armed)
}

fn next_event(bridge: &mut Bridge, found: impl Fn(&Event) -> bool) -> Event {
    let until = Instant::now() + Duration::from_secs(30);
    while Instant::now() < until {
        match bridge.wait(Duration::from_secs(30)) {
            Some(event) if found(&event) => return event,
            _ => {}
        }
    }
    panic!("nothing of the kind was reported");
}

fn comparison() -> Request {
    Request::Compare(Texts {
        pair: Pair::Panes,
        left: "春の花".into(),
        right: "春の風".into(),
        granularity: Granularity::Grapheme,
        measured: false,
    })
}

#[test]
fn a_panic_while_texts_are_compared_is_reported_and_the_next_texts_are_compared() {
    let (mut bridge, armed) = bridge_with_a_fault();
    armed.store(true, Ordering::Relaxed);
    bridge.send(comparison());
    let Event::NotCompared(problem) = next_event(&mut bridge, |event| matches!(event, Event::NotCompared(_))) else {
        unreachable!()
    };
    assert_eq!(problem.kind, ProblemKind::Program);
    assert!(problem.sentence.en.contains("planted"), "{problem}");
    bridge.send(comparison());
    next_event(&mut bridge, |event| matches!(event, Event::Compared { .. }));
}

fn input() -> PromptAndSettings {
    let key = Workbench::new(Remembered::default()).group_key();
    PromptAndSettings {
        prompt: key.prompt,
        settings: key.settings,
    }
}

/// A baseline that is kept nowhere.
fn baseline(run: u64) -> Request {
    Request::Infer(Box::new(Inference {
        run: RunId(run),
        kind: RunKind::Baseline,
        input: input(),
        recipe: None,
        draft: Vec::new(),
        delay: Duration::ZERO,
        is_saved: false,
    }))
}

#[test]
fn a_panic_of_the_worker_is_reported() {
    let (mut bridge, armed) = bridge_with_a_fault();
    armed.store(true, Ordering::Relaxed);
    // Without a module the worker itself answers.
    bridge.send(baseline(1));
    let lost = next_event(&mut bridge, |event| matches!(event, Event::Lost(_)));
    assert!(matches!(lost, Event::Lost(problem) if problem.kind == ProblemKind::Program));
}

#[test]
fn a_panic_in_a_run_ends_the_run_with_a_problem() {
    let (mut bridge, armed) = bridge_with_a_fault();
    bridge.send(Request::Connect {
        target: at(serve(tiny_model())),
        input: Box::new(input()),
    });
    next_event(&mut bridge, |event| matches!(event, Event::Ready(..)));
    armed.store(true, Ordering::Relaxed);
    bridge.send(baseline(1));
    next_event(&mut bridge, |event| {
        matches!(event, Event::Failed { run: RunId(1), .. })
    });
    bridge.send(baseline(2));
    next_event(&mut bridge, |event| {
        matches!(event, Event::Finished { run: RunId(2), .. })
    });
}
