//! One inference, from the request to the last reply: limits, stopping, and recovery from a module that loses or breaks it off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::connection::{Connection, Kind, Ticket};
use super::error::{ClientError, seconds_to_tenths};
use super::module::{ConnectOptions, refused, task_gone_error};
use super::stop::Stop;
use super::task::Task;
use crate::prefix::{PrefixError, SoftPrefix, encode};
use crate::protocol::extension::{
    self, FinishReason, InferenceOptions, Priority, SoftPrefixEcho, StopRequest, Usage, feature,
};
use crate::protocol::message::{action, object, to_data};
use crate::protocol::{DeltaJoiner, Reply, Request, StreamData, StreamInput};

/// An inference to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct InferenceRequest {
    /// The user's text; the unit puts the chat template around it.
    pub prompt: String,
    /// Rows for the positions before the template.
    pub prefix: Option<SoftPrefix>,
    /// Most output tokens. Only our unit has this limit; a stock unit has only the set-up's `max_token_len`.
    pub max_new_tokens: Option<usize>,
    /// Place in the queue of our unit; a stock unit has no priorities.
    pub priority: Priority,
    /// See [`InferenceRequest::draft`].
    pub draft: Vec<u32>,
    /// Limit from sending to the last reply; it begins again where a lost inference is sent again ([`Note::SentAgain`]). `None` takes
    /// [`ConnectOptions::deadline`].
    pub deadline: Option<Duration>,
    /// Limit between two frames; `None` takes [`ConnectOptions::idle`].
    pub idle: Option<Duration>,
}

impl InferenceRequest {
    /// A request without a prefix, at [`Priority::Live`], with the connection's limits.
    pub fn new(prompt: impl Into<String>) -> Self {
        Self {
            prompt: prompt.into(),
            prefix: None,
            max_new_tokens: None,
            priority: Priority::Live,
            draft: Vec::new(),
            deadline: None,
            idle: None,
        }
    }

    /// Sets the tokens that the output is likely to consist of. Correct ones save time, wrong ones change nothing. They are sent only to
    /// units that draft.
    #[must_use]
    pub fn draft(mut self, tokens: Vec<u32>) -> Self {
        self.draft = tokens;
        self
    }

    /// Puts `prefix` in front of the template; `None` sends no prefix.
    #[must_use]
    pub fn prefix(mut self, prefix: Option<SoftPrefix>) -> Self {
        self.prefix = prefix;
        self
    }

    /// Limits the output to `tokens` tokens.
    #[must_use]
    pub fn max_new_tokens(mut self, tokens: usize) -> Self {
        self.max_new_tokens = Some(tokens);
        self
    }

    /// Sets the place in the unit's queue.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets [`InferenceRequest::deadline`].
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

/// An event of an inference.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "the large one comes once")]
pub enum InferenceEvent {
    /// More text, in whole characters; a task that does not stream sends all of it at once.
    Delta(String),
    /// The inference has ended.
    Done(Outcome),
}

/// The result of an inference.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The output, all deltas joined.
    pub text: String,
    /// Why the output ended; on a stock module [`FinishReason::Unknown`], unless the client stopped it.
    pub finish_reason: FinishReason,
    /// The output's token ids, where the unit sends them.
    pub tokens: Option<Vec<u32>>,
    /// Token counts and times as the unit measured them; `None` on a stock module.
    pub usage: Option<Usage>,
    /// The prefix that the unit put in front, as it says.
    pub echo: Option<SoftPrefixEcho>,
    /// From sending to the first text; `None` where the text arrived whole from a unit that sends no times.
    pub time_to_first_token: Option<Duration>,
    /// From the last sending to the end.
    pub elapsed: Duration,
    /// Number of pieces in which the text arrived.
    pub chunks: usize,
    /// Warnings about the result.
    pub notes: Vec<Note>,
}

/// A warning about an outcome, to be shown with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Note {
    /// A prefix was sent, and the unit neither confirmed nor refused it.
    #[error(
        "the unit did not say whether it used the prefix; a stock unit ignores prefixes silently: compare with the baseline"
    )]
    PrefixNotAcknowledged,
    /// [`InferenceRequest::max_new_tokens`] was set, and the unit has no such limit.
    #[error(
        "the limit on output tokens was not sent: this unit supports only max_token_len, which is set at the set-up"
    )]
    TokenLimitNotSent,
    /// The first inference of a task was not answered and was sent a second time.
    #[error("the first request after the set-up was lost by the module and was sent again")]
    SentAgain,
}

/// A running inference. Dropping it stops it.
pub struct Inference {
    events: mpsc::UnboundedReceiver<Result<InferenceEvent, ClientError>>,
    stop: watch::Sender<bool>,
}

