//! Handles the events of the bridge. Events of runs that were replaced meanwhile are ignored.

use std::sync::Arc;
use std::time::Duration;

use softprefix_core::compare::{Diff, Measures};
use softprefix_core::protocol::extension;

use super::doctor::DoctorAction;
use super::running_inference::StreamingDiff;
use super::{Dialog, DiffOf, Notice, Workbench};
use crate::messages::{Event, FileQuestion, LibraryRequest, Pair, Request, Texts};
use crate::model::{
    MagnitudeUnit, ModuleFacts, ModuleState, Notification, PreviousModule, Problem, Retry, Target, Vocabulary,
    WindowUse,
};

impl Workbench {
    /// Handles an event. Besides [`Workbench::apply`], the only way to change the state.
    pub fn absorb(&mut self, event: Event) {
        let line = self.line_of_event(&event);
        self.apply_event(event);
        self.record_event(line);
        self.sync_played();
        self.search_modules();
        self.notify();
    }

    fn apply_event(&mut self, event: Event) {
        match event {
            Event::Models(models) => self.models = models,
            Event::Fetching(progress) => self.module = ModuleState::Fetching(progress),
            Event::NoModel(problem) => self.module = ModuleState::NoModel { problem },
            Event::FetchingInBackground(progress) => self.fetching_in_background(progress),
            Event::Fetched { name, fetched } => self.fetched(name, fetched),
            Event::Loading { model, fraction, stage } => {
                // A loading event may arrive after the module is ready.
                if !self.module.is_ready() {
                    self.module = ModuleState::Loading { model, fraction, stage };
                }
            }
            Event::Connecting(what) => self.module = ModuleState::Connecting { what },
            Event::Ready(facts, vocabulary) => self.ready(*facts, vocabulary),
            Event::TaskFull { tasks } => {
                self.clear_running();
                self.module = ModuleState::TaskFull { tasks };
                self.answer_path(None);
                self.dialog = Some(Dialog::LeftOverTasks);
            }
            Event::Lost(problem) => {
                self.notify_of(Notification::Error(problem.to_string()));
                self.lost(problem, None);
            }
            // Other programs hear of it only when no attempt is left.
            Event::Reconnecting(problem, retry) => self.lost(problem, Some(retry)),

            Event::PreviousModule(previous) => self.stay_with(previous),

            Event::Described { recipe, built } => {
                if recipe == self.prefix.recipe() {
                    self.next_prefix.built = Some(built);
                    self.next_prefix.stale = false;
                }
            }
            Event::Counted { system, user, count } => self.counted(&system, &user, count),

            Event::Started { run, kind, built } => self.started(run, kind, built),
            Event::Delta { run, kind, text } => self.delta(run, kind, &text),
            Event::Finished { run, kind, record } => self.finished(run, kind, *record),
            Event::TuningBegan { run, experiment } => {
                self.journal_created(run, *experiment);
                self.ask_library(LibraryRequest::List);
            }
            Event::TuningClosed { session, problem } => {
                self.tuning.is_closed |= self.tuning.saved.experiment.id == session;
                self.notice = Some(Notice::Problem(problem));
            }
            Event::Failed { run, kind, problem } => self.failed(run, kind, problem),
            Event::Dropped { run, kind } => self.dropped(run, kind),

            Event::CurveText { run, text } => self.curve_text(run, &text),
            Event::CurvePoint { run, record } => self.curve_point(run, *record),
            Event::CurveFailed { run, problem } => self.curve_failed(run, problem),
            Event::CurveDropped { run } => self.curve_dropped(run),

            Event::Scored { record, scores } => self.scored(&record, Ok(scores)),
            Event::NotScored { records, problem } => {
                for record in records {
                    self.scored(&record, Err(problem.clone()));
                }
            }
            Event::Compared { texts, diff, measures } => self.compared(texts, diff, measures),
            Event::Measured(measured) => self.measured(measured),
            Event::NotCompared(problem) => {
                // The next text is compared again.
                self.streaming_diff = StreamingDiff::default();
                self.notice = Some(Notice::Problem(problem));
            }
            Event::Chosen { question, path } => self.chosen(question, path),
            // Whether to exit tasks is decided first.
            Event::NotAsked(question) if self.dialog == Some(Dialog::LeftOverTasks) => self.chosen(question, None),
            Event::NotAsked(question) => {
                self.path_asked = Some(question);
                self.dialog = Some(Dialog::Path);
            }
            Event::FigureSaved(path) => {
                self.file.end();
                self.notice = Some(Notice::Saved(path));
            }
            Event::Doctor(event) => {
                let in_use = self.doctor_compares_with();
                let request = self.doctor.absorb(event, in_use);
                self.pending_requests.extend(request.map(Request::Doctor));
            }
            Event::Library(event) => self.absorb_library(*event),
            Event::Sweep(event) => self.absorb_sweep(*event),
            Event::Find(event) => self.absorb_find(*event),
            Event::Material(event) => self.absorb_material(*event),
            Event::Recording(event) => self.absorb_recording(*event),
            Event::External(event) => self.absorb_external(*event),
            Event::Discovery(event) => self.absorb_discovery(*event),
            Event::FileProblem(problem) => {
                self.file.end();
                self.notice = Some(Notice::Problem(problem));
            }
        }
        self.request_scores();
        self.import_waiting();
        self.take_over();
    }

    fn lost(&mut self, problem: Problem, retry: Option<Retry>) {
        self.clear_running();
        // While the user is asked about the tasks of another module, only the previous one can be lost.
        if let Some(previous) = self.previous_module.take() {
            self.target = previous.target;
            self.last_facts = Some(Box::new(previous.facts));
            if self.dialog == Some(Dialog::LeftOverTasks) {
                self.dialog = None;
            }
        }
        let last = self.last_facts.clone();
        self.module = ModuleState::Failed { problem, last, retry };
    }

