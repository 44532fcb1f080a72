//! The append-only file of everything that was run: one line for each finished case, on disk before the case is shown as finished.
//! It knows lines and their checksums, not how cases are run.
//!
//! ```text
//! 1c2f09ab 512 {"case":{...}}\n      CRC-32 (as zlib's) and length of the JSON in bytes, then the JSON, which has no line break
//! ```
//! A process killed at any moment leaves at most one torn line at the end; the next opening cuts it off. A damaged line further
//! up is left where it is and passed over. Nothing is ever rewritten: renaming and deleting are lines too.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::plan::Plan;
use super::record::{ModuleIdentity, Record};
use super::scores::CaseScores;

/// Version of the lines.
pub const JOURNAL_VERSION: u32 = 1;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// An experiment began.
    Started(Box<Experiment>),
    /// A case finished.
    Case(Box<Record>),
    /// A case's texts were led through the model.
    Scored { record: String, scores: Box<CaseScores> },
    /// An experiment came to its end, or was ended.
    Ended {
        experiment: String,
        how: Ending,
        at_unix: f64,
    },
    /// An experiment or a case got another name.
    Renamed { id: String, name: String },
    /// An experiment or a case is no longer shown.
    Deleted { id: String },
    /// It is shown again.
    Restored { id: String },
}

/// An experiment's first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    /// [`JOURNAL_VERSION`].
    pub version: u32,
    /// Unique over all experiments.
    pub id: String,
    pub name: String,
    pub started_unix: f64,
    pub plan: Plan,
    pub module: ModuleIdentity,
}

/// How an experiment ended. One without an ending can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All cases were run.
    Complete,
    /// A person cancelled it.
    Cancelled,
}

/// What opening a journal found besides good lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Bytes of a torn last line that were cut off.
    pub torn_bytes: u64,
    /// Damaged lines before good ones; they stay in the file.
    pub damaged: usize,
    /// Good lines of a kind that this version does not know; they stay in the file.
    pub unknown: usize,
}

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot open the history {path}: {source}. Check the folder's rights and that the disk is there.")]
    Open { path: PathBuf, source: std::io::Error },
    #[error("the history {path} is in use by another window of this program. Close that one, or choose another file.")]
    InUse { path: PathBuf },
    #[error(
        "{path} is not a history file: it does not begin as ours do. Choose another file; this one was left as it is."
    )]
    NotOne { path: PathBuf },
    #[error(
        "cannot save to the history {path}: {source}. Free some space; the case is still in the window and can be exported."
    )]
    Write { path: PathBuf, source: std::io::Error },
    #[error("a case cannot be written as JSON: {source}. This is a fault of the program; please report it.")]
    Serialise { source: serde_json::Error },
}

/// A journal opened for appending. While it is open, no other process can open it.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    /// Where the next line goes: behind the last good one.
    end: u64,
}

