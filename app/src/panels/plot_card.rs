//! The similarity of every run to the baseline, over magnitude, under one sentence that says what it means.

use eframe::egui::{self, Align, Label, Layout, Popup, PopupCloseBehavior, Rect, Sense, Ui, UiBuilder, vec2};
use softprefix_core::compare::{Measure, Verdict};
use softprefix_core::experiment::{Applied, Group, Record, analysis};
use softprefix_core::prefix::{Magnitude, PrefixRecipe};

use super::desk::Desk;
use super::figure;
use crate::model::MagnitudeUnit;
use crate::theme::{self, Palette};
use crate::views::button::Button;
use crate::views::chip::Chip;
use crate::views::icon::{Icon, IconButton};
use crate::views::magnitude::Moved;
use crate::views::plot::{Current, Noise as NoiseBand, Plot, Point, Touched, View, round_top};
use crate::views::{paint, select};
use crate::workbench::Action;

/// The measures that have a chip; the others are in the menu beside them.
const CHIPS: [Measure; 6] = [
    Measure::Chrf2,
    Measure::Indel,
    Measure::Difflib,
    Measure::FirstDivergence,
    Measure::Distinct4,
    Measure::Length,
];

/// What the plot's card keeps between frames.
#[derive(Default)]
pub struct PlotCard {
    points: Vec<Point>,
}

impl PlotCard {
    /// `parting` is where the texts part that are shown, also while they arrive.
    pub fn show(&mut self, ui: &mut Ui, desk: &mut Desk<'_>, height: f32, parting: Option<usize>) {
        let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
        let palette = Palette::of(ui);
        let radius = egui::CornerRadius::same(theme::RADIUS_CARD);
        let outline = egui::Stroke::new(1.0, palette.line);
        ui.painter()
            .rect(rect, radius, palette.panel, outline, egui::StrokeKind::Inside);
        let inner = rect.shrink2(vec2(theme::PADDING, 12.0));
        let mut child = ui.new_child(UiBuilder::new().id_salt("plot card").max_rect(inner));
        let ui = &mut child;
        ui.spacing_mut().item_spacing.y = 0.0;
        title_row(ui, desk, parting);
        ui.add_space(8.0);
        chip_row(ui, desk);
        ui.add_space(8.0);
        let size = vec2(inner.width(), (inner.bottom() - ui.cursor().top()).max(120.0));
        self.plot(ui, desk, size);
    }

    fn plot(&mut self, ui: &mut Ui, desk: &mut Desk<'_>, size: egui::Vec2) {
        let touched = self.with_plot(desk, |plot| plot.show(ui, size, |id| describe_point(desk, id)));
        self::touched(desk, touched);
    }

    /// Makes the plot of the shown case and hands it to `show`.
    pub(super) fn with_plot<R>(&mut self, desk: &Desk<'_>, show: impl FnOnce(&Plot<'_>) -> R) -> R {
        let text = desk.text;
        let bench = desk.bench;
        let measure = bench.measure;
        let recipe = bench.prefix.recipe();
        self.points.clear();
        self.points.extend(bench.tuning.points().filter_map(|(record, point)| {
            Some(Point {
                id: record.case.index as u64,
                x: point.magnitude(),
                y: measure.value(point.measures.as_ref()?)?,
                collapsed: bench.tuning.is_loop(point),
                joined: same_but_size(record.case.recipe.as_ref()?, &recipe),
            })
        }));
        self.points.sort_by(|a, b| a.x.total_cmp(&b.x).then(a.id.cmp(&b.id)));
        let most = self.points.iter().map(|point| point.y).fold(0.0, f64::max);
        let top = measure.full_scale().unwrap_or_else(|| round_top(most));
        let axis = desk.plot_axis();
        let collapse = bench.tuning.collapse_from().filter(|x| *x > 0.0);
        let collapse_words = collapse.map(|x| (text.collapsed_above)(&desk.plot_magnitude(x)));
        let noise = match (measure.full_scale(), bench.tuning.noise_floor(measure)) {
            (Some(top), Some(floor)) if measure.is_similarity() => Some(NoiseBand {
                from: floor,
                to: top,
                words: text.noise,
            }),
            _ => None,
        };
        let unit = if desk.in_norms() {
            MagnitudeUnit::TokenNorms
        } else {
            MagnitudeUnit::Raw
        };
        let plot = Plot {
            name: text.plot,
            axis,
            regions: desk.regions(unit).map(|regions| (regions, desk.region_names())),
            points: &self.points,
            top,
            y_label: (text.measures)(measure),
            x_label: if desk.in_norms() { text.x_norms } else { text.x_raw },
            noise,
            collapse: collapse.zip(collapse_words.as_deref()),
            current: current(desk, &recipe),
            selected: bench
                .tuning
                .selected
                .as_ref()
                .and_then(|id| bench.tuning.record(id))
                .map(|record| record.case.index as u64),
            empty: text.plot_empty,
        };
        show(&plot)
    }
}

