//! Serialisation of messages, and their extraction from a byte stream. The rules of both directions are in [`super`].

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};
use serde_json::{Map, Value};

use super::message::{Reply, Request};

/// The default limit of a reader: 16 MiB.
pub const DEFAULT_LIMIT: usize = 16 << 20;

/// Field names that a stock unit looks up by text search: a string value that is exactly one of them would be mistaken
/// for the field.
const FIELD_NAMES: [&str; 12] = [
    "request_id",
    "work_id",
    "action",
    "object",
    "data",
    "delta",
    "index",
    "finish",
    "soft_prefix",
    "zmq_com",
    "RAW",
    "BON",
];

/// Whether `text` is a field name, and therefore unfit as a `request_id`.
pub fn is_field_name(text: &str) -> bool {
    FIELD_NAMES.contains(&text)
}

/// A message type whose serialisation cannot fail: objects with string keys. Sealed.
pub trait Message: Serialize + private::Sealed {}

mod private {
    pub trait Sealed {}
}

macro_rules! messages {
    ($($kind:ty),*) => { $(impl private::Sealed for $kind {} impl Message for $kind {})* };
}
messages!(Request, Reply, Value, Map<String, Value>);

/// One message as bytes: compact, raw UTF-8, no brace inside a string, one newline at the end.
pub fn encode<M: Message>(message: &M) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    let mut serializer = Serializer::with_formatter(&mut bytes, SafeFormatter::default());
    #[expect(
        clippy::expect_used,
        reason = "a Vec takes every write, and the sealed types serialise without custom errors"
    )]
    message.serialize(&mut serializer).expect("messages serialise");
    bytes.push(b'\n');
    bytes
}

/// Compact JSON whose strings contain nothing that misleads a brace counter or a text search.
#[derive(Default)]
struct SafeFormatter {
    compact: CompactFormatter,
    /// Whether a backslash waits for its form, which depends on whether the string goes on.
    held_backslash: bool,
    in_key: bool,
    at_start: bool,
}

impl SafeFormatter {
    fn release<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if std::mem::take(&mut self.held_backslash) {
            writer.write_all(b"\\\\")
        } else {
            Ok(())
        }
    }
}

impl Formatter for SafeFormatter {
    fn begin_string<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.at_start = true;
        writer.write_all(b"\"")
    }

    fn end_string<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        // A stock unit mistakes `\\"` for an escaped quote, so the string would never end.
        if std::mem::take(&mut self.held_backslash) {
            writer.write_all(b"\\u005c")?;
        }
        writer.write_all(b"\"")
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        self.release(writer)?;
        let mut rest = fragment;
        if std::mem::take(&mut self.at_start) && !self.in_key && is_field_name(fragment) {
            let (first, others) = fragment.split_at(1);
            for byte in first.bytes() {
                write!(writer, "\\u{byte:04x}")?;
            }
            rest = others;
        }
        while let Some(at) = rest.find(['{', '}']) {
            writer.write_all(&rest.as_bytes()[..at])?;
            writer.write_all(if rest.as_bytes()[at] == b'{' {
                b"\\u007b"
            } else {
                b"\\u007d"
            })?;
            rest = &rest[at + 1..];
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        self.release(writer)?;
        self.at_start = false;
        match escape {
            CharEscape::ReverseSolidus => {
                self.held_backslash = true;
                Ok(())
            }
            // A stock unit reads `\f` as the letter f.
            CharEscape::FormFeed => writer.write_all(b"\\u000c"),
            other => self.compact.write_char_escape(writer, other),
        }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.in_key = true;
        self.compact.begin_object_key(writer, first)
    }

    fn end_object_key<W: ?Sized + io::Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.in_key = false;
        Ok(())
    }
}

/// An error in the bytes from a peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Fatal: every further [`FrameReader::next`] returns it again.
    #[error(
        "a message of more than {limit} bytes arrived without an end; close the connection and check what the peer sends"
    )]
    TooLarge {
        /// Most bytes of a message, as given to [`FrameReader::new`].
        limit: usize,
    },
    /// llm-sys answers this with -1; reading goes on.
    #[error("a closing brace arrived outside every message; reconnect if this happens again")]
    Unbalanced,
    /// Text outside every message, reported once between two messages or line ends; reading goes on.
    #[error(
        "{excerpt:?} arrived where a JSON message was expected; check that the address belongs to a StackFlow module"
    )]
    Garbage {
        /// The first bytes of the text, at most 60.
        excerpt: String,
    },
}

