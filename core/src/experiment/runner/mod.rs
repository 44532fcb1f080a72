//! Runs a plan on a module and tells what happens: as many cases at once as the unit can take, one at a time on a stock one. Each
//! finished case is in the journal before it is told. It knows modules through the client, and no window.
//!
//! A case that fails is recorded with its error and the rest goes on. When the module dies under a case, the connection and the
//! task are made anew and the case is repeated once, alone. What cannot be made anew interrupts the run; a run of the rest can
//! follow any time ([`RunRequest::resume`]).

mod canary;
mod clock;
mod drive;
mod event;
mod keep;
mod source;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub use canary::{Canary, CanaryFinding};
pub use event::{Progress, RunEnd, RunEvent};
pub use source::SearchRequest;

use super::journal::SharedJournal;
use super::library::Library;
use super::past::Past;
use super::plan::{Case, Plan, PlanError};
use super::record::WRITTEN_BY;
use super::session::Session;
use drive::Runner;
use source::{Searching, Source};

/// What is to be run, and where.
#[derive(Clone)]
pub struct RunRequest {
    /// What to run.
    pub plan: Plan,
    /// The module to run it on.
    pub session: Arc<Session>,
    /// Where records are kept.
    pub keep: Keep,
    /// The experiment to go on with: its finished cases are not run again, and those that are not scored yet are scored.
    pub resume: Option<Past>,
    /// Limits and checks of the run.
    pub options: RunOptions,
}

/// Where records are kept.
#[derive(Clone, Debug)]
pub enum Keep {
    /// In memory only; records reach the caller as events.
    Nowhere,
    /// In this journal, behind what it holds.
    Journal(SharedJournal),
    /// In a new journal of the library.
    Library(Arc<Library>),
}

/// How a plan is run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// What records say wrote them: `softprefix 0.1.0`.
    pub written_by: String,
    /// At most so many cases at once, whatever the unit says.
    pub at_once: Option<usize>,
    /// Whether a stock module is first asked to prove that a prefix has any effect.
    pub canary: bool,
    /// Whether the run ends when that proof fails.
    pub stop_without_effect: bool,
    /// Waits before each try to reach a dead module again.
    pub retries: Vec<Duration>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            written_by: WRITTEN_BY.to_owned(),
            at_once: None,
            canary: true,
            stop_without_effect: true,
            retries: [0.2, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]
                .map(Duration::from_secs_f64)
                .to_vec(),
        }
    }
}

/// A run in progress. Dropping it cancels the run without a word in the journal, so that it can be resumed.
pub struct Run {
    events: mpsc::UnboundedReceiver<RunEvent>,
    control: watch::Sender<Control>,
    at_work: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    Go,
    /// Counts up, so that going on after a failed save can be told from never having paused.
    Pause,
    Cancel,
}

impl Run {
    /// Starts a plan. Must be called from within a tokio runtime.
    ///
    /// # Errors
    /// [`PlanError`]; what goes wrong later is an event.
    pub fn start(request: RunRequest) -> Result<Self, PlanError> {
        let cases = request.plan.cases()?;
        Ok(Self::drive(request, Source::Plan(cases.into())))
    }

    /// Starts a search instead: the plan's prompt (the first) with one magnitude after the other. The plan's sweeps are not run.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn search(mut request: RunRequest, search: SearchRequest) -> Result<Self, PlanError> {
        request.plan.sweeps.clear();
        request.plan.prompts.truncate(1);
        // A search runs the last of the plan's baselines at its end.
        request.plan.closing = true;
        let baselines: VecDeque<Case> = request.plan.cases()?.into();
        let searching = Searching::new(baselines, search);
        Ok(Self::drive(request, Source::Search(Box::new(searching))))
    }

    fn drive(request: RunRequest, source: Source) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let (control, controlled) = watch::channel(Control::Go);
        let runner = Runner::new(request, sender.clone(), controlled);
        let at_work = tokio::spawn(async move {
            if let Err(error) = tokio::spawn(runner.run(source)).await {
                let error = drive::fault(&error);
                // Nobody listens to a dropped run.
                let _ = sender.send(RunEvent::Ended(RunEnd::Interrupted { error }));
            }
        });
        Self {
            events,
            control,
            at_work,
        }
    }

    /// The next event. `None` once [`RunEvent::Ended`] was told and nothing of the run is left on the module, which takes as long as
    /// the module takes to set up where the run was cancelled meanwhile. May be dropped while it waits without losing anything.
    pub async fn next(&mut self) -> Option<RunEvent> {
        self.events.recv().await
    }

    /// Begins no further case; running ones finish.
    pub fn pause(&self) {
        self.set(Control::Pause);
    }

    /// Goes on after a pause.
    pub fn go_on(&self) {
        self.set(Control::Go);
    }

    /// Stops running cases (they leave no record) and ends the run.
    pub fn cancel(&self) {
        self.set(Control::Cancel);
    }

    /// Ends the run as dropping it does, and waits until nothing of it is left on the module: as long as the module takes to set up
    /// where it is doing that.
    pub async fn leave(self) {
        let Self {
            events,
            control,
            at_work,
        } = self;
        drop((events, control));
        if let Err(error) = at_work.await {
            tracing::warn!(%error, "the run broke off");
        }
    }

    fn set(&self, control: Control) {
        // Cancelling is final.
        self.control.send_if_modified(|now| {
            let changes = *now != Control::Cancel;
            if changes {
                *now = control;
            }
            changes
        });
    }
}
