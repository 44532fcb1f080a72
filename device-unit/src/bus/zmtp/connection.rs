//! A ZMTP connection, from its handshake on.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;

use super::frames::{
    COMMAND, FrameReader, LIMIT, MORE, command, frame, garbage, memory_taken, pong, push_frame, ready, refusal,
    socket_type,
};
use super::{Kind, path_of};
use crate::budget::Budget;

/// Limit for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Limit for answers to PING, for peers without PING.
const SETTLING: Duration = Duration::from_millis(200);
/// Charged for each frame besides its bytes, so that a message of empty frames is bounded, too.
const FRAME_COST: usize = 64;

/// A connection after its handshake.
#[derive(Debug)]
pub struct Connection {
    reader: FrameReader,
    writer: OwnedWriteHalf,
    /// Charged for the frames of a message that is not complete yet.
    memory: Budget,
}

impl Connection {
    /// Connects to the socket file of `url`. Bytes that are received and not yet taken are charged to `memory`.
    ///
    /// # Errors
    /// Where there is no listener, no answer within three seconds, or an answer that is not ZMTP.
    pub async fn open(url: &str, kind: Kind, memory: &Budget) -> io::Result<Self> {
        let path = path_of(url)?;
        let opening = async { Self::handshake(UnixStream::connect(&path).await?, kind, memory).await };
        tokio::time::timeout(HANDSHAKE, opening)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Performs the handshake with a peer that connected to us.
    ///
    /// # Errors
    /// Those of [`Connection::open`] except for a missing listener.
    pub async fn accept(stream: UnixStream, kind: Kind, memory: &Budget) -> io::Result<Self> {
        tokio::time::timeout(HANDSHAKE, Self::handshake(stream, kind, memory))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn handshake(stream: UnixStream, kind: Kind, memory: &Budget) -> io::Result<Self> {
        let (reader, mut writer) = stream.into_split();
        let mut reader = FrameReader::new(reader, memory);
        // Signature, version 3.0, mechanism NULL, not a server, filler.
        let mut greeting = [0; 64];
        greeting[0] = 0xff;
        greeting[9] = 0x7f;
        greeting[10] = 3;
        greeting[12..16].copy_from_slice(b"NULL");
        writer.write_all(&greeting).await?;
        let theirs = reader.take(64).await?;
        if theirs[0] != 0xff || theirs[9] & 1 != 1 || theirs[10] < 3 || &theirs[12..17] != b"NULL\0" {
            return Err(garbage("the peer does not speak ZMTP 3 without security"));
        }
        writer.write_all(&ready(kind.name())).await?;
        let (flags, body) = reader.frame().await?;
        if let Some(refused) = refusal(&body).filter(|_| flags & COMMAND != 0) {
            return Err(refused);
        }
        let partner = socket_type(&body).filter(|_| flags & COMMAND != 0);
        if !partner.is_some_and(|name| kind.partners().contains(&name)) {
            return Err(garbage(
                "the peer refused the handshake, or is a socket of the wrong kind",
            ));
        }
        Ok(Self {
            reader,
            writer,
            memory: memory.clone(),
        })
    }

    /// Sends a message of several frames.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn send(&mut self, frames: &[&[u8]]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for (i, frame) in frames.iter().enumerate() {
            push_frame(&mut bytes, if i + 1 < frames.len() { MORE } else { 0 }, frame);
        }
        self.writer.write_all(&bytes).await
    }

    /// The next message as its frames.
    ///
    /// # Errors
    /// Those of the connection; `UnexpectedEof` where the peer has disconnected.
    pub async fn receive(&mut self) -> io::Result<Vec<Vec<u8>>> {
        loop {
            if let Received::Message(frames) = self.receive_any().await? {
                return Ok(frames);
            }
        }
    }

    async fn receive_any(&mut self) -> io::Result<Received> {
        // The frames so far; the caller charges the whole message.
        let (mut frames, mut size, mut held) = (Vec::new(), 0, self.memory.message());
        loop {
            let (flags, body) = self.reader.frame().await?;
            if flags & COMMAND != 0 {
                if let Some(rest) = body.strip_prefix(b"\x04PING") {
                    self.writer.write_all(&pong(rest)).await?;
                } else if body.starts_with(b"\x04PONG") {
                    return Ok(Received::Pong);
                } else if let Some(refused) = refusal(&body) {
                    return Err(refused);
                }
                continue;
            }
            let cost = body.len() + FRAME_COST;
            size += cost;
            if size > LIMIT + FRAME_COST {
                return Err(garbage("a message is larger than 16 MiB"));
            }
            if !held.grow(cost) {
                return Err(memory_taken());
            }
            frames.push(body);
            if flags & MORE == 0 {
                return Ok(Received::Message(frames));
            }
        }
    }

