//! The program: opens the window, or runs a subcommand.

use std::process::ExitCode;

use clap::Parser as _;
use softprefix::cli::{self, Cli};
use softprefix::start::Start;

fn main() -> ExitCode {
    let cli = Cli::parse();
    softprefix::log::start();
    match cli.command {
        Some(command) => cli::run(command),
        None => softprefix::app::run(cli.window, Start::Module),
    }
}
