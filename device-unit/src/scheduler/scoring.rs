//! Leading the model through a text (teacher forcing): one sequence without and one with each prefix, side by side, a few tokens at
//! a time, so that those who produce text are held up little. It knows token ids, and no text and no request.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use half::bf16;
use softprefix_core::prefix::SoftPrefix;

use super::active::token_row;
use super::job::StopFlag;
use super::queue::Place;
use crate::budget::Charge;
use crate::engine::likelihood::{Comparison, Prediction};
use crate::engine::{Engine, EngineError, Logits, SequenceId, Step, TokenEmbeddings};

/// A text to be scored by teacher forcing.
pub struct ScoreJob {
    /// What stands in front, the base first; the others are compared with it.
    pub conditions: Vec<Option<SoftPrefix>>,
    /// The tokens before the text, at least one.
    pub prompt: Vec<u32>,
    /// At least one.
    pub text: Vec<u32>,
    /// How many of the likeliest tokens are told at each place.
    pub top: usize,
    /// Ends the work early when set.
    pub stop: StopFlag,
    /// When it is given up at the latest.
    pub deadline: Option<Instant>,
    /// Receives the scores or the error.
    pub sink: Box<dyn ScoreSink>,
    /// Its place among the waiting jobs.
    pub place: Place,
}

/// Who is told of the scores. Called from the thread that owns the engine, so no call may wait for anything.
pub trait ScoreSink: Send {
    /// It has begun.
    fn started(&mut self) {}

    /// Whether nobody is left to hear it; then it is given up.
    fn is_gone(&self) -> bool;

    /// The last call, once, however it ended: for each condition, the scores of the text's tokens.
    fn end(self: Box<Self>, outcome: Result<Vec<Vec<TokenScore>>, Unscored>);
}

/// Why there are no scores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unscored {
    /// Somebody asked for it, or its time was up.
    Stopped,
    /// The sentence says why.
    Failed(String),
}

/// One token of the text under one condition.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenScore {
    /// ln of its probability after those before it.
    pub logprob: f64,
    /// KL(base || this) of the prediction it was drawn from; 0 for the base.
    pub divergence: f64,
    /// Whether the likeliest token is the base's.
    pub same_top: bool,
    /// The likeliest tokens and ln of their probabilities.
    pub top: Vec<(u32, f64)>,
}

/// A job at work.
pub(super) struct Scoring {
    lanes: Vec<Lane>,
    prompt: Vec<u32>,
    text: Vec<u32>,
    top: usize,
    stop: StopFlag,
    deadline: Option<Instant>,
    sink: Box<dyn ScoreSink>,
    /// Tokens of the text that have been scored, in every lane.
    scored: usize,
    _memory: Charge,
}

/// One condition's sequence.
struct Lane {
    sequence: SequenceId,
    prefix: Option<SoftPrefix>,
    /// Rows the engine has.
    fed: usize,
    /// Rows of the next step; empty where it sits one out.
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
    /// Bytes that it can come to hold, and the positions of its longest condition.
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
    /// Opens a sequence for each condition. A job that cannot begin is told so.
    pub fn begin(job: ScoreJob, memory: Charge, engine: &mut dyn Engine) -> Option<Self> {
        let ScoreJob {
            conditions,
            prompt,
            text,
            top,
            stop,
            deadline,
            mut sink,
            place,
        } = job;
        drop(place);
        if stop.is_set() || sink.is_gone() {
            sink.end(Err(Unscored::Stopped));
            return None;
        }
        if prompt.is_empty() || text.is_empty() || conditions.is_empty() {
            sink.end(Err(Unscored::Failed(
                "there is nothing to score: no text, or nothing before it".into(),
            )));
            return None;
        }
        let mut lanes: Vec<Lane> = Vec::with_capacity(conditions.len());
        for prefix in conditions {
            // The last token of the text is predicted and never fed.
            let positions = prefix.as_ref().map_or(0, SoftPrefix::len) + prompt.len() + text.len() - 1;
            match engine.open(positions) {
                Ok(sequence) => lanes.push(Lane {
                    sequence,
                    prefix,
                    fed: 0,
                    rows: Vec::new(),
                    logits: Vec::new(),
                    scores: Vec::with_capacity(text.len()),
                }),
                Err(error) => {
                    lanes.iter().for_each(|lane| engine.close(lane.sequence));
                    sink.end(Err(Unscored::Failed(error.to_string())));
                    return None;
                }
            }
        }
        sink.started();
        Some(Self {
            lanes,
            prompt,
            text,
            top,
            stop,
            deadline,
            sink,
            scored: 0,
            _memory: memory,
        })
    }

