//! Events of a run, and how it ends.

use std::time::Duration;

use super::canary::Canary;
use super::error::RunError;
use crate::experiment::generation::Generation;
use crate::experiment::journal::Experiment;
use crate::experiment::record::Record;
use crate::experiment::scores::CaseScores;
use crate::experiment::threshold::ThresholdResult;

/// An event of a run.
#[derive(Clone, Debug)]
pub enum RunEvent {
    /// The module is set up and the first cases begin. Also sent when an experiment is resumed.
    Started(Box<Experiment>),
    /// A case was sent.
    CaseStarted {
        /// [`Case::index`](crate::experiment::Case::index).
        index: usize,
        /// Name of the case.
        name: String,
    },
    /// More text of a running case.
    Text {
        /// [`Case::index`](crate::experiment::Case::index).
        index: usize,
        /// The next piece; whole characters.
        text: String,
    },
    /// A case finished and is in the journal, unless [`RunEvent::JournalFailed`] came first. A candidate of a search for a prefix has its
    /// score.
    CaseFinished(Box<Record>),
    /// A case panicked and has no record. The run goes on and ends as [`RunEnd::Interrupted`].
    CaseLost {
        /// [`Case::index`](crate::experiment::Case::index).
        index: usize,
        /// Name of the case.
        name: String,
        /// The panic.
        error: RunError,
    },
    /// A finished case was scored, and the scores are in the journal. Sent where the plan asks for scores and the unit
    /// has them.
    Scored {
        /// Id of the record.
        record: String,
        /// Its scores.
        scores: Box<CaseScores>,
    },
    /// Finished cases could not be scored; the run goes on.
    NotScored {
        /// Number of cases.
        count: usize,
        /// Why.
        error: RunError,
    },
    /// How far the run is.
    Progress(RunProgress),
    /// The result of the canary on a stock module.
    Canary(Canary),
    /// The canary failed, so nothing proves that prefixes are used; the run goes on.
    CanaryFailed {
        /// Why.
        error: RunError,
    },
    /// The module died; the run reconnects.
    Reconnecting {
        /// The failure that the module died of.
        because: RunError,
    },
    /// The module is set up again.
    Reconnected,
    /// Records cannot be saved; the run is paused, and [`Run::resume`](super::Run::resume) tries again. The records are
    /// kept in memory.
    JournalFailed {
        /// Why.
        error: RunError,
    },
    /// The result of a threshold search so far.
    Threshold(ThresholdResult),
    /// All candidates of a generation were judged, and it is in the journal; at the start of a search, its first generation without
    /// candidates.
    Generation(Box<Generation>),
    /// The last event. [`Run::next`](super::Run::next) then waits until nothing of the run is left on the module.
    Ended(RunEnd),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum RunEnd {
    /// Every case has a record.
    Complete,
    /// [`Run::cancel`](super::Run::cancel) was called, or the [`Run`](super::Run) was dropped.
    Cancelled,
    /// The canary showed that prefixes have no effect; see [`RunEvent::Canary`].
    NoEffect,
    /// The module could no longer be used, or a case was lost; the run can be resumed.
    Interrupted {
        /// Why.
        error: RunError,
    },
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RunProgress {
    /// Cases with a record, failed ones and those of earlier runs included.
    pub finished: usize,
    /// Those among `finished` that failed.
    pub failed: usize,
    /// Cases on the module now.
    pub running: usize,
    /// All cases; may grow during a search.
    pub total: usize,
    /// Time since the start, without pauses.
    pub elapsed: Duration,
    /// Estimated time to the end; `None` before the first case has finished.
    pub left: Option<Duration>,
    /// Whether no further case is begun.
    pub paused: bool,
    /// Finished cases whose texts are still to be scored.
    pub unscored: usize,
}
