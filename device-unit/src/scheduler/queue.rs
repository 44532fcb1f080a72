//! The queues of jobs that wait for the engine (live before batch), and the limit on their number.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use softprefix_core::protocol::extension::Priority;

use super::job::Job;

/// Limits how many accepted inferences wait to start. Counted from the moment a request is accepted.
#[derive(Debug, Clone)]
pub struct AdmissionLimit {
    limit: usize,
    waiting: Arc<AtomicUsize>,
}

impl AdmissionLimit {
    /// Creates a limit of `limit` waiting inferences.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            waiting: Arc::default(),
        }
    }

    /// Acquires a permit for one inference, or returns the number of permits held if there is none left.
    ///
    /// # Errors
    /// The number of inferences that wait already.
    pub fn acquire(&self) -> Result<AdmissionPermit, usize> {
        let entered = self
            .waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
                (waiting < self.limit).then_some(waiting + 1)
            });
        entered.map(|_| AdmissionPermit(Arc::clone(&self.waiting)))
    }
}

/// Permission for one inference to wait. Released on drop.
#[derive(Debug)]
pub struct AdmissionPermit(Arc<AtomicUsize>);

impl Drop for AdmissionPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A job and the time it was queued.
pub(super) struct QueuedJob {
    pub job: Job,
    pub queued_at: Instant,
}

/// One queue for each [`Priority`].
#[derive(Default)]
pub(super) struct Queues {
    live: VecDeque<QueuedJob>,
    batch: VecDeque<QueuedJob>,
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
        self.live.is_empty() && self.batch.is_empty()
    }

    /// Removes all jobs for which `unwanted` returns `true`, in order.
    pub fn remove_where(&mut self, unwanted: impl Fn(&Job) -> bool) -> Vec<QueuedJob> {
        let mut taken = Vec::new();
        for queue in [&mut self.live, &mut self.batch] {
            let (out, kept): (VecDeque<_>, VecDeque<_>) = queue.drain(..).partition(|queued| unwanted(&queued.job));
            *queue = kept;
            taken.extend(out);
        }
        taken
    }

    /// Returns the earliest deadline of the queued jobs.
    pub fn earliest_deadline(&self) -> Option<Instant> {
        self.live
            .iter()
            .chain(&self.batch)
            .filter_map(|queued| queued.job.deadline)
            .min()
    }
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

    #[test]
    fn the_number_of_waiting_inferences_is_limited() {
        let limit = AdmissionLimit::new(2);
        let first = limit.acquire().unwrap();
        let _second = limit.acquire().unwrap();
        assert_eq!(limit.acquire().unwrap_err(), 2);
        drop(first);
        assert!(limit.acquire().is_ok());
    }
}
