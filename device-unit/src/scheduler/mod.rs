//! Queued inferences become batches of one engine, without waiting for each other (continuous batching).
//!
//! One thread owns the engine. Between two steps it lets in whoever waits and fits, and lets go whoever is done, stopped,
//! late or no longer listened to; so every such wish is honoured within one token. It knows engines and token ids, and no
//! text, no request and no transport.

mod job;
mod queue;
mod scoring;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use half::bf16;
use softprefix_core::prefix::SoftPrefix;

pub use job::{Choose, End, FinishReason, Job, Priority, StopFlag, Timings, TokenSink};
use queue::{Lines, Room, Waiting};
pub use queue::{Place, WaitingLimits, WaitingRoom};
use scoring::Scoring;
pub use scoring::{ScoreJob, ScoreSink, TokenScore, Unscored};

use crate::engine::{Engine, EngineError, EngineInfo, Logits, SequenceId, Step, TokenEmbeddings};

/// Prompt rows a step may carry beside sequences that are producing tokens: these are held up by it.
const PROMPT_ROWS_BESIDE_OTHERS: usize = 64;
/// Prompt rows of a step in which several sequences are fed and none is producing.
const PROMPT_ROWS_TOGETHER: usize = 128;
/// Prompt rows of a step that has one sequence only: the engine then watches that sequence's own stop flag.
const PROMPT_ROWS_ALONE: usize = 256;
/// Rows of a step of scoring beside sequences that are producing tokens: one block of the CPU engine's columns.
const SCORE_ROWS_BESIDE_OTHERS: usize = 16;
/// Rows of such a step when nothing else runs. Each row's logits are kept until the step is over: 0.6 MB for a large vocabulary.
const SCORE_ROWS_ALONE: usize = 64;
/// Sequences kept for scoring by an engine that can run twice as many.
const SCORE_SEQUENCES: usize = 16;

/// The handle of a scheduler. Dropping it stops everything that runs or waits, and frees the engine.
pub struct Scheduler {
    shared: Arc<Shared>,
    info: EngineInfo,
    embeddings: Arc<dyn TokenEmbeddings>,
    score_sequences: usize,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    lines: Lines,
    /// Texts that wait to be scored, one after the other.
    scores: VecDeque<ScoreJob>,
    /// Somebody who waits may have been stopped or left.
    look_again: bool,
    closing: bool,
    /// The engine's thread is gone.
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scheduler {
    /// Gives `engine` a thread of its own. At most `max_sequences` run at once, and no more than the engine can.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(engine: Box<dyn Engine>, max_sequences: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
        });
        let mut info = engine.info().clone();
        let score_sequences = if info.chunked_prefill && info.max_sequences >= 2 * SCORE_SEQUENCES {
            SCORE_SEQUENCES
        } else {
            0
        };
        info.max_sequences = (info.max_sequences - score_sequences).min(max_sequences).max(1);
        let embeddings = engine.embeddings();
        let mut worker = Worker {
            shared: Arc::clone(&shared),
            embeddings: Arc::clone(&embeddings),
            max_sequences: info.max_sequences,
            hidden_size: info.hidden_size,
            chunked_prefill: info.chunked_prefill,
            engine,
            active: Vec::new(),
            next_score: None,
            scoring: None,
        };
        std::thread::Builder::new()
            .name("softprefix-engine".into())
            .spawn(move || worker.run())?;
        Ok(Self {
            shared,
            info,
            embeddings,
            score_sequences,
        })
    }

    /// What the engine is and can take, `max_sequences` being those that run at once here.
    #[must_use]
    pub fn info(&self) -> &EngineInfo {
        &self.info
    }

    #[must_use]
    pub fn embeddings(&self) -> &Arc<dyn TokenEmbeddings> {
        &self.embeddings
    }

    /// Puts a job in line. It never waits. Where the engine is gone, the job ends at once as failed.
    pub fn submit(&self, job: Job) {
        let mut state = self.shared.lock();
        if state.closed || state.closing {
            drop(state);
            job.sink.end(End::Failed(ENGINE_GONE.into()), Timings::default());
            return;
        }
        state.lines.push(job);
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Most conditions (the base and those compared with it) of a [`ScoreJob`]; 0 where the engine cannot score.
    #[must_use]
    pub fn score_sequences(&self) -> usize {
        self.score_sequences
    }

    /// Puts a text in line to be scored. It never waits; as [`submit`](Self::submit).
    pub fn score(&self, job: ScoreJob) {
        let mut state = self.shared.lock();
        let refusal = if state.closed || state.closing {
            Some(ENGINE_GONE)
        } else if job.conditions.len() > self.score_sequences {
            Some("this engine cannot run so many sequences beside the others; score fewer prefixes at once")
        } else {
            None
        };
        if let Some(refusal) = refusal {
            drop(state);
            job.sink.end(Err(Unscored::Failed(refusal.into())));
            return;
        }
        state.scores.push_back(job);
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Whether the engine is gone, so that nothing can run here any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }

    /// Says that a stop flag was set or a listener left, so that those who wait are looked at as well.
    pub fn look_again(&self) {
        self.shared.lock().look_again = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.wake.notify_one();
    }
}

