//! From logits to probabilities, in f64: how likely a token was, and how far two predictions are apart. It knows no engine.
//!
//! For one place of a text there are the logits l of a base and of conditions compared with it, V of each. They are gone through in
//! stretches of `STRETCH` tokens, all conditions abreast, so that what the base's logits become is still near when the others need it:
//!
//! ```text
//! of each stretch s:   m = max l              w = exp(l - m)              sum  = sum of w
//!                      lead = sum of w_base (l_base - l)                  lane by lane, in the order of the tokens
//! of all, s in order:  M = max m              S = sum of exp(m - M) sum   ln p(token) = l - M - ln S
//!                      KL(base || l) = (sum of exp(m_base - M_base) lead) / S_base - (M_base + ln S_base) + (M + ln S)
//! ```
//!
//! Stretches depend on V alone and each is one thread's work, so the numbers are the same on any number of threads; and the compiler
//! may do the lanes with whatever instructions there are, since it neither reorders nor fuses what is written here.

use std::ops::Range;

/// Numbers summed side by side, always in the same order.
const LANES: usize = 16;

/// Tokens of a stretch: its weights stay in the cache that is nearest, and it is work for some 20 microseconds.
const STRETCH: usize = 2048;

/// What one condition's logits of one stretch come to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Found {
    /// Whether all of them are numbers.
    finite: bool,
    max: f32,
    /// Of exp(logit - max).
    sum: f64,
    /// Of the base's exp(logit - max), each times what its logit is above this one's.
    lead: f64,
}

/// A stretch of the vocabulary at one place of a text: work for one thread, that any may do.
pub struct Share<'a> {
    /// The logits of each condition, the base's first.
    rows: &'a [&'a [f32]],
    tokens: Range<usize>,
    /// For each condition.
    found: &'a mut [Found],
}

impl Share<'_> {
    /// Does the work. To be inlined, so that it can be compiled for several sets of instructions.
    #[inline(always)]
    pub fn weigh(&mut self) {
        let (mut base_weights, mut weights) = ([0.0; STRETCH], [0.0; STRETCH]);
        let Some((&base, others)) = self.rows.split_first() else {
            return;
        };
        let Some((of_base, of_others)) = self.found.split_first_mut() else {
            return;
        };
        let base = &base[self.tokens.clone()];
        let base_weights = &mut base_weights[..base.len()];
        *of_base = weigh(base, base_weights);
        for (&other, found) in others.iter().zip(of_others) {
            let other = &other[self.tokens.clone()];
            *found = weigh(other, &mut weights[..base.len()]);
            found.lead = lead(base_weights, base, other);
        }
    }
}

/// Writes exp(logit - max) of every logit into `weights`, which is as long.
#[inline(always)]
fn weigh(logits: &[f32], weights: &mut [f64]) -> Found {
    let (chunks, rest) = logits.as_chunks::<LANES>();
    let mut maxima = [f32::NEG_INFINITY; LANES];
    // The order of positive floats is that of their bits; infinity is above all numbers, and NaN above it.
    let mut sizes = [0; LANES];
    let mut look = |lane: usize, logit: f32| {
        sizes[lane] = (logit.to_bits() & 0x7fff_ffff).max(sizes[lane]);
        maxima[lane] = if logit > maxima[lane] { logit } else { maxima[lane] };
    };
    for chunk in chunks {
        for (lane, &logit) in chunk.iter().enumerate() {
            look(lane, logit);
        }
    }
    for (lane, &logit) in rest.iter().enumerate() {
        look(lane, logit);
    }
    let max = maxima.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let shift = f64::from(max);
    for (weight, &logit) in weights.iter_mut().zip(logits) {
        *weight = exp_of_negative(f64::from(logit) - shift);
    }
    Found {
        finite: sizes.into_iter().all(|size| size < f32::INFINITY.to_bits()),
        max,
        sum: sum(weights),
        lead: 0.0,
    }
}

/// The sum of `weights`, element i in lane i mod [`LANES`], and the lanes in their order.
#[inline(always)]
fn sum(weights: &[f64]) -> f64 {
    let (chunks, rest) = weights.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane];
        }
    }
    for (lane, weight) in rest.iter().enumerate() {
        lanes[lane] += weight;
    }
    lanes.into_iter().sum()
}

