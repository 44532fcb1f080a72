//! The session of tuning: every run of the Tune view as a record in one journal, on disk before it is shown.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use softprefix_core::experiment::journal::JOURNAL_VERSION;
use softprefix_core::experiment::{
    Case, Entry, Experiment, JournalError, Library, Opened, Prompt, Record, SharedJournal, new_id,
};
use softprefix_core::prefix::PrefixRecipe;

use crate::errors;
use crate::model::{Problem, ProblemKind};

/// Characters of the first prompt by which a session is called until somebody names it.
const NAME: usize = 24;

/// The session that runs belong to. Its journal is made when the first run has finished.
#[derive(Clone, Default)]
pub(super) struct Tuning {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    library: Option<Arc<Library>>,
    /// Of the experiment; empty before the first run.
    id: String,
    journal: Option<SharedJournal>,
    next_index: usize,
    prompts: Vec<Prompt>,
    /// Runs of each baseline so far, by prompt.
    baselines: HashMap<usize, usize>,
}

impl Tuning {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn use_library(&self, library: Option<Arc<Library>>) {
        self.state().library = library;
    }

    /// What is run from now on belongs to another session.
    pub(super) fn begin(&self) {
        let mut state = self.state();
        *state = State {
            library: state.library.take(),
            ..State::default()
        };
    }

    /// Goes on with a session that was opened. Waits for the disk.
    ///
    /// # Errors
    /// Where its journal cannot be appended to; the next run begins another session then.
    pub(super) fn go_on_with(&self, id: &str) -> Result<(), JournalError> {
        self.begin();
        let Some(library) = self.state().library.clone() else {
            return Ok(());
        };
        let Opened { journal, past, .. } = library.append_to(id)?;
        let mut state = self.state();
        state.id = past.experiment.id;
        state.journal = Some(journal);
        state.next_index = past
            .records
            .iter()
            .map(|record| record.case.index + 1)
            .max()
            .unwrap_or(0);
        for record in &past.records {
            let prompt = state.place_of(&record.prompt);
            if record.is_baseline() {
                *state.baselines.entry(prompt).or_default() += 1;
            }
        }
        Ok(())
    }

    /// The id of the session, and the next case in it.
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

    /// Appends a record to the session's journal. Waits for the disk. Returns the experiment where this was its first record.
    ///
    /// # Errors
    /// Where it cannot be kept.
    pub(super) fn keep(&self, record: &Record) -> Result<Option<Experiment>, Problem> {
        let told = |error: JournalError| Problem::told(ProblemKind::File, errors::journal(&error));
        let (journal, began) = {
            let mut state = self.state();
            // Where another session was begun meanwhile, the record still belongs to its own.
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
                    let journal = journal.map_err(told)?;
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
            .map_err(told)
    }
}

impl State {
    /// The number of a prompt in this session.
    fn place_of(&mut self, prompt: &Prompt) -> usize {
        let known = self.prompts.iter().position(|known| known == prompt);
        known.unwrap_or_else(|| {
            self.prompts.push(prompt.clone());
            self.prompts.len() - 1
        })
    }
}

/// The session that begins with a record.
fn experiment(first: &Record) -> Experiment {
    Experiment {
        version: JOURNAL_VERSION,
        id: first.experiment.clone(),
        name: first.prompt.user.chars().take(NAME).collect(),
        started_unix: softprefix_core::time::now(),
        plan: None,
        module: first.module.clone(),
    }
}
