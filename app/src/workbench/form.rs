//! What the person edits: the prefix, the prompt, how to sample; and what follows from it (budget, card).
//!
//! It knows no widget. Nothing here waits: what needs a module or more than a millisecond arrives later, as an event.

use serde::{Deserialize, Serialize};
use softprefix_core::prefix::{Generator, Magnitude, PrefixKind, PrefixRecipe, Rounding};

use super::problem::Problem;

/// Which kind of prefix the controls show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KindChoice {
    #[default]
    Constant,
    RandomUniform,
    RandomNormal,
    Words,
}

impl KindChoice {
    pub const ALL: [Self; 4] = [Self::Constant, Self::RandomUniform, Self::RandomNormal, Self::Words];

    /// Whether a seed matters.
    pub fn is_seeded(self) -> bool {
        matches!(self, Self::RandomUniform | Self::RandomNormal)
    }
}

/// In which unit the magnitude is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MagnitudeUnit {
    /// L2 of each row over the vocabulary's median L2.
    #[default]
    TokenNorms,
    /// The scale of the values, as existing scripts say it; the only one where the module does not tell its vocabulary.
    Raw,
}

/// The prefix as it is edited. Every field keeps its value while another kind is chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PrefixForm {
    pub kind: KindChoice,
    /// In [`PrefixForm::unit`]s; 0 is the stop at the left end.
    pub magnitude: f64,
    pub unit: MagnitudeUnit,
    /// Words only: the rows as they are, without scaling.
    pub unscaled: bool,
    /// P.
    pub len: usize,
    pub seed: u64,
    pub words: String,
    pub rounding: Rounding,
}

impl Default for PrefixForm {
    fn default() -> Self {
        Self {
            kind: KindChoice::Constant,
            magnitude: 1.0,
            unit: MagnitudeUnit::TokenNorms,
            unscaled: true,
            len: 1,
            seed: 0,
            words: "春".to_owned(),
            rounding: Rounding::NearestEven,
        }
    }
}

impl PrefixForm {
    /// Bounds of the slider behind its stop at 0, in token norms.
    pub const NORMS: std::ops::RangeInclusive<f64> = 0.001..=100.0;
    /// Bounds of the slider behind its stop at 0, in raw values.
    pub const RAW: std::ops::RangeInclusive<f64> = 1e-5..=10.0;

    /// The recipe that the fields describe.
    pub fn recipe(&self) -> PrefixRecipe {
        let kind = match self.kind {
            KindChoice::Constant => PrefixKind::Constant,
            KindChoice::RandomUniform => PrefixKind::RandomUniform {
                seed: self.seed,
                generator: Generator::default(),
            },
            KindChoice::RandomNormal => PrefixKind::RandomNormal {
                seed: self.seed,
                generator: Generator::default(),
            },
            KindChoice::Words => PrefixKind::Words {
                text: self.words.clone(),
            },
        };
        let magnitude = match (self.kind, self.unscaled, self.unit) {
            (KindChoice::Words, true, _) => Magnitude::Unscaled,
            (_, _, MagnitudeUnit::TokenNorms) => Magnitude::TokenNorms(self.magnitude),
            (_, _, MagnitudeUnit::Raw) => Magnitude::Raw(self.magnitude),
        };
        PrefixRecipe {
            kind,
            len: self.len,
            magnitude,
            rounding: self.rounding,
        }
    }

    /// Takes over a kind; one that these controls do not offer leaves theirs as it is.
    pub(super) fn take_kind(&mut self, kind: &PrefixKind) {
        match kind {
            PrefixKind::Constant => self.kind = KindChoice::Constant,
            PrefixKind::RandomUniform { seed, .. } => (self.kind, self.seed) = (KindChoice::RandomUniform, *seed),
            PrefixKind::RandomNormal { seed, .. } => (self.kind, self.seed) = (KindChoice::RandomNormal, *seed),
            PrefixKind::Words { text } => {
                self.kind = KindChoice::Words;
                self.words.clone_from(text);
            }
            _ => {}
        }
    }

    /// Bounds of the slider behind its stop at 0, in the unit in use.
    pub fn range(&self) -> std::ops::RangeInclusive<f64> {
        match self.unit {
            MagnitudeUnit::TokenNorms => Self::NORMS,
            MagnitudeUnit::Raw => Self::RAW,
        }
    }
}

/// Row norm of a recipe over its raw value: sqrt(H) for a constant and (in expectation) for normal values, sqrt(H/3)
/// for uniform ones; words have no raw value.
pub fn norm_per_raw(kind: &PrefixKind, hidden_size: usize) -> Option<f64> {
    let h = hidden_size as f64;
    match kind {
        PrefixKind::Constant | PrefixKind::RandomNormal { .. } => Some(h.sqrt()),
        PrefixKind::RandomUniform { .. } => Some((h / 3.0).sqrt()),
        _ => None,
    }
}

