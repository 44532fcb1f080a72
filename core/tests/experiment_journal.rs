//! The journal as a specification: no finished case is ever lost, and a file that was cut anywhere opens.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use proptest::prelude::*;
use softprefix_core::experiment::{
    Condition, Ending, Entry, Experiment, Journal, JournalError, Library, Rating, SavedExperiment, Stars, experiments,
};
use softprefix_core::files::faults::{Fault, inject};

/// Held while a process is being started: until it has become another program, it holds copies of all open files and their locks.
static STARTING: Mutex<()> = Mutex::new(());

fn entries(count: usize) -> Vec<Entry> {
    let experiment = common::experiment("e", common::plan());
    let cases = common::plan_of(&experiment).cases().unwrap();
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
    assert_eq!((before.as_slice(), condition), (&all[..3], Condition::default()));
    for entry in &all[3..] {
        journal.append(entry).unwrap();
    }
    drop(journal);
    assert_eq!(Journal::read(&path).unwrap().0, all);
}

#[test]
fn lines_can_be_read_with_crc_and_json_alone() {
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
    // Every byte around the ends of lines, and every seventh between: each opening waits for the disk.
    let near = |cut: usize| cut < 30 || ends.iter().any(|&end| cut.abs_diff(end) < 12);
    for cut in (0..=bytes.len()).filter(|&cut| near(cut) || cut % 7 == 0) {
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
fn an_unterminated_tail_is_copied_to_another_file_before_it_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    write(&path, &entries(2));
    let whole = std::fs::read(&path).unwrap();
    let tail = b"1c2f09ab 512 {\"case\":{\"version\"";
    for copy in 0..2 {
        std::fs::write(&path, [whole.as_slice(), tail].concat()).unwrap();
        let (_, _, condition) = Journal::open(&path).unwrap();
        let kept = condition.kept_in.unwrap();
        assert_eq!(std::fs::read(&kept).unwrap(), tail, "copy {copy}");
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }
    let copies = std::fs::read_dir(folder.path()).unwrap().count() - 1;
    assert_eq!(copies, 2, "a second copy does not replace the first");
}

/// Both kinds of failing disks.
const FAULTS: [fn(usize) -> Fault; 2] = [Fault::Broken, Fault::Full];

/// Whether `part` is what is left of `whole` after lines were taken out.
fn is_rest_of(part: &[Entry], whole: &[Entry]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|entry| rest.any(|other| other == entry))
}

#[test]
fn if_any_step_fails_every_saved_line_stays_and_the_failure_is_reported() {
    let _nothing_starts = STARTING.lock().unwrap();
    let all = entries(4);
    let tail = b"1c2f09ab 512 {\"case\":{\"version\"";
    for fault in FAULTS {
        for at in 0.. {
            let what = format!("{:?}", fault(at));
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("j");
            write(&path, &all[..2]);
            // Opening it writes, too: a torn line is kept elsewhere and cut off.
            std::fs::write(&path, [&std::fs::read(&path).unwrap(), &tail[..]].concat()).unwrap();
            let injected = inject(folder.path(), fault(at));
            let (mut saved, mut failures) = (all[..2].to_vec(), Vec::new());
            match Journal::open(&path) {
                Ok((mut journal, found, _)) => {
                    assert_eq!(found, saved, "{what}");
                    for entry in &all[2..] {
                        match journal.append(entry) {
                            Ok(()) => saved.push(entry.clone()),
                            Err(error) => failures.push(error.to_string()),
                        }
                    }
                }
                Err(error) => failures.push(error.to_string()),
            }
            let met = injected.was_met();
            drop(injected);
            assert_eq!(failures.is_empty(), !met, "{what}: {failures:?}");
            for sentence in failures {
                assert!(sentence.contains(&path.display().to_string()), "{what}: {sentence}");
                assert!(
                    sentence.contains("os error"),
                    "{what}: the system's reason is missing: {sentence}"
                );
            }
            let (mut journal, found, condition) = Journal::open(&path).unwrap();
            assert_eq!((condition.damaged, condition.unknown), (0, 0), "{what}");
            // A line whose failure was said may be there; one that was saved is.
            assert!(
                is_rest_of(&saved, &found) && is_rest_of(&found, &all),
                "{what}: {found:?}"
            );
            journal.append(&all[4]).unwrap();
            let files = std::fs::read_dir(folder.path()).unwrap();
            let mut files = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
            assert!(files.any(|bytes| bytes == tail), "{what}: the torn line is gone");
            if !met {
                assert!(at >= 10, "there are more steps than {at}");
                break;
            }
        }
    }
}

