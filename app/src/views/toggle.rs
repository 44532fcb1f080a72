//! A switch with a label.

use eframe::egui::{self, CornerRadius, Response, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};

use super::paint;
use crate::theme::{self, Palette};

/// Size of the switch's track.
const TRACK: egui::Vec2 = vec2(34.0, 18.0);

/// Draws the switch after its label and toggles `on` when it is clicked.
pub fn toggle(ui: &mut Ui, on: &mut bool, words: &str) -> Response {
    toggle_across(ui, on, words, 0.0)
}

/// Draws the same over at least `width`, with the label on the left and the switch on the right.
pub fn toggle_across(ui: &mut Ui, on: &mut bool, words: &str, width: f32) -> Response {
    let palette = Palette::of(ui);
    let galley = paint::line_of_text(ui, words, theme::BODY.regular(), palette.text2);
    let track = TRACK;
    let size = vec2((galley.size().x + 8.0 + track.x).max(width), theme::CONTROL);
    let (rect, mut response) = ui.allocate_exact_size(size, Sense::click());
    if response.clicked() {
        *on = !*on;
        response.mark_changed();
    }
    let enabled = ui.is_enabled();
    response.widget_info(|| WidgetInfo::selected(Role::Switch, enabled, *on, words));
    if ui.is_rect_visible(rect) {
        let painter = ui.painter();
        paint::place(painter, rect.left_center(), egui::Align2::LEFT_CENTER, galley);
        let body = egui::Rect::from_min_size(pos2(rect.right() - track.x, rect.center().y - track.y / 2.0), track);
        let radius = CornerRadius::same(9);
        let (fill, outline, knob) = match (enabled, *on) {
            (true, true) => (palette.text, palette.text, palette.window),
            (true, false) => (palette.panel, palette.stroke, palette.stroke),
            (false, _) => (palette.panel, palette.line, palette.line),
        };
        painter.rect(body, radius, fill, Stroke::new(1.5, outline), StrokeKind::Inside);
        let x = if *on { body.right() - 9.0 } else { body.left() + 9.0 };
        painter.circle_filled(pos2(x, body.center().y), if *on { 6.0 } else { 5.0 }, knob);
        paint::focus_ring(ui, &response, body, 9);
    }
    response
}
