//! The second module of a sweep. It is asked for the plan's model before anything is run; if it does not have it, the
//! user chooses another.

use softprefix_core::experiment::Plan;

use super::{RunMessage, Stage, Sweeps};
use crate::messages::{SecondModuleAnswer, SweepRequest};
use crate::model::{Problem, Target};
use crate::workbench::Workbench;

impl Workbench {
    /// Asks the second module for the plan's model. Returns whether there is a second module.
    pub(super) fn query_second_module(&mut self, plan: &Plan) -> bool {
        let Some(target) = Target::parse(&self.sweep.form.second_module) else {
            return false;
        };
        let here = self.module.facts().map(|facts| facts.identity.model.clone());
        let model = self.sweep.form.second_model.clone().or(here).unwrap_or_default();
        self.sweep.awaiting_second_module = Some(plan.clone());
        self.ask_bridge(SweepRequest::QuerySecondModule { target, model });
        true
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
        self.second_models.clear();
        if matches!(self.message, Some(RunMessage::ModelMissingOnSecond(_))) {
            self.message = None;
        }
    }
}
