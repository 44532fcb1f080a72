//! Prepares a learning request, submits it to the scheduler, and sends its progress in frames.

use std::sync::Arc;

use softprefix_core::prefix::{
    EmbeddingRows, Generator, LearningSettings, MAX_VALUES, Magnitude, PrefixError, PrefixKind, PrefixRecipe, Rounding,
    SoftPrefix, WindowBudget, decode,
};
use softprefix_core::protocol::extension::{LEARN, Vocabulary};
use softprefix_core::protocol::learn::{
    BestRows, DEFAULT_STEPS, Example, Init, LearnEnd, LearnFrame, LearnRequest, MAX_EXAMPLES, MAX_LEARNED_ROWS,
    MAX_PRESERVED, MAX_STEPS, References,
};
use softprefix_core::protocol::message::to_data;
use softprefix_core::protocol::{Code, ErrorField};

use super::pending_reply::PendingReply;
use super::prepare::encode;
use super::queries::{rows_of, vocabulary};
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
    /// Sent with the first frame.
    settings: Option<LearningSettings>,
    references: Option<References>,
    /// The step whose rows were sent last.
    sent: Option<usize>,
    last: Option<LearnProgress>,
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

/// Checks a request. Returns what makes it a job.
fn prepare(
    model: &SharedModel,
    task: &Task,
    request: &Request,
) -> Result<impl FnOnce(LearnResponder, AdmissionPermit) -> LearnJob + use<>, ErrorField> {
    let info = model.info();
    if !model.scheduler.can_learn() {
        return Err(ErrorField::new(
            Code::NOT_AVAILABLE,
            format!(
                "Not available. The engine {} cannot learn prefixes; use the CPU engine of a workbench.",
                info.backend
            ),
        ));
    }
    let learn_request: LearnRequest = request.require_data(EXPECTED_DATA)?;
    check(&learn_request)?;
    let number = |what: &str, value: Option<f64>, otherwise: f64, most: f64| match value {
        None => Ok(otherwise),
        Some(value) if value > 0.0 && value <= most => Ok(value),
        Some(value) => Err(parameter(format!(
            "{what} is {value}; give a number above 0 and up to {most}"
        ))),
    };
    let lr = number("lr", learn_request.lr, DEFAULT_RATE, MAX_RATE)?;
    let preserve_weight = number(
        "preserve_weight",
        learn_request.preserve_weight,
        PRESERVE_WEIGHT,
        MAX_RATE,
    )?;

    let prompt_of = |prompt: &str| encode(model, &model.template.render(&task.setup.system_prompt, prompt));
    let window = WindowBudget {
        prefix: learn_request.len,
        template: prompt_of("")?.len(),
        prompt: 0,
        output: 0,
        window: info.window.min(task.max_positions),
    };
    let fits = |what: &str, prompt: &[u32], output: usize| {
        let budget = WindowBudget {
            template: window.template.min(prompt.len()),
            prompt: prompt.len().saturating_sub(window.template),
            output,
            ..window
        };
        budget.check().map_err(|error| {
            let error = ErrorField::from(&error);
            ErrorField::new(
                error.code,
                format!("{what}: {} (the output is the target)", error.message),
            )
        })
    };
    let tokenized = |what: &str, examples: &[Example]| {
        let numbered = examples.iter().enumerate();
        let each = numbered.map(|(number, example)| {
            let prompt = prompt_of(&example.prompt)?;
            let target = target_of(model, &example.target)?;
            fits(
                &format!("{what} {}", number + 1),
                &prompt,
                target.len().saturating_sub(1),
            )?;
            Ok(LearnExample { prompt, target })
        });
        each.collect::<Result<Vec<LearnExample>, ErrorField>>()
    };
    let examples = tokenized("example", &learn_request.examples)?;
    let held_out = tokenized("held-out example", &learn_request.held_out)?;
    // The losses without a prefix are those of the held-out examples if there are any.
    let (what, compared) = match learn_request.held_out.as_slice() {
        [] => ("example", learn_request.examples.as_slice()),
        held_out => ("held-out example", held_out),
    };
    let mut references = vec![tokenized(what, compared)?];
    if let Some(instruction) = &learn_request.instruction {
        let instructed: Vec<Example> = compared.iter().map(|example| example.after(instruction)).collect();
        references.push(tokenized(&format!("with the instruction, {what}"), &instructed)?);
    }
    let mut preserved = Vec::with_capacity(learn_request.preserve.len());
    for (number, prompt) in learn_request.preserve.iter().enumerate() {
        let prompt = prompt_of(prompt)?;
        fits(&format!("prompt {} of preserve", number + 1), &prompt, PRESERVE_TOKENS)?;
        preserved.push(prompt);
    }
    let known = vocabulary(model)?;
    let percentiles = &known.percentiles;
    let norms = learn_request
        .norm_limit
        .range(percentiles.p50, (percentiles.p1, percentiles.p99));
    let norms = norms.map_err(|most| {
        parameter(format!(
            "the limit of row norms is {most}; give a number of token norms above 0, or \"off\""
        ))
    })?;
    let settings = LearningSettings {
        batch: learn_request.batch.unwrap_or(DEFAULT_BATCH).min(examples.len()),
        lr,
        norms: norms.unwrap_or((0.0, f64::MAX)),
        preserve_weight,
    };
    let init = init_rows(model, &learn_request, &known)?;
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
            rate: lr * known.rms,
            norm_range: settings.norms,
            seed: learn_request.seed,
            target_loss: TARGET_LOSS,
            stop: responder.guard.stop.clone(),
            sink: Box::new(responder),
            permit,
        }
    })
}

