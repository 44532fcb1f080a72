//! The journal as a specification: no finished case is ever lost, and a file that was cut anywhere opens.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use softprefix_core::experiment::{Ending, Entry, Experiment, History, Journal, JournalError};

/// Held while a process is being started: until it has become another program, it holds copies of all open files and their locks.
static STARTING: Mutex<()> = Mutex::new(());

fn entries(count: usize) -> Vec<Entry> {
    let experiment = common::experiment("e", common::plan());
    let cases = experiment.plan.cases().unwrap();
    let record = |i: usize| common::record(&experiment, &cases[i % cases.len()], &format!("本文 {i}\n\"{{}}\"\\"));
    let mut out = vec![Entry::Started(Box::new(experiment.clone()))];
    out.extend((0..count).map(|i| Entry::Case(Box::new(record(i)))));
    out
}

fn write(path: &Path, entries: &[Entry]) {
    let (mut journal, _, _) = Journal::open(path).unwrap();
    for entry in entries {
        journal.append(entry).unwrap();
    }
}

#[test]
fn what_was_appended_is_there_at_the_next_opening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("歴史.journal");
    let all = entries(5);
    write(&path, &all[..3]);
    let (mut journal, before, condition) = Journal::open(&path).unwrap();
    assert_eq!((before.as_slice(), condition), (&all[..3], Default::default()));
    for entry in &all[3..] {
        journal.append(entry).unwrap();
    }
    drop(journal);
    assert_eq!(Journal::read(&path).unwrap().0, all);
}

#[test]
fn lines_can_be_read_by_anything_that_knows_crc_and_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    write(&path, &entries(2));
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 3);
    for line in text.lines() {
        let mut parts = line.splitn(3, ' ');
        let (crc, len, json) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        assert_eq!((crc.len(), len.parse::<usize>().unwrap()), (8, json.len()));
        serde_json::from_str::<serde_json::Value>(json).unwrap();
    }
}

#[test]
fn a_file_cut_at_any_byte_opens_with_every_whole_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    let all = entries(3);
    write(&path, &all);
    let bytes = std::fs::read(&path).unwrap();
    let ends: Vec<usize> = bytes
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'\n')
        .map(|(i, _)| i + 1)
        .collect();
    for cut in 0..=bytes.len() {
        let _nothing_starts = STARTING.lock().unwrap();
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let whole = ends.iter().filter(|&&end| end <= cut).count();
        let (mut journal, found, condition) = Journal::open(&path).unwrap_or_else(|e| panic!("cut at {cut}: {e}"));
        assert_eq!(found, &all[..whole], "cut at {cut}");
        let torn = cut - whole.checked_sub(1).map_or(0, |last| ends[last]);
        assert_eq!(condition.torn_bytes, torn as u64);
        if cut % 97 == 0 {
            journal.append(&all[3]).unwrap();
            drop(journal);
            assert_eq!(
                Journal::read(&path).unwrap().0.len(),
                whole + 1,
                "the journal goes on after a cut at {cut}"
            );
        }
    }
}

#[test]
fn zeros_at_the_end_as_after_a_power_cut_are_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    let all = entries(2);
    write(&path, &all);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend([0; 4096]);
    std::fs::write(&path, &bytes).unwrap();
    let (_, found, condition) = Journal::open(&path).unwrap();
    assert_eq!((found, condition.torn_bytes), (all, 4096));
    std::fs::write(&path, [0; 512]).unwrap();
    assert_eq!(Journal::open(&path).unwrap().1, []);
}

#[test]
fn a_damaged_line_in_the_middle_costs_that_line_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    let all = entries(4);
    write(&path, &all);
    let mut bytes = std::fs::read(&path).unwrap();
    let second_line = bytes.iter().position(|&b| b == b'\n').unwrap() + 40;
    bytes[second_line] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let (_, found, condition) = Journal::open(&path).unwrap();
    assert_eq!((found.len(), condition.damaged, condition.torn_bytes), (4, 1, 0));
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "nothing is thrown away");
}

#[test]
fn a_file_of_somebody_else_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    for content in [
        "{\"meta\": {}}\n",
        "hello",
        "deadbeef hello\n",
        "PK\u{3}\u{4}",
        "name,value\n1,2\n",
        "abc\n",
    ] {
        let path = folder.path().join("other");
        std::fs::write(&path, content).unwrap();
        let error = Journal::open(&path).unwrap_err();
        assert!(matches!(error, JournalError::NotOne { .. }), "{content:?}: {error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
    }
    assert!(
        matches!(Journal::open(folder.path()), Err(JournalError::NotOne { .. })),
        "a folder"
    );
}

