//! The window: passes events to the workbench, its requests to the bridge, and shows the system's file dialogs. It
//! repaints when something has changed, not periodically.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use eframe::egui::{self, Context, KeyboardShortcut, Modifiers, ThemePreference, Ui, ViewportCommand};

use crate::bridge::Bridge;
use crate::commands::COMMANDS;
use crate::messages::{Event, FileQuestion, FindEvent, LibraryEvent, SweepEvent};
use crate::model::{ExportForm, Problem, Remembered, Theme};
use crate::settings_file::{self, SettingsFile};
use crate::start::{Exit, Start, WindowArgs, begin};
use crate::version::{OTHER_RENDERER, RENDERER};
use crate::views::entry::settle_typed;
use crate::workbench::{Action, Dialog, Effect, ExhibitionAction, PlaybackAction, Workbench, dropped};
use crate::{fonts, panels, places, theme};

const TITLE: &str = "Soft-Prefix Workbench";
/// Longest wait on exit for the module to release the task.
const LEAVING: Duration = Duration::from_secs(4);
/// Maximum number of events handled before each frame, so that a flood of events cannot block one.
const EVENTS_A_FRAME: usize = 256;
/// A file dialog that returns nothing this quickly was never shown.
const NOT_SHOWN: Duration = Duration::from_millis(250);
/// Zoom of the Presenter, relative to the window's own.
const PRESENTING: f32 = 1.5;

/// Opens the window and runs until it is closed.
pub fn run(args: WindowArgs, start: Start) -> ExitCode {
    let mut viewport = egui::ViewportBuilder::default()
        .with_title(TITLE)
        .with_app_id("softprefix")
        .with_inner_size([1280.0, 800.0])
        .with_min_inner_size([1024.0, 680.0]);
    match eframe::icon_data::from_png_bytes(include_bytes!("../../assets/icon.png")) {
        Ok(icon) => viewport = viewport.with_icon(icon),
        Err(error) => tracing::warn!(%error, "the window's icon cannot be read"),
    }
    let options = eframe::NativeOptions {
        viewport,
        persist_window: !args.fresh,
        persistence_path: places::window(),
        renderer: RENDERER.0,
        ..eframe::NativeOptions::default()
    };
    let opened = eframe::run_native(
        TITLE,
        options,
        Box::new(move |context| {
            let app = App::new(context, args, start)?;
            Ok(Box::new(app))
        }),
    );
    match opened {
        Ok(()) => Exit::Success.into(),
        Err(error) => {
            eprintln!("softprefix: {}", why_no_window(&error));
            ExitCode::FAILURE
        }
    }
}

/// Returns the message for a window that cannot be opened. The error's own text goes to the log only, since it names
/// source files of the build machine.
fn why_no_window(error: &eframe::Error) -> String {
    tracing::debug!(%error, "no window");
    format!(
        "No window could be opened. Check that a display is there (DISPLAY or WAYLAND_DISPLAY on Linux); if it is the graphics \
         driver, take the other renderer: cargo run --release --features {OTHER_RENDERER}. The same work is done in a shell by \
         `softprefix compare --prompt ...` (see `softprefix --help`); SOFTPREFIX_LOG=debug logs the system's message."
    )
}

/// The running window.
pub struct App {
    workbench: Workbench,
    bridge: Bridge,
    window: panels::Window,
    /// Where fields and settings are stored; `None` where they are not.
    settings: Option<SettingsFile>,
    title: String,
    zoom: f32,
    /// Time of the last clock tick, while playback or an exhibition is running.
    passing: Option<Instant>,
}

