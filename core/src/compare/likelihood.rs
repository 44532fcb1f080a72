//! Measures of the model's distributions rather than of its text: KL divergence and perplexity over a text's tokens, from what a
//! unit scored.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::prefix::TokenPiece;
use crate::protocol::extension::{Compared, Scored};

/// KL(reference || prefixed) over a text's tokens, in nats, and how often the likeliest token stayed the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LikelihoodMeasures {
    /// Mean over the tokens.
    pub kl_mean: f64,
    /// The 95th percentile, linear between the two nearest values.
    pub kl_p95: f64,
    /// Largest value.
    pub kl_max: f64,
    /// Share of tokens at which the likeliest token is the reference's, 0 to 1.
    pub same_top: f64,
    /// Perplexity of the text under the reference: without a prefix, or with the reference prefix of the request.
    #[serde(rename = "perplexity_base")]
    pub perplexity_reference: f64,
    /// Perplexity of the same text with the prefix.
    pub perplexity_prefixed: f64,
}

impl LikelihoodMeasures {
    /// The measures of the prefix at index `prefix` of `scored`; `None` where there are no tokens, or no such prefix.
    pub fn of(scored: &Scored, prefix: usize) -> Option<Self> {
        let compared: &Compared = scored.prefixed.get(prefix)?;
        let count = compared.kl.len();
        if count == 0 {
            return None;
        }
        let mut sorted = compared.kl.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let same = compared.same_top.iter().filter(|&&same| same).count();
        Some(Self {
            kl_mean: mean(&compared.kl),
            kl_p95: percentile(&sorted, 0.95),
            kl_max: sorted[count - 1],
            same_top: same as f64 / count as f64,
            perplexity_reference: scored.reference.perplexity,
            perplexity_prefixed: compared.scores.perplexity,
        })
    }
}

/// exp of the mean of `-logprobs`; 1 for no tokens.
pub fn perplexity(logprobs: &[f64]) -> f64 {
    (-mean(logprobs)).exp()
}

/// Lower ends, in nats, of the steps 1 to 4 of the colour scale for KL; below the first one nothing is coloured. Each
/// is ten times the one before, since KL spans as many decades as the magnitude does.
pub const KL_STEPS: [f64; 4] = [0.003, 0.03, 0.3, 3.0];

/// The step of the colour scale for `nats`, 0 to 4.
pub fn kl_step(nats: f64) -> usize {
    KL_STEPS.iter().take_while(|&&edge| nats >= edge).count()
}

/// The byte range of `text` for each of its tokens. Tokens that are parts of one character each get the whole
/// character. Up to three at the end may be without text, where an output was cut off within a character. `None` where
/// these are not the tokens of the text, or could be so in too many ways.
///
/// A token's text has U+FFFD in place of bytes that are not a whole character, one for one to three bytes, so it may end at several
/// positions of `text`. All of them are followed from token to token, unless they are too many. Those that lead to the end of `text` give the
/// ranges.
pub fn token_ranges(text: &str, tokens: &[TokenPiece]) -> Option<Vec<Range<usize>>> {
    /// Maximum number of ends that are followed, of all tokens together. A text of replacement characters could have as many as the square of its
    /// tokens.
    const MAX_ENDS: usize = 1 << 20;
    let bytes = text.as_bytes();
    // For each token, its possible ends, each with the start from which it was reached first.
    let mut starts_by_end: Vec<BTreeMap<usize, usize>> = Vec::with_capacity(tokens.len());
    let mut starts: Vec<usize> = vec![0];
    let mut count = 0;
    // The most bytes that the tokens after this one can stand for: an end from which they cannot reach the end of `text` is not followed.
    let mut most_left: usize = tokens.iter().map(|token| token.text.len()).sum();
    for token in tokens {
        most_left -= token.text.len();
        let mut ends = BTreeMap::new();
        for &start in &starts {
            for end in possible_ends(&token.text, bytes, start) {
                if bytes.len() - end <= most_left {
                    ends.entry(end).or_insert(start);
                }
            }
        }
        count += ends.len();
        if count > MAX_ENDS {
            return None;
        }
        if ends.is_empty() {
            break;
        }
        starts = ends.keys().copied().collect();
        starts_by_end.push(ends);
    }
    let matched = starts_by_end.len();
    let mut end = match starts.last() {
        Some(&last) if matched == tokens.len() && last == bytes.len() => last,
        Some(&last) if are_parts_of_one_character(&tokens[matched..], &bytes[last..]) => last,
        _ => return None,
    };
    let mut ranges = vec![bytes.len()..bytes.len(); tokens.len()];
    ranges[matched..].fill(text.floor_char_boundary(end)..bytes.len());
    for (range, starts) in ranges.iter_mut().zip(&starts_by_end).rev() {
        let start = *starts.get(&end)?;
        *range = text.floor_char_boundary(start)..text.ceil_char_boundary(end);
        end = start;
    }
    Some(ranges)
}

/// Whether `tokens` are the parts of one character that was cut off, of which `rest` is what the text has.
fn are_parts_of_one_character(tokens: &[TokenPiece], rest: &[u8]) -> bool {
    /// A character has at most four bytes, so at most three tokens begin it without ending it.
    const MAX_PARTS: usize = 3;
    let is_part = |token: &TokenPiece| token.text.ends_with(char::REPLACEMENT_CHARACTER);
    tokens.len() <= MAX_PARTS
        && tokens.iter().all(is_part)
        && tokens
            .first()
            .is_some_and(|first| first.text.trim_end_matches(char::REPLACEMENT_CHARACTER).as_bytes() == rest)
}

