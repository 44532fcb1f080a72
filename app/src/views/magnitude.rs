//! The magnitude slider: a stop for 0, then five decades, with the regions and the vocabulary's norms in the
//! background. In the Presenter's view it lies below the plot, on the plot's axis.
//!
//! Controls: drag, click, the - and + buttons, arrow keys (2 %, with Shift 20 %), Home for 0, double click for 1. The
//! slider returns the change; it does not store the value.

use std::ops::RangeInclusive;

use eframe::egui::{self, Align2, Color32, Rangef, Rect, Response, Sense, Shape, Stroke, Ui, pos2, vec2};

use super::axis::{Axis, Region, RegionNames, Regions, Track, paint_bands};
use super::slider::{Colours, Input, Scale};
use super::{paint, slider};
use crate::theme::{self, Palette, faded};

/// Width of the stop for 0.
const STOP: f32 = 32.0;
/// Within this much of a kept magnitude a drag snaps to it.
const SAVED_SNAP: f32 = 3.0;
/// A small step and a large one, as factors.
pub const STEP: f64 = 1.02;
pub const LARGE_STEP: f64 = 1.2;

/// A change made by the user.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MagnitudeChange {
    Set(f64),
    Scale(f64),
    /// To one token norm, or its raw value.
    Reset,
}

impl MagnitudeChange {
    /// Converts the input of a slider to a change of the magnitude.
    #[must_use]
    pub fn of(input: Input) -> Self {
        match input {
            Input::Set(value) => Self::Set(value),
            Input::Step { small, large } => Self::Scale(STEP.powi(small) * LARGE_STEP.powi(large)),
            Input::Reset => Self::Reset,
        }
    }
}

/// A track on which positions close to a saved magnitude mean that one.
struct SnapsToSaved<'a> {
    track: Track,
    saved: &'a [f64],
}

impl Scale for SnapsToSaved<'_> {
    fn range(&self) -> RangeInclusive<f64> {
        self.track.range()
    }

    fn x_of(&self, value: f64) -> f32 {
        self.track.x_of(value)
    }

    fn value_at(&self, x: f32) -> f64 {
        let near = self.saved.iter().copied().filter(|saved| *saved > 0.0);
        near.map(|saved| ((self.track.x_of(saved) - x).abs(), saved))
            .filter(|(distance, _)| *distance <= SAVED_SNAP)
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map_or_else(|| self.track.value_at(x), |(_, saved)| saved)
    }
}

/// How the vocabulary's row norms are spread, as a line over the axis: (magnitude, height 0..=1), ascending.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NormsCurve {
    pub points: Vec<(f64, f32)>,
}

impl NormsCurve {
    /// Creates the curve from counts in equal steps of log10 between `low` and `high`, with norms divided by `unit`.
    #[must_use]
    pub fn of_histogram(low: f64, high: f64, counts: &[u64], unit: f64) -> Self {
        let most = counts.iter().copied().max().unwrap_or(0);
        if most == 0 || unit <= 0.0 || high <= low {
            return Self::default();
        }
        let step = (high - low) / counts.len() as f64;
        let at = |index: usize| counts.get(index).copied().unwrap_or(0) as f32 / most as f32;
        let points = (0..counts.len())
            .map(|index| {
                let x = 10_f64.powf(low + step * (index as f64 + 0.5)) / unit;
                // Smoothed with weights 1 2 1: bins are narrower than a pixel.
                let left = if index == 0 { 0.0 } else { at(index - 1) };
                (x, (left + 2.0 * at(index) + at(index + 1)) / 4.0)
            })
            .collect();
        Self { points }
    }
}

/// The slider; see [`MagnitudeSlider::show`].
pub struct MagnitudeSlider<'a> {
    /// Accessible name.
    pub name: &'a str,
    /// Accessible value.
    pub accessible_value: &'a str,
    pub norms: Option<&'a NormsCurve>,
    /// Labels beside the curve, one line each.
    pub norms_label: Option<[&'a str; 2]>,
    /// Magnitudes that were run: a tick each, to which a drag snaps.
    pub saved: &'a [f64],
    /// Radius of the handle.
    pub handle: f32,
    /// The colour behind the slider.
    pub ground: Color32,
    /// Whether it handles keys while it has the focus; `false` if the view uses the keys otherwise.
    pub keys: bool,
}

/// Where the parts of the slider are on the screen.
pub struct Parts {
    pub track: Track,
    /// The centre of the track.
    pub y: f32,
    /// The upper end of the line that rises from the handle.
    pub line: f32,
    /// From the top of the norms' curve to its base.
    pub norms: Rangef,
}

