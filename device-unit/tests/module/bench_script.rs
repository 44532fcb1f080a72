//! The bench against llama.cpp says what llama.cpp said, and which signal ended it.

use std::process::{Command, Output};

/// The script with a package in the place of llama-cpp-python that has this source.
fn against(llama_cpp: &str) -> Output {
    let packages = tempfile::tempdir().unwrap();
    std::fs::write(packages.path().join("llama_cpp.py"), llama_cpp).unwrap();
    // Needed only where something is computed.
    std::fs::write(packages.path().join("numpy.py"), "").unwrap();
    Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/against_llama_cpp.py"))
        .args(["nosuch.gguf", "--rounds", "1", "--threads", "1"])
        .env("PYTHONPATH", packages.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap()
}

fn output_text(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_message_of_llama_cpp_is_passed_on() {
    let output = against(
        r#"
tell = None
class Parameters: pass
def llama_backend_init(): pass
def llama_log_callback(function): return function
def llama_log_set(function, _):
    global tell
    tell = function
def llama_model_default_params(): return Parameters()
def llama_model_load_from_file(path, parameters):
    tell(3, b"error loading model: unknown architecture: 'strange'\n", None)
"#,
    );
    let words = output_text(&output);
    for part in [
        "error loading model: unknown architecture: 'strange'",
        "llama.cpp cannot load nosuch.gguf",
        "ended with status 1",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
}

#[test]
fn the_signal_that_ended_llama_cpp_is_named_with_its_usual_cause() {
    for (signal, cause) in [
        ("SIGILL", "compiled for another processor"),
        ("SIGKILL", "memory ran out"),
    ] {
        let output = against(&format!(
            "import os, signal\ndef llama_backend_init(): os.kill(os.getpid(), signal.{signal})\n"
        ));
        let words = output_text(&output);
        assert!(
            words.contains(&format!("was ended by {signal}")) && words.contains(cause),
            "{words}"
        );
    }
}
