//! The dialogs: keys and commands, connecting, models, left-over tasks, and About.

use std::collections::BTreeMap;
use std::path::PathBuf;

use eframe::egui::{
    self, Align, CornerRadius, Frame, Id, Key, KeyboardShortcut, Layout, Margin, Modal, Modifiers, Response,
    ScrollArea, Stroke, TextEdit, Ui, vec2,
};

use softprefix_core::experiment::Rating;

use super::context::PanelContext;
use crate::commands::{COMMANDS, Group};
use crate::messages::FileQuestion;
use crate::model::{BackgroundFetch, ModelChoice, ModuleState, Target};
use crate::text::{self, AboutText, RatingText, StepsText};
use crate::theme::{self, Palette};
use crate::version;
use crate::views::button::Button;
use crate::views::icon::{Icon, IconButton};
use crate::views::status::{self, Status};
use crate::views::{paint, stars};
use crate::workbench::{Action, Dialog, MAX_NOTE_CHARACTERS};

/// What the dialogs keep between frames.
#[derive(Default)]
pub struct Sheets {
    address: String,
    address_wrong: bool,
    path: String,
    path_taken: bool,
    /// The run whose note is edited, and its rating as edited so far.
    rated: Option<(String, Rating)>,
    /// Stars and notes that were neither saved nor cancelled, by the ids of their runs.
    drafts: BTreeMap<String, Rating>,
    /// The dialog of the last frame, to detect that one opens.
    open: Option<Dialog>,
}

impl Sheets {
    pub fn show(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>) {
        let dialog = cx.workbench.dialog;
        let opened = dialog != self.open;
        self.open = dialog;
        let Some(dialog) = dialog else { return };
        let palette = Palette::of(ui);
        if opened {
            self.address_wrong = false;
            self.path_taken = false;
            self.rated = cx.workbench.rated_run().map(|record| {
                let draft = self.drafts.get(&record.id);
                (record.id.clone(), draft.unwrap_or(&record.rating).clone())
            });
            let suggested = cx.workbench.path_asked.as_ref().and_then(FileQuestion::suggested);
            self.path = suggested.unwrap_or_default().to_owned();
            if let (Dialog::Connect, Target::Remote { address, .. }) = (dialog, &cx.workbench.target) {
                self.address = address.clone();
            }
        }
        let screen = ui.ctx().content_rect();
        let width = match dialog {
            Dialog::Help | Dialog::FirstSteps => 720.0,
            Dialog::Identity | Dialog::External => 640.0,
            _ => 520.0_f32,
        }
        .min(screen.width() - 96.0);
        let frame = Frame::NONE
            .fill(palette.panel)
            .stroke(Stroke::new(1.0, palette.stroke))
            .corner_radius(CornerRadius::same(theme::RADIUS_CARD))
            .inner_margin(Margin::same(24));
        let backdrop = if palette.dark { 0.6 } else { 0.35 };
        let response = Modal::new(Id::unique("sheet"))
            .frame(frame)
            .backdrop_color(theme::faded(egui::Color32::BLACK, backdrop))
            .show(ui.ctx(), |ui| {
                ui.set_width(width);
                ui.set_max_height(screen.height() - 96.0);
                ui.spacing_mut().item_spacing.y = 8.0;
                title(ui, cx, dialog);
                let height = (screen.height() - 176.0).max(160.0);
                ScrollArea::vertical()
                    .max_height(height)
                    .auto_shrink([false, true])
                    .show(ui, |ui| match dialog {
                        Dialog::Help => help(ui, cx),
                        Dialog::Connect => self.connect(ui, cx, opened),
                        Dialog::Models => models(ui, cx),
                        Dialog::LeftOverTasks => left_over(ui, cx),
                        Dialog::Identity => super::identity::sheet(ui, cx),
                        Dialog::Note => self.note(ui, cx, opened),
                        Dialog::About => about(ui, cx),
                        Dialog::External => super::external::sheet(ui, cx),
                        Dialog::FirstSteps => super::first_steps::sheet(ui, cx, opened),
                        Dialog::Path => self.path(ui, cx, opened),
                    });
            });
        if response.should_close() {
            cx.act(Action::CloseDialog);
        }
    }

