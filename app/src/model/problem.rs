//! A thing that went wrong, as the person is told it: what happened, and what to do next.
//!
//! It knows no transport and no widget. Whoever meets an error turns it into a [`Problem`] once, where it is met.

use std::fmt;

use super::{Language, Said};

/// What kind of thing went wrong: views choose a picture by it, and a translated headline where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// The module cannot be reached, or was lost.
    Connection,
    /// The module answered with an error, or not as the protocol says.
    Module,
    /// All places of the module are taken by tasks of former clients.
    TaskFull,
    /// The model is not there, is not usable, or could not be fetched.
    Model,
    /// What was asked for cannot be sent: prefix, window, empty prompt.
    Input,
    /// A file could not be read or written, or is not what it should be.
    File,
    /// A part of this program broke.
    Program,
}

/// What went wrong and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub kind: ProblemKind,
    /// What happened, to what.
    pub sentence: String,
    /// What to do next; may be empty where the sentence already says it.
    pub remedy: String,
    /// Both in Japanese, where they are known so.
    pub japanese: Option<(String, String)>,
}

impl Problem {
    /// A problem of `kind` with its two sentences.
    pub fn new(kind: ProblemKind, sentence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            kind,
            sentence: sentence.into(),
            remedy: remedy.into(),
            japanese: None,
        }
    }

    /// The same in Japanese.
    #[must_use]
    pub fn in_japanese(mut self, sentence: impl Into<String>, remedy: impl Into<String>) -> Self {
        self.japanese = Some((sentence.into(), remedy.into()));
        self
    }

    /// What happened and what to do, in a language where it is known in it, else in English.
    #[must_use]
    pub fn words(&self, language: Language) -> (&str, &str) {
        match (language, &self.japanese) {
            (Language::Japanese, Some((sentence, remedy))) => (sentence, remedy),
            _ => (&self.sentence, &self.remedy),
        }
    }

    /// Both sentences as one, in each language.
    #[must_use]
    pub fn said(&self) -> Said {
        Said {
            en: self.whole(Language::English),
            ja: self.whole(Language::Japanese),
        }
    }

    /// Both sentences as one.
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
