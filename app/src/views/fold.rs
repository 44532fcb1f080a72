//! A heading that expands and collapses the content below it.

use eframe::egui::{self, Response, Role, Sense, Ui, WidgetInfo, pos2, vec2};

use super::icon::{self, Icon};
use super::paint;
use crate::theme::{self, Palette};

/// Draws the heading over the available width and toggles `open` when it is clicked. `summary` describes the content
/// while it is collapsed.
pub fn heading(ui: &mut Ui, open: &mut bool, words: &str, summary: &str) -> Response {
    let palette = Palette::of(ui);
    let size = vec2(ui.available_width(), theme::CONTROL);
    let (rect, mut response) = ui.allocate_exact_size(size, Sense::click());
    if response.clicked() {
        *open = !*open;
        response.mark_changed();
    }
    let enabled = ui.is_enabled();
    response.widget_info(|| WidgetInfo::selected(Role::DisclosureTriangle, enabled, *open, words));
    if ui.is_rect_visible(rect) {
        let painter = ui.painter();
        let colour = if response.hovered() {
            palette.text
        } else {
            palette.text2
        };
        let y = rect.center().y;
        let title = paint::text(
            painter,
            rect.left_center(),
            egui::Align2::LEFT_CENTER,
            words,
            theme::BODY.regular(),
            colour,
        );
        let chevron = if *open { Icon::ChevronDown } else { Icon::ChevronRight };
        icon::paint(painter, chevron, pos2(rect.right() - 6.0, y), colour);
        if !*open {
            let room = rect.right() - 20.0 - title.right() - 12.0;
            let galley = paint::cut_to(ui, summary, theme::CAPTION.regular(), palette.text3, room);
            paint::place(
                painter,
                pos2(rect.right() - 20.0, y),
                egui::Align2::RIGHT_CENTER,
                galley,
            );
        }
        paint::focus_ring(ui, &response, rect.shrink2(vec2(0.0, 3.0)), theme::RADIUS_TAG);
    }
    response
}

/// Draws `contents` while `open`, with an animation of the theme's duration.
pub fn body(ui: &mut Ui, id_salt: &str, open: bool, contents: impl FnOnce(&mut Ui)) {
    let id = ui.scope_id().with(id_salt);
    let share = ui.ctx().animate_bool_with_time(id, open, theme::FOLD_SECONDS);
    if share <= 0.0 {
        return;
    }
    if share >= 1.0 {
        contents(ui);
        return;
    }
    let height_id = id.with("height");
    let full = ui
        .data(|data| data.get_temp::<f32>(height_id))
        .unwrap_or(theme::CONTROL);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), full * share), Sense::hover());
    let area = egui::Rect::from_min_size(rect.min, vec2(rect.width(), f32::INFINITY));
    let mut child = ui.new_child(egui::UiBuilder::new().max_rect(area).layout(*ui.layout()));
    child.set_clip_rect(rect.intersect(ui.clip_rect()));
    contents(&mut child);
    let height = child.min_rect().height();
    ui.data_mut(|data| data.insert_temp(height_id, height));
}
