//! The NPU engine with the stand-in runtime: its calls, their order, and the release of resources.
#![cfg(all(feature = "npu", feature = "cpu"))] // The world is made from a GGUF file.
#![allow(unsafe_code)] // Calls into the stand-in's own test functions.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail the test.

mod asking;
#[allow(dead_code, reason = "the units of the other tests")]
#[path = "../module/common.rs"]
mod common;
mod feeding;
mod libraries;
mod loading;
mod running;
mod world;
