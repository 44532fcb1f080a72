//! The whole way by the window alone, by the names of its controls: a module in its worst state, from "connect" to a prefixed
//! inference. And the same module to try by hand.

use std::time::{Duration, Instant};

use eframe::egui::accesskit::Role;
use eframe::egui::{self, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use softprefix::bridge::{Bridge, DoctorAccess};
use softprefix::doctor::log::Log;
use softprefix::doctor::{Ended, SshOptions, Verdict};
use softprefix::messages::{ChangeOutcome, LibraryRequest, Request};
use softprefix::model::{Language, ModuleState, Remembered};
use softprefix::panels::Window;
use softprefix::session::embedded::Models;
use softprefix::workbench::{Tab, Workbench};
use softprefix::{fonts, theme};
use softprefix_core::client::ConnectOptions;

use crate::jail::Jail;
use crate::port::{self, ADDRESS};
use crate::with_jail;

/// Longest wait for anything.
const LONG: Duration = Duration::from_secs(180);

struct State {
    window: Window,
    workbench: Workbench,
    bridge: Bridge,
    _library: tempfile::TempDir,
}

type WindowHarness = Harness<'static, State>;

/// The window over a real bridge, which reaches the jail by its ssh configuration.
fn open_window(jail: &Jail, log: Log) -> WindowHarness {
    let mut remembered = Remembered::default();
    remembered.settings.live = false;
    remembered.settings.language = Language::English;
    remembered.prompt.user = "Why is the sky blue?".to_owned();
    remembered.prompt.max_tokens = 16;
    let ssh = SshOptions {
        config: jail.options().config,
        ..SshOptions::default()
    };
    let library = tempfile::tempdir().unwrap();
    let state = State {
        window: Window::default(),
        workbench: Workbench::new(remembered),
        bridge: Bridge::by(
            ConnectOptions::default(),
            DoctorAccess::new(ssh, None, Some(log)),
            Models::from_env(),
            || (),
        )
        .unwrap(),
        _library: library,
    };
    state.bridge.send(Request::Library(LibraryRequest::Open {
        folder: state._library.path().to_owned(),
        old: state._library.path().join("none"),
    }));
    Harness::builder()
        .with_size(vec2(1280.0, 1600.0))
        .with_max_steps(20)
        // A model of random weights writes any bytes.
        .allow_missing_glyphs()
        .with_context_setup(|ctx| {
            fonts::install(ctx);
            theme::install(ctx);
        })
        .build_ui_state(
            |ui, state: &mut State| {
                while let Some(event) = state.bridge.poll() {
                    state.workbench.absorb(event);
                }
                let whole = ui.ctx().content_rect();
                let ui = &mut ui.new_child(egui::UiBuilder::new().max_rect(whole));
                for action in state.window.show(ui, &state.workbench) {
                    state.workbench.apply(action);
                }
                state.bridge.send_all(state.workbench.take_requests());
            },
            state,
        )
}

/// Frames until `done`, or a failure that says what was waited for.
fn until(harness: &mut WindowHarness, what: &str, done: impl Fn(&Workbench) -> bool) {
    let end = Instant::now() + LONG;
    harness.run_steps(2);
    while !done(&harness.state().workbench) {
        let workbench = &harness.state().workbench;
        assert!(
            Instant::now() < end,
            "waited in vain for {what}: {:?}; {:?}",
            workbench.module,
            workbench.doctor
        );
        // A window without a screen has no event for what its bridge reports.
        std::thread::sleep(Duration::from_millis(10));
        harness.step();
    }
    harness.run_steps(2);
}

fn press(harness: &mut WindowHarness, role: Role, name: &str) {
    let end = Instant::now() + LONG;
    while harness.query_by_role_and_label(role, name).is_none() {
        assert!(Instant::now() < end, "there is no {role:?} {name:?}");
        harness.step();
    }
    harness.get_by_role_and_label(role, name).click();
    harness.run_steps(3);
}

fn click(harness: &mut WindowHarness, name: &str) {
    press(harness, Role::Button, name);
}

fn write(harness: &mut WindowHarness, field: &str, text: &str) {
    harness.get_by_role_and_label(Role::TextInput, field).focus();
    harness.run_steps(2);
    harness.get_by_role_and_label(Role::TextInput, field).type_text(text);
    harness.run_steps(2);
}

fn idle(workbench: &Workbench) -> bool {
    workbench.doctor.work.is_none()
}

#[test]
fn the_worst_module_is_repaired_and_tuned_in_the_window() {
    with_jail!(jail, {
        jail.make_worst();
        port::reflect(&jail, port::tiny()).await;
        let folder = tempfile::tempdir().unwrap();
        let log = Log::at(folder.path().join("log.jsonl"));
        let unit = crate::installing::program(folder.path(), 0);
        // The window waits; the module must not.
        tokio::task::block_in_place(|| walk(&jail, &log, &unit.display().to_string()));

        let entries = log.of("root@127.0.0.1").unwrap();
        let log: Vec<(&str, &str)> = entries.iter().map(|e| (e.id.as_str(), e.ended.as_str())).collect();
        assert_eq!(
            log,
            [
                ("start-llm-sys", "done"),
                ("patch-simdjson", "done"),
                ("patch-simdjson", "undone"),
                ("toolchain-wrappers", "done"),
                ("relink-libstdcxx", "done"),
                ("register-interpreter", "done"),
                ("start-llm-llm", "done"),
                ("install", "done"),
            ]
        );
        assert!(
            entries
                .iter()
                .all(|entry| !entry.commands.is_empty() && !entry.what.is_empty())
        );
    });
}

fn walk(jail: &Jail, log: &Log, unit: &str) {
    let mut harness = open_window(jail, log.clone());
    harness.run_steps(3);

    // Connecting fails; a link to the doctor is beside the reason.
    click(&mut harness, "Connect elsewhere…");
    write(&mut harness, "Host and port", ADDRESS);
    click(&mut harness, "Module at an address");
    until(&mut harness, "the failure", |workbench| {
        matches!(workbench.module, ModuleState::Failed { .. })
    });
    harness.get_by_label_contains("Could not connect to 127.0.0.1:10001");
    click(&mut harness, "Check with the doctor");
    assert_eq!(harness.state().workbench.tab, Tab::Doctor);
    assert_eq!(harness.state().workbench.doctor.host, "root@127.0.0.1");

    click(&mut harness, "Check");
    until(&mut harness, "the first look", |workbench| {
        idle(workbench) && !workbench.doctor.findings.is_empty()
    });
    let broken: Vec<_> = harness
        .state()
        .workbench
        .doctor
        .findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Broken)
        .map(|finding| finding.id)
        .collect();
    assert_eq!(broken, ["service", "answer", "unit", "libstdcxx", "interpreter"]);

    // Each finding with a remedy, in the guide's order.
    let mut undone = false;
    while let Some((title, shown, id)) = harness.state().workbench.doctor.findings.iter().find_map(|finding| {
        let remedy = finding
            .remedy
            .as_ref()
            .filter(|remedy| !(undone && remedy.id == "patch-simdjson"))?;
        Some((finding.title.en.clone(), remedy.shown(), remedy.id))
    }) {
        press(&mut harness, Role::ListBoxOption, &title);
        harness.get_by_label(shown.as_str());
        click(&mut harness, "Fix it (backs up first)");
        until(&mut harness, "the remedy and the look after it", idle);
        let outcomes = harness.state().workbench.doctor.outcomes.clone();
        assert!(
            matches!(outcomes.as_slice(), [ChangeOutcome::Outcome { outcome, .. }] if outcome.ended == Ended::Done),
            "{id}: {outcomes:?}"
        );
        harness.get_by_label_contains("Done, and verified.");
        if id == "patch-simdjson" {
            // One of them is taken back, from the list of what was changed.
            click(&mut harness, "Undo patch-simdjson 0");
            until(&mut harness, "the undoing", idle);
            harness.get_by_label_contains("Undone: the previous state is restored.");
            undone = true;
        }
    }
    let workbench = &harness.state().workbench;
    let left: Vec<_> = workbench
        .doctor
        .findings
        .iter()
        .filter(|finding| finding.verdict != Verdict::Good)
        .map(|finding| finding.id)
        .collect();
    assert_eq!(left, ["simdjson", "prefix"]);
    harness.get_by_role_and_label(Role::ListBoxOption, "soft_prefix is not applied here");

    click(&mut harness, "Install softprefix-unit…");
    write(&mut harness, "The unit's file, built for the module", unit);
    click(&mut harness, "Install (the stock unit stays)");
    until(&mut harness, "the installation and the look after it", idle);
    let outcomes = harness.state().workbench.doctor.outcomes.clone();
    assert!(matches!(outcomes.as_slice(), [ChangeOutcome::Good(_)]), "{outcomes:?}");
    harness.get_by_label_contains("softprefix-unit is installed");
    assert_eq!(crate::installing::running(jail), crate::installing::OURS);

    click(&mut harness, "Connect and tune");
    until(&mut harness, "the module", |workbench| workbench.module.is_ready());
    assert_eq!(harness.state().workbench.tab, Tab::Tune);
    assert!(
        harness
            .state()
            .workbench
            .module
            .facts()
            .is_some_and(|facts| facts.is_ours())
    );
    click(&mut harness, "Run");
    until(&mut harness, "a prefixed text", |workbench| {
        !workbench.is_running() && workbench.tuning.points().next().is_some()
    });
    let workbench = &harness.state().workbench;
    let (_, point) = workbench.tuning.points().next().unwrap();
    assert_eq!(point.applied, softprefix_core::experiment::Applied::Proven);
    assert!(!workbench.prefixed.text.is_empty());
}

