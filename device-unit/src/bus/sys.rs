//! What is asked of llm-sys: numbers for tasks, and the values of its key store (PROTOCOL 3.1). It knows no task.

use std::time::Duration;

use super::zmtp::{Connection, Kind};
use crate::budget::Budget;

/// How long llm-sys may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why llm-sys did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SysError {
    #[error("llm-sys cannot be reached at {url} ({source}); check `systemctl status llm-sys`")]
    Unreachable { url: String, source: std::io::Error },
    #[error("llm-sys gave no answer to {action} within three seconds; check `systemctl status llm-sys`")]
    Silent { action: &'static str },
    #[error("llm-sys answered {action} with {answer:?}, which is not what this unit knows; update the unit or llm-sys")]
    Strange { action: &'static str, answer: String },
}

/// The way to llm-sys.
#[derive(Debug, Clone)]
pub struct Sys {
    url: String,
    memory: Budget,
}

/// What llm-sys gives a task.
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
        // A connection for each call, as all units do: a call that failed cannot leave the next one out of step.
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
        tokio::time::timeout(PATIENCE, calling)
            .await
            .unwrap_or(Err(SysError::Silent { action }))
    }

    /// A number and two addresses for a new task of `unit`.
    ///
    /// # Errors
    /// [`SysError`].
    pub async fn register(&self, unit: &str) -> Result<Registered, SysError> {
        let action = "register_unit";
        let answer = self.call(action, unit).await?;
        read_registered(&answer).ok_or_else(|| SysError::Strange {
            action,
            answer: String::from_utf8_lossy(&answer).into_owned(),
        })
    }

    /// Gives a task's number back.
    ///
    /// # Errors
    /// [`SysError`].
    pub async fn release(&self, work_id: &str) -> Result<(), SysError> {
        self.call("release_unit", work_id).await.map(|_| ())
    }

    /// A value of the key store; empty where there is none.
    ///
    /// # Errors
    /// [`SysError`].
    pub async fn select(&self, key: &str) -> Result<String, SysError> {
        Ok(String::from_utf8_lossy(&self.call("sql_select", key).await?).into_owned())
    }
}

/// Two texts in one: the length of the first in a byte, the first, the second.
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
