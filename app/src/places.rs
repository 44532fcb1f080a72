//! Where the program keeps what it is to find again: settings, history, imported prefixes. It names places and opens none.

use std::path::PathBuf;

use softprefix_core::prefix::PrefixStore;

/// Names the folder where all of it is kept; without it the system's usual place is taken.
pub const STATE_DIR: &str = "SOFTPREFIX_STATE_DIR";

/// The folder of history and imported prefixes: the named one, else the system's place for data.
pub fn data() -> PathBuf {
    match named() {
        Some(folder) => folder,
        None => directories::ProjectDirs::from("", "", "softprefix")
            .map_or_else(std::env::temp_dir, |dirs| dirs.data_dir().to_owned()),
    }
}

/// The window's settings, where their folder is named; the window system knows the usual place.
pub fn settings() -> Option<PathBuf> {
    named().map(|folder| folder.join("softprefix.ron"))
}

/// The folder of everything that was run.
pub fn library() -> PathBuf {
    data().join("experiments")
}

/// The journal in which version 0.1.0 kept everything.
pub fn old_history() -> PathBuf {
    data().join("history.journal")
}

/// Recordings that were not given another place.
pub fn recordings() -> PathBuf {
    data().join("recordings")
}

/// The rows of imported prefixes, by digest: a recipe that names one can be built again as long as it lies there.
pub fn prefix_store() -> PrefixStore {
    PrefixStore::new(data().join("prefixes"))
}

fn named() -> Option<PathBuf> {
    std::env::var_os(STATE_DIR).map(PathBuf::from)
}
