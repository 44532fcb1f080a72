//! Longest common subsequences and edit distances of number sequences, 64 cells at a time. It knows no text.
//!
//! Sources: H. Hyyrö, "Bit-parallel LCS-length computation revisited" (2004); E. Myers, "A fast bit-vector algorithm for
//! approximate string matching" (1999) in Hyyrö's block form (2003). Both give the classic dynamic programme's numbers exactly.

/// A run of equal elements: `len` of them from `left` in the first sequence and from `right` in the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub left: usize,
    pub right: usize,
    pub len: usize,
}

/// Rows between two stored states of [`matches`]: enough to keep memory small, few enough to redo one stretch in cache.
const STRIDE: usize = 128;

/// Machine words that [`matches`] has to compute for sequences of these lengths.
pub(super) fn steps(a: usize, b: usize) -> usize {
    a.div_ceil(64).saturating_mul(b).saturating_mul(2)
}

/// Elements shared at the start and at the end (the end does not overlap the start).
fn common(a: &[u32], b: &[u32]) -> (usize, usize) {
    let start = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let rest = a[start..].iter().rev().zip(b[start..].iter().rev());
    (start, rest.take_while(|(x, y)| x == y).count())
}

/// Only the shared start and end.
pub(super) fn common_ends(a: &[u32], b: &[u32]) -> Vec<Match> {
    let (start, end) = common(a, b);
    let mut out = Vec::new();
    extend(
        &mut out,
        Match {
            left: 0,
            right: 0,
            len: start,
        },
    );
    extend(
        &mut out,
        Match {
            left: a.len() - end,
            right: b.len() - end,
            len: end,
        },
    );
    out
}

/// Appends `m`, joined to the last match if it continues it.
fn extend(out: &mut Vec<Match>, m: Match) {
    if m.len == 0 {
        return;
    }
    match out.last_mut() {
        Some(last) if last.left + last.len == m.left && last.right + last.len == m.right => last.len += m.len,
        _ => out.push(m),
    }
}

/// For every element number, the positions of `a` that hold it, as bits: `masks[number * words + word]`.
struct Positions {
    words: usize,
    /// Number of an element → its row of masks; `None` where `a` does not hold the element.
    row: Vec<Option<u32>>,
    masks: Vec<u64>,
}

impl Positions {
    fn of(a: &[u32]) -> Self {
        let words = a.len().div_ceil(64);
        let size = a.iter().max().map_or(0, |&max| max as usize + 1);
        let mut row = vec![None; size];
        let mut masks: Vec<u64> = Vec::new();
        for (at, &element) in a.iter().enumerate() {
            let index = *row[element as usize].get_or_insert_with(|| {
                let next = masks.len() / words;
                masks.resize(masks.len() + words, 0);
                next as u32
            });
            masks[index as usize * words + at / 64] |= 1 << (at % 64);
        }
        Self { words, row, masks }
    }

    fn get(&self, element: u32) -> Option<&[u64]> {
        let row = (*self.row.get(element as usize)?)? as usize;
        self.masks.get(row * self.words..(row + 1) * self.words)
    }
}

/// One row of the LCS programme: a zero bit at position i says that the LCS grows by one between prefix i and prefix i + 1 of `a`.
fn advance(state: &mut [u64], mask: &[u64]) {
    let mut carry = false;
    for (word, &mask) in state.iter_mut().zip(mask) {
        let matched = *word & mask;
        let (sum, over) = word.overflowing_add(matched);
        let (sum, over_carry) = sum.overflowing_add(u64::from(carry));
        carry = over || over_carry;
        *word = sum | (*word & !mask);
    }
}

/// Length of the longest common subsequence, in O(len(a) * len(b) / 64).
pub(super) fn length(a: &[u32], b: &[u32]) -> usize {
    let (start, end) = common(a, b);
    let (a, b) = (&a[start..a.len() - end], &b[start..b.len() - end]);
    if a.is_empty() || b.is_empty() {
        return start + end;
    }
    let positions = Positions::of(a);
    let mut state = vec![u64::MAX; positions.words];
    for &element in b {
        if let Some(mask) = positions.get(element) {
            advance(&mut state, mask);
        }
    }
    start + end + zeros(&state, a.len())
}

