//! One TCP connection: bytes out, replies in, each given to whoever asked. It knows framing and routing, and no actions.

use std::collections::{HashMap, VecDeque};
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

/// So many requests that were given up are remembered; a module that answers none of them must not fill the memory.
const GIVEN_UP: usize = 256;

/// What a waiting request is, for replies that do not name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Inference,
}

struct Route {
    kind: Kind,
    /// The work id that a success must carry; `None` where it is not known beforehand (set-up).
    work_id: Option<String>,
    replies: mpsc::UnboundedSender<Reply>,
}

/// Who waits for what. Closed for good by the first reason given.
struct Routes {
    waiting: HashMap<String, Route>,
    /// Requests that were given up before they were answered: what still comes for them is for nobody, and no stray error.
    given_up: VecDeque<String>,
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
        // Small frames must not wait for the peer's delayed acknowledgement.
        stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        let (reader, writer) = stream.into_split();
        let routes = Arc::new(Mutex::new(Routes {
            waiting: HashMap::new(),
            given_up: VecDeque::new(),
            closed: None,
        }));
        let (outgoing, queue) = mpsc::unbounded_channel();
        if let Some(secret) = &options.secret {
            // The queue's other end is here, so it is taken: the first bytes that the unit sees.
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

    /// A request id that no other client on the module uses and that is no field's name.
    pub(super) fn new_id(&self) -> String {
        format!("{}-{}", self.id_stem, self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Sends a request and opens the way for its replies.
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
            answered: false,
            routes: Arc::clone(&self.routes),
        };
        self.tell(request)?;
        Ok(ticket)
    }

    /// Sends a request whose reply nobody waits for.
    pub(super) fn tell(&self, request: &Request) -> Result<(), ClientError> {
        self.outgoing.send(encode(request)).map_err(|_| self.why_closed())
    }

    /// Why the connection is closed; a general answer while it is not.
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
        // An error means that both workers have ended, which is a closed connection too.
        let _ = closed.wait_for(|closed| *closed).await;
        self.why_closed()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The writer ends by itself once it has sent what is queued (an `exit`, for instance), and closes the socket.
        self.reader.abort();
    }
}

/// The way back for one request. Dropping it closes the way; later replies are a stranger's.
pub(super) struct Ticket {
    pub(super) request_id: String,
    replies: mpsc::UnboundedReceiver<Reply>,
    answered: bool,
    routes: Arc<Mutex<Routes>>,
}

impl Ticket {
    /// The next reply.
    ///
    /// # Errors
    /// Why the connection was closed.
    pub(super) async fn next(&mut self) -> Result<Reply, ClientError> {
        match self.replies.recv().await {
            Some(reply) => {
                self.answered = true;
                Ok(reply)
            }
            None => Err(why_closed(&self.routes).unwrap_or_else(|| ClientError::ConnectionLost {
                address: "the module".to_owned(),
                detail: "it is closing".to_owned(),
            })),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut routes = lock(&self.routes);
        routes.waiting.remove(&self.request_id);
        if !self.answered && self.replies.is_empty() {
            if routes.given_up.len() >= GIVEN_UP {
                routes.given_up.pop_front();
            }
            routes.given_up.push_back(std::mem::take(&mut self.request_id));
        }
    }
}

/// Ends the connection for everybody who waits, with one reason.
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
        let excerpt = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
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

async fn write(mut writer: OwnedWriteHalf, mut queue: mpsc::UnboundedReceiver<Vec<u8>>, closer: Arc<Closer>) {
    let mut closing = closer.closing.subscribe();
    loop {
        let message = tokio::select! {
            message = queue.recv() => message,
            _ = closing.wait_for(|closed| *closed) => None,
        };
        let Some(message) = message else {
            // Nobody is left to send anything, or the reader gave up.
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
    let mut buffer = vec![0; 64 << 10];
    let reason = 'reading: loop {
        match reader.read(&mut buffer).await {
            Ok(0) => break closer.lost("the module closed it"),
            Ok(length) => frames.push(&buffer[..length]),
            Err(error) => break closer.lost(error.to_string()),
        }
        loop {
            match frames.next() {
                Ok(None) => break,
                // A unit that cut a character may send bytes that are no UTF-8; the rest of the reply is still good.
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

/// Gives a reply to whoever waits for it: request id and work id must agree. Errors may carry any work id (`llm`, even `kws`), and
/// two kinds of errors carry no request id of use; they are given to the only one they can belong to, if there is only one.
fn deliver(routes: &Mutex<Routes>, reply: Reply, id_stem: &str) {
    let mut routes = lock(routes);
    let failed = !reply.error.code.is_ok();
    if let Some(place) = routes.given_up.iter().position(|id| *id == reply.request_id) {
        routes.given_up.remove(place);
        tracing::debug!(request_id = %reply.request_id, "an answer that nobody waits for any more was ignored");
        return;
    }
    let route = match routes.waiting.get(&reply.request_id) {
        Some(route) if failed || route.work_id.as_ref().is_none_or(|work_id| *work_id == reply.work_id) => Some(route),
        Some(_) => None,
        None if failed => stray_error(&routes, &reply, id_stem),
        None => None,
    };
    match route {
        // The receiver may have gone this moment; then nobody minds.
        Some(route) => drop(route.replies.send(reply)),
        None => {
            tracing::debug!(request_id = %reply.request_id, work_id = %reply.work_id, "a stranger's reply was ignored")
        }
    }
}

fn stray_error<'a>(routes: &'a Routes, reply: &Reply, id_stem: &str) -> Option<&'a Route> {
    // Errors in an inference's data come under the id of this client's last call to the unit.
    let of_inference = [Code::MODEL_RUN, Code::BASE64, Code::STREAM_INDEX].contains(&reply.error.code)
        && reply.request_id.starts_with(id_stem);
    let unreadable = [Code::RESET, Code::JSON].contains(&reply.error.code) && reply.request_id == UNREADABLE_REQUEST_ID;
    let mut candidates = routes
        .waiting
        .values()
        .filter(|route| unreadable || (of_inference && route.kind == Kind::Inference));
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

fn why_closed(routes: &Mutex<Routes>) -> Option<ClientError> {
    lock(routes).closed.clone()
}

/// No code panics while it holds this lock, so what it guards is whole even if another thread panicked.
fn lock(routes: &Mutex<Routes>) -> MutexGuard<'_, Routes> {
    routes.lock().unwrap_or_else(PoisonError::into_inner)
}
