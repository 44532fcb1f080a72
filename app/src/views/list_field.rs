//! A text field for a list of numbers, which takes effect on Enter or when the field loses focus.

use eframe::egui::{Align2, Ui, vec2};

use super::entry::{Entered, entry};
use crate::theme;

/// Draws the field over `width`; `parse` converts the text to a value.
pub fn list_field<T>(
    ui: &mut Ui,
    name: &str,
    shown: &str,
    hint: &str,
    width: f32,
    parse: impl Fn(&str) -> Option<T>,
) -> Entered<T> {
    let id = ui.scope_id().with(("list field", name));
    let size = vec2(width, theme::CONTROL);
    entry(ui, id, (name, shown, hint), (size, Align2::LEFT_CENTER), parse)
}
