//! Import and export of prefixes: PEFT folders, safetensors, `.npy`, `.npz`, KoboldAI soft prompts. Pickles are never opened.
//!
//! No memory is reserved for what a header claims: sizes are checked against the bytes that are there.

mod error;
mod kobold;
mod npy;
mod peft;
mod table;
mod tensors;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use error::{FileError, MoreThanRows};
pub use table::Stored;

use super::recipe::{Magnitude, Origin, PrefixKind, PrefixRecipe};
use super::soft_prefix::{Rounding, SoftPrefix};
use table::Table;

/// Ample: 1,000 rows of 16,384 f32 values are 64 MiB.
const LARGEST_FILE: u64 = 256 << 20;
const LARGEST_CONFIG: u64 = 1 << 20;
const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const PICKLED_WEIGHTS: &str = "adapter_model.bin";
/// File name extensions of pickles. The oldest have no mark at their beginning.
const PICKLES: [&str; 2] = ["pkl", "pickle"];
/// The beginning of a Git LFS pointer.
const LFS_POINTER: &[u8] = b"version https://git-lfs.";

/// The format of the file from which a prefix came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A folder with `adapter_config.json` and `adapter_model.safetensors` of the type `PROMPT_TUNING` or `P_TUNING`.
    Peft,
    /// A single `.safetensors` file with one table, or with the tensor `prompt_embeddings`.
    Safetensors,
    /// NumPy's `.npy`, or an `.npz` with one usable array.
    Npy,
    /// A zip of `tensor.npy` and `meta.json`.
    Kobold,
}

impl Format {
    /// The format's English name, for messages and lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::Peft => "PEFT adapter",
            Self::Safetensors => "safetensors",
            Self::Npy => "npy",
            Self::Kobold => "KoboldAI soft prompt",
        }
    }
}

/// A prefix from a file, with the file's description of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The rows, rounded to bf16.
    pub prefix: SoftPrefix,
    /// Display name: the name in the file, or the file's own.
    pub name: String,
    /// Format of the file.
    pub format: Format,
    /// Type of the numbers in the file.
    pub stored: Stored,
    /// Whether every value is exactly a bf16, so that rounding changed none.
    pub exact: bool,
    /// The model for which the file says it was made.
    pub base_model: Option<String>,
    /// Where the rows come from, if a file of this program says so.
    pub origin: Origin,
}

impl Imported {
    /// The recipe of these rows, unscaled. Store the rows in a [`PrefixStore`](super::PrefixStore), so that it can be built.
    pub fn recipe(&self) -> PrefixRecipe {
        PrefixRecipe {
            kind: PrefixKind::Imported {
                name: self.name.clone(),
                sha256: self.prefix.sha256(),
                origin: self.origin.clone(),
            },
            len: self.prefix.len(),
            magnitude: Magnitude::Unscaled,
            rounding: Rounding::default(),
        }
    }

    fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// The same rows, with their origin by the note of their file.
    fn with_note(self, note: Option<String>) -> Self {
        let origin = note.map_or(Origin::File, |note| Origin::from_note(&note, &self.prefix));
        Self { origin, ..self }
    }
}

