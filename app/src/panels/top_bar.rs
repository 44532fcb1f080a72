//! The bar at the top: views, file and window settings; and the banner of a problem below it.

use eframe::egui::{
    self, Align, Frame, Id, Layout, Margin, Panel, Popup, PopupCloseBehavior, Rect, Role, Sense, Stroke, Ui, UiBuilder,
    WidgetInfo, pos2, vec2,
};

use super::context::PanelContext;
use crate::model::{Format, Language, ModuleState, Theme};
use crate::text;
use crate::theme::{self, Palette};
use crate::views::button::Button;
use crate::views::icon::{Icon, IconButton};
use crate::views::segmented::segmented;
use crate::views::{paint, status};
use crate::workbench::{Action, Notice, PlaybackAction, SweepAction, Tab, file_name};

/// Returns the views with their names.
pub fn tabs(cx: &PanelContext<'_>) -> [(Tab, &'static str); 4] {
    let language = cx.workbench.settings.language;
    [
        (Tab::Tune, cx.text.tune),
        (Tab::Sweep, text::SweepText::of(language).tab),
        (Tab::Find, text::FindText::of(language).tab),
        (Tab::Doctor, text::DoctorText::of(language).tab),
    ]
}

/// Draws the views, and returns the place of the rest of the bar, which is drawn by [`tools`] so that it comes last in
/// the focus order.
pub fn views(ui: &mut Ui, cx: &mut PanelContext<'_>) -> Rect {
    let palette = Palette::of(ui);
    let bar = ui.max_rect();
    ui.painter()
        .hline(bar.x_range(), bar.bottom() - 0.5, Stroke::new(1.0, palette.line));
    let inner = bar.shrink2(vec2(theme::PADDING, 0.0));
    let mut left = ui.new_child(
        UiBuilder::new()
            .max_rect(inner)
            .layout(Layout::left_to_right(Align::Center)),
    );
    left.spacing_mut().item_spacing.x = 28.0;
    let tabs = tabs(cx);
    let mut entered = false;
    for (index, (which, words)) in tabs.into_iter().enumerate() {
        let on = cx.workbench.tab == which;
        let response = tab(&mut left, words, Some(on));
        if response.clicked() {
            cx.act(Action::ShowTab(which));
        }
        if on && let Some(step) = crate::views::segmented::sideways(&left, &response) {
            let next = (index as isize + step).rem_euclid(tabs.len() as isize) as usize;
            cx.act(Action::ShowTab(tabs[next].0));
            entered = true;
        }
        // The focus stays on the tabs when the arrow keys change the view.
        let moved = Id::unique("view was stepped to");
        if on && left.data_mut(|data| data.remove_temp::<bool>(moved)).is_some() {
            response.request_focus();
        }
        if entered {
            left.data_mut(|data| data.insert_temp(moved, true));
        }
    }
    let present = text::SweepText::of(cx.workbench.settings.language).present;
    if tab(&mut left, present, None).clicked() {
        cx.act(Action::Present(true));
    }
    let used = left.min_rect().right();
    Rect::from_min_max(pos2(used + 24.0, inner.top()), inner.right_bottom())
}

/// Draws the right side of the bar in the place that [`views`] returned.
pub fn tools(ui: &mut Ui, cx: &mut PanelContext<'_>, place: Rect) {
    let mut right = ui.new_child(
        UiBuilder::new()
            .id_salt("tools")
            .max_rect(place)
            .layout(Layout::right_to_left(Align::Center)),
    );
    right.set_clip_rect(place.expand(4.0));
    right.spacing_mut().item_spacing.x = 4.0;
    right_side(&mut right, cx);
}

