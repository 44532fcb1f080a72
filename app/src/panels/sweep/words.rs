//! Recipes, cases and changes between two records in the window's words.

use softprefix_core::compare::Measure;
use softprefix_core::experiment::Record;
use softprefix_core::prefix::{Generator, Magnitude, PrefixKind, PrefixRecipe};

use crate::model::KindChoice;
use crate::model::sweep::SweepCase;
use crate::text::{SweepText, Text};
use crate::views::axis::written;

/// A number as it was given where that is short, else in two figures.
pub fn number(value: f64) -> String {
    let exact = if value != 0.0 && value.abs() < 1e-3 {
        format!("{value:e}")
    } else {
        value.to_string()
    };
    if exact.len() <= 6 { exact } else { written(value) }
}

/// `2.9×`, or a raw value.
pub fn magnitude(of: Magnitude) -> String {
    match of {
        Magnitude::TokenNorms(value) => format!("{}×", number(value)),
        Magnitude::Raw(value) => number(value),
        Magnitude::Unscaled => "1:1".to_owned(),
    }
}

/// What a prefix is made of, in a few words.
pub fn kind(text: &Text, of: &PrefixKind) -> String {
    let drawn = |kind: KindChoice, seed: &u64, generator: &Generator| match generator {
        Generator::SplitMix64V1 => format!("{} {seed}", (text.kinds)(kind)),
        Generator::PythonRandom => format!("{} {seed} (Python)", (text.kinds)(kind)),
    };
    let words = match of.base() {
        PrefixKind::Constant => (text.kinds)(KindChoice::Constant).to_owned(),
        PrefixKind::RandomUniform { seed, generator } => drawn(KindChoice::RandomUniform, seed, generator),
        PrefixKind::RandomNormal { seed, generator } => drawn(KindChoice::RandomNormal, seed, generator),
        PrefixKind::SampledVocabulary { seed, generator } => drawn(KindChoice::Sampled, seed, generator),
        PrefixKind::Words { text: words } => format!("“{words}”"),
        PrefixKind::Blend { from, to, t } => format!("“{from}” → “{to}” {t:.2}"),
        PrefixKind::Contrast { text: words, minus } => format!("“{words}” − “{minus}”"),
        PrefixKind::Imported { name, .. } => name.clone(),
        other => other.name().to_owned(),
    };
    match of.envelope() {
        // A sign that stands for the drawing: which one is told where it is drawn.
        Some(_) => format!("{words} × ∿"),
        None => words,
    }
}

/// `P 4, 2.9×, Constant`
pub fn recipe(text: &Text, of: &PrefixRecipe) -> String {
    let Text { comma, .. } = text;
    let (size, kind) = (magnitude(of.magnitude), kind(text, &of.kind));
    format!("P {}{comma}{size}{comma}{kind}", of.len)
}

/// The record's recipe in words, or that it is a baseline.
pub fn made_with(text: &Text, sweep: &SweepText, record: &Record) -> String {
    record
        .case
        .recipe
        .as_ref()
        .map_or_else(|| sweep.baseline.to_owned(), |of| recipe(text, of))
}

/// A case's name: that of its preset, or the beginning of its text.
pub fn case(text: &Text, of: &SweepCase) -> (String, Option<&'static str>) {
    let own = of.user.replace('\n', " ");
    match of.preset() {
        Some(preset) => (own, Some((text.presets)(preset.key))),
        None => (own, None),
    }
}

/// The value of a measure as it is written everywhere.
pub fn figures(measure: Measure, value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) => match measure {
            Measure::Chrf2 => format!("{value:.1}"),
            Measure::FirstDivergence | Measure::Length => format!("{value:.0}"),
            Measure::KlMean => super::super::deep::nats(value),
            Measure::Perplexity => super::super::deep::factor(value),
            _ => format!("{value:.2}"),
        },
    }
}

/// A model and where it runs, beside those of another module.
pub fn module(model: &str, address: &str) -> String {
    format!("{model} ({address})")
}

/// What was asked differently of `right` than of `left`.
pub fn changes(text: &Text, sweep: &SweepText, left: &Record, right: &Record) -> Vec<String> {
    let mut changed = Vec::new();
    if left.module.model != right.module.model || left.module.address != right.module.address {
        let name = |record: &Record| format!("{} {}", record.module.address, record.module.model);
        changed.push((sweep.changed_model)(&name(left), &name(right)));
    }
    if left.prompt != right.prompt {
        changed.push(sweep.changed_prompt.to_owned());
    }
    match (&left.case.recipe, &right.case.recipe) {
        (Some(a), Some(b)) => {
            if a.kind != b.kind {
                changed.push((sweep.changed_kind)(&kind(text, &a.kind), &kind(text, &b.kind)));
            }
            if a.len != b.len {
                changed.push((sweep.changed_p)(a.len, b.len));
            }
            if a.magnitude != b.magnitude {
                changed.push((sweep.changed_magnitude)(
                    &magnitude(a.magnitude),
                    &magnitude(b.magnitude),
                ));
            }
            if a.rounding != b.rounding {
                changed.push(sweep.changed_rounding.to_owned());
            }
        }
        (None, Some(b)) => changed.push((sweep.added_prefix)(&recipe(text, b))),
        (Some(_), None) => changed.push(sweep.removed_prefix.to_owned()),
        (None, None) => {}
    }
    if left.settings != right.settings {
        changed.push(sweep.changed_sampling.to_owned());
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magnitudes_are_written_as_they_were_given() {
        for (given, words) in [
            (Magnitude::TokenNorms(2.9), "2.9×"),
            (Magnitude::TokenNorms(0.0), "0×"),
            (Magnitude::Raw(1e-4), "1e-4"),
            (Magnitude::Raw(0.05), "0.05"),
            (Magnitude::TokenNorms(0.004_641_6), "0.0046×"),
        ] {
            assert_eq!(magnitude(given), words);
        }
    }
}
