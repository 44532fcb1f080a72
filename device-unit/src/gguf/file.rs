//! An open GGUF model: its metadata, and its tensors' bytes on demand. A model in several files is one model.
//!
//! Files are read and not mapped, so that changing or truncating one while it is in use is an error and not a crash.

use std::collections::HashMap;
use std::io::{self, BufReader};
use std::ops::Range;
use std::path::Path;

use softprefix_core::bilingual;
use softprefix_core::language::Bilingual;

use crate::errors::LoadError;
use crate::stored_file::StoredFile;

use super::kind::TensorKind;
use super::parse::{Fault, parse};
use super::split::Split;
use super::value::{MetaValue, StringTable};

/// An open model: metadata in memory, tensors in the files.
pub struct GgufFile {
    parts: Vec<StoredFile>,
    metadata: HashMap<String, MetaValue>,
    tensors: HashMap<String, TensorInfo>,
}

/// Type, shape and position of a tensor. Dimensions are ordered from the innermost outwards, as in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    /// Name in the file, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// Type of its values.
    pub kind: TensorKind,
    /// Sizes of the dimensions; the first is the length of a row.
    pub dimensions: Vec<usize>,
    /// Index of the file that holds it.
    part: usize,
    /// Byte range in that file.
    range: Range<u64>,
}

impl GgufFile {
    /// Opens and checks the model at `path`, with all its files if it is the first of several.
    ///
    /// # Errors
    /// [`LoadError::Unreadable`] where a file cannot be read; [`LoadError::BadFile`] where a file is empty, not a GGUF,
    /// truncated or inconsistent; [`LoadError::Unsupported`] for tensors of a type this program cannot read;
    /// [`LoadError::Incomplete`] where other files of the model are missing, or `path` is not the first of them.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let mut model = Self {
            parts: Vec::new(),
            metadata: HashMap::new(),
            tensors: HashMap::new(),
        };
        model.metadata = model.add(path)?;
        if let Some(split) = Split::of(path, &model.metadata)? {
            for (number, path) in split.others.iter().enumerate() {
                let metadata = model.add(path)?;
                split.check(path, number + 1, &metadata, &model.metadata)?;
            }
            split.check_tensors(path, model.tensors.len())?;
        }
        Ok(model)
    }

    /// Opens one file of the model, adds its tensors, and returns its metadata.
    fn add(&mut self, path: &Path) -> Result<HashMap<String, MetaValue>, LoadError> {
        let bad = |reason: Bilingual| LoadError::bad_file(path, reason);
        let file = StoredFile::open(path)?;
        if file.len() == 0 {
            return Err(bad(bilingual!("the file is empty", "ファイルが空です")));
        }
        let header =
            parse(BufReader::with_capacity(1 << 16, file.file()), file.len()).map_err(|fault| match fault {
                Fault::Damaged(reason) => bad(reason),
                Fault::Unsupported(reason) => LoadError::Unsupported {
                    path: path.to_owned(),
                    reason,
                },
                Fault::Io(source) => LoadError::Unreadable {
                    path: path.to_owned(),
                    source,
                },
            })?;
        let part = self.parts.len();
        self.parts.push(file);
        for tensor in header.tensors {
            let info = TensorInfo {
                name: tensor.name.clone(),
                kind: tensor.kind,
                dimensions: tensor.dimensions,
                part,
                range: tensor.range,
            };
            if let Some(other) = self.tensors.insert(tensor.name, info) {
                let name = other.name;
                return Err(bad(bilingual!(
                    "it has the tensor {name}, which another file of the model has too",
                    "テンソル {name} が、モデルの別のファイルにもあります"
                )));
            }
        }
        Ok(header.metadata)
    }

    /// The model's first file.
    pub fn path(&self) -> &Path {
        self.parts.first().map_or(Path::new(""), StoredFile::path)
    }

    /// Bytes of all its files together.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(StoredFile::len).sum()
    }

    /// Number of its files.
    pub fn part_count(&self) -> usize {
        self.parts.len()
    }

    /// A metadata value by its full key (`general.architecture`).
    pub fn metadata(&self, key: &str) -> Option<&MetaValue> {
        self.metadata.get(key)
    }

    /// The keys of the metadata, in alphabetical order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let mut keys: Vec<&str> = self.metadata.keys().map(String::as_str).collect();
        keys.sort_unstable();
        keys.into_iter()
    }

    /// A tensor by its name (`blk.0.attn_q.weight`).
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// All tensors, in no particular order.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.tensors.values()
    }

    /// Reads the stored bytes of a tensor of this model, from its byte `from` on, until `out` is full.
    ///
    /// # Errors
    /// The system's error; also where the file was changed since it was opened, or the tensor has fewer bytes.
    pub fn read_into(&self, tensor: &TensorInfo, from: u64, out: &mut [u8]) -> io::Result<()> {
        let beyond = || io::Error::new(io::ErrorKind::UnexpectedEof, "the tensor has fewer bytes");
        let part = self.parts.get(tensor.part).ok_or_else(beyond)?;
        let start = tensor.range.start.checked_add(from).ok_or_else(beyond)?;
        if start
            .checked_add(out.len() as u64)
            .is_none_or(|end| end > tensor.range.end)
        {
            return Err(beyond());
        }
        part.read_at(out, start)
    }

    /// All stored bytes of a tensor.
    ///
    /// # Errors
    /// As [`GgufFile::read_into`].
    pub fn read(&self, tensor: &TensorInfo) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; tensor.bytes()];
        self.read_into(tensor, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// The error for a file of this model that can no longer be read.
    pub fn unreadable(&self, tensor: &TensorInfo, source: io::Error) -> LoadError {
        let part = self.parts.get(tensor.part).or(self.parts.first());
        LoadError::Unreadable {
            path: part.map(|part| part.path().to_owned()).unwrap_or_default(),
            source,
        }
    }

    /// The value of `key`, if it has the requested type or converts to it without loss.
    pub fn str(&self, key: &str) -> Option<&str> {
        self.metadata(key)?.as_str()
    }
    /// Any integer that fits.
    pub fn u32(&self, key: &str) -> Option<u32> {
        self.metadata(key)?.as_u32()
    }
    /// A float; an f64 is rounded.
    pub fn f32(&self, key: &str) -> Option<f32> {
        self.metadata(key)?.as_f32()
    }
    /// A boolean.
    pub fn bool(&self, key: &str) -> Option<bool> {
        self.metadata(key)?.as_bool()
    }
    /// An array of strings.
    pub fn strings(&self, key: &str) -> Option<&StringTable> {
        self.metadata(key)?.as_strings()
    }
    /// An array of integers, if all of them fit.
    pub fn u32s(&self, key: &str) -> Option<Vec<u32>> {
        self.metadata(key)?.as_u32s()
    }
}

impl TensorInfo {
    /// Values in one row (the innermost dimension).
    pub fn columns(&self) -> usize {
        self.dimensions.first().copied().unwrap_or(1)
    }

    /// All dimensions but the innermost, multiplied.
    pub fn rows(&self) -> usize {
        self.dimensions.iter().skip(1).product()
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.kind.bytes_of(self.columns())
    }

    /// Bytes of the whole tensor.
    pub fn bytes(&self) -> usize {
        (self.range.end - self.range.start) as usize
    }
}
