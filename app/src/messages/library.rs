//! Requests to the library of all experiments: list, read, search, change, import and export; and its events.

use std::path::PathBuf;

use softprefix_core::experiment::{Entry, SavedExperiment, Summary};

use crate::model::{Export, Problem};

/// Requests from the workbench.
#[derive(Debug, Clone, PartialEq)]
pub enum LibraryRequest {
    /// Open the library in this folder, and import the journal in which an older version saved everything.
    Open { folder: PathBuf, old: PathBuf },
    /// List the experiments.
    List,
    /// Read these experiments, to show the first and compare it with the others.
    Read(Vec<String>),
    /// Find the experiments that contain all these words.
    SearchTexts(String),
    /// Append a line to the journal of its experiment: a new name, a deletion.
    Append(Box<Entry>),
    /// Write an experiment to a file.
    Export { path: PathBuf, export: Box<Export> },
    /// Import a file into the library.
    Import { path: PathBuf },
    /// Read the example experiment that is part of the program; the first time it is added to the library.
    OpenExample,
}

/// Events from the bridge.
#[derive(Debug)]
pub enum LibraryEvent {
    /// The experiments, latest first, and the damage found in some of them.
    Listed {
        experiments: Vec<Summary>,
        problems: Vec<Problem>,
    },
    /// The library cannot be used.
    Unusable(Problem),
    Read(Vec<SavedExperiment>),
    /// Ids of the experiments that contain the words, latest first.
    Found {
        query: String,
        ids: Vec<String>,
    },
    /// The line was appended.
    Appended(Box<Entry>),
    /// A file, or the example, is in the library now: an experiment, with the same plan on another module if the file has both.
    Imported {
        path: PathBuf,
        experiments: Vec<SavedExperiment>,
    },
    Exported(PathBuf),
    Failed(Problem),
}
