//! The two outputs side by side with marked differences, and details of each below.

use std::ops::Range;
use std::sync::Arc;

use eframe::egui::{
    self, Align, Galley, Label, Layout, Popup, PopupCloseBehavior, Rect, Sense, Ui, UiBuilder, Vec2, pos2, vec2,
};
use softprefix_core::compare::Granularity;
use softprefix_core::experiment::{Applied, GroupKey};

use super::context::{CardParts, PanelContext};
use super::{label, scores};
use crate::commands::CommandId;
use crate::model::{Colouring, FirstDifference, Pane, PaneState, RunKind};
use crate::text;
use crate::theme::{self, Palette, Type};
use crate::views::button::Button;
use crate::views::diff::{self, Content, DiffPanes, DiffSide};
use crate::views::icon::{Icon, IconButton};
use crate::views::status::{self, Status};
use crate::views::{kl, paint, progress, select};
use crate::workbench::{Action, DiffOf};

/// Text sizes of the outputs: the largest in which both texts fit is used, or else the last, in which they scroll.
pub(super) const SIZES: [Type; 3] = [
    Type { size: 22.0, line: 40.0 },
    Type { size: 18.0, line: 32.0 },
    Type { size: 15.0, line: 25.0 },
];
/// Minimum height of the panes, also used while there is no text.
pub(super) const LEAST: f32 = 152.0;
const WITHOUT_TEXT: f32 = 200.0;
/// Room that the rest of a label has in its pane's heading, however little the buttons leave.
const LEAST_OF_LABEL: f32 = 60.0;
/// In a narrower footer the copy button has an icon and no label.
const WORDS_ON_COPY: f32 = 480.0;
/// Width of the sign before a doubt, with its gap.
const MARK: f32 = 24.0;
/// Maximum width of the left pane's label in its heading.
const LEFT_LABEL: f32 = 240.0;
/// A stale text is shown this strongly.
pub(super) const STALE: f32 = 0.6;

/// The marks over the two texts, cached between frames.
#[derive(Default)]
pub(super) struct Marks {
    of: Option<Arc<DiffOf>>,
    streaming: bool,
    left: Vec<Range<usize>>,
    right: Vec<Range<usize>>,
    first_difference: Option<FirstDifference>,
    /// Label of the flag.
    flag: String,
}

/// The selected text size, and what it was selected for.
struct Fitted {
    group: Option<GroupKey>,
    texts: [Arc<str>; 2],
    is_running: bool,
    width: f32,
    room: f32,
    kind: Type,
    /// Height of the longer text in it, with its margins.
    need: f32,
}

/// What the outputs keep between frames.
#[derive(Default)]
pub struct Outputs {
    panes: DiffPanes,
    marks: Marks,
    heats: scores::HeatMarks,
    fitted: Option<Fitted>,
    /// The difference that was scrolled to.
    stepped: Option<usize>,
    /// The texts shown last, to detect a change.
    shown: Option<(GroupKey, Option<String>, bool)>,
}

