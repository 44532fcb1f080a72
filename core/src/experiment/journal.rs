//! The append-only file of an experiment: one line for each finished case, on disk before the case is shown as finished.
//!
//! ```text
//! 1c2f09ab 512 {"case":{...}}\n      CRC-32 (as zlib's) and length of the JSON in bytes, then the JSON, which has no line break
//! ```
//! The JSON is an object with one key, the kind of the line, named in snake case as the variants of [`Entry`]:
//!
//! | line | meaning |
//! |---|---|
//! | `{"started": EXPERIMENT}` | the first line: id, name, plan and module |
//! | `{"case": RECORD}` | a finished case: what was asked, sent and answered |
//! | `{"scored": {"record": ID, "scores": SCORES}}` | scores by teacher forcing of an earlier case |
//! | `{"rated": {"record": ID, "rating": {"stars": 4, "note": "…"}}}` | the user's stars (0 to 5) and note on a case; the last such line of a case replaces earlier ones, and a missing key removes its value |
//! | `{"generation": {"experiment": ID, "generation": {…}}}` | the candidates of a generation of a search with their results; with no candidates, the generation begins (or begins again, after a step back) and is still to be judged ([`Generation`]) |
//! | `{"learning": {"experiment": ID, "plan": {…}}}` | what a prefix is learned for ([`LearnPlan`]) |
//! | `{"learned": {"experiment": ID, "frame": {…}}}` | an evaluation of the learned rows ([`LearnFrame`]) |
//! | `{"ended": {"experiment": ID, "how": "complete" or "cancelled", "at_unix": SECONDS}}` | the end of a plan |
//! | `{"renamed": {"id": ID, "name": "…"}}` | of an experiment or a case |
//! | `{"deleted": {"id": ID}}`, `{"restored": {"id": ID}}` | of an experiment or a case |
//!
//! EXPERIMENT, RECORD and SCORES are as in the exported JSON, whose schema is [`JSON_SCHEMA`](super::export::JSON_SCHEMA)
//! (`experiment`, `record` and its `scores`). A reader must ignore keys that it does not know, skip lines of kinds that it does not
//! know, and refuse a file whose `started` line has a `version` above the one that it reads. New kinds of lines and new keys leave the
//! version as it is; it rises where an older reader would misunderstand a line.
//!
//! A process killed at any moment leaves at most one unterminated line at the end. The next opening copies it to a file beside the
//! journal (`NAME.cut-1795418354`) and cuts it off. Complete lines are never removed: damaged ones, and those of kinds that this
//! version does not know, stay in the file and are skipped. Nothing is rewritten: renaming and deleting are lines, too.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::generation::Generation;
use super::learning::LearnPlan;
use super::plan::Plan;
use super::rating::Rating;
use super::record::{ModuleIdentity, Record, new_id};
use super::scores::CaseScores;
use crate::files::{self, OutFile};
use crate::protocol::learn::LearnFrame;
use crate::time;

/// Version of the lines that are written, and the newest that are read. Since version 2 an experiment may have no plan.
pub const JOURNAL_VERSION: u32 = 2;

/// One line of a journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// An experiment was started.
    Started(Box<Experiment>),
    /// A case finished.
    Case(Box<Record>),
    /// A case was scored by teacher forcing.
    Scored {
        /// Id of the record that was scored.
        record: String,
        /// Its scores.
        scores: Box<CaseScores>,
    },
    /// The user rated a case or wrote a note on it. The last such line of a case replaces earlier ones; an empty one removes both.
    Rated {
        /// Id of the record.
        record: String,
        /// Stars and note.
        rating: Rating,
    },
    /// A generation of a search began (no candidates yet), or its candidates were judged.
    Generation {
        /// Id of the experiment.
        experiment: String,
        /// The state of the search, and the candidates with their results; none where the generation begins.
        generation: Box<Generation>,
    },
    /// The experiment learns a prefix.
    Learning {
        /// Id of the experiment.
        experiment: String,
        /// What the prefix is learned for.
        plan: Box<LearnPlan>,
    },
    /// The unit evaluated the rows that are being learned.
    Learned {
        /// Id of the experiment.
        experiment: String,
        /// Its frame, without rows.
        frame: Box<LearnFrame>,
    },
    /// An experiment ended.
    Ended {
        /// Id of the experiment.
        experiment: String,
        /// Whether all cases were run.
        how: Ending,
        /// Unix time in seconds.
        at_unix: f64,
    },
    /// An experiment or a case was renamed.
    Renamed {
        /// Id of the experiment or of the record.
        id: String,
        /// The new name.
        name: String,
    },
    /// An experiment or a case was deleted: it stays in the file and is not shown.
    Deleted {
        /// Id of the experiment or of the record.
        id: String,
    },
    /// A deletion was undone.
    Restored {
        /// Id of the experiment or of the record.
        id: String,
    },
}

