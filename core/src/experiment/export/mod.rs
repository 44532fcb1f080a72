//! Experiments for other programs: our own JSON and the comparison script's results file (written and read), CSV and LLM Comparator
//! JSON (written). The HTML report is in [`html`](super::html).

mod csv;
mod llm_comparator;
mod results;

pub use csv::to_csv;
pub use llm_comparator::to_llm_comparator;
pub use results::{from_results_file, to_results_file};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::analysis::Analysis;
use super::journal::Experiment;
use super::record::Record;
use crate::compare::{Measures, ResultsError, ResultsFile, Verdict};
use crate::json;

/// The JSON Schema (2020-12) of [`to_json`].
pub const JSON_SCHEMA: &str = include_str!("schema.json");

/// `format` of our JSON.
pub const FORMAT: &str = "softprefix-experiment";
/// `version` of our JSON.
pub const FORMAT_VERSION: u32 = 1;

/// Our JSON form of an experiment, with all records and their measures. The schema is [`JSON_SCHEMA`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exported {
    /// [`FORMAT`].
    pub format: String,
    /// [`FORMAT_VERSION`] of the writer.
    pub version: u32,
    /// Name, plan and module.
    pub experiment: Experiment,
    /// Every record, module by module in the order of the plan.
    pub records: Vec<Record>,
    /// Measures and verdicts, derived from the records when written; ignored when read.
    #[serde(default)]
    pub analysis: Vec<Measured>,
}

/// The measures of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Id of the record.
    pub record: String,
    /// One word for the record.
    pub verdict: Verdict,
    /// `null` for a failed case.
    pub measures: Option<Measures>,
}

/// Why a file could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is neither an exported experiment nor a results file, or is cut.
    #[error("this is not an exported experiment: {what}. Choose a file that this program exported, or a results file.")]
    NotAnExport {
        /// What is wrong with it, as a clause.
        what: String,
    },
    /// The file has a newer format than [`FORMAT_VERSION`].
    #[error(
        "this experiment was written by a newer version of this program (format {found}, this one reads {FORMAT_VERSION}). Update it."
    )]
    TooNew {
        /// Version of the file's format.
        found: u64,
    },
    /// A field of ours in a results file does not have its form.
    #[error("in this file {key} cannot be read ({why}). Correct it, or save the file again.")]
    Unreadable {
        /// The field with its path.
        key: String,
        /// What the parser found.
        why: String,
    },
    /// The file looks like a results file, and cannot be read as one.
    #[error(transparent)]
    Results(#[from] ResultsError),
}

/// Sorts records by module and place in the plan: cases end in any order, those of a resumed experiment after all
/// others.
pub(super) fn in_plan_order(records: &[Record]) -> Vec<Record> {
    let module = |record: &Record| {
        let same = |other: &Record| {
            (&other.module.address, &other.module.model) == (&record.module.address, &record.module.model)
        };
        records.iter().position(same)
    };
    let mut ordered = records.to_vec();
    ordered.sort_by_cached_key(|record| (module(record), record.case.index));
    ordered
}

/// The experiment as indented JSON ([`Exported`]).
///
/// # Errors
/// Where a value has no JSON form, which is a fault of this program.
pub fn to_json(experiment: &Experiment, records: &[Record]) -> Result<String, serde_json::Error> {
    let records = in_plan_order(records);
    let analysis = Analysis::of(&records);
    let measured = analysis.groups.iter().flat_map(|group| {
        group.points.iter().map(|point| Measured {
            record: point.record.clone(),
            verdict: group.verdict(point),
            measures: point.measures.clone(),
        })
    });
    json::indented(&Exported {
        format: FORMAT.to_owned(),
        version: FORMAT_VERSION,
        experiment: experiment.clone(),
        analysis: measured.collect(),
        records,
    })
}

/// Largest exported file that is read.
pub const LARGEST_FILE: u64 = 1 << 30;

/// Whether a file written by this program is JSON (an exported experiment or a results file) rather than a journal, whose lines begin with a
/// checksum.
pub fn is_json(bytes: &[u8]) -> bool {
    let start = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

/// Reads an exported experiment, or a results file, which becomes an experiment with the id `id`.
///
/// # Errors
/// [`ImportError`].
pub fn from_json(bytes: &[u8], id: &str) -> Result<(Experiment, Vec<Record>), ImportError> {
    let not_one = |what: String| ImportError::NotAnExport { what };
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let read = json::read(bytes).map_err(|error| {
        not_one(format!(
            "it is not complete JSON (line {}, column {})",
            error.line(),
            error.column()
        ))
    })?;
    let head: Value = read.value;
    if head.get("format").and_then(Value::as_str) != Some(FORMAT) {
        if head.get("results").is_some() || head.get("meta").is_some() {
            return from_results_file(&ResultsFile::from_json(bytes)?, id);
        }
        return Err(not_one(format!("\"format\" is not \"{FORMAT}\"")));
    }
    match head.get("version").map(Value::as_u64) {
        Some(Some(found)) if found > u64::from(FORMAT_VERSION) => return Err(ImportError::TooNew { found }),
        Some(Some(_)) => {}
        Some(None) => return Err(not_one("\"version\" is not a whole number from 0 up".to_owned())),
        None => return Err(not_one("\"version\" is missing".to_owned())),
    }
    // Parsed from the text rather than from the value, so that the message has line and column.
    let exported: Exported = serde_json::from_slice(bytes).map_err(|error| not_one(error.to_string()))?;
    Ok((exported.experiment, exported.records))
}

/// A file name without extension from the first 60 characters of an experiment's name. Everything but letters, digits, `-`, `_` and `.`
/// becomes `_`, several in a row a single one, and `_` and `.` are removed at both ends; `experiment` if nothing is left.
pub fn file_stem(experiment: &Experiment) -> String {
    let mut out = String::new();
    for c in experiment.name.chars().take(60) {
        let good = c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        if good {
            out.push(c);
        } else if !out.ends_with('_') {
            out.push('_');
        }
    }
    let stem = out.trim_matches(['_', '.']);
    if stem.is_empty() {
        "experiment".to_owned()
    } else {
        stem.to_owned()
    }
}
