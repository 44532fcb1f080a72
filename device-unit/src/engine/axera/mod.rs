//! The NPU engine: Qwen-style models compiled for Axera's AX630C, run through the module's own runtime libraries.
//!
//! `abi` (the binary interface) ← `runtime` (libraries, opened at run time) ← `memory` (device buffers) ← `axmodel`
//! (one compiled file) ← `llm` (layers, KV cache, prefill and decode: the [`Engine`](super::Engine)); `card` finds and
//! reads a model card. `models::axera` loads a module's models with them.
//!
//! The interface is described from what the libraries export and from public board support trees; no vendor header is
//! used. Tests run against a stand-in runtime that computes; `softprefix-unit --self-test` checks the engine on a
//! module.

mod abi;
mod axmodel;
mod card;
mod embeddings;
mod llm;
mod memory;
mod runtime;

pub use card::{HTTP_TOKENIZER, ModelFolders, ModelParameters};
pub use llm::AxeraEngine;
pub use runtime::{Runtime, RuntimeError, default_library_folders};
