//! Everything a person can do, as data: what views send and [`super::Workbench::apply`] carries out.
//!
//! It knows no widget; an action carries what was chosen, never where.

use softprefix_core::compare::{Granularity, Measure};
use softprefix_core::prefix::Rounding;

use super::material::MaterialAction;
use crate::model::{KindChoice, Language, MagnitudeUnit, RunId, Sampling, Side, Target, Theme};

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

    // Running.
    SetLive(bool),
    ToggleLive,
    /// The prefixed side, and the baseline where none stands for this prompt and model.
    Run,
    Stop,
    RerunBaseline,

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
    SelectRun(Option<RunId>),
    /// Sets the controls to what a run was made with.
    AdoptRun(RunId),
    RemoveRun(RunId),
    ClearRuns,
    SetMeasure(Measure),
    NextMeasure,
    SetGranularity(Granularity),
    ToggleGranularity,
    /// What the baseline's text is coloured by.
    SetColouring(crate::model::Colouring),
    ToggleKl,
    CopyText(Side),
    CopySha256,

    // Files.
    /// A plot, in this form and for this paper.
    SaveFigure(
        Box<super::Figure>,
        crate::figure::Form,
        softprefix_core::experiment::drawing::Paper,
    ),
    Save,
    SaveAs,
    Open,
    /// Opens this file without asking (command line, drop on the window).
    OpenPath(std::path::PathBuf),

    /// Sweeps and their history.
    Sweep(super::sweep::SweepAction),

    /// Begins a recording, or ends it and asks where to keep it.
    ToggleRecording,
    Playback(super::playback::PlaybackAction),
    Exhibit(super::exhibition::ExhibitionAction),

    // The window.
    ShowTab(super::Tab),
    Doctor(super::doctor::DoctorAction),
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
    ShowDialog(super::Dialog),
    CloseDialog,
    DismissNotice,
    Quit,
}
