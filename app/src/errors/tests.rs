//! Checks that every error shown to the user has its own Japanese words, with the same names and numbers as the
//! English.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::bf16;
use softprefix_core::client::ClientError;
use softprefix_core::compare::{ResultsError, ResultsFile};
use softprefix_core::experiment::{CaseOutcome, Failure, JournalError, PlanError, RunError, ThresholdError};
use softprefix_core::prefix::files::FileError;
use softprefix_core::prefix::{PrefixError, PrefixStoreError};
use softprefix_core::protocol::{Code, ErrorField};
use softprefix_core::search::SearchError;
use softprefix_unit::models::{FetchError, HubError, SourceError, WheelError};

use crate::model::Language;

use super::runs::failure_problem;
use super::*;

/// Returns the numbers of at least two digits or with a decimal point in a text, without `os error N`, which is the
/// system's.
fn numbers(text: &str) -> Vec<String> {
    let text = text.split("(os error").next().unwrap_or(text);
    text.split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .map(|number| number.trim_matches('.').to_owned())
        .filter(|number| number.len() > 1)
        .collect()
}

fn is_japanese(text: &str) -> bool {
    text.chars().any(|c| ('\u{3040}'..='\u{30ff}').contains(&c))
}

/// Names, formats and units that are the same in both languages.
const NAMES: &[&str] = &[
    "BERT",
    "BPE",
    "Base64",
    "ChatML",
    "Face",
    "GGUF",
    "Git",
    "GiB",
    "Hugging",
    "JSON",
    "KoboldAI",
    "LFS",
    "MB",
    "NPU",
    "NUL",
    "NaN",
    "NumPy",
    "OSC",
    "Ollama",
    "PEFT",
    "Python",
    "Qwen",
    "SHA",
    "SmolLM",
    "StackFlow",
    "UTF",
    "false",
    "inf",
    "linear",
    "llama",
    "llm",
    "none",
    "pickle",
    "pip",
    "safetensors",
    "smollm",
    "sys",
    "true",
    "wheel",
    "yarn",
    "zip",
];

/// The English words in a Japanese text, outside quoted messages, values in quotation marks, paths, keys and [`NAMES`].
fn english_words(text: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._/:-{}[]\"\\<|>".contains(c);
    let unquoted = text
        .split('「')
        .map(|part| part.split_once('」').map_or(part, |(_, rest)| rest));
    // Commands are in backticks.
    let words = unquoted.flat_map(|part| part.split('`').step_by(2));
    words
        .flat_map(move |part| part.split(move |c| !is_part(c)))
        .filter(|word| word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_alphabetic()) && !NAMES.contains(word))
        .collect()
}

#[track_caller]
fn assert_translated(text: &ErrorText) {
    let (en, ja) = (text.whole().en, text.whole().ja);
    assert!(is_japanese(&text.what.ja), "{ja}");
    assert!(text.todo.ja.is_empty() || is_japanese(&text.todo.ja), "{ja}");
    assert!(!text.what.en.is_empty() && ja.ends_with('。'), "{en} / {ja}");
    assert_eq!(english_words(&ja), [""; 0], "{ja}");
    for number in numbers(&en) {
        assert!(ja.contains(&number), "{number} is missing: {en} / {ja}");
    }
}

/// The content of the string literal at which `source` begins, after a field's name, and what follows it.
fn literal(source: &str) -> Option<(String, &str)> {
    let source = source.trim_start_matches([',', ' ', '\n']);
    let source = source
        .strip_prefix("en:")
        .or(source.strip_prefix("ja:"))
        .unwrap_or(source);
    let mut characters = source.trim_start().strip_prefix('"')?.chars();
    let mut text = String::new();
    loop {
        match characters.next()? {
            '"' => return Some((text, characters.as_str())),
            '\\' => text.push(characters.next()?),
            character => text.push(character),
        }
    }
}

/// The pairs of English and Japanese literals in a source file.
fn literal_pairs(source: &str) -> Vec<(String, String)> {
    let starts = source
        .match_indices("bilingual!(")
        .chain(source.match_indices("Bilingual {"));
    let pair = |(at, start): (usize, &str)| {
        let (english, rest) = literal(&source[at + start.len()..])?;
        Some((english, literal(rest)?.0))
    };
    starts.filter_map(pair).collect()
}

/// The arguments of a format string.
fn arguments(text: &str) -> Vec<&str> {
    let after = text.split('{').skip(1);
    let mut all: Vec<&str> = after.filter_map(|part| Some(part.split_once('}')?.0)).collect();
    all.retain(|argument| !matches!(*argument, "en" | "ja"));
    all.sort_unstable();
    all.dedup();
    all
}

