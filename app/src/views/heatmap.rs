//! A heat map of P × magnitude, coloured from the cell that is nearest to the baseline (blue) to the farthest (orange).
//! Every cell is a button with an accessible name; its colour is never the only sign.

use eframe::egui::{
    self, Align2, Color32, CornerRadius, Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2,
};

use super::paint;
use crate::theme::{self, Palette};

/// State of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CellState {
    /// Not run yet.
    #[default]
    Waiting,
    Running,
    Done,
    /// The output is a loop; drawn with a cross.
    Collapsed,
    /// There is no output; drawn as a square with a cross.
    Failed,
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Cell {
    pub state: CellState,
    /// The value, formatted; empty if unknown.
    pub words: String,
    /// Position on the colour scale: 1 for the cell nearest to the baseline, 0 for the farthest; `None` is drawn grey.
    pub nearness: Option<f32>,
    /// `A` or `B` for runs that are being compared.
    pub tag: Option<&'static str>,
    /// Accessible name and tooltip.
    pub accessible_name: String,
}

/// The map; see [`HeatMap::show`].
pub struct HeatMap<'a> {
    pub rows: &'a [String],
    pub columns: &'a [String],
    /// In row order.
    pub cells: &'a [Cell],
    /// Whether the first column is magnitude 0, which is set apart.
    pub zero_first: bool,
    /// The selected cell, as row and column.
    pub current: Option<(usize, usize)>,
    /// Label of cells that are running.
    pub running: &'a str,
}

// Sizes in points.
const ROW: f32 = 31.0;
const HEAD: f32 = 28.0;
const GAP: f32 = 2.0;
const ZERO_GAP: f32 = 8.0;
/// Below this width a cell shows no value.
const NARROW: f32 = 30.0;
/// Below this width a running cell shows a dot in place of its label.
const RUNNING_LABEL: f32 = 56.0;
/// Below this width a cell with a cross shows no value.
const CROSS_AND_VALUE: f32 = 52.0;
/// Least distance of two labels of columns.
const LABEL_GAP: f32 = 4.0;

