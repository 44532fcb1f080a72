//! The whole story from a shell, as a new user would live it: a module in its worst state, mended by what the doctor offers, the
//! injector installed, and a prefix that has an effect.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::jail::{Cxx, Interpreter, Jail};
use crate::modules::ours;
use crate::with_jail;

/// A finding's name, its verdict, and the remedy it offers.
type Line = (String, String, Option<String>);

struct Shell<'a> {
    config: &'a Path,
    module: String,
    log: &'a Path,
}

impl Shell<'_> {
    fn run(&self, verb: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_softprefix"));
        command
            .args([verb, "module", "--yes", "--module", &self.module, "--ssh-config"])
            .arg(self.config);
        if verb == "doctor" {
            command.arg("--log").arg(self.log);
        }
        command.args(arguments).output().unwrap()
    }

    /// The exit code, and every finding.
    fn look(&self) -> (Option<i32>, Vec<Line>) {
        let output = self.run("doctor", &["--json"]);
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let findings = said["findings"].as_array().unwrap().iter();
        let findings = findings.map(|f| {
            (
                text(&f["id"]),
                text(&f["verdict"]),
                f["remedy"]["id"].as_str().map(str::to_owned),
            )
        });
        (output.status.code(), findings.collect())
    }
}

#[test]
fn the_worst_module_is_mended_by_what_the_doctor_offers() {
    with_jail!(jail, {
        worst(&jail);
        // What answers for the module's llm-sys once it is started; the port itself is looked for on the module.
        let port = std::net::TcpListener::bind("127.0.0.1:10001");
        let address = ours().await;
        let folder = tempfile::tempdir().unwrap();
        let config = jail.options().config.unwrap();
        let log = folder.path().join("log.jsonl");
        let shell = Shell {
            config: &config,
            module: address.to_string(),
            log: &log,
        };

        let (code, before) = shell.look();
        assert_eq!(code, Some(3));
        let broken: Vec<&str> = before
            .iter()
            .filter(|f| f.1 == "broken")
            .map(|f| f.0.as_str())
            .collect();
        assert_eq!(broken, ["unit", "libstdcxx", "interpreter"]);

        let mut applied = Vec::new();
        // Some remedies are offered only after others: the unit can be started when its libraries are found.
        while let Some(id) = shell.look().1.into_iter().find_map(|finding| finding.2) {
            assert!(!applied.contains(&id), "{id} is offered again");
            let output = shell.run("doctor", &["--fix", &id]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                output.status.success() && text.contains("done, and verified"),
                "{id}: {text}"
            );
            applied.push(id);
        }
        assert_eq!(
            applied,
            [
                "start-llm-sys",
                "patch-simdjson",
                "toolchain-wrappers",
                "relink-libstdcxx",
                "register-interpreter",
                "start-llm-llm"
            ]
        );
        let (code, after) = shell.look();
        assert!(after.iter().all(|finding| finding.1 == "good"), "{after:?}");
        assert_eq!(code, Some(0));

        let unit = crate::installing::program(folder.path(), 0);
        let output = shell.run("install", &["--unit", &unit.display().to_string()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(crate::installing::running(&jail), crate::installing::OURS);

        // The log reads like the story.
        let entries: Vec<Value> = fs::read_to_string(&log)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let told: Vec<&str> = entries.iter().filter_map(|entry| entry["id"].as_str()).collect();
        assert_eq!(told, applied);
        assert!(
            entries
                .iter()
                .all(|entry| entry["commands"].as_str().is_some_and(|text| !text.is_empty()))
        );

        // And back again, the last change first.
        assert!(shell.run("uninstall", &[]).status.success());
        for id in applied.iter().rev() {
            let output = shell.run("doctor", &["--undo", id]);
            assert!(String::from_utf8_lossy(&output.stdout).contains("undone"), "{id}");
        }
        assert_eq!(shell.look().1, before);
        drop(port);
    });
}

fn worst(jail: &Jail) {
    crate::installing::ready(jail);
    jail.stackflow_tree();
    jail.libstdcxx(Cxx::BrokenLink);
    jail.interpreter(&Interpreter::Unregistered("/opt/usr/lib"));
    jail.service("llm-sys", "inactive");
    jail.service("llm-llm", "inactive");
}
