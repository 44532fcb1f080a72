//! Soft-Prefix Workbench: the window, and the same work from a shell.
//!
//! It reaches a model only through the StackFlow protocol, also when the unit runs inside this process.

pub mod app;
pub mod bridge;
pub mod cli;
pub mod commands;
pub mod doctor;
pub mod embedded;
pub mod figure;
pub mod fonts;
pub mod log;
pub mod panels;
pub mod places;
pub mod recording;
pub mod results;
pub mod session;
pub mod settings;
pub mod text;
pub mod theme;
pub mod views;
pub mod workbench;
