//! Descriptions of recipes, prompts and the changes between two records.

pub use softprefix_core::experiment::label::number;
use softprefix_core::experiment::{Prompt, Record};
use softprefix_core::prefix::Magnitude;

use crate::model::{Language, Preset};
use crate::panels::label::recipe;
pub(in crate::panels) use crate::panels::label::{figures, kind};
use crate::text::{SweepText, Text};

/// Formats a magnitude: `2.9×`, or a raw value.
pub fn magnitude(text: &Text, of: Magnitude) -> String {
    match of {
        Magnitude::TokenNorms(value) => format!("{}×", number(value)),
        Magnitude::Raw(value) => number(value),
        Magnitude::Unscaled => text.unscaled.to_owned(),
    }
}

/// Returns the name of a prompt: that of its preset, or the beginning of its text.
pub fn prompt(language: Language, of: &Prompt) -> (String, Option<&'static str>) {
    let own = of.user.replace('\n', " ");
    match Preset::of(of) {
        Some(preset) => (own, Some(preset.title(language))),
        None => (own, None),
    }
}

/// Returns the name of a model with its module, where there are several modules.
pub fn module(model: &str, address: &str) -> String {
    format!("{model} ({address})")
}

/// Describes the settings of `right` that differ from those of `left`.
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
                    &magnitude(text, a.magnitude),
                    &magnitude(text, b.magnitude),
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
