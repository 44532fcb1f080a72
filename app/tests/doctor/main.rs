//! The doctor on a module in a jail: each check's verdict in every state, each remedy's effect and its undoing byte for byte.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail the test.

mod installing;
mod jail;
mod modules;
mod options;
mod port;
mod protocol_check;
mod readme;
mod story;
mod walk;
mod whole;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use jail::{Cxx, Interpreter, Jail, until};
use softprefix::doctor::build::{self, BuildOutput};
use softprefix::doctor::{
    CHECKS, Ended, Finding, Host, RemedyOutcome, Ssh, SshError, Verdict, check_over_ssh, checks, remedy,
};

/// Runs `$work` with a jail, or says why it cannot; fails where `SOFTPREFIX_TEST_JAIL` says that it must.
macro_rules! with_jail {
    ($jail:ident, $work:block) => {
        $crate::with_jail!($jail, new, $work)
    };
    ($jail:ident, $made:ident, $work:block) => {
        if !$crate::jail::is_possible() {
            return;
        }
        let $jail = $crate::jail::Jail::$made();
        tokio::runtime::Runtime::new().unwrap().block_on(async $work);
    };
}

pub(crate) use with_jail;

async fn everything(jail: &Jail) -> Vec<Finding> {
    let ssh = jail.open().await.unwrap();
    let mut findings = Vec::new();
    check_over_ssh(&ssh, Some(("qwen2.5-0.5B-prefill-20e", 896)), |finding| {
        findings.push(finding)
    })
    .await;
    findings.iter().for_each(is_known);
    findings
}

/// Every finding is one of the listed checks, with a section and a remedy that stand there.
fn is_known(finding: &Finding) {
    let check = CHECKS.iter().find(|check| check.id == finding.id);
    let check = check.unwrap_or_else(|| panic!("{} is in no list", finding.id));
    assert!(check.sections.contains(&finding.section), "{finding:#?}");
    let remedy = finding.remedy.as_ref().map(|remedy| remedy.id);
    assert!(remedy.is_none_or(|id| check.remedies.contains(&id)), "{finding:#?}");
    let japanese = |text: &str| text.chars().any(|c| ('\u{3040}'..='\u{30ff}').contains(&c));
    assert!(
        japanese(&finding.title.ja) && japanese(&finding.text.ja),
        "{finding:#?}"
    );
}

fn verdict(findings: &[Finding], id: &str) -> (Verdict, Option<&'static str>) {
    let finding = findings
        .iter()
        .find(|finding| finding.id == id)
        .unwrap_or_else(|| panic!("no check {id}"));
    (finding.verdict, finding.remedy.as_ref().map(|remedy| remedy.id))
}

#[test]
fn every_check_of_a_healthy_module_is_good() {
    with_jail!(jail, {
        let findings = everything(&jail).await;
        let ids: Vec<_> = findings.iter().map(|finding| (finding.id, finding.section)).collect();
        assert_eq!(
            ids,
            [
                ("service", "0.1"),
                ("tree", "1.1"),
                ("unit", "2"),
                ("libstdcxx", "3"),
                ("interpreter", "4"),
                ("hidden-size", "7")
            ]
        );
        // Nothing listens on 10001 in the jail; all else is good.
        for finding in findings.iter().filter(|finding| finding.id != "service") {
            assert_eq!(finding.verdict, Verdict::Good, "{finding:#?}");
            assert!(finding.remedy.is_none());
        }
    });
}

