//! The pictures of the HTML report: plots over magnitude, the map of a group, and the means over prompts.

use std::fmt::Write as _;

use super::analysis::{Analysis, Group, Point, Series, axis_unit, over_prompts};
use super::html::{Page, one_line};
use super::html_text;
use super::svg::{Chart, Dot, Line, Map, MapCell};
use super::words;
use crate::compare::{Measure, Verdict};
use crate::prefix::{Magnitude, MagnitudeUnit};

impl Page<'_> {
    /// Measures over all prompts of a module, where there are several.
    pub(super) fn write_means(&self, out: &mut String, analysis: &Analysis) {
        let mut modules: Vec<Vec<&Group>> = Vec::new();
        for group in &analysis.groups {
            // A mean covers runs that differ only in their prompt.
            let is_alike = |others: &&mut Vec<&Group>| {
                let key = &others[0].key;
                (&key.address, &key.model, &key.settings) == (&group.key.address, &group.key.model, &group.key.settings)
            };
            match modules.iter_mut().find(is_alike) {
                Some(alike) => alike.push(group),
                None => modules.push(vec![group]),
            }
        }
        for groups in modules {
            let charts: Vec<Chart> = [Measure::Chrf2, Measure::KlMean]
                .into_iter()
                .filter_map(|measure| self.mean_chart(&groups, measure))
                .collect();
            if charts.is_empty() {
                continue;
            }
            let heading = self.text(html_text::all_prompts(groups.len()));
            let about = self.text(words::mean_over(groups.len()));
            let _ = write!(
                out,
                "<h2>{heading}{}</h2><p>{about}</p><div class=\"charts\">",
                self.module_words(groups[0])
            );
            for chart in charts {
                out.push_str(&chart.element());
            }
            out.push_str("</div>\n");
        }
    }

    /// What a line is called beside a plot.
    fn line_label(&self, series: &Series) -> String {
        let below = match series.negative {
            true => self.text(html_text::BELOW_ZERO),
            false => "",
        };
        let comma = self.text(words::COMMA);
        format!(
            "{}{comma}P {}{below}",
            self.kind(&series.recipe.kind),
            series.recipe.len
        )
    }

    fn mean_chart(&self, groups: &[&Group], measure: Measure) -> Option<Chart> {
        let points = || groups.iter().flat_map(|group| &group.points);
        let unit = axis_unit(points());
        let lines: Vec<Line> = over_prompts(groups, measure, |point| point.magnitude_in(unit))
            .into_iter()
            .map(|(series, spreads)| Line {
                label: self.line_label(series),
                points: spreads
                    .into_iter()
                    .map(|spread| Dot {
                        magnitude: spread.magnitude,
                        value: spread.mean,
                        title: format!("{:.4} ({:.4} – {:.4})", spread.mean, spread.least, spread.most),
                        is_loop: spread.is_loop,
                        spread: Some((spread.least, spread.most)),
                        ..Dot::default()
                    })
                    .collect(),
            })
            .collect();
        lines.iter().any(|line| !line.points.is_empty()).then(|| Chart {
            title: measure_title(measure, self),
            lines,
            y_range: measure.full_scale().map(|top| (0.0, top)),
            ..axis(unit, self)
        })
    }

    /// The chrF2 of each prefix at each magnitude; `None` where a single run would be all of it.
    pub(super) fn map(&self, group: &Group) -> Option<Map> {
        let measure = Measure::Chrf2;
        let lines = group.lines();
        let mut columns: Vec<Magnitude> = Vec::new();
        let recipe_of = |point: &Point| self.by_id.get(point.record.as_str())?.1.case.recipe.as_ref();
        for point in &group.points {
            let magnitude = recipe_of(point).map(|recipe| recipe.magnitude);
            columns.extend(magnitude.filter(|magnitude| !columns.contains(magnitude)));
        }
        if columns.len() < 2 && lines.len() < 2 {
            return None;
        }
        let size = |magnitude: &Magnitude| match magnitude {
            Magnitude::Raw(value) | Magnitude::TokenNorms(value) => *value,
            Magnitude::Unscaled => f64::INFINITY,
        };
        columns.sort_by(|a, b| size(a).total_cmp(&size(b)));
        let one_kind = lines
            .iter()
            .all(|(series, _)| series.recipe.kind == lines[0].0.recipe.kind);
        let mut cells: Vec<Option<MapCell>> = Vec::new();
        // Values with their words, for the ends of the scale; loops are crossed and have no colour.
        let mut values: Vec<(f64, String)> = Vec::new();
        for (_, points) in &lines {
            for column in &columns {
                let here = |point: &&&Point| recipe_of(point).is_some_and(|recipe| recipe.magnitude == *column);
                let here: Vec<&&Point> = points.iter().filter(here).collect();
                let measured = here.iter().filter_map(|point| measure.value(point.measures.as_ref()?));
                let measured: Vec<f64> = measured.collect();
                if here.is_empty() {
                    cells.push(None);
                    continue;
                }
                let is_loop = here.iter().any(|point| group.verdict(point) == Verdict::Loop);
                let mean = (!measured.is_empty()).then(|| measured.iter().sum::<f64>() / measured.len() as f64);
                let words = mean.map_or(String::new(), |mean| format!("{mean:.0}"));
                if let Some(mean) = mean.filter(|_| !is_loop) {
                    values.push((mean, words.clone()));
                }
                cells.push(Some(MapCell {
                    words,
                    share: mean.filter(|_| !is_loop),
                    is_crossed: is_loop || mean.is_none(),
                }));
            }
        }
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        let ends = values.first().zip(values.last());
        // The colours span the values that occur, as on screen.
        if let Some(((low, _), (high, _))) = ends {
            for share in cells.iter_mut().flatten().filter_map(|cell| cell.share.as_mut()) {
                *share = if high > low { (*share - low) / (high - low) } else { 1.0 };
            }
        }
        Some(Map {
            title: measure_title(measure, self),
            x_label: self.text(html_text::MAP_AXIS).to_owned(),
            rows: lines
                .iter()
                .map(|(series, _)| match one_kind {
                    true => format!("P {}", series.recipe.len),
                    false => format!(
                        "P {} {}",
                        series.recipe.len,
                        one_line(&self.kind(&series.recipe.kind), 6)
                    ),
                })
                .collect(),
            columns: self.label_words(|words| columns.iter().map(|column| words.magnitude(*column)).collect()),
            cells,
            zero_first: columns.first().is_some_and(|magnitude| size(magnitude) == 0.0),
            ends: ends.map(|((_, far), (_, near))| {
                [
                    format!("{} {near}", self.text(words::NEAR)),
                    format!("{far} {}", self.text(words::FAR)),
                ]
            }),
        })
    }
}

