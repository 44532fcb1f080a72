//! The file formats in which experiments and plots are exported.

use softprefix_core::experiment::drawing::Drawing;
use softprefix_core::experiment::{Experiment, Prompt, Record, export, html};

use super::{Language, Preset};

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

    /// Writes an experiment in this format. `prompt` is the index of the prompt to write where the format holds only
    /// one.
    ///
    /// # Errors
    /// Where a value has no JSON form, which is a fault of this program.
    pub fn write(
        self,
        experiment: &Experiment,
        records: &[Record],
        prompt: usize,
        language: Language,
    ) -> std::io::Result<String> {
        Ok(match self {
            Self::Html => {
                let title_of = |prompt: &Prompt| Some(Preset::of(prompt)?.title(language).to_owned());
                let language = match language {
                    Language::English => html::Language::English,
                    Language::Japanese => html::Language::Japanese,
                };
                html::to_html(experiment, records, language, &title_of)
            }
            Self::Csv => export::to_csv(records),
            Self::Json => export::to_json(experiment, records)?,
            Self::Results => export::to_results_file(experiment, records, prompt).to_json()?,
            Self::LlmComparator => export::to_llm_comparator(experiment, records)?,
        })
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

impl Export {
    /// Returns the content of the file.
    ///
    /// # Errors
    /// Those of [`Format::write`].
    pub fn content(&self) -> std::io::Result<String> {
        self.format
            .write(&self.experiment, &self.records, self.prompt, self.language)
    }
}
