//! A module in use: connection, task, and what is known of its model. The window's bridge and the shell share it.
//!
//! It awaits, and knows neither window nor files. Every failure is a [`Problem`]: a sentence and what to do next.

pub mod embedded;
mod material;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use softprefix_core::client::{ClientError, ConnectOptions, Module, Task};
use softprefix_core::prefix::{EmbeddingRows, Need, Shelf};
use softprefix_core::protocol::SetUp;
use softprefix_core::protocol::extension::{self, feature};

use self::embedded::Embedded;
use crate::errors::problem_of;
use crate::model::{CaseKey, ConnectStep, Histogram, ModuleFacts, Problem, ProblemKind, Sampling, Vocabulary};

/// Longest wait for a task to end while leaving a module: a module that hangs must not hold up the way out.
const LEAVING: Duration = Duration::from_secs(3);

/// Positions a stranger's task is set up with where its card does not tell its window: what the 20e card holds.
const STOCK_WINDOW: usize = 1023;
/// Positions before the first token on a stock module.
const STOCK_PREFILL: usize = 128;

/// Why a module could not be used.
#[derive(Debug)]
pub enum ConnectProblem {
    /// All places are taken: these tasks are there.
    TaskFull(Vec<String>),
    Other(Problem),
}

impl From<Problem> for ConnectProblem {
    fn from(problem: Problem) -> Self {
        Self::Other(problem)
    }
}

impl From<ClientError> for ConnectProblem {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::TaskFull { ids } => Self::TaskFull(ids),
            error => Self::Other(problem_of(&error)),
        }
    }
}

/// What a task was set up with.
#[derive(Debug, Clone, PartialEq)]
struct TaskSettings {
    model: String,
    system: String,
    sampling: Sampling,
    max_positions: usize,
}

struct Current {
    settings: TaskSettings,
    task: Task,
}

/// A module in use.
pub struct Session {
    module: Module,
    facts: ModuleFacts,
    vocabulary: Option<Arc<Vocabulary>>,
    current: tokio::sync::Mutex<Option<Current>>,
    /// Rows that recipes needed so far: they are built again and again while a slider moves.
    rows: Mutex<HashMap<Need, Arc<EmbeddingRows>>>,
    shelf: Option<Shelf>,
    /// Keeps the unit alive that this session talks to, where it runs in this process.
    _embedded: Option<Embedded>,
}

impl Session {
    /// Connects to `address` and sets up `model` (or the module's own choice) for `case`.
    ///
    /// # Errors
    /// [`ConnectProblem::TaskFull`] where the person must decide; else what went wrong, and a remedy.
    pub async fn open(
        address: &str,
        model: Option<&str>,
        embedded: Option<Embedded>,
        case: &CaseKey,
        limits: ConnectOptions,
        progress: impl Fn(ConnectStep) + Send,
    ) -> Result<Self, ConnectProblem> {
        progress(ConnectStep::Opening);
        let secret = embedded.as_ref().map(Embedded::secret);
        let module = Module::connect(address, ConnectOptions { secret, ..limits }).await?;
        progress(ConnectStep::Asking);
        // The first round trip is the slowest (a stock module delays a small second packet): the second one is told.
        module.ping().await?;
        let latency = module.ping().await?;
        let version = module.version().await?;
        let cards = module.cards().await?;
        let models: Vec<String> = cards
            .iter()
            .filter(|card| card.is_language_model())
            .map(|card| card.name.clone())
            .collect();
        let model = match model {
            Some(model) => model.to_owned(),
            None => own_choice(&models).ok_or_else(|| no_language_model(address))?,
        };
        let card = cards.iter().find(|card| card.name == model);

        progress(ConnectStep::SettingUp);
        let window = card.and_then(|card| card.window).unwrap_or(STOCK_WINDOW);
        let ours = card.is_some_and(|card| card.ours) || cards.iter().any(|card| card.ours);
        let settings = TaskSettings {
            model: model.clone(),
            system: case.system.clone(),
            sampling: case.sampling,
            max_positions: positions(ours, window, case.max_tokens),
        };
        let task = module.set_up(&set_up(&settings)).await?;
        let support = task.support();
        let facts = ModuleFacts {
            address: module.address().to_owned(),
            embedded: embedded.is_some(),
            version,
            model,
            hidden_size: support
                .map(|s| s.hidden_size)
                .or_else(|| card.and_then(|card| card.hidden_size)),
            window: support.map(|s| s.window).or(Some(window)),
            prefill_window: support
                .map(|s| s.prefill_window)
                .or_else(|| card.and_then(|card| card.prefill_window))
                .or(Some(STOCK_PREFILL)),
            latency,
            ours: support.is_some(),
            unit: support.map(|s| s.unit.clone()),
            backend: support.map(|s| s.backend.clone()),
            scores: can_score(&task),
            concurrency: support.map_or(1, |s| s.concurrency.max(1)),
            model_sha256: support.and_then(|s| s.model_sha256.clone()),
            weights: support.map(|s| s.weights.clone()).unwrap_or_default(),
            task: task.work_id().to_owned(),
            models,
        };
        let vocabulary = match support.is_some_and(|s| s.has(feature::VOCABULARY)) {
            true => Some(Arc::new(vocabulary_of(task.vocabulary().await?))),
            false => None,
        };
        Ok(Self {
            module,
            facts,
            vocabulary,
            current: tokio::sync::Mutex::new(Some(Current { settings, task })),
            rows: Mutex::default(),
            shelf: None,
            _embedded: embedded,
        })
    }

