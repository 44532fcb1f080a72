//! A task: one model set up on a module, the requests to it, and the order of its inferences.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::abandoned_tasks::{self, TaskIdentity};
use super::connection::Connection;
use super::error::{ClientError, seconds_to_tenths};
use super::inference::{Inference, InferenceRequest};
use super::module::{Module, parse_data, task_gone_error};
use super::score::{ScoreRequest, ScoredText};
use crate::prefix::{EmbeddingRows, Need, Neighbour, SoftPrefix, encode};
use crate::protocol::extension::{
    self, EmbedRequest, Embedded, MAX_NEAREST_ROWS, MAX_SCORE_PREFIXES, Nearest, NearestRequest, ScoreData, Scored,
    SoftPrefixSupport, TextRequest, TokenCounts, Vocabulary, feature,
};
use crate::protocol::message::{action, to_data};
use crate::protocol::{Request, SetUp, TaskInfo};

/// A model set up on a module. Cheap to clone. When the last clone is dropped without [`Task::exit`], the module is
/// asked to end the task, if the connection of the set-up is still open. To wait for the end, call `exit`.
#[derive(Clone)]
pub struct Task {
    inner: Arc<Inner>,
}

struct Inner {
    module: Module,
    /// The connection of the set-up: after a restart of llm-sys, another task may have this one's id.
    origin: Arc<Connection>,
    identity: TaskIdentity,
    info: TaskInfo,
    set_up_data: SetUp,
    created_at: Instant,
    /// Whether each inference requests a stream, though the set-up did not.
    streams_on_request: bool,
    /// Limits concurrent inferences: one on a stock module, where a second one would change the request id of the first one's remaining
    /// frames; unlimited on our unit.
    inference_permits: Arc<Semaphore>,
    /// Whether an inference was ever answered; only the first after a set-up can get lost.
    has_answered_once: AtomicBool,
    exited: AtomicBool,
    /// When the last check with `taskinfo` completed, and whether it was answered.
    last_check: Mutex<Option<(Instant, bool)>>,
}

