//! A text coloured by how far each token's prediction moved: the scale, its legend, the marks over laid-out text, and which of them the
//! pointer is on.
//!
//! The scale is ordered without its hue: each step is lighter than the one before on dark ground, darker on light ground, and its
//! line is a point thicker. It knows no model; it gets nats.

use std::ops::Range;

use eframe::egui::{
    self, Align2, Color32, CornerRadius, Galley, Pos2, Rangef, Rect, Sense, Stroke, StrokeKind, Ui, pos2, vec2,
};

use softprefix_core::compare::{KL_STEPS as EDGES, kl_step as step};

use super::paint;
use crate::theme::{self, Palette, Type, faded};

/// Steps of the scale.
pub const STEPS: usize = EDGES.len() + 1;

/// Fill and line of a step; the first has none.
#[must_use]
pub fn shade(palette: &Palette, step: usize) -> Option<(Color32, Stroke)> {
    let at = step.checked_sub(1)?.min(palette.kl.len() - 1);
    Some((palette.kl[at], Stroke::new((at + 1) as f32, palette.kl_line)))
}

/// Bytes of a text that are coloured as one: a token, or several that share a character.
#[derive(Clone, Debug, PartialEq)]
pub struct Heat {
    pub range: Range<usize>,
    /// The tokens it stands for.
    pub tokens: Range<usize>,
    /// The largest of theirs.
    pub nats: f64,
}

/// Puts tokens together that share characters. `ranges` and `nats` are by token; ranges are in order.
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
    /// Place in the heats.
    pub heat: usize,
    /// The part of it that the pointer is on.
    pub rect: Rect,
}

/// A paragraph laid out at a place.
pub struct Laid<'a> {
    pub galley: &'a Galley,
    pub at: Pos2,
    /// Its bytes in the whole text.
    pub range: &'a Range<usize>,
    pub kind: Type,
    pub opacity: f32,
}

/// Paints the heats that lie in a paragraph, behind its letters; answers the one that `pointer` is on.
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
        let shade = shade(palette, step(heat.nats));
        walk.over(&heat.range, |rect| {
            if rect.top() > clip.bottom() || rect.bottom() < clip.top() {
                return;
            }
            if pointer.is_some_and(|pointer| rect.contains(pointer)) {
                touched = Some(Touched { heat: index, rect });
            }
            if let Some((fill, line)) = shade {
                // A point between tokens shows where one ends.
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

/// Goes through a paragraph's letters once, as its heats are asked for in order.
struct Walk<'a> {
    laid: &'a Laid<'a>,
    /// A byte of the paragraph, and the letters before it.
    byte: usize,
    column: usize,
    /// The row of the last place, and the letters before it.
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

    /// Hands the boxes of `range` to `each`, one for each row it touches.
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

/// The scale with its edges in nats under it; `name` is what a screen reader calls it, `unit` stands behind it where there is room.
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

/// The scale on one line that ends at `right`: the edges stand in its steps. Answers its left end.
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
    let spoken = format!("{name}: {}", EDGES.map(|edge| edge.to_string()).join(", "));
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Image, true, &spoken));
}

/// Paints one of the steps that share the width of `bands`; answers its place.
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

/// Where a step begins. Without a zero before the point: four of them stand close together.
fn edge_of(index: usize) -> Option<String> {
    let edge = EDGES.get(index.checked_sub(1)?)?;
    Some(edge.to_string().trim_start_matches('0').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theme::{DARK, LIGHT};

    #[test]
    fn the_steps_begin_at_their_edges() {
        let found = [0.0, 0.0029, 0.003, 0.29, 0.3, 2.9, 3.0, 50.0].map(step);
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
