//! State of the Find view: the fields, and the learning on screen.

use softprefix_core::experiment::{Entry, Learning, Prompt, Record, SavedExperiment};
use softprefix_core::protocol::learn::Example;

use super::search::{Chooser, Searcher};
use crate::model::{FindMode, FoundRows, LearnForm, Problem, Reproduced, SearchForm};

/// State of the Find view.
pub struct Finder {
    pub mode: FindMode,
    pub form: LearnForm,
    /// The fields of Choose and Search.
    pub search_form: SearchForm,
    pub chooser: Chooser,
    pub searcher: Searcher,
    pub stage: FindStage,
    /// Why the last learning failed.
    pub trouble: Option<Problem>,
    /// The learning on screen.
    pub saved: Option<SavedExperiment>,
    /// Its best rows that were described last.
    pub rows: Option<FoundRows>,
}

/// Stage of learning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindStage {
    /// Nothing is being learned.
    Idle,
    /// Requested; the unit has not answered yet.
    Starting,
    Learning,
    /// Asked to stop; the last frame is awaited.
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
            stage: FindStage::Idle,
            trouble: None,
            saved: None,
            rows: None,
        }
    }

    /// Returns whether the current mode is running.
    pub fn is_busy(&self) -> bool {
        match self.mode {
            FindMode::Learn => self.stage != FindStage::Idle,
            FindMode::Choose => self.chooser.is_busy,
            FindMode::Search => self.searcher.is_busy,
        }
    }

    /// Returns whether any mode is running: one at a time is.
    pub fn is_any_busy(&self) -> bool {
        self.stage != FindStage::Idle || self.chooser.is_busy || self.searcher.is_busy
    }

    /// Returns the learning on screen.
    pub fn learning(&self) -> Option<&Learning> {
        self.saved.as_ref()?.learning.as_ref()
    }

    /// Returns the last record of a run with the best rows.
    pub fn output(&self) -> Option<&Record> {
        self.saved
            .as_ref()?
            .shown()
            .filter(|record| record.text().is_some())
            .last()
    }

    /// Returns the step of the rows of a run.
    pub fn step_of(record: &Record) -> Option<usize> {
        let kind = &record.case.recipe.as_ref()?.kind;
        match kind.base() {
            softprefix_core::prefix::PrefixKind::Imported { learned, .. } => Some(learned.as_ref()?.step),
            _ => None,
        }
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

    /// Returns the experiment whose best rows are saved.
    pub fn found(&self) -> Option<&str> {
        let saved = self.saved.as_ref()?;
        let has_rows = self.learning().is_some_and(|learning| !learning.frames.is_empty());
        has_rows.then_some(saved.experiment.id.as_str())
    }

    pub(super) fn add(&mut self, entry: Entry) {
        if let Some(saved) = &mut self.saved {
            saved.add(entry);
        }
    }

    pub(super) fn edit(&mut self, edit: impl FnOnce(&mut Example)) {
        let shown = self.form.shown;
        if let Some(example) = self.form.examples.get_mut(shown) {
            edit(example);
        }
    }
}
