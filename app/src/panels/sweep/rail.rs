//! The rail of the Sweep view: prompts, grid, measure and threshold, or the history.

use eframe::egui::{
    self, Align, Align2, CornerRadius, Frame, Layout, Margin, Panel, Popup, PopupCloseBehavior, Rect, Role, ScrollArea,
    Sense, Ui, WidgetInfo, pos2, vec2,
};
use softprefix_core::compare::Measure;

use super::history::HistoryPage;
use super::pictures::Cache;
use super::{results, words};
use crate::model::magnitudes;
use crate::model::sweep::{Range, SweepForm, parse_lengths, written_lengths};
use crate::model::typed::{Accepted, decimal};
use crate::model::{Format, KlUnavailable, MagnitudeUnit, PRESETS, Target};
use crate::panels::context::{PanelContext, inset, rail_edge};
use crate::panels::prompt_bar::sampling_words;
use crate::text::SecondModuleText;
use crate::theme::{self, Palette};
use crate::views::button::Button;
use crate::views::entry::{Entered, Field};
use crate::views::icon::{Icon, IconButton};
use crate::views::list_field::list_field;
use crate::views::segmented::segmented;
use crate::views::{fold, paint, select, status, toggle};
use crate::workbench::{Action, SweepAction, Tab};

/// The page of the rail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Page {
    #[default]
    Setup,
    History,
}

/// What the rail keeps between frames.
#[derive(Default)]
pub struct Rail {
    page: Page,
    history: HistoryPage,
    threshold_open: bool,
}

/// Height of a prompt's row, in points.
const ROW: f32 = 48.0;
const REPEATS: std::ops::RangeInclusive<usize> = 1..=SweepForm::MAX_REPEATS;

impl Rail {
    pub fn show(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>, pictures: &Cache) {
        let text = cx.sweep_text();
        rail_edge(ui);
        Panel::top("sweep rail head")
            .frame(inset(12, 8))
            .show_separator_line(false)
            .show(ui, |ui| {
                let pages = [(Page::Setup, text.setup), (Page::History, text.history)];
                let width = ui.available_width();
                if let Some(page) = segmented(ui, text.rail, self.page, &pages, width) {
                    self.page = page;
                }
            });
        Panel::bottom("sweep rail foot")
            .frame(inset(0, 12))
            .show_separator_line(false)
            .show(ui, |ui| exports(ui, cx));
        if self.page == Page::History {
            if self.history.show(ui, cx) {
                self.page = Page::Setup;
            }
            return;
        }
        ScrollArea::vertical()
            .id_salt("sweep rail")
            .auto_shrink(false)
            .show(ui, |ui| {
                ui.spacing_mut().item_spacing.y = 0.0;
                prompts(ui, cx, pictures);
                paint::rule(ui);
                inset(14, 8).show(ui, |ui| self.grid(ui, cx));
            });
    }

