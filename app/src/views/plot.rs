//! Similarity over magnitude: every run is a point, and the prefix in hand is marked on the curve.
//!
//! Painted by hand rather than by a plot library: 0 has a strip of its own that no line reaches, regions fade, and the
//! axis is the slider's. It knows no run, only points.

use eframe::egui::{
    self, Align2, CornerRadius, EventFilter, Key, Pos2, Rangef, Rect, Response, Role, Sense, Shape, Stroke, StrokeKind,
    Ui, Vec2, WidgetInfo, pos2, vec2,
};

use super::axis::{Axis, RegionNames, Regions, Track, paint_bands};
use super::magnitude::paint_region_names;
use super::paint::{self, TagStyle};
use crate::theme::{self, Palette, faded};

/// The strip above the plot that names the regions.
const STRIP: f32 = 24.0;
/// The place of 0, and what keeps it apart from the rest.
const ZERO: f32 = 40.0;
const ZERO_GAP: f32 = 8.0;
/// Room for the figures at the left and below.
const LEFT: f32 = 40.0;
const BELOW: f32 = 26.0;
/// More of it for the axis' name, where the plot is high enough for one.
const X_NAME: f32 = 20.0;
/// How near the pointer must be to a point.
pub(super) const REACH: f32 = 12.0;

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub id: u64,
    /// Magnitude; 0 is on the strip.
    pub x: f64,
    pub y: f64,
    /// The output is a loop: drawn as a cross.
    pub collapsed: bool,
    /// Made as the prefix in hand is, but for the magnitude: joined by the line. Others are hollow.
    pub joined: bool,
}

/// The prefix in hand.
#[derive(Clone, Debug, PartialEq)]
pub struct Current {
    pub x: f64,
    /// `None` while there is no run at this magnitude: then there is a cursor and no mark.
    pub y: Option<f64>,
    /// `2.9× · chrF2 36.0`
    pub tag: String,
}

/// A band in which two baselines differ from each other: what lies inside is no effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Noise<'a> {
    pub from: f64,
    pub to: f64,
    pub words: &'a str,
}

/// The plot; see [`Plot::show`].
pub struct Plot<'a> {
    /// What a screen reader calls it.
    pub name: &'a str,
    pub axis: Axis,
    pub regions: Option<(Regions, RegionNames<'a>)>,
    /// Ascending in x.
    pub points: &'a [Point],
    /// Top of the y axis, above 0.
    pub top: f64,
    /// Written above the y axis.
    pub y_label: &'a str,
    pub x_label: &'a str,
    pub noise: Option<Noise<'a>>,
    /// The magnitude from which on outputs are loops, with words for it.
    pub collapse: Option<(f64, &'a str)>,
    pub current: Option<Current>,
    pub selected: Option<u64>,
    /// What is written where there are no points yet.
    pub empty: &'a str,
}

/// What the person did with the plot.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Touched {
    /// The point under the pointer, or the one that the keys are at.
    pub pointed: Option<u64>,
    /// The point that was clicked, or chosen with Enter.
    pub opened: Option<u64>,
}

/// Where the parts of a plot lie.
pub(super) struct Area {
    /// Whether there is room for the axis' name.
    named: bool,
    strip: Rect,
    zero: Rect,
    pub(super) plot: Rect,
    track: Track,
    top: f64,
}

impl Area {
    pub(super) fn of(rect: Rect, axis: Axis, top: f64) -> Self {
        let x_name = if rect.height() < 240.0 { 0.0 } else { X_NAME };
        let body = Rect::from_min_max(
            pos2(rect.left() + LEFT, rect.top() + STRIP),
            pos2(rect.right() - 8.0, rect.bottom() - BELOW - x_name),
        );
        let zero = body.with_max_x(body.left() + ZERO);
        let plot = body.with_min_x(body.left() + ZERO + ZERO_GAP);
        let strip = Rect::from_min_max(pos2(plot.left(), rect.top()), pos2(plot.right(), plot.top()));
        let track = Track {
            axis,
            zero: zero.center().x,
            x: plot.x_range(),
        };
        Self {
            named: x_name > 0.0,
            strip,
            zero,
            plot,
            track,
            top,
        }
    }

    /// Room above the top value, so that a point at the top is whole.
    fn y_of(&self, y: f64) -> f32 {
        let low = self.plot.bottom();
        let high = self.plot.top() + 12.0;
        low - (low - high) * (y / self.top).clamp(0.0, 1.0) as f32
    }

    /// The x axis on the screen.
    pub(super) fn track(&self) -> &Track {
        &self.track
    }

    pub(super) fn at(&self, x: f64, y: f64) -> Pos2 {
        pos2(self.track.x_of(x), self.y_of(y))
    }
}

