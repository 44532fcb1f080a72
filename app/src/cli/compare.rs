//! `softprefix compare`: a baseline and a row of prefixes on one prompt, saved and measured.
//!
//! On our unit all cases go out at once and run as one batch; a stranger gets them one after the other. What is finished is
//! on disk before the next case ends.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use softprefix_core::client::{ConnectOptions, InferenceEvent, InferenceRequest, Task};
use softprefix_core::compare::{Report, ResultEntry, ResultExtra, ResultsFile};
use softprefix_core::prefix::{Magnitude, PrefixRecipe, SoftPrefix};
use softprefix_core::protocol::extension::{Priority, StoredWeights};
use tokio::sync::mpsc;

use super::bar::Bar;
use super::models::fetch_words;
use super::prefix::{Material, PrefixArgs};
use super::shell::{Failure, print, runtime};
use super::values;
use crate::bridge::outcome_of;
use crate::errors::problem_of;
use crate::model::{BuiltPrefix, CaseKey, ConnectStep, ModuleFacts, PRESETS, Problem, ProblemKind, Sampling, Target};
use crate::session::embedded::{self, Embedded, Wanted};
use crate::session::{ConnectProblem, Session};
use crate::start::Exit;
use crate::{places, results};

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Where to run: `embedded`, or HOST[:PORT] of a StackFlow module.
    #[arg(long, default_value = "embedded", value_parser = crate::start::target)]
    module: Target,
    /// Model: a name that `softprefix models` (or the module) lists, or a GGUF file.
    #[arg(long)]
    model: Option<String>,
    /// The user's text.
    #[arg(long)]
    prompt: String,
    /// The system prompt.
    #[arg(long, default_value = PRESETS[0].system)]
    system: String,
    /// Magnitudes, small to large: 0,1e-4,0.01 or 1e-4,...,2 for 1-2-5 steps. Raw values, as existing scripts give them, unless
    /// --token-norms. Left out, rows that have a size of their own (of words, of a file) stay as they are, and others take
    /// 0,1e-4,...,2.
    #[arg(long, value_name = "LIST", value_parser = values_of, allow_hyphen_values = true)]
    values: Option<Values>,
    /// The values are raw: the scale of the prefix's values (the default).
    #[arg(long, conflicts_with = "token_norms")]
    raw: bool,
    /// The values are L2 norms of each row, over the median norm of the vocabulary.
    #[arg(long)]
    token_norms: bool,
    /// P: rows of each prefix [default: as many as the file has, else 1].
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u16).range(1..))]
    len: Option<u16>,
    #[command(flatten)]
    prefix: PrefixArgs,
    /// Most output tokens.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// Runs of the baseline: from two on, the noise of the module is known.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=20))]
    baselines: u8,
    /// Where to save the results.
    #[arg(long, value_name = "FILE", default_value = "compare_results.json")]
    out: PathBuf,
    /// Exit tasks that former clients left, where they take all places of the module.
    #[arg(long)]
    exit_tasks: bool,
    /// Print the report as JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// A list of magnitudes (clap takes a plain `Vec` for a repeated argument).
#[derive(Debug, Clone, PartialEq)]
struct Values(Vec<f64>);

fn values_of(text: &str) -> Result<Values, String> {
    values::parse(text).map(Values)
}

/// Longest wait, once interrupted, for a set-up that is under way.
const LEAVING: std::time::Duration = std::time::Duration::from_secs(10);

/// One case to run: a baseline where there is no recipe.
struct Plan {
    name: String,
    recipe: Option<PrefixRecipe>,
}

impl CompareArgs {
    fn recipes(&self) -> Result<Vec<PrefixRecipe>, Failure> {
        let Material { kind, rows } = self.prefix.material()?;
        let len = self.len.map_or(rows.unwrap_or(1), usize::from);
        let own_size = kind.has_own_size();
        let recipe = |magnitude| PrefixRecipe {
            kind: kind.clone(),
            len,
            magnitude,
            rounding: self.prefix.rounding(),
        };
        let values = match &self.values {
            Some(values) => values.0.clone(),
            None if own_size && !self.token_norms && !self.raw => return Ok(vec![recipe(Magnitude::Unscaled)]),
            None => values::parse(values::USUAL).map_err(Failure::arguments)?,
        };
        if self.token_norms
            && let Some(value) = values.iter().find(|&&value| value < 0.0)
        {
            return Err(Failure::arguments(format!("{value} is no norm: norms are 0 or more.")));
        }
        let magnitude = |value: f64| {
            if self.token_norms {
                Magnitude::TokenNorms(value)
            } else {
                Magnitude::Raw(value)
            }
        };
        Ok(values.into_iter().map(|value| recipe(magnitude(value))).collect())
    }
}

