//! The first start, on which no model is here: the small one first, the default one behind it, from a hub on loopback.

use std::path::Path;
use std::time::Duration;

use softprefix::model::{BackgroundFetch, ModuleState, PaneState, RunKind, Target};
use softprefix::session::embedded::Models;
use softprefix::workbench::{Action, Dialog, Notice, PlaybackAction, Workbench};
use softprefix_unit::models::{Entry, FetchOptions, Places, entry, small};
use softprefix_unit::testing::hub::{Server, ServerBehaviour};
use softprefix_unit::testing::{TinyModel, small_model};

use crate::support::{Harness, closed_port};

/// The default model, whose digest the hub announces: here a tiny one has its name.
fn default_model() -> &'static Entry {
    entry("qwen").unwrap()
}

fn tiny() -> ServerBehaviour {
    // More than the hub sends in one piece.
    let content = TinyModel {
        feed_forward: 4096,
        window: 2048,
        ..TinyModel::qwen2()
    };
    ServerBehaviour::of(&content.bytes())
}

/// Models in `folder`, from this hub.
fn models(folder: &Path, endpoint: String) -> Models {
    Models {
        places: Places::only(folder.join("models")),
        options: FetchOptions {
            endpoint,
            patience: Duration::from_secs(10),
            stall: Duration::from_secs(600),
            pythons: Vec::new(),
        },
        default: vec![default_model()],
        small: small(),
    }
}

/// Puts the small model where a former start left it.
fn with_small_model(folder: &Path) {
    let own = folder.join("models");
    std::fs::create_dir(&own).unwrap();
    std::fs::copy(small_model(), own.join(small().file_name)).unwrap();
}

fn model_in_use(workbench: &Workbench) -> Option<&str> {
    workbench.module.facts().map(|facts| facts.identity.model.as_str())
}

fn stored(workbench: &Workbench) -> Target {
    workbench.remembered().settings.target
}

fn start(harness: &mut Harness) {
    harness.apply(Action::Connect(Target::default()));
    harness.until("the attempt", |workbench| !workbench.module.is_ready());
    harness.until("the small model", |workbench| {
        model_in_use(workbench) == Some(small().name)
    });
}

#[test]
fn the_small_model_runs_first_and_the_default_one_replaces_it_once_downloaded_and_idle() {
    let folder = tempfile::tempdir().unwrap();
    // The default model does not get beyond its first bytes before it is let.
    let slow = ServerBehaviour {
        stalls: Some(1),
        ..tiny()
    };
    let quick = ServerBehaviour::of(&std::fs::read(small_model()).unwrap());
    let server = Server::with_files(vec![(default_model().file_name, slow), (small().file_name, quick)]);
    let mut harness = Harness::with_models(models(folder.path(), server.endpoint()));
    harness.apply(Action::Connect(Target::default()));
    harness.until("the download of the small model", |workbench| {
        matches!(&workbench.module, ModuleState::Fetching(fetch)
            if fetch.name == small().name && fetch.total_bytes == small().bytes)
    });
    harness.until("the small model", |workbench| {
        model_in_use(workbench) == Some(small().name)
    });
    harness.until("the download behind it", |workbench| {
        let progress = workbench.background_fetch.as_ref().and_then(BackgroundFetch::progress);
        progress.is_some_and(|fetch| fetch.name == default_model().name && fetch.total_bytes.is_some())
    });
    assert_eq!(
        stored(&harness.workbench),
        Target::default(),
        "the next start looks for the default model again"
    );
    harness.run();

    // To connect anew, and to ask for the model by name, begins no second download.
    start(&mut harness);
    harness.apply(Action::FetchModel(default_model().name.to_owned()));
    harness.apply(Action::SetMaxTokens(2000));
    harness.apply(Action::SetMagnitude(2.0));
    harness.apply(Action::Run);
    harness.until("a run", |workbench| workbench.prefixed.state == PaneState::Streaming);
    server.change(|behaviour| behaviour.stalls = None);
    harness.until("the default model", |workbench| {
        matches!(&workbench.background_fetch, Some(BackgroundFetch::Arrived(_)))
    });
    assert_eq!(model_in_use(&harness.workbench), Some(small().name), "something runs");
    harness.apply(Action::Stop);
    harness.until("the switch", |workbench| {
        model_in_use(workbench) == Some(default_model().name)
    });
    assert_eq!(harness.workbench.background_fetch, None);
    assert_eq!(
        harness.workbench.notice,
        Some(Notice::TakenOver(default_model().name.to_owned()))
    );
    assert_eq!(
        stored(&harness.workbench),
        Target::Embedded {
            model: Some(default_model().name.to_owned())
        }
    );
    assert_eq!(server.transfers_of(default_model().file_name), 1);
    assert_eq!(server.transfers_of(small().file_name), 1);

    // Runs of both are in the session, each with its model.
    harness.apply(Action::SetMaxTokens(24));
    harness.run();
    let models = |kind: RunKind| {
        let records = harness.finished(kind).into_iter();
        records.map(|record| record.module.model).collect::<Vec<_>>()
    };
    assert!(models(RunKind::Prefixed).contains(&small().name.to_owned()));
    assert_eq!(
        models(RunKind::Prefixed).last().map(String::as_str),
        Some(default_model().name)
    );
    let groups = &harness.workbench.tuning.analysis.groups;
    let of = |model: &str| groups.iter().filter(|group| group.key.model == model).count();
    assert!(
        of(small().name) > 0 && of(default_model().name) > 0,
        "never in one group"
    );
}

