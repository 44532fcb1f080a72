//! The installer's page of the Doctor view: explanation, file, commands and button.

use eframe::egui::{self, CornerRadius, Frame, Margin, Stroke, TextEdit, Ui, vec2};

use super::View;
use crate::doctor::install;
use crate::theme;
use crate::views::button::Button;
use crate::views::paint;
use crate::workbench::doctor::{DoctorAction, Page};

impl View<'_> {
    /// Draws the buttons below the list of checks that open the page and that uninstall softprefix-unit.
    pub(super) fn offer_installer(&self, ui: &mut Ui, actions: &mut Vec<DoctorAction>) {
        let (text, palette) = (self.text, self.palette);
        Frame::NONE
            .inner_margin(Margin {
                left: 24,
                right: 24,
                top: 24,
                bottom: 24,
            })
            .show(ui, |ui| {
                ui.spacing_mut().item_spacing.y = 8.0;
                ui.label(paint::words(text.install_about, theme::CAPTION, palette.text3));
                ui.horizontal(|ui| {
                    if ui.add(Button::outlined(text.install)).clicked() {
                        actions.push(DoctorAction::Show(Page::Installer));
                    }
                    if ui.add(Button::quiet(text.uninstall)).clicked() {
                        actions.push(DoctorAction::Uninstall);
                    }
                });
            });
    }

    pub(super) fn installer(&self, ui: &mut Ui, actions: &mut Vec<DoctorAction>) {
        let (text, palette) = (self.text, self.palette);
        let free = self.state.work.is_none();
        ui.label(paint::strong(text.installer_title, theme::TITLE, palette.text));
        ui.add(egui::Label::new(paint::words(text.installer_about, theme::CARD_TITLE, palette.text2)).wrap());
        ui.add_space(16.0);
        ui.label(paint::strong(text.unit_file, theme::CAPTION, palette.text3));
        ui.horizontal(|ui| {
            let choose = Button::outlined(text.choose_unit);
            let width = ui.available_width() - choose.measure(ui) - 8.0;
            let frame = Frame::NONE
                .fill(palette.inset)
                .stroke(Stroke::new(1.0, palette.stroke))
                .corner_radius(CornerRadius::same(theme::RADIUS_CONTROL))
                .inner_margin(Margin::symmetric(10, 0));
            let mut unit = self.state.unit.clone();
            let response = ui
                .add_sized(
                    vec2(width, theme::CONTROL),
                    TextEdit::singleline(&mut unit)
                        .id_salt("unit file")
                        .hint_text(text.unit_hint)
                        .font(theme::BODY.mono())
                        .frame(frame)
                        .align(egui::Align2::LEFT_CENTER),
                )
                .accessible_name(text.unit_file);
            paint::focus_ring(ui, &response, response.rect, theme::RADIUS_CONTROL);
            if unit != self.state.unit {
                actions.push(DoctorAction::SetUnit(unit));
            }
            if ui.add_enabled(free, choose).clicked() {
                actions.push(DoctorAction::ChooseUnit);
            }
        });
        ui.label(paint::words(text.unit_how, theme::CAPTION, palette.text3));
        ui.add_space(16.0);
        self.commands(ui, &install::shown(), actions);
        ui.add_space(8.0);
        ui.horizontal(|ui| {
            let can = free && !self.state.unit.trim().is_empty();
            let button = Button::ink(text.install_now).height(theme::CONTROL_LARGE);
            if ui.add_enabled(can, button).clicked() {
                actions.push(DoctorAction::Install);
            }
            let button = Button::outlined(text.uninstall)
                .height(theme::CONTROL_LARGE)
                .name(text.undo);
            if ui.add_enabled(free, button).clicked() {
                actions.push(DoctorAction::Uninstall);
            }
        });
    }
}
