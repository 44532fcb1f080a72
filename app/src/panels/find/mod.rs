//! The Find view: the settings on the left; on the right the progress of learning, of choosing among candidates, or of a search by an
//! objective.

mod choose;
mod rail;
mod results;
mod search;

pub(super) use choose::present;

use eframe::egui::{CentralPanel, Frame, Margin, Panel, Ui};

use super::context::PanelContext;
use crate::model::FindMode;
use crate::text::FindText;
use crate::theme::{self, Palette};
use crate::workbench::{Action, FindAction};

/// Shows the view in the remaining space of the window.
pub fn show(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    Panel::left("find rail")
        .exact_size(theme::RAIL)
        .resizable(false)
        .frame(Frame::NONE.fill(palette.panel))
        .show(ui, |ui| rail::show(ui, cx));
    CentralPanel::no_frame()
        .frame(Frame::NONE.fill(palette.window))
        .show(ui, |ui| {
            let margin = Margin::same(theme::PADDING as i8);
            crate::views::scrolled(ui, "find centre", margin, |ui, height| match cx.workbench.find.mode {
                FindMode::Learn => results::show(ui, cx, height),
                FindMode::Choose => choose::show(ui, cx, height),
                FindMode::Search => search::show(ui, cx, height),
            });
        });
}

impl PanelContext<'_> {
    pub(in crate::panels) fn find_text(&self) -> &'static FindText {
        FindText::of(self.workbench.settings.language)
    }

    fn find(&mut self, action: FindAction) {
        self.act(Action::Find(action));
    }
}
