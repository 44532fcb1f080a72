//! Whatever a recording holds or a module's shell prints: it is played, read or refused with a sentence, without a panic, within bounds of
//! memory and time.
//!
//! `SOFTPREFIX_TEST_INPUTS=1000000 cargo test --release -p softprefix --test hostile` looks for long.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

#[allow(dead_code, reason = "the samples here are no files")]
#[path = "../../core/tests/hostile/mutate.rs"]
mod mutate;

use std::sync::Arc;
use std::time::Duration;

use mutate::{each, folder};
use softprefix::doctor::log::{Entry, Log};
use softprefix::doctor::script::{Found, answer};
use softprefix::model::{ExternalCommand, Problem, ProblemKind, Remembered, RunKind};
use softprefix::recording::{DEMO, Line, PreparedRecording, Recording, Writer};
use softprefix::workbench::{PlaybackAction, Workbench};
use softprefix_core::experiment::GroupKey;

/// Parts of the recording that ships, each after its first lines, so that much of each kind of line is damaged; and a recording of what
/// that one does not have.
fn recordings() -> Vec<Vec<u8>> {
    let lines: Vec<&[u8]> = DEMO.split_inclusive(|&byte| byte == b'\n').collect();
    let setting = lines.len().min(8);
    let mut parts: Vec<Vec<u8>> = lines[setting..]
        .chunks(40)
        .map(|part| [&lines[..setting], part].concat().concat())
        .collect();
    parts.push(others(&lines[..setting].concat()));
    parts
}

/// A recording that begins with these lines, followed by lines of the kinds that the built-in one does not have.
fn others(setting: &[u8]) -> Vec<u8> {
    let demo = Arc::new(PreparedRecording::new(None, Recording::read(DEMO, "demo").unwrap()));
    let mut workbench = Workbench::new(Remembered::default());
    workbench.play(Arc::clone(&demo));
    let end = PlaybackAction::Seek(demo.length());
    workbench.apply(softprefix::workbench::Action::Playback(end));
    let mut case = workbench.shown().tuning.saved.records.clone();
    case.truncate(4);
    assert!(case[0].is_baseline() && case.len() == 4);
    let group = Box::new(GroupKey::of(&case[0]));
    let problem = || Problem::new(ProblemKind::Module, "It is gone.", "Look for it.");
    let commands =
        r#"{"magnitude":0.5,"p":4,"seed":7,"row/2":0.25,"blend":0.75,"prompt":"Hello","preset":1,"run":true}"#;
    let lines = [
        Line::Case {
            group: None,
            records: case.clone(),
        },
        Line::Session,
        Line::Case {
            group: Some(group.clone()),
            records: case,
        },
        Line::Group(group),
        Line::Opened(Some(0)),
        Line::Opened(None),
        Line::External(ExternalCommand::parse_line(commands).unwrap()),
        Line::Run(RunKind::Prefixed),
        Line::Dropped(RunKind::Prefixed),
        Line::Run(RunKind::Baseline),
        Line::Failed(RunKind::Baseline, problem()),
        Line::Remove(1),
        Line::Clear,
        Line::Lost(problem()),
        Line::Over,
    ];
    let before = Recording::read(setting, "setting").unwrap();
    let mut writer = Writer::default();
    let mut file = Writer::head(before.at_unix);
    for (time, line) in &before.lines {
        file.extend(writer.line(*time, line));
    }
    let begin = before.lines.last().unwrap().0;
    for (time, line) in (begin..).zip(&lines) {
        file.extend(writer.line(time, line));
    }
    let read = Recording::read(file.as_bytes(), "others").unwrap();
    assert_eq!(
        read.lines.len(),
        before.lines.len() + lines.len(),
        "every line is written and read"
    );
    file.into_bytes()
}

