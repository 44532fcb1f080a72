//! What prefixes are made of, as arguments of the shell's commands: texts, seeds, files, envelopes.

use std::path::Path;
use std::process::Output;

use serde_json::Value;
use softprefix_core::prefix::{Generator, PrefixStore, Rounding, SoftPrefix, files};

use crate::shell::{program, stderr};
use crate::support::{closed_port, serve, tiny_model};

fn run(state: &Path, args: &[&str]) -> Output {
    program(state, args).output().unwrap()
}

fn rows(width: usize, rows: usize) -> SoftPrefix {
    let values: Vec<f32> = (0..rows * width).map(|place| (place % 13) as f32 / 100.0).collect();
    SoftPrefix::from_f32(width, &values, Rounding::NearestEven).unwrap()
}

/// Runs `compare` or `sweep`, which writes its results or its journal as `out` in the folder.
fn run_with(command: &str, module: &str, folder: &Path, more: &[&str]) -> Output {
    let out = folder.join("out").to_string_lossy().into_owned();
    let file = if command == "compare" { "--out" } else { "--journal" };
    let usual = [command, "--module", module, "--prompt", "Why?", file, &out];
    run(&folder.join("state"), &[&usual[..], more].concat())
}

/// The case after the baseline of a comparison with these arguments.
fn first_case(module: &str, folder: &Path, more: &[&str]) -> Value {
    let short = ["--baselines", "1", "--max-tokens", "4"];
    let done = run_with("compare", module, folder, &[&short[..], more].concat());
    assert_eq!(done.status.code(), Some(0), "{more:?}: {}", stderr(&done));
    let file: Value = serde_json::from_slice(&std::fs::read(folder.join("out")).unwrap()).unwrap();
    file["results"][1].clone()
}

#[test]
fn every_kind_of_prefix_is_made_from_arguments_and_recorded_with_the_case() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model()).to_string();
    files::export_peft(&rows(64, 3), &folder.path().join("adapter"), None, None).unwrap();
    let adapter = folder.path().join("adapter").to_string_lossy().into_owned();
    for (more, kind, name, len) in [
        (vec!["--blend", "sea", "sky", "--t", "0.25"], "blend", "prefix_as_is", 1),
        (
            vec!["--contrast", "sea", "sky", "--len", "2"],
            "contrast",
            "prefix_as_is",
            2,
        ),
        (
            vec!["--kind", "sampled", "--seed", "3"],
            "sampled_vocabulary",
            "prefix_as_is",
            1,
        ),
        (vec!["--prefix-file", &adapter], "imported", "prefix_as_is", 3),
        (
            vec!["--prefix-file", &adapter, "--values", "0.5", "--len", "1"],
            "imported",
            "prefix_val_0.5",
            1,
        ),
        (
            vec!["--words", "sea", "--token-norms", "--values", "2"],
            "words",
            "prefix_norm_2.0",
            1,
        ),
        (
            vec!["--kind", "uniform", "--values", "0.1"],
            "random_uniform",
            "prefix_val_0.1",
            1,
        ),
    ] {
        let case = first_case(&module, folder.path(), &more);
        assert_eq!(case["softprefix"]["recipe"]["kind"]["type"], kind, "{more:?}");
        assert_eq!(case["name"], name, "{more:?}");
        assert_eq!(case["P"], len, "{more:?}");
        let extra = &case["softprefix"];
        assert_eq!(extra["echo"]["sha256"], extra["sha256"], "{more:?}");
    }
    let case = first_case(&module, folder.path(), &["--prefix-file", &adapter]);
    assert_eq!(
        case["softprefix"]["sha256"],
        rows(64, 3).sha256(),
        "bit by bit as in the file"
    );
    let shaped = ["--prefix-file", &adapter, "--envelope", "1,0.5,0"];
    let case = first_case(&module, folder.path(), &shaped);
    let kind = &case["softprefix"]["recipe"]["kind"];
    assert_eq!(
        (kind["type"].as_str(), kind["of"]["type"].as_str()),
        (Some("shaped"), Some("imported"))
    );
}

#[test]
fn a_p_beyond_the_rows_of_the_file_is_reported_once_on_standard_error() {
    let module = serve(tiny_model()).to_string();
    for (command, lengths, times) in [
        ("compare", "9", 1),
        ("compare", "3", 0),
        ("sweep", "1,9", 1),
        ("sweep", "1,3", 0),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rows.npy");
        files::export_npy(&rows(64, 3), &file).unwrap();
        let file = file.to_string_lossy();
        let more = [
            "--values",
            "0.5",
            "--max-tokens",
            "4",
            "--len",
            lengths,
            "--prefix-file",
            &file,
        ];
        let done = run_with(command, &module, folder.path(), &more);
        let printed = stderr(&done);
        assert_eq!(done.status.code(), Some(0), "{printed}");
        let sentence = "The file has 3 rows: they are repeated, from the first on, to fill P = 9.";
        assert_eq!(
            printed.matches(sentence).count(),
            times,
            "{command} --len {lengths}: {printed}"
        );
    }
}

