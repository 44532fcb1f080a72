//! The module's card: its name and state, and the action that helps if it is not ready.

use eframe::egui::{self, Align, Layout, Ui, vec2};
use softprefix_core::protocol::extension::{StoredWeights, WeightRounding};

use super::context::PanelContext;
use crate::model::{BackgroundFetch, FetchProgress, ModuleFacts, ModuleState, Problem, Target};
use crate::text::{self, Fetching, FirstText};
use crate::theme::{self, Palette};
use crate::views::button::Button;
use crate::views::status::{self, Status};
use crate::views::{paint, progress};
use crate::workbench::doctor::DoctorAction;
use crate::workbench::{Action, Dialog, PlaybackAction};

pub fn show(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = cx.text;
    ui.spacing_mut().item_spacing.y = 12.0;
    // Rows of text are as high as a line.
    ui.spacing_mut().interact_size.y = 16.0;
    let (mark, state) = state_of(cx);
    ui.horizontal(|ui| {
        ui.set_min_height(16.0);
        ui.label(paint::strong(text.module, theme::CAPTION, palette.text2));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.label(paint::words(state, theme::BODY, palette.text2));
            status::mark(ui, mark);
        });
    });
    let title = title(cx);
    let galley = paint::cut_to(
        ui,
        &title,
        theme::CARD_TITLE.semibold(),
        palette.text,
        ui.available_width(),
    );
    let cut = galley.elided;
    let response = ui.add(egui::Label::new(galley));
    if cut {
        response.on_hover_text(&title);
    }
    match &cx.workbench.module {
        ModuleState::Ready(facts) => ready(ui, cx, facts),
        ModuleState::Idle => idle(ui, cx),
        ModuleState::Fetching(fetch) => fetching(ui, cx, fetch),
        ModuleState::Loading { fraction, stage, .. } => {
            let percent = (fraction.clamp(0.0, 1.0) * 100.0).round() as u32;
            progress::progress(ui, Some(*fraction), &(text.load_progress)(*stage, percent));
            elsewhere(ui, cx);
        }
        ModuleState::Connecting { what } => {
            progress::progress(ui, None, (text.connect_step)(*what));
            elsewhere(ui, cx);
        }
        ModuleState::Failed { problem, .. } => {
            show_problem(ui, cx, problem);
            primary(ui, cx, text.reconnect, Action::Reconnect);
            visit_doctor(ui, cx);
            elsewhere(ui, cx);
        }
        ModuleState::TaskFull { tasks } => {
            ui.label(paint::words((text.tasks_full)(tasks.len()), theme::BODY, palette.text2));
            primary(ui, cx, text.left_over_title, Action::ShowDialog(Dialog::LeftOverTasks));
            elsewhere(ui, cx);
        }
        ModuleState::NoModel { problem } => no_model(ui, cx, problem.as_ref()),
    }
}

fn state_of(cx: &PanelContext<'_>) -> (Status, &'static str) {
    let text = cx.text;
    match &cx.workbench.module {
        ModuleState::Ready(facts) if facts.is_ours() => (Status::Good, text.ready),
        ModuleState::Ready(_) => (Status::Warning, text.ready),
        ModuleState::Idle => (Status::Away, text.not_connected),
        ModuleState::Fetching(_) => (Status::Busy, text.fetching),
        ModuleState::Loading { .. } => (Status::Busy, text.loading),
        ModuleState::Connecting { .. } => (Status::Busy, text.connecting),
        ModuleState::Failed { retry: Some(_), .. } => (Status::Busy, text.connecting),
        ModuleState::Failed { .. } => (Status::Away, text.not_connected),
        ModuleState::TaskFull { .. } => (Status::Warning, text.full),
        ModuleState::NoModel { .. } => (Status::Warning, text.no_model),
    }
}

/// Returns `Embedded · qwen2.5-0.5b`, or the address and the model.
fn title(cx: &PanelContext<'_>) -> String {
    let text = cx.text;
    let place = match &cx.workbench.target {
        Target::Embedded { .. } => text.embedded.to_owned(),
        Target::Remote { address, .. } => address.clone(),
    };
    let model = match &cx.workbench.module {
        ModuleState::Loading { model, .. } => model.clone(),
        ModuleState::Fetching(fetch) => fetch.model.clone(),
        other => other
            .last_facts()
            .map(|facts| facts.identity.model.clone())
            .unwrap_or_default(),
    };
    if model.is_empty() {
        place
    } else {
        format!("{place} · {model}")
    }
}

