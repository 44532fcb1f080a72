//! The bridge's main loop: takes requests in order, keeps one connection and one inference of each kind, and sends events.
//! Whatever takes longer than a moment runs as a task of its own, so that a stop is always handled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use softprefix_core::client::ConnectOptions;
use softprefix_core::experiment::Library;
use softprefix_core::experiment::session::Stop;
use softprefix_core::prefix::{PrefixRecipe, PrefixStore};
use softprefix_unit::models::Entry;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::discovery::Discovery;
use super::doctor::DoctorAccess;
use super::events::{Events, caught};
use super::external::External;
use super::find::{self, FindWorker};
use super::inference::{self, Trust};
use super::latest::{compare, count_latest, describe_latest};
use super::measure::measure;
use super::recording::Recordings;
use super::scoring::Scoring;
use super::sweep::{SweepContext, SweepRunner};
use super::tuning::TuningJournal;
use crate::errors::{self, task_failed};
use crate::messages::{
    ChangeOutcome, DoctorEvent, Event, Inference, LibraryRequest, MaterialEvent, MaterialRequest, PromptAndSettings,
    Request,
};
use crate::model::{FetchProgress, PreviousModule, Problem, Retry, Target};
use crate::session::embedded::{self, Models};
use crate::session::{ConnectProblem, LeftOver, MissingModel, OpenStep, Opening, Session, Steps};

/// Longest wait on exit for an attempt to connect.
const LEAVING: Duration = Duration::from_secs(3);
/// Longest wait for a stopped inference to end before the next one of its kind starts.
const ENDING: Duration = Duration::from_secs(5);

/// What a spawned task reports to the loop.
enum Done {
    Connected {
        attempt: u64,
        session: Result<Box<Session>, ConnectProblem>,
    },
    /// A background download ended: with a model, or because it was cancelled.
    Fetched {
        name: String,
        fetched: Result<Option<String>, Problem>,
    },
    /// The connection of this session is closed.
    Disconnected { attempt: u64, problem: Problem },
    /// The wait before an attempt to reach a lost module again is over.
    Waited { attempt: u64 },
}

/// Attempts to reconnect to a module, until one succeeds or the user connects to a module.
struct Recovery {
    /// Why the connection was lost, or the last attempt failed.
    problem: Problem,
    /// The waits before the attempts that are left.
    waits: std::vec::IntoIter<Duration>,
}

/// An inference that is running, or waiting for its delay.
struct Slot {
    stop: watch::Sender<bool>,
    /// Set before it is stopped in favour of another of its kind.
    replaced: Arc<AtomicBool>,
    handle: JoinHandle<()>,
}

/// A download in the background, while another model is in use.
struct RunningFetch {
    entries: Vec<&'static Entry>,
    cancel: Arc<AtomicBool>,
}

struct Worker {
    limits: ConnectOptions,
    models: Models,
    events: Events,
    done: mpsc::Sender<Done>,
    session: Option<Arc<Session>>,
    /// Number of the current connection; reports of older attempts are ignored.
    attempt: u64,
    /// The attempt that opened the session, and its target.
    in_use: (u64, Target),
    connecting: Option<JoinHandle<()>>,
    recovery: Option<Recovery>,
    watching: Option<JoinHandle<()>>,
    cancel_fetch: Arc<AtomicBool>,
    background_fetch: Option<RunningFetch>,
    given_up: Arc<AtomicBool>,
    last: Option<(Target, PromptAndSettings)>,
    slots: [Option<Slot>; 3],
    curve: super::curve::Curve,
    describe: watch::Sender<Option<(Arc<Session>, PrefixRecipe)>>,
    count: watch::Sender<Option<(Arc<Session>, String, String)>>,
    /// The library of all experiments.
    library: Option<Arc<Library>>,
    library_work: mpsc::UnboundedSender<super::library::QueuedRequest>,
    /// Completes once the previous inference was sent to the module.
    sent: Option<oneshot::Receiver<()>>,
    tuning: TuningJournal,
    sweeps: SweepRunner,
    scoring: Scoring,
    find: FindWorker,
    /// The store of imported prefixes.
    prefix_store: Option<PrefixStore>,
    recordings: Recordings,
    external: External,
    discovery: Discovery,
    access: DoctorAccess,
}

