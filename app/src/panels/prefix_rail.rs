//! The rail on the left: the module, then the prefix from its kind to its digest.

use std::sync::Arc;

use eframe::egui::{self, Align, Layout, Panel, ScrollArea, Ui, vec2};
use softprefix_core::prefix::Rounding;

use super::context::{PanelContext, inset, rail_edge};
use super::{identity, material, module_card};
use crate::model::typed::{Accepted, decimal};
use crate::model::{MagnitudeUnit, Vocabulary};
use crate::theme::{self, Palette};
use crate::views::axis::{Axis, format_magnitude};
use crate::views::entry::{Field, Headline};
use crate::views::icon::{Icon, IconButton};
use crate::views::magnitude::{MagnitudeChange, MagnitudeSlider, NormsCurve, STEP};
use crate::views::slider::{self, Colours, Doublings, Slider};
use crate::views::{budget, fold, paint, select};
use crate::workbench::Action;

/// What the rail keeps between frames.
#[derive(Default)]
pub struct Rail {
    /// The histogram of the vocabulary's norms, and the vocabulary it was computed from.
    norms: Option<(Arc<Vocabulary>, NormsCurve)>,
    envelope_open: bool,
}

/// How much room the window's height leaves.
#[derive(Clone, Copy, PartialEq)]
enum Height {
    /// No room for a fixed footer.
    Low,
    Medium,
    /// Room for larger distances.
    Tall,
}

impl Height {
    fn of(window: f32) -> Self {
        if window >= 850.0 {
            Self::Tall
        } else if window >= 620.0 {
            Self::Medium
        } else {
            Self::Low
        }
    }
}

impl Rail {
    pub fn show(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>) {
        rail_edge(ui);
        let height = Height::of(ui.ctx().content_rect().height());
        let footer = inset(0, 12);
        if height != Height::Low {
            Panel::bottom("identity")
                .frame(footer)
                .show_separator_line(false)
                .show(ui, |ui| identity::footer(ui, cx));
        }
        ScrollArea::vertical()
            .id_salt("rail")
            .auto_shrink(false)
            .show(ui, |ui| {
                inset(16, 8).show(ui, |ui| module_card::show(ui, cx));
                ui.spacing_mut().item_spacing.y = 0.0;
                ui.add_space(8.0);
                paint::rule(ui);
                inset(14, 8).show(ui, |ui| self.prefix(ui, cx, height));
                if height == Height::Low {
                    footer.show(ui, |ui| identity::footer(ui, cx));
                }
            });
    }

    fn prefix(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>, height: Height) {
        let palette = Palette::of(ui);
        let text = cx.text;
        ui.spacing_mut().item_spacing.y = 0.0;
        ui.label(paint::strong(text.prefix, theme::CAPTION, palette.text2));
        ui.add_space(8.0);
        material::kind(ui, cx);
        material::texts(ui, cx);
        ui.add_space(if height == Height::Tall { 8.0 } else { 0.0 });
        self.magnitude(ui, cx, height);
        ui.add_space(4.0);
        show_row_count(ui, cx);
        ui.add_space(8.0);
        material::source(ui, cx);
        material::envelope(ui, cx, &mut self.envelope_open);
        let mut advanced = cx.workbench.settings.advanced;
        let rounding = rounding_words(cx, cx.workbench.prefix.rounding);
        if fold::heading(ui, &mut advanced, text.advanced, rounding).changed() {
            cx.act(Action::SetAdvanced(advanced));
        }
        fold::body(ui, "advanced", advanced, |ui| advanced_rows(ui, cx));
    }

