//! Error messages of the program.

use std::net::TcpListener;
use std::process::Output;

use softprefix_unit::testing::TinyModel;

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
