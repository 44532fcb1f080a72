//! A module in use: opening it, counting tokens, building prefixes and running cases, for the window, the shell, sweeps and the
//! doctor.
//!
//! A [`Session`] holds the connection, what is known of the module ([`ModuleFacts`]), one task for the prompts that a person works
//! on, and the embedding rows that recipes needed so far. [`Session::run`] turns a case into a
//! [`Record`](crate::experiment::Record).

mod case;
mod error;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex;

pub use case::{CaseProgress, CaseRequest, FinishedCase};
pub use error::SessionError;

use super::plan::Settings;
pub use super::record::EMBEDDED;
use super::record::ModuleIdentity;
pub use crate::client::Stop;
use crate::client::{ClientError, ConnectOptions, Module, Task};
use crate::prefix::{EmbeddingRows, Need, Neighbour, PrefixError, PrefixRecipe, PrefixStore, SoftPrefix};
use crate::protocol::extension::{EmbedRequest, TokenCounts, Vocabulary, feature};
use crate::protocol::{ModelCard, SetUp};

/// Longest wait for a task to end, so that a hanging module blocks no caller.
const TASK_EXIT_TIMEOUT: Duration = Duration::from_secs(3);
/// Positions of a task whose card does not name its window: those of the 20e card.
const DEFAULT_WINDOW: usize = 1023;
/// Positions before the first output token where neither the card nor the unit names them: those of the 20e card.
const DEFAULT_PREFILL_WINDOW: usize = 128;
/// Capacity of the row cache. A full cache is cleared before the next insertion. While a user types, every keystroke is a new text.
const MAX_CACHED_NEEDS: usize = 64;
/// Number of tokens for each row in [`Session::nearest`].
const NEAREST_TOKENS_PER_ROW: usize = 5;
/// The model to set up where none is named.
const DEFAULT_MODEL: &str = "qwen2.5-0.5B-prefill-20e";
/// [`ModuleIdentity::template`] where our unit puts the template around the prompt.
const OUR_TEMPLATE: &str = "the unit's";
/// [`ModuleIdentity::template`] where a stock unit does.
const STOCK_TEMPLATE: &str = "the stock unit's";
/// Name of our unit in records where it does not say its name.
const UNIT_NAME: &str = "softprefix-unit";

/// What is known of a module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModuleFacts {
    /// Name, model and unit, as records store them.
    pub identity: ModuleIdentity,
    /// `HOST:PORT` of the socket. The embedded module has one, too.
    pub address: String,
    /// Round trip of a ping.
    pub latency: Duration,
    /// Inferences at once; 1 on a stock module.
    pub concurrency: usize,
    /// Whether the unit scores texts by teacher forcing.
    pub scores: bool,
    /// Whether the unit learns prefixes.
    pub learns: bool,
    /// Names of the language models that the module lists.
    pub models: Vec<String>,
}

impl ModuleFacts {
    /// Whether the module runs in this process.
    pub fn is_embedded(&self) -> bool {
        self.identity.is_embedded()
    }

    /// H; `None` where neither the card nor the unit names it.
    pub fn hidden_size(&self) -> Option<usize> {
        Some(self.identity.hidden_size).filter(|hidden_size| *hidden_size > 0)
    }

    /// Whether the unit is ours, by its `taskinfo`. A stock unit runs one inference at a time and may ignore prefixes.
    pub fn is_ours(&self) -> bool {
        self.identity.unit.is_some()
    }
}

/// A step of opening a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectStep {
    /// The embedded unit is being started.
    Starting,
    /// The socket is being opened.
    Opening,
    /// Version, cards and latency are being asked for.
    Asking,
    /// The task is being set up: the module loads its model, up to a minute.
    SettingUp,
}

/// The module to open, and its first task.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// `HOST:PORT`.
    pub address: String,
    /// Name in records instead of the address ([`EMBEDDED`]).
    pub name: Option<String>,
    /// The model to set up; `None` takes the usual one, else the first that the module lists.
    pub model: Option<String>,
    /// System prompt of the first task.
    pub system: String,
    /// Token limits and sampling of the first task.
    pub settings: Settings,
    /// Limits of every wait.
    pub limits: ConnectOptions,
    /// Store of imported prefixes; without one, recipes that need them fail.
    pub prefix_store: Option<PrefixStore>,
}

/// A task and the set-up that was asked for. The client completes it: [`Task::set_up_data`] has what was sent.
struct CurrentTask {
    set_up: SetUp,
    task: Task,
}

/// Positions of the model's tasks.
#[derive(Clone, Copy)]
struct Windows {
    /// Positions of a task whose settings name no number. The unit's own number is no help: it is that of a task, bounded by what its
    /// set-up asked for.
    all: usize,
    /// Longest prompt of a task, of which a stock unit's positions are made.
    prefill: usize,
}

