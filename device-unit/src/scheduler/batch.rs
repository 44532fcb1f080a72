//! One step of the running batch: choosing each sequence's rows, the forward pass, and choosing tokens from the logits.

use std::time::Instant;

use softprefix_core::protocol::extension::{FinishReason, Priority};

use super::active::{Active, push_prompt_rows, push_token_row};
use super::drafter::DraftCost;
use super::job::JobOutcome;
use super::worker::{NEVER, Worker};
use crate::engine::{EngineError, Logits, PASS_ROWS, SequenceStep};

/// Prompt rows in a step that also decodes. Decoding sequences wait for these rows, so there are few.
pub(super) const PROMPT_ROWS_DURING_DECODE: usize = 64;
/// Prompt rows in a step with several sequences of which none decodes.
const PREFILL_ROWS_SHARED: usize = PASS_ROWS;
/// Maximum rows of the decoding sequences in a step, drafted tokens included; more only if more sequences decode. Also the maximum rows of a
/// step of scoring or learning that runs between such steps.
pub(super) const DECODE_ROWS: usize = 16;
/// Fixed cost of a step, in rows: reading the weights takes as long for one row as for many. Fitted with the bench of drafts on the Qwen model
/// on an x86-64 machine with two cores.
const STEP_OVERHEAD_ROWS: f64 = 8.0;
/// What the second row of a step costs beyond the later ones, in steps of one row: the kernels for one row only wait for the memory. Measured as
/// [`STEP_OVERHEAD_ROWS`]: a step with a second row of one sequence takes about 0.3 of a step longer there.
const SECOND_ROW_STEPS: f64 = 0.3;
/// Prompt rows in a step of one sequence: two passes of the CPU engine. The engine polls that sequence's stop flag, so a long step can be
/// cancelled.
const PREFILL_ROWS_ALONE: usize = 2 * PASS_ROWS;

