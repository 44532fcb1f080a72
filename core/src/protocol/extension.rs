//! What our unit adds to StackFlow. The unit announces it in `taskinfo`; a client uses none of it with a unit that does
//! not.
//!
//! * `taskinfo llm.N`: its data gains [`SoftPrefixSupport`] as `soft_prefix`, with the unit's [`Memory`].
//! * inference (stream form, finish frame): [`InferenceOptions`] as `softprefix` beside `soft_prefix` in the data. Where
//!   `features` names `drafts`, the unit guesses tokens (from the task's last texts, the text so far, and the options'
//!   `draft_tokens`) and checks several in one step of the model. The tokens are the same with and without drafts; only
//!   the time differs.
//! * replies: an accepted prefix comes back as [`SoftPrefixEcho`] in the reply's `soft_prefix`; where it was requested,
//!   the last reply has [`Usage`] as `usage`.
//! * actions on `llm.N`: [`EMBED`], [`VOCABULARY`], [`COUNT_TOKENS`], [`NEAREST`], [`SCORE`], [`LEARN`], [`STOP`]. The reply's
//!   `object` is the action's name, its data the type named there. `softprefix.stop` takes [`StopRequest`] and ends that
//!   one inference: it then sends its normal last reply with the text so far (finish reason `stopped`), whether it was
//!   running or waiting; an id that is not running is no error, since the inference may just have ended. A score is
//!   stopped in the same way, and ends with an error; learning then sends its last frame. A unit has an action if its
//!   `features` name it ([`feature`]).
//! * a model card from our unit has [`CARD_MARK`], so that a client recognises the unit before the first set-up.
//! * a unit that serves one program (the workbench's embedded module) requires a first line with a secret that is made
//!   when it starts: [`Secret::line`]. A client that sends anything else is refused (-10) and disconnected. Other units
//!   do not ask for it.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

pub use super::secret::Secret;
use super::weights;
pub use super::weights::{StoredWeights, WeightRounding};
use crate::prefix::{
    EmbeddingRows, Generator, MAX_HIDDEN_SIZE, Need, Neighbour, PrefixError, SoftPrefixField, TokenPiece,
};
use crate::sent::{LimitedVec, Object};

/// The version of these additions.
pub const VERSION: u32 = 1;

/// Action: the embedding rows of a text, of token ids or of sampled tokens ([`EmbedRequest`] → [`Embedded`]).
pub const EMBED: &str = "softprefix.embed";
/// Action: norms over the embedding table (no data → [`Vocabulary`]).
pub const VOCABULARY: &str = "softprefix.vocabulary";
/// Action: how many tokens a prompt takes ([`TextRequest`] → [`TokenCounts`]).
pub const COUNT_TOKENS: &str = "softprefix.budget";
/// Action: the tokens whose rows point the same way as given rows ([`NearestRequest`] → [`Nearest`]).
pub const NEAREST: &str = "softprefix.nearest";
/// Action: how likely a text is, token by token, without and with prefixes ([`ScoreData`] → [`Scored`]).
pub const SCORE: &str = "softprefix.score";
/// Action: learn rows with which wanted answers become likely ([`LearnRequest`](super::learn::LearnRequest) →
/// [`LearnFrame`](super::learn::LearnFrame)s).
pub const LEARN: &str = "softprefix.learn";
/// Action: stop one inference ([`StopRequest`] → `"None"`).
pub const STOP: &str = "softprefix.stop";

/// All actions of this extension.
pub const ACTIONS: [&str; 7] = [EMBED, VOCABULARY, COUNT_TOKENS, NEAREST, SCORE, LEARN, STOP];

/// Top-level key of a model card from our unit; its value is an object with more about the model.
pub const CARD_MARK: &str = "softprefix";

/// Names in [`SoftPrefixSupport::features`].
pub mod feature {
    /// [`super::EMBED`] takes a text.
    pub const EMBED: &str = "embed";
    /// The unit has [`super::VOCABULARY`].
    pub const VOCABULARY: &str = "vocabulary";
    /// The unit has [`super::COUNT_TOKENS`].
    pub const COUNT_TOKENS: &str = "budget";
    /// The unit has [`super::STOP`].
    pub const STOP: &str = "stop";
    /// The unit supports [`InferenceOptions::stream`](super::InferenceOptions::stream).
    pub const STREAM: &str = "stream";
    /// [`super::EMBED`] also takes token ids, and draws samples.
    pub const SAMPLE: &str = "sample";
    /// The unit has [`super::NEAREST`].
    pub const NEAREST: &str = "nearest";
    /// The unit has [`super::SCORE`].
    pub const SCORE: &str = "score";
    /// The unit uses [`super::InferenceOptions::draft_tokens`], and [`super::Usage`] has the numbers of drafted and accepted tokens.
    pub const DRAFTS: &str = "drafts";
    /// The unit has [`super::LEARN`].
    pub const LEARN: &str = "learn";
}

