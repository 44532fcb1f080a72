//! Everything a person can do, as data: what views send and [`super::Workbench::apply`] carries out.
//!
//! It knows no widget; an action carries what was chosen, never where.

use std::path::PathBuf;
use std::time::Duration;

use softprefix_core::compare::{Granularity, Measure};
use softprefix_core::experiment::drawing::Paper;
use softprefix_core::prefix::{Generator, Rounding};

use super::doctor::DoctorAction;
use super::{Dialog, Tab};
use crate::figure::Form;
use crate::model::sweep::Range;
use crate::model::{
    Colouring, Envelope, ExportForm, Figure, Format, KindChoice, Language, MagnitudeUnit, Sampling, Side, Target, Theme,
};

/// One thing a person did.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    // The prefix.
    /// In the unit in use; 0 is the stop. Values outside the slider's range are taken as they are.
    SetMagnitude(f64),
    /// Multiplies the magnitude (keys and the - / + buttons): 1.02, 1/1.02, 1.2, ...
    ScaleMagnitude(f64),
    /// Back to 1x of a token norm (or to the raw value nearest to it).
    ResetMagnitude,
    SetMagnitudeUnit(MagnitudeUnit),
    SetUnscaled(bool),
    SetLen(usize),
    SetKind(KindChoice),
    SetSeed(u64),
    SetRounding(Rounding),
    SetWords(String),
    /// What else prefixes are made of, and their files.
    Material(MaterialAction),

    // The prompt.
    SetPrompt(String),
    SetSystem(String),
    SetMaxTokens(usize),
    SetSampling(Sampling),
    /// Index into [`crate::model::PRESETS`].
    LoadPreset(usize),
    /// Index into [`super::Workbench::own_prompts`].
    LoadOwnPrompt(usize),

    // Running.
    SetLive(bool),
    ToggleLive,
    /// The prefixed side, and the baseline where none stands for this prompt and model.
    Run,
    Stop,
    RerunBaseline,
    /// Runs the prefix in hand at the magnitudes of the curve that have no run yet; while that is under way, stops it.
    FillCurve,
    /// Whether that is done by itself when the person pauses.
    SetFillCurve(bool),

    // The module.
    Connect(Target),
    Reconnect,
    /// The person agreed: exit the listed left-over tasks, then connect again.
    ExitLeftOverTasks,
    /// Fetch a model of the catalogue, then start the embedded module with it.
    FetchModel(String),
    CancelFetch,
    /// Choose a model file for the embedded module.
    ChooseModelFile,

    // Runs and outputs.
    /// Shows a run's text and diff again; `None` goes back to the last one.
    SelectRun(Option<String>),
    /// Sets the controls to what a run was made with.
    AdoptRun(String),
    RemoveRun(String),
    /// Shows these runs in the plot, of whichever prompts; none shows those of the prompt again.
    PlotRuns(Vec<String>),
    ClearRuns,
    SetMeasure(Measure),
    NextMeasure,
    SetGranularity(Granularity),
    ToggleGranularity,
    /// To the next difference of the shown texts, or the previous one; beyond the last comes the first.
    StepDifference(isize),
    /// Shows the runs of the session as a table in place of the plot.
    ShowRuns(bool),
    /// What the baseline's text is coloured by.
    SetColouring(Colouring),
    ToggleKl,
    CopyText(Side),
    CopySha256,

    // Files.
    /// A plot, in this form and for this paper.
    SaveFigure(Box<Figure>, Form, Paper),
    /// Asks where to write what the view shows, in this form: the session of tuning, or the sweep.
    Export(Format),
    /// Begins another session of tuning.
    NewSession,
    Open,
    /// Opens this file without asking (command line, drop on the window).
    OpenPath(PathBuf),

    /// Sweeps and their history.
    Sweep(SweepAction),

    /// Begins a recording, or ends it and asks where to keep it.
    ToggleRecording,
    Playback(PlaybackAction),
    Exhibit(ExhibitionAction),

    // The window.
    ShowTab(Tab),
    Doctor(DoctorAction),
    SetTheme(Theme),
    ToggleTheme,
    SetLanguage(Language),
    ToggleLanguage,
    SetZoom(f32),
    ZoomIn,
    ZoomOut,
    ZoomReset,
    ToggleFullscreen,
    /// Enters or leaves the presenter's view.
    Present(bool),
    ToggleAdvanced,
    /// Height of the texts of a view, in points; `None` gives them what they need.
    SetTextsHeight(Tab, Option<f32>),
    /// Shows the texts without the plot, or with it again.
    ToggleTextsAlone,
    ShowDialog(Dialog),
    CloseDialog,
    /// The path that was typed where the system shows no dialog for files.
    AnswerPath(PathBuf),
    DismissNotice,
    Quit,
}

