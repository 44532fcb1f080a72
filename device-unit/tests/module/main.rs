//! Tests of the unit through its clients' interface: over TCP, with a tiny model of random weights.
#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod batching;
#[cfg(unix)]
mod bench_script;
#[cfg(all(feature = "bus", unix))]
mod bus;
#[cfg(all(feature = "bus", unix))]
mod bus_captures;
#[cfg(all(feature = "bus", target_os = "linux"))]
mod bus_memory;
#[cfg(all(feature = "bus", unix))]
mod bus_recorded;
mod common;
mod drafts;
mod experiment;
mod foreign_clients;
mod hardship;
#[cfg(feature = "learn")]
mod learn;
#[cfg(all(feature = "bus", unix))]
mod llm_sys;
mod one_read;
mod plain_client;
mod program;
mod real_model;
mod recorded;
mod recorded_prefixes;
mod refusals;
mod score;
#[cfg(all(feature = "bus", unix))]
mod stock_llm_sys;
mod stress;
mod tasks;
mod under_test;
/// The files of the NPU engine, for the program behind llm-sys.
#[cfg(all(feature = "bus", feature = "npu", unix))]
#[allow(
    dead_code,
    unsafe_code,
    reason = "most of it serves the engine's own tests, which ask the stand-in for its log"
)]
#[path = "../axera/world.rs"]
mod world;
