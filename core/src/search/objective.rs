//! The objective of a search, computed from measures of texts.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

use super::error::SearchError;
use crate::compare::{Measures, is_cjk};

/// How close a prefix comes to the wanted text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closeness {
    /// chrF2 of the output with the wanted text as the reference, 0 to 1. It works on any module.
    #[default]
    Chrf2,
    /// The probability that the model gives the wanted text with the prefix, by teacher forcing: exp of the mean of ln p over its tokens,
    /// 0 to 1. It changes with every row, where outputs stay the same for many. For units that score texts.
    Likelihood,
}

/// The properties wanted of an output. Each part that is set adds to the score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// A text that outputs should be close to: adds the closeness, 0 to 1. A blank one is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// How closeness to the text is measured.
    #[serde(default)]
    pub by: Closeness,
    /// Wanted words: adds the share of them that occur.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wanted: Vec<String>,
    /// Unwanted words: subtracts the share of them that occur.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unwanted: Vec<String>,
    /// Whether to add the distance from the baseline: 1 - chrF2 of the output, with chrF2 as 0 to 1.
    #[serde(default)]
    pub away: bool,
    /// Minimum of [`Score::distinct4`], 0 to 1. An output below it, and below the baseline's, ranks below all outputs that are not. So does
    /// one that is too short to have one if `away` is set.
    pub floor: f64,
}

/// The score of an output. Its chrF2 are 0 to 100, as [`Measures`] has them; in the total they count as 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Score {
    /// Sum of the parts; larger is better. Below -1 where the output is below the floor (distinct-4 minus 2); never below -1 otherwise.
    pub total: f64,
    /// chrF2 with the wanted text, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f64>,
    /// Mean of ln p over the tokens of the wanted text with the prefix, in nats, 0 or less; `None` where the unit does not score texts.
    /// Equal totals are ranked by it.
    #[serde(rename = "likelihood", default, skip_serializing_if = "Option::is_none")]
    pub mean_ln_p: Option<f64>,
    /// Wanted words that occur.
    pub wanted: usize,
    /// Unwanted words that occur.
    pub unwanted: usize,
    /// 100 - chrF2 with the baseline, 0 to 100.
    pub distance: f64,
    /// Number of distinct character 4-grams divided by the number of all, 0 to 1; `None` under four characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct4: Option<f64>,
    /// Whether the output is below the floor, or, where the distance from the baseline counts, too short for a distinct-4.
    pub below_floor: bool,
}

impl Default for Objective {
    fn default() -> Self {
        Self {
            text: None,
            by: Closeness::default(),
            wanted: Vec::new(),
            unwanted: Vec::new(),
            away: false,
            floor: Self::FLOOR,
        }
    }
}

impl Objective {
    /// The default floor: prose has about this distinct-4 or more.
    pub const FLOOR: f64 = 0.5;

    /// Subtracted from the distinct-4 of an output below the floor: its total is below any that the parts can add up to.
    const BELOW_FLOOR: f64 = 2.0;

    /// Checks that something is wanted and that all of it can be measured.
    ///
    /// # Errors
    /// [`SearchError::NoObjective`], [`SearchError::EmptyWord`], [`SearchError::Floor`].
    pub fn check(&self) -> Result<(), SearchError> {
        let mut words = self.wanted.iter().chain(&self.unwanted).peekable();
        if self.wanted_text().is_none() && words.peek().is_none() && !self.away {
            return Err(SearchError::NoObjective);
        }
        if words.any(|word| word.trim().is_empty()) {
            return Err(SearchError::EmptyWord);
        }
        if !(0.0..=1.0).contains(&self.floor) {
            return Err(SearchError::Floor { floor: self.floor });
        }
        Ok(())
    }

    /// The text that outputs should be close to; `None` where it is blank.
    pub fn wanted_text(&self) -> Option<&str> {
        self.text.as_deref().filter(|text| !text.trim().is_empty())
    }

