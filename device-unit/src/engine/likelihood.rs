//! Log-probabilities and Kullback-Leibler divergences from logits, in f64.
//!
//! At one position of a text there are V logits `l` under each of several conditions, of which the first is the reference. They are reduced in
//! chunks of `CHUNK` tokens, all conditions side by side, so that the reference's exponentials are still cached when the others need them:
//!
//! ```text
//! for each chunk c:    m = max l              w = exp(l - m)              sum = sum of w
//!                      difference = sum of w_ref (l_ref - l)              lane by lane, in the order of the tokens
//! over the chunks:     M = max m              S = sum of exp(m - M) sum   ln p(token) = l - M - ln S
//!                      KL(ref || l) = (sum of exp(m_ref - M_ref) difference) / S_ref - (M_ref + ln S_ref) + (M + ln S)
//! ```
//!
//! Chunks depend on V alone and each is reduced by one thread, so the results are the same bits on any number of threads. The lanes
//! fix the order of every sum, so they are also the same with any vector instructions.

use std::ops::Range;

/// Number of partial sums, which are always added in the same order.
const LANES: usize = 16;

/// Tokens per chunk: the exponentials fit into the L1 cache, and a chunk takes about 20 microseconds.
const CHUNK: usize = 2048;

/// The reduction of one chunk of one condition's logits.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChunkStats {
    /// Whether all logits are finite.
    finite: bool,
    max: f32,
    /// Sum of exp(logit - max).
    sum: f64,
    /// Sum of the reference's exp(logit - max) times (reference logit - logit).
    difference: f64,
}

/// A chunk of the vocabulary at one position: a unit of work for one thread.
pub struct VocabChunk<'a> {
    /// The logits of each condition, the reference first.
    rows: &'a [&'a [f32]],
    tokens: Range<usize>,
    /// The results, for each condition.
    stats: &'a mut [ChunkStats],
}

impl VocabChunk<'_> {
    /// Reduces the chunk. Inlined so that callers can compile it for several instruction sets.
    #[inline(always)]
    pub fn reduce(&mut self) {
        let (mut reference_weights, mut weights) = ([0.0; CHUNK], [0.0; CHUNK]);
        let Some((&reference, others)) = self.rows.split_first() else {
            return;
        };
        let Some((reference_stats, other_stats)) = self.stats.split_first_mut() else {
            return;
        };
        let reference = &reference[self.tokens.clone()];
        let reference_weights = &mut reference_weights[..reference.len()];
        *reference_stats = exponentials(reference, reference_weights);
        for (&other, stats) in others.iter().zip(other_stats) {
            let other = &other[self.tokens.clone()];
            *stats = exponentials(other, &mut weights[..reference.len()]);
            stats.difference = difference(reference_weights, reference, other);
        }
    }
}

/// Writes exp(logit - max) of every logit into `weights`, which has the same length.
#[inline(always)]
fn exponentials(logits: &[f32], weights: &mut [f64]) -> ChunkStats {
    let (chunks, rest) = logits.as_chunks::<LANES>();
    let mut maxima = [f32::NEG_INFINITY; LANES];
    // The bits of positive floats are ordered like the floats, with infinity and then NaN above all finite ones.
    let mut sizes = [0; LANES];
    let mut observe = |lane: usize, logit: f32| {
        sizes[lane] = (logit.to_bits() & 0x7fff_ffff).max(sizes[lane]);
        maxima[lane] = if logit > maxima[lane] { logit } else { maxima[lane] };
    };
    for chunk in chunks {
        for (lane, &logit) in chunk.iter().enumerate() {
            observe(lane, logit);
        }
    }
    for (lane, &logit) in rest.iter().enumerate() {
        observe(lane, logit);
    }
    let max = maxima.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let shift = f64::from(max);
    for (weight, &logit) in weights.iter_mut().zip(logits) {
        *weight = exp_of_negative(f64::from(logit) - shift);
    }
    ChunkStats {
        finite: sizes.into_iter().all(|size| size < f32::INFINITY.to_bits()),
        max,
        sum: sum(weights),
        difference: 0.0,
    }
}

/// Returns the sum of `weights`: element i is added to lane i mod [`LANES`], then the lanes in order.
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

/// Returns the sum of weight * (logit - other), in the same order. The slices have the same length.
#[inline(always)]
fn difference(weights: &[f64], logits: &[f32], others: &[f32]) -> f64 {
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

/// The predictions at several positions of a text, each under the same conditions.
pub struct Comparison<'a> {
    conditions: usize,
    vocab_size: usize,
    /// The logits by position, then by condition, the reference first.
    rows: Vec<&'a [f32]>,
    /// The reductions by position, then by chunk, then by condition.
    stats: Vec<ChunkStats>,
}

