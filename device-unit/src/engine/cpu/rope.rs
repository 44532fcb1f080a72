//! Rotary position embedding: rotates pairs of a head's values by angles proportional to the position.
//!
//! Angles, cosines and sines are computed in f64 by `libm`, which is pure Rust, and rounded once, so they are the same on every
//! processor.

/// Which elements of a head form a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// i and i + d/2 (qwen2).
    Halves,
    /// 2i and 2i + 1 (llama, whose GGUF rows are permuted accordingly).
    Adjacent,
}

/// Rotary position embedding of a model.
#[derive(Debug, Clone)]
pub struct Rope {
    pairing: Pairing,
    /// Radians per position, one for each pair.
    frequencies: Vec<f64>,
    /// YaRN's attention factor: every rotated value is multiplied by it.
    attention_factor: f64,
}

/// Scaling of the rotation to more positions than the model was first trained for.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaling {
    /// Divisor of the positions.
    pub factor: f32,
    /// YaRN (Peng 2023): keeps the frequency of fast pairs.
    pub yarn: Option<Yarn>,
    /// YaRN's attention factor (`rope.scaling.attn_factor`): every rotated value is multiplied by it.
    pub attention_factor: f32,
}

/// Parameters of YaRN.
#[derive(Debug, Clone, PartialEq)]
pub struct Yarn {
    /// Positions that the model was first trained for.
    pub original: usize,
    /// How much of their frequency fast pairs keep: 1 is all of it, 0 is linear scaling (`yarn_ext_factor`).
    pub mix: f32,
    /// Pairs with more rotations than this within `original` positions keep their frequency (`yarn_beta_fast`).
    pub fast: f32,
    /// Pairs with fewer rotations than this are scaled by the whole factor (`yarn_beta_slow`).
    pub slow: f32,
}

impl Rope {
    /// Creates the rotation of `dimensions` values per head. Pair i rotates by `base^(-2i / dimensions) / factors[i]` per position, before
    /// scaling.
    pub fn new(pairing: Pairing, dimensions: usize, base: f32, factors: Option<&[f32]>, scaling: &Scaling) -> Self {
        let mut attention_factor = f64::from(scaling.attention_factor);
        let mut frequencies: Vec<f64> = (0..dimensions / 2)
            .map(|i| {
                let frequency = libm::pow(f64::from(base), -2.0 * i as f64 / dimensions as f64);
                frequency
                    / factors
                        .and_then(|factors| factors.get(i))
                        .map_or(1.0, |&factor| f64::from(factor))
            })
            .collect();
        let factor = f64::from(scaling.factor);
        let frequency_share = scaling.yarn.as_ref().map(|yarn| yarn.frequency_share(dimensions, base));
        for (pair, frequency) in frequencies.iter_mut().enumerate() {
            let frequency_share = frequency_share
                .as_ref()
                .map_or(0.0, |frequency_share| frequency_share(pair));
            *frequency = *frequency / factor * (1.0 - frequency_share) + *frequency * frequency_share;
        }
        if scaling.yarn.as_ref().is_some_and(|yarn| yarn.mix != 0.0) {
            // YaRN (Peng 2023, section 3.4): 0.1 ln(factor) + 1. A factor below 1 leaves it unchanged.
            attention_factor *= 1.0 + 0.1 * libm::log(factor.max(1.0));
        }
        Self {
            pairing,
            frequencies,
            attention_factor,
        }
    }

    /// Returns the number of rotated pairs per head.
    pub fn pairs(&self) -> usize {
        self.frequencies.len()
    }

    /// Returns the number of values that [`Rope::angles`] writes.
    pub fn angles_len(&self) -> usize {
        2 * self.frequencies.len()
    }

    /// Writes the cosines, then the sines, of all pairs at `position`.
    pub fn angles(&self, position: usize, out: &mut [f32]) {
        let (cosines, sines) = out.split_at_mut(self.frequencies.len());
        for ((cos, sin), frequency) in cosines.iter_mut().zip(sines).zip(&self.frequencies) {
            let angle = position as f64 * frequency;
            *cos = (libm::cos(angle) * self.attention_factor) as f32;
            *sin = (libm::sin(angle) * self.attention_factor) as f32;
        }
    }