const ENGINE_GONE: &str = "the engine has ended; set the task up again";

/// A sequence in the batch.
struct Active {
    sequence: SequenceId,
    work: Work,
    /// Rows of prefix and prompt, and how many of them the engine has.
    prompt_rows: usize,
    fed: usize,
    produced: usize,
    last: u32,
    /// The rows of the next step; empty where it sits one out.
    rows: Vec<bf16>,
    logits: Vec<f32>,
    queued: Duration,
    started: Instant,
    first_token: Option<Instant>,
}

/// What of a [`Job`] outlives its start.
struct Work {
    prefix: Option<SoftPrefix>,
    tokens: Vec<u32>,
    max_new_tokens: usize,
    at_limit: FinishReason,
    stop_tokens: Arc<[u32]>,
    choose: Choose,
    priority: Priority,
    stop: StopFlag,
    deadline: Option<Instant>,
    sink: Box<dyn TokenSink>,
}

impl Active {
    fn prefilling(&self) -> bool {
        self.fed < self.prompt_rows
    }

    /// Whether it is to end before its time.
    fn unwanted(&self, now: Instant) -> bool {
        self.work.stop.is_set()
            || self.work.deadline.is_some_and(|deadline| now >= deadline)
            || self.work.sink.is_gone()
    }

    fn timings(&self) -> Timings {
        let now = Instant::now();
        match self.first_token {
            Some(first) => Timings {
                queued: self.queued,
                prefill: first - self.started,
                decode: now.saturating_duration_since(first),
            },
            None => Timings {
                queued: self.queued,
                prefill: now - self.started,
                decode: Duration::ZERO,
            },
        }
    }

    fn end(self, end: End) {
        let timings = self.timings();
        self.work.sink.end(end, timings);
    }
}

struct Worker {
    shared: Arc<Shared>,
    engine: Box<dyn Engine>,
    embeddings: Arc<dyn TokenEmbeddings>,
    max_sequences: usize,
    hidden_size: usize,
    chunked_prefill: bool,
    active: Vec<Active>,
    /// The text that is scored next, and the one that is.
    next_score: Option<ScoreJob>,
    scoring: Option<Scoring>,
}

impl Worker {
    fn run(&mut self) {
        while let Some(starting) = self.wait_for_work() {
            for waiting in starting {
                self.begin(waiting);
            }
            if let Some(job) = self.next_score.take() {
                self.scoring = Scoring::begin(job, self.engine.as_mut());
            }
            self.let_go_of_the_unwanted();
            // A panic in an engine must not leave everybody without an answer.
            let stepped = catch_unwind(AssertUnwindSafe(|| {
                if !self.active.is_empty() {
                    self.step();
                }
                self.score_step();
            }));
            if stepped.is_err() {
                tracing::error!("the engine panicked; its thread ends");
                break;
            }
        }
    }

