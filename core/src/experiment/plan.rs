//! What an experiment asks: prompts x prefixes (recipe x lengths x magnitudes) x repeats, with baselines before and after each
//! prompt's cases. A plan unfolds into the same cases every time, so that an interrupted run can be resumed.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::prefix::{MAX_LEN, Magnitude, PrefixKind, PrefixRecipe, Rounding};
use crate::protocol::{Sampling, SetUp};

/// Version of the serialised plan.
pub const PLAN_VERSION: u32 = 1;

/// Most cases into which a plan may unfold.
pub const MAX_CASES: usize = 100_000;

/// A plan of an experiment: every prompt with every sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// Name given by the user; may be empty.
    #[serde(default)]
    pub name: String,
    /// Prompts, each run with all sweeps; at least one.
    pub prompts: Vec<Prompt>,
    /// The prefixes; with none, the plan measures only the noise of the baseline.
    pub sweeps: Vec<Sweep>,
    /// Number of runs of each case with a prefix.
    #[serde(default = "one")]
    pub repeats: usize,
    /// Runs of the baseline before the first prefix. At least 1.
    #[serde(default = "one")]
    pub baselines: usize,
    /// Whether the baseline is run once more after the last prefix, which shows whether the module has drifted.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub closing: bool,
    /// Whether the texts are scored afterwards by teacher forcing, for KL and perplexity, where the unit can do that.
    #[serde(rename = "deep", default, skip_serializing_if = "std::ops::Not::not")]
    pub scored: bool,
    /// Token limits and sampling of every case.
    #[serde(default)]
    pub settings: Settings,
}

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}

fn is_true(value: &bool) -> bool {
    *value
}

/// The texts that the model gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Prompt {
    /// System prompt; may be empty.
    #[serde(default)]
    pub system: String,
    /// User's prompt.
    pub user: String,
}

/// Token limits, streaming and sampling of inferences.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Most positions of an inference (prefix + template + prompt + output), as in the set-up; `None` takes the card's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_token_len: Option<u32>,
    /// Most output tokens. A stock unit has no such limit: its set-up leaves room for as many after any prompt, and an output can be longer
    /// after a short one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<usize>,
    /// Whether the output streams; with `None` our unit streams and a stock one sends whole texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streaming: Option<bool>,
    /// Further keys of the set-up (sampling), as they are sent.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub other: serde_json::Map<String, serde_json::Value>,
}

impl Settings {
    /// Settings for at most `max_new_tokens` output tokens, drawn by `sampling`.
    pub fn new(max_new_tokens: usize, sampling: &Sampling) -> Self {
        Self {
            max_new_tokens: Some(max_new_tokens),
            other: SetUp::new("", "").sampling(sampling).settings,
            ..Self::default()
        }
    }

    /// The sampling settings; `None` where there are none, so that the module's defaults apply.
    ///
    /// # Errors
    /// [`PlanError::BadSetting`] where a setting is not of its type.
    pub fn sampling(&self) -> Result<Option<Sampling>, PlanError> {
        let is_on = |switch: &str, key: &'static str| match self.other.get(switch) {
            None => Ok(self.other.contains_key(key)),
            Some(value) => value.as_bool().ok_or(PlanError::BadSetting { key }),
        };
        fn number<T: DeserializeOwned>(settings: &Settings, key: &'static str) -> Result<T, PlanError> {
            let value = settings.other.get(key).cloned().unwrap_or_default();
            serde_json::from_value(value).map_err(|_| PlanError::BadSetting { key })
        }
        let on = |switch: &str, key| Ok::<_, PlanError>(is_on(switch, key)?.then_some(key));
        if self.other.is_empty() {
            return Ok(None);
        }
        let temperature = on("enable_temperature", "temperature")?;
        let top_p = on("enable_top_p_sampling", "top_p")?;
        let top_k = on("enable_top_k_sampling", "top_k")?;
        let penalty = on("enable_repetition_penalty", "repetition_penalty")?;
        Ok(Some(Sampling {
            temperature: temperature.map(|key| number(self, key)).transpose()?,
            top_p: top_p.map(|key| number(self, key)).transpose()?,
            top_k: top_k.map(|key| number(self, key)).transpose()?,
            repetition_penalty: match penalty {
                Some(key) => Some((number(self, key)?, number(self, "penalty_window")?)),
                None => None,
            },
            seed: match self.other.contains_key("seed") {
                true => Some(number(self, "seed")?),
                false => None,
            },
        }))
    }
}

