//! What our unit adds to StackFlow. It says so in `taskinfo`; a client sends none of it to a unit that does not. This file knows
//! the messages' shapes, not who computes them.
//!
//! * `taskinfo llm.N`: its data gains [`SoftPrefixSupport`] as `soft_prefix`.
//! * inference (stream form, finish frame): [`InferenceOptions`] as `softprefix` beside `soft_prefix` in the data.
//! * replies: an accepted prefix comes back as [`SoftPrefixEcho`] in the reply's `soft_prefix`; where it was asked for, the last
//!   reply carries [`Usage`] as `usage`.
//! * actions on `llm.N`: [`EMBED`], [`VOCABULARY`], [`BUDGET`], [`STOP`]. The reply's `object` is the action's name, its data
//!   the type named there. `softprefix.stop` takes [`StopRequest`] and ends that one inference: it then sends its normal last
//!   reply with the text so far (finish reason `stopped`), whether it was running or waiting; an id that is not running is no
//!   error, since the inference may just have ended. Each action is there if `features` names it ([`feature`]).
//! * a model card of our unit carries [`CARD_MARK`], so that people see before the first set-up whom they talk to.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::prefix::{EmbeddingRows, PrefixError, TokenPiece};

/// The version of these additions.
pub const VERSION: u32 = 1;

/// Action: the embedding rows of a text ([`TextRequest`] → [`Embedded`]).
pub const EMBED: &str = "softprefix.embed";
/// Action: norms over the embedding table (no data → [`Vocabulary`]).
pub const VOCABULARY: &str = "softprefix.vocabulary";
/// Action: how many tokens a prompt takes ([`TextRequest`] → [`Budget`]).
pub const BUDGET: &str = "softprefix.budget";
/// Action: stop one inference ([`StopRequest`] → `"None"`).
pub const STOP: &str = "softprefix.stop";

/// Key of a model card's top level that marks it as our unit's; its value is an object with more about the model.
pub const CARD_MARK: &str = "softprefix";

/// Names in [`SoftPrefixSupport::features`].
pub mod feature {
    pub const EMBED: &str = "embed";
    pub const VOCABULARY: &str = "vocabulary";
    pub const BUDGET: &str = "budget";
    pub const STOP: &str = "stop";
    pub const STREAM: &str = "stream";
    pub const SCORE: &str = "score";
}

/// `soft_prefix` in the data of `taskinfo llm.N`: what the unit is and can take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoftPrefixSupport {
    /// `"cpu/avx2"`, `"npu"`.
    #[serde(default)]
    pub backend: String,
    /// Most inferences of this task that run at once.
    #[serde(default = "one")]
    pub concurrency: usize,
    #[serde(default)]
    pub features: Vec<String>,
    /// H.
    pub hidden_size: usize,
    /// SHA-256 of the model file, lower-case hex, where it is one file.
    #[serde(default)]
    pub model_sha256: Option<String>,
    /// Most rows before the first output (prefix + template + prompt).
    #[serde(default)]
    pub prefill_window: usize,
    /// Name and version of the unit: `"softprefix-unit 0.1.0"`.
    #[serde(default)]
    pub unit: String,
    pub version: u32,
    /// Most positions: prefix + template + prompt + output.
    pub window: usize,
}

fn one() -> usize {
    1
}

impl SoftPrefixSupport {
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|name| name == feature)
    }
}

/// Which inferences go first where more wait than fit into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Somebody watches.
    #[default]
    Live,
    /// Experiments.
    Batch,
}

/// `softprefix` in an inference's data.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InferenceOptions {
    /// Most output tokens. The set-up's `max_token_len` counts positions; both hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<usize>,
    #[serde(default)]
    pub priority: Priority,
    /// Whether this output comes in frames; as the set-up says where it is missing. Its replies then carry `llm.utf-8.stream` or
    /// `llm.utf-8` as their object. There if `features` names `stream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// Whether the last reply is to carry [`Usage`].
    #[serde(default)]
    pub usage: bool,
}

/// Top-level `soft_prefix` of a reply: the prefix that was put in front. Its absence means that none was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoftPrefixEcho {
    pub hidden_size: usize,
    pub len: usize,
    /// Of the bf16 bytes as decoded by the unit, lower-case hex.
    pub sha256: String,
}

