//! The content of map and plot, computed from the records and cached until they change.

use std::collections::{BTreeSet, HashMap};

use softprefix_core::compare::Measure;
use softprefix_core::experiment::analysis::{Group, Point};
use softprefix_core::experiment::{Case, Plan, Spread, axis_unit, over_prompts};
use softprefix_core::prefix::{Magnitude, PrefixKind, PrefixRecipe};

use super::words;
use crate::model::sweep::SweepForm;
use crate::model::{Language, MagnitudeUnit};
use crate::panels::context::PanelContext;
use crate::views::heatmap::{Cell, CellState};
use crate::views::lines::{Curve, Marker, Spot};
use crate::views::plot::round_top;
use crate::workbench::sweep::Sweeps;

/// The content, and what it was computed from.
#[derive(Default)]
pub struct Cache {
    key: Option<Key>,
    pub map: Map,
    pub plot: Plotted,
    /// Number of finished and planned cases for each prompt of the form.
    pub counts: Vec<Option<(usize, usize)>>,
    /// Prompts that have a mean with others; below 2 there is none.
    pub prompts: usize,
    /// Whether the plot shows the means over these prompts.
    pub means: bool,
    /// Number of runs of the form's plan.
    pub planned: usize,
}

#[derive(PartialEq)]
struct Key {
    shown: Vec<String>,
    points: usize,
    records: usize,
    scored: usize,
    running: BTreeSet<usize>,
    prompt: usize,
    measure: Measure,
    form: SweepForm,
    kind: PrefixKind,
    selected: Option<String>,
    pinned: Option<String>,
    language: Language,
    unit: MagnitudeUnit,
    means: bool,
}

/// The heat map.
#[derive(Default)]
pub struct Map {
    pub rows: Vec<String>,
    pub columns: Vec<String>,
    pub cells: Vec<Cell>,
    /// The record of each cell.
    pub ids: Vec<Option<String>>,
    pub zero_first: bool,
    pub current: Option<(usize, usize)>,
    /// The values at the ends of the colour scale, the nearest to the baseline first; `None` if nothing is coloured, or all alike.
    pub ends: Option<[String; 2]>,
}

/// The series.
#[derive(Default)]
pub struct Plotted {
    pub curves: Vec<Curve>,
    /// The record of each spot; empty where spots are means over several.
    pub ids: Vec<Vec<String>>,
    pub top: f64,
    /// Whether magnitudes are token norms rather than raw values.
    pub norms: bool,
    pub noise: Option<f64>,
    pub collapse: Option<f64>,
    pub selected: Option<(usize, usize)>,
    pub tags: Vec<((usize, usize), &'static str)>,
    /// Magnitude of the selected record.
    pub at: Option<f64>,
}

impl Cache {
    pub fn refresh(&mut self, cx: &PanelContext<'_>) {
        let workbench = cx.workbench;
        let sweep = &workbench.sweep;
        let key = Key {
            shown: sweep.shown.iter().map(|saved| saved.experiment.id.clone()).collect(),
            points: sweep
                .analysis
                .groups
                .iter()
                .flat_map(|group| &group.points)
                .filter(|point| point.measures.is_some() || point.error.is_some())
                .count(),
            records: sweep.experiment().map_or(0, |saved| saved.undeleted().count()),
            scored: sweep
                .groups()
                .flat_map(|group| &group.points)
                .filter(|point| point.is_scored())
                .count(),
            running: sweep.running.clone(),
            prompt: sweep.prompt,
            measure: workbench.measure,
            form: sweep.form.clone(),
            kind: workbench.sweep_kind(),
            selected: sweep.selected.clone(),
            pinned: sweep.pinned.clone(),
            language: workbench.settings.language,
            unit: workbench.sweep_unit(),
            means: self.means,
        };
        if self.key.as_ref() == Some(&key) {
            return;
        }
        self.key = Some(key);
        self.planned = workbench.sweep_plan().cases().map_or(0, |cases| cases.len());
        self.counts = sweep.form.prompts.iter().map(|prompt| sweep.done_of(prompt)).collect();
        let planned = planned(cx);
        self.map = map(cx, &planned);
        let modules = modules(cx);
        self.prompts = modules.iter().map(Vec::len).max().unwrap_or(0);
        self.plot = match self.means && self.prompts > 1 {
            true => means(cx, &modules),
            false => plotted(cx, &planned),
        };
    }
}

/// Returns the prefixed cases of the shown prompt, from the plan of the shown sweep or else of the form.
fn planned(cx: &PanelContext<'_>) -> Vec<Case> {
    let sweep = &cx.workbench.sweep;
    let shown = sweep.experiment().and_then(|saved| saved.experiment.plan.clone());
    let plan: Plan = shown.unwrap_or_else(|| cx.workbench.sweep_plan());
    let shown = sweep.shown_prompt();
    let Some(place) = plan.prompts.iter().position(|prompt| Some(prompt) == shown) else {
        return Vec::new();
    };
    let mut cases = plan.cases().unwrap_or_default();
    cases.retain(|case| case.prompt == place && case.recipe.is_some());
    cases
}

/// Returns what the cells of a row have in common.
fn row_of(recipe: &PrefixRecipe) -> (PrefixKind, usize) {
    (recipe.kind.clone(), recipe.len)
}

fn value_of(magnitude: Magnitude) -> f64 {
    match magnitude {
        Magnitude::Raw(value) | Magnitude::TokenNorms(value) => value,
        Magnitude::Unscaled => 1.0,
    }
}

/// Returns the similarity of a value to the baseline, if the measure expresses one.
fn similarity(measure: Measure, value: f64, group: &Group) -> Option<f32> {
    if measure.is_similarity() {
        return measure.full_scale().map(|top| (value / top) as f32);
    }
    if measure == Measure::KlMean {
        // 1 if no prediction changed.
        return Some((-value).exp() as f32);
    }
    if measure == Measure::FirstDivergence {
        let length = group.baseline.as_ref()?.text.chars().count();
        return (length > 0).then(|| (value / length as f64) as f32);
    }
    None
}

fn tag_of(sweep: &Sweeps, id: &str) -> Option<&'static str> {
    let pinned = sweep.pinned.as_deref() == Some(id);
    let selected = sweep.selected.as_deref() == Some(id);
    match (pinned, selected, sweep.pinned.is_some()) {
        (true, _, _) => Some("A"),
        (false, true, true) => Some("B"),
        _ => None,
    }
}

