//! Colours a text by the KL divergence at each token: the scale, its legend, and the marks behind laid-out text.
//!
//! The order of the scale does not depend on its hue: each step is lighter than the one before on a dark background and
//! darker on a light one, and its line is one point thicker.

use std::ops::Range;

use eframe::egui::{
    self, Align2, Color32, CornerRadius, Galley, Pos2, Rangef, Rect, Sense, Stroke, StrokeKind, Ui, pos2, vec2,
};

use softprefix_core::compare::{KL_STEPS, kl_step};

use super::paint;
use crate::theme::{self, Palette, Type, faded};

/// Number of steps of the scale.
pub const STEPS: usize = KL_STEPS.len() + 1;

/// Returns fill and line of a step; the first has none.
#[must_use]
pub fn shade(palette: &Palette, step: usize) -> Option<(Color32, Stroke)> {
    let at = step.checked_sub(1)?.min(palette.kl.len() - 1);
    Some((palette.kl[at], Stroke::new((at + 1) as f32, palette.kl_line)))
}

/// Bytes of a text with one colour: a token, or several that share a character.
#[derive(Clone, Debug, PartialEq)]
pub struct Heat {
    pub range: Range<usize>,
    /// Indices of its tokens.
    pub tokens: Range<usize>,
    /// The largest KL of its tokens.
    pub nats: f64,
}

/// Merges tokens that share a character; one without text joins the one before it. `ranges` and `nats` are per token, in order.
#[must_use]
pub fn heats(ranges: &[Range<usize>], nats: &[f64]) -> Vec<Heat> {
    let mut heats: Vec<Heat> = Vec::with_capacity(ranges.len());
    for (index, (range, &nats)) in ranges.iter().zip(nats).enumerate() {
        match heats.last_mut() {
            Some(last) if range.start < last.range.end || range.is_empty() => {
                last.range.end = last.range.end.max(range.end);
                last.tokens.end = index + 1;
                last.nats = last.nats.max(nats);
            }
            _ => heats.push(Heat {
                range: range.clone(),
                tokens: index..index + 1,
                nats,
            }),
        }
    }
    heats
}

/// The mark under the pointer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Touched {
    /// Index of the heat.
    pub heat: usize,
    /// The rectangle under the pointer.
    pub rect: Rect,
}

/// A laid-out paragraph, without line breaks, and its position.
pub struct Laid<'a> {
    pub galley: &'a Galley,
    pub at: Pos2,
    /// Its bytes in the whole text.
    pub range: &'a Range<usize>,
    pub kind: Type,
    pub opacity: f32,
}

/// Paints the heats of a paragraph behind its letters; returns the one under `pointer`.
pub fn paint(ui: &Ui, laid: &Laid<'_>, heats: &[Heat], pointer: Option<Pos2>) -> Option<Touched> {
    let palette = Palette::of(ui);
    let painter = ui.painter();
    let clip = painter.clip_rect();
    let mut touched = None;
    let mut walk = Walk::new(laid);
    let first = heats.partition_point(|heat| heat.range.end <= laid.range.start);
    for (index, heat) in heats.iter().enumerate().skip(first) {
        if heat.range.start > laid.range.end {
            break;
        }
        let shade = shade(palette, kl_step(heat.nats));
        walk.over(&heat.range, |rect| {
            if rect.top() > clip.bottom() || rect.bottom() < clip.top() {
                return;
            }
            if pointer.is_some_and(|pointer| rect.contains(pointer)) {
                touched = Some(Touched { heat: index, rect });
            }
            if let Some((fill, line)) = shade {
                // A gap of one point separates tokens.
                let area = rect.with_max_x((rect.right() - 1.0).max(rect.left() + 1.0));
                painter.rect_filled(area, 0.0, faded(fill, laid.opacity));
                let y = area.bottom() - line.width / 2.0;
                painter.hline(
                    area.x_range(),
                    y,
                    Stroke::new(line.width, faded(line.color, laid.opacity)),
                );
            }
        });
    }
    if let Some(touched) = touched {
        painter.rect_stroke(
            touched.rect.expand(1.0),
            CornerRadius::same(theme::RADIUS_CELL),
            Stroke::new(1.0, palette.text),
            StrokeKind::Outside,
        );
    }
    touched
}

/// Iterates over the letters of a paragraph once, while its heats are requested in order.
struct Walk<'a> {
    laid: &'a Laid<'a>,
    /// A byte of the paragraph, and the number of letters before it.
    byte: usize,
    column: usize,
    /// The row of the last position, and the number of letters before it.
    row: usize,
    before: usize,
}

impl<'a> Walk<'a> {
    fn new(laid: &'a Laid<'a>) -> Self {
        Self {
            laid,
            byte: 0,
            column: 0,
            row: 0,
            before: 0,
        }
    }

    fn column(&mut self, byte: usize) -> usize {
        let end = byte.clamp(self.laid.range.start, self.laid.range.end) - self.laid.range.start;
        if end < self.byte {
            (self.byte, self.column, self.row, self.before) = (0, 0, 0, 0);
        }
        self.column += self
            .laid
            .galley
            .text()
            .get(self.byte..end)
            .map_or(0, |letters| letters.chars().count());
        self.byte = end;
        self.column
    }