impl Task {
    pub(super) fn new(
        module: Module,
        origin: Arc<Connection>,
        identity: TaskIdentity,
        info: TaskInfo,
        set_up_data: SetUp,
        created_at: Instant,
        streams_on_request: bool,
    ) -> Self {
        let permits = if info.soft_prefix.is_some() {
            Semaphore::MAX_PERMITS
        } else {
            1
        };
        let inner = Inner {
            module,
            origin,
            identity,
            info,
            set_up_data,
            created_at,
            streams_on_request,
            inference_permits: Arc::new(Semaphore::new(permits)),
            has_answered_once: AtomicBool::new(false),
            exited: AtomicBool::new(false),
            last_check: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The id that llm-sys gave the task, such as `llm.1000`.
    pub fn work_id(&self) -> &str {
        &self.inner.identity.work_id
    }

    /// The module on which the task was set up.
    pub fn module(&self) -> &Module {
        &self.inner.module
    }

    /// The unit's reply to `taskinfo` after the set-up.
    pub fn info(&self) -> &TaskInfo {
        &self.inner.info
    }

    /// The data of the set-up.
    pub fn set_up_data(&self) -> &SetUp {
        &self.inner.set_up_data
    }

    /// The features and limits that our unit reports; `None` on a stock module, which may ignore a prefix silently.
    pub fn support(&self) -> Option<&SoftPrefixSupport> {
        self.inner.info.soft_prefix.as_ref()
    }

    /// Whether the output comes in frames.
    pub fn is_streaming(&self) -> bool {
        self.inner.streams_on_request || self.inner.set_up_data.is_streaming()
    }

    /// Whether the module still has this task: one with its id and model and, where the unit reports a task's inputs, with the input
    /// that only this task's set-up has named (`TaskIdentity::marker_input`).
    ///
    /// # Errors
    /// [`ClientError::TaskGone`], and as for every request.
    pub async fn check(&self) -> Result<(), ClientError> {
        let info = self.inner.module.task_info(self.work_id()).await?;
        let identity = &self.inner.identity;
        if info.model != self.inner.info.model {
            let detail = format!("its id now belongs to a task with the model {:?}", info.model);
            return Err(ClientError::TaskGone {
                work_id: identity.work_id.clone(),
                detail,
            });
        }
        if identity.marker_input.is_some() && !identity.is_described_by(&info) {
            return Err(identity.gone_error());
        }
        Ok(())
    }

    /// As [`Task::check`], once for all callers: calls during a running check wait for its result and send nothing, since llm-sys blocks
    /// all clients for 4 s each time that a dead unit is asked. Errors other than silence come at once, so they are not shared: each
    /// caller then checks for itself.
    ///
    /// `silent_for` is how long the unit has been silent; it only appears in the error.
    ///
    /// # Errors
    /// [`ClientError::UnitSilent`] where there is no answer, and as for [`Task::check`].
    pub(super) async fn check_shared(&self, silent_for: Duration) -> Result<(), ClientError> {
        let called_at = Instant::now();
        let mut last_check = self.inner.last_check.lock().await;
        let answered = match *last_check {
            Some((at, answered)) if at >= called_at => answered,
            _ => {
                let answered = match self.check().await {
                    Ok(()) => true,
                    Err(ClientError::NoAnswer { .. }) => false,
                    Err(other) => return Err(other),
                };
                *last_check = Some((Instant::now(), answered));
                answered
            }
        };
        if answered {
            return Ok(());
        }
        Err(ClientError::UnitSilent {
            work_id: self.work_id().to_owned(),
            seconds: seconds_to_tenths(silent_for),
        })
    }

    /// Checks the task every `interval` until a check fails, and returns its error.
    pub(super) async fn wait_until_gone(&self, interval: Duration) -> ClientError {
        let started = Instant::now();
        loop {
            tokio::time::sleep(interval).await;
            if let Err(error) = self.check_shared(started.elapsed()).await {
                return error;
            }
        }
    }

    /// Starts an inference. It runs whether or not its events are read; dropping it stops it. On a stock module it
    /// waits for the end of the one before.
    ///
    /// Must be called from within a tokio runtime.
    pub fn infer(&self, request: InferenceRequest) -> Inference {
        Inference::start(self.clone(), request)
    }

    /// Stops the running inferences of the task, which end with their text so far. On our unit waiting ones end as
    /// well; on a stock unit those go on, and so does one that has just arrived. [`Inference::stop`] ends a single one.
    ///
    /// # Errors
    /// Those of every request; see [`Module::ping`].
    pub async fn pause(&self) -> Result<(), ClientError> {
        let reply = self.inner.module.call(self.work_id(), action::PAUSE, None).await;
        reply.map(drop).map_err(|error| task_gone_error(error, self.work_id()))
    }

    /// Ends the task on the module, for every clone of this handle, and waits for the reply. Over another connection than that of the
    /// set-up, the task is ended only if `taskinfo` shows that it is this one.
    ///
    /// # Errors
    /// Those of every request; see [`Module::ping`].
    pub async fn exit(&self) -> Result<(), ClientError> {
        // Both calls put the task on the list of abandoned ones before they send a request, so that nothing is left to do for `Drop`.
        self.inner.exited.store(true, Ordering::Relaxed);
        let (module, identity) = (&self.inner.module, &self.inner.identity);
        if Arc::ptr_eq(&module.connection(), &self.inner.origin) {
            module.exit_own(identity).await
        } else {
            module.exit_if_own(identity).await
        }
    }

    /// The embedding rows of a text's tokens. Our unit only.
    ///
    /// # Errors
    /// [`ClientError::Unsupported`], and those of every request.
    pub async fn embed(&self, text: &str) -> Result<EmbeddingRows, ClientError> {
        self.request_rows(&EmbedRequest::Text { text: text.to_owned() }).await
    }

    /// The rows for a recipe's [`Need`] ([`crate::prefix::PrefixRecipe::needs`]). Our unit only.
    ///
    /// # Errors
    /// [`PrefixError::StoredMissing`](crate::prefix::PrefixError::StoredMissing) for imported rows, which no unit has;
    /// [`ClientError::Unsupported`], and those of every request.
    pub async fn rows_for(&self, need: &Need) -> Result<EmbeddingRows, ClientError> {
        self.request_rows(&EmbedRequest::of(need)?).await
    }

    async fn request_rows(&self, request: &EmbedRequest) -> Result<EmbeddingRows, ClientError> {
        let embedded: Embedded = self
            .call_feature(request.feature(), extension::EMBED, to_data(request))
            .await?;
        Ok(embedded.rows()?)
    }

    /// For each row of `rows`, the `k` tokens with the largest cosine to it, the largest first; none for a row of
    /// zeros. Our unit only.
    ///
    /// # Errors
    /// [`ClientError::Unsupported`], and those of every request.
    pub async fn nearest(&self, rows: &SoftPrefix, k: usize) -> Result<Vec<Vec<Neighbour>>, ClientError> {
        let limit = self.module().options().deadline;
        let mut found = Vec::with_capacity(rows.len());
        for part in rows.values().chunks(MAX_NEAREST_ROWS * rows.hidden_size()) {
            let part = SoftPrefix::from_bf16(rows.hidden_size(), part.to_vec())?;
            let len = part.len();
            let request = NearestRequest { rows: encode(&part), k };
            let nearest: Nearest = self
                .call_feature_within(limit, feature::NEAREST, extension::NEAREST, to_data(&request))
                .await?;
            if nearest.rows.len() != len {
                return Err(ClientError::Unreadable {
                    action: extension::NEAREST.to_owned(),
                    detail: "it does not cover every row".to_owned(),
                });
            }
            found.extend(nearest.rows);
        }
        Ok(found)
    }

    /// Scores a text by teacher forcing, without and with prefixes: see [`ScoreRequest`]. Prefixes beyond the limit of
    /// one request are sent in further ones. Dropping the future stops the unit's work. Our unit only.
    ///
    /// # Errors
    /// [`ClientError::Unsupported`], and those of every request.
    pub async fn score(&self, request: ScoreRequest) -> Result<Scored, ClientError> {
        let mut parts = request.prefixes.chunks(MAX_SCORE_PREFIXES);
        // Without prefixes, one request scores the reference alone.
        let mut scored = self.score_part(&request, parts.next().unwrap_or_default()).await?;
        for part in parts {
            scored.prefixed.extend(self.score_part(&request, part).await?.prefixed);
        }
        Ok(scored)
    }

    async fn score_part(&self, request: &ScoreRequest, prefixes: &[SoftPrefix]) -> Result<Scored, ClientError> {
        let (text, tokens) = match &request.text {
            ScoredText::Text(text) => (Some(text.clone()), None),
            ScoredText::Tokens(tokens) => (None, Some(tokens.clone())),
        };
        let data = to_data(&ScoreData {
            prompt: request.prompt.clone(),
            text,
            tokens,
            reference_prefix: request.reference_prefix.as_ref().map(encode),
            soft_prefixes: prefixes.iter().map(encode).collect(),
            top: request.top,
        });
        let limit = self.module().options().deadline;
        let scored: Scored = self
            .call_feature_within(limit, feature::SCORE, extension::SCORE, data)
            .await?;
        let length = scored.tokens.len();
        let has_all_tokens = |scores: &extension::TokenScores| scores.logprobs.len() == length;
        let is_complete = has_all_tokens(&scored.reference)
            && scored.prefixed.len() == prefixes.len()
            && scored
                .prefixed
                .iter()
                .all(|one| has_all_tokens(&one.scores) && one.kl.len() == length && one.same_top.len() == length);
        if is_complete {
            Ok(scored)
        } else {
            Err(ClientError::Unreadable {
                action: extension::SCORE.to_owned(),
                detail: "it does not cover every token and every prefix".to_owned(),
            })
        }
    }

    /// Statistics of the norms of the embedding table's rows. Our unit only.
    ///
    /// # Errors
    /// [`ClientError::Unsupported`], and those of every request.
    pub async fn vocabulary(&self) -> Result<Vocabulary, ClientError> {
        self.call_feature(
            feature::VOCABULARY,
            extension::VOCABULARY,
            Value::Object(serde_json::Map::new()),
        )
        .await
    }

    /// How many tokens a prompt takes, and what the window holds. Our unit only.
    ///
    /// # Errors
    /// [`ClientError::Unsupported`], and those of every request.
    pub async fn count_tokens(&self, text: &str) -> Result<TokenCounts, ClientError> {
        let request = to_data(&TextRequest { text: text.to_owned() });
        self.call_feature(feature::COUNT_TOKENS, extension::COUNT_TOKENS, request)
            .await
    }

    /// Calls an action of our extension, if the unit has the feature.
    async fn call_feature<T: DeserializeOwned>(
        &self,
        feature: &str,
        action: &str,
        data: Value,
    ) -> Result<T, ClientError> {
        let limit = self.module().options().request;
        self.call_feature_within(limit, feature, action, data).await
    }

    /// As [`Task::call_feature`], with another limit: scoring, and comparing rows with the whole vocabulary, may take as long as an
    /// inference.
    async fn call_feature_within<T: DeserializeOwned>(
        &self,
        limit: Duration,
        feature: &str,
        action: &str,
        data: Value,
    ) -> Result<T, ClientError> {
        if !self.support().is_some_and(|support| support.has(feature)) {
            return self.unsupported(feature);
        }
        let reply = tokio::select! {
            biased;
            reply = self.inner.module.call_within(limit, self.work_id(), action, Some((action, data))) => reply,
            error = self.wait_until_gone(self.module().options().idle) => Err(error),
        };
        parse_data(
            action,
            reply.map_err(|error| task_gone_error(error, self.work_id()))?.data,
        )
    }

    fn unsupported<T>(&self, feature: &str) -> Result<T, ClientError> {
        Err(ClientError::Unsupported {
            work_id: self.work_id().to_owned(),
            feature: feature.to_owned(),
        })
    }

    /// Waits until an inference may be sent. The caller must hold the permit until its last reply.
    pub(super) async fn acquire_inference_permit(&self) -> OwnedSemaphorePermit {
        let permit = Arc::clone(&self.inner.inference_permits).acquire_owned().await;
        #[expect(clippy::expect_used, reason = "the semaphore is never closed")]
        permit.expect("the task's semaphore is open")
    }

    pub(super) fn created_at(&self) -> Instant {
        self.inner.created_at
    }

    pub(super) fn streams_on_request(&self) -> bool {
        self.inner.streams_on_request
    }

    pub(super) fn has_answered_once(&self) -> bool {
        self.inner.has_answered_once.load(Ordering::Relaxed)
    }

    pub(super) fn set_has_answered_once(&self) {
        self.inner.has_answered_once.store(true, Ordering::Relaxed);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if *self.exited.get_mut() {
            return;
        }
        let request = Request::new(self.origin.new_id(), &self.identity.work_id, action::EXIT);
        if self.origin.is_closed() || self.origin.send(&request).is_err() {
            abandoned_tasks::remember(self.module.address(), &self.identity);
        }
    }
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Task({} on {})", self.work_id(), self.inner.module.address())
    }
}
