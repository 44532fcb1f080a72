//! The window's arguments, from the command line to what the workbench is after its first requests.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use clap::Parser as _;
use softprefix::cli::{Cli, Command};
use softprefix::messages::{LibraryRequest, MaterialRequest, RecordingRequest, Request};
use softprefix::model::{Format, KindChoice, Language, ModuleState, Problem, Remembered, Target};
use softprefix::places;
use softprefix::settings_file::SettingsFile;
use softprefix::start::{Start, Started, begin};
use softprefix::workbench::external::Link as Osc;
use softprefix::workbench::{Action, Dialog, SweepAction, Workbench};
use softprefix_core::prefix::{Rounding, SoftPrefix, files};

use crate::external::{Peer, packets, sent_by_python};
use crate::hardship::Link;
use crate::recording::{end_into, harness as recording_harness};
use crate::support::{Harness, LONG, at, closed_port, points, serve, tiny_model};

/// The window's state as `softprefix ARGS` starts it, where `stored` is what the last start has stored.
fn begin_window(args: &[&str], stored: impl FnOnce() -> (SettingsFile, Remembered, Option<Problem>)) -> Started {
    let cli = Cli::try_parse_from([&["softprefix"], args].concat()).unwrap();
    match cli.command {
        None => begin(cli.window, Start::Module, stored),
        Some(Command::Demo(demo)) => begin(cli.window, demo.start().unwrap(), stored),
        Some(other) => panic!("{other:?} opens no window"),
    }
}

/// Fields of a former start: another prompt, and a module that is not there any more.
fn former() -> Remembered {
    let mut remembered = Remembered::default();
    remembered.settings.live = false;
    remembered.settings.zoom = 1.25;
    remembered.settings.target = at(closed_port());
    remembered.prompt.user = "A prompt of a former start.".to_owned();
    remembered.prompt.max_tokens = 16;
    remembered
}

fn stored(folder: &Path, remembered: Remembered) -> (SettingsFile, Remembered, Option<Problem>) {
    SettingsFile::open(&folder.join("settings.json"), || Ok(Some(remembered)))
}

/// The window that was started so, with all its files in `folder`.
pub fn window(args: &[&str], folder: &Path, remembered: Remembered) -> Harness {
    let started = begin_window(args, || stored(folder, remembered));
    Harness::with_requests(started.workbench, started.requests, folder)
}

fn targets(requests: &[Request]) -> Vec<&Target> {
    let mut targets = Vec::new();
    for request in requests {
        if let Request::Connect { target, .. } = request {
            targets.push(target);
        }
    }
    targets
}

fn address(module: SocketAddr) -> String {
    module.to_string()
}

#[test]
fn the_places_of_files_are_the_first_requests() {
    let folder = tempfile::tempdir().unwrap();
    for args in [&[][..], &["--fresh"], &["demo"]] {
        let started = begin_window(args, || stored(folder.path(), former()));
        let [
            Request::Material(material),
            Request::Library(library),
            Request::Recording(recording),
        ] = &started.requests[..3]
        else {
            panic!("{:?}", started.requests);
        };
        let prefixes = places::prefix_store().folder().to_owned();
        assert_eq!(**material, MaterialRequest::UsePrefixStore { folder: prefixes });
        let (folder, old) = (places::library(), places::old_history());
        assert_eq!(*library, LibraryRequest::Open { folder, old });
        assert_eq!(*recording, RecordingRequest::Folder(places::recordings()));
    }
}

#[test]
fn without_arguments_the_fields_and_the_module_of_the_last_start_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let last = former();
    let started = begin_window(&[], || stored(folder.path(), last.clone()));
    assert_eq!(targets(&started.requests), [&last.settings.target]);
    assert_eq!(started.workbench.prompt, last.prompt);
    assert_eq!(started.workbench.settings.zoom, 1.25);
    assert!(started.settings.is_some() && started.workbench.library.restore);
}