#[test]
fn a_failed_download_of_the_default_model_is_reported_and_the_small_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    with_small_model(folder.path());
    let refused = ServerBehaviour {
        status: Some(503),
        ..tiny()
    };
    let server = Server::with_files(vec![(default_model().file_name, refused)]);
    let mut harness = Harness::with_models(models(folder.path(), server.endpoint()));
    start(&mut harness);
    harness.until("the failure", |workbench| {
        matches!(workbench.background_fetch, Some(BackgroundFetch::Failed { .. }))
    });
    let Some(BackgroundFetch::Failed { name, problem }) = harness.workbench.background_fetch.clone() else {
        panic!()
    };
    assert!(
        !problem.sentence.en.is_empty() && !problem.remedy.ja.is_empty(),
        "{problem}"
    );
    assert_eq!(harness.workbench.notice, None, "it is shown in one place");
    assert_eq!(stored(&harness.workbench), Target::default());
    harness.run();

    server.change(|behaviour| behaviour.status = None);
    harness.apply(Action::FetchModel(name));
    harness.until("the switch", |workbench| {
        model_in_use(workbench) == Some(default_model().name)
    });
}

#[test]
fn cancelling_the_default_model_keeps_the_small_one_and_a_chosen_model_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    with_small_model(folder.path());
    let slow = || ServerBehaviour {
        stalls: Some(1),
        ..tiny()
    };
    let server = Server::with_files(vec![(default_model().file_name, slow())]);
    let mut harness = Harness::with_models(models(folder.path(), server.endpoint()));
    start(&mut harness);
    harness.until("the download", |workbench| {
        workbench
            .background_fetch
            .as_ref()
            .and_then(BackgroundFetch::progress)
            .is_some()
    });
    let chosen = Target::Embedded {
        model: Some(small().name.to_owned()),
    };
    // The person chooses a model while the other one is on its way.
    harness.apply(Action::Connect(chosen.clone()));
    harness.until("the choice", |workbench| workbench.module.is_ready());
    server.change(|behaviour| behaviour.stalls = None);
    let fetched = Notice::Fetched(default_model().name.to_owned());
    harness.until("the notice", |workbench| {
        workbench.notice.as_ref() == Some(&fetched) && workbench.module.is_ready()
    });
    assert_eq!(
        (model_in_use(&harness.workbench), stored(&harness.workbench)),
        (Some(small().name), chosen.clone())
    );

    let folder = tempfile::tempdir().unwrap();
    with_small_model(folder.path());
    let server = Server::with_files(vec![(default_model().file_name, slow())]);
    let mut harness = Harness::with_models(models(folder.path(), server.endpoint()));
    start(&mut harness);
    harness.until("the download", |workbench| {
        workbench
            .background_fetch
            .as_ref()
            .and_then(BackgroundFetch::progress)
            .is_some()
    });
    harness.apply(Action::CancelFetch);
    harness.until("the end of it", |workbench| workbench.background_fetch.is_none());
    assert_eq!(
        stored(&harness.workbench),
        chosen,
        "the next start downloads nothing by itself"
    );
    harness.run();
}

