//! The events of a recording.

use std::sync::Arc;

use softprefix_core::compare::{Granularity, Measure};
use softprefix_core::experiment::{Answer, PrefixIdentity, Record};
use softprefix_core::protocol::extension::TokenCounts;

use crate::model::{ExternalCommand, ModuleFacts, PrefixForm, Problem, PromptForm, RunKind, Vocabulary};

/// One event. Runs have no ids: there is at most one of each kind, and results of replaced runs are not recorded.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    Module {
        facts: Box<ModuleFacts>,
        vocabulary: Option<Arc<Vocabulary>>,
    },
    Lost(Problem),
    /// The whole form after the change.
    Prefix(Box<PrefixForm>),
    Prompt(Box<PromptForm>),
    View {
        measure: Measure,
        granularity: Granularity,
    },
    Count(TokenCounts),
    /// A baseline and its runs, which are shown from now on.
    Case(Vec<Record>),
    /// A run of the current case starts.
    Run(RunKind),
    Began(RunKind, Option<Box<PrefixIdentity>>),
    Text(RunKind, String),
    Ended(RunKind, Box<Answer>),
    Failed(RunKind, Problem),
    Dropped(RunKind),
    /// Index of the opened point among those of the shown case.
    Opened(Option<usize>),
    Remove(usize),
    Clear,
    /// What other programs sent, before it was applied.
    External(Vec<ExternalCommand>),
    /// The recording was ended.
    Over,
}
