//! Inferences that are on their way, at most one on a lane.

use softprefix_core::experiment::{GroupKey, PrefixIdentity};
use softprefix_core::prefix::PrefixRecipe;

use crate::model::{RunId, Side};

/// A place where at most one inference is on its way. The order is that in which a stock module serves them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Lane {
    Baseline,
    Prefixed,
    Repeat,
}

impl From<Side> for Lane {
    fn from(side: Side) -> Self {
        match side {
            Side::Baseline => Self::Baseline,
            Side::Prefixed => Self::Prefixed,
            Side::Repeat => Self::Repeat,
        }
    }
}

impl Lane {
    pub(super) fn side(self) -> Side {
        match self {
            Self::Baseline => Side::Baseline,
            Self::Prefixed => Side::Prefixed,
            Self::Repeat => Side::Repeat,
        }
    }
}

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
