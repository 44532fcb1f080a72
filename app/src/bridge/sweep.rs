//! Runs sweeps, one at a time, on the window's session or on a second module.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use softprefix_core::experiment::{
    Library, Plan, PlanError, Run, RunEnd, RunEvent, RunOptions, RunRequest, SaveTo, SavedExperiment, ThresholdRequest,
};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

use super::events::Events;
use crate::errors::{self, broken};
use crate::messages::{Event, SweepEvent, SweepRequest};
use crate::model::{Bilingual, Problem, ProblemKind, Target};
use crate::session::{Opening, Session};

/// A control message to a running sweep.
enum Control {
    Pause,
    GoOn,
    Cancel,
}

struct AtWork {
    control: mpsc::UnboundedSender<Control>,
    /// Set before the end is reported.
    ended: Arc<AtomicBool>,
    handle: JoinHandle<()>,
}

/// The sweeps' part of the bridge.
#[derive(Default)]
pub(super) struct Sweeps {
    at_work: Option<AtWork>,
}

/// What a sweep needs from the bridge.
pub(super) struct SweepContext<'a> {
    pub session: Option<&'a Arc<Session>>,
    pub library: Option<&'a Arc<Library>>,
    pub events: &'a Events,
}

/// A plan, and the options to run it with.
struct Planned {
    plan: Plan,
    resume: Option<SavedExperiment>,
    search: Option<ThresholdRequest>,
    canary: bool,
}

impl Planned {
    fn new(plan: Plan) -> Self {
        Self {
            plan,
            resume: None,
            search: None,
            canary: true,
        }
    }

    fn start(self, session: &Session, save_to: SaveTo) -> Result<Run, PlanError> {
        let request = RunRequest {
            plan: self.plan,
            session: Arc::clone(session.core()),
            save_to,
            resume: self.resume,
            options: RunOptions {
                canary: self.canary,
                ..RunOptions::default()
            },
        };
        match self.search {
            Some(search) => Run::search_threshold(request, search),
            None => Run::start(request),
        }
    }
}

impl Sweeps {
    pub(super) async fn take(&mut self, request: SweepRequest, context: SweepContext<'_>) {
        match request {
            SweepRequest::Start { plan } => self.run(Planned::new(plan), context).await,
            SweepRequest::AskSecond { target, model } => {
                let limits = context.session.map(|session| session.module().options().clone());
                let teller = context.events.clone();
                let second = |answer| Event::Sweep(Box::new(SweepEvent::Second(answer)));
                let work = async move {
                    let answer = super::second::ask(target, model, limits.unwrap_or_default()).await;
                    teller.send(second(answer)).await;
                };
                context.events.spawn(work, move |problem| second(Err(problem)));
            }
            SweepRequest::StartOn { plan, target } => self.run_on(target, plan, context).await,
            SweepRequest::Resume { saved, canary } => {
                let Some(plan) = saved.experiment.plan.clone() else {
                    return;
                };
                let planned = Planned {
                    resume: Some(*saved),
                    canary,
                    ..Planned::new(plan)
                };
                self.run(planned, context).await;
            }
            SweepRequest::Search {
                plan,
                recipe,
                search,
                budget,
                beside,
            } => {
                let search = ThresholdRequest {
                    recipe,
                    search,
                    budget,
                    beside,
                };
                let planned = Planned {
                    search: Some(search),
                    ..Planned::new(plan)
                };
                self.run(planned, context).await;
            }
            SweepRequest::Pause => self.tell(Control::Pause),
            SweepRequest::GoOn => self.tell(Control::GoOn),
            SweepRequest::Cancel => self.tell(Control::Cancel),
        }
    }

    /// Stops the run without an ending in its journal, so that it can be resumed later.
    pub(super) async fn leave(&mut self, events: &Events) {
        if let Some(at_work) = self.at_work.take()
            && !at_work.handle.is_finished()
        {
            at_work.handle.abort();
            // The error says that the task was aborted.
            let _aborted = at_work.handle.await;
            report(events, SweepEvent::Left).await;
        }
    }

    fn tell(&self, control: Control) {
        if let Some(at_work) = &self.at_work {
            // A run that has just ended no longer receives messages.
            let _ = at_work.control.send(control);
        }
    }

    async fn run(&mut self, planned: Planned, context: SweepContext<'_>) {
        let SweepContext {
            session,
            library,
            events,
        } = context;
        let is_busy = |at_work: &AtWork| !at_work.ended.load(Ordering::Acquire) && !at_work.handle.is_finished();
        if self.at_work.as_ref().is_some_and(is_busy) {
            let problem = Problem::new(
                ProblemKind::Input,
                Bilingual::new("A sweep is already running.", "一括実験がすでに実行中です。"),
                Bilingual::new(
                    "Cancel it, or wait for its end.",
                    "中止するか、終わるのを待ってください。",
                ),
            );
            return report(events, SweepEvent::Refused(problem)).await;
        }
        let Some(session) = session.cloned() else {
            let problem = errors::not_connected();
            return report(events, SweepEvent::Refused(problem)).await;
        };
        let save_to = match save_to(library, planned.resume.as_ref()).await {
            Ok(save_to) => save_to,
            Err(problem) => return report(events, SweepEvent::Refused(problem)).await,
        };
        let before = self.at_work.take();
        let (control, mut heard) = mpsc::unbounded_channel();
        let (tasks, events) = (events.clone(), events.clone());
        let ended = Arc::new(AtomicBool::new(false));
        let tell_end = Arc::clone(&ended);
        let work = async move {
            if !has_let_go(before, &mut heard, &events, &tell_end).await {
                return;
            }
            match planned.start(&session, save_to) {
                Ok(run) => follow(run, heard, &events, &tell_end).await,
                Err(error) => refuse(&error, &events, &tell_end).await,
            }
            // The run keeps the session alive, and with it the embedded unit.
            drop(session);
        };
        let handle = tasks.spawn_or(work, interrupted(&ended));
        self.at_work = Some(AtWork { control, ended, handle });
    }

