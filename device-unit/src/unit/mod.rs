//! The LLM unit: handles requests and manages tasks (PROTOCOL 2.2 to 2.6), independent of transport and engine.
//!
//! A transport passes each `Request` with the [`Peer`] that sent it, and all replies go to that peer. Models are loaded in the background
//! and shared by tasks with the same model.

mod answer;
mod directory;
mod input;
mod learn;
mod models;
mod names;
mod nearest;
mod peer;
mod pending_reply;
mod prepare;
mod queries;
mod score;
mod setup;
mod shared_model;
mod task;
mod texts;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use softprefix_core::protocol::extension::{self, Memory, SoftPrefixSupport, StopRequest, TextRequest, feature};
use softprefix_core::protocol::message::{action, object, to_data};
use softprefix_core::protocol::{Code, ErrorField, Reply};

use answer::InferenceResponder;
pub use directory::{Directory, LocalDirectory, Opening, Registration};
use input::Collector;
use models::ModelCache;
pub use names::rpc_answer;
pub use peer::{Peer, ReplySink};
use pending_reply::PendingReply;
use setup::{SetUpError, SetUpRequest};
use shared_model::SharedModel;
use task::{InferenceGuard, Task};
use texts::RecentTexts;

use crate::budget::{Budget, Purpose};
use crate::engine::sampling::Sampling;
use crate::model::{LoadStage, ModelSource};
use crate::request_text::Request;
use crate::scheduler::AdmissionPermit;

/// Maximum length of another unit's task id.
const MAX_SOURCE_BYTES: usize = 256;
/// How long a set-up waits for an ending task to free its slot.
const TASK_SLOT_TIMEOUT: Duration = Duration::from_secs(10);

/// Receives the progress of loading a model: its name, the fraction (0..=1), and what is done now.
pub type LoadObserver = Arc<dyn Fn(&str, f32, LoadStage) + Send + Sync>;

/// Options of a unit.
#[derive(Clone)]
pub struct UnitOptions {
    /// The unit's name, which is the first part of its work_ids.
    pub name: String,
    /// Maximum number of tasks, as on the stock unit.
    pub max_tasks: usize,
    /// Maximum number of running inferences per model, if its engine can run as many. One slot is reserved for live runs.
    pub max_inferences: usize,
    /// Maximum number of waiting inferences per model.
    pub waiting: usize,
    /// Memory budget for clients' requests and running inferences.
    pub memory: Budget,
    /// Maximum duration of an inference, counted from its arrival.
    pub longest_inference: Duration,
    /// Whether to draft tokens if the engine can verify several in one step. Affects the speed, not the tokens.
    pub drafts: bool,
    /// Receives the progress of loading models.
    pub on_load: Option<LoadObserver>,
}

impl Default for UnitOptions {
    fn default() -> Self {
        Self {
            name: "llm".into(),
            max_tasks: 2,
            // The number of columns that the CPU kernels compute at once. More would slow each inference down without a gain in total.
            max_inferences: 16,
            waiting: 4096,
            memory: Budget::default(),
            longest_inference: Duration::from_secs(3600),
            drafts: true,
            on_load: None,
        }
    }
}

/// The unit. Clones share the same state.
#[derive(Clone)]
pub struct Unit {
    inner: Arc<Inner>,
}

struct Inner {
    source: Arc<dyn ModelSource>,
    directory: Arc<dyn Directory>,
    options: UnitOptions,
    drafts: AtomicBool,
    tasks: Mutex<Tasks>,
    task_ended: Condvar,
    collector: Mutex<Collector>,
    models: ModelCache,
    /// Serializes set-ups, as on the stock unit.
    setting_up: Mutex<()>,
}

#[derive(Default)]
struct Tasks {
    by_id: BTreeMap<String, Arc<Task>>,
    /// Number of set-ups in progress.
    pending: usize,
}

impl Unit {
    /// Creates a unit without llm-sys, which numbers its own tasks.
    pub fn new(source: Arc<dyn ModelSource>, options: UnitOptions) -> Self {
        Self::with_directory(source, options, Arc::new(LocalDirectory::default()))
    }

    /// Creates a unit whose tasks are numbered and connected by `directory`.
    pub fn with_directory(source: Arc<dyn ModelSource>, options: UnitOptions, directory: Arc<dyn Directory>) -> Self {
        Self {
            inner: Arc::new(Inner {
                source,
                directory,
                models: ModelCache::default(),
                drafts: options.drafts.into(),
                options,
                tasks: Mutex::default(),
                task_ended: Condvar::new(),
                collector: Mutex::default(),
                setting_up: Mutex::default(),
            }),
        }
    }

