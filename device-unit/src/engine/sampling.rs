//! Chooses the next token from logits.
//!
//! The default is greedy: the largest logit, on a tie the lowest token id. Random choices use a generator with a recorded seed and
//! exponentials from `libm`, so a seed gives the same tokens on every platform: SplitMix64 (Steele, Lea, Flood 2014), initialised with the
//! seed, of which each token uses one output, its upper 53 bits times 2^-53. The keys of the settings and the order of the steps
//! (temperature, repetition penalty, then top-p or top-k) are those of the stock unit (PROTOCOL 5.2). Its default, a random choice
//! among the ten likeliest, is not used, because experiments must be repeatable.

use std::cmp::Ordering;

use serde_json::{Map, Value};
use softprefix_core::prefix::split_mix;

/// Sampling settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Which tokens are candidates.
    pub choice: Choice,
    /// Divides the logits before a random choice. 1 changes nothing.
    pub temperature: f64,
    /// Makes recently chosen tokens less likely.
    pub repetition: Option<Repetition>,
    /// Seed of the generator.
    pub seed: u64,
}

/// Which tokens are candidates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Choice {
    /// The likeliest token only.
    Greedy,
    /// The k likeliest tokens.
    TopK(usize),
    /// The fewest likeliest tokens whose probabilities add up to p.
    TopP(f64),
}

/// A penalty on recently chosen tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Repetition {
    /// Positive logits are divided by its square root, negative ones multiplied by it.
    pub penalty: f64,
    /// Number of recent tokens that are penalised.
    pub window: usize,
}

/// Why no token can be chosen, or a setting is invalid.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SamplingError {
    /// A sampling key has a value of the wrong type or out of range.
    #[error("{key} is {value}; give {wanted}")]
    BadSetting {
        /// The key, such as `temperature`.
        key: &'static str,
        /// The given value.
        value: String,
        /// The allowed values.
        wanted: &'static str,
    },
    /// All logits are NaN or minus infinity.
    #[error(
        "the model gave no usable number for any token; a prefix of smaller magnitude may help, or the model file is damaged"
    )]
    NoFiniteLogits,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            choice: Choice::Greedy,
            temperature: 1.0,
            repetition: None,
            seed: 0,
        }
    }
}

impl Sampling {
    /// Reads the sampling keys of a model card or a set-up, and ignores other keys. Without any the choice is greedy.
    ///
    /// A switch (`enable_top_k_sampling`) that is absent is on if its value (`top_k`) is present. Top-p takes precedence over top-k. If both
    /// are off, the choice is greedy at any temperature. Clients turn things off with 0: a temperature or top-p of 0 is greedy, a top-k or
    /// penalty of 0 is off.
    ///
    /// # Errors
    /// [`SamplingError::BadSetting`] for a value of the wrong type or out of range, even if its switch is off.
    pub fn from_settings(settings: &Map<String, Value>) -> Result<Self, SamplingError> {
        let settings = Settings(settings);
        let temperature = settings.number("temperature", 0.7, "a number of at least 0", |t| t >= 0.0)?;
        let top_p = settings.number("top_p", 0.7, "a number from 0 to 1", |p| (0.0..=1.0).contains(&p))?;
        let top_k = settings.whole("top_k", 10, "a whole number")?;
        let penalty = settings.number("repetition_penalty", 1.2, "a number of at least 0", |p| p >= 0.0)?;
        let window = settings.whole("penalty_window", 50, "a whole number")?;
        let seed = settings.whole("seed", 0, "a whole number")?;
        let warm = settings.switch("enable_temperature", "temperature")?;
        let (by_p, by_k) = (
            settings.switch("enable_top_p_sampling", "top_p")?,
            settings.switch("enable_top_k_sampling", "top_k")?,
        );
        let choice = if (warm && temperature == 0.0) || (by_p && top_p == 0.0) {
            Choice::Greedy
        } else if by_p {
            Choice::TopP(top_p)
        } else if by_k && top_k > 0 {
            Choice::TopK(usize::try_from(top_k).unwrap_or(usize::MAX))
        } else {
            Choice::Greedy
        };
        let repetition = settings
            .switch("enable_repetition_penalty", "repetition_penalty")?
            .then(|| Repetition {
                penalty,
                window: usize::try_from(window).unwrap_or(usize::MAX),
            })
            .filter(|repetition| repetition.penalty > 0.0);
        let temperature = if warm && temperature > 0.0 { temperature } else { 1.0 };
        Ok(Self {
            choice,
            temperature,
            repetition,
            seed,
        })
    }
}

