//! The rule for "collapsed into repetition", against texts that were labelled before the rule was chosen.

use serde::Deserialize;
use softprefix_core::compare::Measures;

#[derive(Deserialize)]
struct File {
    texts: Vec<Labelled>,
}

#[derive(Deserialize)]
struct Labelled {
    name: String,
    collapsed: bool,
    baseline: Vec<Part>,
    text: Vec<Part>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Part {
    Once(String),
    Often { repeat: String, times: usize },
}

fn whole(parts: &[Part]) -> String {
    let text = |part: &Part| match part {
        Part::Once(text) => text.clone(),
        Part::Often { repeat, times } => repeat.repeat(*times),
    };
    parts.iter().map(text).collect()
}

/// Names of the false alarms and of the misses among every second text, from the first or the second on.
fn errors(first: usize) -> (Vec<String>, Vec<String>) {
    let Ok(file) = serde_json::from_str::<File>(include_str!("fixtures/repetition/texts.json")) else {
        panic!("the fixture is a file of texts")
    };
    assert!(file.texts.len() >= 40);
    let (mut alarms, mut misses) = (Vec::new(), Vec::new());
    for labelled in file.texts.into_iter().skip(first).step_by(2) {
        let measures = Measures::of(&whole(&labelled.baseline), &whole(&labelled.text));
        match (measures.repetition.is_collapse(), labelled.collapsed) {
            (true, false) => alarms.push(labelled.name),
            (false, true) => misses.push(labelled.name),
            _ => {}
        }
    }
    (alarms, misses)
}

#[test]
fn the_half_by_which_the_rule_was_chosen_has_no_false_alarms_and_no_misses() {
    assert_eq!(errors(0), (vec![], vec![]));
}

#[test]
fn the_half_that_was_held_out_has_at_most_one_false_alarm_and_two_misses() {
    let (alarms, misses) = errors(1);
    assert!(alarms.len() <= 1 && misses.len() <= 2, "{alarms:?} {misses:?}");
}

#[test]
fn a_text_as_repetitive_as_its_baseline_has_not_collapsed() {
    let looped = "私は人工知能です。".repeat(20);
    assert!(Measures::of("", &looped).repetition.is_collapse());
    assert!(!Measures::of(&looped, &looped).repetition.is_collapse());
    assert!(
        !Measures::of(&looped, &"こんにちは。".repeat(30))
            .repetition
            .is_collapse()
    );
}

#[test]
fn a_loop_behind_a_long_text_is_found() {
    let prose: String = (0..400).filter_map(|i| char::from_u32(0x4E00 + i * 7)).collect();
    assert!(!Measures::of(&prose, &prose).repetition.is_collapse());
    assert!(
        Measures::of(&prose, &(prose.clone() + &"それで".repeat(60)))
            .repetition
            .is_collapse()
    );
}

#[test]
fn a_text_of_a_few_characters_has_not_collapsed() {
    for text in ["", "abc", "ははははは", "はい、はい。"] {
        assert!(!Measures::of("", text).repetition.is_collapse(), "{text}");
    }
}
