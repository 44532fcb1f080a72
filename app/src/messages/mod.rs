//! Requests from the workbench to the bridge, and events from the bridge to the workbench.

mod discovery;
mod doctor;
mod external;
mod figure;
mod find;
mod library;
mod material;
mod recording;
mod scoring;
mod sweep;

pub use discovery::{DiscoveryEvent, DiscoveryRequest};
pub use doctor::{ChangeOutcome, DoctorEvent, DoctorRequest};
pub use external::{ExternalEvent, ExternalRequest};
pub use figure::WriteFigure;
pub use find::{FindEvent, FindRequest, FindWork, SearchStart};
pub use library::{LibraryEvent, LibraryRequest};
pub use material::{MaterialEvent, MaterialRequest};
pub use recording::{RecordingEvent, RecordingRequest};
pub use scoring::{ScoreRuns, ScoredRun, TextOf};
pub use sweep::{SecondModuleAnswer, SweepEvent, SweepRequest};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use softprefix_core::compare::{Diff, Granularity, Measures};
use softprefix_core::experiment::{Comparison, Experiment, MeasuredText, PrefixIdentity, Prompt, Record, Settings};
use softprefix_core::prefix::PrefixRecipe;
use softprefix_core::protocol::extension;

use crate::figure::ImageFormat;
use crate::model::{
    ConnectStep, ExportForm, FetchProgress, Format, FoundPrefix, LoadStage, ModelChoice, ModuleFacts, PreviousModule,
    Problem, Retry, RunId, RunKind, Scores, Target, Vocabulary,
};

/// A request from the workbench. Its result arrives later as one or more [`Event`]s.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Connect and set up. The current module is released as soon as the new one is ready.
    Connect {
        target: Target,
        /// The prompt and settings of its first task.
        input: Box<PromptAndSettings>,
    },
    /// Exit these left-over tasks, then connect.
    ExitTasks {
        tasks: Vec<String>,
    },
    /// Download this model of the catalogue: in the background while a module is connected; otherwise the embedded module is then connected
    /// with it.
    FetchModel {
        name: String,
        input: Box<PromptAndSettings>,
    },
    CancelFetch,
    /// The machine was asleep: ask whether the module is still there.
    Woke,
    /// List the models of the embedded module.
    ListModels,

    /// Build the prefix and report its norms and digest. Of several pending requests only the last is processed.
    Describe {
        recipe: PrefixRecipe,
    },
    /// Count the tokens of the prompt. Of several pending requests only the last is processed.
    Count {
        system: String,
        user: String,
    },

    /// Run an inference after its `delay`. A running one of the same kind is stopped first.
    Infer(Box<Inference>),
    /// Stop the inference of this kind, also one that has not started yet.
    Stop {
        kind: RunKind,
    },

    /// Run these inferences in one batch, at a lower priority than every other run.
    FillCurve(Vec<Inference>),
    StopCurve,

    /// Compute the diff of two texts, off the UI thread.
    Compare(Texts),

    /// Measure finished texts against their baselines, off the UI thread.
    Measure(Vec<Comparison>),

    /// Score the texts of records by teacher forcing; replaces an earlier request.
    Score(Box<ScoreRuns>),
    StopScoring,

    /// Save a plot.
    SaveFigure(Box<WriteFigure>),
    /// Prefix files, and the details of a prefix.
    Material(Box<MaterialRequest>),
    /// The doctor.
    Doctor(DoctorRequest),
    /// The library of all experiments.
    Library(LibraryRequest),
    /// Continue the session of tuning with this id; with `None` the next run starts a new one.
    Tuning(Option<String>),
    Sweep(Box<SweepRequest>),
    /// Learning a prefix.
    Find(FindRequest),
    /// Recordings.
    Recording(RecordingRequest),
    /// Control by other programs.
    External(ExternalRequest),
    /// Modules on the local network.
    Discovery(DiscoveryRequest),
    /// Exit the task and stop.
    Shutdown,
}

/// A prompt and the settings of its inferences.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PromptAndSettings {
    pub prompt: Prompt,
    pub settings: Settings,
}

/// One inference to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Inference {
    pub run: RunId,
    pub kind: RunKind,
    pub input: PromptAndSettings,
    /// `None` on the baseline.
    pub recipe: Option<PrefixRecipe>,
    /// Tokens that the output is likely to be or to repeat; empty for none.
    pub draft: Vec<u32>,
    pub delay: Duration,
    /// Whether its record is saved in the journal of the session of tuning.
    pub is_saved: bool,
}

/// Two texts to compare.
#[derive(Debug, Clone, PartialEq)]
pub struct Texts {
    pub pair: Pair,
    pub left: Arc<str>,
    pub right: Arc<str>,
    pub granularity: Granularity,
    /// Whether the right text is also measured against the left one.
    pub measured: bool,
}

/// Which pair of texts is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pair {
    /// The panes of the Tune view.
    Panes,
    /// The two records that the Sweep view shows.
    Records,
}