#[test]
fn a_recording_is_played_to_any_moment_or_refused_with_a_sentence() {
    each(&recordings(), usize::MAX, |input| {
        let recording = match Recording::read(input, "one") {
            Ok(recording) => recording,
            Err(broken) => {
                let problem = broken.problem();
                assert!(!problem.sentence.en.is_empty() && !problem.sentence.ja.is_empty());
                return false;
            }
        };
        let times: Vec<u64> = recording.lines.iter().map(|(time, _)| *time).collect();
        assert!(times.is_sorted());
        // What was read can be written again.
        let mut writer = Writer::default();
        for (time, line) in &recording.lines {
            writer.line(*time, line);
        }
        let session = Arc::new(PreparedRecording::new(Some("one".to_owned()), recording));
        let mut workbench = Workbench::new(Remembered::default());
        workbench.play(Arc::clone(&session));
        for share in [0.0, 1.0, 0.5, 0.25] {
            let action = PlaybackAction::Seek(session.length().mul_f64(share));
            workbench.apply(softprefix::workbench::Action::Playback(action));
            workbench.advance(Duration::from_millis(50));
        }
        true
    });
}

#[test]
fn the_log_of_changes_gives_its_valid_lines() {
    let folder = folder();
    let log = Log::at(folder.path().join("doctor.jsonl"));
    for act in ["apply", "undo"] {
        let entry = Entry::now("root@module", "relink-libstdcxx", act, "done");
        log.add(&entry.with("ln -s a b", "done\n")).unwrap();
    }
    let samples = vec![std::fs::read(log.path()).unwrap()];
    each(&samples, usize::MAX, |input| {
        std::fs::write(log.path(), input).unwrap();
        match log.of("root@module") {
            Ok(entries) => {
                assert!(entries.len() <= input.len() / 20);
                !entries.is_empty()
            }
            Err(error) => {
                assert!(!log.unreadable(&error).ja.is_empty());
                false
            }
        }
    });
}

#[test]
fn output_of_a_modules_shell_is_an_answer_only_between_its_marks() {
    let pairs = b"state\0active\0file\0/opt/m5stack/data/models/mode_a.json\0text\0{\"mode_param\":{\"tokens_embed_size\":896}}\0";
    let samples = vec![
        [b"motd\n\0begin m\0", &pairs[..], b"\0end m\0bye\n"].concat(),
        [b"\0begin m\0", &pairs[..]].concat(),
        [b"\0begin n\0", &pairs[..], b"\0end n\0\0begin m\0\0end m\0"].concat(),
    ];
    each(&samples, usize::MAX, |input| {
        let Found::Whole(pairs) = answer(input, "m") else {
            return false;
        };
        let held: usize = pairs.iter().map(|(key, value)| key.len() + value.len()).sum();
        // A replacement character takes three bytes.
        assert!(held <= 3 * input.len());
        let text = pairs.iter().flat_map(|(key, value)| [key, value]);
        for text in text {
            assert!(
                !text.chars().any(|c| c.is_control() && !"\n\r\t".contains(c)),
                "{text:?}"
            );
        }
        true
    });
}

/// The checks over ssh, with a program in the place of `ssh` that answers each script with damaged bytes.
#[cfg(unix)]
mod checks {
    use std::path::Path;
    use std::process::Command;

    use softprefix::doctor::checks::{build, cards, interpreter, libstdcxx, service, unfinished, unit};
    use softprefix::doctor::finding::Finding;
    use softprefix::doctor::ssh::{Host, Ssh, SshError, SshOptions};

    use super::*;

    /// Names the file of the answer, in the process that has the stand-in in its path.
    const ANSWER: &str = "SOFTPREFIX_TEST_ANSWER";
    const NAME: &str = "checks::each_check_has_a_finding_or_a_reason_for_any_answer_of_a_module";
    /// Stands in an answer for the mark of the script.
    const MARK: &str = "@MARK@";

    /// Answers the opening properly, and every other script with the file.
    const STAND_IN: &str = r#"#!/bin/sh
LC_ALL=C; export LC_ALL
script=$(cat)
mark=$(printf '%s\n' "$script" | sed -n "s/.*begin %s.* \([0-9a-f]\{16\}\)$/\1/p")
case $script in
  *"say hello yes"*) printf '\0begin %s\0hello\0yes\0\0end %s\0' "$mark" "$mark" ;;
  *) sed "s/@MARK@/$mark/g" "$SOFTPREFIX_TEST_ANSWER" ;;
