//! The whole story from a shell, as a new user would live it: a module in its worst state, repaired by the offered remedies,
//! softprefix-unit installed, and a prefix that has an effect.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::port;
use crate::with_jail;

/// A finding's name, its verdict, and the remedy it offers.
type Line = (String, String, Option<String>);

/// The program in a shell, with its ssh configuration and its log of changes.
pub struct Shell<'a> {
    pub config: &'a Path,
    pub log: &'a Path,
}

impl Shell<'_> {
    /// A command that asks before it changes something.
    pub fn asking(&self, verb: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_softprefix"));
        command
            .args([verb, "root@127.0.0.1", "--lang", "en", "--ssh-config"])
            .arg(self.config)
            .arg("--log")
            .arg(self.log)
            .args(arguments);
        command
    }

    /// A command that has been agreed to.
    pub fn command(&self, verb: &str, arguments: &[&str]) -> Command {
        self.asking(verb, &[&["--yes"], arguments].concat())
    }

    pub fn run(&self, verb: &str, arguments: &[&str]) -> Output {
        self.command(verb, arguments).output().unwrap()
    }

    /// The exit code, and every finding.
    fn look(&self) -> (Option<i32>, Vec<Line>) {
        let output = self.run("doctor", &["--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let findings = report["findings"].as_array().unwrap().iter();
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
fn the_offered_remedies_repair_the_worst_module() {
    with_jail!(jail, {
        jail.make_worst();
        port::reflect(&jail, port::tiny()).await;
        let folder = tempfile::tempdir().unwrap();
        let config = jail.options().config.unwrap();
        let log = folder.path().join("log.jsonl");
        let shell = Shell {
            config: &config,
            log: &log,
        };

        let (code, before) = shell.look();
        assert_eq!(code, Some(3));
        let broken: Vec<&str> = before
            .iter()
            .filter(|f| f.1 == "broken")
            .map(|f| f.0.as_str())
            .collect();
        assert_eq!(broken, ["service", "unit", "libstdcxx", "interpreter", "answer"]);

        let mut applied = Vec::new();
        // Some remedies are offered only after others: the unit can be started when its libraries are found.
        while let Some(id) = shell.look().1.into_iter().find_map(|finding| finding.2) {
            assert!(!applied.contains(&id), "{id} is offered again");
            let output = shell.run("doctor", &["--fix", &id]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                output.status.success() && text.contains("Done, and verified"),
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
        let left: Vec<&str> = after.iter().filter(|f| f.1 != "good").map(|f| f.0.as_str()).collect();
        assert_eq!(left, ["prefix"], "only the unit is still the stock one: {after:?}");
        assert_eq!(code, Some(3));

        let unit = crate::installing::program(folder.path(), 0);
        let output = shell.run("install", &["--unit", &unit.display().to_string()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(crate::installing::running(&jail), crate::installing::OURS);
        let (code, after) = shell.look();
        assert!(after.iter().all(|finding| finding.1 == "good"), "{after:?}");
        assert_eq!(code, Some(0));

        // And a prefixed inference.
        let output = Command::new(env!("CARGO_BIN_EXE_softprefix"))
            .args([
                "compare",
                "--module",
                "127.0.0.1:10001",
                "--prompt",
                "Why is the sky blue?",
            ])
            .env("SOFTPREFIX_STATE_DIR", folder.path().join("state"))
            .args(["--values", "1.0", "--len", "1", "--max-tokens", "16", "--out"])
            .arg(folder.path().join("results.json"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

        // The log reads like the story.
        let entries: Vec<Value> = fs::read_to_string(&log)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let ids: Vec<&str> = entries.iter().filter_map(|entry| entry["id"].as_str()).collect();
        applied.push("install".to_owned());
        assert_eq!(ids, applied);
        assert!(
            entries
                .iter()
                .all(|entry| entry["commands"].as_str().is_some_and(|text| !text.is_empty()))
        );

        let history = shell.run("doctor", &["--history"]);
        let history = String::from_utf8_lossy(&history.stdout).into_owned();
        assert!(
            history.contains("Point libstdc++ to the system's: Done, and verified."),
            "{history}"
        );
        assert!(history.contains("    ln -sfn \"$SYSTEM\""), "{history}");

        // And back again, the last change first.
        assert!(shell.run("uninstall", &[]).status.success());
        for id in applied.iter().rev().skip(1) {
            let output = shell.run("doctor", &["--undo", id]);
            assert!(String::from_utf8_lossy(&output.stdout).contains("Undone"), "{id}");
        }
        assert_eq!(shell.look().1, before);
    });
}
