//! Search in the Find view: how far it is, the scores, the best output and the best runs.

use eframe::egui::{self, Rect, ScrollArea, Sense, Ui, UiBuilder, vec2};
use softprefix_core::experiment::{RunEnd, SavedExperiment};
use softprefix_core::search::Score;

use super::results::{card, empty, export, head_of, inset, trouble_of, verdict_of};
use crate::model::SearchOff;
use crate::panels::context::PanelContext;
use crate::theme::{self, Palette};
use crate::views::button::Button;
use crate::views::icon::Icon;
use crate::views::paint;
use crate::views::scores::ScorePlot;
use crate::workbench::FindAction;

/// Height of the list of the best runs, and the least height of the cards above it.
const BEST: f32 = 184.0;
const LEAST: f32 = 240.0;
/// Runs in that list.
const LISTED: usize = 20;

/// Shows the centre of the view.
pub fn show(ui: &mut Ui, cx: &mut PanelContext<'_>, height: f32, wrong: bool) {
    let top = ui.cursor().top();
    head(ui, cx, wrong);
    let trouble = cx.bench.find.searcher.trouble.clone();
    trouble_of(ui, cx, trouble.as_ref());
    ui.add_space(theme::GAP);
    let room = height - (ui.cursor().top() - top) - theme::GAP - BEST;
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), room.max(LEAST)), Sense::hover());
    let half = (rect.width() - theme::GAP) / 2.0;
    scores(ui, cx, rect.with_max_x(rect.left() + half));
    best(ui, cx, rect.with_min_x(rect.right() - half));
    ui.add_space(theme::GAP);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), BEST), Sense::hover());
    runs(ui, cx, rect);
}

fn head(ui: &mut Ui, cx: &mut PanelContext<'_>, wrong: bool) {
    head_of(
        ui,
        cx,
        "search",
        |ui, cx| buttons(ui, cx, wrong),
        |ui, cx| say(ui, cx, wrong),
    );
}

fn say(ui: &mut Ui, cx: &PanelContext<'_>, wrong: bool) {
    let palette = Palette::of(ui);
    let text = cx.find_text();
    let searcher = &cx.bench.find.searcher;
    let runs = searcher.scored().count();
    let broken_off = searcher.unfinished().and_then(SavedExperiment::unfinished_search);
    let Some((_, best)) = searcher.best() else {
        if let Some(last) = broken_off {
            let words = (text.search_broken_off)(runs, last.budget.unwrap_or(runs));
            ui.label(paint::words(words, theme::BODY, palette.text2));
            return;
        }
        let off = cx.bench.why_not_search().or(wrong.then_some(SearchOff::WrongField));
        let words = match (searcher.is_busy, off) {
            (true, _) => text.starting.to_owned(),
            (false, Some(off)) => (text.search_off)(&off),
            (false, None) => text.search_ready.to_owned(),
        };
        ui.label(paint::words(words, theme::BODY, palette.text2));
        return;
    };
    let verdict = (text.search_verdict)(best.total, runs);
    let total = searcher.progress.total.max(1);
    let words = match (&searcher.end, searcher.is_busy, searcher.is_stopping) {
        (_, true, true) => text.stopping.to_owned(),
        (_, true, false) => (text.search_progress)(searcher.progress.finished, total, searcher.left()),
        (Some(RunEnd::Interrupted { error }), ..) => error.clone(),
        (Some(RunEnd::Cancelled), ..) => text.search_cancelled.to_owned(),
        (None, ..) if broken_off.is_some() => {
            (text.search_broken_off)(runs, broken_off.and_then(|last| last.budget).unwrap_or(runs))
        }
        (Some(RunEnd::NoEffect), ..) => text.search_no_effect.to_owned(),
        (Some(RunEnd::Complete) | None, ..) => text.search_complete.to_owned(),
    };
    let done = match searcher.is_busy {
        true => searcher.progress.finished as f32 / total as f32,
        false => 1.0,
    };
    verdict_of(ui, &verdict, done, &words);
    if searcher.is_flat() {
        ui.label(paint::words(text.search_flat, theme::CAPTION, palette.text2));
    }
}

