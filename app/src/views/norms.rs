//! A bar chart of the norms of a prefix's rows, with the band of the vocabulary's norms.

use eframe::egui::{Align2, CornerRadius, Rect, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};

use super::paint;
use crate::theme::{self, Palette};

/// Bars over a band.
pub struct NormBars<'a> {
    pub name: &'a str,
    pub accessible_value: &'a str,
    pub norms: &'a [f64],
    /// Lower and upper edge.
    pub band: Option<(f64, f64)>,
    /// A line at the median of the vocabulary.
    pub line: Option<f64>,
    /// Suffix of the numbers: `×`, or nothing.
    pub unit: &'a str,
    /// Returns the name of a row from its number, from 1.
    pub row: &'a dyn Fn(usize) -> String,
    pub height: f32,
}

/// Width of the labels on the left.
const LABELS: f32 = 48.0;

impl NormBars<'_> {
    /// Draws the bars over the available width.
    pub fn show(&self, ui: &mut Ui) {
        let palette = Palette::of(ui);
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), self.height), Sense::hover());
        response.widget_info(|| {
            let mut info = WidgetInfo::labeled(Role::Image, true, self.name);
            info.current_text_value = Some(self.accessible_value.to_owned());
            info
        });
        let area = Rect::from_min_max(rect.min + vec2(LABELS, 8.0), rect.max - vec2(0.0, 4.0));
        let top = top_of(self.norms, self.band);
        let y = |norm: f64| area.bottom() - area.height() * (norm / top).clamp(0.0, 1.0) as f32;
        let painter = ui.painter();
        painter.rect_filled(
            rect.with_min_x(area.left()),
            CornerRadius::same(theme::RADIUS_TAG),
            palette.inset,
        );
        if let Some((low, high)) = self.band {
            // A band far below the bars is still drawn as a line.
            let band = Rect::from_min_max(pos2(area.left(), y(high).min(y(low) - 2.0)), pos2(area.right(), y(low)));
            painter.rect_filled(band, CornerRadius::ZERO, theme::faded(palette.text3, 0.28));
        }
        let pitch = area.width() / self.norms.len().max(1) as f32;
        let width = (pitch * 0.6).clamp(1.0, 28.0);
        for (row, norm) in self.norms.iter().enumerate() {
            let x = area.left() + pitch * (row as f32 + 0.5);
            let shape = Rect::from_min_max(
                pos2(x - width / 2.0, y(*norm).min(area.bottom() - 2.0)),
                pos2(x + width / 2.0, area.bottom()),
            );
            painter.rect_filled(shape, CornerRadius::same(1), palette.prefix_fill);
        }
        if let Some(line) = self.line {
            painter.hline(area.x_range(), y(line), Stroke::new(1.0, palette.text3));
        }
        let most = self.norms.iter().copied().fold(0.0, f64::max);
        let mut taken: Vec<f32> = Vec::new();
        for norm in [Some(0.0), self.line, Some(most)].into_iter().flatten() {
            let at = y(norm);
            if taken.iter().any(|other| (other - at).abs() < 14.0) {
                continue;
            }
            taken.push(at);
            let words = format!("{}{}", super::axis::format_magnitude(norm), self.unit);
            let anchor = pos2(area.left() - 8.0, at);
            paint::text(
                painter,
                anchor,
                Align2::RIGHT_CENTER,
                &words,
                theme::CAPTION.mono(),
                palette.text3,
            );
        }
        if let Some(pointer) = response
            .hover_pos()
            .filter(|pointer| area.x_range().contains(pointer.x))
        {
            let row = ((pointer.x - area.left()) / pitch) as usize;
            if let Some(norm) = self.norms.get(row) {
                let words = format!(
                    "{}: {}{}",
                    (self.row)(row + 1),
                    super::axis::format_magnitude(*norm),
                    self.unit
                );
                response.on_hover_text_at_pointer(words);
            }
        }
    }
}

/// Returns a value a little above the highest bar or edge.
fn top_of(norms: &[f64], band: Option<(f64, f64)>) -> f64 {
    let highest = norms.iter().copied().fold(band.map_or(0.0, |(_, high)| high), f64::max);
    if highest > 0.0 && highest.is_finite() {
        highest * 1.15
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_band_are_both_within_the_picture_and_zeros_are_one_too() {
        assert!(top_of(&[0.2, 3.0], Some((0.7, 1.2))) > 3.0);
        assert!(top_of(&[0.01], Some((0.7, 1.2))) > 1.2);
        assert_eq!(top_of(&[0.0], None), 1.0);
        assert_eq!(top_of(&[], None), 1.0);
    }
}
