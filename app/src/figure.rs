//! Writes a drawing to a file: SVG by `core`, or PNG painted from the same shapes at twice their size with the window's
//! fonts.

use softprefix_core::experiment::drawing::{Anchor, Drawing, Paper, Shape};
use vello_cpu::color::AlphaColor;
use vello_cpu::kurbo::{Affine, BezPath, Cap, Circle, Join, Rect, Shape as _, Stroke};
use vello_cpu::{Pixmap, RenderContext, Resources};

use skrifa::instance::{LocationRef, Size};
use skrifa::outline::{DrawSettings, OutlinePen};
use skrifa::{FontRef, MetadataProvider};

use crate::fonts;

/// A file format for a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageFormat {
    Png,
    Svg,
}

impl ImageFormat {
    pub const ALL: [Self; 2] = [Self::Png, Self::Svg];

    /// Returns the file extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Svg => "svg",
        }
    }

    /// Returns the content of the file.
    ///
    /// # Errors
    /// Why it cannot be painted.
    pub fn write(self, drawing: &Drawing, paper: Paper) -> Result<Vec<u8>, String> {
        match self {
            Self::Png => png(drawing, paper),
            Self::Svg => Ok(drawing.document(paper).into_bytes()),
        }
    }
}

/// Pixels per unit of the drawing.
const SCALE: f64 = 2.0;
/// Largest side of an image, in pixels.
const MAX_SIDE: f64 = 16_000.0;

fn png(drawing: &Drawing, paper: Paper) -> Result<Vec<u8>, String> {
    let side = |length: f64| {
        let pixels = (length * SCALE).round();
        (1.0..=MAX_SIDE).contains(&pixels).then_some(pixels as u16)
    };
    let (Some(width), Some(height)) = (side(drawing.width), side(drawing.height)) else {
        return Err(format!(
            "it is {} x {} units large, which is no size for a picture",
            drawing.width, drawing.height
        ));
    };
    let faces = Faces::open()?;
    let mut context = RenderContext::new(width, height);
    context.set_transform(Affine::scale(SCALE));
    for item in &drawing.items {
        let [red, green, blue, alpha] = item.ink.rgba(paper);
        context.set_paint(AlphaColor::from_rgba8(red, green, blue, alpha));
        match &item.shape {
            Shape::Rect([x, y, width, height]) => context.fill_rect(&Rect::new(*x, *y, x + width, y + height)),
            Shape::Line { points, width, dashes } => {
                let mut path = BezPath::new();
                for (index, point) in points.iter().enumerate() {
                    if index == 0 {
                        path.move_to(*point);
                    } else {
                        path.line_to(*point);
                    }
                }
                context.set_stroke(stroke(*width).with_dashes(0.0, dashes.iter().copied()));
                context.stroke_path(&path);
            }
            // 0.05: how far the path may be from the circle, in units of the drawing.
            Shape::Circle { centre, radius } => context.fill_path(&Circle::new(*centre, *radius).to_path(0.05)),
            Shape::Cross {
                centre: (x, y),
                reach,
                width,
            } => {
                let mut path = BezPath::new();
                for slope in [1.0, -1.0] {
                    path.move_to((x - reach, y - reach * slope));
                    path.line_to((x + reach, y + reach * slope));
                }
                context.set_stroke(stroke(*width));
                context.stroke_path(&path);
            }
            Shape::Text {
                at,
                words,
                size,
                anchor,
                bold,
            } => {
                let (path, length) = faces.outline(words, *size as f32, *bold);
                let shift = match anchor {
                    Anchor::Start => 0.0,
                    Anchor::Middle => length / 2.0,
                    Anchor::End => length,
                };
                context.fill_path(&(Affine::translate((at.0 - shift, at.1)) * path));
            }
        }
    }
    context.flush();
    let mut pixmap = Pixmap::new(width, height);
    context.render(&mut pixmap, &mut Resources::new());
    pixmap.into_png().map_err(|error| error.to_string())
}

/// A stroke with the caps and joins that SVG has by default.
fn stroke(width: f64) -> Stroke {
    Stroke::new(width).with_caps(Cap::Butt).with_join(Join::Miter)
}

/// The window's fonts and their fallbacks.
struct Faces {
    regular: Vec<FontRef<'static>>,
    semibold: Vec<FontRef<'static>>,
}

