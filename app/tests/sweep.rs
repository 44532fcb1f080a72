//! The Sweep view and the presenter's view by the names of their controls.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail the test.

mod common;

use eframe::egui::accesskit::Role;
use eframe::egui::{self, Key};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use softprefix::errors;
use softprefix::messages::{
    Event, LibraryEvent, LibraryRequest, Request, SecondModuleAnswer, SweepEvent, SweepRequest,
};
use softprefix::model::{Language, MagnitudeUnit, Problem, ProblemKind, Theme};
use softprefix::text::{ScoringText, SweepText, TwinText};
use softprefix::workbench::sweep::{Stage, Trouble};
use softprefix::workbench::{Action, SweepAction, Tab, Workbench};
use softprefix_core::compare::{LikelihoodMeasures, Measure};
use softprefix_core::experiment::journal::JOURNAL_VERSION;
use softprefix_core::experiment::{
    Answer, Case, CaseOutcome, CaseScores, Condition, Experiment, ModuleIdentity, PrefixIdentity, Rating, Record,
    RunEnd, RunEvent, RunProgress, SavedExperiment, Summary,
};
use softprefix_core::prefix::Magnitude;
use softprefix_core::protocol::extension::FinishReason;
use std::time::Duration;

use common::stage::{Stage as Shown, window, words};

fn ready(language: Language) -> Workbench {
    let mut workbench = common::ready(language, Theme::Dark);
    workbench.apply(Action::ShowTab(Tab::Sweep));
    workbench
}

fn sweep_event(workbench: &mut Workbench, event: SweepEvent) {
    workbench.absorb(Event::Sweep(Box::new(event)));
}

fn run_event(workbench: &mut Workbench, event: RunEvent) {
    sweep_event(workbench, SweepEvent::Run(event));
}

/// A record of a case as a unit would answer it.
fn record(experiment: &Experiment, case: &Case) -> Record {
    let size = case.recipe.as_ref().map(|recipe| match recipe.magnitude {
        Magnitude::TokenNorms(size) | Magnitude::Raw(size) => size,
        Magnitude::Unscaled => 1.0,
    });
    let text = match size {
        None => common::BASELINE.to_owned(),
        Some(size) if size > 5.0 => "花が咲き".repeat(12),
        Some(_) => common::PREFIXED.to_owned(),
    };
    Record {
        version: 1,
        id: format!("{}/{}", experiment.id, case.index),
        experiment: experiment.id.clone(),
        case: case.clone(),
        prompt: experiment.plan.as_ref().unwrap().prompts[case.prompt].clone(),
        settings: experiment.plan.as_ref().unwrap().settings.clone(),
        module: experiment.module.clone(),
        prefix: case.recipe.as_ref().map(|recipe| PrefixIdentity {
            recipe: recipe.clone(),
            len: recipe.len,
            hidden_size: 896,
            sha256: "0".repeat(64),
            row_norms: [1.0; 3],
            token_norms: size,
        }),
        started_unix: 1_795_406_700.0,
        attempts: 1,
        outcome: CaseOutcome::Done(Answer {
            text,
            tokens: None,
            finish_reason: FinishReason::Stop,
            echo: None,
            usage: None,
            ttft_sec: None,
            elapsed_sec: 0.5,
        }),
        scores: None,
        score: None,
        rating: Rating::default(),
        written_by: String::new(),
    }
}

/// A sweep of which the first `done` cases are finished.
fn running(language: Language, done: usize) -> Workbench {
    let mut workbench = ready(language);
    workbench.apply(Action::Sweep(SweepAction::SetMagnitudes("0, 1, 12".to_owned())));
    workbench.apply(Action::Sweep(SweepAction::Start));
    assert_eq!(workbench.sweep.stage, Stage::Starting);
    let experiment = Experiment {
        version: JOURNAL_VERSION,
        id: "e".to_owned(),
        name: "Spring".to_owned(),
        started_unix: 1_795_406_700.0,
        plan: Some(workbench.sweep_plan()),
        module: ModuleIdentity {
            model: common::facts().identity.model,
            ..ModuleIdentity::default()
        },
    };
    run_event(&mut workbench, RunEvent::Started(Box::new(experiment.clone())));
    let cases = experiment.plan.as_ref().unwrap().cases().unwrap();
    for case in &cases[..done] {
        let (index, name) = (case.index, case.name.clone());
        run_event(&mut workbench, RunEvent::CaseStarted { index, name });
        run_event(
            &mut workbench,
            RunEvent::CaseFinished(Box::new(record(&experiment, case))),
        );
    }
    if let Some(next) = cases.get(done) {
        let (index, name) = (next.index, next.name.clone());
        run_event(&mut workbench, RunEvent::CaseStarted { index, name });
    }
    let progress = RunProgress {
        finished: done,
        total: cases.len(),
        running: 1,
        left: Some(Duration::from_secs(240)),
        ..RunProgress::default()
    };
    run_event(&mut workbench, RunEvent::Progress(progress));
    common::settle(&mut workbench, &|_| String::new());
    workbench
}

