//! The description of a prefix, which can be stored and compared: kind, length, magnitude and rounding.
//!
//! [`PrefixRecipe::needs`] names the rows that must be fetched before [`PrefixRecipe::build_from`] can build it.

use half::bf16;
use serde::{Deserialize, Serialize};

use super::generator::Generator;
use super::soft_prefix::{Rounding, SoftPrefix, norm};
use super::subspace::Subspace;

/// Most rows a prefix may have: longer than the window of any model that runs on the module or beside it.
pub const MAX_LEN: usize = 65_536;
/// Largest H that a card, a file or a peer may name: above that of any supported model.
pub const MAX_HIDDEN_SIZE: usize = 65_536;
/// Most values (P x H) of a prefix: more than twice what a message can carry.
pub const MAX_VALUES: usize = 1 << 24;

/// Everything that determines a prefix's bytes, apart from the model it is built for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrefixRecipe {
    /// Where the values come from, envelopes included.
    pub kind: PrefixKind,
    /// Number of rows, P.
    pub len: usize,
    /// How large the rows become.
    pub magnitude: Magnitude,
    /// How the computed values become bf16.
    #[serde(default)]
    pub rounding: Rounding,
}

/// Where the values come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum PrefixKind {
    /// Every value the same.
    Constant,
    /// Independent values, uniform in [-1, 1), before scaling.
    RandomUniform {
        /// Seed of the generator.
        seed: u64,
        /// Which algorithm draws; the default where an older file does not name it.
        #[serde(default)]
        generator: Generator,
    },
    /// Independent normal values of variance 1, before scaling.
    RandomNormal {
        /// Seed of the generator.
        seed: u64,
        /// Which algorithm draws; the default where an older file does not name it.
        #[serde(default)]
        generator: Generator,
    },
    /// The embedding rows of a text's tokens, repeated from the start or cut to P rows.
    Words {
        /// The text. Names of special tokens in it, such as `<|im_end|>`, are those tokens, as in a prompt.
        text: String,
    },
    /// Row by row between two ends: `(1 - t) * from + t * to`, scaled to the norm `(1 - t) * |from| + t * |to|`. The
    /// rows of each end are repeated from the start or cut to P. At `t` = 0 and `t` = 1 the rows are the end's own,
    /// bit for bit.
    Blend {
        /// The rows at `t` = 0.
        from: BlendEndpoint,
        /// The rows at `t` = 1.
        to: BlendEndpoint,
        /// Position between the two, 0 to 1.
        t: f64,
    },
    /// The mean row of `text` minus the mean row of `minus`, the same in each of the P rows.
    Contrast {
        /// The text whose mean row is taken.
        text: String,
        /// The text whose mean row is subtracted.
        minus: String,
    },
    /// The embedding rows of P tokens drawn uniformly from the vocabulary, without the template's special tokens and
    /// unused ids.
    SampledVocabulary {
        /// Seed of the generator.
        seed: u64,
        /// Which algorithm draws; the default where an older file does not name it.
        #[serde(default)]
        generator: Generator,
    },
    /// Stored rows, repeated from the start or cut to P rows. They are identified by the digest.
    Imported {
        /// Name of the file or of the prefix in it, for people.
        name: String,
        /// SHA-256 of the rows as bf16 ([`SoftPrefix::sha256`]).
        sha256: String,
        /// Where they come from.
        #[serde(flatten)]
        origin: Origin,
    },
    /// Rows proposed by a search: the rows of a parent prefix, repeated from the start or cut to P rows, displaced to a point of a random
    /// subspace around them. The parent is identified by its digest.
    Chosen {
        /// Name of the parent, for people.
        name: String,
        /// SHA-256 of the parent's rows as bf16 ([`SoftPrefix::sha256`]).
        parent: String,
        /// Generation of the search that proposed the point, from 1; 0 for the parent itself.
        generation: u64,
        /// The subspace that is searched.
        subspace: Box<Subspace>,
        /// One coordinate for each dimension.
        point: Vec<f64>,
    },
    /// Another kind with a factor for each row, applied after the magnitude. The points are spread evenly from the
    /// first row to the last, with straight lines between them, so that one envelope serves every P.
    Shaped {
        /// The kind whose rows are multiplied; may be shaped itself.
        of: Box<PrefixKind>,
        /// Factors at evenly spread points, at least one; see [`envelope_at`](super::envelope_at).
        envelope: Vec<f64>,
    },
}

