//! Learns, chooses and searches prefixes for the window.
//!
//! While learning, each frame that the unit sends is saved before the window sees it. From time to time the first example's prompt is run
//! with the best rows so far, to show their output. Such a run can fail, for example because the unit has no memory for it; learning
//! continues.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use softprefix_core::client::Task;
use softprefix_core::experiment::session::{self, CaseRequest, FinishedCase, Stop};
use softprefix_core::experiment::{
    Case, Entry, Experiment, LearnPlan, Library, ModuleIdentity, Prompt, Settings, SharedJournal, WRITTEN_BY,
};
use softprefix_core::prefix::{
    Magnitude, Origin, PrefixKind, PrefixRecipe, PrefixStore, PrefixSummary, Rounding, SoftPrefix, encode, files,
};
use softprefix_core::protocol::extension::Priority;
use softprefix_core::protocol::learn::Init;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};

use super::events::Events;
use super::{choose, material};
use crate::errors::{self, journal_problem, prefix_file_problem, prefix_store_problem, task_failed};
use crate::messages::{Event, FindEvent, FindRequest, FindWork};
use crate::model::{Bilingual, FoundPrefix, FoundRows, ImportedFile, Nearest, Problem, ProblemKind, beginning};
use crate::session::Session;
use crate::session::learning::{BestRows, Learner, TOKENS_BEYOND_TARGET, examples};

/// Maximum length in characters of the default name of an experiment or of learned rows, which is the beginning of the first target: what
/// a line of the history has room for.
const NAME_CHARACTERS: usize = 32;
/// Minimum time between the end of a run with the best rows and the start of the next one: a person can read an output meanwhile. Learning
/// is slower during a run, since both use the model.
const MIN_RUN_INTERVAL: Duration = Duration::from_secs(3);
/// The same time as a multiple of the ended run's duration, so that slow modules spend at most a fifth of the time on runs. The longer of
/// the two counts.
const MIN_INTERVAL_PER_RUN_TIME: u32 = 4;
/// Output tokens of a run where several examples are learned: enough to recognise a style, since there is no single target to reach.
const TOKENS_WITH_SEVERAL_EXAMPLES: usize = 96;

/// The work in progress: at most one, whether it is learning, choosing or searching.
#[derive(Default)]
pub(super) struct FindWorker {
    stop: Option<watch::Sender<bool>>,
    current_work: Option<JoinHandle<()>>,
}

/// What requests need from the bridge.
pub(super) struct FindContext {
    pub session: Option<Arc<Session>>,
    pub library: Option<Arc<Library>>,
    pub store: Option<PrefixStore>,
    pub events: Events,
}

impl FindWorker {
    /// Starts or stops work, or answers a query in the background.
    pub(super) fn handle(&mut self, request: FindRequest, context: FindContext) {
        match request {
            FindRequest::Start { number, work } => self.start(number, work, context),
            FindRequest::Stop => self.stop(),
            request => {
                let events = context.events.clone();
                let work = async move {
                    if let Err(problem) = answer_query(request, &context).await {
                        report(&context.events, FindEvent::QueryFailed(problem)).await;
                    }
                };
                events.spawn(work, |problem| Event::Find(Box::new(FindEvent::QueryFailed(problem))));
            }
        }
    }

    /// Starts work, after stopping the work in progress and waiting for its end.
    fn start(&mut self, number: u64, work: FindWork, context: FindContext) {
        self.stop();
        let previous = self.current_work.take();
        let (stop, stopped) = Stop::pair();
        self.stop = Some(stop);
        let events = context.events.clone();
        let work = async move {
            if let Some(previous) = previous
                && let Err(error) = previous.await
            {
                tracing::warn!(%error, "the previous work panicked");
            }
            let problem = do_work(work, stopped, &context).await.err();
            report(&context.events, FindEvent::Ended { number, problem }).await;
        };
        let on_failure = move |problem| {
            let problem = Some(problem);
            Event::Find(Box::new(FindEvent::Ended { number, problem }))
        };
        self.current_work = Some(events.spawn(work, on_failure));
    }

    /// Stops the work in progress; its best rows are saved.
    pub(super) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send_replace(true);
        }
    }
}