impl App {
    /// Starts the bridge and connects to the module used last, or the one given in `args`.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub fn new(context: &eframe::CreationContext<'_>, args: WindowArgs, start: Start) -> std::io::Result<Self> {
        let ctx = &context.egui_ctx;
        fonts::install(ctx);
        theme::install(ctx);
        // The workbench has its own zoom: it is stored, and part of the command table.
        ctx.options_mut(|options| options.zoom_with_keyboard = false);
        let waker = ctx.clone();
        let bridge = Bridge::start(move || waker.request_repaint())?;
        let started = begin(args, start, || {
            SettingsFile::open(&places::settings(), || older(context.storage))
        });
        bridge.send_all(started.requests);
        let app = Self {
            zoom: 0.0,
            workbench: started.workbench,
            bridge,
            window: panels::Window::default(),
            settings: started.settings,
            title: String::new(),
            passing: None,
        };
        Ok(app)
    }

    /// Handles the events from the bridge.
    fn drain(&mut self, ctx: &Context) {
        for taken in 0.. {
            if taken == EVENTS_A_FRAME {
                ctx.request_repaint();
                break;
            }
            let Some(event) = self.bridge.poll() else { break };
            report(&event);
            self.workbench.absorb(event);
        }
        self.bridge.send_all(self.workbench.take_requests());
    }

    /// Advances playback and the exhibition, the only parts that depend on the clock.
    fn advance(&mut self, ctx: &Context) {
        let now = Instant::now();
        let time = self.passing.map_or(Duration::ZERO, |before| now - before);
        match self.workbench.advance(time) {
            Some(wait) => {
                self.passing = Some(now);
                ctx.request_repaint_after(wait);
            }
            None => self.passing = None,
        }
        self.bridge.send_all(self.workbench.take_requests());
    }

    /// Applies theme, zoom and title of the workbench.
    fn appearance(&mut self, ctx: &Context) {
        let theme = match self.workbench.settings.theme {
            Theme::System => ThemePreference::System,
            Theme::Light => ThemePreference::Light,
            Theme::Dark => ThemePreference::Dark,
        };
        if ctx.options(|options| options.theme_preference) != theme {
            ctx.set_theme(theme);
        }
        // The Presenter is read from across a room.
        let zoom = self.workbench.settings.zoom * if self.workbench.presenting { PRESENTING } else { 1.0 };
        if self.zoom != zoom {
            self.zoom = zoom;
            ctx.set_zoom_factor(zoom);
        }
        let title = match self.workbench.tuning.saved.experiment.name.as_str() {
            "" => TITLE.to_owned(),
            session => format!("{} - {TITLE}", session.replace('\n', " ")),
        };
        if self.title != title {
            ctx.send_viewport_cmd(ViewportCommand::Title(title.clone()));
            self.title = title;
        }
    }

    fn carry_out(&mut self, effect: Effect, ctx: &Context, frame: &eframe::Frame) {
        match effect {
            Effect::Copy(text) => ctx.copy_text(text),
            Effect::Fullscreen(on) => ctx.send_viewport_cmd(ViewportCommand::Fullscreen(on)),
            Effect::OpenPage(address) => ctx.open_url(egui::OpenUrl::new_tab(address)),
            Effect::Quit => ctx.send_viewport_cmd(ViewportCommand::Close),
            Effect::Ask(question) => self.ask(question, frame),
        }
    }

    /// Opens the system's dialog on the main thread; the answer is awaited on another.
    fn ask(&mut self, question: FileQuestion, frame: &eframe::Frame) {
        let dialog = rfd::AsyncFileDialog::new().set_parent(frame);
        let asked = Instant::now();
        // Three types of futures become one; all of them may be awaited on another thread.
        let answer: std::pin::Pin<Box<dyn Future<Output = Option<rfd::FileHandle>> + Send>> = match &question {
            FileQuestion::Open => Box::pin(
                dialog
                    .add_filter("Softprefix", &["json", "jsonl", "journal"])
                    .pick_file(),
            ),
            FileQuestion::ModelFile => Box::pin(dialog.add_filter("GGUF", &["gguf"]).pick_file()),
            FileQuestion::UnitBinary => Box::pin(dialog.pick_file()),
            FileQuestion::Examples => Box::pin(dialog.add_filter("JSON lines", &["jsonl"]).pick_file()),
            FileQuestion::Export { suggested, format, .. } => {
                let extension = format.extension();
                let dialog = dialog.add_filter(extension.to_uppercase(), &[extension]);
                Box::pin(dialog.set_file_name(suggested).save_file())
            }
            FileQuestion::SaveFigure { suggested, form } => {
                let extension = form.extension();
                let dialog = dialog.add_filter(extension.to_uppercase(), &[extension]);
                Box::pin(dialog.set_file_name(suggested).save_file())
            }
            FileQuestion::ImportPrefix => {
                let endings = ["safetensors", "npy", "npz", "zip", "json"];
                Box::pin(
                    dialog
                        .add_filter("PEFT, safetensors, npy, KoboldAI", &endings)
                        .pick_file(),
                )
            }
            // A PEFT adapter is a folder; the dialog asks for its name like that of a file.
            FileQuestion::ExportPrefix { suggested, form } | FileQuestion::ExportFound { suggested, form, .. } => {
                let dialog = match form {
                    ExportForm::Safetensors => dialog.add_filter("safetensors", &["safetensors"]),
                    ExportForm::Peft => dialog,
                    ExportForm::Npy => dialog.add_filter("NumPy", &["npy"]),
                };
                Box::pin(dialog.set_file_name(suggested).save_file())
            }
            FileQuestion::SaveRecording { suggested, .. } => {
                let dialog = dialog.add_filter("JSON lines", &["jsonl"]);
                Box::pin(dialog.set_file_name(suggested).save_file())
            }
        };
        self.bridge.await_answer(async move {
            match answer.await.map(|file| file.path().to_owned()) {
                // There is neither a desktop portal nor zenity.
                None if asked.elapsed() < NOT_SHOWN => Event::NotAsked(question),
                path => Event::Chosen { question, path },
            }
        });
    }
}

