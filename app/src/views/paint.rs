//! Painting helpers shared by widgets: text, dashes, hatching, the focus ring, labels in the theme's text styles.

use std::sync::Arc;

use eframe::egui::{
    self, Align2, Color32, FontId, Galley, Painter, Pos2, Rect, Response, RichText, Shape, Stroke, StrokeKind, Ui, pos2,
};

use crate::theme::{self, Palette, Type};

/// Lays `text` out on one line.
#[must_use]
pub fn line_of_text(ui: &Ui, text: &str, font: FontId, colour: Color32) -> Arc<Galley> {
    ui.painter().layout_no_wrap(text.to_owned(), font, colour)
}

/// Paints a galley so that the side or corner `align` of its box is at `anchor`; returns the box.
pub fn place(painter: &Painter, anchor: Pos2, align: Align2, galley: Arc<Galley>) -> Rect {
    let rect = align.anchor_size(anchor, galley.size());
    painter.galley(rect.min, galley, Color32::PLACEHOLDER);
    rect
}

/// Lays out and paints one line of text; returns its box.
pub fn text(painter: &Painter, anchor: Pos2, align: Align2, words: &str, font: FontId, colour: Color32) -> Rect {
    let galley = painter.layout_no_wrap(words.to_owned(), font, colour);
    place(painter, anchor, align, galley)
}

/// Lays out one line of text, truncated with an ellipsis at `width`.
#[must_use]
pub fn cut_to(ui: &Ui, words: &str, font: FontId, colour: Color32, width: f32) -> Arc<Galley> {
    let mut job = egui::text::LayoutJob::simple_singleline(words.to_owned(), font, colour);
    job.wrap = egui::text::TextWrapping::truncate_at_width(width);
    ui.painter().layout_job(job)
}

/// Paints a sentence in the middle of an empty `area`, with a background.
pub fn notice(ui: &Ui, area: Rect, words: &str) {
    let palette = Palette::of(ui);
    let mut job = egui::text::LayoutJob::simple(
        words.to_owned(),
        theme::BODY.regular(),
        palette.text3,
        area.width() - 32.0,
    );
    job.halign = egui::Align::Center;
    let galley = ui.painter().layout_job(job);
    let ground = Rect::from_center_size(area.center(), galley.size() + egui::vec2(24.0, 12.0));
    ui.painter().rect_filled(ground, 0.0, palette.inset);
    // The lines are centred around the position.
    ui.painter().galley(
        pos2(area.center().x, area.center().y - galley.size().y / 2.0),
        galley,
        Color32::PLACEHOLDER,
    );
}

/// Paints a dashed horizontal line.
pub fn dashed_h(painter: &Painter, x: egui::Rangef, y: f32, stroke: Stroke, dash: f32, gap: f32) {
    painter.extend(Shape::dashed_line(&[pos2(x.min, y), pos2(x.max, y)], stroke, dash, gap));
}

/// Paints a dashed vertical line.
pub fn dashed_v(painter: &Painter, x: f32, y: egui::Rangef, stroke: Stroke, dash: f32, gap: f32) {
    painter.extend(Shape::dashed_line(&[pos2(x, y.min), pos2(x, y.max)], stroke, dash, gap));
}

/// Paints lines at 45 degrees over `rect`, `pitch` points apart horizontally.
pub fn hatch(painter: &Painter, rect: Rect, pitch: f32, stroke: Stroke) {
    let painter = painter.with_clip_rect(rect.intersect(painter.clip_rect()));
    let mut x = rect.left() - rect.height();
    while x < rect.right() {
        painter.line_segment([pos2(x, rect.bottom()), pos2(x + rect.height(), rect.top())], stroke);
        x += pitch;
    }
}

/// Paints a ring around the control with the focus; nothing else marks it.
pub fn focus_ring(ui: &Ui, response: &Response, rect: Rect, radius: u8) {
    if response.has_focus() {
        let palette = Palette::of(ui);
        ui.painter().rect_stroke(
            rect.expand(3.0),
            egui::CornerRadius::same(radius.saturating_add(3)),
            Stroke::new(2.0, palette.text),
            StrokeKind::Middle,
        );
    }
}

/// Text in the regular font.
#[must_use]
pub fn words(text: impl Into<String>, kind: Type, colour: Color32) -> RichText {
    RichText::new(text)
        .font(kind.regular())
        .line_height(Some(kind.line))
        .color(colour)
}

/// Text in the SemiBold font.
#[must_use]
pub fn strong(text: impl Into<String>, kind: Type, colour: Color32) -> RichText {
    RichText::new(text)
        .font(kind.semibold())
        .line_height(Some(kind.line))
        .color(colour)
}

/// Text in the mono font, for numbers.
#[must_use]
pub fn figures(text: impl Into<String>, kind: Type, colour: Color32) -> RichText {
    RichText::new(text)
        .font(kind.mono())
        .line_height(Some(kind.line))
        .color(colour)
}

/// Draws a hairline across the available width.
pub fn rule(ui: &mut Ui) {
    let width = ui.available_width();
    let (rect, _) = ui.allocate_exact_size(egui::vec2(width, 1.0), egui::Sense::hover());
    ui.painter()
        .hline(rect.x_range(), rect.center().y, Stroke::new(1.0, Palette::of(ui).line));
}

/// Paints a box whose fill fades from `from` at the left to `to` at the right.
pub fn fade_h(painter: &Painter, rect: Rect, from: Color32, to: Color32) {
    let mut mesh = egui::Mesh::default();
    mesh.colored_vertex(rect.left_top(), from);
    mesh.colored_vertex(rect.right_top(), to);
    mesh.colored_vertex(rect.left_bottom(), from);
    mesh.colored_vertex(rect.right_bottom(), to);
    mesh.add_triangle(0, 1, 2);
    mesh.add_triangle(2, 1, 3);
    painter.add(mesh);
}

/// Returns `colour` blended over `ground` with opacity `alpha`, as an opaque colour.
#[must_use]
pub fn over(ground: Color32, colour: Color32, alpha: f32) -> Color32 {
    ground.lerp_to_gamma(colour, alpha)
}

/// Paints a tag: a small filled box with a label, anchored by one of its sides.
pub fn tag(painter: &Painter, anchor: Pos2, align: Align2, words: &str, style: TagStyle) -> Rect {
    let galley = painter.layout_no_wrap(words.to_owned(), theme::CAPTION.semibold(), style.text);
    let size = galley.size() + egui::vec2(style.padding * 2.0, 8.0);
    let rect = align.anchor_size(anchor, size);
    let radius = egui::CornerRadius::same(theme::RADIUS_TAG);
    painter.rect(rect, radius, style.fill, style.outline, StrokeKind::Inside);
    let at = rect.center() - galley.size() * 0.5;
    painter.galley(at, galley, Color32::PLACEHOLDER);
    rect
}

/// The colours of a [`tag`].
#[derive(Clone, Copy, Debug)]
pub struct TagStyle {
    pub fill: Color32,
    pub outline: Stroke,
    pub text: Color32,
    pub padding: f32,
}
