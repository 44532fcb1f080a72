//! What follows the hand: the prefix that is shown, the prompt's tokens, the diff of the texts. Only the latest question counts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use softprefix_core::compare::{Measures, diff};
use softprefix_core::prefix::PrefixRecipe;
use tokio::sync::watch;

use super::events::{Events, broken, caught};
use crate::messages::{Comparison, Event, Purpose};
use crate::model::TokenCount;
use crate::session::Session;

/// Longest a diff of streaming text may take; a coarser one stands in beyond it.
pub(super) const DIFF_TIME: Duration = Duration::from_millis(250);

/// Builds the latest recipe that was asked for, again and again.
pub(super) async fn keep_describing(mut latest: watch::Receiver<Option<(Arc<Session>, PrefixRecipe)>>, events: Events) {
    while latest.changed().await.is_ok() {
        let wanted = latest.borrow_and_update().clone();
        let Some((session, recipe)) = wanted else { continue };
        let of = recipe.clone();
        let built = caught(async move {
            let prefix = session.build(&of).await?;
            Ok(session.describe(&of, &prefix))
        });
        let built = built.await.and_then(|built| built);
        events.send(Event::Described { recipe, built }).await;
    }
}

/// Counts the tokens of the latest prompt that was asked for, again and again.
pub(super) async fn keep_counting(mut latest: watch::Receiver<Option<(Arc<Session>, String, String)>>, events: Events) {
    while latest.changed().await.is_ok() {
        let wanted = latest.borrow_and_update().clone();
        let Some((session, system, user)) = wanted else {
            continue;
        };
        let (of_system, of_user) = (system.clone(), user.clone());
        let counted = caught(async move { session.count(&of_system, &of_user).await });
        match counted.await.and_then(|counted| counted) {
            Ok(Some(budget)) => {
                let count = TokenCount {
                    template: budget.template,
                    prompt: budget.prompt,
                    window: budget.window,
                    prefill_window: budget.prefill_window,
                };
                events.send(Event::Counted { system, user, count }).await;
            }
            // The inference itself will say what is wrong.
            Ok(None) => {}
            Err(problem) => tracing::debug!(%problem, "the prompt's tokens could not be counted"),
        }
    }
}

pub(super) async fn compare(comparison: Comparison, events: Events) {
    let work = tokio::task::spawn_blocking(move || {
        let deadline = Instant::now() + DIFF_TIME;
        let diff = diff(
            &comparison.left,
            &comparison.right,
            comparison.granularity,
            Some(deadline),
        );
        let measures = match comparison.purpose {
            Purpose::Panes => None,
            Purpose::Run(_) | Purpose::Noise(_) => Some(Box::new(Measures::of(&comparison.left, &comparison.right))),
        };
        Event::Compared {
            comparison,
            diff,
            measures,
        }
    });
    let event = work.await.unwrap_or_else(|error| Event::NotCompared(broken(error)));
    events.send(event).await;
}
