//! What is known of what prefixes do to the model itself, where the text may still look the same: KL, perplexity and alternatives of
//! the runs that were looked at.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Colouring, Problem, Scores};

/// The deep measures of the session's runs.
#[derive(Debug, Default)]
pub struct Deep {
    pub colouring: Colouring,
    /// Of the last runs that were looked at; alternatives are many.
    pub(super) known: BTreeMap<String, Result<Arc<Scores>, Problem>>,
    pub(super) under_way: Option<String>,
}

impl Deep {
    /// Of a record, where they are there.
    pub fn of(&self, record: &str) -> Option<&Result<Arc<Scores>, Problem>> {
        self.known.get(record)
    }

    pub fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Another connection: what was under way on the old one is lost.
    pub(super) fn start_over(&mut self) {
        self.under_way = None;
        self.try_again();
    }

    /// Failures are forgotten.
    pub(super) fn try_again(&mut self) {
        self.known.retain(|_, found| found.is_ok());
    }
}
