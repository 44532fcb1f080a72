//! A case's tokens and logits are the same bits however they are computed.

use softprefix_core::prefix::{Magnitude, PrefixKind};
use softprefix_unit::engine::cpu::kernel::Tier;

use crate::harness::{Answer, Bench, Case, Feed, models};

const TOKENS: usize = 20;
const QUESTION: &str = "Why is the sky blue? Answer in two sentences.";

/// No prefix and ten different ones, with prompts of three lengths.
fn eleven_cases(bench: &Bench) -> Vec<Case> {
    let random = |seed| PrefixKind::RandomNormal {
        seed,
        generator: Default::default(),
    };
    let uniform = |seed| PrefixKind::RandomUniform {
        seed,
        generator: Default::default(),
    };
    let words = |text: &str| PrefixKind::Words { text: text.into() };
    let prefixes = [
        (PrefixKind::Constant, 1, Magnitude::Raw(0.0)),
        (PrefixKind::Constant, 1, Magnitude::Raw(1e-4)),
        (PrefixKind::Constant, 3, Magnitude::Raw(0.05)),
        (PrefixKind::Constant, 1, Magnitude::Raw(2.0)),
        (PrefixKind::Constant, 2, Magnitude::Raw(1e30)),
        (random(1), 8, Magnitude::Raw(0.02)),
        (random(2), 20, Magnitude::Raw(0.1)),
        (uniform(3), 5, Magnitude::Raw(0.01)),
        (words("Answer like a pirate!"), 7, Magnitude::Unscaled),
        (words("海"), 4, Magnitude::Raw(3.0)),
    ];
    let prompts = [
        QUESTION,
        "Hi",
        "Write one line about a lighthouse, a gull, and the colour of the sea at noon.",
    ];
    let mut cases = vec![bench.case(None, QUESTION, TOKENS)];
    for (number, (kind, len, magnitude)) in prefixes.into_iter().enumerate() {
        let prefix = bench.prefix(kind, len, magnitude);
        cases.push(bench.case(Some(&prefix), prompts[number % 3], TOKENS));
    }
    cases
}

fn assert_same(expected: &[Answer], got: &[Answer], how: &str) {
    for (number, (expected, got)) in expected.iter().zip(got).enumerate() {
        assert_eq!(expected.tokens, got.tokens, "the tokens of case {number}, {how}");
        assert_eq!(expected.digest, got.digest, "the logits of case {number}, {how}");
    }
}

#[test]
fn eleven_prefixes_give_the_same_bits_in_any_batch() {
    for path in models() {
        let mut bench = Bench::new(&path, 1, None);
        let cases = eleven_cases(&bench);
        let expected = bench.alone(&cases, Feed::Whole);
        let different: std::collections::BTreeSet<_> = expected.iter().map(|answer| &answer.digest).collect();
        assert_eq!(different.len(), cases.len(), "each prefix gives a different text");
        drop(bench);

        let mut bench = Bench::new(&path, 2, None);
        for round in ["once", "twice", "three times"] {
            let got = bench.together(&cases, |_| 0, Feed::Whole);
            assert_same(&expected, &got, &format!("in one batch, on two threads, {round}"));
        }
        let reversed: Vec<Case> = cases.iter().rev().cloned().collect();
        let mut got = bench.together(&reversed, |_| 0, Feed::Whole);
        got.reverse();
        assert_same(&expected, &got, "in reverse order");
        let got = bench.together(&cases, |number| number * 5 % 11 * 2, Feed::Whole);
        assert_same(&expected, &got, "joining one after another");
        let got = bench.together(&cases, |number| number / 4, Feed::Chunks(1));
        assert_same(&expected, &got, "fed row by row, in a batch");
        let got = bench.together(&cases, |_| 0, Feed::Chunks(7));
        assert_same(&expected, &got, "fed in chunks of seven");
        let got = bench.alone(&cases[..3], Feed::Chunks(5));
        assert_same(&expected[..3], &got, "alone, in chunks of five");
        drop(bench);

        let mut bench = Bench::new(&path, 3, None);
        let got = bench.together(&cases, |_| 0, Feed::Whole);
        assert_same(&expected, &got, "on three threads");
    }
}

#[test]
fn words_as_a_prefix_give_the_same_bits_as_words_typed_at_the_start() {
    for path in models() {
        let mut bench = Bench::new(&path, 2, None);
        for text in ["Answer like a pirate!", "答えは", " the"] {
            let tokens = bench.encode(text);
            let prefix = bench.prefix(
                PrefixKind::Words { text: text.into() },
                tokens.len(),
                Magnitude::Unscaled,
            );
            let with_prefix = bench.case(Some(&prefix), QUESTION, TOKENS);
            let mut typed = tokens;
            typed.extend(bench.encode(&bench.template.render("You are a helpful assistant.", QUESTION).unwrap()));
            let typed = Case {
                rows: bench.rows(&typed),
                tokens: TOKENS,
            };
            let answers = [
                bench.alone(&[with_prefix], Feed::Whole),
                bench.alone(&[typed], Feed::Whole),
            ];
            assert_eq!(answers[0], answers[1], "{text:?}");
        }
    }
}

#[test]
fn no_prefix_equals_a_prefix_of_no_rows_and_differs_from_a_prefix_of_zeros() {
    for path in models() {
        let mut bench = Bench::new(&path, 2, None);
        let zeros = bench.prefix(PrefixKind::Constant, 1, Magnitude::Raw(0.0));
        let cases = [
            bench.case(None, QUESTION, TOKENS),
            Case {
                rows: bench.question(QUESTION),
                tokens: TOKENS,
            },
            bench.case(Some(&zeros), QUESTION, TOKENS),
        ];
        let answers = bench.alone(&cases, Feed::Whole);
        assert_eq!(answers[0], answers[1]);
        assert_ne!(answers[0].digest, answers[2].digest);
    }
}

#[test]
fn a_long_prompt_has_the_same_logits_after_every_row_whole_or_in_chunks() {
    for path in models() {
        let mut bench = Bench::new(&path, 2, None);
        // More rows than one pass, and several chunks of the cache.
        let text = "The quick brown fox jumps over the lazy dog, and then it does so again. ".repeat(14);
        let rows = bench.rows(&bench.encode(&text));
        let all = bench.logits(&rows);
        assert!(all.len() > 200, "{} rows", all.len());
        let whole = bench.alone(
            &[Case {
                rows: rows.clone(),
                tokens: 3,
            }],
            Feed::Whole,
        );
        let pieces = bench.alone(
            &[Case {
                rows: rows.clone(),
                tokens: 3,
            }],
            Feed::Chunks(61),
        );
        assert_eq!(whole, pieces);
        let some = bench.logits(&rows[..100 * bench.hidden_size()]);
        assert!(some == all[..100], "later rows do not affect earlier ones");
    }
}

#[test]
fn every_supported_tier_gives_the_same_bits() {
    for path in models() {
        let mut bench = Bench::new(&path, 2, Some(Tier::best()));
        let cases = eleven_cases(&bench)[4..7].to_vec();
        let expected = bench.together(&cases, |_| 0, Feed::Whole);
        drop(bench);
        // The reference implementation is too slow for whole texts; digests and the kernels' own tests compare it with the others.
        let others = Tier::ALL
            .into_iter()
            .filter(|&tier| tier.is_supported() && tier != Tier::Scalar);
        for tier in others.filter(|&tier| tier != Tier::best()) {
            let mut bench = Bench::new(&path, 2, Some(tier));
            let got = bench.together(&cases, |_| 0, Feed::Whole);
            assert_same(&expected, &got, tier.name());
        }
    }
}
