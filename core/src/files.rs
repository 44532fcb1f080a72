//! Files that are replaced whole or not at all, and files that are read up to a limit.
//!
//! Only regular files are read: a path may come from a peer or a person, and a device or a pipe would never end.
//!
//! Every file that is kept is changed through [`OutFile`] or replaced by [`write_whole`] and the functions beside it, so that the tests of
//! write errors reach each step (module `faults` of the feature `testing`).

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Writes a file at `path` atomically: at any moment, either the old content is there or the new. A link at `path` is replaced, not followed, and
/// the permissions are those of a new file.
///
/// # Errors
/// The system's error, and `InvalidInput` where something else than a regular file has the name; what was there is then unchanged.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, 0o666, Existing::Replace)
}

/// As [`write_whole`], with a file that only its owner can read.
///
/// # Errors
/// As [`write_whole`].
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, 0o600, Existing::Replace)
}

/// As [`write_private`], if there is no file of this name yet.
///
/// # Errors
/// As [`write_whole`], and `AlreadyExists`.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, 0o600, Existing::Keep)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Replace,
    Keep,
}

/// Replaces two files of which `head` describes `body`, so that the head of one version is never beside the body of another: at any moment
/// both are old, both are new, or there is no head.
///
/// # Errors
/// As [`write_whole`]. Where the disk has no room for the new files, both are as they were.
pub(crate) fn write_pair(head: (&Path, &[u8]), body: (&Path, &[u8])) -> io::Result<()> {
    let new_body = part(body.0, body.1, 0o666, Existing::Replace)?;
    let new_head = part(head.0, head.1, 0o666, Existing::Replace)?;
    faults::step(head.0)?;
    if let Err(error) = std::fs::remove_file(head.0)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    persist(new_body, body.0, Existing::Replace)?;
    persist(new_head, head.0, Existing::Replace)
}

/// `mode` is the permissions of the new file on Unix, before the umask.
fn replace(path: &Path, bytes: &[u8], mode: u32, existing: Existing) -> io::Result<()> {
    persist(part(path, bytes, mode, existing)?, path, existing)
}

/// Writes a file under a temporary name beside `path`; dropping it removes it.
fn part(path: &Path, bytes: &[u8], mode: u32, existing: Existing) -> io::Result<NamedTempFile<OutFile>> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // A device or a pipe would be replaced by the file.
    if existing == Existing::Replace
        && let Ok(present) = std::fs::metadata(path)
    {
        for_regular(&present)?;
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".softprefix-").suffix(".part");
    let mut part = builder.make_in(folder, |part| {
        OutFile::open(part, with_mode(OpenOptions::new().write(true).create_new(true), mode))
    })?;
    part.as_file_mut().write_all(bytes)?;
    part.as_file().sync()?;
    Ok(part)
}

/// Gives a part its name.
fn persist(part: NamedTempFile<OutFile>, path: &Path, existing: Existing) -> io::Result<()> {
    faults::step(path)?;
    match existing {
        Existing::Replace => part.persist(path)?,
        Existing::Keep => part.persist_noclobber(path)?,
    };
    Ok(())
}

/// Permissions of a new file on Unix, before the umask.
pub(crate) fn with_mode(options: &mut OpenOptions, mode: u32) -> &mut OpenOptions {
    #[cfg(unix)]
    return std::os::unix::fs::OpenOptionsExt::mode(options, mode);
    #[cfg(not(unix))]
    {
        let _ = mode;
        options
    }
}

/// A file that is changed step by step.
#[derive(Debug)]
pub struct OutFile {
    file: File,
    path: PathBuf,
}

impl OutFile {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// The system's error.
    pub fn open(path: &Path, options: &OpenOptions) -> io::Result<Self> {
        faults::step(path)?;
        Ok(Self {
            file: options.open(path)?,
            path: path.to_owned(),
        })
    }

    /// Opens a file for appending, and creates it if it is missing. A new file can be read by its owner only.
    ///
    /// # Errors
    /// The system's error.
    pub fn append_private(path: &Path) -> io::Result<Self> {
        Self::open(path, with_mode(OpenOptions::new().append(true).create(true), 0o600))
    }

