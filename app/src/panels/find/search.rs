//! Search in the Find view: the progress, the scores, the best output and the best runs.

use eframe::egui::{self, Rect, Sense, Ui, UiBuilder, vec2};
use softprefix_core::experiment::{RunEnd, SavedExperiment};
use softprefix_core::search::Score;

use super::results::{
    buttons_of, card, empty, head_of, offered, output_text, paint_inset, scrolled, show_problem, to_edge, verdict_of,
};
use crate::panels::context::PanelContext;
use crate::theme::{self, Palette};
use crate::views::button::Button;
use crate::views::icon::Icon;
use crate::views::paint;
use crate::views::scores::ScorePlot;
use crate::workbench::FindAction;
use crate::workbench::find::FindStage;

/// Height of the list of the best runs, in points.
const BEST_RUNS_HEIGHT: f32 = 184.0;
/// Minimum height of the cards above it, in points.
const MIN_CARD_HEIGHT: f32 = 240.0;
/// Maximum number of runs in that list.
const MAX_LISTED: usize = 20;

/// Shows the centre of the view.
pub fn show(ui: &mut Ui, cx: &mut PanelContext<'_>, height: f32) {
    let top = ui.cursor().top();
    head(ui, cx);
    show_problem(ui, cx, None);
    ui.add_space(theme::GAP);
    let room = height - (ui.cursor().top() - top) - theme::GAP - BEST_RUNS_HEIGHT;
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), room.max(MIN_CARD_HEIGHT)), Sense::hover());
    let half = (rect.width() - theme::GAP) / 2.0;
    scores(ui, cx, rect.with_max_x(rect.left() + half));
    best(ui, cx, rect.with_min_x(rect.right() - half));
    ui.add_space(theme::GAP);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), BEST_RUNS_HEIGHT), Sense::hover());
    runs(ui, cx, rect);
}

fn head(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    head_of(ui, cx, "search", buttons, draw_words);
}

fn draw_words(ui: &mut Ui, cx: &PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = cx.find_text();
    let find = &cx.workbench.find;
    let (searcher, stage) = (&find.searcher, find.stage());
    let runs = searcher.scored().count();
    let broken_off = find.unfinished_search().and_then(SavedExperiment::unfinished_search);
    let Some((_, best)) = searcher.best() else {
        if let Some(last) = broken_off {
            let words = (text.search_interrupted)(runs, last.budget.unwrap_or(runs));
            ui.label(paint::words(words, theme::BODY, palette.text2));
            return;
        }
        let off = cx.workbench.why_not_search();
        let words = match (stage, off) {
            (Some(FindStage::Stopping), _) => text.stopping.to_owned(),
            (Some(_), _) => text.starting.to_owned(),
            (None, Some(off)) => (text.search_unavailable)(&off),
            (None, None) => text.search_ready.to_owned(),
        };
        ui.label(paint::words(words, theme::BODY, palette.text2));
        return;
    };
    let verdict = (text.search_verdict)(best.total, runs);
    let total = searcher.progress.total.max(1);
    let words = match (&searcher.end, stage, broken_off) {
        (_, Some(FindStage::Stopping), _) => text.stopping.to_owned(),
        (_, Some(_), _) => (text.search_progress)(searcher.progress.finished, total, searcher.progress.left),
        (Some(RunEnd::Interrupted { .. }) | None, _, Some(last)) => {
            (text.search_interrupted)(runs, last.budget.unwrap_or(runs))
        }
        (Some(RunEnd::Cancelled | RunEnd::Interrupted { .. }), ..) => text.search_cancelled.to_owned(),
        (Some(RunEnd::NoEffect), ..) => text.search_no_effect.to_owned(),
        (Some(RunEnd::Complete) | None, ..) => text.search_complete.to_owned(),
    };
    let done = match stage.is_some() {
        true => searcher.progress.finished as f32 / total as f32,
        false => 1.0,
    };
    verdict_of(ui, &verdict, done, &words);
    if searcher.is_flat() {
        ui.label(paint::words(text.search_flat, theme::CAPTION, palette.text2));
    }
}

/// Draws the buttons for the best prefix and for searching, from right to left.
fn buttons(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let text = cx.find_text();
    let button = match cx.workbench.found_prefix() {
        Some(_) => Button::outlined(text.search_again),
        None => Button::ink(text.search_start).icon(Icon::Run),
    };
    let off = cx.workbench.why_not_search();
    let draw_resume = |ui: &mut Ui, cx: &mut PanelContext<'_>| {
        if cx.workbench.find.unfinished_search().is_some() {
            let off = cx
                .workbench
                .why_not_resume_search()
                .as_ref()
                .map(text.search_unavailable);
            offered(
                ui,
                cx,
                Button::outlined(text.resume_search),
                off,
                FindAction::ResumeSearch,
            );
        }
    };
    buttons_of(ui, cx, draw_resume, (button, off.as_ref().map(text.search_unavailable)));
}

fn scores(ui: &mut Ui, cx: &mut PanelContext<'_>, rect: Rect) {
    let text = cx.find_text();
    let inside = card(ui, rect, text.scores, text.scores_about, "");
    let searcher = &cx.workbench.find.searcher;
    let scores: Vec<f64> = searcher.scored().map(|(_, score)| score.total).collect();
    if scores.is_empty() {
        return empty(ui, inside, text.scores_empty);
    }
    let best = searcher.best().map_or(f64::NAN, |(_, score)| score.total);
    let plot = ScorePlot {
        name: text.scores,
        scores: &scores,
        budget: searcher.progress.total.max(scores.len()),
        accessible_value: &format!("{best:.3}"),
    };
    let mut inner = ui.new_child(UiBuilder::new().id_salt("scores").max_rect(inside));
    plot.show(&mut inner);
}

/// Draws the best output and its score.
fn best(ui: &mut Ui, cx: &mut PanelContext<'_>, rect: Rect) {
    let text = cx.find_text();
    let searcher = &cx.workbench.find.searcher;
    let best = searcher
        .best()
        .map(|(record, score)| (record.output().to_owned(), score));
    let parts = best
        .as_ref()
        .map(|(_, score)| (text.score_parts)(score))
        .unwrap_or_default();
    let inside = card(ui, rect, text.best_output, &parts, "");
    paint_inset(ui, to_edge(inside), true);
    let Some((words, _)) = best else {
        return empty(ui, inside, text.best_empty);
    };
    output_text(ui, "best output", inside, &words, theme::CARD_TITLE);
}

/// Draws the best runs, best first.
fn runs(ui: &mut Ui, cx: &mut PanelContext<'_>, rect: Rect) {
    let palette = Palette::of(ui);
    let text = cx.find_text();
    let inside = card(ui, rect, text.best_runs, "", "");
    let mut all: Vec<(Score, String)> = (cx.workbench.find.searcher.scored())
        .map(|(record, score)| (score, record.output().replace('\n', " ")))
        .collect();
    if all.is_empty() {
        return empty(ui, inside, text.scores_empty);
    }
    all.sort_by(|a, b| a.0.order(&b.0));
    scrolled(ui, "best runs", inside, |ui| {
        for (score, words) in all.iter().take(MAX_LISTED) {
            ui.horizontal(|ui| {
                let total = format!("{:7.3}", score.total);
                ui.label(paint::figures(total, theme::CAPTION, palette.text2));
                let room = ui.available_width();
                let galley = paint::cut_to(ui, words, theme::BODY.regular(), palette.text, room);
                ui.add(egui::Label::new(galley));
            });
        }
    });
}
