//! Bars that can be drawn with the mouse: a factor from 0 to 1 each.

use eframe::egui::{self, CornerRadius, Key, Pos2, Rect, Response, Sense, Stroke, StrokeKind, Ui, pos2, vec2};

use super::{paint, slider};
use crate::theme::{self, Palette};

/// Step of an arrow key; four times as large with Shift.
const STEP: f64 = 0.05;
/// Within this distance of the top or bottom, the value is exactly 1 or 0.
const SNAP: f32 = 4.0;

/// Maximum width of a bar.
const WIDEST: f32 = 24.0;

/// The bars.
pub struct EnvelopeBars<'a> {
    pub name: &'a str,
    /// One factor per bar.
    pub bars: &'a [f64],
    /// Returns the accessible value of a bar from its number (from 1), the number of bars and its factor.
    pub accessible_value: &'a dyn Fn(usize, usize, f64) -> String,
    pub height: f32,
}

/// A change made by the user.
#[derive(Debug, Clone, PartialEq)]
pub enum Drawn {
    /// The new factors.
    Bars(Vec<f64>),
    /// Reset all factors to 1.
    Reset,
}

impl EnvelopeBars<'_> {
    /// Draws the bars over the available width. Left and Right select a bar, Up and Down change it.
    pub fn show(&self, ui: &mut Ui) -> Option<Drawn> {
        let count = self.bars.len();
        let size = vec2(ui.available_width(), self.height);
        let (rect, response) = ui.allocate_exact_size(size, Sense::click_and_drag());
        let last = count.checked_sub(1)?;
        let area = rect.shrink2(vec2(4.0, 6.0));
        let chosen_id = response.id.with("bar");
        let mut chosen = ui.data(|data| data.get_temp::<usize>(chosen_id)).unwrap_or(0).min(last);
        let mut bars = self.bars.to_vec();

        for (from, to) in strokes(ui, &response) {
            let to = at(area, count, to);
            draw(&mut bars, from.map_or(to, |from| at(area, count, from)), to);
            chosen = to.0;
        }
        if let Some((step, change)) = asked(ui, &response) {
            chosen = chosen.saturating_add_signed(step).min(last);
            bars[chosen] = rounded(bars[chosen] + change);
        }
        if let Some(value) = slider::requested_value(ui, &response) {
            bars[chosen] = rounded(value);
        }
        ui.data_mut(|data| data.insert_temp(chosen_id, chosen));

        let words = (self.accessible_value)(chosen + 1, count, bars[chosen]);
        slider::describe(ui, &response, self.name, &words, bars[chosen], 0.0..=1.0);
        if ui.is_rect_visible(rect) {
            paint_bars(ui, &response, rect, area, &bars, chosen);
        }
        if let Some(pointer) = response.hover_pos().filter(|_| !response.dragged()) {
            let (bar, _) = at(area, count, pointer);
            let words = (self.accessible_value)(bar + 1, count, bars[bar]);
            ui.ctx().set_cursor_icon(egui::CursorIcon::Crosshair);
            response.clone().on_hover_text_at_pointer(words);
        }
        if response.double_clicked() {
            return Some(Drawn::Reset);
        }
        (bars != self.bars).then_some(Drawn::Bars(bars))
    }
}

/// Returns the segments that the pointer moved along in this frame while pressed here; the first starts where it was
/// before.
fn strokes(ui: &Ui, response: &Response) -> Vec<(Option<Pos2>, Pos2)> {
    let id = response.id.with("pointer");
    let mut strokes = Vec::new();
    if response.interact_pointer_pos().is_none() {
        ui.data_mut(|data| data.remove::<Pos2>(id));
        return strokes;
    }
    let mut last = ui.data(|data| data.get_temp::<Pos2>(id));
    ui.input(|input| {
        for event in &input.events {
            let (pos, down) = match event {
                egui::Event::PointerButton { pos, pressed, .. } => {
                    if *pressed {
                        last = None;
                    }
                    (*pos, true)
                }
                // A fast pointer moves several times in one frame, and skips bars in between.
                egui::Event::PointerMoved(pos) => (*pos, last.is_some()),
                _ => continue,
            };
            if down {
                strokes.push((last, pos));
                last = Some(pos);
            }
        }
    });
    if let Some(last) = last {
        ui.data_mut(|data| data.insert_temp(id, last));
    }
    strokes
}