    fn connect(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>, opened: bool) {
        let palette = Palette::of(ui);
        let text = cx.text;
        ui.label(paint::words(text.connect_about, theme::BODY, palette.text2));
        ui.add_space(4.0);
        let embedded = matches!(cx.workbench.target, Target::Embedded { .. });
        choice(ui, text.connect_embedded, text.connect_embedded_about, |ui| {
            let now = embedded && cx.workbench.module.is_ready();
            if now {
                status::mark(ui, Status::Good);
                ui.label(paint::words(text.in_use, theme::BODY, palette.text2));
            } else if ui
                .add(Button::outlined(text.connect).name(text.connect_embedded))
                .clicked()
            {
                let target = if embedded {
                    cx.workbench.target.clone()
                } else {
                    Target::default()
                };
                cx.act(Action::Connect(target));
                cx.act(Action::CloseDialog);
            }
            if ui.add(Button::quiet(text.other_models)).clicked() {
                cx.act(Action::ShowDialog(Dialog::Models));
            }
        });
        paint::rule(ui);
        choice(ui, text.connect_remote, text.connect_remote_about, |_| {});
        let mut go = false;
        ui.horizontal(|ui| {
            let button = Button::ink(text.connect).name(text.connect_remote);
            let width = ui.available_width() - button.measure(ui) - 8.0;
            let response = field(ui, width, &mut self.address, text.address_hint, self.address_wrong)
                .accessible_name(text.address);
            if opened {
                response.request_focus();
            }
            if response.changed() {
                self.address_wrong = false;
            }
            go |= response.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
            go |= ui.add(button).clicked();
        });
        if self.address_wrong {
            super::module_card::with_mark(ui, Status::Broken, |ui| {
                ui.label(paint::words(text.address_wrong, theme::BODY, palette.text2));
            });
        }
        if go {
            match Target::parse(&self.address) {
                Some(target) => {
                    cx.act(Action::Connect(target));
                    cx.act(Action::CloseDialog);
                }
                None => self.address_wrong = true,
            }
        }
        paint::rule(ui);
        super::discovery::list(ui, cx);
    }

    /// Draws the dialog for stars and note of a run. Ctrl+Enter saves, because Enter starts a line and confirms Japanese input. A note that is
    /// left in another way is there again when the dialog is opened.
    fn note(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>, opened: bool) {
        let Some((id, rating)) = &mut self.rated else { return };
        let palette = Palette::of(ui);
        let text = RatingText::of(cx.workbench.settings.language);
        let workbench = cx.workbench;
        let tuned = workbench
            .tuning
            .record(id)
            .map(|record| (record, &workbench.tuning.analysis));
        if let Some((record, among)) = tuned.or(workbench
            .sweep
            .record(id)
            .map(|record| (record, &workbench.sweep.analysis)))
        {
            let words = super::label::of(cx, record, among);
            ui.label(paint::words(words, theme::BODY, palette.text2));
        }
        let accessible_value = (text.count)(rating.stars);
        if let Some(stars) = stars::stars(ui, rating.stars, text.stars, &accessible_value) {
            rating.stars = stars;
            self.drafts.insert(id.clone(), rating.clone());
        }
        let frame = Frame::NONE
            .fill(palette.inset)
            .stroke(Stroke::new(1.0, palette.stroke))
            .corner_radius(CornerRadius::same(theme::RADIUS_CONTROL))
            .inner_margin(Margin::symmetric(10, 8));
        let response = ui.add(
            TextEdit::multiline(&mut rating.note)
                .id_salt("note")
                .hint_text(text.hint)
                .char_limit(MAX_NOTE_CHARACTERS)
                .font(theme::BODY.regular())
                .desired_rows(5)
                .desired_width(f32::INFINITY)
                .return_key(KeyboardShortcut::new(Modifiers::NONE, Key::Enter))
                .frame(frame),
        );
        let response = response.accessible_name(text.note);
        paint::focus_ring(ui, &response, response.rect, theme::RADIUS_CONTROL);
        if opened {
            response.request_focus();
        }
        if response.changed() {
            self.drafts.insert(id.clone(), rating.clone());
        }
        ui.add_space(8.0);
        let save = KeyboardShortcut::new(Modifiers::COMMAND, Key::Enter);
        let mut saved = ui.input_mut(|input| input.consume_shortcut(&save));
        let mut cancelled = false;
        ui.horizontal(|ui| {
            let button = Button::ink(text.save).key(super::context::keys(ui, &save));
            saved |= ui.add(button).clicked();
            cancelled = ui.add(Button::outlined(cx.text.cancel)).clicked();
        });
        if saved {
            cx.act(Action::Rate(id.clone(), rating.clone()));
        }
        if saved || cancelled {
            self.drafts.remove(id);
            cx.act(Action::CloseDialog);
        }
    }

