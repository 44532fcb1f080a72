//! A picture as a list of shapes. It is written as an `<svg>` element for a page that follows light and dark, as an SVG file with
//! colours of its own, or painted by the caller (as a PNG).

use std::fmt::Write as _;

/// The colour scheme of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Paper {
    /// White, with dark ink.
    #[default]
    Light,
    /// Near black, with light ink.
    Dark,
}

/// A colour, by its purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ink {
    /// The background.
    Paper,
    /// Titles, legends and other text to be read first.
    Text,
    /// Axes and their labels.
    Soft,
    /// Grid lines and empty cells.
    Grid,
    /// The noise band and other ranges of values.
    Band,
    /// A range of magnitudes.
    Regime,
    /// One of several lines.
    Series(usize),
    /// A cell by its similarity to the baseline, 0 to 1; NaN where it is not known.
    Cell(f64),
    /// Text in a cell.
    OnCell,
}

/// Colours that are distinguishable with most kinds of colour blindness: they differ in lightness, too. Blue and orange are not among
/// them: these are the baseline's and the prefix's.
const SERIES: [u32; 6] = [0x1c1c1e, 0x009e73, 0xcc79a7, 0x7a4fb5, 0x7f7f7f, 0x8a7a00];
/// The same colours, lighter, for dark paper.
const LIGHT_SERIES: [u32; 6] = [0xececf0, 0x2fc39a, 0xe39bc4, 0xb294e0, 0xa8a8a8, 0xd3c24a];
/// The classes of these colours in [`STYLE`].
const SERIES_CLASSES: [&str; 6] = ["s0", "s1", "s2", "s3", "s4", "s5"];
/// Colours of a cell near the baseline, in between, and far from it.
const CELLS: [u32; 3] = [0x2f5e94, 0x1e2228, 0xa85a14];
/// The similarity of a cell with the colour in between.
const BETWEEN: f64 = 0.5;

impl Ink {
    /// Red, green, blue and alpha.
    pub fn rgba(self, paper: Paper) -> [u8; 4] {
        let dark = paper == Paper::Dark;
        let pick = |light: u32, in_the_dark: u32| if dark { in_the_dark } else { light };
        let (rgb, alpha) = match self {
            Self::Paper => (pick(0xffffff, 0x1c1c1e), 255),
            Self::Text => (pick(0x1c1c1e, 0xececf0), 255),
            Self::Soft => (pick(0x6b6b70, 0xa0a0a8), 255),
            Self::Grid => (pick(0xd9d9de, 0x3a3a40), 255),
            Self::Band => (0x888888, 48),
            Self::Regime => (0x888888, 20),
            Self::Series(number) => (
                pick(SERIES[number % SERIES.len()], LIGHT_SERIES[number % SERIES.len()]),
                255,
            ),
            Self::Cell(share) if share.is_nan() => (0x5a5f66, 255),
            Self::Cell(share) => (between(share), 255),
            Self::OnCell => (0xffffff, 255),
        };
        let [_, red, green, blue] = rgb.to_be_bytes();
        [red, green, blue, alpha]
    }

    /// Its class in a page's style; `None` for colours that are the same on every paper.
    fn class(self) -> Option<&'static str> {
        match self {
            Self::Paper => Some("paper"),
            Self::Text => Some("ink"),
            Self::Soft => Some("soft"),
            Self::Grid => Some("grid"),
            Self::Band => Some("band"),
            Self::Regime => Some("regime"),
            Self::Series(number) => Some(SERIES_CLASSES[number % SERIES_CLASSES.len()]),
            Self::Cell(_) | Self::OnCell => None,
        }
    }
}

