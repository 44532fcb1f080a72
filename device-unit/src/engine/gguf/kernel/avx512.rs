//! x86-64 with AVX-512 (F, BW, VL, DQ) and its dot product of bytes (VNNI): a panel's 16 outputs are the lanes of one
//! register, and one instruction multiplies and adds four inputs of all of them.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::pack::{BLOCK_BYTES, Panel};
use super::tier::Kernel;
use super::{BLOCK, PANEL, QuantRows};

/// Most rows of a tile: two accumulators for each, of 32 registers.
pub(super) const MAX_TILE: usize = 12;

/// Runs a kernel compiled for these instructions.
///
/// # Safety
/// The processor has AVX2, FMA, F16C and AVX-512 F, BW, VL and DQ.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

/// See `Tile`.
///
/// # Safety
/// As `Tile`, for the instructions named above.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) unsafe fn tile(panel: Panel<'_>, x: &QuantRows, first_row: usize, tile: &mut [[f32; PANEL]]) {
    // SAFETY: what the caller promises is what `rows` asks for; each arm has the tile's own length.
    unsafe {
        match tile.len() {
            1 => rows::<1>(panel, x, first_row, tile),
            2 => rows::<2>(panel, x, first_row, tile),
            3 => rows::<3>(panel, x, first_row, tile),
            4 => rows::<4>(panel, x, first_row, tile),
            5 => rows::<5>(panel, x, first_row, tile),
            6 => rows::<6>(panel, x, first_row, tile),
            7 => rows::<7>(panel, x, first_row, tile),
            8 => rows::<8>(panel, x, first_row, tile),
            9 => rows::<9>(panel, x, first_row, tile),
            10 => rows::<10>(panel, x, first_row, tile),
            11 => rows::<11>(panel, x, first_row, tile),
            _ => rows::<12>(panel, x, first_row, tile),
        }
    }
}

/// # Safety
/// The instructions exist; the rows `first_row .. first_row + R` exist; the panel has as many blocks as the rows.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn rows<const R: usize>(panel: Panel<'_>, x: &QuantRows, first_row: usize, tile: &mut [[f32; PANEL]]) {
    let blocks = x.blocks();
    debug_assert!(panel.weights.len() == blocks * BLOCK_BYTES && panel.scales.len() == blocks * PANEL);
    debug_assert!(first_row + R <= x.len() && tile.len() == R);
    let mut totals = [_mm512_setzero_ps(); R];
    for block in 0..blocks {
        // SAFETY: block < blocks, so the panel has BLOCK_BYTES weights and PANEL scales from these places on, and the rows
        // have R scales, R offsets and R * BLOCK bytes from theirs on, since first_row + R <= x.len(). Loads are
        // unaligned ones.
        unsafe {
            let weights = panel.weights.as_ptr().add(block * BLOCK_BYTES);
            let place = block * x.len() + first_row;
            let bytes = x.bytes().as_ptr().add(place * BLOCK);
            let scales = x.scales().as_ptr().add(place);
            let offsets = x.offsets().as_ptr().add(place);
            let mut sums = [_mm512_setzero_si512(); R];
            for (row, sum) in sums.iter_mut().enumerate() {
                *sum = _mm512_set1_epi32(*offsets.add(row));
            }
            for group in 0..BLOCK / 4 {
                let four = _mm512_loadu_si512(weights.add(group * 64).cast());
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
