//! The unit on llm-sys' bus (PROTOCOL 3): calls arrive by ZeroMQ, and llm-sys numbers and connects its tasks.
//!
//! Calls are answered at once and executed by another task. A task subscribes to llm-sys at one address and to other units at
//! theirs; its output is published, and sent to the client of the inference.

mod address;
mod publisher;
mod server;
mod sys;
mod text;
mod zmtp;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use softprefix_core::protocol::message::action;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};

use address::Addresses;
use publisher::{Publisher, PublisherEnd};
pub use sys::SysError;
use sys::{Registered, Sys};
use zmtp::{Connection, Kind};

use crate::budget::{Budget, Charge, Purpose};
use crate::model::ModelSource;
use crate::request_text;
use crate::tasks::{self, log_panic};
use crate::unit::{Directory, Opening, Peer, Registration, ReplySink, Unit, UnitOptions};

/// Limit for ending and releasing all tasks at shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(4);

/// The location of the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusOptions {
    /// The folder of the files `rpc.sys` and `rpc.<unit>`.
    pub folder: PathBuf,
}

impl Default for BusOptions {
    fn default() -> Self {
        Self { folder: "/tmp".into() }
    }
}

impl BusOptions {
    fn url(&self, name: &str) -> String {
        format!("ipc://{}", self.folder.join(format!("rpc.{name}")).display())
    }
}

/// Why the unit cannot serve on the bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// A running unit answers at the address.
    #[error(
        "another unit answers at {path} already; stop it first (`systemctl stop llm-llm`), or give this one another --unit-name"
    )]
    Taken {
        /// Socket file of the address.
        path: PathBuf,
    },
    /// The socket cannot be created.
    #[error("{path} cannot be bound ({reason}); check that its folder exists and belongs to this user")]
    Bind {
        /// Socket file of the address.
        path: PathBuf,
        /// The system's message.
        reason: String,
    },
}

/// The values of llm-sys' key store for `keys`; `None` where there is no value, or llm-sys does not answer.
pub async fn settings(options: &BusOptions, keys: &[&str]) -> Vec<Option<String>> {
    let sys = Sys::new(options.url("sys"), Budget::default());
    let mut values = Vec::with_capacity(keys.len());
    for key in keys {
        values.push(sys.select(key).await.ok().filter(|value| !value.is_empty()));
    }
    values
}

/// Serves on the bus until `shutdown` is ready; then ends all tasks, releases their numbers and removes the unit's
/// socket.
///
/// # Errors
/// [`BusError`] where the unit's address cannot be bound.
pub async fn serve(
    source: Arc<dyn ModelSource>,
    unit_options: UnitOptions,
    options: BusOptions,
    started: impl FnOnce(&Unit),
    shutdown: impl Future<Output = ()>,
) -> Result<(), BusError> {
    let server = server::bind(&options, &unit_options.name).await?;
    let module = Arc::new(Module::new(&options, &unit_options));
    let unit = Unit::with_directory(source, unit_options, Arc::new(BusDirectory(Arc::clone(&module))));
    *module.unit() = Some(unit.clone());
    started(&unit);
    tracing::info!("on the bus as {}", server.path().display());
    tokio::select! {
        () = server.run(&unit, &module) => {}
        () = shutdown => {}
    }
    // First no new calls are accepted; then the tasks end, each with its last replies, and are released.
    drop(server);
    unit.reset();
    let ending = async {
        while !unit.tasks().is_empty() || module.is_busy() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        module.addresses.close();
        while module.addresses.count() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, ending).await.is_err() {
        tracing::warn!("not all tasks ended in time");
    }
    // Breaks the reference cycle between module and unit.
    *module.unit() = None;
    Ok(())
}

/// The key of llm-sys in a task's subscriptions.
const LLM_SYS: &str = "";

/// The unit's state on the bus.
struct Module {
    sys: Sys,
    folder: PathBuf,
    /// The unit's budget, to which received messages are charged.
    memory: Budget,
    name: String,
    runtime: Handle,
    addresses: Addresses,
    unit: Arc<Mutex<Option<Unit>>>,
    tasks: Arc<Mutex<HashMap<String, Arc<BusTask>>>>,
    /// Tasks that are being released.
    releasing: Mutex<JoinSet<()>>,
}

/// A task's sockets on the bus.
struct BusTask {
    work_id: String,
    registered: Registered,
    publisher: Mutex<Option<PublisherEnd>>,
    /// The subscriptions to llm-sys ([`LLM_SYS`]) and to other units' tasks, by work id.
    subscriptions: Mutex<HashMap<String, AbortHandle>>,
    /// The last client and its request id: answers to texts from other units go there.
    last: Mutex<Option<(Peer, String)>>,
}

