//! Prepares a learning request, submits it to the scheduler, and sends its progress in frames.

use std::sync::Arc;

use softprefix_core::prefix::{
    EmbeddingRows, Generator, MAX_VALUES, Magnitude, PrefixError, PrefixKind, PrefixRecipe, Rounding, SoftPrefix,
    WindowBudget, decode,
};
use softprefix_core::protocol::extension::{LEARN, Vocabulary};
use softprefix_core::protocol::learn::{
    BestRows, DEFAULT_STEPS, Init, LearnEnd, LearnFrame, LearnLoss, LearnRequest, LearnSettings, MAX_EXAMPLES,
    MAX_LEARNED_ROWS, MAX_PRESERVED, MAX_STEPS, NormLimit,
};
use softprefix_core::protocol::message::to_data;
use softprefix_core::protocol::{Code, ErrorField, Reply};

use super::peer::Peer;
use super::prepare::encode;
use super::queries::{rows_of, vocabulary};
use super::shared_model::SharedModel;
use super::task::{LiveEntry, Task};
use crate::budget::Charge;
use crate::request_text::Request;
use crate::scheduler::{Best, Judged, LearnExample, LearnJob, LearnSink, Learned, Loss, Place, Unlearned};
use crate::tokenizer::Special;

const WANTED: &str = "{\"examples\": [{\"prompt\": \"...\", \"target\": \"...\"}], \"len\": P, \"init\": \"target\"}";
/// Default learning rate, in units of the vocabulary's RMS.
const RATE: f64 = 0.3;
/// Maximum learning rate, and maximum weight of preserved answers.
const LARGEST_RATE: f64 = 1e6;
/// Default weight of preserved answers.
const KEPT_WEIGHT: f64 = 1.0;
/// Tokens of a preserved answer.
const KEPT_TOKENS: usize = 16;
/// Default number of examples per step.
const BATCH: usize = 4;
/// Learning ends at this loss if every token is matched: the geometric mean of the target tokens' probabilities is then 95 %.
const ENOUGH: f64 = 0.05;

/// Sends the replies to a learning request.
pub struct Answer {
    peer: Peer,
    request_id: String,
    entry: LiveEntry,
    /// Sent with the first frame.
    settings: Option<LearnSettings>,
    /// The step whose rows were sent last.
    sent: Option<usize>,
    last: Option<Judged>,
    /// Memory of the request, which is held until the end.
    _charge: Charge,
}

/// Prepares a learning job and submits it to the scheduler, or replies with an error.
pub fn run(model: &SharedModel, request: Request, mut answer: Answer, place: Place) {
    let task = Arc::clone(answer.entry.task());
    let planned = plan(model, &task, &request);
    drop(request);
    match planned {
        Err(error) => answer.refuse(error),
        Ok(plan) => {
            let stop = answer.entry.stop.clone();
            answer.settings = Some(plan.settings.clone());
            model.scheduler.learn(LearnJob {
                examples: plan.examples,
                kept: plan.kept,
                kept_weight: plan.settings.preserve_weight,
                kept_tokens: KEPT_TOKENS,
                stop_tokens: Arc::clone(&model.stop_tokens),
                start: plan.start,
                steps: plan.steps,
                batch: plan.settings.batch,
                rate: plan.settings.lr * plan.rms,
                norms: plan.settings.norms,
                seed: plan.seed,
                enough: ENOUGH,
                stop,
                sink: Box::new(answer),
                place,
            });
        }
    }
}

struct Plan {
    examples: Vec<LearnExample>,
    kept: Vec<Vec<u32>>,
    start: SoftPrefix,
    steps: usize,
    seed: u64,
    rms: f64,
    settings: LearnSettings,
}

