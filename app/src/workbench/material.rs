//! Prefixes as material: what they are made of beside numbers, their files, and the sheet that says what one is.
//!
//! It knows no widget and opens no file; what a file is, and what is nearest to a row, arrives as events.

use std::path::PathBuf;

use super::{Action, Dialog, MaterialAction, Notice, Workbench};
use crate::messages::{FileQuestion, MaterialEvent, MaterialRequest, Request};
use crate::model::{Envelope, ExportForm, ImportedFile, KindChoice, ModuleState, Nearest, PrefixSheet, Target};

/// What a file that was dropped on the window is taken for.
pub fn dropped(path: PathBuf) -> Action {
    let ending = path
        .extension()
        .map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    match ending.as_deref() {
        Some("gguf") => Action::Connect(Target::Embedded {
            model: Some(path.to_string_lossy().into_owned()),
        }),
        Some("json") if path.file_name().is_none_or(|name| name != "adapter_config.json") => Action::OpenPath(path),
        _ => Action::Material(MaterialAction::Import(path)),
    }
}

impl Workbench {
    pub(super) fn apply_material(&mut self, action: MaterialAction) {
        let before = self.prefix.clone();
        match action {
            MaterialAction::SetGenerator(generator) => self.prefix.generator = generator,
            MaterialAction::SetBlendFrom(text) => self.prefix.blend_from = text,
            MaterialAction::SetBlendTo(text) => self.prefix.blend_to = text,
            MaterialAction::SetBlend(t) => {
                if t.is_finite() {
                    self.prefix.blend = t.clamp(0.0, 1.0);
                }
            }
            MaterialAction::SetContrast(text) => self.prefix.contrast = text,
            MaterialAction::SetContrastMinus(text) => self.prefix.contrast_minus = text,
            MaterialAction::SetEnvelope(envelope) => {
                self.prefix.envelope = match envelope {
                    Envelope::Drawn(points) if points.iter().all(|factor| factor.is_finite()) => Envelope::of(&points),
                    Envelope::Drawn(_) => return,
                    ready_made => ready_made,
                }
            }
            MaterialAction::ChooseFile => self.ask(FileQuestion::ImportPrefix),
            MaterialAction::Import(path) => self.import_prefix(path),
            MaterialAction::Export(form) => {
                if self.can_export_prefix() {
                    let suggested = self.export_name(form);
                    self.ask(FileQuestion::ExportPrefix { suggested, form });
                }
            }
        }
        if self.prefix != before {
            self.prefix_changed();
        }
    }

    /// Whether there is a prefix to write to a file.
    pub fn can_export_prefix(&self) -> bool {
        self.module.is_ready() && !self.file.asking && matches!(self.card.built, Some(Ok(_)))
    }

    fn export_name(&self, form: ExportForm) -> String {
        let kind = self.prefix.recipe().kind.name().replace(' ', "-");
        match form {
            ExportForm::Peft => format!("prefix-{kind}-P{}", self.prefix.len),
            ExportForm::Npy => format!("prefix-{kind}-P{}.npy", self.prefix.len),
        }
    }

    /// Imports a file; while a module is on its way, as soon as it is known how wide its rows are.
    pub(super) fn import_prefix(&mut self, path: PathBuf) {
        if self.module.is_busy() || self.module == ModuleState::Idle {
            self.waiting_file = Some(path);
            return;
        }
        let facts = self.module.last_facts();
        self.ask_material(MaterialRequest::Import {
            path,
            hidden_size: facts.and_then(|facts| facts.hidden_size()),
            rounding: self.prefix.rounding,
        });
    }

    /// The module is there, or will not be: what has waited for it waits no longer.
    pub(super) fn import_waiting(&mut self) {
        if !self.module.is_busy()
            && let Some(path) = self.waiting_file.take()
        {
            self.import_prefix(path);
        }
    }

    pub(super) fn export_prefix(&mut self, path: PathBuf, form: ExportForm) {
        let model = self.module.facts().map(|facts| facts.identity.model.clone());
        self.ask_material(MaterialRequest::Export {
            path,
            form,
            recipe: self.prefix.recipe(),
            base_model: model,
        });
    }

    /// Asks what the prefix in hand is.
    pub(super) fn identify(&mut self) {
        let recipe = self.prefix.recipe();
        self.sheet = Some(PrefixSheet {
            recipe: recipe.clone(),
            card: None,
            nearest: Nearest::Pending,
        });
        if self.module.is_ready() && self.prefix.lacks().is_none() {
            self.ask_material(MaterialRequest::Identify { recipe });
        }
    }

    /// The digest that the person sees: that of the open sheet, else of the prefix in hand.
    pub(super) fn digest_in_sight(&self) -> Option<String> {
        let on_sheet = self.sheet.as_ref().filter(|_| self.dialog == Some(Dialog::Identity));
        if let Some(Ok(card)) = on_sheet.and_then(|sheet| sheet.card.as_ref()) {
            return Some(card.sha256.clone());
        }
        let built = self.card.built.as_ref()?.as_ref().ok()?;
        Some(built.sha256.clone())
    }

    fn ask_material(&mut self, request: MaterialRequest) {
        self.outbox.push(Request::Material(Box::new(request)));
    }

    pub(super) fn absorb_material(&mut self, event: MaterialEvent) {
        match event {
            MaterialEvent::Imported(file) => self.take_file(file),
            MaterialEvent::Refused(refused) => self.notice = Some(Notice::Refused(refused)),
            MaterialEvent::Exported(path) => self.notice = Some(Notice::Saved(path)),
            MaterialEvent::Failed(problem) => self.notice = Some(Notice::Problem(problem)),
            MaterialEvent::Identified { recipe, card } => {
                if let Some(sheet) = self.sheet.as_mut().filter(|sheet| sheet.recipe == recipe) {
                    sheet.card = Some(card);
                }
            }
            MaterialEvent::Nearest { recipe, nearest } => {
                if let Some(sheet) = self.sheet.as_mut().filter(|sheet| sheet.recipe == recipe) {
                    sheet.nearest = nearest;
                }
            }
        }
    }

    /// Turns the controls to a file that was imported: its rows, all of them, as they are.
    fn take_file(&mut self, file: ImportedFile) {
        if matches!(self.notice, Some(Notice::Refused(_))) {
            self.notice = None;
        }
        let rows = file.about.as_ref().map(|about| about.rows);
        self.prefix.kind = KindChoice::Imported;
        self.prefix.len = rows.unwrap_or(self.prefix.len);
        self.prefix.unscaled = true;
        self.prefix.imported = Some(file);
        self.tab = if self.tab == super::Tab::Doctor {
            super::Tab::Tune
        } else {
            self.tab
        };
        if self.dialog != Some(Dialog::LeftOverTasks) {
            self.dialog = None;
        }
        self.prefix_changed();
    }
}
