//! An experiment as its journal describes it: the first line, every record, the ending, under the latest names.

use std::collections::{HashMap, HashSet};

use super::generation::Generation;
use super::journal::{Ending, Entry, Experiment};
use super::learning::Learning;
use super::plan::Prompt;
use super::record::Record;
use crate::search::Closeness;

/// An experiment with everything that was appended to its journal.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedExperiment {
    /// The first line of its journal, under the latest name.
    pub experiment: Experiment,
    /// All records in the order in which they finished, deleted ones included; see [`SavedExperiment::undeleted`].
    pub records: Vec<Record>,
    /// The generations of a search for a prefix, in order. After a step back, a new generation replaces the old one of the same number.
    pub generations: Vec<Generation>,
    /// How it ended; `None` where it was interrupted, still runs, or has no plan.
    pub ending: Option<Ending>,
    /// The prefix that is learned, where the experiment is one of learning.
    pub learning: Option<Learning>,
    /// Ids of deleted records, and of the experiment itself where it is deleted.
    deleted: HashSet<String>,
    /// Counted once: views ask for it in each frame, and a plan may have many cases.
    planned: usize,
}

impl SavedExperiment {
    /// An experiment without records.
    pub fn new(experiment: Experiment) -> Self {
        Self {
            planned: planned_by(&experiment),
            experiment,
            records: Vec::new(),
            generations: Vec::new(),
            ending: None,
            learning: None,
            deleted: HashSet::new(),
        }
    }

    /// Applies one more line of its journal. Records and names of other experiments are ignored.
    pub fn add(&mut self, entry: Entry) {
        match entry {
            // A journal has one such line. Where the experiment was created again under its id, the later line counts, with its name.
            Entry::Started(experiment) => {
                if experiment.id == self.experiment.id {
                    self.planned = planned_by(&experiment);
                    self.experiment = *experiment;
                }
            }
            Entry::Case(record) => {
                if record.experiment == self.experiment.id {
                    // A case run after the ending (a cancelled sweep that is resumed) does not remove the ending.
                    self.records.push(*record);
                }
            }
            Entry::Scored { record, scores } => {
                // Scores follow soon after their case, so the search starts at the end.
                if let Some(found) = self.records.iter_mut().rev().find(|known| known.id == record) {
                    found.scores = Some(scores);
                }
            }
            Entry::Rated { record, rating } => {
                if let Some(found) = self.records.iter_mut().rev().find(|known| known.id == record) {
                    found.rating = rating;
                }
            }
            Entry::Generation { experiment, generation } => {
                if experiment == self.experiment.id {
                    let number = generation.search.generation();
                    // Older records do not have their scores.
                    for candidate in &generation.candidates {
                        let mut records = self.records.iter_mut().rev();
                        if let Some(record) = records.find(|known| known.id == candidate.record) {
                            record.score = record.score.or(candidate.score);
                        }
                    }
                    // After a step back, generations with this or a higher number are replaced.
                    self.generations.retain(|known| known.search.generation() < number);
                    self.generations.push(*generation);
                }
            }
            Entry::Learning { experiment, plan } => {
                if experiment == self.experiment.id {
                    self.learning = Some(Learning {
                        plan: *plan,
                        frames: Vec::new(),
                    });
                }
            }
            Entry::Learned { experiment, frame } => {
                if let Some(learning) = self.learning.as_mut().filter(|_| experiment == self.experiment.id) {
                    learning.frames.push(*frame);
                }
            }
            Entry::Ended { experiment, how, .. } => {
                if experiment == self.experiment.id {
                    self.ending = Some(how);
                }
            }
            Entry::Renamed { id, name } => {
                if id == self.experiment.id {
                    self.experiment.name = name;
                } else if let Some(record) = self.records.iter_mut().find(|record| record.id == id) {
                    record.case.name = name;
                }
            }
            Entry::Deleted { id } => {
                self.deleted.insert(id);
            }
            Entry::Restored { id } => {
                self.deleted.remove(&id);
            }
        }
    }

    /// Whether the experiment was deleted and not restored.
    pub fn is_deleted(&self) -> bool {
        self.deleted.contains(&self.experiment.id)
    }

    /// Whether a record is not deleted, by its id.
    pub fn is_undeleted(&self, record: &str) -> bool {
        !self.deleted.contains(record)
    }

    /// The records without the deleted ones.
    pub fn undeleted(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(|record| !self.deleted.contains(&record.id))
    }

    /// The last generation of a search by an objective that has not spent its budget.
    pub fn unfinished_search(&self) -> Option<&Generation> {
        let last = self.generations.last().filter(|last| last.objective.is_some())?;
        let judged: usize = self
            .generations
            .iter()
            .map(|generation| generation.candidates.len())
            .sum();
        let is_unfinished = judged < last.budget? && self.ending != Some(Ending::Complete);
        is_unfinished.then_some(last)
    }

