//! A slider: a handle on a track, moved by the pointer, by keys and by a screen reader.
//!
//! A [`Scale`] maps values to positions on the track. [`Slider`] is the plain widget; the magnitude slider paints its
//! background itself, and uses the input handling, the rail and the handle of this module. The envelope is not a slider but
//! an array of bars, each with a value from bottom to top: it uses the requests of a screen reader and the accessible
//! description.

use std::ops::RangeInclusive;

use eframe::egui::{
    self, Color32, CornerRadius, EventFilter, Key, Pos2, Rangef, Rect, Response, Sense, Stroke, Ui, WidgetInfo,
    accesskit, pos2, vec2,
};

use crate::theme::{self, Palette};

/// Radius of the plain slider's handle; the track ends at this distance from the edges.
const HANDLE: f32 = 8.0;

/// A mapping of values to positions on a track.
pub trait Scale {
    /// The least and the greatest value.
    fn range(&self) -> RangeInclusive<f64>;
    /// The horizontal position of `value`, in points.
    fn x_of(&self, value: f64) -> f32;
    /// The value at the horizontal position `x`; the nearest end for a position beside the track.
    fn value_at(&self, x: f32) -> f64;
}

/// Values from `least` to `most` in equal distances.
#[derive(Clone, Debug)]
pub struct Linear {
    pub least: f64,
    pub most: f64,
    /// The track's ends on the screen.
    pub x: Rangef,
}

impl Scale for Linear {
    fn range(&self) -> RangeInclusive<f64> {
        self.least..=self.most
    }

    fn x_of(&self, value: f64) -> f32 {
        let share = (value - self.least) / (self.most - self.least).max(f64::MIN_POSITIVE);
        self.x.min + self.x.span() * share.clamp(0.0, 1.0) as f32
    }

    fn value_at(&self, x: f32) -> f64 {
        self.least + (self.most - self.least) * f64::from(share_at(self.x, x))
    }
}

/// Whole numbers from 1 to `most`, every doubling over the same distance.
#[derive(Clone, Debug)]
pub struct Doublings {
    pub most: u32,
    /// The track's ends on the screen.
    pub x: Rangef,
}

impl Scale for Doublings {
    fn range(&self) -> RangeInclusive<f64> {
        1.0..=f64::from(self.most.max(1))
    }

    fn x_of(&self, value: f64) -> f32 {
        if self.most <= 1 {
            return self.x.min;
        }
        let share = value.max(1.0).ln() / f64::from(self.most).ln();
        self.x.min + self.x.span() * share.clamp(0.0, 1.0) as f32
    }

    fn value_at(&self, x: f32) -> f64 {
        let most = f64::from(self.most.max(1));
        most.powf(f64::from(share_at(self.x, x))).round().clamp(1.0, most)
    }
}

fn share_at(track: Rangef, x: f32) -> f32 {
    ((x - track.min) / track.span().max(1.0)).clamp(0.0, 1.0)
}

/// The user's input to a slider.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input {
    /// Sets this value, which is within the scale's range.
    Set(f64),
    /// Takes this many small and large steps.
    Step { small: i32, large: i32 },
    /// A double click.
    Reset,
}

/// Reads the input of the pointer and of a screen reader to `response`, an area that senses click and drag and shows `value`.
pub fn pointer_input(ui: &Ui, response: &Response, scale: &impl Scale, value: f64) -> Option<Input> {
    let (least, most) = scale.range().into_inner();
    let set = |to: f64| (to != value).then_some(Input::Set(to));
    if response.double_clicked() {
        return Some(Input::Reset);
    }
    if let Some(requested) = requested_value(ui, response) {
        return set(requested.clamp(least, most));
    }
    if let Some(pointer) = response.interact_pointer_pos()
        && (response.dragged() || response.clicked() || response.is_pointer_button_down_on())
    {
        return set(scale.value_at(pointer.x).clamp(least, most));
    }
    let small = requested_steps(ui, response);
    (small != 0).then_some(Input::Step { small, large: 0 })
}

