//! The sweep's controls as values: prompts, lengths, magnitudes and repeats; [`SweepForm::plan`] converts them to a
//! plan.

use serde::{Deserialize, Serialize};
use softprefix_core::compare::Measure;
use softprefix_core::experiment::{Magnitudes, Plan, Prompt, SCRIPT_VALUES, Sweep, Values};
use softprefix_core::prefix::{MAX_LEN, PrefixKind, Rounding};

use super::magnitudes::{self, USUAL, USUAL_RAW};
use super::{MagnitudeUnit, PRESETS, PromptForm};

/// Ready-made lists of magnitudes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Range {
    /// 0, and values from far below the norms of tokens to where outputs collapse.
    Usual,
    /// 0 and the whole axis in equal ratios.
    Whole,
    /// The ten raw values of existing scripts, truncated to bf16 as the scripts do.
    Script,
}

impl Range {
    pub const ALL: [Self; 3] = [Self::Usual, Self::Whole, Self::Script];
}

const WHOLE: &str = "0, 0.001 … 100 (16)";
const WHOLE_RAW: &str = "0, 1e-5 … 10 (19)";
const SCRIPT: &str = "0, 1e-4, 0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 1, 2";

/// The sweep's controls. Kind of prefix, sampling and output length are those of the Tune view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SweepForm {
    #[serde(rename = "cases")]
    pub prompts: Vec<Prompt>,
    /// Every P.
    #[serde(rename = "lens")]
    pub lengths: Vec<usize>,
    /// The magnitudes as typed; see [`magnitudes`].
    pub magnitudes: String,
    pub unit: MagnitudeUnit,
    pub rounding: Rounding,
    /// The list and the rounding of the other unit, from before the unit was changed.
    other: Option<(MagnitudeUnit, String, Rounding)>,
    /// Whether the unit is raw only because the module does not report its vocabulary's norms.
    norms_unknown: bool,
    pub repeats: usize,
    /// Whether KL and perplexity of every case are measured, where the unit supports it.
    #[serde(rename = "deep")]
    pub scored: bool,
    /// The measure of the threshold search.
    #[serde(rename = "budget_measure")]
    pub threshold_measure: Measure,
    /// The least value of that measure, on its own scale.
    #[serde(rename = "budget")]
    pub threshold_minimum: f64,
    /// A second module that runs the same plan: `embedded` or `host:port`; empty for none.
    #[serde(rename = "also")]
    pub second_module: String,
    /// The second module's model, if it differs from the first one's.
    #[serde(rename = "also_model")]
    pub second_model: Option<String>,
}

impl Default for SweepForm {
    fn default() -> Self {
        let preset = &PRESETS[0];
        Self {
            prompts: vec![Prompt {
                system: preset.system.to_owned(),
                user: preset.user.to_owned(),
            }],
            lengths: vec![1, 4],
            magnitudes: USUAL.to_owned(),
            unit: MagnitudeUnit::TokenNorms,
            rounding: Rounding::NearestEven,
            other: None,
            norms_unknown: false,
            repeats: 1,
            scored: true,
            threshold_measure: Measure::Chrf2,
            threshold_minimum: 80.0,
            second_module: String::new(),
            second_model: None,
        }
    }
}

impl SweepForm {
    /// Largest number of runs of each case.
    pub const MAX_REPEATS: usize = 100;
    /// The default minimum of a threshold search, as a share of the measure's largest value.
    const DEFAULT_MINIMUM_SHARE: f64 = 0.8;
    /// The same for the only such measure without a largest value, the number of code points before the first difference.
    const DEFAULT_MINIMUM_CODE_POINTS: f64 = 20.0;

    /// Returns the magnitudes; empty if the text is not a list (the field does not accept such a text).
    pub fn values(&self) -> Vec<f64> {
        // The module may force raw values; the field and the plan refuse negative norms.
        magnitudes::parse(&self.magnitudes, MagnitudeUnit::Raw).unwrap_or_default()
    }

    /// Sets one of the ready-made lists.
    pub fn apply_range(&mut self, range: Range) {
        let raw = self.unit == MagnitudeUnit::Raw;
        self.rounding = Rounding::NearestEven;
        self.magnitudes = match range {
            Range::Usual if raw => USUAL_RAW,
            Range::Usual => USUAL,
            Range::Whole if raw => WHOLE_RAW,
            Range::Whole => WHOLE,
            Range::Script => {
                self.unit = MagnitudeUnit::Raw;
                self.rounding = Rounding::Truncate;
                SCRIPT
            }
        }
        .to_owned();
    }

    /// Returns the ready-made list that is set, if it is one.
    pub fn range(&self) -> Option<Range> {
        Range::ALL.into_iter().find(|range| {
            let mut other = self.clone();
            other.apply_range(*range);
            other == *self
        })
    }