/// The plots of a group.
pub(super) fn charts(group: &Group, page: &Page<'_>) -> Vec<Chart> {
    let lines = group.lines();
    if lines.is_empty() {
        return Vec::new();
    }
    let unit = axis_unit(&group.points);
    let frame = axis(unit, page);
    let chart =
        |title: String, band: Option<(f64, f64, String)>, y_range, value: &dyn Fn(&Point) -> Option<f64>| Chart {
            title,
            lines: lines
                .iter()
                .map(|(series, points)| Line {
                    label: page.line_label(series),
                    points: points
                        .iter()
                        .filter_map(|point| dot(group, point, unit, value(point)?, page))
                        .collect(),
                })
                .collect(),
            band,
            y_range,
            ..frame.clone()
        };
    let of = |measure: Measure| {
        let band = group.noise_floor(measure).map(|floor| {
            let top = measure.full_scale().unwrap_or(floor);
            (floor, top, page.text(words::NOISE_FLOOR).to_owned())
        });
        let y_range = measure.full_scale().map(|top| (0.0, top));
        chart(measure_title(measure, page), band, y_range, &|point| {
            measure.value(point.measures.as_ref()?)
        })
    };
    let mut out = vec![
        of(Measure::Chrf2),
        of(Measure::Indel),
        of(Measure::FirstDivergence),
        of(Measure::Distinct4),
        of(Measure::Length),
        chart(page.text(html_text::SECONDS).to_owned(), None, None, &|point| {
            Some(point.elapsed_sec)
        }),
    ];
    let scored = group.points.iter().any(|point| point.is_scored());
    if scored {
        out.splice(2..2, [of(Measure::KlMean), of(Measure::Perplexity)]);
    }
    out
}

/// The heading of a plot of this measure: its name, and what it is of or in.
fn measure_title(measure: Measure, page: &Page<'_>) -> String {
    [page.text(measure.name()), page.text(html_text::measure_note(measure))].concat()
}

/// A chart without lines, over magnitudes in this unit.
fn axis(unit: MagnitudeUnit, page: &Page<'_>) -> Chart {
    let regimes = if unit == MagnitudeUnit::TokenNorms {
        let [floor, over] = words::REGION_BORDERS;
        let ends = [(0.0, floor.0), (floor.1, over.0), (over.1, f64::MAX)];
        let regions = ends.into_iter().zip(words::REGIONS);
        regions
            .map(|((from, to), name)| (from, to, page.text(name).to_owned()))
            .collect()
    } else {
        Vec::new()
    };
    Chart {
        x_label: page
            .text(match unit {
                MagnitudeUnit::TokenNorms => words::AXIS_NORMS,
                MagnitudeUnit::Raw => words::AXIS_RAW,
            })
            .to_owned(),
        regimes,
        ..Chart::default()
    }
}

fn dot(group: &Group, point: &Point, unit: MagnitudeUnit, value: f64, page: &Page<'_>) -> Option<Dot> {
    let magnitude = point.magnitude_in(unit)?;
    point.error.is_none().then(|| Dot {
        magnitude,
        value,
        title: format!(
            "{}: {value:.4} ({})",
            page.label_of(point),
            page.verdict(group.verdict(point))
        ),
        link: page
            .by_id
            .get(point.record.as_str())
            .map(|(number, _)| format!("#case-{number}")),
        is_loop: group.verdict(point) == Verdict::Loop,
        spread: None,
    })
}
