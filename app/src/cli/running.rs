//! Shared by `compare`, `sweep`, `learn`, `search` and `play`: opening a module, running a plan, continuing an interrupted one, and
//! Ctrl-C.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use softprefix_core::experiment::{
    Condition, Ending, Experiment, Journal, JournalError, Library, ModuleFacts, ModuleIdentity, Plan,
    PrefixSearchRequest, Record, Run, RunEnd, RunError, RunEvent, RunOptions, RunRequest, SaveTo, SavedExperiment,
    SharedJournal, experiments,
};
use softprefix_core::protocol::extension::StoredWeights;
use softprefix_core::search::Score;
use tokio::sync::watch;

use super::bar::Bar;
use super::models::fetch_words;
use super::shell::{Failure, eprint, runtime};
use crate::errors;
use crate::model::{ConnectStep, Language, Target};
use crate::places;
use crate::session::embedded::Models;
use crate::session::{LeftOver, MissingModel, OpenStep, Opening, Session, Steps};
use crate::start::Exit;
use crate::text::{ScoringText, SweepText};

/// Longest wait for background work when the command ends.
const LEAVING: Duration = Duration::from_secs(2);

/// Where the runs of a command are saved.
pub(super) enum Store {
    /// The library that the window's history shows.
    Library(Arc<Library>),
    /// A separate journal file.
    File {
        path: PathBuf,
        journal: SharedJournal,
        experiments: Vec<SavedExperiment>,
    },
}

/// An earlier experiment, open for more runs.
pub(super) struct Reopened {
    pub saved: SavedExperiment,
    journal: SharedJournal,
}

impl Store {
    pub fn library() -> Result<Self, Failure> {
        let library = Library::open(&places::library()).map_err(|error| journal_failure(&error))?;
        Ok(Self::Library(Arc::new(library)))
    }

    /// Opens the journal at `path`, creating it if necessary, and prints what is damaged.
    pub fn file(path: &Path) -> Result<Self, Failure> {
        let (journal, entries, condition) = Journal::open(path).map_err(|error| journal_failure(&error))?;
        print_damage(path, &condition);
        Ok(Self::File {
            path: path.to_owned(),
            journal: Arc::new(Mutex::new(journal)),
            experiments: experiments(entries),
        })
    }

    /// Returns the name used in messages.
    pub fn name(&self) -> String {
        match self {
            Self::Library(_) => "the history".to_owned(),
            Self::File { path, .. } => path.display().to_string(),
        }
    }

    /// Returns the message after Ctrl-C: where finished cases are, and how to continue.
    pub fn resume_hint(&self) -> String {
        format!("what was finished is in {}. Add --resume to continue.", self.name())
    }

    /// Returns every sweep that is complete or can be continued, latest first, and whether it can be continued. A search has a plan, too, but is
    /// continued otherwise.
    fn earlier(&self) -> Result<Vec<(Experiment, bool)>, Failure> {
        match self {
            Self::Library(library) => {
                let listing = library.list().map_err(|error| journal_failure(&error))?;
                for error in &listing.unreadable {
                    eprint(errors::journal_problem(error));
                }
                let known = listing.experiments.into_iter().filter(|summary| !summary.is_deleted);
                let usable = known.filter(|summary| summary.ending != Some(Ending::Cancelled));
                Ok(usable
                    .filter(|summary| summary.experiment.plan.is_some() && !summary.finds)
                    .map(|summary| (summary.experiment, summary.is_open))
                    .collect())
            }
            Self::File { experiments, .. } => {
                let usable = experiments
                    .iter()
                    .rev()
                    .filter(|saved| !saved.is_deleted() && saved.ending != Some(Ending::Cancelled));
                Ok(usable
                    .filter(|saved| saved.experiment.plan.is_some() && saved.generations.is_empty())
                    .map(|saved| (saved.experiment.clone(), saved.is_open()))
                    .collect())
            }
        }
    }

    fn open(&self, id: &str) -> Result<Reopened, JournalError> {
        match self {
            Self::Library(library) => {
                let opened = library.append_to(id)?;
                print_damage(&library.path_of(id), &opened.condition);
                Ok(Reopened {
                    saved: opened.saved,
                    journal: opened.journal,
                })
            }
            Self::File {
                path,
                journal,
                experiments,
            } => {
                let saved = experiments.iter().find(|saved| saved.experiment.id == id).cloned();
                Ok(Reopened {
                    saved: saved.ok_or_else(|| JournalError::NotAJournal { path: path.clone() })?,
                    journal: Arc::clone(journal),
                })
            }
        }
    }

