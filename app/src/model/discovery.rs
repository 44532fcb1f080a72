//! Modules that are found on the local network, and those that were used before.

use serde::{Deserialize, Serialize};

use super::Problem;

/// A module that was found, or whose address is known.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundModule {
    /// `host:port`.
    pub address: String,
    /// The name under which it was found; empty if only its address is known.
    pub name: String,
    pub answer: ModuleAnswer,
}

/// What a module says that it is.
#[derive(Debug, Clone, PartialEq)]
pub enum ModuleAnswer {
    /// It was not answered yet.
    Pending,
    Module {
        /// Its first language model; `None` if it has none.
        model: Option<String>,
        /// Whether it runs our unit.
        ours: bool,
    },
    Problem(Problem),
}

/// A module that was used, as it was then.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UsedModule {
    /// `host:port`.
    pub address: String,
    pub model: String,
    /// Whether it ran our unit.
    pub ours: bool,
}

impl UsedModule {
    /// Number of modules that are stored.
    pub const MAX: usize = 8;
}
