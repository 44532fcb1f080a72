//! The page with the first steps: shown at the first start, and opened by a button in the list of keys.

use eframe::egui::{Align, Layout, Role, Ui, WidgetInfo, vec2};

use super::context::{self, PanelContext};
use super::module_card;
use crate::commands::{CommandId, command};
use crate::text::{DemoText, StepsText};
use crate::theme::{self, Palette};
use crate::views::button::Button;
use crate::views::paint;
use crate::workbench::{Action, Dialog, PlaybackAction, SweepAction, Tab};

/// The commands whose keys the steps name, in their order.
const KEYS: [&[CommandId]; 4] = [
    &[CommandId::MagnitudeUp, CommandId::MagnitudeDown, CommandId::Run],
    &[CommandId::NextDifference, CommandId::MoreStars, CommandId::EditNote],
    &[],
    &[CommandId::Connect],
];
/// Width of a step's number.
const NUMBER: f32 = 36.0;

pub fn sheet(ui: &mut Ui, cx: &mut PanelContext<'_>, opened: bool) {
    let palette = Palette::of(ui);
    let text = StepsText::of(cx.workbench.settings.language);
    ui.label(paint::words(text.about, theme::BODY, palette.text2));
    // On a first start, a model is being downloaded meanwhile.
    module_card::any_fetch(ui, cx);
    let actions = [
        vec![],
        vec![],
        vec![
            Action::Sweep(SweepAction::AddCurrentPrompt),
            Action::ShowTab(Tab::Sweep),
            Action::CloseDialog,
        ],
        vec![Action::ShowDialog(Dialog::Connect)],
    ];
    for (index, (step, actions)) in text.steps.iter().zip(actions).enumerate() {
        paint::rule(ui);
        let width = ui.available_width();
        ui.horizontal_top(|ui| {
            ui.allocate_ui(vec2(NUMBER, 0.0), |ui| {
                ui.set_width(NUMBER - 8.0);
                ui.label(paint::figures((index + 1).to_string(), theme::VERDICT, palette.prefix));
            });
            ui.allocate_ui_with_layout(vec2(width - NUMBER, 0.0), Layout::top_down(Align::Min), |ui| {
                ui.set_width(width - NUMBER);
                ui.spacing_mut().item_spacing.y = 4.0;
                let name = ui.label(paint::strong(step.name, theme::NAME, palette.text));
                name.widget_info(|| WidgetInfo::labeled(Role::Heading, true, step.name));
                let words = with_keys(ui, step.words, KEYS[index]);
                ui.label(paint::words(words, theme::BODY, palette.text2));
                if !step.button.is_empty() && ui.add(Button::outlined(step.button)).clicked() {
                    actions.into_iter().for_each(|action| cx.act(action));
                }
            });
        });
    }
    paint::rule(ui);
    ui.horizontal(|ui| {
        let begin = ui.add(Button::ink(text.begin));
        if opened {
            begin.request_focus();
        }
        if begin.clicked() {
            cx.act(Action::CloseDialog);
        }
        let demo = DemoText::of(cx.workbench.settings.language);
        for (words, action) in [
            (demo.play_demo, Action::Playback(PlaybackAction::Demo)),
            (demo.open_example, Action::OpenExample),
        ] {
            if ui.add(Button::outlined(words)).clicked() {
                cx.act(Action::CloseDialog);
                cx.act(action);
            }
        }
        ui.label(paint::words(text.found_again, theme::CAPTION, palette.text3));
    });
}

/// Replaces the placeholders of the text by the shortcuts of these commands.
fn with_keys(ui: &Ui, words: &str, commands: &[CommandId]) -> String {
    let mut out = words.to_owned();
    for id in commands {
        let key = command(*id)
            .shortcut(ui.ctx().os().is_mac())
            .map(|key| context::keys(ui, &key));
        out = out.replacen("{key}", &key.unwrap_or_default(), 1);
    }
    out
}
