//! `softprefix-bench` on the smallest inputs: each command measures what it says, and refuses what cannot be measured.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;
use softprefix_unit::testing::TinyModel;

fn model() -> String {
    static FILE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = FILE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        TinyModel {
            window: 512,
            ..TinyModel::qwen2()
        }
        .write(&path)
        .unwrap();
        (folder, path)
    });
    path.to_string_lossy().into_owned()
}

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_softprefix-bench"))
        .args(arguments)
        .output()
        .unwrap()
}

/// What a measurement prints; it must end well and have a figure.
fn measured(arguments: &[&str]) -> String {
    let output = bench(arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {errors}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed.contains(|c: char| c.is_ascii_digit()),
        "{arguments:?}: {printed}"
    );
    printed
}

/// The sentence that refuses these arguments.
fn refused(arguments: &[&str]) -> String {
    let output = bench(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_model_is_measured_as_a_table_or_as_one_line_of_json() {
    let model = model();
    let smallest = [
        "model",
        &model,
        "--threads",
        "1",
        "--prompt",
        "8",
        "--tokens",
        "4",
        "--rounds",
        "1",
    ];
    let quick = [&smallest[..], &["--speed-only"]].concat();
    assert!(measured(&quick).lines().count() > 3);
    let line = measured(&[&quick[..], &["--json", "--busy-threads", "1"]].concat());
    assert_eq!(line.lines().count(), 1);
    let figures: Value = serde_json::from_str(&line).unwrap();
    for name in [
        "prefill_tok_s",
        "decode_tok_s",
        "decode_together_tok_s",
        "read_bandwidth",
        "first_token_s",
    ] {
        assert!(
            figures[name].as_f64().is_some_and(|figure| figure > 0.0),
            "{name}: {line}"
        );
    }
    let accuracy = ["equal_cases", "mean_kl_to_f32"];
    assert!(accuracy.iter().all(|name| figures[name].is_null()), "{line}");
    let line = measured(&[&smallest[..], &["--json"]].concat());
    let figures: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(figures["equal_cases"], 11, "{line}");
    assert!(refused(&["model", &model, "--rounds", "0"]).contains("rounds"));
}

#[test]
fn a_unit_is_measured_over_tcp_with_drafts_and_while_it_learns() {
    let model = model();
    for command in [
        &["tcp", &model, "--threads", "1", "--tokens", "4", "--rounds", "1"][..],
        &["drafts", &model, "--threads", "1", "--tokens", "4", "--rounds", "1"],
        &["learn", &model, "--threads", "1", "--rows", "40", "--rounds", "1"],
    ] {
        assert!(measured(command).lines().count() > 1, "{command:?}");
    }
    let few = refused(&["learn", &model, "--rows", "1"]);
    assert!(few.contains("rows"), "{few}");
}

#[test]
fn products_are_measured_on_each_tier_for_matrices_whose_width_is_a_multiple_of_32() {
    let smallest = [
        "kernels",
        "--threads",
        "1",
        "--outputs",
        "64",
        "--inputs",
        "64",
        "--count",
        "1",
    ];
    let wide = measured(&smallest);
    assert!(
        wide.lines().filter(|line| line.contains(" 1 ")).count() > 0 && wide.contains("G products/s"),
        "{wide}"
    );
    measured(&[&smallest[..], &["--narrow"]].concat());
    assert!(refused(&["kernels", "--inputs", "33"]).contains("32"));
}
