//! Files that are replaced whole or not at all, and files that are read up to a limit.
//!
//! Only regular files are read: a path may come from a peer or a person, and a device or a pipe would never end.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

/// Writes a file at `path` atomically: at any moment, either the old content is there or the new.
///
/// # Errors
/// The system's error; the old file is then unchanged.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, 0o666)
}

/// As [`write_whole`], with a file that only its owner can read.
///
/// # Errors
/// As [`write_whole`].
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, 0o600)
}

/// `mode` is the permissions of the new file on Unix, before the umask.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    let permissions = {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::Permissions::from_mode(mode)
    };
    #[cfg(unix)]
    builder.permissions(permissions);
    #[cfg(not(unix))]
    let _ = mode;
    let mut part = builder.prefix(".softprefix-").suffix(".part").tempfile_in(folder)?;
    part.write_all(bytes)?;
    part.as_file().sync_all()?;
    part.persist(path)?;
    Ok(())
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
