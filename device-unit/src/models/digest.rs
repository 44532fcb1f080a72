//! SHA-256 of files, cached beside our models, so that half a gigabyte is not read at each start.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A digest, and the state of the file for which it holds.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    path: PathBuf,
    bytes: u64,
    /// Nanoseconds since 1970.
    modified: u128,
    sha256: String,
}

/// The file's SHA-256, lower-case hex: from the cache folder `memory` if length and time of change are unchanged, else
/// computed and cached. A failure of the cache is not an error.
///
/// # Errors
/// Those of reading the file.
pub(super) fn of_file(path: &Path, memory: &Path) -> io::Result<String> {
    if let Some(known) = recall(path, memory) {
        return Ok(known);
    }
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    let digest = hex::encode(hasher.finalize());
    remember(path, &digest, memory);
    Ok(digest)
}

/// Caches a digest that is already known.
pub(super) fn remember(path: &Path, sha256: &str, memory: &Path) {
    let note = || -> Option<()> {
        let (path, bytes, modified) = state(path)?;
        let target = memory_of(&path, memory);
        let text = serde_json::to_vec(&Remembered {
            path,
            bytes,
            modified,
            sha256: sha256.to_owned(),
        })
        .ok()?;
        fs::create_dir_all(memory).ok()?;
        softprefix_core::files::write_whole(&target, &text).ok()
    };
    if note().is_none() {
        tracing::debug!(path = %path.display(), "the digest of this file cannot be cached");
    }
}

fn recall(path: &Path, memory: &Path) -> Option<String> {
    let (path, bytes, modified) = state(path)?;
    let known: Remembered = serde_json::from_slice(&fs::read(memory_of(&path, memory)).ok()?).ok()?;
    let same = known.path == path && known.bytes == bytes && known.modified == modified;
    (same && known.sha256.len() == 64).then_some(known.sha256)
}

fn state(path: &Path) -> Option<(PathBuf, u64, u128)> {
    let path = path.canonicalize().ok()?;
    let metadata = fs::metadata(&path).ok()?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    Some((path, metadata.len(), modified))
}

fn memory_of(path: &Path, memory: &Path) -> PathBuf {
    memory.join(format!(
        "{}.json",
        &hex::encode(Sha256::digest(path.as_os_str().as_encoded_bytes()))[..32]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let (file, memory) = (folder.path().join("x"), folder.path().join("memory"));
        fs::write(&file, b"abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_file(&file, &memory).unwrap(), abc);
        assert_eq!(recall(&file, &memory).as_deref(), Some(abc));
        fs::write(&file, b"abcd").unwrap();
        assert_eq!(recall(&file, &memory), None);
        assert_ne!(of_file(&file, &memory).unwrap(), abc);
    }

    #[test]
    fn a_damaged_memory_is_no_answer() {
        let folder = tempfile::tempdir().unwrap();
        let (file, memory) = (folder.path().join("x"), folder.path().join("memory"));
        fs::write(&file, b"abc").unwrap();
        let digest = of_file(&file, &memory).unwrap();
        for note in fs::read_dir(&memory).unwrap() {
            fs::write(note.unwrap().path(), b"{").unwrap();
        }
        assert_eq!(of_file(&file, &memory).unwrap(), digest);
    }
}
