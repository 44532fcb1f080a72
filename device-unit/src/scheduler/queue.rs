//! The queues of jobs that wait for the engine (live before batch), and the limit on their number.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::job::{Job, Priority};

/// Limits how many accepted inferences wait to start. Counted from the moment a request is accepted.
#[derive(Debug, Clone)]
pub struct WaitingRoom {
    limit: usize,
    waiting: Arc<AtomicUsize>,
}

impl WaitingRoom {
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
    pub fn enter(&self) -> Result<Place, usize> {
        let entered = self
            .waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
                (waiting < self.limit).then_some(waiting + 1)
            });
        entered.map(|_| Place(Arc::clone(&self.waiting)))
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }
}

/// Permission for one inference to wait. Released on drop.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A job and the time it was queued.
pub(super) struct Waiting {
    pub job: Job,
    pub since: Instant,
}

/// One queue for each [`Priority`].
#[derive(Default)]
pub(super) struct Lines {
    live: VecDeque<Waiting>,
    batch: VecDeque<Waiting>,
}

impl Lines {
    pub fn push(&mut self, job: Job) {
        let line = match job.priority {
            Priority::Live => &mut self.live,
            Priority::Batch => &mut self.batch,
        };
        line.push_back(Waiting {
            job,
            since: Instant::now(),
        });
    }

    /// Removes the next job to start if `admit` admits it, and returns it with `admit`'s result. A slot for batch jobs can also take a live
    /// job. If the first job is not admitted, no other job overtakes it.
    pub fn pop<T>(&mut self, room: Room, admit: impl FnOnce(&Job) -> Option<T>) -> Option<(Waiting, T)> {
        let line = match (self.live.is_empty(), room) {
            (_, Room { live: 0, .. }) | (true, Room { batch: 0, .. }) => return None,
            (false, _) => &mut self.live,
            (true, _) => &mut self.batch,
        };
        let admitted = admit(&line.front()?.job)?;
        Some((line.pop_front()?, admitted))
    }

    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.batch.is_empty()
    }

    /// Removes all jobs for which `unwanted` returns `true`, in order.
    pub fn take_where(&mut self, unwanted: impl Fn(&Job) -> bool) -> Vec<Waiting> {
        let mut taken = Vec::new();
        for line in [&mut self.live, &mut self.batch] {
            let (out, kept): (VecDeque<_>, VecDeque<_>) = line.drain(..).partition(|waiting| unwanted(&waiting.job));
            *line = kept;
            taken.extend(out);
        }
        taken
    }

    /// Returns the earliest deadline of the queued jobs.
    pub fn earliest_deadline(&self) -> Option<Instant> {
        self.live
            .iter()
            .chain(&self.batch)
            .filter_map(|waiting| waiting.job.deadline)
            .min()
    }
}

/// How many jobs of each priority can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub live: usize,
    pub batch: usize,
}

impl Room {
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
    fn one_slot_is_kept_for_a_live_run() {
        assert_eq!(Room::of(4, 0, 3), Room { live: 1, batch: 0 });
        assert_eq!(Room::of(4, 1, 0), Room { live: 3, batch: 3 });
        assert_eq!(Room::of(4, 3, 0), Room { live: 1, batch: 1 });
        assert_eq!(
            Room::of(1, 0, 0),
            Room { live: 1, batch: 1 },
            "an engine of one sequence serves both kinds"
        );
        assert_eq!(Room::of(1, 0, 1), Room { live: 0, batch: 0 });
    }

    #[test]
    fn the_waiting_room_is_bounded() {
        let room = WaitingRoom::new(2);
        let first = room.enter().unwrap();
        let _second = room.enter().unwrap();
        assert_eq!(room.enter().unwrap_err(), 2);
        drop(first);
        assert!(room.enter().is_ok());
    }
}