    /// Sleeps until there is something to do; `None` when it is over. Also answers those in line who gave up.
    fn wait_for_work(&mut self) -> Option<Vec<Waiting>> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            if state.closing {
                return None;
            }
            let now = Instant::now();
            let deadline = state.lines.earliest_deadline();
            if std::mem::take(&mut state.look_again) || deadline.is_some_and(|deadline| deadline <= now) {
                let unwanted = state.lines.take_where(|job| {
                    job.stop.is_set() || job.deadline.is_some_and(|deadline| deadline <= now) || job.sink.is_gone()
                });
                if !unwanted.is_empty() {
                    // Sinks are called without the lock: they may submit.
                    drop(state);
                    for waiting in unwanted {
                        never_started(waiting, End::NeverStarted);
                    }
                    state = shared.lock();
                    continue;
                }
            }
            if self.scoring.is_none() {
                self.next_score = state.scores.pop_front();
            }
            let scores = self.scoring.is_some() || self.next_score.is_some();
            if scores || !self.active.is_empty() || !state.lines.is_empty() {
                break;
            }
            state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let live = self
            .active
            .iter()
            .filter(|active| active.work.priority == Priority::Live)
            .count();
        let mut running = (live, self.active.len() - live);
        let mut starting = Vec::new();
        while let Some(waiting) = state.lines.pop(Room::of(self.max_sequences, running.0, running.1)) {
            match waiting.job.priority {
                Priority::Live => running.0 += 1,
                Priority::Batch => running.1 += 1,
            }
            starting.push(waiting);
        }
        Some(starting)
    }

    fn begin(&mut self, waiting: Waiting) {
        let queued = waiting.since.elapsed();
        let job = &waiting.job;
        let prompt_rows = job.prefix.as_ref().map_or(0, SoftPrefix::len) + job.tokens.len();
        if job.stop.is_set() || job.sink.is_gone() {
            return never_started(waiting, End::NeverStarted);
        }
        if prompt_rows == 0 || job.max_new_tokens == 0 {
            return never_started(
                waiting,
                End::Failed("there is nothing to run: no rows, or no tokens wanted".into()),
            );
        }
        let sequence = match self.engine.open(prompt_rows + job.max_new_tokens - 1) {
            Ok(sequence) => sequence,
            Err(error) => return never_started(waiting, End::Failed(error.to_string())),
        };
        let Job {
            prefix,
            tokens,
            max_new_tokens,
            at_limit,
            stop_tokens,
            choose,
            priority,
            stop,
            deadline,
            mut sink,
            place,
        } = waiting.job;
        drop(place);
        sink.started();
        self.active.push(Active {
            sequence,
            work: Work {
                prefix,
                tokens,
                max_new_tokens,
                at_limit,
                stop_tokens,
                choose,
                priority,
                stop,
                deadline,
                sink,
            },
            prompt_rows,
            fed: 0,
            produced: 0,
            last: 0,
            rows: Vec::new(),
            logits: Vec::new(),
            queued,
            started: Instant::now(),
            first_token: None,
        });
    }

    fn let_go_of_the_unwanted(&mut self) {
        let now = Instant::now();
        self.end_where(|active| active.unwanted(now).then_some(End::Finished(FinishReason::Stopped)));
    }

    /// Ends those for which `verdict` has one, in the order in which they came.
    fn end_where(&mut self, verdict: impl Fn(&Active) -> Option<End>) {
        let mut kept = Vec::with_capacity(self.active.len());
        for active in self.active.drain(..) {
            match verdict(&active) {
                Some(end) => {
                    self.engine.close(active.sequence);
                    active.end(end);
                }
                None => kept.push(active),
            }
        }
        self.active = kept;
    }

    /// A piece of the text that is being scored, small where others produce tokens meanwhile.
    fn score_step(&mut self) {
        // It stays in its place meanwhile: should the engine panic, it is still there to be answered.
        let Some(scoring) = &mut self.scoring else {
            return;
        };
        let engine = self.engine.as_mut();
        let budget = if self.active.is_empty() {
            SCORE_ROWS_ALONE
        } else {
            SCORE_ROWS_BESIDE_OTHERS
        };
        let ended = if scoring.unwanted(Instant::now()) {
            Some(Err(Unscored::Stopped))
        } else {
            match scoring.step(engine, self.embeddings.as_ref(), budget) {
                Ok(()) if scoring.is_done() => Some(Ok(())),
                Ok(()) => None,
                Err(unscored) => Some(Err(unscored)),
            }
        };
        if let (Some(ended), Some(scoring)) = (&ended, self.scoring.take_if(|_| ended.is_some())) {
            scoring.end(engine, ended.clone());
        }
    }

    /// One forward pass over everything that is alive.
    fn step(&mut self) {
        self.choose_rows();
        static NEVER: AtomicBool = AtomicBool::new(false);
        let taking_part = self.active.iter().filter(|active| !active.rows.is_empty()).count();
        let mut outs: Vec<Vec<f32>> = self
            .active
            .iter_mut()
            .filter(|active| !active.rows.is_empty())
            .map(|active| std::mem::take(&mut active.logits))
            .collect();
        let mut steps: Vec<Step<'_>> = self
            .active
            .iter()
            .filter(|active| !active.rows.is_empty())
            .zip(&mut outs)
            .map(|(active, out)| {
                let rows = active.rows.len() / self.hidden_size;
                let last_of_prompt = active.fed + rows >= active.prompt_rows;
                Step {
                    sequence: active.sequence,
                    rows: &active.rows,
                    logits: if last_of_prompt { Logits::Last } else { Logits::None },
                    out: std::mem::take(out),
                    // A stop leaves the whole batch undefined, so the engine watches a flag only where it is nobody else's.
                    stop: if taking_part == 1 {
                        active.work.stop.as_atomic()
                    } else {
                        &NEVER
                    },
                }
            })
            .collect();
        if steps.is_empty() {
            return;
        }
        let result = self.engine.forward(&mut steps);
        let outs: Vec<Vec<f32>> = steps.into_iter().map(|step| step.out).collect();
        match result {
            Ok(()) => self.take_tokens(outs),
            Err(EngineError::Stopped) => {
                self.end_where(|active| (!active.rows.is_empty()).then_some(End::Finished(FinishReason::Stopped)));
            }
            Err(error) => {
                tracing::warn!(%error, "a step failed");
                let sentence = error.to_string();
                self.end_where(|active| (!active.rows.is_empty()).then(|| End::Failed(sentence.clone())));
            }
        }
    }

    /// Fills every sequence's rows for the next step: one for a producer, a piece of the prompt for the others.
    fn choose_rows(&mut self) {
        let producing = self.active.iter().filter(|active| !active.prefilling()).count();
        let mut budget = match (producing, self.active.len()) {
            (0, 1) => PROMPT_ROWS_ALONE,
            (0, _) => PROMPT_ROWS_TOGETHER,
            _ => PROMPT_ROWS_BESIDE_OTHERS,
        };
        let mut order: Vec<usize> = (0..self.active.len()).collect();
        order.sort_by_key(|&i| self.active[i].work.priority == Priority::Batch);
        let mut failed = Vec::new();
        for i in order {
            let active = &mut self.active[i];
            active.rows.clear();
            let result = if active.prefilling() {
                let wanted = active.prompt_rows - active.fed;
                let given = if self.chunked_prefill {
                    wanted.min(budget)
                } else {
                    wanted
                };
                budget = budget.saturating_sub(given);
                prompt_rows(active, given, self.hidden_size, self.embeddings.as_ref())
            } else {
                token_row(
                    active.last,
                    &mut active.rows,
                    self.hidden_size,
                    self.embeddings.as_ref(),
                )
            };
            if let Err(error) = result {
                active.rows.clear();
                failed.push((active.sequence, error.to_string()));
            }
        }
        if !failed.is_empty() {
            self.end_where(|active| {
                let (_, sentence) = failed.iter().find(|(sequence, _)| *sequence == active.sequence)?;
                Some(End::Failed(sentence.clone()))
            });
        }
    }

    /// Takes the step's logits to their sequences, `outs` being in the order of those that took part.
    fn take_tokens(&mut self, outs: Vec<Vec<f32>>) {
        let mut outs = outs.into_iter();
        let mut ended = Vec::new();
        for active in &mut self.active {
            if active.rows.is_empty() {
                continue;
            }
            active.logits = outs.next().unwrap_or_default();
            if active.prefilling() {
                active.fed += active.rows.len() / self.hidden_size;
                if active.prefilling() {
                    continue;
                }
                active.first_token = Some(Instant::now());
            }
            let token = match (active.work.choose)(&active.logits) {
                Ok(token) => token,
                Err(sentence) => {
                    ended.push((active.sequence, End::Failed(sentence)));
                    continue;
                }
            };
            if active.work.stop_tokens.contains(&token) {
                ended.push((active.sequence, End::Finished(FinishReason::Stop)));
                continue;
            }
            active.last = token;
            active.produced += 1;
            active.work.sink.token(token);
            if active.produced >= active.work.max_new_tokens {
                ended.push((active.sequence, End::Finished(active.work.at_limit)));
            }
        }
        if !ended.is_empty() {
            self.end_where(|active| {
                let (_, end) = ended.iter().find(|(sequence, _)| *sequence == active.sequence)?;
                Some(end.clone())
            });
        }
    }
}