#[test]
fn what_was_typed_and_not_run_is_in_the_fields_at_the_next_start_beside_the_last_session() {
    let folder = tempfile::tempdir().unwrap();
    let module = address(serve(tiny_model()));
    let mut harness = window(&["--connect", &module], folder.path(), former());
    harness.until("the module", |workbench| workbench.module.is_ready());
    harness.run();
    harness.apply(Action::SetPrompt("Typed and not run.".to_owned()));
    harness.apply(Action::SetMagnitude(7.5));
    harness.apply(Action::Sweep(SweepAction::AddCurrentPrompt));
    let last = harness.workbench.remembered();
    drop(harness);

    let mut again = window(&["--connect", &module], folder.path(), last.clone());
    again.until("the session", |workbench| points(workbench) == 1);
    again.until("the module", |workbench| workbench.module.is_ready());
    assert_eq!(again.workbench.remembered().prompt, last.prompt);
    assert_eq!(again.workbench.remembered().prefix, last.prefix);
    assert_eq!(again.workbench.remembered().sweep, last.sweep);
    assert!(!again.workbench.prefixed.text.is_empty() && again.workbench.prefixed.stale);
    // Opened by hand, it brings its own.
    let id = again.workbench.tuning.saved.experiment.id.clone();
    again.apply(Action::Sweep(SweepAction::Show(id)));
    again.until("its prompt", |workbench| workbench.prompt == former().prompt);
    drop(again);

    // Where no fields were stored, those of the session are better than those of a first start.
    let started = begin_window(&["--connect", &module], || {
        SettingsFile::open(&folder.path().join("none.json"), || Ok(None))
    });
    let mut first = Harness::with_requests(started.workbench, started.requests, folder.path());
    first.until("the session", |workbench| points(workbench) == 1);
    assert_eq!(first.workbench.prompt, former().prompt);
}

