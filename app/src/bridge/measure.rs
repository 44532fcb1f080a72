//! Measures texts against their baselines, a part of the list at a time. Every comparison is made.

use softprefix_core::experiment::Comparison;

use super::events::Events;
use crate::errors::task_failed;
use crate::messages::Event;

/// Number of measures per event, so that a long list fills gradually.
const TOGETHER: usize = 32;

pub(super) async fn measure(comparisons: Vec<Comparison>, events: Events) {
    let mut left = comparisons.into_iter();
    loop {
        let part: Vec<Comparison> = left.by_ref().take(TOGETHER).collect();
        if part.is_empty() {
            return;
        }
        let work = tokio::task::spawn_blocking(move || part.into_iter().map(Comparison::measure).collect());
        let event = work
            .await
            .map_or_else(|error| Event::NotCompared(task_failed(error)), Event::Measured);
        events.send(event).await;
    }
}
