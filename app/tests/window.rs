//! The window by the names of its controls, as a screen reader and the keyboard meet it.

mod common;

use eframe::egui::accesskit::{Role, Toggled};
use eframe::egui::os::OperatingSystem;
use eframe::egui::{self, Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use softprefix::errors;
use softprefix::messages::{
    DoctorRequest, Event, ExternalEvent, ExternalRequest, FindEvent, FindRequest, FindWork, Inference, LibraryRequest,
    Request,
};
use softprefix::model::{
    ExternalCommand, FetchProgress, FindMode, Format, FoundPrefix, Language, LoadStage, Mapped, Mapping, ModuleState,
    Problem, ProblemKind, Received, SearchUnavailable, Target, Theme, Unavailable,
};
use softprefix::text::{StepsText, Text};
use softprefix::workbench::doctor::DoctorAction;
use softprefix::workbench::find::FindStage;
use softprefix::workbench::{
    Action, Dialog, Effect, ExhibitionAction, ExternalAction, FindAction, PlaybackAction, Tab, Workbench,
};
use softprefix_core::compare::{Granularity, Measure};
use softprefix_core::experiment::RunEnd;
use softprefix_core::prefix::Magnitude;
use softprefix_core::protocol::extension::{StoredWeights, WeightRounding};
use softprefix_core::protocol::learn::{LearnEnd, LearnFrame};

use common::stage::{Stage, enter, sized, type_over, window};

fn ready() -> Workbench {
    common::ready(Language::English, Theme::Dark)
}

fn tuned() -> Workbench {
    common::tuned(Language::English, Theme::Dark)
}

#[test]
fn the_slider_has_a_name_a_value_and_moves_by_its_keys() {
    let mut harness = window(ready());
    let before = harness.state().workbench.prefix.magnitude;
    harness.get_by_role_and_label(Role::Slider, "Magnitude").focus();
    harness.run_steps(2);
    harness.key_press(Key::ArrowRight);
    harness.run_steps(2);
    let after = harness.state().workbench.prefix.magnitude;
    assert!((after / before - 1.02).abs() < 1e-9, "{before} became {after}");
    harness.key_press_modifiers(Modifiers::SHIFT, Key::ArrowLeft);
    harness.run_steps(2);
    let back = harness.state().workbench.prefix.magnitude;
    assert!((after / back - 1.2).abs() < 0.01, "{after} became {back}");
    harness.key_press(Key::Home);
    harness.run_steps(2);
    assert_eq!(harness.state().workbench.prefix.magnitude, 0.0);
    let slider = harness.get_by_role_and_label(Role::Slider, "Magnitude");
    assert_eq!(slider.accesskit_node().numeric_value(), Some(0.0));
}

#[test]
fn keys_with_ctrl_or_alt_are_not_the_sliders_and_ctrl_equals_zooms_in() {
    let mut harness = window(ready());
    harness.get_by_role_and_label(Role::Slider, "Magnitude").focus();
    harness.run_steps(2);
    let before = harness.state().workbench.prefix.magnitude;
    for modifiers in [Modifiers::COMMAND, Modifiers::CTRL, Modifiers::ALT] {
        for key in [Key::Equals, Key::ArrowRight, Key::PageUp, Key::Home, Key::End] {
            harness.key_press_modifiers(modifiers, key);
            harness.run_steps(2);
            let after = harness.state().workbench.prefix.magnitude;
            assert_eq!(after, before, "{modifiers:?} {key:?}");
        }
    }
    assert!(harness.state().done.contains(&Action::ZoomIn));
}

#[test]
fn a_value_from_a_screen_reader_that_is_no_number_changes_nothing() {
    let mut harness = window(ready());
    let before = harness.state().workbench.prefix.magnitude;
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let slider = harness.get_by_role_and_label(Role::Slider, "Magnitude");
        slider.set_value_accesskit(value);
        harness.run_steps(2);
        assert_eq!(harness.state().workbench.prefix.magnitude, before);
    }
    let slider = harness.get_by_role_and_label(Role::Slider, "Magnitude");
    slider.set_value_accesskit(0.5);
    harness.run_steps(2);
    assert_eq!(harness.state().workbench.prefix.magnitude, 0.5);
}

#[test]
fn typed_text_runs_when_the_keys_follow_immediately() {
    let mut workbench = ready();
    workbench.apply(Action::SetPrompt(String::new()));
    workbench.take_requests();
    let mut harness = window(workbench);
    harness.get_by_label("Prompt").focus();
    harness.run_steps(2);
    // Both in one frame, as they come from fast fingers or a slow machine.
    harness.get_by_label("Prompt").type_text("春について");
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
    harness.run_steps(1);
    let requests = harness.state_mut().workbench.take_requests();
    let prompts: Vec<&str> = requests
        .iter()
        .filter_map(|request| match request {
            Request::Infer(inference) => Some(inference.input.prompt.user.as_str()),
            _ => None,
        })
        .collect();
    assert!(
        !prompts.is_empty() && prompts.iter().all(|prompt| *prompt == "春について"),
        "{prompts:?}"
    );
}

#[test]
fn the_magnitude_can_be_typed_also_in_full_width_characters() {
    for typed in ["2.9", "2,9", "２．９×"] {
        let mut harness = window(ready());
        harness.get_by_label("Type the magnitude").focus();
        harness.run_steps(2);
        harness.get_by_label("Type the magnitude").type_text(typed);
        harness.run_steps(2);
        harness.key_press(Key::Enter);
        harness.run_steps(3);
        assert_eq!(harness.state().workbench.prefix.magnitude, 2.9, "{typed}");
    }
}

#[test]
fn text_that_is_not_a_number_is_refused_with_a_reason() {
    let mut harness = window(ready());
    harness.get_by_label("Type P").focus();
    harness.run_steps(2);
    harness.get_by_label("Type P").type_text("many");
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert_eq!(harness.state().workbench.prefix.len, 4);
    assert!(
        harness
            .query_by_label_contains("is not valid here. Type a whole number of at least 1.")
            .is_some()
    );
}

#[test]
fn plus_is_a_small_step_of_the_slider_with_or_without_shift() {
    let mut harness = window(ready());
    harness.get_by_role_and_label(Role::Slider, "Magnitude").focus();
    harness.run_steps(2);
    harness.key_press_modifiers(Modifiers::SHIFT, Key::Plus);
    harness.run_steps(2);
    assert_eq!(harness.state().done.last(), Some(&Action::ScaleMagnitude(1.02)));
    harness.key_press_modifiers(Modifiers::SHIFT, Key::ArrowRight);
    harness.run_steps(2);
    assert_eq!(harness.state().done.last(), Some(&Action::ScaleMagnitude(1.2)));
}

#[test]
fn minus_and_plus_are_steps_of_two_percent() {
    let mut harness = window(ready());
    harness.get_by_label("More").click();
    harness.run_steps(2);
    assert_eq!(harness.state().done.last(), Some(&Action::ScaleMagnitude(1.02)));
    harness.get_by_label("Less").click();
    harness.run_steps(2);
    assert!((harness.state().workbench.prefix.magnitude - 1.0).abs() < 1e-9);
}

#[test]
fn a_heading_opens_with_what_is_below_it_in_the_same_frame() {
    let mut harness = window(ready());
    let heading = |harness: &Harness<'_, Stage>| {
        let heading = harness.get_by_role_and_label(Role::DisclosureTriangle, "Advanced");
        heading.accesskit_node().toggled() == Some(Toggled::True)
    };
    harness
        .get_by_role_and_label(Role::DisclosureTriangle, "Advanced")
        .click();
    let opens = (0..10).any(|_| {
        harness.step();
        heading(&harness)
    });
    assert!(opens);
    assert!(harness.query_all_by_label("Rounding").next().is_some());
    assert_eq!(harness.state().done.last(), Some(&Action::SetAdvanced(true)));
}

#[test]
fn run_becomes_stop_while_text_arrives() {
    let mut harness = window(ready());
    harness.get_by_label("Run").click();
    harness.run_steps(2);
    assert_eq!(harness.state().done.last(), Some(&Action::Run));
    assert!(harness.state().workbench.is_running());
    harness.get_by_label("Stop").click();
    harness.run_steps(2);
    assert_eq!(harness.state().done.last(), Some(&Action::Stop));
}

