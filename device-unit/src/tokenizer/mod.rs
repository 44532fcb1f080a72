//! Text to tokens and back, from GGUF vocabularies, `tokenizer.json` or `qwen.tiktoken`, and the chat template.

mod byte_level;
#[cfg(feature = "cpu")]
mod gguf;
mod huggingface;
#[cfg(feature = "cpu")]
mod jinja;
mod template;
mod tiktoken;
mod vocabulary;

use std::path::Path;

use tokenizers::{Model, Normalizer, OffsetType, PreTokenizedString, PreTokenizer as _};

pub use crate::errors::TokenizerError;
#[cfg(feature = "cpu")]
pub(crate) use gguf::CHAT_TEMPLATE;
#[cfg(all(test, feature = "cpu"))]
pub(crate) use gguf::KEYS;
pub use template::ChatTemplate;
pub use vocabulary::{PreTokenization, TokenKind, Vocabulary};

/// Longest text that is tokenised, in bytes of UTF-8.
///
/// It is four times the text of the largest window of supported models. The splitting patterns backtrack through runs
/// of whitespace and fail silently beyond a million steps; the limit is below that.
pub const LONGEST_TEXT: usize = 512 * 1024;

/// Largest tokenizer file that is read, in bytes: ten times the largest in use.
const LARGEST_FILE: u64 = 256 << 20;

/// Ends a turn of a chat.
const IM_END: &str = "<|im_end|>";
/// Ends a text.
const END_OF_TEXT: &str = "<|endoftext|>";

/// How text such as `<|im_end|>` is tokenised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Special {
    /// As the special token, anywhere in the text. The stock unit does this, in the user's text too (PROTOCOL 5.2).
    #[default]
    Parse,
    /// As ten ordinary characters.
    Plain,
}

/// A byte-level BPE tokenizer with its special tokens.
///
/// It is immutable and `Sync`: share it in an `Arc`.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    pieces: Pieces,
    /// Tokens that end a text, besides those of the chat template.
    ends: Vec<u32>,
    /// The token that ends a turn, where it is not that of ChatML.
    turn_end: Option<u32>,
}

impl Tokenizer {
    /// Builds the tokenizer of a vocabulary.
    ///
    /// # Errors
    /// [`TokenizerError::BadVocabulary`] where merges and tokens do not belong together.
    pub fn from_vocabulary(vocabulary: Vocabulary) -> Result<Self, TokenizerError> {
        let pieces = Pieces::of(&vocabulary);
        let (ends, turn_end) = (vocabulary.ends.clone(), vocabulary.turn_end);
        let inner = huggingface::build(vocabulary)?;
        Ok(Self {
            inner,
            pieces,
            ends,
            turn_end,
        })
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
            turn_end: None,
        })
    }

    /// Reads a `qwen.tiktoken` (one line for each token: base64 of its bytes, a space, its id), as in the module's
    /// model folders.
    ///
    /// The file holds no special tokens; those of Qwen2.5 are added behind its last id.
    ///
    /// # Errors
    /// [`TokenizerError::Unreadable`], [`TokenizerError::BadVocabulary`] with the line that is wrong.
    pub fn from_qwen_tiktoken(path: &Path) -> Result<Self, TokenizerError> {
        Self::from_vocabulary(tiktoken::read(path)?)
    }

    /// The token ids of `text`, without added tokens.
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

    /// Runs the pipeline's steps without the search for special tokens.
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

    /// The bytes of a token, which may end inside a character. Empty for control tokens; `None` outside the vocabulary.
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

    /// A token for display: control tokens by their name, parts of characters as U+FFFD.
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

    /// Whether a token is a control token or an unused id rather than text.
    #[must_use]
    pub fn is_control(&self, id: u32) -> bool {
        self.pieces.is_control(id)
    }

    /// The tokens that end a text, in ascending order: `<|im_end|>` and `<|endoftext|>`, as far as the vocabulary has them, and the others
    /// of a GGUF file.
    ///
    /// Both, because a chat model ends its turn with the former, after which nothing belongs to the answer, and because
    /// a model under a strong prefix often ends with the latter.
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

    /// The token that ends a turn of a chat as the chat template writes it, or else a text; none where the vocabulary has neither.
    #[must_use]
    pub fn end_of_turn(&self) -> Option<u32> {
        let in_chatml = || self.token_id(IM_END);
        self.turn_end.or_else(in_chatml).or_else(|| self.token_id(END_OF_TEXT))
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .finish_non_exhaustive()
    }
}

/// The bytes of all tokens, concatenated.
struct Pieces {
    bytes: Vec<u8>,
    /// The end of each token.
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
