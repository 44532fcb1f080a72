//! The client against modules that behave, misbehave and vanish: real sockets, the bytes of recorded conversations, and small
//! scripts for what could not be recorded.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::collections::HashSet;
use std::future::Future;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use softprefix_core::client::{
    ClientError, ConnectOptions, Inference, InferenceEvent, InferenceRequest, Module, Note, Outcome, ScoreRequest,
    ScoredText, Task,
};
use softprefix_core::prefix::{Magnitude, PrefixError, PrefixKind, PrefixRecipe, Rounding, SoftPrefix, decode_value};
use softprefix_core::protocol::extension::{FinishReason, SoftPrefixEcho};
use softprefix_core::protocol::learn::{Example, LearnRequest};
use softprefix_core::protocol::{Code, FrameReader, Request, SetUp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

const SYS: &str = include_str!("fixtures/conversations/sys.txt");
const LLM: &str = include_str!("fixtures/conversations/llm.txt");
const SPLIT: &str = include_str!("fixtures/conversations/split_utf8.txt");
const SOFT_PREFIX: &str = include_str!("fixtures/conversations/soft_prefix.txt");
const RESTART: &str = include_str!("fixtures/conversations/restart.txt");
const QWEN: &str = "qwen2.5-0.5B-prefill-20e";

/// The module's side of one connection.
struct Peer {
    stream: TcpStream,
    frames: FrameReader,
}

impl Peer {
    /// The next request, which must come within 5 s.
    async fn request(&mut self) -> Request {
        self.try_request(Duration::from_secs(5)).await.expect("a request")
    }

    async fn try_request(&mut self, limit: Duration) -> Option<Request> {
        let until = tokio::time::Instant::now() + limit;
        let mut buffer = vec![0; 1 << 16];
        loop {
            if let Some(frame) = self.frames.next().unwrap() {
                return Some(serde_json::from_slice(&frame).unwrap());
            }
            match tokio::time::timeout_at(until, self.stream.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) | Err(_) => return None,
                Ok(Ok(length)) => self.frames.push(&buffer[..length]),
            }
        }
    }

    /// The next request, which must be this.
    async fn expect(&mut self, work_id: &str, action: &str) -> Request {
        let request = self.request().await;
        assert_eq!((&request.work_id[..], &request.action[..]), (work_id, action));
        request
    }

    /// Answers a ping, which must be the next request: nothing else was sent before it.
    async fn ping(&mut self) {
        let ping = self.expect("sys", "ping").await;
        self.reply(&ping, "None", json!("None")).await;
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn reply(&mut self, request: &Request, object: &str, data: Value) {
        self.reply_as(&request.request_id, &request.work_id, object, data).await;
    }

    async fn reply_as(&mut self, request_id: &str, work_id: &str, object: &str, data: Value) {
        self.send(format!("{}\n", reply(request_id, work_id, object, data)))
            .await;
    }

    async fn error(&mut self, request_id: &str, work_id: &str, code: i32, message: &str) {
        let mut reply = reply(request_id, work_id, "None", json!("None"));
        reply["error"] = json!({"code": code, "message": message});
        self.send(format!("{reply}\n")).await;
    }

    async fn delta(&mut self, request: &Request, delta: &str, index: i64, finish: bool) {
        let data = json!({"delta": delta, "finish": finish, "index": index});
        self.reply(request, "llm.utf-8.stream", data).await;
    }

    /// Answers set-up and taskinfo as a stock unit does.
    async fn set_up(&mut self, work_id: &str) -> Request {
        self.set_up_with(work_id, None).await
    }

    /// Answers a set-up, and names in `taskinfo` the input that it asked for, which is returned.
    async fn set_up_and_repeat(&mut self, work_id: &str) -> String {
        let set_up = self.expect("llm", "setup").await;
        self.reply_as(&set_up.request_id, work_id, "None", json!("None")).await;
        let input = set_up.data.unwrap()["input"].as_str().unwrap().to_owned();
        assert!(input.starts_with("llm.utf-8."), "{input}");
        let asked = self.expect(work_id, "taskinfo").await;
        self.reply(&asked, "llm.taskinfo", info(&input)).await;
        input
    }

    /// Refuses a set-up for want of room, which these tasks take.
    async fn is_full(&mut self, ids: &[&str]) {
        let set_up = self.expect("llm", "setup").await;
        self.error(&set_up.request_id, "llm", -21, "task full").await;
        let asked = self.expect("llm", "taskinfo").await;
        self.reply(&asked, "llm.tasklist", json!(ids)).await;
    }

    async fn set_up_with(&mut self, work_id: &str, support: Option<Value>) -> Request {
        let set_up = self.expect("llm", "setup").await;
        self.reply_as(&set_up.request_id, work_id, "None", json!("None")).await;
        let format = set_up.data.as_ref().unwrap()["response_format"].clone();
        let asked = self.expect(work_id, "taskinfo").await;
        let mut info = info("llm.utf-8");
        info["response_format"] = format;
        if let Some(support) = support {
            info["soft_prefix"] = support;
        }
        self.reply(&asked, "llm.taskinfo", info).await;
        set_up
    }

    /// Plays recorded sections: each recorded request must be asked in turn, and is answered with the recorded bytes under the
    /// request id of today.
    async fn play(&mut self, conversation: &str, sections: &[&str]) -> Vec<Request> {
        let mut asked = Vec::new();
        for section in sections {
            for (recorded, replies) in recorded(conversation, section) {
                let request = self.expect(&recorded.work_id, &recorded.action).await;
                let old = format!("\"request_id\":\"{}\"", recorded.request_id);
                let new = format!("\"request_id\":\"{}\"", request.request_id);
                self.send(replies.replace(&old, &new)).await;
                asked.push(request);
            }
        }
        asked
    }
}

/// What a stock unit says of a task with this input.
fn info(input: &str) -> Value {
    json!({"enoutput": true, "inputs": [input], "model": QWEN, "response_format": "llm.utf-8"})
}

fn reply(request_id: &str, work_id: &str, object: &str, data: Value) -> Value {
    json!({
        "created": 1_795_388_579, "data": data, "error": {"code": 0, "message": ""}, "object": object,
        "request_id": request_id, "work_id": work_id
    })
}

/// The requests of one recorded section, each with the bytes that followed it.
fn recorded(conversation: &str, section: &str) -> Vec<(Request, String)> {
    let lines = conversation
        .lines()
        .skip_while(|line| *line != format!("## {section}"))
        .skip(1);
    let mut out: Vec<(Request, String)> = Vec::new();
    for line in lines.take_while(|line| !line.starts_with("## ")) {
        if let Some(request) = line.strip_prefix("> ") {
            match serde_json::from_str(request) {
                Ok(request) => out.push((request, String::new())),
                // Some were wrong on purpose.
                Err(_) => out.push((Request::new("", "", "unreadable"), String::new())),
            }
        } else if let Some(text) = line.strip_prefix("< ") {
            out.last_mut().unwrap().1.push_str(&format!("{text}\n"));
        } else if let Some(text) = line.strip_prefix("<! ") {
            out.last_mut().unwrap().1.push_str(text);
        }
    }
    assert!(!out.is_empty(), "no section {section:?}");
    out
}

/// Limits that a busy machine keeps.
fn options() -> ConnectOptions {
    ConnectOptions {
        drain: Duration::from_millis(1200),
        settle: Duration::from_millis(20),
        ..ConnectOptions::default()
    }
}

/// Limits for tests in which they pass.
fn hasty() -> ConnectOptions {
    ConnectOptions {
        request: Duration::from_millis(1500),
        set_up: Duration::from_millis(1500),
        first_frame: Duration::from_millis(400),
        idle: Duration::from_millis(400),
        ..options()
    }
}

/// Limits for tests in which streams stall and questions are answered.
fn stalling() -> ConnectOptions {
    ConnectOptions {
        request: options().request,
        ..hasty()
    }
}

async fn accept(listener: &TcpListener) -> Peer {
    let (stream, _) = listener.accept().await.unwrap();
    stream.set_nodelay(true).unwrap();
    Peer {
        stream,
        frames: FrameReader::default(),
    }
}

/// A module that behaves as `script` says, and a client connected to it.
async fn with_module<F, S>(script: S) -> (Module, JoinHandle<()>)
where
    S: FnOnce(Peer) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    with_options(options(), script).await
}

async fn with_options<F, S>(options: ConnectOptions, script: S) -> (Module, JoinHandle<()>)
where
    S: FnOnce(Peer) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (module, peer) = tokio::join!(Module::connect(address, options), accept(&listener));
    (module.unwrap(), tokio::spawn(script(peer)))
}

fn whole() -> SetUp {
    SetUp::new(QWEN, "You are helpful").streaming(false)
}

fn streaming() -> SetUp {
    SetUp::new(QWEN, "You are helpful").streaming(true)
}

