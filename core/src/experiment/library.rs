//! The folder of all experiments: one journal for each, locked by itself, and an index from which they are listed without reading
//! the journals.
//!
//! ```text
//! experiments/18a2f….journal     one experiment: see `journal`
//! experiments/18a2f….safetensors the best rows so far, of one that learns a prefix
//! experiments/taken-over-3f…     marks an older journal that was imported
//! experiments/index.json         length, time and summary of each journal; rebuilt where it is wrong or missing
//! ```
//! Several windows and shells work side by side: each holds the locks of the journals that it appends to, and reads the others.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::journal::{Condition, Ending, Entry, Experiment, Journal, JournalError, SharedJournal, write_all_lines};
use super::plan::Prompt;
use super::saved::{SavedExperiment, experiments};

/// Version of the index. An index of another version is rebuilt, and so is one that lacks a field of [`Summary`] without a default.
/// Raised where a field's meaning changes or one with a default is added, which rows of unchanged journals would keep.
const INDEX_VERSION: u32 = 1;
const INDEX: &str = "index.json";
const EXTENSION: &str = "journal";
const ROWS: &str = "safetensors";
/// Prefix of the files that mark which older journal was imported.
const IMPORTED: &str = "taken-over-";

/// The folder of all experiments.
#[derive(Debug)]
pub struct Library {
    folder: PathBuf,
    /// Journals that this process has open, by experiment: a second open in the same process would be refused by the
    /// lock.
    open: Mutex<HashMap<String, Weak<Mutex<Journal>>>>,
}

/// An entry of the list of experiments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The first line of its journal, under the latest name.
    pub experiment: Experiment,
    /// The prompts of its plan, else of its records.
    pub prompts: Vec<Prompt>,
    /// Number of the plan's cases; 0 without a plan.
    pub planned: usize,
    /// Number of records that are not deleted.
    pub finished: usize,
    /// Those among `finished` that failed.
    pub failed: usize,
    /// Whether it has a plan that can be resumed.
    pub is_open: bool,
    /// How it ended; `None` where it was interrupted, still runs, or has no plan.
    pub ending: Option<Ending>,
    /// Whether it searches for a prefix: by learning, choosing or an objective.
    #[serde(default)]
    pub finds: bool,
    /// Whether it was deleted and not restored.
    pub is_deleted: bool,
    /// Unix time at which the last case was sent, else at which the experiment was started.
    pub last_unix: f64,
    /// Damage found in its journal.
    #[serde(default)]
    pub condition: Condition,
}

/// The list of all experiments.
#[derive(Debug, Default)]
pub struct Listing {
    /// All experiments, the latest first, deleted ones included.
    pub experiments: Vec<Summary>,
    /// The error of each journal that cannot be read.
    pub unreadable: Vec<JournalError>,
}

/// An experiment opened for appending.
#[derive(Debug)]
pub struct Opened {
    /// The journal, locked for this process.
    pub journal: SharedJournal,
    /// What the journal holds so far.
    pub saved: SavedExperiment,
    /// Damage found in the journal.
    pub condition: Condition,
}

#[derive(Serialize, Deserialize)]
struct Index {
    version: u32,
    files: BTreeMap<String, Row>,
}

/// The summary of one journal, with size and time of the file for which it holds.
#[derive(Clone, Serialize, Deserialize)]
struct Row {
    bytes: u64,
    modified_ns: u64,
    summary: Summary,
}

impl Summary {
    /// The summary of an experiment.
    pub fn of(saved: &SavedExperiment, condition: Condition) -> Self {
        let started = saved.experiment.started_unix;
        Self {
            prompts: saved.prompts(),
            planned: saved.planned(),
            finished: saved.undeleted().count(),
            failed: saved.undeleted().filter(|record| record.error().is_some()).count(),
            is_open: saved.is_open(),
            ending: saved.ending,
            finds: saved.learning.is_some() || !saved.generations.is_empty(),
            is_deleted: saved.is_deleted(),
            last_unix: saved
                .undeleted()
                .map(|record| record.started_unix)
                .fold(started, f64::max),
            experiment: saved.experiment.clone(),
            condition,
        }
    }
}

impl Library {
    /// Opens the library in `folder`, which is created if missing.
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

