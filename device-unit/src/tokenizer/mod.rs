//! Text to tokens and back: GGUF vocabularies, `tokenizer.json` and `qwen.tiktoken`, all as one type, and the chat template.
//!
//! It knows text and token ids; it knows no engine, no task and no transport.

mod byte_level;
mod error;
#[cfg(feature = "cpu")]
mod gguf;
mod huggingface;
mod template;
mod tiktoken;
mod vocabulary;

use std::path::Path;

use tokenizers::{Model, Normalizer, OffsetType, PreTokenizedString, PreTokenizer as _};

pub use error::TokenizerError;
#[cfg(all(test, feature = "cpu"))]
pub(crate) use gguf::KEYS;
pub use template::ChatTemplate;
pub use vocabulary::{PreTokenization, TokenKind, Vocabulary};

/// Longest text that is cut into tokens, in bytes of UTF-8.
///
/// Four times what the largest window of the models here holds. The splitting patterns backtrack through runs of
/// whitespace, and give up silently beyond a million steps: a limit below that keeps every answer exact.
pub const LONGEST_TEXT: usize = 512 * 1024;

/// Largest tokenizer file that is read, in bytes: ten times the largest of those in use.
const LARGEST_FILE: u64 = 256 << 20;

/// Begins a turn of a chat.
const IM_START: &str = "<|im_start|>";
/// Ends a turn of a chat.
const IM_END: &str = "<|im_end|>";
/// Ends a text.
const END_OF_TEXT: &str = "<|endoftext|>";
/// The marks that the chat template and the end of a text are known by, whatever else a file says of them.
const MARKS: [&str; 3] = [IM_START, IM_END, END_OF_TEXT];

/// What text such as `<|im_end|>` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Special {
    /// The special token, wherever it stands. The stock unit does this, in the user's text too (PROTOCOL 5.2).
    #[default]
    Parse,
    /// Ten ordinary characters.
    Plain,
}

/// A byte-level BPE tokenizer with its special tokens.
///
/// It is immutable, and `Sync`: share it in an `Arc`.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    pieces: Pieces,
    /// Tokens that end a text besides the marks of the template.
    ends: Vec<u32>,
}

impl Tokenizer {
    /// Builds the tokenizer of a vocabulary.
    ///
    /// # Errors
    /// [`TokenizerError::BadVocabulary`] where merges and tokens do not belong together.
    pub fn from_vocabulary(vocabulary: Vocabulary) -> Result<Self, TokenizerError> {
        let pieces = Pieces::of(&vocabulary);
        let ends = vocabulary.ends.clone();
        let inner = huggingface::build(vocabulary)?;
        Ok(Self { inner, pieces, ends })
    }

    /// Reads a `tokenizer.json` as Hugging Face models carry it, special tokens included.
    ///
    /// # Errors
    /// [`TokenizerError::Unreadable`], or [`TokenizerError::BadVocabulary`] where the file is of another kind than
    /// byte-level BPE.
    pub fn from_tokenizer_json(path: &Path) -> Result<Self, TokenizerError> {
        let (inner, pieces) = huggingface::read(path)?;
        Ok(Self {
            inner,
            pieces,
            ends: Vec::new(),
        })
    }

    /// Reads a `qwen.tiktoken` (one line a token: base64 of its bytes, a blank, its id), as the module's models carry it.
    ///
    /// The file holds no special tokens; those of Qwen2.5 are added behind its last id.
    ///
    /// # Errors
    /// [`TokenizerError::Unreadable`], [`TokenizerError::BadVocabulary`] with the line that is wrong.
    pub fn from_qwen_tiktoken(path: &Path) -> Result<Self, TokenizerError> {
        Self::from_vocabulary(tiktoken::read(path)?)
    }

