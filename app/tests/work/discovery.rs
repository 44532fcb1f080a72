//! Modules on the local network: a unit that announces itself is found and asked, and nothing is searched unasked.

use softprefix::messages::{DiscoveryRequest, Request};
use softprefix::model::{FoundModule, ModuleAnswer, Remembered, UsedModule};
use softprefix::workbench::{Action, Dialog, PlaybackAction, Workbench};
use softprefix_unit::announce::Announcement;

use crate::shell::program;
use crate::support::{Harness, at, closed_port, serve, tiny_model};

fn found<'b>(workbench: &'b Workbench, address: &str) -> Option<&'b FoundModule> {
    workbench.discovery.found.iter().find(|found| found.address == address)
}

#[test]
fn a_unit_that_announces_itself_is_listed_with_its_model_as_ours_and_used_modules_are_asked_too() {
    let unit = serve(tiny_model());
    let announcement = Announcement::start(unit).unwrap();
    let closed = closed_port().to_string();
    let mut remembered = Remembered::default();
    remembered.settings.used_modules = vec![UsedModule {
        address: closed.clone(),
        model: "qwen".to_owned(),
        ours: false,
    }];
    let mut harness = Harness::new();
    harness.workbench.settings.used_modules = remembered.settings.used_modules;
    harness.apply(Action::ShowDialog(Dialog::Connect));
    let address = unit.to_string();
    harness.until("the announced unit", |workbench| {
        let answer = found(workbench, &address).map(|found| &found.answer);
        matches!(answer, Some(ModuleAnswer::Module { ours: true, model: Some(model) }) if model == "tiny")
    });
    let name = &found(&harness.workbench, &address).unwrap().name;
    assert!(name.starts_with("softprefix-unit on "), "{name}");
    harness.until("the one that is gone", |workbench| {
        matches!(
            found(workbench, &closed).map(|found| &found.answer),
            Some(ModuleAnswer::Problem(_))
        )
    });
    // The same from a shell.
    let folder = tempfile::tempdir().unwrap();
    let done = program(folder.path(), &["module", "--json"]).output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let listed: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let listed = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|module| module["address"] == address);
    let listed = listed.unwrap();
    assert_eq!((&listed["model"], &listed["ours"]), (&"tiny".into(), &true.into()));

    // The module that is used is remembered as it is.
    harness.connect(at(unit));
    harness.apply(Action::CloseDialog);
    let used = &harness.workbench.remembered().settings.used_modules;
    assert_eq!(
        used[0],
        UsedModule {
            address: address.clone(),
            model: "tiny".to_owned(),
            ours: true,
        }
    );
    assert_eq!(used.len(), 2);

    // What is taken back is not found any more: it would answer the search before another unit, which announces itself later, is found.
    drop(announcement);
    harness.workbench.settings.used_modules.clear();
    harness.apply(Action::ShowDialog(Dialog::Connect));
    let other = serve(tiny_model());
    let _announcement = Announcement::start(other).unwrap();
    harness.until("the other unit", |workbench| {
        found(workbench, &other.to_string()).is_some()
    });
    assert_eq!(found(&harness.workbench, &address), None);
}

#[test]
fn the_network_is_searched_only_while_the_list_is_open_and_neither_in_a_demo_nor_when_it_is_off() {
    fn searches(workbench: &mut Workbench) -> Vec<DiscoveryRequest> {
        let requests = workbench.take_requests().into_iter();
        requests
            .filter_map(|request| match request {
                Request::Discovery(request) => Some(request),
                _ => None,
            })
            .collect()
    }
    let mut workbench = Workbench::new(Remembered::default());
    assert_eq!(searches(&mut workbench), []);
    workbench.apply(Action::ShowDialog(Dialog::Connect));
    let started = DiscoveryRequest::Start { known: Vec::new() };
    assert_eq!(searches(&mut workbench), std::slice::from_ref(&started));
    workbench.apply(Action::SetDiscover(false));
    assert_eq!(searches(&mut workbench), [DiscoveryRequest::Stop]);
    workbench.apply(Action::SetDiscover(true));
    workbench.apply(Action::CloseDialog);
    assert_eq!(searches(&mut workbench), [started, DiscoveryRequest::Stop]);

    let mut harness = Harness::new();
    harness.apply(Action::Playback(PlaybackAction::Demo));
    harness.until("the recording", |workbench| workbench.playback.is_some());
    harness.workbench.apply(Action::ShowDialog(Dialog::Connect));
    assert_eq!(searches(&mut harness.workbench), []);
    assert!(!harness.workbench.discovery.is_searching());
}
