//! From logits to probabilities, in f64: how likely a token was, and how far two predictions are apart. It knows no engine.

/// Numbers summed side by side, always in the same order, so that the compiler may use whatever instructions there are and the
/// sums stay the same on all of them.
const LANES: usize = 8;

/// The prediction after one row: V logits, and what turns them into logarithms of probabilities.
pub(super) struct Prediction<'a> {
    logits: &'a [f32],
    max: f32,
    /// ln of the sum of exp(logit - max).
    ln_sum: f64,
}

impl<'a> Prediction<'a> {
    /// Writes exp(logit - max) of every token into `weights`. `None` where a logit is not finite, or there are none.
    pub fn of(logits: &'a [f32], weights: &mut Vec<f64>) -> Option<Self> {
        let mut lanes = [f32::NEG_INFINITY; LANES];
        let mut finite = [true; LANES];
        for_each_lane(logits.len(), |lane, place| {
            let logit = logits[place];
            finite[lane] &= logit.is_finite();
            lanes[lane] = if logit > lanes[lane] { logit } else { lanes[lane] };
        });
        let max = lanes.into_iter().fold(f32::NEG_INFINITY, f32::max);
        if logits.is_empty() || finite.contains(&false) {
            return None;
        }
        weights.resize(logits.len(), 0.0);
        let shift = f64::from(max);
        for (weight, &logit) in weights.iter_mut().zip(logits) {
            *weight = exp_of_negative(f64::from(logit) - shift);
        }
        let ln_sum = libm::log(sum(weights.len(), |place| weights[place]));
        Some(Self { logits, max, ln_sum })
    }

    /// ln of the probability of `token`.
    pub fn ln(&self, token: u32) -> Option<f64> {
        self.logits.get(token as usize).map(|&logit| self.ln_of(logit))
    }

    fn ln_of(&self, logit: f32) -> f64 {
        f64::from(logit) - f64::from(self.max) - self.ln_sum
    }

    /// KL(self || other) in nats, `weights` being those of `self`. Equal logits give exactly 0.
    pub fn divergence(&self, weights: &[f64], other: &Prediction<'_>) -> f64 {
        let places = weights.len().min(self.logits.len()).min(other.logits.len());
        let (weights, own, their) = (&weights[..places], &self.logits[..places], &other.logits[..places]);
        let sum = sum(places, |place| {
            weights[place] * (self.ln_of(own[place]) - other.ln_of(their[place]))
        });
        // Rounding may leave a difference of nothing just below it.
        (sum * libm::exp(-self.ln_sum)).max(0.0)
    }

    /// The likeliest token; of equals the one with the smallest id.
    pub fn likeliest(&self) -> Option<u32> {
        let place = self.logits.iter().position(|&logit| logit == self.max)?;
        u32::try_from(place).ok()
    }

    /// The `count` likeliest tokens, the likeliest first; of equals the one with the smaller id.
    pub fn top(&self, count: usize) -> Vec<(u32, f64)> {
        let mut best: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
        if count == 0 {
            return Vec::new();
        }
        for (token, &logit) in self.logits.iter().enumerate() {
            if best.len() == count && best.last().is_some_and(|last| logit <= last.1) {
                continue;
            }
            let place = best.partition_point(|other| other.1 >= logit);
            best.insert(place, (token as u32, logit));
            best.truncate(count);
        }
        best.into_iter()
            .map(|(token, logit)| (token, self.ln_of(logit)))
            .collect()
    }
}

/// Calls `each` with every place and the lane it belongs to, lane after lane and place after place.
#[inline(always)]
fn for_each_lane(places: usize, mut each: impl FnMut(usize, usize)) {
    let whole = places / LANES * LANES;
    for first in (0..whole).step_by(LANES) {
        for lane in 0..LANES {
            each(lane, first + lane);
        }
    }
    for place in whole..places {
        each(place - whole, place);
    }
}

/// The sum of `of` over all places, in an order that depends on their number alone.
#[inline(always)]
fn sum(places: usize, of: impl Fn(usize) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    for_each_lane(places, |lane, place| lanes[lane] += of(place));
    lanes.into_iter().sum()
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
    let shifted = x.max(-700.0) * std::f64::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (x.max(-700.0) - k * LN2_HIGH) - k * LN2_LOW;
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

    #[test]
    fn probabilities_add_up_to_one_however_large_the_logits() {
        for shift in [0.0, 1e4, -1e4] {
            let logits = [1.0f32, 2.0, 0.5].map(|logit| logit + shift);
            let mut weights = Vec::new();
            let prediction = Prediction::of(&logits, &mut weights).unwrap();
            let sum: f64 = (0..3).map(|token| prediction.ln(token).unwrap().exp()).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        }
    }

    #[test]
    fn the_divergence_is_the_sum_of_its_definition_and_nothing_between_equals() {
        let (one, two) = ([0.0f32, 3.0f32.ln()], [0.0f32, 0.0]);
        let (mut weights, mut others) = (Vec::new(), Vec::new());
        let (p, q) = (
            Prediction::of(&one, &mut weights).unwrap(),
            Prediction::of(&two, &mut others).unwrap(),
        );
        let expected = 0.25 * (0.25f64 / 0.5).ln() + 0.75 * (0.75f64 / 0.5).ln();
        assert!((p.divergence(&weights, &q) - expected).abs() < 1e-7);
        let same = Prediction::of(&one, &mut others).unwrap();
        assert_eq!(p.divergence(&weights, &same), 0.0);
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
        for vocabulary in [1, 7, 8, 9, 1000, 1003] {
            let logits = |seed: u32| -> Vec<f32> {
                (0..vocabulary)
                    .map(|token: u32| {
                        (token.wrapping_mul(2_654_435_761).wrapping_add(seed) % 4001) as f32 / 100.0 - 20.0
                    })
                    .collect()
            };
            let (one, two) = (logits(1), logits(77));
            let probabilities = |logits: &[f32]| -> Vec<f64> {
                let weights: Vec<f64> = logits.iter().map(|&logit| f64::from(logit).exp()).collect();
                let sum: f64 = weights.iter().sum();
                weights.iter().map(|weight| weight / sum).collect()
            };
            let (p, q) = (probabilities(&one), probabilities(&two));
            let expected: f64 = p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum();
            let (mut weights, mut others) = (Vec::new(), Vec::new());
            let found = Prediction::of(&one, &mut weights).unwrap();
            let other = Prediction::of(&two, &mut others).unwrap();
            assert!((found.divergence(&weights, &other) - expected).abs() < 1e-9 * (1.0 + expected));
            assert!((found.ln(0).unwrap() - p[0].ln()).abs() < 1e-9);
            assert_eq!(found.likeliest(), found.top(1).first().map(|best| best.0));
        }
    }

    #[test]
    fn the_likeliest_come_first_and_of_equals_the_smaller_id() {
        let mut weights = Vec::new();
        let prediction = Prediction::of(&[1.0, 3.0, 2.0, 3.0], &mut weights).unwrap();
        let ids = |count| {
            prediction
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
    fn logits_that_are_not_finite_predict_nothing() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(Prediction::of(&[0.0, bad], &mut Vec::new()).is_none());
        }
        assert!(Prediction::of(&[], &mut Vec::new()).is_none());
    }
}