#[test]
fn if_any_step_fails_a_new_experiment_is_complete_or_its_failure_is_reported() {
    let _nothing_starts = STARTING.lock().unwrap();
    let all = entries(2);
    let Entry::Started(experiment) = &all[0] else {
        panic!("the first line starts the experiment")
    };
    for fault in FAULTS {
        for at in 0.. {
            let what = format!("{:?}", fault(at));
            let folder = tempfile::tempdir().unwrap();
            let library = Library::open(folder.path()).unwrap();
            let injected = inject(folder.path(), fault(at));
            let added = library.add("one", &all);
            let created = library.create(experiment);
            let met = injected.was_met();
            drop(injected);
            assert_eq!(added.is_err() || created.is_err(), met, "{what}");
            for error in [added.as_ref().err(), created.as_ref().err()].into_iter().flatten() {
                assert!(error.to_string().contains("os error"), "{what}: {error}");
            }
            if added.is_ok() {
                let (saved, condition) = library.read("one").unwrap();
                assert_eq!((saved.records.len(), condition), (2, Condition::default()), "{what}");
            } else {
                assert!(!library.has("one"), "{what}: a part of an experiment bears its name");
            }
            if created.is_ok() {
                library.append(&experiment.id, &all[1]).unwrap();
            }
            drop(created);
            assert_eq!(library.list().unwrap().unreadable.len(), 0, "{what}");
            if !met {
                assert!(at >= 6, "there are more steps than {at}");
                break;
            }
        }
    }
}

#[test]
fn complete_lines_behind_the_last_good_one_stay_however_damaged_or_foreign_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    let all = entries(2);
    write(&path, &all);
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes[..bytes.len() - 1].iter().rposition(|&b| b == b'\n').unwrap() + 1;
    let mut damaged = bytes[last..].to_vec();
    damaged[40] ^= 1;
    for _ in 0..5 {
        bytes.extend(&damaged);
    }
    for line in 0..50 {
        bytes.extend(format!("v9:{line}:another frame\n").into_bytes());
    }
    std::fs::write(&path, &bytes).unwrap();
    let (mut journal, found, condition) = Journal::open(&path).unwrap();
    assert_eq!(
        (found.as_slice(), condition.damaged, condition.torn_bytes),
        (all.as_slice(), 55, 0)
    );
    journal.append(&all[1]).unwrap();
    drop(journal);
    assert!(std::fs::read(&path).unwrap().starts_with(&bytes), "nothing is cut");
    assert_eq!(Journal::read(&path).unwrap().0.len(), 4, "and it goes on behind them");
}

#[test]
fn a_journal_of_a_newer_version_is_refused_and_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    let json = br#"{"started":{"version":3,"id":"x","shape":["unknown"]}}"#;
    let line = format!(
        "{:08x} {} {}\n",
        crc32fast::hash(json),
        json.len(),
        std::str::from_utf8(json).unwrap()
    );
    std::fs::write(&path, &line).unwrap();
    for error in [Journal::open(&path).unwrap_err(), Journal::read(&path).unwrap_err()] {
        assert!(matches!(error, JournalError::Newer { version: 3, .. }), "{error}");
        assert!(error.to_string().contains("newer version") && error.to_string().contains("left as it was"));
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), line);
}

