//! A table of numbers as a file stores it, and its conversion to a prefix.

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

use super::FileError;
use crate::prefix::{MAX_LEN, Rounding, SoftPrefix};

/// The type of the numbers in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stored {
    /// IEEE 754 half precision.
    F16,
    /// The upper half of an f32; in `.npy` as `V2`, or as `u2` where its values show that they are its bits.
    Bf16,
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 double precision.
    F64,
}

impl Stored {
    /// The type's name in lower case, as Rust and safetensors write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }

    /// Bytes of one number.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// Rows and columns of an array: `[P, H]`, `[1, P, H]`, or `[H]` for a single row.
pub(super) fn rows_and_columns(shape: &[usize]) -> Option<(usize, usize)> {
    match *shape {
        [width] => Some((1, width)),
        [rows, width] | [1, rows, width] => Some((rows, width)),
        _ => None,
    }
}

/// A table of `rows` x `width` numbers; `bytes` has their exact length.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table<'a> {
    pub rows: usize,
    pub width: usize,
    /// Whether the file holds one dimension only, which is read as a single row.
    pub one_dimension: bool,
    pub stored: Stored,
    pub big_endian: bool,
    /// Whether the numbers are stored column by column instead of row by row.
    pub by_columns: bool,
    pub bytes: &'a [u8],
}

impl Table<'_> {
    /// Whether it may be several rows of `hidden_size` values, saved one after another in one dimension.
    pub fn is_flattened(&self, hidden_size: usize) -> bool {
        self.one_dimension && hidden_size > 0 && self.width > hidden_size && self.width.is_multiple_of(hidden_size)
    }

    /// Rounds the numbers to bf16; also returns whether rounding changed none of them.
    pub fn into_prefix(self, file: &str, rounding: Rounding) -> Result<(SoftPrefix, bool), FileError> {
        if self.rows > MAX_LEN {
            return Err(FileError::TooLong {
                file: file.to_owned(),
                rows: self.rows,
            });
        }
        let size = self.stored.size();
        let mut exact = true;
        let mut values = Vec::with_capacity(self.bytes.len() / size);
        for place in 0..self.bytes.len() / size {
            let place = if self.by_columns {
                let (row, column) = (place / self.width.max(1), place % self.width.max(1));
                column * self.rows + row
            } else {
                place
            };
            let number = self.number(&self.bytes[place * size..(place + 1) * size]);
            let value = rounding.round(number as f32);
            exact &= value.to_f64() == number;
            values.push(value);
        }
        match SoftPrefix::from_bf16(self.width, values) {
            Ok(prefix) => Ok((prefix, exact)),
            Err(source) => Err(FileError::Rows {
                file: file.to_owned(),
                source,
            }),
        }
    }

    fn number(&self, bytes: &[u8]) -> f64 {
        let mut word = [0; 8];
        let word = &mut word[..bytes.len().min(8)];
        word.copy_from_slice(&bytes[..word.len()]);
        if self.big_endian {
            word.reverse();
        }
        match (self.stored, &*word) {
            (Stored::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f64(),
            (Stored::Bf16, &[a, b]) => bf16::from_le_bytes([a, b]).to_f64(),
            (Stored::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]).into(),
            (Stored::F64, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
            // Unreachable: `bytes` has the length that `size` gives. NaN would be refused as not finite.
            _ => f64::NAN,
        }
    }
}
