//! Icons, painted with strokes of 1.5 points in the text colour, so that no image files are needed.

use eframe::egui::{
    self, Color32, CornerRadius, Painter, Pos2, Rect, Response, Role, Sense, Shape, Stroke, StrokeKind, Ui, Vec2,
    WidgetInfo, pos2, vec2,
};

use super::paint;
use crate::theme::{self, Palette};

/// The available icons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icon {
    Copy,
    Done,
    ChevronDown,
    ChevronRight,
    ChevronLeft,
    Plus,
    Minus,
    Stop,
    Pause,
    Run,
    Again,
    Settings,
    Help,
    Close,
    Dice,
    Menu,
    ArrowLeft,
    ArrowRight,
    Note,
}

/// Paints `icon` into a square of 16 points around `centre`.
pub fn paint(painter: &Painter, icon: Icon, centre: Pos2, colour: Color32) {
    let stroke = Stroke::new(1.5, colour);
    let at = |x: f32, y: f32| centre + vec2(x, y);
    let path = |points: Vec<Pos2>| painter.add(Shape::line(points, stroke));
    match icon {
        Icon::Copy => {
            let radius = CornerRadius::same(1);
            let front = Rect::from_min_max(at(-2.5, -2.5), at(5.5, 5.5));
            painter.rect_stroke(front, radius, stroke, StrokeKind::Middle);
            path(vec![
                at(-4.0, 2.5),
                at(-5.5, 2.5),
                at(-5.5, -5.5),
                at(2.5, -5.5),
                at(2.5, -4.0),
            ]);
        }
        Icon::Done => {
            path(vec![at(-5.0, 0.5), at(-1.5, 4.0), at(5.0, -4.0)]);
        }
        Icon::ChevronDown => {
            path(vec![at(-3.5, -1.75), at(0.0, 1.75), at(3.5, -1.75)]);
        }
        Icon::ChevronRight => {
            path(vec![at(-1.75, -3.5), at(1.75, 0.0), at(-1.75, 3.5)]);
        }
        Icon::ChevronLeft => {
            path(vec![at(1.75, -3.5), at(-1.75, 0.0), at(1.75, 3.5)]);
        }
        Icon::Plus => {
            path(vec![at(-5.0, 0.0), at(5.0, 0.0)]);
            path(vec![at(0.0, -5.0), at(0.0, 5.0)]);
        }
        Icon::Minus => {
            path(vec![at(-5.0, 0.0), at(5.0, 0.0)]);
        }
        Icon::Stop => {
            painter.rect_filled(
                Rect::from_center_size(centre, Vec2::splat(10.0)),
                CornerRadius::same(1),
                colour,
            );
        }
        Icon::Pause => {
            for x in [-3.0, 3.0] {
                let bar = Rect::from_center_size(at(x, 0.0), vec2(3.0, 10.0));
                painter.rect_filled(bar, CornerRadius::same(1), colour);
            }
        }
        Icon::Run => {
            painter.add(Shape::convex_polygon(
                vec![at(-4.0, -5.5), at(5.5, 0.0), at(-4.0, 5.5)],
                colour,
                Stroke::NONE,
            ));
        }
        Icon::Again => {
            let arc = (0..=20)
                .map(|step| {
                    let angle = (-40.0 + 290.0 * step as f32 / 20.0).to_radians();
                    at(5.2 * angle.cos(), 5.2 * angle.sin())
                })
                .collect();
            path(arc);
            path(vec![at(0.8, -4.2), at(4.4, -3.6), at(5.0, -7.2)]);
        }
        Icon::Settings => {
            // Two sliders, this window's symbol for "adjust".
            for (y, knob) in [(-3.5, 2.0), (3.5, -2.0)] {
                path(vec![at(-6.0, y), at(knob - 2.2, y)]);
                path(vec![at(knob + 2.2, y), at(6.0, y)]);
                painter.circle_stroke(at(knob, y), 2.2, stroke);
            }
        }
        Icon::Help => {
            paint::text(
                painter,
                centre,
                egui::Align2::CENTER_CENTER,
                "?",
                theme::CARD_TITLE.semibold(),
                colour,
            );
        }
        Icon::Close => {
            path(vec![at(-4.5, -4.5), at(4.5, 4.5)]);
            path(vec![at(-4.5, 4.5), at(4.5, -4.5)]);
        }
        Icon::Dice => {
            let body = Rect::from_center_size(centre, Vec2::splat(12.0));
            painter.rect_stroke(body, CornerRadius::same(3), stroke, StrokeKind::Middle);
            for (x, y) in [(-2.8, -2.8), (2.8, 2.8), (0.0, 0.0), (2.8, -2.8), (-2.8, 2.8)] {
                painter.circle_filled(at(x, y), 1.1, colour);
            }
        }
        Icon::Menu => {
            for x in [-5.0, 0.0, 5.0] {
                painter.circle_filled(at(x, 0.0), 1.5, colour);
            }
        }
        Icon::Note => {
            let sheet = Rect::from_center_size(centre, vec2(11.0, 12.0));
            painter.rect_stroke(sheet, CornerRadius::same(2), stroke, StrokeKind::Middle);
            for (y, end) in [(-2.5, 3.0), (0.5, 3.0), (3.5, 0.5)] {
                path(vec![at(-3.0, y), at(end, y)]);
            }
        }
        Icon::ArrowLeft | Icon::ArrowRight => {
            let side = if icon == Icon::ArrowLeft { -1.0 } else { 1.0 };
            path(vec![at(-5.0 * side, 0.0), at(5.0 * side, 0.0)]);
            path(vec![at(1.0 * side, -4.0), at(5.0 * side, 0.0), at(1.0 * side, 4.0)]);
        }
    }
}

