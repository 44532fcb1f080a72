//! The soft prefix itself: P x H finite bf16 values.

use std::fmt;
use std::sync::Arc;

use half::bf16;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::{PrefixError, too_large};
use super::recipe::MAX_LEN;

/// How an f32 becomes a bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// To the nearest value, ties to even.
    #[default]
    NearestEven,
    /// The upper 16 bits, as existing scripts send them. Use it to repeat an old run byte for byte.
    Truncate,
}

impl Rounding {
    /// Rounds one value. NaN stays NaN; values beyond the largest bf16 become infinite under [`Rounding::NearestEven`].
    pub fn round(self, value: f32) -> bf16 {
        match self {
            Self::NearestEven => bf16::from_f32(value),
            // Truncation would turn a NaN whose payload is in the lower bits into an infinity.
            Self::Truncate if value.is_nan() => bf16::NAN,
            Self::Truncate => bf16::from_bits((value.to_bits() >> 16) as u16),
        }
    }
}

/// P rows of H bf16 values, P and H at least 1, every value finite. Cheap to clone.
#[derive(Clone, PartialEq)]
pub struct SoftPrefix {
    hidden_size: usize,
    values: Arc<[bf16]>,
}

impl SoftPrefix {
    /// Takes P x `hidden_size` values, row by row.
    ///
    /// # Errors
    /// [`PrefixError::HiddenSizeZero`], [`PrefixError::LengthZero`], [`PrefixError::RaggedValues`],
    /// [`PrefixError::LengthTooLarge`] and [`PrefixError::NotFinite`] naming the first bad value.
    pub fn from_bf16(hidden_size: usize, values: Vec<bf16>) -> Result<Self, PrefixError> {
        if hidden_size == 0 {
            return Err(PrefixError::HiddenSizeZero);
        }
        if values.is_empty() {
            return Err(PrefixError::LengthZero);
        }
        if !values.len().is_multiple_of(hidden_size) {
            return Err(PrefixError::RaggedValues {
                got: values.len(),
                hidden_size,
            });
        }
        if values.len() / hidden_size > MAX_LEN {
            return Err(too_large(values.len() / hidden_size));
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(PrefixError::NotFinite {
                row: at / hidden_size,
                column: at % hidden_size,
                value: values[at],
            });
        }
        Ok(Self {
            hidden_size,
            values: values.into(),
        })
    }

    /// Takes P x `hidden_size` values, row by row, and rounds each to bf16.
    ///
    /// # Errors
    /// Those of [`SoftPrefix::from_bf16`].
    pub fn from_f32(hidden_size: usize, values: &[f32], rounding: Rounding) -> Result<Self, PrefixError> {
        Self::from_bf16(hidden_size, values.iter().map(|&value| rounding.round(value)).collect())
    }

    /// P, the number of rows.
    #[expect(clippy::len_without_is_empty, reason = "a prefix is never empty")]
    pub fn len(&self) -> usize {
        self.values.len() / self.hidden_size
    }

    /// H, the width of a row.
    pub fn hidden_size(&self) -> usize {
        self.hidden_size
    }

    /// All P x H values, row by row.
    pub fn values(&self) -> &[bf16] {
        &self.values
    }

    /// The H values of row `index`, or `None` from P on.
    pub fn get(&self, index: usize) -> Option<&[bf16]> {
        self.values.chunks_exact(self.hidden_size).nth(index)
    }

    /// The rows, first to last.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[bf16]> {
        self.values.chunks_exact(self.hidden_size)
    }

    /// L2 norm of each row, summed in f64.
    pub fn row_norms(&self) -> Vec<f32> {
        self.rows().map(|row| norm(row) as f32).collect()
    }

    /// Cosine between all values of two prefixes; `None` where their sizes differ or one is zero.
    pub fn cosine(&self, other: &Self) -> Option<f64> {
        if (self.hidden_size, self.values.len()) != (other.hidden_size, other.values.len()) {
            return None;
        }
        let pairs = self.values.iter().zip(other.values.iter());
        let product: f64 = pairs.map(|(a, b)| a.to_f64() * b.to_f64()).sum();
        let norms = norm(&self.values) * norm(&other.values);
        (norms > 0.0).then(|| product / norms)
    }

    /// SHA-256 of [`SoftPrefix::to_le_bytes`], lower-case hex.
    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(self.to_le_bytes()))
    }

    /// The values as little-endian u16 words, row by row: P x H x 2 bytes, as sent on the wire.
    pub fn to_le_bytes(&self) -> Vec<u8> {
        self.values
            .iter()
            .flat_map(|value| value.to_bits().to_le_bytes())
            .collect()
    }
}

/// L2 norm of one row, summed in f64 so that the order of magnitude of H does not matter.
pub(super) fn norm(row: &[bf16]) -> f64 {
    row.iter()
        .map(|value| value.to_f64() * value.to_f64())
        .sum::<f64>()
        .sqrt()
}

impl fmt::Debug for SoftPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SoftPrefix({} x {}, sha256 {})",
            self.len(),
            self.hidden_size,
            self.sha256()
        )
    }
}