/// Draws the tab of a view, selected if `view` is `Some(true)`; or, with `None`, the button of a mode. The tabs are one
/// stop in the focus order, and the arrow keys move between them.
fn tab(ui: &mut Ui, words: &str, view: Option<bool>) -> egui::Response {
    let on = view == Some(true);
    let palette = Palette::of(ui);
    let (font, colour) = if on {
        (theme::NAME.semibold(), palette.text)
    } else {
        (theme::NAME.regular(), palette.text2)
    };
    let galley = paint::line_of_text(ui, words, font, colour);
    let mut sense = Sense::click();
    if view == Some(false) {
        sense -= Sense::FOCUSABLE;
    }
    let (rect, response) = ui.allocate_exact_size(vec2(galley.size().x, theme::TOP_BAR), sense);
    response.widget_info(|| match view {
        Some(on) => WidgetInfo::selected(Role::Tab, true, on, words),
        None => WidgetInfo::labeled(Role::Button, true, words),
    });
    paint::place(ui.painter(), rect.center(), egui::Align2::CENTER_CENTER, galley);
    if on {
        ui.painter()
            .hline(rect.x_range(), rect.bottom() - 1.0, Stroke::new(2.0, palette.text));
    }
    paint::focus_ring(ui, &response, rect.shrink2(vec2(-4.0, 10.0)), theme::RADIUS_TAG);
    response
}

fn right_side(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let text = cx.text;
    if ui.add(IconButton::new(Icon::Help, text.help)).clicked() {
        cx.act(Action::ShowDialog(crate::workbench::Dialog::Help));
    }
    let response = ui.add(IconButton::new(Icon::Settings, text.settings));
    let before = cx.own.settings_open;
    let mut open = before != response.clicked();
    Popup::menu(&response)
        .open_bool(&mut open)
        .close_behavior(PopupCloseBehavior::CloseOnClickOutside)
        .accessible_name(text.settings)
        .show(|ui| settings(ui, cx));
    if open != before {
        cx.act(Action::ShowSettings(open));
    }
    ui.add_space(8.0);
    let can_export = cx.own.can_export();
    let menu = ui.add_enabled(can_export, Button::quiet(text.export).name(text.export_named));
    Popup::menu(&menu)
        .close_behavior(PopupCloseBehavior::CloseOnClick)
        .accessible_name(text.export_named)
        .show(|ui| {
            let words = cx.sweep_text();
            crate::views::select::as_wide_as(ui, Format::ALL.map(words.format));
            for format in Format::ALL {
                if crate::views::select::item(ui, (words.format)(format), false).clicked() {
                    cx.act(Action::Export(format));
                }
            }
        });
    if ui.add_enabled(!cx.own.file.asking, Button::quiet(text.open)).clicked() {
        cx.act(Action::Open);
    }
    ui.add_space(12.0);
    super::playback::recording_sign(ui, cx.own, &mut cx.actions);
    notice_or_session(ui, cx);
}

/// Minimum width for showing a folder.
const FOLDER: f32 = 72.0;