impl HeatMap<'_> {
    /// Returns the height of the whole map.
    #[must_use]
    pub fn height(rows: usize) -> f32 {
        HEAD + ROW * rows as f32
    }

    /// Draws the map over the available width; returns the cell that was clicked, as row and column.
    pub fn show(&self, ui: &mut Ui) -> Option<(usize, usize)> {
        let palette = Palette::of(ui);
        let width = ui.available_width();
        let (area, _) = ui.allocate_exact_size(vec2(width, Self::height(self.rows.len())), Sense::hover());
        let label = self
            .rows
            .iter()
            .map(|row| {
                paint::line_of_text(ui, row, theme::CAPTION.mono(), palette.text2)
                    .size()
                    .x
            })
            .fold(36.0, f32::max)
            + 12.0;
        let zero_gap = if self.zero_first && self.columns.len() > 1 {
            ZERO_GAP
        } else {
            0.0
        };
        let pitch = (width - label - zero_gap) / self.columns.len().max(1) as f32;
        let x_of =
            |column: usize| area.left() + label + pitch * column as f32 + if column > 0 { zero_gap } else { 0.0 };
        let label_of = |column: usize, words: &str, colour: Color32| {
            let galley = paint::line_of_text(ui, words, theme::CAPTION.mono(), colour);
            let centre = x_of(column) + (pitch - GAP) / 2.0;
            let rect = Rect::from_center_size(pos2(centre, area.top() + 12.0), galley.size());
            (rect, galley)
        };
        let draw_label = |(rect, galley): (Rect, _)| {
            paint::place(ui.painter(), rect.center(), Align2::CENTER_CENTER, galley);
            rect
        };
        // Narrow columns do not all have room for a label; the selected one always has one.
        let selected = self.current.map(|(_, column)| column);
        let selected_words = selected.and_then(|column| self.columns.get(column).map(|words| (column, words)));
        let selected_label = selected_words.map(|(column, words)| draw_label(label_of(column, words, palette.prefix)));
        let mut last: Option<Rect> = None;
        for (column, words) in self.columns.iter().enumerate() {
            if selected == Some(column) {
                continue;
            }
            let label = label_of(column, words, palette.text3);
            let touches = |other: &Rect| other.expand(LABEL_GAP).intersects(label.0);
            if !last.iter().chain(&selected_label).any(touches) {
                last = Some(draw_label(label));
            }
        }
        let mut clicked = None;
        for (row, words) in self.rows.iter().enumerate() {
            let top = area.top() + HEAD + ROW * row as f32;
            let on = self.current.is_some_and(|(current, _)| current == row);
            let colour = if on { palette.prefix } else { palette.text3 };
            paint::text(
                ui.painter(),
                pos2(area.left() + label - 12.0, top + (ROW - GAP) / 2.0),
                Align2::RIGHT_CENTER,
                words,
                theme::CAPTION.mono(),
                colour,
            );
            for column in 0..self.columns.len() {
                let Some(cell) = self.cells.get(row * self.columns.len() + column) else {
                    continue;
                };
                let place = Rect::from_min_size(pos2(x_of(column), top), vec2(pitch - GAP, ROW - GAP));
                if self.cell(ui, cell, place, (row, column)) {
                    clicked = Some((row, column));
                }
            }
        }
        clicked
    }

    fn cell(&self, ui: &mut Ui, cell: &Cell, place: Rect, at: (usize, usize)) -> bool {
        let palette = Palette::of(ui);
        let can_open = matches!(cell.state, CellState::Done | CellState::Collapsed | CellState::Failed);
        let sense = if can_open { Sense::click() } else { Sense::hover() };
        let response = ui.interact(place, ui.scope_id().with(("cell", at)), sense);
        let on = self.current == Some(at);
        response.widget_info(|| WidgetInfo::selected(Role::Button, can_open, on, &cell.accessible_name));
        if !ui.is_rect_visible(place) {
            return response.clicked();
        }
        let radius = CornerRadius::same(theme::RADIUS_CELL);
        let painter = ui.painter();
        let tag = cell.tag.map(|tag| {
            let is_coloured = cell.state == CellState::Done && cell.nearness.is_some();
            let colour = if is_coloured { Color32::WHITE } else { palette.text };
            paint::line_of_text(ui, tag, theme::CAPTION.semibold(), colour)
        });
        let tag_at = place.right_center() - vec2(4.0, 0.0);
        // In a narrow cell the tag is in place of the value.
        let free = tag.as_ref().map_or(place.right(), |tag| tag_at.x - tag.size().x - GAP);
        let draw_value = |colour: Color32, shift: f32| {
            let at = place.center() + vec2(shift, 0.0);
            let galley = paint::line_of_text(ui, &cell.words, theme::CAPTION.mono(), colour);
            if place.width() >= NARROW && at.x + galley.size().x / 2.0 <= free {
                paint::place(painter, at, Align2::CENTER_CENTER, galley);
            }
        };
        match cell.state {
            CellState::Waiting => {
                let corners = [
                    place.left_top(),
                    place.right_top(),
                    place.right_bottom(),
                    place.left_bottom(),
                    place.left_top(),
                ];
                painter.extend(egui::Shape::dashed_line(
                    &corners,
                    Stroke::new(1.0, palette.line),
                    2.0,
                    3.0,
                ));
            }
            CellState::Running => {
                let outline = Stroke::new(1.5, palette.prefix_fill);
                painter.rect(place, radius, palette.panel, outline, StrokeKind::Inside);
                if place.width() >= RUNNING_LABEL {
                    let font = theme::CAPTION.regular();
                    let galley = paint::cut_to(ui, self.running, font, palette.prefix, place.width() - 6.0);
                    paint::place(painter, place.center(), Align2::CENTER_CENTER, galley);
                } else {
                    painter.circle_filled(place.center(), 3.0, palette.prefix_fill);
                }
            }
            CellState::Done => {
                let (fill, colour) = match cell.nearness {
                    Some(nearness) => (shade(nearness), Color32::WHITE),
                    None => (palette.raised, palette.text),
                };
                painter.rect_filled(place, radius, fill);
                draw_value(colour, 0.0);
            }
            CellState::Collapsed | CellState::Failed => {
                let outline = Stroke::new(1.0, palette.broken);
                painter.rect(place, radius, palette.inset, outline, StrokeKind::Inside);
                let wide = place.width() >= CROSS_AND_VALUE && !cell.words.is_empty();
                let mark = place.center() - vec2(if wide { 16.0 } else { 0.0 }, 0.0);
                let stroke = Stroke::new(2.0, palette.broken);
                for side in [-1.0, 1.0] {
                    painter.line_segment([mark - vec2(3.5, 3.5 * side), mark + vec2(3.5, 3.5 * side)], stroke);
                }
                if cell.state == CellState::Failed {
                    let frame = Rect::from_center_size(mark, vec2(13.0, 13.0));
                    painter.rect_stroke(frame, radius, Stroke::new(1.0, palette.broken), StrokeKind::Middle);
                }
                if wide {
                    draw_value(palette.broken, 8.0);
                }
            }
        }
        if let Some(tag) = tag {
            paint::place(painter, tag_at, Align2::RIGHT_CENTER, tag);
        }
        if on || (can_open && response.hovered()) {
            let width = if on { 2.0 } else { 1.0 };
            painter.rect_stroke(place, radius, Stroke::new(width, palette.text), StrokeKind::Outside);
        }
        paint::focus_ring(ui, &response, place, theme::RADIUS_CELL);
        if can_open && response.hovered() {
            ui.ctx().set_cursor_icon(egui::CursorIcon::PointingHand);
        }
        let clicked = response.clicked();
        response.on_hover_text(&cell.accessible_name);
        clicked
    }
}

