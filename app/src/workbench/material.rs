//! Handles actions and events for the material of a prefix (what its rows are made of: texts, a generator, a file, and the envelope over
//! them), for prefix files, and for the sheet that describes a prefix.

use std::path::PathBuf;

use softprefix_core::prefix::Origin;

use super::{Action, Dialog, MaterialAction, Notice, Workbench, file_name};
use crate::messages::{FileQuestion, MaterialEvent, MaterialRequest, Request};
use crate::model::{Envelope, ExportForm, ImportedFile, KindChoice, ModuleState, Nearest, PrefixSheet, Target};

/// Returns the action for a file that was dropped on the window.
pub fn dropped(path: PathBuf) -> Action {
    let ending = path
        .extension()
        .map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    match ending.as_deref() {
        Some("gguf") => Action::Connect(Target::Embedded {
            model: Some(path.to_string_lossy().into_owned()),
        }),
        Some("jsonl" | "journal") => Action::OpenPath(path),
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
            MaterialAction::SetBlendFromRows(on) => self.prefix.blend_from_rows = on,
            MaterialAction::SetBlendToRows(on) => self.prefix.blend_to_rows = on,
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

    /// Returns whether there is a prefix to export.
    pub fn can_export_prefix(&self) -> bool {
        self.module.is_ready() && !self.file.asking && matches!(self.next_prefix.built, Some(Ok(_)))
    }

    fn export_name(&self, form: ExportForm) -> String {
        let kind = self.prefix.recipe().kind.name().replace(' ', "-");
        form.file_name(&format!("prefix-{kind}-P{}", self.prefix.len))
    }

    /// Imports a file; before the first connection and while a module is being connected, it waits until the width of its rows is known.
    pub(super) fn import_prefix(&mut self, path: PathBuf) {
        if self.module.is_busy() || self.module == ModuleState::Idle {
            self.waiting_file = Some(path);
            return;
        }
        self.file.read(file_name(&path));
        let facts = self.module.last_facts();
        self.ask_material(MaterialRequest::Import {
            path,
            hidden_size: facts.and_then(|facts| facts.hidden_size()),
            rounding: self.prefix.rounding,
        });
    }

    /// Imports the waiting file, once the module is ready or has failed.
    pub(super) fn import_waiting(&mut self) {
        if !self.module.is_busy()
            && let Some(path) = self.waiting_file.take()
        {
            self.import_prefix(path);
        }
    }

    pub(super) fn export_prefix(&mut self, path: PathBuf, form: ExportForm) {
        self.file.write(&path);
        let model = self.module.facts().map(|facts| facts.identity.model.clone());
        self.ask_material(MaterialRequest::Export {
            path,
            form,
            recipe: self.prefix.recipe(),
            base_model: model,
        });
    }

    /// Requests the description of the current prefix.
    pub(super) fn identify(&mut self) {
        let recipe = self.prefix.recipe();
        self.sheet = Some(PrefixSheet {
            recipe: recipe.clone(),
            summary: None,
            nearest: Nearest::Pending,
        });
        if self.module.is_ready() && self.prefix.missing().is_none() {
            self.ask_material(MaterialRequest::Identify { recipe });
        }
    }

    /// Returns the visible digest: that of the open sheet, or else of the current prefix.
    pub(super) fn digest_in_sight(&self) -> Option<String> {
        let on_sheet = self.sheet.as_ref().filter(|_| self.dialog == Some(Dialog::Identity));
        if let Some(Ok(summary)) = on_sheet.and_then(|sheet| sheet.summary.as_ref()) {
            return Some(summary.sha256.clone());
        }
        let built = self.next_prefix.built.as_ref()?.as_ref().ok()?;
        Some(built.sha256.clone())
    }

    fn ask_material(&mut self, request: MaterialRequest) {
        self.pending_requests.push(Request::Material(Box::new(request)));
    }

    pub(super) fn absorb_material(&mut self, event: MaterialEvent) {
        let is_file = !matches!(event, MaterialEvent::Identified { .. } | MaterialEvent::Nearest { .. });
        if is_file {
            self.file.end();
        }
        match event {
            MaterialEvent::Imported { file, norms } => self.take_file(file, &norms),
            MaterialEvent::Refused(refused) => self.notice = Some(Notice::Refused(refused)),
            MaterialEvent::Exported(path) => self.notice = Some(Notice::Saved(path)),
            MaterialEvent::Failed(problem) => self.notice = Some(Notice::Problem(problem)),
            MaterialEvent::Identified { recipe, summary } => {
                if let Some(sheet) = self.sheet.as_mut().filter(|sheet| sheet.recipe == recipe) {
                    sheet.summary = Some(summary);
                }
            }
            MaterialEvent::Nearest { recipe, nearest } => {
                if let Some(sheet) = self.sheet.as_mut().filter(|sheet| sheet.recipe == recipe) {
                    sheet.nearest = nearest;
                }
            }
        }
    }

    /// Sets the controls to an imported file, with all of its rows as they are. Rows that were learned or found get the magnitude in token
    /// norms that gives them as they are (where the median norm is known), so that it can be changed and swept; others are unscaled.
    fn take_file(&mut self, file: ImportedFile, norms: &[f64]) {
        if matches!(self.notice, Some(Notice::Refused(_))) {
            self.notice = None;
        }
        let median = self.vocabulary.as_ref().map(|vocabulary| vocabulary.median);
        match file.origin {
            Origin::Learned(_) | Origin::Found(_) => self.prefix.take_rows(norms, median),
            Origin::File => {
                (self.prefix.kind, self.prefix.len, self.prefix.unscaled) = (KindChoice::Imported, norms.len(), true)
            }
        }
        self.prefix.imported = Some(file);
        self.tab = if self.tab == super::Tab::Doctor {
            super::Tab::Tune
        } else {
            self.tab
        };
        // These hold a decision or a text of the user.
        if !matches!(self.dialog, Some(Dialog::LeftOverTasks | Dialog::Path | Dialog::Note)) {
            self.dialog = None;
        }
        self.prefix_changed();
    }
}