    fn grid(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>) {
        let palette = Palette::of(ui);
        let text = cx.sweep_text();
        let form = &cx.workbench.sweep.form;
        let busy = cx.workbench.sweep.is_busy();
        ui.spacing_mut().item_spacing.y = 0.0;
        let width = ui.available_width();
        title(ui, text.grid, &(text.cells_per_prompt)(form.cells()));
        ui.add_space(4.0);
        ui.add_enabled_ui(!busy, |ui| {
            label(ui, text.lengths);
            let entered = list_field(
                ui,
                text.lengths,
                &written_lengths(&form.lengths),
                "1, 4",
                width,
                parse_lengths,
            );
            if is_refused(cx, entered, SweepAction::SetLengths) {
                refused(ui, text.lengths_refused);
            }
            let longest = form.lengths.iter().copied().max().unwrap_or(1);
            if let Some(rows) = cx.workbench.prefix.rows_repeated_to(longest) {
                let words = (cx.prefix_text().file_repeats)(rows, longest);
                ui.label(paint::words(words, theme::CAPTION, palette.text2));
            }
            ui.add_space(8.0);
            let unit = cx.workbench.sweep_unit();
            let name = match unit {
                MagnitudeUnit::TokenNorms => text.magnitudes_norms,
                MagnitudeUnit::Raw => text.magnitudes_raw,
            };
            label(ui, name);
            let parse = |typed: &str| magnitudes::parse(typed, unit).ok().map(|_| typed.trim().to_owned());
            let entered = list_field(ui, name, &form.magnitudes, "0, 0.01 … 12 (13)", width, parse);
            if is_refused(cx, entered, SweepAction::SetMagnitudes) {
                refused(ui, text.list_refused);
            }
            ui.add_space(6.0);
            let ranges: Vec<(Option<Range>, &str)> =
                Range::ALL.map(|range| (Some(range), (text.range)(range))).to_vec();
            if let Some(Some(range)) = segmented(ui, text.ranges, form.range(), &ranges, width) {
                cx.sweep(SweepAction::ApplyRange(range));
            }
            if form.range() == Some(Range::Script) {
                ui.add_space(4.0);
                ui.label(paint::words(text.truncated, theme::CAPTION, palette.text3));
            }
            ui.add_space(6.0);
            if cx.workbench.vocabulary.is_some() {
                let units = [
                    (MagnitudeUnit::TokenNorms, cx.text.unit_norms),
                    (MagnitudeUnit::Raw, cx.text.unit_raw),
                ];
                if let Some(unit) = segmented(ui, cx.text.unit, form.unit, &units, width) {
                    cx.sweep(SweepAction::SetUnit(unit));
                }
                ui.add_space(6.0);
            }
            let row = ui.horizontal(|ui| {
                ui.label(paint::words(text.repeats, theme::BODY, palette.text2))
                    .on_hover_text(text.repeats_about);
                let right = ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    let field = Field {
                        name: text.repeats,
                        shown: form.repeats.to_string(),
                        width: 56.0,
                    };
                    field.show(ui, |typed| typed.parse().ok().filter(|n| REPEATS.contains(n)))
                });
                right.inner
            });
            if let Some(repeats) = cx.entered(ui, row.inner, &Accepted::of(&REPEATS)) {
                cx.sweep(SweepAction::SetRepeats(repeats));
            }
            second_module(ui, cx, width);
            let able = cx.workbench.module.facts().is_none_or(|facts| facts.scores);
            let words = cx.scoring_text();
            ui.add_enabled_ui(able, |ui| {
                let mut scored = form.scored && able;
                let about = if able {
                    words.in_sweep_about
                } else {
                    (words.kl_unavailable)(KlUnavailable::NotHere)
                };
                let switch = toggle::toggle_across(ui, &mut scored, words.in_sweep, width);
                if switch.on_hover_text(about).on_disabled_hover_text(about).changed() {
                    cx.sweep(SweepAction::SetScored(scored));
                }
            });
        });
        ui.add_space(8.0);
        label(ui, text.measure);
        let measures: Vec<_> = Measure::ALL
            .map(|measure| (measure, (cx.text.measures)(measure).to_owned()))
            .to_vec();
        if let Some(measure) = select::select(ui, text.measure, Some(&cx.workbench.measure), &measures, "", width) {
            cx.act(Action::SetMeasure(measure));
        }
        ui.add_space(8.0);
        let kind = words::kind(cx.text, &cx.workbench.sweep_kind());
        pair_line(ui, text.kind, &kind);
        ui.horizontal(|ui| {
            ui.set_min_height(28.0);
            let prompt = &cx.workbench.prompt;
            let sampling = sampling_words(cx, prompt.sampling);
            let words = format!("{sampling}{}{}", cx.text.comma, (text.output)(prompt.max_tokens));
            ui.label(paint::words(words, theme::BODY, palette.text2))
                .on_hover_text(text.kind_from_tune);
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if ui.add(Button::quiet(text.change).small()).clicked() {
                    cx.act(Action::ShowTab(Tab::Tune));
                }
            });
        });
        let mut open = self.threshold_open;
        fold::heading(ui, &mut open, text.threshold, text.threshold_summary);
        self.threshold_open = open;
        fold::body(ui, "threshold", open, |ui| threshold(ui, cx));
    }
}

