//! The engine's thread: admits queued jobs between steps, runs a step of everything that is active, and ends what is done or cancelled.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use softprefix_core::prefix::SoftPrefix;
use softprefix_core::protocol::extension::{FinishReason, Priority};

use super::active::{Active, Work};
use super::job::{Job, JobError, JobOutcome};
use super::learning::{FEED_ROWS, LearnJob, Learning, Slice};
use super::queue::{FreeSlots, QueuedJob};
use super::scoring::{ScoreJob, Scoring};
use super::{ENGINE_ENDED, Shared, State};
use crate::budget::{Budget, Charge, Purpose};
use crate::engine::{Engine, TokenEmbeddings};

/// Rows of a scoring step while sequences decode: one block of the CPU kernels' columns.
pub(super) const SCORE_ROWS_DURING_DECODE: usize = 16;
/// Rows of a scoring step otherwise: one pass of the CPU engine. Each row's logits (0.6 MB for a large vocabulary) are kept until the
/// step ends. A live run that arrives meanwhile does not wait: the step is interrupted and repeated later.
const SCORE_ROWS_ALONE: usize = 128;

/// While other jobs run, learning gets one part in so many of the engine's time, in small slices, so that no stream of runs stops it.
const LEARN_TIME_DIVISOR: u32 = 16;
/// The assumed duration of a slice before one was measured.
const FIRST_SLICE: Duration = Duration::from_millis(20);

/// How often to retry admission while another model holds the memory.
const MEMORY_POLL_INTERVAL: Duration = Duration::from_millis(20);

const MIB: usize = 1 << 20;

/// The memory reserved for a job, or the reason why it can never be admitted.
type Admitted = Result<Charge, String>;

/// Returns the maximum number of positions that a job can use. Its last token is never fed.
fn positions(job: &Job) -> usize {
    let prompt = job.prefix.as_ref().map_or(0, SoftPrefix::len) + job.tokens.len();
    prompt.saturating_add(job.max_new_tokens).saturating_sub(1)
}

/// Reserves `bytes`. Returns `None` if memory must be released first.
fn admit(memory: &Budget, bytes: usize, positions: usize) -> Option<Admitted> {
    let share = memory.share(Purpose::Work);
    if bytes > share {
        return Some(Err(format!(
            "{positions} positions would take {} MiB, but this unit has {} MiB for what runs; ask for fewer tokens, or start the unit \
             with more --memory",
            bytes.div_ceil(MIB),
            share / MIB
        )));
    }
    memory.charge(Purpose::Work, bytes).map(Ok)
}

/// The state that the engine's thread owns.
pub(super) struct Worker {
    shared: Arc<Shared>,
    pub engine: Box<dyn Engine>,
    pub embeddings: Arc<dyn TokenEmbeddings>,
    max_sequences: usize,
    memory: Budget,
    pub hidden_size: usize,
    pub chunked_prefill: bool,
    pub active: Vec<Active>,
    /// The scoring job to begin next, and the one in progress.
    next_score: Option<(ScoreJob, Admitted)>,
    scoring: Option<Scoring>,
    /// The learning job to begin next, and the one in progress.
    next_learn: Option<(LearnJob, Admitted)>,
    learning: Option<Learning>,
    /// When the last slice of learning ended, and how long it took.
    last_slice: (Instant, Duration),
}

impl Worker {
    pub fn new(shared: Arc<Shared>, engine: Box<dyn Engine>, max_sequences: usize, memory: Budget) -> Self {
        let info = engine.info();
        Self {
            shared,
            embeddings: engine.embeddings(),
            max_sequences,
            memory,
            hidden_size: info.hidden_size,
            chunked_prefill: info.chunked_prefill,
            engine,
            active: Vec::new(),
            next_score: None,
            scoring: None,
            next_learn: None,
            learning: None,
            last_slice: (Instant::now(), Duration::ZERO),
        }
    }

    pub fn run(&mut self) {
        while let Some(starting) = self.wait_for_work() {
            for (queued, admitted) in starting {
                match admitted {
                    Ok(memory) => self.begin(queued, memory),
                    Err(sentence) => queued.end(JobOutcome::Failed(sentence)),
                }
            }
            match self.next_score.take() {
                None => {}
                Some((job, Ok(memory))) => self.scoring = Scoring::begin(job, memory, self.engine.as_mut()),
                Some((job, Err(sentence))) => job.end(JobError::Failed(sentence)),
            }
            match self.next_learn.take() {
                None => {}
                Some((job, Ok(memory))) => {
                    self.learning = Learning::begin(job, memory, self.engine.as_mut());
                    self.last_slice = (Instant::now(), FIRST_SLICE);
                }
                Some((job, Err(sentence))) => job.end(JobError::Failed(sentence)),
            }
            self.end_unwanted();
            // After a panic the remaining jobs must still be answered: see `Drop`.
            let stepped = catch_unwind(AssertUnwindSafe(|| {
                if !self.active.is_empty() {
                    self.step();
                }
                self.score_step();
                self.learn_step();
            }));
            if stepped.is_err() {
                tracing::error!("the engine panicked; its thread ends");
                break;
            }
        }
    }

