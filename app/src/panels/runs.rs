//! The runs of the session as a table with their settings, their measures and how they ended. Several runs can be chosen and plotted
//! together; one or two of them can be pinned.

use std::collections::BTreeSet;

use eframe::egui::{
    self, Align2, EventFilter, Key, Modifiers, Rect, Role, ScrollArea, Sense, Stroke, Ui, WidgetInfo, pos2, vec2,
};
use softprefix_core::compare::Measure;
use softprefix_core::experiment::{GroupKey, Rating, Record};

use super::context::PanelContext;
use super::label;
use crate::commands::{CommandId, command};
use crate::model::finish_of;
use crate::text::RatingText;
use crate::theme::{self, Palette};
use crate::views::button::Button;
use crate::views::icon::{self, Icon};
use crate::views::{paint, stars, status, toggle};
use crate::workbench::{Action, Dialog, Filling};

/// Height of a line.
const LINE: f32 = 26.0;
/// Width of the bar at the start of a chosen line.
const INDENT: f32 = 8.0;
/// The measures with a column.
const MEASURES: [Measure; 4] = [Measure::Chrf2, Measure::Indel, Measure::KlMean, Measure::Length];
/// Prompt, kind, magnitude, P, model, the measures, how it ended, the rating.
const COLUMNS: usize = 7 + MEASURES.len();
const ENDING: usize = COLUMNS - 2;
const RATING: usize = COLUMNS - 1;
/// Column widths, as shares of the table's width.
const SHARES: [f32; COLUMNS] = [0.16, 0.10, 0.09, 0.035, 0.14, 0.06, 0.06, 0.08, 0.055, 0.12, 0.10];

/// Maximum number of characters of a running text: more than its columns have room for.
const TAIL: usize = 200;

/// What the table keeps between frames.
#[derive(Default)]
pub struct RunsTable {
    /// The sort column, and whether it is descending; `None` for the order of the runs, latest first.
    sorted: Option<(usize, bool)>,
    only_this_prompt: bool,
    /// Ids of the runs that are chosen.
    chosen: BTreeSet<String>,
    /// The run that was chosen last, where a range starts.
    anchor: Option<String>,
}

/// A click on a line.
enum Hit {
    Open,
    /// Chooses it, or no longer.
    Toggle,
    /// Chooses all from the last chosen one to it.
    Range,
}

/// A line: its run, its cells, and their numeric sort keys.
struct Line<'a> {
    run: LineRun<'a>,
    cells: [String; COLUMNS],
    values: [Option<f64>; COLUMNS],
}

/// The run of a line.
#[derive(Clone, Copy)]
enum LineRun<'a> {
    Finished(&'a Record),
    /// A run that fills the curve, with its text so far.
    Filling(&'a str),
}

impl<'a> Line<'a> {
    /// The run's record; `None` until it has ended.
    fn record(&self) -> Option<&'a Record> {
        match self.run {
            LineRun::Finished(record) => Some(record),
            LineRun::Filling(_) => None,
        }
    }

    fn id(&self) -> Option<&'a str> {
        self.record().map(|record| record.id.as_str())
    }

    /// The record, where it can be shown beside the baseline.
    fn case(&self) -> Option<&'a Record> {
        self.record().filter(|record| !record.is_baseline())
    }
}

