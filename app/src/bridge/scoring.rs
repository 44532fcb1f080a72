//! Scores records by teacher forcing (KL and perplexity); a new request replaces the current one.

use std::collections::HashMap;
use std::sync::Arc;

use softprefix_core::client::{ClientError, ScoreRequest, Task};
use softprefix_core::compare::{LikelihoodMeasures, token_ranges};
use softprefix_core::prefix::SoftPrefix;
use softprefix_core::protocol::extension::Scored;
use tokio::task::JoinHandle;

use super::events::Events;
use crate::errors;
use crate::messages::{Event, ScoreRuns, ScoredRun, TextOf};
use crate::model::{Bilingual, Problem, ProblemKind, Scores};
use crate::session::Session;

/// Number of most likely tokens reported at each position.
pub const ALTERNATIVES: usize = 5;

/// The current scoring. Aborting it drops the request, which stops the unit.
#[derive(Default)]
pub(super) struct Scoring {
    under_way: Option<JoinHandle<()>>,
}

impl Scoring {
    /// Starts scoring, replacing the current one.
    pub(super) fn start(&mut self, request: ScoreRuns, session: Option<&Arc<Session>>, events: &Events) {
        self.stop();
        let (session, reporter) = (session.cloned(), events.clone());
        let records: Vec<String> = request.runs.iter().map(|run| run.record.clone()).collect();
        let all = records.clone();
        let work = async move {
            let scored = match session {
                Some(session) => score(&session, &request, &reporter).await,
                None => Err(errors::not_connected()),
            };
            if let Err(problem) = scored {
                reporter.send(Event::NotScored { records, problem }).await;
            }
        };
        let on_failure = move |problem| Event::NotScored { records: all, problem };
        self.under_way = Some(events.spawn(work, on_failure));
    }

    pub(super) fn stop(&mut self) {
        if let Some(under_way) = self.under_way.take() {
            under_way.abort();
        }
    }
}

/// Scores the baseline under the prefixes of all runs in one request, and reports each run. An error concerns all that are not reported.
async fn score(session: &Session, request: &ScoreRuns, events: &Events) -> Result<(), Problem> {
    let (prompt, settings) = (&request.input.prompt, &request.input.settings);
    let task = session.task_for(&prompt.system, settings).await;
    let task = task.map_err(|error| session.problem(error))?;
    let mut built = Vec::with_capacity(request.runs.len());
    for run in &request.runs {
        match build(session, run).await {
            Ok(prefix) => built.push((run, prefix)),
            Err(problem) => report(events, run, Err(problem)).await,
        }
    }
    if built.is_empty() {
        return Ok(());
    }
    let user = prompt.user.as_str();
    let of_baseline = |prefixes: Vec<SoftPrefix>| {
        ScoreRequest::new(user, request.baseline.scored())
            .prefixes(prefixes)
            .top(ALTERNATIVES)
    };
    if built.len() > 1 {
        let together = of_baseline(built.iter().map(|(_, prefix)| prefix.clone()).collect());
        match task.score(together).await {
            Ok(scored) => {
                score_together(session, &task, request, &built, scored, events).await;
                return Ok(());
            }
            // One prefix must not fail the others.
            Err(ClientError::Refused { .. }) => {}
            Err(error) => return Err(session.problem(error)),
        }
    }
    for (run, prefix) in built {
        let scored = task.score(of_baseline(vec![prefix])).await;
        let found = scored.map_err(|error| session.problem(error));
        let found = match found.and_then(|scored| of_run(request, scored)) {
            Ok(scores) => with_perplexity(&task, request, run, scores, &mut HashMap::new())
                .await
                .map_err(|error| session.problem(error)),
            Err(problem) => Err(problem),
        };
        report(events, run, found).await;
    }
    Ok(())
}

/// Reports the KL of all runs, then each again with the perplexity of its own text.
async fn score_together(
    session: &Session,
    task: &Task,
    request: &ScoreRuns,
    built: &[(&ScoredRun, SoftPrefix)],
    mut scored: Scored,
    events: &Events,
) {
    let prefixed = std::mem::take(&mut scored.prefixed);
    let mut left = Vec::with_capacity(built.len());
    for ((run, _), compared) in built.iter().zip(prefixed) {
        let scored = Scored {
            prefixed: vec![compared],
            ..scored.clone()
        };
        let found = of_run(request, scored);
        left.extend(found.as_ref().ok().map(|scores| (run, scores.clone())));
        report(events, run, found).await;
    }
    // Texts that several prefixes gave are scored once.
    let mut known = HashMap::new();
    for (run, scores) in left {
        if !run.text.text.is_empty() {
            let found = with_perplexity(task, request, run, scores, &mut known).await;
            report(events, run, found.map_err(|error| session.problem(error))).await;
        }
    }
}

async fn report(events: &Events, run: &ScoredRun, found: Result<Scores, Problem>) {
    let record = run.record.clone();
    events
        .send(match found {
            Ok(scores) => Event::Scored {
                record,
                scores: Arc::new(scores),
            },
            Err(problem) => Event::NotScored {
                records: vec![record],
                problem,
            },
        })
        .await;
}

/// Builds the prefix of a run again.
async fn build(session: &Session, run: &ScoredRun) -> Result<SoftPrefix, Problem> {
    let prefix = session.build(&run.recipe).await?;
    if run.sha256.is_empty() || prefix.sha256() == run.sha256 {
        return Ok(prefix);
    }
    Err(Problem::new(
        ProblemKind::Input,
        Bilingual::new(
            "This run's prefix cannot be built again here: its digest differs.",
            "この実行のプレフィックスをここで作り直すと、違うものになります（SHA-256 が一致しません）。",
        ),
        Bilingual::new(
            "Run it again with this model.",
            "このモデルでもう一度実行してください。",
        ),
    ))
}

/// The scores of the baseline under the prefix of one run.
fn of_run(request: &ScoreRuns, scored: Scored) -> Result<Scores, Problem> {
    let measures = LikelihoodMeasures::of(&scored, 0).ok_or_else(nothing_scored)?;
    let text = &request.baseline.text;
    Ok(Scores {
        ranges: token_ranges(text, &scored.tokens).unwrap_or_default(),
        text: Arc::clone(text),
        scored,
        measures,
        perplexity: None,
    })
}

/// Adds the perplexity of the run's own text, which is looked up in `known` first.
async fn with_perplexity(
    task: &Task,
    request: &ScoreRuns,
    run: &ScoredRun,
    mut scores: Scores,
    known: &mut HashMap<TextOf, f64>,
) -> Result<Scores, ClientError> {
    known.insert(request.baseline.clone(), scores.scored.reference.perplexity);
    scores.perplexity = match known.get(&run.text) {
        Some(perplexity) => Some(*perplexity),
        None => perplexity(task, &request.input.prompt.user, &run.text).await?,
    };
    known.extend(scores.perplexity.map(|perplexity| (run.text.clone(), perplexity)));
    Ok(scores)
}

/// Returns the perplexity of a text without any prefix; `None` for an empty one.
async fn perplexity(task: &Task, user: &str, of: &TextOf) -> Result<Option<f64>, ClientError> {
    if of.text.is_empty() {
        return Ok(None);
    }
    let scored = task.score(ScoreRequest::new(user, of.scored())).await;
    Ok(Some(scored?.reference.perplexity))
}

fn nothing_scored() -> Problem {
    Problem::new(
        ProblemKind::Module,
        Bilingual::new(
            "The module scored no token of the baseline.",
            "モジュールがベースラインのトークンを一つも採点しませんでした。",
        ),
        Bilingual::new("Run again.", "もう一度実行してください。"),
    )
}
