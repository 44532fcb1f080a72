//! The second module of a sweep. It is asked for the plan's model before anything is run; if it does not have it, the
//! user chooses another.

use softprefix_core::experiment::{Plan, SavedExperiment};

use super::{RunMessage, Stage, Sweeps};
use crate::messages::{SecondModuleAnswer, SweepRequest};
use crate::model::{Problem, Target};
use crate::workbench::Workbench;

impl Workbench {
    /// Asks the second module for the plan's model. Returns whether there is a second module.
    pub(super) fn query_second_module(&mut self, plan: &Plan) -> bool {
        let Some((target, model)) = self.second_module() else {
            return false;
        };
        self.sweep.awaiting_second_module = Some(plan.clone());
        self.ask_bridge(SweepRequest::QuerySecondModule { target, model });
        true
    }

    /// Returns the second module of the fields, and the model to run on it.
    fn second_module(&self) -> Option<(Target, String)> {
        let target = Target::parse(&self.sweep.form.second_module)?;
        let here = self.module.facts().map(|facts| facts.identity.model.clone());
        let model = self.sweep.form.second_model.clone().or(here).unwrap_or_default();
        Some((target, model))
    }

    /// Returns what runs on the second module when a sweep that is resumed is complete: what was to run there, or, after a restart, what the
    /// fields say if they are still those of the sweep.
    pub(super) fn second_after(&self, saved: &SavedExperiment) -> Option<(Plan, Target)> {
        let plan = saved.experiment.plan.as_ref()?;
        let waiting = self.sweep.next_on_second.as_ref();
        if let Some(waiting) = waiting.filter(|(waiting, _)| waiting == plan) {
            return Some(waiting.clone());
        }
        let is_done_there = self
            .sweep
            .shown
            .iter()
            .skip(1)
            .any(|other| other.experiment.plan.as_ref() == Some(plan));
        if is_done_there || self.sweep_plan() != *plan {
            return None;
        }
        let (target, model) = self.second_module()?;
        Some((plan.clone(), target.with_model(Some(model))))
    }

    pub(super) fn second_module_answered(&mut self, answer: Result<SecondModuleAnswer, Problem>) {
        // The user has cancelled meanwhile.
        let Some(plan) = self.sweep.awaiting_second_module.take() else {
            return;
        };
        match answer {
            Ok(SecondModuleAnswer::Has(target)) => {
                self.sweep.next_on_second = Some((plan.clone(), target));
                self.start_on_first(plan);
            }
            Ok(SecondModuleAnswer::Missing { model, models }) => {
                self.sweep.stage = Stage::Idle;
                self.sweep.second_models = models;
                self.sweep.form.second_model = None;
                self.sweep.message = Some(RunMessage::ModelMissingOnSecond(model));
            }
            Err(problem) => {
                self.sweep.stage = Stage::Idle;
                self.sweep.message = Some(RunMessage::Problem(problem));
            }
        }
    }
}

impl Sweeps {
    /// Stops asking the second module; returns whether it was being asked.
    pub(super) fn cancel_query(&mut self) -> bool {
        let awaiting_second_module = self.awaiting_second_module.take().is_some();
        if awaiting_second_module {
            self.stage = Stage::Idle;
        }
        awaiting_second_module
    }

    /// Clears what is known of the previous second module.
    pub(super) fn clear_second_module(&mut self) {
        self.form.second_model = None;
        self.next_on_second = None;
        self.second_models.clear();
        if matches!(self.message, Some(RunMessage::ModelMissingOnSecond(_))) {
            self.message = None;
        }
    }
}
