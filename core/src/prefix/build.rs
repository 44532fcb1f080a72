//! Construction of a prefix from its recipe.

use super::error::{PrefixError, check_size};
use super::recipe::{BlendEndpoint, EmbeddingRows, Magnitude, PrefixKind, PrefixRecipe};
use super::soft_prefix::SoftPrefix;

impl PrefixRecipe {
    /// Builds the prefix of a recipe that needs at most one set of rows (of words, of the vocabulary, or of a stored prefix); see
    /// [`PrefixRecipe::build_from`].
    ///
    /// # Errors
    /// Those of [`PrefixRecipe::build_from`].
    pub fn build(
        &self,
        hidden_size: usize,
        rows: Option<&EmbeddingRows>,
        median_norm: Option<f64>,
    ) -> Result<SoftPrefix, PrefixError> {
        self.build_from(hidden_size, rows.as_slice(), median_norm)
    }

    /// Builds the prefix for a model of width `hidden_size`.
    ///
    /// `rows` holds one entry for each of [`PrefixRecipe::needs`], in that order; `median_norm` is the median L2 norm of
    /// the vocabulary's rows ([`Magnitude::TokenNorms`] only). Values are computed in f64, stored as f32 and then rounded
    /// to bf16, as where a script fills an f32 array of NumPy or PyTorch with a constant.
    ///
    /// # Errors
    /// See the variants of [`PrefixError`] that name a recipe or its rows.
    pub fn build_from(
        &self,
        hidden_size: usize,
        rows: &[&EmbeddingRows],
        median_norm: Option<f64>,
    ) -> Result<SoftPrefix, PrefixError> {
        check_size(self.len, hidden_size)?;
        let mut values = self.base_values(&self.kind, hidden_size, rows)?;
        match self.magnitude {
            Magnitude::Raw(v) => {
                if !v.is_finite() {
                    return Err(PrefixError::MagnitudeNotFinite { value: v });
                }
                values.iter_mut().for_each(|value| *value *= v);
            }
            Magnitude::TokenNorms(x) => {
                if !x.is_finite() {
                    return Err(PrefixError::MagnitudeNotFinite { value: x });
                }
                if x < 0.0 {
                    return Err(PrefixError::MagnitudeNegative { value: x });
                }
                let norm = x * checked_median(median_norm)?;
                for row in values.chunks_exact_mut(hidden_size) {
                    scale_to_norm(row, norm);
                }
            }
            // The rows are used as they are: those of words equal the tokens' own bit for bit, since converting bf16 to f64, f32 and back is
            // exact.
            Magnitude::Unscaled if self.kind.allows_unscaled() => {}
            Magnitude::Unscaled => {
                return Err(PrefixError::MagnitudeMissing {
                    kind: self.kind.name().into(),
                });
            }
        }
        self.apply_envelopes(&self.kind, &mut values, hidden_size)?;
        let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
        SoftPrefix::from_f32(hidden_size, &values, self.rounding)
    }

