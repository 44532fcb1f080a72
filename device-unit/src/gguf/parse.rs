//! Reads a GGUF header (versions 2 and 3, little endian): metadata, and types and positions of the tensors.
//!
//! Every length and offset is checked before it is used, so that a truncated or damaged file gives an error message, never a panic
//! or a huge allocation.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::ops::Range;

use softprefix_core::bilingual;
use softprefix_core::language::Bilingual;

use super::kind::TensorKind;
use super::value::{MetaArray, MetaValue, StringTable};

/// Alignment of tensor data unless the file names another.
const DEFAULT_ALIGNMENT: u64 = 32;
/// Deepest nesting of arrays that is read, so that a damaged file cannot exhaust the stack.
const MAX_NESTING: usize = 4;
const MAX_DIMENSIONS: u32 = 4;
/// Longest header that is read. With the largest vocabularies (260,000 tokens) it has some 15 MB.
const MAX_HEADER: u64 = 128 << 20;
/// Most keys, and most tensors. The largest models have some thousand; each takes far more memory than it has bytes in a file.
const MAX_ENTRIES: u64 = 1 << 16;

/// The content of a header.
pub(super) struct Header {
    pub(super) metadata: HashMap<String, MetaValue>,
    pub(super) tensors: Vec<TensorHeader>,
}

/// A tensor of the header; its byte range is inside the file.
pub(super) struct TensorHeader {
    pub(super) name: String,
    pub(super) kind: TensorKind,
    /// From the innermost outwards: the first is the length of a row.
    pub(super) dimensions: Vec<usize>,
    /// Byte range in the file.
    pub(super) range: Range<u64>,
}

/// Why a header could not be read. The caller adds the file's name.
pub(super) enum Fault {
    /// The file is damaged, or is not a GGUF.
    Damaged(Bilingual),
    /// The file is intact, but not supported.
    Unsupported(Bilingual),
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn damaged<T>(reason: Bilingual) -> Result<T, Fault> {
    Err(Fault::Damaged(reason))
}

/// Reads the header of a file of `len` bytes.
pub(super) fn parse(file: impl Read, len: u64) -> Result<Header, Fault> {
    let mut cursor = Cursor {
        file,
        len,
        at: 0,
        buffer: Vec::new(),
    };
    let magic: &[u8] = if len < 4 { &[] } else { cursor.take(4)? };
    match magic {
        b"GGUF" => {}
        // `version https://git-lfs…`
        b"vers" => {
            return damaged(bilingual!(
                "it is a Git LFS pointer, not the file itself; run `git lfs pull` in its folder",
                "Git LFS のポインターで、ファイルそのものではありません（そのフォルダーで `git lfs pull` を実行すると取得できます）"
            ));
        }
        _ => {
            return damaged(bilingual!(
                "it is not a GGUF file (it does not begin with GGUF)",
                "GGUF ファイルではありません（GGUF で始まっていません）"
            ));
        }
    }
    let version = cursor.u32()?;
    if version.swap_bytes() == 2 || version.swap_bytes() == 3 {
        return Err(Fault::Unsupported(bilingual!(
            "it is a big-endian GGUF; only little-endian ones are read",
            "ビッグエンディアンの GGUF です。読めるのはリトルエンディアンだけです"
        )));
    }
    if version != 2 && version != 3 {
        return Err(Fault::Unsupported(bilingual!(
            "it is a GGUF of version {version}; versions 2 and 3 are read",
            "GGUF のバージョン {version} です。読めるのは 2 と 3 です"
        )));
    }
    let tensor_count = cursor.u64()?;
    let value_count = cursor.u64()?;
    if tensor_count > MAX_ENTRIES {
        return damaged(bilingual!(
            "its header names {tensor_count} tensors, more than {MAX_ENTRIES}",
            "ヘッダーのテンソルの数が {tensor_count} で、{MAX_ENTRIES} を超えています"
        ));
    }
    if value_count > MAX_ENTRIES {
        return damaged(bilingual!(
            "its header names {value_count} keys, more than {MAX_ENTRIES}",
            "ヘッダーのキーの数が {value_count} で、{MAX_ENTRIES} を超えています"
        ));
    }

    let mut metadata = HashMap::new();
    for _ in 0..value_count {
        let key = cursor.string()?.to_owned();
        let kind = cursor.u32()?;
        let value = cursor.value(&key, kind)?;
        if metadata.contains_key(&key) {
            return damaged(bilingual!(
                "its metadata names {key:?} twice",
                "メタデータに {key:?} が二つあります"
            ));
        }
        metadata.insert(key, value);
    }
    let alignment = match metadata.get("general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some(value) => match value.as_u32() {
            Some(alignment) if alignment.is_power_of_two() => u64::from(alignment),
            _ => {
                return damaged(bilingual!(
                    "its general.alignment is not a power of two",
                    "general.alignment が 2 のべき乗ではありません"
                ));
            }
        },
    };