/// `soft_prefix` in the data of `taskinfo llm.N`: what the unit is, and its limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoftPrefixSupport {
    /// `"cpu/avx2"`, `"npu"`.
    #[serde(default)]
    pub backend: String,
    /// Most inferences of this task that run at once.
    #[serde(default = "one", deserialize_with = "concurrency")]
    pub concurrency: usize,
    /// What the unit offers beyond prefixes: names in [`feature`].
    #[serde(default)]
    pub features: Vec<String>,
    /// H.
    #[serde(deserialize_with = "hidden_size")]
    pub hidden_size: usize,
    /// Memory for requests and their work; absent where the unit does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// SHA-256 of the model file, lower-case hex, where it is one file.
    #[serde(default)]
    pub model_sha256: Option<String>,
    /// Most rows before the first output (prefix + template + prompt).
    #[serde(default, deserialize_with = "positions")]
    pub prefill_window: usize,
    /// Name and version of the unit: `"softprefix-unit 0.1.0"`.
    #[serde(default)]
    pub unit: String,
    /// [`VERSION`] of the unit.
    pub version: u32,
    /// How the unit represents the matrices of the model file, by their format; empty where the unit does not say.
    #[serde(
        default,
        deserialize_with = "weights::readable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub weights: Vec<StoredWeights>,
    /// Most positions: prefix + template + prompt + output.
    #[serde(deserialize_with = "positions")]
    pub window: usize,
}

/// Limit and use of the memory that all clients of a unit share, in bytes. Beyond the limit, requests are refused (-10)
/// and inferences wait for others to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The limit for requests and work together.
    pub budget: u64,
    /// The part for requests, counted by their bytes as received.
    pub requests: u64,
    /// Bytes that requests use now.
    pub requests_used: u64,
    /// The part for work on them: keys and values of running inferences, and whatever else a computation keeps.
    pub work: u64,
    /// Bytes that work uses now.
    pub work_used: u64,
}

/// Above the positions of any window. A peer's numbers beyond this or beyond [`MAX_HIDDEN_SIZE`] are refused, since
/// memory is reserved by them.
pub const MAX_POSITIONS: usize = 1 << 24;
/// Most inferences that are sent to a unit at once, even if it offers more.
const MAX_CONCURRENCY: usize = 1024;

fn up_to<'de, D: Deserializer<'de>>(deserializer: D, most: usize) -> Result<usize, D::Error> {
    let number = usize::deserialize(deserializer)?;
    if number > most {
        return Err(D::Error::custom(format_args!(
            "{number} is more than any model has ({most})"
        )));
    }
    Ok(number)
}

fn positions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    up_to(deserializer, MAX_POSITIONS)
}

fn hidden_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    up_to(deserializer, MAX_HIDDEN_SIZE)
}

fn concurrency<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    Ok(usize::deserialize(deserializer)?.clamp(1, MAX_CONCURRENCY))
}

fn one() -> usize {
    1
}

impl SoftPrefixSupport {
    /// Whether `features` contains the name.
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|name| name == feature)
    }
}

/// Which inferences go first where more wait than fit into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// For a user who is waiting.
    #[default]
    Live,
    /// For experiments.
    Batch,
}

/// Maximum number of token ids in a draft. Further ones are ignored, or the options are refused where they are longer than any draft of this
/// many.
pub const MAX_DRAFT_TOKENS: usize = 1 << 15;

