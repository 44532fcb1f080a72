//! What the window asks of the worker and what the worker reports.
//!
//! The workbench makes requests and takes events; the bridge takes requests and makes events. Neither knows the other.

mod deep;
mod doctor;
mod figure;
mod library;
mod material;
mod recording;
mod sweep;

pub use deep::{ScoreRun, TextOf};
pub use doctor::{DoctorEvent, DoctorRequest, Said};
pub use figure::WriteFigure;
pub use library::{LibraryEvent, LibraryRequest};
pub use material::{MaterialEvent, MaterialRequest};
pub use recording::{RecordingEvent, RecordingRequest};
pub use sweep::{Second, SweepEvent, SweepRequest};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use softprefix_core::compare::{Diff, Granularity};
use softprefix_core::experiment::{Comparison, Experiment, MeasuredText, PrefixIdentity, Prompt, Record, Settings};
use softprefix_core::prefix::PrefixRecipe;
use softprefix_core::protocol::extension;

use crate::figure::Form;
use crate::model::{
    ConnectStep, ExportForm, FetchProgress, Format, Kept, ModelChoice, ModuleFacts, Problem, RunId, Scores, Side,
    Target, Vocabulary,
};

/// What the workbench asks for. None of these is answered at once; what comes of them arrives as [`Event`]s.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Connect and set up. The module in use is left as soon as the new one is ready.
    Connect {
        target: Target,
        /// What its first task is set up for.
        asked: Box<Asked>,
    },
    /// Exit these left-over tasks, then connect as before.
    ExitTasks {
        tasks: Vec<String>,
    },
    /// Fetch this model of the catalogue, then connect to the embedded module with it.
    FetchModel {
        name: String,
        asked: Box<Asked>,
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

    /// Run these beside each other, behind every other run.
    FillCurve(Vec<Inference>),
    StopCurve,

    /// Tell two texts apart away from the window's thread.
    Compare(Texts),

    /// Measure finished texts against their baselines, away from the window's thread.
    Measure(Vec<Comparison>),

    /// Score a record's texts by teacher forcing, in the place of another record's.
    Score(Box<ScoreRun>),
    StopScoring,

    /// Write a plot.
    SaveFigure(Box<WriteFigure>),
    /// Files of prefixes, and what a prefix is.
    Material(Box<MaterialRequest>),
    /// Work of the doctor.
    Doctor(DoctorRequest),
    /// The library of all experiments.
    Library(LibraryRequest),
    /// Go on with the session of tuning with this id; `None` begins another with the next run.
    Tuning(Option<String>),
    Sweep(Box<SweepRequest>),
    /// Recordings: written, read.
    Recording(RecordingRequest),
    /// Exit the task and end.
    Shutdown,
}

/// A prompt, and how inferences of it are run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked {
    pub prompt: Prompt,
    pub settings: Settings,
}

/// One inference to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Inference {
    pub run: RunId,
    pub side: Side,
    pub asked: Asked,
    /// `None` on the baseline.
    pub recipe: Option<PrefixRecipe>,
    pub delay: Duration,
    /// Whether its record is kept in the journal of the session of tuning.
    pub kept: bool,
}

/// Two texts to tell apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Texts {
    pub pair: Pair,
    pub left: Arc<str>,
    pub right: Arc<str>,
    pub granularity: Granularity,
}

/// Which texts are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pair {
    /// What the panes of the Tune view show.
    Panes,
    /// The two records that the Sweep view shows.
    Records,
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
        built: Result<PrefixIdentity, Problem>,
    },
    Counted {
        system: String,
        user: String,
        count: extension::Budget,
    },

    // Inferences.
    /// The request is on its way to the module; with a prefix, what it is.
    Started {
        run: RunId,
        side: Side,
        built: Option<PrefixIdentity>,
    },
    Delta {
        run: RunId,
        side: Side,
        text: String,
    },
    Finished {
        run: RunId,
        side: Side,
        record: Box<Record>,
    },
    /// The session of tuning that a run belongs to has its journal now.
    TuningBegan {
        run: RunId,
        experiment: Box<Experiment>,
    },
    /// A session of tuning that was opened cannot be gone on with, for this reason: what is run next begins another.
    TuningClosed(Problem),
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

    /// A run of the curve came to its end.
    CurvePoint {
        run: RunId,
        record: Box<Record>,
    },
    CurveFailed {
        run: RunId,
        problem: Problem,
    },
    /// It was stopped.
    CurveDropped {
        run: RunId,
    },

    /// What scoring a record's texts gave.
    Scored {
        record: String,
        found: Result<Arc<Scores>, Problem>,
    },

    // Comparisons and files.
    Compared {
        texts: Texts,
        diff: Diff,
    },
    Measured(Vec<MeasuredText>),
    /// Texts could not be compared.
    NotCompared(Problem),
    Chosen {
        question: FileQuestion,
        path: Option<PathBuf>,
    },
    /// The system has no dialog for files, and showed none.
    NotAsked(FileQuestion),
    FigureSaved(PathBuf),
    FileProblem(Problem),

    Doctor(DoctorEvent),
    /// What comes of files of prefixes, and of questions what one is.
    Material(Box<MaterialEvent>),
    /// What comes of sweeps.
    Library(Box<LibraryEvent>),
    Sweep(Box<SweepEvent>),
    Recording(Box<RecordingEvent>),
}

/// Which file the system's dialog is to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileQuestion {
    /// Anything that this program writes.
    Open,
    ModelFile,
    /// The injector unit's binary, for the installer.
    UnitBinary,
    /// Where to write what is shown, in this form.
    Export {
        suggested: String,
        format: Format,
    },
    /// Where to write a plot, in this form.
    SaveFigure {
        suggested: String,
        form: Form,
    },
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
}

impl FileQuestion {
    /// What the file is called unless the person says otherwise; `None` where one that is there is asked for.
    pub fn suggested(&self) -> Option<&str> {
        match self {
            Self::Open | Self::ModelFile | Self::UnitBinary | Self::ImportPrefix => None,
            Self::Export { suggested, .. }
            | Self::SaveFigure { suggested, .. }
            | Self::ExportPrefix { suggested, .. }
            | Self::SaveRecording { suggested, .. } => Some(suggested),
        }
    }
}