impl Entry {
    /// Id of the experiment to which the line belongs. A record's id is its experiment's id, a slash, and the case's
    /// index.
    pub fn experiment(&self) -> &str {
        let of_record = |id: &'_ str| id.rsplit_once('/').map_or(id.len(), |(experiment, _)| experiment.len());
        match self {
            Self::Started(experiment) => &experiment.id,
            Self::Case(record) => &record.experiment,
            Self::Ended { experiment, .. }
            | Self::Generation { experiment, .. }
            | Self::Learning { experiment, .. }
            | Self::Learned { experiment, .. } => experiment,
            Self::Scored { record: id, .. }
            | Self::Rated { record: id, .. }
            | Self::Renamed { id, .. }
            | Self::Deleted { id }
            | Self::Restored { id } => &id[..of_record(id)],
        }
    }
}

/// An experiment's first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    /// [`JOURNAL_VERSION`].
    pub version: u32,
    /// Unique among all experiments ([`new_id`]).
    pub id: String,
    /// The name that is shown; [`Entry::Renamed`] changes it.
    pub name: String,
    /// Unix time in seconds.
    pub started_unix: f64,
    /// What is to be run; `None` for a tuning session, whose cases are run as the user asks for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// The module on which the experiment was started. Each record names its own.
    pub module: ModuleIdentity,
}

impl Experiment {
    /// An experiment that is started now.
    pub fn new(name: String, plan: Option<Plan>, module: ModuleIdentity) -> Self {
        Self {
            version: JOURNAL_VERSION,
            id: new_id(),
            name,
            started_unix: time::now(),
            plan,
            module,
        }
    }
}

/// How an experiment ended. One without an ending can be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All cases were run.
    Complete,
    /// The user cancelled it.
    Cancelled,
}

/// What of a journal could not be read when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// Length of an unterminated last line that was cut off.
    pub torn_bytes: u64,
    /// File to which those bytes were copied.
    pub kept_in: Option<PathBuf>,
    /// Number of damaged lines; they stay in the file.
    pub damaged: usize,
    /// Number of intact lines of a kind or form that this version cannot read; they stay in the file.
    pub unknown: usize,
}

