//! Queued inferences become batches of one engine, without waiting for each other (continuous batching).
//!
//! One thread owns the engine. Between two steps it lets in whoever waits and fits, and lets go whoever is done, stopped,
//! late or no longer listened to; so every such wish is honoured within one step. It knows engines and token ids, and no
//! text, no request and no transport.

mod active;
mod batch;
mod drafter;
mod job;
mod learning;
mod queue;
mod scoring;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

pub use drafter::{Drafter, LONGEST_MATCH};
pub use job::{Choose, End, FinishReason, Job, Priority, StopFlag, Timings, TokenSink};
pub use learning::{Best, Judged, LearnExample, LearnJob, LearnSink, Learned, Loss, Unlearned};
use queue::Lines;
pub use queue::{Place, WaitingRoom};
pub use scoring::{ScoreJob, ScoreSink, TokenScore, Unscored};
use worker::Worker;

use crate::budget::Budget;
use crate::engine::{Engine, EngineInfo, TokenEmbeddings};

/// Sequences kept for scoring by an engine that can run twice as many.
const SCORE_SEQUENCES: usize = 16;

/// The handle of a scheduler. Dropping it stops everything that runs or waits, and frees the engine.
pub struct Scheduler {
    shared: Arc<Shared>,
    info: EngineInfo,
    embeddings: Arc<dyn TokenEmbeddings>,
    score_sequences: usize,
    can_learn: bool,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    /// Somebody has come, left or been stopped since the engine's thread last looked; a long step that can be done again later is
    /// given up for it.
    news: AtomicBool,
}

#[derive(Default)]
struct State {
    lines: Lines,
    /// Texts that wait to be scored, one after the other.
    scores: VecDeque<ScoreJob>,
    /// Prefixes that wait to be learned, one after the other.
    learns: VecDeque<LearnJob>,
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

    /// Called after the state was changed.
    fn tell_the_engine(&self) {
        self.news.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

impl Scheduler {
    /// Gives `engine` a thread of its own. At most `max_sequences` run at once, no more than the engine can, and no more than `memory`
    /// has room for.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(mut engine: Box<dyn Engine>, max_sequences: usize, memory: Budget) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
            news: AtomicBool::new(false),
        });
        let mut info = engine.info().clone();
        let score_sequences = if info.chunked_prefill && info.max_sequences >= 2 * SCORE_SEQUENCES {
            SCORE_SEQUENCES
        } else {
            0
        };
        // Learning judges its rows in a sequence of its own.
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

    /// What the engine is and can take, `max_sequences` being those that run at once here.
    #[must_use]
    pub fn info(&self) -> &EngineInfo {
        &self.info
    }

    /// The model's embedding table, which can be read without the engine's thread.
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
        self.shared.tell_the_engine();
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

    /// Whether prefixes can be learned here.
    #[must_use]
    pub fn can_learn(&self) -> bool {
        self.can_learn
    }

    /// Puts a prefix in line to be learned. It never waits; as [`submit`](Self::submit).
    pub fn learn(&self, job: LearnJob) {
        let mut state = self.shared.lock();
        if state.closed || state.closing {
            drop(state);
            job.sink.end(Err(Unlearned::Failed(ENGINE_GONE.into())));
            return;
        }
        state.learns.push_back(job);
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
        self.shared.tell_the_engine();
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.tell_the_engine();
    }
}

const ENGINE_GONE: &str = "the engine has ended; set the task up again";