esac
"#;

    fn answers() -> Vec<Vec<u8>> {
        let pairs = [
            "state\0active\0manager\0systemd 252\0listener\0yes\0journal\0started\nlistening\0",
            "unit\0/opt/m5stack/bin/llm_llm-1.12\0missing\0\0missing\0libax.so => not found\0state\0failed\0rpc\0no\0journal\0x\0",
            "system\0yes\0kind\0link\0points\0/usr/lib/libstdc++.so.6\0whole\0yes\0own\0no\0",
            "registered\0no\0entry\0\0whole\0/opt/usr/lib/libax_interpreter.so\0broken\0/soc/lib/libax_interpreter.so\0",
            "tree\0yes\0sconstruct\0yes\0reads\0yes\0patched\0no\0tool\0no\0native\0yes\0scons\0no\0built\0\0memory\x001048576\0",
            "remedy\0relink-libstdcxx\0installation\0yes\0",
            "file\0/opt/m5stack/data/models/mode_a.json\0text\0{\"mode_param\":{\"tokens_embed_size\":896}}\0",
        ];
        let framed = |pairs: &str| format!("\0begin {MARK}\0{pairs}\0end {MARK}\0").into_bytes();
        pairs
            .iter()
            .map(|pairs| framed(pairs))
            .chain([framed(&pairs.concat())])
            .collect()
    }

    fn has_words(finding: &Finding) {
        let texts = [&finding.title, &finding.text];
        assert!(
            texts.iter().all(|text| !text.en.is_empty() && !text.ja.is_empty()),
            "{finding:?}"
        );
    }

    async fn look(ssh: &Ssh, number: usize) -> Result<Vec<Finding>, SshError> {
        let one = |finding: Finding| vec![finding];
        match number % 7 {
            0 => service::run(ssh).await.map(one),
            1 => unit::run(ssh).await.map(one),
            2 => libstdcxx::run(ssh).await.map(one),
            3 => interpreter::run(ssh).await.map(one),
            4 => build::run(ssh).await,
            5 => unfinished::run(ssh).await.map(|found| found.into_iter().collect()),
            _ => cards::run(ssh, Some(("a", 896))).await.map(one),
        }
    }

    #[test]
    fn each_check_has_a_finding_or_a_reason_for_any_answer_of_a_module() {
        let Some(answer) = std::env::var_os(ANSWER) else {
            let folder = tempfile::tempdir().unwrap();
            let stand_in = folder.path().join("ssh");
            std::fs::write(&stand_in, STAND_IN).unwrap();
            std::fs::set_permissions(&stand_in, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            let path = [
                folder.path().as_os_str(),
                ":".as_ref(),
                &std::env::var_os("PATH").unwrap(),
            ];
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", NAME, "--nocapture"])
                .env("PATH", path.into_iter().collect::<std::ffi::OsString>())
                .env(ANSWER, folder.path().join("answer"))
                .status()
                .unwrap();
            assert!(status.success());
            return;
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let host = Host::parse("module").unwrap();
        let ssh = runtime.block_on(Ssh::open(host, SshOptions::default())).unwrap();
        let samples = answers();
        // As the module means it, each check has something to say.
        for (number, sample) in samples[..7].iter().enumerate() {
            std::fs::write(Path::new(&answer), sample).unwrap();
            assert!(
                !runtime.block_on(look(&ssh, number)).unwrap().is_empty(),
                "check {number}"
            );
        }
        let mut number = 0;
        each(&samples, usize::MAX, |input| {
            std::fs::write(Path::new(&answer), input).unwrap();
            number += 1;
            match runtime.block_on(look(&ssh, number)) {
                Ok(findings) => findings.iter().for_each(has_words),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        });
    }
}
