//! Quantised activations: signed bytes with a scale for every 32 values of a row. For each block of 32 values v:
//!
//! ```text
//! v     = 0 where it is NaN, otherwise limited to -2^100 ..= 2^100
//! m     = the largest |v|
//! scale = m / 127               0 and all bytes 0 where m < 2^-100
//! byte  = v * (127 / m), rounded to the nearest whole number, ties to even: always in -127..=127
//! ```

use std::sync::{Mutex, PoisonError};

use super::super::threads::Pool;
use super::block::BLOCK;
#[cfg(target_arch = "x86_64")]
use super::pack::Form;
use super::tier::{Kernel, Tier};

/// Activations are limited to this magnitude, so that products with any weight stay finite.
const MAX_MAGNITUDE: f32 = f32::from_bits((127 + 100) << 23);
/// Blocks below this magnitude are rounded to zero, so that no step has to handle subnormal numbers.
const MIN_MAGNITUDE: f32 = f32::from_bits((127 - 100) << 23);

/// Adding it rounds a value below 2^22 to an integer, ties to even, which is then in the low bits.
const ROUNDER: f32 = 12_582_912.0;

/// Rows of quantised activations. Reusing one for several products reuses its memory.
#[derive(Debug, Clone, Default)]
pub struct QuantRows {
    len: usize,
    inputs: usize,
    /// By block, then by row, 32 bytes each: the rows of a tile are adjacent.
    bytes: Vec<i8>,
    /// One per block and row, in the same order.
    scales: Vec<f32>,
    /// One per block and row: -128 times the sum of its bytes, which corrects for the offset of 128 of the weights on x86.
    #[cfg(target_arch = "x86_64")]
    offsets: Vec<i32>,
    /// One per block and row: the sum of its bytes times its scale, which is multiplied with the minima.
    sums: Vec<f32>,
    /// One per block and row: -16 times the sum of its bytes, which corrects for the offset of 16 of the weights in the narrow form.
    narrow_offsets: Vec<i32>,
    /// The bytes as 16-bit words for tiers without dot products of bytes, in the order 0 2 1 3 of each four.
    #[cfg(target_arch = "x86_64")]
    wide: Vec<i16>,
}

impl QuantRows {
    /// Creates an empty set of rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the contents by `rows`, with `inputs` values per row.
    ///
    /// # Panics
    /// If `inputs` is not a multiple of 32, or `rows` is not a whole number of rows.
    pub fn quantise(&mut self, rows: &[f32], inputs: usize) {
        self.resize(rows.len(), inputs);
        let blocks = self.blocks();
        for (first_block, into) in self.parts(blocks.max(1)) {
            Tier::best().run(Quantise {
                into,
                first_block,
                rows,
                inputs,
            });
        }
    }

    /// Like [`QuantRows::quantise`], on all threads if there are enough rows.
    ///
    /// # Panics
    /// See [`QuantRows::quantise`].
    pub fn quantise_on(&mut self, pool: &Pool, rows: &[f32], inputs: usize) {
        /// Values per task.
        const TASK: usize = 8192;
        if rows.len() < 2 * TASK {
            return self.quantise(rows, inputs);
        }
        self.resize(rows.len(), inputs);
        let blocks = (TASK / (self.len * BLOCK)).max(1);
        let parts: Vec<_> = self
            .parts(blocks)
            .into_iter()
            .map(|part| Mutex::new(Some(part)))
            .collect();
        pool.run(parts.len(), |index| {
            let part = parts[index].lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some((first_block, into)) = part {
                Tier::best().run(Quantise {
                    into,
                    first_block,
                    rows,
                    inputs,
                });
            }
        });
    }

    fn resize(&mut self, values: usize, inputs: usize) {
        assert_eq!(inputs % BLOCK, 0, "inputs come in blocks of {BLOCK}");
        self.len = values.checked_div(inputs).unwrap_or(0);
        assert_eq!(self.len * inputs, values, "a whole number of rows");
        self.inputs = inputs;
        self.bytes.resize(values, 0);
        self.scales.resize(values / BLOCK, 0.0);
        self.sums.resize(values / BLOCK, 0.0);
        self.narrow_offsets.resize(values / BLOCK, 0);
        #[cfg(target_arch = "x86_64")]
        {
            self.offsets.resize(values / BLOCK, 0);
            self.wide.resize(values, 0);
        }
    }

