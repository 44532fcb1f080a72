//! Errors of a search.

use super::cma::MAX_POPULATION;
use crate::prefix::MAX_DIMENSION;

/// Why a search cannot begin or go on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SearchError {
    /// The subspace has no dimension, more than [`MAX_DIMENSION`], or more than the prefix has values.
    #[error(
        "a search in {dimension} dimensions is not possible here; give 1 to {}", most.min(&MAX_DIMENSION)
    )]
    Dimension {
        /// Dimensions as given.
        dimension: usize,
        /// Values of the prefix, P x H.
        most: usize,
    },
    /// A generation would have fewer than 2 candidates or more than [`MAX_POPULATION`].
    #[error("a generation of {population} candidates is not possible; give 2 to {MAX_POPULATION}")]
    Population {
        /// Candidates as given.
        population: usize,
    },
    /// The spread of the first generation is not a finite number above 0.
    #[error("the spread of the first candidates is {spread}; give a number above 0")]
    Spread {
        /// The spread as given.
        spread: f64,
    },
    /// The limit of norms is not a finite number above 0.
    #[error("the limit on the norms of the rows is {limit}; give a number above 0")]
    NormLimit {
        /// The limit as given, in token norms.
        limit: f64,
    },
    /// The norm of a row is known neither from the vocabulary nor from the parent.
    #[error(
        "all rows of the parent are zero and the module does not report its vocabulary's norms, so the step size is unknown; start from a prefix \
         of some magnitude"
    )]
    NoScale,
    /// The number of results is not the number of candidates.
    #[error("{got} results were given for {wanted} candidates; give one for each, in their order")]
    Results {
        /// Results as given.
        got: usize,
        /// Candidates of the generation.
        wanted: usize,
    },
    /// A result is NaN or negative infinity.
    #[error("the result of candidate {} is {value}; give a number, or infinity where there is no output", candidate + 1)]
    ResultNotANumber {
        /// Place of the candidate, from 0.
        candidate: usize,
        /// The result as given.
        value: f64,
    },
    /// The chosen candidate does not exist.
    #[error("there is no candidate {}; the generation has {population}", candidate + 1)]
    NoSuchCandidate {
        /// Place of the candidate, from 0.
        candidate: usize,
        /// Candidates of the generation.
        population: usize,
    },
    /// A saved state is inconsistent.
    #[error("the state of the search is damaged ({what}); start again from its parent prefix")]
    Damaged {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The objective is empty.
    #[error("the objective is empty; give a text, words, or the distance from the baseline")]
    NoObjective,
    /// The objective is a likelihood, and the module does not score texts.
    #[error("this module does not score texts; use chrF2 for the wanted text, or a softprefix-unit on a computer")]
    NoLikelihood,
    /// A word of the objective has no letter.
    #[error("one of the wanted or unwanted words is empty; write it or remove it")]
    EmptyWord,
    /// The floor of distinct-4 is not between 0 and 1.
    #[error("the floor of distinct-4 is {floor}; give a number from 0 to 1")]
    Floor {
        /// The floor as given.
        floor: f64,
    },
}