    /// Scores a search's candidates whose records have no score: earlier versions stored them by whole generations only. A likelihood
    /// cannot be computed again.
    fn judge_unscored(&mut self) {
        let objective = self.generations.iter().find_map(|one| one.objective.clone());
        let Some(objective) = objective.filter(|one| one.by == Closeness::Chrf2) else {
            return;
        };
        let baseline = self.undeleted().find(|record| record.is_baseline());
        let Some(baseline) = baseline.and_then(Record::text).map(str::to_owned) else {
            return;
        };
        for record in &mut self.records {
            if record.score.is_none() && !record.is_baseline() {
                record.score = record.text().map(|text| objective.score(&baseline, text, None));
            }
        }
    }

    /// Number of the plan's cases: those of a search's plan are its baselines only. 0 without a plan, and for one that cannot be unfolded
    /// ([`Plan::cases`](super::plan::Plan::cases)).
    pub fn planned(&self) -> usize {
        self.planned
    }

    /// Indices of the plan's cases that have a record, deleted ones included: they are not run again.
    pub fn finished(&self) -> HashSet<usize> {
        self.records.iter().map(|record| record.case.index).collect()
    }

    /// Whether it has a plan of which cases are not run or not scored, and no ending. A cancelled one is not open: it is resumed only where a
    /// person asks for it. Of a search it counts the baselines only; whether it has candidates left is [`Self::unfinished_search`].
    pub fn is_open(&self) -> bool {
        self.experiment.plan.is_some()
            && self.ending.is_none()
            && (self.finished().len() < self.planned || self.is_unscored())
    }

    /// Whether the plan asks for scores and a case with a text whose prompt has a baseline with a text has none.
    pub fn is_unscored(&self) -> bool {
        let has_text = |record: &&Record| record.text().is_some_and(|text| !text.is_empty());
        let baseline_of = |prompt| {
            let baselines = self.undeleted().filter(|record| record.is_baseline());
            baselines
                .filter(has_text)
                .any(|baseline| baseline.case.prompt == prompt)
        };
        let mut cases = self.undeleted().filter(has_text).filter(|record| !record.is_baseline());
        self.experiment.plan.as_ref().is_some_and(|plan| plan.scored)
            && cases.any(|record| record.scores.is_none() && baseline_of(record.case.prompt))
    }

    /// The prompts of its plan, else those of its shown records in the order in which they were first run.
    pub fn prompts(&self) -> Vec<Prompt> {
        if let Some(plan) = &self.experiment.plan {
            return plan.prompts.clone();
        }
        let mut out: Vec<Prompt> = Vec::new();
        for record in self.undeleted() {
            if !out.contains(&record.prompt) {
                out.push(record.prompt.clone());
            }
        }
        out
    }

    /// Whether all `words`, which are in lower case, occur in the experiment's name or, as far as they do not, in one
    /// record's name, prompt, recipe, model, note or text.
    pub fn matches(&self, words: &[String]) -> bool {
        let has = |text: &str, word: &String| text.to_lowercase().contains(word.as_str());
        let left: Vec<&String> = words.iter().filter(|word| !has(&self.experiment.name, word)).collect();
        left.is_empty()
            || self.undeleted().any(|record| {
                left.iter().all(|word| {
                    has(&record.case.name, word)
                        || has(&record.prompt.user, word)
                        || has(&record.prompt.system, word)
                        || has(&record.module.model, word)
                        || has(&record.recipe_words(), word)
                        || has(&record.rating.note, word)
                        || has(record.text().or(record.error()).unwrap_or_default(), word)
                })
            })
    }
}

fn planned_by(experiment: &Experiment) -> usize {
    let cases = experiment.plan.as_ref().and_then(|plan| plan.cases().ok());
    cases.map_or(0, |cases| cases.len())
}

/// The experiments that the lines of a journal describe, in the order in which they were started.
pub fn experiments(entries: impl IntoIterator<Item = Entry>) -> Vec<SavedExperiment> {
    let mut out: Vec<SavedExperiment> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for entry in entries {
        if let Entry::Started(experiment) = &entry
            && !places.contains_key(&experiment.id)
        {
            places.insert(experiment.id.clone(), out.len());
            out.push(SavedExperiment::new((**experiment).clone()));
            continue;
        }
        let place = places.get(entry.experiment());
        if let Some(saved) = place.and_then(|&place| out.get_mut(place)) {
            saved.add(entry);
        }
    }
    for saved in &mut out {
        saved.judge_unscored();
    }
    out
}
