//! Prepares a scoring request, submits it to the scheduler, and sends the scores.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::Deserializer;
use softprefix_core::compare::perplexity;
use softprefix_core::prefix::{SentPrefix, SoftPrefix, TokenPiece, WindowBudget};
use softprefix_core::protocol::extension::{
    Alternative, Compared, MAX_ALTERNATIVES, MAX_SCORE_PREFIXES, MAX_TOKENS, SCORE, Scored, SoftPrefixEcho, TokenScores,
};
use softprefix_core::protocol::frame::DEFAULT_LIMIT;
use softprefix_core::protocol::message::to_data;
use softprefix_core::protocol::{Code, ErrorField};
use softprefix_core::sent::{Checked, Excerpt, Json, LimitedVec, Object};

use super::pending_reply::PendingReply;
use super::prepare::{encode_prompt, failed, not_encoded, template_tokens};
use super::shared_model::SharedModel;
use super::task::{InferenceGuard, Task};
use crate::budget::Charge;
use crate::request_text::Request;
use crate::scheduler::{AdmissionPermit, JobError, ScoreJob, ScoreSink, TokenScore};
use crate::tokenizer::{Special, Tokenizer};

/// Sends the reply to a scoring request.
pub struct ScoreResponder {
    reply: PendingReply,
    guard: InferenceGuard,
    tokens: Vec<u32>,
    /// The prefixes of the conditions, the reference first.
    conditions: Vec<Option<SoftPrefixEcho>>,
    /// Memory of the request, which is held until the end.
    _charge: Charge,
}

const EXPECTED_DATA: &str = "{\"prompt\": \"...\", \"text\": \"...\"}";
/// Approximate bytes of one token's scores in a reply: a log-probability and a divergence of about 20 digits each, and a flag.
const SCORE_BYTES: usize = 48;
/// Approximate bytes of one alternative in a reply: `{"id":123456,"logprob":-12.34567890123456,"text":" word"}`.
const ALTERNATIVE_BYTES: usize = 64;

/// Data of a request. Fields of a wrong type are kept, so that each is refused with its own message.
#[derive(Deserialize)]
struct ScoreData {
    prompt: Option<Checked<String>>,
    text: Option<Checked<String>>,
    tokens: Option<Tokens>,
    #[serde(rename = "against")]
    reference_prefix: Option<SentPrefix>,
    soft_prefixes: Option<Checked<LimitedVec<SentPrefix, MAX_SCORE_PREFIXES>>>,
    /// A single prefix may also be sent under this name.
    soft_prefix: Option<SentPrefix>,
    top: Option<Excerpt>,
}

/// Token ids, or the unexpected value that was sent.
#[derive(Deserialize)]
#[serde(transparent)]
struct Tokens(Checked<LimitedVec<Token, MAX_TOKENS>>);

/// A token id; `None` if it is not one.
struct Token(Option<u32>);

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Json::<16>::deserialize(deserializer).map(|json| Self(json.0.parse().ok()))
    }
}

/// Prepares a scoring job and submits it to the scheduler, or replies with an error.
pub fn submit(
    model: &SharedModel,
    request: Request,
    mut responder: ScoreResponder,
    permit: AdmissionPermit,
    time_limit: Duration,
) {
    let task = Arc::clone(responder.guard.task());
    let prepared = prepare(model, &task, &request);
    // Frees the request's text before the engine runs.
    drop(request);
    match prepared {
        Err(error) => responder.refuse(error),
        Ok(prepared) => {
            responder.tokens.clone_from(&prepared.text);
            let echo = |prefix: &Option<SoftPrefix>| prefix.as_ref().map(SoftPrefixEcho::of);
            responder.conditions = prepared.conditions.iter().map(echo).collect();
            model.scheduler.score(ScoreJob {
                conditions: prepared.conditions,
                prompt: prepared.prompt,
                text: prepared.text,
                top: prepared.top,
                stop: responder.guard.stop.clone(),
                deadline: Instant::now().checked_add(time_limit),
                sink: Box::new(responder),
                permit,
            });
        }
    }
}

struct Prepared {
    conditions: Vec<Option<SoftPrefix>>,
    prompt: Vec<u32>,
    text: Vec<u32>,
    top: usize,
}

