//! The panels of the window. They read the workbench and return actions; what they keep between frames (scroll
//! positions, collapsed sections, unfinished input) is in [`Window`].

mod context;
mod discovery;
mod doctor;
mod external;
mod figure;
mod find;
mod first_steps;
mod identity;
mod label;
mod material;
mod module_card;
mod outputs;
mod playback;
mod plot_card;
mod prefix_rail;
mod present;
mod prompt_bar;
mod rating;
mod runs;
mod scores;
mod sheets;
mod sweep;
mod top_bar;

use eframe::egui::{
    self, Align, CentralPanel, Frame, Layout, Margin, Panel, Rect, Role, Sense, Ui, UiBuilder, WidgetInfo, vec2,
};

use self::context::PanelContext;
use crate::commands::{CommandId, command};
use crate::text::Text;
use crate::theme::{self, Palette};
use crate::views::button::Button;
use crate::views::{self, paint};
use crate::workbench::{Action, Tab, Workbench};

/// What the panels keep between frames.
#[derive(Default)]
pub struct Window {
    rail: prefix_rail::Rail,
    prompt: prompt_bar::PromptBar,
    outputs: outputs::Outputs,
    plot: plot_card::PlotCard,
    sheets: sheets::Sheets,
    sweep: sweep::SweepView,
    presenter: present::Presenter,
    has_wrong_field: bool,
    /// What the panels keep of a recording that is played, and its number of seeks.
    played: Option<(u64, Box<Window>)>,
}

/// Minimum height of the plot's card.
pub(super) const PLOT_LEAST: f32 = 206.0;

impl Window {
    /// Draws the whole window in `ui` and returns the user's actions.
    pub fn show(&mut self, ui: &mut Ui, workbench: &Workbench) -> Vec<Action> {
        self.has_wrong_field = false;
        let Some(playback) = &workbench.playback else {
            self.played = None;
            return self.show_workbench(ui, workbench, workbench);
        };
        let mut actions = Vec::new();
        playback::footer(ui, workbench, playback, &mut actions);
        let (seeks, mut window) = self.played.take().unwrap_or_default();
        if seeks != playback.seeks {
            // After a seek, nothing kept between frames is valid.
            *window = Self::default();
        }
        actions.extend(window.show_workbench(ui, &playback.workbench, workbench));
        self.played = Some((playback.seeks, window));
        actions
    }

    /// Returns whether a field of the user's own work was drawn in the last frame whose text is not valid.
    pub fn has_wrong_field(&self) -> bool {
        self.has_wrong_field
    }

    fn show_workbench(&mut self, ui: &mut Ui, workbench: &Workbench, own: &Workbench) -> Vec<Action> {
        let mut cx = PanelContext {
            workbench,
            own,
            text: Text::of(workbench.settings.language),
            has_wrong_field: false,
            actions: Vec::new(),
        };
        if workbench.presenting {
            self.presenter.show(ui, &mut cx);
            self.sheets.show(ui, &mut cx);
            return cx.actions;
        }
        self.presenter.leave();
        let palette = Palette::of(ui);
        let bar = Frame::NONE.fill(palette.panel);
        let tools = Panel::top("top bar")
            .exact_size(theme::TOP_BAR)
            .frame(bar)
            .show(ui, |ui| {
                let bar = ui.max_rect();
                ui.expand_to_include_rect(bar);
                top_bar::views(ui, &mut cx)
            })
            .inner;
        top_bar::banner(ui, &mut cx);
        match workbench.tab {
            Tab::Tune => self.tune(ui, &mut cx),
            Tab::Sweep => self.sweep.show(ui, &mut cx),
            Tab::Find => find::show(ui, &mut cx),
            Tab::Doctor => doctor::show(ui, &mut cx),
        }
        top_bar::tools(ui, &mut cx, tools);
        self.sheets.show(ui, &mut cx);
        self.has_wrong_field = cx.has_wrong_field;
        cx.actions
    }

    /// Controls are added in reading order: the prompt, the rail, the texts, the plot.
    fn tune(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>) {
        let palette = Palette::of(ui);
        let rail = Panel::left("rail")
            .exact_size(theme::RAIL)
            .resizable(false)
            .frame(Frame::NONE.fill(palette.panel))
            .show(ui, |ui| {
                let rect = ui.available_rect_before_wrap();
                ui.expand_to_include_rect(rect);
                rect
            })
            .inner;
        let padding = theme::PADDING as i8;
        let frame = Frame::NONE.fill(palette.window).inner_margin(Margin {
            left: padding,
            right: padding,
            top: 10,
            bottom: padding,
        });
        Panel::top("prompt")
            .frame(frame)
            .show_separator_line(false)
            .resizable(false)
            .show(ui, |ui| {
                ui.spacing_mut().item_spacing.y = 0.0;
                self.prompt.show(ui, cx);
            });
        let mut child = ui.new_child(UiBuilder::new().id_salt("rail").max_rect(rail));
        child.set_clip_rect(rail.intersect(ui.clip_rect()));
        self.rail.show(&mut child, cx);
        CentralPanel::no_frame()
            .frame(Frame::NONE.fill(palette.window))
            .show(ui, |ui| self.centre(ui, cx));
    }

