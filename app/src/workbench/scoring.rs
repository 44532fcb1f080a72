//! Decides what is scored and when: the shown run and the points of a filled curve, when no output is running. A run of the user
//! cancels it.

use std::sync::Arc;

use softprefix_core::experiment::{CaseScores, Entry, GroupKey, Record};

use super::Workbench;
use crate::messages::{PromptAndSettings, Request, ScoreRuns, ScoredRun, TextOf};
use crate::model::{Colouring, KlUnavailable, Problem, Scores};

/// Number of runs whose scores are kept.
const KEPT: usize = 64;

impl Workbench {
    /// Returns why the baseline cannot be coloured by KL; `None` if it can.
    pub fn why_not_kl(&self) -> Option<KlUnavailable> {
        if self.tuning.pinned.is_some() {
            return Some(KlUnavailable::Pinned);
        }
        if matches!(self.scores(), Some(Ok(_))) {
            return None;
        }
        match self.module.facts() {
            None if self.module.is_busy() => Some(KlUnavailable::StillConnecting),
            None => Some(KlUnavailable::NotConnected),
            Some(facts) if !facts.scores => Some(KlUnavailable::NotHere),
            Some(_) => None,
        }
    }

    /// Returns the scores of the sweep's pair: a case beside the baseline that it was scored against.
    pub fn pair_scores(&self) -> Result<&CaseScores, KlUnavailable> {
        let (left, right) = self.sweep.pair().ok_or(KlUnavailable::NotScored)?;
        match right.scores.as_deref() {
            // Another run of the baseline with the same text is equivalent.
            Some(scores) if left.id == scores.baseline || left.is_baseline() && self.is_text_of(left, scores) => {
                if scores.places.is_empty() && !scores.kl.is_empty() {
                    return Err(KlUnavailable::NotLaid);
                }
                Ok(scores)
            }
            Some(_) => Err(KlUnavailable::NotScored),
            None if self.module.facts().is_some_and(|facts| !facts.scores) => Err(KlUnavailable::NotHere),
            None => Err(KlUnavailable::NotScored),
        }
    }

    fn is_text_of(&self, record: &Record, scores: &CaseScores) -> bool {
        let scored = self.sweep.record(&scores.baseline);
        scored.is_some_and(|scored| scored.text() == record.text())
    }

    /// Returns what the colours of the baseline's text show now.
    pub fn colouring(&self) -> Colouring {
        match self.why_not_kl() {
            Some(_) => Colouring::Diff,
            None => self.scores.colouring,
        }
    }

    /// Returns the scores of the record in the panes, if known and if they belong to its texts.
    pub fn scores(&self) -> Option<Result<&Arc<Scores>, &Problem>> {
        if self.is_running() && self.tuning.selected_record.is_none() {
            return None;
        }
        let (record, _) = self.tuning.current()?;
        match self.scores.of(&record.id)? {
            Ok(scores) if *scores.text == *self.baseline.text => Some(Ok(scores)),
            Ok(_) => None,
            Err(problem) => Some(Err(problem)),
        }
    }

    pub(super) fn set_colouring(&mut self, colouring: Colouring) {
        if colouring == Colouring::Kl {
            self.scores.try_again();
        }
        self.scores.colouring = colouring;
    }

    /// Requests the missing scores, and cancels those no longer needed. Called after every action and event.
    pub(super) fn request_scores(&mut self) {
        let wanted = self.unscored();
        let ids = |wanted: &ScoreRuns| -> Vec<String> { wanted.runs.iter().map(|run| run.record.clone()).collect() };
        let ids = wanted.as_ref().map(ids).unwrap_or_default();
        let is_under_way = |id: &String| self.scores.under_way.contains(id);
        if ids.iter().all(is_under_way) && ids.is_empty() == self.scores.under_way.is_empty() {
            return;
        }
        if self.scores.is_under_way() {
            // Sent before a run that is requested at the same time: a scoring that still waits for its task would replace the run's task.
            self.pending_requests.insert(0, Request::StopScoring);
        }
        self.scores.under_way = ids;
        self.pending_requests
            .extend(wanted.map(|wanted| Request::Score(Box::new(wanted))));
    }

