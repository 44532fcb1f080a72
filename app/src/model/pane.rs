//! One output pane: its text, how it was made, and whether it still matches the controls.

use std::sync::Arc;

use softprefix_core::experiment::{PrefixIdentity, Record};
use softprefix_core::protocol::extension::FinishReason;

use super::{Problem, RunId, Timings, finish_of};

/// An output and how it was made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pane {
    pub text: Arc<str>,
    pub state: PaneState,
    /// What the text was made with, if that differs from the controls ("from 2.4x"). Always `None` on the baseline,
    /// where [`Pane::stale`] says it.
    pub stale_from: Option<PrefixIdentity>,
    /// The text was made with another prompt, model or magnitude than the controls show; it is drawn faded.
    pub stale: bool,
    /// Times and counts of the finished run, or of the current one as far as they are known.
    pub timings: Timings,
    pub finish: Option<FinishReason>,
    /// What went wrong in the last run; the old text stays.
    pub error: Option<Problem>,
    /// The prefix that this text was made with; set on the prefixed pane after the first run.
    pub origin: Option<PrefixIdentity>,
    /// The run that the pane shows, also after its end: it may still fail. `None` for a saved record.
    pub run: Option<RunId>,
}

impl Pane {
    /// Creates the pane of a finished run, and of the error that ended it.
    pub fn of(record: &Record, error: Option<Problem>) -> Self {
        Self {
            text: record.output().into(),
            state: PaneState::Done,
            timings: record.answer().map(Timings::of).unwrap_or_default(),
            finish: finish_of(record),
            error,
            origin: record.prefix.clone(),
            ..Self::default()
        }
    }

    /// Ends the run that the pane shows. Text of it that has arrived is a partial output.
    pub fn stop(&mut self) {
        if self.state == PaneState::Streaming {
            self.finish = Some(FinishReason::Stopped);
        }
        if self.is_running() {
            self.state = if self.text.is_empty() {
                PaneState::Empty
            } else {
                PaneState::Done
            };
        }
        self.run = None;
    }

    pub fn is_running(&self) -> bool {
        matches!(self.state, PaneState::Waiting | PaneState::Streaming)
    }

    /// Returns whether nothing was run here yet; the pane then shows a hint.
    pub fn is_untouched(&self) -> bool {
        self.text.is_empty() && self.state == PaneState::Empty && self.error.is_none()
    }
}

/// State of a pane's run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PaneState {
    #[default]
    Empty,
    /// Requested, without a token so far.
    Waiting,
    /// Text is arriving.
    Streaming,
    /// Finished; [`Pane::finish`] or [`Pane::error`] says how.
    Done,
}
