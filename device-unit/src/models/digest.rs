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

/// A cached digest, and the state of the file for which it holds.
#[derive(Debug, Serialize, Deserialize)]
struct CacheEntry {
    path: PathBuf,
    bytes: u64,
    /// Nanoseconds since 1970.
    modified: u128,
    /// Number of the file in its file system; 0 where there are none.
    inode: u64,
    sha256: String,
}

/// The state of a file: the first four fields of a [`CacheEntry`].
pub(super) type FileState = (PathBuf, u64, u128, u64);

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
    /// Where it is recorded, in the folder of digests.
    pub(super) fn path(entry: &Entry, digests: &Path) -> PathBuf {
        digests.join(format!("{}.first-fetch.json", entry.name))
    }

    /// What was recorded; `None` where nothing was.
    pub(super) fn recorded(entry: &Entry, digests: &Path) -> Option<Self> {
        let path = Self::path(entry, digests);
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
    pub(super) fn record(&self, entry: &Entry, digests: &Path) -> io::Result<()> {
        fs::create_dir_all(digests)?;
        softprefix_core::files::write_whole(&Self::path(entry, digests), &serde_json::to_vec_pretty(self)?)
    }
}

/// The file's SHA-256, lower-case hex: from `cache_dir` if path, length, time of change and inode are unchanged, else computed and cached
/// there. A failure of the cache is not an error.
///
/// # Errors
/// Those of reading the file.
pub(super) fn of_file(path: &Path, cache_dir: &Path) -> io::Result<String> {
    cached(path, cache_dir, compute)
}

/// As [`of_file`], with `compute` for a digest that is not in the cache.
fn cached(path: &Path, cache_dir: &Path, compute: impl FnOnce(&Path) -> io::Result<String>) -> io::Result<String> {
    let before = state(path);
    if let Some(known) = before.as_ref().and_then(|state| lookup(state, cache_dir)) {
        return Ok(known);
    }
    let digest = compute(path)?;
    // If the file was replaced meanwhile, this is the digest of the old one.
    if let Some(file) = before
        && state(path).as_ref() == Some(&file)
    {
        store(file, &digest, cache_dir);
    }
    Ok(digest)
}

fn compute(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    read_pieces(File::open(path)?, |bytes| {
        hasher.update(bytes);
        true
    })?;
    Ok(hex::encode(hasher.finalize()))
}