/// Reads the keys while `response` [takes](takes_keys) them. Arrows are small steps, with Shift large ones; `+`, `=` and `-` are small
/// steps, since many keyboards have `+` behind Shift; PageUp and PageDown are large steps; Home and End go to the ends.
pub fn key_input(ui: &Ui, response: &Response, scale: &impl Scale, value: f64) -> Option<Input> {
    if !takes_keys(ui, response) {
        return None;
    }
    let (least, most) = scale.range().into_inner();
    ui.input(|input| {
        let presses = |key| input.num_presses(key) as i32;
        let arrows =
            presses(Key::ArrowRight) + presses(Key::ArrowUp) - presses(Key::ArrowLeft) - presses(Key::ArrowDown);
        let signs = presses(Key::Plus) + presses(Key::Equals) - presses(Key::Minus);
        let pages = presses(Key::PageUp) - presses(Key::PageDown);
        let (small, large) = match input.modifiers.shift {
            true => (signs, arrows + pages),
            false => (signs + arrows, pages),
        };
        if input.key_pressed(Key::Home) {
            (value != least).then_some(Input::Set(least))
        } else if input.key_pressed(Key::End) {
            (value != most).then_some(Input::Set(most))
        } else {
            (small != 0 || large != 0).then_some(Input::Step { small, large })
        }
    })
}

/// Returns whether keys are for `response`: it has the focus, and no key other than Shift is held with them, since Ctrl, Alt or Cmd make
/// commands of them. While it has the focus, the arrow keys do not move that.
pub fn takes_keys(ui: &Ui, response: &Response) -> bool {
    if !response.has_focus() {
        return false;
    }
    let filter = EventFilter {
        horizontal_arrows: true,
        vertical_arrows: true,
        ..EventFilter::default()
    };
    ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, filter));
    ui.input(|input| input.modifiers.is_none() || input.modifiers.shift_only())
}

/// The last value that a screen reader requests. It can request one that is no number, which is ignored.
pub fn requested_value(ui: &Ui, response: &Response) -> Option<f64> {
    ui.input(|input| {
        input
            .accesskit_action_requests(response.id, accesskit::Action::SetValue)
            .filter_map(|request| match request.data {
                Some(accesskit::ActionData::NumericValue(value)) => Some(value).filter(|value| value.is_finite()),
                _ => None,
            })
            .last()
    })
}

/// The small steps that a screen reader requests.
pub fn requested_steps(ui: &Ui, response: &Response) -> i32 {
    ui.input(|input| {
        let requests = |action| input.num_accesskit_action_requests(response.id, action) as i32;
        requests(accesskit::Action::Increment) - requests(accesskit::Action::Decrement)
    })
}

/// Describes `response` to a screen reader as a slider with this name, value and range. `accessible_value` is the value in words; empty where
/// the number says enough.
pub fn describe(
    ui: &Ui,
    response: &Response,
    name: &str,
    accessible_value: &str,
    value: f64,
    range: RangeInclusive<f64>,
) {
    let enabled = ui.is_enabled();
    response.widget_info(|| WidgetInfo::slider(enabled, value, name));
    ui.ctx().accesskit_node_builder(response.id, |node| {
        node.set_min_numeric_value(*range.start());
        node.set_max_numeric_value(*range.end());
        node.add_action(accesskit::Action::SetValue);
        if value < *range.end() {
            node.add_action(accesskit::Action::Increment);
        }
        if value > *range.start() {
            node.add_action(accesskit::Action::Decrement);
        }
        if !accessible_value.is_empty() {
            node.set_description(accessible_value);
        }
    });
}

/// A plain slider; see [`Slider::show`].
pub struct Slider<'a, S> {
    /// Accessible name.
    pub name: &'a str,
    /// The value in words; empty if the number suffices.
    pub accessible_value: &'a str,
    pub scale: S,
    /// Size of a small and of a large step.
    pub steps: (f64, f64),
    /// Whether it handles keys while it has the focus; `false` if the view uses the keys otherwise.
    pub keys: bool,
    pub colours: Colours,
}

/// The colours of a slider's rail left of the handle, of its handle, and of the ring around that.
#[derive(Clone, Copy, Debug)]
pub struct Colours {
    pub filled: Color32,
    pub handle: Color32,
    pub ring: Color32,
}

impl Colours {
    /// The colours for a setting of the prefix.
    pub fn of_prefix(palette: &Palette) -> Self {
        Self {
            filled: palette.prefix_fill,
            handle: palette.prefix_fill,
            ring: palette.panel,
        }
    }
}

/// The rectangle of a plain slider of this width at the cursor, and its track.
pub fn allocate(ui: &mut Ui, width: f32) -> (Rect, Rangef) {
    let (_, rect) = ui.allocate_space(vec2(width, theme::CONTROL));
    (rect, track_in(rect))
}

/// The track of a plain slider in `rect`.
pub fn track_in(rect: Rect) -> Rangef {
    Rangef::new(rect.left() + HANDLE, rect.right() - HANDLE)
}

