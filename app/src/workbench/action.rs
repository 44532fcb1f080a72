//! Everything a user can do, as data: views send actions and [`super::Workbench::apply`] carries them out.

use std::path::PathBuf;
use std::time::Duration;

use softprefix_core::compare::{Granularity, Measure};
use softprefix_core::experiment::Rating;
use softprefix_core::experiment::drawing::Paper;
use softprefix_core::prefix::{Generator, Rounding};

use super::doctor::DoctorAction;
use super::{Dialog, Tab};
use crate::figure::ImageFormat;
use crate::model::sweep::Range;
use crate::model::{
    Colouring, Envelope, ExportForm, Figure, FindMode, Format, InitChoice, KindChoice, Language, MagnitudeUnit, Mapped,
    Mapping, NormChoice, RunKind, Sampling, SearchForm, Target, Theme,
};

/// An action of the user.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    // The prefix.
    /// In the current unit; 0 is the stop. Values outside the slider's range are accepted.
    SetMagnitude(f64),
    /// Multiplies the magnitude (keys and the - / + buttons): 1.02, 1/1.02, 1.2, ...
    ScaleMagnitude(f64),
    /// Resets the magnitude to 1x of a token norm, or to its raw value: see [`Workbench::raw_of_one_norm`](super::Workbench::raw_of_one_norm).
    ResetMagnitude,
    SetMagnitudeUnit(MagnitudeUnit),
    SetUnscaled(bool),
    SetLen(usize),
    SetKind(KindChoice),
    SetSeed(u64),
    SetRounding(Rounding),
    SetWords(String),
    /// Material of prefixes, and prefix files.
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
    /// Runs the prompt with the prefix, and the baseline if there is none for this prompt and model.
    Run,
    Stop,
    RerunBaseline,
    /// Runs the current prefix at the magnitudes of the curve that have no run yet; stops that if it is running.
    FillCurve,
    /// Sets whether the curve is filled automatically when the user pauses.
    SetFillCurve(bool),
    /// Sets whether modules on the local network are searched.
    SetDiscover(bool),

    // The module.
    Connect(Target),
    Reconnect,
    /// Exits the listed left-over tasks, to which the user agreed, then connects again.
    ExitLeftOverTasks,
    /// Downloads a model of the catalogue, then starts the embedded module with it.
    FetchModel(String),
    CancelFetch,
    /// Selects a model file for the embedded module.
    ChooseModelFile,

    // Runs and outputs.
    /// Shows a run's text and diff again; `None` returns to the last one.
    SelectRun(Option<String>),
    /// Sets the controls to those of a run.
    AdoptRun(String),
    /// Removes the point of a run: the run, and earlier ones with the same prefix and output.
    RemoveRun(String),
    /// Restores the runs that were removed last, as long as the notice of it is shown.
    RestoreRuns,
    /// Shows these runs in the plot, of whichever prompts; none shows those of the prompt again.
    PlotRuns(Vec<String>),
    /// Removes the points of the shown prompt; nothing while the plot shows chosen runs.
    ClearRuns,
    /// Shows this run in the left pane, in the baseline's place, so that others are compared with it; `None` shows the baseline again.
    Pin(Option<String>),
    /// Gives a run of Tune or Sweep these stars and this note, in place of those that it has.
    Rate(String, Rating),
    SetMeasure(Measure),
    NextMeasure,
    SetGranularity(Granularity),
    ToggleGranularity,
    /// Goes to the next or previous difference of the shown texts, wrapping around.
    StepDifference(isize),
    /// Shows the runs of the session as a table instead of the plot.
    ShowRuns(bool),
    /// Sets what the colours of the baseline's text show.
    SetColouring(Colouring),
    ToggleKl,
    CopyText(RunKind),
    CopySha256,

    // Files.
    /// Saves a plot in this format and for this background.
    SaveFigure(Box<Figure>, ImageFormat, Paper),
    /// Asks where to export the session of tuning or the sweep in this format.
    Export(Format),
    /// Starts a new session of tuning.
    NewSession,
    Open,
    /// Opens this file without a dialog (command line, dropped file).
    OpenPath(PathBuf),
    /// Opens the example experiment that is part of the program.
    OpenExample,

    /// Sweeps and their history.
    Sweep(SweepAction),
    Find(FindAction),

    /// Starts a recording, or ends it and asks where to save it.
    ToggleRecording,
    Playback(PlaybackAction),
    Exhibit(ExhibitionAction),
    /// Control by other programs.
    External(ExternalAction),

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
    /// Opens or closes the menu of settings.
    ShowSettings(bool),
    /// Enters or leaves the Presenter.
    Present(bool),
    /// Shows or hides the advanced part of the prefix panel.
    SetAdvanced(bool),
    /// Height of the texts of a view, in points; `None` for automatic.
    SetTextsHeight(Tab, Option<f32>),
    /// Shows the texts without the plot, or with it again.
    ToggleTextsAlone,
    ShowDialog(Dialog),
    CloseDialog,
    /// The path typed where the system has no file dialog.
    AnswerPath(PathBuf),
    DismissNotice,
    /// Opens a page in the browser, at the user's request only.
    OpenPage(String),
    Quit,
}