#[test]
fn the_library_checks_distinguish_every_state_and_combination() {
    with_jail!(jail, {
        let ssh = jail.open().await.unwrap();
        let interpreters = [
            (Interpreter::Registered, Verdict::Good, None),
            (
                Interpreter::Unregistered("/opt/usr/lib"),
                Verdict::Broken,
                Some("register-interpreter"),
            ),
            (Interpreter::BrokenLink, Verdict::Broken, None),
            (Interpreter::Nowhere, Verdict::Broken, None),
        ];
        for (cxx, cxx_verdict) in [
            (Cxx::LinkToSystem, Verdict::Good),
            (Cxx::BrokenLink, Verdict::Broken),
            (Cxx::Old, Verdict::Broken),
            (Cxx::Missing, Verdict::Warning),
        ] {
            jail.libstdcxx(cxx);
            let finding = checks::libstdcxx::run(&ssh).await.unwrap();
            assert_eq!(finding.verdict, cxx_verdict, "{finding:#?}");
            assert_eq!(finding.remedy.is_some(), cxx_verdict != Verdict::Good);
            for (interpreter, wanted, with_remedy) in &interpreters {
                let _ = fs::remove_dir_all(jail.at("/opt/usr"));
                jail.interpreter(interpreter);
                let finding = checks::interpreter::run(&ssh).await.unwrap();
                assert_eq!(
                    (finding.verdict, finding.remedy.map(|r| r.id)),
                    (*wanted, *with_remedy),
                    "{interpreter:?}"
                );
                let unit = checks::unit::run(&ssh).await.unwrap();
                let loads = *interpreter == Interpreter::Registered
                    && matches!(cxx, Cxx::LinkToSystem | Cxx::Missing | Cxx::BrokenLink);
                // `ldd` passes over a broken link and finds the system's library in its own path.
                assert_eq!(
                    unit.verdict == Verdict::Good,
                    loads,
                    "{cxx:?} {interpreter:?} {unit:#?}"
                );
            }
        }
    });
}

#[test]
fn relinking_libstdcxx_repairs_every_state_and_undo_restores_it() {
    with_jail!(jail, {
        let ssh = jail.open().await.unwrap();
        for state in [Cxx::BrokenLink, Cxx::Old, Cxx::Missing] {
            jail.libstdcxx(state);
            let before = jail.snapshot("/usr/local/m5stack");
            let remedy = checks::libstdcxx::run(&ssh).await.unwrap().remedy.unwrap();
            let outcome = remedy.apply(&ssh).await.unwrap();
            assert_eq!(outcome.ended, Ended::Done, "{outcome:?}");
            let link = jail.at("/usr/local/m5stack/lib/gcc-10.3/libstdc++.so.6");
            assert_eq!(
                fs::read_link(&link).unwrap().to_str(),
                Some("/usr/lib/aarch64-linux-gnu/libstdc++.so.6")
            );
            assert_eq!(checks::libstdcxx::run(&ssh).await.unwrap().verdict, Verdict::Good);
            let kept = jail
                .snapshot("/usr/local/m5stack")
                .iter()
                .filter(|(path, _)| path.to_string_lossy().contains(".broken_"))
                .count();
            assert_eq!(
                kept,
                usize::from(state != Cxx::Missing),
                "the old one is kept under a name with the time"
            );
            assert_eq!(remedy.apply(&ssh).await.unwrap().ended, Ended::Already);
            assert_eq!(remedy.undo(&ssh).await.unwrap().ended, Ended::Undone);
            assert_eq!(jail.snapshot("/usr/local/m5stack"), before, "{state:?}");
            assert_eq!(remedy.undo(&ssh).await.unwrap().ended, Ended::Nothing);
        }
    });
}

#[test]
fn registering_the_interpreter_writes_one_line_and_undo_restores_the_file() {
    with_jail!(jail, {
        let ssh = jail.open().await.unwrap();
        jail.interpreter(&Interpreter::Unregistered("/opt/usr/lib"));
        for earlier in [None, Some("# by hand\n/somewhere\n")] {
            let conf = jail.at("/etc/ld.so.conf.d/m5stack-ax.conf");
            let _ = fs::remove_file(&conf);
            if let Some(text) = earlier {
                fs::write(&conf, text).unwrap();
            }
            let before = jail.snapshot("/etc/ld.so.conf.d");
            let remedy = checks::interpreter::run(&ssh).await.unwrap().remedy.unwrap();
            assert!(
                remedy.shown().starts_with("FOLDER=/opt/usr/lib\n"),
                "{}",
                remedy.shown()
            );
            assert_eq!(remedy.apply(&ssh).await.unwrap().ended, Ended::Done);
            assert_eq!(fs::read_to_string(&conf).unwrap(), "/opt/usr/lib\n");
            assert_eq!(checks::interpreter::run(&ssh).await.unwrap().verdict, Verdict::Good);
            assert_eq!(
                softprefix::doctor::remedy("register-interpreter")
                    .unwrap()
                    .undo(&ssh)
                    .await
                    .unwrap()
                    .ended,
                Ended::Undone
            );
            assert_eq!(jail.snapshot("/etc/ld.so.conf.d"), before);
        }
    });
}

