//! The labels of runs, and the format of measures, which are the same everywhere.

use std::sync::Arc;

use eframe::egui::{Color32, FontId, Galley, Ui};
use softprefix_core::compare::Measure;
use softprefix_core::experiment::label::LabelWords;
use softprefix_core::experiment::{Analysis, GroupKey, Prompt, Record};
use softprefix_core::prefix::{BlendEndpoint, Generator, Origin, PrefixKind, PrefixRecipe};

use super::context::PanelContext;
use crate::model::{KindChoice, Preset, beginning};
use crate::text::Text;
use crate::views::paint;

/// Maximum number of characters of a prompt without a title.
const PROMPT: usize = 32;

/// Returns the label of a record: `2.9×, P 4, Constant`; with its prompt and its model if `among` has several.
pub(super) fn of(cx: &PanelContext<'_>, record: &Record, among: &Analysis) -> String {
    let mut place = Vec::new();
    let keys = || among.groups.iter().map(|group| &group.key);
    if keys().any(|key| key.prompt != record.prompt) {
        place.push(prompt(cx, &record.prompt));
    }
    let module = (&record.module.model, &record.module.address);
    if keys().any(|key| (&key.model, &key.address) != module) {
        place.push(super::sweep::words::module(module.0, module.1));
    }
    with_words(cx.text, |words| words.label(record, &place))
}

/// Lays a label out on one line of `width`. What does not fit is left out from its end; that the text is cut off stays.
pub(super) fn laid_out(ui: &Ui, text: &Text, label: &str, font: FontId, colour: Color32, width: f32) -> Arc<Galley> {
    let ending = [text.comma, text.cut_off].concat();
    let whole = paint::line_of_text(ui, label, font.clone(), colour);
    let Some(beginning) = label.strip_suffix(&ending).filter(|_| whole.size().x > width) else {
        return paint::cut_to(ui, label, font, colour, width);
    };
    let room = width - paint::line_of_text(ui, &ending, font.clone(), colour).size().x;
    let shown = paint::cut_to(ui, beginning, font.clone(), colour, room.max(0.0));
    // The last glyph is the ellipsis.
    let count = shown.rows.first().map_or(0, |row| row.glyphs.len().saturating_sub(1));
    let beginning: String = beginning.chars().take(count).collect();
    paint::cut_to(ui, &format!("{beginning}…{ending}"), font, colour, width)
}

/// Returns the label of a recipe: `2.9×, P 4, Constant`.
pub(super) fn recipe(text: &Text, of: &PrefixRecipe) -> String {
    with_words(text, |words| words.recipe(of))
}

/// Formats a magnitude: `2.9×`. For unscaled rows it is their own size, if known.
fn magnitude(text: &Text, of: &PrefixRecipe, token_norms: Option<f64>) -> String {
    use softprefix_core::prefix::Magnitude::{TokenNorms, Unscaled};
    let shown = match (of.magnitude, token_norms) {
        (Unscaled, Some(norms)) => TokenNorms(norms),
        (given, _) => given,
    };
    with_words(text, |words| words.magnitude(shown))
}

/// Returns the settings of a shown text that differ from the controls: `2.4×, Tea recipe`. Empty if none of them has a name.
pub(super) fn differing(
    cx: &PanelContext<'_>,
    shown: &GroupKey,
    recipe: Option<(&PrefixRecipe, Option<f64>)>,
) -> String {
    let workbench = cx.workbench;
    let mut parts = Vec::new();
    if let Some((of, token_norms)) = recipe {
        let now = workbench.prefix.recipe();
        if of.magnitude != now.magnitude {
            parts.push(magnitude(cx.text, of, token_norms));
        }
        if of.len != now.len {
            parts.push(format!("P {}", of.len));
        }
        if of.kind != now.kind {
            parts.push(kind(cx.text, &of.kind));
        }
    }
    let now = workbench.group_key();
    if shown.prompt != now.prompt {
        parts.push(prompt(cx, &shown.prompt));
    }
    if (&shown.model, &shown.address) != (&now.model, &now.address) {
        parts.push(shown.model.clone());
    }
    parts.join(cx.text.comma)
}

