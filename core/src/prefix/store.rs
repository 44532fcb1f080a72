//! A folder of imported prefixes, one file for each, named by its SHA-256. A recipe that names a prefix by its digest can be
//! built again as long as the file is there.

use std::path::{Path, PathBuf};

use super::error::PrefixError;
use super::files::{self, FileError};
use super::soft_prefix::{Rounding, SoftPrefix};

/// A folder of prefixes. The folder is made with the first [`put`](Self::put).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixStore {
    folder: PathBuf,
}

/// Why a prefix could not be stored or read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PrefixStoreError {
    /// The name is not 64 lower-case hexadecimal digits. It is not used as a path.
    #[error("{digest:?} is not a SHA-256 in lower-case hex, so it names no stored prefix; import the file again")]
    NotADigest {
        /// The name as given.
        digest: String,
    },
    /// There is no file of this digest.
    #[error("the prefix {digest} is not in {folder}; import its file again")]
    NotFound {
        /// SHA-256 that was asked for.
        digest: String,
        /// Folder of the store.
        folder: String,
    },
    /// The rows in the file have another digest than its name.
    #[error(
        "the file of the prefix {digest} in {folder} has changed (its rows now have {found}); import the original again"
    )]
    Changed {
        /// SHA-256 that was asked for.
        digest: String,
        /// Folder of the store.
        folder: String,
        /// SHA-256 of the rows that are there.
        found: String,
    },
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl PrefixStoreError {
    /// The same error for a recipe that names the prefix by `name` and `sha256`.
    pub(crate) fn of_recipe(self, name: String, sha256: String) -> PrefixError {
        match self {
            Self::NotADigest { .. } | Self::NotFound { .. } => PrefixError::StoredMissing { name, sha256 },
            Self::Changed { found, .. } => PrefixError::StoredDiffers { name, sha256, found },
            Self::File(error) => PrefixError::StoredUnreadable {
                name,
                detail: error.what(),
            },
        }
    }
}

impl PrefixStore {
    /// The store in `folder`, which need not exist.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where the files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Stores a prefix and returns its SHA-256. A file that is already there is left unchanged.
    ///
    /// # Errors
    /// [`FileError::Unwritable`].
    pub fn put(&self, prefix: &SoftPrefix) -> Result<String, PrefixStoreError> {
        let digest = prefix.sha256();
        if self.get(&digest).is_err() {
            files::make_folder(&self.folder)?;
            files::write(&self.place(&digest), &files::bf16_tensor(prefix)?)?;
        }
        Ok(digest)
    }

    /// Reads the prefix with this SHA-256 and checks the digest.
    ///
    /// # Errors
    /// [`PrefixStoreError`].
    pub fn get(&self, sha256: &str) -> Result<SoftPrefix, PrefixStoreError> {
        // The digest may come from a file and becomes part of a path.
        let is_digest = sha256.len() == 64 && sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_digest {
            return Err(PrefixStoreError::NotADigest {
                digest: sha256.to_owned(),
            });
        }
        let place = self.place(sha256);
        let folder = || self.folder.display().to_string();
        if !place.is_file() {
            return Err(PrefixStoreError::NotFound {
                digest: sha256.to_owned(),
                folder: folder(),
            });
        }
        let prefix = files::import(&place, None, Rounding::NearestEven)?.prefix;
        let found = prefix.sha256();
        if found == sha256 {
            Ok(prefix)
        } else {
            Err(PrefixStoreError::Changed {
                digest: sha256.to_owned(),
                folder: folder(),
                found,
            })
        }
    }

    fn place(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.safetensors"))
    }
}
