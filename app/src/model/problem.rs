//! A [`Problem`]: what went wrong and what to do next, as shown to the user. Errors are converted to one where they
//! occur.

use std::fmt;

use super::{Bilingual, Language};

/// Category of a problem; views choose an icon and a headline by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// The module cannot be reached, or the connection was lost.
    Connection,
    /// The module answered with an error or in violation of the protocol.
    Module,
    /// All task slots of the module are taken by tasks of earlier clients.
    TaskFull,
    /// The model is missing, unusable, or could not be downloaded.
    Model,
    /// The request is invalid: prefix, context window, empty prompt.
    Input,
    /// A file could not be read or written, or has the wrong content.
    File,
    /// A part of this program failed.
    Program,
}

/// What went wrong and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub kind: ProblemKind,
    /// What happened, and to what.
    pub sentence: Bilingual,
    /// What to do next; may be empty where the sentence already says it.
    pub remedy: Bilingual,
}

impl Problem {
    /// Creates a problem with its two sentences.
    pub fn new(kind: ProblemKind, sentence: impl Into<Bilingual>, remedy: impl Into<Bilingual>) -> Self {
        Self {
            kind,
            sentence: sentence.into(),
            remedy: remedy.into(),
        }
    }

    /// Returns sentence and remedy in `language`.
    #[must_use]
    pub fn words(&self, language: Language) -> (&str, &str) {
        (self.sentence.get(language), self.remedy.get(language))
    }

    /// Returns both sentences joined, in each language.
    #[must_use]
    pub fn sentence(&self) -> Bilingual {
        Bilingual {
            en: self.whole(Language::English),
            ja: self.whole(Language::Japanese),
        }
    }

    /// Returns both sentences joined.
    #[must_use]
    pub fn whole(&self, language: Language) -> String {
        let (sentence, remedy) = self.words(language);
        let between = if remedy.is_empty() || sentence.ends_with('。') {
            ""
        } else {
            " "
        };
        format!("{sentence}{between}{remedy}")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.whole(Language::English))
    }
}
