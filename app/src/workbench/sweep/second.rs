//! The second module of a sweep: asked before anything is run, so that nobody waits for the first one's sweep to learn that it is not
//! there. It is to run the same model; where it has no such model, the person is asked.

use softprefix_core::experiment::Plan;

use super::{Stage, Sweeps, Trouble};
use crate::messages::{Second, SweepRequest};
use crate::model::{Problem, Target};
use crate::workbench::Workbench;

impl Workbench {
    /// Asks the second module, where one is named, for the model of the plan. Whether there is one.
    pub(super) fn ask_second(&mut self, plan: &Plan) -> bool {
        let Some(target) = Target::parse(&self.sweep.form.also) else {
            return false;
        };
        let here = self.module.facts().map(|facts| facts.identity.model.clone());
        let model = self.sweep.form.also_model.clone().or(here).unwrap_or_default();
        self.sweep.asking = Some(plan.clone());
        self.ask_bridge(SweepRequest::AskSecond { target, model });
        true
    }

    pub(super) fn second_said(&mut self, answer: Result<Second, Problem>) {
        // The person has cancelled meanwhile.
        let Some(plan) = self.sweep.asking.take() else { return };
        match answer {
            Ok(Second::Has(target)) => {
                self.sweep.then = Some((plan.clone(), target));
                self.start_here(plan);
            }
            Ok(Second::Lacks { model, models }) => {
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
    /// Whether the second module was being asked, which is over.
    pub(super) fn stop_asking(&mut self) -> bool {
        let asking = self.asking.take().is_some();
        if asking {
            self.stage = Stage::Idle;
        }
        asking
    }

    /// Another second module: what was known of the one before means nothing.
    pub(super) fn forget_second(&mut self) {
        self.form.also_model = None;
        self.also_models.clear();
        if matches!(self.trouble, Some(Trouble::WhichModel(_))) {
            self.trouble = None;
        }
    }
}
