//! Tests of the scheduler with a fake engine that records the rows it is given.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use half::bf16;
use softprefix_core::prefix::SoftPrefix;

use super::batch::{DECODE_ROWS, PROMPT_ROWS_DURING_DECODE};
use super::*;
use crate::budget::{Budget, MIN_LIMIT};
use crate::engine::gradient::{Differentiable, Example, Gradient};
use crate::engine::{EngineError, Logits, SequenceId, SequenceStep};

const HIDDEN: usize = 2;

/// Rows of each sequence in each step.
type Steps = Arc<Mutex<Vec<Vec<(SequenceId, usize)>>>>;

/// What the fake engine does when it is fed the row of this token.
const PANICS: u32 = 901;
const FAILS: u32 = 902;
const SLOW: u32 = 903;
/// The first time, blocks until its stop flag is set.
const HOLDS: u32 = 904;

struct FakeEngine {
    info: EngineInfo,
    next: u64,
    steps: Steps,
    held: bool,
    /// Bytes of a position in a KV cache.
    position_bytes: usize,
    /// The derivatives of its gradients, in order; the gradient after the last is never done. `None`: it computes none.
    derivatives: Option<std::vec::IntoIter<f32>>,
    /// The learned rows at which each gradient was computed.
    differentiated: Arc<Mutex<Vec<Vec<bf16>>>>,
}

struct FakeEmbeddings;

impl TokenEmbeddings for FakeEmbeddings {
    fn hidden_size(&self) -> usize {
        HIDDEN
    }
    fn vocab_size(&self) -> usize {
        1000
    }
    fn row(&self, token: u32, out: &mut [bf16]) -> Result<(), EngineError> {
        // bf16 holds whole numbers up to 256 exactly.
        out[0] = bf16::from_f32((token / 256) as f32);
        out[1] = bf16::from_f32((token % 256) as f32);
        Ok(())
    }
}

