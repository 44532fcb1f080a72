//! The history: all saved experiments, with search, open, repeat, rename, delete and undo.

use eframe::egui::{
    self, Align2, Frame, Margin, Popup, PopupCloseBehavior, Rect, Role, ScrollArea, Sense, TextEdit, Ui, WidgetInfo,
    pos2, vec2,
};
use softprefix_core::experiment::Summary;
use softprefix_core::time::local;

use super::rail::lit;
use crate::panels::context::PanelContext;
use crate::theme::{self, Palette};
use crate::views::button::Button;
use crate::views::icon::{Icon, IconButton};
use crate::views::{paint, select};
use crate::workbench::SweepAction;
use crate::workbench::library::LibraryState;
use crate::workbench::sweep::ExperimentStatus;

/// What the page keeps between frames.
#[derive(Default)]
pub struct HistoryPage {
    query: String,
    /// The words of the last search.
    asked: String,
    /// The experiment that is being renamed, and its new name.
    renaming: Option<(String, String)>,
}

const ROW: f32 = 52.0;

impl HistoryPage {
    /// Draws the page; returns `true` if an experiment's settings were copied to the fields, which should be shown
    /// then.
    pub fn show(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>) -> bool {
        let palette = Palette::of(ui);
        let text = cx.sweep_text();
        let padding = theme::PADDING as i8;
        let mut to_setup = false;
        Frame::NONE.inner_margin(Margin::symmetric(padding, 4)).show(ui, |ui| {
            let frame = Frame::NONE
                .fill(palette.inset)
                .stroke(egui::Stroke::new(1.0, palette.stroke))
                .corner_radius(egui::CornerRadius::same(theme::RADIUS_CONTROL))
                .inner_margin(Margin::symmetric(10, 0));
            let size = vec2(ui.available_width(), theme::CONTROL);
            let response = ui
                .add_sized(
                    size,
                    TextEdit::singleline(&mut self.query)
                        .id_salt("history search")
                        .hint_text(text.search_hint)
                        .text_color(palette.text)
                        .align(Align2::LEFT_CENTER)
                        .frame(frame),
                )
                .accessible_name(text.search);
            paint::focus_ring(ui, &response, response.rect, theme::RADIUS_CONTROL);
            if cx.workbench.library.deleted.is_some() {
                ui.horizontal(|ui| {
                    ui.label(paint::words(text.deleted, theme::BODY, palette.text2));
                    if ui.add(Button::outlined(text.undo).small().height(28.0)).clicked() {
                        cx.sweep(SweepAction::UndoDelete);
                    }
                });
            }
            if let LibraryState::Unusable(problem) = &cx.workbench.library.state {
                ui.label(paint::words(
                    problem.whole(cx.workbench.settings.language),
                    theme::BODY,
                    palette.broken,
                ));
            }
        });
        let query = self.query.trim().to_owned();
        if self.asked != query {
            self.asked.clone_from(&query);
            cx.sweep(SweepAction::SearchHistory(query.clone()));
        }
        let library = &cx.workbench.library;
        // Until the texts have been searched, matches in names are shown.
        let found = library
            .found
            .as_ref()
            .filter(|(of, _)| *of == query)
            .map(|(_, ids)| ids);
        let lower = query.to_lowercase();
        let rows: Vec<&Summary> = library
            .undeleted()
            .filter(|one| match found {
                _ if query.is_empty() => true,
                Some(ids) => ids.contains(&one.experiment.id),
                None => one.experiment.name.to_lowercase().contains(&lower),
            })
            .collect();
        if rows.is_empty() {
            let words = match library.state {
                LibraryState::Opening => text.history_opening,
                _ if query.is_empty() => text.history_empty,
                _ => text.history_none_found,
            };
            Frame::NONE.inner_margin(Margin::symmetric(padding, 8)).show(ui, |ui| {
                ui.label(paint::words(words, theme::BODY, palette.text3));
            });
            return false;
        }
        ui.spacing_mut().item_spacing.y = 0.0;
        let mut renaming = self.renaming.take();
        ScrollArea::vertical()
            .id_salt("history rows")
            .auto_shrink(false)
            .show_rows(ui, ROW, rows.len(), |ui, range| {
                for one in &rows[range] {
                    to_setup |= row(ui, cx, one, &mut renaming);
                }
            });
        self.renaming = renaming;
        to_setup
    }
}

