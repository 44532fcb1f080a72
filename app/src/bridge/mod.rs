//! Between the window and the module: one thread that owns the async runtime. Requests go out, events come back.
//!
//! Only this module and the session it shares with the shell await. It knows the client and the embedded unit, and nothing of egui: after every event it calls a
//! `wake` closure.

mod curve;
mod deep;
mod doctor;
mod events;
mod figure;
mod inference;
mod latest;
mod library;
mod material;
pub mod recording;
pub(crate) mod second;
pub mod sweep;
mod tuning;
mod worker;

pub use doctor::Ways;

use std::future::Future;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use softprefix_core::client::ConnectOptions;

use crate::messages::{Event, Request};

/// Events that may wait for the window. A window that is behind slows the bridge down, and so the module.
const EVENTS: usize = 1024;

/// The window's end of the bridge.
pub struct Bridge {
    requests: mpsc::UnboundedSender<Request>,
    events: mpsc::Receiver<Event>,
    answers: mpsc::Sender<Event>,
    wake: Arc<dyn Fn() + Send + Sync>,
    runtime: tokio::runtime::Handle,
    thread: Option<JoinHandle<()>>,
}

impl Bridge {
    /// Starts the thread. `wake` is called, from that thread, after every event.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(wake: impl Fn() + Send + Sync + 'static) -> std::io::Result<Self> {
        Self::with(ConnectOptions::default(), wake)
    }

    /// The same with other limits for what a module may take.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn with(limits: ConnectOptions, wake: impl Fn() + Send + Sync + 'static) -> std::io::Result<Self> {
        Self::by(limits, Ways::default(), wake)
    }

    /// The same with the doctor's ways to modules given.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn by(limits: ConnectOptions, ways: Ways, wake: impl Fn() + Send + Sync + 'static) -> std::io::Result<Self> {
        let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(wake);
        let (requests, taken) = mpsc::unbounded_channel();
        let (sender, events) = mpsc::channel(EVENTS);
        // Two workers: one may be busy with a diff's hand-over while the other reads the socket.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("softprefix-bridge")
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let report = events::Events {
            given_up: None,
            sender: sender.clone(),
            wake: Arc::clone(&wake),
        };
        let thread = std::thread::Builder::new()
            .name("softprefix-bridge-main".to_owned())
            .spawn(move || {
                let events = report.clone();
                let work = worker::work(taken, report, limits, ways);
                runtime.block_on(async move {
                    if let Err(problem) = events::caught(work).await {
                        events.send(Event::Lost(problem)).await;
                    }
                });
                // A fetch or a dialog may still be blocking a thread; nothing of it is needed any more.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            requests,
            events,
            answers: sender,
            wake,
            runtime: handle,
            thread: Some(thread),
        })
    }

    /// Hands over a request. After a shutdown it is dropped.
    pub fn send(&self, request: Request) {
        let _ = self.requests.send(request);
    }

    /// The next event, if there is one. Never waits.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// The next event, waiting for it until `limit` has passed. For tests and tools, not for the window's thread.
    pub fn wait(&mut self, limit: Duration) -> Option<Event> {
        let until = Instant::now() + limit;
        loop {
            if let Some(event) = self.poll() {
                return Some(event);
            }
            if Instant::now() >= until {
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Awaits the answer of a file dialog, away from the window's thread.
    pub fn await_answer(&self, answer: impl Future<Output = Event> + Send + 'static) {
        let (answers, wake) = (self.answers.clone(), Arc::clone(&self.wake));
        self.runtime.spawn(async move {
            let event = answer.await;
            // Fails where the window is gone, and with it whoever asked.
            let _ = answers.send(event).await;
            wake();
        });
    }

    /// Exits the task on the module and ends the thread; gives up waiting after `limit`.
    pub fn shutdown(&mut self, limit: Duration) {
        self.send(Request::Shutdown);
        let Some(thread) = self.thread.take() else { return };
        let until = Instant::now() + limit;
        while !thread.is_finished() && Instant::now() < until {
            // The worker must not wait for room in a channel that nobody empties.
            while self.poll().is_some() {}
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.shutdown(Duration::from_secs(4));
    }
}
