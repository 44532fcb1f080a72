//! The result of a check: text for the user, in both languages, and the remedy.

use serde::Serialize;
use softprefix_core::language::term;

use super::remedy::Remedy;
use crate::model::{Bilingual, bilingual};

/// The result of a check, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Broken,
    Warning,
    NotChecked,
    Good,
}

impl Verdict {
    /// The name that is shown beside the check.
    #[must_use]
    pub const fn name(self) -> Bilingual<&'static str> {
        match self {
            Self::Broken => term("broken", "異常"),
            Self::Warning => term("warning", "要確認"),
            Self::NotChecked => term("not checked", "確認できず"),
            Self::Good => term("good", "正常"),
        }
    }
}

/// One line of detail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    pub label: Bilingual,
    pub value: Bilingual,
    /// Whether this line is the cause of the problem.
    pub wrong: bool,
}

/// The result of one check.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// Stable id: `libstdcxx`, `service`, …
    pub id: &'static str,
    /// Section of the set-up guide: `3`, `1.2`.
    pub section: &'static str,
    pub verdict: Verdict,
    /// The headline: the state that was found.
    pub title: Bilingual,
    /// What was checked, and what the result means.
    pub text: Bilingual,
    pub facts: Vec<Fact>,
    pub remedy: Option<Remedy>,
}

impl Finding {
    #[must_use]
    pub fn new(id: &'static str, section: &'static str, verdict: Verdict, title: Bilingual, text: Bilingual) -> Self {
        Self {
            id,
            section,
            verdict,
            title,
            text,
            facts: Vec::new(),
            remedy: None,
        }
    }

    /// Creates the finding of a check that could not be made, with the reason.
    #[must_use]
    pub fn not_checked(id: &'static str, section: &'static str, why: Bilingual) -> Self {
        let title = bilingual!("This could not be checked", "確認できませんでした");
        Self::new(id, section, Verdict::NotChecked, title, why)
    }

    /// Appends a line of detail.
    #[must_use]
    pub fn fact(mut self, label: Bilingual, value: impl Into<Bilingual>) -> Self {
        self.facts.push(Fact {
            label,
            value: value.into(),
            wrong: false,
        });
        self
    }

    /// Appends a line of detail that is the cause of the problem.
    #[must_use]
    pub fn wrong_fact(self, label: Bilingual, value: impl Into<Bilingual>) -> Self {
        self.fact(label, value).wrong_if(true)
    }

    /// Sets whether the last line is the cause of the problem.
    #[must_use]
    pub fn wrong_if(mut self, wrong: bool) -> Self {
        if let Some(fact) = self.facts.last_mut() {
            fact.wrong = wrong;
        }
        self
    }

    /// Sets the remedy.
    #[must_use]
    pub fn with_remedy(mut self, remedy: Remedy) -> Self {
        self.remedy = Some(remedy);
        self
    }
}
