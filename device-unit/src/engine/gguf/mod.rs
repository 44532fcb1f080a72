//! The CPU engine: GGUF models with our own integer kernels. It knows files and arithmetic, not tasks or prefixes.

pub mod dequant;
pub mod file;
pub mod kernel;
pub mod threads;
