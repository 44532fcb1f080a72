//! Measures the memory that a unit uses for messages of all shapes, counted by the allocator.
#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

#[allow(dead_code, reason = "the client of the other tests is only used to set up")]
#[path = "module/common.rs"]
mod common;

use common::{ENDLESS, Server, whole};

/// Counts the bytes that are allocated, and their maximum.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn add(bytes: usize) {
    let held = HELD.fetch_add(bytes, Ordering::Relaxed) + bytes;
    MOST.fetch_max(held, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came; only numbers are kept beside it.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller's promises are those of this call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Where a block cannot grow in its place, the old and the new one are held for a moment. That is the allocator's; what the
        // program asks for is the new size.
        if size >= layout.size() {
            add(size - layout.size());
        } else {
            HELD.fetch_sub(layout.size() - size, Ordering::Relaxed);
        }
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What is held whatever was received: buffers of the connections, replies that wait (1 MiB), a million token ids, and what a few
/// requests count beside their bytes. A text that is short enough to be cut into tokens (512 KiB) takes up to 80 MiB more for as long as
/// that lasts, one at a time; those here are longer.
const CONSTANT: usize = 16 << 20;

/// Tests run one at a time, because they share the allocator.
static TURN: Mutex<()> = Mutex::new(());

/// Sends bytes without keeping copies, drops all replies, and returns the maximum of allocated bytes above the previous state.
fn peak_memory(server: &Server, task: &str, message: &[u8], close: bool) -> usize {
    let settled = settle();
    MOST.store(settled, Ordering::Relaxed);
    let mut stream = TcpStream::connect(server.address).unwrap();
    let mut reader = stream.try_clone().unwrap();
    reader.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let reading = std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        while matches!(reader.read(&mut buffer), Ok(count) if count > 0) {}
    });
    // The server may close the connection in between.
    let _ = stream.write_all(message);
    if close {
        let _ = stream.shutdown(Shutdown::Write);
        reading.join().unwrap();
    } else {
        // A partial message is held until the connection ends. Nothing says that all of it has been read.
        std::thread::sleep(Duration::from_millis(200));
        drop(stream.shutdown(Shutdown::Both));
        reading.join().unwrap();
    }
    let most = MOST.load(Ordering::Relaxed).saturating_sub(settled);
    // Everything must end before the next test.
    let mut client = server.client();
    client.ask(&common::bare("p", task, "pause"));
    most
}

/// Waits until the memory of the last message is released.
fn settle() -> usize {
    let patience = Instant::now() + Duration::from_secs(5);
    let mut last = HELD.load(Ordering::Relaxed);
    while Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(30));
        let now = HELD.load(Ordering::Relaxed);
        if now >= last {
            break;
        }
        last = now;
    }
    last
}

