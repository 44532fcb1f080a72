//! Running inferences: at most one of each kind, and those that fill a curve.

use std::collections::BTreeMap;

use softprefix_core::experiment::{GroupKey, PrefixIdentity};
use softprefix_core::prefix::PrefixRecipe;

use crate::messages::PromptAndSettings;
use crate::model::RunId;

/// A running inference.
#[derive(Debug, Clone)]
pub(super) struct RunningInference {
    pub(super) run: RunId,
    pub(super) key: GroupKey,
    pub(super) recipe: Option<PrefixRecipe>,
    /// The prefix with which it was sent.
    pub(super) sent: Option<PrefixIdentity>,
    pub(super) text: String,
    /// Whether its stop was requested. It may have ended before that.
    pub(super) is_stopped: bool,
}

/// Limits the comparison of streaming text to one at a time, so that the bridge does not fall behind.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StreamingDiff {
    pub(super) in_progress: bool,
    /// The texts have changed since it was requested.
    pub(super) is_outdated: bool,
}

/// A run of the curve that has not ended.
#[derive(Debug)]
pub struct Filling {
    pub input: PromptAndSettings,
    pub recipe: PrefixRecipe,
    /// Its text so far.
    pub text: String,
}

/// The runs that fill a curve.
#[derive(Debug, Default)]
pub struct CurveFill {
    pub(super) runs: BTreeMap<RunId, Filling>,
    /// Number of requested runs.
    pub(super) total: usize,
    /// The prefix for which the curve was last filled automatically.
    pub(super) of: Option<(GroupKey, PrefixRecipe)>,
    /// Records that are scored when nothing else is running.
    pub(super) unscored: Vec<String>,
}

impl CurveFill {
    /// Returns the runs that have not ended, in the order in which they were requested.
    pub fn running(&self) -> impl Iterator<Item = &Filling> {
        self.runs.values()
    }

    /// Returns how many of the runs have finished, and their number; `None` if none is running.
    pub fn progress(&self) -> Option<(usize, usize)> {
        (!self.runs.is_empty()).then(|| (self.total - self.runs.len(), self.total))
    }
}
