//! Tokenizes the real vocabularies and decodes again, compared with independent tokenizers (`fixtures/tokenizer/make.py`).
#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde::Deserialize;
use softprefix_unit::gguf::GgufFile;
use softprefix_unit::testing::{TinyModel, qwen_model, small_model};
use softprefix_unit::tokenizer::{ChatTemplate, Special, TokenKind, Tokenizer, TokenizerError, Vocabulary};

/// One line of the fixture. The `_plain` ids are present only if they differ.
#[derive(Deserialize)]
struct Case {
    text: String,
    qwen2: Vec<u32>,
    smollm: Vec<u32>,
    qwen2_plain: Option<Vec<u32>>,
    smollm_plain: Option<Vec<u32>>,
}

fn cases() -> Vec<Case> {
    let lines = include_str!("fixtures/tokenizer/cases.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn vocabulary(path: &Path) -> Vocabulary {
    Vocabulary::from_gguf(&GgufFile::open(path).unwrap()).unwrap()
}

fn assert_equal(tokenizer: &Tokenizer, ids: impl Fn(&Case) -> (&[u32], &[u32])) {
    let cases = cases();
    assert!(cases.len() >= 200);
    for case in &cases {
        let (parsed, plain) = ids(case);
        assert_eq!(
            tokenizer.encode(&case.text, Special::Parse).unwrap(),
            parsed,
            "{:?}",
            case.text
        );
        assert_eq!(
            tokenizer.encode(&case.text, Special::Plain).unwrap(),
            plain,
            "as plain text: {:?}",
            case.text
        );
    }
}

fn smollm(case: &Case) -> (&[u32], &[u32]) {
    (&case.smollm, case.smollm_plain.as_ref().unwrap_or(&case.smollm))
}

fn qwen2(case: &Case) -> (&[u32], &[u32]) {
    (&case.qwen2, case.qwen2_plain.as_ref().unwrap_or(&case.qwen2))
}

#[test]
fn smollm2_tokenizes_all_texts_like_the_references() {
    let tokenizer = Tokenizer::from_vocabulary(vocabulary(&small_model())).unwrap();
    assert_equal(&tokenizer, smollm);
}

#[test]
fn qwen_tokenizes_all_texts_like_the_references() {
    let Some(path) = qwen_model() else { return };
    let tokenizer = Tokenizer::from_vocabulary(vocabulary(&path)).unwrap();
    assert_equal(&tokenizer, qwen2);
}

/// The module's file contains ranks only. The same vocabulary in that format must give the same tokens.
#[test]
fn qwen_tiktoken_gives_the_same_tokens_as_the_gguf() {
    let Some(path) = qwen_model() else { return };
    let vocabulary = vocabulary(&path);
    let whole = Tokenizer::from_vocabulary(vocabulary.clone()).unwrap();
    let mut text = String::new();
    for (id, kind) in (0..).zip(&vocabulary.kinds) {
        if *kind == TokenKind::Normal {
            writeln!(text, "{} {id}", STANDARD.encode(whole.token_bytes(id).unwrap())).unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("qwen.tiktoken");
    std::fs::write(&file, text).unwrap();

    let tokenizer = Tokenizer::from_qwen_tiktoken(&file).unwrap();
    assert_equal(&tokenizer, qwen2);
    assert_eq!(tokenizer.stop_tokens(), [151_643, 151_645]);
    assert_eq!(tokenizer.token_id("<|file_sep|>"), Some(151_664));
    for id in 0..tokenizer.vocab_size() as u32 {
        assert_eq!(tokenizer.token_bytes(id), whole.token_bytes(id), "{id}");
        assert_eq!(tokenizer.is_control(id), whole.is_control(id), "{id}");
    }
}

/// The same vocabulary as a `tokenizer.json` with the components of SmolLM2's own file.
#[test]
fn tokenizer_json_gives_the_same_tokens_as_the_gguf() {
    let vocabulary = vocabulary(&small_model());
    let ids: serde_json::Map<_, _> = vocabulary
        .tokens
        .iter()
        .cloned()
        .zip((0..).map(|id: u32| id.into()))
        .collect();
    let special = (0..17).map(|id: usize| {
        serde_json::json!({"id": id, "content": vocabulary.tokens[id], "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    });
    let byte_level =
        serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let json = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": special.collect::<Vec<_>>(), "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, byte_level]},
        "post_processor": null, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": ids,
            "merges": vocabulary.merges.iter().map(|(left, right)| format!("{left} {right}")).collect::<Vec<_>>()},
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokenizer.json");
    std::fs::write(&file, json.to_string()).unwrap();

    let (whole, tokenizer) = (
        Tokenizer::from_vocabulary(vocabulary).unwrap(),
        Tokenizer::from_tokenizer_json(&file).unwrap(),
    );
    assert_equal(&tokenizer, smollm);
    assert_eq!(tokenizer.vocab_size(), whole.vocab_size());
    for id in 0..whole.vocab_size() as u32 {
        assert_eq!(tokenizer.token_bytes(id), whole.token_bytes(id), "{id}");
        assert_eq!(tokenizer.is_control(id), whole.is_control(id), "{id}");
    }
}

#[test]
fn decoding_returns_the_encoded_bytes() {
    let tokenizer = Tokenizer::from_vocabulary(vocabulary(&small_model())).unwrap();
    for case in cases().iter().filter(|case| case.smollm_plain.is_none()) {
        let ids = tokenizer.encode(&case.text, Special::Parse).unwrap();
        // SmolLM2's vocabulary lacks a few bytes (mostly control characters), which the reference drops, too.
        let missing =
            |byte: &u8| !(0..tokenizer.vocab_size() as u32).any(|id| tokenizer.token_bytes(id) == Some(&[*byte]));
        let present: Vec<u8> = case
            .text
            .bytes()
            .filter(|byte| byte.is_ascii_graphic() || !missing(byte))
            .collect();
        assert_eq!(
            String::from_utf8_lossy(&tokenizer.decode(&ids)),
            String::from_utf8_lossy(&present)
        );
    }
}

#[test]
fn a_token_can_be_half_a_character_and_control_tokens_have_no_text() {
    let tokenizer = Tokenizer::from_vocabulary(vocabulary(&small_model())).unwrap();
    let ids = tokenizer.encode("語", Special::Parse).unwrap();
    assert!(ids.len() > 1);
    assert!(std::str::from_utf8(tokenizer.token_bytes(ids[0]).unwrap()).is_err());
    assert_eq!(tokenizer.decode(&ids), "語".as_bytes());

    let end = tokenizer.token_id("<|im_end|>").unwrap();
    assert!(tokenizer.is_control(end));
    assert_eq!(tokenizer.token_bytes(end), Some(&[][..]));
    assert_eq!(tokenizer.token_text(end).as_deref(), Some("<|im_end|>"));
    assert_eq!(tokenizer.token_bytes(tokenizer.vocab_size() as u32), None);
    assert_eq!(tokenizer.token_text(u32::MAX), None);
}

#[test]
fn stop_tokens_are_end_of_turn_end_of_text_and_what_llama_cpp_ends_at() {
    let tokenizer = Tokenizer::from_vocabulary(vocabulary(&small_model())).unwrap();
    // The last is <reponame>, which begins another repository.
    assert_eq!(tokenizer.stop_tokens(), [0, 2, 4]);
}

#[test]
fn the_special_tokens_of_the_template_are_parsed() {
    let tokenizer = Tokenizer::from_vocabulary(vocabulary(&small_model())).unwrap();
    let text = ChatTemplate::chatml().render("S", "U").unwrap();
    let ids = tokenizer.encode(&text, Special::Parse).unwrap();
    let marks = ids.iter().filter(|&&id| tokenizer.is_control(id)).count();
    assert_eq!(marks, 5);
    assert_eq!(tokenizer.token_id("<|im_start|>"), Some(ids[0]));
}

#[test]
fn a_text_beyond_the_limit_is_refused_with_both_numbers() {
    let tokenizer = Tokenizer::from_vocabulary(vocabulary(&small_model())).unwrap();
    let limit = softprefix_unit::tokenizer::LONGEST_TEXT;
    assert!(tokenizer.encode(&" ".repeat(limit), Special::Parse).is_ok());
    let error = tokenizer.encode(&" ".repeat(limit + 1), Special::Parse).unwrap_err();
    assert!(matches!(error, TokenizerError::TextTooLong { .. }));
    assert!(
        error.to_string().contains("524289") && error.to_string().contains("524288"),
        "{error}"
    );
}

#[test]
fn the_longest_allowed_run_of_blanks_is_split_by_the_whole_pattern() {
    let Some(path) = qwen_model() else { return };
    let tokenizer = Tokenizer::from_vocabulary(vocabulary(&path)).unwrap();
    let blanks = softprefix_unit::tokenizer::LONGEST_TEXT - 1;
    // The last blank belongs to the word. If the pattern gave up, everything would be one piece.
    let ids = tokenizer
        .encode(&format!("{}x", " ".repeat(blanks)), Special::Parse)
        .unwrap();
    assert_eq!(tokenizer.token_text(*ids.last().unwrap()).as_deref(), Some(" x"));
}

#[test]
fn files_that_are_not_tokenizers_are_refused_with_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokenizer.json");
    for (text, wanted) in [
        ("{", "no usable vocabulary"),
        (
            r#"{"version":"1.0","model":{"type":"WordLevel","vocab":{"a":0},"unk_token":"a"}}"#,
            "not of the BPE kind",
        ),
        (
            r#"{"version":"1.0","model":{"type":"BPE","vocab":{"a":0},"merges":[]}}"#,
            "does not work on bytes",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let message = Tokenizer::from_tokenizer_json(&file).unwrap_err().to_string();
        assert!(message.contains(wanted), "{message}");
    }
    let missing = Tokenizer::from_qwen_tiktoken(&folder.path().join("none")).unwrap_err();
    assert!(matches!(missing, TokenizerError::Unreadable { .. }));
}

#[test]
fn merges_that_name_unknown_tokens_are_refused() {
    let mut vocabulary = vocabulary(&small_model());
    vocabulary.merges.push(("nonsense\u{1F600}".into(), "x".into()));
    let error = Tokenizer::from_vocabulary(vocabulary).unwrap_err();
    assert!(matches!(error, TokenizerError::BadVocabulary { .. }), "{error}");
}

fn tiny(model: &TinyModel) -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tiny.gguf");
    model.write(&file).unwrap();
    Tokenizer::from_gguf(&GgufFile::open(&file).unwrap()).unwrap()
}

proptest! {
    #[test]
    fn any_text_is_decoded_byte_for_byte(text in any::<String>()) {
        static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| tiny(&TinyModel::llama()));
        let ids = TOKENIZER.encode(&text, Special::Plain).unwrap();
        prop_assert_eq!(TOKENIZER.decode(&ids), text.as_bytes());
    }

    #[test]
    fn qwen_normalises_once(text in any::<String>()) {
        static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| tiny(&TinyModel::qwen2()));
        let ids = TOKENIZER.encode(&text, Special::Plain).unwrap();
        let normal = String::from_utf8(TOKENIZER.decode(&ids)).unwrap();
        prop_assert_eq!(TOKENIZER.encode(&normal, Special::Plain).unwrap(), ids);
    }
}

/// The limit is generous for busy machines; the time is printed.
#[test]
fn building_the_tokenizer_takes_a_fraction_of_a_second() {
    let path = qwen_model().unwrap_or_else(small_model);
    let started = Instant::now();
    let tokenizer = Tokenizer::from_vocabulary(vocabulary(&path)).unwrap();
    let took = started.elapsed();
    println!("{} tokens in {took:?}", tokenizer.vocab_size());
    assert!(
        took < Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 }),
        "{took:?}"
    );
}
