//! Scores a text by teacher forcing: one sequence without a prefix and one with each prefix, side by side. Works in small steps, so
//! that sequences that decode meanwhile are held up little.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use half::bf16;
use softprefix_core::prefix::SoftPrefix;

use super::active::push_token_row;
use super::admission::AdmissionPermit;
use super::job::{JobError, StopFlag};
use crate::budget::Charge;
use crate::engine::likelihood::{Comparison, Prediction};
use crate::engine::{Engine, EngineError, Logits, SequenceId, SequenceStep, TokenEmbeddings};

/// A text to score by teacher forcing.
pub struct ScoreJob {
    /// The prefix of each condition. The first is the reference, which the others are compared with.
    pub conditions: Vec<Option<SoftPrefix>>,
    /// Tokens before the text, at least one.
    pub prompt: Vec<u32>,
    /// Tokens to score, at least one.
    pub text: Vec<u32>,
    /// Number of likeliest tokens to report at each position.
    pub top: usize,
    /// Cancels the job when set.
    pub stop: StopFlag,
    /// The job is ended at this time at the latest.
    pub deadline: Option<Instant>,
    /// Receives the scores or the error.
    pub sink: Box<dyn ScoreSink>,
    /// Released when the job starts.
    pub permit: AdmissionPermit,
}

/// Receives the scores. Its methods are called on the engine's thread and must not block.
pub trait ScoreSink: Send {
    /// Called when the job starts.
    fn started(&mut self) {}

    /// Returns `true` if the receiver is dropped; the job is then cancelled.
    fn is_closed(&self) -> bool;

    /// Called exactly once, last: with the scores of the text's tokens for each condition, or the error.
    fn end(self: Box<Self>, outcome: Result<Vec<Vec<TokenScore>>, JobError>);
}

/// The score of one token under one condition.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenScore {
    /// ln p(token | preceding tokens).
    pub logprob: f64,
    /// KL(reference || this condition) of the prediction at the token's position, in nats; 0 for the reference.
    pub divergence: f64,
    /// Whether the likeliest token is the same as the reference's.
    pub same_top: bool,
    /// The likeliest tokens with the ln of their probabilities, likeliest first.
    pub top: Vec<(u32, f64)>,
}

/// A job in progress.
pub(super) struct Scoring {
    lanes: Vec<Lane>,
    /// Its conditions are moved to the lanes.
    job: ScoreJob,
    /// Number of tokens scored, in every lane.
    scored: usize,
    _memory: Charge,
}

/// The sequence of one condition.
struct Lane {
    sequence: SequenceId,
    prefix: Option<SoftPrefix>,
    /// Rows in the KV cache.
    fed: usize,
    /// Rows of the next step; empty if the lane sits the step out.
    rows: Vec<bf16>,
    logits: Vec<f32>,
    scores: Vec<TokenScore>,
}

impl Lane {
    fn prefix_rows(&self) -> usize {
        self.prefix.as_ref().map_or(0, SoftPrefix::len)
    }
}

impl ScoreJob {
    /// Returns `true` if the job is cancelled or past its deadline, or its receiver is dropped.
    pub(super) fn is_unwanted(&self, now: Instant) -> bool {
        self.stop.is_set() || self.deadline.is_some_and(|deadline| now >= deadline) || self.sink.is_closed()
    }

    /// Ends a job that never started: releases its permit, then calls its sink.
    pub(super) fn end(self, error: JobError) {
        drop(self.permit);
        self.sink.end(Err(error));
    }

    /// Returns the maximum memory in bytes, and the positions of the longest condition.
    pub(super) fn needs(&self, engine: &dyn Engine) -> (usize, usize) {
        let rows = |prefix: &Option<SoftPrefix>| {
            prefix.as_ref().map_or(0, SoftPrefix::len) + self.prompt.len() + self.text.len().saturating_sub(1)
        };
        let score = size_of::<TokenScore>() + self.top * size_of::<(u32, f64)>();
        let scores = self
            .conditions
            .len()
            .saturating_mul(self.text.len())
            .saturating_mul(score);
        let caches = self.conditions.iter().map(|prefix| engine.sequence_bytes(rows(prefix)));
        let longest = self.conditions.iter().map(rows).max().unwrap_or(0);
        (caches.fold(scores, usize::saturating_add), longest)
    }
}

impl Scoring {
    /// Starts a job: opens a sequence for each condition. A job that cannot start is ended with an error, and `None` is returned.
    pub fn begin(mut job: ScoreJob, memory: Charge, engine: &mut dyn Engine) -> Option<Self> {
        if job.stop.is_set() || job.sink.is_closed() {
            job.end(JobError::Stopped);
            return None;
        }
        if job.prompt.is_empty() || job.text.is_empty() || job.conditions.is_empty() {
            job.end(JobError::Failed(
                "there is nothing to score: the text or the prompt is empty".into(),
            ));
            return None;
        }
        let conditions = std::mem::take(&mut job.conditions);
        let mut lanes: Vec<Lane> = Vec::with_capacity(conditions.len());
        for prefix in conditions {
            // The last token of the text is predicted and never an input.
            let positions = prefix.as_ref().map_or(0, SoftPrefix::len) + job.prompt.len() + job.text.len() - 1;
            match engine.open(positions) {
                Ok(sequence) => lanes.push(Lane {
                    sequence,
                    prefix,
                    fed: 0,
                    rows: Vec::new(),
                    logits: Vec::new(),
                    scores: Vec::with_capacity(job.text.len()),
                }),
                Err(error) => {
                    lanes.iter().for_each(|lane| engine.close(lane.sequence));
                    job.end(error.into());
                    return None;
                }
            }
        }
        job.permit.release();
        job.sink.started();
        Some(Self {
            lanes,
            job,
            scored: 0,
            _memory: memory,
        })
    }