impl Journal {
    /// Opens or makes the journal at `path` and reads all of it.
    ///
    /// # Errors
    /// [`JournalError::Open`], [`JournalError::InUse`]; [`JournalError::NotOne`] for a file that begins with something else, which
    /// is left untouched.
    pub fn open(path: &Path) -> Result<(Self, Vec<Entry>, Condition), JournalError> {
        let failed = |source| JournalError::Open {
            path: path.to_owned(),
            source,
        };
        let is_new = !path.exists();
        if !is_new && !path.is_file() {
            // A folder, or a device that could be read for ever.
            return Err(JournalError::NotOne { path: path.to_owned() });
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        lock(&file).map_err(|error| match error {
            TryLockError::WouldBlock => JournalError::InUse { path: path.to_owned() },
            TryLockError::Error(source) => failed(source),
        })?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let found = scan(&bytes);
        if found.entries.is_empty() && found.condition.unknown == 0 && !bytes.is_empty() && !could_be_torn_start(&bytes)
        {
            return Err(JournalError::NotOne { path: path.to_owned() });
        }
        if found.end < bytes.len() as u64 {
            file.set_len(found.end).and_then(|()| file.sync_all()).map_err(failed)?;
        }
        if is_new {
            sync_folder(path).map_err(failed)?;
        }
        let journal = Self {
            file,
            path: path.to_owned(),
            end: found.end,
        };
        Ok((journal, found.entries, found.condition))
    }

    /// Reads a journal without locking or mending it, for looking at one that is in use.
    ///
    /// # Errors
    /// [`JournalError::Open`], [`JournalError::NotOne`].
    pub fn read(path: &Path) -> Result<(Vec<Entry>, Condition), JournalError> {
        let bytes = std::fs::read(path).map_err(|source| JournalError::Open {
            path: path.to_owned(),
            source,
        })?;
        let found = scan(&bytes);
        if found.entries.is_empty() && found.condition.unknown == 0 && !bytes.is_empty() && !could_be_torn_start(&bytes)
        {
            return Err(JournalError::NotOne { path: path.to_owned() });
        }
        Ok((found.entries, found.condition))
    }

    /// Where the journal is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one line and returns when it is on disk. After an error the file is as it was before.
    ///
    /// # Errors
    /// [`JournalError::Write`], [`JournalError::Serialise`].
    pub fn append(&mut self, entry: &Entry) -> Result<(), JournalError> {
        let json = serde_json::to_vec(entry).map_err(|source| JournalError::Serialise { source })?;
        let mut line = format!("{:08x} {} ", crc32(&json), json.len()).into_bytes();
        line.extend_from_slice(&json);
        line.push(b'\n');
        let written = self
            .file
            .seek(SeekFrom::Start(self.end))
            .and_then(|_| self.file.write_all(&line))
            .and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.end += line.len() as u64;
                Ok(())
            }
            Err(source) => {
                // Half a line (a full disk) must not stand before the next one; if this fails too, opening cuts it off.
                let _ = self.file.set_len(self.end);
                Err(JournalError::Write {
                    path: self.path.clone(),
                    source,
                })
            }
        }
    }
}

/// Locks the file for this process. Any process that is just being started holds a copy of the lock for a moment (between fork
/// and exec), so one refusal proves nothing.
fn lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..50 {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(std::time::Duration::from_millis(10)),
            other => return other,
        }
    }
    file.try_lock()
}

/// Makes the file's name durable, not only its content.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

struct Found {
    entries: Vec<Entry>,
    condition: Condition,
    /// Behind the last good line.
    end: u64,
}

fn scan(bytes: &[u8]) -> Found {
    let mut found = Found {
        entries: Vec::new(),
        condition: Condition::default(),
        end: 0,
    };
    let mut bad = 0;
    let mut at = 0;
    let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    for (line, read) in lines.iter().zip(read_all(&lines)) {
        at += line.len();
        match read {
            Line::Bad => bad += 1,
            good => {
                // Only lines before a good one are damage in the middle; those after the last good one are torn.
                found.condition.damaged += bad;
                bad = 0;
                found.end = at as u64;
                match good {
                    Line::Entry(entry) => found.entries.push(*entry),
                    _ => found.condition.unknown += 1,
                }
            }
        }
    }
    found.condition.torn_bytes = bytes.len() as u64 - found.end;
    found
}

/// What a line holds.
enum Line {
    /// Torn or damaged.
    Bad,
    /// Whole, and of a kind that this version does not know.
    Unknown,
    Entry(Box<Entry>),
}

/// Lines that are worth a thread of their own to be read.
const LINES_FOR_A_THREAD: usize = 256;

/// Reads lines on as many threads as there are processors for: a long history is mostly numbers to be parsed.
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
            // A thread that could not finish has left nothing half done: its part is read here.
            out.extend(handle.join().unwrap_or_else(|_| read(part)));
        }
        out
    })
}

fn read_line(line: &[u8]) -> Line {
    match content(line).map(serde_json::from_slice) {
        None => Line::Bad,
        Some(Ok(entry)) => Line::Entry(Box::new(entry)),
        Some(Err(_)) => Line::Unknown,
    }
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
    (json.len() == len && crc32(json) == crc).then_some(json)
}

