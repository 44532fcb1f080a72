//! The logarithmic axis of magnitudes, with 0 at a separate place on the left, and its three regions. Slider and plot
//! share it.

use std::ops::RangeInclusive;

use eframe::egui::{Painter, Rangef, Rect, pos2};
use softprefix_core::experiment::words::REGION_BORDERS;

use super::paint;
use super::slider::Scale;
use crate::model::MagnitudeUnit;
use crate::theme::{Palette, faded};

/// Maximum number of ticks.
const MAX_TICKS: usize = 8;

/// A logarithmic axis from `least` to `most`, both above 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    pub least: f64,
    pub most: f64,
    /// The sign of the unit: appended to a formatted value, and on the axis to the tick of 1.
    pub unit: &'static str,
}

impl Axis {
    /// Token norms: 0.001 to 100.
    pub const NORMS: Self = Self {
        least: 0.001,
        most: 100.0,
        unit: "×",
    };
    /// Raw values: 0.00001 to 10.
    pub const RAW: Self = Self {
        least: 1e-5,
        most: 10.0,
        unit: "",
    };

    /// Returns the axis of a unit.
    #[must_use]
    pub const fn of(unit: MagnitudeUnit) -> Self {
        match unit {
            MagnitudeUnit::TokenNorms => Self::NORMS,
            MagnitudeUnit::Raw => Self::RAW,
        }
    }

    /// Returns the position of `x` between the ends, clamped to 0..=1.
    #[must_use]
    pub fn share(&self, x: f64) -> f32 {
        if x <= 0.0 || !x.is_finite() {
            return 0.0;
        }
        let (low, high) = (self.least.log10(), self.most.log10());
        ((x.log10() - low) / (high - low)).clamp(0.0, 1.0) as f32
    }

    /// Returns the magnitude at a position.
    #[must_use]
    pub fn at(&self, share: f32) -> f64 {
        let (low, high) = (self.least.log10(), self.most.log10());
        10_f64.powf(low + (high - low) * f64::from(share.clamp(0.0, 1.0)))
    }

    /// Returns the ticks with their labels: powers of ten or, on a short part of the axis, steps as fine as the labels
    /// allow.
    #[must_use]
    pub fn ticks(&self) -> Vec<(f64, String)> {
        // Each candidate is a number of decimals and the mantissas, written without the point: 1; 1, 2, 5; 1 to 9; 1.0, 1.5, ... 9.5; then
        // finer.
        let fine = (1..4).flat_map(|decimals| [(decimals, 5), (decimals, 2), (decimals, 1)]);
        let steps = [vec![1], vec![1, 2, 5], (1..10).collect()]
            .into_iter()
            .map(|steps| (0, steps));
        let steps = steps.chain(fine.map(|(decimals, step)| {
            let least = 10_u32.pow(decimals);
            (decimals as i32, (least..10 * least).step_by(step).collect::<Vec<_>>())
        }));
        let mut best = Vec::new();
        for (decimals, steps) in steps {
            let inside = |(size, power): &(u32, i32)| {
                let x = f64::from(*size) * 10_f64.powi(*power);
                x >= self.least * (1.0 - 1e-9) && x <= self.most * (1.0 + 1e-9)
            };
            let powers = self.least.log10().floor() as i32..=self.most.log10().ceil() as i32;
            let ticks = powers.flat_map(|power| steps.iter().map(move |size| (*size, power - decimals)));
            let ticks: Vec<_> = ticks.filter(inside).collect();
            if ticks.len() > MAX_TICKS && !best.is_empty() {
                break;
            }
            best = ticks;
        }
        best.into_iter().map(|(size, power)| self.tick(size, power)).collect()
    }

    /// Returns `size` times ten to the `power`, with its label.
    fn tick(&self, mut size: u32, mut power: i32) -> (f64, String) {
        let x = f64::from(size) * 10_f64.powi(power);
        while size.is_multiple_of(10) && size > 0 {
            size /= 10;
            power += 1;
        }
        let words = match (size, power) {
            (1, 0) => format!("1{}", self.unit),
            _ if x < 0.999e-3 => {
                let digits = size.to_string().len() - 1;
                let exponent = power + digits as i32;
                format!("{:.digits$}e{exponent}", f64::from(size) / 10_f64.powi(digits as i32))
            }
            _ => format!("{x:.*}", usize::try_from(-power).unwrap_or(0)),
        };
        (x, words)
    }
}

pub use softprefix_core::experiment::label::format_magnitude;

/// The three regions of the magnitude and the transitions between them.
///
/// The effect was measured inside each region; it changes gradually in between, and so do the colours of the bands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Regions {
    /// The region below the floor is full up to the first value and has faded out at the second.
    pub floor: (f64, f64),
    /// The overdriven region starts at the first value and is full from the second.
    pub over: (f64, f64),
}

impl Regions {
    /// In token norms: [`REGION_BORDERS`].
    pub const NORMS: Self = Self {
        floor: REGION_BORDERS[0],
        over: REGION_BORDERS[1],
    };

    /// Returns the region of `x`; the border is the middle of a transition on the axis.
    #[must_use]
    pub fn of(&self, x: f64) -> Region {
        if x < self.borders().0 {
            Region::Floor
        } else if x < self.borders().1 {
            Region::Tokens
        } else {
            Region::Over
        }
    }

    /// Returns the two borders between the regions, for placing their names.
    #[must_use]
    pub fn borders(&self) -> (f64, f64) {
        ((self.floor.0 * self.floor.1).sqrt(), (self.over.0 * self.over.1).sqrt())
    }
}

/// One of the three regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    Floor,
    Tokens,
    Over,
}