    /// Splits the blocks of all rows into parts of `blocks` blocks, each with the index of its first block.
    fn parts(&mut self, blocks: usize) -> Vec<(usize, Part<'_>)> {
        let places = (self.len * blocks).max(1);
        let first_blocks = (0..).step_by(blocks);
        let parts = self
            .bytes
            .chunks_mut(places * BLOCK)
            .zip(self.scales.chunks_mut(places))
            .zip(self.sums.chunks_mut(places))
            .zip(self.narrow_offsets.chunks_mut(places));
        #[cfg(target_arch = "x86_64")]
        let parts = parts
            .zip(self.offsets.chunks_mut(places))
            .zip(self.wide.chunks_mut(places * BLOCK))
            .map(|(((((bytes, scales), sums), narrow_offsets), offsets), wide)| Part {
                bytes,
                scales,
                sums,
                narrow_offsets,
                offsets,
                wide,
            });
        #[cfg(not(target_arch = "x86_64"))]
        let parts = parts.map(|(((bytes, scales), sums), narrow_offsets)| Part {
            bytes,
            scales,
            sums,
            narrow_offsets,
        });
        first_blocks.zip(parts).collect()
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns `true` if there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the number of values per row.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    pub(super) fn blocks(&self) -> usize {
        self.inputs / BLOCK
    }

    /// Returns the bytes of one block of one row.
    pub(super) fn block(&self, row: usize, block: usize) -> &[i8] {
        let at = (block * self.len + row) * BLOCK;
        &self.bytes[at..at + BLOCK]
    }

    /// Returns all bytes in memory order.
    pub(super) fn bytes(&self) -> &[i8] {
        &self.bytes
    }

    pub(super) fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Returns the correction for the weights' offset on x86, by block and row.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn offsets(&self, form: Form) -> &[i32] {
        match form {
            Form::Wide => &self.offsets,
            Form::Narrow => &self.narrow_offsets,
        }
    }

    pub(super) fn sums(&self) -> &[f32] {
        &self.sums
    }

    #[cfg(target_arch = "aarch64")]
    pub(super) fn narrow_offsets(&self) -> &[i32] {
        &self.narrow_offsets
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) fn wide(&self) -> &[i16] {
        &self.wide
    }

    /// Returns the scale of one block of one row.
    pub(super) fn scale(&self, row: usize, block: usize) -> f32 {
        self.scales[block * self.len + row]
    }
}

/// Some blocks of all rows: parts of the fields of [`QuantRows`].
struct Part<'a> {
    bytes: &'a mut [i8],
    scales: &'a mut [f32],
    sums: &'a mut [f32],
    narrow_offsets: &'a mut [i32],
    #[cfg(target_arch = "x86_64")]
    offsets: &'a mut [i32],
    #[cfg(target_arch = "x86_64")]
    wide: &'a mut [i16],
}

struct Quantise<'a> {
    into: Part<'a>,
    first_block: usize,
    rows: &'a [f32],
    inputs: usize,
}

impl Kernel for Quantise<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            into,
            first_block,
            rows,
            inputs,
        } = self;
        let len = rows.len() / inputs.max(1);
        for place in 0..into.scales.len() {
            let from = place % len * inputs + (first_block + place / len) * BLOCK;
            let Some(values) = rows[from..].first_chunk::<BLOCK>() else {
                return;
            };
            let (scale, bytes) = quantise_block(values);
            into.scales[place] = scale;
            into.bytes[place * BLOCK..(place + 1) * BLOCK].copy_from_slice(&bytes);
            let sum: i32 = bytes.iter().map(|byte| i32::from(*byte)).sum();
            into.narrow_offsets[place] = -16 * sum;
            into.sums[place] = sum as f32 * scale;
            #[cfg(target_arch = "x86_64")]
            {
                into.offsets[place] = -128 * sum;
                let wide = &mut into.wide[place * BLOCK..(place + 1) * BLOCK];
                for (wide, four) in wide.as_chunks_mut::<4>().0.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *wide = [four[0], four[2], four[1], four[3]].map(i16::from);
                }
            }
        }
    }
}

