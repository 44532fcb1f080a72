//! The Presenter: the slider, the two texts and the plot, readable from across a room. The window is zoomed while it is
//! shown; slider and plot share one x axis.

use eframe::egui::{self, Align, CentralPanel, Frame, Key, Layout, Rect, Ui, UiBuilder, pos2, vec2};

use super::context::PanelContext;
use super::{find, label, outputs, plot_card};
use crate::fonts;
use crate::model::{MagnitudeUnit, PRESETS, PaneState, RunKind};
use crate::theme::{self, Palette, Type, faded};
use crate::views::axis::{Axis, format_magnitude};
use crate::views::diff::{self, Content, DiffPanes, DiffSide};
use crate::views::magnitude::{MagnitudeSlider, NormsCurve};
use crate::views::stage::Stage;
use crate::views::{paint, status};
use crate::workbench::Action;

/// Text styles before the zoom (the first is 36/64 px on the screen): the largest in which both texts fit is used.
const LETTERS: [Type; 4] = [
    Type { size: 24.0, line: 42.0 },
    Type { size: 21.0, line: 36.0 },
    Type { size: 18.0, line: 30.0 },
    Type { size: 16.0, line: 26.0 },
];
/// Share of the height for slider and plot.
const STAGE: f32 = 0.4;
/// Text style of the prompt, before the zoom.
const PROMPT: Type = Type { size: 20.0, line: 26.0 };
/// Margin on both sides.
const MARGIN: f32 = 40.0;
/// Seconds for which the hint how to leave is shown.
const HINT: f64 = 3.0;

/// What the view keeps between frames.
#[derive(Default)]
pub struct Presenter {
    panes: DiffPanes,
    marks: outputs::Marks,
    plot: plot_card::PlotCard,
    /// Time at which it was entered.
    since: Option<f64>,
    shown: Option<(Option<softprefix_core::experiment::GroupKey>, bool)>,
    /// The first difference that was scrolled to.
    revealed: Option<usize>,
}

impl Presenter {
    /// Resets the state of one presentation.
    pub fn leave(&mut self) {
        self.since = None;
    }

    pub fn show(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>) {
        let palette = Palette::of(ui);
        CentralPanel::no_frame()
            .frame(Frame::NONE.fill(palette.window))
            .show(ui, |ui| match cx.workbench.chooses() {
                true => find::present(ui, cx),
                false => self.centre(ui, cx),
            });
        if cx.own.playback.is_none() && !cx.workbench.chooses() {
            keys(ui, cx);
        }
    }

