//! The vocabulary inside a GGUF file. It knows metadata keys, not tensors.

use crate::engine::gguf::file::GgufFile;

use super::{PreTokenization, TokenKind, Tokenizer, TokenizerError, Vocabulary};

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
        let missing = |key: &str| bad(format!("its metadata lacks {key}"));

        let model = file
            .str("tokenizer.ggml.model")
            .ok_or_else(|| missing("tokenizer.ggml.model"))?;
        if model != "gpt2" {
            return Err(TokenizerError::UnknownKind { kind: model.to_owned() });
        }
        let pre = match file
            .str("tokenizer.ggml.pre")
            .ok_or_else(|| missing("tokenizer.ggml.pre"))?
        {
            "qwen2" => PreTokenization::Qwen2,
            "smollm" => PreTokenization::SmolLm,
            other => return Err(TokenizerError::UnknownKind { kind: other.to_owned() }),
        };
        let tokens = file
            .strings("tokenizer.ggml.tokens")
            .ok_or_else(|| missing("tokenizer.ggml.tokens"))?;
        let kinds = file
            .u32s("tokenizer.ggml.token_type")
            .ok_or_else(|| missing("tokenizer.ggml.token_type"))?;
        let merges = file
            .strings("tokenizer.ggml.merges")
            .ok_or_else(|| missing("tokenizer.ggml.merges"))?;
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