/// The sum of weight (logit - other), in the same order; all three are equally long.
#[inline(always)]
fn lead(weights: &[f64], logits: &[f32], others: &[f32]) -> f64 {
    let (chunks, rest) = weights.as_chunks::<LANES>();
    let (own_chunks, own_rest) = logits.as_chunks::<LANES>();
    let (their_chunks, their_rest) = others.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for ((chunk, own), their) in chunks.iter().zip(own_chunks).zip(their_chunks) {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane] * (f64::from(own[lane]) - f64::from(their[lane]));
        }
    }
    for (lane, ((weight, &own), &their)) in rest.iter().zip(own_rest).zip(their_rest).enumerate() {
        lanes[lane] += weight * (f64::from(own) - f64::from(their));
    }
    lanes.into_iter().sum()
}

/// The predictions at some places of a text, each under the same conditions.
pub struct Comparison<'a> {
    conditions: usize,
    vocab_size: usize,
    /// Place by place the logits of each condition, the base's first.
    rows: Vec<&'a [f32]>,
    /// Place by place and stretch by stretch what each condition's logits came to.
    found: Vec<Found>,
}

impl<'a> Comparison<'a> {
    /// Of `conditions` lists of logits, the base's first, each of as many places times `vocab_size`; `weigh` does all the shares, in
    /// any order.
    pub fn of(conditions: &[&'a [f32]], vocab_size: usize, weigh: impl FnOnce(&mut [Share<'_>])) -> Self {
        let size = vocab_size.max(1);
        let places = conditions.iter().map(|all| all.len() / size).min().unwrap_or(0);
        let rows: Vec<&[f32]> = (0..places)
            .flat_map(|place| conditions.iter().map(move |all| &all[place * size..(place + 1) * size]))
            .collect();
        let mut found = vec![Found::default(); rows.len() * size.div_ceil(STRETCH)];
        let mut left = found.as_mut_slice();
        let mut shares = Vec::new();
        for rows in rows.chunks_exact(conditions.len().max(1)) {
            for first in (0..size).step_by(STRETCH) {
                let (found, after) = std::mem::take(&mut left).split_at_mut(rows.len());
                left = after;
                shares.push(Share {
                    rows,
                    tokens: first..(first + STRETCH).min(size),
                    found,
                });
            }
        }
        weigh(&mut shares);
        Self {
            conditions: conditions.len(),
            vocab_size: size,
            rows,
            found,
        }
    }

    /// How many places there are.
    pub fn places(&self) -> usize {
        self.rows.len() / self.conditions.max(1)
    }

    /// The predictions of all conditions at `place`, the base's first. `None` where a logit is not finite, or there is no such place.
    pub fn at(&self, place: usize) -> Option<Vec<Prediction<'a>>> {
        let rows = self.rows.chunks_exact(self.conditions.max(1)).nth(place)?;
        let stretches = self.vocab_size.div_ceil(STRETCH) * self.conditions;
        let found = &self.found[place * stretches..(place + 1) * stretches];
        let mut predictions: Vec<Prediction<'a>> = Vec::with_capacity(self.conditions);
        for (condition, &logits) in rows.iter().enumerate() {
            let of = |condition: usize| {
                found
                    .chunks_exact(self.conditions)
                    .map(move |stretch| stretch[condition])
            };
            if !of(condition).all(|stretch| stretch.finite) {
                return None;
            }
            let maxima: Vec<f32> = of(condition).map(|stretch| stretch.max).collect();
            let max = maxima.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let below = |stretch: Found, max: f32| exp_of_negative(f64::from(stretch.max) - f64::from(max));
            let sum: f64 = of(condition).map(|stretch| below(stretch, max) * stretch.sum).sum();
            let ln_sum = libm::log(sum);
            let divergence = predictions.first().map_or(0.0, |base| {
                let lead: f64 = of(0)
                    .zip(of(condition))
                    .map(|(of_base, stretch)| below(of_base, base.max) * stretch.lead)
                    .sum();
                let (of_base, own) = (f64::from(base.max) + base.ln_sum, f64::from(max) + ln_sum);
                // Rounding may leave a difference of nothing just below it.
                (lead / base.sum - (of_base - own)).max(0.0)
            });
            predictions.push(Prediction {
                logits,
                maxima,
                max,
                sum,
                ln_sum,
                divergence,
            });
        }
        Some(predictions)
    }
}

/// The prediction of one place under one condition: V logits, and what turns them into logarithms of probabilities.
#[derive(Debug)]
pub struct Prediction<'a> {
    logits: &'a [f32],
    /// The largest logit of each stretch.
    maxima: Vec<f32>,
    max: f32,
    /// Of exp(logit - max).
    sum: f64,
    ln_sum: f64,
    divergence: f64,
}

