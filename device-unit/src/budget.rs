//! The memory budget of a unit: one limit, fixed at the start, that everything allocated for clients is charged to.
//!
//! A quarter is for requests, charged by their received bytes until the request is dropped. The rest is for work: the KV caches of
//! running inferences and other state of computations. Neither can use the other's share, so requests cannot block the work whose end
//! they wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The default limit in bytes, on machines with at least twice as much memory.
const DEFAULT_LIMIT: usize = 2 << 30;
/// The minimum limit in bytes, which still holds a large message.
pub const MIN_LIMIT: usize = 128 << 20;
/// Charged per request in addition to its bytes, for its entries in queues and tables.
const REQUEST_OVERHEAD: usize = 4 << 10;

/// The use of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Messages, complete or partly received, charged by their bytes; what they are decoded into is not charged again.
    Requests,
    /// State of computations, such as keys and values.
    Work,
}

/// The memory budget of a unit. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget(Arc<State>);

#[derive(Debug)]
struct State {
    limit: usize,
    requests: AtomicUsize,
    work: AtomicUsize,
}

impl Default for Budget {
    /// 2 GiB, or half of the machine's memory if that is less, but at least [`MIN_LIMIT`].
    fn default() -> Self {
        let machine = crate::machine::memory().map_or(usize::MAX, |memory| memory.total_bytes());
        Self::new((machine / 2).min(DEFAULT_LIMIT))
    }
}

impl Budget {
    /// Creates a budget of `limit` bytes, or [`MIN_LIMIT`] if that is more.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(State {
            limit: limit.max(MIN_LIMIT),
            requests: AtomicUsize::new(0),
            work: AtomicUsize::new(0),
        }))
    }

    /// Returns the limit in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Returns the share of `purpose` in bytes.
    #[must_use]
    pub fn share(&self, purpose: Purpose) -> usize {
        let requests = self.0.limit / 4;
        match purpose {
            Purpose::Requests => requests,
            Purpose::Work => self.0.limit - requests,
        }
    }

    /// Returns the bytes in use for `purpose`.
    #[must_use]
    pub fn used(&self, purpose: Purpose) -> usize {
        self.counter(purpose).load(Ordering::Acquire)
    }

    /// Returns `true` if new complete requests must be refused, so that partly received ones can complete.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.used(Purpose::Requests) > self.share(Purpose::Requests) / 4 * 3
    }

    /// Charges `bytes`, or returns `None` if fewer are left.
    #[must_use]
    pub fn charge(&self, purpose: Purpose, bytes: usize) -> Option<Charge> {
        let mut charge = Charge {
            budget: self.clone(),
            purpose,
            bytes: 0,
        };
        charge.grow(bytes).then_some(charge)
    }

    /// Creates an empty charge for a message.
    #[must_use]
    pub fn message(&self) -> Charge {
        Charge {
            budget: self.clone(),
            purpose: Purpose::Requests,
            bytes: 0,
        }
    }

    fn counter(&self, purpose: Purpose) -> &AtomicUsize {
        match purpose {
            Purpose::Requests => &self.0.requests,
            Purpose::Work => &self.0.work,
        }
    }
}

/// Charged memory, released on drop.
#[derive(Debug)]
pub struct Charge {
    budget: Budget,
    purpose: Purpose,
    bytes: usize,
}

impl Charge {
    /// Returns the charged bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Charges more bytes. Returns `false` and charges nothing if fewer are left.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let most = self.budget.share(self.purpose);
        let taken = self
            .budget
            .counter(self.purpose)
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                used.checked_add(bytes).filter(|&used| used <= most)
            });
        if taken.is_ok() {
            self.bytes += bytes;
        }
        taken.is_ok()
    }

    /// Releases a part of the charge.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.counter(self.purpose).fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Moves the charge out, leaving an empty one.
    #[must_use]
    pub fn take(&mut self) -> Self {
        Self {
            budget: self.budget.clone(),
            purpose: self.purpose,
            bytes: std::mem::take(&mut self.bytes),
        }
    }

    /// Adds the charge of `other`, which must have the same budget and purpose.
    pub fn absorb(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Adds the fixed charge of a request. Returns `false` if it does not fit.
    #[must_use]
    pub fn add_overhead(&mut self) -> bool {
        self.grow(REQUEST_OVERHEAD)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget
            .counter(self.purpose)
            .fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_charge_is_returned_when_dropped() {
        let budget = Budget::new(MIN_LIMIT);
        let mut first = budget.charge(Purpose::Requests, 1000).unwrap();
        let second = budget.charge(Purpose::Requests, 500).unwrap();
        assert!(first.grow(24));
        first.absorb(second);
        assert_eq!(budget.used(Purpose::Requests), 1524);
        first.shrink(24);
        assert_eq!(budget.used(Purpose::Requests), 1500);
        let moved = first.take();
        drop(first);
        assert_eq!(budget.used(Purpose::Requests), 1500);
        drop(moved);
        assert_eq!(budget.used(Purpose::Requests), 0);
    }

    #[test]
    fn requests_and_work_do_not_keep_each_other_out() {
        let budget = Budget::new(MIN_LIMIT);
        let (requests, work) = (budget.share(Purpose::Requests), budget.share(Purpose::Work));
        assert_eq!(requests + work, MIN_LIMIT);
        let all = budget.charge(Purpose::Requests, requests).unwrap();
        assert!(budget.charge(Purpose::Requests, 1).is_none());
        assert!(budget.charge(Purpose::Work, work + 1).is_none());
        assert!(budget.charge(Purpose::Work, work).is_some());
        assert!(budget.is_crowded());
        drop(all);
        assert!(!budget.is_crowded());
        assert!(budget.charge(Purpose::Work, usize::MAX).is_none());
    }
}