impl Outputs {
    /// Returns the height of both texts over `width` in the selected text size: at most `most`, or the height that the
    /// user set.
    pub fn height(&mut self, ui: &Ui, cx: &PanelContext<'_>, width: f32, most: f32, set: Option<f32>) -> f32 {
        let workbench = cx.workbench;
        let half = ((width - theme::GAP) / 2.0).floor();
        let set = set.map(|height| height.clamp(LEAST, most.max(LEAST)));
        let room = set.unwrap_or(most) - CardParts::FRAME;
        let texts = [&workbench.left().text, &workbench.prefixed.text];
        let is_running = workbench.is_running();
        let before = self.fitted.take().filter(|before| {
            before.group == workbench.tuning.shown_group && before.width == half && before.room == room
        });
        let is_same = |before: &Fitted| {
            let same = |(old, new): (&Arc<str>, &&Arc<str>)| Arc::ptr_eq(old, new);
            before.is_running == is_running && before.texts.iter().zip(&texts).all(same)
        };
        let fitted = match before {
            Some(before) if is_same(&before) => before,
            before => {
                // While text arrives, the text size only shrinks and the height only grows.
                let held = before.as_ref().filter(|before| is_running || before.is_running);
                let held_kind = before
                    .as_ref()
                    .filter(|_| is_running)
                    .map_or(f32::MAX, |before| before.kind.size);
                let kinds: Vec<Type> = SIZES.into_iter().filter(|kind| kind.size <= held_kind).collect();
                let [.., smallest] = SIZES;
                let (kind, mut need) =
                    diff::fit(ui, texts.map(|text| &**text), half, room, &kinds).unwrap_or((smallest, room));
                // A difference of one row between runs does not change the height.
                let slack = if is_running { f32::MAX } else { 2.0 * kind.line };
                if let Some(held) =
                    held.filter(|held| held.need > need && held.need - need <= slack && held.need <= room)
                {
                    need = held.need;
                }
                Fitted {
                    group: workbench.tuning.shown_group.clone(),
                    texts: texts.map(Arc::clone),
                    is_running,
                    width: half,
                    room,
                    kind,
                    need,
                }
            }
        };
        let height = (fitted.need + CardParts::FRAME).max(WITHOUT_TEXT).min(most).max(LEAST);
        self.fitted = Some(fitted);
        set.unwrap_or(height).floor()
    }

    pub fn show(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>, height: f32) {
        let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
        let half = ((rect.width() - theme::GAP) / 2.0).floor();
        let left = Rect::from_min_size(rect.min, vec2(half, height));
        let right = Rect::from_min_max(pos2(rect.right() - half, rect.top()), rect.max);
        let waiting = cx.workbench.prefixed.state == PaneState::Waiting;
        let tuning = &cx.workbench.tuning;
        let shown = tuning
            .shown_group
            .clone()
            .map(|key| (key, tuning.selected_record.clone(), waiting));
        if shown != self.shown {
            self.shown = shown;
            self.panes.rewind();
        }
        self.marks.refresh(cx);
        let stepped = cx.workbench.difference().and_then(|(now, _)| now);
        if stepped != self.stepped {
            self.stepped = stepped;
            if stepped.is_some() {
                self.panes.step();
            }
        }
        self.pane(ui, cx, RunKind::Baseline, left);
        self.pane(ui, cx, RunKind::Prefixed, right);
    }

    /// Returns the first difference of the shown texts, as far as they have arrived.
    pub fn first_difference_so_far(&self, cx: &PanelContext<'_>) -> Option<FirstDifference> {
        self.marks.of(cx, RunKind::Prefixed).1
    }

