//! Runs one inference for the window, from building the prefix to saving the record.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use softprefix_core::client::{ClientError, Task};
use softprefix_core::experiment::session::{CaseProgress, CaseRequest, FinishedCase, SessionError, Stop};
use softprefix_core::experiment::{Record, WRITTEN_BY};
use softprefix_core::protocol::extension::{FinishReason, Priority};
use tokio::sync::{mpsc, oneshot};

use super::events::Events;
use super::tuning::TuningJournal;
use crate::errors::{self, task_failed};
use crate::messages::{Event, Inference};
use crate::model::{Problem, RunId, RunKind};
use crate::session::Session;

/// Whether a module is still reliable after an inference.
#[derive(PartialEq)]
pub(super) enum Trust {
    Fine,
    /// It stopped answering or violated the protocol.
    Doubtful,
}

/// Runs a case, and sends what `event_of` makes of its progress.
pub(super) async fn run_case(
    session: &Session,
    task: &Task,
    request: CaseRequest,
    stop: Stop,
    events: &Events,
    mut event_of: impl FnMut(CaseProgress) -> Option<Event>,
) -> Option<FinishedCase> {
    let (progress_sender, mut progress_events) = mpsc::unbounded_channel();
    let running = session.run(task, request, stop, move |progress| {
        // Forwarding ends when this sender is dropped.
        let _ = progress_sender.send(progress);
    });
    let forwarding = async {
        while let Some(progress) = progress_events.recv().await {
            if let Some(event) = event_of(progress) {
                events.send(event).await;
            }
        }
    };
    tokio::join!(running, forwarding).0
}

/// Runs an inference and saves its record. A run that was stopped because `replaced` is set leaves no record, unless it
/// was complete.
pub(super) async fn run(
    session: &Session,
    inference: Inference,
    (mut stop, on_sent): (Stop, oneshot::Sender<()>),
    replaced: &AtomicBool,
    tuning: TuningJournal,
    events: &Events,
) -> Trust {
    let Inference {
        run,
        kind,
        input,
        recipe,
        draft,
        is_saved,
        ..
    } = inference;
    let task = tokio::select! {
        task = session.task_for(&input.prompt.system, &input.settings) => task,
        () = stop.requested() => {
            events.send(Event::Dropped { run, kind }).await;
            return Trust::Fine;
        }
    };
    let task = match task {
        Ok(task) => task,
        Err(error) => {
            let problem = session.problem(error);
            events.send(Event::Failed { run, kind, problem }).await;
            return Trust::Fine;
        }
    };
    let (experiment, case) = tuning.next(&input.prompt, recipe);
    let request = CaseRequest {
        experiment: if is_saved { experiment } else { String::new() },
        case,
        prompt: input.prompt,
        settings: input.settings,
        priority: match kind {
            RunKind::BaselineRepeat => Priority::Batch,
            RunKind::Baseline | RunKind::Prefixed => Priority::Live,
        },
        draft,
        attempt: 1,
        written_by: WRITTEN_BY.to_owned(),
    };
    let mut on_sent = Some(on_sent);
    let event_of = |progress| match progress {
        CaseProgress::Sent(built) => {
            // The receiver may be dropped.
            let _ = on_sent.take().map(|on_sent| on_sent.send(()));
            Some(Event::Started { run, kind, built })
        }
        CaseProgress::Text(text) => Some(Event::Delta { run, kind, text }),
    };
    let Some(FinishedCase { record, error }) = run_case(session, &task, request, stop, events, event_of).await else {
        events.send(Event::Dropped { run, kind }).await;
        return Trust::Fine;
    };
    let was_stopped = record
        .answer()
        .is_some_and(|answer| answer.finish_reason == FinishReason::Stopped);
    if was_stopped && replaced.load(Ordering::Acquire) {
        events.send(Event::Dropped { run, kind }).await;
        return Trust::Fine;
    }
    let is_sent = record.prefix.is_some() || record.case.recipe.is_none();
    if is_saved
        && is_sent
        && let Err(problem) = save_record(run, &record, tuning, events).await
    {
        events.send(Event::Failed { run, kind, problem }).await;
        return Trust::Fine;
    }
    let Some(error) = error else {
        finished(run, kind, record, events).await;
        return Trust::Fine;
    };
    let problem = errors::session(&error, session.facts().is_embedded());
    if is_sent {
        finished(run, kind, record, events).await;
    }
    events.send(Event::Failed { run, kind, problem }).await;
    let SessionError::Client(error) = error else {
        return Trust::Fine;
    };
    if error.needs_set_up() && !error.is_disconnect() {
        session.exit_current_task().await;
    }
    match error {
        ClientError::Refused { .. } | ClientError::Prefix(_) | ClientError::EmptyPrompt => Trust::Fine,
        _ => Trust::Doubtful,
    }
}

async fn finished(run: RunId, kind: RunKind, record: Record, events: &Events) {
    let record = Box::new(record);
    events.send(Event::Finished { run, kind, record }).await;
}

/// Saves a record before it is shown.
pub(super) async fn save_record(
    run: RunId,
    record: &Record,
    tuning: TuningJournal,
    events: &Events,
) -> Result<(), Problem> {
    let shared = Arc::new(record.clone());
    let kept = tokio::task::spawn_blocking(move || tuning.save_record(&shared)).await;
    let began = kept.unwrap_or_else(|error| Err(task_failed(error)))?;
    if let Some(experiment) = began {
        let experiment = Box::new(experiment);
        events.send(Event::TuningBegan { run, experiment }).await;
    }
    Ok(())
}
