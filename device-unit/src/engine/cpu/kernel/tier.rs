//! Instruction sets of the kernels, detected at run time or forced for a test.

// Calls of functions compiled for instructions that were detected.
#![allow(unsafe_code)]

use std::fmt;
use std::str::FromStr;

/// The environment variable that forces a tier.
pub const TIER_VARIABLE: &str = "SOFTPREFIX_KERNEL";

/// An instruction set that the kernels are written for. All tiers give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    /// No particular instructions: the reference implementation.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// AVX2 with 256-bit dot products of bytes.
    AvxVnni,
    /// x86-64 with AVX-512 (F, BW, VL, DQ) and its dot product of bytes.
    Avx512Vnni,
    /// Any aarch64.
    Neon,
    /// aarch64 with dot products of bytes.
    NeonDot,
}

/// A computation that is compiled once for each tier: the compiler vectorizes its loops with the tier's instructions.
///
/// `run` and the functions it calls must be `#[inline(always)]`. Because Rust does not reorder or fuse floating-point operations, all
/// tiers give the same bits.
pub trait Kernel {
    /// The result of the computation.
    type Output;
    /// Runs the computation.
    fn run(self) -> Self::Output;
}

impl Tier {
    /// All tiers, supported or not.
    pub const ALL: [Self; 6] = [
        Self::Scalar,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512Vnni,
        Self::Neon,
        Self::NeonDot,
    ];

    /// Returns the fastest tier that this processor supports.
    pub fn best() -> Self {
        [Self::Avx512Vnni, Self::AvxVnni, Self::Avx2, Self::NeonDot, Self::Neon]
            .into_iter()
            .find(|tier| tier.is_supported())
            .unwrap_or(Self::Scalar)
    }

    /// Returns the tier named by the environment variable `SOFTPREFIX_KERNEL`, or the fastest if it is unset or empty.
    ///
    /// # Errors
    /// Fails if the name is unknown, or this processor does not support the tier.
    pub fn from_env() -> Result<Self, TierError> {
        match std::env::var(TIER_VARIABLE) {
            Ok(name) if !name.is_empty() => name.parse(),
            _ => Ok(Self::best()),
        }
    }

    /// Returns the name, as used in the environment variable and in an engine's description.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Neon => "neon",
            Self::NeonDot => "neon-dot",
        }
    }

    /// Returns `true` if this processor has the tier's instructions.
    pub fn is_supported(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => Self::Avx2.is_supported() && is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => {
                Self::Avx2.is_supported()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot => Self::Neon.is_supported() && std::arch::is_aarch64_feature_detected!("dotprod"),
            #[allow(unreachable_patterns)] // depends on the architecture
            _ => false,
        }
    }

    /// Runs `kernel` compiled for this tier, or for no particular instructions if this processor does not support the tier.
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.supported_or_scalar() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a supported tier has the instructions that its `run` function is compiled for.
            Self::Avx512Vnni => unsafe { run_avx512(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Avx2 | Self::AvxVnni => unsafe { run_avx2(kernel) },
            // Scalar needs nothing; aarch64 always has the instructions of these kernels.
            _ => kernel.run(),
        }
    }

    pub(super) fn supported_or_scalar(self) -> Self {
        if self.is_supported() { self } else { Self::Scalar }
    }
}

/// Runs a kernel compiled for AVX2, FMA and F16C.
///
/// # Safety
/// The processor has AVX2, FMA and F16C.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

/// Runs a kernel compiled for AVX-512.
///
/// # Safety
/// The processor has AVX2, FMA, F16C and AVX-512 F, BW, VL and DQ.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Tier {
    type Err = TierError;

    fn from_str(name: &str) -> Result<Self, TierError> {
        let tier = Self::ALL
            .into_iter()
            .find(|tier| tier.name() == name)
            .ok_or_else(|| TierError::Unknown {
                name: name.to_owned(),
                usable: usable(),
            })?;
        if tier.is_supported() {
            Ok(tier)
        } else {
            Err(TierError::Unsupported { tier, usable: usable() })
        }
    }
}

fn usable() -> String {
    let names: Vec<&str> = Tier::ALL
        .into_iter()
        .filter(|tier| tier.is_supported())
        .map(Tier::name)
        .collect();
    names.join(", ")
}

/// Why a tier cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TierError {
    /// The variable names an unknown tier.
    #[error(
        "SOFTPREFIX_KERNEL is {name:?}, which is not a kernel; this processor supports {usable}: choose one of these, or unset the variable"
    )]
    Unknown {
        /// The given name.
        name: String,
        /// Names of the tiers that this processor supports.
        usable: String,
    },
    /// The variable names a tier that this processor does not support.
    #[error(
        "SOFTPREFIX_KERNEL is {tier}, which this processor does not support; it supports {usable}: choose one of these, or unset the variable"
    )]
    Unsupported {
        /// The tier.
        tier: Tier,
        /// Names of the tiers that this processor supports.
        usable: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_parsed_or_refused_as_unsupported() {
        for tier in Tier::ALL {
            match tier.name().parse::<Tier>() {
                Ok(read) => assert_eq!(read, tier),
                Err(TierError::Unsupported { tier: refused, .. }) => assert!(refused == tier && !tier.is_supported()),
                Err(other) => panic!("{other}"),
            }
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_supported_ones() {
        let message = "sse9".parse::<Tier>().unwrap_err().to_string();
        assert!(message.contains("sse9") && message.contains("scalar"), "{message}");
    }

    #[test]
    fn the_fastest_tier_is_supported() {
        assert!(Tier::best().is_supported());
    }
}
