//! Experiments that can be trusted: what is to be asked, what was asked and answered, and the file that keeps it. It knows modules
//! only through the client, and no window.

pub mod analysis;
pub mod drawing;
pub mod export;
pub mod html;
mod html_cards;
pub mod journal;
pub mod plan;
pub mod record;
pub mod runner;
pub mod scores;
pub mod svg;
pub mod threshold;

pub use analysis::{Analysis, Baseline, Extent, Group, Point, Proof, Series};
pub use journal::{Condition, Ending, Entry, Experiment, History, Journal, JournalError, Past};
pub use plan::{Case, Magnitudes, Plan, PlanError, Prompt, SCRIPT_VALUES, Settings, Sweep, Values};
pub use record::{Answer, Applied, Failure, ModuleIdentity, Outcome, PrefixIdentity, Record};
pub use runner::{
    Canary, CanaryFinding, Progress, Run, RunEnd, RunEvent, RunOptions, RunRequest, SearchRequest, SharedJournal,
};
pub use scores::CaseScores;
pub use threshold::{Budget, Crossing, Threshold, ThresholdError, ThresholdSearch, told_apart};