#[test]
fn enter_in_the_prompt_makes_a_new_line_and_never_sends_it() {
    let mut harness = window(ready());
    harness.get_by_label("Prompt").focus();
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    harness.run_steps(2);
    assert!(harness.state().workbench.prompt.user.contains('\n'));
    assert!(!harness.state().done.contains(&Action::Run));
}

#[test]
fn the_enter_that_ends_a_composition_sends_nothing_and_keeps_the_composed_text() {
    let mut harness = window(ready());
    harness.state_mut().workbench.apply(Action::SetPrompt(String::new()));
    harness.get_by_label("Prompt").focus();
    harness.run_steps(2);
    harness.event(egui::Event::Ime(egui::ImeEvent::Preedit {
        text: "はる".to_owned(),
        active_range_chars: None,
    }));
    harness.run_steps(1);
    harness.event(egui::Event::Ime(egui::ImeEvent::Commit("春".to_owned())));
    harness.run_steps(2);
    assert_eq!(harness.state().workbench.prompt.user, "春");
    assert!(!harness.state().done.contains(&Action::Run));
}

#[test]
fn run_is_off_with_a_reason_while_no_module_is_there() {
    let harness = window(common::empty(Language::English, Theme::Dark));
    assert!(harness.get_by_label("Run").accesskit_node().is_disabled());
    assert!(
        harness
            .query_all_by_label_contains("No module is connected")
            .next()
            .is_some()
    );
}

#[test]
fn a_lost_module_is_reported_with_a_remedy_and_a_reconnect_button() {
    let mut workbench = tuned();
    workbench.absorb(Event::Lost(Problem::new(
        ProblemKind::Connection,
        "It is gone.",
        "Start it again.",
    )));
    let mut harness = window(workbench);
    for words in ["not connected", "It is gone.", "Start it again."] {
        assert!(harness.query_by_label(words).is_some(), "{words}");
    }
    harness.get_by_label("Reconnect").click();
    harness.run_steps(2);
    assert_eq!(harness.state().done, [Action::Reconnect]);
}

#[test]
fn a_download_shows_its_progress_and_can_be_cancelled() {
    let mut workbench = common::empty(Language::English, Theme::Dark);
    workbench.absorb(Event::Fetching(FetchProgress {
        name: "qwen2.5-0.5b-instruct".to_owned(),
        model: "qwen".to_owned(),
        source: "models.example".to_owned(),
        done_bytes: 120_000_000,
        total_bytes: Some(400_000_000),
        what: "fetching".to_owned(),
    }));
    let mut harness = window(workbench);
    let bar = harness.get_by_role(Role::ProgressIndicator);
    assert_eq!(
        bar.accesskit_node().numeric_value().map(|value| value.round()),
        Some(30.0)
    );
    assert!(
        harness
            .query_all_by_label_contains("120 MB of 400 MB from models.example")
            .next()
            .is_some()
    );
    harness.get_by_label("Cancel").click();
    harness.run_steps(2);
    assert_eq!(harness.state().done, [Action::CancelFetch]);
}

#[test]
fn the_card_describes_the_conversion_of_weights_in_both_languages() {
    let stored = |kind: &str, count, how| StoredWeights {
        count,
        how,
        kind: kind.to_owned(),
    };
    for (language, words, tip) in [
        (
            Language::English,
            "weights: 145 matrices exact, 24 rounded",
            "12 Q4_K with their scales rounded to f16",
        ),
        (
            Language::Japanese,
            "重み行列: そのまま 145、丸めあり 24",
            "Q6_K 12 個（8 ビットに丸め）",
        ),
    ] {
        let mut workbench = common::ready(language, Theme::Dark);
        assert!(
            window(common::ready(language, Theme::Dark))
                .query_by_label(words)
                .is_none()
        );
        let mut facts = common::facts();
        facts.identity.weights = vec![
            stored("Q5_0", 132, WeightRounding::Exact),
            stored("Q8_0", 13, WeightRounding::Exact),
            stored("Q4_K", 12, WeightRounding::ScalesRounded),
            stored("Q6_K", 12, WeightRounding::Rounded),
        ];
        workbench.absorb(Event::Ready(Box::new(facts), None));
        let mut harness = window(workbench);
        harness.get_by_label(words).hover();
        harness.run_steps(8);
        assert!(harness.query_by_label_contains(tip).is_some(), "{tip}");
    }
}

#[test]
fn without_a_model_the_default_one_is_offered_with_its_size() {
    let mut workbench = common::empty(Language::English, Theme::Dark);
    workbench.absorb(Event::Models(common::models()));
    workbench.absorb(Event::NoModel(None));
    let mut harness = window(workbench);
    harness.get_by_label("Download qwen2.5-0.5b-instruct, 491 MB").click();
    harness.run_steps(2);
    // As on a first start: with the small model in the meantime.
    assert_eq!(harness.state().done, [Action::Connect(Target::default())]);
}

#[test]
fn left_over_tasks_are_listed_and_only_exited_when_the_person_agrees() {
    let mut workbench = common::empty(Language::English, Theme::Dark);
    workbench.absorb(Event::TaskFull {
        tasks: vec!["llm.1000".to_owned(), "llm.1001".to_owned()],
    });
    let mut harness = window(workbench);
    assert_eq!(harness.state().workbench.dialog, Some(Dialog::LeftOverTasks));
    assert!(harness.query_by_label("llm.1001").is_some());
    assert!(harness.state().done.is_empty());
    harness.get_by_label("Exit 2 tasks and connect").click();
    harness.run_steps(2);
    assert_eq!(harness.state().done, [Action::ExitLeftOverTasks]);
}

#[test]
fn an_address_is_parsed_and_an_invalid_one_is_reported() {
    let mut workbench = ready();
    workbench.apply(Action::ShowDialog(Dialog::Connect));
    let mut harness = window(workbench);
    harness.get_by_label("Host and port").focus();
    harness.run_steps(2);
    harness.get_by_label("Host and port").type_text("not an address");
    harness.run_steps(2);
    harness
        .get_by_role_and_label(Role::Button, "Module at an address")
        .click();
    harness.run_steps(2);
    assert!(harness.query_by_label_contains("That is not an address").is_some());
    harness.get_by_label("Host and port").focus();
    harness.key_press_modifiers(Modifiers::COMMAND, Key::A);
    harness.run_steps(2);
    harness.get_by_label("Host and port").type_text("10.0.0.7");
    harness.run_steps(2);
    harness
        .get_by_role_and_label(Role::Button, "Module at an address")
        .click();
    harness.run_steps(2);
    let target = Target::Remote {
        address: "10.0.0.7:10001".to_owned(),
        model: None,
    };
    assert!(harness.state().done.contains(&Action::Connect(target)));
}

#[test]
fn where_the_system_shows_no_dialog_for_files_a_path_is_typed_and_no_file_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old.csv"), folder.path().join("new.csv"));
    std::fs::write(&old, "of the person").unwrap();
    let mut workbench = tuned();
    workbench.apply(Action::Export(Format::Csv));
    let question = workbench.take_effects().into_iter().find_map(|effect| match effect {
        Effect::Ask(question) => Some(question),
        _ => None,
    });
    workbench.absorb(Event::NotAsked(question.unwrap()));
    let mut harness = window(workbench);
    assert!(harness.query_by_label_contains("has no file dialog").is_some());
    let mut answer = |path: &std::path::Path| {
        harness.get_by_label("Path").focus();
        harness.key_press_modifiers(Modifiers::COMMAND, Key::A);
        harness.run_steps(2);
        harness.get_by_label("Path").type_text(&path.to_string_lossy());
        harness.run_steps(2);
        harness.get_by_label("Use this path").click();
        harness.run_steps(2);
        let is_taken = harness
            .query_by_label_contains("A file of this name exists already")
            .is_some();
        (is_taken, harness.state().done.clone())
    };
    assert_eq!(answer(&old), (true, vec![]));
    assert_eq!(answer(&new), (false, vec![Action::AnswerPath(new.clone())]));
    let requests = harness.state_mut().workbench.take_requests();
    let is_written = |request: &Request| match request {
        Request::Library(LibraryRequest::Export { path, .. }) => *path == new,
        _ => false,
    };
    assert!(requests.iter().any(is_written), "{requests:?}");
    assert!(harness.state().workbench.dialog.is_none());
    assert_eq!(std::fs::read(&old).unwrap(), b"of the person");
}

