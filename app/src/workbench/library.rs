//! The library as the window shows it: a line for each experiment, sweeps and sessions of tuning alike.

use softprefix_core::experiment::Summary;

use crate::model::Problem;

/// The list of everything that was run.
#[derive(Default)]
pub struct Library {
    pub state: LibraryState,
    /// Latest first; deleted ones are among them.
    pub experiments: Vec<Summary>,
    /// What is wrong with some journals.
    pub problems: Vec<Problem>,
    /// The words that were looked for last, and ids of the experiments in which they occur.
    pub found: Option<(String, Vec<String>)>,
    /// The experiment that was deleted last, for undoing it.
    pub deleted: Option<String>,
    /// The last session of tuning is shown as soon as it is known.
    pub restore: bool,
}

/// Whether experiments can be kept.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum LibraryState {
    /// Not opened yet.
    #[default]
    Opening,
    Open,
    /// Nothing can be kept, for this reason; so nothing is run.
    Unusable(Problem),
}

impl Library {
    /// The line of an experiment.
    pub fn get(&self, id: &str) -> Option<&Summary> {
        self.experiments.iter().find(|one| one.experiment.id == id)
    }

    /// Those that were not deleted, latest first.
    pub fn shown(&self) -> impl Iterator<Item = &Summary> {
        self.experiments.iter().filter(|one| !one.is_deleted)
    }

    /// The last run of the same plan on another module or model.
    pub(super) fn twin(&self, of: &Summary) -> Option<&Summary> {
        let here = &of.experiment;
        self.shown().find(|one| {
            let there = &one.experiment;
            let elsewhere = (&there.module.address, &there.module.model) != (&here.module.address, &here.module.model);
            elsewhere && there.plan.is_some() && there.plan == here.plan
        })
    }
}
