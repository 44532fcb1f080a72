//! A slider from 0 to 1, in equal steps.

use eframe::egui::{
    self, CornerRadius, EventFilter, Key, Rect, Response, Sense, Stroke, Ui, WidgetInfo, accesskit, pos2, vec2,
};

use super::steps::{asked_value, describe};
use crate::theme::{self, Palette};

/// Step of an arrow key; ten times as large with Shift.
const STEP: f64 = 0.01;

/// Draws the slider over `width` and changes `value`, which stays within 0 and 1.
pub fn share(ui: &mut Ui, name: &str, value: &mut f64, width: f32) -> Response {
    let (rect, mut response) = ui.allocate_exact_size(vec2(width, theme::CONTROL), Sense::click_and_drag());
    let track = Rect::from_min_max(
        pos2(rect.left() + 8.0, rect.center().y - 2.0),
        pos2(rect.right() - 8.0, rect.center().y + 2.0),
    );
    let before = *value;
    if let Some(pointer) = response.interact_pointer_pos() {
        let at = f64::from((pointer.x - track.left()) / track.width().max(1.0));
        *value = rounded(at);
    }
    if let Some(change) = asked_change(ui, &response) {
        *value = rounded(*value + change);
    }
    if let Some(asked) = asked_value(ui, &response) {
        *value = rounded(asked);
    }
    if *value != before {
        response.mark_changed();
    }
    let enabled = ui.is_enabled();
    response.widget_info(|| WidgetInfo::slider(enabled, *value, name));
    describe(ui, &response, *value, 0.0, 1.0);
    if ui.is_rect_visible(rect) {
        let palette = Palette::of(ui);
        let painter = ui.painter();
        let knob = pos2(
            track.left() + track.width() * value.clamp(0.0, 1.0) as f32,
            track.center().y,
        );
        painter.rect_filled(track, CornerRadius::same(2), palette.stroke);
        painter.circle_filled(knob, 11.0, palette.panel);
        painter.circle_filled(knob, 8.0, palette.prefix_fill);
        if response.has_focus() {
            painter.circle_stroke(knob, 11.0, Stroke::new(2.0, palette.text));
        }
        if response.hovered() || response.dragged() {
            ui.ctx().set_cursor_icon(egui::CursorIcon::ResizeHorizontal);
        }
    }
    response
}

/// Rounds to two digits, so that a value can be read and typed again.
fn rounded(share: f64) -> f64 {
    (share.clamp(0.0, 1.0) * 100.0).round() / 100.0
}

fn asked_change(ui: &Ui, response: &Response) -> Option<f64> {
    let mut steps = 0_i32;
    if response.has_focus() {
        let filter = EventFilter {
            horizontal_arrows: true,
            vertical_arrows: true,
            ..EventFilter::default()
        };
        ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, filter));
        ui.input(|input| {
            let by = if input.modifiers.shift { 10 } else { 1 };
            let presses = |key| input.num_presses(key) as i32;
            steps += by * (presses(Key::ArrowRight) + presses(Key::ArrowUp));
            steps -= by * (presses(Key::ArrowLeft) + presses(Key::ArrowDown));
        });
    }
    ui.input(|input| {
        steps += input.num_accesskit_action_requests(response.id, accesskit::Action::Increment) as i32;
        steps -= input.num_accesskit_action_requests(response.id, accesskit::Action::Decrement) as i32;
    });
    (steps != 0).then_some(f64::from(steps) * STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_told_in_two_digits_and_stays_within_its_ends() {
        assert_eq!(rounded(0.333_3), 0.33);
        assert_eq!(rounded(-0.2), 0.0);
        assert_eq!(rounded(1.7), 1.0);
    }
}
