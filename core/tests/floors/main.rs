//! Checks the layers of this crate: a module imports only from lower layers.
//!
//! The other crates have the same test, with the same reader (`imports.rs`).

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod imports;

use imports::{Import, Layers, assert_imports_only_lower_layers, circles, faults, files, imports, no_large_circle};

/// The modules from the lowest layer to the highest.
const LAYERS: Layers<'_> = &[
    &["files.rs", "json.rs", "language.rs", "sent.rs", "time.rs"],
    &["prefix/"],
    &["protocol/"],
    &["compare/"],
    &["client/", "search/"],
    &["experiment/"],
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

/// Whether a line chooses by a language itself, by a pattern or a comparison.
fn chooses_by_language(line: &str) -> bool {
    ["Language::English", "Language::Japanese"].iter().any(|language| {
        line.split_once(language).is_some_and(|(before, after)| {
            let before = before.trim_end();
            after.contains("=>")
                || before.ends_with("==")
                || before.ends_with("!=")
                || before.contains("matches!(")
                || before.ends_with("let")
        })
    })
}

/// A third language is then one more parameter of `pick` and one more field of `Bilingual`, and the compiler finds every text that lacks it.
#[test]
fn a_language_is_chosen_by_pick_and_bilingual_alone() {
    let workspace = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders: Vec<_> = ["core", "device-unit", "app"]
        .map(|name| workspace.join(name).join("src"))
        .into();
    let (mut seen, mut found) = (0, Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("core/src/language.rs")
            {
                let code = std::fs::read_to_string(&path).unwrap();
                let lines = code.lines().filter(|line| chooses_by_language(line));
                found.extend(lines.map(|line| format!("{}: {}", path.display(), line.trim())));
                seen += 1;
            }
        }
    }
    assert_eq!(found, [""; 0]);
    assert!(seen > 300, "only {seen} files were read");
}

#[test]
fn a_planted_choice_of_a_language_is_found() {
    for line in [
        "Language::English => 1,",
        "(true, Language::Japanese) => 2,",
        "if language == Language::English {",
        "matches!(language, Language::Japanese)",
        "if let Language::Japanese = language {",
    ] {
        assert!(chooses_by_language(line), "{line}");
    }
    for line in ["let a = language.pick(1, 2);", "Some(Lang::En) => Language::English,"] {
        assert!(!chooses_by_language(line), "{line}");
    }
}

/// A crate of a few files in a folder of its own.
fn planted(sources: &[(&str, &str)]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in sources {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let root = folder.path().join("lib.rs");
    (folder, root)
}

fn found_in(sources: &[(&str, &str)]) -> Vec<(String, String, String)> {
    let (_folder, root) = planted(sources);
    let as_tuple = |Import { from, to, written }| (from, to, written);
    imports(&root).into_iter().map(as_tuple).collect()
}

fn import(from: &str, to: &str, written: &str) -> (String, String, String) {
    (from.into(), to.into(), written.into())
}

#[test]
fn a_planted_import_from_a_higher_layer_is_reported_with_both_files() {
    let (_folder, root) = planted(&[
        ("lib.rs", "mod low; mod high;"),
        ("low.rs", "pub struct Low; fn upward() { let _ = crate::high::HIGH; }"),
        ("high.rs", "use crate::low::Low; pub const HIGH: u8 = 1;"),
    ]);
    let layers: Layers<'_> = &[&["low.rs"], &["high.rs"], &["lib.rs"]];
    assert_eq!(
        faults(&files(&root), &imports(&root), layers),
        ["low.rs imports high.rs (crate::high::HIGH), which is in a higher layer"]
    );
}

#[test]
fn a_planted_import_between_two_parts_of_one_layer_is_reported() {
    let (_folder, root) = planted(&[
        ("lib.rs", "mod left; mod right;"),
        ("left.rs", "use super::right::Right;"),
        ("right.rs", "pub struct Right;"),
    ]);
    let layers: Layers<'_> = &[&["left.rs", "right.rs"], &["lib.rs"]];
    assert_eq!(
        faults(&files(&root), &imports(&root), layers),
        ["left.rs imports right.rs (super::right::Right), which is in the same layer"]
    );
}

#[test]
fn a_file_in_no_layer_and_a_layer_without_a_file_are_reported() {
    let (_folder, root) = planted(&[("lib.rs", "mod new;"), ("new.rs", "")]);
    let layers: Layers<'_> = &[&["old.rs"], &["lib.rs"]];
    assert_eq!(
        faults(&files(&root), &imports(&root), layers),
        [
            "new.rs is in no layer",
            "the layers name old.rs, where there is no file"
        ]
    );
}

#[test]
fn groups_super_self_and_relative_paths_are_resolved() {
    let found = found_in(&[
        ("lib.rs", "mod a; mod b;"),
        (
            "a/mod.rs",
            "mod inner; mod other; use self::inner::{One, deep::{Two as Three, self}}; fn f() { other::g(); }",
        ),
        (
            "a/inner/mod.rs",
            "pub mod deep; pub struct One; mod tests { use super::super::super::b::B; }",
        ),
        ("a/inner/deep.rs", "pub struct Two; use super::One;"),
        (
            "a/other.rs",
            "use std::fmt; // use crate::b::B;\nconst TEXT: &str = \"crate::b::B\"; pub fn g() { use crate::b; }",
        ),
        ("b.rs", "pub struct B;"),
    ]);
    assert_eq!(
        found,
        [
            import("a/inner/deep.rs", "a/inner/mod.rs", "super::One"),
            import("a/inner/mod.rs", "b.rs", "super::super::super::b::B"),
            import("a/mod.rs", "a/inner/deep.rs", "self::inner::deep::Two"),
            import("a/mod.rs", "a/inner/mod.rs", "self::inner::One"),
            import("a/mod.rs", "a/other.rs", "other::g"),
            import("a/other.rs", "b.rs", "crate::b"),
        ]
    );
}

#[test]
fn a_name_that_is_passed_on_belongs_to_the_file_it_comes_from() {
    let found = found_in(&[
        ("lib.rs", "mod a; mod b;"),
        (
            "a/mod.rs",
            "mod inner; pub use inner::{Seen, Used}; pub fn f(_: Used) {}",
        ),
        ("a/inner.rs", "pub struct Seen; pub struct Used;"),
        ("b.rs", "use crate::a::Seen;"),
    ]);
    assert_eq!(
        found,
        [
            import("a/mod.rs", "a/inner.rs", "inner::Used"),
            import("b.rs", "a/inner.rs", "crate::a::Seen"),
        ]
    );
}

#[test]
fn a_planted_circle_is_found_with_all_its_files() {
    let (_folder, root) = planted(&[
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "use crate::c::C; pub struct B;"),
        ("c.rs", "use crate::a::A; pub struct C;"),
        ("d.rs", "use crate::a::A;"),
    ]);
    let all = imports(&root);
    assert_eq!(circles(&all, 3), []);
    let circle = ["a.rs", "b.rs", "c.rs"].map(String::from).into();
    assert_eq!(circles(&all, 2), [circle]);
}
