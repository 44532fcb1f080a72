//! Safetensors with one table in it. It knows no adapter.

use std::collections::HashMap;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::FileError;
use super::table::{Stored, Table};
use crate::prefix::SoftPrefix;

/// The key under which PEFT keeps a soft prefix.
pub(super) const PROMPT_EMBEDDINGS: &str = "prompt_embeddings";

/// Reads the table under PEFT's key, or else the only table there is.
pub(super) fn read<'a>(file: &str, bytes: &'a [u8]) -> Result<Table<'a>, FileError> {
    let malformed = |detail: String| FileError::Malformed {
        file: file.to_owned(),
        kind: "safetensors",
        detail,
    };
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| malformed(error.to_string()))?;
    let mut tables = Vec::new();
    let mut others = Vec::new();
    for (name, tensor) in tensors.iter() {
        if name == PROMPT_EMBEDDINGS && tensor.shape().len() == 2 {
            return table(file, &tensor);
        }
        if tensor.shape().len() == 2 {
            tables.push((name, tensor));
        } else {
            others.push(name);
        }
    }
    match &tables[..] {
        [(_, tensor)] => table(file, tensor),
        _ => Err(FileError::NotOneTable {
            file: file.to_owned(),
            found: match (tables.len(), others.len()) {
                (0, 0) => "no tensors".to_owned(),
                (0, others) => format!("{others} tensors, none of two dimensions"),
                (tables, _) => format!("{tables} tensors of two dimensions, none of them named {PROMPT_EMBEDDINGS}"),
            },
        }),
    }
}

fn table<'a>(file: &str, tensor: &TensorView<'a>) -> Result<Table<'a>, FileError> {
    let stored = match tensor.dtype() {
        Dtype::F32 => Stored::F32,
        Dtype::F16 => Stored::F16,
        Dtype::BF16 => Stored::Bf16,
        Dtype::F64 => Stored::F64,
        other => {
            return Err(FileError::WrongType {
                file: file.to_owned(),
                found: format!("{other:?}"),
            });
        }
    };
    let &[rows, width] = tensor.shape() else {
        return Err(FileError::NotOneTable {
            file: file.to_owned(),
            found: format!("a tensor of {} dimensions", tensor.shape().len()),
        });
    };
    Ok(Table {
        rows,
        width,
        stored,
        big_endian: false,
        by_columns: false,
        bytes: tensor.data(),
    })
}

/// The prefix under PEFT's key, as f32 (every bf16 is one) or as bf16.
pub(super) fn write(file: &str, prefix: &SoftPrefix, stored: Stored) -> Result<Vec<u8>, FileError> {
    let unwritable = |error: safetensors::SafeTensorError| FileError::Unwritable {
        file: file.to_owned(),
        detail: error.to_string(),
    };
    let (dtype, bytes) = match stored {
        Stored::Bf16 => (Dtype::BF16, prefix.to_le_bytes()),
        _ => {
            let values = prefix.values().iter();
            (
                Dtype::F32,
                values.flat_map(|value| value.to_f32().to_le_bytes()).collect(),
            )
        }
    };
    let view = TensorView::new(dtype, vec![prefix.len(), prefix.hidden_size()], &bytes).map_err(unwritable)?;
    // Loaders of the Hugging Face libraries look for this note.
    let notes = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize([(PROMPT_EMBEDDINGS, view)], Some(notes)).map_err(unwritable)
}
