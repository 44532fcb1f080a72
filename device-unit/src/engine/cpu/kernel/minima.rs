//! What blocks with a minimum add to a product: formats like Q4_1 store a weight as scale * q + minimum.
//!
//! ```text
//! rest = 0
//! for b in 0 .. inputs / 32, in this order:
//!     t    = f32(sum of x[r][b]) * scale_x[r][b]                   one rounding, taken once for each row and block
//!     rest = fma(f32(minimum_w[o][b]), t, rest)                    one rounding
//! out[r][o] = acc + rest                                           one rounding; 0 where that is no number
//! ```
//!
//! It is added to what a tier's tile computed, by the same code for all tiers but one: of many rows compilers keep the sums in
//! memory, so `avx512.rs`, which has the registers for them, says it by itself. It knows one panel at a time.

use half::f16;

use super::block::PANEL;
use super::rows::QuantRows;
use super::tier::Kernel;

/// Rows worked on together: they share each minimum that is read.
const TOGETHER: usize = 4;

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
        for tile in self.tile.chunks_mut(TOGETHER) {
            match tile.len() {
                1 => add::<1>(self.minima, self.x, row, tile),
                2 => add::<2>(self.minima, self.x, row, tile),
                3 => add::<3>(self.minima, self.x, row, tile),
                _ => add::<TOGETHER>(self.minima, self.x, row, tile),
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

/// A finite f16 as f32, exact, in operations that compilers do for many lanes at once: the bits moved to their place stand
/// for the value times 2^-112, whether it is a normal number or a denormal.
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
