//! The state of the Sweep view: the plan, the current run, the shown experiments and the selected records.

mod absorb;
mod apply;
mod plan;
mod second;

use std::collections::BTreeSet;
use std::sync::Arc;

use softprefix_core::compare::{Diff, Granularity};
use softprefix_core::experiment::analysis::{Analysis, Group, Point};
use softprefix_core::experiment::{
    Canary, Experiment, Plan, Prompt, Record, RunEnd, RunProgress, SavedExperiment, SimilarityLimit, Summary,
    ThresholdResult,
};

use crate::model::sweep::SweepForm;
use crate::model::{Bilingual, Problem, ProblemKind, Target};

/// The state of the Sweep view.
pub struct Sweeps {
    pub form: SweepForm,
    /// Index of the shown prompt in the form.
    pub prompt: usize,
    pub stage: Stage,
    /// Why the last run stopped early or cannot continue.
    pub message: Option<RunMessage>,
    /// Id of the running experiment.
    pub running_experiment: Option<String>,
    /// Indices of the cases in the plan that are running.
    pub running: BTreeSet<usize>,
    /// The shown experiments: a sweep, threshold searches on it, the same plan on another module.
    pub shown: Vec<SavedExperiment>,
    /// Measures, noise and verdicts of the shown records.
    pub analysis: Analysis,
    /// The selected record.
    pub selected: Option<String>,
    /// The record that it is compared with; `None` for the baseline.
    pub pinned: Option<String>,
    /// The diff of the two, once computed.
    pub diff: Option<Arc<PairDiff>>,
    /// Index of the current difference.
    pub(super) difference: Option<usize>,
    /// The limit of the last threshold search on the shown experiments, and its result so far.
    pub threshold: Option<(SimilarityLimit, ThresholdResult)>,
    /// What happens to the shown experiments when the requested run starts.
    shown_at_start: Shown,
    /// The plan that waits for the second module's answer.
    awaiting_second_module: Option<Plan>,
    /// Models of the second module, if it does not have the first one's.
    pub second_models: Vec<String>,
    /// The plan to run on the second module when its sweep is complete, now or after it is resumed.
    next_on_second: Option<(Plan, Target)>,
}

/// What happens to the shown experiments when a run starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// The new experiment replaces them.
    Replaced,
    /// The new experiment is shown with them: a threshold search, or the same plan on another module.
    Kept,
}

/// The state of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    /// Nothing is running.
    Idle,
    /// Requested; no case has started.
    Starting,
    Running {
        progress: RunProgress,
        /// Whether the connection was lost and is being reopened.
        reconnecting: bool,
    },
    Ended(RunEnd),
}

/// A message about a run.
#[derive(Debug, Clone, PartialEq)]
pub enum RunMessage {
    /// It could not start, or its file cannot be written or read.
    Problem(Problem),
    /// The effect of a large prefix on a stock module.
    Canary(Canary),
    /// Cases have no KL.
    NotScored { count: usize, problem: Problem },
    /// The second module has no model of this name; the user must choose one.
    ModelMissingOnSecond(String),
}

/// The diff of the two selected texts.
#[derive(Debug)]
pub struct PairDiff {
    pub left: Arc<str>,
    pub right: Arc<str>,
    /// The unit in which they were compared.
    pub granularity: Granularity,
    pub diff: Diff,
}

/// Why a sweep cannot start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SweepUnavailable {
    NotConnected,
    StillConnecting,
    NoPrompts,
    /// The prefix material is missing in the Tune view.
    NoMaterial,
    /// What is wrong with the plan.
    Plan(Bilingual),
    /// A field is invalid.
    WrongField,
    /// The history is not open, so results could not be saved.
    NoHistory,
    /// The model that it was started with.
    OtherModel(String),
}

/// Status of an experiment in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExperimentStatus {
    Complete,
    Cancelled,
    /// It can be resumed.
    Open,
    /// It is running.
    Running,
    /// A session of tuning, which has no end.
    Session,
    /// A prefix was learned, chosen or searched for in it.
    PrefixSearch,
}

impl Sweeps {
    pub(super) fn new(form: SweepForm) -> Self {
        Self {
            form,
            prompt: 0,
            stage: Stage::Idle,
            message: None,
            running_experiment: None,
            running: BTreeSet::new(),
            shown: Vec::new(),
            analysis: Analysis::default(),
            selected: None,
            pinned: None,
            diff: None,
            difference: None,
            threshold: None,
            shown_at_start: Shown::Replaced,
            awaiting_second_module: None,
            second_models: Vec::new(),
            next_on_second: None,
        }
    }

    /// Returns whether a run was requested and has not ended.
    pub fn is_busy(&self) -> bool {
        matches!(self.stage, Stage::Starting | Stage::Running { .. })
    }

    /// Returns whether the current run waits for the user, who has paused it or has to see to its file.
    pub fn is_paused(&self) -> bool {
        let waits_for_file =
            matches!(&self.message, Some(RunMessage::Problem(problem)) if problem.kind == ProblemKind::File);
        self.progress()
            .is_some_and(|progress| progress.paused || waits_for_file)
    }

