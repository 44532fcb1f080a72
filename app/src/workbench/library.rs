//! The library as the window lists it: one line for each experiment, both sweeps and sessions of tuning.

use std::collections::HashSet;

use softprefix_core::experiment::Summary;

use crate::model::Problem;

/// The list of all experiments.
#[derive(Default)]
pub struct Library {
    pub state: LibraryState,
    /// Latest first, including deleted ones.
    pub experiments: Vec<Summary>,
    /// Damage in some journals.
    pub problems: Vec<Problem>,
    /// The last search, and the ids of the matching experiments.
    pub found: Option<(String, Vec<String>)>,
    /// The last deleted experiment, for undo.
    pub deleted: Option<String>,
    /// Whether the last session of tuning, and a sweep that was left, are restored as soon as they are listed.
    pub restore: bool,
    /// Whether they leave the fields as they are: those were stored at the end of the last start, and may be newer than what ran last.
    pub keeps_fields: bool,
    /// Ids of the experiments that are being restored.
    pub(super) restoring: HashSet<String>,
}

/// Whether experiments can be saved.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum LibraryState {
    /// Not opened yet.
    #[default]
    Opening,
    Open,
    /// Nothing can be saved, for this reason; so nothing can be run.
    Unusable(Problem),
}

impl Library {
    /// Returns the line of an experiment.
    pub fn get(&self, id: &str) -> Option<&Summary> {
        self.experiments.iter().find(|one| one.experiment.id == id)
    }

    /// Returns the experiments that are not deleted, latest first.
    pub fn undeleted(&self) -> impl Iterator<Item = &Summary> {
        self.experiments.iter().filter(|one| !one.is_deleted)
    }

    /// Returns the last run of the same plan on another module or model.
    pub(super) fn counterpart(&self, of: &Summary) -> Option<&Summary> {
        let here = &of.experiment;
        self.undeleted().find(|one| {
            let there = &one.experiment;
            let elsewhere = (&there.module.address, &there.module.model) != (&here.module.address, &here.module.model);
            elsewhere && there.plan.is_some() && there.plan == here.plan
        })
    }
}