/// Whether bytes without any good line may be a first line that was cut: a file of somebody else's must never be truncated.
fn could_be_torn_start(bytes: &[u8]) -> bool {
    // Some file systems leave zeros where data had been promised.
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
        && !bytes.contains(&b'\n')
}

/// CRC-32 as in zlib, gzip and PNG (reflected 0xEDB88320), eight bytes a step (M. Kounavis and F. Berry, "slicing by 8").
fn crc32(bytes: &[u8]) -> u32 {
    let (steps, rest) = bytes.as_chunks::<8>();
    let at = |table: usize, byte: u8| CRC_TABLES[table][usize::from(byte)];
    let crc = steps.iter().fold(!0, |crc: u32, step| {
        let [a, b, c, d] = (crc ^ u32::from_le_bytes([step[0], step[1], step[2], step[3]])).to_le_bytes();
        at(7, a) ^ at(6, b) ^ at(5, c) ^ at(4, d) ^ at(3, step[4]) ^ at(2, step[5]) ^ at(1, step[6]) ^ at(0, step[7])
    });
    !rest
        .iter()
        .fold(crc, |crc, &byte| (crc >> 8) ^ at(0, crc.to_le_bytes()[0] ^ byte))
}

const CRC_TABLES: [[u32; 256]; 8] = {
    let mut tables = [[0; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
            bit += 1;
        }
        tables[0][i] = crc;
        i += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut i = 0;
        while i < 256 {
            let before = tables[table - 1][i];
            tables[table][i] = (before >> 8) ^ tables[0][(before & 0xFF) as usize];
            i += 1;
        }
        table += 1;
    }
    tables
};

/// The journal as a person sees it: experiments with their cases, under their latest names, without what was deleted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// In the order in which they began.
    pub experiments: Vec<Past>,
    deleted: HashSet<String>,
}

/// One experiment of the past.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    pub experiment: Experiment,
    /// In the order in which they finished. Deleted ones are still here; see [`History::is_deleted`].
    pub records: Vec<Record>,
    /// `None`: it was interrupted, or still runs.
    pub ending: Option<Ending>,
}

impl History {
    /// Puts the lines of a journal together.
    pub fn of(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut out = Self::default();
        let mut places = std::collections::HashMap::new();
        for entry in entries {
            out.add_at(entry, &mut places);
        }
        out
    }

    /// Takes in one more line, as it is appended to the journal.
    pub fn add(&mut self, entry: Entry) {
        let mut places: std::collections::HashMap<String, usize> = self
            .experiments
            .iter()
            .enumerate()
            .map(|(i, past)| (past.experiment.id.clone(), i))
            .collect();
        self.add_at(entry, &mut places);
    }

    fn add_at(&mut self, entry: Entry, places: &mut std::collections::HashMap<String, usize>) {
        match entry {
            Entry::Started(experiment) => {
                places.insert(experiment.id.clone(), self.experiments.len());
                self.experiments.push(Past {
                    experiment: *experiment,
                    records: Vec::new(),
                    ending: None,
                });
            }
            Entry::Case(record) => {
                if let Some(past) = places
                    .get(&record.experiment)
                    .and_then(|&i| self.experiments.get_mut(i))
                {
                    // Running on after an ending (a failed case again) opens it until the next ending.
                    past.records.push(*record);
                }
            }
            Entry::Scored { record, scores } => {
                let experiment = record.rsplit_once('/').map_or("", |(experiment, _)| experiment);
                let past = places.get(experiment).and_then(|&i| self.experiments.get_mut(i));
                // Scores come soon after their case, so it is looked for from the end.
                let found = past.and_then(|past| past.records.iter_mut().rev().find(|known| known.id == record));
                if let Some(found) = found {
                    found.scores = Some(scores);
                }
            }
            Entry::Ended { experiment, how, .. } => {
                if let Some(past) = places.get(&experiment).and_then(|&i| self.experiments.get_mut(i)) {
                    past.ending = Some(how);
                }
            }
            Entry::Renamed { id, name } => {
                for past in &mut self.experiments {
                    if past.experiment.id == id {
                        past.experiment.name.clone_from(&name);
                    }
                    for record in past.records.iter_mut().filter(|record| record.id == id) {
                        record.case.name.clone_from(&name);
                    }
                }
            }
            Entry::Deleted { id } => {
                self.deleted.insert(id);
            }
            Entry::Restored { id } => {
                self.deleted.remove(&id);
            }
        }
    }

