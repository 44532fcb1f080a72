//! One TCP connection: requests are queued for sending, and each reply goes to the request that it answers.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::error::ClientError;
use super::module::ConnectOptions;
use crate::protocol::message::UNREADABLE_REQUEST_ID;
use crate::protocol::{Code, FrameError, FrameReader, Reply, Request, encode};

/// Maximum length in bytes of the excerpt from what is not a StackFlow reply: enough to recognise HTTP or the greeting of an ssh server.
const GARBAGE_EXCERPT: usize = 60;
/// Bytes read from the socket at once: larger than a frame of a stream and than most replies.
const READ_BUFFER: usize = 64 << 10;

/// Whether replies that do not name a waiting request may belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An inference on a stock unit, which sends errors in its data under another request id (PROTOCOL 2.6).
    StockInference,
    /// Any other request. Our unit answers an inference under its own request id alone.
    Other,
}

struct Route {
    kind: Kind,
    /// The work id that a success must carry; `None` where it is not known beforehand (set-up).
    work_id: Option<String>,
    replies: mpsc::UnboundedSender<Reply>,
}

/// Requests that wait for replies. Once `closed` is set, it keeps the first reason.
struct Routes {
    waiting: HashMap<String, Route>,
    closed: Option<ClientError>,
}

/// An open connection. Dropping it closes the socket.
pub(super) struct Connection {
    address: String,
    id_stem: String,
    next_id: AtomicU64,
    outgoing: mpsc::UnboundedSender<Vec<u8>>,
    routes: Arc<Mutex<Routes>>,
    closed: watch::Receiver<bool>,
    reader: AbortHandle,
}

impl Connection {
    pub(super) async fn open(address: &str, options: &ConnectOptions) -> Result<Self, ClientError> {
        let limit = options.connect;
        let failed = |detail: String| ClientError::Connect {
            address: address.to_owned(),
            detail,
        };
        let stream = tokio::time::timeout(limit, TcpStream::connect(address))
            .await
            .map_err(|_| ClientError::ConnectTimedOut {
                address: address.to_owned(),
                seconds: limit.as_secs_f64(),
            })?
            .map_err(|error| failed(error.to_string()))?;
        // Without it, small frames wait for the peer's delayed acknowledgement.
        stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        let (reader, writer) = stream.into_split();
        let routes = Arc::new(Mutex::new(Routes {
            waiting: HashMap::new(),
            closed: None,
        }));
        let (outgoing, queue) = mpsc::unbounded_channel();
        if let Some(secret) = &options.secret {
            // Queued before any request, so that it is the first line that the unit reads.
            outgoing
                .send(secret.line())
                .map_err(|error| failed(error.to_string()))?;
        }
        let (closing, closed) = watch::channel(false);
        let id_stem = format!("sp{:08x}", RandomState::new().build_hasher().finish() as u32);
        let closer = Closer {
            address: address.to_owned(),
            routes: Arc::clone(&routes),
            closing,
        };
        let closer = Arc::new(closer);
        let reading = tokio::spawn(read(reader, options.max_message, id_stem.clone(), Arc::clone(&closer)));
        tokio::spawn(write(writer, queue, closer));
        Ok(Self {
            address: address.to_owned(),
            id_stem,
            next_id: AtomicU64::new(1),
            outgoing,
            routes,
            closed,
            reader: reading.abort_handle(),
        })
    }

