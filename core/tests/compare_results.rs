//! Results files and reports as a specification: the existing script's files open, ours keep its shape, and what is not a
//! results file is refused with a sentence.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use serde_json::{Value, json};
use softprefix_core::compare::{
    FileExtra, Meta, Report, ResultEntry, ResultExtra, ResultsError, ResultsFile, Verdict, preview, sha1_hex,
};
use softprefix_core::experiment::export::ImportError;

/// A file as the existing script writes it (Python's `json.dump(..., ensure_ascii=False, indent=2)`).
fn scripts_file() -> Value {
    let entry = |name: &str, val: Value, text: &str| {
        json!({
            "name": name, "has_prefix": !val.is_null(), "P": 1, "H": 896, "val": val, "elapsed_sec": 3.25,
            "out_len": text.chars().count(), "out_sha1": sha1_hex(text), "out_preview": preview(text), "out_text": text,
        })
    };
    json!({
        "meta": {
            "host": "192.168.1.20", "port": 10001, "model": "qwen2.5-0.5B-prefill-20e", "system_prompt": "あなたは親切です。",
            "user_prompt": "自己紹介をしてください。", "response_format": "llm.utf-8", "input_object_for_infer": "llm.utf-8.stream",
            "max_token_len": 256, "P": 1, "H": 896, "vals": [0.0, 0.01, 2.0], "saved_at_unix": 1_767_225_600
        },
        "results": [
            entry("baseline", Value::Null, "こんにちは。私は人工知能です。"),
            entry("prefix_val_0", json!(0.0), "こんにちは。私は人工知能です。"),
            entry("prefix_val_0.01", json!(0.01), "こんにちは。私はAIです。"),
            entry("prefix_val_2.0", json!(2.0), &"の".repeat(200)),
        ]
    })
}

fn open(value: &Value) -> Result<ResultsFile, ResultsError> {
    ResultsFile::from_json(value.to_string().as_bytes())
}

#[test]
fn a_file_of_the_existing_script_opens_and_every_measure_is_there() {
    let file = open(&scripts_file()).unwrap();
    assert_eq!(
        (file.meta.port, file.meta.hidden_size, file.meta.vals.as_slice()),
        (10001, 896, [0.0, 0.01, 2.0].as_slice())
    );
    assert!(file.extra.is_none() && file.doubts().is_empty());
    let report = Report::from(&file);
    let verdicts: Vec<Verdict> = report.rows.iter().map(|row| row.verdict).collect();
    assert_eq!(
        verdicts,
        [Verdict::Baseline, Verdict::Same, Verdict::Changed, Verdict::Loop]
    );
    assert!(report.rows.iter().all(|row| row.measures.is_some()));
    assert!(report.noise.is_none());
}

#[test]
fn a_file_written_again_is_the_same_file_for_the_existing_script() {
    let before = scripts_file();
    let file = open(&before).unwrap();
    let text = file.to_json().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), before);
    assert!(text.find("\"meta\"") < text.find("\"results\""));
    assert!(text.contains("自己紹介"), "raw UTF-8, not escapes");
}

#[test]
fn our_fields_live_in_an_object_of_their_own() {
    let mut file = open(&scripts_file()).unwrap();
    file.extra = Some(FileExtra {
        version: 1,
        written_by: "softprefix 0.1.0".into(),
        ..FileExtra::default()
    });
    file.results[2].extra = Some(ResultExtra {
        recipe: Some(
            json!({"kind": {"type": "constant"}, "len": 1, "magnitude": {"raw": 0.01}, "rounding": "truncate"}),
        ),
        sha256: Some("ab".repeat(32)),
        token_norms: Some(0.58),
        tokens: Some(vec![108386, 1773]),
        finish_reason: Some("stop".into()),
        ttft_sec: Some(0.2),
        usage: Some(json!({"prefix_len": 1})),
        ..ResultExtra::default()
    });
    let value: Value = serde_json::from_str(&file.to_json().unwrap()).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&value), ["meta", "results", "softprefix"]);
    let mut scripts = keys(&scripts_file()["results"][2]);
    scripts.push("softprefix".into());
    scripts.sort();
    assert_eq!(keys(&value["results"][2]), scripts);
    assert_eq!(
        ResultsFile::from_json(file.to_json().unwrap().as_bytes()).unwrap(),
        file
    );
}

