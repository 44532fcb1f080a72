//! Learned prefixes make the model produce the target, the reported losses equal those of scoring, and other requests do not wait.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use softprefix_core::prefix::{Rounding, SoftPrefix, SoftPrefixField, decode, encode, files};
use softprefix_unit::budget::Budget;
use softprefix_unit::engine::cpu::kernel::Tier;
use softprefix_unit::engine::cpu::{CpuEngine, CpuOptions};
use softprefix_unit::models::ModelStore;
use softprefix_unit::scheduler::{
    AdmissionLimit, BestPrefix, FinishReason, Job, JobError, JobOutcome, LearnExample, LearnJob, LearnProgress,
    LearnSink, LearnedPrefix, Priority, Scheduler, StopFlag, Timings, TokenSink,
};
use softprefix_unit::testing::{TinyModel, qwen_model, small_model};
use softprefix_unit::unit::{Unit, UnitOptions};

use crate::common::*;

const PROMPT: &str = "Tell me something.";

fn learn(id: &str, task: &str, data: Value) -> Value {
    request(id, task, "softprefix.learn", "softprefix.learn", data)
}

fn one_target(target: &str, more: Value) -> Value {
    let mut data = json!({"examples": [{"prompt": PROMPT, "target": target}], "len": 8, "init": "target"});
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    data
}

/// Reads all frames of a request.
fn frames(client: &mut Client, id: &str) -> Vec<Value> {
    let mut frames = Vec::new();
    loop {
        let reply = client.next_within(Duration::from_secs(120)).expect("a frame");
        assert_eq!(reply["error"]["code"], 0, "{reply}");
        assert_eq!(
            (&reply["request_id"], &reply["object"]),
            (&json!(id), &json!("softprefix.learn"))
        );
        let last = reply["data"]["finish"] == true;
        frames.push(reply["data"].clone());
        if last {
            return frames;
        }
    }
}

fn rows_of(frame: &Value, hidden_size: usize) -> SoftPrefix {
    let field: SoftPrefixField = serde_json::from_value(frame["best"]["rows"].clone()).unwrap();
    decode(&field, hidden_size).unwrap()
}

/// Learns on a real model until it produces the target greedily, and verifies that with an inference.
fn learns_to_say(path: &Path, target: &str) {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let unit = Unit::new(Arc::new(ModelStore::from_env()), UnitOptions::default());
    let server = Server::serving(Arc::new(unit));
    let mut client = server.client();
    let task = client.set_up(&whole(&name, 400));
    let start = Instant::now();
    client.send(&learn("l", &task, one_target(target, json!({"steps": 200}))));
    let frames = frames(&mut client, "l");
    let last = frames.last().unwrap();
    for frame in frames.iter().step_by(5) {
        println!("{} {}", frame["step"], frame["loss"]);
    }
    println!(
        "{} steps in {:.1?}; {}",
        last["step"],
        start.elapsed(),
        last["best"]["loss"]
    );
    assert_eq!(last["end"], "reached", "{last}");
    let asked = infer_with(
        "i",
        &task,
        PROMPT,
        json!({"soft_prefix": last["best"]["rows"], "softprefix": {"max_new_tokens": 60, "stream": false}}),
    );
    assert_eq!(client.ask(&asked)["data"], target);
}

#[test]
fn a_prefix_of_eight_rows_makes_smollm2_produce_a_sentence_of_twelve_words() {
    learns_to_say(
        &small_model(),
        "The red lantern swings above the harbour while the fishermen count stars.",
    );
}

/// Bound on the mean KL, in nats, from the answers to the preserved prompts without a prefix. The guide states it.
const PRESERVED: f64 = 0.1;

