//! Experiments as the text of a file.

use softprefix_core::experiment::html::{self, PageWords};
use softprefix_core::experiment::{Experiment, Prompt, Record, export};

use crate::errors;
use crate::model::{Format, Language, Preset};

/// Returns an experiment in a format. `prompt` is the index of the prompt to write where the format holds only one.
///
/// # Errors
/// Where a value has no JSON form, which is a fault of this program.
pub fn content(
    format: Format,
    experiment: &Experiment,
    records: &[Record],
    prompt: usize,
    language: Language,
) -> std::io::Result<String> {
    Ok(match format {
        Format::Html => {
            let words = PageWords {
                language,
                title_of: &|prompt: &Prompt| Some(Preset::of(prompt)?.title(language).to_owned()),
                error_of: &|record: &Record| Some(errors::case(record)?.whole(language)),
            };
            html::to_html(experiment, records, &words)
        }
        Format::Csv => export::to_csv(records),
        Format::Json => export::to_json(experiment, records)?,
        Format::Results => export::to_results_file(experiment, records, prompt).to_json()?,
        Format::LlmComparator => export::to_llm_comparator(experiment, records)?,
    })
}
