//! Two runs side by side: the changed settings, both texts with marked differences, and the measures of both.

use std::ops::Range;
use std::sync::Arc;

use eframe::egui::{self, Align, Align2, Layout, Rect, Sense, Stroke, StrokeKind, Ui, UiBuilder, pos2, vec2};
use softprefix_core::compare::{Measure, Measures};
use softprefix_core::experiment::analysis::Point;
use softprefix_core::experiment::{CaseOutcome, Record};

use super::super::{label, outputs, rating, scores};
use super::words;
use crate::errors;
use crate::model::{FirstDifference, Unit};
use crate::panels::context::PanelContext;
use crate::theme::{self, Palette, Type};
use crate::views::button::Button;
use crate::views::diff::{self, Content, DiffPanes, DiffSide};
use crate::views::{kl, paint};
use crate::workbench::SweepAction;
use crate::workbench::sweep::PairDiff;

/// Minimum height of a text's box: two lines.
const BOX_LEAST: f32 = 68.0;
/// Height above the texts: the title, and the changed settings.
const ABOVE: f32 = 12.0 + 28.0 + 4.0 + 42.0 + 8.0;
/// Height of the label above each text, and the gap between both.
const NAME: f32 = 22.0;
const BETWEEN: f32 = 4.0;
const TABLE_ROW: f32 = 23.0;

/// What the card keeps between frames.
pub struct PairCard {
    panes: DiffPanes,
    of: Option<Arc<PairDiff>>,
    left: Vec<Range<usize>>,
    right: Vec<Range<usize>>,
    first_difference: Option<FirstDifference>,
    /// The label of its flag.
    flag: String,
    heats: scores::PairHeats,
    /// Text style of the two texts.
    kind: Type,
    /// The difference that was scrolled to.
    stepped: Option<usize>,
}

impl Default for PairCard {
    fn default() -> Self {
        let [.., smallest] = outputs::SIZES;
        Self {
            panes: DiffPanes::default(),
            of: None,
            left: Vec::new(),
            right: Vec::new(),
            first_difference: None,
            flag: String::new(),
            heats: scores::PairHeats::default(),
            kind: smallest,
            stepped: None,
        }
    }
}

/// Minimum width for placing the texts side by side.
const WIDE: f32 = 640.0;

/// Returns the text style in which both texts fit into boxes of this size, and their height.
fn letters_of(ui: &Ui, records: [&Record; 2], width: f32, height: f32) -> (Type, f32) {
    let texts = records.map(|record| record.text().unwrap_or_default());
    let [.., smallest] = outputs::SIZES;
    // The largest text style is not used, since a pair is read from near.
    diff::fit(ui, texts, width, height, &outputs::SIZES[1..]).unwrap_or((smallest, height))
}