    /// Returns the unit's name, the first part of its work_ids.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.options.name
    }

    /// Sets [`UnitOptions::drafts`] for the tasks that are set up from now on.
    pub fn set_drafts(&self, drafts: bool) {
        self.inner.drafts.store(drafts, Ordering::Relaxed);
    }

    /// Returns the memory budget for requests and inferences.
    #[must_use]
    pub fn memory(&self) -> &Budget {
        &self.inner.options.memory
    }

    /// Returns the model cards, as `lsmode` lists them.
    #[must_use]
    pub fn cards(&self) -> Vec<Value> {
        self.inner.source.cards()
    }

    /// Returns `true` if inferences can be sent to `work_id`.
    #[must_use]
    pub fn is_task(&self, work_id: &str) -> bool {
        self.inner.task(work_id).is_some()
    }

    /// Handles a request. All replies go to `peer`. Does not block, except in [`Directory::link`] and [`Directory::unlink`].
    pub fn call(&self, mut request: Request, peer: &Peer) {
        let held = [action::SETUP, action::INFERENCE].contains(&request.action.as_str())
            || (extension::ACTIONS.contains(&request.action.as_str()) && request.action != extension::STOP);
        if held && (self.memory().is_crowded() || !request.charge.add_overhead()) {
            return peer.reply(&Reply::error(
                request.request_id,
                request.work_id,
                request_memory_full(self.memory()),
            ));
        }
        match request.action.as_str() {
            action::SETUP => self.inner.begin_set_up(request, peer),
            action::INFERENCE => self.infer(request, peer),
            _ => {
                if let Some(reply) = self.inner.answer(request, peer) {
                    peer.reply(&reply);
                }
            }
        }
    }

    /// Handles an inference in any input form.
    fn infer(&self, request: Request, peer: &Peer) {
        let (request_id, work_id) = (request.request_id.clone(), request.work_id.clone());
        let refuse = |error| peer.reply(&Reply::error(request_id.clone(), work_id.clone(), error));
        let Some(task) = self.inner.task(&work_id).filter(|task| task.accepts_clients()) else {
            return refuse(ErrorField::stock(Code::PUSH));
        };
        let input = self.inner.collector().take(peer.name(), request);
        let input = match input {
            Ok(Some(input)) => input,
            Ok(None) => return,
            Err(error) => return refuse(error),
        };
        self.inner.start(&task, request_id, input, peer);
    }

    /// Runs an inference on the output of another unit that is linked to the task. Errors go to `peer` under `request_id`, and results are
    /// published as usual.
    pub fn infer_text(&self, work_id: &str, request_id: &str, text: String, peer: &Peer) {
        if let Some(task) = self.inner.task(work_id) {
            let Some(charge) = self.memory().charge(Purpose::Requests, text.len()) else {
                let error = request_memory_full(self.memory());
                return peer.reply(&Reply::error(request_id, work_id, error));
            };
            let input = input::Input {
                text,
                prefix: None,
                options: extension::InferenceOptions::default(),
                has_options: false,
                charge,
            };
            self.inner.start(&task, request_id.to_owned(), input, peer);
        }
    }

    /// Stops the running inferences of a task, like `pause`.
    pub fn pause(&self, work_id: &str) {
        if let Some(task) = self.inner.task(work_id) {
            task.pause();
        }
    }

    /// Returns `true` if the client has set up a task that still exists, or waits for an answer.
    #[must_use]
    pub fn involves(&self, client: &str) -> bool {
        self.inner.all_tasks().iter().any(|task| task.involves(client))
    }

    /// Must be called when a client has disconnected. Drops its partial prompts and cancels its inferences.
    pub fn client_disconnected(&self, client: &str) {
        self.inner.collector().remove_client(client);
        for task in self.inner.all_tasks() {
            task.model.wake();
        }
    }

    /// Ends a task that can no longer be reached.
    pub fn end(&self, work_id: &str) {
        if let Some(task) = self.inner.task(work_id) {
            self.inner.end(&task, |_| ());
        }
    }

    /// Ends all tasks. Only the last replies of their inferences are sent.
    pub fn reset(&self) {
        for task in self.inner.all_tasks() {
            self.inner.end(&task, |_| ());
        }
    }

    /// Returns the ids of all tasks, including ending ones.
    #[must_use]
    pub fn tasks(&self) -> Vec<String> {
        self.inner.lock().by_id.keys().cloned().collect()
    }

    /// Loads a model in advance.
    ///
    /// # Errors
    /// The message of a [`LoadError`](crate::model::LoadError).
    pub fn preload(&self, model: &str) -> Result<(), String> {
        let setup = SetUpRequest {
            model: model.to_owned(),
            response_format: String::new(),
            enoutput: true,
            system_prompt: String::new(),
            inputs: Vec::new(),
            settings: Map::new(),
        };
        // Locked like a set-up, so that a set-up of the same model waits instead of loading it twice.
        let _one_at_a_time = self.inner.setting_up.lock().unwrap_or_else(PoisonError::into_inner);
        self.inner.load(&setup).map(|_| ())
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collector(&self) -> MutexGuard<'_, Collector> {
        self.collector.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a task unless it is ending.
    fn task(&self, work_id: &str) -> Option<Arc<Task>> {
        let task = self.lock().by_id.get(work_id).cloned()?;
        (!task.is_closing()).then_some(task)
    }

    fn all_tasks(&self) -> Vec<Arc<Task>> {
        self.lock().by_id.values().cloned().collect()
    }

    fn start(&self, task: &Arc<Task>, request_id: String, mut input: input::Input, peer: &Peer) {
        let Some((permit, guard)) = admit(task, &request_id, peer) else {
            return;
        };
        let answer = InferenceResponder::new(peer.clone(), request_id, guard, input.charge.take());
        let time_limit = self.options.longest_inference;
        task.model
            .spawn(move |model| prepare::submit(model, input, answer, permit, time_limit));
    }

    /// Handles a request other than set-up and inference. Returns `None` if the reply is sent later.
    fn answer(self: &Arc<Self>, request: Request, peer: &Peer) -> Option<Reply> {
        let (request_id, work_id, action) = (
            request.request_id.clone(),
            request.work_id.clone(),
            request.action.as_str(),
        );
        let ok = || Some(Reply::ok(request_id.clone(), work_id.clone()));
        let error = |code| Some(Reply::stock_error(request_id.clone(), work_id.clone(), code));
        if action == action::TASKINFO && work_id == self.options.name {
            let tasks = self.all_tasks();
            let list: Vec<&str> = tasks
                .iter()
                .filter(|task| !task.is_closing())
                .map(|task| task.work_id.as_str())
                .collect();
            return Some(Reply::data(request_id, work_id, object::TASK_LIST, to_data(&list)));
        }
        let known = [
            action::EXIT,
            action::PAUSE,
            action::TASKINFO,
            action::LINK,
            action::UNLINK,
        ];
        if !known.contains(&action) && !extension::ACTIONS.contains(&action) {
            return error(Code::NO_UNIT_ACTION);
        }
        let Some(task) = self.task(&work_id) else {
            return error(Code::NO_SUCH_UNIT);
        };
        // Data of another type counts as an empty name.
        let source = || request.data::<String>().ok().flatten().unwrap_or_default();
        match action {
            action::PAUSE => {
                task.pause();
                ok()
            }
            action::EXIT => {
                let mut reply = Reply::ok(request_id.clone(), work_id.clone());
                let peer = peer.clone();
                self.end(&task, move |released| {
                    // The task has ended anyway, so this is a success with a message.
                    if let Err(sentence) = released {
                        reply.error.message = sentence;
                    }
                    peer.reply(&reply);
                });
                None
            }
            action::TASKINFO => Some(Reply::data(
                request_id,
                work_id,
                object::TASK_INFO,
                to_data(&self.describe(&task)),
            )),
            action::LINK => {
                let source = source();
                let known = !source.is_empty() && source.len() <= MAX_SOURCE_BYTES;
                if known && task.has_room_for_inputs() && self.directory.link(&work_id, &source) {
                    task.add_input(&source);
                    ok()
                } else {
                    error(Code::LINK)
                }
            }
            action::UNLINK => {
                let source = source();
                self.directory.unlink(&work_id, &source);
                task.remove_input(&source);
                ok()
            }
            extension::STOP => Some(match request.require_data::<StopRequest>("{\"request_id\": \"...\"}") {
                Ok(stop) => {
                    task.stop(peer.name(), &stop.request_id);
                    Reply::data(request_id, work_id, extension::STOP, Value::from("None"))
                }
                Err(error) => Reply::error(request_id, work_id, error),
            }),
            extension::SCORE => {
                self.score(&task, request, peer);
                None
            }
            extension::LEARN => {
                Self::learn(&task, request, peer);
                None
            }
            _ => {
                self.answer_query(&task, request, peer);
                None
            }
        }
    }

    /// Scores a text by teacher forcing. The reply is sent when the engine is done.
    fn score(&self, task: &Arc<Task>, mut request: Request, peer: &Peer) {
        let Some((permit, guard)) = admit(task, &request.request_id, peer) else {
            return;
        };
        let reply = PendingReply::new(peer, &request.request_id, &task.work_id);
        let answer = score::ScoreResponder::new(reply, guard, request.charge.take());
        let time_limit = self.options.longest_inference;
        task.model
            .spawn(move |model| score::submit(model, request, answer, permit, time_limit));
    }

    /// Learns a prefix. Frames are sent while the engine works.
    fn learn(task: &Arc<Task>, mut request: Request, peer: &Peer) {
        let Some((permit, guard)) = admit(task, &request.request_id, peer) else {
            return;
        };
        let reply = PendingReply::new(peer, &request.request_id, &task.work_id);
        let charge = request.charge.take();
        task.model.spawn_long_query(reply, move |model, reply| {
            learn::submit(model, request, learn::LearnResponder::new(reply, guard, charge), permit);
        });
    }

    /// Answers a query on a thread of the model.
    fn answer_query(&self, task: &Arc<Task>, request: Request, peer: &Peer) {
        let task_of_query = Arc::clone(task);
        let reply = PendingReply::new(peer, &request.request_id, &task.work_id);
        let action = request.action.clone();
        let long = action == extension::NEAREST;
        let answer = move |model: &SharedModel, mut reply: PendingReply| {
            let found = match action.as_str() {
                extension::VOCABULARY => queries::vocabulary(model).map(|vocabulary| to_data(&vocabulary)),
                extension::EMBED => queries::embed(model, &request).map(|embedded| to_data(&embedded)),
                extension::NEAREST => nearest::answer(model, &request).map(|nearest| to_data(&nearest)),
                _ => request
                    .require_data::<TextRequest>("{\"text\": \"...\"}")
                    .and_then(|query| prepare::token_counts(model, &task_of_query, &query.text))
                    .map(|counts| to_data(&counts)),
            };
            match found {
                Ok(data) => reply.send(&action, data, true),
                Err(error) => reply.fail(error),
            }
        };
        if long {
            task.model.spawn_long_query(reply, answer);
        } else {
            task.model.spawn_query(reply, answer);
        }
    }

    fn describe(&self, task: &Task) -> softprefix_core::protocol::TaskInfo {
        let info = task.model.info();
        let window = info.window.min(task.max_positions);
        let features = [
            feature::EMBED,
            feature::SAMPLE,
            feature::VOCABULARY,
            feature::COUNT_TOKENS,
            feature::NEAREST,
            feature::STOP,
            feature::STREAM,
        ];
        let score = (task.model.scheduler.score_sequences() > 0).then(|| feature::SCORE.to_owned());
        let drafts = task.texts.as_ref().map(|_| feature::DRAFTS.to_owned());
        let learn = task.model.scheduler.can_learn().then(|| feature::LEARN.to_owned());
        let mut described = task.info();
        described.soft_prefix = Some(SoftPrefixSupport {
            backend: info.backend.clone(),
            concurrency: info.max_sequences,
            features: features
                .map(str::to_owned)
                .into_iter()
                .chain(score)
                .chain(drafts)
                .chain(learn)
                .collect(),
            hidden_size: info.hidden_size,
            memory: Some(memory_usage(&self.options.memory)),
            model_sha256: task.model.digest.clone(),
            prefill_window: info.prefill_window.min(window),
            unit: concat!("softprefix-unit ", env!("CARGO_PKG_VERSION")).to_owned(),
            version: extension::VERSION,
            weights: info.weights.clone(),
            window,
        });
        described
    }

    /// Ends a task. `then` is called after the last reply of its last inference.
    fn end(self: &Arc<Self>, task: &Arc<Task>, then: impl FnOnce(Result<(), String>) + Send + 'static) {
        let inner = Arc::clone(self);
        let ending = Arc::downgrade(task);
        let work_id = task.work_id.clone();
        task.close(move || {
            inner.collector().remove_task(&work_id);
            let mut tasks = inner.lock();
            // The directory may have restarted its numbers, so a later task can have the same id.
            let is_current = |task: &Arc<Task>| std::ptr::eq(Arc::as_ptr(task), ending.as_ptr());
            let current = tasks.by_id.get(&work_id).is_some_and(is_current);
            if current {
                // The exit is answered after the number is released, so that requests sent after the answer are not lost. The release begins
                // before the task disappears from the list.
                inner.directory.release(&work_id, Box::new(then));
                tasks.by_id.remove(&work_id);
                drop(tasks);
            } else {
                drop(tasks);
                then(Ok(()));
            }
            inner.task_ended.notify_all();
        });
    }

    fn begin_set_up(self: &Arc<Self>, request: Request, peer: &Peer) {
        let request_id = request.request_id.clone();
        let setup = SetUpRequest::validate(request.data().ok().flatten());
        let Request {
            request_id: id, charge, ..
        } = request;
        let refuse = |refusal: SetUpError| peer.reply(&refusal_reply(&id, refusal));
        {
            let mut tasks = self.lock();
            let staying = tasks.by_id.values().filter(|task| !task.is_closing()).count();
            if staying + tasks.pending >= self.options.max_tasks {
                drop(tasks);
                return refuse(task_full());
            }
            tasks.pending += 1;
        }
        let pending = PendingSetUp(Some(Arc::clone(self)));
        let (inner, there) = (Arc::clone(self), peer.clone());
        let started = std::thread::Builder::new()
            .name("softprefix-setup".into())
            .spawn(move || {
                // After a panic in a loader the client must still be answered. The slot and the memory are released before the reply, so that
                // the client can go on at once.
                let result = catch_unwind(AssertUnwindSafe(|| inner.set_up(setup, &request_id, &there, pending)))
                    .unwrap_or_else(|_| Err(SetUpError::new("The loader failed unexpectedly; see the log.")));
                drop(charge);
                there.reply(&match result {
                    Ok(work_id) => Reply::ok(request_id, work_id),
                    Err(refusal) => refusal_reply(&request_id, refusal),
                });
            });
        if let Err(error) = started {
            refuse(SetUpError::new(&format!(
                "No thread could be started ({error}); close other programs."
            )));
        }
    }

    fn set_up(
        self: &Arc<Self>,
        setup: Result<SetUpRequest, SetUpError>,
        request_id: &str,
        peer: &Peer,
        pending: PendingSetUp,
    ) -> Result<String, SetUpError> {
        let _one_at_a_time = self.setting_up.lock().unwrap_or_else(PoisonError::into_inner);
        self.wait_for_slot()?;
        let setup = setup?;
        let registration = self
            .directory
            .register()
            .map_err(|sentence| SetUpError::new(&sentence))?;
        let work_id = format!("{}.{}", self.options.name, registration.number);
        let task = self.open_task(&work_id, setup, registration, request_id, peer, pending);
        if task.is_err() {
            self.directory.release(
                &work_id,
                Box::new(|released| {
                    if let Err(sentence) = released {
                        tracing::warn!("{sentence}");
                    }
                }),
            );
        }
        task.map(|()| work_id)
    }

    fn open_task(
        self: &Arc<Self>,
        work_id: &str,
        setup: SetUpRequest,
        registration: Registration,
        request_id: &str,
        peer: &Peer,
        pending: PendingSetUp,
    ) -> Result<(), SetUpError> {
        let model = self.load(&setup).map_err(|sentence| SetUpError::new(&sentence))?;
        let max_positions = setup.max_token_len(&model.settings)?;
        let sampling = Sampling::from_settings(&setup.merged_over(&model.settings))
            .map_err(|error| SetUpError::new(&error.to_string()))?;
        let inputs = setup.inputs.clone();
        let outlet = registration.outlet;
        let texts = (self.drafts.load(Ordering::Relaxed) && model.info().drafts)
            .then(|| RecentTexts::new(&self.options.memory))
            .flatten();
        let owner = Arc::clone(peer.name());
        let task = Task::new(work_id.to_owned(), setup, max_positions, sampling, model, outlet, owner);
        let task = Arc::new(task.with_texts(texts));
        let mut tasks = self.lock();
        let old = tasks.by_id.insert(work_id.to_owned(), Arc::clone(&task));
        // From now on the task takes the slot. Counting both would refuse a set-up for which there is one.
        pending.end(&mut tasks);
        drop(tasks);
        if let Some(old) = old {
            // The number was assigned again, so the old task is unreachable.
            old.close(|| ());
        }
        let opening = Opening {
            work_id,
            inputs: &inputs,
            peer,
            request_id,
        };
        self.directory.open(&opening).map_err(|sentence| {
            self.lock().by_id.remove(work_id);
            task.close(|| ());
            SetUpError::new(&sentence)
        })
    }

    /// Waits until an ending task has freed its slot.
    fn wait_for_slot(&self) -> Result<(), SetUpError> {
        let patience = Instant::now() + TASK_SLOT_TIMEOUT;
        let mut tasks = self.lock();
        while tasks.by_id.len() >= self.options.max_tasks {
            let left = patience.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(task_full());
            }
            tasks = self
                .task_ended
                .wait_timeout(tasks, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        Ok(())
    }

    fn load(&self, setup: &SetUpRequest) -> Result<Arc<SharedModel>, String> {
        let observer = self.options.on_load.as_ref();
        let progress = |fraction: f32, stage: LoadStage| {
            if let Some(observer) = observer {
                observer(&setup.model, fraction, stage);
            }
        };
        self.models.get(&setup.model_key(), || {
            let loaded = self
                .source
                .load(&setup.model, &setup.model_settings(), &progress)
                .map_err(|error| error.to_string())?;
            let options = &self.options;
            SharedModel::start(loaded, options.waiting, options.max_inferences, options.memory.clone())
                .map_err(|error| format!("no thread for the engine: {error}"))
        })
    }
}

/// A set-up in progress, which takes the slot of a task.
struct PendingSetUp(Option<Arc<Inner>>);

impl PendingSetUp {
    /// Ends it without locking `tasks` again.
    fn end(mut self, tasks: &mut Tasks) {
        if self.0.take().is_some() {
            tasks.pending -= 1;
        }
    }
}

impl Drop for PendingSetUp {
    fn drop(&mut self) {
        if let Some(inner) = self.0.take() {
            inner.lock().pending -= 1;
        }
    }
}

/// Returns the memory data of `taskinfo`.
fn memory_usage(budget: &Budget) -> Memory {
    Memory {
        budget: budget.limit() as u64,
        requests: budget.share(Purpose::Requests) as u64,
        requests_used: budget.used(Purpose::Requests) as u64,
        work: budget.share(Purpose::Work) as u64,
        work_used: budget.used(Purpose::Work) as u64,
    }
}

/// Returns the error -10 for a request that does not fit into memory.
#[must_use]
pub fn request_memory_full(budget: &Budget) -> ErrorField {
    let stock = Code::NOT_AVAILABLE.stock_message().unwrap_or_default();
    let mib = budget.share(Purpose::Requests) >> 20;
    ErrorField::new(
        Code::NOT_AVAILABLE,
        format!(
            "{stock} The {mib} MiB that this unit has for requests are in use; try again later, or start the unit with more --memory."
        ),
    )
}

/// Admits a request to the model's queue and to its task, or replies with an error.
fn admit(task: &Arc<Task>, request_id: &str, peer: &Peer) -> Option<(AdmissionPermit, InferenceGuard)> {
    let refuse = |error| peer.reply(&Reply::error(request_id, task.work_id.clone(), error));
    let permit = task
        .model
        .admission
        .acquire()
        .map_err(|waiting| refuse(queue_full(waiting)))
        .ok()?;
    let guard = task.begin_inference(peer, request_id);
    if guard.is_none() {
        refuse(ErrorField::stock(Code::PUSH));
    }
    Some((permit, guard?))
}

fn queue_full(waiting: usize) -> ErrorField {
    ErrorField::new(
        Code::NOT_AVAILABLE,
        format!("Not available at the moment. {waiting} inferences are waiting already; try again later."),
    )
}

fn task_full() -> SetUpError {
    SetUpError {
        error: ErrorField::stock(Code::TASK_FULL),
        work_id: "llm",
    }
}

fn refusal_reply(request_id: &str, refusal: SetUpError) -> Reply {
    Reply::error(request_id, refusal.work_id, refusal.error)
}

/// An embedding table of these rows, which have the same width.
#[cfg(test)]
struct Table(Vec<Vec<f32>>);

#[cfg(test)]
impl crate::engine::TokenEmbeddings for Table {
    fn hidden_size(&self) -> usize {
        self.0[0].len()
    }

    fn vocab_size(&self) -> usize {
        self.0.len()
    }

    fn row(&self, token: u32, out: &mut [half::bf16]) -> Result<(), crate::engine::EngineError> {
        for (out, value) in out.iter_mut().zip(&self.0[token as usize]) {
            *out = half::bf16::from_f32(*value);
        }
        Ok(())
    }
}