fn plan(model: &SharedModel, task: &Task, request: &Request) -> Result<Plan, ErrorField> {
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
    let asked: LearnRequest = request.question(WANTED)?;
    check(&asked)?;
    let number = |what: &str, value: Option<f64>, otherwise: f64, most: f64| match value {
        None => Ok(otherwise),
        Some(value) if value > 0.0 && value <= most => Ok(value),
        Some(value) => Err(parameter(format!(
            "{what} is {value}; give a number above 0 and up to {most}"
        ))),
    };
    let lr = number("lr", asked.lr, RATE, LARGEST_RATE)?;
    let preserve_weight = number("preserve_weight", asked.preserve_weight, KEPT_WEIGHT, LARGEST_RATE)?;

    let prompt_of = |prompt: &str| encode(model, &model.template.render(&task.setup.prompt, prompt));
    let window = WindowBudget {
        prefix: asked.len,
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
    let mut examples = Vec::with_capacity(asked.examples.len());
    for (number, example) in asked.examples.iter().enumerate() {
        let what = format!("example {}", number + 1);
        let prompt = prompt_of(&example.prompt)?;
        let target = target_of(model, &example.target)?;
        fits(&what, &prompt, target.len() - 1)?;
        examples.push(LearnExample { prompt, target });
    }
    let mut kept = Vec::with_capacity(asked.preserve.len());
    for (number, prompt) in asked.preserve.iter().enumerate() {
        let prompt = prompt_of(prompt)?;
        fits(&format!("prompt {} of preserve", number + 1), &prompt, KEPT_TOKENS)?;
        kept.push(prompt);
    }
    let known = vocabulary(model)?;
    let norms = match asked.norm_limit {
        NormLimit::Vocabulary => (known.percentiles.p1, known.percentiles.p99),
        NormLimit::TokenNorms(most) if most.is_finite() && most > 0.0 => (0.0, most * known.percentiles.p50),
        NormLimit::TokenNorms(most) => {
            return Err(parameter(format!(
                "the limit of the norms is {most}; give a number of token norms above 0, or \"off\""
            )));
        }
        NormLimit::Off => (0.0, f64::MAX),
    };
    let batch = asked.batch.unwrap_or(BATCH).min(examples.len());
    Ok(Plan {
        start: start(model, &asked, &known)?,
        examples,
        kept,
        steps: asked.steps.unwrap_or(DEFAULT_STEPS),
        seed: asked.seed,
        rms: known.rms,
        settings: LearnSettings {
            batch,
            lr,
            norms,
            preserve_weight,
        },
    })
}

/// Checks what does not depend on the model.
fn check(asked: &LearnRequest) -> Result<(), ErrorField> {
    let within = |what: &str, value: usize, most: usize| {
        if (1..=most).contains(&value) {
            Ok(())
        } else {
            Err(parameter(format!("{what} is {value}; give 1 to {most}")))
        }
    };
    within("the number of examples", asked.examples.len(), MAX_EXAMPLES)?;
    within("len", asked.len, MAX_LEARNED_ROWS)?;
    within("steps", asked.steps.unwrap_or(DEFAULT_STEPS), MAX_STEPS)?;
    within("batch", asked.batch.unwrap_or(1), MAX_EXAMPLES)?;
    if asked.preserve.len() > MAX_PRESERVED {
        let count = asked.preserve.len();
        return Err(parameter(format!(
            "these are {count} prompts to preserve; give {MAX_PRESERVED} at most"
        )));
    }
    for (number, example) in asked.examples.iter().enumerate() {
        for (what, text) in [("prompt", &example.prompt), ("target", &example.target)] {
            if text.is_empty() {
                return Err(ErrorField::new(
                    Code::EMPTY_PROMPT,
                    format!("the {what} of example {} is empty; write at least one word", number + 1),
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
fn start(model: &SharedModel, asked: &LearnRequest, known: &Vocabulary) -> Result<SoftPrefix, ErrorField> {
    let hidden_size = model.info().hidden_size;
    if asked.len.saturating_mul(hidden_size) > MAX_VALUES {
        return Err(parameter(format!(
            "{} rows of {hidden_size} values are too many; give fewer",
            asked.len
        )));
    }
    let (kind, magnitude, words) = match &asked.init {
        Init::Rows(field) => {
            let rows = decode(field, hidden_size).map_err(|error| ErrorField::from(&error))?;
            if rows.len() != asked.len {
                let got = rows.len();
                return Err(parameter(format!(
                    "len is {}, but init has {got} rows; give the same number",
                    asked.len
                )));
            }
            return Ok(rows);
        }
        Init::Random => {
            let (seed, generator) = (asked.seed, Generator::default());
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
            let text = asked.examples.first().map(|example| &example.target);
            let kind = PrefixKind::Words {
                text: text.cloned().unwrap_or_default(),
            };
            (kind, Magnitude::Unscaled, text)
        }
    };
    let rows = words.map(|text| words_of(model, text)).transpose()?;
    let recipe = PrefixRecipe {
        kind,
        len: asked.len,
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
            "the words to begin with have no tokens; write at least one word",
        ));
    }
    rows_of(model, &tokens)
}

fn parameter(message: String) -> ErrorField {
    ErrorField::new(Code::PARAMETER, message)
}

impl Answer {
    pub fn new(peer: Peer, request_id: String, entry: LiveEntry, charge: Charge) -> Self {
        Self {
            peer,
            request_id,
            entry,
            settings: None,
            sent: None,
            last: None,
            _charge: charge,
        }
    }

    fn refuse(self, error: ErrorField) {
        let work_id = self.entry.task().work_id.clone();
        self.peer.reply(&Reply::error(self.request_id, work_id, error));
    }

    /// Sends a frame with the progress, and with the best rows if they have changed since the last frame.
    fn send(&mut self, judged: &Judged, best: &Best, end: Option<LearnEnd>) {
        let with_rows = end.is_some() || self.sent != Some(best.step);
        if with_rows {
            self.sent = Some(best.step);
        }
        let frame = LearnFrame {
            finish: end.is_some(),
            step: judged.step,
            steps: judged.steps,
            loss: told(&judged.loss),
            best: BestRows {
                step: best.step,
                loss: told(&best.loss),
                rows: with_rows.then(|| softprefix_core::prefix::encode(&best.rows)),
            },
            taken_back: judged.taken_back,
            elapsed_ms: judged.elapsed.as_secs_f64() * 1000.0,
            end,
            settings: self.settings.take(),
        };
        let work_id = self.entry.task().work_id.clone();
        let reply = Reply::data(self.request_id.clone(), work_id, LEARN, to_data(&frame));
        self.peer.reply(&reply);
    }
}

fn told(loss: &Loss) -> LearnLoss {
    LearnLoss {
        total: loss.total,
        likelihood: loss.likelihood,
        divergence: loss.divergence,
        matched: loss.matched,
        wanted: loss.wanted,
    }
}

impl LearnSink for Answer {
    fn started(&mut self) {
        self.entry.started();
    }

    fn judged(&mut self, judged: &Judged, best: &Best) {
        self.last = Some(*judged);
        // A client that reads slowly gets fewer frames.
        if self.sent.is_none() || self.peer.sink().has_room() {
            self.send(judged, best, None);
        }
    }

    fn is_gone(&self) -> bool {
        self.peer.sink().is_gone()
    }

    fn end(mut self: Box<Self>, outcome: Result<Learned, Unlearned>) {
        let stock = Code::MODEL_RUN.stock_message().unwrap_or_default();
        let failed = |sentence: &str| ErrorField::new(Code::MODEL_RUN, format!("{stock} {sentence}"));
        match (outcome, self.last) {
            (Ok(learned), Some(last)) => {
                let end = match learned.best.loss.says_all() {
                    true if !learned.stopped => LearnEnd::Reached,
                    _ if learned.stopped => LearnEnd::Stopped,
                    _ => LearnEnd::NotReached,
                };
                let last = Judged {
                    step: learned.steps,
                    taken_back: learned.taken_back,
                    ..last
                };
                self.send(&last, &learned.best, Some(end));
            }
            (Err(Unlearned::Failed(sentence)), _) => self.refuse(failed(&sentence)),
            _ if self.entry.task().is_closing() => {
                self.refuse(failed("The task was ended before anything was learned; set up again."));
            }
            _ => self.refuse(failed("Learning was stopped before it had begun; ask again.")),
        }
    }
}
