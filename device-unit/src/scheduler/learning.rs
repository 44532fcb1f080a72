//! Learns a prefix: gradient steps on its rows (Adam, Kingma and Ba 2015), evaluated by the engine's own forward pass with the rows
//! rounded to bf16, as they would be sent. Runs in steps of a few milliseconds while the engine has nothing else to do,
//! and in small shares of the time beside other work.
//!
//! ```text
//! loss = mean over the target tokens of -ln p(token)
//!      + weight * mean over the positions of the preserved answers of KL(without prefix || with prefix)
//! ```

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use half::bf16;
use softprefix_core::prefix::{SoftPrefix, split_mix};
use softprefix_core::protocol::learn::LearnLoss;

use super::active::push_token_row;
use super::admission::AdmissionPermit;
use super::job::{JobError, StopFlag};
use crate::budget::Charge;
use crate::engine::gradient::{Differentiable, Example, Gradient, Target};
use crate::engine::likelihood::Comparison;
use crate::engine::sampling::greedy;
use crate::engine::{Engine, EngineError, Logits, SequenceId, SequenceStep, TokenEmbeddings};

/// Adam's decay rates of the first and the second moment.
const BETAS: (f32, f32) = (0.9, 0.999);
/// The learning rate of the last step, relative to the first.
const FINAL_RATE: f64 = 0.1;
/// Rollbacks after which learning ends.
const MAX_ROLLBACKS: usize = 8;

/// A prefix to learn.
pub struct LearnJob {
    /// Prompts with their targets, at least one.
    pub examples: Vec<LearnExample>,
    /// Prompts whose answers must not change from those without a prefix.
    pub preserved: Vec<Vec<u32>>,
    /// Weight of the preserved answers' divergence in the loss.
    pub preserve_weight: f64,
    /// Maximum number of tokens of a preserved answer.
    pub preserve_tokens: usize,
    /// Tokens that end an answer.
    pub stop_tokens: Arc<[u32]>,
    /// Examples that are evaluated and not learned from.
    pub held_out: Vec<LearnExample>,
    /// Groups of examples that are evaluated once, without a prefix. Each group gives one loss to compare with.
    pub references: Vec<Vec<LearnExample>>,
    /// The initial rows.
    pub init: SoftPrefix,
    /// Maximum number of steps.
    pub steps: usize,
    /// Examples per step.
    pub batch: usize,
    /// Learning rate of the first step, in units of the rows' values. It decays linearly to a tenth.
    pub rate: f64,
    /// Minimum and maximum L2 norm of each row.
    pub norm_range: (f64, f64),
    /// Seed of the order of the examples.
    pub seed: u64,
    /// Learning ends when every target token is the likeliest and the total loss is at most this.
    pub target_loss: f64,
    /// Cancels the job when set.
    pub stop: StopFlag,
    /// Receives the progress and the outcome.
    pub sink: Box<dyn LearnSink>,
    /// Released when the job starts.
    pub permit: AdmissionPermit,
}

/// A prompt and the answer to learn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearnExample {
    /// The tokens before the answer, at least one.
    pub prompt: Vec<u32>,
    /// The answer's tokens, at least one.
    pub target: Vec<u32>,
}

/// Receives the progress of learning. Its methods are called on the engine's thread and must not block.
pub trait LearnSink: Send {
    /// Called when the job starts.
    fn started(&mut self) {}

    /// Called with the losses of the job's references, in their order, before the first progress.
    fn references(&mut self, _losses: &[f64]) {}

    /// Called after each evaluation, with the best rows so far.
    fn progress(&mut self, progress: &LearnProgress, best: &BestPrefix);

    /// Returns `true` if the receiver is dropped; learning is then cancelled.
    fn is_closed(&self) -> bool;

    /// Called exactly once, last: with the best rows, also of a cancelled job if there are any, or the error.
    fn end(self: Box<Self>, outcome: Result<LearnedPrefix, JobError>);
}

/// The result of one evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LearnProgress {
    /// Steps taken.
    pub step: usize,
    /// Maximum number of steps.
    pub steps: usize,
    /// The losses of the rows at this step.
    pub loss: LearnLoss,
    /// Steps rolled back because a gradient or the model's logits were not finite.
    pub rolled_back: usize,
    /// Time since learning started.
    pub elapsed: Duration,
}

