//! Learns a prefix for the window. Each of the unit's frames is saved before it is reported, and the best rows so far are run regularly.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use softprefix_core::client::Task;
use softprefix_core::experiment::session::{self, CaseRequest, FinishedCase, Stop};
use softprefix_core::experiment::{
    Case, Entry, Experiment, LearnPlan, Library, Prompt, Settings, SharedJournal, WRITTEN_BY,
};
use softprefix_core::prefix::{
    Origin, PrefixKind, PrefixRecipe, PrefixStore, PrefixSummary, Rounding, SoftPrefix, encode, files,
};
use softprefix_core::protocol::extension::Priority;
use softprefix_core::protocol::learn::{Init, LearnFrame};
use tokio::sync::watch;

use super::events::Events;
use super::{choose, material};
use crate::errors::{self, journal_problem, prefix_file_problem, prefix_store_problem, task_failed};
use crate::messages::{Event, FindEvent, FindRequest, FindWork};
use crate::model::{Bilingual, FoundPrefix, FoundRows, ImportedFile, Nearest, Problem, ProblemKind, beginning};
use crate::session::Session;
use crate::session::learning::{BestRows, Learner, examples};

/// Number of characters of the first target in the default name of the experiment.
const NAME: usize = 32;
/// Minimum time between two runs with the best rows so far, absolute and as a multiple of the last run's duration, since learning waits
/// for them.
const BETWEEN: Duration = Duration::from_secs(3);
const BETWEEN_TIMES: u32 = 4;
/// Output tokens of such a run beyond those of the target, with a single example.
const MORE: usize = 24;
/// Output tokens of such a run with several examples.
const SEVERAL: usize = 96;

/// The work in progress: at most one in all modes.
#[derive(Default)]
pub(super) struct FindWorker {
    stop: Option<watch::Sender<bool>>,
    current_work: Option<tokio::task::JoinHandle<()>>,
}

/// What requests need from the bridge.
pub(super) struct FindContext {
    pub session: Option<Arc<Session>>,
    pub library: Option<Arc<Library>>,
    pub store: Option<PrefixStore>,
    pub events: Events,
}

