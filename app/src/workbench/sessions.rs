//! Sessions of tuning and the library: starting, opening and changing them, and the bridge's answers.

use std::path::PathBuf;

use softprefix_core::experiment::{Comparison, Entry, MeasuredText, Rating, Record, SavedExperiment, Stars};

use super::exhibition::Exhibition;
use super::library::LibraryState;
use super::{Action, Notice, Tab, Tuning, Workbench, pane_of};
use crate::messages::{LibraryEvent, LibraryRequest, Request};
use crate::model::{Pane, PaneState, PrefixForm, PromptForm, Remembered, RunId, RunKind};

/// Maximum number of characters of a note.
pub const MAX_NOTE_CHARACTERS: usize = 10_000;

impl Workbench {
    /// Starts a new session; the old one stays in the history.
    pub(super) fn new_session(&mut self) {
        self.change_to(Tuning::default());
        self.pending_requests.push(Request::Tuning(None));
    }

    /// Shows another session, with empty panes.
    pub(super) fn change_to(&mut self, tuning: Tuning) {
        self.replace_session(tuning);
        self.baseline = Pane::default();
        self.prefixed = Pane::default();
    }

    /// Replaces the shown session, stops its runs, and returns it. The panes stay.
    pub(super) fn replace_session(&mut self, tuning: Tuning) -> Tuning {
        self.stop_curve();
        self.curve.of = None;
        for kind in [RunKind::Baseline, RunKind::Prefixed, RunKind::BaselineRepeat] {
            self.cancel_run(kind);
        }
        let former = std::mem::replace(&mut self.tuning, tuning);
        self.tuning.first_run = RunId(self.next_id);
        self.diff = None;
        self.scores.start_over();
        self.record_session();
        // Its runs are not those of this session.
        self.notice.take_if(|notice| matches!(notice, Notice::Removed(_)));
        former
    }

    /// Shows a session of the library with its controls, and continues it.
    pub(super) fn open_session(&mut self, saved: SavedExperiment) {
        let request = Request::Tuning(Some(saved.experiment.id.clone()));
        let (tuning, comparisons) = Tuning::open(saved);
        self.change_to(tuning);
        self.pending_requests.push(request);
        self.tab = Tab::Tune;
        let last = self.tuning.saved.undeleted().last().cloned();
        if let Some(record) = &last {
            self.set_controls_from(record);
        }
        let shown = self.tuning.saved.undeleted();
        let last_prefixed = shown.filter(|record| !record.is_baseline()).last().cloned();
        if let Some(record) = &last_prefixed {
            self.set_prefix_from(record);
        }
        if let Some(key) = self.tuning.shown_group.clone() {
            self.show_group(key);
        }
        if let Some(record) = last_prefixed {
            self.prefixed = pane_of(&record);
            // It stays the run of the pane when others, such as those of a curve, come after it.
            self.tuning.record_at_controls = record.is_complete().then_some(record.id);
        }
        self.measure(comparisons);
        self.describe();
        self.count();
        self.refresh_stale();
        self.compare_panes();
    }

    pub(super) fn measure(&mut self, comparisons: Vec<Comparison>) {
        if !comparisons.is_empty() {
            self.pending_requests.push(Request::Measure(comparisons));
        }
    }

    pub(super) fn measured(&mut self, measured: Vec<MeasuredText>) {
        for one in &measured {
            self.tuning.take(one);
            if let Some(exhibition) = &mut self.exhibition {
                exhibition.own_session().take(one);
            }
            self.sweep.analysis.take(one.clone());
        }
        self.start_background_runs();
    }

    /// Changes records of the session, and its journal if it has one.
    pub(super) fn change_session(&mut self, entries: Vec<Entry>) {
        let id = &self.tuning.saved.experiment.id;
        let kept = entries
            .iter()
            .filter(|entry| !id.is_empty() && entry.experiment() == id);
        let append = |entry: &Entry| Request::Library(LibraryRequest::Append(Box::new(entry.clone())));
        self.pending_requests.extend(kept.map(append));
        self.tuning.append(entries);
    }

    /// Removes runs of the session, and offers to restore them.
    pub(super) fn remove_runs(&mut self, mut ids: Vec<String>) {
        ids.retain(|id| self.tuning.record(id).is_some() && self.tuning.saved.is_undeleted(id));
        if ids.is_empty() {
            return;
        }
        self.change_session(ids.iter().map(|id| Entry::Deleted { id: id.clone() }).collect());
        self.notice = Some(Notice::Removed(ids));
        self.show_what_is_left();
    }

