//! aarch64, with and without dot products of bytes. The 16 outputs of a panel are the lanes of four registers; a quad is the four of one
//! register. `pack.rs` describes panels, groups and the narrow form.
//!
//! Without dot products, bytes are multiplied to 16-bit words, two products are added as words (at most 2 * 128 * 127 = 32,512, which
//! fits), and pairs of words are added to 32-bit sums. The two sums of each output are added at the end of a block.
//!
//! Two instructions are written as assembly, because their intrinsics are not stable: `sdot`, and `fcvtl`, which widens four f16 and is
//! available on every aarch64.

#![allow(unsafe_code)]

use std::arch::aarch64::*;
use std::arch::asm;

use half::f16;

use super::block::{BLOCK, PANEL};
use super::pack::{Form, GROUP_BYTES, GROUPS, Panel};
use super::rows::QuantRows;

/// Maximum rows of a tile with dot products: four sums per row in 32 registers. The totals are updated once per block and may be
/// spilled.
pub(super) const MAX_DOT_TILE: usize = 4;
/// Maximum rows of a tile without dot products: eight sums per row.
pub(super) const MAX_TILE: usize = 2;

/// Quads per panel.
const QUADS: usize = PANEL / 4;

/// See `Tile`.
///
/// # Safety
/// As `Tile`; the processor has NEON and its dot product.
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn dot_tile(panel: Panel<'_>, x: &QuantRows, first_row: usize, tile: &mut [[f32; PANEL]]) {
    // SAFETY: what the caller promises is what `dot_rows` asks for; the tile's own length and the panel's form are chosen.
    unsafe { by_length!(dot_rows, panel, x, first_row, tile, [1, 2, 3; 4]) }
}

/// See `Tile`.
///
/// # Safety
/// As `Tile`; the processor has NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn tile(panel: Panel<'_>, x: &QuantRows, first_row: usize, tile: &mut [[f32; PANEL]]) {
    // SAFETY: what the caller promises is what `rows` asks for; the tile's own length and the panel's form are chosen.
    unsafe { by_length!(rows, panel, x, first_row, tile, [1; 2]) }
}

/// # Safety
/// The instructions exist; the rows `first_row .. first_row + R` exist; the panel has as many blocks as the rows, in the form selected
/// by `NARROW`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn dot_rows<const R: usize, const NARROW: bool>(
    panel: Panel<'_>,
    x: &QuantRows,
    first_row: usize,
    tile: &mut [[f32; PANEL]],
) {
    let blocks = x.blocks();
    let block_bytes = const { Form::of(NARROW).block_bytes() };
    debug_assert!(panel.weights.len() == blocks * block_bytes && panel.scales.len() == blocks * PANEL);
    debug_assert!(first_row + R <= x.len() && tile.len() == R);
    let mut totals = [[vdupq_n_f32(0.0); QUADS]; R];
    for block in 0..blocks {
        // SAFETY: block < blocks, so the panel has block_bytes bytes of weights and PANEL scales from these places on, and the rows
        // have R scales and R * BLOCK bytes from theirs on, since first_row + R <= x.len().
        unsafe {
            let weights = panel.weights.as_ptr().add(block * block_bytes);
            let place = block * x.len() + first_row;
            let bytes = x.bytes().as_ptr().add(place * BLOCK);
            let mut sums = first_sums::<R, NARROW>(x, place);
            for half in 0..2 {
                let mut inputs = [vdupq_n_s8(0); R];
                for (row, inputs) in inputs.iter_mut().enumerate() {
                    *inputs = vld1q_s8(bytes.add(row * BLOCK + half * 16));
                }
                for quad in 0..QUADS {
                    let mut groups = [vdupq_n_s8(0); 4];
                    for (group, weights_of_group) in groups.iter_mut().enumerate() {
                        *weights_of_group = quad_of::<NARROW>(weights, half * 4 + group, quad);
                    }
                    for (sums, inputs) in sums.iter_mut().zip(inputs) {
                        sums[quad] = dot::<0>(sums[quad], groups[0], inputs);
                        sums[quad] = dot::<1>(sums[quad], groups[1], inputs);
                        sums[quad] = dot::<2>(sums[quad], groups[2], inputs);
                        sums[quad] = dot::<3>(sums[quad], groups[3], inputs);
                    }
                }
            }
            add_block(&panel, x, block, place, &sums, &mut totals);
        }
    }
    store(&totals, tile);
}

