//! How much a text repeats itself, beside its baseline over an equal stretch. It knows texts only.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// The most repetitive stretch of a text and of its baseline, both of the same length: small models repeat themselves without any
/// prefix, and every longer text repeats itself more than a shorter one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Repetition {
    /// Share of the 4-grams that stood earlier in the stretch, 0 to 1.
    pub text: f64,
    /// The same of the baseline.
    pub baseline: f64,
}

/// Length of the stretch in code points; a shorter text is taken whole.
const STRETCH: usize = 200;
const ORDER: usize = 4;
/// Under so many code points nothing is said: a laugh or a word said twice is no loop.
const LEAST: usize = 16;
/// By how much a text must repeat itself more than its baseline. Half-way between the least of the texts that are loops and the most
/// of those that are none, in the chosen half of `tests/fixtures/repetition/texts.json`.
const EXCESS: f64 = 0.38;

impl Repetition {
    /// Over the code points (NFC) of both texts.
    pub(super) fn of(baseline: &[char], text: &[char]) -> Self {
        let length = text.len().min(STRETCH);
        if length < LEAST {
            return Self::default();
        }
        Self {
            text: most(text, length),
            baseline: most(baseline, length),
        }
    }

    /// Whether the text has collapsed into repetition beyond its baseline's own.
    pub fn is_collapse(&self) -> bool {
        self.text - self.baseline >= EXCESS
    }
}

/// The largest share of repeated n-grams over all stretches of this length.
fn most(text: &[char], length: usize) -> f64 {
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