/// One kind of prefix at several lengths and magnitudes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// What varies from row to row; the sweep varies length and magnitude.
    pub kind: PrefixKind,
    /// Every P to run.
    #[serde(rename = "lens")]
    pub lengths: Vec<usize>,
    /// Every magnitude to run, with its unit.
    pub magnitudes: Magnitudes,
    /// How the computed values become bf16.
    #[serde(default)]
    pub rounding: Rounding,
}

/// The magnitudes of a sweep and their unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Magnitudes {
    /// Raw values v.
    Raw(Values),
    /// L2 norm of each row over the vocabulary's median.
    TokenNorms(Values),
    /// Rows without scaling ([`Magnitude::Unscaled`]): one case.
    Unscaled,
}

/// A list of numbers, or a range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Values {
    /// The numbers themselves, in their order.
    List(Vec<f64>),
    /// `count` values from `from` to `to` in equal ratios, both ends included; 0 in front if `zero`.
    Log {
        /// First value, above 0.
        from: f64,
        /// Last value, above 0.
        to: f64,
        /// Number of values, 0 in front not counted.
        count: usize,
        /// Whether 0 comes first.
        #[serde(default)]
        zero: bool,
    },
    /// `count` values from `from` to `to` in equal steps, both ends included.
    Linear {
        /// First value.
        from: f64,
        /// Last value.
        to: f64,
        /// Number of values.
        count: usize,
    },
}

/// The ten raw values of existing comparison scripts, small to large.
pub const SCRIPT_VALUES: [f64; 10] = [0.0, 1e-4, 1e-3, 5e-3, 1e-2, 5e-2, 1e-1, 2e-1, 1.0, 2.0];

/// One inference of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Place in the plan, from 0.
    pub index: usize,
    /// Unique within the plan: `baseline`, `prefix_val_0.01`, `prefix_val_0.01_P4#2`.
    pub name: String,
    /// Index of the prompt in the plan.
    pub prompt: usize,
    /// Number of the repeat, from 0; for a baseline, of its run.
    pub repeat: usize,
    /// The prefix; `None` for a baseline. A prefix of magnitude 0 is not a baseline.
    pub recipe: Option<PrefixRecipe>,
}

impl Case {
    /// A case outside of a plan, named after its recipe.
    pub fn new(index: usize, prompt: usize, repeat: usize, recipe: Option<PrefixRecipe>) -> Self {
        let mut name = recipe.as_ref().map_or_else(|| "baseline".to_owned(), magnitude_name);
        if repeat > 0 {
            name += &format!("#{}", repeat + 1);
        }
        Self {
            index,
            name,
            prompt,
            repeat,
            recipe,
        }
    }
}

/// `prefix_val_0.01` as existing scripts have it.
fn magnitude_name(recipe: &PrefixRecipe) -> String {
    match recipe.magnitude {
        Magnitude::Raw(value) => format!("prefix_val_{}", number(value)),
        Magnitude::TokenNorms(value) => format!("prefix_norm_{}", number(value)),
        Magnitude::Unscaled => "prefix_as_is".to_owned(),
    }
}