async fn do_work(work: FindWork, stop: Stop, context: &FindContext) -> Result<(), Problem> {
    match work {
        FindWork::Learn { plan, init } => learn(*plan, init, stop, context).await,
        FindWork::Choose(start) => choose::begin(*start, stop, context).await,
        FindWork::ChooseNext { experiment, generation } => {
            choose::next_generation(experiment, *generation, stop, context).await
        }
        FindWork::Search {
            start,
            objective,
            budget,
        } => choose::search(*start, (*objective, budget), stop, context).await,
        FindWork::ResumeSearch { experiment } => choose::resume_search(experiment, stop, context).await,
    }
}

pub(super) async fn report(events: &Events, event: FindEvent) {
    events.send(Event::Find(Box::new(event))).await;
}

/// An experiment and its journal.
#[derive(Clone)]
pub(super) struct ExperimentJournal {
    pub experiment: Experiment,
    pub journal: SharedJournal,
}

impl ExperimentJournal {
    /// Creates the journal with its first line. Blocks on the disk.
    pub fn create(library: &Library, experiment: Experiment) -> Result<Self, Problem> {
        let journal = library.create(&experiment).map_err(|error| journal_problem(&error))?;
        Ok(Self { experiment, journal })
    }

    /// Creates the journal of a learning experiment, with its plan. Blocks on the disk.
    fn create_for_learning(library: &Library, experiment: Experiment, plan: LearnPlan) -> Result<Self, Problem> {
        let journal = Self::create(library, experiment)?;
        journal.append(&Entry::Learning {
            experiment: journal.experiment.id.clone(),
            plan: Box::new(plan),
        })?;
        Ok(journal)
    }

    /// Appends a line. Blocks on the disk.
    fn append(&self, entry: &Entry) -> Result<(), Problem> {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.append(entry).map_err(|error| journal_problem(&error))
    }

    /// Appends a line on a thread that may block.
    pub async fn append_async(&self, entry: Entry) -> Result<(), Problem> {
        let journal = self.clone();
        run_blocking(move || journal.append(&entry)).await
    }
}

/// Runs work that blocks, on a thread that may.
pub(super) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(task_failed)?
}

/// Learns until the last frame, and runs the last best rows. Learning starts from the rows of `init` if it is given.
async fn learn(
    mut plan: LearnPlan,
    init: Option<PrefixRecipe>,
    stop: Stop,
    context: &FindContext,
) -> Result<(), Problem> {
    let session = context.session.clone().ok_or_else(errors::not_connected)?;
    let library = context.library.clone().ok_or_else(errors::no_library)?;
    if let Some(recipe) = init {
        let rows = session.build(&recipe).await?;
        plan.request.len = rows.len();
        plan.request.init = Init::Rows(encode(&rows));
    }
    // A separate task, because that of Tune is replaced when its system prompt changes.
    let task = session
        .set_up(&plan.system, &Settings::default())
        .await
        .map_err(|error| session.problem(error))?;
    let outcome = learn_on_task(&session, &task, plan, library, stop, &context.events).await;
    if let Err(error) = task.exit().await {
        tracing::debug!(%error, "the task of a learning experiment could not be exited");
    }
    outcome
}

async fn learn_on_task(
    session: &Session,
    task: &Task,
    plan: LearnPlan,
    library: Arc<Library>,
    mut stop: Stop,
    events: &Events,
) -> Result<(), Problem> {
    let module = session.facts().identity.clone();
    let examples = &plan.request.examples;
    let target = examples.first().map_or("", |example| example.target.as_str());
    let experiment = Experiment::new(beginning(target, NAME_CHARACTERS), None, module.clone());
    let rows_file = library.rows_of(&experiment.id);
    let learner = Learner::begin(task, plan.clone(), module, rows_file, session.prefix_store().cloned())?;
    let (experiment_copy, plan_copy) = (experiment.clone(), plan.clone());
    let create = move || ExperimentJournal::create_for_learning(&library, experiment_copy, plan_copy);
    let journal = run_blocking(create).await?;
    let started = FindEvent::LearnStarted {
        experiment: Box::new(experiment),
        plan: Box::new(plan.clone()),
    };
    report(events, started).await;
    let mut runs = BestRowsRuns::new(OutputRunner {
        session: Arc::clone(session.core()),
        task: task.clone(),
        plan,
        journal,
        events: events.clone(),
    });
    let outcome = process_frames(learner, &mut runs, &mut stop).await;
    // After an error a run may be in progress. It must not report anything after the end of this work.
    runs.abort().await;
    outcome
}

