//! Experiments: plans, runs, records, the journal that keeps them, their analysis and their exports.
//!
//! A [`Plan`] unfolds into [`Case`]s. A [`Run`] executes them in a [`Session`] and appends a [`Record`] of each to the [`Journal`].
//! [`Analysis`] compares the records; plots, tables and exports read them through it.

pub mod analysis;
pub mod drawing;
pub mod export;
pub mod generation;
pub mod html;
mod html_cards;
mod html_charts;
mod html_text;
pub mod journal;
pub mod label;
pub mod learning;
pub mod library;
pub mod plan;
pub mod rating;
pub mod record;
pub mod runner;
pub mod saved;
pub mod scores;
pub mod session;
pub mod svg;
pub mod threshold;
pub mod words;

pub use analysis::{
    Analysis, Baseline, Comparison, Extent, Group, GroupKey, MeasuredText, Point, Proof, Series, Spread, axis_unit,
    over_prompts,
};
pub use generation::{Candidate, Generation};
pub use journal::{Condition, Ending, Entry, Experiment, Journal, JournalError, SharedJournal};
pub use label::{LabelWords, shortest_distinct};
pub use learning::{LearnPlan, Learning};
pub use library::{Library, Listing, Opened, Summary};
pub use plan::{Case, Magnitudes, Plan, PlanError, Prompt, SCRIPT_VALUES, Settings, Sweep, Values};
pub use rating::{Rating, Stars};
pub use record::{Answer, Applied, CaseOutcome, Failure, ModuleIdentity, PrefixIdentity, Record, WRITTEN_BY, new_id};
pub use runner::{
    Canary, CanaryFinding, PrefixSearchError, PrefixSearchRequest, Run, RunEnd, RunError, RunEvent, RunOptions,
    RunProgress, RunRequest, SaveTo, ThresholdRequest,
};
pub use saved::{SavedExperiment, experiments};
pub use scores::CaseScores;
pub use session::{ModuleFacts, Session, SessionError};
pub use threshold::{Crossing, SimilarityLimit, ThresholdError, ThresholdResult, ThresholdSearch};
