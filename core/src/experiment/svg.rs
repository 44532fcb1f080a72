//! Figures over magnitude: a plot (log axis with 0 apart, one line per series, noise band, collapse marks) and a map of rows and
//! columns.

use super::drawing::{Anchor, Drawing, Ink, Shape};

/// A plot of one quantity over magnitude.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    /// Heading above the plot, also its accessible name.
    pub title: String,
    /// Label of the horizontal axis: `x token norm`.
    pub x_label: String,
    /// The series, in the order of the legend.
    pub lines: Vec<Line>,
    /// A band between two values, with its tooltip: the noise.
    pub band: Option<(f64, f64, String)>,
    /// Ends of the vertical axis; `None` fits it to the points.
    pub y_range: Option<(f64, f64)>,
    /// Ranges of magnitude to shade, with their names.
    pub regimes: Vec<(f64, f64, String)>,
}

/// One line of a plot.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// Name in the legend.
    pub label: String,
    /// From small to large magnitude.
    pub points: Vec<Dot>,
}

/// One point.
#[derive(Clone, Debug, Default)]
pub struct Dot {
    /// Place on the horizontal axis; 0 is apart at the left edge.
    pub magnitude: f64,
    /// Place on the vertical axis; not drawn where it is not finite.
    pub value: f64,
    /// Tooltip.
    pub title: String,
    /// Target of a click (`#case-3`).
    pub link: Option<String>,
    /// Whether the text is a loop, which is drawn as a cross.
    pub is_loop: bool,
    /// The smallest and the largest of the values of which this is the mean, drawn as a bar.
    pub spread: Option<(f64, f64)>,
}

const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;
/// Width reserved for the magnitude 0.
const ZERO: f64 = 44.0;

/// Dash patterns, so that lines differ not only in colour.
const DASHES: [&[f64]; 4] = [&[], &[7.0, 3.0], &[2.0, 3.0], &[9.0, 3.0, 2.0, 3.0]];

/// The mapping from values to the drawing.
struct Scale {
    /// log10 of the magnitudes at both ends; `None` if there is none above 0.
    log: Option<(f64, f64)>,
    has_zero: bool,
    y: (f64, f64),
}

impl Scale {
    fn of(chart: &Chart) -> Self {
        let dots = || {
            chart
                .lines
                .iter()
                .flat_map(|line| &line.points)
                .filter(|dot| dot.value.is_finite())
        };
        let logs = || {
            dots()
                .filter(|dot| dot.magnitude > 0.0 && dot.magnitude.is_finite())
                .map(|dot| dot.magnitude.log10())
        };
        let log = logs().fold(None, |range: Option<(f64, f64)>, x| {
            Some(range.map_or((x, x), |(low, high)| (low.min(x), high.max(x))))
        });
        let log = log.map(|(low, high)| {
            // For a single magnitude, or very close ones, the range would be empty.
            let room = ((high - low) * 0.04).max(0.15);
            (low - room, high + room)
        });
        let y = chart.y_range.unwrap_or_else(|| {
            let (low, high) = dots().fold((0.0_f64, f64::MIN), |(low, high), dot| {
                let (least, most) = dot.spread.unwrap_or((dot.value, dot.value));
                (low.min(least), high.max(most))
            });
            if high > low {
                (low, nice(high))
            } else {
                (low, low + 1.0)
            }
        });
        Self {
            log,
            has_zero: dots().any(|dot| dot.magnitude <= 0.0),
            y,
        }
    }

    fn log_left(&self) -> f64 {
        LEFT + if self.has_zero { ZERO } else { 0.0 }
    }

    fn x(&self, magnitude: f64) -> f64 {
        match self.log {
            Some((low, high)) if magnitude > 0.0 => {
                let part = ((magnitude.log10() - low) / (high - low)).clamp(0.0, 1.0);
                self.log_left() + part * (WIDTH - RIGHT - self.log_left())
            }
            _ => LEFT + ZERO / 2.0,
        }
    }

    fn y(&self, value: f64) -> f64 {
        let (low, high) = self.y;
        let part = if high > low {
            ((value - low) / (high - low)).clamp(0.0, 1.0)
        } else {
            0.0
        };
        HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP)
    }
}

/// The next round number, for the end of an axis.
fn nice(value: f64) -> f64 {
    if !(value > 0.0 && value.is_finite()) {
        return 1.0;
    }
    let unit = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    steps
        .into_iter()
        .map(|step| step * unit)
        .find(|end| *end >= value * 0.999_999)
        .unwrap_or(value)
}

/// The label of a tick.
fn tick(value: f64) -> String {
    if value != 0.0 && (value.abs() < 1e-3 || value.abs() >= 1e5) {
        return format!("{value:.0e}");
    }
    let rounded = (value * 1e4).round() / 1e4;
    rounded.to_string()
}

