//! The unit by itself on TCP: it answers as llm-sys with an LLM unit does (PROTOCOL 1 and 2).
//!
//! It listens on loopback only, unless told otherwise. It knows tasks only through [`Unit`].

mod front;
mod intake;
mod opening;
mod seats;

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
use front::Front;
use intake::Intake;
use opening::{Opening, Stranger, Verdict};
use seats::Seats;

use crate::tasks::tell_panic;
use crate::unit::{Peer, ReplySink, Unit};

/// Connections at once. Where one more comes, the one goes that has been silent for longest and has neither set up a task nor waits for
/// an answer.
const CONNECTIONS: usize = 256;
/// After this long a silence, a message that can only be broken is given up.
const DOUBT: Duration = Duration::from_secs(1);
/// How long replies that are due are waited for when a client has sent its last byte.
const GRACE: Duration = Duration::from_secs(1);
/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;
/// And of these, taken in at once.
const PIECE_BYTES: usize = 4 << 10;
/// How long a client may take for the line with the secret, where one is asked for.
const INTRODUCTION: Duration = Duration::from_secs(5);
/// How much of what a refused client goes on sending is read, so that it gets to see the refusal.
const DRAINED_BYTES: usize = 256 << 20;

/// Why the unit does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "{address} is not on this machine alone, and whoever reaches it could load models, run and end inferences and read the machine's load, memory and address without a password; choose 127.0.0.1, or say --allow-remote"
    )]
    NotLoopback { address: SocketAddr },
    #[error(
        "{address} is taken by another program (perhaps another softprefix-unit); end that one, or choose another port"
    )]
    Taken { address: SocketAddr },
    #[error("{address} cannot be listened on: {source}; choose another address or port")]
    Bind {
        address: SocketAddr,
        source: std::io::Error,
    },
}

/// Takes `address` for listening.
///
/// # Errors
/// [`ListenError`], with what to do about it.
pub async fn bind(address: SocketAddr, allow_remote: bool) -> Result<TcpListener, ListenError> {
    if !address.ip().is_loopback() && !allow_remote {
        return Err(ListenError::NotLoopback { address });
    }
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => ListenError::Taken { address },
        _ => ListenError::Bind { address, source },
    })
}

/// Serves `unit` to everybody who connects until `shutdown` is ready; then the connections are closed and all tasks end. Web browsers
/// are not served: a page in one could say anything to the unit.
pub async fn serve(listener: TcpListener, unit: Arc<Unit>, shutdown: impl Future<Output = ()>) {
    serve_all(listener, unit, None, shutdown).await;
}

/// As [`serve`], to those alone who begin with the line of `secret`: a unit that belongs to one program.
pub async fn serve_own(listener: TcpListener, unit: Arc<Unit>, secret: Secret, shutdown: impl Future<Output = ()>) {
    serve_all(listener, unit, Some(secret), shutdown).await;
}

async fn serve_all(listener: TcpListener, unit: Arc<Unit>, secret: Option<Secret>, shutdown: impl Future<Output = ()>) {
    let front = Front::new(Unit::clone(&unit));
    let seats = Seats::default();
    // llm-sys counts its connections from 8000 on; the number is all that a client is called by.
    let next = AtomicU32::new(8000);
    let mut connections = JoinSet::new();
    let _tasks_end_at_last = EndTasks(Arc::clone(&unit));
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
            Some(ended) = connections.join_next() => {
                tell_panic(ended, "serving a connection");
                continue;
            }
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: the next moment may be better.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if seats.count() >= CONNECTIONS {
            match seats.make_room(|name| unit.concerns(name)) {
                Some(name) => tracing::info!(%name, "an idle connection is closed for a new one"),
                None => {
                    tracing::warn!(%address, "too many connections; this one is closed");
                    // A fresh connection takes this much without waiting; if not, the close says it too.
                    let _ = stream.try_write(&front::too_many_connections());
                    continue;
                }
            }
        }
        let name: Arc<str> = next.fetch_add(1, Ordering::Relaxed).to_string().into();
        tracing::debug!(%address, %name, "connected");
        let visit = Visit {
            name: Arc::clone(&name),
            seats: seats.clone(),
            unit: Arc::clone(&unit),
        };
        seats.take(Arc::clone(&name));
        let (front, opening) = (front.clone(), Opening::new(secret.clone()));
        let connection = connections.spawn(async move { converse(stream, visit, front, opening).await });
        seats.can_be_ended(&name, connection);
    }
    connections.shutdown().await;
}

/// A client for as long as it is connected.
struct Visit {
    name: Arc<str>,
    seats: Seats,
    unit: Arc<Unit>,
}

impl Drop for Visit {
    /// However the connection ended.
    fn drop(&mut self) {
        self.seats.leave(&self.name);
        self.unit.forget(&self.name);
        tracing::debug!(name = %self.name, "disconnected");
    }
}

/// Also when the future is dropped in the middle.
struct EndTasks(Arc<Unit>);

impl Drop for EndTasks {
    fn drop(&mut self) {
        self.0.reset();
    }
}

