//! Named random generators for prefixes. The same name and seed give the same numbers on every platform and in every version.

use serde::{Deserialize, Serialize};

use super::mersenne::Mersenne;

/// The algorithm that draws a random prefix. Its name is stored with every run; a changed algorithm gets a new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Generator {
    /// SplitMix64 (Steele, Lea, Flood 2014) started at the seed. Uniform: the upper 53 bits of each output, times 2^-53,
    /// as `2u - 1`. Normal: Marsaglia's polar method on such pairs, both values used in turn, `ln` from `libm`.
    #[default]
    #[serde(rename = "softprefix.splitmix64-v1")]
    SplitMix64V1,
    /// CPython's `random.Random(seed)` (Mersenne twister), for repeating old runs. Uniform: `uniform(-1, 1)`. Normal:
    /// `gauss(0, 1)` with its pairs; `log`, `sin` and `cos` are `libm`'s, which can differ from a C library's in the
    /// last bit of an f64, far below the precision of a bf16.
    #[serde(
        rename = "python.random",
        alias = "python.random.uniform",
        alias = "python.random.gauss"
    )]
    PythonRandom,
}

impl Generator {
    /// The name that runs record.
    pub fn name(self) -> &'static str {
        match self {
            Self::SplitMix64V1 => "softprefix.splitmix64-v1",
            Self::PythonRandom => "python.random",
        }
    }

    /// `count` of the candidates, drawn with replacement: the candidate at `floor(u * n)` for each u in [0, 1).
    pub fn sample(self, seed: u64, count: usize, candidates: &[u32]) -> Vec<u32> {
        let mut rng = self.seeded(seed);
        let place = |unit: f64| (unit * candidates.len() as f64) as usize;
        (0..count)
            .filter_map(|_| candidates.get(place(rng.unit())).copied())
            .collect()
    }

    /// `count` independent normal values of mean 0 and variance 1.
    pub fn normals(self, seed: u64, count: usize) -> Vec<f64> {
        let mut rng = self.seeded(seed);
        (0..count).map(|_| rng.normal()).collect()
    }

    pub(super) fn seeded(self, seed: u64) -> Draw {
        let source = match self {
            Self::SplitMix64V1 => Source::SplitMix64(seed),
            Self::PythonRandom => Source::Mersenne(Box::new(Mersenne::new(seed))),
        };
        Draw { source, spare: None }
    }
}

/// A generator with its state.
pub(super) struct Draw {
    source: Source,
    spare: Option<f64>,
}

enum Source {
    SplitMix64(u64),
    Mersenne(Box<Mersenne>),
}

impl Draw {
    /// Uniform in [0, 1), in steps of 2^-53.
    pub(super) fn unit(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1u64 << 53) as f64;
        let bits = match &mut self.source {
            Source::SplitMix64(state) => split_mix(state) >> 11,
            Source::Mersenne(twister) => twister.next_53_bits(),
        };
        bits as f64 * STEP
    }

    /// Uniform in [-1, 1).
    pub(super) fn uniform(&mut self) -> f64 {
        self.unit() * 2.0 - 1.0
    }

    /// Normal with mean 0 and variance 1.
    pub(super) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let (first, second) = match self.source {
            Source::SplitMix64(_) => self.polar(),
            Source::Mersenne(_) => self.box_muller(),
        };
        self.spare = Some(second);
        first
    }

    fn polar(&mut self) -> (f64, f64) {
        loop {
            let (x, y) = (self.uniform(), self.uniform());
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                // sqrt and division are exact by IEEE 754; the platform's own ln is not, hence libm.
                let factor = (-2.0 * libm::log(square) / square).sqrt();
                return (x * factor, y * factor);
            }
        }
    }

    /// As CPython's `gauss` computes its pairs.
    fn box_muller(&mut self) -> (f64, f64) {
        let angle = self.unit() * std::f64::consts::TAU;
        let radius = (-2.0 * libm::log(1.0 - self.unit())).sqrt();
        (libm::cos(angle) * radius, libm::sin(angle) * radius)
    }
}

/// The next output of SplitMix64 (Steele, Lea, Flood 2014), whose state starts as the seed.
pub fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