#[test]
fn assistive_technology_gets_the_outputs_with_their_first_difference() {
    let harness = window(tuned());
    let output = harness.get_by_role_and_label(Role::Document, "Prefixed output");
    assert_eq!(output.accesskit_node().value().as_deref(), Some(common::PREFIXED));
    assert_eq!(
        output.accesskit_node().description().as_deref(),
        Some("Differs from character 19")
    );
}

#[test]
fn a_measure_chosen_from_the_menu_gets_a_chip() {
    let mut harness = window(tuned());
    harness.get_by_role_and_label(Role::Button, "Measure").click();
    harness.run_steps(3);
    harness.get_by_label_contains("distinct-4").click();
    harness.run_steps(3);
    assert_eq!(harness.state().workbench.measure, Measure::Distinct4);
    let mut chips = harness.query_all_by_role(Role::RadioButton);
    let is_it = |label: String| label.starts_with("distinct-4");
    assert!(chips.any(|chip| chip.accesskit_node().label().is_some_and(is_it)));
}

#[test]
fn the_unit_of_comparison_is_chosen_from_its_menu() {
    let mut harness = window(tuned());
    harness.get_by_label("Compare by").click();
    harness.run_steps(3);
    harness.get_by_label("by word").click();
    harness.run_steps(3);
    assert_eq!(harness.state().workbench.granularity, Granularity::Word);
}

#[test]
fn a_point_of_the_plot_is_reached_by_keys_and_opens_its_run() {
    let mut harness = window(tuned());
    harness
        .get_by_role_and_label(Role::Figure, "Similarity over magnitude")
        .focus();
    harness.run_steps(2);
    harness.key_press(Key::ArrowRight);
    harness.run_steps(2);
    assert!(matches!(harness.state().done.last(), Some(Action::SelectRun(Some(_)))));
    assert!(harness.query_by_label("Use its settings").is_some());
    harness.get_by_label("Back to the last run").click();
    harness.run_steps(2);
    assert_eq!(harness.state().workbench.tuning.selected_record, None);
}

#[test]
fn the_help_sheet_names_every_command() {
    let mut workbench = ready();
    workbench.apply(Action::ShowDialog(Dialog::Help));
    let harness = sized(workbench, [1280.0, 1100.0]);
    let text = Text::of(Language::English);
    for command in softprefix::commands::COMMANDS {
        let label = (text.command)(command.id);
        assert!(harness.query_all_by_label(label).next().is_some(), "{label}");
    }
}

#[test]
fn language_and_theme_are_chosen_in_the_settings() {
    let mut harness = window(ready());
    harness.get_by_label("Settings").click();
    harness.run_steps(3);
    harness.get_by_label("日本語").click();
    harness.run_steps(3);
    assert_eq!(harness.state().workbench.settings.language, Language::Japanese);
    assert!(harness.query_by_label("外観").is_some());
}

#[test]
fn every_state_of_the_module_is_shown_in_both_languages_at_every_size() {
    // Controls without a name, glyphs that no face has and clashing ids make the harness fail.
    for language in Language::ALL {
        for size in [[1280.0, 800.0], [853.0, 533.0], [1024.0, 680.0]] {
            let with = |event: Option<Event>| {
                let mut workbench = common::tuned(language, Theme::Light);
                if let Some(event) = event {
                    workbench.absorb(event);
                }
                sized(workbench, size);
            };
            let problem = || Problem::new(ProblemKind::Model, "A model file is broken.", "Fetch it again.");
            with(None);
            with(Some(Event::Lost(problem())));
            with(Some(Event::NoModel(Some(problem()))));
            with(Some(Event::NoModel(None)));
            with(Some(Event::FileProblem(problem())));
            with(Some(Event::Connecting(softprefix::model::ConnectStep::SettingUp)));
            let mut workbench = common::empty(language, Theme::Dark);
            workbench.module = ModuleState::Loading {
                model: "qwen".to_owned(),
                fraction: 0.4,
                stage: LoadStage::Weights,
            };
            sized(workbench, size);
            for dialog in [
                Dialog::Help,
                Dialog::Connect,
                Dialog::Models,
                Dialog::About,
                Dialog::External,
            ] {
                let mut workbench = common::tuned(language, Theme::Dark);
                workbench.apply(Action::ShowDialog(dialog));
                sized(workbench, size);
            }
        }
    }
}

#[test]
fn the_sheet_for_osc_opens_from_the_settings_maps_ranges_and_shows_the_last_values() {
    let mut harness = window(ready());
    harness.get_by_label("Settings").click();
    harness.run_steps(3);
    harness.get_by_label("Control by OSC…").click();
    harness.run_steps(3);
    assert_eq!(harness.state().workbench.dialog, Some(Dialog::External));
    enter(&mut harness, "Send outputs to", "nowhere");
    assert!(harness.query_by_label_contains("Write HOST:PORT").is_some());
    enter(&mut harness, "Send outputs to", "57120");
    assert!(harness.query_by_label_contains("Write HOST:PORT").is_none());
    harness.get_by_role_and_label(Role::Switch, "Receive and send").click();
    harness.run_steps(3);
    let workbench = &mut harness.state_mut().workbench;
    let open = workbench.take_requests().into_iter().find_map(|request| match request {
        Request::External(ExternalRequest::Open { listen, send_to }) => Some((listen, send_to)),
        _ => None,
    });
    let (listen, send_to) = open.unwrap();
    assert_eq!(listen.unwrap().to_string(), "127.0.0.1:9000");
    assert_eq!(send_to.unwrap().to_string(), "127.0.0.1:57120");
    workbench.absorb(Event::External(Box::new(ExternalEvent::Opened {
        listen: Some("127.0.0.1:9000".parse().unwrap()),
        send_to: Some("127.0.0.1:57120".parse().unwrap()),
    })));
    harness.run_steps(2);
    assert!(harness.query_by_label_contains("Listening on 127.0.0.1:9000").is_some());

    harness.get_by_role_and_label(Role::Switch, "/magnitude").click();
    harness.run_steps(2);
    enter(&mut harness, "/magnitude: received, to", "127");
    enter(&mut harness, "/magnitude: becomes, to", "2");
    let mut received = Received::default();
    for line in [r#"{"magnitude":63.5,"seed":7}"#, r#"{"row/9":0.5}"#, r#"{"volume":1}"#] {
        received.add(ExternalCommand::parse_line(line));
    }
    let event = ExternalEvent::Received(received);
    harness.state_mut().workbench.absorb(Event::External(Box::new(event)));
    harness.run_steps(2);
    assert_eq!(harness.state().workbench.prefix.magnitude, 1.0);
    for shown in [
        "63.5 → 1",
        "row 9 is beyond P = 4",
        "3 packets, 1 refused",
        "The last one was refused: volume is unknown",
        "/seed 7",
    ] {
        assert!(harness.query_by_label_contains(shown).is_some(), "{shown}");
    }
    harness.get_by_role_and_label(Role::Switch, "Receive and send").click();
    harness.run_steps(2);
    let requests = harness.state_mut().workbench.take_requests();
    assert!(requests.contains(&Request::External(ExternalRequest::Close)));
}

#[test]
fn an_address_beyond_loopback_is_used_with_a_sentence_that_says_what_it_opens() {
    for (language, sentence) in [
        (
            Language::English,
            "Anybody who can reach 0.0.0.0:9000 can move the prefix",
        ),
        (Language::Japanese, "0.0.0.0:9000 に届く人なら誰でも"),
    ] {
        let mut workbench = common::ready(language, Theme::Dark);
        workbench.apply(Action::ShowDialog(Dialog::External));
        let mut harness = window(workbench);
        assert!(harness.query_by_label_contains(sentence).is_none());
        let listen = ExternalAction::SetListen("0.0.0.0:9000".to_owned());
        harness.state_mut().workbench.apply(Action::External(listen));
        harness.run_steps(2);
        assert!(harness.query_by_label_contains(sentence).is_some());
    }
}

