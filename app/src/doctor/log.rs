//! A log on this computer of the changes made to modules: what, when, and the result. One JSON line per change,
//! append-only.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use softprefix_core::files::OutFile;
use softprefix_core::time;

use crate::errors::because;
use crate::model::{Bilingual, bilingual};

/// One change to a module.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Entry {
    /// Seconds since 1970.
    pub at_unix: u64,
    /// The same, formatted: `2026-11-23 04:05:06 UTC`.
    #[serde(default)]
    pub at: String,
    pub host: String,
    /// Id of the remedy, or `install`, `build-stock-unit` or `exit-left-over-tasks`.
    pub id: String,
    /// A short description.
    #[serde(default)]
    pub what: String,
    /// `apply` or `undo`.
    pub act: String,
    /// The result: `done`, `already`, `restored`, `stuck`, `undone`, `nothing`, `failed`, `stopped` (a build, on
    /// request), or the sentence of an error.
    pub ended: String,
    /// The commands, as shown before the change.
    pub commands: String,
    /// The output of the commands.
    pub output: String,
}

impl Entry {
    /// Creates an entry with the current time.
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

    /// Returns the log at its default path: `doctor.jsonl` in the application's data folder.
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

    /// Appends a line. After an error nothing is left of it, so that the next line is one of its own.
    ///
    /// # Errors
    /// Those of the file system; the change itself was made nevertheless.
    pub fn add(&self, entry: &Entry) -> std::io::Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut line = serde_json::to_string(entry).map_err(std::io::Error::other)?;
        line.push('\n');
        let mut file = OutFile::append_private(&self.path)?;
        let end = file.file().metadata()?.len();
        file.write_all(line.as_bytes()).inspect_err(|_| {
            if let Err(error) = file.set_len(end) {
                tracing::warn!(%error, path = %self.path.display(), "a line that could not be written cannot be cut off");
            }
        })
    }

    /// Returns the sentence for a log that exists but cannot be read.
    #[must_use]
    pub fn unreadable(&self, error: &std::io::Error) -> Bilingual {
        let path = self.path.display();
        let why = because(&format!("変更の記録 {path} を読めませんでした"), &error.to_string());
        bilingual!(
            "The log of changes {path} could not be read ({error}). Check its permissions.",
            "{why}アクセス権を確かめてください。"
        )
    }

    /// Returns all entries of a host, oldest first; none if there is no log yet. Lines that are not entries are
    /// skipped, since a user may edit the log.
    ///
    /// # Errors
    /// Those of the file system, for a log that exists.
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
    use softprefix_core::files::faults::{Fault, inject};

    use super::{Entry, Log};

    #[cfg(unix)]
    #[test]
    fn only_its_owner_reads_the_log() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let log = Log::at(folder.path().join("doctor.jsonl"));
        log.add(&Entry::now("module", "relink-libstdcxx", "apply", "done"))
            .unwrap();
        let mode = std::fs::metadata(log.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_line_that_cannot_be_written_is_reported_and_leaves_the_other_lines_intact() {
        for at in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let log = Log::at(folder.path().join("doctor.jsonl"));
            let entry = |id: &str| Entry::now("module", id, "apply", "done");
            log.add(&entry("before")).unwrap();
            let injected = inject(folder.path(), Fault::Broken(at));
            let added = log.add(&entry("refused"));
            let met = injected.was_met();
            drop(injected);
            assert_eq!(added.is_err(), met, "step {at}");
            log.add(&entry("after")).unwrap();
            let found = log.of("module").unwrap();
            let ids: Vec<&str> = found.iter().map(|entry| &entry.id[..]).collect();
            assert!(
                ids.starts_with(&["before"]) && ids.ends_with(&["after"]),
                "step {at}: {ids:?}"
            );
            assert_eq!(ids.len(), if met { 2 } else { 3 }, "step {at}");
            if !met {
                assert!(at >= 2, "opening and writing can fail");
                break;
            }
        }
    }

    #[test]
    fn a_missing_log_is_empty_and_an_unreadable_log_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::at(folder.path().join("doctor.jsonl"));
        assert_eq!(log.of("module").unwrap(), []);
        // A folder in place of the file makes reading fail even for root, who may read every file.
        std::fs::create_dir(log.path()).unwrap();
        let error = log.of("module").unwrap_err();
        assert!(log.unreadable(&error).en.contains("doctor.jsonl"));
    }
}
