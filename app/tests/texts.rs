//! Texts first: how the height is shared, stepping through differences, and the order of the keyboard.

#![allow(clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::time::Duration;

use eframe::egui::accesskit::Role;
use eframe::egui::{self, Key, Modifiers, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use softprefix::messages::{Event, LibraryEvent, LibraryRequest, Request};
use softprefix::model::{Language, PRESETS, Theme};
use softprefix::text::Text;
use softprefix::workbench::{Action, Dialog, Tab, Workbench};
use softprefix_core::compare::{Granularity, Measure, Measures};

use common::stage::{Stage, paced, painted, sized, window, words};
use eframe::egui::{Modifiers as Held, Shape};
use softprefix::model::{KindChoice, RunKind};
use softprefix::theme;
use softprefix_core::experiment::{CaseOutcome, Stars};
use softprefix_core::protocol::extension::FinishReason;

fn tuned() -> Workbench {
    common::tuned(Language::English, Theme::Dark)
}

fn long() -> Workbench {
    common::long(Language::English, Theme::Dark)
}

fn height_of(harness: &Harness<'_, Stage>, name: &str) -> f32 {
    harness.get_by_role_and_label(Role::Document, name).rect().height()
}

fn plot_height(harness: &Harness<'_, Stage>) -> f32 {
    harness
        .get_by_role_and_label(Role::Figure, "Similarity over magnitude")
        .rect()
        .height()
}

/// Two texts of so many characters, with a difference at every tenth.
fn with_texts(characters: usize) -> Workbench {
    let mut workbench = common::ready(Language::English, Theme::Dark);
    let text = |other: bool| -> String {
        let letters = "春の花が咲く道を歩く朝".chars().cycle().enumerate();
        letters
            .take(characters)
            .map(|(at, letter)| if other && at % 40 == 30 { '冬' } else { letter })
            .collect()
    };
    workbench.apply(Action::Run);
    common::settle(&mut workbench, &|inference| text(inference.recipe.is_some()));
    workbench
}

#[test]
fn short_texts_are_whole_in_large_letters_and_the_plot_takes_the_rest() {
    let harness = window(tuned());
    // Three rows of 40 points and the margins.
    assert!(height_of(&harness, "Baseline output") >= 3.0 * 40.0 + 28.0);
    assert!(plot_height(&harness) > 300.0);
}

#[test]
fn texts_of_64_japanese_tokens_are_whole_at_the_smallest_size_of_the_window() {
    // Of Japanese about a character and a half to the token.
    let harness = window(with_texts(96));
    assert!(height_of(&harness, "Prefixed output") >= 6.0 * 40.0 + 28.0);
    assert!(plot_height(&harness) >= 130.0);
}

#[test]
fn long_texts_take_all_but_what_the_plot_always_keeps() {
    let harness = window(with_texts(1200));
    let (texts, plot) = (height_of(&harness, "Prefixed output"), plot_height(&harness));
    assert!(texts > 320.0, "{texts}");
    assert!((140.0..170.0).contains(&plot), "{plot}");
}

#[test]
fn at_the_smallest_size_both_footers_say_how_the_text_ended_whatever_else_has_no_room() {
    for (language, ending) in [(Language::English, "end of text"), (Language::Japanese, "文末で終了")] {
        for workbench in [
            common::tuned(language, Theme::Dark),
            common::long(language, Theme::Dark),
        ] {
            let harness = window(workbench);
            let endings = painted(&harness).into_iter().filter_map(|shape| match shape {
                Shape::Text(text) if text.galley.text() == ending => Some(text.galley.elided),
                _ => None,
            });
            assert_eq!(endings.collect::<Vec<_>>(), [false, false], "{ending}");
        }
    }
}

#[test]
fn the_splitter_is_dragged_stored_and_a_double_click_gives_the_texts_what_they_need() {
    let mut harness = paced(tuned(), [1280.0, 800.0], 0.05);
    let before = height_of(&harness, "Baseline output");
    let at = harness
        .get_by_role_and_label(Role::Splitter, "Height of the outputs")
        .rect()
        .center();
    harness.drag_at(at);
    harness.run_steps(1);
    harness.hover_at(at + vec2(0.0, 60.0));
    harness.run_steps(1);
    harness.drop_at(at + vec2(0.0, 60.0));
    harness.run_steps(2);
    let after = height_of(&harness, "Baseline output");
    assert!((after - before - 60.0).abs() < 2.0, "{before} became {after}");
    let stored = harness.state().workbench.remembered().settings.texts_height;
    assert!(stored.is_some_and(|height| height > after));
    let at = harness
        .get_by_role_and_label(Role::Splitter, "Height of the outputs")
        .rect()
        .center();
    harness.hover_at(at);
    for pressed in [true, false, true, false] {
        harness.event(egui::Event::PointerButton {
            pos: at,
            button: egui::PointerButton::Primary,
            pressed,
            modifiers: Modifiers::NONE,
        });
        harness.run_steps(1);
    }
    harness.run_steps(2);
    assert_eq!(harness.state().workbench.settings.texts_height, None);
    assert_eq!(height_of(&harness, "Baseline output"), before);
}

#[test]
fn the_splitter_is_moved_by_its_keys() {
    let mut harness = window(tuned());
    harness
        .get_by_role_and_label(Role::Splitter, "Height of the outputs")
        .focus();
    harness.run_steps(2);
    harness.key_press(Key::ArrowDown);
    harness.run_steps(2);
    assert!(matches!(
        harness.state().done.last(),
        Some(Action::SetTextsHeight(Tab::Tune, Some(_)))
    ));
}

#[test]
fn the_texts_are_shown_alone_and_the_way_back_is_a_button() {
    let mut workbench = tuned();
    workbench.apply(Action::ToggleTextsAlone);
    let mut harness = window(workbench);
    assert!(
        harness
            .query_by_role_and_label(Role::Figure, "Similarity over magnitude")
            .is_none()
    );
    assert!(height_of(&harness, "Baseline output") > 450.0);
    harness.get_by_label("Show the plot").click();
    harness.run_steps(3);
    assert!(plot_height(&harness) > 130.0);
}

#[test]
fn stepping_through_differences_counts_them_and_wraps_around() {
    let mut harness = window(with_texts(1200));
    assert!(harness.query_by_label("30 differences").is_some());
    for number in 1..=30 {
        harness.get_by_label("Next difference").click();
        harness.run_steps(2);
        assert!(harness.query_by_label(&format!("{number} of 30")).is_some(), "{number}");
    }
    harness.get_by_label("Next difference").click();
    harness.run_steps(2);
    assert!(harness.query_by_label("1 of 30").is_some());
    harness.get_by_label("Previous difference").click();
    harness.run_steps(2);
    assert!(harness.query_by_label("30 of 30").is_some());
}

#[test]
fn the_first_difference_is_counted_in_the_unit_in_which_the_texts_are_compared() {
    let mut workbench = long();
    for (granularity, words) in [
        (Granularity::Word, "Differs from word 12"),
        (Granularity::Grapheme, "Differs from character 59"),
        (Granularity::Line, "Differs from line 1"),
    ] {
        workbench.apply(Action::SetGranularity(granularity));
        common::settle(&mut workbench, &|_| String::new());
        let mut again = common::long(Language::English, Theme::Dark);
        again.apply(Action::SetGranularity(granularity));
        common::settle(&mut again, &|_| String::new());
        let harness = window(again);
        let output = harness.get_by_role_and_label(Role::Document, "Prefixed output");
        assert_eq!(output.accesskit_node().description().as_deref(), Some(words));
    }
}

#[test]
fn the_prompt_is_reached_within_five_tabs_and_the_arrows_go_through_the_views() {
    let mut harness = window(tuned());
    let mut presses = 0;
    while !harness.get_by_label("Prompt").is_focused() {
        assert!(presses < 5, "the prompt is further away");
        harness.key_press(Key::Tab);
        harness.run_steps(2);
        presses += 1;
    }
    harness.get_by_role_and_label(Role::Tab, "Tune").focus();
    harness.run_steps(2);
    harness.key_press(Key::ArrowRight);
    harness.run_steps(3);
    assert_eq!(harness.state().workbench.tab, Tab::Sweep);
    assert!(harness.get_by_role_and_label(Role::Tab, "Sweep").is_focused());
}

#[test]
fn the_two_exports_have_names_of_their_own() {
    for (language, runs, prefix) in [
        (Language::English, "Export the runs", "Export the prefix"),
        (Language::Japanese, "実行を書き出す", "プレフィックスを書き出す"),
    ] {
        let harness = window(common::tuned(language, Theme::Light));
        for name in [runs, prefix] {
            assert_eq!(
                harness.query_all_by_role_and_label(Role::Button, name).count(),
                1,
                "{name}"
            );
        }
    }
}

#[test]
fn the_presenter_shows_the_prompt_and_says_which_run_a_text_is_of() {
    let mut workbench = tuned();
    workbench.apply(Action::Present(true));
    let harness = window(workbench);
    let asked = harness.get_by_role_and_label(Role::Document, "Prompt");
    assert!(
        asked
            .accesskit_node()
            .value()
            .is_some_and(|value| value.contains("春の花"))
    );
    assert!(harness.query_by_label_contains("from 2.9×").is_none());
    let mut workbench = tuned();
    workbench.apply(Action::Present(true));
    workbench.apply(Action::SetMagnitude(4.4));
    assert!(window(workbench).query_by_label_contains("from 2.9×").is_some());
}

/// A ready workbench with a baseline and a run at 1, and the curve asked for.
fn filling() -> (Workbench, Vec<softprefix::messages::Inference>) {
    let mut workbench = common::ready(Language::English, Theme::Dark);
    workbench.apply(Action::Run);
    common::settle(&mut workbench, &answer);
    workbench.apply(Action::FillCurve);
    let asked = workbench.take_requests().into_iter().find_map(|request| match request {
        Request::FillCurve(asked) => Some(asked),
        _ => None,
    });
    (workbench, asked.unwrap_or_default())
}

fn answer(inference: &softprefix::messages::Inference) -> String {
    match &inference.recipe {
        Some(recipe) => format!("春の花が咲く、{:?}", recipe.magnitude),
        None => common::BASELINE.to_owned(),
    }
}

fn fill(workbench: &mut Workbench, asked: &[softprefix::messages::Inference]) {
    for inference in asked {
        let record = Box::new(common::record(workbench, inference, &answer(inference)));
        workbench.absorb(Event::CurvePoint {
            run: inference.run,
            record,
        });
        common::settle(workbench, &answer);
    }
}

#[test]
fn the_curve_is_filled_by_one_batch_that_leaves_out_what_is_kept_and_shows_how_far_it_is() {
    let (mut workbench, asked) = filling();
    assert_eq!(asked.len(), 11, "of twelve magnitudes one was run by hand");
    fill(&mut workbench, &asked[..5]);
    let mut harness = window(workbench);
    assert!(harness.query_by_label("Stop · 5 of 11").is_some());
    harness.get_by_label("Stop · 5 of 11").click();
    harness.run_steps(2);
    assert!(
        harness
            .state_mut()
            .workbench
            .take_requests()
            .contains(&Request::StopCurve)
    );
    assert!(harness.query_by_label("Fill the curve").is_some());
}

#[test]
fn the_points_of_a_curve_are_scored_by_one_request_when_all_are_there() {
    let (mut workbench, asked) = filling();
    let mut scorings = Vec::new();
    for (place, inference) in asked.iter().enumerate() {
        let record = Box::new(common::record(&workbench, inference, &answer(inference)));
        let run = inference.run;
        workbench.absorb(Event::CurvePoint { run, record });
        for _ in 0..8 {
            let requests = workbench.take_requests();
            scorings.extend(requests.iter().filter_map(|request| match request {
                Request::Score(asked) => Some((place + 1, asked.runs.len())),
                _ => None,
            }));
            common::answer(&mut workbench, requests, &answer);
        }
    }
    assert_eq!(scorings, [(11, 11)]);
    let mut points = workbench.tuning.points();
    assert!(points.all(|(record, _)| record.scores.is_some()));
}

#[test]
fn the_kl_of_a_curve_is_there_and_written_before_the_perplexities_of_its_texts() {
    let (mut workbench, asked) = filling();
    let mut scoring = None;
    for inference in &asked {
        let record = Box::new(common::record(&workbench, inference, &answer(inference)));
        let run = inference.run;
        workbench.absorb(Event::CurvePoint { run, record });
        let requests = workbench.take_requests();
        scoring = requests
            .iter()
            .find(|request| matches!(request, Request::Score(_)))
            .cloned();
        let others = requests
            .into_iter()
            .filter(|request| !matches!(request, Request::Score(_)));
        common::answer(&mut workbench, others.collect(), &answer);
    }
    let Some(Request::Score(scoring)) = scoring else {
        panic!("nothing is scored");
    };
    let whole = common::scores(&scoring);
    let mut written = Vec::new();
    for perplexity in [None, whole.perplexity] {
        for run in &scoring.runs {
            let scores = std::sync::Arc::new(softprefix::model::Scores {
                perplexity,
                ..whole.clone()
            });
            let record = run.record.clone();
            workbench.absorb(Event::Scored { record, scores });
        }
        let requests = workbench.take_requests();
        let is_of_scoring = |request: &&Request| matches!(request, Request::Score(_) | Request::StopScoring);
        assert_eq!(requests.iter().filter(is_of_scoring).count(), 0);
        let is_entry = |request: &&Request| matches!(request, Request::Library(LibraryRequest::Append(_)));
        written.push(requests.iter().filter(is_entry).count());
        let mut measured = workbench.tuning.points().map(|(_, point)| point.measures.as_ref());
        assert!(measured.all(|measures| measures.is_some_and(|measures| measures.kl_mean.is_some())));
    }
    assert_eq!(written, [11, 11]);
}

/// Ends a run of the curve, answers what is asked for after it, and returns the requests to score.
fn finish_point(workbench: &mut Workbench, inference: &softprefix::messages::Inference) -> Vec<Request> {
    let record = Box::new(common::record(workbench, inference, &answer(inference)));
    let run = inference.run;
    workbench.absorb(Event::CurvePoint { run, record });
    let (scores, others): (Vec<_>, Vec<_>) = workbench
        .take_requests()
        .into_iter()
        .partition(|request| matches!(request, Request::Score(_)));
    common::answer(workbench, others, &answer);
    scores
}

#[test]
fn a_run_that_is_being_scored_with_others_is_not_asked_for_again_when_it_is_shown() {
    let (mut workbench, asked) = filling();
    for inference in &asked {
        let scores = finish_point(&mut workbench, inference);
        assert_eq!(scores.len(), usize::from(inference.run == asked[10].run));
    }
    workbench.apply(Action::SetMagnitude(2.5));
    let is_of_scoring = |request: &Request| matches!(request, Request::Score(_) | Request::StopScoring);
    assert!(!workbench.take_requests().iter().any(is_of_scoring));
    // A run by hand goes first; afterwards what is missing is asked for again.
    workbench.apply(Action::SetMagnitude(2.9));
    workbench.apply(Action::Run);
    assert!(workbench.take_requests().contains(&Request::StopScoring));
}

#[test]
fn texts_of_a_curve_stream_into_the_table_of_runs() {
    let (mut workbench, asked) = filling();
    workbench.absorb(Event::CurveText {
        run: asked[3].run,
        text: "春の".to_owned(),
    });
    workbench.absorb(Event::CurveText {
        run: asked[3].run,
        text: "川".to_owned(),
    });
    workbench.apply(Action::ShowRuns(true));
    let mut harness = window(workbench);
    let rows = |harness: &Harness<'_, Stage>, state: &str| {
        harness
            .query_all_by_role(Role::Row)
            .filter(|row| row.accesskit_node().label().is_some_and(|label| label.ends_with(state)))
            .count()
    };
    assert_eq!((rows(&harness, "streaming"), rows(&harness, "waiting")), (1, 10));
    let texts: Vec<String> = harness
        .state()
        .workbench
        .curve
        .running()
        .map(|filling| filling.text.clone())
        .collect();
    assert_eq!(texts[3], "春の川");
    let record = Box::new(common::record(&harness.state().workbench, &asked[3], "春の川が光る"));
    harness.state_mut().workbench.absorb(Event::CurvePoint {
        run: asked[3].run,
        record,
    });
    harness.run_steps(2);
    assert_eq!(rows(&harness, "streaming"), 0);
}

