//! The right side of the Find view while rows are learned: the progress, the loss, the output and the rows.

use std::time::Duration;

use eframe::egui::text::{LayoutJob, TextFormat};
use eframe::egui::{
    self, Align, Align2, AsIdSalt, Layout, Popup, PopupCloseBehavior, Rect, ScrollArea, Sense, Stroke, Ui, UiBuilder,
    pos2, vec2,
};
use softprefix_core::protocol::learn::{LearnEnd, LearnFrame};

use crate::model::{ExportForm, LearnUnavailable, Nearest, Reproduced};
use crate::panels::context::PanelContext;
use crate::panels::module_card;
use crate::theme::{self, Palette, Type};
use crate::views::button::Button;
use crate::views::icon::Icon;
use crate::views::learned_rows::{LearnedRow, LearnedRows};
use crate::views::loss::{Level, LossPlot};
use crate::views::progress::progress;
use crate::views::status::Status;
use crate::views::{paint, select};
use crate::workbench::FindAction;
use crate::workbench::find::{FindStage, Finder};

/// Height of the head of a card.
const HEAD: f32 = 40.0;
/// Minimum heights of the upper cards and of the rows; below them the view scrolls.
const UPPER_LEAST: f32 = 240.0;
const ROWS_LEAST: f32 = 220.0;

pub fn show(ui: &mut Ui, cx: &mut PanelContext<'_>, height: f32) {
    let top = ui.cursor().top();
    head(ui, cx);
    let warning = warning(cx);
    show_problem(ui, cx, warning);
    ui.add_space(theme::GAP);
    let room = height - (ui.cursor().top() - top) - theme::GAP;
    let upper = (room * 0.54).max(UPPER_LEAST);
    let lower = (room - upper).max(ROWS_LEAST);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), upper), Sense::hover());
    let half = (rect.width() - theme::GAP) / 2.0;
    loss(ui, cx, rect.with_max_x(rect.left() + half));
    output(ui, cx, rect.with_min_x(rect.right() - half));
    ui.add_space(theme::GAP);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), lower), Sense::hover());
    rows(ui, cx, rect);
}

/// Draws the header of the view: the buttons at the right, and what `draw_words` draws in the space left of them.
pub(super) fn head_of(
    ui: &mut Ui,
    cx: &mut PanelContext<'_>,
    name: &str,
    buttons: impl FnOnce(&mut Ui, &mut PanelContext<'_>),
    draw_words: impl FnOnce(&mut Ui, &PanelContext<'_>),
) {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 72.0), Sense::hover());
    let right = Rect::from_min_max(
        pos2(rect.left(), rect.top() + 16.0),
        pos2(rect.right(), rect.top() + 56.0),
    );
    let mut right = ui.new_child(
        UiBuilder::new()
            .id_salt((name, "buttons"))
            .max_rect(right)
            .layout(Layout::right_to_left(Align::Center)),
    );
    right.spacing_mut().item_spacing.x = 8.0;
    buttons(&mut right, cx);
    let left = rect.with_max_x(right.min_rect().left() - 16.0);
    let mut left = ui.new_child(
        UiBuilder::new()
            .id_salt((name, "verdict"))
            .max_rect(left)
            .layout(Layout::top_down(Align::Min)),
    );
    left.spacing_mut().item_spacing.y = 6.0;
    draw_words(&mut left, cx);
}

/// Draws a verdict on one line, and the progress.
pub(super) fn verdict_of(ui: &mut Ui, verdict: &str, done: f32, words: &str) {
    let (colour, room) = (Palette::of(ui).text, ui.available_width());
    let galley = paint::cut_to(ui, verdict, theme::VERDICT.semibold(), colour, room);
    ui.add(egui::Label::new(galley));
    progress(ui, Some(done), words);
}

fn head(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let off = cx.workbench.why_not_learn();
    head_of(
        ui,
        cx,
        "find",
        |ui, cx| buttons(ui, cx, off.as_ref()),
        |ui, cx| draw_words(ui, cx, off.as_ref()),
    );
}

