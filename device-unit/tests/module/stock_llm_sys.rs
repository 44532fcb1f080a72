//! The unit behind the stock llm-sys, if the environment names one, and always behind the simulated one.
//!
//! `SOFTPREFIX_LLM_SYS=/path/to/llm_sys` starts that program with the program under test behind it and runs everything, including restarts
//! and the recorded conversations. Its files are in /tmp, so nothing else may use them meanwhile. `SOFTPREFIX_LLM_SYS=HOST:PORT` connects to
//! a module that already runs our unit (`SOFTPREFIX_LLM_SYS_MODEL` names the model if it is not the first of the module's list), and
//! restarts nothing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use softprefix_core::client::{ConnectOptions, InferenceRequest, Module, ScoreRequest, ScoredText, Task};
use softprefix_core::prefix::{Generator, Need, Rounding, SoftPrefix};
use softprefix_core::protocol::extension;
use softprefix_core::protocol::message::SetUp;
use softprefix_unit::testing::{TinyModel, qwen_model, small_model};

use crate::common::*;
use crate::llm_sys::*;
use crate::under_test::program;
use crate::{bus_captures, bus_recorded};

/// Prompts with braces, quotes and line ends, which break llm-sys unless clients escape them.
const PROMPTS: [&str; 6] = [
    "Where is the sea?",
    "a } lone { brace {and} \\{ more",
    "ends in a backslash: C:\\",
    "海はどこですか。😀",
    "two\nlines\tand \"quotes\" \u{1}",
    "\"data\": \"x\"",
];
const MAGNITUDES: [f32; 10] = [0.0, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.5, 1.0, 1.5, 2.0];

/// A number of positions that no test fills.
const ROOM: usize = 20_000;

/// The program under test as a module of its own, on the same models. Its direct replies are the expected ones.
struct Direct {
    _program: Program,
    address: SocketAddr,
}

impl Direct {
    fn start(models: &Path) -> Self {
        let address = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let mut command = program();
        command
            .args(["--engine", "cpu", "--threads", "1", "--listen", &address.to_string()])
            .env("SOFTPREFIX_MODEL_DIR", models)
            .stdout(Stdio::null());
        let program = Program::of(command);
        eventually("it listens", || std::net::TcpStream::connect(address).is_ok());
        Self {
            _program: program,
            address,
        }
    }
}

fn on_the_bus(folder: &Path, models: &Path) -> Program {
    let mut command = program();
    command
        .args(["--bus", "--engine", "cpu", "--threads", "1", "--bus-folder"])
        .arg(folder)
        .env("SOFTPREFIX_MODEL_DIR", models);
    let program = Program::of(command);
    program.says("on the bus");
    program
}

/// All replies, for comparing the two ways to the same unit.
#[derive(Debug, PartialEq)]
struct Answers {
    baselines: Vec<String>,
    prefixed: Vec<String>,
    /// The replies to our extensions, as debug output.
    additions: String,
}

/// Uses the product's own client: lists, sets up, sends ten prefixes, prompts of all kinds and a large prefix, and exits.
fn with_our_client(address: SocketAddr, model: &str) -> Answers {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let module = Module::connect(address.to_string(), ConnectOptions::default())
            .await
            .unwrap();
        module.ping().await.unwrap();
        assert!(module.version().await.unwrap().starts_with('v'));
        module.cards().await.unwrap();
        module.cmminfo().await.unwrap();
        assert!(
            module.unit_has_action(extension::EMBED).await.unwrap(),
            "our unit is behind it"
        );
        assert!(!module.unit_has_action("softprefix.dance").await.unwrap());
        for left in module.tasks().await.unwrap() {
            module.exit(&left).await.unwrap();
        }
        let set_up = SetUp::new(model, "You are helpful").greedy().max_positions(400);
        let task = module.set_up(&set_up).await.unwrap();
        let hidden = task.support().expect("our unit is behind it").hidden_size;
        let mut answers = ten_prefixes(&task, hidden).await;
        answers.additions = additions(&task, hidden).await;
        large_prefix(&task, hidden).await;
        task.exit().await.unwrap();
        assert_eq!(module.tasks().await.unwrap(), Vec::<String>::new());
        answers
    })
}

