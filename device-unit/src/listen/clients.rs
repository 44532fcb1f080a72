//! The connected clients, and which of them is disconnected when there is no room for another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::task::AbortHandle;

/// The connected clients, by name.
#[derive(Debug, Clone, Default)]
pub struct Clients(Arc<Mutex<HashMap<Arc<str>, Client>>>);

#[derive(Debug)]
struct Client {
    /// When it last sent something.
    last_active: Instant,
    /// Closes the connection; `None` until it is spawned.
    connection: Option<AbortHandle>,
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Client>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of connected clients.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    pub fn add(&self, name: Arc<str>) {
        let client = Client {
            last_active: Instant::now(),
            connection: None,
        };
        self.lock().insert(name, client);
    }

    /// Sets the handle that closes the connection, unless the client was already removed.
    pub fn set_abort_handle(&self, name: &str, connection: AbortHandle) {
        if let Some(client) = self.lock().get_mut(name) {
            client.connection = Some(connection);
        }
    }

    /// Notes that the client sent something.
    pub fn touch(&self, name: &str) {
        if let Some(client) = self.lock().get_mut(name) {
            client.last_active = Instant::now();
        }
    }

    pub fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Closes the connection that has been idle for longest among those for which `is_busy` is false. Returns its name,
    /// or `None` where there is none.
    pub fn close_idlest(&self, is_busy: impl Fn(&str) -> bool) -> Option<Arc<str>> {
        let mut clients = self.lock();
        let idle = clients
            .iter()
            .filter(|(name, client)| client.connection.is_some() && !is_busy(name));
        let name = Arc::clone(idle.min_by_key(|(_, client)| client.last_active)?.0);
        clients.remove(&name)?.connection?.abort();
        Some(name)
    }
}