/// Extracts JSON objects from a byte stream, wherever its pieces are cut.
///
/// Call [`push`](Self::push) with what arrived, then [`next`](Self::next) until it returns `Ok(None)`. At most the
/// limit and one push are buffered.
#[derive(Debug)]
pub struct FrameReader {
    buffer: Vec<u8>,
    /// Bytes before it belong to messages that were returned.
    start: usize,
    /// Bytes before it have been scanned.
    seen: usize,
    state: State,
    limit: usize,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Outside { in_garbage: bool },
    Inside(Scan),
    Dead,
}

/// Where the reader is inside an object.
#[derive(Debug, Clone, Copy, Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// All braces, those in strings too, as llm-sys counts them: this ends an object that is not JSON.
    plain_depth: isize,
    after_backslash: bool,
    broken: bool,
}

impl Scan {
    /// Scans one byte; returns whether the object ends with it.
    fn step(&mut self, byte: u8) -> bool {
        match byte {
            b'{' if !self.after_backslash => self.plain_depth += 1,
            b'}' if !self.after_backslash => self.plain_depth -= 1,
            _ => {}
        }
        self.after_backslash = byte == b'\\';
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                // JSON forbids raw control characters in strings: a quote is missing or the text was not escaped.
                0..0x20 => self.broken = true,
                _ => {}
            }
        } else {
            match byte {
                b'"' => self.in_string = true,
                b'{' => self.depth += 1,
                b'}' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        if self.broken {
            self.plain_depth <= 0
        } else {
            self.depth == 0
        }
    }
}

impl Default for FrameReader {
    fn default() -> Self {
        Self::new(DEFAULT_LIMIT)
    }
}

impl FrameReader {
    /// A reader that refuses messages of more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            seen: 0,
            state: State::Outside { in_garbage: false },
            limit,
        }
    }

    /// Adds bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if matches!(self.state, State::Dead) {
            return;
        }
        self.buffer.drain(..self.start);
        self.seen -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole object, or `None` if more bytes are needed. Its braces are balanced; it need not be valid JSON.
    ///
    /// # Errors
    /// [`FrameError`]; all but [`FrameError::TooLarge`] may be followed by further messages.
    #[expect(clippy::should_implement_trait, reason = "not an iterator: Ok(None) is not the end")]
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        loop {
            match self.state {
                State::Dead => return Err(FrameError::TooLarge { limit: self.limit }),
                State::Inside(mut scan) => {
                    let most = self.buffer.len().min(self.start.saturating_add(self.limit));
                    let end = self.buffer[self.seen..most].iter().position(|&byte| scan.step(byte));
                    if let Some(offset) = end {
                        return Ok(Some(self.take(self.seen + offset + 1)));
                    }
                    self.seen = most;
                    self.state = State::Inside(scan);
                    if self.buffer.len() - self.start >= self.limit {
                        return Err(self.die());
                    }
                    return Ok(None);
                }
                State::Outside { in_garbage } => {
                    let Some(&byte) = self.buffer.get(self.seen) else {
                        self.start = self.seen;
                        return Ok(None);
                    };
                    match byte {
                        b'{' => {
                            self.start = self.seen;
                            self.state = State::Inside(Scan::default());
                        }
                        b'\n' => {
                            self.state = State::Outside { in_garbage: false };
                            self.skip(1);
                        }
                        b' ' | b'\t' | b'\r' => self.skip(1),
                        b'}' => {
                            self.skip(1);
                            return Err(FrameError::Unbalanced);
                        }
                        _ => {
                            let rest = &self.buffer[self.seen..];
                            let length = rest
                                .iter()
                                .position(|byte| matches!(byte, b'{' | b'}' | b'\n'))
                                .unwrap_or(rest.len());
                            let excerpt = String::from_utf8_lossy(&rest[..length.min(60)]).into_owned();
                            self.state = State::Outside { in_garbage: true };
                            self.skip(length);
                            if !in_garbage {
                                return Err(FrameError::Garbage { excerpt });
                            }
                        }
                    }
                }
            }
        }
    }

    fn skip(&mut self, length: usize) {
        self.seen += length;
        self.start = self.seen;
    }

    fn take(&mut self, end: usize) -> Vec<u8> {
        let message = self.buffer[self.start..end].to_vec();
        self.start = end;
        self.seen = end;
        self.state = State::Outside { in_garbage: false };
        message
    }

    fn die(&mut self) -> FrameError {
        self.state = State::Dead;
        self.buffer = Vec::new();
        self.start = 0;
        self.seen = 0;
        FrameError::TooLarge { limit: self.limit }
    }
}