/// The record and the point that the plot knows by a number: its record's place in the session.
fn point_of<'d>(desk: &Desk<'d>, id: u64) -> Option<(&'d Record, &'d analysis::Point)> {
    let bench = desk.bench;
    bench.tuning.points().find(|(record, _)| record.case.index as u64 == id)
}

/// The point that the plot knows by a number, in words.
pub(super) fn describe_point(desk: &Desk<'_>, id: u64) -> String {
    point_of(desk, id).map_or(String::new(), |(record, point)| describe(desk, record, point))
}

/// Does what the person asked of the plot.
pub(super) fn touched(desk: &mut Desk<'_>, touched: Touched) {
    let opened = touched.opened.and_then(|id| point_of(desk, id));
    if let Some(id) = opened.map(|(record, _)| record.id.clone()) {
        desk.act(Action::SelectRun(Some(id)));
    }
    match touched.moved {
        Some(Moved::To(value)) => desk.act(Action::SetMagnitude(desk.magnitude_of_plot(value))),
        Some(Moved::By(factor)) => desk.act(Action::ScaleMagnitude(factor)),
        Some(Moved::ToOne) => desk.act(Action::ResetMagnitude),
        None => {}
    }
}

/// The visible part of the plot of runs.
pub(super) fn view(desk: &Desk<'_>) -> View {
    View::of(
        desk.text.plot,
        (desk.text.measures)(desk.bench.measure),
        desk.plot_axis(),
    )
}

/// Whether two recipes differ in nothing but their magnitude: then a line may join their points.
fn same_but_size(a: &PrefixRecipe, b: &PrefixRecipe) -> bool {
    a.kind == b.kind && a.len == b.len && a.rounding == b.rounding
}

/// The prefix in hand: its place on the axis, and the run that was made of exactly it.
fn current(desk: &Desk<'_>, recipe: &PrefixRecipe) -> Option<Current> {
    let bench = desk.bench;
    let of_recipe = |(record, _): &(&Record, &analysis::Point)| record.case.recipe.as_ref() == Some(recipe);
    let made = bench.tuning.points().rfind(of_recipe);
    let x = match made {
        Some((_, point)) => Some(point.magnitude()),
        None => desk.plot_magnitude_in_hand(),
    }?;
    let y = made.and_then(|(_, point)| bench.measure.value(point.measures.as_ref()?));
    let tag = match y {
        Some(y) => format!(
            "{} · {} {}",
            desk.plot_magnitude(x),
            (desk.text.measures)(bench.measure),
            figures(bench.measure, Some(y))
        ),
        None => String::new(),
    };
    let movable = recipe.magnitude != Magnitude::Unscaled;
    Some(Current { x, y, tag, movable })
}

/// A measure's value as it is written everywhere.
fn figures(measure: Measure, value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) => match measure {
            Measure::Chrf2 => format!("{value:.1}"),
            Measure::FirstDivergence | Measure::Length => format!("{value:.0}"),
            Measure::KlMean => super::deep::nats(value),
            Measure::Perplexity => super::deep::factor(value),
            _ => format!("{value:.2}"),
        },
    }
}

/// What a run was made with: `2.9×, P 4, Constant`.
fn made_with(desk: &Desk<'_>, record: &Record, point: &analysis::Point) -> String {
    use softprefix_core::prefix::PrefixKind;

    use crate::model::KindChoice;
    let text = desk.text;
    let Some(recipe) = &record.case.recipe else {
        return text.baseline.to_owned();
    };
    let kind = match &recipe.kind {
        PrefixKind::Constant => (text.kinds)(KindChoice::Constant).to_owned(),
        PrefixKind::RandomUniform { seed, .. } => format!("{} {seed}", (text.kinds)(KindChoice::RandomUniform)),
        PrefixKind::RandomNormal { seed, .. } => format!("{} {seed}", (text.kinds)(KindChoice::RandomNormal)),
        PrefixKind::Words { text: words } => format!("“{words}”"),
        _ => text.prefix.to_owned(),
    };
    let size = desk.plot_magnitude(point.magnitude()) + text.comma;
    format!("{size}P {}{}{kind}", recipe.len, text.comma)
}

