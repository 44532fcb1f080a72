//! A text field for one number, which takes effect on Enter or when the field loses focus, and shows an error for
//! invalid text.

use eframe::egui::{self, Align2, CornerRadius, Id, Key, Margin, Response, Stroke, TextEdit, Ui, Vec2, vec2};

use super::paint;
use crate::model::typed::half_width;
use crate::theme::{self, Palette};

/// The result of a field in this frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Entered<T> {
    /// No change.
    Nothing,
    /// A number was entered.
    Value(T),
    /// The text is not a valid number. Returned in every frame until it is corrected or the value changes otherwise.
    Invalid(String),
}

/// A field of `width` for one number.
pub struct Field<'a> {
    pub name: &'a str,
    /// The current value, formatted.
    pub shown: String,
    pub width: f32,
}

impl Field<'_> {
    /// Draws the field; `parse` converts the text to a value.
    pub fn show<T>(self, ui: &mut Ui, parse: impl Fn(&str) -> Option<T>) -> Entered<T> {
        let id = ui.scope_id().with(("field", self.name));
        let size = vec2(self.width, theme::CONTROL);
        entry(
            ui,
            id,
            (self.name, &self.shown, ""),
            (size, Align2::RIGHT_CENTER),
            parse,
        )
    }
}

/// Draws a field of one line, whose text takes effect when it is settled.
pub(super) fn entry<T>(
    ui: &mut Ui,
    id: Id,
    (name, shown, hint): (&str, &str, &str),
    (size, align): (Vec2, Align2),
    parse: impl Fn(&str) -> Option<T>,
) -> Entered<T> {
    let palette = Palette::of(ui);
    let mut text = draft(ui, id, shown).unwrap_or_else(|| shown.to_owned());
    let outline = match (draft_is_invalid(ui, id), ui.is_enabled()) {
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
    let edit = TextEdit::singleline(&mut text)
        .id(id)
        .font(theme::BODY.mono())
        .text_color(colour)
        .frame(frame)
        .align(align)
        .clip_text(true);
    let edit = if hint.is_empty() { edit } else { edit.hint_text(hint) };
    let response = ui.add_sized(size, edit).accessible_name(name);
    paint::focus_ring(ui, &response, response.rect, theme::RADIUS_CONTROL);
    settle(ui, id, &response, text, shown, parse)
}

#[derive(Clone)]
struct Draft {
    text: String,
    /// The frame in which the field was last drawn.
    frame: u64,
    /// For an invalid text, the value that was shown when it was entered.
    invalid_over: Option<String>,
}

/// Returns the text that is not accepted yet. It is dropped where the field was not drawn in the last frame, as after a change of the view; an
/// invalid text also when the value changes otherwise.
pub(super) fn draft(ui: &Ui, id: Id, shown: &str) -> Option<String> {
    let frame = ui.ctx().cumulative_frame_nr();
    let draft = ui.data(|data| data.get_temp::<Draft>(id))?;
    let was_away = frame.saturating_sub(draft.frame) > 1;
    if was_away || draft.invalid_over.as_deref().is_some_and(|over| over != shown) {
        ui.data_mut(|data| data.remove::<Draft>(id));
        return None;
    }
    let text = draft.text.clone();
    ui.data_mut(|data| data.insert_temp(id, Draft { frame, ..draft }));
    Some(text)
}

pub(super) fn draft_is_invalid(ui: &Ui, id: Id) -> bool {
    ui.data(|data| data.get_temp::<Draft>(id))
        .is_some_and(|draft| draft.invalid_over.is_some())
}

/// Takes the focus from a number or list that is being typed, so that it takes effect in this frame. Called before the window is drawn.
pub fn settle_typed(ctx: &egui::Context) {
    let focused = ctx.memory(|memory| memory.focused());
    let is_draft = |id: &Id| ctx.data(|data| data.get_temp::<Draft>(*id)).is_some();
    if let Some(id) = focused.filter(is_draft) {
        ctx.memory_mut(|memory| memory.surrender_focus(id));
    }
}

/// Handles a typed number or list: kept while typing, accepted on Enter or loss of focus, dropped on Escape.
pub(super) fn settle<T>(
    ui: &Ui,
    id: Id,
    response: &Response,
    text: String,
    shown: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Entered<T> {
    if response.has_focus() {
        if response.changed() {
            let (frame, invalid_over) = (ui.ctx().cumulative_frame_nr(), None);
            let draft = Draft {
                text,
                frame,
                invalid_over,
            };
            ui.data_mut(|data| data.insert_temp(id, draft));
            return Entered::Nothing;
        }
        return unchanged(ui, id, text);
    }
    if !response.lost_focus() {
        return unchanged(ui, id, text);
    }
    // Among the keys as they arrived: a dialog that Escape closes has taken it out of the others.
    let is_escape = |event: &egui::Event| {
        matches!(
            event,
            egui::Event::Key {
                key: Key::Escape,
                pressed: true,
                ..
            }
        )
    };
    let escaped = ui.input(|input| input.raw.events.iter().any(is_escape));
    if escaped || text == shown {
        ui.data_mut(|data| data.remove::<Draft>(id));
        return Entered::Nothing;
    }
    match parse(&half_width(text.trim())) {
        Some(value) => {
            ui.data_mut(|data| data.remove::<Draft>(id));
            Entered::Value(value)
        }
        None => {
            let draft = Draft {
                text: text.clone(),
                frame: ui.ctx().cumulative_frame_nr(),
                invalid_over: Some(shown.to_owned()),
            };
            ui.data_mut(|data| data.insert_temp(id, draft));
            Entered::Invalid(text)
        }
    }
}

fn unchanged<T>(ui: &Ui, id: Id, text: String) -> Entered<T> {
    if draft_is_invalid(ui, id) {
        Entered::Invalid(text)
    } else {
        Entered::Nothing
    }
}

/// A headline number that can be edited: without a frame until it has the focus.
pub struct Headline<'a> {
    pub name: &'a str,
    /// The current value, with its unit.
    pub shown: String,
    pub colour: egui::Color32,
    /// Available width; longer numbers use a smaller font.
    pub width: f32,
}

impl Headline<'_> {
    /// Draws the number; `parse` converts the text to a value.
    pub fn show<T>(self, ui: &mut Ui, parse: impl Fn(&str) -> Option<T>) -> Entered<T> {
        let palette = Palette::of(ui);
        let id = ui.scope_id().with(("headline", self.name));
        let mut draft = draft(ui, id, &self.shown).unwrap_or_else(|| self.shown.clone());
        let colour = if draft_is_invalid(ui, id) {
            palette.broken
        } else {
            self.colour
        };
        // Common numbers (0.25×) share one size, so that it does not change during a drag.
        let usual = width_of(ui, "0.25×", theme::HERO.size);
        let size = theme::HERO.size * (self.width / usual.max(width_of(ui, &draft, theme::HERO.size))).min(1.0);
        let font = egui::FontId::new(size, crate::fonts::semibold());
        let response = ui
            .add_sized(
                vec2(self.width, theme::HERO.line),
                TextEdit::singleline(&mut draft)
                    .id(id)
                    .font(font)
                    .text_color(colour)
                    .frame(egui::Frame::NONE)
                    .margin(Margin::ZERO)
                    .align(egui::Align2::LEFT_CENTER)
                    .clip_text(true),
            )
            .accessible_name(self.name)
            .on_hover_text(self.name);
        if response.gained_focus() {
            select_all(ui, id, &draft);
        }
        if response.hovered() || response.has_focus() {
            let y = response.rect.bottom() - 3.0;
            let outline = if response.has_focus() {
                palette.text
            } else {
                palette.stroke
            };
            let width = width_of(ui, &draft, size).min(self.width);
            let x = egui::Rangef::new(response.rect.left(), response.rect.left() + width);
            ui.painter()
                .hline(x, y, Stroke::new(if response.has_focus() { 2.0 } else { 1.0 }, outline));
        }
        settle(ui, id, &response, draft, &self.shown, parse)
    }
}

fn width_of(ui: &Ui, words: &str, size: f32) -> f32 {
    let font = egui::FontId::new(size, crate::fonts::semibold());
    paint::line_of_text(ui, words, font, egui::Color32::PLACEHOLDER)
        .size()
        .x
        + 2.0
}

fn select_all(ui: &Ui, id: Id, text: &str) {
    use eframe::egui::text::{CCursor, CCursorRange};
    if let Some(mut state) = TextEdit::load_state(ui.ctx(), id) {
        let end = CCursor::new(text.chars().count());
        state
            .cursor
            .set_char_range(Some(CCursorRange::two(CCursor::new(0), end)));
        TextEdit::store_state(ui.ctx(), id, state);
    }
}
