//! The library as a specification: one journal an experiment, listed without being read, shared by windows and shells.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::path::Path;

use softprefix_core::experiment::{Ending, Entry, Experiment, Journal, JournalError, Library, Summary};

fn sweep(id: &str) -> Experiment {
    common::experiment(id, common::plan())
}

fn tuning(id: &str) -> Experiment {
    Experiment {
        plan: None,
        ..sweep(id)
    }
}

fn case(experiment: &Experiment, index: usize) -> Entry {
    let mut cases = common::plan().cases().unwrap();
    let mut case = cases.remove(index % cases.len());
    case.index = index;
    let planned = sweep(&experiment.id);
    Entry::Case(Box::new(common::record(
        &planned,
        &case,
        &format!("text {index} of session-{}", experiment.id),
    )))
}

/// A library with a sweep of three cases and a session of tuning with two.
fn two(folder: &Path) -> Library {
    let library = Library::open(folder).unwrap();
    for (experiment, cases) in [(sweep("a"), 3), (tuning("b"), 2)] {
        let journal = library.create(&experiment).unwrap();
        for index in 0..cases {
            journal.lock().unwrap().append(&case(&experiment, index)).unwrap();
        }
    }
    library
}

fn ids(list: &[Summary]) -> Vec<&str> {
    list.iter().map(|summary| summary.experiment.id.as_str()).collect()
}

#[test]
fn each_experiment_has_a_journal_of_its_own_and_a_line_in_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let library = two(folder.path());
    let list = library.list().unwrap();
    assert!(list.unreadable.is_empty());
    let one = |id: &str| list.experiments.iter().find(|one| one.experiment.id == id).unwrap();
    let (a, b) = (one("a"), one("b"));
    assert_eq!((a.finished, a.planned, a.is_open), (3, 12, true));
    assert_eq!(
        (b.finished, b.planned, b.is_open),
        (2, 0, false),
        "a session of tuning has no plan"
    );
    assert_eq!(
        b.prompts,
        common::plan().prompts,
        "its prompts are those of its records"
    );
    assert!(folder.path().join("a.journal").is_file() && folder.path().join("b.journal").is_file());
}

#[test]
fn the_list_is_made_from_the_index_and_a_journal_is_read_only_when_it_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let library = two(folder.path());
    let before = library.list().unwrap().experiments;
    // Another text in the index shows where the list comes from.
    let index = folder.path().join("index.json");
    let planted = std::fs::read_to_string(&index)
        .unwrap()
        .replace("experiment a", "planted");
    std::fs::write(&index, planted).unwrap();
    assert!(
        library
            .list()
            .unwrap()
            .experiments
            .iter()
            .any(|one| one.experiment.name == "planted")
    );
    library.append("a", &case(&sweep("a"), 3)).unwrap();
    let after = library.list().unwrap().experiments;
    let a = after.iter().find(|one| one.experiment.id == "a").unwrap();
    assert_eq!((a.finished, a.experiment.name.as_str()), (4, "experiment a"));
    assert_eq!(before.len(), after.len());
}

#[test]
fn a_lost_or_damaged_index_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let library = two(folder.path());
    let before = library.list().unwrap().experiments;
    let index = folder.path().join("index.json");
    for content in ["", "{\"version\":99,\"files\":{}}", "[1,2", "\u{0}\u{0}"] {
        std::fs::write(&index, content).unwrap();
        assert_eq!(
            Library::open(folder.path()).unwrap().list().unwrap().experiments,
            before,
            "{content:?}"
        );
    }
    std::fs::remove_file(&index).unwrap();
    assert_eq!(library.list().unwrap().experiments, before);
}

#[test]
fn names_deletions_and_endings_show_in_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let library = two(folder.path());
    library
        .append(
            "a",
            &Entry::Renamed {
                id: "a".into(),
                name: "朝".into(),
            },
        )
        .unwrap();
    library.append("b", &Entry::Deleted { id: "b".into() }).unwrap();
    library
        .append(
            "a",
            &Entry::Ended {
                experiment: "a".into(),
                how: Ending::Cancelled,
                at_unix: 1.9e9,
            },
        )
        .unwrap();
    let list = library.list().unwrap().experiments;
    let one = |id: &str| list.iter().find(|one| one.experiment.id == id).unwrap();
    assert_eq!(
        (one("a").experiment.name.as_str(), one("a").ending, one("a").is_open),
        ("朝", Some(Ending::Cancelled), false)
    );
    assert!(one("b").is_deleted);
    library.append("b", &Entry::Restored { id: "b".into() }).unwrap();
    assert!(library.list().unwrap().experiments.iter().all(|one| !one.is_deleted));
}

#[test]
fn texts_are_searched_in_every_journal() {
    let folder = tempfile::tempdir().unwrap();
    let library = two(folder.path());
    assert_eq!(library.search("text SESSION-B").unwrap(), ["b"]);
    assert_eq!(library.search("text").unwrap().len(), 2);
    assert!(library.search("nowhere").unwrap().is_empty());
}