fn describe(desk: &Desk<'_>, record: &Record, point: &analysis::Point) -> String {
    let values: Vec<_> = CHIPS
        .iter()
        .map(|measure| {
            format!(
                "{} {}",
                (desk.text.measures)(*measure),
                figures(
                    *measure,
                    point.measures.as_ref().and_then(|measures| measure.value(measures))
                )
            )
        })
        .collect();
    let mut beginning: String = record.output().chars().take(60).collect();
    if beginning.len() < record.output().len() {
        beginning.push('…');
    }
    format!(
        "{}\n{}\n{}",
        made_with(desk, record, point),
        values.join(" · "),
        beginning.replace('\n', " ")
    )
}

fn title_row(ui: &mut Ui, desk: &mut Desk<'_>, parting: Option<usize>) {
    let palette = Palette::of(ui);
    let text = desk.text;
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), theme::CONTROL), Sense::hover());
    let mut right = ui.new_child(
        UiBuilder::new()
            .max_rect(rect)
            .layout(Layout::right_to_left(Align::Center)),
    );
    right.spacing_mut().item_spacing.x = 4.0;
    let mut left_end = rect.right();
    if desk.bench.tuning.points().next().is_some() {
        let menu = right.add(IconButton::new(Icon::Menu, text.plot_menu));
        Popup::menu(&menu)
            .close_behavior(PopupCloseBehavior::CloseOnClick)
            .accessible_name(text.plot_menu)
            .show(|ui| menu_items(ui, desk));
        left_end = menu.rect.left();
    }
    if let Some(id) = desk.bench.tuning.selected.clone() {
        if right.add(Button::quiet(text.back_to_last).small()).clicked() {
            desk.act(Action::SelectRun(None));
        }
        let response = right.add(Button::outlined(text.use_settings).small().height(28.0));
        if response.clicked() {
            desk.act(Action::AdoptRun(id));
        }
        left_end = response.rect.left();
    }
    desk.zoomed(&mut right, view(desk));
    left_end = left_end.min(right.min_rect().left());
    let room = Rect::from_min_max(rect.min, egui::pos2(left_end - 12.0, rect.bottom()));
    let mut left = ui.new_child(
        UiBuilder::new()
            .max_rect(room)
            .layout(Layout::left_to_right(Align::Center)),
    );
    let opened = desk
        .bench
        .tuning
        .current()
        .filter(|_| desk.bench.tuning.selected.is_some());
    let words = match opened {
        Some((record, point)) => format!(
            "{}  {}",
            (text.shown_run)(&made_with(desk, record, point)),
            verdict(desk, parting)
        ),
        None => verdict(desk, parting),
    };
    // A sentence that does not fit is set smaller before it is cut.
    let large = paint::line_of_text(&left, &words, theme::VERDICT.semibold(), palette.text);
    let kind = if large.size().x <= room.width() {
        theme::VERDICT
    } else {
        theme::NAME
    };
    let galley = paint::cut_to(&left, &words, kind.semibold(), palette.text, room.width());
    let cut = galley.elided;
    let response = left.add(Label::new(galley));
    if cut {
        response.on_hover_text(words);
    }
}

fn menu_items(ui: &mut Ui, desk: &mut Desk<'_>) {
    let text = desk.text;
    ui.set_min_width(240.0);
    if let Some(id) = desk.bench.tuning.current().map(|(record, _)| record.id.clone()) {
        if select::item(ui, text.use_settings, false).clicked() {
            desk.act(Action::AdoptRun(id.clone()));
        }
        if select::item(ui, text.remove_point, false).clicked() {
            desk.act(Action::RemoveRun(id));
        }
    }
    if select::item(ui, text.clear_points, false).clicked() {
        desk.act(Action::ClearRuns);
    }
    figure::items(ui, desk, figure::tune);
}