    /// Blocks until there is something to do. Ends queued jobs that are cancelled or late. Returns `None` when the scheduler is dropped.
    fn wait_for_work(&mut self) -> Option<Vec<(QueuedJob, Admitted)>> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            // Reset under the lock: the changes that set it are visible below.
            shared.interrupt.store(false, Ordering::Release);
            if state.closing {
                return None;
            }
            let now = Instant::now();
            let deadline = state.queues.earliest_deadline();
            if std::mem::take(&mut state.recheck_queues) || deadline.is_some_and(|deadline| deadline <= now) {
                let unwanted = state.queues.take_unwanted(now);
                if !unwanted.is_empty() {
                    // Sinks are called without the lock, since they may submit jobs.
                    drop(state);
                    unwanted.end(&JobError::Stopped);
                    state = shared.lock();
                    continue;
                }
            }
            let starting = self.admit(&mut state);
            if self.scoring.is_none() && self.next_score.is_none() {
                self.next_score = self.admit_score(&mut state);
            }
            if self.learning.is_none() && self.next_learn.is_none() {
                self.next_learn = self.admit_learn(&mut state);
            }
            let scores = self.scoring.is_some() || self.next_score.is_some();
            let learns = self.learning.is_some() || self.next_learn.is_some();
            if scores || learns || !self.active.is_empty() || !starting.is_empty() {
                return Some(starting);
            }
            state = if state.queues.is_empty() {
                shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                // The memory is held by another model, whose scheduler does not notify this one.
                let waited = shared.changed.wait_timeout(state, MEMORY_POLL_INTERVAL);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }

    /// Removes the jobs that can start now from the queues, each with memory for all its positions. A job that needs more than the whole
    /// budget is removed with an error.
    fn admit(&self, state: &mut State) -> Vec<(QueuedJob, Admitted)> {
        let live = self
            .active
            .iter()
            .filter(|active| active.work.priority == Priority::Live)
            .count();
        let mut running = (live, self.active.len() - live);
        let mut starting = Vec::new();
        let engine = self.engine.as_ref();
        let admit = |job: &Job| {
            let positions = positions(job);
            admit(&self.memory, engine.sequence_bytes(positions), positions)
        };
        while let Some((queued, admitted)) = state
            .queues
            .pop(FreeSlots::of(self.max_sequences, running.0, running.1), admit)
        {
            match queued.job.priority {
                _ if admitted.is_err() => {}
                Priority::Live => running.0 += 1,
                Priority::Batch => running.1 += 1,
            }
            starting.push((queued, admitted));
        }
        starting
    }

    /// Removes the next scoring job if its memory is available, or never will be.
    fn admit_score(&self, state: &mut State) -> Option<(ScoreJob, Admitted)> {
        let (bytes, positions) = state.queues.scores.front()?.needs(self.engine.as_ref());
        let admitted = admit(&self.memory, bytes, positions)?;
        Some((state.queues.scores.pop_front()?, admitted))
    }

    /// Removes the next learning job if its memory is available, or never will be.
    fn admit_learn(&mut self, state: &mut State) -> Option<(LearnJob, Admitted)> {
        let (bytes, positions) = state.queues.learns.front()?.needs(self.engine.as_mut());
        // Learning can take hours, so half of the memory is left to other jobs.
        let share = self.memory.share(Purpose::Work) / 2;
        let admitted = if bytes > share {
            Err(format!(
                "learning over {positions} positions would take {} MiB, but this unit has {} MiB for it; give shorter examples, or start \
                 the unit with more --memory",
                bytes.div_ceil(MIB),
                share / MIB
            ))
        } else {
            admit(&self.memory, bytes, positions)?
        };
        Some((state.queues.learns.pop_front()?, admitted))
    }

