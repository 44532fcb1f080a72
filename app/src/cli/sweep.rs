//! `softprefix sweep`: runs the window's sweep in a terminal. Every finished case is saved before it is reported, so
//! that an interrupted sweep continues with the missing cases.

use std::path::PathBuf;

use clap::Args;
use softprefix_core::client::ConnectOptions;
use softprefix_core::experiment::{
    Magnitudes, ModuleIdentity, Plan, Prompt, Record, RunEnd, RunOptions, Settings, Sweep, Values,
};
use softprefix_core::protocol::Sampling;

use super::args::TargetArgs;
use super::export::Forms;
use super::prefix::PrefixArgs;
use super::report::{print_all, tables};
use super::running::{Done, Reopened, Store, Terminal, exit_of};
use super::shell::{Failure, List, list_of_magnitudes, name_of, usual_magnitudes};
use crate::bridge::second::ask;
use crate::errors::sentence;
use crate::messages::SecondModuleAnswer;
use crate::model::sweep::parse_lengths;
use crate::model::{PRESETS, Target};
use crate::session::Session;
use crate::start::Exit;

#[derive(Debug, Args)]
pub struct SweepArgs {
    #[command(flatten)]
    at: TargetArgs,
    /// A second module for the same plan, with its own baseline: `embedded`, or HOST or HOST:PORT. Its cases go into
    /// the same files. Use token norms if the models differ in width.
    #[arg(long, value_name = "MODULE", value_parser = crate::start::target)]
    also: Option<Target>,
    /// Model of the second module [default: the same as the first one's, if available].
    #[arg(long, value_name = "MODEL", requires = "also")]
    also_model: Option<String>,
    /// A user prompt; can be given several times.
    #[arg(long = "prompt", value_name = "PROMPT", required_unless_present = "resume")]
    prompts: Vec<String>,
    /// The system prompt, used with all prompts.
    #[arg(long, default_value = PRESETS[0].system)]
    system: String,
    /// Magnitudes: 0,1e-4,0.01, or 1e-4,...,2 for 1-2-5 steps, or 0.01...12(13) for 13 values in equal ratios. Raw
    /// values, as in existing scripts, unless --token-norms [default: the usual values of their unit].
    #[arg(long, value_name = "LIST", value_parser = list_of_magnitudes, allow_hyphen_values = true)]
    values: Option<List<f64>>,
    /// The values are the L2 norm of each row, relative to the median norm of the vocabulary.
    #[arg(long)]
    token_norms: bool,
    /// Numbers of prefix rows, P, such as 1,4 [default: the number of rows in the file, else 1].
    #[arg(long, value_name = "LIST", value_parser = lengths_of)]
    len: Option<List<usize>>,
    #[command(flatten)]
    prefix: PrefixArgs,
    /// Number of runs of each prefixed case.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=100))]
    repeats: u8,
    /// Number of baseline runs before the first prefix; one more follows the last.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=20))]
    baselines: u8,
    /// Do not measure KL and perplexity by teacher forcing afterwards, even if the unit supports it.
    #[arg(long)]
    no_kl: bool,
    /// Maximum number of output tokens.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// A separate journal for the finished cases, instead of the history that the window shows.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Continue the last interrupted sweep (with the same plan, if prompts are given); without one, start the sweep
    /// that is described.
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    forms: Forms,
    /// Run even if the module does not confirm prefixes and a large one leaves its output unchanged.
    #[arg(long)]
    anyway: bool,
}

fn lengths_of(text: &str) -> Result<List<usize>, String> {
    parse_lengths(text)
        .map(List)
        .ok_or_else(|| "write whole numbers from 1 up, such as 1,4,16".to_owned())
}

