//! Detached async tasks whose panics are logged.

use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinError};

/// Spawns a detached task. A panic is logged with `doing`, a description of what the task was doing.
pub fn spawn(runtime: &Handle, doing: &'static str, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    let task = runtime.spawn(task);
    let abort = task.abort_handle();
    runtime.spawn(async move { log_panic(task.await, doing) });
    abort
}

/// Logs the panic of a task, if it panicked.
pub fn log_panic(ended: Result<(), JoinError>, doing: &str) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "{doing} panicked");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_panic_is_logged_with_what_the_task_was_doing_and_an_aborted_task_is_not() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let runtime = Handle::current();
        spawn(&runtime, "waiting", std::future::pending()).abort();
        spawn(&runtime, "counting to ten", async { panic!("seven is missing") });
        let logged = || String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        for _ in 0..1000 {
            if logged().contains("panicked") {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert!(logged().contains("counting to ten panicked"), "{}", logged());
        assert!(logged().contains("seven is missing"), "{}", logged());
        assert!(!logged().contains("waiting"), "{}", logged());
    }
}
