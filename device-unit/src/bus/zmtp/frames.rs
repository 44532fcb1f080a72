//! ZMTP frames and commands as bytes.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::net::unix::OwnedReadHalf;

use crate::budget::{Budget, Charge};

/// Largest message that is read: the largest request and llm-sys' prefix.
pub const LIMIT: usize = (16 << 20) + (64 << 10);
/// Most bytes of a PING that are returned.
const PING_CONTEXT: usize = 16;

pub const MORE: u8 = 1;
pub const LONG: u8 = 2;
pub const COMMAND: u8 = 4;

/// A message as one frame.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(message.len() + 9);
    push_frame(&mut bytes, 0, message);
    bytes
}

pub fn push_frame(bytes: &mut Vec<u8>, flags: u8, body: &[u8]) {
    match u8::try_from(body.len()) {
        Ok(length) => bytes.extend([flags, length]),
        Err(_) => {
            bytes.push(flags | LONG);
            bytes.extend((body.len() as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(body);
}

/// A command as a frame: its name and body.
pub fn command(name: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut body = vec![name.len() as u8];
    body.extend_from_slice(name);
    body.extend_from_slice(rest);
    let mut bytes = Vec::with_capacity(body.len() + 9);
    push_frame(&mut bytes, COMMAND, &body);
    bytes
}

/// The answer to a PING. `ping` is its body after the name: a time to live of two bytes, then the context to return, at
/// most 16 bytes.
pub fn pong(ping: &[u8]) -> Vec<u8> {
    let context = ping.get(2..).unwrap_or_default();
    command(b"PONG", &context[..context.len().min(PING_CONTEXT)])
}

/// The reason in an ERROR command; `None` for other commands.
pub fn refusal(body: &[u8]) -> Option<io::Error> {
    let rest = body.strip_prefix(b"\x05ERROR")?;
    let reason = rest
        .split_first()
        .and_then(|(&length, text)| text.get(..usize::from(length)));
    let reason = String::from_utf8_lossy(reason.unwrap_or_default()).into_owned();
    Some(io::Error::new(
        io::ErrorKind::ConnectionRefused,
        format!("the peer refused with {reason:?}"),
    ))
}

/// A READY command for a socket of the type `name`.
pub fn ready(name: &[u8]) -> Vec<u8> {
    let mut metadata = vec![SOCKET_TYPE.len() as u8];
    metadata.extend_from_slice(SOCKET_TYPE);
    metadata.extend((name.len() as u32).to_be_bytes());
    metadata.extend_from_slice(name);
    command(b"READY", &metadata)
}

const SOCKET_TYPE: &[u8] = b"Socket-Type";

/// The socket type in a READY command; `None` for other commands, and where it is missing.
pub fn socket_type(body: &[u8]) -> Option<&[u8]> {
    let mut rest = body.strip_prefix(b"\x05READY")?;
    loop {
        let (&length, after) = rest.split_first()?;
        let (name, after) = after.split_at_checked(usize::from(length))?;
        let (length, after) = after.split_first_chunk::<4>()?;
        let (value, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        if name.eq_ignore_ascii_case(SOCKET_TYPE) {
            return Some(value);
        }
        rest = after;
    }
}

/// Reads frames. Cancel safe: partly read frames stay in the buffer.
#[derive(Debug)]
pub struct FrameReader {
    stream: OwnedReadHalf,
    bytes: Vec<u8>,
    /// The charge of the buffered bytes.
    charge: Charge,
}

impl FrameReader {
    pub fn new(stream: OwnedReadHalf, memory: &Budget) -> Self {
        Self {
            stream,
            bytes: Vec::new(),
            charge: memory.message(),
        }
    }

    pub async fn fill(&mut self, count: usize) -> io::Result<()> {
        while self.bytes.len() < count {
            let read = self.stream.read_buf(&mut self.bytes).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if !self.charge.grow(read) {
                return Err(memory_taken());
            }
        }
        Ok(())
    }

    /// The next `count` bytes.
    pub async fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        self.fill(count).await?;
        let rest = self.bytes.split_off(count);
        // The caller charges the bytes from here on.
        self.charge.shrink(count);
        Ok(std::mem::replace(&mut self.bytes, rest))
    }

    /// The next frame: its flags and its body.
    pub async fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        self.fill(2).await?;
        let flags = self.bytes[0];
        if flags & !(MORE | LONG | COMMAND) != 0 || flags & (COMMAND | MORE) == COMMAND | MORE {
            return Err(garbage("a frame has flags that no frame has"));
        }
        let (header, length) = if flags & LONG == 0 {
            (2, u64::from(self.bytes[1]))
        } else {
            self.fill(9).await?;
            let mut length = [0; 8];
            length.copy_from_slice(&self.bytes[1..9]);
            (9, u64::from_be_bytes(length))
        };
        let length = usize::try_from(length).ok().filter(|&length| length <= LIMIT);
        let length = length.ok_or_else(|| garbage("a message is larger than 16 MiB"))?;
        self.fill(header + length).await?;
        let mut body = self.take(header + length).await?;
        body.drain(..header);
        Ok((flags, body))
    }
}

pub fn memory_taken() -> io::Error {
    io::Error::new(
        io::ErrorKind::OutOfMemory,
        "the memory that this unit has for requests is taken",
    )
}

pub fn garbage(what: &str) -> io::Error {
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

    #[test]
    fn a_pong_brings_back_at_most_sixteen_bytes() {
        assert_eq!(pong(b"\0\0sp"), command(b"PONG", b"sp"));
        assert_eq!(pong(&[&[0, 0][..], &[7; 100]].concat()), command(b"PONG", &[7; 16]));
        assert_eq!(pong(b"\0"), command(b"PONG", b""));
    }

    #[test]
    fn an_error_frame_has_a_reason() {
        let error = refusal(b"\x05ERROR\x0bno such key").unwrap();
        assert!(error.to_string().contains("no such key"), "{error}");
        assert!(refusal(b"\x05ERROR\xffshort").is_some() && refusal(b"\x05ERROR").is_some());
        assert!(refusal(b"\x05READY").is_none());
    }

    #[tokio::test]
    async fn flags_that_no_frame_has_end_the_connection() {
        for flags in [COMMAND | MORE, 8, 0x80] {
            let (one, two) = tokio::net::UnixStream::pair().unwrap();
            two.try_write(&[flags, 1, 0]).unwrap();
            let error = FrameReader::new(one.into_split().0, &Budget::default())
                .frame()
                .await
                .unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{flags:#x}");
        }
    }

    #[test]
    fn the_kind_of_socket_is_found_among_other_properties_in_any_case() {
        assert_eq!(socket_type(&ready(b"REP")[2..]), Some(&b"REP"[..]));
        let body = b"\x05READY\x08Identity\0\0\0\x03me!\x0bSOCKET-TYPE\0\0\0\x03SUB";
        assert_eq!(socket_type(body), Some(&b"SUB"[..]));
        for broken in [
            &b"\x05READY"[..],
            b"\x05ERROR\x02no",
            b"\x05READY\x0bSocket-Type\0\0\0\x09SUB",
            b"\x05READY\xffSocket",
            b"\x05READY\x0bSocket-Type\xff\xff\xff\xffSUB",
            b"",
        ] {
            assert_eq!(socket_type(broken), None, "{broken:?}");
        }
    }
}
