//! A sequence of the running batch: its job, its progress and the rows of its next step.

use std::time::{Duration, Instant};

use half::bf16;
use softprefix_core::prefix::SoftPrefix;

use super::drafter::Drafter;
use super::job::{Job, JobOutcome, Timings};
use crate::budget::Charge;
use crate::engine::{EngineError, SequenceId, TokenEmbeddings};

/// A job that occupies a sequence of the engine.
pub(super) struct Active {
    pub sequence: SequenceId,
    pub job: Job,
    /// Rows of the prefix and the prompt. The first `fed` of them are in the KV cache.
    pub prompt_rows: usize,
    pub fed: usize,
    pub produced: usize,
    pub last: u32,
    /// Rows of the next step; empty if the sequence sits the step out.
    pub rows: Vec<bf16>,
    /// Drafted tokens whose rows end `rows`.
    pub drafted: Vec<u32>,
    pub logits: Vec<f32>,
    /// How long the job was queued.
    pub waited: Duration,
    pub started: Instant,
    pub first_token: Option<Instant>,
    /// Charged for the sequence's KV cache.
    pub _memory: Charge,
}

impl Active {
    pub fn prefilling(&self) -> bool {
        self.fed < self.prompt_rows
    }

    /// Returns `true` if the job is cancelled, past its deadline, or its receiver is dropped.
    pub fn is_unwanted(&self, now: Instant) -> bool {
        self.job.is_unwanted(now)
    }

    fn timings(&self) -> Timings {
        let now = Instant::now();
        let first = self.first_token.unwrap_or(now);
        let (drafted, accepted) = self.job.drafter.as_ref().map_or((0, 0), Drafter::counts);
        Timings {
            queued: self.waited,
            prefill: first - self.started,
            decode: now.saturating_duration_since(first),
            drafted,
            accepted,
        }
    }

    pub fn end(self, outcome: JobOutcome) {
        let timings = self.timings();
        self.job.sink.end(outcome, timings);
    }
}

/// Appends the next `count` rows of prefix and prompt to the active sequence's rows.
pub(super) fn push_prompt_rows(
    active: &mut Active,
    count: usize,
    hidden_size: usize,
    embeddings: &dyn TokenEmbeddings,
) -> Result<(), EngineError> {
    let prefix_rows = active.job.prefix.as_ref().map_or(0, SoftPrefix::len);
    for position in active.fed..active.fed + count {
        match active.job.prefix.as_ref().and_then(|prefix| prefix.get(position)) {
            Some(row) => active.rows.extend_from_slice(row),
            None => push_token_row(
                active.job.tokens[position - prefix_rows],
                &mut active.rows,
                hidden_size,
                embeddings,
            )?,
        }
    }
    Ok(())
}

/// Appends the embedding row of `token` to `rows`.
pub(super) fn push_token_row(
    token: u32,
    rows: &mut Vec<bf16>,
    hidden_size: usize,
    embeddings: &dyn TokenEmbeddings,
) -> Result<(), EngineError> {
    let start = rows.len();
    rows.resize(start + hidden_size, bf16::ZERO);
    embeddings.row(token, &mut rows[start..])
}
