//! Sweeps on the bridge's thread: the history's file, one run at a time through the session that the window uses, exports.
//!
//! It knows the core's runner and files; what is shown of a run is the workbench's business.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use softprefix_core::client::ConnectOptions;
use softprefix_core::compare::diff;
use softprefix_core::experiment::{
    Ending, Entry, Experiment, History, Journal, Plan, Record, Run, RunEnd, RunEvent, RunOptions, RunRequest,
    SearchRequest, SharedJournal, export, runner,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::events::Events;
use super::latest::DIFF_TIME;
use crate::errors::{self, sentence};
use crate::messages::{Event, SweepEvent, SweepRequest};
use crate::model::{CaseKey, Problem, ProblemKind, Target};
use crate::session::embedded::{self, Embedded, Wanted};
use crate::session::{ConnectProblem, Session};

/// What a run is told while it runs.
enum Word {
    Pause,
    GoOn,
    Cancel,
}

struct AtWork {
    words: mpsc::UnboundedSender<Word>,
    /// Set before its end is told.
    ended: Arc<AtomicBool>,
    handle: JoinHandle<()>,
}

/// The sweeps' part of the bridge.
#[derive(Default)]
pub(super) struct Sweeps {
    journal: Arc<Mutex<Option<SharedJournal>>>,
    at_work: Option<AtWork>,
}

impl Sweeps {
    pub(super) async fn take(&mut self, request: SweepRequest, session: Option<&Arc<Session>>, events: &Events) {
        match request {
            SweepRequest::OpenHistory { path } => {
                let place = Arc::clone(&self.journal);
                in_the_background(events, "Opening the history", move || open_history(&path, &place));
            }
            SweepRequest::Start { plan, case } => {
                self.run(session, &case, plan, None, None, events).await;
            }
            SweepRequest::AskSecond { target, model } => {
                let limits = session.map(|session| session.module().options().clone());
                let teller = events.clone();
                let second = |answer| Event::Sweep(Box::new(SweepEvent::Second(answer)));
                let work = async move {
                    let answer = super::second::ask(target, model, limits.unwrap_or_default()).await;
                    teller.send(second(answer)).await;
                };
                events.spawn(work, move |problem| second(Err(problem)));
            }
            SweepRequest::StartOn { plan, target, case } => self.run_on(session, target, *case, plan, events).await,
            SweepRequest::Resume {
                experiment,
                finished,
                known,
                canary,
                case,
            } => {
                let plan = experiment.plan.clone();
                let resume = Resume {
                    experiment: *experiment,
                    finished,
                    known,
                    canary,
                };
                self.run(session, &case, plan, Some(resume), None, events).await;
            }
            SweepRequest::Search {
                plan,
                recipe,
                search,
                budget,
                beside,
                case,
            } => {
                let search = SearchRequest {
                    recipe,
                    search,
                    budget,
                    beside,
                };
                self.run(session, &case, plan, None, Some(search), events).await;
            }
            SweepRequest::Pause => self.say(Word::Pause),
            SweepRequest::GoOn => self.say(Word::GoOn),
            SweepRequest::Cancel => self.say(Word::Cancel),
            SweepRequest::Append(entry) => match self.journal() {
                Ok(journal) => in_the_background(events, "Writing to the history", move || {
                    match append(&journal, std::slice::from_ref(&entry)) {
                        Ok(()) => SweepEvent::Appended(entry),
                        Err(problem) => SweepEvent::FileProblem(problem),
                    }
                }),
                Err(problem) => report(events, SweepEvent::FileProblem(problem)).await,
            },
            SweepRequest::Export {
                path,
                format,
                experiment,
                records,
                prompt,
                language,
            } => in_the_background(events, "Writing the file", move || {
                let text = format.write(&experiment, &records, prompt, language);
                match std::fs::write(&path, text) {
                    Ok(()) => SweepEvent::Exported(path),
                    Err(error) => SweepEvent::FileProblem(Problem::new(
                        ProblemKind::File,
                        format!("{} cannot be written ({error}).", path.display()),
                        "Choose another place.",
                    )),
                }
            }),
            SweepRequest::Import { path } => match self.journal() {
                Ok(journal) => in_the_background(events, "Reading the file", move || match import(&path, &journal) {
                    Ok(entries) => SweepEvent::Imported { path, entries },
                    Err(problem) => SweepEvent::FileProblem(problem),
                }),
                Err(problem) => report(events, SweepEvent::FileProblem(problem)).await,
            },
            SweepRequest::Compare {
                left,
                right,
                granularity,
            } => in_the_background(events, "Comparing", move || {
                let diff = diff(&left, &right, granularity, Some(Instant::now() + DIFF_TIME));
                SweepEvent::Compared { left, right, diff }
            }),
        }
    }

    /// Leaves the run without a word in the history, so that it can go on later.
    pub(super) async fn leave(&mut self, events: &Events) {
        if let Some(at_work) = self.at_work.take()
            && !at_work.handle.is_finished()
        {
            at_work.handle.abort();
            let _ = at_work.handle.await;
            report(events, SweepEvent::Left).await;
        }
    }

    fn say(&self, word: Word) {
        if let Some(at_work) = &self.at_work {
            // A run that has just ended hears nothing any more.
            let _ = at_work.words.send(word);
        }
    }

    fn journal(&self) -> Result<SharedJournal, Problem> {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.clone().ok_or_else(|| {
            Problem::new(
                ProblemKind::File,
                "The history is not open, so nothing can be kept.",
                "See the history for the reason.",
            )
            .in_japanese(
                "履歴が開いていないため、何も保存できません。",
                "理由は履歴の欄を見てください。",
            )
        })
    }

    async fn run(
        &mut self,
        session: Option<&Arc<Session>>,
        case: &CaseKey,
        plan: Plan,
        resume: Option<Resume>,
        search: Option<SearchRequest>,
        events: &Events,
    ) {
        if self
            .at_work
            .as_ref()
            .is_some_and(|at_work| !at_work.ended.load(Ordering::Acquire) && !at_work.handle.is_finished())
        {
            let problem = Problem::new(
                ProblemKind::Input,
                "A sweep is already running.",
                "Cancel it, or wait for its end.",
            )
            .in_japanese("一括実験がすでに実行中です。", "中止するか、終わるのを待ってください。");
            return report(events, SweepEvent::Refused(problem)).await;
        }
        let Some(session) = session.cloned() else {
            let problem = Problem::new(ProblemKind::Connection, "There is no module connected.", "Reconnect.")
                .in_japanese("モジュールに接続していません。", "再接続してください。");
            return report(events, SweepEvent::Refused(problem)).await;
        };
        let journal = match self.journal() {
            Ok(journal) => journal,
            Err(problem) => return report(events, SweepEvent::Refused(problem)).await,
        };
        let request = request_of(&session, case, plan, Some(journal), resume);
        let before = self.at_work.take();
        let (words, mut heard) = mpsc::unbounded_channel();
        let (tasks, events) = (events.clone(), events.clone());
        // The session is kept while the run lasts: with it the unit in this process, where there is one.
        let ended = Arc::new(AtomicBool::new(false));
        let tell_end = Arc::clone(&ended);
        let work = async move {
            if !has_let_go(before, &mut heard, &events, &tell_end).await {
                return;
            }
            let started = match search {
                Some(search) => Run::search(request, search),
                None => Run::start(request),
            };
            match started {
                Ok(run) => follow(run, heard, &events, &tell_end).await,
                Err(error) => {
                    tell_end.store(true, Ordering::Release);
                    let problem = Problem::new(ProblemKind::Input, sentence(&error.to_string()), "");
                    report(&events, SweepEvent::Refused(problem)).await;
                }
            }
            drop(session);
        };
        let handle = tasks.spawn(work, interrupted(&ended));
        self.at_work = Some(AtWork { words, ended, handle });
    }
}

impl Sweeps {
    /// Runs a plan on another module. Reaching it may take a minute; a cancelling word is heard meanwhile.
    async fn run_on(
        &mut self,
        here: Option<&Arc<Session>>,
        target: Target,
        case: CaseKey,
        plan: Plan,
        events: &Events,
    ) {
        let journal = match self.journal() {
            Ok(journal) => journal,
            Err(problem) => return report(events, SweepEvent::Refused(problem)).await,
        };
        let limits = here
            .map(|session| session.module().options().clone())
            .unwrap_or_default();
        let (words, mut heard) = mpsc::unbounded_channel();
        let ended = Arc::new(AtomicBool::new(false));
        let tell_end = Arc::clone(&ended);
        let (tasks, events) = (events.clone(), events.clone());
        // Its end was told: the plan goes on elsewhere because of it.
        let before = self.at_work.take();
        let work = async move {
            if !has_let_go(before, &mut heard, &events, &tell_end).await {
                return;
            }
            let opened = tokio::select! {
                opened = open_elsewhere(target, &case, limits) => opened,
                () = cancelled(&mut heard) => return report_cancelled(&events, &tell_end).await,
            };
            let started = match opened {
                Ok(session) => {
                    // The runner sets up a task of its own; a module with few places needs this one's.
                    session.forget_task().await;
                    let request = request_of(&session, &case, plan, Some(journal), None);
                    Run::start(request)
                        .map(|run| (session, run))
                        .map_err(|error| Problem::new(ProblemKind::Input, sentence(&error.to_string()), ""))
                }
                Err(problem) => Err(problem),
            };
            match started {
                Ok((session, run)) => {
                    follow(run, heard, &events, &tell_end).await;
                    session.close().await;
                }
                Err(problem) => {
                    tell_end.store(true, Ordering::Release);
                    report(&events, SweepEvent::Refused(problem)).await;
                }
            }
        };
        let handle = tasks.spawn(work, interrupted(&ended));
        self.at_work = Some(AtWork { words, ended, handle });
    }
}

/// Waits until the run before, whose end was told, has let go of its module. False if the person cancels meanwhile; that is told.
async fn has_let_go(
    before: Option<AtWork>,
    words: &mut mpsc::UnboundedReceiver<Word>,
    events: &Events,
    ended: &AtomicBool,
) -> bool {
    let Some(before) = before else { return true };
    tokio::select! {
        joined = before.handle => {
            if let Err(error) = joined {
                tracing::warn!(%error, "the run before broke off");
            }
            true
        }
        () = cancelled(words) => {
            report_cancelled(events, ended).await;
            false
        }
    }
}

async fn report_cancelled(events: &Events, ended: &AtomicBool) {
    ended.store(true, Ordering::Release);
    report(events, SweepEvent::Run(RunEvent::Ended(RunEnd::Cancelled))).await;
}

/// What is told of a run whose own task broke.
fn interrupted(ended: &Arc<AtomicBool>) -> impl FnOnce(Problem) -> Event + Send + 'static {
    let ended = Arc::clone(ended);
    move |problem| {
        ended.store(true, Ordering::Release);
        let error = problem.to_string();
        Event::Sweep(Box::new(SweepEvent::Run(RunEvent::Ended(RunEnd::Interrupted {
            error,
        }))))
    }
}

