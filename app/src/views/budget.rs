//! A bar that shows how many positions of the context window the prefix, the template and the prompt take, and how many
//! are left.

use eframe::egui::{CornerRadius, Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};

use crate::theme::{Palette, RADIUS_CELL};

/// Positions of the context window, by use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Positions {
    pub prefix: u64,
    pub template: u64,
    pub prompt: u64,
    pub output: u64,
    pub window: u64,
}

impl Positions {
    /// Returns the number of unused positions; negative if the request does not fit.
    #[must_use]
    pub fn free(&self) -> i64 {
        let used = self.prefix + self.template + self.prompt + self.output;
        self.window as i64 - used as i64
    }
}

/// Draws the bar over the available width; `spoken` is its accessible value.
pub fn bar(ui: &mut Ui, budget: &Positions, spoken: &str) {
    let palette = Palette::of(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 9.0), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Meter, true, spoken));
    let painter = ui.painter();
    let radius = CornerRadius::same(RADIUS_CELL);
    painter.rect(
        rect,
        radius,
        palette.inset,
        Stroke::new(1.0, palette.line),
        StrokeKind::Inside,
    );
    let over = budget.free() < 0;
    let parts = [
        (budget.prefix, palette.prefix_fill, true),
        (budget.template, palette.text3, true),
        (budget.prompt, palette.baseline, true),
        (budget.output, palette.stroke, false),
    ];
    let total = (budget.window as f32).max(parts.iter().map(|part| part.0 as f32).sum());
    let mut x = rect.left();
    for (count, colour, filled) in parts {
        if count == 0 || total <= 0.0 {
            continue;
        }
        // A part is at least 3 points wide, so that it is visible.
        let width = (rect.width() * count as f32 / total).max(3.0).min(rect.right() - x);
        let part = Rect::from_min_max(pos2(x, rect.top()), pos2(x + width, rect.bottom())).shrink2(vec2(0.5, 0.5));
        if filled {
            painter.rect_filled(part, CornerRadius::same(1), colour);
        } else {
            painter.rect_filled(part, CornerRadius::same(1), colour.gamma_multiply(0.35));
        }
        x += width;
    }
    if over {
        painter.rect_stroke(rect, radius, Stroke::new(2.0, palette.broken), StrokeKind::Outside);
    }
    response.on_hover_text(spoken);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_window_is_told_as_a_negative_rest() {
        let budget = Positions {
            prefix: 900,
            template: 21,
            prompt: 18,
            output: 128,
            window: 1024,
        };
        assert_eq!(budget.free(), -43);
    }
}
