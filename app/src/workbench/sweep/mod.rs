//! The sweep: what is to be run, what has come of it, which runs are looked at, and what was run before.
//!
//! It changes its own state and says what the bridge is to do; it runs nothing, and knows no widget and no file.

mod absorb;
mod apply;
mod plan;
mod second;

use std::collections::BTreeSet;
use std::sync::Arc;

use softprefix_core::compare::Diff;
use softprefix_core::experiment::analysis::{Analysis, Group, Point};
use softprefix_core::experiment::{
    Budget, Canary, Experiment, History, Past, Plan, Progress, Record, RunEnd, Threshold,
};

use crate::model::sweep::{SweepCase, SweepForm};
use crate::model::{Problem, Target};

/// Everything of the sweep's view.
pub struct Sweeps {
    pub form: SweepForm,
    /// The case that the pictures show, as an index into the form's.
    pub case: usize,
    pub history: HistoryState,
    /// What was run before and is being run, with every record.
    pub past: History,
    pub stage: Stage,
    /// What ended the last run before its end, or keeps it from going on.
    pub trouble: Option<Trouble>,
    /// The experiment that is run.
    pub at_work: Option<String>,
    /// Places in the plan of the cases that are being answered.
    pub running: BTreeSet<usize>,
    /// Ids of the experiments whose records the pictures show: a sweep, and searches of a threshold over it.
    pub shown: Vec<String>,
    /// Measures, noise and verdicts of the records that are shown.
    pub analysis: Analysis,
    /// The record that is looked at.
    pub selected: Option<String>,
    /// The record that it is compared with; `None`: the baseline.
    pub pinned: Option<String>,
    /// The difference of the two, as soon as it is made.
    pub diff: Option<Arc<PairDiff>>,
    pub threshold: Option<(Budget, Threshold)>,
    /// The experiment that was deleted last, for undoing it.
    pub deleted: Option<String>,
    /// A run was asked for that the shown experiments stay beside: a threshold search, or the same plan on another module.
    joins: bool,
    /// The plan that waits for what the second module says.
    asking: Option<Plan>,
    /// Models of the second module, which has not the first one's.
    pub also_models: Vec<String>,
    /// What is run on another module when the run under way is complete.
    then: Option<(Plan, Target)>,
}

/// Where the sweep is.
#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    /// Nothing is run.
    Idle,
    /// Asked for; no case has begun.
    Starting,
    Running {
        progress: Progress,
        /// The module died, for this reason, and is being reached again.
        reconnecting: Option<String>,
    },
    Ended(RunEnd),
}

/// The file of everything that was run.
#[derive(Debug, Clone, PartialEq)]
pub enum HistoryState {
    /// Not opened yet.
    Opening,
    Open,
    /// Nothing can be kept, for this reason; so nothing is run.
    Unusable(Problem),
}

/// What a person must know about a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Trouble {
    /// It could not begin, or its file cannot be written or read.
    Problem(Problem),
    /// What a large prefix did to a stranger's module.
    Canary(Canary),
    /// How many cases have no KL, and why.
    NotScored(String),
    /// The second module has no model of this name; which of its models is to be taken?
    WhichModel(String),
}

/// The difference of two texts that are looked at.
#[derive(Debug)]
pub struct PairDiff {
    pub left: Arc<str>,
    pub right: Arc<str>,
    pub diff: Diff,
}

/// Why a sweep cannot begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SweepOff {
    NotConnected,
    NoCases,
    /// Something that the prefixes are made of is missing in the Tune view.
    NoMaterial,
    /// The plan's own sentence.
    Plan(String),
    /// A field shows what a sweep cannot be made of.
    WrongField,
    /// The history is not open, so nothing could be kept.
    NoHistory,
    /// The model that it was begun with.
    OtherModel(String),
}

/// A line of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Complete,
    Cancelled,
    /// It can go on.
    Open,
    /// It is being run.
    AtWork,
}

impl Sweeps {
    pub(super) fn new(form: SweepForm) -> Self {
        Self {
            form,
            case: 0,
            history: HistoryState::Opening,
            past: History::default(),
            stage: Stage::Idle,
            trouble: None,
            at_work: None,
            running: BTreeSet::new(),
            shown: Vec::new(),
            analysis: Analysis::default(),
            selected: None,
            pinned: None,
            diff: None,
            threshold: None,
            deleted: None,
            joins: false,
            asking: None,
            also_models: Vec::new(),
            then: None,
        }
    }

    /// Whether a run was asked for and has not ended.
    pub fn is_busy(&self) -> bool {
        matches!(self.stage, Stage::Starting | Stage::Running { .. })
    }

