//! The label of a run, with its parts in the same order everywhere: magnitude, P and kind; what else distinguishes it from the other runs;
//! whether its text is cut off.

use super::analysis::Extent;
use super::record::Record;
use crate::prefix::{Magnitude, PrefixKind, PrefixRecipe};

/// The words from which labels are composed, in one language.
pub struct LabelWords<'w> {
    /// A run without a prefix.
    pub baseline: &'w str,
    /// After a magnitude that is a raw value.
    pub raw: &'w str,
    /// The magnitude of rows that are used as they are.
    pub unscaled: &'w str,
    /// The text is cut off.
    pub cut: &'w str,
    /// Between two parts.
    pub comma: &'w str,
    /// What a prefix is made of.
    pub kind: &'w dyn Fn(&PrefixKind) -> String,
}

impl LabelWords<'_> {
    /// `2.9×`; a raw value as `0.05 raw`.
    pub fn magnitude(&self, magnitude: Magnitude) -> String {
        match magnitude {
            Magnitude::TokenNorms(value) => format!("{}×", number(value)),
            Magnitude::Raw(value) => format!("{} {}", number(value), self.raw),
            Magnitude::Unscaled => self.unscaled.to_owned(),
        }
    }

    /// `2.9×, P 4, Constant`.
    pub fn recipe(&self, recipe: &PrefixRecipe) -> String {
        let len = format!("P {}", recipe.len);
        [self.magnitude(recipe.magnitude), len, (self.kind)(&recipe.kind)].join(self.comma)
    }

    /// The label of a record: `2.9×, P 4, Constant, Spring poem, cut off`.
    ///
    /// `place` is the prompt if there are several, and the model if there are several; empty ones are left out.
    pub fn label(&self, record: &Record, place: &[String]) -> String {
        let recipe = record.prefix.as_ref().map(|prefix| &prefix.recipe);
        let recipe = recipe.or(record.case.recipe.as_ref());
        let made = recipe.map_or_else(|| self.baseline.to_owned(), |recipe| self.recipe(recipe));
        let again = (record.case.repeat > 0).then(|| format!("#{}", record.case.repeat + 1));
        let cut = matches!(Extent::of(record), Extent::Cut { .. }).then(|| self.cut.to_owned());
        let place = place.iter().filter(|words| !words.is_empty()).cloned();
        let parts: Vec<String> = [made].into_iter().chain(place).chain(again).chain(cut).collect();
        parts.join(self.comma)
    }
}

/// A number as it was given where that is short, else in two figures.
#[must_use]
pub fn number(value: f64) -> String {
    let exact = if value != 0.0 && value.abs() < 1e-3 {
        format!("{value:e}")
    } else {
        value.to_string()
    };
    if exact.len() <= 6 {
        exact
    } else {
        format_magnitude(value)
    }
}

/// A magnitude in as few figures as distinguish neighbours: `0.0012`, `0.25`, `2.9`, `58`.
#[must_use]
pub fn format_magnitude(x: f64) -> String {
    if x == 0.0 {
        return "0".to_owned();
    }
    if !x.is_finite() {
        return "–".to_owned();
    }
    let size = x.abs();
    if size < 0.000_1 {
        return format!("{x:.1e}");
    }
    // The exponent after rounding to two figures: 0.0996 is written as 0.10.
    let rounded: f64 = format!("{size:.1e}").parse().unwrap_or(size);
    let decimals = (1 - rounded.log10().floor() as i32).clamp(0, 6) as usize;
    format!("{x:.decimals$}")
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

    #[test]
    fn magnitudes_are_written_as_they_were_given() {
        let words = LabelWords {
            baseline: "Baseline",
            raw: "raw",
            unscaled: "1:1",
            cut: "cut off",
            comma: ", ",
            kind: &|kind| kind.name().to_owned(),
        };
        for (given, expected) in [
            (Magnitude::TokenNorms(2.9), "2.9×"),
            (Magnitude::TokenNorms(0.0), "0×"),
            (Magnitude::Raw(1e-4), "1e-4 raw"),
            (Magnitude::Raw(0.05), "0.05 raw"),
            (Magnitude::TokenNorms(0.004_641_6), "0.0046×"),
            (Magnitude::Unscaled, "1:1"),
        ] {
            assert_eq!(words.magnitude(given), expected);
        }
        let recipe = PrefixRecipe::new(PrefixKind::Constant, 4, Magnitude::TokenNorms(2.9));
        assert_eq!(words.recipe(&recipe), "2.9×, P 4, constant");
    }

    #[test]
    fn two_numbers_are_written_with_the_fewest_digits_that_differ() {
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
}
