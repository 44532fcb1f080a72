//! The runner as a specification, against a unit that speaks over a real socket and can be configured to misbehave.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use softprefix_core::client::{ClientError, ConnectOptions, Module};
use softprefix_core::compare::{Measure, Verdict};
use softprefix_core::experiment::runner::CanaryFinding;
use softprefix_core::experiment::session::OpenRequest;
use softprefix_core::experiment::{
    Analysis, Applied, CaseOutcome, Ending, Entry, Generation, Journal, JournalError, Library, Magnitudes, Plan,
    PrefixSearchRequest, Prompt, Record, Run, RunEnd, RunError, RunEvent, RunOptions, RunRequest, SaveTo,
    SavedExperiment, Session, SessionError, Settings, SharedJournal, SimilarityLimit, Sweep, ThresholdRequest,
    ThresholdResult, ThresholdSearch, Values, experiments, new_id,
};
use softprefix_core::prefix::{
    Magnitude, Origin, PrefixKind, PrefixRecipe, PrefixStore, Rounding, SoftPrefix, decode_value,
};
use softprefix_core::protocol::extension::SoftPrefixEcho;
use softprefix_core::protocol::{FrameReader, Reply, Request};
use softprefix_core::search::{Objective, PrefixSearch, SearchError, SearchSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, Notify, Semaphore};

const MODEL: &str = "qwen2.5-0.5B-prefill-20e";
const H: usize = 8;

/// How the unit behaves.
#[derive(Clone)]
struct Manner {
    /// Inferences at once; `None`: a stock module, which says nothing of prefixes.
    ours: Option<usize>,
    /// Whether a stock module ignores prefixes.
    applies: bool,
    /// No two answers are the same.
    noisy: bool,
    /// How long an inference takes: the tests of a pause and of a cancel need a unit that is slower than they are.
    takes: Duration,
    /// Inferences, counted over all connections from 1, at which the connection breaks.
    breaks_at: Vec<usize>,
    /// Connections are refused from this one on, counted from 1.
    gone_from: usize,
    /// What is streamed before the connection breaks.
    says_before_it_breaks: &'static str,
    /// Raw magnitudes (first value of the prefix) that are answered with an error.
    refuses: Vec<f32>,
    /// Each set-up waits for a permit.
    sets_up: Arc<Semaphore>,
    /// Inferences, counted like those of `breaks_at`, of which none is answered before all are there.
    together: Option<(RangeInclusive<usize>, Arc<Barrier>)>,
}

impl Manner {
    fn ours(at_once: usize) -> Self {
        Self {
            ours: Some(at_once),
            applies: true,
            noisy: false,
            takes: Duration::from_millis(5),
            breaks_at: vec![],
            gone_from: usize::MAX,
            says_before_it_breaks: "",
            refuses: vec![],
            sets_up: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS / 2)),
            together: None,
        }
    }

    /// These inferences are answered only when all of them are running.
    fn together(self, numbers: RangeInclusive<usize>) -> Self {
        let barrier = Arc::new(Barrier::new(numbers.clone().count()));
        Self {
            together: Some((numbers, barrier)),
            ..self
        }
    }

    fn stock() -> Self {
        Self {
            ours: None,
            ..Self::ours(1)
        }
    }
}

/// What the unit saw.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    inferences: AtomicUsize,
    running: AtomicUsize,
    most_at_once: AtomicUsize,
    set_ups: Mutex<Vec<String>>,
    set_up_came: Notify,
    exits: AtomicUsize,
    /// Every prompt with the P of its prefix, in order.
    asked: Mutex<Vec<(String, usize)>>,
}

struct Unit {
    address: String,
    seen: Arc<Seen>,
    sets_up: Arc<tokio::sync::Semaphore>,
}

impl Unit {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Seen::default());
        let for_loop = Arc::clone(&seen);
        let sets_up = Arc::clone(&manner.sets_up);
        tokio::spawn(async move {
            let mut listener = Some(listener);
            while let Some(open) = &listener {
                let (stream, _) = open.accept().await.unwrap();
                let number = for_loop.connections.fetch_add(1, Ordering::SeqCst) + 1;
                if number >= manner.gone_from {
                    listener = None;
                    continue;
                }
                tokio::spawn(serve(stream, manner.clone(), Arc::clone(&for_loop)));
            }
        });
        Self { address, seen, sets_up }
    }

    /// Opens it and gives its first task up again, so that what is seen afterwards is the run's.
    async fn open(&self, prefix_store: Option<PrefixStore>) -> Arc<Session> {
        self.sets_up.add_permits(1);
        let request = OpenRequest {
            address: self.address.clone(),
            name: None,
            model: Some(MODEL.to_owned()),
            system: String::new(),
            settings: Settings::default(),
            limits: ConnectOptions {
                settle: Duration::ZERO,
                request: Duration::from_secs(5),
                retries: vec![Duration::from_millis(10); 3],
                ..ConnectOptions::default()
            },
            prefix_store,
        };
        let session = Session::open(request, |_| ()).await.unwrap();
        session.exit_current_task().await;
        self.seen.set_up_came.notified().await;
        self.seen.set_ups.lock().unwrap().clear();
        self.seen.exits.store(0, Ordering::SeqCst);
        Arc::new(session)
    }
}