impl Condition {
    /// Whether every byte of the journal was read.
    pub fn is_sound(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be opened, locked or read.
    #[error("cannot open the journal {path}: {source}. Check the folder's permissions and that the disk is connected.")]
    Open {
        /// Path of the journal.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Another process holds the lock.
    #[error("the journal {path} is in use by another window or shell. Close that one, or wait until it ends.")]
    InUse {
        /// Path of the journal.
        path: PathBuf,
    },
    /// The file has no line of a journal; it was left as it was.
    #[error("the file {path} is not a journal of this program. Choose another file; this one was left as it was.")]
    NotAJournal {
        /// Path of the file.
        path: PathBuf,
    },
    /// The experiment has a newer format than [`JOURNAL_VERSION`]; the file was left as it was.
    #[error(
        "the file {path} was written by a newer version of this program (format {version}, this one reads {JOURNAL_VERSION}). Update it; the file \
         was left as it was."
    )]
    Newer {
        /// Path of the journal.
        path: PathBuf,
        /// Version of the file's format.
        version: u64,
    },
    /// A line could not be appended; the lines before it are whole.
    #[error("cannot save to the journal {path}: {source}. Free some space; everything that was saved before is kept.")]
    Write {
        /// Path of the journal.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A line could not be made into JSON.
    #[error("a record cannot be written as JSON: {source}. This is a bug in this program; please report it.")]
    Serialise {
        /// The message of the serialiser.
        source: serde_json::Error,
    },
}

/// A journal shared by several writers of one process.
pub type SharedJournal = Arc<Mutex<Journal>>;

/// A journal opened for appending. While it is open, no other process can open it.
#[derive(Debug)]
pub struct Journal {
    file: OutFile,
    /// Offset of the next line: the end of the last complete one.
    end: u64,
    /// Whether bytes behind `end` are left from a line that could not be written.
    dirty: bool,
}

impl Journal {
    /// Opens or creates the journal at `path`, locks it and reads all of it.
    ///
    /// # Errors
    /// [`JournalError::Open`], [`JournalError::InUse`]; [`JournalError::NotAJournal`] for a file without any line of ours, and
    /// [`JournalError::Newer`]: both files are left untouched.
    pub fn open(path: &Path) -> Result<(Self, Vec<Entry>, Condition), JournalError> {
        let failed = |source| JournalError::Open {
            path: path.to_owned(),
            source,
        };
        let is_new = !path.exists();
        if !is_new && !path.is_file() {
            // A folder, or a device, whose reading may not end.
            return Err(JournalError::NotAJournal { path: path.to_owned() });
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = OutFile::open(path, files::with_mode(&mut options, 0o600)).map_err(failed)?;
        lock(file.file()).map_err(|error| match error {
            TryLockError::WouldBlock => JournalError::InUse { path: path.to_owned() },
            TryLockError::Error(source) => failed(source),
        })?;
        let mut bytes = Vec::new();
        file.file().read_to_end(&mut bytes).map_err(failed)?;
        let mut found = scan(path, &bytes)?;
        if found.end < bytes.len() {
            let kept = keep_tail(path, &bytes[found.end..]).map_err(failed)?;
            found.condition.kept_in = Some(kept);
            file.set_len(found.end as u64)
                .and_then(|()| file.sync())
                .map_err(failed)?;
        }
        if is_new {
            sync_folder(path).map_err(failed)?;
        }
        let journal = Self {
            file,
            end: found.end as u64,
            dirty: false,
        };
        Ok((journal, found.entries, found.condition))
    }

    /// Reads a journal without locking or changing it, such as one that is in use.
    ///
    /// # Errors
    /// [`JournalError::Open`], [`JournalError::NotAJournal`], [`JournalError::Newer`].
    pub fn read(path: &Path) -> Result<(Vec<Entry>, Condition), JournalError> {
        let mut bytes = Vec::new();
        files::open(path)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(|source| JournalError::Open {
                path: path.to_owned(),
                source,
            })?;
        let found = scan(path, &bytes)?;
        Ok((found.entries, found.condition))
    }

    /// The path of the journal.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Appends one line and returns when it is on disk. After an error the lines before it are whole, and what may be left of this
    /// one is cut off by the next call or the next opening.
    ///
    /// # Errors
    /// [`JournalError::Write`], [`JournalError::Serialise`].
    pub fn append(&mut self, entry: &Entry) -> Result<(), JournalError> {
        let line = line_of(entry)?;
        let written = self.cut_off().and_then(|()| {
            self.dirty = true;
            self.file.file().seek(SeekFrom::Start(self.end))?;
            self.file.write_all(&line)?;
            self.file.sync()
        });
        match written {
            Ok(()) => {
                self.end += line.len() as u64;
                self.dirty = false;
                Ok(())
            }
            Err(source) => {
                if let Err(error) = self.cut_off() {
                    tracing::warn!(%error, path = %self.path().display(), "a line that could not be saved cannot be cut off yet");
                }
                Err(JournalError::Write {
                    path: self.path().to_owned(),
                    source,
                })
            }
        }
    }

    /// Removes what is left of a line that could not be written.
    fn cut_off(&mut self) -> std::io::Result<()> {
        if self.dirty {
            self.file.set_len(self.end)?;
            self.dirty = false;
        }
        Ok(())
    }
}

fn line_of(entry: &Entry) -> Result<Vec<u8>, JournalError> {
    let json = serde_json::to_vec(entry).map_err(|source| JournalError::Serialise { source })?;
    let mut line = format!("{:08x} {} ", crc32fast::hash(&json), json.len()).into_bytes();
    line.extend_from_slice(&json);
    line.push(b'\n');
    Ok(line)
}

/// Writes a journal with all its lines atomically.
pub(super) fn write_all_lines(path: &Path, entries: &[Entry]) -> Result<(), JournalError> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend(line_of(entry)?);
    }
    files::write_private(path, &bytes).map_err(|source| JournalError::Write {
        path: path.to_owned(),
        source,
    })
}

/// Locks the file for this process. A child process that is being started holds a copy of the lock between fork and
/// exec, so the lock is tried for half a second.
fn lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..50 {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(std::time::Duration::from_millis(10)),
            other => return other,
        }
    }
    file.try_lock()
}

/// Makes the new file's directory entry durable.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

