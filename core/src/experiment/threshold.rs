//! A search for the largest magnitude up to which every measured one stays within an effect budget, in about a dozen runs.
//!
//! Some runs cover the whole range; the others halve the interval in which the points first leave the budget, on a log scale.
//! Call [`ThresholdSearch::next`] for the magnitude to run and [`ThresholdSearch::record`] with its result.

use serde::{Deserialize, Serialize};

use super::plan::six_digits;
use crate::compare::{Measure, Measures};

/// The effect that a search allows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EffectBudget {
    /// The measure.
    pub measure: Measure,
    /// The least value within the budget; a larger similarity is closer to the baseline.
    pub at_least: f64,
}

impl EffectBudget {
    /// Whether a text with these measures is within the budget; `None` where the text has no value for the measure.
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
    /// Every magnitude that was run, in order, and whether it was within the budget.
    tried: Vec<(f64, bool)>,
    /// Points measured before the search, such as those of a sweep.
    #[serde(default)]
    known: Vec<(f64, bool)>,
}

/// The result of a search. It makes no assumption about magnitudes between two measured ones: the text of a greedy
/// model changes as a whole with one token, so similarity may rise again after it falls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// Number of measured magnitudes, 0 not counted.
    pub measured: usize,
    /// The largest magnitude up to which every measured one is within the budget; `None` where the smallest is not.
    pub holds_to: Option<f64>,
    /// The smallest measured magnitude that is beyond the budget; `None` where all are within it.
    pub falls_at: Option<f64>,
    /// Where the points cross the budget again above `falls_at`, in order.
    pub crossings: Vec<Crossing>,
}

/// Two neighbouring points on different sides of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Crossing {
    /// The smaller magnitude.
    pub from: f64,
    /// The larger magnitude.
    pub to: f64,
    /// Whether the larger one is within the budget.
    pub back_within: bool,
}

/// Why a search cannot start.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ThresholdError {
    /// The ends are equal, reversed, not above 0, or not finite.
    #[error(
        "the range from {low} to {high} cannot be searched: both ends must be above 0, and the first must be the smaller one. Correct it."
    )]
    BadRange {
        /// Lower end as given.
        low: f64,
        /// Upper end as given.
        high: f64,
    },
    /// Fewer than 3 runs were allowed.
    #[error("{runs} runs are too few to search a range: at least 3 are needed.")]
    TooFewRuns {
        /// Number of runs as given.
        runs: usize,
    },
}

/// The search ends at an interval whose ends have this ratio: 1 %.
const CLOSE: f64 = 1.01;
/// Number of magnitudes measured over the whole range before an interval is halved.
const OVERVIEW: usize = 5;

impl ThresholdSearch {
    /// A search between two magnitudes with at most `most_runs` runs (14 narrow a range of 1 : 100,000 down to 1 %: five over the
    /// whole range, the rest where the points first fall beyond the budget).
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
            known: Vec::new(),
        })
    }

    /// The magnitude to run next; `None` when the search is over.
    pub fn next(&self) -> Option<f64> {
        if self.tried.len() >= self.most_runs {
            return None;
        }
        let points = self.points();
        self.overview(&points).or_else(|| self.between(&points))
    }

    /// The first of the evenly spaced magnitudes over the range near which nothing is measured yet.
    fn overview(&self, points: &[(f64, bool)]) -> Option<f64> {
        let count = OVERVIEW.min(self.most_runs.saturating_sub(1));
        let step = libm::pow(self.high / self.low, 1.0 / (count - 1) as f64);
        let at = |i: usize| match i {
            0 => self.low,
            i if i + 1 == count => self.high,
            i => six_digits(self.low * libm::pow(step, i as f64)),
        };
        // A point within half a step suffices; the ends are measured exactly, unless a point lies beyond them.
        let near = libm::sqrt(step);
        (0..count).map(at).find(|&wanted| {
            !points.iter().any(|&(known, _)| match wanted {
                low if low == self.low => known <= low,
                high if high == self.high => known >= high,
                _ => known > wanted / near && known < wanted * near,
            })
        })
    }

    /// The middle between the last point that holds and the first that does not, on a log scale.
    fn between(&self, points: &[(f64, bool)]) -> Option<f64> {
        let found = Threshold::of(points);
        let (within, beyond) = found.holds_to.zip(found.falls_at)?;
        let middle = six_digits(libm::sqrt(within * beyond));
        (beyond / within > CLOSE && middle > within && middle < beyond).then_some(middle)
    }

    /// Adds the result of the run at `magnitude`.
    pub fn record(&mut self, magnitude: f64, within_budget: bool) {
        self.tried.push((magnitude, within_budget));
    }

    /// Adds points that are measured already. Magnitude 0 is ignored: it is not part of the range.
    pub fn know(&mut self, points: impl IntoIterator<Item = (f64, bool)>) {
        self.known.extend(points);
    }

    /// The most runs that may follow.
    pub(super) fn most_left(&self) -> usize {
        if self.next().is_some() {
            self.most_runs - self.tried.len()
        } else {
            0
        }
    }

    /// The result so far.
    pub fn found(&self) -> Threshold {
        Threshold::of(&self.points())
    }

    /// All points from small to large, one for each magnitude, which is within the budget if it always was.
    fn points(&self) -> Vec<(f64, bool)> {
        let mut points: Vec<(f64, bool)> = self.known.iter().chain(&self.tried).copied().collect();
        points.retain(|(at, _)| *at > 0.0 && at.is_finite());
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            kept.1 &= next.1 || !same;
            same
        });
        points
    }
}

