//! CMA-ES, the evolution strategy with covariance matrix adaptation, with an ask-and-tell interface.
//!
//! Source: N. Hansen, "The CMA Evolution Strategy: A Tutorial" (arXiv 1604.00772, 2016), with its default parameters and negative
//! weights. The comments use its symbols. The implementation differs in these points:
//!
//! * Equal results share the mean of their weights, so that a plateau does not move the mean, and a choice of one among several is a
//!   ranking with ties.
//! * The points of a generation follow from the seed and the generation's number, so that the state contains neither a random generator
//!   nor the points.
//! * In one generation the step size grows at most by the factor e, it stays within `MAX_SIGMA_RATIO` of the initial one, and after an
//!   overflow the covariance starts again.
//!
//! Only additions, multiplications, divisions, square roots and `libm`, in a fixed order: every processor gives the same points.

use serde::{Deserialize, Serialize};

use super::eigen::{Eigen, eigen, identity};
use super::error::SearchError;
use crate::prefix::{Generator, MAX_DIMENSION, split_mix};

/// Maximum number of points of a generation.
pub const MAX_POPULATION: usize = 1024;
/// Maximum ratio between the step size and the initial one, in either direction.
const MAX_SIGMA_RATIO: f64 = 1e30;

/// How results change the next generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// They adapt mean, step size and covariance.
    #[default]
    CmaEs,
    /// Not at all: every generation is drawn like the first one. A baseline to compare searches with.
    Random,
}

/// A search in progress, in its own coordinates. It starts at the origin and minimises the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "State")]
pub struct CmaEs(State);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    method: Method,
    seed: u64,
    population: usize,
    /// Number of generations whose results were given.
    generation: u64,
    mean: Vec<f64>,
    first_sigma: f64,
    sigma: f64,
    /// The lower triangle of the covariance matrix, row by row.
    covariance: Vec<f64>,
    /// p_c, the evolution path of the covariance matrix.
    path: Vec<f64>,
    /// p_sigma, the evolution path of the step size.
    sigma_path: Vec<f64>,
}

impl CmaEs {
    /// A search in `dimension` dimensions around the origin, with an initial standard deviation of `sigma`. A generation has `population`
    /// points; the default is 4 + 3 ln(n).
    ///
    /// # Errors
    /// [`SearchError::Dimension`], [`SearchError::Population`], [`SearchError::Spread`].
    pub fn new(
        method: Method,
        dimension: usize,
        population: Option<usize>,
        sigma: f64,
        seed: u64,
    ) -> Result<Self, SearchError> {
        let population = population.unwrap_or_else(|| 4 + (3.0 * libm::log(dimension.max(1) as f64)) as usize);
        if !(1..=MAX_DIMENSION).contains(&dimension) {
            return Err(SearchError::Dimension {
                dimension,
                most: MAX_DIMENSION,
            });
        }
        if !(2..=MAX_POPULATION).contains(&population) {
            return Err(SearchError::Population { population });
        }
        if !(sigma.is_finite() && sigma > 0.0) {
            return Err(SearchError::Spread { spread: sigma });
        }
        Ok(Self(State {
            method,
            seed,
            population,
            generation: 0,
            mean: vec![0.0; dimension],
            first_sigma: sigma,
            sigma,
            covariance: packed_identity(dimension),
            path: vec![0.0; dimension],
            sigma_path: vec![0.0; dimension],
        }))
    }

    /// Number of dimensions, n.
    pub fn dimension(&self) -> usize {
        self.0.mean.len()
    }

    /// The number of points of a generation.
    pub fn population(&self) -> usize {
        self.0.population
    }

    /// The number of generations whose results were given.
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// The mean of the distribution from which the next points are drawn.
    pub fn mean(&self) -> &[f64] {
        &self.0.mean
    }

    /// The step size: the standard deviation of a coordinate where the covariance matrix is the identity.
    pub fn sigma(&self) -> f64 {
        self.0.sigma
    }

    /// The points of the next generation; the same ones each time until [`CmaEs::tell`] is called with their results.
    pub fn ask(&self) -> Vec<Vec<f64>> {
        let eigen = self.0.decomposed();
        let normals = self.0.normals();
        let point = |normal: &[f64]| {
            let step = self.0.step(&eigen, normal);
            let coordinates = self.0.mean.iter().zip(step);
            coordinates.map(|(mean, step)| mean + self.0.sigma * step).collect()
        };
        normals.chunks_exact(self.dimension()).map(point).collect()
    }

