//! The unit on TCP without llm-sys: it behaves like llm-sys with an LLM unit (PROTOCOL 1 and 2).
//!
//! Use [`bind`] and [`serve`]. Addresses other than loopback must be allowed explicitly.

mod clients;
mod front;
mod intake;
mod opening;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use softprefix_core::protocol::extension::Secret;
use softprefix_core::protocol::frame::DEFAULT_LIMIT;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::outbox::Outbox;
use clients::Clients;
use front::Front;
use intake::Intake;
use opening::{Decision, Opening, RefusedClient};

use crate::tasks::log_panic;
use crate::unit::{Peer, ReplySink, Unit};

/// Most connections at once. For a further one, the connection is closed that has been idle for longest, has set up no
/// task and waits for no answer.
const CONNECTIONS: usize = 256;
/// After this silence, a message that can only be broken is given up.
const DOUBT: Duration = Duration::from_secs(1);
/// Limit for pending replies after a client has sent its last byte.
const GRACE: Duration = Duration::from_secs(1);
/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;
/// Bytes processed at once.
const PIECE_BYTES: usize = 4 << 10;
/// Limit until a connection beyond [`CONNECTIONS`] can be written to.
const WRITABLE_TIMEOUT: Duration = Duration::from_millis(100);
/// Limit for the line with the secret, where one is required.
const SECRET_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes read from a refused client, so that it receives the refusal.
const DRAINED_BYTES: usize = 256 << 20;

/// Why the unit cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address can be reached from other machines, which was not allowed.
    #[error(
        "{address} can be reached from other machines, which could then load models, run and end inferences and read this machine's load, memory and address without a password; choose 127.0.0.1, or pass --allow-remote"
    )]
    NotLoopback {
        /// The address as given.
        address: SocketAddr,
    },
    /// Another program listens there.
    #[error(
        "{address} is taken by another program (perhaps another softprefix-unit); end that one, or choose another port"
    )]
    Taken {
        /// The address as given.
        address: SocketAddr,
    },
    /// The socket cannot be bound.
    #[error("{address} cannot be listened on: {source}; choose another address or port")]
    Bind {
        /// The address as given.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
}

/// Binds `address`.
///
/// # Errors
/// [`ListenError`].
pub async fn bind(address: SocketAddr, allow_remote: bool) -> Result<TcpListener, ListenError> {
    if !address.ip().is_loopback() && !allow_remote {
        return Err(ListenError::NotLoopback { address });
    }
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => ListenError::Taken { address },
        _ => ListenError::Bind { address, source },
    })
}

/// Serves `unit` to every client until `shutdown` is ready; then closes the connections and ends all tasks. Web
/// browsers are refused, since any web page could send requests.
pub async fn serve(listener: TcpListener, unit: Arc<Unit>, shutdown: impl Future<Output = ()>) {
    serve_all(listener, unit, None, shutdown).await;
}

/// As [`serve`], but only for clients that first send the line of `secret`: a unit that belongs to one program.
pub async fn serve_own(listener: TcpListener, unit: Arc<Unit>, secret: Secret, shutdown: impl Future<Output = ()>) {
    serve_all(listener, unit, Some(secret), shutdown).await;
}

