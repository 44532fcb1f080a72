//! The Doctor view: host and findings on the left, the selected finding with its remedy on the right.

use eframe::egui::{
    self, Align, CentralPanel, CornerRadius, Frame, Grid, Layout, Margin, Panel, Rect, Role, ScrollArea, Sense, Stroke,
    TextEdit, Ui, WidgetInfo, pos2, vec2,
};

mod build;
mod installer;

use super::context::PanelContext;
use crate::doctor::{Ended, Finding, INSTALL, Verdict, title};
use crate::messages::ChangeOutcome;
use crate::model::{Bilingual, Language, Target};
use crate::text::DoctorText;
use crate::theme::{self, Palette};
use crate::views::button::Button;
use crate::views::icon::Icon;
use crate::views::paint;
use crate::views::progress::progress;
use crate::views::status::{self, Status};
use crate::workbench::Action;
use crate::workbench::doctor::{DoctorAction, DoctorState, Page, Work};

const LEFT: f32 = 420.0;
const ROW: f32 = 40.0;
/// Maximum line width of text.
const TEXT: f32 = 760.0;

/// Draws the view in the remaining space of the window.
pub fn show(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let language = cx.workbench.settings.language;
    let view = View {
        text: DoctorText::of(language),
        language,
        state: &cx.workbench.doctor,
        connected: connected(cx),
        palette,
    };
    let mut actions = Vec::new();
    Panel::left("doctor list")
        .exact_size(LEFT)
        .resizable(false)
        .frame(Frame::NONE.fill(palette.panel))
        .show(ui, |ui| view.list(ui, &mut actions));
    CentralPanel::no_frame()
        .frame(Frame::NONE.fill(palette.window))
        .show(ui, |ui| {
            ScrollArea::vertical()
                .id_salt("doctor finding")
                .auto_shrink(false)
                .show(ui, |ui| {
                    Frame::NONE.inner_margin(Margin::symmetric(40, 32)).show(ui, |ui| {
                        ui.set_max_width(TEXT);
                        ui.spacing_mut().item_spacing.y = 8.0;
                        view.right(ui, &mut actions);
                    });
                });
        });
    for action in actions {
        cx.act(Action::Doctor(action));
    }
}

struct View<'a> {
    text: &'static DoctorText,
    language: Language,
    state: &'a DoctorState,
    /// Whether the workbench is connected to the checked module.
    connected: bool,
    palette: &'static Palette,
}

fn connected(cx: &PanelContext<'_>) -> bool {
    let workbench = cx.workbench;
    match (&workbench.target, workbench.doctor.connectable()) {
        (Target::Remote { address, .. }, Some(checked)) => {
            let port = |address: &str| address.strip_suffix(":10001").unwrap_or(address).to_owned();
            workbench.module.is_ready() && port(address) == port(checked)
        }
        _ => false,
    }
}

/// Returns the result of a log entry; `None` for the sentence of an error.
fn ended(word: &str) -> Option<Ended> {
    Ended::ALL
        .into_iter()
        .find(|ended| word == ended.word() || (*ended == Ended::Done && word.starts_with("done,")))
}

const fn status_of(verdict: Verdict) -> Status {
    match verdict {
        Verdict::Good => Status::Good,
        Verdict::Warning => Status::Warning,
        Verdict::Broken => Status::Broken,
        Verdict::NotChecked => Status::Away,
    }
}

