//! The right side of the Sweep view: progress, the map of P × magnitude, and one series per P.

use eframe::egui::{
    self, Align, Align2, Layout, Rect, Role, Sense, Stroke, StrokeKind, Ui, UiBuilder, WidgetInfo, pos2, vec2,
};
use softprefix_core::compare::Noise;
use softprefix_core::experiment::analysis::Proof;
use softprefix_core::experiment::{CanaryFinding, Extent, RunEnd, RunProgress, ThresholdResult, shortest_distinct};

use super::super::{figure, label};
use super::pictures::Cache;
use super::words;
use crate::model::{MagnitudeUnit, ProblemKind, beginning};
use crate::panels::context::PanelContext;
use crate::text::SecondModuleText;
use crate::theme::{self, Palette};
use crate::views::axis::Axis;
use crate::views::button::Button;
use crate::views::heatmap::{self, HeatMap};
use crate::views::icon::Icon;
use crate::views::lines::{self, Lines};
use crate::views::plot::{Current, NoiseBand, Plot, View};
use crate::views::segmented::segmented;
use crate::views::{paint, status};
use crate::workbench::SweepAction;
use crate::workbench::library::LibraryState;
use crate::workbench::sweep::{RunMessage, Stage, SweepUnavailable};

/// Draws the progress and the buttons.
pub fn progress_row(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = cx.sweep_text();
    let sweep = &cx.workbench.sweep;
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), theme::CONTROL_LARGE), Sense::hover());
    let mut right = ui.new_child(
        UiBuilder::new()
            .id_salt("sweep buttons")
            .max_rect(rect)
            .layout(Layout::right_to_left(Align::Center)),
    );
    right.spacing_mut().item_spacing.x = 8.0;
    let why_start = cx.workbench.why_not_sweep();
    buttons(&mut right, cx, why_start.as_ref());
    let end = right.min_rect().left() - 16.0;
    let (title, share, remark) = match &sweep.stage {
        Stage::Running { reconnecting: true, .. } => (text.reconnecting.to_owned(), None, String::new()),
        Stage::Running { progress, .. } => {
            let title = match (progress.paused, progress.left) {
                (true, _) => text.paused.to_owned(),
                (false, Some(left)) => (text.left)(left),
                (false, None) => text.just_started.to_owned(),
            };
            (
                title,
                Some(progress.finished as f32 / progress.total.max(1) as f32),
                counted(cx, progress),
            )
        }
        Stage::Starting => (text.starting.to_owned(), None, String::new()),
        Stage::Ended(end) => {
            let title = match end {
                RunEnd::Complete => text.complete,
                RunEnd::Cancelled => text.cancelled,
                RunEnd::NoEffect => text.no_effect,
                RunEnd::Interrupted { .. } => text.interrupted,
            };
            let (share, remark) = progress_of(cx);
            (title.to_owned(), share, remark)
        }
        Stage::Idle => match sweep.experiment() {
            Some(_) => {
                let title = if sweep.resumable().is_some() {
                    text.interrupted
                } else {
                    text.complete
                };
                let (share, remark) = progress_of(cx);
                (title.to_owned(), share, remark)
            }
            None => {
                let why = why_start.map(|why| (text.unavailable)(&why));
                let planned = cx.workbench.sweep_plan().cases().map_or(0, |cases| cases.len());
                let words = why.unwrap_or_else(|| (text.ready)(planned));
                let room = end - rect.left();
                let galley = paint::cut_to(ui, &words, theme::BODY.regular(), palette.text2, room);
                paint::place(ui.painter(), rect.left_center(), Align2::LEFT_CENTER, galley);
                return;
            }
        },
    };
    let galley = paint::cut_to(
        ui,
        &title,
        theme::VERDICT.semibold(),
        palette.text,
        (end - rect.left()) * 0.5,
    );
    let placed = paint::place(ui.painter(), rect.left_center(), Align2::LEFT_CENTER, galley);
    let remark = paint::line_of_text(ui, &remark, theme::BODY.regular(), palette.text2);
    let bar = Rect::from_min_max(
        pos2(placed.right() + 16.0, rect.center().y - 4.0),
        pos2(end - remark.size().x - 16.0, rect.center().y + 4.0),
    );
    paint::place(ui.painter(), pos2(end, rect.center().y), Align2::RIGHT_CENTER, remark);
    let response = ui.interact(bar, ui.scope_id().with("sweep progress"), Sense::hover());
    response.widget_info(|| {
        let mut info = WidgetInfo::labeled(Role::ProgressIndicator, true, &title);
        info.value = share.map(|share| f64::from(share) * 100.0);
        info
    });
    if bar.width() > 24.0 {
        let radius = egui::CornerRadius::same(4);
        ui.painter().rect_filled(bar, radius, palette.line);
        match share {
            Some(share) => {
                let done = bar.with_max_x(bar.left() + bar.width() * share.clamp(0.0, 1.0));
                ui.painter().rect_filled(done, radius, palette.text2);
            }
            None => paint::hatch(ui.painter(), bar, 8.0, Stroke::new(2.0, palette.text3)),
        }
    }
}

