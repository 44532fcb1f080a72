//! Differences between two texts, for people: few whole changes, as byte ranges of both texts, bounded in time.
//!
//! [`diff`] cuts both texts into units ([`Granularity`]), aligns them with the crate `similar`, and then makes the alignment
//! readable: short equal stretches between two changes become part of them, and an insertion or a deletion that could stand at
//! several places begins where a sentence or a word begins. Do not derive numbers from a difference; use
//! [`Measures`](super::Measures).

use std::collections::HashMap;
use std::ops::Range;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use similar::{Algorithm, DiffTag, capture_diff_slices_deadline};
use unicode_normalization::{UnicodeNormalization, is_nfc};
use unicode_segmentation::UnicodeSegmentation;

/// The unit in which two texts are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// Words where the script separates them by spaces, single characters in Chinese, Japanese and Korean; a mixed text by its
    /// parts.
    #[default]
    Auto,
    /// Characters as a reader perceives them (UAX 29 extended grapheme clusters).
    Grapheme,
    /// UAX 29 words and the gaps between them, in every script.
    Word,
    /// Lines, each with its line ending.
    Line,
}

impl Granularity {
    /// Every unit, in the order of menus.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Grapheme, Self::Word, Self::Line];
}

/// One change: `left` of the left text became `right` of the right text. One of the two may be empty, never both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Byte range of the left text, cut at character boundaries.
    pub left: Range<usize>,
    /// Byte range of the right text, cut at character boundaries.
    pub right: Range<usize>,
}

/// The difference of two texts: changes in order, with text between them that is the same in both (up to Unicode
/// normalisation: composed and decomposed forms are the same text).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// The changes, ascending in both texts; no two touch each other.
    pub changes: Vec<Change>,
    /// False if the deadline passed: then a change may contain text that is the same in both.
    pub exact: bool,
}

impl Diff {
    /// Byte ranges of the left text that are not in the right one, ascending, none empty.
    pub fn removed(&self) -> impl Iterator<Item = Range<usize>> {
        let ranges = self.changes.iter().map(|change| change.left.clone());
        ranges.filter(|range| !range.is_empty())
    }

    /// Byte ranges of the right text that are not in the left one, ascending, none empty.
    pub fn added(&self) -> impl Iterator<Item = Range<usize>> {
        let ranges = self.changes.iter().map(|change| change.right.clone());
        ranges.filter(|range| !range.is_empty())
    }
}

/// The difference between `left` and `right` in the unit `granularity`, made readable.
///
/// Where the texts have little in common, the work grows with the product of their lengths. At `deadline` the search
/// ends: the part that was not searched becomes one change, and [`Diff::exact`] is false. With `None` there is no
/// limit. What makes the difference readable comes after the search, and takes time in proportion to the texts.
pub fn diff(left: &str, right: &str, granularity: Granularity, deadline: Option<Instant>) -> Diff {
    let (a, b) = (units(left, granularity), units(right, granularity));
    let (ids_a, ids_b) = intern(left, &a, right, &b);
    let mut steps: Vec<Step> = Vec::new();
    for op in capture_diff_slices_deadline(Algorithm::Myers, &ids_a, &ids_b, deadline) {
        let (left, right) = (op.old_range(), op.new_range());
        match (op.tag(), steps.last_mut()) {
            (DiffTag::Equal, Some(step)) => step.equal += left.len(),
            // The common start comes before the first change and is not needed.
            (DiffTag::Equal, None) => {}
            (_, Some(step)) if step.equal == 0 => {
                step.left.end = left.end;
                step.right.end = right.end;
            }
            _ => steps.push(Step { left, right, equal: 0 }),
        }
    }
    let exact = deadline.is_none_or(|at| Instant::now() < at) || steps.is_empty();
    let left = Text::new(left, &a, &ids_a);
    let right = Text::new(right, &b, &ids_b);
    if granularity != Granularity::Line {
        slide(&left, &right, &mut steps);
        steps = join(&left, &right, steps);
    }
    let change = |step: Step| Change {
        left: left.byte(step.left.start)..left.byte(step.left.end),
        right: right.byte(step.right.start)..right.byte(step.right.end),
    };
    Diff {
        changes: steps.into_iter().map(change).collect(),
        exact,
    }
}