#[test]
fn the_view_is_reached_by_its_tab_and_says_what_it_would_run() {
    let mut workbench = ready(Language::English);
    workbench.apply(Action::ShowTab(Tab::Tune));
    let mut harness = window(workbench);
    harness.get_by_role_and_label(Role::Tab, "Sweep").click();
    harness.run_steps(3);
    assert_eq!(harness.state().workbench.tab, Tab::Sweep);
    harness.get_by_label("Start");
    harness.get_by_label("P 4, 2.9×: waiting");
}

#[test]
fn lengths_and_magnitudes_are_typed_and_what_is_no_list_is_refused() {
    let mut harness = window(ready(Language::English));
    type_into(&mut harness, "Vectors P", "2, 8");
    assert_eq!(harness.state().workbench.sweep.form.lens, [2, 8]);
    harness.get_by_label("P 8, 1×: waiting");
    harness.get_by_label("Script's values").click();
    harness.run_steps(3);
    let form = &harness.state().workbench.sweep.form;
    assert_eq!((form.unit, form.values().len()), (MagnitudeUnit::Raw, 10));
}

fn type_into(harness: &mut Harness<'static, Shown>, field: &str, text: &str) {
    harness.get_by_role_and_label(Role::TextInput, field).focus();
    harness.run_steps(2);
    harness.key_press_modifiers(egui::Modifiers::COMMAND, Key::A);
    harness.run_steps(1);
    harness.get_by_role_and_label(Role::TextInput, field).type_text(text);
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
}

#[test]
fn a_sweep_does_not_start_while_a_field_is_marked_wrong() {
    let is_off = |harness: &Harness<'static, Shown>| harness.get_by_label("Start").accesskit_node().is_disabled();
    for (field, wrong, right) in [
        ("Vectors P", "1, many", "1, 8"),
        ("Magnitude, × token norm", "0, large", "0, 2"),
        ("Also on", "two words", "192.168.1.20"),
        ("Repeats", "none", "2"),
    ] {
        let mut harness = window(ready(Language::English));
        assert!(!is_off(&harness));
        type_into(&mut harness, field, wrong);
        assert!(is_off(&harness), "{field}");
        type_into(&mut harness, field, right);
        assert!(!is_off(&harness), "{field}");
    }
    // A ready-made list takes the place of what was typed.
    let mut harness = window(ready(Language::English));
    type_into(&mut harness, "Magnitude, × token norm", "0, large");
    harness.get_by_label("Whole axis").click();
    harness.run_steps(3);
    assert!(!is_off(&harness));
}

#[test]
fn a_second_module_without_the_model_lists_its_own_to_choose_from() {
    for language in [Language::English, Language::Japanese] {
        let mut workbench = ready(language);
        workbench.apply(Action::Sweep(SweepAction::SetAlso("192.168.1.20".to_owned())));
        workbench.apply(Action::Sweep(SweepAction::Start));
        let (model, models) = ("qwen2.5-0.5b".to_owned(), vec!["wide".to_owned(), "wider".to_owned()]);
        sweep_event(
            &mut workbench,
            SweepEvent::SecondModule(Ok(SecondModuleAnswer::Lacks { model, models })),
        );
        let mut harness = window(workbench);
        let text = TwinText::of(language);
        let told = (text.which_model)("qwen2.5-0.5b");
        harness.get_by_label(&told);
        harness.get_by_role_and_label(Role::ComboBox, text.model).click();
        harness.run_steps(3);
        harness.get_by_label("wider").click();
        harness.run_steps(3);
        let sweep = &harness.state().workbench.sweep;
        assert_eq!(sweep.form.also_model.as_deref(), Some("wider"));
        assert!(harness.query_by_label(&told).is_none());
    }
}

#[test]
fn a_running_sweep_tells_the_time_left_and_shows_finished_running_and_waiting_cells() {
    let harness = window(running(Language::English, 5));
    let progress = harness.get_by_role_and_label(Role::ProgressIndicator, "About 4 min left");
    assert_eq!(progress.accesskit_node().numeric_value(), Some(62.5));
    harness.get_by_label("P 1, 1×: chrF2 36");
    harness.get_by_label_contains("P 1, 12×: repeats itself");
    harness.get_by_label("P 4, 1×: running");
    harness.get_by_label("P 4, 12×: waiting");
    harness.get_by_label("Pause");
}