fn row(ui: &mut Ui, cx: &mut PanelContext<'_>, one: &Summary, renaming: &mut Option<(String, String)>) -> bool {
    let palette = Palette::of(ui);
    let text = cx.sweep_text();
    let id = &one.experiment.id;
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::click());
    let workbench = cx.workbench;
    let running = workbench.sweep.shown.iter().find(|saved| saved.experiment.id == *id);
    let learned = workbench.find.saved.as_ref().filter(|saved| saved.experiment.id == *id);
    let on = running.is_some() || learned.is_some() || workbench.tuning.saved.experiment.id == *id;
    let name = &one.experiment.name;
    let status = workbench.sweep.status(one);
    let count = running
        .or(learned)
        .map_or(one.finished, |saved| saved.undeleted().count());
    let counted = match status {
        ExperimentStatus::Session | ExperimentStatus::PrefixSearch => (cx.text.points)(count),
        _ => (text.count_of)(count, one.planned.max(count)),
    };
    let about = format!(
        "{} · {counted} · {}",
        local(one.experiment.started_unix),
        (text.status)(status)
    );
    response.widget_info(|| WidgetInfo::selected(Role::ListItem, true, on, format!("{name}, {about}")));
    if on || response.hovered() {
        lit(ui, rect);
    }
    let inner = rect.shrink2(vec2(theme::PADDING, 0.0));
    let menu_place = Rect::from_center_size(pos2(inner.right() - 10.0, rect.center().y), vec2(28.0, 28.0));
    let room = menu_place.left() - inner.left() - 8.0;

    if let Some((renamed, draft)) = renaming.as_mut().filter(|(renamed, _)| renamed == id) {
        let place = Rect::from_min_size(pos2(inner.left(), rect.top() + 4.0), vec2(room, 26.0));
        let edit = TextEdit::singleline(draft).id_salt("rename").text_color(palette.text);
        let response = ui.place(place, edit).accessible_name(text.new_name);
        if !response.has_focus() && !response.lost_focus() {
            response.request_focus();
        }
        let escaped = ui.input(|input| input.key_pressed(egui::Key::Escape));
        if response.lost_focus() {
            if !escaped {
                cx.sweep(SweepAction::Rename(renamed.clone(), draft.clone()));
            }
            *renaming = None;
        }
    } else {
        let font = if on {
            theme::BODY.semibold()
        } else {
            theme::BODY.regular()
        };
        let galley = paint::cut_to(ui, &name.replace('\n', " "), font, palette.text, room);
        paint::place(
            ui.painter(),
            pos2(inner.left(), rect.top() + 8.0),
            Align2::LEFT_TOP,
            galley,
        );
    }
    let colour = if status == ExperimentStatus::Open {
        palette.warning
    } else {
        palette.text3
    };
    let galley = paint::cut_to(ui, &about, theme::CAPTION.regular(), colour, room);
    paint::place(
        ui.painter(),
        pos2(inner.left(), rect.bottom() - 8.0),
        Align2::LEFT_BOTTOM,
        galley,
    );

    let mut to_setup = false;
    let busy = cx.workbench.sweep.is_busy();
    let can_run = !busy && cx.workbench.module.is_ready();
    let menu_name = (text.actions_of)(name);
    let menu = ui.place(menu_place, IconButton::new(Icon::Menu, &menu_name).size(28.0));
    Popup::menu(&menu)
        .close_behavior(PopupCloseBehavior::CloseOnClick)
        .accessible_name(&menu_name)
        .show(|ui| {
            let lines = [text.open, text.clone_settings, text.run_again, text.rename, text.delete];
            select::as_wide_as(ui, lines);
            let item = |ui: &mut Ui, words: &str, on: bool| {
                ui.add_enabled_ui(on, |ui| select::item(ui, words, false))
                    .inner
                    .clicked()
            };
            let is_sweep = one.experiment.plan.is_some();
            if item(ui, text.open, !busy || !is_sweep) {
                cx.sweep(SweepAction::Show(id.clone()));
            }
            if is_sweep && item(ui, text.clone_settings, !busy) {
                cx.sweep(SweepAction::CloneSettings(id.clone()));
                to_setup = true;
            }
            if is_sweep && item(ui, text.run_again, can_run) {
                cx.sweep(SweepAction::RunAgain(id.clone()));
                to_setup = true;
            }
            if item(ui, text.rename, true) {
                *renaming = Some((id.clone(), name.clone()));
            }
            if item(ui, text.delete, status != ExperimentStatus::Running) {
                cx.sweep(SweepAction::Delete(id.clone()));
            }
        });
    paint::focus_ring(ui, &response, rect.shrink(4.0), theme::RADIUS_TAG);
    if response.clicked() && (!busy || one.experiment.plan.is_none()) {
        cx.sweep(SweepAction::Show(id.clone()));
    }
    to_setup
}
