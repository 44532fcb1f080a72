//! Checks the layers of this crate's documentation: a module imports only from lower layers.

#![allow(clippy::expect_used, reason = "helpers of tests")]

#[path = "../../core/tests/floors/imports.rs"]
mod imports;

use imports::{Layers, assert_imports_only_lower_layers, no_large_circle};

/// The modules from the lowest layer to the highest.
const LAYERS: Layers<'_> = &[
    &["log.rs", "places.rs", "version.rs"],
    &["model/"],
    &["errors/"],
    &["export.rs", "settings_file.rs"],
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
fn modules_import_only_from_lower_layers() {
    assert_imports_only_lower_layers(env!("CARGO_MANIFEST_DIR"), LAYERS);
}

#[test]
fn at_most_four_files_of_this_crate_import_each_other_in_a_circle() {
    no_large_circle(env!("CARGO_MANIFEST_DIR"));
}

/// Measuring reads two texts whole, so the files whose code runs on the thread that draws leave it to the worker.
#[test]
fn no_text_is_measured_on_the_thread_that_draws() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for folder in ["workbench", "panels", "views"] {
        for file in sources(&root.join(folder)) {
            let code = std::fs::read_to_string(&file).expect("a source file is text");
            let measures = ["Comparison::measure", ".measure()", "Analysis::of(", "analysis.add("];
            let found = measures.into_iter().find(|call| code.contains(call));
            assert_eq!(found, None, "in {}", file.display());
            seen += 1;
        }
    }
    assert!(seen > 50, "only {seen} files were read");
}

/// The source files below `folder` without those of tests.
fn sources(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("an entry can be read").path());
    paths
        .filter(|path| path.file_name().is_some_and(|name| name != "tests.rs"))
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .collect()
}