impl MagnitudeSlider<'_> {
    /// Draws the slider over the available width with its handle at `value` (0 is the stop). `height` is that of the part above the track;
    /// `regions` are `None` if the unit has no known ones.
    pub fn show(
        &self,
        ui: &mut Ui,
        axis: Axis,
        regions: Option<(Regions, RegionNames<'_>)>,
        height: f32,
        value: f64,
    ) -> Option<MagnitudeChange> {
        let size = vec2(ui.available_width(), height + 44.0);
        let (rect, response) = ui.allocate_exact_size(size, Sense::click_and_drag());
        let y = rect.top() + height;
        let track = Track {
            axis,
            zero: rect.left() + 8.0,
            x: Rangef::new(rect.left() + STOP, rect.right() - 8.0),
        };
        if ui.is_rect_visible(rect) {
            if let Some((regions, names)) = &regions {
                let band = Rangef::new(rect.top(), y);
                paint_bands(ui.painter(), &track, band, regions, Palette::of(ui));
                paint_region_names(ui, &track, rect.top() + 13.0, regions, names, value);
            }
            paint_ticks(ui, &track, y);
        }
        let parts = Parts {
            track,
            y,
            line: rect.top() + 26.0,
            norms: Rangef::new(rect.top() + 32.0, y - 16.0),
        };
        self.show_at(ui, &response, &parts, value)
    }

    /// Draws the slider at `parts`; it takes the input to `response`, an area that senses click and drag.
    pub fn show_at(&self, ui: &Ui, response: &Response, parts: &Parts, value: f64) -> Option<MagnitudeChange> {
        let scale = SnapsToSaved {
            track: parts.track,
            saved: self.saved,
        };
        let keys = || {
            self.keys
                .then(|| slider::key_input(ui, response, &scale, value))
                .flatten()
        };
        let input = slider::pointer_input(ui, response, &scale, value).or_else(keys);
        slider::describe(ui, response, self.name, self.accessible_value, value, scale.range());
        if ui.is_rect_visible(response.rect) {
            self.paint(ui, response, parts, value);
        }
        input.map(MagnitudeChange::of)
    }

    fn paint(&self, ui: &Ui, response: &Response, parts: &Parts, value: f64) {
        let palette = Palette::of(ui);
        let painter = ui.painter();
        let Parts { track, y, line, .. } = parts;
        self.paint_norms(ui, parts, value);
        let handle = pos2(track.x_of(value), *y);
        let colours = Colours {
            ring: self.ground,
            ..Colours::of_prefix(palette)
        };
        if value > 0.0 {
            let fill = if ui.is_enabled() { colours.handle } else { palette.line };
            painter.vline(handle.x, Rangef::new(*line, *y), Stroke::new(2.0, fill));
        }
        let rail = Rect::from_x_y_ranges(track.x, Rangef::new(y - self.handle / 6.0, y + self.handle / 6.0));
        slider::paint_rail(ui, rail, handle.x, &colours);
        for saved in self.saved.iter().filter(|saved| **saved > 0.0) {
            let at = pos2(track.x_of(*saved), *y);
            painter.circle_filled(at, 2.0, palette.panel);
            painter.circle_filled(at, 1.5, palette.text);
        }
        // The stop: a hollow ring, covered by the handle at 0.
        let stop = pos2(track.zero, *y);
        painter.circle(stop, self.handle / 2.0, self.ground, Stroke::new(2.0, palette.stroke));
        slider::paint_handle(ui, response, handle, self.handle, &colours);
        if value == 0.0 {
            painter.circle_filled(handle, 5.0, self.ground);
        }
    }

    fn paint_norms(&self, ui: &Ui, parts: &Parts, value: f64) {
        let Some(curve) = self.norms.filter(|curve| curve.points.len() > 1) else {
            return;
        };
        let palette = Palette::of(ui);
        let painter = ui.painter();
        let Parts { track, norms, .. } = parts;
        let (top, base) = (norms.min, norms.max);
        let inside = |x: f64| x >= track.axis.least && x <= track.axis.most;
        let points: Vec<_> = curve
            .points
            .iter()
            .filter(|(x, _)| inside(*x))
            .map(|(x, height)| pos2(track.x_of(*x), base - (base - top) * height))
            .collect();
        let fill = faded(palette.text3, 0.28);
        let mut mesh = egui::Mesh::default();
        for point in &points {
            let index = mesh.vertices.len() as u32;
            mesh.colored_vertex(*point, fill);
            mesh.colored_vertex(pos2(point.x, base), fill);
            if index >= 2 {
                mesh.add_triangle(index - 2, index - 1, index);
                mesh.add_triangle(index, index - 1, index + 1);
            }
        }
        painter.add(mesh);
        // Parts of the curve that are thinner than a pixel are not drawn.
        let seen: Vec<_> = points.iter().copied().filter(|point| base - point.y > 0.3).collect();
        if let (Some(first), Some(last)) = (seen.first(), seen.last()) {
            // The label is on the side of the curve where the handle is not.
            let middle = seen
                .iter()
                .min_by(|a, b| a.y.total_cmp(&b.y))
                .map_or(first.x, |peak| peak.x);
            let (side, align) = if track.x_of(value) < middle {
                (last.x + 12.0, Align2::LEFT_CENTER)
            } else {
                (first.x - 8.0, Align2::RIGHT_CENTER)
            };
            let foot = Rangef::new(first.x - 10.0, last.x + 10.0);
            painter.hline(foot, base, Stroke::new(1.0, palette.text3));
            painter.add(Shape::line(seen, Stroke::new(1.0, palette.text3)));
            for (index, words) in self.norms_label.iter().flatten().enumerate() {
                let y = base - 22.0 + 15.0 * index as f32;
                let at = pos2(side, y);
                paint::text(painter, at, align, words, theme::CAPTION.regular(), palette.text3);
            }
        }
        if self.norms_label.is_some() && track.axis == Axis::NORMS {
            let x = track.x_of(1.0);
            paint::dashed_v(painter, x, *norms, Stroke::new(1.0, palette.text3), 2.0, 3.0);
        }
    }
}

