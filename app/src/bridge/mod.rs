//! The bridge between the window and the module: a thread with the async runtime, which takes requests and returns
//! events. After every event it calls a `wake` closure, so that it does not depend on egui.

mod choose;
mod curve;
pub mod discovery;
mod doctor;
mod events;
mod external;
mod figure;
mod find;
mod inference;
mod latest;
mod library;
mod material;
mod measure;
pub mod recording;
mod scoring;
pub(crate) mod second;
pub mod sweep;
mod tuning;
mod wake;
mod worker;

pub use doctor::DoctorAccess;
pub use external::osc;

use std::future::Future;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use softprefix_core::client::ConnectOptions;

use crate::messages::{Event, Request};
use crate::session::embedded::Models;

/// Capacity of the event channel. If the window is slow, the bridge waits, and so does the module.
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
    /// Starts the thread. `wake` is called from that thread after every event.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub fn start(wake: impl Fn() + Send + Sync + 'static) -> std::io::Result<Self> {
        Self::with(ConnectOptions::default(), wake)
    }

    /// Starts the thread with other time-outs for modules.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub fn with(limits: ConnectOptions, wake: impl Fn() + Send + Sync + 'static) -> std::io::Result<Self> {
        Self::by(limits, DoctorAccess::default(), Models::from_env(), wake)
    }

    /// Starts the thread with other time-outs, options for the doctor, and models.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub fn by(
        limits: ConnectOptions,
        access: DoctorAccess,
        models: Models,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(wake);
        let (requests, taken) = mpsc::unbounded_channel();
        let (sender, events) = mpsc::channel(EVENTS);
        // Two threads, so that computing a diff does not delay reading the socket.
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
        let waking = requests.clone();
        runtime.spawn(wake::watch(wake::EVERY, wake::Clocks::now, move || {
            waking.send(Request::Woke).is_ok()
        }));
        let thread = std::thread::Builder::new()
            .name("softprefix-bridge-main".to_owned())
            .spawn(move || {
                let events = report.clone();
                let work = worker::work(taken, report, limits, access, models);
                runtime.block_on(async move {
                    if let Err(problem) = events::caught(work).await {
                        events.send(Event::Lost(problem)).await;
                    }
                });
                // A download or a dialog may still block a thread; its result is no longer needed.
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

    /// Sends a request. After a shutdown it is dropped.
    pub fn send(&self, request: Request) {
        let _ = self.requests.send(request);
    }

    /// Sends requests in their order; see [`Bridge::send`].
    pub fn send_all(&self, requests: Vec<Request>) {
        requests.into_iter().for_each(|request| self.send(request));
    }

    /// Returns the next event, if there is one, without blocking.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Waits at most `limit` for the next event. For tests and tools, not for the UI thread.
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

    /// Awaits the answer of a file dialog off the UI thread.
    pub fn await_answer(&self, answer: impl Future<Output = Event> + Send + 'static) {
        let (answers, wake) = (self.answers.clone(), Arc::clone(&self.wake));
        self.runtime.spawn(async move {
            let event = answer.await;
            // Fails only if the window is closed.
            let _ = answers.send(event).await;
            wake();
        });
    }

    /// Exits the task on the module and stops the thread, waiting at most `limit`.
    pub fn shutdown(&mut self, limit: Duration) {
        self.send(Request::Shutdown);
        let Some(thread) = self.thread.take() else { return };
        let until = Instant::now() + limit;
        while !thread.is_finished() && Instant::now() < until {
            // Empties the channel so that the worker cannot block on it.
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