impl View<'_> {
    fn words<'w>(&self, text: &'w Bilingual) -> &'w str {
        text.get(self.language)
    }

    fn list(&self, ui: &mut Ui, actions: &mut Vec<DoctorAction>) {
        let (text, palette) = (self.text, self.palette);
        let edge = ui.max_rect();
        ui.painter()
            .vline(edge.right() - 0.5, edge.y_range(), Stroke::new(1.0, palette.line));
        Frame::NONE.inner_margin(Margin::symmetric(24, 16)).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 8.0;
            ui.label(paint::words(text.host, theme::CAPTION, palette.text2));
            self.host(ui, actions);
            if !self.state.findings.is_empty() {
                let (broken, look, good) = self.state.counts();
                ui.add_space(8.0);
                ui.label(paint::strong(
                    (text.counts)(broken, look, good),
                    theme::VERDICT,
                    palette.text,
                ));
                ui.label(paint::words(text.changed_nothing, theme::CAPTION, palette.text3));
            }
            if self.state.work.is_none() && self.state.connectable().is_some() && !self.connected {
                let width = ui.available_width();
                // While something is broken, the remedy is the primary action.
                let broken = self.state.counts().0 > 0;
                let button = if broken {
                    Button::outlined(text.connect)
                } else {
                    Button::ink(text.connect)
                };
                if ui.add(button.width(width)).clicked() {
                    actions.push(DoctorAction::Connect);
                }
            }
            if self.state.work == Some(Work::Checking) {
                progress(ui, None, text.checking);
            }
        });
        paint::rule(ui);
        ScrollArea::vertical()
            .id_salt("doctor checks")
            .auto_shrink(false)
            .show(ui, |ui| {
                ui.spacing_mut().item_spacing.y = 0.0;
                let needs: Vec<&Finding> = self
                    .state
                    .findings
                    .iter()
                    .filter(|finding| finding.verdict != Verdict::Good)
                    .collect();
                let good: Vec<&Finding> = self
                    .state
                    .findings
                    .iter()
                    .filter(|finding| finding.verdict == Verdict::Good)
                    .collect();
                for (heading, mut group) in [(text.needs_you, needs), (text.good, good)] {
                    if group.is_empty() {
                        continue;
                    }
                    group.sort_by_key(|finding| finding.verdict);
                    Frame::NONE
                        .inner_margin(Margin {
                            left: 24,
                            right: 24,
                            top: 16,
                            bottom: 4,
                        })
                        .show(ui, |ui| {
                            ui.label(paint::strong(heading, theme::CAPTION, palette.text3));
                        });
                    for finding in group {
                        if self.row(ui, finding) {
                            actions.push(DoctorAction::Choose(finding.id));
                        }
                    }
                }
                if self.state.work.is_none() && !self.state.findings.is_empty() {
                    self.offer_installer(ui, actions);
                }
            });
    }

    fn host(&self, ui: &mut Ui, actions: &mut Vec<DoctorAction>) {
        let (text, palette) = (self.text, self.palette);
        ui.horizontal(|ui| {
            let words = if self.state.findings.is_empty() {
                text.check
            } else {
                text.check_again
            };
            let is_idle = self.state.work.is_none();
            let can = is_idle && !self.state.host.trim().is_empty();
            let button = if self.state.findings.is_empty() {
                Button::ink(words)
            } else {
                Button::outlined(words)
            };
            let width = ui.available_width() - button.measure(ui) - 8.0;
            let frame = Frame::NONE
                .fill(palette.inset)
                .stroke(Stroke::new(1.0, palette.stroke))
                .corner_radius(CornerRadius::same(theme::RADIUS_CONTROL))
                .inner_margin(Margin::symmetric(10, 0));
            let mut host = self.state.host.clone();
            let response = ui
                .add_sized(
                    vec2(width, theme::CONTROL),
                    TextEdit::singleline(&mut host)
                        .id_salt("doctor host")
                        .hint_text(text.host_hint)
                        .font(theme::BODY.mono())
                        .interactive(is_idle)
                        .text_color(if is_idle { palette.text } else { palette.text3 })
                        .frame(frame)
                        .align(egui::Align2::LEFT_CENTER),
                )
                .accessible_name(text.host);
            paint::focus_ring(ui, &response, response.rect, theme::RADIUS_CONTROL);
            let entered = response.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter));
            if host != self.state.host {
                actions.push(DoctorAction::SetHost(host));
            }
            if (ui.add_enabled(can, button).clicked() || entered) && can {
                actions.push(DoctorAction::Check);
            }
        });
    }

    /// Draws one check; returns whether it was clicked.
    fn row(&self, ui: &mut Ui, finding: &Finding) -> bool {
        let palette = self.palette;
        let chosen = self.state.shown().is_some_and(|shown| shown.id == finding.id);
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::click());
        let title = self.words(&finding.title);
        response.widget_info(|| WidgetInfo::selected(Role::ListBoxOption, true, chosen, title));
        let painter = ui.painter();
        if chosen || response.hovered() {
            painter.rect_filled(rect, 0.0, palette.raised);
        }
        if chosen {
            painter.rect_filled(rect.with_max_x(rect.left() + 2.0), 0.0, palette.text);
        }
        let mark = status_of(finding.verdict);
        status::paint(painter, mark, pos2(rect.left() + 32.0, rect.center().y), 1.0, palette);
        let word = paint::text(
            painter,
            pos2(rect.right() - 24.0, rect.center().y),
            egui::Align2::RIGHT_CENTER,
            finding.verdict.name().get(self.language),
            theme::CAPTION.regular(),
            if finding.verdict == Verdict::Good {
                palette.text3
            } else {
                mark.colour(palette)
            },
        );
        let regular = theme::BODY.regular();
        let font = match chosen {
            true => self.language.pick(theme::BODY.semibold(), regular),
            false => regular,
        };
        let left = rect.left() + 52.0;
        let galley = paint::cut_to(ui, title, font, palette.text, word.left() - 12.0 - left);
        paint::place(
            ui.painter(),
            pos2(left, rect.center().y),
            egui::Align2::LEFT_CENTER,
            galley,
        );
        paint::focus_ring(ui, &response, rect.shrink(2.0), theme::RADIUS_TAG);
        if response.hovered() {
            response.clone().on_hover_text(title);
        }
        response.clicked()
    }

    fn right(&self, ui: &mut Ui, actions: &mut Vec<DoctorAction>) {
        let (text, palette) = (self.text, self.palette);
        if let Some(work) = &self.state.work
            && !matches!(work, Work::Checking | Work::Building)
        {
            let words = match work {
                Work::Installing(Some(step)) => self.words(step),
                _ => text.working,
            };
            progress(ui, None, words);
            ui.add_space(16.0);
        }
        for outcome in &self.state.outcomes {
            self.outcome(ui, outcome);
        }
        if self.state.page == Page::Installer {
            self.installer(ui, actions);
            return self.before(ui, actions);
        }
        let Some(finding) = self.state.shown() else {
            ui.label(paint::words(text.about, theme::CARD_TITLE, palette.text2));
            return;
        };
        ui.horizontal(|ui| {
            let (rect, _) = ui.allocate_exact_size(vec2(28.0, 32.0), Sense::hover());
            status::paint(ui.painter(), status_of(finding.verdict), rect.center(), 1.75, palette);
            ui.add_space(8.0);
            ui.add(egui::Label::new(paint::strong(self.words(&finding.title), theme::TITLE, palette.text)).wrap());
        });
        ui.add(
            egui::Label::new(paint::words(
                self.words(&finding.text),
                theme::CARD_TITLE,
                palette.text2,
            ))
            .wrap(),
        );
        ui.label(paint::words(
            (text.section)(finding.section),
            theme::CAPTION,
            palette.text3,
        ));
        if !finding.facts.is_empty() {
            ui.add_space(16.0);
            ui.label(paint::strong(text.finding, theme::CAPTION, palette.text3));
            self.facts(ui, finding);
        }
        self.remedy(ui, finding, actions);
        if finding.id == "prefix" && finding.verdict == Verdict::Broken {
            ui.add_space(16.0);
            ui.add(egui::Label::new(paint::words(text.install_about, theme::BODY, palette.text2)).wrap());
            ui.add_space(8.0);
            let button = Button::ink(text.installer_title).height(theme::CONTROL_LARGE);
            if ui.add_enabled(self.state.work.is_none(), button).clicked() {
                actions.push(DoctorAction::Show(Page::Installer));
            }
        }
        if finding.id == "tree" && finding.facts.iter().any(|fact| fact.value.en.starts_with('/')) {
            self.build(ui, actions);
        }
        self.before(ui, actions);
    }

    /// Draws the result of the last change, or a problem of the check.
    fn outcome(&self, ui: &mut Ui, outcome: &ChangeOutcome) {
        let palette = self.palette;
        let good = outcome.is_good();
        let colour = if good { palette.good } else { palette.broken };
        Frame::NONE
            .fill(palette.panel)
            .stroke(Stroke::new(1.0, colour))
            .corner_radius(CornerRadius::same(theme::RADIUS_CARD))
            .inner_margin(Margin::same(16))
            .show(ui, |ui| {
                ui.set_width(ui.available_width());
                ui.spacing_mut().item_spacing.y = 4.0;
                let (words, detail) = match outcome {
                    ChangeOutcome::Problem(sentence) | ChangeOutcome::Good(sentence) => {
                        (self.words(sentence).to_owned(), None)
                    }
                    ChangeOutcome::Outcome { id, outcome } => {
                        let (what, ended) = (title(id), outcome.ended.sentence());
                        let between = self.language.pick(": ", "：");
                        (
                            format!("{}{between}{}", self.words(&what), self.words(&ended)),
                            outcome.why.as_ref().map(|why| self.words(why)),
                        )
                    }
                };
                ui.horizontal_top(|ui| {
                    status::mark(ui, if good { Status::Good } else { Status::Broken });
                    ui.add(egui::Label::new(paint::words(words, theme::NAME, palette.text)).wrap());
                });
                if let Some(detail) = detail {
                    ui.add(egui::Label::new(paint::figures(detail, theme::CAPTION, palette.text2)).wrap());
                }
            });
        ui.add_space(16.0);
    }

    fn facts(&self, ui: &mut Ui, finding: &Finding) {
        let palette = self.palette;
        let width = ui.available_width();
        Grid::new(("facts", finding.id))
            .num_columns(2)
            .min_col_width(160.0)
            .spacing(vec2(16.0, 8.0))
            .show(ui, |ui| {
                for fact in &finding.facts {
                    let label = paint::words(self.words(&fact.label), theme::BODY, palette.text2);
                    ui.scope(|ui| {
                        ui.set_max_width(240.0);
                        ui.add(egui::Label::new(label).wrap());
                    });
                    let colour = if fact.wrong { palette.broken } else { palette.text };
                    ui.scope(|ui| {
                        ui.set_max_width(width - 264.0);
                        ui.add(
                            egui::Label::new(paint::figures(self.words(&fact.value).trim(), theme::BODY, colour))
                                .wrap(),
                        );
                    });
                    ui.end_row();
                }
            });
    }

    fn remedy(&self, ui: &mut Ui, finding: &Finding, actions: &mut Vec<DoctorAction>) {
        let (text, palette) = (self.text, self.palette);
        let free = self.state.work.is_none();
        if finding.id == "tasks" && finding.verdict != Verdict::Good {
            ui.add_space(16.0);
            ui.label(paint::words(text.exit_tasks_about, theme::BODY, palette.text2));
            if ui
                .add_enabled(free, Button::ink(text.exit_tasks).height(theme::CONTROL_LARGE))
                .clicked()
            {
                actions.push(DoctorAction::ExitTasks);
            }
        }
        let Some(remedy) = &finding.remedy else { return };
        ui.add_space(16.0);
        self.commands(ui, &remedy.shown(), actions);
        ui.add(egui::Label::new(paint::words(self.words(&remedy.effect), theme::BODY, palette.text2)).wrap());
        ui.add_space(8.0);
        ui.horizontal(|ui| {
            if ui
                .add_enabled(free, Button::ink(text.fix).height(theme::CONTROL_LARGE))
                .clicked()
            {
                actions.push(DoctorAction::Apply);
            }
            let can_undo = self.state.can_undo(remedy.id);
            if ui
                .add_enabled(
                    free && can_undo,
                    Button::outlined(text.undo).height(theme::CONTROL_LARGE),
                )
                .clicked()
            {
                actions.push(DoctorAction::Undo(remedy.id.to_owned()));
            }
            if !remedy.undoable {
                ui.label(paint::words(text.no_undo, theme::CAPTION, palette.text3));
            } else if !can_undo {
                ui.label(paint::words(text.undo_later, theme::CAPTION, palette.text3));
            }
        });
    }

    /// Draws commands to read and to copy.
    fn commands(&self, ui: &mut Ui, shown: &str, actions: &mut Vec<DoctorAction>) {
        let (text, palette) = (self.text, self.palette);
        ui.label(paint::strong(text.commands, theme::CAPTION, palette.text3));
        Frame::NONE
            .fill(palette.inset)
            .stroke(Stroke::new(1.0, palette.line))
            .corner_radius(CornerRadius::same(theme::RADIUS_CARD))
            .inner_margin(Margin::same(16))
            .show(ui, |ui| {
                ui.set_width(ui.available_width());
                let top = ui.max_rect();
                ScrollArea::horizontal().id_salt("commands").show(ui, |ui| {
                    let label = egui::Label::new(paint::figures(shown, theme::BODY, palette.text)).extend();
                    if ui.add(label).rect.width() > top.width() {
                        // The scroll bar would cover the last line.
                        ui.add_space(12.0);
                    }
                });
                let corner = Rect::from_min_max(
                    pos2(top.right() - 96.0, top.top() - 8.0),
                    pos2(top.right(), top.top() + 24.0),
                );
                let mut corner = ui.new_child(
                    egui::UiBuilder::new()
                        .max_rect(corner)
                        .layout(Layout::right_to_left(Align::Center)),
                );
                if corner.add(Button::quiet(text.copy).icon(Icon::Copy)).clicked() {
                    actions.push(DoctorAction::CopyCommands(shown.to_owned()));
                }
            });
    }

    fn before(&self, ui: &mut Ui, actions: &mut Vec<DoctorAction>) {
        let (text, palette) = (self.text, self.palette);
        if self.state.before.is_empty() {
            return;
        }
        ui.add_space(24.0);
        ui.label(paint::strong(text.changed_before, theme::CAPTION, palette.text3));
        let mut undone = Vec::new();
        for (index, entry) in self.state.before.iter().take(8).enumerate() {
            paint::rule(ui);
            ui.horizontal(|ui| {
                let at = softprefix_core::time::local(entry.at_unix as f64);
                ui.label(paint::figures(
                    at.get(5..16).unwrap_or(&at),
                    theme::CAPTION,
                    palette.text3,
                ));
                ui.add_space(16.0);
                // The sentence of an error does not fit into a line and is shown as a tooltip.
                let ended = ended(&entry.ended).unwrap_or(Ended::Failed);
                let good = matches!(ended, Ended::Done | Ended::Already | Ended::Undone | Ended::Nothing)
                    || entry.ended == "stopped";
                status::mark(ui, if good { Status::Good } else { Status::Broken });
                let mut line = self.words(&title(&entry.id)).to_owned();
                if entry.act == "undo" {
                    line = format!("{line} · {}", text.undone);
                }
                let response = ui.label(paint::words(line, theme::BODY, palette.text));
                response.on_hover_text(format!("{}\n{}\n\n{}", entry.id, entry.ended, entry.commands.trim()));
                let latest = !undone.contains(&entry.id);
                undone.push(entry.id.clone());
                let installed = entry.id == INSTALL;
                if latest && self.state.can_undo(&entry.id) && (installed || crate::doctor::remedy(&entry.id).is_some())
                {
                    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                        let name = format!("{} {} {index}", text.undo, entry.id);
                        if ui
                            .add_enabled(self.state.work.is_none(), Button::quiet(text.undo).name(&name))
                            .clicked()
                        {
                            actions.push(if installed {
                                DoctorAction::Uninstall
                            } else {
                                DoctorAction::Undo(entry.id.clone())
                            });
                        }
                    });
                }
            });
        }
    }
}
