//! How the program starts and how it ends: what the window begins with, and the exit codes.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use crate::model::Target;
use crate::recording::Session;

/// What the window starts with.
#[derive(Debug, Args, Default)]
pub struct WindowArgs {
    /// Connect to this module instead of the one used last: `embedded` or HOST or HOST:PORT.
    #[arg(long, value_name = "MODULE", value_parser = target)]
    pub connect: Option<Target>,
    /// Model to set up: a name that `softprefix models` (or the module) lists, or a GGUF file.
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Start with the fields as they are delivered, and remember nothing.
    #[arg(long)]
    pub fresh: bool,
    /// Start with the prefix of this file: a PEFT folder, .safetensors, .npy or a KoboldAI .zip.
    #[arg(long, value_name = "PATH")]
    pub prefix_file: Option<PathBuf>,
    /// Results file to open.
    #[arg(value_name = "RESULTS")]
    pub results: Option<PathBuf>,
}

/// How a command ended: what a script goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Success,
    /// The arguments are wrong (also what the argument parser itself answers).
    BadArguments,
    /// The module, its model or the connection failed, wholly or in some case.
    Module,
    /// A file could not be read or written, or is not what it should be.
    File,
    /// Ended by Ctrl-C; what was finished is in the file.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::BadArguments => 2,
            Exit::Module => 3,
            Exit::File => 4,
            // As shells count a death by SIGINT.
            Exit::Interrupted => 130,
        })
    }
}

/// Reads a module's address from an argument.
pub(crate) fn target(text: &str) -> Result<Target, String> {
    Target::parse(text)
        .ok_or_else(|| "give `embedded`, or a host with or without a port, such as 192.168.0.7:10001".to_owned())
}

/// What the window begins with.
pub enum Start {
    /// Connects to the module that was used last, or the one that was named.
    Module,
    /// Plays a recording and connects to nothing.
    Playback {
        session: Arc<Session>,
        /// Over the whole screen, again and again.
        exhibition: bool,
    },
}
