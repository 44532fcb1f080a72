//! A sentence in both languages.

use serde::Serialize;

use super::Language;

/// A sentence in English and Japanese.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Said {
    pub en: String,
    pub ja: String,
}

/// For text that is the same in both languages: a path, a number, a module's message.
impl From<String> for Said {
    fn from(text: String) -> Self {
        Self {
            en: text.clone(),
            ja: text,
        }
    }
}

impl From<&str> for Said {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl Said {
    /// Creates a sentence from its two forms.
    pub fn new(en: impl Into<String>, ja: impl Into<String>) -> Self {
        Self {
            en: en.into(),
            ja: ja.into(),
        }
    }

    /// Returns the sentence in `language`.
    #[must_use]
    pub fn get(&self, language: Language) -> &str {
        match language {
            Language::English => &self.en,
            Language::Japanese => &self.ja,
        }
    }
}

/// `bilingual!("{n} found", "{n} 個あります")` formats both with the same inline arguments.
macro_rules! said {
    ($en:literal, $ja:literal) => {
        $crate::model::Said {
            en: format!($en),
            ja: format!($ja),
        }
    };
}
pub(crate) use said;
