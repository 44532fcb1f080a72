//! The log on this computer: what was changed on which module, when, and how it ended. One JSON line a change, never rewritten.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

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
        let at_unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self {
            at_unix,
            at: time(at_unix),
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

/// Day and time in UTC: `2026-11-23 04:05:06 UTC`.
#[must_use]
pub fn time(unix: u64) -> String {
    let (days, seconds) = (unix / 86_400, unix % 86_400);
    // Civil date from days since 1970 (proleptic Gregorian, counted from 0000-03-01).
    let shifted = days + 719_468;
    let (era, era_day) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (era_day - era_day / 1460 + era_day / 36_524 - era_day / 146_096) / 365;
    let day_of_year = era_day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
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
    use super::{Log, time};

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

    #[test]
    fn times_are_written_as_day_and_time() {
        assert_eq!(time(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(time(951_827_696), "2000-02-29 12:34:56 UTC");
        assert_eq!(time(1_795_388_022), "2026-11-22 22:53:42 UTC");
    }
}