/// Paints the names of the regions over their parts of the track and highlights the region of `value`.
pub(super) fn paint_region_names(
    ui: &Ui,
    track: &Track,
    y: f32,
    regions: &Regions,
    names: &RegionNames<'_>,
    value: f64,
) {
    let palette = Palette::of(ui);
    let (low, high) = regions.borders();
    let current = (value > 0.0).then(|| regions.of(value));
    for region in Region::ALL {
        let part = match region {
            Region::Floor => track.part(track.axis.least, low),
            Region::Tokens => track.part(low, high),
            Region::Over => track.part(high, track.axis.most),
        };
        let (font, colour) = if current == Some(region) {
            (theme::CAPTION.semibold(), palette.text)
        } else {
            (theme::CAPTION.regular(), palette.text3)
        };
        let galley = paint::line_of_text(ui, names.of(region), font, colour);
        if galley.size().x > part.span() + 2.0 {
            continue;
        }
        paint::place(ui.painter(), pos2(part.center(), y), Align2::CENTER_CENTER, galley);
    }
}

fn paint_ticks(ui: &Ui, track: &Track, line: f32) {
    let palette = Palette::of(ui);
    let painter = ui.painter();
    let y = line + 28.0;
    let font = theme::CAPTION.mono();
    paint::text(
        painter,
        pos2(track.zero, y),
        Align2::CENTER_CENTER,
        "0",
        font.clone(),
        palette.text3,
    );
    let ticks = track.axis.ticks();
    for (index, (x, words)) in ticks.iter().enumerate() {
        let place = track.x_of(*x);
        // The lowest decade is next to the 0; its label would overlap.
        if index == 0 {
            continue;
        }
        painter.vline(
            place,
            Rangef::new(line + 10.0, line + 16.0),
            Stroke::new(1.0, palette.stroke),
        );
        let colour = if *x == 1.0 { palette.text } else { palette.text3 };
        let last = index + 1 == ticks.len();
        let (anchor, align) = if last {
            (track.x.max + 8.0, Align2::RIGHT_CENTER)
        } else {
            (place, Align2::CENTER_CENTER)
        };
        paint::text(painter, pos2(anchor, y), align, words, font.clone(), colour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_of_the_vocabulary_is_in_token_norms_and_at_most_one_high() {
        let curve = NormsCurve::of_histogram(-1.0, 0.0, &[0, 4, 8, 4], 0.5);
        assert_eq!(curve.points.len(), 4);
        assert!(
            curve
                .points
                .iter()
                .all(|(x, height)| *x > 0.2 && *x < 2.0 && *height <= 1.0)
        );
    }

    #[test]
    fn an_empty_histogram_gives_no_curve() {
        assert_eq!(NormsCurve::of_histogram(-1.0, 0.0, &[], 0.5), NormsCurve::default());
        assert_eq!(NormsCurve::of_histogram(-1.0, 0.0, &[1, 2], 0.0), NormsCurve::default());
    }
}
