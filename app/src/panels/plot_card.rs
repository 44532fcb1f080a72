//! The plot of all runs' similarity to the baseline over magnitude, below a verdict in one sentence.

use eframe::egui::{self, Align, Label, Layout, Popup, PopupCloseBehavior, Rect, Sense, Ui, UiBuilder, vec2};
use softprefix_core::compare::{Measure, Verdict};
use softprefix_core::experiment::{Applied, Group, Record, analysis};
use softprefix_core::prefix::{Magnitude, PrefixRecipe};

use super::context::PanelContext;
use super::label::{self, figures};
use super::{figure, runs};
use crate::model::{FirstDifference, MagnitudeUnit, Unavailable, Unit, beginning};
use crate::theme::{self, Palette};
use crate::views::button::Button;
use crate::views::chip::Chip;
use crate::views::icon::{Icon, IconButton};
use crate::views::magnitude::MagnitudeChange;
use crate::views::plot::{Current, NoiseBand, Plot, Point, Second, Touched, View, round_top};
use crate::views::segmented::segmented;
use crate::views::{paint, select};
use crate::workbench::Action;

/// The measures with a chip; the others are in the menu beside them.
const CHIPS: [Measure; 7] = [
    Measure::Chrf2,
    Measure::Indel,
    Measure::KlMean,
    Measure::Difflib,
    Measure::FirstDivergence,
    Measure::Distinct4,
    Measure::Length,
];

/// Minimum number of chips beside the verdict, which is shortened to make room for them.
const LEAST_CHIPS: usize = 3;

/// What the plot's card keeps between frames.
#[derive(Default)]
pub struct PlotCard {
    points: Vec<Point>,
    /// Mean KL over magnitude, of the scored points.
    kl: Vec<(f64, f64)>,
    runs: runs::RunsTable,
}

impl PlotCard {
    /// `first_difference` is the first difference of the shown texts, also while they arrive.
    pub fn show(
        &mut self,
        ui: &mut Ui,
        cx: &mut PanelContext<'_>,
        height: f32,
        first_difference: Option<FirstDifference>,
    ) {
        let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
        let palette = Palette::of(ui);
        let radius = egui::CornerRadius::same(theme::RADIUS_CARD);
        let outline = egui::Stroke::new(1.0, palette.line);
        ui.painter()
            .rect(rect, radius, palette.panel, outline, egui::StrokeKind::Inside);
        let inner = rect.shrink2(vec2(theme::PADDING, 8.0));
        let mut child = ui.new_child(UiBuilder::new().id_salt("plot card").max_rect(inner));
        let ui = &mut child;
        ui.spacing_mut().item_spacing.y = 0.0;
        head(ui, cx, first_difference);
        ui.add_space(6.0);
        if cx.workbench.runs_shown {
            self.runs.show(ui, cx);
            return;
        }
        let size = vec2(inner.width(), (inner.bottom() - ui.cursor().top()).max(120.0));
        self.plot(ui, cx, size);
    }

    fn plot(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>, size: egui::Vec2) {
        let touched = self.with_plot(cx, |plot| plot.show(ui, size, |id| describe_point(cx, id)));
        self::touched(cx, touched);
    }

    /// Builds the plot of the shown case and passes it to `show`.
    pub(super) fn with_plot<R>(&mut self, cx: &PanelContext<'_>, show: impl FnOnce(&Plot<'_>) -> R) -> R {
        let text = cx.text;
        let workbench = cx.workbench;
        let measure = workbench.measure;
        let recipe = workbench.prefix.recipe();
        self.points.clear();
        let shown = workbench.tuning.plotted();
        self.points.extend(shown.iter().filter_map(|(record, point)| {
            Some(Point {
                id: record.case.index as u64,
                x: point.magnitude(),
                y: measure.value(point.measures.as_ref()?)?,
                collapsed: workbench.tuning.is_loop(point),
                joined: record.case.recipe.as_ref()?.same_except_magnitude(&recipe),
            })
        }));
        self.kl.clear();
        self.kl.extend(shown.iter().filter_map(|(record, point)| {
            let kl = Measure::KlMean.value(point.measures.as_ref()?)?;
            record
                .case
                .recipe
                .as_ref()?
                .same_except_magnitude(&recipe)
                .then_some((point.magnitude(), kl))
        }));
        self.kl.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.points.sort_by(|a, b| a.x.total_cmp(&b.x).then(a.id.cmp(&b.id)));
        let most = self.points.iter().map(|point| point.y).fold(0.0, f64::max);
        let top = measure.full_scale().unwrap_or_else(|| round_top(most));
        let axis = cx.plot_axis();
        let collapse = workbench.tuning.collapse_from().filter(|x| *x > 0.0);
        let collapse_words = collapse.map(|x| (text.collapsed_above)(&cx.format_plot_magnitude(x)));
        let noise = match (measure.full_scale(), workbench.tuning.noise_floor(measure)) {
            (Some(top), Some(floor)) if measure.is_similarity() => Some(NoiseBand {
                from: floor,
                to: top,
                words: text.noise,
            }),
            _ => None,
        };
        let unit = if cx.plot_in_norms() {
            MagnitudeUnit::TokenNorms
        } else {
            MagnitudeUnit::Raw
        };
        let plot = Plot {
            name: text.plot,
            axis,
            regions: cx.regions(unit).map(|regions| (regions, cx.region_names())),
            points: &self.points,
            top,
            y_label: (text.measures)(measure),
            x_label: if cx.plot_in_norms() { text.x_norms } else { text.x_raw },
            noise,
            collapse: collapse.zip(collapse_words.as_deref()),
            current: current(cx, &recipe),
            second: (self.kl.len() > 1).then_some(Second {
                points: &self.kl,
                label: text.kl_axis,
            }),
            selected: workbench
                .tuning
                .selected_record
                .as_ref()
                .and_then(|id| workbench.tuning.record(id))
                .map(|record| record.case.index as u64),
            empty: text.plot_empty,
        };
        show(&plot)
    }
}