fn draw_words(ui: &mut Ui, cx: &PanelContext<'_>, off: Option<&LearnUnavailable>) {
    let palette = Palette::of(ui);
    let text = cx.find_text();
    let find = &cx.workbench.find;
    let Some((first, last)) = find
        .learning()
        .and_then(|learning| Some((learning.frames.first()?, learning.last()?)))
    else {
        let words = match (find.stage(), off) {
            (None, Some(off)) => (text.learn_unavailable)(off),
            (None, None) => text.ready.to_owned(),
            (Some(FindStage::Stopping), _) => text.stopping.to_owned(),
            _ => text.starting.to_owned(),
        };
        ui.label(paint::words(words, theme::BODY, palette.text2));
        return;
    };
    let best = &last.best.loss;
    let verdict = (text.verdict)(find.reproduced(), best, first.loss.likelihood, best.likelihood);
    let done = match last.finish {
        true => 1.0,
        false => last.step as f32 / last.steps.max(1) as f32,
    };
    verdict_of(ui, &verdict, done, &step_words(cx, find, last));
}

/// Describes the progress, or how learning ended.
fn step_words(cx: &PanelContext<'_>, find: &Finder, last: &LearnFrame) -> String {
    let text = cx.find_text();
    let left = match find.stage() {
        Some(FindStage::Running) if last.step > 0 => {
            let each = last.elapsed_ms / last.step as f64;
            Some(Duration::from_secs_f64(
                (each * last.steps.saturating_sub(last.step) as f64 / 1000.0).clamp(0.0, 1e6),
            ))
        }
        _ => None,
    };
    let mut words = (text.step)(last.step, last.steps, left);
    let mut add = |more: &str| words = format!("{words}{}{more}", cx.text.comma);
    match (find.stage(), last.end) {
        (Some(FindStage::Stopping), _) => add(text.stopping),
        (_, Some(end)) => add((text.ended)(end)),
        (None, None) => add(text.interrupted),
        _ => {}
    }
    if last.loss.divergence > 0.0 {
        add(&(text.divergence)(last.best.loss.divergence));
    }
    if last.undone > 0 {
        add(&(text.undone)(last.undone));
    }
    words
}

/// Draws the buttons for the rows and for learning, from right to left.
fn buttons(ui: &mut Ui, cx: &mut PanelContext<'_>, off: Option<&LearnUnavailable>) {
    let text = cx.find_text();
    let button = match cx.workbench.find.found() {
        Some(_) => Button::outlined(text.again),
        None => Button::ink(text.start).icon(Icon::Run),
    };
    let off = off.map(text.learn_unavailable);
    buttons_of(ui, cx, |_, _| {}, (button, off));
}

