//! Scores one record at a time by teacher forcing (KL and perplexity); a new request replaces the current one.

use std::sync::Arc;

use softprefix_core::client::{ScoreRequest, Task};
use softprefix_core::compare::{DeepMeasures, token_ranges};
use tokio::task::JoinHandle;

use super::events::Events;
use crate::errors::{self, problem_of};
use crate::messages::{Asked, Event, ScoreRun, TextOf};
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
    pub(super) fn start(&mut self, request: ScoreRun, session: Option<&Arc<Session>>, events: &Events) {
        self.stop();
        let (session, teller) = (session.cloned(), events.clone());
        let record = request.record.clone();
        let of = record.clone();
        let work = async move {
            let found = match session {
                Some(session) => score(&session, request).await.map(Arc::new),
                None => Err(errors::not_connected()),
            };
            teller.send(Event::Scored { record, found }).await;
        };
        let broken = move |problem| Event::Scored {
            record: of,
            found: Err(problem),
        };
        self.under_way = Some(events.spawn(work, broken));
    }

    pub(super) fn stop(&mut self) {
        if let Some(under_way) = self.under_way.take() {
            under_way.abort();
        }
    }
}

async fn score(session: &Session, request: ScoreRun) -> Result<Scores, Problem> {
    let Asked { prompt, settings } = &request.asked;
    let task = session.task_for(&prompt.system, settings).await;
    let task = task.map_err(|error| problem_of(&error))?;
    let prefix = session.build_of(&request.recipe).await?;
    if !request.sha256.is_empty() && prefix.sha256() != request.sha256 {
        return Err(Problem::new(
            ProblemKind::Input,
            Bilingual::new(
                "This run's prefix cannot be made again here: its digest is another one.",
                "この実行のプレフィックスをここで作り直すと、違うものになります（SHA-256 が一致しません）。",
            ),
            Bilingual::new(
                "Run it again with this model.",
                "このモデルでもう一度実行してください。",
            ),
        ));
    }
    let user = prompt.user.as_str();
    let asked = ScoreRequest::new(user, request.baseline.scored())
        .prefixes([prefix])
        .top(ALTERNATIVES);
    let scored = task.score(asked).await.map_err(|error| problem_of(&error))?;
    let measures = DeepMeasures::of(&scored, 0).ok_or_else(nothing_scored)?;
    let perplexity = perplexity(&task, user, &request.prefixed).await?;
    Ok(Scores {
        ranges: token_ranges(&request.baseline.text, &scored.tokens).unwrap_or_default(),
        text: request.baseline.text,
        scored,
        measures,
        perplexity,
    })
}

/// Returns the perplexity of a text without any prefix; `None` for an empty one.
async fn perplexity(task: &Task, user: &str, of: &TextOf) -> Result<Option<f64>, Problem> {
    if of.text.is_empty() {
        return Ok(None);
    }
    let scored = task.score(ScoreRequest::new(user, of.scored())).await;
    Ok(Some(scored.map_err(|error| problem_of(&error))?.base.perplexity))
}

fn nothing_scored() -> Problem {
    Problem::new(
        ProblemKind::Module,
        Bilingual::new(
            "The module scored no token of the baseline.",
            "モジュールがベースラインのトークンを一つも評価しませんでした。",
        ),
        Bilingual::new("Run again.", "もう一度実行してください。"),
    )
}
