//! The session as a specification, against a module that speaks over a real socket and writes down what it is asked.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::some_prefix;
use serde_json::{Value, json};
use softprefix_core::client::ConnectOptions;
use softprefix_core::experiment::session::{CaseRequest, OpenRequest, Stop};
use softprefix_core::experiment::{Case, CaseOutcome, Prompt, Session, SessionError, Settings, WRITTEN_BY};
use softprefix_core::prefix::{
    Magnitude, Origin, PrefixError, PrefixKind, PrefixRecipe, PrefixStore, Rounding, SoftPrefix, encode,
};
use softprefix_core::protocol::extension::Priority;
use softprefix_core::protocol::{FrameReader, Reply, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MODEL: &str = "qwen2.5-0.5B-prefill-20e";
const H: usize = common::HIDDEN;
/// Positions that the model can hold.
const WINDOW: u64 = 1023;

/// What the module is.
#[derive(Clone, Copy)]
struct Manner {
    /// The name of our unit; `None` is a stock unit.
    unit: Option<&'static str>,
    /// The reply of `unit_call` that tells which actions the unit has.
    knows: &'static str,
    /// Whether tasks end when they are asked to.
    exits: bool,
    /// Longest prompt according to the card.
    prefill: Option<u64>,
}

const STOCK: Manner = Manner {
    unit: None,
    knows: "softprefix.embed NotAction",
    exits: true,
    prefill: None,
};
/// Our unit behind llm-sys, whose cards have no mark.
const OURS: Manner = Manner {
    unit: Some("softprefix-unit 0.0.0"),
    knows: "None",
    exits: true,
    prefill: None,
};

struct FakeModule {
    address: String,
    /// Requests to tasks and set-ups, in order.
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeModule {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let for_loop = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, manner, Arc::clone(&for_loop)));
            }
        });
        Self { address, asked }
    }

    async fn open(&self, settings: Settings, prefix_store: Option<PrefixStore>) -> Session {
        let request = OpenRequest {
            address: self.address.clone(),
            name: None,
            model: None,
            system: "first".to_owned(),
            settings,
            limits: ConnectOptions {
                settle: Duration::ZERO,
                request: Duration::from_secs(600),
                ..ConnectOptions::default()
            },
            prefix_store,
        };
        Session::open(request, |_| ()).await.unwrap()
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, manner: Manner, asked: Arc<Mutex<Vec<String>>>) {
    let (mut frames, mut buffer) = (FrameReader::new(1 << 24), vec![0; 1 << 16]);
    // The positions of the last task.
    let (mut tasks, mut positions) = (0, 0);
    loop {
        while let Some(frame) = frames.next().unwrap() {
            let request: Request = serde_json::from_slice(&frame).unwrap();
            let answer = |object: &str, data: Value| Reply::data(&request.request_id, &request.work_id, object, data);
            let note = |what: String| asked.lock().unwrap().push(what);
            let reply = match (request.work_id.as_str(), request.action.as_str()) {
                ("sys", "ping") => Reply::ok(&request.request_id, &request.work_id),
                ("sys", "version") => answer("sys.utf-8", json!("v1.6")),
                ("sys", "unit_call") => answer("llm.softprefix.embed", json!(manner.knows)),
                ("sys", "lsmode") => answer(
                    "sys.lsmode",
                    json!([{"mode": MODEL, "type": "llm",
                        "mode_param": {"tokens_embed_size": H, "max_token_len": WINDOW,
                            "prefill_token_num": manner.prefill}}]),
                ),
                ("llm", "setup") => {
                    let data = request.data.as_ref().unwrap();
                    positions = data["max_token_len"].as_u64().unwrap();
                    note(format!("setup {} {positions}", data["prompt"].as_str().unwrap()));
                    tasks += 1;
                    Reply::ok(&request.request_id, format!("llm.{}", 999 + tasks))
                }
                (_, "taskinfo") => {
                    let mut info = json!({"enoutput": true, "inputs": ["llm.utf-8"], "model": MODEL,
                        "response_format": "llm.utf-8"});
                    if let Some(unit) = manner.unit {
                        info["soft_prefix"] = json!({"version": 1, "hidden_size": H, "window": WINDOW.min(positions),
                            "concurrency": 4, "unit": unit, "backend": "test", "features": ["embed"]});
                    }
                    answer("llm.taskinfo", info)
                }
                (task, "softprefix.embed") => {
                    note(format!("embed {task}"));
                    let rows = SoftPrefix::from_f32(H, &[0.125; H], Rounding::NearestEven).unwrap();
                    answer(
                        "softprefix.embed",
                        json!({"hidden_size": H, "len": 1, "data_b64": encode(&rows).data_b64,
                            "tokens": [{"id": 7, "text": "森"}]}),
                    )
                }
                (task, "exit") => {
                    note(format!("exit {task}"));
                    if !manner.exits {
                        continue;
                    }
                    Reply::ok(&request.request_id, &request.work_id)
                }
                other => panic!("the module was asked {other:?}"),
            };
            let bytes = softprefix_core::protocol::encode(&reply);
            // The client may have gone.
            let _ = stream.write_all(&bytes).await;
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => frames.push(&buffer[..length]),
        }
    }
}

