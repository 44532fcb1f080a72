//! x86-64 with AVX2, FMA and F16C, optionally with 256-bit dot products of bytes (AVX-VNNI). The 16 outputs of a panel are the lanes of
//! two registers.
//!
//! Without dot products of bytes, weights and activations are multiplied as 16-bit words: a register of weights (bytes 0 1 2 3 of each
//! output's four inputs) is split into its even bytes (inputs 0 and 2) and its odd ones (1 and 3), and activations are stored in that
//! order (`QuantRows::wide`). Nothing saturates: weights are 0..=255, and products are added in 32 bits.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::block::{BLOCK, PANEL};
use super::pack::{Form, GROUP_BYTES, GROUPS, Panel};
use super::rows::QuantRows;

/// Maximum rows of a tile: two sums per row in 16 registers. The totals are updated once per block and may be spilled.
pub(super) const MAX_TILE: usize = 4;
/// Maximum rows of a tile with AVX-VNNI, where weights are not split.
pub(super) const MAX_VNNI_TILE: usize = 6;

/// Prefetch distance of the weights in bytes. The hardware prefetcher stops at the end of a 4 KB page.
const PREFETCH_BYTES: usize = 2048;

/// See `Tile`.
///
/// # Safety
/// As `Tile`; the processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn tile(panel: Panel<'_>, x: &QuantRows, first_row: usize, tile: &mut [[f32; PANEL]]) {
    // SAFETY: what the caller promises is what `rows` asks for; the tile's own length and the panel's form are chosen.
    unsafe { by_length!(rows, panel, x, first_row, tile, [1, 2, 3; 4]) }
}

/// See `Tile`.
///
/// # Safety
/// As `Tile`; the processor has AVX2, FMA, F16C and AVX-VNNI.
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub(super) unsafe fn vnni_tile(panel: Panel<'_>, x: &QuantRows, first_row: usize, tile: &mut [[f32; PANEL]]) {
    // SAFETY: what the caller promises is what `vnni_rows` asks for; the tile's own length and the panel's form are chosen.
    unsafe { by_length!(vnni_rows, panel, x, first_row, tile, [1, 2, 3, 4, 5; 6]) }
}

/// # Safety
/// The instructions exist; the rows `first_row .. first_row + R` exist; the panel has as many blocks as the rows, in the form selected
/// by `NARROW`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn rows<const R: usize, const NARROW: bool>(
    panel: Panel<'_>,
    x: &QuantRows,
    first_row: usize,
    tile: &mut [[f32; PANEL]],
) {
    let blocks = x.blocks();
    let block_bytes = const { Form::of(NARROW).block_bytes() };
    let all_offsets = x.offsets(Form::of(NARROW));
    debug_assert!(panel.weights.len() == blocks * block_bytes && panel.scales.len() == blocks * PANEL);
    debug_assert!(first_row + R <= x.len() && tile.len() == R);
    let even_bytes = _mm256_set1_epi16(0x00ff);
    let mut totals = [[_mm256_setzero_ps(); 2]; R];
    for block in 0..blocks {
        // SAFETY: block < blocks, so the panel has block_bytes bytes of weights and PANEL scales from these places on, and the rows
        // have R scales, R offsets and R * BLOCK words from theirs on, since first_row + R <= x.len(). Loads are
        // unaligned ones.
        unsafe {
            let weights = panel.weights.as_ptr().add(block * block_bytes);
            let place = block * x.len() + first_row;
            let words = x.wide().as_ptr().add(place * BLOCK);
            let offsets = all_offsets.as_ptr().add(place);
            // Later tiles of the same panel find it in the cache.
            if first_row == 0 {
                prefetch(weights.wrapping_add(PREFETCH_BYTES), block_bytes);
            }
            let mut sums = [[_mm256_setzero_si256(); 2]; R];
            for (row, sums) in sums.iter_mut().enumerate() {
                *sums = [_mm256_set1_epi32(*offsets.add(row)); 2];
            }
            for group in 0..GROUPS {
                let [low, high] = if NARROW {
                    narrow_group(weights, group)
                } else {
                    wide_group(weights, group)
                };
                let even = [_mm256_and_si256(low, even_bytes), _mm256_and_si256(high, even_bytes)];
                let odd = [_mm256_srli_epi16::<8>(low), _mm256_srli_epi16::<8>(high)];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let inputs = words.add(row * BLOCK + group * 4).cast::<i32>();
                    let even_inputs = _mm256_set1_epi32(inputs.read_unaligned());
                    let odd_inputs = _mm256_set1_epi32(inputs.add(1).read_unaligned());
                    for half in 0..2 {
                        let sum = _mm256_add_epi32(sums[half], _mm256_madd_epi16(even[half], even_inputs));
                        sums[half] = _mm256_add_epi32(sum, _mm256_madd_epi16(odd[half], odd_inputs));
                    }
                }
            }
            add_block(&panel, x, block, place, &sums, &mut totals);
        }
    }
    store(&totals, tile);
}

