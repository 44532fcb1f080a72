//! Parses lists of magnitudes as typed in the window and in the shell.
//!
//! ```text
//! 0, 1e-4, 0.01        values
//! 1e-4, ..., 2         the steps 1, 2, 5 of each decade between two values
//! 0.01 … 12 (13)       13 values in equal ratios; without a count, four per decade
//! ```
//! `…` and `...` are equivalent.

use super::{Bilingual, MagnitudeUnit, bilingual};

/// Default magnitudes in token norms: 0, and values from far below the norms of tokens to where outputs collapse.
pub const USUAL: &str = "0, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 1.4, 2, 2.9, 4, 5.8, 12";
/// Default raw values: those of existing comparison scripts, and two in between.
pub const USUAL_RAW: &str = "0, 1e-4, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2";

/// Maximum number of values in a list, so that a mistyped exponent does not start a run of many hours.
pub const MAX_VALUES: usize = 200;

/// Parses a list. The values are sorted in ascending order, without duplicates.
///
/// # Errors
/// Names the item that cannot be parsed and what is accepted. Norms below 0 are refused; raw values may be negative.
pub fn parse(text: &str, unit: MagnitudeUnit) -> Result<Vec<f64>, Bilingual> {
    let mut values: Vec<f64> = Vec::new();
    let mut steps_from = None;
    for item in text.split([',', '、', ';', '\n']).map(str::trim) {
        if item.is_empty() {
            continue;
        }
        if is_dots(item) {
            match values.last() {
                Some(&last) if last > 0.0 => steps_from = Some(last),
                _ => {
                    return Err(bilingual!(
                        "before \"...\" a value above 0 is needed, such as 1e-4,...,2",
                        "「...」の前には 0 より大きい値が必要です（例：1e-4,...,2）"
                    ));
                }
            }
            continue;
        }
        let more = match item.split_once('…').or_else(|| item.split_once("...")) {
            Some((from, to)) => equal_ratios(item, from, to, unit)?,
            None => vec![number(item, unit)?],
        };
        if let (Some(from), Some(&to)) = (steps_from.take(), more.first()) {
            values.extend(steps(from, to)?);
        }
        values.extend(more);
        if values.len() > MAX_VALUES {
            return Err(too_many());
        }
    }
    if steps_from.is_some() {
        return Err(bilingual!(
            "after \"...\" a value is needed, such as 1e-4,...,2",
            "「...」の後に値が必要です（例：1e-4,...,2）"
        ));
    }
    if values.is_empty() {
        return Err(bilingual!(
            "no values; write them like 0,1e-4,0.05",
            "値がありません。0,1e-4,0.05 のように書いてください"
        ));
    }
    values.sort_by(f64::total_cmp);
    values.dedup();
    Ok(values)
}

fn is_dots(item: &str) -> bool {
    matches!(item, "..." | "…")
}

fn too_many() -> Bilingual {
    bilingual!(
        "more than {MAX_VALUES} values; run them in parts",
        "値が {MAX_VALUES} 個を超えています。分けて実行してください"
    )
}

fn number(text: &str, unit: MagnitudeUnit) -> Result<f64, Bilingual> {
    let item = text.trim();
    let digits = item.trim_end_matches(['×', 'x', 'X']).trim();
    let value: f64 = digits.parse().map_err(|_| {
        bilingual!(
            "{item:?} is not a number; write values like 0,1e-4,0.05",
            "{item:?} は数値ではありません。0,1e-4,0.05 のように書いてください"
        )
    })?;
    if !value.is_finite() {
        return Err(bilingual!(
            "{item:?} is not finite; a prefix of such values would poison every later position",
            "{item:?} は有限の値ではありません。そのようなプレフィックスは後ろのすべての位置を壊します"
        ));
    }
    if value < 0.0 && unit == MagnitudeUnit::TokenNorms {
        return Err(bilingual!(
            "{item:?} is not a norm: norms are 0 or more. Give negative values as raw values",
            "{item:?} はノルムではありません。ノルムは 0 以上です。負の値は生の値で指定してください"
        ));
    }
    // Turns -0 into 0.
    Ok(value + 0.0)
}

/// Returns the steps 1, 2, 5 of each decade strictly between two values.
fn steps(from: f64, to: f64) -> Result<Vec<f64>, Bilingual> {
    if to <= from {
        return Err(bilingual!(
            "after \"...\" a value larger than {from} is needed",
            "「...」の後には {from} より大きい値が必要です"
        ));
    }
    let (first, last) = (from.log10().floor() as i32, to.log10().ceil() as i32);
    if (last - first) as usize * 3 > MAX_VALUES {
        return Err(too_many());
    }
    let mut between = Vec::new();
    for decade in first..=last {
        for digit in [1, 2, 5] {
            // Formatted and parsed, so that the value equals the typed literal (0.2).
            let value: f64 = format!("{digit}e{decade}").parse().unwrap_or(f64::NAN);
            if value > from * (1.0 + 1e-12) && value < to * (1.0 - 1e-12) {
                between.push(value);
            }
        }
    }
    Ok(between)
}

