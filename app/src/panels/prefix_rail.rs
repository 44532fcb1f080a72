//! The rail on the left: the module, then the prefix from its kind to its digest.

use std::sync::Arc;

use eframe::egui::{self, Align, Layout, Panel, ScrollArea, Ui, vec2};
use softprefix_core::prefix::Rounding;

use super::context::{PanelContext, inset, rail_edge};
use super::{identity, material, module_card};
use crate::model::{MagnitudeUnit, Vocabulary, WindowUse};
use crate::theme::{self, Palette};
use crate::views::axis::{Axis, written};
use crate::views::entry::{Entered, Field, Headline};
use crate::views::icon::{Icon, IconButton};
use crate::views::magnitude::{MagnitudeSlider, Moved, NormsCurve, STEP};
use crate::views::slider::{self, Colours, Doublings, Slider};
use crate::views::status::Status;
use crate::views::{budget, fold, paint, select};
use crate::workbench::Action;

/// What the rail keeps between frames.
#[derive(Default)]
pub struct Rail {
    /// The vocabulary and its curve, in token norms.
    curve: Option<(Arc<Vocabulary>, NormsCurve)>,
    /// The invalid text of a number field.
    refused: Option<String>,
    envelope_open: bool,
}

impl Rail {
    pub fn show(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>) {
        rail_edge(ui);
        let height = ui.ctx().content_rect().height();
        let tall = height >= 850.0;
        // A low window has no room for a fixed footer.
        let low = height < 620.0;
        let foot = inset(0, 12);
        if !low {
            Panel::bottom("identity")
                .frame(foot)
                .show_separator_line(false)
                .show(ui, |ui| identity::foot(ui, cx));
        }
        ScrollArea::vertical()
            .id_salt("rail")
            .auto_shrink(false)
            .show(ui, |ui| {
                inset(16, 8).show(ui, |ui| module_card::show(ui, cx));
                ui.spacing_mut().item_spacing.y = 0.0;
                ui.add_space(8.0);
                paint::rule(ui);
                inset(14, 8).show(ui, |ui| self.prefix(ui, cx, tall));
                if low {
                    foot.show(ui, |ui| identity::foot(ui, cx));
                }
            });
    }

    fn prefix(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>, tall: bool) {
        let palette = Palette::of(ui);
        let text = cx.text;
        self.refused = None;
        ui.spacing_mut().item_spacing.y = 0.0;
        ui.label(paint::strong(text.prefix, theme::CAPTION, palette.text2));
        ui.add_space(8.0);
        material::kind(ui, cx);
        material::texts(ui, cx, &mut self.refused);
        ui.add_space(if tall { 8.0 } else { 0.0 });
        self.magnitude(ui, cx, tall);
        ui.add_space(4.0);
        self.vectors(ui, cx);
        ui.add_space(8.0);
        material::source(ui, cx, &mut self.refused);
        material::envelope(ui, cx, &mut self.envelope_open);
        let mut advanced = cx.bench.settings.advanced;
        let rounding = rounding_words(cx, cx.bench.prefix.rounding);
        if fold::heading(ui, &mut advanced, text.advanced, rounding).changed() {
            cx.act(Action::SetAdvanced(advanced));
        }
        fold::body(ui, "advanced", advanced, |ui| advanced_rows(ui, cx));
        if let Some(typed) = &self.refused {
            ui.add_space(4.0);
            module_card::with_mark(ui, Status::Broken, |ui| {
                ui.label(paint::words((text.refused)(typed), theme::CAPTION, palette.broken));
            });
        }
    }

    fn magnitude(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>, tall: bool) {
        let text = cx.text;
        let form = &cx.bench.prefix;
        let unit = form.unit;
        let axis = if unit == MagnitudeUnit::TokenNorms {
            Axis::NORMS
        } else {
            Axis::RAW
        };
        let value = shown_magnitude(cx);
        self.headline(ui, cx, value, axis);
        ui.add_space(if tall { 8.0 } else { 4.0 });
        self.refresh_curve(cx);
        // With raw values, the curve is scaled to the raw values of its norms.
        let scaled = match (unit, cx.bench.raw_per_norm(), &self.curve) {
            (MagnitudeUnit::Raw, Some(scale), Some((_, curve))) => Some(NormsCurve {
                points: curve.points.iter().map(|(x, y)| (x * scale, *y)).collect(),
            }),
            _ => None,
        };
        let norms = match unit {
            MagnitudeUnit::TokenNorms => self.curve.as_ref().map(|(_, curve)| curve),
            MagnitudeUnit::Raw => scaled.as_ref(),
        };
        let spoken = (text.magnitude_spoken)(
            &format!("{}{}", written(value), axis.unit),
            cx.bench.magnitude_raw().map(written).as_deref(),
        );
        let saved = cx.bench.saved_magnitudes();
        let slider = MagnitudeSlider {
            name: text.magnitude,
            spoken: &spoken,
            axis,
            regions: cx.regions(unit).map(|regions| (regions, cx.region_names())),
            norms,
            norms_label: text.vocabulary_norms,
            height: if tall { 136.0 } else { 104.0 },
            saved: &saved,
        };
        let (_, moved) = slider.show(ui, value);
        match moved {
            Some(Moved::To(value)) => cx.act(Action::SetMagnitude(value)),
            Some(Moved::By(factor)) => cx.act(Action::ScaleMagnitude(factor)),
            Some(Moved::ToOne) => cx.act(Action::ResetMagnitude),
            None => {}
        }
    }

