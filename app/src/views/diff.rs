//! Two texts side by side with marked differences, scrolled together.
//!
//! Texts are split into paragraphs; only visible ones are laid out, and heights are cached once measured and estimated
//! until then. Galleys are not cached, since they point into the font atlas, which is cleared when it is full. The
//! differences are passed in as byte ranges.

use std::ops::Range;
use std::sync::Arc;

use eframe::egui::text::{CCursor, LayoutJob, TextFormat};
use eframe::egui::text_selection::LabelSelectionState;
use eframe::egui::{
    self, Align, Color32, CornerRadius, Galley, Id, Pos2, Rangef, Rect, Role, ScrollArea, Sense, Stroke, Ui, Vec2,
    WidgetInfo, pos2, vec2,
};

use super::kl::{self, Heat, Touched};
use super::paint;
use crate::theme::{self, Palette, Type, faded};

/// One of the two panes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiffSide {
    /// The baseline, on the left: marks are removals.
    Left,
    /// The prefixed text, on the right: marks are additions.
    Right,
}

/// The content of one pane.
#[derive(Clone, Debug)]
pub struct Content<'a> {
    pub text: &'a str,
    /// Byte ranges of `text` that differ from the other pane, ascending and disjoint.
    pub marks: &'a [Range<usize>],
    /// Tokens to colour by KL, in the order of the text; marks are then not drawn.
    pub heats: &'a [Heat],
    /// The first difference: a byte of `text`, and the label of the flag there.
    pub first_difference: Option<(usize, &'a str)>,
    /// The current difference, as bytes of `text`; empty if something is in the other text only.
    pub current: Option<Range<usize>>,
    /// Whether text is still arriving; draws a caret at the end.
    pub streaming: bool,
    /// 1 for a text that matches the controls, less for a stale one.
    pub opacity: f32,
    /// The accessible name of the text.
    pub name: &'a str,
    /// The accessible description.
    pub description: &'a str,
}

/// Maximum number of characters that are laid out in one frame only to measure their height.
const MEASURED_A_FRAME: usize = 3000;
/// Space around a text, within its pane.
pub const MARGIN: Vec2 = vec2(16.0, 14.0);
/// Height of the flag at the first difference.
const FLAG: f32 = 15.0;
/// Height of letters from the highest ascender to the lowest descender, relative to the font size.
const LETTERS: f32 = 1.16;

/// A part of the text up to a line end.
#[derive(Clone, Debug)]
struct Paragraph {
    /// Without its line end.
    range: Range<usize>,
    /// Hash of its bytes, to recognise it in the next text.
    hash: u64,
    /// Estimated width in ems.
    ems: f32,
    /// Height after layout at the current width.
    height: Option<f32>,
}

/// What is kept of one pane between frames.
#[derive(Clone, Debug, Default)]
struct Memory {
    hash: u64,
    width: f32,
    kind: Option<Type>,
    paragraphs: Vec<Paragraph>,
    /// Total height in the last frame.
    height: f32,
    /// Top of the row with the first difference, from the top of the text.
    first_difference: Option<f32>,
    /// Top of the row with the current difference.
    target: Option<f32>,
    /// Scroll offset at the end of its own text, and whether more of it is arriving.
    end: f32,
    streaming: bool,
    /// Height of the other pane's text: both scroll equally far, so that the shorter one does not lag behind.
    least: f32,
}

/// Two panes that scroll together. Must be kept between frames.
#[derive(Clone, Debug, Default)]
pub struct DiffPanes {
    left: Memory,
    right: Memory,
    /// Scroll offset of both panes.
    offset: f32,
    /// Scrolls automatically until the user scrolls: follows the arriving text as far as the first difference stays
    /// visible.
    follow: bool,
    /// Keeps arriving text visible even if the first difference moves out of view.
    newest: bool,
    /// Keeps the current difference visible until the user scrolls.
    stepping: bool,
}

impl DiffPanes {
    /// Scrolls both panes to the top and follows arriving text.
    pub fn rewind(&mut self) {
        self.offset = 0.0;
        self.follow = true;
        self.stepping = false;
        for pane in [&mut self.left, &mut self.right] {
            pane.height = 0.0;
            pane.first_difference = None;
            pane.target = None;
            pane.streaming = false;
        }
    }

