//! Saves plots and maps as figures: the same numbers as on screen, drawn by `core`.

use eframe::egui::{Popup, PopupCloseBehavior, Ui};
use softprefix_core::compare::Measure;
use softprefix_core::experiment::Series;
use softprefix_core::experiment::drawing::{Drawing, Paper};
use softprefix_core::experiment::svg::{Chart, Dot, Line, Map, MapCell};

use super::context::PanelContext;
use super::label;
use super::sweep::pictures::{self, Plotted};
use crate::figure::ImageFormat;
use crate::model::{Figure, MagnitudeUnit};
use crate::text::ScoringText;
use crate::theme::Palette;
use crate::views::axis::Regions;
use crate::views::heatmap::CellState;
use crate::views::icon::{Icon, IconButton};
use crate::views::select;
use crate::workbench::Action;

/// Draws a button whose menu saves the figure that `make` returns.
pub(super) fn menu(ui: &mut Ui, cx: &mut PanelContext<'_>, make: impl FnOnce(&PanelContext<'_>) -> Figure) {
    let name = ScoringText::of(cx.workbench.settings.language).save_figure;
    let button = ui.add(IconButton::new(Icon::Menu, name));
    Popup::menu(&button)
        .close_behavior(PopupCloseBehavior::CloseOnClick)
        .accessible_name(name)
        .show(|ui| items(ui, cx, make));
}

/// Draws the items of that menu, for a menu with other items.
pub(super) fn items(ui: &mut Ui, cx: &mut PanelContext<'_>, make: impl FnOnce(&PanelContext<'_>) -> Figure) {
    let words = ScoringText::of(cx.workbench.settings.language);
    if ui.min_rect().height() < 1.0 {
        select::as_wide_as(ui, ImageFormat::ALL.map(words.save_as));
    }
    let chosen = ImageFormat::ALL.into_iter().fold(None, |chosen, form| {
        let clicked = select::item(ui, (words.save_as)(form), false).clicked();
        if clicked { Some(form) } else { chosen }
    });
    if let Some(form) = chosen {
        let paper = if Palette::of(ui).dark {
            Paper::Dark
        } else {
            Paper::Light
        };
        let figure = make(cx);
        cx.act(Action::SaveFigure(Box::new(figure), form, paper));
    }
}

fn figure(stem: &str, drawing: Drawing) -> Figure {
    Figure {
        stem: stem.to_owned(),
        drawing,
    }
}

fn regimes(cx: &PanelContext<'_>, in_norms: bool) -> Vec<(f64, f64, String)> {
    let unit = if in_norms {
        MagnitudeUnit::TokenNorms
    } else {
        MagnitudeUnit::Raw
    };
    let Some(Regions { floor, over }) = cx.regions(unit) else {
        return Vec::new();
    };
    let names = cx.region_names();
    vec![
        (0.0, floor.0, names.floor.to_owned()),
        (floor.1, over.0, names.tokens.to_owned()),
        (over.1, f64::MAX, names.over.to_owned()),
    ]
}

fn x_label(cx: &PanelContext<'_>, in_norms: bool) -> String {
    if in_norms { cx.text.x_norms } else { cx.text.x_raw }.to_owned()
}

fn y_range(measure: Measure, top: f64) -> Option<(f64, f64)> {
    measure
        .full_scale()
        .or(Some(top).filter(|top| *top > 0.0))
        .map(|top| (0.0, top))
}

