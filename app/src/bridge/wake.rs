//! Detects that the machine was asleep: on Linux and macOS the monotonic clock stops meanwhile, and the wall clock continues.

use std::time::{Duration, Instant, SystemTime};

/// How often the clocks are read.
pub(super) const EVERY: Duration = Duration::from_secs(5);
/// Minimum lead of the wall clock after a sleep. Setting the clock has the same effect, which costs one unnecessary request.
const GAP: Duration = Duration::from_secs(10);

/// Both clocks at one moment.
#[derive(Clone, Copy)]
pub(super) struct Clocks {
    monotonic: Instant,
    wall: SystemTime,
}

impl Clocks {
    pub(super) fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// Whether the machine slept between this moment and a later one.
    fn slept_until(self, later: Self) -> bool {
        let counted = later.monotonic.saturating_duration_since(self.monotonic);
        // An error means that the wall clock was set back.
        later
            .wall
            .duration_since(self.wall)
            .is_ok_and(|passed| passed > counted + GAP)
    }
}

/// Calls `woke` after each sleep, until it returns `false`. Reads the clocks with `now`, once per `every`.
pub(super) async fn watch(every: Duration, mut now: impl FnMut() -> Clocks, mut woke: impl FnMut() -> bool) {
    let mut before = now();
    loop {
        tokio::time::sleep(every).await;
        let clocks = now();
        if before.slept_until(clocks) && !woke() {
            return;
        }
        before = clocks;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how many sleeps [`watch`] detects if the clocks advance by these steps (monotonic, wall), in seconds.
    fn noticed(steps: &[(u64, i64)]) -> usize {
        let mut clocks = Clocks::now();
        let start = clocks;
        let mut steps = steps.iter();
        let (sleeps, mut count) = (std::cell::Cell::new(0), 0);
        let next = || {
            let Some((monotonic, wall)) = steps.next() else {
                // The last step is a sleep, which ends the watch.
                sleeps.set(sleeps.get() + 1);
                clocks.wall += Duration::from_secs(3600);
                return clocks;
            };
            clocks.monotonic += Duration::from_secs(*monotonic);
            match u64::try_from(*wall) {
                Ok(wall) => clocks.wall += Duration::from_secs(wall),
                Err(_) => clocks.wall -= Duration::from_secs(wall.unsigned_abs()),
            }
            clocks
        };
        let woke = || {
            count += 1;
            sleeps.get() == 0
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        assert!(!start.slept_until(start));
        runtime.block_on(watch(Duration::from_millis(1), next, woke));
        count - 1
    }

    #[test]
    fn a_wall_clock_that_advances_without_the_monotonic_one_indicates_a_sleep() {
        assert_eq!(noticed(&[(5, 5), (5, 5), (5, 3605), (5, 5), (5, 65)]), 2);
    }

    #[test]
    fn a_slow_program_a_clock_that_drifts_and_one_that_is_set_back_are_no_sleep() {
        assert_eq!(noticed(&[(5, 5), (600, 600), (5, 12), (5, -3600), (5, 5)]), 0);
    }
}
