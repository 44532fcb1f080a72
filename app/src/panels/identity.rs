//! The identity of a prefix: norm and digest in the rail, and a sheet with all details.

use eframe::egui::{self, Align, Layout, Popup, PopupCloseBehavior, Ui, vec2};
use softprefix_core::prefix::{COSINE_CAUTION, Neighbour, Origin, PrefixKind, PrefixSummary};

use super::context::PanelContext;
use super::module_card;
use crate::model::{ExportForm, Nearest, Vocabulary};
use crate::theme::{self, Palette};
use crate::views::axis::format_magnitude;
use crate::views::button::Button;
use crate::views::icon::{Icon, IconButton};
use crate::views::norms::NormBars;
use crate::views::status::Status;
use crate::views::{paint, select};
use crate::workbench::{Action, Dialog, MaterialAction};

/// Maximum number of groups of rows whose nearest tokens are listed.
const LISTED: usize = 64;
const ROW: f32 = 24.0;
const LABEL: f32 = 96.0;

/// Draws the bottom of the rail: norm and digest of the prefix that will be sent.
pub(super) fn footer(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let (text, words) = (cx.text, cx.prefix_text());
    ui.spacing_mut().item_spacing.y = 0.0;
    paint::rule(ui);
    ui.add_space(8.0);
    let next = &cx.workbench.next_prefix;
    let built = match &next.built {
        Some(Err(problem)) => {
            module_card::show_problem(ui, cx, problem);
            return;
        }
        Some(Ok(built)) => Some(built),
        None => None,
    };
    let colour = if next.stale { palette.text3 } else { palette.text };
    ui.horizontal(|ui| {
        ui.set_min_height(ROW);
        ui.label(paint::words(text.row_norm, theme::BODY, palette.text3));
        match built {
            Some(built) => {
                let norm = format!("{:.3}", built.row_norms[1]);
                ui.label(paint::figures(norm, theme::BODY, colour));
            }
            None if cx.workbench.module.is_ready() => {
                ui.label(paint::words("–", theme::BODY, palette.text3));
            }
            None => {
                ui.label(paint::words(text.nothing_built, theme::CAPTION, palette.text3));
            }
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let button = Button::quiet(words.identity).small().height(ROW);
            if ui.add_enabled(built.is_some(), button).clicked() {
                cx.act(Action::ShowDialog(Dialog::Identity));
            }
        });
    });
    ui.horizontal(|ui| {
        ui.set_min_height(ROW);
        ui.label(paint::words("sha256", theme::BODY, palette.text3));
        ui.spacing_mut().item_spacing.x = 4.0;
        if let Some(built) = built {
            let response = ui.label(paint::figures(short_digest(&built.sha256), theme::BODY, colour));
            response.on_hover_text(paint::figures(&built.sha256, theme::CAPTION, palette.text));
            if ui
                .add(IconButton::new(Icon::Copy, text.copy_digest).size(ROW))
                .clicked()
            {
                cx.act(Action::CopySha256);
            }
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| export(ui, cx));
    });
}

fn export(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let words = cx.prefix_text();
    let button = Button::quiet(words.export)
        .name(words.export_named)
        .small()
        .height(ROW)
        .trailing(Icon::ChevronDown);
    let response = ui.add_enabled(cx.workbench.can_export_prefix(), button);
    Popup::menu(&response)
        .close_behavior(PopupCloseBehavior::CloseOnClick)
        .accessible_name(words.export_named)
        .show(|ui| {
            select::as_wide_as(ui, ExportForm::ALL.map(words.export_as));
            for form in ExportForm::ALL {
                if select::item(ui, (words.export_as)(form), false).clicked() {
                    cx.act(Action::Material(MaterialAction::Export(form)));
                }
            }
        });
}

/// `9f3c07…a41e`
fn short_digest(digest: &str) -> String {
    match (digest.get(..6), digest.get(digest.len().saturating_sub(4)..)) {
        (Some(head), Some(tail)) if digest.len() > 12 => format!("{head}…{tail}"),
        _ => digest.to_owned(),
    }
}

