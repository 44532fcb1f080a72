//! GGUF, the file format: what a file's metadata says, where its tensors lie, and what numbers their bytes stand for.
//!
//! | file | does |
//! |---|---|
//! | `parse` | reads a header |
//! | `value`, `kind` | the types of metadata and of tensors |
//! | `split` | models in several files |
//! | `file` | an open model |
//! | `keys` | which keys are computed, meaningless or refused |
//! | `dequant` | turns stored blocks into numbers |
//!
//! It knows no architecture, no engine and no tokenizer.

mod dequant;
mod file;
mod keys;
mod kind;
mod parse;
mod split;
mod value;

pub use dequant::{Blocks, blocks, dequantise, minima, to_i8_blocks};
pub use file::{GgufFile, TensorInfo};
pub use keys::{KeyTable, KeyUse, check_keys, is_off};
pub use kind::TensorKind;
pub use split::name_parts;
pub use value::{MetaArray, MetaValue, StringTable};
