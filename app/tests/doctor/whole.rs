//! What a person has stays whole: on a disk that is full at any point, and where a script is ended before any of its commands, the module
//! is in the old state or in the new one, and the report says in which.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use softprefix::doctor::install::{InstallError, Installation, install, uninstall};
use softprefix::doctor::{Ended, Remedy, Ssh, SshError, remedy};

use crate::installing::{OURS, STOCK, program, ready, running, what};
use crate::jail::{Cxx, Interpreter, Jail};
use crate::modules::ours;
use crate::with_jail;

/// What the remedies may change, by path: files by their mode and SHA-256. A time in a name is left out.
type State = BTreeMap<String, String>;

fn state(jail: &Jail) -> State {
    let root = jail.at("/").display().to_string();
    let mut all = State::new();
    for folder in ["/etc", "/opt", "/root", "/usr/local"] {
        for (path, held) in jail.snapshot(folder) {
            let path = path.display().to_string();
            let name = path.trim_start_matches(root.as_str());
            let name = name
                .split_once(".broken_")
                .map_or(name.to_owned(), |(name, _)| format!("{name}.broken"));
            let held = if held.len() < 100 {
                held
            } else {
                format!("{:x}", Sha256::digest(held))
            };
            all.insert(name, held);
        }
    }
    for service in ["llm-sys", "llm-llm"] {
        let state = std::fs::read_to_string(jail.at("/var/lib/stand-in").join(service));
        all.insert(service.to_owned(), state.unwrap());
    }
    all
}

fn is(now: &State, wanted: &State, situation: &str) {
    let differs: BTreeSet<&String> = (now.keys().chain(wanted.keys()))
        .filter(|name| now.get(*name) != wanted.get(*name))
        .collect();
    assert!(differs.is_empty(), "{situation}: {differs:?} differ");
}

/// A module on which every remedy has something to do, and the remedies with what they need to be known.
fn broken(jail: &Jail) -> Vec<Remedy> {
    jail.stackflow_tree();
    jail.libstdcxx(Cxx::Old);
    jail.interpreter(&Interpreter::Unregistered("/opt/usr/lib"));
    std::fs::write(jail.at("/etc/ld.so.conf.d/m5stack-ax.conf"), "# by hand\n/somewhere\n").unwrap();
    jail.service("llm-sys", "inactive");
    [
        "start-llm-sys",
        "patch-simdjson",
        "toolchain-wrappers",
        "relink-libstdcxx",
        "register-interpreter",
    ]
    .into_iter()
    .map(|id| {
        let mut remedy = remedy(id).unwrap();
        for (name, value) in &mut remedy.variables {
            if *name == "FOLDER" {
                *value = "/opt/usr/lib".to_owned();
            }
        }
        remedy
    })
    .collect()
}

/// The state that a remedy makes.
async fn repaired(jail: &Jail, ssh: &Ssh, remedy: &Remedy) -> State {
    assert_eq!(remedy.apply(ssh).await.unwrap().ended, Ended::Done, "{}", remedy.id);
    let new = state(jail);
    assert_eq!(remedy.undo(ssh).await.unwrap().ended, Ended::Undone, "{}", remedy.id);
    new
}

/// Makes sure that a remedy is in effect, whatever was cut off before.
async fn made(jail: &Jail, ssh: &Ssh, remedy: &Remedy, new: &State, situation: &str) {
    let ended = remedy.apply(ssh).await.unwrap().ended;
    assert!(matches!(ended, Ended::Done | Ended::Already), "{situation}: {ended:?}");
    is(&state(jail), new, situation);
}

/// Makes sure that a remedy is taken back, whatever was cut off before.
async fn unmade(jail: &Jail, ssh: &Ssh, remedy: &Remedy, old: &State, situation: &str) {
    let ended = remedy.undo(ssh).await.unwrap().ended;
    assert!(
        matches!(ended, Ended::Undone | Ended::Nothing),
        "{situation}: {ended:?}"
    );
    is(&state(jail), old, situation);
}

#[test]
fn a_remedy_on_a_full_disk_leaves_the_old_state_or_the_new_one() {
    with_jail!(jail, with_a_disk, {
        let remedies = broken(&jail);
        let ssh = jail.open().await.unwrap();
        let old = state(&jail);
        for remedy in remedies {
            let new = repaired(&jail, &ssh, &remedy).await;
            is(&state(&jail), &old, remedy.id);
            let mut free = 0;
            loop {
                let situation = format!("{} with {free} free pages", remedy.id);
                jail.leave(free);
                let ended = remedy.apply(&ssh).await.unwrap().ended;
                let now = state(&jail);
                match ended {
                    Ended::Done => is(&now, &new, &situation),
                    Ended::Failed | Ended::Restored => is(&now, &old, &situation),
                    other => panic!("{situation}: {other:?}"),
                }
                if ended == Ended::Done {
                    // The way back needs room too, or says that the change stays.
                    for pages in 0.. {
                        jail.leave(pages);
                        let outcome = remedy.undo(&ssh).await.unwrap();
                        match outcome.ended {
                            Ended::Undone => break,
                            Ended::Stuck => {
                                assert!(
                                    outcome
                                        .why
                                        .unwrap()
                                        .en
                                        .starts_with("the change is in effect, as a whole"),
                                    "{situation}"
                                );
                                is(&state(&jail), &new, &situation);
                            }
                            other => panic!("{situation}: {other:?}"),
                        }
                    }
                    is(&state(&jail), &old, &situation);
                    break;
                }
                free += 1;
            }
            jail.leave(4096);
        }
    });
}

