//! From the text of one message to a request, as tolerant as the stock programs. It knows no transport.

use serde_json::Value;
use softprefix_core::protocol::Request;
use softprefix_core::protocol::message::{SYS, UNREADABLE_REQUEST_ID, action};
use softprefix_core::protocol::{Code, Reply};

/// Why a text is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// Not JSON, or a field that must be a string is none: -2.
    Broken,
    /// JSON but for `\{` or `\}`, to llm-sys itself: there that is -1.
    BraceEscapes,
}

/// Reads a request. `\{` and `\}` are no JSON, but the stock unit takes them in an inference, and old clients write them.
///
/// # Errors
/// [`Unreadable`].
pub fn read(text: &[u8]) -> Result<Request, Unreadable> {
    let value = match serde_json::from_slice(text) {
        Ok(value) => value,
        Err(_) => {
            let value = without_brace_escapes(text).and_then(|text| serde_json::from_slice::<Value>(&text).ok());
            match value {
                Some(value) if value["action"] == action::INFERENCE => value,
                Some(value) if is_for_sys(value["work_id"].as_str().unwrap_or_default()) => {
                    return Err(Unreadable::BraceEscapes);
                }
                _ => return Err(Unreadable::Broken),
            }
        }
    };
    serde_json::from_value(value).map_err(|_| Unreadable::Broken)
}

/// Whether llm-sys itself is meant: `sys`, `sys.anything`, or nothing.
pub fn is_for_sys(work_id: &str) -> bool {
    work_id.is_empty() || work_id.split('.').next() == Some(SYS)
}

/// The reply to what cannot be read.
pub fn unreadable() -> Reply {
    Reply::stock_error(UNREADABLE_REQUEST_ID, SYS, Code::JSON)
}

/// `\{` and `\}` become `{` and `}`; `None` where there are none.
fn without_brace_escapes(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().peekable();
    let mut found = false;
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'\\', Some(b'{' | b'}')) => found = true,
            (b'\\', Some(&next)) => {
                out.extend([byte, next]);
                bytes.next();
            }
            _ => out.push(byte),
        }
    }
    found.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_braces_are_taken_in_an_inference_only() {
        let inference = br#"{"request_id":"q","work_id":"llm.1000","action":"inference","data":"a \{ b \\\} c"}"#;
        assert_eq!(read(inference).unwrap().data, Some(r"a { b \} c".into()));
        let ping = br#"{"request_id":"q","work_id":"sys","action":"ping","data":"a \{ b"}"#;
        assert_eq!(read(ping), Err(Unreadable::BraceEscapes));
        let setup = br#"{"request_id":"q","work_id":"llm","action":"setup","data":"a \{ b"}"#;
        assert_eq!(read(setup), Err(Unreadable::Broken));
    }

    #[test]
    fn the_three_names_must_be_strings() {
        for text in [
            r#"{"request_id":7,"work_id":"sys","action":"ping"}"#,
            r#"{"request_id":"r","action":"ping"}"#,
            r#"{"request_id":"r","work_id":"sys"}"#,
            "[1]",
            "{hello}",
            "",
        ] {
            assert_eq!(read(text.as_bytes()), Err(Unreadable::Broken), "{text}");
        }
    }
}
