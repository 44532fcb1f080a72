//! Runs a plan on a module and reports events: as many cases at once as the unit can take, one at a time on a stock module. Each
//! finished case is in the journal before its event is sent.
//!
//! A case that fails is recorded with its error, and the others go on. When the module dies during a case, the connection and the
//! task are made again, and the case is repeated once, alone. If the module dies again, the case is recorded as failed, and the others
//! go on with a new task. If a task cannot be set up, the run is interrupted; a later run can do the rest ([`RunRequest::resume`]).

mod canary;
mod clock;
mod drive;
mod error;
mod event;
mod proposals;
mod save;
mod source;

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub use canary::{Canary, CanaryFinding};
pub use error::RunError;
pub use event::{RunEnd, RunEvent, RunProgress};
pub use proposals::PrefixSearchRequest;
pub use source::ThresholdRequest;

use super::journal::SharedJournal;
use super::library::Library;
use super::plan::{Case, Plan, PlanError};
use super::record::WRITTEN_BY;
use super::saved::SavedExperiment;
use super::session::Session;
use crate::search::{Closeness, SearchError};
use drive::Runner;
use proposals::Proposals;
use source::{Searching, Source};

/// A plan to run, and where.
#[derive(Clone)]
pub struct RunRequest {
    /// What to run.
    pub plan: Plan,
    /// The module to run it on.
    pub session: Arc<Session>,
    /// Where records are saved.
    pub save_to: SaveTo,
    /// The experiment to resume: its finished cases are not run again, and those that are not scored yet are scored.
    /// It needs [`SaveTo::Journal`] with that experiment's own journal: [`SaveTo::Library`] creates none for it.
    pub resume: Option<SavedExperiment>,
    /// Limits and checks of the run.
    pub options: RunOptions,
}

/// Where records are saved.
#[derive(Clone, Debug)]
pub enum SaveTo {
    /// In memory only; records reach the caller as events.
    Nowhere,
    /// Appended to this journal.
    Journal(SharedJournal),
    /// In a new journal of this library.
    Library(Arc<Library>),
}

/// How a plan is run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// [`Record::written_by`](super::record::Record::written_by) of the records.
    pub written_by: String,
    /// Most cases at once; `None` takes the unit's own limit.
    pub at_once: Option<usize>,
    /// Whether a stock module is first checked for any effect of a prefix ([`Canary`]).
    pub canary: bool,
    /// Whether the run ends when that check finds no effect.
    pub stop_without_effect: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            written_by: WRITTEN_BY.to_owned(),
            at_once: None,
            canary: true,
            stop_without_effect: true,
        }
    }
}

/// A run in progress. Dropping it cancels the run without an ending in the journal, so that it can be resumed.
pub struct Run {
    events: mpsc::UnboundedReceiver<RunEvent>,
    control: watch::Sender<Control>,
    task: JoinHandle<()>,
}

/// Why a search for a prefix cannot start.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PrefixSearchError {
    /// The plan cannot be run.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The objective or the state of the search cannot be used.
    #[error(transparent)]
    Search(#[from] SearchError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    Go,
    /// No further case is begun.
    Pause,
    Cancel,
}

impl Run {
    /// Starts a plan. Must be called from within a tokio runtime.
    ///
    /// # Errors
    /// [`PlanError`]; later failures are events.
    pub fn start(request: RunRequest) -> Result<Self, PlanError> {
        let cases = request.plan.cases()?;
        Ok(Self::drive(request, Source::Plan(cases.into())))
    }

    /// Starts a threshold search: the plan's first prompt with one magnitude after the other. The plan's sweeps are not
    /// run.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn search_threshold(mut request: RunRequest, search: ThresholdRequest) -> Result<Self, PlanError> {
        request.plan.sweeps.clear();
        request.plan.prompts.truncate(1);
        // The search runs the plan's last baseline at its end.
        request.plan.closing = true;
        let baselines: VecDeque<Case> = request.plan.cases()?.into();
        let searching = Searching::new(baselines, search);
        Ok(Self::drive(request, Source::Threshold(Box::new(searching))))
    }

    /// Starts a search for a prefix: the plan's baselines, then generations of candidates with the plan's first prompt. The plan's sweeps
    /// are not run. The rows of the search's parent must be in the session's prefix store.
    ///
    /// # Errors
    /// [`PrefixSearchError`].
    pub fn search_prefix(mut request: RunRequest, find: PrefixSearchRequest) -> Result<Self, PrefixSearchError> {
        find.objective.check()?;
        if find.objective.by == Closeness::Likelihood && !request.session.facts().scores {
            return Err(SearchError::NoLikelihood.into());
        }
        request.plan.sweeps.clear();
        request.plan.prompts.truncate(1);
        request.plan.closing = false;
        let mut proposals = Proposals::new(request.plan.cases()?.into(), find);
        if let Some(saved) = &request.resume {
            proposals.resume(saved)?;
        }
        Ok(Self::drive(request, Source::Prefix(Box::new(proposals))))
    }

    fn drive(request: RunRequest, source: Source) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let (control, controlled) = watch::channel(Control::Go);
        let runner = Runner::new(request, sender.clone(), controlled);
        let task = tokio::spawn(async move {
            if let Err(error) = tokio::spawn(runner.run(source)).await {
                let error = error.into();
                // Fails if the run was dropped; then its end is not needed.
                let _ = sender.send(RunEvent::Ended(RunEnd::Interrupted { error }));
            }
        });
        Self { events, control, task }
    }

    /// The next event; `None` after [`RunEvent::Ended`], once nothing of the run is left on the module. If the run was
    /// cancelled during a set-up, that takes until the set-up ends. Cancel safe: dropping the future loses no event.
    pub async fn next(&mut self) -> Option<RunEvent> {
        self.events.recv().await
    }

    /// Begins no further case; running ones finish.
    pub fn pause(&self) {
        self.set(Control::Pause);
    }

    /// Resumes after a pause or a failed save.
    pub fn resume(&self) {
        self.set(Control::Go);
    }

    /// Stops running cases, which leave no record, and ends the run.
    pub fn cancel(&self) {
        self.set(Control::Cancel);
    }

    /// Ends the run as dropping it does, and waits until nothing of it is left on the module. During a set-up, that
    /// takes until the set-up ends.
    pub async fn leave(self) {
        let Self { events, control, task } = self;
        drop((events, control));
        if let Err(error) = task.await {
            tracing::warn!(%error, "the run panicked");
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
