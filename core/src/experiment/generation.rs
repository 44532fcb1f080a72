//! A generation of a search for a prefix, as the journal keeps it.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::record::Record;
use crate::search::{Objective, PrefixSearch, Score, SearchError};

/// The candidates of one generation and how they did. The search goes on from [`Generation::next`], or again from
/// [`Generation::search`], which is the step back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// The search that proposed the candidates, before it was told of them.
    pub search: PrefixSearch,
    /// How the candidates did, in their order; none where nothing is chosen yet.
    pub candidates: Vec<Candidate>,
    /// What judged them; `None` where a person chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
    /// Most candidates that the objective judges in all generations; `None` where a person chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<usize>,
}

/// One candidate of a generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Id of its record; empty where it was not run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub record: String,
    /// Its rank among the candidates as a number, small is good: minus its score, or 0 for the one that a person chose and 1 for the
    /// others; `None` where it gave no output.
    pub result: Option<f64>,
    /// Its score, where an objective judged it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
}

impl Generation {
    /// A generation of which nothing is chosen yet.
    pub fn opened(search: PrefixSearch) -> Self {
        Self {
            search,
            candidates: Vec::new(),
            objective: None,
            budget: None,
        }
    }

    /// The generation in which a person chose one candidate.
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

    /// The search that goes on with what this generation told; of one of which nothing is chosen yet, the search itself.
    ///
    /// # Errors
    /// Those of [`PrefixSearch::tell`].
    pub fn next(&self) -> Result<PrefixSearch, SearchError> {
        if self.candidates.is_empty() {
            return Ok(self.search.clone());
        }
        // Only ranks count, and equal results are told apart where that is possible.
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

    /// Place of the candidate with the best result; `None` where none gave an output.
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
        let likelihood = |candidate: &Self| candidate.score.and_then(|score| score.likelihood);
        let likelihood = |candidate: &Self| likelihood(candidate).unwrap_or(f64::NEG_INFINITY);
        let by_result = result(self).total_cmp(&result(other));
        by_result.then(likelihood(other).total_cmp(&likelihood(self)))
    }
}
