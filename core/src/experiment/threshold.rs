//! A search for the largest magnitude up to which every measured one stays within a similarity limit, in about a dozen runs.
//!
//! Some runs cover the whole range; the others halve the interval in which the points first leave the limit, on a log scale.
//! Call [`ThresholdSearch::next_magnitude`] for the magnitude to run and [`ThresholdSearch::add_result`] with its result.

use super::plan::six_digits;
use crate::compare::{Measure, Measures};

/// The least similarity to the baseline that a search allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SimilarityLimit {
    /// A measure whose larger values are closer to the baseline.
    pub measure: Measure,
    /// The smallest value within the limit.
    pub minimum: f64,
}

impl SimilarityLimit {
    /// Whether a text with these measures is within the limit; `None` where the text has no value for the measure.
    pub fn allows(&self, measures: &Measures) -> Option<bool> {
        self.measure.value(measures).map(|value| value >= self.minimum)
    }
}

/// A search in progress.
#[derive(Clone, Debug, PartialEq)]
pub struct ThresholdSearch {
    low: f64,
    high: f64,
    max_runs: usize,
    /// Every magnitude that was run, in order, and whether it was within the limit.
    runs: Vec<(f64, bool)>,
    /// Points of the range measured before the search, such as those of a sweep.
    known: Vec<(f64, bool)>,
}

/// The result of a search. It makes no assumption about magnitudes between two measured ones: the text of a greedy
/// model changes as a whole with one token, so similarity may rise again after it falls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ThresholdResult {
    /// Number of measured magnitudes in the range.
    pub measured: usize,
    /// The largest magnitude up to which every measured one is within the limit; `None` where the smallest is not.
    pub largest_within: Option<f64>,
    /// The smallest measured magnitude that is beyond the limit; `None` where all are within it.
    pub smallest_beyond: Option<f64>,
    /// Where the points cross the limit again above `smallest_beyond`, in order.
    pub crossings: Vec<Crossing>,
}

/// Two neighbouring points on different sides of the limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crossing {
    /// The smaller magnitude.
    pub from: f64,
    /// The larger magnitude.
    pub to: f64,
    /// Whether the larger one is within the limit.
    pub reenters: bool,
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

/// Both ends of the range, and one magnitude between them.
const MIN_RUNS: usize = 3;
/// The search ends at an interval whose ends have this ratio: 1 %.
const FINAL_RATIO: f64 = 1.01;
/// Number of magnitudes measured over the whole range before an interval is halved. More of them find a narrow fall below the limit more
/// often, and leave fewer runs for halving.
const OVERVIEW: usize = 5;

impl ThresholdSearch {
    /// Runs that narrow a range of 1 : 100,000 down to 1 %: five over the whole range, the rest where the points first fall beyond the
    /// limit.
    pub const DEFAULT_RUNS: usize = 14;

    /// A search between two magnitudes with at most `max_runs` runs.
    ///
    /// # Errors
    /// [`ThresholdError`].
    pub fn new(low: f64, high: f64, max_runs: usize) -> Result<Self, ThresholdError> {
        if !(low > 0.0 && low < high && high.is_finite()) {
            return Err(ThresholdError::BadRange { low, high });
        }
        if max_runs < MIN_RUNS {
            return Err(ThresholdError::TooFewRuns { runs: max_runs });
        }
        Ok(Self {
            low,
            high,
            max_runs,
            runs: Vec::new(),
            known: Vec::new(),
        })
    }

    /// The magnitude to run next; `None` when the search is over.
    pub fn next_magnitude(&self) -> Option<f64> {
        if self.runs.len() >= self.max_runs {
            return None;
        }
        let points = self.points();
        self.overview(&points).or_else(|| self.between(&points))
    }

