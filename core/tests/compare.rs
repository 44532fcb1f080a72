//! Measures and diffs as a specification: values of the reference implementations on many pairs, and what holds for all texts.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::ops::Range;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde::Deserialize;
use softprefix_core::compare::{Change, Diff, Granularity, Measures, diff};
use unicode_normalization::UnicodeNormalization;

#[derive(Deserialize)]
struct Fixtures {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    baseline: String,
    text: String,
    chrf2: f64,
    indel: f64,
    levenshtein: f64,
    difflib: f64,
    difflib_autojunk: f64,
    first_divergence: usize,
    distinct2: Option<f64>,
    distinct4: Option<f64>,
    code_points: [usize; 2],
}

fn cases() -> Vec<Case> {
    let text = include_str!("fixtures/compare/similarity.json");
    serde_json::from_str::<Fixtures>(text).unwrap().cases
}

#[test]
fn every_measure_equals_its_reference_implementation() {
    let cases = cases();
    assert!(cases.len() >= 60, "only {} pairs", cases.len());
    let near = |got: f64, wanted: f64, within: f64| (got - wanted).abs() <= within;
    let near_share = |got: Option<f64>, wanted: Option<f64>| match (got, wanted) {
        (Some(got), Some(wanted)) => near(got, wanted, 1e-12),
        (got, wanted) => got == wanted,
    };
    let mut wrong = Vec::new();
    for case in &cases {
        let m = Measures::of(&case.baseline, &case.text);
        let checks = [
            ("chrf2", near(m.chrf2, case.chrf2, 1e-3)),
            ("indel", near(m.indel, case.indel, 1e-9)),
            ("levenshtein", near(m.levenshtein, case.levenshtein, 1e-9)),
            ("difflib", near(m.difflib, case.difflib, 1e-9)),
            (
                "difflib_autojunk",
                near(m.difflib_autojunk, case.difflib_autojunk, 1e-9),
            ),
            (
                "first_divergence",
                m.first_divergence.code_points == case.first_divergence,
            ),
            ("distinct2", near_share(m.distinct2, case.distinct2)),
            ("distinct4", near_share(m.distinct4, case.distinct4)),
            (
                "lengths",
                [m.baseline_length.code_points, m.length.code_points] == case.code_points,
            ),
        ];
        for (what, _) in checks.iter().filter(|(_, good)| !good) {
            wrong.push(format!("{}: {what} (got {m:?})", case.name));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn autojunk_breaks_the_ratio_from_200_characters_on_and_we_repeat_that() {
    let cases = cases();
    let case = cases
        .iter()
        .find(|case| case.name == "416 characters, 11 edits")
        .unwrap();
    let m = Measures::of(&case.baseline, &case.text);
    assert!(
        m.difflib - m.difflib_autojunk > 0.06,
        "{} and {}",
        m.difflib,
        m.difflib_autojunk
    );
}

#[test]
fn the_first_divergence_is_counted_for_people_and_for_programs() {
    let m = Measures::of("👨‍👩‍👧‍👦と猫", "👨‍👩‍👧‍👦と犬");
    assert_eq!((m.first_divergence.graphemes, m.first_divergence.code_points), (2, 8));
    let half = Measures::of("👨‍👩‍👧", "👨‍👩‍👦");
    assert_eq!(
        (half.first_divergence.graphemes, half.first_divergence.code_points),
        (0, 4)
    );
    assert_eq!(half.length.graphemes, 1);
}

#[test]
fn tokens_shared_from_the_start_are_counted_where_both_lists_are_known() {
    let m = Measures::of("a b", "a c").with_tokens(Some(&[5, 6, 7]), Some(&[5, 6, 8, 9]));
    assert_eq!(m.first_divergence_tokens, Some(2));
    assert_eq!(
        Measures::of("a", "a")
            .with_tokens(Some(&[1]), None)
            .first_divergence_tokens,
        None
    );
}

/// What was removed from the left text and what was added in the right one, change by change.
fn marked<'a>(a: &'a str, b: &'a str, d: &Diff) -> Vec<(&'a str, &'a str)> {
    let pair = |change: &Change| (&a[change.left.clone()], &b[change.right.clone()]);
    d.changes.iter().map(pair).collect()
}

/// Checks everything that `Diff` promises.
fn check(a: &str, b: &str, d: &Diff) {
    let same = |left: Range<usize>, right: Range<usize>| {
        let (l, r): (String, String) = (a[left].nfc().collect(), b[right].nfc().collect());
        assert_eq!(l, r, "what stands between two changes is the same in both texts");
    };
    let (mut i, mut j) = (0, 0);
    for (at, change) in d.changes.iter().enumerate() {
        assert!(at == 0 || change.left.start > i, "changes do not touch each other");
        assert!(!change.left.is_empty() || !change.right.is_empty());
        same(i..change.left.start, j..change.right.start);
        (i, j) = (change.left.end, change.right.end);
    }
    same(i..a.len(), j..b.len());
}

/// A pair of texts with the changes that a reader would mark.
struct Pair {
    name: String,
    left: String,
    right: String,
    changes: Vec<(String, String)>,
}

fn pairs() -> Vec<Pair> {
    let (_, pairs) = include_str!("fixtures/changes.txt").split_once("\n## ").unwrap();
    let pair = |block: &str| {
        let (name, text) = block.trim_end().split_once('\n').unwrap();
        let mut pair = Pair {
            name: name.to_owned(),
            left: String::new(),
            right: String::new(),
            changes: Vec::new(),
        };
        for piece in text.split_inclusive('}') {
            let (equal, change) = piece.split_once('{').unwrap_or((piece, "|}"));
            let (old, new) = change.strip_suffix('}').unwrap().split_once('|').unwrap();
            pair.left += &format!("{equal}{old}");
            pair.right += &format!("{equal}{new}");
            if old != new {
                pair.changes.push((old.to_owned(), new.to_owned()));
            }
        }
        pair
    };
    pairs.split("\n## ").map(pair).collect()
}

#[test]
fn the_changes_are_those_that_a_reader_would_mark() {
    let pairs = pairs();
    assert!(pairs.len() >= 20);
    let mut wrong = String::new();
    for pair in &pairs {
        let d = diff(&pair.left, &pair.right, Granularity::Auto, None);
        check(&pair.left, &pair.right, &d);
        let found = marked(&pair.left, &pair.right, &d);
        let wanted: Vec<_> = pair
            .changes
            .iter()
            .map(|(old, new)| (old.as_str(), new.as_str()))
            .collect();
        if found != wanted {
            wrong += &format!("{}\n  wanted {wanted:?}\n  found  {found:?}\n", pair.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn by_character_there_are_few_changes_too() {
    let (mut wanted, mut found) = (0, 0);
    for pair in pairs() {
        let d = diff(&pair.left, &pair.right, Granularity::Grapheme, None);
        check(&pair.left, &pair.right, &d);
        wanted += pair.changes.len();
        found += d.changes.len();
    }
    assert!(found <= wanted, "{found} changes where a reader marks {wanted}");
}

#[test]
fn graphemes_are_never_cut() {
    let (a, b) = ("家族👨‍👩‍👧‍👦です", "家族👨‍👩‍👦です");
    let d = diff(a, b, Granularity::Grapheme, None);
    check(a, b, &d);
    assert_eq!(marked(a, b, &d), [("👨‍👩‍👧‍👦", "👨‍👩‍👦")]);
    assert!(d.exact);
}

#[test]
fn words_are_aligned_whole_and_cjk_by_character() {
    for (a, b, removed, added) in [
        ("the black cat", "the white cat", "black", "white"),
        ("私はネコです", "私はネズです", "コ", "ズ"),
        ("汉语学习", "汉语练习", "学", "练"),
        ("한글이다", "한국이다", "글", "국"),
    ] {
        assert_eq!(marked(a, b, &diff(a, b, Granularity::Auto, None)), [(removed, added)]);
    }
    let (a, b) = ("私はネコです", "私はネズです");
    assert_eq!(marked(a, b, &diff(a, b, Granularity::Word, None)), [("ネコ", "ネズ")]);
}

#[test]
fn lines_keep_their_endings() {
    let (a, b) = ("one\r\ntwo\r\nthree", "one\r\n2\r\nthree");
    let d = diff(a, b, Granularity::Line, None);
    assert_eq!(marked(a, b, &d), [("two\r\n", "2\r\n")]);
}

#[test]
fn composed_and_decomposed_text_is_the_same_text() {
    let d = diff("がぎ", "か\u{3099}き\u{3099}", Granularity::Auto, None);
    assert!(d.changes.is_empty() && d.exact);
}

#[test]
fn without_time_the_difference_is_correct_but_coarse_and_marked_as_coarse() {
    let a: String = (0..3_000)
        .map(|i| if i % 7 == 0 { "\n" } else { ["α", "b", "日"][i % 3] })
        .collect();
    let b = a.replace('b', "c").replace('α', "ab");
    let past = Instant::now();
    for granularity in Granularity::ALL {
        let d = diff(&a, &b, granularity, Some(past));
        assert!(!d.exact);
        check(&a, &b, &d);
        assert!(diff(&a, &a, granularity, Some(past)).changes.is_empty());
    }
    let enough = Instant::now() + Duration::from_secs(600);
    assert!(diff(&a, &b, Granularity::Grapheme, Some(enough)).exact);
}

#[test]
fn huge_texts_keep_to_their_time() {
    let a = "吾輩は猫である。名前はまだ無い。".repeat(20_000);
    let b = "メロスは激怒した。必ず、かの邪智暴虐の王を除かねば。".repeat(12_000);
    let started = Instant::now();
    let d = diff(
        &a,
        &b,
        Granularity::Grapheme,
        Some(started + Duration::from_millis(200)),
    );
    assert!(!d.exact);
    check(&a, &b, &d);
    // The subject: without a limit they take minutes.
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "took {:?}",
        started.elapsed()
    );
}

#[test]
fn long_white_space_is_compared_in_proportion_to_its_length() {
    let a = format!("begins.{}ends", " ".repeat(60_000));
    let b = format!("begins.{}ends", " ".repeat(60_001));
    let started = Instant::now();
    let d = diff(&a, &b, Granularity::Grapheme, None);
    check(&a, &b, &d);
    assert_eq!(marked(&a, &b, &d), [("", " ")]);
    // The subject: in proportion to the square it takes a minute.
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "took {:?}",
        started.elapsed()
    );
}

/// Texts as models write them, and worse ones.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab 猫犬。\n]{0,40}",
        "\\PC{0,30}",
        prop::collection::vec(
            prop::sample::select(vec![
                "か", "\u{3099}", "👨", "\u{200d}", "👩", "e", "\u{301}", "\r", "\n", "한", "ᄒ", "ᅡ", "the ", "𠮷"
            ]),
            0..30
        )
        .prop_map(|v| v.concat()),
        any::<String>(),
    ]
}

fn granularity() -> impl Strategy<Value = Granularity> {
    prop::sample::select(Granularity::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_text_equals_itself(a in text()) {
        let m = Measures::of(&a, &a);
        prop_assert!(m.is_same());
        for ratio in [m.indel, m.difflib, m.difflib_autojunk, m.levenshtein] {
            prop_assert_eq!(ratio, 1.0);
        }
        let visible = a.chars().any(|c| !c.is_whitespace() && !('\u{1c}'..='\u{1f}').contains(&c));
        prop_assert_eq!(m.chrf2, if visible { 100.0 } else { 0.0 });
        prop_assert_eq!(m.first_divergence.graphemes, m.length.graphemes);
    }

    #[test]
    fn what_is_symmetric_is_symmetric_and_all_keep_their_range(a in text(), b in text()) {
        let (m, n) = (Measures::of(&a, &b), Measures::of(&b, &a));
        prop_assert_eq!(m.indel, n.indel);
        prop_assert_eq!(m.levenshtein, n.levenshtein);
        prop_assert_eq!(m.first_divergence, n.first_divergence);
        prop_assert_eq!(m.baseline_length, n.length);
        prop_assert!((0.0..=100.0).contains(&m.chrf2));
        for ratio in [m.indel, m.difflib, m.difflib_autojunk, m.levenshtein] {
            prop_assert!((0.0..=1.0).contains(&ratio));
        }
        for share in [m.distinct2, m.distinct4].into_iter().flatten() {
            prop_assert!(share > 0.0 && share <= 1.0);
        }
        prop_assert!(m.difflib <= m.indel + 1e-12, "blocks in order are a common subsequence");
        prop_assert_eq!(m.is_same(), n.is_same());
    }

    #[test]
    fn changes_and_what_is_between_them_make_up_both_texts(a in text(), b in text(), unit in granularity()) {
        let d = diff(&a, &b, unit, None);
        prop_assert!(d.exact);
        check(&a, &b, &d);
    }
}
