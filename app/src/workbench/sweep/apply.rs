//! Handles the user's actions in the Sweep view.

use std::cmp::Ordering;

use softprefix_core::experiment::{
    Analysis, Entry, Plan, Prompt, SavedExperiment, SimilarityLimit, ThresholdResult, ThresholdSearch,
};
use softprefix_core::prefix::Magnitude;

use super::{RunMessage, Shown, Stage, Sweeps};
use crate::errors;
use crate::messages::{LibraryRequest, Pair, Request, SweepRequest, Texts};
use crate::model::magnitudes;
use crate::model::sweep::SweepForm;
use crate::model::{MagnitudeUnit, PRESETS, PrefixForm, Problem, ProblemKind, Sampling, Target};
use crate::workbench::{Notice, SweepAction, Tab, Workbench};

impl Workbench {
    /// Handles an action. While a sweep runs, actions that change a field or start a run have no effect.
    pub(in crate::workbench) fn apply_sweep(&mut self, action: SweepAction) {
        if self.sweep.is_busy() && action.needs_idle() {
            return;
        }
        match action {
            SweepAction::AddCurrentPrompt => {
                if self.add_prompt(self.prompt.prompt()) {
                    self.notice = Some(Notice::InSweep(self.sweep.form.prompts.len()));
                }
            }
            SweepAction::AddPreset(index) => {
                if let Some(preset) = PRESETS.get(index) {
                    self.add_prompt(Prompt {
                        system: preset.system.to_owned(),
                        user: preset.user.to_owned(),
                    });
                }
            }
            SweepAction::RemovePrompt(index) => {
                let prompts = &mut self.sweep.form.prompts;
                if index < prompts.len() {
                    prompts.remove(index);
                    let last = prompts.len().saturating_sub(1);
                    match index.cmp(&self.sweep.prompt) {
                        Ordering::Less => self.sweep.prompt -= 1,
                        Ordering::Equal => self.show_prompt(index.min(last)),
                        Ordering::Greater => {}
                    }
                }
            }
            SweepAction::ShowPrompt(index) => {
                if self.sweep.prompt != index && index < self.sweep.form.prompts.len() {
                    self.show_prompt(index);
                }
            }
            SweepAction::SetLengths(lengths) => {
                if !lengths.is_empty() {
                    self.sweep.form.lengths = lengths;
                }
            }
            SweepAction::SetMagnitudes(text) => {
                if magnitudes::parse(&text, self.sweep_unit()).is_ok() {
                    self.sweep.form.magnitudes = text;
                }
            }
            SweepAction::SetUnit(unit) => self.sweep.form.set_unit(unit),
            SweepAction::SetRounding(rounding) => self.sweep.form.rounding = rounding,
            SweepAction::ApplyRange(range) => self.sweep.form.apply_range(range),
            SweepAction::SetRepeats(repeats) => self.sweep.form.repeats = repeats.clamp(1, SweepForm::MAX_REPEATS),

            SweepAction::SetSecondModule(address) => {
                let address = address.trim();
                if address.is_empty() || Target::parse(address).is_some() {
                    self.sweep.form.second_module = address.to_owned();
                    self.sweep.clear_second_module();
                }
            }
            SweepAction::SetSecondModel(model) => {
                if let Some((_, target)) = &mut self.sweep.next_on_second {
                    *target = target.clone().with_model(Some(model.clone()));
                }
                self.sweep.form.second_model = Some(model);
                if matches!(self.sweep.message, Some(RunMessage::ModelMissingOnSecond(_))) {
                    self.sweep.message = None;
                }
            }
            SweepAction::SetScored(scored) => self.sweep.form.scored = scored,

            SweepAction::Start => self.start_sweep(),
            SweepAction::Pause => self.ask_bridge(SweepRequest::Pause),
            SweepAction::Unpause => {
                self.sweep.message = None;
                self.ask_bridge(SweepRequest::Unpause);
            }
            SweepAction::Cancel => {
                if !self.sweep.cancel_query() {
                    self.ask_bridge(SweepRequest::Cancel);
                }
            }
            SweepAction::ResumeExperiment => self.resume(),
            SweepAction::SetThresholdMeasure(measure) => self.sweep.form.set_threshold_measure(measure),
            SweepAction::SetThresholdMinimum(minimum) => {
                if minimum.is_finite() {
                    self.sweep.form.threshold_minimum = minimum;
                }
            }
            SweepAction::FindThreshold(len) => self.find_threshold(len),
            SweepAction::DismissMessage => self.sweep.message = None,

            SweepAction::Select(id) => self.select_in_sweep(id),
            SweepAction::Pin => {
                self.sweep.pinned.clone_from(&self.sweep.selected);
                self.compare_pair();
            }
            SweepAction::Unpin => {
                self.sweep.pinned = None;
                self.compare_pair();
            }
            SweepAction::Swap => {
                if self.sweep.pinned.is_some() && self.sweep.selected.is_some() {
                    let sweep = &mut self.sweep;
                    std::mem::swap(&mut sweep.pinned, &mut sweep.selected);
                    self.compare_pair();
                }
            }

            SweepAction::Show(id) => self.open_experiment(&id),
            SweepAction::CloneSettings(id) => {
                if let Some(plan) = self.plan_of(&id) {
                    self.set_fields_from_plan(&plan);
                    self.sweep.clear_shown();
                }
            }
            SweepAction::RunAgain(id) => {
                if let Some(plan) = self.plan_of(&id).filter(|_| self.why_not_ready().is_none()) {
                    self.set_fields_from_plan(&plan);
                    self.start(plan);
                }
            }
            SweepAction::Rename(id, name) => {
                let name = name.trim().to_owned();
                if !name.is_empty() {
                    self.ask_library(LibraryRequest::Append(Box::new(Entry::Renamed { id, name })));
                }
            }
            SweepAction::Delete(id) => {
                if self.sweep.running_experiment.as_ref() != Some(&id) {
                    self.ask_library(LibraryRequest::Append(Box::new(Entry::Deleted { id })));
                }
            }
            SweepAction::UndoDelete => {
                if let Some(id) = self.library.deleted.clone() {
                    self.ask_library(LibraryRequest::Append(Box::new(Entry::Restored { id })));
                }
            }
            SweepAction::SearchHistory(query) if query.is_empty() => self.library.found = None,
            SweepAction::SearchHistory(query) => self.ask_library(LibraryRequest::SearchTexts(query)),
        }
    }