async fn ten_prefixes(task: &Task, hidden: usize) -> Answers {
    let request = |prompt: &str| InferenceRequest::new(prompt).max_new_tokens(24);
    let mut baselines = Vec::new();
    for prompt in PROMPTS {
        let first = task.infer(request(prompt)).outcome().await.unwrap();
        let again = task.infer(request(prompt)).outcome().await.unwrap();
        assert_eq!(first.text, again.text, "the baseline is repeatable");
        assert_eq!(first.echo, None);
        baselines.push(first.text);
    }
    // All at once; each keeps its id.
    let mut running = Vec::new();
    for (i, magnitude) in MAGNITUDES.into_iter().enumerate() {
        let len = 1 + i;
        let values: Vec<f32> = (0..len * hidden)
            .map(|k| if k % 3 == 0 { -magnitude } else { magnitude })
            .collect();
        let soft = SoftPrefix::from_f32(hidden, &values, Rounding::NearestEven).unwrap();
        let prompt = PROMPTS[i % PROMPTS.len()];
        running.push((i, soft.clone(), task.infer(request(prompt).prefix(Some(soft)))));
    }
    let mut prefixed = Vec::new();
    for (i, soft, inference) in running {
        let outcome = inference.outcome().await.unwrap();
        let echo = outcome.echo.expect("an accepted prefix is echoed");
        assert_eq!((echo.len, echo.hidden_size), (soft.len(), hidden));
        assert_eq!(echo.sha256, soft.sha256(), "the bytes came through: prefix {i}");
        prefixed.push(outcome.text);
    }
    let last = MAGNITUDES.len() - 1;
    assert_ne!(
        prefixed[last],
        baselines[last % PROMPTS.len()],
        "the largest prefix has an effect"
    );
    Answers {
        baselines,
        prefixed,
        additions: String::new(),
    }
}

/// Sends every query that only our unit answers.
async fn additions(task: &Task, hidden: usize) -> String {
    let drawn = Need::Sample {
        count: 5,
        seed: 7,
        generator: Generator::default(),
    };
    let embedded = task.embed(PROMPTS[1]).await.unwrap();
    let sampled = task.rows_for(&drawn).await.unwrap();
    let vocabulary = task.vocabulary().await.unwrap();
    let budget = task.count_tokens(PROMPTS[3]).await.unwrap();
    let rows = SoftPrefix::from_bf16(hidden, embedded.rows.clone()).unwrap();
    let nearest = task.nearest(&rows, 3).await.unwrap();
    assert_eq!(nearest.len(), rows.len());
    let text = ScoredText::Text("the sea } is { there".to_owned());
    let scoring = ScoreRequest::new(PROMPTS[0], text)
        .prefixes([rows.clone(), rows])
        .top(2);
    let scored = task.score(scoring).await.unwrap();
    assert_eq!(scored.prefixed.len(), 2);
    format!("{embedded:?} {sampled:?} {vocabulary:?} {budget:?} {nearest:?} {scored:?}")
}

/// At H = 896 a prefix of 64 rows is 153 kB of base64 in one message.
async fn large_prefix(task: &Task, hidden: usize) {
    let values: Vec<f32> = (0..64 * hidden)
        .map(|k| ((k * 37) % 251) as f32 / 251.0 - 0.5)
        .collect();
    let soft = SoftPrefix::from_f32(hidden, &values, Rounding::Truncate).unwrap();
    let request = InferenceRequest::new("hello")
        .max_new_tokens(4)
        .prefix(Some(soft.clone()));
    let outcome = task.infer(request).outcome().await.unwrap();
    assert_eq!(outcome.echo.unwrap().sha256, soft.sha256());
}

