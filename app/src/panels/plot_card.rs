//! The similarity of every run to the baseline, over magnitude, under one sentence that says what it means.

use eframe::egui::{self, Align, Label, Layout, Popup, PopupCloseBehavior, Rect, Sense, Ui, UiBuilder, vec2};
use softprefix_core::compare::Measure;
use softprefix_core::prefix::PrefixRecipe;

use super::desk::Desk;
use super::figure;
use crate::model::{Applied, MagnitudeUnit, Noise, Run, RunId};
use crate::theme::{self, Palette};
use crate::views::button::Button;
use crate::views::chip::Chip;
use crate::views::icon::{Icon, IconButton};
use crate::views::plot::{Current, Noise as NoiseBand, Plot, Point, round_top};
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
        let bench = desk.bench;
        let touched = self.with_plot(desk, |plot| {
            plot.show(ui, size, |id| {
                bench.run(RunId(id)).map_or(String::new(), |run| describe(desk, run))
            })
        });
        if let Some(id) = touched.opened {
            desk.act(Action::SelectRun(Some(RunId(id))));
        }
    }

    /// Makes the plot of the shown case and hands it to `show`.
    pub(super) fn with_plot<R>(&mut self, desk: &Desk<'_>, show: impl FnOnce(&Plot<'_>) -> R) -> R {
        let text = desk.text;
        let bench = desk.bench;
        let measure = bench.measure;
        let recipe = bench.prefix.recipe();
        self.points.clear();
        self.points.extend(bench.visible_runs().filter_map(|run| {
            Some(Point {
                id: run.id.0,
                x: run.magnitude()?,
                y: measure.value(&run.measures)?,
                collapsed: run.collapsed,
                joined: same_but_size(&run.origin.recipe, &recipe),
            })
        }));
        self.points.sort_by(|a, b| a.x.total_cmp(&b.x).then(a.id.cmp(&b.id)));
        let most = self.points.iter().map(|point| point.y).fold(0.0, f64::max);
        let top = measure.full_scale().unwrap_or_else(|| round_top(most));
        let axis = desk.plot_axis();
        let collapse = bench.collapse_from().filter(|x| *x > 0.0);
        let collapse_words = collapse.map(|x| (text.collapsed_above)(&desk.plot_magnitude(x)));
        let noise = match (measure.full_scale(), bench.noise().floor(measure)) {
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
            selected: bench.selected.map(|id| id.0),
            empty: text.plot_empty,
        };
        show(&plot)
    }
}

/// Whether two recipes differ in nothing but their magnitude: then a line may join their points.
fn same_but_size(a: &PrefixRecipe, b: &PrefixRecipe) -> bool {
    a.kind == b.kind && a.len == b.len && a.rounding == b.rounding
}