    /// Changes the unit, and the list to the last one in that unit, or else to its default: the values of one mean nothing in the other.
    pub fn set_unit(&mut self, unit: MagnitudeUnit) {
        if self.unit == unit {
            return;
        }
        let before = (self.unit, self.magnitudes.clone(), self.rounding);
        let last = self.other.replace(before).filter(|(of, ..)| *of == unit);
        self.unit = unit;
        match last {
            Some((_, magnitudes, rounding)) => (self.magnitudes, self.rounding) = (magnitudes, rounding),
            None => self.apply_range(Range::Usual),
        }
    }

    /// Changes the unit to raw where the module does not report its vocabulary's norms, and back where it does.
    pub fn set_norms_known(&mut self, known: bool) {
        if known && std::mem::take(&mut self.norms_unknown) {
            self.set_unit(MagnitudeUnit::TokenNorms);
        } else if !known && self.unit == MagnitudeUnit::TokenNorms {
            self.norms_unknown = true;
            self.set_unit(MagnitudeUnit::Raw);
        }
    }

    /// Changes the measure of the threshold search. On another scale the old minimum means nothing, so it becomes the default of the new scale.
    /// A measure without a threshold is ignored.
    pub fn set_threshold_measure(&mut self, measure: Measure) {
        if !measure.has_threshold() {
            return;
        }
        if measure.full_scale() != self.threshold_measure.full_scale() {
            let of_scale = measure
                .full_scale()
                .map(|largest| largest * Self::DEFAULT_MINIMUM_SHARE);
            self.threshold_minimum = of_scale.unwrap_or(Self::DEFAULT_MINIMUM_CODE_POINTS);
        }
        self.threshold_measure = measure;
    }

    /// Returns the number of cells per prompt: one for each length and magnitude.
    pub fn cells(&self) -> usize {
        self.lengths.len() * self.values().len()
    }

    /// Returns the plan of these fields with prefixes of `kind` and the settings of `prompt`. An envelope needs two
    /// rows: prefixes of one row run without it, as a sweep of their own.
    pub fn plan(&self, kind: PrefixKind, prompt: &PromptForm, name: String) -> Plan {
        let values = Values::List(self.values());
        let magnitudes = match self.unit {
            MagnitudeUnit::TokenNorms => Magnitudes::TokenNorms(values),
            MagnitudeUnit::Raw => Magnitudes::Raw(values),
        };
        let sweep = |kind: PrefixKind, lengths: Vec<usize>| Sweep {
            kind,
            lengths,
            magnitudes: magnitudes.clone(),
            rounding: self.rounding,
        };
        let (single, longer): (Vec<usize>, Vec<usize>) = self.lengths.iter().partition(|&&len| len < 2);
        let sweeps = match kind.envelope() {
            Some(_) if !single.is_empty() => {
                let parts = [(kind.clone().shaped(None), single), (kind, longer)];
                let some = parts.into_iter().filter(|(_, lengths)| !lengths.is_empty());
                some.map(|(kind, lengths)| sweep(kind, lengths)).collect()
            }
            _ => vec![sweep(kind, self.lengths.clone())],
        };
        let first = self.prompts.first().cloned().unwrap_or_default();
        Plan {
            name,
            prompts: self.prompts.clone(),
            repeats: self.repeats,
            scored: self.scored,
            settings: prompt.settings(),
            sweeps,
            // Defaults of the other fields only: prompts and sweeps are those above.
            ..Plan::new(first, sweep(PrefixKind::Constant, vec![1]))
        }
    }

    /// Sets the fields from a plan, as far as they can express it: values of a [`Values::Log`] become those of the field's notation, which have
    /// three significant digits, and of more magnitudes than the field takes, only some are kept, evenly spread.
    pub fn set_from_plan(&mut self, plan: &Plan) {
        self.prompts = plan.prompts.clone();
        self.repeats = plan.repeats.max(1);
        self.scored = plan.scored;
        let Some(sweep) = plan.sweeps.first() else { return };
        self.lengths = plan
            .sweeps
            .iter()
            .flat_map(|sweep| sweep.lengths.iter().copied())
            .collect();
        self.lengths.sort_unstable();
        self.lengths.dedup();
        self.rounding = sweep.rounding;
        let values = match &sweep.magnitudes {
            Magnitudes::Raw(values) => {
                self.unit = MagnitudeUnit::Raw;
                values
            }
            Magnitudes::TokenNorms(values) => {
                self.unit = MagnitudeUnit::TokenNorms;
                values
            }
            Magnitudes::Unscaled => return,
        };
        self.norms_unknown = false;
        self.magnitudes = match values {
            Values::List(list) if *list == SCRIPT_VALUES => SCRIPT.to_owned(),
            Values::List(list) => [USUAL, USUAL_RAW, WHOLE, WHOLE_RAW]
                .into_iter()
                .find(|text| magnitudes::parse(text, MagnitudeUnit::Raw).is_ok_and(|values| values == *list))
                .map_or_else(|| written(list), str::to_owned),
            Values::Log { from, to, count, zero } => {
                let zero_first = if *zero { "0, " } else { "" };
                let (smaller, larger) = (from.min(*to), from.max(*to));
                if *count > 1 && smaller < larger {
                    let count = (*count).min(magnitudes::MAX_VALUES - usize::from(*zero));
                    format!("{zero_first}{smaller} … {larger} ({count})")
                } else {
                    format!("{zero_first}{from}")
                }
            }
            // Equal steps are written out, since the field has no shorter notation for them, with six digits like the plan's.
            Values::Linear { from, to, count } => {
                let count = (*count).min(magnitudes::MAX_VALUES);
                let step = |i: usize| {
                    let value = from + (to - from) * i as f64 / count.saturating_sub(1).max(1) as f64;
                    format!("{value:.5e}").parse().unwrap_or(value)
                };
                written(&(0..count).map(step).collect::<Vec<_>>())
            }
        };
    }
}

