//! A progress bar with a label.

use eframe::egui::{CornerRadius, Rect, Role, Sense, Ui, WidgetInfo, pos2, vec2};

use super::paint;
use crate::theme::{self, Palette};

/// Draws the bar over the available width. `share` is 0..=1, or `None` if unknown, which draws a hatched bar. `words`
/// is the label below the bar.
pub fn progress(ui: &mut Ui, share: Option<f32>, words: &str) {
    bar(ui, share, ui.available_width(), words);
    ui.add_space(-2.0);
    ui.label(paint::words(words, theme::CAPTION, Palette::of(ui).text3));
}

/// The bar alone; `words` is what a screen reader says.
pub fn bar(ui: &mut Ui, share: Option<f32>, width: f32, words: &str) {
    let palette = Palette::of(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(width, 6.0), Sense::hover());
    response.widget_info(|| {
        let mut info = WidgetInfo::labeled(Role::ProgressIndicator, true, words);
        info.value = share.map(|share| f64::from(share) * 100.0);
        info
    });
    let painter = ui.painter();
    let radius = CornerRadius::same(3);
    painter.rect_filled(rect, radius, palette.line);
    match share {
        Some(share) => {
            let right = rect.left() + rect.width() * share.clamp(0.0, 1.0);
            painter.rect_filled(
                Rect::from_min_max(rect.min, pos2(right, rect.bottom())),
                radius,
                palette.text2,
            );
        }
        None => paint::hatch(painter, rect, 8.0, eframe::egui::Stroke::new(2.0, palette.text3)),
    }
}
