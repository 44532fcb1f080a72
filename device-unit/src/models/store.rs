//! The models on this machine: found, named, described as cards, and loaded.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::SystemTime;

use serde_json::{Map, Value};
use softprefix_core::bilingual;

use crate::engine::EngineError;
use crate::engine::cpu::{CpuEngine, CpuOptions};
use crate::gguf::{GgufFile, name_parts};
use crate::model::{LoadError, LoadProgress, LoadStage, LoadedModel, ModelSource};
use crate::tokenizer::{ChatTemplate, Tokenizer};

use super::card::ModelInfo;
use super::catalogue::{CATALOGUE, Entry, MODULE_QWEN, entry, without_suffix};
use super::digest::{self, FirstFetch};
use super::places::{Place, Placed, Places};

/// A model file in one of the [`Places`].
#[derive(Debug, Clone)]
pub struct FoundModel {
    /// Its name: the file's name without `.gguf` and without its number among several; in Ollama `NAME:TAG`.
    pub name: String,
    /// The file, or the first of several.
    pub path: PathBuf,
    /// Where it was found.
    pub place: Place,
    /// Whether Ollama's manifest of it has a chat template, which is used only where it is in the file, too.
    pub manifest_has_template: bool,
    /// The catalogue's entry of this file, by name and length.
    pub entry: Option<&'static Entry>,
    /// Its key facts, or why it cannot be used.
    pub info: Result<ModelInfo, Arc<LoadError>>,
}

impl FoundModel {
    fn file_name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// Finds models and loads them.
#[derive(Debug)]
pub struct ModelStore {
    places: Places,
    engine: CpuOptions,
    /// What was read of the models in one file, by file, length and time of change. Those in several files are read again each time, since
    /// any of them may have changed.
    known: Mutex<HashMap<FileState, Result<ModelInfo, Arc<LoadError>>>>,
}

type FileState = (PathBuf, u64, Option<SystemTime>);

impl ModelStore {
    /// A store of these places, with default options for loading.
    #[must_use]
    pub fn new(places: Places) -> Self {
        Self {
            places,
            engine: CpuOptions::default(),
            known: Mutex::default(),
        }
    }

    /// A store of this user's places ([`Places::from_env`]).
    #[must_use]
    pub fn from_env() -> Self {
        Self::new(Places::from_env())
    }

    /// The same store with these options for loading.
    #[must_use]
    pub fn with_engine(mut self, options: CpuOptions) -> Self {
        self.engine = options;
        self
    }

    /// The folders that are searched.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Every model file, usable or not, each name once: the first usable one wins, or that which the user named.
    #[must_use]
    pub fn found(&self) -> Vec<FoundModel> {
        let mut found: Vec<FoundModel> = Vec::new();
        for placed in self.places.files() {
            let Placed {
                path,
                name,
                place,
                manifest_has_template,
            } = placed;
            let same = found.iter().position(|model| model.name.eq_ignore_ascii_case(&name));
            let replaceable = same.filter(|&at| found[at].info.is_err() && found[at].place != Place::Named);
            if let (Some(at), None) = (same, replaceable) {
                tracing::debug!("{} is hidden by {}", path.display(), found[at].path.display());
                continue;
            }
            let info = self.info(&path).and_then(|info| {
                check_template(&path, manifest_has_template, &info)?;
                Ok(info)
            });
            let entry = entry(&name).filter(|entry| match &info {
                Ok(info) => entry.bytes.is_none_or(|bytes| bytes == info.bytes),
                Err(_) => true,
            });
            let model = FoundModel {
                name,
                path,
                place,
                manifest_has_template,
                entry,
                info,
            };
            match replaceable {
                None => found.push(model),
                Some(at) if model.info.is_ok() => found[at] = model,
                Some(_) => {}
            }
        }
        found
    }

    /// The model with the name `name`, usable or not: a file's name (in any letter case, with or without `.gguf`), a
    /// short name of the catalogue, or the module's card name, which stands for the usable Qwen 0.5B that is first in
    /// the catalogue.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<FoundModel> {
        let stem = without_suffix(name);
        let file = PathBuf::from(format!("{stem}.gguf"));
        let plain = name_parts(&file).map_or(stem, |(name, ..)| name);
        let mut found = self.found();
        // A file named like a short name takes precedence over the catalogue.
        for wanted in [Some(name), Some(plain), entry(name).map(|entry| entry.name)]
            .into_iter()
            .flatten()
        {
            if let Some(at) = found.iter().position(|model| model.name.eq_ignore_ascii_case(wanted)) {
                return Some(found.swap_remove(at));
            }
        }
        (name == MODULE_QWEN).then(|| module_qwen(&found).cloned()).flatten()
    }

    /// SHA-256 of a model's file, lower-case hex. Computed the first time, then cached.
    ///
    /// # Errors
    /// [`LoadError::Unreadable`].
    pub fn sha256(&self, path: &Path) -> Result<String, LoadError> {
        digest::of_file(path, &self.digests()).map_err(|source| LoadError::Unreadable {
            path: path.to_owned(),
            source,
        })
    }

    /// The SHA-256 that the file of an entry has: the catalogue's, else that of the first fetch; `None` where nothing was fetched.
    pub(super) fn expected(&self, entry: &Entry) -> Option<String> {
        let recorded = || FirstFetch::recorded(entry, &self.digests()).map(|first| first.sha256);
        entry.sha256.map(str::to_owned).or_else(recorded)
    }

