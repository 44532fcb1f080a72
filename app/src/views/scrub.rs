//! A seek bar for playback. It returns the new position and does not store it.

use eframe::egui::{Rect, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};

use super::{paint, steps};
use crate::theme::{self, Palette};

const TRACK: f32 = 4.0;
const HANDLE: f32 = 8.0;

/// Current position and duration, both in seconds.
pub struct Scrub<'a> {
    /// Accessible name and value.
    pub name: &'a str,
    pub spoken: &'a str,
    pub at: f64,
    pub length: f64,
}

impl Scrub<'_> {
    /// Draws the bar in `rect`; returns the position that the user selected, in seconds.
    pub fn show(&self, ui: &mut Ui, rect: Rect) -> Option<f64> {
        let palette = Palette::of(ui);
        let most = self.length.max(f64::MIN_POSITIVE);
        let response = ui.interact(rect, ui.scope_id().with("scrub"), Sense::click_and_drag());
        let enabled = ui.is_enabled();
        response.widget_info(|| WidgetInfo::slider(enabled, self.at, self.name));
        steps::describe(ui, &response, self.at, 0.0, most);
        ui.ctx()
            .accesskit_node_builder(response.id, |node| node.set_description(self.spoken));
        let track = rect.shrink2(vec2(HANDLE, 0.0));
        let y = rect.center().y;
        let x = track.left() + track.width() * (self.at / most).clamp(0.0, 1.0) as f32;
        let bar = |from: f32, to: f32| Rect::from_min_max(pos2(from, y - TRACK / 2.0), pos2(to, y + TRACK / 2.0));
        ui.painter()
            .rect_filled(bar(track.left(), track.right()), TRACK / 2.0, palette.stroke);
        ui.painter()
            .rect_filled(bar(track.left(), x), TRACK / 2.0, palette.text);
        ui.painter()
            .circle(pos2(x, y), HANDLE, palette.text, Stroke::new(3.0, palette.raised));
        paint::focus_ring(ui, &response, rect.shrink2(vec2(0.0, 10.0)), theme::RADIUS_CONTROL);
        if let Some(asked) = steps::asked_value(ui, &response) {
            return Some(asked.clamp(0.0, self.length));
        }
        let pointer = response.interact_pointer_pos()?;
        if !(response.dragged() || response.clicked() || response.is_pointer_button_down_on()) {
            return None;
        }
        let share = ((pointer.x - track.left()) / track.width().max(1.0)).clamp(0.0, 1.0);
        let to = self.length * f64::from(share);
        ((to - self.at).abs() > 1e-3).then_some(to)
    }
}