#[test]
fn off_is_the_state_at_the_start_and_only_the_addresses_and_mappings_are_stored() {
    let mut workbench = ready();
    let mapping = Mapping {
        on: true,
        from: [0.0, 127.0],
        to: [0.0, 2.0],
    };
    workbench.apply(Action::External(ExternalAction::SetMapping(Mapped::Row, mapping)));
    workbench.apply(Action::External(ExternalAction::Open));
    assert!(workbench.external.is_on());
    let stored = serde_json::to_string(&workbench.remembered()).unwrap();
    let again = Workbench::new(serde_json::from_str(&stored).unwrap());
    assert!(!again.external.is_on());
    assert_eq!(again.settings.external.row, mapping);
}

#[test]
fn the_length_p_moves_by_the_keys_of_its_slider() {
    let mut harness = window(ready());
    let before = harness.state().workbench.prefix.len;
    harness.get_by_role_and_label(Role::Slider, "Vectors P").focus();
    harness.run_steps(2);
    harness.key_press(Key::ArrowRight);
    harness.run_steps(2);
    assert_eq!(harness.state().workbench.prefix.len, before + 1);
    harness.key_press(Key::Home);
    harness.run_steps(2);
    assert_eq!(harness.state().workbench.prefix.len, 1);
}

#[test]
fn keys_open_the_help_begin_a_session_record_present_and_exhibit() {
    let pressed = |modifiers: Modifiers, key: Key| {
        let mut harness = window(tuned());
        harness.key_press_modifiers(modifiers, key);
        harness.run_steps(2);
        std::mem::take(&mut harness.state_mut().done)
    };
    assert!(pressed(Modifiers::COMMAND, Key::N).contains(&Action::NewSession));
    assert!(pressed(Modifiers::COMMAND | Modifiers::SHIFT, Key::R).contains(&Action::ToggleRecording));
    assert!(pressed(Modifiers::NONE, Key::F5).contains(&Action::Present(true)));
    assert!(pressed(Modifiers::NONE, Key::F6).contains(&Action::Exhibit(ExhibitionAction::Toggle)));
    assert!(pressed(Modifiers::NONE, Key::Questionmark).contains(&Action::ShowDialog(Dialog::Help)));

    let mut harness = window(tuned());
    harness.key_press(Key::F5);
    harness.run_steps(2);
    assert!(harness.state().workbench.presenting);
    harness.key_press(Key::Escape);
    harness.run_steps(2);
    assert!(!harness.state().workbench.presenting, "Esc ends the large view");
}

#[test]
fn a_key_changes_the_theme() {
    let mut harness = window(ready());
    let mut seen = vec![harness.state().workbench.settings.theme];
    for _ in 0..3 {
        harness.key_press_modifiers(Modifiers::COMMAND, Key::D);
        harness.run_steps(2);
        seen.push(harness.state().workbench.settings.theme);
    }
    for theme in [Theme::Dark, Theme::Light, Theme::System] {
        assert!(seen.contains(&theme), "{seen:?}");
    }
    assert_eq!(seen[0], seen[3]);
}

#[test]
fn find_explains_its_empty_view_and_why_learning_cannot_start() {
    for (language, why, hint) in [
        (
            Language::English,
            "Write the output that you want, at least one word.",
            "The loss appears here while rows are learned.",
        ),
        (
            Language::Japanese,
            "欲しい出力を 1 語以上書いてください。",
            "学習中の損失がここに表示されます。",
        ),
    ] {
        let harness = window(common::find::empty(language, Theme::Dark));
        harness.get_by_label(why);
        harness.get_by_label(hint);
    }
    let mut workbench = common::find::empty(Language::English, Theme::Dark);
    workbench.apply(Action::Find(FindAction::SetTarget("the sea".into())));
    let mut harness = window(workbench);
    harness.get_by_role_and_label(Role::Button, "Learn").click();
    harness.run_steps(2);
    let requests = harness.state_mut().workbench.take_requests();
    let works = requests.iter().filter_map(|request| match request {
        Request::Find(FindRequest::Start { work, .. }) => Some(work),
        _ => None,
    });
    assert!(works.into_iter().any(|work| matches!(work, FindWork::Learn { .. })));
}

#[test]
fn keys_of_tune_do_nothing_while_find_is_shown() {
    for mode in FindMode::ALL {
        let mut workbench = ready();
        workbench.apply(Action::ShowTab(Tab::Find));
        workbench.apply(Action::Find(FindAction::SetMode(mode)));
        workbench.apply(Action::SetMagnitude(2.9));
        workbench.take_requests();
        let mut harness = window(workbench);
        let before = (
            harness.state().workbench.prefix.clone(),
            harness.state().workbench.runs_shown,
        );
        for key in [Key::Num0, Key::Num1, Key::P, Key::R, Key::S, Key::M, Key::CloseBracket] {
            harness.key_press(key);
            harness.run_steps(2);
        }
        let workbench = &harness.state().workbench;
        assert_eq!((workbench.prefix.clone(), workbench.runs_shown), before, "{mode:?}");
    }
}

#[test]
fn in_the_presenter_over_find_the_key_of_run_runs_what_tune_shows() {
    for (mode, runs) in [(FindMode::Learn, true), (FindMode::Choose, false)] {
        let mut workbench = ready();
        workbench.apply(Action::ShowTab(Tab::Find));
        workbench.apply(Action::Find(FindAction::SetMode(mode)));
        workbench.apply(Action::Present(true));
        let mut harness = window(workbench);
        harness.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
        harness.run_steps(2);
        let done = std::mem::take(&mut harness.state_mut().done);
        assert_eq!(done.contains(&Action::Run), runs, "{mode:?}: {done:?}");
    }
}

#[test]
fn the_key_of_run_checks_in_the_doctor_and_runs_nothing() {
    let mut workbench = ready();
    workbench.apply(Action::ShowTab(Tab::Doctor));
    workbench.take_requests();
    let mut harness = window(workbench);
    let press = |harness: &mut Harness<'static, Stage>| {
        harness.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
        harness.run_steps(2);
        harness.state_mut().workbench.take_requests()
    };
    assert_eq!(press(&mut harness), [], "there is no host");
    let host = DoctorAction::SetHost("root@m5".to_owned());
    harness.state_mut().workbench.apply(Action::Doctor(host));
    let requests = press(&mut harness);
    assert!(
        matches!(&requests[..], [Request::Doctor(DoctorRequest::Check { host, .. })] if host == "root@m5"),
        "{requests:?}"
    );
    assert_eq!(press(&mut harness), [], "it is being checked");
}

#[test]
fn in_the_presenter_the_key_of_stop_stops_a_run_and_else_what_is_being_learned_or_searched() {
    let works = [
        common::find::learning(Language::English, Theme::Dark, None),
        common::find::searched(Language::English, Theme::Dark, None),
    ];
    for mut workbench in works {
        let mode = workbench.find.mode;
        // Whatever is chosen below the Presenter.
        workbench.apply(Action::Find(FindAction::SetMode(FindMode::Choose)));
        workbench.apply(Action::ShowTab(Tab::Tune));
        workbench.apply(Action::Run);
        let requests = workbench.take_requests();
        workbench.apply(Action::Present(true));
        let mut harness = window(workbench);
        let stopped = |harness: &mut egui_kittest::Harness<'_, common::stage::Stage>| {
            harness.key_press_modifiers(Modifiers::COMMAND, Key::Period);
            harness.run_steps(2);
            std::mem::take(&mut harness.state_mut().done)
        };
        assert!(stopped(&mut harness).contains(&Action::Stop));
        for request in requests {
            if let Request::Infer(inference) = request {
                let Inference { run, kind, .. } = *inference;
                harness.state_mut().workbench.absorb(Event::Dropped { run, kind });
            }
        }
        assert!(stopped(&mut harness).contains(&Action::Find(FindAction::Stop)));
        let workbench = &mut harness.state_mut().workbench;
        workbench.apply(Action::Find(FindAction::SetMode(mode)));
        assert_eq!(workbench.find.stage(), Some(FindStage::Stopping));
    }
}