fn between(share: f64) -> u32 {
    let share = share.clamp(0.0, 1.0);
    let (to, part) = if share >= BETWEEN {
        (CELLS[0], (share - BETWEEN) / (1.0 - BETWEEN))
    } else {
        (CELLS[2], (BETWEEN - share) / BETWEEN)
    };
    let mix = |shift: u32| {
        let (from, to) = (f64::from((CELLS[1] >> shift) & 255), f64::from((to >> shift) & 255));
        (from + (to - from) * part).round() as u32
    };
    (mix(16) << 16) | (mix(8) << 8) | mix(0)
}

/// The point of a text that lies at its position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anchor {
    /// The left end.
    #[default]
    Start,
    /// The middle.
    Middle,
    /// The right end.
    End,
}

/// A shape. Lengths are in the units of the drawing.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Left, top, width, height.
    Rect([f64; 4]),
    /// A line through several points.
    Line {
        /// Corners of the line, in order.
        points: Vec<(f64, f64)>,
        /// Width of the stroke.
        width: f64,
        /// Lengths of dashes and gaps in turn; empty for a continuous line.
        dashes: &'static [f64],
    },
    /// A filled disc.
    Circle {
        /// Its middle.
        centre: (f64, f64),
        /// Its radius.
        radius: f64,
    },
    /// A cross of two diagonal strokes.
    Cross {
        /// Where the strokes cross.
        centre: (f64, f64),
        /// Half its width and height.
        reach: f64,
        /// Width of the strokes.
        width: f64,
    },
    /// One line of text.
    Text {
        /// Position of the anchor, on the base line.
        at: (f64, f64),
        /// The text, unescaped.
        words: String,
        /// Size of the font.
        size: f64,
        /// Which point of the text lies at `at`.
        anchor: Anchor,
        /// Whether it is drawn in a bolder weight.
        bold: bool,
    },
}

/// A shape in its colour.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// What is drawn.
    pub shape: Shape,
    /// Its colour by purpose.
    pub ink: Ink,
    /// Tooltip; empty for none.
    pub title: String,
    /// Target of a click in a page (`#case-3`); a file has no links.
    pub link: Option<String>,
}

/// A picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drawing {
    /// Accessible description.
    pub title: String,
    /// Width of the view box; lengths of all shapes are in its units.
    pub width: f64,
    /// Height of the view box.
    pub height: f64,
    /// The shapes, from the bottom to the top.
    pub items: Vec<Item>,
}

/// The stylesheet of drawings in a page, for light and dark. A class sets the colour of a shape, its element what is painted in it. Prints
/// are always on light paper.
pub const STYLE: &str = ".chart{font:12px system-ui,sans-serif}\
.chart rect[class],.chart circle[class],.chart text[class]{fill:currentColor}\
.chart polyline[class],.chart path[class]{stroke:currentColor}\
.chart .band{opacity:.19}.chart .regime{opacity:.08}\
.chart .paper{color:#ffffff}.chart .ink{color:#1c1c1e}.chart .soft{color:#6b6b70}.chart .grid{color:#d9d9de}\
.chart .band{color:#888888}.chart .regime{color:#888888}\
.chart .s0{color:#1c1c1e}.chart .s1{color:#009e73}.chart .s2{color:#cc79a7}\
.chart .s3{color:#7a4fb5}.chart .s4{color:#7f7f7f}.chart .s5{color:#8a7a00}\
@media screen and (prefers-color-scheme:dark){\
.chart .paper{color:#1c1c1e}.chart .ink{color:#ececf0}.chart .soft{color:#a0a0a8}.chart .grid{color:#3a3a40}\
.chart .s0{color:#ececf0}.chart .s1{color:#2fc39a}.chart .s2{color:#e39bc4}\
.chart .s3{color:#b294e0}.chart .s4{color:#a8a8a8}.chart .s5{color:#d3c24a}}\
@media print{.chart .ink{color:#000}.chart .soft{color:#444}.chart .grid{color:#ccc}\
.chart *{-webkit-print-color-adjust:exact;print-color-adjust:exact}}";

/// Escapes text for HTML and SVG, in elements and in quoted attributes. Characters that XML forbids become U+FFFD.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(c),
            '\0'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}' => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

