//! A folder of imported prefixes, one file for each, named by its SHA-256. A recipe that names a prefix by its digest can be
//! built again as long as the file is there.
//!
//! The digest is that of the values without P and H: where rows of another width have the same values, the name of the second file
//! has its H, too.

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

    /// Stores a prefix and returns its SHA-256. A file that is already there is left unchanged, unless it is damaged.
    ///
    /// # Errors
    /// [`FileError::Unwritable`].
    pub fn put(&self, prefix: &SoftPrefix) -> Result<String, PrefixStoreError> {
        let digest = prefix.sha256();
        let [first, with_width] = [None, Some(prefix.hidden_size())].map(|width| self.path(&digest, width));
        let is_stored = |path| self.read(path, &digest).as_ref() == Ok(prefix);
        if !is_stored(&first) && !is_stored(&with_width) {
            let is_taken = self.read(&first, &digest).is_ok();
            files::make_folder(&self.folder)?;
            files::write(
                if is_taken { &with_width } else { &first },
                &files::bf16_tensor(prefix)?,
            )?;
        }
        Ok(digest)
    }

    /// Reads the prefix with this SHA-256 and checks the digest. Of two prefixes with the same values, the one of the width `hidden_size` is
    /// read; without a prefix of that width, the one that was stored first.
    ///
    /// # Errors
    /// [`PrefixStoreError`].
    pub fn get(&self, sha256: &str, hidden_size: Option<usize>) -> Result<SoftPrefix, PrefixStoreError> {
        // The digest may come from a file and becomes part of a path.
        let is_digest = sha256.len() == 64 && sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_digest {
            return Err(PrefixStoreError::NotADigest {
                digest: sha256.to_owned(),
            });
        }
        let first = self.read(&self.path(sha256, None), sha256);
        let of_width = |prefix: &SoftPrefix| hidden_size.is_none_or(|hidden_size| hidden_size == prefix.hidden_size());
        if first.as_ref().is_ok_and(of_width) {
            return first;
        }
        match self.read(&self.path(sha256, hidden_size), sha256) {
            Err(PrefixStoreError::NotFound { .. }) => first,
            other => other,
        }
    }

    fn read(&self, path: &Path, sha256: &str) -> Result<SoftPrefix, PrefixStoreError> {
        let folder = || self.folder.display().to_string();
        if !path.is_file() {
            return Err(PrefixStoreError::NotFound {
                digest: sha256.to_owned(),
                folder: folder(),
            });
        }
        let prefix = files::import(path, None, Rounding::NearestEven)?.prefix;
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

    /// The file of the first prefix with this digest, or of another with the width `hidden_size`.
    fn path(&self, digest: &str, hidden_size: Option<usize>) -> PathBuf {
        self.folder.join(match hidden_size {
            None => format!("{digest}.safetensors"),
            Some(hidden_size) => format!("{digest}-{hidden_size}.safetensors"),
        })
    }
}
