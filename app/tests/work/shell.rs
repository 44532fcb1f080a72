//! The commands as a script meets them: arguments, exit codes, what is printed and what is written.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use softprefix_unit::testing::small_model;

use crate::hardship::deaf_stranger;
use crate::support::{closed_port, serve, tasks_at, tiny_model};

fn softprefix(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_softprefix"))
        .args(args)
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn compare(module: &str, out: &Path, more: &[&str]) -> Output {
    let out = out.to_string_lossy();
    let mut args = vec![
        "compare",
        "--module",
        module,
        "--prompt",
        "Why is the sky blue?",
        "--out",
        &out,
    ];
    args.extend(more);
    softprefix(&args)
}

#[test]
fn compare_runs_a_baseline_and_every_value_small_to_large_and_saves_them() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results.json");
    let module = serve(tiny_model()).to_string();
    let done = compare(
        &module,
        &out,
        &["--values", "2.0,0,1e-4,0.5", "--len", "2", "--max-tokens", "16"],
    );
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    let file: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    assert_eq!(file["meta"]["P"], 2);
    assert_eq!(file["meta"]["H"], 64);
    assert_eq!(file["meta"]["user_prompt"], "Why is the sky blue?");
    assert_eq!(file["meta"]["port"].to_string(), module.rsplit(':').next().unwrap());
    let names: Vec<&str> = file["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "baseline",
            "baseline_2",
            "prefix_val_0",
            "prefix_val_0.0001",
            "prefix_val_0.5",
            "prefix_val_2"
        ]
    );
    for entry in &file["results"].as_array().unwrap()[2..] {
        assert_eq!(entry["softprefix"]["acknowledged"], true);
        assert_eq!(entry["softprefix"]["sha256"].as_str().unwrap().len(), 64);
        assert_eq!(
            entry["out_len"].as_u64().unwrap(),
            entry["out_text"].as_str().unwrap().chars().count() as u64
        );
    }
    let table = stdout(&done);
    assert!(
        table.contains("prefix_val_0.5") && table.contains("chrF2") && table.contains("Deterministic"),
        "{table}"
    );

    // The saved file is read again without a module.
    let report = softprefix(&["report", &out.to_string_lossy()]);
    assert_eq!(code(&report), 0);
    assert_eq!(stdout(&report), table);
    let report = softprefix(&["report", "--json", &out.to_string_lossy()]);
    let json: Value = serde_json::from_str(&stdout(&report)).unwrap();
    assert_eq!(json["rows"].as_array().unwrap().len(), 6);
}

#[test]
fn compare_on_the_embedded_module_runs_a_real_model_and_repeats_to_the_letter() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model();
    let texts = |name: &str| {
        let out = folder.path().join(name);
        let more = [
            "--model",
            &*model.to_string_lossy(),
            "--values",
            "0,0.05",
            "--max-tokens",
            "12",
            "--json",
        ];
        let done = compare("embedded", &out, &more);
        assert_eq!(code(&done), 0, "{}", stderr(&done));
        let report: Value = serde_json::from_str(&stdout(&done)).unwrap();
        assert_eq!(report["baseline"], "baseline");
        let file: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
        let results = file["results"].as_array().unwrap().clone();
        results
            .iter()
            .map(|r| r["out_text"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let first = texts("a.json");
    assert_eq!(first.len(), 4);
    assert_eq!(first[0], first[1]);
    assert_ne!(first[0], first[3]);
    assert_eq!(first, texts("b.json"));
}

#[test]
fn token_norms_random_rows_words_and_truncation_are_recorded_with_the_case() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results.json");
    let module = serve(tiny_model()).to_string();
    let recipe = |more: &[&str]| -> Value {
        let mut args = vec!["--baselines", "1", "--max-tokens", "4"];
        args.extend(more);
        let done = compare(&module, &out, &args);
        assert_eq!(code(&done), 0, "{}", stderr(&done));
        let file: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
        file["results"][1].clone()
    };
    let normal = recipe(&["--token-norms", "--values", "1.5", "--kind", "normal", "--seed", "7"]);
    assert_eq!(normal["name"], "prefix_norm_1.5");
    assert_eq!(normal["softprefix"]["recipe"]["kind"]["seed"], 7);
    assert!((normal["softprefix"]["token_norms"].as_f64().unwrap() - 1.5).abs() < 0.02);
    let words = recipe(&["--words", "the", "--len", "3"]);
    assert_eq!(
        (words["name"].as_str(), words["P"].as_u64()),
        (Some("prefix_words"), Some(3))
    );
    let truncated = recipe(&["--values", "0.01", "--rounding", "truncate"]);
    let even = recipe(&["--values", "0.01"]);
    assert_ne!(truncated["softprefix"]["sha256"], even["softprefix"]["sha256"]);
}

#[test]
fn wrong_arguments_end_with_2_and_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results.json");
    let module = closed_port().to_string();
    for more in [
        vec!["--values", "1,x"],
        vec!["--values", "nan"],
        vec!["--len", "0"],
        vec!["--len", "-1"],
        vec!["--max-tokens", "0"],
        vec!["--kind", "banana"],
        vec!["--kind", "words"],
        vec!["--token-norms", "--values", "-1"],
        vec!["--raw", "--token-norms"],
        vec!["--no-such-thing"],
    ] {
        let done = compare(&module, &out, &more);
        assert_eq!(code(&done), 2, "{more:?}: {}", stderr(&done));
        assert!(!stderr(&done).is_empty());
    }
    let out = out.to_string_lossy();
    let empty = softprefix(&["compare", "--module", &module, "--prompt", " ", "--out", &out]);
    assert_eq!(code(&empty), 2);
    assert_eq!(code(&softprefix(&["compare"])), 2);
    assert_eq!(code(&softprefix(&["module", "not an address"])), 2);
    assert!(!Path::new(&*out).exists(), "nothing is written for nothing");
}

