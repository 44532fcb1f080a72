//! State of the Find view: the fields, and the shown experiment of learning.

use std::collections::HashMap;

use softprefix_core::experiment::{Entry, Learning, Prompt, Record, SavedExperiment};
use softprefix_core::protocol::learn::Example;

use super::search::{Chooser, Searcher};
use crate::messages::{FindRequest, FindWork};
use crate::model::{FindMode, FoundRows, LearnForm, Problem, Reproduced, SearchForm};

/// State of the Find view.
pub struct Finder {
    pub mode: FindMode,
    pub form: LearnForm,
    /// The fields of Choose and Search.
    pub search_form: SearchForm,
    pub chooser: Chooser,
    pub searcher: Searcher,
    current_work: Option<CurrentWork>,
    /// The number of the work that was started last.
    number: u64,
    /// Why the last work of a mode failed.
    problems: HashMap<FindMode, Problem>,
    /// The shown experiment of learning.
    pub saved: Option<SavedExperiment>,
    /// Its best rows that were described last.
    pub rows: Option<FoundRows>,
}

/// The work in progress; there is at most one in all modes together.
struct CurrentWork {
    number: u64,
    mode: FindMode,
    stage: FindStage,
}

/// Stage of the work in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindStage {
    /// Requested; nothing of it is on screen yet.
    Starting,
    Running,
    /// Asked to stop; its end is awaited.
    Stopping,
}

impl Finder {
    pub(super) fn new(form: LearnForm, search_form: SearchForm, mode: FindMode) -> Self {
        Self {
            mode,
            form,
            search_form,
            chooser: Chooser::default(),
            searcher: Searcher::default(),
            current_work: None,
            number: 0,
            problems: HashMap::new(),
            saved: None,
            rows: None,
        }
    }

    /// Returns the mode whose work is in progress.
    pub fn working_mode(&self) -> Option<FindMode> {
        self.current_work.as_ref().map(|work| work.mode)
    }

    /// Returns the stage of the current mode's work; `None` if it has none in progress.
    pub fn stage(&self) -> Option<FindStage> {
        let work = self.current_work.as_ref().filter(|work| work.mode == self.mode)?;
        Some(work.stage)
    }

    /// Returns whether the current mode is running.
    pub fn is_busy(&self) -> bool {
        self.stage().is_some()
    }

    /// Returns why the last work of the current mode failed.
    pub fn problem(&self) -> Option<&Problem> {
        self.problems.get(&self.mode)
    }

    /// Notes that `work` is requested, and returns the request. If it replaces other work, the end of that (by its number) does not end this.
    pub(super) fn begin(&mut self, work: FindWork) -> FindRequest {
        self.number += 1;
        let (number, mode) = (self.number, work.mode());
        self.problems.remove(&mode);
        self.current_work = Some(CurrentWork {
            number,
            mode,
            stage: FindStage::Starting,
        });
        FindRequest::Start { number, work }
    }

    /// Sets the stage to [`FindStage::Running`], unless the work is asked to stop: something of it is on screen.
    pub(super) fn mark_running(&mut self) {
        if let Some(work) = &mut self.current_work
            && work.stage == FindStage::Starting
        {
            work.stage = FindStage::Running;
        }
    }

    /// Notes that the work in progress is asked to stop. Returns whether there is any.
    pub(super) fn stop(&mut self) -> bool {
        let work = self.current_work.as_mut();
        work.map(|work| work.stage = FindStage::Stopping).is_some()
    }

    /// Notes the end of the work with this number; ignored if other work has replaced it.
    pub(super) fn end(&mut self, number: u64, problem: Option<Problem>) {
        if let Some(work) = self.current_work.take_if(|work| work.number == number) {
            self.note_problem(work.mode, problem);
        }
    }

    /// Shows a problem of a mode, if there is one.
    pub(super) fn note_problem(&mut self, mode: FindMode, problem: Option<Problem>) {
        self.problems.extend(problem.map(|problem| (mode, problem)));
    }

    /// Takes a mode's problem off the screen.
    pub(super) fn dismiss(&mut self, mode: FindMode) {
        self.problems.remove(&mode);
    }

    /// Returns the search on screen if it was interrupted.
    pub fn unfinished_search(&self) -> Option<&SavedExperiment> {
        let is_running = self.working_mode() == Some(FindMode::Search);
        let saved = self.searcher.saved.as_ref().filter(|_| !is_running)?;
        saved.unfinished_search().map(|_| saved)
    }

    /// Returns the learning on screen.
    pub fn learning(&self) -> Option<&Learning> {
        self.saved.as_ref()?.learning.as_ref()
    }

    /// Returns the last record of a run with the best rows.
    pub fn output(&self) -> Option<&Record> {
        self.saved
            .as_ref()?
            .undeleted()
            .filter(|record| record.text().is_some())
            .last()
    }

    /// Returns the step of the rows of a run.
    pub fn step_of(record: &Record) -> Option<usize> {
        Some(record.case.recipe.as_ref()?.kind.learned()?.step)
    }

    /// Returns the prompt for which the current mode found its prefix.
    pub fn prompt(&self) -> Option<Prompt> {
        let of_plan = |saved: &SavedExperiment| saved.experiment.plan.as_ref()?.prompts.first().cloned();
        match self.mode {
            FindMode::Learn => {
                let plan = &self.learning()?.plan;
                let user = plan.request.examples.first()?.prompt.clone();
                let system = plan.system.clone();
                Some(Prompt { system, user })
            }
            FindMode::Choose => of_plan(self.chooser.saved.as_ref()?),
            FindMode::Search => of_plan(self.searcher.saved.as_ref()?),
        }
    }

    /// Returns how much of the target the last run reproduces; `None` without a run, or with several examples.
    pub fn reproduced(&self) -> Option<Reproduced> {
        match self.learning()?.plan.request.examples.as_slice() {
            [only] => Some(Reproduced::of(&only.target, self.output()?.text()?)),
            _ => None,
        }
    }

    /// Returns the id of the shown experiment of learning, if rows of it are saved.
    pub fn found(&self) -> Option<&str> {
        let saved = self.saved.as_ref()?;
        let has_rows = self.learning().is_some_and(|learning| !learning.frames.is_empty());
        has_rows.then_some(saved.experiment.id.as_str())
    }

    /// Adds an entry to the shown experiment of learning.
    pub(super) fn add(&mut self, entry: Entry) {
        if let Some(saved) = &mut self.saved {
            saved.add(entry);
        }
    }

    /// Changes the example on screen.
    pub(super) fn edit(&mut self, edit: impl FnOnce(&mut Example)) {
        let shown = self.form.shown;
        if let Some(example) = self.form.examples.get_mut(shown) {
            edit(example);
        }
    }
}
