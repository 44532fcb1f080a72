//! `softprefix demo`: plays a recording in the window, without a module or a model. A file that cannot be played
//! is refused before the window opens.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use crate::app;
use crate::bridge::recording;
use crate::model::Problem;
use crate::start::{Exit, Start, WindowArgs};

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Recording to play instead of the built-in one.
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Play full screen and repeat until a key is pressed.
    #[arg(long)]
    pub exhibition: bool,
    /// Print a summary of the recording without opening a window.
    #[arg(long, conflicts_with = "exhibition")]
    pub check: bool,
}

impl DemoArgs {
    /// Reads the recording, and returns what the window starts with.
    ///
    /// # Errors
    /// If the file cannot be read or is no recording.
    pub fn start(&self) -> Result<Start, Problem> {
        let recording = match &self.file {
            Some(path) => recording::read(path).map(Arc::new),
            None => recording::demo(),
        };
        Ok(Start::Playback {
            recording: recording?,
            exhibition: self.exhibition,
        })
    }
}

pub fn run(args: &DemoArgs) -> ExitCode {
    match args.start() {
        Err(problem) => {
            super::shell::eprint(problem);
            Exit::File.into()
        }
        Ok(Start::Playback { recording, .. }) if args.check => {
            super::shell::print(&format!("{}\n", recording.summary()));
            Exit::Success.into()
        }
        Ok(start) => app::run(WindowArgs::default(), start),
    }
}
