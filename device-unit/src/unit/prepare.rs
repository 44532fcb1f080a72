//! Prepares an inference: tokenizes the text, decodes the prefix, checks that both fit, and submits a job to the scheduler.

use std::sync::Arc;
use std::time::{Duration, Instant};

use softprefix_core::prefix::{SoftPrefix, WindowBudget};
use softprefix_core::protocol::extension::{FinishReason, InferenceOptions, SoftPrefixEcho, TokenCounts};
use softprefix_core::protocol::{Code, ErrorField};

use super::answer::{Counts, InferenceResponder};
use super::input::Input;
use super::shared_model::SharedModel;
use super::task::Task;
use crate::engine::sampling::Sampler;
use crate::scheduler::{AdmissionPermit, ChooseToken, Drafter, Job, JobOutcome, LONGEST_MATCH, Timings, TokenSink};
use crate::tokenizer::{Special, TokenizerError};

/// Prepares an inference and submits it to the scheduler, or replies with an error.
///
/// One that has been stopped meanwhile is ended without being tokenized. Its last reply is like any other: it confirms the prefix.
pub fn submit(
    model: &SharedModel,
    input: Input,
    mut responder: InferenceResponder,
    permit: AdmissionPermit,
    time_limit: Duration,
) {
    responder.wants_usage = input.options.usage;
    responder.streams = input.options.stream.unwrap_or(responder.streams);
    // Our own client accepts joined frames, so they are sent without a pause.
    responder.frames_are_spaced = !input.has_options;
    let prefix = match decode_prefix(model, &input) {
        Ok(prefix) => prefix,
        Err(error) => return responder.refuse(error),
    };
    responder.echo = prefix.as_ref().map(SoftPrefixEcho::of);
    responder.counts.prefix = prefix.as_ref().map_or(0, SoftPrefix::len);
    if responder.guard().stop.is_set() {
        return Box::new(responder).end(JobOutcome::NeverStarted, Timings::default());
    }
    let task = Arc::clone(responder.guard().task());
    match prepare(model, &task, &input, responder.counts.prefix) {
        Err(error) => responder.refuse(error),
        Ok(prepared) => {
            responder.counts = prepared.counts;
            responder.context = prepared.context;
            let stop = responder.guard().stop.clone();
            model.scheduler.submit(Job {
                prefix,
                tokens: prepared.tokens,
                max_new_tokens: prepared.max_new_tokens,
                at_limit: prepared.at_limit,
                stop_tokens: model.stop_tokens.clone(),
                choose: prepared.choose,
                priority: input.options.priority,
                stop,
                deadline: Instant::now().checked_add(time_limit),
                sink: Box::new(responder),
                drafter: prepared.drafter,
                permit,
            });
        }
    }
}

struct Prepared {
    tokens: Vec<u32>,
    counts: Counts,
    max_new_tokens: usize,
    /// Why the output ends if it reaches `max_new_tokens`.
    at_limit: FinishReason,
    choose: ChooseToken,
    drafter: Option<Drafter>,
    /// The last [`LONGEST_MATCH`] tokens before the output. A later run whose prompt ends with them may repeat the output.
    context: Vec<u32>,
}

fn decode_prefix(model: &SharedModel, input: &Input) -> Result<Option<SoftPrefix>, ErrorField> {
    let sent = input.prefix.as_ref();
    let decoded = sent.map(|sent| sent.decode(model.info().hidden_size)).transpose();
    decoded.map_err(|error| ErrorField::from(&error))
}

/// Prepares the text of an inference whose prefix has `prefix_len` rows.
fn prepare(model: &SharedModel, task: &Task, input: &Input, prefix_len: usize) -> Result<Prepared, ErrorField> {
    if input.text.is_empty() {
        return Err(ErrorField::new(
            Code::EMPTY_PROMPT,
            "the prompt is empty; send the user's text as data, or as delta in stream form",
        ));
    }
    let template = template_tokens(model, task)?;
    let tokens = encode_prompt(model, &task.setup.system_prompt, &input.text)?;
    let counts = Counts {
        prefix: prefix_len,
        template: template.min(tokens.len()),
        prompt: tokens.len().saturating_sub(template),
    };
    let (max_new_tokens, at_limit) = output_limit(task, model, counts, &input.options)?;
    let context = tokens[tokens.len().saturating_sub(LONGEST_MATCH)..].to_vec();
    let drafter = match &task.texts {
        None => None,
        Some(texts) => {
            let sent = draft(model, &input.options)?;
            let sent = (!sent.is_empty()).then(|| [context.as_slice(), sent].concat().into());
            Some(Drafter::new(&tokens, sent.into_iter().chain(texts.all()).collect()))
        }
    };
    Ok(Prepared {
        tokens,
        counts,
        max_new_tokens,
        at_limit,
        choose: choose(task),
        drafter,
        context,
    })
}