fn points(sweep: &Sweeps) -> HashMap<&str, (&Group, &Point)> {
    sweep
        .groups()
        .flat_map(|group| {
            group
                .points
                .iter()
                .map(move |point| (point.record.as_str(), (group, point)))
        })
        .collect()
}

fn map(cx: &PanelContext<'_>, planned: &[Case]) -> Map {
    let workbench = cx.workbench;
    let sweep = &workbench.sweep;
    let points = points(sweep);
    let first = sweep.shown.first().map(|saved| &saved.experiment.id);
    // A search has no planned cells, so that its own magnitudes are the columns.
    let records: Vec<_> = sweep
        .records()
        .filter(|record| record.case.recipe.is_some() && Some(&record.experiment) == first)
        .collect();
    let recipes: Vec<&PrefixRecipe> = if planned.is_empty() {
        records
            .iter()
            .filter_map(|record| record.case.recipe.as_ref())
            .collect()
    } else {
        planned.iter().filter_map(|case| case.recipe.as_ref()).collect()
    };
    let mut rows: Vec<(PrefixKind, usize)> = Vec::new();
    let mut columns: Vec<Magnitude> = Vec::new();
    for recipe in &recipes {
        let row = row_of(recipe);
        if !rows.contains(&row) {
            rows.push(row);
        }
        if !columns.contains(&recipe.magnitude) {
            columns.push(recipe.magnitude);
        }
    }
    columns.sort_by(|a, b| value_of(*a).total_cmp(&value_of(*b)));
    let one_kind = rows.iter().all(|(kind, _)| kind.base() == rows[0].0.base());
    let row_words: Vec<String> = rows
        .iter()
        .map(|(kind, len)| match one_kind {
            true => format!("P {len}"),
            false => format!("P {len} {}", words::kind(cx.text, kind)),
        })
        .collect();
    let column_words: Vec<String> = columns
        .iter()
        .map(|magnitude| match magnitude {
            Magnitude::TokenNorms(0.0) => "0".to_owned(),
            other => words::magnitude(cx.text, *other),
        })
        .collect();
    let place_of = |recipe: &PrefixRecipe| {
        let row = row_of(recipe);
        let row = rows.iter().position(|other| *other == row)?;
        let column = columns.iter().position(|other| *other == recipe.magnitude)?;
        Some((row, column))
    };

    let width = columns.len();
    let count = rows.len() * width;
    let mut cells = vec![Cell::default(); count];
    let mut ids: Vec<Option<String>> = vec![None; count];
    let mut sums: Vec<(f64, usize)> = vec![(0.0, 0); count];
    let mut current = None;
    let is_running = sweep.running_experiment.is_some() && sweep.running_experiment.as_ref() == first;
    for case in planned
        .iter()
        .filter(|case| is_running && sweep.running.contains(&case.index))
    {
        if let Some((row, column)) = case.recipe.as_ref().and_then(place_of) {
            cells[row * width + column].state = CellState::Running;
        }
    }
    for record in records {
        let Some((row, column)) = record.case.recipe.as_ref().and_then(place_of) else {
            continue;
        };
        let at = row * width + column;
        let cell = &mut cells[at];
        let Some((group, point)) = points.get(record.id.as_str()) else {
            continue;
        };
        let value = point
            .measures
            .as_ref()
            .and_then(|measures| workbench.measure.value(measures));
        let is_compared = [&sweep.selected, &sweep.pinned]
            .into_iter()
            .flatten()
            .any(|id| *id == record.id);
        if ids[at].is_none() || is_compared {
            ids[at] = Some(record.id.clone());
        }
        if sweep.selected.as_ref() == Some(&record.id) {
            current = Some((row, column));
        }
        cell.tag = tag_of(sweep, &record.id).or(cell.tag);
        match (&point.error, &point.measures) {
            (Some(_), _) => {
                if !matches!(cell.state, CellState::Done | CellState::Collapsed) {
                    cell.state = CellState::Failed;
                }
            }
            (None, Some(measures)) => {
                // A loop only if all repeats are.
                cell.state = if measures.repetition.is_collapse() && cell.state != CellState::Done {
                    CellState::Collapsed
                } else {
                    CellState::Done
                };
                if let Some(value) = value {
                    sums[at].0 += value;
                    sums[at].1 += 1;
                    let mean = sums[at].0 / sums[at].1 as f64;
                    cell.nearness = similarity(workbench.measure, mean, group);
                    cell.words = in_a_cell(workbench.measure, mean);
                }
            }
            // There is no baseline yet, or the output is not complete.
            (None, None) => cell.state = CellState::Done,
        }
    }
    let ends = spread(&mut cells);
    let text = cx.sweep_text();
    for (at, cell) in cells.iter_mut().enumerate() {
        let value = format!("{} {}", (cx.text.measures)(workbench.measure), cell.words);
        let value = value.trim_end();
        let state = match cell.state {
            CellState::Waiting => text.waiting.to_owned(),
            CellState::Running => text.running.to_owned(),
            CellState::Failed => text.case_failed.to_owned(),
            CellState::Done => value.to_owned(),
            CellState::Collapsed => format!("{}{}{value}", text.collapsed, cx.text.comma),
        };
        cell.accessible_name = format!("{}, {}: {state}", row_words[at / width], column_words[at % width]);
    }
    Map {
        zero_first: columns
            .first()
            .is_some_and(|magnitude| value_of(*magnitude) == 0.0 && *magnitude != Magnitude::Unscaled),
        rows: row_words,
        columns: column_words,
        cells,
        ids,
        current,
        ends,
    }
}

