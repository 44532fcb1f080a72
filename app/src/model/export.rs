//! The forms in which work leaves the program.

use softprefix_core::experiment::drawing::Drawing;
use softprefix_core::experiment::{Experiment, Record, export, html};

use super::Language;

/// A form in which an experiment leaves the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// A page to read, print and send.
    Html,
    Csv,
    /// Everything, to be read again.
    Json,
    /// What existing scripts read.
    Results,
    /// For the LLM Comparator page.
    LlmComparator,
}

impl Format {
    pub const ALL: [Self; 5] = [Self::Html, Self::Csv, Self::Json, Self::Results, Self::LlmComparator];

    /// What its files' names end with.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Html => ".html",
            Self::Csv => ".csv",
            Self::Json => ".json",
            Self::Results => "-compare_results.json",
            Self::LlmComparator => "-llm_comparator.json",
        }
    }

    /// The ending that a file dialog filters by.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Csv => "csv",
            Self::Json | Self::Results | Self::LlmComparator => "json",
        }
    }

    /// An experiment in this form; `prompt` is its place among the experiment's where the form holds one only.
    pub fn write(self, experiment: &Experiment, records: &[Record], prompt: usize, language: Language) -> String {
        match self {
            Self::Html => {
                let language = match language {
                    Language::English => html::Language::English,
                    Language::Japanese => html::Language::Japanese,
                };
                html::to_html(experiment, records, language)
            }
            Self::Csv => export::to_csv(records),
            Self::Json => export::to_json(experiment, records),
            Self::Results => export::to_results_file(experiment, records, prompt).to_json(),
            Self::LlmComparator => export::to_llm_comparator(experiment, records),
        }
    }
}

/// A plot to be saved.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What its file is called, without an ending.
    pub stem: String,
    pub drawing: Drawing,
}

/// An experiment on its way to a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    pub format: Format,
    pub experiment: Experiment,
    pub records: Vec<Record>,
    /// Place of the prompt whose results file is written.
    pub prompt: usize,
    pub language: Language,
}

impl Export {
    /// The file's content.
    pub fn content(&self) -> String {
        self.format
            .write(&self.experiment, &self.records, self.prompt, self.language)
    }
}