/// Draws one frame of the workbench and applies the actions, which are returned. Shortcuts are applied last, and a number that is being typed
/// takes effect before them, so that what was typed before Ctrl+Enter counts. If it is not valid, nothing is started.
pub fn frame_of(window: &mut panels::Window, workbench: &mut Workbench, ui: &mut Ui) -> Vec<Action> {
    leave_keys_to_composition(ui.ctx());
    if is_touched(workbench, ui.ctx()) {
        workbench.apply(Action::Exhibit(ExhibitionAction::Touched));
    }
    let pressed = pressed(workbench, ui.ctx());
    if !pressed.is_empty() {
        settle_typed(ui.ctx());
    }
    let mut actions = window.show(ui, workbench);
    if workbench.mark_fields(window.has_wrong_field()) {
        // Buttons were drawn before that was known.
        ui.ctx().request_repaint();
    }
    actions.extend(pressed);
    for action in &actions {
        workbench.apply(action.clone());
    }
    actions
}

/// While an input method composes a text, Enter accepts the composition and Escape cancels it: some systems report the key as well, which
/// must neither submit nor close anything.
fn leave_keys_to_composition(ctx: &Context) {
    let id = egui::Id::unique("an input method composes");
    let was_composing = ctx.data(|data| data.get_temp::<bool>(id)).unwrap_or(false);
    let mut is_composing = was_composing;
    ctx.input_mut(|input| {
        let mut is_involved = was_composing;
        for event in &input.events {
            if let egui::Event::Ime(event) = event {
                is_composing = matches!(event, egui::ImeEvent::Preedit { text, .. } if !text.is_empty());
                is_involved |= is_composing;
            }
        }
        if is_involved {
            let ends_composition = |event: &egui::Event| {
                matches!(
                    event,
                    egui::Event::Key {
                        key: egui::Key::Enter | egui::Key::Escape,
                        ..
                    }
                )
            };
            input.events.retain(|event| !ends_composition(event));
        }
    });
    if is_composing != was_composing {
        ctx.data_mut(|data| data.insert_temp(id, is_composing));
    }
}