/// Returns record and point by the plot's id, which is the record's index in the session.
fn point_of<'d>(cx: &PanelContext<'d>, id: u64) -> Option<(&'d Record, &'d analysis::Point)> {
    let mut shown = cx.workbench.tuning.plotted().into_iter();
    shown.find(|(record, _)| record.case.index as u64 == id)
}

/// Returns the description of a point by the plot's id.
pub(super) fn describe_point(cx: &PanelContext<'_>, id: u64) -> String {
    point_of(cx, id).map_or(String::new(), |(record, point)| describe(cx, record, point))
}

/// Handles the response of the plot.
pub(super) fn touched(cx: &mut PanelContext<'_>, touched: Touched) {
    let opened = touched.opened.and_then(|id| point_of(cx, id));
    if let Some(id) = opened.map(|(record, _)| record.id.clone()) {
        cx.act(Action::SelectRun(Some(id)));
    }
    match touched.moved {
        Some(MagnitudeChange::Set(value)) => cx.act(Action::SetMagnitude(cx.plot_to_controls(value))),
        Some(MagnitudeChange::Scale(factor)) => cx.act(Action::ScaleMagnitude(factor)),
        Some(MagnitudeChange::Reset) => cx.act(Action::ResetMagnitude),
        None => {}
    }
}

/// Returns the visible part of the plot of runs.
pub(super) fn view(cx: &PanelContext<'_>) -> View {
    View::of(cx.text.plot, (cx.text.measures)(cx.workbench.measure), cx.plot_axis())
}

/// Returns the current prefix: its position on the axis, and the run with exactly this prefix.
fn current(cx: &PanelContext<'_>, recipe: &PrefixRecipe) -> Option<Current> {
    let workbench = cx.workbench;
    let of_recipe = |(record, _): &(&Record, &analysis::Point)| record.case.recipe.as_ref() == Some(recipe);
    let made = workbench.tuning.points().rfind(of_recipe);
    let x = match made {
        Some((_, point)) => Some(point.magnitude()),
        None => cx.current_plot_magnitude(),
    }?;
    let y = made.and_then(|(_, point)| workbench.measure.value(point.measures.as_ref()?));
    let tag = match y {
        Some(y) => format!(
            "{} · {} {}",
            cx.format_plot_magnitude(x),
            (cx.text.measures)(workbench.measure),
            figures(workbench.measure, Some(y))
        ),
        None => String::new(),
    };
    let movable = recipe.magnitude != Magnitude::Unscaled;
    Some(Current { x, y, tag, movable })
}

fn describe(cx: &PanelContext<'_>, record: &Record, point: &analysis::Point) -> String {
    let values: Vec<_> = CHIPS
        .iter()
        .map(|measure| {
            format!(
                "{} {}",
                (cx.text.measures)(*measure),
                figures(
                    *measure,
                    point.measures.as_ref().and_then(|measures| measure.value(measures))
                )
            )
        })
        .collect();
    format!(
        "{}\n{}\n{}",
        label::of(cx, record, &cx.workbench.tuning.analysis),
        values.join(" · "),
        beginning(record.output(), 60)
    )
}

