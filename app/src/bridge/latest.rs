//! Requests of which only the latest matters, sent while the user moves the controls: the prefix's identity, the
//! prompt's token count, the diff of the texts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use softprefix_core::compare::{Measures, diff};
use softprefix_core::experiment::PrefixIdentity;
use softprefix_core::prefix::PrefixRecipe;
use tokio::sync::watch;

use super::events::{Events, caught};
use crate::errors::task_failed;
use crate::messages::{Event, Texts};
use crate::session::Session;

/// Time limit for the diff of streaming text; beyond it a coarser diff is used.
pub(super) const DIFF_TIME: Duration = Duration::from_millis(250);

/// Builds the latest requested recipe, in a loop.
pub(super) async fn describe_latest(mut latest: watch::Receiver<Option<(Arc<Session>, PrefixRecipe)>>, events: Events) {
    while latest.changed().await.is_ok() {
        let wanted = latest.borrow_and_update().clone();
        let Some((session, recipe)) = wanted else { continue };
        let of = recipe.clone();
        let built = caught(async move {
            let prefix = session.build(&of).await?;
            Ok(PrefixIdentity::of(&of, &prefix, session.facts().identity.median_norm))
        });
        let built = built.await.and_then(|built| built);
        events.send(Event::Described { recipe, built }).await;
    }
}

/// Counts the tokens of the latest requested prompt, in a loop.
pub(super) async fn count_latest(mut latest: watch::Receiver<Option<(Arc<Session>, String, String)>>, events: Events) {
    while latest.changed().await.is_ok() {
        let wanted = latest.borrow_and_update().clone();
        let Some((session, system, user)) = wanted else {
            continue;
        };
        let (of_system, of_user) = (system.clone(), user.clone());
        let counted = caught(async move {
            let counted = session.count(&of_system, &of_user).await;
            counted.map_err(|error| session.problem(error))
        });
        match counted.await.and_then(|counted| counted) {
            Ok(Some(count)) => events.send(Event::Counted { system, user, count }).await,
            // The inference will report what is wrong.
            Ok(None) => {}
            Err(problem) => tracing::debug!(%problem, "the prompt's tokens could not be counted"),
        }
    }
}

pub(super) async fn compare(texts: Texts, events: Events) {
    let work = tokio::task::spawn_blocking(move || {
        let deadline = Instant::now() + DIFF_TIME;
        let diff = diff(&texts.left, &texts.right, texts.granularity, Some(deadline));
        let measures = texts
            .measured
            .then(|| Box::new(Measures::of(&texts.left, &texts.right)));
        Event::Compared { texts, diff, measures }
    });
    let event = work
        .await
        .unwrap_or_else(|error| Event::NotCompared(task_failed(error)));
    events.send(event).await;
}
