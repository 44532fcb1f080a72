//! `softprefix export`: writes a saved experiment in other formats, without a module. `sweep` takes the same options.

use std::path::{Path, PathBuf};

use clap::Args;
use softprefix_core::experiment::{Experiment, Record};
use softprefix_core::files;

use super::report::experiments_of;
use super::shell::{Failure, print};
use crate::model::{Format, Language};
use crate::start::Exit;

/// The files to write an experiment to.
#[derive(Debug, Args)]
pub struct Forms {
    /// Write an HTML report.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Write a CSV table.
    #[arg(long, value_name = "FILE.csv")]
    csv: Option<PathBuf>,
    /// Write the whole experiment as JSON.
    #[arg(long, value_name = "FILE.json")]
    json: Option<PathBuf>,
    /// Write a results file in the format of existing scripts, for the first prompt and the first module.
    #[arg(long, value_name = "FILE.json")]
    results: Option<PathBuf>,
    /// Write a file for the LLM Comparator page.
    #[arg(long, value_name = "FILE.json")]
    llm_comparator: Option<PathBuf>,
}

impl Forms {
    /// Writes the requested files and returns their paths. `firsts` are the records of the first module: a results file
    /// holds those of one module only.
    pub fn write(&self, experiment: &Experiment, records: &[Record], firsts: &[Record]) -> Result<Vec<&Path>, Failure> {
        let asked = [
            (&self.report, Format::Html, records),
            (&self.csv, Format::Csv, records),
            (&self.json, Format::Json, records),
            (&self.results, Format::Results, firsts),
            (&self.llm_comparator, Format::LlmComparator, records),
        ];
        let mut written = Vec::new();
        for (path, format, records) in asked {
            if let Some(path) = path {
                let text = format.write(experiment, records, 0, Language::of_environment());
                let saved = text.and_then(|text| files::write_whole(path, text.as_bytes()));
                saved.map_err(|error| Failure {
                    exit: Exit::File,
                    message: format!(
                        "{} cannot be written ({error}). Choose another place; the runs are kept, and `softprefix export` writes them again.",
                        path.display()
                    ),
                })?;
                written.push(path.as_path());
            }
        }
        Ok(written)
    }
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A journal (the window's history is a folder of them), an exported experiment, or a results file.
    #[arg(value_name = "FILE")]
    path: PathBuf,
    #[command(flatten)]
    forms: Forms,
}

pub fn run(args: &ExportArgs) -> Result<Exit, Failure> {
    let found = experiments_of(&args.path)?;
    let [(experiment, records)] = found.as_slice() else {
        return Err(Failure {
            exit: Exit::BadArguments,
            message: format!(
                "{} holds {} experiments, and a file has room for one. Open it in the window, which keeps each in a file of its own, and \
                 export that.",
                args.path.display(),
                found.len()
            ),
        });
    };
    let first = records.first().map(|record| &record.module);
    let is_of_first = |record: &&Record| {
        first.is_some_and(|first| (&first.address, &first.model) == (&record.module.address, &record.module.model))
    };
    let firsts: Vec<Record> = records.iter().filter(is_of_first).cloned().collect();
    let written = args.forms.write(experiment, records, &firsts)?;
    if written.is_empty() {
        return Err(Failure {
            exit: Exit::BadArguments,
            message: "No form was asked for. Give at least one of --report, --csv, --json, --results, --llm-comparator, each with a \
                      file's name."
                .to_owned(),
        });
    }
    for path in written {
        print(&format!("saved in {}\n", path.display()));
    }
    Ok(Exit::Success)
}