    /// Lists all experiments. Reads only journals that changed since the last call, and those that could not be read.
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
                // The file was just removed.
                continue;
            };
            let row = known
                .get(&name)
                .filter(|row| (row.bytes, row.modified_ns) == (bytes, modified_ns));
            let row = match row {
                Some(row) => row.clone(),
                None => match read_one(&path) {
                    Ok(Some((saved, condition))) => {
                        changed = true;
                        Row {
                            bytes,
                            modified_ns,
                            summary: Summary::of(&saved, condition),
                        }
                    }
                    // The first line is still being written.
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

    /// Whether there is a journal of the experiment.
    pub fn has(&self, id: &str) -> bool {
        self.path_of(id).exists()
    }

    /// Creates the journal of an experiment, with its first line.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn create(&self, experiment: &Experiment) -> Result<SharedJournal, JournalError> {
        let path = self.path_of(&experiment.id);
        let (mut journal, entries, condition) = Journal::open(&path)?;
        if let Err(error) = journal.append(&Entry::Started(Box::new(experiment.clone()))) {
            drop(journal);
            // A new journal without its first line holds nothing.
            if entries.is_empty()
                && condition.is_sound()
                && let Err(error) = std::fs::remove_file(&path)
            {
                tracing::warn!(%error, path = %path.display(), "an empty journal could not be removed");
            }
            return Err(error);
        }
        Ok(self.share(&experiment.id, journal))
    }

    /// Opens an experiment for appending.
    ///
    /// # Errors
    /// [`JournalError`]; [`JournalError::InUse`] where another process appends to it.
    pub fn append_to(&self, id: &str) -> Result<Opened, JournalError> {
        let path = self.path_of(id);
        if let Some(journal) = self.open_journal(id) {
            // Holds the lock so that no line is appended during the read.
            let guard = journal.lock().unwrap_or_else(PoisonError::into_inner);
            let read = read_one(&path);
            drop(guard);
            let (saved, condition) = read?.ok_or(JournalError::NotAJournal { path })?;
            return Ok(Opened {
                journal,
                saved,
                condition,
            });
        }
        if !self.has(id) {
            let source = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(JournalError::Open { path, source });
        }
        let (journal, entries, condition) = Journal::open(&path)?;
        let saved = first_of(entries).ok_or(JournalError::NotAJournal { path })?;
        Ok(Opened {
            journal: self.share(id, journal),
            saved,
            condition,
        })
    }

    /// Reads an experiment.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn read(&self, id: &str) -> Result<(SavedExperiment, Condition), JournalError> {
        let path = self.path_of(id);
        read_one(&path)?.ok_or(JournalError::NotAJournal { path })
    }

    /// Appends one line to an experiment, which need not be open.
    ///
    /// # Errors
    /// [`JournalError`]; [`JournalError::InUse`] where another process appends to it.
    pub fn append(&self, id: &str, entry: &Entry) -> Result<(), JournalError> {
        let journal = match self.open_journal(id) {
            Some(journal) => journal,
            None => self.append_to(id)?.journal,
        };
        let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.append(entry)
    }

    /// Ids of the experiments in which all words of `query` occur, the latest first, without deleted ones. Reads all their journals.
    ///
    /// # Errors
    /// [`JournalError::Open`] where the folder cannot be read.
    pub fn search(&self, query: &str) -> Result<Vec<String>, JournalError> {
        let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
        let listing = self.list()?;
        let mut out = Vec::new();
        for summary in listing.experiments.into_iter().filter(|summary| !summary.is_deleted) {
            let id = summary.experiment.id;
            // Unreadable journals are reported by [`Library::list`].
            if self.read(&id).is_ok_and(|(saved, _)| saved.matches(&words)) {
                out.push(id);
            }
        }
        Ok(out)
    }

    /// Imports the experiments of an older journal that holds several: each gets a journal of its own, and the old file
    /// is left unchanged. A second call with the same file does nothing. Returns the number of imported experiments and
    /// the damage found in the old file.
    ///
    /// # Errors
    /// [`JournalError`]; the next call then imports what is missing.
    pub fn import_older(&self, old: &Path) -> Result<(usize, Condition), JournalError> {
        let digest = hex::encode(Sha256::digest(old.to_string_lossy().as_bytes()));
        let mark = self.folder.join(format!("{IMPORTED}{}", &digest[..16]));
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

    /// Adds an experiment with all its lines, such as an imported one. Replaces a journal of the same id.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn add(&self, id: &str, lines: &[Entry]) -> Result<(), JournalError> {
        write_all_lines(&self.path_of(id), lines)
    }

    /// The path of an experiment's journal. An id that is not a plain file name (from an edited file) is hashed.
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
        self.folder.join(name).with_extension(EXTENSION)
    }

    /// The path of the rows that an experiment has learned.
    pub fn rows_of(&self, id: &str) -> PathBuf {
        self.path_of(id).with_extension(ROWS)
    }

    fn share(&self, id: &str, journal: Journal) -> SharedJournal {
        let journal = Arc::new(Mutex::new(journal));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, journal| journal.strong_count() > 0);
        open.insert(id.to_owned(), Arc::downgrade(&journal));
        journal
    }

    fn open_journal(&self, id: &str) -> Option<SharedJournal> {
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
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                out.push(path);
            }
        }
        Ok(out)
    }

    /// The index; empty if it cannot be read, since it can be rebuilt from the journals.
    fn index(&self) -> BTreeMap<String, Row> {
        let bytes = std::fs::read(self.folder.join(INDEX)).unwrap_or_default();
        match serde_json::from_slice::<Index>(&bytes) {
            Ok(index) if index.version == INDEX_VERSION => index.files,
            _ => BTreeMap::new(),
        }
    }

    /// Writes the index. A failure is only logged: without an index the next list takes longer.
    fn write_index(&self, index: &Index) {
        let written = serde_json::to_vec(index)
            .map_err(std::io::Error::from)
            .and_then(|bytes| crate::files::write_private(&self.folder.join(INDEX), &bytes));
        if let Err(error) = written {
            tracing::warn!(%error, folder = %self.folder.display(), "the index of the experiments cannot be written");
        }
    }
}

/// Length and time of the last change, in nanoseconds.
fn stamp(path: &Path) -> Option<(u64, u64)> {
    let about = std::fs::metadata(path).ok()?;
    let modified = about.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some((about.len(), u64::try_from(modified.as_nanos()).ok()?))
}

fn read_one(path: &Path) -> Result<Option<(SavedExperiment, Condition)>, JournalError> {
    let (entries, condition) = Journal::read(path)?;
    Ok(first_of(entries).map(|saved| (saved, condition)))
}

fn first_of(entries: Vec<Entry>) -> Option<SavedExperiment> {
    experiments(entries).into_iter().next()
}