impl Chart {
    /// The chart as shapes.
    pub fn drawing(&self) -> Drawing {
        let scale = Scale::of(self);
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        let mut out = Drawing {
            title: self.title.clone(),
            width: WIDTH,
            height: HEIGHT,
            items: Vec::new(),
        };
        out.add(Ink::Paper, Shape::Rect([0.0, 0.0, WIDTH, HEIGHT]));
        let title = Shape::Text {
            at: (LEFT, 18.0),
            words: self.title.clone(),
            size: 13.0,
            anchor: Anchor::Start,
            bold: true,
        };
        out.add(Ink::Text, title);
        self.draw_regimes(&mut out, &scale);
        if let Some((low, high, meaning)) = &self.band {
            let (top, base) = (scale.y(*high), scale.y(*low));
            // A band without height (a deterministic module) is drawn as a line.
            let area = [LEFT, top, right - LEFT, (base - top).max(2.0)];
            out.add(Ink::Band, Shape::Rect(area)).title.clone_from(meaning);
        }
        for step in 0..=4 {
            let value = scale.y.0 + (scale.y.1 - scale.y.0) * f64::from(step) / 4.0;
            let y = scale.y(value);
            out.rule(Ink::Grid, (LEFT, y), (right, y));
            out.words(Ink::Soft, (LEFT - 6.0, y + 4.0), Anchor::End, tick(value));
        }
        self.draw_magnitude_axis(&mut out, &scale);
        for (number, line) in self.lines.iter().enumerate() {
            draw_line(&mut out, &scale, line, number);
        }
        self.draw_legend(&mut out);
        out.rule(Ink::Soft, (LEFT, bottom), (right, bottom));
        out.words(Ink::Soft, (right, HEIGHT - 8.0), Anchor::End, &self.x_label);
        out
    }

    /// The chart as an `<svg>` element for a page that has [`super::drawing::STYLE`].
    pub fn element(&self) -> String {
        self.drawing().element()
    }

    fn draw_regimes(&self, out: &mut Drawing, scale: &Scale) {
        let Some((low, high)) = scale.log else { return };
        for (from, to, name) in &self.regimes {
            let (from, to) = (from.max(10_f64.powf(low)), to.min(10_f64.powf(high)));
            if to <= from {
                continue;
            }
            let (x, width) = (scale.x(from), scale.x(to) - scale.x(from));
            let area = [x, TOP, width, HEIGHT - BOTTOM - TOP];
            out.add(Ink::Regime, Shape::Rect(area)).title.clone_from(name);
            if width > 70.0 {
                let words = Shape::Text {
                    // Above the plot, since points may lie at either end of it.
                    at: (x + width / 2.0, TOP - 4.0),
                    words: name.clone(),
                    size: 10.0,
                    anchor: Anchor::Middle,
                    bold: false,
                };
                out.add(Ink::Soft, words);
            }
        }
    }

    fn draw_magnitude_axis(&self, out: &mut Drawing, scale: &Scale) {
        let (bottom, label) = (HEIGHT - BOTTOM, HEIGHT - BOTTOM + 16.0);
        if scale.has_zero {
            let edge = scale.log_left();
            out.words(Ink::Soft, (scale.x(0.0), label), Anchor::Middle, "0");
            let border = Shape::Line {
                points: vec![(edge, TOP), (edge, bottom)],
                width: 1.0,
                dashes: &[3.0, 3.0],
            };
            out.add(Ink::Soft, border);
        }
        let Some((low, high)) = scale.log else { return };
        let (first, last) = (low.ceil() as i32, high.floor() as i32);
        for exponent in first..=last.min(first + 40) {
            let magnitude = 10_f64.powi(exponent);
            let x = scale.x(magnitude);
            out.rule(Ink::Grid, (x, TOP), (x, bottom));
            out.words(Ink::Soft, (x, label), Anchor::Middle, tick(magnitude));
        }
        if last < first {
            // No power of ten in the range: label the ends.
            for magnitude in [10_f64.powf(low), 10_f64.powf(high)] {
                let x = scale.x(magnitude);
                let anchor = if x > WIDTH / 2.0 { Anchor::End } else { Anchor::Start };
                out.words(Ink::Soft, (x, label), anchor, format!("{magnitude:.3}"));
            }
        }
    }

    fn draw_legend(&self, out: &mut Drawing) {
        if self.lines.len() < 2 {
            return;
        }
        let (mut x, y) = (LEFT, HEIGHT - 10.0);
        for (number, line) in self.lines.iter().enumerate() {
            let stroke = Shape::Line {
                points: vec![(x, y - 4.0), (x + 18.0, y - 4.0)],
                width: 2.0,
                dashes: dash(number),
            };
            out.add(Ink::Series(number), stroke);
            let words = Shape::Text {
                at: (x + 22.0, y),
                words: line.label.clone(),
                size: 11.0,
                anchor: Anchor::Start,
                bold: false,
            };
            out.add(Ink::Text, words);
            x += 34.0 + width_of(&line.label);
            if x > WIDTH - 160.0 {
                break;
            }
        }
    }
}