    /// Returns the last interrupted experiment. One that another window or shell is running is skipped; it is an error
    /// only if there is no other.
    pub fn last_open(&self) -> Result<Option<Reopened>, Failure> {
        let mut in_use = None;
        for (experiment, _) in self.earlier()?.into_iter().filter(|(_, is_open)| *is_open) {
            match self.open(&experiment.id) {
                Ok(reopened) if reopened.saved.is_open() => return Ok(Some(reopened)),
                // It was completed meanwhile.
                Ok(_) => {}
                Err(error @ JournalError::InUse { .. }) => {
                    in_use.get_or_insert(error);
                }
                Err(error) => return Err(journal_failure(&error)),
            }
        }
        in_use.map_or(Ok(None), |error| Err(journal_failure(&error)))
    }

    /// Returns what `plan` continues on each module: the last experiment of this plan there, if any of them was
    /// interrupted. A complete one needs no run then.
    pub fn resume(&self, plan: &Plan, modules: &[&ModuleIdentity]) -> Result<Vec<Option<Reopened>>, Failure> {
        let earlier = self.earlier()?;
        let of = |module: &&ModuleIdentity| {
            earlier.iter().find(|(experiment, _)| {
                let on = &experiment.module;
                experiment.plan.as_ref() == Some(plan) && (&on.address, &on.model) == (&module.address, &module.model)
            })
        };
        let found: Vec<Option<&(Experiment, bool)>> = modules.iter().map(of).collect();
        let is_open = found.iter().flatten().any(|(_, is_open)| *is_open);
        found
            .into_iter()
            .map(|found| match found.filter(|_| is_open) {
                Some((experiment, _)) => self
                    .open(&experiment.id)
                    .map(Some)
                    .map_err(|error| journal_failure(&error)),
                None => Ok(None),
            })
            .collect()
    }

    fn save_to(&self, reopened: Option<SharedJournal>) -> SaveTo {
        match (reopened, self) {
            (Some(journal), _) => SaveTo::Journal(journal),
            (None, Self::File { journal, .. }) => SaveTo::Journal(Arc::clone(journal)),
            (None, Self::Library(library)) => SaveTo::Library(Arc::clone(library)),
        }
    }
}

/// Prints what was damaged in a journal.
pub(super) fn print_damage(path: &Path, condition: &Condition) {
    if !condition.is_sound() {
        eprint(errors::damaged(path, condition));
    }
}

pub(super) fn journal_failure(error: &JournalError) -> Failure {
    errors::journal_problem(error).into()
}

/// A plan that was run, or a complete earlier run of it.
pub(super) struct Done {
    /// `None` if the module failed before the first case.
    pub experiment: Option<Experiment>,
    /// In the order of the plan.
    pub records: Vec<Record>,
    pub end: RunEnd,
}

/// Called after each case with everything finished so far.
pub(super) type Finished<'a> = &'a mut dyn FnMut(&Experiment, &[Record]) -> Result<(), Failure>;

/// Called with each candidate of a search that is the best so far.
pub(super) type Best<'a> = &'a mut dyn FnMut(&Record, &Score) -> Result<(), Failure>;

/// The terminal of a command: its progress bar and Ctrl-C.
pub(super) struct Terminal {
    bar: Arc<Mutex<Bar>>,
    interrupts: Interrupts,
}

impl Terminal {
    /// Runs the work of a command. The first Ctrl-C lets the work release its module and end; the second ends it at
    /// once. `kept` says where finished runs are and how to continue.
    pub fn work(kept: &str, work: impl AsyncFnOnce(Self) -> Result<Exit, Failure>) -> Result<Exit, Failure> {
        let runtime = runtime()?;
        let outcome = runtime.block_on(async {
            let terminal = Self {
                bar: Arc::new(Mutex::new(Bar::new())),
                interrupts: Interrupts::listen(kept),
            };
            let mut interrupts = terminal.interrupts.clone();
            tokio::select! {
                outcome = work(terminal) => outcome,
                () = interrupts.at_least(2) => Ok(Exit::Interrupted),
            }
        });
        runtime.shutdown_timeout(LEAVING);
        outcome
    }

    pub fn is_interrupted(&self) -> bool {
        self.interrupts.any()
    }

    /// Returns the count of Ctrl-C presses, which can be awaited.
    pub fn interrupts(&self) -> Interrupts {
        self.interrupts.clone()
    }

