//! The floors of this crate, as its documentation draws them: an import goes down, never up and never across.

#[path = "../../core/tests/floors/imports.rs"]
mod imports;

use std::path::PathBuf;

use imports::{Floors, circles, faults, files, imports};

/// From the ground up.
const FLOORS: Floors<'_> = &[
    &["log.rs", "places.rs"],
    &["model/"],
    &["errors/"],
    &["recording/"],
    &["doctor/"],
    &["session/"],
    &["fonts.rs"],
    &["figure.rs"],
    &["messages/"],
    &["bridge/", "workbench/"],
    &["commands.rs"],
    &["text/"],
    &["theme.rs"],
    &["views/"],
    &["panels/"],
    &["start.rs"],
    &["app.rs"],
    &["cli/"],
    &["lib.rs"],
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")
}

#[test]
fn no_import_of_this_crate_climbs() {
    let found = faults(&files(&root()), &imports(&root()), FLOORS);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_more_than_four_files_of_this_crate_import_each_other_in_a_circle() {
    assert_eq!(circles(&imports(&root()), 4), []);
}
