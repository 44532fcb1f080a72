//! x86-64 with AVX2, FMA and F16C.

#![allow(unsafe_code)]

use super::tier::Kernel;

/// Runs a kernel compiled for these instructions.
///
/// # Safety
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}