/// Runs until a shutdown is requested or the window is gone.
pub(super) async fn work(
    mut requests: mpsc::UnboundedReceiver<Request>,
    events: Events,
    limits: ConnectOptions,
    access: DoctorAccess,
    models: Models,
) {
    let (done, mut reports) = mpsc::channel(16);
    let (describe, described) = watch::channel(None);
    let (count, counted) = watch::channel(None);
    tokio::spawn(describe_latest(described, events.clone()));
    tokio::spawn(count_latest(counted, events.clone()));
    let (library_work, wanted) = mpsc::unbounded_channel();
    tokio::spawn(super::library::process_requests(wanted, events.clone()));
    let mut worker = Worker {
        limits,
        models,
        events,
        done,
        session: None,
        attempt: 0,
        in_use: (0, Target::default()),
        connecting: None,
        recovery: None,
        watching: None,
        cancel_fetch: Arc::default(),
        background_fetch: None,
        given_up: Arc::default(),
        last: None,
        slots: [None, None, None],
        curve: super::curve::Curve::default(),
        describe,
        count,
        library: None,
        library_work,
        sent: None,
        tuning: TuningJournal::default(),
        sweeps: SweepRunner::default(),
        scoring: Scoring::default(),
        find: FindWorker::default(),
        prefix_store: None,
        recordings: Recordings::default(),
        external: External::default(),
        discovery: Discovery::default(),
        access,
    };
    loop {
        tokio::select! {
            request = requests.recv() => match request {
                None | Some(Request::Shutdown) => break,
                Some(request) => worker.handle(request).await,
            },
            Some(report) = reports.recv() => worker.report(report).await,
        }
    }
    worker.leave(&mut reports).await;
}

