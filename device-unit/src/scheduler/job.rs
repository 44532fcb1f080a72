//! What the scheduler is asked to do: one inference as rows and token ids, and who is told of its tokens.
//!
//! It knows no text, no request and no transport.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use softprefix_core::prefix::SoftPrefix;

use super::drafter::Drafter;
use super::queue::Place;

/// Who goes first when there is not room for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Priority {
    /// Somebody watches this one: it joins the running batch before anything that waits.
    #[default]
    Live,
    /// One of many, as in a sweep.
    Batch,
}

/// Set by anybody, at any time, to end one inference early.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Asks for the end. The scheduler is to be told to [look again](super::Scheduler::look_again) if it may be asleep.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether the work was asked to stop.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn as_atomic(&self) -> &AtomicBool {
        &self.0
    }
}

/// Why a run ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model said so (a stop token).
    Stop,
    /// As many tokens as were asked for (`max_new_tokens`, `max_token_len`).
    Length,
    /// The model's window is full.
    Window,
    /// Somebody asked for it, or its time was up.
    Stopped,
}

impl FinishReason {
    /// As it is written in a reply.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Window => "window",
            Self::Stopped => "stopped",
        }
    }
}

/// How an inference ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// It ran, wholly or in part.
    Finished(FinishReason),
    /// It was stopped before it began.
    NeverStarted,
    /// It could not be run, or not to its end. The sentence says why.
    Failed(String),
}

/// How long the parts of an inference took, and how much of it was drafted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// From submission to its place in the batch.
    pub queued: Duration,
    /// From there to the first token.
    pub prefill: Duration,
    /// From there to the end.
    pub decode: Duration,
    /// Drafted tokens that were checked.
    pub drafted: usize,
    /// Those among them that the model chose.
    pub accepted: usize,
}

/// Who is told of the tokens. Called from the thread that owns the engine, so no call may wait for anything.
pub trait TokenSink: Send {
    /// It has joined the batch.
    fn started(&mut self) {}

    /// The next tokens of the output, those of one step, at least one; stop tokens are not reported.
    fn tokens(&mut self, tokens: &[u32]);

    /// Whether nobody is left to hear it; then the inference is ended.
    fn is_gone(&self) -> bool;

    /// The last call, once, however it ended.
    fn end(self: Box<Self>, end: End, timings: Timings);
}

/// Chooses a token from V logits, or says in a sentence why it cannot.
pub type Choose = Box<dyn FnMut(&[f32]) -> Result<u32, String> + Send>;

/// One inference.
pub struct Job {
    /// Its rows take the positions 0..P. Its width is the engine's.
    pub prefix: Option<SoftPrefix>,
    /// The tokens that follow at P, P+1, ... Prefix and tokens together are at least one row.
    pub tokens: Vec<u32>,
    /// Most tokens to produce, at least 1. Prompt rows + this - 1 must fit into the engine's window.
    pub max_new_tokens: usize,
    /// What it is called when that many have been produced.
    pub at_limit: FinishReason,
    /// Tokens that end the text.
    pub stop_tokens: Arc<[u32]>,
    /// Chooses each token from its logits.
    pub choose: Choose,
    /// Place among the waiting jobs.
    pub priority: Priority,
    /// Ends the job early when set.
    pub stop: StopFlag,
    /// When it is ended at the latest.
    pub deadline: Option<Instant>,
    /// Receives the tokens and the end.
    pub sink: Box<dyn TokenSink>,
    /// Guesses tokens, so that one step can give several; without it each step gives one. For engines that can take rows back
    /// ([`EngineInfo::drafts`](crate::engine::EngineInfo::drafts)).
    pub drafter: Option<Drafter>,
    /// Its place among those that wait; given back when it starts.
    pub place: Place,
}