impl Plot<'_> {
    /// Shows the plot in a box of `size`; `describe` says a point in words, for pointer and screen reader.
    pub fn show(&self, ui: &mut Ui, size: Vec2, describe: impl Fn(u64) -> String) -> Touched {
        let (rect, response) = ui.allocate_exact_size(size, Sense::click());
        let area = Area::of(rect, self.axis, self.top.max(f64::MIN_POSITIVE));
        let touched = self.touched(ui, &response, &area);
        let spoken = touched.pointed.or(self.selected).map(&describe);
        let enabled = ui.is_enabled();
        response.widget_info(|| {
            let mut info = WidgetInfo::labeled(Role::Figure, enabled, self.name);
            info.current_text_value = Some(spoken.clone().unwrap_or_else(|| self.empty_or_count()));
            info
        });
        if ui.is_rect_visible(rect) {
            self.paint(ui, &area, touched.pointed);
            paint::focus_ring(ui, &response, rect.shrink(2.0), theme::RADIUS_TAG);
        }
        if response.hovered()
            && let Some(id) = touched.pointed
        {
            ui.ctx().set_cursor_icon(egui::CursorIcon::PointingHand);
            response.show_tooltip_text(paint::words(describe(id), theme::CAPTION, Palette::of(ui).text));
        }
        touched
    }

    fn empty_or_count(&self) -> String {
        if self.points.is_empty() {
            self.empty.to_owned()
        } else {
            self.points.len().to_string()
        }
    }

    fn touched(&self, ui: &Ui, response: &Response, area: &Area) -> Touched {
        let mut touched = Touched::default();
        if let Some(pointer) = response.hover_pos() {
            let distance = |point: &Point| area.at(point.x, point.y).distance(pointer);
            touched.pointed = self
                .points
                .iter()
                .map(|point| (distance(point), point.id))
                .filter(|(distance, _)| *distance <= REACH)
                .min_by(|a, b| a.0.total_cmp(&b.0))
                .map(|(_, id)| id);
            if response.clicked() {
                touched.opened = touched.pointed;
            }
        }
        if response.has_focus() {
            let filter = EventFilter {
                horizontal_arrows: true,
                ..EventFilter::default()
            };
            ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, filter));
            let step = ui.input(|input| {
                input.num_presses(Key::ArrowRight) as isize - input.num_presses(Key::ArrowLeft) as isize
            });
            if step != 0 && !self.points.is_empty() {
                let at = self.points.iter().position(|point| Some(point.id) == self.selected);
                let last = self.points.len() as isize - 1;
                let next = match at {
                    Some(at) => (at as isize + step).clamp(0, last),
                    None => {
                        if step > 0 {
                            0
                        } else {
                            last
                        }
                    }
                };
                touched.opened = Some(self.points[next as usize].id);
            }
        }
        touched
    }

    fn paint(&self, ui: &Ui, area: &Area, pointed: Option<u64>) {
        self.paint_ground(ui, area);
        self.paint_points(ui, area, pointed);
        self.paint_current(ui, area);
        if self.points.is_empty() {
            paint::notice(ui, area.plot, self.empty);
        }
    }

    /// Everything, without pointer and keys.
    pub(super) fn paint_all(&self, ui: &Ui, area: &Area) {
        self.paint(ui, area, None);
    }

    /// Everything behind the points.
    pub(super) fn paint_ground(&self, ui: &Ui, area: &Area) {
        let palette = Palette::of(ui);
        let painter = ui.painter();
        painter.rect_filled(area.zero, 0.0, palette.inset);
        painter.rect_filled(area.plot, 0.0, palette.inset);
        if let Some((regions, names)) = &self.regions {
            let column = Rangef::new(area.strip.top(), area.plot.bottom());
            paint_bands(painter, &area.track, column, regions, palette);
            let value = self.current.as_ref().map_or(0.0, |current| current.x);
            paint_region_names(ui, &area.track, area.strip.center().y, regions, names, value);
        }
        self.paint_grid(ui, area);
        self.paint_noise(ui, area);
        self.paint_collapse(ui, area);
    }

    fn paint_grid(&self, ui: &Ui, area: &Area) {
        let palette = Palette::of(ui);
        let painter = ui.painter();
        let line = Stroke::new(1.0, palette.line);
        let font = theme::CAPTION.mono();
        let label = pos2(area.zero.left() - 2.0, area.strip.center().y);
        paint::text(
            painter,
            label,
            Align2::LEFT_CENTER,
            self.y_label,
            theme::CAPTION.regular(),
            palette.text3,
        );
        let quarters = if area.plot.height() < 120.0 {
            vec![0, 2, 4]
        } else {
            vec![0, 1, 2, 3, 4]
        };
        for quarter in quarters {
            let value = self.top * f64::from(quarter) / 4.0;
            let y = area.y_of(value);
            painter.hline(area.zero.x_range(), y, line);
            painter.hline(area.plot.x_range(), y, line);
            let at = pos2(area.zero.left() - 8.0, y);
            paint::text(
                painter,
                at,
                Align2::RIGHT_CENTER,
                &tick(value, self.top),
                font.clone(),
                palette.text3,
            );
        }
        let y = area.plot.bottom() + 15.0;
        paint::text(
            painter,
            pos2(area.zero.center().x, y),
            Align2::CENTER_CENTER,
            "0",
            font.clone(),
            palette.text3,
        );
        let decades = self.axis.decades();
        for (index, (x, words)) in decades.iter().enumerate() {
            let place = area.track.x_of(*x);
            painter.vline(place, area.plot.y_range(), line);
            let (anchor, align) = match index {
                0 => (area.plot.left(), Align2::LEFT_CENTER),
                _ if index + 1 == decades.len() => (area.plot.right(), Align2::RIGHT_CENTER),
                _ => (place, Align2::CENTER_CENTER),
            };
            let colour = if *x == 1.0 { palette.text } else { palette.text3 };
            paint::text(painter, pos2(anchor, y), align, words, font.clone(), colour);
        }
        if area.named {
            let at = pos2(area.plot.center().x, y + 19.0);
            let font = theme::CAPTION.regular();
            paint::text(painter, at, Align2::CENTER_CENTER, self.x_label, font, palette.text3);
        }
    }

    fn paint_noise(&self, ui: &Ui, area: &Area) {
        let Some(noise) = &self.noise else { return };
        let palette = Palette::of(ui);
        let painter = ui.painter();
        let (low, high) = (area.y_of(noise.from), area.y_of(noise.to));
        for part in [area.zero, area.plot] {
            let band = Rect::from_x_y_ranges(part.x_range(), high..=low);
            painter.rect_filled(band, 0.0, faded(palette.baseline, palette.noise_tint));
            paint::dashed_h(
                painter,
                part.x_range(),
                low,
                Stroke::new(1.0, palette.baseline),
                3.0,
                3.0,
            );
        }
        // Below the band, or above it where there is no room below.
        let below = low + 16.0 < area.plot.bottom() - 8.0;
        let (y, align) = if below {
            (low + 8.0, Align2::LEFT_TOP)
        } else {
            (high - 4.0, Align2::LEFT_BOTTOM)
        };
        let at = pos2(area.plot.left() + 16.0, y);
        let galley = paint::cut_to(
            ui,
            noise.words,
            theme::CAPTION.regular(),
            palette.baseline,
            area.plot.width() - 32.0,
        );
        paint::place(painter, at, align, galley);
    }

    fn paint_collapse(&self, ui: &Ui, area: &Area) {
        let Some((from, words)) = self.collapse else { return };
        let palette = Palette::of(ui);
        let painter = ui.painter();
        let x = area.track.x_of(from);
        let body = area.plot.with_min_x(x);
        paint::hatch(painter, body, 12.0, Stroke::new(1.0, faded(palette.broken, 0.22)));
        paint::dashed_v(
            painter,
            x,
            area.plot.y_range(),
            Stroke::new(2.0, palette.broken),
            6.0,
            4.0,
        );
        let style = TagStyle {
            fill: palette.inset,
            outline: Stroke::new(1.0, palette.broken),
            text: palette.broken,
            padding: 12.0,
        };
        if let Some(at) = self.collapse_tag(ui, area) {
            paint::tag(painter, at.min, Align2::LEFT_TOP, words, style);
        }
    }

    /// Where the words of the collapse stand: right of its line; at the edge they are moved in, over the line.
    fn collapse_tag(&self, ui: &Ui, area: &Area) -> Option<Rect> {
        let (from, words) = self.collapse?;
        let text = paint::line_of_text(ui, words, theme::CAPTION.semibold(), Palette::of(ui).broken).size();
        let size = vec2(text.x + 24.0, text.y + 8.0);
        let left = (area.track.x_of(from) + 8.0).min(area.plot.right() - 8.0 - size.x);
        Some(Rect::from_min_size(pos2(left, area.plot.top() + 38.0), size))
    }

    fn paint_points(&self, ui: &Ui, area: &Area, pointed: Option<u64>) {
        let palette = Palette::of(ui);
        let painter = ui.painter();
        let joined: Vec<Pos2> = self
            .points
            .iter()
            .filter(|point| point.joined && point.x > 0.0)
            .map(|point| area.at(point.x, point.y))
            .collect();
        if joined.len() > 1 {
            painter.add(Shape::line(joined, Stroke::new(2.0, palette.text2)));
        }
        for point in self.points {
            let at = area.at(point.x, point.y);
            if point.collapsed {
                let stroke = Stroke::new(2.0, palette.broken);
                painter.line_segment([at - vec2(3.5, 3.5), at + vec2(3.5, 3.5)], stroke);
                painter.line_segment([at - vec2(3.5, -3.5), at + vec2(3.5, -3.5)], stroke);
            } else if point.joined {
                painter.circle_filled(at, 3.5, palette.text);
            } else {
                // Two discs rather than a ring: discs come from the atlas, a ring is cut into triangles each time.
                painter.circle_filled(at, 3.75, palette.text3);
                painter.circle_filled(at, 2.25, palette.inset);
            }
            if Some(point.id) == self.selected || Some(point.id) == pointed {
                painter.circle_stroke(at, 8.0, Stroke::new(2.0, palette.text));
            }
        }
    }

    fn paint_current(&self, ui: &Ui, area: &Area) {
        let Some(current) = &self.current else { return };
        let palette = Palette::of(ui);
        let painter = ui.painter();
        let x = area.track.x_of(current.x);
        painter.vline(x, area.plot.y_range(), Stroke::new(2.0, palette.prefix_fill));
        let Some(y) = current.y else { return };
        let at = pos2(x, area.y_of(y));
        painter.circle(at, 11.0, palette.inset, Stroke::new(2.0, palette.prefix_fill));
        painter.circle_filled(at, 7.0, palette.prefix_fill);
        let style = TagStyle {
            fill: palette.prefix,
            outline: Stroke::NONE,
            text: palette.on_fill(),
            padding: 12.0,
        };
        let text = paint::line_of_text(ui, &current.tag, theme::CAPTION.semibold(), style.text).size();
        let size = vec2(text.x + 24.0, text.y + 8.0);
        // Lower left of the mark; on the other side where that would leave the plot.
        let mut place = at + vec2(-16.0 - size.x, 14.0);
        if place.x < area.zero.left() {
            place.x = at.x + 16.0;
        }
        if place.y + size.y > area.plot.bottom() - 4.0 {
            place.y = at.y - 14.0 - size.y;
        }
        // Words of the collapse that are there already stay readable.
        if let Some(taken) = self.collapse_tag(ui, area)
            && taken.expand(4.0).intersects(Rect::from_min_size(place, size))
        {
            place.x = taken.left() - 8.0 - size.x;
        }
        let box_ = Rect::from_min_size(place, size);
        painter.rect(
            box_,
            CornerRadius::same(theme::RADIUS_TAG),
            style.fill,
            style.outline,
            StrokeKind::Inside,
        );
        paint::text(
            painter,
            box_.center(),
            Align2::CENTER_CENTER,
            &current.tag,
            theme::CAPTION.semibold(),
            style.text,
        );
    }
}

