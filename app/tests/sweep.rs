//! The Sweep view and the presenter's view by the names of their controls.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail the test.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use eframe::egui::accesskit::Role;
use eframe::egui::{self, Key};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use softprefix::bridge::recording::demo;
use softprefix::doctor::finding::Finding;
use softprefix::doctor::ssh::SshError;
use softprefix::messages::{
    DoctorEvent, Event, LibraryEvent, LibraryRequest, Request, SecondModuleAnswer, SweepEvent, SweepRequest,
};
use softprefix::model::sweep::{Range, SweepForm};
use softprefix::model::{
    Format, Language, MagnitudeUnit, ModelChoice, ModuleState, Problem, ProblemKind, Remembered, Theme,
};
use softprefix::text::{ScoringText, SecondModuleText, SweepText};
use softprefix::views::heatmap::{Cell, CellState, HeatMap};
use softprefix::workbench::sweep::{RunMessage, Stage, SweepUnavailable, Sweeps};
use softprefix::workbench::{Action, Notice, SweepAction, Tab, Workbench};
use softprefix::{errors, export};
use softprefix_core::client::ClientError;
use softprefix_core::compare::{LikelihoodMeasures, Measure};
use softprefix_core::experiment::journal::JOURNAL_VERSION;
use softprefix_core::experiment::{
    CaseOutcome, CaseScores, Condition, Entry, Experiment, Failure, ModuleIdentity, Record, RunEnd, RunEvent,
    SavedExperiment, SessionError, Summary,
};
use softprefix_unit::model::LoadError;

use common::stage::{Stage as Shown, enter, painted, prepare, type_over, window, words};
use common::sweep::{ended, over_two_prompts, ready, record, run_event, running, sweep_event};

/// The texts of a heat map with one row of done cells, 400 points wide beside the row's label, with their places.
fn texts_of_map(columns: usize, current: usize, cell: &Cell) -> Vec<(String, egui::Rect)> {
    let names: Vec<String> = (0..columns).map(|column| format!("{column}.25")).collect();
    let rows = ["P 4".to_owned()];
    let cells = vec![cell.clone(); columns];
    let mut harness = Harness::builder()
        .with_size(egui::vec2(464.0, 200.0))
        .with_context_setup(prepare)
        .build_ui(move |ui| {
            let map = HeatMap {
                rows: &rows,
                columns: &names,
                cells: &cells,
                zero_first: false,
                current: Some((0, current)),
                running: "",
            };
            map.show(ui);
        });
    harness.run_steps(2);
    let text = |shape: &&egui::Shape| match shape {
        egui::Shape::Text(text) => Some((text.galley.text().to_owned(), text.visual_bounding_rect())),
        _ => None,
    };
    painted(&harness).iter().filter_map(text).collect()
}

#[test]
fn no_text_of_the_map_is_over_another_however_narrow_its_columns_are() {
    let cell = Cell {
        state: CellState::Done,
        words: "0.53".to_owned(),
        nearness: Some(0.5),
        tag: Some("A"),
        accessible_name: "a cell".to_owned(),
    };
    for columns in [2, 6, 8, 10, 13, 40] {
        for current in [0, 1, columns - 1] {
            let texts = texts_of_map(columns, current, &cell);
            for (at, (words, place)) in texts.iter().enumerate() {
                for (others, other) in &texts[at + 1..] {
                    assert!(!place.intersects(*other), "{columns} columns: {words} and {others}");
                }
            }
            let selected = format!("{current}.25");
            assert!(
                texts.iter().any(|(words, _)| *words == selected),
                "{selected} of {columns}"
            );
            assert_eq!(texts.iter().filter(|(words, _)| words == "A").count(), columns);
            assert_eq!(
                texts.iter().any(|(words, _)| words == "0.53"),
                columns <= 6,
                "{columns}"
            );
        }
    }
}

#[test]
fn the_view_is_opened_by_its_tab_and_shows_the_planned_runs() {
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
fn the_buttons_below_the_fields_stay_within_the_rail_in_both_languages() {
    for language in Language::ALL {
        let harness = window(ready(language));
        let last = harness.get_by_label(SweepText::of(language).more_exports).rect();
        assert!(last.right() <= softprefix::theme::RAIL - 8.0, "{language:?}: {last:?}");
    }
}

#[test]
fn lengths_and_magnitudes_are_typed_and_what_is_no_list_is_refused() {
    let mut harness = window(ready(Language::English));
    enter(&mut harness, "Vectors P", "2, 8");
    assert_eq!(harness.state().workbench.sweep.form.lengths, [2, 8]);
    harness.get_by_label("P 8, 1×: waiting");
    harness.get_by_label("Script's values").click();
    harness.run_steps(3);
    let form = &harness.state().workbench.sweep.form;
    assert_eq!((form.unit, form.values().len()), (MagnitudeUnit::Raw, 10));
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
        enter(&mut harness, field, wrong);
        assert!(is_off(&harness), "{field}");
        enter(&mut harness, field, right);
        assert!(!is_off(&harness), "{field}");
    }
    // A ready-made list takes the place of what was typed.
    let mut harness = window(ready(Language::English));
    enter(&mut harness, "Magnitude, × token norm", "0, large");
    harness.get_by_label("Whole axis").click();
    harness.run_steps(3);
    assert!(!is_off(&harness));
}

/// Presses a key with Ctrl, and returns the requests that follow.
fn press(harness: &mut Harness<'static, Shown>, key: Key) -> Vec<Request> {
    harness.state_mut().workbench.take_requests();
    harness.key_press_modifiers(egui::Modifiers::COMMAND, key);
    harness.run_steps(3);
    harness.state_mut().workbench.take_requests()
}