fn support() -> Value {
    json!({
        "version": 1, "hidden_size": 2, "window": 1024, "prefill_window": 1024, "concurrency": 16,
        "unit": "softprefix-unit 0.1.0", "backend": "cpu/avx2", "features": ["embed", "vocabulary", "budget", "stop"],
        "model_sha256": null
    })
}

fn usage(finish_reason: &str, tokens: &[u32]) -> Value {
    json!({
        "prefix_len": 1, "template_tokens": 20, "prompt_tokens": 3, "completion_tokens": tokens.len(),
        "finish_reason": finish_reason, "queue_ms": 1.0, "prefill_ms": 20.5, "decode_ms": 100.0, "tokens": tokens
    })
}

fn prefix() -> SoftPrefix {
    let recipe = PrefixRecipe::new(PrefixKind::Constant, 1, Magnitude::Raw(0.5));
    recipe.build(2, None, None).unwrap()
}

async fn outcome(task: &Task, prompt: &str) -> Result<Outcome, ClientError> {
    task.infer(InferenceRequest::new(prompt)).outcome().await
}

async fn delta(inference: &mut Inference) -> String {
    match inference.next().await.unwrap().unwrap() {
        InferenceEvent::Delta(text) => text,
        InferenceEvent::Done(outcome) => panic!("ended with {outcome:?}"),
    }
}

async fn failure(inference: &mut Inference) -> ClientError {
    loop {
        match inference.next().await.unwrap() {
            Ok(InferenceEvent::Delta(_)) => {}
            Ok(InferenceEvent::Done(outcome)) => panic!("ended with {outcome:?}"),
            Err(error) => return error,
        }
    }
}

// Recorded conversations

#[tokio::test]
async fn ping_version_cards_and_memory_are_read_from_the_recorded_replies() {
    let (module, peer) = with_module(|mut peer| async move {
        let all = recorded(SYS, "llm-sys itself");
        for action in ["ping", "version", "lsmode", "cmminfo"] {
            let (_, bytes) = all.iter().find(|(request, _)| request.action == action).unwrap();
            let request = peer.expect("sys", action).await;
            assert_eq!(
                (request.object.as_deref(), &request.data),
                (Some("None"), &Some(json!("None"))),
                "llm-sys needs both"
            );
            peer.send(bytes.replace("\"r1\"", &format!("\"{}\"", request.request_id)))
                .await;
        }
    })
    .await;
    assert!(module.ping().await.unwrap() < Duration::from_secs(1));
    assert_eq!(module.version().await.unwrap(), "v1.6");
    let cards = module.cards().await.unwrap();
    assert_eq!(
        (&cards[0].name[..], cards[0].hidden_size, cards[0].window),
        (QWEN, Some(896), Some(1023))
    );
    assert_eq!(module.cmminfo().await.unwrap().total, 0);
    peer.await.unwrap();
}

#[tokio::test]
async fn unit_call_shows_whether_the_unit_has_an_action() {
    let (module, peer) = with_module(|mut peer| async move {
        for answer in ["None", "softprefix.embed NotAction", ""] {
            let request = peer.expect("sys", "unit_call").await;
            assert_eq!(request.object.as_deref(), Some("llm.softprefix.embed"));
            peer.reply(&request, "llm.softprefix.embed", json!(answer)).await;
        }
    })
    .await;
    for known in [true, false, false] {
        assert_eq!(module.unit_has_action("softprefix.embed").await.unwrap(), known);
    }
    peer.await.unwrap();
}

#[tokio::test]
async fn a_recorded_session_runs_from_set_up_to_exit() {
    let (module, peer) = with_module(|mut peer| async move {
        peer.play(LLM, &["taskinfo empty", "setup non-stream", "taskinfo id"])
            .await;
        let asked = peer
            .play(
                LLM,
                &[
                    "inference immediately after the setup reply",
                    "taskinfo llm",
                    "exit 1",
                    "exit again same id",
                ],
            )
            .await;
        assert_eq!(asked[0].object.as_deref(), Some("llm.utf-8"));
        assert_eq!(
            asked[0].data,
            Some(json!("hello")),
            "plain form, since nothing rides along"
        );
    })
    .await;
    assert_eq!(module.tasks().await.unwrap(), Vec::<String>::new());
    let task = module.set_up(&whole()).await.unwrap();
    assert_eq!(
        (task.work_id(), task.support(), task.is_streaming()),
        ("llm.1000", None, false)
    );
    assert_eq!(task.info().model, QWEN);
    let outcome = outcome(&task, "hello").await.unwrap();
    assert_eq!(outcome.text, "len=5 hex=68656c6c6f");
    assert_eq!(
        (outcome.finish_reason, outcome.chunks, outcome.notes),
        (FinishReason::Unknown, 1, vec![])
    );
    assert_eq!(
        (outcome.time_to_first_token, outcome.usage, outcome.tokens),
        (None, None, None)
    );
    assert_eq!(module.tasks().await.unwrap(), ["llm.1000"]);
    task.exit().await.unwrap();
    assert!(matches!(task.exit().await, Err(ClientError::TaskGone { .. })));
    peer.await.unwrap();
}

#[tokio::test]
async fn a_recorded_stream_is_joined_from_its_frames() {
    let (module, peer) = with_module(|mut peer| async move {
        peer.play(LLM, &["setup stream (2nd task)"]).await;
        let asked = peer.expect("llm.1001", "taskinfo").await;
        let info =
            json!({"enoutput": true, "inputs": ["llm.utf-8"], "model": QWEN, "response_format": "llm.utf-8.stream"});
        peer.reply(&asked, "llm.taskinfo", info).await;
        peer.play(LLM, &["stream inference, non-stream input"]).await;
        peer.play(LLM, &["exit 2"]).await;
    })
    .await;
    let task = module.set_up(&streaming()).await.unwrap();
    let mut inference = task.infer(InferenceRequest::new("N=7 D=20"));
    assert_eq!(delta(&mut inference).await, "t0 t1 t2 ");
    let outcome = inference.outcome().await.unwrap();
    assert_eq!((&outcome.text[..], outcome.chunks), ("t0 t1 t2 t3 t4 t5 t6 ", 3));
    assert!(outcome.time_to_first_token.unwrap() <= outcome.elapsed);
    drop(task);
    peer.await.unwrap();
}

#[tokio::test]
async fn a_full_unit_is_reported_with_its_tasks_and_none_of_them_is_ended() {
    let (module, peer) = with_module(|mut peer| async move {
        peer.play(LLM, &["third setup: task full", "taskinfo llm"]).await;
        peer.ping().await;
    })
    .await;
    let error = module.set_up(&whole()).await.unwrap_err();
    assert_eq!(
        error,
        ClientError::TaskFull {
            ids: vec!["llm.1000".into()]
        }
    );
    assert!(error.to_string().contains("llm.1000"), "{error}");
    module.ping().await.unwrap();
    peer.await.unwrap();
}

#[tokio::test]
async fn a_refused_set_up_has_an_error_with_a_remedy() {
    let (module, peer) = with_module(|mut peer| async move {
        peer.play(LLM, &["setup: no model card"]).await;
        // The stock unit names a wrong work id here.
        peer.play(LLM, &["setup: data not JSON (room for a task)"]).await;
        let request = peer.expect("llm", "setup").await;
        peer.error(&request.request_id, "llm", -9, "unit call false").await;
    })
    .await;
    let error = module.set_up(&whole()).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::MODEL_LOADING));
    assert!(error.to_string().contains("its package is installed"), "{error}");
    assert_eq!(module.set_up(&whole()).await.unwrap_err().code(), Some(Code::JSON));
    assert!(
        module
            .set_up(&whole())
            .await
            .unwrap_err()
            .to_string()
            .contains("GLIBCXX_3.4.30")
    );
    peer.await.unwrap();
}

#[tokio::test]
async fn requests_to_a_task_that_no_longer_exists_fail_as_task_gone() {
    let (module, peer) = with_module(|mut peer| async move {
        peer.set_up("llm.1000").await;
        peer.play(LLM, &["inference to exited id"]).await;
        let request = peer.expect("llm.1000", "taskinfo").await;
        peer.error(&request.request_id, "llm.1000", -6, "Unit Does Not Exist")
            .await;
    })
    .await;
    let task = module.set_up(&whole()).await.unwrap();
    let error = outcome(&task, "x").await.unwrap_err();
    assert!(
        matches!(error, ClientError::TaskGone { .. }) && error.needs_set_up(),
        "{error}"
    );
    assert!(matches!(task.check().await, Err(ClientError::TaskGone { .. })));
    peer.await.unwrap();
}

