//! Differences between two texts, for people: by grapheme, word or line, as byte ranges of both texts, bounded in time.
//! It knows nothing about how differences are painted.

use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use unicode_normalization::{UnicodeNormalization, is_nfc};
use unicode_segmentation::UnicodeSegmentation;

use super::lcs::{self, Match};

/// The unit in which two texts are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// What a person takes for one character (UAX 29 extended grapheme clusters).
    #[default]
    Grapheme,
    /// UAX 29 words and the gaps between them; Chinese, Japanese and Korean text character by character.
    Word,
    /// Lines, each with its line ending.
    Line,
}

impl Granularity {
    /// The next coarser unit, or `None` after lines.
    fn coarser(self) -> Option<Self> {
        match self {
            Self::Grapheme => Some(Self::Word),
            Self::Word => Some(Self::Line),
            Self::Line => None,
        }
    }
}

/// What became of a span on the way from the left text to the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpanKind {
    /// In both texts (up to Unicode normalisation: composed and decomposed forms are the same text).
    Equal,
    /// In the left text only.
    Removed,
    /// In the right text only.
    Added,
}

/// A run of bytes of one text, cut at character boundaries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Byte range within the text on this span's side.
    pub range: Range<usize>,
    /// What became of it.
    pub kind: SpanKind,
}

/// One of the two texts of a [`Diff`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The first text: the baseline.
    Left,
    /// The second text.
    Right,
}

/// The difference of two texts.
///
/// On each side the spans are in order, adjacent, not empty, and cover the whole text. The n-th `Equal` span of the left side
/// matches the n-th `Equal` span of the right side. Left spans are `Equal` or `Removed`, right spans `Equal` or `Added`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// Spans of the left text.
    pub left: Vec<Span>,
    /// Spans of the right text.
    pub right: Vec<Span>,
    /// True if this is a smallest difference in the unit asked for; false if time ran out and a coarser one stands in.
    pub exact: bool,
}

/// The smallest difference between `left` and `right` in the unit `granularity`.
///
/// Cost grows with the product of the lengths (about 20 ms for two unrelated texts of 20,000 characters). When the exact answer
/// does not fit before `deadline`, the next coarser unit is tried, and at last the common start and end around one block: always
/// a correct difference, with `exact` telling. `None` waits as long as it takes.
pub fn diff(left: &str, right: &str, granularity: Granularity, deadline: Option<Instant>) -> Diff {
    let mut unit = Some(granularity);
    while let Some(current) = unit {
        let (a, b) = (tokens(left, current), tokens(right, current));
        let (ids_a, ids_b) = intern(left, &a, right, &b);
        if let Some(matches) = matches_in_time(&ids_a, &ids_b, deadline) {
            return assemble(&a, &b, &matches, current == granularity);
        }
        unit = current.coarser();
        if unit.is_none_or(|_| expired(deadline)) {
            return assemble(&a, &b, &lcs::common_ends(&ids_a, &ids_b), false);
        }
    }
    // Lines have no coarser unit, so the loop has returned.
    Diff::default()
}

fn expired(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|at| Instant::now() >= at)
}

/// The matches, unless they are foreseen not to be ready by `deadline`, or turn out not to be.
fn matches_in_time(a: &[u32], b: &[u32], deadline: Option<Instant>) -> Option<Vec<Match>> {
    let Some(at) = deadline else {
        return lcs::matches(a, b, &mut || true);
    };
    // A slow guess (a word step takes under a nanosecond on a fast machine) keeps time for the coarser attempt.
    let steps = u64::try_from(lcs::steps(a.len(), b.len())).unwrap_or(u64::MAX);
    let foreseen = Duration::from_nanos(steps.saturating_mul(2));
    if at.saturating_duration_since(Instant::now()) < foreseen && a != b {
        return None;
    }
    lcs::matches(a, b, &mut || Instant::now() < at)
}

/// Byte ranges of the comparison units of `text`: adjacent, covering it.
fn tokens(text: &str, granularity: Granularity) -> Vec<Range<usize>> {
    match granularity {
        Granularity::Grapheme => ranges(text.grapheme_indices(true)),
        Granularity::Line => {
            let mut start = 0;
            text.split_inclusive('\n')
                .map(|line| {
                    let range = start..start + line.len();
                    start = range.end;
                    range
                })
                .collect()
        }
        Granularity::Word => {
            let mut out = Vec::new();
            for (at, word) in text.split_word_bound_indices() {
                if word.chars().any(is_cjk) {
                    out.extend(word.grapheme_indices(true).map(|(i, g)| at + i..at + i + g.len()));
                } else {
                    out.push(at..at + word.len());
                }
            }
            out
        }
    }
}

fn ranges<'a>(pieces: impl Iterator<Item = (usize, &'a str)>) -> Vec<Range<usize>> {
    pieces.map(|(at, piece)| at..at + piece.len()).collect()
}