/// Saves and reports each frame up to the last one. From time to time runs the best rows; the last ones whatever the interval, unless their
/// output is known already.
///
/// # Errors
/// If learning fails, something cannot be saved, or the last run fails.
async fn process_frames(mut learner: Learner, runs: &mut BestRowsRuns, stop: &mut Stop) -> Result<(), Problem> {
    let runner = Arc::clone(&runs.runner);
    let mut stopping = false;
    loop {
        let frame = tokio::select! {
            frame = learner.next_frame() => frame?,
            () = stop.requested(), if !stopping => {
                stopping = true;
                learner.stop()?;
                continue;
            }
        };
        let frame = learner.save_frame(frame).await?;
        let is_last = frame.finish;
        let entry = Entry::Learned {
            experiment: runner.journal.experiment.id.clone(),
            frame: Box::new(frame.clone()),
        };
        runner.journal.append_async(entry).await?;
        report(&runner.events, FindEvent::LearnProgress(Box::new(frame))).await;
        if let Some(best) = learner.best() {
            runs.run_if_due(best, is_last).await?;
        }
        if is_last {
            runs.wait().await?;
            return runs.last_failure.take().map_or(Ok(()), Err);
        }
    }
}

/// What a run with the best rows needs.
struct OutputRunner {
    session: Arc<session::Session>,
    task: Task,
    plan: LearnPlan,
    journal: ExperimentJournal,
    events: Events,
}

/// Runs with the best rows so far, one at a time.
struct BestRowsRuns {
    runner: Arc<OutputRunner>,
    /// SHA-256 of the rows that were run last, or are being run; `None` if that run failed.
    last_run_digest: Option<String>,
    /// Why the last run failed; `None` if it did not.
    last_failure: Option<Problem>,
    /// The run in progress; at most one.
    running: JoinSet<Result<EndedRun, Problem>>,
    /// The earliest start of the next run.
    not_before: Instant,
    /// Index of the next run's case.
    index: usize,
}

/// A run with the best rows whose record is saved.
struct EndedRun {
    duration: Duration,
    /// Why it gave no output.
    failure: Option<Problem>,
}

impl BestRowsRuns {
    fn new(runner: OutputRunner) -> Self {
        Self {
            runner: Arc::new(runner),
            last_run_digest: None,
            last_failure: None,
            running: JoinSet::new(),
            not_before: Instant::now(),
            index: 0,
        }
    }

    /// Starts a run if the output of the best rows is not known, no run is in progress and enough time has passed. The last rows are run
    /// after the run in progress, whatever the interval, unless their output is known then.
    async fn run_if_due(&mut self, best: &BestRows, is_last: bool) -> Result<(), Problem> {
        if is_last {
            self.wait().await?;
        }
        if let Some(ended) = self.running.try_join_next() {
            self.note_end(ended)?;
        }
        let digest = best.rows.sha256();
        let is_due = is_last || (self.running.is_empty() && Instant::now() >= self.not_before);
        if self.last_run_digest.as_ref() == Some(&digest) || !is_due {
            return Ok(());
        }
        self.last_run_digest = Some(digest);
        let (runner, best, index) = (Arc::clone(&self.runner), best.clone(), self.index);
        self.index += 1;
        self.running.spawn(async move { runner.run(best, index).await });
        Ok(())
    }

    /// Waits for the run in progress, if there is one.
    async fn wait(&mut self) -> Result<(), Problem> {
        match self.running.join_next().await {
            Some(ended) => self.note_end(ended),
            None => Ok(()),
        }
    }

    fn note_end(&mut self, ended: Result<Result<EndedRun, Problem>, JoinError>) -> Result<(), Problem> {
        let EndedRun { duration, failure } = ended.map_err(task_failed)??;
        self.not_before = Instant::now() + MIN_RUN_INTERVAL.max(duration * MIN_INTERVAL_PER_RUN_TIME);
        if let Some(problem) = &failure {
            tracing::warn!(%problem, "a run with the best rows failed");
            self.last_run_digest = None;
        }
        self.last_failure = failure;
        Ok(())
    }

    /// Ends the run in progress without its result.
    async fn abort(&mut self) {
        self.running.shutdown().await;
    }
}