fn ready(ui: &mut Ui, cx: &mut PanelContext<'_>, facts: &ModuleFacts) {
    let palette = Palette::of(ui);
    let text = cx.text;
    let count = |value: Option<usize>| value.map_or_else(|| "–".to_owned(), |value| value.to_string());
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        for (label, value) in [
            ("H", count(facts.hidden_size())),
            (text.window, count(facts.identity.window)),
            (text.latency, text::time(facts.latency)),
        ] {
            ui.label(paint::words(label, theme::CAPTION, palette.text2));
            ui.label(paint::figures(value, theme::CAPTION, palette.text));
            ui.add_space(10.0);
        }
    });
    weights(ui, cx, &facts.identity.weights);
    if !facts.is_ours() {
        ui.label(paint::words(text.stock, theme::CAPTION, palette.text3));
    }
    background_fetch(ui, cx);
    elsewhere(ui, cx);
}

/// Draws how many weight matrices the unit uses exactly as in the model file; the tooltip lists them by type.
fn weights(ui: &mut Ui, cx: &PanelContext<'_>, weights: &[StoredWeights]) {
    if weights.is_empty() {
        return;
    }
    let palette = Palette::of(ui);
    let (text, language) = (cx.text, cx.workbench.settings.language);
    let count = |exact: bool| {
        let alike = weights
            .iter()
            .filter(|stored| (stored.how == WeightRounding::Exact) == exact);
        alike.map(|stored| stored.count).fold(0, usize::saturating_add)
    };
    let lines: Vec<String> = weights
        .iter()
        .map(|stored| stored.description().get(language).to_owned())
        .collect();
    let counts = (text.weights_counted)(count(true), count(false));
    ui.label(paint::words(counts, theme::CAPTION, palette.text2))
        .on_hover_text(lines.join("\n"));
}

fn idle(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    primary(ui, cx, cx.text.connect, Action::Reconnect);
    elsewhere(ui, cx);
}

/// Draws the progress of a download.
fn fetch_progress(ui: &mut Ui, cx: &PanelContext<'_>, fetch: &FetchProgress) {
    let total = fetch.total_bytes.map(text::bytes);
    let words = (FirstText::of(cx.workbench.settings.language).fetching)(&Fetching {
        model: &fetch.model,
        step: &fetch.what,
        done: &text::bytes(fetch.done_bytes),
        total: total.as_deref(),
        source: &fetch.source,
    });
    progress::progress(ui, fetch.fraction(), &words);
}

/// Draws the progress of the model's download, if there is one, or why it failed.
pub(super) fn any_fetch(ui: &mut Ui, cx: &PanelContext<'_>) {
    let background_fetch = cx
        .workbench
        .background_fetch
        .as_ref()
        .and_then(BackgroundFetch::progress);
    match &cx.workbench.module {
        ModuleState::Fetching(fetch) => fetch_progress(ui, cx, fetch),
        ModuleState::NoModel { problem: Some(problem) } => show_problem(ui, cx, problem),
        _ => {
            if let Some(fetch) = background_fetch {
                fetch_progress(ui, cx, fetch);
            }
        }
    }
}

fn fetching(ui: &mut Ui, cx: &mut PanelContext<'_>, fetch: &FetchProgress) {
    let text = cx.text;
    fetch_progress(ui, cx, fetch);
    // The default model's name is not resolved yet, because the small one is downloaded first.
    if matches!(cx.workbench.target, Target::Embedded { model: None }) {
        let words = FirstText::of(cx.workbench.settings.language).small_first;
        ui.label(paint::words(words, theme::CAPTION, Palette::of(ui).text2));
    }
    watch_demo(ui, cx);
    let half = (ui.available_width() - 8.0) / 2.0;
    ui.horizontal(|ui| {
        if ui.add(Button::outlined(text.cancel).width(half)).clicked() {
            cx.act(Action::CancelFetch);
        }
        if ui.add(Button::outlined(text.other_models).width(half)).clicked() {
            cx.act(Action::ShowDialog(Dialog::Models));
        }
    });
}

/// Draws the button of the demo, which needs neither a model nor a network.
fn watch_demo(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let words = text::DemoText::of(cx.workbench.settings.language).play_demo;
    let width = ui.available_width();
    if ui.add(Button::outlined(words).width(width)).clicked() {
        cx.act(Action::Playback(PlaybackAction::Demo));
    }
}

