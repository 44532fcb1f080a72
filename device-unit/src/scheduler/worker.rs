//! The engine's thread: between steps it admits queued jobs, and ends jobs that are done, cancelled or past their deadline.
//!
//! A job ends by the last call of its sink ([`TokenSink`](super::TokenSink), [`ScoreSink`](super::ScoreSink),
//! [`LearnSink`](super::LearnSink)), which answers the client.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use softprefix_core::prefix::SoftPrefix;
use softprefix_core::protocol::extension::{FinishReason, Priority};

use super::active::Active;
use super::batch::DECODE_ROWS;
use super::job::{Job, JobError, JobOutcome};
use super::learning::{LearnJob, Learning, Slice};
use super::queue::{FreeSlots, QueuedJob, Queues};
use super::scoring::{ScoreJob, Scoring};
use super::{ENGINE_ENDED, Shared};
use crate::budget::{Budget, Charge, Purpose};
use crate::engine::{Engine, PASS_ROWS, TokenEmbeddings};

/// Rows of a step of scoring or learning while no sequence decodes: as many as the engine computes at once. The logits of each scored row
/// (0.6 MB for a large vocabulary) are kept until the step ends. A run that arrives meanwhile does not wait: the step is interrupted and
/// repeated later.
const ROWS_ALONE: usize = PASS_ROWS;

/// While other jobs run, learning gets 1/`LEARN_TIME_DIVISOR` of the engine's time, in small slices: little enough that the runs are hardly
/// slower, and enough that learning ends also if there is always one.
const LEARN_TIME_DIVISOR: u32 = 16;
/// The assumed duration of a slice before one was measured: of the right order for a small model.
const FIRST_SLICE: Duration = Duration::from_millis(20);

/// Time between attempts to admit a job while another model holds the memory: not noticed by a person, and next to no work.
const MEMORY_POLL_INTERVAL: Duration = Duration::from_millis(20);

const MIB: usize = 1 << 20;

/// The flag of a step that is never interrupted.
pub(super) static NEVER: AtomicBool = AtomicBool::new(false);

/// The memory reserved for a job, or the reason why the job is refused.
type Admission = Result<Charge, String>;

/// Jobs that leave the queues, because they can start now or are refused.
struct Admitted {
    jobs: Vec<(QueuedJob, Admission)>,
    score: Option<(ScoreJob, Admission)>,
    learn: Option<(LearnJob, Admission)>,
}

impl Admitted {
    fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.score.is_none() && self.learn.is_none()
    }
}

/// Returns the maximum number of positions that a job can use. Its last token is never fed.
fn max_positions(job: &Job) -> usize {
    let prompt = job.prefix.as_ref().map_or(0, SoftPrefix::len) + job.tokens.len();
    prompt.saturating_add(job.max_new_tokens).saturating_sub(1)
}

