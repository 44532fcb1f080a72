//! Rows of a prefix as bars of their norms over the band of a vocabulary, with a word below each.

use eframe::egui::{Align2, CornerRadius, Rect, Role, Sense, Ui, WidgetInfo, pos2};

use super::paint;
use crate::theme::{self, Palette};

/// A row: its norm, and what it is nearest to.
#[derive(Debug, Clone, PartialEq)]
pub struct LearnedRow {
    pub norm: f64,
    pub nearest: String,
}

/// The bars.
pub struct LearnedRows<'a> {
    pub name: &'a str,
    pub accessible_value: &'a str,
    pub rows: &'a [LearnedRow],
    /// Range of the norms of the vocabulary's rows, and its label.
    pub band: Option<(f64, f64)>,
    pub band_name: &'a str,
}

/// Room below the bars for words.
const BELOW: f32 = 28.0;
/// A narrower bar shows its word as a tooltip only.
const LEAST_FOR_WORDS: f32 = 56.0;

impl LearnedRows<'_> {
    /// Draws the bars in the remaining space of `ui`.
    pub fn show(&self, ui: &mut Ui) {
        let palette = Palette::of(ui);
        let (rect, response) = ui.allocate_exact_size(ui.available_size(), Sense::hover());
        response.widget_info(|| {
            let mut info = WidgetInfo::labeled(Role::Image, true, self.name);
            info.current_text_value = Some(self.accessible_value.to_owned());
            info
        });
        let area = rect.with_max_y((rect.bottom() - BELOW).max(rect.top()));
        let highest = self
            .rows
            .iter()
            .map(|row| row.norm)
            .chain(self.band.map(|(_, high)| high))
            .fold(0.0, f64::max);
        let top = if highest > 0.0 { highest * 1.25 } else { 1.0 };
        let y = |norm: f64| area.bottom() - area.height() * (norm / top).clamp(0.0, 1.0) as f32;
        let painter = ui.painter();
        if let Some((low, high)) = self.band {
            let band = Rect::from_min_max(pos2(area.left(), y(high)), pos2(area.right(), y(low)));
            painter.rect_filled(
                band,
                CornerRadius::same(theme::RADIUS_CELL),
                theme::faded(palette.text3, 0.20),
            );
            let at = pos2(area.left() + 8.0, band.top() - 4.0);
            paint::text(
                painter,
                at,
                Align2::LEFT_BOTTOM,
                self.band_name,
                theme::CAPTION.regular(),
                palette.text3,
            );
        }
        let pitch = area.width() / self.rows.len().max(1) as f32;
        let width = (pitch * 0.55).clamp(1.0, 60.0);
        for (number, row) in self.rows.iter().enumerate() {
            let x = area.left() + pitch * (number as f32 + 0.5);
            let bar = Rect::from_min_max(pos2(x - width / 2.0, y(row.norm)), pos2(x + width / 2.0, area.bottom()));
            painter.rect_filled(bar, CornerRadius::same(theme::RADIUS_CELL), palette.prefix_fill);
            if pitch >= LEAST_FOR_WORDS {
                let words = paint::cut_to(ui, &row.nearest, theme::CAPTION.regular(), palette.text2, pitch - 6.0);
                paint::place(
                    painter,
                    pos2(x, rect.bottom() - BELOW / 2.0),
                    Align2::CENTER_CENTER,
                    words,
                );
            }
        }
        let pointed = response
            .hover_pos()
            .map(|pointer| ((pointer.x - area.left()) / pitch) as usize);
        if let Some((number, row)) = pointed.and_then(|number| Some((number, self.rows.get(number)?))) {
            let words = format!("{}: L2 {:.3}, {}", number + 1, row.norm, row.nearest);
            response.on_hover_text_at_pointer(words);
        }
    }
}