    /// Shows the progress.
    pub fn show(&self, fraction: f32, words: &str) {
        lock(&self.bar).show(Some(fraction), words);
    }

    /// Shows the progress of opening a module.
    pub fn show_step(&self, step: &OpenStep) {
        let (fraction, words) = words_of(step);
        lock(&self.bar).show(fraction, &words);
    }

    /// Prints a line above the bar.
    pub fn print_line(&self, sentence: &str) {
        lock(&self.bar).print_line(sentence);
    }

    /// Removes the bar.
    pub fn clear(&self) {
        lock(&self.bar).clear();
    }

    /// Prints the module, and how many of the model's weights were rounded, which is part of what is measured.
    pub fn print_module(&self, facts: &ModuleFacts) {
        let unit = match facts.is_ours() {
            true => format!("softprefix-unit: up to {} cases at once", facts.concurrency),
            false => "stock unit: one case after the other".to_owned(),
        };
        self.print_line(&format!("{} on {} ({unit})", facts.identity.model, facts.address));
        if !facts.identity.weights.is_empty() {
            let weights = StoredWeights::sentence(&facts.identity.weights);
            self.print_line(&format!("weight matrices: {weights}"));
        }
    }

    /// Opens the module for a plan; returns `None` after Ctrl-C. A remote module is awaited even then, since it would
    /// keep a task that is never exited.
    pub async fn open(&self, target: Target, exit_tasks: bool, plan: &Plan) -> Result<Option<Session>, Failure> {
        self.open_with(exit_tasks, Opening::for_plan(target, plan)).await
    }

    /// Opens the module for other work.
    pub async fn open_with(&self, exit_tasks: bool, opening: Opening) -> Result<Option<Session>, Failure> {
        let is_elsewhere = matches!(opening.target, Target::Remote { .. });
        let give_up = Arc::new(AtomicBool::new(false));
        let opening = Opening {
            prefix_store: Some(places::prefix_store()),
            left_over: if exit_tasks { LeftOver::ExitAll } else { LeftOver::Keep },
            missing: MissingModel::Fetch(Arc::clone(&give_up)),
            ..opening
        };
        let is_default = opening.target == Target::default();
        let first_fetch = Mutex::new(first_fetch(&opening.models).filter(|_| is_default));
        let bar = Arc::clone(&self.bar);
        let steps: Steps = Arc::new(move |step| {
            if matches!(step, OpenStep::Fetching(_))
                && let Some(sentence) = first_fetch.lock().unwrap_or_else(PoisonError::into_inner).take()
            {
                lock(&bar).print_line(&sentence);
            }
            let (fraction, words) = words_of(&step);
            lock(&bar).show(fraction, &words);
        });
        let mut interrupts = self.interrupts.clone();
        let mut opening = std::pin::pin!(Session::open(opening, steps));
        tokio::select! {
            opened = &mut opening => {
                let opened = opened.map_err(|problem| {
                    let japanese = "以前のクライアントが残したものなら、--exit-tasks で終了できます。";
                    problem.into_problem("If a former client left them, exit them with --exit-tasks.", japanese)
                });
                return Ok(Some(opened?));
            }
            () = interrupts.at_least(1) => {}
        }
        give_up.store(true, Ordering::Relaxed);
        if is_elsewhere && let Ok(session) = opening.await {
            session.close().await;
        }
        Ok(None)
    }

    /// Runs a plan, shows its progress and calls `finished` after each case. After Ctrl-C it releases the module.
    pub async fn run(
        &self,
        session: &Session,
        (plan, options): (Plan, RunOptions),
        (store, reopened): (&Store, Option<Reopened>),
        finished: Finished<'_>,
    ) -> Result<Done, Failure> {
        let (saved, journal) = match reopened {
            Some(Reopened { saved, journal }) => (Some(saved), Some(journal)),
            None => (None, None),
        };
        let mut done = Done {
            experiment: None,
            records: saved.iter().flat_map(SavedExperiment::undeleted).cloned().collect(),
            end: RunEnd::Cancelled,
        };
        done.records.sort_by_key(|record| record.case.index);
        if let Some(saved) = &saved {
            let (name, count) = (&saved.experiment.name, done.records.len());
            if !saved.is_open() {
                self.print_line(&format!("{name}: all {count} runs are finished"));
                done.experiment = Some(saved.experiment.clone());
                done.end = RunEnd::Complete;
                return Ok(done);
            }
            self.print_line(&format!("continuing {name}: {count} runs are finished"));
        }
        let request = request(session, plan, options, store.save_to(journal), saved).await;
        let run = Run::start(request).map_err(|error| Failure::arguments(error.to_string()))?;
        self.follow(run, &mut done, finished, &mut |_, _| Ok(())).await?;
        done.records.sort_by_key(|record| record.case.index);
        Ok(done)
    }