/// The state that the engine's thread owns.
pub(super) struct Worker {
    shared: Arc<Shared>,
    pub engine: Box<dyn Engine>,
    pub embeddings: Arc<dyn TokenEmbeddings>,
    /// Maximum number of inferences that run at once.
    max_sequences: usize,
    memory: Budget,
    pub hidden_size: usize,
    /// [`EngineInfo::chunked_prefill`](crate::engine::EngineInfo::chunked_prefill).
    pub chunked_prefill: bool,
    /// The inferences in progress, in the order in which they started.
    pub active: Vec<Active>,
    /// The scoring job in progress.
    scoring: Option<Scoring>,
    /// The learning job in progress.
    learning: Option<Learning>,
    /// When the last slice of the learning job ended, and how long it took.
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
            scoring: None,
            learning: None,
            last_slice: (Instant::now(), Duration::ZERO),
        }
    }

    /// Runs until the scheduler is dropped or the engine panics.
    pub fn run(&mut self) {
        while let Some(Admitted { jobs, score, learn }) = self.wait_for_work() {
            for (queued, admission) in jobs {
                match admission {
                    Ok(memory) => self.begin(queued, memory),
                    Err(sentence) => queued.end(JobOutcome::Failed(sentence)),
                }
            }
            match score {
                None => {}
                Some((job, Ok(memory))) => self.scoring = Scoring::begin(job, memory, self.engine.as_mut()),
                Some((job, Err(sentence))) => job.end(JobError::Failed(sentence)),
            }
            match learn {
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

    /// Blocks until there is something to do. Ends queued jobs that are cancelled or past their deadline. Returns `None` when the scheduler
    /// is dropped.
    fn wait_for_work(&mut self) -> Option<Admitted> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            // Every change to `state` sets the flag. This is its only reset, and the lock is held: all changes so far are taken into account
            // below, and any later one sets the flag again.
            shared.interrupt.store(false, Ordering::Release);
            if state.closing {
                return None;
            }
            let now = Instant::now();
            let deadline = state.queues.earliest_deadline();
            if std::mem::take(&mut state.recheck_queues) || deadline.is_some_and(|deadline| deadline <= now) {
                let unwanted = state.queues.take_unwanted(now);
                if !unwanted.is_empty() {
                    // The sinks are called without the lock, since they may submit jobs.
                    drop(state);
                    unwanted.end(&JobError::Stopped);
                    state = shared.lock();
                    continue;
                }
            }
            let admitted = Admitted {
                jobs: self.admit_jobs(&mut state.queues),
                score: self.admit_score(&mut state.queues),
                learn: self.admit_learn(&mut state.queues),
            };
            if self.has_work() || !admitted.is_empty() {
                return Some(admitted);
            }
            // A job that is queued although nothing is in progress waits for memory.
            state = if state.queues.is_empty() {
                shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                // It is held by another model, whose scheduler does not notify this one.
                let waited = shared.changed.wait_timeout(state, MEMORY_POLL_INTERVAL);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }

    /// Returns `true` if a job is in progress.
    fn has_work(&self) -> bool {
        !self.active.is_empty() || self.scoring.is_some() || self.learning.is_some()
    }

    /// Reserves `bytes` for a job of so many positions. Returns `None` if other jobs must end first, and an error if that would not do, or
    /// could take hours: if the job needs more than there is, or than the learning job in progress leaves.
    fn reserve(&self, bytes: usize, positions: usize) -> Option<Admission> {
        let share = self.memory.share(Purpose::Work);
        let learning = self.learning.as_ref().map_or(0, Learning::memory_bytes);
        let too_much = |free: usize, what: &str, remedy: &str| {
            Some(Err(format!(
                "{positions} positions would take {} MiB, but this unit has {} MiB {what}; ask for fewer tokens, or {remedy}",
                bytes.div_ceil(MIB),
                free / MIB
            )))
        };
        if bytes > share {
            return too_much(share, "for what runs", "start the unit with more --memory");
        }
        let left = share.saturating_sub(learning);
        if bytes > left {
            return too_much(left, "left while it learns a prefix", "wait until that ends");
        }
        self.memory.charge(Purpose::Work, bytes).map(Ok)
    }

    /// Removes the jobs that can start now from the queues, each with memory for all its positions. A job that cannot get that memory is
    /// removed with an error.
    fn admit_jobs(&self, queues: &mut Queues) -> Vec<(QueuedJob, Admission)> {
        let is_live = |active: &&Active| active.job.priority == Priority::Live;
        let mut live = self.active.iter().filter(is_live).count();
        let mut batch = self.active.len() - live;
        let mut jobs = Vec::new();
        let reserve_for = |job: &Job| {
            let positions = max_positions(job);
            self.reserve(self.engine.sequence_bytes(positions), positions)
        };
        while let Some((queued, admission)) = queues.pop(FreeSlots::of(self.max_sequences, live, batch), reserve_for) {
            if admission.is_ok() {
                match queued.job.priority {
                    Priority::Live => live += 1,
                    Priority::Batch => batch += 1,
                }
            }
            jobs.push((queued, admission));
        }
        jobs
    }

    /// Removes the next scoring job if none is in progress, with its memory or the reason why it cannot get it.
    fn admit_score(&self, queues: &mut Queues) -> Option<(ScoreJob, Admission)> {
        if self.scoring.is_some() {
            return None;
        }
        let (bytes, positions) = queues.scores.front()?.needs(self.engine.as_ref());
        let admission = self.reserve(bytes, positions)?;
        Some((queues.scores.pop_front()?, admission))
    }

    /// Removes the next learning job if none is in progress, with its memory or the reason why it cannot get it.
    fn admit_learn(&mut self, queues: &mut Queues) -> Option<(LearnJob, Admission)> {
        if self.learning.is_some() {
            return None;
        }
        let (bytes, positions) = queues.learns.front()?.needs(self.engine.as_mut());
        // Learning can take hours, in which other jobs have at least the other half.
        let share = self.memory.share(Purpose::Work) / 2;
        let admission = if bytes > share {
            Err(format!(
                "learning over {positions} positions would take {} MiB, but this unit has {} MiB for it; give shorter examples, or start \
                 the unit with more --memory",
                bytes.div_ceil(MIB),
                share / MIB
            ))
        } else {
            self.reserve(bytes, positions)?
        };
        Some((queues.learns.pop_front()?, admission))
    }

    /// Opens a sequence for a queued job and adds it to the batch.
    fn begin(&mut self, queued: QueuedJob, memory: Charge) {
        let waited = queued.queued_at.elapsed();
        let job = &queued.job;
        let prompt_rows = job.prefix.as_ref().map_or(0, SoftPrefix::len) + job.tokens.len();
        if job.stop.is_set() || job.sink.is_closed() {
            // Cancelled after it was admitted.
            return queued.end(JobOutcome::NeverStarted);
        }
        if prompt_rows == 0 || job.max_new_tokens == 0 {
            return queued.end(JobOutcome::Failed(
                "there is nothing to run: the input has no rows, or no tokens are requested".into(),
            ));
        }
        let sequence = match self.engine.open(max_positions(job)) {
            Ok(sequence) => sequence,
            Err(error) => return queued.end(JobOutcome::Failed(error.to_string())),
        };
        let mut job = queued.job;
        // Permits limit the jobs that wait, which this one no longer does.
        job.permit.release();
        job.sink.started();
        self.active.push(Active {
            sequence,
            job,
            prompt_rows,
            fed: 0,
            produced: 0,
            last: 0,
            rows: Vec::new(),
            drafted: Vec::new(),
            logits: Vec::new(),
            waited,
            started: Instant::now(),
            first_token: None,
            _memory: memory,
        });
    }

    /// Ends the sequences whose job is cancelled or past its deadline, or whose receiver is dropped.
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

    /// Runs a step of the scoring job in progress, if there is one; a small step while sequences decode.
    fn score_step(&mut self) {
        // `self.scoring` keeps the job during the step, so that `Drop` can answer it if the engine panics.
        let Some(scoring) = &mut self.scoring else {
            return;
        };
        let engine = self.engine.as_mut();
        let (max_rows, interrupt) = if self.active.is_empty() {
            (ROWS_ALONE, &self.shared.interrupt)
        } else {
            (DECODE_ROWS, &NEVER)
        };
        let ended = if scoring.is_unwanted(Instant::now()) {
            Some(Err(JobError::Stopped))
        } else {
            match scoring.step(engine, self.embeddings.as_ref(), max_rows, interrupt) {
                Ok(()) if scoring.is_done() => Some(Ok(())),
                Ok(()) => None,
                Err(error) => Some(Err(error)),
            }
        };
        if let Some(outcome) = ended
            && let Some(scoring) = self.scoring.take()
        {
            scoring.end(engine, outcome);
        }
    }

    /// Runs a slice of the learning job in progress, if there is one. While there is other work, slices are small and with pauses in between.
    fn learn_step(&mut self) {
        let Some(learning) = &mut self.learning else {
            return;
        };
        let (last, took) = self.last_slice;
        let pause = took * (LEARN_TIME_DIVISOR - 1);
        let slice = if self.active.is_empty() && self.scoring.is_none() {
            Some(Slice {
                max_rows: ROWS_ALONE,
                interrupt: &self.shared.interrupt,
            })
        } else {
            // Not interruptible: under constant load each attempt would be abandoned, and learning would make no progress.
            (last.elapsed() >= pause).then_some(Slice {
                max_rows: DECODE_ROWS,
                interrupt: &NEVER,
            })
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
        if let Some(outcome) = ended
            && let Some(learning) = self.learning.take()
        {
            learning.end(engine, outcome);
        }
    }
}

impl Drop for Worker {
    /// Ends every job, so that each sink gets its last call also if a step panics. A panic while a job begins ends the jobs that were
    /// admitted with it without that call; a client is answered all the same, when the job is dropped.
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
        queued.end(&error);
    }
}