    /// Restores the runs that were removed last.
    pub(super) fn restore_runs(&mut self) {
        let removed = self.notice.take_if(|notice| matches!(notice, Notice::Removed(_)));
        let Some(Notice::Removed(ids)) = removed else { return };
        self.change_session(ids.iter().map(|id| Entry::Restored { id: id.clone() }).collect());
        self.show_what_is_left();
        self.record_restored(&ids);
    }

    /// Shows the last run if the shown one was removed.
    fn show_what_is_left(&mut self) {
        if self.tuning.selected_record.is_none() && self.prefixed.state == PaneState::Done {
            self.select_record(None);
        }
        // One of them may have been pinned.
        self.compare_panes();
    }

    /// Returns the run whose stars and note are set by keys and buttons: that of the right pane.
    pub fn rated_run(&self) -> Option<&Record> {
        match self.shown_tab() {
            Tab::Tune => {
                let (record, _) = self.tuning.current()?;
                // Between the start of a run and its end the pane shows no record.
                (!self.prefixed.is_running() && record.output() == &*self.prefixed.text).then_some(record)
            }
            Tab::Sweep => self.sweep.record(self.sweep.selected.as_deref()?),
            _ => None,
        }
    }

    /// Returns the action that gives the run in view `by` stars more; `None` at the end of the scale.
    pub fn with_stars(&self, by: i8) -> Option<Action> {
        let record = self.rated_run()?;
        let stars = match record.rating.stars {
            None if by < 0 => return None,
            None => Stars::new(1),
            Some(stars) => Some(stars.count().checked_add_signed(by).and_then(Stars::new)?),
        };
        let rating = Rating {
            stars,
            ..record.rating.clone()
        };
        Some(Action::Rate(record.id.clone(), rating))
    }

    /// Saves stars and note of a run as a line of its journal.
    pub(super) fn rate(&mut self, record: String, mut rating: Rating) {
        let longest = rating.note.char_indices().nth(MAX_NOTE_CHARACTERS);
        rating.note.truncate(longest.map_or(rating.note.len(), |(end, _)| end));
        let entry = Entry::Rated { record, rating };
        if entry.experiment() == self.tuning.saved.experiment.id {
            self.change_session(vec![entry]);
        } else {
            // It is shown as soon as it is saved.
            self.ask_library(LibraryRequest::Append(Box::new(entry)));
        }
    }

    pub(super) fn ask_library(&mut self, request: LibraryRequest) {
        self.pending_requests.push(Request::Library(request));
    }

    /// Opens an experiment of the library; a sweep together with the same plan on another module.
    pub(super) fn open_experiment(&mut self, id: &str) {
        let Some(summary) = self.library.get(id) else { return };
        if summary.experiment.plan.is_some() && self.sweep.is_busy() {
            return;
        }
        let counterpart = self
            .library
            .counterpart(summary)
            .map(|counterpart| counterpart.experiment.id.clone());
        self.file.read(summary.experiment.name.clone());
        self.library.restoring.remove(id);
        let ids = std::iter::once(id.to_owned()).chain(counterpart).collect();
        self.ask_library(LibraryRequest::Read(ids));
    }

    pub(super) fn absorb_library(&mut self, event: LibraryEvent) {
        match event {
            LibraryEvent::Listed { experiments, problems } => {
                if self.library.experiments != experiments
                    && let Some((query, _)) = self.library.found.clone()
                {
                    // Other experiments may match now.
                    self.ask_library(LibraryRequest::SearchTexts(query));
                }
                self.library.experiments = experiments;
                if self.library.problems != problems {
                    if let Some(problem) = problems.first() {
                        self.notice = Some(Notice::Problem(problem.clone()));
                    }
                    self.library.problems = problems;
                }
                if self.library.state != LibraryState::Open {
                    self.library.state = LibraryState::Open;
                    self.restore();
                }
            }
            LibraryEvent::Unusable(problem) => self.library.state = LibraryState::Unusable(problem),
            LibraryEvent::Read(experiments) => {
                self.file.end();
                let restoring = &mut self.library.restoring;
                if self.exhibition.is_some() && experiments.iter().any(|saved| restoring.remove(&saved.experiment.id)) {
                    // They are restored when it ends.
                    self.library.restore = true;
                    return;
                }
                let fields = self.fields_to_keep(&experiments);
                self.show_experiments(experiments);
                if let Some(fields) = fields {
                    self.set_fields(fields);
                }
            }
            LibraryEvent::Found { query, ids } => self.library.found = Some((query, ids)),
            LibraryEvent::Appended(entry) => self.appended(*entry),
            LibraryEvent::Imported { path, experiments } => {
                self.file.end();
                self.imported(path, experiments);
            }
            LibraryEvent::Exported(path) => {
                self.file.end();
                self.notice = Some(Notice::Saved(path));
            }
            LibraryEvent::Failed(problem) => {
                self.file.end();
                self.library.restoring.clear();
                self.notice = Some(Notice::Problem(problem));
            }
        }
    }

