//! Who gives tasks their numbers and connects them with other units. Behind llm-sys it is llm-sys; alone, a counter.
//!
//! It knows no task's insides.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::peer::{Peer, ReplySink};

/// A new task's place in the module.
pub struct Registration {
    /// N of `llm.N`.
    pub number: u32,
    /// Where all results of the task are published, besides going to whoever asked.
    pub outlet: Option<Arc<dyn ReplySink>>,
}

/// A task about to be opened.
pub struct Opening<'a> {
    /// Id of the task, such as `llm.1000`.
    pub work_id: &'a str,
    /// The sources that the set-up names.
    pub inputs: &'a [String],
    /// The client that set it up.
    pub asked_by: &'a Peer,
    /// Request id of the set-up.
    pub request_id: &'a str,
}

/// The module around the unit. Unless said otherwise, a call may wait: it never comes from the thread that owns an engine.
pub trait Directory: Send + Sync {
    /// A number for a task that is being set up. A set-up that fails uses its number up, as on the stock module.
    ///
    /// # Errors
    /// A sentence about who did not answer.
    fn register(&self) -> Result<Registration, String>;

    /// Called once the model is loaded and before the set-up is answered: when this returns, whatever is sent to the task
    /// will be heard.
    ///
    /// # Errors
    /// A sentence about what could not be connected.
    fn open(&self, _opening: &Opening<'_>) -> Result<(), String> {
        Ok(())
    }

    /// The task has ended, or never came to be; `then` is to run when its number has been given back. This call does not
    /// wait: it may come from any thread. Where the number was not taken back, `then` is told so in a sentence.
    fn release(&self, _work_id: &str, then: Box<dyn FnOnce(Result<(), String>) + Send>) {
        then(Ok(()));
    }

    /// Connects the output of `source` (`asr.N`, `kws.N`) to the task. Whether that could be done.
    fn link(&self, _work_id: &str, _source: &str) -> bool {
        false
    }

    /// Undoes [`link`](Self::link). Unknown sources are no error.
    fn unlink(&self, _work_id: &str, _source: &str) {}
}

/// The module of one unit: numbers from 1000, nobody to link to.
#[derive(Debug)]
pub struct Alone {
    next: AtomicU32,
}

impl Default for Alone {
    fn default() -> Self {
        Self {
            next: AtomicU32::new(1000),
        }
    }
}

impl Directory for Alone {
    fn register(&self) -> Result<Registration, String> {
        Ok(Registration {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            outlet: None,
        })
    }
}