    /// Returns the progress of the current run.
    pub fn progress(&self) -> Option<&RunProgress> {
        match &self.stage {
            Stage::Running { progress, .. } => Some(progress),
            _ => None,
        }
    }

    /// Returns the shown sweep: the first of the shown experiments.
    pub fn experiment(&self) -> Option<&SavedExperiment> {
        self.shown.first()
    }

    /// Returns what is exported: the shown sweep, with the records of the same plan on another module, and the index of
    /// the shown prompt.
    pub(super) fn to_export(&self) -> Option<(Experiment, Vec<Record>, usize)> {
        let experiment = &self.experiment()?.experiment;
        let of_plan = self
            .shown
            .iter()
            .filter(|saved| saved.experiment.plan == experiment.plan);
        let records = of_plan.flat_map(SavedExperiment::undeleted).cloned().collect();
        let shown = self.shown_prompt();
        let prompts = experiment.plan.as_ref().map(|plan| plan.prompts.as_slice());
        let place = prompts
            .unwrap_or_default()
            .iter()
            .position(|prompt| Some(prompt) == shown);
        Some((experiment.clone(), records, place.unwrap_or(0)))
    }

    /// Returns the shown prompt.
    pub fn shown_prompt(&self) -> Option<&Prompt> {
        self.form.prompts.get(self.prompt)
    }

    /// Returns the analysis of the shown prompt: one group for each module that ran it.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        let prompt = self.shown_prompt();
        self.analysis
            .groups
            .iter()
            .filter(move |group| Some(&group.key.prompt) == prompt)
    }

    /// Returns the records of the shown prompt.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        let prompt = self.shown_prompt();
        self.all_records().filter(move |record| Some(&record.prompt) == prompt)
    }

    fn all_records(&self) -> impl Iterator<Item = &Record> {
        self.shown.iter().flat_map(SavedExperiment::undeleted)
    }

    /// Returns a shown record by its id.
    pub fn record(&self, id: &str) -> Option<&Record> {
        self.all_records().find(|record| record.id == id)
    }

    /// Returns the group and the point of a record, with measures and verdict.
    pub fn point(&self, id: &str) -> Option<(&Group, &Point)> {
        self.analysis.find(id)
    }

    /// Returns the two compared records: the pinned one (or the baseline of the selected one), and the selected one.
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

    /// Returns the number of cases of the shown sweep's plan for a prompt, and how many of them have finished.
    pub fn done_of(&self, prompt: &Prompt) -> Option<(usize, usize)> {
        let saved = self.experiment()?;
        let plan = saved.experiment.plan.as_ref()?;
        let place = plan.prompts.iter().position(|other| other == prompt)?;
        let all = plan.cases().ok()?;
        let planned = all.iter().filter(|planned| planned.prompt == place).count();
        let finished = saved
            .records
            .iter()
            .filter(|record| record.case.prompt == place)
            .map(|record| record.case.index)
            .collect::<BTreeSet<_>>()
            .len();
        Some((finished.min(planned.max(finished)), planned.max(finished)))
    }

    /// Returns the status of an experiment in the history.
    pub fn status(&self, one: &Summary) -> ExperimentStatus {
        use softprefix_core::experiment::Ending;
        if self.running_experiment.as_ref() == Some(&one.experiment.id) {
            return ExperimentStatus::Running;
        }
        match one.ending {
            None if one.finds => ExperimentStatus::PrefixSearch,
            None if one.experiment.plan.is_none() => ExperimentStatus::Session,
            Some(Ending::Complete) => ExperimentStatus::Complete,
            Some(Ending::Cancelled) => ExperimentStatus::Cancelled,
            None => ExperimentStatus::Open,
        }
    }

    /// Returns whether the run ended because a large prefix changed nothing.
    pub fn had_no_effect(&self) -> bool {
        self.stage == Stage::Ended(RunEnd::NoEffect)
    }

    /// Returns the shown experiment, if it can be resumed.
    pub fn resumable(&self) -> Option<&SavedExperiment> {
        use softprefix_core::experiment::Ending;
        if self.is_busy() {
            return None;
        }
        let saved = self.experiment()?;
        let missing = saved.planned() > saved.finished().len() || saved.is_unscored();
        (missing && saved.ending != Some(Ending::Complete)).then_some(saved)
    }

    /// Stores the diff of two texts, if they are still selected.
    pub(super) fn compared(&mut self, left: Arc<str>, right: Arc<str>, granularity: Granularity, diff: Diff) {
        let wanted = self
            .pair()
            .is_some_and(|(a, b)| a.text() == Some(&left) && b.text() == Some(&right));
        if wanted {
            self.difference = None;
            self.diff = Some(Arc::new(PairDiff {
                left,
                right,
                granularity,
                diff,
            }));
        }
    }
}
