//! From a request to score a text to a job of the scheduler, and from its numbers to the reply. It knows no transport.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use softprefix_core::compare::perplexity;
use softprefix_core::prefix::{SoftPrefix, TokenPiece, WindowBudget, decode_value};
use softprefix_core::protocol::extension::{
    Alternative, Compared, MAX_ALTERNATIVES, MAX_SCORE_PREFIXES, SCORE, Scored, Scores, SoftPrefixEcho,
};
use softprefix_core::protocol::message::to_data;
use softprefix_core::protocol::{Code, ErrorField, Reply};

use super::peer::Peer;
use super::prepare::encode;
use super::shared_model::SharedModel;
use super::task::{LiveEntry, Task};
use crate::scheduler::{Place, ScoreJob, ScoreSink, TokenScore, Unscored};
use crate::tokenizer::{Special, Tokenizer};

/// Who asked, and what the reply needs besides the numbers.
pub struct Answer {
    peer: Peer,
    request_id: String,
    entry: LiveEntry,
    tokens: Vec<u32>,
    /// What stood in front of each condition, the base first.
    conditions: Vec<Option<SoftPrefixEcho>>,
}

/// Roughly the memory that a request holds while it waits.
pub fn bytes(data: &Value) -> usize {
    match data {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(bytes).sum::<usize>() + values.len() * 16,
        Value::Object(entries) => entries.values().map(bytes).sum(),
        _ => 0,
    }
}

/// Turns a request into a job and submits it, or answers why not.
pub fn run(model: &SharedModel, data: &Value, mut answer: Answer, place: Place, longest: Duration) {
    let task = Arc::clone(answer.entry.task());
    match plan(model, &task, data) {
        Err(error) => answer.refuse(error),
        Ok(plan) => {
            answer.tokens.clone_from(&plan.text);
            let echo = |prefix: &Option<SoftPrefix>| prefix.as_ref().map(SoftPrefixEcho::of);
            answer.conditions = plan.conditions.iter().map(echo).collect();
            model.scheduler.score(ScoreJob {
                conditions: plan.conditions,
                prompt: plan.prompt,
                text: plan.text,
                top: plan.top,
                stop: answer.entry.stop.clone(),
                deadline: Instant::now().checked_add(longest),
                sink: Box::new(answer),
                place,
            });
        }
    }
}

struct Plan {
    conditions: Vec<Option<SoftPrefix>>,
    prompt: Vec<u32>,
    text: Vec<u32>,
    top: usize,
}

fn plan(model: &SharedModel, task: &Task, data: &Value) -> Result<Plan, ErrorField> {
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
    let parameter = |message: String| ErrorField::new(Code::PARAMETER, message);
    let Some(user) = data.get("prompt").and_then(Value::as_str) else {
        return Err(parameter(
            "the request has no prompt; send data as {\"prompt\": \"...\", \"text\": \"...\"}".into(),
        ));
    };
    let text = text(model, data)?;
    let top = match data.get("top") {
        None | Some(Value::Null) => 0,
        Some(top) => top
            .as_u64()
            .and_then(|top| usize::try_from(top).ok())
            .filter(|&top| top <= MAX_ALTERNATIVES)
            .ok_or_else(|| parameter(format!("top is {top}; ask for 0 to {MAX_ALTERNATIVES} alternatives")))?,
    };

    let prefix = |value: &Value| decode_value(value, info.hidden_size).map_err(|error| ErrorField::from(&error));
    let given = |key: &str| data.get(key).filter(|value| !value.is_null());
    let mut conditions = vec![given("against").map(prefix).transpose()?];
    match given("soft_prefixes") {
        None => {}
        Some(Value::Array(values)) if values.len() <= MAX_SCORE_PREFIXES => {
            for value in values {
                conditions.push(Some(prefix(value)?));
            }
        }
        Some(Value::Array(values)) => {
            let count = values.len();
            return Err(parameter(format!(
                "these are {count} prefixes; send {MAX_SCORE_PREFIXES} at most at once"
            )));
        }
        Some(_) => {
            return Err(parameter(
                "soft_prefixes is no list; send [{\"len\": P, \"data_b64\": \"...\"}]".into(),
            ));
        }
    }
    if let Some(value) = given("soft_prefix") {
        conditions.push(Some(prefix(value)?));
    }
    if conditions.len() > model.scheduler.score_sequences() {
        return Err(parameter(format!(
            "these are {} prefixes; send {MAX_SCORE_PREFIXES} at most at once",
            conditions.len() - 1
        )));
    }

    let prompt = encode(model, &model.template.render(&task.setup.prompt, user))?;
    let template = encode(model, &model.template.render(&task.setup.prompt, ""))?
        .len()
        .min(prompt.len());
    let budget = WindowBudget {
        prefix: conditions.iter().flatten().map(SoftPrefix::len).max().unwrap_or(0),
        template,
        prompt: prompt.len() - template,
        // The last token is predicted and never fed.
        output: text.len() - 1,
        window: info.window.min(task.max_positions),
    };
    budget.check().map_err(|error| {
        let mut error = ErrorField::from(&error);
        error.message.push_str(" (the output is the text that is to be scored)");
        error
    })?;
    Ok(Plan {
        conditions,
        prompt,
        text,
        top,
    })
}

