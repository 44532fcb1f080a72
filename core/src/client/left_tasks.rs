//! The tasks that this program left on modules: how it recognises them over a later connection, and which they are.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::ClientError;
use crate::protocol::TaskInfo;

/// How this program recognises a task over any connection. After a restart llm-sys gives the same ids again, so the id alone shows
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TaskIdentity {
    pub work_id: String,
    /// The input that only its set-up has named; `None` where the unit does not repeat it in `taskinfo`.
    pub mark: Option<String>,
}

impl TaskIdentity {
    /// Whether `info`, the unit's reply for this id, shows that it is this task.
    pub fn is_described_by(&self, info: &TaskInfo) -> bool {
        self.mark.as_ref().is_some_and(|mark| info.inputs.contains(mark))
    }

    /// The error where that is not shown.
    pub fn gone_error(&self) -> ClientError {
        ClientError::TaskGone {
            work_id: self.work_id.clone(),
            detail: "nothing shows that its id is still its own".to_owned(),
        }
    }
}

/// The tasks whose end was not confirmed to this program, with the addresses of their modules; the latest last.
static LEFT: Mutex<Vec<(String, TaskIdentity)>> = Mutex::new(Vec::new());

/// Most tasks that are remembered; a module has two places.
const MAX_LEFT: usize = 64;

fn left() -> MutexGuard<'static, Vec<(String, TaskIdentity)>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers a task that may be left on the module at `address`.
pub(super) fn remember(address: &str, task: &TaskIdentity) {
    forget(address, task);
    let mut left = left();
    if left.len() >= MAX_LEFT {
        left.remove(0);
    }
    left.push((address.to_owned(), task.clone()));
}

/// Forgets a task that has ended, or whose id is another's.
pub(super) fn forget(address: &str, task: &TaskIdentity) {
    left().retain(|(at, other)| at != address || other != task);
}

/// The tasks that may be left on the module at `address`.
pub(super) fn left_at(address: &str) -> Vec<TaskIdentity> {
    let is_there = |(at, _): &&(String, TaskIdentity)| at == address;
    left().iter().filter(is_there).map(|(_, task)| task.clone()).collect()
}