/// Returns the figure of the runs in the Tune view: one line for all prefixes that differ in their magnitude only.
pub(super) fn tune(cx: &PanelContext<'_>) -> Figure {
    let workbench = cx.workbench;
    let measure = workbench.measure;
    // One line per series, as on screen: points of different seeds or words are not connected.
    let mut lines: Vec<(&Series, Line)> = Vec::new();
    for (_, point) in workbench.tuning.points() {
        let value = point.measures.as_ref().and_then(|measures| measure.value(measures));
        let (Some(series), Some(value)) = (&point.series, value) else {
            continue;
        };
        let dot = Dot {
            magnitude: point.magnitude(),
            value,
            is_loop: workbench.tuning.is_loop(point),
            ..Dot::default()
        };
        match lines.iter_mut().find(|(known, _)| *known == series) {
            Some((_, line)) => line.points.push(dot),
            None => {
                let label = series.label.clone();
                lines.push((
                    series,
                    Line {
                        label,
                        points: vec![dot],
                    },
                ));
            }
        }
    }
    for (_, line) in &mut lines {
        line.points.sort_by(|a, b| a.magnitude.total_cmp(&b.magnitude));
    }
    let in_norms = cx.plot_in_norms();
    let band = match workbench.tuning.noise_floor(measure) {
        Some(floor) if measure.is_similarity() => {
            let top = measure.full_scale().unwrap_or(floor);
            Some((floor, top, cx.text.noise.to_owned()))
        }
        _ => None,
    };
    let chart = Chart {
        title: (cx.text.measures)(measure).to_owned(),
        x_label: x_label(cx, in_norms),
        lines: lines.into_iter().map(|(_, line)| line).collect(),
        band,
        y_range: measure.full_scale().map(|top| (0.0, top)),
        regimes: regimes(cx, in_norms),
    };
    figure(&format!("tune-{}", measure.id()), chart.drawing())
}

/// The lines of a sweep; `is_mean`: over all of its prompts.
pub(super) fn lines(cx: &PanelContext<'_>, plotted: &Plotted, is_mean: bool) -> Figure {
    let measure = cx.workbench.measure;
    let band = match (measure.full_scale(), plotted.noise) {
        (Some(top), Some(floor)) if measure.is_similarity() => Some((floor, top, cx.text.noise.to_owned())),
        _ => None,
    };
    let of = match is_mean {
        true => cx.sweep_text().all_prompts.to_owned(),
        false => prompt_name(cx),
    };
    let chart = Chart {
        title: format!("{of} · {}", (cx.text.measures)(measure)),
        x_label: x_label(cx, plotted.norms),
        lines: plotted
            .curves
            .iter()
            .map(|curve| Line {
                label: curve.label.clone(),
                points: curve
                    .spots
                    .iter()
                    .map(|spot| Dot {
                        magnitude: spot.x,
                        value: spot.y,
                        is_loop: spot.collapsed,
                        spread: spot.spread,
                        ..Dot::default()
                    })
                    .collect(),
            })
            .collect(),
        band,
        y_range: y_range(measure, plotted.top),
        regimes: regimes(cx, plotted.norms),
    };
    figure(&format!("sweep-{}", measure.id()), chart.drawing())
}

/// Returns the figure of a sweep's map.
pub(super) fn map(cx: &PanelContext<'_>, map: &pictures::Map) -> Figure {
    let measure = cx.workbench.measure;
    let cell = |cell: &crate::views::heatmap::Cell| match cell.state {
        CellState::Waiting | CellState::Running => None,
        state => Some(MapCell {
            words: cell.words.clone(),
            share: cell.nearness.map(f64::from),
            is_crossed: state != CellState::Done,
        }),
    };
    let map = Map {
        title: format!("{} · {}", prompt_name(cx), (cx.text.measures)(measure)),
        x_label: x_label(cx, cx.workbench.sweep_unit() == MagnitudeUnit::TokenNorms),
        rows: map.rows.clone(),
        columns: map.columns.clone(),
        cells: map.cells.iter().map(cell).collect(),
        zero_first: map.zero_first,
        ends: map.ends.clone(),
    };
    figure(&format!("map-{}", measure.id()), map.drawing())
}

fn prompt_name(cx: &PanelContext<'_>) -> String {
    let Some(prompt) = cx.workbench.sweep.shown_prompt() else {
        return String::new();
    };
    label::prompt(cx, prompt)
}
