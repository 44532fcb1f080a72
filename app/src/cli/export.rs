//! `softprefix export`: writes a saved experiment in other formats, without a module. `sweep` takes the same options.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use softprefix_core::experiment::{Experiment, GroupKey, Record};
use softprefix_core::files;

use super::report::experiments_of;
use super::shell::{Failure, eprint, name_of, print, writable};
use crate::export;
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
    /// Write a results file in the format of existing scripts, for one prompt and the first module.
    #[arg(long, value_name = "FILE.json")]
    results: Option<PathBuf>,
    /// Write a file for the LLM Comparator page.
    #[arg(long, value_name = "FILE.json")]
    llm_comparator: Option<PathBuf>,
}

/// Whether two paths, of files that may not exist, are spelt for the same file.
fn is_same(one: &Path, other: &Path) -> bool {
    std::path::absolute(one).ok() == std::path::absolute(other).ok()
}

impl Forms {
    /// The files that were asked for.
    fn asked(&self) -> impl Iterator<Item = &PathBuf> {
        let all = [&self.report, &self.csv, &self.json, &self.results, &self.llm_comparator];
        all.into_iter().flatten()
    }

    /// Refuses, before anything is run, files that cannot be written and one file for two forms.
    pub fn check(&self) -> Result<(), Failure> {
        for (at, path) in self.asked().enumerate() {
            if self.asked().take(at).any(|other| is_same(other, path)) {
                return Err(Failure::arguments(format!(
                    "{} is named for two formats. Name a separate file for each.",
                    path.display()
                )));
            }
            writable(path)?;
        }
        Ok(())
    }

    /// Refuses to write over the file in which the runs are.
    pub fn spare(&self, source: &Path) -> Result<(), Failure> {
        let real = source.canonicalize().ok();
        let is_source = |path: &&PathBuf| {
            path.as_path() == source || path.canonicalize().ok().is_some_and(|path| Some(path) == real)
        };
        match self.asked().find(is_source) {
            None => Ok(()),
            Some(path) => Err(Failure::arguments(format!(
                "{} contains the runs to be exported. Choose another name; this file was left unchanged.",
                path.display()
            ))),
        }
    }

    /// Writes the requested files and returns their paths. `firsts` are the records of the first module: a results file
    /// holds those of one module and one `prompt` (its index) only.
    pub fn write(
        &self,
        experiment: &Experiment,
        records: &[Record],
        (firsts, prompt): (&[Record], usize),
    ) -> Result<Vec<&Path>, Failure> {
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
                let text = export::content(format, experiment, records, prompt, Language::of_environment());
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
    /// Which experiment to export where a file holds several, as older journals do: its number, from 1.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    experiment: Option<u32>,
    /// Which prompt a results file is to hold where there are several: its number in the order of the runs, from 1.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..), default_value_t = 1)]
    prompt: u32,
    #[command(flatten)]
    forms: Forms,
}

pub fn run(args: &ExportArgs) -> Result<Exit, Failure> {
    args.forms.spare(&args.path)?;
    args.forms.check()?;
    let found = experiments_of(&args.path)?;
    let named = |(number, name): (usize, String)| format!("{} {name}", number + 1);
    let (experiment, records) = match (found.as_slice(), args.experiment) {
        ([only], None | Some(1)) => only,
        (several, number) => {
            let at = number.and_then(|number| usize::try_from(number - 1).ok());
            let names = several
                .iter()
                .map(|(experiment, _)| name_of(&experiment.name))
                .enumerate();
            at.and_then(|at| several.get(at)).ok_or_else(|| {
                let path = args.path.display();
                let wrong = match number {
                    Some(number) => format!("There is no experiment {number} in {path}."),
                    None => format!(
                        "{path} contains {} experiments, and only one can be exported to a file.",
                        several.len()
                    ),
                };
                Failure::arguments(format!(
                    "{wrong} Choose one of these with --experiment: {}.",
                    names.map(named).collect::<Vec<_>>().join(", ")
                ))
            })?
        }
    };
    let first = records.first().map(|record| &record.module);
    let is_of_first = |record: &&Record| {
        first.is_some_and(|first| (&first.address, &first.model) == (&record.module.address, &record.module.model))
    };
    let firsts: Vec<Record> = records.iter().filter(is_of_first).cloned().collect();
    let prompts: BTreeMap<usize, &str> = firsts.iter().map(|one| (one.case.prompt, &*one.prompt.user)).collect();
    let chosen = usize::try_from(args.prompt - 1)
        .ok()
        .and_then(|at| prompts.keys().nth(at));
    let prompt = match chosen {
        Some(prompt) => *prompt,
        None if prompts.is_empty() && args.prompt == 1 => 0,
        None => {
            let names = prompts.values().map(|user| name_of(user)).enumerate();
            return Err(Failure::arguments(format!(
                "There is no prompt {} in {}. Choose one of these with --prompt: {}.",
                args.prompt,
                args.path.display(),
                names.map(named).collect::<Vec<_>>().join(", ")
            )));
        }
    };
    // Those that share a baseline with the first.
    let of_prompt = || firsts.iter().filter(|record| record.case.prompt == prompt);
    let key = of_prompt().next().map(GroupKey::of);
    let is_alike = |record: &&Record| key.as_ref().is_some_and(|key| key.is_same_as(&GroupKey::of(record)));
    let held: Vec<Record> = of_prompt().filter(is_alike).cloned().collect();
    let written = args.forms.write(experiment, records, (&held, prompt))?;
    if args.forms.results.is_some() && held.len() < records.len() {
        eprint(format!(
            "a results file has one prompt with the same settings on one module: this one has prompt {} of {} with its first settings on the first module; --prompt chooses another",
            args.prompt,
            prompts.len()
        ));
    }
    if written.is_empty() {
        return Err(Failure {
            exit: Exit::BadArguments,
            message: "No format was chosen. Give at least one of --report, --csv, --json, --results, --llm-comparator, each with a \
                      file's name."
                .to_owned(),
        });
    }
    for path in written {
        print(&format!("saved in {}\n", path.display()));
    }
    Ok(Exit::Success)
}