/// Computes the scale and the bytes of one block, as defined in the module documentation.
#[inline(always)]
fn quantise_block(values: &[f32; BLOCK]) -> (f32, [i8; BLOCK]) {
    let mut limited = [0.0f32; BLOCK];
    // The bits of positive floats are ordered like the floats, and comparisons of integers vectorize.
    let mut largest_bits = 0u32;
    for (limited, value) in limited.iter_mut().zip(values) {
        let value = if value.is_nan() { 0.0 } else { *value };
        let value = if value > MAX_MAGNITUDE { MAX_MAGNITUDE } else { value };
        *limited = if value < -MAX_MAGNITUDE { -MAX_MAGNITUDE } else { value };
        largest_bits = largest_bits.max(limited.to_bits() & 0x7fff_ffff);
    }
    let largest = f32::from_bits(largest_bits);
    if largest < MIN_MAGNITUDE {
        return (0.0, [0; BLOCK]);
    }
    let steps = 127.0 / largest;
    let mut bytes = [0; BLOCK];
    for (byte, value) in bytes.iter_mut().zip(&limited) {
        // The low byte of the rounder is zero.
        *byte = (value * steps + ROUNDER).to_bits() as u8 as i8;
    }
    (largest / 127.0, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_block(values: [f32; BLOCK]) -> (f32, Vec<i8>) {
        let mut rows = QuantRows::new();
        rows.quantise(&values, BLOCK);
        (rows.scale(0, 0), rows.block(0, 0).to_vec())
    }

    #[test]
    fn the_largest_value_becomes_127_and_the_others_keep_their_proportion() {
        let mut values = [0.0; BLOCK];
        values[0] = -2.54;
        values[1] = 1.0;
        values[2] = 0.03;
        let (scale, bytes) = one_block(values);
        assert_eq!(scale, 2.54 / 127.0);
        assert_eq!(&bytes[..4], &[-127, 50, 2, 0]); // 0.03 is 1.5 steps, a tie
    }

    #[test]
    fn ties_round_to_even() {
        let mut values = [0.0; BLOCK];
        values[0] = 127.0;
        values[1..7].copy_from_slice(&[0.5, 1.5, 2.5, -0.5, -1.5, -2.5]);
        assert_eq!(&one_block(values).1[1..7], &[0, 2, 2, 0, -2, -2]);
    }

    #[test]
    fn a_block_of_zeros_or_tiny_values_has_the_scale_zero() {
        for nothing in [0.0, -0.0, 1e-45, f32::MIN_POSITIVE, 7e-31] {
            let (scale, bytes) = one_block([nothing; BLOCK]);
            assert_eq!((scale.to_bits(), bytes), (0, vec![0; BLOCK]));
        }
    }

    #[test]
    fn non_finite_values_are_limited_to_numbers() {
        let mut values = [1.0; BLOCK];
        values[0] = f32::NAN;
        values[1] = -f32::NAN;
        let (scale, bytes) = one_block(values);
        assert_eq!((scale, &bytes[..3]), (1.0 / 127.0, &[0, 0, 127][..]));
        values[2] = f32::NEG_INFINITY;
        values[3] = f32::MAX;
        let (scale, bytes) = one_block(values);
        assert_eq!((scale, &bytes[..5]), (MAX_MAGNITUDE / 127.0, &[0, 0, -127, 127, 0][..]));
    }

    #[test]
    fn bytes_never_leave_plus_minus_127() {
        let mut state = 1u32;
        for _ in 0..20_000 {
            let values = std::array::from_fn(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                f32::from_bits(state)
            });
            let (scale, bytes) = one_block(values);
            assert!(scale.is_finite() && bytes.iter().all(|byte| *byte >= -127));
        }
    }

    #[test]
    fn rows_are_the_same_on_many_threads() {
        let values: Vec<f32> = (0..37 * 1024)
            .map(|i| ((i * 7919) % 1013) as f32 / 37.0 - 13.0)
            .collect();
        let (mut alone, mut shared) = (QuantRows::new(), QuantRows::new());
        for inputs in [32, 64, 1024, 37 * 1024] {
            alone.quantise(&values, inputs);
            shared.quantise_on(&Pool::new(3), &values, inputs);
            assert_eq!(format!("{alone:?}"), format!("{shared:?}"));
            for row in 0..alone.len() {
                let mut one = QuantRows::new();
                one.quantise(&values[row * inputs..(row + 1) * inputs], inputs);
                for block in 0..inputs / BLOCK {
                    assert_eq!(alone.block(row, block), one.block(0, block));
                    assert_eq!(alone.scale(row, block), one.scale(0, block));
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "blocks of 32")]
    fn a_row_must_be_a_whole_number_of_blocks() {
        QuantRows::new().quantise(&[0.0; 40], 40);
    }
}