#[test]
fn lines_of_a_newer_version_are_passed_over_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    write(&path, &entries(1));
    let mut bytes = std::fs::read(&path).unwrap();
    // `{"future":1}` with its checksum.
    bytes.extend(b"dc6c1eff 12 {\"future\":1}\n");
    std::fs::write(&path, &bytes).unwrap();
    let (_, found, condition) = Journal::open(&path).unwrap();
    assert_eq!(
        (found.len(), condition.unknown, condition.torn_bytes),
        (2, 1, 0),
        "{condition:?}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn two_windows_cannot_write_one_history() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    let (_open, _, _) = Journal::open(&path).unwrap();
    let error = Journal::open(&path).unwrap_err();
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
}

#[test]
fn renaming_and_deleting_are_lines_that_can_be_taken_back() {
    let mut history = History::of(entries(3));
    let id = history.experiments[0].records[1].id.clone();
    history.add(Entry::Renamed {
        id: id.clone(),
        name: "最初の変化".into(),
    });
    history.add(Entry::Renamed {
        id: "e".into(),
        name: "朝の実験".into(),
    });
    assert_eq!(history.experiments[0].records[1].case.name, "最初の変化");
    assert_eq!(history.search("朝の 最初の").len(), 1);
    history.add(Entry::Deleted { id: id.clone() });
    assert_eq!(history.cases(&history.experiments[0]).count(), 2);
    assert_eq!(history.search("最初の変化").len(), 0);
    history.add(Entry::Restored { id });
    assert_eq!(history.cases(&history.experiments[0]).count(), 3);
    history.add(Entry::Deleted { id: "e".into() });
    assert_eq!(history.shown().count(), 0);
    history.add(Entry::Ended {
        experiment: "e".into(),
        how: Ending::Complete,
        at_unix: 1.9e9,
    });
    assert_eq!(history.experiments[0].ending, Some(Ending::Complete));
}

#[test]
fn history_is_searched_by_words_in_any_case_in_everything_that_was_asked_and_answered() {
    let history = History::of(entries(12));
    for (query, hits) in [
        ("", 12),
        ("本文 7", 1),
        ("QWEN2.5", 12),
        ("constant 0.05", 1),
        ("自己紹介 baseline", 2),
        ("nowhere", 0),
    ] {
        assert_eq!(history.search(query).len(), hits, "{query:?}");
    }
    let latest = history.search("");
    assert!(
        latest
            .windows(2)
            .all(|pair| pair[0].1.started_unix >= pair[1].1.started_unix)
    );
}

#[test]
fn what_is_left_of_an_interrupted_experiment_is_known() {
    let history = History::of(entries(5));
    let past = &history.experiments[0];
    let left: Vec<usize> = past
        .experiment
        .plan
        .cases()
        .unwrap()
        .iter()
        .map(|c| c.index)
        .filter(|i| !past.finished().contains(i))
        .collect();
    assert_eq!((left, past.ending), ((5..12).collect(), None));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_bytes_whatever_make_opening_panic_or_lose_good_lines(
        junk in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..4,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let all = entries(3);
        write(&path, &all);
        let bytes = std::fs::read(&path).unwrap();
        let mut lines: Vec<Vec<u8>> = bytes.split_inclusive(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
        let mut junk_line = junk;
        junk_line.push(b'\n');
        lines.insert(at, junk_line);
        std::fs::write(&path, lines.concat()).unwrap();
        prop_assert_eq!(Journal::open(&path).unwrap().1, all);
    }
}

const CHILD: &str = "SOFTPREFIX_TEST_JOURNAL_CHILD";

/// The text of the n-th record: mostly short, sometimes so long that writing it takes a while.
fn child_text(n: usize) -> String {
    let length = if n.is_multiple_of(3) { 10_000 } else { 300 };
    format!("{n} {}", "あ".repeat(length))
}

fn child_record(experiment: &Experiment, n: usize) -> Entry {
    let cases = experiment.plan.cases().unwrap();
    let mut record = common::record(experiment, &cases[0], "");
    record.id = n.to_string();
    if let softprefix_core::experiment::Outcome::Done(answer) = &mut record.outcome {
        answer.text = child_text(n);
    }
    Entry::Case(Box::new(record))
}

/// Not a test of its own: what the killed process does. Without the variable it does nothing.
#[test]
#[ignore = "run by the test below in a process of its own"]
fn child_appends_until_it_is_killed() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let (mut journal, before, _) = Journal::open(path.as_ref()).unwrap();
    let experiment = common::experiment("e", common::plan());
    if before.is_empty() {
        journal.append(&Entry::Started(Box::new(experiment.clone()))).unwrap();
    }
    for n in before.len().saturating_sub(1)..usize::MAX {
        journal.append(&child_record(&experiment, n)).unwrap();
        println!("acknowledged {n}");
    }
}