/// Returns once the person cancels; who is gone wants nothing any more.
async fn cancelled(words: &mut mpsc::UnboundedReceiver<Word>) {
    while let Some(word) = words.recv().await {
        if matches!(word, Word::Cancel) {
            return;
        }
    }
}

/// A second module, beside the window's. A model that is not here is not fetched: that is the window's to ask.
async fn open_elsewhere(target: Target, case: &CaseKey, limits: ConnectOptions) -> Result<Session, Problem> {
    let opened = match target {
        Target::Remote { address, model } => {
            Session::open(&address, model.as_deref(), None, case, limits, |_| ()).await
        }
        Target::Embedded { model } => {
            let found = tokio::task::spawn_blocking(move || embedded::wanted(model.as_deref())).await;
            let (name, store) = match found {
                Ok(Ok(Wanted::Present { name, store })) => (name, store),
                Ok(Ok(Wanted::Missing(_))) => {
                    return Err(Problem::new(
                        ProblemKind::Model,
                        "There is no model here for the embedded module.",
                        "Fetch one under Models, then run again.",
                    ));
                }
                Ok(Err(problem)) => return Err(problem),
                Err(error) => {
                    let sentence = format!("Looking for the model broke off ({error}).");
                    return Err(Problem::new(ProblemKind::Model, sentence, "Try again."));
                }
            };
            let unit = Embedded::start(Arc::new(store), Arc::new(|_: &str, _: f32, _: &str| ())).await?;
            let address = unit.address().to_string();
            Session::open(&address, Some(&name), Some(unit), case, limits, |_| ()).await
        }
    };
    opened.map_err(|problem| match problem {
        ConnectProblem::Other(problem) => problem,
        ConnectProblem::TaskFull(tasks) => Problem::new(
            ProblemKind::TaskFull,
            format!("All places of the second module are taken ({}).", tasks.join(", ")),
            "Connect the window to it once and exit the left-over tasks there.",
        ),
    })
}