#[test]
fn a_first_start_asks_in_the_language_of_the_window() {
    for (language, is_in_it) in [
        (Language::English, str::is_ascii as fn(&str) -> bool),
        (Language::Japanese, |text| text.contains('。')),
    ] {
        let first = Remembered::of_first_start(language);
        assert_eq!(first.settings.language, language);
        let workbench = Workbench::new(first);
        let asked = [
            &workbench.prompt.user,
            &workbench.sweep.form.prompts[0].user,
            &workbench.find.form.examples[0].prompt,
        ];
        assert!(asked.iter().all(|prompt| is_in_it(prompt)), "{asked:?}");
        assert!(asked.iter().all(|prompt| *prompt == asked[0]), "{asked:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let (_, first, _) = SettingsFile::open(&folder.path().join("settings.json"), || Ok(None));
    assert_eq!(
        first.prompt,
        Remembered::of_first_start(Language::of_environment()).prompt
    );
}

#[test]
fn unreadable_settings_are_reported_in_the_first_frame() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.json");
    std::fs::write(&path, "{").unwrap();
    let started = begin_window(&[], || SettingsFile::open(&path, || Ok(None)));
    assert!(started.workbench.notice.is_some());
}

#[test]
fn connect_takes_this_module_instead_of_the_one_used_last() {
    let folder = tempfile::tempdir().unwrap();
    let module = address(serve(tiny_model()));
    let mut harness = window(&["--connect", &module], folder.path(), former());
    harness.until("the module", |workbench| workbench.module.is_ready());
    assert_eq!(harness.workbench.module.facts().unwrap().address, module);
    assert_eq!(harness.workbench.prompt, former().prompt, "the fields stay");
    for wrong in ["", "host:port", "a b"] {
        let refused = Cli::try_parse_from(["softprefix", "--connect", wrong]);
        assert!(refused.is_err(), "{wrong:?}");
    }
}

#[test]
fn model_sets_up_the_one_that_it_names_here_or_on_the_module() {
    let folder = tempfile::tempdir().unwrap();
    let file = tiny_model().to_string_lossy().into_owned();
    let mut harness = window(&["--model", &file], folder.path(), former());
    harness.until("the embedded module", |workbench| workbench.module.is_ready());
    let facts = harness.workbench.module.facts().unwrap();
    assert!(facts.is_embedded());
    assert_eq!(facts.identity.model, "tiny");

    let last = former();
    let started = begin_window(&["--model", "tiny"], || stored(folder.path(), last.clone()));
    let named = last.settings.target.with_model(Some("tiny".to_owned()));
    assert_eq!(targets(&started.requests), [&named], "the module used last");

    let module = address(serve(tiny_model()));
    let mut harness = window(
        &["--connect", &module, "--model", "no-such-model"],
        folder.path(),
        former(),
    );
    harness.until("the refusal", |workbench| {
        matches!(workbench.module, ModuleState::Failed { .. } | ModuleState::Ready(_))
    });
    let ModuleState::Failed { problem, .. } = &harness.workbench.module else {
        panic!("the module's own model was taken");
    };
    assert!(problem.to_string().contains("no-such-model"), "{problem}");
}

#[test]
fn fresh_starts_with_default_fields_restores_nothing_and_stores_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let unit = serve(tiny_model());
    let (module, link) = (address(unit), Link::to(unit));
    let mut former_start = window(&["--connect", &address(link.address)], folder.path(), former());
    former_start.until("the module", |workbench| workbench.module.is_ready());
    former_start.run();
    former_start.apply(Action::Sweep(SweepAction::AddCurrentPrompt));
    link.breaks_after_inferences(1);
    former_start.apply(Action::Sweep(SweepAction::Start));
    former_start.until("the cut of a sweep", |workbench| {
        workbench.sweep.experiment().is_some() && !workbench.module.is_ready()
    });
    drop(former_start);

    let mut restored = window(&["--connect", &module], folder.path(), former());
    restored.until("the session of the former start", |workbench| {
        !workbench.tuning.is_empty()
    });
    restored.until("the sweep of the former start", |workbench| {
        workbench.sweep.resumable().is_some()
    });
    drop(restored);

    let started = begin_window(&["--fresh", "--connect", &module], || {
        panic!("a fresh start reads no settings")
    });
    assert!(started.settings.is_none());
    assert_eq!(started.workbench.dialog, None);
    let first = Remembered::of_first_start(Language::of_environment());
    assert_eq!(started.workbench.remembered().prompt, first.prompt);
    assert_eq!(started.workbench.settings.zoom, Remembered::default().settings.zoom);
    let mut fresh = Harness::with_requests(started.workbench, started.requests, folder.path());
    // A session is asked for in the moment in which it is listed.
    let asked = fresh.requests_until("the history", |workbench| !workbench.library.experiments.is_empty());
    let reads = |request: &Request| matches!(request, Request::Library(LibraryRequest::Read(_)));
    assert!(!asked.iter().any(reads), "{asked:?}");
    assert!(fresh.workbench.tuning.is_empty() && fresh.workbench.sweep.experiment().is_none());
}

#[test]
fn prefix_file_is_imported_when_the_width_of_the_models_rows_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.npy");
    let rows = SoftPrefix::from_f32(64, &[0.25; 192], Rounding::default()).unwrap();
    files::export_npy(&rows, &path).unwrap();
    let (module, path) = (address(serve(tiny_model())), path.to_string_lossy().into_owned());
    let mut harness = window(&["--connect", &module, "--prefix-file", &path], folder.path(), former());
    harness.until("the rows", |workbench| workbench.prefix.imported.is_some());
    let prefix = &harness.workbench.prefix;
    assert_eq!((prefix.kind, prefix.len), (KindChoice::Imported, 3));
}