    /// Keeps the difference of [`Content::current`] visible from now on.
    pub fn step(&mut self) {
        self.stepping = true;
        self.follow = false;
        for pane in [&mut self.left, &mut self.right] {
            pane.target = None;
        }
    }

    /// Returns the scroll offset that makes the current difference visible; `None` if it is visible or unknown.
    fn stepped(&self, kind: Type, view: f32) -> Option<f32> {
        let targets = [self.left.target, self.right.target];
        let mut known = targets.iter().flatten().copied();
        let first = known.next()?;
        let (low, high) = known.fold((first, first), |(low, high), y| (low.min(y), high.max(y)));
        let in_sight = |y: f32| y + MARGIN.y >= self.offset && y + MARGIN.y + kind.line <= self.offset + view;
        if in_sight(low) && in_sight(high) {
            return None;
        }
        // Keeps one row before it visible; if the texts have drifted too far apart for both, the right one takes
        // precedence.
        let top = if high + 2.0 * kind.line - low <= view {
            low
        } else {
            self.right.target.unwrap_or(low)
        };
        Some((top - kind.line + MARGIN.y).max(0.0))
    }

    /// Keeps the end of an arriving text visible from now on.
    pub fn follow_the_newest(&mut self) {
        self.newest = true;
    }

    /// Returns the scroll offset for following; `None` if there is nothing to follow.
    fn followed(&self, kind: Type) -> Option<f32> {
        let panes = [&self.left, &self.right];
        let streaming = panes.iter().any(|pane| pane.streaming);
        let first_difference = panes.iter().filter_map(|pane| pane.first_difference).reduce(f32::min);
        let end = panes
            .iter()
            .filter(|pane| pane.streaming || !streaming)
            .map(|pane| pane.end)
            .fold(0.0, f32::max);
        match first_difference {
            // One row of the common beginning stays above it.
            Some(_) if streaming && self.newest => Some(end),
            Some(first_difference) => Some(end.min((first_difference - kind.line).max(0.0))),
            None => streaming.then_some(end),
        }
    }

    /// Scrolls to the first difference (a byte of both texts) and the line before it. `view` is the height of the
    /// panes.
    pub fn reveal(&mut self, byte: usize, view: f32) {
        let (width, Some(kind)) = (self.left.width, self.left.kind) else {
            return;
        };
        let before = self
            .left
            .paragraphs
            .iter()
            .take_while(|paragraph| paragraph.range.end < byte);
        let above: f32 = before.map(|paragraph| paragraph.estimate(width, kind)).sum();
        self.offset = if above + 2.0 * kind.line + MARGIN.y <= view {
            0.0
        } else {
            (above - kind.line + MARGIN.y).max(0.0)
        };
        self.follow = false;
    }

    /// Draws one pane over the available space of `ui` in the text style `kind`; returns the coloured token under the
    /// pointer.
    pub fn show(&mut self, ui: &mut Ui, pane: DiffSide, content: &Content<'_>, kind: Type) -> Option<Touched> {
        let id = ui.scope_id().with(("diff", pane as u8));
        if self.follow
            && let Some(to) = self.followed(kind)
            && (to - self.offset).abs() > 0.5
        {
            self.offset = to;
            ui.ctx().request_repaint();
        }
        if self.stepping
            && let Some(to) = self.stepped(kind, ui.available_height())
        {
            self.offset = to;
            ui.ctx().request_repaint();
        }
        let shared = self.offset;
        let (memory, other) = match pane {
            DiffSide::Left => (&mut self.left, self.right.height),
            DiffSide::Right => (&mut self.right, self.left.height),
        };
        let width = (ui.available_width() - 2.0 * MARGIN.x).max(40.0);
        memory.take(content.text, width, kind);
        memory.streaming = content.streaming;
        let view_height = ui.available_height();
        memory.least = other;
        memory.end = (memory.height + 2.0 * MARGIN.y - view_height).max(0.0);
        let most = (memory.height.max(other) + 2.0 * MARGIN.y - view_height).max(0.0);
        let asked = shared.min(most);
        let rect = ui.available_rect_before_wrap();
        let node = ui.interact(rect, id.with("text"), Sense::hover());
        node.widget_info(|| {
            let mut info = WidgetInfo::labeled(Role::Document, true, content.name);
            info.current_text_value = Some(content.text.to_owned());
            info
        });
        ui.ctx()
            .accesskit_node_builder(node.id, |node| node.set_description(content.description));
        let output = ScrollArea::vertical()
            .id_salt(id)
            .auto_shrink(false)
            .vertical_scroll_offset(asked)
            .content_margin(0.0)
            .show_viewport(ui, |ui, viewport| memory.paint(ui, id, pane, content, kind, viewport));
        let now = output.state.clamped_offset().y;
        memory.end = (memory.height + 2.0 * MARGIN.y - view_height).max(0.0);
        if (now - asked).abs() > 0.5 {
            // The user scrolled this pane: the other one follows in the next frame.
            self.offset = now;
            self.follow = false;
            self.stepping = false;
            ui.ctx().request_repaint();
        }
        output.inner
    }
}