/// An experiment that goes on.
pub(crate) struct Resume {
    pub experiment: Experiment,
    /// Places in the plan of its finished cases.
    pub finished: HashSet<usize>,
    /// Its records.
    pub known: Vec<Record>,
    /// Whether a stranger's module is first asked to prove that a prefix has any effect.
    pub canary: bool,
}

/// The runner's request for a plan on the module of a session. The window and the shell make it the same way.
pub(crate) fn request_of(
    session: &Session,
    case: &CaseKey,
    plan: Plan,
    journal: Option<SharedJournal>,
    resume: Option<Resume>,
) -> RunRequest {
    let canary = resume.as_ref().is_none_or(|resume| resume.canary);
    let (resume, known) = match resume {
        Some(resume) => (Some((resume.experiment, resume.finished)), resume.known),
        None => (None, Vec::new()),
    };
    RunRequest {
        plan,
        module: session.module().clone(),
        set_up: session.set_up_of(case),
        words_from: None,
        journal,
        resume,
        known,
        options: RunOptions {
            written_by: concat!("softprefix ", env!("CARGO_PKG_VERSION")).to_owned(),
            address: session.facts().embedded.then(|| "embedded".to_owned()),
            shelf: session.shelf().cloned(),
            canary,
            ..RunOptions::default()
        },
    }
}