/// One endpoint of a blend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum BlendEndpoint {
    /// The embedding rows of a text's tokens.
    Text(String),
    /// Rows that were imported or learned.
    Stored {
        /// Name under which they were stored, for people.
        name: String,
        /// SHA-256 of the rows as bf16.
        sha256: String,
    },
}

impl BlendEndpoint {
    /// The rows that must be fetched for it.
    pub fn need(&self) -> Need {
        match self.clone() {
            Self::Text(text) => Need::Text(text),
            Self::Stored { name, sha256 } => Need::Stored { name, sha256 },
        }
    }
}

impl From<&str> for BlendEndpoint {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A text in quotation marks, stored rows by their name.
impl std::fmt::Display for BlendEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Stored { name, .. } => f.write_str(name),
        }
    }
}

/// Where stored rows come from. As JSON it is a key of the object that has it: `learned`, `found` or none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "OriginKeys", into = "OriginKeys")]
pub enum Origin {
    /// A file that does not say more.
    #[default]
    File,
    /// They were learned by gradient.
    Learned(Box<Learned>),
    /// They are a candidate of a search.
    Found(Box<SearchOrigin>),
}

#[derive(Serialize, Deserialize)]
struct OriginKeys {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    learned: Option<Box<Learned>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    found: Option<Box<SearchOrigin>>,
}

impl From<OriginKeys> for Origin {
    fn from(keys: OriginKeys) -> Self {
        match keys {
            OriginKeys {
                learned: Some(learned), ..
            } => Self::Learned(learned),
            OriginKeys { found: Some(found), .. } => Self::Found(found),
            OriginKeys { .. } => Self::File,
        }
    }
}

impl From<Origin> for OriginKeys {
    fn from(origin: Origin) -> Self {
        let (learned, found) = match origin {
            Origin::File => (None, None),
            Origin::Learned(learned) => (Some(learned), None),
            Origin::Found(found) => (None, Some(found)),
        };
        Self { learned, found }
    }
}

impl Origin {
    /// The note of a file with these rows; see [`export_safetensors`](super::files::export_safetensors). `None` where the origin is not
    /// known.
    #[must_use]
    pub fn note(&self, rows: &SoftPrefix) -> Option<serde_json::Value> {
        let rows_sha256 = rows.sha256();
        let note = match self.clone() {
            Self::File => return None,
            Self::Learned(learned) => Note::Learned { learned, rows_sha256 },
            Self::Found(found) => Note::Chosen { found, rows_sha256 },
        };
        Some(serde_json::json!(note))
    }

    /// Reads the note of a file: [`Origin::File`] if it does not say where these rows come from.
    #[must_use]
    pub fn from_note(note: &str, rows: &SoftPrefix) -> Self {
        let (origin, sha256) = match serde_json::from_str(note) {
            Ok(Note::Learned { learned, rows_sha256 }) => (Self::Learned(learned), rows_sha256),
            Ok(Note::Chosen { found, rows_sha256 }) => (Self::Found(found), rows_sha256),
            Ok(Note::Other) | Err(_) => return Self::File,
        };
        if sha256 == rows.sha256() { origin } else { Self::File }
    }

    /// Name of the model for which the rows were made, where that is known.
    pub fn model(&self) -> Option<&str> {
        match self {
            Self::File => None,
            Self::Learned(learned) => Some(&learned.model),
            Self::Found(found) => Some(&found.model),
        }
    }
}

/// How rows were found by trying candidates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchOrigin {
    /// What judged the candidates.
    pub by: FoundBy,
    /// Name of the prefix around which the candidates lie, for people.
    pub near: String,
    /// The generation of the candidate, from 1.
    pub generation: u64,
    /// Id of the record of its run.
    pub record: String,
    /// Name of the model's card.
    pub model: String,
}