#[tokio::test]
async fn a_stream_that_stops_at_a_cut_character_keeps_its_text_and_the_next_one_runs() {
    let (module, peer) = with_options(stalling(), |mut peer| async move {
        peer.set_up("llm.1000").await;
        let (_, bytes) = &recorded(SPLIT, "stream: a character split over two 3-token groups")[1];
        let request = peer.expect("llm.1000", "inference").await;
        peer.send(bytes.replace("\"u1\"", &format!("\"{}\"", request.request_id)))
            .await;
        // Nothing more comes by itself; the client asks for the task, and makes sure that the run has ended.
        alive(&mut peer, "llm.1000").await;
        let next = pauses_until(&mut peer, "inference").await;
        // The index goes on from the dead run; it says nothing.
        let (_, bytes) = &recorded(SPLIT, "next inference on the task: index does not restart")[0];
        peer.send(bytes.replace("\"u2\"", &format!("\"{}\"", next.request_id)))
            .await;
    })
    .await;
    let task = module.set_up(&streaming()).await.unwrap();
    let error = outcome(&task, "SPLIT").await.unwrap_err();
    assert_eq!(error.text_so_far(), Some("a b c "));
    assert!(
        matches!(error, ClientError::StreamStopped { .. }) && error.to_string().contains("whole texts"),
        "{error}"
    );
    assert_eq!(outcome(&task, "N=3 D=0").await.unwrap().text, "t0 t1 t2 ");
    peer.await.unwrap();
}

#[tokio::test]
async fn whole_texts_arrive_with_every_character() {
    let (module, peer) = with_module(|mut peer| async move {
        peer.set_up("llm.1001").await;
        let (_, bytes) = &recorded(SPLIT, "non-stream: same text")[1];
        let request = peer.expect("llm.1001", "inference").await;
        peer.send(bytes.replace("\"u3\"", &format!("\"{}\"", request.request_id)))
            .await;
    })
    .await;
    let task = module.set_up(&whole()).await.unwrap();
    assert_eq!(outcome(&task, "SPLIT").await.unwrap().text, "a b c 日本語x y ");
    peer.await.unwrap();
}

#[tokio::test]
async fn a_restart_of_llm_sys_is_a_lost_connection_and_a_reconnect_begins_anew() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (module, peer) = tokio::join!(Module::connect(address, options()), accept(&listener));
    let (module, mut peer) = (module.unwrap(), peer);
    let script = tokio::spawn(async move {
        peer.set_up("llm.1000").await;
        peer.expect("llm.1000", "inference").await;
        drop(peer);
        let mut peer = accept(&listener).await;
        peer.set_up("llm.1000").await;
        let asked = peer.expect("llm", "taskinfo").await;
        let (_, bytes) = &recorded(RESTART, "setup: full")[1];
        peer.send(bytes.replace("\"t\"", &format!("\"{}\"", asked.request_id)))
            .await;
        peer.play(RESTART, &["exit llm.1001"]).await;
        peer.expect("llm.1000", "exit").await;
    });
    let old = module.set_up(&whole()).await.unwrap();
    let error = outcome(&old, "hi").await.unwrap_err();
    assert!(error.is_disconnect() && error.needs_set_up(), "{error}");
    assert!(error.to_string().contains("set up the model again"), "{error}");
    assert!(!module.is_connected());
    assert_eq!(module.disconnected().await, error);
    assert_eq!(module.ping().await.unwrap_err(), error, "until the reconnect");
    module.reconnect().await.unwrap();
    let new = module.set_up(&whole()).await.unwrap();
    assert_eq!(module.tasks().await.unwrap(), ["llm.1001", "llm.1000"]);
    module.exit("llm.1001").await.unwrap();
    // The new task bears the old one's id: dropping the old one must not end it.
    drop(old);
    drop(new);
    script.await.unwrap();
}

#[tokio::test]
async fn of_the_tasks_in_the_way_only_one_that_shows_what_this_program_has_named_is_ended() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (module, peer) = tokio::join!(Module::connect(address, options()), accept(&listener));
    let (module, mut peer) = (module.unwrap(), peer);
    let script = tokio::spawn(async move {
        let named = peer.set_up_and_repeat("llm.1000").await;
        peer.expect("llm.1000", "inference").await;
        drop(peer);
        // After a restart, another client has the id.
        let mut peer = accept(&listener).await;
        peer.is_full(&["llm.1000"]).await;
        let asked = peer.expect("llm.1000", "taskinfo").await;
        peer.reply(&asked, "llm.taskinfo", info("llm.utf-8")).await;
        // It is not asked for a second time, and may be another client's for good.
        peer.is_full(&["llm.1000"]).await;
        let second = peer.set_up_and_repeat("llm.1001").await;
        assert_ne!(named, second, "no two set-ups name the same");
        peer.expect("llm.1001", "inference").await;
        drop(peer);
        // The link alone was lost: the module still has the task.
        let mut peer = accept(&listener).await;
        peer.is_full(&["llm.1000", "llm.1001"]).await;
        let asked = peer.expect("llm.1001", "taskinfo").await;
        peer.reply(&asked, "llm.taskinfo", info(&second)).await;
        let asked = peer.expect("llm.1001", "exit").await;
        peer.reply(&asked, "None", json!("None")).await;
        peer.set_up("llm.1002").await;
        peer.expect("llm.1002", "exit").await;
    });
    let lost = module.set_up(&whole()).await.unwrap();
    outcome(&lost, "hi").await.unwrap_err();
    // The end of a task cannot be asked for over a broken connection.
    lost.exit().await.unwrap_err();
    module.reconnect().await.unwrap();
    for _ in 0..2 {
        let full = module.set_up(&whole()).await.unwrap_err();
        assert!(
            matches!(&full, ClientError::TaskFull { ids } if *ids == ["llm.1000"]),
            "{full}"
        );
        assert!(full.to_string().contains("so none was ended"), "{full}");
    }
    let lost = module.set_up(&whole()).await.unwrap();
    outcome(&lost, "hi").await.unwrap_err();
    lost.exit().await.unwrap_err();
    module.reconnect().await.unwrap();
    drop(module.set_up(&whole()).await.unwrap());
    script.await.unwrap();
}

// Prefixes