    /// Subscribes to everything and waits until the publisher has the subscription, so that everything published
    /// afterwards arrives. Returns the messages that arrive meanwhile.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn subscribe(&mut self) -> io::Result<Vec<Vec<Vec<u8>>>> {
        self.writer.write_all(&frame(&[1])).await?;
        let mut early = Vec::new();
        let settling = async {
            // libzmq answers a PING while it processes a batch of input, and passes a subscription to the publisher
            // only after the batch. A second PING, sent after the first answer, is in a later batch.
            for _ in 0..2 {
                self.writer.write_all(&command(b"PING", &[0, 0, b's', b'p'])).await?;
                loop {
                    match self.receive_any().await? {
                        Received::Pong => break,
                        Received::Message(frames) => early.push(frames),
                    }
                }
            }
            io::Result::Ok(())
        };
        tokio::time::timeout(SETTLING, settling).await.unwrap_or(Ok(()))?;
        Ok(early)
    }

    /// The next command of a subscriber. Cancel safe.
    ///
    /// # Errors
    /// Those of the connection; `UnexpectedEof` where the subscriber has disconnected.
    pub async fn next_command(&mut self) -> io::Result<SubscriberCommand> {
        let (flags, body) = self.reader.frame().await?;
        if let Some(refused) = refusal(&body).filter(|_| flags & COMMAND != 0) {
            return Err(refused);
        }
        // Subscriptions are messages up to ZMTP 3.0, and commands from 3.1 on.
        let (subscribe, cancel): (&[u8], &[u8]) = match flags & COMMAND {
            0 => (&[1], &[0]),
            _ => (b"\x09SUBSCRIBE", b"\x06CANCEL"),
        };
        let ping = body.strip_prefix(b"\x04PING").filter(|_| flags & COMMAND != 0);
        Ok(if let Some(topic) = body.strip_prefix(subscribe) {
            SubscriberCommand::Subscribe(topic.to_vec())
        } else if let Some(topic) = body.strip_prefix(cancel) {
            SubscriberCommand::Cancel(topic.to_vec())
        } else if let Some(rest) = ping {
            SubscriberCommand::Pong(pong(rest))
        } else {
            SubscriberCommand::Other
        })
    }

    /// Writes encoded frames.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        self.writer.write_all(frames).await
    }

    /// Splits a PUSH connection: a writer of encoded frames, and a watch for the peer's end.
    pub fn into_push(self) -> (OwnedWriteHalf, PeerWatch) {
        (self.writer, PeerWatch(self.reader))
    }
}

/// What a subscriber sends to a publisher.
#[derive(Debug, PartialEq, Eq)]
pub enum SubscriberCommand {
    /// Subscribe to messages with this prefix.
    Subscribe(Vec<u8>),
    Cancel(Vec<u8>),
    /// A PING; these bytes are the answer to write.
    Pong(Vec<u8>),
    /// Anything else, which is ignored.
    Other,
}

enum Received {
    Message(Vec<Vec<u8>>),
    Pong,
}

/// Detects that the peer of a PUSH disconnects.
#[derive(Debug)]
pub struct PeerWatch(FrameReader);

impl PeerWatch {
    /// Returns when the peer has disconnected. `answer` is called with answers to its PINGs, to be written to it.
    pub async fn disconnected(mut self, answer: impl Fn(Vec<u8>)) {
        while let Ok((flags, body)) = self.0.frame().await {
            if flags & COMMAND == 0 {
                continue;
            }
            if let Some(ping) = body.strip_prefix(b"\x04PING") {
                answer(pong(ping));
            } else if let Some(refused) = refusal(&body) {
                tracing::warn!(error = %refused, "a client's socket closed the connection with an error");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_subscription_is_confirmed_by_the_answer_to_a_ping_that_was_sent_after_the_first_answer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pub");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let publisher = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut peer = Connection::accept(stream, Kind::Publisher, &Budget::default())
                .await
                .unwrap();
            assert_eq!(peer.reader.frame().await.unwrap(), (0, vec![1]), "the subscription");
            let mut answered = 0;
            while let Ok((flags, body)) = peer.reader.frame().await {
                assert_eq!((flags, &body[..5]), (COMMAND, &b"\x04PING"[..]));
                let early = tokio::time::timeout(Duration::from_millis(30), peer.reader.fill(1)).await;
                assert!(early.is_err(), "nothing is asked before the answer");
                if answered == 0 {
                    peer.send(&[b"early"]).await.unwrap();
                }
                peer.write(&pong(&body[5..])).await.unwrap();
                answered += 1;
                if answered == 2 {
                    break;
                }
            }
            answered
        });
        let url = format!("ipc://{}", path.display());
        let mut subscriber = Connection::open(&url, Kind::Subscriber, &Budget::default())
            .await
            .unwrap();
        assert_eq!(subscriber.subscribe().await.unwrap(), [[b"early".to_vec()]]);
        assert_eq!(publisher.await.unwrap(), 2);
    }

