//! A chip with the name and the value of a measure; one chip of a row is selected.

use eframe::egui::{self, CornerRadius, Response, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};

use super::paint;
use crate::theme::{self, Palette};

/// A selectable measure.
#[must_use = "show it with `ui.add`"]
pub struct Chip<'a> {
    words: &'a str,
    value: &'a str,
    on: bool,
    stale: bool,
}

impl<'a> Chip<'a> {
    /// Creates a chip. `value` uses the mono font, so that the width stays the same while digits change.
    pub fn new(words: &'a str, value: &'a str, on: bool) -> Self {
        Self {
            words,
            value,
            on,
            stale: false,
        }
    }

    /// Draws the value faintly, because it no longer matches the controls.
    pub fn stale(mut self, stale: bool) -> Self {
        self.stale = stale;
        self
    }
}

impl egui::Widget for Chip<'_> {
    fn ui(self, ui: &mut Ui) -> Response {
        let palette = Palette::of(ui);
        let (font, colour) = if self.on {
            (theme::BODY.semibold(), palette.text)
        } else {
            (theme::BODY.regular(), palette.text2)
        };
        let words = paint::line_of_text(ui, self.words, font, colour);
        let faint = if self.stale {
            theme::faded(palette.text3, 0.7)
        } else {
            colour
        };
        let value = paint::line_of_text(ui, self.value, theme::BODY.mono(), faint);
        let room = paint::line_of_text(ui, "00", theme::BODY.mono(), colour).size().x;
        // The width of the SemiBold label is reserved even while the chip is not selected.
        let widest = paint::line_of_text(ui, self.words, theme::BODY.semibold(), colour)
            .size()
            .x;
        let size = vec2(widest + 9.0 + value.size().x.max(room) + 18.0, theme::CONTROL);
        let (rect, response) = ui.allocate_exact_size(size, Sense::click());
        let enabled = ui.is_enabled();
        let name = format!("{} {}", self.words, self.value);
        response.widget_info(|| WidgetInfo::selected(Role::RadioButton, enabled, self.on, &name));
        if ui.is_rect_visible(rect) {
            let body = rect.shrink(0.5);
            let radius = CornerRadius::same(theme::RADIUS_CONTROL);
            let (fill, outline) = match (self.on, response.hovered()) {
                (true, _) => (palette.raised, palette.text),
                (false, true) => (palette.raised, palette.stroke),
                (false, false) => (palette.panel, palette.line),
            };
            ui.painter()
                .rect(body, radius, fill, Stroke::new(1.0, outline), StrokeKind::Inside);
            let y = rect.center().y;
            paint::place(
                ui.painter(),
                pos2(rect.left() + 9.0, y),
                egui::Align2::LEFT_CENTER,
                words,
            );
            paint::place(
                ui.painter(),
                pos2(rect.left() + 18.0 + widest, y),
                egui::Align2::LEFT_CENTER,
                value,
            );
            paint::focus_ring(ui, &response, body, theme::RADIUS_CONTROL);
        }
        response
    }
}