#[tokio::test]
async fn a_prefix_rides_in_the_finish_frame_and_a_stock_unit_s_silence_about_it_is_noted() {
    let prompt = "{絵文字} 😀 \\";
    let (module, peer) = with_module(move |mut peer| async move {
        peer.set_up("llm.1000").await;
        let mut raw = Vec::new();
        while !raw.ends_with(b"\n") {
            let mut byte = [0];
            peer.stream.read_exact(&mut byte).await.unwrap();
            raw.push(byte[0]);
        }
        let text = String::from_utf8(raw.clone()).unwrap();
        assert!(text.contains(r#""delta":"\u007b絵文字\u007d 😀 \u005c""#), "{text}");
        let request: Request = serde_json::from_slice(&raw).unwrap();
        assert_eq!(request.object.as_deref(), Some("llm.utf-8.stream"));
        let data = request.data.unwrap();
        assert_eq!(
            (&data["delta"], &data["index"], &data["finish"]),
            (&json!(prompt), &json!(0), &json!(true))
        );
        assert_eq!(data.get("softprefix"), None, "a stock module is sent nothing of ours");
        assert_eq!(decode_value(&data["soft_prefix"], 2).unwrap(), prefix());
        let mut replies = SOFT_PREFIX.lines().filter_map(|line| line.strip_prefix("< "));
        let bytes = replies.find(|line| line.contains("P=2")).unwrap();
        let bytes = bytes.replace("\"q\"", &format!("\"{}\"", request.request_id));
        peer.send(bytes + "\n").await;
    })
    .await;
    let task = module.set_up(&whole()).await.unwrap();
    let request = InferenceRequest::new(prompt).prefix(Some(prefix())).max_new_tokens(9);
    let outcome = task.infer(request).outcome().await.unwrap();
    assert_eq!(outcome.text, "len=2 hex=6869 P=2 first=3f00 last=3f00");
    assert_eq!(outcome.notes, [Note::TokenLimitNotSent, Note::PrefixNotAcknowledged]);
    assert_eq!(outcome.echo, None);
    peer.await.unwrap();
}

#[tokio::test]
async fn our_unit_streams_gets_its_limits_and_confirms_the_prefix() {
    let (module, peer) = with_module(|mut peer| async move {
        peer.set_up_with("llm.1000", Some(support())).await;
        let request = peer.expect("llm.1000", "inference").await;
        let data = request.data.as_ref().unwrap();
        assert_eq!(
            data["softprefix"],
            json!({"max_new_tokens": 64, "priority": "batch", "usage": true})
        );
        assert_eq!(request.object.as_deref(), Some("llm.utf-8.stream"));
        peer.delta(&request, "海は", 0, false).await;
        let mut last = reply(
            &request.request_id,
            "llm.1000",
            "llm.utf-8.stream",
            json!({"delta": "", "finish": true, "index": 1}),
        );
        last["soft_prefix"] = serde_json::to_value(SoftPrefixEcho::of(&prefix())).unwrap();
        last["usage"] = usage("length", &[5, 6, 7]);
        peer.send(format!("{last}\n")).await;
    })
    .await;
    let task = module.set_up(&streaming()).await.unwrap();
    assert_eq!(task.support().unwrap().backend, "cpu/avx2");
    let request = InferenceRequest::new("海").prefix(Some(prefix())).max_new_tokens(64);
    let request = request.priority(softprefix_core::protocol::extension::Priority::Batch);
    let outcome = task.infer(request).outcome().await.unwrap();
    assert_eq!(
        (&outcome.text[..], outcome.finish_reason),
        ("海は", FinishReason::Length)
    );
    assert_eq!(
        (outcome.tokens.clone(), outcome.echo.clone()),
        (Some(vec![5, 6, 7]), Some(SoftPrefixEcho::of(&prefix())))
    );
    assert_eq!(
        (outcome.usage.unwrap().tokens_per_second(), outcome.notes),
        (Some(20.0), vec![])
    );
    peer.await.unwrap();
}

#[tokio::test]
async fn a_prefix_that_our_unit_does_not_confirm_is_an_error() {
    let (module, peer) = with_module(|mut peer| async move {
        peer.set_up_with("llm.1000", Some(support())).await;
        let mut last = None;
        for _ in 0..2 {
            let request = peer.expect("llm.1000", "inference").await;
            let mut answer = reply(&request.request_id, "llm.1000", "llm.utf-8", json!("text"));
            if last.is_some() {
                answer["soft_prefix"] = json!({"len": 1, "hidden_size": 2, "sha256": "00"});
            }
            peer.send(format!("{answer}\n")).await;
            last = Some(request);
        }
    })
    .await;
    let task = module.set_up(&whole()).await.unwrap();
    for _ in 0..2 {
        let error = task
            .infer(InferenceRequest::new("x").prefix(Some(prefix())))
            .outcome()
            .await
            .unwrap_err();
        assert!(matches!(error, ClientError::PrefixNotConfirmed { .. }), "{error}");
    }
    peer.await.unwrap();
}

#[tokio::test]
async fn a_prefix_of_the_wrong_width_and_an_empty_prompt_are_never_sent() {
    let (module, peer) = with_module(|mut peer| async move {
        let mut wide = support();
        wide["hidden_size"] = json!(896);
        peer.set_up_with("llm.1000", Some(wide)).await;
        peer.expect("llm.1000", "exit").await;
    })
    .await;
    let task = module.set_up(&whole()).await.unwrap();
    let error = task
        .infer(InferenceRequest::new("x").prefix(Some(prefix())))
        .outcome()
        .await
        .unwrap_err();
    assert_eq!(
        error,
        ClientError::Prefix(PrefixError::WrongWidth {
            got: 2,
            hidden_size: 896
        })
    );
    assert_eq!(outcome(&task, "").await.unwrap_err(), ClientError::EmptyPrompt);
    assert_eq!(outcome(&task, "a\0b").await.unwrap_err(), ClientError::NulInPrompt);
    drop(task);
    peer.await.unwrap();
}

#[tokio::test]
async fn our_unit_s_refusals_arrive_as_the_sentences_they_are() {
    let (module, peer) = with_module(|mut peer| async move {
        peer.set_up_with("llm.1000", Some(support())).await;
        let request = peer.expect("llm.1000", "inference").await;
        peer.error(&request.request_id, "llm.1000", -32, "100 prefix rows do not fit")
            .await;
        let request = peer.expect("llm", "setup").await;
        let sentence = "Model loading failed. there is no model named \"x\" here";
        peer.error(&request.request_id, "llm", -5, sentence).await;
    })
    .await;
    let task = module.set_up(&whole()).await.unwrap();
    let error = outcome(&task, "x").await.unwrap_err();
    assert_eq!(error.code(), Some(Code::WINDOW));
    assert!(error.to_string().starts_with("100 prefix rows do not fit"), "{error}");
    let error = module.set_up(&whole()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("there is no model named \"x\" here (setup of"),
        "{error}"
    );
    peer.await.unwrap();
}

#[tokio::test]
async fn rows_norms_and_budgets_are_asked_of_our_unit_only() {
    let (module, peer) = with_module(|mut peer| async move {
        peer.set_up_with("llm.1000", Some(support())).await;
        let request = peer.expect("llm.1000", "softprefix.embed").await;
        assert_eq!((request.object.as_deref(), request.data.clone().unwrap()), (Some("softprefix.embed"), json!({"text": "海 {x}"})));
        let data = json!({"hidden_size": 2, "len": 2, "data_b64": "gD8AQEBAgEA=", "tokens": [{"id": 5, "text": "海"}, {"id": 6, "text": " {x}"}]});
        peer.reply(&request, "softprefix.embed", data).await;
        let request = peer.expect("llm.1000", "softprefix.vocabulary").await;
        let percentiles = json!({"1": 0.322, "5": 0.375, "25": 0.476, "50": 0.515, "75": 0.557, "95": 0.628, "99": 0.682});
        let histogram = json!({"log10_min": -1.0, "log10_max": 0.0, "counts": [1, 2]});
        let data = json!({"hidden_size": 896, "rows": 151_936, "percentiles": percentiles, "max": 0.95, "rms": 0.0172, "histogram": histogram});
        peer.reply(&request, "softprefix.vocabulary", data).await;
        let request = peer.expect("llm.1000", "softprefix.budget").await;
        peer.reply(&request, "softprefix.budget", json!({"template": 20, "prompt": 3, "window": 1024, "prefill_window": 128})).await;
        peer.expect("llm.1000", "exit").await;
        peer.set_up("llm.1001").await;
    })
    .await;
    let task = module.set_up(&streaming()).await.unwrap();
    let rows = task.embed("海 {x}").await.unwrap();
    assert_eq!((rows.tokens.len(), rows.rows.len(), rows.norms()[1]), (2, 4, 5.0));
    let vocabulary = task.vocabulary().await.unwrap();
    assert_eq!(
        (vocabulary.percentiles.p50, vocabulary.histogram.unwrap().counts),
        (0.515, vec![1, 2])
    );
    assert_eq!(task.count_tokens("海").await.unwrap().prefill_window, 128);
    drop(task);
    let stock = module.set_up(&streaming()).await.unwrap();
    let error = stock.embed("x").await.unwrap_err();
    assert!(matches!(error, ClientError::Unsupported { .. }), "{error}");
    peer.await.unwrap();
}

#[tokio::test]
async fn nearest_tokens_that_are_not_of_every_row_are_no_readable_answer() {
    let (module, peer) = with_module(|mut peer| async move {
        let mut support = support();
        support["features"] = json!(["nearest"]);
        peer.set_up_with("llm.1000", Some(support)).await;
        let row = json!([{"id": 5, "text": "海", "cosine": 0.5, "distance": 0.1}]);
        for rows in [json!([row, row]), json!([row]), json!([row, row, row])] {
            let request = peer.expect("llm.1000", "softprefix.nearest").await;
            peer.reply(&request, "softprefix.nearest", json!({ "rows": rows }))
                .await;
        }
    })
    .await;
    let task = module.set_up(&streaming()).await.unwrap();
    let rows = SoftPrefix::from_f32(2, &[1.0, 0.0, 0.0, 1.0], Rounding::NearestEven).unwrap();
    assert_eq!(task.nearest(&rows, 1).await.unwrap().len(), 2);
    for _ in 0..2 {
        let error = task.nearest(&rows, 1).await.unwrap_err();
        assert!(
            matches!(&error, ClientError::Unreadable { action, .. } if action == "softprefix.nearest"),
            "{error}"
        );
    }
    peer.await.unwrap();
}

#[tokio::test]
async fn a_unit_too_old_for_taskinfo_is_a_stock_one_and_a_silent_one_is_left_without_the_task() {
    let (module, peer) = with_options(hasty(), |mut peer| async move {
        for work_id in ["llm.1000", "llm.1001"] {
            let set_up = peer.expect("llm", "setup").await;
            peer.reply_as(&set_up.request_id, work_id, "None", json!("None")).await;
            let asked = peer.expect(work_id, "taskinfo").await;
            if work_id == "llm.1000" {
                peer.error(&asked.request_id, work_id, -18, "not have unit action!")
                    .await;
            } else {
                peer.expect(work_id, "exit").await;
            }
        }
    })
    .await;
    let task = module.set_up(&whole()).await.unwrap();
    assert_eq!((&task.info().model[..], task.support()), (QWEN, None));
    let error = module.set_up(&whole()).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::NoAnswer { work_id, .. } if work_id == "llm.1001"),
        "{error}"
    );
    assert!(error.to_string().contains("systemctl restart llm-llm"), "{error}");
    peer.await.unwrap();
}

// The form of the output

