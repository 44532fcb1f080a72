//! The queues of jobs that wait for the engine.

use std::collections::VecDeque;
use std::time::Instant;

use softprefix_core::protocol::extension::Priority;

use super::job::{Job, JobError, JobOutcome, Timings};
use super::learning::LearnJob;
use super::scoring::ScoreJob;

/// A job and the time it was queued.
pub(super) struct QueuedJob {
    pub job: Job,
    pub queued_at: Instant,
}

impl QueuedJob {
    /// Ends a job that never started: releases its permit, then calls its sink.
    pub fn end(self, outcome: JobOutcome) {
        let timings = Timings {
            queued: self.queued_at.elapsed(),
            ..Timings::default()
        };
        drop(self.job.permit);
        self.job.sink.end(outcome, timings);
    }
}

/// The jobs that wait for the engine.
#[derive(Default)]
pub(super) struct Queues {
    live: VecDeque<QueuedJob>,
    batch: VecDeque<QueuedJob>,
    /// One of these runs at a time.
    pub scores: VecDeque<ScoreJob>,
    /// One of these runs at a time.
    pub learns: VecDeque<LearnJob>,
}

impl Queues {
    pub fn push(&mut self, job: Job) {
        let queue = match job.priority {
            Priority::Live => &mut self.live,
            Priority::Batch => &mut self.batch,
        };
        queue.push_back(QueuedJob {
            job,
            queued_at: Instant::now(),
        });
    }

    /// Removes the next job to start if `admit` admits it, and returns it with `admit`'s result. A slot for batch jobs can also take a live
    /// job. If the first job is not admitted, no other job overtakes it.
    pub fn pop<T>(&mut self, free: FreeSlots, admit: impl FnOnce(&Job) -> Option<T>) -> Option<(QueuedJob, T)> {
        let queue = match (self.live.is_empty(), free) {
            (_, FreeSlots { live: 0, .. }) | (true, FreeSlots { batch: 0, .. }) => return None,
            (false, _) => &mut self.live,
            (true, _) => &mut self.batch,
        };
        let admitted = admit(&queue.front()?.job)?;
        Some((queue.pop_front()?, admitted))
    }

    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.batch.is_empty() && self.scores.is_empty() && self.learns.is_empty()
    }

    /// Removes the jobs that are cancelled or past their deadline, or whose receiver is dropped.
    pub fn take_unwanted(&mut self, now: Instant) -> Self {
        Self {
            live: take_where(&mut self.live, |queued| queued.job.is_unwanted(now)),
            batch: take_where(&mut self.batch, |queued| queued.job.is_unwanted(now)),
            scores: take_where(&mut self.scores, |job| job.is_unwanted(now)),
            learns: take_where(&mut self.learns, LearnJob::is_unwanted),
        }
    }

    /// Ends all jobs.
    pub fn end(self, error: &JobError) {
        let outcome = match error {
            JobError::Stopped => JobOutcome::NeverStarted,
            JobError::Failed(sentence) => JobOutcome::Failed(sentence.clone()),
        };
        for queued in self.live.into_iter().chain(self.batch) {
            queued.end(outcome.clone());
        }
        for job in self.scores {
            job.end(error.clone());
        }
        for job in self.learns {
            job.end(error.clone());
        }
    }

    /// Returns the earliest deadline of the queued jobs.
    pub fn earliest_deadline(&self) -> Option<Instant> {
        let of_inferences = self.live.iter().chain(&self.batch).map(|queued| queued.job.deadline);
        let of_scores = self.scores.iter().map(|job| job.deadline);
        of_inferences.chain(of_scores).flatten().min()
    }
}

/// Removes the jobs for which `is_taken` returns `true`, in order.
fn take_where<T>(queue: &mut VecDeque<T>, is_taken: impl FnMut(&T) -> bool) -> VecDeque<T> {
    let (taken, kept) = std::mem::take(queue).into_iter().partition(is_taken);
    *queue = kept;
    taken
}

/// How many jobs of each priority can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FreeSlots {
    pub live: usize,
    pub batch: usize,
}

impl FreeSlots {
    /// Computes the free slots. If there is more than one slot, one is reserved for live jobs.
    pub fn of(max_sequences: usize, running_live: usize, running_batch: usize) -> Self {
        let free = max_sequences.saturating_sub(running_live + running_batch);
        let for_batch = if max_sequences > 1 {
            max_sequences - 1
        } else {
            max_sequences
        };
        Self {
            live: free,
            batch: for_batch.saturating_sub(running_batch).min(free),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slot_is_reserved_for_a_live_run() {
        assert_eq!(FreeSlots::of(4, 0, 3), FreeSlots { live: 1, batch: 0 });
        assert_eq!(FreeSlots::of(4, 1, 0), FreeSlots { live: 3, batch: 3 });
        assert_eq!(FreeSlots::of(4, 3, 0), FreeSlots { live: 1, batch: 1 });
        assert_eq!(
            FreeSlots::of(1, 0, 0),
            FreeSlots { live: 1, batch: 1 },
            "an engine of one sequence serves both kinds"
        );
        assert_eq!(FreeSlots::of(1, 0, 1), FreeSlots { live: 0, batch: 0 });
    }
}