    /// The search after the points of [`CmaEs::ask`] gave these results, in their order. Smaller is better, and positive infinity means that
    /// there is no result. Only the ranks count.
    ///
    /// # Errors
    /// [`SearchError::Results`], [`SearchError::ResultNotANumber`].
    pub fn tell(&self, results: &[f64]) -> Result<Self, SearchError> {
        if results.len() != self.population() {
            return Err(SearchError::Results {
                got: results.len(),
                wanted: self.population(),
            });
        }
        let wrong = |value: &f64| value.is_nan() || *value == f64::NEG_INFINITY;
        if let Some(candidate) = results.iter().position(wrong) {
            let value = results[candidate];
            return Err(SearchError::ResultNotANumber { candidate, value });
        }
        let mut next = self.0.clone();
        if self.0.method == Method::CmaEs {
            next.adapt(results);
            if !next.is_finite() {
                // Overflow after many generations in one direction: the mean stays, and the covariance is reset.
                let n = self.dimension();
                next.mean.clone_from(&self.0.mean);
                next.sigma = self.0.sigma;
                next.covariance = packed_identity(n);
                next.path = vec![0.0; n];
                next.sigma_path = vec![0.0; n];
            }
        }
        next.generation = next.generation.saturating_add(1);
        Ok(Self(next))
    }

    /// The search after one point was preferred to all others, which count as equal.
    ///
    /// # Errors
    /// [`SearchError::NoSuchCandidate`].
    pub fn pick(&self, candidate: usize) -> Result<Self, SearchError> {
        let population = self.population();
        if candidate >= population {
            return Err(SearchError::NoSuchCandidate { candidate, population });
        }
        let results: Vec<f64> = (0..population)
            .map(|other| f64::from(u8::from(other != candidate)))
            .collect();
        self.tell(&results)
    }
}

impl TryFrom<State> for CmaEs {
    type Error = SearchError;

    fn try_from(state: State) -> Result<Self, SearchError> {
        let n = state.mean.len();
        let damaged = |what| Err(SearchError::Damaged { what });
        if !(1..=MAX_DIMENSION).contains(&n) || !(2..=MAX_POPULATION).contains(&state.population) {
            return damaged("its dimensions or its population");
        }
        if (state.covariance.len(), state.path.len(), state.sigma_path.len()) != (n * (n + 1) / 2, n, n) {
            return damaged("the size of its covariance matrix or of a path");
        }
        if !state.is_finite() || state.sigma <= 0.0 || !state.first_sigma.is_finite() || state.first_sigma <= 0.0 {
            return damaged("a number that is not finite, or a step size that is not above 0");
        }
        Ok(Self(state))
    }
}

/// Default parameters of the tutorial, from n and the population.
struct Parameters {
    /// By rank, the best first: the upper half is positive with the sum 1, the lower half negative.
    weights: Vec<f64>,
    /// Variance effective selection mass of the positive weights.
    mu_eff: f64,
    c_sigma: f64,
    d_sigma: f64,
    c_path: f64,
    c_one: f64,
    c_mu: f64,
    /// Expected length of a normal vector.
    chi: f64,
}

impl Parameters {
    fn of(n: usize, population: usize) -> Self {
        let n = n as f64;
        let raw = |rank: usize| libm::log((population as f64 + 1.0) / 2.0) - libm::log(rank as f64);
        let mut weights: Vec<f64> = (1..=population).map(raw).collect();
        let (good, bad) = weights.split_at(population / 2);
        let sum = |weights: &[f64]| weights.iter().sum::<f64>();
        let mass = |weights: &[f64]| {
            let squares: f64 = weights.iter().map(|weight| weight * weight).sum();
            sum(weights) * sum(weights) / squares
        };
        let (mu_eff, mu_eff_bad) = (mass(good), mass(bad));
        let (sum_good, sum_bad) = (sum(good), -sum(bad).min(0.0));
        let c_one = 2.0 / ((n + 1.3) * (n + 1.3) + mu_eff);
        let c_mu = 2.0 * (0.25 + mu_eff + 1.0 / mu_eff - 2.0) / ((n + 2.0) * (n + 2.0) + mu_eff);
        let c_mu = c_mu.min(1.0 - c_one);
        // The negative weights are scaled so that the matrix stays positive definite.
        let limits = [
            1.0 + c_one / c_mu,
            1.0 + 2.0 * mu_eff_bad / (mu_eff + 2.0),
            (1.0 - c_one - c_mu) / (n * c_mu),
        ];
        let limit = limits.into_iter().fold(f64::INFINITY, f64::min).max(0.0);
        for weight in &mut weights {
            *weight *= match *weight >= 0.0 {
                true => 1.0 / sum_good,
                false => limit / sum_bad,
            };
        }
        let c_sigma = (mu_eff + 2.0) / (n + mu_eff + 5.0);
        Self {
            weights,
            mu_eff,
            c_sigma,
            d_sigma: 1.0 + 2.0 * (((mu_eff - 1.0) / (n + 1.0)).max(0.0).sqrt() - 1.0).max(0.0) + c_sigma,
            c_path: (4.0 + mu_eff / n) / (n + 4.0 + 2.0 * mu_eff / n),
            c_one,
            c_mu,
            chi: n.sqrt() * (1.0 - 1.0 / (4.0 * n) + 1.0 / (21.0 * n * n)),
        }
    }
}

