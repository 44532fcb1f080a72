//! A sentence in both languages.

use serde::Serialize;

use super::Language;

/// A sentence in English and Japanese.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bilingual {
    pub en: String,
    pub ja: String,
}

/// For text that is the same in both languages: a path, a number, a module's message.
impl From<String> for Bilingual {
    fn from(text: String) -> Self {
        Self {
            en: text.clone(),
            ja: text,
        }
    }
}

impl From<&str> for Bilingual {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl Bilingual {
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
macro_rules! bilingual {
    ($en:literal, $ja:literal) => {
        $crate::model::Bilingual {
            en: format!($en),
            ja: format!($ja),
        }
    };
}
pub(crate) use bilingual;
