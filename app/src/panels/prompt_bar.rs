//! The prompt with its settings, and the Run button.

use eframe::egui::{
    self, Align, CornerRadius, Frame, Key, Layout, Margin, Role, ScrollArea, Sense, Stroke, TextEdit, Ui, WidgetInfo,
    pos2, vec2,
};

use super::context::PanelContext;
use crate::commands::{CommandId, command};
use crate::model::typed::{Accepted, decimal};
use crate::model::{PRESETS, Sampling, beginning};
use crate::theme::{self, Palette, Type};
use crate::views::button::Button;
use crate::views::entry::Field;
use crate::views::icon::{self, Icon};
use crate::views::{fold, paint, select, toggle};
use crate::workbench::Action;

/// Text style of the prompt.
const PROMPT: Type = Type { size: 16.0, line: 24.0 };
/// Maximum number of visible lines; a longer prompt scrolls.
const MAX_LINES: f32 = 4.0;

/// Height of the row above the prompt.
const SYSTEM_ROW: f32 = 24.0;

/// An item of the prompt menu: a preset, or a prompt that the user ran before.
#[derive(Clone, Copy, PartialEq)]
enum Choice {
    Preset(usize),
    Own(usize),
}

/// Number of characters of a prompt in a menu item.
const IN_MENU: usize = 36;

/// What the prompt bar keeps between frames.
#[derive(Default)]
pub struct PromptBar {
    /// Whether system prompt, limits and sampling are expanded.
    open: bool,
}

impl PromptBar {
    pub fn show(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>) {
        self.system_row(ui, cx);
        fold::body(ui, "system", self.open, |ui| {
            ui.add_space(8.0);
            system_fields(ui, cx);
            ui.add_space(8.0);
        });
        ui.add_space(6.0);
        prompt_row(ui, cx);
    }

    /// Draws the heading with a preview of the settings, and the presets.
    fn system_row(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>) {
        let palette = Palette::of(ui);
        let text = cx.text;
        let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), SYSTEM_ROW), Sense::hover());
        let preset_width = 176.0_f32.min(rect.width() * 0.4);
        let label = paint::line_of_text(ui, text.preset, theme::BODY.regular(), palette.text3);
        let right = rect.with_min_x(rect.right() - preset_width);
        let label_at = pos2(right.left() - 12.0, rect.center().y);
        let label = paint::place(ui.painter(), label_at, egui::Align2::RIGHT_CENTER, label);

        let fold = rect.with_max_x(label.left() - 24.0);
        let response = ui.interact(fold, ui.scope_id().with("system fold"), Sense::click());
        if response.clicked() {
            self.open = !self.open;
        }
        let open = self.open;
        response.widget_info(|| WidgetInfo::selected(Role::DisclosureTriangle, true, open, text.system_and_limits));
        let colour = if response.hovered() {
            palette.text
        } else {
            palette.text2
        };
        let y = rect.center().y;
        let chevron = if open { Icon::ChevronDown } else { Icon::ChevronRight };
        icon::paint(ui.painter(), chevron, pos2(fold.left() + 6.0, y), colour);
        let title = paint::text(
            ui.painter(),
            pos2(fold.left() + 20.0, y),
            egui::Align2::LEFT_CENTER,
            text.system,
            theme::BODY.regular(),
            palette.text3,
        );
        let prompt = &cx.workbench.prompt;
        let preview = [
            prompt.system.replace('\n', " "),
            (text.tokens_summary)(prompt.max_tokens),
            sampling_words(cx, prompt.sampling).to_owned(),
        ];
        let limits = format!("  ·  {}  ·  {}", preview[1], preview[2]);
        let limits = paint::line_of_text(ui, &limits, theme::BODY.regular(), palette.text3);
        let room = fold.right() - title.right() - 10.0;
        let system_room = room - limits.size().x;
        // If there is no room for both, the system prompt is shown.
        let (system_room, with_limits) = if system_room > 80.0 {
            (system_room, true)
        } else {
            (room, false)
        };
        let galley = paint::cut_to(ui, &preview[0], theme::BODY.regular(), palette.text2, system_room);
        let placed = paint::place(
            ui.painter(),
            pos2(title.right() + 10.0, y),
            egui::Align2::LEFT_CENTER,
            galley,
        );
        if with_limits {
            paint::place(ui.painter(), pos2(placed.right(), y), egui::Align2::LEFT_CENTER, limits);
        }
        paint::focus_ring(ui, &response, fold.shrink2(vec2(0.0, 4.0)), theme::RADIUS_TAG);

        let mut presets: Vec<_> = PRESETS
            .iter()
            .enumerate()
            .map(|(index, preset)| {
                (
                    Choice::Preset(index),
                    preset.title(cx.workbench.settings.language).to_owned(),
                )
            })
            .collect();
        let own = cx.workbench.own_prompts.iter().enumerate();
        presets.extend(own.map(|(index, prompt)| (Choice::Own(index), beginning(&prompt.user, IN_MENU))));
        let asked = prompt.prompt();
        let now = match prompt.preset() {
            Some(index) => Some(Choice::Preset(index)),
            None => cx
                .workbench
                .own_prompts
                .iter()
                .position(|own| *own == asked)
                .map(Choice::Own),
        };
        let mut child = ui.new_child(egui::UiBuilder::new().max_rect(right));
        let chosen = select::sized(
            &mut child,
            text.preset,
            now.as_ref(),
            &presets,
            text.own_text,
            vec2(preset_width, SYSTEM_ROW),
        );
        match chosen {
            Some(Choice::Preset(index)) => cx.act(Action::LoadPreset(index)),
            Some(Choice::Own(index)) => cx.act(Action::LoadOwnPrompt(index)),
            None => {}
        }
    }
}

