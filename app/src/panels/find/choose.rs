//! Choose in the Find view: the candidates of a generation side by side, and the prefixes chosen so far. The Presenter shows the candidates
//! to an audience.

use eframe::egui::{
    self, Align, Align2, Layout, Rect, ScrollArea, Sense, Stroke, Ui, UiBuilder, WidgetInfo, pos2, vec2,
};

use super::results::{buttons_of, card, empty, head_of, offered, output_text, paint_inset, show_problem, to_edge};
use crate::model::SearchUnavailable;
use crate::panels::context::PanelContext;
use crate::panels::present::letters;
use crate::theme::{self, Palette, Type};
use crate::views::button::Button;
use crate::views::icon::Icon;
use crate::views::paint;
use crate::workbench::FindAction;
use crate::workbench::search::Choice;

/// Height of the card with the chosen prefixes, in points.
const CHOSEN_HEIGHT: f32 = 148.0;
/// Minimum height of the candidates, in points.
const MIN_CANDIDATES_HEIGHT: f32 = 240.0;
/// Width of a chosen prefix in the card.
const PITCH: f32 = 84.0;

/// Shows the centre of the view.
pub fn show(ui: &mut Ui, cx: &mut PanelContext<'_>, height: f32) {
    let top = ui.cursor().top();
    head(ui, cx);
    show_problem(ui, cx, None);
    ui.add_space(theme::GAP);
    let room = height - (ui.cursor().top() - top) - theme::GAP - CHOSEN_HEIGHT;
    let (rect, _) = ui.allocate_exact_size(
        vec2(ui.available_width(), room.max(MIN_CANDIDATES_HEIGHT)),
        Sense::hover(),
    );
    candidates(ui, cx, rect, theme::CARD_TITLE);
    ui.add_space(theme::GAP);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), CHOSEN_HEIGHT), Sense::hover());
    line(ui, cx, rect);
}

/// Shows the candidates alone, readable from across a room. Keys 1 to 4 choose.
pub fn present(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let inner = ui.max_rect().shrink2(vec2(40.0, 20.0));
    let at = inner.left_top();
    let prompt = cx.workbench.find.prompt().map(|prompt| prompt.user).unwrap_or_default();
    let galley = paint::cut_to(
        ui,
        &prompt,
        theme::TITLE.regular(),
        palette.text2,
        inner.width() - 120.0,
    );
    let placed = paint::place(ui.painter(), at, Align2::LEFT_TOP, galley);
    let words = verdict(cx);
    let galley = paint::cut_to(ui, &words, theme::VERDICT.semibold(), palette.text, inner.width());
    let placed = paint::place(
        ui.painter(),
        pos2(inner.left(), placed.bottom() + 12.0),
        Align2::LEFT_TOP,
        galley,
    );
    let rect = inner.with_min_y(placed.bottom() + 16.0);
    let chooser = &cx.workbench.find.chooser;
    let shown: Vec<String> = chooser.candidates().iter().map(|one| one.text.to_owned()).collect();
    let texts: Vec<&str> = shown.iter().map(String::as_str).collect();
    let width = (rect.width() + theme::GAP) / texts.len().max(1) as f32 - theme::GAP;
    // Head and foot of a card, and the margins of its text.
    let kind = letters(&texts, width - 24.0, rect.height() - 128.0);
    candidates(ui, cx, rect, kind);
}

/// Returns what the user should do next, or why nothing can start.
fn verdict(cx: &PanelContext<'_>) -> String {
    let text = cx.find_text();
    let is_busy = cx.workbench.find.is_busy();
    match cx.workbench.find.chooser.number() {
        Some(number) => match cx.workbench.why_not_choose() {
            Some(off @ SearchUnavailable::OtherModel(_)) => (text.search_unavailable)(&off),
            _ => (text.choose_head)(number, is_busy),
        },
        None if is_busy => text.starting.to_owned(),
        None => match cx.workbench.why_not_search() {
            Some(off) => (text.search_unavailable)(&off),
            None => text.choose_ready.to_owned(),
        },
    }
}

fn head(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let draw_words = |ui: &mut Ui, cx: &PanelContext<'_>| {
        let (colour, room) = (Palette::of(ui).text, ui.available_width());
        let galley = paint::cut_to(ui, &verdict(cx), theme::VERDICT.semibold(), colour, room);
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            ui.add(egui::Label::new(galley))
        });
    };
    head_of(ui, cx, "choose", buttons, draw_words);
}

/// Draws the buttons for the chosen prefix and for choosing, from right to left.
fn buttons(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let text = cx.find_text();
    let find = &cx.workbench.find;
    let number = find.chooser.number();
    let is_missing = find
        .chooser
        .candidates()
        .iter()
        .any(|candidate| candidate.record.is_none());
    let can_run_missing = is_missing && !find.is_busy();
    let button = match number {
        Some(_) => Button::quiet(text.start_over),
        None => Button::ink(text.choose_start).icon(Icon::Run),
    };
    let off = cx.workbench.why_not_search();
    let off_here = cx.workbench.why_not_choose().as_ref().map(text.search_unavailable);
    let steps = |ui: &mut Ui, cx: &mut PanelContext<'_>| {
        let Some(number) = number else { return };
        if number > 1 {
            let button = Button::outlined(text.step_back);
            offered(ui, cx, button, off_here.clone(), FindAction::StepBack(number - 1));
        }
        if can_run_missing {
            let button = Button::outlined(text.run_missing);
            offered(ui, cx, button, off_here, FindAction::StepBack(number));
        }
    };
    buttons_of(ui, cx, steps, (button, off.as_ref().map(text.search_unavailable)));
}

