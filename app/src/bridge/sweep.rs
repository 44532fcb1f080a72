//! Runs sweeps, one at a time, on the window's session or on a second module.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use softprefix_core::experiment::{
    Library, Plan, PlanError, Run, RunEnd, RunEvent, RunOptions, RunRequest, SaveTo, SavedExperiment, ThresholdRequest,
};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

use super::events::Events;
use crate::errors::{self, task_failed};
use crate::messages::{Event, SweepEvent, SweepRequest};
use crate::model::{Bilingual, Problem, ProblemKind, Target};
use crate::session::{Opening, Session};

/// A control message to a running sweep.
enum Control {
    Pause,
    Unpause,
    Cancel,
}

/// A run, as the worker sees it.
struct RunningSweep {
    control: mpsc::UnboundedSender<Control>,
    /// Set before the end is reported.
    has_ended: Arc<AtomicBool>,
    handle: JoinHandle<()>,
}

/// Runs sweeps for the worker.
#[derive(Default)]
pub(super) struct SweepRunner {
    running: Option<RunningSweep>,
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
    threshold: Option<ThresholdRequest>,
    canary: bool,
}

impl Planned {
    fn new(plan: Plan) -> Self {
        Self {
            plan,
            resume: None,
            threshold: None,
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
        match self.threshold {
            Some(threshold) => Run::search_threshold(request, threshold),
            None => Run::start(request),
        }
    }
}

impl SweepRunner {
    pub(super) async fn handle(&mut self, request: SweepRequest, context: SweepContext<'_>) {
        let events = context.events;
        let started = match request {
            SweepRequest::Start { plan } => self.run(Planned::new(plan), context).await,
            SweepRequest::StartOn { plan, target } => self.run_on(target, plan, context).await,
            SweepRequest::ResumeExperiment { saved, canary } => match saved.experiment.plan.clone() {
                Some(plan) => {
                    let planned = Planned {
                        resume: Some(*saved),
                        canary,
                        ..Planned::new(plan)
                    };
                    self.run(planned, context).await
                }
                None => Err(no_plan()),
            },
            SweepRequest::FindThreshold {
                plan,
                recipe,
                search,
                limit,
                known_records,
            } => {
                let threshold = ThresholdRequest {
                    recipe,
                    search,
                    limit,
                    known_records,
                };
                let planned = Planned {
                    threshold: Some(threshold),
                    ..Planned::new(plan)
                };
                self.run(planned, context).await
            }
            SweepRequest::QuerySecondModule { target, model } => return query_second_module(target, model, context),
            SweepRequest::Pause => return self.control(Control::Pause),
            SweepRequest::Unpause => return self.control(Control::Unpause),
            SweepRequest::Cancel => return self.control(Control::Cancel),
        };
        if let Err(problem) = started {
            report(events, SweepEvent::Refused(problem)).await;
        }
    }

    /// Stops the run without an ending in its journal, so that it can be resumed later.
    pub(super) async fn abort(&mut self, events: &Events) {
        if let Some(running) = self.running.take()
            && !running.handle.is_finished()
        {
            running.handle.abort();
            // The error says that the task was aborted.
            let _aborted = running.handle.await;
            report(events, SweepEvent::Aborted).await;
        }
    }

    fn control(&self, control: Control) {
        if let Some(running) = &self.running {
            // A run that has just ended no longer receives messages.
            let _ = running.control.send(control);
        }
    }

    /// Returns an error while a run has not reported its end.
    fn ensure_idle(&self) -> Result<(), Problem> {
        let is_busy =
            |running: &RunningSweep| !running.has_ended.load(Ordering::Acquire) && !running.handle.is_finished();
        if !self.running.as_ref().is_some_and(is_busy) {
            return Ok(());
        }
        Err(Problem::new(
            ProblemKind::Input,
            Bilingual::new("A sweep is already running.", "一括実験がすでに実行中です。"),
            Bilingual::new(
                "Cancel it, or wait for its end.",
                "キャンセルするか、終わるのを待ってください。",
            ),
        ))
    }

    async fn run(&mut self, planned: Planned, context: SweepContext<'_>) -> Result<(), Problem> {
        self.ensure_idle()?;
        let session = context.session.cloned().ok_or_else(errors::not_connected)?;
        let save_to = save_to(context.library, planned.resume.as_ref()).await?;
        // The session is held until the run has ended, since it owns the embedded unit.
        self.spawn(context.events, async move |task| {
            task.run(planned, &session, save_to).await;
        });
        Ok(())
    }

    /// Runs a plan on another module. Connecting may take a minute and can be cancelled.
    async fn run_on(&mut self, target: Target, plan: Plan, context: SweepContext<'_>) -> Result<(), Problem> {
        self.ensure_idle()?;
        let save_to = save_to(context.library, None).await?;
        let here = context.session;
        // A missing model is not downloaded: that is for the window to ask.
        let opening = Opening {
            limits: here
                .map(|session| session.module().options().clone())
                .unwrap_or_default(),
            prefix_store: here.and_then(|session| session.prefix_store().cloned()),
            ..Opening::for_plan(target, &plan)
        };
        self.spawn(context.events, async move |mut task| {
            let opened = tokio::select! {
                opened = Session::open(opening, Arc::new(|_| ())) => opened,
                () = task.cancelled() => return task.report_cancelled().await,
            };
            let session = match opened {
                Ok(session) => session,
                Err(problem) => {
                    let problem = problem.into_problem(
                        "Connect the window to it once: it asks what is missing. Then run again.",
                        "一度ウィンドウからつなぐと、足りないものを尋ねます。それからもう一度実行してください。",
                    );
                    return task.report_end(SweepEvent::Refused(problem)).await;
                }
            };
            // The runner sets up its own task; a module with few slots needs this one.
            session.exit_current_task().await;
            task.run(Planned::new(plan), &session, save_to).await;
            session.close().await;
        });
        Ok(())
    }

