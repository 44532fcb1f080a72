//! The history: every experiment that was kept, found by words, opened, repeated, renamed, deleted and brought back.

use std::collections::{HashMap, HashSet};

use eframe::egui::{
    self, Align2, Frame, Margin, Popup, PopupCloseBehavior, Rect, Role, ScrollArea, Sense, TextEdit, Ui, WidgetInfo,
    pos2, vec2,
};
use softprefix_core::experiment::Past;

use super::rail::lit;
use crate::panels::desk::Desk;
use crate::theme::{self, Palette};
use crate::views::button::Button;
use crate::views::icon::{Icon, IconButton};
use crate::views::{paint, select};
use crate::workbench::SweepAction;
use crate::workbench::sweep::{HistoryState, Standing};

/// What the page keeps between frames.
#[derive(Default)]
pub struct HistoryPage {
    query: String,
    /// The experiment whose name is being typed, and the name so far.
    renaming: Option<(String, String)>,
    found: Option<Found>,
}

/// Places in the history of the experiments that a query finds, and what they were found in.
struct Found {
    query: String,
    experiments: usize,
    records: usize,
    deleted: bool,
    places: Vec<usize>,
    /// Planned cases of those that were in sight: a plan may unfold into very many.
    planned: HashMap<usize, usize>,
}

const ROW: f32 = 52.0;

impl HistoryPage {
    /// Shows the page; true where an experiment's settings were taken over, which are to be seen then.
    pub fn show(&mut self, ui: &mut Ui, desk: &mut Desk<'_>) -> bool {
        let palette = Palette::of(ui);
        let text = desk.sweep_text();
        let sweep = &desk.bench.sweep;
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
            if sweep.deleted.is_some() {
                ui.horizontal(|ui| {
                    ui.label(paint::words(text.deleted, theme::BODY, palette.text2));
                    if ui.add(Button::outlined(text.undo).small().height(28.0)).clicked() {
                        desk.sweep(SweepAction::UndoDelete);
                    }
                });
            }
            if let HistoryState::Unusable(problem) = &sweep.history {
                ui.label(paint::words(
                    problem.whole(desk.bench.settings.language),
                    theme::BODY,
                    palette.broken,
                ));
            }
        });
        self.find(desk);
        let nothing = self.found.as_ref().is_none_or(|found| found.places.is_empty());
        if nothing {
            let words = if self.query.trim().is_empty() {
                text.history_empty
            } else {
                text.history_none_found
            };
            Frame::NONE.inner_margin(Margin::symmetric(padding, 8)).show(ui, |ui| {
                ui.label(paint::words(words, theme::BODY, palette.text3));
            });
            return false;
        }
        ui.spacing_mut().item_spacing.y = 0.0;
        let mut renaming = self.renaming.take();
        let Some(Found { places, planned, .. }) = &mut self.found else {
            return false;
        };
        ScrollArea::vertical()
            .id_salt("history rows")
            .auto_shrink(false)
            .show_rows(ui, ROW, places.len(), |ui, range| {
                for place in &places[range] {
                    if let Some(past) = desk.bench.sweep.past.experiments.get(*place) {
                        let plan = &past.experiment.plan;
                        let all = planned
                            .entry(*place)
                            .or_insert_with(|| plan.cases().map_or(0, |cases| cases.len()));
                        to_setup |= row(ui, desk, past, *all, &mut renaming);
                    }
                }
            });
        self.renaming = renaming;
        to_setup
    }

    /// Searches again where the words or the history have changed.
    fn find(&mut self, desk: &Desk<'_>) {
        let sweep = &desk.bench.sweep;
        let past = &sweep.past;
        let experiments = past.experiments.len();
        let records = past.experiments.iter().map(|past| past.records.len()).sum();
        let deleted = sweep.deleted.is_some();
        let same = self.found.as_ref().is_some_and(|found| {
            found.query == self.query
                && (found.experiments, found.deleted) == (experiments, deleted)
                // While a sweep runs, its new cases need no new search.
                && (found.records == records || sweep.is_busy())
        });
        if same {
            return;
        }
        let query = self.query.trim();
        let mut hits: Option<HashSet<&str>> = None;
        if !query.is_empty() {
            let found = past.search(query).into_iter();
            hits = Some(found.map(|(past, _)| past.experiment.id.as_str()).collect());
        }
        // The latest first.
        let places = past.experiments.iter().enumerate().rev().filter(|(_, one)| {
            let id = one.experiment.id.as_str();
            !past.is_deleted(id) && hits.as_ref().is_none_or(|hits| hits.contains(id))
        });
        let places = places.map(|(place, _)| place).collect();
        self.found = Some(Found {
            query: self.query.clone(),
            experiments,
            records,
            deleted,
            places,
            planned: HashMap::new(),
        });
    }
}