/// The best rows so far.
#[derive(Debug, Clone, PartialEq)]
pub struct BestPrefix {
    /// Steps taken when they were evaluated.
    pub step: usize,
    /// Their losses.
    pub loss: LearnLoss,
    /// The rows, rounded to bf16.
    pub rows: SoftPrefix,
}

/// The result of learning.
#[derive(Debug, Clone, PartialEq)]
pub struct LearnedPrefix {
    /// The best rows.
    pub best: BestPrefix,
    /// Steps taken.
    pub steps: usize,
    /// Steps rolled back.
    pub rolled_back: usize,
    /// Whether learning was cancelled before it was done.
    pub stopped: bool,
}

/// A prompt and its answer.
struct Item {
    part: Part,
    prompt: Vec<u32>,
    text: Vec<u32>,
}

/// What an item is evaluated for.
enum Part {
    /// Its text is the target.
    Target,
    /// Its text must stay as likely as without a prefix: V logits for each of its tokens.
    Preserved(Vec<Arc<[f32]>>),
    /// Its text is the target, and no gradient is taken.
    HeldOut,
    /// It belongs to the reference group of this index, which is evaluated without a prefix.
    Reference(usize),
}

impl Item {
    fn new(part: Part, example: &LearnExample) -> Self {
        Self {
            part,
            prompt: example.prompt.clone(),
            text: example.target.clone(),
        }
    }
}

/// A job in progress.
pub(super) struct Learning {
    job: LearnJob,
    /// Examples, preserved answers, held-out examples and references, in this order.
    items: Vec<Item>,
    /// Number of examples; they are the first items.
    examples: usize,
    /// Number of preserved answers; they follow the examples.
    preserved: usize,
    /// The optimised rows in f32. `prefix` holds them rounded to bf16, for evaluation and gradients.
    rows: Vec<f32>,
    prefix: SoftPrefix,
    moments: Moments,
    step: usize,
    rate: f64,
    rolled_back: usize,
    best: Option<BestPrefix>,
    order: ExampleOrder,
    stage: Stage,
    began: Instant,
    memory: Charge,
}

/// The next piece of work.
enum Stage {
    /// Generate the answers to preserve, with the feed and the logits of the one in progress.
    Generating(Option<Feed>, Vec<Arc<[f32]>>),
    /// Evaluate the rows on the item of this index, with the sums over the items before it.
    Evaluating(usize, Option<Feed>, LossSums),
    /// Add the gradients of these items (with their weights), last first. The flag is `true` if the last one's has begun.
    Differentiating(Vec<(usize, f32)>, bool, Vec<f32>),
    Done,
}

#[derive(Clone, Default)]
struct LossSums {
    target: Mean,
    matched: usize,
    preserved: Mean,
    held_out: Mean,
    references: Vec<Mean>,
    unusable: bool,
}

/// A sum of losses and their number.
#[derive(Clone, Copy, Default)]
struct Mean {
    sum: f64,
    count: usize,
}

impl Mean {
    fn add(&mut self, loss: f64) {
        self.sum += loss;
        self.count += 1;
    }

    /// Returns the mean; 0 without any loss.
    fn value(self) -> f64 {
        self.sum / self.count.max(1) as f64
    }
}

/// Adam's moment estimates.
struct Moments {
    first: Vec<f32>,
    second: Vec<f32>,
    /// The decay rates to the power of the number of steps, for the bias correction.
    beta_powers: (f32, f32),
}

impl Moments {
    fn new(len: usize) -> Self {
        Self {
            first: vec![0.0; len],
            second: vec![0.0; len],
            beta_powers: (1.0, 1.0),
        }
    }

