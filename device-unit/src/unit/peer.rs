//! Who asks, and where the answers go. It knows no transport: a transport brings its own [`ReplySink`].

use std::sync::Arc;

use softprefix_core::protocol::{Reply, frame};

/// Takes encoded replies towards one client. No call may wait.
pub trait ReplySink: Send + Sync {
    /// Takes one message, line end included. A message to somebody who has left is dropped.
    fn send(&self, message: Vec<u8>);

    /// Takes one frame of the answer with this number. Some clients take what they read at once for one message: its frames go out apart
    /// from each other, by a few milliseconds, as they do on the stock module.
    fn send_frame(&self, message: Vec<u8>, _answer: u64) {
        self.send(message);
    }

    /// Whether a frame of the answer would go out at once. While it would not, the answer keeps its text for a larger frame.
    fn takes_frame(&self, _answer: u64) -> bool {
        self.has_room()
    }

    /// Whether a message that could as well come later is welcome now. While it is not, an inference keeps its text and
    /// sends it in larger pieces.
    fn has_room(&self) -> bool {
        true
    }

    /// Whether the client has left for good.
    fn is_gone(&self) -> bool {
        false
    }
}

/// One client: a name by which its requests belong together, and the way back.
#[derive(Clone)]
pub struct Peer {
    name: Arc<str>,
    sink: Arc<dyn ReplySink>,
}

impl Peer {
    /// A client with its name and the sink for its replies.
    pub fn new(name: impl Into<Arc<str>>, sink: Arc<dyn ReplySink>) -> Self {
        Self {
            name: name.into(),
            sink,
        }
    }

    /// The client's name, unique among the connected ones.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Encodes and sends a reply.
    pub fn reply(&self, reply: &Reply) {
        self.sink.send(encode(reply));
    }

    /// The sink for messages that are encoded already.
    #[must_use]
    pub fn sink(&self) -> &Arc<dyn ReplySink> {
        &self.sink
    }
}

/// A reply as it goes out: one line of JSON with no brace in any string (PROTOCOL 1.3).
#[must_use]
pub fn encode(reply: &Reply) -> Vec<u8> {
    frame::encode(reply)
}
