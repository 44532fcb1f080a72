//! Compares conversations recorded from the stock module with ours: the same requests are sent, and every field of every reply is compared,
//! except for `created`, the texts (they depend on the model), and the differences listed here with their reasons. Of texts the form is
//! compared: one whole text, or frames in order with an empty last one.
//!
//! `recorded_prefixes` has the conversations with prefixes and cut characters, `bus_recorded` the one with restarts.

use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{Client, STOCK_MODEL, Server};

/// One section of a recording. The first one may have no title.
#[derive(Default)]
pub struct Section {
    pub title: String,
    pub exchanges: Vec<Exchange>,
}

/// A write (`None` if it was not recorded), and the replies before the next write.
#[derive(Default)]
pub struct Exchange {
    pub written: String,
    pub replies: Vec<String>,
}

pub fn read(text: &str) -> Vec<Section> {
    let mut sections = vec![Section::default()];
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            sections.push(Section {
                title: title.into(),
                exchanges: Vec::new(),
            });
            continue;
        }
        let exchanges = &mut sections.last_mut().unwrap().exchanges;
        if let Some(written) = line.strip_prefix("> ") {
            exchanges.push(Exchange {
                written: written.into(),
                replies: Vec::new(),
            });
        } else if let Some(reply) = line.strip_prefix("< ").or_else(|| line.strip_prefix("<! ")) {
            if exchanges.is_empty() {
                exchanges.push(Exchange::default());
            }
            exchanges.last_mut().unwrap().replies.push(reply.into());
        }
    }
    sections.retain(|section| !section.exchanges.is_empty());
    sections
}

/// Returns a reply without its time.
pub fn timeless(mut reply: Value) -> Value {
    assert!(reply["created"].is_u64());
    reply.as_object_mut().unwrap().remove("created");
    reply
}

pub fn recorded(exchange: &Exchange) -> Vec<Value> {
    exchange
        .replies
        .iter()
        .map(|reply| timeless(serde_json::from_str(reply).unwrap()))
        .collect()
}

pub fn is_result(reply: &Value) -> bool {
    reply["error"]["code"] == 0
        && reply["object"]
            .as_str()
            .is_some_and(|object| object.starts_with("llm.utf-8"))
}

/// The texts depend on the model, so only their form is compared: frames in order with an empty last one, or one whole text.
pub fn assert_same_form(recorded: &[Value], ours: &[Value], title: &str) {
    let frame = |reply: &Value| reply["data"].get("delta").is_some();
    for (i, reply) in ours.iter().enumerate() {
        for key in ["error", "object", "request_id", "work_id"] {
            assert_eq!(reply[key], recorded[0][key], "{title}: {key}");
        }
        assert_eq!(frame(reply), frame(&recorded[0]), "{title}");
        if frame(reply) {
            let last = i + 1 == ours.len();
            assert_eq!(reply["data"]["index"], i, "{title}");
            assert_eq!(reply["data"]["finish"], last, "{title}");
            assert_eq!(reply["data"]["delta"] == "", last, "{title}");
        } else {
            assert!(reply["data"].is_string(), "{title}");
        }
    }
}

pub fn read_results(client: &mut Client) -> Vec<Value> {
    let mut replies = vec![client.next()];
    while replies.last().is_some_and(|reply| reply["data"]["finish"] == false) {
        replies.push(client.next());
    }
    replies.into_iter().map(timeless).collect()
}