    /// Applies one update of Adam with the learning rate `rate`.
    fn step(&mut self, rows: &mut [f32], gradient: &[f32], rate: f32) {
        let (beta1, beta2) = BETAS;
        self.beta_powers = (self.beta_powers.0 * beta1, self.beta_powers.1 * beta2);
        let (correction1, correction2) = (1.0 - self.beta_powers.0, 1.0 - self.beta_powers.1);
        let means = self.first.iter_mut().zip(&mut self.second);
        for ((row, &derivative), (first, second)) in rows.iter_mut().zip(gradient).zip(means) {
            *first = beta1 * *first + (1.0 - beta1) * derivative;
            *second = beta2 * *second + (1.0 - beta2) * derivative * derivative;
            *row -= rate * (*first / correction1) / ((*second / correction2).sqrt() + 1e-12);
        }
    }
}

/// Yields the examples in a random order, reshuffled when all have been used.
struct ExampleOrder {
    seed: u64,
    left: Vec<usize>,
}

impl ExampleOrder {
    fn next(&mut self, of: usize) -> Option<usize> {
        if self.left.is_empty() {
            self.left = (0..of).collect();
            for last in (1..of).rev() {
                let other = (split_mix(&mut self.seed) % (last as u64 + 1)) as usize;
                self.left.swap(last, other);
            }
        }
        self.left.pop()
    }
}

/// Limits of one piece of work.
#[derive(Clone, Copy)]
pub(super) struct Slice<'a> {
    /// Maximum number of rows per forward pass.
    pub max_rows: usize,
    /// If it is set meanwhile, the piece may be abandoned and is repeated by the next call.
    pub interrupt: &'a AtomicBool,
}

/// Rows that are fed to a sequence in chunks, with logits from row `wanted` on.
struct Feed {
    sequence: SequenceId,
    rows: Vec<bf16>,
    fed: usize,
    /// The first row whose logits are kept.
    wanted: usize,
    logits: Vec<f32>,
}

impl Feed {
    fn open(engine: &mut dyn Engine, rows: Vec<bf16>, positions: usize, wanted: usize) -> Result<Self, EngineError> {
        Ok(Self {
            sequence: engine.open(positions)?,
            rows,
            fed: 0,
            wanted,
            logits: Vec::new(),
        })
    }

    /// Runs one forward pass; returns `true` when all rows are fed. An interrupted pass feeds nothing and can be repeated.
    /// Closes the sequence on an error.
    fn step(&mut self, engine: &mut dyn Engine, width: usize, slice: Slice<'_>) -> Result<bool, EngineError> {
        let rows = self.rows.len() / width;
        let (to, logits) = if self.fed < self.wanted {
            (self.wanted, Logits::None)
        } else {
            (rows, Logits::All)
        };
        let to = to.min(self.fed + slice.max_rows);
        let mut batch = [SequenceStep {
            sequence: self.sequence,
            rows: &self.rows[self.fed * width..to * width],
            logits,
            out: Vec::new(),
            stop: slice.interrupt,
        }];
        match engine.forward(&mut batch) {
            Ok(()) => {}
            Err(EngineError::Stopped) => return Ok(false),
            Err(error) => {
                engine.close(self.sequence);
                return Err(error);
            }
        }
        let [step] = batch;
        self.logits.extend_from_slice(&step.out);
        self.fed = to;
        Ok(self.fed == rows)
    }
}

impl LearnJob {
    /// Returns `true` if the job is cancelled, or its receiver is dropped.
    pub(super) fn is_unwanted(&self) -> bool {
        self.stop.is_set() || self.sink.is_closed()
    }

    /// Ends a job that never started: releases its permit, then calls its sink.
    pub(super) fn end(self, error: JobError) {
        drop(self.permit);
        self.sink.end(Err(error));
    }