    /// Restores a sweep that was running when the program ended, and the last session; nothing in a fresh start. An exhibition ends first.
    pub(super) fn restore(&mut self) {
        if self.exhibition.is_some() || !std::mem::take(&mut self.library.restore) {
            return;
        }
        let mut wanted = Vec::new();
        let last = self.library.undeleted().next();
        if let Some(last) = last.filter(|last| last.is_open) {
            wanted.push(last.experiment.id.clone());
        }
        if self.tuning.is_empty() {
            let session = self
                .library
                .undeleted()
                .find(|one| one.experiment.plan.is_none() && one.finished > 0 && !one.finds);
            // Requested before the session, so that the session's view is shown in the end.
            let learned = self.library.undeleted().find(|one| one.finds);
            wanted.extend(session.into_iter().chain(learned).map(|one| one.experiment.id.clone()));
        }
        for id in wanted.into_iter().rev() {
            self.open_experiment(&id);
            self.library.restoring.insert(id);
        }
    }

    /// Returns the fields if these experiments are being restored and leave them as they are.
    fn fields_to_keep(&mut self, experiments: &[SavedExperiment]) -> Option<Remembered> {
        let restoring = &mut self.library.restoring;
        let is_restored = experiments.iter().any(|saved| restoring.remove(&saved.experiment.id));
        (is_restored && self.library.keeps_fields).then(|| self.remembered())
    }

    fn set_fields(&mut self, fields: Remembered) {
        self.own_prompts = fields.own_prompts;
        self.sweep.form = fields.sweep;
        self.find.form = fields.find;
        self.find.mode = fields.find_mode;
        self.set_controls(fields.prefix, fields.prompt);
    }

    /// Sets prefix and prompt without starting a run.
    pub(super) fn set_controls(&mut self, prefix: PrefixForm, prompt: PromptForm) {
        (self.prefix, self.prompt) = (prefix, prompt);
        if let Some(budget) = &mut self.budget {
            budget.prefix = self.prefix.len;
        }
        self.describe();
        self.count();
        self.refresh_stale();
    }

    fn show_experiments(&mut self, mut experiments: Vec<SavedExperiment>) {
        if experiments.is_empty() {
            return;
        }
        if experiments.iter().any(|saved| !saved.generations.is_empty()) {
            self.open_search(experiments.remove(0));
        } else if experiments.iter().any(|saved| saved.experiment.plan.is_some()) {
            if !self.sweep.is_busy() {
                self.show_sweeps(experiments);
            }
        } else {
            let saved = experiments.remove(0);
            match saved.learning {
                Some(_) => self.open_learning(saved),
                None => self.open_session(saved),
            }
        }
    }

    fn imported(&mut self, path: PathBuf, experiments: Vec<SavedExperiment>) {
        let Some(saved) = experiments.first() else { return };
        let count = experiments.iter().flat_map(SavedExperiment::undeleted).count();
        let tab = match (&saved.experiment.plan, &saved.learning) {
            (Some(_), _) if !saved.generations.is_empty() => Tab::Find,
            (Some(_), _) => Tab::Sweep,
            (None, Some(_)) => Tab::Find,
            (None, None) => Tab::Tune,
        };
        if tab == Tab::Sweep && self.sweep.is_busy() {
            // It is in the history; the run continues.
        } else {
            self.show_experiments(experiments);
            self.tab = tab;
        }
        self.notice = Some(Notice::Opened(path, count, tab));
    }

    fn appended(&mut self, entry: Entry) {
        match &entry {
            Entry::Deleted { id } if self.library.get(id).is_some() => {
                self.library.deleted = Some(id.clone());
                if self.sweep.shown.iter().any(|saved| saved.experiment.id == *id) {
                    self.remove_deleted_from_sweep();
                }
                if self.tuning.saved.experiment.id == *id {
                    self.new_session();
                }
                if let Some(own) = self.exhibition.as_mut().map(Exhibition::own_session)
                    && own.saved.experiment.id == *id
                {
                    *own = Tuning::default();
                }
            }
            Entry::Restored { id } if self.library.deleted.as_ref() == Some(id) => self.library.deleted = None,
            _ => {}
        }
        for saved in &mut self.sweep.shown {
            if saved.experiment.id == entry.experiment() {
                saved.add(entry.clone());
            }
        }
        if self.tuning.saved.experiment.id == entry.experiment() && matches!(entry, Entry::Renamed { .. }) {
            self.tuning.append([entry]);
        }
    }
}