/// Parses `0.01 … 12 (13)`: both ends, and values in equal ratios between them.
fn equal_ratios(item: &str, from: &str, to: &str, unit: MagnitudeUnit) -> Result<Vec<f64>, Bilingual> {
    let wrong = || {
        bilingual!(
            "{item:?} is not a range; write two values above 0, the larger one last, and how many (2 to {MAX_VALUES}), such as 0.01 … 12 (13)",
            "{item:?} は範囲ではありません。0 より大きい 2 つの値を小さい順に、個数（2〜{MAX_VALUES}）とともに書いてください（例：0.01 … 12 (13)）"
        )
    };
    let (to, count) = match to.split_once('(') {
        Some((to, count)) => {
            let count = count.trim_end().strip_suffix(')').ok_or_else(wrong)?;
            (to, Some(count.trim().parse::<usize>().map_err(|_| wrong())?))
        }
        None => (to, None),
    };
    let (from, to) = (number(from, unit)?, number(to, unit)?);
    if from <= 0.0 || to <= from {
        return Err(wrong());
    }
    let count = count.unwrap_or_else(|| (4.0 * (to / from).log10()).round() as usize + 1);
    if !(2..=MAX_VALUES).contains(&count) {
        return Err(wrong());
    }
    let step = |i: usize| {
        if i == 0 {
            from
        } else if i + 1 == count {
            to
        } else {
            // Three significant digits, so that the values can be read and typed again.
            let value = from * (to / from).powf(i as f64 / (count - 1) as f64);
            format!("{value:.2e}").parse().unwrap_or(value)
        }
    };
    Ok((0..count).map(step).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Result<Vec<f64>, Bilingual> {
        parse(text, MagnitudeUnit::Raw)
    }

    #[test]
    fn values_are_sorted_and_unique() {
        assert_eq!(raw("2.0, 0,1e-4,0.5,0.50").unwrap(), [0.0, 1e-4, 0.5, 2.0]);
        assert_eq!(raw("2×、1x; -0\n0").unwrap(), [0.0, 1.0, 2.0]);
    }

    #[test]
    fn three_dots_between_two_items_fill_in_the_1_2_5_steps() {
        assert_eq!(raw("0,0.01,...,0.2").unwrap(), [0.0, 0.01, 0.02, 0.05, 0.1, 0.2]);
        assert_eq!(raw("0,1e-4,…,2.0").unwrap().len(), 1 + 14);
    }

    #[test]
    fn three_dots_within_an_item_are_a_range_in_equal_ratios() {
        assert_eq!(raw("0, 0.01 … 100 (5)").unwrap(), [0.0, 0.01, 0.1, 1.0, 10.0, 100.0]);
        assert_eq!(raw("0.1...10").unwrap().len(), 9);
    }

    #[test]
    fn raw_values_may_be_negative_and_norms_may_not() {
        assert_eq!(raw("-1,0,1").unwrap(), [-1.0, 0.0, 1.0]);
        let refused = parse("0,-1", MagnitudeUnit::TokenNorms).unwrap_err();
        assert!(refused.en.contains("\"-1\" is not a norm"), "{}", refused.en);
    }

    #[test]
    fn the_usual_lists_can_be_read_and_the_raw_one_holds_the_scripts_values() {
        assert_eq!(parse(USUAL, MagnitudeUnit::TokenNorms).unwrap().len(), 13);
        let values = raw(USUAL_RAW).unwrap();
        for value in softprefix_core::experiment::SCRIPT_VALUES {
            assert!(values.contains(&value), "{value}");
        }
    }

    #[test]
    fn text_that_is_not_a_list_is_refused_with_the_item_in_both_languages() {
        for (bad, word) in [
            ("0,x", "\"x\""),
            ("nan", "\"nan\""),
            ("inf", "\"inf\""),
            ("1 … 0.1", "\"1 … 0.1\""),
            ("0 … 1", "\"0 … 1\""),
            ("1 … 2 (1)", "\"1 … 2 (1)\""),
            ("1 … 2 (1000)", "\"1 … 2 (1000)\""),
            ("1 … 2 (3", "\"1 … 2 (3\""),
            ("2,...,1", "2"),
            ("1e-300,...,1e300", "200"),
        ] {
            let refused = raw(bad).unwrap_err();
            assert!(
                refused.en.contains(word) && refused.ja.contains(word),
                "{bad}: {refused:?}"
            );
        }
        for (bad, word) in [
            ("", "no values"),
            ("...,2", "before"),
            ("1,...", "after"),
            ("0,...,1", "before"),
        ] {
            let refused = raw(bad).unwrap_err();
            assert!(refused.en.contains(word), "{bad}: {refused:?}");
        }
    }
}