#[test]
fn unknown_keys_are_kept() {
    let mut value = scripts_file();
    value["note"] = json!("by hand");
    value["meta"]["git"] = json!("abc");
    value["results"][1]["temperature"] = json!(0.5);
    assert_eq!(
        serde_json::from_str::<Value>(&open(&value).unwrap().to_json().unwrap()).unwrap(),
        value
    );
}

#[test]
fn fields_of_a_newer_version_do_not_keep_the_file_from_opening() {
    let mut value = scripts_file();
    value["softprefix"] = json!({"version": 99, "written_by": {"shape": "unknown"}});
    value["results"][1]["softprefix"] = json!({"sha256": {"bf16": "00"}, "tokens": "none"});
    let file = open(&value).unwrap();
    assert!(file.extra.is_none() && file.results[1].extra.is_none());
    assert_eq!(serde_json::from_str::<Value>(&file.to_json().unwrap()).unwrap(), value);
    // As an experiment it would lack its prefixes.
    let imported = softprefix_core::experiment::export::from_json(value.to_string().as_bytes(), "x");
    assert!(
        matches!(imported, Err(ImportError::TooNew { found: 99 })),
        "{imported:?}"
    );
}

#[test]
fn a_failed_baseline_of_any_name_is_the_baseline_where_there_is_no_other() {
    let entry = |name: &str, has_prefix: bool| json!({"name": name, "has_prefix": has_prefix, "out_text": "ab"});
    let mut value = json!({"meta": {}, "results": [entry("p", true), entry("baseline_prompt1", false)]});
    value["softprefix"] = json!({"version": 1});
    value["results"][1]["softprefix"] = json!({"error": "timed out"});
    assert_eq!(open(&value).unwrap().baseline(), Some(1));
}

