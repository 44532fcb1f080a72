//! Runs that fill a curve: several magnitudes of one prefix in one batch, at a lower priority than the user's own runs.
//! Each is saved as a record in the session of tuning.

use std::sync::Arc;

use softprefix_core::experiment::WRITTEN_BY;
use softprefix_core::experiment::session::{CaseProgress, CaseRequest, FinishedCase, Stop};
use softprefix_core::protocol::extension::Priority;
use tokio::sync::watch;

use super::events::Events;
use super::inference::{run_case, save_record};
use super::tuning::TuningJournal;
use crate::errors;
use crate::messages::{Event, Inference};
use crate::session::Session;

/// The current runs.
#[derive(Default)]
pub(super) struct Curve {
    stops: Vec<watch::Sender<bool>>,
}

impl Curve {
    /// Starts these runs in addition to the current ones.
    pub(super) fn fill(
        &mut self,
        inferences: Vec<Inference>,
        session: Option<&Arc<Session>>,
        tuning: &TuningJournal,
        events: &Events,
    ) {
        self.stops.retain(|stop| !stop.is_closed());
        for inference in inferences {
            let run = inference.run;
            let (stop, stopped) = Stop::pair();
            self.stops.push(stop);
            let (session, tuning, reporter) = (session.cloned(), tuning.clone(), events.clone());
            let work = async move {
                let event = match session {
                    Some(session) => run_one(&session, inference, stopped, tuning, &reporter).await,
                    None => Event::CurveFailed {
                        run,
                        problem: errors::not_connected(),
                    },
                };
                reporter.send(event).await;
            };
            events.spawn(work, move |problem| Event::CurveFailed { run, problem });
        }
    }

    /// Stops the current runs.
    pub(super) fn stop(&mut self) {
        for stop in self.stops.drain(..) {
            stop.send_replace(true);
        }
    }
}

async fn run_one(
    session: &Session,
    inference: Inference,
    mut stop: Stop,
    tuning: TuningJournal,
    events: &Events,
) -> Event {
    let run = inference.run;
    let input = inference.input;
    let set_up = async {
        tokio::time::sleep(inference.delay).await;
        session.task_for(&input.prompt.system, &input.settings).await
    };
    let task = tokio::select! {
        task = set_up => task,
        () = stop.requested() => return Event::CurveDropped { run },
    };
    let task = match task {
        Ok(task) => task,
        Err(error) => {
            let problem = session.problem(error);
            return Event::CurveFailed { run, problem };
        }
    };
    let (experiment, case) = tuning.next(&input.prompt, inference.recipe);
    let request = CaseRequest {
        experiment,
        case,
        prompt: input.prompt,
        settings: input.settings,
        priority: Priority::Batch,
        draft: inference.draft,
        attempt: 1,
        written_by: WRITTEN_BY.to_owned(),
    };
    let event_of = |progress| match progress {
        CaseProgress::Sent(_) => None,
        CaseProgress::Text(text) => Some(Event::CurveText { run, text }),
    };
    let Some(FinishedCase { record, error }) = run_case(session, &task, request, stop, events, event_of).await else {
        return Event::CurveDropped { run };
    };
    if let Some(error) = error {
        let problem = session.problem(error);
        return Event::CurveFailed { run, problem };
    }
    if !record.is_complete() {
        return Event::CurveDropped { run };
    }
    match save_record(run, &record, tuning, events).await {
        Ok(()) => Event::CurvePoint {
            run,
            record: Box::new(record),
        },
        Err(problem) => Event::CurveFailed { run, problem },
    }
}