#[tokio::test]
async fn whole_texts_are_asked_of_a_stock_unit_and_streams_of_our_unit() {
    let format = |request: &Request| request.data.as_ref().unwrap()["response_format"].clone();
    let (module, peer) = with_module(move |mut peer| async move {
        assert_eq!(format(&peer.set_up("llm.1000").await), "llm.utf-8");
        peer.expect("llm.1000", "exit").await;
        let mut ours = support();
        ours["features"] = json!(["stream"]);
        assert_eq!(
            format(&peer.set_up_with("llm.1001", Some(ours.clone())).await),
            "llm.utf-8"
        );
        let request = peer.expect("llm.1001", "inference").await;
        assert_eq!(request.data.as_ref().unwrap()["softprefix"]["stream"], json!(true));
        peer.delta(&request, "text", 0, true).await;
        peer.expect("llm.1001", "exit").await;
        assert_eq!(format(&peer.set_up_with("llm.1002", Some(ours)).await), "llm.utf-8");
    })
    .await;
    assert!(!module.set_up(&SetUp::new(QWEN, "")).await.unwrap().is_streaming());
    let task = module.set_up(&SetUp::new(QWEN, "")).await.unwrap();
    assert!(task.is_streaming());
    assert_eq!(outcome(&task, "x").await.unwrap().text, "text");
    drop(task);
    assert!(
        !module.set_up(&whole()).await.unwrap().is_streaming(),
        "what is asked for holds"
    );
    peer.await.unwrap();
}

// Silence, garbage and replies to others

#[tokio::test]
async fn nobody_at_the_address_is_an_error_with_the_address_and_a_remedy() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = Module::connect(&address, options()).await.unwrap_err();
    assert!(
        error.to_string().contains(&address) && error.to_string().contains("llm-sys"),
        "{error}"
    );
    assert!(Module::connect("no such host", options()).await.is_err());
}

#[tokio::test]
async fn a_module_that_never_answers_is_reported_after_the_limit() {
    let (given_up, is_given_up) = oneshot::channel();
    let limit = Duration::from_millis(200);
    let options = ConnectOptions {
        request: limit,
        set_up: limit,
        ..hasty()
    };
    let (module, peer) = with_options(options, |mut peer| async move {
        peer.expect("sys", "ping").await;
        let late = peer.expect("llm", "setup").await;
        is_given_up.await.unwrap();
        peer.reply_as(&late.request_id, "llm.1000", "None", json!("None")).await;
        // A set-up that was given up is ended once it is ready.
        peer.expect("llm.1000", "exit").await;
    })
    .await;
    let start = Instant::now();
    let error = module.ping().await.unwrap_err();
    assert!(
        matches!(&error, ClientError::NoAnswer { action, .. } if action == "ping"),
        "{error}"
    );
    // What is silent is what has to be restarted.
    let sentence = error.to_string();
    assert!(
        sentence.contains("systemctl restart llm-sys") && !sentence.contains("llm-llm"),
        "{sentence}"
    );
    // The limit of the options was waited for, not that of a client by default.
    assert!(start.elapsed() < ConnectOptions::default().request);
    let error = module.set_up(&whole()).await.unwrap_err();
    assert!(matches!(error, ClientError::SetUpTimedOut { .. }), "{error}");
    given_up.send(()).unwrap();
    peer.await.unwrap();
}

#[tokio::test]
async fn a_set_up_whose_caller_went_away_is_ended() {
    let (came, has_come) = oneshot::channel();
    let (gone, is_gone) = oneshot::channel();
    let (module, peer) = with_module(|mut peer| async move {
        let request = peer.expect("llm", "setup").await;
        came.send(()).unwrap();
        is_gone.await.unwrap();
        peer.reply_as(&request.request_id, "llm.1000", "None", json!("None"))
            .await;
        let asked = peer.expect("llm.1000", "taskinfo").await;
        peer.reply(&asked, "llm.taskinfo", json!({"model": QWEN})).await;
        peer.expect("llm.1000", "exit").await;
    })
    .await;
    let wanted = whole();
    tokio::select! {
        set_up = module.set_up(&wanted) => panic!("{:?}", set_up.map(drop)),
        came = has_come => came.unwrap(),
    }
    gone.send(()).unwrap();
    peer.await.unwrap();
}

#[tokio::test]
async fn other_programs_behind_the_port_are_recognised() {
    for answer in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"{\"hello\":1}\n",
        b"{broken}",
        b"}",
    ] {
        let (read, is_read) = oneshot::channel();
        let (module, peer) = with_module(move |mut peer| async move {
            peer.expect("sys", "ping").await;
            peer.send(answer).await;
            // It is known before the connection ends.
            is_read.await.unwrap();
        })
        .await;
        let error = module.ping().await.unwrap_err();
        assert!(
            matches!(error, ClientError::Garbage { .. }) && error.to_string().contains("10001"),
            "{error}"
        );
        read.send(()).unwrap();
        peer.await.unwrap();
    }
}

#[tokio::test]
async fn an_endless_message_ends_the_connection_with_its_limit() {
    let (module, peer) = with_options(
        ConnectOptions {
            max_message: 1 << 16,
            ..options()
        },
        |mut peer| async move {
            peer.expect("sys", "ping").await;
            peer.send(b"{\"data\":\"").await;
            for _ in 0..8 {
                if peer.stream.write_all(&[b'x'; 1 << 14]).await.is_err() {
                    return;
                }
            }
        },
    )
    .await;
    let error = module.ping().await.unwrap_err();
    assert!(
        error.is_disconnect() && error.to_string().contains("65536 bytes"),
        "{error}"
    );
    peer.await.unwrap();
}

#[tokio::test]
async fn a_connection_that_closes_mid_stream_is_lost_for_everybody_who_waits() {
    let (module, peer) = with_module(|mut peer| async move {
        peer.set_up_with("llm.1000", Some(support())).await;
        let first = peer.expect("llm.1000", "inference").await;
        peer.expect("llm.1000", "inference").await;
        peer.delta(&first, "begun", 0, false).await;
    })
    .await;
    let task = module.set_up(&streaming()).await.unwrap();
    let (mut first, mut second) = (
        task.infer(InferenceRequest::new("1")),
        task.infer(InferenceRequest::new("2")),
    );
    for inference in [&mut first, &mut second] {
        let error = failure(inference).await;
        assert!(matches!(error, ClientError::ConnectionLost { .. }), "{error}");
    }
    peer.await.unwrap();
}

#[tokio::test]
async fn replies_of_others_are_ignored_and_replies_are_cut_by_value_not_by_line() {
    let (read, mut is_read) = mpsc::unbounded_channel();
    let (module, peer) = with_module(|mut peer| async move {
        peer.set_up("llm.1000").await;
        let request = peer.expect("llm.1000", "inference").await;
        let id = &request.request_id;
        let frame = |request_id: &str, work_id: &str, delta: &str, finish| {
            reply(
                request_id,
                work_id,
                "llm.utf-8.stream",
                json!({"delta": delta, "finish": finish, "index": 7}),
            )
            .to_string()
        };
        // A former client's frames, ours under another task's id, and a stray error: all before, between and on one line.
        peer.send(frame("q", "llm.1000", "former client", true)).await;
        peer.send(frame(id, "llm.1001", "another task", true)).await;
        peer.error("k5", "llm", -25, "Stream data index error.").await;
        // The last one comes without a newline, in two pieces, of which the first is read with what comes before it.
        let last = frame(id, "llm.1000", "", true);
        let (head, tail) = last.split_at(30);
        peer.send(
            frame(id, "llm.1000", "a", false)
                + &frame("q", "llm.1000", "x", false)
                + &frame(id, "llm.1000", "b", false)
                + head,
        )
        .await;
        is_read.recv().await.unwrap();
        peer.send(tail).await;
        // It is whole without the end of the connection.
        is_read.recv().await.unwrap();
    })
    .await;
    let task = module.set_up(&streaming()).await.unwrap();
    let mut inference = task.infer(InferenceRequest::new("x"));
    let mut text = String::new();
    while text != "ab" {
        text += &delta(&mut inference).await;
    }
    read.send(()).unwrap();
    let outcome = inference.outcome().await.unwrap();
    assert_eq!((&outcome.text[..], outcome.chunks), ("ab", 2));
    read.send(()).unwrap();
    peer.await.unwrap();
}

#[tokio::test]
async fn replies_may_come_in_any_order() {
    let (module, peer) = with_module(|mut peer| async move {
        let (first, second) = (peer.request().await, peer.request().await);
        peer.reply(&second, "sys.utf-8", json!("v1.6")).await;
        peer.reply(&first, "sys.utf-8", json!("v1.6")).await;
    })
    .await;
    let (ping, version) = tokio::join!(module.ping(), module.version());
    assert_eq!((ping.is_ok(), version.unwrap()), (true, "v1.6".into()));
    peer.await.unwrap();
}

