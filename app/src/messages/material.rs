//! Files of prefixes, and what a prefix is.

use std::path::PathBuf;

use softprefix_core::prefix::{IdentityCard, PrefixRecipe, Rounding};

use crate::model::{ExportForm, ImportedFile, Nearest, Problem, RefusedFile};

/// What the workbench asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum MaterialRequest {
    /// Keep imported prefixes in this folder from now on.
    UsePrefixStore { folder: PathBuf },
    /// Read the file of a prefix and keep its rows. Rows of another width than `hidden_size` are refused.
    Import {
        path: PathBuf,
        hidden_size: Option<usize>,
        rounding: Rounding,
    },
    /// Write a prefix.
    Export {
        path: PathBuf,
        form: ExportForm,
        recipe: PrefixRecipe,
        base_model: Option<String>,
    },
    /// Tell what a prefix is, and which tokens are nearest to its rows.
    Identify { recipe: PrefixRecipe },
}

/// What the bridge reports.
#[derive(Debug)]
pub enum MaterialEvent {
    Imported(ImportedFile),
    Refused(RefusedFile),
    Exported(PathBuf),
    /// It could not be written.
    Failed(Problem),
    Identified {
        recipe: PrefixRecipe,
        card: Result<IdentityCard, Problem>,
    },
    Nearest {
        recipe: PrefixRecipe,
        nearest: Nearest,
    },
}