impl Memory {
    /// Takes the text of this frame; cached values of unchanged paragraphs stay.
    fn take(&mut self, text: &str, width: f32, kind: Type) {
        let rewrapped = (self.width - width).abs() > 0.5 || self.kind != Some(kind);
        let hash = egui::util::hash(text);
        if rewrapped {
            self.width = width;
            self.kind = Some(kind);
            for paragraph in &mut self.paragraphs {
                paragraph.height = None;
            }
        }
        if self.hash != hash || (self.paragraphs.is_empty() && !text.is_empty()) {
            self.hash = hash;
            let old = std::mem::take(&mut self.paragraphs);
            let mut start = 0;
            for (index, line) in text.split('\n').enumerate() {
                let range = start..start + line.len();
                start = range.end + 1;
                let hash = egui::util::hash(line);
                let height = old.get(index).filter(|old| old.hash == hash).and_then(|old| old.height);
                self.paragraphs.push(Paragraph {
                    range,
                    hash,
                    ems: ems(line),
                    height,
                });
            }
        }
        self.height = self
            .paragraphs
            .iter()
            .map(|paragraph| paragraph.estimate(width, kind))
            .sum();
    }

    fn paint(
        &mut self,
        ui: &mut Ui,
        id: Id,
        pane: DiffSide,
        content: &Content<'_>,
        kind: Type,
        viewport: Rect,
    ) -> Option<Touched> {
        let mut touched = None;
        let pointer = ui
            .rect_contains_pointer(ui.clip_rect())
            .then(|| ui.ctx().pointer_hover_pos())
            .flatten();
        let palette = Palette::of(ui);
        ui.set_width(ui.available_width());
        let origin = ui.max_rect().min + MARGIN;
        let width = self.width;
        let mut y = 0.0;
        let mut measured = 0;
        let mut unknown = false;
        let count = self.paragraphs.len();
        self.first_difference = None;
        let before = self.target.take();
        for index in 0..count {
            let paragraph = &self.paragraphs[index];
            let height = paragraph.estimate(width, kind);
            let shown = y + MARGIN.y + height >= viewport.top() && y + MARGIN.y <= viewport.bottom();
            let parts_here = content
                .first_difference
                .is_some_and(|(byte, _)| parts_in(byte, &paragraph.range, index + 1 == count));
            if parts_here {
                self.first_difference = Some(y);
            }
            let current_here = content
                .current
                .as_ref()
                .is_some_and(|current| parts_in(current.start, &paragraph.range, index + 1 == count));
            if current_here && !shown {
                self.target = Some(y);
            }
            if !shown {
                if paragraph.height.is_none() {
                    if measured < MEASURED_A_FRAME {
                        measured += paragraph.range.len().max(40);
                        let galley = layout(ui, &content.text[paragraph.range.clone()], kind, width, palette.text);
                        self.paragraphs[index].height = Some(galley.size().y);
                    } else {
                        unknown = true;
                    }
                }
                y += self.paragraphs[index].estimate(width, kind);
                continue;
            }
            let range = paragraph.range.clone();
            let colour = faded(palette.text, content.opacity);
            let mut galley = layout(ui, &content.text[range.clone()], kind, width, colour);
            if let (true, Some((byte, words))) = (parts_here, content.first_difference)
                && !words.is_empty()
            {
                let before = content.text.get(range.start..byte.min(range.end));
                galley = with_room_for_flag(
                    galley,
                    before.map_or(0, |before| before.chars().count()),
                    kind,
                    index == 0,
                );
            }
            self.paragraphs[index].height = Some(galley.size().y);
            let at = pos2(origin.x, origin.y + y);
            let last = index + 1 == count;
            let piece = Piece {
                at,
                galley: &galley,
                range: &range,
                kind,
                pane,
                opacity: content.opacity,
                last,
            };
            if let (true, Some((byte, _))) = (parts_here, content.first_difference) {
                self.first_difference = Some(piece.place_of(byte).top() - origin.y);
            }
            if let (true, Some(current)) = (current_here, &content.current) {
                self.target = Some(piece.place_of(current.start).top() - origin.y);
            }
            if content.heats.is_empty() {
                piece.paint_marks(ui, content);
            } else {
                let laid = kl::Laid {
                    galley: &galley,
                    at,
                    range: &range,
                    kind,
                    opacity: content.opacity,
                };
                touched = kl::paint(ui, &laid, content.heats, pointer).or(touched);
            }
            let area = Rect::from_min_size(at, vec2(width, galley.size().y));
            let mut sense = Sense::click_and_drag();
            sense -= Sense::FOCUSABLE;
            let response = ui.interact(area, id.with(("paragraph", index)), sense);
            LabelSelectionState::label_text_selection(ui, &response, at, Arc::clone(&galley), colour, Stroke::NONE);
            piece.paint_parting(ui, content);
            if current_here {
                piece.paint_current(ui, content);
            }
            if last && content.streaming {
                piece.paint_caret(ui);
            }
            y += galley.size().y;
        }
        if self.target != before {
            ui.ctx().request_repaint();
        }
        self.height = y;
        ui.set_height(y.max(self.least) + 2.0 * MARGIN.y);
        if unknown {
            ui.ctx().request_repaint();
        }
        touched
    }
}

