//! The journal of a session of tuning: every run of the Tune view as a record, saved before it is shown.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use softprefix_core::experiment::journal::JOURNAL_VERSION;
use softprefix_core::experiment::{
    Case, Entry, Experiment, JournalError, Library, Opened, Prompt, Record, SharedJournal, new_id,
};
use softprefix_core::prefix::PrefixRecipe;

use crate::errors;
use crate::model::{Problem, beginning};

/// Number of characters of the first prompt in the default name of a session.
const NAME: usize = 24;

/// The journal of the shown session, on the worker's side; what is shown is `workbench::Tuning`. The file is created when the first run has
/// finished.
#[derive(Clone, Default)]
pub(super) struct TuningJournal {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    library: Option<Arc<Library>>,
    /// Id of the experiment; empty before the first run.
    id: String,
    journal: Option<SharedJournal>,
    next_index: usize,
    prompts: Vec<Prompt>,
    /// Number of runs of each baseline, by prompt.
    baselines: HashMap<usize, usize>,
}

impl TuningJournal {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn use_library(&self, library: Option<Arc<Library>>) {
        self.state().library = library;
    }

    /// Starts a new session with the next run.
    pub(super) fn begin(&self) {
        let mut state = self.state();
        *state = State {
            library: state.library.take(),
            ..State::default()
        };
    }

    /// Continues a session that was opened. Blocks on the disk.
    ///
    /// # Errors
    /// If its journal cannot be appended to; the next run then starts a new session.
    pub(super) fn resume_session(&self, id: &str) -> Result<(), JournalError> {
        self.begin();
        let Some(library) = self.state().library.clone() else {
            return Ok(());
        };
        let Opened { journal, saved, .. } = library.append_to(id)?;
        let mut state = self.state();
        state.id = saved.experiment.id;
        state.journal = Some(journal);
        state.next_index = saved
            .records
            .iter()
            .map(|record| record.case.index + 1)
            .max()
            .unwrap_or(0);
        for record in &saved.records {
            let prompt = state.place_of(&record.prompt);
            if record.is_baseline() {
                *state.baselines.entry(prompt).or_default() += 1;
            }
        }
        Ok(())
    }

    /// Returns the id of the session and the next case in it.
    pub(super) fn next(&self, prompt: &Prompt, recipe: Option<PrefixRecipe>) -> (String, Case) {
        let mut state = self.state();
        if state.id.is_empty() {
            state.id = new_id();
        }
        let place = state.place_of(prompt);
        let repeat = match recipe {
            Some(_) => 0,
            None => {
                let count = state.baselines.entry(place).or_default();
                *count += 1;
                *count - 1
            }
        };
        let index = state.next_index;
        state.next_index += 1;
        (state.id.clone(), Case::new(index, place, repeat, recipe))
    }

    /// Appends a record to the session's journal. Blocks on the disk. Returns the experiment if this was its first
    /// record.
    ///
    /// # Errors
    /// If it cannot be saved.
    pub(super) fn save_record(&self, record: &Record) -> Result<Option<Experiment>, Problem> {
        let (journal, began) = {
            let mut state = self.state();
            // If another session was started meanwhile, the record still belongs to its own.
            let is_present = record.experiment == state.id;
            match &state.journal {
                Some(journal) if is_present => (Arc::clone(journal), None),
                _ => {
                    let library = state.library.clone().ok_or_else(errors::no_library)?;
                    let began = (!library.has(&record.experiment)).then(|| experiment(record));
                    let journal = match &began {
                        Some(experiment) => library.create(experiment),
                        None => library.append_to(&record.experiment).map(|opened| opened.journal),
                    };
                    let journal = journal.map_err(|error| errors::journal_problem(&error))?;
                    if is_present {
                        state.journal = Some(Arc::clone(&journal));
                    }
                    (journal, began)
                }
            }
        };
        let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal
            .append(&Entry::Case(Box::new(record.clone())))
            .map(|()| began)
            .map_err(|error| errors::journal_problem(&error))
    }
}

impl State {
    /// Returns the index of a prompt in this session.
    fn place_of(&mut self, prompt: &Prompt) -> usize {
        let known = self.prompts.iter().position(|known| known == prompt);
        known.unwrap_or_else(|| {
            self.prompts.push(prompt.clone());
            self.prompts.len() - 1
        })
    }
}

/// Returns the experiment of a session that starts with this record.
fn experiment(first: &Record) -> Experiment {
    Experiment {
        version: JOURNAL_VERSION,
        id: first.experiment.clone(),
        name: beginning(&first.prompt.user, NAME),
        started_unix: softprefix_core::time::now(),
        plan: None,
        module: first.module.clone(),
    }
}
