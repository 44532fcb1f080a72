//! A plot over magnitude as SVG text: log axis with 0 apart, one line per series, noise band, collapse marks. It knows numbers and
//! words, no records and no window.

use std::fmt::Write as _;

/// A plot of one quantity over magnitude.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    pub title: String,
    /// What the horizontal axis counts: `x token norm`.
    pub x_label: String,
    pub lines: Vec<Line>,
    /// A band between two values, with its meaning: the noise floor.
    pub band: Option<(f64, f64, String)>,
    /// Fixed ends of the vertical axis; fitted to the points where absent.
    pub y_range: Option<(f64, f64)>,
    /// Ranges of magnitude shaded behind the points, with their names.
    pub regimes: Vec<(f64, f64, String)>,
}

/// One line of a plot.
#[derive(Clone, Debug, Default)]
pub struct Line {
    pub label: String,
    /// From small to large magnitude.
    pub points: Vec<Dot>,
}

/// One point.
#[derive(Clone, Debug, Default)]
pub struct Dot {
    /// 0 stands apart at the left edge.
    pub magnitude: f64,
    pub value: f64,
    /// Shown when pointed at.
    pub title: String,
    /// Where a click leads (`#case-3`).
    pub link: Option<String>,
    /// Drawn as a cross: the text repeats itself.
    pub is_loop: bool,
}

const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;
/// Width kept for the magnitude 0.
const ZERO: f64 = 44.0;

/// Colours that stay apart for most kinds of colour blindness (Okabe and Ito); lines differ in their dashes and marks too.
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f",
];
const DASHES: [&str; 4] = ["", "7 3", "2 3", "9 3 2 3"];

/// The style of every chart, for light and dark; stands once in a page, or in a chart saved alone.
pub const STYLE: &str = ".chart{font:12px system-ui,sans-serif;--ink:#1c1c1e;--soft:#6b6b70;--grid:#d9d9de;--paper:#fff}\
.chart .paper{fill:var(--paper)}.chart text{fill:var(--ink)}.chart .soft{fill:var(--soft)}.chart .grid{stroke:var(--grid);stroke-width:1}\
.chart .axis{stroke:var(--soft);stroke-width:1}.chart .band{fill:#8888;opacity:.35}.chart .regime{fill:#8884;opacity:.3}\
.chart .line{fill:none;stroke-width:2}.chart .title{font-weight:600;font-size:13px}\
@media (prefers-color-scheme:dark){.chart{--ink:#ececf0;--soft:#a0a0a8;--grid:#3a3a40;--paper:#1c1c1e}}\
@media print{.chart{--ink:#000;--soft:#444;--grid:#ccc;--paper:#fff}}";

/// Text made safe inside HTML and SVG, in elements and in quoted attributes. Characters that XML forbids become U+FFFD.
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

