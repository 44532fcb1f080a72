//! A file of a model that is read repeatedly while the model is loaded.
//!
//! The file is read by system calls and never mapped: truncating a mapped file would crash the process, and overwriting it would return
//! rows of another model. With system calls both are errors.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use softprefix_core::files;

use crate::errors::LoadError;

/// An open file, with its state when it was opened.
pub struct StoredFile {
    path: PathBuf,
    file: File,
    len: u64,
    modified: Option<SystemTime>,
}

impl StoredFile {
    /// Opens a file.
    ///
    /// # Errors
    /// [`LoadError::Unreadable`] if the file cannot be opened or is not a regular file.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let unreadable = |source| LoadError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let file = files::open(path).map_err(unreadable)?;
        let about = file.metadata().map_err(unreadable)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            len: about.len(),
            modified: about.modified().ok(),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the length in bytes when the file was opened.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns the file, for reading from its start.
    #[cfg(feature = "cpu")]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Fills `out` with the bytes from offset `at`.
    ///
    /// # Errors
    /// The system's error, or an error if the file has changed since it was opened.
    pub fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        let now = self.file.metadata()?;
        if now.len() != self.len || now.modified().ok() != self.modified {
            return Err(io::Error::other("the file was changed while it was in use"));
        }
        read_exact_at(&self.file, out, at)
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, out: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, at)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut out: &mut [u8], mut at: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !out.is_empty() {
        match file.seek_read(out, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                out = &mut out[read..];
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
