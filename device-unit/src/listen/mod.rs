//! The unit by itself on TCP: it answers as llm-sys with an LLM unit does (PROTOCOL 1 and 2).
//!
//! It listens on loopback only, unless told otherwise. It knows tasks only through [`Unit`].

mod front;
mod intake;
mod machine;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use softprefix_core::protocol::frame::DEFAULT_LIMIT;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::outbox::Outbox;
use front::Front;
use intake::{Incoming, Intake};

use crate::unit::{Peer, ReplySink, Unit};

/// Connections at once.
const CONNECTIONS: usize = 256;
/// After this long a silence, a message that can only be broken is given up.
const DOUBT: Duration = Duration::from_secs(1);
/// How long replies that are due are waited for when a client has sent its last byte.
const GRACE: Duration = Duration::from_secs(1);
/// How much of what a refused client goes on sending is read, so that it gets to see the refusal.
const DRAINED_BYTES: usize = 256 << 20;

/// Why the unit does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "{address} is not on this machine alone, and anybody who reaches it could use the module; choose 127.0.0.1, or say --allow-remote"
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

/// Serves `unit` until `shutdown` is ready; then the connections are closed and all tasks end.
pub async fn serve(listener: TcpListener, unit: Arc<Unit>, shutdown: impl Future<Output = ()>) {
    let front = Front::new(Unit::clone(&unit));
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // llm-sys counts its connections from 8000 on; the number is all that a client is called by.
    let next = AtomicU32::new(8000);
    let mut connections = JoinSet::new();
    let _tasks_end_at_last = EndTasks(Arc::clone(&unit));
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
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
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(%address, "too many connections; this one is closed");
            // A fresh connection takes this much without waiting; if not, the close says it too.
            let _ = stream.try_write(&front::too_many_connections());
            continue;
        };
        let name = next.fetch_add(1, Ordering::Relaxed).to_string();
        let (front, unit) = (front.clone(), Arc::clone(&unit));
        connections.spawn(async move {
            tracing::debug!(%address, name, "connected");
            converse(stream, name.clone(), front).await;
            unit.forget(&name);
            tracing::debug!(%address, name, "disconnected");
            drop(place);
        });
    }
    connections.shutdown().await;
}

/// Also when the future is dropped in the middle.
struct EndTasks(Arc<Unit>);

impl Drop for EndTasks {
    fn drop(&mut self) {
        self.0.reset();
    }
}

/// One connection, from its first byte to its last.
async fn converse(stream: TcpStream, name: String, front: Front) {
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
        let peer = Peer::new(name, Arc::clone(&outbox) as Arc<dyn ReplySink>);
        match listen_to(&mut reader, &front, &peer, &outbox).await {
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

async fn listen_to(reader: &mut OwnedReadHalf, front: &Front, peer: &Peer, outbox: &Outbox) -> Farewell {
    let mut intake = Intake::new(DEFAULT_LIMIT);
    let mut bytes = vec![0; 64 << 10];
    loop {
        // Nothing more is taken in from a client that does not read its replies.
        if !outbox.has_settled().await {
            return Farewell::Lost;
        }
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
            Some(count) => intake.push(&bytes[..count]),
            None => intake.give_up(),
        }
        while let Some(incoming) = intake.next() {
            let last = incoming == Incoming::TooLarge;
            front.take(incoming, peer);
            if last {
                return Farewell::Refused;
            }
        }
    }
}

/// Reads on for a while and drops it: closing with bytes unread would take the refusal from the client's hands.
async fn drain(reader: &mut OwnedReadHalf) {
    let mut bytes = vec![0; 64 << 10];
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