impl<'a> Comparison<'a> {
    /// Compares lists of logits, the reference first, each with `vocab_size` values per position. `reduce` must reduce every chunk, in any
    /// order.
    pub fn of(conditions: &[&'a [f32]], vocab_size: usize, reduce: impl FnOnce(&mut [VocabChunk<'_>])) -> Self {
        let size = vocab_size.max(1);
        let positions = conditions.iter().map(|all| all.len() / size).min().unwrap_or(0);
        let rows: Vec<&[f32]> = (0..positions)
            .flat_map(|position| {
                conditions
                    .iter()
                    .map(move |all| &all[position * size..(position + 1) * size])
            })
            .collect();
        let mut stats = vec![ChunkStats::default(); rows.len() * size.div_ceil(CHUNK)];
        let mut left = stats.as_mut_slice();
        let mut chunks = Vec::new();
        for rows in rows.chunks_exact(conditions.len().max(1)) {
            for first in (0..size).step_by(CHUNK) {
                let (stats, after) = std::mem::take(&mut left).split_at_mut(rows.len());
                left = after;
                chunks.push(VocabChunk {
                    rows,
                    tokens: first..(first + CHUNK).min(size),
                    stats,
                });
            }
        }
        reduce(&mut chunks);
        Self {
            conditions: conditions.len(),
            vocab_size: size,
            rows,
            stats,
        }
    }

    /// Returns the number of positions.
    pub fn positions(&self) -> usize {
        self.rows.len() / self.conditions.max(1)
    }

    /// Returns the predictions at `position`, the reference first. `None` if a logit is not finite or the position is out of bounds.
    pub fn at(&self, position: usize) -> Option<Vec<Prediction<'a>>> {
        let rows = self.rows.chunks_exact(self.conditions.max(1)).nth(position)?;
        let stats_per_position = self.vocab_size.div_ceil(CHUNK) * self.conditions;
        let stats = &self.stats[position * stats_per_position..(position + 1) * stats_per_position];
        let mut predictions: Vec<Prediction<'a>> = Vec::with_capacity(self.conditions);
        for (condition, &logits) in rows.iter().enumerate() {
            let of = |condition: usize| stats.chunks_exact(self.conditions).map(move |chunk| chunk[condition]);
            if !of(condition).all(|chunk| chunk.finite) {
                return None;
            }
            let maxima: Vec<f32> = of(condition).map(|chunk| chunk.max).collect();
            let max = maxima.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            // exp(m - M): by how much a chunk's sums are scaled down.
            let scale_of = |chunk: ChunkStats, max: f32| exp_of_negative(f64::from(chunk.max) - f64::from(max));
            let sum: f64 = of(condition).map(|chunk| scale_of(chunk, max) * chunk.sum).sum();
            let ln_sum = libm::log(sum);
            let divergence = predictions.first().map_or(0.0, |reference| {
                let difference: f64 = of(0)
                    .zip(of(condition))
                    .map(|(reference_stats, chunk)| scale_of(reference_stats, reference.max) * chunk.difference)
                    .sum();
                let (reference_total, own_total) =
                    (f64::from(reference.max) + reference.ln_sum, f64::from(max) + ln_sum);
                // Rounding can make a difference of zero slightly negative.
                (difference / reference.sum - (reference_total - own_total)).max(0.0)
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

/// The prediction at one position under one condition: the logits and their normalization.
#[derive(Debug)]
pub struct Prediction<'a> {
    logits: &'a [f32],
    /// The largest logit of each chunk.
    maxima: Vec<f32>,
    max: f32,
    /// Sum of exp(logit - max).
    sum: f64,
    ln_sum: f64,
    divergence: f64,
}

impl Prediction<'_> {
    /// Returns ln p(`token`), or `None` if the token is outside the vocabulary.
    pub fn ln(&self, token: u32) -> Option<f64> {
        self.logits.get(token as usize).map(|&logit| self.ln_of(logit))
    }

    fn ln_of(&self, logit: f32) -> f64 {
        f64::from(logit) - f64::from(self.max) - self.ln_sum
    }

    /// Returns KL(reference || this) in nats; 0 for the reference itself. Equal logits give exactly 0.
    pub fn divergence(&self) -> f64 {
        self.divergence
    }

    /// Returns the likeliest token; on a tie the one with the smallest id.
    pub fn likeliest(&self) -> Option<u32> {
        let first = self.maxima.iter().position(|&max| max == self.max)? * CHUNK;
        let position = self.logits[first..].iter().position(|&logit| logit == self.max)?;
        u32::try_from(first + position).ok()
    }

    /// Returns the `count` likeliest tokens with their ln p, likeliest first; on a tie the smaller id comes first.
    pub fn top(&self, count: usize) -> Vec<(u32, f64)> {
        let mut best: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
        if count == 0 {
            return Vec::new();
        }
        for (chunk, (logits, &max)) in self.logits.chunks(CHUNK).zip(&self.maxima).enumerate() {
            let no_better = |best: &[(u32, f32)], logit: f32| {
                best.len() == count && best.last().is_some_and(|last| logit <= last.1)
            };
            if no_better(&best, max) {
                continue;
            }
            for (token, &logit) in (chunk * CHUNK..).zip(logits) {
                if no_better(&best, logit) {
                    continue;
                }
                let position = best.partition_point(|other| other.1 >= logit);
                best.insert(position, (token as u32, logit));
                best.truncate(count);
            }
        }
        best.into_iter()
            .map(|(token, logit)| (token, self.ln_of(logit)))
            .collect()
    }
}

/// Returns e^x for x <= 0, to a few units in the last place. Below e^-700 it returns 0.
///
/// x = k ln 2 + r with |r| <= ln 2 / 2 (Cody and Waite, 1980); the Taylor series of e^r to the twelfth power; k is added to the
/// exponent. Free of branches and calls, so that it vectorizes: a scored text takes V of these per token.
#[inline(always)]
fn exp_of_negative(x: f64) -> f64 {
    // ln 2 in two parts. The first has so few significant bits that its products with k are exact.
    const LN2_HIGH: f64 = 0.693_147_180_369_123_8;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    // 1.5 x 2^52: adding it to a small number leaves the nearest integer in the lowest bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    // `f64::max` would take twice as long because of its handling of NaN.
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

    /// The predictions at one position, with its chunks reduced last to first.
    fn compared<'a>(conditions: &[&'a [f32]]) -> Option<Vec<Prediction<'a>>> {
        let comparison = Comparison::of(conditions, conditions[0].len(), |chunks| {
            chunks.iter_mut().rev().for_each(VocabChunk::reduce);
        });
        assert_eq!(comparison.positions(), 1);
        comparison.at(0)
    }

    fn logits(vocabulary: u32, seed: u32) -> Vec<f32> {
        (0..vocabulary)
            .map(|token| (token.wrapping_mul(2_654_435_761).wrapping_add(seed) % 4001) as f32 / 100.0 - 20.0)
            .collect()
    }

    #[test]
    fn probabilities_add_up_to_one_for_logits_of_any_size() {
        for shift in [0.0, 1e4, -1e4] {
            let logits = [1.0f32, 2.0, 0.5].map(|logit| logit + shift);
            let predictions = compared(&[&logits]).unwrap();
            let sum: f64 = (0..3).map(|token| predictions[0].ln(token).unwrap().exp()).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        }
    }

    #[test]
    fn the_divergence_equals_its_definition_and_is_zero_between_equal_logits() {
        let (one, two) = ([0.0f32, 3.0f32.ln()], [0.0f32, 0.0]);
        let predictions = compared(&[&one, &two, &one]).unwrap();
        let expected = 0.25 * (0.25f64 / 0.5).ln() + 0.75 * (0.75f64 / 0.5).ln();
        assert_eq!(predictions[0].divergence(), 0.0);
        assert!((predictions[1].divergence() - expected).abs() < 1e-7);
        assert_eq!(predictions[2].divergence(), 0.0);
    }

    #[test]
    fn the_exponential_equals_the_library_function_to_a_few_units_in_the_last_place() {
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
    fn a_prediction_equals_its_definition_for_vocabularies_of_any_length() {
        let chunk = CHUNK as u32;
        for vocabulary in [1, 7, 8, 9, 1000, 1003, chunk, chunk + 1, 3 * chunk - 5] {
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
    fn positions_and_conditions_do_not_affect_each_other() {
        let vocabulary = CHUNK as u32 + 300;
        let (one, two) = (logits(2 * vocabulary, 5), logits(2 * vocabulary, 6));
        let comparison = Comparison::of(&[&one, &two], vocabulary as usize, |chunks| {
            chunks.iter_mut().for_each(VocabChunk::reduce);
        });
        assert_eq!(comparison.positions(), 2);
        assert!(comparison.at(2).is_none());
        for position in 0..2 {
            let here = position * vocabulary as usize..(position + 1) * vocabulary as usize;
            let alone = compared(&[&one[here.clone()], &two[here]]).unwrap();
            for (alone, together) in alone.iter().zip(comparison.at(position).unwrap()) {
                assert_eq!(alone.ln(9), together.ln(9));
                assert_eq!(alone.divergence().to_bits(), together.divergence().to_bits());
                assert_eq!(alone.top(3), together.top(3));
            }
        }
    }

    #[test]
    fn the_likeliest_tokens_come_first_and_ties_are_ordered_by_id() {
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
    fn the_likeliest_tokens_are_found_in_every_chunk() {
        let mut logits = vec![0.0f32; 3 * CHUNK];
        for (token, logit) in [(5, 1.0), (CHUNK + 3, 4.0), (2 * CHUNK, 4.0), (3 * CHUNK - 1, 3.0)] {
            logits[token] = logit;
        }
        let predictions = compared(&[&logits]).unwrap();
        assert_eq!(predictions[0].likeliest(), Some(CHUNK as u32 + 3));
        let ids: Vec<usize> = predictions[0].top(5).iter().map(|best| best.0 as usize).collect();
        assert_eq!(ids, [CHUNK + 3, 2 * CHUNK, 3 * CHUNK - 1, 5, 0]);
    }

    #[test]
    fn logits_that_are_not_finite_give_no_prediction() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(compared(&[&[0.0, bad]]).is_none());
            assert!(compared(&[&[0.0, 1.0], &[bad, 0.0]]).is_none());
        }
        let nothing = Comparison::of(&[&[]], 0, |chunks| assert!(chunks.is_empty()));
        assert!(nothing.at(0).is_none());
    }
}