    /// Runs a plan on another module. Connecting may take a minute and can be cancelled.
    async fn run_on(&mut self, target: Target, plan: Plan, context: SweepContext<'_>) {
        let save_to = match save_to(context.library, None).await {
            Ok(save_to) => save_to,
            Err(problem) => return report(context.events, SweepEvent::Refused(problem)).await,
        };
        let here = context.session;
        // A missing model is not downloaded: that is for the window to ask.
        let opening = Opening {
            limits: here
                .map(|session| session.module().options().clone())
                .unwrap_or_default(),
            prefix_store: here.and_then(|session| session.prefix_store().cloned()),
            ..Opening::for_plan(target, &plan)
        };
        let (control, mut heard) = mpsc::unbounded_channel();
        let ended = Arc::new(AtomicBool::new(false));
        let tell_end = Arc::clone(&ended);
        let (tasks, events) = (context.events.clone(), context.events.clone());
        // Its end was reported, which is why the plan continues on the other module.
        let before = self.at_work.take();
        let work = async move {
            if !has_let_go(before, &mut heard, &events, &tell_end).await {
                return;
            }
            let opened = tokio::select! {
                opened = Session::open(opening, Arc::new(|_| ())) => opened,
                () = cancelled(&mut heard) => return report_cancelled(&events, &tell_end).await,
            };
            let session = match opened {
                Ok(session) => session,
                Err(problem) => {
                    tell_end.store(true, Ordering::Release);
                    let problem = problem.into_problem(
                        "Connect the window to it once: it asks what is missing. Then run again.",
                        "一度ウィンドウからつなぐと、足りないものを尋ねます。それからもう一度実行してください。",
                    );
                    return report(&events, SweepEvent::Refused(problem)).await;
                }
            };
            // The runner sets up its own task; a module with few slots needs this one.
            session.exit_current_task().await;
            match Planned::new(plan).start(&session, save_to) {
                Ok(run) => follow(run, heard, &events, &tell_end).await,
                Err(error) => refuse(&error, &events, &tell_end).await,
            }
            session.close().await;
        };
        let handle = tasks.spawn_or(work, interrupted(&ended));
        self.at_work = Some(AtWork { control, ended, handle });
    }
}

/// Returns where the records of a run are saved: a new journal, or that of the experiment that is resumed.
async fn save_to(library: Option<&Arc<Library>>, resume: Option<&SavedExperiment>) -> Result<SaveTo, Problem> {
    let library = library.cloned().ok_or_else(errors::no_library)?;
    let Some(saved) = resume else {
        return Ok(SaveTo::Library(library));
    };
    let id = saved.experiment.id.clone();
    match tokio::task::spawn_blocking(move || library.append_to(&id)).await {
        Ok(Ok(opened)) => Ok(SaveTo::Journal(opened.journal)),
        Ok(Err(error)) => Err(Problem::told(ProblemKind::File, errors::journal(&error))),
        Err(error) => Err(broken(error)),
    }
}

async fn refuse(error: &PlanError, events: &Events, ended: &AtomicBool) {
    ended.store(true, Ordering::Release);
    let problem = Problem::told(ProblemKind::Input, errors::plan(error));
    report(events, SweepEvent::Refused(problem)).await;
}

/// Waits until the previous run, whose end was reported, has released its module. Returns `false` if the user cancels
/// meanwhile, which is reported.
async fn has_let_go(
    before: Option<AtWork>,
    control: &mut mpsc::UnboundedReceiver<Control>,
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
        () = cancelled(control) => {
            report_cancelled(events, ended).await;
            false
        }
    }
}

async fn report_cancelled(events: &Events, ended: &AtomicBool) {
    ended.store(true, Ordering::Release);
    report(events, SweepEvent::Run(RunEvent::Ended(RunEnd::Cancelled))).await;
}

/// Returns the event for a run whose task panicked.
fn interrupted(ended: &Arc<AtomicBool>) -> impl FnOnce(JoinError) -> Event + Send + 'static {
    let ended = Arc::clone(ended);
    move |panic| {
        ended.store(true, Ordering::Release);
        let error = panic.into();
        Event::Sweep(Box::new(SweepEvent::Run(RunEvent::Ended(RunEnd::Interrupted {
            error,
        }))))
    }
}

/// Completes when the user cancels.
async fn cancelled(control: &mut mpsc::UnboundedReceiver<Control>) {
    while let Some(wanted) = control.recv().await {
        if matches!(wanted, Control::Cancel) {
            return;
        }
    }
}

/// Forwards the events of the run, and control messages to it.
async fn follow(mut run: Run, mut control: mpsc::UnboundedReceiver<Control>, events: &Events, ended: &AtomicBool) {
    loop {
        tokio::select! {
            event = run.next() => match event {
                // The text of running cases is not shown, and there is much of it.
                Some(RunEvent::Text { .. }) => {}
                Some(event) => {
                    if matches!(event, RunEvent::Ended(_)) {
                        ended.store(true, Ordering::Release);
                    }
                    report(events, SweepEvent::Run(event)).await;
                }
                None => return,
            },
            Some(wanted) = control.recv() => match wanted {
                Control::Pause => run.pause(),
                Control::GoOn => run.resume(),
                Control::Cancel => run.cancel(),
            },
        }
    }
}

async fn report(events: &Events, event: SweepEvent) {
    events.send(Event::Sweep(Box::new(event))).await;
}
