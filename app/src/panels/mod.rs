//! The window: what stands where, and how the workbench's state becomes words, controls and pictures.
//!
//! Panels read the workbench and answer with actions; none of them changes it. What a panel keeps for itself between
//! frames (scroll positions, what is folded, what is half typed) is in [`Window`] and is of no interest to anyone else.

mod deep;
mod desk;
mod doctor;
mod figure;
mod identity;
mod material;
mod module_card;
mod outputs;
mod playback;
mod plot_card;
mod prefix_rail;
mod present;
mod prompt_bar;
mod sheets;
mod sweep;
mod top_bar;

use eframe::egui::{self, CentralPanel, Frame, Margin, Panel, Rect, Role, ScrollArea, Sense, Ui, WidgetInfo, vec2};

use self::desk::Desk;
use crate::text::Text;
use crate::theme::{self, Palette};
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
    /// Height of the outputs where the person changed it.
    outputs_height: Option<f32>,
    /// What the panels keep of a recording that is played, and of which jump in it.
    played: Option<(u64, Box<Window>)>,
}

/// Height of the outputs unless the person changes it.
const OUTPUTS: f32 = 232.0;
const OUTPUTS_LEAST: f32 = 152.0;
/// Least height of the plot's card; below it the centre scrolls.
const PLOT_LEAST: f32 = 300.0;

impl Window {
    /// Shows the whole window in `ui` and answers with what the person did.
    pub fn show(&mut self, ui: &mut Ui, bench: &Workbench) -> Vec<Action> {
        let Some(playback) = &bench.playback else {
            self.played = None;
            return self.show_bench(ui, bench, bench);
        };
        let mut actions = Vec::new();
        playback::foot(ui, bench, playback, &mut actions);
        let (jump, mut window) = self.played.take().unwrap_or_default();
        if jump != playback.jumps {
            // Nothing of what was shown before a jump holds after it.
            *window = Self::default();
        }
        actions.extend(window.show_bench(ui, &playback.bench, bench));
        self.played = Some((playback.jumps, window));
        actions
    }

    fn show_bench(&mut self, ui: &mut Ui, bench: &Workbench, own: &Workbench) -> Vec<Action> {
        let mut desk = Desk {
            bench,
            own,
            text: Text::of(bench.settings.language),
            actions: Vec::new(),
        };
        if bench.presenting {
            self.presenter.show(ui, &mut desk);
            self.sheets.show(ui, &mut desk);
            return desk.actions;
        }
        self.presenter.leave();
        let palette = Palette::of(ui);
        let bar = Frame::NONE.fill(palette.panel);
        Panel::top("top bar")
            .exact_size(theme::TOP_BAR)
            .frame(bar)
            .show(ui, |ui| {
                top_bar::show(ui, &mut desk);
            });
        top_bar::banner(ui, &mut desk);
        match bench.tab {
            Tab::Tune => self.tune(ui, &mut desk),
            Tab::Sweep => self.sweep.show(ui, &mut desk),
            Tab::Doctor => doctor::show(ui, &mut desk),
        }
        self.sheets.show(ui, &mut desk);
        desk.actions
    }

    fn tune(&mut self, ui: &mut Ui, desk: &mut Desk<'_>) {
        let palette = Palette::of(ui);
        let frame = Frame::NONE.fill(palette.panel);
        Panel::left("rail")
            .exact_size(theme::RAIL)
            .resizable(false)
            .frame(frame)
            .show(ui, |ui| {
                self.rail.show(ui, desk);
            });
        let frame = Frame::NONE.fill(palette.window);
        CentralPanel::no_frame()
            .frame(frame)
            .show(ui, |ui| self.centre(ui, desk));
    }

    fn centre(&mut self, ui: &mut Ui, desk: &mut Desk<'_>) {
        let height = ui.available_height();
        ScrollArea::vertical()
            .id_salt("centre")
            .auto_shrink(false)
            .show(ui, |ui| {
                Frame::NONE
                    .inner_margin(Margin::same(theme::PADDING as i8))
                    .show(ui, |ui| {
                        ui.spacing_mut().item_spacing.y = 0.0;
                        let top = ui.cursor().top();
                        self.prompt.show(ui, desk);
                        ui.add_space(theme::GAP + 8.0);
                        let used = ui.cursor().top() - top;
                        let room = height - 2.0 * theme::PADDING - used - theme::GAP;
                        // Where there is no room for both, both keep their height and the centre scrolls.
                        let most = (room - PLOT_LEAST).max(OUTPUTS);
                        let outputs = self.outputs_height.unwrap_or(OUTPUTS).clamp(OUTPUTS_LEAST, most);
                        self.outputs.show(ui, desk, outputs);
                        self.splitter(ui, desk, outputs, most);
                        let plot = (room - outputs).max(PLOT_LEAST);
                        self.plot.show(ui, desk, plot, self.outputs.parting_so_far(desk));
                    });
            });
    }

    /// The gap between outputs and plot can be moved.
    fn splitter(&mut self, ui: &mut Ui, desk: &Desk<'_>, outputs: f32, most: f32) {
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), theme::GAP), Sense::drag());
        response.widget_info(|| {
            let mut info = WidgetInfo::labeled(Role::Splitter, true, desk.text.splitter);
            info.value = Some(f64::from(outputs));
            info
        });
        if response.hovered() || response.dragged() {
            ui.ctx().set_cursor_icon(egui::CursorIcon::ResizeVertical);
            let grip = Rect::from_center_size(rect.center(), vec2(48.0, 2.0));
            ui.painter().rect_filled(grip, 1.0, Palette::of(ui).stroke);
        }
        if response.double_clicked() {
            self.outputs_height = None;
        } else if response.dragged() {
            self.outputs_height = Some((outputs + response.drag_delta().y).clamp(OUTPUTS_LEAST, most));
        }
    }
}
