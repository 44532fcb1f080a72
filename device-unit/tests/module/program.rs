//! Error messages of the program.

use std::net::TcpListener;
use std::process::Output;

use softprefix_unit::testing::TinyModel;

use crate::under_test::program;

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_port_that_is_taken_ends_it_with_a_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = run(&["--engine", "cpu", "--listen", &taken.local_addr().unwrap().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("taken by another program"), "{}", said(&output));
}

#[test]
fn another_address_than_loopback_needs_a_word() {
    let output = run(&["--engine", "cpu", "--listen", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("--allow-remote"), "{}", said(&output));
}

#[test]
fn it_must_be_told_what_to_do() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("--listen"), "{}", said(&output));
}

#[test]
fn a_self_test_of_a_model_that_is_not_there_says_so() {
    let output = run(&["--engine", "cpu", "--self-test", "--model", "nosuch"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("no model named \"nosuch\""), "{}", said(&output));
}

#[test]
fn a_bus_folder_that_is_not_there_is_named() {
    let output = run(&["--engine", "cpu", "--bus", "--bus-folder", "/nonexistent/folder"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("/nonexistent/folder/rpc.llm"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_kernel_is_forced_by_the_environment_and_what_the_weights_became_is_said() {
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
    assert!(said(&scalar).contains(words), "{}", said(&scalar));
    let unknown = test("nonsense");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(said(&unknown).contains("names \"nonsense\""), "{}", said(&unknown));
}