/// Draws the sheet.
pub(super) fn sheet(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let words = cx.prefix_text();
    let Some(sheet) = &cx.workbench.sheet else { return };
    let summary = match &sheet.summary {
        Some(Ok(summary)) => summary,
        Some(Err(problem)) => return module_card::show_problem(ui, cx, problem),
        None => {
            let why = if !cx.workbench.module.is_ready() {
                words.not_connected
            } else if cx.workbench.prefix.missing().is_some() {
                words.nothing_to_build
            } else {
                words.building
            };
            ui.label(paint::words(why, theme::BODY, palette.text2));
            return;
        }
    };
    let made_of = super::label::kind(cx.text, &sheet.recipe.kind);
    fact(ui, words.made_of, &made_of, false);
    if let PrefixKind::Imported { origin, .. } = sheet.recipe.kind.base() {
        if let Some(about) = words.about_origin(origin) {
            fact(ui, (cx.text.origin)(origin), &about, false);
        }
        if let Origin::Learned(learned) = origin {
            let steps = (words.learned_steps)(learned.step, learned.steps_asked, learned.seed);
            fact(ui, cx.find_text().steps, &steps, false);
        }
    }
    fact(
        ui,
        words.shape,
        &format!("{} × {}", summary.len, summary.hidden_size),
        true,
    );
    digest(ui, cx, summary);
    ui.add_space(8.0);
    norms(ui, cx, summary);
    ui.add_space(8.0);
    paint::rule(ui);
    nearest(ui, cx, &sheet.nearest);
}

fn fact(ui: &mut Ui, name: &str, value: &str, figures: bool) {
    let palette = Palette::of(ui);
    ui.horizontal(|ui| {
        ui.set_min_height(ROW);
        caption(ui, name);
        let font = if figures {
            theme::BODY.mono()
        } else {
            theme::BODY.regular()
        };
        let galley = paint::cut_to(ui, value, font, palette.text, ui.available_width());
        ui.add(egui::Label::new(galley));
    });
}

fn caption(ui: &mut Ui, words: &str) {
    let palette = Palette::of(ui);
    let size = vec2(LABEL, ROW);
    ui.allocate_ui_with_layout(size, Layout::left_to_right(Align::Center), |ui| {
        ui.set_min_size(size);
        ui.label(paint::words(words, theme::BODY, palette.text3));
    });
}

fn digest(ui: &mut Ui, cx: &mut PanelContext<'_>, summary: &PrefixSummary) {
    let palette = Palette::of(ui);
    let words = cx.prefix_text();
    ui.add_space(4.0);
    ui.label(paint::words(words.digest, theme::BODY, palette.text3));
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        ui.label(paint::figures(&summary.sha256, theme::BODY, palette.text));
        if ui
            .add(IconButton::new(Icon::Copy, cx.text.copy_digest).size(ROW))
            .clicked()
        {
            cx.act(Action::CopySha256);
        }
    });
}

fn norms(ui: &mut Ui, cx: &PanelContext<'_>, summary: &PrefixSummary) {
    let palette = Palette::of(ui);
    let words = cx.prefix_text();
    let vocabulary = cx
        .workbench
        .vocabulary
        .as_deref()
        .filter(|_| summary.token_norm.is_some());
    let scale = summary.token_norm.unwrap_or(1.0);
    let (name, unit) = match vocabulary {
        Some(_) => (words.norms, "×"),
        None => (words.norms_raw, ""),
    };
    ui.label(paint::strong(name, theme::BODY, palette.text));
    let scaled: Vec<f64> = summary.norms.iter().map(|norm| norm / scale).collect();
    let of = |norm: f64| format!("{}{unit}", format_magnitude(norm / scale));
    let sentence = (words.norms_of)(&of(summary.min), &of(summary.median), &of(summary.max));
    let bars = NormBars {
        name,
        accessible_value: &sentence,
        norms: &scaled,
        band: vocabulary.and_then(|vocabulary| band(vocabulary, scale)),
        line: vocabulary.map(|_| 1.0),
        unit,
        row: &words.row,
        height: 112.0,
    };
    bars.show(ui);
    ui.label(paint::words(sentence, theme::BODY, palette.text2));
    match vocabulary {
        Some(_) => {
            ui.horizontal(|ui| {
                let (swatch, _) = ui.allocate_exact_size(vec2(16.0, 12.0), egui::Sense::hover());
                ui.painter().rect_filled(swatch, 0.0, theme::faded(palette.text3, 0.28));
                ui.label(paint::words(words.band, theme::CAPTION, palette.text3));
            });
        }
        None => {
            ui.label(paint::words(words.no_vocabulary, theme::CAPTION, palette.text3));
        }
    }
}

/// Returns the range of the middle 90 % of the vocabulary's norms.
fn band(vocabulary: &Vocabulary, scale: f64) -> Option<(f64, f64)> {
    let at = |wanted: u8| {
        let found = vocabulary.percentiles.iter().find(|(percent, _)| *percent == wanted);
        found.map(|(_, norm)| norm / scale)
    };
    Some((at(5)?, at(95)?))
}