#[tokio::test]
async fn errors_without_a_useful_id_reach_the_only_one_they_can_concern() {
    let (module, peer) = with_module(|mut peer| async move {
        let set_up = peer.set_up("llm.1000").await;
        peer.expect("llm.1000", "inference").await;
        // The stock unit sends errors in the data under the id of the last call to it.
        peer.error(&set_up.request_id, "llm", -25, "Stream data index error.").await;
        peer.expect("sys", "ping").await;
        peer.send(r#"{"request_id": "0","work_id": "sys","created": 1795388022,"error":{"code":-1, "message":"reace reset"}}"#).await;
        let version = peer.expect("sys", "version").await;
        peer.reply(&version, "sys.utf-8", json!("v1.6")).await;
    })
    .await;
    let task = module.set_up(&whole()).await.unwrap();
    assert_eq!(outcome(&task, "x").await.unwrap_err().code(), Some(Code::STREAM_INDEX));
    assert_eq!(module.ping().await.unwrap_err().code(), Some(Code::RESET));
    assert_eq!(module.version().await.unwrap(), "v1.6");
    peer.await.unwrap();
}

#[tokio::test]
async fn the_last_word_of_a_score_that_was_given_up_reaches_no_inference() {
    let (came, has_come) = oneshot::channel();
    let (module, peer) = with_module(|mut peer: Peer| async move {
        let mut support = support();
        support["features"] = json!(["stop", "score"]);
        peer.set_up_with("llm.1000", Some(support)).await;
        let score = peer.expect("llm.1000", "softprefix.score").await;
        came.send(()).unwrap();
        let stop = peer.expect("llm.1000", "softprefix.stop").await;
        assert_eq!(stop.data.as_ref().unwrap()["request_id"], score.request_id);
        let inference = peer.expect("llm.1000", "inference").await;
        peer.error(&score.request_id, "llm.1000", -11, "the scoring was stopped")
            .await;
        peer.delta(&inference, "all well", 0, true).await;
    })
    .await;
    let task = module.set_up(&streaming()).await.unwrap();
    let score = task.score(ScoreRequest::new("Why?", ScoredText::Text("So.".to_owned())));
    tokio::select! {
        score = score => panic!("{score:?}"),
        came = has_come => came.unwrap(),
    }
    assert_eq!(outcome(&task, "Hello").await.unwrap().text, "all well");
    peer.await.unwrap();
}

#[tokio::test]
async fn late_errors_of_a_learning_and_an_inference_that_were_given_up_after_replies_reach_no_other_inference() {
    // The module does not end what is stopped.
    let options = ConnectOptions {
        drain: Duration::from_millis(50),
        ..options()
    };
    let (module, peer) = with_options(options, |mut peer: Peer| async move {
        let mut support = support();
        support["features"] = json!(["stop", "learn"]);
        peer.set_up_with("llm.1000", Some(support)).await;
        let learning = peer.expect("llm.1000", "softprefix.learn").await;
        let loss = json!({"total": 1.0, "likelihood": 1.0, "divergence": 0.0, "matched": 0, "wanted": 1});
        let frame = json!({
            "finish": false, "step": 0, "steps": 1, "loss": loss, "best": {"step": 0, "loss": loss}, "taken_back": 0, "elapsed_ms": 1.0
        });
        peer.reply(&learning, "softprefix.learn", frame).await;
        peer.expect("llm.1000", "softprefix.stop").await;
        let first = peer.expect("llm.1000", "inference").await;
        peer.delta(&first, "half", 0, false).await;
        peer.expect("llm.1000", "softprefix.stop").await;
        let second = peer.expect("llm.1000", "inference").await;
        for given_up in [learning, first] {
            peer.error(&given_up.request_id, "llm.1000", -11, "the engine failed").await;
        }
        peer.delta(&second, "all well", 0, true).await;
    })
    .await;
    let task = module.set_up(&streaming()).await.unwrap();
    let request = LearnRequest {
        examples: vec![Example {
            prompt: "Why?".into(),
            target: "So.".into(),
        }],
        len: 1,
        ..LearnRequest::default()
    };
    let mut learning = task.learn(&request).unwrap();
    assert!(learning.next().await.unwrap().is_some());
    drop(learning);
    let mut first = task.infer(InferenceRequest::new("1"));
    assert_eq!(delta(&mut first).await, "half");
    first.stop();
    assert!(matches!(failure(&mut first).await, ClientError::Stopped { .. }));
    assert_eq!(outcome(&task, "2").await.unwrap().text, "all well");
    peer.await.unwrap();
}

#[tokio::test]
async fn request_ids_are_unlike_each_other_and_unlike_every_field_name() {
    let (module, peer) = with_module(|mut peer| async move {
        let mut ids = HashSet::new();
        for _ in 0..50 {
            let request = peer.request().await;
            assert!(!softprefix_core::protocol::frame::is_field_name(&request.request_id));
            assert!(ids.insert(request.request_id.clone()));
            peer.reply(&request, "None", json!("None")).await;
        }
    })
    .await;
    for _ in 0..50 {
        module.ping().await.unwrap();
    }
    peer.await.unwrap();
}

// Lost, slow and hanging inferences

#[tokio::test]
async fn a_lost_first_inference_is_sent_again_once_after_asking_for_the_task() {
    let (module, peer) = with_module(|mut peer| async move {
        peer.set_up("llm.1000").await;
        let lost = peer.expect("llm.1000", "inference").await;
        alive(&mut peer, "llm.1000").await;
        let again = pauses_until(&mut peer, "inference").await;
        assert_eq!(lost.data, again.data);
        assert_ne!(lost.request_id, again.request_id);
        peer.reply(&again, "llm.utf-8", json!("here")).await;
        // The second inference of a task is not sent again.
        peer.expect("llm.1000", "inference").await;
        alive(&mut peer, "llm.1000").await;
        pauses_until(&mut peer, "exit").await;
    })
    .await;
    let task = module.set_up(&whole()).await.unwrap();
    let first = task
        .infer(InferenceRequest::new("x").deadline(Duration::from_millis(1500)))
        .outcome()
        .await
        .unwrap();
    assert_eq!((&first.text[..], &first.notes[..]), ("here", &[Note::SentAgain][..]));
    let error = task
        .infer(InferenceRequest::new("x").deadline(Duration::from_millis(1500)))
        .outcome()
        .await
        .unwrap_err();
    assert!(
        matches!(error, ClientError::NeverAnswered { .. }) && error.needs_set_up(),
        "{error}"
    );
    drop(task);
    peer.await.unwrap();
}

async fn alive(peer: &mut Peer, work_id: &str) {
    let asked = peer.expect(work_id, "taskinfo").await;
    peer.reply(
        &asked,
        "llm.taskinfo",
        json!({"model": QWEN, "response_format": "llm.utf-8"}),
    )
    .await;
}

async fn pauses_until(peer: &mut Peer, action: &str) -> Request {
    loop {
        let request = peer.request().await;
        if request.action == action {
            return request;
        }
        assert_eq!(request.action, "pause");
        peer.reply(&request, "None", json!("None")).await;
    }
}

/// Whether a time is shown with at most one decimal.
fn is_in_tenths(seconds: f64) -> bool {
    format!("{seconds:.1}").parse() == Ok(seconds)
}

#[tokio::test]
async fn an_inference_that_is_slow_and_not_lost_is_stopped_and_not_sent_again() {
    let (module, peer) = with_module(|mut peer| async move {
        peer.set_up("llm.1000").await;
        let slow = peer.expect("llm.1000", "inference").await;
        alive(&mut peer, "llm.1000").await;
        peer.expect("llm.1000", "pause").await;
        peer.reply(&slow, "llm.utf-8", json!("half a")).await;
        peer.expect("llm.1000", "exit").await;
    })
    .await;
    let task = module.set_up(&whole()).await.unwrap();
    let error = task
        .infer(InferenceRequest::new("x").deadline(Duration::from_millis(200)))
        .outcome()
        .await
        .unwrap_err();
    assert!(
        matches!(error, ClientError::DeadlinePassed { seconds, .. } if is_in_tenths(seconds)),
        "{error}"
    );
    assert_eq!(error.text_so_far(), Some("half a"));
    drop(task);
    peer.await.unwrap();
}

#[tokio::test]
async fn a_first_inference_that_begins_late_and_then_stalls_is_not_sent_again_after_its_text() {
    let (module, peer) = with_options(stalling(), |mut peer| async move {
        peer.set_up("llm.1000").await;
        let slow = peer.expect("llm.1000", "inference").await;
        alive(&mut peer, "llm.1000").await;
        peer.expect("llm.1000", "pause").await;
        // No further frame follows, as where a stock unit's stream stops at a cut character.
        peer.delta(&slow, "half a", 0, false).await;
        pauses_until(&mut peer, "exit").await;
    })
    .await;
    let task = module.set_up(&streaming()).await.unwrap();
    let error = outcome(&task, "x").await.unwrap_err();
    assert!(matches!(error, ClientError::DeadlinePassed { .. }), "{error}");
    assert_eq!(error.text_so_far(), Some("half a"));
    drop(task);
    peer.await.unwrap();
}

#[tokio::test]
async fn of_the_tasks_that_are_to_be_ended_one_that_has_just_ended_is_as_good() {
    let (module, peer) = with_options(options(), |mut peer| async move {
        let asked = peer.expect("llm.1000", "exit").await;
        peer.error(&asked.request_id, "llm.1000", -6, "Unit Does Not Exist")
            .await;
        let asked = peer.expect("llm.1001", "exit").await;
        peer.reply(&asked, "None", json!("None")).await;
        let asked = peer.expect("llm.1000", "exit").await;
        peer.error(&asked.request_id, "llm.1000", -4, "inference data push false")
            .await;
    })
    .await;
    let ids = ["llm.1000".to_owned(), "llm.1001".to_owned()];
    module.exit_all(&ids).await.unwrap();
    assert!(module.exit_all(&ids).await.is_err(), "any other refusal is one");
    peer.await.unwrap();
}

#[tokio::test]
async fn a_hanging_unit_is_distinguished_from_one_that_no_longer_has_the_task() {
    let (module, peer) = with_options(hasty(), |mut peer| async move {
        peer.set_up("llm.1000").await;
        peer.expect("llm.1000", "inference").await;
        peer.expect("llm.1000", "taskinfo").await;
        peer.expect("llm.1000", "inference").await;
        let asked = peer.expect("llm.1000", "taskinfo").await;
        peer.error(&asked.request_id, "llm.1000", -6, "Unit Does Not Exist")
            .await;
    })
    .await;
    let task = module.set_up(&streaming()).await.unwrap();
    let error = outcome(&task, "x").await.unwrap_err();
    assert!(
        matches!(error, ClientError::UnitSilent { seconds, .. } if is_in_tenths(seconds)),
        "{error}"
    );
    assert!(error.to_string().contains("llm-llm"), "{error}");
    let error = outcome(&task, "x").await.unwrap_err();
    assert!(matches!(error, ClientError::TaskGone { .. }), "{error}");
    peer.await.unwrap();
}

#[tokio::test]
async fn a_stream_that_stops_because_its_task_is_gone_fails_as_task_gone() {
    for ours in [false, true] {
        let (module, peer) = with_options(stalling(), move |mut peer| async move {
            peer.set_up_with("llm.1000", ours.then(support)).await;
            let request = peer.expect("llm.1000", "inference").await;
            peer.delta(&request, "half", 0, false).await;
            let asked = peer.expect("llm.1000", "taskinfo").await;
            peer.error(&asked.request_id, "llm.1000", -6, "Unit Does Not Exist")
                .await;
            // A unit that knows nothing of it is not asked to stop it.
            assert_eq!(peer.request().await.action, "exit");
        })
        .await;
        let task = module.set_up(&streaming()).await.unwrap();
        let error = outcome(&task, "x").await.unwrap_err();
        assert!(
            matches!(error, ClientError::TaskGone { .. }) && error.needs_set_up(),
            "{error}"
        );
        drop(task);
        peer.await.unwrap();
    }
}

#[tokio::test]
async fn of_many_that_wait_for_a_dead_unit_hardly_one_asks_and_none_waits_for_its_deadline() {
    const MANY: usize = 12;
    let (module, peer) = with_options(hasty(), |mut peer| async move {
        peer.set_up_with("llm.1000", Some(support())).await;
        for _ in 0..MANY {
            peer.expect("llm.1000", "inference").await;
        }
        let mut asked = 0;
        while let Some(request) = peer.try_request(Duration::from_secs(20)).await {
            match request.action.as_str() {
                "taskinfo" => asked += 1,
                "exit" => break,
                other => panic!("a dead unit is asked for {other}"),
            }
        }
        assert!((1..MANY / 2).contains(&asked), "{asked}");
    })
    .await;
    let task = module.set_up(&streaming()).await.unwrap();
    let started = std::time::Instant::now();
    let mut waiting: Vec<Inference> = (0..MANY).map(|_| task.infer(InferenceRequest::new("x"))).collect();
    for inference in &mut waiting {
        let error = failure(inference).await;
        assert!(
            matches!(error, ClientError::UnitSilent { .. }) && error.needs_set_up(),
            "{error}"
        );
    }
    // The subject: each would wait for its deadline otherwise.
    assert!(started.elapsed() < options().deadline / 4);
    drop((waiting, task));
    peer.await.unwrap();
}

#[tokio::test]
async fn an_inference_that_is_queued_in_our_unit_is_checked_and_keeps_waiting() {
    let (module, peer) = with_options(stalling(), |mut peer| async move {
        let mut support = support();
        support["features"] = json!(["stop", "score"]);
        peer.set_up_with("llm.1000", Some(support)).await;
        let waiting = peer.expect("llm.1000", "inference").await;
        alive(&mut peer, "llm.1000").await;
        alive(&mut peer, "llm.1000").await;
        peer.delta(&waiting, "at last", 0, false).await;
        let last = json!({"delta": "", "finish": true, "index": 1});
        let mut last = reply(&waiting.request_id, "llm.1000", "llm.utf-8.stream", last);
        last["usage"] = usage("stop", &[1]);
        peer.send(format!("{last}\n")).await;
        // A score waits in the same way, until its task is gone.
        let mut next = peer.request().await;
        while next.action == "taskinfo" {
            // One more question may have been on its way.
            peer.reply(
                &next,
                "llm.taskinfo",
                json!({"model": QWEN, "response_format": "llm.utf-8"}),
            )
            .await;
            next = peer.request().await;
        }
        assert_eq!(next.action, "softprefix.score");
        alive(&mut peer, "llm.1000").await;
        let asked = peer.expect("llm.1000", "taskinfo").await;
        peer.error(&asked.request_id, "llm.1000", -6, "Unit Does Not Exist")
            .await;
        peer.expect("llm.1000", "softprefix.stop").await;
    })
    .await;
    let task = module.set_up(&streaming()).await.unwrap();
    assert_eq!(outcome(&task, "x").await.unwrap().text, "at last");
    let score = ScoreRequest::new("Why?", ScoredText::Text("So.".to_owned()));
    let error = task.score(score).await.unwrap_err();
    assert!(matches!(error, ClientError::TaskGone { .. }), "{error}");
    peer.await.unwrap();
}

#[tokio::test]
async fn a_stream_without_end_is_stopped_at_the_deadline_with_its_text() {
    let (module, peer) = with_module(|mut peer| async move {
        peer.set_up_with("llm.1000", Some(support())).await;
        let request = peer.expect("llm.1000", "inference").await;
        for index in 0.. {
            peer.delta(&request, "x", index, false).await;
            if let Some(stop) = peer.try_request(Duration::from_millis(50)).await {
                assert_eq!(stop.action, "softprefix.stop");
                break;
            }
        }
        peer.delta(&request, "", 99, true).await;
    })
    .await;
    let task = module.set_up(&streaming()).await.unwrap();
    let error = task
        .infer(InferenceRequest::new("x").deadline(Duration::from_millis(1500)))
        .outcome()
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::DeadlinePassed { .. }), "{error}");
    assert!(error.text_so_far().unwrap().len() >= 3);
    peer.await.unwrap();
}