/// Why a plan cannot be run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// [`Plan::prompts`] is empty.
    #[error("the plan has no prompt. Enter at least one.")]
    NoPrompts,
    /// A prompt has no text besides white space.
    #[error("prompt {number} is empty. Write a prompt or remove it.")]
    EmptyPrompt {
        /// Place of the prompt in the plan, from 1.
        number: usize,
    },
    /// [`Sweep::lengths`] is empty.
    #[error("prefix {number} has no length P. Give at least one of 1 or more.")]
    NoLengths {
        /// Place of the sweep in the plan, from 1.
        number: usize,
    },
    /// A length is 0 or more than [`MAX_LEN`].
    #[error("prefix {number} has length P = {len}; P must be between 1 and {MAX_LEN}.")]
    BadLength {
        /// Place of the sweep in the plan, from 1.
        number: usize,
        /// The length.
        len: usize,
    },
    /// The list or range of magnitudes is empty.
    #[error("prefix {number} has no magnitudes. Give at least one, 0 included.")]
    NoMagnitudes {
        /// Place of the sweep in the plan, from 1.
        number: usize,
    },
    /// A magnitude is NaN or infinite.
    #[error("prefix {number} has the magnitude {value}, which is not a finite number. Correct it.")]
    BadMagnitude {
        /// Place of the sweep in the plan, from 1.
        number: usize,
        /// The magnitude.
        value: f64,
    },
    /// A magnitude in token norms is below 0.
    #[error(
        "prefix {number} has the magnitude {value} in token norms, which cannot be negative. Give it as a raw value."
    )]
    NegativeNorm {
        /// Place of the sweep in the plan, from 1.
        number: usize,
        /// The magnitude.
        value: f64,
    },
    /// An end of a [`Values::Log`] is 0, negative or not finite.
    #[error(
        "prefix {number} asks for a log range from {from} to {to}; both ends must be above 0. Add 0 as a separate value."
    )]
    BadLogRange {
        /// Place of the sweep in the plan, from 1.
        number: usize,
        /// First value as given.
        from: f64,
        /// Last value as given.
        to: f64,
    },
    /// [`Magnitudes::Unscaled`] on a kind whose values have no size of their own.
    #[error(
        "prefix {number} has no magnitude, which is possible only for rows of words or of a file. Choose a magnitude for {kind}."
    )]
    UnscaledNeedsWords {
        /// Place of the sweep in the plan, from 1.
        number: usize,
        /// [`PrefixKind::name`].
        kind: &'static str,
    },
    /// The plan unfolds into more than [`MAX_CASES`].
    #[error("the plan has {cases} cases, more than {MAX_CASES}. Take fewer prompts, lengths, magnitudes or repeats.")]
    TooMany {
        /// Number of cases.
        cases: usize,
    },
    /// [`Plan::repeats`] is 0.
    #[error("each case is to be run 0 times. Set the repeats to 1 or more.")]
    NoRepeats,
    /// A value of [`Settings::other`] is not of the type that the card gives it.
    #[error("the setting {key} is missing or of another type than it should be. Correct it in the file.")]
    BadSetting {
        /// Key of the value.
        key: &'static str,
    },
}

impl Values {
    /// The numbers, in order. `number` is the place of the sweep, for messages.
    fn list(&self, number: usize) -> Result<Vec<f64>, PlanError> {
        let (out, count) = match *self {
            Self::List(ref list) => (list.clone(), list.len()),
            Self::Log { from, to, count, zero } => {
                if !(from > 0.0 && to > 0.0 && from.is_finite() && to.is_finite()) {
                    return Err(PlanError::BadLogRange { number, from, to });
                }
                let step = |i| steps(i, count, from, to, |part| from * libm::pow(to / from, part));
                let zero = zero.then_some(0.0);
                (
                    zero.into_iter().chain((0..count.min(MAX_CASES)).map(step)).collect(),
                    count,
                )
            }
            Self::Linear { from, to, count } => {
                let step = |i| steps(i, count, from, to, |part| from + (to - from) * part);
                ((0..count.min(MAX_CASES)).map(step).collect(), count)
            }
        };
        if count > MAX_CASES {
            return Err(PlanError::TooMany { cases: count });
        }
        match out.iter().find(|value| !value.is_finite()) {
            Some(&value) => Err(PlanError::BadMagnitude { number, value }),
            None if out.is_empty() => Err(PlanError::NoMagnitudes { number }),
            None => Ok(out),
        }
    }
}

/// The i-th of `count` values: the ends exactly, those between to six digits, so that a person can read and type them.
fn steps(i: usize, count: usize, from: f64, to: f64, between: impl Fn(f64) -> f64) -> f64 {
    if i == 0 {
        from
    } else if i + 1 == count {
        to
    } else {
        six_digits(between(i as f64 / (count - 1) as f64))
    }
}