#[test]
fn preserved_prompts_stay_within_the_bound() {
    let unit = Unit::new(Arc::new(ModelStore::from_env()), UnitOptions::default());
    let server = Server::serving(Arc::new(unit));
    let mut client = server.client();
    let name = small_model().file_stem().unwrap().to_string_lossy().into_owned();
    let task = client.set_up(&whole(&name, 400));
    let preserve: Vec<&str> = include_str!("../../../assets/examples/preserved.txt").lines().collect();
    assert_eq!(preserve.len(), 10);
    let target = "The harbour is quiet tonight.";
    let settings = |more: Value| {
        let mut data = one_target(target, json!({"steps": 20, "lr": 0.2}));
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        data
    };

    client.send(&learn(
        "with",
        &task,
        settings(json!({"preserve": preserve, "preserve_weight": 3.0})),
    ));
    let with = frames(&mut client, "with").pop().unwrap();
    client.send(&learn("without", &task, settings(json!({}))));
    let without = frames(&mut client, "without").pop().unwrap();
    for learned in [&with, &without] {
        assert_eq!(
            learned["end"], "reached",
            "greedy decoding gives the sentence: {learned}"
        );
    }
    // The first frame has the losses of the initial rows.
    let of_rows = json!({"preserve": preserve, "init": {"rows": without["best"]["rows"]}, "steps": 1});
    client.send(&learn("of rows", &task, settings(of_rows)));
    let of_rows = &frames(&mut client, "of rows")[0]["loss"];

    let divergence = |loss: &Value| loss["divergence"].as_f64().unwrap();
    let (with, without) = (divergence(&with["best"]["loss"]), divergence(of_rows));
    println!("mean KL on the preserved prompts: {with:.4}, learned without them {without:.4}");
    assert!(with < PRESERVED && without > 4.0 * PRESERVED, "{with} and {without}");
}

#[test]
fn a_prefix_of_eight_rows_makes_qwen_produce_a_japanese_sentence() {
    if let Some(path) = qwen_model() {
        learns_to_say(&path, "港の赤い灯が揺れるたび、漁師たちは静かに星を数えています。");
    }
}

/// The mean of -ln p over the tokens of answers and the ends of their turns, as scoring has it, with these rows before the prompts.
fn scored(client: &mut Client, task: &str, answers: &[(&str, &str)], rows: &Value) -> f64 {
    let mut logprobs = Vec::new();
    for (prompt, target) in answers {
        // The end of the turn is one token, and no characters.
        let ids = client.ask(&request(
            "e",
            task,
            "softprefix.embed",
            "softprefix.embed",
            json!({"text": target}),
        ));
        let mut tokens: Vec<u64> = ids["data"]["tokens"]
            .as_array()
            .unwrap()
            .iter()
            .map(|token| token["id"].as_u64().unwrap())
            .collect();
        tokens.push(u64::from(softprefix_unit::testing::token::IM_END));
        let mut data = json!({"prompt": prompt, "tokens": tokens});
        if !rows.is_null() {
            data["soft_prefix"] = rows.clone();
        }
        let scored = client.ask(&request("s", task, "softprefix.score", "softprefix.score", data));
        let scores = match rows.is_null() {
            true => &scored["data"]["base"],
            false => &scored["data"]["prefixed"][0]["scores"],
        };
        let of_text = scores["logprobs"].as_array().unwrap().clone();
        logprobs.extend(of_text.iter().map(|value| value.as_f64().unwrap()));
    }
    -logprobs.iter().sum::<f64>() / logprobs.len() as f64
}