#[test]
fn a_module_that_is_not_there_ends_with_3_and_says_what_to_check() {
    let folder = tempfile::tempdir().unwrap();
    let module = closed_port().to_string();
    let done = compare(&module, &folder.path().join("results.json"), &["--values", "1"]);
    assert_eq!(code(&done), 3);
    assert!(stderr(&done).contains(&module), "{}", stderr(&done));
    assert_eq!(code(&softprefix(&["module", &module])), 3);
}

#[test]
fn an_unknown_model_ends_with_3_and_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let done = compare(
        "embedded",
        &folder.path().join("results.json"),
        &["--model", "no-such-model"],
    );
    assert_eq!(code(&done), 3);
    assert!(stderr(&done).contains("no-such-model"));
}

#[test]
fn a_case_that_does_not_fit_is_kept_as_failed_and_the_others_are_saved() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results.json");
    let module = serve(tiny_model()).to_string();
    let done = compare(&module, &out, &["--values", "1", "--len", "3000", "--max-tokens", "4"]);
    assert_eq!(code(&done), 3);
    let file: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    assert!(!file["results"][0]["out_text"].as_str().unwrap().is_empty());
    let error = file["results"][2]["softprefix"]["error"].as_str().unwrap();
    assert!(error.contains("3000") && error.contains("2048"), "{error}");
}

#[test]
fn files_that_cannot_be_written_or_are_no_results_end_with_4() {
    let folder = tempfile::tempdir().unwrap();
    let done = compare(
        &closed_port().to_string(),
        &folder.path().join("no/such/folder/x.json"),
        &["--values", "1"],
    );
    assert_eq!(code(&done), 4, "{}", stderr(&done));
    let other = folder.path().join("other.json");
    std::fs::write(&other, "{}").unwrap();
    let done = softprefix(&["report", &other.to_string_lossy()]);
    assert_eq!(code(&done), 4);
    assert!(stderr(&done).contains("other.json"));
    assert_eq!(
        code(&softprefix(&[
            "report",
            &folder.path().join("missing.json").to_string_lossy()
        ])),
        4
    );
}

#[test]
fn module_says_what_a_module_is_without_setting_anything_up() {
    let module = serve(tiny_model()).to_string();
    let done = softprefix(&["module", &module]);
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    let text = stdout(&done);
    assert!(
        text.contains("softprefix-unit") && text.contains("tiny") && text.contains("H 64"),
        "{text}"
    );
    let json: Value = serde_json::from_str(&stdout(&softprefix(&["module", "--json", &module]))).unwrap();
    assert_eq!(json["ours"], true);
    assert_eq!(json["tasks"], serde_json::json!([]));
}

#[test]
fn models_lists_what_is_here_and_what_can_be_fetched() {
    let done = softprefix(&["models", "--json"]);
    assert_eq!(code(&done), 0);
    let list: Value = serde_json::from_str(&stdout(&done)).unwrap();
    assert!(list.as_array().unwrap().iter().any(|model| model["default"] == true));
    assert_eq!(code(&softprefix(&["models", "fetch", "no-such-model"])), 2);
}