impl FindWorker {
    /// Processes a request, or starts to.
    pub(super) fn handle(&mut self, request: FindRequest, context: FindContext) {
        match request {
            FindRequest::Start { number, work } => self.start(number, work, context),
            FindRequest::Stop => self.stop(),
            request => {
                let events = context.events.clone();
                let work = async move {
                    if let Err(problem) = handle_query(request, &context).await {
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
        let before = self.current_work.take();
        let (stop, stopped) = Stop::pair();
        self.stop = Some(stop);
        let events = context.events.clone();
        let work = async move {
            if let Some(before) = before
                && let Err(error) = before.await
            {
                tracing::warn!(%error, "the work before broke off");
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

    /// Creates the journal of a learning. Blocks on the disk.
    fn begin(library: &Library, experiment: Experiment, plan: LearnPlan) -> Result<Self, Problem> {
        let journal = Self::create(library, experiment)?;
        journal.append(&Entry::Learning {
            experiment: journal.experiment.id.clone(),
            plan: Box::new(plan),
        })?;
        Ok(journal)
    }

    fn append(&self, entry: &Entry) -> Result<(), Problem> {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.append(entry).map_err(|error| journal_problem(&error))
    }

    /// Appends a line on a thread that may block.
    pub async fn add(&self, entry: Entry) -> Result<(), Problem> {
        let journal = self.clone();
        on_disk(move || journal.append(&entry)).await
    }
}

pub(super) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(task_failed)?
}

/// Learns until the last frame, and runs the last rows.
async fn learn(
    mut plan: LearnPlan,
    init: Option<PrefixRecipe>,
    mut stop: Stop,
    context: &FindContext,
) -> Result<(), Problem> {
    let session = context.session.clone().ok_or_else(errors::not_connected)?;
    let library = context.library.clone().ok_or_else(errors::no_library)?;
    if let Some(recipe) = init {
        let rows = session.build_of(&recipe).await?;
        plan.request.len = rows.len();
        plan.request.init = Init::Rows(encode(&rows));
    }
    let settings = Settings::default();
    // A separate task, because that of Tune is replaced when its system prompt changes.
    let task = session
        .set_up(&plan.system, &settings)
        .await
        .map_err(|error| session.problem(error))?;
    let identity = session.facts().identity.clone();
    let first = plan
        .request
        .examples
        .first()
        .map(|example| example.target.clone())
        .unwrap_or_default();
    let name = beginning(&first, NAME);
    let experiment = Experiment::new(name, None, identity.clone());
    let file = library.rows_of(&experiment.id);
    let learner = Learner::begin(&task, plan.clone(), identity, file, session.prefix_store().cloned());
    let outcome = match learner {
        Ok(learner) => {
            let (of, written) = (experiment.clone(), plan.clone());
            match on_disk(move || ExperimentJournal::begin(&library, of, written)).await {
                Ok(journal) => {
                    let began = FindEvent::LearnStarted {
                        experiment: Box::new(experiment),
                        plan: Box::new(plan.clone()),
                    };
                    report(&context.events, began).await;
                    let runner = OutputRunner {
                        session: Arc::clone(session.core()),
                        task: task.clone(),
                        plan,
                        journal,
                        events: context.events.clone(),
                    };
                    follow(learner, &Arc::new(runner), &mut stop).await
                }
                Err(problem) => Err(problem),
            }
        }
        Err(problem) => Err(problem),
    };
    if let Err(error) = task.exit().await {
        tracing::debug!(%error, "the task of a learning could not be exited");
    }
    outcome
}

/// Saves and reports the unit's frames, and from time to time runs the best rows, until the last frame.
async fn follow(mut learner: Learner, runner: &Arc<OutputRunner>, stop: &mut Stop) -> Result<(), Problem> {
    let mut running = BestRowsRuns::new(runner);
    let mut stopping = false;
    loop {
        let heard = tokio::select! {
            frame = learner.next_frame() => frame?,
            () = stop.requested(), if !stopping => {
                stopping = true;
                learner.stop()?;
                continue;
            }
        };
        let frame = learner.save_frame(heard).await?;
        let finished = frame.finish;
        let entry = Entry::Learned {
            experiment: runner.journal.experiment.id.clone(),
            frame: Box::new(frame.clone()),
        };
        runner.journal.add(entry).await?;
        report(&runner.events, FindEvent::LearnProgress(Box::new(frame.clone()))).await;
        if let Some(best) = learner.best() {
            running.run_if_due(best, &frame).await?;
        }
        if finished {
            return running.finish().await;
        }
    }
}

/// What runs with the best rows need.
struct OutputRunner {
    session: Arc<session::Session>,
    task: Task,
    plan: LearnPlan,
    journal: ExperimentJournal,
    events: Events,
}

/// Runs the best rows so far, one run at a time.
struct BestRowsRuns<'a> {
    runner: &'a Arc<OutputRunner>,
    /// SHA-256 of the rows that were run last.
    last_run_digest: Option<String>,
    running: Option<tokio::task::JoinHandle<Result<Duration, Problem>>>,
    /// The earliest start of the next run.
    not_before: Instant,
    index: usize,
}

impl<'a> BestRowsRuns<'a> {
    fn new(runner: &'a Arc<OutputRunner>) -> Self {
        Self {
            runner,
            last_run_digest: None,
            running: None,
            not_before: Instant::now(),
            index: 0,
        }
    }

    /// Runs the best rows if they have changed since the last run and enough time has passed; the last rows in any case.
    async fn run_if_due(&mut self, best: &BestRows, frame: &LearnFrame) -> Result<(), Problem> {
        if self.running.as_ref().is_some_and(tokio::task::JoinHandle::is_finished) || frame.finish {
            self.finish().await?;
        }
        let digest = best.rows.sha256();
        let is_time = frame.finish || (self.running.is_none() && Instant::now() >= self.not_before);
        if self.last_run_digest.as_ref() == Some(&digest) || !is_time {
            return Ok(());
        }
        self.last_run_digest = Some(digest);
        let (runner, best, index) = (Arc::clone(self.runner), best.clone(), self.index);
        self.index += 1;
        self.running = Some(tokio::spawn(async move { runner.run(best, index).await }));
        Ok(())
    }

    /// Waits for the run in progress.
    async fn finish(&mut self) -> Result<(), Problem> {
        if let Some(running) = self.running.take() {
            let took = running.await.map_err(task_failed)??;
            self.not_before = Instant::now() + BETWEEN.max(took * BETWEEN_TIMES);
        }
        Ok(())
    }
}

impl OutputRunner {
    /// Runs the best rows as the case of this index. Returns how long it took.
    async fn run(&self, best: BestRows, index: usize) -> Result<Duration, Problem> {
        let began = Instant::now();
        let rows = best.rows.clone();
        let store = self.session.prefix_store().cloned();
        on_disk(move || match store {
            Some(store) => store.put(&rows).map(drop).map_err(|error| prefix_store_problem(&error)),
            None => Ok(()),
        })
        .await?;
        let found = found_rows(&best, self.session.facts().identity.median_norm);
        let recipe = found.recipe.clone();
        let experiment = self.journal.experiment.id.clone();
        let rows = FindEvent::Rows {
            experiment: experiment.clone(),
            rows: Box::new(found),
        };
        report(&self.events, rows).await;
        let prompt = self.plan.request.examples.first().map(|example| example.prompt.clone());
        let more = if self.plan.request.examples.len() == 1 {
            best.learned.wanted
        } else {
            SEVERAL
        };
        let request = CaseRequest {
            experiment,
            case: Case {
                name: format!("step {}", best.learned.step),
                ..Case::new(index, 0, 0, Some(recipe.clone()))
            },
            prompt: Prompt {
                system: self.plan.system.clone(),
                user: prompt.unwrap_or_default(),
            },
            settings: Settings {
                max_new_tokens: Some(more + MORE),
                ..Settings::default()
            },
            priority: Priority::Batch,
            draft: Vec::new(),
            attempt: 1,
            written_by: WRITTEN_BY.to_owned(),
        };
        let ran = self.session.run(&self.task, request, Stop::never(), |_| {}).await;
        let Some(FinishedCase { record, error }) = ran else {
            return Ok(began.elapsed());
        };
        if let Some(error) = error {
            return Err(errors::session(&error, self.session.facts().is_embedded()));
        }
        self.journal.add(Entry::Case(Box::new(record.clone()))).await?;
        report(&self.events, FindEvent::Output(Box::new(record))).await;
        report_nearest_tokens(&self.session, &best, recipe, &self.events).await;
        Ok(began.elapsed())
    }
}

/// Returns the rows with the details that are shown.
fn found_rows(best: &BestRows, median_norm: Option<f64>) -> FoundRows {
    let recipe = PrefixRecipe {
        kind: PrefixKind::Imported {
            name: beginning(&best.learned.first_target, NAME),
            sha256: best.rows.sha256(),
            origin: Origin::Learned(Box::new(best.learned.clone())),
        },
        len: best.rows.len(),
        magnitude: softprefix_core::prefix::Magnitude::Unscaled,
        rounding: Rounding::default(),
    };
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

async fn handle_query(request: FindRequest, context: &FindContext) -> Result<(), Problem> {
    match request {
        // Handled by `take`.
        FindRequest::Start { .. } | FindRequest::Stop => Ok(()),
        FindRequest::CompareWithFirst { experiment } => {
            let library = context.library.clone().ok_or_else(errors::no_library)?;
            let (saved, _) =
                on_disk(move || library.read(&experiment).map_err(|error| journal_problem(&error))).await?;
            choose::report_since_first(&saved, context).await
        }
        FindRequest::ReadExamples(path) => {
            let found = on_disk(move || examples(&path)).await?;
            report(&context.events, FindEvent::Examples(found)).await;
            Ok(())
        }
        FindRequest::Rows { experiment } => {
            let best = rows_of(context, &experiment).await?;
            let session = context
                .session
                .as_deref()
                .filter(|session| session.facts().hidden_size() == Some(best.rows.hidden_size()));
            let median = session.and_then(|session| session.facts().identity.median_norm);
            let found = found_rows(&best, median);
            let recipe = found.recipe.clone();
            let rows = FindEvent::Rows {
                experiment,
                rows: Box::new(found),
            };
            report(&context.events, rows).await;
            if let Some(session) = session {
                report_nearest_tokens(session.core(), &best, recipe, &context.events).await;
            }
            Ok(())
        }
        FindRequest::Import { found } => {
            let found = found_of(context, &found).await?;
            let store = context.store.clone();
            let summary = PrefixSummary::of(&found.rows, None);
            let file = on_disk(move || {
                if let Some(store) = store {
                    store.put(&found.rows).map_err(|error| prefix_store_problem(&error))?;
                }
                Ok(ImportedFile::found(found.name, &found.rows, found.origin))
            })
            .await?;
            report(&context.events, FindEvent::Imported { file, summary }).await;
            Ok(())
        }
        FindRequest::Export { found, path, form } => {
            let found = found_of(context, &found).await?;
            let to = path.clone();
            let model = context
                .session
                .as_ref()
                .map(|session| session.facts().identity.model.clone());
            on_disk(move || {
                let model = found.origin.model().or(model.as_deref());
                material::write(&found.rows, &to, form, model, &found.origin)
            })
            .await?;
            report(&context.events, FindEvent::Exported(path)).await;
            Ok(())
        }
    }
}

/// A prefix that was found.
struct Found {
    name: String,
    rows: SoftPrefix,
    origin: Origin,
}

async fn found_of(context: &FindContext, found: &FoundPrefix) -> Result<Found, Problem> {
    match found {
        FoundPrefix::Learned(experiment) => {
            let best = rows_of(context, experiment).await?;
            Ok(Found {
                name: beginning(&best.learned.first_target, NAME),
                rows: best.rows,
                origin: Origin::Learned(Box::new(best.learned)),
            })
        }
        FoundPrefix::Candidate { recipe, found } => Ok(Found {
            name: format!("{} +{}", found.near, found.generation),
            rows: choose::rows_of(recipe, context).await?,
            origin: Origin::Found(found.clone()),
        }),
    }
}

/// Reads the rows that an experiment has learned.
async fn rows_of(context: &FindContext, experiment: &str) -> Result<BestRows, Problem> {
    let library = context.library.clone().ok_or_else(errors::no_library)?;
    let path: PathBuf = library.rows_of(experiment);
    on_disk(move || read(&path)).await
}

fn read(path: &Path) -> Result<BestRows, Problem> {
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