/// The buttons of a mode, from right to left: what is done with the prefix that was found, what `others` shows, and the button that stops the
/// mode, or else the one that starts it, with the reason for which it cannot.
pub(super) fn buttons_of(
    ui: &mut Ui,
    cx: &mut PanelContext<'_>,
    others: impl FnOnce(&mut Ui, &mut PanelContext<'_>),
    (start, off): (Button<'_>, Option<String>),
) {
    let text = cx.find_text();
    let large = theme::CONTROL_LARGE;
    if cx.workbench.found_prefix().is_some() {
        if ui.add(Button::ink(text.use_in_tune).height(large)).clicked() {
            cx.find(FindAction::UseInTune);
        }
        export(ui, cx);
    }
    others(ui, cx);
    match cx.workbench.find.stage() {
        Some(stage) => {
            let button = Button::outlined(text.stop).icon(Icon::Stop).height(large);
            if ui.add_enabled(stage != FindStage::Stopping, button).clicked() {
                cx.find(FindAction::Stop);
            }
        }
        None => offered(ui, cx, start, off, FindAction::Start),
    }
}

/// A button with what it does, or with the reason for which it cannot.
pub(super) fn offered(
    ui: &mut Ui,
    cx: &mut PanelContext<'_>,
    button: Button<'_>,
    off: Option<String>,
    action: FindAction,
) {
    let response = ui.add_enabled(off.is_none(), button.height(theme::CONTROL_LARGE));
    if response.clicked() {
        cx.find(action);
    }
    if let Some(off) = off {
        response.on_disabled_hover_text(off);
    }
}

pub(super) fn export(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let text = cx.find_text();
    let button = Button::quiet(text.export)
        .name(text.export_named)
        .height(theme::CONTROL_LARGE)
        .trailing(Icon::ChevronDown);
    let response = ui.add_enabled(!cx.workbench.file.asking, button);
    let export_as = cx.prefix_text().export_as;
    Popup::menu(&response)
        .close_behavior(PopupCloseBehavior::CloseOnClick)
        .accessible_name(text.export_named)
        .show(|ui| {
            select::as_wide_as(ui, ExportForm::ALL.map(export_as));
            for form in ExportForm::ALL {
                if select::item(ui, export_as(form), false).clicked() {
                    cx.find(FindAction::Export(form));
                }
            }
        });
}

/// Returns why the shown learning missed its target, or why no other can start.
fn warning(cx: &PanelContext<'_>) -> Option<String> {
    let text = cx.find_text();
    let find = &cx.workbench.find;
    let last = find.learning()?.last()?;
    let is_short = find.reproduced().is_some_and(|found| !found.is_whole());
    if last.end == Some(LearnEnd::NotReached) && is_short {
        return Some(text.not_converged.to_owned());
    }
    // The header shows the results of an earlier learning instead of the reason.
    let off = cx.workbench.why_not_learn().filter(|_| !find.is_busy())?;
    Some((text.learn_unavailable)(&off))
}

/// Draws the message of a failure of the mode, or else a warning.
pub(super) fn show_problem(ui: &mut Ui, cx: &mut PanelContext<'_>, warning: Option<String>) {
    let problem = cx.workbench.find.problem();
    match problem.map(|problem| problem.whole(cx.workbench.settings.language)) {
        Some(words) => notice(ui, cx, Status::Broken, words, true),
        None => {
            if let Some(words) = warning {
                notice(ui, cx, Status::Warning, words, false);
            }
        }
    }
}

fn notice(ui: &mut Ui, cx: &mut PanelContext<'_>, status: Status, words: String, can_dismiss: bool) {
    let palette = Palette::of(ui);
    ui.add_space(8.0);
    module_card::with_mark(ui, status, |ui| {
        ui.label(paint::words(words, theme::BODY, palette.text));
        if can_dismiss && ui.add(Button::quiet(cx.text.dismiss).small()).clicked() {
            cx.find(FindAction::DismissProblem);
        }
    });
}

/// Padding of a card's content, in points.
const CARD_PADDING: f32 = 12.0;

/// Expands a card's content to the card's line, which is one point wide.
pub(super) fn to_edge(inside: Rect) -> Rect {
    inside.expand(CARD_PADDING - 1.0)
}

/// Draws a card with a title and a remark; returns the space inside.
pub(super) fn card(ui: &Ui, rect: Rect, title: &str, remark: &str, right: &str) -> Rect {
    let palette = Palette::of(ui);
    let radius = egui::CornerRadius::same(theme::RADIUS_CARD);
    let outline = Stroke::new(1.0, palette.line);
    let painter = ui.painter();
    painter.rect(rect, radius, palette.panel, outline, egui::StrokeKind::Inside);
    let head = rect.with_max_y(rect.top() + HEAD);
    painter.hline(rect.x_range(), head.bottom(), outline);
    let at = pos2(head.left() + theme::PADDING, head.center().y);
    let placed = paint::text(
        painter,
        at,
        Align2::LEFT_CENTER,
        title,
        theme::BODY.semibold(),
        palette.text,
    );
    let right_at = pos2(head.right() - theme::PADDING, head.center().y);
    let right = paint::text(
        painter,
        right_at,
        Align2::RIGHT_CENTER,
        right,
        theme::CAPTION.regular(),
        palette.text3,
    );
    let room = right.left() - placed.right() - 20.0;
    let remark = paint::cut_to(ui, remark, theme::CAPTION.regular(), palette.text3, room.max(0.0));
    paint::place(
        painter,
        pos2(placed.right() + 10.0, head.center().y),
        Align2::LEFT_CENTER,
        remark,
    );
    rect.with_min_y(head.bottom()).shrink(CARD_PADDING)
}

fn loss(ui: &mut Ui, cx: &mut PanelContext<'_>, rect: Rect) {
    let text = cx.find_text();
    let inside = card(ui, rect, text.loss, text.loss_unit, "");
    let Some(learning) = cx
        .workbench
        .find
        .learning()
        .filter(|learning| !learning.frames.is_empty())
    else {
        return empty(ui, inside, text.loss_empty);
    };
    let request = &learning.plan.request;
    let at = |frame: &LearnFrame| frame.step as f64;
    let losses: Vec<(f64, f64)> = learning
        .frames
        .iter()
        .map(|frame| (at(frame), frame.loss.likelihood))
        .collect();
    let held_out: Vec<(f64, f64)> = learning
        .frames
        .iter()
        .filter_map(|frame| Some((at(frame), frame.loss.held_out?)))
        .collect();
    let references = learning.references();
    let by_target = request.instruction.as_ref() == request.examples.first().map(|example| &example.target);
    let instruction = if by_target {
        text.line_target
    } else {
        text.line_instruction
    };
    let levels: Vec<Level<'_>> = references
        .into_iter()
        .flat_map(|reference| {
            [
                Some((text.line_plain, reference.plain)),
                reference.instruction.map(|loss| (instruction, loss)),
            ]
        })
        .flatten()
        .map(|(name, loss)| Level { name, loss })
        .collect();
    let last = losses.last().map_or(0.0, |(_, loss)| *loss);
    let plot = LossPlot {
        name: text.loss,
        loss: &losses,
        held_out: &held_out,
        held_out_name: (text.line_held_out)(request.held_out.len()),
        levels: &levels,
        steps: learning.frames.last().map_or(0, |frame| frame.steps),
        accessible_value: &format!("{last:.3}"),
    };
    let mut inner = ui.new_child(UiBuilder::new().id_salt("loss").max_rect(inside));
    plot.show(&mut inner);
}

fn output(ui: &mut Ui, cx: &mut PanelContext<'_>, rect: Rect) {
    let palette = Palette::of(ui);
    let text = cx.find_text();
    let find = &cx.workbench.find;
    let record = find.output();
    let step = record
        .and_then(Finder::step_of)
        .map(text.output_step)
        .unwrap_or_default();
    let cut = match record.and_then(|record| record.answer()) {
        Some(answer) if !record.is_some_and(|record| record.is_complete()) || answer.text.is_empty() => text.cut_off,
        _ => "",
    };
    let inside = card(ui, rect, text.output, cut, &step);
    paint_inset(ui, to_edge(inside), true);
    let Some(output) = record.and_then(|record| record.text()) else {
        let words = match find.is_busy() {
            true => text.output_waiting,
            false => text.output_empty,
        };
        return empty(ui, inside, words);
    };
    let marked = find.reproduced().map_or(0, |found: Reproduced| found.bytes);
    let (same, rest) = output.split_at_checked(marked).unwrap_or(("", output));
    let plain = TextFormat {
        font_id: theme::CARD_TITLE.regular(),
        line_height: Some(25.0),
        color: palette.text,
        ..TextFormat::default()
    };
    let mut job = LayoutJob::default();
    job.wrap.max_width = inside.width();
    job.append(
        same,
        0.0,
        TextFormat {
            background: theme::faded(palette.prefix_fill, palette.mark_tint),
            underline: Stroke::new(2.0, palette.prefix_fill),
            ..plain.clone()
        },
    );
    job.append(rest, 0.0, plain);
    scrolled(ui, "current output", inside, |ui| {
        ui.add(egui::Label::new(job).selectable(true));
    });
}

/// Shows what may be longer than its place.
pub(super) fn scrolled(ui: &mut Ui, id: impl AsIdSalt + Copy, inside: Rect, content: impl FnOnce(&mut Ui)) {
    let mut inner = ui.new_child(UiBuilder::new().id_salt(id).max_rect(inside));
    ScrollArea::vertical()
        .id_salt(id)
        .auto_shrink(false)
        .show(&mut inner, content);
}

/// Shows a text that can be selected.
pub(super) fn output_text(ui: &mut Ui, id: impl AsIdSalt + Copy, inside: Rect, words: &str, kind: Type) {
    let colour = Palette::of(ui).text;
    scrolled(ui, id, inside, |ui| {
        ui.add(egui::Label::new(paint::words(words, kind, colour)).selectable(true));
    });
}

fn rows(ui: &mut Ui, cx: &mut PanelContext<'_>, rect: Rect) {
    let text = cx.find_text();
    let find = &cx.workbench.find;
    let step = find
        .rows
        .as_ref()
        .and_then(|rows| rows.step())
        .map(text.output_step)
        .unwrap_or_default();
    let inside = card(ui, rect, text.rows, text.rows_about, &step);
    let Some(found) = &find.rows else {
        return empty(ui, inside, text.rows_empty);
    };
    let nearest = |row: usize| match &found.nearest {
        Nearest::Known(rows) => match rows.get(row).and_then(|row| row.first()) {
            // The text of a doubtful neighbour could be mistaken for the row's meaning.
            Some(one) if one.is_doubtful() => format!("– {:.2}", one.cosine),
            Some(one) => format!("{} {:.2}", one.text.trim().escape_debug(), one.cosine),
            None => "–".to_owned(),
        },
        _ => String::new(),
    };
    let rows: Vec<LearnedRow> = found
        .summary
        .norms
        .iter()
        .enumerate()
        .map(|(row, norm)| LearnedRow {
            norm: *norm,
            nearest: nearest(row),
        })
        .collect();
    let percentile = |wanted: u8| {
        let vocabulary = cx.workbench.vocabulary.as_ref()?;
        let found = vocabulary.percentiles.iter().find(|(percent, _)| *percent == wanted);
        found.map(|(_, norm)| *norm)
    };
    let accessible_value: Vec<&str> = rows.iter().map(|row| row.nearest.as_str()).collect();
    let bars = LearnedRows {
        name: text.rows,
        accessible_value: &accessible_value.join(", "),
        rows: &rows,
        band: percentile(1).zip(percentile(99)),
        band_name: text.band,
    };
    let mut inner = ui.new_child(UiBuilder::new().id_salt("learned rows").max_rect(inside));
    bars.show(&mut inner);
}

/// Paints the background of a text in a card; at the card's bottom, with its rounded corners.
pub(super) fn paint_inset(ui: &Ui, area: Rect, at_bottom: bool) {
    let radius = if at_bottom { theme::RADIUS_CARD - 1 } else { 0 };
    let corners = egui::CornerRadius {
        sw: radius,
        se: radius,
        ..egui::CornerRadius::ZERO
    };
    ui.painter().rect_filled(area, corners, Palette::of(ui).inset);
}

/// Draws the hint of an empty card.
pub(super) fn empty(ui: &mut Ui, inside: Rect, words: &str) {
    let palette = Palette::of(ui);
    let area = inside.shrink2(vec2(4.0, 8.0));
    let mut inner = ui.new_child(UiBuilder::new().id_salt(words).max_rect(area));
    inner.label(paint::words(words, theme::BODY, palette.text3));
}
