//! The program under test: built with the tests, or named by the environment.

use std::ffi::OsString;
use std::process::Command;

/// A command that runs programs of another processor, such as `qemu-aarch64-static -cpu cortex-a53`, with words separated by blanks.
const RUNNER: &str = "SOFTPREFIX_TEST_RUNNER";
/// The shipped program without the CPU engine, which replaces the tests' own build in tests of the NPU engine.
const SHIPPED: &str = "SOFTPREFIX_TEST_SHIPPED";

/// Returns `softprefix-unit` as built with the tests, with all engines.
pub fn program() -> Command {
    started(env!("CARGO_BIN_EXE_softprefix-unit").into())
}

/// Returns the shipped `softprefix-unit`, if the environment names it.
#[cfg(all(feature = "bus", feature = "npu", unix))]
pub fn shipped_program() -> Command {
    started(std::env::var_os(SHIPPED).unwrap_or_else(|| env!("CARGO_BIN_EXE_softprefix-unit").into()))
}

fn started(program: OsString) -> Command {
    let runner = std::env::var(RUNNER).unwrap_or_default();
    let mut words = runner.split_whitespace();
    match words.next() {
        Some(first) => {
            let mut command = Command::new(first);
            command.args(words).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// Returns `true` if the program runs without an emulator, so that its memory is its own.
#[cfg(target_os = "linux")]
pub fn runs_natively() -> bool {
    std::env::var(RUNNER).unwrap_or_default().trim().is_empty()
}
