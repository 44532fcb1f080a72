//! A slider over whole numbers from 1 on a logarithmic track: 1 to 2 takes as much of it as 32 to 64.

use eframe::egui::{
    self, CornerRadius, EventFilter, Key, Rect, Response, Sense, Stroke, Ui, WidgetInfo, accesskit, pos2, vec2,
};

use crate::theme::{self, Palette};

/// Draws the slider over `width` and changes `value`, which stays within 1 and `most`.
pub fn steps(ui: &mut Ui, name: &str, value: &mut u32, most: u32, width: f32) -> Response {
    let most = most.max(1);
    let (rect, mut response) = ui.allocate_exact_size(vec2(width, theme::CONTROL), Sense::click_and_drag());
    let track = Rect::from_min_max(
        pos2(rect.left() + 8.0, rect.center().y - 2.0),
        pos2(rect.right() - 8.0, rect.center().y + 2.0),
    );
    let before = *value;
    if let Some(pointer) = response.interact_pointer_pos() {
        let share = ((pointer.x - track.left()) / track.width().max(1.0)).clamp(0.0, 1.0);
        *value = value_at(share, most);
    }
    if let Some(change) = asked_change(ui, &response) {
        *value = value.saturating_add_signed(change);
    }
    if let Some(asked) = asked_value(ui, &response) {
        *value = asked.round().clamp(1.0, f64::from(most)) as u32;
    }
    // A value that no longer fits the context window stays until the user changes it.
    if *value != before {
        *value = (*value).clamp(1, most);
        response.mark_changed();
    }
    let enabled = ui.is_enabled();
    response.widget_info(|| WidgetInfo::slider(enabled, f64::from(*value), name));
    describe(ui, &response, f64::from(*value), 1.0, f64::from(most));
    if ui.is_rect_visible(rect) {
        paint_steps(ui, &response, track, share_of(*value, most));
    }
    response
}

fn value_at(share: f32, most: u32) -> u32 {
    (f64::from(most).powf(f64::from(share)).round() as u32).clamp(1, most)
}

fn share_of(value: u32, most: u32) -> f32 {
    if most <= 1 {
        return 0.0;
    }
    (f64::from(value.max(1)).ln() / f64::from(most).ln()).clamp(0.0, 1.0) as f32
}

fn asked_change(ui: &Ui, response: &Response) -> Option<i32> {
    let mut change = 0_i32;
    if response.has_focus() {
        let filter = EventFilter {
            horizontal_arrows: true,
            vertical_arrows: true,
            ..EventFilter::default()
        };
        ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, filter));
        ui.input(|input| {
            let step = if input.modifiers.shift { 8 } else { 1 };
            let presses = |key| input.num_presses(key) as i32;
            change += step * (presses(Key::ArrowRight) + presses(Key::ArrowUp));
            change -= step * (presses(Key::ArrowLeft) + presses(Key::ArrowDown));
        });
    }
    ui.input(|input| {
        change += input.num_accesskit_action_requests(response.id, accesskit::Action::Increment) as i32;
        change -= input.num_accesskit_action_requests(response.id, accesskit::Action::Decrement) as i32;
    });
    (change != 0).then_some(change)
}

/// Returns the value that a screen reader requested.
pub(super) fn asked_value(ui: &Ui, response: &Response) -> Option<f64> {
    ui.input(|input| {
        input
            .accesskit_action_requests(response.id, accesskit::Action::SetValue)
            .filter_map(|request| match request.data {
                Some(accesskit::ActionData::NumericValue(value)) => Some(value),
                _ => None,
            })
            .last()
    })
}

/// Reports the bounds and the supported actions to a screen reader.
pub(super) fn describe(ui: &Ui, response: &Response, value: f64, least: f64, most: f64) {
    ui.ctx().accesskit_node_builder(response.id, |node| {
        node.set_min_numeric_value(least);
        node.set_max_numeric_value(most);
        node.add_action(accesskit::Action::SetValue);
        if value < most {
            node.add_action(accesskit::Action::Increment);
        }
        if value > least {
            node.add_action(accesskit::Action::Decrement);
        }
    });
}

fn paint_steps(ui: &Ui, response: &Response, track: Rect, share: f32) {
    let palette = Palette::of(ui);
    let painter = ui.painter();
    let knob = pos2(track.left() + track.width() * share, track.center().y);
    let radius = CornerRadius::same(2);
    let (full, rest) = if ui.is_enabled() {
        (palette.prefix_fill, palette.stroke)
    } else {
        (palette.line, palette.line)
    };
    painter.rect_filled(track, radius, rest);
    painter.rect_filled(
        Rect::from_min_max(track.min, pos2(knob.x, track.bottom())),
        radius,
        full,
    );
    painter.circle_filled(knob, 11.0, palette.panel);
    painter.circle_filled(knob, 8.0, full);
    if response.has_focus() {
        painter.circle_stroke(knob, 11.0, Stroke::new(2.0, palette.text));
    }
    if response.hovered() || response.dragged() {
        ui.ctx().set_cursor_icon(egui::CursorIcon::ResizeHorizontal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_track_gives_every_doubling_the_same_room() {
        assert_eq!(value_at(0.0, 1024), 1);
        assert_eq!(value_at(0.5, 1024), 32);
        assert_eq!(value_at(1.0, 1024), 1024);
        assert!((share_of(32, 1024) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn a_window_with_room_for_one_vector_has_one_place() {
        assert_eq!(value_at(1.0, 1), 1);
        assert!(share_of(1, 1).abs() < f32::EPSILON);
    }
}