#[test]
fn a_build_is_started_watched_and_stopped_in_the_window() {
    with_jail!(jail, {
        jail.stackflow_tree();
        std::fs::write(jail.at("/tmp/slow"), "").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let log = Log::at(folder.path().join("log.jsonl"));
        tokio::task::block_in_place(|| {
            let mut harness = open_window(&jail, log.clone());
            harness.run_steps(3);
            press(&mut harness, Role::Tab, "Doctor");
            write(&mut harness, "Module, as for ssh", "root@127.0.0.1");
            click(&mut harness, "Check");
            until(&mut harness, "the look", |workbench| {
                idle(workbench) && !workbench.doctor.findings.is_empty()
            });
            press(
                &mut harness,
                Role::ListBoxOption,
                "The StackFlow tree is there, not built yet",
            );
            click(&mut harness, "Start the build");
            until(&mut harness, "the answered question and the memory", |workbench| {
                let build = workbench.doctor.build.as_ref();
                build.is_some_and(|build| build.text.contains("answered Y") && build.free_mib == Some(781))
            });
            assert!(
                harness
                    .query_all_by_label("Building: 781 MiB of memory free")
                    .next()
                    .is_some()
            );
            click(&mut harness, "Stop the build");
            until(&mut harness, "the end of the build", idle);
            harness.get_by_label_contains("The build was stopped");
        });
        assert!(!jail.at("/var/lib/softprefix/doctor/build/pid").exists());
        let entries = log.of("root@127.0.0.1").unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(
            (entries[0].id.as_str(), entries[0].ended.as_str()),
            ("build-stock-unit", "stopped")
        );
        assert!(entries[0].output.contains("step 1"), "{entries:?}");
    });
}

#[test]
#[ignore = "a module to try by hand: it waits until the file that it names is made"]
fn a_worst_module_to_try_by_hand() {
    with_jail!(jail, {
        jail.make_worst();
        port::reflect(&jail, port::real()).await;
        let folder = tempfile::tempdir().unwrap();
        let unit = crate::installing::program(folder.path(), 0);
        let end = folder.path().join("end");
        eprintln!(
            "a module in its worst state:\n  ssh:    ssh -F {0} root@127.0.0.1\n  window: SOFTPREFIX_SSH_CONFIG={0} softprefix --connect {ADDRESS}\n  \
             shell:  softprefix doctor root@127.0.0.1 --ssh-config {0}\n  unit:   {1}\n  files:  {2}\n  end:    touch {3}",
            jail.options().config.unwrap().display(),
            unit.display(),
            jail.at("/").display(),
            end.display()
        );
        while !end.exists() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
}
