//! JSON as Python writes it: with a byte order mark, `NaN`, infinities, and unpaired surrogates in strings. And JSON as it is written
//! to files.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A value as indented JSON with a line break at the end.
///
/// # Errors
/// Where the value has no JSON form, such as a map whose keys are no strings.
pub(crate) fn indented(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(text)
}

/// A whole number from 0 up, which Python may write as 1.0.
pub(crate) fn whole(value: &Value) -> Option<u64> {
    let whole = |number: &f64| number.fract() == 0.0 && (0.0..u64::MAX as f64).contains(number);
    value
        .as_u64()
        .or(value.as_f64().filter(whole).map(|number| number as u64))
}

/// A JSON value, and how much of it was repaired.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lenient<T> {
    pub value: T,
    /// Unpaired surrogates that were replaced by U+FFFD.
    pub surrogates: usize,
}

/// Reads JSON; if that fails, once more with null for `NaN` and infinities and U+FFFD for unpaired surrogates.
///
/// # Errors
/// The error of the first attempt, whose line and column are those of the file.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<Lenient<T>, serde_json::Error> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let error = match serde_json::from_slice(bytes) {
        Ok(value) => return Ok(Lenient { value, surrogates: 0 }),
        Err(error) => error,
    };
    let (repaired, surrogates) = repaired(bytes);
    match serde_json::from_slice(&repaired) {
        Ok(value) => Ok(Lenient { value, surrogates }),
        Err(_) => Err(error),
    }
}

fn repaired(bytes: &[u8]) -> (Vec<u8>, usize) {
    const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut out = Vec::with_capacity(bytes.len());
    let (mut rest, mut surrogates, mut in_string) = (bytes, 0, false);
    while let Some((&byte, after)) = rest.split_first() {
        let taken = match byte {
            b'"' => {
                in_string = !in_string;
                1
            }
            b'\\' if in_string => match (half(rest), rest.get(6..).and_then(half)) {
                (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
                (Some(0xD800..=0xDFFF), _) => {
                    out.extend_from_slice(b"\\uFFFD");
                    surrogates += 1;
                    rest = rest.get(6..).unwrap_or_default();
                    continue;
                }
                _ => 2,
            },
            b'-' | b'I' | b'N' if !in_string => match WORDS.into_iter().find(|word| rest.starts_with(word)) {
                Some(word) => {
                    out.extend_from_slice(b"null");
                    rest = rest.get(word.len()..).unwrap_or_default();
                    continue;
                }
                None => 1,
            },
            _ => 1,
        };
        let taken = taken.min(1 + after.len());
        out.extend_from_slice(&rest[..taken]);
        rest = &rest[taken..];
    }
    (out, surrogates)
}

/// The code unit of an escape `\uXXXX` at the start.
fn half(rest: &[u8]) -> Option<u32> {
    let digits = rest.strip_prefix(b"\\u")?.get(..4)?;
    let digits = std::str::from_utf8(digits).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_writes_is_read() {
        let read: Lenient<Value> = read(b"\xEF\xBB\xBF{\"loss\": NaN, \"a\": [-Infinity, Infinity, -1], \"t\": \"NaN \\\"a\\udce3b\\ud83d\\ude00\\\\\"}").unwrap();
        assert_eq!(
            (read.value, read.surrogates),
            (
                serde_json::json!({"loss": null, "a": [null, null, -1], "t": "NaN \"a\u{FFFD}b😀\\"}),
                1
            )
        );
    }

    #[test]
    fn what_is_no_json_is_refused_at_its_place() {
        for text in [
            "{\"a\": NaNa}",
            "{\"a\": \"\\",
            "{\"a\": \"\\ud8",
            "{\"a\": \"\\ud800\\u",
            "Infinity1",
            "nul",
        ] {
            assert!(read::<Value>(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(read::<Value>(b"{\n  x}").unwrap_err().line(), 2);
    }
}
