//! `softprefix report`: every measure of a saved file, without a module.

use std::path::PathBuf;

use clap::Args;
use softprefix_core::compare::{Report, ResultsFile};

use super::shell::{Failure, print};
use crate::start::Exit;

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The results file, ours or an existing comparison script's.
    #[arg(value_name = "RESULTS")]
    path: PathBuf,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    let file = ResultsFile::read(&args.path).map_err(|error| Failure {
        exit: Exit::File,
        message: format!("{}: {error}", args.path.display()),
    })?;
    let report = Report::from(&file);
    print(&if args.json { report.to_json() } else { report.to_table() });
    Ok(Exit::Success)
}
