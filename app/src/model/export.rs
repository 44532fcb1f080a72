//! The file formats in which experiments and plots are exported.

use softprefix_core::experiment::drawing::Drawing;
use softprefix_core::experiment::{Experiment, Record};

use super::Language;

/// A file format for an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// An HTML report to read, print and share.
    Html,
    Csv,
    /// The whole experiment as JSON; can be imported again.
    Json,
    /// A results file in the format of existing comparison scripts.
    Results,
    /// A file for the LLM Comparator page.
    LlmComparator,
}

impl Format {
    pub const ALL: [Self; 5] = [Self::Html, Self::Csv, Self::Json, Self::Results, Self::LlmComparator];

    /// Returns what file names in this format end with.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Html => ".html",
            Self::Csv => ".csv",
            Self::Json => ".json",
            Self::Results => "-compare_results.json",
            Self::LlmComparator => "-llm_comparator.json",
        }
    }

    /// Returns the extension for the filter of a file dialog.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Csv => "csv",
            Self::Json | Self::Results | Self::LlmComparator => "json",
        }
    }
}

/// A plot to be saved.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// File name without an extension.
    pub stem: String,
    pub drawing: Drawing,
}

/// An experiment to be exported.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    pub format: Format,
    pub experiment: Experiment,
    pub records: Vec<Record>,
    /// Index of the prompt whose results file is written.
    pub prompt: usize,
    pub language: Language,
}
