//! A growing file: written under a temporary name, hashed as it grows, and renamed once its SHA-256 is right.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use softprefix_core::files::OutFile;

use super::super::digest::read_pieces;

/// A partly fetched file whose digest is known.
///
/// Its name contains the first 16 digits of the digest, so that a part is only continued with the rest of the same file.
pub(super) struct PartFile {
    target: PathBuf,
    /// SHA-256 of the whole file, lower-case hex.
    wanted: String,
    file: OutFile,
    hasher: Sha256,
    len: u64,
}

impl PartFile {
    /// Opens the part that an earlier fetch left, or an empty file, beside `target`.
    ///
    /// `wanted` is the SHA-256 of the whole file in lower-case hex. `progress` is called with the number of bytes of the old part that are
    /// hashed; where it returns `false`, opening ends with `None`.
    pub(super) fn open(target: &Path, wanted: &str, progress: &mut dyn FnMut(u64) -> bool) -> io::Result<Option<Self>> {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", wanted.get(..16).unwrap_or(wanted)));
        let path = target.with_file_name(name);
        let file = OutFile::open(
            &path,
            OpenOptions::new().read(true).write(true).create(true).truncate(false),
        )?;
        let (target, wanted) = (target.to_owned(), wanted.to_owned());
        let mut part = Self {
            target,
            wanted,
            file,
            hasher: Sha256::new(),
            len: 0,
        };
        Ok(part.read_again(u64::MAX, progress)?.then_some(part))
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Length of the part in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Cuts the part to its first `len` bytes, which are at most its length. What stays is hashed again, because the hash cannot be taken
    /// back.
    pub(super) fn cut(&mut self, len: u64) -> io::Result<()> {
        if len == self.len {
            return Ok(());
        }
        self.file.set_len(len)?;
        self.read_again(len, &mut |_| true).map(|_| ())
    }

    /// Ends a complete file: renames it if its digest is right, and removes it if not.
    ///
    /// `Ok(Err(digest))` is the digest of a wrong file.
    pub(super) fn finish(self) -> io::Result<Result<PathBuf, String>> {
        let got = hex::encode(self.hasher.finalize());
        if got != self.wanted {
            let path = self.file.path().to_owned();
            drop(self.file);
            fs::remove_file(path)?;
            return Ok(Err(got));
        }
        // Synced before the rename: a power cut must not leave a file with holes under the final name.
        self.file.sync()?;
        set_aside(&self.target)?;
        self.file.rename(&self.target)?;
        remove_other_parts(&self.target);
        Ok(Ok(self.target))
    }

    /// Removes the file.
    pub(super) fn remove(self) {
        let path = self.file.path().to_owned();
        drop(self.file);
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "a half-fetched file could not be removed");
        }
    }

    /// Hashes the first `limit` bytes, or as many as there are, and stays behind them. Returns `false` if `progress` did.
    fn read_again(&mut self, limit: u64, progress: &mut dyn FnMut(u64) -> bool) -> io::Result<bool> {
        self.hasher = Sha256::new();
        self.len = 0;
        let file = self.file.file();
        file.seek(SeekFrom::Start(0))?;
        let (hasher, len) = (&mut self.hasher, &mut self.len);
        read_pieces(file.take(limit), |bytes| {
            hasher.update(bytes);
            *len += bytes.len() as u64;
            progress(*len)
        })
    }
}

/// Renames the file at `target`, which the caller has found not to be the wanted one, so that it is not overwritten.
fn set_aside(target: &Path) -> io::Result<()> {
    if !target.exists() {
        return Ok(());
    }
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(
        ".replaced-{}",
        softprefix_core::time::stamp(softprefix_core::time::now())
    ));
    let kept = target.with_file_name(name);
    fs::rename(target, &kept)?;
    tracing::warn!(
        "{} was not the model of that name; it is kept as {}",
        target.display(),
        kept.display()
    );
    Ok(())
}

/// Removes parts of other files of the same name: older versions that the hub no longer has.
fn remove_other_parts(target: &Path) {
    let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else {
        return;
    };
    let begins = format!("{}.", name.to_string_lossy());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&begins) && name.ends_with(".part") {
            // A part that is left behind only takes space.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_file_bears_its_name_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x.gguf");
        let mut part = PartFile::open(&target, ABC, &mut |_| true).unwrap().unwrap();
        part.append(b"ab").unwrap();
        drop(part);
        assert!(!target.exists());

        let mut part = PartFile::open(&target, ABC, &mut |_| true).unwrap().unwrap();
        assert_eq!(part.len(), 2);
        part.append(b"c").unwrap();
        assert_eq!(part.finish().unwrap(), Ok(target.clone()));
        assert_eq!(fs::read(&target).unwrap(), b"abc");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_with_another_digest_is_removed_and_its_digest_returned() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x.gguf");
        let mut part = PartFile::open(&target, ABC, &mut |_| true).unwrap().unwrap();
        part.append(b"abd").unwrap();
        let digest = part.finish().unwrap().unwrap_err();
        assert_ne!(digest, ABC);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_part_can_be_cut_to_an_earlier_length() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x.gguf");
        let mut part = PartFile::open(&target, ABC, &mut |_| true).unwrap().unwrap();
        part.append(b"abXY").unwrap();
        part.cut(2).unwrap();
        part.append(b"c").unwrap();
        assert_eq!(part.finish().unwrap(), Ok(target));
    }

    #[test]
    fn parts_of_other_files_of_the_same_name_are_not_continued_and_are_removed_when_the_file_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x.gguf");
        PartFile::open(&target, &"0".repeat(64), &mut |_| true)
            .unwrap()
            .unwrap()
            .append(b"ab")
            .unwrap();
        let mut part = PartFile::open(&target, ABC, &mut |_| true).unwrap().unwrap();
        assert_eq!(part.len(), 0);
        part.append(b"abc").unwrap();
        part.finish().unwrap().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn hashing_an_old_part_can_be_cancelled() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x.gguf");
        let open = |progress: bool| PartFile::open(&target, ABC, &mut |_| progress).unwrap();
        open(true).unwrap().append(b"ab").unwrap();
        assert!(open(false).is_none());
        assert_eq!(open(true).unwrap().len(), 2, "the part is kept");
    }
}
