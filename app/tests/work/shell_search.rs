//! `softprefix search` through the program: the file of the best rows, the records, and the errors of invalid input.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use softprefix_core::experiment::SavedExperiment;

use crate::hardship::stock_module;
use crate::shell::{rows_in, stderr, writing};
use crate::support::{kept, serve, tiny_model};

fn search(folder: &Path, module: SocketAddr, more: &[&str]) -> Output {
    let usual = ["--prompt", "Tell me something.", "--max-tokens", "12"];
    writing(
        "best.safetensors",
        "search",
        folder,
        module,
        &[&usual[..], more].concat(),
    )
}

fn note(folder: &Path) -> Value {
    let bytes = std::fs::read(folder.join("best.safetensors")).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    serde_json::from_str(header["__metadata__"]["softprefix"].as_str().unwrap()).unwrap()
}

fn experiment(folder: &Path) -> SavedExperiment {
    kept(&folder.join("state").join("experiments")).remove(0)
}

const AWAY: [&str; 6] = ["--away", "--floor", "0", "--budget", "14", "--dimension"];

#[test]
fn the_best_rows_are_a_file_and_every_run_is_a_record_from_which_they_can_be_built_again() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model());
    let arguments = [&AWAY[..], &["4", "--population", "5", "--len", "2"]].concat();
    let done = search(folder.path(), module, &arguments);
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    let rows = rows_in(folder.path(), "best.safetensors");
    let printed = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        printed.contains(&rows.sha256()) && printed.contains("in 14 runs"),
        "{printed}"
    );

    let saved = experiment(folder.path());
    assert_eq!((saved.records.len(), saved.generations.len()), (15, 2));
    let note = note(folder.path());
    assert_eq!(
        (&note["kind"], &note["rows_sha256"]),
        (&"chosen".into(), &rows.sha256().into())
    );
    let record = saved.records.iter().find(|record| record.id == note["record"]).unwrap();
    assert_eq!(record.prefix.as_ref().unwrap().sha256, rows.sha256());
    assert_eq!(serde_json::to_value(&record.case.recipe).unwrap(), note["recipe"]);

    let again = tempfile::tempdir().unwrap();
    search(again.path(), module, &arguments);
    assert_eq!(
        rows_in(again.path(), "best.safetensors"),
        rows,
        "the same seed gives the same rows"
    );
}

#[test]
fn a_stock_module_is_searched_by_its_texts_alone() {
    let folder = tempfile::tempdir().unwrap();
    let module = stock_module(serve(tiny_model()));
    let size = ["2", "--population", "4", "--budget", "4", "--anyway"];
    let without = search(
        folder.path(),
        module,
        &[&AWAY[..3], &["--dimension"][..], &size[..]].concat(),
    );
    let printed = stderr(&without);
    assert!(
        without.status.code() != Some(0) && printed.contains("median norm"),
        "{printed}"
    );
    let raw = [&AWAY[..3], &["--dimension"][..], &size[..], &["--raw", "0.05"][..]].concat();
    let done = search(folder.path(), module, &raw);
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    assert_eq!(experiment(folder.path()).generations.len(), 1);
}

#[test]
fn invalid_input_is_reported_before_any_run() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model());
    for (more, code, sentence) in [
        (vec![], 2, "--text, --word, --without, --away"),
        (vec!["--word", " "], 2, "is empty"),
        (vec!["--away", "--floor", "2"], 2, "distinct-4"),
        (vec!["--away", "--dimension", "0"], 2, "--dimension"),
        (vec!["--away", "--spread", "-1"], 2, "above 0"),
        (vec!["--away", "--population", "1"], 2, "1 candidates"),
        (vec!["--away", "--spread", "NaN"], 2, "spread"),
        (vec!["--away", "--budget", "0"], 2, "--budget"),
    ] {
        let done = search(folder.path(), module, &more);
        let printed = stderr(&done);
        assert!(
            done.status.code() == Some(code) && printed.contains(sentence),
            "{printed}"
        );
        assert!(!folder.path().join("best.safetensors").exists(), "{sentence}");
    }
    let unwritable = search(&folder.path().join("nowhere"), module, &["--away"]);
    assert!(
        unwritable.status.code() == Some(4) && stderr(&unwritable).contains("cannot be written"),
        "{}",
        stderr(&unwritable)
    );
}