impl Engine for FakeEngine {
    fn info(&self) -> &EngineInfo {
        &self.info
    }
    fn embeddings(&self) -> Arc<dyn TokenEmbeddings> {
        Arc::new(FakeEmbeddings)
    }
    fn open(&mut self, _: usize) -> Result<SequenceId, EngineError> {
        self.next += 1;
        Ok(SequenceId(self.next))
    }
    fn sequence_bytes(&self, positions: usize) -> usize {
        positions * self.position_bytes
    }
    fn close(&mut self, _: SequenceId) {}
    fn forward(&mut self, batch: &mut [SequenceStep<'_>]) -> Result<(), EngineError> {
        let rows = batch.iter().map(|step| (step.sequence, step.rows.len() / HIDDEN));
        self.steps.lock().unwrap().push(rows.collect());
        let is = |token: u32| {
            let mut row = [bf16::ZERO; HIDDEN];
            FakeEmbeddings.row(token, &mut row).unwrap();
            batch
                .iter()
                .any(|step| step.rows.chunks(HIDDEN).any(|found| found == row))
        };
        if is(SLOW) {
            std::thread::sleep(Duration::from_millis(50));
        }
        if is(HOLDS) && !std::mem::replace(&mut self.held, true) {
            let patience = Instant::now() + Duration::from_secs(60);
            while !batch.iter().all(|step| step.stop.load(Ordering::Relaxed)) {
                assert!(Instant::now() < patience, "the step is not interrupted");
                std::thread::sleep(Duration::from_millis(1));
            }
            return Err(EngineError::Stopped);
        }
        assert!(!is(PANICS), "the panic of the test");
        if is(FAILS) {
            return Err(EngineError::Backend {
                what: "the fake engine".into(),
                detail: "broke".into(),
                remedy: "repair it".into(),
            });
        }
        std::thread::sleep(Duration::from_micros(200));
        for step in batch {
            step.out = match step.logits {
                Logits::None => Vec::new(),
                Logits::Last => vec![0.0, 1.0],
                Logits::All => vec![0.0; step.rows.len() / HIDDEN * 1000],
            };
        }
        Ok(())
    }
    fn differentiable(&mut self) -> Option<&mut dyn Differentiable> {
        self.derivatives.is_some().then_some(self as &mut dyn Differentiable)
    }
}

impl Differentiable for FakeEngine {
    fn gradient_bytes(&self, _: usize, _: usize) -> usize {
        0
    }
    fn begin_gradient(&mut self, example: Example) -> Result<(), EngineError> {
        let learned = example.rows[..example.learned * HIDDEN].to_vec();
        self.differentiated.lock().unwrap().push(learned);
        Ok(())
    }
    fn advance_gradient(&mut self) -> Option<Gradient> {
        std::thread::sleep(Duration::from_millis(1));
        let derivative = self.derivatives.as_mut()?.next()?;
        Some(Gradient {
            loss: 0.0,
            rows: vec![derivative; HIDDEN],
        })
    }
    fn abort_gradient(&mut self) {}
}

fn engine(max_sequences: usize, chunked_prefill: bool) -> FakeEngine {
    FakeEngine {
        info: EngineInfo {
            backend: "toy".into(),
            architecture: "toy".into(),
            hidden_size: HIDDEN,
            vocab_size: 1000,
            window: 100_000,
            prefill_window: 100_000,
            max_sequences,
            chunked_prefill,
            drafts: false,
            weights: Vec::new(),
        },
        next: 0,
        steps: Steps::default(),
        held: false,
        position_bytes: 0,
        derivatives: None,
        differentiated: Arc::default(),
    }
}

fn start(engine: FakeEngine, memory: Budget) -> (Scheduler, Steps) {
    let steps = Arc::clone(&engine.steps);
    (Scheduler::start(Box::new(engine), usize::MAX, memory).unwrap(), steps)
}

fn started(max_sequences: usize, chunked_prefill: bool) -> (Scheduler, Steps) {
    start(engine(max_sequences, chunked_prefill), Budget::default())
}

/// A scheduler with the smallest budget, on an engine that takes `position_bytes` for each position of a sequence.
fn started_with_little_memory(position_bytes: usize) -> (Scheduler, Steps) {
    let engine = FakeEngine {
        position_bytes,
        ..engine(16, true)
    };
    start(engine, Budget::new(MIN_LIMIT))
}

#[derive(Debug, PartialEq)]
enum Event {
    Started(&'static str),
    Token(&'static str),
    Ended(&'static str, JobOutcome),
}

struct Sink(&'static str, Sender<Event>);

impl TokenSink for Sink {
    fn started(&mut self) {
        let _ = self.1.send(Event::Started(self.0));
    }
    fn tokens(&mut self, tokens: &[u32]) {
        for _ in tokens {
            let _ = self.1.send(Event::Token(self.0));
        }
    }
    fn is_closed(&self) -> bool {
        false
    }
    fn end(self: Box<Self>, outcome: JobOutcome, _: Timings) {
        let _ = self.1.send(Event::Ended(self.0, outcome));
    }
}

/// A live job that produces token 1 until it is stopped.
fn job(tokens: Vec<u32>, sink: impl TokenSink + 'static) -> Job {
    Job {
        prefix: None,
        tokens,
        max_new_tokens: 100_000,
        at_limit: FinishReason::Length,
        stop_tokens: Arc::new([]),
        choose: Box::new(|_| Ok(1)),
        priority: Priority::Live,
        stop: StopFlag::default(),
        deadline: None,
        sink: Box::new(sink),
        drafter: None,
        permit: AdmissionLimit::new(1).acquire().unwrap(),
    }
}

struct Harness {
    scheduler: Scheduler,
    steps: Steps,
    sender: Sender<Event>,
    events: Receiver<Event>,
}

impl Harness {
    fn new(max_sequences: usize, chunked_prefill: bool) -> Self {
        Self::of(started(max_sequences, chunked_prefill))
    }

    fn of((scheduler, steps): (Scheduler, Steps)) -> Self {
        let (sender, events) = channel();
        Self {
            scheduler,
            steps,
            sender,
            events,
        }
    }

    fn submit(&self, name: &'static str, tokens: Vec<u32>, max_new_tokens: usize, priority: Priority) -> StopFlag {
        let stop = StopFlag::default();
        self.scheduler.submit(Job {
            max_new_tokens,
            priority,
            stop: stop.clone(),
            ..job(tokens, Sink(name, self.sender.clone()))
        });
        stop
    }

    fn next(&self) -> Event {
        self.events.recv_timeout(Duration::from_secs(5)).unwrap()
    }

    /// Skips the events before the end of `name`.
    fn outcome_of(&self, name: &str) -> JobOutcome {
        loop {
            if let Event::Ended(ended, outcome) = self.next()
                && ended == name
            {
                return outcome;
            }
        }
    }

    fn starts(&self, count: usize) -> Vec<&'static str> {
        let starts = std::iter::from_fn(|| Some(self.next())).filter_map(|event| match event {
            Event::Started(name) => Some(name),
            _ => None,
        });
        starts.take(count).collect()
    }
}

#[test]
fn an_inference_gives_as_many_tokens_as_it_was_asked_for() {
    let harness = Harness::new(4, true);
    harness.submit("a", vec![1, 2, 3], 5, Priority::Live);
    assert_eq!(harness.next(), Event::Started("a"));
    for _ in 0..5 {
        assert_eq!(harness.next(), Event::Token("a"));
    }
    assert_eq!(
        harness.next(),
        Event::Ended("a", JobOutcome::Finished(FinishReason::Length))
    );
}

#[test]
fn memory_is_reserved_for_the_positions_that_a_request_can_use_and_not_for_the_window() {
    // 96 MiB for what runs, at 1 MiB for a position; the whole window would take 98 GiB.
    let harness = Harness::of(started_with_little_memory(1 << 20));
    let held = harness.submit("held", vec![HOLDS], 1, Priority::Live);
    assert_eq!(harness.starts(1), ["held"]);
    // 10 rows and 7 tokens, of which the last is not fed: 16 positions, so that six of these fit.
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for name in names {
        harness.submit(name, vec![1; 10], 7, Priority::Live);
    }
    held.set();
    for name in names {
        assert_eq!(
            harness.outcome_of(name),
            JobOutcome::Finished(FinishReason::Length),
            "{name}"
        );
    }
    let most = harness.steps.lock().unwrap().iter().map(Vec::len).max();
    assert_eq!(most, Some(6));

    harness.submit("the largest", vec![1; 10], 87, Priority::Live);
    assert_eq!(
        harness.outcome_of("the largest"),
        JobOutcome::Finished(FinishReason::Length)
    );
    harness.submit("beyond", vec![1; 10], 88, Priority::Live);
    let JobOutcome::Failed(sentence) = harness.outcome_of("beyond") else {
        panic!("97 MiB of 96")
    };
    assert!(
        sentence.contains("97 positions would take 97 MiB") && sentence.contains("--memory"),
        "{sentence}"
    );
}

#[test]
fn the_memory_that_a_job_would_take_is_rounded_up_in_its_refusal() {
    let harness = Harness::of(started_with_little_memory((1 << 20) + 1));
    // 96 positions, and 96 bytes more than there are.
    harness.submit("beyond", vec![1; 10], 87, Priority::Live);
    let JobOutcome::Failed(sentence) = harness.outcome_of("beyond") else {
        panic!("more than 96 MiB of 96")
    };
    assert!(
        sentence.contains("96 positions would take 97 MiB, but this unit has 96 MiB"),
        "{sentence}"
    );
}

#[test]
fn a_new_job_joins_the_running_batch() {
    let harness = Harness::new(4, true);
    let first = harness.submit("first", vec![1], 100_000, Priority::Live);
    while harness.next() != Event::Token("first") {}
    harness.submit("second", vec![1], 3, Priority::Live);
    assert_eq!(harness.outcome_of("second"), JobOutcome::Finished(FinishReason::Length));
    assert!(
        harness.steps.lock().unwrap().iter().any(|step| step.len() == 2),
        "both in one step"
    );
    first.set();
    assert_eq!(harness.outcome_of("first"), JobOutcome::Finished(FinishReason::Stopped));
}

#[test]
fn live_jobs_start_before_batch_jobs_and_have_a_reserved_slot() {
    let harness = Harness::new(3, true);
    let stops = ["b1", "b2", "b3", "b4"].map(|name| harness.submit(name, vec![1], 100_000, Priority::Batch));
    assert_eq!(harness.starts(2), ["b1", "b2"]);
    harness.submit("live", vec![1], 2, Priority::Live);
    assert_eq!(harness.starts(1), ["live"], "in the reserved slot");
    assert_eq!(harness.outcome_of("live"), JobOutcome::Finished(FinishReason::Length));
    stops[0].set();
    stops[1].set();
    assert_eq!(harness.starts(2), ["b3", "b4"]);
    stops[2].set();
    stops[3].set();
}

#[test]
fn a_long_prompt_is_fed_in_chunks_beside_others_unless_the_engine_does_not_support_it() {
    for (chunked, largest) in [(true, PROMPT_ROWS_DURING_DECODE), (false, 1000)] {
        let harness = Harness::new(4, chunked);
        let first = harness.submit("first", vec![1], 100_000, Priority::Live);
        while harness.next() != Event::Token("first") {}
        harness.submit("long", vec![2; 1000], 1, Priority::Live);
        harness.outcome_of("long");
        let steps = harness.steps.lock().unwrap();
        let fed: Vec<usize> = steps
            .iter()
            .flatten()
            .filter(|(id, _)| id.0 == 2)
            .map(|&(_, rows)| rows)
            .collect();
        assert_eq!(fed.iter().sum::<usize>(), 1000);
        assert_eq!(fed.iter().max(), Some(&largest));
        first.set();
    }
}

#[test]
fn a_queued_job_can_be_cancelled_while_another_runs() {
    let harness = Harness::new(1, true);
    let first = harness.submit("first", vec![1], 100_000, Priority::Live);
    assert_eq!(harness.starts(1), ["first"]);
    let second = harness.submit("second", vec![1], 5, Priority::Live);
    second.set();
    harness.scheduler.wake();
    assert_eq!(harness.outcome_of("second"), JobOutcome::NeverStarted);
    first.set();
    assert_eq!(harness.outcome_of("first"), JobOutcome::Finished(FinishReason::Stopped));
}

#[test]
fn a_deadline_ends_running_and_queued_jobs() {
    let harness = Harness::new(1, true);
    let submit = |name, patience| {
        harness.scheduler.submit(Job {
            deadline: Some(Instant::now() + Duration::from_millis(patience)),
            ..job(vec![1], Sink(name, harness.sender.clone()))
        });
    };
    submit("runs", 3000);
    assert_eq!(harness.starts(1), ["runs"]);
    submit("waits", 100);
    assert_eq!(harness.outcome_of("waits"), JobOutcome::NeverStarted);
    assert_eq!(harness.outcome_of("runs"), JobOutcome::Finished(FinishReason::Stopped));
}

#[test]
fn a_queued_job_starts_in_the_step_after_another_ends() {
    let harness = Harness::new(2, true);
    let long = harness.submit("long", vec![1], 100_000, Priority::Live);
    assert_eq!(harness.starts(1), ["long"]);
    // Long enough to be running still when the next one is submitted.
    harness.submit("short", vec![1], 5000, Priority::Live);
    harness.submit("waits", vec![1], 5, Priority::Live);
    assert_eq!(harness.outcome_of("waits"), JobOutcome::Finished(FinishReason::Length));
    long.set();
    let steps = harness.steps.lock().unwrap();
    let has = |step: &[(SequenceId, usize)], id: u64| step.iter().any(|(sequence, _)| sequence.0 == id);
    let last = steps.iter().rposition(|step| has(step, 2)).unwrap();
    assert!(
        has(&steps[last + 1], 1) && has(&steps[last + 1], 3),
        "the long job runs on beside the new one"
    );
}

/// Calls a function at its third token, on the engine's thread.
struct OnThirdToken<F: FnMut() + Send>(u32, F, Sender<(u32, JobOutcome)>);

impl<F: FnMut() + Send> TokenSink for OnThirdToken<F> {
    fn started(&mut self) {}
    fn tokens(&mut self, tokens: &[u32]) {
        assert_eq!(tokens.len(), 1);
        self.0 += 1;
        if self.0 == 3 {
            self.1();
        }
    }
    fn is_closed(&self) -> bool {
        false
    }
    fn end(self: Box<Self>, outcome: JobOutcome, _: Timings) {
        let _ = self.2.send((self.0, outcome));
    }
}

#[test]
fn a_stop_or_a_deadline_takes_effect_within_one_token() {
    let harness = Harness::new(2, true);
    let ending_after = |stop: StopFlag, deadline: Option<Instant>, then: Box<dyn FnMut() + Send>| {
        let (sender, receiver) = channel();
        harness.scheduler.submit(Job {
            stop,
            deadline,
            ..job(vec![1], OnThirdToken(0, then, sender))
        });
        receiver.recv_timeout(Duration::from_secs(5)).unwrap()
    };
    let stop = StopFlag::default();
    let stopped = ending_after(stop.clone(), None, Box::new(move || stop.set()));
    assert!(
        matches!(stopped, (3 | 4, JobOutcome::Finished(FinishReason::Stopped))),
        "{stopped:?}"
    );

    // However slow the first tokens are, the deadline has passed after the third one.
    let deadline = Instant::now() + Duration::from_secs(2);
    let wait = move || std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
    let late = ending_after(StopFlag::default(), Some(deadline), Box::new(wait));
    assert!(
        matches!(late, (0..=4, JobOutcome::Finished(FinishReason::Stopped))),
        "{late:?}"
    );
}

#[test]
fn a_failing_step_fails_its_sequences_and_no_later_job() {
    let harness = Harness::new(4, true);
    harness.submit("bad", vec![FAILS], 5, Priority::Live);
    let JobOutcome::Failed(sentence) = harness.outcome_of("bad") else {
        panic!("it failed")
    };
    assert_eq!(sentence, "the fake engine failed: broke; repair it");
    harness.submit("good", vec![1], 1, Priority::Live);
    assert_eq!(harness.outcome_of("good"), JobOutcome::Finished(FinishReason::Length));
}

#[test]
fn a_failing_token_choice_fails_its_own_job_alone() {
    let harness = Harness::new(4, true);
    harness.scheduler.submit(Job {
        choose: Box::new(|_| Err("nothing but NaN".into())),
        ..job(vec![1], Sink("bad", harness.sender.clone()))
    });
    assert_eq!(harness.outcome_of("bad"), JobOutcome::Failed("nothing but NaN".into()));
    harness.submit("good", vec![1], 1, Priority::Live);
    assert_eq!(harness.outcome_of("good"), JobOutcome::Finished(FinishReason::Length));
}

#[test]
fn every_job_is_answered_after_the_engine_panics() {
    let harness = Harness::new(2, true);
    harness.submit("running", vec![SLOW], 1000, Priority::Live);
    assert_eq!(harness.starts(1), ["running"]);
    harness.submit("bad", vec![PANICS], 5, Priority::Live);
    harness.submit("waiting", vec![1], 5, Priority::Batch);
    for _ in 0..3 {
        let end = loop {
            if let Event::Ended(_, end) = harness.next() {
                break end;
            }
        };
        assert_eq!(end, JobOutcome::Failed(ENGINE_ENDED.into()));
    }
    assert!(harness.scheduler.is_closed());
    harness.submit("later", vec![1], 5, Priority::Live);
    assert_eq!(harness.outcome_of("later"), JobOutcome::Failed(ENGINE_ENDED.into()));
}

#[test]
fn dropping_the_scheduler_ends_all_jobs() {
    let harness = Harness::new(1, true);
    harness.submit("running", vec![1], 100_000, Priority::Live);
    assert_eq!(harness.starts(1), ["running"]);
    harness.submit("waiting", vec![1], 5, Priority::Live);
    let Harness { scheduler, events, .. } = harness;
    drop(scheduler);
    let mut ends = Vec::new();
    while ends.len() < 2 {
        if let Event::Ended(name, end) = events.recv_timeout(Duration::from_secs(5)).unwrap() {
            ends.push((name, end));
        }
    }
    assert_eq!(
        ends,
        [
            ("running", JobOutcome::Finished(FinishReason::Stopped)),
            ("waiting", JobOutcome::NeverStarted)
        ]
    );
}

#[test]
fn a_sequence_is_drafted_the_fewer_tokens_the_more_sequences_decode() {
    let harness = Harness::new(32, true);
    let stop = StopFlag::default();
    harness.scheduler.submit(Job {
        stop: stop.clone(),
        // The fake engine's text is ones without end, and so is the draft.
        drafter: Some(Drafter::new(&[7], vec![vec![1; 100_000].into()])),
        ..job(vec![7], Sink("drafted", harness.sender.clone()))
    });
    let rows_of_last_step = |sequences: usize| {
        // In the first step of so many sequences, the new one does not decode yet.
        let mut tokens = 0;
        while tokens < 400 {
            tokens += usize::from(harness.next() == Event::Token("drafted"));
        }
        let steps = harness.steps.lock().unwrap();
        let last = steps.iter().rev().find(|step| step.len() == sequences);
        last.unwrap()[0].1
    };
    assert_eq!(rows_of_last_step(1), DECODE_ROWS, "one of them is no draft");
    let mut others = Vec::new();
    for name in ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"] {
        others.push(harness.submit(name, vec![8], 1_000_000, Priority::Live));
        if name == "1" {
            assert_eq!(rows_of_last_step(2), 1 + (DECODE_ROWS - 2) / 2, "half of what is left");
        }
    }
    assert_eq!(rows_of_last_step(11), 1, "eleven sequences leave five rows");
    for stop in others.iter().chain([&stop]) {
        stop.set();
    }
}

type Scored = Result<Vec<Vec<TokenScore>>, JobError>;

struct Scores(Sender<Scored>);

impl ScoreSink for Scores {
    fn is_closed(&self) -> bool {
        false
    }
    fn end(self: Box<Self>, outcome: Scored) {
        let _ = self.0.send(outcome);
    }
}

/// Scores a text under the base and two prefixes.
fn score(scheduler: &Scheduler, text: Vec<u32>) -> Receiver<Scored> {
    let (job, receiver) = score_job(text);
    scheduler.score(job);
    receiver
}

fn score_job(text: Vec<u32>) -> (ScoreJob, Receiver<Scored>) {
    let (sender, receiver) = channel();
    let prefix = |len| SoftPrefix::from_bf16(HIDDEN, vec![bf16::ONE; len * HIDDEN]).ok();
    let job = ScoreJob {
        conditions: vec![None, prefix(1), prefix(30)],
        prompt: vec![1, 2, 3],
        text,
        top: 0,
        stop: StopFlag::default(),
        deadline: None,
        sink: Box::new(Scores(sender)),
        permit: AdmissionLimit::new(1).acquire().unwrap(),
    };
    (job, receiver)
}

fn scored(receiver: &Receiver<Scored>) -> Scored {
    receiver.recv_timeout(Duration::from_secs(5)).unwrap()
}

#[test]
fn a_text_is_scored_in_small_steps_beside_decoding_sequences() {
    let harness = Harness::new(32, true);
    let stop = harness.submit("live", vec![7], 1_000_000, Priority::Live);
    assert_eq!(harness.next(), Event::Started("live"));
    let first = score(&harness.scheduler, vec![5; 100]);
    let second = score(&harness.scheduler, vec![6; 7]);
    let scores = scored(&first).unwrap();
    assert_eq!(scores.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 100]);
    let even = -(1000f64.ln());
    assert!(
        scores
            .iter()
            .flatten()
            .all(|one| (one.logprob - even).abs() < 1e-9 && one.divergence == 0.0)
    );
    assert_eq!(scored(&second).unwrap()[2].len(), 7);
    stop.set();
    harness.outcome_of("live");
    let steps = harness.steps.lock().unwrap();
    let live = steps[0][0].0;
    let (mine, others): (Vec<_>, Vec<_>) = steps.iter().partition(|step| step[0].0 == live);
    assert!(
        mine.len() >= others.len(),
        "the decoding sequence has a step between any two scoring steps"
    );
    for step in others {
        assert!(
            step.iter().map(|(_, rows)| rows).sum::<usize>() <= DECODE_ROWS,
            "{step:?}"
        );
    }
}

#[test]
fn a_scoring_step_is_interrupted_by_a_new_job_and_repeated() {
    let harness = Harness::new(32, true);
    // This step would block for ever if it were not interrupted.
    let receiver = score(&harness.scheduler, vec![HOLDS; 100]);
    let of_the_text = |step: &Vec<(SequenceId, usize)>| step.iter().any(|&(id, rows)| id.0 == 1 && rows > 2);
    while !harness.steps.lock().unwrap().iter().any(of_the_text) {
        std::thread::sleep(Duration::from_millis(1));
    }
    harness.submit("live", vec![7], 3, Priority::Live);
    assert_eq!(harness.outcome_of("live"), JobOutcome::Finished(FinishReason::Length));
    let scores = scored(&receiver).unwrap();
    assert_eq!(scores.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 100]);
    // The cache of each condition: prefix, prompt and text without its last token, which is only predicted.
    let steps = harness.steps.lock().unwrap();
    let given_up = steps.iter().position(of_the_text).unwrap();
    for (sequence, rows) in [(1, 2 + 100), (2, 3 + 100), (3, 32 + 100)] {
        let fed = steps.iter().enumerate().filter(|(at, _)| *at != given_up);
        let fed: usize = fed
            .flat_map(|(_, step)| step)
            .filter(|(id, _)| id.0 == sequence)
            .map(|(_, rows)| rows)
            .sum();
        assert_eq!(fed, rows, "rows of the sequence {sequence}");
    }
}

#[test]
fn an_engine_with_few_sequences_reserves_none_for_scoring() {
    let (scheduler, _) = started(4, true);
    assert_eq!((scheduler.score_sequences(), scheduler.info().max_sequences), (0, 4));
    assert!(matches!(scored(&score(&scheduler, vec![5])), Err(JobError::Failed(_))));
    let (scheduler, _) = started(64, true);
    assert_eq!((scheduler.score_sequences(), scheduler.info().max_sequences), (16, 48));
}

#[test]
fn scoring_jobs_are_answered_when_the_engine_fails_panics_or_is_dropped() {
    let (scheduler, _) = started(32, true);
    let failed = scored(&score(&scheduler, vec![5, FAILS, 5]));
    assert!(matches!(failed, Err(JobError::Failed(sentence)) if sentence.contains("repair it")));
    assert!(scored(&score(&scheduler, vec![5, 6])).is_ok(), "a later job succeeds");
    let running = score(&scheduler, vec![SLOW, PANICS, 5]);
    let waiting = score(&scheduler, vec![5]);
    for receiver in [running, waiting] {
        assert_eq!(scored(&receiver), Err(JobError::Failed(ENGINE_ENDED.into())));
    }
    assert_eq!(
        scored(&score(&scheduler, vec![5])),
        Err(JobError::Failed(ENGINE_ENDED.into()))
    );

    let (scheduler, _) = started(32, true);
    let (running, waiting) = (score(&scheduler, vec![SLOW; 9]), score(&scheduler, vec![5]));
    drop(scheduler);
    for receiver in [running, waiting] {
        assert_eq!(scored(&receiver), Err(JobError::Stopped));
    }
}

/// A text that is scored for longer than a test waits.
fn endless_text() -> Vec<u32> {
    vec![SLOW; 50_000]
}

#[test]
fn a_queued_scoring_job_can_be_cancelled_while_another_runs() {
    let (scheduler, _) = started(32, true);
    let stop = StopFlag::default();
    let (first, running) = score_job(endless_text());
    scheduler.score(ScoreJob {
        stop: stop.clone(),
        ..first
    });
    let (second, waiting) = score_job(vec![5]);
    let (second_stop, limit) = (StopFlag::default(), AdmissionLimit::new(1));
    scheduler.score(ScoreJob {
        stop: second_stop.clone(),
        permit: limit.acquire().unwrap(),
        ..second
    });
    second_stop.set();
    scheduler.wake();
    assert_eq!(scored(&waiting), Err(JobError::Stopped));
    assert!(limit.acquire().is_ok(), "its permit is released");
    assert!(running.try_recv().is_err(), "the other one runs on");
    stop.set();
    scheduler.wake();
    assert_eq!(scored(&running), Err(JobError::Stopped));
}

#[test]
fn a_deadline_ends_a_queued_scoring_job() {
    let (scheduler, _) = started(32, true);
    let running = score(&scheduler, endless_text());
    let (late, waiting) = score_job(vec![5]);
    scheduler.score(ScoreJob {
        deadline: Some(Instant::now() + Duration::from_millis(100)),
        ..late
    });
    assert_eq!(scored(&waiting), Err(JobError::Stopped));
    assert!(running.try_recv().is_err(), "the other one runs on");
}

#[derive(Debug, Clone, PartialEq)]
enum Learned {
    Started,
    /// Steps taken, and steps rolled back.
    Progress(usize, usize),
    Ended(Result<LearnedPrefix, JobError>),
}

impl LearnSink for Sender<Learned> {
    fn started(&mut self) {
        let _ = self.send(Learned::Started);
    }
    fn progress(&mut self, progress: &LearnProgress, _: &BestPrefix) {
        let _ = self.send(Learned::Progress(progress.step, progress.rolled_back));
    }
    fn is_closed(&self) -> bool {
        false
    }
    fn end(self: Box<Self>, outcome: Result<LearnedPrefix, JobError>) {
        let _ = self.send(Learned::Ended(outcome));
    }
}

/// A job that learns, and what its sink receives.
fn learn_job() -> (LearnJob, Receiver<Learned>) {
    let (sender, receiver) = channel();
    let job = LearnJob {
        examples: vec![LearnExample {
            prompt: vec![1, 2],
            target: vec![3],
        }],
        preserved: Vec::new(),
        preserve_weight: 0.0,
        preserve_tokens: 0,
        stop_tokens: Arc::new([]),
        held_out: Vec::new(),
        references: Vec::new(),
        init: SoftPrefix::from_bf16(HIDDEN, vec![bf16::ONE; HIDDEN]).unwrap(),
        steps: 1,
        batch: 1,
        rate: 0.1,
        norm_range: (0.1, 10.0),
        seed: 0,
        target_loss: 0.0,
        stop: StopFlag::default(),
        sink: Box::new(sender),
        permit: AdmissionLimit::new(1).acquire().unwrap(),
    };
    (job, receiver)
}

#[test]
fn a_queued_learning_job_can_be_cancelled_while_another_runs() {
    let learning = FakeEngine {
        derivatives: Some(Vec::new().into_iter()),
        ..engine(32, true)
    };
    let (scheduler, _) = start(learning, Budget::default());
    let patience = Duration::from_secs(5);
    let (first, running) = learn_job();
    let (stop, limit) = (first.stop.clone(), AdmissionLimit::new(1));
    scheduler.learn(LearnJob {
        permit: limit.acquire().unwrap(),
        ..first
    });
    for expected in [Learned::Started, Learned::Progress(0, 0)] {
        assert_eq!(running.recv_timeout(patience).unwrap(), expected);
    }
    assert!(limit.acquire().is_ok(), "a job that has started does not wait");
    let (second, waiting) = learn_job();
    let second_stop = second.stop.clone();
    scheduler.learn(LearnJob {
        permit: limit.acquire().unwrap(),
        ..second
    });
    second_stop.set();
    scheduler.wake();
    let stopped = Learned::Ended(Err(JobError::Stopped));
    assert_eq!(waiting.recv_timeout(patience).unwrap(), stopped);
    assert!(limit.acquire().is_ok(), "its permit is released");
    assert!(running.try_recv().is_err(), "the other one runs on");
    stop.set();
    scheduler.wake();
    let ended = running.recv_timeout(patience).unwrap();
    assert!(matches!(ended, Learned::Ended(Ok(_))), "{ended:?}");
}

#[test]
fn a_job_that_needs_more_memory_than_learning_leaves_is_refused_and_keeps_no_other_one_waiting() {
    // 96 MiB for what runs, at 1 MiB for a position.
    let learning = FakeEngine {
        position_bytes: 1 << 20,
        derivatives: Some(Vec::new().into_iter()),
        ..engine(32, true)
    };
    let harness = Harness::of(start(learning, Budget::new(MIN_LIMIT)));
    let (job, received) = learn_job();
    let stop = job.stop.clone();
    let example = LearnExample {
        prompt: vec![1; 39],
        target: vec![3],
    };
    harness.scheduler.learn(LearnJob {
        examples: vec![example],
        ..job
    });
    let patience = Duration::from_secs(5);
    assert_eq!(received.recv_timeout(patience).unwrap(), Learned::Started);
    // Learning has 40 positions, and a little for its logits and moments.
    harness.submit("too large", vec![1; 10], 47, Priority::Live);
    harness.submit("small", vec![1; 10], 7, Priority::Live);
    let JobOutcome::Failed(sentence) = harness.outcome_of("too large") else {
        panic!("56 MiB of less")
    };
    assert!(
        sentence.contains("56 positions would take 56 MiB, but this unit has 55 MiB left while it learns a prefix"),
        "{sentence}"
    );
    assert_eq!(harness.outcome_of("small"), JobOutcome::Finished(FinishReason::Length));
    stop.set();
    harness.scheduler.wake();
    while !matches!(received.recv_timeout(patience).unwrap(), Learned::Ended(_)) {}
    harness.submit("too large before", vec![1; 10], 47, Priority::Live);
    assert_eq!(
        harness.outcome_of("too large before"),
        JobOutcome::Finished(FinishReason::Length)
    );
}

#[test]
fn a_step_whose_gradient_is_not_a_number_is_rolled_back_to_the_best_rows_and_counted() {
    let learning = FakeEngine {
        derivatives: Some(vec![1.0, f32::NAN, 1.0, 1.0].into_iter()),
        ..engine(32, true)
    };
    let differentiated = Arc::clone(&learning.differentiated);
    let (scheduler, _) = start(learning, Budget::default());
    let (job, received) = learn_job();
    let init = job.init.clone();
    scheduler.learn(LearnJob { steps: 3, ..job });
    let received: Vec<Learned> = received.iter().collect();
    // The engine finds all rows equally good, so the first ones stay the best.
    let [progress @ .., Learned::Ended(Ok(learned))] = received.as_slice() else {
        panic!("{received:?}");
    };
    let steps = [(0, 0), (1, 0), (2, 1), (3, 1)].map(|(step, rolled_back)| Learned::Progress(step, rolled_back));
    assert_eq!(progress, [&[Learned::Started], steps.as_slice()].concat());
    assert_eq!((learned.steps, learned.rolled_back, learned.stopped), (3, 1, false));
    assert_eq!((learned.best.step, &learned.best.rows), (0, &init));
    let differentiated = differentiated.lock().unwrap();
    let [first, moved, after, last] = differentiated.as_slice() else {
        panic!("{differentiated:?}");
    };
    assert_eq!((first.as_slice(), after.as_slice()), (init.values(), init.values()));
    // Half the rate from there on.
    let distance = |rows: &[bf16]| (rows[0] - init.values()[0]).to_f32().abs();
    assert!(
        distance(moved) > 0.05 && distance(last) < 0.6 * distance(moved),
        "{differentiated:?}"
    );
}

/// What prepares a job looks at its stop flag before the job is queued, and a stop can come between the two.
#[test]
fn a_job_that_is_stopped_before_it_is_queued_ends_while_another_takes_its_place() {
    let stop = StopFlag::default();
    stop.set();
    let harness = Harness::new(1, true);
    let first = harness.submit("first", vec![1], 100_000, Priority::Live);
    assert_eq!(harness.starts(1), ["first"]);
    harness.scheduler.submit(Job {
        stop: stop.clone(),
        ..job(vec![1], Sink("second", harness.sender.clone()))
    });
    assert_eq!(harness.outcome_of("second"), JobOutcome::NeverStarted);
    first.set();
    assert_eq!(harness.outcome_of("first"), JobOutcome::Finished(FinishReason::Stopped));

    let learning = FakeEngine {
        derivatives: Some(Vec::new().into_iter()),
        ..engine(32, true)
    };
    let (scheduler, _) = start(learning, Budget::default());
    let (first, running) = score_job(endless_text());
    scheduler.score(first);
    let (second, waiting) = score_job(vec![5]);
    scheduler.score(ScoreJob {
        stop: stop.clone(),
        ..second
    });
    assert_eq!(scored(&waiting), Err(JobError::Stopped));
    assert!(running.try_recv().is_err(), "the other one runs on");
    let (first, running) = learn_job();
    scheduler.learn(first);
    let patience = Duration::from_secs(5);
    assert_eq!(running.recv_timeout(patience).unwrap(), Learned::Started);
    let (second, waiting) = learn_job();
    scheduler.learn(LearnJob { stop, ..second });
    let stopped = Learned::Ended(Err(JobError::Stopped));
    assert_eq!(waiting.recv_timeout(patience).unwrap(), stopped);
}
