//! Stars of the run in view, and the button for its note.

use eframe::egui::Ui;
use softprefix_core::experiment::Rating;

use super::context::PanelContext;
use crate::text::RatingText;
use crate::views::icon::{Icon, IconButton};
use crate::views::stars;
use crate::workbench::{Action, Dialog};

/// Size of the note's button.
const NOTE: f32 = 24.0;
/// Width of both.
const WIDTH: f32 = stars::WIDTH + 4.0 + NOTE;

/// Draws both, from right to left like the footer of a card. Draws nothing if there is no run to rate, or not enough `room`.
pub(super) fn controls(ui: &mut Ui, cx: &mut PanelContext<'_>, room: f32) {
    let Some(record) = cx.workbench.rated_run().filter(|_| room >= WIDTH) else {
        return;
    };
    let text = RatingText::of(cx.workbench.settings.language);
    ui.spacing_mut().item_spacing.x = 4.0;
    let rating = &record.rating;
    let name = if rating.note.is_empty() {
        text.add_note
    } else {
        text.note
    };
    let button = IconButton::new(Icon::Note, name).size(NOTE);
    let response = if rating.note.is_empty() {
        ui.add(button)
    } else {
        ui.add(button.outlined()).on_hover_text(&rating.note)
    };
    if response.clicked() {
        cx.act(Action::ShowDialog(Dialog::Note));
    }
    if let Some(stars) = stars::stars(ui, rating.stars, text.stars, &(text.count)(rating.stars)) {
        let note = rating.note.clone();
        cx.act(Action::Rate(record.id.clone(), Rating { stars, note }));
    }
}
