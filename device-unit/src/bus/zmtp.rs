//! The connecting side of ZeroMQ over Unix sockets: REQ, SUB and PUSH as ZMTP 3.0 (RFC 23) has them, mechanism NULL.
//!
//! By hand, because three things are needed that the `zeromq` crate does not offer to those who connect: to know that a peer
//! has gone without writing to it, to be held up by a peer that does not read, and to know that a subscription has arrived.
//! It knows no message's meaning.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Largest message that is read.
const LIMIT: usize = 64 << 20;
/// How long a peer may take for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// How long answers to PING are waited for. A peer that knows no PING has had time enough then.
const SETTLING: Duration = Duration::from_millis(200);

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// What the connecting socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Request,
    Subscriber,
    Push,
}

impl Kind {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Request => b"REQ",
            Self::Subscriber => b"SUB",
            Self::Push => b"PUSH",
        }
    }
}

/// The file of an `ipc://` address.
pub fn path_of(url: &str) -> io::Result<PathBuf> {
    let path = url.strip_prefix("ipc://").filter(|path| Path::new(path).is_absolute());
    path.map(PathBuf::from).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{url:?} is no ipc:// address of a file"),
        )
    })
}

/// A message as one frame.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(message.len() + 9);
    push_frame(&mut bytes, 0, message);
    bytes
}

