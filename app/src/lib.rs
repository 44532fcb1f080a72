//! Soft-Prefix Workbench: the window, and the command line.
//!
//! A model is reached only through the StackFlow protocol, even when the unit runs inside this process.
//!
//! # Layers
//! A module may only use modules below it; `tests/floors.rs` checks this. From the top:
//! ```text
//! cli                  the command line
//! app                  the window's loop: events in, actions back, the system's dialogs
//! start                what the program starts with, and its exit codes
//! panels               the content of the window
//! views                widgets without access to the state
//! theme                colours, sizes, distances
//! text                 texts of the window, in both languages
//! commands             one table for menu, keys and help
//! bridge | workbench   the worker thread | the state and the only place that changes it
//! messages             requests to the worker, and its events
//! figure               a drawing as a file
//! fonts                the fonts of window and figures
//! session              a connected module, also the one inside this process
//! doctor               checks and remedies over ssh
//! recording            recorded sessions and their playback
//! settings_file        the file of the window's settings
//! errors               errors as a sentence and a remedy, in both languages
//! model                plain values that the parts share: forms, module, runs, settings
//! places, log, version file locations; diagnostics; version of the build
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
pub mod settings_file;
pub mod start;
pub mod text;
pub mod theme;
pub mod version;
pub mod views;
pub mod workbench;
