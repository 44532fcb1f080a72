//! Soft-Prefix Workbench: the window, and the same work from a shell.
//!
//! It reaches a model only through the StackFlow protocol, also when the unit runs inside this process.
//!
//! # Floors
//! An import goes down, never up and never across; `tests/floors.rs` fails on the first that does not. From the top:
//! ```text
//! cli                  the shell
//! app                  the window's loop: events in, actions back, the system's dialogs
//! start                what the program begins with, and its exit codes
//! panels               the window
//! views                widgets that know no state
//! theme                colours, sizes, distances
//! text                 words of the window, in both languages
//! commands             one table for menu, keys and help
//! bridge | workbench   the worker that awaits | the state and the only place that changes it
//! messages             what the window asks of the worker, and what the worker reports
//! figure               a drawing as a file
//! fonts                the typefaces of window and figures
//! session              a module in use, also the one inside this process
//! doctor               checks and remedies over ssh
//! recording            a session as lines, and as it is played
//! errors               what went wrong: a sentence and a remedy, in both languages
//! model                plain values that the parts share: forms, module, runs, settings
//! places, log, version where things are kept; diagnostics; what was built
//! ```

pub mod app;
pub mod bridge;
pub mod cli;
pub mod commands;
pub mod doctor;
pub mod errors;
pub mod figure;
pub mod fonts;
pub mod log;
pub mod messages;
pub mod model;
pub mod panels;
pub mod places;
pub mod recording;
pub mod session;
pub mod start;
pub mod text;
pub mod theme;
pub mod version;
pub mod views;
pub mod workbench;
