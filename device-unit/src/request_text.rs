//! Parsing of a request from the text of a message, as tolerant as the stock programs.

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use softprefix_core::protocol::message::{InputForm, SYS, UNREADABLE_REQUEST_ID, action};
use softprefix_core::protocol::{Code, ErrorField, Reply};
use softprefix_core::sent::{self, Text};

use crate::budget::Charge;

/// Maximum length of `request_id`, `work_id` and `action` in bytes; a longer one is refused (-2). They are kept while an inference runs.
const MAX_ID_BYTES: usize = 256;
/// `object` is cut to this many bytes; it may contain a path.
const MAX_OBJECT_BYTES: usize = 4096;

/// Why a text is not a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// Not JSON, or `request_id`, `work_id` or `action` is missing, no string or too long: -2.
    Broken,
    /// Valid JSON except for `\{` or `\}`, and addressed to llm-sys itself: -1.
    BraceEscapes,
}

/// A request, with the charge for its memory.
#[derive(Debug)]
pub struct Request {
    pub request_id: String,
    pub work_id: String,
    pub action: String,
    pub object: Option<String>,
    /// JSON: an object with the request's `data`.
    text: Vec<u8>,
    /// The charge, which must be kept as long as any part of the request is.
    pub charge: Charge,
}

#[derive(Deserialize)]
struct Names {
    #[serde(deserialize_with = "id")]
    request_id: String,
    #[serde(deserialize_with = "id")]
    work_id: String,
    #[serde(deserialize_with = "id")]
    action: String,
    object: Option<Text<MAX_OBJECT_BYTES>>,
    /// Parsed and dropped: llm-sys, too, reports errors in it at once.
    #[serde(rename = "data")]
    _data: Option<Text<0>>,
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.len() > MAX_ID_BYTES {
        return Err(D::Error::custom("too long"));
    }
    Ok(text)
}

impl Request {
    /// Creates a request from a header and a separate object with its `data`.
    ///
    /// # Errors
    /// [`Unreadable`] if the header is not a request.
    pub fn with_data(header: &[u8], data: Vec<u8>, charge: Charge) -> Result<Self, Unreadable> {
        let names = sent::first::<Names>(header).map_err(|_| Unreadable::Broken)?;
        Ok(Self::of(names, data, charge))
    }

    fn of(names: Names, text: Vec<u8>, charge: Charge) -> Self {
        Self {
            request_id: names.request_id,
            work_id: names.work_id,
            action: names.action,
            object: names.object.map(|object| object.0),
            text,
            charge,
        }
    }

    /// Parses the data as a `T`; `None` if it is absent or null.
    ///
    /// # Errors
    /// Fails if the data has another type.
    pub fn data<T: DeserializeOwned>(&self) -> Result<Option<T>, serde_json::Error> {
        #[derive(Deserialize)]
        struct With<T> {
            data: Option<T>,
        }
        Ok(sent::first::<With<T>>(&self.text)?.data)
    }

    /// Like [`data`](Self::data), for actions that require an object. `expected` describes it in the error message.
    ///
    /// # Errors
    /// -22.
    pub fn require_data<T: DeserializeOwned>(&self, expected: &str) -> Result<T, ErrorField> {
        let refusal = |detail: String| ErrorField::parameter(format!("{detail}; send data as {expected}"));
        match self.data::<sent::Object<T>>() {
            Ok(Some(sent::Object(data))) => Ok(data),
            Ok(None) => Err(refusal("the request has no data".into())),
            Err(error) => Err(refusal(format!("the request cannot be read ({error})"))),
        }
    }

    /// Returns the form of an inference's input.
    #[must_use]
    pub fn input_form(&self) -> InputForm {
        InputForm::of(self.object.as_deref().unwrap_or_default())
    }
}