/// Zero bits among the first `len`.
fn zeros(state: &[u64], len: usize) -> usize {
    let ones: usize = state.iter().map(|word| word.count_ones() as usize).sum();
    // The bits beyond `len` in the last word match nothing; a carry may still have passed through them.
    let beyond = state.last().map_or(0, |word| match len % 64 {
        0 => 0,
        used => (word >> used).count_ones() as usize,
    });
    len - (ones - beyond)
}

/// A longest common subsequence as runs in order. `go_on` is asked now and then; when it says no, the answer is `None`.
///
/// States are stored every [`STRIDE`] rows and the rows between are computed again on the way back: memory stays below
/// len(a) * (len(b) / STRIDE + STRIDE) / 8 bytes.
pub(super) fn matches(a: &[u32], b: &[u32], go_on: &mut dyn FnMut() -> bool) -> Option<Vec<Match>> {
    let (start, end) = common(a, b);
    let tail = Match {
        left: a.len() - end,
        right: b.len() - end,
        len: end,
    };
    let (a, b) = (&a[start..a.len() - end], &b[start..b.len() - end]);
    let mut out = Vec::new();
    extend(
        &mut out,
        Match {
            left: 0,
            right: 0,
            len: start,
        },
    );
    if !a.is_empty() && !b.is_empty() {
        for m in inner_matches(a, b, go_on)? {
            extend(
                &mut out,
                Match {
                    left: m.left + start,
                    right: m.right + start,
                    len: m.len,
                },
            );
        }
    }
    extend(&mut out, tail);
    Some(out)
}

fn inner_matches(a: &[u32], b: &[u32], go_on: &mut dyn FnMut() -> bool) -> Option<Vec<Match>> {
    let positions = Positions::of(a);
    let words = positions.words;
    let mut state = vec![u64::MAX; words];
    let mut stored: Vec<u64> = Vec::with_capacity(words * b.len().div_ceil(STRIDE));
    for stretch in b.chunks(STRIDE) {
        if !go_on() {
            return None;
        }
        stored.extend_from_slice(&state);
        for &element in stretch {
            if let Some(mask) = positions.get(element) {
                advance(&mut state, mask);
            }
        }
    }

    let mut backwards: Vec<Match> = Vec::new();
    let mut i = a.len();
    let mut rows: Vec<u64> = Vec::with_capacity(words * (STRIDE + 1));
    for (number, stretch) in b.chunks(STRIDE).enumerate().rev() {
        if i == 0 {
            break;
        }
        if !go_on() {
            return None;
        }
        // Row r of `rows` is the state before element r of this stretch.
        rows.clear();
        rows.extend_from_slice(stored.get(number * words..(number + 1) * words)?);
        for &element in stretch {
            let from = rows.len() - words;
            rows.extend_from_within(from..);
            if let (Some(mask), Some(row)) = (positions.get(element), rows.get_mut(from + words..)) {
                advance(row, mask);
            }
        }
        let mut r = stretch.len();
        while r > 0 && i > 0 {
            // Taking the diagonal where the elements are equal is always part of some longest subsequence; otherwise go where
            // the length is kept: left if the last column does not add to it, else up.
            if a[i - 1] == stretch[r - 1] {
                let m = Match {
                    left: i - 1,
                    right: number * STRIDE + r - 1,
                    len: 1,
                };
                match backwards.last_mut() {
                    Some(last) if m.left + 1 == last.left && m.right + 1 == last.right => {
                        *last = Match { len: last.len + 1, ..m };
                    }
                    _ => backwards.push(m),
                }
                i -= 1;
                r -= 1;
            } else if rows[r * words + (i - 1) / 64] >> ((i - 1) % 64) & 1 == 1 {
                i -= 1;
            } else {
                r -= 1;
            }
        }
    }
    backwards.reverse();
    Some(backwards)
}