fn system_fields(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = cx.text;
    let prompt = &cx.workbench.prompt;
    let mut system = prompt.system.clone();
    let response = edit(
        ui,
        "system text",
        text.system,
        "",
        &mut system,
        theme::BODY,
        ui.available_width(),
    );
    if response.changed() {
        cx.act(Action::SetSystem(system));
    }
    ui.add_space(8.0);
    let row = ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(8.0, 8.0);
        let label = |ui: &mut Ui, words: &str| {
            ui.label(paint::words(words, theme::BODY, palette.text2));
        };
        label(ui, text.max_tokens);
        let field = Field {
            name: text.max_tokens,
            shown: prompt.max_tokens.to_string(),
            width: 72.0,
        };
        let parse = |typed: &str| typed.parse::<usize>().ok().filter(|tokens| *tokens >= 1);
        let tokens = field.show(ui, parse);
        ui.add_space(16.0);
        label(ui, text.sampling);
        let ready_made = match prompt.sampling {
            Sampling::Greedy => Sampling::TopK {
                k: 10,
                temperature: 0.8,
                seed: 0,
            },
            chosen => chosen,
        };
        let ways = [
            (Sampling::Greedy, text.greedy.to_owned()),
            (ready_made, text.top_k.to_owned()),
        ];
        if let Some(way) = select::select(ui, text.sampling, Some(&prompt.sampling), &ways, "", 112.0) {
            cx.act(Action::SetSampling(way));
        }
        let mut top_k = None;
        if let Sampling::TopK { k, temperature, seed } = prompt.sampling {
            label(ui, text.top_k_k);
            let field = Field {
                name: text.top_k_k,
                shown: k.to_string(),
                width: 56.0,
            };
            let new_k = field.show(ui, |typed| typed.parse::<u32>().ok().filter(|k| *k >= 1));
            label(ui, text.temperature);
            let field = Field {
                name: text.temperature,
                shown: format!("{temperature}"),
                width: 64.0,
            };
            let parse = |typed: &str| decimal(typed).filter(|t| *t >= 0.0);
            let new_temperature = field.show(ui, parse);
            top_k = Some((k, temperature, seed, new_k, new_temperature));
        }
        (tokens, top_k)
    });
    let (tokens, top_k) = row.inner;
    if let Some(tokens) = cx.entered(ui, tokens, &Accepted::of(&(1_usize..))) {
        cx.act(Action::SetMaxTokens(tokens));
    }
    if let Some((k, temperature, seed, new_k, new_temperature)) = top_k {
        if let Some(k) = cx.entered(ui, new_k, &Accepted::of(&(1_u32..))) {
            cx.act(Action::SetSampling(Sampling::TopK { k, temperature, seed }));
        }
        if let Some(temperature) = cx.entered(ui, new_temperature, &Accepted::of(&(0.0..))) {
            cx.act(Action::SetSampling(Sampling::TopK { k, temperature, seed }));
        }
    }
}