/// How values lie on the paper.
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
            // A single magnitude, or very near ones, would leave no room.
            let room = ((high - low) * 0.04).max(0.15);
            (low - room, high + room)
        });
        let y = chart.y_range.unwrap_or_else(|| {
            let (low, high) = dots().fold((0.0_f64, f64::MIN), |(low, high), dot| {
                (low.min(dot.value), high.max(dot.value))
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

/// The next number that reads well as the end of an axis.
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

/// A number on an axis.
fn tick(value: f64) -> String {
    if value != 0.0 && (value.abs() < 1e-3 || value.abs() >= 1e5) {
        return format!("{value:.0e}");
    }
    let rounded = (value * 1e4).round() / 1e4;
    rounded.to_string()
}

impl Chart {
    /// The chart as an `<svg>` element for a page that has [`STYLE`].
    pub fn element(&self) -> String {
        let scale = Scale::of(self);
        let mut out = String::new();
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        let title = escape(&self.title);
        let _ = write!(
            out,
            "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{title}\"><rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\
             <text class=\"title\" x=\"{LEFT}\" y=\"18\">{title}</text>"
        );
        self.write_regimes(&mut out, &scale);
        if let Some((low, high, meaning)) = &self.band {
            let (top, base) = (scale.y(*high), scale.y(*low));
            // A band of no height (a deterministic module) is still drawn, as a line.
            let height = (base - top).max(2.0);
            let _ = write!(
                out,
                "<rect class=\"band\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{height:.1}\"><title>{}</title></rect>",
                right - LEFT,
                escape(meaning)
            );
        }
        for step in 0..=4 {
            let value = scale.y.0 + (scale.y.1 - scale.y.0) * f64::from(step) / 4.0;
            let y = scale.y(value);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                tick(value)
            );
        }
        self.write_magnitude_axis(&mut out, &scale);
        for (number, line) in self.lines.iter().enumerate() {
            write_line(&mut out, &scale, line, number);
        }
        self.write_legend(&mut out);
        let _ = write!(
            out,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
             <text class=\"soft\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{}</text></svg>",
            HEIGHT - 8.0,
            escape(&self.x_label)
        );
        out
    }

    /// The chart as a file of its own.
    pub fn document(&self) -> String {
        let element = self.element();
        let (head, rest) = element.split_once('>').unwrap_or((&element, ""));
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{head}><style>{STYLE}</style>{rest}\n")
    }

    fn write_regimes(&self, out: &mut String, scale: &Scale) {
        let Some((low, high)) = scale.log else { return };
        for (from, to, name) in &self.regimes {
            let (from, to) = (from.max(10_f64.powf(low)), to.min(10_f64.powf(high)));
            if to <= from {
                continue;
            }
            let (x, width) = (scale.x(from), scale.x(to) - scale.x(from));
            let _ = write!(
                out,
                "<rect class=\"regime\" x=\"{x:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
                HEIGHT - BOTTOM - TOP,
                escape(name)
            );
            if width > 70.0 {
                let _ = write!(
                    out,
                    "<text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"10\">{}</text>",
                    x + width / 2.0,
                    HEIGHT - BOTTOM - 5.0,
                    escape(name)
                );
            }
        }
    }

    fn write_magnitude_axis(&self, out: &mut String, scale: &Scale) {
        let (bottom, label) = (HEIGHT - BOTTOM, HEIGHT - BOTTOM + 16.0);
        if scale.has_zero {
            let (x, edge) = (scale.x(0.0), scale.log_left());
            let _ = write!(
                out,
                "<text class=\"soft\" x=\"{x:.1}\" y=\"{label}\" text-anchor=\"middle\">0</text>\
                 <line class=\"axis\" stroke-dasharray=\"3 3\" x1=\"{edge}\" x2=\"{edge}\" y1=\"{TOP}\" y2=\"{bottom}\"/>"
            );
        }
        let Some((low, high)) = scale.log else { return };
        let (first, last) = (low.ceil() as i32, high.floor() as i32);
        for exponent in first..=last.min(first + 40) {
            let magnitude = 10_f64.powi(exponent);
            let x = scale.x(magnitude);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
                 <text class=\"soft\" x=\"{x:.1}\" y=\"{label}\" text-anchor=\"middle\">{}</text>",
                tick(magnitude)
            );
        }
        if last < first {
            // No power of ten in sight: name the ends.
            for magnitude in [10_f64.powf(low), 10_f64.powf(high)] {
                let anchor = if scale.x(magnitude) > WIDTH / 2.0 {
                    "end"
                } else {
                    "start"
                };
                let _ = write!(
                    out,
                    "<text class=\"soft\" x=\"{:.1}\" y=\"{label}\" text-anchor=\"{anchor}\">{magnitude:.3}</text>",
                    scale.x(magnitude)
                );
            }
        }
    }

    fn write_legend(&self, out: &mut String) {
        if self.lines.len() < 2 {
            return;
        }
        let mut x = LEFT;
        for (number, line) in self.lines.iter().enumerate() {
            let label = escape(&line.label);
            let y = HEIGHT - 10.0;
            let _ = write!(
                out,
                "<line class=\"line\" stroke=\"{}\" stroke-dasharray=\"{}\" x1=\"{x:.1}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{y}\" font-size=\"11\">{label}</text>",
                colour(number),
                dash(number),
                x + 18.0,
                y - 4.0,
                y - 4.0,
                x + 22.0
            );
            let wide: f64 = line.label.chars().map(|c| if c.is_ascii() { 6.3 } else { 11.0 }).sum();
            x += 34.0 + wide;
            if x > WIDTH - 160.0 {
                break;
            }
        }
    }
}

fn colour(number: usize) -> &'static str {
    COLOURS[number % COLOURS.len()]
}

fn dash(number: usize) -> &'static str {
    DASHES[number % DASHES.len()]
}

fn write_line(out: &mut String, scale: &Scale, line: &Line, number: usize) {
    let colour = colour(number);
    let drawn: Vec<&Dot> = line.points.iter().filter(|dot| dot.value.is_finite()).collect();
    // The magnitude 0 stands apart, so no line leads to it.
    let path: Vec<String> = drawn
        .iter()
        .filter(|dot| dot.magnitude > 0.0)
        .map(|dot| format!("{:.1},{:.1}", scale.x(dot.magnitude), scale.y(dot.value)))
        .collect();
    let _ = write!(
        out,
        "<polyline class=\"line\" stroke=\"{colour}\" stroke-dasharray=\"{}\" points=\"{}\"/>",
        dash(number),
        path.join(" ")
    );
    for dot in drawn {
        let (x, y) = (scale.x(dot.magnitude), scale.y(dot.value));
        if let Some(link) = &dot.link {
            let _ = write!(out, "<a href=\"{}\">", escape(link));
        }
        let title = escape(&dot.title);
        if dot.is_loop {
            let _ = write!(
                out,
                "<path d=\"M{:.1} {:.1}l10 10m0 -10l-10 10\" stroke=\"{colour}\" stroke-width=\"2.5\" fill=\"none\"><title>{title}\
                 </title></path>",
                x - 5.0,
                y - 5.0
            );
        } else if number.is_multiple_of(2) {
            let _ = write!(
                out,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"{colour}\"><title>{title}</title></circle>"
            );
        } else {
            let _ = write!(
                out,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"8\" height=\"8\" fill=\"{colour}\"><title>{title}</title></rect>",
                x - 4.0,
                y - 4.0
            );
        }
        if dot.link.is_some() {
            out.push_str("</a>");
        }
    }
}

#[cfg(test)]
mod tests {
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
    fn zero_stands_left_of_every_other_magnitude_and_no_line_leads_there() {
        let chart = chart(&[(0.0, 1.0), (1e-4, 0.5), (2.0, 0.0)]);
        let scale = Scale::of(&chart);
        assert!(scale.x(0.0) < scale.log_left() && scale.log_left() < scale.x(1e-4));
        let svg = chart.element();
        let line = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(line.split(' ').count(), 2);
        assert_eq!(svg.matches("<circle").count(), 3);
    }

    #[test]
    fn whatever_the_numbers_every_point_lies_on_the_paper() {
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
        let svg = chart(&[(1.0, 1.0)]).document();
        assert!(svg.contains("類似度 &lt;x&gt;") && svg.contains("<title>&lt;&amp;&gt;</title>"));
        assert_eq!(escape("a\0\u{b}\n"), "a\u{FFFD}\u{FFFD}\n");
    }
}