    fn centre(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>) {
        let margin = Margin {
            top: 0,
            ..Margin::same(theme::PADDING as i8)
        };
        views::scrolled(ui, "centre", margin, |ui, room| {
            if cx.workbench.texts_alone {
                let texts = (room - WAY_BACK).max(outputs::LEAST);
                self.outputs.height(ui, cx, ui.available_width(), texts, Some(texts));
                self.outputs.show(ui, cx, texts);
                way_back(ui, cx);
                return;
            }
            // If there is no room for both, both get their minimum height and the centre scrolls.
            let most = (room - PLOT_LEAST - theme::GAP).max(outputs::LEAST);
            let set = cx.workbench.settings.texts_height;
            let texts = self.outputs.height(ui, cx, ui.available_width(), most, set);
            self.outputs.show(ui, cx, texts);
            splitter(ui, cx, Tab::Tune, texts, (outputs::LEAST, most));
            let plot = (room - texts - theme::GAP).max(PLOT_LEAST);
            self.plot.show(ui, cx, plot, self.outputs.first_difference_so_far(cx));
        });
    }
}

/// Height of the strip with the button that shows the plot again.
pub(super) const WAY_BACK: f32 = 30.0;

/// Draws the button that shows the plot again, while only the texts are shown.
pub(super) fn way_back(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let key = command(CommandId::TextsAlone).shortcut(ui.ctx().os().is_mac());
    let button = Button::quiet(cx.text.show_plot)
        .small()
        .key(key.map(|key| context::keys(ui, &key)).unwrap_or_default())
        .height(WAY_BACK - 4.0);
    ui.add_space(4.0);
    let strip = ui.allocate_ui_with_layout(
        vec2(ui.available_width(), WAY_BACK - 4.0),
        Layout::top_down(Align::Center),
        |ui| ui.add(button),
    );
    if strip.inner.clicked() {
        cx.act(Action::ToggleTextsAlone);
    }
}

/// Draws the gap between texts and plot, which can be dragged between the heights `ends` of the texts; a double click
/// resets it. Up and Down move it while it has the focus. In Sweep the texts are below it.
pub(super) fn splitter(ui: &mut Ui, cx: &mut PanelContext<'_>, tab: Tab, texts: f32, ends: (f32, f32)) {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), theme::GAP), Sense::click_and_drag());
    response.widget_info(|| {
        let mut info = WidgetInfo::labeled(Role::Splitter, true, cx.text.splitter);
        info.value = Some(f64::from(texts));
        info
    });
    let palette = Palette::of(ui);
    let lit = response.hovered() || response.dragged() || response.has_focus();
    let grip = Rect::from_center_size(rect.center(), vec2(48.0, 4.0));
    let colour = if lit { palette.text2 } else { palette.stroke };
    ui.painter().rect_filled(grip, 2.0, colour);
    paint::focus_ring(ui, &response, grip.expand2(vec2(2.0, 1.0)), theme::RADIUS_TAG);
    if response.hovered() || response.dragged() {
        ui.ctx().set_cursor_icon(egui::CursorIcon::ResizeVertical);
    }
    let mut steps = 0.0;
    if response.has_focus() {
        let filter = egui::EventFilter {
            vertical_arrows: true,
            ..egui::EventFilter::default()
        };
        ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, filter));
        steps = ui.input(|input| {
            input.num_presses(egui::Key::ArrowDown) as f32 - input.num_presses(egui::Key::ArrowUp) as f32
        });
    }
    let moved = response.drag_delta().y + SPLITTER_STEP * steps;
    let moved = if tab == Tab::Sweep { -moved } else { moved };
    if response.double_clicked() {
        cx.act(Action::SetTextsHeight(tab, None));
    } else if moved != 0.0 {
        cx.act(Action::SetTextsHeight(tab, Some((texts + moved).clamp(ends.0, ends.1))));
    }
    response.on_hover_text(cx.text.splitter_about);
}

/// Step of an arrow key on the splitter.
const SPLITTER_STEP: f32 = 24.0;
