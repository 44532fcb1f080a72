//! Inferences that are on their way, at most one on a side.

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