/// Draws the model of the second module, if it does not have the first one's.
fn second_model(ui: &mut Ui, cx: &mut PanelContext<'_>, text: &SecondModuleText, width: f32) {
    let sweep = &cx.workbench.sweep;
    let chosen = sweep.form.second_model.as_ref();
    let named = sweep
        .second_models
        .iter()
        .chain(chosen.filter(|model| !sweep.second_models.contains(model)));
    let models: Vec<(String, String)> = named.map(|model| (model.clone(), model.clone())).collect();
    if models.is_empty() {
        return;
    }
    ui.add_space(4.0);
    label(ui, text.model);
    if let Some(model) = select::select(ui, text.model, chosen, &models, text.model_hint, width) {
        cx.sweep(SweepAction::SetSecondModel(model));
    }
}

/// Draws the prompts and how many of their cases have finished.
fn prompts(ui: &mut Ui, cx: &mut PanelContext<'_>, pictures: &Cache) {
    let palette = Palette::of(ui);
    let text = cx.sweep_text();
    let sweep = &cx.workbench.sweep;
    let padding = theme::PADDING as i8;
    let done = pictures
        .counts
        .iter()
        .flatten()
        .filter(|(done, all)| done == all && *all > 0)
        .count();
    let remark = match sweep.experiment() {
        Some(_) => (text.prompts_done)(done, sweep.form.prompts.len()),
        None => String::new(),
    };
    inset(4, 4).show(ui, |ui| title(ui, text.prompts, &remark));
    if sweep.form.prompts.is_empty() {
        inset(4, 4).show(ui, |ui| {
            ui.label(paint::words(text.no_prompts, theme::BODY, palette.text3));
        });
    }
    let busy = sweep.is_busy();
    for (index, prompt) in sweep.form.prompts.iter().enumerate() {
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::click());
        let on = index == sweep.prompt;
        let (own, preset) = words::prompt(cx.workbench.settings.language, prompt);
        let count = pictures.counts.get(index).copied().flatten();
        let accessible_name = preset.map_or_else(|| own.clone(), |preset| format!("{preset}: {own}"));
        response.widget_info(|| WidgetInfo::selected(Role::RadioButton, true, on, &accessible_name));
        if on || response.hovered() {
            ui.painter().rect_filled(rect, 0.0, palette.raised);
        }
        if on {
            let bar = rect.with_max_x(rect.left() + 2.0);
            ui.painter().rect_filled(bar, 0.0, palette.text);
        }
        let inner = rect.shrink2(vec2(theme::PADDING, 0.0));
        // The row's button is added first, so that a click on the inner button is not taken for the row.
        let removable =
            sweep.form.prompts.len() > 1 && !busy && (response.hovered() || response.contains_pointer() || on);
        let mut right = inner.right();
        if removable {
            let place = Rect::from_center_size(pos2(right - 10.0, rect.center().y), vec2(24.0, 24.0));
            let name = (text.remove_prompt)(preset.unwrap_or(&own));
            if ui
                .place(place, IconButton::new(Icon::Close, &name).size(24.0))
                .clicked()
            {
                cx.sweep(SweepAction::RemovePrompt(index));
            }
            right -= 28.0;
        }
        let (state, colour) = match count {
            Some((done, all)) if done >= all => (format!("{done}/{all}"), palette.text2),
            Some((0, _)) if busy => (text.waiting.to_owned(), palette.text3),
            Some((done, all)) => (format!("{done}/{all}"), palette.text),
            None => (String::new(), palette.text3),
        };
        let galley = paint::line_of_text(ui, &state, theme::CAPTION.mono(), colour);
        let placed = paint::place(ui.painter(), pos2(right, rect.center().y), Align2::RIGHT_CENTER, galley);
        right = placed.left() - 8.0;
        if count.is_some_and(|(done, all)| done >= all && all > 0) {
            status::paint(
                ui.painter(),
                status::Status::Good,
                pos2(right - 8.0, rect.center().y),
                1.0,
                palette,
            );
            right -= 24.0;
        }
        let room = right - inner.left();
        let name_font = if on {
            theme::NAME.semibold()
        } else {
            theme::NAME.regular()
        };
        match preset {
            Some(preset) => {
                let galley = paint::cut_to(ui, preset, name_font, palette.text, room);
                paint::place(
                    ui.painter(),
                    pos2(inner.left(), rect.top() + 6.0),
                    Align2::LEFT_TOP,
                    galley,
                );
                let galley = paint::cut_to(ui, &own, theme::CAPTION.regular(), palette.text3, room);
                paint::place(
                    ui.painter(),
                    pos2(inner.left(), rect.bottom() - 6.0),
                    Align2::LEFT_BOTTOM,
                    galley,
                );
            }
            None => {
                let galley = paint::cut_to(ui, &own, name_font, palette.text, room);
                paint::place(ui.painter(), inner.left_center(), Align2::LEFT_CENTER, galley);
            }
        }
        paint::focus_ring(ui, &response, rect.shrink(4.0), theme::RADIUS_TAG);
        if response.clicked() {
            cx.sweep(SweepAction::ShowPrompt(index));
        }
    }
    let margin = Margin {
        left: padding - 8,
        right: padding,
        top: 4,
        bottom: 8,
    };
    Frame::NONE.inner_margin(margin).show(ui, |ui| {
        ui.add_enabled_ui(!busy, |ui| {
            ui.horizontal(|ui| {
                ui.spacing_mut().item_spacing.x = 4.0;
                if ui.add(Button::quiet(text.add_current)).clicked() {
                    cx.sweep(SweepAction::AddCurrentPrompt);
                }
                let response = ui.add(Button::quiet(text.add_preset).trailing(Icon::ChevronDown));
                Popup::menu(&response)
                    .close_behavior(PopupCloseBehavior::CloseOnClick)
                    .accessible_name(text.add_preset)
                    .show(|ui| {
                        let names = PRESETS
                            .iter()
                            .map(|preset| preset.title(cx.workbench.settings.language));
                        select::as_wide_as(ui, names);
                        for (index, preset) in PRESETS.iter().enumerate() {
                            if select::item(ui, preset.title(cx.workbench.settings.language), false).clicked() {
                                cx.sweep(SweepAction::AddPreset(index));
                            }
                        }
                    });
            });
        });
    });
}