    fn path(&mut self, ui: &mut Ui, cx: &mut PanelContext<'_>, opened: bool) {
        let palette = Palette::of(ui);
        let text = cx.text;
        ui.label(paint::words(text.path_about, theme::BODY, palette.text2));
        ui.add_space(4.0);
        let mut go = false;
        ui.horizontal(|ui| {
            let button = Button::ink(text.path_use);
            let width = ui.available_width() - button.measure(ui) - 8.0;
            let response = field(ui, width, &mut self.path, "", self.path_taken).accessible_name(text.path);
            if opened {
                response.request_focus();
            }
            if response.changed() {
                self.path_taken = false;
            }
            go |= response.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
            go |= ui.add(button).clicked();
        });
        if self.path_taken {
            super::module_card::with_mark(ui, Status::Broken, |ui| {
                ui.label(paint::words(text.path_taken, theme::BODY, palette.text2));
            });
        }
        if go && !self.path.trim().is_empty() {
            let path = PathBuf::from(self.path.trim());
            let is_new = cx
                .workbench
                .path_asked
                .as_ref()
                .is_some_and(|asked| asked.suggested().is_some());
            self.path_taken = is_new && path.exists();
            if !self.path_taken {
                cx.act(Action::AnswerPath(path));
            }
        }
    }
}

/// Draws a text field for an address or a path.
fn field(ui: &mut Ui, width: f32, typed: &mut String, hint: &str, wrong: bool) -> Response {
    let palette = Palette::of(ui);
    let frame = Frame::NONE
        .fill(palette.inset)
        .stroke(Stroke::new(1.0, if wrong { palette.broken } else { palette.stroke }))
        .corner_radius(CornerRadius::same(theme::RADIUS_CONTROL))
        .inner_margin(Margin::symmetric(10, 0));
    let response = ui.add_sized(
        vec2(width, theme::CONTROL),
        TextEdit::singleline(typed)
            .id_salt("typed")
            .hint_text(hint)
            .font(theme::BODY.mono())
            .frame(frame)
            .align(egui::Align2::LEFT_CENTER),
    );
    paint::focus_ring(ui, &response, response.rect, theme::RADIUS_CONTROL);
    response
}

fn title(ui: &mut Ui, cx: &mut PanelContext<'_>, dialog: Dialog) {
    let palette = Palette::of(ui);
    let text = cx.text;
    let words = match dialog {
        Dialog::Help => text.help_title,
        Dialog::Connect => text.connect_title,
        Dialog::Models => text.models_title,
        Dialog::LeftOverTasks => text.left_over_title,
        Dialog::Identity => cx.prefix_text().identity_title,
        Dialog::Note => RatingText::of(cx.workbench.settings.language).title,
        Dialog::About => text.about_title,
        Dialog::External => text::ExternalText::of(cx.workbench.settings.language)
            .title
            .trim_end_matches('…'),
        Dialog::FirstSteps => StepsText::of(cx.workbench.settings.language).title,
        Dialog::Path => text.path_title,
    };
    ui.horizontal(|ui| {
        ui.label(paint::strong(words, theme::VERDICT, palette.text));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if ui.add(IconButton::new(Icon::Close, text.close)).clicked() {
                cx.act(Action::CloseDialog);
            }
        });
    });
}