/// One thing a person did with what prefixes are made of.
#[derive(Debug, Clone, PartialEq)]
pub enum MaterialAction {
    SetGenerator(Generator),
    SetBlendFrom(String),
    SetBlendTo(String),
    /// Where the blend stands, 0 to 1.
    SetBlend(f64),
    SetContrast(String),
    SetContrastMinus(String),
    SetEnvelope(Envelope),
    /// Ask for the file of a prefix.
    ChooseFile,
    /// Import this file without asking (drop on the window).
    Import(PathBuf),
    /// Ask where to write the prefix in hand.
    Export(ExportForm),
}

/// One thing a person did in the sweep's view.
#[derive(Debug, Clone, PartialEq)]
pub enum SweepAction {
    // What is to be run.
    /// Adds the prompt of the Tune view.
    AddCurrentPrompt,
    /// Index into [`crate::model::PRESETS`].
    AddPreset(usize),
    RemoveCase(usize),
    ShowCase(usize),
    SetLens(Vec<usize>),
    /// As typed; a list that [`crate::model::magnitudes::parse`] reads.
    SetMagnitudes(String),
    SetUnit(MagnitudeUnit),
    SetRounding(Rounding),
    TakeRange(Range),
    SetRepeats(usize),
    /// A second module for the same plan; empty for none. What is no address is left out.
    SetAlso(String),
    /// The model of the second module, where it has not the first one's.
    SetAlsoModel(String),
    /// Whether every case is scored.
    SetDeep(bool),

    // Running.
    Start,
    Pause,
    GoOn,
    Cancel,
    /// Runs what is missing of the shown experiment.
    Resume,
    SetBudgetMeasure(Measure),
    SetBudget(f64),
    /// Searches the largest magnitude within the budget, for this P, on the shown case.
    FindThreshold(usize),
    DismissTrouble,

    // Looking.
    /// Looks at a record.
    Select(Option<String>),
    /// What is looked at becomes what others are compared with.
    Pin,
    Unpin,
    Swap,

    // The history.
    /// Shows an experiment, and its settings in the fields.
    Show(String),
    /// Its settings in the fields, and nothing shown.
    CloneSettings(String),
    /// Runs the same plan again, as a new experiment.
    RunAgain(String),
    Rename(String, String),
    Delete(String),
    UndoDelete,
    /// Looks for these words in everything that was asked and answered.
    Find(String),
}

/// What a person does with a recording.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PlaybackAction {
    /// Ask for a file.
    Open,
    /// Play the recording that is part of the program.
    Demo,
    /// Play, or pause; from the end, play from the beginning.
    Toggle,
    /// To this time since the beginning.
    Seek(Duration),
    /// Steps of five seconds, forwards or back.
    Step(i32),
    NextSpeed,
    ToggleLoop,
    /// In the presenter's view, without taking the whole screen.
    Large,
    /// Back to the person's own work.
    Leave,
}

/// What happens to an exhibition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExhibitionAction {
    /// Begins, or ends.
    Toggle,
    /// Somebody is at the machine.
    Touched,
}
