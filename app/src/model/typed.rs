//! Numbers as people type them.

use std::ops::{Bound, RangeBounds};
use std::str::FromStr;

/// Returns `text` with the full-width forms of ASCII characters, which Japanese input methods type, and the minus sign replaced by
/// ASCII.
pub fn half_width(text: &str) -> String {
    let ascii = |c: char| match c {
        '\u{3000}' => ' ',
        '\u{2212}' => '-',
        // U+FF01 to U+FF5E are U+0021 to U+007E, in the same order.
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c),
        _ => c,
    };
    text.chars().map(ascii).collect()
}

/// The numbers that a field accepts, for the sentence about a text that is none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub is_whole: bool,
    pub least: Option<String>,
    pub most: Option<String>,
}

impl Accepted {
    /// The numbers of this type in a range.
    pub fn of<T: ToString + FromStr>(range: &impl RangeBounds<T>) -> Self {
        let end = |bound: Bound<&T>| match bound {
            Bound::Included(end) | Bound::Excluded(end) => Some(end.to_string()),
            Bound::Unbounded => None,
        };
        Self {
            is_whole: "0.5".parse::<T>().is_err(),
            least: end(range.start_bound()),
            most: end(range.end_bound()),
        }
    }
}

/// Parses a finite number, with a point or a comma before its decimals. A comma that may as well divide thousands, as in `1,000`, is
/// not accepted.
pub fn decimal(text: &str) -> Option<f64> {
    if let Some((whole, decimals)) = text.split_once(',') {
        let may_be_thousands = decimals.len() == 3 && whole.parse::<f64>().ok()? != 0.0;
        if may_be_thousands || decimals.contains([',', '.']) {
            return None;
        }
    }
    let value: f64 = text.replace(',', ".").parse().ok()?;
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_width_characters_are_read_as_ascii() {
        assert_eq!(half_width("－１．５ｅ−４，　×2、春"), "-1.5e-4, ×2、春");
    }

    #[test]
    fn accepted_numbers_have_the_type_and_the_ends_of_their_range() {
        let accepted = |is_whole, least: Option<&str>, most: Option<&str>| Accepted {
            is_whole,
            least: least.map(str::to_owned),
            most: most.map(str::to_owned),
        };
        assert_eq!(Accepted::of(&(1_usize..)), accepted(true, Some("1"), None));
        assert_eq!(Accepted::of(&(0.01..=10.0)), accepted(false, Some("0.01"), Some("10")));
        assert_eq!(Accepted::of::<f64>(&(..)), accepted(false, None, None));
    }

    #[test]
    fn a_comma_is_a_decimal_separator_unless_it_may_separate_thousands() {
        for (text, value) in [
            ("2,9", 2.9),
            ("0,125", 0.125),
            ("-0,125", -0.125),
            ("1,0005", 1.0005),
            ("1.000", 1.0),
        ] {
            assert_eq!(decimal(text), Some(value), "{text}");
        }
        for text in ["1,000", "-12,500", "1,000,000", "1,5.5", "inf", "nan", "", ","] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }
}