impl Inference {
    pub(super) fn start(task: Task, request: InferenceRequest) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let (stop, stopped) = Stop::pair();
        tokio::spawn(async move {
            let run = Run::new(task, request, sender.clone(), stopped);
            let end = match run {
                Ok(run) => run.drive().await.map(InferenceEvent::Done),
                Err(error) => Err(error),
            };
            // Fails if the inference was dropped; then its end is not needed.
            let _ = sender.send(end);
        });
        Self { events, stop }
    }

    /// The next event; `None` after [`InferenceEvent::Done`] or an error. Cancel safe: dropping the future loses no
    /// event.
    pub async fn next(&mut self) -> Option<Result<InferenceEvent, ClientError>> {
        self.events.recv().await
    }

    /// Asks the unit to end the inference. It then ends as usual, with the text so far and [`FinishReason::Stopped`].
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for the end, without the events before it.
    ///
    /// # Errors
    /// The error with which it failed.
    pub async fn outcome(mut self) -> Result<Outcome, ClientError> {
        while let Some(event) = self.next().await {
            if let InferenceEvent::Done(outcome) = event? {
                return Ok(outcome);
            }
        }
        // The driving task is dropped before its end only when the runtime shuts down.
        Err(ClientError::Stopped { text: String::new() })
    }
}

type Events = mpsc::UnboundedSender<Result<InferenceEvent, ClientError>>;

/// A running inference.
struct Run {
    task: Task,
    request: InferenceRequest,
    events: Events,
    stop: Stop,
    connection: Arc<Connection>,
    /// The echo with which our unit confirms the prefix; `None` without a prefix.
    expected: Option<SoftPrefixEcho>,
    notes: Vec<Note>,
    text: DeltaJoiner,
    first_text: Option<Duration>,
}

/// Why [`Run::listen`] returned.
enum ListenEnd {
    /// The last reply arrived.
    End(Box<Reply>),
    /// No reply arrived: within [`ConnectOptions::first_frame`] from a stock unit that streams, within the deadline from any other.
    Nothing,
    /// No further frame arrived within the limit between frames.
    Idle,
    /// The deadline passed after a reply had arrived.
    Deadline,
    /// A stop was requested.
    Stop,
}

impl Run {
    fn new(task: Task, request: InferenceRequest, events: Events, stop: Stop) -> Result<Self, ClientError> {
        if request.prompt.is_empty() {
            return Err(ClientError::EmptyPrompt);
        }
        if request.prompt.contains('\0') {
            return Err(ClientError::NulInPrompt);
        }
        let support = task.support();
        if let (Some(support), Some(prefix)) = (support, &request.prefix)
            && support.hidden_size != prefix.hidden_size()
        {
            let (got, hidden_size) = (prefix.hidden_size(), support.hidden_size);
            return Err(PrefixError::WrongWidth { got, hidden_size }.into());
        }
        let mut notes = Vec::new();
        if support.is_none() && request.max_new_tokens.is_some() {
            notes.push(Note::TokenLimitNotSent);
        }
        let expected = request.prefix.as_ref().map(SoftPrefixEcho::of);
        let connection = task.module().connection();
        Ok(Self {
            task,
            request,
            events,
            stop,
            connection,
            expected,
            notes,
            text: DeltaJoiner::new(),
            first_text: None,
        })
    }