impl SoftPrefixEcho {
    pub fn of(prefix: &crate::prefix::SoftPrefix) -> Self {
        Self {
            hidden_size: prefix.hidden_size(),
            len: prefix.len(),
            sha256: prefix.sha256(),
        }
    }
}

/// Why an output ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended the text.
    Stop,
    /// `max_new_tokens` was reached.
    Length,
    /// The window, or the set-up's `max_token_len`, was full.
    Window,
    /// Somebody stopped it.
    Stopped,
    /// The unit does not say (a stock unit never does).
    #[serde(other)]
    Unknown,
}

/// Top-level `usage` of a last reply. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    pub completion_tokens: usize,
    pub decode_ms: f64,
    pub finish_reason: FinishReason,
    pub prefill_ms: f64,
    pub prefix_len: usize,
    /// Tokens of the user's text.
    pub prompt_tokens: usize,
    pub queue_ms: f64,
    pub template_tokens: usize,
    /// The output's token ids.
    pub tokens: Vec<u32>,
}

/// Data of [`EMBED`] and [`BUDGET`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextRequest {
    pub text: String,
}

/// Data of [`STOP`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRequest {
    /// The `request_id` of the inference.
    pub request_id: String,
}

/// Reply to [`EMBED`]: a row for each token of the text (no template, no added tokens), in the wire form of a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Embedded {
    pub data_b64: String,
    pub hidden_size: usize,
    /// Rows, equal to the number of tokens.
    pub len: usize,
    pub tokens: Vec<TokenPiece>,
}

impl Embedded {
    /// # Errors
    /// Where the rows are no whole, finite rows, or none.
    pub fn of(rows: &EmbeddingRows) -> Result<Self, PrefixError> {
        let prefix = crate::prefix::SoftPrefix::from_bf16(rows.hidden_size, rows.rows.clone())?;
        let field = crate::prefix::encode(&prefix);
        Ok(Self {
            data_b64: field.data_b64,
            hidden_size: rows.hidden_size,
            len: field.len,
            tokens: rows.tokens.clone(),
        })
    }

    /// # Errors
    /// Those of [`crate::prefix::decode`].
    pub fn rows(&self) -> Result<EmbeddingRows, PrefixError> {
        let field = crate::prefix::SoftPrefixField {
            len: self.len,
            data_b64: self.data_b64.clone(),
        };
        let rows = crate::prefix::decode(&field, self.hidden_size)?;
        Ok(EmbeddingRows {
            hidden_size: self.hidden_size,
            rows: rows.values().to_vec(),
            tokens: self.tokens.clone(),
        })
    }
}

/// Reply to [`VOCABULARY`]: L2 norms over the rows of the embedding table, as bf16.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vocabulary {
    pub hidden_size: usize,
    #[serde(default)]
    pub histogram: Option<Histogram>,
    pub max: f64,
    pub percentiles: Percentiles,
    /// Root mean square of the single values.
    pub rms: f64,
    pub rows: usize,
}

/// Percentiles of the rows' L2 norms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    #[serde(rename = "1")]
    pub p1: f64,
    #[serde(rename = "5")]
    pub p5: f64,
    #[serde(rename = "25")]
    pub p25: f64,
    /// The unit in which magnitudes are told: the token norm.
    #[serde(rename = "50")]
    pub p50: f64,
    #[serde(rename = "75")]
    pub p75: f64,
    #[serde(rename = "95")]
    pub p95: f64,
    #[serde(rename = "99")]
    pub p99: f64,
}

/// Equal steps of log10(L2) from `log10_min` to `log10_max`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    pub counts: Vec<u64>,
    pub log10_max: f64,
    pub log10_min: f64,
}

/// Reply to [`BUDGET`]: token counts of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    pub prefill_window: usize,
    /// Tokens of the user's text.
    pub prompt: usize,
    /// Tokens of the template (system prompt and markers) without the user's text.
    pub template: usize,
    pub window: usize,
}

/// Whether a card, as `lsmode` lists it, carries our mark.
pub fn is_marked(card: &Value) -> bool {
    card.get(CARD_MARK).is_some()
}
