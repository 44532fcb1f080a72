//! Plain values that the parts of the app share: what is edited, what a module is, what was run, what went wrong.
//! Nothing here blocks or depends on egui, sockets or files.

mod beginning;
mod discovery;
mod envelope;
mod export;
mod external;
pub mod find;
mod first_difference;
mod form;
pub mod magnitudes;
mod material;
mod module;
mod pane;
mod prefix_form;
mod problem;
mod runs;
mod scores;
pub mod search_form;
mod settings;
pub mod sweep;
pub mod typed;

pub use beginning::beginning;
pub use discovery::{FoundModule, ModuleAnswer, UsedModule};
pub use envelope::Envelope;
pub use export::{Export, Figure, Format};
pub use external::{
    Argument, Endpoint, ExternalCommand, ExternalError, ExternalSettings, ExternalState, LIVE_DELAY, MAX_LINE_LENGTH,
    Mapped, Mapping, Notification, ROOT, Received,
};
pub use find::{FoundPrefix, FoundRows, InitChoice, LearnForm, LearnUnavailable, NormChoice, Reproduced};
pub use first_difference::{FirstDifference, Unit};
pub use form::{Histogram, NextPrefix, PRESETS, Preset, PromptForm, Sampling, Unavailable, Vocabulary, WindowUse};
pub use material::{ExportForm, FileAbout, ImportedFile, Nearest, PrefixSheet, Refusal, RefusedFile, without_folders};
pub use module::{
    BackgroundFetch, ConnectStep, FetchProgress, LoadStage, ModelChoice, ModuleFacts, ModuleState, PreviousModule,
    Retry, Target,
};
pub use pane::{Pane, PaneState};
pub use prefix_form::{KindChoice, PrefixForm};
pub use problem::{Problem, ProblemKind};
pub use runs::{RunId, RunKind, Timings, finish_of};
pub use scores::{Colouring, KlUnavailable, Scores};
pub use search_form::{FindMode, RelativeToParent, SearchForm, SearchUnavailable};
pub use settings::{Remembered, Settings, Theme};
pub(crate) use softprefix_core::bilingual;
pub use softprefix_core::language::{Bilingual, Language};
pub use softprefix_core::prefix::MagnitudeUnit;
