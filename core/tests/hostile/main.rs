//! Whatever a peer sends or a file holds: it is read or refused with a sentence, without a panic, within bounds of memory.
//!
//! `SOFTPREFIX_TEST_INPUTS=10000000 cargo test --release -p softprefix-core --test hostile` looks for long.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod hostile_module;
mod mutate;

use std::path::Path;

use mutate::{each, files, now_and_then};
use softprefix_core::compare::ResultsFile;
use softprefix_core::experiment::html::{self, Language};
use softprefix_core::experiment::{Experiment, Journal, Library, Record, experiments, export};
use softprefix_core::prefix::Rounding;
use softprefix_core::prefix::files::import_bytes;
use softprefix_core::protocol::extension::{Embedded, Nearest, Scored, TokenCounts, Vocabulary};
use softprefix_core::protocol::{FrameReader, ModelCard, Reply, Request, TaskInfo};

fn fixtures(folder: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(folder)
}

/// Everything that is made of records.
fn written(experiment: &Experiment, records: &[Record]) {
    let html = html::to_html(experiment, records, Language::Japanese, &|_| None);
    assert!(html.ends_with("</html>\n"), "the report has no end");
    export::to_csv(records);
    export::to_json(experiment, records).unwrap();
    export::to_llm_comparator(experiment, records).unwrap();
}

/// The bytes of a recorded conversation, both sides of it.
fn spoken(recording: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(recording);
    let said = text
        .lines()
        .filter_map(|line| line.strip_prefix("> ").or_else(|| line.strip_prefix("< ")));
    said.flat_map(|line| line.bytes().chain([b'\n'])).collect()
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
    let samples: Vec<Vec<u8>> = files(&fixtures("conversations"), 1 << 20)
        .iter()
        .flat_map(|file| {
            let messages = spoken(file);
            let messages: Vec<&[u8]> = messages.split_inclusive(|&byte| byte == b'\n').collect();
            messages.chunks(4).map(<[_]>::concat).collect::<Vec<_>>()
        })
        .collect();
    each(&samples, usize::MAX, |input| {
        let mut reader = FrameReader::new(1 << 16);
        for piece in input.chunks(1 + input.len() / 3) {
            reader.push(piece);
            loop {
                match reader.next() {
                    Ok(Some(message)) => {
                        assert!(message.len() <= 1 << 16);
                        if let Ok(reply) = serde_json::from_slice::<Reply>(&message) {
                            ModelCard::read_all(&reply.data);
                            let data = reply.data.to_string();
                            let _ = serde_json::from_str::<TaskInfo>(&data);
                            let _ = serde_json::from_str::<Vocabulary>(&data);
                            let _ = serde_json::from_str::<TokenCounts>(&data);
                            let _ = serde_json::from_str::<Nearest>(&data);
                            let _ = serde_json::from_str::<Scored>(&data);
                            if let Ok(embedded) = serde_json::from_str::<Embedded>(&data) {
                                let _ = embedded.rows();
                            }
                        }
                        let _ = serde_json::from_slice::<Request>(&message);
                    }
                    Ok(None) => break,
                    // After each of them the reader goes on or refuses for good.
                    Err(error) if error.to_string().is_empty() => panic!("a refusal without a sentence"),
                    Err(softprefix_core::protocol::FrameError::TooLarge { .. }) => return,
                    Err(_) => {}
                }
            }
        }
    });
}

#[test]
fn a_journal_is_read_as_far_as_it_is_whole_and_everything_is_made_of_what_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.journal");
    let samples = parts(&std::fs::read(fixtures("v1/sweep.journal")).unwrap());
    let mut write_too = now_and_then(100);
    each(&samples, usize::MAX, |input| {
        // Every second one has lines whose sums are right, whatever they hold.
        let whole = if input.len() % 2 == 0 {
            input.to_vec()
        } else {
            summed_anew(input)
        };
        std::fs::write(&path, whole).unwrap();
        if let Ok((entries, _)) = Journal::read(&path) {
            for saved in experiments(entries) {
                let records: Vec<Record> = saved.undeleted().cloned().collect();
                saved.finished();
                saved.prompts();
                if write_too() {
                    written(&saved.experiment, &records);
                }
            }
        }
    });
}

#[test]
fn a_library_with_a_damaged_file_lists_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let library = Library::open(folder.path()).unwrap();
    let samples = parts(&std::fs::read(fixtures("v1/sweep.journal")).unwrap());
    each(&samples, usize::MAX, |input| {
        std::fs::write(library.path_of("damaged"), input).unwrap();
        library.list().unwrap();
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
        if export::is_json(input)
            && let Ok((experiment, records)) = export::from_json(input, "one")
            && write_too()
        {
            written(&experiment, &records);
        }
        if let Ok(file) = ResultsFile::from_json(input) {
            file.doubts();
            file.baseline();
            if let Ok((experiment, records)) = export::from_results_file(&file, "one")
                && write_too()
            {
                written(&experiment, &records);
            }
        }
    });
}

#[test]
fn a_prefix_file_gives_finite_rows_of_the_width_that_was_asked_for_or_is_refused() {
    let samples = files(&fixtures("prefix"), 64 << 10);
    each(&samples, usize::MAX, |input| {
        for width in [None, Some(8)] {
            match import_bytes("one", input, width, Rounding::NearestEven) {
                Ok(imported) => {
                    assert!(imported.prefix.values().iter().all(|value| value.is_finite()));
                    assert!(width.is_none_or(|width| imported.prefix.hidden_size() == width));
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    });
}