fn dash(number: usize) -> &'static [f64] {
    DASHES[number % DASHES.len()]
}

fn draw_line(out: &mut Drawing, scale: &Scale, line: &Line, number: usize) {
    let ink = Ink::Series(number);
    let drawn: Vec<&Dot> = line.points.iter().filter(|dot| dot.value.is_finite()).collect();
    let place = |dot: &Dot| (scale.x(dot.magnitude), scale.y(dot.value));
    // The magnitude 0 is apart, so no line leads to it.
    let path = Shape::Line {
        points: drawn
            .iter()
            .filter(|dot| dot.magnitude > 0.0)
            .map(|dot| place(dot))
            .collect(),
        width: 2.0,
        dashes: dash(number),
    };
    out.add(ink, path);
    for dot in drawn {
        let (x, y) = place(dot);
        if let Some((least, most)) = dot.spread {
            let bar = Shape::Line {
                points: vec![(x, scale.y(least)), (x, scale.y(most))],
                width: 1.0,
                dashes: &[],
            };
            out.add(ink, bar);
        }
        let mark = if dot.is_loop {
            Shape::Cross {
                centre: (x, y),
                reach: 5.0,
                width: 2.5,
            }
        } else if number.is_multiple_of(2) {
            Shape::Circle {
                centre: (x, y),
                radius: 4.5,
            }
        } else {
            Shape::Rect([x - 4.0, y - 4.0, 8.0, 8.0])
        };
        let item = out.add(ink, mark);
        item.title.clone_from(&dot.title);
        item.link.clone_from(&dot.link);
    }
}

/// A map of P x magnitude, or of any rows and columns.
#[derive(Clone, Debug, Default)]
pub struct Map {
    /// Heading above the map, also its accessible name.
    pub title: String,
    /// Label of the horizontal axis.
    pub x_label: String,
    /// Labels of the rows, from top to bottom.
    pub rows: Vec<String>,
    /// Labels of the columns, from left to right.
    pub columns: Vec<String>,
    /// Cells row by row; `None` where nothing was run.
    pub cells: Vec<Option<MapCell>>,
    /// Whether the first column is apart from the others: magnitude 0.
    pub zero_first: bool,
    /// Labels of the two ends of the colour scale, the one nearest to the baseline first; `None` draws no scale.
    pub ends: Option<[String; 2]>,
}

/// A cell of a map.
#[derive(Clone, Debug, Default)]
pub struct MapCell {
    /// Text in the cell.
    pub words: String,
    /// Similarity to the baseline, 0 to 1; `None` where it is not known.
    pub share: Option<f64>,
    /// Whether the cell is crossed: the text is a loop, or there is none.
    pub is_crossed: bool,
}

const ROW: f64 = 30.0;
const ZERO_GAP: f64 = 8.0;
/// Width of the colour scale, and its number of steps.
const SCALE: f64 = 80.0;
const SCALE_STEPS: u32 = 16;

/// The approximate width of a text of size 11.
fn width_of(words: &str) -> f64 {
    words.chars().map(|c| if c.is_ascii() { 6.3 } else { 11.0 }).sum()
}