/// Reads a prefix from a PEFT folder or from a file of any [`Format`]. With `hidden_size`, rows of another width are
/// refused.
///
/// # Errors
/// [`FileError`], with the reason.
pub fn import(path: &Path, hidden_size: Option<usize>, rounding: Rounding) -> Result<Imported, FileError> {
    let file = path.display().to_string();
    let about = fs::metadata(path).map_err(|error| unreadable(&file, &error))?;
    if about.is_dir() {
        return import_peft(path, hidden_size, rounding);
    }
    let (name, folder) = (path.file_name().unwrap_or_default(), path.parent());
    if let Some(folder) = folder
        && (name == CONFIG || (name == WEIGHTS && folder.join(CONFIG).is_file()))
    {
        return import_peft(folder, hidden_size, rounding);
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let bytes = match read(path, LARGEST_FILE) {
        // It may hold the prefix beside a model's embedding table.
        Err(too_large @ FileError::TooLarge { .. }) => {
            let tensor = named_tensor(path).map_err(|_| too_large)?;
            let (table, note) = tensor.table(&file)?;
            let imported = imported(&file, table, Format::Safetensors, hidden_size, rounding)?;
            return Ok(imported.with_note(note).named(name));
        }
        bytes => bytes?,
    };
    from_bytes(&file, name, &bytes, hidden_size, rounding)
}

/// Reads a prefix from the bytes of a single file; `file` is its name for messages.
///
/// # Errors
/// [`FileError`], with the reason.
pub fn import_bytes(
    file: &str,
    bytes: &[u8],
    hidden_size: Option<usize>,
    rounding: Rounding,
) -> Result<Imported, FileError> {
    from_bytes(file, file.to_owned(), bytes, hidden_size, rounding)
}

fn from_bytes(
    file: &str,
    name: String,
    bytes: &[u8],
    hidden_size: Option<usize>,
    rounding: Rounding,
) -> Result<Imported, FileError> {
    let imported = |format, table| imported(file, table, format, hidden_size, rounding);
    if bytes.starts_with(npy::MAGIC) {
        return Ok(imported(Format::Npy, npy::read(file, bytes)?)?.named(name));
    }
    if bytes.starts_with(b"PK\x03\x04") {
        let contents = kobold::read(file, bytes)?;
        let format = if contents.is_kobold {
            Format::Kobold
        } else {
            Format::Npy
        };
        let imported = imported(format, npy::read(file, &contents.tensor)?)?;
        return Ok(Imported {
            base_model: contents.supported,
            ..imported.named(contents.name.unwrap_or(name))
        });
    }
    // Safetensors: 8 bytes with the length of the header, then the header as JSON.
    if bytes.get(8) == Some(&b'{') {
        let (table, note) = tensors::read(file, bytes)?;
        return Ok(imported(Format::Safetensors, table)?.with_note(note).named(name));
    }
    // A pickle begins with the opcode PROTO and a version.
    let ending = Path::new(file).extension().and_then(|ending| ending.to_str());
    let is_named = |pickle: &&str| ending.is_some_and(|ending| ending.eq_ignore_ascii_case(pickle));
    if matches!(bytes, [0x80, 2..=5, ..]) || PICKLES.iter().any(is_named) {
        return Err(FileError::Pickle { file: file.to_owned() });
    }
    Err(FileError::UnknownKind {
        file: file.to_owned(),
        start: String::from_utf8_lossy(&bytes[..bytes.len().min(12)]).into_owned(),
    })
}

/// The rows of a table, without a name.
fn imported(
    file: &str,
    table: Table<'_>,
    format: Format,
    hidden_size: Option<usize>,
    rounding: Rounding,
) -> Result<Imported, FileError> {
    check_width(file, &table, hidden_size)?;
    let stored = table.stored;
    let (prefix, exact) = table.into_prefix(file, rounding)?;
    Ok(Imported {
        prefix,
        name: String::new(),
        format,
        stored,
        exact,
        base_model: None,
        origin: Origin::File,
    })
}

/// Reads the tensor of a prefix alone from a safetensors file of any size.
fn named_tensor(path: &Path) -> Result<tensors::Tensor, FileError> {
    let file = path.display().to_string();
    let opened = fs::File::open(path).map_err(|error| unreadable(&file, &error))?;
    let length = opened.metadata().map_err(|error| unreadable(&file, &error))?.len();
    tensors::read_named(&file, opened, length, LARGEST_FILE)
}

fn import_peft(folder: &Path, hidden_size: Option<usize>, rounding: Rounding) -> Result<Imported, FileError> {
    let not_peft = |missing| FileError::NotPeft {
        folder: folder.display().to_string(),
        missing,
    };
    let (config, weights) = (folder.join(CONFIG), folder.join(WEIGHTS));
    if !config.is_file() {
        // Weights without a configuration do not belong to an adapter in a folder beside them.
        let has_weights = weights.exists() || folder.join(PICKLED_WEIGHTS).exists();
        let inside = if has_weights { None } else { adapter_in(folder)? };
        let inside = inside.ok_or_else(|| not_peft(CONFIG))?;
        return import_peft(&inside, hidden_size, rounding);
    }
    let adapter = peft::Adapter::read(&config.display().to_string(), &read(&config, LARGEST_CONFIG)?)?;
    if !weights.is_file() {
        let pickle = folder.join(PICKLED_WEIGHTS);
        if pickle.exists() {
            let file = pickle.display().to_string();
            return Err(FileError::Pickle { file });
        }
        return Err(not_peft(WEIGHTS));
    }
    let file = weights.display().to_string();
    // PEFT may save the model's whole embedding table in the same file.
    let tensor = named_tensor(&weights)?;
    let (table, note) = tensor.table(&file)?;
    adapter.check(&file, &table)?;
    let imported = imported(&file, table, Format::Peft, hidden_size, rounding)?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Imported {
        base_model: adapter.base_model,
        ..imported
            .with_note(note)
            .named(if name.is_empty() { adapter.peft_type } else { name })
    })
}

/// The only folder inside `folder`, if it holds an adapter. Hidden folders, such as those of version control, do not count.
fn adapter_in(folder: &Path) -> Result<Option<PathBuf>, FileError> {
    const MOST: usize = 10_000;
    let shown = folder.display().to_string();
    let entries = fs::read_dir(folder).map_err(|error| unreadable(&shown, &error))?;
    let mut adapters = Vec::new();
    let mut others = false;
    for entry in entries.take(MOST) {
        let entry = entry.map_err(|error| unreadable(&shown, &error))?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if name.starts_with('.') || !path.is_dir() {
            continue;
        }
        if path.join(CONFIG).is_file() {
            adapters.push((name, path));
        } else {
            others = true;
        }
    }
    adapters.sort();
    match &adapters[..] {
        [(first, _), (second, _), ..] => Err(FileError::SeveralAdapters {
            folder: shown,
            first: first.clone(),
            second: second.clone(),
        }),
        [(_, only)] if !others => Ok(Some(only.clone())),
        _ => Ok(None),
    }
}