/// Draws the field for a second module.
fn second_module(ui: &mut Ui, cx: &mut PanelContext<'_>, width: f32) {
    let text = SecondModuleText::of(cx.workbench.settings.language);
    let palette = Palette::of(ui);
    let also = &cx.workbench.sweep.form.second_module;
    label(ui, text.second_module);
    let parse = |typed: &str| {
        let typed = typed.trim();
        (typed.is_empty() || Target::parse(typed).is_some()).then(|| typed.to_owned())
    };
    let entered = list_field(ui, text.second_module, also, text.hint, width, parse);
    if is_refused(cx, entered, SweepAction::SetSecondModule) {
        refused(ui, text.refused);
    } else if !also.is_empty() {
        let about = match cx.workbench.sweep_unit() {
            MagnitudeUnit::TokenNorms => text.about_norms,
            MagnitudeUnit::Raw => text.about_raw,
        };
        ui.label(paint::words(about, theme::CAPTION, palette.text3));
        second_model(ui, cx, text, width);
    }
    ui.add_space(6.0);
}

/// Applies an entered value; returns whether the text was refused.
fn is_refused<T>(cx: &mut PanelContext<'_>, entered: Entered<T>, action: impl FnOnce(T) -> SweepAction) -> bool {
    let is_refused = matches!(entered, Entered::Invalid(_));
    cx.has_wrong_field |= is_refused;
    if let Entered::Value(value) = entered {
        cx.sweep(action(value));
    }
    is_refused
}

fn threshold(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = cx.sweep_text();
    let form = &cx.workbench.sweep.form;
    ui.spacing_mut().item_spacing.y = 6.0;
    ui.label(paint::words(text.threshold_about, theme::CAPTION, palette.text3));
    let width = ui.available_width();
    let measures: Vec<_> = Measure::ALL
        .into_iter()
        .filter(|measure| measure.has_threshold())
        .map(|measure| (measure, (cx.text.measures)(measure).to_owned()))
        .collect();
    let name = format!("{}: {}", text.threshold, text.measure);
    if let Some(measure) = select::select(ui, &name, Some(&form.threshold_measure), &measures, "", width) {
        cx.sweep(SweepAction::SetThresholdMeasure(measure));
    }
    let busy = cx.workbench.sweep.is_busy();
    let off = busy || cx.workbench.why_not_sweep().is_some();
    let row = ui.horizontal(|ui| {
        ui.label(paint::words(text.at_least, theme::BODY, palette.text2));
        let field = Field {
            name: text.at_least,
            shown: form.threshold_minimum.to_string(),
            width: 72.0,
        };
        let entered = field.show(ui, decimal);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let len = search_len(cx);
            let words = format!("{} (P {len})", text.find);
            if ui.add_enabled(!off, Button::outlined(&words).icon(Icon::Run)).clicked() {
                cx.sweep(SweepAction::FindThreshold(len));
            }
        });
        entered
    });
    if let Some(minimum) = cx.entered(ui, row.inner, &Accepted::of::<f64>(&(..))) {
        cx.sweep(SweepAction::SetThresholdMinimum(minimum));
    }
    if let Some((_, found)) = &cx.workbench.sweep.threshold {
        ui.label(paint::strong(
            results::threshold_words(cx, found),
            theme::BODY,
            palette.text,
        ));
    }
    ui.add_space(8.0);
}