impl PairCard {
    pub fn show(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>, width: f32, height: f32) {
        let palette = Palette::of(ui);
        let text = cx.sweep_text();
        let (rect, _) = ui.allocate_exact_size(vec2(width, height), Sense::hover());
        let radius = egui::CornerRadius::same(theme::RADIUS_CARD);
        let outline = Stroke::new(1.0, palette.line);
        ui.painter()
            .rect(rect, radius, palette.panel, outline, StrokeKind::Inside);
        let inner = rect.shrink2(vec2(theme::PADDING, 12.0));
        let mut child = ui.new_child(
            UiBuilder::new()
                .id_salt("pair")
                .max_rect(inner)
                .layout(Layout::top_down(Align::Min)),
        );
        let ui = &mut child;
        ui.set_clip_rect(rect.intersect(ui.clip_rect()));
        ui.spacing_mut().item_spacing.y = 0.0;
        self.head(ui, cx);
        let workbench = cx.workbench;
        let Some((left, right)) = workbench.sweep.pair() else {
            ui.add_space(8.0);
            ui.label(paint::words(text.pair_empty, theme::BODY, palette.text3));
            return;
        };
        self.refresh(cx);
        ui.add_space(4.0);
        what_changed(ui, cx, left, right, self.first_difference);
        ui.add_space(8.0);
        // Side by side if there is enough width, or else one above the other.
        let room = inner.bottom() - ui.cursor().top();
        let is_wide = inner.width() >= WIDE;
        let (width, each) = match is_wide {
            true => ((inner.width() - theme::GAP) / 2.0, (room - NAME).max(BOX_LEAST)),
            false => (inner.width(), ((room - BETWEEN) / 2.0 - NAME).max(BOX_LEAST)),
        };
        self.kind = letters_of(ui, [left, right], width, each).0;
        let stepped = workbench.difference().and_then(|(now, _)| now);
        if stepped != self.stepped {
            self.stepped = stepped;
            if stepped.is_some() {
                self.panes.step();
            }
        }
        let letters = if workbench.sweep.pinned.is_some() {
            ("A ", "B ")
        } else {
            ("", "")
        };
        let name = if workbench.sweep.pinned.is_some() {
            text.output_a
        } else {
            cx.text.baseline_output
        };
        let other = if workbench.sweep.pinned.is_some() {
            text.output_b
        } else {
            cx.text.prefixed_output
        };
        let from = ui.cursor().min;
        let next = match is_wide {
            true => from + vec2(width + theme::GAP, 0.0),
            false => from + vec2(0.0, NAME + each + BETWEEN),
        };
        let sides = [
            (DiffSide::Left, from, (letters.0, name), left),
            (DiffSide::Right, next, (letters.1, other), right),
        ];
        for (pane, at, named, record) in sides {
            let place = Rect::from_min_size(at, vec2(width, NAME + each));
            let mut child = ui.new_child(
                UiBuilder::new()
                    .id_salt(("pair side", pane as u8))
                    .max_rect(place)
                    .layout(Layout::top_down(Align::Min)),
            );
            child.spacing_mut().item_spacing.y = 0.0;
            self.output(&mut child, cx, pane, named, record, each);
        }
    }

    /// Returns the height of both texts one above the other, at most `most`.
    pub fn need(&self, ui: &Ui, cx: &PanelContext<'_>, width: f32, most: f32) -> f32 {
        let Some((left, right)) = cx.workbench.sweep.pair() else {
            return 0.0;
        };
        let chrome = ABOVE + 2.0 * NAME + BETWEEN + 12.0;
        let each = (most - chrome) / 2.0;
        let (_, need) = letters_of(ui, [left, right], width - 2.0 * theme::PADDING, each);
        chrome + 2.0 * need.min(each)
    }