fn counted(cx: &PanelContext<'_>, progress: &RunProgress) -> String {
    let text = cx.sweep_text();
    let to_do = progress.total.saturating_sub(progress.finished);
    let each = progress
        .left
        .filter(|_| to_do > 0)
        .map(|left| left.as_secs_f64() / to_do as f64);
    let mut words = (text.cells_done)(progress.finished, progress.total, each);
    if progress.unscored > 0 && to_do == 0 {
        words = format!(
            "{words}{}{}",
            cx.text.comma,
            (cx.scoring_text().scoring)(progress.unscored)
        );
    }
    if progress.failed > 0 {
        words = format!("{words}{}{}", cx.text.comma, (text.failed)(progress.failed));
    }
    words
}

/// Returns the progress of the shown experiment, from its records.
fn progress_of(cx: &PanelContext<'_>) -> (Option<f32>, String) {
    let Some(saved) = cx.workbench.sweep.experiment() else {
        return (None, String::new());
    };
    let finished = saved.finished().len();
    let all = saved.planned().max(finished);
    let failed = saved.records.iter().filter(|record| record.error().is_some()).count();
    let mut words = (cx.sweep_text().cells_done)(finished, all, None);
    if failed > 0 {
        words = format!("{words}{}{}", cx.text.comma, (cx.sweep_text().failed)(failed));
    }
    (Some(finished as f32 / all.max(1) as f32), words)
}

/// Draws the buttons from right to left, the primary one first.
fn buttons(ui: &mut Ui, cx: &mut PanelContext<'_>, why_start: Option<&SweepUnavailable>) {
    let text = cx.sweep_text();
    let sweep = &cx.workbench.sweep;
    let large = theme::CONTROL_LARGE;
    match &sweep.stage {
        Stage::Running { .. } => {
            if sweep.is_paused() {
                if ui
                    .add(Button::ink(text.unpause).icon(Icon::Run).height(large))
                    .clicked()
                {
                    cx.sweep(SweepAction::Unpause);
                }
            } else if ui
                .add(Button::outlined(text.pause).icon(Icon::Pause).height(large))
                .clicked()
            {
                cx.sweep(SweepAction::Pause);
            }
            if ui.add(Button::quiet(text.cancel).height(large)).clicked() {
                cx.sweep(SweepAction::Cancel);
            }
        }
        Stage::Starting => {
            if ui.add(Button::outlined(text.cancel).height(large)).clicked() {
                cx.sweep(SweepAction::Cancel);
            }
        }
        Stage::Idle | Stage::Ended(_) => {
            let resumable = sweep.resumable().is_some();
            if resumable {
                let why = cx.workbench.why_not_resume();
                let words = if sweep.had_no_effect() {
                    text.run_anyway
                } else {
                    text.resume
                };
                let button = Button::ink(words).icon(Icon::Run).height(large);
                let response = ui.add_enabled(why.is_none(), button);
                if let Some(why) = &why {
                    response.clone().on_disabled_hover_text((text.unavailable)(why));
                }
                if response.clicked() {
                    cx.sweep(SweepAction::ResumeExperiment);
                }
            }
            let words = if sweep.experiment().is_some() {
                text.new_sweep
            } else {
                text.start
            };
            let button = if resumable {
                Button::quiet(words).height(large)
            } else {
                Button::ink(words).icon(Icon::Run).height(large)
            };
            let response = ui.add_enabled(why_start.is_none(), button);
            if let Some(why) = why_start {
                response.clone().on_disabled_hover_text((text.unavailable)(why));
            }
            if response.clicked() {
                cx.sweep(SweepAction::Start);
            }
        }
    }
}