impl OutputRunner {
    /// Runs the first example's prompt with the best rows, as the case of this index, and reports rows, record and nearest tokens.
    ///
    /// # Errors
    /// If rows or record cannot be saved. That the run itself fails is not an error.
    async fn run(&self, best: BestRows, index: usize) -> Result<EndedRun, Problem> {
        let started = Instant::now();
        let rows = best.rows.clone();
        let store = self.session.prefix_store().cloned();
        run_blocking(move || match store {
            Some(store) => store.put(&rows).map(drop).map_err(|error| prefix_store_problem(&error)),
            None => Ok(()),
        })
        .await?;
        let described = describe_rows(&best, self.session.facts().identity.median_norm);
        let recipe = described.recipe.clone();
        let experiment = self.journal.experiment.id.clone();
        let rows = FindEvent::Rows {
            experiment: experiment.clone(),
            rows: Box::new(described),
        };
        report(&self.events, rows).await;
        let examples = &self.plan.request.examples;
        let target_tokens = best.learned.wanted;
        let max_new_tokens = match examples.len() {
            1 => target_tokens + TOKENS_BEYOND_TARGET,
            _ => TOKENS_WITH_SEVERAL_EXAMPLES,
        };
        let request = CaseRequest {
            experiment,
            case: Case {
                name: format!("step {}", best.learned.step),
                // The only prompt, and its first repeat.
                ..Case::new(index, 0, 0, Some(recipe.clone()))
            },
            prompt: Prompt {
                system: self.plan.system.clone(),
                user: examples
                    .first()
                    .map(|example| example.prompt.clone())
                    .unwrap_or_default(),
            },
            settings: Settings {
                max_new_tokens: Some(max_new_tokens),
                ..Settings::default()
            },
            priority: Priority::Batch,
            draft: Vec::new(),
            attempt: 1,
            written_by: WRITTEN_BY.to_owned(),
        };
        let finished = self.session.run(&self.task, request, Stop::never(), |_| {}).await;
        let mut failure = None;
        // There is always a record, since nothing stops the run before it is sent.
        if let Some(FinishedCase { record, error }) = finished {
            self.journal.append_async(Entry::Case(Box::new(record.clone()))).await?;
            report(&self.events, FindEvent::Output(Box::new(record))).await;
            failure = error.map(|error| errors::session(&error, self.session.facts().is_embedded()));
        }
        report_nearest_tokens(&self.session, &best, recipe, &self.events).await;
        Ok(EndedRun {
            duration: started.elapsed(),
            failure,
        })
    }
}

/// Returns the best rows with their recipe and summary, without the nearest tokens.
fn describe_rows(best: &BestRows, median_norm: Option<f64>) -> FoundRows {
    let recipe = PrefixRecipe::new(
        PrefixKind::Imported {
            name: beginning(&best.learned.first_target, NAME_CHARACTERS),
            sha256: best.rows.sha256(),
            origin: Origin::Learned(Box::new(best.learned.clone())),
        },
        best.rows.len(),
        Magnitude::Unscaled,
    );
    FoundRows {
        recipe,
        summary: PrefixSummary::of(&best.rows, median_norm),
        nearest: Nearest::Pending,
    }
}

async fn report_nearest_tokens(session: &session::Session, best: &BestRows, recipe: PrefixRecipe, events: &Events) {
    let nearest = match session.nearest(&best.rows).await {
        Ok(Some(rows)) => Nearest::Known(rows),
        Ok(None) => Nearest::Unsupported,
        Err(error) => Nearest::Failed(errors::session(&error, session.facts().is_embedded())),
    };
    report(events, FindEvent::Nearest { recipe, nearest }).await;
}

