//! `softprefix compare`: runs a baseline and a list of prefixes on one prompt, as a plan, and prints the table and
//! writes the results file of the older comparison script. Every finished case is in the history before the file is
//! written.

use std::path::PathBuf;

use clap::Args;
use softprefix_core::compare::Report;
use softprefix_core::experiment::{Experiment, Magnitudes, Plan, Record, RunOptions, Sweep, Values, export};

use super::args::{PromptArgs, TargetArgs};
use super::prefix::PrefixArgs;
use super::running::{Reopened, Store, Terminal, exit_of};
use super::shell::{Failure, List, in_json, list_of_magnitudes, name_of, print, usual_magnitudes, writable};
use crate::errors;
use crate::model::{Problem, ProblemKind};
use crate::session::Session;
use crate::start::Exit;

#[derive(Debug, Args)]
pub struct CompareArgs {
    #[command(flatten)]
    at: TargetArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Magnitudes: 0,1e-4,0.01, or 1e-4,...,2 for 1-2-5 steps, or 0.01...12(13) for 13 values in equal ratios. Raw
    /// values, as in existing scripts, unless --token-norms. If omitted, rows with a size of their own (from words or a
    /// file) are used as they are, and others take the usual values of their unit.
    #[arg(long, value_name = "LIST", value_parser = list_of_magnitudes, allow_hyphen_values = true)]
    values: Option<List<f64>>,
    /// The values are raw: the scale of the prefix's values (the default).
    #[arg(long, conflicts_with = "token_norms")]
    raw: bool,
    /// The values are the L2 norm of each row, relative to the median norm of the vocabulary.
    #[arg(long)]
    token_norms: bool,
    /// Number of prefix rows, P [default: the number of rows in the file, else 1].
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u16).range(1..))]
    len: Option<u16>,
    #[command(flatten)]
    prefix: PrefixArgs,
    /// Number of baseline runs; the last one follows the last prefix. Two or more give the noise of the module.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=20))]
    baselines: u8,
    /// File to save the results in.
    #[arg(long, value_name = "FILE", default_value = "compare_results.json")]
    out: PathBuf,
    /// Continue the last comparison with the same plan on this module if it was interrupted.
    #[arg(long)]
    resume: bool,
    /// Print the report as JSON instead of a table.
    #[arg(long)]
    json: bool,
}

impl CompareArgs {
    fn plan(&self) -> Result<Plan, Failure> {
        let material = self.prefix.material()?;
        let len = self.len.map_or(material.rows.unwrap_or(1), usize::from);
        material.warn_if_repeated(len);
        let values = match &self.values {
            Some(values) => Some(values.0.clone()),
            None if material.kind.allows_unscaled() && !self.token_norms && !self.raw => None,
            None => Some(usual_magnitudes(self.token_norms)?),
        };
        let magnitudes = match values.map(Values::List) {
            None => Magnitudes::Unscaled,
            Some(values) if self.token_norms => Magnitudes::TokenNorms(values),
            Some(values) => Magnitudes::Raw(values),
        };
        let sweep = Sweep {
            kind: material.kind,
            lengths: vec![len],
            magnitudes,
            rounding: self.prefix.rounding(),
        };
        // A single baseline comes first; of several, the last one ends the plan.
        let closing = self.baselines > 1;
        let plan = Plan {
            name: name_of(&self.prompt.user),
            baselines: usize::from(self.baselines) - usize::from(closing),
            closing,
            settings: self.prompt.settings(),
            ..Plan::new(self.prompt.prompt(), sweep)
        };
        // Invalid arguments are reported before a model is loaded.
        plan.cases().map_err(|error| Failure::arguments(error.to_string()))?;
        Ok(plan)
    }
}

pub fn run(args: CompareArgs) -> Result<Exit, Failure> {
    if args.prompt.user.trim().is_empty() {
        return Err(Failure::arguments(
            "--prompt is empty; write what the model is to answer.",
        ));
    }
    let plan = args.plan()?;
    writable(&args.out)?;
    let store = Store::library()?;
    Terminal::work(&store.resume_hint(), async |terminal| {
        let Some(session) = terminal.open(args.at.target(), args.at.exit_tasks, &plan).await? else {
            return Ok(Exit::Interrupted);
        };
        let outcome = compare(&args, plan, &store, &terminal, &session).await;
        session.close().await;
        outcome
    })
}

async fn compare(
    args: &CompareArgs,
    plan: Plan,
    store: &Store,
    terminal: &Terminal,
    session: &Session,
) -> Result<Exit, Failure> {
    let facts = session.facts();
    args.prefix.store_file(facts.hidden_size())?;
    terminal.print_module(facts);
    // A recipe that gives no prefix on this module is reported before the first run.
    let cases = plan.cases().map_err(|error| Failure::arguments(error.to_string()))?;
    for recipe in cases.iter().filter_map(|case| case.recipe.as_ref()) {
        session.build(recipe).await?;
    }
    let reopened: Option<Reopened> = match args.resume {
        true => store.resume(&plan, &[&facts.identity])?.pop().flatten(),
        false => None,
    };
    let options = RunOptions {
        canary: false,
        ..RunOptions::default()
    };
    let mut save = |experiment: &Experiment, records: &[Record]| {
        let written = export::to_results_file(experiment, records, 0).write(&args.out);
        written.map_err(|error| Problem::from_text(ProblemKind::File, errors::results(&error)).into())
    };
    let done = terminal
        .run(session, (plan, options), (store, reopened), &mut save)
        .await?;
    terminal.clear();
    if terminal.is_interrupted() {
        return Ok(Exit::Interrupted);
    }
    if let Some(experiment) = done.experiment.filter(|_| !done.records.is_empty()) {
        let report = Report::from(&export::to_results_file(&experiment, &done.records, 0));
        print(&if args.json {
            in_json(report.to_json())?
        } else {
            report.to_table()
        });
        terminal.print_line(&format!("saved in {}", args.out.display()));
    }
    let failed = done.records.iter().any(|record| record.error().is_some());
    exit_of(done.end, failed, store)
}
