//! SHA-256 of files, cached beside our models, so that half a gigabyte is not read at each start. For models whose digest is not in the
//! catalogue, the digest of the first fetch is recorded.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::catalogue::Entry;

/// Digests of smaller files are not cached, because they are quick to compute.
const WORTH_CACHING: u64 = 16 << 20;

/// A digest, and the state of the file for which it holds.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    path: PathBuf,
    bytes: u64,
    /// Nanoseconds since 1970.
    modified: u128,
    /// Number of the file in its file system; 0 where there are none.
    inode: u64,
    sha256: String,
}

/// The first fetch of a model whose digest is not in the catalogue. Later fetches must have the same digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FirstFetch {
    /// Address on the hub.
    pub address: String,
    /// The repository's commit, if the hub named it.
    pub commit: Option<String>,
    pub bytes: u64,
    pub sha256: String,
}

impl FirstFetch {
    /// Where it is recorded.
    pub(super) fn path(entry: &Entry, memory: &Path) -> PathBuf {
        memory.join(format!("{}.first-fetch.json", entry.name))
    }

    /// What was recorded; `None` where nothing was.
    pub(super) fn recorded(entry: &Entry, memory: &Path) -> Option<Self> {
        let path = Self::path(entry, memory);
        match fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(first) => Some(first),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "the record of a first fetch cannot be read");
                    None
                }
            },
            Err(_) => None,
        }
    }

    /// Records it.
    ///
    /// # Errors
    /// The system's.
    #[cfg(feature = "fetch")]
    pub(super) fn record(&self, entry: &Entry, memory: &Path) -> io::Result<()> {
        fs::create_dir_all(memory)?;
        softprefix_core::files::write_whole(&Self::path(entry, memory), &serde_json::to_vec_pretty(self)?)
    }
}

/// The file's SHA-256, lower-case hex: from the cache folder `memory` if length and time of change and the inode are unchanged, else
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

/// Caches a digest that is already known, and removes those of deleted files.
pub(super) fn remember(path: &Path, sha256: &str, memory: &Path) {
    let note = || -> Option<()> {
        let (path, bytes, modified, inode) = state(path)?;
        if bytes < WORTH_CACHING {
            return Some(());
        }
        let target = memory_of(&path, memory);
        let text = serde_json::to_vec(&Remembered {
            path,
            bytes,
            modified,
            inode,
            sha256: sha256.to_owned(),
        })
        .ok()?;
        fs::create_dir_all(memory).ok()?;
        softprefix_core::files::write_whole(&target, &text).ok()?;
        drop_gone(memory).ok()
    };
    if note().is_none() {
        tracing::debug!(path = %path.display(), "the digest of this file cannot be cached");
    }
}

/// Removes the cached digests of deleted files.
fn drop_gone(memory: &Path) -> io::Result<()> {
    for note in fs::read_dir(memory)? {
        let note = note?.path();
        // The folder may contain other files.
        let known = fs::read(&note).ok();
        let known = known.and_then(|text| serde_json::from_slice::<Remembered>(&text).ok());
        // If a file cannot be accessed, it may still exist.
        if known.is_some_and(|known| known.path.try_exists().is_ok_and(|exists| !exists)) {
            fs::remove_file(&note)?;
        }
    }
    Ok(())
}

fn recall(path: &Path, memory: &Path) -> Option<String> {
    let (path, bytes, modified, inode) = state(path)?;
    let known: Remembered = serde_json::from_slice(&fs::read(memory_of(&path, memory)).ok()?).ok()?;
    let same = (known.path, known.bytes, known.modified, known.inode) == (path, bytes, modified, inode);
    (same && known.sha256.len() == 64).then_some(known.sha256)
}

fn state(path: &Path) -> Option<(PathBuf, u64, u128, u64)> {
    let path = path.canonicalize().ok()?;
    let metadata = fs::metadata(&path).ok()?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let inode = 0;
    Some((path, metadata.len(), modified, inode))
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

    /// A file that is worth caching, with `first` as its first bytes.
    fn write(path: &Path, first: &[u8]) {
        fs::write(path, first).unwrap();
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(WORTH_CACHING)
            .unwrap();
    }

    fn notes(memory: &Path) -> usize {
        fs::read_dir(memory).map_or(0, Iterator::count)
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let (file, memory) = (folder.path().join("x"), folder.path().join("memory"));
        write(&file, b"abc");
        let first = of_file(&file, &memory).unwrap();
        assert_eq!(recall(&file, &memory).as_ref(), Some(&first));
        write(&file, b"abcd");
        assert_eq!(recall(&file, &memory), None);
        assert_ne!(of_file(&file, &memory).unwrap(), first);
    }

    #[test]
    fn a_small_file_is_read_each_time_and_leaves_nothing_in_the_cache() {
        let folder = tempfile::tempdir().unwrap();
        let (file, memory) = (folder.path().join("x"), folder.path().join("memory"));
        fs::write(&file, b"abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_file(&file, &memory).unwrap(), abc);
        assert_eq!((recall(&file, &memory), notes(&memory)), (None, 0));
    }

    #[test]
    fn digests_of_deleted_files_are_removed_with_the_next_one_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let memory = folder.path().join("memory");
        let [gone, stays, last] = ["gone", "stays", "last"].map(|name| folder.path().join(name));
        for (file, first) in [(&gone, b"a"), (&stays, b"b")] {
            write(file, first);
            of_file(file, &memory).unwrap();
        }
        let other = memory.join("qwen.first-fetch.json");
        fs::write(&other, "{}").unwrap();
        fs::remove_file(&gone).unwrap();
        write(&last, b"c");
        of_file(&last, &memory).unwrap();
        assert!(recall(&stays, &memory).is_some() && recall(&last, &memory).is_some() && other.exists());
        assert_eq!(notes(&memory), 3);
    }

    /// Put in place by a rename, with the size and the time of the file before.
    #[cfg(unix)]
    #[test]
    fn a_file_that_took_the_place_of_another_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let (file, memory) = (folder.path().join("x"), folder.path().join("memory"));
        write(&file, b"abc");
        let abc = of_file(&file, &memory).unwrap();
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        let other = folder.path().join("other");
        write(&other, b"abd");
        File::options()
            .write(true)
            .open(&other)
            .unwrap()
            .set_modified(time)
            .unwrap();
        fs::rename(&other, &file).unwrap();
        assert_ne!(of_file(&file, &memory).unwrap(), abc);
    }

    #[test]
    fn a_damaged_memory_is_no_answer() {
        let folder = tempfile::tempdir().unwrap();
        let (file, memory) = (folder.path().join("x"), folder.path().join("memory"));
        write(&file, b"abc");
        let digest = of_file(&file, &memory).unwrap();
        for note in fs::read_dir(&memory).unwrap() {
            fs::write(note.unwrap().path(), b"{").unwrap();
        }
        assert_eq!(of_file(&file, &memory).unwrap(), digest);
    }
}