fn row(ui: &mut Ui, desk: &mut Desk<'_>, past: &Past, planned: usize, renaming: &mut Option<(String, String)>) -> bool {
    let palette = Palette::of(ui);
    let text = desk.sweep_text();
    let id = &past.experiment.id;
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::click());
    let on = desk.bench.sweep.shown.contains(id);
    let name = &past.experiment.name;
    let standing = desk.bench.sweep.standing(past);
    let count = past.records.len();
    let all = planned.max(count);
    let about = format!(
        "{} · {} · {}",
        when(past.experiment.started_unix),
        (text.count_of)(count, all),
        (text.standing)(standing)
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
                desk.sweep(SweepAction::Rename(renamed.clone(), draft.clone()));
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
    let colour = if standing == Standing::Open {
        palette.look_here
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
    let busy = desk.bench.sweep.is_busy();
    let can_run = !busy && desk.bench.module.is_ready();
    let menu_name = (text.actions_of)(name);
    let menu = ui.place(menu_place, IconButton::new(Icon::Menu, &menu_name).size(28.0));
    Popup::menu(&menu)
        .close_behavior(PopupCloseBehavior::CloseOnClick)
        .accessible_name(&menu_name)
        .show(|ui| {
            ui.set_min_width(200.0);
            let item = |ui: &mut Ui, words: &str, on: bool| {
                ui.add_enabled_ui(on, |ui| select::item(ui, words, false))
                    .inner
                    .clicked()
            };
            if item(ui, text.open, !busy) {
                desk.sweep(SweepAction::Show(id.clone()));
            }
            if item(ui, text.clone_settings, !busy) {
                desk.sweep(SweepAction::CloneSettings(id.clone()));
                to_setup = true;
            }
            if item(ui, text.run_again, can_run) {
                desk.sweep(SweepAction::RunAgain(id.clone()));
                to_setup = true;
            }
            if item(ui, text.rename, true) {
                *renaming = Some((id.clone(), name.clone()));
            }
            if item(ui, text.delete, standing != Standing::AtWork) {
                desk.sweep(SweepAction::Delete(id.clone()));
            }
        });
    paint::focus_ring(ui, &response, rect.shrink(4.0), theme::RADIUS_TAG);
    if response.clicked() && !busy {
        desk.sweep(SweepAction::Show(id.clone()));
    }
    to_setup
}

/// A time as `2026-11-23 04:05`, UTC.
fn when(unix: f64) -> String {
    if !(unix.is_finite() && unix > 0.0) {
        return "–".to_owned();
    }
    let minutes = (unix / 60.0) as i64;
    let (days, minute) = (minutes.div_euclid(1440), minutes.rem_euclid(1440));
    let (year, month, day) = civil(days);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", minute / 60, minute % 60)
}

/// The Gregorian date of a day counted from 1970-01-01, by the usual shift of the year's beginning to March.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_dates() {
        assert_eq!(when(0.0), "–");
        assert_eq!(when(951_782_400.0), "2000-02-29 00:00 UTC");
        assert_eq!(when(1_795_406_700.0), "2026-11-23 04:05 UTC");
    }
}
