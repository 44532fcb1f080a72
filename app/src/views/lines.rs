//! Several curves over magnitude in one plot: one line and one marker for each, the chosen one in orange.
//!
//! Ground, axis and noise band are those of [`super::plot`]; 0 stands apart here, too. It knows no run, only points.

use eframe::egui::{
    self, EventFilter, Key, Painter, Pos2, Rect, Response, Role, Sense, Shape, Stroke, StrokeKind, Ui, Vec2,
    WidgetInfo, vec2,
};

use super::paint;
use super::plot::{Area, Plot, REACH};
use crate::theme::{self, Palette};

/// The shape of a line's points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    Ring,
    Square,
    Disc,
    Diamond,
    Triangle,
}

impl Marker {
    const ALL: [Self; 5] = [Self::Ring, Self::Square, Self::Disc, Self::Diamond, Self::Triangle];

    /// The marker of the n-th line.
    #[must_use]
    pub fn of(index: usize) -> Self {
        Self::ALL[index % Self::ALL.len()]
    }
}

/// One point of a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Spot {
    pub x: f64,
    pub y: f64,
    /// The output is a loop: drawn as a cross.
    pub collapsed: bool,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    pub label: String,
    pub marker: Marker,
    /// Ascending in x.
    pub spots: Vec<Spot>,
    /// The one that is looked at: orange and thick.
    pub chosen: bool,
    /// Cases of it are still to come: the line is dashed.
    pub unfinished: bool,
}

/// A spot: its curve, and its place in it.
pub type Place = (usize, usize);

/// The plot of several curves.
pub struct Lines<'a> {
    /// Everything behind the curves; its own points are not used.
    pub ground: Plot<'a>,
    pub curves: &'a [Curve],
    /// The point that is looked at, as curve and place in it.
    pub selected: Option<Place>,
    /// Points that bear a letter.
    pub tags: &'a [(Place, &'static str)],
}