/// What judges the candidates of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FoundBy {
    /// A person, who chooses one of several outputs.
    Person,
    /// An [`Objective`](crate::search::Objective).
    Objective,
}

/// How rows were learned by gradient. Losses are in nats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// Name of the minimized loss.
    pub objective: String,
    /// Number of examples that were learned from.
    pub examples: usize,
    /// Number of preserved prompts.
    pub preserved: usize,
    /// SHA-256 of the examples and prompts as JSON.
    pub data_sha256: String,
    /// The first example's prompt, or its beginning.
    pub first_prompt: String,
    /// The first example's target, or its beginning.
    pub first_target: String,
    /// The initial rows.
    pub init: LearnedInit,
    /// Seed of random rows and of the order of the examples.
    pub seed: u64,
    /// The limit of the rows' norms.
    #[serde(default)]
    pub norm_limit: NormLimit,
    /// Further settings, if the unit reported them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<LearningSettings>,
    /// Maximum number of steps.
    pub steps_asked: usize,
    /// The step after which these rows were the best.
    pub step: usize,
    /// Its value at `step`.
    pub loss: f64,
    /// Mean negative log-likelihood of the target tokens.
    pub likelihood: f64,
    /// Target tokens that the model gives greedily.
    pub matched: usize,
    /// All target tokens.
    pub wanted: usize,
    /// Name of the model's card.
    pub model: String,
    /// SHA-256 of the model file, if the unit reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_sha256: Option<String>,
    /// Name and version of the unit, if it reports them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// Most characters of [`Learned::beginnings`].
const BEGINNING: usize = 48;

impl Learned {
    /// Returns the first example's prompt and target on one line each, cut to a few words.
    #[must_use]
    pub fn beginnings(&self) -> (String, String) {
        let beginning = |text: &str| {
            let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
            match line.char_indices().nth(BEGINNING) {
                Some((end, _)) => format!("{}…", &line[..end]),
                None => line,
            }
        };
        (beginning(&self.first_prompt), beginning(&self.first_target))
    }
}

/// The note of a file of rows.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Note {
    Learned {
        #[serde(flatten)]
        learned: Box<Learned>,
        rows_sha256: String,
    },
    Chosen {
        #[serde(flatten)]
        found: Box<SearchOrigin>,
        rows_sha256: String,
    },
    #[serde(other)]
    Other,
}

/// The initial rows of learning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearnedInit {
    /// Rows of the first target's tokens.
    Target,
    /// Rows of this text's tokens.
    Words(String),
    /// Normal random numbers by the seed.
    Random,
    /// Other rows.
    Rows,
}

/// The limit of the rows' norms.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormLimit {
    /// The range of the vocabulary's own rows: from their 1st to their 99th percentile.
    #[default]
    Vocabulary,
    /// At most so many times the median row of the vocabulary.
    TokenNorms(f64),
    /// No limit.
    Off,
}

impl NormLimit {
    /// The smallest and the largest L2 norm of a row; `None` without a limit. `token_norm` is the median norm of the vocabulary's rows, and
    /// `usual` are their 1st and 99th percentile.
    ///
    /// # Errors
    /// The limit, where it is not a number above 0.
    pub fn range(self, token_norm: f64, usual: (f64, f64)) -> Result<Option<(f64, f64)>, f64> {
        match self {
            Self::Vocabulary => Ok(Some(usual)),
            Self::TokenNorms(most) if most.is_finite() && most > 0.0 => Ok(Some((0.0, most * token_norm))),
            Self::TokenNorms(most) => Err(most),
            Self::Off => Ok(None),
        }
    }
}

/// Settings with which rows were learned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LearningSettings {
    /// Examples per step.
    pub batch: usize,
    /// Learning rate of the first step, in units of the vocabulary's RMS.
    pub lr: f64,
    /// Minimum and maximum L2 norm of each row.
    pub norms: (f64, f64),
    /// Weight of the mean KL on the preserved prompts.
    pub preserve_weight: f64,
}

