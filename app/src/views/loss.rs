//! A plot of the losses over the steps of learning: a line for the examples, one for the held-out examples, and levels to compare with.

use eframe::egui::{self, Align2, Role, Stroke, Ui, WidgetInfo, pos2};
use egui_plot::{HLine, Line, LineStyle, Plot, PlotPoint, PlotPoints, Points};

use super::paint;
use crate::theme::{self, Palette};

/// A constant level of the loss.
#[derive(Debug, Clone, PartialEq)]
pub struct Level<'a> {
    pub name: &'a str,
    pub loss: f64,
}

/// The plot; see [`LossPlot::show`].
pub struct LossPlot<'a> {
    pub name: &'a str,
    /// Step and loss, in order.
    pub loss: &'a [(f64, f64)],
    /// The same for held-out examples, and their label.
    pub held_out: &'a [(f64, f64)],
    pub held_out_name: &'a str,
    pub levels: &'a [Level<'a>],
    /// Maximum number of steps: the right end of the axis.
    pub steps: usize,
    /// The accessible value, in nats per token.
    pub accessible_value: &'a str,
}

impl LossPlot<'_> {
    /// Draws the plot in the remaining space of `ui`.
    pub fn show(&self, ui: &mut Ui) {
        let palette = Palette::of(ui);
        let all = self.loss.iter().chain(self.held_out).map(|(_, loss)| *loss);
        let top = all
            .chain(self.levels.iter().map(|level| level.loss))
            .fold(0.1, f64::max)
            * 1.1;
        let line = |points: &[(f64, f64)], stroke: Stroke| {
            let points = points.iter().map(|(step, loss)| PlotPoint::new(*step, *loss)).collect();
            Line::new("", PlotPoints::Owned(points))
                .stroke(stroke)
                .allow_hover(false)
        };
        let value = |at: &PlotPoint, _: &egui_plot::PlotBounds| format!("{:.0} · {:.3}", at.x.max(0.0), at.y.max(0.0));
        let shown = Plot::new(self.name)
            .show_background(false)
            .grid_color(palette.line)
            .include_x(0.0)
            .include_x(self.steps.max(1) as f64)
            .include_y(0.0)
            .include_y(top)
            .allow_scroll(false)
            .coordinates_formatter(
                egui_plot::Corner::RightBottom,
                egui_plot::CoordinatesFormatter::new(value),
            )
            .show(ui, |plot| {
                for level in self.levels {
                    plot.hline(
                        HLine::new("", level.loss)
                            .stroke(Stroke::new(1.5, palette.baseline))
                            .style(LineStyle::dashed_dense())
                            .allow_hover(false),
                    );
                }
                if !self.held_out.is_empty() {
                    plot.line(line(self.held_out, Stroke::new(1.5, palette.text2)).style(LineStyle::dashed_dense()));
                }
                plot.line(line(self.loss, Stroke::new(2.0, palette.prefix_fill)));
                if let Some((step, loss)) = self.loss.last() {
                    plot.points(
                        Points::new("", vec![[*step, *loss]])
                            .radius(5.0)
                            .color(palette.prefix_fill)
                            .allow_hover(false),
                    );
                }
            });
        shown.response.widget_info(|| {
            let mut info = WidgetInfo::labeled(Role::Figure, true, self.name);
            info.current_text_value = Some(self.accessible_value.to_owned());
            info
        });
        self.name_lines(ui, &shown.transform, palette);
    }

    /// Draws the label of each line at its right end; labels that would overlap are moved apart.
    fn name_lines(&self, ui: &Ui, transform: &egui_plot::PlotTransform, palette: &Palette) {
        let frame = *transform.frame();
        let mut names: Vec<(f32, &str, egui::Color32)> = self
            .levels
            .iter()
            .map(|level| {
                (
                    transform.position_from_point_y(level.loss) - 9.0,
                    level.name,
                    palette.baseline,
                )
            })
            .collect();
        if let Some((_, loss)) = self.held_out.last() {
            let y = transform.position_from_point_y(*loss) + 10.0;
            names.push((y, self.held_out_name, palette.text2));
        }
        names.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut least = frame.top() + 8.0;
        for (y, name, colour) in names {
            let y = y.max(least).min(frame.bottom() - 8.0);
            least = y + 16.0;
            let galley = paint::cut_to(ui, name, theme::CAPTION.regular(), colour, frame.width() * 0.7);
            paint::place(ui.painter(), pos2(frame.right() - 6.0, y), Align2::RIGHT_CENTER, galley);
        }
    }
}