#[test]
fn the_end_of_replaced_candidates_does_not_end_the_next_ones() {
    let mut workbench = common::find::choosing(Language::English, Theme::Dark);
    workbench.take_requests();
    let ended = |number| Event::Find(Box::new(FindEvent::Ended { number, problem: None }));
    // The end of the work that showed these candidates is under way when the user chooses one.
    workbench.apply(Action::Find(FindAction::Pick(1)));
    let started = workbench.take_requests().into_iter().find_map(|request| match request {
        Request::Find(FindRequest::Start { number, .. }) => Some(number),
        _ => None,
    });
    let started = started.unwrap();
    workbench.absorb(ended(started - 1));
    assert!(workbench.find.is_busy(), "the next generation is still run");
    workbench.absorb(ended(started));
    assert!(!workbench.find.is_busy());
}

#[test]
fn digits_choose_among_candidates_and_in_the_presenter_too() {
    for presenting in [false, true] {
        let mut workbench = common::find::choosing(Language::English, Theme::Dark);
        workbench.apply(Action::Present(presenting));
        workbench.take_requests();
        let mut harness = window(workbench);
        let picked = |harness: &mut egui_kittest::Harness<'_, common::stage::Stage>, key| {
            harness.key_press(key);
            harness.run_steps(2);
            let requests = harness.state_mut().workbench.take_requests();
            requests.into_iter().find_map(|request| match request {
                Request::Find(FindRequest::Start {
                    work: FindWork::ChooseNext { generation, .. },
                    ..
                }) => generation.best(),
                _ => None,
            })
        };
        assert_eq!(picked(&mut harness, Key::Num4), None, "it still streams");
        assert_eq!(picked(&mut harness, Key::Num2), Some(1));
        assert_eq!(picked(&mut harness, Key::Num1), Some(0));
        let magnitude = harness.state().workbench.prefix.magnitude;
        assert_eq!(
            magnitude,
            ready().prefix.magnitude,
            "the key of 1x is that of the first candidate here"
        );
    }
}

#[test]
fn the_button_beside_the_notice_restores_the_runs_that_were_removed() {
    for language in Language::ALL {
        let mut workbench = common::tuned(language, Theme::Dark);
        let points = workbench.tuning.points().count();
        assert!(points > 1);
        workbench.apply(Action::ClearRuns);
        assert_eq!(workbench.tuning.points().count(), 0);
        let mut harness = window(workbench);
        let words = (Text::of(language).removed_runs)(points);
        assert!(harness.query_by_label(&words).is_some(), "{words}");
        let undo = softprefix::text::SweepText::of(language).undo;
        harness.get_by_role_and_label(Role::Button, undo).click();
        harness.run_steps(2);
        assert_eq!(harness.state().workbench.tuning.points().count(), points);
        assert!(harness.query_by_label(&words).is_none());
    }
}

#[test]
fn candidates_of_another_model_are_not_chosen_and_the_window_says_why() {
    for language in Language::ALL {
        let mut workbench = common::find::choosing(language, Theme::Dark);
        assert_eq!(workbench.why_not_choose(), None);
        let facts = workbench.module.facts().unwrap();
        let mut another = facts.clone();
        let of = std::mem::replace(&mut another.identity.model, "another".to_owned());
        let vocabulary = workbench.vocabulary.clone();
        workbench.absorb(Event::Ready(Box::new(another), vocabulary));
        workbench.take_requests();
        let mut harness = window(workbench);
        harness.key_press(Key::Num2);
        harness.key_press(Key::Backspace);
        harness.run_steps(2);
        let requests = harness.state_mut().workbench.take_requests();
        let is_find = |request: &Request| matches!(request, Request::Find(_));
        assert!(!requests.iter().any(is_find), "{requests:?}");
        let off = SearchUnavailable::OtherModel(of);
        let why = (softprefix::text::FindText::of(language).search_unavailable)(&off);
        assert!(harness.query_by_label(&why).is_some(), "{why}");
    }
}

#[test]
fn every_key_of_find_acts_in_the_mode_that_it_belongs_to() {
    use common::find::{choosing, empty, learning, searched};
    type Mode = fn() -> Workbench;
    const ENGLISH: Language = Language::English;
    let untouched: Mode = || empty(ENGLISH, Theme::Dark);
    let to_learn: Mode = || {
        let mut workbench = empty(ENGLISH, Theme::Dark);
        workbench.apply(Action::Find(FindAction::SetTarget("the sea".to_owned())));
        workbench
    };
    let to_choose: Mode = || {
        let mut workbench = empty(ENGLISH, Theme::Dark);
        workbench.apply(Action::Find(FindAction::SetMode(FindMode::Choose)));
        workbench
    };
    let learns: Mode = || learning(ENGLISH, Theme::Dark, None);
    let learned: Mode = || learning(ENGLISH, Theme::Dark, Some(LearnEnd::Reached));
    let chooses: Mode = || choosing(ENGLISH, Theme::Dark);
    let searches: Mode = || searched(ENGLISH, Theme::Dark, None);
    let has_searched: Mode = || searched(ENGLISH, Theme::Dark, Some(RunEnd::Complete));
    let (run, stop) = ((Modifiers::COMMAND, Key::Enter), (Modifiers::COMMAND, Key::Period));
    let (take, back) = ((Modifiers::NONE, Key::U), (Modifiers::NONE, Key::Backspace));
    for (name, workbench, (modifiers, key), expected) in [
        ("nothing is wanted", untouched, run, None),
        ("nothing is found", untouched, take, None),
        ("a target", to_learn, run, Some(FindAction::Start)),
        ("candidates", to_choose, run, Some(FindAction::Start)),
        ("nothing runs", to_learn, stop, None),
        ("learning", learns, run, None),
        ("learning", learns, stop, Some(FindAction::Stop)),
        ("learning", learns, take, Some(FindAction::UseInTune)),
        ("learning", learns, back, None),
        ("learned", learned, run, Some(FindAction::Start)),
        ("learned", learned, take, Some(FindAction::UseInTune)),
        ("choosing", chooses, run, None),
        ("choosing", chooses, stop, Some(FindAction::Stop)),
        ("choosing", chooses, take, Some(FindAction::UseInTune)),
        ("choosing", chooses, back, Some(FindAction::StepBack(2))),
        ("searching", searches, run, None),
        ("searching", searches, stop, Some(FindAction::Stop)),
        ("searching", searches, take, Some(FindAction::UseInTune)),
        ("searching", searches, back, None),
        ("searched", has_searched, run, Some(FindAction::Start)),
        ("searched", has_searched, take, Some(FindAction::UseInTune)),
    ] {
        let mut harness = window(workbench());
        harness.state_mut().done.clear();
        harness.key_press_modifiers(modifiers, key);
        harness.run_steps(2);
        let expected: Vec<Action> = expected.map(Action::Find).into_iter().collect();
        assert_eq!(harness.state().done, expected, "{name}, {key:?}");
    }
}

#[test]
fn a_candidate_is_chosen_by_its_button_once_it_is_complete_and_a_chosen_one_is_gone_back_to_by_its_mark() {
    for (language, marks) in [
        (
            Language::English,
            [
                "Generation 1, candidate 1: norm 1.00×, cosine 0.93",
                "Generation 2, candidate 2: norm 1.03×, cosine 0.82",
            ],
        ),
        (
            Language::Japanese,
            [
                "第 1 世代の候補 1：ノルム 1.00×、コサイン 0.93",
                "第 2 世代の候補 2：ノルム 1.03×、コサイン 0.82",
            ],
        ),
    ] {
        let text = softprefix::text::FindText::of(language);
        let clicked = |label: &str| {
            let mut harness = window(common::find::choosing(language, Theme::Dark));
            harness.state_mut().done.clear();
            harness.get_by_role_and_label(Role::Button, label).click();
            harness.run_steps(2);
            std::mem::take(&mut harness.state_mut().done)
        };
        for candidate in 0..3 {
            let picked = Action::Find(FindAction::Pick(candidate));
            assert_eq!(clicked(&(text.pick)(candidate + 1)), [picked]);
        }
        assert_eq!(clicked(&(text.pick)(4)), [], "it still streams");
        for (generation, mark) in (1..).zip(marks) {
            assert_eq!(clicked(mark), [Action::Find(FindAction::StepBack(generation))]);
        }
    }
}