async fn serve(stream: TcpStream, manner: Manner, seen: Arc<Seen>) {
    let (mut read, write) = stream.into_split();
    let write = Arc::new(tokio::sync::Mutex::new(write));
    let (mut frames, mut buffer) = (FrameReader::new(1 << 24), vec![0; 1 << 16]);
    let broken = Arc::new(tokio::sync::Notify::new());
    loop {
        while let Some(frame) = frames.next().unwrap() {
            let request: Request = serde_json::from_slice(&frame).unwrap();
            let answer = |object: &str, data: Value| Reply::data(&request.request_id, &request.work_id, object, data);
            let reply = match (request.work_id.as_str(), request.action.as_str()) {
                ("sys", "ping") => Reply::ok(&request.request_id, &request.work_id),
                ("sys", "version") => answer("sys.utf-8", json!("v1.6")),
                ("sys", "unit_call") => {
                    let knows = if manner.ours.is_some() {
                        "None"
                    } else {
                        "softprefix.embed NotAction"
                    };
                    answer("llm.softprefix.embed", json!(knows))
                }
                ("sys", "lsmode") => answer(
                    "sys.lsmode",
                    json!([{
                    "mode": MODEL, "type": "llm", "mode_param": {"tokens_embed_size": H, "max_token_len": 127}}]),
                ),
                ("llm", "setup") => {
                    let prompt = request.data.as_ref().unwrap()["prompt"].as_str().unwrap().to_owned();
                    let count = {
                        let mut set_ups = seen.set_ups.lock().unwrap();
                        set_ups.push(prompt);
                        set_ups.len()
                    };
                    seen.set_up_came.notify_one();
                    manner.sets_up.acquire().await.unwrap().forget();
                    Reply::ok(&request.request_id, format!("llm.{}", 999 + count))
                }
                (_, "taskinfo") => {
                    let mut info = json!({"enoutput": true, "inputs": ["llm.utf-8"], "model": MODEL, "response_format": "llm.utf-8"});
                    if let Some(at_once) = manner.ours {
                        info["soft_prefix"] = json!({"version": 1, "hidden_size": H, "window": 256, "concurrency": at_once,
                            "unit": "softprefix-unit 0.0.0", "backend": "test", "features": ["embed", "vocabulary"]});
                    }
                    answer("llm.taskinfo", info)
                }
                (_, "softprefix.vocabulary") => answer(
                    "softprefix.vocabulary",
                    json!({"hidden_size": H, "rows": 10, "max": 1.0,
                    "rms": 0.2, "percentiles": {"1": 0.4, "5": 0.4, "25": 0.45, "50": 0.5, "75": 0.6, "95": 0.7, "99": 0.8}}),
                ),
                (_, "softprefix.embed") => {
                    let rows = SoftPrefix::from_f32(H, &[0.125; H], Rounding::NearestEven).unwrap();
                    let field = softprefix_core::prefix::encode(&rows);
                    answer(
                        "softprefix.embed",
                        json!({"hidden_size": H, "len": 1, "data_b64": field.data_b64,
                        "tokens": [{"id": 7, "text": "森"}]}),
                    )
                }
                (_, "exit") => {
                    seen.exits.fetch_add(1, Ordering::SeqCst);
                    Reply::ok(&request.request_id, &request.work_id)
                }
                (_, "inference") => {
                    let number = seen.inferences.fetch_add(1, Ordering::SeqCst) + 1;
                    if manner.breaks_at.contains(&number) {
                        if !manner.says_before_it_breaks.is_empty() {
                            let frame = json!({"index": 0, "delta": manner.says_before_it_breaks, "finish": false});
                            send(&write, &answer("llm.utf-8.stream", frame)).await;
                        }
                        broken.notify_one();
                        continue;
                    }
                    tokio::spawn(infer(
                        request.clone(),
                        number,
                        manner.clone(),
                        Arc::clone(&seen),
                        Arc::clone(&write),
                    ));
                    continue;
                }
                other => panic!("the unit was asked {other:?}"),
            };
            send(&write, &reply).await;
        }
        tokio::select! {
            // The connection breaks: both halves go.
            () = broken.notified() => {
                write.lock().await.shutdown().await.unwrap();
                return;
            }
            length = read.read(&mut buffer) => match length {
                Ok(0) | Err(_) => return,
                Ok(length) => frames.push(&buffer[..length]),
            },
        }
    }
}

async fn send(write: &tokio::sync::Mutex<tokio::net::tcp::OwnedWriteHalf>, reply: &Reply) {
    // The client may have gone.
    let _ = write
        .lock()
        .await
        .write_all(&softprefix_core::protocol::encode(reply))
        .await;
}

const TEXT: &str = "こんにちは。私は人工知能です。何かお手伝いできることはありますか。";

/// The answer to a prefix whose largest value is `v`: the more, the further from the baseline.
fn text_for(v: f32) -> String {
    let keep = (1.0 - v.clamp(0.0, 1.0)) * TEXT.chars().count() as f32;
    let kept: String = TEXT.chars().take(keep.round() as usize).collect();
    let rest = TEXT.chars().count() - kept.chars().count();
    kept + &"森".repeat(rest)
}

async fn infer(
    request: Request,
    number: usize,
    manner: Manner,
    seen: Arc<Seen>,
    write: Arc<tokio::sync::Mutex<tokio::net::tcp::OwnedWriteHalf>>,
) {
    let running = seen.running.fetch_add(1, Ordering::SeqCst) + 1;
    seen.most_at_once.fetch_max(running, Ordering::SeqCst);
    match &manner.together {
        Some((numbers, barrier)) if numbers.contains(&number) => {
            barrier.wait().await;
        }
        _ => tokio::time::sleep(manner.takes).await,
    }
    seen.running.fetch_sub(1, Ordering::SeqCst);
    let data = request.data.clone().unwrap();
    let prefix = data.get("soft_prefix").map(|field| decode_value(field, H).unwrap());
    let prompt = data["delta"]
        .as_str()
        .unwrap_or_else(|| data.as_str().unwrap_or_default())
        .to_owned();
    seen.asked
        .lock()
        .unwrap()
        .push((prompt, prefix.as_ref().map_or(0, SoftPrefix::len)));
    let largest = prefix.as_ref().map_or(0.0, |prefix| {
        prefix.values().iter().map(|v| v.to_f32()).fold(0.0, f32::max)
    });
    let mut reply = Reply::ok(&request.request_id, &request.work_id);
    reply.object = "llm.utf-8".into();
    if manner
        .refuses
        .iter()
        .any(|v| prefix.is_some() && (v - largest).abs() < 1e-3)
    {
        reply.error = softprefix_core::protocol::ErrorField {
            code: softprefix_core::protocol::Code(-30),
            message: "soft prefix is odd".into(),
        };
        return send(&write, &reply).await;
    }
    let mut text = if manner.applies {
        text_for(largest)
    } else {
        TEXT.to_owned()
    };
    if manner.noisy {
        text = format!("{}{text}", ["あ", "い", "う"][number % 3].repeat(5 + number % 7));
    }
    let tokens: Vec<u32> = text.chars().map(u32::from).collect();
    if manner.ours.is_some() {
        reply.soft_prefix = prefix.as_ref().map(SoftPrefixEcho::of);
        reply.usage = Some(serde_json::from_value(json!({"completion_tokens": tokens.len(), "decode_ms": 4.0, "finish_reason": "stop",
            "prefill_ms": 1.0, "prefix_len": 0, "prompt_tokens": 3, "queue_ms": 0.0, "template_tokens": 9, "tokens": tokens})).unwrap());
    }
    reply.data = json!(text);
    send(&write, &reply).await;
}

struct Outcomes {
    events: Vec<RunEvent>,
    end: RunEnd,
}

impl Outcomes {
    async fn of(mut run: Run) -> Self {
        let mut events = Vec::new();
        loop {
            let event = tokio::time::timeout(Duration::from_secs(30), run.next())
                .await
                .expect("an event")
                .expect("an end");
            if let RunEvent::Ended(end) = event {
                return Self { events, end };
            }
            events.push(event);
        }
    }

    fn records(&self) -> Vec<Record> {
        let finished = |event: &RunEvent| match event {
            RunEvent::CaseFinished(record) => Some((**record).clone()),
            _ => None,
        };
        let mut out: Vec<Record> = self.events.iter().filter_map(finished).collect();
        out.sort_by_key(|record| record.case.index);
        out
    }

