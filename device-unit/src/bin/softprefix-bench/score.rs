//! Measures scoring: a text under eleven conditions at once by teacher forcing, compared with the prefill of a prompt of the same length,
//! without the logits of its rows and with all of them; and the time to first token of a live run that arrives while a text is scored.
//!
//! Each row of a scored text is multiplied with the output matrix, which a prompt needs for its last row only. A prompt with every row's
//! logits is therefore the upper limit, and the share of it shows the cost of exponentials, divergences and the scheduler. All
//! measurements alternate in one process, so that other load on the machine affects them equally.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use half::bf16;
use softprefix_core::prefix::SoftPrefix;
use softprefix_unit::budget::Budget;
use softprefix_unit::engine::cpu::{CpuEngine, CpuOptions};
use softprefix_unit::engine::sampling::greedy;
use softprefix_unit::engine::{Engine, Logits, SequenceStep};
use softprefix_unit::scheduler::{
    AdmissionLimit, AdmissionPermit, FinishReason, Job, JobError, JobOutcome, Priority, Scheduler, ScoreJob, ScoreSink,
    StopFlag, Timings, TokenScore, TokenSink,
};

use crate::CASES;

/// Tokens of the scored text, and rows of the prompt it is compared with.
const TEXT: usize = 208;
/// Tokens before the scored text: few, because their rows have no logits.
const PROMPT_TOKENS: usize = 4;
/// Tokens of a live run's prompt.
const LIVE: usize = 40;
/// Number of live runs while a text is scored.
const LIVE_RUNS: u32 = 6;

/// Rows per second, the best of all rounds, and times of live runs.
pub struct Speeds {
    /// A prompt with the logits of its last row.
    pub prefill: f64,
    /// A prompt with the logits of every row.
    pub every_row: f64,
    /// A text under [`CASES`] conditions, from the request to the scores.
    pub score: f64,
    /// Time to first token of a live run without other work, the best of all rounds.
    pub live_alone: Duration,
    /// The same while a text is scored, the worst of all rounds.
    pub live_beside: Duration,
}

impl Speeds {
    pub fn print(&self) {
        let Self {
            prefill,
            every_row,
            score,
            live_alone,
            live_beside,
        } = self;
        println!(
            "\n| scoring: a text of {TEXT} tokens under {CASES} conditions | |\n|---|---|\n\
             | prefill of as many rows, rows/s | {prefill:.0} |\n\
             | the same with every row's logits, rows/s | {every_row:.0} |\n\
             | score, rows/s | {score:.0} |\n\
             | score / prefill with every row's logits | {:.2} |\n\
             | score / prefill | {:.2} |\n\
             | first token of a live run of {LIVE} rows, alone at best | {:.0} ms |\n\
             | the same while a text is scored, at worst | {:.0} ms |",
            score / every_row,
            score / prefill,
            live_alone.as_secs_f64() * 1e3,
            live_beside.as_secs_f64() * 1e3,
        );
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "prefill_rows_s": self.prefill,
            "prefill_every_row_rows_s": self.every_row,
            "score_rows_s": self.score,
            "live_alone_s": self.live_alone.as_secs_f64(),
            "live_beside_worst_s": self.live_beside.as_secs_f64(),
        })
    }
}

/// Measures a model, which is loaded twice, because a scheduler owns its engine.
///
/// # Errors
/// Errors of loading, a step or a score.
pub fn measure(path: &Path, threads: Option<usize>, rounds: usize) -> anyhow::Result<Speeds> {
    let load = || {
        let options = CpuOptions {
            threads,
            ..CpuOptions::default()
        };
        CpuEngine::load(path, options, &|_, _| {})
    };
    let mut engine = load()?;
    let scheduler = Scheduler::start(Box::new(load()?), usize::MAX, Budget::default())?;
    let mut speeds = Speeds {
        prefill: 0.0,
        every_row: 0.0,
        score: 0.0,
        live_alone: Duration::MAX,
        live_beside: Duration::ZERO,
    };
    let mut out = Vec::new();
    for _ in 0..rounds {
        // The first measurement is a warm-up.
        for logits in [Logits::None, Logits::Last, Logits::All, Logits::Last, Logits::All] {
            let elapsed = prefill(&mut engine, logits, &mut out)?;
            let best = match logits {
                Logits::None => continue,
                Logits::Last => &mut speeds.prefill,
                Logits::All => &mut speeds.every_row,
            };
            *best = best.max(TEXT as f64 / elapsed.as_secs_f64());
        }

        let start = Instant::now();
        let scores = begin_score(&scheduler)?;
        scores.recv().context("the scheduler has ended")?.map_err(score_error)?;
        let elapsed = start.elapsed();
        // The prefixes of the conditions have one row, except the first; the last token is only predicted.
        let rows = CASES * (PROMPT_TOKENS + TEXT - 1) + CASES - 1;
        speeds.score = speeds.score.max(rows as f64 / elapsed.as_secs_f64());

        let alone = live(&scheduler)?;
        speeds.live_alone = speeds.live_alone.min(alone);
        let scores = begin_score(&scheduler)?;
        for visit in 1..=LIVE_RUNS {
            std::thread::sleep(alone * visit / 4);
            if let Ok(ended) = scores.try_recv() {
                ended.map_err(score_error)?;
                break;
            }
            speeds.live_beside = speeds.live_beside.max(live(&scheduler)?);
        }
        drop(scores);
    }
    Ok(speeds)
}