impl Worker {
    async fn handle(&mut self, request: Request) {
        match request {
            Request::Connect { target, input } => self.connect(target, *input, Vec::new()).await,
            Request::ExitTasks { tasks } => {
                if let Some((target, input)) = self.last.clone() {
                    self.connect(target, input, tasks).await;
                }
            }
            Request::FetchModel { name, input } => match self.models.entries(&name) {
                Some(entries) if self.session.is_some() && self.connecting.is_none() => {
                    self.fetch_in_background(entries).await;
                }
                _ => {
                    self.connect(Target::Embedded { model: Some(name) }, *input, Vec::new())
                        .await;
                }
            },
            Request::CancelFetch => {
                self.cancel_fetch.store(true, Ordering::Relaxed);
                self.stop_background_fetch();
            }
            Request::Woke => self.ask_after_sleep(),
            Request::ListModels => self.list_models(),
            Request::Describe { recipe } => {
                if let Some(session) = self.session.clone() {
                    self.describe.send_replace(Some((session, recipe)));
                }
            }
            Request::Count { system, user } => {
                if let Some(session) = self.session.clone() {
                    self.count.send_replace(Some((session, system, user)));
                }
            }
            Request::Infer(inference) => self.infer(*inference).await,
            Request::Stop { kind } => {
                if let Some(slot) = &self.slots[kind as usize] {
                    slot.stop.send_replace(true);
                }
            }
            Request::FillCurve(inferences) => {
                self.curve
                    .fill(inferences, self.session.as_ref(), &self.tuning, &self.events);
            }
            Request::StopCurve => self.curve.stop(),
            Request::Compare(texts) => {
                self.events
                    .spawn(compare(texts, self.events.clone()), Event::NotCompared);
            }
            Request::Measure(comparisons) => {
                self.events
                    .spawn(measure(comparisons, self.events.clone()), Event::NotCompared);
            }
            Request::Score(request) => self.scoring.start(*request, self.session.as_ref(), &self.events),
            Request::StopScoring => self.scoring.stop(),
            Request::SaveFigure(request) => {
                self.events
                    .spawn(super::figure::write(*request, self.events.clone()), Event::FileProblem);
            }
            Request::Recording(request) => self.recordings.handle(request, &self.events).await,
            Request::External(request) => self.external.handle(request, &self.events),
            Request::Discovery(request) => self.discovery.handle(request, &self.events),
            Request::Library(LibraryRequest::Open { folder, old }) => {
                self.library = super::library::open(&folder, &old, &self.events).await;
                self.tuning.use_library(self.library.clone());
            }
            Request::Tuning(None) => self.tuning.begin(),
            Request::Tuning(Some(id)) => {
                let (tuning, session) = (self.tuning.clone(), id.clone());
                let opened = tokio::task::spawn_blocking(move || tuning.resume_session(&id)).await;
                let problem = match opened {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => errors::journal_problem(&error),
                    Err(error) => task_failed(error),
                };
                self.events.send(Event::TuningClosed { session, problem }).await;
            }
            Request::Library(request) => {
                // The receiver lives as long as the runtime.
                let _ = self.library_work.send((request, self.library.clone()));
            }
            Request::Sweep(request) => {
                let context = SweepContext {
                    session: self.session.as_ref(),
                    library: self.library.as_ref(),
                    events: &self.events,
                };
                self.sweeps.handle(*request, context).await;
            }
            Request::Find(request) => {
                let context = find::FindContext {
                    session: self.session.clone(),
                    library: self.library.clone(),
                    store: self.prefix_store.clone(),
                    events: self.events.clone(),
                };
                self.find.handle(request, context);
            }
            Request::Material(request) => match *request {
                MaterialRequest::UsePrefixStore { folder } => self.prefix_store = Some(PrefixStore::new(folder)),
                request => {
                    let (session, prefix_store) = (self.session.clone(), self.prefix_store.clone());
                    let work = super::material::work(request, session, prefix_store, self.events.clone());
                    let on_failure = |problem| Event::Material(Box::new(MaterialEvent::Failed(problem)));
                    self.events.spawn(work, on_failure);
                }
            },
            Request::Doctor(request) => {
                let work = super::doctor::work(request, self.access.clone(), self.events.clone());
                self.events.spawn(work, |problem| {
                    Event::Doctor(DoctorEvent::Ended(vec![ChangeOutcome::Problem(problem.sentence())]))
                });
            }
            // The loop ends before.
            Request::Shutdown => {}
        }
    }

    fn list_models(&self) {
        let (events, models) = (self.events.clone(), self.models.clone());
        tokio::spawn(async move {
            match tokio::task::spawn_blocking(move || embedded::choices(&models)).await {
                Ok(choices) => events.send(Event::Models(choices)).await,
                Err(error) => {
                    events.send(Event::FileProblem(task_failed(error))).await;
                }
            }
        });
    }

    // ----- the connection -----

    async fn connect(&mut self, target: Target, input: PromptAndSettings, exit_first: Vec<String>) {
        self.give_up();
        // The current module stays until the new one is ready, but its runs are stopped.
        self.stop_all();
        if let Some(session) = self.session.as_ref().filter(|_| is_same(&self.in_use.1, &target)) {
            // On the same module, both may need the same task slot.
            session.exit_current_task().await;
        }
        self.last = Some((target, input));
        self.open(exit_first);
    }

    /// Starts an attempt to open the last module. Attempts to reconnect report no steps, so that the last facts of the module stay on screen.
    fn open(&mut self, exit_first: Vec<String>) {
        let Some((target, input)) = self.last.clone() else {
            return;
        };
        self.attempt += 1;
        self.cancel_fetch = Arc::default();
        self.given_up = Arc::default();
        let (attempt, done) = (self.attempt, self.done.clone());
        let events = Events {
            given_up: Some(Arc::clone(&self.given_up)),
            ..self.events.clone()
        };
        let opening = Opening {
            target,
            system: input.prompt.system,
            settings: input.settings,
            limits: self.limits.clone(),
            prefix_store: self.prefix_store.clone(),
            left_over: match exit_first.is_empty() {
                true => LeftOver::Keep,
                false => LeftOver::Exit(exit_first),
            },
            models: self.models.clone(),
            missing: MissingModel::Substitute(Arc::clone(&self.cancel_fetch)),
        };
        let is_quiet = self.recovery.is_some();
        let steps: Steps = Arc::new(move |step| {
            if is_quiet {
                return;
            }
            events.send_if_room(match step {
                OpenStep::Connecting(step) => Event::Connecting(step),
                OpenStep::Fetching(progress) => Event::Fetching(progress),
                OpenStep::Loading { model, fraction, stage } => Event::Loading { model, fraction, stage },
            });
        });
        self.connecting = Some(tokio::spawn(async move {
            let opened = caught(Session::open(opening, steps)).await;
            let session = opened.unwrap_or_else(|problem| Err(problem.into())).map(Box::new);
            // If the loop has ended, the report is not needed.
            let _ = done.send(Done::Connected { attempt, session }).await;
        }));
    }

