//! Safetensors files that hold one table.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo, TensorView};

use super::FileError;
use super::table::{Stored, Table, rows_and_columns};
use crate::json;
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
    note: Option<String>,
}

impl Tensor {
    /// The tensor as a table, with the file's [`NOTE`].
    pub fn table(&self, file: &str) -> Result<(Table<'_>, Option<String>), FileError> {
        let view =
            TensorView::new(self.dtype, self.shape.clone(), &self.data).map_err(|error| malformed(file, &error))?;
        Ok((table(file, &view)?, self.note.clone()))
    }
}

/// Reads the tensor [`PROMPT_EMBEDDINGS`] alone from a file of any size. `length` is the file's, and the tensor may have at most `limit`
/// bytes.
pub(super) fn read_named(
    file: &str,
    mut source: impl Read + Seek,
    length: u64,
    limit: u64,
) -> Result<Tensor, FileError> {
    let unreadable = |error: std::io::Error| super::unreadable(file, &error);
    let mut start = Vec::new();
    let longest = super::LFS_POINTER.len() as u64;
    source
        .by_ref()
        .take(longest)
        .read_to_end(&mut start)
        .map_err(unreadable)?;
    super::refuse_pointer(file, &start)?;
    let header_length = header_length(file, &start, length)?;
    source.seek(SeekFrom::Start(8)).map_err(unreadable)?;
    let mut header = Vec::new();
    source
        .by_ref()
        .take(header_length)
        .read_to_end(&mut header)
        .map_err(unreadable)?;
    let header = parse(file, &header)?;
    let Some(info) = header.info(PROMPT_EMBEDDINGS) else {
        let mut names: Vec<String> = header.tensors().into_keys().collect();
        names.sort_unstable();
        let names: String = names.join(", ").chars().take(80).collect();
        return Err(FileError::NotOneTable {
            file: file.to_owned(),
            found: format!("no tensor named {PROMPT_EMBEDDINGS}, only {names:?}"),
        });
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
    Ok(Tensor {
        dtype: info.dtype,
        shape: info.shape.clone(),
        data,
        note: note(&header),
    })
}

/// The length of the header of a file of `length` bytes, by its first bytes.
fn header_length(file: &str, start: &[u8], length: u64) -> Result<u64, FileError> {
    let Some(claimed) = start.first_chunk() else {
        return Err(malformed(file, &"it is empty or cut"));
    };
    let claimed = u64::from_le_bytes(*claimed);
    if claimed > LONGEST_HEADER.min(length.saturating_sub(8)) {
        return Err(malformed(file, &format!("its header claims {claimed} bytes")));
    }
    Ok(claimed)
}

/// Reads a header. Python writes unpaired surrogates in names and notes, which JSON allows.
fn parse(file: &str, header: &[u8]) -> Result<Metadata, FileError> {
    let read = json::read(header).map_err(|error| malformed(file, &error))?;
    Ok(read.value)
}

/// The entry [`NOTE`] of a header, where it has one.
fn note(header: &Metadata) -> Option<String> {
    header.metadata().as_ref()?.get(NOTE).cloned()
}

fn malformed(file: &str, error: &dyn std::fmt::Display) -> FileError {
    FileError::Malformed {
        file: file.to_owned(),
        kind: "safetensors",
        detail: error.to_string(),
    }
}

/// Reads the tensor [`PROMPT_EMBEDDINGS`], or else the only tensor in the file, and the file's [`NOTE`].
pub(super) fn read<'a>(file: &str, bytes: &'a [u8]) -> Result<(Table<'a>, Option<String>), FileError> {
    let cut = || malformed(file, &"it is cut");
    let length = header_length(file, bytes, bytes.len() as u64)? as usize;
    let rest = bytes.get(8..).unwrap_or_default();
    let (header, data) = rest.split_at_checked(length).ok_or_else(cut)?;
    let header = parse(file, header)?;
    if header.data_len() != data.len() {
        let (stated, found) = (header.data_len(), data.len());
        return Err(malformed(
            file,
            &format!("its tensors have {stated} bytes, and {found} are there"),
        ));
    }
    // Other tables in the file do not make it ambiguous.
    let tensor = match header.info(PROMPT_EMBEDDINGS) {
        Some(named) => named,
        None => only(file, &header)?,
    };
    let (from, to) = tensor.data_offsets;
    let bytes = data.get(from..to).ok_or_else(cut)?;
    let view = TensorView::new(tensor.dtype, tensor.shape.clone(), bytes).map_err(|error| malformed(file, &error))?;
    Ok((table(file, &view)?, note(&header)))
}

/// The only tensor of a file.
fn only<'h>(file: &str, header: &'h Metadata) -> Result<&'h TensorInfo, FileError> {
    let is_table = |tensor: &&TensorInfo| matches!(tensor.shape[..], [_, _] | [1, _, _]);
    let (tables, others): (Vec<_>, Vec<_>) = header.tensors().into_values().partition(is_table);
    // A table beside other tensors is a layer of a model.
    match (&tables[..], &others[..]) {
        ([tensor], []) | ([], [tensor]) => Ok(tensor),
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

/// The prefix as the tensor [`PROMPT_EMBEDDINGS`], in bf16 for [`Stored::Bf16`] and in f32 (which is exact, too) for every other type, with
/// `note` as the entry [`NOTE`].
pub(super) fn write(file: &str, prefix: &SoftPrefix, stored: Stored, note: Option<&str>) -> Result<Vec<u8>, FileError> {
    let unwritable = |error: safetensors::SafeTensorError| FileError::Unwritable {
        file: file.to_owned(),
        detail: error.to_string(),
    };
    let (dtype, bytes) = match stored {
        Stored::Bf16 => (Dtype::BF16, prefix.to_le_bytes()),
        Stored::F16 | Stored::F32 | Stored::F64 => {
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