    /// Searches for a prefix as [`Terminal::run`] runs a plan, and calls `best` with each candidate that is the best so far.
    pub async fn find(
        &self,
        session: &Session,
        (plan, options): (Plan, RunOptions),
        store: &Store,
        find: PrefixSearchRequest,
        best: Best<'_>,
    ) -> Result<Done, Failure> {
        let mut done = Done {
            experiment: None,
            records: Vec::new(),
            end: RunEnd::Cancelled,
        };
        let request = request(session, plan, options, store.save_to(None), None).await;
        let run = Run::search_prefix(request, find).map_err(|error| Failure::arguments(error.to_string()))?;
        self.follow(run, &mut done, &mut |_, _| Ok(()), best).await?;
        Ok(done)
    }

    async fn follow(
        &self,
        mut run: Run,
        done: &mut Done,
        finished: Finished<'_>,
        best: Best<'_>,
    ) -> Result<(), Failure> {
        let text = SweepText::of(Language::English);
        let mut interrupts = self.interrupts.clone();
        let mut best_score = None;
        loop {
            let event = tokio::select! {
                event = run.next() => event,
                () = interrupts.at_least(1) => {
                    run.leave().await;
                    done.end = RunEnd::Cancelled;
                    return Ok(());
                }
            };
            let Some(event) = event else { return Ok(()) };
            match event {
                RunEvent::Started(started) => done.experiment = Some(*started),
                RunEvent::CaseFinished(record) => {
                    if let Some(error) = record.error() {
                        self.print_line(&format!("{}: {error}", record.case.name));
                    }
                    done.records.push(*record);
                    let reported = match &done.experiment {
                        Some(experiment) => finished(experiment, &done.records),
                        None => Ok(()),
                    };
                    let reported = reported.and_then(|()| match done.records.last() {
                        Some(record) => report_best(record, &mut best_score, best),
                        None => Ok(()),
                    });
                    if let Err(failure) = reported {
                        run.leave().await;
                        return Err(failure);
                    }
                }
                RunEvent::Progress(progress) => {
                    let fraction = progress.finished as f32 / progress.total.max(1) as f32;
                    let left = progress
                        .left
                        .map(|left| format!(". {}", (text.left)(left)))
                        .unwrap_or_default();
                    let words = match (progress.finished == progress.total, progress.unscored) {
                        (true, unscored @ 1..) => format!("all runs finished; KL of {unscored} left"),
                        _ => format!("{} of {} runs{left}", progress.finished, progress.total),
                    };
                    lock(&self.bar).show(Some(fraction), &words);
                }
                RunEvent::Scored { record, scores } => {
                    if let Some(record) = done.records.iter_mut().rev().find(|known| known.id == record) {
                        record.scores = Some(scores);
                    }
                }
                RunEvent::NotScored { count, error } => {
                    let why = errors::run(&error).to_string();
                    self.print_line(&(ScoringText::of(Language::English).not_scored)(count, &why));
                }
                RunEvent::Canary(canary) => self.print_line(canary.sentence().en),
                RunEvent::CanaryFailed { error } => self.print_line(&errors::canary(&error).to_string()),
                RunEvent::Reconnecting { because } => {
                    self.print_line(&format!("{} Reconnecting…", errors::run(&because).sentence.en));
                }
                RunEvent::CaseLost { name, error, .. } => self.print_line(&format!("{name}: {error}")),
                RunEvent::JournalFailed { error } => {
                    run.leave().await;
                    return Err(Failure {
                        exit: Exit::File,
                        ..errors::run(&error).into()
                    });
                }
                RunEvent::Ended(how) => done.end = how,
                RunEvent::CaseStarted { .. }
                | RunEvent::Text { .. }
                | RunEvent::Reconnected
                | RunEvent::Threshold(_) => {}
                RunEvent::Generation(generation) => {
                    if generation.is_flat(&done.records) {
                        let number = generation.search.generation() + 1;
                        self.print_line(&format!(
                            "generation {number}: all candidates gave the same output; a larger --spread reaches further"
                        ));
                    }
                }
            }
        }
    }
}