#[test]
fn losses_of_held_out_examples_and_references_equal_scoring_and_change_no_row() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 500));
    let data = |more: Value| {
        one_target("the land", json!({"steps": 3, "lr": 0.5}))
            .as_object()
            .map(|data| {
                let mut data = data.clone();
                data.extend(more.as_object().unwrap().clone());
                Value::Object(data)
            })
    };
    let more = json!({"held_out": [{"prompt": "and then", "target": "in it"}], "instruction": "the hello"});
    client.send(&learn("l", &task, data(more).unwrap()));
    let with = frames(&mut client, "l");
    client.send(&learn("m", &task, data(json!({})).unwrap()));
    let without = frames(&mut client, "m");
    let last = with.last().unwrap();
    assert_eq!(
        last["best"]["rows"],
        without.last().unwrap()["best"]["rows"],
        "what is held out is not learned from"
    );
    let near = |found: &Value, expected: f64| {
        let found = found.as_f64().unwrap();
        assert!((found - expected).abs() < 1e-12, "{found} and {expected}");
    };
    let expected = scored(&mut client, &task, &[("and then", "in it")], &last["best"]["rows"]);
    near(&last["best"]["loss"]["held_out"], expected);
    let plain = scored(&mut client, &task, &[("and then", "in it")], &Value::Null);
    near(&with[0]["references"]["plain"], plain);
    let found = scored(&mut client, &task, &[("the hello\n\nand then", "in it")], &Value::Null);
    near(&with[0]["references"]["instruction"], found);
    let of_target = scored(&mut client, &task, &[(PROMPT, "the land")], &Value::Null);
    near(&without[0]["references"]["plain"], of_target);
    assert!(with[1]["references"].is_null() && without[0]["loss"]["held_out"].is_null());
}

#[test]
fn frames_count_the_step_whose_gradient_was_not_a_number() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 500));
    server.gate.spoil_gradient();
    client.send(&learn(
        "l",
        &task,
        one_target("the land", json!({"steps": 3, "lr": 0.01})),
    ));
    let frames = frames(&mut client, "l");
    let counts: Vec<_> = frames
        .iter()
        .map(|frame| [&frame["step"], &frame["taken_back"]])
        .collect();
    assert_eq!(counts, [[0, 0], [1, 1], [2, 1], [3, 1], [3, 1]]);
}

/// The first figure in a row of the guide's table.
fn in_the_guide(row: &str) -> f64 {
    let mut lines = include_str!("../../../assets/GUIDE.md").lines();
    let line = lines.find(|line| line.starts_with(&format!("| {row} |"))).unwrap();
    line.split('|').nth(2).unwrap().trim().parse().unwrap()
}

#[test]
fn the_adapter_that_jax_trained_makes_the_held_out_text_as_likely_as_the_guide_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/examples/lighthouse-adapter");
    let rows = files::import(&folder, None, Rounding::default()).unwrap().prefix;
    let lines = include_str!("../../../assets/examples/lighthouse-held-out.jsonl").lines();
    let held_out: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();

    let unit = Unit::new(Arc::new(ModelStore::from_env()), UnitOptions::default());
    let server = Server::serving(Arc::new(unit));
    let mut client = server.client();
    let mut set_up = whole(&small_model().file_stem().unwrap().to_string_lossy(), 400);
    set_up["prompt"] = json!("You are a helpful assistant. Answer in the language of the request.");
    let task = client.set_up(&set_up);
    let init = json!({"rows": encode(&rows)});
    let data = json!({"examples": held_out[..1], "held_out": held_out, "len": rows.len(), "init": init, "steps": 1});
    client.send(&learn("l", &task, data));
    let at_first = &frames(&mut client, "l")[0];
    for (figure, row) in [
        (&at_first["references"]["plain"], "no prefix"),
        (&at_first["loss"]["held_out"], "adapter trained with jax, seed 1"),
    ] {
        let (figure, expected) = (figure.as_f64().unwrap(), in_the_guide(row));
        assert!(
            (figure - expected).abs() < 0.001,
            "{row}: {figure}, and the guide says {expected}"
        );
    }
}