impl Paragraph {
    fn estimate(&self, width: f32, kind: Type) -> f32 {
        self.height
            .unwrap_or_else(|| (self.ems * kind.size / width).ceil().max(1.0) * kind.line)
    }
}

/// Returns whether `byte` lies in the paragraph `range`; the last paragraph includes everything after it.
fn parts_in(byte: usize, range: &Range<usize>, last: bool) -> bool {
    byte >= range.start && (byte <= range.end || last)
}

/// Estimates the width in ems: a one-byte character is about half as wide as a three-byte one.
fn ems(line: &str) -> f32 {
    line.chars().map(|c| if c.is_ascii() { 0.55 } else { 1.0 }).sum()
}

fn layout(ui: &Ui, text: &str, kind: Type, width: f32, colour: Color32) -> Arc<Galley> {
    let format = TextFormat {
        font_id: kind.regular(),
        line_height: Some(kind.line),
        color: colour,
        valign: Align::Center,
        ..TextFormat::default()
    };
    let mut job = LayoutJob::single_section(text.to_owned(), format);
    job.wrap.max_width = width;
    ui.painter().layout_job(job)
}

/// Moves the rows from the one with character `column` down, so that the flag above that row covers no text. The first
/// row of a text has the margin above it.
fn with_room_for_flag(galley: Arc<Galley>, column: usize, kind: Type, first: bool) -> Arc<Galley> {
    let room = (FLAG + 2.0 - (kind.line - LETTERS * kind.size)).max(0.0).ceil();
    let cursor = CCursor {
        index: column.into(),
        prefer_next_row: true,
    };
    let row = galley.layout_from_cursor(cursor).row;
    if room == 0.0 || (first && row == 0) {
        return galley;
    }
    let mut galley = Galley::clone(&galley);
    for placed in galley.rows.iter_mut().skip(row) {
        placed.pos.y += room;
    }
    galley.rect.max.y += room;
    galley.mesh_bounds.max.y += room;
    Arc::new(galley)
}

/// Returns the first of `kinds` in which both `texts` fit into panes of `width` and `room` (with margins), or else the
/// last, and the height of the longer text in it, which is approximate if it does not fit.
pub fn fit(ui: &Ui, texts: [&str; 2], width: f32, room: f32, kinds: &[Type]) -> Option<(Type, f32)> {
    let width = (width - 2.0 * MARGIN.x).max(40.0);
    let mut last = None;
    for &kind in kinds {
        let flag = (FLAG + 2.0 - (kind.line - LETTERS * kind.size)).max(0.0).ceil();
        let heights = texts.map(|text| height_of(ui, text, kind, width, room));
        let need = heights[0].max(heights[1]) + 2.0 * MARGIN.y + flag;
        last = Some((kind, need));
        if need <= room {
            break;
        }
    }
    last
}

