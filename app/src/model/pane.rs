//! One output pane: its text, how it came about, and whether it still belongs to what the controls say.
//!
//! It knows no widget and no transport.

use std::sync::Arc;

use softprefix_core::experiment::{Outcome, PrefixIdentity, Record};
use softprefix_core::protocol::extension::FinishReason;

use super::{Problem, ProblemKind, Timings, finish_of};

/// Which of the runs of a prompt. The order is that in which a stock module serves them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Without a prefix, shown on the left.
    Baseline,
    /// With the prefix, shown on the right.
    Prefixed,
    /// Without a prefix, once more: its distance to the baseline is the noise floor. Not shown as text.
    Repeat,
}

/// One output and its circumstances.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pane {
    pub text: Arc<str>,
    pub state: PaneState,
    /// What the text was made with, where that is no longer what the controls say ("from 2.4x"). Always `None` on the
    /// baseline, whose [`Pane::stale`] alone tells.
    pub stale_from: Option<PrefixIdentity>,
    /// The text belongs to another prompt, model or magnitude than the controls say: show it faded.
    pub stale: bool,
    /// Times and counts of the finished run; of the running one as far as they are known.
    pub timings: Timings,
    pub finish: Option<FinishReason>,
    /// What went wrong in the last run; the old text stays.
    pub error: Option<Problem>,
    /// What this text was made with (prefixed pane, as soon as something was run).
    pub origin: Option<PrefixIdentity>,
}

impl Pane {
    /// A finished run.
    pub fn of(record: &Record) -> Self {
        let failed = match &record.outcome {
            Outcome::Failed(failure) => Some(Problem::new(ProblemKind::Module, failure.error.clone(), "")),
            Outcome::Done(_) => None,
        };
        Self {
            text: record.output().into(),
            state: PaneState::Done,
            timings: record.answer().map(Timings::of).unwrap_or_default(),
            finish: finish_of(record),
            error: failed,
            origin: record.prefix.clone(),
            ..Self::default()
        }
    }

    pub fn is_running(&self) -> bool {
        matches!(self.state, PaneState::Waiting | PaneState::Streaming)
    }

    /// Nothing was ever run here: the pane says in one line what to do.
    pub fn is_untouched(&self) -> bool {
        self.text.is_empty() && self.state == PaneState::Empty && self.error.is_none()
    }
}

/// Where a pane's run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PaneState {
    #[default]
    Empty,
    /// Asked for; no token yet.
    Waiting,
    /// Text arrives.
    Streaming,
    /// Over; [`Pane::finish`] or [`Pane::error`] says how.
    Done,
}