    #[tokio::test]
    async fn sockets_that_do_not_belong_together_refuse_each_other() {
        let memory = Budget::default();
        for (ours, theirs, fit) in [
            (Kind::Reply, Kind::Request, true),
            (Kind::Publisher, Kind::Subscriber, true),
            (Kind::Reply, Kind::Push, false),
            (Kind::Publisher, Kind::Request, false),
        ] {
            let (one, two) = UnixStream::pair().unwrap();
            let (one, two) = tokio::join!(
                Connection::accept(one, ours, &memory),
                Connection::accept(two, theirs, &memory)
            );
            assert_eq!((one.is_ok(), two.is_ok()), (fit, fit), "{ours:?} {theirs:?}");
        }
    }

    #[tokio::test]
    async fn a_subscriber_is_understood_in_both_versions_of_the_protocol() {
        let memory = Budget::default();
        let (one, two) = UnixStream::pair().unwrap();
        let (publisher, subscriber) = tokio::join!(
            Connection::accept(one, Kind::Publisher, &memory),
            Connection::accept(two, Kind::Subscriber, &memory)
        );
        let (mut publisher, mut subscriber) = (publisher.unwrap(), subscriber.unwrap());
        let commands = [
            (frame(b"\x01asr"), SubscriberCommand::Subscribe(b"asr".to_vec())),
            (frame(b"\x00asr"), SubscriberCommand::Cancel(b"asr".to_vec())),
            (frame(b"\x01"), SubscriberCommand::Subscribe(Vec::new())),
            (
                command(b"SUBSCRIBE", b"tts"),
                SubscriberCommand::Subscribe(b"tts".to_vec()),
            ),
            (command(b"CANCEL", b"tts"), SubscriberCommand::Cancel(b"tts".to_vec())),
            (
                command(b"PING", b"\0\0sp"),
                SubscriberCommand::Pong(command(b"PONG", b"sp")),
            ),
            (frame(b"hello"), SubscriberCommand::Other),
            (frame(b""), SubscriberCommand::Other),
            (command(b"JOIN", b"x"), SubscriberCommand::Other),
        ];
        for (bytes, expected) in commands {
            subscriber.write(&bytes).await.unwrap();
            assert_eq!(publisher.next_command().await.unwrap(), expected);
        }
        drop(subscriber);
        assert!(publisher.next_command().await.is_err());
    }

    #[tokio::test]
    async fn who_only_pushes_answers_pings_and_hears_an_error() {
        let (one, two) = UnixStream::pair().unwrap();
        let (reader, _writer) = one.into_split();
        let watch = PeerWatch(FrameReader::new(reader, &Budget::default()));
        let (_, mut peer) = two.into_split();
        peer.write_all(&command(b"PING", b"\0\0who")).await.unwrap();
        peer.write_all(&command(b"ERROR", b"\x04away")).await.unwrap();
        let answers = std::cell::RefCell::new(Vec::new());
        tokio::time::timeout(
            HANDSHAKE,
            watch.disconnected(|answer| answers.borrow_mut().push(answer)),
        )
        .await
        .unwrap();
        assert_eq!(answers.into_inner(), [command(b"PONG", b"who")]);
    }

    #[tokio::test]
    async fn a_message_of_endless_frames_is_cut_off() {
        let memory = Budget::default();
        let (one, two) = UnixStream::pair().unwrap();
        let (reading, writing) = tokio::join!(
            Connection::accept(one, Kind::Reply, &memory),
            Connection::accept(two, Kind::Request, &memory)
        );
        let (mut reading, mut writing) = (reading.unwrap(), writing.unwrap());
        let endless = tokio::spawn(async move { while writing.write(&[MORE, 0].repeat(10_000)).await.is_ok() {} });
        assert!(reading.receive().await.is_err());
        drop(reading);
        endless.await.unwrap();
    }
}
