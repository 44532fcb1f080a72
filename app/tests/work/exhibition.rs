//! The idle loop: with a real unit, without one, and when the unit goes away and comes back.

use std::time::{Duration, Instant};

use softprefix::model::{ModuleState, RunKind};
use softprefix::workbench::{Action, ExhibitionAction, PlaybackAction, Workbench};
use softprefix_unit::testing::small_model;

use crate::support::{Harness, Killable, LONG, at, by_id, journals, kept, points, serve, tiny_model};

const TOGGLE: Action = Action::Exhibit(ExhibitionAction::Toggle);
const TOUCH: Action = Action::Exhibit(ExhibitionAction::Touched);

/// Lets the loop's own time pass in large steps, and the bridge's as it does.
fn idle(harness: &mut Harness, what: &str, done: impl Fn(&Workbench) -> bool) {
    let until = Instant::now() + LONG;
    while !done(&harness.workbench) {
        assert!(
            Instant::now() < until,
            "waited in vain for {what}: {:?}",
            harness.workbench.module
        );
        // A text is read for seconds of the loop's time; this test does not wait for that.
        harness.workbench.advance(Duration::from_millis(200));
        harness.turn();
    }
}

#[test]
fn presets_are_played_in_turn_from_nothing_to_overdriven_and_the_persons_fields_come_back() {
    let mut harness = Harness::new();
    harness.connect(at(serve(tiny_model())));
    harness.apply(Action::SetMagnitude(0.7));
    harness.apply(Action::SetMaxTokens(8));
    let own = (harness.workbench.prefix.clone(), harness.workbench.prompt.clone());
    harness.apply(TOGGLE);
    assert!(harness.workbench.presenting);
    idle(&mut harness, "the second preset", |workbench| {
        workbench.prompt.preset() == Some(1)
    });
    let first = points(&harness.workbench);
    assert!(first >= 6, "{first} points of the first preset");
    let magnitudes: Vec<f64> = harness
        .workbench
        .tuning
        .points()
        .map(|(_, point)| point.magnitude())
        .collect();
    assert!(
        magnitudes.contains(&0.0) && magnitudes.iter().any(|&x| x >= 100.0),
        "{magnitudes:?}"
    );
    assert!(harness.workbench.playback.is_none(), "live: no recording");
    harness.apply(TOGGLE);
    assert_eq!(
        (harness.workbench.prefix.clone(), harness.workbench.prompt.clone()),
        own
    );
    assert!(!harness.workbench.presenting && harness.workbench.exhibition.is_none());
    assert_eq!(
        journals(&harness.folder),
        Vec::<std::path::PathBuf>::new(),
        "an exhibition is in no experiment"
    );
}

#[test]
fn the_runs_of_an_exhibition_are_in_no_session_and_the_persons_own_comes_back() {
    let mut harness = Harness::new();
    harness.connect(at(serve(tiny_model())));
    harness.apply(Action::SetMaxTokens(8));
    harness.run();
    harness.until_noise_is_known();
    let shown = |harness: &Harness| {
        let workbench = &harness.workbench;
        let panes = [&workbench.baseline, &workbench.prefixed];
        let texts = panes.map(|pane| (pane.text.clone(), pane.state, pane.stale));
        (workbench.tuning.saved.clone(), texts)
    };
    let own = shown(&harness);
    harness.apply(TOGGLE);
    idle(&mut harness, "points of the first preset", |workbench| {
        points(workbench) >= 3
    });
    harness.apply(TOGGLE);
    assert!(shown(&harness) == own);
    assert_eq!(points(&harness.workbench), 1);

    // A prompt of the exhibition has no baseline here, so it gets one; all of it is in the session's journal.
    harness.apply(Action::LoadPreset(0));
    harness.run();
    harness.until_noise_is_known();
    let prompt = &harness.workbench.prompt.user;
    let kept = kept(&harness.folder);
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].experiment.id, own.0.experiment.id);
    let of_preset = kept[0].records.iter().filter(|record| record.prompt.user == *prompt);
    assert_eq!(of_preset.filter(|record| record.is_baseline()).count(), 2);
}