    /// Returns the maximum memory in bytes, and the maximum number of positions.
    pub(super) fn needs(&self, engine: &mut dyn Engine) -> (usize, usize) {
        let prefix = self.init.len();
        let longest = |texts: &mut dyn Iterator<Item = (usize, usize)>| {
            texts.fold((0, 0), |(rows, targets), (prompt, text)| {
                (rows.max(prefix + prompt + text - 1), targets.max(text))
            })
        };
        let of_examples = self
            .examples
            .iter()
            .chain(&self.held_out)
            .chain(self.references.iter().flatten())
            .map(|example| (example.prompt.len(), example.target.len()));
        let of_preserved = self.preserved.iter().map(|prompt| (prompt.len(), self.preserve_tokens));
        let (rows, targets) = longest(&mut of_examples.chain(of_preserved));
        let vocab_size = engine.info().vocab_size;
        let logits =
            (targets + self.preserved.len() * self.preserve_tokens).saturating_mul(2 * vocab_size * size_of::<f32>());
        let states = self.init.values().len().saturating_mul(8 * size_of::<f32>());
        let gradient = engine
            .differentiable()
            .map_or(0, |engine| engine.gradient_bytes(rows, targets));
        let cache = engine.sequence_bytes(rows);
        let all = [logits, states, gradient, cache];
        (all.into_iter().fold(0, usize::saturating_add), rows)
    }
}

impl Learning {
    /// Starts a job. A job that cannot start is ended with an error, and `None` is returned.
    pub fn begin(mut job: LearnJob, memory: Charge, engine: &mut dyn Engine) -> Option<Self> {
        let refusal = if job.is_unwanted() {
            Some(JobError::Stopped)
        } else if engine.differentiable().is_none() {
            let backend = &engine.info().backend;
            Some(JobError::Failed(format!(
                "the engine {backend} cannot learn; use the CPU engine"
            )))
        } else if job.examples.is_empty()
            || job
                .examples
                .iter()
                .chain(&job.held_out)
                .chain(job.references.iter().flatten())
                .any(|one| one.prompt.is_empty() || one.target.is_empty())
        {
            Some(JobError::Failed(
                "there is nothing to learn: an example has no prompt or no target".into(),
            ))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            job.end(refusal);
            return None;
        }
        job.permit.release();
        job.sink.started();
        let targets = job.examples.iter().map(|example| Item::new(Part::Target, example));
        let items: Vec<Item> = targets.collect();
        let rows: Vec<f32> = job.init.values().iter().map(|value| value.to_f32()).collect();
        Some(Self {
            examples: items.len(),
            preserved: 0,
            items,
            moments: Moments::new(rows.len()),
            rows,
            prefix: job.init.clone(),
            step: 0,
            rate: job.rate,
            rolled_back: 0,
            best: None,
            order: ExampleOrder {
                seed: job.seed,
                left: Vec::new(),
            },
            stage: Stage::Generating(None, Vec::new()),
            began: Instant::now(),
            job,
            memory,
        })
    }

    pub fn is_unwanted(&self) -> bool {
        self.job.is_unwanted()
    }

    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Returns the bytes reserved for it.
    pub fn memory_bytes(&self) -> usize {
        self.memory.bytes()
    }

    /// Releases the engine's resources and reports the outcome. A cancelled job still reports its best rows if there are any.
    pub fn end(self, engine: &mut dyn Engine, ended: Result<(), JobError>) {
        if let Stage::Generating(Some(feed), _) | Stage::Evaluating(_, Some(feed), _) = &self.stage {
            engine.close(feed.sequence);
        }
        if let Some(engine) = engine.differentiable() {
            engine.abort_gradient();
        }
        let stopped = ended == Err(JobError::Stopped);
        let outcome = match (ended, self.best) {
            (Ok(()) | Err(JobError::Stopped), Some(best)) => Ok(LearnedPrefix {
                best,
                steps: self.step,
                rolled_back: self.rolled_back,
                stopped,
            }),
            (Err(error), _) => Err(error),
            (Ok(()), None) => Err(JobError::Failed("no rows were evaluated".into())),
        };
        self.job.sink.end(outcome);
    }