/// Calls `best` with a candidate that is better than those before.
fn report_best(record: &Record, so_far: &mut Option<Score>, best: Best<'_>) -> Result<(), Failure> {
    let is_better = |score: &Score| so_far.is_none_or(|so_far| score.is_better_than(&so_far));
    match record.score.filter(is_better) {
        Some(score) => {
            *so_far = Some(score);
            best(record, &score)
        }
        None => Ok(()),
    }
}

/// The request of a run. The runner sets up its own task; a module with few slots needs the session's.
async fn request(
    session: &Session,
    plan: Plan,
    options: RunOptions,
    save_to: SaveTo,
    resume: Option<SavedExperiment>,
) -> RunRequest {
    session.exit_current_task().await;
    RunRequest {
        plan,
        session: Arc::clone(session.core()),
        save_to,
        resume,
        options,
    }
}

/// Returns the message before the default model is downloaded: its size, and that there is a smaller model.
fn first_fetch(models: &Models) -> Option<String> {
    let mega = |bytes: u64| format!("{:.0} MB", bytes as f64 / 1e6);
    let (default, small) = (models.default.first()?, models.small);
    // The entries of the default model have the same size, which not all of them state.
    let bytes = models.default.iter().find_map(|entry| entry.bytes)?;
    Some(format!(
        "{} is downloaded first (about {}, once). To begin sooner, stop with Ctrl-C and add --model {} ({})",
        default.name,
        mega(bytes),
        small.short_name,
        mega(small.bytes?)
    ))
}

/// Returns the progress of a step of opening a session, if known, and its label.
fn words_of(step: &OpenStep) -> (Option<f32>, String) {
    match step {
        OpenStep::Connecting(step) => {
            let words = match step {
                ConnectStep::Starting => "starting the embedded module",
                ConnectStep::Opening => "connecting",
                ConnectStep::Asking => "reading its model and limits",
                ConnectStep::SettingUp => "setting up the model",
            };
            (None, words.to_owned())
        }
        OpenStep::Fetching(progress) => (progress.fraction(), fetch_words(progress)),
        OpenStep::Loading { model, fraction, stage } => (Some(*fraction), format!("loading {model}: {stage}")),
    }
}

fn lock(bar: &Mutex<Bar>) -> std::sync::MutexGuard<'_, Bar> {
    bar.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Converts the end of a run to the exit status of the command; `failed` says whether a case failed.
///
/// # Errors
/// If the run was interrupted: why, and how to continue.
pub(super) fn exit_of(end: RunEnd, failed: bool, store: &Store) -> Result<Exit, Failure> {
    match end {
        RunEnd::Complete if failed => Ok(Exit::Module),
        RunEnd::Complete => Ok(Exit::Success),
        RunEnd::Cancelled => Ok(Exit::Interrupted),
        RunEnd::NoEffect => Ok(Exit::Module),
        RunEnd::Interrupted { error } => {
            let name = store.name();
            Err(interrupted(
                &error,
                &format!("What was finished is in {name}; add --resume to continue."),
            ))
        }
    }
}

/// Returns the failure of a command whose run was interrupted: why, and how to continue.
pub(super) fn interrupted(error: &RunError, resume_hint: &str) -> Failure {
    let failure = Failure::from(errors::run(error));
    Failure {
        message: format!("{} {resume_hint}", failure.message),
        ..failure
    }
}

/// Formats the remaining time.
pub(super) fn still_left(milliseconds: f64) -> String {
    let left = Duration::try_from_secs_f64(milliseconds / 1000.0).unwrap_or_default();
    (SweepText::of(Language::English).left)(left)
}

/// The number of Ctrl-C presses.
#[derive(Clone)]
pub(super) struct Interrupts(watch::Receiver<u32>);

impl Interrupts {
    /// Starts to listen for Ctrl-C and answers on the terminal. Must be called from within a tokio runtime.
    fn listen(kept: &str) -> Self {
        let (count, counted) = watch::channel(0);
        let kept = kept.to_owned();
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                if *count.borrow() == 0 {
                    eprintln!(
                        "\nsoftprefix: interrupted; {kept} The task on the module is being ended; Ctrl-C once more ends this program at \
                         once."
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

    pub async fn at_least(&mut self, times: u32) {
        if self.0.wait_for(|count| *count >= times).await.is_err() {
            // Ctrl-C cannot be caught here and ends the program.
            std::future::pending::<()>().await;
        }
    }
}