#[test]
fn moving_to_a_kept_magnitude_shows_its_text_at_once_and_runs_nothing() {
    let (mut workbench, asked) = filling();
    workbench.apply(Action::SetLive(true));
    fill(&mut workbench, &asked);
    let before = workbench.prefixed.text.clone();
    workbench.apply(Action::SetMagnitude(2.5));
    assert!(!workbench.is_running());
    assert!(
        !workbench
            .take_requests()
            .iter()
            .any(|request| matches!(request, Request::Infer(_)))
    );
    assert_ne!(workbench.prefixed.text, before);
    assert!(!workbench.prefixed.stale);
    let current = workbench.tuning.current().map(|(record, _)| record.output().to_owned());
    assert_eq!(current.as_deref(), Some(&*workbench.prefixed.text));
    // Between two ticks it runs as ever.
    workbench.apply(Action::SetMagnitude(2.9));
    assert!(workbench.is_running());
}

#[test]
fn a_step_close_to_a_saved_magnitude_ends_at_it() {
    let (mut workbench, asked) = filling();
    fill(&mut workbench, &asked);
    workbench.apply(Action::SetMagnitude(2.1));
    workbench.apply(Action::ScaleMagnitude(1.2));
    assert_eq!(workbench.prefix.magnitude, 2.5);
    workbench.apply(Action::ScaleMagnitude(1.02));
    assert!((workbench.prefix.magnitude / 2.5 - 1.02).abs() < 1e-9);
}

