//! Requests for the control by other programs over OSC, and their events.

use std::net::SocketAddr;

use crate::model::{Endpoint, Notification, Problem, Received};

/// Requests from the workbench.
#[derive(Debug, Clone, PartialEq)]
pub enum ExternalRequest {
    /// Listen for commands, and send notifications to `send_to` and nowhere else. Replaces what was open before.
    Open {
        listen: Option<Endpoint>,
        send_to: Option<Endpoint>,
    },
    Close,
    /// Send this notification, if there is an address to send to.
    Notify(Notification),
}

/// Events from the bridge.
#[derive(Debug)]
pub enum ExternalEvent {
    Opened {
        listen: Option<SocketAddr>,
        send_to: Option<SocketAddr>,
    },
    /// Nothing is open, for this reason.
    Refused(Problem),
    /// At most one every [`LIVE_DELAY`](crate::model::LIVE_DELAY).
    Received(Received),
    /// Notifications cannot be sent. Sent once, until one can be sent again.
    NotSent(Problem),
}