/// Draws an option: its name, its description, and its controls on the right.
fn choice(ui: &mut Ui, name: &str, about: &str, controls: impl FnOnce(&mut Ui)) {
    let palette = Palette::of(ui);
    ui.horizontal(|ui| {
        let room = ui.available_width();
        ui.allocate_ui(vec2(room * 0.55, 0.0), |ui| {
            ui.set_width(room * 0.55);
            ui.spacing_mut().item_spacing.y = 4.0;
            ui.vertical(|ui| {
                ui.label(paint::strong(name, theme::NAME, palette.text));
                ui.label(paint::words(about, theme::BODY, palette.text2));
            });
        });
        ui.with_layout(Layout::right_to_left(Align::Center), controls);
    });
    ui.add_space(4.0);
}

fn help(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = cx.text;
    let steps = StepsText::of(cx.workbench.settings.language).title;
    if ui.add(Button::outlined(steps)).clicked() {
        cx.act(Action::ShowDialog(Dialog::FirstSteps));
    }
    ui.add_space(8.0);
    let wide = ui.available_width() > 560.0;
    let tabs = super::top_bar::tabs(cx);
    let group = |ui: &mut Ui, group: Group| {
        ui.label(paint::strong((text.group)(group), theme::CAPTION, palette.text2));
        for command in COMMANDS.iter().filter(|command| command.group == group) {
            let width = ui.available_width();
            ui.allocate_ui_with_layout(vec2(width, 24.0), Layout::left_to_right(Align::Center), |ui| {
                ui.set_width(width);
                ui.label(paint::words((text.command)(command.id), theme::BODY, palette.text));
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    if let Some(keys) = command.shortcut(ui.ctx().os().is_mac()) {
                        ui.label(paint::figures(
                            super::context::keys(ui, &keys),
                            theme::CAPTION,
                            palette.text2,
                        ));
                    }
                    let views = tabs.iter().filter(|(tab, _)| command.tabs.contains(tab));
                    let views: Vec<&str> = views.map(|(_, name)| *name).collect();
                    ui.label(paint::words(views.join(text.comma), theme::CAPTION, palette.text3));
                });
            });
        }
        ui.add_space(12.0);
    };
    ui.spacing_mut().item_spacing.y = 2.0;
    if wide {
        // Gap between the columns.
        ui.spacing_mut().item_spacing.x = 48.0;
        ui.columns(2, |columns| {
            for column in columns.iter_mut() {
                column.spacing_mut().item_spacing.x = 8.0;
                column.spacing_mut().item_spacing.y = 2.0;
            }
            for one in [Group::Run, Group::Prefix, Group::Find, Group::Module] {
                group(&mut columns[0], one);
            }
            for one in [Group::Results, Group::Window] {
                group(&mut columns[1], one);
            }
        });
    } else {
        for one in Group::ALL {
            group(ui, one);
        }
    }
    ui.label(paint::words(text.help_tabs, theme::BODY, palette.text2));
    ui.add_space(12.0);
    ui.label(paint::strong(text.help_mouse, theme::CAPTION, palette.text2));
    ui.label(paint::words(text.help_slider, theme::BODY, palette.text2));
}

fn models(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = cx.text;
    ui.label(paint::words(text.models_about, theme::BODY, palette.text2));
    ui.add_space(4.0);
    let workbench = cx.workbench;
    if workbench.models.is_empty() {
        ui.label(paint::words(text.models_none, theme::BODY, palette.text3));
    }
    for model in &workbench.models {
        paint::rule(ui);
        model_row(ui, cx, model);
    }
    paint::rule(ui);
    if ui
        .add_enabled(!workbench.file.asking, Button::outlined(text.choose_file))
        .clicked()
    {
        cx.act(Action::ChooseModelFile);
        cx.act(Action::CloseDialog);
    }
}

