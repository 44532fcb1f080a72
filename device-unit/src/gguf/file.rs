//! Reads a GGUF file: what its metadata says and where its tensors lie.
//!
//! Every length and offset is checked before it is followed, so that a truncated or damaged file ends in a sentence and
//! never in a panic or a huge allocation. It knows the container format (version 2 and 3, little endian), and neither
//! architectures nor arithmetic.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::errors::LoadError;

/// Where tensor data is aligned to if the file does not say otherwise.
const DEFAULT_ALIGNMENT: u64 = 32;
/// Arrays of arrays are legal; nobody writes deep ones, and a damaged file must not exhaust the stack.
const MAX_NESTING: usize = 4;
const MAX_DIMENSIONS: u32 = 4;

/// An open GGUF file: metadata in memory, tensor data mapped.
///
/// The mapping follows the file: it must not be shortened or rewritten in place while it is in use (whoever fetches
/// models writes them under another name and renames).
pub struct GgufFile {
    path: PathBuf,
    map: Mmap,
    metadata: HashMap<String, MetaValue>,
    tensors: HashMap<String, TensorInfo>,
}

/// One value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum MetaValue {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Array(MetaArray),
}

/// An array of the metadata, by element type.
#[derive(Debug, Clone, PartialEq)]
pub enum MetaArray {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    Strings(StringTable),
    Nested(Vec<MetaArray>),
}

/// Many strings in one piece of memory: vocabularies have 150,000 of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StringTable {
    text: String,
    ends: Vec<usize>,
}

/// Where a tensor lies and what it is. Dimensions run from the innermost outwards, as in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    pub name: String,
    pub kind: TensorKind,
    pub dimensions: Vec<usize>,
    /// Byte range in the file.
    range: Range<usize>,
}

/// How a tensor's values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TensorKind {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

impl GgufFile {
    /// Opens and checks the file at `path`.
    ///
    /// # Errors
    /// [`LoadError::Unreadable`] where the system refuses, [`LoadError::BadFile`] where the file is empty, not a GGUF,
    /// truncated, inconsistent, or has tensors of a type this program cannot read.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let unreadable = |source| LoadError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let bad = |reason: String| LoadError::BadFile {
            path: path.to_owned(),
            reason,
        };
        let file = File::open(path).map_err(unreadable)?;
        let about = file.metadata().map_err(unreadable)?;
        if !about.is_file() {
            return Err(bad("it is not a file".into()));
        }
        if about.len() == 0 {
            return Err(bad("the file is empty".into()));
        }
        // SAFETY: the mapping is read-only and private to this value. Its one condition, that nobody shortens or rewrites
        // the file meanwhile, is the documented condition of this type.
        #[expect(unsafe_code, reason = "mapping a file is the only way not to hold a model twice")]
        let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
        let (metadata, tensors) = parse(&map).map_err(bad)?;
        Ok(Self {
            path: path.to_owned(),
            map,
            metadata,
            tensors,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A metadata value by its full key (`general.architecture`).
    pub fn metadata(&self, key: &str) -> Option<&MetaValue> {
        self.metadata.get(key)
    }

    /// A tensor by its name (`blk.0.attn_q.weight`).
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    pub fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.tensors.values()
    }

    /// The stored bytes of a tensor of this file.
    pub fn data(&self, tensor: &TensorInfo) -> &[u8] {
        self.map.get(tensor.range.clone()).unwrap_or_default()
    }

    /// Tells the system that a tensor's pages are not needed for now. They come back from the file when read.
    pub fn release(&self, tensor: &TensorInfo) {
        #[cfg(unix)]
        {
            // SAFETY: the mapping is backed by the file and never written, so dropped pages come back unchanged.
            // Failure costs memory only, and is ignored.
            #[expect(unsafe_code, reason = "advice about a read-only, file-backed mapping")]
            let _ = unsafe {
                self.map.unchecked_advise_range(
                    memmap2::UncheckedAdvice::DontNeed,
                    tensor.range.start,
                    tensor.range.len(),
                )
            };
        }
        #[cfg(not(unix))]
        let _ = tensor;
    }

    /// Shorthands: the value of `key` where it has (or converts without loss to) the asked type.
    pub fn str(&self, key: &str) -> Option<&str> {
        self.metadata(key)?.as_str()
    }
    pub fn u32(&self, key: &str) -> Option<u32> {
        self.metadata(key)?.as_u32()
    }
    pub fn f32(&self, key: &str) -> Option<f32> {
        self.metadata(key)?.as_f32()
    }
    pub fn bool(&self, key: &str) -> Option<bool> {
        self.metadata(key)?.as_bool()
    }
    pub fn strings(&self, key: &str) -> Option<&StringTable> {
        self.metadata(key)?.as_strings()
    }
    pub fn u32s(&self, key: &str) -> Option<Vec<u32>> {
        self.metadata(key)?.as_u32s()
    }
    pub fn f32s(&self, key: &str) -> Option<Vec<f32>> {
        self.metadata(key)?.as_f32s()
    }
}

