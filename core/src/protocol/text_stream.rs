//! Text in pieces: [`Utf8Cutter`] turns bytes into whole characters, [`DeltaJoiner`] joins the deltas of a streamed output.

/// Converts a stream of bytes, cut anywhere, into pieces of text that never end inside a character.
///
/// Invalid bytes become U+FFFD. The pieces joined equal [`String::from_utf8_lossy`] of the whole stream.
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

    /// Adds bytes and returns the characters that are now complete.
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

    /// Ends the stream: an incomplete character becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.held).into_owned();
        self.held.clear();
        text
    }
}

/// Joins the deltas of an output in order of arrival. Their indices are ignored: a stock unit has one counter for all
/// its tasks, which continues after an inference that died.
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

    /// Adds a delta. Empty ones (such as the last frame's) are not counted as chunks.
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
