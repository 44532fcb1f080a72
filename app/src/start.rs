//! What the window starts with, and the exit codes.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use crate::model::{Endpoint, Target};
use crate::recording::Session;
use crate::workbench::{Action, ExternalAction};

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
    #[command(flatten)]
    pub external: ExternalArgs,
    /// Results file to open.
    #[arg(value_name = "RESULTS")]
    pub results: Option<PathBuf>,
}

/// Options for the control by other programs.
#[derive(Debug, Clone, Args, Default)]
pub struct ExternalArgs {
    /// Receive OSC over UDP on this address: HOST:PORT, or a port of this machine alone. Off unless given: whoever reaches the address can
    /// change the prompt and start runs.
    #[arg(long, value_name = "ADDR", value_parser = endpoint)]
    pub osc: Option<Endpoint>,
    /// Send tokens, texts, similarity and state by OSC to this address, HOST:PORT, and nowhere else.
    #[arg(long, value_name = "ADDR", value_parser = endpoint)]
    pub osc_to: Option<Endpoint>,
}

impl ExternalArgs {
    /// Returns the actions that open the sockets; none unless asked for.
    pub fn actions(&self) -> Vec<Action> {
        if self.osc.is_none() && self.osc_to.is_none() {
            return Vec::new();
        }
        let written = |endpoint: &Option<Endpoint>| endpoint.as_ref().map(Endpoint::to_string).unwrap_or_default();
        let actions = [
            ExternalAction::SetListen(written(&self.osc)),
            ExternalAction::SetSendTo(written(&self.osc_to)),
            ExternalAction::Open,
        ];
        actions.map(Action::External).into()
    }
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    Endpoint::parse(text).ok_or_else(|| "give HOST:PORT, or a port alone for this machine, such as 9000".to_owned())
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
