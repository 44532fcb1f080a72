//! One step of the batch: which rows of whom, and what their logits come to.
//!
//! It knows what is running, and not who waits.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::active::{Active, prompt_rows, token_row};
use super::job::{End, FinishReason, Priority};
use super::worker::Worker;
use crate::engine::{EngineError, Logits, Step};

/// Prompt rows a step may carry beside sequences that are producing tokens: these are held up by it.
pub(super) const PROMPT_ROWS_BESIDE_OTHERS: usize = 64;
/// Prompt rows of a step in which several sequences are fed and none is producing.
const PROMPT_ROWS_TOGETHER: usize = 128;
/// Rows of a step of sequences that produce tokens, drafted ones included: as many columns as the CPU engine's kernels take at once.
const PRODUCING_ROWS: usize = 16;
/// What a step costs beside its rows, counted in rows: reading the weights, which is the same for one row and for many.
const ROWS_FOR_A_STEP: f64 = 8.0;

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
                let logits = match active.prefilling() {
                    true if active.fed + rows < active.prompt_rows => Logits::None,
                    true => Logits::Last,
                    false => Logits::All,
                };
                Step {
                    sequence: active.sequence,
                    rows: &active.rows,
                    logits,
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

    /// Fills every sequence's rows for the next step: one for a producer, with the tokens that are drafted behind it, and a piece of the
    /// prompt for the others.
    fn choose_rows(&mut self) {
        let producing = self.active.iter().filter(|active| !active.prefilling()).count();
        let mut budget = match (producing, self.active.len()) {
            (0, 1) => PROMPT_ROWS_ALONE,
            (0, _) => PROMPT_ROWS_TOGETHER,
            _ => PROMPT_ROWS_BESIDE_OTHERS,
        };
        // A drafted row costs one row, and saves its sequence a step with the probability of being right: the fewer share that step,
        // the more that is.
        let worth = producing as f64 / (producing as f64 + ROWS_FOR_A_STEP);
        let mut to_draft = PRODUCING_ROWS.saturating_sub(producing);
        let mut undrafted = producing;
        let mut order: Vec<usize> = (0..self.active.len()).collect();
        order.sort_by_key(|&i| self.active[i].work.priority == Priority::Batch);
        let mut failed = Vec::new();
        for i in order {
            let active = &mut self.active[i];
            active.rows.clear();
            active.drafted.clear();
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
                if let Some(drafter) = &mut active.work.drafter {
                    // The last token that is wanted is not fed, so nothing is drafted behind it.
                    let wanted = active.work.max_new_tokens - active.produced - 1;
                    let drafted = drafter.propose(wanted.min(to_draft / undrafted), worth);
                    active.drafted.extend_from_slice(drafted);
                }
                to_draft -= active.drafted.len();
                undrafted -= 1;
                let mut tokens = std::iter::once(&active.last).chain(&active.drafted);
                tokens.try_for_each(|&token| {
                    token_row(token, &mut active.rows, self.hidden_size, self.embeddings.as_ref())
                })
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
        let together = self.active.len() > 1;
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
            let (tokens, mut end) = chosen(active);
            if together && !active.drafted.is_empty() {
                // In the course of time each would come to hold those of all the rows of a step.
                active.logits = Vec::new();
            }
            if let Some(&last) = tokens.last() {
                active.last = last;
                active.produced += tokens.len();
                active.work.sink.tokens(&tokens);
            }
            if let Some(drafter) = &mut active.work.drafter {
                drafter.learn(&tokens);
            }
            if end.is_none() && tokens.len() <= active.drafted.len() {
                // What was fed behind the first wrong guess goes: all that stays is the prompt and every token but the last.
                let positions = active.prompt_rows + active.produced - 1;
                if let Err(error) = self.engine.rewind(active.sequence, positions) {
                    end = Some(End::Failed(error.to_string()));
                }
            }
            if let Some(end) = end {
                ended.push((active.sequence, end));
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

/// The tokens that a step's logits come to, and the end if one of them is: the token after the last row that was known, and those after
/// drafted rows for as long as these are what was chosen before them.
fn chosen(active: &mut Active) -> (Vec<u32>, Option<End>) {
    let mut tokens = Vec::new();
    let vocab_size = active.logits.len() / (active.drafted.len() + 1);
    for place in 0..=active.drafted.len() {
        let logits = &active.logits[place * vocab_size..(place + 1) * vocab_size];
        let token = match (active.work.choose)(logits) {
            Ok(token) => token,
            Err(sentence) => return (tokens, Some(End::Failed(sentence))),
        };
        if active.work.stop_tokens.contains(&token) {
            return (tokens, Some(End::Finished(FinishReason::Stop)));
        }
        tokens.push(token);
        if active.produced + tokens.len() >= active.work.max_new_tokens {
            return (tokens, Some(End::Finished(active.work.at_limit)));
        }
        if active.drafted.get(place) != Some(&token) {
            break;
        }
    }
    (tokens, None)
}
