//! The options of `doctor`, `install` and `uninstall` that the story does not need, from a shell.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use softprefix_core::client::{ConnectOptions, Module};
use softprefix_core::protocol::SetUp;

use crate::installing::{OURS, STOCK, program, ready, running};
use crate::jail::until;
use crate::modules::ours;
use crate::story::Shell;
use crate::with_jail;

fn printed(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// The log of changes: which change each entry is of, and how it ended.
fn logged(log: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let entry = |line: &str| {
        let entry: Value = serde_json::from_str(line).unwrap();
        let word = |key: &str| entry[key].as_str().unwrap().to_owned();
        (word("id"), word("ended"))
    };
    text.lines().map(entry).collect()
}

/// Files of a shell, in a folder of its own.
struct Files {
    folder: tempfile::TempDir,
    log: PathBuf,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log.jsonl");
        Self { folder, log }
    }

    fn shell<'a>(&'a self, config: &'a Path) -> Shell<'a> {
        Shell { config, log: &self.log }
    }
}

#[test]
fn install_tests_the_unit_at_the_named_module_with_the_named_model() {
    with_jail!(jail, {
        ready(&jail);
        let (files, config) = (Files::new(), jail.options().config.unwrap());
        let shell = files.shell(&config);
        let unit = program(files.folder.path(), 0).display().to_string();
        let module = ours().await.to_string();
        let install = |more: &[&str]| shell.run("install", &[&["--unit", &unit], more].concat());
        // Nobody answers at the port that a module has; a short watch has a short patience.
        let silent = install(&["--watch", "4"]);
        assert_eq!(silent.status.code(), Some(3), "{}", printed(&silent));
        assert_eq!(running(&jail), STOCK);
        let refused = install(&["--watch", "4", "--module", &module, "--model", "no-such-model"]);
        assert_eq!(refused.status.code(), Some(3), "{}", printed(&refused));
        assert!(printed(&refused).contains("no-such-model"), "{}", printed(&refused));
        assert_eq!(running(&jail), STOCK);

        let done = install(&["--module", &module, "--model", "tiny"]);
        assert_eq!(done.status.code(), Some(0), "{}", printed(&done));
        assert_eq!(running(&jail), OURS);
        let log = logged(&files.log);
        assert_eq!(log.len(), 3, "{log:?}");
        assert_eq!(log[2], ("install".to_owned(), "done".to_owned()));

        // Removing asks no module, so an address or a model is no argument of it.
        for option in ["--module", "--model"] {
            let refused = shell.run("uninstall", &[option, &module]);
            assert_eq!(refused.status.code(), Some(2), "{}", printed(&refused));
            assert_eq!(running(&jail), OURS);
        }
        let done = shell.run("uninstall", &[]);
        assert_eq!(done.status.code(), Some(0), "{}", printed(&done));
        assert_eq!(running(&jail), STOCK);
    });
}