/// The prefix in hand: its place on the axis, and the run that was made of exactly it.
fn current(desk: &Desk<'_>, recipe: &PrefixRecipe) -> Option<Current> {
    let bench = desk.bench;
    let run = bench.visible_runs().filter(|run| run.origin.recipe == *recipe).last();
    let x = match run {
        Some(run) => run.magnitude(),
        None => desk.plot_magnitude_in_hand(),
    }?;
    let y = run.and_then(|run| bench.measure.value(&run.measures));
    let tag = match y {
        Some(y) => format!(
            "{} · {} {}",
            desk.plot_magnitude(x),
            (desk.text.measures)(bench.measure),
            figures(bench.measure, Some(y))
        ),
        None => String::new(),
    };
    Some(Current { x, y, tag })
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
fn made_with(desk: &Desk<'_>, run: &Run) -> String {
    use softprefix_core::prefix::PrefixKind;

    use crate::model::KindChoice;
    let text = desk.text;
    let kind = match &run.origin.recipe.kind {
        PrefixKind::Constant => (text.kinds)(KindChoice::Constant).to_owned(),
        PrefixKind::RandomUniform { seed, .. } => format!("{} {seed}", (text.kinds)(KindChoice::RandomUniform)),
        PrefixKind::RandomNormal { seed, .. } => format!("{} {seed}", (text.kinds)(KindChoice::RandomNormal)),
        PrefixKind::Words { text: words } => format!("“{words}”"),
        _ => text.prefix.to_owned(),
    };
    let size = run
        .magnitude()
        .map(|x| desk.plot_magnitude(x) + text.comma)
        .unwrap_or_default();
    format!("{size}P {}{}{kind}", run.len, text.comma)
}

fn describe(desk: &Desk<'_>, run: &Run) -> String {
    let values: Vec<_> = CHIPS
        .iter()
        .map(|measure| {
            format!(
                "{} {}",
                (desk.text.measures)(*measure),
                figures(*measure, measure.value(&run.measures))
            )
        })
        .collect();
    let mut beginning: String = run.text.chars().take(60).collect();
    if beginning.len() < run.text.len() {
        beginning.push('…');
    }
    format!(
        "{}\n{}\n{}",
        made_with(desk, run),
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
    if desk.bench.visible_runs().next().is_some() {
        let menu = right.add(IconButton::new(Icon::Menu, text.plot_menu));
        Popup::menu(&menu)
            .close_behavior(PopupCloseBehavior::CloseOnClick)
            .accessible_name(text.plot_menu)
            .show(|ui| menu_items(ui, desk));
        left_end = menu.rect.left();
    }
    if let Some(id) = desk.bench.selected {
        if right.add(Button::quiet(text.back_to_last).small()).clicked() {
            desk.act(Action::SelectRun(None));
        }
        let response = right.add(Button::outlined(text.use_settings).small().height(28.0));
        if response.clicked() {
            desk.act(Action::AdoptRun(id));
        }
        left_end = response.rect.left();
    }
    let room = Rect::from_min_max(rect.min, egui::pos2(left_end - 12.0, rect.bottom()));
    let mut left = ui.new_child(
        UiBuilder::new()
            .max_rect(room)
            .layout(Layout::left_to_right(Align::Center)),
    );
    let words = match desk.bench.selected.and_then(|id| desk.bench.run(id)) {
        Some(run) => format!(
            "{}  {}",
            (text.shown_run)(&made_with(desk, run)),
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
    if let Some(run) = desk.bench.current_run() {
        if select::item(ui, text.use_settings, false).clicked() {
            desk.act(Action::AdoptRun(run.id));
        }
        if select::item(ui, text.remove_point, false).clicked() {
            desk.act(Action::RemoveRun(run.id));
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
    if bench.is_running() && bench.selected.is_none() {
        // What has arrived speaks, not the run before.
        return parting.map_or_else(|| text.verdict_running.to_owned(), text.verdict_parts);
    }
    let Some(run) = bench.current_run() else {
        return if bench.module.is_ready() {
            text.verdict_begin
        } else {
            text.verdict_connect
        }
        .to_owned();
    };
    if run.measures.is_same() {
        return if run.applied == Applied::Doubtful {
            text.verdict_ignored
        } else {
            text.verdict_same
        }
        .to_owned();
    }
    if let Some(x) = run.magnitude().filter(|_| run.collapsed) {
        return (text.verdict_collapsed)(&desk.plot_magnitude(x));
    }
    if let Noise::Floor(noise) = bench.noise()
        && run.measures.chrf2 >= noise.chrf2
    {
        return text.verdict_noise.to_owned();
    }
    let character = run.measures.first_divergence.graphemes + 1;
    // A run that was opened again has its own name beside the sentence; the series' fate is not its.
    match bench.collapse_from().filter(|x| *x > 0.0 && bench.selected.is_none()) {
        Some(x) => (text.verdict_parts_collapse)(character, &desk.plot_magnitude(x)),
        None => (text.verdict_parts)(character),
    }
}

fn chip_row(ui: &mut Ui, desk: &mut Desk<'_>) {
    let palette = Palette::of(ui);
    let text = desk.text;
    let bench = desk.bench;
    let run = bench.current_run();
    let outdated = bench.selected.is_none() && run.is_some_and(|run| run.origin.recipe != bench.prefix.recipe());
    let value = |measure: Measure| figures(measure, run.and_then(|run| measure.value(&run.measures)));
    let count = bench.visible_runs().count();
    let mut remark = (text.points)(count);
    if *bench.noise() == Noise::Deterministic {
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
