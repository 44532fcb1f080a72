//! `softprefix sweep`: the window's sweep in a shell. Every finished case is in the journal before the next is told, so that
//! a sweep that was killed goes on with what is missing.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use clap::Args;
use softprefix_core::client::ConnectOptions;
use softprefix_core::experiment::{
    Experiment, History, Journal, Magnitudes, Past, Plan, Prompt, Record, Run, RunEnd, RunEvent, Settings,
    SharedJournal, Sweep, Values,
};
use tokio::sync::watch;

use super::bar::Bar;
use super::compare::{open, say, say_weights, show};
use super::prefix::{Material, PrefixArgs};
use super::shell::{Failure, print, runtime};
use super::values;
use crate::bridge::second::ask;
use crate::bridge::sweep::{Resume, request_of};
use crate::messages::Second;
use crate::model::sweep::parse_lens;
use crate::model::{CaseKey, Format, Language, PRESETS, Sampling, Target};
use crate::session::Session;
use crate::start::Exit;
use crate::text::SweepText;

#[derive(Debug, Args)]
pub struct SweepArgs {
    /// Where to run: `embedded`, or HOST[:PORT] of a StackFlow module.
    #[arg(long, default_value = "embedded", value_parser = crate::start::target)]
    module: Target,
    /// Model: a name that `softprefix models` (or the module) lists, or a GGUF file.
    #[arg(long)]
    model: Option<String>,
    /// A second module for the same plan, each with its own baseline: `embedded`, or HOST[:PORT]. Its cases go into the same files.
    /// Give magnitudes in token norms where the models differ in width.
    #[arg(long, value_name = "MODULE", value_parser = crate::start::target)]
    also: Option<Target>,
    /// Model of the second module.
    #[arg(long, value_name = "MODEL", requires = "also")]
    also_model: Option<String>,
    /// The user's text; may be given several times.
    #[arg(long = "prompt", required_unless_present = "resume")]
    prompts: Vec<String>,
    /// The system prompt of all prompts.
    #[arg(long, default_value = PRESETS[0].system)]
    system: String,
    /// Magnitudes: 0,1e-4,0.01 or 1e-4,...,2 for 1-2-5 steps. Raw values, as existing scripts give them, unless --token-norms.
    #[arg(long, value_name = "LIST", default_value = values::USUAL, value_parser = values_of, allow_hyphen_values = true)]
    values: List<f64>,
    /// The values are L2 norms of each row, over the median norm of the vocabulary.
    #[arg(long)]
    token_norms: bool,
    /// Every P, such as 1,4 [default: as many rows as the file has, else 1].
    #[arg(long, value_name = "LIST", value_parser = lens_of)]
    len: Option<List<usize>>,
    #[command(flatten)]
    prefix: PrefixArgs,
    /// Runs of each prefixed case.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=100))]
    repeats: u8,
    /// Runs of the baseline before the first prefix; one more follows the last.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=20))]
    baselines: u8,
    /// Do not lead the model through the texts afterwards for KL and perplexity, where the unit could.
    #[arg(long)]
    no_kl: bool,
    /// Most output tokens.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// Where every finished case is kept.
    #[arg(long, value_name = "FILE", default_value = "softprefix-sweep.journal")]
    journal: PathBuf,
    /// Go on with what is missing of the journal's last sweep; where none was broken off, begin the one that is described.
    #[arg(long)]
    resume: bool,
    /// Write a page to read and send.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Write a table.
    #[arg(long, value_name = "FILE.csv")]
    csv: Option<PathBuf>,
    /// Write everything as JSON.
    #[arg(long, value_name = "FILE.json")]
    json: Option<PathBuf>,
    /// Write what existing scripts read, for the first prompt.
    #[arg(long, value_name = "FILE.json")]
    results: Option<PathBuf>,
    /// Run on a module that confirms no prefix even where a large one leaves its text as it was.
    #[arg(long)]
    anyway: bool,
    /// Exit tasks that former clients left, where they take all places of the module.
    #[arg(long)]
    exit_tasks: bool,
}