/// Characters of scripts that a reader compares one by one: Han, kana, bopomofo, hangul, and their wide forms.
fn is_cjk(c: char) -> bool {
    matches!(c,
        '\u{1100}'..='\u{11FF}' | '\u{2E80}'..='\u{2FDF}' | '\u{3005}'..='\u{3007}' | '\u{3021}'..='\u{3029}'
        | '\u{3031}'..='\u{3035}' | '\u{3038}'..='\u{303C}' | '\u{3041}'..='\u{31BF}' | '\u{31F0}'..='\u{31FF}'
        | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{A960}'..='\u{A97F}' | '\u{AC00}'..='\u{D7FF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{FF66}'..='\u{FFDC}' | '\u{1AFF0}'..='\u{1B16F}' | '\u{20000}'..='\u{3FFFF}')
}

/// Small numbers for the units of both texts: equal numbers mean equal text after NFC.
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

/// Turns matched units into spans of bytes.
fn assemble(a: &[Range<usize>], b: &[Range<usize>], matches: &[Match], exact: bool) -> Diff {
    let mut out = Diff {
        left: Vec::new(),
        right: Vec::new(),
        exact,
    };
    let (mut i, mut j) = (0, 0);
    for m in matches {
        push(&mut out.left, a, i..m.left, SpanKind::Removed);
        push(&mut out.right, b, j..m.right, SpanKind::Added);
        push(&mut out.left, a, m.left..m.left + m.len, SpanKind::Equal);
        push(&mut out.right, b, m.right..m.right + m.len, SpanKind::Equal);
        (i, j) = (m.left + m.len, m.right + m.len);
    }
    push(&mut out.left, a, i..a.len(), SpanKind::Removed);
    push(&mut out.right, b, j..b.len(), SpanKind::Added);
    out
}

fn push(spans: &mut Vec<Span>, units: &[Range<usize>], which: Range<usize>, kind: SpanKind) {
    if let Some([first, .., last]) | Some([first @ last]) = units.get(which) {
        spans.push(Span {
            range: first.start..last.end,
            kind,
        });
    }
}

impl Diff {
    /// True if nothing was removed or added.
    pub fn is_same(&self) -> bool {
        self.left
            .iter()
            .chain(&self.right)
            .all(|span| span.kind == SpanKind::Equal)
    }

    /// The byte offset in the other text that stands at the same place as `offset` in the text on `side`, for scrolling both
    /// together: exact inside equal spans, in proportion inside changed ones. Not always a character boundary.
    pub fn across(&self, side: Side, offset: usize) -> usize {
        let (from, to) = match side {
            Side::Left => (&self.left, &self.right),
            Side::Right => (&self.right, &self.left),
        };
        let equal = |spans: &[Span]| -> Vec<Range<usize>> {
            spans
                .iter()
                .filter(|span| span.kind == SpanKind::Equal)
                .map(|span| span.range.clone())
                .collect()
        };
        let ends = |spans: &[Span]| spans.last().map_or(0, |span| span.range.end);
        let (mut gap_from, mut gap_to) = (0, 0);
        for (f, t) in equal(from).into_iter().zip(equal(to)) {
            if offset < f.start {
                return between(offset, gap_from..f.start, gap_to..t.start);
            }
            if offset < f.end {
                return (t.start + (offset - f.start)).min(t.end);
            }
            (gap_from, gap_to) = (f.end, t.end);
        }
        between(offset, gap_from..ends(from), gap_to..ends(to))
    }

    /// The same difference with chance matches between big changes taken as changed, which is easier to read: an equal run goes
    /// when the changes on both sides of it are longer than itself. Where two texts have nothing to do with each other this
    /// leaves two blocks instead of confetti. Numbers are taken from the measures, never from this.
    pub fn tidied(&self) -> Diff {
        #[derive(Clone)]
        struct Step {
            equal: Option<(Range<usize>, Range<usize>)>,
            left: Range<usize>,
            right: Range<usize>,
        }
        // A list of (changed block, equal block after it).
        let mut steps = Vec::new();
        let (mut i, mut j) = (0, 0);
        let equal = |spans: &[Span]| -> Vec<Range<usize>> {
            spans
                .iter()
                .filter(|span| span.kind == SpanKind::Equal)
                .map(|span| span.range.clone())
                .collect()
        };
        for (l, r) in equal(&self.left).into_iter().zip(equal(&self.right)) {
            steps.push(Step {
                left: i..l.start,
                right: j..r.start,
                equal: Some((l.clone(), r.clone())),
            });
            (i, j) = (l.end, r.end);
        }
        let ends = |spans: &[Span]| spans.last().map_or(0, |span| span.range.end);
        steps.push(Step {
            left: i..ends(&self.left),
            right: j..ends(&self.right),
            equal: None,
        });

        let mut kept: Vec<Step> = Vec::with_capacity(steps.len());
        for step in steps {
            kept.push(step);
            while let [.., before, after] = kept.as_slice() {
                let Some((l, r)) = &before.equal else { break };
                let run = l.len().max(r.len());
                let change = |s: &Step| s.left.len().max(s.right.len());
                if run >= change(before) || run >= change(after) {
                    break;
                }
                let merged = Step {
                    left: before.left.start..after.left.end,
                    right: before.right.start..after.right.end,
                    equal: after.equal.clone(),
                };
                kept.truncate(kept.len() - 2);
                kept.push(merged);
            }
        }
        let mut out = Diff {
            left: Vec::new(),
            right: Vec::new(),
            exact: self.exact,
        };
        let put = |spans: &mut Vec<Span>, range: Range<usize>, kind| {
            if !range.is_empty() {
                spans.push(Span { range, kind });
            }
        };
        for step in kept {
            put(&mut out.left, step.left, SpanKind::Removed);
            put(&mut out.right, step.right, SpanKind::Added);
            if let Some((l, r)) = step.equal {
                put(&mut out.left, l, SpanKind::Equal);
                put(&mut out.right, r, SpanKind::Equal);
            }
        }
        out
    }
}

/// `offset` of `from` carried over to `to` in proportion.
fn between(offset: usize, from: Range<usize>, to: Range<usize>) -> usize {
    let into = offset.saturating_sub(from.start).min(from.len());
    if from.is_empty() {
        return to.start;
    }
    let part = u128::try_from(into).unwrap_or(0) * u128::try_from(to.len()).unwrap_or(0);
    let part = part / u128::try_from(from.len()).unwrap_or(1).max(1);
    to.start + usize::try_from(part).unwrap_or(0)
}