impl Worker {
    /// Runs one forward pass over the active sequences.
    pub(super) fn step(&mut self) {
        self.fill_rows();
        let participants = self.active.iter().filter(|active| !active.rows.is_empty()).count();
        let mut outs: Vec<Vec<f32>> = self
            .active
            .iter_mut()
            .filter(|active| !active.rows.is_empty())
            .map(|active| std::mem::take(&mut active.logits))
            .collect();
        let mut parts: Vec<SequenceStep<'_>> = self
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
                SequenceStep {
                    sequence: active.sequence,
                    rows: &active.rows,
                    logits,
                    out: std::mem::take(out),
                    // A stopped pass would have to be repeated by all its sequences, so a stop flag is passed only if there is one.
                    stop: if participants == 1 {
                        active.job.stop.as_atomic()
                    } else {
                        &NEVER
                    },
                }
            })
            .collect();
        if parts.is_empty() {
            return;
        }
        let result = self.engine.forward(&mut parts);
        let outs: Vec<Vec<f32>> = parts.into_iter().map(|part| part.out).collect();
        match result {
            Ok(()) => self.handle_logits(outs),
            Err(EngineError::Stopped) => {
                self.end_where(|active| {
                    (!active.rows.is_empty()).then_some(JobOutcome::Finished(FinishReason::Stopped))
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a step failed");
                let sentence = error.to_string();
                self.end_where(|active| (!active.rows.is_empty()).then(|| JobOutcome::Failed(sentence.clone())));
            }
        }
    }

    /// Fills each sequence's rows for the next step: the last token and its drafted successors if it decodes, else a chunk of its prompt.
    fn fill_rows(&mut self) {
        let decoding = self.active.iter().filter(|active| !active.prefilling()).count();
        let mut prompt_rows_left = match (decoding, self.active.len()) {
            (0, 1) => PREFILL_ROWS_ALONE,
            (0, _) => PREFILL_ROWS_SHARED,
            _ => PROMPT_ROWS_DURING_DECODE,
        };
        // A drafted row costs one row and, if accepted, saves its sequence a step. A step costs its overhead plus one row per decoding
        // sequence, and this sequence's share of that is the smaller the more sequences decode: drafts must then be likelier to pay off.
        let draft_cost = DraftCost {
            first: if decoding == 1 { SECOND_ROW_STEPS } else { 0.0 },
            each: decoding as f64 / (decoding as f64 + STEP_OVERHEAD_ROWS),
        };
        let mut draft_rows_left = DECODE_ROWS.saturating_sub(decoding);
        let mut undrafted_sequences = decoding;
        let mut order: Vec<usize> = (0..self.active.len()).collect();
        order.sort_by_key(|&i| self.active[i].job.priority == Priority::Batch);
        let mut failed = Vec::new();
        for i in order {
            let active = &mut self.active[i];
            active.rows.clear();
            active.drafted.clear();
            let result = if active.prefilling() {
                let wanted = active.prompt_rows - active.fed;
                let given = if self.chunked_prefill {
                    wanted.min(prompt_rows_left)
                } else {
                    wanted
                };
                prompt_rows_left = prompt_rows_left.saturating_sub(given);
                push_prompt_rows(active, given, self.hidden_size, self.embeddings.as_ref())
            } else {
                if let Some(drafter) = &mut active.job.drafter {
                    // The last token of the output is never fed, so nothing is drafted after it.
                    let wanted = active.job.max_new_tokens - active.produced - 1;
                    let drafted = drafter.propose(wanted.min(draft_rows_left / undrafted_sequences), draft_cost);
                    active.drafted.extend_from_slice(drafted);
                }
                draft_rows_left -= active.drafted.len();
                undrafted_sequences -= 1;
                let mut tokens = std::iter::once(&active.last).chain(&active.drafted);
                tokens.try_for_each(|&token| {
                    push_token_row(token, &mut active.rows, self.hidden_size, self.embeddings.as_ref())
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
                Some(JobOutcome::Failed(sentence.clone()))
            });
        }
    }

    /// Hands the logits to the sequences that took part in the step. `outs` is in their order.
    fn handle_logits(&mut self, outs: Vec<Vec<f32>>) {
        let mut outs = outs.into_iter();
        let mut finished = Vec::new();
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
            let (tokens, mut outcome) = choose_tokens(active);
            if together && !active.drafted.is_empty() {
                // Buffers that have held several rows' logits are not kept: with many sequences they add up.
                active.logits = Vec::new();
            }
            if let Some(&last) = tokens.last() {
                active.last = last;
                active.produced += tokens.len();
                active.job.sink.tokens(&tokens);
            }
            if let Some(drafter) = &mut active.job.drafter {
                drafter.observe(&tokens);
            }
            if outcome.is_none() && tokens.len() <= active.drafted.len() {
                // Rows after the first rejected draft are removed from the cache. It keeps the prompt and every output token but the last.
                let positions = active.prompt_rows + active.produced - 1;
                if let Err(error) = self.engine.rewind(active.sequence, positions) {
                    outcome = Some(JobOutcome::Failed(error.to_string()));
                }
            }
            if let Some(outcome) = outcome {
                finished.push((active.sequence, outcome));
            }
        }
        if !finished.is_empty() {
            self.end_where(|active| {
                let (_, outcome) = finished.iter().find(|(sequence, _)| *sequence == active.sequence)?;
                Some(outcome.clone())
            });
        }
    }
}

/// Chooses the tokens of one step: the one after the last known row and, as long as each draft equals the chosen token, the ones after
/// the drafts. Also returns the outcome if the sequence ends with these tokens.
fn choose_tokens(active: &mut Active) -> (Vec<u32>, Option<JobOutcome>) {
    let mut tokens = Vec::new();
    let vocab_size = active.logits.len() / (active.drafted.len() + 1);
    for place in 0..=active.drafted.len() {
        let logits = &active.logits[place * vocab_size..(place + 1) * vocab_size];
        let token = match (active.job.choose)(logits) {
            Ok(token) => token,
            Err(sentence) => return (tokens, Some(JobOutcome::Failed(sentence))),
        };
        if active.job.stop_tokens.contains(&token) {
            return (tokens, Some(JobOutcome::Finished(FinishReason::Stop)));
        }
        tokens.push(token);
        if active.produced + tokens.len() >= active.job.max_new_tokens {
            return (tokens, Some(JobOutcome::Finished(active.job.at_limit)));
        }
        if active.drafted.get(place) != Some(&token) {
            break;
        }
    }
    (tokens, None)
}
