//! The plot of a measure over magnitude: every run is a point, and the current prefix is marked on the curve.
//!
//! `egui_plot` draws the axes, the grid, the lines and the crosshair, and handles zoom. It has no logarithmic axis, so
//! it is given log10 of the magnitude. Painted with its transform are: the separate strip for magnitude 0, which shares
//! only the y axis; the regions and bands behind the lines; and the points, which are not clipped at the edge of the
//! plot.

use eframe::egui::{
    self, Align2, Context, CornerRadius, CursorIcon, EventFilter, Id, Key, Painter, PointerButton, Pos2, Rangef, Rect,
    Response, Role, Sense, Shape, Stroke, StrokeKind, Ui, UiBuilder, Vec2, WidgetInfo, pos2, vec2,
};
use egui_plot::{
    Corner, GridMark, Line, PlotBounds, PlotGeometry, PlotItem, PlotItemBase, PlotMemory, PlotPoint, PlotPoints,
    PlotTransform, PlotUi,
};

use super::axis::{Axis, RegionNames, Regions, Track, format_magnitude, paint_bands};
use super::magnitude::{MagnitudeChange, paint_region_names};
use super::paint::{self, TagStyle};
use super::slider::Scale as _;
use crate::theme::{self, Palette, faded};

/// Height of the strip above the plot with the names of the regions.
const STRIP: f32 = 24.0;
/// Width of the strip for magnitude 0, and its gap to the plot.
const ZERO: f32 = 40.0;
const ZERO_GAP: f32 = 8.0;
/// Space for tick labels at the left and below.
const LEFT: f32 = 40.0;
const BELOW: f32 = 26.0;
/// Space for the tick labels of a second axis.
const RIGHT: f32 = 36.0;
/// Additional space for the name of the x axis, if the plot is high enough.
const X_NAME: f32 = 20.0;
/// Below this height a plot is drawn compactly: lines, points and tick labels only.
const LOW: f32 = 190.0;
/// Space above the top value, so that a point there is not cut off.
const ABOVE: f32 = 12.0;
/// Maximum distance of the pointer from a point.
const POINT_DISTANCE: f32 = 12.0;
/// Maximum distance of the pointer from the magnitude cursor to drag it.
const CURSOR_DISTANCE: f32 = 6.0;
/// The least top of a y axis.
const MIN_TOP: f64 = 1e-9;
/// The smallest visible part of an axis, of the whole axis.
const MIN_VISIBLE: f64 = 1e-3;

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub id: u64,
    /// Magnitude; 0 is on its own strip.
    pub x: f64,
    pub y: f64,
    /// The output is a loop; drawn as a cross.
    pub collapsed: bool,
    /// Made with the current prefix settings except for the magnitude; connected by the line. Others are hollow.
    pub joined: bool,
}

/// The current prefix.
#[derive(Clone, Debug, PartialEq)]
pub struct Current {
    pub x: f64,
    /// `None` if there is no run at this magnitude; then a cursor is drawn without a mark.
    pub y: Option<f64>,
    /// `2.9× · chrF2 36.0`
    pub tag: String,
    /// Whether its cursor can be dragged.
    pub movable: bool,
}

/// The band in which two baselines differ from each other; values inside are no effect.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseBand<'a> {
    pub from: f64,
    pub to: f64,
    pub words: &'a str,
}

/// A second, thin series with its own axis on the right, with 0 at the top.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Second<'a> {
    /// Magnitude and value, ascending in the magnitude.
    pub points: &'a [(f64, f64)],
    /// Name and unit.
    pub label: &'a str,
}

impl Second<'_> {
    /// Returns the value at the bottom of its axis.
    fn end(&self) -> f64 {
        round_top(self.points.iter().map(|(_, value)| *value).fold(0.0, f64::max))
    }
}

/// The plot; see [`Plot::show`].
pub struct Plot<'a> {
    /// Accessible name.
    pub name: &'a str,
    pub axis: Axis,
    pub regions: Option<(Regions, RegionNames<'a>)>,
    /// Ascending in x.
    pub points: &'a [Point],
    /// Top of the y axis, above 0.
    pub top: f64,
    /// Label above the y axis.
    pub y_label: &'a str,
    pub x_label: &'a str,
    pub noise: Option<NoiseBand<'a>>,
    /// The magnitude from which outputs are loops, with its label.
    pub collapse: Option<(f64, &'a str)>,
    pub current: Option<Current>,
    pub second: Option<Second<'a>>,
    pub selected: Option<u64>,
    /// Hint while there are no points.
    pub empty: &'a str,
}

/// What the user did in this frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Touched {
    /// The point under the pointer or selected with the keys.
    pub pointed: Option<u64>,
    /// The point that was clicked or confirmed with Enter.
    pub opened: Option<u64>,
    /// New magnitude from dragging the cursor.
    pub moved: Option<MagnitudeChange>,
}

/// The visible part of a plot. Kept between frames for each combination of name, measure and axis, since a range of 0
/// to 1 means nothing on an axis of 0 to 100.
#[derive(Clone, Copy, Debug)]
pub struct View {
    id: Id,
    /// Unit of the magnitudes.
    unit: &'static str,
}

impl View {
    /// Returns the view for these values; see [`Plot`].
    #[must_use]
    pub fn of(name: &str, y_label: &str, axis: Axis) -> Self {
        Self {
            id: Id::unique(("plot", name, y_label, axis.unit)),
            unit: axis.unit,
        }
    }

    /// Returns the formatted magnitudes at the left and right end if the plot is zoomed.
    #[must_use]
    pub fn zoomed(self, ctx: &Context) -> Option<[String; 2]> {
        let memory = self.changed(ctx)?;
        let bounds = memory.bounds();
        Some([bounds.min()[0], bounds.max()[0]].map(|x| format!("{}{}", format_magnitude(10_f64.powf(x)), self.unit)))
    }