#[test]
fn a_new_entry_has_the_length_and_preview_that_the_script_writes() {
    let text = "一行目\n".to_owned() + &"字".repeat(150);
    let entry = ResultEntry::new("prefix_val_0.1", &text, 1.5).with_prefix(4, 896, Some(0.1));
    assert_eq!(entry.out_len, 154);
    assert_eq!(entry.out_preview, format!("一行目\\n{}…", "字".repeat(116)));
    assert_eq!(sha1_hex("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    assert_eq!(preview("short\ntext"), "short\\ntext");
}

#[test]
fn what_is_not_a_results_file_is_refused_with_a_sentence() {
    let refusal = |bytes: &[u8]| ResultsFile::from_json(bytes).unwrap_err().to_string();
    for (bytes, says) in [
        (&b""[..], "the file is empty"),
        (b" \r\n ", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n", "not text (byte 0 is not UTF-8)"),
        (b"hello", "it is not JSON (line 1, column 1)"),
        (b"{\"meta\": {", "it ends in the middle (line 1, column 10)"),
        (b"[1, 2]", "it is a list of 2 at the top"),
        (b"\"text\"", "it is the text \"text\" at the top"),
        (b"{}", "it has neither \"meta\" nor \"results\", only nothing"),
        (b"{\"peft_type\": 1}", "only \"peft_type\""),
        (b"{\"meta\": {}}", "lacks \"results\""),
        (b"{\"results\": []}", "lacks \"meta\" (found there: \"results\")"),
        (
            b"{\"meta\": 3, \"results\": []}",
            "\"meta\" should be an object, but is 3",
        ),
        (b"{\"meta\": {}, \"results\": []}", "no results"),
        (
            b"{\"meta\": {}, \"results\": [7]}",
            "results[0] should be an object, but is 7",
        ),
        (
            b"{\"meta\": {}, \"results\": [{\"name\": \"x\"}]}",
            "lacks \"results[0].out_text\"",
        ),
        (
            b"{\"meta\": {\"port\": 99999}, \"results\": []}",
            "\"meta.port\" should be a whole number in its range, but is 99999",
        ),
        (
            b"{\"meta\": {\"vals\": [1, \"a\"]}, \"results\": []}",
            "\"meta.vals\" should be a list of numbers",
        ),
        (
            b"{\"meta\": {}, \"results\": [{\"name\": \"x\", \"out_text\": \"\", \"val\": \"big\"}]}",
            "\"results[0].val\" should be a number",
        ),
    ] {
        let got = refusal(bytes);
        assert!(got.contains(says), "{got:?} should say {says:?}");
    }
}

#[test]
fn a_byte_order_mark_and_missing_side_keys_do_no_harm() {
    let bytes =
        b"\xEF\xBB\xBF{\"meta\": {}, \"results\": [{\"name\": \"a\", \"out_text\": \"b\", \"P\": null, \"H\": 896.0}]}";
    let file = ResultsFile::from_json(bytes).unwrap();
    assert_eq!((file.results[0].prefix_len, file.results[0].hidden_size), (0, 896));
}

#[test]
fn a_text_that_is_not_the_one_that_was_saved_is_pointed_at() {
    let mut value = scripts_file();
    value["results"][2]["out_text"] = json!("changed by hand");
    let report = Report::from(&open(&value).unwrap());
    assert!(
        report.notes[0].contains("prefix_val_0.01") && report.notes[0].contains("SHA-1"),
        "{:?}",
        report.notes
    );
}

#[test]
fn saving_replaces_the_file_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("結果.json");
    let file = open(&scripts_file()).unwrap();
    file.write(&path).unwrap();
    file.write(&path).unwrap();
    assert_eq!(ResultsFile::from_json(&std::fs::read(&path).unwrap()).unwrap(), file);
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no part file is left"
    );
    let error = file
        .write(&folder.path().join("none").join("x.json"))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("cannot write"), "{error}");
}

fn file(entries: Vec<ResultEntry>) -> ResultsFile {
    ResultsFile {
        meta: Meta {
            model: "m".into(),
            ..Meta::default()
        },
        results: entries,
        ..ResultsFile::default()
    }
}

#[test]
fn repeats_of_the_baseline_give_the_noise_and_the_verdicts() {
    let text = "The quick brown fox jumps over the lazy dog.";
    let noisy = Report::from(&file(vec![
        ResultEntry::new("baseline", text, 1.0),
        ResultEntry::new("a", text.replace("dog", "cow"), 1.0).with_prefix(1, 8, Some(0.1)),
        ResultEntry::new("b", "Something else entirely", 1.0).with_prefix(1, 8, Some(1.0)),
        ResultEntry::new("baseline again", text.replace("lazy dog", "tired cat"), 1.0),
    ]));
    let noise = noisy.noise.clone().unwrap();
    assert_eq!(noise.runs, 2);
    assert!(noise.chrf2 < 100.0 && noise.indel < 1.0);
    assert_eq!(noisy.rows[1].verdict, Verdict::InsideNoise);
    assert_eq!(noisy.rows[2].verdict, Verdict::Changed);

    let quiet = Report::from(&file(vec![
        ResultEntry::new("baseline", text, 1.0),
        ResultEntry::new("a", text.replace("dog", "cow"), 1.0).with_prefix(1, 8, Some(0.1)),
        ResultEntry::new("baseline again", text, 1.0),
    ]));
    assert_eq!(quiet.rows[1].verdict, Verdict::Changed);
    assert!(
        quiet.notes.iter().any(|note| note.starts_with("Deterministic")),
        "{:?}",
        quiet.notes
    );
}

#[test]
fn prefixes_without_any_effect_are_pointed_at() {
    let report = Report::from(&file(vec![
        ResultEntry::new("baseline", "same", 1.0),
        ResultEntry::new("a", "same", 1.0).with_prefix(1, 8, Some(2.0)),
    ]));
    assert!(
        report.notes.iter().any(|note| note.contains("ignores it silently")),
        "{:?}",
        report.notes
    );
}

