//! The folder of all experiments: one journal for each, locked alone, and an index by which they are listed without being read.
//!
//! ```text
//! experiments/18a2f….journal     one experiment: see `journal`
//! experiments/index.json         length, time and summary of each journal; anything wrong or missing in it is made again
//! ```
//! Several windows and shells work side by side: each holds the lock of the journals that it appends to, and reads the others.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::journal::{Condition, Ending, Entry, Experiment, Journal, JournalError, SharedJournal, write_all_lines};
use super::past::{Past, experiments};
use super::plan::Prompt;

/// Version of the index. Another one is made again.
const INDEX_VERSION: u32 = 1;
const INDEX: &str = "index.json";
const ENDING: &str = "journal";
/// Beginning of the files that say which older journal was taken over.
const TAKEN_OVER: &str = "taken-over-";

/// The folder of all experiments.
#[derive(Debug)]
pub struct Library {
    folder: PathBuf,
    /// Journals that this process has open, by experiment: a file's lock counts within a process, too.
    open: Mutex<HashMap<String, Weak<Mutex<Journal>>>>,
}

/// What the list shows of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The first line of its journal, under the latest name.
    pub experiment: Experiment,
    /// Of its plan, else of its records.
    pub prompts: Vec<Prompt>,
    /// Cases that the plan has; 0 without a plan.
    pub planned: usize,
    /// Cases with a record that is not deleted.
    pub finished: usize,
    /// Those among them that failed.
    pub failed: usize,
    /// Whether it has a plan that can go on.
    pub is_open: bool,
    /// How it ended; `None` where it was interrupted, still runs, or has no plan.
    pub ending: Option<Ending>,
    /// Whether it was deleted and not restored.
    pub is_deleted: bool,
    /// When the last case began, else when the experiment began.
    pub last_unix: f64,
    /// What was wrong with its journal.
    #[serde(default)]
    pub condition: Condition,
}

/// The list of all experiments.
#[derive(Debug, Default)]
pub struct Listing {
    /// Latest first; deleted ones are among them.
    pub experiments: Vec<Summary>,
    /// Journals that cannot be read, and why.
    pub unreadable: Vec<JournalError>,
}

/// An experiment that was opened for appending.
#[derive(Debug)]
pub struct Opened {
    /// The journal, locked for this process.
    pub journal: SharedJournal,
    /// What the journal holds so far.
    pub past: Past,
    /// What was wrong with the journal.
    pub condition: Condition,
}

#[derive(Serialize, Deserialize)]
struct Index {
    version: u32,
    files: BTreeMap<String, Row>,
}

/// What is known of one journal, and the file that this is known of.
#[derive(Clone, Serialize, Deserialize)]
struct Row {
    bytes: u64,
    modified_ns: u64,
    summary: Summary,
}

impl Summary {
    /// Sums up an experiment.
    pub fn of(past: &Past, condition: Condition) -> Self {
        let started = past.experiment.started_unix;
        Self {
            prompts: past.prompts(),
            planned: past.planned().len(),
            finished: past.shown().count(),
            failed: past.shown().filter(|record| record.error().is_some()).count(),
            is_open: past.is_open(),
            ending: past.ending,
            is_deleted: past.is_deleted(),
            last_unix: past.shown().map(|record| record.started_unix).fold(started, f64::max),
            experiment: past.experiment.clone(),
            condition,
        }
    }
}

