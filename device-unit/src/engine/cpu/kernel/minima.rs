//! The contribution of block minima to a product: formats like Q4_1 store a weight as scale * q + minimum.
//!
//! x: quantised activations, row r; w: weights, output o; b: block of 32 inputs, with a scale in x and a minimum in w; acc: what the tier's
//! tile holds, the product without minima. [`QuantRows`] has t as its sums.
//!
//! ```text
//! rest = 0
//! for b in 0 .. inputs / 32, in this order:
//!     t    = f32(sum of x[r][b]) * scale_x[r][b]                   one rounding, taken once for each row and block
//!     rest = fma(f32(minimum_w[o][b]), t, rest)                    one rounding
//! out[r][o] = acc + rest                                           one rounding; 0 if that is NaN
//! ```
//!
//! The last sum is NaN where acc and rest are infinite with opposite signs. It becomes 0, because processors differ in the NaNs they
//! produce.
//!
//! Added to the result of a tier's tile by the same code for all tiers except AVX-512: for many rows compilers keep these sums in memory,
//! so `avx512.rs`, which has enough registers, implements it with intrinsics.

use half::f16;

use super::block::PANEL;
use super::rows::QuantRows;
use super::tier::Kernel;

/// Rows that are processed together and share each loaded minimum.
const ROWS_PER_PASS: usize = 4;

/// Adds the minima of one panel to the results of a tile.
pub(super) struct AddMinima<'a> {
    /// Blocks x [`PANEL`].
    pub(super) minima: &'a [f16],
    pub(super) x: &'a QuantRows,
    pub(super) first_row: usize,
    pub(super) tile: &'a mut [[f32; PANEL]],
}

impl Kernel for AddMinima<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let mut row = self.first_row;
        for tile in self.tile.chunks_mut(ROWS_PER_PASS) {
            match tile.len() {
                1 => add::<1>(self.minima, self.x, row, tile),
                2 => add::<2>(self.minima, self.x, row, tile),
                3 => add::<3>(self.minima, self.x, row, tile),
                _ => add::<ROWS_PER_PASS>(self.minima, self.x, row, tile),
            }
            row += tile.len();
        }
    }
}

#[inline(always)]
fn add<const R: usize>(minima: &[f16], x: &QuantRows, first_row: usize, tile: &mut [[f32; PANEL]]) {
    let mut rest = [[0.0f32; PANEL]; R];
    for (minima, sums) in minima.as_chunks::<PANEL>().0.iter().zip(x.sums().chunks_exact(x.len())) {
        let mut wide = [0.0f32; PANEL];
        for (wide, minimum) in wide.iter_mut().zip(minima) {
            *wide = widen(*minimum);
        }
        for (rest, sum) in rest.iter_mut().zip(&sums[first_row..]) {
            for (rest, minimum) in rest.iter_mut().zip(&wide) {
                *rest = minimum.mul_add(*sum, *rest);
            }
        }
    }
    for (out, rest) in tile.iter_mut().zip(&rest) {
        for (out, rest) in out.iter_mut().zip(rest) {
            let sum = *out + rest;
            *out = if sum.is_nan() { 0.0 } else { sum };
        }
    }
}

/// Converts a finite f16 to f32 exactly, with operations that vectorize: the shifted bits represent the value times 2^-112, for
/// normal and subnormal numbers alike.
#[inline(always)]
pub(super) fn widen(value: f16) -> f32 {
    const SCALE: f32 = f32::from_bits((127 + 112) << 23);
    let bits = u32::from(value.to_bits());
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * SCALE;
    f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_f16_is_widened_exactly() {
        for bits in 0..=u16::MAX {
            let value = f16::from_bits(bits);
            if value.is_finite() {
                assert_eq!(widen(value).to_bits(), value.to_f32().to_bits());
            }
        }
    }
}
