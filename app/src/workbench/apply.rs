//! Handles the user's actions. Runs are started by sending requests to the bridge.

use std::time::Duration;

use softprefix_core::compare::{Granularity, Measure};
use softprefix_core::experiment::{GroupKey, Record};
use softprefix_core::prefix::MAX_LEN;

use super::doctor::DoctorAction;
use super::exhibition::Exhibition;
use super::{Action, Dialog, Effect, Notice, Tab, Workbench, file_name};
use crate::messages::{FileQuestion, LibraryRequest, RecordingRequest, Request};
use crate::model::{
    Colouring, Export, Format, Language, MagnitudeUnit, ModuleState, PRESETS, PrefixForm, RunKind, Settings, Target,
    Theme, Unavailable, WindowUse,
};

impl Workbench {
    /// Handles an action. The only way in which a user changes the state.
    pub fn apply(&mut self, action: Action) {
        if let Some(action) = self.unless_for_playback(action) {
            self.act(action);
        }
        self.take_over();
        self.sync_played();
        self.search_modules();
        self.notify();
    }

    /// Handles an action on the user's own work, even during playback.
    pub(super) fn act(&mut self, action: Action) {
        let line = self.line_of_action(&action);
        self.carry_out(action);
        self.record_action(line);
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::SetMagnitude(_)
            | Action::ScaleMagnitude(_)
            | Action::ResetMagnitude
            | Action::SetMagnitudeUnit(_)
            | Action::SetUnscaled(_)
            | Action::SetLen(_)
            | Action::SetKind(_)
            | Action::SetSeed(_)
            | Action::SetRounding(_)
            | Action::SetWords(_) => self.edit_prefix(action),

            Action::Material(action) => self.apply_material(action),

            Action::SetPrompt(_)
            | Action::SetSystem(_)
            | Action::SetMaxTokens(_)
            | Action::SetSampling(_)
            | Action::LoadPreset(_)
            | Action::LoadOwnPrompt(_) => self.edit_prompt(action),

            Action::SetLive(live) => self.set_live(live),
            Action::ToggleLive => self.set_live(!self.live),
            Action::Run => self.run_after(Duration::ZERO),
            Action::Stop => self.stop_all(),
            Action::RerunBaseline => self.rerun_baseline(),

            Action::Connect(target) => self.connect(target),
            Action::Reconnect => self.connect(self.target.clone()),
            Action::ExitLeftOverTasks => {
                if let ModuleState::TaskFull { tasks } = &self.module {
                    self.pending_requests.push(Request::ExitTasks { tasks: tasks.clone() });
                    // If the module still cannot be opened, the bridge reports the previous one again.
                    self.previous_module = None;
                    self.dialog = None;
                }
            }
            Action::FetchModel(name) => self.fetch(name),
            Action::CancelFetch => self.cancel_fetch(),
            Action::ChooseModelFile => self.ask(FileQuestion::ModelFile),

            Action::SelectRun(id) => self.select_record(id),
            Action::AdoptRun(id) => self.adopt_record(&id),
            Action::RemoveRun(id) => self.remove_runs(self.tuning.ids_of_point(&id)),
            Action::PlotRuns(ids) => {
                self.runs_shown = false;
                self.tuning.plotted = ids.into_iter().collect();
            }
            Action::ClearRuns => {
                if self.tuning.chosen().is_none() {
                    self.remove_runs(self.tuning.ids_of_points());
                }
            }
            Action::RestoreRuns => self.restore_runs(),
            Action::Pin(id) => self.pin(id.as_deref()),
            Action::Rate(id, rating) => self.rate(id, rating),
            Action::SetMeasure(measure) => self.measure = measure,
            Action::NextMeasure => {
                let at = Measure::ALL
                    .iter()
                    .position(|&measure| measure == self.measure)
                    .unwrap_or(0);
                self.measure = Measure::ALL[(at + 1) % Measure::ALL.len()];
            }
            Action::SetGranularity(granularity) => self.set_granularity(granularity),
            Action::ToggleGranularity => self.set_granularity(match self.granularity {
                Granularity::Auto => Granularity::Grapheme,
                Granularity::Grapheme => Granularity::Word,
                Granularity::Word => Granularity::Line,
                Granularity::Line => Granularity::Auto,
            }),
            Action::FillCurve => match self.curve.progress() {
                Some(_) => self.stop_curve(),
                None => self.fill_curve(Duration::ZERO),
            },
            Action::SetFillCurve(on) => {
                self.settings.fill_curve = on;
                self.fill_when_idle();
            }
            Action::SetDiscover(on) => self.settings.discover = on,
            Action::ShowRuns(on) => self.runs_shown = on,
            Action::StepDifference(by) => self.step_difference(by),
            Action::SetColouring(colouring) => self.set_colouring(colouring),
            Action::ToggleKl => self.set_colouring(match self.scores.colouring {
                Colouring::Diff => Colouring::Kl,
                Colouring::Kl => Colouring::Diff,
            }),
            Action::CopyText(kind) => {
                let text = match kind {
                    RunKind::Baseline | RunKind::BaselineRepeat => &self.left().text,
                    RunKind::Prefixed => &self.prefixed.text,
                };
                self.effects.push(Effect::Copy(text.to_string()));
                self.notice = Some(Notice::Copied);
            }
            Action::CopySha256 => {
                if let Some(digest) = self.digest_in_sight() {
                    self.effects.push(Effect::Copy(digest));
                    self.notice = Some(Notice::Copied);
                }
            }

            Action::SaveFigure(figure, form, paper) => self.ask_for_figure(*figure, form, paper),
            Action::Export(format) => self.ask_export(format),
            Action::NewSession => self.new_session(),
            Action::Open => self.ask(FileQuestion::Open),
            Action::OpenPath(path) => self.open_path(path),
            Action::OpenExample => self.ask_library(LibraryRequest::OpenExample),

            Action::ToggleRecording => self.toggle_recording(),
            Action::Playback(action) => self.playback_acts(action),
            Action::Exhibit(action) => self.exhibition_acts(action),
            Action::External(action) => self.external_acts(action),

            Action::ShowTab(tab) => self.tab = tab,
            Action::Doctor(action) => self.doctor_acts(action),
            Action::Sweep(action) => self.apply_sweep(action),
            Action::Find(action) => self.find_acts(action),
            Action::SetTheme(theme) => self.settings.theme = theme,
            Action::ToggleTheme => {
                self.settings.theme = match self.settings.theme {
                    Theme::Dark => Theme::Light,
                    Theme::Light => Theme::System,
                    Theme::System => Theme::Dark,
                };
            }
            Action::SetLanguage(language) => self.settings.language = language,
            Action::ToggleLanguage => {
                self.settings.language = self.settings.language.pick(Language::Japanese, Language::English);
            }
            Action::SetZoom(zoom) => self.set_zoom(zoom),
            Action::ZoomIn => self.set_zoom(self.settings.zoom + 0.1),
            Action::ZoomOut => self.set_zoom(self.settings.zoom - 0.1),
            Action::ZoomReset => self.set_zoom(1.0),
            Action::ToggleFullscreen => {
                self.fullscreen = !self.fullscreen;
                self.effects.push(Effect::Fullscreen(self.fullscreen));
            }
            Action::Present(on) => {
                if self.presenting != on {
                    self.presenting = on;
                    self.effects.push(Effect::Fullscreen(on || self.fullscreen));
                }
            }
            Action::ShowSettings(open) => self.settings_open = open,
            Action::SetAdvanced(shown) => self.settings.advanced = shown,
            Action::SetTextsHeight(tab, height) => match tab {
                Tab::Sweep => self.settings.pair_height = height,
                Tab::Tune | Tab::Find | Tab::Doctor => self.settings.texts_height = height,
            },
            Action::ToggleTextsAlone => self.texts_alone = !self.texts_alone,
            Action::ShowDialog(dialog) => {
                match dialog {
                    Dialog::Models => self.pending_requests.push(Request::ListModels),
                    Dialog::Identity => self.identify(),
                    Dialog::FirstSteps => self.settings.first_steps_shown = true,
                    _ => {}
                }
                self.dialog = Some(dialog);
            }
            Action::CloseDialog => {
                self.dialog = None;
                self.answer_path(None);
                self.back_to_previous_module();
            }
            Action::AnswerPath(path) => {
                self.dialog = None;
                self.answer_path(Some(path));
            }
            Action::DismissNotice => self.notice = None,
            Action::OpenPage(address) => self.effects.push(Effect::OpenPage(address)),
            Action::Quit => self.effects.push(Effect::Quit),
        }
        self.request_scores();
        self.take_over();
    }

    fn edit_prefix(&mut self, action: Action) {
        let before = self.prefix.clone();
        match action {
            Action::SetMagnitude(value) => self.set_magnitude(value),
            Action::ScaleMagnitude(factor) => {
                let (old, range) = (self.prefix.magnitude, self.prefix.range());
                let size = old.abs() * factor;
                let value = match old {
                    // Scaling up from the stop starts at the slider's lower end; scaling down stays at the stop.
                    0.0 if factor > 1.0 => *range.start(),
                    _ if factor < 1.0 && size < *range.start() => 0.0,
                    _ => self.to_saved(old, size.min(*range.end()).copysign(old)),
                };
                self.set_magnitude(value);
            }
            Action::ResetMagnitude => {
                let value = match self.prefix.unit {
                    MagnitudeUnit::TokenNorms => 1.0,
                    MagnitudeUnit::Raw => self.raw_of_one_norm(),
                };
                self.set_magnitude(value);
            }
            Action::SetMagnitudeUnit(unit) => {
                self.settings.raw_magnitude = unit == MagnitudeUnit::Raw;
                self.set_unit(unit);
            }
            Action::SetUnscaled(unscaled) => self.prefix.unscaled = unscaled,
            Action::SetLen(len) => self.prefix.len = len.clamp(1, MAX_LEN),
            Action::SetKind(kind) => self.prefix.kind = kind,
            Action::SetSeed(seed) => self.prefix.seed = seed,
            Action::SetRounding(rounding) => self.prefix.rounding = rounding,
            Action::SetWords(words) => self.prefix.words = words,
            _ => {}
        }
        if self.prefix != before {
            let same_except_magnitude = PrefixForm {
                magnitude: before.magnitude,
                unscaled: before.unscaled,
                ..self.prefix.clone()
            } == before;
            if !same_except_magnitude {
                self.interrupt_curve();
            }
            self.prefix_changed();
        }
    }

    fn set_magnitude(&mut self, value: f64) {
        // Raw values may be negative, as in existing scripts; norms may not.
        let usable = value.is_finite() && (value >= 0.0 || self.prefix.unit == MagnitudeUnit::Raw);
        if usable {
            // Not -0, whose rows have other bytes.
            self.prefix.magnitude = value + 0.0;
            if self.prefix.kind.allows_unscaled() {
                self.prefix.unscaled = false;
            }
        }
    }

    pub(super) fn set_unit(&mut self, unit: MagnitudeUnit) {
        if self.prefix.unit == unit {
            return;
        }
        let converted = match unit {
            MagnitudeUnit::TokenNorms => self.magnitude_norms(),
            MagnitudeUnit::Raw => self.magnitude_raw(),
        };
        self.prefix.unit = unit;
        match converted {
            Some(value) => self.prefix.magnitude = value,
            None if self.prefix.magnitude == 0.0 => {}
            None if unit == MagnitudeUnit::Raw => self.prefix.magnitude = self.raw_of_one_norm(),
            None => self.prefix.magnitude = 1.0,
        }
    }

    pub(super) fn prefix_changed(&mut self) {
        if let Some(budget) = &mut self.budget {
            budget.prefix = self.prefix.len;
        }
        self.describe();
        self.tuning.selected_record = None;
        self.refresh_stale();
        if !self.show_saved_run() {
            self.run_if_live();
        }
    }

    fn run_if_live(&mut self) {
        if !self.live {
            return;
        }
        match self.why_not_run() {
            None => self.run_after(self.live_delay),
            Some(Unavailable::WrongField) => self.is_live_run_withheld = true,
            // Otherwise runs of the previous controls may finish and become points.
            Some(_) => {}
        }
    }

    /// Sets whether the shown view has a field whose text is not valid. While it has, nothing is started in it: the run would not be that of
    /// the fields. Returns whether this is a change.
    pub fn mark_fields(&mut self, is_wrong: bool) -> bool {
        let marked = is_wrong.then_some(self.tab);
        let is_change = std::mem::replace(&mut self.wrong_field, marked) != marked;
        if !self.has_wrong_field(Tab::Tune) && std::mem::take(&mut self.is_live_run_withheld) && !self.show_saved_run()
        {
            self.run_if_live();
            self.record_action(None);
        }
        is_change
    }

    /// Returns whether a view shows a field whose text is not valid. The Presenter and a recording show no fields, and an exhibition that nobody
    /// touches uses none.
    pub(super) fn has_wrong_field(&self, tab: Tab) -> bool {
        let is_used = self.exhibition.as_ref().is_none_or(Exhibition::is_touched);
        self.wrong_field == Some(tab) && is_used && !self.presenting && self.playback.is_none()
    }

    /// Requests the prefix of the current controls, to show its norm and digest.
    pub(super) fn describe(&mut self) {
        self.next_prefix.stale = true;
        if self.prefix.missing().is_some() {
            // The prefix cannot be built; the reason is shown beside Run.
            self.next_prefix = crate::model::NextPrefix::default();
        } else if self.module.is_ready() {
            let recipe = self.prefix.recipe();
            self.replace_request(
                |request| matches!(request, Request::Describe { .. }),
                Request::Describe { recipe },
            );
        }
    }

    /// Requests the token count of the prompt.
    pub(super) fn count(&mut self) {
        if let Some(budget) = &mut self.budget {
            budget.current = false;
            budget.output = self.prompt.max_tokens;
        }
        if self.module.facts().is_some_and(|facts| facts.is_ours()) {
            let (system, user) = (self.prompt.system.clone(), self.prompt.user.clone());
            self.replace_request(
                |request| matches!(request, Request::Count { .. }),
                Request::Count { system, user },
            );
        }
    }

    /// Queues a request, replacing an earlier one of the same kind.
    pub(super) fn replace_request(&mut self, same: impl Fn(&Request) -> bool, request: Request) {
        self.pending_requests.retain(|queued| !same(queued));
        self.pending_requests.push(request);
    }

    fn edit_prompt(&mut self, action: Action) {
        let before = self.prompt.clone();
        match action {
            Action::SetPrompt(user) => self.prompt.user = user,
            Action::SetSystem(system) => self.prompt.system = system,
            Action::SetMaxTokens(tokens) => self.prompt.max_tokens = tokens.max(1),
            Action::SetSampling(sampling) => self.prompt.sampling = sampling,
            Action::LoadOwnPrompt(index) => {
                if let Some(own) = self.own_prompts.get(index).cloned() {
                    self.keep_replaced_prompt();
                    (self.prompt.system, self.prompt.user) = (own.system, own.user);
                }
            }
            Action::LoadPreset(index) => {
                if let Some(preset) = PRESETS.get(index) {
                    self.keep_replaced_prompt();
                    self.prompt.system = preset.system.to_owned();
                    self.prompt.user = preset.user.to_owned();
                }
            }
            _ => {}
        }
        if self.prompt != before {
            self.count();
            self.refresh_stale();
        }
    }

    fn set_live(&mut self, live: bool) {
        let was = std::mem::replace(&mut self.live, live);
        let origin = self.prefixed.origin.as_ref();
        let shown = origin.is_some_and(|origin| origin.recipe == self.prefix.recipe());
        if live && !was && !shown {
            self.run_if_live();
        }
    }

    fn set_zoom(&mut self, zoom: f32) {
        if zoom.is_finite() {
            let steps = (zoom * 20.0).round() / 20.0;
            self.settings.zoom = steps.clamp(*Settings::ZOOM.start(), *Settings::ZOOM.end());
        }
    }

    pub(super) fn fresh_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    pub(super) fn connect(&mut self, target: Target) {
        self.takes_over &= target == self.target;
        self.taking_over = None;
        self.previous_module = None;
        self.dialog = None;
        self.answer_path(None);
        self.clear_running();
        if target != self.target {
            self.last_facts = None;
        }
        self.target = target.clone();
        let input = Box::new(self.prompt_and_settings());
        self.pending_requests.push(Request::Connect { target, input });
    }

    fn adopt_record(&mut self, id: &str) {
        let Some(record) = self.tuning.record(id).cloned() else {
            return;
        };
        self.set_prefix_from(&record);
        self.select_record(Some(record.id));
        self.describe();
        self.refresh_stale();
    }

    /// Sets the prefix controls from a record.
    pub(super) fn set_prefix_from(&mut self, record: &Record) {
        let Some(recipe) = &record.case.recipe else { return };
        self.prefix.take_recipe(recipe);
        if let Some(budget) = &mut self.budget {
            budget.prefix = self.prefix.len;
        }
    }

    fn step_difference(&mut self, by: isize) {
        let Some((now, count)) = self.difference() else { return };
        let last = count as isize - 1;
        let next = match now {
            Some(now) => (now as isize + by).rem_euclid(count as isize),
            None if by < 0 => last,
            None => 0,
        };
        let next = usize::try_from(next).ok();
        match self.shown_tab() {
            Tab::Sweep => self.sweep.difference = next,
            Tab::Find => {}
            Tab::Tune | Tab::Doctor => self.difference = next,
        }
    }

    fn set_granularity(&mut self, granularity: Granularity) {
        self.granularity = granularity;
        self.compare_panes();
        self.compare_pair();
    }

    fn doctor_acts(&mut self, action: DoctorAction) {
        match action {
            DoctorAction::CopyCommands(commands) => {
                self.effects.push(Effect::Copy(commands));
                self.notice = Some(Notice::Copied);
            }
            DoctorAction::ChooseUnit => self.ask(FileQuestion::UnitBinary),
            DoctorAction::Visit(address) => {
                self.doctor.apply(DoctorAction::Visit(address), None);
                self.tab = super::Tab::Doctor;
            }
            DoctorAction::Connect => {
                if let Some(address) = self.doctor.connectable().map(str::to_owned) {
                    self.tab = super::Tab::Tune;
                    self.carry_out(Action::Connect(crate::model::Target::Remote { address, model: None }));
                }
            }
            action => {
                let in_use = self.doctor_compares_with();
                let request = self.doctor.apply(action, in_use);
                self.pending_requests.extend(request.map(Request::Doctor));
            }
        }
    }

    /// Returns the model and hidden size in use, if connected to a remote module.
    pub(super) fn doctor_compares_with(&self) -> Option<(String, usize)> {
        let facts = self.module.facts().filter(|facts| !facts.is_embedded())?;
        Some((facts.identity.model.clone(), facts.hidden_size()?))
    }

    pub(super) fn ask(&mut self, question: FileQuestion) {
        // A new question cancels an open one.
        self.answer_path(None);
        if !self.file.asking {
            self.file.asking = true;
            self.effects.push(Effect::Ask(question));
        }
    }

    /// Returns whether there is anything to export.
    pub fn can_export(&self) -> bool {
        let is_free = !self.file.asking && !self.file.writing;
        is_free
            && match self.tab {
                Tab::Sweep => self.sweep.experiment().is_some(),
                Tab::Tune | Tab::Find | Tab::Doctor => !self.tuning.is_empty(),
            }
    }

    fn ask_export(&mut self, format: Format) {
        if !self.can_export() {
            return;
        }
        let is_sweep = self.tab == Tab::Sweep;
        let saved = match is_sweep {
            true => self.sweep.experiment(),
            false => Some(&self.tuning.saved),
        };
        let Some(saved) = saved else { return };
        let stem = softprefix_core::experiment::export::file_stem(&saved.experiment);
        let suggested = format!("{stem}{}", format.ending());
        self.ask(FileQuestion::Export {
            suggested,
            format,
            is_sweep,
        });
    }

    /// Exports the shown sweep or the session to a chosen file. A format that holds one prompt gets the shown one.
    pub(super) fn export_to(&mut self, path: std::path::PathBuf, format: Format, is_sweep: bool) {
        let (experiment, records, prompt) = match is_sweep {
            true => match self.sweep.to_export() {
                Some((experiment, mut records, prompt)) => {
                    // A results file has one module.
                    if matches!(format, Format::Results) {
                        records.retain(|record| record.experiment == experiment.id);
                    }
                    (experiment, records, prompt)
                }
                None => return,
            },
            false => {
                let saved = &self.tuning.saved;
                let of_shown = |record: &&Record| self.tuning.shown_group.as_ref() == Some(&GroupKey::of(record));
                let of_one = matches!(format, Format::Results);
                let records: Vec<Record> = saved
                    .undeleted()
                    .filter(|record| !of_one || of_shown(record))
                    .cloned()
                    .collect();
                let prompt = records.first().map_or(0, |record| record.case.prompt);
                (saved.experiment.clone(), records, prompt)
            }
        };
        self.file.write(&path);
        let export = Box::new(Export {
            format,
            experiment,
            records,
            prompt,
            language: self.settings.language,
        });
        self.pending_requests
            .push(Request::Library(LibraryRequest::Export { path, export }));
    }

    /// Opens any file that this program writes.
    pub(super) fn open_path(&mut self, path: std::path::PathBuf) {
        self.file.read(file_name(&path));
        let is_recording = path.extension().is_some_and(|ending| ending == "jsonl");
        self.pending_requests.push(if is_recording {
            Request::Recording(RecordingRequest::Open(path))
        } else {
            Request::Library(LibraryRequest::Import { path })
        });
    }
}

impl WindowUse {
    /// Returns the same counts with P and the maximum output of the controls.
    pub(super) fn with(mut self, prefix: usize, output: usize) -> Self {
        self.prefix = prefix;
        self.output = output;
        self
    }
}
