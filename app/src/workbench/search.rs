//! State of Choose and Search in the Find view.

use std::collections::HashMap;

use softprefix_core::experiment::{Entry, Generation, Record, RunEnd, RunEvent, RunProgress, SavedExperiment};
use softprefix_core::prefix::PrefixRecipe;
use softprefix_core::search::Score;

use crate::errors;
use crate::model::{Problem, RelativeToParent};

/// Candidates that a user judges.
#[derive(Default)]
pub struct Chooser {
    /// The experiment on screen.
    pub saved: Option<SavedExperiment>,
    /// Texts of the running candidates so far.
    pub(super) texts: Vec<String>,
    /// Where the chosen prefixes lie, by record.
    pub(super) relative_to_parent: HashMap<String, RelativeToParent>,
}

/// A candidate of the generation on screen.
pub struct Candidate<'a> {
    pub recipe: PrefixRecipe,
    /// Its text so far.
    pub text: &'a str,
    /// Its record, once it has one with a text.
    pub record: Option<&'a Record>,
}

/// A chosen prefix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// The generation in which it was chosen, from 1.
    pub generation: u64,
    /// Which of its candidates it was, from 0.
    pub candidate: usize,
    pub relative_to_parent: Option<RelativeToParent>,
}

impl Chooser {
    /// Returns the generation on screen.
    pub fn generation(&self) -> Option<&Generation> {
        self.saved.as_ref()?.generations.last()
    }

    /// Returns the number of the generation on screen, from 1.
    pub fn number(&self) -> Option<u64> {
        Some(self.generation()?.search.generation() + 1)
    }

    /// Returns the candidates on screen.
    pub fn candidates(&self) -> Vec<Candidate<'_>> {
        let (Some(saved), Some(generation)) = (&self.saved, self.generation()) else {
            return Vec::new();
        };
        let candidates = generation.search.candidates().into_iter().enumerate();
        candidates
            .map(|(at, recipe)| {
                let record = record_of(saved, &recipe);
                let text = record.and_then(Record::text);
                let text = text.or(self.texts.get(at).map(String::as_str)).unwrap_or_default();
                Candidate { recipe, text, record }
            })
            .collect()
    }

    /// Returns whether a candidate has a text, and can be chosen.
    pub fn can_pick(&self, candidate: usize) -> bool {
        let candidates = self.candidates();
        candidates.get(candidate).is_some_and(|one| one.record.is_some())
    }

    /// Returns the chosen prefixes, in order.
    pub fn line(&self) -> Vec<Choice> {
        let generations = self.saved.iter().flat_map(|saved| &saved.generations);
        let chosen = generations.filter_map(|generation| {
            let candidate = generation.best()?;
            let record = &generation.candidates.get(candidate)?.record;
            Some(Choice {
                generation: generation.search.generation() + 1,
                candidate,
                relative_to_parent: self.relative_to_parent.get(record).copied(),
            })
        });
        chosen.collect()
    }

    /// Returns the record of the prefix that was chosen last.
    pub fn last_chosen(&self) -> Option<&Record> {
        let saved = self.saved.as_ref()?;
        let chosen = saved.generations.iter().rev().find_map(|generation| {
            let candidate = generation.candidates.get(generation.best()?)?;
            Some(&candidate.record)
        })?;
        saved.records.iter().find(|record| record.id == *chosen)
    }

    pub(super) fn add(&mut self, entry: Entry) {
        if let Some(saved) = self
            .saved
            .as_mut()
            .filter(|saved| saved.experiment.id == entry.experiment())
        {
            if matches!(&entry, Entry::Generation { .. }) {
                self.texts.clear();
            }
            saved.add(entry);
        }
    }

    pub(super) fn text(&mut self, candidate: usize, text: &str) {
        if self.texts.len() <= candidate {
            self.texts.resize(candidate + 1, String::new());
        }
        self.texts[candidate].push_str(text);
    }
}

fn record_of<'a>(saved: &'a SavedExperiment, recipe: &PrefixRecipe) -> Option<&'a Record> {
    let mut records = saved.records.iter().rev();
    records.find(|record| record.case.recipe.as_ref() == Some(recipe) && record.text().is_some())
}

/// A search by an objective.
#[derive(Default)]
pub struct Searcher {
    /// The experiment on screen.
    pub saved: Option<SavedExperiment>,
    pub progress: RunProgress,
    /// How the last run ended.
    pub end: Option<RunEnd>,
}

impl Searcher {
    /// Returns the records of candidates with their scores, in the order in which they finished.
    pub fn scored(&self) -> impl Iterator<Item = (&Record, Score)> {
        let records = self.saved.iter().flat_map(|saved| saved.undeleted());
        records.filter_map(|record| Some((record, record.score?)))
    }

    /// Returns the best record so far with its score.
    pub fn best(&self) -> Option<(&Record, Score)> {
        // Of equal scores the first, as in the search itself.
        self.scored()
            .reduce(|best, next| if next.1.is_better_than(&best.1) { next } else { best })
    }

    /// Returns whether all candidates of the last generation gave the same text.
    pub fn is_flat(&self) -> bool {
        let Some(saved) = &self.saved else { return false };
        let generation = saved
            .generations
            .iter()
            .rev()
            .find(|generation| !generation.candidates.is_empty());
        generation.is_some_and(|generation| generation.is_flat(&saved.records))
    }

    /// Returns the id of the experiment on screen.
    fn id(&self) -> Option<&String> {
        self.saved.as_ref().map(|saved| &saved.experiment.id)
    }

    pub(super) fn show(&mut self, saved: SavedExperiment) {
        self.saved = Some(saved);
        self.end = None;
    }

    /// Adds an event of its run. Returns what it says went wrong.
    pub(super) fn absorb(&mut self, event: RunEvent) -> Option<Problem> {
        match event {
            // A search that is continued keeps its runs.
            RunEvent::Started(experiment) if self.id() == Some(&experiment.id) => {}
            RunEvent::Started(experiment) => self.saved = Some(SavedExperiment::new(*experiment)),
            RunEvent::CaseFinished(record) => self.add(Entry::Case(record)),
            RunEvent::Generation(generation) => {
                if let Some(experiment) = self.saved.as_ref().map(|saved| saved.experiment.id.clone()) {
                    self.add(Entry::Generation { experiment, generation });
                }
            }
            RunEvent::Progress(progress) => self.progress = progress,
            RunEvent::Ended(end) => {
                let problem = match &end {
                    RunEnd::Interrupted { error } => Some(errors::run(error)),
                    RunEnd::Complete | RunEnd::Cancelled | RunEnd::NoEffect => None,
                };
                self.end = Some(end);
                return problem;
            }
            RunEvent::JournalFailed { error } | RunEvent::NotScored { error, .. } => return Some(errors::run(&error)),
            RunEvent::CanaryFailed { error } => return Some(errors::canary(&error)),
            // The end of the run reports it.
            RunEvent::CaseLost { name, error, .. } => tracing::error!(name, %error, "a case was lost"),
            RunEvent::CaseStarted { .. }
            | RunEvent::Text { .. }
            | RunEvent::Scored { .. }
            | RunEvent::Canary(_)
            | RunEvent::Reconnecting { .. }
            | RunEvent::Reconnected
            | RunEvent::Threshold(_) => {}
        }
        None
    }

    pub(super) fn add(&mut self, entry: Entry) {
        if let Some(saved) = &mut self.saved {
            saved.add(entry);
        }
    }
}