    fn head(&self, ui: &mut Ui, cx: &mut PanelContext<'_>) {
        let palette = Palette::of(ui);
        let text = cx.sweep_text();
        let sweep = &cx.workbench.sweep;
        let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 28.0), Sense::hover());
        let title = if sweep.pinned.is_some() {
            text.pair_pinned
        } else {
            text.pair
        };
        paint::text(
            ui.painter(),
            rect.left_center(),
            Align2::LEFT_CENTER,
            title,
            theme::CARD_TITLE.semibold(),
            palette.text,
        );
        let mut right = ui.new_child(
            UiBuilder::new()
                .id_salt("pair buttons")
                .max_rect(rect)
                .layout(Layout::right_to_left(Align::Center)),
        );
        right.spacing_mut().item_spacing.x = 0.0;
        if sweep.pinned.is_some() {
            if right.add(Button::quiet(text.unpin).height(28.0)).clicked() {
                cx.sweep(SweepAction::Unpin);
            }
            if sweep.pinned != sweep.selected && right.add(Button::quiet(text.swap).height(28.0)).clicked() {
                cx.sweep(SweepAction::Swap);
            }
        } else if sweep.selected.is_some() && right.add(Button::quiet(text.pin).height(28.0)).clicked() {
            cx.sweep(SweepAction::Pin);
        }
        if sweep.selected.is_some() {
            right.add_space(4.0);
            scores::pair_switch(&mut right, cx);
            right.add_space(4.0);
            outputs::differences(&mut right, cx);
            // The rest of the line is the title's.
            let title = paint::line_of_text(&right, title, theme::CARD_TITLE.semibold(), palette.text);
            let room = right.available_width() - title.size().x - 20.0;
            right.add_space(8.0);
            rating::controls(&mut right, cx, room);
        }
    }

    fn refresh(&mut self, cx: &PanelContext<'_>) {
        let now = &cx.workbench.sweep.diff;
        let same = match (&self.of, now) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        self.of.clone_from(now);
        self.panes.rewind();
        self.left.clear();
        self.right.clear();
        self.first_difference = None;
        if let Some(pair) = &self.of {
            self.left = pair.diff.removed().collect();
            self.right = pair.diff.added().collect();
            self.first_difference = FirstDifference::of(&pair.left, &pair.right, pair.granularity);
            self.flag = self
                .first_difference
                .map_or_else(String::new, |first| first.number.to_string());
        }
    }

    fn output(
        &mut self,
        ui: &mut Ui,
        cx: &PanelContext<'_>,
        pane: DiffSide,
        (letter, name): (&str, &str),
        record: &Record,
        height: f32,
    ) {
        let palette = Palette::of(ui);
        let text = cx.sweep_text();
        let (head, _) = ui.allocate_exact_size(vec2(ui.available_width(), 22.0), Sense::hover());
        let measure = Measure::Chrf2;
        let value = cx.workbench.sweep.point(&record.id).map(|(group, point)| {
            let verdict = (text.verdict)(group.verdict(point));
            match point.measures.as_ref().filter(|_| !record.is_baseline()) {
                Some(measures) => format!(
                    "{verdict}{}{} {}",
                    cx.text.comma,
                    (cx.text.measures)(measure),
                    words::figures(measure, measure.value(measures))
                ),
                None => verdict.to_owned(),
            }
        });
        let value = value.filter(|_| !record.is_baseline()).unwrap_or_default();
        let heats = match pane {
            DiffSide::Left => self.heats.of(cx),
            DiffSide::Right => None,
        };
        let room = if heats.is_some() {
            let words = cx.scoring_text();
            kl::legend_in_line(ui, head.right_center(), words.scale, words.nats) - head.left() - 12.0
        } else {
            let value = paint::line_of_text(ui, &value, theme::CAPTION.regular(), palette.text2);
            let room = head.width() - value.size().x - 12.0;
            paint::place(ui.painter(), head.right_center(), Align2::RIGHT_CENTER, value);
            room
        };
        let mut x = head.left();
        if !letter.is_empty() {
            let at = pos2(x, head.center().y);
            let placed = paint::text(
                ui.painter(),
                at,
                Align2::LEFT_CENTER,
                letter,
                theme::BODY.semibold(),
                palette.text,
            );
            x = placed.right() + 6.0;
        }
        let made = label::of(cx, record, &cx.workbench.sweep.analysis);
        let room = room - (x - head.left());
        let galley = label::laid_out(ui, cx.text, &made, theme::BODY.regular(), palette.text2, room);
        paint::place(ui.painter(), pos2(x, head.center().y), Align2::LEFT_CENTER, galley);

        let (body, _) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
        ui.painter()
            .rect_filled(body, egui::CornerRadius::same(theme::RADIUS_CONTROL), palette.inset);
        let mut child = ui.new_child(
            UiBuilder::new()
                .id_salt(("pair body", pane as u8))
                .max_rect(body)
                .layout(Layout::top_down(Align::Min)),
        );
        child.set_clip_rect(body.intersect(ui.clip_rect()));
        let Some(output) = record.text() else {
            let mut inner = child.new_child(
                UiBuilder::new()
                    .max_rect(body.shrink(12.0))
                    .layout(Layout::top_down(Align::Min)),
            );
            let error = errors::case(record).map(|problem| problem.whole(cx.workbench.settings.language));
            let words = error.unwrap_or_else(|| text.no_text.to_owned());
            inner.label(paint::words(words, theme::BODY, palette.broken));
            if let CaseOutcome::Failed(failure) = &record.outcome
                && !failure.partial_text.is_empty()
            {
                let cut = (text.cut_off)(failure.partial_text.chars().count());
                inner.add_space(8.0);
                inner.label(paint::words(cut, theme::CAPTION, palette.broken));
                inner.label(paint::words(failure.partial_text.clone(), theme::BODY, palette.text));
            }
            return;
        };
        // Marks belong to the compared texts; while a new diff is computed there are none.
        let current = self.of.as_ref().is_some_and(|pair| match pane {
            DiffSide::Left => &*pair.left == output,
            DiffSide::Right => &*pair.right == output,
        });
        let marks: &[Range<usize>] = match (current, pane) {
            (false, _) => &[],
            (true, DiffSide::Left) => &self.left,
            (true, DiffSide::Right) => &self.right,
        };
        let first_difference = self.first_difference.filter(|_| current);
        let description = match first_difference {
            Some(first) => {
                let place = (cx.text.first_difference_at)(first.unit, first.number);
                [made.as_str(), &place].join(cx.text.comma)
            }
            None => made,
        };
        let content = Content {
            text: output,
            marks,
            heats: heats.unwrap_or_default(),
            first_difference: first_difference.map(|first| (first.byte, self.flag.as_str())),
            current: stepped_to(cx, pane).filter(|_| current),
            streaming: false,
            opacity: 1.0,
            name,
            description: &description,
        };
        let touched = self.panes.show(&mut child, pane, &content, self.kind);
        if let (Some(touched), Some(heats)) = (touched, heats)
            && let Some(heat) = heats.get(touched.heat)
        {
            scores::short_tooltip(&child, cx, output, heat, touched);
        }
    }
}

