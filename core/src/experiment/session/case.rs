//! Running one case, from its prefix to its record.

use std::time::Instant;

use super::{Session, SessionError};
use crate::client::{ClientError, InferenceEvent, InferenceRequest, Outcome, Stop, Task};
use crate::experiment::plan::{Case, Prompt, Settings};
use crate::experiment::record::{Answer, CaseOutcome, Failure, PrefixIdentity, Record};
use crate::protocol::extension::{FinishReason, Priority};
use crate::time;

/// A case to run.
#[derive(Clone, Debug)]
pub struct CaseRequest {
    /// Id of the experiment.
    pub experiment: String,
    /// What to run; its index and name go into the record.
    pub case: Case,
    /// System prompt and user's prompt. The task must have been set up with this system prompt.
    pub prompt: Prompt,
    /// Token limits and sampling. The task must have been set up with them. The limit of the output goes with each inference, too: our unit
    /// takes it there.
    pub settings: Settings,
    /// Place in the unit's queue.
    pub priority: Priority,
    /// What the output is likely to be or to repeat; empty for nothing. See [`InferenceRequest::draft`].
    pub draft: Vec<u32>,
    /// Number of the try, from 1.
    pub attempt: u32,
    /// [`Record::written_by`] of the record.
    pub written_by: String,
}

/// Progress of a running case.
#[derive(Debug)]
pub enum CaseProgress {
    /// The case is being sent, with this prefix.
    Sent(Option<PrefixIdentity>),
    /// More text.
    Text(String),
}

/// The result of a case.
#[derive(Debug)]
pub struct FinishedCase {
    /// The record, whether the case succeeded or failed.
    pub record: Record,
    /// The error, if the case failed; the record has its message.
    pub error: Option<SessionError>,
}

impl Session {
    /// Runs a case on `task` and returns its record. A stop ends it early: the record then has
    /// [`FinishReason::Stopped`] and the text so far. Returns `None` where it was stopped before it was sent.
    pub async fn run(
        &self,
        task: &Task,
        request: CaseRequest,
        mut stop: Stop,
        mut report: impl FnMut(CaseProgress),
    ) -> Option<FinishedCase> {
        let started_unix = time::now();
        let started = Instant::now();
        let (mut identity, mut so_far) = (None, String::new());
        let keep_text = |progress| {
            if let CaseProgress::Text(text) = &progress {
                so_far.push_str(text);
            }
            report(progress);
        };
        let done = self.infer(task, &request, &mut identity, &mut stop, keep_text).await;
        let (outcome, error) = match done {
            Ok(Some(answer)) => (CaseOutcome::Done(answer), None),
            Ok(None) => return None,
            Err(error) => {
                let failure = Failure {
                    error: error.message(self.facts().is_embedded()),
                    // The text that arrived is kept, also where the connection was lost.
                    partial_text: error
                        .text_so_far()
                        .filter(|text| !text.is_empty())
                        .map_or(so_far, str::to_owned),
                    // The text is in `partial_text`.
                    cause: Some(error.clone().with_text("")),
                    elapsed_sec: started.elapsed().as_secs_f64(),
                };
                (CaseOutcome::Failed(failure), Some(error))
            }
        };
        let record = Record {
            prefix: identity,
            started_unix,
            attempts: request.attempt,
            written_by: request.written_by,
            ..Record::new(
                &request.experiment,
                request.case,
                request.prompt,
                request.settings,
                self.facts().identity.clone(),
                outcome,
            )
        };
        Some(FinishedCase { record, error })
    }

    /// The answer of a case; `None` where it was stopped before it was sent.
    async fn infer(
        &self,
        task: &Task,
        request: &CaseRequest,
        identity: &mut Option<PrefixIdentity>,
        stop: &mut Stop,
        mut report: impl FnMut(CaseProgress),
    ) -> Result<Option<Answer>, SessionError> {
        let prefix = match &request.case.recipe {
            Some(recipe) => {
                let prefix = tokio::select! {
                    prefix = self.build_by(Some(task), recipe) => prefix?,
                    () = stop.requested() => return Ok(None),
                };
                // Set as soon as the prefix is built, so that a failed case's record has it, too.
                *identity = Some(PrefixIdentity::of(recipe, &prefix, self.facts().identity.median_norm));
                Some(prefix)
            }
            None => None,
        };
        report(CaseProgress::Sent(identity.clone()));
        let mut sent = InferenceRequest::new(&request.prompt.user)
            .prefix(prefix)
            .priority(request.priority)
            .draft(request.draft.clone());
        // Our unit takes the limit with each inference. A stock unit takes it at set-up only, so the client leaves it out there.
        sent.max_new_tokens = request.settings.max_new_tokens;
        let started = Instant::now();
        let mut first_text = None;
        let mut inference = task.infer(sent);
        let mut is_stopping = false;
        loop {
            let event = tokio::select! {
                event = inference.next() => event,
                () = stop.requested(), if !is_stopping => {
                    is_stopping = true;
                    inference.stop();
                    continue;
                }
            };
            match event {
                Some(Ok(InferenceEvent::Delta(text))) => {
                    first_text.get_or_insert_with(|| started.elapsed());
                    report(CaseProgress::Text(text));
                }
                Some(Ok(InferenceEvent::Done(reply))) => return Ok(Some(answer_of(reply, is_stopping))),
                Some(Err(ClientError::Stopped { text })) => {
                    return Ok(Some(Answer {
                        ttft_sec: first_text.map(|time| time.as_secs_f64()),
                        ..Answer::new(text, FinishReason::Stopped, started.elapsed().as_secs_f64())
                    }));
                }
                Some(Err(error)) => return Err(error.into()),
                // The client's async task ended without an end: not an answer.
                None => return Err(ClientError::Stopped { text: String::new() }.into()),
            }
        }
    }
}

fn answer_of(reply: Outcome, is_stopping: bool) -> Answer {
    let mut usage = reply.usage;
    let tokens = reply
        .tokens
        .or_else(|| usage.as_ref().map(|usage| usage.tokens.clone()));
    if let Some(usage) = &mut usage {
        // They are in the answer already; twice, they would double the journal.
        usage.tokens = Vec::new();
    }
    let finish_reason = match reply.finish_reason {
        // A stock unit gives no reason, but the client stopped it.
        FinishReason::Unknown if is_stopping => FinishReason::Stopped,
        reason => reason,
    };
    Answer {
        text: reply.text,
        tokens,
        finish_reason,
        echo: reply.echo,
        usage,
        ttft_sec: reply.time_to_first_token.map(|time| time.as_secs_f64()),
        elapsed_sec: reply.elapsed.as_secs_f64(),
    }
}
