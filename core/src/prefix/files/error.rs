//! What can be wrong with a file of a prefix. Each sentence names the file, what is wrong and what to do.

use crate::prefix::{MAX_LEN, PrefixError};

/// Why a file was not read or written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FileError {
    #[error("{file} cannot be read: {detail}; check the path and its permissions")]
    Unreadable { file: String, detail: String },
    #[error("{file} cannot be written: {detail}; choose another place or make room")]
    Unwritable { file: String, detail: String },
    #[error(
        "{file} has {bytes} bytes, far more than any soft prefix (limit {limit}); choose the prefix's own file, not the model's"
    )]
    TooLarge { file: String, bytes: u64, limit: u64 },
    #[error(
        "{file} is a Python pickle, which can run any program when it is opened, so it is never opened here; save the prefix as \
         safetensors (PEFT: `save_pretrained(..., safe_serialization=True)`) or as .npy"
    )]
    Pickle { file: String },
    #[error(
        "{file} is no file of a soft prefix: it begins with {start:?}; choose a PEFT folder, a .safetensors, an .npy or a KoboldAI .zip"
    )]
    UnknownKind { file: String, start: String },
    #[error(
        "{folder} is no PEFT folder: it has no {missing}; choose a folder with adapter_config.json and adapter_model.safetensors"
    )]
    NotPeft { folder: String, missing: &'static str },
    #[error("{folder} holds several adapters ({first}, {second} and perhaps more); choose the folder of one of them")]
    SeveralAdapters {
        folder: String,
        first: String,
        second: String,
    },
    #[error("{file} is no usable {kind} file: {detail}; save it again")]
    Malformed {
        file: String,
        kind: &'static str,
        detail: String,
    },
    #[error("{file} holds {found}, but a prefix is one table of P rows and H columns; save that table alone")]
    NotOneTable { file: String, found: String },
    #[error(
        "{file} holds values of the type {found}; save them as f32, f16 or bf16 (in .npy: u16 for the bits of bf16)"
    )]
    WrongType { file: String, found: String },
    #[error("{file} holds {rows} rows, more than any model's window (limit {MAX_LEN}); choose another file")]
    TooLong { file: String, rows: usize },
    #[error(
        "{file} is made for a model whose rows are {width} wide, but this model's are {hidden_size} wide; choose the model it was made for"
    )]
    WrongWidth {
        file: String,
        width: usize,
        hidden_size: usize,
    },
    #[error(
        "{file} is a prefix-tuning adapter ({evidence}): it holds keys and values for every layer, not embedding rows, and cannot \
         enter in front of the embeddings; train with PROMPT_TUNING or P_TUNING instead"
    )]
    PrefixTuning { file: String, evidence: String },
    #[error(
        "{file} is an adapter of the type {peft_type}, not a soft prefix; only PROMPT_TUNING and P_TUNING are rows of embeddings"
    )]
    OtherAdapter { file: String, peft_type: String },
    #[error(
        "{file} is made for a model of {submodules} parts (an encoder and a decoder), and these models have one; choose an adapter of a decoder-only model"
    )]
    EncoderDecoder { file: String, submodules: u64 },
    #[error("{file} says that there are {said} {what}, but the table has {found}; save the adapter again")]
    Disagrees {
        file: String,
        what: &'static str,
        said: u64,
        found: usize,
    },
    #[error(
        "{file} would unpack to {bytes} bytes, which its {packed} bytes do not warrant (limit {limit}); choose another file"
    )]
    Bomb {
        file: String,
        bytes: u64,
        packed: usize,
        limit: u64,
    },
    #[error("{file}: {source}")]
    Rows {
        file: String,
        #[source]
        source: PrefixError,
    },
}
