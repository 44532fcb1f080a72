//! One case, or one batch of scores, on its way to the module and back. It knows its session and nothing of the other cases.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::event::RunEvent;
use super::session::Session;
use super::unix_now;
use crate::client::{ClientError, InferenceEvent, InferenceRequest};
use crate::experiment::plan::{Case, Prompt, Settings};
use crate::experiment::record::{Answer, Failure, Outcome, PrefixIdentity, RECORD_VERSION, Record};
use crate::experiment::scores::{self, Batch, CaseScores};
use crate::protocol::extension::Priority;

/// One case on its way.
pub(super) struct Job {
    pub(super) session: Arc<Session>,
    pub(super) experiment: String,
    pub(super) case: Case,
    pub(super) number: u32,
    pub(super) prompt: Prompt,
    pub(super) settings: Settings,
    pub(super) written_by: String,
    pub(super) events: mpsc::UnboundedSender<RunEvent>,
}

/// A case that was run once: its record, or the reason why it should be run again.
pub(super) struct Attempt {
    pub(super) case: Case,
    pub(super) number: u32,
    pub(super) record: Record,
    /// The module died.
    pub(super) died: Option<ClientError>,
}

impl Job {
    pub(super) async fn run(self) -> Attempt {
        let started_unix = unix_now();
        let started = Instant::now();
        let (mut identity, mut so_far) = (None, String::new());
        let result = self.infer(&mut identity, &mut so_far).await;
        let (outcome, died) = match result {
            Ok(answer) => (Outcome::Done(answer), None),
            Err(error) => {
                let failure = Failure {
                    error: error.to_string(),
                    partial_text: error.text_so_far().map_or(so_far, str::to_owned),
                    elapsed_sec: started.elapsed().as_secs_f64(),
                };
                (Outcome::Failed(failure), Some(error).filter(ClientError::needs_set_up))
            }
        };
        let record = Record {
            version: RECORD_VERSION,
            id: format!("{}/{}", self.experiment, self.case.index),
            experiment: self.experiment,
            case: self.case.clone(),
            prompt: self.prompt,
            settings: self.settings,
            module: self.session.identity.clone(),
            prefix: identity,
            started_unix,
            attempts: self.number,
            outcome,
            scores: None,
            written_by: self.written_by,
        };
        Attempt {
            case: self.case,
            number: self.number,
            record,
            died,
        }
    }

    /// Leaves in `so_far` what has come, also where the connection is lost.
    async fn infer(&self, identity: &mut Option<PrefixIdentity>, so_far: &mut String) -> Result<Answer, ClientError> {
        let prefix = match &self.case.recipe {
            Some(recipe) => {
                let prefix = self.session.build(recipe).await?;
                *identity = Some(PrefixIdentity::of(recipe, &prefix, self.session.identity.median_norm));
                Some(prefix)
            }
            None => None,
        };
        let mut request = InferenceRequest::new(&self.prompt.user)
            .prefix(prefix)
            .priority(Priority::Batch);
        request.max_new_tokens = self.settings.max_new_tokens;
        let mut inference = self.session.task.infer(request);
        while let Some(event) = inference.next().await {
            match event? {
                InferenceEvent::Delta(text) => {
                    so_far.push_str(&text);
                    // Nobody listens to a dropped run.
                    let _ = self.events.send(RunEvent::Text {
                        index: self.case.index,
                        text,
                    });
                }
                InferenceEvent::Done(outcome) => return Ok(answer(outcome)),
            }
        }
        Err(ClientError::Stopped { text: String::new() })
    }
}

fn answer(outcome: crate::client::Outcome) -> Answer {
    let mut usage = outcome.usage;
    let tokens = outcome
        .tokens
        .or_else(|| usage.as_ref().map(|usage| usage.tokens.clone()));
    if let Some(usage) = &mut usage {
        // They stand in the answer; twice would double the journal.
        usage.tokens = Vec::new();
    }
    Answer {
        text: outcome.text,
        tokens,
        finish_reason: outcome.finish_reason,
        echo: outcome.echo,
        usage,
        ttft_sec: outcome.time_to_first_token.map(|time| time.as_secs_f64()),
        elapsed_sec: outcome.elapsed.as_secs_f64(),
    }
}

/// A batch that was scored, or not.
pub(super) struct Scoring {
    pub(super) batch: Batch,
    pub(super) scores: Result<Vec<(String, CaseScores)>, ClientError>,
}

pub(super) async fn score_batch(session: Arc<Session>, batch: Batch) -> Scoring {
    let work = async {
        let mut prefixes = Vec::with_capacity(batch.cases.len());
        for recipe in batch.cases.iter().filter_map(|case| case.case.recipe.as_ref()) {
            prefixes.push(session.build(recipe).await?);
        }
        scores::score(&session.task, &batch, prefixes).await
    };
    let scores = work.await;
    Scoring { batch, scores }
}