/// Copies the bytes that will be cut off to a file beside the journal.
fn keep_tail(path: &Path, tail: &[u8]) -> std::io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let at = crate::time::now() as u64;
    let mut number = 0_u32;
    loop {
        let suffix = if number == 0 {
            String::new()
        } else {
            format!("-{number}")
        };
        let kept = path.with_file_name(format!("{name}.cut-{at}{suffix}"));
        match files::write_new(&kept, tail) {
            Ok(()) => return Ok(kept),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

/// What the complete lines of a journal hold.
struct CompleteLines {
    entries: Vec<Entry>,
    condition: Condition,
    /// End of the last complete line.
    end: usize,
}

/// Reads all complete lines.
///
/// # Errors
/// [`JournalError::NotAJournal`] where no line is one of a journal, [`JournalError::Newer`].
fn scan(path: &Path, bytes: &[u8]) -> Result<CompleteLines, JournalError> {
    let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let mut found = CompleteLines {
        entries: Vec::new(),
        condition: Condition {
            torn_bytes: (bytes.len() - end) as u64,
            ..Condition::default()
        },
        end,
    };
    let lines: Vec<&[u8]> = bytes[..end].split_inclusive(|&byte| byte == b'\n').collect();
    for line in read_all(&lines) {
        match line {
            Line::Damaged => found.condition.damaged += 1,
            Line::Unknown => found.condition.unknown += 1,
            Line::Newer(version) => {
                return Err(JournalError::Newer {
                    path: path.to_owned(),
                    version,
                });
            }
            Line::Entry(entry) => found.entries.push(*entry),
        }
    }
    let has_ours = !found.entries.is_empty() || found.condition.unknown > 0;
    if has_ours || bytes.is_empty() || (end == 0 && could_be_torn_start(bytes)) {
        Ok(found)
    } else {
        Err(JournalError::NotAJournal { path: path.to_owned() })
    }
}

/// The content of a line.
enum Line {
    /// Length or checksum are wrong or missing.
    Damaged,
    /// Intact, of a kind or form that this version cannot read.
    Unknown,
    /// The start of an experiment in a newer format.
    Newer(u64),
    Entry(Box<Entry>),
}

/// Least number of lines for which another thread is started.
const LINES_FOR_A_THREAD: usize = 256;

/// Parses lines on all processors: a long history is mostly numbers.
fn read_all(lines: &[&[u8]]) -> Vec<Line> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let each = lines.len().div_ceil(threads.max(1)).max(LINES_FOR_A_THREAD);
    let read = |part: &[&[u8]]| part.iter().map(|line| read_line(line)).collect::<Vec<Line>>();
    if lines.len() <= each {
        return read(lines);
    }
    std::thread::scope(|scope| {
        let parts: Vec<_> = lines
            .chunks(each)
            .map(|part| (part, scope.spawn(move || read(part))))
            .collect();
        let mut out = Vec::with_capacity(lines.len());
        for (part, handle) in parts {
            // If a thread panicked, its part is parsed again here, which changes nothing else.
            out.extend(handle.join().unwrap_or_else(|_| read(part)));
        }
        out
    })
}

fn read_line(line: &[u8]) -> Line {
    let Some(json) = content(line) else {
        return Line::Damaged;
    };
    if let Some(version) = started_version(json).filter(|version| *version > u64::from(JOURNAL_VERSION)) {
        return Line::Newer(version);
    }
    match serde_json::from_slice(json) {
        Ok(entry) => Line::Entry(Box::new(entry)),
        Err(_) => Line::Unknown,
    }
}

/// The version in an experiment's first line, even if the rest of it cannot be read.
fn started_version(json: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Head {
        started: Version,
    }
    #[derive(Deserialize)]
    struct Version {
        version: u64,
    }
    // Skips the other lines, most of all records, without parsing them.
    if !json.starts_with(b"{\"started\"") {
        return None;
    }
    serde_json::from_slice::<Head>(json)
        .ok()
        .map(|head| head.started.version)
}

/// The JSON of a complete line whose length and checksum are right.
fn content(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?;
    let (crc, rest) = line.split_at_checked(8)?;
    let rest = rest.strip_prefix(b" ")?;
    let space = rest.iter().position(|&byte| byte == b' ')?;
    let (len, json) = (rest.get(..space)?, rest.get(space + 1..)?);
    let len: usize = std::str::from_utf8(len).ok()?.parse().ok()?;
    let crc = u32::from_str_radix(std::str::from_utf8(crc).ok()?, 16).ok()?;
    (json.len() == len && crc32fast::hash(json) == crc).then_some(json)
}

/// Whether bytes without any intact line may be the beginning of a first line. Zeros and a short hexadecimal text pass, too; what is cut
/// off is always kept beside the journal ([`keep_tail`]).
fn could_be_torn_start(bytes: &[u8]) -> bool {
    // After a crash, some file systems leave zeros in place of data.
    let bytes = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    let (crc, rest) = bytes.split_at(bytes.len().min(8));
    let digits = rest
        .get(1..)
        .unwrap_or_default()
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let json = rest.get(1 + digits..).unwrap_or_default();
    crc.iter()
        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte))
        && rest.first().is_none_or(|&byte| byte == b' ')
        && (json.is_empty() || (digits > 0 && (json == b" " || json.starts_with(b" {"))))
}