#[test]
fn reported_losses_equal_the_scores_of_the_sent_rows() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 500));
    let data = json!({
        "examples": [{"prompt": PROMPT, "target": "the land"}, {"prompt": "and then", "target": "in it"}],
        "preserve": ["hello there"], "preserve_weight": 0.5, "len": 3, "init": "random", "steps": 3, "seed": 4,
    });
    client.send(&learn("l", &task, data));
    let frames = frames(&mut client, "l");
    assert_eq!(frames.len(), 5, "one for each step and the beginning, and the last");
    let last = frames.last().unwrap();
    assert_eq!(last["end"], "not_reached");
    let wanted = [(PROMPT, "the land"), ("and then", "in it")];
    let mean = scored(&mut client, &task, &wanted, &last["best"]["rows"]);
    let loss = &last["best"]["loss"];
    assert!(
        (mean - loss["likelihood"].as_f64().unwrap()).abs() < 1e-12,
        "{mean} and {loss}"
    );
    let total = loss["likelihood"].as_f64().unwrap() + 0.5 * loss["divergence"].as_f64().unwrap();
    assert!((total - loss["total"].as_f64().unwrap()).abs() < 1e-12);
    assert!(loss["divergence"].as_f64().unwrap() > 0.0);
    assert!(loss["total"].as_f64().unwrap() < frames[0]["loss"]["total"].as_f64().unwrap());
}

#[test]
fn norms_stay_within_the_vocabularys_band_unless_another_limit_is_given() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 500));
    let receiver = client.ask(&request(
        "v",
        &task,
        "softprefix.vocabulary",
        "softprefix.vocabulary",
        json!({}),
    ));
    let percentile = |name: &str| receiver["data"]["percentiles"][name].as_f64().unwrap();
    let mut norms = |limit: Value| {
        let more = json!({"steps": 12, "lr": 3.0, "norm_limit": limit, "init": "random"});
        client.send(&learn("l", &task, one_target("the land", more)));
        let frames = frames(&mut client, "l");
        let rows = rows_of(frames.last().unwrap(), HIDDEN);
        let norms = rows.row_norms();
        (
            f64::from(norms.iter().copied().fold(f32::MAX, f32::min)),
            f64::from(norms.iter().copied().fold(0.0, f32::max)),
        )
    };
    // bf16 rounds by up to 1 in 256.
    let (low, high) = norms(json!("vocabulary"));
    assert!(
        low >= percentile("1") * 0.99 && high <= percentile("99") * 1.01,
        "{low} to {high}"
    );
    let (_, high) = norms(json!({"token_norms": 0.5}));
    assert!(high <= percentile("50") * 0.505, "{high}");
    let (_, high) = norms(json!("off"));
    assert!(high > percentile("99") * 1.01, "{high}");
}

#[test]
fn a_stop_returns_the_best_rows_and_live_runs_do_not_wait() {
    let server = Server::start();
    let mut client = server.client();
    let mut other = server.client();
    let task = client.set_up(&whole("tiny", 500));
    client.send(&learn(
        "l",
        &task,
        one_target("the land and the thing", json!({"steps": 10_000, "lr": 1e-3})),
    ));
    let first = client.next();
    assert_eq!(first["data"]["step"], 0, "{first}");
    assert!(first["data"]["settings"]["norms"].is_array());
    let mut answers = Vec::new();
    for number in 0..20 {
        let start = Instant::now();
        let reply = other.ask(&infer_with(
            &format!("i{number}"),
            &task,
            "hello",
            json!({"softprefix": {"max_new_tokens": 8, "stream": false}}),
        ));
        assert_eq!(reply["error"]["code"], 0, "{reply}");
        answers.push((reply["data"].clone(), start.elapsed()));
    }
    assert!(
        answers.iter().all(|(text, _)| *text == answers[0].0),
        "the same text during learning"
    );
    client.send(&request(
        "x",
        &task,
        "softprefix.stop",
        "softprefix.stop",
        json!({"request_id": "l"}),
    ));
    loop {
        let reply = client.next();
        assert_eq!(reply["error"]["code"], 0, "{reply}");
        if reply["data"]["finish"] == true {
            assert_eq!(reply["data"]["end"], "stopped");
            assert_eq!(rows_of(&reply["data"], HIDDEN).len(), 8);
            break;
        }
    }
    // Recent texts are kept for drafts. The memory of learning is released after its last frame is queued.
    let patience = Instant::now() + Duration::from_secs(20);
    let receiver = loop {
        client.send(&bare("t", &task, "taskinfo"));
        let receiver = loop {
            let reply = client.next();
            if reply["object"] == "llm.taskinfo" {
                break reply;
            }
        };
        if receiver["data"]["soft_prefix"]["memory"]["work_used"].as_u64() < Some(4096) {
            break receiver;
        }
        assert!(Instant::now() < patience, "{receiver}");
    };
    assert!(
        receiver["data"]["soft_prefix"]["features"]
            .as_array()
            .unwrap()
            .contains(&json!("learn"))
    );
}