const NEAR: Color32 = Color32::from_rgb(0x2F, 0x5E, 0x94);
const BETWEEN: Color32 = Color32::from_rgb(0x1E, 0x22, 0x28);
const FAR: Color32 = Color32::from_rgb(0xA8, 0x5A, 0x14);

/// Position of the darkest colour.
const MIDDLE: f32 = 0.5;

/// Returns the colour of a cell: blue at 1 (the nearest to the baseline among the cells), nearly black in the middle,
/// orange at 0 (the farthest). White text is readable on all of them.
#[must_use]
pub fn shade(nearness: f32) -> Color32 {
    let nearness = nearness.clamp(0.0, 1.0);
    if nearness >= MIDDLE {
        BETWEEN.lerp_to_gamma(NEAR, (nearness - MIDDLE) / (1.0 - MIDDLE))
    } else {
        BETWEEN.lerp_to_gamma(FAR, (MIDDLE - nearness) / MIDDLE)
    }
}

/// Draws the scale of [`shade`] as a strip of steps, from near to far.
pub fn scale(ui: &mut Ui, width: f32) {
    let (rect, _) = ui.allocate_exact_size(vec2(width, 14.0), Sense::hover());
    let steps = 20;
    let step = rect.width() / steps as f32;
    for index in 0..steps {
        let left = rect.left() + step * index as f32;
        let part = Rect::from_min_size(pos2(left, rect.top()), vec2(step + 0.5, rect.height()));
        let nearness = 1.0 - index as f32 / (steps - 1) as f32;
        ui.painter().rect_filled(part, 0.0, shade(nearness));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theme::tests::luminance;

    #[test]
    fn white_text_reads_on_every_shade() {
        for step in 0..=100 {
            let colour = shade(step as f32 / 100.0);
            assert!(1.05 / (luminance(colour) + 0.05) >= 4.5, "{step}: {colour:?}");
        }
    }

    #[test]
    fn the_ends_of_the_scale_are_blue_and_orange() {
        assert_eq!(shade(1.0), NEAR);
        assert_eq!(shade(0.5), BETWEEN);
        assert_eq!(shade(0.0), FAR);
    }
}
