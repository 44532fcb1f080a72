//! Checks the layers of this crate's documentation: a module imports only from lower layers.

#[path = "../../core/tests/floors/imports.rs"]
mod imports;

use imports::{Layers, assert_imports_only_lower_layers, no_large_circle};

/// The modules from the lowest layer to the highest.
const LAYERS: Layers<'_> = &[
    &["errors.rs", "log.rs", "machine.rs", "tasks.rs"],
    &["stored_file.rs", "budget.rs"],
    &["gguf/"],
    &[
        "tokenizer/",
        "testing.rs",
        "testing/hub.rs",
        "engine/gradient.rs",
        "engine/likelihood.rs",
        "engine/sampling.rs",
    ],
    &["engine/mod.rs"],
    &["engine/axera/", "engine/cpu/"],
    &["model.rs"],
    &["models/", "scheduler/", "self_test.rs", "request_text.rs"],
    &["unit/", "testing/models.rs"],
    &["outbox.rs"],
    &["bus/", "listen/"],
    &["announce.rs"],
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
