//! A plot of the scores over the runs of a search: a point for each run, and a line for the best so far.

use eframe::egui::{Role, Stroke, Ui, WidgetInfo};
use egui_plot::{Line, Plot, PlotPoint, PlotPoints, Points};

use crate::theme::Palette;

/// The plot of one search.
pub struct ScorePlot<'a> {
    pub name: &'a str,
    /// The score of each run, in order.
    pub scores: &'a [f64],
    /// Maximum number of runs: the right end of the axis.
    pub budget: usize,
    /// The accessible value: the best score.
    pub accessible_value: &'a str,
}

impl ScorePlot<'_> {
    /// Draws the plot in the remaining space of `ui`.
    pub fn show(&self, ui: &mut Ui) {
        let palette = Palette::of(ui);
        let at = |run: usize| (run + 1) as f64;
        let all: Vec<[f64; 2]> = (self.scores.iter().enumerate())
            .map(|(run, score)| [at(run), *score])
            .collect();
        // A step for each run that was better than all before it.
        let mut best: Vec<PlotPoint> = Vec::new();
        let mut top = f64::NEG_INFINITY;
        for [run, score] in &all {
            if *score > top {
                if top.is_finite() {
                    best.push(PlotPoint::new(*run, top));
                }
                top = *score;
                best.push(PlotPoint::new(*run, top));
            }
        }
        if let (Some([run, _]), true) = (all.last(), top.is_finite()) {
            best.push(PlotPoint::new(*run, top));
        }
        let value = |at: &PlotPoint, _: &egui_plot::PlotBounds| format!("{:.0} · {:.3}", at.x.max(0.0), at.y);
        let shown = Plot::new(self.name)
            .show_background(false)
            .grid_color(palette.line)
            .include_x(0.0)
            .include_x(self.budget.max(1) as f64)
            .include_y(0.0)
            .allow_scroll(false)
            .coordinates_formatter(
                egui_plot::Corner::RightBottom,
                egui_plot::CoordinatesFormatter::new(value),
            )
            .show(ui, |plot| {
                plot.points(Points::new("", all).radius(2.5).color(palette.text3).allow_hover(false));
                // One line for each step: as one path the corners would be drawn as a filled shape.
                for pair in best.windows(2) {
                    let ends = PlotPoints::Owned(pair.to_vec());
                    let stroke = Stroke::new(2.0, palette.prefix_fill);
                    plot.line(Line::new("", ends).stroke(stroke).allow_hover(false));
                }
            });
        shown.response.widget_info(|| {
            let mut info = WidgetInfo::labeled(Role::Figure, true, self.name);
            info.current_text_value = Some(self.accessible_value.to_owned());
            info
        });
    }
}