/// # Safety
/// As [`dot_rows`], without dot products.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn rows<const R: usize, const NARROW: bool>(
    panel: Panel<'_>,
    x: &QuantRows,
    first_row: usize,
    tile: &mut [[f32; PANEL]],
) {
    let blocks = x.blocks();
    let block_bytes = const { Form::of(NARROW).block_bytes() };
    debug_assert!(panel.weights.len() == blocks * block_bytes && panel.scales.len() == blocks * PANEL);
    debug_assert!(first_row + R <= x.len() && tile.len() == R);
    let mut totals = [[vdupq_n_f32(0.0); QUADS]; R];
    for block in 0..blocks {
        // SAFETY: as in `dot_rows`.
        unsafe {
            let weights = panel.weights.as_ptr().add(block * block_bytes);
            let place = block * x.len() + first_row;
            let bytes = x.bytes().as_ptr().add(place * BLOCK);
            // For each quad of outputs: inputs 0+1 and 2+3 of outputs 0, 1; then of 2, 3.
            let mut pairs = [[[vdupq_n_s32(0); 2]; QUADS]; R];
            for two_groups in 0..BLOCK / 8 {
                let mut inputs = [[vdupq_n_s8(0); 2]; R];
                for (row, inputs) in inputs.iter_mut().enumerate() {
                    let fours = bytes.add(row * BLOCK + two_groups * 8).cast::<i32>();
                    *inputs = [
                        vreinterpretq_s8_s32(vdupq_n_s32(fours.read_unaligned())),
                        vreinterpretq_s8_s32(vdupq_n_s32(fours.add(1).read_unaligned())),
                    ];
                }
                for quad in 0..QUADS {
                    let first = quad_of::<NARROW>(weights, two_groups * 2, quad);
                    let second = quad_of::<NARROW>(weights, two_groups * 2 + 1, quad);
                    for (pairs, inputs) in pairs.iter_mut().zip(inputs) {
                        let low = vmull_s8(vget_low_s8(first), vget_low_s8(inputs[0]));
                        let low = vmlal_s8(low, vget_low_s8(second), vget_low_s8(inputs[1]));
                        let high = vmull_high_s8(first, inputs[0]);
                        let high = vmlal_high_s8(high, second, inputs[1]);
                        pairs[quad][0] = vpadalq_s16(pairs[quad][0], low);
                        pairs[quad][1] = vpadalq_s16(pairs[quad][1], high);
                    }
                }
            }
            let mut sums = first_sums::<R, NARROW>(x, place);
            for (sums, pairs) in sums.iter_mut().zip(pairs) {
                for (sum, pair) in sums.iter_mut().zip(pairs) {
                    *sum = vaddq_s32(*sum, vpaddq_s32(pair[0], pair[1]));
                }
            }
            add_block(&panel, x, block, place, &sums, &mut totals);
        }
    }
    store(&totals, tile);
}

/// Returns the initial sums of a block: zero, or the correction for the offset of 16 of each weight in the narrow form.
///
/// # Safety
/// The rows have R offsets from `place` on.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn first_sums<const R: usize, const NARROW: bool>(x: &QuantRows, place: usize) -> [[int32x4_t; QUADS]; R] {
    let mut sums = [[vdupq_n_s32(0); QUADS]; R];
    if NARROW {
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: in range by what the caller promises.
            *sums = [vdupq_n_s32(unsafe { *x.narrow_offsets().as_ptr().add(place + row) }); QUADS];
        }
    }
    sums
}

/// Loads the weights of outputs 4 * `quad` .. + 4 of a group: 0..=31 in the narrow form.
///
/// # Safety
/// `block` points to a block of the form selected by `NARROW`; `group` is below [`GROUPS`], `quad` below [`QUADS`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn quad_of<const NARROW: bool>(block: *const u8, group: usize, quad: usize) -> int8x16_t {
    // SAFETY: all places are inside the block.
    unsafe {
        if !NARROW {
            return vld1q_s8(block.add(group * GROUP_BYTES + quad * 16).cast());
        }
        let low = vld1q_u8(block.add(group / 2 * GROUP_BYTES + quad * 16));
        let fifth = vld1q_u8(block.add(GROUPS / 2 * GROUP_BYTES + quad * 16));
        let low = if group & 1 == 0 {
            vandq_u8(low, vdupq_n_u8(0x0f))
        } else {
            vshrq_n_u8::<4>(low)
        };
        // Moves bit `group` of each byte to bit 4: a shift by a negative number shifts right.
        let fifth = vshlq_u8(fifth, vdupq_n_s8(4 - group as i8));
        vreinterpretq_s8_u8(vorrq_u8(low, vandq_u8(fifth, vdupq_n_u8(0x10))))
    }
}

/// Scales the sums of a block and adds them to the totals.
///
/// # Safety
/// The panel has the block; the rows have R scales from `place` on.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn add_block<const R: usize>(
    panel: &Panel<'_>,
    x: &QuantRows,
    block: usize,
    place: usize,
    sums: &[[int32x4_t; QUADS]; R],
    totals: &mut [[float32x4_t; QUADS]; R],
) {
    // SAFETY: the places are in range by what the caller promises.
    unsafe {
        let scales = x.scales().as_ptr().add(place);
        for quad in 0..QUADS {
            let weight_scales = widen(panel.scales.as_ptr().add(block * PANEL + quad * 4));
            for row in 0..R {
                let scale = vmulq_f32(weight_scales, vdupq_n_f32(*scales.add(row)));
                totals[row][quad] = vfmaq_f32(totals[row][quad], vcvtq_f32_s32(sums[row][quad]), scale);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn store<const R: usize>(totals: &[[float32x4_t; QUADS]; R], tile: &mut [[f32; PANEL]]) {
    for (totals, out) in totals.iter().zip(tile) {
        for (total, out) in totals.iter().zip(out.as_chunks_mut::<4>().0) {
            // SAFETY: `out` is four floats.
            unsafe { vst1q_f32(out.as_mut_ptr(), *total) };
        }
    }
}

/// Adds to each sum the products of four weights with the four inputs in lane `LANE` of `inputs`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot<const LANE: usize>(sums: int32x4_t, weights: int8x16_t, inputs: int8x16_t) -> int32x4_t {
    let mut sums = sums;
    // SAFETY: uses only these registers; the instruction exists wherever this function may be called.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {inputs:v}.4b[{lane}]",
            sums = inout(vreg) sums, weights = in(vreg) weights, inputs = in(vreg) inputs, lane = const LANE,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}

/// Converts four f16 to f32, exactly.
///
/// # Safety
/// `halves` points to four numbers.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn widen(halves: *const f16) -> float32x4_t {
    let wide: float32x4_t;
    // SAFETY: the caller guarantees four readable numbers; the instruction uses only registers.
    unsafe {
        let halves = vld1_u16(halves.cast());
        asm!(
            "fcvtl {wide:v}.4s, {halves:v}.4h",
            wide = out(vreg) wide, halves = in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    wide
}