    /// The first of the evenly spaced magnitudes over the range near which nothing is measured yet.
    fn overview(&self, points: &[(f64, bool)]) -> Option<f64> {
        let count = OVERVIEW.min(self.max_runs.saturating_sub(1));
        let step = libm::pow(self.high / self.low, 1.0 / (count - 1) as f64);
        let at = |i: usize| match i {
            0 => self.low,
            i if i + 1 == count => self.high,
            i => six_digits(self.low * libm::pow(step, i as f64)),
        };
        // A point within half a step suffices; the ends are measured exactly.
        let half_step = libm::sqrt(step);
        (0..count).map(at).find(|&planned| {
            !points.iter().any(|&(known, _)| match planned {
                end if end == self.low || end == self.high => known == end,
                _ => known > planned / half_step && known < planned * half_step,
            })
        })
    }

    /// The middle between the last point that is within the limit and the first that is not, on a log scale.
    fn between(&self, points: &[(f64, bool)]) -> Option<f64> {
        let result = ThresholdResult::of(points);
        let (within, beyond) = result.largest_within.zip(result.smallest_beyond)?;
        let middle = six_digits(libm::sqrt(within * beyond));
        (beyond / within > FINAL_RATIO && middle > within && middle < beyond).then_some(middle)
    }

    /// Adds the result of the run at `magnitude`.
    pub fn add_result(&mut self, magnitude: f64, is_within: bool) {
        self.runs.push((magnitude, is_within));
    }

    /// Adds points that are measured already: magnitudes, and whether each is within the limit. Those outside the range are ignored.
    pub fn add_known_points(&mut self, points: impl IntoIterator<Item = (f64, bool)>) {
        let range = self.low..=self.high;
        self.known
            .extend(points.into_iter().filter(|(at, _)| range.contains(at)));
    }

    /// The maximum number of runs that may follow.
    pub(super) fn max_runs_left(&self) -> usize {
        if self.next_magnitude().is_some() {
            self.max_runs - self.runs.len()
        } else {
            0
        }
    }

    /// The result so far.
    pub fn result(&self) -> ThresholdResult {
        ThresholdResult::of(&self.points())
    }

    /// All points from small to large, one for each magnitude, which is within the limit if it always was.
    fn points(&self) -> Vec<(f64, bool)> {
        let mut points: Vec<(f64, bool)> = self.known.iter().chain(&self.runs).copied().collect();
        points.retain(|(at, _)| *at > 0.0 && at.is_finite());
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 &= next.1;
            }
            same
        });
        points
    }
}