fn written(values: &[f64]) -> String {
    let step = values.len().div_ceil(magnitudes::MAX_VALUES).max(1);
    let words: Vec<String> = values.iter().step_by(step).map(ToString::to_string).collect();
    words.join(", ")
}

/// Parses `1, 2, 4`: every P once, in ascending order; `None` if the text is not such a list, or has more than 64.
pub fn parse_lengths(text: &str) -> Option<Vec<usize>> {
    let mut lengths = Vec::new();
    for item in text.split([',', '、', ';', ' ']).filter(|item| !item.trim().is_empty()) {
        lengths.push(
            item.trim()
                .parse::<usize>()
                .ok()
                .filter(|len| (1..=MAX_LEN).contains(len))?,
        );
    }
    lengths.sort_unstable();
    lengths.dedup();
    (!lengths.is_empty() && lengths.len() <= 64).then_some(lengths)
}

/// Formats lengths as the field shows them.
pub fn written_lengths(lengths: &[usize]) -> String {
    let words: Vec<String> = lengths.iter().map(ToString::to_string).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_sorted_and_unique() {
        assert_eq!(parse_lengths("4, 1 2,4").unwrap(), [1, 2, 4]);
        for text in ["", "0", "1.5", "a"] {
            assert_eq!(parse_lengths(text), None, "{text}");
        }
    }

    #[test]
    fn the_scripts_list_is_raw_truncated_and_recognised() {
        let mut form = SweepForm::default();
        form.apply_range(Range::Script);
        assert_eq!(form.values(), SCRIPT_VALUES);
        assert_eq!((form.unit, form.rounding), (MagnitudeUnit::Raw, Rounding::Truncate));
        assert_eq!(form.range(), Some(Range::Script));
        form.apply_range(Range::Usual);
        assert_eq!(form.rounding, Rounding::NearestEven);
    }

    #[test]
    fn a_plan_sets_the_fields_that_it_was_made_of() {
        for range in Range::ALL {
            let mut form = SweepForm {
                repeats: 2,
                ..SweepForm::default()
            };
            form.apply_range(range);
            let plan = form.plan(PrefixKind::Constant, &PromptForm::default(), "n".to_owned());
            let mut again = SweepForm::default();
            again.set_from_plan(&plan);
            assert_eq!(again, form, "{range:?}");
            assert_eq!(plan.cases().unwrap().len(), 2 + 2 * form.cells());
        }
    }

    #[test]
    fn every_range_of_a_plan_becomes_a_list_that_the_field_accepts() {
        let log = |from, to, count, zero| Values::Log { from, to, count, zero };
        let linear = |count| Values::Linear {
            from: 0.0,
            to: 1.0,
            count,
        };
        let list = Values::List((1..=201).map(f64::from).collect());
        let form_of = |values: &Values| {
            let mut form = SweepForm::default();
            let mut plan = form.plan(PrefixKind::Constant, &PromptForm::default(), String::new());
            plan.sweeps[0].magnitudes = Magnitudes::TokenNorms(values.clone());
            form.set_from_plan(&plan);
            form
        };
        for (values, least, count) in [
            (log(0.01, 12.0, 13, false), 0.01, 13),
            (log(12.0, 0.01, 13, false), 0.01, 13),
            (log(2.0, 4.0, 1, false), 2.0, 1),
            (log(2.0, 2.0, 3, true), 0.0, 2),
            (log(0.01, 12.0, 500, true), 0.0, 200),
            (linear(usize::MAX), 0.0, 200),
            (list, 1.0, 101),
        ] {
            let read = form_of(&values).values();
            assert_eq!((read.first(), read.len()), (Some(&least), count), "{values:?}");
        }
        let written = form_of(&linear(11)).magnitudes;
        assert_eq!(written, "0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1");
    }

    #[test]
    fn a_plan_contains_sampling_and_token_limit() {
        let plan = SweepForm::default().plan(PrefixKind::Constant, &PromptForm::default(), String::new());
        assert_eq!(plan.settings.max_new_tokens, Some(64));
        assert_eq!(plan.settings.other["enable_top_k_sampling"], false);
    }
}
