//! The state of the control by other programs.

mod apply;

use std::net::SocketAddr;

use crate::model::{ExternalCommand, ExternalError, ExternalState};

/// The state of the control by other programs.
#[derive(Debug, Default)]
pub struct External {
    pub link: Link,
    /// Number of packets or lines that were received.
    pub packets: u64,
    /// Number of those that were refused.
    pub refused: u64,
    /// Why the last of them was refused.
    pub why: Option<ExternalError>,
    /// The last command of each kind, latest first.
    pub last: Vec<ExternalCommand>,
    /// The sockets were opened and not closed since; the answer to an earlier request may be on its way.
    is_wanted: bool,
    /// A pipe is notified.
    piped: bool,
    notified: Notified,
}

/// The sockets.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Link {
    #[default]
    Off,
    Opening,
    Open {
        listen: Option<SocketAddr>,
        send_to: Option<SocketAddr>,
    },
}

/// What other programs were notified of last.
#[derive(Debug, Default)]
struct Notified {
    state: Option<ExternalState>,
    /// Id of the record whose text was sent.
    text: Option<String>,
    /// Id of the record whose similarity was sent.
    similarity: Option<String>,
}

impl External {
    pub fn is_on(&self) -> bool {
        self.link != Link::Off
    }

    /// Returns the state that was sent last.
    pub fn state(&self) -> Option<ExternalState> {
        self.notified.state
    }

    /// Returns whether notifications are sent to anything.
    fn has_listener(&self) -> bool {
        self.piped || matches!(self.link, Link::Open { send_to: Some(_), .. })
    }
}