/// From right to left: what is done with the best prefix, and searching.
fn buttons(ui: &mut Ui, cx: &mut PanelContext<'_>, wrong: bool) {
    let text = cx.find_text();
    let large = theme::CONTROL_LARGE;
    let off = cx.bench.why_not_search();
    let has_found = cx.bench.found_prefix().is_some();
    if has_found {
        if ui.add(Button::ink(text.use_in_tune).height(large)).clicked() {
            cx.find(FindAction::UseInTune);
        }
        export(ui, cx);
    }
    let searcher = &cx.bench.find.searcher;
    if searcher.is_busy {
        let button = Button::outlined(text.stop).icon(Icon::Stop).height(large);
        if ui.add_enabled(!searcher.is_stopping, button).clicked() {
            cx.find(FindAction::Stop);
        }
        return;
    }
    if searcher.unfinished().is_some() {
        let off = cx.bench.why_not_search_on();
        let response = ui.add_enabled(off.is_none(), Button::outlined(text.search_on).height(large));
        if let Some(off) = off {
            response.clone().on_disabled_hover_text((text.search_off)(&off));
        }
        if response.clicked() {
            cx.find(FindAction::SearchOn);
        }
    }
    let possible = off.is_none() && !wrong && !cx.bench.find.is_any_busy();
    let button = match has_found {
        true => Button::outlined(text.search_again).height(large),
        false => Button::ink(text.search_start).icon(Icon::Run).height(large),
    };
    let response = ui.add_enabled(possible, button);
    if let Some(off) = off {
        response.clone().on_disabled_hover_text((text.search_off)(&off));
    }
    if response.clicked() {
        cx.find(FindAction::Start);
    }
}

fn scores(ui: &mut Ui, cx: &mut PanelContext<'_>, rect: Rect) {
    let text = cx.find_text();
    let inside = card(ui, rect, text.scores, text.scores_about, "");
    let searcher = &cx.bench.find.searcher;
    let scores: Vec<f64> = searcher.scored().map(|(_, score)| score.total).collect();
    if scores.is_empty() {
        return empty(ui, inside, text.scores_empty);
    }
    let best = searcher.best().map_or(f64::NAN, |(_, score)| score.total);
    let plot = ScorePlot {
        name: text.scores,
        scores: &scores,
        budget: searcher.progress.total.max(scores.len()),
        spoken: &format!("{best:.3}"),
    };
    let mut inner = ui.new_child(UiBuilder::new().id_salt("scores").max_rect(inside));
    plot.show(&mut inner);
}

/// The best output, with its score in words.
fn best(ui: &mut Ui, cx: &mut PanelContext<'_>, rect: Rect) {
    let palette = Palette::of(ui);
    let text = cx.find_text();
    let searcher = &cx.bench.find.searcher;
    let best = searcher
        .best()
        .map(|(record, score)| (record.output().to_owned(), score));
    let parts = best
        .as_ref()
        .map(|(_, score)| (text.score_parts)(score))
        .unwrap_or_default();
    let inside = card(ui, rect, text.best_output, &parts, "");
    inset(ui, inside.expand(11.0), true);
    let Some((words, _)) = best else {
        return empty(ui, inside, text.best_empty);
    };
    let mut inner = ui.new_child(UiBuilder::new().id_salt("best output").max_rect(inside));
    ScrollArea::vertical()
        .id_salt("best output")
        .auto_shrink(false)
        .show(&mut inner, |ui| {
            let label = egui::Label::new(paint::words(words, theme::CARD_TITLE, palette.text));
            ui.add(label.selectable(true));
        });
}

/// The best runs, the best first.
fn runs(ui: &mut Ui, cx: &mut PanelContext<'_>, rect: Rect) {
    let palette = Palette::of(ui);
    let text = cx.find_text();
    let inside = card(ui, rect, text.best_runs, "", "");
    let mut all: Vec<(Score, String)> = (cx.bench.find.searcher.scored())
        .map(|(record, score)| (score, record.output().replace('\n', " ")))
        .collect();
    if all.is_empty() {
        return empty(ui, inside, text.scores_empty);
    }
    all.sort_by(|a, b| a.0.order(&b.0));
    let mut inner = ui.new_child(UiBuilder::new().id_salt("best runs").max_rect(inside));
    ScrollArea::vertical()
        .id_salt("best runs")
        .auto_shrink(false)
        .show(&mut inner, |ui| {
            for (score, words) in all.iter().take(LISTED) {
                ui.horizontal(|ui| {
                    ui.label(paint::figures(
                        format!("{:7.3}", score.total),
                        theme::CAPTION,
                        palette.text2,
                    ));
                    let room = ui.available_width();
                    let galley = paint::cut_to(ui, words, theme::BODY.regular(), palette.text, room);
                    ui.add(egui::Label::new(galley));
                });
            }
        });
}