/// One connection, from its first byte to its last.
async fn converse(stream: TcpStream, visit: Visit, front: Front, opening: Opening) {
    // Frames are small and are wanted at once.
    let _ = stream.set_nodelay(true);
    let (mut reader, writer) = stream.into_split();
    let outbox = Arc::new(Outbox::default());
    // Also when this future is dropped in the middle.
    let _abandoned_at_last = Abandon(Arc::clone(&outbox));
    let write = {
        let outbox = Arc::clone(&outbox);
        async move {
            if let Err(error) = outbox.write_to(writer).await {
                tracing::debug!(%error, "a client left before it had read everything");
            }
        }
    };
    let read = async {
        let peer = Peer::new(Arc::clone(&visit.name), Arc::clone(&outbox) as Arc<dyn ReplySink>);
        match listen_to(&mut reader, opening, &front, &peer, &outbox, &visit.seats).await {
            Farewell::Refused => {
                outbox.close();
                drain(&mut reader).await;
            }
            Farewell::Ended => {
                // Those who answer hold the outbox: this one, the writer, the guard and the peer are four.
                let mut left = GRACE;
                while Arc::strong_count(&outbox) > 4 && !outbox.is_gone() && !left.is_zero() {
                    let moment = left.min(Duration::from_millis(10));
                    tokio::time::sleep(moment).await;
                    left -= moment;
                }
                outbox.close();
            }
            Farewell::Lost => outbox.abandon(),
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

/// How a conversation ended.
enum Farewell {
    /// The client has sent its last byte.
    Ended,
    /// It sent what cannot be taken.
    Refused,
    /// The connection broke.
    Lost,
}

async fn listen_to(
    reader: &mut OwnedReadHalf,
    opening: Opening,
    front: &Front,
    peer: &Peer,
    outbox: &Outbox,
    seats: &Seats,
) -> Farewell {
    let mut intake = Intake::new(DEFAULT_LIMIT, front.memory());
    let mut bytes = vec![0; READ_BYTES];
    match hear_out(reader, opening, &mut bytes).await {
        Ok(first) => {
            if let Some(farewell) = take_in(&first, &mut intake, front, peer, outbox).await {
                return farewell;
            }
        }
        Err(Some(stranger)) => return turn_away(stranger, outbox),
        Err(None) => return Farewell::Lost,
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
                Ok(0) => return Farewell::Ended,
                Ok(count) => Some(count),
                Err(_) => return Farewell::Lost,
            },
            () = doubt => None,
            () = outbox.ended() => return Farewell::Lost,
        };
        match count {
            Some(_) => seats.touch(peer.name()),
            None => intake.give_up(),
        }
        let bytes = &bytes[..count.unwrap_or_default()];
        if let Some(farewell) = take_in(bytes, &mut intake, front, peer, outbox).await {
            return farewell;
        }
    }
}

/// Takes bytes in a few at a time, so that neither the messages in them nor the replies to these pile up.
async fn take_in(bytes: &[u8], intake: &mut Intake, front: &Front, peer: &Peer, outbox: &Outbox) -> Option<Farewell> {
    // Once also where there are none: what was given up is told.
    let mut pieces = bytes.chunks(PIECE_BYTES);
    let mut piece = pieces.next().unwrap_or_default();
    loop {
        intake.push(piece);
        while let Some((incoming, charge)) = intake.next() {
            let last = incoming.is_last();
            front.take(incoming, charge, peer);
            if last {
                return Some(Farewell::Refused);
            }
        }
        // Nothing more is taken in from a client that does not read its replies.
        if !outbox.has_settled().await {
            return Some(Farewell::Lost);
        }
        piece = pieces.next()?;
    }
}

/// The first bytes of a client that is to be heard; who else it is, or nothing where it has gone.
async fn hear_out(
    reader: &mut OwnedReadHalf,
    mut opening: Opening,
    bytes: &mut [u8],
) -> Result<Vec<u8>, Option<Stranger>> {
    let too_late = tokio::time::sleep(INTRODUCTION);
    tokio::pin!(too_late);
    loop {
        let count = tokio::select! {
            read = reader.read(bytes) => read.map_err(|_| None)?,
            () = &mut too_late, if opening.is_urgent() => return Err(Some(Stranger::WithoutSecret)),
        };
        match opening.push(&bytes[..count]) {
            Verdict::Heard(first) => return Ok(first),
            Verdict::Refused(stranger) => return Err(Some(stranger)),
            Verdict::Open if count == 0 => return Err(None),
            Verdict::Open => {}
        }
    }
}

/// Says why somebody is not heard, to whom it may help.
fn turn_away(stranger: Stranger, outbox: &Outbox) -> Farewell {
    match stranger {
        Stranger::Http | Stranger::Tls => {
            tracing::warn!("a web browser or another program that speaks HTTP or TLS has connected; it is not heard");
            Farewell::Lost
        }
        Stranger::WithoutSecret => {
            outbox.send(front::belongs_to_another());
            Farewell::Refused
        }
    }
}

/// Reads on for a while and drops it: closing with bytes unread would take the refusal from the client's hands.
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