#[test]
fn without_a_network_the_first_start_explains_itself_and_offers_the_demo() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = Harness::with_models(models(folder.path(), format!("http://{}", closed_port())));
    harness.apply(Action::Connect(Target::default()));
    harness.until(
        "the failure",
        |workbench| matches!(&workbench.module, ModuleState::NoModel { problem: Some(problem) } if !problem.remedy.en.is_empty()),
    );
    harness.apply(Action::Playback(PlaybackAction::Demo));
    harness.until("the demo", |workbench| workbench.playback.is_some());
}

#[test]
fn a_damaged_file_of_the_default_model_can_be_downloaded_again_from_the_list_of_models() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("models");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join(default_model().file_name), "half a model").unwrap();
    let refused = ServerBehaviour {
        status: Some(503),
        ..tiny()
    };
    let server = Server::with_files(vec![(default_model().file_name, refused)]);
    let mut harness = Harness::with_models(models(folder.path(), server.endpoint()));
    harness.apply(Action::Connect(Target::default()));
    harness.until("the failure", |workbench| {
        matches!(&workbench.module, ModuleState::NoModel { problem: Some(_) })
    });
    server.change(|behaviour| behaviour.status = None);
    harness.apply(Action::FetchModel(default_model().name.to_owned()));
    harness.until("the default model", |workbench| {
        model_in_use(workbench) == Some(default_model().name)
    });
    harness.run();
    let files = std::fs::read_dir(own).unwrap().map(|file| file.unwrap().path());
    let kept = files.filter(|file| std::fs::read(file).is_ok_and(|content| content == b"half a model"));
    assert_eq!(kept.count(), 1, "what was there is kept under another name");
}

#[test]
fn a_default_model_that_cannot_be_loaded_is_reported_next_to_the_small_one_and_can_be_requested_again() {
    let folder = tempfile::tempdir().unwrap();
    with_small_model(folder.path());
    let slow = ServerBehaviour {
        stalls: Some(1),
        ..tiny()
    };
    let server = Server::with_files(vec![(default_model().file_name, slow)]);
    let mut harness = Harness::with_models(models(folder.path(), server.endpoint()));
    start(&mut harness);
    // It arrives while a dialog is open, and its file is gone before it is used.
    harness.apply(Action::ShowDialog(Dialog::Help));
    server.change(|behaviour| behaviour.stalls = None);
    harness.until("the default model", |workbench| {
        matches!(&workbench.background_fetch, Some(BackgroundFetch::Arrived(_)))
    });
    std::fs::remove_file(folder.path().join("models").join(default_model().file_name)).unwrap();
    server.change(|behaviour| behaviour.status = Some(503));
    harness.apply(Action::CloseDialog);
    harness.until(
        "the failure",
        |workbench| matches!(&workbench.background_fetch, Some(BackgroundFetch::Failed { name, .. }) if name == default_model().name),
    );
    assert_eq!(model_in_use(&harness.workbench), Some(small().name));
    assert_eq!(harness.workbench.notice, None, "it is shown in one place");
    assert_eq!(
        stored(&harness.workbench),
        Target::default(),
        "the next start tries again"
    );
    harness.run();

    server.change(|behaviour| behaviour.status = None);
    harness.apply(Action::FetchModel(default_model().name.to_owned()));
    harness.until("the switch", |workbench| {
        model_in_use(workbench) == Some(default_model().name)
    });
}