async fn serve_all(listener: TcpListener, unit: Arc<Unit>, secret: Option<Secret>, shutdown: impl Future<Output = ()>) {
    let front = Front::new(Unit::clone(&unit));
    let clients = Clients::default();
    // llm-sys numbers its connections from 8000; the number is the client's name.
    let next = AtomicU32::new(8000);
    let mut connections = JoinSet::new();
    let _end_tasks_on_drop = EndTasks(Arc::clone(&unit));
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
            Some(ended) = connections.join_next() => {
                log_panic(ended, "serving a connection");
                continue;
            }
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Most likely out of file descriptors, which may pass.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if clients.count() >= CONNECTIONS {
            match clients.close_idlest(|name| unit.involves(name)) {
                Some(name) => tracing::info!(%name, "an idle connection is closed for a new one"),
                None => {
                    tracing::warn!(%address, "too many connections; this one is closed");
                    // A new connection's buffer has room for it, which tokio knows only once it has polled the socket. If it has none, the
                    // client only sees the close.
                    let _ = tokio::time::timeout(WRITABLE_TIMEOUT, stream.writable()).await;
                    let _ = stream.try_write(&front::too_many_connections());
                    continue;
                }
            }
        }
        let name: Arc<str> = next.fetch_add(1, Ordering::Relaxed).to_string().into();
        tracing::debug!(%address, %name, "connected");
        let client = ConnectedClient {
            name: Arc::clone(&name),
            clients: clients.clone(),
            unit: Arc::clone(&unit),
        };
        clients.add(Arc::clone(&name));
        let (front, opening) = (front.clone(), Opening::new(secret.clone()));
        let connection = connections.spawn(async move { serve_client(stream, client, front, opening).await });
        clients.set_abort_handle(&name, connection);
    }
    connections.shutdown().await;
}

/// A connected client. Dropping it removes the client and what the unit holds for it.
struct ConnectedClient {
    name: Arc<str>,
    clients: Clients,
    unit: Arc<Unit>,
}

impl Drop for ConnectedClient {
    /// Runs however the connection ended.
    fn drop(&mut self) {
        self.clients.remove(&self.name);
        self.unit.client_disconnected(&self.name);
        tracing::debug!(name = %self.name, "disconnected");
    }
}

/// Ends all tasks on drop, also when the serving future is dropped.
struct EndTasks(Arc<Unit>);

impl Drop for EndTasks {
    fn drop(&mut self) {
        self.0.reset();
    }
}

/// Serves one connection until it ends.
async fn serve_client(stream: TcpStream, client: ConnectedClient, front: Front, opening: Opening) {
    // Frames are small and must not be delayed.
    let _ = stream.set_nodelay(true);
    let (mut reader, writer) = stream.into_split();
    let outbox = Arc::new(Outbox::default());
    // On drop, so that it also happens when this future is dropped.
    let _abandon_on_drop = Abandon(Arc::clone(&outbox));
    let write = {
        let outbox = Arc::clone(&outbox);
        async move {
            if let Err(error) = outbox.write_to(writer).await {
                tracing::debug!(%error, "a client disconnected before it read all replies");
            }
        }
    };
    let read = async {
        let peer = Peer::new(Arc::clone(&client.name), Arc::clone(&outbox) as Arc<dyn ReplySink>);
        match read_messages(&mut reader, opening, &front, &peer, &outbox, &client.clients).await {
            ConnectionEnd::Refused => {
                outbox.close();
                drain(&mut reader).await;
            }
            ConnectionEnd::Ended => {
                // Pending answers hold the outbox, besides this one, the writer, the guard and the peer, which are
                // four.
                let mut left = GRACE;
                while Arc::strong_count(&outbox) > 4 && !outbox.is_closed() && !left.is_zero() {
                    let moment = left.min(Duration::from_millis(10));
                    tokio::time::sleep(moment).await;
                    left -= moment;
                }
                outbox.close();
            }
            ConnectionEnd::Lost => outbox.abandon(),
        }
    };
    tokio::join!(read, write);
}

