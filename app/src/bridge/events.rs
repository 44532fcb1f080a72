//! Sends events to the window and wakes it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle, JoinSet};

use crate::errors::task_failed;
use crate::messages::Event;
use crate::model::Problem;

/// Sends events and wakes the window.
#[derive(Clone)]
pub(super) struct Events {
    pub(super) sender: mpsc::Sender<Event>,
    pub(super) wake: Arc<dyn Fn() + Send + Sync>,
    /// Set for an attempt to connect that was cancelled: its events are dropped.
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
        // The receiver is dropped only when the app exits.
        let _ = self.sender.send(event).await;
        (self.wake)();
    }

    /// Spawns a task. If it panics, sends the event that `of_problem` returns.
    pub(super) fn spawn(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
        of_problem: impl FnOnce(Problem) -> Event + Send + 'static,
    ) -> JoinHandle<()> {
        self.spawn_or(work, |error| of_problem(task_failed(error)))
    }

    /// As [`Events::spawn`], with the panic itself.
    pub(super) fn spawn_or(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
        of_panic: impl FnOnce(JoinError) -> Event + Send + 'static,
    ) -> JoinHandle<()> {
        let events = self.clone();
        tokio::spawn(boxed(async move {
            if let Err(error) = joined(work).await {
                events.send(of_panic(error)).await;
            }
        }))
    }

    /// For progress from threads that must not block: drops the event if the channel is full.
    pub(super) fn send_if_room(&self, event: Event) {
        if self.is_dropped() {
            return;
        }
        let _ = self.sender.try_send(event);
        (self.wake)();
    }
}

/// Runs work as a task of its own and turns a panic into a problem. Dropping the future aborts the task.
pub(super) async fn caught<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, Problem> {
    joined(work).await.map_err(task_failed)
}

/// One type for all tasks with the same result: tokio's code for a task is compiled once for each type, which was a tenth of this crate.
fn boxed<T>(work: impl Future<Output = T> + Send + 'static) -> Pin<Box<dyn Future<Output = T> + Send>> {
    Box::pin(work)
}

async fn joined<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, JoinError> {
    let mut tasks = JoinSet::new();
    tasks.spawn(boxed(work));
    match tasks.join_next().await {
        Some(done) => done,
        // The set contains the task that was just spawned.
        None => unreachable!(),
    }
}
