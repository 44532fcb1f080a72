//! The envelope of a prefix: a factor from 0 to 1 for each row, drawn by the user or one of a few presets.

use serde::{Deserialize, Serialize};
use softprefix_core::prefix::envelope_at;

/// A factor from 0 to 1 for each row.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Envelope {
    /// Every row keeps its size.
    #[default]
    Flat,
    /// Rises from 0 at the first row to 1 at the last.
    FadeIn,
    /// Falls from 1 at the first row to 0 at the last.
    FadeOut,
    /// Keeps the first row and sets the others to zero.
    OnlyFirst,
    /// Points spread evenly from the first row to the last, joined by straight lines.
    Drawn(Vec<f64>),
}

impl Envelope {
    pub const READY_MADE: [Self; 4] = [Self::Flat, Self::FadeIn, Self::FadeOut, Self::OnlyFirst];
    /// Maximum number of points in a drawing: more bars cannot be pointed at with a mouse.
    pub const MAX_BARS: usize = 64;

    /// Returns the points for a recipe with P = `len`. A single row has no envelope, nor has a flat one.
    pub fn points(&self, len: usize) -> Option<Vec<f64>> {
        if len < 2 {
            return None;
        }
        match self {
            Self::Flat => None,
            Self::FadeIn => Some(vec![0.0, 1.0]),
            Self::FadeOut => Some(vec![1.0, 0.0]),
            Self::OnlyFirst => {
                let mut points = vec![0.0; len];
                points[0] = 1.0;
                Some(points)
            }
            Self::Drawn(points) => Some(points.clone()),
        }
    }

    /// Returns the envelope that has these points.
    pub fn of(points: &[f64]) -> Self {
        let all = |wanted: f64| points.iter().all(|&factor| factor == wanted);
        match points {
            [] => Self::Flat,
            _ if all(1.0) => Self::Flat,
            [0.0, 1.0] => Self::FadeIn,
            [first, rest @ ..] if *first == 1.0 && !rest.is_empty() && rest.iter().all(|&factor| factor == 0.0) => {
                // Two points also describe a line down to 0; over two rows both envelopes are the same.
                if rest.len() == 1 {
                    Self::FadeOut
                } else {
                    Self::OnlyFirst
                }
            }
            _ => Self::Drawn(points.to_vec()),
        }
    }

    /// Returns the bars to show and edit: one for each row, at most [`Envelope::MAX_BARS`].
    pub fn bars(&self, len: usize) -> Vec<f64> {
        let count = len.clamp(1, Self::MAX_BARS);
        match self.points(len) {
            Some(points) => (0..count).map(|bar| envelope_at(&points, bar, count)).collect(),
            None => vec![1.0; count],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_row_has_no_envelope() {
        for envelope in Envelope::READY_MADE {
            assert_eq!(envelope.points(1), None);
            assert_eq!(envelope.bars(1), [1.0]);
        }
    }

    #[test]
    fn the_points_of_an_envelope_name_it_again() {
        for envelope in Envelope::READY_MADE {
            for len in 3..9 {
                let points = envelope.points(len).unwrap_or_default();
                assert_eq!(Envelope::of(&points), envelope, "P = {len}");
            }
        }
        let drawn = Envelope::Drawn(vec![0.2, 1.0, 0.4]);
        assert_eq!(Envelope::of(&drawn.points(7).unwrap()), drawn);
    }

    #[test]
    fn only_the_first_row_is_left_at_every_length_up_to_its_own() {
        let points = Envelope::OnlyFirst.points(16).unwrap();
        for len in 2..=16 {
            let factors: Vec<f64> = (0..len).map(|row| envelope_at(&points, row, len)).collect();
            assert_eq!(factors[0], 1.0);
            assert!(
                factors[1..].iter().all(|&factor| factor == 0.0),
                "P = {len}: {factors:?}"
            );
        }
    }

    #[test]
    fn a_long_prefix_is_drawn_on_a_bounded_number_of_bars() {
        assert_eq!(Envelope::FadeIn.bars(4), [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0]);
        assert_eq!(Envelope::FadeIn.bars(1000).len(), Envelope::MAX_BARS);
    }
}
