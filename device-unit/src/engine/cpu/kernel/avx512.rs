//! x86-64 with AVX-512 (F, BW, VL, DQ) and its dot product of bytes (VNNI): a panel's 16 outputs are the lanes of one
//! register, and one instruction multiplies and adds four inputs of all of them.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use half::f16;

use super::avx2::prefetch;
use super::block::{BLOCK, PANEL};
use super::pack::{Form, GROUP_BYTES, GROUPS, Panel};
use super::rows::QuantRows;

/// Maximum rows of a tile: two accumulators per row in 32 registers.
pub(super) const MAX_TILE: usize = 12;

/// Prefetch distance of the weights in bytes: the fastest for few and for many rows, measured on Zen 5. The hardware prefetcher stops at
/// the end of a 4 KB page, and runs less far ahead the more is computed in between.
const fn ahead(rows: usize) -> usize {
    if rows <= 4 { 4096 } else { 16384 }
}

/// See `Tile`.
///
/// # Safety
/// As `Tile`, for the instructions named above.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) unsafe fn tile(panel: Panel<'_>, x: &QuantRows, first_row: usize, tile: &mut [[f32; PANEL]]) {
    // SAFETY: what the caller promises is what `rows` asks for; the tile's own length and the panel's form are chosen.
    unsafe { by_length!(rows, panel, x, first_row, tile, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11; 12]) }
}

/// # Safety
/// The instructions exist; the rows `first_row .. first_row + R` exist; the panel has as many blocks as the rows, in the form selected
/// by `NARROW`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
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
    let mut totals = [_mm512_setzero_ps(); R];
    for block in 0..blocks {
        // SAFETY: block < blocks, so the panel has block_bytes bytes of weights and PANEL scales from these places on, and the rows
        // have R scales, R offsets and R * BLOCK bytes from theirs on, since first_row + R <= x.len(). Loads are
        // unaligned ones.
        unsafe {
            let weights = panel.weights.as_ptr().add(block * block_bytes);
            let place = block * x.len() + first_row;
            let bytes = x.bytes().as_ptr().add(place * BLOCK);
            let scales = x.scales().as_ptr().add(place);
            let offsets = all_offsets.as_ptr().add(place);
            // Later tiles of the same panel find it in the cache.
            if first_row == 0 {
                prefetch(weights.wrapping_add(ahead(R)), block_bytes);
            }
            let mut sums = [_mm512_setzero_si512(); R];
            for (row, sum) in sums.iter_mut().enumerate() {
                *sum = _mm512_set1_epi32(*offsets.add(row));
            }
            for group in 0..GROUPS {
                let four = if NARROW {
                    narrow_group(weights, group)
                } else {
                    wide_group(weights, group)
                };
                for (row, sum) in sums.iter_mut().enumerate() {
                    let inputs = bytes.add(row * BLOCK + group * 4).cast::<i32>().read_unaligned();
                    *sum = _mm512_dpbusd_epi32(*sum, four, _mm512_set1_epi32(inputs));
                }
            }
            let weight_scales = _mm512_cvtph_ps(_mm256_loadu_si256(panel.scales.as_ptr().add(block * PANEL).cast()));
            for (row, (total, sum)) in totals.iter_mut().zip(sums).enumerate() {
                let scale = _mm512_mul_ps(weight_scales, _mm512_set1_ps(*scales.add(row)));
                *total = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, *total);
            }
        }
    }
    for (total, out) in totals.iter().zip(tile) {
        // SAFETY: `out` is 16 floats.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), *total) };
    }
}

/// Adds the minima of a panel to a tile, as defined in `minima.rs`.
///
/// # Safety
/// The instructions exist; the rows from `first_row` on exist, 1..=[`MAX_TILE`] of them; `minima` has [`PANEL`] values for each block of
/// the rows.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn add_minima(minima: &[f16], x: &QuantRows, first_row: usize, tile: &mut [[f32; PANEL]]) {
    macro_rules! by_length {
        ($($length:literal),*) => {
            match tile.len() {
                // SAFETY: what the caller promises, and the tile's own length.
                $($length => unsafe { add_rests::<$length>(minima, x, first_row, tile) },)*
                _ => {}
            }
        };
    }
    by_length!(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);
}

/// # Safety
/// As [`add_minima`], with `R` rows.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn add_rests<const R: usize>(minima: &[f16], x: &QuantRows, first_row: usize, tile: &mut [[f32; PANEL]]) {
    debug_assert!(minima.len() == x.blocks() * PANEL && first_row + R <= x.len() && tile.len() == R);
    let mut rests = [_mm512_setzero_ps(); R];
    for block in 0..x.blocks() {
        // SAFETY: block < blocks, so there are PANEL minima and, since first_row + R <= x.len(), R sums from these places on.
        unsafe {
            let minima = _mm512_cvtph_ps(_mm256_loadu_si256(minima.as_ptr().add(block * PANEL).cast()));
            let sums = x.sums().as_ptr().add(block * x.len() + first_row);
            for (row, rest) in rests.iter_mut().enumerate() {
                *rest = _mm512_fmadd_ps(minima, _mm512_set1_ps(*sums.add(row)), *rest);
            }
        }
    }
    for (rest, out) in rests.iter().zip(tile) {
        // SAFETY: `out` is 16 floats.
        unsafe {
            let sum = _mm512_add_ps(_mm512_loadu_ps(out.as_ptr()), *rest);
            let number = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(sum, sum);
            _mm512_storeu_ps(out.as_mut_ptr(), _mm512_maskz_mov_ps(number, sum));
        }
    }
}

/// # Safety
/// `block` points to a block of the wide form; `group` is below [`GROUPS`].
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn wide_group(block: *const u8, group: usize) -> __m512i {
    // SAFETY: the group is inside the block.
    unsafe { _mm512_loadu_si512(block.add(group * GROUP_BYTES).cast()) }
}

/// # Safety
/// `block` points to a block of the narrow form; `group` is below [`GROUPS`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn narrow_group(block: *const u8, group: usize) -> __m512i {
    // SAFETY: both places are inside the block.
    let (low, fifth) = unsafe {
        (
            _mm512_loadu_si512(block.add(group / 2 * GROUP_BYTES).cast()),
            _mm512_loadu_si512(block.add(GROUPS / 2 * GROUP_BYTES).cast()),
        )
    };
    let low = if group & 1 == 0 {
        low
    } else {
        _mm512_srli_epi16::<4>(low)
    };
    // Moves bit `group` of each byte to bit 4; bits shifted in from the next byte are masked below.
    let fifth = match group {
        0 => _mm512_slli_epi16::<4>(fifth),
        1 => _mm512_slli_epi16::<3>(fifth),
        2 => _mm512_slli_epi16::<2>(fifth),
        3 => _mm512_slli_epi16::<1>(fifth),
        4 => fifth,
        5 => _mm512_srli_epi16::<1>(fifth),
        6 => _mm512_srli_epi16::<2>(fifth),
        _ => _mm512_srli_epi16::<3>(fifth),
    };
    // Selects bits of `low` where the mask is set, else of `fifth`: (mask & low) | (!mask & fifth).
    let both = _mm512_ternarylogic_epi32::<0b1100_1010>(_mm512_set1_epi8(0x0f), low, fifth);
    _mm512_and_si512(both, _mm512_set1_epi8(0x1f))
}