impl Windows {
    fn of(card: Option<&ModelCard>) -> Self {
        Self {
            all: card.and_then(|card| card.window).unwrap_or(DEFAULT_WINDOW),
            prefill: card
                .and_then(|card| card.prefill_window)
                .unwrap_or(DEFAULT_PREFILL_WINDOW),
        }
    }
}

/// A module in use.
pub struct Session {
    module: Module,
    facts: ModuleFacts,
    windows: Windows,
    vocabulary: Option<Arc<Vocabulary>>,
    current_task: Mutex<Option<CurrentTask>>,
    /// Cache of rows: while a slider moves, recipes are built again and again.
    rows: std::sync::Mutex<HashMap<Need, Arc<EmbeddingRows>>>,
    prefix_store: Option<PrefixStore>,
}

impl Session {
    /// Connects and sets up the first task.
    ///
    /// # Errors
    /// [`SessionError::NoLanguageModel`], and those of the client; [`ClientError::TaskFull`] names the tasks that
    /// occupy all places.
    pub async fn open(request: OpenRequest, progress: impl Fn(ConnectStep) + Send) -> Result<Self, SessionError> {
        progress(ConnectStep::Opening);
        let module = Module::connect(&request.address, request.limits).await?;
        progress(ConnectStep::Asking);
        // The first round trip is slower (a stock module delays a small second packet), so the second one is measured.
        module.ping().await?;
        let latency = module.ping().await?;
        let version = module.version().await?;
        let cards = module.cards().await?;
        let models: Vec<String> = cards
            .iter()
            .filter(|card| card.is_language_model())
            .map(|card| card.name.clone())
            .collect();
        let default_model = || models.iter().find(|model| *model == DEFAULT_MODEL).or(models.first());
        let Some(model) = request.model.or_else(|| default_model().cloned()) else {
            return Err(SessionError::NoLanguageModel {
                address: request.address,
            });
        };
        let card = cards.iter().find(|card| card.name == model);

        progress(ConnectStep::SettingUp);
        let is_ours = module.runs_our_unit(&cards).await?;
        let windows = Windows::of(card);
        let set_up = set_up(&model, &request.system, &request.settings, is_ours, windows);
        let task = module.set_up(&set_up).await?;
        let vocabulary = match task.support().is_some_and(|support| support.has(feature::VOCABULARY)) {
            true => Some(Arc::new(task.vocabulary().await?)),
            false => None,
        };
        let identity = ModuleIdentity {
            address: request.name.unwrap_or_else(|| module.address().to_owned()),
            version: Some(version),
            median_norm: vocabulary.as_ref().map(|vocabulary| vocabulary.percentiles.p50),
            ..identity_of(&task, card, windows)
        };
        let support = task.support();
        let facts = ModuleFacts {
            identity,
            address: module.address().to_owned(),
            latency,
            concurrency: support.map_or(1, |support| support.concurrency.max(1)),
            scores: support.is_some_and(|support| support.has(feature::SCORE)),
            learns: support.is_some_and(|support| support.has(feature::LEARN)),
            models,
        };
        Ok(Self {
            module,
            facts,
            vocabulary,
            windows,
            current_task: Mutex::new(Some(CurrentTask { set_up, task })),
            rows: std::sync::Mutex::default(),
            prefix_store: request.prefix_store,
        })
    }

    /// What was learned when the module was opened.
    pub fn facts(&self) -> &ModuleFacts {
        &self.facts
    }

    /// Norms of the model's embedding rows; `None` where the unit does not send them.
    pub fn vocabulary(&self) -> Option<&Arc<Vocabulary>> {
        self.vocabulary.as_ref()
    }

    /// The connection, for requests that belong to no case.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// The store of imported prefixes; `None` where the session was opened without one.
    pub fn prefix_store(&self) -> Option<&PrefixStore> {
        self.prefix_store.as_ref()
    }

    /// Sets up a further task besides the one of [`Session::task_for`]. The caller must call [`Task::exit`].
    ///
    /// # Errors
    /// Those of [`Module::set_up`].
    pub async fn set_up(&self, system: &str, settings: &Settings) -> Result<Task, ClientError> {
        self.module.set_up(&self.set_up_of(system, settings)).await
    }

    fn set_up_of(&self, system: &str, settings: &Settings) -> SetUp {
        let (model, is_ours) = (&self.facts.identity.model, self.facts.is_ours());
        set_up(model, system, settings, is_ours, self.windows)
    }

    /// The task for a system prompt and settings: the current one if it fits, else a new one in its place.
    ///
    /// # Errors
    /// Those of [`Module::set_up`].
    pub async fn task_for(&self, system: &str, settings: &Settings) -> Result<Task, ClientError> {
        let mut current = self.current_task.lock().await;
        self.task_in(&mut current, system, settings).await
    }