impl Module {
    /// Must be called within the tokio runtime that serves.
    fn new(options: &BusOptions, unit_options: &UnitOptions) -> Self {
        let runtime = Handle::current();
        let unit = Arc::<Mutex<Option<Unit>>>::default();
        let known = Arc::clone(&unit);
        let memory = unit_options.memory.clone();
        let addresses = Addresses::new(runtime.clone(), memory.clone(), move |url| {
            let unit = lock(&known).clone();
            if let Some(unit) = unit {
                unit.client_disconnected(url);
            }
        });
        Self {
            sys: Sys::new(options.url("sys"), memory.clone()),
            memory,
            folder: options.folder.clone(),
            name: unit_options.name.clone(),
            runtime,
            addresses,
            unit,
            tasks: Arc::default(),
            releasing: Mutex::default(),
        }
    }

    fn unit(&self) -> MutexGuard<'_, Option<Unit>> {
        lock(&self.unit)
    }

    fn task(&self, work_id: &str) -> Option<Arc<BusTask>> {
        lock(&self.tasks).get(work_id).cloned()
    }

    /// Whether tasks are being released.
    fn is_busy(&self) -> bool {
        let mut releasing = lock(&self.releasing);
        while let Some(ended) = releasing.try_join_next() {
            log_panic(ended, "releasing a task");
        }
        !releasing.is_empty()
    }

    /// Subscribes a task to llm-sys and to the sources of its set-up.
    async fn connect(self: &Arc<Self>, task: &Arc<BusTask>, inputs: &[String]) -> Result<(), String> {
        let url = &task.registered.inference_url;
        let cannot = |error| format!("llm-sys publishes nothing at {url} ({error}); set up again");
        let mut inferences = Connection::open(url, Kind::Subscriber, &self.memory)
            .await
            .map_err(cannot)?;
        let early = inferences.subscribe().await.map_err(cannot)?;
        let (module, receiver) = (Arc::clone(self), Arc::clone(task));
        let subscription = tasks::spawn(&self.runtime, "receiving from llm-sys", async move {
            for frames in early {
                module.take_inference(&receiver, &frames);
            }
            while let Ok(frames) = inferences.receive().await {
                module.take_inference(&receiver, &frames);
            }
            // Removed first, so that closing the task does not abort this async task.
            lock(&receiver.subscriptions).remove(LLM_SYS);
            module.lose(&receiver).await;
        });
        lock(&task.subscriptions).insert(LLM_SYS.to_owned(), subscription);
        for input in inputs {
            if (is_speech(input) || is_keyword(input))
                && let Err(sentence) = self.subscribe_to(task, input).await
            {
                // As on the stock unit, the task exists and can be linked later.
                tracing::warn!("{}: {sentence}", task.work_id);
            }
        }
        Ok(())
    }

    fn take_inference(&self, task: &BusTask, frames: &[Vec<u8>]) {
        let Some(unit) = self.unit().clone() else { return };
        let Some((zmq_com, text)) = frames.first().and_then(|message| text::split_inference(message)) else {
            tracing::warn!("{}: llm-sys sent a message that is not an inference", task.work_id);
            return;
        };
        let peer = self.addresses.peer(&zmq_com);
        let charge = charge_of(&self.memory, text.len());
        match request_text::read(text, charge) {
            Ok(mut request) => {
                request.work_id.clone_from(&task.work_id);
                request.action = action::INFERENCE.to_owned();
                *lock(&task.last) = Some((peer.clone(), request.request_id.clone()));
                unit.call(request, &peer);
            }
            Err(_) => peer.reply(&request_text::unreadable_reply()),
        }
    }

    /// Ends a task to which llm-sys closed the connection: it can no longer be reached, and its id may be reused.
    async fn lose(&self, task: &Arc<BusTask>) {
        {
            let mut tasks = lock(&self.tasks);
            if !tasks
                .get(&task.work_id)
                .is_some_and(|current| Arc::ptr_eq(current, task))
            {
                return;
            }
            tasks.remove(&task.work_id);
        }
        tracing::info!("{} has lost its connection to llm-sys and is ended", task.work_id);
        let unit = self.unit().clone();
        if let Some(unit) = unit {
            unit.end(&task.work_id);
        }
        task.close().await;
    }

    /// Subscribes to the output of another unit's task.
    async fn subscribe_to(self: &Arc<Self>, task: &Arc<BusTask>, source: &str) -> Result<(), String> {
        let key = format!("{source}.out_port");
        let url = self.sys.select(&key).await.map_err(|error| error.to_string())?;
        if url.is_empty() {
            return Err(format!("{source} has no output; set it up first"));
        }
        let cannot = |error| format!("{source} cannot be subscribed to at {url} ({error}); set it up again");
        let mut speech = Connection::open(&url, Kind::Subscriber, &self.memory)
            .await
            .map_err(cannot)?;
        let early = speech.subscribe().await.map_err(cannot)?;
        let (module, receiver, only_stops) = (Arc::clone(self), Arc::clone(task), is_keyword(source));
        let subscription = tasks::spawn(&self.runtime, "receiving from another unit", async move {
            for frames in early {
                module.take_text(&receiver, &frames, only_stops);
            }
            while let Ok(frames) = speech.receive().await {
                module.take_text(&receiver, &frames, only_stops);
            }
        });
        if let Some(before) = lock(&task.subscriptions).insert(source.to_owned(), subscription) {
            before.abort();
        }
        Ok(())
    }

    fn take_text(&self, task: &BusTask, frames: &[Vec<u8>], only_stops: bool) {
        let Some(unit) = self.unit().clone() else { return };
        if only_stops {
            return unit.pause(&task.work_id);
        }
        let last = lock(&task.last).clone();
        let text = frames.first().and_then(|message| text::of_speech(message));
        if let (Some(text), Some((peer, request_id))) = (text, last) {
            unit.infer_text(&task.work_id, &request_id, text, &peer);
        }
    }
}

