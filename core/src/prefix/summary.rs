//! The summary of a prefix: size, digest and row norms.

use serde::{Deserialize, Serialize};

use super::soft_prefix::{SoftPrefix, norm};

/// Below this cosine a nearest token says nothing about the row, and is shown with a caution: rows of noise and
/// constant rows reach about 0.16 to some token.
pub const COSINE_CAUTION: f64 = 0.3;

/// Size, digest and row norms of a prefix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrefixSummary {
    /// P.
    pub len: usize,
    /// H.
    pub hidden_size: usize,
    /// SHA-256 of the bf16 bytes, lower-case hex.
    pub sha256: String,
    /// L2 norm of each row.
    pub norms: Vec<f64>,
    /// Smallest row norm.
    pub min: f64,
    /// Median row norm; of an even number of rows, the mean of the two in the middle.
    pub median: f64,
    /// Largest row norm.
    pub max: f64,
    /// The vocabulary's median L2 norm, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_norm: Option<f64>,
}

impl PrefixSummary {
    /// The summary of `prefix`; `token_norm` is the median L2 norm of the vocabulary's rows.
    pub fn of(prefix: &SoftPrefix, token_norm: Option<f64>) -> Self {
        let norms: Vec<f64> = prefix.rows().map(norm).collect();
        let mut sorted = norms.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied().unwrap_or_default();
        let last = sorted.len().saturating_sub(1);
        Self {
            len: prefix.len(),
            hidden_size: prefix.hidden_size(),
            sha256: prefix.sha256(),
            min: at(0),
            median: (at(last / 2) + at(sorted.len() / 2)) / 2.0,
            max: at(last),
            norms,
            token_norm: token_norm.filter(|norm| norm.is_finite() && *norm > 0.0),
        }
    }
}

/// A token whose embedding row points the same way as a row of the prefix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Token id in the model's vocabulary.
    pub id: u32,
    /// The token's text, with U+FFFD for bytes that are not a whole character.
    pub text: String,
    /// Cosine between the two rows, -1 to 1.
    pub cosine: f64,
}

impl Neighbour {
    /// Whether it is shown with a caution ([`COSINE_CAUTION`]).
    pub fn is_doubtful(&self) -> bool {
        self.cosine.is_nan() || self.cosine < COSINE_CAUTION
    }
}
