//! Scores of the runs that were shown: KL, perplexity and alternatives, which show an effect even where the text is the
//! same.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Colouring, Problem, Scores};

/// The scores of the session's runs.
#[derive(Debug, Default)]
pub struct ShownScores {
    pub colouring: Colouring,
    /// Scores of the runs shown last; only some are kept, since the alternatives are large.
    pub(super) known: BTreeMap<String, Result<Arc<Scores>, Problem>>,
    /// Ids of the records that are being scored.
    pub(super) under_way: Vec<String>,
}

impl ShownScores {
    /// Returns the scores of a record, if known.
    pub fn of(&self, record: &str) -> Option<&Result<Arc<Scores>, Problem>> {
        self.known.get(record)
    }

    /// Returns the number of runs that are being scored or wait for it.
    pub fn left(&self) -> usize {
        self.under_way.len()
    }

    pub fn is_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Resets the current scoring after a change of the connection.
    pub(super) fn start_over(&mut self) {
        self.under_way.clear();
        self.try_again();
    }

    /// Forgets failures, so that they are tried again.
    pub(super) fn try_again(&mut self) {
        self.known.retain(|_, found| found.is_ok());
    }
}