fn prepare(model: &SharedModel, task: &Task, request: &Request) -> Result<Prepared, ErrorField> {
    let info = model.info();
    if model.scheduler.score_sequences() == 0 {
        return Err(ErrorField::new(
            Code::NOT_AVAILABLE,
            format!(
                "Not available. The engine {} cannot score texts; use the CPU engine.",
                info.backend
            ),
        ));
    }
    let data = request.data::<Object<ScoreData>>().map_err(|error| {
        ErrorField::parameter(format!(
            "the request cannot be read ({error}); send data as {EXPECTED_DATA}"
        ))
    })?;
    let Some(Object(ScoreData {
        prompt: Some(Checked::Expected(user)),
        text: sent_text,
        tokens,
        reference_prefix,
        soft_prefixes,
        soft_prefix,
        top,
    })) = data
    else {
        return Err(ErrorField::parameter(format!(
            "the request has no prompt that is a string; send data as {EXPECTED_DATA}"
        )));
    };
    let text = tokens_to_score(model, sent_text, tokens)?;
    let top = match top {
        None => 0,
        Some(top) => top
            .0
            .parse()
            .ok()
            .filter(|&top| top <= MAX_ALTERNATIVES)
            .ok_or_else(|| ErrorField::parameter(format!("top is {top}; give 0 to {MAX_ALTERNATIVES}")))?,
    };

    let decode = |sent: SentPrefix| sent.decode(info.hidden_size).map_err(|error| ErrorField::from(&error));
    let mut conditions = vec![reference_prefix.map(decode).transpose()?];
    match soft_prefixes {
        None => {}
        Some(Checked::Expected(list)) if list.count <= MAX_SCORE_PREFIXES => {
            for sent in list.items {
                conditions.push(Some(decode(sent)?));
            }
        }
        Some(Checked::Expected(list)) => {
            let count = list.count;
            return Err(ErrorField::parameter(format!(
                "{count} prefixes are too many; send at most {MAX_SCORE_PREFIXES} at once"
            )));
        }
        Some(Checked::Other(_)) => {
            return Err(ErrorField::parameter(
                "soft_prefixes is not a list; send [{\"len\": P, \"data_b64\": \"...\"}]",
            ));
        }
    }
    if let Some(sent) = soft_prefix {
        conditions.push(Some(decode(sent)?));
    }
    if conditions.len() > model.scheduler.score_sequences() {
        return Err(ErrorField::parameter(format!(
            "{} prefixes are too many; send at most {MAX_SCORE_PREFIXES} at once",
            conditions.len() - 1
        )));
    }

    let reply_bytes = conditions.len() * text.len() * (SCORE_BYTES + top * ALTERNATIVE_BYTES);
    if reply_bytes > DEFAULT_LIMIT {
        return Err(ErrorField::parameter(format!(
            "the scores of {} tokens under {} conditions with {top} alternatives would be larger than a message; score a shorter text, \
             fewer prefixes at once or fewer alternatives",
            text.len(),
            conditions.len()
        )));
    }
    let prompt = encode_prompt(model, &task.setup.system_prompt, &user)?;
    let template = template_tokens(model, task)?.min(prompt.len());
    let budget = WindowBudget {
        prefix: conditions.iter().flatten().map(SoftPrefix::len).max().unwrap_or(0),
        template,
        prompt: prompt.len() - template,
        // The last token is predicted and never an input.
        output: text.len() - 1,
        window: info.window.min(task.max_positions),
    };
    budget.check().map_err(|error| {
        let mut error = ErrorField::from(&error);
        error.message.push_str(" (the output is the text to score)");
        error
    })?;
    Ok(Prepared {
        conditions,
        prompt,
        text,
        top,
    })
}