    /// The score of an output whose baseline is `baseline`; `mean_ln_p` is [`Score::mean_ln_p`].
    pub fn score(&self, baseline: &str, output: &str, mean_ln_p: Option<f64>) -> Score {
        let measures = Measures::of(baseline, output);
        let similarity = self.wanted_text().map(|text| Measures::of(text, output).chrf2);
        let count = |words: &[String]| {
            let output = folded(output);
            words
                .iter()
                .filter(|word| occurs(&output, &folded(word.trim())))
                .count()
        };
        let (wanted, unwanted) = (count(&self.wanted), count(&self.unwanted));
        let share = |count: usize, words: &[String]| count as f64 / words.len().max(1) as f64;
        let distance = 100.0 - measures.chrf2;
        let floor = match Measures::of("", baseline).distinct4 {
            // Small models repeat themselves without any prefix.
            Some(own) => self.floor.min(own),
            None => self.floor,
        };
        let below_floor = match measures.distinct4 {
            Some(distinct4) => distinct4 < floor,
            // A text of a word or two may be wanted, but does not count as distance from the baseline.
            None => self.away,
        };
        let closeness = match self.by {
            Closeness::Chrf2 => similarity.unwrap_or_default() / 100.0,
            Closeness::Likelihood => mean_ln_p.map(libm::exp).unwrap_or_default(),
        };
        let total = if below_floor {
            measures.distinct4.unwrap_or_default() - Self::BELOW_FLOOR
        } else {
            closeness + share(wanted, &self.wanted) - share(unwanted, &self.unwanted)
                + if self.away { distance / 100.0 } else { 0.0 }
        };
        Score {
            total,
            similarity,
            mean_ln_p,
            wanted,
            unwanted,
            distance,
            distinct4: measures.distinct4,
            below_floor,
        }
    }
}

impl Score {
    /// Whether it ranks before another: by the total, and at equal totals by the likelihood of the wanted text.
    pub fn is_better_than(&self, other: &Self) -> bool {
        self.order(other) == Ordering::Less
    }

    /// The order of ranks, the better one first.
    pub fn order(&self, other: &Self) -> Ordering {
        let mean_ln_p = |score: &Self| score.mean_ln_p.unwrap_or(f64::NEG_INFINITY);
        let by_total = other.total.total_cmp(&self.total);
        by_total.then(mean_ln_p(other).total_cmp(&mean_ln_p(self)))
    }
}

fn folded(text: &str) -> String {
    text.nfc().collect::<String>().to_lowercase()
}

/// Whether a word or phrase occurs in a text, both in lower case: as a whole word, or anywhere at an end that is Han, kana or hangul
/// ([`is_cjk`]). In other scripts without spaces, such as Thai, only a word with spaces around it is found.
fn occurs(text: &str, word: &str) -> bool {
    let is_border = |inside: Option<char>, outside: Option<char>| match (inside, outside) {
        (Some(inside), Some(outside)) => !inside.is_alphanumeric() || !outside.is_alphanumeric() || is_cjk(inside),
        _ => true,
    };
    // Unlike those of `match_indices`, the places may overlap.
    text.char_indices().any(|(start, _)| {
        let (before, rest) = text.split_at(start);
        rest.strip_prefix(word).is_some_and(|after| {
            is_border(word.chars().next(), before.chars().next_back())
                && is_border(word.chars().next_back(), after.chars().next())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_occurs_whole_in_any_case_and_a_japanese_one_anywhere() {
        let text = folded("The Sea, unseen; O’Brien’s café. 海が見える。");
        for word in ["sea", "SEA", "the sea", "café", "cafe\u{301}", "見え", "海", "o’brien"] {
            assert!(occurs(&text, &folded(word)), "{word}");
        }
        for word in ["see", "seen", "he", "caf", "山"] {
            assert!(!occurs(&text, &folded(word)), "{word}");
        }
        assert!(occurs("piano no no", "no no"), "a place overlaps the one before it");
    }
}
