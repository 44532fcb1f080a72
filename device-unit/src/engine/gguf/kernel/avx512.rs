//! x86-64 with AVX-512 (F, BW, VL, DQ) and its dot product of bytes.

#![allow(unsafe_code)]

use super::tier::Kernel;

/// Runs a kernel compiled for these instructions.
///
/// # Safety
/// The processor has AVX2, FMA, F16C and AVX-512 F, BW, VL and DQ.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}