    fn changed(self, ctx: &Context) -> Option<PlotMemory> {
        PlotMemory::load(ctx, self.id).filter(|memory| !memory.auto_bounds.all())
    }

    /// Resets the zoom.
    pub fn reset(self, ctx: &Context) {
        if let Some(mut memory) = PlotMemory::load(ctx, self.id) {
            memory.auto_bounds = true.into();
            memory.store(ctx, self.id);
        }
    }
}

/// The layout of a plot.
#[derive(Clone, Copy)]
struct Parts {
    /// Whether there is room for the name of the axis.
    named: bool,
    strip: Rect,
    zero: Rect,
    plot: Rect,
}

impl Parts {
    /// `right` is the space for the tick labels of a second axis.
    fn of(rect: Rect, right: f32) -> Self {
        let x_name = if rect.height() < 240.0 { 0.0 } else { X_NAME };
        // A compact plot has no room for the names of regions and axes; the slider and the chips show them.
        let strip = if rect.height() < LOW { 0.0 } else { STRIP };
        let body = Rect::from_min_max(
            pos2(rect.left() + LEFT, rect.top() + strip),
            pos2(rect.right() - 8.0 - right, rect.bottom() - BELOW - x_name),
        );
        let zero = body.with_max_x(body.left() + ZERO);
        let plot = body.with_min_x(body.left() + ZERO + ZERO_GAP);
        Self {
            named: x_name > 0.0,
            strip: Rect::from_min_max(pos2(plot.left(), rect.top()), pos2(plot.right(), plot.top())),
            zero,
            plot,
        }
    }
}

/// A plot on the screen: its layout, and the visible part of its axes.
#[derive(Clone, Copy)]
pub(super) struct Area {
    parts: Parts,
    unit: &'static str,
    /// The whole axes: log10(x) from the first to the second, y from 0 to the top.
    ends: (f64, f64),
    top: f64,
    /// Maps log10(x) and y to the screen.
    transform: PlotTransform,
}

impl Area {
    /// Returns whether it is drawn compactly, without names of regions and of the y axis.
    fn is_low(&self) -> bool {
        self.parts.strip.height() <= 0.0
    }

    /// Returns the rectangle of the lines.
    pub(super) fn plot(&self) -> Rect {
        self.parts.plot
    }

    /// Returns the visible part of the x axis on the screen.
    pub(super) fn track(&self) -> Track {
        let ends = self.transform.bounds().range_x();
        Track {
            axis: Axis {
                least: 10_f64.powf(*ends.start()),
                most: 10_f64.powf(*ends.end()),
                unit: self.unit,
            },
            zero: self.parts.zero.center().x,
            x: self.parts.plot.x_range(),
        }
    }

    /// Returns the position of a point, which may be outside of the visible part; values beyond the whole axis are
    /// clamped to its end.
    pub(super) fn at(&self, x: f64, y: f64) -> Pos2 {
        let left = if x <= 0.0 {
            self.parts.zero.center().x
        } else {
            self.transform
                .position_from_point_x(x.log10().clamp(self.ends.0, self.ends.1))
        };
        pos2(left, self.transform.position_from_point_y(y.clamp(0.0, self.top)))
    }

    /// Returns whether a point at this position is visible.
    pub(super) fn shows(&self, at: Pos2) -> bool {
        self.parts.plot.expand(0.5).contains(at) || self.parts.zero.expand(0.5).contains(at)
    }

    /// Returns the visible part between two values of y, from top to bottom.
    fn rows(&self, from: f64, to: f64) -> Rangef {
        let y = |value| {
            let y = self.at(0.0, value).y;
            y.clamp(self.parts.plot.top(), self.parts.plot.bottom())
        };
        Rangef::new(y(to), y(from))
    }
}

/// The state of dragging the magnitude cursor.
#[derive(Clone, Copy, Default)]
struct CursorDrag {
    held: bool,
    near: bool,
    moved: Option<MagnitudeChange>,
}

/// The result of [`Plot::frame`]: the response, and what the user did.
pub(super) struct Frame {
    pub(super) area: Area,
    /// The response of the whole plot, which has the accessible name, the focus and the keys.
    pub(super) response: Response,
    pub(super) pointer: Option<Pos2>,
    pub(super) clicked: bool,
    pub(super) moved: Option<MagnitudeChange>,
}

impl Frame {
    /// Returns the nearest of `points` (position, radius and id) under the pointer.
    pub(super) fn pointed<T>(&self, points: impl Iterator<Item = (Pos2, f32, T)>) -> Option<T> {
        let pointer = self.pointer?;
        points
            .filter(|(at, _, _)| self.area.shows(*at))
            .map(|(at, before, id)| (at.distance(pointer), before, id))
            .filter(|(distance, _, _)| *distance <= POINT_DISTANCE)
            .min_by(|a, b| (a.0 - a.1).total_cmp(&(b.0 - b.1)))
            .map(|(_, _, id)| id)
    }

    /// Sets the accessible name, paints the focus ring, and shows the tooltip of the point under the pointer.
    pub(super) fn explain(&self, ui: &Ui, name: &str, value: String, pointed: Option<(Pos2, String)>) {
        let enabled = ui.is_enabled();
        self.response.widget_info(|| {
            let mut info = WidgetInfo::labeled(Role::Figure, enabled, name);
            info.current_text_value = Some(value.clone());
            info
        });
        paint::focus_ring(ui, &self.response, self.response.rect.shrink(2.0), theme::RADIUS_TAG);
        if let (Some((at, words)), true) = (pointed, self.pointer.is_some()) {
            ui.ctx().set_cursor_icon(CursorIcon::PointingHand);
            let words = paint::words(words, theme::CAPTION, Palette::of(ui).text);
            egui::Tooltip::always_open(
                ui.ctx().clone(),
                self.response.layer_id,
                self.response.id,
                Rect::from_center_size(at, Vec2::splat(8.0)),
            )
            .gap(8.0)
            .show(|ui| ui.label(words));
        }
    }
}