/// The types of the errors demand both languages for every reason; this reads all of them from the sources.
#[test]
fn every_reason_to_refuse_a_model_or_results_file_has_a_japanese_text_with_the_same_arguments() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut folders = vec![workspace.join("device-unit/src")];
    let mut files = vec![workspace.join("core/src/compare/results_file.rs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { &mut folders } else { &mut files }.push(path);
        }
    }
    let mut count = 0;
    for file in files
        .iter()
        .filter(|file| file.extension().is_some_and(|ending| ending == "rs"))
    {
        for (english, japanese) in literal_pairs(&std::fs::read_to_string(file).unwrap()) {
            let place = format!("{}: {english:?} / {japanese:?}", file.display());
            assert_eq!(arguments(&english), arguments(&japanese), "{place}");
            assert_eq!(english_words(&japanese), [""; 0], "{place}");
            let is_translated = japanese.chars().any(|c| ('\u{3040}'..='\u{9fff}').contains(&c));
            assert!(is_translated || english_words(&english).is_empty(), "{place}");
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

fn refused(code: Code, message: &str) -> ClientError {
    ClientError::Refused {
        action: "setup".into(),
        work_id: "llm".into(),
        error: ErrorField::new(code, message),
    }
}

/// One of each kind that is not [`ClientError::Refused`].
fn client_errors() -> Vec<ClientError> {
    let (address, detail) = (
        "192.168.1.20:10001".to_owned(),
        "Connection refused (os error 111)".to_owned(),
    );
    let (work_id, text) = ("llm.1000".to_owned(), "春の花を咲かせ、風に揺れる".to_owned());
    vec![
        ClientError::Connect {
            address: address.clone(),
            detail: detail.clone(),
        },
        ClientError::ConnectTimedOut {
            address: address.clone(),
            seconds: 7.5,
        },
        ClientError::ConnectionLost {
            address: address.clone(),
            detail: detail.clone(),
        },
        ClientError::Garbage {
            address,
            excerpt: "SSH-2.0".into(),
        },
        ClientError::NoAnswer {
            action: "ping".into(),
            work_id: "sys".into(),
            seconds: 12.0,
        },
        ClientError::Unreadable {
            action: "lsmode".into(),
            detail: "no array".into(),
        },
        ClientError::SetUpTimedOut {
            model: "qwen2.5-0.5B".into(),
            seconds: 60.0,
        },
        ClientError::TaskFull {
            ids: vec!["llm.1000".into(), "llm.1001".into()],
        },
        ClientError::TaskGone {
            work_id: work_id.clone(),
            detail: "code -6".into(),
        },
        ClientError::UnitSilent {
            work_id: work_id.clone(),
            seconds: 33.0,
        },
        ClientError::NeverAnswered {
            work_id: work_id.clone(),
            seconds: 44.0,
        },
        ClientError::StreamStopped {
            text: text.clone(),
            seconds: 15.0,
        },
        ClientError::DeadlinePassed {
            text: text.clone(),
            seconds: 90.0,
        },
        ClientError::Stopped { text },
        ClientError::EmptyAnswer,
        ClientError::EmptyPrompt,
        ClientError::NulInPrompt,
        ClientError::PrefixNotConfirmed {
            detail: "no echo".into(),
        },
        ClientError::Unsupported {
            work_id,
            feature: "embed".into(),
        },
    ]
}

#[test]
fn client_errors_have_japanese_sentences_with_the_same_numbers() {
    for error in client_errors() {
        assert_translated(&client(&error));
    }
}

#[test]
fn the_error_of_a_failed_case_keeps_its_words_in_the_record() {
    let refused = refused(Code::WINDOW, "8 prefix rows + 1020 prompt tokens do not fit into 1024");
    let not_a_number = PrefixError::MagnitudeNotFinite { value: f64::INFINITY };
    let unsupported = SessionError::Unsupported {
        feature: "softprefix.embed".into(),
    };
    let of_the_client = client_errors().into_iter().chain([refused, not_a_number.into()]);
    for error in of_the_client.map(SessionError::Client).chain([unsupported]) {
        for is_embedded in [false, true] {
            let failure = Failure {
                error: error.message(is_embedded),
                cause: Some(error.clone().with_text("")),
                partial_text: error.text_so_far().unwrap_or_default().to_owned(),
                elapsed_sec: 1.5,
            };
            let written = serde_json::to_string(&CaseOutcome::Failed(failure)).unwrap();
            assert!(
                written.matches("春の花").count() <= 1,
                "the text is written once: {written}"
            );
            let Ok(CaseOutcome::Failed(read)) = serde_json::from_str(&written) else {
                panic!("{written}")
            };
            let expected = match error {
                // JSON has no infinity: only the message is left.
                SessionError::Client(ClientError::Prefix(PrefixError::MagnitudeNotFinite { .. })) => {
                    Problem::new(ProblemKind::Module, error.message(is_embedded), "")
                }
                _ => session(&error, is_embedded),
            };
            assert_eq!(failure_problem(&read, is_embedded), expected);
        }
    }
}

#[test]
fn errors_of_the_embedded_unit_name_no_system_service() {
    let bare = Code::ALL.iter().flat_map(|code| {
        let messages = ["", code.stock_message().unwrap_or_default()];
        messages.map(|message| refused(*code, message))
    });
    let unknown = ["", "x"].map(|message| refused(Code(-77), message));
    let errors: Vec<ClientError> = client_errors().into_iter().chain(bare).chain(unknown).collect();
    let has_command = |words: &str| words.contains("systemctl") || words.contains("journalctl");
    for error in errors {
        let remedy = error.local_remedy();
        assert!(!has_command(&error.local_message()), "{}", error.local_message());
        let error = SessionError::Client(error);
        let [here, there] = [true, false].map(|is_embedded| session(&error, is_embedded));
        assert!(
            !has_command(&here.whole(Language::English)) && !here.remedy.en.contains("llm-"),
            "{here}"
        );
        assert!(
            !has_command(&here.whole(Language::Japanese)) && !here.remedy.ja.contains("llm-"),
            "{}",
            here.remedy.ja
        );
        assert_eq!(here.sentence, there.sentence);
        assert_eq!(remedy.is_none(), here.remedy.en == there.remedy.en, "{here}");
    }
}

#[test]
fn error_codes_have_japanese_sentences_with_a_remedy() {
    for code in Code::ALL {
        for message in [
            "",
            code.stock_message().unwrap_or(""),
            "the prefix holds 1792 bytes; send 3584",
        ] {
            let text = client(&refused(code, message));
            // The English names shell commands; the Japanese refers to the doctor, which shows them.
            assert_translated(&ErrorText {
                todo: "".into(),
                ..text.clone()
            });
            assert!(text.what.ja.contains(&code.to_string()), "{}", text.what.ja);
            assert!(is_japanese(&text.todo.ja), "{code}: what to do");
            assert!(!text.what.ja.contains("知らないコード"), "{code}");
        }
    }
    assert!(client(&refused(Code(-77), "x")).what.ja.contains("-77"));
}

#[test]
fn a_missing_unit_refers_to_the_doctor_and_keeps_its_english_sentence() {
    let text = client(&refused(Code::UNIT_CALL, "unit call false"));
    assert!(text.todo.ja.contains("診断"), "{}", text.todo.ja);
    assert_eq!(
        text.what.en,
        "llm refused \"setup\" with code -9 (unit call false): the unit is not running on the module."
    );
    assert!(text.todo.en.starts_with("On the module, run"), "{}", text.todo.en);
}

#[test]
fn prefix_errors_have_japanese_sentences_with_the_same_numbers() {
    let (name, sha256) = ("voice.npy".to_owned(), "ab12cd".to_owned());
    let errors = [
        PrefixError::LengthZero,
        PrefixError::LengthNegative { len: -12 },
        PrefixError::LengthNotANumber { got: "1.25".into() },
        PrefixError::LengthTooLarge {
            len: "99999".into(),
            limit: 65536,
        },
        PrefixError::TooManyValues {
            len: 4,
            hidden_size: 1_000_000_000_000,
            limit: 16_777_216,
        },
        PrefixError::HiddenSizeZero,
        PrefixError::NotAnObject { got: "a number".into() },
        PrefixError::FieldMissing { field: "len".into() },
        PrefixError::DataNotAString { got: "null".into() },
        PrefixError::NotBase64 {
            detail: "byte 17".into(),
        },
        PrefixError::WrongSize {
            got_bytes: 1536,
            expected_bytes: 1792,
            len: 10,
            hidden_size: 896,
        },
        PrefixError::WrongSize {
            got_bytes: 3584,
            expected_bytes: 1792,
            len: 10,
            hidden_size: 896,
        },
        PrefixError::WrongSize {
            got_bytes: 1500,
            expected_bytes: 1792,
            len: 10,
            hidden_size: 896,
        },
        PrefixError::RaggedValues {
            got: 1000,
            hidden_size: 896,
        },
        PrefixError::WrongWidth {
            got: 1536,
            hidden_size: 896,
        },
        PrefixError::NotFinite {
            row: 11,
            column: 22,
            value: bf16::INFINITY,
        },
        PrefixError::MagnitudeNotFinite { value: f64::NAN },
        PrefixError::MagnitudeNegative { value: -2.5 },
        PrefixError::MedianNormUnusable { got: "0.00".into() },
        PrefixError::RowsMissing { text: "春".into() },
        PrefixError::NoTokens { text: "".into() },
        PrefixError::MagnitudeMissing {
            kind: "constant".into(),
        },
        PrefixError::BlendOutOfRange { t: 1.75 },
        PrefixError::NoContrast {
            text: "a".into(),
            minus: "b".into(),
        },
        PrefixError::SampleMissing,
        PrefixError::StoredMissing {
            name: name.clone(),
            sha256: sha256.clone(),
        },
        PrefixError::StoredUnreadable {
            name: name.clone(),
            detail: "the file /prefixes/ab.safetensors cannot be read: Permission denied (os error 13)".into(),
        },
        PrefixError::StoredDiffers {
            name,
            sha256,
            found: "f0".into(),
        },
        PrefixError::SubspaceUnusable {
            detail: "it has 0 dimensions".into(),
        },
        PrefixError::EnvelopeEmpty,
        PrefixError::EnvelopeNotFinite {
            point: 13,
            value: f64::INFINITY,
        },
        PrefixError::WindowExceeded {
            prefix: 64,
            template: 21,
            prompt: 100,
            output: 48,
            window: 128,
        },
        PrefixError::WindowExceeded {
            prefix: 16,
            template: 21,
            prompt: 200,
            output: 48,
            window: 128,
        },
    ];
    for error in &errors {
        assert_translated(&prefix(error));
        assert_eq!(client(&ClientError::Prefix(error.clone())), prefix(error));
    }
}

#[test]
fn common_errors_of_the_system_have_no_english_words_in_japanese() {
    // EPERM, ENOENT, EIO, E2BIG, ENOMEM, EACCES, EEXIST, ENOTDIR, EISDIR, EINVAL, EMFILE, ENOSPC, EROFS, EPIPE, ENAMETOOLONG, EADDRINUSE,
    // EADDRNOTAVAIL, ENETDOWN, ENETUNREACH, ECONNABORTED, ECONNRESET, ETIMEDOUT, ECONNREFUSED, EHOSTDOWN, EHOSTUNREACH, EDQUOT
    #[cfg(target_os = "linux")]
    const NUMBERS: [i32; 26] = [
        1, 2, 5, 7, 12, 13, 17, 20, 21, 22, 24, 28, 30, 32, 36, 98, 99, 100, 101, 103, 104, 110, 111, 112, 113, 122,
    ];
    #[cfg(target_os = "macos")]
    const NUMBERS: [i32; 26] = [
        1, 2, 5, 7, 12, 13, 17, 20, 21, 22, 24, 28, 30, 32, 63, 48, 49, 50, 51, 53, 54, 60, 61, 64, 65, 69,
    ];
    let of_the_system = NUMBERS.map(std::io::Error::from_raw_os_error);
    let of_the_library = [
        std::io::Error::from(std::io::ErrorKind::UnexpectedEof),
        std::io::Read::read_exact(&mut [0_u8; 1].as_slice(), &mut [0; 2]).unwrap_err(),
        std::io::read_to_string([0xff_u8].as_slice()).unwrap_err(),
    ];
    for error in of_the_system.into_iter().chain(of_the_library) {
        let japanese = because("読めません", &error.to_string()).replace("UTF-8", "");
        assert!(
            !japanese.contains(|c: char| c.is_ascii_alphabetic()),
            "{error}: {japanese}"
        );
        assert!(
            japanese.starts_with("読めません（") && japanese.ends_with("）。"),
            "{japanese}"
        );
    }
}

#[test]
fn an_unknown_reason_is_quoted_after_a_whole_sentence() {
    assert_eq!(because("読めません", "it is odd."), "読めません。詳細：「it is odd」。");
    assert_eq!(because("読めません", ""), "読めません。");
}

#[test]
fn errors_of_files_disk_and_network_have_japanese_sentences() {
    let path = || PathBuf::from("/models/qwen.gguf");
    let io = || std::io::Error::from_raw_os_error(28);
    for error in [
        ResultsError::Write {
            path: path(),
            source: io(),
        },
        ResultsError::NoResults,
    ] {
        assert_translated(&results(&error));
    }
    for file in [
        "",
        "hello",
        "{\"meta\": {",
        "[1, 2]",
        "\"text\"",
        "{}",
        "{\"peft_type\": 1}",
        "{\"meta\": {}}",
        "{\"meta\": 3, \"results\": []}",
        "{\"meta\": {}, \"results\": [7]}",
        "{\"meta\": {}, \"results\": [{\"name\": \"x\"}]}",
        "{\"meta\": {\"port\": 99999}, \"results\": []}",
        "{\"meta\": {\"vals\": [1, \"a\"]}, \"results\": []}",
        "{\"meta\": {}, \"results\": [{\"name\": \"x\", \"out_text\": \"\", \"softprefix\": {\"tokens\": 7}}]}",
    ] {
        let error = ResultsFile::from_json(file.as_bytes()).unwrap_err();
        assert_translated(&results(&error));
    }
    for error in [
        JournalError::Open {
            path: path(),
            source: io(),
        },
        JournalError::InUse { path: path() },
        JournalError::NotAJournal { path: path() },
        JournalError::Write {
            path: path(),
            source: io(),
        },
    ] {
        assert_translated(&journal(&error));
    }
    let hub = HubError::NoAnswer {
        address: "huggingface.co".into(),
        detail: "failed to lookup address information".into(),
    };
    let fetches = [
        FetchError::NotAvailable {
            model: "Qwen2.5 0.5B".into(),
            file_name: "qwen2.5.gguf".into(),
            folder: PathBuf::from("/models"),
            reasons: vec![SourceError::Hub(hub), SourceError::Wheels(WheelError::NotPublished)],
        },
        FetchError::DiskFull {
            path: path(),
            needed_mb: 491,
        },
        FetchError::Storage {
            path: path(),
            source: io(),
        },
        FetchError::Cancelled {
            model: "Qwen2.5 0.5B".into(),
        },
    ];
    for error in &fetches {
        assert_translated(&fetch(error));
    }
    assert!(fetch(&fetches[0]).what.ja.contains("名前を解決できません"));
    assert!(
        results(&ResultsError::Write {
            path: path(),
            source: io()
        })
        .what
        .ja
        .contains("空きがありません")
    );
}

#[tokio::test]
async fn run_errors_have_japanese_sentences_with_the_same_numbers_and_a_remedy() {
    let panic = async || Arc::new(tokio::spawn(async { panic!("a fault at 0x7f12") }).await.unwrap_err());
    let client = ClientError::UnitSilent {
        work_id: "llm.1000".into(),
        seconds: 33.0,
    };
    let errors = [
        RunError::Session {
            error: Arc::new(client.into()),
            is_embedded: true,
        },
        RunError::from(JournalError::InUse {
            path: PathBuf::from("/history/e.jsonl"),
        }),
        RunError::Panicked(panic().await),
        RunError::CasesLost {
            count: 12,
            first: panic().await,
        },
    ];
    for error in &errors {
        for Problem { sentence, remedy, .. } in [run(error), canary(error)] {
            assert!(!remedy.en.is_empty(), "{error}");
            assert_translated(&ErrorText {
                what: sentence,
                todo: remedy,
            });
        }
    }
    let here = run(&errors[0]);
    assert!(!here.whole(Language::Japanese).contains("systemctl"), "{here}");
}

#[test]
fn plan_and_search_errors_have_japanese_sentences_with_the_same_numbers() {
    let number = 12;
    for error in [
        PlanError::NoPrompts,
        PlanError::EmptyPrompt { number },
        PlanError::NoLengths { number },
        PlanError::BadLength { number, len: 99_999 },
        PlanError::NoMagnitudes { number },
        PlanError::BadMagnitude {
            number,
            value: f64::INFINITY,
        },
        PlanError::NegativeNorm { number, value: -2.5 },
        PlanError::BadLogRange {
            number,
            from: 0.5,
            to: -30.0,
        },
        PlanError::UnscaledNeedsWords {
            number,
            kind: "constant",
        },
        PlanError::TooMany { cases: 123_456 },
        PlanError::NoRepeats,
        PlanError::BadSetting { key: "temperature" },
    ] {
        assert_translated(&plan(&error));
    }
    for error in [
        SearchError::Dimension {
            dimension: 777,
            most: 64,
        },
        SearchError::Population { population: 99_999 },
        SearchError::Spread { spread: -0.5 },
        SearchError::NormLimit { limit: -1.5 },
        SearchError::NoScale,
        SearchError::Results { got: 11, wanted: 12 },
        SearchError::ResultNotANumber {
            candidate: 11,
            value: f64::NAN,
        },
        SearchError::NoSuchCandidate {
            candidate: 12,
            population: 12,
        },
        SearchError::Damaged { what: "its dimensions" },
        SearchError::NoObjective,
        SearchError::NoLikelihood,
        SearchError::EmptyWord,
        SearchError::Floor { floor: 1.5 },
    ] {
        assert_translated(&search(&error));
    }
    assert_translated(&threshold(&ThresholdError::BadRange { low: 2.5, high: 0.5 }));
    assert_translated(&threshold(&ThresholdError::TooFewRuns { runs: 2 }));
}

#[test]
fn prefix_file_and_store_errors_have_japanese_sentences_with_the_same_numbers() {
    let file = || "/home/a/voice.npy".to_owned();
    let digest = || "ab12cd".to_owned();
    let detail = || "Permission denied (os error 13)".to_owned();
    for error in [
        FileError::Unreadable {
            file: file(),
            detail: detail(),
        },
        FileError::Unwritable {
            file: file(),
            detail: detail(),
        },
        FileError::TooLarge {
            file: file(),
            bytes: 123_456_789,
            limit: 33_554_432,
        },
        FileError::Pickle { file: file() },
        FileError::UnknownKind {
            file: file(),
            start: "GIF89a".into(),
        },
        FileError::NotPeft {
            folder: file(),
            missing: "adapter_config.json",
        },
        FileError::SeveralAdapters {
            folder: file(),
            first: "one".into(),
            second: "two".into(),
        },
        FileError::Malformed {
            file: file(),
            kind: "safetensors",
            detail: "the header ends at byte 17".into(),
        },
        FileError::NotOneTable {
            file: file(),
            found: "12 arrays".into(),
        },
        FileError::WrongType {
            file: file(),
            found: "int64".into(),
        },
        FileError::TooLong {
            file: file(),
            rows: 99_999,
        },
        FileError::WrongWidth {
            file: file(),
            width: 1536,
            hidden_size: 896,
        },
        FileError::UnclearWords { file: file() },
        FileError::Transposed {
            file: file(),
            width: 20,
            hidden_size: 896,
        },
        FileError::PrefixTuning {
            file: file(),
            evidence: "peft_type PREFIX_TUNING".into(),
        },
        FileError::OtherAdapter {
            file: file(),
            peft_type: "LORA".into(),
        },
        FileError::EncoderDecoder {
            file: file(),
            submodules: 12,
        },
        FileError::Disagrees {
            file: file(),
            what: "rows (num_virtual_tokens)",
            stated: 20,
            found: 16,
        },
        FileError::Bomb {
            file: file(),
            bytes: 1_000_000_000,
            packed: 4096,
            limit: 4_194_304,
        },
        FileError::Rows {
            file: file(),
            source: PrefixError::RaggedValues {
                got: 1000,
                hidden_size: 896,
            },
        },
    ] {
        let text = prefix_file(&error);
        assert_translated(&text);
        assert!(text.what.ja.contains("/home/a/voice.npy"), "{}", text.what.ja);
        assert!(!text.todo.en.is_empty() && !text.todo.ja.is_empty(), "{error}");
    }
    for error in [
        PrefixStoreError::NotADigest { digest: digest() },
        PrefixStoreError::NotFound {
            digest: digest(),
            folder: "/prefixes".into(),
        },
        PrefixStoreError::Changed {
            digest: digest(),
            folder: "/prefixes".into(),
            found: "99ff".into(),
        },
        PrefixStoreError::File(FileError::Pickle { file: file() }),
    ] {
        assert_translated(&prefix_store(&error));
    }
}

#[test]
fn a_stock_message_with_a_full_stop_is_not_quoted_as_the_units_own_sentence() {
    for message in ["json format error", "json format error."] {
        let text = client(&refused(Code::JSON, message));
        assert!(
            text.what.en.contains(&format!("code -2 ({message})")),
            "{}",
            text.what.en
        );
        assert!(!text.what.ja.contains("ユニットの説明"), "{}", text.what.ja);
        assert!(!text.todo.en.is_empty(), "{}", text.what.en);
    }
}