/// Draws the file that is being written or read, a notice, a reconnection under way, or else the session's name.
fn notice_or_session(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = cx.text;
    let first = text::FirstText::of(cx.workbench.settings.language);
    let width = ui.available_width();
    let busy = |ui: &mut Ui, words: &str| {
        let galley = paint::cut_to(ui, words, theme::BODY.regular(), palette.text, width - 24.0);
        ui.add(egui::Label::new(galley));
        status::mark(ui, status::Status::Busy);
    };
    let file = &cx.own.file;
    if let Some(name) = &file.under_way {
        let words = if file.writing { text.saving } else { text.opening };
        busy(ui, &words(name));
        return;
    }
    let (words, path) = match &cx.workbench.notice {
        Some(Notice::Saved(path)) => (Some((text.saved)(&file_name(path))), Some(path)),
        Some(Notice::Opened(path, runs, tab)) => {
            let words = (text.opened)(&file_name(path), *runs, *tab);
            (Some(words), Some(path))
        }
        Some(Notice::Copied) => (Some(text.copied.to_owned()), None),
        Some(Notice::InSweep(prompts)) => (Some((cx.sweep_text().in_sweep)(*prompts)), None),
        Some(Notice::Removed(runs)) => (Some((text.removed_runs)(runs.len())), None),
        Some(Notice::Fetched(model)) => (Some((first.fetched)(model)), None),
        Some(Notice::TakenOver(model)) => (Some((first.taken_over)(model)), None),
        Some(Notice::Problem(_) | Notice::Refused(_)) | None => (None, None),
    };
    if let Some(words) = words {
        let whole = path.map(|path| path.display().to_string());
        if ui.add(IconButton::new(Icon::Close, text.dismiss).size(24.0)).clicked() {
            cx.act(Action::DismissNotice);
        }
        let mut width = width;
        if matches!(cx.workbench.notice, Some(Notice::Removed(_))) {
            let undo = ui.add(Button::outlined(cx.sweep_text().undo).small().height(28.0));
            width -= undo.rect.width() + ui.spacing().item_spacing.x;
            if undo.clicked() {
                cx.act(Action::RestoreRuns);
            }
        }
        let galley = paint::cut_to(ui, &words, theme::BODY.regular(), palette.text, width - 52.0);
        // The folder of the file, if there is room: it may have been chosen automatically.
        let room = width - 52.0 - galley.size().x - 16.0;
        let folder = path
            .and_then(|path| path.parent())
            .map(|folder| folder.display().to_string());
        if let Some(folder) = folder.filter(|folder| !folder.is_empty() && room > FOLDER) {
            let galley = paint::cut_to(ui, &folder, theme::CAPTION.regular(), palette.text3, room);
            ui.add(egui::Label::new(galley));
        }
        let response = ui.add(egui::Label::new(galley));
        if let Some(whole) = whole {
            response.on_hover_text(whole);
        }
        status::mark(ui, status::Status::Good);
        return;
    }
    if let ModuleState::Failed { retry: Some(retry), .. } = &cx.workbench.module {
        busy(ui, &(text.reconnecting)(*retry));
        return;
    }
    // The session, in which all runs are saved.
    let shown = cx.workbench.tuning.saved.experiment.name.replace('\n', " ");
    let galley = paint::cut_to(ui, &shown, theme::BODY.regular(), palette.text3, width - 8.0);
    ui.add(egui::Label::new(galley));
}

fn settings(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = cx.text;
    let settings = &cx.workbench.settings;
    let caption = |ui: &mut Ui, words: &str| {
        ui.label(paint::words(words, theme::CAPTION, palette.text3));
    };
    ui.set_width(264.0);
    ui.spacing_mut().item_spacing.y = 4.0;
    caption(ui, text.language);
    let languages = Language::ALL.map(|language| (language, language.name()));
    if let Some(language) = segmented(ui, text.language, settings.language, &languages, 264.0) {
        cx.act(Action::SetLanguage(language));
    }
    ui.add_space(8.0);
    caption(ui, text.theme);
    let themes = [
        (Theme::System, text.theme_system),
        (Theme::Light, text.theme_light),
        (Theme::Dark, text.theme_dark),
    ];
    if let Some(theme) = segmented(ui, text.theme, settings.theme, &themes, 264.0) {
        cx.act(Action::SetTheme(theme));
    }
    ui.add_space(8.0);
    caption(ui, text.zoom);
    ui.horizontal(|ui| {
        if ui.add(IconButton::new(Icon::Minus, text.zoom_out).outlined()).clicked() {
            cx.act(Action::ZoomOut);
        }
        let percent = format!("{:.0} %", settings.zoom * 100.0);
        let size = vec2(264.0 - 3.0 * 32.0 - 24.0, theme::CONTROL);
        ui.add_sized(
            size,
            egui::Label::new(paint::figures(percent, theme::BODY, palette.text)),
        );
        if ui.add(IconButton::new(Icon::Plus, text.zoom_in).outlined()).clicked() {
            cx.act(Action::ZoomIn);
        }
        if ui
            .add(IconButton::new(
                Icon::Again,
                (text.command)(crate::commands::CommandId::ZoomReset),
            ))
            .clicked()
        {
            cx.act(Action::ZoomReset);
        }
    });
    ui.add_space(4.0);
    let mut fill = settings.fill_curve;
    if crate::views::toggle::toggle(ui, &mut fill, text.fill_by_itself).changed() {
        cx.act(Action::SetFillCurve(fill));
    }
    let mut discover = settings.discover;
    let search = text::DiscoveryText::of(settings.language).setting;
    if crate::views::toggle::toggle(ui, &mut discover, search).changed() {
        cx.act(Action::SetDiscover(discover));
    }
    ui.add_space(4.0);
    paint::rule(ui);
    let demo = text::DemoText::of(cx.workbench.settings.language);
    let external = text::ExternalText::of(cx.workbench.settings.language);
    for (words, action) in [
        (demo.record, Action::ToggleRecording),
        (demo.open_recording, Action::Playback(PlaybackAction::Open)),
        (demo.play_demo, Action::Playback(PlaybackAction::Demo)),
        (demo.open_example, Action::OpenExample),
        (text.full_screen, Action::ToggleFullscreen),
        (text.new_session, Action::NewSession),
        (external.title, Action::ShowDialog(crate::workbench::Dialog::External)),
        (text.about, Action::ShowDialog(crate::workbench::Dialog::About)),
    ] {
        let off = match action {
            Action::NewSession => cx.own.tuning.is_empty(),
            Action::ToggleRecording => cx.own.recording().is_some() || cx.own.playback.is_some(),
            Action::OpenExample => cx.own.playback.is_some(),
            _ => false,
        };
        let response = ui
            .add_enabled_ui(!off, |ui| crate::views::select::item(ui, words, false))
            .inner;
        if response.clicked() {
            cx.act(action);
            ui.close();
        }
    }
}