/// Returns the title of a prompt's preset, or its first words.
pub(super) fn prompt(cx: &PanelContext<'_>, of: &Prompt) -> String {
    if let Some(preset) = Preset::of(of) {
        return preset.title(cx.workbench.settings.language).to_owned();
    }
    beginning(&of.user, PROMPT)
}

/// Returns the name of a kind of prefix, with its texts.
pub(super) fn kind(text: &Text, of: &PrefixKind) -> String {
    let drawn = |kind: KindChoice, seed: &u64, generator: &Generator| match generator {
        Generator::SplitMix64V1 => format!("{} {seed}", (text.kinds)(kind)),
        Generator::PythonRandom => format!("{} {seed} (Python)", (text.kinds)(kind)),
    };
    let words = match of.base() {
        PrefixKind::Constant => (text.kinds)(KindChoice::Constant).to_owned(),
        PrefixKind::RandomUniform { seed, generator } => drawn(KindChoice::RandomUniform, seed, generator),
        PrefixKind::RandomNormal { seed, generator } => drawn(KindChoice::RandomNormal, seed, generator),
        PrefixKind::SampledVocabulary { seed, generator } => drawn(KindChoice::Sampled, seed, generator),
        PrefixKind::Words { text: words } => (text.quoted)(words),
        PrefixKind::Blend { from, to, t } => {
            format!("{} → {} {t:.2}", blend_end(text, from), blend_end(text, to))
        }
        PrefixKind::Contrast { text: words, minus } => format!("{} − {}", (text.quoted)(words), (text.quoted)(minus)),
        PrefixKind::Imported { name, origin, .. } => match origin {
            Origin::File => name.clone(),
            origin => format!("{} {}", (text.origin)(origin), (text.quoted)(name)),
        },
        PrefixKind::Chosen { name, generation, .. } => format!("{name} +{generation}"),
        other => other.name().to_owned(),
    };
    match of.envelope() {
        // The envelope itself is shown where it is drawn.
        Some(_) => format!("{words} × {}", text.envelope_short),
        None => words,
    }
}

/// A text in quotation marks, stored rows by their name.
fn blend_end(text: &Text, end: &BlendEndpoint) -> String {
    match end {
        BlendEndpoint::Text(words) => (text.quoted)(words),
        BlendEndpoint::Stored { name, .. } => name.clone(),
    }
}

/// Formats the value of a measure.
pub(super) fn figures(measure: Measure, value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) => match measure {
            Measure::Chrf2 => format!("{value:.1}"),
            Measure::FirstDivergence | Measure::Length => format!("{value:.0}"),
            Measure::KlMean => super::scores::nats(value),
            Measure::Perplexity => super::scores::factor(value),
            _ => format!("{value:.2}"),
        },
    }
}

/// Formats the change from `a` to `b`, rounded once: `+0.12`.
pub(super) fn change(measure: Measure, a: f64, b: f64) -> String {
    let size = figures(measure, Some((b - a).abs()));
    if size.contains(|digit: char| ('1'..='9').contains(&digit)) {
        let sign = if b > a { "+" } else { "-" };
        format!("{sign}{size}")
    } else {
        "0".to_owned()
    }
}

fn with_words<R>(text: &Text, with: impl FnOnce(&LabelWords<'_>) -> R) -> R {
    with(&LabelWords {
        baseline: text.baseline,
        raw: text.raw,
        unscaled: text.unscaled,
        cut: text.cut_off,
        comma: text.comma,
        kind: &|of| kind(text, of),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_compare_values_and_not_their_formatting() {
        // Written as 36.0 and 36.2.
        assert_eq!(change(Measure::Chrf2, 36.04, 36.16), "+0.1");
        // Both are written as 0.90.
        assert_eq!(change(Measure::Distinct4, 0.8951, 0.9049), "+0.01");
        assert_eq!(change(Measure::Chrf2, 36.0, 29.1), "-6.9");
        assert_eq!(change(Measure::Chrf2, 36.01, 36.0), "0");
        assert_eq!(change(Measure::FirstDivergence, 19.0, 14.0), "-5");
    }
}