#[test]
fn pythons_random_numbers_are_asked_for_by_name_and_are_the_bytes_that_python_draws() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model()).to_string();
    let python = [
        "--generator",
        "python",
        "--seed",
        "42",
        "--values",
        "0.5",
        "--rounding",
        "truncate",
    ];
    let case = first_case(&module, folder.path(), &[&["--kind", "uniform"][..], &python].concat());
    assert_eq!(
        case["softprefix"]["recipe"]["kind"]["generator"],
        Generator::PythonRandom.name()
    );
    // SHA-256 of the upper halves of `struct.pack("<f", v)` for 64 times `random.Random(42).uniform(-0.5, 0.5)`.
    assert_eq!(case["softprefix"]["sha256"], PYTHON_UNIFORM);
    let case = first_case(&module, folder.path(), &[&["--kind", "normal"][..], &python].concat());
    // The same for 64 times `random.Random(42).gauss(0, 0.5)`.
    assert_eq!(case["softprefix"]["sha256"], PYTHON_GAUSS);
}

const PYTHON_UNIFORM: &str = "5ce452b3bc0824ce32e5acd27bbdcf9fc18510d19fe2a71d12a60664339c2724";
const PYTHON_GAUSS: &str = "538bf4dd09996b8d2879be7bb695e44c99e4b801e155ef113acffb04d4b437bc";

#[test]
fn arguments_that_contradict_each_other_end_with_2_and_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let module = closed_port().to_string();
    for more in [
        vec!["--kind", "uniform", "--words", "sea"],
        vec!["--kind", "sampled", "--blend", "a", "b"],
        vec!["--words", "sea", "--blend", "a", "b"],
        vec!["--blend", "a"],
        vec!["--blend", "a", "b", "--t", "1.5"],
        vec!["--t", "0.5"],
        vec!["--contrast", "a", "b", "--prefix-file", "x.npy"],
        vec!["--envelope", "1,x"],
        vec!["--generator", "dice"],
    ] {
        for command in ["compare", "sweep"] {
            let done = run_with(command, &module, folder.path(), &more);
            assert_eq!(done.status.code(), Some(2), "{command} {more:?}: {}", stderr(&done));
            assert!(!stderr(&done).is_empty());
        }
    }
}

#[test]
fn a_file_that_is_no_prefix_for_the_model_ends_with_4_and_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    files::export_npy(&rows(80, 1), Path::new(&place("other.npy"))).unwrap();
    std::fs::write(place("weights.bin"), b"\x80\x02}q\x00.").unwrap();
    let module = serve(tiny_model()).to_string();
    for (file, words) in [
        ("other.npy", "hidden size of 80, but this model's is 64"),
        ("weights.bin", "Python pickle"),
        ("missing.npy", "cannot be read"),
    ] {
        for command in ["compare", "sweep"] {
            let done = run_with(command, &module, folder.path(), &["--prefix-file", &place(file)]);
            assert_eq!(done.status.code(), Some(4), "{command} {file}: {}", stderr(&done));
            assert!(stderr(&done).contains(words), "{}", stderr(&done));
        }
    }
}

#[test]
fn a_file_is_read_after_its_values_were_refused_or_stored_as_rows_of_another_width() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model()).to_string();
    let file = folder.path().join("rows.npy");
    let place = file.to_string_lossy();
    let [narrow, wide] = [64, 256].map(|width| SoftPrefix::from_bf16(width, rows(64, 4).values().to_vec()).unwrap());
    files::export_npy(&wide, &file).unwrap();
    let with_file = ["--prefix-file", &place];
    for command in ["compare", "sweep"] {
        let done = run_with(command, &module, folder.path(), &with_file);
        assert_eq!(done.status.code(), Some(4), "{command}: {}", stderr(&done));
    }
    let stored = folder.path().join("state/prefixes");
    assert!(!stored.exists(), "what is refused is not stored");
    let store = PrefixStore::new(&stored);
    store.put(&wide).unwrap();
    files::export_npy(&narrow, &file).unwrap();
    let case = first_case(&module, folder.path(), &with_file);
    assert_eq!(
        (&case["P"], &case["softprefix"]["sha256"]),
        (&4.into(), &narrow.sha256().into())
    );
    assert_eq!(store.get(&narrow.sha256(), Some(256)), Ok(wide));
}

#[test]
fn messages_contain_a_path_as_it_was_typed() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model()).to_string();
    let usual = ["compare", "--module", &module, "--prompt", "Why?", "--out", "out"];
    let done = program(folder.path(), &[&usual[..], &["--prefix-file", "nosuch"]].concat())
        .current_dir(folder.path())
        .output()
        .unwrap();
    let printed = stderr(&done);
    assert!(printed.contains("nosuch") && !printed.contains("Nosuch"), "{printed}");
}

#[test]
fn a_sweep_of_an_imported_file_stores_its_rows_and_resumes_without_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    files::export_npy(&rows(64, 2), Path::new(&place("mine.npy"))).unwrap();
    let module = serve(tiny_model()).to_string();
    let (journal, json, file) = (place("journal"), place("out.json"), place("mine.npy"));
    let usual = ["sweep", "--module", &module, "--journal", &journal, "--max-tokens", "4"];
    let what = ["--prompt", "Why?", "--prefix-file", &file, "--values", "0,1"];
    let done = run(
        &folder.path().join("state"),
        &[&usual[..], &what, &["--json", &json]].concat(),
    );
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    let written: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let text = written.to_string();
    assert!(
        text.contains(&rows(64, 2).sha256()),
        "the rows are named by their digest"
    );

    // Truncated after its first line, it resumes from the rest.
    std::fs::remove_file(&file).unwrap();
    let lines = std::fs::read_to_string(&journal).unwrap();
    let first = lines.lines().next().unwrap();
    std::fs::write(&journal, format!("{first}\n")).unwrap();
    let done = run(
        &folder.path().join("state"),
        &[&usual[..], &["--resume", "--json", &json]].concat(),
    );
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    let again: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert!(again.to_string().contains(&rows(64, 2).sha256()));
}
