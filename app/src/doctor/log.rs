//! The log on this computer: what was changed on which module, when, and how it ended. One JSON line a change, never rewritten.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use softprefix_core::time;

use crate::model::{Said, said};

/// One change to a module.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Entry {
    /// Seconds since 1970.
    pub at_unix: u64,
    /// The same for people: `2026-11-23 04:05:06 UTC`.
    #[serde(default)]
    pub at: String,
    pub host: String,
    /// The remedy's name, `install`, `build-stock-unit` or `exit-left-over-tasks`.
    pub id: String,
    /// What it does, in a few words.
    #[serde(default)]
    pub what: String,
    /// `apply` or `undo`.
    pub act: String,
    /// How it ended: `done`, `already`, `restored`, `stuck`, `undone`, `nothing`, `failed`, `stopped` (a build, on request), or the sentence that says why.
    pub ended: String,
    /// The commands as shown to the person before.
    pub commands: String,
    /// What they printed.
    pub output: String,
}

impl Entry {
    /// A change that happens now.
    #[must_use]
    pub fn now(host: &str, id: &str, act: &str, ended: impl Into<String>) -> Self {
        let at_unix = time::now() as u64;
        Self {
            at_unix,
            at: time::utc(at_unix as f64),
            host: host.into(),
            id: id.into(),
            what: super::title(id).en,
            act: act.into(),
            ended: ended.into(),
            ..Self::default()
        }
    }

    #[must_use]
    pub fn with(self, commands: impl Into<String>, output: impl Into<String>) -> Self {
        Self {
            commands: commands.into(),
            output: output.into(),
            ..self
        }
    }
}

/// The log file of this computer.
#[derive(Debug, Clone)]
pub struct Log {
    path: PathBuf,
}

impl Log {
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The usual place: `doctor.jsonl` in the application's data folder.
    #[must_use]
    pub fn usual() -> Option<Self> {
        let folders = directories::ProjectDirs::from("", "", "softprefix")?;
        Some(Self {
            path: folders.data_dir().join("doctor.jsonl"),
        })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line.
    ///
    /// # Errors
    /// What the file system says; the change itself was made all the same.
    pub fn add(&self, entry: &Entry) -> std::io::Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut line = serde_json::to_string(entry).map_err(std::io::Error::other)?;
        line.push('\n');
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)?
            .write_all(line.as_bytes())
    }

    /// The sentence for a log that is there and cannot be read.
    #[must_use]
    pub fn unreadable(&self, error: &std::io::Error) -> Said {
        let path = self.path.display();
        said!(
            "The log of changes {path} could not be read ({error}). Check its permissions.",
            "変更の記録 {path} を読めませんでした（{error}）。アクセス権を確かめてください。"
        )
    }

    /// All entries of a host, oldest first; none where no log was begun. Lines that are not entries are passed over:
    /// the log is for people too.
    ///
    /// # Errors
    /// What the file system says of a log that is there.
    pub fn of(&self, host: &str) -> std::io::Result<Vec<Entry>> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        Ok(text
            .lines()
            .filter_map(|line| serde_json::from_str::<Entry>(line).ok())
            .filter(|entry| entry.host == host)
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::Log;

    #[test]
    fn a_log_that_was_never_begun_is_empty_and_one_that_cannot_be_read_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::at(folder.path().join("doctor.jsonl"));
        assert_eq!(log.of("module").unwrap(), []);
        // A folder in its place stands for whatever keeps a file from being read; root reads all files.
        std::fs::create_dir(log.path()).unwrap();
        let error = log.of("module").unwrap_err();
        assert!(log.unreadable(&error).en.contains("doctor.jsonl"));
    }
}
