//! Requests to score a text by teacher forcing, without and with prefixes.

use crate::prefix::SoftPrefix;

/// A text to be scored by teacher forcing: the probability of each of its tokens after those before it.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreRequest {
    /// The user's text; the task's template goes around it.
    pub prompt: String,
    /// The answer whose tokens are scored.
    pub text: ScoredText,
    /// The prefix of the reference, to compare prefixes with one another; with `None` the reference is the text without a prefix.
    pub reference_prefix: Option<SoftPrefix>,
    /// Prefixes to compare with the reference; if empty, only the reference is scored.
    pub prefixes: Vec<SoftPrefix>,
    /// Number of the likeliest tokens in the reply at each position.
    pub top: usize,
}

/// An answer to score. Prefer tokens: a text may be tokenised differently than the model produced it.
#[derive(Debug, Clone, PartialEq)]
pub enum ScoredText {
    /// Text, which the unit tokenises as plain characters: special tokens in it are not recognised.
    Text(String),
    /// Token ids of the model, as [`Outcome::tokens`](super::Outcome::tokens) gives them.
    Tokens(Vec<u32>),
}

impl ScoreRequest {
    /// A request to score the reference alone, without alternatives.
    pub fn new(prompt: impl Into<String>, text: ScoredText) -> Self {
        Self {
            prompt: prompt.into(),
            text,
            reference_prefix: None,
            prefixes: Vec::new(),
            top: 0,
        }
    }

    /// Adds prefixes to compare with the reference.
    #[must_use]
    pub fn prefixes(mut self, prefixes: impl IntoIterator<Item = SoftPrefix>) -> Self {
        self.prefixes.extend(prefixes);
        self
    }

    /// Gives the reference a prefix.
    #[must_use]
    pub fn reference_prefix(mut self, prefix: SoftPrefix) -> Self {
        self.reference_prefix = Some(prefix);
        self
    }

    /// Asks for the `top` likeliest tokens at each position.
    #[must_use]
    pub fn top(mut self, top: usize) -> Self {
        self.top = top;
        self
    }
}
