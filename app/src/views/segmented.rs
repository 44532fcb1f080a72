//! A segmented control: a row of joined segments of which exactly one is selected.

use eframe::egui::{self, CornerRadius, Response, Role, Sense, Stroke, StrokeKind, Ui, Vec2, WidgetInfo, pos2, vec2};

use super::paint;
use crate::theme::{self, Palette};

/// Draws the segments over `width`, all equally wide; returns a new selection.
///
/// Left and Right change the selection while a segment has the focus. `name` is the accessible name.
pub fn segmented<T: Copy + PartialEq>(
    ui: &mut Ui,
    name: &str,
    current: T,
    options: &[(T, &str)],
    width: f32,
) -> Option<T> {
    let palette = Palette::of(ui);
    let (rect, _) = ui.allocate_exact_size(vec2(width, theme::CONTROL), Sense::hover());
    let outer = rect.shrink(0.5);
    let radius = CornerRadius::same(theme::RADIUS_CONTROL);
    ui.painter().rect(
        outer,
        radius,
        palette.panel,
        Stroke::new(1.0, palette.stroke),
        StrokeKind::Inside,
    );
    let segment = rect.width() / options.len().max(1) as f32;
    let mut chosen = None;
    for (index, (value, words)) in options.iter().enumerate() {
        let on = *value == current;
        let area = egui::Rect::from_min_size(
            pos2(rect.left() + segment * index as f32, rect.top()),
            Vec2::new(segment, rect.height()),
        );
        let response = ui.interact(area, ui.scope_id().with((name, index)), Sense::click());
        let enabled = ui.is_enabled();
        response.widget_info(|| WidgetInfo::selected(Role::RadioButton, enabled, on, words));
        if response.clicked() && !on {
            chosen = Some(*value);
        }
        if let Some(step) = sideways(ui, &response) {
            let next = (index as isize + step).rem_euclid(options.len() as isize) as usize;
            chosen = Some(options[next].0);
            ui.memory_mut(|memory| memory.request_focus(ui.scope_id().with((name, next))));
        }
        paint_segment(ui, &response, area, words, on, index > 0);
    }
    chosen
}

/// Returns the direction of a Left or Right key on a focused control.
pub fn sideways(ui: &Ui, response: &Response) -> Option<isize> {
    if !response.has_focus() {
        return None;
    }
    let filter = egui::EventFilter {
        horizontal_arrows: true,
        ..egui::EventFilter::default()
    };
    ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, filter));
    ui.input(|input| {
        let right = input.num_presses(egui::Key::ArrowRight) as isize;
        let left = input.num_presses(egui::Key::ArrowLeft) as isize;
        (right != left).then_some(right - left)
    })
}

fn paint_segment(ui: &Ui, response: &Response, area: egui::Rect, words: &str, on: bool, divided: bool) {
    let palette = Palette::of(ui);
    let painter = ui.painter();
    let inner = area.shrink2(vec2(1.0, 1.5));
    if on || response.hovered() {
        painter.rect_filled(inner, CornerRadius::same(theme::RADIUS_CONTROL - 2), palette.raised);
    }
    if divided {
        painter.vline(area.left(), area.y_range().shrink(1.0), Stroke::new(1.0, palette.line));
    }
    if on {
        // The bar marks the selection without a colour.
        let bar = egui::Rect::from_min_max(pos2(inner.left() + 1.0, area.bottom() - 3.5), inner.right_bottom());
        painter.rect_filled(bar, CornerRadius::same(1), palette.text);
    }
    let (font, colour) = if on {
        (theme::BODY.semibold(), palette.text)
    } else {
        (theme::BODY.regular(), palette.text2)
    };
    let galley = paint::cut_to(ui, words, font, colour, area.width() - 6.0);
    paint::place(painter, area.center(), egui::Align2::CENTER_CENTER, galley);
    paint::focus_ring(ui, response, area.shrink(1.0), theme::RADIUS_CONTROL);
}