impl Prediction<'_> {
    /// ln of the probability of `token`.
    pub fn ln(&self, token: u32) -> Option<f64> {
        self.logits.get(token as usize).map(|&logit| self.ln_of(logit))
    }

    fn ln_of(&self, logit: f32) -> f64 {
        f64::from(logit) - f64::from(self.max) - self.ln_sum
    }

    /// KL(base || this) in nats; 0 for the base itself. Equal logits give exactly 0.
    pub fn divergence(&self) -> f64 {
        self.divergence
    }

    /// The likeliest token; of equals the one with the smallest id.
    pub fn likeliest(&self) -> Option<u32> {
        let first = self.maxima.iter().position(|&max| max == self.max)? * STRETCH;
        let place = self.logits[first..].iter().position(|&logit| logit == self.max)?;
        u32::try_from(first + place).ok()
    }

    /// The `count` likeliest tokens, the likeliest first; of equals the one with the smaller id.
    pub fn top(&self, count: usize) -> Vec<(u32, f64)> {
        let mut best: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
        if count == 0 {
            return Vec::new();
        }
        for (stretch, (logits, &max)) in self.logits.chunks(STRETCH).zip(&self.maxima).enumerate() {
            let no_better = |best: &[(u32, f32)], logit: f32| {
                best.len() == count && best.last().is_some_and(|last| logit <= last.1)
            };
            if no_better(&best, max) {
                continue;
            }
            for (token, &logit) in (stretch * STRETCH..).zip(logits) {
                if no_better(&best, logit) {
                    continue;
                }
                let place = best.partition_point(|other| other.1 >= logit);
                best.insert(place, (token as u32, logit));
                best.truncate(count);
            }
        }
        best.into_iter()
            .map(|(token, logit)| (token, self.ln_of(logit)))
            .collect()
    }
}