/// The possible ends in `bytes` of a token with the text `piece` that begins at `start`.
fn possible_ends<'a>(piece: &'a str, bytes: &'a [u8], start: usize) -> impl Iterator<Item = usize> + 'a {
    // A replacement character takes three bytes in `piece` and stands for one to three.
    let parts = piece.matches(char::REPLACEMENT_CHARACTER).count();
    let lengths = piece.len().saturating_sub(2 * parts)..=piece.len();
    lengths.map(move |length| start + length).filter(move |&end| {
        let found = bytes.get(start..end);
        found.is_some_and(|found| found == piece.as_bytes() || (parts > 0 && String::from_utf8_lossy(found) == piece))
    })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The value below which `share` (0 to 1) of the sorted values lie, linear between the two nearest; 0 for no values.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let position = share * last as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::extension::TokenScores;

    fn scores(logprobs: &[f64]) -> TokenScores {
        TokenScores {
            logprobs: logprobs.to_vec(),
            perplexity: perplexity(logprobs),
            soft_prefix: None,
            top: Vec::new(),
        }
    }

    #[test]
    fn tokens_of_replacement_characters_take_no_more_memory_than_others() {
        let piece = char::REPLACEMENT_CHARACTER.to_string();
        let count = 8_000;
        let token = TokenPiece {
            id: 0,
            text: piece.clone(),
        };
        let tokens = vec![token; count];
        let ranges = token_ranges(&piece.repeat(count), &tokens).unwrap();
        assert!(
            ranges
                .iter()
                .enumerate()
                .all(|(at, range)| *range == (3 * at..3 * at + 3))
        );
    }

    #[test]
    fn mean_percentile_and_maximum_equal_those_of_numpy() {
        // numpy.percentile([0, 1, 2, 3, 10], 95) = 8.6
        let scored = Scored {
            reference: scores(&[-1.0; 5]),
            prefixed: vec![Compared {
                kl: vec![3.0, 0.0, 10.0, 1.0, 2.0],
                same_top: vec![true, true, false, true, false],
                scores: scores(&[-2.0, -4.0, -3.0, -3.0, -3.0]),
            }],
            tokens: Vec::new(),
        };
        let found = LikelihoodMeasures::of(&scored, 0).unwrap();
        assert_eq!((found.kl_mean, found.kl_max, found.same_top), (3.2, 10.0, 0.6));
        assert!((found.kl_p95 - 8.6).abs() < 1e-12);
        assert!((found.perplexity_reference - 1f64.exp()).abs() < 1e-12);
        assert!((found.perplexity_prefixed - 3f64.exp()).abs() < 1e-12);
        assert_eq!(LikelihoodMeasures::of(&scored, 1), None);
    }

    fn pieces(text: &str, cuts: &[usize]) -> Vec<TokenPiece> {
        let ends = cuts.iter().copied().chain([text.len()]);
        let mut start = 0;
        ends.map(|end| {
            let text = String::from_utf8_lossy(&text.as_bytes()[start..end]).into_owned();
            start = end;
            TokenPiece { id: 0, text }
        })
        .collect()
    }

    #[test]
    fn each_token_has_its_range_of_the_text_and_parts_of_a_character_have_the_range_of_the_character() {
        let text = "a 森の🙂";
        let found = token_ranges(text, &pieces(text, &[1, 3, 5, 8, 10, 11])).unwrap();
        assert_eq!(found, [0..1, 1..5, 2..5, 5..8, 8..12, 8..12, 8..12]);
        assert_eq!(token_ranges("", &[]), Some(Vec::new()));
    }

    #[test]
    fn tokens_of_another_text_have_no_ranges() {
        assert_eq!(token_ranges("abc", &pieces("abd", &[1])), None);
        assert_eq!(token_ranges("abc", &pieces("ab", &[1])), None);
        assert_eq!(token_ranges("abc", &[]), None);
    }

    #[test]
    fn a_text_that_was_cut_off_within_a_character_leaves_its_last_tokens_without_text() {
        let whole = "ab森";
        let mut tokens = pieces(whole, &[2, 3]);
        tokens.truncate(2);
        assert_eq!(token_ranges("ab", &tokens).unwrap(), [0..2, 2..2]);
    }

    proptest::proptest! {
        #[test]
        fn the_ranges_of_any_tokens_of_a_text_cover_it_in_order(
            text in "[a-c あ森é🙂]{1,12}", cuts in proptest::collection::btree_set(0usize..48, 0..12)
        ) {
            let cuts: Vec<usize> = cuts.into_iter().filter(|&cut| cut > 0 && cut < text.len()).collect();
            let tokens = pieces(&text, &cuts);
            let found = token_ranges(&text, &tokens).unwrap();
            proptest::prop_assert_eq!(found.len(), tokens.len());
            proptest::prop_assert_eq!(found[0].start, 0);
            proptest::prop_assert_eq!(found[found.len() - 1].end, text.len());
            for pair in found.windows(2) {
                proptest::prop_assert!(pair[0].start <= pair[1].start && pair[1].start <= pair[0].end);
            }
            for (token, range) in tokens.iter().zip(&found) {
                if !token.text.contains(char::REPLACEMENT_CHARACTER) {
                    proptest::prop_assert_eq!(&text[range.clone()], &token.text);
                }
            }
        }
    }

    #[test]
    fn a_certain_text_has_a_perplexity_of_one_and_a_fair_coin_two() {
        assert_eq!(perplexity(&[0.0, 0.0]), 1.0);
        assert!((perplexity(&[0.5f64.ln(); 7]) - 2.0).abs() < 1e-12);
        assert_eq!(perplexity(&[]), 1.0);
    }
}