    async fn report(&mut self, report: Done) {
        match report {
            Done::Connected { attempt, session } if attempt == self.attempt => {
                self.connecting = None;
                let recovery = self.recovery.take();
                match (session, recovery) {
                    (Ok(session), recovery) => {
                        // A sweep reconnects by itself and continues with its missing cases.
                        if recovery.is_none() {
                            self.leave_session().await;
                        }
                        if let Some((target, _)) = &self.last {
                            self.in_use = (attempt, target.clone());
                        }
                        let session: Arc<Session> = Arc::from(session);
                        let (facts, vocabulary) = (session.facts().clone(), session.norms());
                        self.watch(&session);
                        if !session.substituted().is_empty() {
                            // Reported first, so that the window does not treat the small model as the user's choice.
                            self.fetch_in_background(session.substituted().to_vec()).await;
                        }
                        self.session = Some(session);
                        self.events.send(Event::Ready(Box::new(facts), vocabulary)).await;
                    }
                    (Err(problem), Some(recovery)) => return self.try_again(recovery, problem).await,
                    (Err(ConnectProblem::TaskFull(tasks)), None) => self.events.send(Event::TaskFull { tasks }).await,
                    (Err(ConnectProblem::Other(problem)), None) => self.events.send(Event::Lost(problem)).await,
                    (Err(ConnectProblem::NoModel(problem)), None) => {
                        self.events.send(Event::NoModel(problem)).await;
                        self.list_models();
                    }
                }
                self.report_previous_module().await;
            }
            Done::Disconnected { attempt, problem } if attempt == self.in_use.0 => {
                let Some(session) = self.session.take() else { return };
                // A module keeps the tasks of a connection that broke: this one counts as left from now on.
                tokio::spawn(async move { session.exit_current_task().await });
                if let Some(watching) = self.watching.take() {
                    watching.abort();
                }
                self.stop_all();
                // While another module is being connected, this one is not replaced.
                if self.connecting.is_none() {
                    if let Some((target, _)) = &mut self.last {
                        target.clone_from(&self.in_use.1);
                    }
                    let recovery = Recovery {
                        problem: problem.clone(),
                        waits: self.limits.retries.clone().into_iter(),
                    };
                    self.try_again(recovery, problem.into()).await;
                }
            }
            Done::Waited { attempt } if attempt == self.attempt && self.recovery.is_some() => self.open(Vec::new()),
            Done::Fetched { name, fetched } => {
                // A download that was replaced by another is not reported.
                let is_its = |fetch: &RunningFetch| fetch.entries.first().is_some_and(|entry| entry.name == name);
                if self.background_fetch.take_if(|fetch| is_its(fetch)).is_some() {
                    self.events.send(Event::Fetched { name, fetched }).await;
                    self.list_models();
                }
            }
            // A cancelled attempt.
            Done::Connected {
                session: Ok(session), ..
            } => {
                tokio::spawn(async move { session.close().await });
            }
            Done::Connected { .. } | Done::Disconnected { .. } | Done::Waited { .. } => {}
        }
    }