    async fn drive(mut self) -> Result<Outcome, ClientError> {
        let task = self.task.clone();
        let mut stop = self.stop.clone();
        // Held to the end: to a stock module nothing else may be sent before the last frame.
        let _permit = tokio::select! {
            permit = task.acquire_inference_permit() => permit,
            () = stop.requested() => return Err(ClientError::Stopped { text: String::new() }),
        };
        // The module may have been reconnected during the wait.
        self.connection = task.module().connection();
        let is_stock = task.support().is_none();
        if is_stock && !task.has_answered_once() {
            let settled = task.created_at() + task.module().options().settle;
            tokio::time::sleep_until(settled.into()).await;
        }
        let kind = if is_stock { Kind::StockInference } else { Kind::Other };
        let mut sent_again = false;
        loop {
            let start = Instant::now();
            let request = self.message();
            let mut ticket = self.connection.ask(&request, kind, Some(task.work_id()))?;
            let first = !task.has_answered_once();
            let mut end = self.listen(&mut ticket, start).await?;
            let silent_for = match end {
                ListenEnd::Idle => self.idle(),
                _ => start.elapsed(),
            };
            let seconds = seconds_to_tenths(silent_for);
            if matches!(end, ListenEnd::Idle | ListenEnd::Nothing) {
                // The unit may have died, which ends its streams without a last frame, too.
                tokio::select! {
                    checked = task.check_shared(silent_for) => checked?,
                    () = stop.requested() => end = ListenEnd::Stop,
                }
            }
            match end {
                ListenEnd::End(reply) => return self.outcome(*reply, start, false),
                ListenEnd::Stop => {
                    let last = self.end_early(&mut ticket, start).await?;
                    return match last {
                        Some(reply) => self.outcome(reply, start, true),
                        None => Err(ClientError::Stopped {
                            text: self.text.into_text(),
                        }),
                    };
                }
                ListenEnd::Idle => {
                    self.end_early(&mut ticket, start).await?;
                    return Err(ClientError::StreamStopped {
                        text: self.text.into_text(),
                        seconds,
                    });
                }
                ListenEnd::Deadline => {
                    self.end_early(&mut ticket, start).await?;
                    return Err(ClientError::DeadlinePassed {
                        text: self.text.into_text(),
                        seconds,
                    });
                }
                ListenEnd::Nothing => {
                    // The unit is alive: the inference was lost, or is still running. Stopping it brings the text of a
                    // running one, which must not be sent again: its text has been passed on, perhaps without a last reply.
                    let last = self.end_early(&mut ticket, start).await?;
                    if last.is_some() || self.text.chunks() > 0 {
                        return Err(ClientError::DeadlinePassed {
                            text: self.text.into_text(),
                            seconds,
                        });
                    }
                    if !first || sent_again {
                        return Err(ClientError::NeverAnswered {
                            work_id: task.work_id().to_owned(),
                            seconds,
                        });
                    }
                    tracing::info!(
                        work_id = task.work_id(),
                        "the first inference was lost; sending it again"
                    );
                    sent_again = true;
                    self.notes.push(Note::SentAgain);
                }
            }
        }
    }

    /// The request. It has stream form where it carries a prefix or our options, and plain form otherwise, since a
    /// stock unit joins the frames of all its clients in one buffer.
    fn message(&self) -> Request {
        let request = Request::new(self.connection.new_id(), self.task.work_id(), action::INFERENCE);
        let ours = self.task.support().is_some();
        if !ours && self.request.prefix.is_none() {
            return request.with(object::TEXT, self.request.prompt.clone().into());
        }
        let drafts = self.task.support().is_some_and(|support| support.has(feature::DRAFTS));
        let options = InferenceOptions {
            draft_tokens: if drafts { self.request.draft.clone() } else { Vec::new() },
            max_new_tokens: self.request.max_new_tokens,
            priority: self.request.priority,
            stream: self.task.streams_on_request().then_some(true),
            usage: true,
        };
        let frame = StreamInput {
            index: 0,
            finish: true,
            delta: self.request.prompt.clone(),
            soft_prefix: self.request.prefix.as_ref().map(encode),
            options: ours.then_some(options),
        };
        request.with(object::STREAM, to_data(&frame))
    }

    /// Takes replies until the last one, a limit, or a stop.
    async fn listen(&mut self, ticket: &mut Ticket, start: Instant) -> Result<ListenEnd, ClientError> {
        let options: ConnectOptions = self.task.module().options().clone();
        let deadline = start + self.request.deadline.unwrap_or(options.deadline);
        // A stock unit that streams sends its first frame soon. Whole texts, and the queue of our unit, may take long.
        let may_take_long = self.task.support().is_some() || !self.task.is_streaming();
        let mut limit = if may_take_long {
            deadline
        } else {
            deadline.min(start + options.first_frame)
        };
        let mut has_reply = false;
        let mut stop = self.stop.clone();
        let task = self.task.clone();
        // Our unit is silent while the inference waits in its queue, and also when it has died: ask it. A stock unit
        // must not be asked anything before its last frame.
        let task_gone = task.wait_until_gone(self.idle());
        let mut task_gone = std::pin::pin!(task_gone);
        let is_ours = task.support().is_some();
        loop {
            let reply = tokio::select! {
                biased;
                reply = ticket.next() => reply?,
                error = &mut task_gone, if is_ours && !has_reply => return Err(error),
                () = stop.requested() => return Ok(ListenEnd::Stop),
                () = tokio::time::sleep_until(limit.into()) => {
                    return Ok(match has_reply {
                        false => ListenEnd::Nothing,
                        true if limit < deadline => ListenEnd::Idle,
                        true => ListenEnd::Deadline,
                    });
                }
            };
            has_reply = true;
            self.task.set_has_answered_once();
            if let Some(last) = self.take(reply, start)? {
                return Ok(ListenEnd::End(Box::new(last)));
            }
            limit = deadline.min(Instant::now() + self.idle());
        }
    }