    fn begin(&mut self, entry: QueuedJob, memory: Charge) {
        let queued = entry.queued_at.elapsed();
        let job = &entry.job;
        let prompt_rows = job.prefix.as_ref().map_or(0, SoftPrefix::len) + job.tokens.len();
        if job.stop.is_set() || job.sink.is_closed() {
            return entry.end(JobOutcome::NeverStarted);
        }
        if prompt_rows == 0 || job.max_new_tokens == 0 {
            return entry.end(JobOutcome::Failed(
                "there is nothing to run: the input has no rows, or no tokens are requested".into(),
            ));
        }
        let sequence = match self.engine.open(positions(job)) {
            Ok(sequence) => sequence,
            Err(error) => return entry.end(JobOutcome::Failed(error.to_string())),
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
            drafter,
            permit,
        } = entry.job;
        drop(permit);
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
                drafter,
            },
            prompt_rows,
            fed: 0,
            produced: 0,
            last: 0,
            rows: Vec::new(),
            drafted: Vec::new(),
            logits: Vec::new(),
            queued,
            started: Instant::now(),
            first_token: None,
            _memory: memory,
        });
    }

    fn end_unwanted(&mut self) {
        let now = Instant::now();
        self.end_where(|active| {
            active
                .is_unwanted(now)
                .then_some(JobOutcome::Finished(FinishReason::Stopped))
        });
    }

    /// Ends the sequences for which `outcome_of` returns an outcome, in the order in which they started.
    pub fn end_where(&mut self, outcome_of: impl Fn(&Active) -> Option<JobOutcome>) {
        let mut kept = Vec::with_capacity(self.active.len());
        for active in self.active.drain(..) {
            match outcome_of(&active) {
                Some(outcome) => {
                    self.engine.close(active.sequence);
                    active.end(outcome);
                }
                None => kept.push(active),
            }
        }
        self.active = kept;
    }

    /// Runs a step of the scoring job in progress; a small one while sequences decode.
    fn score_step(&mut self) {
        // `self.scoring` keeps the job during the step, so that `Drop` can answer it if the engine panics.
        let Some(scoring) = &mut self.scoring else {
            return;
        };
        let engine = self.engine.as_mut();
        static NEVER: AtomicBool = AtomicBool::new(false);
        let (budget, interrupt) = if self.active.is_empty() {
            (SCORE_ROWS_ALONE, &self.shared.interrupt)
        } else {
            (SCORE_ROWS_DURING_DECODE, &NEVER)
        };
        let ended = if scoring.is_unwanted(Instant::now()) {
            Some(Err(JobError::Stopped))
        } else {
            match scoring.step(engine, self.embeddings.as_ref(), budget, interrupt) {
                Ok(()) if scoring.is_done() => Some(Ok(())),
                Ok(()) => None,
                Err(error) => Some(Err(error)),
            }
        };
        if let (Some(ended), Some(scoring)) = (&ended, self.scoring.take_if(|_| ended.is_some())) {
            scoring.end(engine, ended.clone());
        }
    }
}

impl Worker {
    /// Runs a step of the learning job in progress. While there is other work, it gets a small part of the time.
    fn learn_step(&mut self) {
        let Some(learning) = &mut self.learning else {
            return;
        };
        static NEVER: AtomicBool = AtomicBool::new(false);
        let busy = !self.active.is_empty() || self.scoring.is_some();
        let (last, took) = self.last_slice;
        let slice = match busy {
            false => Some(Slice {
                max_rows: FEED_ROWS,
                interrupt: &self.shared.interrupt,
            }),
            // Not interrupted: abandoned each time, the slice would never be done.
            true if last.elapsed() >= took * (LEARN_TIME_DIVISOR - 1) => Some(Slice {
                max_rows: SCORE_ROWS_DURING_DECODE,
                interrupt: &NEVER,
            }),
            true => None,
        };
        let engine = self.engine.as_mut();
        let began = Instant::now();
        let ended = match slice {
            _ if learning.is_unwanted() => Some(Err(JobError::Stopped)),
            None => None,
            Some(slice) => match learning.work(engine, self.embeddings.as_ref(), slice) {
                Ok(()) if learning.is_done() => Some(Ok(())),
                Ok(()) => None,
                Err(error) => Some(Err(error)),
            },
        };
        if slice.is_some() {
            self.last_slice = (Instant::now(), began.elapsed());
        }
        if let (Some(ended), Some(learning)) = (&ended, self.learning.take_if(|_| ended.is_some())) {
            learning.end(engine, ended.clone());
        }
    }
}

impl Drop for Worker {
    /// Ends every job, so that each sink gets its last call however the thread ended.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let error = if state.closing {
            JobError::Stopped
        } else {
            JobError::Failed(ENGINE_ENDED.into())
        };
        state.closed = true;
        let queued = std::mem::take(&mut state.queues);
        drop(state);
        if let Some(learning) = self.learning.take() {
            learning.end(self.engine.as_mut(), Err(error.clone()));
        }
        if let Some(scoring) = self.scoring.take() {
            scoring.end(self.engine.as_mut(), Err(error.clone()));
        }
        let outcome = match &error {
            JobError::Stopped => JobOutcome::Finished(FinishReason::Stopped),
            JobError::Failed(sentence) => JobOutcome::Failed(sentence.clone()),
        };
        self.end_where(|_| Some(outcome.clone()));
        if let Some((job, _)) = self.next_learn.take() {
            job.end(error.clone());
        }
        if let Some((job, _)) = self.next_score.take() {
            job.end(error.clone());
        }
        queued.end(&error);
    }
}
