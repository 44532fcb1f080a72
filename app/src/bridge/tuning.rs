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
const NAME_LENGTH: usize = 24;

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
    /// The place of each prompt, by which its records name it ([`Case::prompt`]).
    places: HashMap<Prompt, usize>,
    /// The next repeat of each prompt's baseline, by the prompt's place.
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
            // Prompts and baselines whose runs left no record have taken numbers, too: those of the records are kept.
            let place = *state.places.entry(record.prompt.clone()).or_insert(record.case.prompt);
            if record.is_baseline() {
                let next = state.baselines.entry(place).or_default();
                *next = (*next).max(record.case.repeat.saturating_add(1));
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
            let is_of_this_session = record.experiment == state.id;
            match &state.journal {
                Some(journal) if is_of_this_session => (Arc::clone(journal), None),
                _ => {
                    let library = state.library.clone().ok_or_else(errors::no_library)?;
                    let began = (!library.has(&record.experiment)).then(|| experiment(record));
                    let journal = match &began {
                        Some(experiment) => library.create(experiment),
                        None => library.append_to(&record.experiment).map(|opened| opened.journal),
                    };
                    let journal = journal.map_err(|error| errors::journal_problem(&error))?;
                    if is_of_this_session {
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
    /// Returns the place of a prompt in this session.
    fn place_of(&mut self, prompt: &Prompt) -> usize {
        let next = self.places.values().max().map_or(0, |last| last.saturating_add(1));
        *self.places.entry(prompt.clone()).or_insert(next)
    }
}

/// Returns the experiment of a session that starts with this record.
fn experiment(first: &Record) -> Experiment {
    Experiment {
        version: JOURNAL_VERSION,
        id: first.experiment.clone(),
        name: beginning(&first.prompt.user, NAME_LENGTH),
        started_unix: softprefix_core::time::now(),
        plan: None,
        module: first.module.clone(),
    }
}

#[cfg(test)]
mod tests {
    use softprefix_core::experiment::{Answer, CaseOutcome, ModuleIdentity, Settings};
    use softprefix_core::protocol::extension::FinishReason;

    use super::*;

    fn prompt(user: &str) -> Prompt {
        Prompt {
            system: String::new(),
            user: user.to_owned(),
        }
    }

    fn finish(journal: &TuningJournal, (experiment, case): (String, Case), prompt: Prompt) {
        let outcome = CaseOutcome::Done(Answer::new("text", FinishReason::Stop, 0.5));
        let record = Record::new(
            &experiment,
            case,
            prompt,
            Settings::default(),
            ModuleIdentity::default(),
            outcome,
        );
        journal.save_record(&record).unwrap();
    }

    #[test]
    fn a_session_that_is_opened_again_numbers_prompts_and_baselines_as_its_records_do() {
        let folder = tempfile::tempdir().unwrap();
        let journal = TuningJournal::default();
        journal.use_library(Some(Arc::new(Library::open(folder.path()).unwrap())));
        // The runs of the first prompt, and the second prompt's second baseline, are replaced and leave no record.
        journal.next(&prompt("first"), None);
        finish(&journal, journal.next(&prompt("second"), None), prompt("second"));
        journal.next(&prompt("second"), None);
        let last = journal.next(&prompt("second"), None);
        let id = last.0.clone();
        finish(&journal, last, prompt("second"));

        journal.resume_session(&id).unwrap();
        let numbers = |user: &str| {
            let (experiment, case) = journal.next(&prompt(user), None);
            assert_eq!(experiment, id);
            (case.prompt, case.repeat)
        };
        assert_eq!(numbers("second"), (1, 3));
        assert_eq!(numbers("third"), (2, 0));
        assert_eq!(numbers("first"), (3, 0));
    }
}