fn push_frame(bytes: &mut Vec<u8>, flags: u8, body: &[u8]) {
    match u8::try_from(body.len()) {
        Ok(length) => bytes.extend([flags, length]),
        Err(_) => {
            bytes.push(flags | LONG);
            bytes.extend((body.len() as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(body);
}

/// A command's body: its name, and what follows.
fn command(name: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut body = vec![name.len() as u8];
    body.extend_from_slice(name);
    body.extend_from_slice(rest);
    body
}

/// A connection after its handshake.
#[derive(Debug)]
pub struct Connection {
    reader: FrameReader,
    writer: OwnedWriteHalf,
}

impl Connection {
    /// Connects to the socket file of `url`.
    ///
    /// # Errors
    /// Nobody there, no answer within three seconds, or an answer that is no ZMTP.
    pub async fn open(url: &str, kind: Kind) -> io::Result<Self> {
        let path = path_of(url)?;
        let opening = async {
            let (reader, writer) = UnixStream::connect(&path).await?.into_split();
            let mut connection = Self {
                reader: FrameReader {
                    stream: reader,
                    bytes: Vec::new(),
                },
                writer,
            };
            connection.shake_hands(kind).await?;
            Ok(connection)
        };
        tokio::time::timeout(HANDSHAKE, opening)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn shake_hands(&mut self, kind: Kind) -> io::Result<()> {
        // Signature, version 3.0, mechanism NULL, not a server, filler.
        let mut greeting = [0; 64];
        greeting[0] = 0xff;
        greeting[9] = 0x7f;
        greeting[10] = 3;
        greeting[12..16].copy_from_slice(b"NULL");
        self.writer.write_all(&greeting).await?;
        let theirs = self.reader.take(64).await?;
        if theirs[0] != 0xff || theirs[9] & 1 != 1 || theirs[10] < 3 || &theirs[12..17] != b"NULL\0" {
            return Err(garbage("the peer does not speak ZMTP 3 without security"));
        }
        let mut metadata = vec![11];
        metadata.extend_from_slice(b"Socket-Type");
        metadata.extend((kind.name().len() as u32).to_be_bytes());
        metadata.extend_from_slice(kind.name());
        let mut ready = Vec::new();
        push_frame(&mut ready, COMMAND, &command(b"READY", &metadata));
        self.writer.write_all(&ready).await?;
        let (flags, body) = self.reader.frame().await?;
        if flags & COMMAND == 0 || !body.starts_with(b"\x05READY") {
            return Err(garbage("the peer refused the handshake"));
        }
        Ok(())
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

    /// The next message, its frames one by one.
    ///
    /// # Errors
    /// Those of the connection; `UnexpectedEof` where the peer is gone.
    pub async fn receive(&mut self) -> io::Result<Vec<Vec<u8>>> {
        loop {
            if let Received::Message(frames) = self.receive_any().await? {
                return Ok(frames);
            }
        }
    }

    async fn receive_any(&mut self) -> io::Result<Received> {
        let mut frames = Vec::new();
        loop {
            let (flags, body) = self.reader.frame().await?;
            if flags & COMMAND != 0 {
                if let Some(rest) = body.strip_prefix(b"\x04PING") {
                    // Two bytes of time to live, then what is to come back.
                    let mut pong = Vec::new();
                    push_frame(&mut pong, COMMAND, &command(b"PONG", rest.get(2..).unwrap_or_default()));
                    self.writer.write_all(&pong).await?;
                } else if body.starts_with(b"\x04PONG") {
                    return Ok(Received::Pong);
                }
                continue;
            }
            frames.push(body);
            if flags & MORE == 0 {
                return Ok(Received::Message(frames));
            }
        }
    }

    /// Subscribes to everything, and returns when the publisher has it: whatever is published from then on arrives. What
    /// arrives meanwhile is returned.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn subscribe(&mut self) -> io::Result<Vec<Vec<Vec<u8>>>> {
        self.writer.write_all(&frame(&[1])).await?;
        let mut early = Vec::new();
        let settling = async {
            // libzmq answers PING in the middle of what it has just read, and only behind all of that hands the subscription on
            // to the publisher. What is asked when the first answer is here is read later, and so answered behind it.
            for _ in 0..2 {
                let mut ping = Vec::new();
                push_frame(&mut ping, COMMAND, &command(b"PING", &[0, 0, b's', b'p']));
                self.writer.write_all(&ping).await?;
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

    /// The two directions apart: the bytes to write are then frames, and to be read there is only the end.
    pub fn into_push(self) -> (OwnedWriteHalf, PeerWatch) {
        (self.writer, PeerWatch(self.reader))
    }
}

enum Received {
    Message(Vec<Vec<u8>>),
    Pong,
}

/// Sees the peer of a PUSH go.
#[derive(Debug)]
pub struct PeerWatch(FrameReader);

impl PeerWatch {
    /// Returns when the peer has gone.
    pub async fn gone(mut self) {
        while self.0.frame().await.is_ok() {}
    }
}

/// Reads frames. What is half-read stays when a read is given up.
#[derive(Debug)]
struct FrameReader {
    stream: OwnedReadHalf,
    bytes: Vec<u8>,
}

impl FrameReader {
    async fn fill(&mut self, count: usize) -> io::Result<()> {
        while self.bytes.len() < count {
            if self.stream.read_buf(&mut self.bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    async fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        self.fill(count).await?;
        let rest = self.bytes.split_off(count);
        Ok(std::mem::replace(&mut self.bytes, rest))
    }

    async fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        self.fill(2).await?;
        let flags = self.bytes[0];
        let (header, length) = if flags & LONG == 0 {
            (2, u64::from(self.bytes[1]))
        } else {
            self.fill(9).await?;
            let mut length = [0; 8];
            length.copy_from_slice(&self.bytes[1..9]);
            (9, u64::from_be_bytes(length))
        };
        let length = usize::try_from(length).ok().filter(|&length| length <= LIMIT);
        let length = length.ok_or_else(|| garbage("a message is larger than 64 MiB"))?;
        self.fill(header + length).await?;
        let mut body = self.take(header + length).await?;
        body.drain(..header);
        Ok((flags, body))
    }
}

fn garbage(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_short_up_to_255_bytes_and_long_beyond() {
        assert_eq!(frame(b"hi"), b"\x00\x02hi");
        assert_eq!(frame(&[7; 255])[..3], [0, 255, 7]);
        assert_eq!(frame(&[7; 256])[..10], [2, 0, 0, 0, 0, 0, 0, 1, 0, 7]);
    }

    #[tokio::test]
    async fn a_subscription_counts_when_a_second_question_is_answered_that_was_asked_behind_the_first_answer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pub");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let publisher = tokio::spawn(async move {
            let (reader, writer) = listener.accept().await.unwrap().0.into_split();
            let reader = FrameReader {
                stream: reader,
                bytes: Vec::new(),
            };
            let mut peer = Connection { reader, writer };
            peer.shake_hands(Kind::Push).await.unwrap();
            assert_eq!(peer.reader.frame().await.unwrap(), (0, vec![1]), "the subscription");
            let mut answered = 0;
            while let Ok((flags, body)) = peer.reader.frame().await {
                assert_eq!((flags, &body[..5]), (COMMAND, &b"\x04PING"[..]));
                let early = tokio::time::timeout(Duration::from_millis(30), peer.reader.fill(1)).await;
                assert!(early.is_err(), "nothing is asked before the answer");
                if answered == 0 {
                    peer.send(&[b"early"]).await.unwrap();
                }
                let mut pong = Vec::new();
                push_frame(&mut pong, COMMAND, &command(b"PONG", &body[7..]));
                peer.writer.write_all(&pong).await.unwrap();
                answered += 1;
                if answered == 2 {
                    break;
                }
            }
            answered
        });
        let url = format!("ipc://{}", path.display());
        let mut subscriber = Connection::open(&url, Kind::Subscriber).await.unwrap();
        assert_eq!(subscriber.subscribe().await.unwrap(), [[b"early".to_vec()]]);
        assert_eq!(publisher.await.unwrap(), 2);
    }

    #[test]
    fn only_absolute_ipc_addresses_are_files() {
        assert_eq!(
            path_of("ipc:///tmp/llm/8001.sock").unwrap(),
            Path::new("/tmp/llm/8001.sock")
        );
        for url in ["tcp://127.0.0.1:1", "ipc://relative", "", "/tmp/x"] {
            assert!(path_of(url).is_err());
        }
    }
}