impl State {
    fn is_finite(&self) -> bool {
        let numbers = self.mean.iter().chain(&self.covariance).chain(&self.path);
        let mut numbers = numbers.chain(&self.sigma_path).chain([&self.sigma]);
        numbers.all(|value| value.is_finite())
    }

    /// Independent normal values of the next generation, `population` x n.
    fn normals(&self) -> Vec<f64> {
        // Mixed twice, so that neighbouring seeds and generations have unrelated points.
        let mut state = self.seed;
        let mut state = split_mix(&mut state) ^ self.generation;
        let seed = split_mix(&mut state);
        Generator::default().normals(seed, self.population * self.mean.len())
    }

    /// The eigenvectors of the covariance matrix, and the square roots of its eigenvalues.
    fn decomposed(&self) -> Eigen {
        let n = self.mean.len();
        if self.covariance == packed_identity(n) {
            return Eigen {
                values: vec![1.0; n],
                vectors: identity(n),
            };
        }
        let matrix = (0..n * n)
            .map(|k| self.covariance[packed_index(k / n, k % n)])
            .collect();
        let mut eigen = eigen(matrix, n);
        let largest = eigen.values.iter().copied().fold(0.0, f64::max);
        for value in &mut eigen.values {
            // Rounding may make the smallest ones negative.
            *value = value.max(largest * 1e-20).sqrt();
        }
        eigen
    }

    /// y: a step with this covariance, from independent normal values z.
    fn step(&self, eigen: &Eigen, normal: &[f64]) -> Vec<f64> {
        let scaled: Vec<f64> = normal.iter().zip(&eigen.values).map(|(z, d)| z * d).collect();
        multiply(&eigen.vectors, &scaled)
    }