#[test]
fn obstacles_of_the_build_are_removed_and_restored() {
    with_jail!(jail, {
        jail.stackflow_tree();
        let ssh = jail.open().await.unwrap();
        let findings = checks::build::run(&ssh).await.unwrap();
        assert_eq!(
            verdict(&findings, "simdjson"),
            (Verdict::Warning, Some("patch-simdjson"))
        );
        assert_eq!(
            verdict(&findings, "toolchain"),
            (Verdict::Warning, Some("toolchain-wrappers"))
        );
        let (root, opt) = (jail.snapshot("/root"), jail.snapshot("/opt"));
        for id in ["patch-simdjson", "toolchain-wrappers"] {
            let outcome = remedy(id).unwrap().apply(&ssh).await.unwrap();
            assert_eq!(outcome.ended, Ended::Done, "{id}: {outcome:?}");
            assert_eq!(
                remedy(id).unwrap().apply(&ssh).await.unwrap().ended,
                Ended::Already,
                "{id}"
            );
        }
        let text = fs::read_to_string(jail.at("/root/StackFlow/SDK/components/simdjson_component/SConstruct")).unwrap();
        assert_eq!(text.matches("if \"GCC_DUMPMACHINE\" not in env:").count(), 1);
        assert!(
            text.contains("    import subprocess\n    if \"GCC_DUMPMACHINE\" not in env:\n        try:\n"),
            "indented as the line is: {text}"
        );
        let wrapper = jail.at("/opt/gcc-arm-10.3-2021.07-x86_64-aarch64-none-linux-gnu/bin/aarch64-none-linux-gnu-gcc");
        assert_eq!(
            fs::read_to_string(wrapper).unwrap(),
            "#!/bin/sh\nexec /usr/bin/gcc \"$@\"\n"
        );
        let findings = checks::build::run(&ssh).await.unwrap();
        assert!(
            findings.iter().all(|finding| finding.verdict == Verdict::Good),
            "{findings:#?}"
        );
        for id in ["patch-simdjson", "toolchain-wrappers"] {
            assert_eq!(remedy(id).unwrap().undo(&ssh).await.unwrap().ended, Ended::Undone);
        }
        assert_eq!((jail.snapshot("/root"), jail.snapshot("/opt")), (root, opt));
    });
}

#[test]
fn services_are_started_and_stopped_again() {
    with_jail!(jail, {
        jail.service("llm-sys", "inactive");
        jail.service("llm-llm", "failed");
        let findings = everything(&jail).await;
        assert_eq!(verdict(&findings, "service"), (Verdict::Broken, Some("start-llm-sys")));
        assert_eq!(verdict(&findings, "unit"), (Verdict::Broken, Some("start-llm-llm")));
        let ssh = jail.open().await.unwrap();
        for (id, service, before) in [
            ("start-llm-sys", "llm-sys", "inactive"),
            ("start-llm-llm", "llm-llm", "inactive"),
        ] {
            assert_eq!(remedy(id).unwrap().apply(&ssh).await.unwrap().ended, Ended::Done);
            assert_eq!(
                fs::read_to_string(jail.at("/var/lib/stand-in").join(service)).unwrap(),
                "active\n"
            );
            assert_eq!(remedy(id).unwrap().undo(&ssh).await.unwrap().ended, Ended::Undone);
            assert_eq!(
                fs::read_to_string(jail.at("/var/lib/stand-in").join(service))
                    .unwrap()
                    .trim(),
                before
            );
        }
    });
}

#[test]
fn a_remedy_that_fails_half_way_restores_what_it_moved() {
    with_jail!(jail, {
        let ssh = jail.open().await.unwrap();
        // The system's library vanishes between look and apply: the link is made, the verification fails.
        jail.libstdcxx(Cxx::BrokenLink);
        let remedy = checks::libstdcxx::run(&ssh).await.unwrap().remedy.unwrap();
        let before = jail.snapshot("/usr/local/m5stack");
        fs::copy(
            jail.at("/opt/m5stack/data/models/mode_qwen2.5-0.5B-prefill-20e.json"),
            jail.at("/usr/lib/aarch64-linux-gnu/libstdc++.so.6"),
        )
        .unwrap();
        fs::write(
            jail.at("/usr/lib/aarch64-linux-gnu/libstdc++.so.6"),
            "GLIBCXX_3.4.30 only",
        )
        .unwrap();
        let outcome = remedy.apply(&ssh).await.unwrap();
        assert_eq!(outcome.ended, Ended::Restored, "{outcome:?}");
        assert_eq!(jail.snapshot("/usr/local/m5stack"), before);
        // A unit whose libraries are missing does not start, and says so.
        jail.interpreter(&Interpreter::Nowhere);
        jail.service("llm-llm", "failed");
        let outcome = softprefix::doctor::remedy("start-llm-llm")
            .unwrap()
            .apply(&ssh)
            .await
            .unwrap();
        assert_eq!(outcome.ended, Ended::Restored);
        assert!(outcome.why.unwrap().en.contains("llm-llm.service failed"));
    });
}

