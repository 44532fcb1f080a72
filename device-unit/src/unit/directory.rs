//! Assigns numbers to tasks and connects them with other units. Behind llm-sys this is llm-sys; otherwise a counter.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::peer::{Peer, ReplySink};

/// The registration of a new task.
pub struct Registration {
    /// The N of `llm.N`.
    pub number: u32,
    /// Where the results of the task are published, in addition to the client.
    pub outlet: Option<Arc<dyn ReplySink>>,
}

/// A task that is about to be opened.
pub struct Opening<'a> {
    /// The id of the task, such as `llm.1000`.
    pub work_id: &'a str,
    /// The sources named by the set-up.
    pub inputs: &'a [String],
    /// The client that sent the set-up.
    pub peer: &'a Peer,
    /// The request id of the set-up.
    pub request_id: &'a str,
}

/// The module that the unit is part of. Methods may block unless documented otherwise; they are never called on an engine's thread.
pub trait Directory: Send + Sync {
    /// Returns a number for a task that is being set up. A failed set-up uses its number up, as on the stock module.
    ///
    /// # Errors
    /// A message that names what did not answer.
    fn register(&self) -> Result<Registration, String>;

    /// Connects the task's inputs. Called after the model is loaded and before the set-up is answered; from its return on, messages to the
    /// task are received.
    ///
    /// # Errors
    /// A message that names what could not be connected.
    fn open(&self, _opening: &Opening<'_>) -> Result<(), String> {
        Ok(())
    }

    /// Releases the number of a task that has ended or failed to open, then calls `then`, with a message if the number was not taken back.
    /// Does not block, and may be called on any thread.
    fn release(&self, _work_id: &str, then: Box<dyn FnOnce(Result<(), String>) + Send>) {
        then(Ok(()));
    }

    /// Connects the output of `source` (`asr.N`, `kws.N`) to the task. Returns `false` if that is not possible.
    fn link(&self, _work_id: &str, _source: &str) -> bool {
        false
    }

    /// Undoes [`link`](Self::link). Unknown sources are ignored.
    fn unlink(&self, _work_id: &str, _source: &str) {}
}

/// A directory for a unit without llm-sys: counts from 1000 and links nothing.
#[derive(Debug)]
pub struct LocalDirectory {
    next: AtomicU32,
}

impl Default for LocalDirectory {
    fn default() -> Self {
        Self {
            next: AtomicU32::new(1000),
        }
    }
}

impl Directory for LocalDirectory {
    fn register(&self) -> Result<Registration, String> {
        Ok(Registration {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            outlet: None,
        })
    }
}