    /// A request id that no other client on the module uses. It does not equal the name of a field of a message: llm-sys drops requests
    /// with such an id (PROTOCOL 1.4).
    pub(super) fn new_id(&self) -> String {
        format!("{}-{}", self.id_stem, self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Sends a request and registers for its replies.
    pub(super) fn ask(&self, request: &Request, kind: Kind, work_id: Option<&str>) -> Result<Ticket, ClientError> {
        let (sender, replies) = mpsc::unbounded_channel();
        {
            let mut routes = lock(&self.routes);
            if let Some(error) = &routes.closed {
                return Err(error.clone());
            }
            let route = Route {
                kind,
                work_id: work_id.map(str::to_owned),
                replies: sender,
            };
            routes.waiting.insert(request.request_id.clone(), route);
        }
        let ticket = Ticket {
            request_id: request.request_id.clone(),
            replies,
            routes: Arc::clone(&self.routes),
        };
        self.send(request)?;
        Ok(ticket)
    }

    /// Sends a request without registering for its reply.
    pub(super) fn send(&self, request: &Request) -> Result<(), ClientError> {
        self.outgoing.send(encode(request)).map_err(|_| self.why_closed())
    }

    /// The reason for which the connection is closed; a general one while it is open.
    pub(super) fn why_closed(&self) -> ClientError {
        why_closed(&self.routes).unwrap_or_else(|| ClientError::ConnectionLost {
            address: self.address.clone(),
            detail: "it is closing".to_owned(),
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Returns once the connection is closed, with the reason.
    pub(super) async fn wait_closed(&self) -> ClientError {
        let mut closed = self.closed.clone();
        // An error means that the closer is dropped, which closes the connection, too.
        let _ = closed.wait_for(|closed| *closed).await;
        self.why_closed()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The writing task first sends what is queued (such as an `exit`), then closes the socket. With it ends the last use of the closer,
        // which ends the requests that still wait.
        self.reader.abort();
    }
}

/// The registration of one request. Dropping it ends the registration; later replies are ignored.
pub(super) struct Ticket {
    pub(super) request_id: String,
    replies: mpsc::UnboundedReceiver<Reply>,
    routes: Arc<Mutex<Routes>>,
}

impl Ticket {
    /// The next reply.
    ///
    /// # Errors
    /// The reason for which the connection was closed.
    pub(super) async fn next(&mut self) -> Result<Reply, ClientError> {
        match self.replies.recv().await {
            Some(reply) => Ok(reply),
            // Only the closer ends the replies, after it has set the reason.
            None => Err(why_closed(&self.routes).unwrap_or_else(|| ClientError::ConnectionLost {
                address: "the module".to_owned(),
                detail: "it was closed".to_owned(),
            })),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        lock(&self.routes).waiting.remove(&self.request_id);
    }
}

/// Closes the connection and ends all waiting requests with one reason, at the latest when it is dropped.
struct Closer {
    address: String,
    routes: Arc<Mutex<Routes>>,
    closing: watch::Sender<bool>,
}

impl Closer {
    fn lost(&self, detail: impl Into<String>) -> ClientError {
        ClientError::ConnectionLost {
            address: self.address.clone(),
            detail: detail.into(),
        }
    }

    fn garbage(&self, bytes: &[u8]) -> ClientError {
        let excerpt = String::from_utf8_lossy(&bytes[..bytes.len().min(GARBAGE_EXCERPT)]).into_owned();
        ClientError::Garbage {
            address: self.address.clone(),
            excerpt,
        }
    }

    fn close(&self, reason: ClientError) {
        let mut routes = lock(&self.routes);
        if routes.closed.is_none() {
            tracing::debug!(address = %self.address, %reason, "connection closed");
            routes.closed = Some(reason);
        }
        routes.waiting.clear();
        drop(routes);
        self.closing.send_replace(true);
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.close(self.lost("it was closed"));
    }
}

async fn write(mut writer: OwnedWriteHalf, mut queue: mpsc::UnboundedReceiver<Vec<u8>>, closer: Arc<Closer>) {
    let mut closing = closer.closing.subscribe();
    loop {
        let message = tokio::select! {
            message = queue.recv() => message,
            _ = closing.wait_for(|closed| *closed) => None,
        };
        let Some(message) = message else {
            // All senders are dropped, or the reading task closed the connection. The socket is closed next, so a
            // failure changes nothing.
            let _ = writer.shutdown().await;
            return;
        };
        if let Err(error) = writer.write_all(&message).await {
            closer.close(closer.lost(error.to_string()));
            return;
        }
    }
}

async fn read(mut reader: OwnedReadHalf, max_message: usize, id_stem: String, closer: Arc<Closer>) {
    let mut frames = FrameReader::new(max_message);
    let mut buffer = vec![0; READ_BUFFER];
    let reason = 'reading: loop {
        match reader.read(&mut buffer).await {
            Ok(0) => break closer.lost("the module closed it"),
            Ok(length) => frames.push(&buffer[..length]),
            Err(error) => break closer.lost(error.to_string()),
        }
        loop {
            match frames.next() {
                Ok(None) => break,
                // A stock unit may cut a character between two frames, which leaves bytes that are not UTF-8; the rest
                // of the reply is usable.
                Ok(Some(frame)) => match serde_json::from_str::<Reply>(&String::from_utf8_lossy(&frame)) {
                    Ok(reply) => deliver(&closer.routes, reply, &id_stem),
                    Err(_) => break 'reading closer.garbage(&frame),
                },
                Err(FrameError::Garbage { excerpt }) => {
                    break 'reading closer.garbage(excerpt.as_bytes());
                }
                Err(FrameError::Unbalanced) => break 'reading closer.garbage(b"}"),
                Err(error @ FrameError::TooLarge { .. }) => break 'reading closer.lost(error.to_string()),
            }
        }
    };
    closer.close(reason);
}

/// Routes a reply to the request with the same request id and work id. The work id of an error is not compared, since it may be another
/// one (`llm`, even `kws`). For an error with the id of no waiting request, see [`route_of_stray_error`].
fn deliver(routes: &Mutex<Routes>, reply: Reply, id_stem: &str) {
    let routes = lock(routes);
    let failed = !reply.error.code.is_ok();
    let route = match routes.waiting.get(&reply.request_id) {
        Some(route) if failed || route.work_id.as_ref().is_none_or(|work_id| *work_id == reply.work_id) => Some(route),
        Some(_) => None,
        None if failed => route_of_stray_error(&routes, &reply, id_stem),
        None => None,
    };
    match route {
        // Fails if the request was just dropped; then the reply is not needed.
        Some(route) => drop(route.replies.send(reply)),
        None => {
            tracing::debug!(request_id = %reply.request_id, work_id = %reply.work_id, "a late reply, or one to another client's request, was ignored")
        }
    }
}

/// Returns the only waiting request that an error can belong to whose request id is not the request's; `None` if there are several.
///
/// * The data of an inference is unusable: a stock unit then answers with the id of the latest call to it, such as a set-up, by whichever
///   client (PROTOCOL 2.6). If that call was this client's, so may be the inference.
/// * llm-sys could not read the request, and so not its id.
fn route_of_stray_error<'a>(routes: &'a Routes, reply: &Reply, id_stem: &str) -> Option<&'a Route> {
    let of_inference = [Code::MODEL_RUN, Code::BASE64, Code::STREAM_INDEX].contains(&reply.error.code)
        && reply.request_id.starts_with(id_stem);
    let unreadable = [Code::RESET, Code::JSON].contains(&reply.error.code) && reply.request_id == UNREADABLE_REQUEST_ID;
    let mut candidates = routes
        .waiting
        .values()
        .filter(|route| unreadable || (of_inference && route.kind == Kind::StockInference));
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

fn why_closed(routes: &Mutex<Routes>) -> Option<ClientError> {
    lock(routes).closed.clone()
}

/// No code panics while it holds this lock, so the guarded value is consistent even if the mutex is poisoned.
fn lock(routes: &Mutex<Routes>) -> MutexGuard<'_, Routes> {
    routes.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_request_that_waits_ends_when_its_connection_is_dropped() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connection = Connection::open(&address, &ConnectOptions::default()).await.unwrap();
        let request = Request::new(connection.new_id(), "llm.1000", "taskinfo");
        let mut ticket = connection.ask(&request, Kind::Other, None).unwrap();
        drop(connection);
        let reply = tokio::time::timeout(Duration::from_secs(60), ticket.next()).await;
        let ended = reply.expect("the request waits for ever");
        assert!(matches!(ended, Err(ClientError::ConnectionLost { address: lost, .. }) if lost == address));
    }
}
