//! Finds the first difference of two texts, counted in the unit in which they are compared. Works on a partial text
//! while it streams.

use softprefix_core::compare::{Granularity, is_cjk};
use unicode_segmentation::UnicodeSegmentation;

/// The unit in which the position of a first difference is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    Character,
    Word,
    Line,
}

/// The first difference of two texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstDifference {
    /// Byte offset, in both texts, of the first unit that differs.
    pub byte: usize,
    pub unit: Unit,
    /// Number of that unit, from 1.
    pub number: usize,
}

impl FirstDifference {
    /// Finds the first difference of `left` and `right`; `None` if they are equal.
    pub fn of(left: &str, right: &str, granularity: Granularity) -> Option<Self> {
        if left == right {
            return None;
        }
        let shared = left
            .graphemes(true)
            .zip(right.graphemes(true))
            .take_while(|(a, b)| a == b);
        let (characters, shared) = shared.fold((0, 0), |(count, bytes), (a, _)| (count + 1, bytes + a.len()));
        let unit = match granularity {
            Granularity::Grapheme => Unit::Character,
            Granularity::Word => Unit::Word,
            Granularity::Line => Unit::Line,
            Granularity::Auto if is_spaced(left) => Unit::Word,
            Granularity::Auto => Unit::Character,
        };
        let before = left.get(..shared).unwrap_or_default();
        Some(match unit {
            Unit::Character => Self {
                byte: shared,
                unit,
                number: characters + 1,
            },
            Unit::Word => {
                // A word that continues in only one of the texts differs as a whole.
                let byte = word_at(left, shared).min(word_at(right, shared));
                let whole = left.get(..byte).unwrap_or_default();
                Self {
                    byte,
                    unit,
                    number: whole.unicode_words().count() + 1,
                }
            }
            Unit::Line => Self {
                byte: before.rfind('\n').map_or(0, |end| end + 1),
                unit,
                number: before.matches('\n').count() + 1,
            },
        })
    }
}

/// Returns the start of the word, or of the gap between words, that contains byte `at`.
fn word_at(text: &str, at: usize) -> usize {
    let starts = text.split_word_bound_indices().map(|(start, _)| start);
    starts.take_while(|start| *start <= at).last().unwrap_or(0).min(at)
}

/// Returns whether most of a text's letters are compared as words rather than one by one.
fn is_spaced(text: &str) -> bool {
    let letters = text.chars().filter(|letter| letter.is_alphabetic());
    let (alone, in_words): (Vec<char>, Vec<char>) = letters.partition(|letter| is_cjk(*letter));
    in_words.len() > alone.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_difference(left: &str, right: &str, granularity: Granularity) -> (usize, Unit, usize) {
        let first_difference = FirstDifference::of(left, right, granularity).unwrap();
        (first_difference.byte, first_difference.unit, first_difference.number)
    }

    #[test]
    fn the_number_counts_characters_words_or_lines_as_the_texts_are_compared() {
        let (left, right) = ("Once upon a time\na cat sat", "Once upon a time\na car sat");
        assert_eq!(
            first_difference(left, right, Granularity::Grapheme),
            (21, Unit::Character, 22)
        );
        assert_eq!(first_difference(left, right, Granularity::Word), (19, Unit::Word, 6));
        assert_eq!(first_difference(left, right, Granularity::Line), (17, Unit::Line, 2));
        assert_eq!(first_difference(left, right, Granularity::Auto), (19, Unit::Word, 6));
    }

    #[test]
    fn japanese_is_counted_in_characters_unless_words_are_asked_for() {
        let left = "「春の花を咲かせ」 春の花を咲かせ、風に揺れる葉を見つめ";
        let right = "「春の花を咲かせ」 春の花を咲かせ、新芽が芽を出す。";
        let (byte, unit, number) = first_difference(left, right, Granularity::Auto);
        assert_eq!((unit, number), (Unit::Character, 19));
        assert!(left[byte..].starts_with('風') && right[byte..].starts_with('新'));
    }

    #[test]
    fn equal_texts_have_no_first_difference_and_a_longer_one_differs_where_the_shorter_ends() {
        assert!(FirstDifference::of("same", "same", Granularity::Auto).is_none());
        assert_eq!(
            first_difference("同じ", "同じです", Granularity::Auto),
            (6, Unit::Character, 3)
        );
        assert_eq!(
            first_difference("a storm", "a stormy sea", Granularity::Word),
            (2, Unit::Word, 2)
        );
        assert_eq!(first_difference("", "text", Granularity::Word), (0, Unit::Word, 1));
    }
}