impl Region {
    pub const ALL: [Self; 3] = [Self::Floor, Self::Tokens, Self::Over];
}

/// The names of the three regions.
#[derive(Clone, Copy, Debug)]
pub struct RegionNames<'a> {
    pub floor: &'a str,
    pub tokens: &'a str,
    pub over: &'a str,
}

impl<'a> RegionNames<'a> {
    #[must_use]
    pub fn of(&self, region: Region) -> &'a str {
        match region {
            Region::Floor => self.floor,
            Region::Tokens => self.tokens,
            Region::Over => self.over,
        }
    }
}

/// An axis on the screen: the place of 0, and the logarithmic track from left to right.
#[derive(Clone, Copy, Debug)]
pub struct Track {
    pub axis: Axis,
    pub zero: f32,
    pub x: Rangef,
}

/// Within this many points of the place of 0 a position means 0.
const SNAP: f32 = 12.0;

impl Track {
    /// Returns the x coordinate of a magnitude.
    #[must_use]
    pub fn x_of(&self, magnitude: f64) -> f32 {
        if magnitude <= 0.0 {
            self.zero
        } else {
            self.x.min + self.x.span() * self.axis.share(magnitude)
        }
    }

    /// The part of the track between two magnitudes.
    #[must_use]
    pub fn part(&self, from: f64, to: f64) -> Rangef {
        Rangef::new(self.x_of(from), self.x_of(to))
    }
}

impl Scale for Track {
    fn range(&self) -> RangeInclusive<f64> {
        0.0..=self.axis.most
    }

    fn x_of(&self, value: f64) -> f32 {
        Self::x_of(self, value)
    }

    /// 0 near the place of 0 and everywhere left of it.
    fn value_at(&self, x: f32) -> f64 {
        if x <= self.zero + SNAP {
            return 0.0;
        }
        self.axis.at((x - self.x.min) / self.x.span().max(1.0))
    }
}

/// Paints the bands of `regions` over the height of `area`: blue where a prefix is very small, red where it is overdriven.
pub fn paint_bands(painter: &Painter, track: &Track, area: Rangef, regions: &Regions, palette: &Palette) {
    let (blue, red) = palette.band_tint;
    let (blue, red) = (faded(palette.baseline, blue), faded(palette.broken, red));
    let clear = eframe::egui::Color32::TRANSPARENT;
    let axis = track.axis;
    let column = |from: f64, to: f64| {
        let part = track.part(from, to);
        Rect::from_min_max(pos2(part.min, area.min), pos2(part.max, area.max))
    };
    painter.rect_filled(column(axis.least, regions.floor.0), 0.0, blue);
    paint::fade_h(painter, column(regions.floor.0, regions.floor.1), blue, clear);
    paint::fade_h(painter, column(regions.over.0, regions.over.1), clear, red);
    painter.rect_filled(column(regions.over.1, axis.most), 0.0, red);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_on_the_track_and_its_magnitude_are_each_others_inverse() {
        let track = Track {
            axis: Axis::NORMS,
            zero: 16.0,
            x: Rangef::new(48.0, 304.0),
        };
        for magnitude in [0.001, 0.05, 1.0, 2.9, 100.0] {
            let back = track.value_at(track.x_of(magnitude));
            assert!((back / magnitude - 1.0).abs() < 1e-4, "{magnitude} became {back}");
        }
        assert!(track.value_at(20.0) == 0.0);
        assert!(track.value_at(40.0) == 0.001);
    }

    #[test]
    fn magnitudes_are_written_in_two_figures() {
        for (x, words) in [
            (0.0, "0"),
            (0.0012, "0.0012"),
            (0.0996, "0.10"),
            (0.25, "0.25"),
            (2.94, "2.9"),
            (9.97, "10"),
            (58.0, "58"),
            (123.4, "123"),
            (0.000_012, "1.2e-5"),
        ] {
            assert_eq!(format_magnitude(x), words);
        }
    }

    #[test]
    fn ticks_need_no_superscripts() {
        let words: Vec<_> = Axis::RAW.ticks().into_iter().map(|(_, words)| words).collect();
        assert_eq!(words, ["1e-5", "1e-4", "0.001", "0.01", "0.1", "1", "10"]);
        assert_eq!(Axis::NORMS.ticks()[3].1, "1×");
    }

    #[test]
    fn a_part_of_the_axis_has_round_figures_too() {
        let words = |least, most| -> Vec<String> {
            let axis = Axis {
                least,
                most,
                ..Axis::NORMS
            };
            axis.ticks().into_iter().map(|(_, words)| words).collect()
        };
        assert_eq!(words(0.09, 2.1), ["0.1", "0.2", "0.5", "1×", "2"]);
        assert_eq!(words(1.9, 3.3), ["2", "2.2", "2.4", "2.6", "2.8", "3", "3.2"]);
        assert_eq!(
            words(0.9995, 1.0081),
            ["0.9996", "0.9998", "1×", "1.002", "1.004", "1.006", "1.008"]
        );
        assert_eq!(
            words(1.9e-5, 5.1e-5),
            ["2e-5", "2.5e-5", "3e-5", "3.5e-5", "4e-5", "4.5e-5", "5e-5"]
        );
    }

    #[test]
    fn a_magnitude_between_two_regions_belongs_to_the_nearer_one() {
        assert_eq!(Regions::NORMS.of(0.06), Region::Floor);
        assert_eq!(Regions::NORMS.of(0.08), Region::Tokens);
        assert_eq!(Regions::NORMS.of(2.9), Region::Tokens);
        assert_eq!(Regions::NORMS.of(5.8), Region::Over);
    }
}
