//! One thing that happened at the workbench, as its own types say it.

use std::sync::Arc;

use softprefix_core::compare::{Granularity, Measure};
use softprefix_core::experiment::{Answer, PrefixIdentity, Record};
use softprefix_core::protocol::extension::Budget;

use crate::model::{ModuleFacts, PrefixForm, Problem, PromptForm, Side, Vocabulary};

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
    Count(Budget),
    /// A baseline and its runs are there from now on, and shown.
    Case(Vec<Record>),
    /// A run of the case of the controls begins.
    Run(Side),
    Began(Side, Option<Box<PrefixIdentity>>),
    Text(Side, String),
    Ended(Side, Box<Answer>),
    Failed(Side, Problem),
    Dropped(Side),
    /// The place of a point among those of the shown case.
    Look(Option<usize>),
    Remove(usize),
    Clear,
    /// The recording was ended.
    Over,
}
