//! Filling a curve: requests runs of the current prefix at several magnitudes, and shows saved ones at once.

use std::time::Duration;

use softprefix_core::experiment::{GroupKey, Record};
use softprefix_core::prefix::PrefixRecipe;

use super::running_inference::Filling;
use super::{Notice, Workbench, pane_of};
use crate::messages::{Inference, LibraryRequest, PromptAndSettings, Request};
use crate::model::{MagnitudeUnit, Problem, ProblemKind, RunId, RunKind, Unavailable};

/// Magnitudes of a filled curve, in token norms: densest where outputs change most.
pub const MAGNITUDES: [f64; 12] = [0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 1.6, 2.5, 4.0, 6.5, 12.0];
/// Smaller magnitudes count as this one when the nearest saved run is searched.
const LEAST: f64 = 1e-3;
/// Pause before a curve is filled automatically, from the end of the visible runs. A change of the magnitude does not start it anew.
const PAUSE: Duration = Duration::from_millis(1500);

impl Workbench {
    /// Returns why the curve cannot be filled; `None` if it can.
    pub fn why_not_fill(&self) -> Option<Unavailable> {
        if let Some(why) = self.why_not_run() {
            return Some(why);
        }
        if !self.module.facts().is_some_and(|facts| facts.is_ours()) {
            return Some(Unavailable::OneAtATime);
        }
        if self.prefix.is_unscaled() {
            return Some(Unavailable::NoMagnitude);
        }
        if self.recording().is_some() || self.exhibition.is_some() {
            return Some(Unavailable::Recording);
        }
        self.missing().is_empty().then_some(Unavailable::Filled)
    }

    /// Returns the recipes of the current prefix at the magnitudes of the curve that have no saved run.
    fn missing(&self) -> Vec<PrefixRecipe> {
        let scale = match self.prefix.unit {
            MagnitudeUnit::TokenNorms => 1.0,
            // On the side of 0 where the current magnitude is.
            MagnitudeUnit::Raw => self.raw_of_one_norm().copysign(self.prefix.magnitude),
        };
        let known = |recipe: &PrefixRecipe| {
            self.saved_runs()
                .any(|record| record.case.recipe.as_ref() == Some(recipe))
        };
        let at = |magnitude: f64| {
            let mut form = self.prefix.clone();
            // Not -0, whose rows have other bytes.
            form.magnitude = magnitude * scale + 0.0;
            form.recipe()
        };
        MAGNITUDES.into_iter().map(at).filter(|recipe| !known(recipe)).collect()
    }

    /// Runs the missing magnitudes of the curve, after `delay`.
    pub(super) fn fill_curve(&mut self, delay: Duration) {
        if self.why_not_fill().is_some() || self.curve.progress().is_some() {
            return;
        }
        let key = self.show_controls();
        self.start_baseline_if_missing(&key, delay);
        let input = PromptAndSettings {
            prompt: key.prompt.clone(),
            settings: key.settings.clone(),
        };
        let inferences: Vec<Inference> = self
            .missing()
            .into_iter()
            .map(|recipe| Inference {
                run: RunId(self.fresh_id()),
                kind: RunKind::Prefixed,
                input: input.clone(),
                draft: self.draft_tokens(Some(&recipe)),
                recipe: Some(recipe),
                delay,
                is_saved: true,
            })
            .collect();
        let filling = |inference: &Inference| {
            let filling = Filling {
                input: input.clone(),
                recipe: inference.recipe.clone()?,
                text: String::new(),
            };
            Some((inference.run, filling))
        };
        self.curve.runs = inferences.iter().filter_map(filling).collect();
        self.curve.total = inferences.len();
        self.pending_requests.push(Request::FillCurve(inferences));
    }

    /// Fills the curve of a prefix once if automatic filling is on and the user pauses.
    pub(super) fn fill_when_idle(&mut self) {
        if !self.settings.fill_curve || self.is_running() || self.curve.progress().is_some() {
            return;
        }
        let of = self.curve_at_controls();
        let has_baseline = self.tuning.group().is_some_and(|group| group.baseline.is_some());
        let is_due =
            has_baseline && self.tuning.shown_group.as_ref() == Some(&of.0) && self.curve.of.as_ref() != Some(&of);
        // While it cannot be filled (during a recording), it stays due.
        if is_due && self.why_not_fill().is_none() {
            self.curve.of = Some(of);
            self.fill_curve(PAUSE);
        }
    }

    /// Returns the prompt with its settings, and the prefix whatever the size of its magnitude.
    pub(super) fn curve_at_controls(&self) -> (GroupKey, PrefixRecipe) {
        let mut prefix = self.prefix.clone();
        prefix.magnitude = match prefix.unit {
            MagnitudeUnit::TokenNorms => 1.0,
            // The two sides of 0 are two curves.
            MagnitudeUnit::Raw => 1.0_f64.copysign(prefix.magnitude),
        };
        (self.group_key(), prefix.recipe())
    }

    /// Stops filling the curve. Automatic filling does not begin it again for the same prompt and prefix.
    pub(super) fn stop_curve(&mut self) {
        if !self.curve.runs.is_empty() {
            self.curve.runs.clear();
            self.pending_requests.push(Request::StopCurve);
        }
    }

    /// Stops filling the curve without a command of the user to stop: what is missing of it is due again after the next run.
    pub(super) fn interrupt_curve(&mut self) {
        if self.curve.progress().is_some() {
            self.curve.of = None;
        }
        self.stop_curve();
    }