fn score_error(score_error: JobError) -> anyhow::Error {
    anyhow!("the text was not scored: {score_error:?}")
}

/// Arbitrary tokens.
fn tokens(vocabulary: usize, count: usize) -> Vec<u32> {
    (0..count).map(|at| ((at * 7919 + 1000) % vocabulary) as u32).collect()
}

/// `out` is reused, like in the scheduler.
fn prefill(engine: &mut CpuEngine, logits: Logits, out: &mut Vec<f32>) -> anyhow::Result<Duration> {
    let embeddings = engine.embeddings();
    let rows = embeddings.rows(&tokens(embeddings.vocab_size(), TEXT))?;
    let sequence = engine.open(TEXT)?;
    let mut batch = [SequenceStep {
        sequence,
        rows: &rows,
        logits,
        out: std::mem::take(out),
        stop: &AtomicBool::new(false),
    }];
    let start = Instant::now();
    engine.forward(&mut batch)?;
    let elapsed = start.elapsed();
    engine.close(sequence);
    let [step] = batch;
    *out = step.out;
    Ok(elapsed)
}

type Scores = Result<Vec<Vec<TokenScore>>, JobError>;

fn begin_score(scheduler: &Scheduler) -> anyhow::Result<std::sync::mpsc::Receiver<Scores>> {
    let hidden_size = scheduler.info().hidden_size;
    let prefix = |case: usize| -> anyhow::Result<Option<SoftPrefix>> {
        let value = bf16::from_f32(case as f32 * 0.01);
        Ok(match case {
            0 => None,
            _ => Some(SoftPrefix::from_bf16(hidden_size, vec![value; hidden_size])?),
        })
    };
    let (sender, receiver) = channel();
    let tokens = tokens(scheduler.info().vocab_size, PROMPT_TOKENS + TEXT);
    scheduler.score(ScoreJob {
        conditions: (0..CASES).map(prefix).collect::<anyhow::Result<_>>()?,
        prompt: tokens[..PROMPT_TOKENS].to_vec(),
        text: tokens[PROMPT_TOKENS..].to_vec(),
        top: 0,
        stop: StopFlag::default(),
        deadline: None,
        sink: Box::new(ChannelSink(sender)),
        permit: permit()?,
    });
    Ok(receiver)
}

/// Returns the time from the request to the first token.
fn live(scheduler: &Scheduler) -> anyhow::Result<Duration> {
    let (sender, receiver) = channel();
    let start = Instant::now();
    scheduler.submit(Job {
        prefix: None,
        tokens: tokens(scheduler.info().vocab_size, LIVE),
        max_new_tokens: 1,
        at_limit: FinishReason::Length,
        stop_tokens: Arc::new([]),
        choose: Box::new(|logits| greedy(logits).ok_or_else(|| "the engine gave no logits".into())),
        priority: Priority::Live,
        stop: StopFlag::default(),
        deadline: None,
        sink: Box::new(ChannelSink(sender)),
        drafter: None,
        permit: permit()?,
    });
    receiver
        .recv()
        .context("the scheduler has ended")?
        .map_err(|end| anyhow!("a live run ended as {end:?}"))?;
    Ok(start.elapsed())
}

fn permit() -> anyhow::Result<AdmissionPermit> {
    AdmissionLimit::new(1)
        .acquire()
        .map_err(|_| anyhow!("the admission limit is reached"))
}

/// Sends the outcome to a channel. A dropped receiver is ignored.
struct ChannelSink<T>(Sender<T>);

impl ScoreSink for ChannelSink<Scores> {
    fn is_closed(&self) -> bool {
        false
    }

    fn end(self: Box<Self>, outcome: Scores) {
        let _ = self.0.send(outcome);
    }
}

impl TokenSink for ChannelSink<Result<(), JobOutcome>> {
    fn tokens(&mut self, _: &[u32]) {
        let _ = self.0.send(Ok(()));
    }

    fn is_closed(&self) -> bool {
        false
    }

    fn end(self: Box<Self>, end: JobOutcome, _: Timings) {
        // Ignored by the receiver if a token came first.
        let _ = self.0.send(Err(end));
    }
}