impl SweepArgs {
    fn plan(&self) -> Result<Plan, Failure> {
        let material = self.prefix.material()?;
        let lengths = match &self.len {
            Some(lengths) => lengths.0.clone(),
            None => vec![material.rows.unwrap_or(1)],
        };
        material.warn_if_repeated(lengths.iter().copied().max().unwrap_or(1));
        let values = Values::List(match &self.values {
            Some(values) => values.0.clone(),
            None => usual_magnitudes(self.token_norms)?,
        });
        let sweep = Sweep {
            kind: material.kind,
            lengths,
            magnitudes: if self.token_norms {
                Magnitudes::TokenNorms(values)
            } else {
                Magnitudes::Raw(values)
            },
            rounding: self.prefix.rounding(),
        };
        let prompt = |user: &String| Prompt {
            system: self.system.clone(),
            user: user.clone(),
        };
        let plan = Plan {
            prompts: self.prompts.iter().map(prompt).collect(),
            repeats: usize::from(self.repeats),
            baselines: usize::from(self.baselines),
            scored: !self.no_kl,
            name: self.prompts.first().map(|user| name_of(user)).unwrap_or_default(),
            settings: Settings::new(self.max_tokens as usize, &Sampling::default()),
            ..Plan::new(Prompt::default(), sweep)
        };
        // Invalid arguments are reported before a model is loaded.
        plan.cases()
            .map_err(|error| Failure::arguments(sentence(&error.to_string())))?;
        Ok(plan)
    }

    fn options(&self) -> RunOptions {
        RunOptions {
            stop_without_effect: !self.anyway,
            ..RunOptions::default()
        }
    }
}

pub fn run(args: SweepArgs) -> Result<Exit, Failure> {
    let described = match args.prompts.is_empty() {
        true => None,
        false => Some(args.plan()?),
    };
    if let Some(journal) = &args.journal {
        args.forms.spare(journal)?;
    }
    args.forms.check()?;
    let store = match &args.journal {
        Some(path) => Store::file(path)?,
        None => Store::library()?,
    };
    // A separate journal holds one sweep after the other; in the history, a described plan is looked up by itself.
    let looks_for_the_last = args.resume && (described.is_none() || args.journal.is_some());
    let last = if looks_for_the_last { store.last_open()? } else { None };
    let last_plan = last.as_ref().and_then(|last| last.saved.experiment.plan.clone());
    let plan = match (last_plan, described) {
        (Some(plan), Some(described)) if described != plan => {
            return Err(Failure::arguments(format!(
                "{} holds an unfinished sweep of other settings ({}). Leave the settings out to continue it, or --resume to begin a new \
                 one.",
                store.name(),
                last.map(|last| last.saved.experiment.name).unwrap_or_default()
            )));
        }
        (Some(plan), _) | (None, Some(plan)) => plan,
        (None, None) => {
            return Err(Failure::arguments(format!(
                "There is no unfinished sweep in {}. Give the prompt to run with --prompt.",
                store.name()
            )));
        }
    };
    Terminal::work(&store.resume_hint(), async |terminal| {
        let Some(first) = open(&args, args.at.target(), &plan, &terminal).await? else {
            return Ok(Exit::Interrupted);
        };
        // The second module is opened before the first one's runs start, so that one that is unreachable is reported at
        // once.
        let second = match open_second(&args, &plan, &terminal, &first).await {
            Ok(second) => second,
            Err(failure) => {
                first.close().await;
                return Err(failure);
            }
        };
        let outcome = match terminal.is_interrupted() {
            true => Ok(Exit::Interrupted),
            false => sweep(&args, &plan, (&store, last), &terminal, (&first, second.as_ref())).await,
        };
        first.close().await;
        if let Some(second) = &second {
            second.close().await;
        }
        outcome
    })
}

/// Opens a module and prints what it is; returns `None` after Ctrl-C.
async fn open(args: &SweepArgs, target: Target, plan: &Plan, terminal: &Terminal) -> Result<Option<Session>, Failure> {
    let Some(session) = terminal.open(target, args.at.exit_tasks, plan).await? else {
        return Ok(None);
    };
    let facts = session.facts();
    if let Err(failure) = args.prefix.store_file(facts.hidden_size()) {
        session.close().await;
        return Err(failure);
    }
    terminal.print_module(facts);
    // Each run sets up its own tasks; a module with few slots needs this one.
    session.exit_current_task().await;
    Ok(Some(session))
}

