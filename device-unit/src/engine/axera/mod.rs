//! The NPU engine: Qwen-style models compiled for Axera's AX630C, run through the module's own runtime libraries.
//!
//! `abi` is the binary interface, `runtime` opens the libraries at run time, `memory` allocates device buffers, `axmodel` loads one
//! compiled file, and `llm` implements the [`Engine`](super::Engine): layers, KV cache, prefill and decode. `card` finds and reads a
//! model card. `models::axera` loads a module's models with them.
//!
//! The interface is described from the exported names of the libraries and from public board support trees; no vendor header is used.
//! Tests run against a stand-in runtime that computes; `softprefix-unit --self-test` checks the engine on a module.

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
