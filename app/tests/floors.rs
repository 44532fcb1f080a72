//! The floors of this crate, as its documentation draws them: an import goes down, never up and never across.

#[path = "../../core/tests/floors/imports.rs"]
mod imports;

use imports::{Floors, no_import_climbs, no_large_circle};

/// From the ground up.
const FLOORS: Floors<'_> = &[
    &["log.rs", "places.rs", "version.rs"],
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

#[test]
fn no_import_of_this_crate_climbs() {
    no_import_climbs(env!("CARGO_MANIFEST_DIR"), FLOORS);
}

#[test]
fn no_more_than_four_files_of_this_crate_import_each_other_in_a_circle() {
    no_large_circle(env!("CARGO_MANIFEST_DIR"));
}