/// `softprefix` in an inference's data.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InferenceOptions {
    /// Token ids that the output is likely to consist of, such as those of an earlier run. The unit verifies them and uses those that the model
    /// itself chooses. At most [`MAX_DRAFT_TOKENS`]. Only for units whose `features` name `drafts`.
    #[serde(default, deserialize_with = "draft", skip_serializing_if = "Vec::is_empty")]
    pub draft_tokens: Vec<u32>,
    /// Most output tokens. The set-up's `max_token_len`, which counts positions, applies as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<usize>,
    /// Place in the unit's queue.
    #[serde(default)]
    pub priority: Priority,
    /// Whether this output comes in frames; the set-up decides where it is missing. The `object` of the replies is then
    /// `llm.utf-8.stream` or `llm.utf-8`. Only for units whose `features` name `stream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// Whether the last reply carries [`Usage`].
    #[serde(default)]
    pub usage: bool,
}

fn draft<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u32>, D::Error> {
    LimitedVec::<u32, MAX_DRAFT_TOKENS>::deserialize(deserializer).map(|draft| draft.items)
}

/// Top-level `soft_prefix` of a reply: the prefix that was put in front. Its absence means that none was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoftPrefixEcho {
    /// H.
    pub hidden_size: usize,
    /// P.
    pub len: usize,
    /// Of the bf16 bytes as decoded by the unit, lower-case hex.
    pub sha256: String,
}

impl SoftPrefixEcho {
    /// The echo that a unit sends for `prefix`.
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
    /// The model produced its end token.
    Stop,
    /// `max_new_tokens` was reached.
    Length,
    /// The window, or the set-up's `max_token_len`, was full.
    Window,
    /// A client stopped it.
    Stopped,
    /// The unit does not say (a stock unit never does).
    #[serde(other)]
    Unknown,
}

/// Top-level `usage` of a last reply. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Number of drafted tokens that the model chose as well.
    #[serde(default)]
    pub accepted: usize,
    /// Tokens of the output.
    pub completion_tokens: usize,
    /// From the first output token to the last.
    pub decode_ms: f64,
    /// Number of drafted tokens that were verified; 0 where the unit does not draft.
    #[serde(default)]
    pub drafted: usize,
    /// Why the output ended.
    pub finish_reason: FinishReason,
    /// From the start of the computation to the first output token.
    pub prefill_ms: f64,
    /// P; 0 without a prefix.
    pub prefix_len: usize,
    /// Tokens of the user's text.
    pub prompt_tokens: usize,
    /// Wait before the computation began.
    pub queue_ms: f64,
    /// Tokens of the chat template, the system prompt included.
    pub template_tokens: usize,
    /// The output's token ids.
    pub tokens: Vec<u32>,
}

impl Usage {
    /// The usage of an output of which only these figures were saved; `tokens_per_second` as [`Usage::tokens_per_second`] returns it.
    pub fn of_rate(
        completion_tokens: usize,
        tokens_per_second: Option<f64>,
        finish_reason: FinishReason,
        prefix_len: usize,
    ) -> Self {
        let decoded = completion_tokens.saturating_sub(1) as f64;
        let rate = tokens_per_second.filter(|rate| rate.is_finite() && *rate > 0.0);
        Self {
            accepted: 0,
            completion_tokens,
            decode_ms: rate.map_or(0.0, |rate| decoded / rate * 1000.0),
            drafted: 0,
            finish_reason,
            prefill_ms: 0.0,
            prefix_len,
            prompt_tokens: 0,
            queue_ms: 0.0,
            template_tokens: 0,
            tokens: Vec::new(),
        }
    }

    /// Tokens per second after the first token; `None` without a second token or a time.
    pub fn tokens_per_second(&self) -> Option<f64> {
        (self.completion_tokens > 1 && self.decode_ms > 0.0)
            .then(|| (self.completion_tokens - 1) as f64 / self.decode_ms * 1000.0)
    }
}

/// Most token ids of a request: more than any window holds.
pub const MAX_TOKENS: usize = 1 << 20;

/// Data of [`EMBED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum EmbedRequest {
    /// The tokens of a text.
    Text {
        /// Tokenised as a prompt is, without template or added tokens.
        text: String,
    },
    /// Tokens by id.
    Tokens {
        /// Ids below the size of the vocabulary, at most [`MAX_TOKENS`].
        tokens: Vec<u32>,
    },
    /// Tokens that the unit draws.
    Sample {
        /// How they are drawn.
        sample: Sample,
    },
}