#[test]
fn a_failure_of_the_curve_is_reported_once_and_ends_it() {
    let (mut workbench, asked) = filling();
    let problem = softprefix::model::Problem::new(softprefix::model::ProblemKind::Module, "It refused.", "Try again.");
    for inference in &asked[..3] {
        workbench.absorb(Event::CurveFailed {
            run: inference.run,
            problem: problem.clone(),
        });
    }
    let stops = workbench
        .take_requests()
        .into_iter()
        .filter(|request| *request == Request::StopCurve);
    assert_eq!(stops.count(), 1);
    assert!(window(workbench).query_by_label_contains("It refused.").is_some());
}

#[test]
fn the_runs_of_the_session_are_a_table_that_is_sorted_filtered_and_opens_a_run() {
    let mut workbench = long();
    workbench.apply(Action::ShowRuns(true));
    let mut harness = sized(workbench, [1280.0, 1000.0]);
    let rows = |harness: &Harness<'_, Stage>| harness.query_all_by_role(Role::Row).count();
    // Seven runs and the baseline.
    assert_eq!(rows(&harness), 8);
    harness.get_by_role_and_label(Role::Button, "Magnitude").click();
    harness.run_steps(2);
    let first = harness
        .query_all_by_role(Role::Row)
        .next()
        .and_then(|row| row.accesskit_node().label());
    assert!(
        first.is_some_and(|label| label.contains("4.0×")),
        "sorted from the largest magnitude on"
    );
    let row = harness.query_all_by_role(Role::Row).next().expect("a row");
    row.click();
    harness.run_steps(2);
    assert!(matches!(harness.state().done.last(), Some(Action::SelectRun(Some(_)))));
    harness
        .state_mut()
        .workbench
        .apply(Action::SetPrompt("Another one".to_owned()));
    harness.get_by_label("This prompt only").click();
    harness.run_steps(2);
    assert_eq!(rows(&harness), 0);
}

#[test]
fn own_prompts_are_remembered_and_listed_under_the_presets() {
    let mut workbench = long();
    let remembered = workbench.remembered();
    assert_eq!(remembered.own_prompts.len(), 1);
    workbench.apply(Action::LoadPreset(2));
    let mut harness = window(workbench);
    harness.get_by_role_and_label(Role::ComboBox, "Preset").click();
    harness.run_steps(3);
    {
        let mut lines = harness.query_all_by_role(Role::MenuItemRadio);
        let is_own = |label: String| label.starts_with("Write a short story about a");
        let own = lines.find(|line| line.accesskit_node().label().is_some_and(is_own));
        own.expect("a line for the own prompt").click();
    }
    harness.run_steps(2);
    assert_eq!(harness.state().done.last(), Some(&Action::LoadOwnPrompt(0)));
    assert!(harness.state().workbench.prompt.user.starts_with("Write a short story"));
}

#[test]
fn the_menu_names_the_preset_that_the_prompt_equals_however_it_was_entered() {
    let title = |workbench: Workbench| {
        let harness = window(workbench);
        let menu = harness.get_by_role_and_label(Role::ComboBox, "例文");
        menu.accesskit_node().value()
    };
    let preset = &PRESETS[0];
    let mut workbench = common::ready(Language::Japanese, Theme::Dark);
    workbench.apply(Action::SetPrompt("別の文".to_owned()));
    workbench.apply(Action::SetPrompt(preset.user.to_owned()));
    workbench.apply(Action::SetSystem(preset.system.to_owned()));
    assert_eq!(title(workbench).as_deref(), Some("春の花の詩"), "typed");
    let session = common::tuned(Language::Japanese, Theme::Dark).tuning.saved.clone();
    let mut workbench = common::ready(Language::Japanese, Theme::Dark);
    workbench.apply(Action::SetPrompt("別の文".to_owned()));
    workbench.absorb(Event::Library(Box::new(LibraryEvent::Read(vec![session]))));
    assert_eq!(workbench.prompt.user, preset.user);
    assert_eq!(title(workbench).as_deref(), Some("春の花の詩"), "from a session");
}

#[test]
fn a_prefix_whose_curve_is_to_fill_by_itself_asks_for_it_once_when_the_outputs_are_done() {
    let mut workbench = common::ready(Language::English, Theme::Dark);
    workbench.apply(Action::SetFillCurve(true));
    workbench.apply(Action::Run);
    let mut asked = Vec::new();
    for _ in 0..8 {
        let requests = workbench.take_requests();
        for request in &requests {
            if let Request::FillCurve(runs) = request {
                asked.push(runs.clone());
            }
        }
        common::answer(&mut workbench, requests, &answer);
    }
    let [runs] = asked.as_slice() else {
        panic!("{} requests", asked.len())
    };
    let pause = Duration::from_millis(1500);
    assert!(
        runs.iter().all(|inference| inference.delay == pause),
        "it waits for the person"
    );
}

/// Runs at this magnitude.
fn run_at(workbench: &mut Workbench, magnitude: f64) {
    workbench.apply(Action::SetMagnitude(magnitude));
    workbench.apply(Action::Run);
    common::settle(workbench, &answer);
}

