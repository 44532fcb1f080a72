//! The source of a run's cases: a plan, a search whose next magnitude depends on the last text, or a search for a prefix.

use std::collections::{HashSet, VecDeque};

use super::proposals::Proposals;
use crate::compare::Measures;
use crate::experiment::analysis::Analysis;
use crate::experiment::plan::Case;
use crate::experiment::record::Record;
use crate::experiment::threshold::{SimilarityLimit, ThresholdSearch};
use crate::prefix::{Magnitude, PrefixRecipe};

/// A search for the largest magnitude within a similarity limit.
#[derive(Clone, Debug)]
pub struct ThresholdRequest {
    /// The prefix. Of its magnitude only the unit is used: raw values or token norms.
    pub recipe: PrefixRecipe,
    /// Range and number of runs, with the points measured before.
    pub search: ThresholdSearch,
    /// The least similarity that is allowed.
    pub limit: SimilarityLimit,
    /// Earlier records. Those with the same prompt, module, settings and kind of prefix count as measured points.
    pub known_records: Vec<Record>,
}

/// The source of a run's cases.
pub(super) enum Source {
    Plan(VecDeque<Case>),
    Threshold(Box<Searching>),
    Prefix(Box<Proposals>),
}

/// A threshold search in progress: the first baselines, one magnitude at a time, the last baseline.
pub(super) struct Searching {
    /// The plan's baselines; the last one is run at the end.
    baselines: VecDeque<Case>,
    next_index: usize,
    pub(super) request: ThresholdRequest,
    baseline_text: Option<String>,
    /// Whether a case is running whose result the next step needs.
    waits: bool,
    /// Whether a result that the next step needs was lost.
    over: bool,
}

impl Source {
    /// The next case; `None` if there is none now.
    pub(super) fn next(&mut self) -> Option<Case> {
        match self {
            Self::Plan(cases) => cases.pop_front(),
            Self::Threshold(searching) => searching.next(),
            Self::Prefix(proposals) => proposals.next(),
        }
    }

    /// Number of cases that can still be returned by [`Self::next`]; running ones are not among them.
    pub(super) fn left(&self) -> usize {
        match self {
            Self::Plan(cases) => cases.len(),
            Self::Threshold(searching) => searching.left(),
            Self::Prefix(proposals) => proposals.left(),
        }
    }

    /// The prompt of the next case.
    pub(super) fn next_prompt(&self) -> Option<usize> {
        match self {
            Self::Plan(cases) => cases.front().map(|case| case.prompt),
            Self::Threshold(_) | Self::Prefix(_) => Some(0),
        }
    }

    /// Notes that a case was lost. The other cases of a plan do not need it; a search ends.
    pub(super) fn case_lost(&mut self) {
        match self {
            Self::Plan(_) => {}
            Self::Threshold(searching) => searching.over = true,
            Self::Prefix(proposals) => proposals.case_lost(),
        }
    }

    /// Removes a plan's cases that a resumed run has finished. A search for a prefix is resumed by [`Proposals::resume`]; one for a threshold is
    /// started again, with the earlier records as known ones.
    pub(super) fn forget(&mut self, finished: &HashSet<usize>) {
        if let Self::Plan(cases) = self {
            cases.retain(|case| !finished.contains(&case.index));
        }
    }
}

impl Searching {
    /// A search with the baselines of a plan, the last of which is run at the end.
    pub(super) fn new(baselines: VecDeque<Case>, request: ThresholdRequest) -> Self {
        Self {
            next_index: baselines.len(),
            baselines,
            request,
            baseline_text: None,
            waits: false,
            over: false,
        }
    }

    fn left(&self) -> usize {
        if self.over {
            return 0;
        }
        // Without a baseline's text there is nothing to measure against, and no magnitude is tried.
        let can_measure = self.baseline_text.is_some() || self.waits || self.baselines.len() > 1;
        self.baselines.len()
            + if can_measure {
                self.request.search.max_runs_left()
            } else {
                0
            }
    }

    fn next(&mut self) -> Option<Case> {
        if self.waits || self.over {
            return None;
        }
        let is_last = self.baselines.len() == 1;
        if !is_last && let Some(baseline) = self.baselines.pop_front() {
            self.waits = true;
            return Some(baseline);
        }
        let next = self
            .baseline_text
            .as_ref()
            .and_then(|_| self.request.search.next_magnitude());
        let Some(magnitude) = next else {
            return self.baselines.pop_front();
        };
        self.waits = true;
        let index = self.next_index;
        self.next_index += 1;
        let (magnitude, name) = match self.request.recipe.magnitude {
            Magnitude::Raw(_) => (Magnitude::Raw(magnitude), format!("prefix_val_{magnitude:?}")),
            _ => (Magnitude::TokenNorms(magnitude), format!("prefix_norm_{magnitude:?}")),
        };
        let recipe = PrefixRecipe {
            magnitude,
            ..self.request.recipe.clone()
        };
        Some(Case {
            index,
            name,
            prompt: 0,
            repeat: 0,
            recipe: Some(recipe),
        })
    }

    /// Adds the points of the earlier records, once the first baseline shows which module answers.
    fn add_known_records(&mut self, baseline: &Record) {
        let records = std::mem::take(&mut self.request.known_records);
        let analysis = Analysis::of(records.iter().chain([baseline]));
        if let Some((group, _)) = analysis.find(&baseline.id) {
            let points = group.measured(&self.request.recipe, &self.request.limit);
            self.request.search.add_known_points(points);
        }
    }

    /// Adds the result of a case. A failed case counts as beyond the limit.
    pub(super) fn take(&mut self, record: &Record) {
        self.waits = false;
        if record.is_baseline() {
            // The last baseline, after which none is left, comes too late for a search.
            if self.baseline_text.is_none()
                && !self.baselines.is_empty()
                && let Some(text) = record.text()
            {
                self.baseline_text = Some(text.to_owned());
                self.add_known_records(record);
            }
            return;
        }
        let magnitude = match record.case.recipe.as_ref().map(|recipe| recipe.magnitude) {
            Some(Magnitude::Raw(value) | Magnitude::TokenNorms(value)) => value,
            _ => return,
        };
        let measured = self
            .baseline_text
            .as_ref()
            .zip(record.text())
            .map(|(baseline, text)| Measures::of(baseline, text));
        let within = measured
            .and_then(|measures| self.request.limit.allows(&measures))
            .unwrap_or(false);
        self.request.search.add_result(magnitude, within);
    }
}
