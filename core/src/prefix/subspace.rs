//! A random subspace around the rows of a prefix, in which a search proposes points.

use serde::{Deserialize, Serialize};

use super::error::PrefixError;
use super::generator::split_mix;

/// Most directions of a subspace.
pub const MAX_DIMENSION: usize = 256;

/// A random subspace of the P x H values of a prefix.
///
/// A direction has a sign for each value, all values of the same size (random signs: Achlioptas 2003), so that each of its rows has the L2
/// norm [`Subspace::step`]. The signs of a direction are bits of SplitMix64, lowest first, row by row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Subspace {
    /// Seed of the directions.
    pub seed: u64,
    /// Number of directions, 1 to [`MAX_DIMENSION`].
    pub dimension: usize,
    /// L2 norm of a row's displacement when one coordinate changes by 1.
    pub step: f64,
    /// Minimum and maximum L2 norm of each row; `None` for no limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norms: Option<(f64, f64)>,
}

impl Subspace {
    /// Adds the displacement of `point` to rows of `hidden_size` values, and brings each row's norm between [`Subspace::norms`].
    ///
    /// # Errors
    /// [`PrefixError::SubspaceUnusable`] where a number of the subspace or of the point cannot be used.
    pub(super) fn displace(&self, values: &mut [f64], hidden_size: usize, point: &[f64]) -> Result<(), PrefixError> {
        self.check(point)?;
        let size = self.step / (hidden_size as f64).sqrt();
        let mut seeds = self.seed;
        for coordinate in point {
            let mut signs = split_mix(&mut seeds);
            let by = coordinate * size;
            for values in values.chunks_mut(u64::BITS as usize) {
                let mut bits = split_mix(&mut signs);
                for value in values {
                    *value += if bits & 1 == 0 { by } else { -by };
                    bits >>= 1;
                }
            }
        }
        let Some((low, high)) = self.norms else {
            return Ok(());
        };
        for row in values.chunks_exact_mut(hidden_size) {
            let norm = row.iter().map(|value| value * value).sum::<f64>().sqrt();
            let wanted = norm.clamp(low, high);
            // A row of zeros has no direction and stays zero.
            if norm > 0.0 && wanted != norm {
                row.iter_mut().for_each(|value| *value *= wanted / norm);
            }
        }
        Ok(())
    }

    fn check(&self, point: &[f64]) -> Result<(), PrefixError> {
        let refused = |detail: String| Err(PrefixError::SubspaceUnusable { detail });
        if !(1..=MAX_DIMENSION).contains(&self.dimension) {
            return refused(format!("it has {} dimensions", self.dimension));
        }
        if point.len() != self.dimension {
            return refused(format!(
                "the point has {} coordinates in {} dimensions",
                point.len(),
                self.dimension
            ));
        }
        if let Some(value) = point.iter().chain([&self.step]).find(|value| !value.is_finite()) {
            return refused(format!("a coordinate or the step is {value}"));
        }
        match self.norms {
            Some((low, high)) if !(low >= 0.0 && low <= high && high.is_finite()) => {
                refused(format!("rows are to be kept between the norms {low} and {high}"))
            }
            _ => Ok(()),
        }
    }
}
