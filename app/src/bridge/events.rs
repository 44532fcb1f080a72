//! How the bridge tells the window what happened. It knows a channel and a way to wake the window, and nothing of what is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::errors::broken;
use crate::messages::Event;
use crate::model::Problem;

/// Sends events and wakes the window.
#[derive(Clone)]
pub(super) struct Events {
    pub(super) sender: mpsc::Sender<Event>,
    pub(super) wake: Arc<dyn Fn() + Send + Sync>,
    /// Of an attempt to connect: what is reported after it was given up is dropped.
    pub(super) given_up: Option<Arc<AtomicBool>>,
}

impl Events {
    fn is_dropped(&self) -> bool {
        self.given_up
            .as_ref()
            .is_some_and(|given_up| given_up.load(Ordering::Relaxed))
    }

    pub(super) async fn send(&self, event: Event) {
        if self.is_dropped() {
            return;
        }
        // Where nobody receives any more, the app is on its way out.
        let _ = self.sender.send(event).await;
        (self.wake)();
    }

    /// Starts work as a task of its own. Where it panics, what `broken` makes of that is reported.
    pub(super) fn spawn(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
        broken: impl FnOnce(Problem) -> Event + Send + 'static,
    ) -> JoinHandle<()> {
        let events = self.clone();
        tokio::spawn(async move {
            if let Err(problem) = caught(work).await {
                events.send(broken(problem)).await;
            }
        })
    }

    /// For progress, from threads that may not wait: where the window is behind, this one is left out.
    pub(super) fn send_if_room(&self, event: Event) {
        if self.is_dropped() {
            return;
        }
        let _ = self.sender.try_send(event);
        (self.wake)();
    }
}

/// What work comes to; a panic in it is a problem. The work ends with whoever waits for it.
pub(super) async fn caught<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, Problem> {
    let mut tasks = JoinSet::new();
    tasks.spawn(work);
    match tasks.join_next().await {
        Some(done) => done.map_err(broken),
        // The set holds the task that was just started.
        None => unreachable!(),
    }
}
