//! A task's output for other units: PUB on the address that llm-sys gave it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::zmtp::{self, Connection, Kind, Listener, SubscriberCommand, path_of, remove_stale};
use crate::budget::Budget;
use crate::tasks::log_panic;
use crate::unit::ReplySink;

/// Most messages queued for one subscriber. A slower one loses messages, as PUB prescribes.
const QUEUE_MESSAGES: usize = 4096;
/// Most bytes queued for one subscriber.
const QUEUE_BYTES: usize = 4 << 20;
/// Most subscribers at once: on a module they are a few other units.
const SUBSCRIBERS: usize = 64;
/// Most subscriptions of one subscriber, and bytes of each.
const TOPICS: usize = 64;
const TOPIC_BYTES: usize = 256;
/// Limit for writing the last messages before the connections are closed.
const LAST_MESSAGES: Duration = Duration::from_millis(200);

/// A PUB socket.
pub struct Publisher(Arc<Subscribers>);

/// A handle that closes a [`Publisher`].
pub struct PublisherEnd {
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<()>,
}

/// The connected subscribers, by number. The lock is never held across an await.
#[derive(Default)]
struct Subscribers(Mutex<HashMap<u64, Subscriber>>);

struct Subscriber {
    /// Prefixes of messages, of which one must match.
    topics: Vec<Vec<u8>>,
    /// Frames to write.
    queue: mpsc::Sender<Arc<Vec<u8>>>,
    /// Bytes of the frames in the queue.
    queued_bytes: Arc<AtomicUsize>,
}

impl Publisher {
    /// Binds `url`. First removes a socket that a killed process left there, but only in `folder`, that of the bus, or
    /// its subfolder `llm`: the address comes from whatever process answers as llm-sys.
    ///
    /// # Errors
    /// A message about the address.
    pub async fn bind(url: &str, folder: &Path, memory: &Budget) -> Result<(Self, PublisherEnd), String> {
        let cannot = |error: std::io::Error| format!("{url} cannot be bound ({error}); check who owns its folder");
        let path = path_of(url).map_err(|error| error.to_string())?;
        let parent = path.parent();
        if parent == Some(folder) || parent == Some(&folder.join("llm")) {
            remove_stale(&path).map_err(cannot)?;
        }
        let listener = Listener::bind(url).map_err(cannot)?;
        let subscribers = Arc::<Subscribers>::default();
        let (stop, mut stopped) = oneshot::channel();
        let (all, memory) = (Arc::clone(&subscribers), memory.clone());
        let ended = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                tokio::select! {
                    stream = listener.accept(), if connections.len() < SUBSCRIBERS => {
                        connections.spawn(serve(stream, number, Arc::clone(&all), memory.clone()));
                    }
                    Some(ended) = connections.join_next() => log_panic(ended, "serving a subscriber"),
                    _ = &mut stopped => break,
                }
            }
            drop(listener);
            // Dropping the senders lets the connections write what is queued and end.
            all.lock().clear();
            let _ = tokio::time::timeout(LAST_MESSAGES, async {
                while connections.join_next().await.is_some() {}
            })
            .await;
        });
        Ok((Self(subscribers), PublisherEnd { stop, ended }))
    }
}

impl PublisherEnd {
    /// Closes the socket; its file is removed when this returns.
    pub async fn end(self) {
        // Fails if the publisher has panicked, which the next line logs.
        let _ = self.stop.send(());
        log_panic(self.ended.await, "publishing");
    }
}

impl ReplySink for Publisher {
    fn send(&self, message: Vec<u8>) {
        let subscribers = self.0.lock();
        let mut wanted = subscribers
            .values()
            .filter(|subscriber| subscriber.topics.iter().any(|topic| message.starts_with(topic)))
            .peekable();
        if wanted.peek().is_none() {
            return;
        }
        let frame = Arc::new(zmtp::frame(&message));
        for subscriber in wanted {
            // A full queue means a subscriber that is too slow: PUB drops the message. One beyond the limit is taken by an empty queue.
            let bytes = frame.len();
            if subscriber.queued_bytes.load(Ordering::Acquire) + bytes <= QUEUE_BYTES.max(bytes)
                && subscriber.queue.try_send(Arc::clone(&frame)).is_ok()
            {
                subscriber.queued_bytes.fetch_add(bytes, Ordering::AcqRel);
            }
        }
    }

