//! Prepares a learning request, submits it to the scheduler, and sends its progress in frames.

use std::sync::Arc;

use softprefix_core::prefix::{
    EmbeddingRows, Generator, LearningSettings, MAX_VALUES, Magnitude, PrefixError, PrefixKind, PrefixRecipe,
    SoftPrefix, WindowBudget, decode,
};
use softprefix_core::protocol::extension::LEARN;
use softprefix_core::protocol::learn::{
    BestRows, DEFAULT_STEPS, Example, Init, LearnEnd, LearnFrame, LearnRequest, MAX_EXAMPLES, MAX_LEARNED_ROWS,
    MAX_PRESERVED, MAX_STEPS, References,
};
use softprefix_core::protocol::message::to_data;
use softprefix_core::protocol::{Code, ErrorField};

use super::pending_reply::PendingReply;
use super::prepare::{encode, encode_prompt, failed, not_encoded, template_tokens};
use super::queries::{embedding_rows, vocabulary};
use super::shared_model::SharedModel;
use super::task::{InferenceGuard, Task};
use crate::budget::Charge;
use crate::request_text::Request;
use crate::scheduler::{
    AdmissionPermit, BestPrefix, JobError, LearnExample, LearnJob, LearnProgress, LearnSink, LearnedPrefix,
};
use crate::tokenizer::Special;

const EXPECTED_DATA: &str =
    "{\"examples\": [{\"prompt\": \"...\", \"target\": \"...\"}], \"len\": P, \"init\": \"target\"}";
/// Default learning rate, in units of the vocabulary's RMS.
const DEFAULT_RATE: f64 = 0.3;
/// Maximum learning rate, and maximum weight of preserved answers.
const MAX_RATE: f64 = 1e6;
/// Default weight of preserved answers.
const PRESERVE_WEIGHT: f64 = 1.0;
/// Tokens of a preserved answer.
const PRESERVE_TOKENS: usize = 16;
/// Default number of examples per step.
const DEFAULT_BATCH: usize = 4;
/// Learning ends at this loss if every token is matched: the geometric mean of the target tokens' probabilities is then 95 %.
const TARGET_LOSS: f64 = 0.05;

/// Sends the replies to a learning request.
pub struct LearnResponder {
    reply: PendingReply,
    guard: InferenceGuard,
    /// Sent with the first frame, then `None`.
    settings: Option<LearningSettings>,
    /// The losses without a prefix, sent with the next frame, then `None`.
    references: Option<References>,
    /// The step whose rows were sent last.
    sent_step: Option<usize>,
    last_progress: Option<LearnProgress>,
    /// Memory of the request, which is held until the end.
    _charge: Charge,
}

/// Prepares a learning job and submits it to the scheduler, or replies with an error.
pub fn submit(model: &SharedModel, request: Request, responder: LearnResponder, permit: AdmissionPermit) {
    let task = Arc::clone(responder.guard.task());
    let prepared = prepare(model, &task, &request);
    drop(request);
    match prepared {
        Err(error) => responder.refuse(error),
        Ok(job) => model.scheduler.learn(job(responder, permit)),
    }
}

/// Tokenizes prompts and targets, and checks that they fit into the window.
struct ExampleReader<'a> {
    model: &'a SharedModel,
    system_prompt: &'a str,
    /// The rows of the prefix, of the template without a prompt, and of the window.
    window: WindowBudget,
}

impl<'a> ExampleReader<'a> {
    fn new(model: &'a SharedModel, task: &'a Task, prefix_rows: usize) -> Result<Self, ErrorField> {
        Ok(Self {
            model,
            system_prompt: &task.setup.system_prompt,
            window: WindowBudget {
                prefix: prefix_rows,
                template: template_tokens(model, task)?,
                prompt: 0,
                output: 0,
                window: model.info().window.min(task.max_positions),
            },
        })
    }

    /// Returns the tokens of the template with a prompt.
    fn prompt(&self, prompt: &str) -> Result<Vec<u32>, ErrorField> {
        encode_prompt(self.model, self.system_prompt, prompt)
    }