/// A list as one argument (clap takes a plain `Vec` for a repeated one).
#[derive(Debug, Clone, PartialEq)]
struct List<T>(Vec<T>);

fn values_of(text: &str) -> Result<List<f64>, String> {
    values::parse(text).map(List)
}

fn lens_of(text: &str) -> Result<List<usize>, String> {
    parse_lens(text)
        .map(List)
        .ok_or_else(|| "write whole numbers from 1 up, such as 1,4,16".to_owned())
}

impl SweepArgs {
    fn plan(&self, key: &CaseKey) -> Result<Plan, Failure> {
        let Material { kind, rows } = self.prefix.material()?;
        let list = Values::List(self.values.0.clone());
        let sweep = Sweep {
            kind,
            lens: self
                .len
                .as_ref()
                .map_or_else(|| vec![rows.unwrap_or(1)], |lens| lens.0.clone()),
            magnitudes: if self.token_norms {
                Magnitudes::TokenNorms(list)
            } else {
                Magnitudes::Raw(list)
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
            deep: !self.no_kl,
            name: key.user.chars().take(24).collect(),
            settings: Settings {
                max_new_tokens: Some(self.max_tokens as usize),
                other: softprefix_core::protocol::SetUp::new("", "").greedy().settings,
                ..Settings::default()
            },
            ..Plan::new(Prompt::default(), sweep)
        };
        // What cannot be run is a wrong argument, and costs no loading of a model.
        plan.cases().map_err(|error| Failure::arguments(error.to_string()))?;
        Ok(plan)
    }
}

pub fn run(args: SweepArgs) -> Result<Exit, Failure> {
    let mut key = CaseKey {
        module: String::new(),
        model: String::new(),
        system: args.system.clone(),
        user: args.prompts.first().cloned().unwrap_or_default(),
        max_tokens: args.max_tokens as usize,
        sampling: Sampling::Greedy,
    };
    let described = if args.prompts.is_empty() {
        None
    } else {
        Some(args.plan(&key)?)
    };
    let (journal, entries, _) = Journal::open(&args.journal).map_err(|error| file_failure(&error))?;
    let history = History::of(entries);
    let begun = args
        .resume
        .then(|| history.experiments.iter().rev().find(|past| is_open(past)))
        .flatten();
    let (plan, resume) = match (begun, described) {
        (Some(past), described) => {
            let wanted = &past.experiment.plan;
            if described.is_some_and(|described| described != *wanted) {
                return Err(Failure::arguments(format!(
                    "{} holds an unfinished sweep of other settings ({}). Leave the settings out to go on with it, or --resume to begin \
                     a new one.",
                    args.journal.display(),
                    past.experiment.name
                )));
            }
            (wanted.clone(), Some((past.experiment.clone(), past.finished())))
        }
        (None, Some(plan)) => (plan, None),
        (None, None) => {
            return Err(Failure::arguments(format!(
                "{} holds no unfinished sweep. Say with --prompt what is to be run.",
                args.journal.display()
            )));
        }
    };
    if let (Some((experiment, _)), Some(prompt)) = (&resume, plan.prompts.first()) {
        key.user.clone_from(&prompt.user);
        key.system.clone_from(&prompt.system);
        key.max_tokens = experiment.plan.settings.max_new_tokens.unwrap_or(key.max_tokens);
    }
    let records: Vec<Record> = begun.map(|past| past.records.clone()).unwrap_or_default();
    let runtime = runtime()?;
    let journal = Arc::new(Mutex::new(journal));
    let outcome = runtime.block_on(async {
        let mut interrupts = Interrupts::heard(&args.journal);
        tokio::select! {
            outcome = sweep(&args, &key, plan, resume, records, journal, interrupts.clone()) => outcome,
            () = interrupts.at_least(2) => Ok(Exit::Interrupted),
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    outcome
}

/// How often Ctrl-C was pressed: the first time the sweep lets go of its module and ends, the second time it ends at once.
#[derive(Clone)]
struct Interrupts(watch::Receiver<u32>);

impl Interrupts {
    /// Listens from now on, and answers on the terminal. Must be called from within a tokio runtime.
    fn heard(journal: &Path) -> Self {
        let (count, counted) = watch::channel(0);
        let journal = journal.to_owned();
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                if *count.borrow() == 0 {
                    eprintln!(
                        "\nsoftprefix: interrupted; what was finished is in {}. Add --resume to go on. The task on the module is being \
                         ended; Ctrl-C once more ends this program at once.",
                        journal.display()
                    );
                }
                count.send_modify(|count| *count += 1);
            }
        });
        Self(counted)
    }

    fn any(&self) -> bool {
        *self.0.borrow() > 0
    }

    async fn at_least(&mut self, times: u32) {
        if self.0.wait_for(|count| *count >= times).await.is_err() {
            // Ctrl-C cannot be heard here, and ends the program by itself.
            std::future::pending::<()>().await;
        }
    }
}

/// Whether an experiment has no end yet and some of its cases are missing.
fn is_open(past: &Past) -> bool {
    let planned = past.experiment.plan.cases().map_or(0, |cases| cases.len());
    past.ending.is_none() && (past.finished().len() < planned || past.is_unscored())
}

fn file_failure(error: &dyn std::fmt::Display) -> Failure {
    Failure {
        exit: Exit::File,
        message: error.to_string(),
    }
}

async fn sweep(
    args: &SweepArgs,
    key: &CaseKey,
    plan: Plan,
    resume: Option<(Experiment, HashSet<usize>)>,
    mut records: Vec<Record>,
    journal: SharedJournal,
    mut interrupts: Interrupts,
) -> Result<Exit, Failure> {
    let bar = Arc::new(Mutex::new(Bar::new()));
    let text = SweepText::of(Language::English);
    let target = args.module.clone().with_model(args.model.clone());
    let Some(session) = open_or_leave(target, args.exit_tasks, key, &bar, &mut interrupts).await? else {
        return Ok(Exit::Interrupted);
    };
    let facts = session.facts();
    if let Err(failure) = args.prefix.check(facts.hidden_size) {
        session.close().await;
        return Err(failure);
    }
    if let Some((experiment, finished)) = &resume {
        let begun_with = &experiment.module.model;
        if *begun_with != facts.model {
            return Err(Failure::arguments(format!(
                "the sweep was begun with {begun_with}, and {} is set up here. Name that model with --model.",
                facts.model
            )));
        }
        say(
            &bar,
            &format!("going on with {}: {} runs are there", experiment.name, finished.len()),
        );
    }
    let second = match args.also.clone() {
        Some(target) => match second(args, target, &session).await {
            Ok(target) => Some(target),
            Err(failure) => {
                session.close().await;
                return Err(failure);
            }
        },
        None => None,
    };
    say(&bar, &format!("{} on {}", facts.model, facts.address));
    say_weights(&bar, facts);
    // The runner sets up a task of its own; a module with few places needs this one's.
    session.forget_task().await;
    let resume = resume.map(|(experiment, finished)| Resume {
        experiment,
        finished,
        known: records.clone(),
        canary: true,
    });
    let twin = plan.clone();
    let mut request = request_of(&session, key, plan, Some(Arc::clone(&journal)), resume);
    request.options.stop_without_effect = !args.anyway;
    let run = Run::start(request).map_err(|error| Failure::arguments(error.to_string()))?;
    let followed = follow(run, &mut records, &bar, text, &mut interrupts).await;
    session.close().await;
    let (experiment, mut end) = followed?;
    if interrupts.any() {
        return Ok(Exit::Interrupted);
    }
    records.sort_by_key(|record| record.case.index);
    let mut elsewhere = None;
    let mut trouble = None;
    if let (RunEnd::Complete, Some(target)) = (&end, second) {
        let ours = (args, key, &bar);
        match on_the_other(ours, target, twin, journal, &mut interrupts).await {
            _ if interrupts.any() => return Ok(Exit::Interrupted),
            Ok((experiment, theirs, ended)) => {
                elsewhere = experiment.map(|experiment| (experiment, theirs));
                end = ended;
            }
            // What the first module did is told and written all the same.
            Err(failure) => trouble = Some(failure),
        }
    }
    super::compare::clear(&bar);
    if let Some(experiment) = &experiment {
        let tables =
            std::iter::once((experiment, &records)).chain(elsewhere.iter().map(|(other, theirs)| (other, theirs)));
        for (experiment, records) in tables {
            if elsewhere.is_some() {
                let module = &experiment.module;
                print(&format!(
                    "{} on {} (H {})\n",
                    module.model, module.address, module.hidden_size
                ));
            }
            let file = softprefix_core::experiment::export::to_results_file(experiment, records, 0);
            print(&softprefix_core::compare::Report::from(&file).to_table());
        }
        let all: Vec<Record> = records
            .iter()
            .chain(elsewhere.iter().flat_map(|(_, theirs)| theirs))
            .cloned()
            .collect();
        let outputs = [
            (&args.report, Format::Html, &all),
            (&args.csv, Format::Csv, &all),
            (&args.json, Format::Json, &all),
            // What existing scripts read has room for one module.
            (&args.results, Format::Results, &records),
        ];
        for (path, format, records) in outputs {
            if let Some(path) = path {
                write(path, format, experiment, records)?;
                say(&bar, &format!("saved in {}", path.display()));
            }
        }
        records = all;
    }
    if let Some(failure) = trouble {
        return Err(failure);
    }
    let failed = records.iter().any(|record| record.error().is_some());
    match end {
        RunEnd::Complete if failed => Ok(Exit::Module),
        RunEnd::Complete => Ok(Exit::Success),
        RunEnd::Cancelled => Ok(Exit::Interrupted),
        RunEnd::NoEffect => Ok(Exit::Module),
        RunEnd::Interrupted { error } => Err(Failure {
            exit: Exit::Module,
            message: format!(
                "{error} What was finished is in {}; add --resume to go on.",
                args.journal.display()
            ),
        }),
    }
}

/// The second module, asked before anything is run: with the model that was named, else with that of the first.
async fn second(args: &SweepArgs, target: Target, first: &Session) -> Result<Target, Failure> {
    let model = args.also_model.clone().unwrap_or_else(|| first.facts().model.clone());
    match ask(target, model, ConnectOptions::default()).await? {
        Second::Has(target) => Ok(target),
        Second::Lacks { model, models } => Err(Failure::arguments(format!(
            "The second module has no {model}. Name one of its models with --also-model: {}.",
            models.join(", ")
        ))),
    }
}

/// The same plan on the second module, as an experiment of its own.
async fn on_the_other(
    (args, key, bar): (&SweepArgs, &CaseKey, &Arc<Mutex<Bar>>),
    target: Target,
    plan: Plan,
    journal: SharedJournal,
    interrupts: &mut Interrupts,
) -> Result<(Option<Experiment>, Vec<Record>, RunEnd), Failure> {
    let Some(session) = open_or_leave(target, args.exit_tasks, key, bar, interrupts).await? else {
        return Ok((None, Vec::new(), RunEnd::Cancelled));
    };
    let facts = session.facts();
    say(bar, &format!("the same on {} on {}", facts.model, facts.address));
    session.forget_task().await;
    let mut request = request_of(&session, key, plan, Some(journal), None);
    request.options.stop_without_effect = !args.anyway;
    let run = Run::start(request).map_err(|error| Failure::arguments(error.to_string()))?;
    let mut records = Vec::new();
    let followed = follow(run, &mut records, bar, SweepText::of(Language::English), interrupts).await;
    session.close().await;
    let (experiment, end) = followed?;
    records.sort_by_key(|record| record.case.index);
    Ok((experiment, records, end))
}

/// Opens the module; `None` where Ctrl-C was pressed meanwhile. Another machine's module is waited for even then, since it would
/// keep a task that is set up and that nobody ends.
async fn open_or_leave(
    target: Target,
    exit_tasks: bool,
    key: &CaseKey,
    bar: &Arc<Mutex<Bar>>,
    interrupts: &mut Interrupts,
) -> Result<Option<Session>, Failure> {
    let is_elsewhere = matches!(target, Target::Remote { .. });
    let mut opening = std::pin::pin!(open(target, exit_tasks, key, bar));
    tokio::select! {
        opened = &mut opening => return opened.map(Some),
        () = interrupts.at_least(1) => {}
    }
    if is_elsewhere && let Ok(session) = opening.await {
        session.close().await;
    }
    Ok(None)
}

/// Runs to the end, tells how far it is, and gathers the records. After Ctrl-C, lets go of the module.
async fn follow(
    mut run: Run,
    records: &mut Vec<Record>,
    bar: &Arc<Mutex<Bar>>,
    text: &SweepText,
    interrupts: &mut Interrupts,
) -> Result<(Option<Experiment>, RunEnd), Failure> {
    let mut experiment = None;
    let mut end = RunEnd::Cancelled;
    loop {
        let event = tokio::select! {
            event = run.next() => event,
            () = interrupts.at_least(1) => {
                run.leave().await;
                return Ok((experiment, RunEnd::Cancelled));
            }
        };
        let Some(event) = event else {
            return Ok((experiment, end));
        };
        match event {
            RunEvent::Started(started) => experiment = Some(*started),
            RunEvent::CaseFinished(record) => {
                if let Some(error) = record.error() {
                    say(bar, &format!("{}: {error}", record.case.name));
                }
                records.push(*record);
            }
            RunEvent::Progress(progress) => {
                let fraction = progress.finished as f32 / progress.total.max(1) as f32;
                let left = progress
                    .left
                    .map(|left| format!(". {}", (text.left)(left)))
                    .unwrap_or_default();
                let words = match (progress.finished == progress.total, progress.unscored) {
                    (true, unscored @ 1..) => format!("all runs finished; KL of {unscored} to go"),
                    _ => format!("{} of {} runs{left}", progress.finished, progress.total),
                };
                show(bar, Some(fraction), &words);
            }
            RunEvent::Scored { record, scores } => {
                if let Some(record) = records.iter_mut().rev().find(|known| known.id == record) {
                    record.scores = Some(scores);
                }
            }
            RunEvent::NotScored { count, error } => say(bar, &format!("no KL of {count} runs: {error}")),
            RunEvent::Canary(canary) => say(bar, canary.sentence()),
            RunEvent::Reconnecting { because } => say(bar, &format!("the module is gone ({because}); reconnecting")),
            RunEvent::CanaryFailed { error } => say(
                bar,
                &format!("it could not be tried whether the module uses prefixes: {error}"),
            ),
            RunEvent::CaseLost { name, error, .. } => say(bar, &format!("{name}: {error}")),
            RunEvent::JournalFailed { error } => {
                run.leave().await;
                return Err(file_failure(&error));
            }
            RunEvent::Ended(how) => end = how,
            RunEvent::CaseStarted { .. } | RunEvent::Text { .. } | RunEvent::Reconnected | RunEvent::Threshold(_) => {}
        }
    }
}

fn write(path: &Path, format: Format, experiment: &Experiment, records: &[Record]) -> Result<(), Failure> {
    let text = format.write(experiment, records, 0, Language::of_environment());
    std::fs::write(path, text).map_err(|error| {
        file_failure(&format!(
            "{} cannot be written ({error}). The journal has everything; choose another place and add --resume.",
            path.display()
        ))
    })
}