impl RunsTable {
    /// Draws the table in the remaining space of `ui`.
    pub fn show(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>) {
        let palette = Palette::of(ui);
        let text = cx.text;
        let mut lines = self.lines(cx);
        if let Some((column, descending)) = self.sorted {
            lines.sort_by(|a, b| {
                let order = match (a.values[column], b.values[column]) {
                    (Some(x), Some(y)) => x.total_cmp(&y),
                    (None, None) => a.cells[column].cmp(&b.cells[column]),
                    (x, y) => x.is_some().cmp(&y.is_some()),
                };
                if descending { order.reverse() } else { order }
            });
        }
        let rect = ui.available_rect_before_wrap();
        let mut x = rect.left();
        let columns: Vec<Rect> = SHARES
            .iter()
            .map(|share| {
                let width = rect.width() * share;
                let column = Rect::from_min_size(pos2(x, rect.top()), vec2(width - 8.0, LINE));
                x += width;
                column
            })
            .collect();
        for (index, place) in columns.iter().enumerate() {
            let indent = if index == 0 { INDENT } else { 0.0 };
            self.header(ui, name_of(cx, index), place.with_min_x(place.left() + indent), index);
        }
        ui.add_space(LINE);
        ui.painter()
            .hline(rect.x_range(), rect.top() + LINE - 1.0, Stroke::new(1.0, palette.line));
        let foot = 28.0;
        let height = (rect.height() - LINE - foot).max(LINE);
        let shown = cx.workbench.tuning.current().map(|(record, _)| record.id.clone());
        let pinned = cx.workbench.tuning.pinned().map(|record| record.id.clone());
        let at = lines
            .iter()
            .position(|line| line.id().is_some() && line.id() == shown.as_deref());
        let mut chosen = None;
        let area = Rect::from_min_size(pos2(rect.left(), rect.top() + LINE), vec2(rect.width(), height));
        let table = ui.interact(area, ui.scope_id().with("table"), Sense::focusable_noninteractive());
        table.widget_info(|| WidgetInfo::labeled(Role::Table, true, text.runs));
        paint::focus_ring(ui, &table, area.shrink(3.0), theme::RADIUS_TAG);
        let can_open = |at: &usize| lines[*at].case().is_some();
        let stepped = stepped(ui, &table, at, &(0..lines.len()).filter(can_open).collect::<Vec<_>>());
        let mut hit = None;
        if table.has_focus() {
            rate_by_keys(ui, cx, at.and_then(|at| lines.get(at)).and_then(Line::record));
            self.pin_by_key(ui, cx);
            let (shift, space) = ui.input(|input| (input.modifiers.shift, input.key_pressed(Key::Space)));
            hit = match stepped {
                Some(next) if shift => {
                    if self.anchor.is_none() {
                        self.anchor = lines[at.unwrap_or(next)].id().map(str::to_owned);
                    }
                    Some((next, Hit::Range))
                }
                _ => at.filter(|_| space).map(|at| (at, Hit::Toggle)),
            };
        }
        if let Some(next) = stepped {
            chosen = lines[next].id().map(str::to_owned);
        }
        if lines.is_empty() {
            ui.allocate_exact_size(area.size(), Sense::hover());
            paint::notice(ui, area, text.runs_empty);
        } else {
            ui.spacing_mut().item_spacing.y = 0.0;
            let mut scroll = ScrollArea::vertical()
                .id_salt("runs")
                .max_height(height)
                .auto_shrink(false);
            if let Some(next) = stepped {
                // Keeps one line before it visible.
                scroll = scroll.vertical_scroll_offset(LINE * next.saturating_sub(1) as f32);
            }
            scroll.show_rows(ui, LINE, lines.len(), |ui, range| {
                for at in range {
                    let id = lines[at].id();
                    let on = id.is_some() && shown.as_deref() == id;
                    let marks = Marks {
                        on,
                        chosen: id.is_some_and(|id| self.chosen.contains(id)),
                        pinned: id.is_some() && pinned.as_deref() == id,
                    };
                    match line(ui, &lines[at], &columns, marks) {
                        Some(Hit::Open) => chosen = id.map(str::to_owned),
                        other => hit = other.map(|other| (at, other)).or(hit.take()),
                    }
                }
            });
        }
        if let Some((at, hit)) = hit {
            self.choose(&lines, at, &hit);
        }
        if let Some(id) = chosen {
            cx.act(Action::SelectRun(Some(id)));
        }
        // Runs that were deleted meanwhile are no longer chosen.
        self.chosen.retain(|id| cx.workbench.tuning.saved.is_undeleted(id));
        ui.horizontal(|ui| {
            ui.set_min_height(foot);
            toggle::toggle(ui, &mut self.only_this_prompt, text.only_this_prompt);
            ui.add_space(16.0);
            if self.chosen.is_empty() {
                let about = [
                    text.choose_about,
                    RatingText::of(cx.workbench.settings.language).table_about,
                ]
                .join(" ");
                let galley = paint::cut_to(
                    ui,
                    &about,
                    theme::CAPTION.regular(),
                    palette.text3,
                    ui.available_width(),
                );
                ui.add(egui::Label::new(galley).show_tooltip_when_elided(false))
                    .on_hover_text(about);
                return;
            }
            ui.label(paint::words(
                (text.chosen)(self.chosen.len()),
                theme::CAPTION,
                palette.text2,
            ));
            if ui.add(Button::outlined(text.plot_them).small().height(foot)).clicked() {
                cx.act(Action::PlotRuns(self.chosen.iter().cloned().collect()));
            }
            let pin = Button::outlined(cx.sweep_text().pin).small().height(foot);
            if ui.add_enabled(self.chosen.len() <= 2, pin).clicked() {
                self.pin(cx);
            }
        });
    }