/// Draws the message about the run: why it stopped, and what to do.
pub fn show_message(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let text = cx.sweep_text();
    let palette = Palette::of(ui);
    let sweep = &cx.workbench.sweep;
    let (mark, words) = match &sweep.message {
        Some(RunMessage::Problem(problem)) => {
            let mut words = problem.whole(cx.workbench.settings.language);
            if sweep.is_busy() && problem.kind == ProblemKind::File {
                words = format!("{words} {}", text.journal_retry);
            }
            if let Some(rest) = cx.workbench.sweep_rest() {
                words = format!("{words} {}", (text.rest)(rest));
            }
            (status::Status::Broken, words)
        }
        Some(RunMessage::NotScored { count, problem }) => {
            let why = problem.whole(cx.workbench.settings.language);
            (status::Status::Warning, (cx.scoring_text().not_scored)(*count, &why))
        }
        Some(RunMessage::ModelMissingOnSecond(model)) => {
            let text = SecondModuleText::of(cx.workbench.settings.language);
            (status::Status::Warning, (text.which_model)(model))
        }
        Some(RunMessage::Canary(canary)) => {
            let status = match canary.finding {
                CanaryFinding::NoEffect => status::Status::Broken,
                CanaryFinding::Inconclusive | CanaryFinding::Applied => status::Status::Warning,
            };
            (status, canary.sentence().get(cx.workbench.settings.language).to_owned())
        }
        None => match (&cx.workbench.library.state, cx.workbench.why_not_resume()) {
            (LibraryState::Unusable(problem), _) => {
                (status::Status::Broken, problem.whole(cx.workbench.settings.language))
            }
            (_, Some(why)) if sweep.resumable().is_some() => (status::Status::Warning, (text.unavailable)(&why)),
            _ => return,
        },
    };
    let can_dismiss = sweep.message.is_some();
    ui.add_space(8.0);
    ui.horizontal(|ui| {
        status::mark(ui, mark);
        let width = ui.available_width() - 96.0;
        ui.allocate_ui_with_layout(vec2(width, 20.0), Layout::top_down(Align::Min), |ui| {
            ui.set_width(width);
            ui.label(paint::words(words, theme::BODY, palette.text));
        });
        if can_dismiss && ui.add(Button::quiet(text.dismiss).small()).clicked() {
            cx.sweep(SweepAction::DismissMessage);
        }
    });
}

fn card(ui: &Ui, rect: Rect) {
    let palette = Palette::of(ui);
    let radius = egui::CornerRadius::same(theme::RADIUS_CARD);
    let outline = Stroke::new(1.0, palette.line);
    ui.painter()
        .rect(rect, radius, palette.panel, outline, StrokeKind::Inside);
}

/// Returns the height of the map's card with all of its rows; many rows scroll inside it.
pub fn map_height(pictures: &Cache) -> f32 {
    let rows = pictures.map.rows.len().max(1);
    12.0 + 28.0 + 8.0 + HeatMap::height(rows).min(HeatMap::height(8)) + 16.0
}

