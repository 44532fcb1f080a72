//! A recording in the window, by the names of its controls.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::stage::{Stage, sized};

use eframe::egui::accesskit::Role;
use eframe::egui::{self, Key, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use softprefix::bridge::recording::demo;
use softprefix::model::{Language, Theme};
use softprefix::text::DemoText;
use softprefix::workbench::playback::Playback;
use softprefix::workbench::{Action, ExhibitionAction, PlaybackAction, Workbench};

fn playing(language: Language) -> Workbench {
    let mut workbench = common::tuned(language, Theme::Dark);
    workbench.play(demo().unwrap());
    workbench
}

fn playback<'a>(harness: &'a Harness<'static, Stage>) -> &'a Playback {
    harness.state().workbench.playback.as_ref().unwrap()
}

#[test]
fn a_recording_is_paused_played_accelerated_repeated_and_left_by_its_controls() {
    let mut harness = sized(playing(Language::English), [1280.0, 800.0]);
    assert!(harness.query_by_label("Demo recording").is_some(), "that it is one");
    harness.get_by_label("Pause").click();
    harness.run_steps(2);
    assert!(!playback(&harness).playing);
    harness.get_by_label("Play").click();
    harness.run_steps(2);
    assert!(playback(&harness).playing);
    harness.get_by_label("Speed 1×").click();
    harness.run_steps(2);
    harness.get_by_label("Speed 2×").click();
    harness.run_steps(2);
    assert_eq!(playback(&harness).speed, 4.0);
    harness.get_by_label("Repeat").click();
    harness.run_steps(2);
    assert!(playback(&harness).looping);
    harness.get_by_label("Leave").click();
    harness.run_steps(2);
    assert!(harness.state().workbench.playback.is_none());
    assert!(harness.query_by_label("Demo recording").is_none());
    assert_eq!(
        harness.state().workbench.tuning.points().count(),
        25,
        "the person's own points"
    );
}

#[test]
fn a_position_from_a_screen_reader_that_is_no_number_is_ignored() {
    let mut harness = sized(playing(Language::English), [1280.0, 800.0]);
    harness.get_by_label("Pause").click();
    harness.run_steps(2);
    let before = playback(&harness).at();
    let bar = harness.get_by_role_and_label(Role::Slider, "Position in the recording");
    bar.set_value_accesskit(f64::NAN);
    harness.run_steps(2);
    assert_eq!(playback(&harness).at(), before);
}

#[test]
fn the_bar_seeks_by_pointer_and_by_keys() {
    let mut harness = sized(playing(Language::English), [1280.0, 800.0]);
    let length = playback(&harness).recording.length();
    let bar = harness.get_by_role_and_label(Role::Slider, "Position in the recording");
    let rect = bar.rect();
    harness.drag_at(rect.center());
    harness.drop_at(rect.center());
    harness.run_steps(2);
    let at = playback(&harness).at();
    assert!(at > length / 3 && at < length * 2 / 3, "{at:?} of {length:?}");
    let bar = harness.get_by_role_and_label(Role::Slider, "Position in the recording");
    assert!(bar.accesskit_node().numeric_value().is_some_and(|value| value > 1.0));
    harness.key_press(Key::ArrowRight);
    harness.run_steps(2);
    assert_eq!(playback(&harness).at(), at + Duration::from_secs(5));
    harness.key_press(Key::Home);
    harness.run_steps(2);
    assert!(playback(&harness).at().is_zero());
}

#[test]
fn moving_the_slider_of_a_recording_changes_nothing_and_says_that_it_is_one() {
    let mut harness = sized(playing(Language::English), [1280.0, 800.0]);
    let before = playback(&harness).workbench.prefix.magnitude;
    harness.get_by_label("More").click();
    harness.run_steps(2);
    assert_eq!(playback(&harness).workbench.prefix.magnitude, before);
    assert!(harness.query_by_label_contains("This is a recording").is_some());
}

#[test]
fn in_the_presenters_view_the_recording_says_so_in_both_languages_and_fits_at_every_size() {
    for language in Language::ALL {
        for size in [[853.0, 533.0], [960.0, 600.0], [1280.0, 800.0]] {
            let mut workbench = playing(language);
            workbench.apply(Action::Playback(PlaybackAction::Large));
            workbench.advance(Duration::from_secs(20));
            let harness = sized(workbench, size);
            let text = DemoText::of(language);
            assert!(harness.query_by_label(text.is_demo).is_some());
            for name in [text.pause, text.again, text.leave] {
                let rect = harness.get_by_label(name).rect();
                let whole = egui::Rect::from_min_size(egui::Pos2::ZERO, vec2(size[0], size[1]));
                assert!(whole.contains_rect(rect), "{name} at {rect:?} of {size:?}");
            }
            let bar = harness.get_by_role_and_label(Role::Slider, text.position).rect();
            assert!(bar.width() > 120.0, "{bar:?} at {size:?}");
        }
    }
}

#[test]
fn a_running_recording_is_always_visible_and_can_be_ended() {
    let mut workbench = common::tuned(Language::English, Theme::Light);
    workbench.apply(Action::ToggleRecording);
    let mut harness = sized(workbench, [1280.0, 800.0]);
    assert!(harness.query_by_label_contains("Recording · 0 runs").is_some());
    harness.get_by_label("End").click();
    harness.run_steps(2);
    assert!(harness.state().workbench.recording().is_none());
}

#[test]
fn an_exhibition_shows_the_presenters_view() {
    let mut workbench = common::tuned(Language::Japanese, Theme::Light);
    workbench.apply(Action::Exhibit(ExhibitionAction::Toggle));
    let harness = sized(workbench, [853.0, 533.0]);
    assert!(harness.state().workbench.presenting);
    assert!(harness.query_by_label("実行").is_none(), "no set-up in sight");
}