pub fn run(args: CompareArgs) -> Result<Exit, Failure> {
    if args.prompt.trim().is_empty() {
        return Err(Failure::arguments(
            "--prompt is empty; write what the model is to answer.",
        ));
    }
    let recipes = args.recipes()?;
    writable(&args.out)?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(compare(&args, recipes));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    outcome
}

/// Tells before an hour of work, not after it, that the results cannot be saved.
fn writable(path: &std::path::Path) -> Result<(), Failure> {
    let existed = path.exists();
    match std::fs::OpenOptions::new().create(true).append(true).open(path) {
        Ok(_) => {
            if !existed {
                let _ = std::fs::remove_file(path);
            }
            Ok(())
        }
        Err(error) => Err(Failure {
            exit: Exit::File,
            message: format!(
                "{} cannot be written ({error}). Choose another file with --out.",
                path.display()
            ),
        }),
    }
}

async fn compare(args: &CompareArgs, recipes: Vec<PrefixRecipe>) -> Result<Exit, Failure> {
    let bar = Arc::new(Mutex::new(Bar::new()));
    let mut key = CaseKey {
        module: String::new(),
        model: String::new(),
        system: args.system.clone(),
        user: args.prompt.clone(),
        max_tokens: args.max_tokens as usize,
        sampling: Sampling::Greedy,
    };
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    let target = args.module.clone().with_model(args.model.clone());
    let mut opening = Box::pin(open(target, args.exit_tasks, &key, &bar));
    let session = tokio::select! {
        session = &mut opening => session?,
        _ = &mut interrupt => {
            // A set-up that has been sent makes a task, whoever waits for it or not; so it is waited for, and exited.
            say(&bar, "softprefix: interrupted; leaving the module");
            if let Ok(Ok(session)) = tokio::time::timeout(LEAVING, &mut opening).await {
                session.close().await;
            }
            return Ok(Exit::Interrupted);
        }
    };
    drop(opening);
    let facts = session.facts();
    if let Err(failure) = args.prefix.check(facts.hidden_size) {
        session.close().await;
        return Err(failure);
    }
    key.model.clone_from(&facts.model);
    if !facts.embedded {
        key.module.clone_from(&facts.address);
    }
    say(
        &bar,
        &format!("{} on {} ({})", facts.model, facts.address, unit_words(facts.ours)),
    );
    say_weights(&bar, facts);

    let baselines = (1..=args.baselines).map(|n| Plan {
        name: if n == 1 {
            results::BASELINE.to_owned()
        } else {
            format!("{}_{n}", results::BASELINE)
        },
        recipe: None,
    });
    let prefixed = recipes.into_iter().map(|recipe| {
        let raw = match recipe.magnitude {
            Magnitude::Raw(raw) => Some(raw),
            _ => None,
        };
        Plan {
            name: results::entry_name(&recipe, raw),
            recipe: Some(recipe),
        }
    });
    let plans: Vec<Plan> = baselines.chain(prefixed).collect();

    // All prefixes are built first: a recipe that gives none is a wrong argument, and costs no run.
    let mut cases = Vec::new();
    for plan in &plans {
        let prefix = match &plan.recipe {
            Some(recipe) => Some(session.build(recipe).await?),
            None => None,
        };
        let built = plan
            .recipe
            .as_ref()
            .zip(prefix.as_ref())
            .map(|(recipe, prefix)| session.describe(recipe, prefix));
        cases.push((prefix, built));
    }

    let vals = cases
        .iter()
        .filter_map(|(_, built)| built.as_ref().and_then(|built| built.raw))
        .collect();
    let mut file = ResultsFile {
        meta: results::meta(
            &key,
            Some(facts),
            plans
                .iter()
                .find_map(|plan| Some(plan.recipe.as_ref()?.len))
                .unwrap_or(0),
            vals,
        ),
        results: Vec::new(),
        extra: Some(results::file_extra(&key, Some(facts))),
        ..ResultsFile::default()
    };
    let mut done: Vec<Option<ResultEntry>> = plans.iter().map(|_| None).collect();
    let mut failed = false;
    let mut batch = Batch::start(&session, &key, cases, facts.concurrency.max(1)).await?;
    loop {
        let progress = tokio::select! {
            progress = batch.next() => progress,
            _ = &mut interrupt => {
                // The cases stop when the batch goes; the task must not stay on the module.
                drop(batch);
                session.close().await;
                let what = match file.results.is_empty() {
                    true => "no case was finished".to_owned(),
                    false => format!("what was finished is in {}", args.out.display()),
                };
                return Ok(interrupted(&bar, &what));
            }
        };
        let Some(progress) = progress else { break };
        let (at, entry) = match progress {
            Progress::Tokens(count) => {
                let finished = done.iter().filter(|entry| entry.is_some()).count();
                let total = plans.len();
                let fraction = (finished as f32 / total as f32).max(0.0);
                show(
                    &bar,
                    Some(fraction),
                    &format!("{finished} of {total} cases, {count} pieces of text"),
                );
                continue;
            }
            Progress::Done(at, outcome, built) => {
                let prefix = plans[at].recipe.as_ref().zip(built.as_ref());
                (at, results::entry(&plans[at].name, prefix, &outcome))
            }
            Progress::Failed(at, problem, built) => {
                failed = true;
                say(&bar, &format!("{}: {problem}", plans[at].name));
                (at, failed_entry(&plans[at], built.as_ref(), &problem))
            }
        };
        done[at] = Some(entry);
        file.results = done.iter().flatten().cloned().collect();
        file.write(&args.out).map_err(|error| Failure {
            exit: Exit::File,
            message: error.to_string(),
        })?;
    }
    session.close().await;
    lock(&bar).clear();

    let report = Report::from(&file);
    print(&if args.json { report.to_json() } else { report.to_table() });
    say(&bar, &format!("saved in {}", args.out.display()));
    Ok(if failed { Exit::Module } else { Exit::Success })
}

