//! Requests for prefix files and for the details of a prefix, and their events.

use std::path::PathBuf;

use softprefix_core::prefix::{PrefixRecipe, PrefixSummary, Rounding};

use crate::model::{ExportForm, ImportedFile, Nearest, Problem, RefusedFile};

/// Requests from the workbench.
#[derive(Debug, Clone, PartialEq)]
pub enum MaterialRequest {
    /// Store imported prefixes in this folder from now on.
    UsePrefixStore { folder: PathBuf },
    /// Read a prefix file and store its rows. Rows of another width than `hidden_size` are refused.
    Import {
        path: PathBuf,
        hidden_size: Option<usize>,
        rounding: Rounding,
    },
    /// Write a prefix to a file.
    Export {
        path: PathBuf,
        form: ExportForm,
        recipe: PrefixRecipe,
        base_model: Option<String>,
    },
    /// Describe a prefix, with the tokens nearest to its rows.
    Identify { recipe: PrefixRecipe },
}

/// Events from the bridge.
#[derive(Debug)]
pub enum MaterialEvent {
    Imported {
        file: ImportedFile,
        /// L2 norms of its rows.
        norms: Vec<f64>,
    },
    Refused(RefusedFile),
    Exported(PathBuf),
    /// The file could not be written.
    Failed(Problem),
    Identified {
        recipe: PrefixRecipe,
        summary: Result<PrefixSummary, Problem>,
    },
    Nearest {
        recipe: PrefixRecipe,
        nearest: Nearest,
    },
}