/// Every how many commands a script is ended: all of them where `SOFTPREFIX_TEST_EVERY` is 1.
fn stride() -> usize {
    std::env::var("SOFTPREFIX_TEST_EVERY").map_or(7, |every| every.parse().unwrap())
}

/// Each file as it was before or as it is after, with nothing torn; what is only prepared has a name of its own.
fn each_is_whole(now: &State, old: &State, new: &State, situation: &str) {
    for (path, held) in now {
        let prepared = path.contains(".softprefix");
        let known = [old.get(path), new.get(path)].contains(&Some(held));
        assert!(prepared || known, "{situation}: {path} is {held}");
    }
    for path in old.keys().filter(|path| new.contains_key(*path)) {
        assert!(now.contains_key(path), "{situation}: {path} is gone");
    }
}

#[test]
fn a_remedy_killed_before_any_of_its_commands_is_reverted_or_completed() {
    with_jail!(jail, with_a_disk, {
        let remedies = broken(&jail);
        let ssh = jail.open().await.unwrap();
        let old = state(&jail);
        for (turn, remedy) in remedies.into_iter().enumerate() {
            let new = repaired(&jail, &ssh, &remedy).await;
            // Not the same commands for each.
            for at in (1 + turn..).step_by(stride()) {
                let situation = format!("{} ended before command {at}", remedy.id);
                jail.kill_before(at);
                let outcome = remedy.apply(&ssh).await;
                if !jail.heal() {
                    assert_eq!(outcome.unwrap().ended, Ended::Done, "{situation}");
                    break;
                }
                each_is_whole(&state(&jail), &old, &new, &situation);
                // Whoever comes next finishes it, or takes it back.
                if at % 2 == 0 {
                    made(&jail, &ssh, &remedy, &new, &situation).await;
                }
                unmade(&jail, &ssh, &remedy, &old, &situation).await;
            }
            for at in (1 + turn..).step_by(stride()) {
                let situation = format!("undoing {} ended before command {at}", remedy.id);
                made(&jail, &ssh, &remedy, &new, &situation).await;
                jail.kill_before(at);
                let outcome = remedy.undo(&ssh).await;
                if !jail.heal() {
                    assert_eq!(outcome.unwrap().ended, Ended::Undone, "{situation}");
                    break;
                }
                each_is_whole(&state(&jail), &old, &new, &situation);
                unmade(&jail, &ssh, &remedy, &old, &situation).await;
            }
        }
    });
}

#[test]
fn a_remedy_whose_script_is_killed_reports_the_modules_state() {
    with_jail!(jail, with_a_disk, {
        let remedy = broken(&jail).pop().unwrap();
        let ssh = jail.open().await.unwrap();
        let old = state(&jail);
        let new = repaired(&jail, &ssh, &remedy).await;
        let mut seen = Vec::new();
        for at in (1..).step_by(stride()) {
            jail.kill_before(at);
            // The killing stops with the first script: the question after it is answered.
            std::fs::write(jail.at("/kill/once"), "").unwrap();
            let ended = remedy.apply(&ssh).await.unwrap().ended;
            let killed = jail.heal();
            let wanted = match ended {
                Ended::Done => &new,
                Ended::Failed | Ended::Restored => &old,
                other => panic!("before command {at}: {other:?}"),
            };
            is(&state(&jail), wanted, &format!("{ended:?} before command {at}"));
            seen.push(ended);
            if ended == Ended::Done {
                assert_eq!(remedy.undo(&ssh).await.unwrap().ended, Ended::Undone);
            }
            if !killed {
                break;
            }
        }
        assert!(
            seen.contains(&Ended::Failed) && seen.contains(&Ended::Restored),
            "{seen:?}"
        );
    });
}

/// An installation on a module that is ready for it, and the states without and with it.
struct Trial {
    wanted: Installation,
    old: State,
    new: State,
    _folder: tempfile::TempDir,
}

impl Trial {
    /// Installs and removes once.
    async fn on(jail: &Jail) -> (Self, Ssh) {
        ready(jail);
        let folder = tempfile::tempdir().unwrap();
        let wanted = what(program(folder.path(), 0), ours().await);
        let ssh = jail.open().await.unwrap();
        let old = state(jail);
        install(&ssh, &wanted, |_| {}).await.unwrap();
        let new = state(jail);
        assert!(uninstall(&ssh).await.unwrap());
        is(&state(jail), &old, "uninstalled");
        let trial = Self {
            wanted,
            old,
            new,
            _folder: folder,
        };
        (trial, ssh)
    }
}

