//! Errors of vocabularies and of tokenising a text.

use std::path::PathBuf;

/// Why a tokenizer could not be built, or a text not be tokenised.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error("{path} could not be read: {source}; check that the file exists and may be read")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{what} holds no usable vocabulary: {reason}; fetch the model again or choose another")]
    BadVocabulary { what: String, reason: String },
    #[error(
        "{what} has a vocabulary of the kind {kind:?}; byte-level BPE (qwen2, smollm) is what can be used: choose a Qwen2.5, Qwen3 or SmolLM2 model"
    )]
    UnknownKind { what: String, kind: String },
    #[error("the text has {bytes} bytes, more than the {limit} that can be cut into tokens at once; shorten it")]
    TextTooLong { bytes: usize, limit: usize },
    #[error("the text could not be cut into tokens: {reason}; check that model and tokenizer belong together")]
    Encode { reason: String },
}