    fn headline(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>, value: f64, axis: Axis) {
        let palette = Palette::of(ui);
        let text = cx.text;
        let buttons = 2.0 * theme::CONTROL + 6.0;
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 6.0;
            let labels = 68.0;
            let room = ui.available_width() - buttons - labels - 12.0;
            let field = Headline {
                name: text.type_magnitude,
                shown: format!("{}{}", written(value), axis.unit),
                colour: palette.prefix_fill,
                width: room,
            };
            match field.show(ui, parse_magnitude) {
                Entered::Value(value) => {
                    cx.act(Action::SetMagnitude(value));
                }
                Entered::Refused(typed) => self.refused = Some(typed),
                Entered::Nothing => {}
            }
            ui.allocate_ui_with_layout(vec2(labels, theme::HERO.line), Layout::top_down(Align::Min), |ui| {
                ui.set_width(labels);
                ui.add_space(12.0);
                ui.spacing_mut().item_spacing.y = 0.0;
                ui.spacing_mut().interact_size.y = 16.0;
                let unit = if axis == Axis::NORMS {
                    text.token_norm
                } else {
                    text.raw_value
                };
                ui.label(paint::words(unit, theme::CAPTION, palette.text2));
                let other = match axis == Axis::NORMS {
                    true => cx.bench.magnitude_raw().map(|raw| (text.raw, written(raw))),
                    false => cx
                        .bench
                        .magnitude_norms()
                        .map(|norms| ("", format!("{}×", written(norms)))),
                };
                if let Some((label, figures)) = other {
                    ui.horizontal(|ui| {
                        ui.spacing_mut().item_spacing.x = 4.0;
                        if !label.is_empty() {
                            ui.label(paint::words(label, theme::CAPTION, palette.text2));
                        }
                        ui.label(paint::figures(figures, theme::CAPTION, palette.text));
                    });
                }
            });
            if ui.add(IconButton::new(Icon::Minus, text.less).outlined()).clicked() {
                cx.act(Action::ScaleMagnitude(1.0 / STEP));
            }
            if ui.add(IconButton::new(Icon::Plus, text.more).outlined()).clicked() {
                cx.act(Action::ScaleMagnitude(STEP));
            }
        });
    }

    fn refresh_curve(&mut self, cx: &PanelContext<'_>) {
        let Some(vocabulary) = &cx.bench.vocabulary else {
            self.curve = None;
            return;
        };
        if self.curve.as_ref().is_none_or(|(of, _)| !Arc::ptr_eq(of, vocabulary)) {
            self.curve = cx.norms_curve().map(|curve| (Arc::clone(vocabulary), curve));
        }
    }

    fn vectors(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>) {
        let palette = Palette::of(ui);
        let text = cx.text;
        let most = cx.bench.max_len() as u32;
        let len = cx.bench.prefix.len as u32;
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 8.0;
            ui.add(egui::Label::new(paint::words(text.vectors, theme::BODY, palette.text2)));
            let width = ui.available_width() - 56.0 - 8.0;
            let (rect, x) = slider::allocate(ui, width);
            let vectors = Slider {
                name: text.vectors,
                spoken: "",
                scale: Doublings { most, x },
                steps: (1.0, 8.0),
                keys: true,
                colours: Colours::of_prefix(palette),
            };
            if let Some(len) = vectors.show(ui, rect, f64::from(len)) {
                cx.act(Action::SetLen(len.round() as usize));
            }
            let field = Field {
                name: text.type_vectors,
                shown: len.to_string(),
                width: 56.0,
            };
            match field.show(ui, |typed| typed.parse::<usize>().ok().filter(|len| *len >= 1)) {
                Entered::Value(len) => {
                    cx.act(Action::SetLen(len));
                }
                Entered::Refused(typed) => self.refused = Some(typed),
                Entered::Nothing => {}
            }
        });
        let len = cx.bench.prefix.len;
        if let Some(rows) = cx.bench.prefix.rows_repeated_to(len) {
            let words = (cx.prefix_text().file_repeats)(rows, len);
            ui.label(paint::words(words, theme::CAPTION, palette.text2));
        }
        ui.add_space(8.0);
        match cx.bench.budget {
            Some(counted) => show_budget(ui, cx, &counted),
            None if cx.bench.module.is_ready() => {
                ui.label(paint::words(text.budget_unknown, theme::CAPTION, palette.text3));
            }
            None => {}
        }
    }
}