#[test]
fn a_sweep_on_a_module_that_ignores_prefixes_stops_with_3_and_the_reason_unless_it_is_to_run_anyway() {
    let folder = tempfile::tempdir().unwrap();
    let module = deaf_stranger(serve(tiny_model())).to_string();
    let journal = folder.path().join("journal").to_string_lossy().into_owned();
    let json = folder.path().join("all.json");
    let (values, out) = (["--values", "0.1,1", "--len", "1"], json.to_string_lossy().into_owned());
    let sweep = |more: &[&str]| {
        let usual = [
            "sweep",
            "--prompt",
            "Why is the sky blue?",
            "--module",
            &module,
            "--journal",
            &journal,
            "--max-tokens",
            "8",
            "--json",
            &out,
        ];
        softprefix(&[&usual[..], &values, more].concat())
    };
    let records = || {
        let file: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
        file["records"].as_array().unwrap().len()
    };
    let stopped = sweep(&[]);
    assert_eq!(code(&stopped), 3, "{}", stderr(&stopped));
    assert!(
        stderr(&stopped).contains("ignores soft_prefix silently"),
        "{}",
        stderr(&stopped)
    );
    assert_eq!(records(), 0, "no case was spent on it");
    let ran = sweep(&["--anyway"]);
    assert_eq!(code(&ran), 0, "{}", stderr(&ran));
    assert_eq!(records(), 4, "two values between two baselines");
    assert!(
        stderr(&ran).contains("ignores soft_prefix silently"),
        "it is said all the same: {}",
        stderr(&ran)
    );
}

#[test]
fn without_a_network_the_first_start_says_which_ways_were_tried_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results.json");
    let done = Command::new(env!("CARGO_BIN_EXE_softprefix"))
        .args(["compare", "--prompt", "Hello", "--values", "1", "--out"])
        .arg(&out)
        .env("SOFTPREFIX_MODEL_DIR", folder.path().join("models"))
        .env("HOME", folder.path())
        .env("XDG_CACHE_HOME", folder.path().join("cache"))
        .env_remove("HF_HOME")
        .env_remove("HF_HUB_CACHE")
        .env("HF_ENDPOINT", format!("http://{}", closed_port()))
        .env("PATH", folder.path())
        .output()
        .unwrap();
    assert_eq!(code(&done), 3, "{}", stderr(&done));
    let message = stderr(&done);
    assert!(
        message.contains("from the hub") && message.contains("from Python wheels"),
        "{message}"
    );
    assert!(message.contains("another model"), "{message}");
    assert!(!out.exists());
}

#[cfg(target_os = "linux")]
#[test]
fn where_no_display_is_there_the_window_says_what_to_do_instead() {
    let folder = tempfile::tempdir().unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_softprefix"))
        .arg("--fresh")
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .env_remove("WAYLAND_SOCKET")
        .env("SOFTPREFIX_STATE_DIR", folder.path())
        .output()
        .unwrap();
    assert_eq!(code(&done), 1);
    let message = stderr(&done);
    assert!(
        message.contains("--features glow") && message.contains("softprefix compare"),
        "{message}"
    );
}

#[cfg(unix)]
#[test]
fn an_interrupted_compare_ends_with_130_and_leaves_no_task_on_the_module() {
    let folder = tempfile::tempdir().unwrap();
    let address = serve(small_model());
    let out = folder.path().join("results.json");
    let mut running = Command::new(env!("CARGO_BIN_EXE_softprefix"))
        .args([
            "compare",
            "--module",
            &address.to_string(),
            "--values",
            "1",
            "--max-tokens",
            "4000",
        ])
        .args([
            "--prompt",
            "Write a long story about a lighthouse keeper, with many chapters.",
            "--out",
        ])
        .arg(&out)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let end = std::time::Instant::now() + crate::support::LONG;
    while tasks_at(address).is_empty() {
        assert!(std::time::Instant::now() < end, "no task was set up");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let asked = Command::new("kill")
        .args(["-INT", &running.id().to_string()])
        .status()
        .unwrap();
    assert!(asked.success());
    assert_eq!(running.wait().unwrap().code(), Some(130));
    while !tasks_at(address).is_empty() {
        assert!(std::time::Instant::now() < end, "a task was left behind");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn help_and_version_end_with_0() {
    for args in [
        &["--help"][..],
        &["--version"],
        &["compare", "--help"],
        &["help", "report"],
    ] {
        assert_eq!(code(&softprefix(args)), 0, "{args:?}");
    }
}

#[test]
fn demo_says_what_is_in_a_recording_and_refuses_what_it_cannot_play() {
    let done = softprefix(&["demo", "--check"]);
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert!(stdout(&done).contains("runs"), "{}", stdout(&done));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tomorrow.jsonl");
    std::fs::write(&path, "{\"softprefix_recording\":7}\n{\"t\":0}\n").unwrap();
    let refused = softprefix(&["demo", &path.to_string_lossy()]);
    assert_eq!(code(&refused), 4);
    assert!(stderr(&refused).contains("newer version"), "{}", stderr(&refused));
    assert_eq!(stderr(&refused).lines().count(), 1, "one sentence, and no window");
    let missing = softprefix(&["demo", &folder.path().join("none.jsonl").to_string_lossy()]);
    assert_eq!(code(&missing), 4);
    assert!(stderr(&missing).contains("none.jsonl"));
}