/// Returns the current difference, as bytes of a text of the pair.
fn stepped_to(cx: &PanelContext<'_>, pane: DiffSide) -> Option<Range<usize>> {
    let (now, _) = cx.workbench.difference()?;
    let change = cx.workbench.sweep.diff.as_ref()?.diff.changes.get(now?)?;
    Some(match pane {
        DiffSide::Left => change.left.clone(),
        DiffSide::Right => change.right.clone(),
    })
}

/// Returns the height of [`measures_card`]; 0 if there is no pair.
pub fn measures_height(cx: &PanelContext<'_>) -> f32 {
    match cx.workbench.sweep.pair() {
        Some((left, right)) => TABLE_ROW * (table(cx, left, right).len() + 1) as f32 + 16.0,
        None => 0.0,
    }
}

/// Draws the card with the measures of both runs.
pub fn measures_card(ui: &mut Ui, cx: &PanelContext<'_>, width: f32) {
    let Some((left, right)) = cx.workbench.sweep.pair() else {
        return;
    };
    let rows = table(cx, left, right);
    let (rect, _) = ui.allocate_exact_size(vec2(width, measures_height(cx)), Sense::hover());
    let palette = Palette::of(ui);
    let radius = egui::CornerRadius::same(theme::RADIUS_CARD);
    let outline = Stroke::new(1.0, palette.line);
    ui.painter()
        .rect(rect, radius, palette.panel, outline, StrokeKind::Inside);
    let inner = rect.shrink2(vec2(theme::PADDING, 8.0));
    let mut child = ui.new_child(UiBuilder::new().id_salt("pair measures").max_rect(inner));
    child.spacing_mut().item_spacing.y = 0.0;
    show_table(&mut child, cx, &rows);
}

/// Draws one or two sentences on the changed settings and their effect.
fn what_changed(
    ui: &mut Ui,
    cx: &PanelContext<'_>,
    left: &Record,
    right: &Record,
    first_difference: Option<FirstDifference>,
) {
    let palette = Palette::of(ui);
    let text = cx.sweep_text();
    let changes = words::changes(cx.text, text, left, right);
    let sentence = match changes.as_slice() {
        [] => text.nothing_changed.to_owned(),
        [one] => (text.only)(one),
        several => several.join("; ") + cx.text.full_stop,
    };
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        ui.label(paint::strong(text.what_changed, theme::BODY, palette.text));
        ui.label(paint::words(sentence, theme::BODY, palette.text));
    });
    ui.add_space(2.0);
    let sweep = &cx.workbench.sweep;
    let measures = |record: &Record| sweep.point(&record.id).and_then(|(_, point)| point.measures.clone());
    let effect = match (measures(left), measures(right)) {
        (Some(a), Some(b)) if sweep.pinned.is_some() => between(cx, &a, &b),
        (_, Some(b)) if !b.is_same() => {
            let measure = Measure::Chrf2;
            let place = match first_difference {
                Some(first) => (cx.text.nth)(first.unit, first.number),
                None => (cx.text.nth)(Unit::Character, b.first_divergence.graphemes + 1),
            };
            let differs = (text.differs_at)(&place);
            let value = (text.value_is)((cx.text.measures)(measure), &words::figures(measure, measure.value(&b)));
            two_parts(cx, &differs, &value)
        }
        _ => String::new(),
    };
    if !effect.is_empty() {
        ui.label(paint::words(effect, theme::BODY, palette.text2));
    }
}