    // Offsets are relative to the end of the header, which is only known now.
    let mut offsets = Vec::new();
    for _ in 0..tensor_count {
        offsets.push(cursor.tensor()?);
    }
    let data_start = cursor.at.next_multiple_of(alignment);
    let mut names = HashSet::new();
    let mut tensors = Vec::with_capacity(offsets.len());
    for (name, kind, dimensions, offset) in offsets {
        let range =
            tensor_range(&name, kind, &dimensions, offset, alignment, data_start, len).map_err(Fault::Damaged)?;
        if !names.insert(name.clone()) {
            return damaged(bilingual!(
                "it has two tensors named {name:?}",
                "{name:?} というテンソルが二つあります"
            ));
        }
        tensors.push(TensorHeader {
            name,
            kind,
            dimensions,
            range,
        });
    }
    refuse_overlaps(&tensors)?;
    Ok(Header { metadata, tensors })
}

fn tensor_range(
    name: &str,
    kind: TensorKind,
    dimensions: &[usize],
    offset: u64,
    alignment: u64,
    data_start: u64,
    file_len: u64,
) -> Result<Range<u64>, Bilingual> {
    // A 0 would hide that the others overflow, and no tensor of a model is empty.
    let values = dimensions.iter().try_fold(1_usize, |product, &n| {
        product.checked_mul(n).filter(|product| *product > 0)
    });
    let bytes = values.and_then(|values| (values / kind.block_len()).checked_mul(kind.block_bytes()));
    let Some(bytes) = bytes else {
        return Err(bilingual!(
            "the tensor {name:?} has impossible dimensions {dimensions:?}",
            "テンソル {name:?} の次元 {dimensions:?} はありえません"
        ));
    };
    if dimensions.first().copied().unwrap_or(1) % kind.block_len() != 0 {
        let kind = kind.name();
        return Err(bilingual!(
            "the rows of tensor {name:?} are no whole number of {kind} blocks",
            "テンソル {name:?} の行が {kind} のブロックで割り切れません"
        ));
    }
    if !offset.is_multiple_of(alignment) {
        return Err(bilingual!(
            "the tensor {name:?} lies at the unaligned offset {offset}",
            "テンソル {name:?} の位置 {offset} が境界に揃っていません"
        ));
    }
    let range = data_start
        .checked_add(offset)
        .and_then(|start| Some(start..start.checked_add(bytes as u64)?));
    match range {
        Some(range) if range.end <= file_len => Ok(range),
        _ => Err(bilingual!(
            "it is truncated: the tensor {name:?} lies beyond its end at {file_len} bytes",
            "途中で終わっています（テンソル {name:?} が、ファイルの終わりの {file_len} バイトより先にあります）"
        )),
    }
}

/// Refuses overlapping tensors, which could need far more memory than the file has.
fn refuse_overlaps(tensors: &[TensorHeader]) -> Result<(), Fault> {
    let mut order: Vec<&TensorHeader> = tensors.iter().filter(|tensor| !tensor.range.is_empty()).collect();
    order.sort_by_key(|tensor| tensor.range.start);
    for pair in order.windows(2) {
        if let [first, second] = pair
            && second.range.start < first.range.end
        {
            let (first, second) = (&first.name, &second.name);
            return damaged(bilingual!(
                "its tensors {first:?} and {second:?} overlap",
                "テンソル {first:?} と {second:?} が重なっています"
            ));
        }
    }
    Ok(())
}

/// Reads little-endian values in order, bounded by the bytes that are there.
struct Cursor<R> {
    file: R,
    len: u64,
    at: u64,
    buffer: Vec<u8>,
}

macro_rules! read_number {
    ($name:ident, $type:ty) => {
        fn $name(&mut self) -> Result<$type, Fault> {
            let mut buffer = [0; size_of::<$type>()];
            buffer.copy_from_slice(self.take(size_of::<$type>() as u64)?);
            Ok(<$type>::from_le_bytes(buffer))
        }
    };
}