    /// Rotates one head by the angles of its position.
    pub fn rotate(&self, angles: &[f32], head: &mut [f32]) {
        let pairs = self.frequencies.len();
        let (cosines, sines) = angles.split_at(pairs);
        let turned = |a: f32, b: f32, cos: f32, sin: f32| (a * cos - b * sin, a * sin + b * cos);
        match self.pairing {
            Pairing::Halves => {
                let (first, second) = head.split_at_mut(pairs);
                for (((a, b), &cos), &sin) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
                    (*a, *b) = turned(*a, *b, cos, sin);
                }
            }
            Pairing::Adjacent => {
                for ((pair, &cos), &sin) in head.chunks_exact_mut(2).zip(cosines).zip(sines) {
                    (pair[0], pair[1]) = turned(pair[0], pair[1], cos, sin);
                }
            }
        }
    }
}

impl Yarn {
    /// Returns the share of its frequency that each pair keeps.
    fn frequency_share(&self, dimensions: usize, base: f32) -> impl Fn(usize) -> f64 {
        // The pair with this number of rotations within the original positions, as a fraction: base^(-2 pair / dimensions) is its
        // frequency.
        let pair_of = |rotations: f32| {
            let positions_per_radian = self.original as f64 / (f64::from(rotations) * std::f64::consts::TAU);
            dimensions as f64 * libm::log(positions_per_radian) / (2.0 * libm::log(f64::from(base)))
        };
        // The limits of the ramp must be llama.cpp's, also the last one, which is beyond the last pair, and the 0.001 where both are the same
        // pair.
        let first = libm::floor(pair_of(self.fast)).max(0.0);
        let last = libm::ceil(pair_of(self.slow)).min(dimensions as f64 - 1.0);
        let mix = f64::from(self.mix);
        move |pair| {
            let ramp = (pair as f64 - first) / (last - first).max(0.001);
            (1.0 - ramp.clamp(0.0, 1.0)) * mix
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNSCALED: Scaling = Scaling {
        factor: 1.0,
        yarn: None,
        attention_factor: 1.0,
    };

    #[test]
    fn a_linear_factor_divides_positions() {
        let scaled = Scaling {
            factor: 4.0,
            ..UNSCALED
        };
        let (plain, scaled) = (
            Rope::new(Pairing::Halves, 8, 10_000.0, None, &UNSCALED),
            Rope::new(Pairing::Halves, 8, 10_000.0, None, &scaled),
        );
        let (mut at_three, mut at_twelve) = (vec![0.0; 8], vec![0.0; 8]);
        plain.angles(3, &mut at_three);
        scaled.angles(12, &mut at_twelve);
        assert_eq!(at_three, at_twelve);
    }

    #[test]
    fn yarn_keeps_fast_pairs_and_slows_slow_ones_down() {
        let yarn = Yarn {
            original: 32_768,
            mix: 1.0,
            fast: 32.0,
            slow: 1.0,
        };
        let scaling = Scaling {
            factor: 4.0,
            yarn: Some(yarn),
            attention_factor: 1.0,
        };
        let plain = Rope::new(Pairing::Halves, 128, 1e6, None, &UNSCALED);
        let scaled = Rope::new(Pairing::Halves, 128, 1e6, None, &scaling);
        assert_eq!(plain.frequencies[0], scaled.frequencies[0]);
        assert_eq!(plain.frequencies[63] / 4.0, scaled.frequencies[63]);
        assert!((scaled.attention_factor - 1.138_629_436).abs() < 1e-9);
    }

    #[test]
    fn a_yarn_factor_below_one_keeps_the_attention_factor() {
        let yarn = Yarn {
            original: 256,
            mix: 1.0,
            fast: 32.0,
            slow: 1.0,
        };
        let scaling = Scaling {
            factor: 0.5,
            yarn: Some(yarn),
            attention_factor: 1.5,
        };
        assert_eq!(
            Rope::new(Pairing::Halves, 64, 10_000.0, None, &scaling).attention_factor,
            1.5
        );
    }

    #[test]
    fn a_rotation_keeps_lengths_and_is_the_identity_at_position_zero() {
        for pairing in [Pairing::Halves, Pairing::Adjacent] {
            let rope = Rope::new(pairing, 8, 10_000.0, None, &UNSCALED);
            let mut angles = vec![0.0; rope.angles_len()];
            let original = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0_f32];
            let mut head = original;
            rope.angles(0, &mut angles);
            rope.rotate(&angles, &mut head);
            assert_eq!(head, original);
            rope.angles(3, &mut angles);
            rope.rotate(&angles, &mut head);
            let length = |v: &[f32]| v.iter().map(|v| v * v).sum::<f32>();
            assert!(head != original && (length(&head) - length(&original)).abs() < 1e-3);
        }
    }
}
