//! The list of modules on the local network, in the sheet for connecting.

use eframe::egui::{Align, Label, Layout, Ui, vec2};

use super::context::PanelContext;
use super::module_card::with_mark;
use crate::model::{FoundModule, ModuleAnswer, Target, UsedModule};
use crate::text::DiscoveryText;
use crate::theme::{self, Palette};
use crate::views::button::Button;
use crate::views::paint;
use crate::views::status::{self, Status};
use crate::workbench::Action;

/// One line of the list.
struct Line {
    address: String,
    name: String,
    about: String,
    status: Status,
}

pub(super) fn list(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = DiscoveryText::of(cx.workbench.settings.language);
    let (discovery, settings) = (&cx.own.discovery, &cx.own.settings);
    ui.horizontal(|ui| {
        ui.label(paint::strong(text.title, theme::NAME, palette.text));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if discovery.is_searching() {
                ui.label(paint::words(text.searching, theme::CAPTION, palette.text3));
            }
        });
    });
    let found = discovery.found.iter().map(|found| of_found(cx, text, found));
    let is_found = |used: &&UsedModule| !discovery.found.iter().any(|found| found.address == used.address);
    let used = settings.used_modules.iter().filter(is_found).map(|used| Line {
        address: used.address.clone(),
        name: used.address.clone(),
        about: (text.used)(&used.model),
        status: Status::Away,
    });
    let lines: Vec<Line> = found.chain(used).collect();
    for line in &lines {
        show(ui, cx, text, line);
    }
    if let Some(problem) = &cx.own.discovery.problem {
        with_mark(ui, Status::Warning, |ui| {
            let words = problem.whole(cx.workbench.settings.language);
            ui.label(paint::words(words, theme::BODY, palette.text2));
        });
    }
    let hint = match (!cx.own.settings.discover, lines.is_empty()) {
        (true, _) => text.off,
        (false, true) => text.none_yet,
        (false, false) => return,
    };
    ui.label(paint::words(hint, theme::BODY, palette.text3));
}

fn of_found(cx: &PanelContext<'_>, text: &DiscoveryText, found: &FoundModule) -> Line {
    let (about, status) = match &found.answer {
        ModuleAnswer::Pending => (text.pending.to_owned(), Status::Busy),
        ModuleAnswer::Module { model, ours } => {
            let unit = if *ours { text.ours } else { text.stock };
            let model = model.as_deref().unwrap_or(text.no_model);
            (format!("{model}  ·  {unit}"), Status::Good)
        }
        ModuleAnswer::Problem(problem) => {
            let sentence = problem.sentence.get(cx.workbench.settings.language);
            (sentence.to_owned(), Status::Broken)
        }
    };
    let named = [found.name.as_str(), found.address.as_str()];
    let named: Vec<&str> = named.into_iter().filter(|part| !part.is_empty()).collect();
    Line {
        address: found.address.clone(),
        name: named.join("  ·  "),
        about,
        status,
    }
}

fn show(ui: &mut Ui, cx: &mut PanelContext<'_>, text: &DiscoveryText, line: &Line) {
    let palette = Palette::of(ui);
    let target = Target::Remote {
        address: line.address.clone(),
        model: None,
    };
    let same_address = matches!(&cx.own.target, Target::Remote { address, .. } if *address == line.address);
    let in_use = same_address && cx.own.module.is_ready();
    ui.horizontal(|ui| {
        let room = ui.available_width();
        status::mark(ui, line.status);
        ui.allocate_ui_with_layout(vec2(room * 0.7, 0.0), Layout::top_down(Align::Min), |ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            ui.add(Label::new(paint::words(&line.name, theme::BODY, palette.text)).truncate());
            ui.add(Label::new(paint::words(&line.about, theme::CAPTION, palette.text2)).truncate());
        });
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if in_use {
                ui.label(paint::words(cx.text.in_use, theme::BODY, palette.text2));
                return;
            }
            let name = (text.connect_to)(&line.name);
            if ui.add(Button::outlined(cx.text.connect).name(&name)).clicked() {
                cx.act(Action::Connect(target));
                cx.act(Action::CloseDialog);
            }
        });
    });
}
