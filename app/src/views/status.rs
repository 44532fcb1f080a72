//! Status icons, each with a shape of its own beside its colour.

use eframe::egui::{
    Color32, CornerRadius, Painter, Pos2, Rect, Response, Sense, Shape, Stroke, StrokeKind, Ui, Vec2, vec2,
};

use crate::theme::Palette;

/// A status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// A ticked circle.
    Good,
    /// A triangle with an exclamation mark.
    Warning,
    /// A crossed square.
    Broken,
    /// A half-filled circle: in progress.
    Busy,
    /// A hollow circle: absent.
    Away,
}

impl Status {
    #[must_use]
    pub fn colour(self, palette: &Palette) -> Color32 {
        match self {
            Self::Good => palette.good,
            Self::Warning => palette.warning,
            Self::Broken => palette.broken,
            Self::Busy | Self::Away => palette.text3,
        }
    }
}

/// Paints `status` into a square of 16 points (times `scale`) around `centre`.
pub fn paint(painter: &Painter, status: Status, centre: Pos2, scale: f32, palette: &Palette) {
    let colour = status.colour(palette);
    let stroke = Stroke::new(1.5 * scale, colour);
    let tint = colour.gamma_multiply(0.16);
    let at = |x: f32, y: f32| centre + vec2(x, y) * scale;
    match status {
        Status::Good => {
            painter.circle(centre, 6.0 * scale, tint, stroke);
            painter.add(Shape::line(vec![at(-2.8, 0.2), at(-0.8, 2.3), at(2.9, -2.2)], stroke));
        }
        Status::Warning => {
            let corners = vec![at(0.0, -6.0), at(6.5, 5.5), at(-6.5, 5.5)];
            painter.add(Shape::convex_polygon(corners, tint, stroke));
            painter.line_segment([at(0.0, -2.2), at(0.0, 1.8)], stroke);
            painter.circle_filled(at(0.0, 3.8), 0.9 * scale, colour);
        }
        Status::Broken => {
            let body = Rect::from_center_size(centre, Vec2::splat(12.0 * scale));
            painter.rect(
                body,
                CornerRadius::same((2.0 * scale) as u8),
                tint,
                stroke,
                StrokeKind::Middle,
            );
            painter.line_segment([at(-2.6, -2.6), at(2.6, 2.6)], stroke);
            painter.line_segment([at(-2.6, 2.6), at(2.6, -2.6)], stroke);
        }
        Status::Busy => {
            painter.circle_stroke(centre, 6.0 * scale, stroke);
            let mut half = vec![at(0.0, -6.0)];
            half.extend((0..=12).map(|step| {
                let angle = (-90.0 + 180.0 * step as f32 / 12.0).to_radians();
                at(6.0 * angle.cos(), 6.0 * angle.sin())
            }));
            painter.add(Shape::convex_polygon(half, colour, Stroke::NONE));
        }
        Status::Away => {
            painter.circle_stroke(centre, 6.0 * scale, stroke);
        }
    }
}

/// Draws the icon as a widget of 16 points without an accessible name, since a label is beside it.
pub fn mark(ui: &mut Ui, status: Status) -> Response {
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(16.0), Sense::hover());
    paint(ui.painter(), status, rect.center(), 1.0, Palette::of(ui));
    response
}

/// Paints the symbol of the baseline: a hollow ring.
pub fn baseline_ring(painter: &Painter, centre: Pos2, scale: f32, palette: &Palette) {
    painter.circle_stroke(centre, 4.5 * scale, Stroke::new(2.0 * scale, palette.baseline));
}

/// Paints the symbol of the prefix: a filled disc.
pub fn prefix_disc(painter: &Painter, centre: Pos2, scale: f32, palette: &Palette) {
    painter.circle_filled(centre, 5.5 * scale, palette.prefix_fill);
}
