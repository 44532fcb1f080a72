//! Between the window and the module: one thread that owns the async runtime. Requests go out, events come back.
//!
//! Only this file awaits. It knows the client and the embedded unit, and nothing of egui: after every event it calls a
//! `wake` closure.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use softprefix_core::compare::{Diff, Granularity, Measures};
use softprefix_core::prefix::PrefixRecipe;

use crate::workbench::{
    BuiltPrefix, CaseId, CaseKey, ConnectStep, FetchProgress, FileQuestion, Finish, ModelChoice, ModuleFacts, Problem,
    RunId, Side, Snapshot, Target, Timings, Vocabulary,
};

/// What the workbench asks for. None of these is answered at once; what comes of them arrives as [`Event`]s.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Connect and set up, leaving the module in use (its task is exited first).
    Connect {
        target: Target,
        case: Box<CaseKey>,
    },
    /// Exit these left-over tasks, then connect as before.
    ExitTasks {
        tasks: Vec<String>,
    },
    /// Fetch this model of the catalogue, then connect to the embedded module with it.
    FetchModel {
        name: String,
        case: Box<CaseKey>,
    },
    CancelFetch,
    /// List the models of the embedded module.
    ListModels,

    /// Build the prefix and tell its norms and digest. Of several in a row only the last is built.
    Describe {
        recipe: PrefixRecipe,
    },
    /// Count the tokens of the prompt. Of several in a row only the last is counted.
    Count {
        system: String,
        user: String,
    },

    /// Run an inference. A running one of the same side is stopped first, and this one waits `delay`.
    Infer(Box<Inference>),
    /// Stop the inference of a side, also one that still waits.
    Stop {
        side: Side,
    },

    /// Compare two texts away from the window's thread.
    Compare(Comparison),

    /// Write a results file.
    Save {
        path: PathBuf,
        snapshot: Box<Snapshot>,
    },
    /// Read a results file.
    Open {
        path: PathBuf,
    },
    /// Exit the task and end.
    Shutdown,
}

/// One inference to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Inference {
    pub run: RunId,
    pub side: Side,
    pub case: CaseKey,
    /// `None` on the baseline.
    pub recipe: Option<PrefixRecipe>,
    pub delay: Duration,
}

/// Two texts to compare.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    pub purpose: Purpose,
    pub left: Arc<str>,
    pub right: Arc<str>,
    pub granularity: Granularity,
}

/// What a comparison is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The diff of what the panes show.
    Panes,
    /// The measures of a finished run, and its diff.
    Run(RunId),
    /// The noise floor of a case: two baselines.
    Noise(CaseId),
}

/// What the bridge reports.
#[derive(Debug)]
pub enum Event {
    // The module.
    Models(Vec<ModelChoice>),
    Fetching(FetchProgress),
    /// The person cancelled the fetch, or it failed: there is no model to start with.
    NoModel(Option<Problem>),
    /// The embedded unit reads a model.
    Loading {
        model: String,
        fraction: f32,
        what: String,
    },
    Connecting(ConnectStep),
    Ready(Box<ModuleFacts>, Option<Arc<Vocabulary>>),
    TaskFull {
        tasks: Vec<String>,
    },
    /// Connecting did not work, or the connection was lost.
    Lost(Problem),

    // The prefix and the prompt.
    Described {
        recipe: PrefixRecipe,
        built: Result<BuiltPrefix, Problem>,
    },
    Counted {
        system: String,
        user: String,
        count: TokenCount,
    },

    // Inferences.
    /// The request is on its way to the module; with a prefix, what it is.
    Started {
        run: RunId,
        side: Side,
        built: Option<BuiltPrefix>,
    },
    Delta {
        run: RunId,
        side: Side,
        text: String,
    },
    Finished {
        run: RunId,
        side: Side,
        outcome: Box<RunOutcome>,
    },
    Failed {
        run: RunId,
        side: Side,
        problem: Problem,
    },
    /// It was stopped before it was sent.
    Dropped {
        run: RunId,
        side: Side,
    },

    // Comparisons and files.
    Compared {
        comparison: Comparison,
        diff: Diff,
        measures: Option<Box<Measures>>,
    },
    Chosen {
        question: FileQuestion,
        path: Option<PathBuf>,
    },
    Saved {
        path: PathBuf,
    },
    Opened {
        path: PathBuf,
        snapshot: Box<Snapshot>,
    },
    FileProblem(Problem),
}

/// Token counts of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenCount {
    pub template: usize,
    pub prompt: usize,
    pub window: usize,
    pub prefill_window: usize,
}

/// How an inference ended.
#[derive(Debug, Clone, PartialEq)]
pub struct RunOutcome {
    /// The whole text.
    pub text: String,
    pub finish: Finish,
    pub timings: Timings,
    pub tokens: Option<Vec<u32>>,
    /// The reply carries the digest of the prefix that was sent.
    pub echoed: bool,
}