impl<S: Scale> Slider<'_, S> {
    /// Shows the slider in `rect` with its handle at `value`. Returns the value that a person sets, if it is another one. A double click
    /// does nothing.
    pub fn show(&self, ui: &mut Ui, rect: Rect, value: f64) -> Option<f64> {
        let response = ui.interact(rect, ui.scope_id().with(self.name), Sense::click_and_drag());
        let range = self.scale.range();
        let keys = || {
            self.keys
                .then(|| key_input(ui, &response, &self.scale, value))
                .flatten()
        };
        let to = match pointer_input(ui, &response, &self.scale, value).or_else(keys) {
            Some(Input::Set(to)) => Some(to),
            Some(Input::Step { small, large }) => {
                let by = f64::from(small) * self.steps.0 + f64::from(large) * self.steps.1;
                Some((value + by).clamp(*range.start(), *range.end()))
            }
            Some(Input::Reset) | None => None,
        };
        describe(ui, &response, self.name, self.accessible_value, value, range);
        if ui.is_rect_visible(rect) {
            self.paint(ui, &response, rect, to.unwrap_or(value));
        }
        to.filter(|to| *to != value)
    }

    fn paint(&self, ui: &Ui, response: &Response, rect: Rect, value: f64) {
        let y = rect.center().y;
        let handle = pos2(self.scale.x_of(value), y);
        let rail = Rect::from_x_y_ranges(track_in(rect), Rangef::new(y - 2.0, y + 2.0));
        paint_rail(ui, rail, handle.x, &self.colours);
        paint_handle(ui, response, handle, HANDLE, &self.colours);
    }
}

/// Paints a rail that is filled from the left to `x`.
pub(super) fn paint_rail(ui: &Ui, rail: Rect, x: f32, colours: &Colours) {
    let palette = Palette::of(ui);
    let (fill, rest) = match ui.is_enabled() {
        true => (colours.filled, palette.stroke),
        false => (palette.line, palette.line),
    };
    let radius = CornerRadius::same(2);
    ui.painter().rect_filled(rail, radius, rest);
    ui.painter()
        .rect_filled(rail.with_max_x(x.max(rail.left())), radius, fill);
}

/// Paints a handle with its ring, smaller while it is dragged, and sets the cursor over it.
pub(super) fn paint_handle(ui: &Ui, response: &Response, at: Pos2, radius: f32, colours: &Colours) {
    let palette = Palette::of(ui);
    let painter = ui.painter();
    let fill = if ui.is_enabled() { colours.handle } else { palette.line };
    painter.circle_filled(at, radius + 3.0, colours.ring);
    painter.circle_filled(at, if response.dragged() { radius - 1.0 } else { radius }, fill);
    if response.has_focus() {
        painter.circle_stroke(at, radius + 3.0, Stroke::new(2.0, palette.text));
    }
    if response.hovered() || response.dragged() {
        ui.ctx().set_cursor_icon(egui::CursorIcon::ResizeHorizontal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: Rangef = Rangef { min: 8.0, max: 108.0 };

    #[test]
    fn a_linear_scale_covers_its_range_and_clamps_beyond_it() {
        let scale = Linear {
            least: 0.0,
            most: 5.0,
            x: X,
        };
        assert_eq!(scale.x_of(2.5), 58.0);
        assert_eq!(scale.value_at(58.0), 2.5);
        assert_eq!((scale.value_at(-50.0), scale.value_at(500.0)), (0.0, 5.0));
        assert_eq!((scale.x_of(-1.0), scale.x_of(9.0)), (8.0, 108.0));
    }

    #[test]
    fn a_scale_without_length_has_one_place() {
        let scale = Linear {
            least: 0.0,
            most: 0.0,
            x: X,
        };
        assert_eq!((scale.x_of(0.0), scale.value_at(58.0)), (8.0, 0.0));
        let scale = Doublings { most: 1, x: X };
        assert_eq!((scale.x_of(1.0), scale.value_at(108.0)), (8.0, 1.0));
    }

    #[test]
    fn every_doubling_has_the_same_width() {
        let scale = Doublings { most: 1024, x: X };
        assert_eq!(scale.value_at(8.0), 1.0);
        assert_eq!(scale.value_at(58.0), 32.0);
        assert_eq!(scale.value_at(108.0), 1024.0);
        assert!((scale.x_of(32.0) - 58.0).abs() < 1e-3);
    }
}