    /// Checks that a file is that of its entry in the catalogue, if its digest is known.
    ///
    /// # Errors
    /// [`LoadError::OtherContent`].
    fn check_content(&self, found: &FoundModel, sha256: &str) -> Result<(), LoadError> {
        let Some((entry, expected)) = found.entry.and_then(|entry| Some((entry, self.expected(entry)?))) else {
            return Ok(());
        };
        if expected == sha256 {
            return Ok(());
        }
        let error = LoadError::OtherContent {
            path: found.path.clone(),
            model: entry.title.to_owned(),
            found: sha256.to_owned(),
            expected,
        };
        // A file in another program's folder belongs to that program, and may be another edition of the model.
        if found.place == Place::Own || found.path.starts_with(&self.places.own) {
            return Err(error);
        }
        tracing::warn!("{error}");
        Ok(())
    }

    fn info(&self, path: &Path) -> Result<ModelInfo, Arc<LoadError>> {
        let metadata = std::fs::metadata(path).map_err(|source| LoadError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let state = (path.to_owned(), metadata.len(), metadata.modified().ok());
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(info) = known().get(&state) {
            return info.clone();
        }
        let read = ModelInfo::read(path);
        // The next attempt may find what is missing now.
        let lasts = !matches!(read, Err(LoadError::Incomplete { .. } | LoadError::Unreadable { .. }));
        let info = read.map_err(Arc::new);
        if lasts && name_parts(path).is_none() {
            known().insert(state, info.clone());
        }
        info
    }

    /// The folder of cached digests.
    pub(super) fn digests(&self) -> PathBuf {
        self.places.own.join(".digests")
    }
}

impl ModelSource for ModelStore {
    /// One card for each usable model, and one more under the module's name if there is a usable Qwen 0.5B.
    fn cards(&self) -> Vec<Value> {
        let found = self.found();
        let module = module_qwen(&found).into_iter().map(|model| (model, true));
        let cards = found.iter().map(|model| (model, false)).chain(module);
        let card = |(model, by_module_name): (&FoundModel, bool)| {
            let info = model.info.as_ref().ok()?;
            let make = if by_module_name {
                ModelInfo::module_card
            } else {
                ModelInfo::card
            };
            Some(make(info, &model.name, &model.file_name(), model.entry))
        };
        cards.filter_map(card).collect()
    }

    fn load(
        &self,
        model: &str,
        overrides: &Map<String, Value>,
        progress: &LoadProgress<'_>,
    ) -> Result<LoadedModel, LoadError> {
        let found = self
            .find(model)
            .ok_or_else(|| LoadError::UnknownModel { name: model.to_owned() })?;
        let path = &found.path;
        let info = match &found.info {
            Ok(info) => info.clone(),
            // Read again for an error of its own, since the list shares this one.
            Err(_) => ModelInfo::read(path)?,
        };
        check_template(path, found.manifest_has_template, &info)?;
        progress(0.0, LoadStage::File);
        let file = Arc::new(GgufFile::open(path)?);

        // In parallel with the weights: the tokenizer takes a tenth of a second, a digest that is not cached more.
        let (engine, tokenizer, digest) = thread::scope(|scope| {
            let tokenizer = scope.spawn(|| Tokenizer::from_gguf(&file));
            // A digest identifies a single file.
            let digest = scope.spawn(|| (info.parts == 1).then(|| self.sha256(path)).transpose());
            let engine = CpuEngine::from_file(Arc::clone(&file), self.engine, progress);
            (engine, joined("tokenizer", tokenizer), joined("digest", digest))
        });
        let digest = digest??;
        if let Some(sha256) = &digest {
            self.check_content(&found, sha256)?;
        }
        let tokenizer = tokenizer??;
        let template = ChatTemplate::from_gguf(&file)?;

        let by_module_name = model == MODULE_QWEN;
        let mut settings = info.mode_param(&found.file_name(), by_module_name);
        settings.extend(overrides.clone());
        Ok(LoadedModel {
            engine: Box::new(engine?),
            stop_tokens: tokenizer.stop_tokens(),
            tokenizer: Arc::new(tokenizer),
            template,
            settings,
            digest,
        })
    }
}

/// Checks that a model's chat template is in its file: those of Ollama's manifests are in another language.
fn check_template(path: &Path, manifest_has_template: bool, info: &ModelInfo) -> Result<(), LoadError> {
    if manifest_has_template && !info.has_chat_template {
        return Err(LoadError::Unsupported {
            path: path.to_owned(),
            reason: bilingual!(
                "its chat template is in Ollama's manifest alone, which is not computed here",
                "チャットテンプレートが Ollama のマニフェストにだけあり、その形式には対応していません"
            ),
        });
    }
    Ok(())
}

/// The result of a thread; a panic becomes [`EngineError::Backend`].
fn joined<T>(what: &str, thread: thread::ScopedJoinHandle<'_, T>) -> Result<T, LoadError> {
    let died = |_| {
        EngineError::backend(
            format!("reading the {what}"),
            "its thread panicked",
            "report this with the model's name",
        )
    };
    Ok(thread.join().map_err(died)?)
}

/// The model that stands for the module's card name.
fn module_qwen(found: &[FoundModel]) -> Option<&FoundModel> {
    let shaped = |model: &&FoundModel| model.info.as_ref().is_ok_and(ModelInfo::is_qwen_half_billion);
    let rank = |model: &&FoundModel| {
        let place = CATALOGUE
            .iter()
            .position(|entry| Some(entry.name) == model.entry.map(|own| own.name));
        place.unwrap_or(CATALOGUE.len())
    };
    found.iter().filter(shaped).min_by_key(rank)
}