#[test]
fn the_best_output_so_far_is_shown_and_can_be_used_while_the_search_runs() {
    let workbench = common::find::searched(Language::English, Theme::Dark, None);
    let (best, score) = workbench.find.searcher.best().unwrap();
    let (id, output, total) = (best.id.clone(), best.output().to_owned(), score.total);
    assert!(workbench.find.is_busy());
    let mut harness = window(workbench);
    assert!(harness.query_all_by_label(&output).next().is_some());
    harness.get_by_label(&format!("Best score {total:.3} after 40 runs."));
    let progress = harness.get_by_role(Role::ProgressIndicator).accesskit_node().label();
    assert_eq!(progress.as_deref(), Some("40 of 100 runs, about 52 s left"));
    harness.get_by_role_and_label(Role::Button, "Use in Tune").click();
    harness.run_steps(2);
    let requests = harness.state_mut().workbench.take_requests();
    let taken = requests.into_iter().find_map(|request| match request {
        Request::Find(FindRequest::Import {
            found: FoundPrefix::Candidate { found, .. },
        }) => Some(found.record),
        _ => None,
    });
    assert_eq!(taken, Some(id));
    assert!(harness.state().workbench.find.is_busy(), "the search goes on");
}

#[test]
fn remaining_time_and_undone_steps_are_shown_next_to_the_bar() {
    for (language, step, undone, words) in [
        (Language::English, 85, 0, "step 85 of 200, about 2 min left"),
        (
            Language::English,
            150,
            1,
            "step 150 of 200, about 50 s left, 1 step was undone: its numbers were not finite",
        ),
        (
            Language::English,
            150,
            2,
            "step 150 of 200, about 50 s left, 2 steps were undone: their numbers were not finite",
        ),
        (
            Language::Japanese,
            150,
            2,
            "ステップ 150 / 200、残り約 50 秒、2 ステップを取り消しました（値が有限でないため）",
        ),
    ] {
        let mut workbench = common::find::learning(language, Theme::Dark, None);
        let last = workbench.find.learning().unwrap().last().unwrap().clone();
        let frame = LearnFrame {
            step,
            undone,
            elapsed_ms: step as f64 * 1000.0,
            ..last
        };
        workbench.absorb(Event::Find(Box::new(FindEvent::LearnProgress(Box::new(frame)))));
        let harness = window(workbench);
        let progress = harness.get_by_role(Role::ProgressIndicator).accesskit_node().label();
        assert_eq!(progress.as_deref(), Some(words));
    }
}

#[test]
fn learning_that_misses_its_target_suggests_remedies_and_its_rows_can_be_used() {
    for language in Language::ALL {
        let text = softprefix::text::FindText::of(language);
        for (end, is_short) in [(LearnEnd::NotReached, true), (LearnEnd::Reached, false)] {
            let harness = window(common::find::learning(language, Theme::Dark, Some(end)));
            assert_eq!(
                harness.query_by_label(text.not_converged).is_some(),
                is_short,
                "{end:?}"
            );
            let take = harness.get_by_role_and_label(Role::Button, text.use_in_tune);
            assert!(!take.accesskit_node().is_disabled(), "{end:?}");
        }
    }
}

#[test]
fn a_unit_whose_engine_cannot_learn_is_named_before_the_start_and_the_button_is_disabled() {
    for (language, words) in [
        (
            Language::English,
            "softprefix-unit 9.9 cannot learn with its engine. Start the embedded module, or update the unit.",
        ),
        (
            Language::Japanese,
            "softprefix-unit 9.9 のエンジンは学習できません。内蔵モジュールを起動するか、ユニットを更新してください。",
        ),
    ] {
        let mut workbench = common::find::empty(language, Theme::Dark);
        workbench.apply(Action::Find(FindAction::SetTarget("the sea".to_owned())));
        let ModuleState::Ready(facts) = &mut workbench.module else {
            panic!("no module is ready");
        };
        facts.learns = false;
        facts.identity.unit = Some("softprefix-unit 9.9".to_owned());
        let mut harness = window(workbench);
        assert!(harness.query_by_label_contains(words).is_some());
        let start = harness.get_by_role_and_label(Role::Button, softprefix::text::FindText::of(language).start);
        assert!(start.accesskit_node().is_disabled());
        start.click();
        harness.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
        harness.run_steps(2);
        assert!(!harness.state().workbench.find.is_busy());
    }
}

#[test]
fn every_mode_of_find_fits_the_smallest_window_in_both_languages() {
    for language in Language::ALL {
        let text = softprefix::text::FindText::of(language);
        for (workbench, control) in [
            (common::find::learning(language, Theme::Dark, None), text.stop),
            (common::find::choosing(language, Theme::Dark), text.step_back),
            (common::find::searched(language, Theme::Dark, None), text.stop),
        ] {
            let harness = sized(workbench, [1280.0, 800.0]);
            for label in [text.use_in_tune, control] {
                let rect = harness.get_by_role_and_label(Role::Button, label).rect();
                assert!(rect.right() <= 1280.0 && rect.left() > 320.0, "{label}: {rect:?}");
            }
        }
    }
}

#[test]
fn an_interrupted_search_shows_its_reason_and_progress_in_the_language_of_the_window() {
    let lost = errors::run(&common::lost());
    for (language, other) in [
        (Language::English, Language::Japanese),
        (Language::Japanese, Language::English),
    ] {
        let end = RunEnd::Interrupted { error: common::lost() };
        let workbench = common::find::searched(language, Theme::Dark, Some(end));
        let budget = workbench.find.search_form.budget;
        let harness = window(workbench);
        harness.get_by_label(&lost.whole(language));
        assert!(harness.query_by_label_contains(lost.sentence.get(other)).is_none());
        let text = softprefix::text::FindText::of(language);
        let progress = harness.get_by_role(Role::ProgressIndicator).accesskit_node().label();
        assert_eq!(progress, Some((text.search_interrupted)(40, budget)));
        harness.get_by_role_and_label(Role::Button, text.resume_search);
    }
}

#[test]
fn the_card_shows_a_download_in_the_background_and_its_failure_with_a_remedy_and_a_button() {
    let mut workbench = ready();
    let progress = FetchProgress {
        name: "qwen2.5-0.5b".to_owned(),
        model: "Qwen2.5 0.5B".to_owned(),
        source: "models.example".to_owned(),
        done_bytes: 120_000_000,
        total_bytes: Some(491_000_000),
        what: "fetching".to_owned(),
    };
    workbench.absorb(Event::FetchingInBackground(progress));
    let mut harness = window(workbench);
    let words = "Downloading Qwen2.5 0.5B: 120 MB of 491 MB from models.example";
    assert!(harness.query_all_by_label(words).next().is_some());
    assert!(harness.query_by_label_contains("You can work meanwhile").is_some());
    assert!(
        harness.state().workbench.why_not_run().is_none(),
        "the module in use runs"
    );
    harness.get_by_label("Cancel").click();
    harness.run_steps(2);
    assert_eq!(harness.state().done, [Action::CancelFetch]);
    harness.state_mut().workbench.absorb(Event::Fetched {
        name: "qwen2.5-0.5b".to_owned(),
        fetched: Err(Problem::new(ProblemKind::Model, "It is not there.", "Look elsewhere.")),
    });
    harness.run_steps(2);
    assert!(
        harness.query_by_label("It is not there.").is_some() && harness.query_by_label("Look elsewhere.").is_some()
    );
    harness.get_by_label("Try again").click();
    harness.run_steps(2);
    assert_eq!(
        harness.state().done.last(),
        Some(&Action::FetchModel("qwen2.5-0.5b".to_owned()))
    );
}

#[test]
fn without_a_network_the_card_offers_the_demo() {
    let mut workbench = common::empty(Language::English, Theme::Dark);
    workbench.absorb(Event::NoModel(Some(Problem::new(
        ProblemKind::Model,
        "Nothing answers.",
        "Go online.",
    ))));
    let mut harness = window(workbench);
    assert!(harness.query_by_label("Go online.").is_some());
    harness.get_by_label("Play the demo").click();
    harness.run_steps(2);
    assert!(harness.state().done.contains(&Action::Playback(PlaybackAction::Demo)));
}