    /// Schedules the next attempt of a recovery, after the connection was lost or the last attempt failed because of `problem`.
    async fn try_again(&mut self, mut recovery: Recovery, problem: ConnectProblem) {
        match problem {
            ConnectProblem::Other(problem) => recovery.problem = problem,
            ConnectProblem::TaskFull(tasks) => return self.events.send(Event::TaskFull { tasks }).await,
            ConnectProblem::NoModel(problem) => return self.events.send(Event::NoModel(problem)).await,
        }
        let Some(wait) = recovery.waits.next() else {
            return self.events.send(Event::Lost(recovery.problem)).await;
        };
        let of = self.limits.retries.len();
        let retry = Retry {
            attempt: of - recovery.waits.len(),
            of,
        };
        self.events
            .send(Event::Reconnecting(recovery.problem.clone(), retry))
            .await;
        self.recovery = Some(recovery);
        let (attempt, done) = (self.attempt, self.done.clone());
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            // If the loop has ended, the report is not needed.
            let _ = done.send(Done::Waited { attempt }).await;
        });
    }

    /// Checks that a remote module still answers: the connection may have been lost silently while the machine slept.
    fn ask_after_sleep(&self) {
        let Some(session) = self.session.clone().filter(|session| !session.facts().is_embedded()) else {
            return;
        };
        let (done, attempt) = (self.done.clone(), self.in_use.0);
        tokio::spawn(async move {
            if let Err(reason) = session.module().ping().await {
                let problem = session.problem(reason);
                // If the loop has ended, the report is not needed.
                let _ = done.send(Done::Disconnected { attempt, problem }).await;
            }
        });
    }

    /// Downloads the first of `entries` that is available, in the background. It replaces another download, and continues one of the same
    /// model.
    async fn fetch_in_background(&mut self, entries: Vec<&'static Entry>) {
        let Some(first) = entries.first().copied() else { return };
        if let Some(fetch) = &self.background_fetch
            && fetch.entries == entries
            && !fetch.cancel.load(Ordering::Relaxed)
        {
            return;
        }
        self.stop_background_fetch();
        let cancel = Arc::<AtomicBool>::default();
        self.background_fetch = Some(RunningFetch {
            entries: entries.clone(),
            cancel: Arc::clone(&cancel),
        });
        let beginning = FetchProgress {
            name: first.name.to_owned(),
            model: first.title.to_owned(),
            total_bytes: first.bytes,
            ..FetchProgress::default()
        };
        self.events.send(Event::FetchingInBackground(beginning)).await;
        let (events, done, models) = (self.events.clone(), self.done.clone(), self.models.clone());
        tokio::spawn(async move {
            let report = move |progress| events.send_if_room(Event::FetchingInBackground(progress));
            let work = tokio::task::spawn_blocking(move || embedded::fetch(&models, &entries, &cancel, report));
            let fetched = work.await.unwrap_or_else(|error| Err(task_failed(error)));
            let name = first.name.to_owned();
            // If the loop has ended, the report is not needed.
            let _ = done.send(Done::Fetched { name, fetched }).await;
        });
    }

    fn stop_background_fetch(&self) {
        if let Some(fetch) = &self.background_fetch {
            fetch.cancel.store(true, Ordering::Relaxed);
        }
    }

    /// Reports which module is still connected after a failed attempt.
    async fn report_previous_module(&self) {
        let Some(session) = self.session.as_ref().filter(|_| self.in_use.0 != self.attempt) else {
            return;
        };
        let previous = PreviousModule {
            target: self.in_use.1.clone(),
            facts: session.facts().clone(),
            vocabulary: session.norms(),
        };
        self.events.send(Event::PreviousModule(Box::new(previous))).await;
    }

    /// Reports when the connection is closed by the module.
    fn watch(&mut self, session: &Arc<Session>) {
        let (module, done, attempt) = (session.module().clone(), self.done.clone(), self.in_use.0);
        let is_embedded = session.facts().is_embedded();
        self.watching = Some(tokio::spawn(async move {
            let reason = module.disconnected().await;
            let _ = done
                .send(Done::Disconnected {
                    attempt,
                    problem: errors::session(&reason.into(), is_embedded),
                })
                .await;
        }));
    }

    /// Cancels the current attempt to connect.
    fn give_up(&mut self) {
        self.cancel_fetch.store(true, Ordering::Relaxed);
        // Its events are dropped. A set-up that was already sent creates a task, which is exited when the attempt
        // reports.
        self.given_up.store(true, Ordering::Relaxed);
        self.attempt += 1;
        self.connecting = None;
        self.recovery = None;
    }

    /// Closes the current session.
    async fn leave_session(&mut self) {
        if let Some(watching) = self.watching.take() {
            watching.abort();
        }
        self.stop_all();
        self.find.stop();
        self.sweeps.abort(&self.events).await;
        self.describe.send_replace(None);
        self.count.send_replace(None);
        if let Some(session) = self.session.take() {
            session.close().await;
        }
    }

    /// Closes the session on exit, and exits a task that a current attempt sets up, if that finishes soon.
    async fn leave(&mut self, reports: &mut mpsc::Receiver<Done>) {
        let connecting = self.connecting.take();
        let attempt = self.attempt;
        self.give_up();
        self.stop_background_fetch();
        self.leave_session().await;
        let Some(connecting) = connecting else { return };
        let late = async {
            while let Some(report) = reports.recv().await {
                match report {
                    Done::Connected { attempt: of, session } if of == attempt => {
                        if let Ok(session) = session {
                            session.close().await;
                        }
                        return;
                    }
                    _ => {}
                }
            }
        };
        let _ = tokio::time::timeout(LEAVING, late).await;
        connecting.abort();
    }

    // ----- inferences -----

    async fn infer(&mut self, inference: Inference) {
        let Some(session) = self.session.clone() else {
            let problem = errors::not_connected();
            let (run, kind) = (inference.run, inference.kind);
            self.events.send(Event::Failed { run, kind, problem }).await;
            return;
        };
        let place = inference.kind as usize;
        let before = self.slots[place].take();
        if let Some(before) = &before {
            before.replaced.store(true, Ordering::Release);
            before.stop.send_replace(true);
        }
        let (stop, mut stopped) = Stop::pair();
        let (events, done, attempt) = (self.events.clone(), self.done.clone(), self.in_use.0);
        let (tuning, replaced) = (self.tuning.clone(), Arc::new(AtomicBool::new(false)));
        let by = Arc::clone(&replaced);
        let (run, kind) = (inference.run, inference.kind);
        let (on_sent, sent) = oneshot::channel();
        // A module that runs one inference at a time runs them in the order of the requests.
        let earlier = self.sent.replace(sent).filter(|_| !session.facts().is_ours());
        let work = async move {
            let free = async {
                tokio::time::sleep(inference.delay).await;
                if let Some(earlier) = earlier {
                    // Closed if that one ended before it was sent.
                    let _ = earlier.await;
                }
                if let Some(before) = before
                    && tokio::time::timeout(ENDING, before.handle).await.is_err()
                {
                    tracing::warn!("the inference before takes long to end");
                }
            };
            tokio::select! {
                () = free => {}
                () = stopped.requested() => return events.send(Event::Dropped { run, kind }).await,
            }
            let work = inference::run(&session, inference, (stopped, on_sent), &by, tuning, &events);
            if work.await == Trust::Doubtful
                // On a module that no longer answers, its other inferences would wait until their deadlines.
                && let Err(reason) = session.module().ping().await
            {
                let problem = session.problem(reason);
                // If the loop has ended, the report is not needed.
                let _ = done.send(Done::Disconnected { attempt, problem }).await;
            }
        };
        let handle = self
            .events
            .spawn(work, move |problem| Event::Failed { run, kind, problem });
        self.slots[place] = Some(Slot { stop, replaced, handle });
    }

    fn stop_all(&mut self) {
        self.scoring.stop();
        self.curve.stop();
        for slot in self.slots.iter_mut().filter_map(Option::take) {
            slot.stop.send_replace(true);
        }
    }
}

/// Returns whether two targets are the same remote module. Each embedded one is a module of its own.
fn is_same(one: &Target, other: &Target) -> bool {
    match (one, other) {
        (Target::Remote { address: one, .. }, Target::Remote { address: other, .. }) => one == other,
        _ => false,
    }
}
