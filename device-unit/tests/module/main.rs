//! The unit as its clients see it: over TCP, with a tiny model of random weights.
#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod batching;
#[cfg(all(feature = "bus", unix))]
mod bus;
mod common;
mod experiment;
mod hardship;
mod plain_client;
mod program;
mod real_model;
mod recorded;
mod refusals;
mod score;
mod tasks;
