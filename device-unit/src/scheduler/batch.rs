//! One step of the batch: which rows of whom, and what their logits come to.
//!
//! It knows what is running, and not who waits.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::active::{prompt_rows, token_row};
use super::job::{End, FinishReason, Priority};
use super::worker::Worker;
use crate::engine::{EngineError, Logits, Step};

/// Prompt rows a step may carry beside sequences that are producing tokens: these are held up by it.
pub(super) const PROMPT_ROWS_BESIDE_OTHERS: usize = 64;
/// Prompt rows of a step in which several sequences are fed and none is producing.
const PROMPT_ROWS_TOGETHER: usize = 128;
/// Prompt rows of a step that has one sequence only: the engine then watches that sequence's own stop flag.
const PROMPT_ROWS_ALONE: usize = 256;

impl Worker {
    /// One forward pass over everything that is alive.
    pub(super) fn step(&mut self) {
        self.choose_rows();
        static NEVER: AtomicBool = AtomicBool::new(false);
        let taking_part = self.active.iter().filter(|active| !active.rows.is_empty()).count();
        let mut outs: Vec<Vec<f32>> = self
            .active
            .iter_mut()
            .filter(|active| !active.rows.is_empty())
            .map(|active| std::mem::take(&mut active.logits))
            .collect();
        let mut steps: Vec<Step<'_>> = self
            .active
            .iter()
            .filter(|active| !active.rows.is_empty())
            .zip(&mut outs)
            .map(|(active, out)| {
                let rows = active.rows.len() / self.hidden_size;
                let last_of_prompt = active.fed + rows >= active.prompt_rows;
                Step {
                    sequence: active.sequence,
                    rows: &active.rows,
                    logits: if last_of_prompt { Logits::Last } else { Logits::None },
                    out: std::mem::take(out),
                    // A stop leaves the whole batch undefined, so the engine watches a flag only where it is nobody else's.
                    stop: if taking_part == 1 {
                        active.work.stop.as_atomic()
                    } else {
                        &NEVER
                    },
                }
            })
            .collect();
        if steps.is_empty() {
            return;
        }
        let result = self.engine.forward(&mut steps);
        let outs: Vec<Vec<f32>> = steps.into_iter().map(|step| step.out).collect();
        match result {
            Ok(()) => self.take_tokens(outs),
            Err(EngineError::Stopped) => {
                self.end_where(|active| (!active.rows.is_empty()).then_some(End::Finished(FinishReason::Stopped)));
            }
            Err(error) => {
                tracing::warn!(%error, "a step failed");
                let sentence = error.to_string();
                self.end_where(|active| (!active.rows.is_empty()).then(|| End::Failed(sentence.clone())));
            }
        }
    }

    /// Fills every sequence's rows for the next step: one for a producer, a piece of the prompt for the others.
    fn choose_rows(&mut self) {
        let producing = self.active.iter().filter(|active| !active.prefilling()).count();
        let mut budget = match (producing, self.active.len()) {
            (0, 1) => PROMPT_ROWS_ALONE,
            (0, _) => PROMPT_ROWS_TOGETHER,
            _ => PROMPT_ROWS_BESIDE_OTHERS,
        };
        let mut order: Vec<usize> = (0..self.active.len()).collect();
        order.sort_by_key(|&i| self.active[i].work.priority == Priority::Batch);
        let mut failed = Vec::new();
        for i in order {
            let active = &mut self.active[i];
            active.rows.clear();
            let result = if active.prefilling() {
                let wanted = active.prompt_rows - active.fed;
                let given = if self.chunked_prefill {
                    wanted.min(budget)
                } else {
                    wanted
                };
                budget = budget.saturating_sub(given);
                prompt_rows(active, given, self.hidden_size, self.embeddings.as_ref())
            } else {
                token_row(
                    active.last,
                    &mut active.rows,
                    self.hidden_size,
                    self.embeddings.as_ref(),
                )
            };
            if let Err(error) = result {
                active.rows.clear();
                failed.push((active.sequence, error.to_string()));
            }
        }
        if !failed.is_empty() {
            self.end_where(|active| {
                let (_, sentence) = failed.iter().find(|(sequence, _)| *sequence == active.sequence)?;
                Some(End::Failed(sentence.clone()))
            });
        }
    }

    /// Takes the step's logits to their sequences, `outs` being in the order of those that took part.
    fn take_tokens(&mut self, outs: Vec<Vec<f32>>) {
        let mut outs = outs.into_iter();
        let mut ended = Vec::new();
        for active in &mut self.active {
            if active.rows.is_empty() {
                continue;
            }
            active.logits = outs.next().unwrap_or_default();
            if active.prefilling() {
                active.fed += active.rows.len() / self.hidden_size;
                if active.prefilling() {
                    continue;
                }
                active.first_token = Some(Instant::now());
            }
            let token = match (active.work.choose)(&active.logits) {
                Ok(token) => token,
                Err(sentence) => {
                    ended.push((active.sequence, End::Failed(sentence)));
                    continue;
                }
            };
            if active.work.stop_tokens.contains(&token) {
                ended.push((active.sequence, End::Finished(FinishReason::Stop)));
                continue;
            }
            active.last = token;
            active.produced += 1;
            active.work.sink.token(token);
            if active.produced >= active.work.max_new_tokens {
                ended.push((active.sequence, End::Finished(active.work.at_limit)));
            }
        }
        if !ended.is_empty() {
            self.end_where(|active| {
                let (_, end) = ended.iter().find(|(sequence, _)| *sequence == active.sequence)?;
                Some(end.clone())
            });
        }
    }
}
