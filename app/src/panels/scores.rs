//! Teacher-forcing measures in the outputs: the switch between diff and KL, the numbers below the panes, and the
//! tooltip of a token.

use std::sync::Arc;

use eframe::egui::{self, Label, Tooltip, Ui, vec2};
use softprefix_core::experiment::CaseScores;
use softprefix_core::protocol::extension::{Alternative, TokenScores};

use super::context::PanelContext;
use crate::model::{Colouring, KlUnavailable, Scores};
use crate::text::ScoringText;
use crate::theme::{self, Palette};
use crate::views::kl::{self, Heat, Touched};
use crate::views::segmented::segmented;
use crate::views::{paint, status};
use crate::workbench::Action;

/// Width of the switch.
const SWITCH: f32 = 104.0;

impl PanelContext<'_> {
    pub(super) fn scoring_text(&self) -> &'static ScoringText {
        ScoringText::of(self.workbench.settings.language)
    }

    /// Returns the scores that colour the baseline.
    pub(super) fn colouring_scores(&self) -> Option<&Arc<Scores>> {
        match (self.workbench.colouring(), self.workbench.scores()) {
            (Colouring::Kl, Some(Ok(scores))) => Some(scores),
            _ => None,
        }
    }
}

/// The marks of a run's scores, cached between frames.
#[derive(Default)]
pub(super) struct HeatMarks {
    of: Option<Arc<Scores>>,
    heats: Vec<Heat>,
}

impl HeatMarks {
    /// Returns the marks over the text of `scores`.
    pub(super) fn of(&mut self, scores: Option<&Arc<Scores>>) -> &[Heat] {
        let same = match (&self.of, scores) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        if !same {
            self.of = scores.cloned();
            self.heats = match scores.and_then(|scores| Some((scores, scores.prefixed()?))) {
                Some((scores, prefixed)) => kl::heats(&scores.ranges, &prefixed.kl),
                None => Vec::new(),
            };
        }
        &self.heats
    }
}

/// Returns the accessible description of the baseline's colours.
pub(super) fn accessible_value(text: &ScoringText, scores: &Scores) -> String {
    let measures = &scores.measures;
    (text.accessible_value)(
        &nats(measures.kl_mean),
        &nats(measures.kl_p95),
        &nats(measures.kl_max),
        percent(measures.same_top),
    )
}

/// Draws the switch, with the reason if it is disabled.
pub(super) fn switch(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let (off, current) = (cx.workbench.why_not_kl(), cx.workbench.colouring());
    switch_of(ui, cx, off, current);
    if let Some(off) = off {
        let palette = Palette::of(ui);
        let text = cx.scoring_text();
        let galley = paint::line_of_text(
            ui,
            (text.kl_unavailable_short)(off),
            theme::CAPTION.regular(),
            palette.text3,
        );
        if ui.available_width() > galley.size().x + 8.0 {
            ui.add(Label::new(galley)).on_hover_text((text.kl_unavailable)(off));
        }
    }
}

fn switch_of(ui: &mut Ui, cx: &mut PanelContext<'_>, off: Option<KlUnavailable>, current: Colouring) {
    let text = cx.scoring_text();
    let options = [(Colouring::Diff, text.diff), (Colouring::Kl, text.kl)];
    let shown = ui.add_enabled_ui(off.is_none(), |ui| {
        segmented(ui, text.colouring, current, &options, SWITCH)
    });
    if let Some(colouring) = shown.inner {
        cx.act(Action::SetColouring(colouring));
    }
    let about = off.map_or(text.about, text.kl_unavailable);
    let response = shown.response.interact(egui::Sense::hover());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Group, off.is_none(), text.colouring));
    ui.ctx()
        .accesskit_node_builder(response.id, |node| node.set_description(about));
    response.on_hover_text(about).on_disabled_hover_text(about);
}

/// Draws the switch for a sweep's pair, with the reason if the pair has no KL.
pub(super) fn pair_switch(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let off = cx.workbench.pair_scores().err();
    let current = if off.is_none() {
        cx.workbench.scores.colouring
    } else {
        Colouring::Diff
    };
    switch_of(ui, cx, off, current);
}

/// The marks over the baseline of a sweep's pair that is coloured by KL.
#[derive(Default)]
pub(super) struct PairHeats {
    of: Option<CaseScores>,
    heats: Vec<Heat>,
}

impl PairHeats {
    pub(super) fn of(&mut self, cx: &PanelContext<'_>) -> Option<&[Heat]> {
        let scores = cx.workbench.pair_scores().ok()?;
        if cx.workbench.scores.colouring != Colouring::Kl {
            return None;
        }
        if self.of.as_ref() != Some(scores) {
            let ranges: Vec<_> = scores.places.iter().map(|[from, to]| *from..*to).collect();
            self.heats = kl::heats(&ranges, &scores.kl);
            self.of = Some(scores.clone());
        }
        Some(&self.heats)
    }
}

