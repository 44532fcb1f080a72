//! The Presenter's plot with a slider below it on the same x axis, connected by the magnitude cursor. It returns the
//! changes and does not store the value.

use eframe::egui::{Rangef, Rect, Sense, Shape, Stroke, Ui, Vec2, pos2};

use super::magnitude::{MagnitudeChange, NormsCurve};
use super::plot::{Area, Plot, Touched};
use super::slider::Scale as _;
use super::{paint, slider};
use crate::theme::{self, Palette, faded};

/// Height of the slider below the plot.
const SLIDER: f32 = 64.0;
/// Sizes of the track, the handle, and the ring around it.
const TRACK: f32 = 5.0;
const HANDLE: f32 = 16.0;

/// Plot and slider; see [`Stage::show`].
pub struct Stage<'a, 'p> {
    pub plot: &'a Plot<'p>,
    /// Accessible name and value of the slider.
    pub name: &'a str,
    pub spoken: &'a str,
    /// The vocabulary's norms, on the plot's axis.
    pub norms: Option<&'a NormsCurve>,
}

impl Stage<'_, '_> {
    /// Draws both in a box of `size` with the handle at `value`; `describe` returns the text for a point. If the plot
    /// is zoomed, the slider shows the same part of the axis.
    pub fn show(&self, ui: &mut Ui, size: Vec2, value: f64, describe: impl Fn(u64) -> String) -> Touched {
        let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
        let upper = rect.with_max_y(rect.bottom() - SLIDER);
        let (mut touched, area) = self.plot.show_in(ui, upper, describe);
        let strip = rect.with_min_y(upper.bottom());
        let response = ui.interact(strip, ui.scope_id().with("stage slider"), Sense::click_and_drag());
        let track = area.track();
        slider::describe(ui, &response, self.name, self.spoken, value, track.range());
        // The Presenter handles the keys itself, wherever the focus is.
        let moved = slider::pointer_input(ui, &response, &track, value).map(MagnitudeChange::of);
        if ui.is_rect_visible(rect) {
            self.paint_slider(ui, &area, strip, value);
            paint::focus_ring(ui, &response, strip, theme::RADIUS_CONTROL);
        }
        touched.moved = moved.or(touched.moved);
        touched
    }

    fn paint_slider(&self, ui: &Ui, area: &Area, strip: Rect, value: f64) {
        let palette = Palette::of(ui);
        let painter = ui.painter();
        let track = area.track();
        let y = strip.bottom() - HANDLE - 6.0;
        if let Some(curve) = self.norms {
            let height = y - TRACK - strip.top() - 2.0;
            let points: Vec<_> = curve
                .points
                .iter()
                .filter(|(x, _)| *x >= track.axis.least && *x <= track.axis.most)
                .map(|(x, share)| pos2(track.x_of(*x), y - TRACK / 2.0 - height * share))
                .collect();
            let base = y - TRACK / 2.0;
            for pair in points.windows(2) {
                let [a, b] = pair else { continue };
                let corners = vec![*a, *b, pos2(b.x, base), pos2(a.x, base)];
                painter.add(Shape::convex_polygon(corners, faded(palette.text3, 0.28), Stroke::NONE));
            }
            painter.add(Shape::line(points, Stroke::new(1.0, palette.text3)));
        }
        let x = track.x_of(value);
        let left = Rangef::new(track.x.min, x.max(track.x.min));
        painter.hline(track.x, y, Stroke::new(TRACK, palette.stroke));
        if value > 0.0 {
            painter.hline(left, y, Stroke::new(TRACK, palette.prefix_fill));
            let line = Rangef::new(area.plot().bottom(), y - HANDLE);
            painter.vline(x, line, Stroke::new(2.0, palette.prefix_fill));
        }
        let stop = pos2(track.zero, y);
        painter.circle_stroke(stop, 7.0, Stroke::new(2.0, palette.stroke));
        let at = pos2(x, y);
        painter.circle_filled(at, HANDLE + 3.0, palette.window);
        painter.circle_filled(at, HANDLE, palette.prefix_fill);
    }
}
