//! The folders that are searched for models: our own and those of other programs.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use directories::{BaseDirs, ProjectDirs};
use serde::Deserialize;
use softprefix_core::files;

use crate::gguf::name_parts;

/// Environment variable with the folder that is searched first and into which models are fetched.
const MODEL_DIR: &str = "SOFTPREFIX_MODEL_DIR";

/// The folders that are searched for models, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Files, or folders of files, that the user named.
    pub named: Vec<PathBuf>,
    /// Our own folder, into which models are fetched.
    pub own: PathBuf,
    /// Further folders of model files.
    pub others: Vec<PathBuf>,
    /// The Hugging Face cache (`.../huggingface/hub`).
    pub hub_cache: Option<PathBuf>,
    /// LM Studio's folders of models (`PUBLISHER/REPOSITORY/FILE`).
    pub lm_studio: Vec<PathBuf>,
    /// Ollama's folders of models (`manifests` and `blobs`).
    pub ollama: Vec<PathBuf>,
    /// The folder into which llama.cpp downloads.
    pub llama_cpp: Option<PathBuf>,
}

/// The kind of folder in which a model was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Named by the user.
    Named,
    /// In a folder of ours.
    Own,
    /// The cache of the Hugging Face libraries.
    HuggingFace,
    /// LM Studio's folders of models.
    LmStudio,
    /// Ollama's blobs.
    Ollama,
    /// The cache of llama.cpp.
    LlamaCpp,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Named => "named",
            Self::Own => "own folder",
            Self::HuggingFace => "Hugging Face cache",
            Self::LmStudio => "LM Studio",
            Self::Ollama => "Ollama",
            Self::LlamaCpp => "llama.cpp cache",
        })
    }
}

/// A model file that has not been opened yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) path: PathBuf,
    /// Its name.
    pub(super) name: String,
    pub(super) place: Place,
    /// Whether Ollama's manifest of it has a chat template.
    pub(super) manifest_has_template: bool,
}

impl Placed {
    fn new(place: Place, path: PathBuf) -> Self {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = name_parts(&path).map_or(stem, |(name, ..)| name.to_owned());
        Self {
            path,
            name,
            place,
            manifest_has_template: false,
        }
    }
}

impl Places {
    /// The places of this user. Our own folder is `SOFTPREFIX_MODEL_DIR` if it is set, else the app's cache. The app's
    /// cache is searched in any case, and after it the caches of Hugging Face (`HF_HUB_CACHE`, `HF_HOME`), LM Studio,
    /// Ollama (`OLLAMA_MODELS`) and llama.cpp (`LLAMA_CACHE`).
    #[must_use]
    pub fn from_env() -> Self {
        let folder = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let home = BaseDirs::new().map(|dirs| dirs.home_dir().to_owned());
        let cache = ProjectDirs::from("", "", "softprefix").map(|dirs| dirs.cache_dir().join("models"));
        let mut own = folder(MODEL_DIR).into_iter().chain(cache);
        Self {
            named: Vec::new(),
            // Without a home directory, the folder for temporary files is the one that is writable.
            own: own
                .next()
                .unwrap_or_else(|| std::env::temp_dir().join("softprefix-models")),
            others: own.collect(),
            hub_cache: folder("HF_HUB_CACHE")
                .or_else(|| Some(folder("HF_HOME")?.join("hub")))
                .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("huggingface/hub")))
                .or_else(|| Some(home.as_ref()?.join(".cache/huggingface/hub"))),
            lm_studio: home.iter().flat_map(|home| lm_studio_folders(home)).collect(),
            ollama: folder("OLLAMA_MODELS").map_or_else(
                || {
                    let own = home.iter().map(|home| home.join(".ollama/models"));
                    // Linux packages run Ollama as a service with this folder.
                    own.chain([PathBuf::from("/usr/share/ollama/.ollama/models")]).collect()
                },
                |folder| vec![folder],
            ),
            llama_cpp: folder("LLAMA_CACHE").or_else(|| Some(BaseDirs::new()?.cache_dir().join("llama.cpp"))),
        }
    }

    /// Only this folder, as our own.
    #[must_use]
    pub fn only(own: PathBuf) -> Self {
        Self {
            named: Vec::new(),
            own,
            others: Vec::new(),
            hub_cache: None,
            lm_studio: Vec::new(),
            ollama: Vec::new(),
            llama_cpp: None,
        }
    }

    /// The same places, with `path` before all others.
    #[must_use]
    pub fn with_named(mut self, path: PathBuf) -> Self {
        self.named.push(path);
        self
    }

    /// Every model file in these places, in their order, alphabetically within a folder. A model in several files is
    /// listed by its first; if that is missing, each further file is listed.
    pub(super) fn files(&self) -> Vec<Placed> {
        let mut files = Vec::new();
        let mut add = |place: Place, paths: Vec<PathBuf>| {
            files.extend(paths.into_iter().map(|path| Placed::new(place, path)));
        };
        for named in &self.named {
            let inside = if named.is_dir() {
                models_in(named)
            } else {
                vec![named.clone()]
            };
            add(Place::Named, inside);
        }
        for folder in std::iter::once(&self.own).chain(&self.others) {
            add(Place::Own, models_in(folder));
        }
        add(
            Place::HuggingFace,
            self.hub_cache.iter().flat_map(|cache| hub_files(cache)).collect(),
        );
        let repositories = self.lm_studio.iter().flat_map(|folder| entries(folder));
        let repositories = repositories.flat_map(|publisher| entries(&publisher));
        add(
            Place::LmStudio,
            repositories.flat_map(|folder| models_in(&folder)).collect(),
        );
        add(
            Place::LlamaCpp,
            self.llama_cpp.iter().flat_map(|folder| models_in(folder)).collect(),
        );
        files.extend(self.ollama.iter().flat_map(|folder| ollama_models(folder)));
        files.retain(|file| {
            // A file that the user named is listed, with the reason why it is not loaded.
            if self.named.contains(&file.path) {
                return true;
            }
            let first = name_parts(&file.path).filter(|(_, number, _)| *number > 1);
            first.is_none_or(|(name, _, count)| {
                !file
                    .path
                    .with_file_name(format!("{name}-00001-of-{count:05}.gguf"))
                    .is_file()
            })
        });
        files
    }
}

