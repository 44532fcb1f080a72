//! Plain values that the parts of the app share: what is edited, what a module is, what was run, what went wrong. Nothing here waits, and
//! nothing here knows egui, sockets or files.

mod envelope;
mod export;
mod form;
mod language;
mod material;
mod module;
mod pane;
mod prefix_form;
mod problem;
mod runs;
mod said;
mod scores;
mod settings;
pub mod sweep;

pub use envelope::Envelope;
pub use export::{Figure, Format};
pub use form::{
    Budget, BuiltPrefix, Histogram, PRESETS, PrefixCard, Preset, PromptForm, Sampling, TokenCount, Vocabulary, WhyNot,
};
pub use language::Language;
pub use material::{ExportForm, FileAbout, ImportedFile, Nearest, PrefixSheet, Refusal, RefusedFile, without_folders};
pub use module::{ConnectStep, FetchProgress, Kept, ModelChoice, ModuleFacts, ModuleState, Target};
pub use pane::{Finish, Origin, Pane, PaneState, Side, Timings};
pub use prefix_form::{KindChoice, MagnitudeUnit, PrefixForm, norm_per_raw};
pub use problem::{Problem, ProblemKind};
pub use runs::{Applied, BaselineRun, Case, CaseId, CaseKey, Noise, Run, RunId, RunOutcome, Snapshot};
pub use said::Said;
pub(crate) use said::said;
pub use scores::{Colouring, KlOff, Scores};
pub use settings::{Remembered, Settings, Theme};