impl MetaValue {
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Any integer that fits into a u32.
    pub fn as_u32(&self) -> Option<u32> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::U32(v) => Some(v),
            Self::U64(v) => v.try_into().ok(),
            Self::I8(v) => v.try_into().ok(),
            Self::I16(v) => v.try_into().ok(),
            Self::I32(v) => v.try_into().ok(),
            Self::I64(v) => v.try_into().ok(),
            _ => None,
        }
    }

    /// A float; an f64 is rounded.
    pub fn as_f32(&self) -> Option<f32> {
        match *self {
            Self::F32(v) => Some(v),
            Self::F64(v) => Some(v as f32),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(v) => Some(v),
            _ => None,
        }
    }

    pub fn as_strings(&self) -> Option<&StringTable> {
        match self {
            Self::Array(MetaArray::Strings(table)) => Some(table),
            _ => None,
        }
    }

    /// An array of integers, all of which fit into a u32.
    pub fn as_u32s(&self) -> Option<Vec<u32>> {
        fn all<T: Copy + TryInto<u32>>(values: &[T]) -> Option<Vec<u32>> {
            values.iter().map(|&v| v.try_into().ok()).collect()
        }
        match self {
            Self::Array(MetaArray::U8(v)) => all(v),
            Self::Array(MetaArray::I8(v)) => all(v),
            Self::Array(MetaArray::U16(v)) => all(v),
            Self::Array(MetaArray::I16(v)) => all(v),
            Self::Array(MetaArray::U32(v)) => Some(v.clone()),
            Self::Array(MetaArray::I32(v)) => all(v),
            Self::Array(MetaArray::U64(v)) => all(v),
            Self::Array(MetaArray::I64(v)) => all(v),
            _ => None,
        }
    }

    pub fn as_f32s(&self) -> Option<Vec<f32>> {
        match self {
            Self::Array(MetaArray::F32(v)) => Some(v.clone()),
            Self::Array(MetaArray::F64(v)) => Some(v.iter().map(|&v| v as f32).collect()),
            _ => None,
        }
    }
}

impl StringTable {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { *self.ends.get(index - 1)? };
        self.text.get(start..end)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
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
}

impl TensorKind {
    /// The type by the number that stands for it in the file.
    pub(crate) fn from_id(id: u32) -> Option<Self> {
        Some(match id {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            10 => Self::Q2K,
            11 => Self::Q3K,
            12 => Self::Q4K,
            13 => Self::Q5K,
            14 => Self::Q6K,
            30 => Self::Bf16,
            _ => return None,
        })
    }

    /// Its name in ggml.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// Values in one block.
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Bytes of `values` values.
    ///
    /// `values` is a multiple of [`Self::block_len`]; the reader refuses tensors whose rows are not.
    pub const fn bytes_of(self, values: usize) -> usize {
        values / self.block_len() * self.block_bytes()
    }
}

type Parsed = (HashMap<String, MetaValue>, HashMap<String, TensorInfo>);

