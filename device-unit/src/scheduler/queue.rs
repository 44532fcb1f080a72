//! Those who wait: two lines (live before batch), and a bound on how many there are and what they hold.
//!
//! It knows no engine.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::job::{Job, Priority};

/// How much may wait at once, counted from the moment a request is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingLimits {
    pub inferences: usize,
    /// Bytes of prompts and prefixes together.
    pub bytes: usize,
}

impl Default for WaitingLimits {
    fn default() -> Self {
        Self {
            inferences: 4096,
            bytes: 128 << 20,
        }
    }
}

/// Counts what waits, over all stages.
#[derive(Debug, Clone, Default)]
pub struct WaitingRoom {
    limits: WaitingLimits,
    used: Arc<Mutex<Used>>,
}

#[derive(Debug, Default)]
struct Used {
    inferences: usize,
    bytes: usize,
}

impl WaitingRoom {
    #[must_use]
    pub fn new(limits: WaitingLimits) -> Self {
        Self {
            limits,
            used: Arc::default(),
        }
    }

    /// A place for one inference that holds about `bytes`, or how many are waiting already.
    ///
    /// An inference larger than the whole room is let in when nobody else waits.
    ///
    /// # Errors
    /// The number of those that wait.
    pub fn enter(&self, bytes: usize) -> Result<Place, usize> {
        let mut used = lock(&self.used);
        let full = used.inferences >= self.limits.inferences || used.bytes.saturating_add(bytes) > self.limits.bytes;
        if full && used.inferences > 0 {
            return Err(used.inferences);
        }
        used.inferences += 1;
        used.bytes = used.bytes.saturating_add(bytes);
        Ok(Place {
            used: Arc::clone(&self.used),
            bytes,
        })
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        lock(&self.used).inferences
    }
}

/// One inference's place; given back on drop.
#[derive(Debug)]
pub struct Place {
    used: Arc<Mutex<Used>>,
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut used = lock(&self.used);
        used.inferences -= 1;
        used.bytes = used.bytes.saturating_sub(self.bytes);
    }
}

fn lock(used: &Mutex<Used>) -> MutexGuard<'_, Used> {
    used.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A job with the time it came.
pub(super) struct Waiting {
    pub job: Job,
    pub since: Instant,
}

/// The two lines.
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

    /// The next to start, given the room there is for each kind. Room for a batch case is also room for a live one.
    pub fn pop(&mut self, room: Room) -> Option<Waiting> {
        if room.live == 0 {
            return None;
        }
        self.live
            .pop_front()
            .or_else(|| if room.batch > 0 { self.batch.pop_front() } else { None })
    }

    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.batch.is_empty()
    }

    /// Takes out all that `unwanted` names, in order.
    pub fn take_where(&mut self, unwanted: impl Fn(&Job) -> bool) -> Vec<Waiting> {
        let mut taken = Vec::new();
        for line in [&mut self.live, &mut self.batch] {
            let (out, kept): (VecDeque<_>, VecDeque<_>) = line.drain(..).partition(|waiting| unwanted(&waiting.job));
            *line = kept;
            taken.extend(out);
        }
        taken
    }

    /// The earliest deadline of those that wait.
    pub fn earliest_deadline(&self) -> Option<Instant> {
        self.live
            .iter()
            .chain(&self.batch)
            .filter_map(|waiting| waiting.job.deadline)
            .min()
    }
}

/// How many more may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub live: usize,
    pub batch: usize,
}

impl Room {
    /// One slot of the engine is kept free of batch cases, where it has more than one.
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
    fn the_waiting_room_is_bounded_in_number_and_in_bytes() {
        let room = WaitingRoom::new(WaitingLimits {
            inferences: 2,
            bytes: 100,
        });
        let first = room.enter(60).unwrap();
        assert_eq!(room.enter(60).unwrap_err(), 1);
        let _second = room.enter(10).unwrap();
        assert_eq!(room.enter(1).unwrap_err(), 2);
        drop(first);
        assert!(room.enter(60).is_ok());
    }

    #[test]
    fn an_inference_larger_than_the_room_is_let_in_alone() {
        let room = WaitingRoom::new(WaitingLimits {
            inferences: 2,
            bytes: 100,
        });
        let large = room.enter(1000).unwrap();
        assert!(room.enter(1).is_err());
        drop(large);
        assert_eq!(room.waiting(), 0);
    }
}
