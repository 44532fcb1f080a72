//! Compares the conversations about soft prefixes, recorded from the patched stock unit, and about cut characters, recorded from the stock
//! unit, with ours.
//!
//! Requests with a prefix were recorded by their titles only (the data would fill pages), so they are created from the titles. Ids, object,
//! error and the form of each reply are compared. If the recording says that the prefix was used (`P=2`), ours must be echoed with that
//! length and the SHA-256 of the sent bytes; if it says that the unit ignored the prefix, ours must report the reason.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::common::{Client, HIDDEN, Server, bare, error, prefix};
use crate::recorded::{Section, assert_same_form, read, read_results, recorded, timeless};

const SOFT_PREFIX: &str = include_str!("../../../core/tests/fixtures/conversations/soft_prefix.txt");
const SPLIT: &str = include_str!("../../../core/tests/fixtures/conversations/split_utf8.txt");

/// The expected result of a request with or without a prefix.
enum Outcome {
    /// Used like by the recorded unit (or as it should have been); the prefix.
    Taken(Value),
    /// Answered without a prefix, as recorded.
    Plain,
    /// Refused with this code, where the recorded unit reported nothing.
    Refused(i64),
}

#[test]
fn prefixes_are_used_and_refused_as_recorded_and_reported() {
    let server = Server::start();
    compare_prefixes(&mut server.client());
}

#[test]
fn cut_characters_do_not_end_a_stream_and_each_inference_counts_its_own_frames() {
    let server = Server::start();
    compare_split_characters(&mut server.client());
}

/// Compares a unit's replies with the conversation about prefixes. The unit's model has HIDDEN columns, and its tasks count from 1000.
pub fn compare_prefixes(client: &mut Client) {
    let mut compared = 0;
    for section in read(SOFT_PREFIX) {
        let title = section.title.as_str();
        if title.is_empty() || title == "exit" {
            for exchange in &section.exchanges {
                client.write(format!("{}\n", exchange.written).as_bytes());
                for expected in recorded(exchange) {
                    assert_eq!(timeless(client.next()), expected, "{title}");
                }
            }
            continue;
        }
        let (written, outcome) = request_and_outcome(title);
        client.write(format!("{}\n", written.trim_end()).as_bytes());
        compare(client, &section, outcome);
        compared += 1;
    }
    assert_eq!(compared, 15);
    // The recording ends with a set-up for a request that crashes the recorded unit.
    let killing = frame(
        "hi",
        json!({"soft_prefix": {"len": "2", "data_b64": prefix(2, HIDDEN, 0.5)["data_b64"]}}),
    );
    client.write(killing.replace("llm.1000", "llm.1001").as_bytes());
    assert_eq!(error(&client.next()).0, -30, "a length that is text");
    assert_eq!(
        client.ask(&bare("e", "llm.1001", "exit"))["error"]["code"],
        0,
        "the unit keeps running"
    );
}

fn compare(client: &mut Client, section: &Section, outcome: Outcome) {
    let title = section.title.as_str();
    let recorded = recorded(&section.exchanges[0]);
    let reply = timeless(client.next());
    for key in ["request_id", "work_id"] {
        assert_eq!(reply[key], recorded[0][key], "{title}: {key}");
    }
    match outcome {
        Outcome::Refused(code) => {
            let (found, sentence) = error(&reply);
            assert_eq!(found, code, "{title}: {sentence}");
            // The refusal removed the frame that this one continues.
            if !section.exchanges[0].written.is_empty() {
                client.write(format!("{}\n", section.exchanges[0].written).as_bytes());
                assert_eq!(error(&client.next()).0, -25, "{title}");
            }
        }
        Outcome::Plain => {
            assert_same_form(&recorded, std::slice::from_ref(&reply), title);
            assert!(reply.get("soft_prefix").is_none(), "{title}");
        }
        Outcome::Taken(sent) => {
            assert_same_form(&recorded, std::slice::from_ref(&reply), title);
            let bytes = STANDARD.decode(sent["data_b64"].as_str().unwrap()).unwrap();
            let sha256: String = Sha256::digest(&bytes)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let echo = json!({"len": sent["len"], "hidden_size": HIDDEN, "sha256": sha256});
            assert_eq!(reply["soft_prefix"], echo, "{title}");
            if let Some(len) = recorded[0]["data"].as_str().unwrap().split("P=").nth(1) {
                let len: u64 = len.split(' ').next().unwrap().parse().unwrap();
                assert_eq!(sent["len"], len, "{title}");
            }
        }
    }
}

/// Returns the recorded inference: `hi` in stream form with one frame, with `more` added to its data.
fn frame(text: &str, more: Value) -> String {
    let mut data = json!({"delta": text, "index": 0, "finish": true});
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let request = json!({"request_id": "q", "work_id": "llm.1000", "action": "inference", "object": "llm.utf-8.stream", "data": data});
    format!("{request}\n")
}