struct Abandon(Arc<Outbox>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// How a connection ended.
enum ConnectionEnd {
    /// The client has sent its last byte.
    Ended,
    /// It sent something that is refused.
    Refused,
    /// The connection broke.
    Lost,
}

async fn read_messages(
    reader: &mut OwnedReadHalf,
    opening: Opening,
    front: &Front,
    peer: &Peer,
    outbox: &Outbox,
    clients: &Clients,
) -> ConnectionEnd {
    let mut intake = Intake::new(DEFAULT_LIMIT, front.memory());
    let mut bytes = vec![0; READ_BYTES];
    match read_opening(reader, opening, &mut bytes).await {
        Ok(first) => {
            if let Some(end) = process(&first, &mut intake, front, peer, outbox).await {
                return end;
            }
        }
        Err(Some(refused)) => return refuse(refused, outbox),
        Err(None) => return ConnectionEnd::Lost,
    }
    loop {
        let doubt = async {
            if intake.is_doubtful() {
                tokio::time::sleep(DOUBT).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let count = tokio::select! {
            read = reader.read(&mut bytes) => match read {
                Ok(0) => return ConnectionEnd::Ended,
                Ok(count) => Some(count),
                Err(_) => return ConnectionEnd::Lost,
            },
            () = doubt => None,
            () = outbox.ended() => return ConnectionEnd::Lost,
        };
        match count {
            Some(_) => clients.touch(peer.name()),
            None => intake.give_up(),
        }
        let bytes = &bytes[..count.unwrap_or_default()];
        if let Some(end) = process(bytes, &mut intake, front, peer, outbox).await {
            return end;
        }
    }
}

/// Processes bytes a few at a time, so that neither messages nor replies accumulate.
async fn process(
    bytes: &[u8],
    intake: &mut Intake,
    front: &Front,
    peer: &Peer,
    outbox: &Outbox,
) -> Option<ConnectionEnd> {
    // Also runs without bytes, to process a message that was given up.
    let mut pieces = bytes.chunks(PIECE_BYTES);
    let mut piece = pieces.next().unwrap_or_default();
    loop {
        intake.push(piece);
        while let Some((incoming, charge)) = intake.next() {
            let last = incoming.is_last();
            front.take(incoming, charge, peer);
            if last {
                return Some(ConnectionEnd::Refused);
            }
        }
        // A client that does not read its replies is not read from.
        if !outbox.wait_to_read().await {
            return Some(ConnectionEnd::Lost);
        }
        piece = pieces.next()?;
    }
}

/// Reads until the client is accepted and returns its first bytes; an error is the refusal, or `None` where the client
/// has disconnected.
async fn read_opening(
    reader: &mut OwnedReadHalf,
    mut opening: Opening,
    bytes: &mut [u8],
) -> Result<Vec<u8>, Option<RefusedClient>> {
    let timeout = tokio::time::sleep(SECRET_TIMEOUT);
    tokio::pin!(timeout);
    loop {
        let count = tokio::select! {
            read = reader.read(bytes) => read.map_err(|_| None)?,
            () = &mut timeout, if opening.is_urgent() => return Err(Some(RefusedClient::WithoutSecret)),
        };
        match opening.push(&bytes[..count]) {
            Decision::Accepted(first) => return Ok(first),
            Decision::Refused(refused) => return Err(Some(refused)),
            Decision::Undecided if count == 0 => return Err(None),
            Decision::Undecided => {}
        }
    }
}

/// Logs a refusal, or sends it to a client that can understand it.
fn refuse(refused: RefusedClient, outbox: &Outbox) -> ConnectionEnd {
    match refused {
        RefusedClient::Http | RefusedClient::Tls => {
            tracing::warn!("a web browser or another program that speaks HTTP or TLS has connected; it is refused");
            ConnectionEnd::Lost
        }
        RefusedClient::WithoutSecret => {
            outbox.send(front::belongs_to_another());
            ConnectionEnd::Refused
        }
    }
}

/// Reads and discards for a while: closing a socket with unread bytes would discard the refusal before the client reads
/// it.
async fn drain(reader: &mut OwnedReadHalf) {
    let mut bytes = vec![0; READ_BYTES];
    let mut left = DRAINED_BYTES;
    let reading = async {
        while let Ok(count) = reader.read(&mut bytes).await {
            left = left.saturating_sub(count);
            if count == 0 || left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(5), reading).await;
}
