//! How a prefix is made: a description that can be stored, compared and built again to the same bytes. It knows no unit: the
//! embedding rows and the vocabulary's median norm are handed to it.

use half::bf16;
use serde::{Deserialize, Serialize};

use super::error::{PrefixError, too_large};
use super::generator::Generator;
use super::soft_prefix::{Rounding, SoftPrefix, norm};

/// Most rows a prefix may have: longer than the window of any model that runs on the module or beside it.
pub const MAX_LEN: usize = 65_536;

/// Everything that decides a prefix's bytes, apart from the model it is built for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrefixRecipe {
    pub kind: PrefixKind,
    /// P.
    pub len: usize,
    pub magnitude: Magnitude,
    #[serde(default)]
    pub rounding: Rounding,
}

/// Where the values come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum PrefixKind {
    /// Every value the same.
    Constant,
    /// Independent values, uniform in [-1, 1), before scaling.
    RandomUniform {
        seed: u64,
        #[serde(default)]
        generator: Generator,
    },
    /// Independent normal values of variance 1, before scaling.
    RandomNormal {
        seed: u64,
        #[serde(default)]
        generator: Generator,
    },
    /// The embedding rows of a text's tokens, repeated from the start or cut to P rows.
    Words { text: String },
}

impl PrefixKind {
    /// One or two words for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::RandomUniform { .. } => "random uniform",
            Self::RandomNormal { .. } => "random normal",
            Self::Words { .. } => "words",
        }
    }
}

/// How large the rows are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Magnitude {
    /// The factor v on the values as drawn (a constant prefix: the value itself), as existing scripts give it.
    Raw(f64),
    /// L2 norm of every row, over the vocabulary's median L2 norm.
    TokenNorms(f64),
    /// Rows of words exactly as the model has them.
    Unscaled,
}

/// Embedding rows of a text, as the unit answered them: one row of `hidden_size` values for each token.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingRows {
    pub hidden_size: usize,
    /// `tokens.len()` x `hidden_size` values, row by row.
    pub rows: Vec<bf16>,
    pub tokens: Vec<TokenPiece>,
}

/// A token and the text it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenPiece {
    pub id: u32,
    pub text: String,
}

impl PrefixRecipe {
    /// Builds the prefix for a model of width `hidden_size`.
    ///
    /// `table` holds the rows of the recipe's text ([`PrefixKind::Words`] only), `median_norm` the median L2 norm of the
    /// vocabulary's rows ([`Magnitude::TokenNorms`] only). Values are computed in f64, stored as f32 and then rounded to
    /// bf16, which for a constant is exactly what existing scripts do.
    ///
    /// # Errors
    /// Every [`PrefixError`] but those of the wire form and the window.
    pub fn build(
        &self,
        hidden_size: usize,
        table: Option<&EmbeddingRows>,
        median_norm: Option<f64>,
    ) -> Result<SoftPrefix, PrefixError> {
        if hidden_size == 0 {
            return Err(PrefixError::HiddenSizeZero);
        }
        match self.len {
            0 => return Err(PrefixError::LengthZero),
            len if len > MAX_LEN => return Err(too_large(len)),
            _ => {}
        }
        let count = self.len * hidden_size;
        let mut values: Vec<f64> = match &self.kind {
            PrefixKind::Constant => vec![1.0; count],
            PrefixKind::RandomUniform { seed, generator } => {
                let mut draw = generator.start(*seed);
                (0..count).map(|_| draw.uniform()).collect()
            }
            PrefixKind::RandomNormal { seed, generator } => {
                let mut draw = generator.start(*seed);
                (0..count).map(|_| draw.normal()).collect()
            }
            PrefixKind::Words { text } => {
                let rows = self.word_rows(text, hidden_size, table)?;
                if self.magnitude == Magnitude::Unscaled {
                    // No arithmetic may touch these bits: they must equal typing the tokens.
                    return SoftPrefix::from_bf16(hidden_size, rows);
                }
                rows.into_iter().map(bf16::to_f64).collect()
            }
        };
        match self.magnitude {
            Magnitude::Raw(v) => {
                if !v.is_finite() {
                    return Err(PrefixError::MagnitudeNotFinite { value: v });
                }
                values.iter_mut().for_each(|value| *value *= v);
            }
            Magnitude::TokenNorms(x) => {
                let wanted = x * self.usable_median(x, median_norm)?;
                for row in values.chunks_exact_mut(hidden_size) {
                    let length = row.iter().map(|value| value * value).sum::<f64>().sqrt();
                    // A row of zeros has no direction; it stays zero.
                    let factor = if length > 0.0 { wanted / length } else { 0.0 };
                    row.iter_mut().for_each(|value| *value *= factor);
                }
            }
            Magnitude::Unscaled => return Err(PrefixError::UnscaledNeedsWords { kind: self.kind.name() }),
        }
        let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
        SoftPrefix::from_f32(hidden_size, &values, self.rounding)
    }

    /// The raw value v of which a constant prefix of this magnitude consists, for showing it beside the token norms.
    pub fn raw_value(token_norms: f64, hidden_size: usize, median_norm: f64) -> f64 {
        token_norms * median_norm / (hidden_size as f64).sqrt()
    }

    /// The magnitude in token norms of a constant prefix of raw value v.
    pub fn token_norms(raw: f64, hidden_size: usize, median_norm: f64) -> f64 {
        raw.abs() * (hidden_size as f64).sqrt() / median_norm
    }

    fn word_rows(
        &self,
        text: &str,
        hidden_size: usize,
        table: Option<&EmbeddingRows>,
    ) -> Result<Vec<bf16>, PrefixError> {
        let table = table.ok_or_else(|| PrefixError::RowsMissing { text: text.to_owned() })?;
        if table.hidden_size != hidden_size {
            return Err(PrefixError::WrongWidth {
                got: table.hidden_size,
                hidden_size,
            });
        }
        if table.rows.is_empty() {
            return Err(PrefixError::NoTokens { text: text.to_owned() });
        }
        if !table.rows.len().is_multiple_of(hidden_size) {
            return Err(PrefixError::RaggedValues {
                got: table.rows.len(),
                hidden_size,
            });
        }
        Ok(table
            .rows
            .iter()
            .copied()
            .cycle()
            .take(self.len * hidden_size)
            .collect())
    }

    fn usable_median(&self, x: f64, median_norm: Option<f64>) -> Result<f64, PrefixError> {
        if !x.is_finite() {
            return Err(PrefixError::MagnitudeNotFinite { value: x });
        }
        if x < 0.0 {
            return Err(PrefixError::MagnitudeNegative { value: x });
        }
        match median_norm {
            Some(median) if median.is_finite() && median > 0.0 => Ok(median),
            Some(median) => Err(PrefixError::MedianNormUnusable {
                got: median.to_string(),
            }),
            None => Err(PrefixError::MedianNormUnusable { got: "none".to_owned() }),
        }
    }
}

impl EmbeddingRows {
    /// L2 norm of each token's row.
    pub fn norms(&self) -> Vec<f64> {
        self.rows.chunks(self.hidden_size.max(1)).map(norm).collect()
    }
}
