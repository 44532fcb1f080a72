//! The plan of the sweep's fields, and why it cannot be run.

use softprefix_core::experiment::RunEnd;
use softprefix_core::prefix::PrefixKind;

use super::{Stage, SweepUnavailable};
use crate::errors;
use crate::model::{MagnitudeUnit, beginning};
use crate::workbench::library::LibraryState;
use crate::workbench::{SweepAction, Tab, Workbench};

impl Workbench {
    /// Returns why a sweep cannot start; `None` if it can.
    pub fn why_not_sweep(&self) -> Option<SweepUnavailable> {
        self.why_not_ready().or_else(|| {
            if self.sweep.form.prompts.is_empty() {
                return Some(SweepUnavailable::NoPrompts);
            }
            if self.prefix.missing().is_some() {
                return Some(SweepUnavailable::NoMaterial);
            }
            if self.has_wrong_field(Tab::Sweep) {
                return Some(SweepUnavailable::WrongField);
            }
            let plan = self.sweep_plan();
            let error = plan.cases().err()?;
            Some(SweepUnavailable::Plan(errors::plan(&error).whole()))
        })
    }

    /// Returns why the shown sweep cannot be resumed; `None` if it can.
    pub fn why_not_resume(&self) -> Option<SweepUnavailable> {
        self.why_not_ready().or_else(|| {
            let started_with = &self.sweep.resumable()?.experiment.module.model;
            let here = self.module.facts().map(|facts| &facts.identity.model);
            (!started_with.is_empty() && here != Some(started_with))
                .then(|| SweepUnavailable::OtherModel(started_with.clone()))
        })
    }

    /// Returns what the first button of the view does: continue a paused sweep, resume the shown one, or start one. `None` while a sweep
    /// goes on, or if it cannot.
    pub fn next_sweep_action(&self) -> Option<SweepAction> {
        match self.sweep.stage {
            Stage::Starting => None,
            Stage::Running { .. } => self.sweep.is_paused().then_some(SweepAction::Unpause),
            Stage::Idle | Stage::Ended(_) if self.sweep.resumable().is_some() => {
                self.why_not_resume().is_none().then_some(SweepAction::ResumeExperiment)
            }
            Stage::Idle | Stage::Ended(_) => self.why_not_sweep().is_none().then_some(SweepAction::Start),
        }
    }

    /// Returns how many runs of an interrupted sweep are missing, while they can be run and the user has not dismissed its message.
    pub fn sweep_rest(&self) -> Option<usize> {
        let is_interrupted = matches!(self.sweep.stage, Stage::Ended(RunEnd::Interrupted { .. }));
        if !is_interrupted || self.sweep.message.is_none() || self.why_not_resume().is_some() {
            return None;
        }
        let saved = self.sweep.resumable()?;
        Some(saved.planned().saturating_sub(saved.finished().len()))
    }

    pub(super) fn why_not_ready(&self) -> Option<SweepUnavailable> {
        if self.module.is_busy() {
            return Some(SweepUnavailable::StillConnecting);
        }
        if !self.module.is_ready() {
            return Some(SweepUnavailable::NotConnected);
        }
        (self.library.state != LibraryState::Open).then_some(SweepUnavailable::NoHistory)
    }

    /// Returns the unit of the sweep's magnitudes: raw if the module does not report its vocabulary's norms.
    pub fn sweep_unit(&self) -> MagnitudeUnit {
        if self.vocabulary.is_none() && self.module.is_ready() {
            MagnitudeUnit::Raw
        } else {
            self.sweep.form.unit
        }
    }

    /// Returns the kind of the sweep's prefixes, from the Tune view; with its envelope if there are enough rows.
    pub fn sweep_kind(&self) -> PrefixKind {
        let longest = self.sweep.form.lengths.iter().copied().max().unwrap_or(1);
        self.prefix.kind_for(longest)
    }

    /// Returns the plan that the fields describe.
    pub fn sweep_plan(&self) -> softprefix_core::experiment::Plan {
        let kind = self.sweep_kind();
        let name = self
            .sweep
            .form
            .prompts
            .first()
            .map(|prompt| beginning(&prompt.user, 24))
            .unwrap_or_default();
        let mut plan = self.sweep.form.plan(kind, &self.prompt, name);
        plan.scored &= self.module.facts().is_none_or(|facts| facts.scores);
        plan
    }
}
