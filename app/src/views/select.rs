//! A drop-down list.

use eframe::egui::{
    self, CornerRadius, Popup, PopupCloseBehavior, Response, Role, Sense, Stroke, StrokeKind, Ui, Vec2, WidgetInfo,
    pos2, vec2,
};

use super::icon::{self, Icon};
use super::paint;
use crate::theme::{self, Palette};

/// Draws the current choice in a box of `width`, and the list while it is open; returns a new choice.
///
/// `name` is the accessible name.
pub fn select<T: Clone + PartialEq>(
    ui: &mut Ui,
    name: &str,
    current: Option<&T>,
    options: &[(T, String)],
    empty: &str,
    width: f32,
) -> Option<T> {
    sized(ui, name, current, options, empty, vec2(width, theme::CONTROL))
}

/// Draws the same in a box of the given size.
pub fn sized<T: Clone + PartialEq>(
    ui: &mut Ui,
    name: &str,
    current: Option<&T>,
    options: &[(T, String)],
    empty: &str,
    size: Vec2,
) -> Option<T> {
    let shown = current
        .and_then(|current| options.iter().find(|(value, _)| value == current))
        .map_or(empty, |(_, words)| words.as_str());
    let response = closed(ui, name, shown, size);
    let mut chosen = None;
    Popup::menu(&response)
        .close_behavior(PopupCloseBehavior::CloseOnClick)
        .width(0.0)
        .accessible_name(name)
        .show(|ui| {
            as_wide_as(ui, options.iter().map(|(_, words)| words.as_str()));
            ui.set_min_width(size.x - 2.0 * f32::from(ui.spacing().menu_margin.left));
            ui.spacing_mut().item_spacing.y = 2.0;
            egui::ScrollArea::vertical()
                .max_height(ui.spacing().combo_height)
                .show(ui, |ui| {
                    for (value, words) in options {
                        if item(ui, words, current == Some(value)).clicked() {
                            chosen = Some(value.clone());
                        }
                    }
                });
        });
    chosen
}

fn closed(ui: &mut Ui, name: &str, shown: &str, size: Vec2) -> Response {
    let palette = Palette::of(ui);
    let (rect, response) = ui.allocate_exact_size(size, Sense::click());
    let enabled = ui.is_enabled();
    response.widget_info(|| {
        let mut info = WidgetInfo::labeled(Role::ComboBox, enabled, name);
        info.current_text_value = Some(shown.to_owned());
        info
    });
    if ui.is_rect_visible(rect) {
        let body = rect.shrink(0.5);
        let fill = if response.hovered() {
            palette.raised
        } else {
            palette.panel
        };
        let outline = if enabled { palette.stroke } else { palette.line };
        let radius = CornerRadius::same(theme::RADIUS_CONTROL);
        ui.painter()
            .rect(body, radius, fill, Stroke::new(1.0, outline), StrokeKind::Inside);
        let colour = if enabled { palette.text } else { palette.text3 };
        let galley = paint::cut_to(ui, shown, theme::BODY.regular(), colour, size.x - 44.0);
        paint::place(
            ui.painter(),
            pos2(rect.left() + 12.0, rect.center().y),
            egui::Align2::LEFT_CENTER,
            galley,
        );
        icon::paint(
            ui.painter(),
            Icon::ChevronDown,
            pos2(rect.right() - 18.0, rect.center().y),
            colour,
        );
        paint::focus_ring(ui, &response, body, theme::RADIUS_CONTROL);
    }
    response
}

/// Makes a menu as wide as its longest item.
pub fn as_wide_as<'a>(ui: &mut Ui, lines: impl IntoIterator<Item = &'a str>) {
    let palette = Palette::of(ui);
    let widths = lines.into_iter().map(|words| {
        paint::line_of_text(ui, words, theme::BODY.regular(), palette.text)
            .size()
            .x
    });
    let width = widths.fold(0.0, f32::max).ceil() + LINE_PADDING;
    ui.set_width(width);
}

/// Space of a menu item beside its label: the tick, and the padding.
const LINE_PADDING: f32 = 44.0;

/// Draws a menu item, with a tick if it is the current one.
pub fn item(ui: &mut Ui, words: &str, current: bool) -> Response {
    let palette = Palette::of(ui);
    let galley = paint::line_of_text(ui, words, theme::BODY.regular(), palette.text);
    let width = ui.available_width().max(galley.size().x + LINE_PADDING);
    let (rect, response) = ui.allocate_exact_size(vec2(width, theme::CONTROL), Sense::click());
    let enabled = ui.is_enabled();
    response.widget_info(|| WidgetInfo::selected(Role::MenuItemRadio, enabled, current, words));
    if ui.is_rect_visible(rect) {
        if enabled && (response.hovered() || response.has_focus()) {
            ui.painter()
                .rect_filled(rect, CornerRadius::same(theme::RADIUS_TAG), palette.raised);
        }
        let colour = if enabled { palette.text } else { palette.text3 };
        if current {
            icon::paint(
                ui.painter(),
                Icon::Done,
                pos2(rect.left() + 14.0, rect.center().y),
                colour,
            );
        }
        let galley = paint::cut_to(ui, words, theme::BODY.regular(), colour, rect.width() - 36.0);
        paint::place(
            ui.painter(),
            pos2(rect.left() + 28.0, rect.center().y),
            egui::Align2::LEFT_CENTER,
            galley,
        );
    }
    response
}
