//! chrF2 and distinct-n, over character n-grams.
//!
//! Source: M. Popović, "chrF: character n-gram F-score" (2015), with the conventions of sacreBLEU 2 (character order 6, word order 0,
//! beta 2, effective order, whitespace removed).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Longest n-gram.
const ORDER: usize = 6;
/// Recall weighs `BETA` times as much as precision.
const BETA: f64 = 2.0;

/// chrF2 of `text` against `reference`, 0 to 100; 0 where either is empty or all whitespace.
pub(super) fn chrf2(reference: &[char], text: &[char]) -> f64 {
    let reference: Vec<char> = reference.iter().copied().filter(|&c| !is_python_space(c)).collect();
    let text: Vec<char> = text.iter().copied().filter(|&c| !is_python_space(c)).collect();
    let mut grams_reference: Vec<u32> = vec![0; reference.len()];
    let mut grams_text: Vec<u32> = vec![0; text.len()];
    let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0);
    for order in 1..=ORDER {
        if reference.len() < order || text.len() < order {
            break;
        }
        // An n-gram is the number of its first n - 1 characters together with its last character.
        let mut numbers = Numbers::default();
        number_grams(&mut grams_reference, &reference, order, &mut numbers);
        let known = numbers.len();
        number_grams(&mut grams_text, &text, order, &mut numbers);

        let mut count = vec![0_i64; known];
        for &gram in &grams_reference {
            count[gram as usize] += 1;
        }
        let mut matched = 0_i64;
        for &gram in &grams_text {
            if let Some(left) = count.get_mut(gram as usize).filter(|left| **left > 0) {
                *left -= 1;
                matched += 1;
            }
        }
        precision += matched as f64 / grams_text.len() as f64;
        recall += matched as f64 / grams_reference.len() as f64;
        orders += 1;
    }
    if orders == 0 || precision + recall == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (precision / f64::from(orders), recall / f64::from(orders));
    let factor = BETA * BETA;
    100.0 * ((1.0 + factor) * precision * recall / (factor * precision + recall))
}

/// Distinct n-grams over all n-grams of `text`; `None` where it has fewer than `n` characters.
pub(super) fn distinct(text: &[char], n: usize) -> Option<f64> {
    if n == 0 || text.len() < n {
        return None;
    }
    let mut grams = vec![0; text.len()];
    let mut found = 0;
    for order in 1..=n {
        let mut numbers = Numbers::default();
        number_grams(&mut grams, text, order, &mut numbers);
        found = numbers.len();
    }
    Some(found as f64 / grams.len() as f64)
}

/// Replaces the numbers of the (order - 1)-grams in `grams` by those of the n-grams that begin at the same places.
fn number_grams(grams: &mut Vec<u32>, text: &[char], order: usize, numbers: &mut Numbers) {
    grams.truncate((text.len() + 1).saturating_sub(order));
    for (gram, &last) in grams.iter_mut().zip(&text[order - 1..]) {
        *gram = numbers.of(u64::from(*gram) << 32 | u64::from(last));
    }
}

/// Gives each key the next free number.
#[derive(Default)]
struct Numbers(HashMap<u64, u32, BuildHasherDefault<Mix>>);

impl Numbers {
    fn of(&mut self, key: u64) -> u32 {
        let next = self.len() as u32;
        *self.0.entry(key).or_insert(next)
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// A quick hash of one `u64` (the finaliser of splitmix64). The keys come from the user's own texts, so it need not
/// resist chosen collisions.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.0.rotate_left(8) ^ u64::from(byte));
        }
    }

    fn write_u64(&mut self, key: u64) {
        let mut z = key.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        self.0 = z ^ (z >> 31);
    }
}

/// What Python's `str.split()` splits at: Unicode white space and the four information separators.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1C}'..='\u{1F}')
}