/// Returns the magnitude to show; for unscaled rows, the magnitude that they have.
fn shown_magnitude(cx: &PanelContext<'_>) -> f64 {
    let form = &cx.bench.prefix;
    let built = cx
        .bench
        .next_prefix
        .built
        .as_ref()
        .and_then(|built| built.as_ref().ok());
    match built.filter(|_| form.is_unscaled()) {
        Some(built) => match form.unit {
            MagnitudeUnit::TokenNorms => built.token_norms.unwrap_or(form.magnitude),
            MagnitudeUnit::Raw => built.raw().unwrap_or(form.magnitude),
        },
        None => form.magnitude,
    }
}

/// Parses `2.9`, `2.9×`, `2.9x` or `1e-4`; a decimal comma is accepted, too.
fn parse_magnitude(typed: &str) -> Option<f64> {
    let typed = typed.trim().trim_end_matches(['×', 'x', 'X']).trim().replace(',', ".");
    typed
        .parse::<f64>()
        .ok()
        .filter(|value| value.is_finite() && *value >= 0.0)
}

fn show_budget(ui: &mut Ui, cx: &PanelContext<'_>, counted: &WindowUse) {
    let palette = Palette::of(ui);
    let text = cx.text;
    let spoken = (text.budget_spoken)(
        counted.prefix,
        counted.template,
        counted.prompt,
        counted.output,
        counted.window,
    );
    let bar = budget::Positions {
        prefix: counted.prefix as u64,
        template: counted.template as u64,
        prompt: counted.prompt as u64,
        output: counted.output as u64,
        window: counted.window as u64,
    };
    budget::bar(ui, &bar, &spoken);
    ui.add_space(4.0);
    let strength = if counted.current { 1.0 } else { 0.6 };
    let [prefix, template, prompt, window] =
        (text.budget)(counted.prefix, counted.template, counted.prompt, counted.window);
    let free = counted.free();
    let rest_colour = if free < 0 { palette.broken } else { palette.text3 };
    let rest = paint::line_of_text(ui, &(text.budget_free)(free), theme::CAPTION.regular(), rest_colour);
    let room = ui.available_width() - rest.size().x - 8.0;
    let parts = |ui: &Ui, with_window: bool| {
        let mut job = egui::text::LayoutJob::default();
        for (words, colour) in [
            (prefix.as_str(), palette.prefix),
            (&template, palette.text3),
            (&prompt, palette.baseline),
            (if with_window { window.as_str() } else { "" }, palette.text3),
        ] {
            let colour = theme::faded(colour, strength);
            job.append(words, 0.0, egui::TextFormat::simple(theme::CAPTION.regular(), colour));
        }
        ui.painter().layout_job(job)
    };
    // If there is no room for both, the free positions are shown instead of the window.
    let whole = parts(ui, true);
    let used = if whole.size().x <= room {
        whole
    } else {
        parts(ui, false)
    };
    ui.horizontal(|ui| {
        ui.spacing_mut().interact_size.y = 16.0;
        ui.add(egui::Label::new(used));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.add(egui::Label::new(rest))
        });
    });
}

fn rounding_words(cx: &PanelContext<'_>, rounding: Rounding) -> &'static str {
    match rounding {
        Rounding::NearestEven => cx.text.rounding_nearest,
        Rounding::Truncate => cx.text.rounding_truncate,
    }
}

fn advanced_rows(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = cx.text;
    let row = |ui: &mut Ui, label: &str, control: &mut dyn FnMut(&mut Ui)| {
        ui.horizontal(|ui| {
            ui.add_space(16.0);
            ui.label(paint::words(label, theme::BODY, palette.text2));
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| control(ui));
        });
        ui.add_space(8.0);
    };
    let roundings =
        [Rounding::NearestEven, Rounding::Truncate].map(|rounding| (rounding, rounding_words(cx, rounding).to_owned()));
    let current = cx.bench.prefix.rounding;
    row(ui, text.rounding, &mut |ui| {
        if let Some(rounding) = select::select(ui, text.rounding, Some(&current), &roundings, "", 176.0) {
            cx.act(Action::SetRounding(rounding));
        }
    });
    if cx.bench.vocabulary.is_none() && cx.bench.module.is_ready() {
        ui.label(paint::words(text.unit_raw_only, theme::CAPTION, palette.text3));
        return;
    }
    let units = [
        (MagnitudeUnit::TokenNorms, text.unit_norms.to_owned()),
        (MagnitudeUnit::Raw, text.unit_raw.to_owned()),
    ];
    let current = cx.bench.prefix.unit;
    row(ui, text.unit, &mut |ui| {
        if let Some(unit) = select::select(ui, text.unit, Some(&current), &units, "", 176.0) {
            cx.act(Action::SetMagnitudeUnit(unit));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_magnitude_may_be_typed_with_its_sign_or_with_a_comma() {
        for (typed, value) in [("2.9×", 2.9), ("2,9", 2.9), ("1e-4", 1e-4), (" 0 ", 0.0), ("3x", 3.0)] {
            assert_eq!(parse_magnitude(typed), Some(value), "{typed}");
        }
        for typed in ["", "-1", "NaN", "inf", "two"] {
            assert_eq!(parse_magnitude(typed), None, "{typed}");
        }
    }
}