    fn plan_of(&self, id: &str) -> Option<Plan> {
        self.library.get(id)?.experiment.plan.clone()
    }

    pub(super) fn ask_bridge(&mut self, request: SweepRequest) {
        self.pending_requests.push(Request::Sweep(Box::new(request)));
    }

    /// Shows the prompt of this index. Selection and pin are cleared, since only records of one prompt are compared.
    fn show_prompt(&mut self, index: usize) {
        self.sweep.prompt = index;
        self.sweep.pinned = None;
        self.select_in_sweep(None);
    }

    /// Adds a prompt unless it is already there, and shows it. Returns `false` for an empty prompt.
    fn add_prompt(&mut self, prompt: Prompt) -> bool {
        if prompt.user.trim().is_empty() {
            return false;
        }
        let prompts = &mut self.sweep.form.prompts;
        let index = prompts
            .iter()
            .position(|other| *other == prompt)
            .unwrap_or(prompts.len());
        if index == prompts.len() {
            prompts.push(prompt);
        }
        self.show_prompt(index);
        true
    }

    fn start_sweep(&mut self) {
        if self.why_not_sweep().is_none() {
            let plan = self.sweep_plan();
            self.start(plan);
        }
    }

    fn start(&mut self, plan: Plan) {
        if self.why_not_ready().is_some() {
            return;
        }
        self.sweep.begin(Shown::Replaced);
        self.sweep.next_on_second = None;
        if !self.query_second_module(&plan) {
            self.start_on_first(plan);
        }
    }

    pub(super) fn start_on_first(&mut self, plan: Plan) {
        self.ask_bridge(SweepRequest::Start { plan });
    }

    fn resume(&mut self) {
        if self.why_not_resume().is_some() {
            return;
        }
        let Some(saved) = self.sweep.resumable().cloned() else {
            return;
        };
        // The check has failed once and the user resumes all the same, so it is not repeated.
        let canary = !self.sweep.had_no_effect();
        self.sweep.next_on_second = self.second_after(&saved);
        self.sweep.begin(Shown::Replaced);
        let saved = Box::new(saved);
        self.ask_bridge(SweepRequest::ResumeExperiment { saved, canary });
    }

    fn find_threshold(&mut self, len: usize) {
        if self.why_not_sweep().is_some() {
            return;
        }
        let Some(shown) = self.sweep.shown_prompt().cloned() else {
            return;
        };
        let unit = self.sweep_unit();
        let range = match unit {
            MagnitudeUnit::TokenNorms => PrefixForm::NORMS,
            MagnitudeUnit::Raw => PrefixForm::RAW,
        };
        let search = match ThresholdSearch::new(*range.start(), *range.end(), ThresholdSearch::DEFAULT_RUNS) {
            Ok(search) => search,
            Err(error) => {
                let problem = Problem::from_text(ProblemKind::Input, errors::threshold(&error));
                self.sweep.message = Some(RunMessage::Problem(problem));
                return;
            }
        };
        let limit = SimilarityLimit {
            measure: self.sweep.form.threshold_measure,
            minimum: self.sweep.form.threshold_minimum,
        };
        let mut plan = self.sweep_plan();
        plan.prompts = vec![shown];
        plan.repeats = 1;
        // A search runs one case after the other; scoring would delay it.
        plan.scored = false;
        plan.name = format!("{} ≥ {}", limit.measure.id(), limit.minimum);
        let mut recipe = self.prefix.recipe();
        recipe.kind = self.prefix.kind_for(len);
        recipe.len = len;
        recipe.rounding = self.sweep.form.rounding;
        recipe.magnitude = match unit {
            MagnitudeUnit::TokenNorms => Magnitude::TokenNorms(1.0),
            MagnitudeUnit::Raw => Magnitude::Raw(1.0),
        };
        let known_records = self.sweep.records().cloned().collect();
        self.sweep.begin(Shown::Kept);
        self.sweep.threshold = Some((limit, ThresholdResult::default()));
        self.ask_bridge(SweepRequest::FindThreshold {
            plan,
            recipe,
            search,
            limit,
            known_records,
        });
    }

