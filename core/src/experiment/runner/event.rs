//! What a run tells while it lasts, and how it ends. It knows what can happen, not how it comes about.

use std::time::Duration;

use super::canary::Canary;
use crate::experiment::journal::Experiment;
use crate::experiment::record::Record;
use crate::experiment::scores::CaseScores;
use crate::experiment::threshold::Threshold;

/// What happens in a run.
#[derive(Clone, Debug)]
pub enum RunEvent {
    /// The module is set up and the first cases begin; sent again for a resumed experiment.
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
    /// A case finished, and is in the journal (unless [`RunEvent::JournalFailed`] comes first).
    CaseFinished(Box<Record>),
    /// A case ended in a fault of this program and has no record: the run goes on and ends as [`RunEnd::Interrupted`].
    CaseLost {
        /// [`Case::index`](crate::experiment::Case::index).
        index: usize,
        /// Name of the case.
        name: String,
        /// The panic, as a sentence.
        error: String,
    },
    /// A finished case was scored, and that is in the journal. Sent where the plan asks for it and the unit can.
    Scored {
        /// Id of the record.
        record: String,
        /// Its scores.
        scores: Box<CaseScores>,
    },
    /// So many finished cases could not be scored, for this reason; the run goes on.
    NotScored {
        /// Number of cases.
        count: usize,
        /// Why, as a sentence.
        error: String,
    },
    /// How far the run is.
    Progress(Progress),
    /// What the canary showed on a stranger's module.
    Canary(Canary),
    /// The canary could not be run, so nothing proves that prefixes are used; the run goes on.
    CanaryFailed {
        /// Why, as a sentence.
        error: String,
    },
    /// The module died and is being reached again.
    Reconnecting {
        /// The failure that the module died of, as a sentence.
        because: String,
    },
    /// It is there again.
    Reconnected,
    /// Records cannot be saved; the run waits ([`Run::go_on`](super::Run::go_on) tries again). Nothing is lost meanwhile.
    JournalFailed {
        /// Why, as a sentence.
        error: String,
    },
    /// A threshold search knows more.
    Threshold(Threshold),
    /// The last event. [`super::Run::next`] then waits until nothing of the run is left on the module.
    Ended(RunEnd),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum RunEnd {
    /// Every case has a record.
    Complete,
    /// [`Run::cancel`](super::Run::cancel) was called, or the [`Run`](super::Run) was dropped.
    Cancelled,
    /// The canary had no effect; see [`RunEvent::Canary`].
    NoEffect,
    /// The module could not be used any more, or a case was lost; the rest can be run later.
    Interrupted {
        /// Why, as a sentence.
        error: String,
    },
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Cases with a record, failed ones and those of earlier runs included.
    pub finished: usize,
    /// Those among `finished` that failed.
    pub failed: usize,
    /// Cases on the module now.
    pub running: usize,
    /// All cases; may grow during a search.
    pub total: usize,
    /// Since the start, without pauses.
    pub elapsed: Duration,
    /// Time to the end at the present pace; `None` before the first case has finished.
    pub left: Option<Duration>,
    /// Whether no further case is begun.
    pub paused: bool,
    /// Finished cases whose texts are still to be scored.
    pub unscored: usize,
}