/// Rows that must be fetched before a recipe can be built.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Need {
    /// The embedding rows of a text's tokens.
    Text(String),
    /// The embedding rows of tokens that the unit draws, since it knows which ids stand for text.
    Sample {
        /// Number of tokens: P.
        count: usize,
        /// Seed of the generator.
        seed: u64,
        /// Which algorithm draws.
        generator: Generator,
    },
    /// The rows of a prefix in the store, by digest.
    Stored {
        /// Name under which the prefix was stored.
        name: String,
        /// SHA-256 of its rows as bf16.
        sha256: String,
    },
}

impl PrefixKind {
    /// The kind's English name, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::RandomUniform { .. } => "random uniform",
            Self::RandomNormal { .. } => "random normal",
            Self::Words { .. } => "words",
            Self::Blend { .. } => "blend",
            Self::Contrast { .. } => "contrast",
            Self::SampledVocabulary { .. } => "sampled vocabulary",
            Self::Imported { origin, .. } => match origin {
                Origin::File => "imported",
                Origin::Learned(_) => "learned",
                Origin::Found(found) => match found.by {
                    FoundBy::Person => "chosen",
                    FoundBy::Objective => "found",
                },
            },
            Self::Chosen { .. } => "candidate",
            Self::Shaped { of, .. } => of.name(),
        }
    }

    /// The kind without its envelopes.
    pub fn base(&self) -> &Self {
        match self {
            Self::Shaped { of, .. } => of.base(),
            other => other,
        }
    }

    /// How its rows were learned, where they were.
    pub fn learned(&self) -> Option<&Learned> {
        match self.base() {
            Self::Imported {
                origin: Origin::Learned(learned),
                ..
            } => Some(learned),
            _ => None,
        }
    }

    /// The points of the outermost envelope, where there is one.
    pub fn envelope(&self) -> Option<&[f64]> {
        match self {
            Self::Shaped { envelope, .. } => Some(envelope),
            _ => None,
        }
    }

    /// The same kind with `envelope` in place of any envelopes it has.
    #[must_use]
    pub fn shaped(self, envelope: Option<Vec<f64>>) -> Self {
        let of = match self {
            Self::Shaped { of, .. } => of.shaped(None),
            other => other,
        };
        match envelope {
            Some(envelope) => Self::Shaped {
                of: Box::new(of),
                envelope,
            },
            None => of,
        }
    }

    /// Whether [`Magnitude::Unscaled`] is allowed: its rows come from a model, a file or a search and have norms of their own, while those of
    /// a constant or of random values have none that means anything.
    pub fn allows_unscaled(&self) -> bool {
        !matches!(
            self.base(),
            Self::Constant | Self::RandomUniform { .. } | Self::RandomNormal { .. }
        )
    }
}

impl PrefixKind {
    /// L2 norm of a row over its raw value: sqrt(H) for a constant and (in expectation) for normal values, sqrt(H/3) for uniform
    /// ones. `None` for rows that are not drawn (words, vocabulary, imported): their norms differ, and a raw value is a plain factor on
    /// them.
    pub fn norm_per_raw(&self, hidden_size: usize) -> Option<f64> {
        let h = hidden_size as f64;
        match self.base() {
            Self::Constant | Self::RandomNormal { .. } => Some(h.sqrt()),
            Self::RandomUniform { .. } => Some((h / 3.0).sqrt()),
            _ => None,
        }
    }
}

/// The unit of a magnitude.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MagnitudeUnit {
    /// L2 norm of each row over the vocabulary's median L2 norm.
    #[default]
    TokenNorms,
    /// The scale of the values, as in existing scripts; the only unit where the module does not report its vocabulary's
    /// norms.
    Raw,
}

/// How large the rows are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Magnitude {
    /// The factor v on the values as drawn; for a constant prefix, the value itself.
    Raw(f64),
    /// L2 norm of every row before the envelope, as a multiple of the vocabulary's median L2 norm.
    TokenNorms(f64),
    /// No scaling: rows of words as the model has them, imported rows as the file has them.
    Unscaled,
}

