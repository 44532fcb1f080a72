//! Tests of the scheduler with a fake engine that records the rows it is given.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use half::bf16;
use softprefix_core::prefix::SoftPrefix;

use super::batch::PROMPT_ROWS_BESIDE_OTHERS;
use super::worker::SCORE_ROWS_BESIDE_OTHERS;
use super::*;
use crate::budget::Budget;
use crate::engine::{EngineError, Logits, SequenceId, Step};

const HIDDEN: usize = 2;

/// Rows of each sequence in each step.
type Steps = Arc<Mutex<Vec<Vec<(SequenceId, usize)>>>>;

/// What the fake engine does when it is fed the row of this token.
const PANICS: u32 = 901;
const FAILS: u32 = 902;
const SLOW: u32 = 903;
/// The first time, blocks until it is told to stop.
const HOLDS: u32 = 904;

struct Toy {
    info: EngineInfo,
    next: u64,
    steps: Steps,
    held: bool,
}

struct Rows;

impl TokenEmbeddings for Rows {
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

impl Engine for Toy {
    fn info(&self) -> &EngineInfo {
        &self.info
    }
    fn embeddings(&self) -> Arc<dyn TokenEmbeddings> {
        Arc::new(Rows)
    }
    fn open(&mut self, _: usize) -> Result<SequenceId, EngineError> {
        self.next += 1;
        Ok(SequenceId(self.next))
    }
    fn close(&mut self, _: SequenceId) {}
    fn forward(&mut self, batch: &mut [Step<'_>]) -> Result<(), EngineError> {
        let rows = batch.iter().map(|step| (step.sequence, step.rows.len() / HIDDEN));
        self.steps.lock().unwrap().push(rows.collect());
        let is = |token: u32| {
            let mut row = [bf16::ZERO; HIDDEN];
            Rows.row(token, &mut row).unwrap();
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
                assert!(Instant::now() < patience, "nobody asked it to give up");
                std::thread::sleep(Duration::from_millis(1));
            }
            return Err(EngineError::Stopped);
        }
        assert!(!is(PANICS), "as it was told");
        if is(FAILS) {
            return Err(EngineError::Machinery {
                what: "the toy".into(),
                detail: "broke".into(),
                remedy: "mend it".into(),
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
}

fn toy(max_sequences: usize, chunked_prefill: bool) -> (Scheduler, Steps) {
    let steps = Steps::default();
    let engine = Toy {
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
        steps: Arc::clone(&steps),
        held: false,
    };
    (
        Scheduler::start(Box::new(engine), usize::MAX, Budget::default()).unwrap(),
        steps,
    )
}

#[derive(Debug, PartialEq)]
enum Seen {
    Started(&'static str),
    Token(&'static str),
    End(&'static str, End),
}

struct Sink(&'static str, Sender<Seen>);

impl TokenSink for Sink {
    fn started(&mut self) {
        let _ = self.1.send(Seen::Started(self.0));
    }
    fn tokens(&mut self, tokens: &[u32]) {
        for _ in tokens {
            let _ = self.1.send(Seen::Token(self.0));
        }
    }
    fn is_gone(&self) -> bool {
        false
    }
    fn end(self: Box<Self>, end: End, _: Timings) {
        let _ = self.1.send(Seen::End(self.0, end));
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
        place: WaitingRoom::new(1).enter().unwrap(),
    }
}

struct Desk {
    scheduler: Scheduler,
    steps: Steps,
    tell: Sender<Seen>,
    seen: Receiver<Seen>,
}

impl Desk {
    fn new(max_sequences: usize, chunked_prefill: bool) -> Self {
        let (scheduler, steps) = toy(max_sequences, chunked_prefill);
        let (tell, seen) = channel();
        Self {
            scheduler,
            steps,
            tell,
            seen,
        }
    }

    fn submit(&self, name: &'static str, tokens: Vec<u32>, max_new_tokens: usize, priority: Priority) -> StopFlag {
        let stop = StopFlag::default();
        self.scheduler.submit(Job {
            max_new_tokens,
            priority,
            stop: stop.clone(),
            ..job(tokens, Sink(name, self.tell.clone()))
        });
        stop
    }

    fn next(&self) -> Seen {
        self.seen.recv_timeout(Duration::from_secs(5)).unwrap()
    }

    /// Skips the events before the end of `name`.
    fn end_of(&self, name: &str) -> End {
        loop {
            if let Seen::End(ended, end) = self.next()
                && ended == name
            {
                return end;
            }
        }
    }

    fn starts(&self, count: usize) -> Vec<&'static str> {
        let starts = std::iter::from_fn(|| Some(self.next())).filter_map(|seen| match seen {
            Seen::Started(name) => Some(name),
            _ => None,
        });
        starts.take(count).collect()
    }
}

#[test]
fn an_inference_gives_as_many_tokens_as_it_was_asked_for() {
    let desk = Desk::new(4, true);
    desk.submit("a", vec![1, 2, 3], 5, Priority::Live);
    assert_eq!(desk.next(), Seen::Started("a"));
    for _ in 0..5 {
        assert_eq!(desk.next(), Seen::Token("a"));
    }
    assert_eq!(desk.next(), Seen::End("a", End::Finished(FinishReason::Length)));
}

#[test]
fn a_latecomer_joins_the_running_batch() {
    let desk = Desk::new(4, true);
    let first = desk.submit("first", vec![1], 100_000, Priority::Live);
    while desk.next() != Seen::Token("first") {}
    desk.submit("second", vec![1], 3, Priority::Live);
    assert_eq!(desk.end_of("second"), End::Finished(FinishReason::Length));
    assert!(
        desk.steps.lock().unwrap().iter().any(|step| step.len() == 2),
        "both in one step"
    );
    first.set();
    assert_eq!(desk.end_of("first"), End::Finished(FinishReason::Stopped));
}

#[test]
fn live_runs_start_before_batch_cases_and_have_a_place_kept() {
    let desk = Desk::new(3, true);
    for name in ["b1", "b2", "b3", "b4"] {
        desk.submit(name, vec![1], 400, Priority::Batch);
    }
    assert_eq!(desk.starts(2), ["b1", "b2"]);
    desk.submit("live", vec![1], 2, Priority::Live);
    assert_eq!(desk.starts(1), ["live"], "in the place that was kept");
    assert_eq!(desk.end_of("live"), End::Finished(FinishReason::Length));
    assert_eq!(desk.starts(2), ["b3", "b4"]);
}

#[test]
fn a_long_prompt_is_fed_in_pieces_beside_others_and_whole_where_the_engine_wants_it_whole() {
    for (chunked, largest) in [(true, PROMPT_ROWS_BESIDE_OTHERS), (false, 1000)] {
        let desk = Desk::new(4, chunked);
        let first = desk.submit("first", vec![1], 100_000, Priority::Live);
        while desk.next() != Seen::Token("first") {}
        desk.submit("long", vec![2; 1000], 1, Priority::Live);
        desk.end_of("long");
        let steps = desk.steps.lock().unwrap();
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
fn whoever_waits_can_be_stopped_while_another_runs() {
    let desk = Desk::new(1, true);
    let first = desk.submit("first", vec![1], 100_000, Priority::Live);
    assert_eq!(desk.starts(1), ["first"]);
    let second = desk.submit("second", vec![1], 5, Priority::Live);
    second.set();
    desk.scheduler.look_again();
    assert_eq!(desk.end_of("second"), End::NeverStarted);
    first.set();
    assert_eq!(desk.end_of("first"), End::Finished(FinishReason::Stopped));
}

#[test]
fn a_deadline_ends_what_runs_and_what_waits() {
    let desk = Desk::new(1, true);
    for (name, patience) in [("runs", 200), ("waits", 100)] {
        desk.scheduler.submit(Job {
            deadline: Some(Instant::now() + Duration::from_millis(patience)),
            ..job(vec![1], Sink(name, desk.tell.clone()))
        });
    }
    assert_eq!(desk.end_of("waits"), End::NeverStarted);
    assert_eq!(desk.end_of("runs"), End::Finished(FinishReason::Stopped));
}

#[test]
fn a_case_that_ends_makes_room_in_the_very_next_step() {
    let desk = Desk::new(2, true);
    let long = desk.submit("long", vec![1], 100_000, Priority::Live);
    assert_eq!(desk.starts(1), ["long"]);
    desk.submit("short", vec![1], 5, Priority::Live);
    desk.submit("waits", vec![1], 5, Priority::Live);
    assert_eq!(desk.end_of("waits"), End::Finished(FinishReason::Length));
    long.set();
    let steps = desk.steps.lock().unwrap();
    let has = |step: &[(SequenceId, usize)], id: u64| step.iter().any(|(sequence, _)| sequence.0 == id);
    let last = steps.iter().rposition(|step| has(step, 2)).unwrap();
    assert!(
        has(&steps[last + 1], 1) && has(&steps[last + 1], 3),
        "the other went on beside it"
    );
}

/// Calls a function at its third token, on the engine's thread.
struct AtTheThird<F: FnMut() + Send>(u32, F, Sender<(u32, End)>);

impl<F: FnMut() + Send> TokenSink for AtTheThird<F> {
    fn started(&mut self) {}
    fn tokens(&mut self, tokens: &[u32]) {
        assert_eq!(tokens.len(), 1);
        self.0 += 1;
        if self.0 == 3 {
            self.1();
        }
    }
    fn is_gone(&self) -> bool {
        false
    }
    fn end(self: Box<Self>, end: End, _: Timings) {
        let _ = self.2.send((self.0, end));
    }
}

#[test]
fn a_stop_and_a_deadline_are_honoured_within_one_token() {
    let desk = Desk::new(2, true);
    let ending_after = |stop: StopFlag, deadline: Option<Instant>, then: Box<dyn FnMut() + Send>| {
        let (tell, told) = channel();
        desk.scheduler.submit(Job {
            stop,
            deadline,
            ..job(vec![1], AtTheThird(0, then, tell))
        });
        told.recv_timeout(Duration::from_secs(5)).unwrap()
    };
    let stop = StopFlag::default();
    let stopped = ending_after(stop.clone(), None, Box::new(move || stop.set()));
    assert!(
        matches!(stopped, (3 | 4, End::Finished(FinishReason::Stopped))),
        "{stopped:?}"
    );

    // However slow the first tokens are, the deadline has passed after the third one.
    let deadline = Instant::now() + Duration::from_secs(2);
    let wait = move || std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
    let late = ending_after(StopFlag::default(), Some(deadline), Box::new(wait));
    assert!(
        matches!(late, (0..=4, End::Finished(FinishReason::Stopped))),
        "{late:?}"
    );
}

#[test]
fn a_failing_step_fails_those_in_it_and_nobody_after() {
    let desk = Desk::new(4, true);
    desk.submit("bad", vec![FAILS], 5, Priority::Live);
    let End::Failed(sentence) = desk.end_of("bad") else {
        panic!("it failed")
    };
    assert_eq!(sentence, "the toy failed: broke; mend it");
    desk.submit("good", vec![1], 1, Priority::Live);
    assert_eq!(desk.end_of("good"), End::Finished(FinishReason::Length));
}

#[test]
fn a_choice_that_fails_fails_its_inference_alone() {
    let desk = Desk::new(4, true);
    desk.scheduler.submit(Job {
        choose: Box::new(|_| Err("nothing but NaN".into())),
        ..job(vec![1], Sink("bad", desk.tell.clone()))
    });
    assert_eq!(desk.end_of("bad"), End::Failed("nothing but NaN".into()));
    desk.submit("good", vec![1], 1, Priority::Live);
    assert_eq!(desk.end_of("good"), End::Finished(FinishReason::Length));
}

#[test]
fn an_engine_that_panics_leaves_nobody_without_an_answer() {
    let desk = Desk::new(2, true);
    desk.submit("running", vec![SLOW], 1000, Priority::Live);
    assert_eq!(desk.starts(1), ["running"]);
    desk.submit("bad", vec![PANICS], 5, Priority::Live);
    desk.submit("waiting", vec![1], 5, Priority::Batch);
    for _ in 0..3 {
        let end = loop {
            if let Seen::End(_, end) = desk.next() {
                break end;
            }
        };
        assert_eq!(end, End::Failed(ENGINE_GONE.into()));
    }
    assert!(desk.scheduler.is_closed());
    desk.submit("later", vec![1], 5, Priority::Live);
    assert_eq!(desk.end_of("later"), End::Failed(ENGINE_GONE.into()));
}

#[test]
fn dropping_the_scheduler_ends_everything() {
    let desk = Desk::new(1, true);
    desk.submit("running", vec![1], 100_000, Priority::Live);
    assert_eq!(desk.starts(1), ["running"]);
    desk.submit("waiting", vec![1], 5, Priority::Live);
    let Desk { scheduler, seen, .. } = desk;
    drop(scheduler);
    let mut ends = Vec::new();
    while ends.len() < 2 {
        if let Seen::End(name, end) = seen.recv_timeout(Duration::from_secs(5)).unwrap() {
            ends.push((name, end));
        }
    }
    assert_eq!(
        ends,
        [
            ("running", End::Finished(FinishReason::Stopped)),
            ("waiting", End::NeverStarted)
        ]
    );
}

struct Scores(Sender<Result<Vec<Vec<TokenScore>>, Unscored>>);

impl ScoreSink for Scores {
    fn is_gone(&self) -> bool {
        false
    }
    fn end(self: Box<Self>, outcome: Result<Vec<Vec<TokenScore>>, Unscored>) {
        let _ = self.0.send(outcome);
    }
}

/// Scores a text under the base and two prefixes.
fn score(scheduler: &Scheduler, text: Vec<u32>) -> Receiver<Result<Vec<Vec<TokenScore>>, Unscored>> {
    let (tell, told) = channel();
    let prefix = |len| SoftPrefix::from_bf16(HIDDEN, vec![bf16::ONE; len * HIDDEN]).ok();
    scheduler.score(ScoreJob {
        conditions: vec![None, prefix(1), prefix(30)],
        prompt: vec![1, 2, 3],
        text,
        top: 0,
        stop: StopFlag::default(),
        deadline: None,
        sink: Box::new(Scores(tell)),
        place: WaitingRoom::new(1).enter().unwrap(),
    });
    told
}

fn scored(told: &Receiver<Result<Vec<Vec<TokenScore>>, Unscored>>) -> Result<Vec<Vec<TokenScore>>, Unscored> {
    told.recv_timeout(Duration::from_secs(5)).unwrap()
}

#[test]
fn a_text_is_scored_in_small_steps_beside_those_who_produce() {
    let desk = Desk::new(32, true);
    let stop = desk.submit("live", vec![7], 1_000_000, Priority::Live);
    assert_eq!(desk.next(), Seen::Started("live"));
    let first = score(&desk.scheduler, vec![5; 100]);
    let second = score(&desk.scheduler, vec![6; 7]);
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
    desk.end_of("live");
    let steps = desk.steps.lock().unwrap();
    let live = steps[0][0].0;
    let (mine, others): (Vec<_>, Vec<_>) = steps.iter().partition(|step| step[0].0 == live);
    assert!(
        mine.len() >= others.len(),
        "the one who produces has a step between any two of these"
    );
    for step in others {
        assert!(
            step.iter().map(|(_, rows)| rows).sum::<usize>() <= SCORE_ROWS_BESIDE_OTHERS,
            "{step:?}"
        );
    }
}

#[test]
fn a_step_of_scoring_is_given_up_for_whoever_comes_and_done_again() {
    let desk = Desk::new(32, true);
    // This step would block for ever if it were not interrupted.
    let told = score(&desk.scheduler, vec![HOLDS; 100]);
    let of_the_text = |step: &Vec<(SequenceId, usize)>| step.iter().any(|&(id, rows)| id.0 == 1 && rows > 2);
    while !desk.steps.lock().unwrap().iter().any(of_the_text) {
        std::thread::sleep(Duration::from_millis(1));
    }
    desk.submit("live", vec![7], 3, Priority::Live);
    assert_eq!(desk.end_of("live"), End::Finished(FinishReason::Length));
    let scores = scored(&told).unwrap();
    assert_eq!(scores.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 100]);
    // The cache of each condition: prefix, prompt and text without its last token, which is only predicted.
    let steps = desk.steps.lock().unwrap();
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
fn an_engine_with_few_sequences_scores_nothing_and_keeps_them_all() {
    let (scheduler, _) = toy(4, true);
    assert_eq!((scheduler.score_sequences(), scheduler.info().max_sequences), (0, 4));
    assert!(matches!(scored(&score(&scheduler, vec![5])), Err(Unscored::Failed(_))));
    let (scheduler, _) = toy(64, true);
    assert_eq!((scheduler.score_sequences(), scheduler.info().max_sequences), (16, 48));
}

#[test]
fn scores_are_answered_when_the_engine_fails_panics_or_goes() {
    let (scheduler, _) = toy(32, true);
    let failed = scored(&score(&scheduler, vec![5, FAILS, 5]));
    assert!(matches!(failed, Err(Unscored::Failed(sentence)) if sentence.contains("mend it")));
    assert!(
        scored(&score(&scheduler, vec![5, 6])).is_ok(),
        "the next is none the worse"
    );
    let running = score(&scheduler, vec![SLOW, PANICS, 5]);
    let waiting = score(&scheduler, vec![5]);
    for told in [running, waiting] {
        assert_eq!(scored(&told), Err(Unscored::Failed(ENGINE_GONE.into())));
    }
    assert_eq!(
        scored(&score(&scheduler, vec![5])),
        Err(Unscored::Failed(ENGINE_GONE.into()))
    );

    let (scheduler, _) = toy(32, true);
    let (running, waiting) = (score(&scheduler, vec![SLOW; 9]), score(&scheduler, vec![5]));
    drop(scheduler);
    for told in [running, waiting] {
        assert_eq!(scored(&told), Err(Unscored::Stopped));
    }
}