#[test]
fn a_failed_restore_is_reported_keeps_its_backup_and_can_be_repeated() {
    with_jail!(jail, {
        let ssh = jail.open().await.unwrap();
        jail.libstdcxx(Cxx::BrokenLink);
        let remedy = checks::libstdcxx::run(&ssh).await.unwrap().remedy.unwrap();
        let before = jail.snapshot("/usr/local/m5stack");
        let system = jail.at("/usr/lib/aarch64-linux-gnu/libstdc++.so.6");
        fs::write(&system, "GLIBCXX_3.4.30 only").unwrap();
        let (mv, kept) = (jail.at("/usr/bin/mv"), jail.at("/usr/bin/mv.real"));
        fs::rename(&mv, &kept).unwrap();
        let refusing = "#!/bin/sh\ncase \"$2\" in *.broken_*) echo 'mv: read-only file system' >&2; exit 1;; esac\nexec /usr/bin/mv.real \"$@\"\n";
        fs::write(&mv, refusing).unwrap();
        fs::set_permissions(&mv, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();

        let stuck = |outcome: RemedyOutcome| {
            assert_eq!(outcome.ended, Ended::Stuck, "{outcome:?}");
            let why = outcome.why.unwrap();
            for words in [&why.en, &why.ja] {
                assert!(words.contains("read-only file system"), "{words}");
                assert!(
                    words.contains("/var/lib/softprefix/doctor/relink-libstdcxx/backup"),
                    "{words}"
                );
            }
        };
        stuck(remedy.apply(&ssh).await.unwrap());
        // Neither another run nor an undoing passes over it while the cause is there.
        stuck(remedy.apply(&ssh).await.unwrap());
        stuck(remedy.undo(&ssh).await.unwrap());

        fs::rename(&kept, &mv).unwrap();
        assert_eq!(remedy.undo(&ssh).await.unwrap().ended, Ended::Undone);
        assert_eq!(jail.snapshot("/usr/local/m5stack"), before);
    });
}

#[test]
fn a_connection_that_is_lost_leaves_the_remedy_to_finish() {
    with_jail!(jail, {
        jail.interpreter(&Interpreter::Unregistered("/opt/usr/lib"));
        let ssh = jail.open().await.unwrap();
        let remedy = checks::interpreter::run(&ssh).await.unwrap().remedy.unwrap();
        let began = slow_ldconfig(&jail, 3);
        let work = remedy.apply(&ssh);
        let cut = async {
            until("the remedy's start", || began.exists()).await;
            jail.cut_connections();
        };
        // The module is asked again, and says how it ended.
        let (ended, ()) = tokio::join!(work, cut);
        assert_eq!(ended.unwrap().ended, Ended::Done);
        let again = jail.open().await.unwrap();
        assert_eq!(checks::interpreter::run(&again).await.unwrap().verdict, Verdict::Good);
        assert_eq!(remedy.undo(&again).await.unwrap().ended, Ended::Undone);
    });
}

#[test]
fn every_remedy_finishes_on_the_module_when_the_connection_is_lost() {
    with_jail!(jail, {
        // Every remedy asks for the time before it changes anything: there it waits until the connection is cut.
        let date = jail.at("/usr/bin/date");
        fs::rename(&date, jail.at("/usr/bin/date.real")).unwrap();
        let (began, is_cut) = (jail.at("/tmp/date-began"), jail.at("/tmp/connection-cut"));
        fs::write(&is_cut, "").unwrap();
        fs::write(
            &date,
            "#!/bin/sh\n: >/tmp/date-began\nwhile [ ! -e /tmp/connection-cut ]; do sleep 0.02; done\nexec /usr/bin/date.real \"$@\"\n",
        )
        .unwrap();
        fs::set_permissions(&date, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        jail.stackflow_tree();
        jail.libstdcxx(Cxx::BrokenLink);
        jail.interpreter(&Interpreter::Unregistered("/opt/usr/lib"));
        jail.service("llm-sys", "inactive");
        jail.service("llm-llm", "inactive");
        for id in softprefix::doctor::REMEDIES {
            let ssh = jail.open().await.unwrap();
            let offered = everything(&jail)
                .await
                .into_iter()
                .find_map(|f| f.remedy.filter(|remedy| remedy.id == id));
            // The unit can be started only once its libraries are found.
            let Some(remedy) = offered.or_else(|| remedy(id).filter(|_| id == "start-llm-llm")) else {
                panic!("{id} is not offered")
            };
            let _ = (fs::remove_file(&began), fs::remove_file(&is_cut));
            let cut = async {
                until("the remedy's start", || began.exists()).await;
                jail.cut_connections();
                fs::write(&is_cut, "").unwrap();
            };
            let (ended, ()) = tokio::join!(remedy.apply(&ssh), cut);
            // The unit is tried before its libraries are found: nothing of that stays.
            let wanted = if id == "start-llm-llm" {
                Ended::Failed
            } else {
                Ended::Done
            };
            assert_eq!(ended.unwrap().ended, wanted, "{id}");
            let state = jail.at("/var/lib/softprefix/doctor").join(id);
            assert!(!state.join("pending").exists(), "{id} is neither done nor taken back");
        }
        let findings = everything(&jail).await;
        for id in ["unit", "libstdcxx", "interpreter", "simdjson", "toolchain"] {
            let wanted = if id == "unit" { Verdict::Broken } else { Verdict::Good };
            assert_eq!(verdict(&findings, id).0, wanted, "{id}");
        }
    });
}

#[test]
fn a_killed_remedy_is_reverted_by_the_next() {
    with_jail!(jail, {
        jail.interpreter(&Interpreter::Unregistered("/opt/usr/lib"));
        let ssh = jail.open().await.unwrap();
        let before = jail.snapshot("/etc/ld.so.conf.d");
        let remedy = checks::interpreter::run(&ssh).await.unwrap().remedy.unwrap();
        let began = slow_ldconfig(&jail, 30);
        let work = remedy.apply(&ssh);
        let kill = async {
            until("the remedy's start", || began.exists()).await;
            // Nothing of the remedy gets to clean up.
            jail.cut_the_power();
            jail.cut_connections();
        };
        tokio::select! { ended = work => panic!("it cannot end: {ended:?}"), () = kill => {} }
        assert!(
            jail.at("/var/lib/softprefix/doctor/register-interpreter/pending")
                .exists()
        );
        fs::rename(jail.at("/sbin/ldconfig.real"), jail.at("/sbin/ldconfig")).unwrap();
        let again = jail.open().await.unwrap();
        let finding = checks::unfinished::run(&again).await.unwrap().unwrap();
        assert_eq!(finding.verdict, Verdict::Warning);
        assert!(
            finding.facts[0].value.en.ends_with("--undo register-interpreter"),
            "{finding:#?}"
        );
        is_known(&finding);
        assert_eq!(remedy.undo(&again).await.unwrap().ended, Ended::Undone);
        assert_eq!(jail.snapshot("/etc/ld.so.conf.d"), before);
        assert!(checks::unfinished::run(&again).await.unwrap().is_none());
        assert_eq!(remedy.apply(&again).await.unwrap().ended, Ended::Done);
    });
}

fn slow_ldconfig(jail: &Jail, seconds: u32) -> PathBuf {
    let real = jail.at("/sbin/ldconfig");
    fs::rename(&real, jail.at("/sbin/ldconfig.real")).unwrap();
    fs::write(
        &real,
        format!(
            "#!/bin/sh\n[ \"$1\" = -p ] || {{ : >/tmp/ldconfig-began; sleep {seconds}; }}\nexec /sbin/ldconfig.real \"$@\"\n"
        ),
    )
    .unwrap();
    fs::set_permissions(&real, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    jail.at("/tmp/ldconfig-began")
}

#[test]
fn refusals_of_the_connection_have_their_own_sentences() {
    with_jail!(jail, {
        jail.write_config("unknown_user");
        assert!(matches!(jail.open().await, Err(SshError::Denied { .. })));
        jail.write_config("user");
        jail.forget_host();
        assert!(matches!(jail.open().await, Err(SshError::UnknownHost { .. })));
        jail.trust("host2");
        assert!(matches!(jail.open().await, Err(SshError::HostKeyChanged { .. })));
        jail.trust("host");
        jail.open().await.unwrap();
    });
}

#[test]
fn hostile_names_on_the_module_are_not_interpreted() {
    with_jail!(jail, {
        let ssh = jail.open().await.unwrap();
        for name in [
            "a b",
            "a'b",
            "a\"b",
            "a;touch hacked",
            "$(touch hacked)",
            "`touch hacked`",
            "a\nb",
            "-rf",
            "日本",
        ] {
            jail.interpreter(&Interpreter::Nowhere);
            let folder = jail.at("/opt").join(name).join("lib");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("libax_interpreter.so"), "x").unwrap();
            let finding = checks::interpreter::run(&ssh).await.unwrap();
            let shown = finding
                .facts
                .iter()
                .any(|fact| fact.value.en == format!("/opt/{name}/lib/libax_interpreter.so"));
            assert!(shown, "{name:?}: {finding:#?}");
            if let Some(remedy) = finding.remedy {
                // The file is no library, so the loader does not take it: tried, verified, taken back.
                let outcome = remedy.apply(&ssh).await.unwrap();
                assert_eq!(outcome.ended, Ended::Restored, "{name:?}");
            }
            fs::remove_dir_all(jail.at("/opt").join(name)).unwrap();

            let card = jail.at("/opt/m5stack/data/models").join(format!("mode_{name}.json"));
            fs::write(&card, r#"{"mode_param":{"tokens_embed_size":64}}"#).unwrap();
            let finding = checks::cards::run(&ssh, None).await.unwrap();
            assert!(
                finding
                    .facts
                    .iter()
                    .any(|f| f.label.en.ends_with(&format!("mode_{name}.json")) && f.value.en == "H 64"),
                "{name:?}"
            );
            fs::remove_file(card).unwrap();
        }
        let hacked = jail
            .snapshot("/")
            .into_iter()
            .any(|(path, _)| path.to_string_lossy().contains("hacked"));
        assert!(!hacked);
    });
}

#[test]
fn a_wrong_hidden_size_is_reported_with_its_card() {
    with_jail!(jail, {
        let ssh = jail.open().await.unwrap();
        let finding = checks::cards::run(&ssh, Some(("qwen2.5-0.5B-prefill-20e", 1536)))
            .await
            .unwrap();
        assert_eq!(finding.verdict, Verdict::Broken);
        assert!(finding.title.en.contains("1536"));
        fs::write(jail.at("/opt/m5stack/data/models/mode_x.json"), "tokens_embed_size {").unwrap();
        assert_eq!(checks::cards::run(&ssh, None).await.unwrap().verdict, Verdict::Warning);
    });
}

#[test]
fn the_build_streams_answers_its_question_and_can_be_stopped() {
    with_jail!(jail, {
        jail.stackflow_tree();
        let ssh = jail.open().await.unwrap();
        let (mut text, mut free) = (String::new(), None);
        let status = build::build(&ssh, 50, |output| {
            match output {
                BuildOutput::Text(more) => text.push_str(&more),
                BuildOutput::FreeMemory(mib) => free = Some(mib),
            }
            true
        })
        .await
        .unwrap();
        assert_eq!(status, 0, "{text}");
        assert_eq!(free, Some(781), "the module's free memory");
        assert!(!text.contains('\u{1e}'), "{text:?}");
        assert!(
            text.contains("scons stand-in -j1")
                && text.contains("answered Y")
                && text.contains("step 5")
                && text.contains("built"),
            "{text}"
        );
        assert!(
            jail.at("/root/StackFlow/projects/llm_framework/dist/llm_llm-1.9")
                .exists()
        );

        // Want of memory ends it, with its reason.
        fs::write(jail.at("/tmp/slow"), "").unwrap();
        fs::write(jail.at("/proc/meminfo"), "MemAvailable: 20000 kB\n").unwrap();
        let mut text = String::new();
        let status = build::build(&ssh, 50, |output| {
            if let BuildOutput::Text(more) = output {
                text.push_str(&more);
            }
            true
        })
        .await
        .unwrap();
        assert_eq!(status, 3, "{text}");
        assert!(text.contains("less than 50 MiB"), "{text}");

        fs::write(jail.at("/proc/meminfo"), "MemAvailable: 800000 kB\n").unwrap();
        let stopped = build::build(
            &ssh,
            50,
            |output| !matches!(output, BuildOutput::Text(text) if text.contains("step 1")),
        )
        .await;
        assert_eq!(stopped, Err(SshError::Cancelled));
        assert!(!jail.at("/var/lib/softprefix/doctor/build/pid").exists());
    });
}

/// A wire of about 8 kB/s with 60 ms of delay in each direction.
async fn slow_wire(to: u16) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    async fn carry(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf) {
        let mut buffer = [0; 512];
        while let Ok(n @ 1..) = from.read(&mut buffer).await {
            tokio::time::sleep(Duration::from_millis(60)).await;
            if to.write_all(&buffer[..n]).await.is_err() {
                break;
            }
        }
    }
    let wire = modules::server(move |near| async move {
        let far = tokio::net::TcpStream::connect(("127.0.0.1", to)).await.unwrap();
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        tokio::join!(carry(near_in, far_out), carry(far_in, near_out));
    });
    wire.await.port()
}

#[test]
fn output_of_the_shells_start_up_files_is_not_an_answer() {
    with_jail!(jail, {
        jail.libstdcxx(Cxx::BrokenLink);
        let quiet = everything(&jail).await;
        // Lines, pairs that look like answers, and no line end.
        let noise = "echo 'Welcome to your module'\nprintf 'kind\\0link\\0own\\0yes\\0whole\\0yes\\0half a line'\necho problem >&2\n";
        fs::write(jail.at_home(".bashrc"), noise).unwrap();
        let noisy = everything(&jail).await;
        let json = |findings: &[Finding]| serde_json::to_string(findings).unwrap();
        assert_eq!(json(&noisy), json(&quiet));
        let ssh = jail.open().await.unwrap();
        let remedy = remedy("relink-libstdcxx").unwrap();
        assert_eq!(remedy.apply(&ssh).await.unwrap().ended, Ended::Done);
        assert_eq!(remedy.undo(&ssh).await.unwrap().ended, Ended::Undone);

        fs::write(
            jail.at_home(".bashrc"),
            "echo 'This account is not available.'; exit 1\n",
        )
        .unwrap();
        let refused = jail.open().await.map(drop).unwrap_err();
        assert!(
            matches!(&refused, SshError::NoShell { detail, .. } if detail == "This account is not available."),
            "{refused:?}"
        );
        fs::write(jail.at_home(".bashrc"), "yes\n").unwrap();
        let endless = jail.open().await.map(drop).unwrap_err();
        assert!(matches!(endless, SshError::TooMuch { .. }), "{endless:?}");
    });
}

#[test]
fn a_module_at_an_ipv6_address_is_checked_and_copied_to() {
    with_jail!(jail, {
        for host in ["root@::1", "root@[::1]:10001"] {
            let ssh = Ssh::open(Host::parse(host).unwrap(), jail.options()).await.unwrap();
            assert_eq!(checks::libstdcxx::run(&ssh).await.unwrap().verdict, Verdict::Good);
            let file = jail.at("/../keys/known");
            ssh.upload(&file, "/tmp/copy", Duration::from_secs(20)).await.unwrap();
            assert_eq!(fs::read(jail.at("/tmp/copy")).unwrap(), fs::read(&file).unwrap());
        }
    });
}

#[test]
fn a_slow_link_only_takes_longer() {
    with_jail!(jail, {
        jail.libstdcxx(Cxx::BrokenLink);
        jail.write_config_for("user", slow_wire(jail.port).await);
        let findings = everything(&jail).await;
        assert_eq!(
            verdict(&findings, "libstdcxx"),
            (Verdict::Broken, Some("relink-libstdcxx"))
        );
        let ssh = jail.open().await.unwrap();
        assert_eq!(
            remedy("relink-libstdcxx").unwrap().apply(&ssh).await.unwrap().ended,
            Ended::Done
        );
    });
}