impl Plot<'_> {
    /// Draws the plot in a box of `size`; `describe` returns the text for a point, for tooltip and screen reader.
    pub fn show(&self, ui: &mut Ui, size: Vec2, describe: impl Fn(u64) -> String) -> Touched {
        let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
        self.show_in(ui, rect, describe).0
    }

    /// Draws the plot in `rect`.
    pub(super) fn show_in(&self, ui: &mut Ui, rect: Rect, describe: impl Fn(u64) -> String) -> (Touched, Area) {
        let joined = self.points.iter().filter(|point| point.joined);
        let stroke = Stroke::new(2.0, Palette::of(ui).text2);
        let line = self.line(joined.map(|point| (point.x, point.y)), stroke);
        let mut lines = Vec::new();
        if let Some(second) = &self.second {
            let (end, top) = (second.end(), self.top.max(MIN_TOP));
            let from_top = |(x, value): &(f64, f64)| (*x, top * (1.0 - value / end));
            let stroke = Stroke::new(1.0, Palette::of(ui).text3);
            lines.push(self.line(second.points.iter().map(from_top), stroke));
        }
        lines.push(line);
        let frame = self.frame(ui, rect, lines);
        let area = frame.area;
        let places = self.points.iter();
        let pointed = frame.pointed(places.map(|point| (area.at(point.x, point.y), 0.0, point.id)));
        let opened = pointed
            .filter(|_| frame.clicked)
            .or_else(|| self.point_by_key(ui, &frame.response));
        if ui.is_rect_visible(rect) {
            self.paint_points(ui, &area, pointed);
            self.paint_current(ui, &area);
            self.paint_collapse_tag(ui, &area, &self.places(&area));
            if self.points.is_empty() {
                paint::notice(ui, area.plot(), self.empty);
            }
        }
        let accessible_value = match pointed.or(self.selected) {
            Some(id) => describe(id),
            None if self.points.is_empty() => self.empty.to_owned(),
            None => self.points.len().to_string(),
        };
        let place_of = |id| {
            let point = self.points.iter().find(|point| point.id == id)?;
            Some((area.at(point.x, point.y), describe(id)))
        };
        frame.explain(ui, self.name, accessible_value, pointed.and_then(place_of));
        let touched = Touched {
            pointed,
            opened,
            moved: frame.moved,
        };
        (touched, area)
    }

    /// Returns a line through the points with a place on the logarithmic axis.
    pub(super) fn line<'l>(&self, points: impl Iterator<Item = (f64, f64)>, stroke: Stroke) -> Line<'l> {
        let (least, most) = self.ends();
        let place =
            |(x, y): (f64, f64)| PlotPoint::new(x.log10().clamp(least, most), y.clamp(0.0, self.top.max(MIN_TOP)));
        let points = points.filter(|(x, _)| *x > 0.0).map(place).collect();
        Line::new("", PlotPoints::Owned(points))
            .stroke(stroke)
            .allow_band(false)
            .allow_hover(false)
    }

    /// Draws axes, grid, regions, bands and `lines` in `rect`, and handles zoom and pan: pinch, Ctrl + wheel or a box
    /// with the right button zooms, dragging pans, a double click resets. A drag that starts on the magnitude cursor
    /// moves the cursor. The plain wheel scrolls the page.
    pub(super) fn frame(&self, ui: &mut Ui, rect: Rect, lines: Vec<Line<'_>>) -> Frame {
        let parts = Parts::of(rect, if self.second.is_some() { RIGHT } else { 0.0 });
        let view = View::of(self.name, self.y_label, self.axis);
        let id = view.id;
        let response = ui.interact(rect, id.with("figure"), Sense::click_and_drag());
        let whole = self.whole(parts.plot);
        let area = |transform| Area {
            parts,
            unit: self.axis.unit,
            ends: self.ends(),
            top: self.top.max(MIN_TOP),
            transform,
        };
        let before = match view.changed(ui.ctx()) {
            Some(memory) => PlotTransform::new(parts.plot, *memory.bounds(), false),
            None => PlotTransform::new(parts.plot, whole, false),
        };
        let drag = self.drag_cursor(ui, &response, id.with("line"), &area(before));

        let palette = Palette::of(ui);
        let enabled = ui.is_enabled();
        let value = |at: &PlotPoint, _: &PlotBounds| {
            let x = format_magnitude(10_f64.powf(at.x));
            let decimals = decimals(self.top) + 1;
            format!("{x}{} · {:.decimals$}", self.axis.unit, at.y.max(0.0))
        };
        let mark = |value| GridMark { value, step_size: 1.0 };
        let x_marks = |input: egui_plot::GridInput| {
            let visible = Axis {
                least: 10_f64.powf(input.bounds.0),
                most: 10_f64.powf(input.bounds.1),
                unit: "",
            };
            visible.ticks().iter().map(|(x, _)| mark(x.log10())).collect()
        };
        let y_marks = |input: egui_plot::GridInput| {
            let ticks = self.y_ticks(input.bounds, parts.plot.height());
            ticks.into_iter().map(mark).collect()
        };
        let mut inner = ui.new_child(UiBuilder::new().id_salt(id).max_rect(parts.plot));
        let shown = egui_plot::Plot::new(id)
            .id(id)
            .width(parts.plot.width())
            .height(parts.plot.height())
            .sense(Sense::CLICK | Sense::DRAG)
            .show_background(false)
            .show_axes(false)
            .set_margin_fraction(Vec2::ZERO)
            .include_x(whole.min()[0])
            .include_x(whole.max()[0])
            .include_y(whole.min()[1])
            .include_y(whole.max()[1])
            // `egui_plot` cannot limit panning and zooming to the ends of the axes: see `zoom_and_pan`.
            .allow_drag(false)
            .allow_zoom(false)
            .allow_scroll(false)
            .allow_axis_zoom_drag(false)
            .show_crosshair(!drag.held)
            .cursor_color(palette.stroke)
            .coordinates_formatter(Corner::RightBottom, egui_plot::CoordinatesFormatter::new(value))
            .x_grid_spacer(x_marks)
            .y_grid_spacer(y_marks)
            .grid_spacing(Rangef::new(0.0, 0.1))
            .grid_color(palette.line)
            .grid_fade(0.0)
            .show(&mut inner, |plot| {
                plot.add(Background::new(|ui: &Ui, transform: &PlotTransform| {
                    self.paint_ground(ui, &area(*transform));
                }));
                for line in lines {
                    plot.line(line);
                }
                zoom_and_pan(plot, whole, enabled && !drag.held);
            });
        let area = area(shown.transform);
        if ui.is_rect_visible(rect) {
            self.paint_around(ui, &area);
        }
        if drag.near {
            ui.ctx().set_cursor_icon(CursorIcon::ResizeHorizontal);
        } else if shown.response.dragged_by(PointerButton::Primary) {
            ui.ctx().set_cursor_icon(CursorIcon::Grabbing);
        }
        Frame {
            area,
            pointer: shown.response.hover_pos().or(response.hover_pos()),
            clicked: shown.response.clicked() || response.clicked(),
            response,
            moved: drag.moved,
        }
    }

    /// Returns the bounds of the whole plot: all of the x axis, and y from 0 to a little above the top.
    fn whole(&self, plot: Rect) -> PlotBounds {
        let top = self.top.max(MIN_TOP);
        let height = f64::from(plot.height().max(2.0 * ABOVE));
        let most = top * height / (height - f64::from(ABOVE));
        let (first, last) = self.ends();
        PlotBounds::from_min_max([first, 0.0], [last, most])
    }

    /// Returns log10 of the magnitudes at both ends of the axis.
    fn ends(&self) -> (f64, f64) {
        (self.axis.least.log10(), self.axis.most.log10())
    }

    /// Returns whether the pointer is over the magnitude cursor or drags it, and the new magnitude. The drag is stored
    /// in `memory` from the press on, since the cursor moves under the pointer.
    fn drag_cursor(&self, ui: &Ui, response: &Response, memory: Id, area: &Area) -> CursorDrag {
        let Some(current) = self
            .current
            .as_ref()
            .filter(|current| current.movable && ui.is_enabled())
        else {
            return CursorDrag::default();
        };
        let line = pos2(area.at(current.x, 0.0).x, area.plot().center().y);
        let near = |at: Pos2| {
            area.shows(line) && (at.x - line.x).abs() <= CURSOR_DISTANCE && area.plot().y_range().contains(at.y)
        };
        let (pressed, down, at, origin, dragging) = ui.input(|input| {
            let pointer = &input.pointer;
            let (pressed, down) = (pointer.primary_pressed(), pointer.primary_down());
            let (at, origin) = (pointer.latest_pos(), pointer.press_origin());
            (pressed, down, at, origin, pointer.is_decidedly_dragging())
        });
        // The pointer may have moved between the press and this frame.
        let from = if pressed { origin } else { at };
        let near = response.contains_pointer() && from.is_some_and(near);
        let was_held = ui.data(|data| data.get_temp(memory)) == Some(true);
        let held = down && if pressed { near } else { was_held };
        ui.data_mut(|data| data.insert_temp(memory, held));
        let to = at.filter(|_| held && dragging);
        let value = to.map(|to| area.track().value_at(to.x).min(self.axis.most));
        CursorDrag {
            held,
            near: held || (near && !down),
            moved: value.filter(|value| *value != current.x).map(MagnitudeChange::Set),
        }
    }

    /// Returns the neighbour of the selected point that the arrow keys select.
    fn point_by_key(&self, ui: &Ui, response: &Response) -> Option<u64> {
        if !response.has_focus() {
            return None;
        }
        let filter = EventFilter {
            horizontal_arrows: true,
            ..EventFilter::default()
        };
        ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, filter));
        let step =
            ui.input(|input| input.num_presses(Key::ArrowRight) as isize - input.num_presses(Key::ArrowLeft) as isize);
        if step == 0 {
            return None;
        }
        let last = self.points.len().checked_sub(1)?;
        let next = match self.points.iter().position(|point| Some(point.id) == self.selected) {
            Some(at) => at.saturating_add_signed(step).min(last),
            None if step > 0 => 0,
            None => last,
        };
        self.points.get(next).map(|point| point.id)
    }

    /// Returns the values of the horizontal grid lines between these ends of y.
    fn y_ticks(&self, (low, high): (f64, f64), height: f32) -> Vec<f64> {
        let parts = rows(height);
        let step = if low == 0.0 && high >= self.top {
            self.top / parts
        } else {
            round_step((high - low) / parts)
        };
        let first = (low / step).ceil();
        (0..=8)
            .map(|index| (first + f64::from(index)) * step)
            .take_while(|value| *value <= high.min(self.top * (1.0 + 1e-9)))
            .collect()
    }

    /// Paints everything behind the lines.
    fn paint_ground(&self, ui: &Ui, area: &Area) {
        let palette = Palette::of(ui);
        let painter = ui.painter();
        painter.rect_filled(area.plot(), 0.0, palette.inset);
        if let Some((regions, _)) = &self.regions {
            paint_bands(painter, &area.track(), area.plot().y_range(), regions, palette);
        }
        if let Some(noise) = &self.noise {
            self.paint_noise(painter, area.plot().x_range(), area, noise, palette);
            let rows = area.rows(noise.from, noise.to);
            // Below the band, or above it if there is no room below.
            let below = rows.max + 16.0 < area.plot().bottom() - 8.0;
            let (y, align) = if below {
                (rows.max + 8.0, Align2::LEFT_TOP)
            } else {
                (rows.min - 4.0, Align2::LEFT_BOTTOM)
            };
            if !area.is_low() {
                let width = area.plot().width() - 32.0;
                let galley = paint::cut_to(ui, noise.words, theme::CAPTION.regular(), palette.baseline, width);
                paint::place(painter, pos2(area.plot().left() + 16.0, y), align, galley);
            }
        }
        if let Some((from, _)) = self.collapse {
            let line = area.at(from, 0.0).x;
            let body = area.plot().with_min_x(line.max(area.plot().left()));
            if body.is_positive() {
                paint::hatch(painter, body, 12.0, Stroke::new(1.0, faded(palette.broken, 0.22)));
                let stroke = Stroke::new(2.0, palette.broken);
                paint::dashed_v(painter, line, area.plot().y_range(), stroke, 6.0, 4.0);
            }
        }
    }

    fn paint_noise(&self, painter: &Painter, x: Rangef, area: &Area, noise: &NoiseBand<'_>, palette: &Palette) {
        let rows = area.rows(noise.from, noise.to);
        let tint = faded(palette.baseline, palette.noise_tint);
        painter.rect_filled(Rect::from_x_y_ranges(x, rows), 0.0, tint);
        paint::dashed_h(painter, x, rows.max, Stroke::new(1.0, palette.baseline), 3.0, 3.0);
    }

    /// Paints everything around the lines: the names of the regions, the strip for 0, the tick labels of both axes.
    fn paint_around(&self, ui: &Ui, area: &Area) {
        let palette = Palette::of(ui);
        let painter = ui.painter();
        let Parts {
            named,
            strip,
            zero,
            plot,
        } = area.parts;
        let track = area.track();
        if let Some((regions, names)) = &self.regions {
            paint_bands(painter, &track, strip.y_range(), regions, palette);
            let value = self.current.as_ref().map_or(0.0, |current| current.x);
            if !area.is_low() {
                paint_region_names(ui, &track, strip.center().y, regions, names, value);
            }
        }
        painter.rect_filled(zero, 0.0, palette.inset);
        let font = theme::CAPTION.mono();
        let at = pos2(zero.left() - 2.0, strip.center().y);
        let label_font = theme::CAPTION.regular();
        if !area.is_low() {
            paint::text(
                painter,
                at,
                Align2::LEFT_CENTER,
                self.y_label,
                label_font,
                palette.text3,
            );
        }
        let ends = area.transform.bounds().range_y();
        let ticks = self.y_ticks((*ends.start(), *ends.end()), plot.height());
        let decimals = fewest_decimals(&ticks);
        for value in ticks {
            let at = area.at(0.0, value);
            painter.hline(zero.x_range(), at.y, Stroke::new(1.0, palette.line));
            let at = pos2(zero.left() - 8.0, at.y);
            let words = format!("{value:.decimals$}");
            paint::text(painter, at, Align2::RIGHT_CENTER, &words, font.clone(), palette.text3);
        }
        if let Some(noise) = &self.noise {
            self.paint_noise(painter, zero.x_range(), area, noise, palette);
        }
        let y = plot.bottom() + 15.0;
        let place = pos2(zero.center().x, y);
        paint::text(painter, place, Align2::CENTER_CENTER, "0", font.clone(), palette.text3);
        for (x, words) in track.axis.ticks() {
            let place = track.x_of(x);
            let (anchor, align) = if place < plot.left() + 12.0 {
                (plot.left(), Align2::LEFT_CENTER)
            } else if place > plot.right() - 12.0 {
                (plot.right(), Align2::RIGHT_CENTER)
            } else {
                (place, Align2::CENTER_CENTER)
            };
            let colour = if x == 1.0 { palette.text } else { palette.text3 };
            paint::text(painter, pos2(anchor, y), align, &words, font.clone(), colour);
        }
        if named {
            let at = pos2(plot.center().x, y + 19.0);
            let font = theme::CAPTION.regular();
            paint::text(painter, at, Align2::CENTER_CENTER, self.x_label, font, palette.text3);
        }
        if let Some(second) = &self.second {
            self.paint_second_axis(ui, area, second);
        }
    }

    /// Paints the label of the collapse, over the line of the magnitude, where it covers none of `points`.
    pub(super) fn paint_collapse_tag(&self, ui: &Ui, area: &Area, points: &[Pos2]) {
        let palette = Palette::of(ui);
        if let (Some((_, words)), Some(tag)) = (self.collapse, self.collapse_tag(ui, area, points)) {
            let style = TagStyle {
                fill: palette.inset,
                outline: Stroke::new(1.0, palette.broken),
                text: palette.broken,
                padding: 12.0,
            };
            paint::tag(ui.painter(), tag.min, Align2::LEFT_TOP, words, style);
        }
    }

    /// Paints the tick labels at both ends of the second axis, and its name.
    fn paint_second_axis(&self, ui: &Ui, area: &Area, second: &Second<'_>) {
        let palette = Palette::of(ui);
        let (end, plot) = (second.end(), area.plot());
        let decimals = fewest_decimals(&[end / 2.0, end]);
        for (value, share) in [(0.0, 1.0), (end / 2.0, 0.5), (end, 0.0)] {
            let y = area.at(0.0, self.top.max(MIN_TOP) * share).y;
            if !plot.y_range().expand(0.5).contains(y) {
                continue;
            }
            let words = if value == 0.0 {
                "0".to_owned()
            } else {
                format!("{value:.decimals$}")
            };
            let at = pos2(plot.right() + 6.0, y);
            paint::text(
                ui.painter(),
                at,
                Align2::LEFT_CENTER,
                &words,
                theme::CAPTION.mono(),
                palette.text3,
            );
        }
        // In the line of the x axis's name, or else between its last two tick labels, if there is room.
        let galley = paint::line_of_text(ui, second.label, theme::CAPTION.regular(), palette.text3);
        let (line, right) = (plot.bottom() + 15.0, plot.right() - 34.0);
        let at = match area.parts.named {
            true => pos2(plot.right() + RIGHT, line + 19.0),
            false => pos2(right, line),
        };
        let place = Align2::RIGHT_CENTER.anchor_size(at, galley.size());
        let track = area.track();
        let mut ticks = track.axis.ticks().into_iter().map(|(x, _)| track.x_of(x));
        if area.parts.named || !ticks.any(|x| place.expand(18.0).x_range().contains(x) && x < right) {
            paint::place(ui.painter(), at, Align2::RIGHT_CENTER, galley);
        }
    }

    /// Returns the rectangle of the collapse label: right of its line, or moved inwards at the edge. `None` if there is no place for it that
    /// covers no point; the line stays, and the verdict says the magnitude.
    fn collapse_tag(&self, ui: &Ui, area: &Area, points: &[Pos2]) -> Option<Rect> {
        let (from, words) = self.collapse?;
        let (plot, line) = (area.plot(), area.at(from, 0.0).x);
        if line > plot.right() {
            return None;
        }
        let text = paint::line_of_text(ui, words, theme::CAPTION.semibold(), Palette::of(ui).broken).size();
        let size = vec2(text.x + 24.0, text.y + 8.0);
        let left = (line.max(plot.left()) + 8.0).min(plot.right() - 8.0 - size.x);
        let top = plot.top() + if area.is_low() { 4.0 } else { 38.0 };
        column_for_tag(plot, points, pos2(left, top), size)
    }

    /// Returns the positions of the points.
    fn places(&self, area: &Area) -> Vec<Pos2> {
        let points = self.points.iter();
        points.map(|point| area.at(point.x, point.y)).collect()
    }

    fn paint_points(&self, ui: &Ui, area: &Area, pointed: Option<u64>) {
        let palette = Palette::of(ui);
        let painter = ui.painter();
        for point in self.points {
            let at = area.at(point.x, point.y);
            if !area.shows(at) {
                continue;
            }
            if point.collapsed {
                paint_cross(painter, at, palette);
            } else if point.joined {
                painter.circle_filled(at, 3.5, palette.text);
            } else {
                // Two discs instead of a ring: discs come from the atlas, while a ring is tessellated each time.
                painter.circle_filled(at, 3.75, palette.text3);
                painter.circle_filled(at, 2.25, palette.inset);
            }
            if Some(point.id) == self.selected || Some(point.id) == pointed {
                painter.circle_stroke(at, 8.0, Stroke::new(2.0, palette.text));
            }
        }
    }

    /// Paints the magnitude cursor; returns whether it is visible.
    pub(super) fn paint_cursor(&self, ui: &Ui, area: &Area) -> bool {
        let Some(x) = self.current.as_ref().map(|current| area.at(current.x, 0.0).x) else {
            return false;
        };
        let shown = area.shows(pos2(x, area.plot().center().y));
        if shown {
            let stroke = Stroke::new(2.0, Palette::of(ui).prefix_fill);
            ui.painter().vline(x, area.plot().y_range(), stroke);
        }
        shown
    }

    fn paint_current(&self, ui: &Ui, area: &Area) {
        let (true, Some(current)) = (self.paint_cursor(ui, area), &self.current) else {
            return;
        };
        let palette = Palette::of(ui);
        let painter = ui.painter();
        let Some(at) = current.y.map(|y| area.at(current.x, y)) else {
            return;
        };
        if !area.shows(at) {
            return;
        }
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
        let within = Rect::from_min_max(area.parts.zero.left_top(), area.plot().right_bottom()).shrink(2.0);
        let points = self.places(area);
        let collapse = self.collapse_tag(ui, area, &points);
        // Without a place for it, the chip of the measure shows the value.
        let Some(box_) = place_for_tag(within, collapse, &points, at, size) else {
            return;
        };
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

/// Returns the first place for a tag of this size at or below `at`, within `plot`, that covers none of the points.
fn column_for_tag(plot: Rect, points: &[Pos2], at: Pos2, size: Vec2) -> Option<Rect> {
    let mut places = (0..12).map(|step| Rect::from_min_size(at + vec2(0.0, 12.0 * step as f32), size));
    places.find(|tag| tag.bottom() <= plot.bottom() && !covers(*tag, points))
}

/// Returns a place for the tag of the mark at `at`, preferably at its lower left: inside `within`, not over `taken` or one of the points.
/// `None` if there is none.
fn place_for_tag(within: Rect, taken: Option<Rect>, points: &[Pos2], at: Pos2, size: Vec2) -> Option<Rect> {
    let is_free = |tag: &Rect| {
        within.contains_rect(*tag)
            && !taken.is_some_and(|taken| taken.expand(4.0).intersects(*tag))
            && !covers(*tag, points)
    };
    let (left, right) = (at.x - 16.0 - size.x, at.x + 16.0);
    let rows = [
        14.0,
        -14.0 - size.y,
        -size.y / 2.0,
        34.0,
        -34.0 - size.y,
        58.0,
        -58.0 - size.y,
    ];
    let places = [0.0, 40.0, 80.0, 140.0, 220.0].into_iter().flat_map(|step| {
        let columns = [left - step, right + step];
        rows.into_iter().flat_map(move |y| columns.map(|x| pos2(x, at.y + y)))
    });
    places.map(|place| Rect::from_min_size(place, size)).find(is_free)
}

/// Returns whether a tag covers one of the points or the edge of its disc.
fn covers(tag: Rect, points: &[Pos2]) -> bool {
    points.iter().any(|point| tag.expand(5.0).contains(*point))
}

/// Paints the mark of an output that is a loop.
pub(super) fn paint_cross(painter: &Painter, at: Pos2, palette: &Palette) {
    let stroke = Stroke::new(2.0, palette.broken);
    painter.line_segment([at - vec2(3.5, 3.5), at + vec2(3.5, 3.5)], stroke);
    painter.line_segment([at - vec2(3.5, -3.5), at + vec2(3.5, -3.5)], stroke);
}

/// Zooms and pans with the pointer, within `whole`.
fn zoom_and_pan(plot: &mut PlotUi<'_>, whole: PlotBounds, enabled: bool) {
    let before = plot.plot_bounds();
    let all = plot.auto_bounds().all();
    let mut bounds = if all { whole } else { before };
    let response = plot.response();
    if enabled && response.dragged_by(PointerButton::Primary) {
        let [x, y] = plot.transform().dvalue_dpos();
        let delta = response.drag_delta();
        bounds.translate((-f64::from(delta.x) * x, -f64::from(delta.y) * y));
    }
    let factor = plot.ctx().input(|input| input.zoom_delta_2d());
    if enabled
        && response.contains_pointer()
        && factor != Vec2::splat(1.0)
        && let Some(pointer) = response.hover_pos()
    {
        bounds.zoom(factor, plot.plot_from_screen(pointer));
    }
    let bounds = within(bounds, whole);
    if bounds == whole {
        if !all {
            plot.set_auto_bounds(true);
        }
    } else if all || bounds != before {
        plot.set_plot_bounds(bounds);
    }
}

/// Returns `bounds` moved into `whole`, at most as large as it and at least a thousandth of it.
fn within(bounds: PlotBounds, whole: PlotBounds) -> PlotBounds {
    let (mut min, mut max) = (whole.min(), whole.max());
    for axis in 0..2 {
        let (low, high) = (min[axis], max[axis]);
        let all = high - low;
        let (from, to) = (bounds.min()[axis], bounds.max()[axis]);
        let size = to - from;
        if size.is_finite() && size < all {
            let size = size.max(all * MIN_VISIBLE);
            min[axis] = ((from + to - size) / 2.0).clamp(low, high - size);
            max[axis] = min[axis] + size;
        }
    }
    PlotBounds::from_min_max(min, max)
}

/// A plot item that paints in the background: instead of returning shapes it paints when `egui_plot` asks for them,
/// which is before the grid and the lines are painted.
struct Background<F> {
    base: PlotItemBase,
    paint: F,
}

impl<F: Fn(&Ui, &PlotTransform)> Background<F> {
    fn new(paint: F) -> Self {
        Self {
            base: PlotItemBase::new(String::new()),
            paint,
        }
    }
}

impl<F: Fn(&Ui, &PlotTransform)> PlotItem for Background<F> {
    fn shapes(&self, ui: &Ui, transform: &PlotTransform, _: &mut Vec<Shape>) {
        (self.paint)(ui, transform);
    }

    fn initialize(&mut self, _: std::ops::RangeInclusive<f64>) {}

    fn color(&self) -> egui::Color32 {
        egui::Color32::TRANSPARENT
    }

    fn geometry(&self) -> PlotGeometry<'_> {
        PlotGeometry::None
    }

    fn bounds(&self) -> PlotBounds {
        PlotBounds::NOTHING
    }

    fn base(&self) -> &PlotItemBase {
        &self.base
    }

    fn base_mut(&mut self) -> &mut PlotItemBase {
        &mut self.base
    }
}