impl Drawing {
    /// Adds a shape on top of the others and returns it.
    pub fn add(&mut self, ink: Ink, shape: Shape) -> &mut Item {
        let at = self.items.len();
        self.items.push(Item {
            shape,
            ink,
            title: String::new(),
            link: None,
        });
        &mut self.items[at]
    }

    /// Adds a straight line, one unit wide.
    pub fn rule(&mut self, ink: Ink, from: (f64, f64), to: (f64, f64)) -> &mut Item {
        let shape = Shape::Line {
            points: vec![from, to],
            width: 1.0,
            dashes: &[],
        };
        self.add(ink, shape)
    }

    /// Adds a text of size 12.
    pub fn words(&mut self, ink: Ink, at: (f64, f64), anchor: Anchor, words: impl Into<String>) -> &mut Item {
        let shape = Shape::Text {
            at,
            words: words.into(),
            size: 12.0,
            anchor,
            bold: false,
        };
        self.add(ink, shape)
    }

    /// The drawing as an `<svg>` element for a page that has [`STYLE`].
    pub fn element(&self) -> String {
        self.write(None)
    }

    /// The drawing as an SVG file in the colours of `paper`. Colours are attributes, since not every program that reads
    /// SVG supports stylesheets.
    pub fn document(&self, paper: Paper) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n",
            self.write(Some(paper))
        )
    }

    fn write(&self, paper: Option<Paper>) -> String {
        let (width, height) = (self.width, self.height);
        let size = match paper {
            Some(_) => {
                format!(" width=\"{width}\" height=\"{height}\" font-family=\"Inter, system-ui, sans-serif\"")
            }
            None => " class=\"chart\"".to_owned(),
        };
        let mut out = format!(
            "<svg{size} xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">",
            escape(&self.title)
        );
        for item in &self.items {
            if let Some(link) = item.link.as_ref().filter(|_| paper.is_none()) {
                let _ = write!(out, "<a href=\"{}\">", escape(link));
                item.write(&mut out, paper);
                out.push_str("</a>");
            } else {
                item.write(&mut out, paper);
            }
        }
        out.push_str("</svg>");
        out
    }
}

impl Item {
    fn write(&self, out: &mut String, paper: Option<Paper>) {
        let (tag, words) = match &self.shape {
            Shape::Rect([x, y, width, height]) => {
                let _ = write!(
                    out,
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"{}",
                    self.dress("fill", paper)
                );
                ("rect", None)
            }
            Shape::Line { points, width, dashes } => {
                let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
                let _ = write!(
                    out,
                    "<polyline points=\"{}\" fill=\"none\" stroke-width=\"{width}\"{}{}",
                    points.join(" "),
                    self.dress("stroke", paper),
                    dash_array(dashes)
                );
                ("polyline", None)
            }
            Shape::Circle { centre: (x, y), radius } => {
                let _ = write!(
                    out,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"{}",
                    self.dress("fill", paper)
                );
                ("circle", None)
            }
            Shape::Cross {
                centre: (x, y),
                reach,
                width,
            } => {
                let whole = 2.0 * reach;
                let _ = write!(
                    out,
                    "<path d=\"M{:.1} {:.1}l{whole} {whole}m0 -{whole}l-{whole} {whole}\" fill=\"none\" stroke-width=\"{width}\"{}",
                    x - reach,
                    y - reach,
                    self.dress("stroke", paper)
                );
                ("path", None)
            }
            Shape::Text {
                at: (x, y),
                words,
                size,
                anchor,
                bold,
            } => {
                let anchor = match anchor {
                    Anchor::Start => "",
                    Anchor::Middle => " text-anchor=\"middle\"",
                    Anchor::End => " text-anchor=\"end\"",
                };
                let weight = if *bold { " font-weight=\"600\"" } else { "" };
                let _ = write!(
                    out,
                    "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\"{anchor}{weight}{}",
                    self.dress("fill", paper)
                );
                ("text", Some(words))
            }
        };
        if words.is_none() && self.title.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        if !self.title.is_empty() {
            let _ = write!(out, "<title>{}</title>", escape(&self.title));
        }
        let _ = write!(out, "{}</{tag}>", words.map(|words| escape(words)).unwrap_or_default());
    }