/// Returns the bar under the pointer, and the factor at its height.
fn at(area: Rect, count: usize, pointer: Pos2) -> (usize, f64) {
    let share = ((pointer.x - area.left()) / area.width().max(1.0)).clamp(0.0, 1.0);
    let bar = ((share * count as f32) as usize).min(count.saturating_sub(1));
    let factor = if pointer.y <= area.top() + SNAP {
        1.0
    } else if pointer.y >= area.bottom() - SNAP {
        0.0
    } else {
        f64::from((area.bottom() - pointer.y) / area.height().max(1.0))
    };
    (bar, rounded(factor))
}

/// Sets the bars along a straight line between two points.
fn draw(bars: &mut [f64], from: (usize, f64), to: (usize, f64)) {
    let (low, high) = if from.0 <= to.0 { (from, to) } else { (to, from) };
    let steps = (high.0 - low.0).max(1) as f64;
    for bar in low.0..=high.0 {
        if let Some(factor) = bars.get_mut(bar) {
            let share = (bar - low.0) as f64 / steps;
            *factor = rounded(low.1 + (high.1 - low.1) * share);
        }
    }
    if let Some(factor) = bars.get_mut(to.0) {
        *factor = to.1;
    }
}

/// Rounds to two digits for display.
fn rounded(factor: f64) -> f64 {
    (factor.clamp(0.0, 1.0) * 100.0).round() / 100.0
}

/// Returns how many bars to move the selection, and the change of the selected bar.
fn asked(ui: &Ui, response: &Response) -> Option<(isize, f64)> {
    let (mut side, mut steps) = (0_isize, slider::requested_steps(ui, response));
    if slider::takes_keys(ui, response) {
        ui.input(|input| {
            let by = if input.modifiers.shift { 4 } else { 1 };
            side = input.num_presses(Key::ArrowRight) as isize - input.num_presses(Key::ArrowLeft) as isize;
            steps += by * (input.num_presses(Key::ArrowUp) as i32 - input.num_presses(Key::ArrowDown) as i32);
        });
    }
    (side != 0 || steps != 0).then_some((side, f64::from(steps) * STEP))
}

fn paint_bars(ui: &Ui, response: &Response, rect: Rect, area: Rect, bars: &[f64], chosen: usize) {
    let palette = Palette::of(ui);
    let painter = ui.painter();
    let radius = CornerRadius::same(theme::RADIUS_CONTROL);
    let outline = Stroke::new(1.0, palette.stroke);
    painter.rect(rect, radius, palette.inset, outline, StrokeKind::Inside);
    let pitch = area.width() / bars.len() as f32;
    let width = (pitch - if pitch > 6.0 { 2.0 } else { 0.5 }).min(WIDEST);
    for (bar, factor) in bars.iter().enumerate() {
        let left = area.left() + pitch * (bar as f32 + 0.5) - width / 2.0;
        let top = area.bottom() - area.height() * *factor as f32;
        // A bar at 0 keeps a visible base.
        let shape = Rect::from_min_max(
            pos2(left, top.min(area.bottom() - 2.0)),
            pos2(left + width, area.bottom()),
        );
        painter.rect_filled(shape, CornerRadius::same(1), palette.prefix_fill);
        if response.has_focus() && bar == chosen {
            painter.rect_stroke(
                shape,
                CornerRadius::same(1),
                Stroke::new(2.0, palette.text),
                StrokeKind::Outside,
            );
        }
    }
    paint::focus_ring(ui, response, rect, theme::RADIUS_CONTROL);
}

#[cfg(test)]
mod tests {
    use super::*;

    const AREA: Rect = Rect::from_min_max(pos2(0.0, 0.0), pos2(80.0, 100.0));

    #[test]
    fn the_pointer_is_over_one_bar_and_near_the_ends_it_means_them() {
        assert_eq!(at(AREA, 8, pos2(0.0, 50.0)), (0, 0.5));
        assert_eq!(at(AREA, 8, pos2(79.9, 25.0)), (7, 0.75));
        assert_eq!(at(AREA, 8, pos2(200.0, -20.0)), (7, 1.0));
        assert_eq!(at(AREA, 8, pos2(12.0, 98.0)), (1, 0.0));
    }

    #[test]
    fn a_quick_stroke_draws_the_bars_between() {
        let mut bars = vec![1.0; 5];
        draw(&mut bars, (0, 1.0), (4, 0.0));
        assert_eq!(bars, [1.0, 0.75, 0.5, 0.25, 0.0]);
        draw(&mut bars, (4, 0.5), (2, 0.5));
        assert_eq!(bars, [1.0, 0.75, 0.5, 0.5, 0.5]);
        draw(&mut bars, (1, 0.2), (1, 0.3));
        assert_eq!(bars[1], 0.3);
    }
}
