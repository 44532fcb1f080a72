//! The Presenter's plot with the magnitude slider below it on the same x axis, connected by the magnitude cursor. It
//! returns the changes and does not store the value.

use eframe::egui::{Rangef, Sense, Ui, Vec2};

use super::magnitude::{MagnitudeSlider, Parts};
use super::plot::{Plot, Touched};

/// Height of the slider below the plot.
const SLIDER: f32 = 64.0;

/// Plot and slider; see [`Stage::show`].
pub struct Stage<'a, 'p> {
    pub plot: &'a Plot<'p>,
    pub slider: MagnitudeSlider<'a>,
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
        let y = strip.bottom() - self.slider.handle - 6.0;
        let parts = Parts {
            track: area.track(),
            y,
            line: area.plot().bottom(),
            norms: Rangef::new(strip.top() + 2.0, y - 3.0),
        };
        let moved = self.slider.show_at(ui, &response, &parts, value);
        touched.moved = moved.or(touched.moved);
        touched
    }
}