    /// Spawns the task of a run. Its `work` begins when the previous run, whose end was reported, has released its module.
    fn spawn<W>(&mut self, events: &Events, work: impl FnOnce(SweepTask) -> W + Send + 'static)
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let previous = self.running.take();
        let (control, control_receiver) = mpsc::unbounded_channel();
        let has_ended = Arc::new(AtomicBool::new(false));
        let mut task = SweepTask {
            control: control_receiver,
            has_ended: Arc::clone(&has_ended),
            events: events.clone(),
        };
        let work = async move {
            if task.wait_for_previous(previous).await {
                work(task).await;
            }
        };
        let handle = events.spawn_or(work, interrupted(&has_ended));
        self.running = Some(RunningSweep {
            control,
            has_ended,
            handle,
        });
    }
}

/// A run, as its own task sees it.
struct SweepTask {
    control: mpsc::UnboundedReceiver<Control>,
    has_ended: Arc<AtomicBool>,
    events: Events,
}

impl SweepTask {
    /// Waits until the previous run has released its module. Returns `false` if the user cancels meanwhile, which is reported.
    async fn wait_for_previous(&mut self, previous: Option<RunningSweep>) -> bool {
        let Some(mut previous) = previous else { return true };
        tokio::select! {
            joined = &mut previous.handle => {
                if let Err(error) = joined {
                    tracing::warn!(%error, "the run before broke off");
                }
                true
            }
            () = self.cancelled() => {
                self.report_cancelled().await;
                // The next run waits for this task, and with it for the module.
                let _ = previous.handle.await;
                false
            }
        }
    }

    /// Completes when the user cancels.
    async fn cancelled(&mut self) {
        while let Some(control) = self.control.recv().await {
            if matches!(control, Control::Cancel) {
                return;
            }
        }
    }

    /// Runs a plan to its end.
    async fn run(mut self, planned: Planned, session: &Session, save_to: SaveTo) {
        match planned.start(session, save_to) {
            Ok(run) => self.forward_events(run).await,
            Err(error) => {
                let problem = Problem::from_text(ProblemKind::Input, errors::plan(&error));
                self.report_end(SweepEvent::Refused(problem)).await;
            }
        }
    }

    /// Forwards the events of the run, and control messages to it.
    async fn forward_events(&mut self, mut run: Run) {
        loop {
            tokio::select! {
                event = run.next() => match event {
                    // The text of running cases is not shown, and there is much of it.
                    Some(RunEvent::Text { .. }) => {}
                    Some(event @ RunEvent::Ended(_)) => self.report_end(SweepEvent::Run(event)).await,
                    Some(event) => report(&self.events, SweepEvent::Run(event)).await,
                    None => return,
                },
                Some(control) = self.control.recv() => match control {
                    Control::Pause => run.pause(),
                    Control::Unpause => run.resume(),
                    Control::Cancel => run.cancel(),
                },
            }
        }
    }

    /// Reports the event with which the run ends.
    async fn report_end(&self, event: SweepEvent) {
        self.has_ended.store(true, Ordering::Release);
        report(&self.events, event).await;
    }

    async fn report_cancelled(&self) {
        self.report_end(SweepEvent::Run(RunEvent::Ended(RunEnd::Cancelled)))
            .await;
    }
}

/// Asks another module for a model; the answer is an event.
fn query_second_module(target: Target, model: String, context: SweepContext<'_>) {
    let limits = context.session.map(|session| session.module().options().clone());
    let events = context.events.clone();
    let answered = |answer| Event::Sweep(Box::new(SweepEvent::SecondModule(answer)));
    let work = async move {
        let answer = super::second::ask(target, model, limits.unwrap_or_default()).await;
        events.send(answered(answer)).await;
    };
    context.events.spawn(work, move |problem| answered(Err(problem)));
}

fn no_plan() -> Problem {
    Problem::new(
        ProblemKind::Input,
        Bilingual::new(
            "This experiment has no plan, so no cases of it are missing.",
            "この実験には計画がないため、残りのケースがありません。",
        ),
        Bilingual::new("Choose a sweep from the history.", "履歴から一括実験を選んでください。"),
    )
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
        Ok(Err(error)) => Err(errors::journal_problem(&error)),
        Err(error) => Err(task_failed(error)),
    }
}

/// Returns a function that makes the event for a run whose task panicked, and marks the run as ended.
fn interrupted(has_ended: &Arc<AtomicBool>) -> impl FnOnce(JoinError) -> Event + Send + 'static {
    let has_ended = Arc::clone(has_ended);
    move |panic| {
        has_ended.store(true, Ordering::Release);
        let error = panic.into();
        Event::Sweep(Box::new(SweepEvent::Run(RunEvent::Ended(RunEnd::Interrupted {
            error,
        }))))
    }
}

async fn report(events: &Events, event: SweepEvent) {
    events.send(Event::Sweep(Box::new(event))).await;
}