    /// Does the next piece of work, within the limits of `slice`.
    pub fn work(
        &mut self,
        engine: &mut dyn Engine,
        embeddings: &dyn TokenEmbeddings,
        slice: Slice<'_>,
    ) -> Result<(), JobError> {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Generating(feed, found) => self.generate_preserved(engine, embeddings, slice, feed, found),
            Stage::Evaluating(index, feed, sums) => self.evaluate(engine, embeddings, slice, (index, feed, sums)),
            Stage::Differentiating(left, has_begun, sum) => {
                self.differentiate(engine, embeddings, left, has_begun, sum)
            }
            Stage::Done => Ok(()),
        }
    }

    /// Returns the rows of an item: prefix, prompt and the answer without its last token, which is predicted but never fed.
    fn rows_of(&self, item: &Item, embeddings: &dyn TokenEmbeddings) -> Result<Vec<bf16>, EngineError> {
        let mut rows = match item.part {
            Part::Reference(_) => Vec::new(),
            _ => self.prefix.values().to_vec(),
        };
        for &token in item.prompt.iter().chain(&item.text[..item.text.len() - 1]) {
            push_token_row(token, &mut rows, embeddings.hidden_size(), embeddings)?;
        }
        Ok(rows)
    }

    /// Generates the answer to the next preserved prompt without a prefix, one token per call.
    fn generate_preserved(
        &mut self,
        engine: &mut dyn Engine,
        embeddings: &dyn TokenEmbeddings,
        slice: Slice<'_>,
        feed: Option<Feed>,
        mut found: Vec<Arc<[f32]>>,
    ) -> Result<(), JobError> {
        let Some(prompt) = self.job.preserved.get(self.preserved) else {
            let held_out = self.job.held_out.iter();
            self.items
                .extend(held_out.map(|example| Item::new(Part::HeldOut, example)));
            for (group, examples) in self.job.references.iter().enumerate() {
                let of_group = examples
                    .iter()
                    .map(|example| Item::new(Part::Reference(group), example));
                self.items.extend(of_group);
            }
            self.begin_evaluation();
            return Ok(());
        };
        let width = embeddings.hidden_size();
        let mut feed = match feed {
            Some(feed) => feed,
            None => {
                let mut rows = Vec::new();
                for &token in prompt {
                    push_token_row(token, &mut rows, width, embeddings)?;
                }
                Feed::open(
                    engine,
                    rows,
                    prompt.len() + self.job.preserve_tokens,
                    prompt.len().saturating_sub(1),
                )?
            }
        };
        if feed.step(engine, width, slice)? {
            let logits = std::mem::take(&mut feed.logits);
            let Some(token) = greedy(&logits) else {
                engine.close(feed.sequence);
                return Err(unusable());
            };
            found.push(logits.into());
            if found.len() >= self.job.preserve_tokens || self.job.stop_tokens.contains(&token) {
                engine.close(feed.sequence);
                self.items.push(Item {
                    prompt: prompt.clone(),
                    text: found.iter().filter_map(|logits| greedy(logits)).collect(),
                    part: Part::Preserved(found),
                });
                self.preserved += 1;
                self.stage = Stage::Generating(None, Vec::new());
                return Ok(());
            }
            feed.wanted = feed.fed;
            push_token_row(token, &mut feed.rows, width, embeddings)?;
        }
        self.stage = Stage::Generating(Some(feed), found);
        Ok(())
    }

    /// Evaluates the rows on one item; after the last one, completes the evaluation.
    fn evaluate(
        &mut self,
        engine: &mut dyn Engine,
        embeddings: &dyn TokenEmbeddings,
        slice: Slice<'_>,
        (index, feed, mut sums): (usize, Option<Feed>, LossSums),
    ) -> Result<(), JobError> {
        // References do not depend on the rows: they are evaluated once, and they are the last items.
        let is_left = |item: &&Item| self.best.is_none() || !matches!(item.part, Part::Reference(_));
        let Some(item) = self.items.get(index).filter(is_left) else {
            return self.finish_evaluation(sums);
        };
        let width = embeddings.hidden_size();
        let mut feed = match feed {
            Some(feed) => feed,
            None => {
                let rows = self.rows_of(item, embeddings)?;
                let positions = rows.len() / width;
                Feed::open(engine, rows, positions, positions - item.text.len())?
            }
        };
        if feed.step(engine, width, slice)? {
            engine.close(feed.sequence);
            sums.add(item, &feed.logits, engine);
            self.stage = Stage::Evaluating(index + 1, None, sums);
        } else {
            self.stage = Stage::Evaluating(index, Some(feed), sums);
        }
        Ok(())
    }

    /// Computes the losses, reports them, and starts the next step if there is one.
    fn finish_evaluation(&mut self, sums: LossSums) -> Result<(), JobError> {
        if sums.unusable {
            return self.roll_back();
        }
        let (likelihood, divergence) = (sums.target.value(), sums.preserved.value());
        let loss = LearnLoss {
            total: likelihood + self.job.preserve_weight * divergence,
            likelihood,
            divergence,
            matched: sums.matched,
            wanted: sums.target.count,
            held_out: (!self.job.held_out.is_empty()).then(|| sums.held_out.value()),
        };
        if self.best.is_none() {
            let losses: Vec<f64> = sums.references.iter().map(|group| group.value()).collect();
            self.job.sink.references(&losses);
        }
        if self.best.as_ref().is_none_or(|best| is_better(&loss, &best.loss)) {
            self.best = Some(BestPrefix {
                step: self.step,
                loss,
                rows: self.prefix.clone(),
            });
        }
        if let Some(best) = &self.best {
            let progress = LearnProgress {
                step: self.step,
                steps: self.job.steps,
                loss,
                rolled_back: self.rolled_back,
                elapsed: self.began.elapsed(),
            };
            self.job.sink.progress(&progress, best);
        }
        let reached = loss.all_matched() && loss.total <= self.job.target_loss;
        if !reached && self.step < self.job.steps {
            self.begin_step();
        }
        Ok(())
    }

    /// Selects the items of one step: a batch of examples, and as many preserved answers.
    fn begin_step(&mut self) {
        let preserved = self.preserved;
        let examples: Vec<usize> = (0..self.job.batch.clamp(1, self.examples))
            .filter_map(|_| self.order.next(self.examples))
            .collect();
        let first = self.step * self.job.batch;
        let preserved: Vec<usize> = (0..self.job.batch.min(preserved))
            .map(|index| self.examples + (first + index) % preserved)
            .collect();
        let places = |items: &[usize]| {
            items
                .iter()
                .map(|&item| self.items[item].text.len())
                .sum::<usize>()
                .max(1) as f64
        };
        let of_examples = (1.0 / places(&examples)) as f32;
        let of_preserved = (self.job.preserve_weight / places(&preserved)) as f32;
        let all = examples.iter().map(|&item| (item, of_examples));
        let mut all: Vec<(usize, f32)> = all.chain(preserved.iter().map(|&item| (item, of_preserved))).collect();
        // Gradients are summed in the order of the items, so that the sum does not depend on the shuffled order.
        all.sort_unstable_by_key(|(item, _)| std::cmp::Reverse(*item));
        self.stage = Stage::Differentiating(all, false, vec![0.0; self.rows.len()]);
    }

    fn differentiate(
        &mut self,
        engine: &mut dyn Engine,
        embeddings: &dyn TokenEmbeddings,
        mut left: Vec<(usize, f32)>,
        has_begun: bool,
        mut sum: Vec<f32>,
    ) -> Result<(), JobError> {
        let Some(&(item, weight)) = left.last() else {
            return self.update_rows(&sum);
        };
        let engine: &mut dyn Differentiable = match engine.differentiable() {
            Some(engine) => engine,
            None => return Err(JobError::Failed("the engine cannot learn".into())),
        };
        if !has_begun {
            let item = &self.items[item];
            let targets = match &item.part {
                Part::Preserved(baseline) => baseline.iter().cloned().map(Target::Logits).collect(),
                _ => item.text.iter().copied().map(Target::Token).collect(),
            };
            engine.begin_gradient(Example {
                rows: self.rows_of(item, embeddings)?,
                learned: self.prefix.len(),
                targets,
                weight,
            })?;
        }
        let done = engine.advance_gradient();
        let has_begun = done.is_none();
        if let Some(Gradient { rows, .. }) = done {
            sum.iter_mut()
                .zip(&rows)
                .for_each(|(sum, derivative)| *sum += derivative);
            left.pop();
        }
        self.stage = Stage::Differentiating(left, has_begun, sum);
        Ok(())
    }

    /// Updates the rows by `gradient` and limits their norms.
    fn update_rows(&mut self, gradient: &[f32]) -> Result<(), JobError> {
        if !gradient.iter().all(|derivative| derivative.is_finite()) {
            return self.roll_back();
        }
        let fraction = self.step as f64 / self.job.steps.max(1) as f64;
        let rate = self.rate * (1.0 - (1.0 - FINAL_RATE) * fraction);
        self.moments.step(&mut self.rows, gradient, rate as f32);
        let width = self.prefix.hidden_size();
        let (least, most) = self.job.norm_range;
        for row in self.rows.chunks_exact_mut(width) {
            // The result of `powi` may differ between platforms.
            let squares = row.iter().map(|&value| f64::from(value) * f64::from(value));
            let norm = squares.sum::<f64>().sqrt();
            let wanted = norm.clamp(least, most);
            if norm > 0.0 && wanted != norm {
                let factor = wanted / norm;
                row.iter_mut()
                    .for_each(|value| *value = (f64::from(*value) * factor) as f32);
            }
        }
        self.step += 1;
        let rounded = self.rows.iter().map(|value| bf16::from_f32(*value)).collect();
        match SoftPrefix::from_bf16(width, rounded) {
            Ok(prefix) => self.prefix = prefix,
            Err(_) => return self.roll_back(),
        }
        // Evaluates once per pass over all examples.
        let every = self.examples.div_ceil(self.job.batch.max(1));
        if self.step.is_multiple_of(every) || self.step >= self.job.steps {
            self.begin_evaluation();
        } else {
            self.begin_step();
        }
        Ok(())
    }

    fn begin_evaluation(&mut self) {
        let sums = LossSums {
            references: vec![Mean::default(); self.job.references.len()],
            ..LossSums::default()
        };
        self.stage = Stage::Evaluating(0, None, sums);
    }

    /// Returns to the best rows with half the learning rate, because a gradient or a logit was not finite.
    fn roll_back(&mut self) -> Result<(), JobError> {
        self.rolled_back += 1;
        let Some(best) = &self.best else {
            return Err(unusable());
        };
        if self.rolled_back > MAX_ROLLBACKS {
            // The best rows are the result.
            self.stage = Stage::Done;
            return Ok(());
        }
        self.prefix = best.rows.clone();
        self.rows = best.rows.values().iter().map(|value| value.to_f32()).collect();
        self.moments = Moments::new(self.rows.len());
        self.rate /= 2.0;
        match self.step < self.job.steps {
            true => self.begin_step(),
            false => self.stage = Stage::Done,
        }
        Ok(())
    }
}

