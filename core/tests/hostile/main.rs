//! Whatever a peer sends or a file holds: it is read or refused with a sentence, without a panic, within bounds of memory and time.
//!
//! `SOFTPREFIX_TEST_INPUTS=10000000 cargo test --release -p softprefix-core --test hostile` looks for long.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

#[path = "../common/mod.rs"]
mod common;
mod hostile_module;
mod mutate;
mod written;

use std::path::Path;

use mutate::{each, files, folder, now_and_then};
use softprefix_core::compare::ResultsFile;
use softprefix_core::experiment::html::{self, Language};
use softprefix_core::experiment::{Experiment, Journal, Library, Record, experiments, export};
use softprefix_core::prefix::Rounding;
use softprefix_core::prefix::files::{FileError, Imported, export_peft, import, import_bytes};
use softprefix_core::protocol::extension::{Embedded, Nearest, Scored, TokenCounts, Vocabulary};
use softprefix_core::protocol::learn::LearnFrame;
use softprefix_core::protocol::{FrameReader, ModelCard, Reply, Request, TaskInfo};

fn fixtures(folder: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(folder)
}

/// A journal of version 1 and one as it is written now, in parts.
fn journals() -> Vec<Vec<u8>> {
    let older = std::fs::read(fixtures("v1/sweep.journal")).unwrap();
    [older, written::journal()]
        .iter()
        .flat_map(|journal| parts(journal))
        .collect()
}

/// Everything that is made of records.
fn export_all(experiment: &Experiment, records: &[Record]) {
    let html = html::to_html(experiment, records, &Language::Japanese.into());
    assert!(html.ends_with("</html>\n"), "the report has no end");
    export::to_csv(records);
    export::to_json(experiment, records).unwrap();
    export::to_llm_comparator(experiment, records).unwrap();
}

/// The bytes of a recorded conversation, both sides of it.
fn spoken(recording: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(recording);
    let words = text
        .lines()
        .filter_map(|line| line.strip_prefix("> ").or_else(|| line.strip_prefix("< ")));
    words.flat_map(|line| line.bytes().chain([b'\n'])).collect()
}

/// Each three lines of a journal behind its first, so that much of each kind of line is damaged.
fn parts(journal: &[u8]) -> Vec<Vec<u8>> {
    let lines: Vec<&[u8]> = journal.split_inclusive(|&byte| byte == b'\n').collect();
    let (experiment, rest) = lines.split_first().unwrap();
    rest.chunks(3)
        .map(|part| [&[*experiment], part].concat().concat())
        .collect()
}

/// A results file with the first two entries of each of its lists.
fn shortened(results: &[u8]) -> Vec<u8> {
    let mut file: serde_json::Value = serde_json::from_slice(results).unwrap();
    for value in file.as_object_mut().unwrap().values_mut() {
        if let Some(list) = value.as_array_mut() {
            list.truncate(2);
        }
    }
    serde_json::to_vec_pretty(&file).unwrap()
}

/// A journal's lines, `SUM LENGTH JSON`, with the sums and lengths of what they hold now.
fn summed_anew(journal: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    for line in journal.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let json = line.splitn(3, |&byte| byte == b' ').last().unwrap_or(line);
        let head = format!("{:08x} {} ", crc32fast::hash(json), json.len());
        whole.extend(head.bytes().chain(json.iter().copied()).chain([b'\n']));
    }
    whole
}

#[test]
fn a_sum_that_is_made_anew_is_that_of_the_journal() {
    let journal = std::fs::read(fixtures("v1/sweep.journal")).unwrap();
    assert!(summed_anew(&journal) == journal);
}

#[test]
fn a_stream_of_bytes_is_cut_into_messages_or_given_up() {
    // A few messages each, so that much of each kind of message is damaged.
    let mut samples: Vec<Vec<u8>> = files(&fixtures("conversations"), 1 << 20)
        .iter()
        .flat_map(|file| {
            let messages = spoken(file);
            let messages: Vec<&[u8]> = messages.split_inclusive(|&byte| byte == b'\n').collect();
            messages.chunks(4).map(<[_]>::concat).collect::<Vec<_>>()
        })
        .collect();
    samples.extend(hostile_module::messages());
    each(&samples, usize::MAX, |input| {
        let mut read = false;
        let mut reader = FrameReader::new(1 << 16);
        for piece in input.chunks(1 + input.len() / 3) {
            reader.push(piece);
            loop {
                match reader.next() {
                    Ok(Some(message)) => {
                        assert!(message.len() <= 1 << 16);
                        read = true;
                        if let Ok(reply) = serde_json::from_slice::<Reply>(&message) {
                            ModelCard::read_all(&reply.data);
                            let data = reply.data.to_string();
                            let _ = serde_json::from_str::<TaskInfo>(&data);
                            let _ = serde_json::from_str::<Vocabulary>(&data);
                            let _ = serde_json::from_str::<TokenCounts>(&data);
                            let _ = serde_json::from_str::<Nearest>(&data);
                            let _ = serde_json::from_str::<Scored>(&data);
                            let _ = serde_json::from_str::<LearnFrame>(&data);
                            if let Ok(embedded) = serde_json::from_str::<Embedded>(&data) {
                                let _ = embedded.rows();
                            }
                        }
                        let _ = serde_json::from_slice::<Request>(&message);
                    }
                    Ok(None) => break,
                    // After each of them the reader goes on or refuses for good.
                    Err(error) if error.to_string().is_empty() => panic!("a refusal without a sentence"),
                    Err(softprefix_core::protocol::FrameError::TooLarge { .. }) => return read,
                    Err(_) => {}
                }
            }
        }
        read
    });
}

