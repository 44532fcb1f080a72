//! Sweeps.

use softprefix_core::experiment::{Budget, Past, Plan, Record, RunEvent, ThresholdSearch};
use softprefix_core::prefix::PrefixRecipe;

use crate::model::{Problem, Target};

/// What the workbench asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum SweepRequest {
    /// Run a plan.
    Start {
        plan: Plan,
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
    },
    /// Run what is missing of an experiment.
    Resume {
        past: Box<Past>,
        /// Whether a stock module is first asked to prove that a prefix has any effect.
        canary: bool,
    },
    /// Search the largest magnitude within a budget, on the plan's first prompt.
    Search {
        plan: Plan,
        recipe: PrefixRecipe,
        search: ThresholdSearch,
        budget: Budget,
        /// The records that are shown: a search beside a sweep takes its points for measured.
        beside: Vec<Record>,
    },
    /// Begin no further case.
    Pause,
    GoOn,
    Cancel,
}

/// What the bridge reports.
#[derive(Debug)]
pub enum SweepEvent {
    Run(RunEvent),
    /// The run could not begin.
    Refused(Problem),
    /// What the second module said.
    Second(Result<Second, Problem>),
    /// The module was left, and the run with it; the rest can be run later.
    Left,
}

/// What a second module said when it was asked for a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Second {
    /// It has it; this is what to open.
    Has(Target),
    /// It has these instead.
    Lacks { model: String, models: Vec<String> },
}