#[test]
fn llm_sys_answers_as_recorded() {
    let server = Server::start();
    let mut client = server.client();
    let sections = read(include_str!("../../../core/tests/fixtures/conversations/sys.txt"));
    let mut compared = 0;
    for section in &sections {
        for exchange in &section.exchanges {
            if exchange.written.contains("bashexec") || exchange.written.contains("sys.sql_select") {
                continue;
            }
            client.write(exchange.written.as_bytes());
            for (reply, expected) in exchange.replies.iter().zip(recorded(exchange)) {
                let text = client.next_text_within(Duration::from_secs(10)).unwrap();
                let line_end = text.ends_with('\n');
                assert_eq!(
                    line_end,
                    !reply.starts_with("{\"request_id\": "),
                    "only the reset message has no line end"
                );
                let ours = timeless(serde_json::from_str(&text).unwrap());
                match expected["object"].as_str() {
                    // Cards and actions depend on the module.
                    Some("sys.lsmode") => assert_eq!(ours["data"][0]["mode"], STOCK_MODEL),
                    // Recorded on a machine without an NPU, for which the stock module reports nothing.
                    Some("sys.cmminfo") => assert!(ours["data"]["total"].is_u64()),
                    Some("sys.list_action") => assert!(ours["data"]["actions"].is_array()),
                    _ => assert_eq!(ours, expected, "{}", exchange.written),
                }
                // Byte for byte, except for the time.
                if expected["object"] == "None" {
                    assert_eq!(
                        without_time(text.trim_end()),
                        without_time(reply),
                        "{}",
                        exchange.written
                    );
                }
                compared += 1;
            }
        }
    }
    assert!(compared > 20, "{compared}");
}

fn without_time(reply: &str) -> String {
    let start = reply.find("\"created\":").unwrap();
    let end = start + reply[start..].find(',').unwrap();
    format!("{}{}", &reply[..start], &reply[end..])
}

#[test]
fn the_llm_unit_replies_as_recorded() {
    let server = Server::start();
    compare_with_the_llm_unit(&mut server.client(), |_| true);
}

/// Compares a unit's replies with the recorded ones in the selected sections.
pub fn compare_with_the_llm_unit(client: &mut Client, wanted: impl Fn(&str) -> bool) {
    for section in read(include_str!("../../../core/tests/fixtures/conversations/llm.txt")) {
        let title = section.title.as_str();
        if !wanted(title) {
            continue;
        }
        for exchange in &section.exchanges {
            client.write(format!("{}\n", exchange.written).as_bytes());
            let recorded = recorded(exchange);
            let asked: Value = serde_json::from_str(&exchange.written).unwrap();
            let ours = |client: &mut Client| timeless(client.next());
            match title {
                // Requests that the stock unit ignores get a reply here.
                "unknown action" | "list_action through TCP" => {
                    assert_eq!(
                        ours(client)["error"],
                        json!({"code": -18, "message": "not have unit action!"})
                    );
                }
                "empty prompt" => assert_eq!(ours(client)["error"]["code"], -34),
                // For this model the word is an ordinary prompt.
                "THROW in runner" => assert_eq!(read_results(client).last().unwrap()["data"]["finish"], true),
                // The task describes its features; everything else is the same.
                "taskinfo id" => {
                    let mut info = ours(client);
                    let support = info["data"].as_object_mut().unwrap().remove("soft_prefix").unwrap();
                    assert_eq!(support["hidden_size"], crate::common::HIDDEN);
                    assert_eq!(info, recorded[0]);
                }
                // The stock message comes first, then a sentence.
                "setup: no model card" | "setup: prompt missing" => {
                    let mut reply = ours(client);
                    let message = reply["error"]["message"].as_str().unwrap().to_owned();
                    assert!(
                        message.starts_with("Model loading failed. ") && message.len() > 40,
                        "{message}"
                    );
                    reply["error"]["message"] = "Model loading failed.".into();
                    assert_eq!(reply, recorded[0]);
                }
                // An error is sent to the client that caused it, under the request's own ids; the stock unit uses those of the last RPC.
                "stream errors: index gap -> -25" | "base64 bad" => {
                    let reply = ours(client);
                    assert_eq!(reply["error"], recorded[0]["error"]);
                    assert_eq!(reply["request_id"], asked["request_id"]);
                    assert_eq!(reply["work_id"], asked["work_id"]);
                }
                _ if recorded.first().is_some_and(is_result) => {
                    assert_same_form(&recorded, &read_results(client), title);
                }
                _ => {
                    for expected in recorded {
                        assert_eq!(ours(client), expected, "{title}");
                    }
                }
            }
        }
    }
}