/// Describes how two runs differ in their distance to the baseline.
fn between(cx: &PanelContext<'_>, a: &Measures, b: &Measures) -> String {
    let text = cx.sweep_text();
    let (from, to) = (a.first_divergence.graphemes + 1, b.first_divergence.graphemes + 1);
    let differs = match from.cmp(&to) {
        std::cmp::Ordering::Greater => (text.differs_earlier)(from - to, from, to),
        std::cmp::Ordering::Less => (text.differs_later)(to - from, from, to),
        std::cmp::Ordering::Equal => (text.differs_same)(from),
    };
    let measure = Measure::Chrf2;
    let figures = |measures| format!("{:.0}", measure.value(measures).unwrap_or_default());
    let value = (text.value_to)((cx.text.measures)(measure), &figures(a), &figures(b));
    two_parts(cx, &differs, &value)
}

fn two_parts(cx: &PanelContext<'_>, one: &str, other: &str) -> String {
    [one, cx.text.comma, other, cx.text.full_stop].concat()
}

/// A row of the table: name, A, B, change.
struct Row {
    name: String,
    a: String,
    b: String,
    change: String,
}

fn table(cx: &PanelContext<'_>, left: &Record, right: &Record) -> Vec<Row> {
    let sweep = &cx.workbench.sweep;
    let (a, b) = (
        sweep.point(&left.id).map(|(_, point)| point),
        sweep.point(&right.id).map(|(_, point)| point),
    );
    let measured = |point: Option<&Point>, measure: Measure| {
        point
            .and_then(|point| point.measures.as_ref())
            .and_then(|measures| measure.value(measures))
    };
    let mut shown = vec![
        Measure::Chrf2,
        Measure::FirstDivergence,
        Measure::Distinct4,
        Measure::Length,
    ];
    if right.scores.is_some() || left.scores.is_some() {
        shown.extend([Measure::KlMean, Measure::Perplexity]);
    }
    if !shown.contains(&cx.workbench.measure) {
        shown.push(cx.workbench.measure);
    }
    shown
        .into_iter()
        .map(|measure| {
            let (a, b) = (measured(a, measure), measured(b, measure));
            Row {
                name: (cx.text.measures)(measure).to_owned(),
                a: label::figures(measure, a),
                b: label::figures(measure, b),
                change: a.zip(b).map_or_else(String::new, |(a, b)| label::change(measure, a, b)),
            }
        })
        .collect()
}

/// Maximum width of a cell.
const COLUMN: f32 = 98.0;

fn show_table(ui: &mut Ui, cx: &PanelContext<'_>, rows: &[Row]) {
    let palette = Palette::of(ui);
    let text = cx.sweep_text();
    let width = ui.available_width();
    let pinned = cx.workbench.sweep.pinned.is_some();
    let columns = [width - 208.0, width - 104.0, width];
    let line = |ui: &mut Ui, cells: [&str; 4], head: bool, last: bool| {
        let (rect, _) = ui.allocate_exact_size(vec2(width, TABLE_ROW), Sense::hover());
        let painter = ui.painter();
        let colour = if head { palette.text3 } else { palette.text2 };
        let name = paint::cut_to(ui, cells[0], theme::CAPTION.regular(), colour, columns[0] - COLUMN);
        paint::place(painter, rect.left_center(), Align2::LEFT_CENTER, name);
        for (index, right) in columns.into_iter().enumerate() {
            let at = pos2(rect.left() + right, rect.center().y);
            let colour = match (head, index) {
                (true, _) => palette.text3,
                (false, 2) => palette.text,
                _ => palette.text2,
            };
            let font = if head && index < 3 {
                theme::CAPTION.regular()
            } else {
                theme::CAPTION.mono()
            };
            let galley = paint::cut_to(ui, cells[index + 1], font, colour, COLUMN);
            paint::place(painter, at, Align2::RIGHT_CENTER, galley);
        }
        if !last {
            let y = rect.bottom() - 0.5;
            painter.hline(rect.x_range(), y, Stroke::new(1.0, palette.line));
        }
    };
    let (a, b) = if pinned {
        ("A", "B")
    } else {
        (text.baseline, cx.text.prefix)
    };
    line(ui, ["", a, b, text.change_column], true, false);
    for (index, row) in rows.iter().enumerate() {
        line(
            ui,
            [&row.name, &row.a, &row.b, &row.change],
            false,
            index + 1 == rows.len(),
        );
    }
}
