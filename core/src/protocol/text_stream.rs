//! Texts in pieces: bytes cut into whole characters on the way out, deltas joined on the way in. It knows no messages.

/// Turns a stream of bytes, cut anywhere, into pieces of text that never end inside a character.
///
/// Bytes that can be no part of any character become U+FFFD, one for each maximal wrong sequence, as
/// [`String::from_utf8_lossy`] does for the whole; the pieces joined equal that conversion of the whole.
#[derive(Debug, Clone, Default)]
pub struct Utf8Cutter {
    /// The start of a character, at most 3 bytes.
    held: Vec<u8>,
}

impl Utf8Cutter {
    /// A cutter that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes and returns the characters that are whole now.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.held.len());
        let mut rest = self.held.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    rest = after;
                    match error.error_len() {
                        Some(wrong) => {
                            text.push(char::REPLACEMENT_CHARACTER);
                            rest = &rest[wrong..];
                        }
                        None => break,
                    }
                }
            }
        }
        let kept = rest.len();
        self.held.drain(..self.held.len() - kept);
        text
    }

    /// Ends the stream: what is still held can no longer become a character.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.held).into_owned();
        self.held.clear();
        text
    }
}

/// Joins an output's deltas in the order they arrive. A stock unit's indices are one counter for all its tasks and go on after a
/// run that died, so they say nothing and are not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeltaJoiner {
    text: String,
    chunks: usize,
}

impl DeltaJoiner {
    /// A joiner without text.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a delta. Empty ones (such as the last frame's) do not count as chunks.
    pub fn push(&mut self, delta: &str) {
        if !delta.is_empty() {
            self.text.push_str(delta);
            self.chunks += 1;
        }
    }

    /// The deltas joined so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Number of deltas that were not empty.
    pub fn chunks(&self) -> usize {
        self.chunks
    }

    /// The deltas joined.
    pub fn into_text(self) -> String {
        self.text
    }
}