/// A change, in units of both texts, and the number of units after it that are equal in both.
#[derive(Clone, Debug)]
struct Step {
    left: Range<usize>,
    right: Range<usize>,
    equal: usize,
}

/// One of the two texts, with its units and boundaries.
struct Text<'a> {
    text: &'a str,
    units: &'a [Range<usize>],
    ids: &'a [u32],
    /// Characters before each unit, and before the end.
    characters: Vec<usize>,
    /// Whether the last character before each unit that is not white space ends a sentence, and the same for the end.
    follows_sentence: Vec<bool>,
    /// Bytes at which a word or a gap between words begins, and the end.
    words: Vec<usize>,
}

impl<'a> Text<'a> {
    fn new(text: &'a str, units: &'a [Range<usize>], ids: &'a [u32]) -> Self {
        let mut characters = Vec::with_capacity(units.len() + 1);
        let mut follows_sentence = Vec::with_capacity(units.len() + 1);
        let (mut before, mut is_after_sentence) = (0, false);
        for unit in units {
            characters.push(before);
            follows_sentence.push(is_after_sentence);
            let unit = text.get(unit.clone()).unwrap_or_default();
            before += unit.graphemes(true).count();
            if let Some(last) = unit.trim_end().chars().next_back() {
                is_after_sentence = matches!(last, '.' | '!' | '?' | '。' | '！' | '？' | '」');
            }
        }
        characters.push(before);
        follows_sentence.push(is_after_sentence);
        let words = text.split_word_bound_indices().map(|(at, _)| at);
        Self {
            text,
            units,
            ids,
            characters,
            follows_sentence,
            words: words.chain([text.len()]).collect(),
        }
    }

    /// The byte at which unit `at` begins.
    fn byte(&self, at: usize) -> usize {
        self.units.get(at).map_or(self.text.len(), |unit| unit.start)
    }

    /// Length in characters.
    fn length(&self, units: &Range<usize>) -> usize {
        self.characters[units.end].saturating_sub(self.characters[units.start])
    }

    /// Length in characters of the words that lie completely in `units`: letters that two words have in common do not
    /// count.
    fn whole_words(&self, units: &Range<usize>) -> usize {
        let bound = |at: &usize| self.words.binary_search(&self.byte(*at)).is_ok();
        let start = (units.start..units.end).find(bound).unwrap_or(units.end);
        let end = (start..=units.end).rev().find(bound).unwrap_or(start);
        self.length(&(start..end))
    }

    /// How good the start of unit `at` is as an edge (start or end) of a change, 0 to 5.
    fn boundary(&self, at: usize) -> u8 {
        let (before, after) = self.text.split_at(self.byte(at));
        let (Some(last), Some(next)) = (before.chars().next_back(), after.chars().next()) else {
            return 5;
        };
        if last == '\n' {
            5
        } else if self.follows_sentence[at] && (last.is_whitespace() || !last.is_ascii()) {
            4
        } else if last.is_whitespace() {
            3
        } else if next.is_whitespace() {
            2
        } else {
            u8::from(!last.is_alphanumeric() || !next.is_alphanumeric())
        }
    }
}

/// Moves insertions and deletions to the best of the places where they can stand: "a cat[ and a] dog" is "a cat [and a ]dog".
fn slide(left: &Text<'_>, right: &Text<'_>, steps: &mut [Step]) {
    let mut start = 0;
    for at in 0..steps.len() {
        let step = &steps[at];
        let (range, text) = match (step.left.is_empty(), step.right.is_empty()) {
            (false, true) => (step.left.clone(), left),
            (true, false) => (step.right.clone(), right),
            _ => {
                start = step.left.end;
                continue;
            }
        };
        // Equal units before and after. One is left on each side, so that changes do not touch.
        let before = (step.left.start - start).saturating_sub(usize::from(at > 0));
        let after = step.equal.saturating_sub(usize::from(at + 1 < steps.len()));
        let same = |x: usize, y: usize| text.ids[x] == text.ids[y];
        let back = (0..before)
            .take_while(|by| same(range.start - by - 1, range.end - by - 1))
            .count();
        let on = (0..after)
            .take_while(|by| same(range.start + by, range.end + by))
            .count();
        let score = |start: usize| text.boundary(start) + text.boundary(start + range.len());
        let best = (range.start - back..=range.start + on).max_by_key(|start| score(*start));
        let by = |place: usize| place + best.unwrap_or(range.start) - range.start;
        let step = &mut steps[at];
        let moved = by(step.left.start) as isize - step.left.start as isize;
        step.left = by(step.left.start)..by(step.left.end);
        step.right = by(step.right.start)..by(step.right.end);
        step.equal = step.equal.saturating_add_signed(-moved);
        start = step.left.end;
        if let Some(previous) = at.checked_sub(1).and_then(|at| steps.get_mut(at)) {
            previous.equal = previous.equal.saturating_add_signed(moved);
        }
    }
}