/// The settings, with typed access.
struct Settings<'a>(&'a Map<String, Value>);

impl Settings<'_> {
    fn bad(key: &'static str, value: &Value, wanted: &'static str) -> SamplingError {
        SamplingError::BadSetting {
            key,
            value: value.to_string(),
            wanted,
        }
    }

    fn number(
        &self,
        key: &'static str,
        absent: f64,
        wanted: &'static str,
        fits: impl Fn(f64) -> bool,
    ) -> Result<f64, SamplingError> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(absent),
            Some(value) => value
                .as_f64()
                .filter(|&v| v.is_finite() && fits(v))
                .ok_or_else(|| Self::bad(key, value, wanted)),
        }
    }

    fn whole(&self, key: &'static str, absent: u64, wanted: &'static str) -> Result<u64, SamplingError> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(absent),
            Some(value) => value.as_u64().ok_or_else(|| Self::bad(key, value, wanted)),
        }
    }

    fn switch(&self, key: &'static str, value_key: &str) -> Result<bool, SamplingError> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(self.0.get(value_key).is_some_and(|value| !value.is_null())),
            Some(value) => value.as_bool().ok_or_else(|| Self::bad(key, value, "true or false")),
        }
    }
}

/// Chooses the tokens of one text.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    state: u64,
    /// The tokens chosen so far; kept only with a repetition penalty.
    chosen: Vec<u32>,
}

impl Sampler {
    /// Creates a sampler with its generator at the seed.
    pub fn new(sampling: Sampling) -> Self {
        Self {
            sampling,
            state: sampling.seed,
            chosen: Vec::new(),
        }
    }

    /// Chooses the next token. NaN is never chosen.
    ///
    /// # Errors
    /// [`SamplingError::NoFiniteLogits`] if all logits are NaN or minus infinity.
    pub fn pick(&mut self, logits: &[f32]) -> Result<u32, SamplingError> {
        let token = match self.sampling.repetition {
            None => self.choose(logits)?,
            Some(repetition) => {
                let mut penalised = logits.to_vec();
                self.penalise(repetition, &mut penalised);
                self.choose(&penalised)?
            }
        };
        if self.sampling.repetition.is_some() {
            self.chosen.push(token);
        }
        Ok(token)
    }

