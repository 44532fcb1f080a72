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

/// Reads a request: the first JSON value of the text. Behind it can stand whatever llm-sys took for the rest of it, because braces
/// inside a text misled it.
///
/// Two things that are no JSON are read all the same, as the stock unit reads them. `\{` and `\}` in an inference: old clients
/// write them. And a value whose name is missing: llm-sys leaves it where it puts a `RAW` payload in the place of other data.
///
/// # Errors
/// [`Unreadable`].
pub fn read(text: &[u8]) -> Result<Request, Unreadable> {
    let value = match first_value(text).or_else(|| without_nameless_value(text).and_then(|text| first_value(&text))) {
        Some(value) => value,
        None => {
            let value = without_brace_escapes(text).and_then(|text| first_value(&text));
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

fn first_value(text: &[u8]) -> Option<Value> {
    serde_json::Deserializer::from_slice(text).into_iter().next()?.ok()
}

/// `,:value` is taken out; `None` where there is none.
fn without_nameless_value(text: &[u8]) -> Option<Vec<u8>> {
    let mut in_string = false;
    let mut escaped = false;
    let mut start = None;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b':' if !in_string && at > 0 && text[at - 1] == b',' => {
                start = Some(at);
                break;
            }
            _ => {}
        }
    }
    let start = start?;
    let rest = &text[start + 1..];
    let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<serde::de::IgnoredAny>();
    values.next()?.ok()?;
    Some([&text[..start - 1], &rest[values.byte_offset()..]].concat())
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
    fn what_llm_sys_took_for_the_rest_of_a_message_is_left_alone() {
        let glued =
            br#"{"request_id":"q","work_id":"llm.1","action":"inference","data":"a { b"}{"request_id":"sync"}}"#;
        let request = read(glued).unwrap();
        assert_eq!((request.request_id.as_str(), request.data), ("q", Some("a { b".into())));
    }

    #[test]
    fn a_raw_payload_in_the_place_of_other_data_is_found() {
        for data in [
            r#""None""#,
            r#""a\",: b""#,
            "7",
            r#"{"delta":"x,:y","index":0}"#,
            "null",
        ] {
            let left = format!(
                r#"{{"RAW":5,"request_id":"r","work_id":"llm.1","action":"inference","object":"llm.utf-8.base64",:{data},"data":"aGVsbG8="}}"#
            );
            assert_eq!(read(left.as_bytes()).unwrap().data, Some("aGVsbG8=".into()), "{left}");
        }
        for broken in [r#"{"a":1,:}"#, r#"{"a":1,:"b"#, r#"{"a":1,:2"#, "{,:1}", ",:", ":"] {
            assert_eq!(read(broken.as_bytes()), Err(Unreadable::Broken), "{broken}");
        }
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
