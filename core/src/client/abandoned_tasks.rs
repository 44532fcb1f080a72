//! The tasks that this program left on modules when a connection broke, and how it recognises them over a later one.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::ClientError;
use crate::protocol::TaskInfo;

/// How this program recognises a task over any connection. After a restart llm-sys gives the same ids again, so the id alone shows
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TaskIdentity {
    pub work_id: String,
    /// The input that only its set-up has named; `None` where the unit does not repeat it in `taskinfo`.
    pub marker_input: Option<String>,
}

impl TaskIdentity {
    /// Whether `info`, the unit's reply for this id, shows that it is this task.
    pub fn is_described_by(&self, info: &TaskInfo) -> bool {
        self.marker_input
            .as_ref()
            .is_some_and(|input| info.inputs.contains(input))
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
static ABANDONED: Mutex<Vec<(String, TaskIdentity)>> = Mutex::new(Vec::new());

/// Maximum number of tasks that are remembered; a module runs two.
const MAX_ABANDONED: usize = 64;

fn abandoned() -> MutexGuard<'static, Vec<(String, TaskIdentity)>> {
    ABANDONED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers a task that may be left on the module at `address`.
pub(super) fn remember(address: &str, task: &TaskIdentity) {
    forget(address, task);
    let mut tasks = abandoned();
    if tasks.len() >= MAX_ABANDONED {
        tasks.remove(0);
    }
    tasks.push((address.to_owned(), task.clone()));
}

/// Forgets a task that has ended, or whose id is another's.
pub(super) fn forget(address: &str, task: &TaskIdentity) {
    abandoned().retain(|(at, other)| at != address || other != task);
}

/// The tasks that may be left on the module at `address`.
pub(super) fn of_module(address: &str) -> Vec<TaskIdentity> {
    let is_there = |(at, _): &&(String, TaskIdentity)| at == address;
    abandoned()
        .iter()
        .filter(is_there)
        .map(|(_, task)| task.clone())
        .collect()
}
