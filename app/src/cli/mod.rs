//! The command line: `compare`, `sweep`, `learn`, `search`, `report`, `export`, `models`, `module` and others. Without a
//! subcommand the window opens.

mod args;
mod bar;
mod compare;
mod demo;
mod doctor;
mod export;
mod learn;
mod models;
mod module;
mod play;
mod prefix;
mod report;
mod running;
mod search;
mod shell;
mod sweep;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::start::WindowArgs;

/// Tune a soft prefix by hand and see how the output moves away from the baseline.
#[derive(Debug, Parser)]
#[command(
    name = "softprefix",
    version = crate::version::VERSION.as_str(),
    about = "Soft-Prefix Workbench: tune a soft prefix by hand and see how the output moves away from the baseline.",
    after_help = "Without a subcommand the window opens.\n\nExit codes: 0 success; 2 wrong arguments; 3 the module, its model or the connection failed, also in a \
                  single case, `learn` did not reach its only target, or `doctor` found something broken; 4 file error; 130 interrupted.",
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub window: WindowArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a baseline and a list of prefixes, and print how far each output moved.
    Compare(Box<compare::CompareArgs>),
    /// Run a sweep of lengths and magnitudes, saved case by case, and write its report.
    Sweep(Box<sweep::SweepArgs>),
    /// Learn a prefix that makes the model give a wanted answer, and write it to a file.
    Learn(Box<learn::LearnArgs>),
    /// Search for a prefix whose output comes closest to what is wanted; needs only text from the module.
    Search(Box<search::SearchArgs>),
    /// Control a prefix from other programs: JSON lines through a pipe, or OSC.
    Play(Box<play::PlayArgs>),
    /// Print every measure of a results file (`compare_results.json`), an exported experiment or a journal.
    Report(report::ReportArgs),
    /// Export a saved experiment as HTML, CSV, JSON, a results file or for LLM Comparator.
    Export(export::ExportArgs),
    /// List the models for the embedded module, or download one.
    Models(models::ModelsArgs),
    /// List the modules on the local network, or show one: its version, models, tasks and unit.
    Module(module::ModuleArgs),
    /// Play a recorded session in the window; by default the built-in one. Needs neither a module nor a model.
    Demo(demo::DemoArgs),
    /// Check a module over ssh and port 10001, explain problems, and fix them.
    Doctor(doctor::DoctorArgs),
    /// Install softprefix-unit on a module in place of the stock unit.
    Install(doctor::InstallArgs),
    /// Uninstall softprefix-unit, so that the stock unit runs again.
    Uninstall(doctor::UninstallArgs),
}

/// Runs a subcommand.
pub fn run(command: Command) -> ExitCode {
    let outcome = match command {
        Command::Demo(args) => return demo::run(&args),
        Command::Compare(args) => compare::run(*args),
        Command::Sweep(args) => sweep::run(*args),
        Command::Learn(args) => learn::run(*args),
        Command::Search(args) => search::run(*args),
        Command::Play(args) => play::run(*args),
        Command::Report(args) => report::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Models(args) => models::run(args),
        Command::Module(args) => module::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Install(args) => doctor::install(&args),
        Command::Uninstall(args) => doctor::uninstall(&args),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            shell::eprint(failure.message);
            failure.exit.into()
        }
    }
}