impl Lines<'_> {
    /// Shows the plot in a box of `size`; answers the point that was clicked, or chosen by the arrows. `describe` says a point
    /// in words.
    pub fn show(&self, ui: &mut Ui, size: Vec2, describe: impl Fn(usize, usize) -> String) -> Option<(usize, usize)> {
        let (rect, response) = ui.allocate_exact_size(size, Sense::click());
        let area = Area::of(rect, self.ground.axis, self.ground.top.max(f64::MIN_POSITIVE));
        let (pointed, opened) = self.touched(ui, &response, &area);
        let spoken = pointed.or(self.selected).map(|(curve, spot)| describe(curve, spot));
        let enabled = ui.is_enabled();
        response.widget_info(|| {
            let mut info = WidgetInfo::labeled(Role::Figure, enabled, self.ground.name);
            let count: usize = self.curves.iter().map(|curve| curve.spots.len()).sum();
            info.current_text_value = Some(spoken.clone().unwrap_or_else(|| count.to_string()));
            info
        });
        if ui.is_rect_visible(rect) {
            self.ground.paint_ground(ui, &area);
            self.paint(ui, &area, pointed);
            paint::focus_ring(ui, &response, rect.shrink(2.0), theme::RADIUS_TAG);
        }
        if let (true, Some((curve, spot))) = (response.hovered(), pointed) {
            ui.ctx().set_cursor_icon(egui::CursorIcon::PointingHand);
            response.show_tooltip_text(paint::words(
                describe(curve, spot),
                theme::CAPTION,
                Palette::of(ui).text,
            ));
        }
        opened
    }

    fn all(&self) -> impl Iterator<Item = ((usize, usize), &Spot)> {
        self.curves.iter().enumerate().flat_map(|(curve, of)| {
            of.spots
                .iter()
                .enumerate()
                .map(move |(place, spot)| ((curve, place), spot))
        })
    }

    /// The spot under the pointer and the one that was opened.
    fn touched(&self, ui: &Ui, response: &Response, area: &Area) -> (Option<Place>, Option<Place>) {
        let mut pointed = None;
        let mut opened = None;
        if let Some(pointer) = response.hover_pos() {
            pointed = self
                .all()
                .map(|(at, spot)| (area.at(spot.x, spot.y).distance(pointer), at))
                .filter(|(distance, _)| *distance <= REACH)
                // Of points that lie on each other, the chosen line's is meant.
                .min_by(|a, b| {
                    let far = |(distance, (curve, _)): &(f32, (usize, usize))| {
                        distance - if self.curves[*curve].chosen { 2.0 } else { 0.0 }
                    };
                    far(a).total_cmp(&far(b))
                })
                .map(|(_, at)| at);
            if response.clicked() {
                opened = pointed;
            }
        }
        if response.has_focus() {
            let filter = EventFilter {
                horizontal_arrows: true,
                vertical_arrows: true,
                ..EventFilter::default()
            };
            ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, filter));
            let (along, across) = ui.input(|input| {
                let pressed = |key| input.num_presses(key) as isize;
                (
                    pressed(Key::ArrowRight) - pressed(Key::ArrowLeft),
                    pressed(Key::ArrowDown) - pressed(Key::ArrowUp),
                )
            });
            if (along, across) != (0, 0) {
                opened = self.stepped(along, across).or(opened);
            }
        }
        (pointed, opened)
    }

    /// The neighbour of the selected point along its line or on the next one.
    fn stepped(&self, along: isize, across: isize) -> Option<(usize, usize)> {
        let Some((curve, spot)) = self.selected else {
            return self.all().next().map(|(at, _)| at);
        };
        let clamp = |at: usize, step: isize, len: usize| (at as isize + step).clamp(0, len as isize - 1) as usize;
        let to = clamp(curve, across, self.curves.len());
        let spots = &self.curves.get(to)?.spots;
        if spots.is_empty() {
            return None;
        }
        Some((to, clamp(spot, along, spots.len())))
    }

    fn paint(&self, ui: &Ui, area: &Area, pointed: Option<(usize, usize)>) {
        let palette = Palette::of(ui);
        let painter = ui.painter();
        if let Some(current) = self.ground.current.as_ref().filter(|current| current.x > 0.0) {
            let x = area.at(current.x, 0.0).x;
            painter.vline(x, area.plot.y_range(), Stroke::new(2.0, palette.prefix_fill));
        }
        // The chosen line lies on top.
        let mut order: Vec<usize> = (0..self.curves.len()).collect();
        order.sort_by_key(|index| self.curves[*index].chosen);
        for index in order {
            let curve = &self.curves[index];
            let stroke = if curve.chosen {
                Stroke::new(2.5, palette.prefix_fill)
            } else {
                Stroke::new(1.5, palette.text3)
            };
            let joined: Vec<Pos2> = curve
                .spots
                .iter()
                .filter(|spot| spot.x > 0.0)
                .map(|spot| area.at(spot.x, spot.y))
                .collect();
            if joined.len() > 1 {
                if curve.unfinished {
                    painter.extend(Shape::dashed_line(&joined, stroke, 5.0, 4.0));
                } else {
                    painter.add(Shape::line(joined, stroke));
                }
            }
            for (place, spot) in curve.spots.iter().enumerate() {
                let at = area.at(spot.x, spot.y);
                if spot.collapsed {
                    let stroke = Stroke::new(2.0, palette.broken);
                    painter.line_segment([at - vec2(3.5, 3.5), at + vec2(3.5, 3.5)], stroke);
                    painter.line_segment([at - vec2(3.5, -3.5), at + vec2(3.5, -3.5)], stroke);
                } else {
                    marker(painter, curve.marker, at, curve.chosen, palette);
                }
                let here = Some((index, place));
                if here == self.selected || here == pointed {
                    painter.circle_stroke(at, 9.0, Stroke::new(2.0, palette.text));
                }
            }
        }
        for ((curve, spot), letter) in self.tags {
            let Some(spot) = self.curves.get(*curve).and_then(|curve| curve.spots.get(*spot)) else {
                continue;
            };
            let at = area.at(spot.x, spot.y) + vec2(10.0, -10.0);
            paint::text(
                painter,
                at,
                egui::Align2::LEFT_BOTTOM,
                letter,
                theme::CAPTION.semibold(),
                palette.text,
            );
        }
        if self.curves.iter().all(|curve| curve.spots.is_empty()) {
            paint::notice(ui, area.plot, self.ground.empty);
        }
    }
}

/// Paints a marker; the chosen line's in orange.
pub fn marker(painter: &Painter, marker: Marker, at: Pos2, chosen: bool, palette: &Palette) {
    let colour = if chosen { palette.prefix_fill } else { palette.text2 };
    let size = if chosen { 4.0 } else { 3.5 };
    match marker {
        Marker::Ring => {
            painter.circle(at, size, palette.inset, Stroke::new(1.5, colour));
        }
        Marker::Disc => {
            painter.circle_filled(at, size, colour);
        }
        Marker::Square => {
            let body = Rect::from_center_size(at, Vec2::splat(size * 1.9));
            painter.rect(body, 0.0, colour, Stroke::NONE, StrokeKind::Inside);
        }
        Marker::Diamond => {
            let size = size * 1.3;
            let corners = vec![
                at - vec2(0.0, size),
                at + vec2(size, 0.0),
                at + vec2(0.0, size),
                at - vec2(size, 0.0),
            ];
            painter.add(Shape::convex_polygon(corners, colour, Stroke::NONE));
        }
        Marker::Triangle => {
            let size = size * 1.25;
            let corners = vec![
                at - vec2(0.0, size),
                at + vec2(size, size * 0.8),
                at + vec2(-size, size * 0.8),
            ];
            painter.add(Shape::convex_polygon(corners, colour, Stroke::NONE));
        }
    }
}