/// The whole header. Errors are the reason only; the caller knows the file's name.
fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    if bytes.get(..4) != Some(b"GGUF") {
        return Err("it is not a GGUF file (it does not begin with GGUF)".into());
    }
    let mut cursor = Cursor { bytes, at: 4 };
    let version = cursor.u32()?;
    if version.swap_bytes() == 2 || version.swap_bytes() == 3 {
        return Err("it is a big-endian GGUF; only little-endian ones are read".into());
    }
    if version != 2 && version != 3 {
        return Err(format!("it is a GGUF of version {version}; versions 2 and 3 are read"));
    }
    let tensor_count = cursor.u64()?;
    let value_count = cursor.u64()?;

    let mut metadata = HashMap::new();
    for _ in 0..value_count {
        let key = cursor.string()?.into_owned();
        let kind = cursor.u32()?;
        let value = cursor.value(kind)?;
        if metadata.contains_key(&key) {
            return Err(format!("its metadata names {key:?} twice"));
        }
        metadata.insert(key, value);
    }
    let alignment = match metadata.get("general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some(value) => match value.as_u32() {
            Some(alignment) if alignment.is_power_of_two() => u64::from(alignment),
            _ => return Err("its general.alignment is not a power of two".into()),
        },
    };

    let mut headers = Vec::new();
    for _ in 0..tensor_count {
        headers.push(cursor.tensor()?);
    }
    let data_start = (cursor.at as u64).next_multiple_of(alignment);

    let mut tensors = HashMap::with_capacity(headers.len());
    for header in headers {
        let TensorHeader {
            name,
            kind,
            dimensions,
            offset,
        } = header;
        let range = tensor_range(&name, kind, &dimensions, offset, alignment, data_start, bytes.len())?;
        if tensors.contains_key(&name) {
            return Err(format!("it has two tensors named {name:?}"));
        }
        tensors.insert(
            name.clone(),
            TensorInfo {
                name,
                kind,
                dimensions,
                range,
            },
        );
    }
    Ok((metadata, tensors))
}

struct TensorHeader {
    name: String,
    kind: TensorKind,
    dimensions: Vec<usize>,
    offset: u64,
}

fn tensor_range(
    name: &str,
    kind: TensorKind,
    dimensions: &[usize],
    offset: u64,
    alignment: u64,
    data_start: u64,
    file_len: usize,
) -> Result<Range<usize>, String> {
    let values = dimensions
        .iter()
        .try_fold(1_usize, |product, &n| product.checked_mul(n));
    let bytes = values.and_then(|values| (values / kind.block_len()).checked_mul(kind.block_bytes()));
    let Some(bytes) = bytes else {
        return Err(format!("the tensor {name:?} has impossible dimensions {dimensions:?}"));
    };
    if dimensions.first().copied().unwrap_or(1) % kind.block_len() != 0 {
        return Err(format!(
            "the rows of tensor {name:?} are no whole number of {kind:?} blocks"
        ));
    }
    if !offset.is_multiple_of(alignment) {
        return Err(format!("the tensor {name:?} lies at the unaligned offset {offset}"));
    }
    let range = data_start
        .checked_add(offset)
        .and_then(|start| Some(usize::try_from(start).ok()?..usize::try_from(start).ok()?.checked_add(bytes)?));
    match range {
        Some(range) if range.end <= file_len => Ok(range),
        _ => Err(format!(
            "it is truncated: the tensor {name:?} lies beyond its end at {file_len} bytes"
        )),
    }
}

/// Reads little-endian values one after the other; every step is bounded by the bytes that are there.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