#[test]
fn an_interrupted_sweep_is_offered_wherever_one_is_once_its_module_is_connected() {
    for language in [Language::English, Language::Japanese] {
        let mut workbench = running(language, 3);
        workbench.apply(Action::ShowTab(Tab::Tune));
        let away = Event::Lost(Problem::new(ProblemKind::Connection, "It is away.", "Reconnect."));
        workbench.absorb(away);
        let error = common::lost();
        run_event(&mut workbench, RunEvent::Ended(RunEnd::Interrupted { error }));
        let mut harness = window(workbench);
        let text = SweepText::of(language);
        let offered = |harness: &Harness<'static, Shown>| harness.query_by_label(text.interrupted_sweep).is_some();
        assert!(!offered(&harness), "nothing runs without a module");
        let facts = Box::new(common::facts());
        harness.state_mut().workbench.absorb(Event::Ready(facts, None));
        harness.state_mut().workbench.take_requests();
        harness.run_steps(3);
        assert!(offered(&harness));
        let rest = harness.state().workbench.sweep_rest().unwrap();
        harness.get_by_label(&(text.rest)(rest));
        harness.get_by_role_and_label(Role::Button, text.resume).click();
        harness.run_steps(3);
        assert!(!offered(&harness));
        assert_eq!(harness.state().workbench.sweep.stage, Stage::Starting);
        let requests = harness.state_mut().workbench.take_requests();
        assert!(
            requests.iter().any(
                |request| matches!(request, Request::Sweep(request) if matches!(**request, SweepRequest::Resume { .. }))
            ),
            "{requests:?}"
        );
    }
}

#[test]
fn a_sweep_says_why_it_was_broken_off_and_what_failed_before_in_the_language_of_the_window() {
    let lost = errors::run(&common::lost());
    for (language, other) in [
        (Language::English, Language::Japanese),
        (Language::Japanese, Language::English),
    ] {
        let error = common::lost;
        let told = |event| {
            let mut workbench = running(language, 5);
            run_event(&mut workbench, event);
            let harness = window(workbench);
            harness.get_by_label_contains(lost.sentence.get(language));
            assert!(harness.query_by_label_contains(lost.sentence.get(other)).is_none());
            harness
        };
        let ended = told(RunEvent::Ended(RunEnd::Interrupted { error: error() }));
        ended.get_by_label_contains(lost.remedy.get(language));
        let not_scored = told(RunEvent::NotScored {
            count: 3,
            error: error(),
        });
        not_scored.get_by_label(&(ScoringText::of(language).not_scored)(3, &lost.whole(language)));
        told(RunEvent::CanaryFailed { error: error() });
        told(RunEvent::JournalFailed { error: error() }).get_by_label(SweepText::of(language).go_on);
    }
}

#[test]
fn a_cell_opens_its_text_against_the_baseline_and_a_pinned_one_becomes_the_other_side() {
    let mut harness = window(running(Language::English, 8));
    harness.get_by_label("P 1, 1×: chrF2 36").click();
    harness.run_steps(3);
    let workbench = &harness.state().workbench;
    assert!(workbench.sweep.pair().unwrap().0.is_baseline());
    let output = harness.get_by_role_and_label(Role::Document, "Prefixed output");
    assert_eq!(output.accesskit_node().value().as_deref(), Some(common::PREFIXED));
    harness.get_by_label("Pin").click();
    harness.run_steps(2);
    harness.get_by_label_contains("P 4, 12×: repeats itself").click();
    harness.run_steps(3);
    let (a, b) = harness.state().workbench.sweep.pair().unwrap();
    assert_eq!(
        (a.case.recipe.as_ref().unwrap().len, b.case.recipe.as_ref().unwrap().len),
        (1, 4)
    );
    harness.get_by_label("Swap");
    harness.get_by_label("Unpin").click();
    harness.run_steps(2);
    assert_eq!(harness.state().workbench.sweep.pinned, None);
}

/// Types words into the field of the history, and answers what is looked for.
fn search(harness: &mut Harness<'static, Shown>, words: &str, found: &[&str]) {
    harness.get_by_label("Search the history").focus();
    harness.run_steps(2);
    harness.key_press_modifiers(egui::Modifiers::COMMAND, Key::A);
    harness.run_steps(1);
    harness.get_by_label("Search the history").type_text(words);
    harness.run_steps(3);
    let asked = harness.state_mut().workbench.take_requests();
    let query = words.to_owned();
    let request = Request::Library(LibraryRequest::Find(query.clone()));
    assert!(asked.contains(&request), "the texts are looked through: {asked:?}");
    let ids = found.iter().map(|id| (*id).to_owned()).collect();
    let event = LibraryEvent::Found { query, ids };
    harness.state_mut().workbench.absorb(Event::Library(Box::new(event)));
    harness.run_steps(3);
}