/// Returns the number of parts that the y axis is divided into.
fn rows(height: f32) -> f64 {
    if height < 140.0 { 2.0 } else { 4.0 }
}

/// Returns the number of decimals of tick labels on a y axis of height `range`.
fn decimals(range: f64) -> usize {
    match range {
        8.0.. => 0,
        range if range > 1.0 => 1,
        // Neighbouring quarters of the range must have different labels, however small it is.
        range => (2.0 - range.max(MIN_TOP).log10().floor()) as usize,
    }
}

/// Returns the fewest decimals that write all of these figures exactly, so that none ends in a needless 0.
fn fewest_decimals(values: &[f64]) -> usize {
    let most = values.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    let is_exact = |decimals: &i32| {
        let unit = 10_f64.powi(*decimals);
        let exact = |value: &f64| ((value * unit).round() / unit - value).abs() <= most * 1e-6;
        values.iter().all(exact)
    };
    (0..12).find(is_exact).unwrap_or(12) as usize
}

/// Returns the smallest of 1, 2 and 5 times a power of ten that is at least `step`.
fn round_step(step: f64) -> f64 {
    let unit = 10_f64.powf(step.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|times| times * unit);
    steps.into_iter().find(|round| *round >= step).unwrap_or(step)
}

/// Returns the smallest round number that is at least `most`, for the top of an axis without a fixed one.
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

    const PLOT: Plot<'static> = Plot {
        name: "plot",
        axis: Axis::NORMS,
        regions: None,
        points: &[],
        top: 100.0,
        y_label: "chrF2",
        x_label: "",
        noise: None,
        collapse: None,
        current: None,
        second: None,
        selected: None,
        empty: "",
    };

    fn area(bounds: Option<PlotBounds>) -> Area {
        let parts = Parts::of(Rect::from_min_size(Pos2::ZERO, vec2(600.0, 300.0)), 0.0);
        let bounds = bounds.unwrap_or_else(|| PLOT.whole(parts.plot));
        Area {
            parts,
            unit: PLOT.axis.unit,
            ends: PLOT.ends(),
            top: PLOT.top,
            transform: PlotTransform::new(parts.plot, bounds, false),
        }
    }

    #[test]
    fn zero_has_a_strip_of_its_own_left_of_the_axis() {
        let area = area(None);
        assert!(area.at(0.0, 0.0).x < area.parts.zero.right());
        assert!(area.at(0.001, 0.0).x >= area.parts.zero.right() + ZERO_GAP);
        assert!((area.at(100.0, 0.0).x - area.plot().right()).abs() < 0.01);
        assert!((area.at(1.0, 100.0).y - area.plot().top() - ABOVE).abs() < 0.01);
    }

    #[test]
    fn zero_stays_where_it_is_when_the_plot_is_zoomed_and_shares_the_axis_of_y() {
        let (all, part) = (
            area(None),
            area(Some(PlotBounds::from_min_max([-1.0, 40.0], [1.0, 60.0]))),
        );
        assert_eq!(all.at(0.0, 50.0).x, part.at(0.0, 50.0).x);
        assert_eq!(part.at(0.0, 50.0).y, part.at(1.0, 50.0).y);
        assert!(part.shows(part.at(0.0, 50.0)) && !part.shows(part.at(0.0, 70.0)));
        assert!(!part.shows(part.at(0.01, 50.0)), "left of what is visible");
        let track = part.track();
        assert!((track.axis.least - 0.1).abs() < 1e-9 && (track.axis.most - 10.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_visible_stays_within_the_axes() {
        let whole = PLOT.whole(area(None).plot());
        let bounds = |min, max| within(PlotBounds::from_min_max(min, max), whole);
        assert_eq!(bounds([-9.0, -100.0], [9.0, 300.0]), whole);
        let moved = bounds([-4.0, 10.0], [-2.0, 20.0]);
        assert_eq!((moved.range_x(), moved.range_y()), (-3.0..=-1.0, 10.0..=20.0));
        let smallest = bounds([0.0, 10.0], [1e-12, 20.0]);
        assert!((smallest.width() - 5.0 * MIN_VISIBLE).abs() < 1e-9, "{smallest:?}");
        assert_eq!(bounds([f64::NAN; 2], [f64::NAN; 2]), whole);
    }

    #[test]
    fn a_zoomed_axis_has_round_figures() {
        assert_eq!(PLOT.y_ticks((0.0, 110.0), 300.0), [0.0, 25.0, 50.0, 75.0, 100.0]);
        assert_eq!(PLOT.y_ticks((0.0, 110.0), 100.0), [0.0, 50.0, 100.0]);
        assert_eq!(PLOT.y_ticks((31.0, 67.0), 300.0), [40.0, 50.0, 60.0]);
    }

    #[test]
    fn quarters_of_a_small_maximum_have_different_labels() {
        for top in [1.0, 0.8, 0.04, 0.002] {
            let decimals = decimals(top);
            let quarters = (0..=4).map(|quarter| format!("{:.decimals$}", top * f64::from(quarter) / 4.0));
            let words: Vec<String> = quarters.collect();
            assert!(words.windows(2).all(|pair| pair[0] != pair[1]), "{words:?}");
        }
        assert_eq!(decimals(1.0), 2);
    }

    #[test]
    fn figures_of_an_axis_have_no_needless_zeros() {
        for (values, decimals) in [
            (&[0.01, 0.02][..], 2),
            (&[0.0, 0.25, 0.5, 0.75, 1.0], 2),
            (&[0.0, 25.0, 50.0], 0),
            (&[0.2, 0.4], 1),
            (&[0.0005, 0.001], 4),
            (&[0.1 + 0.2, 0.6], 1),
            (&[], 0),
        ] {
            assert_eq!(fewest_decimals(values), decimals, "{values:?}");
        }
    }

    #[test]
    fn a_tag_covers_no_point_however_crowded_the_plot_is() {
        let within = Rect::from_min_size(Pos2::ZERO, vec2(600.0, 300.0));
        let size = vec2(130.0, 24.0);
        let mut state = 1_u64;
        let mut random = |most: f32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1_u64 << 24) as f32 * most
        };
        let mut found = [0; 2];
        for count in (0..400).step_by(4) {
            let mut place = || pos2(random(600.0), random(300.0));
            let points: Vec<Pos2> = (0..count).map(|_| place()).collect();
            let at = place();
            let collapse = column_for_tag(within, &points, pos2(400.0, 38.0), size);
            let tag = place_for_tag(within, collapse, &points, at, size);
            for (number, tag) in [collapse, tag].into_iter().enumerate() {
                let Some(tag) = tag else { continue };
                found[number] += 1;
                assert!(within.contains_rect(tag));
                let nearest = points
                    .iter()
                    .map(|point| tag.distance_to_pos(*point))
                    .fold(f32::MAX, f32::min);
                assert!(nearest > 0.0, "{count} points");
            }
            if let (Some(a), Some(b)) = (collapse, tag) {
                assert!(!a.intersects(b));
            }
        }
        assert!(found.iter().all(|found| (10..100).contains(found)), "{found:?}");
        // Points a few pixels apart leave no place.
        let crowd: Vec<Pos2> = (0..60 * 30)
            .map(|at| pos2((at % 60 * 10) as f32, (at / 60 * 10) as f32))
            .collect();
        assert_eq!(column_for_tag(within, &crowd, pos2(400.0, 38.0), size), None);
        assert_eq!(place_for_tag(within, None, &crowd, pos2(300.0, 150.0), size), None);
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
}