    fn pane(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>, run: RunKind, rect: Rect) {
        let palette = Palette::of(ui);
        let text = cx.text;
        let pane = if run == RunKind::Baseline {
            cx.workbench.left()
        } else {
            &cx.workbench.prefixed
        };
        let mut parts = CardParts::paint(ui, rect);
        if pane.error.is_some() {
            // Two lines of an error need a higher footer.
            parts = CardParts::paint_with_footer(ui, rect, 76.0);
        }
        let header = parts.header.shrink2(vec2(theme::PADDING, 0.0));
        let mut child = ui.new_child(
            UiBuilder::new()
                .id_salt(("header", run))
                .max_rect(header)
                .layout(Layout::left_to_right(Align::Center)),
        );
        header_of(&mut child, cx, run, pane);

        let mut body = ui.new_child(UiBuilder::new().id_salt(("body", run)).max_rect(parts.body));
        body.set_clip_rect(parts.body.intersect(ui.clip_rect()));
        if pane.text.is_empty() {
            let words = empty_words(cx, run, pane);
            let inner = parts.body.shrink(theme::PADDING);
            let mut line = body.new_child(UiBuilder::new().max_rect(inner));
            line.label(paint::words(words, theme::BODY, palette.text3));
        } else {
            let (marks, first_difference) = self.marks.of(cx, run);
            let mut description = match first_difference {
                Some(first_difference) => (text.first_difference_at)(first_difference.unit, first_difference.number),
                None => text.no_difference.to_owned(),
            };
            let scores = cx.colouring_scores().filter(|_| run == RunKind::Baseline);
            let heats = match run {
                RunKind::Baseline => self.heats.of(scores),
                _ => &[],
            };
            if let Some(scores) = scores {
                description = format!("{description} {}", scores::accessible_value(cx.scoring_text(), scores));
            }
            let (name, pane_side) = match run {
                RunKind::Baseline => (text.baseline_output, DiffSide::Left),
                _ => (text.prefixed_output, DiffSide::Right),
            };
            // While scores are computed no marks are drawn: those of the diff could be mistaken for them.
            let by_kl = run == RunKind::Baseline && cx.workbench.colouring() == Colouring::Kl;
            let content = Content {
                text: &pane.text,
                marks: if by_kl { &[] } else { marks },
                heats,
                first_difference: first_difference
                    .map(|first_difference| (first_difference.byte, self.marks.flag.as_str())),
                current: stepped_to(cx, run).filter(|_| !by_kl),
                streaming: pane.state == PaneState::Streaming,
                opacity: if is_stale(cx, run, pane) { STALE } else { 1.0 },
                name,
                description: &description,
            };
            let [.., smallest] = SIZES;
            let kind = self.fitted.as_ref().map_or(smallest, |fitted| fitted.kind);
            let touched = self.panes.show(&mut body, pane_side, &content, kind);
            if let (Some(touched), Some(scores)) = (touched, scores)
                && let Some(heat) = heats.get(touched.heat)
            {
                scores::tooltip(&body, cx, scores, heat, touched);
            }
        }

        let footer = parts.footer.shrink2(vec2(theme::PADDING, 0.0));
        let mut child = ui.new_child(
            UiBuilder::new()
                .id_salt(("footer", run))
                .max_rect(footer)
                .layout(Layout::right_to_left(Align::Center)),
        );
        footer_of(&mut child, cx, run, pane);
    }
}

impl CardParts {
    fn paint_with_footer(ui: &Ui, rect: Rect, height: f32) -> Self {
        let mut parts = Self::paint(ui, rect);
        let palette = Palette::of(ui);
        let top = parts.footer.bottom() - height;
        parts.footer.min.y = top;
        parts.body.max.y = top;
        let footer = parts.footer;
        let radius = egui::CornerRadius {
            sw: theme::RADIUS_CARD,
            se: theme::RADIUS_CARD,
            ..Default::default()
        };
        ui.painter().rect_filled(footer, radius, palette.panel);
        ui.painter()
            .hline(footer.x_range(), top, egui::Stroke::new(1.0, palette.line));
        parts
    }
}

impl Marks {
    pub(super) fn refresh(&mut self, cx: &PanelContext<'_>) {
        let workbench = cx.workbench;
        let streaming = workbench.prefixed.is_running() || workbench.left().is_running();
        let same = match (&self.of, &workbench.diff) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        if same && streaming == self.streaming {
            return;
        }
        *self = Self {
            of: workbench.diff.clone(),
            streaming,
            ..Self::default()
        };
        let Some(of) = &self.of else { return };
        let first_difference = FirstDifference::of(&of.left, &of.right, workbench.granularity);
        self.left = of.diff.removed().collect();
        self.right = of.diff.added().collect();
        if streaming {
            // Text that has not arrived is not "removed": the end of a partial text is not a difference.
            let (arriving, other) = if workbench.left().is_running() {
                (&of.left, &mut self.right)
            } else {
                (&of.right, &mut self.left)
            };
            let end = if workbench.left().is_running() {
                of.right.len()
            } else {
                of.left.len()
            };
            if other.last().is_some_and(|last| last.end == end) {
                other.pop();
            }
            self.first_difference = first_difference.filter(|first_difference| first_difference.byte < arriving.len());
        } else {
            self.first_difference = first_difference;
        }
        self.flag = first_difference.map_or_else(String::new, |first_difference| first_difference.number.to_string());
    }

