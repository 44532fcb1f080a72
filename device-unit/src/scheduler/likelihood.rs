//! From logits to probabilities, in f64: how likely a token was, and how far two predictions are apart. It knows no engine.

/// The prediction after one row: V logits, and what turns them into logarithms of probabilities.
pub(super) struct Prediction<'a> {
    logits: &'a [f32],
    max: f64,
    /// ln of the sum of exp(logit - max).
    ln_sum: f64,
}

impl<'a> Prediction<'a> {
    /// Writes exp(logit - max) of every token into `weights`. `None` where a logit is not finite, or there are none.
    pub fn of(logits: &'a [f32], weights: &mut Vec<f64>) -> Option<Self> {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if logits.is_empty() || !logits.iter().all(|logit| logit.is_finite()) {
            return None;
        }
        let max = f64::from(max);
        weights.clear();
        weights.extend(logits.iter().map(|&logit| libm::exp(f64::from(logit) - max)));
        let ln_sum = libm::log(weights.iter().sum());
        Some(Self { logits, max, ln_sum })
    }

    /// ln of the probability of `token`.
    pub fn ln(&self, token: u32) -> Option<f64> {
        self.logits.get(token as usize).map(|&logit| self.ln_of(logit))
    }

    fn ln_of(&self, logit: f32) -> f64 {
        f64::from(logit) - self.max - self.ln_sum
    }

    /// KL(self || other) in nats, `weights` being those of `self`. Equal logits give exactly 0.
    pub fn divergence(&self, weights: &[f64], other: &Prediction<'_>) -> f64 {
        let both = self.logits.iter().zip(other.logits);
        let sum: f64 = both
            .zip(weights)
            .map(|((&own, &their), weight)| weight * (self.ln_of(own) - other.ln_of(their)))
            .sum();
        // Rounding may leave a difference of nothing just below it.
        (sum * libm::exp(-self.ln_sum)).max(0.0)
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