fn sweep_requests(requests: Vec<Request>) -> Vec<SweepRequest> {
    let of_sweep = |request| match request {
        Request::Sweep(request) => *request,
        other => panic!("{other:?}"),
    };
    requests.into_iter().map(of_sweep).collect()
}

#[test]
fn the_keys_of_run_and_stop_do_in_sweep_what_its_first_buttons_do() {
    let mut harness = window(ready(Language::English));
    let started = sweep_requests(press(&mut harness, Key::Enter));
    assert!(matches!(started[..], [SweepRequest::Start { .. }]), "{started:?}");
    assert_eq!(press(&mut harness, Key::Enter), [], "it has been started");

    let mut harness = window(running(Language::English, 2));
    assert_eq!(press(&mut harness, Key::Enter), [], "it is running");
    let problem = Problem::new(ProblemKind::File, "The disk is full.", "Make room.");
    harness.state_mut().workbench.sweep.message = Some(RunMessage::Problem(problem));
    assert_eq!(sweep_requests(press(&mut harness, Key::Enter)), [SweepRequest::Unpause]);
    assert_eq!(sweep_requests(press(&mut harness, Key::Period)), [SweepRequest::Cancel]);

    let mut workbench = running(Language::English, 2);
    run_event(&mut workbench, RunEvent::Ended(RunEnd::Cancelled));
    let mut harness = window(workbench);
    let resumed = sweep_requests(press(&mut harness, Key::Enter));
    assert!(
        matches!(resumed[..], [SweepRequest::ResumeExperiment { .. }]),
        "{resumed:?}"
    );
}

#[test]
fn what_is_no_list_is_not_run_by_the_key_either() {
    let mut harness = window(ready(Language::English));
    let list = "Magnitude, × token norm";
    type_over(&mut harness, list, "0, large");
    for _ in 0..2 {
        assert_eq!(press(&mut harness, Key::Enter), []);
        assert_eq!(
            harness.state().workbench.why_not_sweep(),
            Some(SweepUnavailable::WrongField)
        );
    }
    harness
        .state_mut()
        .workbench
        .apply(Action::Sweep(SweepAction::FindThreshold(1)));
    assert_eq!(harness.state_mut().workbench.take_requests(), []);
    // In the history no field is shown: the one that is in effect counts.
    harness.get_by_label("History").click();
    harness.run_steps(3);
    assert_eq!(harness.state().workbench.why_not_sweep(), None);
    harness.get_by_label("Setup").click();
    harness.run_steps(3);
    type_over(&mut harness, list, "0, 2");
    assert_eq!(sweep_requests(press(&mut harness, Key::Enter)).len(), 1);
}

#[test]
fn a_second_module_without_the_model_lists_its_own_to_choose_from() {
    for language in Language::ALL {
        let mut workbench = ready(language);
        workbench.apply(Action::Sweep(SweepAction::SetSecondModule("192.168.1.20".to_owned())));
        workbench.apply(Action::Sweep(SweepAction::Start));
        let (model, models) = ("qwen2.5-0.5b".to_owned(), vec!["wide".to_owned(), "wider".to_owned()]);
        sweep_event(
            &mut workbench,
            SweepEvent::SecondModule(Ok(SecondModuleAnswer::Missing { model, models })),
        );
        let mut harness = window(workbench);
        let text = SecondModuleText::of(language);
        let question = (text.which_model)("qwen2.5-0.5b");
        harness.get_by_label(&question);
        harness.get_by_role_and_label(Role::ComboBox, text.model).click();
        harness.run_steps(3);
        harness.get_by_label("wider").click();
        harness.run_steps(3);
        let sweep = &harness.state().workbench.sweep;
        assert_eq!(sweep.form.second_model.as_deref(), Some("wider"));
        assert!(harness.query_by_label(&question).is_none());
    }
}

#[test]
fn a_running_sweep_shows_remaining_time_and_finished_running_and_waiting_cells() {
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
    for language in Language::ALL {
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
                |request| matches!(request, Request::Sweep(request) if matches!(**request, SweepRequest::ResumeExperiment { .. }))
            ),
            "{requests:?}"
        );
    }
}

#[test]
fn an_interrupted_sweep_shows_its_reason_and_its_failures_in_the_language_of_the_window() {
    let lost = errors::run(&common::lost());
    for (language, other) in [
        (Language::English, Language::Japanese),
        (Language::Japanese, Language::English),
    ] {
        let error = common::lost;
        let shown_after = |event| {
            let mut workbench = running(language, 5);
            run_event(&mut workbench, event);
            let harness = window(workbench);
            harness.get_by_label_contains(lost.sentence.get(language));
            assert!(harness.query_by_label_contains(lost.sentence.get(other)).is_none());
            harness
        };
        let ended = shown_after(RunEvent::Ended(RunEnd::Interrupted { error: error() }));
        ended.get_by_label_contains(lost.remedy.get(language));
        let not_scored = shown_after(RunEvent::NotScored {
            count: 3,
            error: error(),
        });
        not_scored.get_by_label(&(ScoringText::of(language).not_scored)(3, &lost.whole(language)));
        shown_after(RunEvent::CanaryFailed { error: error() });
        shown_after(RunEvent::JournalFailed { error: error() }).get_by_label(SweepText::of(language).unpause);
    }
}

/// The last case of a sweep, failed.
fn failed_case(workbench: &Workbench, error: &SessionError) -> Record {
    let mut record = workbench.sweep.experiment().unwrap().records.last().unwrap().clone();
    record.id += "/failed";
    record.outcome = CaseOutcome::Failed(Failure {
        error: error.to_string(),
        cause: Some(error.clone()),
        partial_text: "春の".to_owned(),
        elapsed_sec: 2.0,
    });
    record
}