    fn magnitude(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>, height: Height) {
        let text = cx.text;
        let form = &cx.workbench.prefix;
        let unit = form.unit;
        let axis = Axis::of(unit);
        let value = shown_magnitude(cx);
        headline(ui, cx, value, unit);
        ui.add_space(if height == Height::Tall { 8.0 } else { 4.0 });
        self.refresh_norms(cx);
        // With raw values, the curve is scaled to the raw values of its norms.
        let scaled = match (unit, cx.workbench.raw_per_norm(), &self.norms) {
            (MagnitudeUnit::Raw, Some(scale), Some((_, curve))) => Some(NormsCurve {
                points: curve.points.iter().map(|(x, y)| (x * scale, *y)).collect(),
            }),
            _ => None,
        };
        let norms = match unit {
            MagnitudeUnit::TokenNorms => self.norms.as_ref().map(|(_, curve)| curve),
            MagnitudeUnit::Raw => scaled.as_ref(),
        };
        let accessible_value = (text.magnitude_accessible_value)(
            &format!("{}{}", format_magnitude(value), axis.unit),
            cx.workbench.magnitude_raw().map(format_magnitude).as_deref(),
        );
        let saved = cx.workbench.saved_magnitudes();
        let slider = MagnitudeSlider {
            name: text.magnitude,
            accessible_value: &accessible_value,
            norms,
            norms_label: Some(text.vocabulary_norms),
            saved: &saved,
            handle: 12.0,
            ground: Palette::of(ui).panel,
            keys: true,
        };
        let regions = cx.regions(unit).map(|regions| (regions, cx.region_names()));
        let height = if height == Height::Tall { 136.0 } else { 104.0 };
        match slider.show(ui, axis, regions, height, value) {
            Some(MagnitudeChange::Set(value)) => cx.act(Action::SetMagnitude(value)),
            Some(MagnitudeChange::Scale(factor)) => cx.act(Action::ScaleMagnitude(factor)),
            Some(MagnitudeChange::Reset) => cx.act(Action::ResetMagnitude),
            None => {}
        }
    }

    fn refresh_norms(&mut self, cx: &PanelContext<'_>) {
        let Some(vocabulary) = &cx.workbench.vocabulary else {
            self.norms = None;
            return;
        };
        if self.norms.as_ref().is_none_or(|(of, _)| !Arc::ptr_eq(of, vocabulary)) {
            self.norms = cx.norms_curve().map(|curve| (Arc::clone(vocabulary), curve));
        }
    }
}

fn headline(ui: &mut Ui, cx: &mut PanelContext<'_>, value: f64, unit: MagnitudeUnit) {
    let palette = Palette::of(ui);
    let text = cx.text;
    let buttons_width = 2.0 * theme::CONTROL + 6.0;
    let row = ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 6.0;
        let labels_width = 78.0;
        let width = ui.available_width() - buttons_width - labels_width - 12.0;
        let field = Headline {
            name: text.type_magnitude,
            shown: format!("{}{}", format_magnitude(value), Axis::of(unit).unit),
            colour: palette.prefix_fill,
            width,
        };
        let entered = field.show(ui, |typed| parse_magnitude(typed, unit));
        ui.allocate_ui_with_layout(
            vec2(labels_width, theme::HERO.line),
            Layout::top_down(Align::Min),
            |ui| {
                ui.set_width(labels_width);
                ui.add_space(12.0);
                ui.spacing_mut().item_spacing.y = 0.0;
                ui.spacing_mut().interact_size.y = 16.0;
                let (name, other) = match unit {
                    MagnitudeUnit::TokenNorms => {
                        let raw = cx.workbench.magnitude_raw();
                        (text.token_norm, raw.map(|raw| (text.raw, format_magnitude(raw))))
                    }
                    MagnitudeUnit::Raw => {
                        let norms = cx.workbench.magnitude_norms();
                        (
                            text.raw_value,
                            norms.map(|norms| ("", format!("{}×", format_magnitude(norms)))),
                        )
                    }
                };
                ui.label(paint::words(name, theme::CAPTION, palette.text2));
                if let Some((label, figures)) = other {
                    ui.horizontal(|ui| {
                        ui.spacing_mut().item_spacing.x = 4.0;
                        if !label.is_empty() {
                            ui.label(paint::words(label, theme::CAPTION, palette.text2));
                        }
                        ui.label(paint::figures(figures, theme::CAPTION, palette.text));
                    });
                }
            },
        );
        if ui.add(IconButton::new(Icon::Minus, text.less).outlined()).clicked() {
            cx.act(Action::ScaleMagnitude(1.0 / STEP));
        }
        if ui.add(IconButton::new(Icon::Plus, text.more).outlined()).clicked() {
            cx.act(Action::ScaleMagnitude(STEP));
        }
        entered
    });
    let accepted = match unit {
        MagnitudeUnit::TokenNorms => Accepted::of(&(0.0..)),
        MagnitudeUnit::Raw => Accepted::of::<f64>(&(..)),
    };
    if let Some(value) = cx.entered(ui, row.inner, &accepted) {
        cx.act(Action::SetMagnitude(value));
    }
}