    /// Another module could not be opened: the previous one stays connected, once the user has decided about left-over
    /// tasks on the other.
    fn stay_with(&mut self, previous: Box<PreviousModule>) {
        let why = match &self.module {
            ModuleState::TaskFull { .. } if self.dialog == Some(Dialog::LeftOverTasks) => {
                self.previous_module = Some(previous);
                return;
            }
            ModuleState::Failed { problem, .. } => Some(problem.clone()),
            ModuleState::NoModel { problem } => problem.clone(),
            _ => None,
        };
        self.target = previous.target;
        let taking_over = self.taking_over.is_some();
        self.not_taken_over(why.as_ref());
        self.ready(previous.facts, previous.vocabulary);
        // Why a model did not take over is shown on the module's card, beside the button that tries again.
        self.notice = match taking_over {
            true => None,
            false => why.map(Notice::Problem).or(self.notice.take()),
        };
    }

    /// The user leaves the tasks of the other module alone.
    pub(super) fn back_to_previous_module(&mut self) {
        if let Some(previous) = self.previous_module.take() {
            self.stay_with(previous);
        }
    }

    fn ready(&mut self, facts: ModuleFacts, vocabulary: Option<Arc<Vocabulary>>) {
        self.previous_module = None;
        self.taking_over = None;
        self.remember_module(&facts);
        self.scores.start_over();
        let ours = facts.is_ours();
        let facts = Box::new(facts);
        self.last_facts = Some(facts.clone());
        self.module = ModuleState::Ready(facts);
        if self.dialog == Some(Dialog::LeftOverTasks) {
            self.dialog = None;
        }
        match vocabulary {
            Some(vocabulary) => {
                self.vocabulary = Some(vocabulary);
                if self.prefix.unit == MagnitudeUnit::Raw && !self.settings.raw_magnitude {
                    self.set_unit(MagnitudeUnit::TokenNorms);
                }
                self.sweep.form.set_norms_known(true);
            }
            None => {
                // Without the vocabulary there are no token norms: convert while the old one is still known.
                self.set_unit(MagnitudeUnit::Raw);
                self.sweep.form.set_norms_known(false);
                self.vocabulary = None;
            }
        }
        if !ours {
            self.budget = None;
        }
        self.describe();
        if self.dialog == Some(Dialog::Identity) {
            self.identify();
        }
        self.count();
        self.refresh_stale();
        // A prompt that was typed since the last run waits for the user.
        let now = self.group_key();
        let is_due = match &self.tuning.shown_group {
            Some(shown) => *shown != now && (&shown.prompt, &shown.settings) == (&now.prompt, &now.settings),
            None => {
                let is_known = self.prompt.preset().is_some() || self.own_prompts.contains(&now.prompt);
                is_known && self.library.restoring.is_empty()
            }
        };
        if self.live && is_due {
            self.run_after(Duration::ZERO);
        }
    }

    fn counted(&mut self, system: &str, user: &str, count: extension::TokenCounts) {
        if self.prompt.system != system || self.prompt.user != user {
            return;
        }
        let budget = WindowUse {
            template: count.template,
            prompt: count.prompt,
            window: count.window,
            prefill_window: count.prefill_window,
            current: true,
            ..WindowUse::default()
        };
        self.budget = Some(budget.with(self.prefix.len, self.prompt.max_tokens));
    }

    fn compared(&mut self, texts: Texts, diff: Diff, measures: Option<Box<Measures>>) {
        let Texts {
            pair,
            left,
            right,
            granularity,
            ..
        } = texts;
        match pair {
            Pair::Panes => {
                let ended = std::mem::take(&mut self.streaming_diff);
                if granularity == self.granularity {
                    self.difference = None;
                    self.diff = Some(Arc::new(DiffOf {
                        left,
                        right,
                        diff,
                        measures,
                    }));
                }
                if ended.is_outdated {
                    self.compare_panes();
                }
            }
            Pair::Records => self.sweep.compared(left, right, granularity, diff),
        }
    }

    /// Answers the question of [`Dialog::Path`], if it is open.
    pub(super) fn answer_path(&mut self, path: Option<std::path::PathBuf>) {
        if let Some(question) = self.path_asked.take() {
            self.chosen(question, path);
        }
    }

    fn chosen(&mut self, question: FileQuestion, path: Option<std::path::PathBuf>) {
        self.file.asking = false;
        if let FileQuestion::SaveRecording { from, .. } = question {
            return self.keep_recording(from, path);
        }
        let Some(path) = path else { return };
        match question {
            FileQuestion::SaveRecording { .. } => {}
            FileQuestion::Open => self.open_path(path),
            FileQuestion::UnitBinary => self.act(super::Action::Doctor(DoctorAction::SetUnit(
                path.to_string_lossy().into_owned(),
            ))),
            FileQuestion::SaveFigure { form, .. } => self.save_figure(path, form),
            FileQuestion::Export { format, is_sweep, .. } => self.export_to(path, format, is_sweep),
            FileQuestion::ImportPrefix => self.import_prefix(path),
            FileQuestion::ExportPrefix { form, .. } => self.export_prefix(path, form),
            FileQuestion::Examples => self.read_examples(path),
            FileQuestion::ExportFound { found, form, .. } => self.export_found(found, path, form),
            FileQuestion::ModelFile => {
                let model = Some(path.to_string_lossy().into_owned());
                self.act(super::Action::Connect(Target::Embedded { model }));
            }
        }
    }
}