impl Threshold {
    /// The result for `points`, which are sorted from small to large.
    fn of(points: &[(f64, bool)]) -> Self {
        let first_beyond = points.iter().position(|(_, within)| !within);
        let (below, above) = points.split_at(first_beyond.unwrap_or(points.len()));
        let crossings = above.windows(2).filter_map(|pair| match *pair {
            [(from, before), (to, after)] if before != after => Some(Crossing {
                from,
                to,
                back_within: after,
            }),
            _ => None,
        });
        Self {
            measured: points.len(),
            holds_to: below.last().map(|(at, _)| *at),
            falls_at: above.first().map(|(at, _)| *at),
            crossings: crossings.collect(),
        }
    }
}

/// Two numbers with the fewest significant digits, at least two, that make them differ.
pub fn shortest_distinct(a: f64, b: f64) -> (String, String) {
    let rounded = |value: f64, digits: usize| {
        let value: f64 = format!("{value:.digits$e}").parse().unwrap_or(value);
        value.to_string()
    };
    let pair = |digits| (rounded(a, digits), rounded(b, digits));
    (1..17)
        .map(pair)
        .find(|(a, b)| a != b)
        .unwrap_or_else(|| (a.to_string(), b.to_string()))
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
    fn fourteen_runs_find_the_threshold_of_a_wide_range_to_one_percent() {
        for threshold in [0.0013, 0.0421, 0.5, 1.0, 7.7, 99.0] {
            let search = run(ThresholdSearch::new(0.001, 100.0, 14).unwrap(), |magnitude| {
                magnitude <= threshold
            });
            let found = search.found();
            let (within, beyond) = (found.holds_to.unwrap(), found.falls_at.unwrap());
            assert!(within <= threshold && threshold < beyond);
            assert!(beyond / within < 1.015, "{within} to {beyond}");
            assert!(search.tried.len() <= 14 && found.crossings.is_empty());
        }
    }

    #[test]
    fn a_range_without_a_threshold_costs_no_more_than_an_overview() {
        let all = run(ThresholdSearch::new(0.1, 10.0, 14).unwrap(), |_| true);
        assert_eq!((all.found().holds_to, all.found().falls_at), (Some(10.0), None));
        let none = run(ThresholdSearch::new(0.1, 10.0, 14).unwrap(), |_| false);
        assert_eq!((none.found().holds_to, none.found().falls_at), (None, Some(0.1)));
        assert_eq!((all.tried.len(), none.tried.len()), (OVERVIEW, OVERVIEW));
    }

    #[test]
    fn the_points_of_a_sweep_decide_where_it_first_falls() {
        // A sweep that lies beyond the budget at 0.05, 0.5 and 2.9, and within it up to 40 between and above.
        let mut search = ThresholdSearch::new(0.001, 100.0, 14).unwrap();
        search.know([
            (0.0, false),
            (0.01, true),
            (0.05, false),
            (0.1, true),
            (0.5, false),
            (1.0, true),
            (2.9, false),
            (40.0, true),
        ]);
        let dips = |x: f64| (0.03..0.06).contains(&x) || (0.4..0.6).contains(&x) || (2.0..4.0).contains(&x) || x > 51.0;
        let search = run(search, |x| !dips(x));
        let found = search.found();
        let (within, beyond) = (found.holds_to.unwrap(), found.falls_at.unwrap());
        assert!(
            (0.0295..0.03).contains(&within) && (0.03..0.0305).contains(&beyond),
            "{found:?}"
        );
        let back: Vec<(f64, bool)> = found
            .crossings
            .iter()
            .map(|crossing| (crossing.to, crossing.back_within))
            .collect();
        assert_eq!(
            back,
            [
                (0.1, true),
                (0.5, false),
                (1.0, true),
                (2.9, false),
                (40.0, true),
                (100.0, false)
            ]
        );
        assert_eq!(
            search.tried[..2],
            [(0.001, true), (100.0, false)],
            "the rest of the overview was there"
        );
    }

    #[test]
    fn a_magnitude_that_was_beyond_the_budget_once_is_beyond_it() {
        let mut search = ThresholdSearch::new(0.1, 10.0, 14).unwrap();
        search.know([(1.0, true), (1.0, false), (0.5, true)]);
        let found = search.found();
        assert_eq!(
            (found.measured, found.holds_to, found.falls_at),
            (2, Some(0.5), Some(1.0))
        );
    }

    #[test]
    fn both_ends_are_told_in_digits_that_differ() {
        for (pair, words) in [
            ((51.2, 51.4), ("51.2", "51.4")),
            ((0.05, 0.5), ("0.05", "0.5")),
            ((1.0, 1.004), ("1", "1.004")),
            ((2.0, 2.0), ("2", "2")),
        ] {
            assert_eq!(
                shortest_distinct(pair.0, pair.1),
                (words.0.to_owned(), words.1.to_owned())
            );
        }
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
        let budget = EffectBudget {
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
            EffectBudget {
                measure: Measure::Distinct4,
                at_least: 0.2
            }
            .holds(&Measures::of("abc", "abc")),
            None
        );
    }
}