fn interrupted(bar: &Mutex<Bar>, what: &str) -> Exit {
    say(bar, &format!("softprefix: interrupted; {what}"));
    Exit::Interrupted
}

fn unit_words(ours: bool) -> &'static str {
    if ours {
        "softprefix-unit: all cases as one batch"
    } else {
        "a stranger's unit: one case after the other"
    }
}

fn failed_entry(plan: &Plan, built: Option<&BuiltPrefix>, problem: &Problem) -> ResultEntry {
    let mut entry = ResultEntry::new(plan.name.as_str(), "", 0.0);
    let mut extra = ResultExtra {
        error: Some(problem.to_string()),
        ..ResultExtra::default()
    };
    if let (Some(recipe), Some(built)) = (&plan.recipe, built) {
        entry = entry.with_prefix(built.len, built.hidden_size, built.raw);
        extra.recipe = serde_json::to_value(recipe).ok();
        extra.sha256 = Some(built.sha256.clone());
        extra.token_norms = built.norms;
    }
    entry.extra = Some(extra);
    entry
}

pub(super) async fn open(
    target: Target,
    exit_tasks: bool,
    key: &CaseKey,
    bar: &Arc<Mutex<Bar>>,
) -> Result<Session, Failure> {
    let step = |step: ConnectStep| {
        show(
            bar,
            None,
            match step {
                ConnectStep::Starting => "starting the embedded module",
                ConnectStep::Opening => "connecting",
                ConnectStep::Asking => "asking the module what it is",
                ConnectStep::SettingUp => "setting up the model",
            },
        );
    };
    let opened = match target {
        Target::Remote { address, model } => {
            let first = Session::open(&address, model.as_deref(), None, key, ConnectOptions::default(), step).await;
            match first {
                Err(ConnectProblem::TaskFull(tasks)) if exit_tasks => {
                    exit_all(&address, &tasks).await?;
                    Session::open(&address, model.as_deref(), None, key, ConnectOptions::default(), step).await
                }
                first => first,
            }
        }
        Target::Embedded { model } => {
            let (name, store) = find_or_fetch(model, bar).await?;
            let observer = {
                let bar = Arc::clone(bar);
                Arc::new(move |model: &str, fraction: f32, what: &str| {
                    show(&bar, Some(fraction), &format!("loading {model}: {what}"));
                })
            };
            let embedded = Embedded::start(Arc::new(store), observer).await?;
            let address = embedded.address().to_string();
            Session::open(
                &address,
                Some(&name),
                Some(embedded),
                key,
                ConnectOptions::default(),
                |_| {},
            )
            .await
        }
    };
    let opened = opened.map(|session| session.with_shelf(Some(places::shelf())));
    opened.map_err(|problem| match problem {
        ConnectProblem::Other(problem) => problem.into(),
        ConnectProblem::TaskFull(tasks) => Problem::new(
            ProblemKind::TaskFull,
            format!("The module already runs all the tasks it can: {}.", tasks.join(", ")),
            "If a former client left them, exit them with --exit-tasks.",
        )
        .into(),
    })
}

async fn exit_all(address: &str, tasks: &[String]) -> Result<(), Failure> {
    use softprefix_core::client::Module;
    let failed = |error| Failure::from(problem_of(&error));
    let module = Module::connect(address, ConnectOptions::default())
        .await
        .map_err(failed)?;
    for task in tasks {
        module.exit(task).await.map_err(failed)?;
    }
    Ok(())
}