#[test]
fn a_case_that_failed_is_explained_in_the_language_of_the_window_in_its_pair_and_in_the_report() {
    let lost = SessionError::Client(ClientError::ConnectionLost {
        address: "127.0.0.1:10001".to_owned(),
        detail: "Broken pipe".to_owned(),
    });
    for (language, other) in [
        (Language::English, Language::Japanese),
        (Language::Japanese, Language::English),
    ] {
        let mut workbench = running(language, 3);
        let saved = workbench.sweep.experiment().unwrap();
        let record = failed_case(&workbench, &lost);
        let problem = errors::case(&record).unwrap();
        let experiment = saved.experiment.clone();
        let words = |language| problem.whole(language);
        assert_ne!(words(language), words(other));

        let report = export::content(Format::Html, &experiment, std::slice::from_ref(&record), 0, language).unwrap();
        let escaped = |words: String| words.replace('\'', "&#39;");
        assert!(report.contains(&escaped(words(language))), "{report}");
        assert!(!report.contains(&problem.sentence.get(other).to_owned()));

        let id = record.id.clone();
        run_event(&mut workbench, RunEvent::CaseFinished(Box::new(record)));
        workbench.apply(Action::Sweep(SweepAction::Select(Some(id))));
        let harness = window(workbench);
        harness.get_by_label_contains(&words(language));
        assert!(harness.query_by_label_contains(problem.sentence.get(other)).is_none());
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

/// A sweep over two prompts in which a record of the first one is pinned and selected.
fn pinned_of_two_prompts() -> Workbench {
    let mut workbench = over_two_prompts(Language::English);
    let of_prefix = workbench.sweep.records().find(|record| !record.is_baseline());
    let id = of_prefix.map(|record| record.id.clone());
    workbench.apply(Action::Sweep(SweepAction::Select(id)));
    workbench.apply(Action::Sweep(SweepAction::Pin));
    assert!(workbench.sweep.pinned.is_some());
    workbench
}

#[test]
fn selection_and_pin_are_cleared_when_another_prompt_is_shown() {
    for action in [
        SweepAction::ShowPrompt(1),
        SweepAction::RemovePrompt(0),
        SweepAction::AddPreset(3),
    ] {
        let mut workbench = pinned_of_two_prompts();
        workbench.apply(Action::Sweep(action.clone()));
        let Sweeps { pinned, selected, .. } = &workbench.sweep;
        assert_eq!((pinned, selected), (&None, &None), "{action:?}");
    }
    let mut workbench = pinned_of_two_prompts();
    workbench.apply(Action::Sweep(SweepAction::RemovePrompt(1)));
    assert!(workbench.sweep.pinned.is_some(), "the shown prompt is still there");
}

#[test]
fn a_plan_is_not_run_again_without_a_module_and_leaves_the_fields_as_they_are() {
    let mut workbench = pinned_of_two_prompts();
    let summary = Summary::of(workbench.sweep.experiment().unwrap(), Condition::default());
    let id = summary.experiment.id.clone();
    common::list(&mut workbench, vec![summary]);
    workbench.apply(Action::Sweep(SweepAction::SetRepeats(7)));
    workbench.module = ModuleState::NoModel { problem: None };
    workbench.apply(Action::Sweep(SweepAction::RunAgain(id.clone())));
    assert_eq!(workbench.sweep.form.repeats, 7);
    assert!(!workbench.sweep.is_busy() && workbench.sweep.pinned.is_some());
    workbench.apply(Action::Sweep(SweepAction::CloneSettings(id)));
    assert_eq!(workbench.sweep.form.repeats, 1, "its plan is there");
}

#[test]
fn fields_cannot_be_changed_while_a_sweep_runs() {
    let mut workbench = running(Language::English, 5);
    let form = workbench.sweep.form.clone();
    for action in [
        SweepAction::AddPreset(3),
        SweepAction::RemovePrompt(0),
        SweepAction::SetLengths(vec![3]),
        SweepAction::SetMagnitudes("7".to_owned()),
        SweepAction::SetUnit(MagnitudeUnit::Raw),
        SweepAction::ApplyRange(Range::Script),
        SweepAction::SetRepeats(7),
        SweepAction::SetSecondModule("embedded".to_owned()),
        SweepAction::SetScored(!form.scored),
        SweepAction::SetThresholdMeasure(Measure::Indel),
        SweepAction::SetThresholdMinimum(7.0),
        SweepAction::Start,
        SweepAction::FindThreshold(1),
    ] {
        workbench.take_requests();
        workbench.apply(Action::Sweep(action.clone()));
        assert_eq!(workbench.sweep.form, form, "{action:?}");
        assert_eq!(workbench.take_requests(), [], "{action:?}");
    }
}

#[test]
fn a_threshold_search_takes_only_measures_that_fall_with_the_difference() {
    let mut form = SweepForm::default();
    form.set_threshold_measure(Measure::Perplexity);
    assert_eq!((form.threshold_measure, form.threshold_minimum), (Measure::Chrf2, 80.0));
    form.set_threshold_measure(Measure::Distinct4);
    assert_eq!(
        (form.threshold_measure, form.threshold_minimum),
        (Measure::Distinct4, 0.8)
    );
    form.threshold_minimum = 0.5;
    form.set_threshold_measure(Measure::Indel);
    assert_eq!(form.threshold_minimum, 0.5, "the scale is the same");
    form.set_threshold_measure(Measure::FirstDivergence);
    assert_eq!(form.threshold_minimum, 20.0);
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
    let request = Request::Library(LibraryRequest::SearchTexts(query.clone()));
    assert!(asked.contains(&request), "the texts are looked through: {asked:?}");
    let ids = found.iter().map(|id| (*id).to_owned()).collect();
    let event = LibraryEvent::Found { query, ids };
    harness.state_mut().workbench.absorb(Event::Library(Box::new(event)));
    harness.run_steps(3);
}

#[test]
fn the_history_lists_experiments_and_finds_them_by_their_texts() {
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
fn a_search_of_the_history_is_repeated_when_the_list_changes_and_not_after_its_words_are_deleted() {
    let workbench = running(Language::English, 8);
    let saved = workbench.sweep.experiment().unwrap().clone();
    let mut harness = window(workbench);
    harness.get_by_label("History").click();
    harness.run_steps(3);
    search(&mut harness, "sky", &[]);
    let searched = |harness: &mut Harness<'static, Shown>, experiments: Vec<Summary>| {
        let workbench = &mut harness.state_mut().workbench;
        workbench.take_requests();
        common::list(workbench, experiments);
        let query = "sky".to_owned();
        let request = Request::Library(LibraryRequest::SearchTexts(query));
        workbench.take_requests().contains(&request)
    };
    let added = vec![Summary::of(&saved, Condition::default())];
    assert!(searched(&mut harness, added.clone()));
    assert!(!searched(&mut harness, added));
    let (query, ids) = ("sky".to_owned(), vec![saved.experiment.id.clone()]);
    let found = LibraryEvent::Found { query, ids };
    harness.state_mut().workbench.absorb(Event::Library(Box::new(found)));
    harness.run_steps(3);
    harness.get_by_label_contains("Spring, 2026-11-23");
    harness.get_by_label("Search the history").focus();
    harness.run_steps(2);
    harness.key_press_modifiers(egui::Modifiers::COMMAND, Key::A);
    harness.key_press(Key::Backspace);
    harness.run_steps(3);
    assert!(!searched(&mut harness, Vec::new()));
}

#[test]
fn the_history_shows_that_it_is_still_being_read() {
    for language in Language::ALL {
        let mut remembered = Remembered::default();
        remembered.settings.language = language;
        let mut workbench = Workbench::new(remembered);
        workbench.apply(Action::ShowTab(Tab::Sweep));
        let text = SweepText::of(language);
        let mut harness = window(workbench);
        harness.get_by_label(text.history).click();
        harness.run_steps(3);
        harness.get_by_label(text.history_opening);
        common::list(&mut harness.state_mut().workbench, Vec::new());
        harness.run_steps(3);
        harness.get_by_label(text.history_empty);
    }
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
    assert_eq!(harness.state().workbench.prompt.preset(), Some(1));
}

/// Words in Latin letters that a window in Japanese has: names, units and keys.
const LATIN: &str = "
    ms MB GB nat ln p
    KL chrF sacreBLEU indel difflib SequenceMatcher autojunk Levenshtein distinct gram top token sha SHA
    CPU PC LLM IP OSC UDP ssh SSH OpenGL
    PNG SVG CSV JSON HTML GGUF gguf PEFT safetensors npy Comparator Python
    magnitude seed row blend prompt preset run
    softprefix unit Soft Prefix Workbench StackFlow Stack Module llm sys qwen Qwen smollm SmolLM instruct
    Ctrl Shift Enter Esc Space Home Tab Delete Backspace Mac
    systemctl status restart ping JSON
    English Inter JetBrains Mono Noto Sans CJK MIT Apache SIL Open Font License
";

/// Prompts and outputs of the fixtures, of which the views also show parts.
const FIXTURES: [&str; 8] = [
    common::LONG_BASELINE,
    common::LONG_PREFIXED,
    common::find::SEA,
    "You are a helpful assistant. Answer in the language of the request.",
    "Write a short story about a lighthouse keeper and a storm.",
    "sea, thunder",
    "sea, name, lamp",
    "Spring",
];

/// Addresses, paths, options and names of models, as a whole.
const DATA: [&str; 14] = [
    "root@m5stack.local",
    "root@192.168.1.20",
    "HOST:PORT",
    "host:port",
    "--features glow",
    "--features wgpu",
    "features",
    "embedded",
    "/tmp/results.json",
    "/models/cut.gguf",
    "llm.1000",
    "qwen2.5-0.5B-prefill-20e",
    "qwen2.5-coder-0.5b-instruct-q4_k_m",
    "SplitMix64",
];

/// The words in Latin letters, with one blank between them.
fn latin(words: &str) -> String {
    let words = words.split(|c: char| !c.is_ascii_alphabetic());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Returns the words in Latin letters that are neither known nor in a part of a text of the fixtures.
fn foreign_words(words: &str) -> Vec<String> {
    let is_digest = words.len() > 8 && words.chars().all(|c| c.is_ascii_hexdigit() || c == '…');
    let is_model = ["Qwen2.5 0.5B, ", "SmolLM2 135M, "]
        .iter()
        .any(|model| words.contains(model));
    if is_digest || is_model {
        return Vec::new();
    }
    // What a sentence in Japanese quotes is a part of it between other characters.
    let parts = words.split(|c: char| !c.is_ascii_graphic() && !c.is_ascii_whitespace());
    let parts = parts.map(|part| part.trim_matches([' ', '"', '`', ':']));
    let parts = parts.filter(|part| !DATA.contains(part)).map(latin);
    let parts = parts.filter(|part| !FIXTURES.iter().any(|text| latin(text).contains(part)));
    let words: Vec<String> = parts
        .flat_map(|part| part.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let is_known = |word: &str| word.len() <= 1 || LATIN.split_ascii_whitespace().any(|known| known == word);
    words.into_iter().filter(|word| !is_known(word)).collect()
}

/// Every text that is painted, and every name, value and description that assistive technology is given.
fn all_words(harness: &Harness<'_, Shown>) -> Vec<String> {
    let painted = common::stage::painted(harness).into_iter();
    let mut all: Vec<String> = painted
        .filter_map(|shape| match shape {
            egui::Shape::Text(text) => Some(text.galley.text().to_owned()),
            _ => None,
        })
        .collect();
    for node in harness.root().children_recursive() {
        let node = node.accesskit_node();
        all.extend([node.label(), node.value(), node.description()].into_iter().flatten());
    }
    all
}

fn one_problem_of_each_kind() -> [Problem; 7] {
    let address = || "192.168.1.20:10001".to_owned();
    let broken = async { tokio::spawn(async { panic!("途中") }).await.unwrap_err() };
    let broken = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(broken);
    [
        errors::problem_of(&ClientError::Connect {
            address: address(),
            detail: "Connection refused (os error 111)".to_owned(),
        }),
        errors::problem_of(&ClientError::NoAnswer {
            action: "ping".to_owned(),
            work_id: "sys".to_owned(),
            seconds: 12.0,
        }),
        errors::problem_of(&ClientError::TaskFull {
            ids: vec!["llm.1000".to_owned()],
        }),
        errors::session(&SessionError::NoLanguageModel { address: address() }, false),
        errors::problem_of(&ClientError::EmptyPrompt),
        errors::cannot_read(Path::new("/tmp/results.json"), &std::io::Error::from_raw_os_error(5)),
        errors::task_failed(broken),
    ]
}

#[test]
fn a_window_in_japanese_has_no_words_of_another_language() {
    use softprefix::workbench::Dialog;
    use softprefix_core::protocol::learn::LearnEnd;
    let japanese = Language::Japanese;
    let mut shown: Vec<(String, Workbench)> = vec![
        ("Tune, empty".into(), common::empty(japanese, Theme::Dark)),
        ("Tune".into(), common::tuned(japanese, Theme::Dark)),
        ("Tune, streaming".into(), common::streaming(japanese, Theme::Dark)),
        ("Sweep, ready".into(), ready(japanese)),
        ("Sweep, running".into(), running(japanese, 5)),
        ("Sweep, ended".into(), over_two_prompts(japanese)),
        ("Find, empty".into(), common::find::empty(japanese, Theme::Dark)),
        (
            "Find, learning".into(),
            common::find::learning(japanese, Theme::Dark, None),
        ),
        (
            "Find, learned".into(),
            common::find::learning(japanese, Theme::Dark, Some(LearnEnd::NotReached)),
        ),
        ("Find, choosing".into(), common::find::choosing(japanese, Theme::Dark)),
        (
            "Find, searching".into(),
            common::find::searched(japanese, Theme::Dark, None),
        ),
    ];
    for (name, action) in [
        ("Tune, the runs", Action::ShowRuns(true)),
        ("Tune, advanced", Action::SetAdvanced(true)),
        ("Tune, coloured by KL", Action::ToggleKl),
        ("Tune, stale", Action::SetMagnitude(4.4)),
        ("the settings", Action::ShowSettings(true)),
        ("the Presenter", Action::Present(true)),
        ("Doctor", Action::ShowTab(Tab::Doctor)),
    ] {
        let mut workbench = common::tuned(japanese, Theme::Dark);
        workbench.apply(action);
        shown.push((name.to_owned(), workbench));
    }
    for dialog in [
        Dialog::Help,
        Dialog::Connect,
        Dialog::Models,
        Dialog::Identity,
        Dialog::Note,
        Dialog::About,
        Dialog::External,
        Dialog::FirstSteps,
    ] {
        let mut workbench = common::tuned(japanese, Theme::Dark);
        workbench.apply(Action::ShowDialog(dialog));
        shown.push((format!("{dialog:?}"), workbench));
    }
    for problem in one_problem_of_each_kind() {
        let mut workbench = common::tuned(japanese, Theme::Dark);
        let name = format!("a problem: {:?}", problem.kind);
        workbench.notice = Some(Notice::Problem(problem));
        shown.push((name, workbench));
    }
    let mut workbench = running(japanese, 3);
    let error = SessionError::Client(ClientError::ConnectionLost {
        address: "192.168.1.20:10001".to_owned(),
        detail: "Broken pipe (os error 32)".to_owned(),
    });
    let failed = failed_case(&workbench, &error);
    let id = failed.id.clone();
    run_event(&mut workbench, RunEvent::CaseFinished(Box::new(failed)));
    workbench.apply(Action::Sweep(SweepAction::Select(Some(id))));
    shown.push(("a failed case".into(), workbench));
    let mut workbench = running(japanese, 8);
    let saved = Summary::of(workbench.sweep.experiment().unwrap(), Condition::default());
    common::list(&mut workbench, vec![saved]);
    shown.push(("the history".into(), workbench));
    let mut workbench = common::tuned(japanese, Theme::Dark);
    workbench.apply(Action::ShowTab(Tab::Doctor));
    let unreachable = SshError::Unreachable {
        host: "root@192.168.1.20".to_owned(),
        detail: "No route to host".to_owned(),
    };
    let finding = Finding::not_checked("ssh", "0.1", unreachable.sentence());
    workbench.absorb(Event::Doctor(DoctorEvent::Found(Box::new(finding))));
    shown.push(("a finding".into(), workbench));
    let mut workbench = common::tuned(japanese, Theme::Dark);
    let unusable = LoadError::BadFile {
        path: "/models/cut.gguf".into(),
        reason: softprefix_core::bilingual!("it is truncated", "途中で終わっています"),
    };
    workbench.absorb(Event::Models(vec![ModelChoice {
        name: "qwen".to_owned(),
        bytes: None,
        present: true,
        usable: false,
        verified: true,
        default: false,
        about: errors::load(&unusable).whole(),
    }]));
    workbench.apply(Action::ShowDialog(Dialog::Models));
    shown.push(("an unusable model".into(), workbench));
    let mut workbench = common::tuned(japanese, Theme::Dark);
    workbench.play(demo().unwrap());
    shown.push(("a playback".into(), workbench));

    let mut foreign = BTreeMap::<String, String>::new();
    for (name, workbench) in shown {
        let mut harness = common::stage::sized(workbench, [1440.0, 900.0]);
        if name == "the history" {
            harness.get_by_label(SweepText::of(japanese).history).click();
            harness.run_steps(3);
            harness.get_by_label_contains("Spring, 2026-11-23");
        }
        for words in all_words(&harness) {
            for word in foreign_words(&words) {
                let place = || format!("{name}: {words}");
                foreign.entry(word).or_insert_with(place);
            }
        }
    }
    assert!(foreign.is_empty(), "{foreign:#?}");
    // A sentence that was forgotten would be found, also of words that a fixture has, and inside a sentence in Japanese.
    for planted in ["The light was out.", "接続できません（The light was out）。"] {
        assert_eq!(foreign_words(planted), ["The", "light", "was", "out"]);
    }
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
            perplexity_reference: 1.2,
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
fn a_long_history_draws_only_visible_rows_with_the_latest_first() {
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
fn no_hint_mentions_start_while_a_sweep_runs() {
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
        assert_eq!(workbench.sweep.message, Some(RunMessage::Problem(problem)));
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

/// The baseline with this text beside the run of a prefix with that one, in a sweep over these P.
fn pair_among(lengths: &[usize], left: &str, right: &str) -> Workbench {
    let mut workbench = ready(Language::English);
    workbench.apply(Action::Sweep(SweepAction::SetLengths(lengths.to_vec())));
    workbench.apply(Action::Sweep(SweepAction::SetMagnitudes("1".to_owned())));
    let mut workbench = ended(workbench, |case| {
        Some(if case.recipe.is_some() { right } else { left }.to_owned())
    });
    let of_prefix = workbench.sweep.records().find(|record| !record.is_baseline());
    let id = of_prefix.map(|record| record.id.clone());
    workbench.apply(Action::Sweep(SweepAction::Select(id)));
    common::settle(&mut workbench, &|_| String::new());
    workbench
}

fn pair(left: &str, right: &str) -> Workbench {
    pair_among(&[1, 4], left, right)
}

/// How often a text is painted.
fn times_painted(harness: &Harness<'_, Shown>, words: &str) -> usize {
    let is_it = |shape: &&egui::Shape| matches!(shape, egui::Shape::Text(text) if text.galley.text() == words);
    common::stage::painted(harness).into_iter().filter(is_it).count()
}

#[test]
fn both_texts_of_a_pair_are_whole_at_the_smallest_size_of_the_window() {
    let harness = window(pair(common::BASELINE, common::PREFIXED));
    for (name, words) in [
        ("Baseline output", common::BASELINE),
        ("Prefixed output", common::PREFIXED),
    ] {
        let pane = harness.get_by_role_and_label(Role::Document, name).rect();
        let text = common::stage::painted(&harness)
            .into_iter()
            .find_map(|shape| match shape {
                egui::Shape::Text(text) if text.galley.text() == words => Some(text.visual_bounding_rect()),
                _ => None,
            });
        let text = text.unwrap();
        assert!(
            pane.contains_rect(text) && text.bottom() <= 800.0,
            "{name}: {text:?} in {pane:?}"
        );
        assert!(text.height() >= 3.0 * 25.0, "in letters that are read from near");
    }
}

#[test]
fn the_first_difference_of_a_pair_is_numbered_in_the_unit_of_the_comparison() {
    // The second letter of the left text is made of two code points, of which the right text has the first.
    let (composed, plain) = ("は\u{304b}\u{3099}き", "はかき");
    for (left, right, place, number) in [
        (common::BASELINE, common::PREFIXED, "character 19", "19"),
        (composed, plain, "character 2", "2"),
        (common::LONG_BASELINE, common::LONG_PREFIXED, "word 12", "12"),
    ] {
        let harness = window(pair(left, right));
        for name in ["Baseline output", "Prefixed output"] {
            let output = harness.get_by_role_and_label(Role::Document, name);
            let description = output.accesskit_node().description().unwrap();
            assert!(description.ends_with(&format!("Differs from {place}")), "{description}");
        }
        assert_eq!(times_painted(&harness, number), 2, "a flag in each pane");
        harness.get_by_label_contains(&format!("It differs from {place}"));
    }
    // The unit is changed by its key.
    let mut harness = window(pair(common::LONG_BASELINE, common::LONG_PREFIXED));
    harness.key_press(Key::G);
    harness.run_steps(2);
    common::settle(&mut harness.state_mut().workbench, &|_| String::new());
    harness.run_steps(2);
    assert_eq!((times_painted(&harness, "12"), times_painted(&harness, "59")), (0, 2));
}

#[test]
fn the_differences_of_a_pair_are_stepped_through_by_keys_and_its_texts_shown_alone() {
    let text = |other: bool| -> String {
        let letters = "春の花が咲く道を歩く朝".chars().cycle().enumerate().take(600);
        letters
            .map(|(at, letter)| if other && at % 40 == 30 { '冬' } else { letter })
            .collect()
    };
    let mut harness = window(pair(&text(false), &text(true)));
    let count = harness.state().workbench.difference().unwrap().1;
    let place = |harness: &Harness<'_, Shown>| harness.state().workbench.difference().unwrap().0;
    let height = |harness: &Harness<'_, Shown>| {
        let output = harness.get_by_role_and_label(Role::Document, "Prefixed output");
        output.rect().height()
    };
    for (modifiers, expected) in [
        (egui::Modifiers::NONE, 0),
        (egui::Modifiers::NONE, 1),
        (egui::Modifiers::SHIFT, 0),
        (egui::Modifiers::SHIFT, count - 1),
    ] {
        harness.key_press_modifiers(modifiers, Key::N);
        harness.run_steps(2);
        assert_eq!(place(&harness), Some(expected));
        harness.get_by_label(&format!("{} of {count}", expected + 1));
    }
    let before = height(&harness);
    let is_map = |harness: &Harness<'_, Shown>| harness.query_by_label("P 1, 1×: chrF2 36").is_some();
    harness.key_press(Key::T);
    harness.run_steps(3);
    assert!(height(&harness) > before && !is_map(&harness));
    harness.key_press(Key::T);
    harness.run_steps(3);
    assert_eq!(height(&harness), before);
}

#[test]
fn the_splitter_above_a_pair_is_moved_by_its_keys_and_stored() {
    // The map of so many P needs less room than it could have.
    let lengths = [1, 2, 3, 4, 6, 8, 12, 16];
    let mut harness = window(pair_among(&lengths, common::BASELINE, common::PREFIXED));
    let set = |harness: &Harness<'_, Shown>| harness.state().workbench.remembered().settings.pair_height;
    let height = |harness: &Harness<'_, Shown>| {
        let output = harness.get_by_role_and_label(Role::Document, "Prefixed output");
        output.rect().height()
    };
    let press = |harness: &mut Harness<'static, Shown>, key: Key| {
        harness
            .get_by_role_and_label(Role::Splitter, "Height of the outputs")
            .focus();
        harness.run_steps(2);
        harness.key_press(key);
        harness.run_steps(3);
    };
    assert_eq!(set(&harness), None);
    let before = height(&harness);
    // The texts are below it.
    press(&mut harness, Key::ArrowUp);
    let (large, stored) = (height(&harness), set(&harness).expect("the height"));
    press(&mut harness, Key::ArrowDown);
    press(&mut harness, Key::ArrowDown);
    let small = height(&harness);
    assert!(small < large && large >= before, "{small}, {before}, {large}");
    harness.state_mut().workbench.settings.pair_height = None;
    harness.run_steps(3);
    assert_eq!(height(&harness), before, "what the texts need");
    harness.state_mut().workbench.settings.pair_height = Some(stored);
    harness.run_steps(3);
    assert_eq!(height(&harness), large);
}

#[test]
fn a_sweep_over_several_prompts_plots_their_mean_with_its_spread() {
    for (language, mean, explanation) in [
        (Language::English, "Mean", "Mean over 2 prompts"),
        (Language::Japanese, "平均", "大きさごとの、プロンプト 2 件の平均"),
    ] {
        let mut harness = window(over_two_prompts(language));
        assert!(harness.query_by_label_contains(explanation).is_none());
        harness.get_by_label(mean).click();
        harness.run_steps(3);
        assert!(harness.query_by_label_contains(explanation).is_some());
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

#[test]
fn a_record_of_an_experiment_that_is_not_shown_is_not_analysed() {
    let mut workbench = running(Language::English, 3);
    let mut record = workbench.sweep.experiment().unwrap().records[1].clone();
    record.experiment = "elsewhere".to_owned();
    record.id = "elsewhere/1".to_owned();
    workbench.apply(Action::Sweep(SweepAction::Select(None)));
    run_event(&mut workbench, RunEvent::CaseFinished(Box::new(record)));
    assert!(workbench.sweep.point("elsewhere/1").is_none());
    assert_eq!(workbench.sweep.selected, None);
}

#[test]
fn a_running_experiment_stays_in_the_view_when_one_that_is_shown_with_it_is_deleted() {
    let mut workbench = ended(ready(Language::English), |_| None);
    let first = workbench.sweep.experiment().unwrap().clone();
    let id = first.experiment.id.clone();
    common::list(&mut workbench, vec![Summary::of(&first, Condition::default())]);
    workbench.apply(Action::Sweep(SweepAction::FindThreshold(1)));
    let search = Experiment {
        id: "search".to_owned(),
        ..first.experiment.clone()
    };
    run_event(&mut workbench, RunEvent::Started(Box::new(search)));
    assert_eq!(workbench.sweep.shown.len(), 2);

    let deleted = LibraryEvent::Appended(Box::new(Entry::Deleted { id }));
    workbench.absorb(Event::Library(Box::new(deleted)));
    let mut record = first.records[1].clone();
    record.experiment = "search".to_owned();
    record.id = "search/1".to_owned();
    run_event(&mut workbench, RunEvent::CaseFinished(Box::new(record)));
    let shown: Vec<&str> = workbench
        .sweep
        .shown
        .iter()
        .map(|saved| &*saved.experiment.id)
        .collect();
    assert_eq!(shown, ["search"]);
    assert!(workbench.sweep.point("search/1").is_some());
}

/// A sweep of raw values with P 1.
fn of_raw_values(values: &str) -> Workbench {
    let mut workbench = ready(Language::English);
    workbench.apply(Action::Sweep(SweepAction::SetUnit(MagnitudeUnit::Raw)));
    workbench.apply(Action::Sweep(SweepAction::SetMagnitudes(values.to_owned())));
    workbench.apply(Action::Sweep(SweepAction::SetLengths(vec![1])));
    workbench
}

#[test]
fn lines_of_values_above_and_below_0_are_solid_when_their_own_cases_have_run() {
    let workbench = ended(of_raw_values("-1, -0.5, -0.2, -0.1, 0.1, 0.2, 0.5, 1, 2"), |_| None);
    let saved = workbench.sweep.experiment().unwrap().clone();
    let solid_after = |removed: &[&str]| {
        let mut saved = saved.clone();
        saved
            .records
            .retain(|record| !removed.contains(&record.case.name.as_str()));
        let mut workbench = ready(Language::English);
        workbench.absorb(Event::Library(Box::new(LibraryEvent::Read(vec![saved]))));
        common::settle(&mut workbench, &|_| String::new());
        let harness = window(workbench);
        let solid = |shape: &egui::Shape| match shape {
            egui::Shape::Path(path) if !path.closed && path.stroke.width >= 1.5 => Some(path.points.len()),
            _ => None,
        };
        let lines = painted(&harness).into_iter().filter_map(solid);
        // Icons have lines of two and three points.
        let mut lines: Vec<usize> = lines.filter(|points| *points > 3).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(solid_after(&[]), [4, 5]);
    assert_eq!(solid_after(&["prefix_val_2.0"]), [4], "of those below 0");
}

#[test]
fn means_are_on_the_axis_that_is_written_where_one_module_does_not_know_its_vocabulary() {
    let mut workbench = of_raw_values("0.05, 0.1, 0.5");
    workbench.apply(Action::Sweep(SweepAction::AddPreset(2)));
    let plan = workbench.sweep_plan();
    let on = |address: &str, norms_per_raw: Option<f64>| {
        let experiment = Experiment {
            version: JOURNAL_VERSION,
            id: address.to_owned(),
            name: "Spring".to_owned(),
            started_unix: 0.0,
            plan: Some(plan.clone()),
            module: ModuleIdentity {
                address: address.to_owned(),
                ..common::facts().identity
            },
        };
        let mut saved = SavedExperiment::new(experiment.clone());
        saved.records = plan
            .cases()
            .unwrap()
            .iter()
            .map(|case| record(&experiment, case))
            .collect();
        for record in &mut saved.records {
            if let (1, CaseOutcome::Done(answer)) = (record.case.prompt, &mut record.outcome) {
                answer.text = common::BASELINE.to_owned();
            }
            if let Some(prefix) = &mut record.prefix {
                prefix.token_norms = prefix.token_norms.zip(norms_per_raw).map(|(raw, norms)| raw * norms);
            }
        }
        saved
    };
    let shown = vec![on("10.0.0.2:10001", Some(50.0)), on("10.0.0.3:10001", None)];
    workbench.absorb(Event::Library(Box::new(LibraryEvent::Read(shown))));
    common::settle(&mut workbench, &|_| String::new());
    workbench.apply(Action::Sweep(SweepAction::ShowPrompt(0)));
    let mut harness = window(workbench);
    harness.get_by_label("Mean").click();
    harness.run_steps(3);
    let bars = painted(&harness).into_iter().filter_map(|shape| match shape {
        egui::Shape::LineSegment { points: [a, b], stroke }
            if stroke.width == 1.0
                && a.x == b.x
                && (a.y - b.y).abs() > 40.0
                && stroke.color == softprefix::theme::DARK.text3 =>
        {
            Some(a.x.round() as i32)
        }
        _ => None,
    });
    let bars: Vec<i32> = bars.collect();
    let places: BTreeSet<i32> = bars.iter().copied().collect();
    assert_eq!(
        (bars.len(), places.len()),
        (6, 3),
        "both modules at the same three values: {bars:?}"
    );
}

#[test]
fn a_cell_with_repeats_is_a_loop_if_all_its_outputs_are_and_failed_if_there_is_none() {
    let texts = ["花が咲き".repeat(12), common::PREFIXED.to_owned()];
    let failure = SessionError::Client(ClientError::ConnectionLost {
        address: "127.0.0.1:10001".to_owned(),
        detail: "Broken pipe".to_owned(),
    });
    for (of_repeats, fails, label) in [
        ([0, 0], false, "P 1, 1×: repeats itself"),
        ([0, 1], false, "P 1, 1×: chrF2"),
        ([1, 0], false, "P 1, 1×: chrF2"),
        ([0, 0], true, "P 1, 1×: repeats itself"),
    ] {
        let mut workbench = ready(Language::English);
        workbench.apply(Action::Sweep(SweepAction::SetMagnitudes("0, 1".to_owned())));
        workbench.apply(Action::Sweep(SweepAction::SetLengths(vec![1])));
        workbench.apply(Action::Sweep(SweepAction::SetRepeats(2)));
        let mut workbench = ended(workbench, |case| {
            case.recipe.as_ref()?;
            Some(texts[of_repeats[case.repeat]].clone())
        });
        if fails {
            let mut record = failed_case(&workbench, &failure);
            let prefixed = workbench.sweep.records().filter(|record| !record.is_baseline());
            record.case = prefixed.last().unwrap().case.clone();
            run_event(&mut workbench, RunEvent::CaseFinished(Box::new(record)));
        }
        window(workbench).get_by_label_contains(label);
    }
}
