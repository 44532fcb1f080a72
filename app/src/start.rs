//! What the window starts with, and the exit codes.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use crate::model::Target;
use crate::recording::Session;

/// Options of the window.
#[derive(Debug, Args, Default)]
pub struct WindowArgs {
    /// Connect to this module instead of the one used last: `embedded` or HOST or HOST:PORT.
    #[arg(long, value_name = "MODULE", value_parser = target)]
    pub connect: Option<Target>,
    /// Model to set up: a name that `softprefix models` (or the module) lists, or a GGUF file.
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Start with default fields and settings, and store nothing.
    #[arg(long)]
    pub fresh: bool,
    /// Start with the prefix from this file: a PEFT folder, .safetensors, .npy or a KoboldAI .zip.
    #[arg(long, value_name = "PATH")]
    pub prefix_file: Option<PathBuf>,
    /// Results file to open.
    #[arg(value_name = "RESULTS")]
    pub results: Option<PathBuf>,
}

/// Exit status of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Success,
    /// The arguments are invalid (also the status of the argument parser).
    BadArguments,
    /// The module, its model or the connection failed, completely or in some case.
    Module,
    /// A file could not be read or written, or has the wrong content.
    File,
    /// Ended by Ctrl-C; finished runs are saved.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::BadArguments => 2,
            Exit::Module => 3,
            Exit::File => 4,
            // The status that shells use for SIGINT.
            Exit::Interrupted => 130,
        })
    }
}

/// Parses a module's address.
pub(crate) fn target(text: &str) -> Result<Target, String> {
    Target::parse(text)
        .ok_or_else(|| "give `embedded`, or a host with or without a port, such as 192.168.0.7:10001".to_owned())
}

/// What the window starts with.
pub enum Start {
    /// Connects to the module used last, or the one given.
    Module,
    /// Plays a recording, without connecting.
    Playback {
        session: Arc<Session>,
        /// Full screen, repeatedly.
        exhibition: bool,
    },
}