    /// [`Session::task_for`], for a caller that has the lock.
    async fn task_in(
        &self,
        current: &mut Option<CurrentTask>,
        system: &str,
        settings: &Settings,
    ) -> Result<Task, ClientError> {
        let set_up = self.set_up_of(system, settings);
        if let Some(current) = current.as_ref().filter(|current| current.set_up == set_up) {
            return Ok(current.task.clone());
        }
        if let Some(old) = current.take() {
            exit(&old.task).await;
        }
        let task = self.module.set_up(&set_up).await?;
        *current = Some(CurrentTask {
            set_up,
            task: task.clone(),
        });
        Ok(task)
    }

    /// Exits the task of [`Session::task_for`], after a failure, or to free its place.
    pub async fn exit_current_task(&self) {
        if let Some(old) = self.current_task.lock().await.take() {
            exit(&old.task).await;
        }
    }

    /// Exits the task. Waits at most 6 s: 3 s for a call that has the task, and 3 s for its end.
    pub async fn close(&self) {
        let taken = match tokio::time::timeout(TASK_EXIT_TIMEOUT, self.current_task.lock()).await {
            Ok(mut current) => current.take(),
            Err(_) => None,
        };
        if let Some(current) = taken.filter(|_| self.module.is_connected()) {
            exit(&current.task).await;
        }
    }

    /// Token counts of a prompt with a system prompt; `None` where the unit does not count, and after [`Session::exit_current_task`] and
    /// [`Session::close`] until the next task is set up.
    ///
    /// If `system` is not that of the task, its tokens are counted as a text of its own, which may differ by one or
    /// two. The unit counts exactly when an inference runs.
    ///
    /// # Errors
    /// Those of [`Task::count_tokens`].
    pub async fn count(&self, system: &str, user: &str) -> Result<Option<TokenCounts>, ClientError> {
        let (task, task_system) = match self.current_task.lock().await.as_ref() {
            Some(current) => (current.task.clone(), current.set_up.prompt.clone()),
            None => return Ok(None),
        };
        if !task.support().is_some_and(|support| support.has(feature::COUNT_TOKENS)) {
            return Ok(None);
        }
        let mut counts = task.count_tokens(user).await?;
        if task_system != system {
            let before = task.count_tokens(&task_system).await?.prompt;
            let now = task.count_tokens(system).await?.prompt;
            counts.template = (counts.template + now).saturating_sub(before);
        }
        Ok(Some(counts))
    }

    /// Builds the prefix of `recipe` for this model. The rows that it needs are requested once and cached.
    ///
    /// # Errors
    /// [`SessionError::NoHiddenSize`], [`SessionError::Unsupported`], and those of [`PrefixRecipe::build_from`].
    pub async fn build(&self, recipe: &PrefixRecipe) -> Result<SoftPrefix, SessionError> {
        self.build_by(None, recipe).await
    }

    /// As [`Session::build`], with rows requested from `task` if there is one: the module may have no room for another
    /// task.
    ///
    /// # Errors
    /// As [`Session::build`].
    pub(in crate::experiment) async fn build_by(
        &self,
        task: Option<&Task>,
        recipe: &PrefixRecipe,
    ) -> Result<SoftPrefix, SessionError> {
        let identity = &self.facts.identity;
        if identity.hidden_size == 0 {
            return Err(SessionError::NoHiddenSize);
        }
        let mut rows = Vec::new();
        for need in recipe.needs() {
            rows.push(self.rows_for(task, need).await?);
        }
        let (recipe, hidden_size, median) = (recipe.clone(), identity.hidden_size, identity.median_norm);
        let work = move || {
            let rows: Vec<&EmbeddingRows> = rows.iter().map(Arc::as_ref).collect();
            recipe.build_from(hidden_size, &rows, median)
        };
        Ok(tokio::task::spawn_blocking(work).await??)
    }

    async fn rows_for(&self, task: Option<&Task>, need: Need) -> Result<Arc<EmbeddingRows>, SessionError> {
        if let Some(rows) = self.rows.lock().unwrap_or_else(PoisonError::into_inner).get(&need) {
            return Ok(Arc::clone(rows));
        }
        let rows = match &need {
            Need::Stored { name, sha256 } => self.stored_rows(name, sha256).await?,
            Need::Text(_) | Need::Sample { .. } => {
                let feature = EmbedRequest::of(&need)?.feature();
                let task = require_feature(self.task_or_current(task).await?, feature)?;
                task.rows_for(&need).await?
            }
        };
        let rows = Arc::new(rows);
        let mut known = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_CACHED_NEEDS {
            known.clear();
        }
        known.insert(need, Arc::clone(&rows));
        Ok(rows)
    }