    fn centre(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>) {
        let palette = Palette::of(ui);
        let whole = ui.max_rect();
        let inner = whole.shrink2(vec2(MARGIN, 20.0));
        let asked = prompt(ui, cx, inner);
        let head = Rect::from_min_max(
            pos2(inner.left(), asked),
            pos2(inner.right(), asked + theme::HERO.line + 4.0),
        );
        let stage_height = (inner.height() * STAGE)
            .max(200.0)
            .min(inner.bottom() - head.bottom() - 64.0);
        let stage = inner.with_min_y(inner.bottom() - stage_height);
        let texts = Rect::from_min_max(head.left_bottom(), pos2(inner.right(), stage.top() - 8.0));
        let middle = inner.center().x;
        let halves = |rect: Rect| (rect.with_max_x(middle - 16.0), rect.with_min_x(middle + 16.0));
        let (left, right) = halves(head);
        let y = head.center().y;
        status::baseline_ring(ui.painter(), pos2(left.left() + 8.0, y), 1.5, palette);
        let stale = [RunKind::Baseline, RunKind::Prefixed].map(|run| outputs::stale_words(cx, run));
        let [left_share, right_share] = stale.each_ref().map(|words| if words.is_some() { 0.5 } else { 1.0 });
        let room = (left.width() - 24.0) * left_share;
        let name = outputs::heading(cx, RunKind::Baseline);
        let galley = label::laid_out(ui, cx.text, &name, theme::TITLE.semibold(), palette.baseline, room);
        let place = pos2(left.left() + 24.0, y);
        paint::place(ui.painter(), place, egui::Align2::LEFT_CENTER, galley);
        status::prefix_disc(ui.painter(), pos2(right.left() + 8.0, y), 1.4, palette);
        let label = outputs::heading(cx, RunKind::Prefixed);
        let (size, rest) = label.split_once(cx.text.comma).unwrap_or((&label, ""));
        let placed = paint::text(
            ui.painter(),
            pos2(right.left() + 26.0, y),
            egui::Align2::LEFT_CENTER,
            size,
            egui::FontId::new(theme::HERO.size, fonts::semibold()),
            palette.prefix_fill,
        );
        let room = (right.right() - placed.right() - 16.0) * right_share;
        let galley = label::laid_out(ui, cx.text, rest, theme::CARD_TITLE.regular(), palette.text2, room);
        let placed = paint::place(
            ui.painter(),
            pos2(placed.right() + 16.0, y),
            egui::Align2::LEFT_CENTER,
            galley,
        );
        let heading = placed.with_min_x(right.left());
        let response = ui.interact(heading, ui.scope_id().with("run"), egui::Sense::hover());
        response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, &label));
        // A text with other settings than the controls is labelled with them.
        let places = [
            (RunKind::Baseline, left.right()),
            (RunKind::Prefixed, placed.right() + 16.0),
        ];
        for ((run, at), words) in places.into_iter().zip(stale) {
            let Some(words) = words else { continue };
            let (align, room) = match run {
                RunKind::Baseline => (egui::Align2::RIGHT_CENTER, left.width() * 0.5),
                _ => (egui::Align2::LEFT_CENTER, right.right() - at),
            };
            let galley = paint::cut_to(ui, &words, theme::VERDICT.regular(), palette.text2, room);
            let place = paint::place(ui.painter(), pos2(at, y), align, galley);
            let response = ui.interact(place, ui.scope_id().with(("stale", run)), egui::Sense::hover());
            response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, &words));
        }

        let waiting = cx.workbench.prefixed.state == PaneState::Waiting;
        let shown = Some((cx.workbench.tuning.shown_group.clone(), waiting));
        if shown != self.shown {
            self.shown = shown;
            self.panes.rewind();
        }
        self.marks.refresh(cx);
        let (left, right) = halves(texts);
        let first_difference = self
            .marks
            .of(cx, RunKind::Prefixed)
            .1
            .map(|first_difference| first_difference.byte);
        let first_difference = first_difference.filter(|_| !cx.workbench.is_running());
        if first_difference != self.revealed {
            self.revealed = first_difference;
            if let Some(byte) = first_difference {
                self.panes.reveal(byte, texts.height());
            }
        }
        // Both texts use the same size. It is computed from the complete baseline, so that it stays the same while the
        // other text arrives.
        let kind = letters(
            &[&cx.workbench.left().text, &cx.workbench.prefixed.text],
            left.width(),
            left.height() - diff::MARGIN.y,
        );
        self.panes.follow_the_newest();
        self.output(ui, cx, RunKind::Baseline, left, kind);
        self.output(ui, cx, RunKind::Prefixed, right, kind);
        self.stage(ui, cx, stage);
        self.hint(ui, cx, whole);
    }

    fn output(&mut self, ui: &mut Ui, cx: &PanelContext<'_>, run: RunKind, rect: Rect, kind: Type) {
        let palette = Palette::of(ui);
        let pane = if run == RunKind::Baseline {
            cx.workbench.left()
        } else {
            &cx.workbench.prefixed
        };
        // The panes have a margin of their own; the text is aligned with its heading.
        let body = rect.expand2(vec2(16.0, 0.0));
        let mut child = ui.new_child(UiBuilder::new().id_salt(("present", run)).max_rect(body));
        child.set_clip_rect(body.intersect(ui.clip_rect()));
        if pane.text.is_empty() {
            let words = match (&pane.error, cx.workbench.why_not_run()) {
                (Some(problem), _) => problem.whole(cx.workbench.settings.language),
                (None, Some(why)) => (cx.text.unavailable)(why).to_owned(),
                (None, None) if pane.is_running() => cx.text.waiting.to_owned(),
                (None, None) => String::new(),
            };
            let mut line = child.new_child(UiBuilder::new().max_rect(rect.shrink2(vec2(0.0, 16.0))));
            line.label(paint::words(words, theme::CARD_TITLE, palette.text3));
            return;
        }
        let (marks, first_difference) = self.marks.of(cx, run);
        let description = match first_difference {
            Some(first_difference) => (cx.text.first_difference_at)(first_difference.unit, first_difference.number),
            None => cx.text.no_difference.to_owned(),
        };
        let (name, pane_side) = match run {
            RunKind::Baseline => (cx.text.baseline_output, DiffSide::Left),
            _ => (cx.text.prefixed_output, DiffSide::Right),
        };
        let content = Content {
            text: &pane.text,
            marks,
            heats: &[],
            first_difference: first_difference.map(|first_difference| (first_difference.byte, "")),
            current: None,
            streaming: pane.state == PaneState::Streaming,
            opacity: if pane.stale { 0.6 } else { 1.0 },
            name,
            description: &description,
        };
        self.panes.show(&mut child, pane_side, &content, kind);
    }

    fn stage(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>, rect: Rect) {
        let value = value_on_axis(cx);
        let norms = norms(cx);
        let accessible_value = (cx.text.magnitude_accessible_value)(
            &cx.format_plot_magnitude(value),
            cx.workbench.magnitude_raw().map(format_magnitude).as_deref(),
        );
        let mut child = ui.new_child(UiBuilder::new().id_salt("stage").max_rect(rect));
        let touched = self.plot.with_plot(cx, |plot| {
            let slider = MagnitudeSlider {
                name: cx.text.magnitude,
                accessible_value: &accessible_value,
                norms: norms.as_ref(),
                norms_label: None,
                saved: &[],
                handle: 16.0,
                ground: Palette::of(&child).window,
                // The view handles them, wherever the focus is.
                keys: false,
            };
            let stage = Stage { plot, slider };
            stage.show(&mut child, rect.size(), value, |id| plot_card::describe_point(cx, id))
        });
        plot_card::touched(cx, touched);
        let corner = Rect::from_min_max(
            rect.right_top() + vec2(-400.0, 28.0),
            rect.right_top() + vec2(-16.0, 56.0),
        );
        let mut corner = ui.new_child(
            UiBuilder::new()
                .id_salt("stage zoom")
                .max_rect(corner)
                .layout(Layout::right_to_left(Align::Center)),
        );
        cx.zoomed(&mut corner, plot_card::view(cx));
    }

    fn hint(&mut self, ui: &Ui, cx: &PanelContext<'_>, whole: Rect) {
        let corner = whole.right_top() + vec2(-16.0, 10.0);
        if super::playback::corner(ui, cx.own, corner).is_some() || cx.own.playback.is_some() {
            return;
        }
        let palette = Palette::of(ui);
        let now = ui.input(|input| input.time);
        let left = HINT - (now - *self.since.get_or_insert(now));
        if left <= 0.0 {
            return;
        }
        let strength = (left as f32).min(1.0);
        let words = cx.sweep_text().present_hint;
        paint::text(
            ui.painter(),
            whole.right_top() + vec2(-16.0, 10.0),
            egui::Align2::RIGHT_TOP,
            words,
            theme::CAPTION.regular(),
            faded(palette.text3, strength),
        );
        ui.ctx().request_repaint_after(std::time::Duration::from_millis(50));
    }
}