/// # Safety
/// As [`rows`], and the processor has AVX-VNNI.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
unsafe fn vnni_rows<const R: usize, const NARROW: bool>(
    panel: Panel<'_>,
    x: &QuantRows,
    first_row: usize,
    tile: &mut [[f32; PANEL]],
) {
    let blocks = x.blocks();
    let block_bytes = const { Form::of(NARROW).block_bytes() };
    let all_offsets = x.offsets(Form::of(NARROW));
    debug_assert!(panel.weights.len() == blocks * block_bytes && panel.scales.len() == blocks * PANEL);
    debug_assert!(first_row + R <= x.len() && tile.len() == R);
    let mut totals = [[_mm256_setzero_ps(); 2]; R];
    for block in 0..blocks {
        // SAFETY: as in `rows`, with R * BLOCK bytes of activations in place of words.
        unsafe {
            let weights = panel.weights.as_ptr().add(block * block_bytes);
            let place = block * x.len() + first_row;
            let bytes = x.bytes().as_ptr().add(place * BLOCK);
            let offsets = all_offsets.as_ptr().add(place);
            // Later tiles of the same panel find it in the cache.
            if first_row == 0 {
                prefetch(weights.wrapping_add(PREFETCH_BYTES), block_bytes);
            }
            let mut sums = [[_mm256_setzero_si256(); 2]; R];
            for (row, sums) in sums.iter_mut().enumerate() {
                *sums = [_mm256_set1_epi32(*offsets.add(row)); 2];
            }
            for group in 0..GROUPS {
                let [low, high] = if NARROW {
                    narrow_group(weights, group)
                } else {
                    wide_group(weights, group)
                };
                for (row, sums) in sums.iter_mut().enumerate() {
                    let inputs = bytes.add(row * BLOCK + group * 4).cast::<i32>().read_unaligned();
                    let inputs = _mm256_set1_epi32(inputs);
                    sums[0] = _mm256_dpbusd_avx_epi32(sums[0], low, inputs);
                    sums[1] = _mm256_dpbusd_avx_epi32(sums[1], high, inputs);
                }
            }
            add_block(&panel, x, block, place, &sums, &mut totals);
        }
    }
    store(&totals, tile);
}

/// Prefetches `bytes` from `place` on. The range may extend beyond the weights, because nothing is read.
#[inline(always)]
pub(super) fn prefetch(place: *const u8, bytes: usize) {
    for line in 0..bytes / 64 {
        // SAFETY: a prefetch of an invalid address is ignored by the processor.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.wrapping_add(line * 64).cast()) };
    }
}

/// Scales the sums of a block and adds them to the totals.
///
/// # Safety
/// The instructions exist; the panel has the block; the rows have R scales from `place` on.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn add_block<const R: usize>(
    panel: &Panel<'_>,
    x: &QuantRows,
    block: usize,
    place: usize,
    sums: &[[__m256i; 2]; R],
    totals: &mut [[__m256; 2]; R],
) {
    // SAFETY: the places are in range by what the caller promises.
    unsafe {
        let scales = x.scales().as_ptr().add(place);
        for half in 0..2 {
            let weight_scales = panel.scales.as_ptr().add(block * PANEL + half * 8);
            let weight_scales = _mm256_cvtph_ps(_mm_loadu_si128(weight_scales.cast()));
            for row in 0..R {
                let scale = _mm256_mul_ps(weight_scales, _mm256_set1_ps(*scales.add(row)));
                totals[row][half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[row][half]), scale, totals[row][half]);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn store<const R: usize>(totals: &[[__m256; 2]; R], tile: &mut [[f32; PANEL]]) {
    for (totals, out) in totals.iter().zip(tile) {
        // SAFETY: `out` is 16 floats.
        unsafe {
            _mm256_storeu_ps(out.as_mut_ptr(), totals[0]);
            _mm256_storeu_ps(out.as_mut_ptr().add(8), totals[1]);
        }
    }
}

/// Loads the outputs 0..8 and 8..16 of a group.
///
/// # Safety
/// `block` points to a block of the wide form; `group` is below [`GROUPS`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn wide_group(block: *const u8, group: usize) -> [__m256i; 2] {
    // SAFETY: the group is inside the block.
    unsafe { halves(block.add(group * GROUP_BYTES)) }
}

/// Loads the outputs 0..8 and 8..16 of a group.
///
/// # Safety
/// `block` points to a block of the narrow form; `group` is below [`GROUPS`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn narrow_group(block: *const u8, group: usize) -> [__m256i; 2] {
    // SAFETY: both places are inside the block.
    let (low, fifth) = unsafe {
        (
            halves(block.add(group / 2 * GROUP_BYTES)),
            halves(block.add(GROUPS / 2 * GROUP_BYTES)),
        )
    };
    let mut both = low;
    for (low, fifth) in both.iter_mut().zip(fifth) {
        let four = if group & 1 == 0 {
            *low
        } else {
            _mm256_srli_epi16::<4>(*low)
        };
        // Moves bit `group` of each byte to bit 4; bits shifted in from the next byte are masked.
        let fifth = match group {
            0 => _mm256_slli_epi16::<4>(fifth),
            1 => _mm256_slli_epi16::<3>(fifth),
            2 => _mm256_slli_epi16::<2>(fifth),
            3 => _mm256_slli_epi16::<1>(fifth),
            4 => fifth,
            5 => _mm256_srli_epi16::<1>(fifth),
            6 => _mm256_srli_epi16::<2>(fifth),
            _ => _mm256_srli_epi16::<3>(fifth),
        };
        *low = _mm256_or_si256(
            _mm256_and_si256(four, _mm256_set1_epi8(0x0f)),
            _mm256_and_si256(fifth, _mm256_set1_epi8(0x10)),
        );
    }
    both
}

/// # Safety
/// `bytes` points to the bytes of a group.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn halves(bytes: *const u8) -> [__m256i; 2] {
    // SAFETY: two loads of 32 bytes of a group's 64.
    unsafe {
        [
            _mm256_loadu_si256(bytes.cast()),
            _mm256_loadu_si256(bytes.add(32).cast()),
        ]
    }
}