    async fn stored_rows(&self, name: &str, sha256: &str) -> Result<EmbeddingRows, SessionError> {
        let (name, sha256) = (name.to_owned(), sha256.to_owned());
        let Some(prefix_store) = self.prefix_store.clone() else {
            return Err(PrefixError::StoredMissing { name, sha256 }.into());
        };
        let (digest, hidden_size) = (sha256.clone(), self.facts.hidden_size());
        match tokio::task::spawn_blocking(move || prefix_store.get(&digest, hidden_size)).await? {
            Ok(stored) => Ok(EmbeddingRows::from(&stored)),
            Err(error) => {
                tracing::warn!(%error, "an imported prefix cannot be read");
                Err(error.of_recipe(name, sha256).into())
            }
        }
    }

    /// `task`, else the current one; after [`Session::exit_current_task`] a new one.
    async fn task_or_current(&self, task: Option<&Task>) -> Result<Task, SessionError> {
        if let Some(task) = task {
            return Ok(task.clone());
        }
        // Locked until there is a task: else one that another caller sets up meanwhile would be exited here.
        let mut current = self.current_task.lock().await;
        if let Some(current) = current.as_ref() {
            return Ok(current.task.clone());
        }
        Ok(self.task_in(&mut current, "", &Settings::default()).await?)
    }

    /// The tokens nearest to each row of `prefix`; `None` where the unit does not have that feature.
    ///
    /// # Errors
    /// Those of [`Task::nearest`].
    pub async fn nearest(&self, prefix: &SoftPrefix) -> Result<Option<Vec<Vec<Neighbour>>>, SessionError> {
        match require_feature(self.task_or_current(None).await?, feature::NEAREST) {
            Ok(task) => Ok(Some(task.nearest(prefix, NEAREST_TOKENS_PER_ROW).await?)),
            Err(SessionError::Unsupported { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Returns the task if its unit has `feature`.
fn require_feature(task: Task, feature: &'static str) -> Result<Task, SessionError> {
    if task.support().is_some_and(|support| support.has(feature)) {
        Ok(task)
    } else {
        Err(SessionError::Unsupported {
            feature: feature.into(),
        })
    }
}

/// Ends a task; waits at most [`TASK_EXIT_TIMEOUT`]. A failure is only logged.
pub(super) async fn exit(task: &Task) {
    match tokio::time::timeout(TASK_EXIT_TIMEOUT, task.exit()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a task could not be exited"),
        Err(_) => tracing::debug!("a task did not end in time"),
    }
}

/// The set-up of a task.
///
/// `max_token_len` counts prefix, prompt and output. Our unit has a limit of its own for the output of each inference.
/// A stock unit has none, so its positions are its largest prefill plus the output limit: the output has that much room after any prompt, and
/// can be longer than the limit after a short one.
fn set_up(model: &str, system: &str, settings: &Settings, is_ours: bool, windows: Windows) -> SetUp {
    let output = settings.max_new_tokens.filter(|_| !is_ours);
    let positions = output.map_or(windows.all, |output| {
        windows.all.min(windows.prefill.saturating_add(output))
    });
    let positions = u32::try_from(positions).unwrap_or(u32::MAX);
    let mut set_up = SetUp::new(model, system).max_positions(settings.max_token_len.unwrap_or(positions));
    if let Some(streaming) = settings.streaming {
        set_up = set_up.streaming(streaming);
    }
    set_up.settings.extend(settings.other.clone());
    set_up
}

/// The identity of the module behind `task`, from the unit and the card.
fn identity_of(task: &Task, card: Option<&ModelCard>, windows: Windows) -> ModuleIdentity {
    let support = task.support();
    let non_empty = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ModuleIdentity {
        model: task.set_up_data().model.clone(),
        card: card.map(|card| card.raw.clone()).unwrap_or_default(),
        hidden_size: support
            .map(|support| support.hidden_size)
            .or(card.and_then(|card| card.hidden_size))
            .unwrap_or_default(),
        // By this field a unit is known as ours, so one that does not say its name has one, too.
        unit: support.map(|support| non_empty(&support.unit).unwrap_or_else(|| UNIT_NAME.to_owned())),
        backend: support.and_then(|support| non_empty(&support.backend)),
        model_sha256: support.and_then(|support| support.model_sha256.clone()),
        weights: support.map(|support| support.weights.clone()).unwrap_or_default(),
        template: match support {
            Some(_) => OUR_TEMPLATE,
            None => STOCK_TEMPLATE,
        }
        .to_owned(),
        window: Some(support.map_or(windows.all, |support| support.window)),
        prefill_window: Some(support.map_or(windows.prefill, |support| support.prefill_window)),
        ..ModuleIdentity::default()
    }
}
