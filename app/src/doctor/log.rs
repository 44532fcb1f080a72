//! The log on this computer: what was changed on which module, when, and how it ended. One JSON line a change, never rewritten.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// One change to a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Seconds since 1970.
    pub at_unix: u64,
    pub host: String,
    /// The remedy's name, or `install`.
    pub id: String,
    /// `apply` or `undo`.
    pub act: String,
    /// How it ended: `done`, `already`, `restored`, `undone`, `nothing`, `failed`, or the connection's sentence.
    pub ended: String,
    /// The commands as shown to the person before.
    pub commands: String,
    /// What they printed.
    pub output: String,
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
    pub fn add(
        &self,
        host: &str,
        id: &str,
        act: &str,
        ended: &str,
        commands: &str,
        output: &str,
    ) -> std::io::Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let at_unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let entry = Entry {
            at_unix,
            host: host.into(),
            id: id.into(),
            act: act.into(),
            ended: ended.into(),
            commands: commands.into(),
            output: output.into(),
        };
        let mut line = serde_json::to_string(&entry).map_err(std::io::Error::other)?;
        line.push('\n');
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)?
            .write_all(line.as_bytes())
    }

    /// All entries of a host, oldest first. Lines that are not entries are passed over: the log is for people too.
    #[must_use]
    pub fn of(&self, host: &str) -> Vec<Entry> {
        let Ok(text) = std::fs::read_to_string(&self.path) else {
            return Vec::new();
        };
        text.lines()
            .filter_map(|line| serde_json::from_str::<Entry>(line).ok())
            .filter(|entry| entry.host == host)
            .collect()
    }
}