    pub fn facts(&self) -> &ModuleFacts {
        &self.facts
    }

    pub fn vocabulary(&self) -> Option<&Arc<Vocabulary>> {
        self.vocabulary.as_ref()
    }

    pub fn module(&self) -> &Module {
        &self.module
    }

    /// The task that runs `case`: the present one, or a new one where system prompt, sampling or limit have changed.
    ///
    /// # Errors
    /// What the set-up said.
    pub async fn task_for(&self, case: &CaseKey) -> Result<Task, Problem> {
        let wanted = TaskSettings {
            model: self.facts.model.clone(),
            system: case.system.clone(),
            sampling: case.sampling,
            max_positions: positions(
                self.facts.ours,
                self.facts.window.unwrap_or(STOCK_WINDOW),
                case.max_tokens,
            ),
        };
        let mut current = self.current.lock().await;
        if let Some(current) = current.as_ref().filter(|current| current.settings == wanted) {
            return Ok(current.task.clone());
        }
        if let Some(old) = current.take() {
            // Where the old task is gone already, all the better.
            let _ = old.task.exit().await;
        }
        let task = self
            .module
            .set_up(&set_up(&wanted))
            .await
            .map_err(|error| problem_of(&error))?;
        *current = Some(Current {
            settings: wanted,
            task: task.clone(),
        });
        Ok(task)
    }

    /// The set-up of tasks that run cases like `case`: a sweep makes its own, beside the window's.
    pub fn set_up_of(&self, case: &CaseKey) -> SetUp {
        set_up(&TaskSettings {
            model: self.facts.model.clone(),
            system: case.system.clone(),
            sampling: case.sampling,
            max_positions: positions(
                self.facts.ours,
                self.facts.window.unwrap_or(STOCK_WINDOW),
                case.max_tokens,
            ),
        })
    }

    /// Forgets the task after a failure that made it useless; the next inference sets up again.
    pub async fn forget_task(&self) {
        if let Some(old) = self.current.lock().await.take() {
            let _ = tokio::time::timeout(LEAVING, old.task.exit()).await;
        }
    }

