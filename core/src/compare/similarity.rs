//! All measures of one text against its baseline.
//!
//! Measures are computed over code points of the NFC form, as the reference implementations do; lengths and the first divergence
//! are given in graphemes, too, which are what people see.

use std::collections::HashMap;

use rapidfuzz::distance::{indel, levenshtein};
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

use super::repetition::Repetition;
use super::{chrf, difflib};

/// The measures of a text against its baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    /// Character F-score, 0 to 100 (sacreBLEU `CHRF()` with the baseline as reference); 0 where either text is empty or all white space.
    pub chrf2: f64,
    /// 2 LCS / (n + m), 0 to 1 (RapidFuzz `Indel.normalized_similarity`); symmetric.
    pub indel: f64,
    /// `difflib.SequenceMatcher(None, baseline, text, autojunk=False).ratio()`; not symmetric.
    pub difflib: f64,
    /// The same with CPython's default autojunk, as existing scripts print it; misleading from 200 characters on.
    pub difflib_autojunk: f64,
    /// 1 - distance / longer length (RapidFuzz `Levenshtein.normalized_similarity`); symmetric.
    pub levenshtein: f64,
    /// Length of the common start.
    pub first_divergence: FirstDivergence,
    /// Tokens shared from the start, where both token lists are known ([`Measures::with_tokens`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_divergence_tokens: Option<usize>,
    /// Distinct character 2-grams of the text over all of them; `None` under two characters.
    pub distinct2: Option<f64>,
    /// Distinct character 4-grams of the text over all of them; lower for longer texts. `None` under four characters.
    pub distinct4: Option<f64>,
    /// How much the text repeats itself, compared with the baseline.
    #[serde(default)]
    pub repetition: Repetition,
    /// Length of the baseline.
    pub baseline_length: Lengths,
    /// Length of the text.
    pub length: Lengths,
    /// Mean KL(baseline || prefixed) over the baseline's tokens, in nats, where a unit has scored them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl_mean: Option<f64>,
    /// Perplexity of the text under the model without the prefix, where a unit has scored it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<f64>,
}

/// The length of the common start. For equal texts it is their whole length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstDivergence {
    /// Code points of NFC text.
    pub code_points: usize,
    /// Characters as a reader perceives them.
    pub graphemes: usize,
}

/// The length of a text in three units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lengths {
    /// Code points of NFC text.
    pub code_points: usize,
    /// Characters as a reader perceives them.
    pub graphemes: usize,
    /// UTF-8 bytes of the text before normalisation.
    pub bytes: usize,
}

impl Measures {
    /// All measures of `text` against `baseline`. Takes a few milliseconds at 2 x 5,000 characters; grows with the product of the
    /// lengths.
    pub fn of(baseline: &str, text: &str) -> Self {
        let (nfc_a, nfc_b): (String, String) = (baseline.nfc().collect(), text.nfc().collect());
        let (a, b): (Vec<char>, Vec<char>) = (nfc_a.chars().collect(), nfc_b.chars().collect());
        let (ids_a, ids_b) = numbers(&a, &b);
        Self {
            chrf2: chrf::chrf2(&a, &b),
            indel: indel::normalized_similarity(a.iter().copied(), b.iter().copied()),
            difflib: difflib::ratio(&ids_a, &ids_b, false),
            difflib_autojunk: difflib::ratio(&ids_a, &ids_b, true),
            levenshtein: levenshtein::normalized_similarity(a.iter().copied(), b.iter().copied()),
            first_divergence: FirstDivergence {
                code_points: shared(&a, &b),
                graphemes: nfc_a
                    .graphemes(true)
                    .zip(nfc_b.graphemes(true))
                    .take_while(|(x, y)| x == y)
                    .count(),
            },
            first_divergence_tokens: None,
            distinct2: chrf::distinct(&b, 2),
            distinct4: chrf::distinct(&b, 4),
            repetition: Repetition::of(&a, &b),
            baseline_length: Lengths::of(baseline, &nfc_a, a.len()),
            length: Lengths::of(text, &nfc_b, b.len()),
            kl_mean: None,
            perplexity: None,
        }
    }

    /// The same measures with `first_divergence_tokens`, where both sides' token ids are known.
    pub fn with_tokens(mut self, baseline: Option<&[u32]>, text: Option<&[u32]>) -> Self {
        self.first_divergence_tokens = baseline.zip(text).map(|(a, b)| shared(a, b));
        self
    }

    /// Whether both texts are the same code points after NFC.
    pub fn is_same(&self) -> bool {
        self.first_divergence.code_points == self.length.code_points
            && self.length.code_points == self.baseline_length.code_points
    }
}

impl Lengths {
    fn of(raw: &str, nfc: &str, code_points: usize) -> Self {
        Self {
            code_points,
            graphemes: nfc.graphemes(true).count(),
            bytes: raw.len(),
        }
    }
}

fn shared<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// Consecutive numbers for the characters of both texts.
fn numbers(a: &[char], b: &[char]) -> (Vec<u32>, Vec<u32>) {
    let mut known: HashMap<char, u32> = HashMap::new();
    let mut number = |c: &char| {
        let next = known.len() as u32;
        *known.entry(*c).or_insert(next)
    };
    (a.iter().map(&mut number).collect(), b.iter().map(&mut number).collect())
}