    /// Whether there are no subscriptions.
    fn is_closed(&self) -> bool {
        self.0.lock().values().all(|subscriber| subscriber.topics.is_empty())
    }
}

impl Subscribers {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Subscriber>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T: Default>(&self, number: u64, change: impl FnOnce(&mut Vec<Vec<u8>>) -> T) -> T {
        let mut subscribers = self.lock();
        subscribers
            .get_mut(&number)
            .map(|subscriber| change(&mut subscriber.topics))
            .unwrap_or_default()
    }
}

/// Serves one subscriber until it disconnects or the publisher ends.
async fn serve(stream: UnixStream, number: u64, subscribers: Arc<Subscribers>, memory: Budget) {
    let served = async {
        let mut connection = Connection::accept(stream, Kind::Publisher, &memory).await?;
        let (queue, mut frames) = mpsc::channel(QUEUE_MESSAGES);
        let queued_bytes = Arc::<AtomicUsize>::default();
        let subscriber = Subscriber {
            topics: Vec::new(),
            queue,
            queued_bytes: Arc::clone(&queued_bytes),
        };
        subscribers.lock().insert(number, subscriber);
        loop {
            tokio::select! {
                command = connection.next_command() => match command? {
                    SubscriberCommand::Subscribe(topic) => {
                        let taken = subscribers.change(number, |topics| {
                            let room = topics.len() < TOPICS && topic.len() <= TOPIC_BYTES;
                            if room {
                                topics.push(topic);
                            }
                            room
                        });
                        if !taken {
                            return Err(std::io::Error::other("a subscriber asks for too many or too long topics"));
                        }
                    }
                    SubscriberCommand::Cancel(topic) => subscribers.change(number, |topics| {
                        if let Some(place) = topics.iter().position(|known| *known == topic) {
                            topics.remove(place);
                        }
                    }),
                    SubscriberCommand::Pong(frame) => connection.write(&frame).await?,
                    SubscriberCommand::Other => {}
                },
                frame = frames.recv() => match frame {
                    Some(frame) => {
                        connection.write(&frame).await?;
                        queued_bytes.fetch_sub(frame.len(), Ordering::AcqRel);
                    }
                    None => return std::io::Result::Ok(()),
                },
            }
        }
    };
    if let Err(error) = served.await {
        tracing::debug!(%error, "the connection to a subscriber has ended");
    }
    subscribers.lock().remove(&number);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits until the publisher has as many subscriptions.
    async fn subscribed(publisher: &Publisher, count: usize) {
        let counted = || {
            publisher
                .0
                .lock()
                .values()
                .map(|subscriber| subscriber.topics.len())
                .sum::<usize>()
        };
        while counted() != count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn address() -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("ipc://{}", folder.path().join("out").display());
        (folder, url)
    }

    #[tokio::test]
    async fn subscribers_get_what_they_asked_for_and_the_last_message_before_the_end() {
        let (folder, url) = address();
        let (publisher, end) = Publisher::bind(&url, folder.path(), &Budget::default()).await.unwrap();
        assert!(publisher.is_closed());
        let mut all = Connection::open(&url, Kind::Subscriber, &Budget::default())
            .await
            .unwrap();
        let mut some = Connection::open(&url, Kind::Subscriber, &Budget::default())
            .await
            .unwrap();
        all.subscribe().await.unwrap();
        some.write(&zmtp::frame(b"\x01a")).await.unwrap();
        some.write(&zmtp::frame(b"\x01b")).await.unwrap();
        some.write(&zmtp::frame(b"\x00b")).await.unwrap();
        some.write(&zmtp::frame(b"\x01c")).await.unwrap();
        subscribed(&publisher, 3).await;
        assert!(!publisher.is_closed());
        for message in ["a1", "b2", "c3"] {
            publisher.send(message.into());
        }
        end.end().await;
        assert!(!folder.path().join("out").exists());
        for (subscriber, expected) in [(&mut all, &["a1", "b2", "c3"][..]), (&mut some, &["a1", "c3"])] {
            for message in expected {
                assert_eq!(subscriber.receive().await.unwrap(), [message.as_bytes()]);
            }
            assert!(subscriber.receive().await.is_err());
        }
        publisher.send(b"a".to_vec());
        assert!(publisher.is_closed());
    }

    #[tokio::test]
    async fn whoever_answers_for_llm_sys_cannot_have_files_removed() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("llm")).unwrap();
        let places = [
            outside.path().join("out"),
            folder.path().join("out"),
            folder.path().join("llm/out"),
            folder.path().join(format!(
                "llm/../../{}/out",
                outside.path().file_name().unwrap().to_string_lossy()
            )),
        ];
        for place in &places {
            let url = format!("ipc://{}", place.display());
            std::fs::write(place, "a person's").unwrap();
            assert!(Publisher::bind(&url, folder.path(), &Budget::default()).await.is_err());
            assert_eq!(std::fs::read(place).unwrap(), b"a person's", "{url}");
            std::fs::remove_file(place).unwrap();
            std::mem::forget(Listener::bind(&url).unwrap());
            let ours = place.starts_with(folder.path()) && !url.contains("..");
            assert_eq!(
                Publisher::bind(&url, folder.path(), &Budget::default()).await.is_ok(),
                ours,
                "{url}"
            );
            if !ours {
                assert!(place.exists(), "{url}");
                std::fs::remove_file(place).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn a_subscriber_that_does_not_read_loses_messages_and_delays_no_other() {
        let (folder, url) = address();
        let (publisher, end) = Publisher::bind(&url, folder.path(), &Budget::default()).await.unwrap();
        let mut idle = Connection::open(&url, Kind::Subscriber, &Budget::default())
            .await
            .unwrap();
        let mut reading = Connection::open(&url, Kind::Subscriber, &Budget::default())
            .await
            .unwrap();
        idle.subscribe().await.unwrap();
        reading.subscribe().await.unwrap();
        for round in 0..20_u32 {
            // More than a queue and a socket's buffer hold, in all.
            for _ in 0..1000 {
                publisher.send(vec![7; 1000]);
            }
            publisher.send(round.to_be_bytes().to_vec());
            while reading.receive().await.unwrap() != [round.to_be_bytes()] {}
        }
        let waiting = publisher
            .0
            .lock()
            .values()
            .map(|one| one.queue.max_capacity() - one.queue.capacity())
            .max();
        assert_eq!(waiting, Some(QUEUE_MESSAGES));
        drop(idle);
        subscribed(&publisher, 1).await;
        end.end().await;
    }

    #[tokio::test]
    async fn subscribers_and_their_topics_are_bounded() {
        let (folder, url) = address();
        let (publisher, end) = Publisher::bind(&url, folder.path(), &Budget::default()).await.unwrap();
        let open = || async {
            Connection::open(&url, Kind::Subscriber, &Budget::default())
                .await
                .unwrap()
        };
        let mut many = open().await;
        for number in 0..TOPICS {
            many.write(&zmtp::frame(format!("\x01{number}").as_bytes()))
                .await
                .unwrap();
        }
        subscribed(&publisher, TOPICS).await;
        many.write(&zmtp::frame(b"\x01one more")).await.unwrap();
        assert!(many.receive().await.is_err());
        subscribed(&publisher, 0).await;

        let topic = |bytes: usize| zmtp::frame(&[&[1][..], &vec![b'a'; bytes]].concat());
        let mut long = open().await;
        long.write(&topic(TOPIC_BYTES)).await.unwrap();
        subscribed(&publisher, 1).await;
        long.write(&topic(TOPIC_BYTES + 1)).await.unwrap();
        assert!(long.receive().await.is_err());
        subscribed(&publisher, 0).await;

        let mut all = Vec::new();
        for _ in 0..SUBSCRIBERS {
            all.push(open().await);
        }
        let late = open();
        tokio::pin!(late);
        let early = tokio::time::timeout(Duration::from_millis(100), &mut late).await;
        assert!(early.is_err(), "one more is served only when another has gone");
        all.pop();
        late.await;
        end.end().await;
    }
}