async fn open_second(
    args: &SweepArgs,
    plan: &Plan,
    terminal: &Terminal,
    first: &Session,
) -> Result<Option<Session>, Failure> {
    let Some(target) = args.also.clone() else {
        return Ok(None);
    };
    let model = args.also_model.clone();
    let model = model.unwrap_or_else(|| first.facts().identity.model.clone());
    let target = match ask(target, model, ConnectOptions::default()).await? {
        SecondModuleAnswer::Has(target) => target,
        SecondModuleAnswer::Missing { model, models } => {
            return Err(Failure::arguments(format!(
                "The second module has no {model}. Name one of its models with --also-model: {}.",
                models.join(", ")
            )));
        }
    };
    open(args, target, plan, terminal).await
}

async fn sweep(
    args: &SweepArgs,
    plan: &Plan,
    (store, last): (&Store, Option<Reopened>),
    terminal: &Terminal,
    (first, second): (&Session, Option<&Session>),
) -> Result<Exit, Failure> {
    let sessions: Vec<&Session> = std::iter::once(first).chain(second).collect();
    let modules: Vec<&ModuleIdentity> = sessions.iter().map(|session| &session.facts().identity).collect();
    let mut reopened: Vec<Option<Reopened>> = match args.resume {
        true => store.resume(plan, &modules)?,
        false => sessions.iter().map(|_| None).collect(),
    };
    if let Some(last) = last.filter(|_| reopened.iter().all(Option::is_none)) {
        let module = &last.saved.experiment.module;
        return Err(Failure::arguments(format!(
            "{} was begun with {} on {}, and {} on {} is set up here. Name that module and model with --module and --model.",
            last.saved.experiment.name,
            module.model,
            module.address,
            first.facts().identity.model,
            first.facts().identity.address
        )));
    }
    reopened.reverse();
    let (mut runs, mut failure) = (Vec::<Done>::new(), None);
    for session in sessions {
        // The module may have been restarted while it waited for the first one's sweep.
        if !runs.is_empty()
            && session.module().ping().await.is_err()
            && let Err(error) = session.module().reconnect().await
        {
            failure = Some(Failure::from(session.problem(error)));
            break;
        }
        let reopened = reopened.pop().flatten();
        let ran = terminal
            .run(
                session,
                (plan.clone(), args.options()),
                (store, reopened),
                &mut |_, _| Ok(()),
            )
            .await;
        if terminal.is_interrupted() {
            return Ok(Exit::Interrupted);
        }
        match ran {
            Ok(done) => {
                let is_complete = done.end == RunEnd::Complete;
                runs.push(done);
                if !is_complete {
                    break;
                }
            }
            // The results of the module before are still printed and written.
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    terminal.clear();
    write_all(args, terminal, &runs)?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    let failed = runs
        .iter()
        .flat_map(|done| &done.records)
        .any(|record| record.error().is_some());
    match runs.pop() {
        Some(done) => exit_of(done.end, failed, store),
        None => Ok(Exit::Interrupted),
    }
}

/// Prints the tables and writes the requested files, with the cases of both modules in the same ones.
fn write_all(args: &SweepArgs, terminal: &Terminal, runs: &[Done]) -> Result<(), Failure> {
    let known: Vec<_> = runs
        .iter()
        .filter_map(|done| Some((done.experiment.as_ref()?, &done.records)))
        .collect();
    let Some((experiment, firsts)) = known.first() else {
        return Ok(());
    };
    let all: Vec<_> = known
        .iter()
        .flat_map(|(experiment, records)| tables(experiment, records))
        .collect();
    print_all(&all);
    let both: Vec<Record> = known.iter().flat_map(|(_, records)| records.iter().cloned()).collect();
    for path in args.forms.write(experiment, &both, (firsts, 0))? {
        terminal.print_line(&format!("saved in {}", path.display()));
    }
    Ok(())
}
