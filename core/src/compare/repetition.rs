//! How much a text repeats itself, compared with its baseline over a stretch of equal length.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// The most repetitive stretch of a text and of its baseline, both of the same length. The baseline is needed since
/// small models repeat themselves without any prefix; the equal length, since longer texts repeat themselves more than
/// shorter ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Repetition {
    /// Share of the 4-grams that occur earlier in the stretch, 0 to 1.
    pub text: f64,
    /// The same for the baseline.
    pub baseline: f64,
    /// Length of the longest exact loop, as a share of the stretch, 0 to 1: a short text that ends in one is diluted by its beginning.
    #[serde(default)]
    pub text_loop: f64,
    /// The same of the baseline.
    #[serde(default)]
    pub baseline_loop: f64,
}

/// Length of the stretch in code points; a shorter text is taken whole.
const STRETCH: usize = 200;
const ORDER: usize = 4;
/// Least number of code points; a shorter text is not judged, since a laugh or a repeated word is no loop.
const LEAST: usize = 16;
/// Excess of the text's share over the baseline's from which the text is a loop. It is half-way between the lowest loop
/// and the highest text without a loop, in the half of `tests/fixtures/repetition/texts.json` that is for choosing it.
const EXCESS: f64 = 0.38;
/// A piece that is repeated at least this many times in a row is a loop.
const ROUNDS: usize = 3;
/// How much of the stretch must be one loop, beyond the baseline's.
const LOOP_EXCESS: f64 = 0.5;

impl Repetition {
    /// Computed over the code points (NFC) of both texts.
    pub(super) fn of(baseline: &[char], text: &[char]) -> Self {
        let length = text.len().min(STRETCH);
        if length < LEAST {
            return Self::default();
        }
        Self {
            text: max_repeated_share(text, length),
            baseline: max_repeated_share(baseline, length),
            text_loop: longest_loop(text, length),
            baseline_loop: longest_loop(baseline, length),
        }
    }

    /// Whether the text has collapsed into repetition beyond its baseline's own.
    pub fn is_collapse(&self) -> bool {
        self.text - self.baseline >= EXCESS || self.text_loop - self.baseline_loop >= LOOP_EXCESS
    }
}

/// The largest share of repeated n-grams over all stretches of this length.
fn max_repeated_share(text: &[char], length: usize) -> f64 {
    let grams: Vec<&[char]> = text.windows(ORDER).collect();
    let count = grams.len().min(length + 1 - ORDER);
    if count == 0 {
        return 0.0;
    }
    let mut inside: HashMap<&[char], usize> = HashMap::new();
    let mut fewest = count;
    for (at, gram) in grams.iter().enumerate() {
        *inside.entry(gram).or_default() += 1;
        if let Some(left) = at.checked_sub(count).and_then(|before| grams.get(before))
            && let Some(times) = inside.get_mut(left)
        {
            *times -= 1;
            if *times == 0 {
                inside.remove(left);
            }
        }
        if at + 1 >= count {
            fewest = fewest.min(inside.len());
        }
    }
    1.0 - fewest as f64 / count as f64
}

/// The longest stretch, up to `length`, that is one piece repeated at least [`ROUNDS`] times in a row, as a share of `length`.
fn longest_loop(text: &[char], length: usize) -> f64 {
    let mut longest = 0;
    for period in 1..=length / ROUNDS {
        let mut same = 0;
        for (before, now) in text.iter().zip(text.iter().skip(period)) {
            same = if before == now { same + 1 } else { 0 };
            if same + period >= ROUNDS * period {
                longest = longest.max(same + period);
            }
        }
    }
    longest.min(length) as f64 / length as f64
}