impl ThresholdResult {
    /// The result for `points`, which are sorted from small to large.
    fn of(points: &[(f64, bool)]) -> Self {
        let first_beyond = points.iter().position(|(_, within)| !within);
        let (below, above) = points.split_at(first_beyond.unwrap_or(points.len()));
        let crossings = above.windows(2).filter_map(|pair| match *pair {
            [(from, before), (to, after)] if before != after => Some(Crossing {
                from,
                to,
                reenters: after,
            }),
            _ => None,
        });
        Self {
            measured: points.len(),
            largest_within: below.last().map(|(at, _)| *at),
            smallest_beyond: above.first().map(|(at, _)| *at),
            crossings: crossings.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(mut search: ThresholdSearch, effect: impl Fn(f64) -> bool) -> ThresholdSearch {
        while let Some(magnitude) = search.next_magnitude() {
            search.add_result(magnitude, effect(magnitude));
        }
        search
    }

    #[test]
    fn fourteen_runs_find_the_threshold_of_a_wide_range_to_one_percent() {
        for threshold in [0.0013, 0.0421, 0.5, 1.0, 7.7, 99.0] {
            let search = run(
                ThresholdSearch::new(0.001, 100.0, ThresholdSearch::DEFAULT_RUNS).unwrap(),
                |magnitude| magnitude <= threshold,
            );
            let result = search.result();
            let (within, beyond) = (result.largest_within.unwrap(), result.smallest_beyond.unwrap());
            assert!(within <= threshold && threshold < beyond);
            assert!(beyond / within < 1.015, "{within} to {beyond}");
            assert!(search.runs.len() <= ThresholdSearch::DEFAULT_RUNS && result.crossings.is_empty());
        }
    }

    #[test]
    fn a_range_without_a_threshold_costs_no_more_than_an_overview() {
        let all = run(
            ThresholdSearch::new(0.1, 10.0, ThresholdSearch::DEFAULT_RUNS).unwrap(),
            |_| true,
        );
        assert_eq!(
            (all.result().largest_within, all.result().smallest_beyond),
            (Some(10.0), None)
        );
        let none = run(
            ThresholdSearch::new(0.1, 10.0, ThresholdSearch::DEFAULT_RUNS).unwrap(),
            |_| false,
        );
        assert_eq!(
            (none.result().largest_within, none.result().smallest_beyond),
            (None, Some(0.1))
        );
        assert_eq!((all.runs.len(), none.runs.len()), (OVERVIEW, OVERVIEW));
    }

    #[test]
    fn the_points_of_a_sweep_decide_where_it_first_falls() {
        // A sweep that is beyond the limit at 0.05, 0.5 and 2.9, and within it at its other magnitudes, the largest of which is 40.
        let mut search = ThresholdSearch::new(0.001, 100.0, ThresholdSearch::DEFAULT_RUNS).unwrap();
        search.add_known_points([
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
        let result = search.result();
        let (within, beyond) = (result.largest_within.unwrap(), result.smallest_beyond.unwrap());
        assert!(
            (0.0295..0.03).contains(&within) && (0.03..0.0305).contains(&beyond),
            "{result:?}"
        );
        let back: Vec<(f64, bool)> = result
            .crossings
            .iter()
            .map(|crossing| (crossing.to, crossing.reenters))
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
            search.runs[..2],
            [(0.001, true), (100.0, false)],
            "the rest of the overview was there"
        );
    }

    #[test]
    fn known_points_outside_the_range_are_ignored() {
        let mut search = ThresholdSearch::new(0.1, 10.0, ThresholdSearch::DEFAULT_RUNS).unwrap();
        search.add_known_points([(0.001, true), (0.002, false), (20.0, true)]);
        let search = run(search, |magnitude| magnitude <= 1.5);
        assert_eq!(search.runs[0], (0.1, true), "the lower end is measured");
        assert!(search.runs.contains(&(10.0, false)), "the upper end is measured");
        let result = search.result();
        let (within, beyond) = (result.largest_within.unwrap(), result.smallest_beyond.unwrap());
        assert!(within <= 1.5 && 1.5 < beyond && beyond / within < 1.015, "{result:?}");
        assert_eq!((result.measured, result.crossings), (search.runs.len(), Vec::new()));
    }

    #[test]
    fn a_magnitude_that_was_beyond_the_limit_once_is_beyond_it() {
        let mut search = ThresholdSearch::new(0.1, 10.0, ThresholdSearch::DEFAULT_RUNS).unwrap();
        search.add_known_points([(1.0, true), (1.0, false), (0.5, true)]);
        let result = search.result();
        assert_eq!(
            (result.measured, result.largest_within, result.smallest_beyond),
            (2, Some(0.5), Some(1.0))
        );
    }

    #[test]
    fn a_range_that_cannot_be_searched_and_too_few_runs_are_refused() {
        assert!(ThresholdSearch::new(0.0, 1.0, 12).is_err());
        assert!(ThresholdSearch::new(2.0, 1.0, 12).is_err());
        assert!(ThresholdSearch::new(f64::NAN, 1.0, 12).is_err());
        assert_eq!(
            ThresholdSearch::new(1.0, 2.0, 2),
            Err(ThresholdError::TooFewRuns { runs: 2 })
        );
    }

    #[test]
    fn a_limit_is_a_measure_and_its_smallest_value() {
        let limit = SimilarityLimit {
            measure: Measure::Chrf2,
            minimum: 90.0,
        };
        assert_eq!(
            limit.allows(&Measures::of("こんにちは、世界。", "こんにちは、世界。")),
            Some(true)
        );
        assert_eq!(
            limit.allows(&Measures::of("こんにちは、世界。", "さようなら")),
            Some(false)
        );
        assert_eq!(
            SimilarityLimit {
                measure: Measure::Distinct4,
                minimum: 0.2
            }
            .allows(&Measures::of("abc", "abc")),
            None
        );
    }
}
