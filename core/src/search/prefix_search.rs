//! Proposes prefixes around a parent prefix by CMA-ES: a point of the search is a displacement of the parent's rows in a random subspace.

use serde::{Deserialize, Serialize};

use super::cma::{CmaEs, Method};
use super::error::SearchError;
use crate::prefix::{MAX_DIMENSION, Magnitude, PrefixKind, PrefixRecipe, PrefixSummary, SoftPrefix, Subspace};
use crate::protocol::extension::Vocabulary;
use crate::protocol::learn::NormLimit;

/// Settings of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchSettings {
    /// Number of dimensions of the subspace. A search in fewer dimensions converges sooner and reaches less.
    pub dimension: usize,
    /// Number of candidates of a generation; the default is 4 + 3 ln(dimension).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub population: Option<usize>,
    /// Initial step size of CMA-ES in token norms: about how far the first candidates displace each row of the parent.
    pub spread: f64,
    /// Seed of the subspace and of the points.
    pub seed: u64,
    /// The limit on the norms of the rows.
    #[serde(default)]
    pub norm_limit: NormLimit,
    /// How results change the next generation.
    #[serde(default)]
    pub method: Method,
}

impl Default for SearchSettings {
    fn default() -> Self {
        Self {
            dimension: 8,
            population: None,
            spread: 0.5,
            seed: 0,
            norm_limit: NormLimit::default(),
            method: Method::default(),
        }
    }
}

/// A search around the rows of a parent prefix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrefixSearch {
    /// Name of the parent, for people.
    name: String,
    /// SHA-256 of the parent's rows as bf16.
    parent: String,
    /// P.
    len: usize,
    subspace: Subspace,
    strategy: CmaEs,
}

impl PrefixSearch {
    /// A search around `parent`. Put its rows into the [`PrefixStore`](crate::prefix::PrefixStore), so that candidates can be built.
    ///
    /// `vocabulary` gives the token norm and the range of usual norms. Without it (a stock module does not report it), the median norm of
    /// the parent's rows is one token norm, and the range is from half of it to twice it. That is wider than a vocabulary's: 98 % of the
    /// tokens of Qwen2.5-Coder-0.5B-Instruct have 0.63 to 1.32 token norms.
    ///
    /// # Errors
    /// [`SearchError::Dimension`], [`SearchError::Population`], [`SearchError::Spread`], [`SearchError::NormLimit`],
    /// [`SearchError::NoScale`].
    pub fn new(
        parent: &SoftPrefix,
        name: &str,
        settings: &SearchSettings,
        vocabulary: Option<&Vocabulary>,
    ) -> Result<Self, SearchError> {
        let dimension = settings.dimension;
        let value_count = parent.values().len();
        if !(1..=value_count.min(MAX_DIMENSION)).contains(&dimension) {
            return Err(SearchError::Dimension {
                dimension,
                most: value_count,
            });
        }
        let summary = PrefixSummary::of(parent, None);
        let usable = |norm: &f64| norm.is_finite() && *norm > 0.0;
        let of_vocabulary = vocabulary.map(|vocabulary| vocabulary.percentiles.p50).filter(usable);
        let token_norm = of_vocabulary.or(Some(summary.median).filter(usable));
        let token_norm = token_norm.ok_or(SearchError::NoScale)?;
        let usual_norms = match vocabulary.filter(|_| of_vocabulary.is_some()) {
            Some(vocabulary) => (vocabulary.percentiles.p1, vocabulary.percentiles.p99),
            None => (token_norm / 2.0, token_norm * 2.0),
        };
        let norms = settings.norm_limit.range(token_norm, usual_norms);
        let norms = norms.map_err(|limit| SearchError::NormLimit { limit })?;
        Ok(Self {
            name: name.to_owned(),
            parent: parent.sha256(),
            len: parent.len(),
            subspace: Subspace {
                seed: settings.seed,
                dimension,
                // The length of a standard normal point is about the square root of its dimension: divided by it, the first
                // displacements are about `spread` token norms long in any dimension.
                step: token_norm / (dimension as f64).sqrt(),
                norms,
            },
            strategy: CmaEs::new(
                settings.method,
                dimension,
                settings.population,
                settings.spread,
                settings.seed,
            )?,
        })
    }

    /// Recipes of the next generation's candidates; the same ones each time until [`PrefixSearch::tell`] is called with their results.
    pub fn candidates(&self) -> Vec<PrefixRecipe> {
        let generation = self.generation() + 1;
        let points = self.strategy.ask().into_iter();
        points.map(|point| self.recipe(generation, point)).collect()
    }

    /// The recipe of the mean of the search distribution, around which the next candidates are drawn: at first the parent itself.
    pub fn centre(&self) -> PrefixRecipe {
        self.recipe(self.generation(), self.strategy.mean().to_vec())
    }

    /// The search after the candidates gave these results, in their order; see [`CmaEs::tell`].
    ///
    /// # Errors
    /// Those of [`CmaEs::tell`].
    pub fn tell(&self, results: &[f64]) -> Result<Self, SearchError> {
        Ok(self.with_strategy(self.strategy.tell(results)?))
    }

    /// The search after one candidate was preferred to the others; see [`CmaEs::pick`].
    ///
    /// # Errors
    /// Those of [`CmaEs::pick`].
    pub fn pick(&self, candidate: usize) -> Result<Self, SearchError> {
        Ok(self.with_strategy(self.strategy.pick(candidate)?))
    }

    /// The number of generations whose results were given.
    pub fn generation(&self) -> u64 {
        self.strategy.generation()
    }

    /// The number of candidates of a generation.
    pub fn population(&self) -> usize {
        self.strategy.population()
    }

    /// SHA-256 of the parent's rows as bf16.
    pub fn parent(&self) -> &str {
        &self.parent
    }

    fn with_strategy(&self, strategy: CmaEs) -> Self {
        Self {
            strategy,
            ..self.clone()
        }
    }

    fn recipe(&self, generation: u64, point: Vec<f64>) -> PrefixRecipe {
        PrefixRecipe::new(
            PrefixKind::Chosen {
                name: self.name.clone(),
                parent: self.parent.clone(),
                generation,
                subspace: Box::new(self.subspace),
                point,
            },
            self.len,
            Magnitude::Unscaled,
        )
    }
}