/// Passes what `source` gives to `take` in pieces, until that returns `false`; returns its last answer.
pub(super) fn read_pieces(mut source: impl Read, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<bool> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(count) if take(&buffer[..count]) => {}
            Ok(_) => return Ok(false),
            // A signal during a slow read, as on a network disk.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Caches the digest of a file in this state, and removes those of deleted files.
pub(super) fn store(file: FileState, sha256: &str, cache_dir: &Path) {
    let (path, bytes, modified, inode) = file;
    if bytes < WORTH_CACHING {
        return;
    }
    let target = entry_path(&path, cache_dir);
    let entry = CacheEntry {
        path,
        bytes,
        modified,
        inode,
        sha256: sha256.to_owned(),
    };
    let write = || -> io::Result<()> {
        fs::create_dir_all(cache_dir)?;
        softprefix_core::files::write_whole(&target, &serde_json::to_vec(&entry)?)?;
        remove_deleted(cache_dir)
    };
    if let Err(error) = write() {
        tracing::debug!(path = %entry.path.display(), %error, "the digest of this file cannot be cached");
    }
}

/// Removes the cached digests of deleted files.
fn remove_deleted(cache_dir: &Path) -> io::Result<()> {
    for file in fs::read_dir(cache_dir)? {
        let file = file?.path();
        // The folder may contain other files.
        let entry = fs::read(&file).ok();
        let entry = entry.and_then(|text| serde_json::from_slice::<CacheEntry>(&text).ok());
        // If a file cannot be accessed, it may still exist.
        if entry.is_some_and(|entry| entry.path.try_exists().is_ok_and(|exists| !exists)) {
            fs::remove_file(&file)?;
        }
    }
    Ok(())
}

/// The cached digest of a file in this state.
fn lookup(file: &FileState, cache_dir: &Path) -> Option<String> {
    let text = fs::read(entry_path(&file.0, cache_dir)).ok()?;
    let entry: CacheEntry = serde_json::from_slice(&text).ok()?;
    let is_same = (entry.path, entry.bytes, entry.modified, entry.inode) == *file;
    (is_same && entry.sha256.len() == 64).then_some(entry.sha256)
}

/// The state of the file at `path`; `None` where the system does not report it.
pub(super) fn state(path: &Path) -> Option<FileState> {
    let path = path.canonicalize().ok()?;
    let metadata = fs::metadata(&path).ok()?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let inode = 0;
    Some((path, metadata.len(), modified, inode))
}

/// Where the digest of the file at `path` is cached.
fn entry_path(path: &Path, cache_dir: &Path) -> PathBuf {
    cache_dir.join(format!(
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

    /// The cached digest of the file in its present state.
    fn known(path: &Path, cache_dir: &Path) -> Option<String> {
        lookup(&state(path)?, cache_dir)
    }

    fn files_in(cache_dir: &Path) -> usize {
        fs::read_dir(cache_dir).map_or(0, Iterator::count)
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let (file, cache_dir) = (folder.path().join("x"), folder.path().join("digests"));
        write(&file, b"abc");
        let first = of_file(&file, &cache_dir).unwrap();
        assert_eq!(known(&file, &cache_dir).as_ref(), Some(&first));
        write(&file, b"abcd");
        assert_eq!(known(&file, &cache_dir), None);
        assert_ne!(of_file(&file, &cache_dir).unwrap(), first);
    }

    #[test]
    fn a_small_file_is_read_each_time_and_leaves_nothing_in_the_cache() {
        let folder = tempfile::tempdir().unwrap();
        let (file, cache_dir) = (folder.path().join("x"), folder.path().join("digests"));
        fs::write(&file, b"abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_file(&file, &cache_dir).unwrap(), abc);
        assert_eq!((known(&file, &cache_dir), files_in(&cache_dir)), (None, 0));
    }

    #[test]
    fn digests_of_deleted_files_are_removed_with_the_next_one_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let cache_dir = folder.path().join("digests");
        let [deleted, stays, last] = ["deleted", "stays", "last"].map(|name| folder.path().join(name));
        for (file, first) in [(&deleted, b"a"), (&stays, b"b")] {
            write(file, first);
            of_file(file, &cache_dir).unwrap();
        }
        let other = cache_dir.join("qwen.first-fetch.json");
        fs::write(&other, "{}").unwrap();
        fs::remove_file(&deleted).unwrap();
        write(&last, b"c");
        of_file(&last, &cache_dir).unwrap();
        assert!(known(&stays, &cache_dir).is_some() && known(&last, &cache_dir).is_some() && other.exists());
        assert_eq!(files_in(&cache_dir), 3);
    }

    /// Put in place by a rename, with the size and the time of the file before.
    #[cfg(unix)]
    #[test]
    fn a_file_that_took_the_place_of_another_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let (file, cache_dir) = (folder.path().join("x"), folder.path().join("digests"));
        write(&file, b"abc");
        let abc = of_file(&file, &cache_dir).unwrap();
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
        assert_ne!(of_file(&file, &cache_dir).unwrap(), abc);
    }

    #[test]
    fn a_damaged_entry_of_the_cache_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let (file, cache_dir) = (folder.path().join("x"), folder.path().join("digests"));
        write(&file, b"abc");
        let digest = of_file(&file, &cache_dir).unwrap();
        for entry in fs::read_dir(&cache_dir).unwrap() {
            fs::write(entry.unwrap().path(), b"{").unwrap();
        }
        assert_eq!(of_file(&file, &cache_dir).unwrap(), digest);
    }

    #[test]
    fn a_cached_digest_is_not_computed_again() {
        let folder = tempfile::tempdir().unwrap();
        let (file, cache_dir) = (folder.path().join("x"), folder.path().join("digests"));
        write(&file, b"abc");
        let digest = of_file(&file, &cache_dir).unwrap();
        let again = cached(&file, &cache_dir, |_| panic!("it is computed again"));
        assert_eq!(again.unwrap(), digest);
    }

    /// The old file is read to its end, as a download or another program puts a new one in its place.
    #[test]
    fn the_digest_of_a_file_that_is_replaced_while_it_is_read_is_not_stored_for_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let (file, cache_dir) = (folder.path().join("x"), folder.path().join("digests"));
        write(&file, b"abc");
        let old = cached(&file, &cache_dir, |path| {
            let digest = compute(path);
            let other = folder.path().join("other");
            write(&other, b"abd");
            fs::rename(&other, path).unwrap();
            digest
        });
        assert_eq!(known(&file, &cache_dir), None);
        assert_ne!(of_file(&file, &cache_dir).unwrap(), old.unwrap());
    }

    /// A source whose first read is interrupted by a signal.
    struct Signalled<'a>(bool, &'a [u8]);

    impl Read for Signalled<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if std::mem::take(&mut self.0) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            self.1.read(out)
        }
    }

    #[test]
    fn a_read_that_a_signal_interrupts_is_repeated() {
        let mut all = Vec::new();
        let take = |bytes: &[u8]| {
            all.extend_from_slice(bytes);
            true
        };
        assert!(read_pieces(Signalled(true, b"abc"), take).unwrap());
        assert_eq!(all, b"abc");
    }
}
