//! Measures and diffs as a specification: values of the reference implementations on many pairs, and what holds for all texts.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde::Deserialize;
use softprefix_core::compare::{Diff, Granularity, Measures, Side, Span, SpanKind, diff};

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

#[test]
fn a_loop_is_called_a_loop_and_prose_is_not() {
    assert!(Measures::of("x", &"また、また、".repeat(50)).is_loop());
    assert!(!Measures::of("x", "吾輩は猫である。名前はまだ無い。").is_loop());
    assert!(!Measures::of("x", "abc").is_loop(), "too short to tell");
}

/// The spans of one side with their texts.
type Pieces = Vec<(SpanKind, String)>;

fn texts(a: &str, b: &str, d: &Diff) -> (Pieces, Pieces) {
    let side = |text: &str, spans: &[Span]| {
        spans
            .iter()
            .map(|s| (s.kind, text[s.range.clone()].to_owned()))
            .collect()
    };
    (side(a, &d.left), side(b, &d.right))
}

/// Checks everything that `Diff` promises.
fn check(a: &str, b: &str, d: &Diff) {
    for (text, spans, changed) in [(a, &d.left, SpanKind::Removed), (b, &d.right, SpanKind::Added)] {
        let mut at = 0;
        let mut rebuilt = String::new();
        for span in spans {
            assert_eq!(span.range.start, at, "spans follow one another");
            assert!(span.range.end > at, "no span is empty");
            assert!(span.kind == SpanKind::Equal || span.kind == changed);
            rebuilt.push_str(&text[span.range.clone()]);
            at = span.range.end;
        }
        assert_eq!(rebuilt, text);
    }
    let equal = |text: &str, spans: &[Span]| -> Vec<String> {
        use unicode_normalization::UnicodeNormalization;
        let kept = spans.iter().filter(|s| s.kind == SpanKind::Equal);
        kept.map(|s| text[s.range.clone()].nfc().collect()).collect()
    };
    assert_eq!(equal(a, &d.left), equal(b, &d.right));
}

#[test]
fn graphemes_are_never_cut() {
    let (a, b) = ("家族👨‍👩‍👧‍👦です", "家族👨‍👩‍👦です");
    let d = diff(a, b, Granularity::Grapheme, None);
    check(a, b, &d);
    let (left, right) = texts(a, b, &d);
    assert_eq!(left[1], (SpanKind::Removed, "👨‍👩‍👧‍👦".to_owned()));
    assert_eq!(right[1], (SpanKind::Added, "👨‍👩‍👦".to_owned()));
    assert!(d.exact);
}

#[test]
fn words_are_words_and_cjk_goes_by_character() {
    let (a, b) = ("the black cat", "the white cat");
    let (left, right) = texts(a, b, &diff(a, b, Granularity::Word, None));
    assert_eq!(left[1], (SpanKind::Removed, "black".to_owned()));
    assert_eq!(right[1], (SpanKind::Added, "white".to_owned()));
    for (a, b, removed) in [
        ("私はネコです", "私はネズです", "コ"),
        ("汉语学习", "汉语练习", "学"),
        ("한글이다", "한국이다", "글"),
    ] {
        let (left, _) = texts(a, b, &diff(a, b, Granularity::Word, None));
        assert_eq!(left[1], (SpanKind::Removed, removed.to_owned()));
    }
}

#[test]
fn lines_keep_their_endings() {
    let (a, b) = ("one\r\ntwo\r\nthree", "one\r\n2\r\nthree");
    let d = diff(a, b, Granularity::Line, None);
    let (left, _) = texts(a, b, &d);
    assert_eq!(
        left.iter().map(|(_, t)| t.as_str()).collect::<Vec<_>>(),
        ["one\r\n", "two\r\n", "three"]
    );
}

#[test]
fn composed_and_decomposed_text_is_the_same_text() {
    let d = diff("がぎ", "か\u{3099}き\u{3099}", Granularity::Grapheme, None);
    assert!(d.is_same() && d.exact);
    check("がぎ", "か\u{3099}き\u{3099}", &d);
}

#[test]
fn without_time_the_difference_is_coarse_but_correct_and_says_so() {
    let a: String = (0..3_000)
        .map(|i| if i % 7 == 0 { "\n" } else { ["α", "b", "日"][i % 3] })
        .collect();
    let b = a.replace('b', "c").replace('α', "ab");
    let past = Instant::now();
    for granularity in [Granularity::Grapheme, Granularity::Word, Granularity::Line] {
        let d = diff(&a, &b, granularity, Some(past));
        assert!(!d.exact);
        check(&a, &b, &d);
    }
    assert!(diff(&a, &a, Granularity::Grapheme, Some(past)).is_same());
    let enough = diff(
        &a,
        &b,
        Granularity::Grapheme,
        Some(Instant::now() + Duration::from_secs(600)),
    );
    assert!(enough.exact);
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
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "took {:?}",
        started.elapsed()
    );
}

#[test]
fn a_tidied_difference_of_unrelated_texts_is_not_confetti() {
    let (a, b) = (
        "吾輩は猫である。名前はまだ無い。どこで生れたか。",
        "メロスは激怒した。必ず、王を除かねばならぬ。",
    );
    let raw = diff(a, b, Granularity::Grapheme, None);
    let tidy = raw.tidied();
    check(a, b, &tidy);
    assert!(tidy.left.len() < raw.left.len());
    let (a, b) = (
        "a long text with one small change in it",
        "a long text with one tiny change in it",
    );
    assert_eq!(
        diff(a, b, Granularity::Word, None).tidied(),
        diff(a, b, Granularity::Word, None)
    );
}

#[test]
fn an_offset_finds_its_place_in_the_other_text() {
    let d = diff("aaXXXXbb", "aaYYbb", Granularity::Grapheme, None);
    let there: Vec<usize> = (0..=8).map(|at| d.across(Side::Left, at)).collect();
    assert_eq!(there, [0, 1, 2, 2, 3, 3, 4, 5, 6]);
    assert_eq!(d.across(Side::Right, 4), 6);
    assert_eq!(d.across(Side::Left, 1_000), 6);
    assert_eq!(Diff::default().across(Side::Left, 3), 0);
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
    prop::sample::select(vec![Granularity::Grapheme, Granularity::Word, Granularity::Line])
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
    fn spans_cover_both_texts_and_rebuild_them(a in text(), b in text(), unit in granularity()) {
        let d = diff(&a, &b, unit, None);
        prop_assert!(d.exact);
        check(&a, &b, &d);
        check(&a, &b, &d.tidied());
        for at in 0..=a.len() {
            prop_assert!(d.across(Side::Left, at) <= b.len());
        }
    }

    #[test]
    fn the_diff_by_characters_agrees_with_the_indel_ratio(a in "[abc日本語]{0,60}", b in "[abc日本語]{0,60}") {
        let d = diff(&a, &b, Granularity::Grapheme, None);
        let equal: usize = d.left.iter().filter(|s| s.kind == SpanKind::Equal).map(|s| a[s.range.clone()].chars().count()).sum();
        let both = a.chars().count() + b.chars().count();
        let ratio = if both == 0 { 1.0 } else { 2.0 * equal as f64 / both as f64 };
        prop_assert!((ratio - Measures::of(&a, &b).indel).abs() < 1e-12);
    }
}