/// Returns the text's tokens: as given, or else the text tokenized as plain text, because an answer contains no special tokens.
fn tokens_to_score(
    model: &SharedModel,
    text: Option<Checked<String>>,
    tokens: Option<Tokens>,
) -> Result<Vec<u32>, ErrorField> {
    let tokens = match (tokens, text) {
        (Some(Tokens(Checked::Expected(list))), _) if list.count > MAX_TOKENS => {
            return Err(ErrorField::new(
                Code::WINDOW,
                format!(
                    "these are {} tokens, more than any window holds; send fewer",
                    list.count
                ),
            ));
        }
        (Some(Tokens(Checked::Expected(list))), _) => list
            .items
            .into_iter()
            .map(|token| token.0)
            .collect::<Option<Vec<u32>>>()
            .ok_or_else(|| ErrorField::parameter("tokens is not a list of token ids; send [id, id, ...]"))?,
        (Some(Tokens(Checked::Other(_))), _) => {
            return Err(ErrorField::parameter(
                "tokens is not a list of token ids; send [id, id, ...]",
            ));
        }
        (None, Some(Checked::Expected(text))) => model.tokenizer.encode(&text, Special::Plain).map_err(not_encoded)?,
        (None, Some(Checked::Other(sent))) => {
            return Err(ErrorField::parameter(format!("text is {sent}; send a string")));
        }
        (None, None) => {
            return Err(ErrorField::parameter(
                "the request has neither text nor tokens; send \"text\": \"...\" or \"tokens\": [ids]",
            ));
        }
    };
    if tokens.is_empty() {
        return Err(ErrorField::new(
            Code::EMPTY_PROMPT,
            "the text to score is empty; send at least one token",
        ));
    }
    let vocab_size = model.info().vocab_size;
    match tokens.iter().find(|&&token| token as usize >= vocab_size) {
        Some(token) => Err(ErrorField::parameter(format!(
            "the token {token} is outside the vocabulary of {vocab_size}; send tokens of this model"
        ))),
        None => Ok(tokens),
    }
}

impl ScoreResponder {
    pub fn new(reply: PendingReply, guard: InferenceGuard, charge: Charge) -> Self {
        Self {
            reply,
            guard,
            tokens: Vec::new(),
            conditions: Vec::new(),
            _charge: charge,
        }
    }

    fn refuse(self, error: ErrorField) {
        self.reply.fail(error);
    }

    fn send(mut self, scores: Vec<Vec<TokenScore>>) {
        let task = Arc::clone(self.guard.task());
        let tokenizer = &task.model.tokenizer;
        let mut scored = scores.into_iter().zip(self.conditions);
        let Some((reference, echo)) = scored.next() else {
            return;
        };
        let compared = |(scores, echo): (Vec<TokenScore>, Option<SoftPrefixEcho>)| Compared {
            kl: scores.iter().map(|score| score.divergence).collect(),
            same_top: scores.iter().map(|score| score.same_top).collect(),
            scores: to_wire(tokenizer, scores, echo),
        };
        let data = to_data(&Scored {
            reference: to_wire(tokenizer, reference, echo),
            prefixed: scored.map(compared).collect(),
            tokens: self.tokens.iter().map(|&id| piece(tokenizer, id)).collect(),
        });
        self.reply.send(SCORE, data, true);
    }
}

fn to_wire(tokenizer: &Tokenizer, scores: Vec<TokenScore>, soft_prefix: Option<SoftPrefixEcho>) -> TokenScores {
    let logprobs: Vec<f64> = scores.iter().map(|score| score.logprob).collect();
    let alternative = |(id, logprob)| {
        let TokenPiece { id, text } = piece(tokenizer, id);
        Alternative { id, logprob, text }
    };
    let top: Vec<Vec<Alternative>> = scores
        .into_iter()
        .map(|score| score.top.into_iter().map(alternative).collect())
        .collect();
    TokenScores {
        perplexity: perplexity(&logprobs),
        logprobs,
        soft_prefix,
        top: if top.iter().all(Vec::is_empty) { Vec::new() } else { top },
    }
}

fn piece(tokenizer: &Tokenizer, id: u32) -> TokenPiece {
    TokenPiece {
        id,
        text: tokenizer.token_text(id).unwrap_or_default(),
    }
}

impl ScoreSink for ScoreResponder {
    fn started(&mut self) {
        self.guard.started();
    }

    fn is_closed(&self) -> bool {
        self.reply.is_closed()
    }

    fn end(self: Box<Self>, outcome: Result<Vec<Vec<TokenScore>>, JobError>) {
        match outcome {
            // The reply is built on another thread, so that the engine does not wait.
            Ok(scores) => {
                let model = Arc::clone(&self.guard.task().model);
                model.spawn(move |_| self.send(scores));
            }
            Err(JobError::Failed(sentence)) => self.refuse(failed(&sentence)),
            Err(JobError::Stopped) if self.guard.task().is_closing() => {
                self.refuse(failed("The task was ended before the text was scored; set up again."));
            }
            Err(JobError::Stopped) => self.refuse(failed(
                "Scoring was stopped or reached its time limit; send the request again.",
            )),
        }
    }
}
