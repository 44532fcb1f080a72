//! One output pane: its text, how it came about, and whether it still belongs to what the controls say.
//!
//! It knows no widget and no transport.

use std::sync::Arc;
use std::time::Duration;

use softprefix_core::prefix::PrefixRecipe;

use super::Problem;

/// Which of the runs of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Without a prefix, shown on the left.
    Baseline,
    /// Without a prefix, once more: its distance to the baseline is the noise floor. Not shown as text.
    Repeat,
    /// With the prefix, shown on the right.
    Prefixed,
}

/// One output and its circumstances.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pane {
    pub text: Arc<str>,
    pub state: PaneState,
    /// What the text was made with, where that is no longer what the controls say ("from 2.4x"). Always `None` on the
    /// baseline, whose [`Pane::stale`] alone tells.
    pub stale_from: Option<Origin>,
    /// The text belongs to another prompt, model or magnitude than the controls say: show it faded.
    pub stale: bool,
    /// Times and counts of the finished run; of the running one as far as they are known.
    pub timings: Timings,
    pub finish: Option<Finish>,
    /// What went wrong in the last run; the old text stays.
    pub error: Option<Problem>,
    /// What this text was made with (prefixed pane, as soon as something was run).
    pub origin: Option<Origin>,
}

impl Pane {
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

/// What a prefixed text was made with.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    pub recipe: PrefixRecipe,
    /// Median L2 of the rows over the vocabulary's median L2; `None` where the module does not tell its vocabulary.
    pub norms: Option<f64>,
    /// Scale of the values (`v` of existing scripts), where the kind has one.
    pub raw: Option<f64>,
}

/// Times and counts of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timings {
    /// From the request to the first text.
    pub first_token: Option<Duration>,
    pub elapsed: Option<Duration>,
    /// Output tokens; `None` where the module does not count them.
    pub tokens: Option<usize>,
    /// Output tokens a second, without the time to the first one.
    pub tokens_per_second: Option<f64>,
}

/// Why an output ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Finish {
    /// The model ended its text.
    Stop,
    /// Max tokens reached.
    Length,
    /// The window is full.
    Window,
    /// Stopped by the person or by a newer run.
    Stopped,
    /// The module does not say.
    Unknown,
}
