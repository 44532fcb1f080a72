//! Many inferences at once: they run as one batch, each gets its own reply, and the tokens are the same as alone.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use softprefix_unit::unit::UnitOptions;

use crate::common::*;

/// The constant prefixes of the usual comparison.
const VALUES: [f32; 10] = [0.0, 1e-4, 1e-3, 5e-3, 1e-2, 5e-2, 1e-1, 2e-1, 1.0, 2.0];

fn case(i: usize, task: &str) -> Value {
    let more =
        json!({"soft_prefix": prefix(1, HIDDEN, VALUES[i]), "softprefix": {"max_new_tokens": 400, "usage": true}});
    infer_with(&format!("case{i}"), task, "hello there", more)
}

#[test]
fn pipelined_inferences_run_as_one_batch_with_the_same_tokens_as_alone() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole(ENDLESS, 1000));
    let alone: Vec<Value> = (0..VALUES.len()).map(|i| client.ask(&case(i, &task))).collect();
    for order in [(0..VALUES.len()).collect::<Vec<_>>(), (0..VALUES.len()).rev().collect()] {
        let all: String = order.iter().map(|&i| format!("{}\n", case(i, &task))).collect();
        server.gate.close();
        client.write(all.as_bytes());
        client.wait_until_queued(&task);
        server.gate.step_until_together(VALUES.len());
        server.gate.open();
        let mut together = BTreeMap::new();
        for _ in 0..VALUES.len() {
            let reply = client.next();
            together.insert(reply["request_id"].as_str().unwrap().to_owned(), reply);
        }
        for (i, alone) in alone.iter().enumerate() {
            let reply = &together[&format!("case{i}")];
            assert_eq!(reply["usage"]["tokens"], alone["usage"]["tokens"], "case {i}");
            assert_eq!(reply["data"], alone["data"]);
            assert_eq!(reply["soft_prefix"], alone["soft_prefix"]);
        }
    }
}

#[test]
fn streams_of_one_batch_interleave_and_keep_their_ids() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&streaming(ENDLESS, 20_000));
    server.gate.close();
    for i in 0..8 {
        let more = json!({"softprefix": {"max_new_tokens": 10_000}});
        client.send(&infer_with(&format!("s{i}"), &task, "hello", more));
    }
    client.wait_until_queued(&task);
    server.gate.step_until_together(8);
    server.gate.open();
    let mut frames: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut read = |frames: &mut BTreeMap<String, Vec<Value>>| {
        let reply = client.next();
        let id = reply["request_id"].as_str().unwrap().to_owned();
        frames.entry(id).or_default().push(reply);
    };
    while frames.len() < 8 || frames.values().any(|frames| frames.len() < 5) {
        read(&mut frames);
    }
    let has_ended = |frames: &Vec<Value>| frames.last().unwrap()["data"]["finish"] == true;
    assert!(!frames.values().any(has_ended), "none waits for another's end");
    server.client().ask(&bare("p", &task, "pause"));
    while !frames.values().all(has_ended) {
        read(&mut frames);
    }
    for frames in frames.values() {
        for (i, frame) in frames.iter().enumerate() {
            assert_eq!(frame["data"]["index"], i);
        }
    }
}

#[test]
fn a_live_run_starts_before_the_queued_cases_of_a_sweep() {
    let server = Server::with(UnitOptions {
        max_inferences: 4,
        ..UnitOptions::default()
    });
    let mut client = server.client();
    let task = client.set_up(&whole(ENDLESS, 20_000));
    let sweep: String = (0..60)
        .map(|i| {
            let more = json!({"softprefix": {"max_new_tokens": 6000, "priority": "batch"}});
            format!("{}\n", infer_with(&format!("b{i}"), &task, "hello", more))
        })
        .collect();
    server.gate.close();
    client.write(sweep.as_bytes());
    let more = json!({"softprefix": {"max_new_tokens": 5, "usage": true}});
    client.send(&infer_with("live", &task, "hello", more));
    client.wait_until_queued(&task);
    server.gate.open();
    // A case of the sweep takes hundreds of times as many steps.
    let reply = client.next();
    assert_eq!((&reply["request_id"], error(&reply).0), (&json!("live"), 0));
}

#[test]
fn ten_thousand_pipelined_requests_are_answered_or_refused() {
    let server = Server::with(UnitOptions {
        waiting: 500,
        ..UnitOptions::default()
    });
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 127));
    let mut writer = client.stream.try_clone().unwrap();
    let all: String = (0..10_000)
        .map(|i| format!("{}\n", infer_up_to(&i.to_string(), &task, "hello", 2)))
        .collect();
    let writing = std::thread::spawn(move || std::io::Write::write_all(&mut writer, all.as_bytes()).unwrap());
    let mut seen = vec![false; 10_000];
    let (mut answered, mut refused) = (0, 0);
    for _ in 0..10_000 {
        let reply = client.next();
        let id: usize = reply["request_id"].as_str().unwrap().parse().unwrap();
        assert!(!std::mem::replace(&mut seen[id], true), "{id} twice");
        match error(&reply) {
            (0, _) => answered += 1,
            (-10, message) => {
                assert!(message.contains("waiting"), "{message}");
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    writing.join().unwrap();
    assert!(answered >= 500, "{answered} answered, {refused} refused");
    assert_eq!(client.ask(&bare("p", "sys", "ping"))["request_id"], "p");
}

#[test]
fn ten_thousand_pings_in_one_write_are_answered_in_order() {
    let server = Server::start();
    let mut client = server.client();
    let mut writer = client.stream.try_clone().unwrap();
    let all: String = (0..10_000)
        .map(|i| bare(&i.to_string(), "sys", "ping").to_string())
        .collect();
    let writing = std::thread::spawn(move || std::io::Write::write_all(&mut writer, all.as_bytes()).unwrap());
    for i in 0..10_000 {
        assert_eq!(client.next()["request_id"], i.to_string());
    }
    writing.join().unwrap();
}

#[test]
fn sampling_with_a_seed_repeats_the_text() {
    let server = Server::start();
    let mut client = server.client();
    let mut data = whole(ENDLESS, 1000);
    for (key, value) in [
        ("enable_top_k_sampling", json!(true)),
        ("top_k", json!(10)),
        ("seed", json!(42)),
    ] {
        data[key] = value;
    }
    let task = client.set_up(&data);
    let ask = infer_up_to("i", &task, "hello", 30);
    let first = client.ask(&ask)["data"].clone();
    assert_eq!(client.ask(&ask)["data"], first);
    data["seed"] = json!(43);
    let other = client.set_up(&data);
    assert_ne!(client.ask(&infer_up_to("i", &other, "hello", 30))["data"], first);
}
