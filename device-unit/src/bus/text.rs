//! Parsing of messages on the bus: inferences from llm-sys and results of other units.

use serde::Deserialize;
use softprefix_core::sent::{self, Object};

/// The start of every inference that llm-sys publishes.
const START: &[u8] = b"{\"zmq_com\":\"";

/// The client's address and the request of an inference as llm-sys publishes it: `{"zmq_com":"...",` and the request
/// without its first brace. A `zmq_com` that the client wrote itself stays in the request, where it is ignored.
pub fn split_inference(message: &[u8]) -> Option<(String, Vec<u8>)> {
    let rest = message.strip_prefix(START)?;
    let end = rest.iter().position(|&byte| byte == b'"')?;
    let address = std::str::from_utf8(&rest[..end]).ok()?.to_owned();
    let rest = rest[end + 1..].trim_ascii_start().strip_prefix(b",")?;
    let mut text = Vec::with_capacity(rest.len() + 1);
    text.push(b'{');
    text.extend_from_slice(rest);
    Some((address, text))
}

/// The text of another unit's result: the whole data, or the last frame, which contains the whole text (speech is
/// recognised cumulatively). `None` for earlier frames and for other data.
pub fn of_speech(message: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Result<T> {
        data: T,
    }
    #[derive(Deserialize)]
    struct Frame {
        delta: String,
        finish: bool,
    }
    let text = match sent::first::<Result<String>>(message) {
        Ok(result) => result.data,
        Err(_) => {
            let Object(frame) = sent::first::<Result<Object<Frame>>>(message).ok()?.data;
            frame.finish.then_some(frame.delta)?
        }
    };
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_inference_is_split() {
        let recorded = br#"{"zmq_com":"ipc:///tmp/llm/8001.sock","request_id": "i", "work_id": "pyu.1001", "action": "inference", "object": "llm.utf-8", "data": "hi"}"#;
        let (address, text) = split_inference(recorded).unwrap();
        assert_eq!(address, "ipc:///tmp/llm/8001.sock");
        let charge = crate::budget::Budget::default().message();
        let request = crate::request_text::read(text, charge).unwrap();
        assert_eq!(request.data::<String>().unwrap(), Some("hi".into()));
    }

    #[test]
    fn an_address_of_the_clients_own_does_not_count() {
        let message = br#"{"zmq_com":"ipc:///a","zmq_com":"ipc:///evil","request_id":"z","work_id":"llm.1","action":"inference"}"#;
        assert_eq!(split_inference(message).unwrap().0, "ipc:///a");
    }

    #[test]
    fn what_is_no_inference_is_seen() {
        for message in [
            &b""[..],
            b"{}",
            b"{\"zmq_com\":\"ipc:///a",
            b"{\"zmq_com\":\"ipc:///a\"}",
            b"\xff",
        ] {
            assert_eq!(split_inference(message), None);
        }
    }

    #[test]
    fn of_speech_only_the_last_frame_counts() {
        let text = |message: &str| of_speech(message.as_bytes());
        assert_eq!(text(r#"{"data":{"delta":"hel","finish":false,"index":0}}"#), None);
        assert_eq!(
            text(r#"{"data":{"delta":"hello from asr","finish":true,"index":1}}"#),
            Some("hello from asr".into())
        );
        assert_eq!(text("{\"data\":\"plain asr text\"}\n"), Some("plain asr text".into()));
        assert_eq!(text(r#"{"data":"","error":{"code":0}}"#), None);
        assert_eq!(text("garbage"), None);
    }
}