fn tick(value: f64, top: f64) -> String {
    if top <= 1.0 {
        // A quarter of the top must be told from its neighbours, however small it is.
        let decimals = (2.0 - top.max(1e-9).log10().floor()) as usize;
        format!("{value:.decimals$}")
    } else if top < 8.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// The smallest round number that is at least `most`, for the top of an axis without a fixed one.
#[must_use]
pub fn round_top(most: f64) -> f64 {
    if !(most > 0.0 && most.is_finite()) {
        return 1.0;
    }
    let unit = 10_f64.powf(most.log10().floor());
    [1.0, 2.0, 4.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|step| step * unit)
        .find(|top| *top >= most * 0.999_999)
        .unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_has_a_strip_of_its_own_left_of_the_axis() {
        let area = Area::of(Rect::from_min_size(Pos2::ZERO, vec2(600.0, 300.0)), Axis::NORMS, 100.0);
        assert!(area.track.x_of(0.0) < area.zero.right());
        assert!(area.track.x_of(0.001) >= area.zero.right() + ZERO_GAP);
        assert!((area.track.x_of(100.0) - area.plot.right()).abs() < 0.01);
    }

    #[test]
    fn an_axis_without_a_fixed_top_ends_at_a_round_number() {
        for (most, top) in [
            (0.0, 1.0),
            (0.0031, 0.004),
            (0.7, 0.8),
            (2.5, 4.0),
            (19.0, 20.0),
            (36.0, 40.0),
            (61.0, 80.0),
            (100.0, 100.0),
            (101.0, 200.0),
        ] {
            assert!((round_top(most) - top).abs() < 1e-9, "{most}");
        }
    }

    #[test]
    fn quarters_of_a_small_top_are_told_apart() {
        for top in [1.0, 0.8, 0.04, 0.002] {
            let words: Vec<String> = (0..=4)
                .map(|quarter| tick(top * f64::from(quarter) / 4.0, top))
                .collect();
            assert!(words.windows(2).all(|pair| pair[0] != pair[1]), "{words:?}");
        }
        assert_eq!(tick(0.25, 1.0), "0.25");
    }
}