    /// Computes the P x H values of `kind`, to which magnitude and envelopes are then applied.
    fn base_values(
        &self,
        kind: &PrefixKind,
        hidden_size: usize,
        rows: &[&EmbeddingRows],
    ) -> Result<Vec<f64>, PrefixError> {
        let count = self.len * hidden_size;
        Ok(match kind {
            PrefixKind::Constant => vec![1.0; count],
            PrefixKind::RandomUniform { seed, generator } => {
                let mut rng = generator.seeded(*seed);
                (0..count).map(|_| rng.uniform()).collect()
            }
            PrefixKind::RandomNormal { seed, generator } => {
                let mut rng = generator.seeded(*seed);
                (0..count).map(|_| rng.normal()).collect()
            }
            PrefixKind::Words { text } => {
                let rows = text_rows(rows.first().copied(), text, hidden_size)?;
                self.repeated(rows).collect()
            }
            PrefixKind::Blend { from, to, t } => {
                if !(0.0..=1.0).contains(t) {
                    return Err(PrefixError::BlendOutOfRange { t: *t });
                }
                let from = blend_endpoint_rows(rows.first().copied(), from, hidden_size)?;
                let to = blend_endpoint_rows(rows.get(1).copied(), to, hidden_size)?;
                if *t == 0.0 {
                    self.repeated(from).collect()
                } else if *t == 1.0 {
                    self.repeated(to).collect()
                } else {
                    self.blend(from, to, *t)
                }
            }
            PrefixKind::Contrast { text, minus } => {
                let first = text_rows(rows.first().copied(), text, hidden_size)?;
                let second = text_rows(rows.get(1).copied(), minus, hidden_size)?;
                let (first, second) = (mean(first), mean(second));
                let row: Vec<f64> = first.iter().zip(&second).map(|(a, b)| a - b).collect();
                if row.iter().all(|&value| value == 0.0) {
                    return Err(PrefixError::NoContrast {
                        text: text.clone(),
                        minus: minus.clone(),
                    });
                }
                row.iter().copied().cycle().take(count).collect()
            }
            PrefixKind::SampledVocabulary { .. } => {
                let rows = rows.first().copied().ok_or(PrefixError::SampleMissing)?;
                self.repeated(checked_rows(rows, hidden_size)?.ok_or(PrefixError::SampleMissing)?)
                    .collect()
            }
            PrefixKind::Imported { name, sha256, .. } => {
                let rows = stored_rows(rows.first().copied(), name, sha256, hidden_size)?;
                self.repeated(rows).collect()
            }
            PrefixKind::Chosen {
                name,
                parent: parent_sha256,
                subspace,
                point,
                ..
            } => {
                let parent = stored_rows(rows.first().copied(), name, parent_sha256, hidden_size)?;
                let mut values: Vec<f64> = self.repeated(parent).collect();
                subspace.displace(&mut values, hidden_size, point)?;
                values
            }
            // Its envelope is applied after the magnitude.
            PrefixKind::Shaped { of, .. } => self.base_values(of, hidden_size, rows)?,
        })
    }

    /// Iterates over the values of P rows: those of `rows`, repeated from the start or cut.
    fn repeated<'a>(&self, rows: &'a EmbeddingRows) -> impl Iterator<Item = f64> + 'a {
        let count = self.len * rows.hidden_size;
        rows.rows.iter().map(|value| value.to_f64()).cycle().take(count)
    }

    /// Interpolates the values, then scales each row to the interpolated norm. Where two rows cancel each other, the result is a row of
    /// zeros.
    fn blend(&self, from: &EmbeddingRows, to: &EmbeddingRows, t: f64) -> Vec<f64> {
        let hidden_size = from.hidden_size;
        let mut values: Vec<f64> = self
            .repeated(from)
            .zip(self.repeated(to))
            .map(|(a, b)| (1.0 - t) * a + t * b)
            .collect();
        let norms = |rows: &EmbeddingRows| rows.norms().into_iter().cycle().take(self.len).collect::<Vec<_>>();
        let norms = norms(from).into_iter().zip(norms(to));
        for (row, (a, b)) in values.chunks_exact_mut(hidden_size).zip(norms) {
            scale_to_norm(row, (1.0 - t) * a + t * b);
        }
        values
    }

    /// Applies the envelopes, the innermost first.
    fn apply_envelopes(&self, kind: &PrefixKind, values: &mut [f64], hidden_size: usize) -> Result<(), PrefixError> {
        let PrefixKind::Shaped { of, envelope } = kind else {
            return Ok(());
        };
        self.apply_envelopes(of, values, hidden_size)?;
        if envelope.is_empty() {
            return Err(PrefixError::EnvelopeEmpty);
        }
        if let Some(point) = envelope.iter().position(|factor| !factor.is_finite()) {
            return Err(PrefixError::EnvelopeNotFinite {
                point,
                value: envelope[point],
            });
        }
        for (row, row_values) in values.chunks_exact_mut(hidden_size).enumerate() {
            let factor = envelope_at(envelope, row, self.len);
            row_values.iter_mut().for_each(|value| *value *= factor);
        }
        Ok(())
    }
}

