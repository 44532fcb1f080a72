//! The program's options and error messages.

use std::net::{SocketAddr, TcpListener};
use std::process::Output;

use serde_json::{Value, json};
use softprefix_unit::testing::TinyModel;

use crate::common::*;
#[cfg(all(feature = "bus", unix))]
use crate::llm_sys::{Program, eventually};
use crate::under_test::program;

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_port_in_use_ends_it_with_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = run(&["--engine", "cpu", "--listen", &taken.local_addr().unwrap().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr_of(&output).contains("taken by another program"),
        "{}",
        stderr_of(&output)
    );
}

#[test]
fn an_address_beyond_loopback_requires_an_option() {
    let output = run(&["--engine", "cpu", "--listen", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr_of(&output).contains("--allow-remote"), "{}", stderr_of(&output));
}

#[test]
fn a_mode_is_required() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr_of(&output).contains("--listen"), "{}", stderr_of(&output));
}

#[test]
fn a_self_test_of_an_unknown_model_is_an_error() {
    let output = run(&["--engine", "cpu", "--self-test", "--model", "nosuch"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr_of(&output).contains("no model named \"nosuch\""),
        "{}",
        stderr_of(&output)
    );
}

#[test]
fn a_missing_bus_folder_is_named() {
    let output = run(&["--engine", "cpu", "--bus", "--bus-folder", "/nonexistent/folder"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr_of(&output).contains("/nonexistent/folder/rpc.llm"),
        "{}",
        stderr_of(&output)
    );
}

#[test]
fn the_environment_forces_a_kernel_and_the_conversion_of_the_weights_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    TinyModel::qwen2().write(&path).unwrap();
    let test = |kernel: &str| {
        let arguments = ["--engine", "cpu", "--self-test", "--model", path.to_str().unwrap()];
        program()
            .args(arguments)
            .env("SOFTPREFIX_KERNEL", kernel)
            .env("RUST_LOG", "info")
            .output()
            .unwrap()
    };
    let scalar = test("scalar");
    let words = "cpu/scalar, weight matrices: 15 Q8_0 as in the file";
    assert!(stderr_of(&scalar).contains(words), "{}", stderr_of(&scalar));
    let unknown = test("nonsense");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        stderr_of(&unknown).contains("is \"nonsense\""),
        "{}",
        stderr_of(&unknown)
    );
}

/// The program with the CPU engine and a tiny model, listening on a free port.
#[cfg(all(feature = "bus", unix))]
struct Listening {
    program: Program,
    address: SocketAddr,
    _models: tempfile::TempDir,
}

#[cfg(all(feature = "bus", unix))]
impl Listening {
    fn with(options: &[&str]) -> Self {
        let models = tempfile::tempdir().unwrap();
        let endless = TinyModel {
            window: 20_000,
            ..TinyModel::qwen2()
        };
        endless.write(&models.path().join("tiny.gguf")).unwrap();
        let mut command = program();
        command.args(["--engine", "cpu"]).args(options);
        if !options.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.env("SOFTPREFIX_MODEL_DIR", models.path());
        let program = Program::of(command);
        let mut address = None;
        eventually("it listens", || {
            let log = program.log.lock().unwrap().clone();
            let text = log.split("listening on ").nth(1);
            address = text
                .and_then(|rest| rest.lines().next())
                .and_then(|address| address.trim().parse().ok());
            address.is_some()
        });
        Self {
            program,
            address: address.unwrap(),
            _models: models,
        }
    }

    /// A client with a task, and what the unit says of itself.
    fn task(&self) -> (Client, String, Value) {
        let mut client = Client::connect(self.address);
        let task = client.set_up(&whole("tiny", 1000));
        let info = client.ask(&bare("t", &task, "taskinfo"));
        (client, task, info["data"]["soft_prefix"].clone())
    }
}

#[cfg(all(feature = "bus", unix))]
#[test]
fn if_other_machines_can_connect_the_program_prints_what_they_can_do() {
    let mut options = vec!["--listen", "0.0.0.0:0", "--allow-remote"];
    if cfg!(feature = "announce") {
        // It is not announced.
        options.push("--no-announce");
    }
    let open = Listening::with(&options);
    let words = format!(
        "there is no password: anyone who reaches {} can list and load models, run inferences and end those of others, and read this \
         machine's load, memory and address",
        open.address
    );
    open.program.says(&words);
    let closed = Listening::with(&["--allow-remote"]);
    closed.task();
    let log = closed.program.log.lock().unwrap();
    assert!(!log.contains("no password"), "on loopback nothing is opened: {log}");
}

#[cfg(all(feature = "bus", unix))]
#[test]
fn the_memory_for_clients_is_that_of_the_option() {
    let unit = Listening::with(&["--memory", "300"]);
    unit.program.says("memory budget for clients: 300 MiB");
    let (_client, _, support) = unit.task();
    assert_eq!(support["memory"]["budget"], 300 << 20);
    assert_eq!(support["memory"]["requests"], 75 << 20);
    let too_little = run(&["--engine", "cpu", "--listen", "127.0.0.1:0", "--memory", "127"]);
    assert_eq!(too_little.status.code(), Some(2));
    assert!(stderr_of(&too_little).contains("128"), "{}", stderr_of(&too_little));
}

