//! `softprefix demo`: plays a recorded session in the window, without a module or a model. A file that cannot be played
//! is refused before the window opens.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use crate::app;
use crate::bridge::recording;
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

pub fn run(args: &DemoArgs) -> ExitCode {
    let session = match &args.file {
        Some(path) => recording::read(path).map(Arc::new),
        None => recording::demo(),
    };
    let session = match session {
        Ok(session) => session,
        Err(problem) => {
            super::shell::tell(problem);
            return Exit::File.into();
        }
    };
    if args.check {
        super::shell::print(&format!("{}\n", session.summary()));
        return Exit::Success.into();
    }
    let start = Start::Playback {
        session,
        exhibition: args.exhibition,
    };
    app::run(WindowArgs::default(), start)
}