/// Returns the draft tokens sent by the client, cut to the window.
fn draft<'a>(model: &SharedModel, options: &'a InferenceOptions) -> Result<&'a [u32], ErrorField> {
    let info = model.info();
    let draft = &options.draft_tokens[..options.draft_tokens.len().min(info.window)];
    match draft.iter().find(|&&token| token as usize >= info.vocab_size) {
        None => Ok(draft),
        Some(token) => Err(ErrorField::parameter(format!(
            "draft_tokens contains {token}, but this model's ids are 0 to {}; send the ids from \"usage\", or leave it out",
            info.vocab_size.saturating_sub(1)
        ))),
    }
}

/// Returns the maximum number of output tokens, and the finish reason when it is reached.
///
/// As on the stock unit, `max_token_len` and the window limit the positions that are fed. The last token is never fed, so n rows of
/// prefix, template and prompt leave `positions - n + 1` tokens.
fn output_limit(
    task: &Task,
    model: &SharedModel,
    counts: Counts,
    options: &InferenceOptions,
) -> Result<(usize, FinishReason), ErrorField> {
    let info = model.info();
    let budget = |window: usize| WindowBudget {
        prefix: counts.prefix,
        template: counts.template,
        prompt: counts.prompt,
        output: 0,
        window,
    };
    let used = budget(0).used();
    if let Err(error) = budget(info.prefill_window.min(info.window)).check() {
        return Err(ErrorField::from(&error));
    }
    if let Err(error) = budget(task.max_positions).check() {
        let mut error = ErrorField::from(&error);
        error.message.push_str(&format!(
            " (the set-up's max_token_len is {}; it counts prefix, prompt and output: set up again with a larger one)",
            task.max_positions
        ));
        return Err(error);
    }
    let by_window = task.max_positions.min(info.window) + 1 - used;
    Ok(match options.max_new_tokens {
        Some(0) => {
            return Err(ErrorField::parameter(
                "max_new_tokens is 0; give at least 1, or leave it out",
            ));
        }
        Some(wanted) if wanted <= by_window => (wanted, FinishReason::Length),
        _ => (by_window, FinishReason::Window),
    })
}

/// Counts the tokens of a text and of its template, for a request of
/// [`COUNT_TOKENS`](softprefix_core::protocol::extension::COUNT_TOKENS).
///
/// # Errors
/// As for an inference with this text.
pub fn token_counts(model: &SharedModel, task: &Task, text: &str) -> Result<TokenCounts, ErrorField> {
    let template = template_tokens(model, task)?;
    let all = encode_prompt(model, &task.setup.system_prompt, text)?.len();
    let window = model.info().window.min(task.max_positions);
    Ok(TokenCounts {
        prefill_window: model.info().prefill_window.min(window),
        prompt: all.saturating_sub(template),
        template,
        window,
    })
}

/// Returns the tokens of the task's chat template with its system prompt, which are counted once.
pub(super) fn template_tokens(model: &SharedModel, task: &Task) -> Result<usize, ErrorField> {
    if let Some(&count) = task.template_tokens.get() {
        return Ok(count);
    }
    let count = encode_prompt(model, &task.setup.system_prompt, "")?.len();
    Ok(*task.template_tokens.get_or_init(|| count))
}

/// Creates a sampler. Each inference starts from its task's seed, so that the same request gives the same text.
fn choose(task: &Task) -> ChooseToken {
    let mut sampler = Sampler::new(task.sampling);
    Box::new(move |logits| sampler.pick(logits).map_err(|error| error.to_string()))
}

/// Tokenizes a prompt, as the model's chat template writes it.
pub fn encode_prompt(model: &SharedModel, system_prompt: &str, prompt: &str) -> Result<Vec<u32>, ErrorField> {
    let text = model.template.render(system_prompt, prompt).map_err(not_encoded)?;
    encode(model, &text)
}

/// Tokenizes a text. As on the stock unit, special tokens in it are parsed.
pub fn encode(model: &SharedModel, text: &str) -> Result<Vec<u32>, ErrorField> {
    model.tokenizer.encode(text, Special::Parse).map_err(not_encoded)
}

/// Returns the reply where a text cannot be tokenized. Where it is too long or the template refuses it, another text can be run.
pub(super) fn not_encoded(error: TokenizerError) -> ErrorField {
    match error {
        TokenizerError::TextTooLong { .. } => ErrorField::new(Code::WINDOW, error.to_string()),
        TokenizerError::TextRefused { .. } => ErrorField::new(Code::TEXT_REFUSED, error.to_string()),
        _ => failed(&error),
    }
}

/// Returns the reply where the model cannot be run, with the reason.
pub(super) fn failed(error: &(impl std::fmt::Display + ?Sized)) -> ErrorField {
    let stock = Code::MODEL_RUN.stock_message().unwrap_or_default();
    ErrorField::new(Code::MODEL_RUN, format!("{stock} {error}"))
}
