//! The vocabulary inside a GGUF file. It knows metadata keys, not tensors.

use crate::gguf::{GgufFile, StringTable};

use super::{PreTokenization, TokenKind, Tokenizer, TokenizerError, Vocabulary};

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";

impl Tokenizer {
    /// The tokenizer that a GGUF file carries in its metadata.
    ///
    /// # Errors
    /// [`TokenizerError::UnknownKind`] where it is no byte-level BPE with a known way to cut text;
    /// [`TokenizerError::BadVocabulary`] where lists are missing or do not belong together.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, TokenizerError> {
        Self::from_vocabulary(Vocabulary::from_gguf(file)?)
    }
}

impl Vocabulary {
    /// The vocabulary as the file's metadata lists it.
    ///
    /// # Errors
    /// As [`Tokenizer::from_gguf`].
    pub fn from_gguf(file: &GgufFile) -> Result<Self, TokenizerError> {
        let source = file.path().display().to_string();
        let bad = |reason: String| TokenizerError::BadVocabulary {
            what: source.clone(),
            reason,
        };
        let pre = pre_tokenization(file)?;
        let (tokens, kinds, merges) = (list(file, TOKENS)?, file.u32s(TOKEN_TYPES), list(file, MERGES)?);
        let kinds = kinds.ok_or_else(|| missing(file, TOKEN_TYPES))?;
        let merges = (merges.iter().zip(1_usize..))
            .map(|(merge, number)| {
                let (left, right) = merge
                    .split_once(' ')
                    .ok_or_else(|| bad(format!("its merge {number} is no pair: {merge:?}")))?;
                Ok((left.to_owned(), right.to_owned()))
            })
            .collect::<Result<_, TokenizerError>>()?;
        Ok(Self {
            tokens: tokens.iter().map(str::to_owned).collect(),
            kinds: kinds.into_iter().map(kind).collect(),
            merges,
            pre,
            source,
        })
    }

    /// Checks, in a millisecond, that the file's vocabulary is of a known kind and made for ChatML.
    ///
    /// # Errors
    /// As [`Tokenizer::from_gguf`], and [`TokenizerError::BadVocabulary`] where `<|im_start|>` or `<|im_end|>` is missing.
    pub fn check_gguf(file: &GgufFile) -> Result<(), TokenizerError> {
        pre_tokenization(file)?;
        list(file, MERGES)?;
        let tokens = list(file, TOKENS)?;
        for mark in ["<|im_start|>", "<|im_end|>"] {
            if !tokens.iter().any(|token| token == mark) {
                let reason = format!("it has no token {mark}, so it is not made for chats in ChatML");
                return Err(TokenizerError::BadVocabulary {
                    what: file.path().display().to_string(),
                    reason,
                });
            }
        }
        Ok(())
    }
}

fn pre_tokenization(file: &GgufFile) -> Result<PreTokenization, TokenizerError> {
    match file.str(MODEL).ok_or_else(|| missing(file, MODEL))? {
        "gpt2" => {}
        other => return Err(TokenizerError::UnknownKind { kind: other.to_owned() }),
    }
    match file.str(PRE).ok_or_else(|| missing(file, PRE))? {
        "qwen2" => Ok(PreTokenization::Qwen2),
        "smollm" => Ok(PreTokenization::SmolLm),
        other => Err(TokenizerError::UnknownKind { kind: other.to_owned() }),
    }
}

fn list<'f>(file: &'f GgufFile, key: &str) -> Result<&'f StringTable, TokenizerError> {
    file.strings(key).ok_or_else(|| missing(file, key))
}

fn missing(file: &GgufFile, key: &str) -> TokenizerError {
    TokenizerError::BadVocabulary {
        what: file.path().display().to_string(),
        reason: format!("its metadata lacks {key}"),
    }
}

/// Token types as llama.cpp numbers them: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte.
fn kind(number: u32) -> TokenKind {
    match number {
        2 | 3 => TokenKind::Control,
        4 => TokenKind::UserDefined,
        5 => TokenKind::Unused,
        _ => TokenKind::Normal,
    }
}
