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
    /// Type a path: the system shows no dialog for files.
    Path,
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

/// Files that are being asked for or written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileState {
    /// The system's file dialog is open.
    pub asking: bool,
    pub writing: bool,
}

/// A sentence in the corner.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    Saved(PathBuf),
    /// A file was opened in this view; so many runs are in it.
    Opened(PathBuf, usize, Tab),
    Copied,
    /// The file of a prefix was not taken.
    Refused(RefusedFile),
    Problem(Problem),
}
