//! The folders that models are looked for in. It knows the environment and the system's conventions, no file's contents.

use std::path::{Path, PathBuf};

use directories::{BaseDirs, ProjectDirs};

/// Names the folder that models are looked for in first and fetched into.
const MODEL_DIR: &str = "SOFTPREFIX_MODEL_DIR";

/// Where models are looked for, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Files (or folders of files) that somebody named.
    pub named: Vec<PathBuf>,
    /// Our own folder; models are fetched into it.
    pub own: PathBuf,
    /// Further folders of model files.
    pub others: Vec<PathBuf>,
    /// The Hugging Face cache (`.../huggingface/hub`).
    pub hub_cache: Option<PathBuf>,
}

impl Places {
    /// The places of this user: `SOFTPREFIX_MODEL_DIR` where it is set, else the app's cache, is our own folder; the
    /// app's cache is looked into either way, and the Hugging Face cache after it (`HF_HUB_CACHE`, `HF_HOME`).
    #[must_use]
    pub fn from_env() -> Self {
        let folder = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let cache = ProjectDirs::from("", "", "softprefix").map(|dirs| dirs.cache_dir().join("models"));
        let mut own = folder(MODEL_DIR).into_iter().chain(cache);
        Self {
            named: Vec::new(),
            // Where there is no home directory, the folder for temporary files is one that can be written to.
            own: own
                .next()
                .unwrap_or_else(|| std::env::temp_dir().join("softprefix-models")),
            others: own.collect(),
            hub_cache: folder("HF_HUB_CACHE")
                .or_else(|| Some(folder("HF_HOME")?.join("hub")))
                .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("huggingface/hub")))
                .or_else(|| Some(BaseDirs::new()?.home_dir().join(".cache/huggingface/hub"))),
        }
    }

    /// One folder and nothing else.
    #[must_use]
    pub fn only(own: PathBuf) -> Self {
        Self {
            named: Vec::new(),
            own,
            others: Vec::new(),
            hub_cache: None,
        }
    }

    /// The same places, with `path` looked at before all others.
    #[must_use]
    pub fn with_named(mut self, path: PathBuf) -> Self {
        self.named.push(path);
        self
    }

    /// Every `.gguf` file in these places, in their order, each folder's in alphabetical order.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for named in &self.named {
            if named.is_dir() {
                files.extend(models_in(named));
            } else {
                files.push(named.clone());
            }
        }
        files.extend(
            std::iter::once(&self.own)
                .chain(&self.others)
                .flat_map(|folder| models_in(folder)),
        );
        files.extend(self.hub_cache.iter().flat_map(|cache| hub_files(cache)));
        files
    }
}

/// The `.gguf` files of a folder. One that is not there has none.
fn models_in(folder: &Path) -> Vec<PathBuf> {
    let is_model = |path: &PathBuf| {
        path.extension()
            .is_some_and(|suffix| suffix.eq_ignore_ascii_case("gguf"))
            && path.is_file()
    };
    entries(folder).into_iter().filter(is_model).collect()
}

/// The Hugging Face cache: `models--OWNER--NAME/snapshots/REVISION/FILE`, each file a link into `blobs`.
///
/// Downloads in progress lie in `blobs` only, so that whatever a snapshot names is complete.
fn hub_files(cache: &Path) -> Vec<PathBuf> {
    let is_model = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("models--"))
    };
    (entries(cache).into_iter().filter(is_model))
        .flat_map(|repository| entries(&repository.join("snapshots")))
        .flat_map(|snapshot| models_in(&snapshot))
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
