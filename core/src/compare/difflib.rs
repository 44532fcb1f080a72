//! The ratio of CPython's `difflib.SequenceMatcher(None, a, b)`: the same blocks and the same number, in less time.
//!
//! Source: the documented behaviour of Python 3's `difflib` ("Ratcliff and Obershelp" with the autojunk heuristic). Of the longest
//! matching blocks the one that starts earliest in `a`, then earliest in `b`, is taken, and both sides of it are searched again.
//! Autojunk: where `b` has 200 elements or more, an element that makes up more than 1 % of it (plus one) starts no match; blocks are
//! still extended over it.

use std::ops::Range;

/// `2 * matched / (len(a) + len(b))`; 1 where both are empty. Not symmetric: `a` is the baseline. The elements are consecutive numbers from 0 up:
/// memory grows with the largest.
pub(super) fn ratio(a: &[u32], b: &[u32], autojunk: bool) -> f64 {
    let total = a.len() + b.len();
    if total == 0 {
        return 1.0;
    }
    2.0 * matched(a, b, autojunk) as f64 / total as f64
}

/// A part of both sequences that is still to be searched.
struct Part {
    a: Range<usize>,
    b: Range<usize>,
    /// An upper bound for the blocks of this part, before extension: the length found in the part from which it was
    /// cut.
    bound: usize,
}

struct Block {
    a: usize,
    b: usize,
    len: usize,
}

/// The number of elements in matching blocks.
fn matched(a: &[u32], b: &[u32], autojunk: bool) -> usize {
    let mut search = Search::new(a, b, autojunk);
    let mut parts = vec![Part {
        a: 0..a.len(),
        b: 0..b.len(),
        bound: usize::MAX,
    }];
    let mut sum = 0;
    while let Some(part) = parts.pop() {
        let core = search.longest(&part);
        let block = extend(a, b, &part, &core);
        if block.len == 0 {
            continue;
        }
        sum += block.len;
        let left = Part {
            a: part.a.start..block.a,
            b: part.b.start..block.b,
            bound: core.len,
        };
        let right = Part {
            a: block.a + block.len..part.a.end,
            b: block.b + block.len..part.b.end,
            bound: core.len,
        };
        parts.extend(
            [left, right]
                .into_iter()
                .filter(|part| !part.a.is_empty() && !part.b.is_empty()),
        );
    }
    sum
}

struct Search<'s> {
    a: &'s [u32],
    /// Positions in `b` of each element that may start a match, ascending; element by element in one vector.
    positions: Vec<u32>,
    /// Range of `positions` for an element number.
    of: Vec<Range<u32>>,
    /// For each position of `b`: the row that last matched there, and the length of the run ending there.
    runs: Vec<(u32, u32)>,
    row: u32,
}

impl<'s> Search<'s> {
    fn new(a: &'s [u32], b: &[u32], autojunk: bool) -> Self {
        let numbers = a.iter().chain(b).max().map_or(0, |&max| max as usize + 1);
        let mut count = vec![0_u32; numbers];
        for &element in b {
            count[element as usize] += 1;
        }
        let popular = if autojunk && b.len() >= 200 {
            b.len() / 100 + 1
        } else {
            usize::MAX
        };
        let mut of = Vec::with_capacity(numbers);
        let mut at = 0;
        for count in &count {
            let kept = if *count as usize > popular { 0 } else { *count };
            of.push(at..at + kept);
            at += kept;
        }
        let mut positions = vec![0; at as usize];
        let mut next: Vec<u32> = of.iter().map(|range: &Range<u32>| range.start).collect();
        for (j, &element) in b.iter().enumerate() {
            let (next, range) = (&mut next[element as usize], &of[element as usize]);
            if *next < range.end {
                positions[*next as usize] = j as u32;
                *next += 1;
            }
        }
        Self {
            a,
            positions,
            of,
            runs: vec![(0, 0); b.len()],
            row: 0,
        }
    }

    /// The longest run of matches in `part`, earliest in `a`, then earliest in `b`; length 0 at the start if there is none.
    fn longest(&mut self, part: &Part) -> Block {
        let mut best = Block {
            a: part.a.start,
            b: part.b.start,
            len: 0,
        };
        let enough = part.bound.min(part.a.len()).min(part.b.len());
        // Leaves a gap, so that no row of an earlier search is the predecessor of the first row.
        self.row = self.row.wrapping_add(1);
        for i in part.a.clone() {
            let before = self.row;
            self.row = self.row.wrapping_add(1);
            let range = &self.of[self.a[i] as usize];
            let positions = &self.positions[range.start as usize..range.end as usize];
            let from = positions.partition_point(|&j| (j as usize) < part.b.start);
            let to = from + positions[from..].partition_point(|&j| (j as usize) < part.b.end);
            let (mut row_best, mut row_at) = (0, 0);
            // Backwards, so that the entry to the left is still that of the previous row.
            for &j in positions[from..to].iter().rev() {
                let j = j as usize;
                let run = match j
                    .checked_sub(1)
                    .filter(|_| j > part.b.start)
                    .map(|left| self.runs[left])
                {
                    Some((row, run)) if row == before => run + 1,
                    _ => 1,
                };
                self.runs[j] = (self.row, run);
                if run >= row_best {
                    (row_best, row_at) = (run, j);
                }
            }
            let len = row_best as usize;
            if len > best.len {
                best = Block {
                    a: i + 1 - len,
                    b: row_at + 1 - len,
                    len,
                };
                if len >= enough {
                    break;
                }
            }
        }
        best
    }
}

/// Extends a block over equal neighbours on both sides, which may be elements that cannot start a match.
fn extend(a: &[u32], b: &[u32], part: &Part, core: &Block) -> Block {
    let before = a[part.a.start..core.a]
        .iter()
        .rev()
        .zip(b[part.b.start..core.b].iter().rev());
    let before = before.take_while(|(x, y)| x == y).count();
    let after = a[core.a + core.len..part.a.end]
        .iter()
        .zip(&b[core.b + core.len..part.b.end]);
    let after = after.take_while(|(x, y)| x == y).count();
    Block {
        a: core.a - before,
        b: core.b - before,
        len: before + core.len + after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules of the module documentation, without optimisation.
    fn slow(a: &[u32], b: &[u32]) -> usize {
        let mut best = (0, 0, 0);
        for i in 0..a.len() {
            for j in 0..b.len() {
                let len = a[i..].iter().zip(&b[j..]).take_while(|(x, y)| x == y).count();
                if len > best.2 {
                    best = (i, j, len);
                }
            }
        }
        let (i, j, len) = best;
        if len == 0 {
            0
        } else {
            len + slow(&a[..i], &b[..j]) + slow(&a[i + len..], &b[j + len..])
        }
    }

    proptest::proptest! {
        #[test]
        fn blocks_are_those_of_the_rules(
            a in proptest::collection::vec(0_u32..5, 0..60),
            b in proptest::collection::vec(0_u32..5, 0..60),
        ) {
            proptest::prop_assert_eq!(matched(&a, &b, false), slow(&a, &b));
        }
    }

    #[test]
    fn long_loops_do_not_take_long() {
        let a: Vec<u32> = (0..5_000).map(|i| i % 10).collect();
        let b: Vec<u32> = (0..5_000).map(|i| if i % 10 == 9 { 10 } else { i % 10 }).collect();
        let started = std::time::Instant::now();
        assert_eq!(matched(&a, &b, false), 4_500);
        assert!(started.elapsed().as_secs() < 5);
    }
}