/// Draws the progress of a background download, or how it ended.
fn background_fetch(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = FirstText::of(cx.workbench.settings.language);
    let width = ui.available_width();
    match &cx.workbench.background_fetch {
        None => {}
        Some(BackgroundFetch::Fetching(fetch)) => {
            fetch_progress(ui, cx, fetch);
            ui.label(paint::words(text.background_fetch, theme::CAPTION, palette.text2));
            if ui.add(Button::outlined(cx.text.cancel).width(width)).clicked() {
                cx.act(Action::CancelFetch);
            }
        }
        Some(BackgroundFetch::Arrived(model)) => {
            ui.label(paint::words((text.arrived)(model), theme::CAPTION, palette.text2));
        }
        Some(BackgroundFetch::Failed { name, problem }) => {
            show_problem(ui, cx, problem);
            if ui.add(Button::outlined(text.again).width(width)).clicked() {
                cx.act(Action::FetchModel(name.clone()));
            }
        }
    }
}

fn no_model(ui: &mut Ui, cx: &mut PanelContext<'_>, problem: Option<&Problem>) {
    let palette = Palette::of(ui);
    let text = cx.text;
    match problem {
        Some(problem) => show_problem(ui, cx, problem),
        None => {
            ui.label(paint::words(text.no_model_yet, theme::BODY, palette.text2));
        }
    }
    if let Some(model) = cx.workbench.models.iter().find(|model| model.default) {
        let size = model.bytes.map(text::bytes).unwrap_or_default();
        let words = (text.fetch_model)(&model.name, &size);
        // This downloads the small model first, too.
        primary(ui, cx, &words, Action::Connect(Target::default()));
    }
    watch_demo(ui, cx);
    let half = (ui.available_width() - 8.0) / 2.0;
    ui.horizontal(|ui| {
        if ui.add(Button::outlined(text.other_models).width(half)).clicked() {
            cx.act(Action::ShowDialog(Dialog::Models));
        }
        if ui.add(Button::outlined(text.connect_elsewhere).width(half)).clicked() {
            cx.act(Action::ShowDialog(Dialog::Connect));
        }
    });
}

/// Draws a problem and its remedy.
pub(super) fn show_problem(ui: &mut Ui, cx: &PanelContext<'_>, problem: &Problem) {
    let palette = Palette::of(ui);
    let text = cx.text;
    with_mark(ui, Status::Broken, |ui| {
        ui.spacing_mut().item_spacing.y = 4.0;
        ui.label(paint::strong((text.problem)(problem.kind), theme::BODY, palette.text));
        let (sentence, remedy) = problem.words(cx.workbench.settings.language);
        ui.label(paint::words(sentence, theme::BODY, palette.text2));
        if !remedy.is_empty() {
            ui.label(paint::words(remedy, theme::BODY, palette.text));
        }
    });
}

/// Draws an icon on the left, and wrapped text beside it.
pub(super) fn with_mark(ui: &mut Ui, mark: Status, contents: impl FnOnce(&mut Ui)) {
    let width = ui.available_width();
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = 8.0;
        status::mark(ui, mark);
        let size = vec2(width - 24.0, 0.0);
        ui.allocate_ui_with_layout(size, Layout::top_down(Align::Min), |ui| {
            ui.set_width(size.x);
            contents(ui);
        });
    });
}

fn primary(ui: &mut Ui, cx: &mut PanelContext<'_>, words: &str, action: Action) {
    let width = ui.available_width();
    if ui.add(Button::ink(words).width(width)).clicked() {
        cx.act(action);
    }
}

/// Draws a button to the doctor, for a module that does not answer.
fn visit_doctor(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let Target::Remote { address, .. } = cx.workbench.target.clone() else {
        return;
    };
    let width = ui.available_width();
    let words = text::DoctorText::of(cx.workbench.settings.language).visit;
    if ui.add(Button::outlined(words).width(width)).clicked() {
        cx.act(Action::Doctor(DoctorAction::Visit(address)));
    }
}

fn elsewhere(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let width = ui.available_width();
    if ui
        .add(Button::outlined(cx.text.connect_elsewhere).width(width))
        .clicked()
    {
        cx.act(Action::ShowDialog(Dialog::Connect));
    }
}