impl<R: Read> Cursor<R> {
    fn take(&mut self, count: u64) -> Result<&[u8], Fault> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.len);
        let Some(end) = end else {
            let len = self.len;
            return damaged(bilingual!(
                "it is truncated: its header does not end within {len} bytes",
                "途中で終わっています（ヘッダーが {len} バイトに収まっていません）"
            ));
        };
        if end > MAX_HEADER {
            let limit = MAX_HEADER >> 20;
            return damaged(bilingual!(
                "its header has more than {limit} MB",
                "ヘッダーが {limit} MB を超えています"
            ));
        }
        self.buffer.resize(count as usize, 0);
        self.file.read_exact(&mut self.buffer)?;
        self.at = end;
        Ok(&self.buffer)
    }

    read_number!(u8, u8);
    read_number!(u16, u16);
    read_number!(i16, i16);
    read_number!(u32, u32);
    read_number!(i32, i32);
    read_number!(u64, u64);
    read_number!(i64, i64);
    read_number!(f32, f32);
    read_number!(f64, f64);

    fn bool(&mut self) -> Result<bool, Fault> {
        Ok(self.u8()? != 0)
    }

    /// A description. Bytes that are not UTF-8 become replacement characters, since it may contain any bytes.
    fn description(&mut self) -> Result<String, Fault> {
        let len = self.u64()?;
        Ok(String::from_utf8_lossy(self.take(len)?).into_owned())
    }

    /// A name or a token, which is read as it is or not at all: two that differ must not become the same.
    fn string(&mut self) -> Result<&str, Fault> {
        let len = self.u64()?;
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).or_else(|_| {
            let shown: String = String::from_utf8_lossy(bytes).chars().take(60).collect();
            damaged(bilingual!(
                "its header has a name or a token that is not UTF-8: {shown:?}",
                "ヘッダーに UTF-8 ではない名前かトークンがあります：{shown:?}"
            ))
        })
    }

    /// The value of `key`.
    fn value(&mut self, key: &str, kind: u32) -> Result<MetaValue, Fault> {
        Ok(match kind {
            0 => MetaValue::U8(self.u8()?),
            1 => MetaValue::I8(self.u8()? as i8),
            2 => MetaValue::U16(self.u16()?),
            3 => MetaValue::I16(self.i16()?),
            4 => MetaValue::U32(self.u32()?),
            5 => MetaValue::I32(self.i32()?),
            6 => MetaValue::F32(self.f32()?),
            7 => MetaValue::Bool(self.bool()?),
            8 => MetaValue::String(self.description()?),
            9 => MetaValue::Array(self.array(key, 0)?),
            10 => MetaValue::U64(self.u64()?),
            11 => MetaValue::I64(self.i64()?),
            12 => MetaValue::F64(self.f64()?),
            _ => {
                return damaged(bilingual!(
                    "its metadata has a value of the unknown type {kind}",
                    "メタデータに未知の型 {kind} の値があります"
                ));
            }
        })
    }

    fn array(&mut self, key: &str, depth: usize) -> Result<MetaArray, Fault> {
        if depth >= MAX_NESTING {
            return damaged(bilingual!(
                "its metadata nests arrays too deeply",
                "メタデータの配列の入れ子が深すぎます"
            ));
        }
        let kind = self.u32()?;
        let len = self.u64()?;
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
                    match key.starts_with("tokenizer.") {
                        true => table.push(self.string()?),
                        false => table.push(&self.description()?),
                    }
                }
                MetaArray::Strings(table)
            }
            9 => {
                for _ in 0..len {
                    self.array(key, depth + 1)?;
                }
                MetaArray::Nested
            }
            10 => MetaArray::U64(self.many(len, Self::u64)?),
            11 => MetaArray::I64(self.many(len, Self::i64)?),
            12 => MetaArray::F64(self.many(len, Self::f64)?),
            _ => {
                return damaged(bilingual!(
                    "its metadata has an array of the unknown type {kind}",
                    "メタデータに未知の型 {kind} の配列があります"
                ));
            }
        })
    }

    /// `len` values. Memory grows with what is read, not with a length that may be damaged.
    fn many<T>(&mut self, len: u64, read: impl Fn(&mut Self) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
        let mut values = Vec::new();
        for _ in 0..len {
            values.push(read(self)?);
        }
        Ok(values)
    }

    /// Name, type, dimensions and offset.
    fn tensor(&mut self) -> Result<(String, TensorKind, Vec<usize>, u64), Fault> {
        let name = self.string()?.to_owned();
        let dimension_count = self.u32()?;
        if dimension_count > MAX_DIMENSIONS {
            return damaged(bilingual!(
                "the tensor {name:?} has {dimension_count} dimensions",
                "テンソル {name:?} の次元の数が {dimension_count} です"
            ));
        }
        let mut dimensions = Vec::new();
        for _ in 0..dimension_count {
            let n = self.u64()?;
            match usize::try_from(n) {
                Ok(n) => dimensions.push(n),
                Err(_) => {
                    return damaged(bilingual!(
                        "the tensor {name:?} has an impossible dimension {n}",
                        "テンソル {name:?} の次元 {n} はありえません"
                    ));
                }
            }
        }
        let kind = TensorKind::from_id(self.u32()?).map_err(|other| {
            let read: Vec<&str> = TensorKind::all().map(TensorKind::name).collect();
            let read = read.join(", ");
            Fault::Unsupported(bilingual!(
                "the tensor {name:?} is stored as {other}, which this engine does not read (it reads {read})",
                "テンソル {name:?} の形式 {other} は読めません（読めるのは {read}）"
            ))
        })?;
        Ok((name, kind, dimensions, self.u64()?))
    }
}