/// Returns the P of a threshold search: that of the selected record, or the first.
fn search_len(cx: &PanelContext<'_>) -> usize {
    let sweep = &cx.workbench.sweep;
    let of_selected = sweep
        .selected
        .as_deref()
        .and_then(|id| sweep.record(id))
        .and_then(|record| record.case.recipe.as_ref())
        .map(|recipe| recipe.len);
    of_selected.or_else(|| sweep.form.lengths.first().copied()).unwrap_or(1)
}

fn exports(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let text = cx.sweep_text();
    paint::rule(ui);
    ui.add_space(4.0);
    let some = cx.workbench.can_export();
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 8.0;
        let width = (ui.available_width() - theme::CONTROL - 16.0) / 2.0;
        if ui
            .add_enabled(some, Button::outlined(text.export_csv).width(width))
            .clicked()
        {
            cx.act(Action::Export(Format::Csv));
        }
        if ui
            .add_enabled(some, Button::outlined(text.report).width(width))
            .clicked()
        {
            cx.act(Action::Export(Format::Html));
        }
        let menu = ui.add(IconButton::new(Icon::Menu, text.more_exports).outlined());
        Popup::menu(&menu)
            .close_behavior(PopupCloseBehavior::CloseOnClick)
            .accessible_name(text.more_exports)
            .show(|ui| {
                let formats = [Format::Json, Format::Results, Format::LlmComparator];
                select::as_wide_as(ui, formats.map(text.format).into_iter().chain([text.import]));
                for format in formats {
                    let response = ui
                        .add_enabled_ui(some, |ui| select::item(ui, (text.format)(format), false))
                        .inner;
                    if response.clicked() {
                        cx.act(Action::Export(format));
                    }
                }
                paint::rule(ui);
                if select::item(ui, text.import, false).clicked() {
                    cx.act(Action::Open);
                }
            });
    });
}

/// Draws a section's name, with a remark on the right.
pub(super) fn title(ui: &mut Ui, words: &str, remark: &str) {
    let palette = Palette::of(ui);
    ui.horizontal(|ui| {
        ui.set_min_height(24.0);
        ui.label(paint::strong(words, theme::CAPTION, palette.text2));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.label(paint::words(remark, theme::CAPTION, palette.text3));
        });
    });
}

fn label(ui: &mut Ui, words: &str) {
    let palette = Palette::of(ui);
    ui.label(paint::words(words, theme::BODY, palette.text2));
    ui.add_space(4.0);
}

fn pair_line(ui: &mut Ui, name: &str, value: &str) {
    let palette = Palette::of(ui);
    ui.horizontal(|ui| {
        ui.set_min_height(28.0);
        ui.label(paint::words(name, theme::BODY, palette.text2));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let galley = paint::cut_to(ui, value, theme::BODY.regular(), palette.text, ui.available_width());
            ui.add(egui::Label::new(galley));
        });
    });
}

fn refused(ui: &mut Ui, words: &str) {
    let palette = Palette::of(ui);
    ui.add_space(4.0);
    ui.label(paint::words(words, theme::CAPTION, palette.broken));
}

/// Fills the background of an open or hovered row of the history.
pub(super) fn lit(ui: &Ui, rect: Rect) {
    ui.painter()
        .rect_filled(rect, CornerRadius::same(0), Palette::of(ui).raised);
}