/// Scales the colours to the cells: the nearest to the baseline gets 1, the farthest 0. Returns their formatted values. Cells that are all
/// equally far keep the colour of their distance, and there is no scale.
fn spread(cells: &mut [Cell]) -> Option<[String; 2]> {
    let coloured = |cell: &&Cell| cell.state == CellState::Done && cell.nearness.is_some();
    let by_nearness = |a: &&Cell, b: &&Cell| {
        a.nearness
            .unwrap_or_default()
            .total_cmp(&b.nearness.unwrap_or_default())
    };
    let nearest = cells.iter().filter(coloured).max_by(by_nearness)?;
    let farthest = cells.iter().filter(coloured).min_by(by_nearness)?;
    let ends = [nearest.words.clone(), farthest.words.clone()];
    let (high, low) = (nearest.nearness?, farthest.nearness?);
    if high <= low {
        return None;
    }
    for nearness in cells.iter_mut().filter_map(|cell| cell.nearness.as_mut()) {
        *nearness = (*nearness - low) / (high - low);
    }
    Some(ends)
}

/// Formats a value with as few digits as distinguish cells.
fn in_a_cell(measure: Measure, value: f64) -> String {
    match measure {
        Measure::Chrf2 => format!("{value:.0}"),
        _ => words::figures(measure, Some(value)),
    }
}