    /// Returns the tokens of a prompt of the template that must leave room for `output` more; `name` is its name in an error.
    fn prompt_before(&self, name: &str, prompt: &str, output: usize) -> Result<Vec<u32>, ErrorField> {
        let tokens = self.prompt(prompt)?;
        let template = self.window.template.min(tokens.len());
        let budget = WindowBudget {
            template,
            prompt: tokens.len() - template,
            output,
            ..self.window
        };
        budget.check().map_err(|error| {
            let error = ErrorField::from(&error);
            ErrorField::new(
                error.code,
                format!("{name}: {} (the output is the target)", error.message),
            )
        })?;
        Ok(tokens)
    }

    /// Returns the tokens of examples; `name` is the name of one in an error.
    fn examples(&self, name: &str, examples: &[Example]) -> Result<Vec<LearnExample>, ErrorField> {
        let numbered = examples.iter().zip(1..);
        numbered
            .map(|(example, number)| {
                let target = target_tokens(self.model, &example.target)?;
                // The last token is predicted and never an input.
                let output = target.len().saturating_sub(1);
                let prompt = self.prompt_before(&format!("{name} {number}"), &example.prompt, output)?;
                Ok(LearnExample { prompt, target })
            })
            .collect()
    }
}

/// Checks a request. Returns a function that makes it a job, which also needs the responder and the permit.
fn prepare(
    model: &SharedModel,
    task: &Task,
    request: &Request,
) -> Result<impl FnOnce(LearnResponder, AdmissionPermit) -> LearnJob + use<>, ErrorField> {
    if !model.scheduler.can_learn() {
        return Err(ErrorField::new(
            Code::NOT_AVAILABLE,
            format!(
                "Not available. The engine {} cannot learn prefixes; use the CPU engine of a workbench.",
                model.info().backend
            ),
        ));
    }
    let learn_request: LearnRequest = request.require_data(EXPECTED_DATA)?;
    check(&learn_request)?;
    let lr = positive("lr", learn_request.lr, DEFAULT_RATE)?;
    let preserve_weight = positive("preserve_weight", learn_request.preserve_weight, PRESERVE_WEIGHT)?;

    let reader = ExampleReader::new(model, task, learn_request.len)?;
    let examples = reader.examples("example", &learn_request.examples)?;
    let held_out = reader.examples("held-out example", &learn_request.held_out)?;
    // The losses without a prefix are those of the held-out examples if there are any.
    let (name, compared) = match learn_request.held_out.as_slice() {
        [] => ("example", learn_request.examples.as_slice()),
        held_out => ("held-out example", held_out),
    };
    let mut references = vec![reader.examples(name, compared)?];
    if let Some(instruction) = &learn_request.instruction {
        let instructed: Vec<Example> = compared.iter().map(|example| example.after(instruction)).collect();
        references.push(reader.examples(&format!("with the instruction, {name}"), &instructed)?);
    }
    let preserved = learn_request.preserve.iter().zip(1..);
    let preserved = preserved
        .map(|(prompt, number)| reader.prompt_before(&format!("prompt {number} of preserve"), prompt, PRESERVE_TOKENS))
        .collect::<Result<Vec<Vec<u32>>, ErrorField>>()?;

    let vocabulary = vocabulary(model)?;
    let percentiles = &vocabulary.percentiles;
    let norms = learn_request
        .norm_limit
        .range(percentiles.p50, (percentiles.p1, percentiles.p99))
        .map_err(|limit| {
            ErrorField::parameter(format!(
                "the limit of row norms is {limit}; give a number of token norms above 0, or \"off\""
            ))
        })?;
    let settings = LearningSettings {
        batch: learn_request.batch.unwrap_or(DEFAULT_BATCH).min(examples.len()),
        lr,
        norms: norms.unwrap_or((0.0, f64::MAX)),
        preserve_weight,
    };
    let init = initial_rows(model, &learn_request, percentiles.p50)?;
    let stop_tokens = Arc::clone(&model.stop_tokens);
    Ok(move |mut responder: LearnResponder, permit| {
        responder.settings = Some(settings);
        LearnJob {
            examples,
            preserved,
            preserve_weight,
            preserve_tokens: PRESERVE_TOKENS,
            held_out,
            references,
            stop_tokens,
            init,
            steps: learn_request.steps.unwrap_or(DEFAULT_STEPS),
            batch: settings.batch,
            rate: lr * vocabulary.rms,
            norm_range: settings.norms,
            seed: learn_request.seed,
            target_loss: TARGET_LOSS,
            stop: responder.guard.stop.clone(),
            sink: Box::new(responder),
            permit,
        }
    })
}