/// Writes `prefix` as a PEFT prompt-tuning adapter into `folder`, which is made if it is missing. Values are stored as
/// f32, which is exact, with a note (JSON) as in [`export_safetensors`]. An adapter that is there already is replaced whole or not at all;
/// where the disk fails between its two files, it is left without its configuration, which no reader takes for an adapter.
///
/// # Errors
/// [`FileError::Unwritable`].
pub fn export_peft(
    prefix: &SoftPrefix,
    folder: &Path,
    base_model: Option<&str>,
    note: Option<&str>,
) -> Result<(), FileError> {
    make_folder(folder)?;
    let (config, weights) = (folder.join(CONFIG), folder.join(WEIGHTS));
    let rows = tensors::write(&weights.display().to_string(), prefix, Stored::F32, note)?;
    let about = format!("{:#}\n", peft::config(prefix, base_model));
    crate::files::write_pair((&config, about.as_bytes()), (&weights, &rows)).map_err(|error| unwritable(folder, &error))
}

/// Writes `prefix` as a safetensors file of bf16 values, exactly, with a note (JSON, see [`Origin::note`]) under `softprefix` in its
/// metadata. The file is replaced whole or not at all.
///
/// # Errors
/// [`FileError::Unwritable`].
pub fn export_safetensors(prefix: &SoftPrefix, path: &Path, note: Option<&str>) -> Result<(), FileError> {
    let file = path.display().to_string();
    write(path, &tensors::write(&file, prefix, Stored::Bf16, note)?)
}

/// Writes `prefix` as an `.npy` of P x H f32 values, which is exact. The format has no place for a note. The file is replaced whole or
/// not at all.
///
/// # Errors
/// [`FileError::Unwritable`].
pub fn export_npy(prefix: &SoftPrefix, path: &Path) -> Result<(), FileError> {
    let values = prefix.values().iter().map(|value| value.to_f32());
    write(path, &npy::write(prefix.len(), prefix.hidden_size(), values))
}

/// The bytes of a safetensors file of bf16 values.
pub(super) fn bf16_tensor(prefix: &SoftPrefix) -> Result<Vec<u8>, FileError> {
    tensors::write("the prefix", prefix, Stored::Bf16, None)
}

fn check_width(file: &str, table: &Table<'_>, hidden_size: Option<usize>) -> Result<(), FileError> {
    let width = table.width;
    let Some(hidden_size) = hidden_size.filter(|&hidden_size| hidden_size != width) else {
        return Ok(());
    };
    if table.is_flattened(hidden_size) {
        return Err(FileError::flattened(file, width));
    }
    Err(match peft::layers_of(width, hidden_size) {
        Some(layers) => FileError::PrefixTuning {
            file: file.to_owned(),
            evidence: format!(
                "its rows have {width} values, as have keys and values of {layers} layers x 2 x {hidden_size}, and this model's hidden \
                 size is {hidden_size}"
            ),
        },
        None if table.rows == hidden_size => FileError::Transposed {
            file: file.to_owned(),
            width,
            hidden_size,
        },
        None => FileError::WrongWidth {
            file: file.to_owned(),
            width,
            hidden_size,
        },
    })
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let file = path.display().to_string();
    let about = fs::metadata(path).map_err(|error| unreadable(&file, &error))?;
    if about.is_file() && about.len() > limit {
        return Err(FileError::TooLarge {
            file,
            bytes: about.len(),
            limit,
        });
    }
    let bytes = crate::files::read(path, limit).map_err(|error| unreadable(&file, &error))?;
    refuse_pointer(&file, &bytes)?;
    Ok(bytes)
}

fn refuse_pointer(file: &str, bytes: &[u8]) -> Result<(), FileError> {
    if bytes.starts_with(LFS_POINTER) {
        return Err(FileError::LfsPointer { file: file.to_owned() });
    }
    Ok(())
}

pub(super) fn make_folder(folder: &Path) -> Result<(), FileError> {
    fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    crate::files::write_whole(path, bytes).map_err(|error| unwritable(path, &error))
}

pub(super) fn unreadable(file: &str, error: &std::io::Error) -> FileError {
    FileError::Unreadable {
        file: file.to_owned(),
        detail: error.to_string(),
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> FileError {
    FileError::Unwritable {
        file: path.display().to_string(),
        detail: error.to_string(),
    }
}
