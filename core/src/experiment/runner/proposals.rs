//! The source of cases of a search for a prefix: the baseline, then one generation of candidates after the other.

use std::collections::VecDeque;

use crate::experiment::generation::{Candidate, Generation};
use crate::experiment::plan::Case;
use crate::experiment::record::Record;
use crate::experiment::saved::SavedExperiment;
use crate::search::{Objective, PrefixSearch, SearchError};

/// A search for a prefix whose outputs meet an objective.
#[derive(Clone, Debug)]
pub struct PrefixSearchRequest {
    /// The search to start from.
    pub search: PrefixSearch,
    /// What judges the outputs.
    pub objective: Objective,
    /// Most candidates that are judged. Those of an interrupted generation are run again and do not count twice.
    pub budget: usize,
}

/// A running search.
pub(super) struct Proposals {
    baselines: VecDeque<Case>,
    next_index: usize,
    request: PrefixSearchRequest,
    baseline_text: Option<String>,
    /// Cases of the generation that are still to be returned.
    queue: VecDeque<Case>,
    /// Index of the case of each candidate of the current generation, with its result once it is judged.
    generation: Vec<(usize, Option<Candidate>)>,
    /// Candidates whose cases have been returned so far.
    spent: usize,
    /// Whether a baseline is running, which the candidates need.
    waits: bool,
    /// Whether nothing more can be proposed.
    over: bool,
    /// Whether the first generation has been returned by [`Self::opening`], or is in the journal that is resumed.
    is_opening_saved: bool,
}

impl Proposals {
    pub(super) fn new(baselines: VecDeque<Case>, request: PrefixSearchRequest) -> Self {
        Self {
            next_index: baselines.len(),
            baselines,
            request,
            baseline_text: None,
            queue: VecDeque::new(),
            generation: Vec::new(),
            spent: 0,
            waits: false,
            over: false,
            is_opening_saved: false,
        }
    }

    /// Returns the first generation without results, once. It is saved at the start, so that a search that is interrupted during its first
    /// generation can be resumed.
    pub(super) fn opening(&mut self) -> Option<Generation> {
        let is_new = !std::mem::replace(&mut self.is_opening_saved, true);
        is_new.then(|| self.generation_with(Vec::new()))
    }

    fn generation_with(&self, candidates: Vec<Candidate>) -> Generation {
        Generation {
            search: self.request.search.clone(),
            candidates,
            objective: Some(self.request.objective.clone()),
            budget: Some(self.request.budget),
        }
    }

    /// Continues after the last complete generation of an earlier run. Candidates of an interrupted generation are run again.
    ///
    /// # Errors
    /// Those of [`Generation::next`].
    pub(super) fn resume(&mut self, saved: &SavedExperiment) -> Result<(), SearchError> {
        let baseline = saved
            .undeleted()
            .find(|record| record.is_baseline() && record.text().is_some());
        if let Some(text) = baseline.and_then(Record::text) {
            self.baseline_text = Some(text.to_owned());
            self.baselines.clear();
        }
        let used = saved.records.iter().map(|record| record.case.index + 1).max();
        self.next_index = self.next_index.max(used.unwrap_or(0));
        self.spent += (saved.generations.iter())
            .map(|generation| generation.candidates.len())
            .sum::<usize>();
        if let Some(last) = saved.generations.last() {
            self.request.search = last.next()?;
            self.is_opening_saved = true;
        }
        Ok(())
    }

    /// Number of cases that can still be returned by [`Self::next`]; running ones are not among them.
    pub(super) fn left(&self) -> usize {
        if self.over {
            return 0;
        }
        let can_judge = self.baseline_text.is_some() || self.waits || !self.baselines.is_empty();
        let candidates = if can_judge {
            self.request.budget.saturating_sub(self.spent)
        } else {
            0
        };
        self.baselines.len() + candidates
    }

    /// Ends the search: a case ended without a result, so its generation can never be judged.
    pub(super) fn case_lost(&mut self) {
        self.over = true;
        self.queue.clear();
    }

    /// The next case; `None` if there is none now: the baseline or the rest of the generation is still running, or the search is over.
    pub(super) fn next(&mut self) -> Option<Case> {
        if self.over || self.waits {
            return None;
        }
        if let Some(baseline) = self.baselines.pop_front() {
            self.waits = true;
            return Some(baseline);
        }
        self.baseline_text.as_ref()?;
        if self.generation.is_empty() {
            self.propose();
        }
        let case = self.queue.pop_front()?;
        self.spent += 1;
        Some(case)
    }

    /// Queues the next generation, or as much of it as the budget allows.
    fn propose(&mut self) {
        let room = self.request.budget.saturating_sub(self.spent);
        let generation = self.request.search.generation() + 1;
        let recipes = self.request.search.candidates().into_iter().take(room);
        for (place, recipe) in recipes.enumerate() {
            self.generation.push((self.next_index, None));
            self.queue.push_back(Case {
                index: self.next_index,
                name: format!("generation_{generation}_{}", place + 1),
                prompt: 0,
                repeat: 0,
                recipe: Some(recipe),
            });
            self.next_index += 1;
        }
    }

    /// The text whose likelihood is part of a candidate's score.
    pub(super) fn wanted_text(&self) -> Option<&str> {
        self.request.objective.wanted_text()
    }

    /// Judges the result of a case and sets the record's score; `mean_ln_p` is [`Score::mean_ln_p`](crate::search::Score). A failed case
    /// counts as the worst. Returns the generation if the case was its last.
    pub(super) fn take(&mut self, record: &mut Record, mean_ln_p: Option<f64>) -> Option<Generation> {
        if record.is_baseline() {
            self.waits = false;
            if let (None, Some(text)) = (&self.baseline_text, record.text()) {
                self.baseline_text = Some(text.to_owned());
            }
            return None;
        }
        let slot = self
            .generation
            .iter_mut()
            .find(|(index, _)| *index == record.case.index);
        let (Some((_, slot)), Some(baseline)) = (slot, &self.baseline_text) else {
            return None;
        };
        let objective = &self.request.objective;
        record.score = record.text().map(|text| objective.score(baseline, text, mean_ln_p));
        *slot = Some(Candidate {
            record: record.id.clone(),
            result: record.score.map(|score| -score.total),
            score: record.score,
        });
        self.close()
    }

    /// Returns the current generation once all of its candidates are judged. One that the budget cut short is the last, and does not change the
    /// search.
    fn close(&mut self) -> Option<Generation> {
        let candidates: Option<Vec<Candidate>> = self.generation.iter().map(|(_, done)| done.clone()).collect();
        let candidates = candidates?;
        self.generation.clear();
        if candidates.len() < self.request.search.population() {
            self.over = true;
            return None;
        }
        let generation = self.generation_with(candidates);
        match generation.next() {
            Ok(next) => self.request.search = next,
            Err(error) => {
                tracing::warn!(%error, "the search cannot go on");
                self.over = true;
            }
        }
        Some(generation)
    }
}