/// Draws the row with the verdict, the measures and the menu of the points.
fn head(ui: &mut Ui, cx: &mut PanelContext<'_>, first_difference: Option<FirstDifference>) {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), theme::CONTROL), Sense::hover());
    let mut right = ui.new_child(
        UiBuilder::new()
            .id_salt("plot buttons")
            .max_rect(rect)
            .layout(Layout::right_to_left(Align::Center)),
    );
    right.spacing_mut().item_spacing.x = 4.0;
    buttons(&mut right, cx);
    let end = right.min_rect().left().min(rect.right()) - 8.0;
    let room = rect.with_max_x(end);
    let width_of = |words: &str| {
        let font = theme::CARD_TITLE.semibold();
        paint::line_of_text(ui, words, font, Palette::of(ui).text).size().x
    };
    // If the whole verdict has no room beside the measures, it leaves out where outputs begin to repeat themselves, which the plot shows.
    let title_width = room.width() - Chips::of(ui, cx, f32::INFINITY, LEAST_CHIPS).width - 16.0;
    let fits = |words: &String| width_of(words) <= title_width;
    let lengths = [VerdictLength::Whole, VerdictLength::Part].map(|length| verdict(cx, first_difference, length));
    let words = lengths
        .into_iter()
        .find(fits)
        .unwrap_or_else(|| verdict(cx, first_difference, VerdictLength::Short));
    let chips = Chips::of(ui, cx, room.width() - width_of(&words) - 16.0, CHIPS.len());
    let chips_left = end - chips.width;
    title(ui, cx, &words, rect.with_max_x(chips_left - 12.0));
    let mut row = ui.new_child(
        UiBuilder::new()
            .id_salt("measures")
            .max_rect(room.with_min_x(chips_left))
            .layout(Layout::left_to_right(Align::Center)),
    );
    chips.show(&mut row, cx);
}

/// Draws the menu of the points, the buttons of a reopened run, and the zoom reset.
fn buttons(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let text = cx.text;
    if cx.workbench.tuning.points().next().is_some() {
        let menu = ui.add(IconButton::new(Icon::Menu, text.plot_menu));
        Popup::menu(&menu)
            .close_behavior(PopupCloseBehavior::CloseOnClick)
            .accessible_name(text.plot_menu)
            .show(|ui| menu_items(ui, cx));
    }
    fill_button(ui, cx);
    let options = [(false, text.curve), (true, text.runs)];
    let shown = segmented(ui, text.plot_or_runs, cx.workbench.runs_shown, &options, SWITCH);
    if let Some(runs) = shown {
        cx.act(Action::ShowRuns(runs));
    }
    if let Some(count) = cx.workbench.tuning.chosen()
        && ui.add(Button::quiet(&(text.chosen_plotted)(count)).small()).clicked()
    {
        cx.act(Action::PlotRuns(Vec::new()));
    }
    if let Some(id) = cx.workbench.tuning.selected_record.clone() {
        if ui.add(Button::quiet(text.back_to_last).small()).clicked() {
            cx.act(Action::SelectRun(None));
        }
        if ui
            .add(Button::outlined(text.use_settings).small().height(28.0))
            .clicked()
        {
            cx.act(Action::AdoptRun(id));
        }
    }
    cx.zoomed(ui, view(cx));
    scores_left(ui, cx);
}

/// Draws how many runs are still to be scored: those of a filled curve, or the one whose scores the plot shows.
fn scores_left(ui: &mut Ui, cx: &PanelContext<'_>) {
    let left = cx.workbench.scores.left();
    let is_shown = matches!(cx.workbench.measure, Measure::KlMean | Measure::Perplexity);
    if left > 1 || (left == 1 && is_shown) {
        let words = (cx.scoring_text().scoring)(left);
        ui.add_space(8.0);
        ui.label(paint::words(words, theme::CAPTION, Palette::of(ui).text2));
    }
}

/// Width of the switch between curve and runs.
const SWITCH: f32 = 112.0;

/// Draws the button that fills the curve; while running, it shows the progress and stops it.
fn fill_button(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let text = cx.text;
    let why_not = cx.workbench.why_not_fill();
    let progress = cx.workbench.curve.progress();
    let words = progress.map_or_else(
        || text.fill_curve.to_owned(),
        |(done, total)| (text.filling)(done, total),
    );
    let button = Button::outlined(&words).small().height(28.0);
    let response = ui.add_enabled(progress.is_some() || why_not.is_none(), button);
    if response.clicked() {
        cx.act(Action::FillCurve);
    }
    let response = response.on_hover_text(text.fill_about);
    if let Some(why) = why_not {
        response.on_disabled_hover_text((text.unavailable)(why));
    }
}

