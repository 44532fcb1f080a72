//! Requests to write and read recordings, and their events.

use std::path::PathBuf;
use std::sync::Arc;

use crate::model::Problem;
use crate::recording::{Line, PreparedRecording};

/// Requests from the workbench.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordingRequest {
    /// Write recordings into this folder.
    Folder(PathBuf),
    /// Create a file. The lines that follow have time 0.
    Begin,
    /// Start the clock of the recording.
    StartClock,
    /// Write an event.
    Line(Box<Line>),
    End,
    /// Move a finished file to another place.
    Move {
        from: PathBuf,
        to: PathBuf,
    },
    /// Read a file for playback.
    Open(PathBuf),
    /// Prepare the built-in recording for playback.
    OpenDemo,
}

/// Events from the bridge.
#[derive(Debug)]
pub enum RecordingEvent {
    /// The file is complete.
    Ended {
        path: PathBuf,
    },
    Moved {
        path: PathBuf,
    },
    /// Recording stopped for this reason; what was written is still in the file.
    CannotWrite(Problem),
    Opened {
        recording: Arc<PreparedRecording>,
    },
    /// Why a file cannot be played or moved.
    Refused(Problem),
}
