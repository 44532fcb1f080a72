//! When the scores of the shown run are asked for, and when they are let go. It knows no widget and asks no module.
//!
//! They are asked for when no output is on its way, and given up when one is to be run: whoever watches goes first.

use std::sync::Arc;

use softprefix_core::experiment::{CaseScores, Record};

use super::Workbench;
use crate::messages::{Request, ScoreRun, TextOf};
use crate::model::{CaseKey, Colouring, KlOff, Problem, Run, RunId, Scores};

/// How many runs' scores are kept.
const KEPT: usize = 64;

impl Workbench {
    /// Why the baseline cannot be coloured by KL; `None` where it can.
    pub fn kl_off(&self) -> Option<KlOff> {
        if matches!(self.scores(), Some(Ok(_))) {
            return None;
        }
        match self.module.facts() {
            None => Some(KlOff::NotConnected),
            Some(facts) if !facts.scores => Some(KlOff::NotHere),
            Some(_) => None,
        }
    }

    /// The scores of the sweep's pair: of a case beside the baseline that it was scored against.
    pub fn pair_scores(&self) -> Result<&CaseScores, KlOff> {
        let (left, right) = self.sweep.pair().ok_or(KlOff::NotScored)?;
        match right.scores.as_deref() {
            // Another run of the baseline with the same text is as good.
            Some(scores) if left.id == scores.baseline || left.is_baseline() && self.is_text_of(left, scores) => {
                if scores.places.is_empty() && !scores.kl.is_empty() {
                    return Err(KlOff::NotLaid);
                }
                Ok(scores)
            }
            Some(_) => Err(KlOff::NotScored),
            None if self.module.facts().is_some_and(|facts| !facts.scores) => Err(KlOff::NotHere),
            None => Err(KlOff::NotScored),
        }
    }

    fn is_text_of(&self, record: &Record, scores: &CaseScores) -> bool {
        let scored = self.sweep.record(&scores.baseline);
        scored.is_some_and(|scored| scored.text() == record.text())
    }

    /// What the baseline's text is coloured by now.
    pub fn colouring(&self) -> Colouring {
        match self.kl_off() {
            Some(_) => Colouring::Diff,
            None => self.deep.colouring,
        }
    }

    /// The deep measures of the run that the panes show, as far as they are there and belong to their texts.
    pub fn scores(&self) -> Option<Result<&Arc<Scores>, &Problem>> {
        if self.is_running() && self.selected.is_none() {
            return None;
        }
        let run = self.current_run()?;
        match self.deep.of(run.id)? {
            Ok(scores) if *scores.text == *self.baseline.text => Some(Ok(scores)),
            Ok(_) => None,
            Err(problem) => Some(Err(problem)),
        }
    }

    pub(super) fn set_colouring(&mut self, colouring: Colouring) {
        if colouring == Colouring::Kl {
            self.deep.try_again();
        }
        self.deep.colouring = colouring;
    }

    /// Asks for what is not known of the shown run, and gives up what is no longer wanted. Called after everything that happens.
    pub(super) fn look_deeper(&mut self) {
        let wanted = self.unscored();
        let id = wanted.as_ref().map(|wanted| wanted.run);
        if id == self.deep.under_way {
            return;
        }
        if self.deep.under_way.is_some() {
            self.outbox.push(Request::StopScoring);
        }
        self.deep.under_way = id;
        self.outbox
            .extend(wanted.map(|wanted| Request::Score(Box::new(wanted))));
    }

    fn unscored(&self) -> Option<ScoreRun> {
        let facts = self.module.facts()?;
        if !facts.scores || self.is_running() {
            return None;
        }
        let run = self.current_run()?;
        let case = self.case().filter(|case| case.id == run.case)?;
        let baseline = case.baseline.as_ref()?;
        let known = match self.deep.of(run.id) {
            Some(Ok(scores)) => *scores.text == *baseline.text,
            Some(Err(_)) => true,
            None => false,
        };
        if known || baseline.text.is_empty() || !self.is_here(&case.key) {
            return None;
        }
        Some(ScoreRun {
            run: run.id,
            case: case.key.clone(),
            recipe: run.origin.recipe.clone(),
            sha256: run.sha256.clone(),
            baseline: TextOf::new(&baseline.text, baseline.tokens.as_deref()),
            prefixed: TextOf::new(&run.text, run.tokens.as_deref()),
        })
    }

    /// Whether a case is one of the model that is connected.
    fn is_here(&self, key: &CaseKey) -> bool {
        self.module.facts().is_some_and(|facts| facts.model == key.model)
    }

    pub(super) fn scored(&mut self, run: RunId, found: Result<Arc<Scores>, Problem>) {
        if self.deep.under_way != Some(run) {
            return;
        }
        self.deep.under_way = None;
        if let (Ok(scores), Some(run)) = (&found, self.runs.iter_mut().find(|known| known.id == run)) {
            run.measures.kl_mean = Some(scores.measures.kl_mean);
            run.measures.perplexity = scores.perplexity;
        }
        self.deep.known.insert(run, found);
        while self.deep.known.len() > KEPT {
            let shown = self.current_run().map(|run| run.id);
            let oldest = self.deep.known.keys().copied().find(|&id| Some(id) != shown);
            match oldest {
                Some(id) => self.deep.known.remove(&id),
                None => break,
            };
        }
    }

    /// The scores of a run, where it has any: for views that show several.
    pub fn scores_of(&self, run: &Run) -> Option<&Arc<Scores>> {
        self.deep.of(run.id)?.as_ref().ok()
    }
}
