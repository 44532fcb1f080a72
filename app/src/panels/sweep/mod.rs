//! The Sweep view: the plan or the history on the left, progress and results on the right.

mod history;
mod pair;
pub(super) mod pictures;
mod rail;
mod results;
pub(super) mod words;

use eframe::egui::{CentralPanel, Frame, Margin, Panel, Ui, vec2};

use super::context::PanelContext;
use crate::text::SweepText;
use crate::theme::{self, Palette};
use crate::workbench::{Action, SweepAction, Tab};

/// What the view keeps between frames.
#[derive(Default)]
pub struct SweepView {
    rail: rail::Rail,
    pictures: pictures::Cache,
    pair: pair::PairCard,
}

impl SweepView {
    /// Draws the view in the remaining space of the window.
    pub fn show(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>) {
        let palette = Palette::of(ui);
        self.pictures.refresh(cx);
        Panel::left("sweep rail")
            .exact_size(theme::RAIL)
            .resizable(false)
            .frame(Frame::NONE.fill(palette.panel))
            .show(ui, |ui| self.rail.show(ui, cx, &self.pictures));
        CentralPanel::no_frame()
            .frame(Frame::NONE.fill(palette.window))
            .show(ui, |ui| self.centre(ui, cx));
    }

    fn centre(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>) {
        crate::views::scrolled(ui, "sweep centre", Margin::same(theme::PADDING as i8), |ui, height| {
            let top = ui.cursor().top();
            results::progress_row(ui, cx);
            results::show_message(ui, cx);
            ui.add_space(theme::GAP);
            let used = ui.cursor().top() - top;
            let room = height - used;
            if cx.workbench.texts_alone {
                let width = ui.available_width();
                let texts = (room - super::WAY_BACK).max(LOWER_LEAST);
                self.pair.show(ui, cx, width, texts);
                super::way_back(ui, cx);
                return;
            }
            let (map, lower) = self.heights(ui, cx, room);
            results::map_card(ui, cx, &self.pictures, map);
            super::splitter(ui, cx, Tab::Sweep, lower, (LOWER_LEAST, room - MAP_LEAST - theme::GAP));
            self.lower(ui, cx, lower);
        });
    }

    /// Returns the heights of the map and of the part below: the texts get the height they need, the map keeps some of
    /// its rows.
    fn heights(&self, ui: &Ui, cx: &PanelContext<'_>, room: f32) -> (f32, f32) {
        let whole_map = results::map_height(&self.pictures);
        let most = (room - theme::GAP - whole_map.min(MAP_LEAST)).max(LOWER_LEAST);
        let half = (ui.available_width() - theme::GAP) / 2.0;
        let lower = match cx.workbench.settings.pair_height {
            Some(set) => set,
            None => self.pair.need(ui, cx, half, most),
        };
        let lower = lower.clamp(LOWER_LEAST, most);
        let map = (room - theme::GAP - lower).clamp(whole_map.min(MAP_LEAST), whole_map);
        (map, (room - theme::GAP - map).max(LOWER_LEAST))
    }

    /// Draws plot and measures beside the pair, or above it if that is too narrow.
    fn lower(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>, height: f32) {
        let width = ui.available_width();
        let half = (width - theme::GAP) / 2.0;
        let measures = pair::measures_height(cx);
        if half < 360.0 {
            results::lines_card(ui, cx, &mut self.pictures, width, height);
            ui.add_space(theme::GAP);
            self.pair.show(ui, cx, width, height);
            ui.add_space(theme::GAP);
            pair::measures_card(ui, cx, width);
            return;
        }
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = theme::GAP;
            ui.allocate_ui(vec2(half, height), |ui| {
                ui.spacing_mut().item_spacing.y = 0.0;
                ui.vertical(|ui| {
                    // The plot keeps its minimum height, whatever is compared.
                    let with_measures = measures > 0.0 && height - measures - theme::GAP >= super::PLOT_LEAST;
                    let plot = if with_measures {
                        height - measures - theme::GAP
                    } else {
                        height
                    };
                    results::lines_card(ui, cx, &mut self.pictures, half, plot);
                    if with_measures {
                        ui.add_space(theme::GAP);
                        pair::measures_card(ui, cx, half);
                    }
                });
            });
            self.pair.show(ui, cx, half, height);
        });
    }
}

/// Minimum height of plot and pair; below it the centre scrolls.
const LOWER_LEAST: f32 = 320.0;
/// Minimum height of the map if the texts need the space; its other rows scroll.
const MAP_LEAST: f32 = 206.0;

impl PanelContext<'_> {
    pub(super) fn sweep_text(&self) -> &'static SweepText {
        SweepText::of(self.workbench.settings.language)
    }

    pub(super) fn sweep(&mut self, action: SweepAction) {
        self.act(Action::Sweep(action));
    }
}
