//! StackFlow as it is spoken on TCP port 10001: frames, messages, error codes, text streams, model cards. It opens no socket.

pub mod error;
pub mod extension;
pub mod message;

pub use error::{Code, ErrorField};
pub use message::{Reply, Request, SetUp, StreamData, StreamInput, TaskInfo};
