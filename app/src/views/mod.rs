//! The widgets of the window. A widget draws its arguments and returns the user's changes; it has no access to the
//! workbench, and its strings are passed in. Every interactive widget has a name and a value in the accessibility tree.

pub mod axis;
pub mod budget;
pub mod button;
pub mod chip;
pub mod diff;
pub mod entry;
pub mod envelope;
pub mod fold;
pub mod heatmap;
pub mod icon;
pub mod kl;
pub mod learned_rows;
pub mod lines;
pub mod list_field;
pub mod loss;
pub mod magnitude;
pub mod norms;
pub mod paint;
pub mod plot;
pub mod progress;
pub mod scores;
pub mod segmented;
pub mod select;
pub mod slider;
pub mod stage;
pub mod stars;
pub mod status;
pub mod toggle;

use eframe::egui::{Frame, Margin, ScrollArea, Ui};

/// Shows the centre of a view, which scrolls where its content is higher than the room that `show` gets.
pub fn scrolled(ui: &mut Ui, name: &str, margin: Margin, show: impl FnOnce(&mut Ui, f32)) {
    let room = ui.available_height() - margin.sum().y;
    ScrollArea::vertical().id_salt(name).auto_shrink(false).show(ui, |ui| {
        Frame::NONE.inner_margin(margin).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 0.0;
            show(ui, room);
        });
    });
}