/// Returns the actions of the shortcuts that were pressed, and of a file that was dropped: no shortcuts while a sheet is open, and no bare
/// keys while a text is edited.
fn pressed(workbench: &Workbench, ctx: &Context) -> Vec<Action> {
    let mut actions = Vec::new();
    let path = ctx.input(|input| {
        let dropped = input.raw.dropped_files.first();
        dropped.map(|file| file.path().to_path_buf())
    });
    if let Some(path) = path {
        // What is opened is not left behind a sheet. The question about tasks stays.
        let is_covered = workbench.dialog.is_some_and(|dialog| dialog != Dialog::LeftOverTasks);
        actions.extend(is_covered.then_some(Action::CloseDialog));
        actions.push(dropped(path));
    }
    let escape = || ctx.input_mut(|input| input.consume_key(Modifiers::NONE, egui::Key::Escape));
    let is_mac = ctx.os().is_mac();
    // On a Mac, Cmd+W closes what is on top.
    let close = is_mac && ctx.input_mut(|input| input.consume_key(Modifiers::COMMAND, egui::Key::W));
    if close {
        actions.push(if workbench.dialog.is_some() {
            Action::CloseDialog
        } else {
            Action::Quit
        });
        return actions;
    }
    if workbench.dialog.is_some() {
        actions.extend(escape().then_some(Action::CloseDialog));
        return actions;
    }
    let way_out = match workbench {
        workbench if workbench.exhibition.is_some() => Some(Action::Exhibit(ExhibitionAction::Toggle)),
        workbench if workbench.playback.is_some() => Some(Action::Playback(PlaybackAction::Leave)),
        workbench if workbench.presenting => Some(Action::Present(false)),
        _ => None,
    };
    actions.extend(way_out.filter(|_| escape()));
    // A widget with the focus (a slider, a button, a field) gets bare keys first.
    let typing = ctx.egui_wants_keyboard_input();
    let mut rows: Vec<_> = COMMANDS
        .iter()
        .filter(|command| (!typing || command.while_typing) && command.is_in(workbench.shown_tab()))
        .collect();
    // Shortcuts with more modifiers first: Shift+P must not count as P.
    rows.sort_by_key(|command| command.shortcut(is_mac).map_or(0, |shortcut| weight(&shortcut)));
    for command in rows.into_iter().rev() {
        let Some(shortcut) = command.shortcut(is_mac) else {
            continue;
        };
        if ctx.input_mut(|input| input.consume_shortcut(&shortcut)) {
            actions.extend(command.action(workbench));
        }
    }
    // Many keyboards have + behind Shift.
    if ctx.input_mut(|input| input.consume_shortcut(&egui::gui_zoom::kb_shortcuts::ZOOM_IN_SECONDARY)) {
        actions.push(Action::ZoomIn);
    }
    actions
}

/// Returns whether the user touched anything, which ends the exhibition. Moving the pointer does not count.
fn is_touched(workbench: &Workbench, ctx: &Context) -> bool {
    workbench.exhibition.is_some()
        && workbench.dialog.is_none()
        && ctx.input(|input| {
            input.events.iter().any(|event| {
                matches!(
                    event,
                    egui::Event::PointerButton { pressed: true, .. }
                        | egui::Event::Key { pressed: true, .. }
                        | egui::Event::MouseWheel { .. }
                        | egui::Event::Touch { .. }
                )
            })
        })
}

fn weight(shortcut: &KeyboardShortcut) -> usize {
    let Modifiers {
        alt,
        ctrl,
        shift,
        mac_cmd,
        command,
    } = shortcut.modifiers;
    [alt, ctrl, shift, mac_cmd, command]
        .into_iter()
        .filter(|&held| held)
        .count()
}