#[test]
fn a_run_has_the_same_label_in_its_pane_in_the_presenter_and_in_the_plot_and_names_its_prompt_where_there_are_several()
{
    let mut workbench = common::ready(Language::English, Theme::Dark);
    run_at(&mut workbench, 2.9);
    assert!(
        window(common::tuned(Language::English, Theme::Dark))
            .query_by_label("2.9×, P 4, Constant")
            .is_some()
    );
    workbench.apply(Action::SetPrompt("Another one.".to_owned()));
    // Until it is run the texts are those of the other prompt, and say so.
    let mut harness = window(workbench);
    assert!(
        harness.query_all_by_label("from Spring poem").count() == 2,
        "both panes"
    );
    run_at(&mut harness.state_mut().workbench, 0.25);
    harness.run_steps(3);
    assert!(harness.query_by_label("0.25×, P 4, Constant, Another one.").is_some());
    assert!(harness.query_by_label("Baseline, Another one.").is_some());
    harness.state_mut().workbench.apply(Action::Present(true));
    harness.run_steps(3);
    assert!(harness.query_by_label("0.25×, P 4, Constant, Another one.").is_some());
    assert!(words(&harness, "Baseline, Another one.").is_some());
}

/// A session whose last run, of this kind at magnitude 2, was stopped after its first words.
fn stopped(kind: KindChoice, of: &str) -> Workbench {
    let mut workbench = common::ready(Language::English, Theme::Dark);
    run_at(&mut workbench, 1.0);
    workbench.apply(Action::SetKind(kind));
    workbench.apply(Action::SetWords(of.to_owned()));
    workbench.apply(Action::SetMagnitude(2.0));
    workbench.apply(Action::Run);
    let asked = workbench.take_requests().into_iter().find_map(|request| match request {
        Request::Infer(inference) if inference.kind == RunKind::Prefixed => Some(*inference),
        _ => None,
    });
    let asked = asked.expect("a run");
    let mut record = common::record(&workbench, &asked, "春の花が");
    if let CaseOutcome::Done(done) = &mut record.outcome {
        done.finish_reason = FinishReason::Stopped;
    }
    let (run, id) = (asked.run, record.id.clone());
    workbench.absorb(Event::Finished {
        run,
        kind: RunKind::Prefixed,
        record: Box::new(record),
    });
    workbench.apply(Action::SelectRun(Some(id)));
    common::settle(&mut workbench, &answer);
    workbench
}

/// The texts of the last frame that are painted whole.
fn painted_whole(harness: &Harness<'_, Stage>) -> Vec<String> {
    let shapes = painted(harness).into_iter();
    let texts = shapes.filter_map(|shape| match shape {
        Shape::Text(text) if !text.galley.elided => Some(text.galley.text().to_owned()),
        _ => None,
    });
    texts.collect()
}

#[test]
fn a_run_that_was_stopped_says_that_it_is_cut_off_in_tune_and_in_the_presenter_however_long_its_label_is() {
    let long =
        "a prefix of a good many words, of which no pane shows all in its heading, however wide the window may be";
    for (kind, of, label) in [
        (KindChoice::Constant, "", "2×, P 4, Constant, cut off".to_owned()),
        (KindChoice::Words, long, format!("2×, P 4, “{long}”, cut off")),
    ] {
        for presenting in [false, true] {
            let mut workbench = stopped(kind, of);
            workbench.apply(Action::Present(presenting));
            let harness = window(workbench);
            assert!(harness.query_by_label(&label).is_some(), "{label}");
            let texts = painted_whole(&harness);
            assert!(texts.iter().any(|text| text == "2×"), "{texts:?}");
            let rest = texts.iter().find(|text| text.starts_with("P 4, "));
            let rest = rest.expect("the rest of the label, with its end");
            assert!(rest.ends_with(", cut off"), "{rest}");
            assert_eq!(rest.contains('…'), kind == KindChoice::Words, "{rest}");
        }
    }
}

#[test]
fn an_old_verdict_dims_with_its_texts_and_leaves_room_for_three_measures() {
    let mut harness = window(tuned());
    let (_, fresh) = words(&harness, "Differs").expect("a verdict");
    for measure in ["chrF2", "indel", "mean KL"] {
        assert!(words(&harness, measure).is_some(), "{measure}");
    }
    harness.state_mut().workbench.apply(Action::SetMagnitude(4.4));
    harness.run_steps(2);
    let (_, old) = words(&harness, "Differs").expect("the same verdict");
    assert!(old.a() < fresh.a(), "{old:?} of {fresh:?}");
}

#[test]
fn the_words_of_the_collapse_lie_over_the_line_of_the_magnitude() {
    let mut workbench = tuned();
    workbench.apply(Action::SetMagnitude(9.0));
    let harness = sized(workbench, [1440.0, 900.0]);
    let (tag, _) = words(&harness, "repeats itself from").expect("the tag");
    let orange = theme::DARK.prefix_fill;
    let line = painted(&harness).into_iter().rposition(
        |shape| matches!(shape, Shape::LineSegment { points: [a, b], stroke } if stroke.color == orange && a.x == b.x),
    );
    assert!(line.expect("the line") < tag);
}

#[test]
fn only_runs_of_the_same_prefix_at_other_magnitudes_are_joined_and_the_others_are_hollow() {
    let mut workbench = common::ready(Language::English, Theme::Dark);
    for magnitude in [0.25, 0.5, 1.0, 2.0] {
        run_at(&mut workbench, magnitude);
    }
    // Another direction, another length, another seed.
    workbench.apply(Action::SetKind(KindChoice::RandomNormal));
    run_at(&mut workbench, 1.4);
    workbench.apply(Action::SetSeed(77));
    run_at(&mut workbench, 1.7);
    workbench.apply(Action::SetKind(KindChoice::Constant));
    workbench.apply(Action::SetLen(2));
    run_at(&mut workbench, 0.7);
    let points = |harness: &Harness<'_, Stage>, radius: f32| {
        let shapes = painted(harness).into_iter();
        let is_point = |shape: &&Shape| matches!(shape, Shape::Circle(circle) if circle.radius == radius);
        shapes.filter(is_point).count()
    };
    // The line has a corner at each point that it joins.
    let corners = |harness: &Harness<'_, Stage>| {
        let stroke = theme::DARK.text2;
        let lines = painted(harness).into_iter().filter_map(|shape| match shape {
            Shape::Path(path)
                if path.stroke.width == 2.0 && path.stroke.color == egui::epaint::ColorMode::Solid(stroke) =>
            {
                Some(path.points.len())
            }
            _ => None,
        });
        lines.max().unwrap_or(0)
    };
    workbench.apply(Action::SetLen(4));
    workbench.apply(Action::SetMagnitude(3.0));
    let mut harness = window(workbench);
    assert_eq!((points(&harness, 3.5), points(&harness, 3.75)), (4, 3));
    assert_eq!(corners(&harness), 4);
    // With another current prefix its own runs are joined.
    harness
        .state_mut()
        .workbench
        .apply(Action::SetKind(KindChoice::RandomNormal));
    harness.run_steps(2);
    assert_eq!((points(&harness, 3.5), points(&harness, 3.75)), (1, 6));
}

#[test]
fn the_check_of_the_baseline_says_what_it_is_and_how_far_it_is() {
    let mut workbench = common::ready(Language::English, Theme::Dark);
    workbench.apply(Action::Run);
    let mut repeat = None;
    for _ in 0..8 {
        let (checks, others): (Vec<_>, Vec<_>) = workbench.take_requests().into_iter().partition(
            |request| matches!(request, Request::Infer(inference) if inference.kind == RunKind::BaselineRepeat),
        );
        repeat = checks.into_iter().next().or(repeat);
        common::answer(&mut workbench, others, &answer);
    }
    let Some(Request::Infer(repeat)) = repeat else {
        panic!("the baseline does not run twice");
    };
    let half: String = common::BASELINE
        .chars()
        .take(common::BASELINE.chars().count() / 2)
        .collect();
    let (run, kind) = (repeat.run, repeat.kind);
    workbench.absorb(Event::Delta { run, kind, text: half });
    let harness = window(workbench);
    let bar = harness.get_by_role_and_label(Role::ProgressIndicator, "second run, to check the first");
    let share = bar.accesskit_node().numeric_value().expect("a share");
    assert!((45.0..55.0).contains(&share), "{share}");
}