/// Returns a parameter that must be above 0, or its default.
fn positive(name: &str, value: Option<f64>, default: f64) -> Result<f64, ErrorField> {
    match value.unwrap_or(default) {
        value if value > 0.0 && value <= MAX_RATE => Ok(value),
        value => Err(ErrorField::parameter(format!(
            "{name} is {value}; give a number above 0 and up to {MAX_RATE}"
        ))),
    }
}

/// Checks what does not depend on the model.
fn check(learn_request: &LearnRequest) -> Result<(), ErrorField> {
    for (name, value, max) in [
        ("the number of examples", learn_request.examples.len(), MAX_EXAMPLES),
        ("len", learn_request.len, MAX_LEARNED_ROWS),
        ("steps", learn_request.steps.unwrap_or(DEFAULT_STEPS), MAX_STEPS),
        ("batch", learn_request.batch.unwrap_or(DEFAULT_BATCH), MAX_EXAMPLES),
    ] {
        if !(1..=max).contains(&value) {
            return Err(ErrorField::parameter(format!("{name} is {value}; give 1 to {max}")));
        }
    }
    for (name, count, max) in [
        ("prompts to preserve", learn_request.preserve.len(), MAX_PRESERVED),
        ("held-out examples", learn_request.held_out.len(), MAX_EXAMPLES),
    ] {
        if count > max {
            return Err(ErrorField::parameter(format!(
                "{count} {name} are too many; give at most {max}"
            )));
        }
    }
    for (name, examples) in [
        ("example", &learn_request.examples),
        ("held-out example", &learn_request.held_out),
    ] {
        for (example, number) in examples.iter().zip(1..) {
            for (part, text) in [("prompt", &example.prompt), ("target", &example.target)] {
                if text.is_empty() {
                    return Err(ErrorField::new(
                        Code::EMPTY_PROMPT,
                        format!("the {part} of {name} {number} is empty; write at least one word"),
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Returns the target's tokens, tokenized as plain text, with the end-of-turn token.
fn target_tokens(model: &SharedModel, text: &str) -> Result<Vec<u32>, ErrorField> {
    let mut tokens = model.tokenizer.encode(text, Special::Plain).map_err(not_encoded)?;
    tokens.extend(model.tokenizer.end_of_turn());
    Ok(tokens)
}

/// Returns the initial rows; `token_norm` is the median norm of the vocabulary's rows.
fn initial_rows(model: &SharedModel, learn_request: &LearnRequest, token_norm: f64) -> Result<SoftPrefix, ErrorField> {
    let hidden_size = model.info().hidden_size;
    if learn_request.len.saturating_mul(hidden_size) > MAX_VALUES {
        return Err(ErrorField::parameter(format!(
            "{} rows of {hidden_size} values are too many; give fewer",
            learn_request.len
        )));
    }
    let (kind, magnitude, words) = match &learn_request.init {
        Init::Rows(field) => {
            let rows = decode(field, hidden_size).map_err(|error| ErrorField::from(&error))?;
            if rows.len() != learn_request.len {
                let got = rows.len();
                return Err(ErrorField::parameter(format!(
                    "len is {}, but init has {got} rows; give the same number",
                    learn_request.len
                )));
            }
            return Ok(rows);
        }
        Init::Random => {
            let (seed, generator) = (learn_request.seed, Generator::default());
            (
                PrefixKind::RandomNormal { seed, generator },
                Magnitude::TokenNorms(1.0),
                None,
            )
        }
        Init::Words(text) => (
            PrefixKind::Words { text: text.clone() },
            Magnitude::Unscaled,
            Some(text),
        ),
        Init::Target => {
            let text = learn_request.examples.first().map(|example| &example.target);
            let kind = PrefixKind::Words {
                text: text.cloned().unwrap_or_default(),
            };
            (kind, Magnitude::Unscaled, text)
        }
    };
    let rows = words.map(|text| word_rows(model, text)).transpose()?;
    let recipe = PrefixRecipe::new(kind, learn_request.len, magnitude);
    let built = recipe.build(hidden_size, rows.as_ref(), Some(token_norm));
    built.map_err(|error: PrefixError| ErrorField::from(&error))
}

/// Returns the embedding rows of the initial words.
fn word_rows(model: &SharedModel, text: &str) -> Result<EmbeddingRows, ErrorField> {
    let tokens = encode(model, text)?;
    if tokens.is_empty() {
        return Err(ErrorField::new(
            Code::EMPTY_PROMPT,
            "the initial words have no tokens; write at least one word",
        ));
    }
    embedding_rows(model, &tokens)
}

impl LearnResponder {
    pub fn new(reply: PendingReply, guard: InferenceGuard, charge: Charge) -> Self {
        Self {
            reply,
            guard,
            settings: None,
            references: None,
            sent_step: None,
            last_progress: None,
            _charge: charge,
        }
    }

    fn refuse(self, error: ErrorField) {
        self.reply.fail(error);
    }

    /// Sends a frame with the progress, and with the best rows if they have changed since the last frame.
    fn send(&mut self, progress: &LearnProgress, best: &BestPrefix, end: Option<LearnEnd>) {
        let with_rows = end.is_some() || self.sent_step != Some(best.step);
        if with_rows {
            self.sent_step = Some(best.step);
        }
        let frame = LearnFrame {
            finish: end.is_some(),
            step: progress.step,
            steps: progress.steps,
            loss: progress.loss,
            best: BestRows {
                step: best.step,
                loss: best.loss,
                rows: with_rows.then(|| softprefix_core::prefix::encode(&best.rows)),
            },
            undone: progress.rolled_back,
            elapsed_ms: progress.elapsed.as_secs_f64() * 1000.0,
            end,
            settings: self.settings.take(),
            references: self.references.take(),
        };
        self.reply.send(LEARN, to_data(&frame), end.is_some());
    }
}

impl LearnSink for LearnResponder {
    fn started(&mut self) {
        self.guard.started();
    }

    fn references(&mut self, losses: &[f64]) {
        self.references = losses.first().map(|&plain| References {
            plain,
            instruction: losses.get(1).copied(),
        });
    }

    fn progress(&mut self, progress: &LearnProgress, best: &BestPrefix) {
        self.last_progress = Some(*progress);
        // A client that reads slowly gets fewer frames.
        if self.sent_step.is_none() || self.reply.peer().sink().has_room() {
            self.send(progress, best, None);
        }
    }

    fn is_closed(&self) -> bool {
        self.reply.is_closed()
    }

    fn end(mut self: Box<Self>, outcome: Result<LearnedPrefix, JobError>) {
        match (outcome, self.last_progress) {
            (Ok(learned), Some(last)) => {
                let end = match learned.best.loss.all_matched() {
                    true if !learned.stopped => LearnEnd::Reached,
                    _ if learned.stopped => LearnEnd::Stopped,
                    _ => LearnEnd::NotReached,
                };
                let last = LearnProgress {
                    step: learned.steps,
                    rolled_back: learned.rolled_back,
                    ..last
                };
                self.send(&last, &learned.best, Some(end));
            }
            (Err(JobError::Failed(sentence)), _) => self.refuse(failed(&sentence)),
            _ if self.guard.task().is_closing() => {
                self.refuse(failed("The task was ended before a prefix was learned; set up again."));
            }
            _ => self.refuse(failed(
                "Learning was stopped before it started; send the request again.",
            )),
        }
    }
}