#[tokio::test]
async fn an_empty_answer_is_a_failure_unless_our_unit_gives_the_reason() {
    let (module, peer) = with_module(|mut peer| async move {
        peer.set_up("llm.1000").await;
        let request = peer.expect("llm.1000", "inference").await;
        peer.reply(&request, "llm.utf-8", json!("")).await;
        peer.expect("llm.1000", "exit").await;
        peer.set_up_with("llm.1001", Some(support())).await;
        let request = peer.expect("llm.1001", "inference").await;
        let mut last = reply(&request.request_id, "llm.1001", "llm.utf-8", json!(""));
        last["usage"] = usage("stop", &[]);
        peer.send(format!("{last}\n")).await;
    })
    .await;
    let task = module.set_up(&whole()).await.unwrap();
    let error = outcome(&task, "x").await.unwrap_err();
    assert!(
        error == ClientError::EmptyAnswer && error.to_string().contains("window"),
        "{error}"
    );
    drop(task);
    let task = module.set_up(&whole()).await.unwrap();
    let outcome = outcome(&task, "x").await.unwrap();
    assert_eq!((&outcome.text[..], outcome.finish_reason), ("", FinishReason::Stop));
    assert_eq!(outcome.time_to_first_token, Some(Duration::from_micros(21_500)));
    peer.await.unwrap();
}

// Turns and stops

#[tokio::test]
async fn a_stock_module_gets_one_inference_at_a_time() {
    let (came, mut has_come) = mpsc::unbounded_channel();
    let (module, peer) = with_module(|mut peer| async move {
        peer.set_up("llm.1000").await;
        for text in ["one", "two", "three"] {
            let request = peer.expect("llm.1000", "inference").await;
            assert_eq!(request.data, Some(json!(text)));
            came.send(()).unwrap();
            // Only one may be on its way.
            peer.ping().await;
            peer.reply(&request, "llm.utf-8", json!(text)).await;
        }
    })
    .await;
    let task = module.set_up(&whole()).await.unwrap();
    let mut all = Vec::new();
    for text in ["one", "two", "three"] {
        all.push(task.infer(InferenceRequest::new(text)));
        // Each takes its place before the next one.
        tokio::task::yield_now().await;
    }
    for (inference, text) in all.into_iter().zip(["one", "two", "three"]) {
        has_come.recv().await.unwrap();
        module.ping().await.unwrap();
        assert_eq!(inference.outcome().await.unwrap().text, text);
    }
    peer.await.unwrap();
}