    /// The token ids of `text`. Nothing is added in front or behind.
    ///
    /// # Errors
    /// [`TokenizerError::TextTooLong`] beyond [`LONGEST_TEXT`].
    pub fn encode(&self, text: &str, special: Special) -> Result<Vec<u32>, TokenizerError> {
        if text.len() > LONGEST_TEXT {
            return Err(TokenizerError::TextTooLong {
                bytes: text.len(),
                limit: LONGEST_TEXT,
            });
        }
        let encoding = match special {
            Special::Parse => self.inner.encode_fast(text, false),
            Special::Plain => self.encode_plain(text),
        }
        .map_err(|source| TokenizerError::Encode {
            reason: source.to_string(),
        })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The model's own steps one by one, without the one that looks for special tokens.
    fn encode_plain(&self, text: &str) -> tokenizers::Result<tokenizers::Encoding> {
        let mut pieces = PreTokenizedString::from(text);
        if let Some(normalizer) = self.inner.get_normalizer() {
            pieces.normalize(|piece| normalizer.normalize(piece))?;
        }
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        pieces.tokenize(|piece| self.inner.get_model().tokenize(piece.get()))?;
        pieces.into_encoding(None, 0, OffsetType::None)
    }

    /// The bytes that a token stands for: whole characters or parts of them. Empty for control tokens, which are no
    /// text; `None` outside the vocabulary.
    #[must_use]
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.pieces.bytes(id)
    }

    /// The bytes of several tokens, joined. They are UTF-8 only where the tokens do not end inside a character.
    #[must_use]
    pub fn decode(&self, ids: &[u32]) -> Vec<u8> {
        ids.iter()
            .filter_map(|&id| self.token_bytes(id))
            .flatten()
            .copied()
            .collect()
    }

    /// A token as people read it: control tokens by their name, parts of characters as replacement characters.
    #[must_use]
    pub fn token_text(&self, id: u32) -> Option<String> {
        if self.is_control(id) {
            return self.inner.id_to_token(id);
        }
        self.token_bytes(id)
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// The id of a special token by its name, or of a vocabulary entry as the vocabulary writes it.
    #[must_use]
    pub fn token_id(&self, text: &str) -> Option<u32> {
        self.inner.token_to_id(text)
    }

    /// Number of ids: one more than the largest.
    ///
    /// A model may have more embedding rows than its tokenizer has tokens.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.pieces.len()
    }

    /// Whether a token is a mark of the template or an unused id rather than text.
    #[must_use]
    pub fn is_control(&self, id: u32) -> bool {
        self.pieces.is_control(id)
    }

    /// The tokens that end a text, in ascending order: `<|im_end|>` and `<|endoftext|>`, as far as the vocabulary has them, and
    /// those that a GGUF file names as ends.
    ///
    /// Both, because a chat model ends its turn with the former and whatever follows is no answer any more, and because
    /// a model pushed off its path by a prefix often ends with the latter.
    #[must_use]
    pub fn stop_tokens(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = [IM_END, END_OF_TEXT]
            .iter()
            .filter_map(|name| self.token_id(name))
            .chain(self.ends.iter().copied())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The tokens that end a text on the stock unit: `<|endoftext|>` (151643 for Qwen) alone. There `<|im_end|>` is left
    /// out of the text, but generation goes on behind it (PROTOCOL 5.2).
    #[must_use]
    pub fn stock_stop_tokens(&self) -> Vec<u32> {
        self.token_id(END_OF_TEXT).into_iter().collect()
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .finish_non_exhaustive()
    }
}

/// The bytes of every token, one behind the other.
struct Pieces {
    bytes: Vec<u8>,
    /// Where each token ends.
    ends: Vec<u32>,
    control: Vec<bool>,
}

impl Pieces {
    fn of(vocabulary: &Vocabulary) -> Self {
        let mut pieces = Self::with_capacity(vocabulary.tokens.len());
        for (token, &kind) in vocabulary.tokens.iter().zip(&vocabulary.kinds) {
            pieces.push(token, kind);
        }
        pieces
    }

    fn with_capacity(tokens: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(tokens * 7),
            ends: Vec::with_capacity(tokens),
            control: Vec::with_capacity(tokens),
        }
    }

    fn push(&mut self, token: &str, kind: TokenKind) {
        match kind {
            TokenKind::Normal => byte_level::append_bytes(token, &mut self.bytes),
            TokenKind::UserDefined => self.bytes.extend_from_slice(token.as_bytes()),
            TokenKind::Control | TokenKind::Unused => {}
        }
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        self.control
            .push(matches!(kind, TokenKind::Control | TokenKind::Unused));
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn bytes(&self, id: u32) -> Option<&[u8]> {
        let id = id as usize;
        let end = *self.ends.get(id)? as usize;
        let start = if id == 0 { 0 } else { self.ends[id - 1] as usize };
        self.bytes.get(start..end)
    }

    fn is_control(&self, id: u32) -> bool {
        self.control.get(id as usize).copied().unwrap_or(false)
    }
}