/// The bus as the unit's [`Directory`].
struct BusDirectory(Arc<Module>);

impl Directory for BusDirectory {
    fn register(&self) -> Result<Registration, String> {
        self.0.runtime.block_on(async {
            let registered = self
                .0
                .sys
                .register(&self.0.name)
                .await
                .map_err(|error| error.to_string())?;
            let work_id = format!("{}.{}", self.0.name, registered.number);
            let publisher = Publisher::bind(&registered.output_url, &self.0.folder, &self.0.memory).await;
            let (publisher, end) = match publisher {
                Ok(publisher) => publisher,
                Err(sentence) => {
                    return Err(match self.0.sys.release(&work_id).await {
                        Ok(()) => sentence,
                        Err(error) => format!("{sentence}; nor could {work_id} be released: {error}"),
                    });
                }
            };
            let number = registered.number;
            let task = Arc::new(BusTask {
                work_id: work_id.clone(),
                registered,
                publisher: Mutex::new(Some(end)),
                subscriptions: Mutex::default(),
                last: Mutex::default(),
            });
            let before = lock(&self.0.tasks).insert(work_id, task);
            if let Some(before) = before {
                // llm-sys restarted its numbers: the old task's addresses belong to this one now.
                before.unsubscribe_all();
            }
            Ok(Registration {
                number,
                outlet: Some(Arc::new(publisher) as Arc<dyn ReplySink>),
            })
        })
    }

    fn open(&self, opening: &Opening<'_>) -> Result<(), String> {
        let Some(task) = self.0.task(opening.work_id) else {
            return Err("llm-sys dropped the task while it was being set up; set up again".into());
        };
        *lock(&task.last) = Some((opening.peer.clone(), opening.request_id.to_owned()));
        self.0.runtime.block_on(self.0.connect(&task, opening.inputs))
    }

    fn release(&self, work_id: &str, then: Box<dyn FnOnce(Result<(), String>) + Send>) {
        let Some(task) = lock(&self.0.tasks).remove(work_id) else {
            return then(Ok(()));
        };
        let sys = self.0.sys.clone();
        lock(&self.0.releasing).spawn_on(
            async move {
                // Files are removed before the number is released: a new task may get the same addresses.
                task.close().await;
                let released = sys.release(&task.work_id).await;
                then(released.map_err(|error| {
                    let sentence = format!("{} has ended, but its number was not released: {error}", task.work_id);
                    tracing::warn!("{sentence}");
                    sentence
                }));
            },
            &self.0.runtime,
        );
    }

    fn link(&self, work_id: &str, source: &str) -> bool {
        let Some(task) = self.0.task(work_id) else { return false };
        if !(source.starts_with("asr") || is_keyword(source)) {
            return false;
        }
        match self.0.runtime.block_on(self.0.subscribe_to(&task, source)) {
            Ok(()) => true,
            Err(sentence) => {
                tracing::info!("{work_id}: {sentence}");
                false
            }
        }
    }

    fn unlink(&self, work_id: &str, source: &str) {
        if let Some(task) = self.0.task(work_id).filter(|_| source != LLM_SYS)
            && let Some(subscription) = lock(&task.subscriptions).remove(source)
        {
            subscription.abort();
        }
    }
}

impl BusTask {
    fn unsubscribe_all(&self) {
        for (_, subscription) in lock(&self.subscriptions).drain() {
            subscription.abort();
        }
    }

    /// Ends the subscriptions and the publisher; its file is removed when this returns.
    async fn close(&self) {
        self.unsubscribe_all();
        let publisher = lock(&self.publisher).take();
        if let Some(publisher) = publisher {
            publisher.end().await;
        }
    }
}

/// The charge for a message of `bytes` bytes. If the budget is exhausted, the charge is empty, and the unit refuses the
/// request.
fn charge_of(memory: &Budget, bytes: usize) -> Charge {
    memory
        .charge(Purpose::Requests, bytes)
        .unwrap_or_else(|| memory.message())
}

fn is_speech(input: &str) -> bool {
    input.starts_with("asr") || input.starts_with("whisper")
}

fn is_keyword(input: &str) -> bool {
    input.starts_with("kws")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the messages of a peer that connected as a caller does, each as its frames, up to the end of the stream or what is not ZMTP.
#[cfg(feature = "testing")]
#[doc(hidden)]
pub async fn messages_of(peer: tokio::net::UnixStream, memory: &Budget) -> Vec<Vec<Vec<u8>>> {
    let mut messages = Vec::new();
    if let Ok(mut connection) = Connection::accept(peer, Kind::Reply, memory).await {
        while let Ok(message) = connection.receive().await {
            messages.push(message);
        }
    }
    messages
}
