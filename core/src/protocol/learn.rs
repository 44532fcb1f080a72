//! Learning a prefix on our unit ([`LEARN`](super::extension::LEARN)): what is asked for, and what is told on the way. Shapes only.
//!
//! The unit answers with frames of the same request: one for every time that it judged the rows, and a last one with `finish`. They carry
//! `softprefix.learn` as their object. [`STOP`](super::extension::STOP) ends it early; the last frame then has the best rows so far.

use serde::{Deserialize, Serialize};

pub use crate::prefix::NormLimit;
use crate::prefix::{LearningSettings, SoftPrefixField};

/// Most examples of one request.
pub const MAX_EXAMPLES: usize = 256;
/// Most prompts whose answers are to stay as they are.
pub const MAX_PRESERVED: usize = 64;
/// Most rows that are learned.
pub const MAX_LEARNED_ROWS: usize = 256;
/// Most steps.
pub const MAX_STEPS: usize = 10_000;
/// Steps where nothing is said.
pub const DEFAULT_STEPS: usize = 200;
/// Rows where nothing is said.
pub const DEFAULT_ROWS: usize = 8;

/// Data of the request. Numbers that are left out are the unit's own, which it repeats in its first frame.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LearnRequest {
    /// At least one, at most [`MAX_EXAMPLES`].
    pub examples: Vec<Example>,
    /// Prompts whose answers are to stay as they are without a prefix, at most [`MAX_PRESERVED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preserve: Vec<String>,
    /// What their mean KL counts beside the examples' loss.
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
    /// Where the rows begin.
    pub init: Init,
    /// Most steps, at most [`MAX_STEPS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// How far a value moves in a step at first, in the vocabulary's RMS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Of random rows, and of the order of the examples.
    #[serde(default)]
    pub seed: u64,
    /// How long rows may become.
    #[serde(default)]
    pub norm_limit: NormLimit,
    /// Examples of one step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
}

/// A prompt, and the answer that is wanted. The unit puts the chat template around the prompt, and the end of a turn behind the answer.
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

/// Where the rows begin.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// Rows of the first target's tokens, repeated or cut to P.
    #[default]
    Target,
    /// Rows of this text's tokens, repeated or cut to P.
    Words(String),
    /// Normal random numbers by the seed, each row as long as the vocabulary's median row.
    Random,
    /// These.
    Rows(SoftPrefixField),
}

/// One of the frames.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearnFrame {
    /// Whether it is the last one.
    pub finish: bool,
    /// Steps taken, of `steps`.
    pub step: usize,
    /// Most steps.
    pub steps: usize,
    /// Of the rows at this step.
    pub loss: LearnLoss,
    /// The best rows so far.
    pub best: BestRows,
    /// Steps that were taken back since what came out was no number.
    pub taken_back: usize,
    /// Since it began, in milliseconds.
    pub elapsed_ms: f64,
    /// On the last frame: why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<LearnEnd>,
    /// What the unit filled in, on the first frame.
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
    /// What is made small: `likelihood` plus the weighted `divergence`.
    pub total: f64,
    /// Mean of -ln p over the wanted tokens.
    pub likelihood: f64,
    /// Mean KL over what is to stay as it is; 0 where nothing is.
    pub divergence: f64,
    /// Wanted tokens that the model finds likeliest after those before them: where all are, it says them greedily.
    pub matched: usize,
    /// All wanted tokens.
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
    /// Where they are others than in the last frame that had some, and always on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<SoftPrefixField>,
}

/// Why learning ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearnEnd {
    /// The best rows make the model say every target, greedily.
    Reached,
    /// All steps were taken, and some token of a target is not the likeliest one.
    NotReached,
    /// Somebody asked for it.
    Stopped,
    /// A reason that this client does not know.
    #[serde(other)]
    Unknown,
}
