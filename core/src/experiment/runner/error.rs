//! Errors of a run.

use std::sync::Arc;

use tokio::task::JoinError;

use crate::experiment::journal::JournalError;
use crate::experiment::session::SessionError;

/// Why a run was interrupted, or why a part of it failed while the run went on. Clones share the error underneath.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RunError {
    /// The module could not be used, or a prefix not be built on it.
    #[error("{}", error.message(*is_embedded))]
    Session {
        /// The session's error.
        #[source]
        error: Arc<SessionError>,
        /// Whether the module is the unit in this process; see [`SessionError::message`].
        is_embedded: bool,
    },
    /// The journal cannot be created or written.
    #[error("{0}")]
    Journal(#[source] Arc<JournalError>),
    /// A part of this program panicked.
    #[error(
        "a fault in this program ({0}); everything finished is kept. Resume to continue, and report the fault if it comes again"
    )]
    Panicked(#[source] Arc<JoinError>),
    /// All other cases have a record, but some panicked.
    #[error(
        "a fault in this program ended {count} of the runs ({first}), which have no record; everything else is kept. Resume to \
         run them again, and report the fault if it comes again"
    )]
    CasesLost {
        /// Number of cases without a record.
        count: usize,
        /// The panic of the first of them.
        #[source]
        first: Arc<JoinError>,
    },
}

impl RunError {
    /// Whether the task can no longer be used, so that a new set-up is needed.
    pub(super) fn needs_set_up(&self) -> bool {
        matches!(self, Self::Session { error, .. } if error.needs_set_up())
    }
}

impl From<JournalError> for RunError {
    fn from(error: JournalError) -> Self {
        Self::Journal(Arc::new(error))
    }
}

impl From<JoinError> for RunError {
    fn from(error: JoinError) -> Self {
        Self::Panicked(Arc::new(error))
    }
}

/// Errors with the same sentence are equal: the system's errors underneath cannot be compared.
impl PartialEq for RunError {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}