/// Draws the map of P × magnitude.
pub fn map_card(ui: &mut Ui, cx: &mut PanelContext<'_>, pictures: &Cache, height: f32) {
    let palette = Palette::of(ui);
    let text = cx.sweep_text();
    let workbench = cx.workbench;
    let map = &pictures.map;
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    card(ui, rect);
    let inner = rect.shrink2(vec2(theme::PADDING, 12.0));
    let head = inner.with_max_y(inner.top() + 28.0);
    let mut right = ui.new_child(
        UiBuilder::new()
            .id_salt("map scale")
            .max_rect(head)
            .layout(Layout::right_to_left(Align::Center)),
    );
    right.spacing_mut().item_spacing.x = 8.0;
    figure::menu(&mut right, cx, |cx| figure::map(cx, map));
    right.label(paint::words(text.collapsed, theme::CAPTION, palette.broken));
    let (place, _) = right.allocate_exact_size(vec2(12.0, 16.0), Sense::hover());
    let centre = place.center();
    let stroke = Stroke::new(2.0, palette.broken);
    for side in [-1.0, 1.0] {
        right
            .painter()
            .line_segment([centre - vec2(3.5, 3.5 * side), centre + vec2(3.5, 3.5 * side)], stroke);
    }
    if let Some([nearest, farthest]) = &map.ends {
        right.add_space(12.0);
        right.label(paint::words(text.far, theme::CAPTION, palette.text2));
        right.label(paint::figures(farthest, theme::CAPTION, palette.text));
        heatmap::scale(&mut right, 120.0);
        right.label(paint::figures(nearest, theme::CAPTION, palette.text));
        right.label(paint::words(text.near, theme::CAPTION, palette.text2));
    }
    let end = right.min_rect().left() - 16.0;
    let name = workbench
        .sweep
        .shown_prompt()
        .map(|prompt| words::prompt(cx.workbench.settings.language, prompt));
    let title = name.map_or_else(
        || text.tab.to_owned(),
        |(own, preset)| preset.map_or(own, str::to_owned),
    );
    let galley = paint::cut_to(
        ui,
        &title,
        theme::CARD_TITLE.regular(),
        palette.text,
        (end - head.left()) * 0.45,
    );
    let placed = paint::place(ui.painter(), head.left_center(), Align2::LEFT_CENTER, galley);
    let measure = (cx.text.measures)(workbench.measure);
    let about = if workbench.measure.is_similarity() {
        (text.map)(measure)
    } else {
        (text.map_distance)(measure)
    };
    let room = end - placed.right() - 12.0;
    let galley = paint::cut_to(ui, &about, theme::BODY.regular(), palette.text2, room);
    paint::place(
        ui.painter(),
        pos2(placed.right() + 12.0, head.center().y),
        Align2::LEFT_CENTER,
        galley,
    );

    let area = Rect::from_min_max(
        pos2(inner.left(), head.bottom() + 8.0),
        pos2(inner.right(), rect.bottom() - 8.0),
    );
    let mut child = ui.new_child(UiBuilder::new().id_salt("map").max_rect(area));
    if map.rows.is_empty() {
        child.label(paint::words(text.no_prompts, theme::BODY, palette.text3));
        return;
    }
    let heat = HeatMap {
        rows: &map.rows,
        columns: &map.columns,
        cells: &map.cells,
        zero_first: map.zero_first,
        current: map.current,
        running: text.running,
    };
    let clicked = egui::ScrollArea::vertical()
        .id_salt("map rows")
        .auto_shrink(false)
        .show(&mut child, |ui| heat.show(ui))
        .inner;
    if let Some((row, column)) = clicked
        && let Some(id) = map.ids.get(row * map.columns.len() + column).cloned().flatten()
    {
        cx.sweep(SweepAction::Select(Some(id)));
    }
}

/// Width of the switch between one prompt and all.
const SWITCH: f32 = 184.0;

