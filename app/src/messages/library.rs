//! The library of all experiments: listed, read, searched, changed, imported and exported.

use std::path::PathBuf;

use softprefix_core::experiment::{Entry, Past, Summary};

use crate::model::{Export, Problem};

/// What the workbench asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum LibraryRequest {
    /// Use the library in this folder, and take over the journal in which an older version kept everything.
    Open { folder: PathBuf, old: PathBuf },
    /// List what is there now.
    List,
    /// Read these experiments, to show the first and compare it with the others.
    Read(Vec<String>),
    /// Look for the experiments in which all these words occur.
    Find(String),
    /// Append a line to the experiment that it belongs to: a new name, a deletion.
    Append(Box<Entry>),
    /// Write an experiment to a file.
    Export { path: PathBuf, export: Box<Export> },
    /// Take a file into the library.
    Import { path: PathBuf },
}

/// What the bridge reports.
#[derive(Debug)]
pub enum LibraryEvent {
    /// What is there now, latest first, and what is wrong with some of it.
    Listed {
        experiments: Vec<Summary>,
        problems: Vec<Problem>,
    },
    /// The library cannot be used.
    Unusable(Problem),
    Read(Vec<Past>),
    /// Ids of the experiments in which the words occur, latest first.
    Found {
        query: String,
        ids: Vec<String>,
    },
    /// The line is in its journal.
    Appended(Box<Entry>),
    /// A file was taken in.
    Imported {
        path: PathBuf,
        past: Box<Past>,
    },
    Exported(PathBuf),
    Failed(Problem),
}