    fn penalise(&self, repetition: Repetition, logits: &mut [f32]) {
        let mut lately = self.chosen[self.chosen.len().saturating_sub(repetition.window)..].to_vec();
        lately.sort_unstable();
        lately.dedup();
        let factor = repetition.penalty.sqrt() as f32;
        for token in lately {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = if *logit < 0.0 { *logit * factor } else { *logit / factor };
            }
        }
    }

    fn choose(&mut self, logits: &[f32]) -> Result<u32, SamplingError> {
        let best = greedy(logits).ok_or(SamplingError::NoFiniteLogits)?;
        match self.sampling.choice {
            Choice::Greedy => Ok(best),
            Choice::TopK(k) => {
                let highest = logits[best as usize];
                let mut candidates = Candidates::new(logits);
                let few = candidates.best(k.min(logits.len()));
                let weights: Vec<f64> = few.iter().map(|&(_, logit)| self.weight(logit, highest)).collect();
                Ok(self.draw(few, &weights))
            }
            Choice::TopP(p) => {
                let highest = logits[best as usize];
                let mut candidates = Candidates::new(logits);
                let all = candidates
                    .0
                    .iter()
                    .map(|&(_, logit)| self.weight(logit, highest))
                    .sum::<f64>();
                // A few tokens are nearly always enough, so the candidates are sorted in growing portions.
                let mut count = 64;
                loop {
                    let few = candidates.best(count);
                    let mut weights = Vec::new();
                    let mut mass = 0.0;
                    for &(_, logit) in few {
                        weights.push(self.weight(logit, highest));
                        mass += weights[weights.len() - 1];
                        if mass >= p * all {
                            return Ok(self.draw(few, &weights));
                        }
                    }
                    if few.len() < count {
                        return Ok(self.draw(few, &weights));
                    }
                    count *= 16;
                }
            }
        }
    }

    /// Returns a value proportional to the token's probability.
    fn weight(&self, logit: f32, highest: f32) -> f64 {
        let bounded = |v: f32| f64::from(v.clamp(f32::MIN, f32::MAX));
        libm::exp((bounded(logit) - bounded(highest)) / self.sampling.temperature)
    }

    /// Draws one of the first `weights.len()` candidates by weight.
    fn draw(&mut self, candidates: &[(u32, f32)], weights: &[f64]) -> u32 {
        let mut left = self.uniform() * weights.iter().sum::<f64>();
        for (&(token, _), weight) in candidates.iter().zip(weights) {
            left -= weight;
            if left < 0.0 {
                return token;
            }
        }
        // Reached by rounding only.
        candidates.first().map_or(0, |&(token, _)| token)
    }

    /// Returns a uniform number in [0, 1).
    fn uniform(&mut self) -> f64 {
        (split_mix(&mut self.state) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Returns the token with the largest logit, the lowest id on a tie; `None` if all logits are NaN or minus infinity.
pub fn greedy(logits: &[f32]) -> Option<u32> {
    /// Logits per piece. Few pieces hold a new maximum, and the test for one vectorizes.
    const PIECE: usize = 64;
    let mut highest = f32::NEG_INFINITY;
    let mut best = None;
    for (number, piece) in logits.chunks(PIECE).enumerate() {
        // Comparisons with NaN are false.
        if piece.iter().fold(false, |any, logit| any | (*logit > highest)) {
            for (at, &logit) in piece.iter().enumerate() {
                if logit > highest {
                    (highest, best) = (logit, Some(number * PIECE + at));
                }
            }
        }
    }
    best.map(|token| token as u32)
}

/// Tokens with their logits, without NaN and minus infinity.
struct Candidates(Vec<(u32, f32)>);

impl Candidates {
    fn new(logits: &[f32]) -> Self {
        let usable = logits
            .iter()
            .enumerate()
            .filter(|(_, logit)| **logit > f32::NEG_INFINITY);
        Self(usable.map(|(token, &logit)| (token as u32, logit)).collect())
    }

    /// Returns the `count` likeliest candidates (or all), best first, ties by id.
    fn best(&mut self, count: usize) -> &[(u32, f32)] {
        let order =
            |a: &(u32, f32), b: &(u32, f32)| b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal).then(a.0.cmp(&b.0));
        let count = count.min(self.0.len());
        if count < self.0.len() {
            self.0.select_nth_unstable_by(count, order);
        }
        self.0[..count].sort_unstable_by(order);
        &self.0[..count]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(value: Value) -> Result<Sampling, SamplingError> {
        Sampling::from_settings(value.as_object().unwrap())
    }

    fn picks(sampling: Sampling, logits: &[f32], count: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling);
        (0..count).map(|_| sampler.pick(logits).unwrap()).collect()
    }

    #[test]
    fn greedy_takes_the_largest_logit_and_the_lowest_id_on_a_tie() {
        assert_eq!(greedy(&[0.0, 3.0, -1.0, 3.0]), Some(1));
        assert_eq!(greedy(&[-5.0]), Some(0));
        assert_eq!(greedy(&[f32::INFINITY, f32::MAX]), Some(0));
    }

    #[test]
    fn nan_is_never_chosen_and_logits_of_nan_alone_are_an_error() {
        let logits = [f32::NAN, 1.0, f32::NAN, 2.0, f32::NEG_INFINITY];
        for choice in [Choice::Greedy, Choice::TopK(1), Choice::TopP(0.1)] {
            assert_eq!(
                picks(
                    Sampling {
                        choice,
                        ..Sampling::default()
                    },
                    &logits,
                    1
                ),
                [3]
            );
        }
        for choice in [Choice::Greedy, Choice::TopK(5), Choice::TopP(1.0)] {
            let mut sampler = Sampler::new(Sampling {
                choice,
                ..Sampling::default()
            });
            assert_eq!(
                sampler.pick(&[f32::NAN, f32::NEG_INFINITY]),
                Err(SamplingError::NoFiniteLogits)
            );
            assert_eq!(sampler.pick(&[]), Err(SamplingError::NoFiniteLogits));
        }
    }

    #[test]
    fn zero_turns_a_setting_off_with_and_without_its_switch() {
        for zeros in [
            json!({"temperature": 0, "top_p": 0.9}),
            json!({"temperature": 0.0, "top_k": 40}),
            json!({"top_k": 0}),
            json!({"top_p": 0, "top_k": 40}),
            json!({"temperature": 0, "top_k": 0, "repetition_penalty": 0}),
            json!({"enable_temperature": false, "temperature": 0, "enable_top_k_sampling": false, "top_k": 0,
                   "enable_repetition_penalty": false, "repetition_penalty": 0}),
            json!({"enable_temperature": true, "temperature": 0, "enable_top_k_sampling": true, "top_k": 10,
                   "enable_repetition_penalty": true, "repetition_penalty": 0}),
        ] {
            assert_eq!(settings(zeros.clone()).unwrap(), Sampling::default(), "{zeros}");
        }
        let other = settings(json!({"enable_temperature": false, "temperature": 0, "top_k": 5})).unwrap();
        assert_eq!(
            other.choice,
            Choice::TopK(5),
            "a temperature that is off changes nothing"
        );
    }

    #[test]
    fn the_default_is_greedy() {
        for card in [
            json!({}),
            json!({"max_token_len": 3, "enable_top_k_sampling": false, "top_k": 40}),
        ] {
            assert_eq!(settings(card).unwrap().choice, Choice::Greedy);
        }
    }

    #[test]
    fn the_stock_units_keys_are_read() {
        let sampling = settings(json!({
            "enable_temperature": true, "temperature": 0.5, "enable_top_k_sampling": true, "top_k": 3,
            "enable_repetition_penalty": true, "seed": 9
        }))
        .unwrap();
        let repetition = Some(Repetition {
            penalty: 1.2,
            window: 50,
        });
        assert_eq!(
            sampling,
            Sampling {
                choice: Choice::TopK(3),
                temperature: 0.5,
                repetition,
                seed: 9
            }
        );
        let both = settings(json!({"enable_top_k_sampling": true, "enable_top_p_sampling": true})).unwrap();
        assert_eq!(both.choice, Choice::TopP(0.7));
        assert_eq!(settings(json!({"top_k": 4})).unwrap().choice, Choice::TopK(4));
    }

    #[test]
    fn invalid_values_are_refused_with_the_key() {
        for (key, value) in [
            ("temperature", json!(-0.5)),
            ("temperature", json!("hot")),
            ("top_k", json!(2.5)),
            ("top_p", json!(1.5)),
            ("enable_top_p_sampling", json!(1)),
            ("repetition_penalty", json!(-1)),
            ("seed", json!(-3)),
        ] {
            let sentence = settings(json!({key: value})).unwrap_err().to_string();
            assert!(sentence.contains(key), "{sentence}");
        }
    }

    #[test]
    fn a_seed_repeats_its_tokens_and_another_gives_others() {
        let logits: Vec<f32> = (0..1000).map(|i| ((i * 7919) % 97) as f32 / 40.0).collect();
        for choice in [Choice::TopK(50), Choice::TopP(0.9)] {
            let sampling = Sampling {
                choice,
                seed: 1,
                ..Sampling::default()
            };
            assert_eq!(picks(sampling, &logits, 50), picks(sampling, &logits, 50));
            assert_ne!(
                picks(sampling, &logits, 50),
                picks(Sampling { seed: 2, ..sampling }, &logits, 50)
            );
        }
    }

    #[test]
    fn the_tokens_of_these_seeds_never_change() {
        let logits: Vec<f32> = (0..500).map(|i| ((i * 7919) % 97) as f32 / 20.0).collect();
        let top_k = Sampling {
            choice: Choice::TopK(20),
            temperature: 0.8,
            repetition: None,
            seed: 42,
        };
        assert_eq!(picks(top_k, &logits, 6), [474, 255, 25, 122, 61, 244]);
        let top_p = Sampling {
            choice: Choice::TopP(0.5),
            ..top_k
        };
        assert_eq!(picks(top_p, &logits, 6), [197, 122, 280, 50, 158, 452]);
    }

    #[test]
    fn top_k_draws_by_probability_from_the_k_likeliest() {
        let logits = [0.0, 1.0_f32.ln(), 2.0_f32.ln() + 10.0, 10.0, 3.0];
        let sampling = Sampling {
            choice: Choice::TopK(2),
            seed: 5,
            ..Sampling::default()
        };
        let picks = picks(sampling, &logits, 6000);
        assert!(picks.iter().all(|token| [2, 3].contains(token)));
        let share = picks.iter().filter(|&&token| token == 2).count() as f64 / 6000.0;
        assert!((share - 2.0 / 3.0).abs() < 0.02, "{share}");
    }

    #[test]
    fn top_p_keeps_the_fewest_tokens_that_reach_p_even_if_they_are_many() {
        let even = vec![0.0_f32; 5000];
        let sampling = Sampling {
            choice: Choice::TopP(0.5),
            seed: 3,
            ..Sampling::default()
        };
        let picks = picks(sampling, &even, 2000);
        assert!(picks.iter().all(|&token| token < 2500) && picks.iter().any(|&token| token > 2300));
    }

    #[test]
    fn a_low_temperature_is_nearly_greedy() {
        let sampling = Sampling {
            choice: Choice::TopK(3),
            temperature: 0.01,
            seed: 8,
            ..Sampling::default()
        };
        assert!(picks(sampling, &[1.0, 2.0, 1.5], 200).iter().all(|&token| token == 1));
    }

    #[test]
    fn a_repetition_penalty_avoids_recently_chosen_tokens() {
        let repetition = Some(Repetition {
            penalty: 4.0,
            window: 2,
        });
        let sampling = Sampling {
            repetition,
            ..Sampling::default()
        };
        assert_eq!(picks(sampling, &[3.0, 2.9, 2.8, -1.0], 6), [0, 1, 2, 0, 1, 2]);
        let negative = Sampling {
            repetition: Some(Repetition {
                penalty: 4.0,
                window: 1,
            }),
            ..sampling
        };
        assert_eq!(picks(negative, &[-1.0, -1.5], 4), [0, 1, 0, 1]);
    }

    #[test]
    fn infinities_count_as_the_largest_numbers() {
        let sampling = Sampling {
            choice: Choice::TopK(4),
            seed: 1,
            ..Sampling::default()
        };
        assert!(
            picks(sampling, &[0.0, f32::INFINITY, 1.0], 50)
                .iter()
                .all(|&token| token == 1)
        );
    }
}
