//! The context that every panel receives, and helpers that several panels share.

use eframe::egui::{self, Frame, Margin, Rect, Stroke, Ui};
use softprefix_core::experiment::words::REGIONS;

use super::module_card::with_mark;
use crate::model::MagnitudeUnit;
use crate::model::typed::Accepted;
use crate::text::Text;
use crate::theme::{self, Palette};
use crate::views::axis::{self, Axis, RegionNames, Regions};
use crate::views::button::Button;
use crate::views::entry::Entered;
use crate::views::magnitude::NormsCurve;
use crate::views::paint;
use crate::views::plot::View;
use crate::views::status::Status;
use crate::workbench::{Action, Workbench};

/// A frame as wide as its panel, with the usual padding at both sides.
pub fn inset(top: i8, bottom: i8) -> Frame {
    let side = theme::PADDING as i8;
    Frame::NONE.inner_margin(Margin {
        left: side,
        right: side,
        top,
        bottom,
    })
}

/// Draws the line between a rail and the view beside it.
pub fn rail_edge(ui: &Ui) {
    let rect = ui.max_rect();
    let stroke = Stroke::new(1.0, Palette::of(ui).line);
    ui.painter().vline(rect.right() - 0.5, rect.y_range(), stroke);
}

/// The context of one frame: the state to show, the texts to show it with, and the user's actions.
pub struct PanelContext<'a> {
    pub workbench: &'a Workbench,
    /// The user's own workbench; differs from `workbench` only during playback. Read what is displayed from `workbench`; read what may be done with
    /// the window, its files and the playback from `own`.
    pub own: &'a Workbench,
    pub text: &'static Text,
    /// Whether a field that was drawn so far holds a text that is not valid.
    pub has_wrong_field: bool,
    pub actions: Vec<Action>,
}

impl PanelContext<'_> {
    pub fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Returns the number that was entered. For a text that is none, draws a sentence that says which numbers the field accepts.
    pub fn entered<T>(&mut self, ui: &mut Ui, entered: Entered<T>, accepted: &Accepted) -> Option<T> {
        match entered {
            Entered::Nothing => None,
            Entered::Value(value) => Some(value),
            Entered::Invalid(typed) => {
                self.has_wrong_field = true;
                let words = (self.text.invalid_number)(&typed, accepted);
                with_mark(ui, Status::Broken, |ui| {
                    ui.label(paint::words(words, theme::CAPTION, Palette::of(ui).broken));
                });
                None
            }
        }
    }

    /// Returns whether the axis of the plot is in token norms: if the vocabulary is known or, while no module is connected, if the controls are
    /// in them.
    pub fn plot_in_norms(&self) -> bool {
        let known = self.workbench.vocabulary.is_some();
        known || (!self.workbench.module.is_ready() && self.workbench.prefix.unit == MagnitudeUnit::TokenNorms)
    }

    /// Returns the axis of the plot.
    pub fn plot_axis(&self) -> Axis {
        if self.plot_in_norms() { Axis::NORMS } else { Axis::RAW }
    }

    /// Formats a magnitude of the plot: `2.9×`, or a raw value.
    pub fn format_plot_magnitude(&self, x: f64) -> String {
        format!("{}{}", axis::format_magnitude(x), self.plot_axis().unit)
    }

    /// Returns the distribution of the norms of the vocabulary's rows, over token norms.
    pub fn norms_curve(&self) -> Option<NormsCurve> {
        let vocabulary = self.workbench.vocabulary.as_ref()?;
        let histogram = &vocabulary.histogram;
        let (low, high) = (histogram.log10_min, histogram.log10_max);
        Some(NormsCurve::of_histogram(
            low,
            high,
            &histogram.counts,
            vocabulary.median,
        ))
    }

    pub fn region_names(&self) -> RegionNames<'static> {
        let language = self.workbench.settings.language;
        let [floor, tokens, over] = REGIONS.map(|name| name.get(language));
        RegionNames { floor, tokens, over }
    }

    /// Returns the current magnitude in the plot's unit; for unscaled rows, the magnitude that they have.
    pub fn current_plot_magnitude(&self) -> Option<f64> {
        let built = self
            .workbench
            .next_prefix
            .built
            .as_ref()
            .and_then(|built| built.as_ref().ok());
        if self.plot_in_norms() {
            self.workbench.magnitude_norms().or_else(|| built?.token_norms)
        } else {
            self.workbench.magnitude_raw().or_else(|| built?.raw())
        }
    }

    /// Converts a magnitude on the plot's axis to the unit of the controls; a raw value keeps its sign.
    pub fn plot_to_controls(&self, value: f64) -> f64 {
        match self.plot_in_norms() {
            true => self.workbench.norms_to_controls(value),
            false => value.copysign(self.workbench.prefix.magnitude),
        }
    }

    /// Draws a button that shows the visible range of a zoomed plot and resets the zoom.
    pub fn zoomed(&self, ui: &mut Ui, view: View) {
        let Some([from, to]) = view.zoomed(ui.ctx()) else {
            return;
        };
        let words = (self.text.zoomed)(&from, &to);
        if ui.add(Button::quiet(&words).small()).clicked() {
            view.reset(ui.ctx());
        }
    }

    /// Returns the regions on an axis of `unit`, if known.
    pub fn regions(&self, unit: MagnitudeUnit) -> Option<Regions> {
        match unit {
            MagnitudeUnit::TokenNorms => Some(Regions::NORMS),
            MagnitudeUnit::Raw => {
                let scale = self.workbench.raw_per_norm()?;
                let Regions { floor, over } = Regions::NORMS;
                Some(Regions {
                    floor: (floor.0 * scale, floor.1 * scale),
                    over: (over.0 * scale, over.1 * scale),
                })
            }
        }
    }
}

/// A card with a header of 40 points, a body and, below a hairline, a footer of 34 points.
pub struct CardParts {
    pub header: Rect,
    pub body: Rect,
    pub footer: Rect,
}

const HEADER: f32 = 40.0;
const FOOTER: f32 = 34.0;

impl CardParts {
    /// Height of a card without its body.
    pub const FRAME: f32 = HEADER + FOOTER + 2.0;

    pub fn paint(ui: &Ui, rect: Rect) -> Self {
        let palette = Palette::of(ui);
        let radius = egui::CornerRadius::same(theme::RADIUS_CARD);
        let outline = Stroke::new(1.0, palette.line);
        ui.painter()
            .rect(rect, radius, palette.panel, outline, egui::StrokeKind::Inside);
        let inner = rect.shrink(1.0);
        let header = inner.with_max_y(inner.top() + HEADER);
        let footer = inner.with_min_y(inner.bottom() - FOOTER);
        let body = Rect::from_min_max(header.left_bottom(), footer.right_top());
        ui.painter().rect_filled(body, 0.0, palette.inset);
        ui.painter().hline(body.x_range(), body.top(), outline);
        ui.painter().hline(body.x_range(), body.bottom(), outline);
        Self { header, body, footer }
    }
}

/// Formats a shortcut: `Ctrl+.`, on a Mac `⌘.`
pub fn keys(ui: &Ui, shortcut: &egui::KeyboardShortcut) -> String {
    let modifiers = ui.ctx().format_modifiers(shortcut.modifiers);
    let key = shortcut.logical_key.symbol_or_name();
    if modifiers.is_empty() {
        key.to_owned()
    } else if ui.ctx().os().is_mac() {
        format!("{modifiers}{key}")
    } else {
        format!("{modifiers}+{key}")
    }
}