/// Draws one line per P, for the shown prompt or for the mean over all prompts.
pub fn lines_card(ui: &mut Ui, cx: &mut PanelContext<'_>, pictures: &mut Cache, width: f32, height: f32) {
    let palette = Palette::of(ui);
    let text = cx.sweep_text();
    let workbench = cx.workbench;
    let (rect, _) = ui.allocate_exact_size(vec2(width, height), Sense::hover());
    card(ui, rect);
    let inner = rect.shrink2(vec2(theme::PADDING, 12.0));
    let head = inner.with_max_y(inner.top() + 28.0);
    let title = paint::text(
        ui.painter(),
        head.left_center(),
        Align2::LEFT_CENTER,
        text.lines,
        theme::CARD_TITLE.semibold(),
        palette.text,
    );
    let mut right = ui.new_child(
        UiBuilder::new()
            .id_salt("lines menu")
            .max_rect(head)
            .layout(Layout::right_to_left(Align::Center)),
    );
    if pictures.prompts > 1 {
        right.spacing_mut().item_spacing.x = 8.0;
        let options = [(false, text.this_prompt), (true, text.all_prompts)];
        if let Some(means) = segmented(&mut right, text.which_prompts, pictures.means, &options, SWITCH) {
            pictures.means = means;
        }
    }
    let is_mean = pictures.means && pictures.prompts > 1;
    let plotted = &pictures.plot;
    figure::menu(&mut right, cx, |cx| figure::lines(cx, plotted, is_mean));
    let axis = if plotted.norms { Axis::NORMS } else { Axis::RAW };
    let y_label = (cx.text.measures)(cx.workbench.measure);
    cx.zoomed(&mut right, View::of(text.lines, y_label, axis));
    let room = head
        .with_min_x(title.right() + 12.0)
        .with_max_x(right.min_rect().left() - 8.0);
    legend(ui, room, plotted);
    let remark = if is_mean {
        (text.mean_of)(pictures.prompts)
    } else {
        remark(cx)
    };
    let job = {
        let mut job =
            egui::text::LayoutJob::simple(remark.clone(), theme::CAPTION.regular(), palette.text3, inner.width());
        job.wrap.max_rows = 2;
        ui.painter().layout_job(job)
    };
    let foot = if remark.is_empty() { 0.0 } else { job.size().y + 6.0 };
    let area = Rect::from_min_max(
        pos2(inner.left(), head.bottom() + 4.0),
        inner.right_bottom() - vec2(0.0, foot),
    );
    if !remark.is_empty() {
        let at = inner.left_bottom() + vec2(0.0, 2.0);
        let cut = job.elided;
        let place = paint::place(ui.painter(), at, Align2::LEFT_BOTTOM, job);
        let response = ui.interact(place, ui.scope_id().with("noise remark"), Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &remark));
        if cut {
            response.on_hover_text(&remark);
        }
    }
    let unit = if plotted.norms {
        MagnitudeUnit::TokenNorms
    } else {
        MagnitudeUnit::Raw
    };
    let collapse_words = plotted
        .collapse
        .map(|x| (cx.text.collapsed_above)(&format!("{}{}", words::number(x), axis.unit)));
    let noise = match (workbench.measure.full_scale(), plotted.noise) {
        (Some(top), Some(from)) if workbench.measure.is_similarity() => Some(NoiseBand {
            from,
            to: top,
            words: text.noise,
        }),
        _ => None,
    };
    let ground = Plot {
        name: text.lines,
        axis,
        regions: cx.regions(unit).map(|regions| (regions, cx.region_names())),
        points: &[],
        top: plotted.top,
        y_label,
        x_label: if plotted.norms { cx.text.x_norms } else { cx.text.x_raw },
        noise,
        collapse: plotted.collapse.zip(collapse_words.as_deref()),
        current: plotted.at.map(|x| Current {
            x,
            y: None,
            tag: String::new(),
            movable: false,
        }),
        second: None,
        selected: None,
        empty: if workbench.sweep.is_busy() {
            cx.text.plot_empty
        } else {
            text.plot_empty
        },
    };
    let lines = Lines {
        ground,
        curves: &plotted.curves,
        selected: plotted.selected,
        tags: &plotted.tags,
    };
    let mut child = ui.new_child(UiBuilder::new().id_salt("sweep plot").max_rect(area));
    let id_of = |curve: usize, spot: usize| plotted.ids.get(curve).and_then(|ids| ids.get(spot)).cloned();
    let opened = lines.show(&mut child, area.size(), |curve, spot| match id_of(curve, spot) {
        Some(id) => describe(cx, &id),
        None => mean_words(cx, plotted, curve, spot),
    });
    if let Some((curve, spot)) = opened
        && let Some(id) = id_of(curve, spot)
    {
        cx.sweep(SweepAction::Select(Some(id)));
    }
}

fn legend(ui: &Ui, room: Rect, plotted: &super::pictures::Plotted) {
    let palette = Palette::of(ui);
    let mut x = room.right();
    for curve in plotted.curves.iter().rev() {
        let (font, colour) = if curve.chosen {
            (theme::CAPTION.semibold(), palette.prefix)
        } else {
            (theme::CAPTION.regular(), palette.text2)
        };
        let galley = paint::line_of_text(ui, &curve.label, font, colour);
        let width = galley.size().x + 16.0;
        if x - width < room.left() {
            break;
        }
        let y = room.center().y;
        paint::place(ui.painter(), pos2(x, y), Align2::RIGHT_CENTER, galley);
        lines::marker(
            ui.painter(),
            curve.marker,
            pos2(x - width + 4.0, y),
            curve.chosen,
            palette,
        );
        x -= width + 14.0;
    }
}