/// The start of a message, a part that is repeated, and the end.
fn shapes(task: &str) -> Vec<(&'static str, String, String, String)> {
    let head = |action: &str, work_id: &str, object: &str| {
        format!(r#"{{"request_id":"m","work_id":"{work_id}","action":"{action}","object":"{object}","data":"#)
    };
    let stream = head("inference", task, "llm.utf-8.stream");
    let plain = head("inference", task, "llm.utf-8");
    let text = |s: &str| s.to_owned();
    vec![
        (
            "objects in a ping",
            head("ping", "sys", "") + "[",
            text(r#"{"a":0},"#),
            text("0]}"),
        ),
        (
            "lists in a ping",
            head("ping", "sys", "") + "[",
            text("[0],"),
            text("0]}"),
        ),
        (
            "keys of a ping",
            head("ping", "sys", "") + "{",
            text(r#""k":0,"#),
            text(r#""e":0}}"#),
        ),
        (
            "keys of the message",
            text("{"),
            text(r#""k":[],"#),
            text(r#""request_id":"m"}"#),
        ),
        (
            "a long id",
            text(r#"{"work_id":"sys","action":"ping","request_id":""#),
            text("i"),
            text("\"}"),
        ),
        (
            "a long object",
            head("ping", "sys", "")
                .replace(r#""object":"""#, r#""object":[0"#)
                .replace(r#","data":"#, ""),
            text(",0"),
            text("]}"),
        ),
        ("a long prompt", plain.clone() + "\"", text("word "), text("\"}")),
        ("an escaped prompt", plain.clone() + "\"", text(r"\u0041"), text("\"}")),
        ("a prompt with braces", plain.clone() + "\"", text(r"\{"), text("\"}")),
        ("a list for a prompt", plain.clone() + "[", text("{},"), text("0]}")),
        (
            "base64",
            head("inference", task, "llm.utf-8.base64") + "\"",
            text("YWFh"),
            text("\"}"),
        ),
        (
            "a list for a prefix",
            stream.clone() + r#"{"delta":"a","index":0,"finish":true,"soft_prefix":["#,
            text("0,"),
            text("0]}}"),
        ),
        (
            "a list for a length",
            stream.clone() + r#"{"delta":"a","index":0,"finish":true,"soft_prefix":{"data_b64":"","len":["#,
            text("[],"),
            text("0]}}}"),
        ),
        (
            "prefix rows",
            stream.clone() + r#"{"delta":"a","index":0,"finish":true,"soft_prefix":{"len":1,"data_b64":""#,
            text("AD8APwA/AD8A"),
            text("\"}}}"),
        ),
        (
            "options",
            stream.clone() + r#"{"delta":"a","index":0,"finish":true,"softprefix":{"x":["#,
            text("{},"),
            text("0]}}}"),
        ),
        (
            "an incomplete prompt",
            stream.clone() + r#"{"index":0,"finish":false,"delta":""#,
            text("word "),
            text("\"}}"),
        ),
        (
            "a list for a delta",
            stream + r#"{"index":0,"finish":true,"delta":["#,
            text("{},"),
            text("0]}}"),
        ),
        (
            "tokens to embed",
            head("softprefix.embed", task, "") + r#"{"tokens":["#,
            text("7,"),
            text("7]}}"),
        ),
        (
            "fields to embed",
            head("softprefix.embed", task, "") + r#"{"x":["#,
            text("{},"),
            text("0]}}"),
        ),
        (
            "rows to compare",
            head("softprefix.nearest", task, "") + r#"{"k":1,"len":1,"x":["#,
            text("{},"),
            text("0],\"data_b64\":\"\"}}"),
        ),
        (
            "a text to count",
            head("softprefix.budget", task, "") + r#"{"text":""#,
            text("word "),
            text("\"}}"),
        ),
        (
            "prefixes to score",
            head("softprefix.score", task, "") + r#"{"prompt":"a","text":"b","soft_prefixes":["#,
            text("[],"),
            text("0]}}"),
        ),
        (
            "tokens to score",
            head("softprefix.score", task, "") + r#"{"prompt":"a","tokens":["#,
            text("7,"),
            text("7]}}"),
        ),
        (
            "keys of a set-up",
            head("setup", "llm", "llm.setup") + r#"{"model":"x","k":["#,
            text("{},"),
            text("0]}}"),
        ),
        (
            "sources of a set-up",
            head("setup", "llm", "llm.setup") + r#"{"model":"x","input":["#,
            text("\"\","),
            text("0]}}"),
        ),
        ("garbage", text("x"), text("garbage "), text("\n")),
        ("closing braces", text("x"), text("}"), text("\n")),
        ("empty messages", text(""), text("{}"), text("\n")),
        (
            "pings",
            text(""),
            format!("{}\n", common::bare("p", "sys", "ping")),
            text("\n"),
        ),
        ("a string that never ends", text("{\"a\":\""), text("word } "), text("")),
    ]
}

#[test]
fn allocated_memory_is_proportional_to_received_bytes_for_messages_of_any_shape() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole(ENDLESS, 200));
    // One inference first, so that one-time allocations are not counted.
    client.ask(&common::infer("warm", &task, "hello"));
    let shapes = shapes(&task);
    let config = Config {
        cases: 2 * shapes.len() as u32,
        failure_persistence: None,
        ..Config::default()
    };
    let number = AtomicUsize::new(0);
    let mut runner = TestRunner::new(config);
    let sizes = (2_usize << 20..6 << 20, any::<bool>());
    runner
        .run(&sizes, |(size, close)| {
            // All shapes in turn instead of random ones.
            let (name, start, middle, end) = &shapes[number.fetch_add(1, Ordering::Relaxed) % shapes.len()];
            // Each of these small ones is answered: megabytes of them would take minutes.
            let answered = ["closing braces", "empty messages", "pings"].contains(name);
            let size = if answered { size / 32 } else { size };
            // Six bytes for a letter: a shorter one would be cut into tokens, also while the next shape is measured.
            let size = if *name == "an escaped prompt" {
                size.max(4 << 20)
            } else {
                size
            };
            let mut message = String::with_capacity(size + 1024);
            message.push_str(start);
            while message.len() < size {
                message.push_str(middle);
            }
            if close {
                message.push_str(end);
            }
            let held = peak_memory(&server, &task, message.as_bytes(), close);
            let most = 4 * message.len() + CONSTANT;
            prop_assert!(
                held <= most,
                "{name}: {} KiB were held for {} KiB (most {})",
                held >> 10,
                message.len() >> 10,
                most >> 10
            );
            Ok(())
        })
        .unwrap();
}

#[test]
fn partial_prompts_of_many_clients_stay_within_the_budget_and_other_clients_are_served() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let memory = softprefix_unit::budget::Budget::new(128 << 20);
    let server = Server::with(softprefix_unit::unit::UnitOptions {
        memory,
        ..softprefix_unit::unit::UnitOptions::default()
    });
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 200));
    let before = settle();
    MOST.store(before, Ordering::Relaxed);
    let half = format!(
        "{{\"request_id\":\"h\",\"work_id\":\"{task}\",\"action\":\"inference\",\"object\":\"llm.utf-8.stream\",\"data\":{{\"index\":0,\
         \"finish\":false,\"delta\":\"{}\"}}}}\n",
        "a".repeat(4 << 20)
    );
    let mut connections: Vec<TcpStream> = Vec::new();
    let mut refused = 0;
    for _ in 0..24 {
        let mut other = server.client();
        // The refusal is sent before replies to what follows it; the connection may be closed in between.
        let ping = format!("{}\n", common::bare("behind", "sys", "ping"));
        let sent = other
            .stream
            .write_all(half.as_bytes())
            .and_then(|()| other.stream.write_all(ping.as_bytes()));
        match other.next_within(Duration::from_secs(20)) {
            Some(reply) if reply["request_id"] == "behind" => {}
            Some(reply) => {
                assert_eq!(reply["error"]["code"], -10, "{reply}");
                let message = reply["error"]["message"].as_str().unwrap();
                assert!(message.contains("MiB"), "{message}");
                refused += 1;
            }
            None => {
                assert!(sent.is_err(), "neither an answer nor a refusal");
                refused += 1;
            }
        }
        connections.push(other.stream);
    }
    assert!(refused >= 12, "{refused}");
    // 32 MiB of requests, and what is on its way in.
    let held = MOST.load(Ordering::Relaxed) - before;
    assert!(held <= 4 * (32 << 20) + (32 << 20), "{} MiB were held", held >> 20);
    let shown = client.ask(&common::bare("t", &task, "taskinfo"))["data"]["soft_prefix"]["memory"].clone();
    assert_eq!(
        (shown["budget"].as_u64(), shown["requests"].as_u64()),
        (Some(128 << 20), Some(32 << 20))
    );
    assert!(shown["requests_used"].as_u64() > Some(12 << 20), "{shown}");
    // A client with partial prompts releases memory by disconnecting.
    drop(connections);
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        let reply = client.ask(&common::infer("i", &task, "hello"));
        if reply["error"]["code"] == 0 {
            break;
        }
        assert!(Instant::now() < patience, "{reply}");
        std::thread::sleep(Duration::from_millis(50));
    }
    // All of it, except for the recent texts that the task drafts from; the last connections may still be closing.
    loop {
        let info = client.ask(&common::bare("t", &task, "taskinfo"));
        let used = &info["data"]["soft_prefix"]["memory"]["work_used"];
        if used.as_u64() < Some(4 << 10) {
            break;
        }
        assert!(Instant::now() < patience, "{used}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_header_of_a_model_file_takes_no_more_memory_than_a_few_times_its_bytes() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    // Each fills a header with the smallest entries of its kind, and counts them.
    let text = |number: u64, of: &[u8]| [&4_u64.to_le_bytes()[..], &(number as u32).to_le_bytes(), of].concat();
    let array = |kind: u32, count: u64| [&9_u32.to_le_bytes()[..], &kind.to_le_bytes(), &count.to_le_bytes()].concat();
    let one_key =
        |value: Vec<u8>, item: &[u8], count: u64| (0, 1, [text(0, &value), item.repeat(count as usize)].concat());
    let count = 1_000_000;
    let shapes = [
        ("strings", one_key(array(8, count), &[0; 8], count)),
        ("arrays", one_key(array(9, count), &[0; 12], count)),
        (
            "keys",
            (0, count, (0..count).flat_map(|number| text(number, &[0; 5])).collect()),
        ),
        (
            "tensors",
            (count, 0, (0..count).flat_map(|number| text(number, &[0; 16])).collect()),
        ),
    ];
    for (name, (tensors, keys, entries)) in shapes {
        let head = [
            &b"GGUF"[..],
            &3_u32.to_le_bytes(),
            &tensors.to_le_bytes(),
            &keys.to_le_bytes(),
            &entries,
        ]
        .concat();
        std::fs::write(&path, &head).unwrap();
        let before = settle();
        MOST.store(before, Ordering::Relaxed);
        let opened = softprefix_unit::gguf::GgufFile::open(&path).map(|_| ());
        let held = MOST.load(Ordering::Relaxed) - before;
        assert!(
            held <= 3 * head.len() + (1 << 20),
            "{name}: {} KiB were held for {} KiB: {opened:?}",
            held >> 10,
            head.len() >> 10
        );
    }
}
