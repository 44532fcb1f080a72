//! Errors of vocabularies and of tokenising a text.

use std::path::PathBuf;

/// Why a tokenizer could not be built, or a text not be tokenised.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file cannot be opened or read.
    #[error("{path} could not be read: {source}; check that the file exists and may be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Lists of the vocabulary are missing, or do not belong together.
    #[error("{what} has no usable vocabulary: {reason}; download the model again or choose another")]
    BadVocabulary {
        /// The file, or where else the vocabulary is from.
        what: String,
        /// What is wrong, as a clause.
        reason: String,
    },
    /// A vocabulary that is complete, and asks for something that is not computed.
    #[error("{what} has a vocabulary that cannot be used: {reason}; choose another model, or another file of this one")]
    Unsupported {
        /// The file, or where else the vocabulary is from.
        what: String,
        /// What is not computed, as a clause.
        reason: String,
    },
    /// A vocabulary that is not byte-level BPE.
    #[error(
        "{what} has a vocabulary of the kind {kind:?}; only byte-level BPE can be used: choose a Qwen2.5, Qwen3 or SmolLM2 model"
    )]
    UnknownKind {
        /// The file, or where else the vocabulary is from.
        what: String,
        /// The kind as the file names it.
        kind: String,
    },
    /// A byte-level BPE vocabulary with an unknown way to split text.
    #[error(
        "{what} splits text as {pre:?}, which is not known here (qwen2 and smollm are): choose a Qwen2.5, Qwen3 or SmolLM2 model"
    )]
    UnknownSplit {
        /// The file, or where else the vocabulary is from.
        what: String,
        /// The way to split text as the file names it.
        pre: String,
    },
    /// A chat template that cannot be rendered.
    #[error(
        "{what} has a chat template that cannot be used: {reason}; choose another model, or another file of this one"
    )]
    Template {
        /// The file, or whose template it is.
        what: String,
        /// What is wrong with it, as a clause.
        reason: String,
    },
    /// A text beyond [`LONGEST_TEXT`](super::LONGEST_TEXT).
    #[error("the text has {bytes} bytes, more than the {limit} that can be tokenised at once; shorten it")]
    TextTooLong {
        /// Length of the text in bytes.
        bytes: usize,
        /// Most bytes.
        limit: usize,
    },
    /// The pipeline failed.
    #[error("the text could not be tokenised: {reason}; check that model and tokenizer belong together")]
    Encode {
        /// The pipeline's message.
        reason: String,
    },
}

impl TokenizerError {
    /// Creates a [`TokenizerError::BadVocabulary`].
    pub(super) fn bad_vocabulary(what: impl std::fmt::Display, reason: impl Into<String>) -> Self {
        Self::BadVocabulary {
            what: what.to_string(),
            reason: reason.into(),
        }
    }
}
