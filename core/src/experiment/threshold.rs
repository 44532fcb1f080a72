//! Finds the largest magnitude whose effect stays within a budget, in about a dozen runs: both ends first, then halving the
//! interval on a log scale. It decides what to run next and knows nothing of running it.

use serde::{Deserialize, Serialize};

use super::plan::six_digits;
use crate::compare::{Measure, Measures};

/// The search's question.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// What is measured.
    pub measure: Measure,
    /// The least value that is still within the budget (for similarities: more is closer to the baseline).
    pub at_least: f64,
}

impl Budget {
    /// Whether a text with these measures is within the budget; `None` where it is too short for the measure.
    pub fn holds(&self, measures: &Measures) -> Option<bool> {
        self.measure.value(measures).map(|value| value >= self.at_least)
    }
}

/// A search in progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThresholdSearch {
    low: f64,
    high: f64,
    most_runs: usize,
    /// Every magnitude tried, in order, and whether it was within the budget.
    tried: Vec<(f64, bool)>,
}

/// What the search has found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Threshold {
    /// Within the budget up to `within`, over it at `beyond`.
    Between { within: f64, beyond: f64 },
    /// Even the smallest magnitude of the range is over the budget.
    BelowRange { smallest: f64 },
    /// Even the largest magnitude of the range is within the budget.
    AboveRange { largest: f64 },
    /// Nothing was tried yet, or only one end.
    Unknown,
}

/// Why a search cannot start.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ThresholdError {
    #[error(
        "the range from {low} to {high} cannot be searched: both ends must be above 0 and the first be the smaller. Correct it."
    )]
    BadRange { low: f64, high: f64 },
    #[error("{runs} runs are too few to search a range: at least 3 are needed.")]
    TooFewRuns { runs: usize },
}

/// Where the ends of the interval are this close, no person sees a difference: 1 %.
const CLOSE: f64 = 1.01;

impl ThresholdSearch {
    /// A search between two magnitudes with at most `most_runs` runs (12 narrow a range of 1 : 10,000 down to 1 %).
    ///
    /// # Errors
    /// [`ThresholdError`].
    pub fn new(low: f64, high: f64, most_runs: usize) -> Result<Self, ThresholdError> {
        if !(low > 0.0 && low < high && high.is_finite()) {
            return Err(ThresholdError::BadRange { low, high });
        }
        if most_runs < 3 {
            return Err(ThresholdError::TooFewRuns { runs: most_runs });
        }
        Ok(Self {
            low,
            high,
            most_runs,
            tried: Vec::new(),
        })
    }

    /// The magnitude to run next; `None` when the search is over.
    pub fn next(&self) -> Option<f64> {
        if self.tried.len() >= self.most_runs {
            return None;
        }
        match (self.result_at(self.high), self.result_at(self.low)) {
            (None, _) => return Some(self.high),
            (Some(true), _) => return None,
            (Some(false), None) => return Some(self.low),
            (Some(false), Some(false)) => return None,
            (Some(false), Some(true)) => {}
        }
        let (within, beyond) = self.interval();
        let middle = six_digits(libm::sqrt(within * beyond));
        (beyond / within > CLOSE && middle > within && middle < beyond).then_some(middle)
    }

    /// Tells the search what a run at `magnitude` gave.
    pub fn record(&mut self, magnitude: f64, within_budget: bool) {
        self.tried.push((magnitude, within_budget));
    }

    /// Every magnitude tried, in order, and whether it was within the budget.
    pub fn tried(&self) -> &[(f64, bool)] {
        &self.tried
    }

    /// Runs that may still come.
    pub fn most_left(&self) -> usize {
        if self.next().is_some() {
            self.most_runs - self.tried.len()
        } else {
            0
        }
    }

    /// What is known by now.
    pub fn found(&self) -> Threshold {
        match (self.result_at(self.low), self.result_at(self.high)) {
            (_, Some(true)) => Threshold::AboveRange { largest: self.high },
            (Some(false), _) => Threshold::BelowRange { smallest: self.low },
            (Some(true), Some(false)) => {
                let (within, beyond) = self.interval();
                Threshold::Between { within, beyond }
            }
            _ => Threshold::Unknown,
        }
    }