fn at_most(max_new_tokens: usize) -> Settings {
    Settings {
        max_new_tokens: Some(max_new_tokens),
        ..Settings::default()
    }
}

fn recipe(kind: PrefixKind) -> PrefixRecipe {
    PrefixRecipe::new(kind, 1, Magnitude::Unscaled)
}

#[tokio::test]
async fn a_recipe_that_finds_no_task_does_not_end_the_one_that_is_set_up_meanwhile() {
    let module = FakeModule::start(OURS).await;
    let session = module.open(Settings::default(), None).await;
    let words = recipe(PrefixKind::Words { text: "森".into() });
    let settings = Settings::default();
    // The second and the third wait for the first to end, in this order.
    let ((), built, task) = tokio::join!(
        session.exit_current_task(),
        session.build(&words),
        session.task_for("second", &settings)
    );
    assert_eq!((built.unwrap().len(), task.unwrap().work_id()), (1, "llm.1002"));
    assert_eq!(
        module.asked(),
        [
            "setup first 1023",
            "exit llm.1000",
            "setup  1023",
            "embed llm.1001",
            "exit llm.1001",
            "setup second 1023"
        ]
    );
}

#[tokio::test]
async fn on_our_unit_a_longer_output_needs_no_other_task_also_where_its_card_has_no_mark() {
    let module = FakeModule::start(OURS).await;
    let session = module.open(at_most(16), None).await;
    session.task_for("first", &at_most(800)).await.unwrap();
    assert_eq!(module.asked(), ["setup first 1023"]);
}

#[tokio::test]
async fn on_a_stock_unit_the_positions_of_a_task_limit_the_output() {
    let module = FakeModule::start(STOCK).await;
    let session = module.open(at_most(16), None).await;
    for max_new_tokens in [16, 800] {
        session.task_for("first", &at_most(max_new_tokens)).await.unwrap();
    }
    assert_eq!(module.asked(), ["setup first 144", "exit llm.1000", "setup first 928"]);
}

#[tokio::test]
async fn a_stock_unit_whose_card_names_its_longest_prompt_gets_positions_for_that_one() {
    let prefill = Some(320);
    let module = FakeModule::start(Manner { prefill, ..STOCK }).await;
    let session = module.open(at_most(16), None).await;
    session.task_for("first", &at_most(64)).await.unwrap();
    assert_eq!(module.asked(), ["setup first 336", "exit llm.1000", "setup first 384"]);
    assert_eq!(session.facts().identity.prefill_window, Some(320));
}

#[tokio::test]
async fn a_unit_that_shows_only_in_its_taskinfo_that_it_is_ours_gets_a_task_without_the_limit_of_a_stock_one() {
    let module = FakeModule::start(Manner { knows: "", ..OURS }).await;
    let session = module.open(at_most(16), None).await;
    session.task_for("first", &at_most(800)).await.unwrap();
    assert_eq!(module.asked(), ["setup first 144", "exit llm.1000", "setup first 1023"]);
}

#[tokio::test]
async fn a_small_first_task_does_not_make_the_next_one_small() {
    let module = FakeModule::start(OURS).await;
    let small = Settings {
        max_token_len: Some(64),
        ..Settings::default()
    };
    let session = module.open(small, None).await;
    session.task_for("first", &Settings::default()).await.unwrap();
    assert_eq!(module.asked(), ["setup first 64", "exit llm.1000", "setup first 1023"]);
}