    /// Adapts mean, step size and covariance to the results of the current points.
    fn adapt(&mut self, results: &[f64]) {
        let n = self.mean.len();
        let parameters = Parameters::of(n, self.population);
        let weights = candidate_weights(&parameters.weights, results);
        let eigen = self.decomposed();
        let normals = self.normals();
        let steps: Vec<Vec<f64>> = normals.chunks_exact(n).map(|z| self.step(&eigen, z)).collect();

        // <y>_w and <z>_w: the weighted mean of the better half of the points.
        let (mut mean_step, mut mean_normal) = (vec![0.0; n], vec![0.0; n]);
        for ((weight, step), normal) in weights.iter().zip(&steps).zip(normals.chunks_exact(n)) {
            add(&mut mean_step, weight.recombination, step);
            add(&mut mean_normal, weight.recombination, normal);
        }
        for (mean, step) in self.mean.iter_mut().zip(&mean_step) {
            *mean += self.sigma * step;
        }
        // Tied points share weights, which shortens the mean of randomly ranked steps. With the effective mass of the shared weights, the
        // path of such steps keeps its expected length.
        let squares: f64 = weights
            .iter()
            .map(|weight| weight.recombination * weight.recombination)
            .sum();
        let mass = (1.0 / squares).max(parameters.mu_eff);

        let Parameters {
            c_sigma,
            d_sigma,
            c_path,
            c_one,
            c_mu,
            chi,
            ..
        } = parameters;
        // p_sigma, which has the expected length chi if the steps are random.
        let gain = (c_sigma * (2.0 - c_sigma) * mass).sqrt();
        for (path, step) in self.sigma_path.iter_mut().zip(multiply(&eigen.vectors, &mean_normal)) {
            *path = (1.0 - c_sigma) * *path + gain * step;
        }
        let length = self.sigma_path.iter().map(|value| value * value).sum::<f64>().sqrt();
        // h_sigma: p_c is not updated while p_sigma is long, that is, while the step size is far too small; the covariance would grow too
        // fast. The path begins at 0, so its length is compared with the share of chi that random steps have reached by now.
        let generations = self.generation as f64 + 1.0;
        let reached = (1.0 - libm::pow(1.0 - c_sigma, 2.0 * generations)).sqrt();
        let updates_path = length / reached < (1.4 + 2.0 / (n as f64 + 1.0)) * chi;
        let gain = if updates_path {
            (c_path * (2.0 - c_path) * mass).sqrt()
        } else {
            0.0
        };
        for (path, step) in self.path.iter_mut().zip(&mean_step) {
            *path = (1.0 - c_path) * *path + gain * step;
        }

        // C: what is kept of the old matrix, the rank-one update by p_c, and the rank-mu update by the steps. What p_c lacks without an
        // update is kept of the old matrix.
        let lacking = if updates_path { 0.0 } else { c_path * (2.0 - c_path) };
        let sum: f64 = weights.iter().map(|weight| weight.covariance).sum();
        let kept = 1.0 + c_one * lacking - c_one - c_mu * sum;
        let step_weights: Vec<f64> = weights
            .iter()
            .zip(normals.chunks_exact(n))
            .map(|(weight, normal)| {
                let square: f64 = normal.iter().map(|z| z * z).sum();
                // A bad step counts as if it had the expected length, so that the matrix stays positive.
                let scale = if weight.covariance < 0.0 {
                    n as f64 / square
                } else {
                    1.0
                };
                c_mu * weight.covariance * scale
            })
            .collect();
        for i in 0..n {
            for j in 0..=i {
                let of_steps: f64 = step_weights.iter().zip(&steps).map(|(w, y)| w * y[i] * y[j]).sum();
                let value = &mut self.covariance[packed_index(i, j)];
                *value = kept * *value + c_one * self.path[i] * self.path[j] + of_steps;
            }
        }
        let change = (c_sigma / d_sigma * (length / chi - 1.0)).min(1.0);
        self.sigma = (self.sigma * libm::exp(change))
            .clamp(self.first_sigma / MAX_SIGMA_RATIO, self.first_sigma * MAX_SIGMA_RATIO);
    }
}

/// The weights of a candidate.
#[derive(Clone, Copy, Default)]
struct Weight {
    /// In the mean of the steps; 0 in the worse half.
    recombination: f64,
    /// In the covariance matrix; negative in the worse half.
    covariance: f64,
}

/// Converts weights by rank to weights of the candidates. Equal results share the mean of their weights.
fn candidate_weights(by_rank: &[f64], results: &[f64]) -> Vec<Weight> {
    let mut order: Vec<usize> = (0..results.len()).collect();
    order.sort_by(|a, b| results[*a].total_cmp(&results[*b]));
    let mut out = vec![Weight::default(); results.len()];
    let mut start = 0;
    while start < order.len() {
        let same = |candidate: &&usize| results[**candidate] == results[order[start]];
        let count = order[start..].iter().take_while(same).count();
        let ranks = &by_rank[start..start + count];
        let weight = Weight {
            recombination: ranks.iter().map(|weight| weight.max(0.0)).sum::<f64>() / count as f64,
            covariance: ranks.iter().sum::<f64>() / count as f64,
        };
        for candidate in &order[start..start + count] {
            out[*candidate] = weight;
        }
        start += count;
    }
    out
}

/// The matrix of n x n values, row by row, times the vector.
fn multiply(matrix: &[f64], vector: &[f64]) -> Vec<f64> {
    let product = |row: &[f64]| row.iter().zip(vector).map(|(a, b)| a * b).sum();
    matrix.chunks_exact(vector.len()).map(product).collect()
}

/// Adds `factor` times a vector.
fn add(sum: &mut [f64], factor: f64, vector: &[f64]) {
    for (sum, value) in sum.iter_mut().zip(vector) {
        *sum += factor * value;
    }
}

/// The index of (row, column) in the lower triangle of a symmetric matrix.
fn packed_index(row: usize, column: usize) -> usize {
    let (high, low) = (row.max(column), row.min(column));
    high * (high + 1) / 2 + low
}

fn packed_identity(n: usize) -> Vec<f64> {
    (0..n)
        .flat_map(|row| (0..=row).map(move |column| f64::from(u8::from(row == column))))
        .collect()
}