    /// Takes one reply; returns it if it is the last.
    fn take(&mut self, mut reply: Reply, start: Instant) -> Result<Option<Reply>, ClientError> {
        if !reply.error.code.is_ok() {
            let work_id = self.task.work_id();
            return Err(task_gone_error(refused(action::INFERENCE, work_id, reply), work_id));
        }
        let (delta, last) = match reply.data.take() {
            serde_json::Value::String(text) => (text, true),
            data @ serde_json::Value::Object(_) => {
                let frame: StreamData = super::module::parse_data(action::INFERENCE, data)?;
                (frame.delta, frame.finish)
            }
            other => {
                let detail = format!("its data is {other}, neither a text nor a frame");
                return Err(ClientError::Unreadable {
                    action: action::INFERENCE.to_owned(),
                    detail,
                });
            }
        };
        if !delta.is_empty() {
            if !last || self.text.chunks() > 0 {
                self.first_text.get_or_insert_with(|| start.elapsed());
            }
            self.text.push(&delta);
            // Fails if the inference was dropped; its last reply must still be awaited.
            let _ = self.events.send(Ok(InferenceEvent::Delta(delta)));
        }
        Ok(last.then_some(reply))
    }

    /// Asks the unit to end this inference and takes replies for [`ConnectOptions::drain`]. Returns the last reply, if
    /// it arrived.
    async fn end_early(&mut self, ticket: &mut Ticket, start: Instant) -> Result<Option<Reply>, ClientError> {
        /// A stock unit loses a pause that arrives before the inference begins, so the request is repeated.
        const AGAIN: Duration = Duration::from_millis(500);
        let until = Instant::now() + self.task.module().options().drain;
        while Instant::now() < until {
            self.connection.send(&self.stop_message(&ticket.request_id))?;
            let next = until.min(Instant::now() + AGAIN);
            loop {
                tokio::select! {
                    reply = ticket.next() => match self.take(reply?, start) {
                        Ok(None) => {}
                        Ok(Some(last)) => return Ok(Some(last)),
                        // The inference has ended; it was to be stopped, so its error is not needed.
                        Err(_) => return Ok(None),
                    },
                    () = tokio::time::sleep_until(next.into()) => break,
                }
            }
        }
        Ok(None)
    }

    fn stop_message(&self, request_id: &str) -> Request {
        let (id, work_id) = (self.connection.new_id(), self.task.work_id());
        if self.task.support().is_some_and(|support| support.has(feature::STOP)) {
            let data = StopRequest {
                request_id: request_id.to_owned(),
            };
            Request::new(id, work_id, extension::STOP).with(extension::STOP, to_data(&data))
        } else {
            Request::new(id, work_id, action::PAUSE)
        }
    }

    fn idle(&self) -> Duration {
        self.request.idle.unwrap_or(self.task.module().options().idle)
    }

    fn outcome(self, last: Reply, start: Instant, stopped: bool) -> Result<Outcome, ClientError> {
        let mut notes = self.notes;
        let ours = self.task.support().is_some();
        match (&self.expected, &last.soft_prefix) {
            (Some(sent), Some(echo)) if sent == echo => {}
            (None, None) => {}
            (Some(_), None) if !ours => notes.push(Note::PrefixNotAcknowledged),
            (sent, echo) => {
                let describe = |echo: &Option<SoftPrefixEcho>| match echo {
                    Some(echo) => format!("P = {}, H = {}, SHA-256 {}", echo.len, echo.hidden_size, echo.sha256),
                    None => "none".to_owned(),
                };
                let detail = format!("sent: {}; confirmed: {}", describe(sent), describe(echo));
                return Err(ClientError::PrefixNotConfirmed { detail });
            }
        }
        // Our unit explains an empty text by its usage; from a stock unit an empty text means that the inference
        // failed.
        if self.text.text().is_empty() && last.usage.is_none() && !stopped {
            return Err(ClientError::EmptyAnswer);
        }
        let finish_reason = match &last.usage {
            Some(usage) => usage.finish_reason,
            None if stopped => FinishReason::Stopped,
            None => FinishReason::Unknown,
        };
        let unit_times = last
            .usage
            .as_ref()
            .map(|usage| Duration::try_from_secs_f64((usage.queue_ms + usage.prefill_ms) / 1000.0).unwrap_or_default());
        Ok(Outcome {
            finish_reason,
            tokens: last.usage.as_ref().map(|usage| usage.tokens.clone()),
            echo: last.soft_prefix,
            time_to_first_token: self.first_text.or(unit_times),
            elapsed: start.elapsed(),
            chunks: self.text.chunks(),
            text: self.text.into_text(),
            usage: last.usage,
            notes,
        })
    }
}
