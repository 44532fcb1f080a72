//! The idle loop: with a real unit, without one, and when the unit goes away and comes back.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use softprefix::model::ModuleState;
use softprefix::workbench::{Action, ExhibitionAction, PlaybackAction, Workbench};
use tokio::sync::oneshot;

use crate::support::{Desk, LONG, at, journals, points, serve, serve_until, tiny_model};

const TOGGLE: Action = Action::Exhibit(ExhibitionAction::Toggle);
const TOUCH: Action = Action::Exhibit(ExhibitionAction::Touched);

/// A unit that can be killed.
struct Killable {
    address: SocketAddr,
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Killable {
    /// On this address.
    fn on(address: SocketAddr) -> Self {
        let (end, ended) = oneshot::channel::<()>();
        let ended = async move {
            let _ = ended.await;
        };
        let (address, thread) = serve_until(ended, address, tiny_model());
        Self { address, end, thread }
    }

    fn kill(self) -> SocketAddr {
        let _ = self.end.send(());
        self.thread.join().unwrap();
        self.address
    }
}

/// Lets the loop's own time pass in large steps, and the bridge's as it does.
fn idle(desk: &mut Desk, what: &str, done: impl Fn(&Workbench) -> bool) {
    let until = Instant::now() + LONG;
    while !done(&desk.bench) {
        assert!(
            Instant::now() < until,
            "waited in vain for {what}: {:?}",
            desk.bench.module
        );
        // A text is read for seconds of the loop's time; nobody reads here.
        desk.bench.pass(Duration::from_millis(200));
        desk.turn();
    }
}

#[test]
fn presets_are_played_in_turn_from_nothing_to_overdriven_and_the_persons_fields_come_back() {
    let mut desk = Desk::new();
    desk.connect(at(serve(tiny_model())));
    desk.apply(Action::SetMagnitude(0.7));
    desk.apply(Action::SetMaxTokens(8));
    let own = (desk.bench.prefix.clone(), desk.bench.prompt.clone());
    desk.apply(TOGGLE);
    assert!(desk.bench.presenting);
    idle(&mut desk, "the second preset", |bench| bench.prompt.preset == Some(1));
    let first = points(&desk.bench);
    assert!(first >= 6, "{first} points of the first preset");
    let magnitudes: Vec<f64> = desk.bench.tuning.points().map(|(_, point)| point.magnitude()).collect();
    assert!(
        magnitudes.contains(&0.0) && magnitudes.iter().any(|&x| x >= 100.0),
        "{magnitudes:?}"
    );
    assert!(desk.bench.playback.is_none(), "live: no recording");
    desk.apply(TOGGLE);
    assert_eq!((desk.bench.prefix.clone(), desk.bench.prompt.clone()), own);
    assert!(!desk.bench.presenting && desk.bench.exhibition.is_none());
    assert_eq!(
        journals(&desk.folder),
        Vec::<std::path::PathBuf>::new(),
        "an exhibition is nobody's experiment"
    );
}

#[test]
fn whoever_touches_has_the_controls_until_a_minute_after_the_last_touch() {
    let mut desk = Desk::new();
    desk.connect(at(serve(tiny_model())));
    desk.apply(Action::SetMaxTokens(8));
    desk.apply(TOGGLE);
    desk.apply(TOUCH);
    desk.apply(Action::SetMagnitude(3.3));
    for _ in 0..5 {
        desk.bench.pass(Duration::from_secs(30));
        assert_eq!(
            desk.bench.prefix.magnitude, 3.3,
            "the hand stays where the visitor put it"
        );
        desk.apply(TOUCH);
    }
    desk.bench.pass(Duration::from_secs(59));
    assert!(desk.bench.exhibition.as_ref().unwrap().is_touched());
    desk.bench.pass(Duration::from_secs(2));
    assert!(!desk.bench.exhibition.as_ref().unwrap().is_touched());
    idle(&mut desk, "the loop to go on", |bench| bench.prefix.magnitude != 3.3);
}

#[test]
fn without_a_module_the_recording_stands_in_and_nothing_is_connected_or_fetched() {
    let mut desk = Desk::new();
    desk.apply(TOGGLE);
    idle(&mut desk, "the recording", |bench| bench.playback.is_some());
    assert!(desk.bench.playback.as_ref().unwrap().looping);
    for _ in 0..600 {
        desk.bench.pass(Duration::from_millis(500));
    }
    assert_eq!(desk.bench.module, ModuleState::Idle);
    assert_eq!(desk.bench.take_requests(), []);
    assert!(desk.bench.shown().presenting);
    desk.apply(TOGGLE);
    assert!(desk.bench.playback.is_none() && !desk.bench.presenting);
    // The same begun from a recording that is shown already.
    desk.apply(Action::Playback(PlaybackAction::Demo));
    desk.until("the recording", |bench| bench.playback.is_some());
    desk.apply(TOGGLE);
    assert!(desk.bench.playback.as_ref().unwrap().looping);
}

#[test]
fn a_unit_that_is_killed_is_stood_in_for_and_worked_on_again_when_it_is_back() {
    let unit = Killable::on("127.0.0.1:0".parse().unwrap());
    let mut desk = Desk::new();
    desk.connect(at(unit.address));
    desk.apply(Action::SetMaxTokens(8));
    desk.apply(TOGGLE);
    idle(&mut desk, "the first points", |bench| points(bench) >= 2);
    let address = unit.kill();
    idle(&mut desk, "the loss", |bench| {
        matches!(bench.module, ModuleState::Failed { .. })
    });
    idle(&mut desk, "the recording", |bench| bench.playback.is_some());
    // It is looked for while it is away, and not found.
    for _ in 0..60 {
        desk.bench.pass(Duration::from_secs(1));
        desk.turn();
    }
    assert!(desk.bench.playback.is_some());
    let _unit = Killable::on(address);
    let before = desk.bench.tuning.past.records.len();
    idle(&mut desk, "the module", |bench| bench.module.is_ready());
    idle(&mut desk, "new points", |bench| {
        bench.tuning.past.records.len() > before
    });
    assert!(desk.bench.playback.is_none() && desk.bench.presenting);
}
