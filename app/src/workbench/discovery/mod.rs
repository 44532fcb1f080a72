//! Modules on the local network.

mod apply;

use crate::model::{FoundModule, Problem};

/// Modules on the local network.
#[derive(Debug, Default)]
pub struct Discovery {
    /// In the order in which they were found.
    pub found: Vec<FoundModule>,
    /// Why the network cannot be searched.
    pub problem: Option<Problem>,
    is_searching: bool,
}

impl Discovery {
    pub fn is_searching(&self) -> bool {
        self.is_searching && self.problem.is_none()
    }
}
