//! The second module of a sweep. It is asked for the plan's model before anything is run; if it does not have it, the
//! user chooses another.

use softprefix_core::experiment::Plan;

use super::{Stage, Sweeps, Trouble};
use crate::messages::{SecondModuleAnswer, SweepRequest};
use crate::model::{Problem, Target};
use crate::workbench::Workbench;

impl Workbench {
    /// Asks the second module for the plan's model. Returns whether there is a second module.
    pub(super) fn ask_second(&mut self, plan: &Plan) -> bool {
        let Some(target) = Target::parse(&self.sweep.form.also) else {
            return false;
        };
        let here = self.module.facts().map(|facts| facts.identity.model.clone());
        let model = self.sweep.form.also_model.clone().or(here).unwrap_or_default();
        self.sweep.asking = Some(plan.clone());
        self.ask_bridge(SweepRequest::QuerySecondModule { target, model });
        true
    }

    pub(super) fn second_answered(&mut self, answer: Result<SecondModuleAnswer, Problem>) {
        // The user has cancelled meanwhile.
        let Some(plan) = self.sweep.asking.take() else { return };
        match answer {
            Ok(SecondModuleAnswer::Has(target)) => {
                self.sweep.then = Some((plan.clone(), target));
                self.start_here(plan);
            }
            Ok(SecondModuleAnswer::Lacks { model, models }) => {
                self.sweep.stage = Stage::Idle;
                self.sweep.also_models = models;
                self.sweep.form.also_model = None;
                self.sweep.trouble = Some(Trouble::WhichModel(model));
            }
            Err(problem) => {
                self.sweep.stage = Stage::Idle;
                self.sweep.trouble = Some(Trouble::Problem(problem));
            }
        }
    }
}

impl Sweeps {
    /// Stops asking the second module; returns whether it was being asked.
    pub(super) fn stop_asking(&mut self) -> bool {
        let asking = self.asking.take().is_some();
        if asking {
            self.stage = Stage::Idle;
        }
        asking
    }

    /// Clears what is known of the previous second module.
    pub(super) fn forget_second(&mut self) {
        self.form.also_model = None;
        self.also_models.clear();
        if matches!(self.trouble, Some(Trouble::WhichModel(_))) {
            self.trouble = None;
        }
    }
}
