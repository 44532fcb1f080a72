//! Files of prefixes, and what is known of a prefix.

use std::path::Path;

use serde::{Deserialize, Serialize};
use softprefix_core::prefix::files::{FileError, Format, Imported, Stored};
use softprefix_core::prefix::{IdentityCard, Neighbour, PrefixRecipe};

use super::Problem;

/// A form in which a prefix leaves the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExportForm {
    /// A folder that PEFT loads as prompt tuning.
    Peft,
    Npy,
}

impl ExportForm {
    pub const ALL: [Self; 2] = [Self::Peft, Self::Npy];
}

/// A file that was imported; its rows are in the prefix store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImportedFile {
    /// For people: the name in the file, or the file's own.
    pub name: String,
    /// Of the rows as bf16.
    pub sha256: String,
    pub about: Option<FileAbout>,
}

/// What a file says of itself; not known where a recipe of the history named it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileAbout {
    pub rows: usize,
    pub hidden_size: usize,
    pub format: Format,
    pub stored: Stored,
    /// Whether every value survived as it was; otherwise they were rounded to bf16.
    pub exact: bool,
    /// The model that it is said to be made for.
    pub base_model: Option<String>,
}

impl ImportedFile {
    /// A file of which only a recipe tells.
    pub fn known_by(name: &str, sha256: &str) -> Self {
        Self {
            name: name.to_owned(),
            sha256: sha256.to_owned(),
            about: None,
        }
    }
}

impl From<&Imported> for ImportedFile {
    fn from(imported: &Imported) -> Self {
        Self {
            name: imported.name.clone(),
            sha256: imported.prefix.sha256(),
            about: Some(FileAbout {
                rows: imported.prefix.len(),
                hidden_size: imported.prefix.hidden_size(),
                format: imported.format,
                stored: imported.stored,
                exact: imported.exact,
                base_model: imported.base_model.clone(),
            }),
        }
    }
}

/// A file that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedFile {
    pub why: Refusal,
    /// The whole reason.
    pub sentence: String,
}

/// Why a file was not taken, as far as headlines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    Pickle,
    PrefixTuning,
    OtherAdapter,
    /// Made for a model of another width.
    OtherWidth,
    /// No file of a prefix at all, or a damaged one.
    NoPrefix,
    /// It holds values that no prefix may have.
    BadValues,
    TooLarge,
    Unreadable,
    /// It could be read, but its rows could not be kept.
    NotKept,
}

impl Refusal {
    pub const ALL: [Self; 9] = [
        Self::Pickle,
        Self::PrefixTuning,
        Self::OtherAdapter,
        Self::OtherWidth,
        Self::NoPrefix,
        Self::BadValues,
        Self::TooLarge,
        Self::Unreadable,
        Self::NotKept,
    ];

    pub fn of(error: &FileError) -> Self {
        match error {
            FileError::Pickle { .. } => Self::Pickle,
            FileError::PrefixTuning { .. } => Self::PrefixTuning,
            FileError::OtherAdapter { .. } | FileError::EncoderDecoder { .. } => Self::OtherAdapter,
            FileError::WrongWidth { .. } => Self::OtherWidth,
            FileError::Rows { .. } => Self::BadValues,
            FileError::TooLarge { .. } | FileError::TooLong { .. } | FileError::Bomb { .. } => Self::TooLarge,
            FileError::Unreadable { .. } => Self::Unreadable,
            FileError::Unwritable { .. } => Self::NotKept,
            FileError::UnknownKind { .. }
            | FileError::NotPeft { .. }
            | FileError::SeveralAdapters { .. }
            | FileError::Malformed { .. }
            | FileError::NotOneTable { .. }
            | FileError::WrongType { .. }
            | FileError::Disagrees { .. } => Self::NoPrefix,
        }
    }
}

/// What the sheet "what this prefix is" shows.
#[derive(Debug, Clone, PartialEq)]
pub struct PrefixSheet {
    pub recipe: PrefixRecipe,
    /// `None` while it is being built.
    pub card: Option<Result<IdentityCard, Problem>>,
    pub nearest: Nearest,
}

/// The tokens nearest to the rows of a prefix.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Nearest {
    /// Asked for.
    #[default]
    Pending,
    /// For each row, the nearest first; none for a row of zeros.
    Known(Vec<Vec<Neighbour>>),
    /// This module's unit cannot tell.
    NotTold,
    Failed(Problem),
}

/// A reason without the folders of `path` in it: the name of the file says which one is meant.
pub fn without_folders(sentence: &str, path: &Path) -> String {
    match path.parent().map(|folder| folder.display().to_string()) {
        Some(folder) if !folder.is_empty() => sentence.replace(&format!("{}{}", folder, std::path::MAIN_SEPARATOR), ""),
        _ => sentence.to_owned(),
    }
}
