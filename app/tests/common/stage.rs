//! The window without a screen: shown on a workbench, its actions applied to it. It knows no bridge.

use eframe::egui::accesskit::Role;
use eframe::egui::{Color32, Context, Key, Modifiers, Shape, Ui, UiBuilder, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use softprefix::app::frame_of;
use softprefix::panels::Window;
use softprefix::workbench::{Action, Workbench};
use softprefix::{fonts, theme};

/// What the harness shows.
pub struct Stage {
    pub window: Window,
    pub workbench: Workbench,
    /// What was done in the window so far, oldest first.
    pub done: Vec<Action>,
}

impl Stage {
    pub fn new(workbench: Workbench) -> Self {
        Self {
            window: Window::default(),
            workbench,
            done: Vec::new(),
        }
    }

    /// One frame, and what is done in it.
    pub fn show(&mut self, ui: &mut Ui) {
        // The harness leaves a margin, a window does not.
        let whole = ui.ctx().content_rect();
        let ui = &mut ui.new_child(UiBuilder::new().max_rect(whole));
        self.done.extend(frame_of(&mut self.window, &mut self.workbench, ui));
    }
}

/// What the window needs before its first frame.
pub fn prepare(ctx: &Context) {
    fonts::install(ctx);
    theme::install(ctx);
}

/// The window at the smallest size it is made for.
pub fn window(workbench: Workbench) -> Harness<'static, Stage> {
    sized(workbench, [1280.0, 800.0])
}

pub fn sized(workbench: Workbench, size: [f32; 2]) -> Harness<'static, Stage> {
    paced(workbench, size, 0.25)
}

/// With `step` seconds from frame to frame: two presses make a double click only if they come quickly.
pub fn paced(workbench: Workbench, size: [f32; 2], step: f32) -> Harness<'static, Stage> {
    let mut harness = Harness::builder()
        .with_size(vec2(size[0], size[1]))
        .with_max_steps(20)
        .with_step_dt(step)
        .with_context_setup(prepare)
        .build_ui_state(|ui, stage: &mut Stage| stage.show(ui), Stage::new(workbench));
    harness.run_steps(3);
    harness
}

/// Types over the text of a field, and stays in it.
pub fn type_over(harness: &mut Harness<'_, Stage>, field: &str, text: &str) {
    harness.get_by_role_and_label(Role::TextInput, field).focus();
    harness.run_steps(2);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::A);
    harness.run_steps(1);
    harness.get_by_role_and_label(Role::TextInput, field).type_text(text);
    harness.run_steps(2);
}

/// Types into a field, and leaves it with Enter.
pub fn enter(harness: &mut Harness<'_, Stage>, field: &str, text: &str) {
    type_over(harness, field, text);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
}

/// The shapes of the last frame, from the bottom to the top.
pub fn painted<'h, S>(harness: &'h Harness<'_, S>) -> Vec<&'h Shape> {
    fn unfold<'s>(shape: &'s Shape, out: &mut Vec<&'s Shape>) {
        match shape {
            Shape::Vec(shapes) => shapes.iter().for_each(|shape| unfold(shape, out)),
            shape => out.push(shape),
        }
    }
    let mut out = Vec::new();
    for clipped in &harness.output().shapes {
        unfold(&clipped.shape, &mut out);
    }
    out
}

/// Where in [`painted`] words stand that begin so, and their colour.
pub fn words(harness: &Harness<'_, Stage>, beginning: &str) -> Option<(usize, Color32)> {
    let shapes = painted(harness);
    shapes.into_iter().enumerate().find_map(|(at, shape)| match shape {
        Shape::Text(text) if text.galley.text().starts_with(beginning) => {
            let own = text.galley.job.sections.first().map(|section| section.format.color);
            let colour = text.override_text_color.or(own)?;
            Some((at, colour.gamma_multiply(text.opacity_factor)))
        }
        _ => None,
    })
}