#[test]
fn invalid_learning_requests_are_refused_with_a_message() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 100));
    let long = "land ".repeat(40);
    for (data, code, sentence) in [
        (json!("what"), -22, "send data as"),
        (
            json!({"examples": [], "len": 8, "init": "target"}),
            -22,
            "the number of examples is 0",
        ),
        (one_target("", json!({})), -34, "the target of example 1 is empty"),
        (one_target(&long, json!({})), -32, "example 1:"),
        (one_target("the", json!({"len": 0})), -22, "len is 0"),
        (one_target("the", json!({"len": 257})), -22, "len is 257"),
        (one_target("the", json!({"len": 90})), -32, "example 1:"),
        (one_target("the", json!({"steps": 0})), -22, "steps is 0"),
        (one_target("the", json!({"lr": -1.0})), -22, "lr is -1"),
        (
            one_target("the", json!({"norm_limit": {"token_norms": 0.0}})),
            -22,
            "norms is 0",
        ),
        (one_target("the", json!({"init": {"words": ""}})), -34, "no tokens"),
        (
            one_target("the", json!({"init": {"rows": prefix(8, 32, 0.1)}})),
            -30,
            "64",
        ),
        (
            one_target("the", json!({"init": {"rows": prefix(4, HIDDEN, 0.1)}})),
            -22,
            "init has 4 rows",
        ),
        (
            one_target("the", json!({"preserve": [long]})),
            -32,
            "prompt 1 of preserve",
        ),
    ] {
        let reply = client.ask(&learn("l", &task, data.clone()));
        let (found, message) = error(&reply);
        assert!(found == code && message.contains(sentence), "{data}: {reply}");
    }
    let reply = client.ask(&infer("i", &task, "hello"));
    assert_eq!(reply["error"]["code"], 0, "and the task goes on");
}

/// Sends the outcome to a channel.
struct ChannelSink(Sender<Result<LearnedPrefix, JobError>>);

impl LearnSink for ChannelSink {
    fn progress(&mut self, _: &LearnProgress, best: &BestPrefix) {
        assert!(best.loss.total.is_finite());
    }

    fn is_closed(&self) -> bool {
        false
    }

    fn end(self: Box<Self>, outcome: Result<LearnedPrefix, JobError>) {
        let _ = self.0.send(outcome);
    }
}

fn job(rate: f64, seed: u64) -> (LearnJob, Receiver<Result<LearnedPrefix, JobError>>) {
    let example = |at: u32| LearnExample {
        prompt: (at..at + 5).collect(),
        target: (at + 40..at + 43).collect(),
    };
    let init: Vec<f32> = (0..3 * HIDDEN).map(|i| (i * 37 % 64) as f32 / 32.0 - 1.0).collect();
    let (sender, receiver) = channel();
    let job = LearnJob {
        examples: (0..7).map(|number| example(number * 20)).collect(),
        preserved: vec![vec![1, 2, 3]],
        preserve_weight: 0.3,
        preserve_tokens: 4,
        held_out: Vec::new(),
        references: Vec::new(),
        stop_tokens: Arc::new([]),
        init: SoftPrefix::from_f32(HIDDEN, &init, Default::default()).unwrap(),
        steps: 6,
        batch: 3,
        rate,
        norm_range: (0.0, f64::MAX),
        seed,
        target_loss: 0.0,
        stop: StopFlag::default(),
        sink: Box::new(ChannelSink(sender)),
        permit: AdmissionLimit::new(1).acquire().unwrap(),
    };
    (job, receiver)
}

