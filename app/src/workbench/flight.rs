//! Inferences that are on their way: at most one on a side, and those that fill a curve.

use std::collections::BTreeSet;

use softprefix_core::experiment::{GroupKey, PrefixIdentity};
use softprefix_core::prefix::PrefixRecipe;

use crate::model::RunId;

/// An inference that is on its way.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) run: RunId,
    pub(super) key: GroupKey,
    pub(super) recipe: Option<PrefixRecipe>,
    pub(super) sent: Option<PrefixIdentity>,
    pub(super) text: String,
}

/// Keeps at most one comparison of the streaming text under way, so that the bridge is never behind by more than one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StreamingDiff {
    pub(super) under_way: bool,
    pub(super) wanted: bool,
}

/// The runs that fill a curve.
#[derive(Debug, Default)]
pub struct CurveFill {
    pub(super) runs: BTreeSet<RunId>,
    /// How many were asked for.
    pub(super) total: usize,
    /// What a curve was last filled for by itself.
    pub(super) of: Option<(GroupKey, PrefixRecipe)>,
    /// Records that are scored when nothing else is.
    pub(super) unscored: Vec<String>,
}

impl CurveFill {
    /// How many of the runs are over, and how many there are; `None` where none is under way.
    pub fn progress(&self) -> Option<(usize, usize)> {
        (!self.runs.is_empty()).then(|| (self.total - self.runs.len(), self.total))
    }
}