/// A square button with an icon and an accessible name.
#[must_use = "show it with `ui.add`"]
pub struct IconButton<'a> {
    icon: Icon,
    name: &'a str,
    size: f32,
    outlined: bool,
}

impl<'a> IconButton<'a> {
    /// Creates a button. `name` is the accessible name and the tooltip.
    pub fn new(icon: Icon, name: &'a str) -> Self {
        Self {
            icon,
            name,
            size: theme::CONTROL,
            outlined: false,
        }
    }

    /// Adds an outline, for a primary control.
    pub fn outlined(mut self) -> Self {
        self.outlined = true;
        self
    }

    pub fn size(mut self, size: f32) -> Self {
        self.size = size;
        self
    }
}

impl egui::Widget for IconButton<'_> {
    fn ui(self, ui: &mut Ui) -> Response {
        let palette = Palette::of(ui);
        let (rect, response) = ui.allocate_exact_size(Vec2::splat(self.size), Sense::click());
        let enabled = ui.is_enabled();
        response.widget_info(|| WidgetInfo::labeled(Role::Button, enabled, self.name));
        if ui.is_rect_visible(rect) {
            let body = rect.shrink(0.5);
            let radius = CornerRadius::same(theme::RADIUS_CONTROL);
            let pressed = response.is_pointer_button_down_on();
            if enabled && (response.hovered() || pressed) {
                ui.painter().rect_filled(body, radius, palette.raised);
            }
            if self.outlined {
                let outline = if enabled { palette.stroke } else { palette.line };
                ui.painter()
                    .rect_stroke(body, radius, Stroke::new(1.0, outline), StrokeKind::Inside);
            }
            let colour = match (enabled, self.outlined || response.hovered()) {
                (false, _) => palette.text3,
                (true, true) => palette.text,
                (true, false) => palette.text2,
            };
            paint(ui.painter(), self.icon, pos2(rect.center().x, rect.center().y), colour);
            paint::focus_ring(ui, &response, body, theme::RADIUS_CONTROL);
        }
        response.on_hover_text(self.name)
    }
}
