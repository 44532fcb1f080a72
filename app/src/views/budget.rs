//! A bar that shows how many positions of the context window the prefix, the template and the prompt take, and how many
//! are left.

use eframe::egui::text::{LayoutJob, TextFormat};
use eframe::egui::{
    Align, CornerRadius, Label, Layout, Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2,
};

use super::paint;
use crate::model::WindowUse;
use crate::text::Text;
use crate::theme::{self, Palette, RADIUS_CELL};

/// Draws the bar, and below it the counts.
pub fn show(ui: &mut Ui, text: &Text, window_use: &WindowUse) {
    let palette = Palette::of(ui);
    let WindowUse {
        prefix,
        template,
        prompt,
        output,
        window,
        ..
    } = *window_use;
    bar(
        ui,
        window_use,
        &(text.budget_accessible_value)(prefix, template, prompt, output, window),
    );
    ui.add_space(4.0);
    let opacity = if window_use.current { 1.0 } else { 0.6 };
    let [prefix, template, prompt, window] = (text.budget)(prefix, template, prompt, window);
    let free = window_use.free();
    let rest_colour = if free < 0 { palette.broken } else { palette.text3 };
    let rest = paint::line_of_text(ui, &(text.budget_free)(free), theme::CAPTION.regular(), rest_colour);
    let room = ui.available_width() - rest.size().x - 8.0;
    let layout_line = |ui: &Ui, with_window: bool| {
        let mut job = LayoutJob::default();
        for (words, colour) in [
            (prefix.as_str(), palette.prefix),
            (&template, palette.text3),
            (&prompt, palette.baseline),
            (if with_window { window.as_str() } else { "" }, palette.text3),
        ] {
            let colour = theme::faded(colour, opacity);
            job.append(words, 0.0, TextFormat::simple(theme::CAPTION.regular(), colour));
        }
        ui.painter().layout_job(job)
    };
    // If there is no room for both, the free positions are shown instead of the window.
    let whole = layout_line(ui, true);
    let used = if whole.size().x <= room {
        whole
    } else {
        layout_line(ui, false)
    };
    ui.horizontal(|ui| {
        ui.spacing_mut().interact_size.y = 16.0;
        ui.add(Label::new(used));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| ui.add(Label::new(rest)));
    });
}

/// Draws the bar over the available width; `accessible_name` is its accessible name and tooltip.
pub fn bar(ui: &mut Ui, window_use: &WindowUse, accessible_name: &str) {
    let palette = Palette::of(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 9.0), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Meter, true, accessible_name));
    let painter = ui.painter();
    let radius = CornerRadius::same(RADIUS_CELL);
    painter.rect(
        rect,
        radius,
        palette.inset,
        Stroke::new(1.0, palette.line),
        StrokeKind::Inside,
    );
    let over = window_use.free() < 0;
    let parts = [
        (window_use.prefix, palette.prefix_fill, true),
        (window_use.template, palette.text3, true),
        (window_use.prompt, palette.baseline, true),
        (window_use.output, palette.stroke, false),
    ];
    let total = (window_use.window as f32).max(parts.iter().map(|part| part.0 as f32).sum());
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
    response.on_hover_text(accessible_name);
}
