//! Prefix files: imports, exports, and the details of a prefix.

use std::path::Path;

use serde::{Deserialize, Serialize};
use softprefix_core::prefix::files::{FileError, Format, Imported, Stored};
use softprefix_core::prefix::{Neighbour, Origin, PrefixRecipe, PrefixSummary, SoftPrefix};

use super::{Bilingual, Problem};

/// A file format for a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExportForm {
    Safetensors,
    /// A folder that PEFT loads as prompt tuning.
    Peft,
    Npy,
}

impl ExportForm {
    pub const ALL: [Self; 3] = [Self::Safetensors, Self::Peft, Self::Npy];

    /// The name of a file or folder of this form.
    pub fn file_name(self, stem: &str) -> String {
        match self {
            Self::Safetensors => format!("{stem}.safetensors"),
            Self::Peft => stem.to_owned(),
            Self::Npy => format!("{stem}.npy"),
        }
    }
}

/// Rows that were imported, learned or found; they are in the prefix store.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ImportedFile {
    /// Display name: the name given in the file, or the file's own name.
    pub name: String,
    /// SHA-256 of the rows as bf16.
    pub sha256: String,
    pub about: Option<FileAbout>,
    /// Where they come from.
    #[serde(flatten)]
    pub origin: Origin,
}

/// What a file says about itself; not known for a file that only a recipe of the history names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileAbout {
    pub rows: usize,
    pub hidden_size: usize,
    pub format: Format,
    pub stored: Stored,
    /// Whether every value was representable in bf16; otherwise values were rounded.
    pub exact: bool,
    /// The model that the file says it is made for.
    pub base_model: Option<String>,
}

impl ImportedFile {
    /// Creates an imported file that is known from a recipe alone.
    pub fn known_by(name: &str, sha256: &str, origin: Origin) -> Self {
        Self {
            name: name.to_owned(),
            sha256: sha256.to_owned(),
            about: None,
            origin,
        }
    }

    /// Creates the file of rows that were learned, chosen or searched for here.
    pub fn found(name: String, rows: &SoftPrefix, origin: Origin) -> Self {
        Self {
            name,
            sha256: rows.sha256(),
            about: Some(FileAbout {
                rows: rows.len(),
                hidden_size: rows.hidden_size(),
                format: Format::Safetensors,
                stored: Stored::Bf16,
                exact: true,
                base_model: origin.model().map(str::to_owned),
            }),
            origin,
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
            origin: imported.origin.clone(),
        }
    }
}

/// A file that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedFile {
    pub why: Refusal,
    /// The full reason.
    pub sentence: Bilingual,
}

/// Why a file was refused, for the headline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    Pickle,
    PrefixTuning,
    OtherAdapter,
    /// Made for a model of another width.
    OtherWidth,
    /// Not a prefix file, or a damaged one.
    NoPrefix,
    /// It contains values that a prefix cannot have.
    BadValues,
    TooLarge,
    Unreadable,
    /// It was read, but its rows could not be saved.
    NotSaved,
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
        Self::NotSaved,
    ];

    pub fn of(error: &FileError) -> Self {
        match error {
            FileError::Pickle { .. } => Self::Pickle,
            FileError::PrefixTuning { .. } => Self::PrefixTuning,
            FileError::OtherAdapter { .. } | FileError::MoreThanRows { .. } | FileError::EncoderDecoder { .. } => {
                Self::OtherAdapter
            }
            FileError::WrongWidth { .. } | FileError::Transposed { .. } => Self::OtherWidth,
            FileError::Rows { .. } => Self::BadValues,
            FileError::TooLarge { .. } | FileError::TooLong { .. } | FileError::Bomb { .. } => Self::TooLarge,
            FileError::Unreadable { .. } => Self::Unreadable,
            FileError::Unwritable { .. } => Self::NotSaved,
            FileError::UnknownKind { .. }
            | FileError::LfsPointer { .. }
            | FileError::NotPeft { .. }
            | FileError::PackedFolder { .. }
            | FileError::SeveralAdapters { .. }
            | FileError::Malformed { .. }
            | FileError::NotOneTable { .. }
            | FileError::WrongType { .. }
            | FileError::UnclearWords { .. }
            | FileError::Disagrees { .. } => Self::NoPrefix,
        }
    }
}

/// Content of the sheet "About this prefix".
#[derive(Debug, Clone, PartialEq)]
pub struct PrefixSheet {
    pub recipe: PrefixRecipe,
    /// `None` while the prefix is being built.
    pub summary: Option<Result<PrefixSummary, Problem>>,
    pub nearest: Nearest,
}

/// The tokens nearest to the rows of a prefix.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Nearest {
    /// Requested.
    #[default]
    Pending,
    /// The neighbours of each row, nearest first; none for a row of zeros.
    Known(Vec<Vec<Neighbour>>),
    /// The module's unit does not support the request.
    Unsupported,
    Failed(Problem),
}

/// Returns a reason without the folders of `path`: the file name says which file is meant.
pub fn without_folders(sentence: &str, path: &Path) -> String {
    match path.parent().map(|folder| folder.display().to_string()) {
        Some(folder) if !folder.is_empty() => sentence.replace(&format!("{}{}", folder, std::path::MAIN_SEPARATOR), ""),
        _ => sentence.to_owned(),
    }
}