/// Returns the name of how tokens are sampled.
pub(super) fn sampling_words(cx: &PanelContext<'_>, sampling: Sampling) -> &'static str {
    match sampling {
        Sampling::Greedy => cx.text.greedy,
        Sampling::TopK { .. } => cx.text.top_k,
    }
}

fn prompt_row(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let text = cx.text;
    let workbench = cx.workbench;
    let shortcut = |id: CommandId| {
        command(id)
            .shortcut(ui.ctx().os().is_mac())
            .map(|keys| super::context::keys(ui, &keys))
            .unwrap_or_default()
    };
    let run_key = shortcut(CommandId::Run);
    let stop_key = shortcut(CommandId::Stop);
    let run = Button::ink(text.run)
        .icon(Icon::Run)
        .key(run_key)
        .height(theme::CONTROL_LARGE);
    let stop = Button::outlined(text.stop)
        .icon(Icon::Stop)
        .key(stop_key)
        .height(theme::CONTROL_LARGE);
    // Run and Stop have the same width, so that the layout does not change.
    let button = run.measure(ui).max(stop.measure(ui));
    let live_words = paint::line_of_text(ui, text.live, theme::BODY.regular(), egui::Color32::PLACEHOLDER);
    let live_width = live_words.size().x + 8.0 + 34.0;
    let width = ui.available_width() - button - live_width - 32.0;
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = 16.0;
        let mut user = workbench.prompt.user.clone();
        let response = edit(
            ui,
            "prompt text",
            text.prompt,
            text.prompt_hint,
            &mut user,
            PROMPT,
            width,
        );
        if response.changed() {
            cx.act(Action::SetPrompt(user));
        }
        ui.allocate_ui_with_layout(
            vec2(live_width, theme::CONTROL_LARGE),
            Layout::left_to_right(Align::Center),
            |ui| {
                let mut live = workbench.live;
                if toggle::toggle(ui, &mut live, text.live).changed() {
                    cx.act(Action::SetLive(live));
                }
            },
        );
        if workbench.is_running() {
            if ui.add(stop.width(button)).clicked() {
                cx.act(Action::Stop);
            }
        } else {
            let why_not = workbench.why_not_run();
            let response = ui.add_enabled(why_not.is_none(), run.width(button));
            if response.clicked() {
                cx.act(Action::Run);
            }
            if let Some(why) = why_not {
                response.on_disabled_hover_text((text.unavailable)(why));
            }
        }
    });
}

/// Draws a multi-line text field. Enter inserts a line break, including the Enter that ends an input method's
/// composition; only the shortcut runs, so that a half-written prompt is never sent.
fn edit(ui: &mut Ui, salt: &str, name: &str, hint: &str, text: &mut String, kind: Type, width: f32) -> egui::Response {
    let palette = Palette::of(ui);
    let padding = ((theme::CONTROL_LARGE - kind.line) / 2.0) as i8;
    let outer = Frame::NONE
        .fill(palette.inset)
        .stroke(Stroke::new(1.0, palette.stroke))
        .corner_radius(CornerRadius::same(theme::RADIUS_CONTROL))
        .inner_margin(Margin {
            left: 15,
            right: 8,
            top: padding - 1,
            bottom: padding - 1,
        });
    let mut layouter = move |ui: &Ui, text: &dyn egui::TextBuffer, wrap: f32| {
        let format = egui::TextFormat {
            font_id: kind.regular(),
            line_height: Some(kind.line),
            color: palette.text,
            valign: Align::Center,
            ..egui::TextFormat::default()
        };
        let mut job = egui::text::LayoutJob::single_section(text.as_str().to_owned(), format);
        job.wrap.max_width = wrap;
        ui.painter().layout_job(job)
    };
    let shown = outer.show(ui, |ui| {
        ui.set_width(width - 25.0);
        ui.spacing_mut().interact_size.y = kind.line;
        ScrollArea::vertical()
            .id_salt(salt)
            .max_height(kind.line * MAX_LINES)
            .min_scrolled_height(kind.line)
            .show(ui, |ui| {
                let hint = paint::words(hint, kind, palette.text3);
                ui.add(
                    TextEdit::multiline(text)
                        .id_salt(salt)
                        .hint_text(hint)
                        .desired_rows(1)
                        .desired_width(f32::INFINITY)
                        .margin(Margin::ZERO)
                        .frame(Frame::NONE)
                        .return_key(egui::KeyboardShortcut::new(egui::Modifiers::NONE, Key::Enter))
                        .layouter(&mut layouter),
                )
                .accessible_name(name)
            })
            .inner
    });
    // A click anywhere in the frame focuses the text.
    let frame = shown.response.rect;
    if ui.input(|input| input.pointer.primary_pressed())
        && ui
            .input(|input| input.pointer.interact_pos())
            .is_some_and(|at| frame.contains(at))
        && ui.rect_contains_pointer(frame)
        && !shown
            .inner
            .rect
            .contains(ui.input(|input| input.pointer.interact_pos()).unwrap_or_default())
    {
        shown.inner.request_focus();
    }
    paint::focus_ring(ui, &shown.inner, frame.shrink(0.5), theme::RADIUS_CONTROL);
    shown.inner
}