#[test]
fn two_libraries_work_side_by_side_and_only_one_appends_to_an_experiment() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (two(folder.path()), Library::open(folder.path()).unwrap());
    let held = one.append_to("a").unwrap();
    // Everybody reads and lists; each appends to what nobody else holds.
    assert_eq!(other.read("a").unwrap().0.records.len(), 3);
    assert_eq!(other.list().unwrap().experiments.len(), 2);
    let error = other.append("a", &case(&sweep("a"), 4)).unwrap_err();
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    other.append("b", &case(&tuning("b"), 2)).unwrap();
    let own = other.create(&tuning("c")).unwrap();
    own.lock().unwrap().append(&case(&tuning("c"), 0)).unwrap();
    held.journal.lock().unwrap().append(&case(&sweep("a"), 3)).unwrap();
    assert_eq!(one.list().unwrap().experiments.len(), 3);
    drop(held);
    other.append("a", &case(&sweep("a"), 4)).unwrap();
    assert_eq!(one.read("a").unwrap().0.records.len(), 5);
}

#[test]
fn the_same_process_appends_to_an_open_experiment_through_the_journal_that_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let library = two(folder.path());
    let first = library.append_to("b").unwrap();
    let second = library.append_to("b").unwrap();
    assert_eq!(second.saved.records.len(), 2);
    first.journal.lock().unwrap().append(&case(&tuning("b"), 2)).unwrap();
    second.journal.lock().unwrap().append(&case(&tuning("b"), 3)).unwrap();
    library.append("b", &case(&tuning("b"), 4)).unwrap();
    assert_eq!(library.read("b").unwrap().0.records.len(), 5);
}

#[test]
fn a_journal_that_cannot_be_read_is_listed_separately_and_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let library = two(folder.path());
    let other = folder.path().join("x.journal");
    std::fs::write(&other, "name,value\n1,2\n").unwrap();
    let list = library.list().unwrap();
    assert_eq!(list.experiments.len(), 2);
    assert!(matches!(list.unreadable.as_slice(), [JournalError::NotAJournal { path }] if *path == other));
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "name,value\n1,2\n");
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_read_as_a_journal() {
    let folder = tempfile::tempdir().unwrap();
    let library = two(folder.path());
    let device = folder.path().join("x.journal");
    std::os::unix::fs::symlink("/dev/null", &device).unwrap();
    let list = library.list().unwrap();
    assert_eq!(list.experiments.len(), 2);
    assert!(matches!(list.unreadable.as_slice(), [JournalError::Open { path, .. }] if *path == device));
}

#[test]
fn damaged_lines_are_reported_with_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let library = two(folder.path());
    let path = library.path_of("a");
    let mut bytes = std::fs::read(&path).unwrap();
    let second = bytes.iter().position(|&b| b == b'\n').unwrap() + 40;
    bytes[second] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let list = library.list().unwrap().experiments;
    let a = list.iter().find(|one| one.experiment.id == "a").unwrap();
    assert_eq!((a.condition.damaged, a.finished), (1, 2));
    assert!(list.iter().filter(|one| !one.condition.is_sound()).count() == 1);
}

#[test]
fn the_journal_of_version_1_is_taken_over_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("history.journal");
    let old_bytes = include_bytes!("fixtures/v1/sweep.journal");
    std::fs::write(&old, old_bytes).unwrap();
    let (mut journal, _, _) = Journal::open(&old).unwrap();
    journal.append(&Entry::Started(Box::new(sweep("a")))).unwrap();
    journal.append(&case(&sweep("a"), 0)).unwrap();
    drop(journal);
    let before = std::fs::read(&old).unwrap();
    let library = Library::open(&folder.path().join("experiments")).unwrap();
    assert_eq!(library.import_older(&old).unwrap().0, 2);
    let list = library.list().unwrap().experiments;
    assert_eq!(list.len(), 2);
    assert!(ids(&list).contains(&"a"));
    let taken = list.iter().find(|one| one.experiment.id != "a").unwrap();
    assert_eq!((taken.finished, taken.ending), (taken.planned, Some(Ending::Complete)));
    assert_eq!(std::fs::read(&old).unwrap(), before, "the old file is kept as it was");
    library.append("a", &Entry::Deleted { id: "a".into() }).unwrap();
    assert_eq!(library.import_older(&old).unwrap().0, 0, "and not taken over again");
}

#[test]
fn an_id_that_is_no_file_name_stays_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let library = Library::open(&folder.path().join("experiments")).unwrap();
    for id in ["../../outside", "/etc/passwd", "", "a/b", &"x".repeat(300)] {
        let path = library.path_of(id);
        assert_eq!(path.parent(), Some(library.folder()), "{id:?}");
        library.create(&sweep(id)).unwrap();
        assert_eq!(library.read(id).unwrap().0.experiment.id, id);
    }
}
