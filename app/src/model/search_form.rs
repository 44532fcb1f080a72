//! The fields of Choose and Search in the Find view: how candidates are proposed, and the objective.

use serde::{Deserialize, Serialize};
use softprefix_core::experiment::{Magnitudes, Values};
use softprefix_core::experiment::{Plan, Sweep};
use softprefix_core::prefix::{MAX_DIMENSION, PrefixKind, Rounding};
use softprefix_core::search::{Closeness, MAX_POPULATION, Objective, SearchSettings};

use super::PromptForm;

/// A mode of the Find view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindMode {
    /// Rows are learned by gradient.
    #[default]
    Learn,
    /// The user chooses among candidates.
    Choose,
    /// An objective judges candidates.
    Search,
}

impl FindMode {
    pub const ALL: [Self; 3] = [Self::Learn, Self::Choose, Self::Search];
}

/// The fields of Choose and Search. Prompt, settings and the prefix from which they start are those in Tune.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchForm {
    /// Candidates of a generation in Choose.
    pub candidates: usize,
    /// Dimensions of the random subspace that is searched.
    pub dimension: usize,
    /// Distance of the first candidates from the parent, in token norms.
    pub spread: f64,
    pub seed: u64,
    /// The text that is wanted; empty for none.
    pub text: String,
    /// Whether its likelihood counts in place of its chrF2 with the output, where the module's unit scores texts.
    pub by_likelihood: bool,
    /// Whether Search starts from the embedding rows of the wanted text in place of the prefix in Tune, where the module's unit scores
    /// texts: around random rows every text is about equally likely.
    pub from_text: bool,
    /// Words that are wanted in an output, with commas between them.
    pub wanted: String,
    /// Words that are not wanted in an output, with commas between them.
    pub unwanted: String,
    /// Whether the distance from the baseline counts.
    pub away: bool,
    /// The least distinct-4 of an output.
    pub floor: f64,
    /// Maximum number of candidates that Search runs.
    pub budget: usize,
}

impl Default for SearchForm {
    fn default() -> Self {
        let usual = SearchSettings::default();
        Self {
            candidates: 4,
            dimension: usual.dimension,
            spread: usual.spread,
            seed: 1,
            text: String::new(),
            by_likelihood: true,
            from_text: true,
            wanted: String::new(),
            unwanted: String::new(),
            away: false,
            floor: Objective::FLOOR,
            budget: 100,
        }
    }
}

impl SearchForm {
    pub const CANDIDATES: std::ops::RangeInclusive<usize> = 2..=4;
    pub const DIMENSIONS: std::ops::RangeInclusive<usize> = 1..=MAX_DIMENSION;
    pub const SPREADS: std::ops::RangeInclusive<f64> = 0.01..=10.0;
    pub const FLOORS: std::ops::RangeInclusive<f64> = 0.0..=1.0;
    pub const BUDGETS: std::ops::RangeInclusive<usize> = 1..=10_000;

    /// Returns how candidates are proposed in `mode`.
    pub fn settings(&self, mode: FindMode) -> SearchSettings {
        SearchSettings {
            dimension: self.dimension,
            population: (mode == FindMode::Choose).then_some(self.candidates.min(MAX_POPULATION)),
            spread: self.spread,
            seed: self.seed,
            ..SearchSettings::default()
        }
    }

    /// Returns what is wanted of an output on a module that scores texts, or does not.
    pub fn objective(&self, scores: bool) -> Objective {
        let words = |list: &str| {
            let words = list.split([',', '、', '，', '\n']).map(str::trim);
            words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        Objective {
            text: Some(self.text.clone()).filter(|text| !text.trim().is_empty()),
            by: match self.by_likelihood && scores {
                true => Closeness::Likelihood,
                false => Closeness::Chrf2,
            },
            wanted: words(&self.wanted),
            unwanted: words(&self.unwanted),
            away: self.away,
            floor: self.floor,
        }
    }

    /// Returns the plan of an experiment: the baseline, with the prompt and the settings of Tune.
    pub fn plan(prompt: &PromptForm) -> Plan {
        let none = Sweep {
            kind: PrefixKind::Constant,
            lengths: Vec::new(),
            magnitudes: Magnitudes::Raw(Values::List(Vec::new())),
            rounding: Rounding::default(),
        };
        Plan {
            name: prompt.user.replace('\n', " ").chars().take(32).collect(),
            sweeps: Vec::new(),
            closing: false,
            settings: prompt.settings(),
            ..Plan::new(prompt.prompt(), none)
        }
    }

    /// Returns the fields with every number within its range.
    #[must_use]
    pub fn within_bounds(mut self) -> Self {
        let usual = Self::default();
        let within = |value: f64, range: std::ops::RangeInclusive<f64>, usual: f64| match value.is_finite() {
            true => value.clamp(*range.start(), *range.end()),
            false => usual,
        };
        let whole = |value: usize, range: std::ops::RangeInclusive<usize>| value.clamp(*range.start(), *range.end());
        self.candidates = whole(self.candidates, Self::CANDIDATES);
        self.dimension = whole(self.dimension, Self::DIMENSIONS);
        self.budget = whole(self.budget, Self::BUDGETS);
        self.spread = within(self.spread, Self::SPREADS, usual.spread);
        self.floor = within(self.floor, Self::FLOORS, usual.floor);
        self
    }
}

/// Why candidates cannot be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchUnavailable {
    StillConnecting,
    NotConnected,
    /// The history is not open, so nothing can be saved.
    NoHistory,
    EmptyPrompt,
    /// The prefix in Tune is incomplete.
    NoPrefix,
    /// Nothing is wanted of the outputs.
    NoObjective,
    /// An interrupted search ran with this model.
    OtherModel(String),
    /// Another mode is running.
    OtherMode,
    /// A field has an invalid value.
    WrongField,
}

/// A chosen prefix relative to the parent of its search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RelativeToParent {
    /// Median L2 norm of its rows over that of the parent.
    pub norm: f64,
    /// Mean cosine between its rows and those of the parent, -1 to 1.
    pub cosine: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_separated_by_commas_of_both_languages() {
        let form = SearchForm {
            wanted: " sea, storm ,".into(),
            unwanted: "船、 海，".into(),
            ..SearchForm::default()
        };
        let objective = form.objective(false);
        assert_eq!(objective.wanted, ["sea", "storm"]);
        assert_eq!(objective.unwanted, ["船", "海"]);
        assert_eq!(objective.text, None);
    }

    #[test]
    fn numbers_of_a_settings_file_are_brought_within_their_ranges() {
        let form = SearchForm {
            candidates: 90,
            dimension: 0,
            spread: f64::NAN,
            floor: 7.0,
            budget: 0,
            ..SearchForm::default()
        };
        let form = form.within_bounds();
        let usual = SearchForm::default();
        assert_eq!((form.candidates, form.dimension, form.budget), (4, 1, 1));
        assert_eq!((form.spread, form.floor), (usual.spread, 1.0));
    }
}