    /// Returns marks and first difference of a run's text, if they belong to the shown text.
    pub(super) fn of(&self, cx: &PanelContext<'_>, run: RunKind) -> (&[Range<usize>], Option<FirstDifference>) {
        if cx.workbench.covered(run) == 0 {
            return (&[], None);
        }
        let marks = if run == RunKind::Baseline {
            &self.left
        } else {
            &self.right
        };
        (marks, self.first_difference)
    }
}

/// Returns the current difference, as bytes of a pane's text.
fn stepped_to(cx: &PanelContext<'_>, run: RunKind) -> Option<Range<usize>> {
    let (now, _) = cx.workbench.difference()?;
    let change = cx.workbench.diff.as_ref()?.diff.changes.get(now?)?;
    Some(match run {
        RunKind::Baseline => change.left.clone(),
        _ => change.right.clone(),
    })
}

fn empty_words(cx: &PanelContext<'_>, run: RunKind, pane: &Pane) -> &'static str {
    let text = cx.text;
    if pane.is_running() {
        return text.waiting;
    }
    if let Some(why) = cx.workbench.why_not_run() {
        return (text.unavailable)(why);
    }
    if run == RunKind::Baseline {
        text.baseline_empty
    } else {
        text.prefixed_empty
    }
}

fn header_of(ui: &mut Ui, cx: &mut PanelContext<'_>, run: RunKind, pane: &Pane) {
    let palette = Palette::of(ui);
    let text = cx.text;
    ui.spacing_mut().item_spacing.x = 8.0;
    let (sign, _) = ui.allocate_exact_size(vec2(14.0, 16.0), Sense::hover());
    let whole = heading(cx, run);
    let stale = stale_words(cx, run).filter(|_| is_stale(cx, run, pane));
    let stale = stale.map(|words| {
        let galley = paint::cut_to(ui, &words, theme::CAPTION.regular(), palette.text3, 140.0);
        (words, galley)
    });
    // The whole label is one node for assistive technology, whatever is painted of it.
    let put = |ui: &mut Ui, galley: Arc<Galley>| {
        let (rect, _) = ui.allocate_exact_size(galley.size(), Sense::hover());
        paint::place(ui.painter(), rect.min, egui::Align2::LEFT_TOP, galley);
    };
    if run == RunKind::Baseline {
        status::baseline_ring(ui.painter(), sign.center(), 1.0, palette);
        let font = theme::NAME.semibold();
        let galley = label::laid_out(ui, text, &whole, font, palette.text, LEFT_LABEL);
        put(ui, galley);
    } else {
        status::prefix_disc(ui.painter(), sign.center(), 1.0, palette);
        let (size, rest) = whole.split_once(text.comma).unwrap_or((&whole, ""));
        let [name, size] = [(text.prefixed, palette.text), (size, palette.prefix)]
            .map(|(words, colour)| paint::line_of_text(ui, words, theme::NAME.semibold(), colour));
        let font = theme::CAPTION.regular();
        let rest_width = paint::line_of_text(ui, rest, font.clone(), palette.text2).size().x;
        let stale_width = stale.as_ref().map_or(0.0, |(_, galley)| galley.size().x + 8.0);
        let room = ui.available_width() - size.size().x - 5.0 - stale_width - buttons_width(ui, cx);
        ui.spacing_mut().item_spacing.x = 5.0;
        // The sign says that it is the prefix; the label says which.
        if name.size().x + 5.0 + rest_width <= room {
            put(ui, name);
        }
        put(ui, size);
        ui.spacing_mut().item_spacing.x = 8.0;
        let room = room.max(LEAST_OF_LABEL);
        let galley = label::laid_out(ui, text, rest, font, palette.text2, room);
        put(ui, galley);
    }
    let response = ui.interact(ui.min_rect(), ui.scope_id().with(("label", run)), Sense::hover());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, &whole));
    response.on_hover_text(whole);
    if let Some((words, galley)) = stale {
        ui.add(Label::new(galley).show_tooltip_when_elided(false))
            .on_hover_text(words);
    }
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        ui.spacing_mut().item_spacing.x = 8.0;
        let is_pinned = run == RunKind::Baseline && cx.workbench.tuning.pinned().is_some();
        if is_pinned {
            if ui
                .add(Button::outlined(cx.sweep_text().unpin).small().height(28.0))
                .clicked()
            {
                cx.act(Action::Pin(None));
            }
        } else if run == RunKind::Baseline {
            scores::switch(ui, cx);
        }
        if run == RunKind::Prefixed {
            differences(ui, cx);
            let room = ui.available_width();
            granularity(ui, cx, room);
        }
        if run == RunKind::Baseline && cx.workbench.colouring() == Colouring::Kl {
            let words = cx.scoring_text();
            kl::legend(ui, words.scale, words.nats);
        } else {
            legend(ui, cx, run);
        }
        let room = ui.available_width();
        if run == RunKind::Baseline && !is_pinned && room >= 32.0 && !cx.workbench.baseline.text.is_empty() {
            let off = cx.workbench.why_not_run().is_some() || cx.workbench.is_running();
            if ui
                .add_enabled(!off, IconButton::new(Icon::Again, text.rerun_baseline))
                .clicked()
            {
                cx.act(Action::RerunBaseline);
            }
        }
    });
}