#[cfg(all(feature = "bus", unix))]
#[test]
fn without_drafts_a_repeated_text_is_the_same_and_nothing_is_drafted() {
    let mut texts = Vec::new();
    for (options, drafts) in [(&[][..], true), (&["--no-drafts"], false)] {
        let unit = Listening::with(options);
        let (mut client, task, support) = unit.task();
        let features = support["features"].as_array().unwrap();
        assert_eq!(features.contains(&json!("drafts")), drafts);
        let ask = |id: &str| {
            infer_with(
                id,
                &task,
                "hello",
                json!({"softprefix": {"max_new_tokens": 60, "usage": true}}),
            )
        };
        client.ask(&ask("first"));
        let again = client.ask(&ask("again"));
        assert_eq!(again["usage"]["drafted"].as_u64().unwrap() > 0, drafts, "{again}");
        texts.push(again["data"].clone());
    }
    assert_eq!(texts[0], texts[1]);
}

#[cfg(all(feature = "bus", target_os = "linux"))]
#[test]
fn the_engine_has_the_number_of_threads_of_the_option() {
    for threads in [1, 3] {
        let unit = Listening::with(&["--threads", &threads.to_string()]);
        let _task = unit.task();
        let tasks = std::fs::read_dir(format!("/proc/{}/task", unit.program.process.0.id())).unwrap();
        let of_the_engine = tasks
            .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok())
            .filter(|name| {
                name.trim_end()
                    .strip_prefix("engine-")
                    .is_some_and(|rest| rest.parse::<u32>().is_ok())
            })
            .count();
        // The thread that runs the model is one of them.
        assert_eq!(of_the_engine, threads - 1);
    }
}

#[test]
fn a_self_test_prints_each_check_and_ends_with_0_where_all_pass() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    TinyModel::qwen2().write(&path).unwrap();
    let output = run(&["--engine", "cpu", "--self-test", "--model", path.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr_of(&output));
    assert!(
        text.lines().count() >= 5 && text.lines().all(|line| line.starts_with("ok  ")),
        "{text}"
    );
    // Without a model there is nothing to test.
    let none = run(&["--engine", "cpu", "--self-test"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(
        stderr_of(&none).contains("--self-test needs a model"),
        "{}",
        stderr_of(&none)
    );
}

#[cfg(all(feature = "bus", unix))]
#[test]
fn a_named_model_is_loaded_before_anybody_asks_for_it() {
    let unit = Listening::with(&["--model", "tiny"]);
    unit.program.says("tiny is ready");
    let unit = Listening::with(&["--model", "nosuch"]);
    unit.program.says("nosuch is not ready: ");
}

#[test]
fn a_model_file_is_computed_by_the_processor_and_refused_for_the_npu() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    TinyModel::qwen2().write(&path).unwrap();
    let output = run(&["--self-test", "--model", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    let output = run(&["--engine", "npu", "--self-test", "--model", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr_of(&output).contains("by name, not a GGUF file"),
        "{}",
        stderr_of(&output)
    );
}

#[cfg(unix)]
#[test]
fn a_model_in_a_hugging_face_cache_is_loaded_by_the_name_of_its_link() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let (blobs, snapshot) = (folder.path().join("blobs"), folder.path().join("snapshots/abc"));
    std::fs::create_dir(&blobs).unwrap();
    std::fs::create_dir_all(&snapshot).unwrap();
    let add = |from: &std::path::Path, digest: &str, name: &str| {
        std::fs::copy(from, blobs.join(digest)).unwrap();
        symlink(format!("../../blobs/{digest}"), snapshot.join(name)).unwrap();
    };
    let parts = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cases");
    for number in 1..=3 {
        let name = format!("split-0000{number}-of-00003.gguf");
        add(&parts.join(&name), &format!("{number}{}", "ab".repeat(31)), &name);
    }
    let whole = folder.path().join("whole.gguf");
    TinyModel::qwen2().write(&whole).unwrap();
    add(&whole, &"cd".repeat(32), "Tiny-Q8_0.gguf");
    for (file, name) in [("split-00001-of-00003.gguf", "split"), ("Tiny-Q8_0.gguf", "Tiny-Q8_0")] {
        let path = snapshot.join(file);
        let output = run(&["--engine", "cpu", "--self-test", "--model", path.to_str().unwrap()]);
        let log = stderr_of(&output);
        // The weights of the split one are too few to pass every check.
        assert!(log.contains("100 %, ready"), "{log}");
        assert!(
            log.contains(name) && !log.contains("abab") && !log.contains("cdcd"),
            "{log}"
        );
    }
}

#[test]
fn a_path_without_a_file_is_not_taken_for_the_name_of_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("nowhere.gguf");
    for path in [missing.to_str().unwrap(), "./nowhere", "nowhere/tiny.gguf"] {
        let output = run(&["--engine", "cpu", "--self-test", "--model", path]);
        assert_eq!(output.status.code(), Some(1));
        let log = stderr_of(&output);
        assert!(log.contains(&format!("{path} cannot be opened")), "{log}");
    }
    let output = run(&[
        "--engine",
        "cpu",
        "--self-test",
        "--model",
        folder.path().to_str().unwrap(),
    ]);
    assert!(stderr_of(&output).contains("is a folder"), "{}", stderr_of(&output));
    // So are the names of Ollama's models written.
    let output = run(&["--engine", "cpu", "--self-test", "--model", "owner/nosuch:latest"]);
    assert!(
        stderr_of(&output).contains("no model named \"owner/nosuch:latest\""),
        "{}",
        stderr_of(&output)
    );
}

#[test]
fn help_and_version_end_with_0() {
    for (option, word) in [("--help", "--listen"), ("--version", env!("CARGO_PKG_VERSION"))] {
        let output = run(&[option]);
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stdout).contains(word), "{option}");
    }
}