/// Checks what does not depend on the model.
fn check(learn_request: &LearnRequest) -> Result<(), ErrorField> {
    let within = |what: &str, value: usize, most: usize| {
        if (1..=most).contains(&value) {
            Ok(())
        } else {
            Err(parameter(format!("{what} is {value}; give 1 to {most}")))
        }
    };
    within("the number of examples", learn_request.examples.len(), MAX_EXAMPLES)?;
    within("len", learn_request.len, MAX_LEARNED_ROWS)?;
    within("steps", learn_request.steps.unwrap_or(DEFAULT_STEPS), MAX_STEPS)?;
    within("batch", learn_request.batch.unwrap_or(1), MAX_EXAMPLES)?;
    for (what, count, most) in [
        ("prompts to preserve", learn_request.preserve.len(), MAX_PRESERVED),
        ("held-out examples", learn_request.held_out.len(), MAX_EXAMPLES),
    ] {
        if count > most {
            return Err(parameter(format!("{count} {what} are too many; give at most {most}")));
        }
    }
    let examples = learn_request.examples.iter().enumerate().map(|one| ("example", one));
    let held_out = learn_request
        .held_out
        .iter()
        .enumerate()
        .map(|one| ("held-out example", one));
    for (kind, (number, example)) in examples.chain(held_out) {
        for (what, text) in [("prompt", &example.prompt), ("target", &example.target)] {
            if text.is_empty() {
                return Err(ErrorField::new(
                    Code::EMPTY_PROMPT,
                    format!("the {what} of {kind} {} is empty; write at least one word", number + 1),
                ));
            }
        }
    }
    Ok(())
}

/// Returns the target's tokens, tokenized as plain text, with the end-of-turn token.
fn target_of(model: &SharedModel, text: &str) -> Result<Vec<u32>, ErrorField> {
    let mut tokens = model
        .tokenizer
        .encode(text, Special::Plain)
        .map_err(|error| ErrorField::new(Code::WINDOW, error.to_string()))?;
    tokens.extend(model.tokenizer.end_of_turn());
    Ok(tokens)
}

/// Returns the initial rows.
fn init_rows(model: &SharedModel, learn_request: &LearnRequest, known: &Vocabulary) -> Result<SoftPrefix, ErrorField> {
    let hidden_size = model.info().hidden_size;
    if learn_request.len.saturating_mul(hidden_size) > MAX_VALUES {
        return Err(parameter(format!(
            "{} rows of {hidden_size} values are too many; give fewer",
            learn_request.len
        )));
    }
    let (kind, magnitude, words) = match &learn_request.init {
        Init::Rows(field) => {
            let rows = decode(field, hidden_size).map_err(|error| ErrorField::from(&error))?;
            if rows.len() != learn_request.len {
                let got = rows.len();
                return Err(parameter(format!(
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
    let rows = words.map(|text| words_of(model, text)).transpose()?;
    let recipe = PrefixRecipe {
        kind,
        len: learn_request.len,
        magnitude,
        rounding: Rounding::default(),
    };
    let built = recipe.build(hidden_size, rows.as_ref(), Some(known.percentiles.p50));
    built.map_err(|error: PrefixError| ErrorField::from(&error))
}

/// Returns the embedding rows of the initial words.
fn words_of(model: &SharedModel, text: &str) -> Result<EmbeddingRows, ErrorField> {
    let tokens = encode(model, text)?;
    if tokens.is_empty() {
        return Err(ErrorField::new(
            Code::EMPTY_PROMPT,
            "the initial words have no tokens; write at least one word",
        ));
    }
    rows_of(model, &tokens)
}

fn parameter(message: String) -> ErrorField {
    ErrorField::new(Code::PARAMETER, message)
}

impl LearnResponder {
    pub fn new(reply: PendingReply, guard: InferenceGuard, charge: Charge) -> Self {
        Self {
            reply,
            guard,
            settings: None,
            references: None,
            sent: None,
            last: None,
            _charge: charge,
        }
    }

    fn refuse(self, error: ErrorField) {
        self.reply.fail(error);
    }

    /// Sends a frame with the progress, and with the best rows if they have changed since the last frame.
    fn send(&mut self, progress: &LearnProgress, best: &BestPrefix, end: Option<LearnEnd>) {
        let with_rows = end.is_some() || self.sent != Some(best.step);
        if with_rows {
            self.sent = Some(best.step);
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
            taken_back: progress.rolled_back,
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
        self.last = Some(*progress);
        // A client that reads slowly gets fewer frames.
        if self.sent.is_none() || self.reply.peer().sink().has_room() {
            self.send(progress, best, None);
        }
    }

    fn is_closed(&self) -> bool {
        self.reply.peer().sink().is_closed()
    }

    fn end(mut self: Box<Self>, outcome: Result<LearnedPrefix, JobError>) {
        let stock = Code::MODEL_RUN.stock_message().unwrap_or_default();
        let failed = |sentence: &str| ErrorField::new(Code::MODEL_RUN, format!("{stock} {sentence}"));
        match (outcome, self.last) {
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