#[tokio::test]
async fn our_unit_is_recognised_without_its_name() {
    let module = FakeModule::start(Manner { unit: Some(""), ..OURS }).await;
    let session = module.open(Settings::default(), None).await;
    assert!(session.facts().is_ours());
    assert_eq!(session.facts().identity.unit.as_deref(), Some("softprefix-unit"));
    assert_eq!(session.facts().concurrency, 4);

    let stock = FakeModule::start(STOCK).await.open(Settings::default(), None).await;
    assert!(!stock.facts().is_ours());
    assert_eq!((&stock.facts().identity.unit, stock.facts().concurrency), (&None, 1));
}

#[tokio::test]
async fn a_task_that_does_not_end_does_not_keep_the_next_one_waiting_until_the_limit_of_a_request() {
    let module = FakeModule::start(Manner { exits: false, ..OURS }).await;
    let session = module.open(Settings::default(), None).await;
    let settings = Settings::default();
    let next = session.task_for("second", &settings);
    let task = tokio::time::timeout(Duration::from_secs(60), next).await;
    assert_eq!(task.expect("long before 600 s").unwrap().work_id(), "llm.1001");
}

#[tokio::test]
async fn rows_that_are_missing_different_or_unreadable_in_the_store_have_different_errors() {
    let folder = tempfile::tempdir().unwrap();
    let store = PrefixStore::new(folder.path());
    let sha256 = store.put(&some_prefix()).unwrap();
    let file = folder.path().join(format!("{sha256}.safetensors"));
    let imported = recipe(PrefixKind::Imported {
        name: "forest".into(),
        sha256: sha256.clone(),
        origin: Origin::File,
    });
    let module = FakeModule::start(OURS).await;
    let build = async || {
        // A session keeps the rows that it has read.
        let session = module.open(Settings::default(), Some(store.clone())).await;
        match session.build(&imported).await {
            Ok(prefix) => Ok(prefix),
            Err(SessionError::Prefix(error)) => Err(error),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(build().await, Ok(some_prefix()));

    std::fs::write(&file, b"torn").unwrap();
    let error = build().await.unwrap_err();
    assert!(matches!(&error, PrefixError::StoredUnreadable { name, .. } if name == "forest"));
    let sentence = error.to_string();
    assert!(sentence.contains(&*file.to_string_lossy()) && sentence.ends_with("; import the original file again"));
    assert_eq!(sentence.matches("; ").count(), 1, "one remedy: {sentence}");

    let others = SoftPrefix::from_f32(H, &[0.5; H], Rounding::NearestEven).unwrap();
    let elsewhere = PrefixStore::new(folder.path().join("others")).put(&others).unwrap();
    std::fs::rename(folder.path().join(format!("others/{elsewhere}.safetensors")), &file).unwrap();
    assert!(matches!(build().await, Err(PrefixError::StoredDiffers { found, .. }) if found == elsewhere));

    std::fs::remove_file(&file).unwrap();
    let missing = PrefixError::StoredMissing {
        name: "forest".into(),
        sha256,
    };
    assert_eq!(build().await, Err(missing));
}

#[tokio::test]
async fn a_case_whose_prefix_cannot_be_built_fails_before_it_is_sent_and_its_duration_is_0() {
    let folder = tempfile::tempdir().unwrap();
    let module = FakeModule::start(OURS).await;
    let settings = Settings::default();
    let session = module
        .open(settings.clone(), Some(PrefixStore::new(folder.path())))
        .await;
    let missing = recipe(PrefixKind::Imported {
        name: "forest".into(),
        sha256: "0".repeat(64),
        origin: Origin::File,
    });
    let request = CaseRequest {
        experiment: "e".into(),
        case: Case::new(0, 0, 0, Some(missing)),
        prompt: Prompt {
            system: "first".into(),
            user: "Say hello.".into(),
        },
        settings: settings.clone(),
        priority: Priority::Live,
        draft: Vec::new(),
        attempt: 1,
        written_by: WRITTEN_BY.into(),
    };
    let task = session.task_for("first", &settings).await.unwrap();
    let finished = session.run(&task, request, Stop::never(), |_| {}).await.unwrap();
    let CaseOutcome::Failed(failure) = finished.record.outcome else {
        panic!("{:?}", finished.record)
    };
    assert_eq!(failure.elapsed_sec, 0.0);
}