/// e^x for x <= 0, to a few units in the last place; what is below e^-700 counts as nothing.
///
/// x = k ln 2 + r with |r| <= ln 2 / 2 (Cody and Waite, 1980), the series of e^r to its twelfth power, and k put into the exponent. It has
/// no branch and calls nothing, so that a compiler can do several at once: the predictions of a text are its tokens times V of these.
#[inline(always)]
fn exp_of_negative(x: f64) -> f64 {
    // ln 2 in two parts: the first has so few bits that its products with k are exact.
    const LN2_HIGH: f64 = 0.693_147_180_369_123_8;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    // Added to a small number, it leaves the nearest whole number in the lowest bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    // Not `max`, whose care for NaN costs as much again.
    let limited = if x > -700.0 { x } else { -700.0 };
    let shifted = limited * std::f64::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (limited - k * LN2_HIGH) - k * LN2_LOW;
    let mut series = 1.0 / 479_001_600.0;
    for inverse in [
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        series = series * r + inverse;
    }
    let scaled = f64::from_bits(series.to_bits().wrapping_add(shifted.to_bits() << 52));
    if x < -700.0 { 0.0 } else { scaled }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One place, its shares done one after another, the last first.
    fn compared<'a>(conditions: &[&'a [f32]]) -> Option<Vec<Prediction<'a>>> {
        let comparison = Comparison::of(conditions, conditions[0].len(), |shares| {
            shares.iter_mut().rev().for_each(Share::weigh);
        });
        assert_eq!(comparison.places(), 1);
        comparison.at(0)
    }

    fn logits(vocabulary: u32, seed: u32) -> Vec<f32> {
        (0..vocabulary)
            .map(|token| (token.wrapping_mul(2_654_435_761).wrapping_add(seed) % 4001) as f32 / 100.0 - 20.0)
            .collect()
    }

    #[test]
    fn probabilities_add_up_to_one_however_large_the_logits() {
        for shift in [0.0, 1e4, -1e4] {
            let logits = [1.0f32, 2.0, 0.5].map(|logit| logit + shift);
            let predictions = compared(&[&logits]).unwrap();
            let sum: f64 = (0..3).map(|token| predictions[0].ln(token).unwrap().exp()).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        }
    }

    #[test]
    fn the_divergence_is_the_sum_of_its_definition_and_nothing_between_equals() {
        let (one, two) = ([0.0f32, 3.0f32.ln()], [0.0f32, 0.0]);
        let predictions = compared(&[&one, &two, &one]).unwrap();
        let expected = 0.25 * (0.25f64 / 0.5).ln() + 0.75 * (0.75f64 / 0.5).ln();
        assert_eq!(predictions[0].divergence(), 0.0);
        assert!((predictions[1].divergence() - expected).abs() < 1e-7);
        assert_eq!(predictions[2].divergence(), 0.0);
    }

    #[test]
    fn the_exponential_is_the_librarys_to_a_few_units_in_the_last_place() {
        let mut worst = 0.0_f64;
        for step in 0..200_000 {
            let x = -f64::from(step) * 0.0035;
            let (own, expected) = (exp_of_negative(x), libm::exp(x));
            worst = worst.max((own - expected).abs() / expected);
        }
        assert!(worst < 1e-15, "{worst:e}");
        assert_eq!(exp_of_negative(0.0), 1.0);
        assert_eq!(exp_of_negative(-701.0), 0.0);
        assert_eq!(exp_of_negative(f64::MIN), 0.0);
    }

    #[test]
    fn a_prediction_over_many_tokens_is_the_sum_of_its_definition_wherever_it_ends() {
        let stretch = STRETCH as u32;
        for vocabulary in [1, 7, 8, 9, 1000, 1003, stretch, stretch + 1, 3 * stretch - 5] {
            let (one, two) = (logits(vocabulary, 1), logits(vocabulary, 77));
            let probabilities = |logits: &[f32]| -> Vec<f64> {
                let weights: Vec<f64> = logits.iter().map(|&logit| f64::from(logit).exp()).collect();
                let sum: f64 = weights.iter().sum();
                weights.iter().map(|weight| weight / sum).collect()
            };
            let (p, q) = (probabilities(&one), probabilities(&two));
            let expected: f64 = p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum();
            let predictions = compared(&[&one, &two]).unwrap();
            assert!((predictions[1].divergence() - expected).abs() < 1e-9 * (1.0 + expected));
            assert!((predictions[0].ln(0).unwrap() - p[0].ln()).abs() < 1e-9);
            for prediction in predictions {
                assert_eq!(prediction.likeliest(), prediction.top(1).first().map(|best| best.0));
            }
        }
    }

    #[test]
    fn places_and_conditions_have_nothing_to_do_with_each_other() {
        let vocabulary = STRETCH as u32 + 300;
        let (one, two) = (logits(2 * vocabulary, 5), logits(2 * vocabulary, 6));
        let comparison = Comparison::of(&[&one, &two], vocabulary as usize, |shares| {
            shares.iter_mut().for_each(Share::weigh);
        });
        assert_eq!(comparison.places(), 2);
        assert!(comparison.at(2).is_none());
        for place in 0..2 {
            let here = place * vocabulary as usize..(place + 1) * vocabulary as usize;
            let alone = compared(&[&one[here.clone()], &two[here]]).unwrap();
            for (alone, together) in alone.iter().zip(comparison.at(place).unwrap()) {
                assert_eq!(alone.ln(9), together.ln(9));
                assert_eq!(alone.divergence().to_bits(), together.divergence().to_bits());
                assert_eq!(alone.top(3), together.top(3));
            }
        }
    }

    #[test]
    fn the_likeliest_come_first_and_of_equals_the_smaller_id() {
        let predictions = compared(&[&[1.0, 3.0, 2.0, 3.0]]).unwrap();
        let ids = |count| {
            predictions[0]
                .top(count)
                .into_iter()
                .map(|(token, _)| token)
                .collect::<Vec<_>>()
        };
        assert!(ids(0).is_empty());
        assert_eq!(ids(1), [1]);
        assert_eq!(ids(3), [1, 3, 2]);
        assert_eq!(ids(9), [1, 3, 2, 0]);
    }

    #[test]
    fn the_likeliest_are_found_in_whatever_stretch_they_are() {
        let mut logits = vec![0.0f32; 3 * STRETCH];
        for (token, logit) in [(5, 1.0), (STRETCH + 3, 4.0), (2 * STRETCH, 4.0), (3 * STRETCH - 1, 3.0)] {
            logits[token] = logit;
        }
        let predictions = compared(&[&logits]).unwrap();
        assert_eq!(predictions[0].likeliest(), Some(STRETCH as u32 + 3));
        let ids: Vec<usize> = predictions[0].top(5).iter().map(|best| best.0 as usize).collect();
        assert_eq!(ids, [STRETCH + 3, 2 * STRETCH, 3 * STRETCH - 1, 5, 0]);
    }

    #[test]
    fn logits_that_are_not_finite_predict_nothing() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(compared(&[&[0.0, bad]]).is_none());
            assert!(compared(&[&[0.0, 1.0], &[bad, 0.0]]).is_none());
        }
        let nothing = Comparison::of(&[&[]], 0, |shares| assert!(shares.is_empty()));
        assert!(nothing.at(0).is_none());
    }
}
