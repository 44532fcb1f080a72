//! A generation of a search for a prefix, as it is stored in the journal.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::record::Record;
use crate::search::{Objective, PrefixSearch, Score, SearchError};

/// The candidates of one generation with their results. [`Generation::next`] is the search that continues from them, and
/// [`Generation::search`] the one to return to in a step back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// The search that proposed the candidates, without their results.
    pub search: PrefixSearch,
    /// The candidates with their results, in order; empty until they are judged.
    pub candidates: Vec<Candidate>,
    /// The objective that judged them; `None` where the user chose one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
    /// Maximum number of candidates in all generations that the objective judges; `None` where the user chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<usize>,
}

/// One candidate of a generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Id of its record; empty where it was not run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub record: String,
    /// The result that ranks it, smaller is better: minus its score, or 0 for the candidate that the user chose and 1 for the others;
    /// `None` where it gave no output.
    pub result: Option<f64>,
    /// Its score, where an objective judged it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
}

impl Generation {
    /// A generation whose candidates are not judged yet.
    pub fn opened(search: PrefixSearch) -> Self {
        Self {
            search,
            candidates: Vec::new(),
            objective: None,
            budget: None,
        }
    }

    /// The generation in which the user chose one candidate.
    pub fn picked(search: PrefixSearch, records: Vec<String>, chosen: usize) -> Self {
        let candidate = |(place, record)| Candidate {
            record,
            result: Some(if place == chosen { 0.0 } else { 1.0 }),
            score: None,
        };
        Self {
            search,
            candidates: records.into_iter().enumerate().map(candidate).collect(),
            objective: None,
            budget: None,
        }
    }

    /// The search after the results of this generation; unchanged if its candidates are not judged yet.
    ///
    /// # Errors
    /// Those of [`PrefixSearch::tell`].
    pub fn next(&self) -> Result<PrefixSearch, SearchError> {
        if self.candidates.is_empty() {
            return Ok(self.search.clone());
        }
        // Only ranks count. Equal results are ranked by likelihood where it is known.
        let rank = |of: &Candidate| {
            self.candidates
                .iter()
                .filter(|one| one.order(of) == Ordering::Less)
                .count()
        };
        let results = self.candidates.iter().map(|candidate| match candidate.result {
            Some(_) => rank(candidate) as f64,
            None => f64::INFINITY,
        });
        self.search.tell(&results.collect::<Vec<_>>())
    }

    /// Whether all candidates gave the same text; `records` hold theirs.
    pub fn is_flat(&self, records: &[Record]) -> bool {
        let text = |candidate: &Candidate| {
            let record = records.iter().rev().find(|record| record.id == candidate.record)?;
            record.text()
        };
        let mut texts = self.candidates.iter().map(text);
        let first = texts.next().flatten();
        first.is_some() && self.candidates.len() > 1 && texts.all(|text| text == first)
    }

    /// Index of the candidate with the best result; `None` where none gave an output.
    pub fn best(&self) -> Option<usize> {
        let results = self.candidates.iter().enumerate();
        let results = results.filter(|(_, candidate)| candidate.result.is_some());
        results.min_by(|a, b| a.1.order(b.1)).map(|(place, _)| place)
    }
}

impl Candidate {
    /// The order of ranks, the better one first: by the result, and where that is equal by the likelihood of the wanted text.
    fn order(&self, other: &Self) -> Ordering {
        let result = |candidate: &Self| candidate.result.unwrap_or(f64::INFINITY);
        let mean_ln_p = |candidate: &Self| candidate.score.and_then(|score| score.mean_ln_p);
        let mean_ln_p = |candidate: &Self| mean_ln_p(candidate).unwrap_or(f64::NEG_INFINITY);
        let by_result = result(self).total_cmp(&result(other));
        by_result.then(mean_ln_p(other).total_cmp(&mean_ln_p(self)))
    }
}