    /// True if the experiment or case with this id was deleted and not restored.
    pub fn is_deleted(&self, id: &str) -> bool {
        self.deleted.contains(id)
    }

    /// Experiments that were not deleted, latest first.
    pub fn shown(&self) -> impl Iterator<Item = &Past> {
        self.experiments
            .iter()
            .rev()
            .filter(|past| !self.is_deleted(&past.experiment.id))
    }

    /// Cases of an experiment that were not deleted.
    pub fn cases<'h>(&'h self, past: &'h Past) -> impl Iterator<Item = &'h Record> {
        past.records.iter().filter(|record| !self.is_deleted(&record.id))
    }

    /// Finds an experiment.
    pub fn experiment(&self, id: &str) -> Option<&Past> {
        self.experiments.iter().find(|past| past.experiment.id == id)
    }

    /// Shown cases in whose name, prompt, recipe, model or text all words of `query` occur (in any letter case), latest first.
    pub fn search<'h>(&'h self, query: &str) -> Vec<(&'h Past, &'h Record)> {
        let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
        let fits = |past: &Past, record: &Record| {
            words.iter().all(|word| {
                let has = |text: &str| text.to_lowercase().contains(word.as_str());
                has(&record.case.name)
                    || has(&past.experiment.name)
                    || has(&record.prompt.user)
                    || has(&record.prompt.system)
                    || has(&record.module.model)
                    || has(&record.recipe_words())
                    || has(record.text().or(record.error()).unwrap_or_default())
            })
        };
        let mut out = Vec::new();
        for past in self.shown() {
            out.extend(
                self.cases(past)
                    .filter(|record| fits(past, record))
                    .map(|record| (past, record)),
            );
        }
        out.sort_by(|(_, a), (_, b)| b.started_unix.total_cmp(&a.started_unix));
        out
    }
}

impl Past {
    /// Indices of the plan's cases that need not be run again.
    pub fn finished(&self) -> HashSet<usize> {
        self.records.iter().map(|record| record.case.index).collect()
    }

    /// Whether a case is still to be scored that can be: its prompt has a baseline with a text.
    pub fn is_unscored(&self) -> bool {
        let has_text = |record: &&Record| record.text().is_some_and(|text| !text.is_empty());
        let baseline_of = |prompt| {
            let mut baselines = self
                .records
                .iter()
                .filter(|record| record.is_baseline())
                .filter(has_text);
            baselines.any(|baseline| baseline.case.prompt == prompt)
        };
        let mut cases = self
            .records
            .iter()
            .filter(has_text)
            .filter(|record| !record.is_baseline());
        self.experiment.plan.deep && cases.any(|record| record.scores.is_none() && baseline_of(record.case.prompt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_zlib() {
        assert_eq!(crc32(b""), 0);
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        // Byte by byte, as it is defined.
        let slow = |bytes: &[u8]| {
            !bytes.iter().fold(!0, |crc: u32, &byte| {
                (crc >> 8) ^ CRC_TABLES[0][((crc ^ u32::from(byte)) & 0xFF) as usize]
            })
        };
        let bytes: Vec<u8> = (0..100_u32).map(|i| (i * i % 251) as u8).collect();
        for end in 0..bytes.len() {
            assert_eq!(crc32(&bytes[..end]), slow(&bytes[..end]), "{end}");
        }
    }
}