#[test]
fn a_process_killed_at_200_random_moments_loses_no_finished_case() {
    let folder = tempfile::tempdir().unwrap();
    let mut state = 0x5EED_u64;
    let mut random = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let (mut torn, mut cases) = (0, 0);
    for round in 0..200 {
        // Four processes in turn go on with one file.
        let path = folder.path().join(format!("{}.journal", round / 4));
        let starting = STARTING.lock().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "child_appends_until_it_is_killed",
                "--exact",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        drop(starting);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Every fourth one is killed while starting, the others after the first case.
        let mut acknowledged = None;
        let mut hear = |line: std::io::Result<String>| {
            let line = line.ok()?;
            let number = line.split("acknowledged ").nth(1)?.trim().parse::<usize>().ok()?;
            acknowledged = Some(number);
            acknowledged
        };
        if round % 4 != 0 {
            let _ = lines.by_ref().find_map(&mut hear);
        }
        std::thread::sleep(Duration::from_micros(random(12_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines {
            hear(line);
        }

        let (_, found, condition) = match Journal::open(&path) {
            Ok(opened) => opened,
            Err(error) => panic!("round {round}: {error}"),
        };
        torn += usize::from(condition.torn_bytes > 0);
        assert_eq!((condition.damaged, condition.unknown), (0, 0), "round {round}");
        let records = found.len().saturating_sub(1);
        if let Some(last) = acknowledged {
            assert!(
                records > last,
                "round {round}: case {last} was acknowledged, {records} are there"
            );
        }
        let experiment = common::experiment("e", common::plan());
        for (n, entry) in found.iter().skip(1).enumerate().rev().take(3) {
            assert_eq!(entry, &child_record(&experiment, n), "round {round}");
        }
        cases += usize::from(acknowledged.is_some());
    }
    println!("{torn} of 200 kills tore a line, {cases} came after a finished case");
    assert!(cases >= 100);
}

#[test]
fn ten_thousand_cases_open_quickly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    // Written in one go: appending and syncing 10,000 lines is the tests' time, not the reader's.
    write(&path, &entries(1));
    let bytes = std::fs::read(&path).unwrap();
    let first_end = bytes.iter().position(|&b| b == b'\n').unwrap() + 1;
    let mut many = bytes[..first_end].to_vec();
    for _ in 0..10_000 {
        many.extend_from_slice(&bytes[first_end..]);
    }
    std::fs::write(&path, &many).unwrap();
    let started = Instant::now();
    let (_, found, _) = Journal::open(&path).unwrap();
    let history = History::of(found);
    let took = started.elapsed();
    assert_eq!(history.experiments[0].records.len(), 10_000);
    // The figure itself is a bench's; without optimisation and on a busy machine it may take a few times as long.
    assert!(took < Duration::from_secs(10), "took {took:?}");
}

#[test]
fn scores_are_lines_that_come_later_and_records_without_them_are_as_they_always_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    let mut plan = common::plan();
    plan.deep = true;
    let experiment = common::experiment("e", plan);
    let cases = experiment.plan.cases().unwrap();
    let record = |index: usize| common::record(&experiment, &cases[index], "text");
    let scores = common::scores(&experiment, &cases[2], "text");
    let mut entries = vec![Entry::Started(Box::new(experiment.clone()))];
    entries.extend((0..3).map(|index| Entry::Case(Box::new(record(index)))));
    assert!(History::of(entries.clone()).experiments[0].is_unscored());
    for index in 1..3 {
        entries.push(Entry::Scored {
            record: record(index).id,
            scores: Box::new(scores.clone()),
        });
    }
    write(&path, &entries);
    let history = History::of(Journal::read(&path).unwrap().0);
    let past = &history.experiments[0];
    assert_eq!(past.records[0].scores, None);
    assert_eq!(past.records[2].scores.as_deref(), Some(&scores));
    assert!(!past.is_unscored());

    // What was written before there were scores has neither key.
    let line = serde_json::to_string(&Entry::Case(Box::new(record(1)))).unwrap();
    assert!(!line.contains("scores"));
    let line = serde_json::to_string(&Entry::Started(Box::new(common::experiment("f", common::plan())))).unwrap();
    assert!(!line.contains("deep"));
    let Entry::Started(old) = serde_json::from_str(&line).unwrap() else {
        panic!("{line}")
    };
    assert!(!old.plan.deep);
}
