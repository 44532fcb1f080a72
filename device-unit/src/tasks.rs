//! Tasks that run beside others: one that breaks off is told, not lost.

use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinError};

/// Starts a task for which nobody waits. Where it breaks off, that is logged as happening while `doing`.
pub fn spawn(runtime: &Handle, doing: &'static str, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    let task = runtime.spawn(task);
    let abort = task.abort_handle();
    runtime.spawn(async move { tell_panic(task.await, doing) });
    abort
}

/// Logs that a task broke off, where it did.
pub fn tell_panic(ended: Result<(), JoinError>, doing: &str) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "{doing} broke off unexpectedly");
    }
}
