//! Saving a run's lines: in order, on a blocking thread, kept in memory while the disk fails.

use std::collections::VecDeque;
use std::sync::PoisonError;

use super::drive::Runner;
use super::event::RunEvent;
use crate::experiment::journal::{Entry, JournalError, SharedJournal};

impl Runner {
    pub(super) async fn save(&mut self, entry: Entry) {
        if self.journal.is_some() {
            self.unsaved.push_back(entry);
            self.save_rest().await;
        }
    }

    /// Saves the lines that are not saved yet, in order; pauses the run if that fails.
    pub(super) async fn save_rest(&mut self) {
        let Some(journal) = self.journal.clone() else {
            return;
        };
        let entries = std::mem::take(&mut self.unsaved);
        // On a blocking thread, so that a slow disk does not delay running inferences.
        let saved = tokio::task::spawn_blocking(move || append_all(&journal, entries)).await;
        match saved {
            Ok((rest, error)) => {
                self.unsaved = rest;
                if let Some(error) = error {
                    self.save_failed = true;
                    self.emit(RunEvent::JournalFailed { error: error.into() });
                }
            }
            Err(error) => {
                self.save_failed = true;
                self.emit(RunEvent::JournalFailed { error: error.into() });
            }
        }
    }
}

/// Appends the entries until one fails; returns those that are not saved, and the error.
fn append_all(journal: &SharedJournal, mut entries: VecDeque<Entry>) -> (VecDeque<Entry>, Option<JournalError>) {
    let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
    while let Some(entry) = entries.front() {
        if let Err(error) = journal.append(entry) {
            return (entries, Some(error));
        }
        entries.pop_front();
    }
    (entries, None)
}