#[test]
fn a_results_file_is_opened_and_no_first_steps_are_shown_over_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("results.json");
    let module = address(serve(tiny_model()));
    let mut before = Harness::new();
    before.connect(at(module.parse().unwrap()));
    before.run();
    before.export(Format::Results, &file);
    let text = before.current().0.output().to_owned();

    let file = file.to_string_lossy().into_owned();
    let first_start = || Remembered {
        prompt: former().prompt,
        ..Remembered::default()
    };
    let mut harness = window(&["--connect", &module, &file], folder.path(), first_start());
    assert_eq!(harness.workbench.dialog, None);
    let holds = |workbench: &Workbench| {
        workbench
            .tuning
            .saved
            .records
            .iter()
            .any(|record| record.output() == text)
    };
    harness.until("the file's runs", holds);

    let started = begin_window(&["--connect", &module], || stored(folder.path(), first_start()));
    assert_eq!(started.workbench.dialog, Some(Dialog::FirstSteps));
}

#[test]
fn a_demo_plays_the_built_in_recording_or_a_file_and_connects_to_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let start = begin_window(&["demo"], || stored(folder.path(), former()));
    assert_eq!(targets(&start.requests), [] as [&Target; 0]);
    let playback = start.workbench.playback.as_ref().unwrap();
    assert!(!playback.looping && start.workbench.exhibition.is_none());
    assert!(start.workbench.shown().presenting, "it is read from across a room");
    let built_in = start.workbench.shown().prompt.clone();

    let mut recorded = recording_harness(folder.path());
    recorded.connect(at(serve(tiny_model())));
    recorded.apply(Action::SetPrompt("A prompt that was recorded.".to_owned()));
    recorded.apply(Action::ToggleRecording);
    recorded.run();
    let file = folder.path().join("mine.jsonl");
    end_into(&mut recorded, &file);
    let start = begin_window(&["demo", &file.to_string_lossy()], || stored(folder.path(), former()));
    let shown = start.workbench.shown().prompt.clone();
    assert_eq!(shown.user, "A prompt that was recorded.");
    assert_ne!(shown, built_in);
    assert_eq!(start.workbench.remembered().prompt, former().prompt, "the fields stay");
}

#[test]
fn a_demo_as_an_exhibition_is_presented_full_screen_and_repeats() {
    let folder = tempfile::tempdir().unwrap();
    let start = begin_window(&["demo", "--exhibition"], || stored(folder.path(), former()));
    assert!(start.workbench.exhibition.is_some());
    assert!(start.workbench.playback.as_ref().unwrap().looping);
    assert!(start.workbench.shown().presenting);
}

#[test]
fn osc_is_received_at_the_first_address_and_sent_to_the_second_and_neither_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let module = address(serve(tiny_model()));
    let opens = |started: &Started| {
        let mut requests = started.requests.iter();
        requests.any(|request| matches!(request, Request::External(_)))
    };
    let unasked = begin_window(&["--connect", &module], || stored(folder.path(), former()));
    assert!(!opens(&unasked) && unasked.workbench.external.link == Osc::Off);
    for invalid in ["nowhere", "127.0.0.1:70000"] {
        assert!(
            Cli::try_parse_from(["softprefix", "--osc", invalid]).is_err(),
            "{invalid}"
        );
    }

    let mut peer = Peer::of(closed_port());
    let peers_own = peer.address().to_string();
    let args = ["--connect", &module, "--osc", "127.0.0.1:0", "--osc-to", &peers_own];
    let mut harness = window(&args, folder.path(), former());
    harness.until("both sockets", |workbench| {
        matches!(&workbench.external.link, Osc::Open { send_to: Some(to), .. } if to.to_string() == peers_own)
    });
    let Osc::Open {
        listen: Some(listen), ..
    } = harness.workbench.external.link
    else {
        panic!("no socket listens");
    };
    assert!(listen.ip().is_loopback());
    peer.to = listen;
    peer.send(&packets()["magnitude"]);
    harness.until("the packet", |workbench| workbench.prefix.magnitude == 2.5);
    harness.until("the module", |workbench| workbench.module.is_ready());
    let (idle, end) = (&sent_by_python()["state"], Instant::now() + LONG);
    while peer.datagrams().last() != Some(idle) {
        assert!(Instant::now() < end, "the state is not sent");
        harness.turn();
    }
}
