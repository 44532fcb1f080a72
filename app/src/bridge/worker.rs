//! The bridge's thread at work: takes requests in order, keeps one connection, one inference a side, and reports.
//!
//! Whatever takes longer than a moment runs as a task of its own, so that a stop is always heard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use softprefix_core::client::ConnectOptions;
use softprefix_core::prefix::{PrefixRecipe, Shelf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::deep::Scoring;
use super::doctor::Ways;
use super::events::{Events, caught};
use super::inference::{Trust, run, wanted};
use super::latest::{compare, keep_counting, keep_describing};
use super::reach::{find_or_fetch, in_process, remote};
use super::recording::Recordings;
use super::sweep::Sweeps;
use crate::errors::problem_of;
use crate::messages::{DoctorEvent, Event, Inference, MaterialEvent, MaterialRequest, Request, Said};
use crate::model::{CaseKey, Kept, Problem, ProblemKind, Side, Target};
use crate::results;
use crate::session::{ConnectProblem, Session, embedded};

/// Longest wait, on the way out, for an attempt to connect.
const LEAVING: Duration = Duration::from_secs(3);
/// Longest wait for a stopped inference to end before the next one of its side starts all the same.
const ENDING: Duration = Duration::from_secs(5);

/// What a task of its own reports back to the loop.
enum Done {
    Connected {
        attempt: u64,
        session: Result<Box<Session>, ConnectProblem>,
    },
    /// The fetch ended without a model.
    NoModel { attempt: u64, problem: Option<Problem> },
    /// The connection of this session is closed.
    Disconnected { attempt: u64, problem: Problem },
}

/// An inference that is on its way, or waits for the hand to rest.
struct Slot {
    stop: watch::Sender<bool>,
    handle: JoinHandle<()>,
}

struct Worker {
    limits: ConnectOptions,
    events: Events,
    done: mpsc::Sender<Done>,
    session: Option<Arc<Session>>,
    /// Counts connections; what an older attempt reports is ignored.
    attempt: u64,
    /// The attempt that the session came of, and what was asked for.
    in_use: (u64, Target),
    connecting: Option<JoinHandle<()>>,
    watching: Option<JoinHandle<()>>,
    cancel_fetch: Arc<AtomicBool>,
    given_up: Arc<AtomicBool>,
    last: Option<(Target, CaseKey)>,
    slots: [Option<Slot>; 3],
    describe: watch::Sender<Option<(Arc<Session>, PrefixRecipe)>>,
    count: watch::Sender<Option<(Arc<Session>, String, String)>>,
    sweeps: Sweeps,
    scoring: Scoring,
    /// Where imported prefixes are kept.
    shelf: Option<Shelf>,
    recordings: Recordings,
    ways: Ways,
}

/// Works until a shutdown is asked for, or nobody can ask any more.
pub(super) async fn work(
    mut requests: mpsc::UnboundedReceiver<Request>,
    events: Events,
    limits: ConnectOptions,
    ways: Ways,
) {
    let (done, mut reports) = mpsc::channel(16);
    let (describe, described) = watch::channel(None);
    let (count, counted) = watch::channel(None);
    tokio::spawn(keep_describing(described, events.clone()));
    tokio::spawn(keep_counting(counted, events.clone()));
    let mut worker = Worker {
        limits,
        events,
        done,
        session: None,
        attempt: 0,
        in_use: (0, Target::default()),
        connecting: None,
        watching: None,
        cancel_fetch: Arc::default(),
        given_up: Arc::default(),
        last: None,
        slots: [None, None, None],
        describe,
        count,
        sweeps: Sweeps::default(),
        scoring: Scoring::default(),
        shelf: None,
        recordings: Recordings::default(),
        ways,
    };
    loop {
        tokio::select! {
            request = requests.recv() => match request {
                None | Some(Request::Shutdown) => break,
                Some(request) => worker.take(request).await,
            },
            Some(report) = reports.recv() => worker.report(report).await,
        }
    }
    worker.leave(&mut reports).await;
}

impl Worker {
    async fn take(&mut self, request: Request) {
        match request {
            Request::Connect { target, case } => self.connect(target, *case, Vec::new()).await,
            Request::ExitTasks { tasks } => {
                if let Some((target, case)) = self.last.clone() {
                    self.connect(target, case, tasks).await;
                }
            }
            Request::FetchModel { name, case } => {
                self.connect(Target::Embedded { model: Some(name) }, *case, Vec::new())
                    .await;
            }
            Request::CancelFetch => self.cancel_fetch.store(true, Ordering::Relaxed),
            Request::ListModels => {
                let events = self.events.clone();
                tokio::spawn(async move {
                    if let Ok(choices) = tokio::task::spawn_blocking(embedded::choices).await {
                        events.send(Event::Models(choices)).await;
                    }
                });
            }
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
            Request::Stop { side } => {
                if let Some(slot) = &self.slots[index(side)] {
                    slot.stop.send_replace(true);
                }
            }
            Request::Compare(comparison) => {
                self.events
                    .spawn(compare(comparison, self.events.clone()), Event::NotCompared);
            }
            Request::Score(request) => self.scoring.start(*request, self.session.as_ref(), &self.events),
            Request::StopScoring => self.scoring.stop(),
            Request::SaveFigure(request) => {
                self.events
                    .spawn(super::figure::write(*request, self.events.clone()), Event::FileProblem);
            }
            Request::Save { path, snapshot } => {
                let events = self.events.clone();
                tokio::spawn(async move {
                    let to = path.clone();
                    let written = tokio::task::spawn_blocking(move || results::write(&to, &snapshot)).await;
                    events
                        .send(match written {
                            Ok(Ok(())) => Event::Saved { path },
                            Ok(Err(problem)) => Event::FileProblem(problem),
                            Err(error) => Event::FileProblem(broke_off("Writing the file", &error)),
                        })
                        .await;
                });
            }
            Request::Open { path } => {
                let events = self.events.clone();
                tokio::spawn(async move {
                    let from = path.clone();
                    let read = tokio::task::spawn_blocking(move || results::read(&from)).await;
                    events
                        .send(match read {
                            Ok(Ok(snapshot)) => Event::Opened {
                                path,
                                snapshot: Box::new(snapshot),
                            },
                            Ok(Err(problem)) => Event::FileProblem(problem),
                            Err(error) => Event::FileProblem(broke_off("Reading the file", &error)),
                        })
                        .await;
                });
            }
            Request::Recording(request) => self.recordings.take(request, &self.events).await,
            Request::Sweep(request) => self.sweeps.take(*request, self.session.as_ref(), &self.events).await,
            Request::Material(request) => match *request {
                MaterialRequest::UseShelf { folder } => self.shelf = Some(Shelf::new(folder)),
                request => {
                    let (session, shelf) = (self.session.clone(), self.shelf.clone());
                    let work = super::material::work(request, session, shelf, self.events.clone());
                    let broken = |problem| Event::Material(Box::new(MaterialEvent::Failed(problem)));
                    self.events.spawn(work, broken);
                }
            },
            Request::Doctor(request) => {
                let work = super::doctor::work(request, self.ways.clone(), self.events.clone());
                self.events.spawn(work, |problem| {
                    Event::Doctor(DoctorEvent::Ended(Some(Said::Problem(problem.said()))))
                });
            }
            // The loop ends before it comes here.
            Request::Shutdown => {}
        }
    }

    // ----- the connection -----

    async fn connect(&mut self, target: Target, case: CaseKey, exit_first: Vec<String>) {
        self.give_up();
        // Until the new module is ready the one in use stays, but for what runs on it.
        self.stop_all();
        if let Some(session) = self.session.as_ref().filter(|_| is_same(&self.in_use.1, &target)) {
            // On one module both may need the same place.
            session.forget_task().await;
        }
        self.attempt += 1;
        self.last = Some((target.clone(), case.clone()));
        self.cancel_fetch = Arc::default();
        self.given_up = Arc::default();
        let (attempt, done) = (self.attempt, self.done.clone());
        let events = Events {
            given_up: Some(Arc::clone(&self.given_up)),
            ..self.events.clone()
        };
        let (cancel, limits) = (Arc::clone(&self.cancel_fetch), self.limits.clone());
        let connecting = async move {
            match target {
                Target::Remote { address, model } => {
                    let session = remote(&address, model.as_deref(), &case, &exit_first, limits, &events).await;
                    Done::Connected {
                        attempt,
                        session: session.map(Box::new),
                    }
                }
                Target::Embedded { model } => match find_or_fetch(model, cancel, &events).await {
                    Ok(Some((name, store))) => {
                        let session = in_process(name, store, &case, limits, &events).await;
                        Done::Connected {
                            attempt,
                            session: session.map(Box::new),
                        }
                    }
                    Ok(None) => Done::NoModel { attempt, problem: None },
                    Err(problem) => Done::NoModel {
                        attempt,
                        problem: Some(problem),
                    },
                },
            }
        };
        self.connecting = Some(tokio::spawn(async move {
            let report = caught(connecting).await.unwrap_or_else(|problem| Done::Connected {
                attempt,
                session: Err(problem.into()),
            });
            // Where the loop has ended, nobody needs the report.
            let _ = done.send(report).await;
        }));
    }

    async fn report(&mut self, report: Done) {
        match report {
            Done::Connected { attempt, session } if attempt == self.attempt => {
                self.connecting = None;
                match session {
                    Ok(session) => {
                        self.leave_session().await;
                        if let Some((target, _)) = &self.last {
                            self.in_use = (attempt, target.clone());
                        }
                        let session = Arc::new((*session).with_shelf(self.shelf.clone()));
                        let (facts, vocabulary) = (session.facts().clone(), session.vocabulary().cloned());
                        self.watch(&session);
                        self.session = Some(session);
                        self.events.send(Event::Ready(Box::new(facts), vocabulary)).await;
                    }
                    Err(ConnectProblem::TaskFull(tasks)) => self.events.send(Event::TaskFull { tasks }).await,
                    Err(ConnectProblem::Other(problem)) => self.events.send(Event::Lost(problem)).await,
                }
                self.keep().await;
            }
            Done::NoModel { attempt, problem } if attempt == self.attempt => {
                self.connecting = None;
                self.events.send(Event::NoModel(problem)).await;
                self.keep().await;
                if let Ok(choices) = tokio::task::spawn_blocking(embedded::choices).await {
                    self.events.send(Event::Models(choices)).await;
                }
            }
            Done::Disconnected { attempt, problem } if attempt == self.in_use.0 && self.session.is_some() => {
                self.stop_all();
                self.session = None;
                // While another module is on its way, nobody waits for this one.
                if self.connecting.is_none() {
                    self.events.send(Event::Lost(problem)).await;
                }
            }
            // An attempt that was given up.
            Done::Connected {
                session: Ok(session), ..
            } => {
                tokio::spawn(async move { session.close().await });
            }
            Done::Connected { .. } | Done::NoModel { .. } | Done::Disconnected { .. } => {}
        }
    }

    /// After an attempt that failed: tells what is still in use.
    async fn keep(&self) {
        let Some(session) = self.session.as_ref().filter(|_| self.in_use.0 != self.attempt) else {
            return;
        };
        let kept = Kept {
            target: self.in_use.1.clone(),
            facts: session.facts().clone(),
            vocabulary: session.vocabulary().cloned(),
        };
        self.events.send(Event::Kept(Box::new(kept))).await;
    }

    /// Reports when the connection closes by itself.
    fn watch(&mut self, session: &Arc<Session>) {
        let (module, done, attempt) = (session.module().clone(), self.done.clone(), self.in_use.0);
        self.watching = Some(tokio::spawn(async move {
            let reason = module.disconnected().await;
            let _ = done
                .send(Done::Disconnected {
                    attempt,
                    problem: problem_of(&reason),
                })
                .await;
        }));
    }

    /// Gives up the attempt to connect that is under way.
    fn give_up(&mut self) {
        self.cancel_fetch.store(true, Ordering::Relaxed);
        // It runs on unheard: a set-up that has been sent makes a task, which is exited when the attempt reports.
        self.given_up.store(true, Ordering::Relaxed);
        self.attempt += 1;
        self.connecting = None;
    }

    /// Leaves the module in use.
    async fn leave_session(&mut self) {
        if let Some(watching) = self.watching.take() {
            watching.abort();
        }
        self.stop_all();
        self.sweeps.leave(&self.events).await;
        self.describe.send_replace(None);
        self.count.send_replace(None);
        if let Some(session) = self.session.take() {
            session.close().await;
        }
    }

    /// Leaves for good: also what an attempt under way still sets up is exited, if that comes soon.
    async fn leave(&mut self, reports: &mut mpsc::Receiver<Done>) {
        let connecting = self.connecting.take();
        let attempt = self.attempt;
        self.give_up();
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
                    Done::NoModel { attempt: of, .. } if of == attempt => return,
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
            let problem = Problem::new(ProblemKind::Connection, "There is no module connected.", "Reconnect.")
                .in_japanese("モジュールに接続していません。", "再接続してください。");
            let (run, side) = (inference.run, inference.side);
            self.events.send(Event::Failed { run, side, problem }).await;
            return;
        };
        let place = index(inference.side);
        let before = self.slots[place].take();
        if let Some(before) = &before {
            before.stop.send_replace(true);
        }
        let (stop, stopped) = watch::channel(false);
        let (events, done, attempt) = (self.events.clone(), self.done.clone(), self.in_use.0);
        let (of, on) = (inference.run, inference.side);
        let work = async move {
            // The hand rests while the old one ends.
            let rest = tokio::time::sleep(inference.delay);
            let mut wish = stopped.clone();
            let dropped = tokio::select! {
                () = rest => false,
                () = wanted(&mut wish) => true,
            };
            if !dropped && let Some(before) = before {
                let _ = tokio::time::timeout(ENDING, before.handle).await;
            }
            if dropped || *stopped.borrow() {
                events
                    .send(Event::Dropped {
                        run: inference.run,
                        side: inference.side,
                    })
                    .await;
            } else if run(&session, inference, stopped, &events).await == Trust::Doubtful
                // One that is silent altogether would keep its other inferences waiting until their deadlines.
                && let Err(reason) = session.module().ping().await
            {
                let _ = done
                    .send(Done::Disconnected {
                        attempt,
                        problem: problem_of(&reason),
                    })
                    .await;
            }
        };
        let handle = self.events.spawn(work, move |problem| Event::Failed {
            run: of,
            side: on,
            problem,
        });
        self.slots[place] = Some(Slot { stop, handle });
    }

    fn stop_all(&mut self) {
        self.scoring.stop();
        for slot in self.slots.iter_mut().filter_map(Option::take) {
            slot.stop.send_replace(true);
        }
    }
}

/// Whether two targets are one module elsewhere. Each embedded one is a module of its own.
fn is_same(one: &Target, other: &Target) -> bool {
    match (one, other) {
        (Target::Remote { address: one, .. }, Target::Remote { address: other, .. }) => one == other,
        _ => false,
    }
}

fn index(side: Side) -> usize {
    match side {
        Side::Baseline => 0,
        Side::Prefixed => 1,
        Side::Repeat => 2,
    }
}

fn broke_off(what: &str, error: &dyn std::fmt::Display) -> Problem {
    Problem::new(ProblemKind::File, format!("{what} broke off ({error})."), "Try again.").in_japanese(
        format!("作業が途中で止まりました（{what}：{error}）。"),
        "もう一度試してください。",
    )
}
