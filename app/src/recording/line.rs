//! One thing that happened at the workbench, as its own types say it.

use std::sync::Arc;

use softprefix_core::compare::{Granularity, Measure};

use crate::model::{
    BuiltPrefix, ModuleFacts, PrefixForm, Problem, PromptForm, RunOutcome, Side, Snapshot, TokenCount, Vocabulary,
};

/// One thing that happened. Runs have no names: a side has at most one, and what came of replaced ones is not recorded.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    Module {
        facts: Box<ModuleFacts>,
        vocabulary: Option<Arc<Vocabulary>>,
    },
    Lost(Problem),
    /// The whole form, as it is from now on.
    Prefix(Box<PrefixForm>),
    Prompt(Box<PromptForm>),
    View {
        measure: Measure,
        granularity: Granularity,
    },
    Count(TokenCount),
    /// A case with its baseline and its runs is there from now on, and shown.
    Case(Box<Snapshot>),
    /// A run of the case of the controls begins.
    Run(Side),
    Began(Side, Option<Box<BuiltPrefix>>),
    Text(Side, String),
    Ended(Side, Box<RunOutcome>),
    Failed(Side, Problem),
    Dropped(Side),
    /// The place of a point among those of the shown case.
    Look(Option<usize>),
    Remove(usize),
    Clear,
    /// The recording was ended.
    Over,
}