    pub fn is_unwanted(&self, now: Instant) -> bool {
        self.job.is_unwanted(now)
    }

    pub fn is_done(&self) -> bool {
        self.scored == self.job.text.len()
    }

    /// Closes the sequences and reports the outcome.
    pub fn end(self, engine: &mut dyn Engine, ended: Result<(), JobError>) {
        self.lanes.iter().for_each(|lane| engine.close(lane.sequence));
        let scores = self.lanes.into_iter().map(|lane| lane.scores).collect();
        self.job.sink.end(ended.map(|()| scores));
    }

    /// Runs one forward pass of about `max_rows` rows. A pass interrupted by `interrupt` feeds nothing and is repeated by the next call.
    pub fn step(
        &mut self,
        engine: &mut dyn Engine,
        embeddings: &dyn TokenEmbeddings,
        max_rows: usize,
        interrupt: &AtomicBool,
    ) -> Result<(), JobError> {
        let logits = self.fill_rows(embeddings, max_rows)?;
        let mut outs: Vec<Vec<f32>> = self
            .lanes
            .iter_mut()
            .filter(|lane| !lane.rows.is_empty())
            .map(|lane| std::mem::take(&mut lane.logits))
            .collect();
        let participants = self.lanes.iter().filter(|lane| !lane.rows.is_empty());
        let mut parts: Vec<SequenceStep<'_>> = participants
            .zip(&mut outs)
            .map(|(lane, out)| SequenceStep {
                sequence: lane.sequence,
                rows: &lane.rows,
                logits,
                out: std::mem::take(out),
                stop: interrupt,
            })
            .collect();
        let interrupted = match engine.forward(&mut parts) {
            Ok(()) => false,
            Err(EngineError::Stopped) => true,
            Err(error) => return Err(error.into()),
        };
        let outs: Vec<Vec<f32>> = parts.into_iter().map(|part| part.out).collect();
        let hidden_size = embeddings.hidden_size();
        let participants = self.lanes.iter_mut().filter(|lane| !lane.rows.is_empty());
        for (lane, out) in participants.zip(outs) {
            if !interrupted {
                lane.fed += lane.rows.len() / hidden_size;
            }
            lane.logits = out;
        }
        if logits == Logits::All && !interrupted {
            self.score(engine, embeddings.vocab_size())?;
        }
        Ok(())
    }

    /// Fills the lanes' next rows. Rows before the text are fed without logits. Then all lanes advance through the text in parallel;
    /// each row's logits predict the token after it.
    fn fill_rows(&mut self, embeddings: &dyn TokenEmbeddings, max_rows: usize) -> Result<Logits, EngineError> {
        let (prompt, text, scored) = (&self.job.prompt, &self.job.text, self.scored);
        let before = |lane: &Lane| lane.prefix_rows() + prompt.len() - 1;
        let feeding = self.lanes.iter().any(|lane| lane.fed < before(lane));
        let abreast = (max_rows / self.lanes.len()).clamp(1, text.len() - scored);
        let mut left = max_rows.max(1);
        for lane in &mut self.lanes {
            lane.rows.clear();
            let count = if feeding {
                let count = (before(lane) - lane.fed).min(left);
                left -= count;
                count
            } else {
                abreast
            };
            let prefix_rows = lane.prefix_rows();
            for position in lane.fed..lane.fed + count {
                if let Some(row) = lane.prefix.as_ref().and_then(|prefix| prefix.get(position)) {
                    lane.rows.extend_from_slice(row);
                    continue;
                }
                let place = position - prefix_rows;
                let token = prompt.get(place).or_else(|| text.get(place - prompt.len()));
                let Some(&token) = token else { break };
                push_token_row(token, &mut lane.rows, embeddings.hidden_size(), embeddings)?;
            }
        }
        Ok(if feeding { Logits::None } else { Logits::All })
    }

    /// Scores the tokens that the last rows predict.
    fn score(&mut self, engine: &dyn Engine, vocab_size: usize) -> Result<(), JobError> {
        let unusable = || JobError::Failed("the model's logits are not all finite; choose a smaller prefix".into());
        let logits: Vec<Vec<f32>> = self
            .lanes
            .iter_mut()
            .map(|lane| std::mem::take(&mut lane.logits))
            .collect();
        let conditions: Vec<&[f32]> = logits.iter().map(Vec::as_slice).collect();
        let comparison = Comparison::of(&conditions, vocab_size, |chunks| engine.reduce_chunks(chunks));
        for (position, &token) in (0..comparison.positions()).zip(&self.job.text[self.scored..]) {
            let predictions = comparison.at(position).ok_or_else(unusable)?;
            let expected = predictions.first().and_then(Prediction::likeliest);
            for (lane, prediction) in self.lanes.iter_mut().zip(&predictions) {
                lane.scores.push(TokenScore {
                    logprob: prediction.ln(token).ok_or_else(unusable)?,
                    divergence: prediction.divergence(),
                    same_top: prediction.likeliest() == expected,
                    top: prediction.top(self.job.top),
                });
            }
        }
        self.scored += comparison.positions();
        for (lane, logits) in self.lanes.iter_mut().zip(logits) {
            lane.logits = logits;
        }
        Ok(())
    }
}