/// Passes the run's events on and the person's words in.
async fn follow(mut run: Run, mut words: mpsc::UnboundedReceiver<Word>, events: &Events, ended: &AtomicBool) {
    loop {
        tokio::select! {
            event = run.next() => match event {
                // Text of running cases is not shown, and there is much of it.
                Some(RunEvent::Text { .. }) => {}
                Some(event) => {
                    if matches!(event, RunEvent::Ended(_)) {
                        ended.store(true, Ordering::Release);
                    }
                    report(events, SweepEvent::Run(event)).await;
                }
                None => return,
            },
            Some(word) = words.recv() => match word {
                Word::Pause => run.pause(),
                Word::GoOn => run.go_on(),
                Word::Cancel => run.cancel(),
            },
        }
    }
}

async fn report(events: &Events, event: SweepEvent) {
    events.send(Event::Sweep(Box::new(event))).await;
}

/// Does work that blocks on a thread of its own, and reports what comes of it.
fn in_the_background(events: &Events, what: &'static str, work: impl FnOnce() -> SweepEvent + Send + 'static) {
    let events = events.clone();
    tokio::spawn(async move {
        let event = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
            let sentence = format!("{what} broke off ({error}).");
            let problem = Problem::new(ProblemKind::File, sentence, "Try again.").in_japanese(
                format!("作業が途中で止まりました（{error}）。"),
                "もう一度試してください。",
            );
            SweepEvent::FileProblem(problem)
        });
        report(&events, event).await;
    });
}

fn open_history(path: &Path, place: &Mutex<Option<SharedJournal>>) -> SweepEvent {
    if let Some(folder) = path.parent()
        && let Err(error) = std::fs::create_dir_all(folder)
    {
        let problem = Problem::new(
            ProblemKind::File,
            format!("The folder {} cannot be made ({error}).", folder.display()),
            "Check its rights; until then nothing can be kept.",
        )
        .in_japanese(
            format!(
                "フォルダー {} を作れません（{}）。",
                folder.display(),
                errors::system(&error.to_string())
            ),
            "権限を確かめてください。それまでは何も保存できません。",
        );
        return SweepEvent::NoHistory(problem);
    }
    match Journal::open(path) {
        Ok((journal, entries, condition)) => {
            if condition.damaged > 0 || condition.torn_bytes > 0 {
                tracing::warn!(?condition, "the history was damaged; what could be read was");
            }
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(Mutex::new(journal)));
            SweepEvent::History(Box::new(History::of(entries)))
        }
        Err(error) => SweepEvent::NoHistory(Problem::told(ProblemKind::File, errors::journal(&error))),
    }
}

fn append(journal: &SharedJournal, entries: &[impl std::borrow::Borrow<Entry>]) -> Result<(), Problem> {
    let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
    for entry in entries {
        journal
            .append(entry.borrow())
            .map_err(|error| Problem::told(ProblemKind::File, errors::journal(&error)))?;
    }
    Ok(())
}

/// Reads an exported experiment or a results file and puts it into the history under a new id.
fn import(path: &Path, journal: &SharedJournal) -> Result<Vec<Entry>, Problem> {
    let bytes = std::fs::read(path).map_err(|error| {
        Problem::new(
            ProblemKind::File,
            format!("{} cannot be read ({error}).", path.display()),
            "Check that it is there.",
        )
        .in_japanese(
            format!(
                "{} を読めません（{}）。",
                path.display(),
                errors::system(&error.to_string())
            ),
            "ファイルがあるか確かめてください。",
        )
    })?;
    let id = runner::new_id();
    let (mut experiment, mut records) = export::from_json(&bytes, &id).map_err(|error| {
        let told = errors::export(&error);
        let named = |what: &str, mark: &str| format!("{}{mark}{what}", path.display());
        Problem::new(ProblemKind::File, named(&told.what.en, ": "), told.todo.en)
            .in_japanese(named(&told.what.ja, "："), told.todo.ja)
    })?;
    for record in &mut records {
        record.id = format!("{id}/{}", record.case.index);
        record.experiment.clone_from(&id);
    }
    experiment.id.clone_from(&id);
    let entries: Vec<Entry> = std::iter::once(Entry::Started(Box::new(experiment)))
        .chain(records.into_iter().map(|record| Entry::Case(Box::new(record))))
        .chain(std::iter::once(Entry::Ended {
            experiment: id,
            how: Ending::Complete,
            at_unix: runner::unix_now(),
        }))
        .collect();
    append(journal, &entries)?;
    Ok(entries)
}