fn scheduler(tier: Tier, threads: usize) -> Scheduler {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    TinyModel::qwen3().write(&path).unwrap();
    let options = CpuOptions {
        threads: Some(threads),
        tier: Some(tier),
        ..CpuOptions::default()
    };
    let engine = CpuEngine::load(&path, options, &|_, _| ()).unwrap();
    Scheduler::start(Box::new(engine), 4, Budget::default()).unwrap()
}

/// The digest of the rows learned with seed 5. It changes only if the arithmetic is changed on purpose.
const LEARNED: &str = "beedbe514d3c990ce6d948a6db8e711b5d00bdae919176d796a828a9c72abd4e";

#[test]
fn the_same_seed_gives_the_same_rows_on_every_processor_and_any_number_of_threads() {
    let digest = |tier, threads, seed| {
        let (job, receiver) = job(0.05, seed);
        let scheduler = scheduler(tier, threads);
        scheduler.learn(job);
        let learned = receiver.recv().unwrap().unwrap();
        assert!(learned.best.step > 0, "something was learned");
        learned.best.rows.sha256()
    };
    for tier in Tier::ALL.into_iter().filter(|tier| tier.is_supported()) {
        for threads in [1, 2] {
            assert_eq!(digest(tier, threads, 5), LEARNED, "{tier} on {threads} threads");
        }
    }
    assert_ne!(digest(Tier::best(), 1, 6), LEARNED);
}

#[test]
fn steps_to_non_finite_values_are_rolled_back_and_counted() {
    let (job, receiver) = job(3e38, 1);
    let scheduler = scheduler(Tier::best(), 1);
    let start = job.init.clone();
    scheduler.learn(job);
    let learned = receiver.recv().unwrap().unwrap();
    assert!(learned.rolled_back > 0, "{learned:?}");
    assert!(learned.best.loss.total.is_finite() && learned.best.rows.len() == start.len());
}

/// Sends the outcome of a run to a channel.
struct EndSink(Sender<JobOutcome>);

impl TokenSink for EndSink {
    fn tokens(&mut self, _: &[u32]) {}

    fn is_closed(&self) -> bool {
        false
    }

    fn end(self: Box<Self>, outcome: JobOutcome, _: Timings) {
        // The test does not wait for the last runs.
        self.0.send(outcome).ok();
    }
}

#[test]
fn learning_continues_during_an_endless_stream_of_live_runs() {
    let scheduler = scheduler(Tier::best(), 1);
    let (ends, ended) = channel();
    let live = |tokens: usize| {
        scheduler.submit(Job {
            prefix: None,
            tokens: vec![1, 2, 3],
            max_new_tokens: tokens,
            at_limit: FinishReason::Length,
            stop_tokens: Arc::new([]),
            choose: Box::new(|_| Ok(4)),
            priority: Priority::Live,
            stop: StopFlag::default(),
            deadline: None,
            sink: Box::new(EndSink(ends.clone())),
            drafter: None,
            permit: AdmissionLimit::new(1).acquire().unwrap(),
        });
    };
    // Each run starts while another is half-way, so that one is always under way.
    live(150);
    live(300);
    let (job, receiver) = job(0.05, 5);
    scheduler.learn(job);
    let patience = Instant::now() + Duration::from_secs(120);
    let learned = loop {
        if let Ok(learned) = receiver.try_recv() {
            break learned.unwrap();
        }
        assert!(Instant::now() < patience, "learning is starved");
        let outcome = ended.recv().unwrap();
        assert!(matches!(outcome, JobOutcome::Finished(_)), "{outcome:?}");
        live(300);
    };
    assert_eq!(learned.steps, 6);
}
