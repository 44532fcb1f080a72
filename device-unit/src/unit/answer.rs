//! Turns the tokens of an inference into replies: whole characters, in frames of three tokens like the stock unit's. A stream that has
//! begun always gets a final frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use softprefix_core::protocol::extension::{FinishReason, SoftPrefixEcho, Usage};
use softprefix_core::protocol::message::{object, to_data};
use softprefix_core::protocol::text_stream::Utf8Cutter;
use softprefix_core::protocol::{Code, ErrorField, Reply, StreamData, frame};

use super::peer::Peer;
use super::pending_reply::unexpected;
use super::task::InferenceGuard;
use crate::budget::Charge;
use crate::scheduler::{JobOutcome, Timings, TokenSink};
use crate::tokenizer::Tokenizer;

/// Tokens per frame, as on the stock unit (PROTOCOL 2.3).
const TOKENS_PER_FRAME: usize = 3;

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Sends the replies of one inference.
pub struct InferenceResponder {
    peer: Peer,
    request_id: String,
    tokenizer: Arc<Tokenizer>,
    pub echo: Option<SoftPrefixEcho>,
    pub wants_usage: bool,
    /// Whether the text is sent in frames: as set up, unless the request overrides it.
    pub streams: bool,
    /// Whether frames are sent a few milliseconds apart ([`ReplySink::send_frame`](super::ReplySink::send_frame)).
    pub frames_are_spaced: bool,
    pub counts: Counts,
    /// The last tokens before the output, stored with it so that a later run can be matched from its start.
    pub context: Vec<u32>,
    /// Unique among the inferences of this process.
    number: u64,
    tokens: Vec<u32>,
    cutter: Utf8Cutter,
    /// Text that has not been sent yet.
    text: String,
    tokens_in_text: usize,
    next_index: i64,
    /// Whether the last reply has been sent.
    ended: bool,
    guard: InferenceGuard,
    /// Memory of the request, which is held until the end.
    _charge: Charge,
}

/// Number of input rows and tokens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub prefix: usize,
    pub template: usize,
    pub prompt: usize,
}

impl InferenceResponder {
    pub fn new(peer: Peer, request_id: String, guard: InferenceGuard, charge: Charge) -> Self {
        Self {
            peer,
            request_id,
            tokenizer: Arc::clone(&guard.task().model.tokenizer),
            echo: None,
            wants_usage: false,
            streams: guard.task().setup.is_streaming(),
            frames_are_spaced: true,
            counts: Counts::default(),
            context: Vec::new(),
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            tokens: Vec::new(),
            cutter: Utf8Cutter::new(),
            text: String::new(),
            tokens_in_text: 0,
            next_index: 0,
            ended: false,
            guard,
            _charge: charge,
        }
    }

    #[must_use]
    pub fn guard(&self) -> &InferenceGuard {
        &self.guard
    }

    /// Ends an inference that cannot be run.
    pub fn refuse(mut self, error: ErrorField) {
        self.fail(error);
    }

    fn reply(&self, data: Value) -> Reply {
        let task = self.guard.task();
        let object = match (self.streams, task.setup.is_streaming()) {
            (true, false) => object::STREAM,
            (false, true) => object::TEXT,
            _ => &task.setup.response_format,
        };
        Reply::data(self.request_id.clone(), task.work_id.clone(), object, data)
    }

    /// Publishes a result, and sends it to the client if the set-up enables that.
    fn send_result(&self, reply: &Reply) {
        let task = self.guard.task();
        let message = frame::encode(reply);
        if let Some(outlet) = &task.outlet {
            outlet.send(message.clone());
        }
        if task.setup.enoutput {
            if self.streams && self.frames_are_spaced {
                self.peer.sink().send_frame(message, self.number);
            } else {
                self.peer.sink().send(message);
            }
        }
    }

    /// Returns `true` if a frame sent now is neither delayed nor joined with another.
    fn can_send_frame(&self) -> bool {
        let sink = self.peer.sink();
        if self.frames_are_spaced {
            sink.takes_frame(self.number)
        } else {
            sink.has_room()
        }
    }

    fn send_frame(&mut self, finish: bool, usage: Option<Usage>) {
        let delta = std::mem::take(&mut self.text);
        self.tokens_in_text = 0;
        let mut reply = self.reply(to_data(&StreamData::output(delta, self.next_index, finish)));
        self.next_index += 1;
        if finish {
            reply.soft_prefix = self.echo.clone();
            reply.usage = usage;
        }
        self.send_result(&reply);
    }