#[test]
fn a_first_run_that_an_exhibition_stops_is_in_the_session_that_comes_back() {
    let mut harness = Harness::new();
    harness.connect(at(serve(small_model())));
    harness.apply(Action::SetMaxTokens(2000));
    harness.apply(Action::Run);
    harness.until("text that streams in", |workbench| {
        workbench.prefixed.text.chars().count() > 20
    });
    harness.apply(TOGGLE);
    let until = Instant::now() + LONG;
    while harness.finished(RunKind::Baseline).len() + harness.finished(RunKind::Prefixed).len() < 2 {
        assert!(Instant::now() < until, "the runs do not end");
        harness.turn();
    }
    harness.apply(TOGGLE);
    let folder = harness.folder.clone();
    let own = &harness.workbench.tuning.saved;
    assert_eq!(own.experiment, kept(&folder)[0].experiment);
    assert_eq!(by_id(&own.records), by_id(&kept(&folder)[0].records));
}

#[test]
fn a_visitor_has_the_controls_until_a_minute_after_the_last_touch() {
    let mut harness = Harness::new();
    harness.connect(at(serve(tiny_model())));
    harness.apply(Action::SetMaxTokens(8));
    harness.apply(TOGGLE);
    harness.apply(TOUCH);
    harness.apply(Action::SetMagnitude(3.3));
    for _ in 0..5 {
        harness.workbench.advance(Duration::from_secs(30));
        assert_eq!(
            harness.workbench.prefix.magnitude, 3.3,
            "the slider stays where the visitor put it"
        );
        harness.apply(TOUCH);
    }
    harness.workbench.advance(Duration::from_secs(59));
    assert!(harness.workbench.exhibition.as_ref().unwrap().is_touched());
    harness.workbench.advance(Duration::from_secs(2));
    assert!(!harness.workbench.exhibition.as_ref().unwrap().is_touched());
    idle(&mut harness, "the loop to go on", |workbench| {
        workbench.prefix.magnitude != 3.3
    });
}

#[test]
fn without_a_module_the_recording_is_shown_and_nothing_is_connected_or_fetched() {
    let mut harness = Harness::new();
    harness.apply(TOGGLE);
    idle(&mut harness, "the recording", |workbench| workbench.playback.is_some());
    assert!(harness.workbench.playback.as_ref().unwrap().looping);
    for _ in 0..600 {
        harness.workbench.advance(Duration::from_millis(500));
    }
    assert_eq!(harness.workbench.module, ModuleState::Idle);
    assert_eq!(harness.workbench.take_requests(), []);
    assert!(harness.workbench.shown().presenting);
    harness.apply(TOGGLE);
    assert!(harness.workbench.playback.is_none() && !harness.workbench.presenting);
    // The same begun from a recording that is shown already.
    harness.apply(Action::Playback(PlaybackAction::Demo));
    harness.until("the recording", |workbench| workbench.playback.is_some());
    harness.apply(TOGGLE);
    assert!(harness.workbench.playback.as_ref().unwrap().looping);
}

#[test]
fn the_recording_replaces_a_killed_unit_until_it_is_back() {
    let unit = Killable::on("127.0.0.1:0".parse().unwrap());
    let mut harness = Harness::new();
    harness.connect(at(unit.address));
    harness.apply(Action::SetMaxTokens(8));
    harness.apply(TOGGLE);
    idle(&mut harness, "the first points", |workbench| points(workbench) >= 2);
    let address = unit.kill();
    idle(&mut harness, "the loss", |workbench| {
        matches!(workbench.module, ModuleState::Failed { .. })
    });
    idle(&mut harness, "the recording", |workbench| workbench.playback.is_some());
    // It is looked for while it is away, and not found.
    for _ in 0..60 {
        harness.workbench.advance(Duration::from_secs(1));
        harness.turn();
    }
    assert!(harness.workbench.playback.is_some());
    let _unit = Killable::on(address);
    let before = harness.workbench.tuning.saved.records.len();
    idle(&mut harness, "the module", |workbench| workbench.module.is_ready());
    idle(&mut harness, "new points", |workbench| {
        workbench.tuning.saved.records.len() > before
    });
    assert!(harness.workbench.playback.is_none() && harness.workbench.presenting);
}