/// Returns the name of the left pane: the baseline, or the run that is pinned in its place.
fn left_name(cx: &PanelContext<'_>) -> String {
    match cx.workbench.tuning.pinned() {
        Some(record) => label::of(cx, record, &cx.workbench.tuning.analysis),
        None => cx.text.baseline.to_owned(),
    }
}

/// Returns the label above a pane: that of the run whose text it shows, or of the controls while it shows none or an old one.
pub(super) fn heading(cx: &PanelContext<'_>, run: RunKind) -> String {
    let workbench = cx.workbench;
    let pane = match run {
        RunKind::Baseline => workbench.left(),
        _ => &workbench.prefixed,
    };
    let shown = whole_label(cx, run).filter(|_| !is_stale(cx, run, pane));
    shown.unwrap_or_else(|| match run {
        RunKind::Baseline => left_name(cx),
        _ => label::recipe(cx.text, &workbench.prefix.recipe()),
    })
}

/// Returns the width of the buttons beside the prefixed pane's label.
fn buttons_width(ui: &Ui, cx: &PanelContext<'_>) -> f32 {
    let gap = ui.spacing().item_spacing.x;
    let differences = differences_words(ui, cx).map_or(0.0, |words| differences_size(&words).x + gap);
    differences + granularity_button(cx).measure(ui) + gap
}

/// The label of the run whose text a pane shows.
fn whole_label(cx: &PanelContext<'_>, run: RunKind) -> Option<String> {
    let tuning = &cx.workbench.tuning;
    let record = match run {
        RunKind::Baseline => tuning.pinned().or(tuning.baseline()),
        _ => tuning.current().map(|(record, _)| record),
    };
    let shown = match run {
        RunKind::Baseline => cx.workbench.left(),
        _ => &cx.workbench.prefixed,
    };
    let record = record.filter(|record| !shown.is_running() && record.output() == &*shown.text)?;
    Some(label::of(cx, record, &tuning.analysis))
}

