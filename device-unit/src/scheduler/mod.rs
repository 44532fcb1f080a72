//! Continuous batching: runs many inferences on one engine, in one batch that jobs join and leave between steps.
//!
//! One thread owns the engine. Between two steps it admits queued jobs that fit into the engine and the memory budget, and removes jobs
//! that are finished, cancelled, past their deadline, or whose receiver is dropped. A cancellation therefore takes effect within one
//! step.

mod active;
mod admission;
mod batch;
mod drafter;
mod job;
mod learning;
mod queue;
mod scoring;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub use admission::{AdmissionLimit, AdmissionPermit};
pub use drafter::{Drafter, LONGEST_MATCH};
pub use job::{ChooseToken, Job, JobError, JobOutcome, StopFlag, Timings, TokenSink};
pub use learning::{BestPrefix, LearnExample, LearnJob, LearnProgress, LearnSink, LearnedPrefix};
use queue::Queues;
pub use scoring::{ScoreJob, ScoreSink, TokenScore};
pub use softprefix_core::protocol::extension::{FinishReason, Priority};
use worker::Worker;

use softprefix_core::protocol::extension::MAX_SCORE_PREFIXES;

use crate::budget::Budget;
use crate::engine::{Engine, EngineInfo, TokenEmbeddings};

/// Sequences reserved for scoring: the reference and the compared prefixes. Engines that run fewer than twice as many do not score.
const SCORE_SEQUENCES: usize = MAX_SCORE_PREFIXES + 1;

/// Handle to the engine's thread. Dropping it ends all jobs, queued ones included, and drops the engine.
pub struct Scheduler {
    shared: Arc<Shared>,
    info: EngineInfo,
    embeddings: Arc<dyn TokenEmbeddings>,
    score_sequences: usize,
    can_learn: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Set when a job was added or cancelled. Interrupts a step of scoring or learning, which is repeated later.
    interrupt: AtomicBool,
}

#[derive(Default)]
struct State {
    queues: Queues,
    /// A queued job may have been cancelled, or its receiver dropped.
    recheck_queues: bool,
    closing: bool,
    /// The engine's thread has ended.
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the engine's thread and interrupts a step of scoring or learning. Call it after changing the state.
    fn notify_worker(&self) {
        self.interrupt.store(true, Ordering::Release);
        self.changed.notify_one();
    }
}

impl Scheduler {
    /// Starts a thread that owns `engine`. At most `max_sequences` inferences run at once, or fewer if the engine or the `memory` budget
    /// allows fewer.
    ///
    /// # Errors
    /// Fails if the thread cannot be spawned.
    pub fn start(mut engine: Box<dyn Engine>, max_sequences: usize, memory: Budget) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            interrupt: AtomicBool::new(false),
        });
        let mut info = engine.info().clone();
        let score_sequences = if info.chunked_prefill && info.max_sequences >= 2 * SCORE_SEQUENCES {
            SCORE_SEQUENCES
        } else {
            0
        };
        // Learning evaluates its rows in one more sequence.
        let can_learn = info.chunked_prefill && engine.differentiable().is_some();
        let others = score_sequences + usize::from(can_learn);
        info.max_sequences = info.max_sequences.saturating_sub(others).min(max_sequences).max(1);
        let embeddings = engine.embeddings();
        let mut worker = Worker::new(Arc::clone(&shared), engine, info.max_sequences, memory);
        std::thread::Builder::new()
            .name("softprefix-engine".into())
            .spawn(move || worker.run())?;
        Ok(Self {
            shared,
            info,
            embeddings,
            score_sequences,
            can_learn,
        })
    }

    /// Returns the engine's properties; `max_sequences` is the number of inferences that this scheduler runs at once.
    #[must_use]
    pub fn info(&self) -> &EngineInfo {
        &self.info
    }

    /// Returns the model's embedding table, which can be read from any thread.
    #[must_use]
    pub fn embeddings(&self) -> &Arc<dyn TokenEmbeddings> {
        &self.embeddings
    }

    /// Queues an inference without blocking. If the engine has ended, the job fails immediately.
    pub fn submit(&self, job: Job) {
        let mut state = self.shared.lock();
        if state.closed || state.closing {
            drop(state);
            job.sink
                .end(JobOutcome::Failed(ENGINE_ENDED.into()), Timings::default());
            return;
        }
        // A stop that came while the job was prepared found it in no queue.
        state.recheck_queues |= job.is_unwanted(Instant::now());
        state.queues.push(job);
        drop(state);
        self.shared.notify_worker();
    }

    /// Returns the maximum number of conditions (the reference included) of a [`ScoreJob`]; 0 if the engine cannot score.
    #[must_use]
    pub fn score_sequences(&self) -> usize {
        self.score_sequences
    }

    /// Queues a scoring job without blocking; otherwise like [`submit`](Self::submit).
    pub fn score(&self, job: ScoreJob) {
        let mut state = self.shared.lock();
        let refusal = if state.closed || state.closing {
            Some(ENGINE_ENDED)
        } else if job.conditions.len() > self.score_sequences {
            Some("this engine cannot score so many prefixes at once; send fewer")
        } else {
            None
        };
        if let Some(refusal) = refusal {
            drop(state);
            job.sink.end(Err(JobError::Failed(refusal.into())));
            return;
        }
        state.recheck_queues |= job.is_unwanted(Instant::now());
        state.queues.scores.push_back(job);
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Returns `true` if the engine can learn prefixes.
    #[must_use]
    pub fn can_learn(&self) -> bool {
        self.can_learn
    }

    /// Queues a learning job without blocking; otherwise like [`submit`](Self::submit).
    pub fn learn(&self, job: LearnJob) {
        let mut state = self.shared.lock();
        if state.closed || state.closing {
            drop(state);
            job.sink.end(Err(JobError::Failed(ENGINE_ENDED.into())));
            return;
        }
        state.recheck_queues |= job.is_unwanted();
        state.queues.learns.push_back(job);
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Returns `true` if the engine has ended; all further jobs fail.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }

    /// Wakes the engine's thread after a stop flag was set or a receiver was dropped, so that queued jobs are checked, too.
    pub fn wake(&self) {
        self.shared.lock().recheck_queues = true;
        self.shared.notify_worker();
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.notify_worker();
    }
}

const ENGINE_ENDED: &str = "the engine has ended; set the task up again";