    pub(super) fn curve_text(&mut self, run: RunId, text: &str) {
        if let Some(filling) = self.curve.runs.get_mut(&run) {
            filling.text.push_str(text);
        }
    }

    /// Handles the end of a run of the curve, whose record is saved.
    pub(super) fn curve_point(&mut self, run: RunId, record: Record) {
        self.curve.runs.remove(&run);
        if !self.belongs_to_shown_session(run) {
            if let Some(own) = self.own_session_of(run) {
                let comparisons = own.add(record);
                self.measure(comparisons);
            }
            // All that changes on screen is that session's number of runs in the history.
            self.ask_library(LibraryRequest::List);
            return;
        }
        self.clear_saved_notice();
        self.curve.unscored.push(record.id.clone());
        let comparisons = self.tuning.add(record);
        self.measure(comparisons);
    }

    pub(super) fn curve_dropped(&mut self, run: RunId) {
        self.curve.runs.remove(&run);
    }

    pub(super) fn curve_failed(&mut self, run: RunId, problem: Problem) {
        if self.curve.runs.contains_key(&run) {
            // The runs fail before the connection is reported as lost.
            match problem.kind {
                ProblemKind::Connection => self.interrupt_curve(),
                _ => self.stop_curve(),
            }
            self.notice = Some(Notice::Problem(problem));
        }
    }

    /// Returns the saved run with the same prompt, settings, module and prefix as the controls, if there is one.
    fn saved_run(&self) -> Option<&Record> {
        let recipe = self.prefix.recipe();
        let same = |record: &&Record| record.case.recipe.as_ref() == Some(&recipe);
        self.saved_runs().rfind(same)
    }

    /// Returns the saved runs with the same prompt, settings and module as the controls, with any prefix.
    fn saved_runs(&self) -> impl DoubleEndedIterator<Item = &Record> {
        let is_shown = self.tuning.shown_group.as_ref() == Some(&self.group_key());
        self.tuning.points().filter(move |_| is_shown).map(|(record, _)| record)
    }

    /// Returns the tokens that a run's output is likely to consist of: with a prefix, those of the saved runs of the same prefix at the next
    /// smaller and the next larger magnitude, the nearer one first; otherwise the baseline's.
    pub(super) fn draft_tokens(&self, recipe: Option<&PrefixRecipe>) -> Vec<u32> {
        // Where the units cannot be converted, values of both are compared as they are: a poor draft costs time, and never changes the output.
        let size = |recipe: &PrefixRecipe| Some(self.norms_of(recipe).or(self.raw_of(recipe))?.abs().max(LEAST).ln());
        let wanted = recipe.and_then(|wanted| Some((wanted, size(wanted)?)));
        let kept = wanted.iter().flat_map(|&(wanted, place)| {
            self.tuning.points().filter_map(move |(record, _)| {
                let kept = record
                    .case
                    .recipe
                    .as_ref()
                    .filter(|kept| kept.same_except_magnitude(wanted))?;
                Some((size(kept)? - place, record.tokens()?))
            })
        });
        let mut neighbours: [Option<(f64, &[u32])>; 2] = [None, None];
        for (away, tokens) in kept {
            let side = &mut neighbours[usize::from(away > 0.0)];
            if side.is_none_or(|(nearest, _)| away.abs() < f64::abs(nearest)) {
                *side = Some((away, tokens));
            }
        }
        let mut texts: Vec<(f64, &[u32])> = neighbours.into_iter().flatten().collect();
        texts.sort_by(|a, b| a.0.abs().total_cmp(&b.0.abs()));
        texts.dedup_by_key(|(_, tokens)| *tokens);
        if texts.is_empty() {
            let baseline = self.tuning.baseline().and_then(Record::tokens);
            return baseline.unwrap_or_default().to_vec();
        }
        texts.iter().flat_map(|(_, tokens)| *tokens).copied().collect()
    }

    /// Shows the kept run of what the controls ask for at once; answers whether there is one.
    pub(super) fn show_saved_run(&mut self) -> bool {
        let Some(record) = self.saved_run().cloned() else {
            return false;
        };
        self.cancel_run(RunKind::Prefixed);
        self.prefixed = pane_of(&record);
        self.tuning.record_at_controls = Some(record.id);
        self.refresh_stale();
        self.compare_panes();
        true
    }

    /// Returns the magnitudes of the current prefix with saved runs, in the unit of the controls.
    pub fn saved_magnitudes(&self) -> Vec<f64> {
        use softprefix_core::prefix::Magnitude;
        let recipe = self.prefix.recipe();
        let value = |magnitude| match (magnitude, self.prefix.unit) {
            (Magnitude::TokenNorms(value), MagnitudeUnit::TokenNorms) | (Magnitude::Raw(value), MagnitudeUnit::Raw) => {
                Some(value)
            }
            _ => None,
        };
        self.saved_runs()
            .filter_map(|record| record.case.recipe.as_ref())
            .filter(|kept| kept.same_except_magnitude(&recipe))
            .filter_map(|kept| value(kept.magnitude))
            .collect()
    }

    /// Returns `to`, or the magnitude of a saved run less than half a step from it.
    pub(super) fn to_saved(&self, from: f64, to: f64) -> f64 {
        if from <= 0.0 || to <= 0.0 {
            return to;
        }
        let step = (to / from).ln().abs();
        let distance = |kept: f64| (kept / to).ln().abs();
        self.saved_magnitudes()
            .into_iter()
            .filter(|kept| *kept > 0.0 && *kept != from && distance(*kept) < step / 2.0)
            .min_by(|a, b| distance(*a).total_cmp(&distance(*b)))
            .unwrap_or(to)
    }
}
