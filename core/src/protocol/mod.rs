//! The StackFlow protocol of TCP port 10001: frames, messages, error codes, text streams, model cards. Opens no socket.
//!
//! `PROTOCOL.md` beside this file is the reference: what llm-sys and the stock LLM unit do, with its sources, and what our unit adds.
//! "PROTOCOL 5.2" in a comment means that section of it.
//!
//! The rules behind it, found by running the stock programs:
//!
//! **Writing.** llm-sys finds the end of a message by counting braces, including those in strings, and a unit finds fields by
//! searching the raw text for `"name"`. So in everything we send (as client and as unit):
//! * every `{` and `}` inside a string is written `\u007b` / `\u007d`, which arrives as a brace;
//! * a string's last backslash is written `\u005c`, since `\\"` is taken for an escaped quote and the string never ends;
//! * a string value that is exactly a field's name has its first letter escaped, a form feed is `\u000c` (`\f` would arrive as
//!   the letter f), everything else that is not ASCII is raw UTF-8: an escaped surrogate pair arrives as broken text, so emoji
//!   go as they are;
//! * JSON is compact, the data of a request comes last, one newline follows, and nothing else is sent.
//!
//! **Reading.** Messages are JSON objects and are split as such, never by line: a message may arrive without a newline, several may
//! share a line, and the bytes may be cut anywhere. A message that is not JSON (for example with a raw newline in a string) ends where
//! llm-sys would end it, so that the next one can be read. Text between messages is reported once and skipped. A message may have
//! 16 MiB; beyond that the connection is closed.
//!
//! **Matching replies.** Replies arrive in any order and may belong to other clients: a reply is ours if request id and work id match,
//! except that errors may have `llm` or even `kws` as their work id. Any request may stay unanswered, so each has a time limit. Stream
//! indices are ignored.

pub mod card;
pub mod discovery;
pub mod error;
pub mod extension;
pub mod frame;
pub mod learn;
pub mod message;
mod secret;
pub mod text_stream;
mod weights;

pub use card::ModelCard;
pub use error::{Code, ErrorField};
pub use frame::{FrameError, FrameReader, encode};
pub use message::{Reply, Request, Sampling, SetUp, StreamData, StreamInput, TaskInfo};
pub use text_stream::{DeltaJoiner, Utf8Cutter};