impl<'de> Deserialize<'de> for EmbedRequest {
    /// Reads the fields one by one: the derived implementation of an untagged enum buffers the whole value as a tree.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            text: Option<String>,
            tokens: Option<LimitedVec<u32, MAX_TOKENS>>,
            sample: Option<Sample>,
        }
        let Object(fields) = Object::<Fields>::deserialize(deserializer)?;
        match (fields.text, fields.tokens, fields.sample) {
            (Some(text), ..) => Ok(Self::Text { text }),
            (_, Some(tokens), _) if tokens.count > MAX_TOKENS => Err(D::Error::custom("too many tokens")),
            (_, Some(tokens), _) => Ok(Self::Tokens { tokens: tokens.items }),
            (.., Some(sample)) => Ok(Self::Sample { sample }),
            _ => Err(D::Error::custom("neither text, tokens nor sample")),
        }
    }
}

impl EmbedRequest {
    /// The request for what a recipe needs.
    ///
    /// # Errors
    /// [`PrefixError::StoredMissing`] for imported rows, which no unit has.
    pub fn of(need: &Need) -> Result<Self, PrefixError> {
        match need.clone() {
            Need::Text(text) => Ok(Self::Text { text }),
            Need::Sample { count, seed, generator } => Ok(Self::Sample {
                sample: Sample { count, seed, generator },
            }),
            Need::Stored { name, sha256 } => Err(PrefixError::StoredMissing { name, sha256 }),
        }
    }

    /// The [`feature`] of the units that answer it.
    pub fn feature(&self) -> &'static str {
        match self {
            Self::Text { .. } | Self::Tokens { .. } => feature::EMBED,
            Self::Sample { .. } => feature::SAMPLE,
        }
    }
}

/// Tokens drawn from those of the vocabulary that stand for text, in the order of their ids ([`Generator::sample`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Number of tokens to draw.
    pub count: usize,
    /// Seed of the generator.
    pub seed: u64,
    /// Which algorithm draws.
    #[serde(default)]
    pub generator: Generator,
}

/// Data of [`COUNT_TOKENS`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextRequest {
    /// The user's text, without the template.
    pub text: String,
}

/// Data of [`STOP`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRequest {
    /// The `request_id` of the inference.
    pub request_id: String,
}

/// Reply to [`EMBED`]: a row for each token (of a text: no template, no added tokens), in the wire form of a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Embedded {
    /// Base64 of `len` x `hidden_size` little-endian bf16 words, row by row.
    pub data_b64: String,
    /// H, the width of a row.
    #[serde(deserialize_with = "hidden_size")]
    pub hidden_size: usize,
    /// Rows, equal to the number of tokens.
    pub len: usize,
    /// The tokens in order, one for each row.
    pub tokens: Vec<TokenPiece>,
}

impl Embedded {
    /// # Errors
    /// Where the rows are empty, not whole, or not finite.
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
    /// H, the width of a row.
    #[serde(deserialize_with = "hidden_size")]
    pub hidden_size: usize,
    /// Distribution of the norms; absent where the unit does not compute it.
    #[serde(default)]
    pub histogram: Option<Histogram>,
    /// Largest norm.
    pub max: f64,
    /// Percentiles of the norms.
    pub percentiles: Percentiles,
    /// Root mean square of the single values.
    pub rms: f64,
    /// Rows of the embedding table.
    pub rows: usize,
}

/// Percentiles of the rows' L2 norms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// 1st percentile.
    #[serde(rename = "1")]
    pub p1: f64,
    /// 5th percentile.
    #[serde(rename = "5")]
    pub p5: f64,
    /// 25th percentile.
    #[serde(rename = "25")]
    pub p25: f64,
    /// The median: the token norm, in which magnitudes are given.
    #[serde(rename = "50")]
    pub p50: f64,
    /// 75th percentile.
    #[serde(rename = "75")]
    pub p75: f64,
    /// 95th percentile.
    #[serde(rename = "95")]
    pub p95: f64,
    /// 99th percentile.
    #[serde(rename = "99")]
    pub p99: f64,
}

/// A histogram of log10(L2) with steps of equal width from `log10_min` to `log10_max`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Rows in each step, from the smallest norm to the largest.
    pub counts: Vec<u64>,
    /// Upper end of the last step.
    pub log10_max: f64,
    /// Lower end of the first step.
    pub log10_min: f64,
}

/// Reply to [`COUNT_TOKENS`]: token counts of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCounts {
    /// Most rows before the first output: prefix + template + prompt.
    #[serde(deserialize_with = "positions")]
    pub prefill_window: usize,
    /// Tokens of the user's text.
    #[serde(deserialize_with = "positions")]
    pub prompt: usize,
    /// Tokens of the template (system prompt and markers) without the user's text.
    #[serde(deserialize_with = "positions")]
    pub template: usize,
    /// Most positions: prefix + template + prompt + output.
    #[serde(deserialize_with = "positions")]
    pub window: usize,
}