/// Draws the candidates side by side.
fn candidates(ui: &mut Ui, cx: &mut PanelContext<'_>, rect: Rect, kind: Type) {
    let text = cx.find_text();
    let shown: Vec<(String, bool)> = (cx.workbench.find.chooser.candidates().iter())
        .map(|candidate| (candidate.text.to_owned(), candidate.record.is_some()))
        .collect();
    if shown.is_empty() {
        let inside = card(ui, rect, text.candidates_title, text.candidates_about, "");
        return empty(ui, inside, text.choose_empty);
    }
    let off = cx.workbench.why_not_choose();
    let width = (rect.width() - theme::GAP * (shown.len() - 1) as f32) / shown.len() as f32;
    for (at, (words, is_done)) in shown.iter().enumerate() {
        let left = rect.left() + (width + theme::GAP) * at as f32;
        let column = Rect::from_min_size(pos2(left, rect.top()), vec2(width, rect.height()));
        let state = match (is_done, words.is_empty()) {
            (true, _) => "",
            (false, true) => text.candidate_waiting,
            (false, false) => text.candidate_streaming,
        };
        let title = (text.candidate)(at + 1);
        let inside = card(ui, column, &title, "", state);
        let foot = theme::CONTROL_LARGE + 8.0;
        paint_inset(ui, to_edge(inside).with_max_y(inside.bottom() - foot), false);
        let body = inside.with_max_y(inside.bottom() - foot - 8.0);
        output_text(ui, ("candidate", at), body, words, kind);
        let foot = inside.with_min_y(inside.bottom() - theme::CONTROL_LARGE);
        let mut inner = ui.new_child(UiBuilder::new().id_salt(("choose", at)).max_rect(foot));
        let words = (text.pick)(at + 1);
        let button = Button::outlined(&words)
            .height(theme::CONTROL_LARGE)
            .width(foot.width());
        let mut response = inner.add_enabled(*is_done && off.is_none(), button);
        if let Some(off) = &off {
            response = response.on_disabled_hover_text((text.search_unavailable)(off));
        }
        if response.clicked() {
            cx.find(FindAction::Pick(at));
        }
    }
}

/// Draws the chosen prefixes, one for each generation, with norm and cosine.
fn line(ui: &mut Ui, cx: &mut PanelContext<'_>, rect: Rect) {
    let text = cx.find_text();
    let inside = card(ui, rect, text.line, text.line_about, "");
    let chosen = cx.workbench.find.chooser.line();
    if chosen.is_empty() {
        return empty(ui, inside, text.line_empty);
    }
    let mut back = None;
    let mut inner = ui.new_child(UiBuilder::new().id_salt("chosen").max_rect(inside));
    ScrollArea::horizontal()
        .id_salt("chosen")
        .auto_shrink(false)
        .stick_to_right(true)
        .show(&mut inner, |ui| {
            ui.horizontal(|ui| {
                ui.spacing_mut().item_spacing.x = 0.0;
                let mut before = None;
                for one in &chosen {
                    let words = (text.choice)(one.generation, one.candidate + 1, one.relative_to_parent);
                    if choice(ui, inside.height(), one, &words, &mut before) {
                        back = Some(one.generation);
                    }
                }
            });
        });
    if let Some(generation) = back {
        cx.find(FindAction::StepBack(generation));
    }
}

/// Draws one of them, higher if it is nearer to the parent. Returns `true` on a click.
fn choice(ui: &mut Ui, height: f32, one: &Choice, words: &str, before: &mut Option<egui::Pos2>) -> bool {
    let palette = Palette::of(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(PITCH, height), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Button, true, words));
    let room = rect.with_max_y(rect.bottom() - 34.0).shrink2(vec2(0.0, 8.0));
    let cosine = one.relative_to_parent.map_or(1.0, |it| it.cosine).clamp(0.0, 1.0) as f32;
    let at = pos2(rect.center().x, room.bottom() - room.height() * cosine);
    let painter = ui.painter();
    if let Some(before) = *before {
        painter.line_segment([before, at], Stroke::new(2.0, palette.text2));
    }
    painter.circle_filled(at, 6.0, palette.prefix_fill);
    if response.has_focus() || response.hovered() {
        painter.circle_stroke(at, 9.0, Stroke::new(2.0, palette.text));
    }
    *before = Some(at);
    let title = format!("{} · {}", one.generation, one.candidate + 1);
    let below = one
        .relative_to_parent
        .map(|it| format!("{:.2}× {:.2}", it.norm, it.cosine))
        .unwrap_or_default();
    for (line, words) in [title, below].into_iter().enumerate() {
        let y = rect.bottom() - 26.0 + 16.0 * line as f32;
        let galley = paint::cut_to(ui, &words, theme::CAPTION.regular(), palette.text2, PITCH - 6.0);
        paint::place(ui.painter(), pos2(rect.center().x, y), Align2::CENTER_CENTER, galley);
    }
    response.on_hover_text(words).clicked()
}
