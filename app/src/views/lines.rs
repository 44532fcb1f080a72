//! Several series over magnitude in one plot, each with a marker of its own; the selected one is orange. Frame, axes
//! and bands are those of [`super::plot`].

use eframe::egui::{
    self, EventFilter, Key, Painter, Pos2, Rect, Response, Sense, Shape, Stroke, StrokeKind, Ui, Vec2, vec2,
};
use egui_plot::LineStyle;

use super::paint;
use super::plot::{Area, Plot, paint_cross};
use crate::theme::{self, Palette};

/// The shape of a series' points.
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

    /// Returns the marker of the n-th series.
    #[must_use]
    pub fn of(index: usize) -> Self {
        Self::ALL[index % Self::ALL.len()]
    }
}

/// One point of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Spot {
    pub x: f64,
    pub y: f64,
    /// The output is a loop; drawn as a cross.
    pub collapsed: bool,
    /// The smallest and the largest of the values of which `y` is the mean: drawn as a bar.
    pub spread: Option<(f64, f64)>,
}

/// One series.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    pub label: String,
    pub marker: Marker,
    /// Ascending in x.
    pub spots: Vec<Spot>,
    /// Whether it is selected: orange and thick.
    pub chosen: bool,
    /// Whether some of its cases have not run yet: the line is dashed.
    pub unfinished: bool,
}

/// A point: the index of its series, and its index in the series.
pub type Place = (usize, usize);

/// The plot of several series.
pub struct Lines<'a> {
    /// Axes, bands and cursor; its own points are not used.
    pub ground: Plot<'a>,
    pub curves: &'a [Curve],
    /// The selected point.
    pub selected: Option<Place>,
    /// Points with a letter.
    pub tags: &'a [(Place, &'static str)],
}

impl Lines<'_> {
    /// Draws the plot in a box of `size`; returns the point that was clicked or selected with the arrow keys.
    /// `describe` returns the text for a point.
    pub fn show(&self, ui: &mut Ui, size: Vec2, describe: impl Fn(usize, usize) -> String) -> Option<Place> {
        let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
        let palette = Palette::of(ui);
        let lines = self.order().map(|curve| {
            let stroke = if curve.chosen {
                Stroke::new(2.5, palette.prefix_fill)
            } else {
                Stroke::new(1.5, palette.text3)
            };
            let style = if curve.unfinished {
                LineStyle::dashed_dense()
            } else {
                LineStyle::Solid
            };
            let spots = curve.spots.iter().map(|spot| (spot.x, spot.y));
            self.ground.line(spots, stroke).style(style)
        });
        let frame = self.ground.frame(ui, rect, lines.collect());
        let area = frame.area;
        let pointed = frame.pointed(self.all().map(|(at, spot)| {
            // Of points at the same place, that of the selected series takes precedence.
            let before = if self.curves[at.0].chosen { 2.0 } else { 0.0 };
            (area.at(spot.x, spot.y), before, at)
        }));
        let opened = pointed
            .filter(|_| frame.clicked)
            .or_else(|| self.keys(ui, &frame.response));
        if ui.is_rect_visible(rect) {
            self.paint(ui, &area, pointed);
        }
        let accessible_value = match pointed.or(self.selected) {
            Some((curve, spot)) => describe(curve, spot),
            None => self.all().count().to_string(),
        };
        let words = pointed.and_then(|(curve, spot)| {
            let at = self.curves.get(curve)?.spots.get(spot)?;
            Some((area.at(at.x, at.y), describe(curve, spot)))
        });
        frame.explain(ui, self.ground.name, accessible_value, words);
        opened
    }

    /// Returns the series in drawing order: the selected one is last.
    fn order(&self) -> impl Iterator<Item = &Curve> {
        let of = |chosen| self.curves.iter().filter(move |curve| curve.chosen == chosen);
        of(false).chain(of(true))
    }

    fn all(&self) -> impl Iterator<Item = ((usize, usize), &Spot)> {
        self.curves.iter().enumerate().flat_map(|(curve, of)| {
            of.spots
                .iter()
                .enumerate()
                .map(move |(place, spot)| ((curve, place), spot))
        })
    }

    /// Returns the point that the arrow keys select.
    fn keys(&self, ui: &Ui, response: &Response) -> Option<Place> {
        if !response.has_focus() {
            return None;
        }
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
        if (along, across) == (0, 0) {
            return None;
        }
        self.stepped(along, across)
    }

    /// Returns the neighbour of the selected point along its series or on the next one.
    fn stepped(&self, along: isize, across: isize) -> Option<Place> {
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

    fn paint(&self, ui: &Ui, area: &Area, pointed: Option<Place>) {
        let palette = Palette::of(ui);
        let painter = ui.painter();
        self.ground.paint_cursor(ui, area);
        let points: Vec<Pos2> = self.all().map(|(_, spot)| area.at(spot.x, spot.y)).collect();
        self.ground.paint_collapse_tag(ui, area, &points);
        for chosen in [false, true] {
            for ((index, place), spot) in self.all() {
                let curve = &self.curves[index];
                let at = area.at(spot.x, spot.y);
                if curve.chosen != chosen || !area.shows(at) {
                    continue;
                }
                if let Some((least, most)) = spot.spread {
                    let colour = if chosen { palette.prefix_fill } else { palette.text3 };
                    let visible = area.plot().y_range();
                    let y = |value| visible.clamp(area.at(spot.x, value).y);
                    painter.vline(at.x, egui::Rangef::new(y(most), y(least)), Stroke::new(1.0, colour));
                }
                if spot.collapsed {
                    paint_cross(painter, at, palette);
                } else {
                    marker(painter, curve.marker, at, chosen, palette);
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
            let at = area.at(spot.x, spot.y);
            if !area.shows(at) {
                continue;
            }
            let at = at + vec2(10.0, -10.0);
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
            paint::notice(ui, area.plot(), self.ground.empty);
        }
    }
}

/// Paints a marker, in orange if selected.
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