/// Returns the remark: the result of a threshold search, the baseline's noise, and whether prefixes were applied.
fn remark(cx: &PanelContext<'_>) -> String {
    let language = cx.workbench.settings.language;
    let sweep = &cx.workbench.sweep;
    let mut parts = Vec::new();
    if let Some((_, found)) = &sweep.threshold {
        parts.push(threshold_words(cx, found));
    }
    let mut by_model: Vec<(&str, String)> = Vec::new();
    for group in sweep.groups() {
        let noise = group.noise.as_ref().map(|noise| Noise::sentence(Some(noise)));
        let noise = noise.as_ref().map_or("", |sentence| sentence.get(language));
        let proof = match group.proof() {
            Proof::NothingToProve => "",
            proof => proof.sentence().get(language),
        };
        by_model.push((group.key.model.as_str(), format!("{noise} {proof}").trim().to_owned()));
    }
    by_model.retain(|(_, words)| !words.is_empty());
    // One sentence if all groups agree; otherwise each with its model.
    match by_model.split_first() {
        Some(((_, first), rest)) if rest.iter().all(|(_, words)| words == first) => parts.push(first.clone()),
        _ => parts.extend(by_model.iter().map(|(model, words)| format!("{model}: {words}"))),
    }
    parts.join(" ")
}

/// Describes the result of a threshold search.
pub fn threshold_words(cx: &PanelContext<'_>, found: &ThresholdResult) -> String {
    let text = cx.sweep_text();
    let sign = if cx.workbench.sweep_unit() == MagnitudeUnit::TokenNorms {
        "×"
    } else {
        ""
    };
    let words = |x: f64| format!("{}{sign}", words::number(x));
    let mut out = match (found.largest_within, found.smallest_beyond) {
        (Some(within), Some(beyond)) => {
            let (within, beyond) = shortest_distinct(within, beyond);
            (text.threshold_found)(&format!("{within}{sign}"), &format!("{beyond}{sign}"))
        }
        (None, Some(smallest)) => (text.threshold_below)(&words(smallest)),
        (Some(largest), None) => (text.threshold_above)(&words(largest), found.measured),
        (None, None) => return text.threshold_searching.to_owned(),
    };
    const MAX_CROSSINGS: usize = 6;
    let crossings = found.crossings.iter().take(MAX_CROSSINGS);
    let crossings: Vec<String> = crossings
        .map(|crossing| (text.threshold_crossing)(&words(crossing.to), crossing.reenters))
        .collect();
    if !crossings.is_empty() {
        let more = if found.crossings.len() > MAX_CROSSINGS {
            "…"
        } else {
            ""
        };
        out = format!(
            "{out} {}",
            (text.threshold_crossings)(&format!("{}{more}", crossings.join(cx.text.comma)))
        );
    }
    out
}

/// Describes a mean.
fn mean_words(cx: &PanelContext<'_>, plotted: &super::pictures::Plotted, curve: usize, spot: usize) -> String {
    let Some(of) = plotted.curves.get(curve) else {
        return String::new();
    };
    let spread = of.spots.get(spot).and_then(|spot| Some((spot, spot.spread?)));
    spread.map_or(String::new(), |(spot, (least, most))| {
        let measure = cx.workbench.measure;
        let figures = |value| words::figures(measure, Some(value));
        let sign = if plotted.norms { "×" } else { "" };
        format!(
            "{}{}{}{sign}\n{} {} ({} – {})",
            of.label,
            cx.text.comma,
            words::number(spot.x),
            (cx.text.measures)(measure),
            figures(spot.y),
            figures(least),
            figures(most)
        )
    })
}

/// Describes a point.
fn describe(cx: &PanelContext<'_>, id: &str) -> String {
    let text = cx.sweep_text();
    let sweep = &cx.workbench.sweep;
    let (Some(record), Some((group, point))) = (sweep.record(id), sweep.point(id)) else {
        return String::new();
    };
    let mut out = label::of(cx, record, &sweep.analysis);
    out = format!("{out}\n{}", (text.verdict)(group.verdict(point)));
    if let Extent::Cut { characters } = point.extent {
        out = format!("{out}{}{}", cx.text.comma, (text.cut_off)(characters));
    }
    if let Some(measures) = &point.measures {
        let measure = cx.workbench.measure;
        out = format!(
            "{out} · {} {}",
            (cx.text.measures)(measure),
            words::figures(measure, measure.value(measures))
        );
    }
    if let Some(output) = record.text() {
        out = format!("{out}\n{}", beginning(output, 60));
    }
    out
}