/// Shows text and KL of a token, which is what a sweep's record contains.
pub(super) fn short_tooltip(ui: &Ui, cx: &PanelContext<'_>, text: &str, heat: &Heat, touched: Touched) {
    let id = ui.scope_id().with(("token", touched.heat));
    let tooltip = Tooltip::always_open(ui.ctx().clone(), ui.layer_id(), id, touched.rect);
    tooltip.gap(8.0).show(|ui| {
        let palette = Palette::of(ui);
        let piece = quoted(text.get(heat.range.clone()).unwrap_or_default());
        let words = format!("{piece}  KL {} {}", nats(heat.nats), cx.scoring_text().nats);
        ui.label(paint::figures(words, theme::BODY, palette.text));
    });
}

/// Draws the numbers below the baseline; returns `true` if they replace the usual ones.
pub(super) fn figures_under_the_baseline(ui: &mut Ui, cx: &PanelContext<'_>) -> bool {
    if cx.workbench.colouring() != Colouring::Kl {
        return false;
    }
    let text = cx.scoring_text();
    let palette = Palette::of(ui);
    let draw_words = |ui: &mut Ui, words: &str| {
        let galley = paint::cut_to(ui, words, theme::CAPTION.regular(), palette.text3, ui.available_width());
        ui.add(Label::new(galley).show_tooltip_when_elided(false))
            .on_hover_text(words);
    };
    match cx.workbench.scores() {
        Some(Ok(scores)) => {
            let measures = &scores.measures;
            facts(
                ui,
                &[
                    (text.mean, nats(measures.kl_mean)),
                    (text.p95, nats(measures.kl_p95)),
                    (text.max, nats(measures.kl_max)),
                    (text.same_top, format!("{} %", percent(measures.same_top))),
                    (text.perplexity, factor(measures.perplexity_reference)),
                ],
            );
            if scores.ranges.is_empty() {
                draw_words(ui, text.not_laid);
            }
        }
        Some(Err(problem)) => draw_words(ui, &problem.whole(cx.workbench.settings.language)),
        None if cx.workbench.scores.is_under_way() => draw_words(ui, text.measuring),
        None if cx.workbench.is_running() => return false,
        None => draw_words(ui, text.no_run),
    }
    true
}

/// Draws the perplexity of the prefixed text, if known.
pub(super) fn perplexity(ui: &mut Ui, cx: &PanelContext<'_>) {
    let Some(Ok(scores)) = cx.workbench.scores() else {
        return;
    };
    let Some(perplexity) = scores.perplexity else { return };
    let text = cx.scoring_text();
    let palette = Palette::of(ui);
    let words = |words: &str, colour| paint::line_of_text(ui, words, theme::CAPTION.regular(), colour);
    let name = words(text.perplexity, palette.text3);
    let figure = paint::line_of_text(ui, &factor(perplexity), theme::CAPTION.mono(), palette.text);
    let under = words(text.perplexity_under_base, palette.text3);
    /// Width left for the facts after the perplexity, in points.
    const FACTS: f32 = 90.0;
    let (least, more) = (name.size().x + figure.size().x + 18.0, under.size().x + 5.0);
    if ui.available_width() < least {
        return;
    }
    let with_base = ui.available_width() > least + more + FACTS;
    ui.add(Label::new(name)).on_hover_text(text.perplexity_about);
    ui.add(Label::new(figure)).on_hover_text(text.perplexity_about);
    if with_base {
        ui.add(Label::new(under));
    }
    ui.add_space(10.0);
}

/// Draws names and numbers in a row, omitting those that do not fit.
fn facts(ui: &mut Ui, facts: &[(&str, String)]) {
    let palette = Palette::of(ui);
    ui.spacing_mut().item_spacing.x = 5.0;
    for (name, figure) in facts {
        let name = paint::line_of_text(ui, name, theme::CAPTION.regular(), palette.text3);
        let figure = paint::line_of_text(ui, figure, theme::CAPTION.mono(), palette.text);
        if ui.available_width() < name.size().x + figure.size().x + 5.0 {
            return;
        }
        ui.add(Label::new(name));
        ui.add(Label::new(figure));
        ui.add_space(7.0);
    }
}

/// Shows the tooltip of the tokens under the pointer.
pub(super) fn tooltip(ui: &Ui, cx: &PanelContext<'_>, scores: &Scores, heat: &Heat, touched: Touched) {
    let text = cx.scoring_text();
    let id = ui.scope_id().with(("token", touched.heat));
    let tooltip = Tooltip::always_open(ui.ctx().clone(), ui.layer_id(), id, touched.rect);
    tooltip.gap(8.0).width(420.0).show(|ui| {
        ui.spacing_mut().item_spacing = vec2(12.0, 2.0);
        ui.spacing_mut().interact_size.y = 18.0;
        for token in heat.tokens.clone() {
            if token > heat.tokens.start {
                paint::rule(ui);
            }
            // Tokens that are parts of one character are named by the character.
            let count = heat.tokens.len();
            let character = scores.text.get(heat.range.clone()).filter(|_| count > 1);
            let part = character.map(|whole| format!("{} {}/{count}", quoted(whole), token - heat.tokens.start + 1));
            about_token(ui, cx, text, scores, token, part);
        }
    });
}