#[tokio::test]
async fn our_unit_gets_many_at_once_and_each_keeps_its_own_text() {
    const MANY: usize = 11;
    let (module, peer) = with_module(|mut peer| async move {
        peer.set_up_with("llm.1000", Some(support())).await;
        let mut requests = Vec::new();
        for _ in 0..MANY {
            requests.push(peer.expect("llm.1000", "inference").await);
        }
        for round in 0..3 {
            for request in &requests {
                let text = request.data.as_ref().unwrap()["delta"].as_str().unwrap();
                peer.delta(request, &format!("{text}.{round} "), round, round == 2)
                    .await;
            }
        }
    })
    .await;
    let task = module.set_up(&streaming()).await.unwrap();
    let all: Vec<Inference> = (0..MANY)
        .map(|n| task.infer(InferenceRequest::new(format!("p{n}"))))
        .collect();
    for (n, inference) in all.into_iter().enumerate() {
        assert_eq!(
            inference.outcome().await.unwrap().text,
            format!("p{n}.0 p{n}.1 p{n}.2 ")
        );
    }
    peer.await.unwrap();
}

#[tokio::test]
async fn stopping_on_a_stock_module_pauses_and_waits_for_the_last_frame_before_the_next_run() {
    let (paused, is_paused) = oneshot::channel();
    let (module, peer) = with_module(|mut peer| async move {
        peer.set_up("llm.1000").await;
        let request = peer.expect("llm.1000", "inference").await;
        peer.delta(&request, "t0 ", 0, false).await;
        let pause = peer.expect("llm.1000", "pause").await;
        peer.reply(&pause, "None", json!("None")).await;
        paused.send(()).unwrap();
        // The next run waits for the end of this one. After the first ping, the client has read the reply to the pause.
        peer.ping().await;
        peer.ping().await;
        peer.delta(&request, "t1 ", 1, false).await;
        peer.delta(&request, "", 2, true).await;
        let next = peer.expect("llm.1000", "inference").await;
        peer.delta(&next, "next", 0, true).await;
    })
    .await;
    let task = module.set_up(&streaming()).await.unwrap();
    let mut first = task.infer(InferenceRequest::new("x"));
    let second = task.infer(InferenceRequest::new("y"));
    assert_eq!(delta(&mut first).await, "t0 ");
    first.stop();
    is_paused.await.unwrap();
    for _ in 0..2 {
        module.ping().await.unwrap();
    }
    let outcome = first.outcome().await.unwrap();
    assert_eq!(
        (&outcome.text[..], outcome.finish_reason),
        ("t0 t1 ", FinishReason::Stopped)
    );
    assert_eq!(second.outcome().await.unwrap().text, "next");
    peer.await.unwrap();
}

#[tokio::test]
async fn stopping_on_our_unit_ends_that_inference_alone() {
    let (module, peer) = with_module(|mut peer| async move {
        peer.set_up_with("llm.1000", Some(support())).await;
        let first = peer.request().await;
        peer.delta(&first, "a", 0, false).await;
        let second = peer.request().await;
        peer.delta(&second, "b", 0, false).await;
        let stop = peer.expect("llm.1000", "softprefix.stop").await;
        assert_eq!(stop.data, Some(json!({"request_id": first.request_id})));
        peer.reply(&stop, "softprefix.stop", json!("None")).await;
        let mut last = reply(
            &first.request_id,
            "llm.1000",
            "llm.utf-8.stream",
            json!({"delta": "", "finish": true, "index": 1}),
        );
        last["usage"] = usage("stopped", &[1]);
        peer.send(format!("{last}\n")).await;
        peer.delta(&second, "c", 1, true).await;
    })
    .await;
    let task = module.set_up(&streaming()).await.unwrap();
    let mut first = task.infer(InferenceRequest::new("1"));
    assert_eq!(delta(&mut first).await, "a");
    let mut second = task.infer(InferenceRequest::new("2"));
    assert_eq!(delta(&mut second).await, "b");
    first.stop();
    assert_eq!(first.outcome().await.unwrap().finish_reason, FinishReason::Stopped);
    assert_eq!(second.outcome().await.unwrap().text, "bc");
    peer.await.unwrap();
}

#[tokio::test]
async fn a_dropped_inference_is_stopped() {
    let (module, peer) = with_module(|mut peer| async move {
        peer.set_up_with("llm.1000", Some(support())).await;
        let request = peer.expect("llm.1000", "inference").await;
        peer.delta(&request, "a", 0, false).await;
        peer.expect("llm.1000", "softprefix.stop").await;
        peer.delta(&request, "", 1, true).await;
        peer.expect("llm.1000", "exit").await;
    })
    .await;
    let task = module.set_up(&streaming()).await.unwrap();
    let mut inference = task.infer(InferenceRequest::new("x"));
    assert_eq!(delta(&mut inference).await, "a");
    drop(inference);
    drop(task);
    peer.await.unwrap();
}

#[tokio::test]
async fn an_inference_stopped_while_it_waits_for_its_turn_is_never_sent() {
    let (came, has_come) = oneshot::channel();
    let (stopped, is_stopped) = oneshot::channel();
    let (module, peer) = with_module(|mut peer| async move {
        peer.set_up("llm.1000").await;
        let request = peer.expect("llm.1000", "inference").await;
        came.send(()).unwrap();
        peer.ping().await;
        is_stopped.await.unwrap();
        peer.reply(&request, "llm.utf-8", json!("one")).await;
        peer.expect("llm.1000", "exit").await;
    })
    .await;
    let task = module.set_up(&whole()).await.unwrap();
    let first = task.infer(InferenceRequest::new("one"));
    has_come.await.unwrap();
    let second = task.infer(InferenceRequest::new("two"));
    module.ping().await.unwrap();
    second.stop();
    assert_eq!(
        second.outcome().await.unwrap_err(),
        ClientError::Stopped { text: String::new() }
    );
    stopped.send(()).unwrap();
    assert_eq!(first.outcome().await.unwrap().text, "one");
    drop(task);
    peer.await.unwrap();
}

#[tokio::test]
async fn a_stop_takes_effect_while_the_task_is_checked() {
    let (asked, was_asked) = tokio::sync::oneshot::channel();
    let (module, peer) = with_options(stalling(), |mut peer| async move {
        peer.set_up("llm.1000").await;
        peer.expect("llm.1000", "inference").await;
        // Neither the inference nor this question is ever answered.
        peer.expect("llm.1000", "taskinfo").await;
        asked.send(()).unwrap();
        peer.expect("llm.1000", "pause").await;
        pauses_until(&mut peer, "exit").await;
    })
    .await;
    let task = module.set_up(&streaming()).await.unwrap();
    let mut inference = task.infer(InferenceRequest::new("x"));
    was_asked.await.unwrap();
    inference.stop();
    assert_eq!(
        failure(&mut inference).await,
        ClientError::Stopped { text: String::new() }
    );
    drop((inference, task));
    peer.await.unwrap();
}

#[tokio::test]
async fn a_stop_that_the_module_never_answers_ends_after_a_while_with_the_text() {
    let (module, peer) = with_module(|mut peer| async move {
        peer.set_up("llm.1000").await;
        let request = peer.expect("llm.1000", "inference").await;
        peer.delta(&request, "t0 ", 0, false).await;
        // A pause that came too early is forgotten, so it is sent again.
        peer.expect("llm.1000", "pause").await;
        peer.expect("llm.1000", "pause").await;
        pauses_until(&mut peer, "exit").await;
    })
    .await;
    let task = module.set_up(&streaming()).await.unwrap();
    let mut inference = task.infer(InferenceRequest::new("x"));
    assert_eq!(delta(&mut inference).await, "t0 ");
    inference.stop();
    assert_eq!(
        failure(&mut inference).await,
        ClientError::Stopped { text: "t0 ".into() }
    );
    assert!(inference.next().await.is_none());
    drop((inference, task));
    peer.await.unwrap();
}

#[tokio::test]
async fn pausing_a_task_is_answered_or_refused() {
    let (module, peer) = with_module(|mut peer| async move {
        peer.set_up("llm.1001").await;
        peer.play(LLM, &["pause"]).await;
        let pause = peer.expect("llm.1001", "pause").await;
        peer.error(&pause.request_id, "llm.1001", -6, "Unit Does Not Exist")
            .await;
    })
    .await;
    let task = module.set_up(&whole()).await.unwrap();
    task.pause().await.unwrap();
    assert!(matches!(task.pause().await, Err(ClientError::TaskGone { .. })));
    peer.await.unwrap();
}
