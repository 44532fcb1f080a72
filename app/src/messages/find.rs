//! Requests to learn a prefix, to choose among candidates and to search by an objective, and their events.

use std::path::PathBuf;

use softprefix_core::experiment::{Entry, Experiment, Generation, LearnPlan, Plan, Record, RunEvent};
use softprefix_core::prefix::{PrefixRecipe, PrefixSummary};
use softprefix_core::protocol::learn::{Example, LearnFrame};
use softprefix_core::search::{Objective, SearchSettings};

use crate::model::{ExportForm, FindMode, FoundPrefix, FoundRows, ImportedFile, Nearest, Problem, RelativeToParent};

/// How candidates are run and proposed.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchStart {
    /// Prompt and settings of the runs.
    pub plan: Plan,
    /// The prefix around which the candidates lie.
    pub recipe: PrefixRecipe,
    pub settings: SearchSettings,
}

/// Work that ends by itself or by [`FindRequest::Stop`]; at most one is in progress.
#[derive(Debug, Clone, PartialEq)]
pub enum FindWork {
    /// Learn a prefix, starting from the rows of `init` if it is given.
    Learn {
        plan: Box<LearnPlan>,
        init: Option<PrefixRecipe>,
    },
    /// Start choosing among candidates.
    Choose(Box<SearchStart>),
    /// Append a generation to an experiment of choosing, and run the candidates of the next one. A generation without candidates is an
    /// earlier one that is opened again.
    ChooseNext {
        experiment: String,
        generation: Box<Generation>,
    },
    /// Search by an objective, with at most `budget` candidates.
    Search {
        start: Box<SearchStart>,
        objective: Box<Objective>,
        budget: usize,
    },
    /// Continue an interrupted search by an objective, with its own prompt, objective and budget.
    ResumeSearch { experiment: String },
}

impl FindWork {
    /// Returns the mode whose work it is.
    pub fn mode(&self) -> FindMode {
        match self {
            Self::Learn { .. } => FindMode::Learn,
            Self::Choose(_) | Self::ChooseNext { .. } => FindMode::Choose,
            Self::Search { .. } | Self::ResumeSearch { .. } => FindMode::Search,
        }
    }
}

/// Requests from the workbench.
#[derive(Debug, Clone, PartialEq)]
pub enum FindRequest {
    /// Start work in place of the work in progress, under a number that no other work has.
    Start { number: u64, work: FindWork },
    /// Stop learning, choosing or searching. What was found is saved.
    Stop,
    /// Read the examples of a file.
    ReadExamples(PathBuf),
    /// Report the rows that an experiment has learned.
    Rows { experiment: String },
    /// Report norm and cosine of the chosen prefixes of an experiment.
    CompareWithParent { experiment: String },
    /// Store a prefix as an imported one, for Tune.
    Import { found: FoundPrefix },
    /// Write a prefix to a file.
    Export {
        found: FoundPrefix,
        path: PathBuf,
        form: ExportForm,
    },
}

/// Events from the bridge.
#[derive(Debug)]
pub enum FindEvent {
    /// The experiment's journal exists, and the unit has started.
    LearnStarted {
        experiment: Box<Experiment>,
        plan: Box<LearnPlan>,
    },
    /// A frame, which is saved.
    LearnProgress(Box<LearnFrame>),
    /// The record of a run with the best rows so far.
    Output(Box<Record>),
    /// The best rows of an experiment.
    Rows {
        experiment: String,
        rows: Box<FoundRows>,
    },
    /// The tokens nearest to those rows.
    Nearest {
        recipe: PrefixRecipe,
        nearest: Nearest,
    },
    /// Choosing began; its journal exists.
    ChooseStarted(Box<Experiment>),
    /// A line of an experiment of choosing, which is saved.
    ChooseEntry(Box<Entry>),
    /// More text of a running candidate.
    CandidateText {
        candidate: usize,
        text: String,
    },
    /// Norm and cosine of chosen prefixes, by record.
    ComparedWithParent(Vec<(String, RelativeToParent)>),
    /// An event of a search.
    Searched(Box<RunEvent>),
    /// The work of this number has ended; with a problem if it could not start or continue. All its other events were sent before.
    Ended {
        number: u64,
        problem: Option<Problem>,
    },
    /// The examples of a file.
    Examples(Vec<Example>),
    /// A prefix is stored as an imported one.
    Imported {
        file: ImportedFile,
        summary: PrefixSummary,
    },
    Exported(PathBuf),
    /// A file of examples or rows could not be read or written.
    QueryFailed(Problem),
}