fn about_token(
    ui: &mut Ui,
    cx: &PanelContext<'_>,
    text: &ScoringText,
    scores: &Scores,
    token: usize,
    name: Option<String>,
) -> Option<()> {
    let palette = Palette::of(ui);
    let (reference, prefixed) = (&scores.scored.reference, scores.prefixed()?);
    let piece = scores.scored.tokens.get(token)?;
    let probability = |scores: &TokenScores| {
        scores
            .logprobs
            .get(token)
            .map_or_else(String::new, |lp| share(lp.exp()))
    };
    ui.horizontal(|ui| {
        let name = name.unwrap_or_else(|| quoted(&piece.text));
        ui.label(paint::strong(name, theme::BODY, palette.text));
        let nats = prefixed.kl.get(token).copied().map(self::nats).unwrap_or_default();
        ui.label(paint::figures(
            format!("KL {nats} {}", text.nats),
            theme::BODY,
            palette.text,
        ));
    });
    egui::Grid::new(("token", token))
        .spacing(vec2(14.0, 2.0))
        .show(ui, |ui| {
            let caption = |words: &str| paint::words(words, theme::CAPTION, palette.text3);
            ui.label("");
            side_name(ui, cx.text.baseline, false);
            ui.label("");
            side_name(ui, cx.text.prefixed, true);
            ui.label("");
            ui.end_row();
            ui.label(caption(text.probability));
            ui.label("");
            ui.label(paint::figures(probability(reference), theme::CAPTION, palette.text));
            ui.label("");
            ui.label(paint::figures(
                probability(&prefixed.scores),
                theme::CAPTION,
                palette.text,
            ));
            ui.end_row();
            let tops = [reference, &prefixed.scores].map(|scores| scores.top.get(token).map_or(&[][..], Vec::as_slice));
            for place in 0..tops[0].len().max(tops[1].len()) {
                ui.label(caption(&format!("{}.", place + 1)));
                for top in tops {
                    alternative(ui, top.get(place), piece.id);
                }
                ui.end_row();
            }
        });
    Some(())
}

/// Draws a column heading, with the symbol of its side.
fn side_name(ui: &mut Ui, name: &str, prefixed: bool) {
    let palette = Palette::of(ui);
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        let (sign, _) = ui.allocate_exact_size(vec2(12.0, 16.0), egui::Sense::hover());
        if prefixed {
            status::prefix_disc(ui.painter(), sign.center(), 1.0, palette);
        } else {
            status::baseline_ring(ui.painter(), sign.center(), 1.0, palette);
        }
        ui.label(paint::words(name, theme::CAPTION, palette.text2));
    });
}

/// Draws an alternative token and its probability; the one that was generated is bold.
fn alternative(ui: &mut Ui, alternative: Option<&Alternative>, chosen: u32) {
    let palette = Palette::of(ui);
    let Some(alternative) = alternative else {
        ui.label("");
        ui.label("");
        return;
    };
    let words = quoted(&alternative.text);
    let words = if alternative.id == chosen {
        paint::strong(words, theme::CAPTION, palette.text)
    } else {
        paint::words(words, theme::CAPTION, palette.text2)
    };
    ui.label(words);
    let figure = share(alternative.logprob.exp());
    ui.label(paint::figures(figure, theme::CAPTION, palette.text2));
}

/// Returns a token's text with visible spaces and line ends.
fn quoted(text: &str) -> String {
    let shown: String = text
        .chars()
        .take(24)
        .map(|c| match c {
            '\n' => "\\n".to_owned(),
            '\t' => "\\t".to_owned(),
            '\r' => "\\r".to_owned(),
            c if c.is_control() => " ".to_owned(),
            c => c.to_string(),
        })
        .collect();
    format!("“{shown}”")
}

/// Formats nats: three decimals below 0.01, two below 10, one from there on.
pub(super) fn nats(nats: f64) -> String {
    match nats {
        n if n < 0.000_5 => "0".to_owned(),
        n if n < 0.01 => format!("{n:.3}"),
        n if n < 10.0 => format!("{n:.2}"),
        n => format!("{n:.1}"),
    }
}

/// Formats a perplexity.
pub(super) fn factor(factor: f64) -> String {
    match factor {
        f if f < 10.0 => format!("{f:.2}"),
        f if f < 1000.0 => format!("{f:.0}"),
        f => format!("{f:.1e}"),
    }
}

fn percent(share: f64) -> u32 {
    (share * 100.0).round() as u32
}

/// Formats a probability in percent.
fn share(probability: f64) -> String {
    match probability * 100.0 {
        p if p >= 99.95 => "100 %".to_owned(),
        p if p >= 10.0 => format!("{p:.0} %"),
        p if p >= 0.1 => format!("{p:.1} %"),
        p if p >= 0.001 => format!("{p:.3} %"),
        p if p > 0.0 => format!("{p:.0e} %"),
        _ => "0 %".to_owned(),
    }
}