    fn finish(&mut self, reason: FinishReason, timings: Timings) {
        self.ended = true;
        // Stored before the last reply, so that a client that repeats the request gets drafts from this text.
        if let Some(texts) = &self.guard.task().texts
            && !self.tokens.is_empty()
        {
            texts.push([self.context.as_slice(), &self.tokens].concat());
        }
        let rest = self.cutter.finish();
        // A token limit can cut a character in two. Its bytes are left out, because a replacement character would be the unit's and not
        // the model's. If the model itself ends inside a character, the replacement character is sent.
        if reason == FinishReason::Stop {
            self.text.push_str(&rest);
        }
        let usage = self.wants_usage.then(|| self.usage(reason, timings));
        if self.streams {
            if !self.text.is_empty() {
                self.send_frame(false, None);
            }
            self.send_frame(true, usage);
        } else {
            let text = std::mem::take(&mut self.text);
            let mut reply = self.reply(Value::String(text));
            reply.soft_prefix = self.echo.clone();
            reply.usage = usage;
            self.send_result(&reply);
        }
    }

    /// Sends an error to the client, even if results are only published. A stream that has begun also gets its final frame, for clients
    /// that wait for nothing else; before the first frame, the error is the only reply.
    fn fail(&mut self, error: ErrorField) {
        self.ended = true;
        let work_id = self.guard.task().work_id.clone();
        self.peer.reply(&Reply::error(self.request_id.clone(), work_id, error));
        if self.streams && self.next_index > 0 {
            self.text.clear();
            self.send_frame(true, None);
        }
    }

    fn usage(&self, reason: FinishReason, timings: Timings) -> Usage {
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        Usage {
            accepted: timings.accepted,
            completion_tokens: self.tokens.len(),
            decode_ms: ms(timings.decode),
            drafted: timings.drafted,
            finish_reason: reason,
            prefill_ms: ms(timings.prefill),
            prefix_len: self.counts.prefix,
            prompt_tokens: self.counts.prompt,
            queue_ms: ms(timings.queued),
            template_tokens: self.counts.template,
            tokens: self.tokens.clone(),
        }
    }
}

impl Drop for InferenceResponder {
    /// Sends an error if the inference was dropped without a last reply, for example by a panic.
    fn drop(&mut self) {
        if !self.ended {
            self.fail(unexpected());
        }
    }
}

impl TokenSink for InferenceResponder {
    fn started(&mut self) {
        self.guard.started();
    }

    fn tokens(&mut self, tokens: &[u32]) {
        for &token in tokens {
            let bytes = self.tokenizer.token_bytes(token).unwrap_or_default();
            let piece = self.cutter.push(bytes);
            self.text.push_str(&piece);
        }
        self.tokens.extend_from_slice(tokens);
        self.tokens_in_text += tokens.len();
        // A client that reads slowly gets the text in fewer, larger frames, so that the engine never waits.
        if self.streams && self.tokens_in_text >= TOKENS_PER_FRAME && !self.text.is_empty() && self.can_send_frame() {
            self.send_frame(false, None);
        }
    }

    fn is_closed(&self) -> bool {
        let outlet = self.guard.task().outlet.as_ref();
        self.peer.sink().is_closed() && outlet.is_none_or(|outlet| outlet.is_closed())
    }

    fn end(mut self: Box<Self>, outcome: JobOutcome, timings: Timings) {
        let stock = Code::MODEL_RUN.stock_message().unwrap_or_default();
        match outcome {
            JobOutcome::Finished(reason) => self.finish(reason, timings),
            JobOutcome::NeverStarted if self.guard.task().is_closing() => self.fail(ErrorField::new(
                Code::MODEL_RUN,
                format!("{stock} The task was ended before this inference could start; set up again."),
            )),
            JobOutcome::NeverStarted if self.guard.stop.is_set() => self.finish(FinishReason::Stopped, timings),
            JobOutcome::NeverStarted => self.fail(ErrorField::new(
                Code::MODEL_RUN,
                format!("{stock} Its time limit was reached before it could start; send fewer inferences at once."),
            )),
            JobOutcome::Failed(sentence) => self.fail(ErrorField::new(Code::MODEL_RUN, format!("{stock} {sentence}"))),
        }
    }
}