#[test]
fn a_journal_is_read_as_far_as_it_is_whole_and_everything_is_made_of_what_was_read() {
    let folder = folder();
    let path = folder.path().join("one.journal");
    let mut write_too = now_and_then(100);
    each(&journals(), usize::MAX, |input| {
        // Every second one has lines whose sums are right, whatever they hold.
        let whole = if input.len() % 2 == 0 {
            input.to_vec()
        } else {
            summed_anew(input)
        };
        std::fs::write(&path, whole).unwrap();
        let Ok((entries, _)) = Journal::read(&path) else {
            return false;
        };
        for saved in experiments(entries) {
            let records: Vec<Record> = saved.undeleted().cloned().collect();
            saved.finished();
            saved.prompts();
            for generation in &saved.generations {
                generation.best();
                generation.is_flat(&records);
                if let Ok(search) = generation.next() {
                    search.candidates();
                }
            }
            if let Some(learning) = &saved.learning {
                learning.references();
                learning.is_finished();
            }
            if write_too() {
                export_all(&saved.experiment, &records);
            }
        }
        true
    });
}

#[test]
fn a_library_with_a_damaged_file_lists_the_others() {
    let folder = folder();
    let library = Library::open(folder.path()).unwrap();
    each(&journals(), usize::MAX, |input| {
        std::fs::write(library.path_of("damaged"), input).unwrap();
        !library.list().unwrap().experiments.is_empty()
    });
}

#[test]
fn a_results_file_is_imported_and_written_in_every_form_or_refused() {
    let samples: Vec<Vec<u8>> = ["compare.json", "sweep-results.json", "sweep.json"]
        .iter()
        .map(|name| shortened(&std::fs::read(fixtures("v1").join(name)).unwrap()))
        .chain([std::fs::read(fixtures("compare/lone_surrogate.json")).unwrap()])
        .collect();
    let mut write_too = now_and_then(100);
    each(&samples, usize::MAX, |input| {
        let imported = export::is_json(input).then(|| export::from_json(input, "one").ok());
        let imported = imported.flatten();
        let is_imported = imported.is_some();
        if let Some((experiment, records)) = imported.filter(|_| write_too()) {
            export_all(&experiment, &records);
        }
        let Ok(file) = ResultsFile::from_json(input) else {
            return is_imported;
        };
        file.doubts();
        file.baseline();
        if let Ok((experiment, records)) = export::from_results_file(&file, "one")
            && write_too()
        {
            export_all(&experiment, &records);
        }
        true
    });
}

/// Returns whether a prefix was read; its rows are finite and of the width that was asked for.
fn is_prefix(read: Result<Imported, FileError>, width: Option<usize>) -> bool {
    match read {
        Ok(imported) => {
            assert!(imported.prefix.values().iter().all(|value| value.is_finite()));
            assert!(width.is_none_or(|width| imported.prefix.hidden_size() == width));
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

/// Stands between the two files of an adapter.
const NEXT_FILE: &[u8] = b"\n--\n";
const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// Adapters as they are written here and by PEFT: the configuration, a mark, the weights.
fn adapters() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let prefix = common::some_prefix();
    let note = r#"{"kind":"chosen","by":"person","near":"a","generation":1,"record":"b","model":"c","rows_sha256":""}"#;
    export_peft(&prefix, folder.path(), Some("tiny"), Some(note)).unwrap();
    let theirs = ["peft_prompt_tuning", "peft_p_tuning", "peft_lora", "peft_wrong_rows"];
    let theirs = theirs.map(|name| fixtures("prefix").join(name));
    let folders = [folder.path()].into_iter().chain(theirs.iter().map(AsRef::as_ref));
    let joined = folders.map(|folder| {
        let read = |name| std::fs::read(folder.join(name)).unwrap();
        [&read(CONFIG), NEXT_FILE, &read(WEIGHTS)].concat()
    });
    joined.collect()
}

#[test]
fn an_adapter_gives_as_many_finite_rows_as_it_says_or_is_refused() {
    let folder = folder();
    each(&adapters(), usize::MAX, |input| {
        let mark = input.windows(NEXT_FILE.len()).position(|bytes| bytes == NEXT_FILE);
        let (config, weights) = match mark {
            Some(at) => (&input[..at], &input[at + NEXT_FILE.len()..]),
            None => (input, &[][..]),
        };
        std::fs::write(folder.path().join(CONFIG), config).unwrap();
        std::fs::write(folder.path().join(WEIGHTS), weights).unwrap();
        let read = import(folder.path(), None, Rounding::NearestEven);
        if let (Ok(imported), Ok(config)) = (&read, serde_json::from_slice::<serde_json::Value>(config))
            && let Some(rows) = config["num_virtual_tokens"].as_u64()
        {
            assert_eq!(imported.prefix.len() as u64, rows);
        }
        is_prefix(read, None) | is_prefix(import(folder.path(), Some(8), Rounding::Truncate), Some(8))
    });
}

#[test]
fn a_prefix_file_gives_finite_rows_of_the_width_that_was_asked_for_or_is_refused() {
    let samples = files(&fixtures("prefix"), 64 << 10);
    each(&samples, usize::MAX, |input| {
        let read = |width| import_bytes("one", input, width, Rounding::NearestEven);
        is_prefix(read(None), None) | is_prefix(read(Some(8)), Some(8))
    });
}
