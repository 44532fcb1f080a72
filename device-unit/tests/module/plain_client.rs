//! A client for the stock module that is independent of this project's code runs its comparison unchanged.

use std::process::Command;

use serde_json::Value;

use crate::common::{HIDDEN, STOCK_MODEL, Server};

fn python() -> String {
    std::env::var("SOFTPREFIX_TEST_PYTHON").unwrap_or_else(|_| "python3".into())
}

#[test]
fn an_independent_python_client_runs_its_ten_value_comparison() {
    let server = Server::start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/compare_client.py");
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("compare_results.json");
    let output = Command::new(python())
        .arg(script)
        .args([
            "--host",
            "127.0.0.1",
            "--port",
            &server.address.port().to_string(),
            "--model",
            STOCK_MODEL,
        ])
        .args(["--hidden-size", &HIDDEN.to_string(), "--max-token-len", "200"])
        .arg("--save")
        .arg(&results)
        .output()
        .expect("python3 is there");
    let output_text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{output_text}");
    let saved: Value = serde_json::from_slice(&std::fs::read(&results).unwrap()).unwrap();
    let results = saved["results"].as_array().unwrap();
    assert_eq!(results.len(), 11, "the baseline and ten values");
    let text = |i: usize| results[i]["out_text"].as_str().unwrap();
    assert!((0..11).all(|i| !text(i).is_empty()));
    assert_ne!(text(10), text(0), "the largest prefix has an effect");
}