fn model_row(ui: &mut Ui, cx: &mut PanelContext<'_>, model: &ModelChoice) {
    let palette = Palette::of(ui);
    let text = cx.text;
    let size = model.bytes.map(text::bytes).unwrap_or_default();
    let mut about = vec![size, model.about.get(cx.workbench.settings.language).to_owned()];
    if model.present {
        about.push(if model.usable { text.present } else { text.unusable }.to_owned());
    }
    if !model.verified {
        about.push(text.not_verified.to_owned());
    }
    about.retain(|part| !part.is_empty());
    let facts = cx.workbench.module.facts();
    let used = facts.is_some_and(|facts| facts.is_embedded() && facts.identity.model == model.name);
    let fetching = matches!(&cx.workbench.module, ModuleState::Fetching(fetch) if fetch.name == model.name)
        || cx
            .workbench
            .background_fetch
            .as_ref()
            .and_then(BackgroundFetch::progress)
            .is_some_and(|fetch| fetch.name == model.name);
    choice(ui, &model.name, &about.join("  ·  "), |ui| {
        if used {
            status::mark(ui, Status::Good);
            ui.label(paint::words(text.in_use, theme::BODY, palette.text2));
        } else if fetching {
            status::mark(ui, Status::Busy);
            ui.label(paint::words(text.fetching, theme::BODY, palette.text2));
        } else if model.present && !model.usable {
            status::mark(ui, Status::Broken);
        } else if model.present {
            let name = (text.use_model)(&model.name);
            if ui.add(Button::outlined(text.use_it).name(&name)).clicked() {
                cx.act(Action::Connect(Target::Embedded {
                    model: Some(model.name.clone()),
                }));
                cx.act(Action::CloseDialog);
            }
        } else {
            let name = (text.fetch_named)(&model.name);
            if ui.add(Button::outlined(text.fetch).name(&name)).clicked() {
                cx.act(Action::FetchModel(model.name.clone()));
            }
        }
    });
}

fn left_over(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = cx.text;
    ui.label(paint::words(text.left_over_about, theme::BODY, palette.text2));
    let ModuleState::TaskFull { tasks } = &cx.workbench.module else {
        return;
    };
    for task in tasks {
        ui.label(paint::figures(task, theme::BODY, palette.text));
    }
    ui.add_space(8.0);
    ui.horizontal(|ui| {
        if ui.add(Button::ink(&(text.exit_tasks)(tasks.len()))).clicked() {
            cx.act(Action::ExitLeftOverTasks);
        }
        if ui.add(Button::outlined(text.cancel)).clicked() {
            cx.act(Action::CloseDialog);
        }
    });
}

fn about(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = cx.text;
    let about = AboutText::of(cx.workbench.settings.language);
    ui.label(paint::words(text.about_text, theme::BODY, palette.text));
    let features = version::features().join(", ");
    for (name, value) in [
        (about.version, version::NUMBER),
        (about.commit, version::COMMIT.unwrap_or(about.no_commit)),
        (about.renderer, version::RENDERER.1),
        (
            about.features,
            if features.is_empty() {
                about.no_features
            } else {
                &features
            },
        ),
    ] {
        ui.horizontal(|ui| {
            let size = vec2(120.0, 16.0);
            ui.allocate_ui_with_layout(size, Layout::left_to_right(Align::Center), |ui| {
                ui.set_min_width(size.x);
                ui.label(paint::words(name, theme::BODY, palette.text2));
            });
            ui.label(paint::figures(value, theme::BODY, palette.text));
        });
    }
    ui.label(paint::words(about.never_calls, theme::BODY, palette.text2));
    match version::RELEASES.as_ref() {
        Some(page) => {
            if ui.add(Button::outlined(about.releases)).on_hover_text(page).clicked() {
                cx.act(Action::OpenPage(page.clone()));
            }
        }
        None => {
            ui.label(paint::words(about.no_releases, theme::BODY, palette.text3));
        }
    }
    ui.label(paint::words(text.about_fonts, theme::BODY, palette.text2));
}