#[test]
fn the_first_steps_have_headings_keys_and_ways_on_and_are_found_under_the_question_mark() {
    for language in Language::ALL {
        let mut workbench = common::tuned(language, Theme::Dark);
        assert!(!workbench.remembered().settings.first_steps_shown);
        workbench.apply(Action::ShowDialog(Dialog::Help));
        let text = StepsText::of(language);
        let mut harness = window(workbench);
        harness.get_by_label(text.title).click();
        harness.run_steps(3);
        assert_eq!(harness.state().workbench.dialog, Some(Dialog::FirstSteps));
        assert!(
            harness.state().workbench.remembered().settings.first_steps_shown,
            "shown once"
        );
        for step in &text.steps {
            assert!(
                harness.query_by_role_and_label(Role::Heading, step.name).is_some(),
                "{}",
                step.name
            );
        }
        assert!(harness.query_by_label_contains("{key}").is_none(), "every key is named");
        // Enter begins: the button has the focus.
        harness.key_press(Key::Enter);
        harness.run_steps(3);
        assert_eq!(harness.state().workbench.dialog, None);
        harness
            .state_mut()
            .workbench
            .apply(Action::ShowDialog(Dialog::FirstSteps));
        harness.run_steps(3);
        harness.get_by_label(text.steps[2].button).click();
        harness.run_steps(3);
        let workbench = &harness.state().workbench;
        assert_eq!((workbench.dialog, workbench.tab), (None, Tab::Sweep));
        let prompt = workbench.prompt.user.clone();
        assert!(workbench.sweep.form.prompts.iter().any(|shown| shown.user == prompt));
        harness
            .state_mut()
            .workbench
            .apply(Action::ShowDialog(Dialog::FirstSteps));
        harness.run_steps(3);
        harness.get_by_label(text.steps[3].button).click();
        harness.run_steps(3);
        assert_eq!(harness.state().workbench.dialog, Some(Dialog::Connect));
    }
}

#[test]
fn about_names_the_version_and_opens_the_releases_only_when_asked() {
    let mut workbench = tuned();
    workbench.apply(Action::ShowDialog(Dialog::About));
    let mut harness = window(workbench);
    assert!(harness.query_by_label(softprefix::version::NUMBER).is_some());
    for words in ["Version", "Commit", "Renderer", "Features"] {
        assert!(harness.query_by_label(words).is_some(), "{words}");
    }
    assert!(harness.query_by_label_contains("never checks for updates").is_some());
    let page = softprefix::version::RELEASES.clone();
    match page {
        Some(_) => harness.get_by_label("Open the releases page").click(),
        None => assert!(harness.query_by_label_contains("has no releases page").is_some()),
    }
    let page = "https://example.org/releases".to_owned();
    assert!(harness.state_mut().workbench.take_effects().is_empty());
    harness.state_mut().workbench.apply(Action::OpenPage(page.clone()));
    assert_eq!(harness.state_mut().workbench.take_effects(), [Effect::OpenPage(page)]);
}

#[test]
fn a_mac_shows_the_command_key_and_its_own_keys_open_the_settings_and_close_what_is_on_top() {
    let mut harness = window(ready());
    harness.ctx.set_os(OperatingSystem::Mac);
    // As the keys of a Mac are reported.
    let command = Modifiers {
        mac_cmd: true,
        command: true,
        ..Modifiers::NONE
    };
    harness.state_mut().workbench.apply(Action::ShowDialog(Dialog::Help));
    harness.run_steps(2);
    for keys in ["⌘Q", "⌘,", "⌃⌘F"] {
        assert!(harness.query_by_label(keys).is_some(), "{keys}");
    }
    assert!(harness.query_all_by_label_contains("Ctrl+").next().is_none());
    harness.key_press_modifiers(command, Key::W);
    harness.run_steps(2);
    assert_eq!(harness.state().workbench.dialog, None);
    harness.key_press_modifiers(command, Key::Comma);
    harness.run_steps(3);
    assert!(harness.state().workbench.settings_open);
    assert!(harness.query_by_label("日本語").is_some());
    harness.key_press(Key::Escape);
    harness.run_steps(3);
    assert!(!harness.state().workbench.settings_open);
    harness.key_press_modifiers(Modifiers { ctrl: true, ..command }, Key::F);
    harness.run_steps(2);
    harness.key_press_modifiers(command, Key::W);
    harness.run_steps(2);
    let done = &harness.state().done;
    assert!(done.contains(&Action::ToggleFullscreen));
    assert_eq!(done.last(), Some(&Action::Quit));
}

#[test]
fn elsewhere_w_with_the_control_key_closes_nothing() {
    let mut harness = window(ready());
    harness.ctx.set_os(OperatingSystem::Nix);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::W);
    harness.run_steps(2);
    assert!(!harness.state().done.contains(&Action::Quit));
}

#[test]
fn the_enter_that_accepts_a_composition_in_a_field_of_one_line_submits_nothing() {
    let mut workbench = ready();
    workbench.apply(Action::ShowDialog(Dialog::Connect));
    let mut harness = window(workbench);
    harness.run_steps(2);
    harness.event(egui::Event::Ime(egui::ImeEvent::Preedit {
        text: "もじゅーる".to_owned(),
        active_range_chars: None,
    }));
    harness.run_steps(1);
    // Some systems report the key as well.
    harness.key_press(Key::Enter);
    harness.event(egui::Event::Ime(egui::ImeEvent::Commit("module".to_owned())));
    harness.run_steps(2);
    let stage = harness.state();
    assert_eq!(stage.workbench.dialog, Some(Dialog::Connect), "{:?}", stage.done);
    assert!(!stage.done.iter().any(|action| matches!(action, Action::Connect(_))));
}

#[test]
fn dropped_files_are_opened_by_their_content() {
    use std::path::PathBuf;
    let opened = |name: &str| softprefix::workbench::dropped(PathBuf::from(name));
    for name in [
        "compare_results.json",
        "session.jsonl",
        "sweep.journal",
        "SESSION.JSONL",
    ] {
        assert_eq!(opened(name), Action::OpenPath(PathBuf::from(name)));
    }
    for name in [
        "prefix.safetensors",
        "rows.npy",
        "adapter",
        "adapter/adapter_config.json",
    ] {
        let import = softprefix::workbench::MaterialAction::Import(PathBuf::from(name));
        assert_eq!(opened(name), Action::Material(import));
    }
    let model = Some("model.gguf".to_owned());
    assert_eq!(opened("model.gguf"), Action::Connect(Target::Embedded { model }));
}

/// A file that is dropped on the window.
#[derive(Debug)]
struct Dropped(std::path::PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &std::path::Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        Ok(Vec::new())
    }
}

#[test]
fn a_file_that_is_dropped_on_an_open_sheet_is_opened_and_only_the_question_about_tasks_stays() {
    for (dialog, stays) in [
        (Dialog::Help, false),
        (Dialog::Note, false),
        (Dialog::LeftOverTasks, true),
    ] {
        let mut workbench = tuned();
        workbench.apply(Action::ShowDialog(dialog));
        let mut harness = window(workbench);
        let file = std::sync::Arc::new(Dropped("session.jsonl".into()));
        harness.input_mut().dropped_files.push(file);
        harness.run_steps(2);
        let stage = harness.state();
        assert!(
            stage.done.contains(&Action::OpenPath("session.jsonl".into())),
            "{dialog:?}"
        );
        assert_eq!(stage.workbench.dialog.is_some(), stays, "{dialog:?}");
    }
}

#[test]
fn the_escape_that_closes_a_sheet_drops_the_text_that_is_being_typed_in_it() {
    let mut workbench = ready();
    workbench.apply(Action::ShowDialog(Dialog::External));
    let mut harness = window(workbench);
    let before = harness.state().workbench.settings.external.clone();
    type_over(&mut harness, "Send outputs to", "57121");
    harness.key_press(Key::Escape);
    harness.run_steps(3);
    let workbench = &harness.state().workbench;
    assert_eq!(workbench.dialog, None);
    assert_eq!(workbench.settings.external, before);
}

/// Role, label and place of every control and text of the window, in points, at so many pixels for each.
fn laid_out(workbench: Workbench, pixels_per_point: f32) -> Vec<(Role, Option<String>, egui::Rect)> {
    let mut harness = egui_kittest::Harness::builder()
        .with_size(egui::vec2(1280.0, 800.0))
        .with_pixels_per_point(pixels_per_point)
        .with_max_steps(20)
        .with_context_setup(common::stage::prepare)
        .build_ui_state(
            |ui, stage: &mut common::stage::Stage| stage.show(ui),
            common::stage::Stage::new(workbench),
        );
    harness.run_steps(6);
    let nodes = harness.root().children_recursive();
    nodes
        .filter(|node| node.accesskit_node().has_bounds())
        .map(|node| {
            let known = node.accesskit_node();
            (known.role(), known.label().or(known.value()), node.rect())
        })
        .collect()
}

