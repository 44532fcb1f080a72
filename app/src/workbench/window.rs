//! What of the window the workbench decides: which view, which sheet, which notice, and what the window has to do.

use std::path::PathBuf;

use crate::messages::FileQuestion;
use crate::model::{Problem, RefusedFile};

/// The views of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Tab {
    /// One prefix, by hand.
    #[default]
    Tune,
    /// Many prefixes, in one go.
    Sweep,
    Doctor,
}

/// A sheet over the window. While one is open no shortcut fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialog {
    /// Keys and commands.
    Help,
    /// Embedded or host:port.
    Connect,
    /// Models: present ones, and those that can be fetched.
    Models,
    /// The tasks that former clients left; exit them?
    LeftOverTasks,
    /// What the prefix in hand is: its rows' norms, digest, nearest tokens.
    Identity,
    About,
}

/// What the window has to do for the workbench.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    Copy(String),
    Fullscreen(bool),
    Quit,
    /// Ask for a file with the system's dialog; the answer comes back as an event.
    Ask(FileQuestion),
}

/// The results file, as far as there is one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FileState {
    pub path: Option<PathBuf>,
    /// Runs were added or removed since it was saved or opened.
    pub edited: bool,
    /// The system's file dialog is open.
    pub asking: bool,
    pub writing: bool,
}

impl FileState {
    /// The file's name, for the title.
    pub fn name(&self) -> Option<String> {
        self.path
            .as_ref()
            .and_then(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned())
    }
}

/// A sentence in the corner.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    Saved(PathBuf),
    /// A results file was opened; so many runs are in it.
    Opened(PathBuf, usize),
    Copied,
    /// The file of a prefix was not taken.
    Refused(RefusedFile),
    Problem(Problem),
}
