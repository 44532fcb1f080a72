//! Recordings: written, read.

use std::path::PathBuf;
use std::sync::Arc;

use crate::model::Problem;
use crate::recording::{Line, Session};

/// What the workbench asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordingRequest {
    /// Recordings are written into this folder until they are given a place.
    Folder(PathBuf),
    /// Begin a file. Lines that follow stand at its very beginning.
    Begin,
    /// From here on lines stand at the time at which they come.
    Run,
    /// This happened.
    Line(Box<Line>),
    End,
    /// Move a file that was written to where the person wants it.
    Keep {
        from: PathBuf,
        to: PathBuf,
    },
    /// Read a file for playing it.
    Open(PathBuf),
    /// Make the recording ready that is part of the program.
    OpenDemo,
}

/// What the bridge reports.
#[derive(Debug)]
pub enum RecordingEvent {
    /// The file is whole.
    Ended {
        path: PathBuf,
    },
    Kept {
        path: PathBuf,
    },
    /// Nothing more is recorded, for this reason; what was is in the file.
    CannotWrite(Problem),
    Opened {
        session: Arc<Session>,
    },
    /// Why a file is not played, or not kept where it was wanted.
    Refused(Problem),
}