/// Draws a problem outside of the panes with its remedy, or the offer to resume an interrupted sweep, until it is dismissed.
pub fn banner(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let text = cx.text;
    // The Sweep view has its own button.
    let rest = match cx.workbench.tab {
        Tab::Sweep => None,
        _ => cx.workbench.sweep_rest(),
    };
    let (headline, words) = match (&cx.workbench.notice, rest) {
        (Some(Notice::Problem(problem)), _) => (
            (text.problem)(problem.kind),
            problem.whole(cx.workbench.settings.language),
        ),
        (Some(Notice::Refused(file)), _) => {
            let words = file.sentence.get(cx.workbench.settings.language);
            ((cx.prefix_text().refusal)(file.why), words.to_owned())
        }
        (_, Some(rest)) => (cx.sweep_text().interrupted_sweep, (cx.sweep_text().rest)(rest)),
        _ => return,
    };
    let offers_rest = !matches!(cx.workbench.notice, Some(Notice::Problem(_) | Notice::Refused(_)));
    let palette = Palette::of(ui);
    let frame = Frame::NONE
        .fill(palette.raised)
        .inner_margin(Margin::symmetric(theme::PADDING as i8, 8));
    let mut dismissed = false;
    Panel::top("banner").frame(frame).show(ui, |ui| {
        let rect = ui.max_rect();
        let close = Rect::from_min_size(
            pos2(rect.right() - theme::CONTROL, rect.top()),
            egui::Vec2::splat(theme::CONTROL),
        );
        ui.set_max_width(rect.width() - 48.0);
        let mark = match offers_rest {
            true => status::Status::Warning,
            false => status::Status::Broken,
        };
        super::module_card::with_mark(ui, mark, |ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            ui.label(paint::strong(headline, theme::BODY, palette.text));
            ui.label(paint::words(words, theme::BODY, palette.text2));
            if offers_rest {
                ui.add_space(4.0);
                if ui.add(Button::ink(cx.sweep_text().resume).small()).clicked() {
                    cx.sweep(SweepAction::ResumeExperiment);
                }
            }
        });
        // Added last, since placing a widget allocates space.
        dismissed = ui.place(close, IconButton::new(Icon::Close, text.dismiss)).clicked();
    });
    if dismissed && offers_rest {
        cx.sweep(SweepAction::DismissMessage);
    } else if dismissed {
        cx.act(Action::DismissNotice);
    }
}
