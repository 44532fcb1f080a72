//! Buttons: filled for the primary action, outlined for others, without a frame for minor ones.

use eframe::egui::{
    self, Color32, CornerRadius, Response, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2,
};

use super::icon::{self, Icon};
use super::paint;
use crate::theme::{self, Palette};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ink,
    Outlined,
    Quiet,
}

/// A button with a label and, optionally, an icon and a shortcut.
#[must_use = "show it with `ui.add`"]
pub struct Button<'a> {
    words: &'a str,
    kind: Kind,
    icon: Option<Icon>,
    trailing: Option<Icon>,
    key: Option<String>,
    height: f32,
    width: Option<f32>,
    name: Option<&'a str>,
    small: bool,
}

impl<'a> Button<'a> {
    fn new(words: &'a str, kind: Kind) -> Self {
        Self {
            words,
            kind,
            icon: None,
            trailing: None,
            key: None,
            height: theme::CONTROL,
            width: None,
            name: None,
            small: false,
        }
    }

    /// Creates a filled button, for the primary action.
    pub fn ink(words: &'a str) -> Self {
        Self::new(words, Kind::Ink)
    }

    pub fn outlined(words: &'a str) -> Self {
        Self::new(words, Kind::Outlined)
    }

    /// Creates a button without a frame; an outline appears on hover.
    pub fn quiet(words: &'a str) -> Self {
        Self::new(words, Kind::Quiet)
    }

    pub fn icon(mut self, icon: Icon) -> Self {
        self.icon = Some(icon);
        self
    }

    /// Adds an icon after the label, such as the chevron of a menu.
    pub fn trailing(mut self, icon: Icon) -> Self {
        self.trailing = Some(icon);
        self
    }

    /// Adds the label of a shortcut.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    pub fn height(mut self, height: f32) -> Self {
        self.height = height;
        self
    }

    /// Sets the minimum width; the label is centred.
    pub fn width(mut self, width: f32) -> Self {
        self.width = Some(width);
        self
    }

    /// Sets the accessible name, for a label that is unclear on its own.
    pub fn name(mut self, name: &'a str) -> Self {
        self.name = Some(name);
        self
    }

    /// Uses the caption size.
    pub fn small(mut self) -> Self {
        self.small = true;
        self
    }

    /// Returns the width of the button.
    #[must_use]
    pub fn measure(&self, ui: &Ui) -> f32 {
        let kind = if self.small { theme::CAPTION } else { theme::BODY };
        let font = if self.kind == Kind::Ink {
            kind.semibold()
        } else {
            kind.regular()
        };
        let words = paint::line_of_text(ui, self.words, font, Color32::PLACEHOLDER).size().x;
        let key = self.key.as_ref().map_or(0.0, |key| {
            8.0 + paint::line_of_text(ui, key, theme::CAPTION.mono(), Color32::PLACEHOLDER)
                .size()
                .x
        });
        let icons = [self.icon, self.trailing].iter().flatten().count() as f32 * 22.0;
        let padding = if self.kind == Kind::Quiet { 8.0 } else { 16.0 };
        (words + key + icons + padding * 2.0)
            .ceil()
            .max(self.width.unwrap_or(0.0))
    }
}

impl egui::Widget for Button<'_> {
    fn ui(self, ui: &mut Ui) -> Response {
        let palette = Palette::of(ui);
        let size = vec2(self.measure(ui), self.height);
        let (rect, response) = ui.allocate_exact_size(size, Sense::click());
        let enabled = ui.is_enabled();
        response.widget_info(|| WidgetInfo::labeled(Role::Button, enabled, self.name.unwrap_or(self.words)));
        if !ui.is_rect_visible(rect) {
            return response;
        }
        let body = rect.shrink(0.5);
        let radius = CornerRadius::same(theme::RADIUS_CONTROL);
        let lit = enabled && (response.hovered() || response.is_pointer_button_down_on());
        let colour = match (self.kind, enabled) {
            (_, false) => palette.text3,
            (Kind::Ink, true) => palette.on_fill(),
            (Kind::Quiet, true) if !lit => palette.text2,
            (_, true) => palette.text,
        };
        let painter = ui.painter();
        match self.kind {
            Kind::Ink if enabled => {
                let fill = if lit {
                    paint::over(palette.text, palette.window, 0.12)
                } else {
                    palette.text
                };
                painter.rect_filled(body, radius, fill);
            }
            Kind::Ink | Kind::Outlined => {
                let fill = if lit { palette.raised } else { palette.panel };
                let outline = if enabled { palette.stroke } else { palette.line };
                painter.rect(body, radius, fill, Stroke::new(1.0, outline), StrokeKind::Inside);
            }
            Kind::Quiet => {
                if lit {
                    painter.rect_filled(body, radius, palette.raised);
                }
            }
        }
        let kind = if self.small { theme::CAPTION } else { theme::BODY };
        let font = if self.kind == Kind::Ink {
            kind.semibold()
        } else {
            kind.regular()
        };
        let words = paint::line_of_text(ui, self.words, font, colour);
        let key = self.key.as_ref().map(|key| {
            let faint = if self.kind == Kind::Ink && enabled {
                colour
            } else {
                palette.text3
            };
            paint::line_of_text(ui, key, theme::CAPTION.mono(), faint)
        });
        let content = words.size().x
            + key.as_ref().map_or(0.0, |key| key.size().x + 8.0)
            + [self.icon, self.trailing].iter().flatten().count() as f32 * 22.0;
        let mut x = rect.center().x - content / 2.0;
        let y = rect.center().y;
        if let Some(icon) = self.icon {
            icon::paint(painter, icon, pos2(x + 8.0, y), colour);
            x += 22.0;
        }
        let placed = paint::place(painter, pos2(x, y), egui::Align2::LEFT_CENTER, words);
        x = placed.right();
        if let Some(key) = key {
            x = paint::place(painter, pos2(x + 8.0, y), egui::Align2::LEFT_CENTER, key).right();
        }
        if let Some(icon) = self.trailing {
            icon::paint(painter, icon, pos2(x + 14.0, y), colour);
        }
        paint::focus_ring(ui, &response, body, theme::RADIUS_CONTROL);
        response
    }
}