/// An action on the material of a prefix: what its rows are made of.
#[derive(Debug, Clone, PartialEq)]
pub enum MaterialAction {
    SetGenerator(Generator),
    SetBlendFrom(String),
    SetBlendTo(String),
    /// Position of the blend, 0 to 1.
    SetBlend(f64),
    SetContrast(String),
    SetContrastMinus(String),
    SetEnvelope(Envelope),
    /// Asks for a prefix file.
    ChooseFile,
    /// Imports this file without a dialog (dropped file).
    Import(PathBuf),
    /// Puts the rows of the imported prefix in the place of the blend's first text, or takes them out.
    SetBlendFromRows(bool),
    /// The same for the blend's second text.
    SetBlendToRows(bool),
    /// Asks where to export the current prefix.
    Export(ExportForm),
}

/// An action in the Sweep view.
#[derive(Debug, Clone, PartialEq)]
pub enum SweepAction {
    // What is to be run.
    /// Adds the prompt of the Tune view.
    AddCurrentPrompt,
    /// Index into [`crate::model::PRESETS`].
    AddPreset(usize),
    RemovePrompt(usize),
    ShowPrompt(usize),
    /// Every P.
    SetLengths(Vec<usize>),
    /// As typed; a list for [`crate::model::magnitudes::parse`].
    SetMagnitudes(String),
    SetUnit(MagnitudeUnit),
    SetRounding(Rounding),
    /// Sets the magnitudes of a ready-made list.
    ApplyRange(Range),
    SetRepeats(usize),
    /// A second module for the same plan; empty for none. An invalid address is ignored.
    SetSecondModule(String),
    /// The model of the second module, if it does not have the first one's.
    SetSecondModel(String),
    /// Whether every case is scored.
    SetScored(bool),

    // Running.
    Start,
    Pause,
    Unpause,
    /// Ends the run; its missing cases can be run later.
    Cancel,
    /// Runs the missing cases of the shown experiment.
    ResumeExperiment,
    SetThresholdMeasure(Measure),
    SetThresholdMinimum(f64),
    /// Searches the largest magnitude at which the measure keeps its minimum, for this P, on the shown prompt.
    FindThreshold(usize),
    DismissMessage,

    // Looking.
    /// Selects a record.
    Select(Option<String>),
    /// Pins the selected record, so that others are compared with it.
    Pin,
    Unpin,
    Swap,

    // The history.
    /// Shows an experiment, and its settings in the fields.
    Show(String),
    /// Sets the fields from its settings, without showing it.
    CloneSettings(String),
    /// Runs the same plan again, as a new experiment; also on the second module of the fields, if there is one.
    RunAgain(String),
    Rename(String, String),
    Delete(String),
    UndoDelete,
    /// Searches all prompts and outputs for these words.
    SearchHistory(String),
}