/// Draws the prompt in at most two lines; returns its bottom.
fn prompt(ui: &mut Ui, cx: &PanelContext<'_>, inner: Rect) -> f32 {
    let palette = Palette::of(ui);
    let words = cx.workbench.prompt.user.trim();
    if words.is_empty() {
        return inner.top();
    }
    let format = egui::TextFormat {
        font_id: PROMPT.regular(),
        line_height: Some(PROMPT.line),
        color: palette.text2,
        valign: Align::Center,
        ..egui::TextFormat::default()
    };
    // The hint how to leave is in the corner.
    let mut job = egui::text::LayoutJob::single_section(words.to_owned(), format);
    job.wrap.max_width = inner.width() - 64.0;
    job.wrap.max_rows = 2;
    let galley = ui.painter().layout_job(job);
    let place = paint::place(ui.painter(), inner.left_top(), egui::Align2::LEFT_TOP, galley);
    let response = ui.interact(place, ui.scope_id().with("prompt"), egui::Sense::hover());
    response.widget_info(|| {
        let mut info = egui::WidgetInfo::labeled(egui::Role::Document, true, cx.text.prompt);
        info.current_text_value = Some(words.to_owned());
        info
    });
    place.bottom() + 4.0
}

/// Returns the largest text style in which all texts fit, estimated without layout.
pub(super) fn letters(texts: &[&str], width: f32, height: f32) -> Type {
    let fits = |kind: &Type| {
        texts.iter().all(|text| {
            let rows: f32 = text
                .split('\n')
                .map(|line| {
                    let ems: f32 = line.chars().map(|c| if c.is_ascii() { 0.53 } else { 1.0 }).sum();
                    // Words are not broken, so that a row ends a little before its full width.
                    (ems * kind.size / (width - kind.size)).ceil().max(1.0)
                })
                .sum();
            rows * kind.line <= height
        })
    };
    let [.., smallest] = LETTERS;
    LETTERS.into_iter().find(fits).unwrap_or(smallest)
}