fn title(ui: &mut Ui, cx: &PanelContext<'_>, words: &str, room: Rect) {
    let palette = Palette::of(ui);
    let workbench = cx.workbench;
    // The verdict dims with the texts that it belongs to.
    let is_stale = workbench.tuning.selected_record.is_none() && (workbench.prefixed.stale || workbench.left().stale);
    let colour = theme::faded(palette.text, if is_stale { super::outputs::STALE } else { 1.0 });
    let mut left = ui.new_child(
        UiBuilder::new()
            .id_salt("verdict")
            .max_rect(room)
            .layout(Layout::left_to_right(Align::Center)),
    );
    let galley = paint::cut_to(&left, words, theme::CARD_TITLE.semibold(), colour, room.width());
    let mut about = (cx.text.points)(workbench.tuning.points().count());
    if workbench.tuning.group().is_some_and(Group::is_deterministic) {
        about = format!("{about}  ·  {}", cx.text.noise_none);
    }
    if let Some((record, _)) = workbench
        .tuning
        .current()
        .filter(|_| workbench.tuning.selected_record.is_some())
    {
        let run = label::of(cx, record, &workbench.tuning.analysis);
        about = format!("{}\n{about}", (cx.text.shown_run)(&run));
    }
    left.add(Label::new(galley).show_tooltip_when_elided(false))
        .on_hover_text(format!("{words}\n{about}"));
}

fn menu_items(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let text = cx.text;
    let saved = crate::text::ScoringText::of(cx.workbench.settings.language).save_as;
    let own = [text.use_settings, text.remove_point, text.clear_points];
    select::as_wide_as(ui, own.into_iter().chain(crate::figure::ImageFormat::ALL.map(saved)));
    if let Some(id) = cx.workbench.tuning.current().map(|(record, _)| record.id.clone()) {
        if select::item(ui, text.use_settings, false).clicked() {
            cx.act(Action::AdoptRun(id.clone()));
        }
        if select::item(ui, text.remove_point, false).clicked() {
            cx.act(Action::RemoveRun(id));
        }
    }
    // Chosen runs may be of other prompts.
    let can_clear = cx.workbench.tuning.chosen().is_none();
    let clear = ui.add_enabled_ui(can_clear, |ui| select::item(ui, text.clear_points, false));
    if clear.inner.clicked() {
        cx.act(Action::ClearRuns);
    }
    figure::items(ui, cx, figure::tune);
}

/// The length of a verdict.
#[derive(Clone, Copy, PartialEq)]
enum VerdictLength {
    /// Includes the magnitude from which outputs repeat themselves.
    Whole,
    Part,
    /// In as few words as possible.
    Short,
}

