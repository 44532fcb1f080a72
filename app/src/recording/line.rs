//! The events of a recording.

use std::sync::Arc;

use softprefix_core::compare::{Granularity, Measure};
use softprefix_core::experiment::{Answer, GroupKey, PrefixIdentity, Record};
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
    /// Another session is shown, without runs until they are added.
    Session,
    /// Finished runs are added to the session: those from before they were shown, or of a curve.
    Case {
        /// Their prompt, settings and module. `None` in a file of an earlier version: those of the fields, which are shown from now on.
        group: Option<Box<GroupKey>>,
        records: Vec<Record>,
    },
    /// The runs of this prompt, settings and module are shown from now on.
    Group(Box<GroupKey>),
    /// A run of the fields starts, and the runs of their group are shown.
    Run(RunKind),
    Began(RunKind, Option<Box<PrefixIdentity>>),
    Text(RunKind, String),
    Ended(RunKind, Box<Answer>),
    Failed(RunKind, Problem),
    Dropped(RunKind),
    /// Index of the opened point among those of the shown group; `None` for the last. Its key in the file is `look`.
    Opened(Option<usize>),
    Remove(usize),
    Clear,
    /// What other programs sent, before it was applied.
    External(Vec<ExternalCommand>),
    /// The recording was ended.
    Over,
}
