//! What can be asked about a text: the model is led through it, without and with prefixes. It knows no module.

use crate::prefix::SoftPrefix;

/// What is to be scored.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreRequest {
    /// The user's text; the task's template goes around it.
    pub prompt: String,
    /// The answer through which the model is led.
    pub text: ScoredText,
    /// A prefix for the base itself, to compare prefixes with one another; `None`: the base has none.
    pub against: Option<SoftPrefix>,
    /// Those to be compared with the base; without any, only the base is scored (its perplexity).
    pub prefixes: Vec<SoftPrefix>,
    /// How many of the likeliest tokens are told at each place.
    pub top: usize,
}

/// An answer as text or, surer, as the tokens that were given.
#[derive(Debug, Clone, PartialEq)]
pub enum ScoredText {
    /// Text, which the unit tokenises as plain characters: special tokens in it are not recognised.
    Text(String),
    /// Token ids of the model, as [`Outcome::tokens`](super::Outcome::tokens) gives them.
    Tokens(Vec<u32>),
}

impl ScoreRequest {
    /// The base alone, without alternatives.
    pub fn new(prompt: impl Into<String>, text: ScoredText) -> Self {
        Self {
            prompt: prompt.into(),
            text,
            against: None,
            prefixes: Vec::new(),
            top: 0,
        }
    }

    /// Adds prefixes to compare with the base.
    #[must_use]
    pub fn prefixes(mut self, prefixes: impl IntoIterator<Item = SoftPrefix>) -> Self {
        self.prefixes.extend(prefixes);
        self
    }

    /// Gives the base a prefix.
    #[must_use]
    pub fn against(mut self, prefix: SoftPrefix) -> Self {
        self.against = Some(prefix);
        self
    }

    /// Asks for the `top` likeliest tokens at each position.
    #[must_use]
    pub fn top(mut self, top: usize) -> Self {
        self.top = top;
        self
    }
}
