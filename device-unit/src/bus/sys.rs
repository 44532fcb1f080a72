//! Calls to llm-sys: numbers for tasks, and values of its key store (PROTOCOL 3.1).

use std::time::Duration;

use super::zmtp::{Connection, Kind};
use crate::budget::Budget;

/// Limit for an answer of llm-sys.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Why a call to llm-sys failed.
#[derive(Debug, thiserror::Error)]
pub enum SysError {
    /// The connection failed or broke.
    #[error("llm-sys cannot be reached at {url} ({source}); check `systemctl status llm-sys`")]
    Unreachable {
        /// Address of llm-sys, `ipc://...`.
        url: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The call was sent and not answered in time.
    #[error("llm-sys gave no answer to {action} within three seconds; check `systemctl status llm-sys`")]
    NoReply {
        /// Name of the call, such as `register_unit`.
        action: &'static str,
    },
    /// The answer does not have the form that the call promises.
    #[error(
        "llm-sys answered {action} with {answer:?}, which this unit does not understand; update the unit or llm-sys"
    )]
    UnexpectedReply {
        /// Name of the call, such as `register_unit`.
        action: &'static str,
        /// The answer, with U+FFFD for bytes that are not UTF-8.
        answer: String,
    },
}

/// A client of llm-sys.
#[derive(Debug, Clone)]
pub struct Sys {
    url: String,
    memory: Budget,
}

/// What llm-sys assigns to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    pub number: u32,
    /// Where the task publishes.
    pub output_url: String,
    /// Where llm-sys publishes the task's inferences.
    pub inference_url: String,
}

impl Sys {
    pub fn new(url: String, memory: Budget) -> Self {
        Self { url, memory }
    }

    async fn call(&self, action: &'static str, argument: &str) -> Result<Vec<u8>, SysError> {
        // One connection for each call, as all units do: after a failed call the next one is not out of step.
        let unreachable = |source| SysError::Unreachable {
            url: self.url.clone(),
            source,
        };
        let calling = async {
            let mut connection = Connection::open(&self.url, Kind::Request, &self.memory)
                .await
                .map_err(unreachable)?;
            // The empty frame is REQ's own.
            connection
                .send(&[b"", action.as_bytes(), argument.as_bytes()])
                .await
                .map_err(unreachable)?;
            let answer = connection.receive().await.map_err(unreachable)?;
            Ok(answer.into_iter().find(|frame| !frame.is_empty()).unwrap_or_default())
        };
        tokio::time::timeout(TIMEOUT, calling)
            .await
            .unwrap_or(Err(SysError::NoReply { action }))
    }

    /// A number and two addresses for a new task of `unit`.
    ///
    /// # Errors
    /// [`SysError`].
    pub async fn register(&self, unit: &str) -> Result<Registered, SysError> {
        let action = "register_unit";
        let answer = self.call(action, unit).await?;
        read_registered(&answer).ok_or_else(|| SysError::UnexpectedReply {
            action,
            answer: String::from_utf8_lossy(&answer).into_owned(),
        })
    }

    /// Releases a task's number.
    ///
    /// # Errors
    /// [`SysError`].
    pub async fn release(&self, work_id: &str) -> Result<(), SysError> {
        self.call("release_unit", work_id).await.map(|_| ())
    }

    /// A value of the key store; empty if there is none.
    ///
    /// # Errors
    /// [`SysError`].
    pub async fn select(&self, key: &str) -> Result<String, SysError> {
        Ok(String::from_utf8_lossy(&self.call("sql_select", key).await?).into_owned())
    }
}

/// Splits a pair: one byte with the length of the first text, the first, the second.
pub fn split_pair(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(length))
}

fn read_registered(answer: &[u8]) -> Option<Registered> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok().filter(|text| !text.is_empty());
    let (number, urls) = split_pair(answer)?;
    let (output_url, inference_url) = split_pair(urls)?;
    Some(Registered {
        number: text(number)?.parse().ok()?,
        output_url: text(output_url)?,
        inference_url: text(inference_url)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_registration_is_read() {
        let recorded =
            b"\x041000)ipc:///tmp/llm/5010.sock.probe.output_urlipc:///tmp/llm/5012.sock.probe.inference_url";
        let registered = read_registered(recorded).unwrap();
        assert_eq!(registered.number, 1000);
        assert_eq!(registered.output_url, "ipc:///tmp/llm/5010.sock.probe.output_url");
        assert_eq!(registered.inference_url, "ipc:///tmp/llm/5012.sock.probe.inference_url");
    }

    #[test]
    fn what_is_no_registration_is_seen() {
        for answer in [
            &b""[..],
            b"register_unit NotAction",
            b"\x04",
            b"\x041000",
            b"\x04100x\x01ab",
        ] {
            assert_eq!(read_registered(answer), None);
        }
    }
}
