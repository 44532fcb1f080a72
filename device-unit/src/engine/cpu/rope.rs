//! Rotary position embedding: pairs of a head's values turn by angles that grow with the position.
//!
//! Angles, cosines and sines are computed in f64 by `libm`, which is Rust all the way down, and rounded once, so that every
//! processor turns by the same amount. It knows heads and positions, not models.

/// Which elements of a head a rotation pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// i with i + d/2 (qwen2).
    Halves,
    /// 2i with 2i + 1 (llama, whose GGUF rows are permuted for it).
    Neighbours,
}

/// Rotary position embedding: how fast each pair turns.
#[derive(Debug, Clone)]
pub struct Rope {
    pairing: Pairing,
    /// Radians per position, one for each pair.
    speeds: Vec<f64>,
}

impl Rope {
    /// `dimensions` of a head turn, pair i by `base^(-2i / dimensions) / factors[i]` per position.
    pub fn new(pairing: Pairing, dimensions: usize, base: f32, factors: Option<&[f32]>) -> Self {
        let speeds = (0..dimensions / 2)
            .map(|i| {
                let speed = libm::pow(f64::from(base), -2.0 * i as f64 / dimensions as f64);
                speed
                    / factors
                        .and_then(|factors| factors.get(i))
                        .map_or(1.0, |&factor| f64::from(factor))
            })
            .collect();
        Self { pairing, speeds }
    }

    /// Values that [`Rope::angles`] writes for one position.
    pub fn angles_len(&self) -> usize {
        2 * self.speeds.len()
    }

    /// Cosines, then sines, of all pairs at `position`.
    pub fn angles(&self, position: usize, out: &mut [f32]) {
        let (cosines, sines) = out.split_at_mut(self.speeds.len());
        for ((cos, sin), speed) in cosines.iter_mut().zip(sines).zip(&self.speeds) {
            let angle = position as f64 * speed;
            *cos = libm::cos(angle) as f32;
            *sin = libm::sin(angle) as f32;
        }
    }

    /// Turns one head by the angles of its position.
    pub fn turn(&self, angles: &[f32], head: &mut [f32]) {
        let pairs = self.speeds.len();
        let (cosines, sines) = angles.split_at(pairs);
        let turned = |a: f32, b: f32, cos: f32, sin: f32| (a * cos - b * sin, a * sin + b * cos);
        match self.pairing {
            Pairing::Halves => {
                let (first, second) = head.split_at_mut(pairs);
                for (((a, b), &cos), &sin) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
                    (*a, *b) = turned(*a, *b, cos, sin);
                }
            }
            Pairing::Neighbours => {
                for ((pair, &cos), &sin) in head.chunks_exact_mut(2).zip(cosines).zip(sines) {
                    (pair[0], pair[1]) = turned(pair[0], pair[1], cos, sin);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_keeps_lengths_and_turns_nothing_at_position_zero() {
        for pairing in [Pairing::Halves, Pairing::Neighbours] {
            let rope = Rope::new(pairing, 8, 10_000.0, None);
            let mut angles = vec![0.0; rope.angles_len()];
            let original = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0_f32];
            let mut head = original;
            rope.angles(0, &mut angles);
            rope.turn(&angles, &mut head);
            assert_eq!(head, original);
            rope.angles(3, &mut angles);
            rope.turn(&angles, &mut head);
            let length = |v: &[f32]| v.iter().map(|v| v * v).sum::<f32>();
            assert!(head != original && (length(&head) - length(&original)).abs() < 1e-3);
        }
    }
}