#[test]
fn a_failed_case_stays_a_row_with_its_error() {
    let mut failed = ResultEntry::new("prefix_val_1.0", "", 60.0).with_prefix(1, 8, Some(1.0));
    failed.extra = Some(ResultExtra {
        error: Some("no answer within 60 s".into()),
        ..ResultExtra::default()
    });
    let report = Report::from(&file(vec![ResultEntry::new("baseline", "text", 1.0), failed]));
    assert_eq!(report.rows[1].verdict, Verdict::Failed);
    assert!(report.to_table().contains("* prefix_val_1.0: no answer within 60 s"));
}

#[test]
fn a_failed_baseline_is_remarked_on() {
    let mut failed = ResultEntry::new("baseline", "ab", 60.0);
    failed.extra = Some(ResultExtra {
        error: Some("no answer within 60 s".into()),
        ..ResultExtra::default()
    });
    let prefixed = ResultEntry::new("p", "abc", 1.0).with_prefix(1, 8, Some(1.0));
    let notes = Report::from(&file(vec![failed, prefixed.clone()])).notes;
    assert!(
        notes.iter().any(|note| note.starts_with("The baseline failed")),
        "{notes:?}"
    );
    let notes = Report::from(&file(vec![ResultEntry::new("baseline", "ab", 1.0), prefixed])).notes;
    assert!(!notes.iter().any(|note| note.contains("failed")), "{notes:?}");
}

#[test]
fn a_name_with_a_line_feed_is_on_one_line_of_the_table() {
    let name = "first\nsecond";
    let mut failed = ResultEntry::new(name, "", 1.0).with_prefix(1, 8, Some(1.0));
    failed.extra = Some(ResultExtra {
        error: Some("no answer\r\nat all".into()),
        ..ResultExtra::default()
    });
    let table = Report::from(&file(vec![ResultEntry::new(name, "text", 1.0), failed])).to_table();
    let lines_with = |words: &str| table.lines().filter(|line| line.contains(words)).count();
    // The baseline above the table, two rows and the note on the failed one.
    assert_eq!((lines_with("first second"), lines_with("second")), (4, 4), "{table}");
    assert_eq!(lines_with("first second: no answer  at all"), 1, "{table}");
}

#[test]
fn the_table_is_aligned_and_names_the_baseline() {
    let mut value = scripts_file();
    value["results"][3]["name"] = json!("大きい値");
    insta::assert_snapshot!(Report::from(&open(&value).unwrap()).to_table());
}

#[test]
fn the_json_form_can_be_read_again() {
    let report = Report::from(&open(&scripts_file()).unwrap());
    assert_eq!(
        serde_json::from_str::<Report>(&report.to_json().unwrap()).unwrap(),
        report
    );
}

#[test]
fn a_lone_surrogate_as_python_writes_it_is_read_and_reported() {
    let file = ResultsFile::from_json(include_bytes!("fixtures/compare/lone_surrogate.json")).unwrap();
    assert_eq!((file.replaced, file.results[1].out_text.as_str()), (1, "a\u{FFFD}b"));
    assert!(file.doubts()[0].contains("U+FFFD"), "{:?}", file.doubts());
    let (_, records) =
        softprefix_core::experiment::export::from_json(include_bytes!("fixtures/compare/lone_surrogate.json"), "x")
            .unwrap();
    assert_eq!(records[1].text(), Some("a\u{FFFD}b"));
}

#[test]
fn a_size_that_no_model_has_is_refused_where_it_is_read() {
    for place in ["/meta/H", "/meta/P", "/results/1/H", "/results/1/P"] {
        let mut file = scripts_file();
        *file.pointer_mut(place).unwrap() = json!(1_000_000_000_000_u64);
        let error = ResultsFile::from_json(file.to_string().as_bytes()).unwrap_err();
        assert!(error.to_string().contains("size that a prefix can have"), "{error}");
    }
}