fn show_row_count(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = cx.text;
    // The field accepts more, up to `MAX_LEN`.
    let slider_max = cx.workbench.max_len() as u32;
    let len = cx.workbench.prefix.len as u32;
    let row = ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 8.0;
        ui.add(egui::Label::new(paint::words(text.vectors, theme::BODY, palette.text2)));
        let width = ui.available_width() - 56.0 - 8.0;
        let (rect, x) = slider::allocate(ui, width);
        let row_count = Slider {
            name: text.vectors,
            accessible_value: "",
            scale: Doublings { most: slider_max, x },
            steps: (1.0, 8.0),
            keys: true,
            colours: Colours::of_prefix(palette),
        };
        if let Some(len) = row_count.show(ui, rect, f64::from(len)) {
            cx.act(Action::SetLen(len.round() as usize));
        }
        let field = Field {
            name: text.type_vectors,
            shown: len.to_string(),
            width: 56.0,
        };
        field.show(ui, |typed| typed.parse::<usize>().ok().filter(|len| *len >= 1))
    });
    if let Some(len) = cx.entered(ui, row.inner, &Accepted::of(&(1_usize..))) {
        cx.act(Action::SetLen(len));
    }
    let len = cx.workbench.prefix.len;
    if let Some(rows) = cx.workbench.prefix.rows_repeated_to(len) {
        let words = (cx.prefix_text().file_repeats)(rows, len);
        ui.label(paint::words(words, theme::CAPTION, palette.text2));
    }
    ui.add_space(8.0);
    match cx.workbench.budget {
        Some(window_use) => budget::show(ui, text, &window_use),
        None if cx.workbench.module.is_ready() => {
            ui.label(paint::words(text.budget_unknown, theme::CAPTION, palette.text3));
        }
        None => {}
    }
}

/// Returns the magnitude to show; for unscaled rows, the magnitude that they have.
fn shown_magnitude(cx: &PanelContext<'_>) -> f64 {
    let form = &cx.workbench.prefix;
    let built = cx
        .workbench
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

/// Parses `2.9`, `2.9×`, `2.9x` or `1e-4`. Only a raw value may be negative.
fn parse_magnitude(typed: &str, unit: MagnitudeUnit) -> Option<f64> {
    let typed = typed.trim();
    decimal(typed.strip_suffix(['×', 'x', 'X']).unwrap_or(typed).trim())
        .filter(|value| *value >= 0.0 || unit == MagnitudeUnit::Raw)
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
    let current = cx.workbench.prefix.rounding;
    row(ui, text.rounding, &mut |ui| {
        if let Some(rounding) = select::select(ui, text.rounding, Some(&current), &roundings, "", 176.0) {
            cx.act(Action::SetRounding(rounding));
        }
    });
    if cx.workbench.vocabulary.is_none() && cx.workbench.module.is_ready() {
        ui.label(paint::words(text.unit_raw_only, theme::CAPTION, palette.text3));
        return;
    }
    let units = [
        (MagnitudeUnit::TokenNorms, text.unit_norms.to_owned()),
        (MagnitudeUnit::Raw, text.unit_raw.to_owned()),
    ];
    let current_unit = cx.workbench.prefix.unit;
    row(ui, text.unit, &mut |ui| {
        if let Some(unit) = select::select(ui, text.unit, Some(&current_unit), &units, "", 176.0) {
            cx.act(Action::SetMagnitudeUnit(unit));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_magnitude_may_be_typed_with_its_unit_or_with_a_comma() {
        for (typed, value) in [("2.9×", 2.9), ("2,9", 2.9), ("1e-4", 1e-4), (" 0 ", 0.0), ("3x", 3.0)] {
            assert_eq!(
                parse_magnitude(typed, MagnitudeUnit::TokenNorms),
                Some(value),
                "{typed}"
            );
        }
        for typed in ["", "-1", "NaN", "inf", "two", "3xx", "1,000"] {
            assert_eq!(parse_magnitude(typed, MagnitudeUnit::TokenNorms), None, "{typed}");
        }
    }

    #[test]
    fn a_raw_value_may_be_negative() {
        assert_eq!(parse_magnitude("-0.06", MagnitudeUnit::Raw), Some(-0.06));
        assert_eq!(parse_magnitude("-inf", MagnitudeUnit::Raw), None);
    }
}