    /// Returns what to score next: the shown run and the points of a filled curve, in one request, because the unit scores them in parallel. The
    /// points are scored after the curve is filled, so that they do not delay it.
    fn unscored(&self) -> Option<ScoreRuns> {
        let facts = self.module.facts()?;
        if !facts.scores || self.is_running() {
            return None;
        }
        let (current, _) = self.tuning.current()?;
        let key = self
            .tuning
            .shown_group
            .as_ref()
            .filter(|key| **key == GroupKey::of(current))?;
        let baseline = self
            .tuning
            .baseline()
            .filter(|baseline| !baseline.output().is_empty())?;
        // Another module with the same model gives the same scores.
        if facts.identity.model != key.model || facts.identity.model_sha256 != key.model_sha256 {
            return None;
        }
        let mut runs: Vec<ScoredRun> = self.unscored_run(current, baseline).into_iter().collect();
        if self.curve.progress().is_none() {
            let points = self.curve.unscored.iter().rev().filter_map(|id| self.tuning.record(id));
            // Perplexities that a run of the user cancelled are asked for when their run is shown.
            let is_missing = |record: &Record| record.scores.is_none() || self.scores.under_way.contains(&record.id);
            let missing =
                points.filter(|record| is_missing(record) && record.id != current.id && GroupKey::of(record) == *key);
            runs.extend(missing.filter_map(|record| self.unscored_run(record, baseline)));
        }
        (!runs.is_empty()).then(|| ScoreRuns {
            input: PromptAndSettings {
                prompt: key.prompt.clone(),
                settings: key.settings.clone(),
            },
            baseline: TextOf::of(baseline),
            runs,
        })
    }

    fn unscored_run(&self, record: &Record, baseline: &Record) -> Option<ScoredRun> {
        let is_known = match self.scores.of(&record.id) {
            Some(Ok(scores)) => *scores.text == *baseline.output() && has_all(scores.perplexity, record),
            Some(Err(_)) => true,
            None => false,
        };
        let recipe = record.case.recipe.clone().filter(|_| !is_known)?;
        let sha256 = record.prefix.as_ref().map(|prefix| prefix.sha256.clone());
        Some(ScoredRun {
            record: record.id.clone(),
            recipe,
            sha256: sha256.unwrap_or_default(),
            text: TextOf::of(record),
        })
    }

    pub(super) fn scored(&mut self, record: &str, found: Result<Arc<Scores>, Problem>) {
        let Some(at) = self.scores.under_way.iter().position(|id| id == record) else {
            return;
        };
        let baseline = self.tuning.baseline().map(|baseline| baseline.id.clone());
        let run = self.tuning.record(record);
        let is_whole = match (&found, run) {
            (Ok(scores), Some(run)) => has_all(scores.perplexity, run),
            _ => true,
        };
        if is_whole {
            self.scores.under_way.remove(at);
        }
        let before = run.and_then(|run| run.scores.as_ref());
        let is_new = run.is_some() && before.is_none_or(|before| before.perplexity.is_none());
        if let (Ok(scores), Some(baseline), true) = (&found, baseline, is_new) {
            let scores = Box::new(scores.of_case(baseline));
            self.change_session(vec![Entry::Scored {
                record: record.to_owned(),
                scores,
            }]);
        }
        self.scores.known.insert(record.to_owned(), found);
        while self.scores.known.len() > KEPT {
            let shown = self.tuning.current().map(|(record, _)| record.id.clone());
            let oldest = self.scores.known.keys().find(|id| Some(*id) != shown.as_ref()).cloned();
            match oldest {
                Some(id) => self.scores.known.remove(&id),
                None => break,
            };
        }
    }
}

/// Returns whether the perplexity of the run's own text is known, if it has a text.
fn has_all(perplexity: Option<f64>, run: &Record) -> bool {
    perplexity.is_some() || run.output().is_empty()
}
