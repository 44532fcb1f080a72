//! The models that are there: found, named, described as cards, and loaded. It knows where files are, not how they came.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde_json::Value;

use crate::model::LoadError;

use super::card::ModelInfo;
use super::catalogue::{CATALOGUE, Entry, MODULE_QWEN, entry};
use super::digest;
use super::places::Places;

/// A model file that was found.
#[derive(Debug, Clone)]
pub struct FoundModel {
    /// What it is asked for by: the file's name without `.gguf`.
    pub name: String,
    pub path: PathBuf,
    /// The entry of the catalogue whose file this is, by name and length.
    pub entry: Option<&'static Entry>,
    /// What it is, or the sentence that says why it cannot be used.
    pub info: Result<ModelInfo, String>,
}

impl FoundModel {
    fn file_name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// Finds models and loads them.
#[derive(Debug, Default)]
pub struct ModelStore {
    places: Places,
    /// Headers that were read, by file, length and time of change.
    known: Mutex<HashMap<FileState, Result<ModelInfo, String>>>,
}

type FileState = (PathBuf, u64, Option<SystemTime>);

impl ModelStore {
    #[must_use]
    pub fn new(places: Places) -> Self {
        Self {
            places,
            known: Mutex::default(),
        }
    }

    /// A store of this user's places ([`Places::from_env`]).
    #[must_use]
    pub fn from_env() -> Self {
        Self::new(Places::from_env())
    }

    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Every model file that there is, usable or not, each name once: the first place wins.
    #[must_use]
    pub fn found(&self) -> Vec<FoundModel> {
        let mut found: Vec<FoundModel> = Vec::new();
        for path in self.places.files() {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if found.iter().any(|model| model.name.eq_ignore_ascii_case(&name)) {
                continue;
            }
            let info = self.info(&path);
            let entry = entry(&name).filter(|entry| match &info {
                Ok(info) => entry.bytes.is_none_or(|bytes| bytes == info.bytes),
                Err(_) => true,
            });
            found.push(FoundModel {
                name,
                path,
                entry,
                info,
            });
        }
        found
    }

    /// The usable model that answers to `name`: a file's name (in any case, with or without `.gguf`), a short name of the
    /// catalogue, or the module's card name, to which the Qwen 0.5B answers that comes first in the catalogue.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<FoundModel> {
        let wanted = entry(name).map_or_else(|| name.strip_suffix(".gguf").unwrap_or(name), |entry| entry.name);
        let mut usable: Vec<FoundModel> = self.found().into_iter().filter(|model| model.info.is_ok()).collect();
        if let Some(at) = usable.iter().position(|model| model.name.eq_ignore_ascii_case(wanted)) {
            return Some(usable.swap_remove(at));
        }
        (name == MODULE_QWEN).then(|| module_qwen(&usable).cloned()).flatten()
    }

    /// The model cards of all usable models, and one more under the module's name where a Qwen 0.5B answers to it.
    #[must_use]
    pub fn cards(&self) -> Vec<Value> {
        let mut usable: Vec<FoundModel> = self.found().into_iter().filter(|model| model.info.is_ok()).collect();
        let module = module_qwen(&usable).and_then(|model| Some((model.info.as_ref().ok()?, model)));
        let module = module.map(|(info, model)| info.module_card(&model.name, &model.file_name(), model.entry));
        let cards = usable.drain(..).filter_map(|model| {
            Some(
                model
                    .info
                    .as_ref()
                    .ok()?
                    .card(&model.name, &model.file_name(), model.entry),
            )
        });
        cards.chain(module).collect()
    }

    /// SHA-256 of a model's file, lower-case hex. Read from the file the first time, remembered after that.
    ///
    /// # Errors
    /// [`LoadError::Unreadable`].
    pub fn sha256(&self, path: &Path) -> Result<String, LoadError> {
        digest::of_file(path, &self.digests()).map_err(|source| LoadError::Unreadable {
            path: path.to_owned(),
            source,
        })
    }

    fn info(&self, path: &Path) -> Result<ModelInfo, String> {
        let metadata = std::fs::metadata(path).map_err(|source| {
            LoadError::Unreadable {
                path: path.to_owned(),
                source,
            }
            .to_string()
        })?;
        let state = (path.to_owned(), metadata.len(), metadata.modified().ok());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .entry(state)
            .or_insert_with(|| ModelInfo::read(path).map_err(|error| error.to_string()))
            .clone()
    }

    /// Where digests of files are remembered.
    pub(super) fn digests(&self) -> PathBuf {
        self.places.own.join(".digests")
    }
}

/// Which of these answers to the module's card name.
fn module_qwen(usable: &[FoundModel]) -> Option<&FoundModel> {
    let shaped = |model: &&FoundModel| model.info.as_ref().is_ok_and(ModelInfo::is_qwen_half_billion);
    let rank = |model: &&FoundModel| {
        let place = CATALOGUE
            .iter()
            .position(|entry| Some(entry.name) == model.entry.map(|own| own.name));
        place.unwrap_or(CATALOGUE.len())
    };
    usable.iter().filter(shaped).min_by_key(rank)
}
