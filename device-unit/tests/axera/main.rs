//! The NPU engine with the stand-in runtime: its calls, their order, and the release of resources.
#![cfg(all(feature = "npu", feature = "cpu"))] // The world is made from a GGUF file.
#![allow(unsafe_code)] // Calls into the stand-in's own test functions.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail the test.

mod asking;
mod feeding;
mod libraries;
mod loading;
mod running;
mod world;