/// Answers a request that neither starts nor stops work.
async fn answer_query(request: FindRequest, context: &FindContext) -> Result<(), Problem> {
    match request {
        // `FindWorker::handle` handles them.
        FindRequest::Start { .. } | FindRequest::Stop => Ok(()),
        FindRequest::CompareWithParent { experiment } => {
            let library = context.library.clone().ok_or_else(errors::no_library)?;
            let (saved, _) =
                run_blocking(move || library.read(&experiment).map_err(|error| journal_problem(&error))).await?;
            choose::report_relative_to_parent(&saved, context).await
        }
        FindRequest::ReadExamples(path) => {
            let examples = run_blocking(move || examples(&path)).await?;
            report(&context.events, FindEvent::Examples(examples)).await;
            Ok(())
        }
        FindRequest::Rows { experiment } => {
            let best = read_learned_rows(context, &experiment).await?;
            // Another model's vocabulary says nothing about these rows.
            let session = context
                .session
                .as_deref()
                .filter(|session| is_model_of(&session.facts().identity, &best));
            let median = session.and_then(|session| session.facts().identity.median_norm);
            let described = describe_rows(&best, median);
            let recipe = described.recipe.clone();
            let rows = FindEvent::Rows {
                experiment,
                rows: Box::new(described),
            };
            report(&context.events, rows).await;
            if let Some(session) = session {
                report_nearest_tokens(session.core(), &best, recipe, &context.events).await;
            }
            Ok(())
        }
        FindRequest::Import { found } => {
            let prefix = load_prefix(context, &found).await?;
            let store = context.store.clone();
            let summary = PrefixSummary::of(&prefix.rows, None);
            let file = run_blocking(move || {
                if let Some(store) = store {
                    store.put(&prefix.rows).map_err(|error| prefix_store_problem(&error))?;
                }
                Ok(ImportedFile::found(prefix.name, &prefix.rows, prefix.origin))
            })
            .await?;
            report(&context.events, FindEvent::Imported { file, summary }).await;
            Ok(())
        }
        FindRequest::Export { found, path, form } => {
            let prefix = load_prefix(context, &found).await?;
            let to = path.clone();
            let model = context
                .session
                .as_ref()
                .map(|session| session.facts().identity.model.clone());
            run_blocking(move || {
                let model = prefix.origin.model().or(model.as_deref());
                material::write(&prefix.rows, &to, form, model, &prefix.origin)
            })
            .await?;
            report(&context.events, FindEvent::Exported(path)).await;
            Ok(())
        }
    }
}

/// Returns whether a module runs the model on which rows were learned. Models are compared by the digests of their files; where one of these
/// is unknown, by their names.
fn is_model_of(module: &ModuleIdentity, best: &BestRows) -> bool {
    let is_same = match (&module.model_sha256, &best.learned.model_sha256) {
        (Some(of_module), Some(of_rows)) => of_module == of_rows,
        _ => module.model == best.learned.model,
    };
    is_same && module.hidden_size == best.rows.hidden_size()
}

/// A found prefix, with its rows.
struct LoadedPrefix {
    name: String,
    rows: SoftPrefix,
    origin: Origin,
}

async fn load_prefix(context: &FindContext, found: &FoundPrefix) -> Result<LoadedPrefix, Problem> {
    match found {
        FoundPrefix::Learned(experiment) => {
            let best = read_learned_rows(context, experiment).await?;
            Ok(LoadedPrefix {
                name: beginning(&best.learned.first_target, NAME_CHARACTERS),
                rows: best.rows,
                origin: Origin::Learned(Box::new(best.learned)),
            })
        }
        FoundPrefix::Candidate { recipe, found: origin } => Ok(LoadedPrefix {
            // The prefix that was searched around, and the generation of the search.
            name: format!("{} +{}", origin.near, origin.generation),
            rows: choose::build_rows(recipe, context).await?,
            origin: Origin::Found(origin.clone()),
        }),
    }
}

/// Reads the rows that an experiment has learned.
async fn read_learned_rows(context: &FindContext, experiment: &str) -> Result<BestRows, Problem> {
    let library = context.library.clone().ok_or_else(errors::no_library)?;
    let path: PathBuf = library.rows_of(experiment);
    run_blocking(move || read_rows_file(&path)).await
}

fn read_rows_file(path: &Path) -> Result<BestRows, Problem> {
    let imported = files::import(path, None, Rounding::default()).map_err(|error| prefix_file_problem(&error))?;
    match imported.origin {
        Origin::Learned(learned) => Ok(BestRows {
            rows: imported.prefix,
            learned: *learned,
        }),
        Origin::File | Origin::Found(_) => Err(Problem::new(
            ProblemKind::File,
            Bilingual::new(
                format!("{} does not say how its rows were learned.", path.display()),
                format!("{} には学習の記録がありません。", path.display()),
            ),
            Bilingual::new(
                "Import it in Tune like any other prefix.",
                "ほかのプレフィックスと同じように「調整」で読み込んでください。",
            ),
        )),
    }
}
