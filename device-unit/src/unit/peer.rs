//! A client as the unit sees it: its name, and the [`ReplySink`] of its transport.
//!
//! A *reply* is one JSON object, and a *message* its bytes: one line without braces in strings (1.3 and 1.6 of
//! core/src/protocol/PROTOCOL.md). The *answer* to a streamed inference is a sequence of replies with a part of the text each, its
//! *frames*. Its number, which the methods take as `answer`, is the one of the inference.

use std::sync::Arc;

use softprefix_core::protocol::{Reply, frame};

/// Receives encoded replies for one client. Methods must not block.
pub trait ReplySink: Send + Sync {
    /// Queues one message, which includes its line end. Messages to a disconnected client are dropped.
    fn send(&self, message: Vec<u8>);

    /// Queues one frame of the answer with this number. Some clients take everything they read at once for one message, so successive
    /// frames of an answer are sent a few milliseconds apart, as on the stock module. Frames of different answers do not wait for each
    /// other.
    fn send_frame(&self, message: Vec<u8>, _answer: u64) {
        self.send(message);
    }

    /// Returns `true` if a frame of the answer would be sent at once. Otherwise the text is kept for a larger frame.
    fn takes_frame(&self, _answer: u64) -> bool {
        self.has_room()
    }

    /// Returns `true` if the client's queue has room. If not, text is kept and sent later in one larger frame, and a report of progress is
    /// left out.
    fn has_room(&self) -> bool {
        true
    }

    /// Returns `true` if the client has disconnected.
    fn is_closed(&self) -> bool {
        false
    }
}

/// A client: a name that identifies its requests, and the sink for replies.
#[derive(Clone)]
pub struct Peer {
    name: Arc<str>,
    sink: Arc<dyn ReplySink>,
}

impl Peer {
    /// Creates a client from its name and the sink for its replies.
    pub fn new(name: impl Into<Arc<str>>, sink: Arc<dyn ReplySink>) -> Self {
        Self {
            name: name.into(),
            sink,
        }
    }

    /// Returns the client's name, which is unique among the connected clients.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Encodes and sends a reply.
    pub fn reply(&self, reply: &Reply) {
        self.sink.send(frame::encode(reply));
    }

    /// Returns the sink, for messages that are already encoded.
    #[must_use]
    pub fn sink(&self) -> &Arc<dyn ReplySink> {
        &self.sink
    }
}