    /// Creates a new file that can be read by its owner only.
    ///
    /// # Errors
    /// `AlreadyExists`, and the system's error.
    pub fn create_private(path: &Path) -> io::Result<Self> {
        Self::open(path, with_mode(OpenOptions::new().write(true).create_new(true), 0o600))
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, to be read, locked or positioned.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Writes all bytes at the file's position.
    ///
    /// # Errors
    /// The system's error; part of the bytes may then have been written.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = faults::step(&self.path) {
            // Like on a disk that fills up: a part is written.
            self.file.write_all(bytes.get(..bytes.len() / 2).unwrap_or_default())?;
            return Err(error);
        }
        self.file.write_all(bytes)
    }

    /// Returns when content and length are on disk.
    ///
    /// # Errors
    /// The system's error; what was written may then be there or not.
    pub fn sync(&self) -> io::Result<()> {
        faults::step(&self.path)?;
        self.file.sync_all()
    }

    /// Cuts the file to `len` bytes.
    ///
    /// # Errors
    /// The system's error.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        faults::step(&self.path)?;
        self.file.set_len(len)
    }

    /// Gives the file another name, which may be that of an older file.
    ///
    /// # Errors
    /// The system's error; both names are then as they were.
    pub fn rename(&self, to: &Path) -> io::Result<()> {
        faults::step(&self.path)?;
        std::fs::rename(&self.path, to)
    }
}

/// Errors of the disk for tests: the n-th step that changes a file below a folder fails.
#[cfg(feature = "testing")]
pub mod faults {
    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::{Mutex, PoisonError};

    /// What fails, and from which step on.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Fault {
        /// This step alone, with EIO.
        Broken(usize),
        /// This step and all after it, with ENOSPC.
        Full(usize),
    }

    struct Plan {
        folder: PathBuf,
        fault: Fault,
        steps: usize,
    }

    static PLANS: Mutex<Vec<Plan>> = Mutex::new(Vec::new());

    /// Lets steps below `folder` fail until the guard is dropped. Steps are counted from 0.
    pub fn inject(folder: &Path, fault: Fault) -> Injected {
        let plan = Plan {
            folder: folder.to_owned(),
            fault,
            steps: 0,
        };
        PLANS.lock().unwrap_or_else(PoisonError::into_inner).push(plan);
        Injected(folder.to_owned())
    }

    /// A fault in effect.
    #[must_use]
    pub struct Injected(PathBuf);

    impl Injected {
        /// Whether a step has failed.
        pub fn was_met(&self) -> bool {
            let plans = PLANS.lock().unwrap_or_else(PoisonError::into_inner);
            plans.iter().any(|plan| {
                let (Fault::Broken(at) | Fault::Full(at)) = plan.fault;
                plan.folder == self.0 && plan.steps > at
            })
        }
    }

    impl Drop for Injected {
        fn drop(&mut self) {
            let mut plans = PLANS.lock().unwrap_or_else(PoisonError::into_inner);
            plans.retain(|plan| plan.folder != self.0);
        }
    }

    pub(super) fn step(path: &Path) -> io::Result<()> {
        let mut plans = PLANS.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(plan) = plans.iter_mut().find(|plan| path.starts_with(&plan.folder)) else {
            return Ok(());
        };
        let step = plan.steps;
        plan.steps += 1;
        match plan.fault {
            Fault::Broken(at) if step == at => Err(io::Error::from_raw_os_error(EIO)),
            Fault::Full(at) if step >= at => Err(io::Error::from_raw_os_error(ENOSPC)),
            Fault::Broken(_) | Fault::Full(_) => Ok(()),
        }
    }

    /// The numbers of Linux and macOS.
    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;
}

#[cfg(not(feature = "testing"))]
mod faults {
    pub(super) fn step(_path: &std::path::Path) -> std::io::Result<()> {
        Ok(())
    }
}

/// Opens a regular file.
///
/// # Errors
/// Those of the file system, and `InvalidInput` where it is not a regular file.
pub fn open(path: &Path) -> io::Result<File> {
    // Checked before opening, too: opening a pipe blocks until there is a writer.
    for_regular(&std::fs::metadata(path)?)?;
    let file = File::open(path)?;
    for_regular(&file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// Those of [`open`], and `FileTooLarge` beyond the limit.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {} MiB", limit >> 20),
        ));
    }
    Ok(bytes)
}

/// As [`read`], for text.
///
/// # Errors
/// Those of [`read`], and `InvalidData` where it is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read(path, limit)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn for_regular(metadata: &std::fs::Metadata) -> io::Result<()> {
    if metadata.is_file() {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_not_replaced_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let device = folder.path().join("device");
        std::os::unix::fs::symlink("/dev/null", &device).unwrap();
        for path in [socket.as_path(), device.as_path(), folder.path()] {
            assert_eq!(
                write_whole(path, b"text").unwrap_err().kind(),
                io::ErrorKind::InvalidInput
            );
            assert!(!std::fs::metadata(path).unwrap().is_file());
        }
    }

    #[test]
    fn only_regular_files_up_to_the_limit_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_text(&path, 5).unwrap(), "12345");
        assert_eq!(read(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read(folder.path(), 4).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        #[cfg(unix)]
        {
            let zeros = Path::new("/dev/zero");
            assert_eq!(read(zeros, 4).unwrap_err().kind(), io::ErrorKind::InvalidInput);
            let link = folder.path().join("link");
            std::os::unix::fs::symlink(zeros, &link).unwrap();
            assert_eq!(read(&link, 4).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