fn nearest(ui: &mut Ui, cx: &PanelContext<'_>, nearest: &Nearest) {
    let palette = Palette::of(ui);
    let words = cx.prefix_text();
    ui.label(paint::strong(words.nearest, theme::BODY, palette.text));
    let rows = match nearest {
        Nearest::Pending => {
            ui.label(paint::words(words.searching, theme::BODY, palette.text3));
            return;
        }
        Nearest::Unsupported => {
            ui.label(paint::words(words.nearest_unsupported, theme::BODY, palette.text2));
            return;
        }
        Nearest::Failed(problem) => return module_card::show_problem(ui, cx, problem),
        Nearest::Known(rows) => rows,
    };
    let far = rows
        .iter()
        .filter(|row| row.first().is_none_or(Neighbour::is_doubtful))
        .count();
    module_card::with_mark(ui, Status::Warning, |ui| {
        ui.spacing_mut().item_spacing.y = 2.0;
        if far > 0 {
            ui.label(paint::words((words.far)(far, rows.len()), theme::BODY, palette.text));
        }
        ui.label(paint::words(words.caution, theme::BODY, palette.text2));
    });
    ui.spacing_mut().item_spacing.y = 0.0;
    let groups = alike(rows);
    for &(from, to) in groups.iter().take(LISTED) {
        let found = &rows[from];
        ui.horizontal(|ui| {
            ui.set_min_height(ROW);
            let name = if from == to {
                (words.row)(from + 1)
            } else {
                (words.rows)(from + 1, to + 1)
            };
            caption(ui, &name);
            if found.is_empty() {
                ui.label(paint::words(words.zero_row, theme::BODY, palette.text3));
                return;
            }
            let mut job = egui::text::LayoutJob::default();
            for neighbour in found {
                // An insignificant neighbour is not shown like a significant one.
                let colour = if neighbour.is_doubtful() {
                    palette.text3
                } else {
                    palette.text
                };
                let style = egui::TextFormat::simple(theme::BODY.regular(), colour);
                job.append(&format!("“{}”", visible(&neighbour.text)), 0.0, style);
                let style = egui::TextFormat::simple(theme::CAPTION.mono(), palette.text3);
                job.append(&format!(" {:.2}", neighbour.cosine), 0.0, style);
                job.append("   ", 0.0, egui::TextFormat::default());
            }
            job.wrap = egui::text::TextWrapping::truncate_at_width(ui.available_width());
            let galley = ui.painter().layout_job(job);
            ui.add(egui::Label::new(galley));
        });
    }
    if let Some(&(next, _)) = groups.get(LISTED) {
        let more = (words.rows_more)(rows.len() - next);
        ui.label(paint::words(more, theme::BODY, palette.text3));
    }
}

/// Groups consecutive rows with the same neighbours, as first and last index: repeated words are listed once.
fn alike(rows: &[Vec<Neighbour>]) -> Vec<(usize, usize)> {
    // Scaling a row rounds it again, which changes the last digits of a cosine.
    let same = |a: &Vec<Neighbour>, b: &Vec<Neighbour>| {
        a.len() == b.len()
            && a.iter()
                .zip(b)
                .all(|(a, b)| a.id == b.id && (a.cosine - b.cosine).abs() < 0.005)
    };
    let mut groups: Vec<(usize, usize)> = Vec::new();
    for (row, found) in rows.iter().enumerate() {
        match groups.last_mut() {
            Some((first, last)) if same(&rows[*first], found) => *last = row,
            _ => groups.push((row, row)),
        }
    }
    groups
}

/// Returns a token's text with control characters written out.
fn visible(token: &str) -> String {
    token
        .chars()
        .flat_map(|letter| {
            let written = if letter.is_control() {
                letter.escape_default().to_string()
            } else {
                letter.to_string()
            };
            written.chars().collect::<Vec<_>>()
        })
        .collect()
}

/// The caution text contains this number.
const _: () = assert!(COSINE_CAUTION == 0.3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_shown_by_its_ends() {
        assert_eq!(short_digest(&"0123456789abcdef".repeat(4)), "012345…cdef");
        assert_eq!(short_digest("abc"), "abc");
    }

    #[test]
    fn rows_with_the_same_neighbours_are_listed_once() {
        let row = |id, cosine| {
            let text = String::new();
            vec![Neighbour { id, text, cosine }]
        };
        let rows = [
            row(1, 0.9),
            row(1, 0.901),
            row(2, 0.9),
            Vec::new(),
            Vec::new(),
            row(1, 0.9),
        ];
        assert_eq!(alike(&rows), [(0, 1), (2, 2), (3, 4), (5, 5)]);
        assert_eq!(alike(&[]), []);
    }

    #[test]
    fn a_token_of_a_line_break_can_be_seen() {
        assert_eq!(visible("\n\t"), "\\n\\t");
        assert_eq!(visible(" 春"), " 春");
    }
}