#[test]
fn an_installation_on_a_full_disk_leaves_the_old_state_or_the_new_one() {
    with_jail!(jail, with_a_disk, {
        // Says that there is room: what is tried is what happens where there is none.
        let df = "#!/bin/sh\nprintf 'Filesystem 1024-blocks Used Available Capacity Mounted\\nstand-in 9999999 0 9999999 0%% /\\n'\n";
        std::fs::write(jail.at("/usr/bin/df"), df).unwrap();
        let (trial, ssh) = Trial::on(&jail).await;
        let (old, new) = (&trial.old, &trial.new);
        for free in 0.. {
            let situation = format!("with {free} free pages");
            jail.leave(free);
            match install(&ssh, &trial.wanted, |_| {}).await {
                Ok(()) => {
                    is(&state(&jail), new, &situation);
                    // Removing needs no room.
                    jail.leave(0);
                    assert!(uninstall(&ssh).await.unwrap());
                    is(&state(&jail), old, &situation);
                    break;
                }
                Err(InstallError::Ssh(SshError::CopyFailed { .. }) | InstallError::NotBegun { .. }) => {
                    is(&state(&jail), old, &situation);
                    assert_eq!(running(&jail), STOCK, "{situation}");
                    let left = jail.snapshot("/var/lib/softprefix/install");
                    assert!(
                        !left
                            .iter()
                            .any(|(path, _)| path.to_string_lossy().contains("unit.part")),
                        "{situation}: {left:?}"
                    );
                }
                Err(other) => panic!("{situation}: {other}"),
            }
        }
    });
}

#[test]
fn an_installation_killed_before_any_of_its_commands_is_complete_or_reverted() {
    with_jail!(jail, with_a_disk, {
        let (trial, ssh) = Trial::on(&jail).await;
        let (old, new) = (&trial.old, &trial.new);
        let mut short = trial.wanted.clone();
        short.watch = std::time::Duration::from_secs(4);

        for at in (1..).step_by(2 * stride()) {
            // Everything is ended but the module's own watch; then the script alone.
            for once in [false, true] {
                let situation = format!("an installation ended before command {at}, once: {once}");
                jail.kill_before(at);
                if once {
                    std::fs::write(jail.at("/kill/once"), "").unwrap();
                }
                let installed = install(&ssh, &short, |_| {}).await;
                let killed = jail.heal();
                each_is_whole(&state(&jail), old, new, &situation);
                jail.wait_for_scripts();
                let now = state(&jail);
                match installed {
                    Ok(()) => is(&now, new, &situation),
                    Err(_) if once => is(&now, old, &situation),
                    // Nobody could ask how it ended. What was only prepared goes with the next removal.
                    Err(_) => assert!([STOCK, OURS].contains(&running(&jail).as_str()), "{situation}"),
                }
                assert_eq!(running(&jail) == OURS, now == *new, "{situation}");
                let removed = uninstall(&ssh).await.unwrap();
                assert!(removed || now != *new, "{situation}");
                is(&state(&jail), old, &situation);
                assert_eq!(running(&jail), STOCK, "{situation}");
                if !killed {
                    return;
                }
            }
        }
    });
}

#[test]
fn a_removal_killed_before_any_of_its_commands_is_completed_by_the_next() {
    with_jail!(jail, with_a_disk, {
        let (trial, ssh) = Trial::on(&jail).await;
        let (old, new) = (&trial.old, &trial.new);
        lay_new(&jail, &trial.wanted.unit);
        for at in (1..).step_by(stride()) {
            let situation = format!("a removal ended before command {at}");
            jail.kill_before(at);
            let removed = uninstall(&ssh).await;
            let killed = jail.heal();
            each_is_whole(&state(&jail), old, new, &situation);
            // Its answer counts, also where it was ended just after it.
            if removed.is_err() {
                assert!(killed, "{situation}: {removed:?}");
                uninstall(&ssh).await.unwrap();
            }
            is(&state(&jail), old, &situation);
            assert_eq!(running(&jail), STOCK, "{situation}");
            if !killed {
                break;
            }
            // What was removed is laid back by hand: the trial of an installation is not what is tried here.
            lay_new(&jail, &trial.wanted.unit);
            is(&state(&jail), new, &situation);
        }
    });
}

/// The new state, as an installation leaves it.
fn lay_new(jail: &Jail, unit: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = jail.at("/etc/systemd/system/llm-llm.service.d");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(
        folder.join("softprefix.conf"),
        format!("[Service]\nExecStart=\nExecStart={OURS} --bus\n"),
    )
    .unwrap();
    std::fs::copy(unit, jail.at(OURS)).unwrap();
    std::fs::set_permissions(jail.at(OURS), std::fs::Permissions::from_mode(0o755)).unwrap();
    for act in [&["daemon-reload"][..], &["restart", "llm-llm"]] {
        let root = jail.at("/").display().to_string();
        let status = std::process::Command::new("chroot")
            .args([&root, "/usr/bin/systemctl"])
            .args(act)
            .status();
        assert!(status.unwrap().success());
    }
}