impl LossSums {
    /// Adds the losses of one item.
    fn add(&mut self, item: &Item, logits: &[f32], engine: &dyn Engine) {
        let vocab_size = engine.info().vocab_size;
        let baseline: Vec<f32> = match &item.part {
            Part::Preserved(baseline) => baseline.iter().flat_map(|logits| logits.iter().copied()).collect(),
            _ => Vec::new(),
        };
        let conditions: Vec<&[f32]> = match item.part {
            Part::Preserved(_) => vec![&baseline, logits],
            _ => vec![logits],
        };
        let comparison = Comparison::of(&conditions, vocab_size, |chunks| engine.reduce_chunks(chunks));
        for (position, &token) in item.text.iter().enumerate() {
            let Some(predictions) = comparison.at(position) else {
                self.unusable = true;
                return;
            };
            let Some(prediction) = predictions.last() else { continue };
            let surprisal = || -prediction.ln(token).unwrap_or(f64::NEG_INFINITY);
            match item.part {
                Part::Target => {
                    self.target.add(surprisal());
                    self.matched += usize::from(prediction.likeliest() == Some(token));
                }
                Part::Preserved(_) => self.preserved.add(prediction.divergence()),
                Part::HeldOut => self.held_out.add(surprisal()),
                Part::Reference(group) => {
                    if let Some(group) = self.references.get_mut(group) {
                        group.add(surprisal());
                    }
                }
            }
        }
    }
}

/// Whether rows with the first losses are better than those with the second.
fn is_better(one: &LearnLoss, other: &LearnLoss) -> bool {
    (one.all_matched(), -one.total) > (other.all_matched(), -other.total)
}

fn unusable() -> JobError {
    JobError::Failed("the model's logits are not all finite for the initial rows; start with smaller rows".into())
}