    /// The most cases that were begun and not finished at a time.
    fn most_at_once(&self) -> usize {
        let (mut running, mut most) = (0, 0);
        for event in &self.events {
            match event {
                RunEvent::CaseStarted { .. } => running += 1,
                RunEvent::CaseFinished(_) | RunEvent::CaseLost { .. } => running -= 1,
                _ => {}
            }
            most = most.max(running);
        }
        most
    }

    fn has(&self, wanted: impl Fn(&RunEvent) -> bool) -> bool {
        self.events.iter().any(wanted)
    }
}

fn plan() -> Plan {
    Plan::new(
        Prompt {
            system: "You are kind.".into(),
            user: "自己紹介".into(),
        },
        Sweep::script(1),
    )
}

fn journal(folder: &tempfile::TempDir) -> SharedJournal {
    Arc::new(Mutex::new(Journal::open(&folder.path().join("j")).unwrap().0))
}

async fn request(unit: &Unit, plan: Plan, folder: &tempfile::TempDir) -> RunRequest {
    RunRequest {
        plan,
        session: unit.open(None).await,
        save_to: SaveTo::Journal(journal(folder)),
        resume: None,
        options: RunOptions::default(),
    }
}

fn saved(folder: &tempfile::TempDir) -> Vec<SavedExperiment> {
    experiments(Journal::read(&folder.path().join("j")).unwrap().0)
}

#[tokio::test]
async fn a_sweep_on_our_unit_runs_in_batches_and_every_case_is_kept() {
    let manner = Manner::ours(4).together(1..=4);
    let (unit, folder) = (Unit::start(manner).await, tempfile::tempdir().unwrap());
    let outcomes = Outcomes::of(Run::start(request(&unit, plan(), &folder).await).unwrap()).await;
    assert_eq!(outcomes.end, RunEnd::Complete);
    let records = outcomes.records();
    assert_eq!(records.len(), 12);
    assert_eq!(outcomes.most_at_once(), 4, "as many as the unit takes, and no more");
    assert!(
        records
            .iter()
            .all(|record| record.error().is_none() && record.attempts == 1)
    );
    assert!(records[1..11].iter().all(|record| record.applied() == Applied::Proven));

    let first = &records[1];
    assert_eq!(
        (first.module.unit.as_deref(), first.module.version.as_deref()),
        (Some("softprefix-unit 0.0.0"), Some("v1.6"))
    );
    assert_eq!((first.module.hidden_size, first.module.median_norm), (H, Some(0.5)));
    assert_eq!(first.module.card["mode"], MODEL);
    assert_eq!(first.tokens().unwrap().len(), TEXT.chars().count());
    assert_eq!(
        first.answer().unwrap().usage.as_ref().unwrap().tokens,
        [0_u32; 0],
        "they stand once"
    );

    let history = saved(&folder);
    let saved = &history[0];
    assert_eq!((saved.records.len(), saved.ending), (12, Some(Ending::Complete)));
    assert!(
        saved.records.iter().all(|record| records.contains(record)),
        "what was reported is what is kept"
    );
    let analysis = Analysis::of(&saved.records);
    assert!(analysis.groups[0].is_deterministic());
    assert_eq!(analysis.groups[0].lines()[0].1.len(), 10);
}

#[tokio::test]
async fn a_stock_module_gets_one_case_at_a_time_after_its_canary() {
    let (unit, folder) = (Unit::start(Manner::stock()).await, tempfile::tempdir().unwrap());
    let outcomes = Outcomes::of(Run::start(request(&unit, plan(), &folder).await).unwrap()).await;
    assert_eq!((&outcomes.end, outcomes.most_at_once()), (&RunEnd::Complete, 1));
    assert_eq!(unit.seen.most_at_once.load(Ordering::SeqCst), 1, "the canary's too");
    assert!(
        outcomes.has(|event| matches!(event, RunEvent::Canary(canary) if canary.finding == CanaryFinding::Applied))
    );
    assert_eq!(unit.seen.inferences.load(Ordering::SeqCst), 3 + 12);
    assert!(outcomes.records()[5].applied() == Applied::Unknown);
}

#[tokio::test]
async fn a_stock_module_that_ignores_prefixes_is_detected_before_the_sweep() {
    let manner = Manner {
        applies: false,
        ..Manner::stock()
    };
    let (unit, folder) = (Unit::start(manner).await, tempfile::tempdir().unwrap());
    let outcomes = Outcomes::of(Run::start(request(&unit, plan(), &folder).await).unwrap()).await;
    assert_eq!(outcomes.end, RunEnd::NoEffect);
    assert!(outcomes.has(|event| matches!(event, RunEvent::Canary(canary) if canary.sentence().en.contains("bf16"))));
    assert_eq!(
        unit.seen.inferences.load(Ordering::SeqCst),
        2,
        "nobody waits for a sweep that shows nothing"
    );

    // A person may want it all the same.
    let mut anyway = request(&unit, plan(), &tempfile::tempdir().unwrap()).await;
    anyway.save_to = SaveTo::Nowhere;
    anyway.options.stop_without_effect = false;
    assert_eq!(Outcomes::of(Run::start(anyway).unwrap()).await.end, RunEnd::Complete);
}

#[tokio::test]
async fn a_noisy_stock_module_gets_the_benefit_of_no_doubt() {
    let manner = Manner {
        applies: false,
        noisy: true,
        ..Manner::stock()
    };
    let (unit, folder) = (Unit::start(manner).await, tempfile::tempdir().unwrap());
    let outcomes = Outcomes::of(Run::start(request(&unit, plan(), &folder).await).unwrap()).await;
    let finding = outcomes.events.iter().find_map(|event| match event {
        RunEvent::Canary(canary) => Some(canary.finding),
        _ => None,
    });
    assert!(matches!(
        finding,
        Some(CanaryFinding::Inconclusive | CanaryFinding::Applied)
    ));
    let records = outcomes.records();
    let analysis = Analysis::of(&records);
    assert!(!analysis.groups[0].is_deterministic());
    assert!(analysis.groups[0].noise_floor(Measure::Chrf2).unwrap() < 100.0);
}

#[tokio::test]
async fn a_failed_case_is_recorded_with_its_error_and_the_others_run() {
    let manner = Manner {
        refuses: vec![0.1, 1.0],
        ..Manner::ours(3)
    };
    let (unit, folder) = (Unit::start(manner).await, tempfile::tempdir().unwrap());
    let outcomes = Outcomes::of(Run::start(request(&unit, plan(), &folder).await).unwrap()).await;
    assert_eq!(outcomes.end, RunEnd::Complete);
    let failed: Vec<String> = outcomes
        .records()
        .iter()
        .filter(|r| r.error().is_some())
        .map(|r| r.case.name.clone())
        .collect();
    assert_eq!(failed, ["prefix_val_0.1", "prefix_val_1.0"]);
    assert!(
        saved(&folder)[0]
            .records
            .iter()
            .any(|record| record.error().is_some_and(|e| e.contains("odd")))
    );
    let progress = outcomes.events.iter().rev().find_map(|event| match event {
        RunEvent::Progress(progress) => Some(*progress),
        _ => None,
    });
    assert_eq!(
        progress.map(|p| (p.finished, p.failed, p.total, p.running)),
        Some((12, 2, 12, 0))
    );
}

