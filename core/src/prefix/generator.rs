//! Named random generators for prefixes: the same name and seed give the same numbers on every platform, for ever.
//!
//! It draws numbers and knows nothing of rows or magnitudes.

use serde::{Deserialize, Serialize};

/// Which generator draws a random prefix. The name is stored with every run; a changed algorithm gets a new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Generator {
    /// SplitMix64 (Steele, Lea, Flood 2014) started at the seed. Uniform: the upper 53 bits of each output, times 2^-53,
    /// as `2u - 1`. Normal: Marsaglia's polar method on such pairs, both values used in turn, `ln` from `libm`.
    #[default]
    #[serde(rename = "softprefix.splitmix64-v1")]
    SplitMix64V1,
}

impl Generator {
    /// The name under which runs record it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SplitMix64V1 => "softprefix.splitmix64-v1",
        }
    }

    pub(super) fn start(self, seed: u64) -> Draw {
        match self {
            Self::SplitMix64V1 => Draw {
                state: seed,
                spare: None,
            },
        }
    }
}

/// A generator at work.
pub(super) struct Draw {
    state: u64,
    spare: Option<f64>,
}

impl Draw {
    fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [-1, 1).
    pub(super) fn uniform(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1u64 << 53) as f64;
        (self.next_u64() >> 11) as f64 * STEP * 2.0 - 1.0
    }

    /// Normal with mean 0 and variance 1.
    pub(super) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (x, y) = (self.uniform(), self.uniform());
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                // sqrt and division are exact by IEEE 754; the platform's own ln is not, hence libm.
                let factor = (-2.0 * libm::log(square) / square).sqrt();
                self.spare = Some(y * factor);
                return x * factor;
            }
        }
    }
}