#[test]
fn a_retina_display_shows_the_same_words_in_the_same_places() {
    use Language::{English, Japanese};
    for workbench in [
        || common::tuned(English, Theme::Dark),
        || common::tuned(Japanese, Theme::Light),
        || common::find::learning(Japanese, Theme::Dark, None),
    ] {
        let (once, twice) = (laid_out(workbench(), 1.0), laid_out(workbench(), 2.0));
        assert!(once.len() > 40, "{}", once.len());
        assert_eq!(once.len(), twice.len());
        for (at_once, at_twice) in once.iter().zip(&twice) {
            // Text that is cut has other words, and a place is moved at most by what rounding to whole pixels does to a line of text.
            assert_eq!((at_once.0, &at_once.1), (at_twice.0, &at_twice.1));
            let moved = (at_once.2.min - at_twice.2.min)
                .abs()
                .max((at_once.2.max - at_twice.2.max).abs());
            assert!(moved.max_elem() <= 4.0, "{at_once:?} {at_twice:?}");
        }
    }
}

const HEADLINE: &str = "Type the magnitude";

/// Types over the headline of the magnitude, and stays in it.
fn type_magnitude(harness: &mut Harness<'static, Stage>, text: &str) {
    type_over(harness, HEADLINE, text);
    assert_eq!(headline_of(harness), text);
}

fn headline_of(harness: &Harness<'static, Stage>) -> String {
    let headline = harness.get_by_role_and_label(Role::TextInput, HEADLINE);
    headline.accesskit_node().value().unwrap_or_default()
}

#[test]
fn a_number_that_is_being_typed_takes_effect_before_a_shortcut() {
    let mut harness = window(ready());
    type_magnitude(&mut harness, "2.5");
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
    harness.run_steps(3);
    let done = &harness.state().done;
    let place = |action: &Action| done.iter().position(|one| one == action).unwrap();
    assert!(place(&Action::SetMagnitude(2.5)) < place(&Action::Run), "{done:?}");

    type_magnitude(&mut harness, "3");
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Num2);
    harness.run_steps(3);
    assert_eq!(harness.state().workbench.tab, Tab::Sweep);
    assert_eq!(harness.state().workbench.prefix.magnitude, 3.0);
}

/// The runs among the requests since the last call.
fn runs(harness: &mut Harness<'static, Stage>) -> Vec<Inference> {
    let requests = harness.state_mut().workbench.take_requests();
    let run = |request| match request {
        Request::Infer(inference) => Some(*inference),
        _ => None,
    };
    requests.into_iter().filter_map(run).collect()
}

fn press_run(harness: &mut Harness<'static, Stage>) -> Vec<Inference> {
    harness.state_mut().workbench.take_requests();
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
    harness.run_steps(3);
    runs(harness)
}

fn is_off(harness: &Harness<'static, Stage>, button: &str) -> bool {
    let button = harness.get_by_role_and_label(Role::Button, button);
    button.accesskit_node().is_disabled()
}

#[test]
fn nothing_runs_while_a_field_of_tune_holds_no_valid_number_and_the_field_says_what_it_accepts() {
    for (language, limit, sentence) in [
        (
            Language::English,
            "1,000",
            "“1,000” is not valid here. Type a whole number of at least 1, without commas between thousands.",
        ),
        (
            Language::Japanese,
            "多め",
            "「多め」はここでは使えません。1 以上の整数を入力してください。",
        ),
    ] {
        let text = Text::of(language);
        let mut harness = window(common::ready(language, Theme::Dark));
        harness.get_by_label(text.system_and_limits).click();
        harness.run_steps(6);
        type_over(&mut harness, text.max_tokens, limit);
        for _ in 0..2 {
            assert_eq!(press_run(&mut harness), []);
            assert!(harness.query_by_label(sentence).is_some());
            assert_eq!(harness.state().workbench.why_not_run(), Some(Unavailable::WrongField));
        }
        assert!(is_off(&harness, text.run));
        for action in [Action::Run, Action::RerunBaseline, Action::FillCurve] {
            harness.state_mut().workbench.apply(action);
        }
        let requests = harness.state_mut().workbench.take_requests();
        assert_eq!(requests, [], "by no way");

        type_over(&mut harness, text.max_tokens, "100");
        let run = press_run(&mut harness);
        let limits: Vec<_> = run.iter().map(|run| run.input.settings.max_new_tokens).collect();
        assert_eq!(limits, [Some(100); 2]);
        assert!(harness.query_by_label(sentence).is_none());
    }
}

#[test]
fn a_run_in_live_mode_waits_for_a_valid_number_in_each_field() {
    let mut harness = window(ready());
    harness.state_mut().workbench.apply(Action::SetLive(true));
    enter(&mut harness, "Type P", "many");
    runs(&mut harness);
    harness.state_mut().workbench.apply(Action::SetMagnitude(3.0));
    harness.run_steps(3);
    assert_eq!(runs(&mut harness), []);
    enter(&mut harness, "Type P", "8");
    let sent = runs(&mut harness);
    let recipe = sent.iter().find_map(|run| run.recipe.clone()).unwrap();
    assert_eq!((recipe.len, recipe.magnitude), (8, Magnitude::TokenNorms(3.0)));
    // Where another change drops what was typed, the run follows as well.
    enter(&mut harness, HEADLINE, "many");
    runs(&mut harness);
    harness.state_mut().workbench.apply(Action::SetMagnitude(2.0));
    harness.run_steps(3);
    assert_eq!(runs(&mut harness).len(), 1);
}

#[test]
fn a_field_that_is_no_longer_shown_keeps_nothing_from_running() {
    for leave in [
        Action::ShowTab(Tab::Sweep),
        Action::Present(true),
        Action::Exhibit(ExhibitionAction::Toggle),
    ] {
        let mut harness = window(ready());
        enter(&mut harness, HEADLINE, "many");
        let workbench = &mut harness.state_mut().workbench;
        assert_eq!(workbench.why_not_run(), Some(Unavailable::WrongField));
        workbench.apply(leave.clone());
        harness.run_steps(2);
        assert_eq!(harness.state().workbench.why_not_run(), None, "{leave:?}");
    }
}

#[test]
fn find_starts_nothing_while_a_field_holds_no_valid_number() {
    let mut workbench = common::find::empty(Language::English, Theme::Dark);
    workbench.apply(Action::Find(FindAction::SetTarget("the sea".into())));
    workbench.take_requests();
    let mut harness = window(workbench);
    for _ in 0..2 {
        type_over(&mut harness, "Steps", "some");
        harness.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
        harness.run_steps(3);
        assert_eq!(harness.state_mut().workbench.take_requests(), []);
        assert!(
            harness
                .query_by_label_contains("Type a whole number from 1 to")
                .is_some()
        );
        assert!(is_off(&harness, "Learn"));
    }
    type_over(&mut harness, "Steps", "20");
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
    harness.run_steps(3);
    let requests = harness.state_mut().workbench.take_requests();
    assert!(
        requests
            .iter()
            .any(|request| matches!(request, Request::Find(FindRequest::Start { .. }))),
        "{requests:?}"
    );
}

#[test]
fn a_typed_text_that_did_not_take_effect_is_dropped_when_its_view_is_left() {
    let mut harness = window(ready());
    let shown = headline_of(&harness);
    for (typed, by_shortcut) in [("many", true), ("many", false), ("7", false)] {
        type_magnitude(&mut harness, typed);
        for (key, tab) in [(Key::Num2, Tab::Sweep), (Key::Num1, Tab::Tune)] {
            match by_shortcut {
                true => harness.key_press_modifiers(Modifiers::COMMAND, key),
                false => harness.state_mut().workbench.apply(Action::ShowTab(tab)),
            }
            harness.run_steps(3);
        }
        assert_eq!(headline_of(&harness), shown, "{typed}");
    }
}
