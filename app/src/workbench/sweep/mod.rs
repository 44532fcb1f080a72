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
    Budget, Canary, Experiment, Past, Plan, Progress, Record, RunEnd, Summary, Threshold,
};

use crate::model::sweep::{SweepCase, SweepForm};
use crate::model::{Problem, Target};

/// Everything of the sweep's view.
pub struct Sweeps {
    pub form: SweepForm,
    /// The case that the pictures show, as an index into the form's.
    pub case: usize,
    pub stage: Stage,
    /// What ended the last run before its end, or keeps it from going on.
    pub trouble: Option<Trouble>,
    /// The experiment that is run.
    pub at_work: Option<String>,
    /// Places in the plan of the cases that are being answered.
    pub running: BTreeSet<usize>,
    /// The experiments whose records the pictures show: a sweep, searches of a threshold over it, the same plan on another module.
    pub shown: Vec<Past>,
    /// Measures, noise and verdicts of the records that are shown.
    pub analysis: Analysis,
    /// The record that is looked at.
    pub selected: Option<String>,
    /// The record that it is compared with; `None`: the baseline.
    pub pinned: Option<String>,
    /// The difference of the two, as soon as it is made.
    pub diff: Option<Arc<PairDiff>>,
    /// The difference of theirs that was stepped to.
    pub(super) difference: Option<usize>,
    pub threshold: Option<(Budget, Threshold)>,
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
    /// A session of tuning, which has no end.
    Session,
}

impl Sweeps {
    pub(super) fn new(form: SweepForm) -> Self {
        Self {
            form,
            case: 0,
            stage: Stage::Idle,
            trouble: None,
            at_work: None,
            running: BTreeSet::new(),
            shown: Vec::new(),
            analysis: Analysis::default(),
            selected: None,
            pinned: None,
            diff: None,
            difference: None,
            threshold: None,
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
        self.shown.first()
    }

    /// What is written to a file: the shown sweep, with the records of the same plan on another module, and the place of the shown
    /// prompt.
    pub(super) fn to_export(&self) -> Option<(Experiment, Vec<Record>, usize)> {
        let experiment = &self.experiment()?.experiment;
        let of_plan = self.shown.iter().filter(|past| past.experiment.plan == experiment.plan);
        let records = of_plan.flat_map(Past::shown).cloned().collect();
        let shown = self.shown_case().map(SweepCase::prompt);
        let prompts = experiment.plan.as_ref().map(|plan| plan.prompts.as_slice());
        let place = prompts
            .unwrap_or_default()
            .iter()
            .position(|prompt| Some(prompt) == shown.as_ref());
        Some((experiment.clone(), records, place.unwrap_or(0)))
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
            .filter(move |group| Some(&group.key.prompt) == prompt.as_ref())
    }

    /// The records of the shown case.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        let prompt = self.shown_case().map(SweepCase::prompt);
        self.all_records()
            .filter(move |record| Some(&record.prompt) == prompt.as_ref())
    }

    fn all_records(&self) -> impl Iterator<Item = &Record> {
        self.shown.iter().flat_map(Past::shown)
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
        let plan = past.experiment.plan.as_ref()?;
        let place = plan.prompts.iter().position(|other| *other == prompt)?;
        let all = plan.cases().ok()?;
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
    pub fn standing(&self, one: &Summary) -> Standing {
        use softprefix_core::experiment::Ending;
        if self.at_work.as_ref() == Some(&one.experiment.id) {
            return Standing::AtWork;
        }
        match one.ending {
            None if one.experiment.plan.is_none() => Standing::Session,
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
    pub fn resumable(&self) -> Option<&Past> {
        use softprefix_core::experiment::Ending;
        if self.is_busy() {
            return None;
        }
        let past = self.experiment()?;
        let missing = past.planned().len() > past.finished().len() || past.is_unscored();
        (missing && past.ending != Some(Ending::Complete)).then_some(past)
    }

    /// Takes in the difference of two texts, where they are still looked at.
    pub(super) fn compared(&mut self, left: Arc<str>, right: Arc<str>, diff: Diff) {
        let wanted = self
            .pair()
            .is_some_and(|(a, b)| a.text() == Some(&left) && b.text() == Some(&right));
        if wanted {
            self.difference = None;
            self.diff = Some(Arc::new(PairDiff { left, right, diff }));
        }
    }
}
