//! What the user edits (the prompt and the sampling settings) and what follows from it (the token budget, the prefix
//! card).
//!
//! Nothing here blocks: whatever needs a module or takes more than a millisecond arrives later as an event.

use serde::{Deserialize, Serialize};
use softprefix_core::experiment::{PrefixIdentity, Prompt, Settings};
use softprefix_core::language::{Bilingual, term};
use softprefix_core::protocol;

use super::{Language, Problem};

/// The prompt and the sampling settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PromptForm {
    pub system: String,
    pub user: String,
    /// Maximum number of output tokens.
    pub max_tokens: usize,
    pub sampling: Sampling,
}

impl Default for PromptForm {
    fn default() -> Self {
        Self::of_first_start(Language::Japanese)
    }
}

impl PromptForm {
    /// Returns the first preset in this language: a person should be able to read what the model answers.
    pub fn of_first_start(language: Language) -> Self {
        let is_in = |preset: &Preset| preset.user.is_ascii() == language.pick(true, false);
        let preset = PRESETS.iter().find(|preset| is_in(preset)).unwrap_or(&PRESETS[0]);
        Self {
            system: preset.system.to_owned(),
            user: preset.user.to_owned(),
            max_tokens: 64,
            sampling: Sampling::Greedy,
        }
    }

    /// Returns the index into [`PRESETS`] of the preset with this prompt, however the prompt was entered; `None` for any other text.
    pub fn preset(&self) -> Option<usize> {
        PRESETS
            .iter()
            .position(|preset| preset.user == self.user && preset.system == self.system)
    }
}

/// How output tokens are sampled. Greedy is the default, since only then a change of the output is due to the prefix
/// alone.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    #[default]
    Greedy,
    /// Samples among the `k` most likely tokens at `temperature`; `seed` is used where the unit supports one.
    TopK { k: u32, temperature: f64, seed: u64 },
}

impl PromptForm {
    /// Returns the prompt in the form of plans and records.
    pub fn prompt(&self) -> Prompt {
        Prompt {
            system: self.system.clone(),
            user: self.user.clone(),
        }
    }

    /// Returns the settings for an inference.
    pub fn settings(&self) -> Settings {
        self.sampling.settings(self.max_tokens)
    }
}

impl Sampling {
    /// Returns the settings for a run with at most `max_new_tokens` output tokens.
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

    /// Returns the sampling of a run's settings; `None` where these controls cannot show it.
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

/// A ready-made prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    title: Bilingual<&'static str>,
    pub system: &'static str,
    pub user: &'static str,
}

impl Preset {
    /// The preset with this prompt, if there is one.
    #[must_use]
    pub fn of(prompt: &Prompt) -> Option<&'static Self> {
        PRESETS
            .iter()
            .find(|preset| preset.user == prompt.user && preset.system == prompt.system)
    }

    /// Returns its title.
    #[must_use]
    pub fn title(&self, language: Language) -> &'static str {
        self.title.get(language)
    }
}

const HELPFUL: &str = "You are a helpful assistant. Answer in the language of the request.";

/// The presets, Japanese ones first.
pub const PRESETS: [Preset; 8] = [
    Preset {
        title: term("Spring poem", "春の花の詩"),
        system: HELPFUL,
        user: "「春の花を咲かせ」で始まる短い詩を書いてください。",
    },
    Preset {
        title: term("Letter opening", "手紙の書き出し"),
        system: HELPFUL,
        user: "久しぶりの友人に送る手紙の書き出しを三文で書いてください。",
    },
    Preset {
        title: term("Tea recipe", "お茶の淹れ方"),
        system: HELPFUL,
        user: "おいしい緑茶の淹れ方を、順を追って短く説明してください。",
    },
    Preset {
        title: term("Street at night", "夜の通り"),
        system: HELPFUL,
        user: "雨の夜の通りを、五感を使って描写してください。",
    },
    Preset {
        title: term("Short reply", "短い返事"),
        system: HELPFUL,
        user: "「明日の会議は延期になりました」への短い返事を書いてください。",
    },
    Preset {
        title: term("Lighthouse story", "灯台の物語（英語）"),
        system: HELPFUL,
        user: "Write the first three sentences of a story about a lighthouse keeper.",
    },
    Preset {
        title: term("Blue sky", "空の青さ（英語）"),
        system: HELPFUL,
        user: "Explain in three sentences why the sky is blue.",
    },
    Preset {
        title: term("Python code", "Python コード（英語）"),
        system: HELPFUL,
        user: "Write a Python function that returns the n-th Fibonacci number.",
    },
];

/// How many positions of the context window a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WindowUse {
    /// Rows of the prefix (P).
    pub prefix: usize,
    /// Tokens of the chat template and the system prompt.
    pub template: usize,
    /// Tokens of the user's text.
    pub prompt: usize,
    /// Maximum number of output tokens.
    pub output: usize,
    pub window: usize,
    /// Maximum number of positions before the first output token.
    pub prefill_window: usize,
    /// Whether the counts belong to the text on screen; they lag behind for a moment while the user types.
    pub current: bool,
}

impl WindowUse {
    /// Returns the number of positions before the first output token.
    pub fn prefill(&self) -> usize {
        self.prefix + self.template + self.prompt
    }

    /// Returns the number of unused positions; negative if the request does not fit.
    pub fn free(&self) -> i64 {
        self.window as i64 - (self.prefill() + self.output) as i64
    }

    /// Returns the largest P that fits with this text. The last of the prompt's positions yields the first output
    /// token, so that one output token needs no position of its own.
    pub fn max_len(&self) -> usize {
        self.window
            .min(self.prefill_window)
            .saturating_sub(self.template + self.prompt)
            .max(1)
    }

    /// Returns whether there is room for at least one output token.
    pub fn fits(&self) -> bool {
        self.prefill() <= self.window.min(self.prefill_window)
    }
}

/// The prefix that the next run would send: the one that the controls describe.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NextPrefix {
    /// `None` until the first prefix was built; `Some(Err)` if the recipe gives no prefix, with the reason.
    pub built: Option<Result<PrefixIdentity, Problem>>,
    /// The controls have changed since; the new prefix is being built.
    pub stale: bool,
}

/// L2 norms of the model's embedding rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vocabulary {
    pub rows: usize,
    pub hidden_size: usize,
    pub median: f64,
    /// Pairs of (percentile, norm), ascending.
    pub percentiles: Vec<(u8, f64)>,
    pub max: f64,
    pub rms: f64,
    #[serde(flatten)]
    pub histogram: Histogram,
}

/// Counts over log10 of the norm, in bins of equal width.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Histogram {
    pub log10_min: f64,
    pub log10_max: f64,
    pub counts: Vec<u64>,
}

/// Why the Run button is disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unavailable {
    NotConnected,
    StillConnecting,
    EmptyPrompt,
    /// A text that the prefix is made of is empty.
    NoWords,
    /// The two texts of a contrast are equal.
    SameTexts,
    /// No prefix file was imported yet.
    NoPrefixFile,
    /// A field holds a text that is no valid number.
    WrongField,
    DoesNotFit,
    /// The module runs one inference at a time.
    OneAtATime,
    /// The rows keep their own size, so that there is no magnitude to vary.
    NoMagnitude,
    /// A recording or an exhibition is running.
    Recording,
    /// Every magnitude of the curve has been run.
    Filled,
}
