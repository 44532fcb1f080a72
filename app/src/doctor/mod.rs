//! The doctor: checks a module over ssh and port 10001, explains each problem in one sentence, and applies a remedy on
//! request.
//!
//! `script` builds safe shell text, `ssh` runs it, `checks` find the state, and `remedy` changes it with a backup and
//! an undo. This file lists all checks in their order. `panels` and `cli` display the findings.

pub mod build;
pub mod checks;
mod error_text;
pub mod finding;
pub mod install;
pub mod log;
pub mod protocol_check;
mod remedies;
pub mod remedy;
pub mod script;
pub mod ssh;

pub use finding::{Finding, Verdict};
pub use remedies::{REMEDIES, remedy};

use crate::model::{Bilingual, bilingual};
pub use remedy::{Ended, Remedy, RemedyOutcome};
pub use ssh::{Host, Ssh, SshError, SshOptions};

/// Makes all checks over ssh, in the order of the set-up guide. A check that cannot be made is reported as such, and
/// the others continue.
///
/// `in_use` is the model and hidden size that the workbench is connected with. Calls `report` with each finding.
pub async fn check_over_ssh(ssh: &Ssh, in_use: Option<(&str, usize)>, mut report: impl FnMut(Finding)) {
    let or_why = |id, section, result: Result<Finding, SshError>| match result {
        Ok(finding) => finding,
        Err(error) => Finding::not_checked(id, section, error.sentence()),
    };
    match checks::unfinished::run(ssh).await {
        Ok(finding) => finding.into_iter().for_each(&mut report),
        Err(error) => report(Finding::not_checked("unfinished", "0", error.sentence())),
    }
    report(or_why("service", "0.1", checks::service::run(ssh).await));
    match checks::build::run(ssh).await {
        Ok(findings) => findings.into_iter().for_each(&mut report),
        Err(error) => report(Finding::not_checked("tree", "1.1", error.sentence())),
    }
    report(or_why("unit", "2", checks::unit::run(ssh).await));
    report(or_why("libstdcxx", "3", checks::libstdcxx::run(ssh).await));
    report(or_why("interpreter", "4", checks::interpreter::run(ssh).await));
    report(or_why("hidden-size", "7", checks::cards::run(ssh, in_use).await));
}

/// Id of the remedy that ends left-over tasks; it has no script and no undo.
pub const EXIT_TASKS: &str = "exit-left-over-tasks";
pub const BUILD: &str = "build-stock-unit";
/// Id of the installation of softprefix-unit in the log; `--fix` does not accept it.
pub const INSTALL: &str = "install";

/// Returns a short description of a change.
#[must_use]
pub fn title(id: &str) -> Bilingual {
    match id {
        EXIT_TASKS => bilingual!("Exit the left-over tasks", "残っているタスクを終了"),
        BUILD => bilingual!("Build the C++ unit", "C++ ユニットをビルド"),
        INSTALL => bilingual!("Install softprefix-unit", "softprefix-unit を導入"),
        _ => remedy(id).map_or_else(|| id.into(), |remedy| remedy.title),
    }
}

/// A check: its id, the sections of the set-up guide that it covers, and its remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    pub id: &'static str,
    pub sections: &'static [&'static str],
    pub remedies: &'static [&'static str],
}

const fn check(id: &'static str, sections: &'static [&'static str], remedies: &'static [&'static str]) -> Check {
    Check { id, sections, remedies }
}

/// Every check, in the order of the guide. The table of `assets/GUIDE.md` lists the same.
pub const CHECKS: [Check; 17] = [
    check("unfinished", &["0"], &[]),
    check("service", &["0.1"], &["start-llm-sys"]),
    check("answer", &["0.1"], &[]),
    check("tree", &["1.1", "1.4"], &[BUILD]),
    check("simdjson", &["1.2"], &["patch-simdjson"]),
    check("toolchain", &["1.3"], &["toolchain-wrappers"]),
    check("unit", &["2", "8.1"], &["start-llm-llm"]),
    check("set-up", &["2", "8.1", "8.2"], &[]),
    check("libstdcxx", &["3"], &["relink-libstdcxx"]),
    check("interpreter", &["4"], &["register-interpreter"]),
    check("baseline", &["5"], &[]),
    check("second-run", &["6"], &[]),
    check("prefix", &["6", "9"], &[INSTALL]),
    check("hidden-size", &["7"], &[]),
    check("model", &["7"], &[]),
    check("tasks", &["8.1", "8.2"], &[EXIT_TASKS]),
    check("stream", &["8.3"], &[]),
];