#[test]
fn runs_are_chosen_by_pointer_and_keyboard_and_plotted_together_whatever_their_prompt() {
    let mut workbench = common::ready(Language::English, Theme::Dark);
    run_at(&mut workbench, 0.5);
    run_at(&mut workbench, 1.0);
    workbench.apply(Action::SetPrompt("Another one.".to_owned()));
    run_at(&mut workbench, 2.0);
    run_at(&mut workbench, 4.0);
    workbench.apply(Action::ShowRuns(true));
    let mut harness = sized(workbench, [1280.0, 1000.0]);
    let row = |harness: &Harness<'_, Stage>, magnitude: &str| {
        let mut rows = harness.query_all_by_role(Role::Row);
        let has = |label: String| label.contains(magnitude);
        let row = rows.find(|row| row.accesskit_node().label().is_some_and(has));
        row.expect("a line").rect().center()
    };
    let click = |harness: &mut Harness<'_, Stage>, magnitude: &str, modifiers: Held| {
        let pos = row(harness, magnitude);
        harness.hover_at(pos);
        harness.event(egui::Event::ModifiersChanged(modifiers));
        for pressed in [true, false] {
            let button = egui::PointerButton::Primary;
            harness.event_modifiers(
                egui::Event::PointerButton {
                    pos,
                    button,
                    pressed,
                    modifiers,
                },
                modifiers,
            );
            harness.run_steps(1);
        }
    };
    click(&mut harness, "0.50×", Held::COMMAND);
    assert!(harness.query_by_label("1 selected").is_some());
    click(&mut harness, "2.0×", Held::SHIFT);
    // The baseline of the second prompt lies between and is no point of a plot.
    assert!(harness.query_by_label("3 selected").is_some());
    harness.get_by_label("Plot them").click();
    harness.run_steps(3);
    assert_eq!(harness.state().workbench.tuning.plotted().len(), 3);
    assert!(!harness.state().workbench.runs_shown);
    harness.get_by_label("3 selected runs: show all").click();
    harness.run_steps(3);
    assert_eq!(
        harness.state().workbench.tuning.plotted().len(),
        2,
        "those of the prompt"
    );
    // By the keyboard: Space chooses the line that the arrows are at.
    harness.state_mut().workbench.apply(Action::ShowRuns(true));
    harness.run_steps(2);
    harness.get_by_role_and_label(Role::Table, "Runs").focus();
    harness.run_steps(2);
    harness.key_press(Key::Space);
    harness.run_steps(2);
    assert!(harness.query_by_label("4 selected").is_some());
    harness.key_press_modifiers(Held::SHIFT, Key::ArrowUp);
    harness.run_steps(2);
    assert!(harness.query_by_label_contains("selected").is_some());
}

#[test]
fn a_run_is_pinned_in_the_baselines_place_by_key_and_button_and_others_are_compared_with_it() {
    let mut workbench = common::ready(Language::English, Theme::Dark);
    for magnitude in [0.5, 1.0, 2.0] {
        run_at(&mut workbench, magnitude);
    }
    let text_of = |magnitude: f64| format!("春の花が咲く、TokenNorms({magnitude:?})");
    let shown = |harness: &Harness<'_, Stage>| {
        let workbench = &harness.state().workbench;
        [workbench.left(), &workbench.prefixed].map(|pane| pane.text.to_string())
    };
    let press = |harness: &mut Harness<'_, Stage>, key: Key| {
        harness.key_press(key);
        harness.run_steps(2);
        common::settle(&mut harness.state_mut().workbench, &answer);
        harness.run_steps(2);
    };
    workbench.apply(Action::ShowRuns(true));
    let mut harness = sized(workbench, [1280.0, 1000.0]);
    harness.get_by_role_and_label(Role::Table, "Runs").focus();
    harness.run_steps(2);
    // The line that the arrows are at, which is the last run.
    press(&mut harness, Key::V);
    assert_eq!(shown(&harness), [text_of(2.0), text_of(2.0)]);
    assert!(words(&harness, "The same output as the pinned run").is_some());
    press(&mut harness, Key::ArrowDown);
    assert_eq!(shown(&harness), [text_of(2.0), text_of(1.0)]);
    assert!(words(&harness, "Differs").is_some());
    assert!(
        words(&harness, "2×, P 4, Constant").is_some(),
        "its label is the left pane's name"
    );
    assert_eq!(
        harness.state().workbench.why_not_kl(),
        Some(softprefix::model::KlUnavailable::Pinned)
    );
    press(&mut harness, Key::V);
    assert_eq!(shown(&harness), [common::BASELINE.to_owned(), text_of(1.0)]);
    // Of two that are chosen the first takes the baseline's place.
    press(&mut harness, Key::Space);
    press(&mut harness, Key::ArrowDown);
    press(&mut harness, Key::Space);
    assert!(harness.query_by_label("2 selected").is_some());
    harness.get_by_role_and_label(Role::Button, "Pin").click();
    harness.run_steps(2);
    common::settle(&mut harness.state_mut().workbench, &answer);
    harness.run_steps(2);
    assert_eq!(shown(&harness), [text_of(1.0), text_of(0.5)]);
    harness.get_by_role_and_label(Role::Button, "Unpin").click();
    harness.run_steps(2);
    assert_eq!(shown(&harness)[0], common::BASELINE);
}

#[test]
fn a_truncated_sentence_has_one_tooltip_with_the_whole_sentence() {
    let mut workbench = tuned();
    workbench.apply(Action::ShowRuns(true));
    let mut harness = window(workbench);
    let sentence = Text::of(Language::English).choose_about;
    let count = |harness: &Harness<'_, Stage>| harness.query_all_by_label_contains(sentence).count();
    assert_eq!(count(&harness), 1);
    let hint = harness.get_by_label_contains(sentence).rect().center();
    harness.hover_at(hint);
    harness.run_steps(8);
    assert_eq!(count(&harness), 2);
}

#[test]
fn beside_a_pinned_run_the_measures_are_of_the_two_texts_and_say_so() {
    for language in Language::ALL {
        let mut workbench = common::ready(language, Theme::Dark);
        run_at(&mut workbench, 0.5);
        run_at(&mut workbench, 1.0);
        let first = workbench.tuning.points().next().map(|(record, _)| record.id.clone());
        let mut harness = sized(workbench, [1600.0, 1000.0]);
        let text = Text::of(language);
        let text_of = |magnitude: f64| format!("春の花が咲く、TokenNorms({magnitude:?})");
        let chip = |harness: &Harness<'_, Stage>, measures: &Measures| {
            let name = format!("{} {:.1}", (text.measures)(Measure::Chrf2), measures.chrf2);
            harness.query_by_role_and_label(Role::RadioButton, &name).is_some()
        };
        let (to_baseline, to_pinned) = (
            Measures::of(common::BASELINE, &text_of(1.0)),
            Measures::of(&text_of(0.5), &text_of(1.0)),
        );
        assert!(
            (to_baseline.chrf2 - to_pinned.chrf2).abs() > 1.0,
            "they can be told apart"
        );
        let says_so = |harness: &Harness<'_, Stage>| harness.query_by_label(text.against_pinned).is_some();
        assert!(chip(&harness, &to_baseline) && !says_so(&harness));
        harness.state_mut().workbench.apply(Action::Pin(first));
        common::settle(&mut harness.state_mut().workbench, &answer);
        harness.run_steps(2);
        assert!(chip(&harness, &to_pinned) && says_so(&harness));
        assert!(!chip(&harness, &to_baseline));
        // The plot's points stay where they are.
        let points = harness.state().workbench.tuning.points();
        let plotted: Vec<f64> = points
            .filter_map(|(_, point)| Some(point.measures.as_ref()?.chrf2))
            .collect();
        assert!(plotted.contains(&to_baseline.chrf2));
        harness.state_mut().workbench.apply(Action::Pin(None));
        common::settle(&mut harness.state_mut().workbench, &answer);
        harness.run_steps(2);
        assert!(chip(&harness, &to_baseline) && !says_so(&harness));
    }
}

