//! The doctor: looks at a module from the desk, says in one sentence what is wrong, and mends it when asked.
//!
//! `script` (safe shell text) ← `ssh` (the way there) ← `checks` (what is so) and `remedy` (what mends it, with a backup and a way back) ←
//! this file (all checks in their order, a remedy by its name, the log). It knows no window; `panels` and `cli` show what it says.

pub mod checks;
pub mod finding;
pub mod install;
pub mod log;
pub mod remedy;
pub mod script;
pub mod ssh;
pub mod talk;

pub use finding::{Finding, Said, Verdict};
pub use remedy::{Ended, Outcome, Remedy};
pub use ssh::{Host, Ssh, SshError, SshOptions};

/// All checks over ssh, in the seed's order. A check that cannot be made says so and the rest goes on.
///
/// `in_use`: the model and hidden size that the workbench is connected with. `tell` hears each finding as it is made.
pub async fn look_over_ssh(ssh: &Ssh, in_use: Option<(&str, usize)>, mut tell: impl FnMut(Finding)) {
    let or_why = |id, section, result: Result<Finding, SshError>| match result {
        Ok(finding) => finding,
        Err(error) => Finding::could_not_look(id, section, &error),
    };
    tell(or_why("service", "0.1", checks::service::look(ssh).await));
    match checks::build::look(ssh).await {
        Ok(findings) => findings.into_iter().for_each(&mut tell),
        Err(error) => tell(Finding::could_not_look("tree", "1", &error)),
    }
    tell(or_why("unit", "2", checks::unit::look(ssh).await));
    tell(or_why("libstdcxx", "3", checks::libstdcxx::look(ssh).await));
    tell(or_why("interpreter", "4", checks::interpreter::look(ssh).await));
    tell(or_why("hidden-size", "7", checks::cards::look(ssh, in_use).await));
}

/// A remedy that needs nothing found first, by its name: what `--undo` takes.
///
/// `register-interpreter` is undone without knowing the folder, which is then empty here.
#[must_use]
pub fn remedy(id: &str) -> Option<Remedy> {
    match id {
        "start-llm-sys" => Some(checks::service::start()),
        "patch-simdjson" => Some(checks::build::patch_sconstruct()),
        "toolchain-wrappers" => Some(checks::build::toolchain_wrappers()),
        "start-llm-llm" => Some(checks::unit::restart()),
        "relink-libstdcxx" => Some(checks::libstdcxx::relink()),
        "register-interpreter" => Some(checks::interpreter::register(String::new())),
        _ => None,
    }
}

/// The names that [`remedy`] knows.
pub const REMEDIES: [&str; 6] = [
    "start-llm-sys",
    "patch-simdjson",
    "toolchain-wrappers",
    "start-llm-llm",
    "relink-libstdcxx",
    "register-interpreter",
];
