//! What the person edits: the prompt and how to sample; and what follows from prompt and prefix (budget, card).
//!
//! It knows no widget. Nothing here waits: what needs a module or more than a millisecond arrives later, as an event.

use serde::{Deserialize, Serialize};
use softprefix_core::experiment::{PrefixIdentity, Prompt, Settings};
use softprefix_core::protocol;

use super::Problem;

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

impl PromptForm {
    /// What is put to the model.
    pub fn prompt(&self) -> Prompt {
        Prompt {
            system: self.system.clone(),
            user: self.user.clone(),
        }
    }

    /// How inferences are run.
    pub fn settings(&self) -> Settings {
        self.sampling.settings(self.max_tokens)
    }
}

impl Sampling {
    /// The settings of a run with at most so many output tokens.
    pub fn settings(self, max_new_tokens: usize) -> Settings {
        let sampling = match self {
            Self::Greedy => protocol::Sampling::default(),
            Self::TopK { k, temperature, seed } => protocol::Sampling {
                temperature: Some(temperature),
                top_k: Some(k),
                seed: Some(seed),
                ..protocol::Sampling::default()
            },
        };
        Settings::new(max_new_tokens, &sampling)
    }

    /// The sampling of a run's settings; `None` where these controls cannot show it.
    pub fn of(settings: &Settings) -> Option<Self> {
        let sampling = settings.sampling().ok()?.unwrap_or_default();
        match sampling {
            protocol::Sampling {
                top_p: None,
                repetition_penalty: None,
                top_k: Some(k),
                temperature,
                seed,
            } => Some(Self::TopK {
                k,
                temperature: temperature.unwrap_or(1.0),
                seed: seed.unwrap_or_default(),
            }),
            protocol::Sampling {
                top_p: None,
                repetition_penalty: None,
                top_k: None,
                temperature: None,
                ..
            } => Some(Self::Greedy),
            _ => None,
        }
    }
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
    pub built: Option<Result<PrefixIdentity, Problem>>,
    /// The controls have moved since; the new one is on its way.
    pub outdated: bool,
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

/// Why `Run` is off, for the words beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WhyNot {
    NotConnected,
    StillConnecting,
    EmptyPrompt,
    /// A text that the prefix is made of is missing.
    NoWords,
    /// The two texts of a contrast are the same.
    SameTexts,
    /// No file was imported yet.
    NoPrefixFile,
    DoesNotFit,
    /// The module answers one inference at a time.
    OneAtATime,
    /// The prefix keeps the size that its rows have.
    NoMagnitude,
    /// A recording or an exhibition is under way.
    Recording,
    /// Every magnitude of the curve has its run.
    Filled,
}