#[tokio::test]
async fn a_module_that_dies_is_reached_again_and_its_cases_are_repeated_once() {
    let manner = Manner {
        breaks_at: vec![6],
        ..Manner::ours(3)
    };
    let (unit, folder) = (Unit::start(manner).await, tempfile::tempdir().unwrap());
    let outcomes = Outcomes::of(Run::start(request(&unit, plan(), &folder).await).unwrap()).await;
    assert_eq!(outcomes.end, RunEnd::Complete);
    assert!(outcomes.has(
        |event| matches!(event, RunEvent::Reconnecting { because: RunError::Session { error, .. } }
            if matches!(**error, SessionError::Client(ClientError::ConnectionLost { .. })))
    ));
    assert!(outcomes.has(|event| matches!(event, RunEvent::Reconnected)));
    let records = outcomes.records();
    assert_eq!(records.len(), 12);
    assert!(records.iter().all(|record| record.error().is_none()));
    assert!(records.iter().any(|record| record.attempts == 2));
    assert_eq!(unit.seen.set_ups.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_case_that_kills_the_module_twice_is_a_failed_case() {
    // The sixth inference dies, and so does its repeat, which runs alone.
    let manner = Manner {
        breaks_at: vec![6, 7],
        ..Manner::ours(1)
    };
    let (unit, folder) = (Unit::start(manner).await, tempfile::tempdir().unwrap());
    let outcomes = Outcomes::of(Run::start(request(&unit, plan(), &folder).await).unwrap()).await;
    assert_eq!(outcomes.end, RunEnd::Complete);
    let records = outcomes.records();
    let failed: Vec<(usize, u32)> = records
        .iter()
        .filter(|record| record.error().is_some())
        .map(|record| (record.case.index, record.attempts))
        .collect();
    assert_eq!((records.len(), failed), (12, vec![(5, 2)]));
}

#[tokio::test]
async fn a_module_that_stays_away_interrupts_the_run_and_the_rest_runs_later() {
    let manner = Manner {
        breaks_at: vec![6],
        gone_from: 2,
        ..Manner::ours(1)
    };
    let (unit, folder) = (Unit::start(manner).await, tempfile::tempdir().unwrap());
    let first = Outcomes::of(Run::start(request(&unit, plan(), &folder).await).unwrap()).await;
    let RunEnd::Interrupted {
        error: RunError::Session {
            error,
            is_embedded: false,
        },
    } = &first.end
    else {
        panic!("{:?}", first.end)
    };
    assert!(
        matches!(**error, SessionError::Client(ClientError::Connect { .. })),
        "{error}"
    );
    assert_eq!(first.records().len(), 5);

    let history = saved(&folder);
    let interrupted = &history[0];
    assert_eq!(
        (interrupted.ending, interrupted.finished()),
        (None, (0..5).collect::<HashSet<_>>())
    );
    let back = Unit::start(Manner::ours(4)).await;
    let resumed = RunRequest {
        resume: Some(interrupted.clone()),
        ..request(&back, plan(), &folder).await
    };
    let second = Outcomes::of(Run::start(resumed).unwrap()).await;
    assert_eq!((second.end.clone(), second.records().len()), (RunEnd::Complete, 7));
    let history = saved(&folder);
    assert_eq!(history.len(), 1, "it is the same experiment");
    assert_eq!(history[0].finished(), (0..12).collect());
    assert_eq!(history[0].ending, Some(Ending::Complete));
}

#[tokio::test]
async fn the_progress_of_a_resumed_run_counts_earlier_failures_among_its_finished_cases() {
    let manner = Manner {
        refuses: vec![0.01],
        breaks_at: vec![9],
        gone_from: 2,
        ..Manner::ours(1)
    };
    let (unit, folder) = (Unit::start(manner).await, tempfile::tempdir().unwrap());
    let first = Outcomes::of(Run::start(request(&unit, plan(), &folder).await).unwrap()).await;
    let failed = first.records().iter().filter(|record| record.error().is_some()).count();
    assert_eq!(failed, 1);

    let back = Unit::start(Manner::ours(1)).await;
    let resumed = RunRequest {
        resume: saved(&folder).pop(),
        ..request(&back, plan(), &folder).await
    };
    let second = Outcomes::of(Run::start(resumed).unwrap()).await;
    assert_eq!(second.end, RunEnd::Complete);
    let progress = second.events.iter().filter_map(|event| match event {
        RunEvent::Progress(progress) => Some(progress.failed),
        _ => None,
    });
    let failed: Vec<usize> = progress.collect();
    assert!(
        !failed.is_empty() && failed.iter().all(|&failed| failed == 1),
        "{failed:?}"
    );
}

#[tokio::test]
async fn a_pause_begins_no_case_and_going_on_finishes() {
    let manner = Manner {
        takes: Duration::from_millis(20),
        ..Manner::ours(2)
    };
    let (unit, folder) = (Unit::start(manner).await, tempfile::tempdir().unwrap());
    let mut run = Run::start(request(&unit, plan(), &folder).await).unwrap();
    while !matches!(run.next().await.unwrap(), RunEvent::CaseFinished(_)) {}
    run.pause();
    loop {
        if let RunEvent::Progress(progress) = run.next().await.unwrap()
            && progress.paused
            && progress.running == 0
        {
            break;
        }
    }
    let before = unit.seen.inferences.load(Ordering::SeqCst);
    assert!(before < 12, "all cases were run");
    // The unit answers other questions meanwhile, more of them than it has cases left.
    let module = Module::connect(unit.address.clone(), ConnectOptions::default())
        .await
        .unwrap();
    for _ in 0..20 {
        module.ping().await.unwrap();
    }
    assert_eq!(unit.seen.inferences.load(Ordering::SeqCst), before);
    run.resume();
    let rest = Outcomes::of(run).await;
    assert_eq!(rest.end, RunEnd::Complete);
    assert_eq!(saved(&folder)[0].records.len(), 12);
}

#[tokio::test]
async fn cancelling_ends_soon_and_leaves_finished_cases_only() {
    let manner = Manner {
        takes: Duration::from_millis(50),
        ..Manner::ours(2)
    };
    let (unit, folder) = (Unit::start(manner).await, tempfile::tempdir().unwrap());
    let mut run = Run::start(request(&unit, plan(), &folder).await).unwrap();
    while !matches!(run.next().await.unwrap(), RunEvent::CaseFinished(_)) {}
    run.cancel();
    run.resume();
    let rest = Outcomes::of(run).await;
    assert_eq!(rest.end, RunEnd::Cancelled);
    let history = saved(&folder);
    assert_eq!(history[0].ending, Some(Ending::Cancelled));
    assert!(history[0].records.len() < 12);
    assert!(
        history[0]
            .records
            .iter()
            .all(|record| matches!(record.outcome, CaseOutcome::Done(_)))
    );
}

#[tokio::test]
async fn a_cancel_takes_effect_during_the_set_up_and_a_task_that_was_set_up_late_is_ended() {
    let manner = Manner {
        sets_up: Arc::new(Semaphore::new(0)),
        ..Manner::ours(1)
    };
    let (unit, folder) = (Unit::start(manner.clone()).await, tempfile::tempdir().unwrap());
    let mut run = Run::start(request(&unit, plan(), &folder).await).unwrap();
    unit.seen.set_up_came.notified().await;
    run.cancel();
    assert!(matches!(run.next().await, Some(RunEvent::Ended(RunEnd::Cancelled))));
    assert_eq!(
        unit.seen.exits.load(Ordering::SeqCst),
        0,
        "the module is still setting up"
    );
    manner.sets_up.add_permits(1);
    assert!(run.next().await.is_none());
    assert_eq!(
        unit.seen.exits.load(Ordering::SeqCst),
        1,
        "nothing is left on the module"
    );
    assert_eq!(unit.seen.inferences.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_dropped_run_leaves_nothing_on_the_module_and_can_be_resumed() {
    let (unit, folder) = (Unit::start(Manner::ours(1)).await, tempfile::tempdir().unwrap());
    let mut run = Run::start(request(&unit, plan(), &folder).await).unwrap();
    while !matches!(run.next().await.unwrap(), RunEvent::CaseFinished(_)) {}
    run.leave().await;
    assert_eq!(unit.seen.exits.load(Ordering::SeqCst), 1);
    let history = saved(&folder);
    assert_eq!(history[0].ending, None, "it was not cancelled");
    assert!((1..12).contains(&history[0].records.len()));
}

/// Panics where a session first logs at this level, in the midst of the task that logs.
struct PanicsOnce {
    at: tracing::Level,
    has_panicked: AtomicBool,
}

impl PanicsOnce {
    /// In a case whose imported prefix is missing, which is a warning.
    fn in_a_case() -> Self {
        Self::at(tracing::Level::WARN)
    }

    /// In the runner, where it cannot exit the task of a connection that broke.
    fn in_the_runner() -> Self {
        Self::at(tracing::Level::DEBUG)
    }

    fn at(at: tracing::Level) -> Self {
        let has_panicked = AtomicBool::new(false);
        Self { at, has_panicked }
    }
}

impl tracing::Subscriber for PanicsOnce {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == self.at && metadata.target() == "softprefix_core::experiment::session"
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        assert!(self.has_panicked.swap(true, Ordering::SeqCst), "a fault for this test");
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn a_case_that_panicked_is_reported_and_runs_when_the_experiment_is_resumed() {
    let _guard = tracing::subscriber::set_default(PanicsOnce::in_a_case());
    let (unit, folder) = (Unit::start(Manner::ours(1)).await, tempfile::tempdir().unwrap());
    let mut plan = plan();
    plan.sweeps.push(Sweep {
        kind: PrefixKind::Imported {
            name: "gone.npy".into(),
            sha256: "0".repeat(64),
            origin: Origin::File,
        },
        lengths: vec![1],
        magnitudes: Magnitudes::Raw(Values::List(vec![0.5])),
        rounding: Rounding::NearestEven,
    });
    let mut asked = request(&unit, plan, &folder).await;
    let prefix_store = tempfile::tempdir().unwrap();
    asked.session = unit.open(Some(PrefixStore::new(prefix_store.path()))).await;
    let outcomes = Outcomes::of(Run::start(asked.clone()).unwrap()).await;
    let RunEnd::Interrupted { error } = &outcomes.end else {
        panic!("{:?}", outcomes.end)
    };
    assert!(matches!(error, RunError::CasesLost { count: 1, .. }), "{error:?}");
    let sentence = error.to_string();
    assert!(
        sentence.contains("ended 1 of the runs") && sentence.contains("a fault for this test"),
        "{sentence}"
    );
    assert!(outcomes.has(
        |event| matches!(event, RunEvent::CaseLost { name, error: RunError::Panicked(_), .. } if name.contains("imported"))
    ));
    assert_eq!(outcomes.records().len(), 12, "the others are there");

    let saved = saved(&folder).remove(0);
    assert_eq!(saved.ending, None);
    asked.resume = Some(saved);
    let rest = Outcomes::of(Run::start(asked).unwrap()).await;
    assert_eq!((rest.end.clone(), rest.records().len()), (RunEnd::Complete, 1));
    assert!(rest.records()[0].error().unwrap().contains("gone.npy"));
}

#[tokio::test]
async fn a_search_whose_case_is_lost_to_a_panic_ends() {
    let _guard = tracing::subscriber::set_default(PanicsOnce::in_a_case());
    let (unit, folder) = (Unit::start(Manner::ours(1)).await, tempfile::tempdir().unwrap());
    let mut asked = request(&unit, plan(), &folder).await;
    let prefix_store = tempfile::tempdir().unwrap();
    asked.session = unit.open(Some(PrefixStore::new(prefix_store.path()))).await;
    let search = ThresholdRequest {
        recipe: PrefixRecipe::new(
            PrefixKind::Imported {
                name: "gone.npy".into(),
                sha256: "0".repeat(64),
                origin: Origin::File,
            },
            1,
            Magnitude::Raw(0.0),
        ),
        search: ThresholdSearch::new(0.001, 2.0, 12).unwrap(),
        limit: SimilarityLimit {
            measure: Measure::Chrf2,
            minimum: 50.0,
        },
        known_records: Vec::new(),
    };
    let outcomes = Outcomes::of(Run::search_threshold(asked, search).unwrap()).await;
    let RunEnd::Interrupted { error } = outcomes.end else {
        panic!("{:?}", outcomes.end)
    };
    assert!(matches!(error, RunError::CasesLost { count: 1, .. }), "{error:?}");
}

#[tokio::test]
async fn a_panic_of_the_runner_and_a_journal_that_cannot_be_created_are_reported_at_the_end() {
    let manner = Manner {
        breaks_at: vec![2],
        ..Manner::ours(1)
    };
    let (unit, folder) = (Unit::start(manner).await, tempfile::tempdir().unwrap());
    let asked = request(&unit, plan(), &folder).await;
    let guard = tracing::subscriber::set_default(PanicsOnce::in_the_runner());
    let outcomes = Outcomes::of(Run::start(asked).unwrap()).await;
    drop(guard);
    let RunEnd::Interrupted { error } = outcomes.end else {
        panic!("{:?}", outcomes.end)
    };
    assert!(matches!(error, RunError::Panicked(_)), "{error:?}");
    let sentence = error.to_string();
    assert!(
        sentence.contains("a fault for this test") && sentence.contains("Resume to continue"),
        "{sentence}"
    );

    let library = folder.path().join("experiments");
    let opened = Library::open(&library).unwrap();
    std::fs::remove_dir(&library).unwrap();
    std::fs::write(&library, "").unwrap();
    let unit = Unit::start(Manner::ours(1)).await;
    let asked = RunRequest {
        save_to: SaveTo::Library(Arc::new(opened)),
        ..request(&unit, plan(), &folder).await
    };
    let outcomes = Outcomes::of(Run::start(asked).unwrap()).await;
    let RunEnd::Interrupted {
        error: RunError::Journal(error),
    } = outcomes.end
    else {
        panic!("{:?}", outcomes.end)
    };
    assert!(matches!(*error, JournalError::Open { .. }), "{error}");
}

#[tokio::test]
async fn a_failed_canary_is_reported_and_the_run_continues() {
    let manner = Manner {
        refuses: vec![2.0],
        ..Manner::stock()
    };
    let (unit, folder) = (Unit::start(manner).await, tempfile::tempdir().unwrap());
    let outcomes = Outcomes::of(Run::start(request(&unit, plan(), &folder).await).unwrap()).await;
    assert_eq!((outcomes.end.clone(), outcomes.records().len()), (RunEnd::Complete, 12));
    assert!(
        outcomes.has(|event| matches!(event, RunEvent::CanaryFailed { error } if error.to_string().contains("odd")))
    );
}

#[tokio::test]
async fn what_had_come_before_the_connection_was_lost_is_kept() {
    let manner = Manner {
        breaks_at: vec![2, 3],
        says_before_it_breaks: "こんにち",
        ..Manner::ours(1)
    };
    let (unit, folder) = (Unit::start(manner).await, tempfile::tempdir().unwrap());
    let outcomes = Outcomes::of(Run::start(request(&unit, plan(), &folder).await).unwrap()).await;
    let records = outcomes.records();
    let cut = records.iter().find(|record| record.error().is_some()).unwrap();
    let CaseOutcome::Failed(failure) = &cut.outcome else {
        panic!("{cut:?}")
    };
    assert_eq!((failure.partial_text.as_str(), cut.attempts), ("こんにち", 2));
}

#[tokio::test]
async fn prompts_with_other_system_texts_are_set_up_anew() {
    let (unit, folder) = (Unit::start(Manner::ours(4)).await, tempfile::tempdir().unwrap());
    let mut plan = plan();
    plan.prompts.push(Prompt {
        system: "You are kind.".into(),
        user: "天気".into(),
    });
    plan.prompts.push(Prompt {
        system: "You are terse.".into(),
        user: "天気".into(),
    });
    let outcomes = Outcomes::of(Run::start(request(&unit, plan, &folder).await).unwrap()).await;
    assert_eq!((outcomes.end.clone(), outcomes.records().len()), (RunEnd::Complete, 36));
    assert_eq!(*unit.seen.set_ups.lock().unwrap(), ["You are kind.", "You are terse."]);
    assert_eq!(unit.seen.exits.load(Ordering::SeqCst), 2, "no task is left behind");
    assert_eq!(Analysis::of(&outcomes.records()).groups.len(), 3);
    assert!(!outcomes.has(|event| matches!(event, RunEvent::Reconnected)));
}

#[tokio::test]
async fn words_and_token_norms_come_from_the_unit() {
    let mut plan = plan();
    plan.sweeps = vec![Sweep {
        kind: PrefixKind::Words { text: "森".into() },
        lengths: vec![1, 3],
        magnitudes: Magnitudes::TokenNorms(Values::List(vec![0.5, 1.0])),
        rounding: Rounding::NearestEven,
    }];
    let (ours, folder) = (Unit::start(Manner::ours(4)).await, tempfile::tempdir().unwrap());
    let records = Outcomes::of(Run::start(request(&ours, plan.clone(), &folder).await).unwrap())
        .await
        .records();
    assert!(records.iter().all(|record| record.error().is_none()));
    assert_eq!(records[3].prefix.as_ref().map(|prefix| prefix.len), Some(3));

    // A stock unit can neither embed nor count norms.
    let stock = Unit::start(Manner::stock()).await;
    let alone = Outcomes::of(Run::start(request(&stock, plan, &tempfile::tempdir().unwrap()).await).unwrap()).await;
    let records = alone.records();
    let error = records[1].error().unwrap();
    assert!(error.contains("does not provide its embedding rows"), "{error}");
}

#[tokio::test]
async fn a_threshold_is_found_in_about_a_dozen_runs_each_of_them_recorded() {
    let (unit, folder) = (Unit::start(Manner::ours(4)).await, tempfile::tempdir().unwrap());
    let search = ThresholdRequest {
        recipe: PrefixRecipe::new(PrefixKind::Constant, 1, Magnitude::Raw(0.0)),
        search: ThresholdSearch::new(0.001, 2.0, 12).unwrap(),
        limit: SimilarityLimit {
            measure: Measure::FirstDivergence,
            minimum: 17.0,
        },
        known_records: Vec::new(),
    };
    let outcomes = Outcomes::of(Run::search_threshold(request(&unit, plan(), &folder).await, search).unwrap()).await;
    assert_eq!(outcomes.end, RunEnd::Complete);
    let found = outcomes.events.iter().rev().find_map(|event| match event {
        RunEvent::Threshold(found) => Some(found.clone()),
        _ => None,
    });
    let Some(ThresholdResult {
        largest_within: Some(within),
        smallest_beyond: Some(beyond),
        ..
    }) = found
    else {
        panic!("{found:?}")
    };
    // Half of the text is lost at half of the magnitude 1.
    assert!(
        within < beyond && (0.45..0.55).contains(&within),
        "{within} to {beyond}"
    );
    let records = outcomes.records();
    assert!(
        records.len() <= 14 && records.iter().filter(|record| record.is_baseline()).count() == 2,
        "{}",
        records.len()
    );
    assert_eq!(outcomes.most_at_once(), 1);
    let analysis = Analysis::of(&records);
    assert!(
        analysis.groups[0]
            .points
            .iter()
            .any(|point| analysis.groups[0].verdict(point) == Verdict::Changed)
    );
    assert_eq!(saved(&folder)[0].records.len(), records.len());
}

#[tokio::test]
async fn a_threshold_search_uses_the_points_of_an_earlier_sweep() {
    let (unit, folder) = (Unit::start(Manner::ours(4)).await, tempfile::tempdir().unwrap());
    let records = Outcomes::of(Run::start(request(&unit, plan(), &folder).await).unwrap())
        .await
        .records();
    let search = |known_records: Vec<Record>| ThresholdRequest {
        recipe: PrefixRecipe {
            kind: PrefixKind::Constant,
            len: 1,
            magnitude: Magnitude::Raw(0.0),
            rounding: Rounding::Truncate,
        },
        search: ThresholdSearch::new(1e-4, 2.0, 14).unwrap(),
        limit: SimilarityLimit {
            measure: Measure::FirstDivergence,
            minimum: 17.0,
        },
        known_records,
    };
    let magnitudes = async |known_records: Vec<Record>| {
        let asked = request(&unit, plan(), &tempfile::tempdir().unwrap()).await;
        let outcomes = Outcomes::of(Run::search_threshold(asked, search(known_records)).unwrap()).await;
        let raw = |record: &Record| record.prefix.as_ref()?.raw();
        outcomes.records().iter().filter_map(raw).collect::<Vec<f64>>()
    };
    // The sweep goes from 1e-4 to 2 and falls between 0.2 and 1: only there something is left to be measured.
    let next_to_it = magnitudes(records.clone()).await;
    assert!(next_to_it.iter().all(|raw| (0.2..1.0).contains(raw)), "{next_to_it:?}");
    let mut of_another_limit = records;
    for record in &mut of_another_limit {
        record.settings.max_new_tokens = Some(5);
    }
    assert_eq!(magnitudes(of_another_limit).await[0], 1e-4);
}

#[tokio::test]
async fn a_search_whose_first_baseline_fails_ends() {
    // Each case is tried twice; the second time, the last baseline has a text, which comes too late.
    for breaks_at in [vec![1, 2, 3, 4], vec![1, 2]] {
        let manner = Manner {
            breaks_at,
            ..Manner::ours(1)
        };
        let (unit, folder) = (Unit::start(manner).await, tempfile::tempdir().unwrap());
        let recipe = PrefixRecipe::new(PrefixKind::Constant, 1, Magnitude::TokenNorms(0.0));
        let limit = SimilarityLimit {
            measure: Measure::Chrf2,
            minimum: 50.0,
        };
        let search = ThresholdRequest {
            recipe,
            search: ThresholdSearch::new(0.1, 2.0, 12).unwrap(),
            limit,
            known_records: Vec::new(),
        };
        let outcomes =
            Outcomes::of(Run::search_threshold(request(&unit, plan(), &folder).await, search).unwrap()).await;
        assert_eq!((outcomes.end.clone(), outcomes.records().len()), (RunEnd::Complete, 2));
    }
}

/// A search around a constant prefix for a text that a larger one gives, with a store that has the parent.
fn find(folder: &tempfile::TempDir, budget: usize) -> (PrefixStore, PrefixSearchRequest) {
    let parent = SoftPrefix::from_f32(H, &[0.1; H], Rounding::NearestEven).unwrap();
    let store = PrefixStore::new(folder.path().join("prefixes"));
    store.put(&parent).unwrap();
    let settings = SearchSettings {
        dimension: 4,
        population: Some(4),
        seed: 5,
        ..SearchSettings::default()
    };
    let request = PrefixSearchRequest {
        search: PrefixSearch::new(&parent, "small", &settings, None).unwrap(),
        objective: Objective {
            text: Some(text_for(0.25)),
            floor: 0.0,
            ..Objective::default()
        },
        budget,
    };
    (store, request)
}

/// The generations of which all candidates are judged.
fn generations(outcomes: &Outcomes) -> Vec<Generation> {
    let reported = |event: &RunEvent| match event {
        RunEvent::Generation(generation) if !generation.candidates.is_empty() => Some((**generation).clone()),
        _ => None,
    };
    outcomes.events.iter().filter_map(reported).collect()
}

async fn find_on(unit: &Unit, folder: &tempfile::TempDir, budget: usize) -> Outcomes {
    let (store, find) = find(folder, budget);
    let asked = RunRequest {
        session: unit.open(Some(store)).await,
        ..request(unit, plan(), folder).await
    };
    Outcomes::of(Run::search_prefix(asked, find).unwrap()).await
}

#[tokio::test]
async fn a_search_for_a_prefix_runs_its_generations_as_batches_and_each_is_a_line_of_the_journal() {
    // The first one is the baseline.
    let manner = Manner::ours(4).together(2..=5);
    let (unit, folder) = (Unit::start(manner).await, tempfile::tempdir().unwrap());
    let outcomes = find_on(&unit, &folder, 42).await;
    assert_eq!(outcomes.end, RunEnd::Complete);
    let records = outcomes.records();
    assert_eq!((records.len(), outcomes.most_at_once()), (43, 4));
    assert!(records[0].is_baseline() && records[1].case.name == "generation_1_1");
    assert!(records[1..].iter().all(|record| record.applied() == Applied::Proven));
    // The budget cuts the last generation short; its candidates are judged, and it teaches nothing.
    let reported = generations(&outcomes);
    assert_eq!(reported.len(), 10);
    let saved = &saved(&folder)[0];
    assert_eq!((&saved.generations, saved.ending), (&reported, Some(Ending::Complete)));
    for (generation, after) in reported.iter().zip(&reported[1..]) {
        assert_eq!(generation.next().unwrap(), after.search, "each line leads to the next");
        let best = generation.best().unwrap();
        let score = generation.candidates[best].score.unwrap();
        assert!(
            records
                .iter()
                .any(|record| record.id == generation.candidates[best].record)
        );
        assert!(
            generation
                .candidates
                .iter()
                .all(|other| other.score.unwrap().total <= score.total)
        );
    }
    let scores = records[1..].iter().map(|record| record.score.unwrap().total);
    let best = scores.fold(f64::NEG_INFINITY, f64::max);
    let first = &reported[0].candidates[reported[0].best().unwrap()];
    assert!(best >= first.score.unwrap().total && best > 0.6, "{best}");
}

#[tokio::test]
async fn a_search_for_a_prefix_works_on_a_stock_module_that_gives_text_only() {
    let (unit, folder) = (Unit::start(Manner::stock()).await, tempfile::tempdir().unwrap());
    let outcomes = find_on(&unit, &folder, 8).await;
    assert_eq!(
        (outcomes.end.clone(), generations(&outcomes).len()),
        (RunEnd::Complete, 2)
    );
    assert_eq!(outcomes.most_at_once(), 1);
    assert!(outcomes.has(|event| matches!(event, RunEvent::Canary(_))));
}

#[tokio::test]
async fn an_interrupted_search_for_a_prefix_continues_as_if_it_had_not_been() {
    let unit = Unit::start(Manner::ours(4)).await;
    let (whole, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = generations(&find_on(&unit, &whole, 20).await);
    find_on(&unit, &broken, 10).await;
    let saved = saved(&broken).remove(0);
    let (store, find) = find(&broken, 20);
    let asked = RunRequest {
        session: unit.open(Some(store)).await,
        resume: Some(saved),
        ..request(&unit, plan(), &tempfile::tempdir().unwrap()).await
    };
    let outcomes = Outcomes::of(Run::search_prefix(asked, find).unwrap()).await;
    let reported = generations(&outcomes);
    let states = |reported: &[Generation]| reported.iter().map(|one| one.search.clone()).collect::<Vec<_>>();
    assert_eq!(states(&reported), states(&expected)[2..]);
    assert!(
        outcomes.records().iter().all(|record| record.case.index > 10),
        "no index is used twice"
    );
}

#[tokio::test]
async fn a_search_for_a_prefix_that_ended_before_its_first_generation_begins_again_from_its_journal() {
    let unit = Unit::start(Manner::ours(4)).await;
    let (whole, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = generations(&find_on(&unit, &whole, 20).await);
    assert_eq!(generations(&find_on(&unit, &broken, 2).await), []);
    let saved = saved(&broken).remove(0);
    let [opened] = saved.generations.as_slice() else {
        panic!("{:?}", saved.generations)
    };
    assert_eq!((opened.candidates.len(), opened.budget), (0, Some(2)));
    let (store, _) = find(&broken, 20);
    let on = PrefixSearchRequest {
        search: opened.search.clone(),
        objective: opened.objective.clone().unwrap(),
        budget: 20,
    };
    let asked = RunRequest {
        session: unit.open(Some(store)).await,
        resume: Some(saved),
        ..request(&unit, plan(), &tempfile::tempdir().unwrap()).await
    };
    let reported = generations(&Outcomes::of(Run::search_prefix(asked, on).unwrap()).await);
    let states = |reported: &[Generation]| reported.iter().map(|one| one.search.clone()).collect::<Vec<_>>();
    assert_eq!(states(&reported), states(&expected));
}

#[tokio::test]
async fn a_failed_candidate_is_the_worst_and_a_failed_baseline_ends_the_search() {
    let folder = tempfile::tempdir().unwrap();
    // The third inference is a candidate; it breaks the connection, and so does its repetition after the others.
    let manner = Manner {
        breaks_at: vec![3, 4],
        ..Manner::ours(1)
    };
    let outcomes = find_on(&Unit::start(manner).await, &folder, 8).await;
    let reported = generations(&outcomes);
    let failed = |generation: &Generation| generation.candidates.iter().filter(|one| one.result.is_none()).count();
    assert_eq!(
        (outcomes.end, reported.len(), failed(&reported[0])),
        (RunEnd::Complete, 2, 1)
    );

    let manner = Manner {
        breaks_at: vec![1, 2],
        ..Manner::ours(1)
    };
    let outcomes = find_on(&Unit::start(manner).await, &tempfile::tempdir().unwrap(), 8).await;
    assert_eq!((outcomes.end.clone(), outcomes.records().len()), (RunEnd::Complete, 1));

    let (_, mut nothing) = find(&folder, 8);
    nothing.objective = Objective::default();
    let unit = Unit::start(Manner::ours(1)).await;
    let refused = Run::search_prefix(request(&unit, plan(), &folder).await, nothing)
        .err()
        .unwrap();
    assert_eq!(refused, SearchError::NoObjective.into());
}

#[tokio::test]
async fn a_choice_is_kept_as_a_generation_and_stepping_back_replaces_it() {
    let folder = tempfile::tempdir().unwrap();
    let (_, PrefixSearchRequest { search, .. }) = find(&folder, 0);
    let started = common::experiment("e", plan());
    let mut saved = SavedExperiment::new(started);
    let mut line = |search: &PrefixSearch, chosen| {
        let records = (0..4).map(|place| format!("e/{place}")).collect();
        let generation = Generation::picked(search.clone(), records, chosen);
        let entry = Entry::Generation {
            experiment: "e".into(),
            generation: Box::new(generation.clone()),
        };
        let text = serde_json::to_string(&entry).unwrap();
        saved.add(serde_json::from_str(&text).unwrap());
        (generation, saved.generations.len())
    };
    let (first, _) = line(&search, 2);
    assert_eq!(
        (first.best(), first.next().unwrap()),
        (Some(2), search.pick(2).unwrap())
    );
    let (_, count) = line(&first.next().unwrap(), 0);
    assert_eq!(count, 2);
    let (other, count) = line(&search, 1);
    assert_eq!((count, other.next().unwrap()), (1, search.pick(1).unwrap()));
}

const FULL_DISK: &str = "SOFTPREFIX_TEST_FULL_DISK";

/// Not a test of its own: a run in a process whose files may not grow beyond a few kilobytes. Without the variable it does nothing.
#[tokio::test]
#[ignore = "run by the test below in a process of its own"]
async fn child_runs_on_a_full_disk() {
    let Ok(path) = std::env::var(FULL_DISK) else { return };
    let unit = Unit::start(Manner::ours(1)).await;
    let mut asked = request(&unit, plan(), &tempfile::tempdir().unwrap()).await;
    asked.save_to = SaveTo::Journal(Arc::new(Mutex::new(Journal::open(path.as_ref()).unwrap().0)));
    let mut run = Run::start(asked).unwrap();
    let mut failures: Vec<RunError> = Vec::new();
    let mut reported = 0;
    while failures.len() < 2 {
        match run.next().await.unwrap() {
            RunEvent::JournalFailed { error } => {
                failures.push(error);
                // There is still no room: saving fails again, and the run still waits.
                run.resume();
            }
            RunEvent::CaseFinished(_) => reported += 1,
            _ => {}
        }
    }
    let is_full =
        |error: &RunError| matches!(error, RunError::Journal(error) if matches!(**error, JournalError::Write { .. }));
    assert!(failures.iter().all(is_full), "{failures:?}");
    let sentence = failures[0].to_string();
    assert!(
        sentence.contains("cannot save to the journal") && sentence.contains("Free some space"),
        "{sentence}"
    );
    run.cancel();
    assert_eq!(Outcomes::of(run).await.end, RunEnd::Cancelled);
    println!("reported {reported}");
}

#[test]
#[cfg(unix)]
fn a_disk_that_fills_up_halts_the_run_and_what_was_saved_stays_readable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    let test = std::env::current_exe().unwrap();
    let script = "trap '' XFSZ; ulimit -f 16; exec \"$0\" child_runs_on_a_full_disk --exact --ignored --nocapture";
    let output = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(test)
        .env(FULL_DISK, &path)
        .output()
        .unwrap();
    let output_text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{output_text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let reported: usize = output_text
        .split("reported ")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let (entries, condition) = Journal::read(&path).unwrap();
    assert_eq!(condition, Default::default(), "no half line is left");
    // The experiment's line, and every case that was reported but the one that did not fit.
    assert!(
        (1..12).contains(&reported) && entries.len() == reported,
        "{reported} reported, {} lines",
        entries.len()
    );
}

#[tokio::test]
async fn an_unreachable_module_and_a_plan_that_cannot_be_run_are_reported_at_once() {
    let (unit, folder) = (Unit::start(Manner::ours(1)).await, tempfile::tempdir().unwrap());
    let mut empty = plan();
    empty.prompts[0].user.clear();
    assert!(Run::start(request(&unit, empty, &folder).await).is_err());
}

#[test]
fn ids_are_their_own() {
    let ids: HashSet<String> = (0..1000).map(|_| new_id()).collect();
    assert_eq!(ids.len(), 1000);
    assert!(matches!(Entry::Deleted { id: new_id() }, Entry::Deleted { .. }));
}
