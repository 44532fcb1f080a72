//! A loaded model, shared by its tasks: the scheduler with its engine, a thread that prepares prompts, and a thread that answers slow
//! queries.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};

use serde_json::{Map, Value};
use softprefix_core::protocol::extension::Vocabulary;
use softprefix_core::protocol::{Code, ErrorField};

use super::pending_reply::PendingReply;
use crate::budget::Budget;
use crate::engine::EngineInfo;
use crate::model::LoadedModel;
use crate::scheduler::{AdmissionLimit, Scheduler};
use crate::tokenizer::{ChatTemplate, Tokenizer};

/// Maximum number of queries that wait per thread.
const MAX_WAITING_QUERIES: usize = 256;

type Work = Box<dyn FnOnce(&SharedModel) + Send>;

/// A thread that runs closures on a model in order, with the number of waiting queries.
struct ModelThread {
    sender: mpsc::Sender<(Arc<SharedModel>, Work)>,
    waiting: Arc<AtomicUsize>,
}

impl ModelThread {
    fn start(name: &str) -> std::io::Result<Self> {
        let (sender, work) = mpsc::channel::<(Arc<SharedModel>, Work)>();
        std::thread::Builder::new().name(name.into()).spawn(move || {
            // The loop ends when the model, which owns the only sender, is dropped.
            for (model, work) in work {
                // A panic in one closure must not end the thread. Dropped requests send their own error replies.
                if catch_unwind(AssertUnwindSafe(|| work(&model))).is_err() {
                    tracing::error!("work on a model failed unexpectedly");
                }
            }
        })?;
        Ok(Self {
            sender,
            waiting: Arc::default(),
        })
    }

    fn spawn(&self, model: &Arc<SharedModel>, work: impl FnOnce(&SharedModel) + Send + 'static) {
        // Sending fails only if the thread has panicked. Dropping the closure then drops the requests in it, which send error
        // replies.
        if self.sender.send((Arc::clone(model), Box::new(work))).is_err() {
            tracing::error!("a thread that works on a model has ended");
        }
    }

    /// Like [`spawn`](Self::spawn), but fails the reply if too many queries wait. A query counts until it starts, so that a client that has
    /// its answer can always send the next query.
    fn spawn_query(
        &self,
        model: &Arc<SharedModel>,
        reply: PendingReply,
        work: impl FnOnce(&SharedModel, PendingReply) + Send + 'static,
    ) {
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= MAX_WAITING_QUERIES {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            return reply.fail(queries_full());
        }
        let waiting = Arc::clone(&self.waiting);
        self.spawn(model, move |model| {
            waiting.fetch_sub(1, Ordering::AcqRel);
            work(model, reply);
        });
    }
}

/// A loaded model with its threads.
pub struct SharedModel {
    pub scheduler: Scheduler,
    pub tokenizer: Arc<Tokenizer>,
    pub template: ChatTemplate,
    pub stop_tokens: Arc<[u32]>,
    pub settings: Map<String, Value>,
    pub digest: Option<String>,
    pub admission: AdmissionLimit,
    /// Computed by the first query.
    pub vocabulary: OnceLock<Vocabulary>,
    /// Tokenizes texts, so that neither clients nor running inferences wait for a long text.
    prepare_thread: ModelThread,
    /// Answers queries that take seconds, so that prompts do not wait for them.
    query_thread: ModelThread,
}

impl SharedModel {
    /// Starts the threads of a loaded model.
    ///
    /// # Errors
    /// Fails if a thread cannot be spawned.
    pub fn start(
        loaded: LoadedModel,
        waiting: usize,
        max_inferences: usize,
        memory: Budget,
    ) -> std::io::Result<Arc<Self>> {
        let prepare_thread = ModelThread::start("softprefix-prepare")?;
        let query_thread = ModelThread::start("softprefix-query")?;
        let scheduler = Scheduler::start(loaded.engine, max_inferences, memory)?;
        Ok(Arc::new(Self {
            scheduler,
            tokenizer: loaded.tokenizer,
            template: loaded.template,
            stop_tokens: loaded.stop_tokens.into(),
            settings: loaded.settings,
            digest: loaded.digest,
            admission: AdmissionLimit::new(waiting),
            vocabulary: OnceLock::new(),
            prepare_thread,
            query_thread,
        }))
    }

    #[must_use]
    pub fn info(&self) -> &EngineInfo {
        self.scheduler.info()
    }

    /// Runs `work` on the thread that prepares prompts, after everything spawned before, and returns at once. The caller limits how much
    /// waits there: inferences by their [`AdmissionPermit`](crate::scheduler::AdmissionPermit), queries by
    /// [`spawn_query`](Self::spawn_query).
    pub fn spawn(self: &Arc<Self>, work: impl FnOnce(&SharedModel) + Send + 'static) {
        self.prepare_thread.spawn(self, work);
    }

    /// Like [`spawn`](Self::spawn), for queries. If too many wait, an error is sent as the reply.
    pub fn spawn_query(
        self: &Arc<Self>,
        reply: PendingReply,
        work: impl FnOnce(&SharedModel, PendingReply) + Send + 'static,
    ) {
        self.prepare_thread.spawn_query(self, reply, work);
    }

    /// Like [`spawn_query`](Self::spawn_query), on a thread of its own for queries that take seconds. Prompts do not wait for them.
    pub fn spawn_long_query(
        self: &Arc<Self>,
        reply: PendingReply,
        work: impl FnOnce(&SharedModel, PendingReply) + Send + 'static,
    ) {
        self.query_thread.spawn_query(self, reply, work);
    }

    /// Wakes the scheduler after an inference was stopped or a client disconnected.
    pub fn wake(&self) {
        self.scheduler.wake();
    }
}

fn queries_full() -> ErrorField {
    ErrorField::new(
        Code::NOT_AVAILABLE,
        "Not available at the moment. Too many queries are waiting; try again later.",
    )
}