#[test]
fn a_pinned_run_that_is_removed_leaves_its_place_to_the_baseline() {
    let mut workbench = common::ready(Language::English, Theme::Dark);
    run_at(&mut workbench, 0.5);
    run_at(&mut workbench, 1.0);
    let first = workbench.tuning.points().next().map(|(record, _)| record.id.clone());
    workbench.apply(Action::Pin(first.clone()));
    assert_ne!(&*workbench.left().text, common::BASELINE);
    workbench.apply(Action::RemoveRun(first.expect("a run")));
    common::settle(&mut workbench, &answer);
    assert_eq!(&*workbench.left().text, common::BASELINE);
    assert!(workbench.covered(RunKind::Baseline) > 0, "the texts are compared again");
}

#[test]
fn a_run_is_rated_in_its_pane_by_keys_and_in_the_table_which_sorts_by_stars() {
    let mut workbench = common::ready(Language::English, Theme::Dark);
    for magnitude in [0.5, 1.0, 2.0] {
        run_at(&mut workbench, magnitude);
    }
    let mut harness = sized(workbench, [1280.0, 1000.0]);
    let stars = |harness: &Harness<'_, Stage>| {
        let current = harness.state().workbench.tuning.current();
        current.and_then(|(record, _)| record.rating.stars).map(Stars::count)
    };
    // By pointer: the fourth star, and again to take all back.
    let slider = harness.get_by_role_and_label(Role::Slider, "Stars of this run").rect();
    let fourth = slider.left_center() + vec2(slider.width() * 0.7, 0.0);
    for given in [Some(4), None, Some(4)] {
        harness.hover_at(fourth);
        harness.drag_at(fourth);
        harness.run_steps(1);
        harness.drop_at(fourth);
        harness.run_steps(2);
        assert_eq!(stars(&harness), given);
    }
    // By keys, wherever the focus is.
    harness.key_press_modifiers(Modifiers::SHIFT, Key::S);
    harness.run_steps(2);
    assert_eq!(stars(&harness), Some(3));
    for expected in [4, 5, 5] {
        harness.key_press(Key::S);
        harness.run_steps(2);
        assert_eq!(stars(&harness), Some(expected));
    }
    // A note of two lines: Enter begins a line, Ctrl and Enter saves.
    harness.key_press(Key::E);
    harness.run_steps(3);
    harness.get_by_label("Note").focus();
    harness.run_steps(2);
    harness.event(egui::Event::Text("warm".to_owned()));
    harness.key_press(Key::Enter);
    harness.run_steps(1);
    harness.event(egui::Event::Text("and calm".to_owned()));
    harness.run_steps(1);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
    harness.run_steps(3);
    let workbench = &harness.state().workbench;
    assert_eq!(workbench.dialog, None);
    assert_eq!(
        workbench
            .tuning
            .current()
            .map(|(record, _)| record.rating.note.as_str()),
        Some("warm\nand calm")
    );
    assert!(!workbench.is_running(), "it does not run");

    // In the table.
    harness.state_mut().workbench.apply(Action::ShowRuns(true));
    harness.run_steps(2);
    harness.get_by_role_and_label(Role::Table, "Runs").focus();
    harness.run_steps(2);
    harness.key_press(Key::ArrowDown);
    harness.run_steps(2);
    harness.key_press(Key::Num2);
    harness.run_steps(2);
    assert_eq!(stars(&harness), Some(2));
    assert_eq!(
        harness.state().workbench.prefix.magnitude,
        2.0,
        "the digits mean stars here"
    );
    harness.get_by_role_and_label(Role::Button, "Stars").click();
    harness.run_steps(2);
    let rows: Vec<String> = {
        let rows = harness.query_all_by_role(Role::Row);
        rows.filter_map(|row| row.accesskit_node().label()).collect()
    };
    assert!(rows[0].ends_with("5 stars · warm and calm"), "{rows:?}");
    assert!(rows[1].ends_with("2 stars"), "{rows:?}");
    harness.get_by_role_and_label(Role::Table, "Runs").focus();
    harness.run_steps(2);
    harness.key_press(Key::Delete);
    harness.run_steps(2);
    assert_eq!(stars(&harness), None);
}

#[test]
fn a_note_that_was_neither_saved_nor_cancelled_is_there_when_it_is_opened_again() {
    let mut workbench = common::ready(Language::English, Theme::Dark);
    for magnitude in [0.5, 1.0] {
        run_at(&mut workbench, magnitude);
    }
    let runs: Vec<String> = workbench.tuning.points().map(|(record, _)| record.id.clone()).collect();
    let mut harness = window(workbench);
    let open = |harness: &mut Harness<'static, Stage>| {
        harness.key_press(Key::E);
        harness.run_steps(3);
        assert_eq!(harness.state().workbench.dialog, Some(Dialog::Note));
        let note = harness.get_by_role_and_label(Role::MultilineTextInput, "Note");
        note.accesskit_node().value().unwrap_or_default()
    };
    let type_text = |harness: &mut Harness<'static, Stage>, text: &str| {
        harness.event(egui::Event::Text(text.to_owned()));
        harness.run_steps(2);
    };
    let escape = |harness: &mut Harness<'static, Stage>| {
        harness.key_press(Key::Escape);
        harness.run_steps(3);
        assert_eq!(harness.state().workbench.dialog, None);
    };
    let saved = |harness: &Harness<'static, Stage>| {
        let current = harness.state().workbench.tuning.current();
        current
            .map(|(record, _)| record.rating.note.clone())
            .unwrap_or_default()
    };
    assert_eq!(open(&mut harness), "");
    type_text(&mut harness, "warm");
    escape(&mut harness);
    assert_eq!(saved(&harness), "");
    // Each run has its own.
    for (run, note) in [(&runs[0], ""), (&runs[1], "warm")] {
        let select = Action::SelectRun(Some(run.clone()));
        harness.state_mut().workbench.apply(select);
        harness.run_steps(2);
        assert_eq!(open(&mut harness), note);
        escape(&mut harness);
    }
    // Another question takes its place.
    open(&mut harness);
    let tasks = vec!["llm.1000".to_owned()];
    harness.state_mut().workbench.absorb(Event::TaskFull { tasks });
    harness.run_steps(3);
    harness.state_mut().workbench.apply(Action::CloseDialog);
    harness.run_steps(3);
    assert_eq!(open(&mut harness), "warm");
    harness.get_by_label("Cancel").click();
    harness.run_steps(3);
    assert_eq!(open(&mut harness), "");
    type_text(&mut harness, "calm");
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
    harness.run_steps(3);
    assert_eq!(saved(&harness), "calm");
    assert_eq!(open(&mut harness), "calm");
    // The Escape that ends a composition, which some systems report as well, closes nothing.
    harness.event(egui::Event::Ime(egui::ImeEvent::Preedit {
        text: "かな".to_owned(),
        active_range_chars: None,
    }));
    harness.run_steps(1);
    harness.key_press(Key::Escape);
    harness.event(egui::Event::Ime(egui::ImeEvent::Preedit {
        text: String::new(),
        active_range_chars: None,
    }));
    harness.run_steps(2);
    assert_eq!(harness.state().workbench.dialog, Some(Dialog::Note));
}