fn plotted(cx: &PanelContext<'_>, planned: &[Case]) -> Plotted {
    let workbench = cx.workbench;
    let sweep = &workbench.sweep;
    let groups: Vec<&Group> = sweep.groups().collect();
    let points = || groups.iter().flat_map(|group| &group.points);
    let unit = match points().any(Point::is_drawn) {
        true => axis_unit(points()),
        false => workbench.sweep_unit(),
    };
    let several_models = groups.len() > 1;
    let mut lines: Vec<_> = groups
        .iter()
        .flat_map(|group| {
            group
                .lines()
                .into_iter()
                .map(move |(series, points)| (*group, series, points))
        })
        .collect();
    // Cases finish in any order; series are sorted.
    lines.sort_by_key(|(_, series, _)| series.recipe.len);
    let one_kind = lines.iter().all(|(_, series, _)| {
        lines
            .first()
            .is_some_and(|(_, first, _)| first.recipe.kind.base() == series.recipe.kind.base())
    });
    let mut out = Plotted {
        norms: unit == MagnitudeUnit::TokenNorms,
        ..Plotted::default()
    };
    let mut most = 0.0_f64;
    for (index, (group, series, points)) in lines.iter().enumerate() {
        let mut label = if one_kind {
            format!("P {}", series.recipe.len)
        } else {
            format!("P {} {}", series.recipe.len, words::kind(cx.text, &series.recipe.kind))
        };
        if several_models {
            label = format!("{label} · {}", words::module(&group.key.model, &group.key.address));
        }
        let wanted = planned
            .iter()
            .filter(|case| case.recipe.as_ref().is_some_and(|recipe| series.has(recipe)))
            .count();
        let mut spots = Vec::new();
        let mut ids = Vec::new();
        let mut chosen = false;
        for point in points {
            let value = point
                .measures
                .as_ref()
                .and_then(|measures| workbench.measure.value(measures));
            let (Some(x), Some(y)) = (point.magnitude_in(unit), value) else {
                continue;
            };
            let here = (index, spots.len());
            if sweep.selected.as_ref() == Some(&point.record) {
                chosen = true;
                out.selected = Some(here);
                out.at = Some(x);
            }
            if let Some(tag) = tag_of(sweep, &point.record) {
                out.tags.push((here, tag));
            }
            most = most.max(y);
            spots.push(Spot {
                spread: None,
                x,
                y,
                collapsed: point
                    .measures
                    .as_ref()
                    .is_some_and(|measures| measures.repetition.is_collapse()),
            });
            ids.push(point.record.clone());
        }
        out.curves.push(Curve {
            label,
            marker: Marker::of(index),
            unfinished: points.len() < wanted,
            spots,
            chosen,
        });
        out.ids.push(ids);
    }
    out.top = workbench.measure.full_scale().unwrap_or_else(|| round_top(most));
    out.noise = groups
        .iter()
        .filter(|group| !group.is_deterministic())
        .filter_map(|group| group.noise_floor(workbench.measure))
        .reduce(f64::min);
    out.collapse = collapse(&out.curves);
    out
}

/// Returns the groups of all prompts that were run, by module.
fn modules<'d>(cx: &PanelContext<'d>) -> Vec<Vec<&'d Group>> {
    let mut out: Vec<Vec<&Group>> = Vec::new();
    for group in &cx.workbench.sweep.analysis.groups {
        let is_there = |others: &&mut Vec<&Group>| {
            let key = &others[0].key;
            (&key.address, &key.model, &key.settings) == (&group.key.address, &group.key.model, &group.key.settings)
        };
        match out.iter_mut().find(is_there) {
            Some(others) => others.push(group),
            None => out.push(vec![group]),
        }
    }
    out
}

