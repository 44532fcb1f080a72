//! Requests to find modules on the local network, and their events.

use crate::model::{FoundModule, Problem};

/// Requests from the workbench.
#[derive(Debug, Clone, PartialEq)]
pub enum DiscoveryRequest {
    /// Search until stopped, and also ask the modules at these addresses.
    Start {
        known: Vec<String>,
    },
    Stop,
}

/// Events from the bridge.
#[derive(Debug)]
pub enum DiscoveryEvent {
    /// A module was found, or has answered.
    Found(FoundModule),
    /// The network cannot be searched.
    Failed(Problem),
}
