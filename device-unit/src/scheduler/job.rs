//! The input and output types of an inference: a [`Job`] in rows and token ids, and the [`TokenSink`] that receives its tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use softprefix_core::prefix::SoftPrefix;
use softprefix_core::protocol::extension::{FinishReason, Priority};

use super::admission::AdmissionPermit;
use super::drafter::Drafter;
use crate::engine::EngineError;

/// A cancellation flag, shared by its clones.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Requests cancellation. Call [`Scheduler::wake`](super::Scheduler::wake) afterwards so that a queued job is cancelled, too.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Returns `true` if cancellation was requested.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn as_atomic(&self) -> &AtomicBool {
        &self.0
    }
}

/// The result of an inference.
#[derive(Debug, Clone, PartialEq)]
pub enum JobOutcome {
    /// It ran, to its end or until it was stopped.
    Finished(FinishReason),
    /// It was cancelled while it was queued.
    NeverStarted,
    /// It failed before or while running; the string is the error message.
    Failed(String),
}

/// Why a scoring or learning job has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobError {
    /// It was cancelled, or its deadline passed, before it had one.
    Stopped,
    /// It failed before or while running; the string is the error message.
    Failed(String),
}

impl From<EngineError> for JobError {
    fn from(error: EngineError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Durations of an inference's phases, and its number of drafted tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// From submission until it joined the batch.
    pub queued: Duration,
    /// From then until the first token.
    pub prefill: Duration,
    /// From the first token to the end.
    pub decode: Duration,
    /// Drafted tokens that were verified.
    pub drafted: usize,
    /// Drafted tokens that the model chose as well.
    pub accepted: usize,
}

/// Receives the tokens of an inference. Its methods are called on the engine's thread and must not block.
pub trait TokenSink: Send {
    /// Called when the job joins the batch.
    fn started(&mut self) {}

    /// Called with the tokens of one step, at least one. Stop tokens are not reported.
    fn tokens(&mut self, tokens: &[u32]);

    /// Returns `true` if the receiver is dropped; the inference is then ended.
    fn is_closed(&self) -> bool;

    /// Called exactly once, last, whatever the outcome.
    fn end(self: Box<Self>, outcome: JobOutcome, timings: Timings);
}

/// Chooses a token id from the V logits of one position. An error ends the inference with that message.
pub type ChooseToken = Box<dyn FnMut(&[f32]) -> Result<u32, String> + Send>;

/// One inference to run.
pub struct Job {
    /// Takes the positions 0..P. Its row width must equal the engine's hidden size.
    pub prefix: Option<SoftPrefix>,
    /// Prompt tokens at the positions P, P+1, ... Prefix and prompt have at least one row together.
    pub tokens: Vec<u32>,
    /// Maximum number of tokens to produce, at least 1. Prompt rows + `max_new_tokens` - 1 must fit into the engine's window.
    pub max_new_tokens: usize,
    /// The finish reason to report when `max_new_tokens` is reached.
    pub at_limit: FinishReason,
    /// Tokens that end the output.
    pub stop_tokens: Arc<[u32]>,
    /// Chooses each token.
    pub choose: ChooseToken,
    /// Order of admission.
    pub priority: Priority,
    /// Cancels the job when set.
    pub stop: StopFlag,
    /// The job is ended at this time at the latest.
    pub deadline: Option<Instant>,
    /// Receives the tokens and the outcome.
    pub sink: Box<dyn TokenSink>,
    /// Proposes tokens to verify, so that one step can produce several. Only for engines that can rewind a sequence
    /// ([`EngineInfo::drafts`](crate::engine::EngineInfo::drafts)).
    pub drafter: Option<Drafter>,
    /// Released when the job starts.
    pub permit: AdmissionPermit,
}

impl Job {
    /// Returns `true` if the job is cancelled or past its deadline, or its receiver is dropped.
    pub(super) fn is_unwanted(&self, now: Instant) -> bool {
        self.stop.is_set() || self.deadline.is_some_and(|deadline| now >= deadline) || self.sink.is_closed()
    }
}
