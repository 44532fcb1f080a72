//! The languages of the program, and texts in each of them.

use serde::{Deserialize, Serialize};

/// A language of labels and sentences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// `lang="en"`.
    #[default]
    English,
    /// `lang="ja"`.
    Japanese,
}

impl Language {
    /// All languages.
    pub const ALL: [Self; 2] = [Self::English, Self::Japanese];

    /// The name of the language in that language.
    pub fn name(self) -> &'static str {
        self.pick("English", "日本語")
    }

    /// The language of the environment: of the first of `LC_ALL`, `LC_MESSAGES` and `LANG` that is not empty.
    pub fn of_environment() -> Self {
        let locale = ["LC_ALL", "LC_MESSAGES", "LANG"]
            .into_iter()
            .filter_map(std::env::var_os)
            .find(|value| !value.is_empty())
            .unwrap_or_default();
        if locale.to_string_lossy().starts_with("ja") {
            Self::Japanese
        } else {
            Self::English
        }
    }

    /// The value of this language.
    pub fn pick<T>(self, english: T, japanese: T) -> T {
        match self {
            Self::English => english,
            Self::Japanese => japanese,
        }
    }
}

/// A text in English and Japanese; a `Bilingual<&str>` is a name, a `Bilingual<String>` a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bilingual<T = String> {
    /// English.
    pub en: T,
    /// Japanese.
    pub ja: T,
}

/// A name in both languages.
pub const fn term(en: &'static str, ja: &'static str) -> Bilingual<&'static str> {
    Bilingual { en, ja }
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
    /// A sentence from its two forms.
    pub fn new(en: impl Into<String>, ja: impl Into<String>) -> Self {
        Self {
            en: en.into(),
            ja: ja.into(),
        }
    }

    /// The text in `language`.
    pub fn get(&self, language: Language) -> &str {
        language.pick(&self.en, &self.ja)
    }
}

impl Bilingual<&'static str> {
    /// The text in `language`.
    pub fn get(self, language: Language) -> &'static str {
        language.pick(self.en, self.ja)
    }
}

/// `bilingual!("{n} found", "{n} 個あります")` formats both with the same inline arguments.
#[macro_export]
macro_rules! bilingual {
    ($en:literal, $ja:literal) => {
        $crate::language::Bilingual {
            en: ::std::format!($en),
            ja: ::std::format!($ja),
        }
    };
}