/// Returns the settings of a pane's text if they differ from the controls.
pub(super) fn stale_words(cx: &PanelContext<'_>, run: RunKind) -> Option<String> {
    let text = cx.text;
    let pane = match run {
        RunKind::Baseline => cx.workbench.left(),
        _ => &cx.workbench.prefixed,
    };
    if pane.text.is_empty() || !pane.stale {
        return None;
    }
    let origin = pane.stale_from.as_ref().filter(|_| run == RunKind::Prefixed);
    let now = cx.workbench.group_key();
    let shown = cx.workbench.tuning.shown_group.as_ref().unwrap_or(&now);
    let differs = label::differing(cx, shown, origin.map(|origin| (&origin.recipe, origin.token_norms)));
    Some(match differs.is_empty() {
        true => text.other_settings.to_owned(),
        false => (text.from)(&differs),
    })
}

/// Returns whether the text no longer matches the controls. A reopened run is not stale.
fn is_stale(cx: &PanelContext<'_>, run: RunKind, pane: &Pane) -> bool {
    pane.stale && (run == RunKind::Baseline || cx.workbench.tuning.selected_record.is_none())
}

/// Draws a legend of this pane's marks.
fn legend(ui: &mut Ui, cx: &PanelContext<'_>, run: RunKind) {
    if cx.workbench.diff.is_none() {
        return;
    }
    let palette = Palette::of(ui);
    let (words, colour) = match run {
        RunKind::Baseline => (cx.text.removed, palette.baseline),
        _ => (cx.text.added, palette.prefix_fill),
    };
    let galley = paint::line_of_text(ui, words, theme::CAPTION.regular(), palette.text2);
    let size = vec2(galley.size().x + 8.0, 18.0);
    if ui.available_width() < size.x {
        return;
    }
    let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
    ui.painter()
        .rect_filled(rect, 0.0, theme::faded(colour, palette.mark_tint));
    let stroke = egui::Stroke::new(2.0, colour);
    if run == RunKind::Baseline {
        paint::dashed_h(ui.painter(), rect.x_range(), rect.bottom() - 1.0, stroke, 5.0, 3.0);
    } else {
        ui.painter().hline(rect.x_range(), rect.bottom() - 1.0, stroke);
    }
    paint::place(
        ui.painter(),
        rect.center() - vec2(0.0, 1.0),
        egui::Align2::CENTER_CENTER,
        galley,
    );
}

/// Returns the number of the current difference, or how many there are.
fn differences_words(ui: &Ui, cx: &PanelContext<'_>) -> Option<Arc<Galley>> {
    let (now, count) = cx.workbench.difference()?;
    let words = match now {
        Some(now) => (cx.text.difference_of)(now + 1, count),
        None => (cx.text.differences)(count),
    };
    let colour = Palette::of(ui).text2;
    Some(paint::line_of_text(ui, &words, theme::CAPTION.regular(), colour))
}

/// Returns the size of these words with a button at each side.
fn differences_size(words: &Galley) -> Vec2 {
    vec2(words.size().x + 2.0 * 24.0, 24.0)
}

/// Draws the buttons for the previous and next difference, and its number.
pub(super) fn differences(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let Some(galley) = differences_words(ui, cx) else {
        return;
    };
    let text = cx.text;
    let size = differences_size(&galley);
    if ui.available_width() < size.x {
        return;
    }
    let reading = Layout::left_to_right(Align::Center);
    ui.allocate_ui_with_layout(size, reading, |ui| {
        ui.spacing_mut().item_spacing.x = 0.0;
        let before = IconButton::new(Icon::ChevronLeft, (text.command)(CommandId::PreviousDifference)).size(24.0);
        if ui.add(before).clicked() {
            cx.act(Action::StepDifference(-1));
        }
        ui.add(Label::new(galley));
        let next = IconButton::new(Icon::ChevronRight, (text.command)(CommandId::NextDifference)).size(24.0);
        if ui.add(next).clicked() {
            cx.act(Action::StepDifference(1));
        }
    });
}

