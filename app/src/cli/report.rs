//! `softprefix report`: prints every measure of a saved file, without a module.

use std::path::{Path, PathBuf};

use clap::Args;
use softprefix_core::compare::{Report, ResultsFile};
use softprefix_core::experiment::{Experiment, GroupKey, Journal, JournalError, Record, experiments, export, new_id};
use softprefix_core::files;

use super::running::{journal_failure, print_damage};
use super::shell::{Failure, in_json, name_of, print};
use crate::errors;
use crate::model::{Problem, ProblemKind};
use crate::start::Exit;

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// A results file (ours or an existing comparison script's), an exported experiment, or a journal.
    #[arg(value_name = "FILE")]
    path: PathBuf,
    /// Print JSON instead of a table: one report, or a list if the file holds several prompts, modules or experiments.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    let tables = read(&args.path)?;
    if !args.json {
        print_all(&tables);
        return Ok(Exit::Success);
    }
    let reports: Vec<Report> = tables.iter().map(|table| Report::from(&table.file)).collect();
    match reports.as_slice() {
        [report] => print(&in_json(report.to_json())?),
        reports => print(&format!("{}\n", in_json(serde_json::to_string_pretty(reports))?)),
    }
    Ok(Exit::Success)
}

/// Cases that share a baseline: of one prompt, with the same settings, on one module.
pub(super) struct Table {
    heading: String,
    file: ResultsFile,
}

/// Splits an experiment into tables, in the order in which they were first run.
pub(super) fn tables(experiment: &Experiment, records: &[Record]) -> Vec<Table> {
    let mut groups: Vec<(GroupKey, usize, Vec<Record>)> = Vec::new();
    for record in records {
        let (key, prompt) = (GroupKey::of(record), record.case.prompt);
        match groups
            .iter_mut()
            .find(|(known, number, _)| *number == prompt && known.is_same_as(&key))
        {
            Some((_, _, records)) => records.push(record.clone()),
            None => groups.push((key, prompt, vec![record.clone()])),
        }
    }
    let table = |(key, prompt, records): (GroupKey, usize, Vec<Record>)| {
        let file = export::to_results_file(experiment, &records, prompt);
        let limit = key.settings.max_new_tokens;
        let limit = limit.map_or(String::new(), |tokens| format!(", up to {tokens} tokens"));
        let heading = format!(
            "{} on {} (H {}{limit}): {}",
            key.model,
            key.address,
            file.meta.hidden_size,
            name_of(&file.meta.user_prompt)
        );
        Table { heading, file }
    };
    groups.into_iter().map(table).collect()
}

/// Prints tables, with headings if there are several.
pub(super) fn print_all(tables: &[Table]) {
    for table in tables {
        if tables.len() > 1 {
            print(&format!("{}\n", table.heading));
        }
        print(&Report::from(&table.file).to_table());
    }
}

fn read(path: &Path) -> Result<Vec<Table>, Failure> {
    // A results file is shown directly, since that of an existing script has fields that an experiment does not.
    let bytes = bytes_of(path)?;
    if export::is_json(&bytes)
        && let Ok(file) = ResultsFile::from_json(&bytes)
    {
        let heading = String::new();
        return Ok(vec![Table { heading, file }]);
    }
    let found = experiments_in(path, &bytes)?;
    Ok(found
        .iter()
        .flat_map(|(experiment, records)| tables(experiment, records))
        .collect())
}

/// Reads the experiments of a file with their records, from a journal, an exported experiment or a results file.
pub(super) fn experiments_of(path: &Path) -> Result<Vec<(Experiment, Vec<Record>)>, Failure> {
    experiments_in(path, &bytes_of(path)?)
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, Failure> {
    Ok(files::read(path, export::LARGEST_FILE).map_err(|error| errors::cannot_read(path, &error))?)
}

fn experiments_in(path: &Path, bytes: &[u8]) -> Result<Vec<(Experiment, Vec<Record>)>, Failure> {
    if export::is_json(bytes) {
        let read = export::from_json(bytes, &new_id()).map_err(|error| Failure {
            exit: Exit::File,
            message: format!(
                "{}: {}",
                path.display(),
                Problem::from_text(ProblemKind::File, errors::export(&error))
            ),
        })?;
        return Ok(vec![read]);
    }
    let (entries, condition) = match Journal::read(path) {
        Err(JournalError::NotAJournal { .. }) => return Err(errors::no_experiment(path).into()),
        read => read.map_err(|error| journal_failure(&error))?,
    };
    print_damage(path, &condition);
    let experiments = experiments(entries);
    if experiments.is_empty() {
        return Err(errors::no_experiment(path).into());
    }
    let shown: Vec<_> = experiments
        .into_iter()
        .filter(|saved| !saved.is_deleted())
        .map(|saved| {
            let records = saved.undeleted().cloned().collect();
            (saved.experiment, records)
        })
        .collect();
    if shown.is_empty() {
        return Err(Failure {
            exit: Exit::File,
            message: format!(
                "All experiments in {} were deleted. Choose another file.",
                path.display()
            ),
        });
    }
    Ok(shown)
}
