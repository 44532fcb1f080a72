//! The program under test, as a process of its own: what the tests' build made, or what the environment names.

use std::ffi::OsString;
use std::process::Command;

/// Runs programs of another processor: `qemu-aarch64-static -cpu cortex-a53`. Words are separated by blanks.
const RUNNER: &str = "SOFTPREFIX_TEST_RUNNER";
/// The program that is shipped, without the CPU engine: takes the place of the tests' own build where the NPU engine is tested.
const SHIPPED: &str = "SOFTPREFIX_TEST_SHIPPED";

/// `softprefix-unit` as the tests' build made it, with all engines.
pub fn program() -> Command {
    started(env!("CARGO_BIN_EXE_softprefix-unit").into())
}

/// `softprefix-unit` as it goes onto a module, where it is named.
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

/// Whether the program runs by itself, so that its memory is its own and not an emulator's too.
#[cfg(target_os = "linux")]
pub fn runs_natively() -> bool {
    std::env::var(RUNNER).unwrap_or_default().trim().is_empty()
}
