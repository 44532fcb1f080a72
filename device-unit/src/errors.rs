//! Errors of reading, loading and running a model. Each message says what to do.

use std::path::{Path, PathBuf};

/// Why a model could not be loaded. Each message names the file and a remedy.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("there is no model named {name:?} here; `softprefix models` lists those that are")]
    UnknownModel { name: String },
    #[error("{path} is not usable: {reason}; fetch it again or choose another file")]
    BadFile { path: PathBuf, reason: String },
    /// The file is intact, but needs something that the engine does not compute.
    #[error("{path} cannot be run here: {reason}; choose another model")]
    Unsupported { path: PathBuf, reason: String },
    /// A model in several files, of which some are missing.
    #[error("{path} is not the whole model: {reason}; put all its files into one folder and name the first")]
    Incomplete { path: PathBuf, reason: String },
    /// The vocabulary cannot be used. The message names the file and a remedy.
    #[error("{0}")]
    Vocabulary(String),
    #[error(
        "{path} holds a model of the architecture {architecture:?}; this engine runs qwen2, qwen3 and llama: choose one of these"
    )]
    UnsupportedArchitecture { path: PathBuf, architecture: String },
    #[error("{path} could not be read: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("the set-up's {key:?} is {value}; {remedy}")]
    BadSetting { key: String, value: String, remedy: String },
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Errors of an engine.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EngineError {
    #[error(
        "the token {token} is outside the vocabulary of {vocab_size} tokens; check that tokenizer and model belong together"
    )]
    NoSuchToken { token: u32, vocab_size: usize },
    #[error("the engine already runs {limit} sequences; wait until one ends")]
    TooManySequences { limit: usize },
    #[error(
        "{wanted} positions do not fit into the model's window of {window}; shorten the prompt, the prefix or the output"
    )]
    WindowExceeded { wanted: usize, window: usize },
    #[error("the sequence {0} is not open; open one first")]
    NoSuchSequence(u64),
    #[error("{got} values are no whole number of embedding rows of width {hidden_size}; send P x {hidden_size} values")]
    RaggedRows { got: usize, hidden_size: usize },
    #[error("stopped on request")]
    Stopped,
    /// A failure of what the engine runs on: the NPU's runtime, threads, memory.
    #[error("{what} failed: {detail}; {remedy}")]
    Machinery {
        what: String,
        detail: String,
        remedy: String,
    },
}

impl EngineError {
    /// The error for an embedding table that can no longer be read.
    pub(crate) fn unreadable_rows(path: &Path, error: &std::io::Error) -> Self {
        Self::Machinery {
            what: format!("reading the embedding table {}", path.display()),
            detail: error.to_string(),
            remedy: "leave a model's files as they are while it is in use, and load it again".into(),
        }
    }
}
