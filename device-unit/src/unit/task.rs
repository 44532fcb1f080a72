//! A task: its settings, and its inferences in progress.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use softprefix_core::protocol::message::TaskInfo;

use super::peer::{Peer, ReplySink};
use super::setup::{MAX_INPUTS, SetUpRequest};
use super::shared_model::SharedModel;
use super::texts::RecentTexts;
use crate::engine::sampling::Sampling;
use crate::scheduler::StopFlag;

/// A task that has been set up.
pub struct Task {
    /// The id, such as `llm.1000`.
    pub work_id: String,
    pub setup: SetUpRequest,
    /// `max_token_len`: the maximum number of positions of prefix, prompt and output.
    pub max_positions: usize,
    pub sampling: Sampling,
    pub model: Arc<SharedModel>,
    /// Recent outputs, from which tokens are drafted; `None` without drafts.
    pub texts: Option<RecentTexts>,
    /// Where results are published, in addition to the client.
    pub outlet: Option<Arc<dyn ReplySink>>,
    /// Number of tokens of the template without a user's text; counted once.
    pub template_tokens: OnceLock<usize>,
    /// The sources of the set-up, and those linked later.
    inputs: Mutex<Vec<String>>,
    /// The client that set the task up.
    owner: Arc<str>,
    live: Mutex<Inferences>,
}

#[derive(Default)]
struct Inferences {
    next: u64,
    inferences: Vec<RunningInference>,
    closing: bool,
    /// Called when the last inference has ended: one for each connection that ends the task.
    when_idle: Vec<Box<dyn FnOnce() + Send>>,
}

/// An inference, a scoring or a learning in progress.
struct RunningInference {
    number: u64,
    client: Arc<str>,
    request_id: String,
    stop: StopFlag,
    /// Whether the engine has started it; until then it waits in a queue, where `pause` does not stop it.
    running: Arc<AtomicBool>,
}

/// Registers an inference, a scoring or a learning with its task until it is dropped. The task does not end before that.
pub struct InferenceGuard {
    task: Arc<Task>,
    number: u64,
    pub stop: StopFlag,
    running: Arc<AtomicBool>,
}

impl Task {
    pub fn new(
        work_id: String,
        setup: SetUpRequest,
        max_positions: usize,
        sampling: Sampling,
        model: Arc<SharedModel>,
        outlet: Option<Arc<dyn ReplySink>>,
        owner: Arc<str>,
    ) -> Self {
        let inputs = Mutex::new(setup.inputs.clone());
        Self {
            work_id,
            setup,
            inputs,
            max_positions,
            sampling,
            model,
            texts: None,
            outlet,
            template_tokens: OnceLock::new(),
            owner,
            live: Mutex::default(),
        }
    }

    /// Sets the recent outputs that tokens are drafted from.
    #[must_use]
    pub fn with_texts(mut self, texts: Option<RecentTexts>) -> Self {
        self.texts = texts;
        self
    }

    /// Returns `true` if clients can send inferences (an input of the set-up contains `llm`). `link` and `unlink` do not
    /// change it: they concern other units.
    #[must_use]
    pub fn accepts_clients(&self) -> bool {
        self.setup.inputs.iter().any(|input| input.contains("llm"))
    }

    /// Returns the data of `taskinfo`, without the unit's extensions.
    #[must_use]
    pub fn info(&self) -> TaskInfo {
        TaskInfo {
            enoutput: self.setup.enoutput,
            inputs: self.inputs().clone(),
            model: self.setup.model.clone(),
            response_format: self.setup.response_format.clone(),
            soft_prefix: None,
        }
    }

    fn inputs(&self) -> MutexGuard<'_, Vec<String>> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns `true` if another source can be linked.
    #[must_use]
    pub fn has_room_for_inputs(&self) -> bool {
        self.inputs().len() < MAX_INPUTS
    }

    /// Returns `true` if the client set the task up, or waits for an answer.
    #[must_use]
    pub fn involves(&self, client: &str) -> bool {
        *self.owner == *client
            || self
                .lock()
                .inferences
                .iter()
                .any(|inference| *inference.client == *client)
    }

    pub fn add_input(&self, source: &str) {
        let mut inputs = self.inputs();
        if !inputs.iter().any(|input| input == source) {
            inputs.push(source.to_owned());
        }
    }

    pub fn remove_input(&self, source: &str) {
        self.inputs().retain(|input| input != source);
    }

    /// Registers an inference. Returns `None` if the task is ending.
    pub fn begin_inference(self: &Arc<Self>, peer: &Peer, request_id: &str) -> Option<InferenceGuard> {
        let mut live = self.lock();
        if live.closing {
            return None;
        }
        live.next += 1;
        let number = live.next;
        let (stop, running) = (StopFlag::default(), Arc::new(AtomicBool::new(false)));
        live.inferences.push(RunningInference {
            number,
            client: Arc::clone(peer.name()),
            request_id: request_id.to_owned(),
            stop: stop.clone(),
            running: Arc::clone(&running),
        });
        drop(live);
        Some(InferenceGuard {
            task: Arc::clone(self),
            number,
            stop,
            running,
        })
    }

    /// Stops the running inferences; queued ones are not affected.
    pub fn pause(&self) {
        for inference in &self.lock().inferences {
            if inference.running.load(Ordering::Acquire) {
                inference.stop.set();
            }
        }
    }

    /// Stops the inferences that this client sent with this request id.
    pub fn stop(&self, client: &str, request_id: &str) {
        for inference in &self.lock().inferences {
            if &*inference.client == client && inference.request_id == request_id {
                inference.stop.set();
            }
        }
        self.model.wake();
    }

    /// Ends the task: stops all inferences, and calls `when_idle` after the last reply of the last one.
    pub fn close(&self, when_idle: impl FnOnce() + Send + 'static) {
        let mut live = self.lock();
        live.closing = true;
        for inference in &live.inferences {
            inference.stop.set();
        }
        if live.inferences.is_empty() {
            drop(live);
            when_idle();
        } else {
            live.when_idle.push(Box::new(when_idle));
            drop(live);
            self.model.wake();
        }
    }

    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.lock().closing
    }

    fn lock(&self) -> MutexGuard<'_, Inferences> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InferenceGuard {
    #[must_use]
    pub fn task(&self) -> &Arc<Task> {
        &self.task
    }

    /// Marks the inference as running, so that a pause stops it.
    pub fn started(&self) {
        self.running.store(true, Ordering::Release);
    }
}

impl Drop for InferenceGuard {
    fn drop(&mut self) {
        let mut live = self.task.lock();
        live.inferences.retain(|inference| inference.number != self.number);
        let when_idle = if live.inferences.is_empty() {
            std::mem::take(&mut live.when_idle)
        } else {
            Vec::new()
        };
        drop(live);
        when_idle.into_iter().for_each(|call| call());
    }
}