impl Library {
    /// The library in `folder`, which is made where it is missing.
    ///
    /// # Errors
    /// [`JournalError::Open`] where the folder cannot be made.
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        std::fs::create_dir_all(folder).map_err(|source| JournalError::Open {
            path: folder.to_owned(),
            source,
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            open: Mutex::default(),
        })
    }

    /// Where the journals are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Lists all experiments. Only journals that changed since the last time are read.
    ///
    /// # Errors
    /// [`JournalError::Open`] where the folder cannot be read.
    pub fn list(&self) -> Result<Listing, JournalError> {
        let known = self.index();
        let mut index = Index {
            version: INDEX_VERSION,
            files: BTreeMap::new(),
        };
        let mut changed = false;
        let mut out = Listing::default();
        for path in self.journals()? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some((bytes, modified_ns)) = stamp(&path) else {
                // It was taken away this moment.
                continue;
            };
            let row = known
                .get(&name)
                .filter(|row| (row.bytes, row.modified_ns) == (bytes, modified_ns));
            let row = match row {
                Some(row) => row.clone(),
                None => match read_one(&path) {
                    Ok(Some((past, condition))) => {
                        changed = true;
                        Row {
                            bytes,
                            modified_ns,
                            summary: Summary::of(&past, condition),
                        }
                    }
                    // Its first line is being written.
                    Ok(None) => continue,
                    Err(error) => {
                        out.unreadable.push(error);
                        continue;
                    }
                },
            };
            out.experiments.push(row.summary.clone());
            index.files.insert(name, row);
        }
        if changed || index.files.len() != known.len() {
            self.write_index(&index);
        }
        out.experiments
            .sort_by(|a, b| b.experiment.started_unix.total_cmp(&a.experiment.started_unix));
        Ok(out)
    }

    /// Whether there is a journal of this experiment.
    pub fn has(&self, id: &str) -> bool {
        self.path_of(id).exists()
    }

    /// Begins an experiment: its journal with its first line.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn create(&self, experiment: &Experiment) -> Result<SharedJournal, JournalError> {
        let (mut journal, _, _) = Journal::open(&self.path_of(&experiment.id))?;
        journal.append(&Entry::Started(Box::new(experiment.clone())))?;
        Ok(self.share(&experiment.id, journal))
    }

    /// Opens an experiment for appending.
    ///
    /// # Errors
    /// [`JournalError`]; [`JournalError::InUse`] where another process appends to it.
    pub fn append_to(&self, id: &str) -> Result<Opened, JournalError> {
        let path = self.path_of(id);
        if let Some(journal) = self.at_work(id) {
            // Nobody appends while it is read.
            let guard = journal.lock().unwrap_or_else(PoisonError::into_inner);
            let read = read_one(&path);
            drop(guard);
            let (past, condition) = read?.ok_or(JournalError::NotOne { path })?;
            return Ok(Opened {
                journal,
                past,
                condition,
            });
        }
        if !self.has(id) {
            let source = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(JournalError::Open { path, source });
        }
        let (journal, entries, condition) = Journal::open(&path)?;
        let past = first_of(entries).ok_or(JournalError::NotOne { path })?;
        Ok(Opened {
            journal: self.share(id, journal),
            past,
            condition,
        })
    }

    /// Reads an experiment.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn read(&self, id: &str) -> Result<(Past, Condition), JournalError> {
        let path = self.path_of(id);
        read_one(&path)?.ok_or(JournalError::NotOne { path })
    }

    /// Appends one line to an experiment, whether it is open here or not.
    ///
    /// # Errors
    /// [`JournalError`]; [`JournalError::InUse`] where another process appends to it.
    pub fn append(&self, id: &str, entry: &Entry) -> Result<(), JournalError> {
        let journal = match self.at_work(id) {
            Some(journal) => journal,
            None => self.append_to(id)?.journal,
        };
        let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.append(entry)
    }

    /// Ids of the experiments in which all words of `query` occur, latest first. Reads every text.
    ///
    /// # Errors
    /// [`JournalError::Open`] where the folder cannot be read.
    pub fn search(&self, query: &str) -> Result<Vec<String>, JournalError> {
        let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
        let listing = self.list()?;
        let mut out = Vec::new();
        for summary in listing.experiments.into_iter().filter(|summary| !summary.is_deleted) {
            let id = summary.experiment.id;
            // What cannot be read is told by the list.
            if self.read(&id).is_ok_and(|(past, _)| past.matches(&words)) {
                out.push(id);
            }
        }
        Ok(out)
    }

    /// Takes over the experiments of a journal that held many, once: each gets a journal of its own here, and the old file stays as
    /// it is. Returns how many were taken over, and what was wrong with the old file.
    ///
    /// # Errors
    /// [`JournalError`]; nothing is marked as taken over then, and the next try goes on with what is missing.
    pub fn take_over(&self, old: &Path) -> Result<(usize, Condition), JournalError> {
        let digest = hex::encode(Sha256::digest(old.to_string_lossy().as_bytes()));
        let mark = self.folder.join(format!("{TAKEN_OVER}{}", &digest[..16]));
        if mark.exists() || !old.exists() {
            return Ok((0, Condition::default()));
        }
        let (entries, condition) = Journal::read(old)?;
        let mut parts: Vec<(String, Vec<Entry>)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for entry in entries {
            let id = entry.experiment().to_owned();
            let place = *places.entry(id.clone()).or_insert_with(|| {
                parts.push((id, Vec::new()));
                parts.len() - 1
            });
            if let Some((_, lines)) = parts.get_mut(place) {
                lines.push(entry);
            }
        }
        let mut taken = 0;
        for (id, lines) in parts {
            let path = self.path_of(&id);
            if path.exists() || !matches!(lines.first(), Some(Entry::Started(_))) {
                continue;
            }
            write_all_lines(&path, &lines)?;
            taken += 1;
        }
        crate::files::write_private(&mark, old.to_string_lossy().as_bytes())
            .map_err(|source| JournalError::Write { path: mark, source })?;
        Ok((taken, condition))
    }

    /// Adds an experiment that was run elsewhere, with all its lines at once.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn add(&self, id: &str, lines: &[Entry]) -> Result<(), JournalError> {
        write_all_lines(&self.path_of(id), lines)
    }

    /// The journal of an experiment. Ids are ours; one that would be no plain file name (from a file that was edited) is hashed.
    pub fn path_of(&self, id: &str) -> PathBuf {
        let is_plain = !id.is_empty()
            && id.len() <= 100
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        let name = if is_plain {
            id.to_owned()
        } else {
            hex::encode(Sha256::digest(id.as_bytes()))
        };
        self.folder.join(name).with_extension(ENDING)
    }

    fn share(&self, id: &str, journal: Journal) -> SharedJournal {
        let journal = Arc::new(Mutex::new(journal));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, journal| journal.strong_count() > 0);
        open.insert(id.to_owned(), Arc::downgrade(&journal));
        journal
    }

    fn at_work(&self, id: &str) -> Option<SharedJournal> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(id).and_then(Weak::upgrade)
    }

    fn journals(&self) -> Result<Vec<PathBuf>, JournalError> {
        let failed = |source| JournalError::Open {
            path: self.folder.clone(),
            source,
        };
        let mut out = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|ending| ending == ENDING) {
                out.push(path);
            }
        }
        Ok(out)
    }

    /// The index as far as it can be read: whatever is missing in it is read from the journals.
    fn index(&self) -> BTreeMap<String, Row> {
        let bytes = std::fs::read(self.folder.join(INDEX)).unwrap_or_default();
        match serde_json::from_slice::<Index>(&bytes) {
            Ok(index) if index.version == INDEX_VERSION => index.files,
            _ => BTreeMap::new(),
        }
    }

    /// Without an index the next list takes longer, and nothing else.
    fn write_index(&self, index: &Index) {
        let written = serde_json::to_vec(index)
            .map_err(std::io::Error::from)
            .and_then(|bytes| crate::files::write_private(&self.folder.join(INDEX), &bytes));
        if let Err(error) = written {
            tracing::warn!(%error, folder = %self.folder.display(), "the index of the experiments cannot be written");
        }
    }
}

/// Length and time of the last change.
fn stamp(path: &Path) -> Option<(u64, u64)> {
    let about = std::fs::metadata(path).ok()?;
    let modified = about.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some((about.len(), u64::try_from(modified.as_nanos()).ok()?))
}

fn read_one(path: &Path) -> Result<Option<(Past, Condition)>, JournalError> {
    let (entries, condition) = Journal::read(path)?;
    Ok(first_of(entries).map(|past| (past, condition)))
}

fn first_of(entries: Vec<Entry>) -> Option<Past> {
    experiments(entries).into_iter().next()
}
