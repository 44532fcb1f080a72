//! Reply connections to llm-sys' clients: one PUSH connection for each address, opened when it is first needed and removed when the
//! client disconnects.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::zmtp::{self, Connection, Kind};
use crate::budget::Budget;
use crate::outbox::Outbox;
use crate::tasks;
use crate::unit::{Peer, ReplySink};

/// Most addresses at once: llm-sys gives each of its clients one. Each costs a connection, and a caller can name any number of them.
const ADDRESSES: usize = 512;

/// Called with the address of a client that has disconnected, while the connections are locked: when a new client has the address, this
/// has returned.
type WhenGone = Arc<dyn Fn(&str) + Send + Sync>;

/// The connections to all addresses in use.
pub struct Addresses {
    runtime: tokio::runtime::Handle,
    open: Arc<Mutex<HashMap<String, Arc<Outbox>>>>,
    when_gone: WhenGone,
    memory: Budget,
}

/// The bounded queue of one address, its messages as ZMTP frames.
struct Address(Arc<Outbox>);

impl ReplySink for Address {
    fn send(&self, message: Vec<u8>) {
        self.0.send(zmtp::frame(&message));
    }

    fn send_frame(&self, message: Vec<u8>, answer: u64) {
        self.0.send_frame(zmtp::frame(&message), answer);
    }

    fn takes_frame(&self, answer: u64) -> bool {
        self.0.takes_frame(answer)
    }

    fn has_room(&self) -> bool {
        self.0.has_room()
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl Addresses {
    pub fn new(
        runtime: tokio::runtime::Handle,
        memory: Budget,
        when_gone: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        Self {
            runtime,
            open: Arc::default(),
            when_gone: Arc::new(when_gone),
            memory,
        }
    }

    /// The client at `url`, which is llm-sys' `zmq_com`; connects if there is no connection yet. Beyond [`ADDRESSES`] connections, a
    /// new client gets no replies.
    pub fn peer(&self, url: &str) -> Peer {
        let mut open = lock(&self.open);
        let known = open.get(url).filter(|outbox| !outbox.is_closed()).cloned();
        let outbox = known.unwrap_or_else(|| {
            let outbox = Arc::new(Outbox::default());
            if open.len() >= ADDRESSES && !open.contains_key(url) {
                tracing::warn!(
                    url,
                    "{ADDRESSES} clients are connected already; this one gets no replies"
                );
                outbox.abandon();
                return outbox;
            }
            if open.insert(url.to_owned(), Arc::clone(&outbox)).is_some() {
                // Not when the old connection's task ends: by then this client may have sent frames.
                (self.when_gone)(url);
            }
            let (url, all) = (url.to_owned(), Arc::clone(&self.open));
            let (serving, when_gone) = (Arc::clone(&outbox), Arc::clone(&self.when_gone));
            let memory = self.memory.clone();
            tasks::spawn(&self.runtime, "writing to a client", async move {
                if let Err(error) = serve(&url, &serving, &memory).await {
                    tracing::debug!(%error, url, "a client cannot be reached");
                }
                serving.abandon();
                let mut all = lock(&all);
                // The address may belong to a new client by now: llm-sys restarts its numbers when it restarts.
                if all.get(&url).is_some_and(|current| Arc::ptr_eq(current, &serving)) {
                    all.remove(&url);
                    when_gone(&url);
                }
            });
            outbox
        });
        Peer::new(url, Arc::new(Address(outbox)))
    }

    /// Writes what is queued, then closes all connections.
    pub fn close(&self) {
        for outbox in lock(&self.open).values() {
            outbox.close();
        }
    }

    /// The number of connections, including those that are being opened.
    pub fn count(&self) -> usize {
        lock(&self.open).len()
    }
}

/// Writes the outbox to `url` until the client disconnects or the outbox is closed.
async fn serve(url: &str, outbox: &Outbox, memory: &Budget) -> std::io::Result<()> {
    let (writer, watch) = Connection::open(url, Kind::Push, memory).await?.into_push();
    tokio::select! {
        written = outbox.write_to(writer) => written,
        () = watch.disconnected(|answer| outbox.send(answer)) => Ok(()),
    }
}

fn lock(open: &Mutex<HashMap<String, Arc<Outbox>>>) -> MutexGuard<'_, HashMap<String, Arc<Outbox>>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn what_a_client_left_is_dropped_before_the_next_client_with_its_address_can_send() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("ipc://{}", folder.path().join("0").display());
        let listener = UnixListener::bind(folder.path().join("0")).unwrap();
        let gone = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&gone);
        let addresses = Addresses::new(tokio::runtime::Handle::current(), Budget::default(), move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        drop(addresses.peer(&url));
        let old = lock(&addresses.open).get(&url).cloned().unwrap();
        old.abandon();
        let next = addresses.peer(&url);
        assert_eq!(gone.load(Ordering::Relaxed), 1, "when the next one is known");
        // The old connection is refused, and its task ends.
        drop(listener.accept().await.unwrap());
        while Arc::strong_count(&old) > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(gone.load(Ordering::Relaxed), 1, "not again when the old task ends");
        assert!(!next.sink().is_closed());
    }

    #[tokio::test]
    async fn clients_beyond_the_limit_get_no_connection_and_those_before_keep_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let url = |number: usize| format!("ipc://{}", folder.path().join(number.to_string()).display());
        // Clients that accept nothing yet, so that their connections stay in the handshake.
        let listener = UnixListener::bind(folder.path().join("0")).unwrap();
        for number in 1..=ADDRESSES {
            std::os::unix::fs::symlink(folder.path().join("0"), folder.path().join(number.to_string())).unwrap();
        }
        let addresses = Addresses::new(tokio::runtime::Handle::current(), Budget::default(), |_| ());
        let peers: Vec<Peer> = (0..ADDRESSES).map(|number| addresses.peer(&url(number))).collect();
        let late = addresses.peer(&url(ADDRESSES));
        assert!(late.sink().is_closed());
        assert_eq!(addresses.count(), ADDRESSES);
        assert!(peers.iter().all(|peer| !peer.sink().is_closed()));
        assert!(!addresses.peer(&url(0)).sink().is_closed(), "a known client");
        drop(listener);
    }
}