#[test]
fn a_file_is_named_in_the_top_bar_while_it_is_written_or_read() {
    use softprefix::figure::ImageFormat;
    use softprefix::messages::{LibraryEvent, MaterialEvent, RecordingEvent};
    use softprefix::model::{ExportForm, Figure, Format, Problem, ProblemKind};
    use softprefix::workbench::{Effect, MaterialAction};
    use softprefix_core::experiment::drawing::{Drawing, Paper};

    let failed = || Problem::new(ProblemKind::File, "It cannot be used.", "Choose another.");
    let figure = || Figure {
        stem: "plot".to_owned(),
        drawing: Drawing {
            title: String::new(),
            width: 1.0,
            height: 1.0,
            items: Vec::new(),
        },
    };
    let library = |event| Event::Library(Box::new(event));
    let material = |event| Event::Material(Box::new(event));
    let recording = |event| Event::Recording(Box::new(event));
    for language in Language::ALL {
        let text = Text::of(language);
        let mut harness = window(common::tuned(language, Theme::Dark));
        for (action, name, is_written, end) in [
            (
                Action::Export(Format::Html),
                "runs.html",
                true,
                library(LibraryEvent::Exported("runs.html".into())),
            ),
            (
                Action::Export(Format::Csv),
                "runs.csv",
                true,
                library(LibraryEvent::Failed(failed())),
            ),
            (
                Action::SaveFigure(Box::new(figure()), ImageFormat::Png, Paper::Light),
                "plot.png",
                true,
                Event::FigureSaved("plot.png".into()),
            ),
            (
                Action::Material(MaterialAction::Export(ExportForm::Npy)),
                "prefix.npy",
                true,
                material(MaterialEvent::Exported("prefix.npy".into())),
            ),
            (
                Action::OpenPath("story.json".into()),
                "story.json",
                false,
                library(LibraryEvent::Failed(failed())),
            ),
            (
                Action::OpenPath("talk.jsonl".into()),
                "talk.jsonl",
                false,
                recording(RecordingEvent::Refused(failed())),
            ),
            (
                Action::Material(MaterialAction::Import("rows.npy".into())),
                "rows.npy",
                false,
                material(MaterialEvent::Failed(failed())),
            ),
        ] {
            let words = if is_written { text.saving } else { text.opening };
            let words = words(name);
            let workbench = &mut harness.state_mut().workbench;
            workbench.apply(action);
            for effect in workbench.take_effects() {
                let Effect::Ask(question) = effect else { continue };
                let path = Some(std::path::Path::new("folder").join(name));
                workbench.absorb(Event::Chosen { question, path });
            }
            harness.run_steps(2);
            assert!(harness.query_by_label(&words).is_some(), "{words}");
            harness.state_mut().workbench.absorb(end);
            harness.run_steps(2);
            assert!(harness.query_by_label(&words).is_none(), "{words}");
        }
    }
}

/// The workbench, and the request to score the texts of a filled curve.
fn being_scored() -> (Workbench, softprefix::messages::ScoreRuns) {
    let (mut workbench, asked) = filling();
    let mut scoring = None;
    for inference in &asked {
        let scores = finish_point(&mut workbench, inference);
        scoring = scores.into_iter().next().or(scoring);
    }
    let Some(Request::Score(scoring)) = scoring else {
        panic!("nothing is scored");
    };
    (workbench, *scoring)
}

fn score(workbench: &mut Workbench, scoring: &softprefix::messages::ScoreRuns, run: usize) {
    let scores = std::sync::Arc::new(common::scores(scoring));
    let record = scoring.runs[run].record.clone();
    workbench.absorb(Event::Scored { record, scores });
}

#[test]
fn the_head_of_the_plot_says_how_many_texts_of_a_filled_curve_are_left_to_score() {
    let (workbench, scoring) = being_scored();
    let mut harness = window(workbench);
    let left = |harness: &Harness<'_, Stage>, count: usize| {
        let words = (softprefix::text::ScoringText::of(Language::English).scoring)(count);
        harness.query_by_label(&words).is_some()
    };
    assert!(left(&harness, 11));
    for run in 0..4 {
        score(&mut harness.state_mut().workbench, &scoring, run);
    }
    harness.run_steps(2);
    assert!(left(&harness, 7));
    for run in 4..11 {
        score(&mut harness.state_mut().workbench, &scoring, run);
    }
    harness.run_steps(2);
    assert!((0..12).all(|count| !left(&harness, count)));
}

#[test]
fn a_filled_curve_has_a_second_thin_line_of_its_mean_kl_with_an_axis_of_its_own_and_ticks_on_the_slider() {
    let (workbench, scoring) = being_scored();
    let mut harness = window(workbench);
    let line = |harness: &Harness<'_, Stage>| {
        let colour = egui::epaint::ColorMode::Solid(theme::DARK.text3);
        let figure = harness.get_by_role_and_label(Role::Figure, "Similarity over magnitude");
        let area = figure.rect();
        let lines = painted(harness).into_iter().filter_map(|shape| match shape {
            Shape::Path(path) if path.stroke.width == 1.0 && path.stroke.color == colour => Some(&path.points),
            _ => None,
        });
        let within = |points: &&Vec<egui::Pos2>| points.iter().all(|point| area.contains(*point));
        lines.filter(within).map(Vec::len).max().unwrap_or(0)
    };
    let is_labelled = |harness: &Harness<'_, Stage>| words(harness, "mean KL, nats").is_some();
    assert!(line(&harness) == 0 && !is_labelled(&harness), "nothing is scored yet");
    for run in 0..11 {
        score(&mut harness.state_mut().workbench, &scoring, run);
    }
    harness.run_steps(2);
    // Of twelve magnitudes one is 0, which the line does not join.
    assert_eq!(line(&harness), 11);
    assert!(is_labelled(&harness));

    let ticks = |harness: &Harness<'_, Stage>| {
        let slider = harness.get_by_role_and_label(Role::Slider, "Magnitude").rect();
        let is_tick = |shape: &&&Shape| {
            matches!(shape, Shape::Circle(circle)
                if circle.radius == 1.5 && circle.fill == theme::DARK.text && slider.contains(circle.center))
        };
        painted(harness).iter().filter(is_tick).count()
    };
    assert_eq!(ticks(&harness), 11);
    // Of another prompt no text is saved.
    harness
        .state_mut()
        .workbench
        .apply(Action::SetPrompt("Another prompt.".to_owned()));
    harness.run_steps(2);
    assert_eq!(ticks(&harness), 0);
}

#[test]
fn a_stock_module_neither_fills_the_curve_nor_offers_it_and_says_why() {
    let mut workbench = common::ready(Language::English, Theme::Dark);
    run_at(&mut workbench, 1.0);
    let mut facts = common::facts();
    facts.identity.unit = None;
    workbench.absorb(Event::Ready(Box::new(facts), None));
    workbench.apply(Action::SetFillCurve(true));
    workbench.apply(Action::SetMagnitude(0.02));
    workbench.apply(Action::Run);
    let fills = |workbench: &mut Workbench| {
        let mut fills = 0;
        for _ in 0..8 {
            let requests = workbench.take_requests();
            fills += requests
                .iter()
                .filter(|request| matches!(request, Request::FillCurve(_)))
                .count();
            common::answer(workbench, requests, &answer);
        }
        fills
    };
    assert_eq!(fills(&mut workbench), 0, "by itself");
    workbench.apply(Action::FillCurve);
    assert_eq!(fills(&mut workbench), 0, "when it is asked to");
    let mut harness = window(workbench);
    let button = harness.get_by_role_and_label(Role::Button, "Fill the curve");
    assert!(button.accesskit_node().is_disabled());
    let at = button.rect().center();
    harness.hover_at(at);
    harness.run_steps(8);
    let why = (Text::of(Language::English).unavailable)(softprefix::model::Unavailable::OneAtATime);
    assert!(harness.query_by_label(why).is_some());
}

