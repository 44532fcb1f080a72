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

/// The result of a case that was sent, or whose prefix could not be built.
#[derive(Debug)]
pub struct FinishedCase {
    /// The record, whether the case succeeded or failed.
    pub record: Record,
    /// The error, if the case failed; the record has its message.
    pub error: Option<SessionError>,
}

/// What is known of a case while it runs, and goes into the record also where it fails.
#[derive(Default)]
struct CaseSoFar {
    /// Its prefix, once that is built.
    prefix: Option<PrefixIdentity>,
    /// When it was sent, if it was.
    sent_at: Option<Instant>,
    /// When its first text arrived, if any did.
    first_text_at: Option<Instant>,
    /// The text that has arrived.
    text: String,
}

impl CaseSoFar {
    /// Seconds since it was sent; 0 if it was not.
    fn elapsed_sec(&self) -> f64 {
        self.sent_at.map_or(0.0, |sent_at| sent_at.elapsed().as_secs_f64())
    }

    /// Seconds from sending to the first text.
    fn first_text_sec(&self) -> Option<f64> {
        Some((self.first_text_at? - self.sent_at?).as_secs_f64())
    }
}

impl Session {
    /// Runs a case on `task` and returns its record. A stop ends it early: the record then has
    /// [`FinishReason::Stopped`] and the text so far. Returns `None` where it was stopped before it was sent.
    pub async fn run(
        &self,
        task: &Task,
        request: CaseRequest,
        mut stop: Stop,
        report: impl FnMut(CaseProgress),
    ) -> Option<FinishedCase> {
        let started_unix = time::now();
        let mut so_far = CaseSoFar::default();
        let inferred = self.infer(task, &request, &mut so_far, &mut stop, report).await;
        let (outcome, error) = match inferred {
            Ok(Some(answer)) => (CaseOutcome::Done(answer), None),
            Ok(None) => return None,
            Err(error) => {
                let failure = Failure {
                    error: error.message(self.facts().is_embedded()),
                    elapsed_sec: so_far.elapsed_sec(),
                    // Some errors have the text that arrived before them. For others, such as a lost connection, it is that of the deltas.
                    partial_text: error
                        .text_so_far()
                        .filter(|text| !text.is_empty())
                        .map_or(so_far.text, str::to_owned),
                    // Its text is in `partial_text` already.
                    cause: Some(error.clone().with_text("")),
                };
                (CaseOutcome::Failed(failure), Some(error))
            }
        };
        let record = Record {
            prefix: so_far.prefix,
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

    /// Builds the prefix of a case, sends the case, and returns its answer; `None` where it was stopped before it was sent.
    async fn infer(
        &self,
        task: &Task,
        request: &CaseRequest,
        so_far: &mut CaseSoFar,
        stop: &mut Stop,
        mut report: impl FnMut(CaseProgress),
    ) -> Result<Option<Answer>, SessionError> {
        let prefix = match &request.case.recipe {
            Some(recipe) => {
                let prefix = tokio::select! {
                    prefix = self.build_by(Some(task), recipe) => prefix?,
                    () = stop.requested() => return Ok(None),
                };
                let median_norm = self.facts().identity.median_norm;
                so_far.prefix = Some(PrefixIdentity::of(recipe, &prefix, median_norm));
                Some(prefix)
            }
            None => None,
        };
        report(CaseProgress::Sent(so_far.prefix.clone()));
        let mut inference_request = InferenceRequest::new(&request.prompt.user)
            .prefix(prefix)
            .priority(request.priority)
            .draft(request.draft.clone());
        // Our unit takes the limit with each inference. A stock unit takes it at set-up only, so the client does not send it there.
        inference_request.max_new_tokens = request.settings.max_new_tokens;
        so_far.sent_at = Some(Instant::now());
        let mut inference = task.infer(inference_request);
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
                    so_far.first_text_at.get_or_insert_with(Instant::now);
                    so_far.text.push_str(&text);
                    report(CaseProgress::Text(text));
                }
                Some(Ok(InferenceEvent::Done(reply))) => return Ok(Some(answer_of(reply, is_stopping))),
                // Stopped before its turn on a stock module, or not ended by the module in time after the stop. It ended as the caller
                // asked, so the text so far is the answer.
                Some(Err(ClientError::Stopped { text })) => {
                    return Ok(Some(Answer {
                        ttft_sec: so_far.first_text_sec(),
                        ..Answer::new(text, FinishReason::Stopped, so_far.elapsed_sec())
                    }));
                }
                Some(Err(error)) => return Err(error.into()),
                // The client drops an inference without an answer or an error only when the runtime shuts down. No stop ended it, so the
                // case failed.
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
        // They are in the answer already; a second copy would double the journal.
        usage.tokens = Vec::new();
    }
    let finish_reason = match reply.finish_reason {
        // A stock unit gives no reason. After a stop it is known.
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