    /// True if some magnitude was over the budget although a larger one was within it: then there is no one threshold, and
    /// [`Threshold::Between`] is one of several crossings.
    pub fn is_contradictory(&self) -> bool {
        let over = self
            .tried
            .iter()
            .filter(|(_, within)| !within)
            .map(|(at, _)| *at)
            .fold(f64::INFINITY, f64::min);
        self.tried.iter().any(|(at, within)| *within && *at > over)
    }

    fn result_at(&self, magnitude: f64) -> Option<bool> {
        self.tried
            .iter()
            .find(|(at, _)| *at == magnitude)
            .map(|(_, within)| *within)
    }

    /// The last interval: where halving has led.
    fn interval(&self) -> (f64, f64) {
        let (mut within, mut beyond) = (self.low, self.high);
        for &(at, holds) in &self.tried {
            if at > within && at < beyond {
                if holds { within = at } else { beyond = at }
            }
        }
        (within, beyond)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(mut search: ThresholdSearch, effect: impl Fn(f64) -> bool) -> ThresholdSearch {
        while let Some(magnitude) = search.next() {
            search.record(magnitude, effect(magnitude));
        }
        search
    }

    #[test]
    fn twelve_runs_find_the_threshold_of_a_wide_range_to_one_percent() {
        for threshold in [0.0013, 0.0421, 0.5, 1.0, 7.7, 19.0] {
            let search = run(ThresholdSearch::new(0.001, 20.0, 12).unwrap(), |magnitude| {
                magnitude <= threshold
            });
            let Threshold::Between { within, beyond } = search.found() else {
                panic!("{:?}", search.found())
            };
            assert!(within <= threshold && threshold < beyond);
            assert!(beyond / within < 1.015, "{within} to {beyond}");
            assert!(search.tried().len() <= 12 && !search.is_contradictory());
        }
    }

    #[test]
    fn a_range_without_a_threshold_costs_one_or_two_runs() {
        let all = run(ThresholdSearch::new(0.1, 10.0, 12).unwrap(), |_| true);
        assert_eq!(
            (all.found(), all.tried().len()),
            (Threshold::AboveRange { largest: 10.0 }, 1)
        );
        let none = run(ThresholdSearch::new(0.1, 10.0, 12).unwrap(), |_| false);
        assert_eq!(
            (none.found(), none.tried().len()),
            (Threshold::BelowRange { smallest: 0.1 }, 2)
        );
    }

    #[test]
    fn an_effect_that_comes_and_goes_is_pointed_at() {
        let mut search = ThresholdSearch::new(0.1, 10.0, 12).unwrap();
        for (magnitude, within) in [(10.0, false), (0.1, true), (1.0, false), (2.0, true)] {
            search.record(magnitude, within);
        }
        assert!(search.is_contradictory());
    }

    #[test]
    fn a_search_that_cannot_start_says_why() {
        assert!(ThresholdSearch::new(0.0, 1.0, 12).is_err());
        assert!(ThresholdSearch::new(2.0, 1.0, 12).is_err());
        assert!(ThresholdSearch::new(f64::NAN, 1.0, 12).is_err());
        assert_eq!(
            ThresholdSearch::new(1.0, 2.0, 2),
            Err(ThresholdError::TooFewRuns { runs: 2 })
        );
    }

    #[test]
    fn the_budget_is_a_measure_and_a_value() {
        let budget = Budget {
            measure: Measure::Chrf2,
            at_least: 90.0,
        };
        assert_eq!(
            budget.holds(&Measures::of("こんにちは、世界。", "こんにちは、世界。")),
            Some(true)
        );
        assert_eq!(
            budget.holds(&Measures::of("こんにちは、世界。", "さようなら")),
            Some(false)
        );
        assert_eq!(
            Budget {
                measure: Measure::Distinct4,
                at_least: 0.2
            }
            .holds(&Measures::of("abc", "abc")),
            None
        );
    }
}