#[test]
fn the_module_reverts_after_the_seconds_of_the_watch_option() {
    with_jail!(jail, {
        ready(&jail);
        let (files, config) = (Files::new(), jail.options().config.unwrap());
        let shell = files.shell(&config);
        let unit = program(files.folder.path(), 0).display().to_string();
        // Takes the connection and never answers.
        let mute = TcpListener::bind("127.0.0.1:0").unwrap();
        let module = mute.local_addr().unwrap().to_string();
        let mut child = shell
            .command("install", &["--unit", &unit, "--module", &module, "--watch", "5"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until("the swap", || running(&jail) == OURS).await;
        child.kill().unwrap();
        child.wait().unwrap();
        jail.cut_connections();
        // Far below the four minutes of the default.
        until("the end of the swap", || running(&jail) == STOCK).await;
        jail.wait_for_scripts();
        assert!(!jail.at(OURS).exists());
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn left_over_tasks_are_exited_by_a_confirmed_fix() {
    let address = ours().await.to_string();
    let module = Module::connect(&address, ConnectOptions::default()).await.unwrap();
    let cards = module.cards().await.unwrap();
    let set_up = SetUp::new(&cards[0].name, "s");
    let task = module.set_up(&set_up).await.unwrap();
    let tasks = module.tasks().await.unwrap();
    assert_eq!(tasks.len(), 1);

    let (files, none) = (Files::new(), Path::new("/dev/null"));
    let shell = files.shell(none);
    let fix = ["--fix", "exit-left-over-tasks", "--module", &address];
    let asked = shell.asking("doctor", &fix).stdin(Stdio::null()).output().unwrap();
    assert_eq!(asked.status.code(), Some(2), "{}", printed(&asked));
    assert!(printed(&asked).contains("--yes"), "{}", printed(&asked));
    assert_eq!(module.tasks().await.unwrap(), tasks, "nobody agreed");

    let done = shell.run("doctor", &fix);
    assert_eq!(done.status.code(), Some(0), "{}", printed(&done));
    assert!(
        printed(&done).contains(&format!("Ended: {}.", tasks[0])),
        "{}",
        printed(&done)
    );
    assert_eq!(module.tasks().await.unwrap(), [] as [String; 0]);
    let again = shell.run("doctor", &fix);
    assert_eq!(again.status.code(), Some(0));
    assert!(
        printed(&again).contains("There was no task to end."),
        "{}",
        printed(&again)
    );
    let entry = ("exit-left-over-tasks".to_owned(), "done".to_owned());
    assert_eq!(logged(&files.log), [entry.clone(), entry]);
    drop(task);
}

#[test]
fn a_fix_builds_the_stock_unit_and_prints_the_output_of_the_build() {
    with_jail!(jail, {
        jail.stackflow_tree();
        let (files, config) = (Files::new(), jail.options().config.unwrap());
        let shell = files.shell(&config);
        let built = jail.at("/root/StackFlow/projects/llm_framework/dist/llm_llm-1.9");
        let fix = ["--fix", "build-stock-unit"];
        let done = shell.run("doctor", &fix);
        assert_eq!(done.status.code(), Some(0), "{}", printed(&done));
        for line in [
            "yes Y | scons -j1",
            "scons stand-in -j1",
            "answered Y",
            "step 5",
            "built",
            "least free memory: 781 MiB",
        ] {
            assert!(printed(&done).contains(line), "{line}: {}", printed(&done));
        }
        assert!(built.exists());

        // A build that fails says how, and so does the exit code.
        fs::write(jail.at("/usr/bin/scons"), "#!/bin/sh\necho 'no compiler'\nexit 7\n").unwrap();
        let failed = shell.run("doctor", &fix);
        assert_eq!(failed.status.code(), Some(3), "{}", printed(&failed));
        assert!(printed(&failed).contains("no compiler"), "{}", printed(&failed));
        assert!(printed(&failed).contains("status 7"), "{}", printed(&failed));
        let log = logged(&files.log);
        assert_eq!(log[0], ("build-stock-unit".to_owned(), "done".to_owned()));
        assert!(log[1].1.contains("status 7"), "{log:?}");
    });
}

#[test]
fn an_interrupted_build_is_stopped_on_the_module() {
    with_jail!(jail, {
        jail.stackflow_tree();
        // After its first line the build waits.
        fs::write(jail.at("/tmp/slow"), "").unwrap();
        let (files, config) = (Files::new(), jail.options().config.unwrap());
        let shell = files.shell(&config);
        let mut child = shell
            .command("doctor", &["--fix", "build-stock-unit"])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let began = lines.map_while(Result::ok).any(|line| line.contains("step 1"));
        assert!(began, "no build: {:?}", child.wait());
        // As a terminal does it: to the program and whatever it has started.
        let group = format!("-{}", child.id());
        let sent = Command::new("kill").args(["-INT", "--", &group]).status();
        assert!(sent.unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert!(!jail.at("/var/lib/softprefix/doctor/build/pid").exists());
        let entry = ("build-stock-unit".to_owned(), "stopped".to_owned());
        assert_eq!(logged(&files.log), [entry]);
    });
}
