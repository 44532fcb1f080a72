//! The limit on the number of jobs that wait for the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
        entered.map(|_| AdmissionPermit(Some(Arc::clone(&self.waiting))))
    }
}

/// Permission for one inference to wait. Released on drop at the latest.
#[derive(Debug)]
pub struct AdmissionPermit(Option<Arc<AtomicUsize>>);

impl AdmissionPermit {
    /// Releases the permit, because the inference no longer waits.
    pub(super) fn release(&mut self) {
        if let Some(waiting) = self.0.take() {
            waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for AdmissionPermit {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_waiting_inferences_is_limited() {
        let limit = AdmissionLimit::new(2);
        let first = limit.acquire().unwrap();
        let mut second = limit.acquire().unwrap();
        assert_eq!(limit.acquire().unwrap_err(), 2);
        drop(first);
        let _third = limit.acquire().unwrap();
        assert_eq!(limit.acquire().unwrap_err(), 2);
        second.release();
        drop(second);
        let _fourth = limit.acquire().unwrap();
        assert_eq!(
            limit.acquire().unwrap_err(),
            2,
            "a released permit is not released again"
        );
    }
}
