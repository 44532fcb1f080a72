//! Results of teacher forcing: how far a prefix moves the model's predictions, even where the text is the same.

use std::ops::Range;
use std::sync::Arc;

use softprefix_core::compare::LikelihoodMeasures;
use softprefix_core::experiment::CaseScores;
use softprefix_core::protocol::extension::{Compared, Scored};

/// What the colours in the baseline's text show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Colouring {
    /// The difference to the prefixed text.
    #[default]
    Diff,
    /// KL(baseline || prefixed) at each token.
    Kl,
}

/// Why no KL is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KlUnavailable {
    NotConnected,
    StillConnecting,
    /// A run is pinned in the baseline's place.
    Pinned,
    /// The unit does not support scoring: a stock unit, or an engine without it.
    NotHere,
    /// The selected pair of the sweep was not scored.
    NotScored,
    /// The pair was scored, but the tokens do not make up the text that is shown.
    NotLaid,
}

/// The scores of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// The baseline's text, scored by teacher forcing.
    pub text: Arc<str>,
    /// Scores without the prefix and with it.
    pub scored: Scored,
    pub measures: LikelihoodMeasures,
    /// Byte ranges of [`Scores::text`] for each token; empty if the tokens do not make up the text.
    pub ranges: Vec<Range<usize>>,
    /// Perplexity of the prefixed text without the prefix; `None` if that text is empty.
    pub perplexity: Option<f64>,
}

impl Scores {
    /// Returns the scores in the form of a record; `baseline` is the id of the record whose text was scored.
    pub fn of_case(&self, baseline: String) -> CaseScores {
        let kl = self.prefixed().map(|prefixed| prefixed.kl.clone()).unwrap_or_default();
        let places = self.ranges.iter().map(|range| [range.start, range.end]).collect();
        CaseScores::new(baseline, self.measures, &kl, places, self.perplexity)
    }

    /// Returns the scores with the prefix, which are always present.
    pub fn prefixed(&self) -> Option<&Compared> {
        self.scored.prefixed.first()
    }
}