/// Returns a sentence about the effect of the prefix on the shown output.
fn verdict(cx: &PanelContext<'_>, first_difference: Option<FirstDifference>, length: VerdictLength) -> String {
    let text = cx.text;
    let workbench = cx.workbench;
    let parts = text.verdict_parts;
    if workbench.tuning.pinned().is_some() && !workbench.prefixed.text.is_empty() {
        let is_running = workbench.prefixed.is_running();
        let parts = match length {
            VerdictLength::Whole | VerdictLength::Part => text.pinned_parts,
            VerdictLength::Short => parts,
        };
        return match first_difference {
            Some(first_difference) => parts(&(text.nth)(first_difference.unit, first_difference.number)),
            None if is_running => text.pinned_same_so_far.to_owned(),
            None if workbench.left().text == workbench.prefixed.text => text.pinned_same.to_owned(),
            // The texts are being compared.
            None => String::new(),
        };
    }
    if workbench.is_running() && workbench.tuning.selected_record.is_none() {
        // While text arrives, the verdict describes this text, not the previous run.
        return match first_difference {
            Some(first_difference) => parts(&(text.nth)(first_difference.unit, first_difference.number)),
            None => text.verdict_running.to_owned(),
        };
    }
    let shown = workbench.tuning.current().zip(workbench.tuning.group());
    let Some(((_, point), group)) = shown else {
        return if workbench.module.is_ready() {
            text.verdict_begin
        } else if workbench.module.is_busy() {
            (text.unavailable)(Unavailable::StillConnecting)
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
        Verdict::Loop => return (text.verdict_collapsed)(&cx.format_plot_magnitude(point.magnitude())),
        Verdict::InsideNoise => return text.verdict_noise.to_owned(),
        _ => {}
    }
    let place = match first_difference {
        Some(first_difference) => (text.nth)(first_difference.unit, first_difference.number),
        None => (text.nth)(Unit::Character, measures.first_divergence.graphemes + 1),
    };
    // A reopened run has its own label; the collapse of the series is not its property.
    let collapse = workbench.tuning.collapse_from().filter(|x| *x > 0.0);
    match collapse.filter(|_| length == VerdictLength::Whole && workbench.tuning.selected_record.is_none()) {
        Some(x) => (text.verdict_parts_collapse)(&place, &cx.format_plot_magnitude(x)),
        None => parts(&place),
    }
}

/// The measures shown as chips, and their width including the menu.
struct Chips {
    shown: Vec<(Measure, String)>,
    /// What they are measured against, if not the baseline.
    against: Option<&'static str>,
    width: f32,
    stale: bool,
}

impl Chips {
    /// Returns as many as there is `room` for beside the menu, at most `most`, including the selected one.
    fn of(ui: &Ui, cx: &PanelContext<'_>, room: f32, most: usize) -> Self {
        let workbench = cx.workbench;
        let current = workbench.tuning.current();
        let recipe = workbench.prefix.recipe();
        let stale = workbench.tuning.selected_record.is_none()
            && current.is_some_and(|(record, _)| record.case.recipe.as_ref() != Some(&recipe));
        let is_known =
            |measure: &Measure| *measure != Measure::KlMean || value(cx, *measure) != figures(*measure, None);
        let mut offered: Vec<Measure> = CHIPS.into_iter().filter(is_known).collect();
        if !offered.contains(&workbench.measure) {
            offered.insert(1, workbench.measure);
        }
        let gap = ui.spacing().item_spacing.x;
        let menu = more_button(cx).measure(ui) + gap;
        let width_of = |measure: Measure| {
            let palette = Palette::of(ui);
            let name = (cx.text.measures)(measure);
            let name = paint::line_of_text(ui, name, theme::BODY.semibold(), palette.text);
            let figures = paint::line_of_text(ui, "100.0", theme::BODY.mono(), palette.text);
            name.size().x + figures.size().x + 27.0 + gap
        };
        let against = workbench.tuning.pinned().map(|_| cx.text.against_pinned);
        let against_width = against.map_or(0.0, |words| {
            let font = theme::CAPTION.regular();
            paint::line_of_text(ui, words, font, Palette::of(ui).text2).size().x + gap
        });
        let mut width = menu + against_width + width_of(workbench.measure);
        let mut fits: Vec<Measure> = vec![workbench.measure];
        for measure in offered.iter().copied().filter(|measure| *measure != workbench.measure) {
            if width + width_of(measure) > room || fits.len() >= most {
                break;
            }
            width += width_of(measure);
            fits.push(measure);
        }
        let shown = offered
            .into_iter()
            .filter(|measure| fits.contains(measure))
            .map(|measure| (measure, value(cx, measure)))
            .collect();
        Self {
            shown,
            against,
            width,
            stale,
        }
    }

    fn show(&self, ui: &mut Ui, cx: &mut PanelContext<'_>) {
        let text = cx.text;
        let on = cx.workbench.measure;
        if let Some(words) = self.against {
            ui.label(paint::words(words, theme::CAPTION, Palette::of(ui).text2))
                .on_hover_text(text.against_pinned_about);
        }
        for (measure, figures) in &self.shown {
            let chip = Chip::new((text.measures)(*measure), figures, *measure == on).stale(self.stale);
            if ui.add(chip).on_hover_text((text.measure_about)(*measure)).clicked() {
                cx.act(Action::SetMeasure(*measure));
            }
        }
        let response = ui.add(more_button(cx));
        Popup::menu(&response)
            .close_behavior(PopupCloseBehavior::CloseOnClick)
            .accessible_name(text.measure)
            .show(|ui| {
                let words =
                    Measure::ALL.map(|measure| format!("{}   {}", (text.measures)(measure), value(cx, measure)));
                select::as_wide_as(ui, words.iter().map(String::as_str));
                for (measure, words) in Measure::ALL.into_iter().zip(&words) {
                    let response = select::item(ui, words, measure == on);
                    if response.on_hover_text((text.measure_about)(measure)).clicked() {
                        cx.act(Action::SetMeasure(measure));
                    }
                }
            });
    }
}

fn more_button(cx: &PanelContext<'_>) -> Button<'static> {
    Button::quiet(cx.text.more_measures)
        .trailing(Icon::ChevronDown)
        .small()
        .name(cx.text.measure)
}

/// Formats the value of a measure for the shown run, against the text that it is shown beside.
fn value(cx: &PanelContext<'_>, measure: Measure) -> String {
    let measures = cx.workbench.measures();
    figures(measure, measures.and_then(|measures| measure.value(&measures)))
}