/// The means over all prompts: one line per P, with bars from the lowest prompt to the highest.
fn means(cx: &PanelContext<'_>, modules: &[Vec<&Group>]) -> Plotted {
    let measure = cx.workbench.measure;
    let unit = axis_unit(modules.iter().flatten().flat_map(|group| &group.points));
    let mut lines: Vec<_> = modules
        .iter()
        .flat_map(|groups| {
            let lines = over_prompts(groups, measure, |point| point.magnitude_in(unit));
            lines.into_iter().map(|line| (groups[0], line))
        })
        .collect();
    lines.sort_by_key(|(_, (series, _))| series.recipe.len);
    let kinds: Vec<&PrefixKind> = lines.iter().map(|(_, (series, _))| series.recipe.kind.base()).collect();
    let one_kind = kinds.iter().all(|kind| *kind == kinds[0]);
    let mut out = Plotted {
        norms: unit == MagnitudeUnit::TokenNorms,
        ..Plotted::default()
    };
    let mut most = 0.0_f64;
    for (index, (group, (series, spreads))) in lines.iter().enumerate() {
        let mut label = format!("P {}", series.recipe.len);
        if !one_kind {
            label = format!("{label} {}", words::kind(cx.text, &series.recipe.kind));
        }
        if modules.len() > 1 {
            label = format!("{label} · {}", words::module(&group.key.model, &group.key.address));
        }
        let spot = |spread: &Spread| Spot {
            x: spread.magnitude,
            y: spread.mean,
            collapsed: spread.is_loop,
            spread: Some((spread.least, spread.most)),
        };
        most = spreads.iter().map(|spread| spread.most).fold(most, f64::max);
        out.curves.push(Curve {
            label,
            marker: Marker::of(index),
            unfinished: false,
            spots: spreads.iter().map(spot).collect(),
            chosen: false,
        });
    }
    out.top = measure.full_scale().unwrap_or_else(|| round_top(most));
    out.collapse = collapse(&out.curves);
    out
}

/// Returns the magnitude from which on every output is a loop: on the chosen line, or on all lines if none is chosen.
fn collapse(curves: &[Curve]) -> Option<f64> {
    let any_chosen = curves.iter().any(|curve| curve.chosen);
    let mut spots: Vec<&Spot> = curves
        .iter()
        .filter(|curve| curve.chosen || !any_chosen)
        .flat_map(|curve| &curve.spots)
        .collect();
    spots.sort_by(|a, b| a.x.total_cmp(&b.x));
    let last_prose = spots
        .iter()
        .rev()
        .find(|spot| !spot.collapsed)
        .map_or(f64::NEG_INFINITY, |spot| spot.x);
    spots
        .iter()
        .find(|spot| spot.x > last_prose && spot.collapsed)
        .map(|spot| spot.x)
        .filter(|x| *x > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(chosen: bool, spots: &[(f64, bool)]) -> Curve {
        Curve {
            label: String::new(),
            marker: Marker::Disc,
            spots: spots
                .iter()
                .map(|&(x, collapsed)| Spot {
                    x,
                    y: 1.0,
                    collapsed,
                    spread: None,
                })
                .collect(),
            chosen,
            unfinished: false,
        }
    }

    fn cell(nearness: f32) -> Cell {
        Cell {
            state: CellState::Done,
            words: format!("{nearness}"),
            nearness: Some(nearness),
            tag: None,
            accessible_name: String::new(),
        }
    }

    #[test]
    fn colours_spread_between_the_cells_and_stay_where_all_are_alike() {
        let mut cells = [cell(0.25), cell(0.5)];
        assert_eq!(spread(&mut cells), Some(["0.5".to_owned(), "0.25".to_owned()]));
        assert_eq!([cells[0].nearness, cells[1].nearness], [Some(0.0), Some(1.0)]);
        let mut alike = [cell(0.0), cell(0.0)];
        assert_eq!(spread(&mut alike), None);
        assert_eq!(alike[0].nearness, Some(0.0));
    }

    #[test]
    fn collapse_begins_after_the_last_output_that_is_prose() {
        let early = curve(false, &[(0.1, true), (1.0, false), (4.0, true), (12.0, true)]);
        let late = curve(false, &[(4.0, false), (12.0, true)]);
        assert_eq!(collapse(std::slice::from_ref(&early)), Some(4.0));
        assert_eq!(collapse(&[early.clone(), late.clone()]), Some(12.0));
        let chosen = Curve { chosen: true, ..early };
        assert_eq!(collapse(&[chosen, late]), Some(4.0));
        assert_eq!(collapse(&[curve(false, &[(1.0, false)])]), None);
    }
}
