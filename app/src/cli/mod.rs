//! The same work from a shell: `compare`, `sweep`, `learn`, `report`, `export`, `models`, `module`. Without a subcommand the window opens.
//!
//! It knows terminals and exit codes; how a module is used is the session's business.

mod bar;
mod compare;
mod demo;
mod doctor;
mod export;
mod learn;
mod models;
mod module;
mod prefix;
mod report;
mod running;
mod shell;
mod sweep;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::start::WindowArgs;

/// Tune a soft prefix by hand and watch the output leave the baseline.
#[derive(Debug, Parser)]
#[command(
    name = "softprefix",
    version = crate::version::VERSION.as_str(),
    about = "Soft-Prefix Workbench: tune a soft prefix by hand and watch the output leave the baseline.",
    after_help = "Without a subcommand the window opens.\n\nExit codes: 0 success, 2 wrong arguments, 3 module or model error, 4 file error, \
                  130 interrupted.",
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
    /// Run a baseline and a row of prefixes, and save and print how far each output moved.
    Compare(Box<compare::CompareArgs>),
    /// Run a sweep of lengths and magnitudes, kept case by case in a journal, and write its report.
    Sweep(Box<sweep::SweepArgs>),
    /// Learn a prefix that makes the model give a wanted answer, and write it to a file.
    Learn(Box<learn::LearnArgs>),
    /// Print every measure of a saved results file (ours or an existing script's), an exported experiment or a journal.
    Report(report::ReportArgs),
    /// Write a saved experiment as a page, a table, JSON, an existing script's file or for LLM Comparator.
    Export(export::ExportArgs),
    /// List the models for the embedded module, or fetch one.
    Models(models::ModelsArgs),
    /// Say what a module is: version, models, tasks, and whether its unit is ours.
    Module(module::ModuleArgs),
    /// Play a recorded session in the window; without a file the one that is part of the program. Needs no module and no model.
    Demo(demo::DemoArgs),
    /// Look at a module over ssh and port 10001, say what is wrong, and mend it.
    Doctor(doctor::DoctorArgs),
    /// Put the injector unit on a module in place of the stock one.
    Install(doctor::InstallArgs),
    /// Give the stock unit back.
    Uninstall(doctor::UninstallArgs),
}

/// Runs a subcommand to its end.
pub fn run(command: Command) -> ExitCode {
    let outcome = match command {
        Command::Demo(args) => return demo::run(&args),
        Command::Compare(args) => compare::run(*args),
        Command::Sweep(args) => sweep::run(*args),
        Command::Learn(args) => learn::run(*args),
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
            eprintln!("softprefix: {}", failure.message);
            failure.exit.into()
        }
    }
}