fn granularity_button(cx: &PanelContext<'_>) -> Button<'static> {
    Button::quiet((cx.text.granularities)(cx.workbench.granularity))
        .trailing(Icon::ChevronDown)
        .small()
        .name(cx.text.granularity)
}

fn granularity(ui: &mut Ui, cx: &mut PanelContext<'_>, room: f32) {
    let text = cx.text;
    let current = cx.workbench.granularity;
    let button = granularity_button(cx);
    if button.measure(ui) > room {
        return;
    }
    let response = ui.add(button);
    Popup::menu(&response)
        .close_behavior(PopupCloseBehavior::CloseOnClick)
        .accessible_name(text.granularity)
        .show(|ui| {
            select::as_wide_as(ui, Granularity::ALL.map(text.granularities));
            for granularity in Granularity::ALL {
                let words = (text.granularities)(granularity);
                if select::item(ui, words, granularity == current).clicked() {
                    cx.act(Action::SetGranularity(granularity));
                }
            }
        });
}

fn footer_of(ui: &mut Ui, cx: &mut PanelContext<'_>, run: RunKind, pane: &Pane) {
    let palette = Palette::of(ui);
    let text = cx.text;
    let copy = if run == RunKind::Baseline {
        text.copy_baseline
    } else {
        text.copy_prefixed
    };
    let enabled = !pane.text.is_empty();
    ui.add_space(-8.0);
    let clicked = if ui.available_width() < WORDS_ON_COPY {
        ui.add_enabled(enabled, IconButton::new(Icon::Copy, copy).size(28.0))
            .clicked()
    } else {
        let button = Button::quiet(text.copy).icon(Icon::Copy).small().name(copy);
        ui.add_enabled(enabled, button).clicked()
    };
    if clicked {
        cx.act(Action::CopyText(run));
    }
    if run == RunKind::Prefixed && pane.error.is_none() {
        let room = ui.available_width();
        super::rating::controls(ui, cx, room);
        ui.add_space(8.0);
    }
    let width = ui.available_width();
    if let Some(problem) = &pane.error {
        let room = ui.available_rect_before_wrap().shrink2(vec2(0.0, 10.0));
        let mut child = ui.new_child(UiBuilder::new().max_rect(room).layout(Layout::top_down(Align::Min)));
        let words = problem.whole(cx.workbench.settings.language);
        super::module_card::with_mark(&mut child, Status::Broken, |ui| {
            let mut job = egui::text::LayoutJob::simple(
                words.clone(),
                theme::CAPTION.regular(),
                palette.text,
                ui.available_width(),
            );
            job.wrap.max_rows = 4;
            ui.add(Label::new(ui.painter().layout_job(job)).show_tooltip_when_elided(false))
                .on_hover_text(&words);
        });
        return;
    }
    ui.allocate_ui_with_layout(
        vec2(width, ui.available_height()),
        Layout::left_to_right(Align::Center),
        |ui| {
            ui.set_width(width);
            facts(ui, cx, run, pane);
        },
    );
}

/// Draws times and counts, the most important first, omitting those that do not fit.
fn facts(ui: &mut Ui, cx: &PanelContext<'_>, run: RunKind, pane: &Pane) {
    let palette = Palette::of(ui);
    let text = cx.text;
    let timings = &pane.timings;
    let mut facts: Vec<Vec<(String, bool)>> = Vec::new();
    let word = |words: &str| (words.to_owned(), false);
    if let Some(first) = timings.first_token {
        facts.push(vec![word(text.first_token), (text::time(first), true)]);
    }
    if let Some(rate) = timings.tokens_per_second {
        facts.push(vec![(format!("{rate:.0}"), true), word(text.tokens_per_second)]);
    }
    if let Some(tokens) = timings.tokens {
        facts.push(vec![(tokens.to_string(), true), word(text.tokens)]);
    }
    if let Some(share) = timings.drafted {
        facts.push(vec![(format!("{:.0}", share * 100.0), true), word(text.drafted)]);
    }
    let ending = match (pane.state, pane.finish) {
        (PaneState::Waiting, _) => Some(text.waiting),
        (PaneState::Streaming, _) => Some(text.streaming),
        (PaneState::Done, Some(finish)) => Some((text.finish)(finish)),
        _ => None,
    };
    let is_baseline = run == RunKind::Baseline && cx.workbench.tuning.pinned().is_none();
    let check = cx.workbench.repeat_progress().filter(|_| is_baseline);
    if let Some(share) = check {
        checking(ui, cx, share);
        return;
    }
    ui.spacing_mut().item_spacing.x = 5.0;
    if run == RunKind::Baseline && scores::figures_under_the_baseline(ui, cx) {
        return;
    }
    if run == RunKind::Prefixed && cx.workbench.colouring() == Colouring::Kl {
        scores::perplexity(ui, cx);
    }
    let running = pane.is_running();
    let doubt = applied_words(cx).filter(|_| run == RunKind::Prefixed && !running);
    let width_of = |words: &str, mono: bool| {
        let font = if mono {
            theme::CAPTION.mono()
        } else {
            theme::CAPTION.regular()
        };
        paint::line_of_text(ui, words, font, palette.text).size().x + 5.0
    };
    // How the run ended and whether its prefix was applied come first; then as many facts as there is room for.
    let mut room = ui.available_width()
        - ending.map_or(0.0, |words| width_of(words, false))
        - doubt.map_or(0.0, |words| width_of(words, false) + MARK);
    let fits = |fact: &&Vec<(String, bool)>| {
        room -= fact.iter().map(|(words, mono)| width_of(words, *mono)).sum::<f32>() + 10.0;
        room >= 0.0
    };
    let shown = facts.iter().take_while(fits).count();
    let whole: Vec<String> = facts
        .iter()
        .map(|fact| {
            fact.iter()
                .map(|(words, _)| words.as_str())
                .collect::<Vec<_>>()
                .join(" ")
        })
        .chain(ending.map(str::to_owned))
        .collect();
    let row = ui.scope(|ui| {
        for fact in &facts[..shown] {
            for (words, mono) in fact {
                if *mono {
                    ui.label(paint::figures(words, theme::CAPTION, palette.text));
                } else {
                    ui.label(paint::words(words, theme::CAPTION, palette.text3));
                }
            }
            ui.add_space(10.0);
        }
        if let Some(ending) = ending {
            let colour = match (running, run) {
                (true, RunKind::Baseline) => palette.baseline,
                (true, _) => palette.prefix,
                (false, _) => palette.text3,
            };
            let galley = paint::cut_to(ui, ending, theme::CAPTION.regular(), colour, ui.available_width());
            ui.add(Label::new(galley));
        }
    });
    if shown < facts.len() {
        row.response.on_hover_text(whole.join("  ·  "));
    }
    if let Some(words) = doubt {
        let galley = paint::line_of_text(ui, words, theme::CAPTION.regular(), palette.warning);
        status::mark(ui, Status::Warning);
        ui.add(Label::new(galley));
    }
}

/// Draws the purpose and the progress of the baseline's second run.
fn checking(ui: &mut Ui, cx: &PanelContext<'_>, share: f32) {
    let palette = Palette::of(ui);
    let text = cx.text;
    let drafts = cx.workbench.module.facts().is_some_and(|facts| facts.is_ours());
    let words = if drafts { text.checking } else { text.running_again };
    let galley = paint::cut_to(
        ui,
        words,
        theme::CAPTION.regular(),
        palette.text2,
        ui.available_width() - 76.0,
    );
    ui.add(Label::new(galley).show_tooltip_when_elided(false))
        .on_hover_text(text.checking_about);
    progress::bar(ui, Some(share), 64.0, words);
}

/// Returns the warning that the module may not have applied the prefix.
fn applied_words(cx: &PanelContext<'_>) -> Option<&'static str> {
    let (_, point) = cx.workbench.tuning.current()?;
    let applied = cx.workbench.tuning.group()?.applied(point);
    let is_warning = matches!(applied, Applied::Doubtful | Applied::Contradicted | Applied::Unknown);
    is_warning.then(|| applied.name().get(cx.workbench.settings.language))
}
