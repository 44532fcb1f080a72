//! KoboldAI soft prompts (a zip of `meta.json` and `tensor.npy`) and NumPy's `.npz` (a zip of arrays).
//!
//! The unpacked size is bounded before anything is unpacked. KoboldAI's tools pack the table with LZMA, whose header names a
//! dictionary of up to 4 GiB; here the dictionary is limited to the size of the entry.

use std::io::{Cursor, Read};

use serde_json::Value;
use zip::read::ZipArchive;
use zip::{CompressionMethod, result::ZipError};

use super::FileError;

const TENSOR: &str = "tensor.npy";
/// Entry of an `.npz` whose array was saved under PEFT's key.
const PROMPT_EMBEDDINGS: &str = "prompt_embeddings.npy";
const META: &str = "meta.json";
/// Limit of unpacked bytes for small files.
const MIN_LIMIT: u64 = 4 << 20;
/// Limit of unpacked bytes for large files; for one that is larger itself, its own size.
const MAX_LIMIT: u64 = 64 << 20;
/// Limit of unpacked bytes for each byte of a file between them: a little below the best ratio of deflate.
const MAX_RATIO: u64 = 1000;
/// The signatures by which `zip` finds an archive's end record and the entries of its directory, and how many of each a file may
/// contain. For each end record that turns out to be invalid, all entries before it are read again.
const SIGNATURES: [(&[u8; 4], &str, usize); 2] = [(b"PK\x05\x06", "ends", 16), (b"PK\x01\x02", "entries", 8192)];
/// Length of the header of an LZMA entry.
const LZMA_HEADER: usize = 9;

/// What the zip holds.
pub(super) struct Contents {
    /// Whether it is a KoboldAI soft prompt rather than an `.npz`.
    pub is_kobold: bool,
    /// The bytes of the array.
    pub tensor: Vec<u8>,
    /// Name of the soft prompt, not blank.
    pub name: Option<String>,
    /// The models that it names as supported.
    pub supported: Option<String>,
}

pub(super) fn read(file: &str, bytes: &[u8]) -> Result<Contents, FileError> {
    for (signature, what, max) in SIGNATURES {
        let count = bytes.windows(signature.len()).filter(|four| four == signature).count();
        if count > max {
            return Err(FileError::Malformed {
                file: file.to_owned(),
                kind: "zip",
                detail: format!("it has {count} {what}, more than {max}"),
            });
        }
    }
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| malformed(file, &error))?;
    // PyTorch's files are zips of pickles.
    if archive.file_names().any(|name| name.ends_with(".pkl")) {
        return Err(FileError::Pickle { file: file.to_owned() });
    }
    let array = array_in(file, &archive)?;
    let is_kobold = array == TENSOR && archive.index_for_name(META).is_some();
    let kind = if is_kobold { "KoboldAI zip" } else { ".npz" };
    let tensor = entry((file, kind), &mut archive, &array, bytes.len())?;
    // It has names alone: without it, the rows are the same. A long one is not parsed, since its values would take many times its size.
    let meta = entry((file, kind), &mut archive, META, bytes.len()).ok();
    let meta = meta.filter(|meta| meta.len() as u64 <= super::LARGEST_CONFIG);
    let meta = meta.and_then(|meta| crate::json::read(&meta).ok());
    let meta: Value = meta.map(|read| read.value).unwrap_or_default();
    let supported = match meta.get("supported") {
        Some(Value::String(model)) => Some(model.clone()),
        Some(Value::Array(models)) => {
            let models: Vec<&str> = models.iter().filter_map(Value::as_str).collect();
            Some(models.join(", "))
        }
        _ => None,
    };
    let name = meta.get("name").and_then(Value::as_str);
    Ok(Contents {
        is_kobold,
        tensor,
        name: name.filter(|name| !name.trim().is_empty()).map(str::to_owned),
        supported: supported.filter(|models| !models.is_empty()),
    })
}

