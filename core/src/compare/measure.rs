//! The measures by name, for plots, tables and settings in which one is selected.

use serde::{Deserialize, Serialize};

use super::Measures;
use crate::language::Bilingual;

/// One column of [`Measures`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Character n-gram F-score, 0 to 100.
    Chrf2,
    /// 2 LCS / (n + m).
    Indel,
    /// CPython's `difflib` ratio without its autojunk heuristic.
    Difflib,
    /// CPython's `difflib` ratio as existing scripts print it.
    DifflibAutojunk,
    /// 1 - edit distance / longer length.
    Levenshtein,
    /// Code points shared from the start.
    FirstDivergence,
    /// Distinct character pairs over all pairs, of the text alone.
    Distinct2,
    /// Distinct runs of four characters over all such runs, of the text alone.
    Distinct4,
    /// Length of the text in code points.
    Length,
    /// Mean KL(baseline || prefixed) over the baseline's tokens, in nats.
    KlMean,
    /// Perplexity of the text under the model without the prefix.
    Perplexity,
}

impl Measure {
    /// All measures, the headline first.
    pub const ALL: [Self; 11] = [
        Self::Chrf2,
        Self::Indel,
        Self::Difflib,
        Self::DifflibAutojunk,
        Self::Levenshtein,
        Self::FirstDivergence,
        Self::Distinct2,
        Self::Distinct4,
        Self::Length,
        Self::KlMean,
        Self::Perplexity,
    ];

    /// The name in files and on command lines.
    pub fn id(self) -> &'static str {
        match self {
            Self::Chrf2 => "chrf2",
            Self::Indel => "indel",
            Self::Difflib => "difflib",
            Self::DifflibAutojunk => "difflib_autojunk",
            Self::Levenshtein => "levenshtein",
            Self::FirstDivergence => "first_divergence",
            Self::Distinct2 => "distinct2",
            Self::Distinct4 => "distinct4",
            Self::Length => "length",
            Self::KlMean => "kl_mean",
            Self::Perplexity => "perplexity",
        }
    }

    /// The name that people read.
    pub const fn name(self) -> Bilingual<&'static str> {
        let (en, ja) = match self {
            Self::Chrf2 => ("chrF2", "chrF2"),
            Self::Indel => ("indel", "indel"),
            Self::Difflib => ("difflib", "difflib"),
            Self::DifflibAutojunk => ("difflib, autojunk", "difflib (autojunk)"),
            Self::Levenshtein => ("Levenshtein", "Levenshtein"),
            Self::FirstDivergence => ("shared start", "先頭の一致"),
            Self::Distinct2 => ("distinct-2", "distinct-2"),
            Self::Distinct4 => ("distinct-4", "distinct-4"),
            Self::Length => ("length", "長さ"),
            Self::KlMean => ("mean KL", "平均 KL"),
            Self::Perplexity => ("perplexity", "パープレキシティ"),
        };
        Bilingual { en, ja }
    }

    /// The measure with this [`id`](Self::id).
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|measure| measure.id() == id)
    }

    /// Whether the measure compares with the baseline and has its greatest value for equal texts.
    pub fn is_similarity(self) -> bool {
        matches!(
            self,
            Self::Chrf2 | Self::Indel | Self::Difflib | Self::DifflibAutojunk | Self::Levenshtein
        )
    }

    /// Whether a threshold search can use the measure: it falls as the text departs from the baseline, and needs no scores of a unit.
    pub fn has_threshold(self) -> bool {
        self.is_similarity() || matches!(self, Self::FirstDivergence | Self::Distinct4)
    }

    /// The greatest possible value, where there is one: 100 for chrF2, 1 for ratios.
    pub fn full_scale(self) -> Option<f64> {
        match self {
            Self::Chrf2 => Some(100.0),
            Self::FirstDivergence | Self::Length | Self::KlMean | Self::Perplexity => None,
            Self::Indel
            | Self::Difflib
            | Self::DifflibAutojunk
            | Self::Levenshtein
            | Self::Distinct2
            | Self::Distinct4 => Some(1.0),
        }
    }

    /// This column of `measures` on its own scale; `None` where a text is too short for the measure, or no unit has scored it.
    pub fn value(self, measures: &Measures) -> Option<f64> {
        match self {
            Self::Chrf2 => Some(measures.chrf2),
            Self::Indel => Some(measures.indel),
            Self::Difflib => Some(measures.difflib),
            Self::DifflibAutojunk => Some(measures.difflib_autojunk),
            Self::Levenshtein => Some(measures.levenshtein),
            Self::FirstDivergence => Some(measures.first_divergence.code_points as f64),
            Self::Distinct2 => measures.distinct2,
            Self::Distinct4 => measures.distinct4,
            Self::Length => Some(measures.length.code_points as f64),
            Self::KlMean => measures.kl_mean,
            Self::Perplexity => measures.perplexity,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measure_is_found_by_its_name_and_serialised_under_it() {
        for measure in Measure::ALL {
            assert_eq!(Measure::from_id(measure.id()), Some(measure));
            assert_eq!(serde_json::to_value(measure).unwrap(), measure.id());
        }
        assert_eq!(Measure::from_id("bleu"), None);
    }

    #[test]
    fn every_similarity_of_a_text_with_itself_is_its_full_scale() {
        let same = Measures::of("こんにちは、世界", "こんにちは、世界");
        for measure in Measure::ALL.into_iter().filter(|measure| measure.is_similarity()) {
            assert_eq!(measure.value(&same), measure.full_scale(), "{}", measure.id());
        }
    }
}
