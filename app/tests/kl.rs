//! The baseline coloured by KL: the switch, the legend, the figures under the panes, and the details of a hovered token.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use eframe::egui::accesskit::Role;
use eframe::egui::{Key, Pos2};
use egui_kittest::kittest::{NodeT, Queryable};
use softprefix::commands;
use softprefix::messages::{Event, Request};
use softprefix::model::{Colouring, Language, Problem, ProblemKind, Theme};
use softprefix::workbench::{Action, Workbench};

use common::stage::window;

fn english() -> Workbench {
    common::tuned(Language::English, Theme::Dark)
}

fn stock_module(language: Language) -> Workbench {
    let mut workbench = common::ready(language, Theme::Dark);
    let mut facts = common::facts();
    facts.identity.unit = None;
    facts.scores = false;
    workbench.absorb(Event::Ready(Box::new(facts), None));
    workbench
}

#[test]
fn the_switch_colours_the_baseline_shows_the_scale_and_puts_the_figures_under_it() {
    let mut harness = window(english());
    assert!(harness.query_by_label_contains("KL in nats").is_none());
    harness.get_by_role_and_label(Role::RadioButton, "KL").click();
    harness.run_steps(3);
    assert_eq!(harness.state().workbench.colouring(), Colouring::Kl);
    let legend = harness.get_by_role(Role::Image).accesskit_node().label().unwrap();
    assert_eq!(legend, "KL in nats, colours from: 0.003, 0.03, 0.3, 3");
    let scores = harness.state().workbench.scores().unwrap().unwrap().clone();
    for words in ["mean KL", "p95", "max", "same likeliest token"] {
        assert!(harness.query_by_label(words).is_some(), "{words}");
    }
    assert!(
        harness
            .query_by_label(&format!("{:.2}", scores.measures.kl_mean))
            .is_some()
    );
    // The prefixed side says how likely its text would have been without the prefix.
    assert!(harness.query_by_label("4.25").is_some());
    let pane = harness
        .get_by_label("Baseline output")
        .accesskit_node()
        .description()
        .unwrap();
    assert!(pane.contains("KL in nats: mean"), "{pane}");

    harness.get_by_role_and_label(Role::RadioButton, "Diff").click();
    harness.run_steps(3);
    assert!(harness.query_by_label("mean KL").is_none());
}

#[test]
fn a_hovered_token_shows_its_kl_its_probabilities_and_the_alternatives_of_both_sides() {
    let mut workbench = english();
    workbench.apply(Action::SetColouring(Colouring::Kl));
    let mut harness = window(workbench);
    let pane = harness.get_by_label("Baseline output").rect();
    // The text begins a margin inside the pane, in letters of 22 points.
    harness.hover_at(Pos2::new(pane.left() + 16.0 + 11.0, pane.top() + 16.0 + 20.0));
    harness.run_steps(4);
    assert!(harness.query_by_label("KL 0 nats").is_some());
    assert_eq!(
        harness.query_all_by_label("“「”").count(),
        3,
        "its name, and on both sides the likeliest"
    );
    // ln p = -0.5 without the prefix and -1.2 with it.
    assert!(harness.query_all_by_label("61 %").count() >= 1);
    assert!(harness.query_all_by_label("30 %").count() >= 1);
    assert_eq!(harness.query_all_by_label("“花”").count(), 2);
    assert!(harness.query_by_label("5.").is_some());

    harness.hover_at(Pos2::new(5.0, 5.0));
    harness.run_steps(4);
    assert!(harness.query_by_label("KL 0 nats").is_none());
}

#[test]
fn where_the_unit_cannot_score_the_switch_is_off_and_says_why_in_one_sentence() {
    let sentences = [
        (
            Language::English,
            "This module's unit does not report token probabilities",
        ),
        (Language::Japanese, "トークンの確率を返しません"),
    ];
    for (language, sentence) in sentences {
        let mut harness = window(stock_module(language));
        let switch = harness.get_by_role_and_label(Role::RadioButton, "KL");
        assert!(switch.accesskit_node().is_disabled());
        switch.click();
        harness.run_steps(2);
        assert_eq!(harness.state().workbench.colouring(), Colouring::Diff);
        let mut explained =
            harness.query_all_by(|node| node.description().is_some_and(|about| about.contains(sentence)));
        assert!(explained.any(|node| node.accesskit_node().is_disabled()));
    }
}

#[test]
fn the_key_switches_and_is_off_where_the_unit_cannot_score() {
    let toggle = commands::command(commands::CommandId::ToggleKl);
    assert_eq!(toggle.shortcut(false).unwrap().logical_key, Key::K);
    assert_eq!(toggle.action(&english()), Some(Action::ToggleKl));
    assert_eq!(toggle.action(&stock_module(Language::English)), None);
    let mut workbench = english();
    workbench.apply(Action::ToggleKl);
    assert_eq!(workbench.colouring(), Colouring::Kl);
    workbench.apply(Action::ToggleKl);
    assert_eq!(workbench.colouring(), Colouring::Diff);
}

#[test]
fn failed_scoring_is_reported_under_the_pane_and_repeated_by_the_switch() {
    let mut workbench = common::ready(Language::English, Theme::Light);
    workbench.apply(Action::SetColouring(Colouring::Kl));
    workbench.apply(Action::Run);
    // Everything is answered but the scoring.
    let mut asked = None;
    for _ in 0..6 {
        let (scores, others): (Vec<_>, Vec<_>) = workbench
            .take_requests()
            .into_iter()
            .partition(|request| matches!(request, Request::Score(_)));
        asked = scores.into_iter().next_back().or(asked);
        common::answer(&mut workbench, others, &|inference| match inference.recipe {
            Some(_) => common::PREFIXED.to_owned(),
            None => common::BASELINE.to_owned(),
        });
    }
    let Some(Request::Score(asked)) = asked else {
        panic!("nothing was asked")
    };
    let mut harness = window(workbench);
    assert!(harness.query_by_label("measuring…").is_some());
    let problem = Problem::new(ProblemKind::Module, "The task was ended.", "Set up again.");
    let records = vec![asked.runs[0].record.clone()];
    harness
        .state_mut()
        .workbench
        .absorb(Event::NotScored { records, problem });
    harness.run_steps(2);
    assert!(harness.query_by_label_contains("The task was ended.").is_some());
    assert!(
        harness.state_mut().workbench.take_requests().is_empty(),
        "it is not asked for again by itself"
    );
    harness.state_mut().workbench.apply(Action::SetColouring(Colouring::Kl));
    let again = harness.state_mut().workbench.take_requests();
    assert_eq!(again, [Request::Score(asked)]);
}