/// LM Studio's folders of models: from its pointer file, and the defaults of current and former versions.
fn lm_studio_folders(home: &Path) -> Vec<PathBuf> {
    let pointer = files::read_text(&home.join(".lmstudio-home-pointer"), LONGEST_TEXT).ok();
    let pointed = pointer.map(|path| PathBuf::from(path.trim()).join("models"));
    let mut folders: Vec<PathBuf> = pointed.into_iter().collect();
    for folder in [home.join(".lmstudio/models"), home.join(".cache/lm-studio/models")] {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

/// Ollama's manifest of a model.
#[derive(Deserialize)]
struct OllamaManifest {
    layers: Vec<OllamaLayer>,
}

#[derive(Deserialize)]
struct OllamaLayer {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: String,
}

/// Longest file of another program that is read, in bytes.
const LONGEST_TEXT: u64 = 1 << 20;

/// Ollama's models: `manifests/HOST/OWNER/NAME/TAG` lists the files in `blobs` that a model is made of.
fn ollama_models(folder: &Path) -> Vec<Placed> {
    let manifests = folder.join("manifests");
    let below = |paths: Vec<PathBuf>| -> Vec<PathBuf> { paths.iter().flat_map(|path| entries(path)).collect() };
    let tags = below(below(below(entries(&manifests))));
    tags.iter()
        .filter_map(|tag| ollama_model(folder, tag.strip_prefix(&manifests).ok()?))
        .collect()
}

/// The model of one tag; `None` where the manifest names no model file, or an adapter, which would be ignored.
fn ollama_model(folder: &Path, tag: &Path) -> Option<Placed> {
    let text = files::read_text(&folder.join("manifests").join(tag), LONGEST_TEXT).ok()?;
    let manifest: OllamaManifest = serde_json::from_str(&text).ok()?;
    let layer = |kind: &str| (manifest.layers.iter()).find(|layer| layer.media_type.ends_with(kind));
    if layer(".image.adapter").is_some() {
        tracing::info!("{} is ignored: it has an adapter besides its model file", tag.display());
        return None;
    }
    let digest = layer(".image.model")?.digest.strip_prefix("sha256:")?;
    if !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let parts: Vec<String> = tag.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let [host, owner, name, tag] = parts.as_slice() else {
        return None;
    };
    let name = match (host.as_str(), owner.as_str()) {
        ("registry.ollama.ai", "library") => format!("{name}:{tag}"),
        ("registry.ollama.ai", _) => format!("{owner}/{name}:{tag}"),
        _ => format!("{host}/{owner}/{name}:{tag}"),
    };
    let path = folder.join("blobs").join(format!("sha256-{digest}"));
    path.is_file().then_some(Placed {
        path,
        name,
        place: Place::Ollama,
        manifest_has_template: layer(".image.template").is_some(),
    })
}

/// The `.gguf` files of a folder; none where the folder is missing.
fn models_in(folder: &Path) -> Vec<PathBuf> {
    let is_model = |path: &PathBuf| {
        path.extension()
            .is_some_and(|suffix| suffix.eq_ignore_ascii_case("gguf"))
            && path.is_file()
    };
    entries(folder).into_iter().filter(is_model).collect()
}

/// The Hugging Face cache: `models--OWNER--NAME/snapshots/REVISION/FILE`, each file a link into `blobs`; some repositories have a folder
/// for each quantisation. The revision that `refs/main` names comes first: the others are older, or branches.
///
/// Downloads in progress are in `blobs` only, so files that a snapshot names are complete.
fn hub_files(cache: &Path) -> Vec<PathBuf> {
    let is_model = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("models--"))
    };
    (entries(cache).into_iter().filter(is_model))
        .flat_map(|repository| {
            let main = files::read_text(&repository.join("refs/main"), LONGEST_TEXT).unwrap_or_default();
            let mut snapshots = entries(&repository.join("snapshots"));
            snapshots.sort_by_key(|snapshot| snapshot.file_name() != Some(OsStr::new(main.trim())));
            snapshots
        })
        .flat_map(|snapshot| {
            let inside = entries(&snapshot).into_iter().flat_map(|folder| models_in(&folder));
            models_in(&snapshot).into_iter().chain(inside).collect::<Vec<_>>()
        })
        .collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
