//! The messages with which our unit learns a prefix ([`LEARN`](super::extension::LEARN)): the request and the frames of its progress.
//!
//! The unit replies with one frame for each evaluation of the rows, and a last one with `finish`; their `object` is `softprefix.learn`.
//! [`STOP`](super::extension::STOP) ends the learning early; the last frame then has the best rows so far.

use serde::{Deserialize, Serialize};

pub use crate::prefix::NormLimit;
use crate::prefix::{LearningSettings, SoftPrefixField};

/// Maximum number of examples of one request.
pub const MAX_EXAMPLES: usize = 256;
/// Maximum number of preserved prompts.
pub const MAX_PRESERVED: usize = 64;
/// Maximum number of learned rows.
pub const MAX_LEARNED_ROWS: usize = 256;
/// Maximum number of steps.
pub const MAX_STEPS: usize = 10_000;
/// Number of steps if the request gives none.
pub const DEFAULT_STEPS: usize = 200;
/// Number of rows that clients request by default.
pub const DEFAULT_ROWS: usize = 8;

/// Data of the request. The unit fills in numbers that are left out, and reports them in its first frame.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LearnRequest {
    /// At least one, at most [`MAX_EXAMPLES`].
    pub examples: Vec<Example>,
    /// Prompts whose answers should stay as they are without a prefix, at most [`MAX_PRESERVED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preserve: Vec<String>,
    /// Weight of their mean KL, relative to the examples' loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preserve_weight: Option<f64>,
    /// Examples that are evaluated and not learned from, at most [`MAX_EXAMPLES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_out: Vec<Example>,
    /// A text to compare the prefix with: [`References::instruction`] is the loss with it and two line breaks before each prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// P.
    pub len: usize,
    /// The initial rows.
    pub init: Init,
    /// Most steps, at most [`MAX_STEPS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Learning rate of the first step, in units of the vocabulary's RMS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Seed of random rows, and of the order of the examples.
    #[serde(default)]
    pub seed: u64,
    /// The limit on the norms of the rows.
    #[serde(default)]
    pub norm_limit: NormLimit,
    /// Number of examples per step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
}

/// A prompt and its wanted answer. The unit puts the chat template around the prompt, and the end of a turn after the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// The user's text.
    pub prompt: String,
    /// The answer.
    pub target: String,
}

impl Example {
    /// Returns the example with a text before its prompt.
    #[must_use]
    pub fn after(&self, instruction: &str) -> Self {
        Self {
            prompt: format!("{instruction}\n\n{}", self.prompt),
            target: self.target.clone(),
        }
    }
}

/// The initial rows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// Rows of the first target's tokens, repeated or cut to P.
    #[default]
    Target,
    /// Rows of this text's tokens, repeated or cut to P.
    Words(String),
    /// Normal random numbers from the seed, each row with the vocabulary's median norm.
    Random,
    /// These rows.
    Rows(SoftPrefixField),
}

/// A frame of the unit's progress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearnFrame {
    /// Whether it is the last one.
    pub finish: bool,
    /// Number of steps taken.
    pub step: usize,
    /// Maximum number of steps.
    pub steps: usize,
    /// Losses of the rows at this step.
    pub loss: LearnLoss,
    /// The best rows so far.
    pub best: BestRows,
    /// Number of steps that were undone because a value was not finite.
    #[serde(rename = "taken_back")]
    pub undone: usize,
    /// Time since learning started, in milliseconds.
    pub elapsed_ms: f64,
    /// On the last frame: why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<LearnEnd>,
    /// The settings that the unit used, on the first frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<LearningSettings>,
    /// Losses without a prefix, on the first frame, if the unit reports them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub references: Option<References>,
}

/// Losses without a prefix, in nats: of the held-out examples if there are any, else of the examples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct References {
    /// With the prompts as they are.
    pub plain: f64,
    /// With [`LearnRequest::instruction`] before each prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<f64>,
}

/// Losses in nats, of the engine's own forward pass with the bf16 rows that would be sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LearnLoss {
    /// The minimised loss: `likelihood` plus the weighted `divergence`.
    pub total: f64,
    /// Mean of -ln p over the target tokens.
    pub likelihood: f64,
    /// Mean KL over the preserved answers; 0 without any.
    pub divergence: f64,
    /// Number of target tokens that are the likeliest at their position. If all are, greedy decoding produces the target.
    pub matched: usize,
    /// Number of target tokens.
    pub wanted: usize,
    /// Mean of -ln p over the tokens of the held-out examples, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<f64>,
}

impl LearnLoss {
    /// Whether every wanted token is the likeliest, so that greedy decoding gives every target.
    pub fn all_matched(&self) -> bool {
        self.matched == self.wanted
    }
}

/// The best rows so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BestRows {
    /// The step after which they were found.
    pub step: usize,
    /// Their losses.
    pub loss: LearnLoss,
    /// The rows, if they have changed since the last frame that had rows; always on the last frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<SoftPrefixField>,
}

/// Why learning ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearnEnd {
    /// With the best rows, greedy decoding produces every target.
    Reached,
    /// All steps were taken, and some token of a target is not the likeliest one.
    NotReached,
    /// A client stopped it.
    Stopped,
    /// A reason that this client does not know.
    #[serde(other)]
    Unknown,
}