#[cfg(unix)]
#[test]
fn a_new_journal_can_be_read_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    write(&path, &entries(1));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_version_1_wrote_opens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sweep.journal");
    std::fs::write(&path, include_bytes!("fixtures/v1/sweep.journal")).unwrap();
    let (_, found, condition) = Journal::open(&path).unwrap();
    assert_eq!(condition, Condition::default());
    let experiments = experiments(found);
    assert_eq!(experiments.len(), 1);
    let saved = &experiments[0];
    assert_eq!(saved.ending, Some(Ending::Complete));
    assert_eq!(saved.finished().len(), saved.planned());
    assert!(saved.records.iter().all(|record| record.text().is_some()));
    assert_eq!(
        std::fs::read(&path).unwrap(),
        include_bytes!("fixtures/v1/sweep.journal")
    );
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
        assert!(
            matches!(error, JournalError::NotAJournal { .. }),
            "{content:?}: {error}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
    }
    assert!(
        matches!(Journal::open(folder.path()), Err(JournalError::NotAJournal { .. })),
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

fn saved(entries: Vec<Entry>) -> SavedExperiment {
    experiments(entries).remove(0)
}

#[test]
fn renaming_and_deleting_are_lines_that_can_be_taken_back() {
    let mut saved = saved(entries(3));
    let id = saved.records[1].id.clone();
    saved.add(Entry::Renamed {
        id: id.clone(),
        name: "最初の変化".into(),
    });
    saved.add(Entry::Renamed {
        id: "e".into(),
        name: "朝の実験".into(),
    });
    assert_eq!(saved.records[1].case.name, "最初の変化");
    let finds =
        |saved: &SavedExperiment, words: &str| saved.matches(&words.split(' ').map(str::to_owned).collect::<Vec<_>>());
    assert!(finds(&saved, "朝の 最初の"));
    saved.add(Entry::Deleted { id: id.clone() });
    assert_eq!(saved.undeleted().count(), 2);
    assert!(!finds(&saved, "最初の変化"));
    saved.add(Entry::Restored { id });
    assert_eq!(saved.undeleted().count(), 3);
    saved.add(Entry::Deleted { id: "e".into() });
    assert!(saved.is_deleted());
    saved.add(Entry::Ended {
        experiment: "e".into(),
        how: Ending::Complete,
        at_unix: 1.9e9,
    });
    assert_eq!(saved.ending, Some(Ending::Complete));
}

#[test]
fn words_are_found_in_any_case_in_everything_that_was_asked_and_answered() {
    let saved = saved(entries(12));
    for (query, found) in [
        ("本文 7", true),
        ("qwen2.5", true),
        ("constant 0.05", true),
        ("自己紹介 baseline", true),
        ("本文 nowhere", false),
    ] {
        let words: Vec<String> = query.split(' ').map(str::to_owned).collect();
        assert_eq!(saved.matches(&words), found, "{query:?}");
    }
}

#[test]
fn what_is_left_of_an_interrupted_experiment_is_known() {
    let saved = saved(entries(5));
    let finished = saved.finished();
    let cases = saved.experiment.plan.as_ref().unwrap().cases().unwrap();
    assert_eq!(cases.len(), saved.planned());
    let left: Vec<usize> = cases
        .iter()
        .map(|case| case.index)
        .filter(|index| !finished.contains(index))
        .collect();
    assert_eq!((left, saved.ending, saved.is_open()), ((5..12).collect(), None, true));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn opening_never_panics_and_never_loses_good_lines(
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
    let cases = common::plan_of(experiment).cases().unwrap();
    let mut record = common::record(experiment, &cases[0], "");
    record.id = n.to_string();
    if let softprefix_core::experiment::CaseOutcome::Done(answer) = &mut record.outcome {
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
        let mut read_line = |line: std::io::Result<String>| {
            let line = line.ok()?;
            let number = line.split("acknowledged ").nth(1)?.trim().parse::<usize>().ok()?;
            acknowledged = Some(number);
            acknowledged
        };
        if round % 4 != 0 {
            let _ = lines.by_ref().find_map(&mut read_line);
        }
        std::thread::sleep(Duration::from_micros(random(12_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines {
            read_line(line);
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
fn scores_are_lines_that_come_later_and_records_without_them_are_as_they_always_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    let mut plan = common::plan();
    plan.scored = true;
    let experiment = common::experiment("e", plan);
    let cases = common::plan_of(&experiment).cases().unwrap();
    let record = |index: usize| common::record(&experiment, &cases[index], "text");
    let scores = common::scores(&experiment, &cases[2], "text");
    let mut entries = vec![Entry::Started(Box::new(experiment.clone()))];
    entries.extend((0..3).map(|index| Entry::Case(Box::new(record(index)))));
    assert!(saved(entries.clone()).is_unscored());
    for index in 1..3 {
        entries.push(Entry::Scored {
            record: record(index).id,
            scores: Box::new(scores.clone()),
        });
    }
    write(&path, &entries);
    let saved = saved(Journal::read(&path).unwrap().0);
    assert_eq!(saved.records[0].scores, None);
    assert_eq!(saved.records[2].scores.as_deref(), Some(&scores));
    assert!(!saved.is_unscored());

    // What was written before there were scores has neither key.
    let line = serde_json::to_string(&Entry::Case(Box::new(record(1)))).unwrap();
    assert!(!line.contains("scores"));
    let line = serde_json::to_string(&Entry::Started(Box::new(common::experiment("f", common::plan())))).unwrap();
    assert!(!line.contains("deep"));
    let Entry::Started(old) = serde_json::from_str(&line).unwrap() else {
        panic!("{line}")
    };
    assert!(!common::plan_of(&old).scored);
}

#[test]
fn the_last_rating_of_a_case_counts_and_its_line_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    let mut all = entries(3);
    let Entry::Case(record) = all[2].clone() else { panic!() };
    write(&path, &all);
    let before = std::fs::read(&path).unwrap();
    let rated = |stars: Option<u8>, note: &str| Entry::Rated {
        record: record.id.clone(),
        rating: Rating {
            stars: stars.and_then(Stars::new),
            note: note.to_owned(),
        },
    };
    all.push(rated(Some(4), "warm\n二行目"));
    all.push(rated(Some(0), "cold"));
    let (mut journal, _, _) = Journal::open(&path).unwrap();
    all[4..].iter().for_each(|entry| journal.append(entry).unwrap());
    drop(journal);
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes.starts_with(&before), "nothing that stood there is touched");
    let line = String::from_utf8_lossy(&bytes);
    let line = line.lines().last().unwrap().splitn(3, ' ').nth(2).unwrap().to_owned();
    assert_eq!(
        line,
        format!(
            r#"{{"rated":{{"record":"{}","rating":{{"stars":0,"note":"cold"}}}}}}"#,
            record.id
        )
    );

    let mut saved = saved(Journal::read(&path).unwrap().0);
    let Entry::Rated { rating, .. } = &all[5] else { panic!() };
    assert_eq!(saved.records[1].rating, *rating);
    assert!(saved.records[0].rating.is_empty() && saved.records[2].rating.is_empty());
    assert!(saved.matches(&["cold".to_owned()]), "notes are found");
    saved.add(rated(None, ""));
    assert!(
        saved.records[1].rating.is_empty(),
        "a rating is taken back by an empty one"
    );
    // A case that nobody rated is written as it always was.
    assert!(!serde_json::to_string(&all[1]).unwrap().contains("rating"));
}

#[test]
fn a_rating_of_more_than_five_stars_is_a_line_of_an_unknown_kind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    write(&path, &entries(1));
    let json = br#"{"rated":{"record":"e/0","rating":{"stars":6}}}"#;
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend(format!("{:08x} {} ", crc32fast::hash(json), json.len()).bytes());
    bytes.extend(json);
    bytes.push(b'\n');
    std::fs::write(&path, &bytes).unwrap();
    let (found, condition) = Journal::read(&path).unwrap();
    assert_eq!((found.len(), condition.unknown), (2, 1));
}