    /// Handles the key for pinning: pins the chosen runs, or else the shown run.
    fn pin_by_key(&mut self, ui: &Ui, cx: &mut PanelContext<'_>) {
        let command = command(CommandId::Pin);
        let shortcut = command.shortcut(ui.ctx().os().is_mac());
        if !shortcut.is_some_and(|shortcut| ui.input_mut(|input| input.consume_shortcut(&shortcut))) {
            return;
        }
        match self.chosen.len() {
            1 | 2 => self.pin(cx),
            _ => cx.actions.extend(command.action(cx.workbench)),
        }
    }

    /// Shows the chosen run in the baseline's place. Of two chosen runs, the last one is shown beside the first.
    fn pin(&mut self, cx: &mut PanelContext<'_>) {
        let last = self.anchor.clone().filter(|id| self.chosen.contains(id));
        let first = self.chosen.iter().find(|id| Some(*id) != last.as_ref()).cloned();
        match (first, last) {
            (Some(first), Some(last)) => {
                cx.act(Action::Pin(Some(first)));
                cx.act(Action::SelectRun(Some(last)));
            }
            (first, last) => cx.act(Action::Pin(first.or(last))),
        }
        self.chosen.clear();
        self.anchor = None;
    }

    fn choose(&mut self, lines: &[Line<'_>], at: usize, hit: &Hit) {
        let Some(id) = lines[at].id() else {
            return;
        };
        let begin = self
            .anchor
            .as_ref()
            .and_then(|anchor| lines.iter().position(|line| line.id() == Some(anchor)));
        match (hit, begin) {
            (Hit::Range, Some(begin)) => {
                let range = &lines[begin.min(at)..=begin.max(at)];
                let runs = range.iter().filter_map(Line::case);
                self.chosen.extend(runs.map(|record| record.id.clone()));
            }
            (Hit::Open, _) => {}
            _ => {
                if !self.chosen.remove(id) {
                    self.chosen.insert(id.to_owned());
                }
                self.anchor = Some(id.to_owned());
            }
        }
    }

    fn header(&mut self, ui: &Ui, words: &str, place: Rect, index: usize) {
        let palette = Palette::of(ui);
        let response = ui.interact(place, ui.scope_id().with(("column", index)), Sense::click());
        response.widget_info(|| WidgetInfo::labeled(Role::Button, true, words));
        let sorted = self.sorted.filter(|(column, _)| *column == index);
        let colour = if sorted.is_some() || response.hovered() {
            palette.text
        } else {
            palette.text3
        };
        let sign_width = if sorted.is_some() { 14.0 } else { 0.0 };
        let galley = paint::cut_to(ui, words, theme::CAPTION.regular(), colour, place.width() - sign_width);
        let placed = paint::place(ui.painter(), place.left_center(), Align2::LEFT_CENTER, galley);
        if let Some((_, descending)) = sorted {
            let sign = if descending {
                Icon::ChevronDown
            } else {
                Icon::ChevronRight
            };
            icon::paint(ui.painter(), sign, pos2(placed.right() + 8.0, place.center().y), colour);
        }
        paint::focus_ring(ui, &response, place.shrink(3.0), theme::RADIUS_TAG);
        if response.clicked() {
            // Text is sorted ascending and numbers descending; a second click reverses the order, a third resets it.
            let first = index >= 2 && index != 4 && index != ENDING;
            self.sorted = match sorted {
                None => Some((index, first)),
                Some((_, descending)) if descending == first => Some((index, !first)),
                Some(_) => None,
            };
        }
    }

    fn lines<'d>(&self, cx: &PanelContext<'d>) -> Vec<Line<'d>> {
        let workbench = cx.workbench;
        let key = workbench.group_key();
        let records = workbench
            .tuning
            .saved
            .undeleted()
            .filter(|record| !record.output().is_empty());
        let records = records.filter(|record| !self.only_this_prompt || GroupKey::of(record).prompt == key.prompt);
        let mut lines: Vec<Line<'d>> = records.map(|record| line_of(cx, record)).collect();
        let filling = workbench.curve.running();
        let filling = filling.filter(|filling| !self.only_this_prompt || filling.input.prompt == key.prompt);
        lines.extend(filling.map(|filling| line_of_filling(cx, filling)));
        lines.reverse();
        lines
    }
}