impl Drop for Worker {
    /// Nobody is left without an answer, whatever ended the thread.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let asked_for = state.closing;
        state.closed = true;
        let waiting = state.lines.take_where(|_| true);
        let scores: Vec<ScoreJob> = self
            .next_score
            .take()
            .into_iter()
            .chain(state.scores.drain(..))
            .collect();
        drop(state);
        let unscored = || {
            if asked_for {
                Unscored::Stopped
            } else {
                Unscored::Failed(ENGINE_GONE.into())
            }
        };
        if let Some(scoring) = self.scoring.take() {
            scoring.end(self.engine.as_mut(), Err(unscored()));
        }
        for job in scores {
            drop(job.place);
            job.sink.end(Err(unscored()));
        }
        for active in self.active.drain(..) {
            self.engine.close(active.sequence);
            let end = if asked_for {
                End::Finished(FinishReason::Stopped)
            } else {
                End::Failed(ENGINE_GONE.into())
            };
            active.end(end);
        }
        for waiting in waiting {
            let end = if asked_for {
                End::NeverStarted
            } else {
                End::Failed(ENGINE_GONE.into())
            };
            never_started(waiting, end);
        }
    }
}

fn never_started(waiting: Waiting, end: End) {
    let timings = Timings {
        queued: waiting.since.elapsed(),
        ..Timings::default()
    };
    let Job { sink, place, .. } = waiting.job;
    drop(place);
    sink.end(end, timings);
}

/// The next `count` rows of prefix and prompt.
fn prompt_rows(
    active: &mut Active,
    count: usize,
    hidden_size: usize,
    embeddings: &dyn TokenEmbeddings,
) -> Result<(), EngineError> {
    let prefix_rows = active.work.prefix.as_ref().map_or(0, SoftPrefix::len);
    for position in active.fed..active.fed + count {
        match active.work.prefix.as_ref().and_then(|prefix| prefix.get(position)) {
            Some(row) => active.rows.extend_from_slice(row),
            None => token_row(
                active.work.tokens[position - prefix_rows],
                &mut active.rows,
                hidden_size,
                embeddings,
            )?,
        }
    }
    Ok(())
}

fn token_row(
    token: u32,
    rows: &mut Vec<bf16>,
    hidden_size: usize,
    embeddings: &dyn TokenEmbeddings,
) -> Result<(), EngineError> {
    let start = rows.len();
    rows.resize(start + hidden_size, bf16::ZERO);
    embeddings.row(token, &mut rows[start..])
}