/// Logs an event.
fn report(event: &Event) {
    match event {
        Event::Ready(facts, _) => {
            tracing::info!(
                model = facts.identity.model,
                address = facts.address,
                ours = facts.is_ours(),
                "module ready"
            );
        }
        Event::Finished { run, kind, record } => {
            let text = record.output();
            let (chars, finish) = (text.chars().count(), crate::model::finish_of(record));
            tracing::info!(run = run.0, ?kind, chars, finish = ?finish, text, "run finished");
        }
        Event::Fetched { name, fetched } => match fetched {
            Ok(arrived) => tracing::info!(name, ?arrived, "download ended"),
            Err(problem) => tracing::warn!(name, %problem, "the model could not be downloaded"),
        },
        Event::Failed { run, kind, problem } => tracing::warn!(run = run.0, ?kind, %problem, "run failed"),
        Event::Sweep(event) => match &**event {
            SweepEvent::Run(softprefix_core::experiment::RunEvent::CaseFinished(record)) => {
                tracing::info!(
                    id = record.id,
                    name = record.case.name,
                    error = record.error(),
                    "case finished"
                );
            }
            SweepEvent::Run(softprefix_core::experiment::RunEvent::Ended(end)) => tracing::info!(?end, "sweep ended"),
            SweepEvent::Refused(problem) => tracing::warn!(%problem),
            _ => {}
        },
        Event::Find(event) => match &**event {
            FindEvent::LearnProgress(frame) => {
                let (loss, step) = (frame.loss.total, frame.step);
                tracing::info!(step, loss, finish = frame.finish, "rows judged");
            }
            FindEvent::Ended {
                problem: Some(problem), ..
            }
            | FindEvent::QueryFailed(problem) => tracing::warn!(%problem),
            _ => {}
        },
        Event::Library(event) => match &**event {
            LibraryEvent::Listed { experiments, problems } => {
                tracing::info!(experiments = experiments.len(), "history listed");
                for problem in problems {
                    tracing::warn!(%problem);
                }
            }
            LibraryEvent::Unusable(problem) | LibraryEvent::Failed(problem) => tracing::warn!(%problem),
            _ => {}
        },
        Event::Lost(problem)
        | Event::Reconnecting(problem, _)
        | Event::FileProblem(problem)
        | Event::TuningClosed { problem, .. } => tracing::warn!(%problem),
        _ => {}
    }
}

/// What earlier versions stored in the window's storage.
fn older(storage: Option<&dyn eframe::Storage>) -> Result<Option<Remembered>, Problem> {
    let Some(storage) = storage else { return Ok(None) };
    let remembered = eframe::get_value(storage, Remembered::KEY);
    // The window system's own keys are in every file that it has read.
    let was_read = ["egui", "window"].iter().any(|key| storage.get_string(key).is_some());
    if remembered.is_some() || (was_read && storage.get_string(Remembered::KEY).is_none()) {
        return Ok(remembered);
    }
    let usual = || eframe::storage_dir("softprefix").map(|folder| folder.join("app.ron"));
    match places::window().or_else(usual) {
        Some(path) if path.exists() && !settings_file::is_empty(&path) => Err(settings_file::set_aside_older(&path)),
        _ => Ok(None),
    }
}

impl eframe::App for App {
    fn logic(&mut self, ctx: &Context, _frame: &mut eframe::Frame) {
        self.drain(ctx);
        self.advance(ctx);
    }

    fn ui(&mut self, ui: &mut Ui, frame: &mut eframe::Frame) {
        let ctx = ui.ctx().clone();
        self.appearance(&ctx);
        let acted = !frame_of(&mut self.window, &mut self.workbench, ui).is_empty();
        self.bridge.send_all(self.workbench.take_requests());
        for effect in self.workbench.take_effects() {
            self.carry_out(effect, &ctx, frame);
        }
        if acted {
            // Shows the effect of the actions immediately.
            ctx.request_repaint();
        }
    }

    fn save(&mut self, _storage: &mut dyn eframe::Storage) {
        let saved = self
            .settings
            .as_mut()
            .map(|file| file.save(&self.workbench.remembered()));
        if let Some(Err(problem)) = saved {
            // The last call comes after the last frame.
            tracing::warn!(%problem);
            self.workbench.absorb(Event::FileProblem(problem));
        }
    }

    fn persist_egui_memory(&self) -> bool {
        self.settings.is_some()
    }

    #[cfg(any(feature = "glow", not(target_os = "macos")))]
    fn on_exit(&mut self, _gl: Option<&eframe::glow::Context>) {
        self.bridge.shutdown(LEAVING);
    }

    #[cfg(all(not(feature = "glow"), target_os = "macos"))]
    fn on_exit(&mut self) {
        self.bridge.shutdown(LEAVING);
    }
}