/// Data of [`NEAREST`]: rows in the wire form of a prefix, and how many tokens are wanted for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NearestRequest {
    /// The rows, at most [`MAX_NEAREST_ROWS`].
    #[serde(flatten)]
    pub rows: SoftPrefixField,
    /// Tokens wanted for each row, at most [`MAX_NEAREST`].
    pub k: usize,
}

impl<'de> Deserialize<'de> for NearestRequest {
    /// Reads the fields one by one: the derived implementation of a flattened field buffers all of them as a tree of
    /// values.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            len: usize,
            data_b64: String,
            k: usize,
        }
        let Object(Fields { len, data_b64, k }) = Object::<Fields>::deserialize(deserializer)?;
        Ok(Self {
            rows: SoftPrefixField { len, data_b64 },
            k,
        })
    }
}

/// Reply to [`NEAREST`]: for each row the tokens of the largest cosine, the largest first; none for a row of zeros.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Nearest {
    /// One list for each row of the request.
    pub rows: Vec<Vec<Neighbour>>,
}

/// Most rows of one [`NearestRequest`].
pub const MAX_NEAREST_ROWS: usize = 256;
/// Most tokens for each row of a [`NearestRequest`].
pub const MAX_NEAREST: usize = 50;
/// Most prefixes of one [`ScoreData`].
pub const MAX_SCORE_PREFIXES: usize = 15;
/// Most alternatives for each token of a [`ScoreData`].
pub const MAX_ALTERNATIVES: usize = 20;

/// Data of [`SCORE`]: a text after a prompt is scored by teacher forcing, which gives the probability of each token
/// after those before it. Nothing is drawn. Give one of `text` and `tokens`. A text is tokenised as plain characters,
/// which may give other tokens than the model chose, so prefer the ids of an output ([`Usage::tokens`]).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ScoreData {
    /// The user's text; the task's template goes around it.
    pub prompt: String,
    /// The answer as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The answer as token ids of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<u32>>,
    /// The prefix of the reference, to compare prefixes with one another; absent, the reference is the text without a prefix.
    #[serde(rename = "against", default, skip_serializing_if = "Option::is_none")]
    pub reference_prefix: Option<SoftPrefixField>,
    /// Prefixes to compare with the reference, at most [`MAX_SCORE_PREFIXES`]. A single one may also be sent as
    /// `soft_prefix`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub soft_prefixes: Vec<SoftPrefixField>,
    /// Number of the likeliest tokens in the reply at each position, at most [`MAX_ALTERNATIVES`].
    #[serde(default)]
    pub top: usize,
}

/// Reply to [`SCORE`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// The text without a prefix, or with [`ScoreData::reference_prefix`].
    #[serde(rename = "base")]
    pub reference: TokenScores,
    /// One for each prefix, in the order of the request.
    pub prefixed: Vec<Compared>,
    /// The tokens of the scored text.
    pub tokens: Vec<TokenPiece>,
}

/// A text's tokens under one condition. Logarithms are natural.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenScores {
    /// ln p of each token after those before it.
    pub logprobs: Vec<f64>,
    /// exp of the mean of `-logprobs`.
    pub perplexity: f64,
    /// The prefix that was in front; absent where none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft_prefix: Option<SoftPrefixEcho>,
    /// The likeliest tokens at each position, the likeliest first; empty where none were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<Vec<Alternative>>,
}

/// A text's tokens with a prefix, compared with the reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// KL(reference || prefixed) at each token, in nats.
    pub kl: Vec<f64>,
    /// At each token, whether the likeliest one is the reference's.
    pub same_top: Vec<bool>,
    /// The text with the prefix.
    pub scores: TokenScores,
}

/// A token that the model might have chosen at a position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// Token id in the model's vocabulary.
    pub id: u32,
    /// ln p of the token at this position.
    pub logprob: f64,
    /// Its text, with U+FFFD for bytes that are not a whole character.
    pub text: String,
}

/// Whether a card, as `lsmode` lists it, has [`CARD_MARK`].
pub fn is_marked(card: &Value) -> bool {
    card.get(CARD_MARK).is_some()
}