/// Returns the height of a text without its margins; an estimate if that is already much more than `most`.
fn height_of(ui: &Ui, text: &str, kind: Type, width: f32, most: f32) -> f32 {
    let estimate = |line: &str| (ems(line) * kind.size / width).ceil().max(1.0) * kind.line;
    let roughly: f32 = text.split('\n').map(estimate).sum();
    if roughly > 1.5 * most {
        return roughly;
    }
    let colour = Palette::of(ui).text;
    text.split('\n')
        .map(|line| layout(ui, line, kind, width, colour).size().y)
        .sum()
}

/// A laid-out paragraph and its position.
struct Piece<'a> {
    at: Pos2,
    galley: &'a Galley,
    /// Its bytes in the whole text, without the line end.
    range: &'a Range<usize>,
    kind: Type,
    pane: DiffSide,
    opacity: f32,
    last: bool,
}

impl Piece<'_> {
    /// Returns the number of characters before byte `byte` of the whole text, within this paragraph.
    fn column(&self, byte: usize) -> usize {
        let end = byte.clamp(self.range.start, self.range.end) - self.range.start;
        self.galley.text().get(..end).map_or(0, |before| before.chars().count())
    }

    fn paint_marks(&self, ui: &Ui, content: &Content<'_>) {
        let palette = Palette::of(ui);
        let (colour, tint) = match self.pane {
            DiffSide::Left => (palette.baseline, palette.baseline),
            DiffSide::Right => (palette.prefix_fill, palette.prefix_fill),
        };
        let strong = faded(tint, 2.0 * palette.mark_tint * self.opacity);
        let tint = faded(tint, palette.mark_tint * self.opacity);
        // Large text is read from a distance.
        let width = if self.kind.size >= 24.0 { 3.0 } else { 2.0 };
        let stroke = Stroke::new(width, faded(colour, self.opacity));
        // Marks are ascending: those that end before this paragraph are skipped by binary search.
        let first = content
            .marks
            .partition_point(|mark| mark.end <= self.range.start && mark.end != self.range.end);
        for mark in content.marks[first..]
            .iter()
            .take_while(|mark| mark.start <= self.range.end)
        {
            // The line end counts as a character: if marked, a stub is drawn after the last one.
            let with_line_end = mark.end > self.range.end && !self.last;
            let columns = self.column(mark.start)..self.column(mark.end.min(self.range.end));
            let is_current = content
                .current
                .as_ref()
                .is_some_and(|current| current.start == mark.start);
            let tint = if is_current { strong } else { tint };
            self.paint_mark(ui, columns, with_line_end, tint, stroke);
        }
    }

    fn paint_mark(&self, ui: &Ui, columns: Range<usize>, with_line_end: bool, tint: Color32, stroke: Stroke) {
        let painter = ui.painter();
        let clip = painter.clip_rect();
        let mut start = 0;
        let rows = self.galley.rows.len();
        for (index, row) in self.galley.rows.iter().enumerate() {
            let length = row.glyphs.len();
            let here = start..start + length;
            start = here.end;
            let from = columns.start.max(here.start);
            let to = columns.end.min(here.end);
            let line_end = with_line_end && index + 1 == rows;
            if from >= to && !line_end {
                continue;
            }
            let top = self.at.y + row.pos.y;
            if top > clip.bottom() || top + row.size.y < clip.top() {
                continue;
            }
            let x_of = |column: usize| self.at.x + row.pos.x + row.x_offset((column - here.start).into());
            let left = x_of(from.min(here.end));
            let right = x_of(to.clamp(here.start, here.end)).max(left) + if line_end { 8.0 } else { 0.0 };
            let band = mark_band(top, self.kind);
            let area = Rect::from_x_y_ranges(left..=right, band);
            painter.rect_filled(area, 0.0, tint);
            let y = band.max - stroke.width / 2.0;
            match self.pane {
                DiffSide::Left => paint::dashed_h(painter, Rangef::new(left, right), y, stroke, 5.0, 3.0),
                DiffSide::Right => {
                    painter.hline(Rangef::new(left, right), y, stroke);
                }
            }
        }
    }

    /// Returns the rectangle of the caret before byte `byte`, if it is in this paragraph.
    fn place_of(&self, byte: usize) -> Rect {
        let cursor = CCursor {
            index: self.column(byte).into(),
            prefer_next_row: true,
        };
        self.galley.pos_from_cursor(cursor).translate(self.at.to_vec2())
    }

    fn paint_parting(&self, ui: &Ui, content: &Content<'_>) {
        let Some((byte, words)) = content.first_difference else {
            return;
        };
        if !parts_in(byte, self.range, self.last) {
            return;
        }
        let palette = Palette::of(ui);
        let place = self.place_of(byte);
        let band = mark_band(place.top(), self.kind);
        let colour = faded(palette.text, self.opacity);
        let painter = ui.painter();
        painter.vline(
            place.left() - 1.0,
            Rangef::new(band.min - 2.0, band.max),
            Stroke::new(2.0, colour),
        );
        if words.is_empty() {
            return;
        }
        let galley = paint::line_of_text(ui, words, theme::CAPTION.mono(), palette.on_fill());
        let size = vec2(galley.size().x + 8.0, FLAG);
        // The flag is to the right of the bar; at the edge of the pane it is to the left.
        let edge = self.at.x + self.galley.job.wrap.max_width + MARGIN.x - 2.0;
        let left = if place.left() - 2.0 + size.x > edge {
            place.left() - size.x
        } else {
            place.left() - 2.0
        };
        let bottom = place.top() + (self.kind.line - LETTERS * self.kind.size) / 2.0 - 1.0;
        let flag = Rect::from_min_size(pos2(left, bottom - size.y), size);
        painter.rect_filled(flag, CornerRadius::same(theme::RADIUS_CELL), colour);
        paint::place(painter, flag.center(), egui::Align2::CENTER_CENTER, galley);
    }

    /// Paints a bar before the current difference.
    fn paint_current(&self, ui: &Ui, content: &Content<'_>) {
        let Some(current) = &content.current else { return };
        let place = self.place_of(current.start);
        let band = mark_band(place.top(), self.kind);
        let colour = faded(Palette::of(ui).text, self.opacity);
        let stroke = Stroke::new(2.0, colour);
        ui.painter()
            .vline(place.left() - 1.0, Rangef::new(band.min - 2.0, band.max), stroke);
        // Serifs at both ends distinguish it from the bar of the first difference.
        for y in [band.min - 2.0, band.max] {
            let foot = Rangef::new(place.left() - 4.0, place.left() + 2.0);
            ui.painter().hline(foot, y, stroke);
        }
    }

    fn paint_caret(&self, ui: &Ui) {
        // Blinks at 1 Hz. Arriving text repaints anyway.
        let phase = ui.input(|input| input.time).fract();
        let next = if phase < 0.5 { 0.5 - phase } else { 1.0 - phase };
        ui.ctx().request_repaint_after_secs(next as f32 + 0.01);
        if phase >= 0.5 {
            return;
        }
        let palette = Palette::of(ui);
        let colour = match self.pane {
            DiffSide::Left => palette.baseline,
            DiffSide::Right => palette.prefix_fill,
        };
        let place = self
            .galley
            .pos_from_cursor(self.galley.end())
            .translate(self.at.to_vec2());
        let height = self.kind.size * 1.15;
        let caret = Rect::from_center_size(pos2(place.left() + 6.0, place.center().y), vec2(3.0, height));
        ui.painter().rect_filled(caret, 0.0, colour);
    }
}

/// Returns top and bottom of the mark on a row that starts at `top`, with a gap between rows.
pub(super) fn mark_band(top: f32, kind: Type) -> Rangef {
    let air = ((kind.line - kind.size) * 0.15).round();
    Rangef::new(top + air, top + kind.line - air)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_of_unchanged_paragraphs_are_reused() {
        let mut memory = Memory::default();
        let kind = Type { size: 22.0, line: 40.0 };
        memory.take("one\ntwo", 300.0, kind);
        memory.paragraphs[0].height = Some(40.0);
        memory.paragraphs[1].height = Some(40.0);
        memory.take("one\ntwo and more", 300.0, kind);
        assert_eq!(memory.paragraphs[0].height, Some(40.0));
        assert_eq!(memory.paragraphs[1].height, None);
        memory.take("one\ntwo and more", 200.0, kind);
        assert_eq!(memory.paragraphs[0].height, None);
    }
}
