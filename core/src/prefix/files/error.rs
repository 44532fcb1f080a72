//! Errors of reading and writing a prefix's file. Each message names the file, what is wrong and what to do.

use crate::prefix::{MAX_LEN, PrefixError};

/// Why a file was not read or written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FileError {
    /// The file or folder cannot be opened or read.
    #[error("the file {file} cannot be read: {detail}; check the path and its permissions")]
    Unreadable {
        /// Path as it was given.
        file: String,
        /// The system's message.
        detail: String,
    },
    /// The file or folder cannot be made or written.
    #[error("the file {file} cannot be written: {detail}; choose another place or make room")]
    Unwritable {
        /// Path as it was given.
        file: String,
        /// The system's message.
        detail: String,
    },
    /// The file is larger than any prefix; it was not read.
    #[error(
        "the file {file} has {bytes} bytes, far more than any soft prefix (limit {limit}); choose the prefix's own file, not the model's"
    )]
    TooLarge {
        /// Path as it was given.
        file: String,
        /// Size of the file, or of the tensor in it.
        bytes: u64,
        /// Most bytes that are read.
        limit: u64,
    },
    /// A Git LFS pointer: a text in place of a file that has not been fetched.
    #[error("the file {file} is a Git LFS pointer, not the file itself; run `git lfs pull` in its folder")]
    LfsPointer {
        /// Path as it was given.
        file: String,
    },
    /// A Python pickle, by its content or its ending; it was not opened.
    #[error(
        "the file {file} is a Python pickle, which can run any program when it is opened, so it is never opened here; save the prefix as \
         safetensors (PEFT: `save_pretrained(..., safe_serialization=True)`) or as .npy"
    )]
    Pickle {
        /// Path as it was given.
        file: String,
    },
    /// The first bytes are those of no known format.
    #[error(
        "the file {file} is not a soft prefix file: it begins with {start:?}; choose a PEFT folder, a .safetensors, an .npy, an .npz or a \
         KoboldAI .zip"
    )]
    UnknownKind {
        /// Path as it was given.
        file: String,
        /// The first bytes, at most 12.
        start: String,
    },
    /// The folder has no such file of a PEFT adapter.
    #[error(
        "the folder {folder} is not a PEFT folder: it has no {missing}; choose a folder with adapter_config.json and adapter_model.safetensors"
    )]
    NotPeft {
        /// Path as it was given.
        folder: String,
        /// Name of the missing file.
        missing: &'static str,
    },
    /// A zip of a PEFT folder.
    #[error("the file {file} is a packed PEFT folder; unpack it and choose the folder")]
    PackedFolder {
        /// Path as it was given.
        file: String,
    },
    /// The folder has no adapter of its own and several in the folders right inside it.
    #[error(
        "the folder {folder} holds several adapters ({first}, {second} and perhaps more); choose the folder of one of them"
    )]
    SeveralAdapters {
        /// Path as it was given.
        folder: String,
        /// Name of one such folder.
        first: String,
        /// Name of another.
        second: String,
    },
    /// The file is of a known format, but cut, damaged, or with a header that cannot be understood.
    #[error("the file {file} is not a usable {kind} file: {detail}; save it again")]
    Malformed {
        /// Path as it was given.
        file: String,
        /// The format, such as `.npy`.
        kind: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The file holds no array of two dimensions, or several without a known name.
    #[error(
        "the file {file} holds {found}, but a prefix is one table of P rows and H columns; save that table alone, as P x H"
    )]
    NotOneTable {
        /// Path as it was given.
        file: String,
        /// What it holds instead.
        found: String,
    },
    /// The numbers have another type than f16, bf16, f32 or f64.
    #[error("the file {file} holds values of the type {found}; save them as f32, f16 or bf16 (in .npy, as f32 or f16)")]
    WrongType {
        /// Path as it was given.
        file: String,
        /// The type as the file names it.
        found: String,
    },
    /// Words of 16 bits in a file that does not say what they are, and whose values do not show it.
    #[error(
        "the file {file} holds values of the type u2, which may be the bits of bf16 or of f16, or whole numbers; save them as f32 (in NumPy, \
         from the bits of bf16: `(words.astype('u4') << 16).view('f4')`)"
    )]
    UnclearWords {
        /// Path as it was given.
        file: String,
    },
    /// More rows than [`MAX_LEN`].
    #[error("the file {file} holds {rows} rows, more than any model's window (limit {MAX_LEN}); choose another file")]
    TooLong {
        /// Path as it was given.
        file: String,
        /// Rows of the table.
        rows: usize,
    },
    /// The rows are those of a model of another width.
    #[error(
        "the file {file} is made for a model with a hidden size of {width}, but this model's is {hidden_size}; choose the model it was made for"
    )]
    WrongWidth {
        /// Path as it was given.
        file: String,
        /// Columns of the table.
        width: usize,
        /// H of the model.
        hidden_size: usize,
    },
    /// The table has H rows, so that its rows and columns are probably exchanged.
    #[error(
        "the file {file} holds {hidden_size} rows of {width} values, and this model's hidden size is {hidden_size}; save the transposed table \
         (in NumPy: `table.T`), or choose the model that it was made for"
    )]
    Transposed {
        /// Path as it was given.
        file: String,
        /// Columns of the table.
        width: usize,
        /// H of the model, and rows of the table.
        hidden_size: usize,
    },
    /// Keys and values of every layer (Li and Liang 2021), which is another method than prompt tuning.
    #[error(
        "the file {file} is a prefix-tuning adapter ({evidence}): it holds keys and values for every layer, not embedding rows, and cannot \
         be put in front of the embeddings; train with PROMPT_TUNING or P_TUNING instead"
    )]
    PrefixTuning {
        /// Path as it was given.
        file: String,
        /// By what it was recognised.
        evidence: String,
    },
    /// A PEFT adapter of another type, such as LoRA.
    #[error(
        "the file {file} is an adapter of the type {peft_type}; only PROMPT_TUNING and P_TUNING hold nothing but the rows of a soft \
         prefix: choose one of these"
    )]
    OtherAdapter {
        /// Path as it was given.
        file: String,
        /// `peft_type` of its configuration, at most 40 characters.
        peft_type: String,
    },
    /// An adapter whose rows are not all that it does to a model.
    #[error(
        "the file {file} is of an adapter that {what}, so that its rows alone would not give its outputs; choose one whose rows were \
         trained alone, for CAUSAL_LM"
    )]
    MoreThanRows {
        /// Path of its configuration.
        file: String,
        /// What else it does.
        what: MoreThanRows,
    },
    /// An adapter of an encoder-decoder model.
    #[error(
        "the file {file} is made for a model of {submodules} parts (an encoder and a decoder), and these models have one; choose an adapter of a decoder-only model"
    )]
    EncoderDecoder {
        /// Path as it was given.
        file: String,
        /// `num_transformer_submodules` of its configuration.
        submodules: u64,
    },
    /// Configuration and table of an adapter contradict each other.
    #[error("the file {file} says that there are {stated} {what}, but the table has {found}; save the adapter again")]
    Disagrees {
        /// Path of the table.
        file: String,
        /// What is counted: rows or columns, with the configuration's key.
        what: &'static str,
        /// The configuration's number.
        stated: u64,
        /// The table's number.
        found: usize,
    },
    /// An archive claims to unpack to far more than its size warrants; it was not unpacked.
    #[error(
        "the file {file} would unpack to {bytes} bytes, too much for its {packed} bytes (limit {limit}); choose another file"
    )]
    Bomb {
        /// Path as it was given.
        file: String,
        /// Bytes that it claims to unpack to.
        bytes: u64,
        /// Bytes of the archive.
        packed: usize,
        /// Most bytes that an archive of this size may unpack to.
        limit: u64,
    },
    /// The numbers were read, but make no prefix.
    #[error("{file}: {source}")]
    Rows {
        /// Path as it was given.
        file: String,
        /// Why they make none.
        #[source]
        source: PrefixError,
    },
}

impl FileError {
    /// What is wrong with which file, without what to do.
    pub(in crate::prefix) fn what(&self) -> String {
        let message = self.to_string();
        message
            .split_once("; ")
            .map_or(message.as_str(), |(what, _)| what)
            .to_owned()
    }

    /// Creates the error of a table whose rows were saved one after another.
    pub(super) fn flattened(file: &str, values: usize) -> Self {
        Self::NotOneTable {
            file: file.to_owned(),
            found: format!("{values} values in one dimension"),
        }
    }
}

/// What an adapter does to a model beside its rows. Displayed as a clause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoreThanRows {
    /// It serves another task than to continue a text.
    #[error("is made for the task {task}, not to continue a text (CAUSAL_LM)")]
    OtherTask {
        /// Its `task_type`, at most 40 characters.
        task: String,
    },
    /// It replaces parts of the model.
    #[error("replaces parts of the model too (modules_to_save: {names})")]
    Modules {
        /// Their names, at most 80 characters.
        names: String,
    },
}
