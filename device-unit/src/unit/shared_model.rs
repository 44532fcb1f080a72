//! A loaded model as the tasks that name it share it: one engine, one scheduler, one thread that prepares prompts.
//!
//! It knows no task and no request.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};

use serde_json::{Map, Value};
use softprefix_core::protocol::extension::Vocabulary;

use crate::engine::EngineInfo;
use crate::model::LoadedModel;
use crate::scheduler::{Scheduler, WaitingLimits, WaitingRoom};
use crate::tokenizer::{ChatTemplate, Tokenizer};

/// Questions about a model that may wait at once.
const WAITING_QUESTIONS: usize = 256;
/// Long questions about a model that are answered at once.
const LONG_QUESTIONS: usize = 2;

type Work = Box<dyn FnOnce(&SharedModel) + Send>;

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
    /// To the thread that cuts texts into tokens, so that no caller and no running inference waits for a long text.
    preparer: mpsc::Sender<(Arc<SharedModel>, Work)>,
    questions: Arc<AtomicUsize>,
    long_questions: Arc<AtomicUsize>,
}

impl SharedModel {
    /// Puts a loaded model to work.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start(loaded: LoadedModel, limits: WaitingLimits, max_inferences: usize) -> std::io::Result<Arc<Self>> {
        let (preparer, work) = mpsc::channel::<(Arc<SharedModel>, Work)>();
        std::thread::Builder::new()
            .name("softprefix-prepare".into())
            .spawn(move || {
                // Ends when the model, and with it the only sender, is gone.
                for (model, work) in work {
                    // A panic over one text must not take the thread from all others; what was dropped answers for itself.
                    if catch_unwind(AssertUnwindSafe(|| work(&model))).is_err() {
                        tracing::error!("preparing a prompt failed unexpectedly");
                    }
                }
            })?;
        let scheduler = Scheduler::start(loaded.engine, max_inferences)?;
        Ok(Arc::new(Self {
            scheduler,
            tokenizer: loaded.tokenizer,
            template: loaded.template,
            stop_tokens: loaded.stop_tokens.into(),
            settings: loaded.settings,
            digest: loaded.digest,
            room: WaitingRoom::new(limits),
            vocabulary: OnceLock::new(),
            preparer,
            questions: Arc::default(),
            long_questions: Arc::default(),
        }))
    }

    #[must_use]
    pub fn info(&self) -> &EngineInfo {
        self.scheduler.info()
    }

    /// Runs `work` on the preparing thread, in order. What waits there is bounded by whoever calls: inferences by their
    /// [`Place`](crate::scheduler::Place), questions by [`ask`](Self::ask).
    pub fn prepare(self: &Arc<Self>, work: impl FnOnce(&SharedModel) + Send + 'static) {
        // The receiver lives as long as any sender: a failure here would mean that its thread panicked, and then dropping
        // the work drops what it holds, replies included.
        if self.preparer.send((Arc::clone(self), Box::new(work))).is_err() {
            tracing::error!("the preparing thread has ended");
        }
    }

    /// As [`prepare`](Self::prepare), for questions; `false` where too many wait.
    pub fn ask(self: &Arc<Self>, work: impl FnOnce(&SharedModel) + Send + 'static) -> bool {
        if self.questions.fetch_add(1, Ordering::AcqRel) >= WAITING_QUESTIONS {
            self.questions.fetch_sub(1, Ordering::AcqRel);
            return false;
        }
        let questions = Arc::clone(&self.questions);
        self.prepare(move |model| {
            work(model);
            questions.fetch_sub(1, Ordering::AcqRel);
        });
        true
    }

    /// As [`ask`](Self::ask), for questions that take seconds: each has a thread of its own, so that prompts do not wait for it.
    pub fn ask_long(self: &Arc<Self>, work: impl FnOnce(&SharedModel) + Send + 'static) -> bool {
        if self.long_questions.fetch_add(1, Ordering::AcqRel) >= LONG_QUESTIONS {
            self.long_questions.fetch_sub(1, Ordering::AcqRel);
            return false;
        }
        let (model, questions) = (Arc::clone(self), Arc::clone(&self.long_questions));
        let started = std::thread::Builder::new()
            .name("softprefix-question".into())
            .spawn(move || {
                work(&model);
                questions.fetch_sub(1, Ordering::AcqRel);
            });
        if started.is_err() {
            self.long_questions.fetch_sub(1, Ordering::AcqRel);
        }
        started.is_ok()
    }

    /// Says that somebody who waits was stopped or has left.
    pub fn look_again(&self) {
        self.scheduler.look_again();
    }
}