    /// Token counts of a prompt under a system prompt; `None` where the unit does not count.
    ///
    /// While the system prompt on screen is not the one of the task, its tokens are counted as a text of their own, which
    /// may be off by one or two where words join; the unit itself counts exactly when it runs.
    ///
    /// # Errors
    /// What the module said.
    pub async fn count(&self, system: &str, user: &str) -> Result<Option<extension::Budget>, Problem> {
        let (task, of_task) = {
            let current = self.current.lock().await;
            let Some(current) = current.as_ref() else {
                return Ok(None);
            };
            (current.task.clone(), current.settings.system.clone())
        };
        if !task.support().is_some_and(|support| support.has(feature::BUDGET)) {
            return Ok(None);
        }
        let failed = |error: ClientError| problem_of(&error);
        let mut budget = task.budget(user).await.map_err(failed)?;
        if of_task != system {
            let before = task.budget(&of_task).await.map_err(failed)?.prompt;
            let now = task.budget(system).await.map_err(failed)?.prompt;
            budget.template = (budget.template + now).saturating_sub(before);
        }
        Ok(Some(budget))
    }

    /// Exits the task; a module that hangs is left after a few seconds.
    pub async fn close(&self) {
        let task = match tokio::time::timeout(LEAVING, self.current.lock()).await {
            Ok(mut current) => current.take(),
            Err(_) => None,
        };
        if let Some(current) = task
            && self.module.is_connected()
        {
            let _ = tokio::time::timeout(LEAVING, current.task.exit()).await;
        }
    }
}

/// Positions a task is set up with: a set-up's `max_token_len` counts prefix, prompt and output.
///
/// Our unit limits the output of each inference by itself. A stranger does not, so its positions are the prefill it can
/// take and the output that is wanted: an upper bound of the output, as near as it can be told beforehand.
fn positions(ours: bool, window: usize, max_tokens: usize) -> usize {
    if ours {
        window
    } else {
        window.min(STOCK_PREFILL.saturating_add(max_tokens))
    }
}

fn set_up(settings: &TaskSettings) -> SetUp {
    let positions = u32::try_from(settings.max_positions).unwrap_or(u32::MAX);
    let set_up = SetUp::new(settings.model.as_str(), settings.system.as_str()).max_positions(positions);
    match settings.sampling {
        Sampling::Greedy => set_up.greedy(),
        Sampling::TopK { k, temperature, seed } => set_up.sampling(&softprefix_core::protocol::message::Sampling {
            temperature: Some(temperature),
            top_p: None,
            top_k: Some(k),
            repetition_penalty: None,
            seed: Some(seed),
        }),
    }
}

/// The model to set up where none was named: the one that soft-prefix work on the module is done with, else the first.
fn own_choice(models: &[String]) -> Option<String> {
    const USUAL: &str = "qwen2.5-0.5B-prefill-20e";
    models
        .iter()
        .find(|model| *model == USUAL)
        .or_else(|| models.first())
        .cloned()
}

fn no_language_model(address: &str) -> ConnectProblem {
    ConnectProblem::Other(
        Problem::new(
            ProblemKind::Model,
            format!("{address} lists no language model."),
            "Install one on the module (for example qwen2.5-0.5B-prefill-20e), or name one that it does not list.",
        )
        .in_japanese(
            format!("{address} に言語モデルがありません。"),
            "モジュールに入れるか（例：qwen2.5-0.5B-prefill-20e）、一覧にない名前を指定してください。",
        ),
    )
}

fn vocabulary_of(vocabulary: extension::Vocabulary) -> Vocabulary {
    let p = &vocabulary.percentiles;
    Vocabulary {
        rows: vocabulary.rows,
        hidden_size: vocabulary.hidden_size,
        median: p.p50,
        percentiles: vec![
            (1, p.p1),
            (5, p.p5),
            (25, p.p25),
            (50, p.p50),
            (75, p.p75),
            (95, p.p95),
            (99, p.p99),
        ],
        max: vocabulary.max,
        rms: vocabulary.rms,
        histogram: vocabulary
            .histogram
            .map_or_else(Histogram::default, |histogram| Histogram {
                log10_min: histogram.log10_min,
                log10_max: histogram.log10_max,
                counts: histogram.counts,
            }),
    }
}

/// Whether the unit of a task scores texts.
fn can_score(task: &Task) -> bool {
    task.support().is_some_and(|support| support.has(feature::SCORE))
}