    /// Calls `each` with the rectangles of `range`, one per row.
    fn over(&mut self, range: &Range<usize>, mut each: impl FnMut(Rect)) {
        let (from, to) = (self.column(range.start), self.column(range.end));
        if from >= to {
            return;
        }
        while let Some(row) = self.laid.galley.rows.get(self.row) {
            let end = self.before + row.glyphs.len();
            let (left, right) = (from.max(self.before), to.min(end));
            if left < right {
                let x_of = |column: usize| self.laid.at.x + row.pos.x + row.x_offset((column - self.before).into());
                let band = super::diff::mark_band(self.laid.at.y + row.pos.y, self.laid.kind);
                each(Rect::from_x_y_ranges(Rangef::new(x_of(left), x_of(right)), band));
            }
            if to <= end {
                return;
            }
            self.row += 1;
            self.before = end;
        }
    }
}

/// Width of a step in the legend.
const SWATCH: f32 = 28.0;

/// Draws the scale with its edges in nats below; `name` is its accessible name, and `unit` is appended if there is
/// room.
pub fn legend(ui: &mut Ui, name: &str, unit: &str) {
    let palette = Palette::of(ui);
    let unit = paint::line_of_text(ui, unit, theme::CAPTION.regular(), palette.text3);
    let bare = SWATCH * STEPS as f32;
    if ui.available_width() < bare {
        return;
    }
    let with_unit = ui.available_width() >= bare + 6.0 + unit.size().x;
    let width = if with_unit { bare + 6.0 + unit.size().x } else { bare };
    let (rect, response) = ui.allocate_exact_size(vec2(width, 34.0), Sense::hover());
    speak(&response, name);
    let painter = ui.painter();
    let bands = Rect::from_min_size(rect.min + vec2(0.0, 3.0), vec2(bare, 13.0));
    for index in 0..STEPS {
        let band = paint_step(ui, bands, index);
        if let Some(edge) = edge_of(index) {
            let place = pos2(band.left(), rect.bottom() - 1.0);
            let font = theme::CAPTION.mono();
            paint::text(painter, place, Align2::CENTER_BOTTOM, &edge, font, palette.text2);
        }
    }
    if with_unit {
        paint::place(painter, pos2(rect.right(), bands.top()), Align2::RIGHT_TOP, unit);
    }
}

/// Draws the scale on one line that ends at `right`, with the edges inside its steps. Returns its left end.
pub fn legend_in_line(ui: &mut Ui, right: Pos2, name: &str, unit: &str) -> f32 {
    let palette = Palette::of(ui);
    let unit = paint::line_of_text(ui, unit, theme::CAPTION.regular(), palette.text3);
    let placed = paint::place(ui.painter(), right, Align2::RIGHT_CENTER, unit);
    let size = vec2((SWATCH + 4.0) * STEPS as f32, 18.0);
    let rect = Align2::RIGHT_CENTER.anchor_size(pos2(placed.left() - 6.0, right.y), size);
    let response = ui.interact(rect, ui.scope_id().with("kl legend"), Sense::hover());
    speak(&response, name);
    for index in 0..STEPS {
        let band = paint_step(ui, rect, index);
        if let Some(edge) = edge_of(index) {
            let place = band.center() - vec2(0.0, 1.0);
            let font = theme::CAPTION.mono();
            paint::text(ui.painter(), place, Align2::CENTER_CENTER, &edge, font, palette.text);
        }
    }
    rect.left()
}

fn speak(response: &egui::Response, name: &str) {
    let accessible_name = format!("{name}: {}", KL_STEPS.map(|edge| edge.to_string()).join(", "));
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Image, true, &accessible_name));
}

/// Paints one of the steps that divide the width of `bands`; returns its rectangle.
fn paint_step(ui: &Ui, bands: Rect, index: usize) -> Rect {
    let palette = Palette::of(ui);
    let width = bands.width() / STEPS as f32;
    let left = bands.left() + width * index as f32;
    let band = Rect::from_min_size(pos2(left, bands.top()), vec2(width - 1.0, bands.height()));
    match shade(palette, index) {
        Some((fill, line)) => {
            ui.painter().rect_filled(band, 0.0, fill);
            ui.painter()
                .hline(band.x_range(), band.bottom() - line.width / 2.0, line);
        }
        None => {
            let outline = Stroke::new(1.0, palette.line);
            ui.painter().rect_stroke(band, 0.0, outline, StrokeKind::Inside);
        }
    }
    band
}

/// Returns the lower edge of a step, without a leading zero to save space.
fn edge_of(index: usize) -> Option<String> {
    let edge = KL_STEPS.get(index.checked_sub(1)?)?;
    Some(edge.to_string().trim_start_matches('0').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theme::{DARK, LIGHT};

    #[test]
    fn the_steps_begin_at_their_edges() {
        let found = [0.0, 0.0029, 0.003, 0.29, 0.3, 2.9, 3.0, 50.0].map(kl_step);
        assert_eq!(found, [0, 0, 1, 2, 3, 3, 4, 4]);
    }

    #[test]
    fn each_step_has_a_thicker_line_than_the_one_before() {
        for palette in [DARK, LIGHT] {
            assert!(shade(&palette, 0).is_none());
            let lines: Vec<f32> = (1..STEPS).map(|step| shade(&palette, step).unwrap().1.width).collect();
            assert_eq!(lines, [1.0, 2.0, 3.0, 4.0]);
        }
    }

    #[test]
    fn tokens_that_share_a_character_are_one_mark_with_the_largest_of_their_values() {
        let found = heats(&[0..1, 1..5, 2..5, 5..8, 8..8], &[0.1, 0.2, 0.7, 0.0, 3.0]);
        let ranges: Vec<_> = found
            .iter()
            .map(|heat| (heat.range.clone(), heat.tokens.clone(), heat.nats))
            .collect();
        assert_eq!(ranges, [(0..1, 0..1, 0.1), (1..5, 1..3, 0.7), (5..8, 3..5, 3.0)]);
    }
}
