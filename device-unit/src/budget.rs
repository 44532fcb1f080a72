//! The memory budget of a unit: one limit, fixed at the start, that everything allocated for clients is charged to.
//!
//! A quarter is for requests, charged by their received bytes until the request is dropped. The rest is for work: the KV caches of
//! running inferences and other state of computations. Neither can use the other's share, so requests cannot block the work whose end
//! they wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The default limit in bytes, on machines with at least twice as much memory.
const USUAL: usize = 2 << 30;
/// The minimum limit in bytes, which still holds a large message.
pub const LEAST: usize = 128 << 20;
/// Charged per request in addition to its bytes, for its entries in queues and tables.
const REQUEST_OVERHEAD: usize = 4 << 10;

/// The use of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Messages, complete or partly received, and what they are decoded into.
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
    /// 2 GiB, or half of the machine's memory if that is less.
    fn default() -> Self {
        let machine = crate::machine::memory().map_or(usize::MAX, |memory| memory.total_bytes());
        Self::new((machine / 2).min(USUAL))
    }
}

impl Budget {
    /// A budget of `limit` bytes, at least [`LEAST`].
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(State {
            limit: limit.max(LEAST),
            requests: AtomicUsize::new(0),
            work: AtomicUsize::new(0),
        }))
    }

    /// Returns the limit in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// The limit for `what` in bytes.
    #[must_use]
    pub fn share(&self, what: Use) -> usize {
        let requests = self.0.limit / 4;
        match what {
            Use::Requests => requests,
            Use::Work => self.0.limit - requests,
        }
    }

    /// Bytes in use for `what`.
    #[must_use]
    pub fn used(&self, what: Use) -> usize {
        self.counter(what).load(Ordering::Acquire)
    }

    /// Whether complete requests are to be refused, so that partly received ones can complete.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.used(Use::Requests) > self.share(Use::Requests) / 4 * 3
    }

    /// Charges `bytes`, or returns `None` if fewer are left.
    #[must_use]
    pub fn charge(&self, what: Use, bytes: usize) -> Option<Charge> {
        let mut charge = Charge {
            budget: self.clone(),
            what,
            bytes: 0,
        };
        charge.grow(bytes).then_some(charge)
    }

    /// Creates an empty charge for a message.
    #[must_use]
    pub fn message(&self) -> Charge {
        Charge {
            budget: self.clone(),
            what: Use::Requests,
            bytes: 0,
        }
    }

    fn counter(&self, what: Use) -> &AtomicUsize {
        match what {
            Use::Requests => &self.0.requests,
            Use::Work => &self.0.work,
        }
    }
}

/// Charged memory, released on drop.
#[derive(Debug)]
pub struct Charge {
    budget: Budget,
    what: Use,
    bytes: usize,
}

impl Charge {
    /// Charges more bytes. Returns `false` and charges nothing if fewer are left.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let most = self.budget.share(self.what);
        let taken = self
            .budget
            .counter(self.what)
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
        self.budget.counter(self.what).fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Moves the charge out, leaving an empty one.
    #[must_use]
    pub fn take(&mut self) -> Self {
        Self {
            budget: self.budget.clone(),
            what: self.what,
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

    /// Returns the budget of the charge.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.counter(self.what).fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_is_given_back_whatever_became_of_it() {
        let budget = Budget::new(LEAST);
        let mut first = budget.charge(Use::Requests, 1000).unwrap();
        let second = budget.charge(Use::Requests, 500).unwrap();
        assert!(first.grow(24));
        first.absorb(second);
        assert_eq!(budget.used(Use::Requests), 1524);
        first.shrink(24);
        assert_eq!(budget.used(Use::Requests), 1500);
        let moved = first.take();
        drop(first);
        assert_eq!(budget.used(Use::Requests), 1500);
        drop(moved);
        assert_eq!(budget.used(Use::Requests), 0);
    }

    #[test]
    fn requests_and_work_do_not_keep_each_other_out() {
        let budget = Budget::new(LEAST);
        let (requests, work) = (budget.share(Use::Requests), budget.share(Use::Work));
        assert_eq!(requests + work, LEAST);
        let all = budget.charge(Use::Requests, requests).unwrap();
        assert!(budget.charge(Use::Requests, 1).is_none());
        assert!(budget.charge(Use::Work, work + 1).is_none());
        assert!(budget.charge(Use::Work, work).is_some());
        assert!(budget.is_crowded());
        drop(all);
        assert!(!budget.is_crowded());
        assert!(budget.charge(Use::Work, usize::MAX).is_none());
    }
}