    pub fn unwanted(&self, now: Instant) -> bool {
        self.stop.is_set() || self.deadline.is_some_and(|deadline| now >= deadline) || self.sink.is_gone()
    }

    pub fn is_done(&self) -> bool {
        self.scored == self.text.len()
    }

    /// Gives its sequences back and tells how it ended.
    pub fn end(self, engine: &mut dyn Engine, ended: Result<(), Unscored>) {
        self.lanes.iter().for_each(|lane| engine.close(lane.sequence));
        let scores = self.lanes.into_iter().map(|lane| lane.scores).collect();
        self.sink.end(ended.map(|()| scores));
    }

    /// One forward pass of about `budget` rows. Where `give_up` is set meanwhile, it may have been for nothing: the rows are then fed
    /// again next time.
    pub fn step(
        &mut self,
        engine: &mut dyn Engine,
        embeddings: &dyn TokenEmbeddings,
        budget: usize,
        give_up: &AtomicBool,
    ) -> Result<(), Unscored> {
        let logits = self.choose_rows(embeddings, budget).map_err(failed)?;
        let mut outs: Vec<Vec<f32>> = self
            .lanes
            .iter_mut()
            .filter(|lane| !lane.rows.is_empty())
            .map(|lane| std::mem::take(&mut lane.logits))
            .collect();
        let taking_part = self.lanes.iter().filter(|lane| !lane.rows.is_empty());
        let mut steps: Vec<Step<'_>> = taking_part
            .zip(&mut outs)
            .map(|(lane, out)| Step {
                sequence: lane.sequence,
                rows: &lane.rows,
                logits,
                out: std::mem::take(out),
                stop: give_up,
            })
            .collect();
        let given_up = match engine.forward(&mut steps) {
            Ok(()) => false,
            Err(EngineError::Stopped) => true,
            Err(error) => return Err(failed(error)),
        };
        let outs: Vec<Vec<f32>> = steps.into_iter().map(|step| step.out).collect();
        let hidden_size = embeddings.hidden_size();
        let taking_part = self.lanes.iter_mut().filter(|lane| !lane.rows.is_empty());
        for (lane, out) in taking_part.zip(outs) {
            if !given_up {
                lane.fed += lane.rows.len() / hidden_size;
            }
            lane.logits = out;
        }
        if logits == Logits::All && !given_up {
            self.score(engine, embeddings.vocab_size())?;
        }
        Ok(())
    }

    /// Fills the lanes' next rows. What stands before the text is fed without logits; then all lanes go through the text abreast,
    /// each row's logits being the prediction of the token after it.
    fn choose_rows(&mut self, embeddings: &dyn TokenEmbeddings, budget: usize) -> Result<Logits, EngineError> {
        let (prompt, text, scored) = (&self.prompt, &self.text, self.scored);
        let before = |lane: &Lane| lane.prefix_rows() + prompt.len() - 1;
        let feeding = self.lanes.iter().any(|lane| lane.fed < before(lane));
        let abreast = (budget / self.lanes.len()).clamp(1, text.len() - scored);
        let mut left = budget.max(1);
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
                token_row(token, &mut lane.rows, embeddings.hidden_size(), embeddings)?;
            }
        }
        Ok(if feeding { Logits::None } else { Logits::All })
    }

    /// Takes the predictions of the rows just fed.
    fn score(&mut self, engine: &dyn Engine, vocab_size: usize) -> Result<(), Unscored> {
        let unusable = || Unscored::Failed("the model's logits are not all finite; choose a smaller prefix".into());
        let logits: Vec<Vec<f32>> = self
            .lanes
            .iter_mut()
            .map(|lane| std::mem::take(&mut lane.logits))
            .collect();
        let conditions: Vec<&[f32]> = logits.iter().map(Vec::as_slice).collect();
        let comparison = Comparison::of(&conditions, vocab_size, |shares| engine.weigh(shares));
        for (place, &token) in (0..comparison.places()).zip(&self.text[self.scored..]) {
            let predictions = comparison.at(place).ok_or_else(unusable)?;
            let expected = predictions.first().and_then(Prediction::likeliest);
            for (lane, prediction) in self.lanes.iter_mut().zip(&predictions) {
                lane.scores.push(TokenScore {
                    logprob: prediction.ln(token).ok_or_else(unusable)?,
                    divergence: prediction.divergence(),
                    same_top: prediction.likeliest() == expected,
                    top: prediction.top(self.top),
                });
            }
        }
        self.scored += comparison.places();
        for (lane, logits) in self.lanes.iter_mut().zip(logits) {
            lane.logits = logits;
        }
        Ok(())
    }
}

fn failed(error: EngineError) -> Unscored {
    Unscored::Failed(error.to_string())
}
