//! Requests for scores by teacher forcing.

use std::sync::Arc;

use softprefix_core::client::ScoredText;
use softprefix_core::experiment::Record;
use softprefix_core::prefix::PrefixRecipe;

use super::PromptAndSettings;

/// Runs of one prompt that are to be scored against their baseline, together.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreRuns {
    pub input: PromptAndSettings,
    pub baseline: TextOf,
    /// At least one.
    pub runs: Vec<ScoredRun>,
}

/// A run that is to be scored.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredRun {
    /// Id of its record.
    pub record: String,
    pub recipe: PrefixRecipe,
    /// SHA-256 of the prefix that it was made with; empty if unknown.
    pub sha256: String,
    pub text: TextOf,
}

/// An output: its text, and its tokens if they are known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TextOf {
    pub text: Arc<str>,
    pub tokens: Option<Vec<u32>>,
}

impl TextOf {
    pub fn of(record: &Record) -> Self {
        let tokens = record.tokens();
        Self {
            text: record.output().into(),
            tokens: tokens.filter(|tokens| !tokens.is_empty()).map(<[u32]>::to_vec),
        }
    }

    /// Converts the text to the client's form.
    pub(crate) fn scored(&self) -> ScoredText {
        match &self.tokens {
            Some(tokens) => ScoredText::Tokens(tokens.clone()),
            None => ScoredText::Text(self.text.to_string()),
        }
    }
}