/// Reads a request, the first JSON value of the text. More text can follow it if braces inside strings misled llm-sys.
///
/// Two violations of JSON are accepted, as by the stock unit: `\{` and `\}` in an inference, which old clients send, and a value without
/// a name, which llm-sys leaves behind when it replaces the data by a `RAW` payload.
///
/// # Errors
/// [`Unreadable`].
pub fn read(text: Vec<u8>, charge: Charge) -> Result<Request, Unreadable> {
    // The parser does not check skipped values for UTF-8.
    if std::str::from_utf8(&text).is_err() {
        return Err(Unreadable::Broken);
    }
    if let Ok(names) = sent::first::<Names>(&text) {
        return Ok(Request::of(names, text, charge));
    }
    if let Some(text) = without_nameless_value(&text)
        && let Ok(names) = sent::first::<Names>(&text)
    {
        return Ok(Request::of(names, text, charge));
    }
    let Some(text) = without_brace_escapes(&text) else {
        return Err(Unreadable::Broken);
    };
    match sent::first::<Names>(&text) {
        Ok(names) if names.action == action::INFERENCE => Ok(Request::of(names, text, charge)),
        Ok(names) if is_for_sys(&names.work_id) => Err(Unreadable::BraceEscapes),
        _ => Err(Unreadable::Broken),
    }
}

/// Returns `true` if the request is addressed to llm-sys itself: `sys`, `sys.anything`, or empty.
pub fn is_for_sys(work_id: &str) -> bool {
    work_id.is_empty() || work_id.split('.').next() == Some(SYS)
}

/// Returns the reply to an unreadable message.
pub fn unreadable_reply() -> Reply {
    Reply::stock_error(UNREADABLE_REQUEST_ID, SYS, Code::JSON)
}

/// Removes the first `,:value` outside a string; `None` if there is none.
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

/// Replaces `\{` and `\}` by `{` and `}`; `None` if there are none.
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
    use crate::budget::Budget;

    fn read(text: &[u8]) -> Result<Request, Unreadable> {
        super::read(text.to_vec(), Budget::default().message())
    }

    fn data(text: &[u8]) -> String {
        read(text).unwrap().data::<Text>().unwrap().unwrap().0
    }

    #[test]
    fn escaped_braces_are_taken_in_an_inference_only() {
        let inference = br#"{"request_id":"q","work_id":"llm.1000","action":"inference","data":"a \{ b \\\} c"}"#;
        assert_eq!(data(inference), r"a { b \} c");
        let ping = br#"{"request_id":"q","work_id":"sys","action":"ping","data":"a \{ b"}"#;
        assert_eq!(read(ping).unwrap_err(), Unreadable::BraceEscapes);
        let setup = br#"{"request_id":"q","work_id":"llm","action":"setup","data":"a \{ b"}"#;
        assert_eq!(read(setup).unwrap_err(), Unreadable::Broken);
    }

    #[test]
    fn text_after_the_first_value_is_ignored() {
        let glued =
            br#"{"request_id":"q","work_id":"llm.1","action":"inference","data":"a { b"}{"request_id":"sync"}}"#;
        assert_eq!(read(glued).unwrap().request_id, "q");
        assert_eq!(data(glued), "a { b");
    }

    #[test]
    fn a_raw_payload_replaces_other_data() {
        for there in [
            r#""None""#,
            r#""a\",: b""#,
            "7",
            r#"{"delta":"x,:y","index":0}"#,
            "null",
        ] {
            let left = format!(
                r#"{{"RAW":5,"request_id":"r","work_id":"llm.1","action":"inference","object":"llm.utf-8.base64",:{there},"data":"aGVsbG8="}}"#
            );
            assert_eq!(data(left.as_bytes()), "aGVsbG8=", "{left}");
        }
        for broken in [r#"{"a":1,:}"#, r#"{"a":1,:"b"#, r#"{"a":1,:2"#, "{,:1}", ",:", ":"] {
            assert_eq!(read(broken.as_bytes()).unwrap_err(), Unreadable::Broken, "{broken}");
        }
    }

    #[test]
    fn the_three_names_must_be_strings_of_at_most_256_bytes() {
        let named = |id: &str| format!(r#"{{"request_id":"{id}","work_id":"sys","action":"ping"}}"#);
        assert!(read(named(&"r".repeat(256)).as_bytes()).is_ok());
        for text in [
            r#"{"request_id":7,"work_id":"sys","action":"ping"}"#,
            r#"{"request_id":"r","action":"ping"}"#,
            r#"{"request_id":"r","work_id":"sys"}"#,
            "[1]",
            "{hello}",
            "",
            &named(&"r".repeat(257)),
            r#"{"request_id":"r","work_id":"sys","action":"ping","data":{"a":"\ud83d"}}"#,
            &named(&r"\u0041".repeat(300)),
        ] {
            assert_eq!(read(text.as_bytes()).unwrap_err(), Unreadable::Broken, "{text}");
        }
    }
}