/// Joins two changes where the equal stretch between them is accidental: part of a word, a single character, or shorter
/// than both changes.
fn join(left: &Text<'_>, right: &Text<'_>, steps: Vec<Step>) -> Vec<Step> {
    let size = |step: &Step| left.length(&step.left).max(right.length(&step.right));
    let mut kept: Vec<Step> = Vec::with_capacity(steps.len());
    for step in steps {
        kept.push(step);
        while let [.., before, after] = kept.as_slice() {
            let equal = left.whole_words(&(before.left.end..after.left.start));
            if equal > 1 && equal >= size(before).min(size(after)) {
                break;
            }
            let joined = Step {
                left: before.left.start..after.left.end,
                right: before.right.start..after.right.end,
                equal: after.equal,
            };
            kept.truncate(kept.len() - 2);
            kept.push(joined);
        }
    }
    kept
}

/// Byte ranges of the comparison units of `text`: adjacent, covering it.
fn units(text: &str, granularity: Granularity) -> Vec<Range<usize>> {
    let pieces: Box<dyn Iterator<Item = &str>> = match granularity {
        Granularity::Grapheme => Box::new(text.graphemes(true)),
        Granularity::Word => Box::new(text.split_word_bounds()),
        Granularity::Line => Box::new(text.split_inclusive('\n')),
        Granularity::Auto => Box::new(text.split_word_bounds().flat_map(|word| {
            let by_character = word.chars().any(is_cjk);
            let characters = by_character.then(|| word.graphemes(true));
            let whole = (!by_character).then_some(word);
            characters.into_iter().flatten().chain(whole)
        })),
    };
    let mut end = 0;
    pieces
        .map(|piece| {
            let start = end;
            end += piece.len();
            start..end
        })
        .collect()
}

/// Whether [`Granularity::Auto`] compares by this character and not by its word: Han, kana, bopomofo, hangul, and half-width kana and
/// hangul.
pub fn is_cjk(c: char) -> bool {
    matches!(c,
        '\u{1100}'..='\u{11FF}' | '\u{2E80}'..='\u{2FDF}' | '\u{3005}'..='\u{3007}' | '\u{3021}'..='\u{3029}'
        | '\u{3031}'..='\u{3035}' | '\u{3038}'..='\u{303C}' | '\u{3041}'..='\u{31BF}' | '\u{31F0}'..='\u{31FF}'
        | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{A960}'..='\u{A97F}' | '\u{AC00}'..='\u{D7FF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{FF66}'..='\u{FFDC}' | '\u{1AFF0}'..='\u{1B16F}' | '\u{20000}'..='\u{3FFFF}')
}

/// Consecutive numbers for the units of both texts: equal numbers mean equal text after NFC.
fn intern(left: &str, a: &[Range<usize>], right: &str, b: &[Range<usize>]) -> (Vec<u32>, Vec<u32>) {
    let mut known: HashMap<String, u32> = HashMap::new();
    let mut key = String::new();
    let mut numbers = |text: &str, ranges: &[Range<usize>]| -> Vec<u32> {
        let normal = is_nfc(text);
        let mut number = |range: &Range<usize>| {
            let piece = text.get(range.clone()).unwrap_or_default();
            key.clear();
            if normal {
                key.push_str(piece);
            } else {
                key.extend(piece.nfc());
            }
            match known.get(key.as_str()) {
                Some(&id) => id,
                None => {
                    let id = u32::try_from(known.len()).unwrap_or(u32::MAX);
                    known.insert(key.clone(), id);
                    id
                }
            }
        };
        ranges.iter().map(&mut number).collect()
    };
    (numbers(left, a), numbers(right, b))
}