#[test]
fn the_history_lists_what_was_run_and_finds_it_by_its_text() {
    let mut workbench = running(Language::English, 8);
    let saved = workbench.sweep.experiment().unwrap();
    let summary = Summary::of(saved, Condition::default());
    common::list(&mut workbench, vec![summary]);
    let mut harness = window(workbench);
    harness.get_by_label("History").click();
    harness.run_steps(3);
    harness.get_by_label_contains("Spring, 2026-11-23");
    search(&mut harness, "sky", &["e"]);
    harness.get_by_label_contains("Spring, 2026-11-23");
    search(&mut harness, "nowhere", &[]);
    assert!(harness.query_by_label_contains("Spring, 2026-11-23").is_none());
}

#[test]
fn the_presenters_view_has_the_slider_and_the_texts_and_nothing_to_set_up() {
    let mut workbench = common::tuned(Language::English, Theme::Dark);
    workbench.apply(Action::Present(true));
    let mut harness = window(workbench);
    harness.get_by_role_and_label(Role::Slider, "Magnitude");
    assert!(harness.query_by_label("Run").is_none() && harness.query_by_label("Sweep").is_none());
    let before = harness.state().workbench.prefix.magnitude;
    harness.key_press(Key::ArrowUp);
    harness.run_steps(2);
    let after = harness.state().workbench.prefix.magnitude;
    assert!((after / before - 1.2).abs() < 1e-9, "{before} became {after}");
    harness.key_press(Key::PageDown);
    harness.run_steps(2);
    assert_eq!(harness.state().workbench.prompt.preset, Some(1));
}

#[test]
fn every_word_of_the_view_is_there_in_japanese() {
    let harness = window(running(Language::Japanese, 5));
    harness.get_by_label("残り約 4 分");
    harness.get_by_label("一時停止");
    harness.get_by_label("P 4, 1×: 実行中");
}

#[test]
fn a_pair_is_coloured_by_kl_where_its_case_was_scored_and_the_option_is_in_the_rail() {
    let workbench = running(Language::English, 8);
    let record = workbench.sweep.selected.clone().unwrap();
    let places: Vec<[usize; 2]> = common::BASELINE
        .char_indices()
        .map(|(at, c)| [at, at + c.len_utf8()])
        .collect();
    let scores = CaseScores {
        baseline: "e/0".to_owned(),
        measures: LikelihoodMeasures {
            kl_mean: 0.42,
            kl_p95: 1.0,
            kl_max: 4.0,
            same_top: 0.9,
            perplexity_base: 1.2,
            perplexity_prefixed: 2.0,
        },
        kl: (0..places.len()).map(|at| at as f64 / 10.0).collect(),
        places,
        perplexity: Some(7.5),
    };
    let mut harness = window(workbench);
    assert!(
        harness
            .get_by_role_and_label(Role::RadioButton, "KL")
            .accesskit_node()
            .is_disabled()
    );
    let scores = Box::new(scores);
    run_event(&mut harness.state_mut().workbench, RunEvent::Scored { record, scores });
    harness.run_steps(3);
    harness.get_by_role_and_label(Role::RadioButton, "KL").click();
    harness.run_steps(3);
    let legend = harness.get_by_role(Role::Image).accesskit_node().label().unwrap();
    assert!(legend.starts_with("KL in nats"), "{legend}");

    harness.state_mut().workbench.apply(Action::SetMeasure(Measure::KlMean));
    harness.run_steps(3);
    harness.get_by_label_contains("mean KL 0.42");
    harness.get_by_role_and_label(Role::Switch, "KL and perplexity");
}

/// A history of 10,000 experiments, the newest called "Number 9999".
fn long_history() -> Workbench {
    let mut workbench = ready(Language::English);
    let plan = workbench.sweep_plan();
    let experiments = (0..10_000).rev().map(|number| {
        let saved = SavedExperiment::new(Experiment {
            version: JOURNAL_VERSION,
            id: format!("e{number}"),
            name: format!("Number {number}"),
            started_unix: 1_795_406_700.0,
            plan: Some(plan.clone()),
            module: ModuleIdentity::default(),
        });
        Summary::of(&saved, Condition::default())
    });
    common::list(&mut workbench, experiments.collect());
    workbench
}

