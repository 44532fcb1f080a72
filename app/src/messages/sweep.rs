//! Requests to run sweeps, and their events.

use softprefix_core::experiment::{Plan, Record, RunEvent, SavedExperiment, SimilarityLimit, ThresholdSearch};
use softprefix_core::prefix::PrefixRecipe;

use crate::model::{Problem, Target};

/// Requests from the workbench.
#[derive(Debug, Clone, PartialEq)]
pub enum SweepRequest {
    /// Run a plan.
    Start {
        plan: Plan,
    },
    /// Ask a second module for a model, before anything is run on the first.
    QuerySecondModule {
        target: Target,
        model: String,
    },
    /// Run a plan on another module, which is connected for this run only.
    StartOn {
        plan: Plan,
        target: Target,
    },
    /// Run the missing cases of an experiment.
    ResumeExperiment {
        saved: Box<SavedExperiment>,
        /// Whether a stock module must first show that a prefix has an effect.
        canary: bool,
    },
    /// Search the largest magnitude within a similarity limit, on the plan's first prompt.
    FindThreshold {
        plan: Plan,
        recipe: PrefixRecipe,
        search: ThresholdSearch,
        limit: SimilarityLimit,
        /// The records on screen, whose points the search need not measure again.
        known_records: Vec<Record>,
    },
    /// Start no further case.
    Pause,
    Unpause,
    Cancel,
}

/// Events from the bridge.
#[derive(Debug)]
pub enum SweepEvent {
    Run(RunEvent),
    /// The run could not start.
    Refused(Problem),
    /// The answer of the second module.
    SecondModule(Result<SecondModuleAnswer, Problem>),
    /// The run ended because the module was changed; the rest can be run later.
    Aborted,
}

/// The answer of a second module that was asked for a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecondModuleAnswer {
    /// It has the model; this is the target to open.
    Has(Target),
    /// It has these models instead.
    Missing { model: String, models: Vec<String> },
}