/// The text's tokens: as given, or cut as plain characters, since marks of the template are no part of an answer.
fn text(model: &SharedModel, data: &Value) -> Result<Vec<u32>, ErrorField> {
    let parameter = |message: &str| ErrorField::new(Code::PARAMETER, message);
    let tokens = match (data.get("tokens"), data.get("text")) {
        (Some(tokens @ Value::Array(_)), _) => serde_json::from_value::<Vec<u32>>(tokens.clone())
            .map_err(|_| parameter("tokens is no list of token ids; send [id, id, ...]"))?,
        (_, Some(Value::String(text))) => model
            .tokenizer
            .encode(text, Special::Plain)
            .map_err(|error| ErrorField::new(Code::WINDOW, error.to_string()))?,
        _ => {
            return Err(parameter(
                "it is not said what to score; send \"text\": \"...\" or \"tokens\": [ids]",
            ));
        }
    };
    if tokens.is_empty() {
        return Err(ErrorField::new(
            Code::EMPTY_PROMPT,
            "the text to be scored is empty; send at least one token",
        ));
    }
    let vocab_size = model.info().vocab_size;
    match tokens.iter().find(|&&token| token as usize >= vocab_size) {
        Some(token) => Err(ErrorField::new(
            Code::PARAMETER,
            format!("the token {token} is outside the vocabulary of {vocab_size}; send tokens of this model"),
        )),
        None => Ok(tokens),
    }
}

impl Answer {
    pub fn new(peer: Peer, request_id: String, entry: LiveEntry) -> Self {
        Self {
            peer,
            request_id,
            entry,
            tokens: Vec::new(),
            conditions: Vec::new(),
        }
    }

    fn refuse(self, error: ErrorField) {
        let work_id = self.entry.task().work_id.clone();
        self.peer.reply(&Reply::error(self.request_id, work_id, error));
    }

    fn send(self, scores: Vec<Vec<TokenScore>>) {
        let task = Arc::clone(self.entry.task());
        let tokenizer = &task.model.tokenizer;
        let mut scored = scores.into_iter().zip(self.conditions);
        let Some((base, echo)) = scored.next() else {
            return;
        };
        let compared = |(scores, echo): (Vec<TokenScore>, Option<SoftPrefixEcho>)| Compared {
            kl: scores.iter().map(|score| score.divergence).collect(),
            same_top: scores.iter().map(|score| score.same_top).collect(),
            scores: told(tokenizer, scores, echo),
        };
        let data = to_data(&Scored {
            base: told(tokenizer, base, echo),
            prefixed: scored.map(compared).collect(),
            tokens: self.tokens.iter().map(|&id| piece(tokenizer, id)).collect(),
        });
        self.peer
            .reply(&Reply::data(self.request_id, task.work_id.clone(), SCORE, data));
    }
}

fn told(tokenizer: &Tokenizer, scores: Vec<TokenScore>, soft_prefix: Option<SoftPrefixEcho>) -> Scores {
    let logprobs: Vec<f64> = scores.iter().map(|score| score.logprob).collect();
    let alternative = |(id, logprob)| {
        let TokenPiece { id, text } = piece(tokenizer, id);
        Alternative { id, logprob, text }
    };
    let top: Vec<Vec<Alternative>> = scores
        .into_iter()
        .map(|score| score.top.into_iter().map(alternative).collect())
        .collect();
    Scores {
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

impl ScoreSink for Answer {
    fn started(&mut self) {
        self.entry.started();
    }

    fn is_gone(&self) -> bool {
        self.peer.sink().is_gone()
    }

    fn end(self: Box<Self>, outcome: Result<Vec<Vec<TokenScore>>, Unscored>) {
        let stock = Code::MODEL_RUN.stock_message().unwrap_or_default();
        let failed = |sentence: &str| ErrorField::new(Code::MODEL_RUN, format!("{stock} {sentence}"));
        match outcome {
            // Not here, where the engine would wait for it.
            Ok(scores) => {
                let model = Arc::clone(&self.entry.task().model);
                model.prepare(move |_| self.send(scores));
            }
            Err(Unscored::Failed(sentence)) => self.refuse(failed(&sentence)),
            Err(Unscored::Stopped) if self.entry.task().is_closing() => {
                self.refuse(failed("The task was ended before the text was scored; set up again."));
            }
            Err(Unscored::Stopped) => self.refuse(failed("The scoring was stopped, or its time was up; ask again.")),
        }
    }
}
