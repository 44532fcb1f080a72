//! One inference for the window, from its prefix to its last word. It knows its session, and neither the other sides nor who asked.

use std::time::{Duration, Instant};

use softprefix_core::client::{ClientError, InferenceEvent, InferenceRequest, Outcome};
use softprefix_core::protocol::extension::{FinishReason, Priority};
use tokio::sync::watch;

use super::events::Events;
use crate::errors::problem_of;
use crate::messages::{Event, Inference};
use crate::model::{Finish, Problem, RunOutcome, Side, Timings};
use crate::session::Session;

/// Whether a module may be relied on after an inference.
#[derive(PartialEq)]
pub(super) enum Trust {
    Fine,
    /// It went silent, or ended otherwise than it promised.
    Doubtful,
}

/// One inference, from its prefix to its last word.
pub(super) async fn run(
    session: &Session,
    inference: Inference,
    mut stop: watch::Receiver<bool>,
    events: &Events,
) -> Trust {
    let Inference {
        run,
        side,
        case,
        recipe,
        ..
    } = inference;
    let failed = |problem| Event::Failed { run, side, problem };
    let prepared = async {
        let task = session.task_for(&case).await?;
        let prefix = match &recipe {
            Some(recipe) => Some(session.build(recipe).await?),
            None => None,
        };
        Ok::<_, Problem>((task, prefix))
    };
    let prepared = tokio::select! {
        prepared = prepared => prepared,
        () = wanted(&mut stop) => {
            events.send(Event::Dropped { run, side }).await;
            return Trust::Fine;
        }
    };
    let (task, prefix) = match prepared {
        Ok(prepared) => prepared,
        Err(problem) => {
            events.send(failed(problem)).await;
            return Trust::Fine;
        }
    };
    let built = recipe
        .as_ref()
        .zip(prefix.as_ref())
        .map(|(recipe, prefix)| session.describe(recipe, prefix));
    let sent = built.as_ref().map(|built| built.sha256.clone());
    events.send(Event::Started { run, side, built }).await;

    let priority = if side == Side::Repeat {
        Priority::Batch
    } else {
        Priority::Live
    };
    let request = InferenceRequest::new(case.user)
        .prefix(prefix)
        .max_new_tokens(case.max_tokens)
        .priority(priority);
    let started = Instant::now();
    let mut first_text = None;
    let mut inference = task.infer(request);
    let mut asked_to_stop = false;
    let patience = session.module().options().idle;
    loop {
        let event = tokio::select! {
            event = inference.next() => event,
            () = wanted(&mut stop), if !asked_to_stop => {
                asked_to_stop = true;
                inference.stop();
                continue;
            }
            // Our unit may rightly be silent while others have their turn; a module that does not even answer a ping is gone.
            () = tokio::time::sleep(patience) => match session.module().ping().await {
                Ok(_) => continue,
                Err(error) => Some(Err(error)),
            },
        };
        match event {
            Some(Ok(InferenceEvent::Delta(text))) => {
                first_text.get_or_insert_with(|| started.elapsed());
                events.send(Event::Delta { run, side, text }).await;
            }
            Some(Ok(InferenceEvent::Done(outcome))) => {
                let outcome = Box::new(outcome_of(outcome, sent.as_deref(), asked_to_stop));
                events.send(Event::Finished { run, side, outcome }).await;
                return Trust::Fine;
            }
            Some(Err(ClientError::Stopped { text })) => {
                let outcome = Box::new(stopped(text, first_text, started.elapsed()));
                events.send(Event::Finished { run, side, outcome }).await;
                return Trust::Fine;
            }
            Some(Err(error)) => {
                let trust = match error {
                    ClientError::Refused { .. } | ClientError::Prefix(_) | ClientError::EmptyPrompt => Trust::Fine,
                    _ => Trust::Doubtful,
                };
                events.send(failed(problem_of(&error))).await;
                if error.needs_set_up() && !error.is_disconnect() {
                    session.forget_task().await;
                }
                return trust;
            }
            None => {
                let outcome = Box::new(stopped(String::new(), first_text, started.elapsed()));
                events.send(Event::Finished { run, side, outcome }).await;
                return Trust::Fine;
            }
        }
    }
}

fn stopped(text: String, first_token: Option<Duration>, elapsed: Duration) -> RunOutcome {
    let timings = Timings {
        first_token,
        elapsed: Some(elapsed),
        ..Timings::default()
    };
    RunOutcome {
        text,
        finish: Finish::Stopped,
        timings,
        tokens: None,
        echoed: false,
    }
}

/// The client's outcome as the workbench keeps it.
pub(crate) fn outcome_of(outcome: Outcome, sent_sha256: Option<&str>, asked_to_stop: bool) -> RunOutcome {
    let finish = match outcome.finish_reason {
        FinishReason::Stop => Finish::Stop,
        FinishReason::Length => Finish::Length,
        FinishReason::Window => Finish::Window,
        FinishReason::Stopped => Finish::Stopped,
        // A stranger gives no reason; ours is known.
        _ if asked_to_stop => Finish::Stopped,
        _ => Finish::Unknown,
    };
    let timings = Timings {
        first_token: outcome.time_to_first_token,
        elapsed: Some(outcome.elapsed),
        tokens: outcome.usage.as_ref().map(|usage| usage.completion_tokens),
        tokens_per_second: outcome.tokens_per_second(),
    };
    let echoed = matches!((&outcome.echo, sent_sha256), (Some(echo), Some(sent)) if echo.sha256 == sent);
    RunOutcome {
        text: outcome.text,
        finish,
        timings,
        tokens: outcome.tokens,
        echoed,
    }
}

/// Returns once a stop is wanted. A slot that is gone wants it, too.
pub(super) async fn wanted(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
