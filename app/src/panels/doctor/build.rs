//! The build of the C++ unit in the Doctor view: commands, output, free memory, and the stop button.

use eframe::egui::{self, CornerRadius, Frame, Margin, ScrollArea, Stroke, Ui};

use super::View;
use crate::doctor::build;
use crate::theme;
use crate::views::button::Button;
use crate::views::paint;
use crate::views::progress::progress;
use crate::workbench::doctor::{DoctorAction, Work};

/// Height of the output.
const OUTPUT: f32 = 200.0;

impl View<'_> {
    pub(super) fn build(&self, ui: &mut Ui, actions: &mut Vec<DoctorAction>) {
        let (text, palette) = (self.text, self.palette);
        ui.add_space(24.0);
        ui.label(paint::strong(text.build, theme::CARD_TITLE, palette.text));
        ui.add(egui::Label::new(paint::words(text.build_about, theme::BODY, palette.text2)).wrap());
        self.commands(ui, &build::shown(), actions);
        let building = self.state.work == Some(Work::Building);
        ui.add_space(8.0);
        if building {
            let stopping = self.state.build.as_ref().is_some_and(|run| run.stopping);
            let button = Button::outlined(text.build_stop).height(theme::CONTROL_LARGE);
            if ui.add_enabled(!stopping, button).clicked() {
                actions.push(DoctorAction::StopBuild);
            }
        } else {
            let button = Button::ink(text.build_start).height(theme::CONTROL_LARGE);
            if ui.add_enabled(self.state.work.is_none(), button).clicked() {
                actions.push(DoctorAction::Build);
            }
        }
        ui.add_space(8.0);
        if let Some(run) = &self.state.build {
            if building {
                let words = match run.free_mib {
                    _ if run.stopping => text.build_stopping.to_owned(),
                    Some(mib) => (text.free_memory)(mib),
                    None => text.working.to_owned(),
                };
                progress(ui, None, &words);
            }
            ui.label(paint::strong(text.build_output, theme::CAPTION, palette.text3));
            Frame::NONE
                .fill(palette.inset)
                .stroke(Stroke::new(1.0, palette.line))
                .corner_radius(CornerRadius::same(theme::RADIUS_CARD))
                .inner_margin(Margin::same(12))
                .show(ui, |ui| {
                    ui.set_width(ui.available_width());
                    ScrollArea::both()
                        .id_salt("build output")
                        .max_height(OUTPUT)
                        .min_scrolled_height(OUTPUT)
                        .auto_shrink(false)
                        .stick_to_bottom(true)
                        .show(ui, |ui| {
                            let lines = paint::figures(run.text.trim_end(), theme::CAPTION, palette.text2);
                            ui.add(egui::Label::new(lines).extend());
                        });
                });
        }
    }
}
