//! How far a prefix moved the model itself, where the text may still look the same: figures over a text's tokens, from what a unit
//! scored. It knows no unit and no text.

use serde::{Deserialize, Serialize};

use crate::protocol::extension::{Compared, Scored};

/// KL(base || prefixed) over a text's tokens, in nats, and how often the likeliest token stayed the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DeepMeasures {
    pub kl_mean: f64,
    /// The 95th percentile, linear between the two nearest values.
    pub kl_p95: f64,
    pub kl_max: f64,
    /// Share of tokens at which the likeliest token is the base's, 0 to 1.
    pub same_top: f64,
    /// Of the text without the prefix (or with the one compared against).
    pub perplexity_base: f64,
    /// Of the same text with it.
    pub perplexity_prefixed: f64,
}

impl DeepMeasures {
    /// Of one of the prefixes that were scored; `None` where there are no tokens, or no such prefix.
    pub fn of(scored: &Scored, prefix: usize) -> Option<Self> {
        let compared: &Compared = scored.prefixed.get(prefix)?;
        let count = compared.kl.len();
        if count == 0 {
            return None;
        }
        let mut sorted = compared.kl.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let same = compared.same_top.iter().filter(|&&same| same).count();
        Some(Self {
            kl_mean: mean(&compared.kl),
            kl_p95: percentile(&sorted, 0.95),
            kl_max: sorted[count - 1],
            same_top: same as f64 / count as f64,
            perplexity_base: scored.base.perplexity,
            perplexity_prefixed: compared.scores.perplexity,
        })
    }
}

/// exp of the mean of `-logprobs`; 1 for no tokens at all, since nothing surprised.
pub fn perplexity(logprobs: &[f64]) -> f64 {
    (-mean(logprobs)).exp()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let place = share * last as f64;
    let below = place.floor() as usize;
    sorted[below] + (sorted[(below + 1).min(last)] - sorted[below]) * (place - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::extension::Scores;

    fn scores(logprobs: &[f64]) -> Scores {
        Scores {
            logprobs: logprobs.to_vec(),
            perplexity: perplexity(logprobs),
            soft_prefix: None,
            top: Vec::new(),
        }
    }

    #[test]
    fn figures_over_the_tokens_are_those_of_numpy() {
        // numpy.percentile([0, 1, 2, 3, 10], 95) = 8.6
        let scored = Scored {
            base: scores(&[-1.0; 5]),
            prefixed: vec![Compared {
                kl: vec![3.0, 0.0, 10.0, 1.0, 2.0],
                same_top: vec![true, true, false, true, false],
                scores: scores(&[-2.0, -4.0, -3.0, -3.0, -3.0]),
            }],
            tokens: Vec::new(),
        };
        let found = DeepMeasures::of(&scored, 0).unwrap();
        assert_eq!((found.kl_mean, found.kl_max, found.same_top), (3.2, 10.0, 0.6));
        assert!((found.kl_p95 - 8.6).abs() < 1e-12);
        assert!((found.perplexity_base - 1f64.exp()).abs() < 1e-12);
        assert!((found.perplexity_prefixed - 3f64.exp()).abs() < 1e-12);
        assert_eq!(DeepMeasures::of(&scored, 1), None);
    }

    #[test]
    fn a_certain_text_has_a_perplexity_of_one_and_a_fair_coin_two() {
        assert_eq!(perplexity(&[0.0, 0.0]), 1.0);
        assert!((perplexity(&[0.5f64.ln(); 7]) - 2.0).abs() < 1e-12);
        assert_eq!(perplexity(&[]), 1.0);
    }
}