/// The factor of row `row` of `len`: the points of the envelope are spread evenly from the first row to the last and
/// interpolated linearly. A single row gets the first point. An empty envelope gives 1.
pub fn envelope_at(envelope: &[f64], row: usize, len: usize) -> f64 {
    let Some(last) = envelope.len().checked_sub(1) else {
        return 1.0;
    };
    let Some(last_row) = len.checked_sub(1).filter(|&last_row| last_row > 0) else {
        return envelope[0];
    };
    let position = row as f64 * last as f64 / last_row as f64;
    let below = (position.floor() as usize).min(last);
    let fraction = position - below as f64;
    let above = envelope[(below + 1).min(last)];
    // At a point the difference is not computed: for two factors near the limit of f64 it could be infinite.
    if fraction > 0.0 {
        envelope[below] + (above - envelope[below]) * fraction
    } else {
        envelope[below]
    }
}

/// Scales a row to an L2 norm. A row of zeros has no direction and stays zero.
fn scale_to_norm(row: &mut [f64], norm: f64) {
    let length = row.iter().map(|value| value * value).sum::<f64>().sqrt();
    let factor = if length > 0.0 { norm / length } else { 0.0 };
    row.iter_mut().for_each(|value| *value *= factor);
}

fn mean(rows: &EmbeddingRows) -> Vec<f64> {
    let mut sums = vec![0.0; rows.hidden_size];
    for row in rows.rows.chunks_exact(rows.hidden_size) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value.to_f64();
        }
    }
    let count = (rows.rows.len() / rows.hidden_size) as f64;
    sums.iter_mut().for_each(|sum| *sum /= count);
    sums
}

fn blend_endpoint_rows<'a>(
    rows: Option<&'a EmbeddingRows>,
    end: &BlendEndpoint,
    hidden_size: usize,
) -> Result<&'a EmbeddingRows, PrefixError> {
    match end {
        BlendEndpoint::Text(text) => text_rows(rows, text, hidden_size),
        BlendEndpoint::Stored { name, sha256 } => stored_rows(rows, name, sha256, hidden_size),
    }
}

fn text_rows<'a>(
    rows: Option<&'a EmbeddingRows>,
    text: &str,
    hidden_size: usize,
) -> Result<&'a EmbeddingRows, PrefixError> {
    let rows = rows.ok_or_else(|| PrefixError::RowsMissing { text: text.to_owned() })?;
    checked_rows(rows, hidden_size)?.ok_or_else(|| PrefixError::NoTokens { text: text.to_owned() })
}

/// Checks that `rows` are those of the stored prefix with this digest.
fn stored_rows<'a>(
    rows: Option<&'a EmbeddingRows>,
    name: &str,
    sha256: &str,
    hidden_size: usize,
) -> Result<&'a EmbeddingRows, PrefixError> {
    let missing = || PrefixError::StoredMissing {
        name: name.to_owned(),
        sha256: sha256.to_owned(),
    };
    let rows = checked_rows(rows.ok_or_else(missing)?, hidden_size)?.ok_or_else(missing)?;
    let found = SoftPrefix::from_bf16(hidden_size, rows.rows.clone())?.sha256();
    if found != sha256 {
        return Err(PrefixError::StoredDiffers {
            name: name.to_owned(),
            sha256: sha256.to_owned(),
            found,
        });
    }
    Ok(rows)
}

/// Checks that rows are whole, finite and of the right width. Returns `None` if there are none: what that means depends on the caller.
fn checked_rows(rows: &EmbeddingRows, hidden_size: usize) -> Result<Option<&EmbeddingRows>, PrefixError> {
    if rows.hidden_size != hidden_size {
        return Err(PrefixError::WrongWidth {
            got: rows.hidden_size,
            hidden_size,
        });
    }
    if !rows.rows.len().is_multiple_of(hidden_size) {
        return Err(PrefixError::RaggedValues {
            got: rows.rows.len(),
            hidden_size,
        });
    }
    if let Some(at) = rows.rows.iter().position(|value| !value.is_finite()) {
        return Err(PrefixError::NotFinite {
            row: at / hidden_size,
            column: at % hidden_size,
            value: rows.rows[at],
        });
    }
    Ok((!rows.rows.is_empty()).then_some(rows))
}

fn checked_median(median_norm: Option<f64>) -> Result<f64, PrefixError> {
    match median_norm {
        Some(median) if median.is_finite() && median > 0.0 => Ok(median),
        Some(median) => Err(PrefixError::MedianNormUnusable {
            got: median.to_string(),
        }),
        None => Err(PrefixError::MedianNormUnusable { got: "none".to_owned() }),
    }
}
