//! A loaded model as the tasks that name it share it: one engine, one scheduler, one thread that prepares prompts, one
//! that answers long questions.
//!
//! It knows no task and no request.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};

use serde_json::{Map, Value};
use softprefix_core::protocol::extension::Vocabulary;

use crate::budget::Budget;
use crate::engine::EngineInfo;
use crate::model::LoadedModel;
use crate::scheduler::{Scheduler, WaitingRoom};
use crate::tokenizer::{ChatTemplate, Tokenizer};

/// Questions about a model that may wait at once.
const WAITING_QUESTIONS: usize = 256;

type Work = Box<dyn FnOnce(&SharedModel) + Send>;

/// A thread that does work on a model in the order in which it came, and how many questions wait for it.
struct Worker {
    sender: mpsc::Sender<(Arc<SharedModel>, Work)>,
    waiting: Arc<AtomicUsize>,
}

impl Worker {
    fn start(name: &str) -> std::io::Result<Self> {
        let (sender, work) = mpsc::channel::<(Arc<SharedModel>, Work)>();
        std::thread::Builder::new().name(name.into()).spawn(move || {
            // Ends when the model, and with it the only sender, is gone.
            for (model, work) in work {
                // A panic over one text must not take the thread from all others; what was dropped answers for itself.
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

    fn run(&self, model: &Arc<SharedModel>, work: impl FnOnce(&SharedModel) + Send + 'static) {
        // The receiver lives as long as any sender: a failure here would mean that its thread panicked, and then dropping
        // the work drops what it holds, replies included.
        if self.sender.send((Arc::clone(model), Box::new(work))).is_err() {
            tracing::error!("a thread that works on a model has ended");
        }
    }

    /// As [`run`](Self::run); `false` where too many wait. A question waits no longer once it is being answered, so that
    /// whoever has an answer can always ask the next.
    fn ask(&self, model: &Arc<SharedModel>, work: impl FnOnce(&SharedModel) + Send + 'static) -> bool {
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= WAITING_QUESTIONS {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            return false;
        }
        let waiting = Arc::clone(&self.waiting);
        self.run(model, move |model| {
            waiting.fetch_sub(1, Ordering::AcqRel);
            work(model);
        });
        true
    }
}

/// A model at work.
pub struct SharedModel {
    pub scheduler: Scheduler,
    pub tokenizer: Arc<Tokenizer>,
    pub template: ChatTemplate,
    pub stop_tokens: Arc<[u32]>,
    pub settings: Map<String, Value>,
    pub digest: Option<String>,
    pub room: WaitingRoom,
    /// Computed at the first question.
    pub vocabulary: OnceLock<Vocabulary>,
    /// Cuts texts into tokens, so that no caller and no running inference waits for a long text.
    preparer: Worker,
    /// Answers what takes seconds, so that no prompt waits for it.
    researcher: Worker,
}

impl SharedModel {
    /// Puts a loaded model to work.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start(
        loaded: LoadedModel,
        waiting: usize,
        max_inferences: usize,
        memory: Budget,
    ) -> std::io::Result<Arc<Self>> {
        let preparer = Worker::start("softprefix-prepare")?;
        let researcher = Worker::start("softprefix-question")?;
        let scheduler = Scheduler::start(loaded.engine, max_inferences, memory)?;
        Ok(Arc::new(Self {
            scheduler,
            tokenizer: loaded.tokenizer,
            template: loaded.template,
            stop_tokens: loaded.stop_tokens.into(),
            settings: loaded.settings,
            digest: loaded.digest,
            room: WaitingRoom::new(waiting),
            vocabulary: OnceLock::new(),
            preparer,
            researcher,
        }))
    }

    #[must_use]
    pub fn info(&self) -> &EngineInfo {
        self.scheduler.info()
    }

    /// Runs `work` on the preparing thread, in order. What waits there is bounded by whoever calls: inferences by their
    /// [`Place`](crate::scheduler::Place), questions by [`ask`](Self::ask).
    pub fn prepare(self: &Arc<Self>, work: impl FnOnce(&SharedModel) + Send + 'static) {
        self.preparer.run(self, work);
    }

    /// As [`prepare`](Self::prepare), for questions; `false` where too many wait.
    pub fn ask(self: &Arc<Self>, work: impl FnOnce(&SharedModel) + Send + 'static) -> bool {
        self.preparer.ask(self, work)
    }

    /// As [`ask`](Self::ask), for questions that take seconds: prompts do not wait for them.
    pub fn ask_long(self: &Arc<Self>, work: impl FnOnce(&SharedModel) + Send + 'static) -> bool {
        self.researcher.ask(self, work)
    }

    /// Says that somebody who waits was stopped or has left.
    pub fn look_again(&self) {
        self.scheduler.look_again();
    }
}
