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
//! commands             one table for the keys and the help sheet
//! bridge | workbench   the worker thread | the state and the only place that changes it
//! messages             requests to the worker, and its events
//! figure               a drawing as a file
//! fonts                the fonts of window and figures
//! session              a connected module, also the one inside this process
//! doctor               checks and remedies over ssh
//! recording            recorded sessions and their playback
//! settings_file        the file of the window's settings
//! export               experiments as the text of a file
//! errors               errors as a sentence and a remedy, in both languages
//! model                plain values that the parts share: forms, module, runs, settings
//! places, log, version file locations; diagnostics; version of the build
//! ```
//!
//! # From the slider to the plot
//! A magnitude that the user sets passes through these files, in this order:
//! 1. `views/magnitude.rs` draws the slider and reads its input with `views/slider.rs`; `panels/prefix_rail.rs` turns a move into
//!    `Action::SetMagnitude` (a step into `ScaleMagnitude`, a double click into `ResetMagnitude`), which `app.rs` applies.
//! 2. `workbench/apply.rs` puts it into the prefix form. A magnitude that was run before shows its text at once (`workbench/curve.rs`)
//!    and continues with step 7; else, if *Live* is on, `workbench/running.rs` queues `Request::Infer`, and one for the baseline if there
//!    is none; otherwise Run does.
//! 3. `app.rs` hands the requests over to `bridge/worker.rs`.
//! 4. `bridge/inference.rs` runs the case through the [`session`] (core's `src/experiment/session/case.rs` has the prefix built, sends
//!    it and makes the record), and saves the record (`bridge/tuning.rs`) before it reports it.
//! 5. `app.rs` hands the events to `workbench/absorb.rs`, which passes them on to `workbench/running.rs`: it shows the text as it
//!    streams, adds the record, and requests its measures against the baseline through `workbench/sessions.rs`.
//! 6. That request goes the way of step 3 to `bridge/measure.rs`, which measures the text; the result comes back through
//!    `workbench/absorb.rs` and `workbench/sessions.rs` to `workbench/tuning.rs`, which makes it a point.
//! 7. `panels/plot_card.rs` takes the values of the chosen measure from the points of `workbench/tuning.rs`, and marks the current
//!    magnitude, also before it is run; `views/plot.rs` draws them.

pub mod app;
pub mod bridge;
pub mod cli;
pub mod commands;
pub mod doctor;
pub mod errors;
pub mod export;
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