fn name_of(cx: &PanelContext<'_>, column: usize) -> &'static str {
    let [prompt, kind, magnitude, len, model, ending] = cx.text.run_columns;
    match column {
        0 => prompt,
        1 => kind,
        2 => magnitude,
        3 => len,
        4 => model,
        RATING => RatingText::of(cx.workbench.settings.language).column,
        _ => MEASURES
            .get(column - 5)
            .map_or(ending, |measure| (cx.text.measures)(*measure)),
    }
}

fn line_of<'d>(cx: &PanelContext<'d>, record: &'d Record) -> Line<'d> {
    let text = cx.text;
    let recipe = record.case.recipe.as_ref();
    let point = cx.workbench.tuning.analysis.find(&record.id).map(|(_, point)| point);
    let magnitude = recipe.and(point).map(|point| point.magnitude());
    let measured = |measure: Measure| {
        let measures = recipe.and(point)?.measures.as_ref()?;
        measure.value(measures)
    };
    let mut values = [None; COLUMNS];
    values[2] = magnitude;
    values[3] = recipe.map(|recipe| recipe.len as f64);
    let mut cells: [String; COLUMNS] = std::array::from_fn(|_| String::new());
    cells[0] = record.prompt.user.replace('\n', " ");
    cells[1] = recipe.map_or_else(|| text.baseline.to_owned(), |recipe| label::kind(text, &recipe.kind));
    cells[2] = magnitude.map_or_else(String::new, |x| cx.format_plot_magnitude(x));
    cells[3] = recipe.map_or_else(String::new, |recipe| recipe.len.to_string());
    cells[4] = record.module.model.clone();
    for (index, measure) in MEASURES.into_iter().enumerate() {
        values[5 + index] = measured(measure);
        if recipe.is_some() {
            cells[5 + index] = label::figures(measure, measured(measure));
        }
    }
    cells[ENDING] = finish_of(record).map_or_else(String::new, |finish| (text.finish)(finish).to_owned());
    values[RATING] = record.rating.stars.map(|stars| f64::from(stars.count()));
    cells[RATING] = RatingText::of(cx.workbench.settings.language).words(&record.rating);
    Line {
        run: LineRun::Finished(record),
        cells,
        values,
    }
}

fn line_of_filling<'d>(cx: &PanelContext<'d>, filling: &'d Filling) -> Line<'d> {
    let text = cx.text;
    let recipe = &filling.recipe;
    let mut values = [None; COLUMNS];
    values[2] = if cx.plot_in_norms() {
        cx.workbench.norms_of(recipe)
    } else {
        cx.workbench.raw_of(recipe)
    };
    values[3] = Some(recipe.len as f64);
    let mut cells: [String; COLUMNS] = std::array::from_fn(|_| String::new());
    cells[0] = filling.input.prompt.user.replace('\n', " ");
    cells[1] = label::kind(text, &recipe.kind);
    cells[2] = values[2].map_or_else(String::new, |x| cx.format_plot_magnitude(x));
    cells[3] = recipe.len.to_string();
    cells[4] = cx
        .workbench
        .module
        .facts()
        .map_or_else(String::new, |facts| facts.identity.model.clone());
    let state = if filling.text.is_empty() {
        text.waiting
    } else {
        text.streaming
    };
    cells[ENDING] = state.to_owned();
    Line {
        run: LineRun::Filling(&filling.text),
        cells,
        values,
    }
}

/// Rates the shown run by the table's keys.
fn rate_by_keys(ui: &Ui, cx: &mut PanelContext<'_>, record: Option<&Record>) {
    let Some(record) = record else { return };
    if let Some(stars) = stars::typed(ui) {
        let note = record.rating.note.clone();
        cx.act(Action::Rate(record.id.clone(), Rating { stars, note }));
    }
    let is_asked = ui.input_mut(|input| input.consume_key(Modifiers::NONE, Key::E));
    if is_asked && cx.workbench.rated_run().is_some_and(|shown| shown.id == record.id) {
        cx.act(Action::ShowDialog(Dialog::Note));
    }
}

/// Returns the line that Up and Down select from line `at`, while the table has the focus.
fn stepped(ui: &Ui, table: &egui::Response, at: Option<usize>, lines: &[usize]) -> Option<usize> {
    if !table.has_focus() {
        return None;
    }
    let filter = EventFilter {
        vertical_arrows: true,
        ..EventFilter::default()
    };
    ui.memory_mut(|memory| memory.set_focus_lock_filter(table.id, filter));
    let by = ui.input(|input| input.num_presses(Key::ArrowDown) as isize - input.num_presses(Key::ArrowUp) as isize);
    let now = at.and_then(|at| lines.iter().position(|line| *line == at));
    let last = lines.len().checked_sub(1)?;
    let next = now.map_or(0, |now| now.saturating_add_signed(by).min(last));
    lines.get(next).copied().filter(|_| by != 0)
}

/// Draws the stars, and as much of the note as has room.
fn rating_cell(ui: &Ui, column: &Rect, record: &Record, y: f32) {
    let palette = Palette::of(ui);
    let rating = &record.rating;
    let left = pos2(column.left(), y);
    stars::paint_stars(ui.painter(), left, rating.stars, palette.text);
    let from = rating.stars.map_or(0.0, |_| stars::CELL);
    let room = column.width() - from;
    if !rating.note.is_empty() && room > 14.0 {
        let note = rating.note.replace('\n', " ");
        let galley = paint::cut_to(ui, &note, theme::CAPTION.regular(), palette.text2, room);
        paint::place(ui.painter(), left + vec2(from, 0.0), Align2::LEFT_CENTER, galley);
    }
}

/// The marks of a line.
#[derive(Clone, Copy)]
struct Marks {
    /// Its run is shown.
    on: bool,
    chosen: bool,
    /// Its run is pinned in the baseline's place.
    pinned: bool,
}

/// Draws a line; returns a click on it.
fn line(ui: &mut Ui, line: &Line<'_>, columns: &[Rect], marks: Marks) -> Option<Hit> {
    let palette = Palette::of(ui);
    let Marks { on, chosen, pinned } = marks;
    // The ring of the pinned line has the points after the bar.
    let indent = if pinned { 24.0 } else { INDENT };
    // The table has the focus, and its arrow keys select lines.
    let mut sense = Sense::click();
    sense -= Sense::FOCUSABLE;
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), LINE), sense);
    let accessible_name = line.cells.iter().filter(|cell| !cell.is_empty());
    let accessible_name = accessible_name.map(String::as_str).collect::<Vec<_>>().join(", ");
    response.widget_info(|| WidgetInfo::selected(Role::Row, true, on || chosen, &accessible_name));
    if on || chosen || response.hovered() {
        ui.painter().rect_filled(rect, theme::RADIUS_CELL, palette.raised);
    }
    if chosen {
        let bar = rect.with_max_x(rect.left() + 3.0);
        ui.painter().rect_filled(bar, 0.0, palette.text);
    }
    if pinned {
        let at = pos2(rect.left() + 14.0, rect.center().y);
        status::baseline_ring(ui.painter(), at, 0.9, palette);
    }
    for (index, (cell, column)) in line.cells.iter().zip(columns).enumerate() {
        if let (RATING, Some(record)) = (index, line.record()) {
            rating_cell(ui, column, record, rect.center().y);
            continue;
        }
        let is_figure = matches!(index, 2 | 3) || (5..5 + MEASURES.len()).contains(&index);
        let font = if is_figure {
            theme::CAPTION.mono()
        } else {
            theme::CAPTION.regular()
        };
        let colour = if index == 2 { palette.prefix } else { palette.text };
        let indent = if index == 0 { indent } else { 0.0 };
        let width = column.width() - indent;
        let galley = paint::cut_to(ui, cell, font, colour, width);
        let at = pos2(column.left() + indent, rect.center().y);
        paint::place(ui.painter(), at, Align2::LEFT_CENTER, galley);
    }
    if let LineRun::Filling(text) = line.run {
        // A running line has no measures yet; their columns show the end of its text.
        let x = egui::Rangef::new(columns[5].left(), columns[4 + MEASURES.len()].right());
        let room = Rect::from_x_y_ranges(x, rect.y_range());
        let from = text.char_indices().rev().nth(TAIL).map_or(0, |(at, _)| at);
        let tail = text[from..].replace('\n', " ");
        let galley = paint::line_of_text(ui, &tail, theme::CAPTION.regular(), palette.text2);
        let (at, align) = if galley.size().x > room.width() {
            (room.right_center(), Align2::RIGHT_CENTER)
        } else {
            (room.left_center(), Align2::LEFT_CENTER)
        };
        paint::place(&ui.painter().with_clip_rect(room), at, align, galley);
    }
    let response = match line.record().map_or("", |record| record.rating.note.as_str()) {
        "" => response,
        note => response.on_hover_text(note),
    };
    line.record()?;
    if response.hovered() {
        ui.ctx().set_cursor_icon(egui::CursorIcon::PointingHand);
    }
    if !response.clicked() || line.case().is_none() {
        return None;
    }
    let modifiers = ui.input(|input| input.modifiers);
    Some(match (modifiers.command, modifiers.shift) {
        (true, _) => Hit::Toggle,
        (false, true) => Hit::Range,
        (false, false) => Hit::Open,
    })
}
