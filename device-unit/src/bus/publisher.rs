//! A task's output for other units: PUB on the address that llm-sys gave it. It knows no message's meaning.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use zeromq::{PubSocket, Socket, SocketEvent, SocketSend, ZmqMessage};

use super::zmtp::path_of;
use crate::unit::ReplySink;

/// Messages that may wait for the publishing task. A subscriber that is slower loses some, as PUB has it.
const WAITING: usize = 4096;
/// How often it is looked whether anybody subscribes.
const LOOK: Duration = Duration::from_millis(100);
/// How long the last messages may take to their subscribers before the socket is closed.
const LAST_MESSAGES: Duration = Duration::from_millis(50);

/// The publishing end.
pub struct Publisher {
    messages: mpsc::Sender<Vec<u8>>,
    heard: Arc<AtomicBool>,
}

/// Ends a publisher.
pub struct PublisherEnd {
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<()>,
}

impl Publisher {
    /// Binds `url`. A file that a killed process left there is removed first.
    ///
    /// # Errors
    /// A sentence about the address.
    pub async fn bind(url: &str) -> Result<(Self, PublisherEnd), String> {
        let path = path_of(url).map_err(|error| error.to_string())?;
        remove(&path);
        let mut socket = PubSocket::new();
        let mut events = socket.monitor();
        socket
            .bind(url)
            .await
            .map_err(|error| format!("{url} cannot be bound ({error}); check who owns its folder"))?;
        let (messages, mut waiting) = mpsc::channel::<Vec<u8>>(WAITING);
        let (stop, mut stopped) = oneshot::channel();
        let heard = Arc::new(AtomicBool::new(false));
        let is_heard = Arc::clone(&heard);
        let ended = tokio::spawn(async move {
            let mut subscribers = HashSet::new();
            loop {
                let message = tokio::select! {
                    message = waiting.recv() => message,
                    () = tokio::time::sleep(LOOK) => None,
                    _ = &mut stopped => break,
                };
                while let Ok(event) = events.try_recv() {
                    match event {
                        SocketEvent::Accepted(_, peer) => {
                            subscribers.insert(peer);
                        }
                        SocketEvent::Disconnected(peer) => {
                            subscribers.remove(&peer);
                        }
                        _ => {}
                    }
                }
                is_heard.store(!subscribers.is_empty(), Ordering::Release);
                if let Some(message) = message {
                    publish(&mut socket, message).await;
                }
            }
            while let Ok(message) = waiting.try_recv() {
                publish(&mut socket, message).await;
            }
            if !subscribers.is_empty() {
                tokio::time::sleep(LAST_MESSAGES).await;
            }
            // Only now is the address free for another task.
            socket.unbind_all().await;
            remove(&path);
        });
        Ok((Self { messages, heard }, PublisherEnd { stop, ended }))
    }
}

impl PublisherEnd {
    /// Closes the socket; its file is gone when this returns.
    pub async fn end(self) {
        let _ = self.stop.send(());
        let _ = self.ended.await;
    }
}

impl ReplySink for Publisher {
    fn send(&self, message: Vec<u8>) {
        // Full: that is a subscriber too slow, and PUB drops.
        let _ = self.messages.try_send(message);
    }

    /// Whether nobody subscribes.
    fn is_gone(&self) -> bool {
        !self.heard.load(Ordering::Acquire)
    }
}

async fn publish(socket: &mut PubSocket, message: Vec<u8>) {
    if let Err(error) = socket.send(ZmqMessage::from(message)).await {
        tracing::debug!(%error, "a result was not published");
    }
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "a socket file could not be removed");
    }
}
