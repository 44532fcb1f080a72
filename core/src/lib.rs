//! What the workbench and the device unit agree on: soft prefixes and their injection, the StackFlow protocol, the client,
//! comparison of outputs, experiments and their records.
//!
//! This crate knows no user interface, no ZeroMQ, no engine and no model file.

#![warn(missing_docs)]

pub mod client;
pub mod compare;
pub mod experiment;
pub mod files;
mod json;
pub mod prefix;
pub mod protocol;
pub mod sent;
pub mod time;
