//! A generation of a search for a prefix, as the journal keeps it.

use serde::{Deserialize, Serialize};

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
        }
    }

    /// The search that goes on with what this generation told.
    ///
    /// # Errors
    /// Those of [`PrefixSearch::tell`].
    pub fn next(&self) -> Result<PrefixSearch, SearchError> {
        let results = self.candidates.iter();
        let results: Vec<f64> = results
            .map(|candidate| candidate.result.unwrap_or(f64::INFINITY))
            .collect();
        self.search.tell(&results)
    }

    /// Place of the candidate with the best result; `None` where none gave an output.
    pub fn best(&self) -> Option<usize> {
        let results = self.candidates.iter().enumerate();
        let results = results.filter_map(|(place, candidate)| Some((place, candidate.result?)));
        results.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(place, _)| place)
    }
}
