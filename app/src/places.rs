//! Locations of stored files: settings, history, recordings, imported prefixes.

use std::path::PathBuf;

use softprefix_core::prefix::PrefixStore;

/// Environment variable that names the folder for settings, history, recordings and imported prefixes, instead of the system's default.
pub const STATE_DIR: &str = "SOFTPREFIX_STATE_DIR";

/// Returns the folder of the history and imported prefixes: the one named by [`STATE_DIR`], or the system's folder for
/// data.
pub fn data() -> PathBuf {
    match named() {
        Some(folder) => folder,
        None => directories::ProjectDirs::from("", "", "softprefix")
            .map_or_else(std::env::temp_dir, |dirs| dirs.data_dir().to_owned()),
    }
}

/// Returns the file of the window's settings and fields.
pub fn settings() -> PathBuf {
    data().join("settings.json")
}

/// Returns eframe's file for size and position of the window if [`STATE_DIR`] is set; eframe has its own default. Earlier
/// versions kept the settings there, too.
pub fn window() -> Option<PathBuf> {
    named().map(|folder| folder.join("softprefix.ron"))
}

/// Returns the folder of all experiments.
pub fn library() -> PathBuf {
    data().join("experiments")
}

/// Returns the journal in which version 0.1.0 saved everything.
pub fn old_history() -> PathBuf {
    data().join("history.journal")
}

/// Returns the default folder for recordings.
pub fn recordings() -> PathBuf {
    data().join("recordings")
}

/// Returns the store of imported prefix rows, by digest: a recipe that names one can be built as long as the rows are
/// there.
pub fn prefix_store() -> PrefixStore {
    PrefixStore::new(data().join("prefixes"))
}

fn named() -> Option<PathBuf> {
    std::env::var_os(STATE_DIR).map(PathBuf::from)
}