async fn find_or_fetch(
    model: Option<String>,
    bar: &Arc<Mutex<Bar>>,
) -> Result<(String, softprefix_unit::models::ModelStore), Failure> {
    let bar = Arc::clone(bar);
    let found = tokio::task::spawn_blocking(move || {
        let name = match embedded::wanted(model.as_deref())? {
            Wanted::Present { name, store } => return Ok((name, store)),
            Wanted::Missing(entries) => embedded::fetch(&entries, &AtomicBool::new(false), |progress| {
                show(&bar, progress.fraction(), &fetch_words(&progress));
            })?,
        };
        match embedded::wanted(name.as_deref())? {
            Wanted::Present { name, store } => Ok((name, store)),
            Wanted::Missing(_) => Err(Problem::new(
                ProblemKind::Model,
                "The model was fetched but cannot be found.",
                "Check that nothing clears the model folder, and try again.",
            )),
        }
    })
    .await;
    match found {
        Ok(found) => found.map_err(Failure::from),
        Err(error) => Err(Failure {
            exit: Exit::Module,
            message: format!("Looking for the model broke off ({error})."),
        }),
    }
}

/// What comes out of running cases.
enum Progress {
    /// Pieces of text so far, of all cases.
    Tokens(usize),
    Done(usize, crate::model::RunOutcome, Option<BuiltPrefix>),
    Failed(usize, Problem, Option<BuiltPrefix>),
}

/// The cases on their way: as many at once as the unit takes.
struct Batch {
    progress: mpsc::Receiver<Progress>,
    /// Dropping it stops what still runs.
    _driver: tokio::task::JoinSet<()>,
}

impl Batch {
    async fn start(
        session: &Session,
        key: &CaseKey,
        cases: Vec<(Option<SoftPrefix>, Option<BuiltPrefix>)>,
        at_once: usize,
    ) -> Result<Self, Failure> {
        let task = session.task_for(key).await?;
        let (sender, progress) = mpsc::channel(256);
        let places = Arc::new(tokio::sync::Semaphore::new(at_once));
        let pieces = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let mut driver = tokio::task::JoinSet::new();
        let (prompt, max_tokens) = (key.user.clone(), key.max_tokens);
        driver.spawn(async move {
            let mut running = tokio::task::JoinSet::new();
            for (at, (prefix, built)) in cases.into_iter().enumerate() {
                // In order, so that a stranger's baseline comes first.
                let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                    break;
                };
                let request = InferenceRequest::new(prompt.as_str())
                    .prefix(prefix)
                    .max_new_tokens(max_tokens)
                    .priority(Priority::Batch);
                let (task, sender, pieces) = (task.clone(), sender.clone(), Arc::clone(&pieces));
                running.spawn(async move {
                    one(&task, request, at, built, &sender, &pieces).await;
                    drop(place);
                });
            }
            while running.join_next().await.is_some() {}
        });
        Ok(Self {
            progress,
            _driver: driver,
        })
    }

    async fn next(&mut self) -> Option<Progress> {
        self.progress.recv().await
    }
}

async fn one(
    task: &Task,
    request: InferenceRequest,
    at: usize,
    built: Option<BuiltPrefix>,
    sender: &mpsc::Sender<Progress>,
    pieces: &std::sync::atomic::AtomicUsize,
) {
    let sent = built.as_ref().map(|built| built.sha256.clone());
    let mut inference = task.infer(request);
    while let Some(event) = inference.next().await {
        let progress = match event {
            Ok(InferenceEvent::Delta(_)) => {
                Progress::Tokens(pieces.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1)
            }
            Ok(InferenceEvent::Done(outcome)) => {
                let outcome = outcome_of(outcome, sent.as_deref(), false);
                let _ = sender.send(Progress::Done(at, outcome, built)).await;
                return;
            }
            Err(error) => {
                let _ = sender.send(Progress::Failed(at, problem_of(&error), built)).await;
                return;
            }
        };
        let _ = sender.send(progress).await;
    }
    let problem = Problem::new(
        ProblemKind::Module,
        "The inference ended without a word.",
        "Run it again.",
    );
    let _ = sender.send(Progress::Failed(at, problem, built)).await;
}

fn lock(bar: &Mutex<Bar>) -> std::sync::MutexGuard<'_, Bar> {
    bar.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the bar away.
pub(super) fn clear(bar: &Mutex<Bar>) {
    lock(bar).clear();
}

pub(super) fn show(bar: &Mutex<Bar>, fraction: Option<f32>, words: &str) {
    lock(bar).show(fraction, words);
}

pub(super) fn say(bar: &Mutex<Bar>, sentence: &str) {
    lock(bar).say(sentence);
}

/// Which numbers are not the model file's own is part of what was compared.
pub(super) fn say_weights(bar: &Mutex<Bar>, facts: &ModuleFacts) {
    if !facts.weights.is_empty() {
        let weights = StoredWeights::sentence(&facts.weights);
        say(bar, &format!("weight matrices: {weights}"));
    }
}