/// One sentence: what the output that is shown says about the prefix.
fn verdict(desk: &Desk<'_>, parting: Option<usize>) -> String {
    let text = desk.text;
    let bench = desk.bench;
    if bench.is_running() && bench.tuning.selected.is_none() {
        // What has arrived speaks, not the run before.
        return parting.map_or_else(|| text.verdict_running.to_owned(), text.verdict_parts);
    }
    let shown = bench.tuning.current().zip(bench.tuning.group());
    let Some(((_, point), group)) = shown else {
        return if bench.module.is_ready() {
            text.verdict_begin
        } else {
            text.verdict_connect
        }
        .to_owned();
    };
    let Some(measures) = &point.measures else {
        return text.verdict_running.to_owned();
    };
    match group.verdict(point) {
        Verdict::Same if group.applied(point) == Applied::Doubtful => return text.verdict_ignored.to_owned(),
        Verdict::Same => return text.verdict_same.to_owned(),
        Verdict::Loop => return (text.verdict_collapsed)(&desk.plot_magnitude(point.magnitude())),
        Verdict::InsideNoise => return text.verdict_noise.to_owned(),
        _ => {}
    }
    let character = measures.first_divergence.graphemes + 1;
    // A run that was opened again has its own name beside the sentence; the series' fate is not its.
    let collapse = bench.tuning.collapse_from().filter(|x| *x > 0.0);
    match collapse.filter(|_| bench.tuning.selected.is_none()) {
        Some(x) => (text.verdict_parts_collapse)(character, &desk.plot_magnitude(x)),
        None => (text.verdict_parts)(character),
    }
}

fn chip_row(ui: &mut Ui, desk: &mut Desk<'_>) {
    let palette = Palette::of(ui);
    let text = desk.text;
    let bench = desk.bench;
    let current = bench.tuning.current();
    let recipe = bench.prefix.recipe();
    let outdated = bench.tuning.selected.is_none()
        && current.is_some_and(|(record, _)| record.case.recipe.as_ref() != Some(&recipe));
    let value = |measure: Measure| {
        let measures = current.and_then(|(_, point)| point.measures.as_ref());
        figures(measure, measures.and_then(|measures| measure.value(measures)))
    };
    let count = bench.tuning.points().count();
    let mut remark = (text.points)(count);
    if bench.tuning.group().is_some_and(Group::is_deterministic) {
        remark = format!("{remark}  ·  {}", text.noise_none);
    }
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), theme::CONTROL), Sense::hover());
    let remark = paint::line_of_text(ui, &remark, theme::CAPTION.regular(), palette.text3);
    let mut row = ui.new_child(
        UiBuilder::new()
            .max_rect(rect)
            .layout(Layout::left_to_right(Align::Center)),
    );
    let mut shown: Vec<Measure> = CHIPS.to_vec();
    if !shown.contains(&bench.measure) {
        shown.insert(1, bench.measure);
    }
    // As many chips as there is room for beside the menu; the one that is on is always among them.
    let menu = Button::quiet(text.more_measures).trailing(Icon::ChevronDown).small();
    let menu_width = menu.measure(ui);
    let width_of = |ui: &Ui, measure: Measure| {
        let name = paint::line_of_text(ui, (text.measures)(measure), theme::BODY.semibold(), palette.text);
        let figures = paint::line_of_text(ui, "100.0", theme::BODY.mono(), palette.text);
        name.size().x + figures.size().x + 27.0 + 8.0
    };
    let on = shown.iter().position(|measure| *measure == bench.measure).unwrap_or(0);
    let mut room = rect.width() - menu_width - width_of(ui, bench.measure);
    let mut fits = vec![false; shown.len()];
    fits[on] = true;
    for (index, measure) in shown.iter().enumerate() {
        if index == on {
            continue;
        }
        let width = width_of(ui, *measure);
        if room < width {
            break;
        }
        room -= width;
        fits[index] = true;
    }
    for (measure, _) in shown.iter().zip(&fits).filter(|(_, fits)| **fits) {
        let figures = value(*measure);
        let chip = Chip::new((text.measures)(*measure), &figures, *measure == bench.measure).outdated(outdated);
        if row.add(chip).on_hover_text((text.measure_about)(*measure)).clicked() {
            desk.act(Action::SetMeasure(*measure));
        }
    }
    let response = row.add(menu);
    Popup::menu(&response)
        .close_behavior(PopupCloseBehavior::CloseOnClick)
        .accessible_name(text.measure)
        .show(|ui| {
            ui.set_min_width(260.0);
            for measure in Measure::ALL {
                let words = format!("{}   {}", (text.measures)(measure), value(measure));
                let response = select::item(ui, &words, measure == bench.measure);
                if response.on_hover_text((text.measure_about)(measure)).clicked() {
                    desk.act(Action::SetMeasure(measure));
                }
            }
        });
    if count > 0 && rect.right() - response.rect.right() > remark.size().x + 16.0 {
        paint::place(ui.painter(), rect.right_center(), egui::Align2::RIGHT_CENTER, remark);
    }
}