    /// Runs the same plan on the second module when the first has finished; each has its own baseline.
    pub(super) fn start_on_second_module(&mut self) {
        let Some((plan, target)) = self.sweep.next_on_second.take() else {
            return;
        };
        self.sweep.begin(Shown::Kept);
        self.ask_bridge(SweepRequest::StartOn { plan, target });
    }

    /// Sets the fields from a plan, including those of the Tune view that a sweep uses.
    pub(super) fn set_fields_from_plan(&mut self, plan: &Plan) {
        // A plan without prompts leaves the fields of the sweep as they are.
        if !plan.prompts.is_empty() {
            self.sweep.form.set_from_plan(plan);
        }
        self.show_prompt(0);
        if let Some(tokens) = plan.settings.max_new_tokens {
            self.prompt.max_tokens = tokens;
        }
        if let Some(sampling) = Sampling::of(&plan.settings) {
            self.prompt.sampling = sampling;
        }
        // A plan with an envelope has two sweeps: one row without it, then the other lengths with it. The last one has the full kind.
        if let Some(sweep) = plan.sweeps.last() {
            self.prefix
                .set_kind_from(&sweep.kind, sweep.lengths.iter().copied().max().unwrap_or(1));
        }
    }

    /// Opens the Sweep view with these experiments of the library, and with the settings of the first in the fields.
    pub(in crate::workbench) fn show_sweeps(&mut self, experiments: Vec<SavedExperiment>) {
        let plan = experiments.iter().find_map(|saved| saved.experiment.plan.clone());
        if let Some(plan) = plan {
            self.set_fields_from_plan(&plan);
        }
        self.sweep.clear_shown();
        self.sweep.stage = Stage::Idle;
        self.sweep.shown = experiments;
        self.tab = Tab::Sweep;
        self.analyse();
    }

    /// Computes the analysis of the shown records.
    pub(super) fn analyse(&mut self) {
        let mut analysis = Analysis::default();
        let mut comparisons = Vec::new();
        for record in self.sweep.all_records() {
            comparisons.extend(analysis.note(record));
        }
        self.sweep.analysis = analysis;
        self.measure(comparisons);
    }

    /// Removes the shown experiments after one of them was deleted. One that is running stays in the view.
    pub(in crate::workbench) fn remove_deleted_from_sweep(&mut self) {
        let sweep = &mut self.sweep;
        let Some(running) = &sweep.running_experiment else {
            sweep.clear_shown();
            return;
        };
        sweep.shown.retain(|saved| saved.experiment.id == *running);
        (sweep.selected, sweep.pinned, sweep.diff) = (None, None, None);
        self.analyse();
    }

    /// Selects a record, or none, and requests its comparison.
    pub(super) fn select_in_sweep(&mut self, id: Option<String>) {
        self.sweep.selected = id;
        self.compare_pair();
    }

    /// Requests the diff of the selected pair.
    pub(in crate::workbench) fn compare_pair(&mut self) {
        let granularity = self.granularity;
        let texts = self
            .sweep
            .pair()
            .and_then(|(left, right)| Some((left.text()?.into(), right.text()?.into())));
        let Some((left, right)) = texts else {
            self.sweep.diff = None;
            return;
        };
        let known = self
            .sweep
            .diff
            .as_ref()
            .is_some_and(|pair| pair.left == left && pair.right == right && pair.granularity == granularity);
        if !known {
            self.sweep.diff = None;
            self.pending_requests.push(Request::Compare(Texts {
                pair: Pair::Records,
                left,
                right,
                granularity,
                // The analysis has the measures of records.
                measured: false,
            }));
        }
    }
}

impl Sweeps {
    /// Sets the state of a run that is requested.
    fn begin(&mut self, shown_at_start: Shown) {
        self.stage = Stage::Starting;
        self.message = None;
        self.running.clear();
        self.shown_at_start = shown_at_start;
        if shown_at_start == Shown::Replaced {
            self.threshold = None;
        }
    }

    /// Removes all experiments from the view.
    pub(in crate::workbench) fn clear_shown(&mut self) {
        self.shown.clear();
        self.analysis = Analysis::default();
        self.selected = None;
        self.pinned = None;
        self.diff = None;
        self.threshold = None;
        self.message = None;
    }
}