/// Returns the request that a section's title describes, and the expected result.
fn request_and_outcome(title: &str) -> (String, Outcome) {
    let two = prefix(2, HIDDEN, 0.5);
    let with = |prefix: &Value| frame("hi", json!({"soft_prefix": prefix}));
    let taken = |written: String| (written, Outcome::Taken(two.clone()));
    let data = two["data_b64"].as_str().unwrap();
    let start = r#"{"request_id":"q","work_id":"llm.1000","action":"inference","object":"llm.utf-8.stream","data":"#;
    match title {
        "good P=2 on the finish frame" => taken(with(&two)),
        "no prefix after that (does not leak)" => (frame("hi", json!({})), Outcome::Plain),
        "wrong size (H=895): ignored, answer is still given" => {
            (with(&prefix(2, HIDDEN - 1, 0.5)), Outcome::Refused(-30))
        }
        "bad base64: ignored" => (with(&json!({"len": 2, "data_b64": "!!!!"})), Outcome::Refused(-30)),
        "prefix on a first frame, finish later: ignored" => (
            frame("hi", json!({"soft_prefix": two, "finish": false})),
            Outcome::Refused(-33),
        ),
        "finish as the string \"true\": accepted (quotes stripped)" => {
            taken(frame("hi", json!({"soft_prefix": two, "finish": "true"})))
        }
        // The recorded unit ignored the prefix; here it is used.
        "finish 1: runs, prefix ignored" => taken(frame("hi", json!({"soft_prefix": two, "finish": 1}))),
        "soft_prefix before the other keys" => taken(format!(
            r#"{start}{{"soft_prefix":{{"len":2,"data_b64":"{data}"}},"delta":"hi","index":0,"finish":true}}}}"#
        )),
        // The recorded unit ignored the prefix; here the layout of the JSON does not matter.
        "pretty printed with finish last" => {
            let pretty = json!({"soft_prefix": two, "delta": "hi", "index": 0});
            let text = serde_json::to_string_pretty(&pretty).unwrap();
            let text = text.trim_end().trim_end_matches('}').trim_end();
            taken(format!("{start}{text},\n  \"finish\": true\n}}}}\n"))
        }
        "compact with finish last" => taken(format!(
            r#"{start}{{"soft_prefix":{{"len":2,"data_b64":"{data}"}},"delta":"hi","index":0,"finish":true}}}}"#
        )),
        "base64 object + prefix" => {
            let text = STANDARD.encode("hi b64");
            taken(frame(&text, json!({"soft_prefix": two})).replace("llm.utf-8.stream", "llm.utf-8.stream.base64"))
        }
        "delta with \\u007b + prefix" => {
            let one = prefix(1, HIDDEN, 0.5);
            let written = frame("a BRACE b", json!({"soft_prefix": one})).replace("BRACE", "\\u007b");
            (written, Outcome::Taken(one))
        }
        // The recorded unit ignored the prefix; here this is a brace, as without a prefix.
        "delta with \\{ + prefix: full JSON parse fails, prefix ignored" => {
            let one = prefix(1, HIDDEN, 0.5);
            let written = frame("a BRACE b", json!({"soft_prefix": one})).replace("BRACE", "\\{");
            (written, Outcome::Taken(one))
        }
        // The size is accepted; that no position is left for an answer is reported. The recorded stub sent a canned text.
        "P=127 (fills the 128 window; the size goes through)" => {
            (with(&prefix(127, HIDDEN, 0.5)), Outcome::Refused(-32))
        }
        "base64 length with one pad, P odd H even: P=1" => {
            let one = prefix(1, HIDDEN, 0.5);
            assert!(one["data_b64"].as_str().unwrap().ends_with('='));
            (with(&one), Outcome::Taken(one))
        }
        other => panic!("a section that nothing is known of: {other}"),
    }
}

/// Compares a unit's replies with the conversation about a character that is cut between two groups of tokens, which ended the recorded
/// stream without a last frame.
pub fn compare_split_characters(client: &mut Client) {
    for section in read(SPLIT) {
        for exchange in &section.exchanges {
            client.write(format!("{}\n", exchange.written).as_bytes());
            let recorded = recorded(exchange);
            let request_and_outcome: Value = serde_json::from_str(&exchange.written).unwrap();
            if request_and_outcome["action"] == "inference" {
                // Frames count from 0 in each inference, and there is a last one. The recorded unit continued the numbers of the stalled stream.
                assert_same_form(&recorded, &read_results(client), &section.title);
            } else {
                for expected in recorded {
                    assert_eq!(timeless(client.next()), expected, "{}", section.title);
                }
            }
        }
    }
}