#[test]
fn of_a_long_history_only_the_rows_in_sight_are_made_and_the_latest_stands_first() {
    let mut harness = window(long_history());
    harness.get_by_label("History").click();
    harness.run_steps(3);
    harness.get_by_label_contains("Number 9999, ");
    let rows = harness.query_all_by_role(Role::ListItem).count();
    assert!((5..30).contains(&rows), "{rows}");
    search(&mut harness, "nowhere", &[]);
    assert_eq!(harness.query_all_by_role(Role::ListItem).count(), 0);
}

#[test]
fn nothing_asks_to_press_start_while_a_sweep_runs() {
    let harness = window(ready(Language::English));
    assert!(words(&harness, "Press Start").is_some());
    let harness = window(running(Language::English, 1));
    assert!(words(&harness, "Press Start").is_none());
}

#[test]
fn a_second_run_that_is_refused_leaves_the_running_one_as_it_is() {
    let refuse = |workbench: &mut Workbench| {
        let problem = Problem::new(
            ProblemKind::Input,
            "A sweep is already running.",
            "Cancel it, or wait for its end.",
        );
        sweep_event(workbench, SweepEvent::Refused(problem.clone()));
        assert_eq!(workbench.sweep.trouble, Some(Trouble::Problem(problem)));
    };
    let mut workbench = running(Language::English, 1);
    let before = workbench.sweep.stage.clone();
    assert!(matches!(before, Stage::Running { .. }));
    refuse(&mut workbench);
    assert_eq!(workbench.sweep.stage, before);

    let mut workbench = ready(Language::English);
    workbench.apply(Action::Sweep(SweepAction::Start));
    refuse(&mut workbench);
    assert_eq!(workbench.sweep.stage, Stage::Idle);
}

#[test]
fn a_text_of_the_pair_has_the_label_that_the_run_has_everywhere() {
    let mut harness = window(running(Language::English, 8));
    harness.get_by_label("P 1, 1×: chrF2 36").click();
    harness.run_steps(3);
    assert!(words(&harness, "1×, P 1, Constant").is_some());
}

/// A sweep over two prompts that has ended; the second prompt's texts never leave their baseline.
fn over_two_prompts(language: Language) -> Workbench {
    let mut workbench = ready(language);
    workbench.apply(Action::Sweep(SweepAction::SetMagnitudes("0, 1, 12".to_owned())));
    workbench.apply(Action::Sweep(SweepAction::AddPreset(2)));
    workbench.apply(Action::Sweep(SweepAction::Start));
    let experiment = Experiment {
        version: JOURNAL_VERSION,
        id: "two".to_owned(),
        name: "Two prompts".to_owned(),
        started_unix: 1_795_406_700.0,
        plan: Some(workbench.sweep_plan()),
        module: common::facts().identity,
    };
    run_event(&mut workbench, RunEvent::Started(Box::new(experiment.clone())));
    for case in experiment.plan.as_ref().unwrap().cases().unwrap() {
        let mut done = record(&experiment, &case);
        if let (1, CaseOutcome::Done(answer)) = (case.prompt, &mut done.outcome) {
            answer.text = common::BASELINE.to_owned();
        }
        run_event(&mut workbench, RunEvent::CaseFinished(Box::new(done)));
    }
    run_event(
        &mut workbench,
        RunEvent::Ended(softprefix_core::experiment::RunEnd::Complete),
    );
    workbench.apply(Action::Sweep(SweepAction::ShowPrompt(0)));
    common::settle(&mut workbench, &|_| String::new());
    workbench
}

#[test]
fn a_sweep_over_several_prompts_plots_their_mean_with_its_spread() {
    for (language, mean, said) in [
        (Language::English, "Mean", "Mean over 2 prompts"),
        (Language::Japanese, "平均", "大きさごとの、プロンプト 2 件の平均"),
    ] {
        let mut harness = window(over_two_prompts(language));
        assert!(harness.query_by_label_contains(said).is_none());
        harness.get_by_label(mean).click();
        harness.run_steps(3);
        assert!(harness.query_by_label_contains(said).is_some());
        // From the first prompt's chrF2 to the second's 100: a bar at each of two magnitudes of each P.
        let bars = common::stage::painted(&harness).into_iter().filter(|shape| {
            matches!(shape, egui::Shape::LineSegment { points: [a, b], stroke }
                if stroke.width == 1.0 && a.x == b.x && (a.y - b.y).abs() > 40.0
                    && stroke.color == softprefix::theme::DARK.text3)
        });
        assert!(bars.count() >= 4);
    }
    // Of one prompt there is no mean.
    assert!(window(running(Language::English, 8)).query_by_label("Mean").is_none());
}
