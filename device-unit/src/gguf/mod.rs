//! The file format GGUF: metadata, tensors and their numbers.
//!
//! | file | does |
//! |---|---|
//! | `parse` | reads a header |
//! | `value`, `kind` | the types of metadata and of tensors |
//! | `split` | models in several files |
//! | `file` | an open model |
//! | `keys` | which keys are computed, meaningless or refused |
//! | `dequant` | turns stored blocks into numbers |

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
