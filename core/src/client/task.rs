//! A task: one model set up on a module. What can be asked of it, and its turn-taking. How one inference runs is told in `inference`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::Connection;
use super::error::ClientError;
use super::inference::{Inference, InferenceRequest};
use super::module::{Module, gone, typed};
use crate::prefix::EmbeddingRows;
use crate::protocol::extension::{self, Budget, Embedded, SoftPrefixSupport, TextRequest, Vocabulary, feature};
use crate::protocol::message::{action, to_data};
use crate::protocol::{Request, SetUp, TaskInfo};

/// A model set up on a module. Cheap to clone. When the last clone goes without [`Task::exit`], the module is told to end the
/// task, if the connection it was set up on still stands; waiting for that is what `exit` is for.
#[derive(Clone)]
pub struct Task {
    inner: Arc<Inner>,
}

struct Inner {
    module: Module,
    /// The connection of the set-up: after a restart of llm-sys, another task may bear this one's id.
    origin: Arc<Connection>,
    work_id: String,
    info: TaskInfo,
    set_up: SetUp,
    set_up_at: Instant,
    /// Whether each inference asks for a stream, though the set-up did not.
    streams_on_request: bool,
    /// One permit on a stranger's module: a second inference there would give the rest of the first one its own request id.
    turn: Arc<Semaphore>,
    /// Whether an inference has ever been answered; only the first after a set-up gets lost.
    answered: AtomicBool,
    exited: AtomicBool,
}

impl Task {
    pub(super) fn new(
        module: Module,
        origin: Arc<Connection>,
        work_id: String,
        info: TaskInfo,
        set_up: SetUp,
        set_up_at: Instant,
        streams_on_request: bool,
    ) -> Self {
        let turns = if info.soft_prefix.is_some() {
            Semaphore::MAX_PERMITS
        } else {
            1
        };
        let inner = Inner {
            module,
            origin,
            work_id,
            info,
            set_up,
            set_up_at,
            streams_on_request,
            turn: Arc::new(Semaphore::new(turns)),
            answered: AtomicBool::new(false),
            exited: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The id the unit gave it, such as `llm.1000`.
    pub fn work_id(&self) -> &str {
        &self.inner.work_id
    }

    pub fn module(&self) -> &Module {
        &self.inner.module
    }

    /// What the unit says of the task.
    pub fn info(&self) -> &TaskInfo {
        &self.inner.info
    }

    /// What it was set up with.
    pub fn set_up(&self) -> &SetUp {
        &self.inner.set_up
    }

    /// What our unit says of itself; `None` on a stranger's module, which may ignore a prefix without a word.
    pub fn support(&self) -> Option<&SoftPrefixSupport> {
        self.inner.info.soft_prefix.as_ref()
    }

    /// Whether its output comes in frames.
    pub fn is_streaming(&self) -> bool {
        self.inner.streams_on_request || self.inner.set_up.is_streaming()
    }

    /// Whether the module still has this task, with the same model.
    ///
    /// # Errors
    /// [`ClientError::TaskGone`], and as for every request.
    pub async fn check(&self) -> Result<(), ClientError> {
        let info = self.inner.module.task_info(self.work_id()).await?;
        if info.model == self.inner.info.model {
            Ok(())
        } else {
            let detail = format!("its id now belongs to a task with the model {:?}", info.model);
            Err(ClientError::TaskGone {
                work_id: self.work_id().to_owned(),
                detail,
            })
        }
    }

    /// Starts an inference. It runs whether or not its events are taken; dropping it stops it. On a stranger's module it
    /// waits for its turn first.
    ///
    /// Must be called from within a tokio runtime.
    pub fn infer(&self, request: InferenceRequest) -> Inference {
        Inference::start(self.clone(), request)
    }

    /// Stops what is running on the task: it ends early, with its text so far. On our unit those that wait end as well; on a
    /// stock unit they go on, and so does one that had only just arrived. [`Inference::stop`] ends a single one.
    ///
    /// # Errors
    /// As for every request.
    pub async fn pause(&self) -> Result<(), ClientError> {
        let reply = self.inner.module.call(self.work_id(), action::PAUSE, None).await;
        reply.map(drop).map_err(|error| gone(error, self.work_id()))
    }

    /// Ends the task and waits until it has.
    ///
    /// # Errors
    /// As for every request.
    pub async fn exit(&self) -> Result<(), ClientError> {
        self.inner.exited.store(true, Ordering::Relaxed);
        self.inner.module.exit(self.work_id()).await
    }

    /// The embedding rows of a text's tokens. Our unit only.
    ///
    /// # Errors
    /// [`ClientError::Unsupported`], and as for every request.
    pub async fn embed(&self, text: &str) -> Result<EmbeddingRows, ClientError> {
        let request = to_data(&TextRequest { text: text.to_owned() });
        let rows: Embedded = self.ask(feature::EMBED, extension::EMBED, request).await?;
        Ok(rows.rows()?)
    }

    /// The norms of the embedding table's rows. Our unit only.
    ///
    /// # Errors
    /// [`ClientError::Unsupported`], and as for every request.
    pub async fn vocabulary(&self) -> Result<Vocabulary, ClientError> {
        self.ask(
            feature::VOCABULARY,
            extension::VOCABULARY,
            Value::Object(serde_json::Map::new()),
        )
        .await
    }

    /// How many tokens a prompt takes, and what the window holds. Our unit only.
    ///
    /// # Errors
    /// [`ClientError::Unsupported`], and as for every request.
    pub async fn budget(&self, text: &str) -> Result<Budget, ClientError> {
        let request = to_data(&TextRequest { text: text.to_owned() });
        self.ask(feature::BUDGET, extension::BUDGET, request).await
    }

    /// Asks one of our extension's actions, if the unit says that it has it.
    async fn ask<T: DeserializeOwned>(&self, feature: &str, action: &str, data: Value) -> Result<T, ClientError> {
        if !self.support().is_some_and(|support| support.has(feature)) {
            return Err(ClientError::Unsupported {
                work_id: self.work_id().to_owned(),
                feature: feature.to_owned(),
            });
        }
        let reply = self
            .inner
            .module
            .call(self.work_id(), action, Some((action, data)))
            .await;
        typed(action, reply.map_err(|error| gone(error, self.work_id()))?.data)
    }

    /// Waits until an inference may be sent.
    pub(super) async fn turn(&self) -> OwnedSemaphorePermit {
        let permit = Arc::clone(&self.inner.turn).acquire_owned().await;
        #[expect(clippy::expect_used, reason = "the semaphore is never closed")]
        permit.expect("the task's semaphore is open")
    }

    pub(super) fn set_up_at(&self) -> Instant {
        self.inner.set_up_at
    }

    pub(super) fn streams_on_request(&self) -> bool {
        self.inner.streams_on_request
    }

    pub(super) fn was_answered(&self) -> bool {
        self.inner.answered.load(Ordering::Relaxed)
    }

    pub(super) fn note_answer(&self) {
        self.inner.answered.store(true, Ordering::Relaxed);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !*self.exited.get_mut() && !self.origin.is_closed() {
            let request = Request::new(self.origin.new_id(), &self.work_id, action::EXIT);
            // A connection that closes this moment takes no more requests, and then nothing can be done.
            let _ = self.origin.tell(&request);
        }
    }
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Task({} on {})", self.work_id(), self.inner.module.address())
    }
}