/// Rounds to six significant digits.
pub(super) fn six_digits(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

impl Sweep {
    /// The existing script's sweep: a constant prefix at its ten raw values, rounded by truncation.
    pub fn script(len: usize) -> Self {
        Self {
            kind: PrefixKind::Constant,
            lengths: vec![len],
            magnitudes: Magnitudes::Raw(Values::List(SCRIPT_VALUES.to_vec())),
            rounding: Rounding::Truncate,
        }
    }

    fn recipes(&self, number: usize) -> Result<Vec<PrefixRecipe>, PlanError> {
        if self.lengths.is_empty() {
            return Err(PlanError::NoLengths { number });
        }
        if let Some(&len) = self.lengths.iter().find(|&&len| len == 0 || len > MAX_LEN) {
            return Err(PlanError::BadLength { number, len });
        }
        let magnitudes: Vec<Magnitude> = match &self.magnitudes {
            Magnitudes::Raw(values) => values.list(number)?.into_iter().map(Magnitude::Raw).collect(),
            Magnitudes::TokenNorms(values) => {
                let values = values.list(number)?;
                if let Some(&value) = values.iter().find(|&&value| value < 0.0) {
                    return Err(PlanError::NegativeNorm { number, value });
                }
                values.into_iter().map(Magnitude::TokenNorms).collect()
            }
            Magnitudes::Unscaled if self.kind.allows_unscaled() => vec![Magnitude::Unscaled],
            Magnitudes::Unscaled => {
                return Err(PlanError::UnscaledNeedsWords {
                    number,
                    kind: self.kind.name(),
                });
            }
        };
        let cases = self.lengths.len().saturating_mul(magnitudes.len());
        if cases > MAX_CASES {
            return Err(PlanError::TooMany { cases });
        }
        let recipe = |len: usize, magnitude| PrefixRecipe {
            kind: self.kind.clone(),
            len,
            magnitude,
            rounding: self.rounding,
        };
        let of_len = |&len: &usize| magnitudes.iter().map(move |&magnitude| recipe(len, magnitude));
        Ok(self.lengths.iter().flat_map(of_len).collect())
    }
}

impl Plan {
    /// A plan for one prompt and one sweep.
    pub fn new(prompt: Prompt, sweep: Sweep) -> Self {
        Self {
            version: PLAN_VERSION,
            name: String::new(),
            prompts: vec![prompt],
            sweeps: vec![sweep],
            repeats: 1,
            baselines: 1,
            closing: true,
            scored: false,
            settings: Settings::default(),
        }
    }

    /// All cases in the order in which they are to be run: for each prompt its baseline, the sweeps (repeat by repeat, so that
    /// repeats lie apart in time), and the baseline again where [`Plan::closing`] is set.
    ///
    /// # Errors
    /// Every [`PlanError`].
    pub fn cases(&self) -> Result<Vec<Case>, PlanError> {
        if self.prompts.is_empty() {
            return Err(PlanError::NoPrompts);
        }
        if let Some(i) = self.prompts.iter().position(|prompt| prompt.user.trim().is_empty()) {
            return Err(PlanError::EmptyPrompt { number: i + 1 });
        }
        if self.repeats == 0 {
            return Err(PlanError::NoRepeats);
        }
        let mut recipes = Vec::new();
        for (i, sweep) in self.sweeps.iter().enumerate() {
            recipes.extend(sweep.recipes(i + 1)?.into_iter().map(|recipe| (i, recipe)));
        }
        let before = self.baselines.max(1);
        let of_prompt = recipes
            .len()
            .saturating_mul(self.repeats)
            .saturating_add(before)
            .saturating_add(usize::from(self.closing));
        let cases = of_prompt.saturating_mul(self.prompts.len());
        if cases > MAX_CASES {
            return Err(PlanError::TooMany { cases });
        }

        let mut out: Vec<Case> = Vec::with_capacity(cases);
        let mut add = |name: String, prompt, repeat, recipe: Option<&PrefixRecipe>| {
            out.push(Case {
                index: out.len(),
                name,
                prompt,
                repeat,
                recipe: recipe.cloned(),
            });
        };
        for prompt in 0..self.prompts.len() {
            for run in 0..before {
                add(self.name_of("baseline".to_owned(), prompt, run), prompt, run, None);
            }
            for repeat in 0..self.repeats {
                for (sweep, recipe) in &recipes {
                    add(
                        self.name_of(self.prefix_name(*sweep, recipe), prompt, repeat),
                        prompt,
                        repeat,
                        Some(recipe),
                    );
                }
            }
            if self.closing {
                let name = self.name_of("baseline".to_owned(), prompt, before);
                add(name, prompt, before, None);
            }
        }
        unique(&mut out);
        Ok(out)
    }

    /// `prefix_val_0.01` as existing scripts have it, with P and kind where the plan has several.
    fn prefix_name(&self, sweep: usize, recipe: &PrefixRecipe) -> String {
        let mut name = magnitude_name(recipe);
        if self
            .sweeps
            .iter()
            .any(|other| other.lengths.len() > 1 || other.lengths != self.sweeps[sweep].lengths)
        {
            name += &format!("_P{}", recipe.len);
        }
        if self.sweeps.len() > 1 {
            name += &format!("_{}{}", recipe.kind.name().replace(' ', "_"), sweep + 1);
        }
        name
    }

    fn name_of(&self, mut name: String, prompt: usize, repeat: usize) -> String {
        if self.prompts.len() > 1 {
            name += &format!("_prompt{}", prompt + 1);
        }
        if repeat > 0 {
            name += &format!("#{}", repeat + 1);
        }
        name
    }
}

/// A number as Python prints it in names: `0`, `0.0001`, `1.0`.
fn number(value: f64) -> String {
    if value == 0.0 {
        "0".to_owned()
    } else {
        format!("{value:?}")
    }
}

/// Numbers names that occur twice, since a magnitude may be listed twice.
fn unique(cases: &mut [Case]) {
    let mut seen = std::collections::HashMap::new();
    for case in cases {
        let times = seen.entry(case.name.clone()).or_insert(0_usize);
        *times += 1;
        if *times > 1 {
            case.name += &format!("~{times}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(user: &str) -> Prompt {
        Prompt {
            system: String::new(),
            user: user.to_owned(),
        }
    }

    fn constant(magnitudes: Magnitudes) -> Sweep {
        Sweep {
            kind: PrefixKind::Constant,
            lengths: vec![1],
            magnitudes,
            rounding: Rounding::NearestEven,
        }
    }

    fn names(plan: &Plan) -> Vec<String> {
        plan.cases().unwrap().into_iter().map(|case| case.name).collect()
    }

    #[test]
    fn the_scripts_ten_values_lie_between_two_baselines() {
        let plan = Plan::new(prompt("こんにちは"), Sweep::script(1));
        let cases = plan.cases().unwrap();
        assert_eq!(
            names(&plan)[..5],
            [
                "baseline",
                "prefix_val_0",
                "prefix_val_0.0001",
                "prefix_val_0.001",
                "prefix_val_0.005"
            ]
        );
        assert_eq!(names(&plan)[9..], ["prefix_val_1.0", "prefix_val_2.0", "baseline#2"]);
        assert!(cases[0].recipe.is_none() && cases[11].recipe.is_none());
        let zero = cases[1].recipe.as_ref().unwrap();
        assert_eq!(
            (zero.magnitude, zero.rounding, zero.len),
            (Magnitude::Raw(0.0), Rounding::Truncate, 1)
        );
        assert!(cases.iter().enumerate().all(|(i, case)| case.index == i));
    }

    #[test]
    fn everything_is_crossed_and_every_name_is_its_own() {
        let mut plan = Plan::new(prompt("a"), Sweep::script(1));
        plan.prompts.push(prompt("b"));
        plan.sweeps[0].lengths = vec![1, 4];
        plan.sweeps.push(Sweep {
            kind: PrefixKind::Words { text: "森".into() },
            lengths: vec![2],
            magnitudes: Magnitudes::Unscaled,
            rounding: Rounding::NearestEven,
        });
        plan.repeats = 3;
        plan.baselines = 2;
        let cases = plan.cases().unwrap();
        assert_eq!(cases.len(), 2 * (2 + 3 * (20 + 1) + 1));
        let mut unique: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), cases.len());
        assert!(unique.contains(&"prefix_val_0.01_P4_constant1_prompt2#3"), "{unique:?}");
        assert_eq!(cases.iter().filter(|case| case.recipe.is_none()).count(), 6);
    }

    #[test]
    fn a_log_range_includes_both_ends_and_zero_separately() {
        let values = Values::Log {
            from: 0.01,
            to: 10.0,
            count: 4,
            zero: true,
        };
        assert_eq!(values.list(1).unwrap(), [0.0, 0.01, 0.1, 1.0, 10.0]);
        assert_eq!(
            Values::Log {
                from: 3.0,
                to: 9.0,
                count: 1,
                zero: false
            }
            .list(1)
            .unwrap(),
            [3.0]
        );
        assert_eq!(
            Values::Linear {
                from: 0.0,
                to: 0.3,
                count: 4
            }
            .list(1)
            .unwrap(),
            [0.0, 0.1, 0.2, 0.3]
        );
    }

    #[test]
    fn a_magnitude_listed_twice_is_two_cases_with_two_names() {
        let plan = Plan::new(prompt("a"), constant(Magnitudes::Raw(Values::List(vec![0.1, 0.1]))));
        assert_eq!(
            names(&plan),
            ["baseline", "prefix_val_0.1", "prefix_val_0.1~2", "baseline#2"]
        );
    }

    #[test]
    fn without_prefixes_the_noise_alone_is_measured() {
        let mut plan = Plan::new(prompt("a"), Sweep::script(1));
        plan.sweeps.clear();
        plan.baselines = 4;
        assert_eq!(plan.cases().unwrap().len(), 5);
    }

    #[test]
    fn without_a_closing_baseline_the_last_case_is_the_last_prefix() {
        let mut plan = Plan::new(prompt("a"), constant(Magnitudes::Raw(Values::List(vec![0.5]))));
        plan.closing = false;
        assert_eq!(names(&plan), ["baseline", "prefix_val_0.5"]);
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
        // Plans of older journals do not have the field, and run the closing baseline.
        let older = text.replace(",\"closing\":false", "");
        assert_ne!(older, text);
        assert!(serde_json::from_str::<Plan>(&older).unwrap().closing);
    }

    #[test]
    fn plans_that_cannot_be_run_are_refused_with_the_reason() {
        let good = Plan::new(prompt("a"), Sweep::script(1));
        let refusal = |change: &dyn Fn(&mut Plan)| {
            let mut plan = good.clone();
            change(&mut plan);
            plan.cases().unwrap_err()
        };
        let with = |magnitudes: Magnitudes| refusal(&|plan| plan.sweeps[0].magnitudes = magnitudes.clone());
        assert_eq!(refusal(&|plan| plan.prompts.clear()), PlanError::NoPrompts);
        assert_eq!(
            refusal(&|plan| plan.prompts.push(prompt(" \n"))),
            PlanError::EmptyPrompt { number: 2 }
        );
        assert_eq!(refusal(&|plan| plan.repeats = 0), PlanError::NoRepeats);
        assert_eq!(
            refusal(&|plan| plan.sweeps[0].lengths.clear()),
            PlanError::NoLengths { number: 1 }
        );
        assert_eq!(
            refusal(&|plan| plan.sweeps[0].lengths.push(0)),
            PlanError::BadLength { number: 1, len: 0 }
        );
        assert_eq!(
            with(Magnitudes::Raw(Values::List(vec![]))),
            PlanError::NoMagnitudes { number: 1 }
        );
        assert!(matches!(
            with(Magnitudes::Raw(Values::List(vec![f64::NAN]))),
            PlanError::BadMagnitude { .. }
        ));
        assert!(matches!(
            with(Magnitudes::TokenNorms(Values::List(vec![-1.0]))),
            PlanError::NegativeNorm { .. }
        ));
        let log = |from, to, count| {
            Magnitudes::Raw(Values::Log {
                from,
                to,
                count,
                zero: false,
            })
        };
        assert!(matches!(with(log(0.0, 1.0, 3)), PlanError::BadLogRange { .. }));
        assert!(matches!(
            with(log(1.0, f64::INFINITY, 3)),
            PlanError::BadLogRange { .. }
        ));
        assert!(matches!(with(log(1.0, 2.0, usize::MAX)), PlanError::TooMany { .. }));
        assert!(matches!(
            with(Magnitudes::Unscaled),
            PlanError::UnscaledNeedsWords { .. }
        ));
        assert!(matches!(
            refusal(&|plan| plan.repeats = usize::MAX),
            PlanError::TooMany { .. }
        ));
    }

    #[test]
    fn a_plan_survives_its_serialised_form() {
        let mut plan = Plan::new(prompt("a"), Sweep::script(4));
        plan.sweeps.push(constant(Magnitudes::TokenNorms(Values::Log {
            from: 0.1,
            to: 10.0,
            count: 5,
            zero: true,
        })));
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }
}
