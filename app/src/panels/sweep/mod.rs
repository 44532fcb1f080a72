//! The Sweep view: on the left what is to be run (or what was), on the right how far it is and what has come of it.

mod history;
mod pair;
pub(super) mod pictures;
mod rail;
mod results;
pub(super) mod words;

use eframe::egui::{CentralPanel, Frame, Margin, Panel, ScrollArea, Ui};

use super::desk::Desk;
use crate::text::SweepText;
use crate::theme::{self, Palette};
use crate::workbench::{Action, SweepAction};

/// What the view keeps between frames.
#[derive(Default)]
pub struct SweepView {
    rail: rail::Rail,
    pictures: pictures::Cache,
    pair: pair::PairCard,
}

impl SweepView {
    /// Shows the view in what is left of the window.
    pub fn show(&mut self, ui: &mut Ui, desk: &mut Desk<'_>) {
        let palette = Palette::of(ui);
        self.pictures.refresh(desk);
        Panel::left("sweep rail")
            .exact_size(theme::RAIL)
            .resizable(false)
            .frame(Frame::NONE.fill(palette.panel))
            .show(ui, |ui| self.rail.show(ui, desk, &self.pictures));
        CentralPanel::no_frame()
            .frame(Frame::NONE.fill(palette.window))
            .show(ui, |ui| self.centre(ui, desk));
    }

    fn centre(&mut self, ui: &mut Ui, desk: &mut Desk<'_>) {
        let height = ui.available_height();
        ScrollArea::vertical()
            .id_salt("sweep centre")
            .auto_shrink(false)
            .show(ui, |ui| {
                Frame::NONE
                    .inner_margin(Margin::same(theme::PADDING as i8))
                    .show(ui, |ui| {
                        ui.spacing_mut().item_spacing.y = 0.0;
                        let top = ui.cursor().top();
                        results::progress_row(ui, desk, self.rail.is_wrong());
                        results::trouble(ui, desk);
                        ui.add_space(theme::GAP);
                        results::map_card(ui, desk, &self.pictures);
                        ui.add_space(theme::GAP);
                        let used = ui.cursor().top() - top;
                        let room = (height - 2.0 * theme::PADDING - used).max(LOWER_LEAST);
                        self.lower(ui, desk, room);
                    });
            });
    }

    /// Plot and pair side by side; one above the other where that would be too narrow.
    fn lower(&mut self, ui: &mut Ui, desk: &mut Desk<'_>, height: f32) {
        let width = ui.available_width();
        let half = (width - theme::GAP) / 2.0;
        if half < 360.0 {
            results::lines_card(ui, desk, &self.pictures, width, height);
            ui.add_space(theme::GAP);
            self.pair.show(ui, desk, width, height);
            return;
        }
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = theme::GAP;
            results::lines_card(ui, desk, &self.pictures, half, height);
            self.pair.show(ui, desk, half, height);
        });
    }
}

/// Least height of plot and pair; below it the centre scrolls.
const LOWER_LEAST: f32 = 344.0;

impl Desk<'_> {
    pub(super) fn sweep_text(&self) -> &'static SweepText {
        SweepText::of(self.bench.settings.language)
    }

    fn sweep(&mut self, action: SweepAction) {
        self.act(Action::Sweep(action));
    }
}
