//! GGUF, the file format: what a file's metadata says, where its tensors lie, and what numbers their bytes stand for.
//!
//! It knows no architecture, no engine and no tokenizer.

mod dequant;
mod file;

pub use dequant::{Blocks, blocks, dequantise, minima, to_i8_blocks};
pub use file::{GgufFile, MetaArray, MetaValue, StringTable, TensorInfo, TensorKind};
