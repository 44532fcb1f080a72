//! Sweeps and their history.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use softprefix_core::compare::{Diff, Granularity};
use softprefix_core::experiment::{Budget, Entry, Experiment, History, Plan, Record, RunEvent, ThresholdSearch};
use softprefix_core::prefix::PrefixRecipe;

use crate::model::{CaseKey, Format, Language, Problem, Target};

/// What the workbench asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum SweepRequest {
    /// Open the history's file and read it.
    OpenHistory {
        path: PathBuf,
    },
    /// Run a plan. `case` says how tokens are drawn and how many.
    Start {
        plan: Plan,
        case: Box<CaseKey>,
    },
    /// Ask a second module for a model, before anything is run on the first.
    AskSecond {
        target: Target,
        model: String,
    },
    /// Run a plan on another module than the window's, reached for this run alone.
    StartOn {
        plan: Plan,
        target: Target,
        case: Box<CaseKey>,
    },
    /// Run what is missing of an experiment.
    Resume {
        experiment: Box<Experiment>,
        finished: HashSet<usize>,
        /// Its records: those that are not scored yet are.
        known: Vec<Record>,
        /// Whether a stranger's module is first asked to prove that a prefix has any effect.
        canary: bool,
        case: Box<CaseKey>,
    },
    /// Search the largest magnitude within a budget, on the plan's first prompt.
    Search {
        plan: Plan,
        recipe: PrefixRecipe,
        search: ThresholdSearch,
        budget: Budget,
        /// The records that are shown: a search beside a sweep takes its points for measured.
        beside: Vec<Record>,
        case: Box<CaseKey>,
    },
    /// Begin no further case.
    Pause,
    GoOn,
    Cancel,
    /// Put a line into the history: a new name, a deletion.
    Append(Box<Entry>),
    /// Write an experiment to a file.
    Export {
        path: PathBuf,
        format: Format,
        experiment: Box<Experiment>,
        records: Vec<Record>,
        /// Place in the plan of the prompt whose results file is written.
        prompt: usize,
        language: Language,
    },
    /// Take a file into the history.
    Import {
        path: PathBuf,
    },
    /// The difference of two texts that are looked at.
    Compare {
        left: Arc<str>,
        right: Arc<str>,
        granularity: Granularity,
    },
}

/// What the bridge reports.
#[derive(Debug)]
pub enum SweepEvent {
    /// The history is open.
    History(Box<History>),
    /// The history cannot be used.
    NoHistory(Problem),
    Run(RunEvent),
    /// The run could not begin.
    Refused(Problem),
    /// What the second module said.
    Second(Result<Second, Problem>),
    /// The module was left, and the run with it; the rest can be run later.
    Left,
    /// The line is in the history.
    Appended(Box<Entry>),
    /// These lines were taken into the history.
    Imported {
        path: PathBuf,
        entries: Vec<Entry>,
    },
    Exported(PathBuf),
    FileProblem(Problem),
    Compared {
        left: Arc<str>,
        right: Arc<str>,
        diff: Diff,
    },
}

/// What a second module said when it was asked for a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Second {
    /// It has it; this is what to open.
    Has(Target),
    /// It has these instead.
    Lacks { model: String, models: Vec<String> },
}
