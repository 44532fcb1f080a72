//! Who is connected, and who has to go where there is no room for one more. It knows no messages.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::task::AbortHandle;

/// The connections there are.
#[derive(Debug, Clone, Default)]
pub struct Seats(Arc<Mutex<HashMap<Arc<str>, Seat>>>);

#[derive(Debug)]
struct Seat {
    /// When it last said something.
    heard: Instant,
    /// Ends it; not known in its first moment.
    connection: Option<AbortHandle>,
}

impl Seats {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Seat>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    pub fn take(&self, name: Arc<str>) {
        let seat = Seat {
            heard: Instant::now(),
            connection: None,
        };
        self.lock().insert(name, seat);
    }

    /// How it can be ended, where it has not ended by itself.
    pub fn can_be_ended(&self, name: &str, connection: AbortHandle) {
        if let Some(seat) = self.lock().get_mut(name) {
            seat.connection = Some(connection);
        }
    }

    /// It has said something.
    pub fn touch(&self, name: &str) {
        if let Some(seat) = self.lock().get_mut(name) {
            seat.heard = Instant::now();
        }
    }

    pub fn leave(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Closes the connection that has been silent for longest among those that nothing is done for; `None` where there is none.
    pub fn make_room(&self, is_busy: impl Fn(&str) -> bool) -> Option<Arc<str>> {
        let mut seats = self.lock();
        let idle = seats
            .iter()
            .filter(|(name, seat)| seat.connection.is_some() && !is_busy(name));
        let name = Arc::clone(idle.min_by_key(|(_, seat)| seat.heard)?.0);
        seats.remove(&name)?.connection?.abort();
        Some(name)
    }
}