/// The name of the entry that holds the prefix: PEFT's, KoboldAI's beside its description, or the only array.
fn array_in(file: &str, archive: &ZipArchive<Cursor<&[u8]>>) -> Result<String, FileError> {
    let has = |name| archive.index_for_name(name).is_some();
    if has(PROMPT_EMBEDDINGS) {
        return Ok(PROMPT_EMBEDDINGS.to_owned());
    }
    if has(TENSOR) && has(META) {
        return Ok(TENSOR.to_owned());
    }
    // macOS adds an entry of its own for each file.
    let is_array = |name: &&str| name.ends_with(".npy") && !name.starts_with("__MACOSX/");
    let mut arrays: Vec<&str> = archive.file_names().filter(is_array).collect();
    arrays.sort_unstable();
    match arrays[..] {
        [only] => Ok(only.to_owned()),
        [] if archive.file_names().any(|name| name.ends_with(super::CONFIG)) => {
            Err(FileError::PackedFolder { file: file.to_owned() })
        }
        [] => Err(FileError::Malformed {
            file: file.to_owned(),
            kind: "KoboldAI zip",
            detail: format!("there is no {TENSOR} in it, nor another .npy"),
        }),
        [first, second, ..] => Err(FileError::NotOneTable {
            file: file.to_owned(),
            found: format!(
                "{} arrays ({first}, {second} …), none of them {PROMPT_EMBEDDINGS}",
                arrays.len()
            ),
        }),
    }
}

/// Unpacks an entry of the archive `file` of this kind, which has `packed` bytes.
fn entry(
    (file, kind): (&str, &'static str),
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    name: &str,
    packed: usize,
) -> Result<Vec<u8>, FileError> {
    let bad = |detail: String| FileError::Malformed {
        file: file.to_owned(),
        kind,
        detail: format!("its {name} {detail}"),
    };
    let number = archive.index_for_name(name).ok_or_else(|| bad("is missing".into()))?;
    let raw = archive.by_index_raw(number).map_err(|error| malformed(file, &error))?;
    let packed_bytes = packed as u64;
    let limit = (packed_bytes * MAX_RATIO).clamp(MIN_LIMIT, MAX_LIMIT.max(packed_bytes));
    let size = raw.size();
    if size > limit {
        return Err(FileError::Bomb {
            file: file.to_owned(),
            bytes: size,
            packed,
            limit,
        });
    }
    if raw.encrypted() {
        return Err(bad("is encrypted".into()));
    }
    let (method, sum) = (raw.compression(), raw.crc32());
    let mut unpacked = Vec::new();
    let outcome = if method == CompressionMethod::STORE {
        raw.take(size + 1).read_to_end(&mut unpacked)
    } else if method == CompressionMethod::DEFLATE {
        flate2::read::DeflateDecoder::new(raw)
            .take(size + 1)
            .read_to_end(&mut unpacked)
    } else if method == CompressionMethod::LZMA {
        lzma(raw, size).and_then(|reader| reader.take(size + 1).read_to_end(&mut unpacked))
    } else {
        let method = match method {
            CompressionMethod::BZIP2 => "bzip2",
            CompressionMethod::ZSTD => "Zstandard",
            CompressionMethod::XZ => "xz",
            CompressionMethod::DEFLATE64 => "Deflate64",
            _ => "an unusual method",
        };
        return Err(bad(format!(
            "is packed by {method}, and only Deflate and LZMA are read here"
        )));
    };
    outcome.map_err(|error| bad(format!("cannot be unpacked ({error})")))?;
    let count = unpacked.len() as u64;
    if count != size {
        // No more than one byte beyond its size was unpacked.
        let or_more = if count > size { " or more" } else { "" };
        return Err(bad(format!("should have {size} bytes, and has {count}{or_more}")));
    }
    let mut found = flate2::Crc::new();
    found.update(&unpacked);
    if found.sum() != sum {
        return Err(bad("is damaged: its checksum is wrong".into()));
    }
    Ok(unpacked)
}

fn lzma(mut raw: impl Read, size: u64) -> std::io::Result<impl Read> {
    let mut header = [0; LZMA_HEADER];
    raw.read_exact(&mut header)?;
    let [_, _, length, 0, properties, dictionary @ ..] = header else {
        return Err(std::io::Error::other("its LZMA header is not known"));
    };
    if length != 5 {
        return Err(std::io::Error::other("its LZMA header is not known"));
    }
    // No match reaches back beyond the beginning of the output.
    let dictionary = u64::from(u32::from_le_bytes(dictionary)).min(size.max(4096)) as u32;
    lzma_rust2::LzmaReader::new_with_props(raw, size, properties, dictionary, None)
}

fn malformed(file: &str, error: &ZipError) -> FileError {
    FileError::Malformed {
        file: file.to_owned(),
        kind: "zip",
        detail: error.to_string(),
    }
}