impl SweepAction {
    /// Returns whether the action has no effect while a sweep runs.
    pub(super) fn needs_idle(&self) -> bool {
        match self {
            Self::AddCurrentPrompt
            | Self::AddPreset(_)
            | Self::RemovePrompt(_)
            | Self::SetLengths(_)
            | Self::SetMagnitudes(_)
            | Self::SetUnit(_)
            | Self::SetRounding(_)
            | Self::ApplyRange(_)
            | Self::SetRepeats(_)
            | Self::SetSecondModule(_)
            | Self::SetSecondModel(_)
            | Self::SetScored(_)
            | Self::SetThresholdMeasure(_)
            | Self::SetThresholdMinimum(_)
            | Self::Start
            | Self::ResumeExperiment
            | Self::FindThreshold(_)
            | Self::CloneSettings(_)
            | Self::RunAgain(_) => true,
            Self::ShowPrompt(_)
            | Self::Pause
            | Self::Unpause
            | Self::Cancel
            | Self::DismissMessage
            | Self::Select(_)
            | Self::Pin
            | Self::Unpin
            | Self::Swap
            | Self::Show(_)
            | Self::Rename(..)
            | Self::Delete(_)
            | Self::UndoDelete
            | Self::SearchHistory(_) => false,
        }
    }
}

/// An action of the Find view.
#[derive(Debug, Clone, PartialEq)]
pub enum FindAction {
    /// Sets the prompt of the shown example.
    SetPrompt(String),
    /// Sets the target of the shown example.
    SetTarget(String),
    /// Shows the example of this index.
    ShowExample(usize),
    /// Adds an example with the shown one's prompt.
    AddExample,
    /// Removes the shown example.
    RemoveExample,
    /// Asks for a file of examples, which replaces all.
    OpenExamples,
    /// Sets the number of held-out examples.
    SetHeldOut(usize),
    /// Sets the instruction to compare with.
    SetInstruction(String),
    /// Sets the number of rows.
    SetLen(usize),
    /// Sets the initial rows.
    SetInit(InitChoice),
    /// Sets the words of the initial rows.
    SetWords(String),
    /// Sets the limit of the rows' norms.
    SetNorm(NormChoice),
    /// Sets whether the answers to other prompts are preserved.
    SetPreserve(bool),
    /// Sets the maximum number of steps.
    SetSteps(usize),
    /// Sets the seed.
    SetSeed(u64),
    /// Changes the mode.
    SetMode(FindMode),
    /// Sets the fields of Choose and Search.
    SetSearch(SearchForm),
    /// Starts the work of the current mode.
    Start,
    /// Continues the shown search, which was interrupted.
    ResumeSearch,
    /// Stops the work of the current mode.
    Stop,
    /// Chooses the candidate of this index; the next generation follows.
    Pick(usize),
    /// Opens the generation of this number (from 1) again.
    StepBack(u64),
    /// Takes the best rows so far into Tune.
    UseInTune,
    /// Asks where to export the best rows.
    Export(ExportForm),
    /// Hides the message of a failure.
    DismissProblem,
}

/// An action on the playback of a recording.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PlaybackAction {
    /// Asks for a file.
    Open,
    /// Plays the built-in recording.
    Demo,
    /// Plays or pauses; at the end, plays from the beginning.
    Toggle,
    /// Seeks to this time.
    Seek(Duration),
    /// Seeks by steps of five seconds.
    Step(i32),
    NextSpeed,
    ToggleLoop,
    /// Shows the Presenter without full screen.
    Large,
    /// Returns to the user's own work.
    Leave,
}

/// An action on the exhibition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExhibitionAction {
    /// Starts or ends it.
    Toggle,
    /// The user touched the controls.
    Touched,
}

/// An action on the control by other programs.
#[derive(Debug, Clone, PartialEq)]
pub enum ExternalAction {
    /// The address to listen on; empty for none.
    SetListen(String),
    /// The address that gets the notifications; empty for none.
    SetSendTo(String),
    SetMapping(Mapped, Mapping),
    /// Opens the sockets of these addresses.
    Open,
    Close,
}