/// Returns the current magnitude in the unit of the plot's axis.
fn value_on_axis(cx: &PanelContext<'_>) -> f64 {
    let form = &cx.workbench.prefix;
    let converted = match (cx.plot_axis() == Axis::NORMS, form.unit) {
        (true, MagnitudeUnit::Raw) => cx.workbench.magnitude_norms(),
        (false, MagnitudeUnit::TokenNorms) => cx.workbench.magnitude_raw(),
        _ => None,
    };
    converted.unwrap_or(form.magnitude)
}

/// Returns the vocabulary's norms in the unit of the axis.
fn norms(cx: &PanelContext<'_>) -> Option<NormsCurve> {
    cx.norms_curve().filter(|_| cx.plot_axis() == Axis::NORMS)
}

/// Handles keys: the arrows move the slider, Page Up and Page Down select a preset, Home sets 0.
fn keys(ui: &Ui, cx: &mut PanelContext<'_>) {
    if cx.workbench.dialog.is_some() || ui.ctx().egui_wants_keyboard_input() {
        return;
    }
    let (steps, large, presets, home, run) = ui.input(|input| {
        let pressed = |key| input.num_presses(key) as i32;
        let arrows = pressed(Key::ArrowRight) - pressed(Key::ArrowLeft);
        (
            if input.modifiers.shift { 0 } else { arrows },
            if input.modifiers.shift { arrows } else { 0 } + pressed(Key::ArrowUp) - pressed(Key::ArrowDown),
            pressed(Key::PageDown) - pressed(Key::PageUp),
            input.key_pressed(Key::Home),
            input.key_pressed(Key::Space),
        )
    });
    if steps != 0 {
        cx.act(Action::ScaleMagnitude(1.02_f64.powi(steps)));
    }
    if large != 0 {
        cx.act(Action::ScaleMagnitude(1.2_f64.powi(large)));
    }
    if home {
        cx.act(Action::SetMagnitude(0.0));
    }
    if presets != 0 {
        let now = cx.workbench.prompt.preset().unwrap_or(0) as i32;
        let next = (now + presets).rem_euclid(PRESETS.len() as i32) as usize;
        cx.act(Action::LoadPreset(next));
        cx.act(Action::Run);
    } else if run && cx.workbench.why_not_run().is_none() {
        cx.act(Action::Run);
    }
}