impl Faces {
    fn open() -> Result<Self, String> {
        let open = |files: [&'static [u8]; 2]| -> Result<Vec<FontRef<'static>>, String> {
            let faces = files.into_iter().map(FontRef::new).collect::<Result<Vec<_>, _>>();
            faces.map_err(|error| error.to_string())
        };
        Ok(Self {
            regular: open(fonts::faces(false))?,
            semibold: open(fonts::faces(true))?,
        })
    }

    /// Returns the outline of a line of text that begins at the origin, and its length. Characters that no font has are
    /// omitted.
    fn outline(&self, words: &str, size: f32, bold: bool) -> (BezPath, f64) {
        let faces = if bold { &self.semibold } else { &self.regular };
        let mut pen = Pen::default();
        for letter in words.chars() {
            let found = faces.iter().find_map(|face| Some((face, face.charmap().map(letter)?)));
            let Some((face, glyph)) = found else { continue };
            let at = Size::new(size);
            if let Some(outline) = face.outline_glyphs().get(glyph) {
                // A glyph with a broken outline leaves a gap of its width.
                let _ = outline.draw(DrawSettings::unhinted(at, LocationRef::default()), &mut pen);
            }
            let width = face.glyph_metrics(at, LocationRef::default()).advance_width(glyph);
            pen.x += f64::from(width.unwrap_or(size / 2.0));
        }
        (pen.path, pen.x)
    }
}

/// Collects outlines, whose y axis points up, glyph after glyph.
#[derive(Default)]
struct Pen {
    path: BezPath,
    x: f64,
}

impl Pen {
    fn at(&self, x: f32, y: f32) -> (f64, f64) {
        (self.x + f64::from(x), -f64::from(y))
    }
}

impl OutlinePen for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        self.path.move_to(self.at(x, y));
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.path.line_to(self.at(x, y));
    }

    fn quad_to(&mut self, cx: f32, cy: f32, x: f32, y: f32) {
        self.path.quad_to(self.at(cx, cy), self.at(x, y));
    }

    fn curve_to(&mut self, ax: f32, ay: f32, bx: f32, by: f32, x: f32, y: f32) {
        self.path.curve_to(self.at(ax, ay), self.at(bx, by), self.at(x, y));
    }

    fn close(&mut self) {
        self.path.close_path();
    }
}

#[cfg(test)]
mod tests {
    use softprefix_core::experiment::drawing::Ink;

    use super::*;

    fn rgb(ink: Ink, paper: Paper) -> [u8; 3] {
        let [red, green, blue, _] = ink.rgba(paper);
        [red, green, blue]
    }

    fn drawing() -> Drawing {
        let mut drawing = Drawing {
            title: "類似度".to_owned(),
            width: 60.0,
            height: 40.0,
            items: Vec::new(),
        };
        drawing.add(Ink::Paper, Shape::Rect([0.0, 0.0, 60.0, 40.0]));
        drawing.add(Ink::Series(0), Shape::Rect([10.0, 10.0, 10.0, 10.0]));
        drawing.words(Ink::Text, (30.0, 30.0), Anchor::Start, "森P");
        drawing
    }

    fn decode(png: &[u8]) -> eframe::egui::ColorImage {
        let image = eframe::icon_data::from_png_bytes(png).unwrap();
        let size = [image.width as usize, image.height as usize];
        eframe::egui::ColorImage::from_rgba_unmultiplied(size, &image.rgba)
    }

    #[test]
    fn a_png_opens_at_twice_the_size_with_shapes_and_letters_where_the_drawing_has_them() {
        for paper in [Paper::Light, Paper::Dark] {
            let image = decode(&ImageFormat::Png.write(&drawing(), paper).unwrap());
            assert_eq!(image.size, [120, 80]);
            let at = |x: usize, y: usize| {
                let [red, green, blue, alpha] = image.pixels[y * 120 + x].to_array();
                assert_eq!(alpha, 255);
                [red, green, blue]
            };
            assert_eq!(at(2, 2), rgb(Ink::Paper, paper));
            assert_eq!(at(30, 30), rgb(Ink::Series(0), paper));
            // The box of the letters is neither empty nor full.
            let letters = (60..84).flat_map(|x| (40..60).map(move |y| (x, y)));
            let inked = letters.filter(|&(x, y)| at(x, y) == rgb(Ink::Text, paper)).count();
            assert!((20..400).contains(&inked), "{inked}");
        }
    }

    #[test]
    fn a_drawing_of_no_size_is_refused_in_words() {
        let empty = Drawing::default();
        assert!(
            ImageFormat::Png
                .write(&empty, Paper::Light)
                .unwrap_err()
                .contains("no size")
        );
    }
}
