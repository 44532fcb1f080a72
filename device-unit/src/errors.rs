//! Errors of loading and running a model, and of its tokenizer. Each message contains a remedy.
//!
//! What is wrong with a file is also stated in Japanese, for a window in that language; messages are in English.

use std::path::{Path, PathBuf};

use softprefix_core::language::Bilingual;

/// Why a model could not be loaded. Each message names the file and a remedy.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no model of this name.
    #[error("there is no model named {name:?}; run `softprefix models` to list the available ones")]
    UnknownModel {
        /// The requested name.
        name: String,
    },
    /// The file is damaged, incomplete or of another format.
    #[error("{path} is not usable: {}; download it again or choose another file", .reason.en)]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, as a clause.
        reason: Bilingual,
    },
    /// The file is valid, but needs something that the engine does not implement.
    #[error("{path} cannot be run here: {}; choose another model", .reason.en)]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it needs, as a clause.
        reason: Bilingual,
    },
    /// A file in our folder under the name of a model that can be fetched, with another content.
    #[error(
        "{path} is not {model}, whose name it has: its SHA-256 is {found}, not {expected}; download the model again, or give the file another \
         name"
    )]
    OtherContent {
        /// The file.
        path: PathBuf,
        /// Title of the model.
        model: String,
        /// SHA-256 of the file.
        found: String,
        /// SHA-256 of the model.
        expected: String,
    },
    /// Some files of a split model are missing.
    #[error("{path} is only a part of the model: {}; put all its files into one folder and choose the first", .reason.en)]
    Incomplete {
        /// The chosen file.
        path: PathBuf,
        /// What is missing, as a clause.
        reason: Bilingual,
    },
    /// The vocabulary or the chat template cannot be used.
    #[error(transparent)]
    Vocabulary(#[from] TokenizerError),
    /// The CPU engine does not implement the model's architecture.
    #[error(
        "{path} holds a model of the architecture {architecture:?}; this engine runs qwen2, qwen3 and llama with the vocabulary of Qwen \
         or SmolLM2: choose one of these"
    )]
    UnsupportedArchitecture {
        /// The file.
        path: PathBuf,
        /// `general.architecture` of the file.
        architecture: String,
    },
    /// The file cannot be opened or read.
    #[error("{path} could not be read: {source}; check that the file exists and may be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A key of the set-up has a value that the model cannot run with.
    #[error("the set-up's {key:?} is {value}; {remedy}")]
    BadSetting {
        /// The key.
        key: String,
        /// The given value.
        value: String,
        /// What to do, as a clause.
        remedy: String,
    },
    /// The environment variable names a kernel that cannot be used here. The message has a remedy.
    #[error("{0}")]
    Kernel(String),
    /// The engine failed while loading the model.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Errors of an engine.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// A token id is outside the embedding table.
    #[error(
        "the token {token} is outside the vocabulary of {vocab_size} tokens; check that tokenizer and model belong together"
    )]
    NoSuchToken {
        /// The id.
        token: u32,
        /// Rows of the embedding table.
        vocab_size: usize,
    },
    /// The maximum number of sequences is open.
    #[error("the engine already runs {limit} sequences; wait until one of them ends")]
    TooManySequences {
        /// Maximum number of open sequences.
        limit: usize,
    },
    /// A sequence would exceed the context window.
    #[error(
        "{wanted} positions do not fit into the model's window of {window}; shorten the prompt, the prefix or the output"
    )]
    WindowExceeded {
        /// Required positions.
        wanted: usize,
        /// Positions of the window.
        window: usize,
    },
    /// The sequence was never opened, or is closed.
    #[error("the sequence {0} is not open; open one first")]
    NoSuchSequence(u64),
    /// A batch has two steps of the same sequence.
    #[error("the sequence {0} is in the batch twice; give each sequence one step")]
    RepeatedSequence(u64),
    /// The number of values is not a multiple of H.
    #[error(
        "{got} values are not a whole number of embedding rows of width {hidden_size}; send P x {hidden_size} values"
    )]
    RaggedRows {
        /// Number of values.
        got: usize,
        /// H.
        hidden_size: usize,
    },
    /// A learning example has no targets, more targets or learned rows than rows, or logits of another vocabulary.
    #[error("the learning example is not usable: {detail}; give at least one target, at most one for each row")]
    InvalidExample {
        /// What is wrong with it, in numbers.
        detail: String,
    },
    /// The caller's stop flag was set.
    #[error("stopped on request")]
    Stopped,
    /// A failure of what the engine runs on: the NPU's runtime, threads, memory.
    #[error("{what} failed: {detail}; {remedy}")]
    Backend {
        /// What failed, as a noun phrase.
        what: String,
        /// The message of the failure.
        detail: String,
        /// What to do, as a clause.
        remedy: String,
    },
}

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
    #[error("{what} has no usable vocabulary: {}; download the model again or choose another", .reason.en)]
    BadVocabulary {
        /// The file, or where else the vocabulary is from.
        what: String,
        /// What is wrong, as a clause.
        reason: Bilingual,
    },
    /// A vocabulary that is complete, and asks for something that is not computed.
    #[error("{what} has a vocabulary that cannot be used: {}; choose another model, or another file of this one", .reason.en)]
    Unsupported {
        /// The file, or where else the vocabulary is from.
        what: String,
        /// What is not computed, as a clause.
        reason: Bilingual,
    },
    /// A vocabulary that is not byte-level BPE.
    #[error(
        "{what} has a vocabulary of the kind {kind:?}, and only byte-level BPE can be used; choose a Qwen2.5, Qwen3 or SmolLM2 model"
    )]
    UnknownKind {
        /// The file, or where else the vocabulary is from.
        what: String,
        /// The kind as the file names it.
        kind: String,
    },
    /// A byte-level BPE vocabulary with an unknown way to split text.
    #[error(
        "{what} splits text as {pre:?}, which is not known here (qwen2 and smollm are); choose a Qwen2.5, Qwen3 or SmolLM2 model"
    )]
    UnknownSplit {
        /// The file, or where else the vocabulary is from.
        what: String,
        /// The way to split text as the file names it.
        pre: String,
    },
    /// A chat template that cannot be rendered.
    #[error(
        "{what} has a chat template that cannot be used: {}; choose another model, or another file of this one", .reason.en
    )]
    Template {
        /// The file, or whose template it is.
        what: String,
        /// What is wrong with it, as a clause.
        reason: Bilingual,
    },
    /// A text that the chat template refuses; another one can be rendered.
    #[error("the chat template refuses this text: {reason}; change the prompt or the system prompt")]
    TextRefused {
        /// The template's message.
        reason: String,
    },
    /// A text beyond [`LONGEST_TEXT`](crate::tokenizer::LONGEST_TEXT).
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

impl LoadError {
    /// Creates a [`LoadError::BadFile`].
    pub(crate) fn bad_file(path: impl Into<PathBuf>, reason: Bilingual) -> Self {
        Self::BadFile {
            path: path.into(),
            reason,
        }
    }
}

impl TokenizerError {
    /// Creates a [`TokenizerError::BadVocabulary`].
    pub(crate) fn bad_vocabulary(what: impl std::fmt::Display, reason: Bilingual) -> Self {
        Self::BadVocabulary {
            what: what.to_string(),
            reason,
        }
    }
}

impl EngineError {
    /// Creates the error of an embedding table that can no longer be read.
    pub(crate) fn unreadable_rows(path: &Path, error: &std::io::Error) -> Self {
        Self::backend(
            format!("reading the embedding table {}", path.display()),
            error.to_string(),
            "do not change a model's files while it is loaded; load it again",
        )
    }

    /// Creates an [`EngineError::Backend`].
    pub(crate) fn backend(what: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Backend {
            what: what.into(),
            detail: detail.into(),
            remedy: remedy.into(),
        }
    }
}
