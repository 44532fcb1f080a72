//! What the window asks of the worker and what the worker reports.
//!
//! The workbench makes requests and takes events; the bridge takes requests and makes events. Neither knows the other.

mod deep;
mod doctor;
mod figure;
mod material;
mod recording;
mod sweep;

pub use deep::{ScoreRun, TextOf};
pub use doctor::{DoctorEvent, DoctorRequest, Said};
pub use figure::WriteFigure;
pub use material::{MaterialEvent, MaterialRequest};
pub use recording::{RecordingEvent, RecordingRequest};
pub use sweep::{Second, SweepEvent, SweepRequest};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use softprefix_core::compare::{Diff, Granularity, Measures};
use softprefix_core::prefix::PrefixRecipe;

use crate::figure::Form;
use crate::model::{
    BuiltPrefix, CaseId, CaseKey, ConnectStep, ExportForm, FetchProgress, Format, Kept, ModelChoice, ModuleFacts,
    Problem, RunId, RunOutcome, Scores, Side, Snapshot, Target, TokenCount, Vocabulary,
};

/// What the workbench asks for. None of these is answered at once; what comes of them arrives as [`Event`]s.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Connect and set up. The module in use is left as soon as the new one is ready.
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

    /// Lead the model through a run's texts, in the place of another run's.
    Score(Box<ScoreRun>),
    StopScoring,

    /// Write a plot.
    SaveFigure(Box<WriteFigure>),
    /// Write a results file.
    Save {
        path: PathBuf,
        snapshot: Box<Snapshot>,
    },
    /// Read a results file.
    Open {
        path: PathBuf,
    },
    /// Files of prefixes, and what a prefix is.
    Material(Box<MaterialRequest>),
    /// Work of the doctor.
    Doctor(DoctorRequest),
    /// Sweeps and their history.
    Sweep(Box<SweepRequest>),
    /// Recordings: written, read.
    Recording(RecordingRequest),
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
    /// Another module could not be had, as was just told; this one is still in use.
    Kept(Box<Kept>),

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

    /// What the model makes of a run's texts.
    Scored {
        run: RunId,
        found: Result<Arc<Scores>, Problem>,
    },

    // Comparisons and files.
    Compared {
        comparison: Comparison,
        diff: Diff,
        measures: Option<Box<Measures>>,
    },
    /// Two texts could not be compared.
    NotCompared(Problem),
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
    FigureSaved(PathBuf),
    FileProblem(Problem),

    Doctor(DoctorEvent),
    /// What comes of files of prefixes, and of questions what one is.
    Material(Box<MaterialEvent>),
    /// What comes of sweeps.
    Sweep(Box<SweepEvent>),
    Recording(Box<RecordingEvent>),
}

/// Which file the system's dialog is to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileQuestion {
    SaveResults {
        suggested: String,
    },
    OpenResults,
    ModelFile,
    /// The injector unit's binary, for the installer.
    UnitBinary,
    /// Where to write a sweep, in this form.
    ExportSweep {
        suggested: String,
        format: Format,
    },
    /// Where to write a plot, in this form.
    SaveFigure {
        suggested: String,
        form: Form,
    },
    /// A sweep or a results file to take into the history.
    ImportSweep,
    /// The file of a prefix.
    ImportPrefix,
    /// Where to write the prefix in hand, in this form.
    ExportPrefix {
        suggested: String,
        form: ExportForm,
    },
    /// Where to keep the recording that was written to `from`.
    SaveRecording {
        suggested: String,
        from: PathBuf,
    },
    OpenRecording,
}