/// An event from the bridge.
#[derive(Debug)]
pub enum Event {
    // The module.
    Models(Vec<ModelChoice>),
    Fetching(FetchProgress),
    /// The download was cancelled or failed: there is no model to start with.
    NoModel(Option<Problem>),
    /// A model is downloaded while another one is in use.
    FetchingInBackground(FetchProgress),
    /// That download ended. `name` is the requested model, which another one of the catalogue may stand in for; `None` if it was
    /// cancelled.
    Fetched {
        name: String,
        fetched: Result<Option<String>, Problem>,
    },
    /// The embedded unit loads a model.
    Loading {
        model: String,
        fraction: f32,
        stage: LoadStage,
    },
    Connecting(ConnectStep),
    Ready(Box<ModuleFacts>, Option<Arc<Vocabulary>>),
    TaskFull {
        tasks: Vec<String>,
    },
    /// Connecting failed, or the connection was lost and the attempts to reach the module again have failed.
    Lost(Problem),
    /// The connection was lost, or the last attempt to reach the module again failed; there is another one.
    Reconnecting(Problem, Retry),
    /// Another module could not be opened, as reported before; this one is still connected.
    PreviousModule(Box<PreviousModule>),

    // The prefix and the prompt.
    Described {
        recipe: PrefixRecipe,
        built: Result<PrefixIdentity, Problem>,
    },
    Counted {
        system: String,
        user: String,
        count: extension::TokenCounts,
    },

    // Inferences.
    /// The request was sent to the module; with a prefix, its identity.
    Started {
        run: RunId,
        kind: RunKind,
        built: Option<PrefixIdentity>,
    },
    Delta {
        run: RunId,
        kind: RunKind,
        text: String,
    },
    Finished {
        run: RunId,
        kind: RunKind,
        record: Box<Record>,
    },
    /// The journal of the session of tuning was created.
    TuningBegan {
        run: RunId,
        experiment: Box<Experiment>,
    },
    /// A session of tuning that was opened cannot be continued, for this reason; the next run starts a new one.
    TuningClosed {
        /// The id of its experiment.
        session: String,
        problem: Problem,
    },
    Failed {
        run: RunId,
        kind: RunKind,
        problem: Problem,
    },
    /// It was stopped before it was sent, or replaced by another run, and leaves no record.
    Dropped {
        run: RunId,
        kind: RunKind,
    },

    /// More text of a run of the curve.
    CurveText {
        run: RunId,
        text: String,
    },
    /// A run of the curve ended.
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

    /// The scores of a record's texts; the perplexity of its own text may come later, with the same scores.
    Scored {
        record: String,
        scores: Arc<Scores>,
    },
    /// These records could not be scored.
    NotScored {
        records: Vec<String>,
        problem: Problem,
    },

    // Comparisons and files.
    Compared {
        texts: Texts,
        diff: Diff,
        /// Where they were asked for.
        measures: Option<Box<Measures>>,
    },
    Measured(Vec<MeasuredText>),
    /// Texts could not be compared.
    NotCompared(Problem),
    Chosen {
        question: FileQuestion,
        path: Option<PathBuf>,
    },
    /// The system has no file dialog.
    NotAsked(FileQuestion),
    FigureSaved(PathBuf),
    FileProblem(Problem),

    Doctor(DoctorEvent),
    /// Prefix files, and the details of a prefix.
    Material(Box<MaterialEvent>),
    /// The library of all experiments.
    Library(Box<LibraryEvent>),
    Sweep(Box<SweepEvent>),
    Find(Box<FindEvent>),
    Recording(Box<RecordingEvent>),
    External(Box<ExternalEvent>),
    Discovery(Box<DiscoveryEvent>),
}

/// The question of a file dialog.
#[derive(Debug, Clone, PartialEq)]
pub enum FileQuestion {
    /// Any file that this program writes.
    Open,
    ModelFile,
    /// The binary of softprefix-unit, for the installer.
    UnitBinary,
    /// Where to export the shown sweep, or the session of Tune, in this format.
    Export {
        suggested: String,
        format: Format,
        is_sweep: bool,
    },
    /// Where to save a plot in this format.
    SaveFigure {
        suggested: String,
        form: ImageFormat,
    },
    /// A prefix file.
    ImportPrefix,
    /// Where to export the current prefix in this format.
    ExportPrefix {
        suggested: String,
        form: ExportForm,
    },
    /// The examples that a prefix is learned from.
    Examples,
    /// Where to export a prefix that was found, in this format.
    ExportFound {
        suggested: String,
        found: FoundPrefix,
        form: ExportForm,
    },
    /// Where to move the recording that was written to `from`.
    SaveRecording {
        suggested: String,
        from: PathBuf,
    },
}

impl FileQuestion {
    /// Returns the suggested file name; `None` if an existing file is opened.
    pub fn suggested(&self) -> Option<&str> {
        match self {
            Self::Open | Self::ModelFile | Self::UnitBinary | Self::ImportPrefix | Self::Examples => None,
            Self::Export { suggested, .. }
            | Self::SaveFigure { suggested, .. }
            | Self::ExportPrefix { suggested, .. }
            | Self::ExportFound { suggested, .. }
            | Self::SaveRecording { suggested, .. } => Some(suggested),
        }
    }
}
