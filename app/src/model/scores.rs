//! What a prefix does to the model itself, where the text may still look the same.

use std::ops::Range;
use std::sync::Arc;

use softprefix_core::compare::DeepMeasures;
use softprefix_core::experiment::CaseScores;
use softprefix_core::protocol::extension::{Compared, Scored};

/// What the baseline's text is coloured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Colouring {
    /// What differs from the prefixed text.
    #[default]
    Diff,
    /// KL(base || prefixed) at each token.
    Kl,
}

/// Why there is no KL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KlOff {
    NotConnected,
    /// The unit scores no texts: a stranger's, or one whose engine cannot.
    NotHere,
    /// The pair of a sweep that is looked at was not scored.
    NotScored,
    /// The pair was scored, but its tokens are not those of the text that is shown.
    NotLaid,
}

/// What was learnt of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// The baseline's text through which the model was led.
    pub text: Arc<str>,
    /// Without the prefix and with it.
    pub scored: Scored,
    pub measures: DeepMeasures,
    /// Bytes of [`Scores::text`] for which each token stands; empty where the tokens are not the text's.
    pub ranges: Vec<Range<usize>>,
    /// Perplexity of the prefixed text without the prefix; `None` where that text is empty.
    pub perplexity: Option<f64>,
}

impl Scores {
    /// As a record keeps them; `baseline` is the id of the record whose text was scored.
    pub fn of_case(&self, baseline: String) -> CaseScores {
        let kl = self.prefixed().map(|prefixed| prefixed.kl.clone()).unwrap_or_default();
        let places = self.ranges.iter().map(|range| [range.start, range.end]).collect();
        CaseScores::new(baseline, self.measures, &kl, places, self.perplexity)
    }

    /// The prefixed side; always there.
    pub fn prefixed(&self) -> Option<&Compared> {
        self.scored.prefixed.first()
    }
}
