//! Stars from 0 to 5, set by pointer, keys and a screen reader.

use eframe::egui::{Color32, Event, Key, Painter, Pos2, Rect, Response, Sense, Shape, Stroke, Ui, pos2, vec2};
use softprefix_core::experiment::Stars;

use super::paint;
use super::slider::{self, Input, Linear};
use crate::theme::{self, Palette};

/// Width of a star with its gap.
const STEP: f32 = 17.0;
/// Width of the stars of a table's cell, with a gap.
pub const CELL: f32 = 62.0;
/// Radius of a star.
const RADIUS: f32 = 6.5;
/// Width of the stars.
pub const WIDTH: f32 = STEP * Stars::MAX as f32;

/// Draws the stars and returns a change: a click on a star gives as many stars, a click on the last given one removes all, as do Delete and
/// Backspace; arrows step and digits set them while they have the focus.
pub fn stars(ui: &mut Ui, stars: Option<Stars>, name: &str, accessible_value: &str) -> Option<Option<Stars>> {
    let palette = Palette::of(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(WIDTH, 24.0), Sense::click());
    let count = stars.map_or(0, Stars::count);
    let most = f64::from(Stars::MAX);
    slider::describe(ui, &response, name, accessible_value, f64::from(count), 0.0..=most);
    let under = response.hover_pos().map(|at| star_at(rect, at));
    for star in 1..=Stars::MAX {
        let at = pos2(rect.left() + STEP * (f32::from(star) - 0.5), rect.center().y);
        let colour = match under {
            Some(under) if star <= under => palette.text,
            _ => palette.text2,
        };
        paint_star(ui.painter(), at, RADIUS, star <= count, colour);
    }
    paint::focus_ring(ui, &response, rect, theme::RADIUS_TAG);
    let changed = changed(ui, &response, rect, stars);
    response.on_hover_text(name);
    changed
}

fn changed(ui: &Ui, response: &Response, rect: Rect, stars: Option<Stars>) -> Option<Option<Stars>> {
    let count = stars.map_or(0, Stars::count);
    if response.clicked()
        && let Some(at) = response.interact_pointer_pos()
    {
        let given = star_at(rect, at);
        return Some(if given == count { None } else { Stars::new(given) });
    }
    let scale = Linear {
        least: 0.0,
        most: f64::from(Stars::MAX),
        x: rect.x_range(),
    };
    let requested = slider::requested_value(ui, response).map(Input::Set);
    let steps = slider::requested_steps(ui, response);
    let requested = requested.or((steps != 0).then_some(Input::Step { small: steps, large: 0 }));
    match requested.or_else(|| slider::key_input(ui, response, &scale, f64::from(count))) {
        Some(Input::Set(value)) => return Some(of(value)),
        Some(Input::Step { small, large }) => return Some(of(f64::from(count) + f64::from(small + large))),
        Some(Input::Reset) | None => {}
    }
    typed(ui).filter(|_| response.has_focus())
}

/// Converts a value to stars; values beyond the scale are clamped.
fn of(value: f64) -> Option<Stars> {
    Stars::new(value.round().clamp(0.0, f64::from(Stars::MAX)) as u8)
}

/// Returns the stars of a pressed digit, or none for Delete and Backspace.
pub fn typed(ui: &Ui) -> Option<Option<Stars>> {
    const DIGITS: [Key; 6] = [Key::Num0, Key::Num1, Key::Num2, Key::Num3, Key::Num4, Key::Num5];
    ui.input(|input| {
        input.events.iter().find_map(|event| match event {
            Event::Key {
                key,
                pressed: true,
                modifiers,
                ..
            } if modifiers.is_none() => match key {
                Key::Delete | Key::Backspace => Some(None),
                key => {
                    let digit = DIGITS.iter().position(|digit| digit == key)?;
                    Some(Stars::new(u8::try_from(digit).ok()?))
                }
            },
            _ => None,
        })
    })
}

fn star_at(rect: Rect, at: Pos2) -> u8 {
    let star = ((at.x - rect.left()) / STEP).ceil();
    star.clamp(1.0, f32::from(Stars::MAX)) as u8
}

/// Paints the stars of a table's cell; nothing where the run is not rated.
pub fn paint_stars(painter: &Painter, left: Pos2, stars: Option<Stars>, colour: Color32) {
    const SMALL: f32 = 4.5;
    let Some(stars) = stars else { return };
    for star in 0..Stars::MAX {
        let at = left + vec2(SMALL + f32::from(star) * 11.0, 0.0);
        paint_star(painter, at, SMALL, star < stars.count(), colour);
    }
}

fn paint_star(painter: &Painter, centre: Pos2, radius: f32, filled: bool, colour: Color32) {
    let corner = |index: u8| {
        let angle = (f32::from(index) * 36.0 - 90.0).to_radians();
        let radius = if index.is_multiple_of(2) { radius } else { radius * 0.45 };
        centre + radius * vec2(angle.cos(), angle.sin())
    };
    let corners: Vec<Pos2> = (0..10).map(corner).collect();
    if filled {
        // A star is not convex: its points and its middle are.
        for tip in (0..10).step_by(2) {
            let sides = [corners[(tip + 9) % 10], corners[tip], corners[(tip + 1) % 10], centre];
            painter.add(Shape::convex_polygon(sides.to_vec(), colour, Stroke::new(0.5, colour)));
        }
    } else {
        painter.add(Shape::closed_line(corners, Stroke::new(1.0, colour)));
    }
}
