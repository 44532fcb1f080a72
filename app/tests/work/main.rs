//! The app's work without its window: the bridge against real units over TCP, and the shell's commands through the program.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod arguments;
mod bridge;
mod discovery;
mod exhibition;
mod external;
mod find;
mod first_start;
mod hardship;
mod material;
mod recording;
mod scoring;
mod second_module;
mod sessions;
mod shell;
mod shell_learn;
mod shell_material;
mod shell_options;
mod shell_play;
mod shell_search;
mod support;
mod sweep;
