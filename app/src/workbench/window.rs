//! The window's part of the state: view, dialog, notice, and effects for the window.

use std::path::{Path, PathBuf};

use crate::messages::FileQuestion;
use crate::model::{Problem, RefusedFile};

/// The views of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Tab {
    /// One prefix, adjusted by hand.
    #[default]
    Tune,
    /// A grid of prefixes.
    Sweep,
    /// A prefix for a wanted output.
    Find,
    Doctor,
}

/// A dialog over the window. While one is open no shortcut fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialog {
    /// Keys and commands.
    Help,
    /// Embedded or host:port.
    Connect,
    /// Models on this machine, and those to be downloaded.
    Models,
    /// Whether to exit the tasks that earlier clients left.
    LeftOverTasks,
    /// Details of the current prefix: norms, digest, nearest tokens.
    Identity,
    /// Stars and note of the run in view.
    Note,
    About,
    /// Control by other programs.
    External,
    /// The page with the first steps.
    FirstSteps,
    /// A typed path, where the system has no file dialog.
    Path,
}

/// What the window does for the workbench.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    Copy(String),
    Fullscreen(bool),
    Quit,
    /// Opens a page in the browser.
    OpenPage(String),
    /// Opens a file dialog; the answer arrives as an event.
    Ask(FileQuestion),
}

/// State of file dialogs, and of the file that is being written or read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileState {
    /// A file dialog is open.
    pub asking: bool,
    /// The name of the file that is being written or read; of a saved experiment, its own name.
    pub under_way: Option<String>,
    /// Whether that file is being written.
    pub writing: bool,
}

impl FileState {
    /// Begins to write a file.
    pub(super) fn write(&mut self, path: &Path) {
        self.read(file_name(path));
        self.writing = true;
    }

    /// Begins to read a file or a saved experiment of this name.
    pub(super) fn read(&mut self, name: String) {
        self.under_way = Some(name);
        self.writing = false;
    }

    /// The file was written or read, or could not be.
    pub(super) fn end(&mut self) {
        self.under_way = None;
        self.writing = false;
    }
}

/// Returns the name of a file without its folder.
pub fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A short message in the top bar.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    Saved(PathBuf),
    /// A file was opened in this view, with this number of runs.
    Opened(PathBuf, usize, Tab),
    Copied,
    /// The prompt of Tune is one of this many in the sweep.
    InSweep(usize),
    /// The runs of these ids were removed from the session.
    Removed(Vec<String>),
    /// This model was downloaded, and is not in use.
    Fetched(String),
    /// This model was downloaded and takes the place of the one before.
    TakenOver(String),
    /// A prefix file was refused.
    Refused(RefusedFile),
    Problem(Problem),
}
