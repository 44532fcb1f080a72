//! A text field for a list of numbers, which takes effect on Enter or when the field loses focus.

use eframe::egui::{self, CornerRadius, Margin, Stroke, TextEdit, Ui, vec2};

use super::entry::{Entered, draft, draft_is_refused, settle};
use super::paint;
use crate::theme::{self, Palette};

/// Draws the field over `width`; `parse` converts the text to a value.
pub fn list_field<T>(
    ui: &mut Ui,
    name: &str,
    shown: &str,
    hint: &str,
    width: f32,
    parse: impl Fn(&str) -> Option<T>,
) -> Entered<T> {
    let palette = Palette::of(ui);
    let id = ui.scope_id().with(("list field", name));
    let mut text = draft(ui, id, shown).unwrap_or_else(|| shown.to_owned());
    let outline = match (draft_is_refused(ui, id), ui.is_enabled()) {
        (true, _) => palette.broken,
        (false, true) => palette.stroke,
        (false, false) => palette.line,
    };
    let colour = if ui.is_enabled() { palette.text } else { palette.text3 };
    let frame = egui::Frame::NONE
        .fill(palette.inset)
        .stroke(Stroke::new(1.0, outline))
        .corner_radius(CornerRadius::same(theme::RADIUS_CONTROL))
        .inner_margin(Margin::symmetric(10, 0));
    let response = ui
        .add_sized(
            vec2(width, theme::CONTROL),
            TextEdit::singleline(&mut text)
                .id(id)
                .font(theme::BODY.mono())
                .text_color(colour)
                .frame(frame)
                .hint_text(hint)
                .align(egui::Align2::LEFT_CENTER)
                .clip_text(true),
        )
        .accessible_name(name);
    paint::focus_ring(ui, &response, response.rect, theme::RADIUS_CONTROL);
    settle(ui, id, &response, text, shown, parse)
}
