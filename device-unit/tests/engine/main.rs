//! Tests of the CPU engine: the same bits in any batch, close to independent references, robust against damaged files.
//!
//! SmolLM2 is always tested; Qwen if `SOFTPREFIX_TEST_QWEN` is 1.
#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod accuracy;
mod arguments;
mod digest;
mod drafts;
mod exactness;
#[cfg(feature = "learn")]
mod gradient;
mod harness;
mod input;
#[path = "../../src/bin/softprefix-bench/reference.rs"]
mod reference;