/// Levenshtein distance (insertion, deletion and substitution cost 1), in O(len(a) * len(b) / 64).
pub(super) fn levenshtein(a: &[u32], b: &[u32]) -> usize {
    let (start, end) = common(a, b);
    let (a, b) = (&a[start..a.len() - end], &b[start..b.len() - end]);
    if a.is_empty() || b.is_empty() {
        return a.len().max(b.len());
    }
    let positions = Positions::of(a);
    let words = positions.words;
    let mut plus = vec![u64::MAX; words];
    let mut minus = vec![0_u64; words];
    let last_bit = (a.len() - 1) % 64;
    let none = vec![0_u64; words];
    let mut distance = a.len();
    for &element in b {
        let mask = positions.get(element).unwrap_or(&none);
        // The top row of the programme counts up by one at each column.
        let (mut plus_in, mut minus_in) = (1_u64, 0_u64);
        for (word, ((plus, minus), &mask)) in plus.iter_mut().zip(minus.iter_mut()).zip(mask).enumerate() {
            let (vp, vn) = (*plus, *minus);
            let x = mask | minus_in;
            let d0 = ((x & vp).wrapping_add(vp) ^ vp) | x | vn;
            let hp = vn | !(d0 | vp);
            let hn = d0 & vp;
            if word + 1 == words {
                distance += (hp >> last_bit & 1) as usize;
                distance -= (hn >> last_bit & 1) as usize;
            }
            let hp_shifted = hp << 1 | plus_in;
            let hn_shifted = hn << 1 | minus_in;
            plus_in = hp >> 63;
            minus_in = hn >> 63;
            *plus = hn_shifted | !(d0 | hp_shifted);
            *minus = hp_shifted & d0;
        }
    }
    distance
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(a: &[u32], b: &[u32]) -> (usize, usize) {
        let mut lcs = vec![vec![0; b.len() + 1]; a.len() + 1];
        let mut lev = vec![vec![0; b.len() + 1]; a.len() + 1];
        for i in 0..=a.len() {
            for j in 0..=b.len() {
                if i == 0 || j == 0 {
                    lev[i][j] = i + j;
                    continue;
                }
                let same = a[i - 1] == b[j - 1];
                lcs[i][j] = if same {
                    lcs[i - 1][j - 1] + 1
                } else {
                    lcs[i - 1][j].max(lcs[i][j - 1])
                };
                lev[i][j] = (lev[i - 1][j - 1] + usize::from(!same))
                    .min(lev[i - 1][j] + 1)
                    .min(lev[i][j - 1] + 1);
            }
        }
        (lcs[a.len()][b.len()], lev[a.len()][b.len()])
    }

    proptest! {
        #[test]
        fn bits_give_the_numbers_of_the_full_table(
            a in prop::collection::vec(0_u32..6, 0..300),
            b in prop::collection::vec(0_u32..6, 0..300),
        ) {
            let (lcs, lev) = table(&a, &b);
            prop_assert_eq!(length(&a, &b), lcs);
            prop_assert_eq!(levenshtein(&a, &b), lev);
            let runs = matches(&a, &b, &mut || true).unwrap();
            prop_assert_eq!(runs.iter().map(|m| m.len).sum::<usize>(), lcs);
            let (mut i, mut j) = (0, 0);
            for m in runs {
                prop_assert!(m.left >= i && m.right >= j && m.len > 0);
                prop_assert_eq!(&a[m.left..m.left + m.len], &b[m.right..m.right + m.len]);
                (i, j) = (m.left + m.len, m.right + m.len);
            }
        }
    }

    #[test]
    fn a_refusal_to_go_on_ends_the_search() {
        assert_eq!(matches(&[1, 2, 3], &[3, 2, 1], &mut || false), None);
    }
}
