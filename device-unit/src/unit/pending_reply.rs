//! A reply that is sent whatever happens: a panic while a request is handled sends an error.

use serde_json::Value;
use softprefix_core::protocol::{Code, ErrorField, Reply};

use super::peer::Peer;

/// The last reply to a request. If it is dropped before it was sent, for example by a panic, it is an error.
pub struct PendingReply {
    peer: Peer,
    request_id: String,
    work_id: String,
    sent: bool,
}

impl PendingReply {
    pub fn new(peer: &Peer, request_id: &str, work_id: &str) -> Self {
        Self {
            peer: peer.clone(),
            request_id: request_id.to_owned(),
            work_id: work_id.to_owned(),
            sent: false,
        }
    }

    /// Returns the client that waits for it.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Whether the client has disconnected.
    pub fn is_closed(&self) -> bool {
        self.peer.sink().is_closed()
    }

    /// Sends data, as the last reply or as one before it.
    pub fn send(&mut self, object: &str, data: Value, last: bool) {
        self.sent |= last;
        let reply = Reply::data(self.request_id.clone(), self.work_id.clone(), object, data);
        self.peer.reply(&reply);
    }

    /// Sends an error as the last reply.
    pub fn fail(mut self, error: ErrorField) {
        self.send_error(error);
    }

    fn send_error(&mut self, error: ErrorField) {
        self.sent = true;
        let reply = Reply::error(self.request_id.clone(), self.work_id.clone(), error);
        self.peer.reply(&reply);
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        if !self.sent {
            self.send_error(unexpected());
        }
    }
}

/// Returns the error of a request that was dropped.
pub fn unexpected() -> ErrorField {
    let stock = Code::MODEL_RUN.stock_message().unwrap_or_default();
    ErrorField::new(
        Code::MODEL_RUN,
        format!("{stock} The unit failed unexpectedly; see its log."),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::unit::ReplySink;

    #[derive(Default)]
    struct Received(Mutex<Vec<Value>>);

    impl ReplySink for Received {
        fn send(&self, message: Vec<u8>) {
            self.0.lock().unwrap().push(serde_json::from_slice(&message).unwrap());
        }
    }

    #[test]
    fn a_request_that_is_dropped_by_a_panic_gets_one_error_reply() {
        let received = Arc::new(Received::default());
        let peer = Peer::new("client", received.clone());
        let reply = PendingReply::new(&peer, "q", "llm.1000");
        let failed = catch_unwind(AssertUnwindSafe(|| {
            let _reply = reply;
            panic!("while the reply is prepared");
        }));
        assert!(failed.is_err());
        let mut reply = PendingReply::new(&peer, "r", "llm.1000");
        reply.send("softprefix.learn", Value::from(1), false);
        reply.send("softprefix.learn", Value::from(2), true);
        drop(reply);
        let received = received.0.lock().unwrap();
        let of = |id: &str| received.iter().filter(|sent| sent["request_id"] == id).count();
        assert_eq!((of("q"), of("r")), (1, 2));
        assert_eq!(received[0]["error"]["code"], Code::MODEL_RUN.0);
    }
}