    /// The attributes of its colour: a class where the page's style has one, else the colour itself.
    fn dress(&self, attribute: &str, paper: Option<Paper>) -> String {
        if let (None, Some(class)) = (paper, self.ink.class()) {
            return format!(" class=\"{class}\"");
        }
        let [red, green, blue, alpha] = self.ink.rgba(paper.unwrap_or_default());
        let mut out = format!(" {attribute}=\"#{red:02x}{green:02x}{blue:02x}\"");
        if alpha < 255 {
            let _ = write!(out, " {attribute}-opacity=\"{:.2}\"", f64::from(alpha) / 255.0);
        }
        out
    }
}

fn dash_array(dashes: &[f64]) -> String {
    if dashes.is_empty() {
        return String::new();
    }
    let lengths: Vec<String> = dashes.iter().map(ToString::to_string).collect();
    format!(" stroke-dasharray=\"{}\"", lengths.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The declarations of the rule with this selector.
    fn rule<'s>(style: &'s str, selector: &str) -> Option<&'s str> {
        let mut rules = style.split('}').filter_map(|rule| rule.rsplit_once('{'));
        rules.find_map(|(selectors, declarations)| {
            let is_it = selectors.split(',').any(|one| one == selector);
            is_it.then_some(declarations)
        })
    }

    #[test]
    fn a_page_has_every_colour_of_light_and_dark_paper_for_every_element() {
        let (light, rest) = STYLE
            .split_once("@media screen and (prefers-color-scheme:dark){")
            .unwrap();
        let (dark, _) = rest.split_once("@media print").unwrap();
        let inks = [Ink::Paper, Ink::Text, Ink::Soft, Ink::Grid, Ink::Band, Ink::Regime];
        for ink in inks.into_iter().chain((0..SERIES.len()).map(Ink::Series)) {
            let selector = format!(".chart .{}", ink.class().unwrap());
            let colour = |paper| {
                let [red, green, blue, _] = ink.rgba(paper);
                format!("color:#{red:02x}{green:02x}{blue:02x}")
            };
            let (on_light, on_dark) = (colour(Paper::Light), colour(Paper::Dark));
            assert!(
                light.contains(&format!("{selector}{{{on_light}}}")),
                "{ink:?} is {on_light}"
            );
            if on_light != on_dark {
                assert_eq!(rule(dark, &selector), Some(on_dark.as_str()), "{ink:?}");
            }
        }

        let places = [(0.0, 0.0), (1.0, 1.0)];
        let mut drawing = Drawing::default();
        drawing.add(Ink::Grid, Shape::Rect([0.0; 4]));
        drawing.rule(Ink::Series(0), places[0], places[1]);
        let (centre, reach, width) = (places[0], 1.0, 1.0);
        drawing.add(Ink::Series(0), Shape::Circle { centre, radius: 1.0 });
        drawing.add(Ink::Series(0), Shape::Cross { centre, reach, width });
        drawing.words(Ink::Text, centre, Anchor::Start, "a");
        let page = drawing.element();
        for (tag, paints) in [
            ("rect", "fill"),
            ("polyline", "stroke"),
            ("circle", "fill"),
            ("path", "stroke"),
            ("text", "fill"),
        ] {
            let (_, rest) = page.split_once(&format!("<{tag} ")).unwrap();
            let (attributes, _) = rest.split_once('>').unwrap();
            assert!(attributes.contains(" class=\""), "{attributes}");
            let painted = format!("{paints}:currentColor");
            assert_eq!(rule(light, &format!(".chart {tag}[class]")), Some(painted.as_str()));
        }
    }
}