macro_rules! read_number {
    ($name:ident, $type:ty) => {
        fn $name(&mut self) -> Result<$type, String> {
            let mut buffer = [0; size_of::<$type>()];
            buffer.copy_from_slice(self.take(size_of::<$type>())?);
            Ok(<$type>::from_le_bytes(buffer))
        }
    };
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let taken = self.at.checked_add(count).and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| {
            format!(
                "it is truncated: its header does not end within {} bytes",
                self.bytes.len()
            )
        })?;
        self.at += count;
        Ok(taken)
    }

    read_number!(u16, u16);
    read_number!(i16, i16);
    read_number!(u32, u32);
    read_number!(i32, i32);
    read_number!(u64, u64);
    read_number!(i64, i64);
    read_number!(f32, f32);
    read_number!(f64, f64);

    fn u8(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    fn bool(&mut self) -> Result<bool, String> {
        Ok(self.u8()? != 0)
    }

    /// A string. Bytes that are not UTF-8 become replacement characters: descriptions may hold anything.
    fn string(&mut self) -> Result<std::borrow::Cow<'a, str>, String> {
        let len = self.u64()?;
        let len = usize::try_from(len).map_err(|_| format!("a string of {len} bytes is impossible"))?;
        Ok(String::from_utf8_lossy(self.take(len)?))
    }

    fn value(&mut self, kind: u32) -> Result<MetaValue, String> {
        Ok(match kind {
            0 => MetaValue::U8(self.u8()?),
            1 => MetaValue::I8(self.u8()? as i8),
            2 => MetaValue::U16(self.u16()?),
            3 => MetaValue::I16(self.i16()?),
            4 => MetaValue::U32(self.u32()?),
            5 => MetaValue::I32(self.i32()?),
            6 => MetaValue::F32(self.f32()?),
            7 => MetaValue::Bool(self.bool()?),
            8 => MetaValue::String(self.string()?.into_owned()),
            9 => MetaValue::Array(self.array(0)?),
            10 => MetaValue::U64(self.u64()?),
            11 => MetaValue::I64(self.i64()?),
            12 => MetaValue::F64(self.f64()?),
            _ => return Err(format!("its metadata has a value of the unknown type {kind}")),
        })
    }

    fn array(&mut self, depth: usize) -> Result<MetaArray, String> {
        if depth >= MAX_NESTING {
            return Err("its metadata nests arrays too deeply".into());
        }
        let kind = self.u32()?;
        let len = self.u64()?;
        let len = usize::try_from(len).map_err(|_| format!("an array of {len} values is impossible"))?;
        Ok(match kind {
            0 => MetaArray::U8(self.many(len, Self::u8)?),
            1 => MetaArray::I8(self.many(len, |c| Ok(c.u8()? as i8))?),
            2 => MetaArray::U16(self.many(len, Self::u16)?),
            3 => MetaArray::I16(self.many(len, Self::i16)?),
            4 => MetaArray::U32(self.many(len, Self::u32)?),
            5 => MetaArray::I32(self.many(len, Self::i32)?),
            6 => MetaArray::F32(self.many(len, Self::f32)?),
            7 => MetaArray::Bool(self.many(len, Self::bool)?),
            8 => {
                let mut table = StringTable::default();
                for _ in 0..len {
                    table.push(&self.string()?);
                }
                MetaArray::Strings(table)
            }
            9 => MetaArray::Nested(self.many(len, |c| c.array(depth + 1))?),
            10 => MetaArray::U64(self.many(len, Self::u64)?),
            11 => MetaArray::I64(self.many(len, Self::i64)?),
            12 => MetaArray::F64(self.many(len, Self::f64)?),
            _ => return Err(format!("its metadata has an array of the unknown type {kind}")),
        })
    }

    /// `len` values. Memory grows with what is really read: a damaged length ends at the end of the file.
    fn many<T>(&mut self, len: usize, read: impl Fn(&mut Self) -> Result<T, String>) -> Result<Vec<T>, String> {
        let mut values = Vec::new();
        for _ in 0..len {
            values.push(read(self)?);
        }
        Ok(values)
    }

    fn tensor(&mut self) -> Result<TensorHeader, String> {
        let name = self.string()?.into_owned();
        let dimension_count = self.u32()?;
        if dimension_count > MAX_DIMENSIONS {
            return Err(format!("the tensor {name:?} has {dimension_count} dimensions"));
        }
        let mut dimensions = Vec::new();
        for _ in 0..dimension_count {
            let n = self.u64()?;
            dimensions
                .push(usize::try_from(n).map_err(|_| format!("the tensor {name:?} has an impossible dimension {n}"))?);
        }
        let kind_id = self.u32()?;
        let offset = self.u64()?;
        let Some(kind) = TensorKind::from_id(kind_id) else {
            return Err(format!(
                "the tensor {name:?} is stored as GGML type {kind_id}, which this engine does not read (it reads F32, F16, BF16, Q4_0 \
                 to Q8_0 and Q2_K to Q6_K)"
            ));
        };
        Ok(TensorHeader {
            name,
            kind,
            dimensions,
            offset,
        })
    }
}