/// Uses the protocol like other clients.
fn with_a_plain_client(address: SocketAddr, model: &str) {
    let (mut a, mut b) = (Client::connect(address), Client::connect(address));
    let task = a.set_up(&streaming(model, ROOM));
    let info = a.ask(&bare("t", &task, "taskinfo"));
    let hidden = usize::try_from(info["data"]["soft_prefix"]["hidden_size"].as_u64().unwrap()).unwrap();

    // Another client's taskinfo during a stream does not affect the stream.
    let long = json!({"softprefix": {"max_new_tokens": 150}});
    let alone = {
        a.send(&infer_with("alone", &task, "hello", long.clone()));
        a.stream("alone").0
    };
    a.send(&infer_with("a", &task, "hello", long));
    let first = a.next();
    for _ in 0..5 {
        assert_eq!(b.ask(&bare("b", &task, "taskinfo"))["object"], "llm.taskinfo");
    }
    let mut text = first["data"]["delta"].as_str().unwrap().to_owned();
    if first["data"]["finish"] != true {
        text.push_str(&a.stream("a").0);
    }
    assert_eq!(text, alone);
    // Nothing of it went to B.
    b.expect_no_reply();

    // llm-sys replies to every call. Our actions are known by name, and the one that ends an inference arrives during it.
    let answered = |client: &mut Client, name: &str| {
        client.ask(&request(
            "c",
            "sys",
            "unit_call",
            &format!("llm.{name}"),
            json!("no pair"),
        ))["data"]
            .clone()
    };
    for name in extension::ACTIONS {
        assert_eq!(answered(&mut b, name), "None", "{name}");
    }
    assert_eq!(answered(&mut b, "softprefix.dance"), "softprefix.dance NotAction");
    let usage = json!({"softprefix": {"usage": true}});
    a.send(&infer_with("stopped", &task, "hello", usage));
    a.next();
    let stop = json!({"request_id": "stopped"});
    a.send(&request("s", &task, extension::STOP, extension::STOP, stop));
    let (mut reason, mut is_answered) = (Value::Null, false);
    while reason.is_null() || !is_answered {
        let reply = a.next();
        assert_eq!(reply["error"]["code"], 0, "{reply}");
        is_answered |= reply["object"] == extension::STOP;
        if reply["data"]["finish"] == true {
            reason = reply["usage"]["finish_reason"].clone();
        }
    }
    assert!(
        reason == "stopped" || reason == "stop",
        "{reason}: at the latest where the model ends it"
    );

    // Forms of old clients: frames by index, base64, RAW.
    let whole = b.set_up(&whole(model, 400));
    let expected = b.ask(&infer("w", &whole, "hello there"))["data"].clone();
    let frame = |id: &str, delta: &str, index: u32, finish: bool| {
        request(
            id,
            &whole,
            "inference",
            "llm.utf-8.stream",
            json!({"delta": delta, "index": index, "finish": finish}),
        )
    };
    b.send(&frame("f", "hello", 0, false));
    assert_eq!(b.ask(&frame("f", " there", 1, true))["data"], expected);
    let base64 = request("64", &whole, "inference", "llm.utf-8.base64", json!("aGVsbG8gdGhlcmU="));
    assert_eq!(b.ask(&base64)["data"], expected);
    for data in ["", r#","data":"None""#] {
        let header = format!(
            r#"{{"RAW":11,"request_id":"raw","work_id":"{whole}","action":"inference","object":"llm.utf-8.base64"{data}}}"#
        );
        b.write(format!("{header}hello there\n").as_bytes());
        let reply = b.next();
        assert_eq!(
            (&reply["request_id"], &reply["data"]),
            (&json!("raw"), &expected),
            "{data}"
        );
    }

    // Errors are sent to the client that caused them.
    let narrow = json!({"soft_prefix": prefix(2, hidden - 1, 0.5)});
    assert_eq!(error(&b.ask(&infer_with("n", &whole, "hello", narrow))).0, -30);
    assert_eq!(error(&b.ask(&frame("g", "x", 3, true))).0, -25);
    assert_eq!(error(&b.ask(&infer("none", "llm.9", "hello"))).0, -4);
    assert_eq!(error(&b.ask(&bare("none", "llm.9", "exit"))).0, -6);
    assert_eq!(
        error(&b.ask(&request("full", "llm", "setup", "llm.setup", streaming(model, 400)))).0,
        -21
    );
    for task in [&task, &whole] {
        assert_eq!(b.ask(&bare("x", task, "exit"))["error"]["code"], 0);
        assert_eq!(
            error(&b.ask(&infer("gone", task, "hello"))).0,
            -4,
            "llm-sys has the number back"
        );
    }
}

