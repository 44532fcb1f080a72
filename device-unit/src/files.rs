//! Opening files whose names can come from a peer: regular files alone, read up to a limit. A device or a pipe would never end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Opens a regular file.
///
/// # Errors
/// Those of the file system, and `InvalidInput` where it is something else than a file.
pub fn open(path: &Path) -> io::Result<File> {
    // Looked at before it is opened: opening a pipe waits for somebody to write into it.
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
/// Those of [`read`], and `InvalidData` where it is no UTF-8.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read(path, limit)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Whether `name`, joined to a folder, names something in that folder or below it.
#[cfg(any(feature = "npu", test))]
pub fn stays_inside(name: &str) -> bool {
    let path = Path::new(name);
    !name.is_empty()
        && !name.contains(['\0', '\\'])
        && path
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)))
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

    #[test]
    fn names_that_lead_out_of_a_folder_are_seen() {
        for inside in ["qwen.tiktoken", "tokenizer/tokenizer.json", "l%d.axmodel", "..x"] {
            assert!(stays_inside(inside), "{inside}");
        }
        for outside in ["", "/dev/zero", "..", "../x", "a/../../x", "./x", "a\\b", "a\0b"] {
            assert!(!stays_inside(outside), "{outside:?}");
        }
    }
}
