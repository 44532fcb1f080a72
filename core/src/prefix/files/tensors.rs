//! Safetensors files that hold one table.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};

use safetensors::tensor::{Metadata, TensorView};
use safetensors::{Dtype, SafeTensors};

use super::FileError;
use super::table::{Stored, Table, rows_and_columns};
use crate::prefix::SoftPrefix;

/// The name of the tensor in which PEFT stores a soft prefix.
pub(super) const PROMPT_EMBEDDINGS: &str = "prompt_embeddings";

/// Our entry in the metadata: JSON that says how the rows were made.
const NOTE: &str = "softprefix";

/// Longest header that is read; the largest models have some hundred kilobytes.
const LONGEST_HEADER: u64 = 16 << 20;

/// One tensor read from a larger file.
pub(super) struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl Tensor {
    pub fn table(&self, file: &str) -> Result<Table<'_>, FileError> {
        let view =
            TensorView::new(self.dtype, self.shape.clone(), &self.data).map_err(|error| malformed(file, &error))?;
        table(file, &view)
    }
}

/// Reads the tensor [`PROMPT_EMBEDDINGS`] alone from a file of any size; `None` if there is none. `length` is the
/// file's, and no tensor may have more than `limit` bytes.
pub(super) fn read_named(
    file: &str,
    mut source: impl Read + Seek,
    length: u64,
    limit: u64,
) -> Result<Option<Tensor>, FileError> {
    let unreadable = |error: std::io::Error| super::unreadable(file, &error);
    let mut start = Vec::new();
    let longest = super::LFS_POINTER.len() as u64;
    source
        .by_ref()
        .take(longest)
        .read_to_end(&mut start)
        .map_err(unreadable)?;
    super::refuse_pointer(file, &start)?;
    let Some(header_length) = start.first_chunk() else {
        return Err(malformed(file, &"it is empty or cut"));
    };
    let header_length = u64::from_le_bytes(*header_length);
    source.seek(SeekFrom::Start(8)).map_err(unreadable)?;
    if header_length > LONGEST_HEADER.min(length) {
        return Err(malformed(file, &format!("its header claims {header_length} bytes")));
    }
    let mut header = Vec::new();
    source
        .by_ref()
        .take(header_length)
        .read_to_end(&mut header)
        .map_err(unreadable)?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| malformed(file, &error))?;
    let Some(info) = metadata.info(PROMPT_EMBEDDINGS) else {
        return Ok(None);
    };
    let (from, to) = info.data_offsets;
    let size = to.saturating_sub(from) as u64;
    if size > limit {
        return Err(FileError::TooLarge {
            file: file.to_owned(),
            bytes: size,
            limit,
        });
    }
    let at = (8 + header_length).saturating_add(from as u64);
    source.seek(SeekFrom::Start(at)).map_err(unreadable)?;
    let mut data = Vec::new();
    source.take(size).read_to_end(&mut data).map_err(unreadable)?;
    Ok(Some(Tensor {
        dtype: info.dtype,
        shape: info.shape.clone(),
        data,
    }))
}

fn malformed(file: &str, error: &dyn std::fmt::Display) -> FileError {
    FileError::Malformed {
        file: file.to_owned(),
        kind: "safetensors",
        detail: error.to_string(),
    }
}

/// Reads the tensor [`PROMPT_EMBEDDINGS`], or else the only tensor in the file.
pub(super) fn read<'a>(file: &str, bytes: &'a [u8]) -> Result<Table<'a>, FileError> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| malformed(file, &error))?;
    let mut tables = Vec::new();
    let mut others = Vec::new();
    for (name, tensor) in tensors.iter() {
        if name == PROMPT_EMBEDDINGS {
            // Other tables in the file do not make it ambiguous.
            return table(file, &tensor);
        }
        match *tensor.shape() {
            [_, _] | [1, _, _] => tables.push(tensor),
            _ => others.push(tensor),
        }
    }
    // A table beside other tensors is a layer of a model.
    match (&tables[..], &others[..]) {
        ([tensor], []) | ([], [tensor]) => table(file, tensor),
        _ => Err(FileError::NotOneTable {
            file: file.to_owned(),
            found: match (tables.len(), others.len()) {
                (0, 0) => "no tensors".to_owned(),
                (0, others) => format!("{others} tensors, none of two dimensions"),
                (1, others) => {
                    format!("1 tensor of two dimensions and {others} other, none of them named {PROMPT_EMBEDDINGS}")
                }
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
    let Some((rows, width)) = rows_and_columns(tensor.shape()) else {
        return Err(FileError::NotOneTable {
            file: file.to_owned(),
            found: format!("a tensor of the shape {:?}", tensor.shape()),
        });
    };
    Ok(Table {
        rows,
        width,
        one_dimension: tensor.shape().len() == 1,
        stored,
        big_endian: false,
        by_columns: false,
        bytes: tensor.data(),
    })
}

/// The entry [`NOTE`] of a file, where it has one.
pub(super) fn note(bytes: &[u8]) -> Option<String> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).ok()?;
    metadata.metadata().as_ref()?.get(NOTE).cloned()
}

/// The prefix as the tensor [`PROMPT_EMBEDDINGS`], in f32 (which is exact) or in bf16, with `note` as the entry [`NOTE`].
pub(super) fn write(file: &str, prefix: &SoftPrefix, stored: Stored, note: Option<&str>) -> Result<Vec<u8>, FileError> {
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
    // Loaders of the Hugging Face libraries require this entry.
    let mut notes = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    notes.extend(note.map(|note| (NOTE.to_owned(), note.to_owned())));
    safetensors::serialize([(PROMPT_EMBEDDINGS, view)], Some(notes)).map_err(unwritable)
}