/// Kills llm-sys and the unit in turn, while they work.
fn kills(sys: &mut LlmSys, models: &Path, model: &str) {
    let mut unit = on_the_bus(&sys.folder, models);
    let busy = |sys: &LlmSys| {
        let mut client = sys.client();
        let task = client.set_up(&streaming(model, 400));
        client.send(&infer("long", &task, "hello"));
        client.next();
        (client, task)
    };
    let works = |sys: &LlmSys| {
        let mut client = sys.client();
        let task = client.set_up(&whole(model, 200));
        let short = json!({"softprefix": {"max_new_tokens": 3}});
        assert_eq!(client.ask(&infer_with("i", &task, "hello", short))["request_id"], "i");
        (client, task)
    };
    for _ in 0..3 {
        let _connections = busy(sys);
        sys.restart();
        eventually("the old task is freed", || {
            sys.client().ask(&bare("t", "llm", "taskinfo"))["data"] == json!([])
        });
        let (mut client, task) = works(sys);
        assert_eq!(task, "llm.1000", "numbers start afresh");
        client.ask(&bare("x", &task, "exit"));
    }
    for _ in 0..3 {
        let (_connections, old) = busy(sys);
        unit.process.kill();
        unit = on_the_bus(&sys.folder, models);
        let reply = sys.client().ask(&bare("x", &old, "exit"));
        assert_eq!(error(&reply).0, -6, "the new unit knows nothing of it");
        let (mut client, task) = works(sys);
        client.ask(&bare("x", &task, "exit"));
    }
    // Our own client learns without a timeout that its requests are lost, and can go on.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let options = ConnectOptions {
            idle: Duration::from_secs(1),
            ..ConnectOptions::default()
        };
        let module = Module::connect(sys.address.to_string(), options).await.unwrap();
        let set_up = SetUp::new(model, "You are helpful").greedy().max_positions(ROOM as u32);
        let task = module.set_up(&set_up).await.unwrap();
        let mut flowing = task.infer(InferenceRequest::new("hello"));
        flowing.next().await.unwrap().unwrap();
        // It is too fast for all of the others to be still pending when it is killed.
        unit.process.signal("-STOP");
        let running: Vec<_> = (0..20).map(|_| task.infer(InferenceRequest::new("hello"))).collect();
        unit.process.kill();
        unit = on_the_bus(&sys.folder, models);
        for inference in running {
            let error = inference.outcome().await.unwrap_err();
            assert!(error.needs_set_up(), "{error}");
        }
        if let Err(error) = flowing.outcome().await {
            assert!(error.needs_set_up(), "{error}");
        }
        let again = module.set_up(&set_up).await.unwrap();
        let request = InferenceRequest::new("hello").max_new_tokens(3);
        assert!(!again.infer(request).outcome().await.unwrap().text.is_empty());
        again.exit().await.unwrap();
    });
    let (mut client, task) = works(sys);
    assert!(unit.terminate());
    assert_eq!(
        error(&client.ask(&infer("i", &task, "hello"))).0,
        -4,
        "its number is released"
    );
    assert_eq!(
        error(&client.ask(&bare("t", "llm", "taskinfo"))).0,
        -9,
        "its file is removed"
    );
}

/// Runs everything on one model and compares it with the direct replies of the same program.
fn all_of_it(sys: &mut LlmSys, model: &Path) {
    let models = model.parent().unwrap();
    let name = model.file_stem().unwrap().to_str().unwrap();
    {
        let _unit = on_the_bus(&sys.folder, models);
        let direct = Direct::start(models);
        assert_eq!(
            with_our_client(sys.address, name),
            with_our_client(direct.address, name)
        );
        with_a_plain_client(sys.address, name);
    }
    kills(sys, models, name);
}

fn tiny(models: &Path) -> PathBuf {
    let path = models.join("tiny.gguf");
    let model = TinyModel {
        window: ROOM,
        ..TinyModel::qwen2()
    };
    model.write(&path).unwrap();
    path
}

#[test]
fn everything_a_client_does_works_behind_the_simulated_llm_sys() {
    let (folder, models) = (short_folder(), tempfile::tempdir().unwrap());
    let Some(mut sys) = LlmSys::start(folder.path()) else {
        return;
    };
    all_of_it(&mut sys, &tiny(models.path()));
}

#[test]
fn everything_a_client_does_works_behind_the_stock_llm_sys() {
    let Some(named) = std::env::var_os(STOCK_PROGRAM) else {
        println!("PASSED OVER: no stock llm-sys is named by {STOCK_PROGRAM}");
        return;
    };
    if stock_program().is_none() {
        let named = named.into_string().unwrap();
        let mut addresses = std::net::ToSocketAddrs::to_socket_addrs(&named).expect("a program's path, or HOST:PORT");
        return on_a_module(addresses.next().unwrap());
    }
    let models = tempfile::tempdir().unwrap();
    for model in [Some(tiny(models.path())), Some(small_model()), qwen_model()]
        .into_iter()
        .flatten()
    {
        let mut sys = LlmSys::start_as(Kind::Stock, Path::new("")).unwrap();
        all_of_it(&mut sys, &model);
        println!("behind {}: {}", named.display(), model.display());
    }
    bus_recorded::behind(Kind::Stock);
    bus_captures::behind_the_stock_program();
    println!("behind {}: the recorded conversations", named.display());
}

/// Tests a module that is already running.
fn on_a_module(address: SocketAddr) {
    let model = std::env::var("SOFTPREFIX_LLM_SYS_MODEL").unwrap_or_else(|_| {
        let cards = Client::connect(address).ask(&bare("l", "sys", "lsmode"));
        let first = cards["data"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|card| card["type"] == "llm");
        let first: Option<&Value> = first;
        first.expect("a model of the type llm")["mode"]
            .as_str()
            .unwrap()
            .to_owned()
    });
    let answers = with_our_client(address, &model);
    println!(
        "{model} at {address}: {:#?}, with prefixes {:#?}",
        answers.baselines, answers.prefixed
    );
    with_a_plain_client(address, &model);
}