/// Embedding rows: one row of `hidden_size` values for each token.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingRows {
    /// H, the width of a row.
    pub hidden_size: usize,
    /// `tokens.len()` x `hidden_size` values, row by row.
    pub rows: Vec<bf16>,
    /// The tokens, one for each row; empty where the rows stand for none.
    pub tokens: Vec<TokenPiece>,
}

/// A token and the text it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenPiece {
    /// Token id in the model's vocabulary.
    pub id: u32,
    /// Its text, with U+FFFD for bytes that are not a whole character.
    pub text: String,
}

impl PrefixRecipe {
    /// A recipe whose values are rounded to the nearest bf16.
    pub const fn new(kind: PrefixKind, len: usize, magnitude: Magnitude) -> Self {
        Self {
            kind,
            len,
            magnitude,
            rounding: Rounding::NearestEven,
        }
    }

    /// The rows that [`PrefixRecipe::build_from`] needs, in the order in which it takes them.
    pub fn needs(&self) -> Vec<Need> {
        self.needs_of(&self.kind)
    }

    fn needs_of(&self, kind: &PrefixKind) -> Vec<Need> {
        match kind {
            PrefixKind::Words { text } => vec![Need::Text(text.clone())],
            PrefixKind::Blend { from, to, .. } => vec![from.need(), to.need()],
            PrefixKind::Contrast { text, minus } => vec![Need::Text(text.clone()), Need::Text(minus.clone())],
            PrefixKind::SampledVocabulary { seed, generator } => vec![Need::Sample {
                count: self.len,
                seed: *seed,
                generator: *generator,
            }],
            PrefixKind::Imported { name, sha256, .. }
            | PrefixKind::Chosen {
                name, parent: sha256, ..
            } => vec![Need::Stored {
                name: name.clone(),
                sha256: sha256.clone(),
            }],
            PrefixKind::Shaped { of, .. } => self.needs_of(of),
            PrefixKind::Constant | PrefixKind::RandomUniform { .. } | PrefixKind::RandomNormal { .. } => Vec::new(),
        }
    }

    /// Whether both make the same rows except for their magnitude: then a line of a plot may join their runs.
    pub fn same_except_magnitude(&self, other: &Self) -> bool {
        self.kind == other.kind && self.len == other.len && self.rounding == other.rounding
    }

    /// The magnitude as a raw value v, in rows of `hidden_size` values. `None` without scaling, and for token norms where the rows are
    /// not drawn ([`PrefixKind::norm_per_raw`]) or `median_norm`, the vocabulary's median L2 norm, is not known; 0 token norms need none.
    pub fn raw_at(&self, hidden_size: usize, median_norm: Option<f64>) -> Option<f64> {
        match self.magnitude {
            Magnitude::Raw(raw) => Some(raw),
            Magnitude::TokenNorms(norms) => {
                let norm_per_raw = self.kind.norm_per_raw(hidden_size)?;
                Some(if norms == 0.0 {
                    0.0
                } else {
                    norms * median_norm? / norm_per_raw
                })
            }
            Magnitude::Unscaled => None,
        }
    }

    /// The magnitude in token norms, as requested: the norms of the built prefix differ by rounding and, where it is
    /// random, by chance. `None` without scaling, and for a raw value where the rows are not drawn or `median_norm` is not known.
    pub fn token_norms_at(&self, hidden_size: usize, median_norm: Option<f64>) -> Option<f64> {
        match self.magnitude {
            Magnitude::TokenNorms(norms) => Some(norms),
            Magnitude::Raw(raw) => Some(raw.abs() * self.kind.norm_per_raw(hidden_size)? / median_norm?),
            Magnitude::Unscaled => None,
        }
    }
}

impl EmbeddingRows {
    /// L2 norm of each token's row.
    pub fn norms(&self) -> Vec<f64> {
        self.rows.chunks(self.hidden_size.max(1)).map(norm).collect()
    }
}

/// The rows of a prefix, without tokens.
impl From<&SoftPrefix> for EmbeddingRows {
    fn from(prefix: &SoftPrefix) -> Self {
        Self {
            hidden_size: prefix.hidden_size(),
            rows: prefix.values().to_vec(),
            tokens: Vec::new(),
        }
    }
}
