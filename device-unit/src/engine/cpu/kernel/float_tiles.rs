//! The inner loops of `float.rs` for each tier: multiplies a tile of rows with a strip and adds to their sums, which stay in registers.
//! Each sum is one fused multiply-add per term, in the order of the terms, so all tiers give the same bits.

// Intrinsics that load and store registers.
#![allow(unsafe_code)]

use super::float::{MAX_ROWS, STRIP};
use super::tier::Tier;

/// Adds the products of a tile's values with a strip to `sums`. `values` has the values of all rows of the tile for each term. Does
/// nothing for more than [`MAX_ROWS`] rows.
pub(super) fn multiply(tier: Tier, values: &[f32], strip: &[[f32; STRIP]], sums: &mut [[f32; STRIP]]) {
    match sums.len() {
        1 => rows::<1>(tier, values, strip, sums),
        2 => rows::<2>(tier, values, strip, sums),
        3 => rows::<3>(tier, values, strip, sums),
        4 => rows::<4>(tier, values, strip, sums),
        5 => rows::<5>(tier, values, strip, sums),
        MAX_ROWS => rows::<MAX_ROWS>(tier, values, strip, sums),
        _ => {}
    }
}

fn rows<const R: usize>(tier: Tier, values: &[f32], strip: &[[f32; STRIP]], sums: &mut [[f32; STRIP]]) {
    let Some(sums) = sums.first_chunk_mut::<R>() else {
        return;
    };
    let values = values.as_chunks::<R>().0;
    match tier.supported_or_scalar() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a supported tier has its instructions.
        Tier::Avx512Vnni => unsafe { avx512(values, strip, sums) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Tier::Avx2 | Tier::AvxVnni => unsafe { avx2(values, strip, sums) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Tier::Neon | Tier::NeonDot => unsafe { neon(values, strip, sums) },
        _ => scalar(values, strip, sums),
    }
}

/// The reference implementation.
fn scalar<const R: usize>(values: &[[f32; R]], strip: &[[f32; STRIP]], sums: &mut [[f32; STRIP]; R]) {
    for (values, weights) in values.iter().zip(strip) {
        for (value, sums) in values.iter().zip(sums.iter_mut()) {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum = value.mul_add(*weight, *sum);
            }
        }
    }
}

/// # Safety
/// The processor has AVX-512F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512<const R: usize>(values: &[[f32; R]], strip: &[[f32; STRIP]], sums: &mut [[f32; STRIP]; R]) {
    use std::arch::x86_64::*;
    const LANES: usize = 16;
    let mut low = [_mm512_setzero_ps(); R];
    let mut high = low;
    for row in 0..R {
        // SAFETY: a row has 32 values, of which each register takes 16.
        unsafe {
            low[row] = _mm512_loadu_ps(sums[row].as_ptr());
            high[row] = _mm512_loadu_ps(sums[row].as_ptr().add(LANES));
        }
    }
    for (values, weights) in values.iter().zip(strip) {
        // SAFETY: as above.
        let (first, second) = unsafe {
            (
                _mm512_loadu_ps(weights.as_ptr()),
                _mm512_loadu_ps(weights.as_ptr().add(LANES)),
            )
        };
        for row in 0..R {
            let value = _mm512_set1_ps(values[row]);
            low[row] = _mm512_fmadd_ps(value, first, low[row]);
            high[row] = _mm512_fmadd_ps(value, second, high[row]);
        }
    }
    for row in 0..R {
        // SAFETY: as above.
        unsafe {
            _mm512_storeu_ps(sums[row].as_mut_ptr(), low[row]);
            _mm512_storeu_ps(sums[row].as_mut_ptr().add(LANES), high[row]);
        }
    }
}

/// Computes one half strip after the other: 12 sums in 16 registers.
///
/// # Safety
/// The processor has AVX and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx,fma")]
unsafe fn avx2<const R: usize>(values: &[[f32; R]], strip: &[[f32; STRIP]], sums: &mut [[f32; STRIP]; R]) {
    use std::arch::x86_64::*;
    const LANES: usize = 8;
    for half in 0..2 {
        let at = half * STRIP / 2;
        let mut low = [_mm256_setzero_ps(); R];
        let mut high = low;
        for row in 0..R {
            // SAFETY: half a row has 16 values, of which each register takes 8.
            unsafe {
                low[row] = _mm256_loadu_ps(sums[row].as_ptr().add(at));
                high[row] = _mm256_loadu_ps(sums[row].as_ptr().add(at + LANES));
            }
        }
        for (values, weights) in values.iter().zip(strip) {
            // SAFETY: as above.
            let (first, second) = unsafe {
                let weights = weights.as_ptr().add(at);
                (_mm256_loadu_ps(weights), _mm256_loadu_ps(weights.add(LANES)))
            };
            for row in 0..R {
                let value = _mm256_set1_ps(values[row]);
                low[row] = _mm256_fmadd_ps(value, first, low[row]);
                high[row] = _mm256_fmadd_ps(value, second, high[row]);
            }
        }
        for row in 0..R {
            // SAFETY: as above.
            unsafe {
                _mm256_storeu_ps(sums[row].as_mut_ptr().add(at), low[row]);
                _mm256_storeu_ps(sums[row].as_mut_ptr().add(at + LANES), high[row]);
            }
        }
    }
}

/// Computes one half strip after the other: 24 sums in 32 registers.
///
/// # Safety
/// The processor has NEON.
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
unsafe fn neon<const R: usize>(values: &[[f32; R]], strip: &[[f32; STRIP]], sums: &mut [[f32; STRIP]; R]) {
    use std::arch::aarch64::*;
    const LANES: usize = 4;
    const QUADS: usize = STRIP / 2 / LANES;
    for half in 0..2 {
        let at = half * STRIP / 2;
        let mut of_rows = [[vdupq_n_f32(0.0); QUADS]; R];
        for row in 0..R {
            for quad in 0..QUADS {
                // SAFETY: half a row has 16 values, of which each register takes 4.
                of_rows[row][quad] = unsafe { vld1q_f32(sums[row].as_ptr().add(at + quad * LANES)) };
            }
        }
        for (values, weights) in values.iter().zip(strip) {
            let mut of_weights = [vdupq_n_f32(0.0); QUADS];
            for (quad, weight) in of_weights.iter_mut().enumerate() {
                // SAFETY: as above.
                *weight = unsafe { vld1q_f32(weights.as_ptr().add(at + quad * LANES)) };
            }
            for row in 0..R {
                let value = vdupq_n_f32(values[row]);
                for quad in 0..QUADS {
                    of_rows[row][quad] = vfmaq_f32(of_rows[row][quad], value, of_weights[quad]);
                }
            }
        }
        for row in 0..R {
            for quad in 0..QUADS {
                // SAFETY: as above.
                unsafe { vst1q_f32(sums[row].as_mut_ptr().add(at + quad * LANES), of_rows[row][quad]) };
            }
        }
    }
}