#[test]
fn each_key_of_the_texts_acts_in_tune_and_in_sweep() {
    use softprefix::workbench::SweepAction;
    let press = |tab: Tab, key: Key, modifiers: Modifiers| {
        let mut workbench = tuned();
        workbench.apply(Action::ShowTab(tab));
        let mut harness = window(workbench);
        harness.key_press_modifiers(modifiers, key);
        harness.run_steps(2);
        harness.state().done.clone()
    };
    for (key, modifiers, action, tabs) in [
        (
            Key::T,
            Modifiers::NONE,
            Action::ToggleTextsAlone,
            &[Tab::Tune, Tab::Sweep][..],
        ),
        (Key::N, Modifiers::NONE, Action::StepDifference(1), &[Tab::Tune]),
        (Key::N, Modifiers::SHIFT, Action::StepDifference(-1), &[Tab::Tune]),
        (
            Key::A,
            Modifiers::NONE,
            Action::Sweep(SweepAction::AddCurrentPrompt),
            &[Tab::Tune, Tab::Sweep],
        ),
        (
            Key::G,
            Modifiers::NONE,
            Action::ToggleGranularity,
            &[Tab::Tune, Tab::Sweep],
        ),
        (Key::M, Modifiers::NONE, Action::NextMeasure, &[Tab::Tune, Tab::Sweep]),
        (Key::R, Modifiers::NONE, Action::ShowRuns(true), &[Tab::Tune]),
        (Key::F, Modifiers::NONE, Action::FillCurve, &[Tab::Tune]),
    ] {
        for tab in [Tab::Tune, Tab::Sweep, Tab::Doctor] {
            let expected = if tabs.contains(&tab) {
                vec![action.clone()]
            } else {
                Vec::new()
            };
            assert_eq!(press(tab, key, modifiers), expected, "{key:?} in {tab:?}");
        }
    }
}

#[test]
fn the_prompt_is_added_to_the_sweep_by_a_key_and_the_top_bar_confirms_it() {
    let mut harness = window(long());
    let before = harness.state().workbench.sweep.form.prompts.len();
    harness.key_press(Key::A);
    harness.run_steps(2);
    let prompts = &harness.state().workbench.sweep.form.prompts;
    assert_eq!(prompts.len(), before + 1);
    assert_eq!(
        prompts.last().map(|prompt| prompt.user.as_str()),
        Some(harness.state().workbench.prompt.user.as_str())
    );
    assert_eq!(harness.state().workbench.tab, Tab::Tune);
    let words = (softprefix::text::SweepText::of(Language::English).in_sweep)(before + 1);
    assert!(harness.query_by_label(&words).is_some());
}

#[test]
fn the_footer_says_which_share_of_the_tokens_was_accepted_from_a_draft() {
    let mut workbench = common::ready(Language::English, Theme::Dark);
    run_at(&mut workbench, 1.0);
    workbench.apply(Action::SetMagnitude(2.0));
    workbench.apply(Action::Run);
    let requests = workbench.take_requests();
    for request in requests {
        let Request::Infer(inference) = request else { continue };
        let mut record = common::record(&workbench, &inference, common::PREFIXED);
        let usage = match &mut record.outcome {
            CaseOutcome::Done(answer) => answer.usage.as_mut(),
            CaseOutcome::Failed(_) => None,
        };
        let usage = usage.expect("a unit counts tokens");
        usage.completion_tokens = 20;
        (usage.drafted, usage.accepted) = (18, 15);
        let (run, kind) = (inference.run, inference.kind);
        let record = Box::new(record);
        workbench.absorb(Event::Finished { run, kind, record });
    }
    common::settle(&mut workbench, &answer);
    let texts = painted_whole(&sized(workbench, [1920.0, 1080.0]));
    let at = texts
        .iter()
        .position(|text| text == Text::of(Language::English).drafted);
    let at = at.expect("the share has a name");
    assert_eq!(texts[at - 1], "75");
}

#[test]
fn a_menu_is_as_wide_as_the_longest_of_its_words() {
    for (language, name) in [(Language::English, "Compare by"), (Language::Japanese, "比較の単位")] {
        let mut harness = sized(common::tuned(language, Theme::Dark), [1440.0, 900.0]);
        harness.get_by_role_and_label(Role::Button, name).click();
        harness.run_steps(3);
        let items = |harness: &Harness<'_, Stage>| -> Vec<(String, f32)> {
            let items = harness.query_all_by_role(Role::MenuItemRadio);
            let of =
                |item: egui_kittest::Node<'_>| (item.accesskit_node().label().unwrap_or_default(), item.rect().width());
            items.map(of).collect()
        };
        let items = items(&harness);
        assert_eq!(items.len(), Granularity::ALL.len());
        let widths = painted(&harness).into_iter().filter_map(|shape| match shape {
            Shape::Text(text) if items.iter().any(|(words, _)| words == text.galley.text()) => {
                assert!(!text.galley.elided);
                Some(text.galley.size().x)
            }
            _ => None,
        });
        let longest = widths.fold(0.0, f32::max);
        for (words, width) in &items {
            // Beside the words there is room for the tick.
            assert!(
                (longest + 40.0..longest + 48.0).contains(width),
                "{words}: {width} for {longest}"
            );
        }
    }
}

#[test]
fn a_zoomed_plot_says_in_its_head_what_is_shown_of_it_and_a_click_there_shows_all() {
    let mut harness = window(tuned());
    let plot = harness.get_by_role_and_label(Role::Figure, "Similarity over magnitude");
    let at = plot.rect().center();
    assert!(harness.query_by_label_contains("Zoomed to").is_none());
    harness.hover_at(at);
    harness.run_steps(1);
    harness.event(egui::Event::Zoom(4.0));
    harness.run_steps(2);
    let button = harness.get_by_label_contains("Zoomed to");
    let (head, top) = (button.rect(), plot_rect(&harness).top());
    assert!(head.bottom() <= top + 1.0, "above the plot");
    harness.get_by_label_contains("Zoomed to").click();
    harness.run_steps(3);
    assert!(harness.query_by_label_contains("Zoomed to").is_none());
}

fn plot_rect(harness: &Harness<'_, Stage>) -> egui::Rect {
    harness
        .get_by_role_and_label(Role::Figure, "Similarity over magnitude")
        .rect()
}

#[test]
fn the_flag_of_the_first_difference_covers_no_letter_at_any_size_of_the_texts() {
    let mut sizes = std::collections::BTreeSet::new();
    for characters in [96, 140, 160, 180, 1200] {
        let harness = window(with_texts(characters));
        let shapes = painted(&harness);
        let flags: Vec<egui::Rect> = shapes
            .iter()
            .filter_map(|shape| match shape {
                Shape::Rect(flag) if flag.fill == theme::DARK.text && flag.rect.height() == 15.0 => Some(flag.rect),
                _ => None,
            })
            .collect();
        assert_eq!(flags.len(), 2, "one in each pane");
        let mut letters = 0;
        for shape in &shapes {
            let Shape::Text(text) = shape else { continue };
            if !text.galley.text().starts_with("春の花が咲く道を歩く朝春") {
                continue;
            }
            sizes.extend(
                text.galley
                    .job
                    .sections
                    .iter()
                    .map(|section| section.format.font_id.size as u32),
            );
            for row in &text.galley.rows {
                for glyph in &row.glyphs {
                    let ink = &glyph.uv_rect;
                    let corner = text.pos + row.pos.to_vec2() + glyph.pos.to_vec2() + ink.offset;
                    let ink = egui::Rect::from_min_size(corner, ink.size);
                    letters += 1;
                    let covers = |flag: &egui::Rect| flag.intersects(ink);
                    assert!(!flags.iter().any(covers), "{} at {ink:?} of {characters}", glyph.chr);
                }
            }
        }
        assert!(letters >= 2 * 60, "{letters}");
    }
    assert_eq!(sizes.into_iter().collect::<Vec<_>>(), [15, 18, 22]);
}