/// The prompt and how the output is drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PromptForm {
    pub system: String,
    pub user: String,
    /// Most output tokens.
    pub max_tokens: usize,
    pub sampling: Sampling,
    /// The preset that was loaded last, as an index into [`PRESETS`]; `None` once the text was edited.
    pub preset: Option<usize>,
}

impl Default for PromptForm {
    fn default() -> Self {
        let preset = &PRESETS[0];
        Self {
            system: preset.system.to_owned(),
            user: preset.user.to_owned(),
            max_tokens: 64,
            sampling: Sampling::Greedy,
            preset: Some(0),
        }
    }
}

/// How a token is drawn. Greedy is the default: the only one that tells a prefix from chance.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    #[default]
    Greedy,
    /// Among the `k` likeliest, at `temperature`; `seed` is used where the unit takes one.
    TopK { k: u32, temperature: f64, seed: u64 },
}

/// A prompt to begin with. The label is a key of the text tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// `preset.<key>` in the text tables.
    pub key: &'static str,
    pub system: &'static str,
    pub user: &'static str,
}

const HELPFUL: &str = "You are a helpful assistant. Answer in the language of the request.";

/// The presets, Japanese ones first.
pub const PRESETS: [Preset; 8] = [
    Preset {
        key: "spring_poem",
        system: HELPFUL,
        user: "「春の花を咲かせ」で始まる短い詩を書いてください。",
    },
    Preset {
        key: "letter",
        system: HELPFUL,
        user: "久しぶりの友人に送る手紙の書き出しを三文で書いてください。",
    },
    Preset {
        key: "tea",
        system: HELPFUL,
        user: "おいしい緑茶の淹れ方を、順を追って短く説明してください。",
    },
    Preset {
        key: "night_street",
        system: HELPFUL,
        user: "雨の夜の通りを、五感を使って描写してください。",
    },
    Preset {
        key: "short_reply",
        system: HELPFUL,
        user: "「明日の会議は延期になりました」への短い返事を書いてください。",
    },
    Preset {
        key: "story",
        system: HELPFUL,
        user: "Write the first three sentences of a story about a lighthouse keeper.",
    },
    Preset {
        key: "explain",
        system: HELPFUL,
        user: "Explain in three sentences why the sky is blue.",
    },
    Preset {
        key: "code",
        system: HELPFUL,
        user: "Write a Python function that returns the n-th Fibonacci number.",
    },
];

/// How many positions the request takes of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// P.
    pub prefix: usize,
    /// Tokens of the chat template and the system prompt.
    pub template: usize,
    /// Tokens of the user's text.
    pub prompt: usize,
    /// Most output tokens.
    pub output: usize,
    pub window: usize,
    /// Most positions before the first output token.
    pub prefill_window: usize,
    /// Whether the counts are those of the text on screen; while the person types they lag by a moment.
    pub current: bool,
}

impl Budget {
    /// Positions before the first output token.
    pub fn prefill(&self) -> usize {
        self.prefix + self.template + self.prompt
    }

    /// Positions left when everything asked for is used; negative where it does not fit.
    pub fn free(&self) -> i64 {
        self.window as i64 - (self.prefill() + self.output) as i64
    }

    /// Largest P that fits with this text. One output token needs no position of its own: it comes out of the last one.
    pub fn max_len(&self) -> usize {
        self.window
            .min(self.prefill_window)
            .saturating_sub(self.template + self.prompt)
            .max(1)
    }

    /// Whether at least one output token comes out.
    pub fn fits(&self) -> bool {
        self.prefill() <= self.window.min(self.prefill_window)
    }
}

/// What will be sent: the identity of the prefix that the controls describe.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PrefixCard {
    /// `None` until the first one was built; `Some(Err)` says why the recipe gives no prefix.
    pub built: Option<Result<BuiltPrefix, Problem>>,
    /// The controls have moved since; the new one is on its way.
    pub outdated: bool,
}

/// Facts about a prefix that was built.
#[derive(Debug, Clone, PartialEq)]
pub struct BuiltPrefix {
    pub len: usize,
    pub hidden_size: usize,
    /// Lower hex, of the bf16 bytes.
    pub sha256: String,
    pub norm_min: f64,
    pub norm_median: f64,
    pub norm_max: f64,
    /// Median row norm over the vocabulary's median, where that is known.
    pub norms: Option<f64>,
    /// Scale of the values, where the kind has one.
    pub raw: Option<f64>,
}

/// L2 norms of the model's embedding rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Vocabulary {
    pub rows: usize,
    pub hidden_size: usize,
    pub median: f64,
    /// (percentile, norm), ascending.
    pub percentiles: Vec<(u8, f64)>,
    pub max: f64,
    pub rms: f64,
    pub histogram: Histogram,
}

/// Counts over log10 of the norm in equal steps.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    pub log10_min: f64,
    pub log10_max: f64,
    pub counts: Vec<u64>,
}