impl Map {
    /// The map as shapes.
    pub fn drawing(&self) -> Drawing {
        let height = TOP + 20.0 + ROW * self.rows.len() as f64 + 26.0;
        let mut out = Drawing {
            title: self.title.clone(),
            width: WIDTH,
            height,
            items: Vec::new(),
        };
        out.add(Ink::Paper, Shape::Rect([0.0, 0.0, WIDTH, height]));
        let text = |at, words: &str, size, anchor, bold| Shape::Text {
            at,
            words: words.to_owned(),
            size,
            anchor,
            bold,
        };
        out.add(Ink::Text, text((14.0, 18.0), &self.title, 13.0, Anchor::Start, true));
        if let Some([near, far]) = &self.ends {
            let right = WIDTH - RIGHT;
            out.add(Ink::Soft, text((right, 18.0), far, 11.0, Anchor::End, false));
            let end = right - width_of(far) - 6.0;
            let step = SCALE / f64::from(SCALE_STEPS);
            for number in 0..SCALE_STEPS {
                let share = 1.0 - f64::from(number) / f64::from(SCALE_STEPS - 1);
                let area = [end - SCALE + step * f64::from(number), 9.0, step + 0.2, 11.0];
                out.add(Ink::Cell(share), Shape::Rect(area));
            }
            let at = (end - SCALE - 6.0, 18.0);
            out.add(Ink::Soft, text(at, near, 11.0, Anchor::End, false));
        }
        let gap = if self.zero_first && self.columns.len() > 1 {
            ZERO_GAP
        } else {
            0.0
        };
        let pitch = (WIDTH - RIGHT - LEFT - gap) / self.columns.len().max(1) as f64;
        let x_of = |column: usize| LEFT + pitch * column as f64 + if column > 0 { gap } else { 0.0 };
        // As many columns have labels as fit without overlap.
        let wide = self
            .columns
            .iter()
            .map(|words| words.chars().count())
            .max()
            .unwrap_or(0) as f64
            * 6.6;
        let every = (wide / pitch).ceil().max(1.0) as usize;
        for (column, words) in self.columns.iter().enumerate().step_by(every) {
            let at = (x_of(column) + pitch / 2.0, TOP + 12.0);
            out.add(Ink::Soft, text(at, words, 11.0, Anchor::Middle, false));
        }
        for (row, words) in self.rows.iter().enumerate() {
            let top = TOP + 20.0 + ROW * row as f64;
            let at = (LEFT - 8.0, top + ROW / 2.0 + 4.0);
            out.add(Ink::Soft, text(at, words, 11.0, Anchor::End, false));
            for column in 0..self.columns.len() {
                let area = [x_of(column), top, pitch - 2.0, ROW - 2.0];
                let Some(cell) = self
                    .cells
                    .get(row * self.columns.len() + column)
                    .and_then(Option::as_ref)
                else {
                    out.add(Ink::Grid, Shape::Rect(area));
                    continue;
                };
                let ink = Ink::Cell(cell.share.unwrap_or(f64::NAN));
                out.add(ink, Shape::Rect(area)).title.clone_from(&cell.words);
                let centre = (area[0] + area[2] / 2.0, top + area[3] / 2.0);
                let fits = cell.words.chars().count() as f64 * 6.4 + if cell.is_crossed { 14.0 } else { 0.0 } < area[2];
                let shift = if cell.is_crossed && fits { 7.0 } else { 0.0 };
                if fits {
                    let at = (centre.0 + shift, centre.1 + 4.0);
                    out.add(Ink::OnCell, text(at, &cell.words, 11.0, Anchor::Middle, false));
                }
                if cell.is_crossed {
                    let half = if fits {
                        cell.words.chars().count() as f64 * 3.2 + 3.0
                    } else {
                        0.0
                    };
                    let mark = Shape::Cross {
                        centre: (centre.0 - half, centre.1),
                        reach: 3.5,
                        width: 1.5,
                    };
                    out.add(Ink::OnCell, mark);
                }
            }
        }
        out.words(Ink::Soft, (WIDTH - RIGHT, height - 8.0), Anchor::End, &self.x_label);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::drawing::{Paper, escape};
    use super::*;

    fn chart(points: &[(f64, f64)]) -> Chart {
        let dot = |&(magnitude, value): &(f64, f64)| Dot {
            magnitude,
            value,
            title: "<&>".into(),
            ..Dot::default()
        };
        Chart {
            title: "類似度 <x>".into(),
            lines: vec![Line {
                label: "P 1".into(),
                points: points.iter().map(dot).collect(),
            }],
            ..Chart::default()
        }
    }

    #[test]
    fn zero_is_left_of_every_other_magnitude_and_no_line_connects_it() {
        let chart = chart(&[(0.0, 1.0), (1e-4, 0.5), (2.0, 0.0)]);
        let scale = Scale::of(&chart);
        assert!(scale.x(0.0) < scale.log_left() && scale.log_left() < scale.x(1e-4));
        let svg = chart.element();
        let line = svg
            .split("stroke-width=\"2\"")
            .next()
            .unwrap()
            .rsplit("points=\"")
            .next()
            .unwrap();
        let line = line.split('"').next().unwrap();
        assert_eq!(line.split(' ').count(), 2);
        assert_eq!(svg.matches("<circle").count(), 3);
    }

    #[test]
    fn every_point_is_inside_the_drawing_for_any_numbers() {
        for points in [
            vec![],
            vec![(0.0, 0.0)],
            vec![(1.0, f64::NAN)],
            vec![(f64::INFINITY, 1.0), (1e300, 1e300), (1e-300, -1e300)],
            vec![(0.5, 3.0)],
        ] {
            let svg = chart(&points).element();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn words_cannot_break_out() {
        let svg = chart(&[(1.0, 1.0)]).drawing().document(Paper::Dark);
        assert!(svg.contains("類似度 &lt;x&gt;") && svg.contains("<title>&lt;&amp;&gt;</title>"));
        assert_eq!(escape("a\0\u{b}\n"), "a\u{FFFD}\u{FFFD}\n");
    }
}