    /// The run's progress, where there is a run.
    pub fn progress(&self) -> Option<&Progress> {
        match &self.stage {
            Stage::Running { progress, .. } => Some(progress),
            _ => None,
        }
    }

    /// The sweep that is shown: the first of what is shown.
    pub fn experiment(&self) -> Option<&Past> {
        self.shown.first().and_then(|id| self.past.experiment(id))
    }

    /// The records of the shown sweep, and of the same plan on another module that is shown beside it.
    pub fn shown_records(&self) -> Vec<Record> {
        let plan = self.experiment().map(|past| &past.experiment.plan);
        self.shown
            .iter()
            .filter_map(|id| self.past.experiment(id))
            .filter(|past| Some(&past.experiment.plan) == plan)
            .flat_map(|past| self.past.cases(past))
            .cloned()
            .collect()
    }

    /// The last run of the same plan on another module or model.
    fn twin(&self, of: &Past) -> Option<&Past> {
        let here = &of.experiment;
        self.past.shown().find(|past| {
            let there = &past.experiment;
            let elsewhere = (&there.module.address, &there.module.model) != (&here.module.address, &here.module.model);
            elsewhere && there.plan == here.plan
        })
    }

    /// The case whose pictures are shown.
    pub fn shown_case(&self) -> Option<&SweepCase> {
        self.form.cases.get(self.case)
    }

    /// What is known of the shown case: one group for each module that ran it.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        let prompt = self.shown_case().map(SweepCase::prompt);
        self.analysis
            .groups
            .iter()
            .filter(move |group| Some(&group.prompt) == prompt.as_ref())
    }

    /// The records of the shown case.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        let prompt = self.shown_case().map(SweepCase::prompt);
        self.all_records()
            .filter(move |record| Some(&record.prompt) == prompt.as_ref())
    }

    fn all_records(&self) -> impl Iterator<Item = &Record> {
        self.shown
            .iter()
            .filter_map(|id| self.past.experiment(id))
            .flat_map(|past| self.past.cases(past))
    }

    /// A record of what is shown.
    pub fn record(&self, id: &str) -> Option<&Record> {
        self.all_records().find(|record| record.id == id)
    }

    /// Its group and its point, with measures and verdict.
    pub fn point(&self, id: &str) -> Option<(&Group, &Point)> {
        self.analysis.find(id)
    }

    /// The two records that are compared: the pinned one (or the selected one's baseline), and the selected one.
    pub fn pair(&self) -> Option<(&Record, &Record)> {
        let right = self.record(self.selected.as_deref()?)?;
        let left = match &self.pinned {
            Some(id) => self.record(id)?,
            None => {
                let (group, _) = self.point(&right.id)?;
                self.record(&group.baseline.as_ref()?.record)?
            }
        };
        Some((left, right))
    }

    /// Cases of the shown sweep's plan for a prompt, and how many of them are finished.
    pub fn done_of(&self, case: &SweepCase) -> Option<(usize, usize)> {
        let past = self.experiment()?;
        let prompt = case.prompt();
        let place = past.experiment.plan.prompts.iter().position(|other| *other == prompt)?;
        let all = past.experiment.plan.cases().ok()?;
        let planned = all.iter().filter(|planned| planned.prompt == place).count();
        let finished = past
            .records
            .iter()
            .filter(|record| record.case.prompt == place)
            .map(|record| record.case.index)
            .collect::<BTreeSet<_>>()
            .len();
        Some((finished.min(planned.max(finished)), planned.max(finished)))
    }

    /// How an experiment of the history stands.
    pub fn standing(&self, past: &Past) -> Standing {
        use softprefix_core::experiment::Ending;
        if self.at_work.as_ref() == Some(&past.experiment.id) {
            return Standing::AtWork;
        }
        match past.ending {
            Some(Ending::Complete) => Standing::Complete,
            Some(Ending::Cancelled) => Standing::Cancelled,
            None => Standing::Open,
        }
    }

    /// Whether the run has just ended because a large prefix changed nothing.
    pub fn had_no_effect(&self) -> bool {
        self.stage == Stage::Ended(RunEnd::NoEffect)
    }

    /// The experiment that is shown, was begun and can go on.
    pub fn resumable(&self) -> Option<&Experiment> {
        if self.is_busy() {
            return None;
        }
        let past = self.experiment()?;
        let missing = past.experiment.plan.cases().ok()?.len() > past.finished().len();
        let missing = missing || past.is_unscored();
        (missing && self.standing(past) != Standing::Complete).then_some(&past.experiment)
    }
}
