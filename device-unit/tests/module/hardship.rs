//! Clients that disconnect, stall, flood or send garbage do not affect others.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;
use softprefix_unit::listen::{self, ListenError};
use softprefix_unit::unit::UnitOptions;

use crate::common::*;

#[test]
fn a_client_that_disconnects_mid_stream_frees_its_slot() {
    let server = Server::with(UnitOptions {
        max_inferences: 1,
        ..UnitOptions::default()
    });
    let mut other = server.client();
    let frames = other.set_up(&streaming(ENDLESS, 20_000));
    let texts = other.set_up(&whole(ENDLESS, 20_000));
    for task in [frames, texts] {
        for _ in 0..3 {
            let mut client = server.client();
            server.gate.close();
            client.send(&infer("gone", &task, "hello"));
            // Another inference, which has not started.
            client.send(&infer("gone too", &task, "hello"));
            client.wait_until_queued(&task);
            server.gate.step_until_together(1);
            drop(client);
            server.gate.open();
        }
        let started = Instant::now();
        let mut reply = other.ask(&infer_up_to("here", &task, "hello", 3));
        // Far sooner than the other inferences would end by themselves, each with 20,000 tokens.
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
        loop {
            assert_eq!(
                (&reply["request_id"], &reply["error"]["code"]),
                (&json!("here"), &json!(0))
            );
            if reply["data"]["finish"] != false {
                break;
            }
            reply = other.next();
        }
    }
}

#[test]
fn a_client_that_does_not_read_delays_no_other_and_gets_its_whole_text_later() {
    let server = Server::start();
    let mut slow = server.client();
    let task = slow.set_up(&streaming(ENDLESS, 20_000));
    for i in 0..6 {
        let more = json!({"softprefix": {"max_new_tokens": 3000, "usage": true}});
        slow.send(&infer_with(&format!("slow{i}"), &task, "hello", more));
    }
    let mut quick = server.client();
    for _ in 0..5 {
        let started = Instant::now();
        quick.send(&infer_up_to("quick", &task, "hello", 5));
        quick.stream("quick");
        // The time is the subject: the others compute 3,000 tokens each.
        assert!(started.elapsed() < Duration::from_secs(5));
    }
    server.wait_until_idle();
    let mut finished = 0;
    let mut text = String::new();
    while finished < 6 {
        let reply = slow.next();
        if reply["request_id"] == "slow0" {
            text.push_str(reply["data"]["delta"].as_str().unwrap());
        }
        if reply["data"]["finish"] == true {
            assert_eq!(reply["usage"]["completion_tokens"], 3000);
            finished += 1;
        }
    }
    assert!(!text.is_empty());
}

#[test]
fn a_client_that_shuts_down_sending_still_gets_its_replies() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 127));
    client.send(&bare("p", "sys", "ping"));
    client.send(&infer("i", &task, "hello"));
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.next()["request_id"], "p");
    assert_eq!(client.next()["request_id"], "i");
    assert!(client.is_closed());
}

#[test]
fn a_hundred_megabytes_without_an_end_are_refused_and_the_connection_is_closed() {
    let server = Server::start();
    for start in ["", "{\"request_id\":\"r\",\"data\":\"", "{"] {
        let mut client = server.client();
        let mut writer = client.stream.try_clone().unwrap();
        let writing = std::thread::spawn(move || {
            let _ = writer.write_all(start.as_bytes());
            let block = vec![b'a'; 1 << 20];
            (0..100).take_while(|_| writer.write_all(&block).is_ok()).count()
        });
        let (code, message) = error(&client.next());
        assert_eq!(code, -1);
        assert!(message.contains("16 MiB"), "{message}");
        assert!(client.is_closed());
        writing.join().unwrap();
        assert_eq!(server.client().ask(&bare("p", "sys", "ping"))["error"]["code"], 0);
    }
}

#[test]
fn a_prompt_of_megabytes_is_received() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 300));
    assert_eq!(error(&client.ask(&infer("big", &task, &"a ".repeat(2_000_000)))).0, -32);
}

#[test]
fn a_message_split_at_any_byte_is_received() {
    let server = Server::start();
    let mut client = server.client();
    let message = bare("split", "sys", "ping").to_string();
    for i in (1..message.len()).step_by(7) {
        let (head, tail) = message.split_at(i);
        client.write(head.as_bytes());
        std::thread::sleep(Duration::from_millis(2));
        client.write(tail.as_bytes());
        assert_eq!(client.next()["request_id"], "split");
    }
}

#[test]
fn bytes_that_are_not_text_are_refused() {
    let server = Server::start();
    let mut client = server.client();
    client.write(b"{\"request_id\":\"q\",\"work_id\":\"sys\",\"action\":\"ping\",\"data\":\"a\xffb\"}");
    assert_eq!(error(&client.next()), (-2, "json format error".into()));
    client.write(b"{\"request_id\":\"q\",\"work_id\":\"sys\",\"action\":\"ping\",\"data\":\"a\nb\"}");
    assert_eq!(error(&client.next()), (-2, "json format error".into()));
    client.write("{\"a\":".repeat(5000).as_bytes());
    client.write("}".repeat(5000).as_bytes());
    assert_eq!(error(&client.next()).0, -2, "deeper than anybody reads");
    client.write(br#"{"request_id":"z3","work_id":"sys","action":"ping","data":"bad \{ escape"}"#);
    assert_eq!(error(&client.next()), (-1, "reace reset".into()));
    assert_eq!(
        client.ask(&bare("p", "sys", "ping"))["request_id"],
        "p",
        "the connection can still be used"
    );
}

#[test]
fn an_unterminated_string_is_dropped_after_a_silence() {
    let server = Server::start();
    let mut client = server.client();
    client.write(br#"{"request_id":"r","data":"never closed}"#);
    assert_eq!(error(&client.next()).0, -2);
    assert_eq!(client.ask(&bare("p", "sys", "ping"))["request_id"], "p");
}

#[test]
fn a_port_in_use_is_reported_in_an_error() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let first = listen::bind("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
        let refused = listen::bind(first.local_addr().unwrap(), false).await.unwrap_err();
        assert!(matches!(refused, ListenError::Taken { .. }));
        assert!(refused.to_string().contains("taken by another program"));
    });
}

#[test]
fn only_loopback_addresses_are_allowed_by_default() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let anywhere = "0.0.0.0:0".parse().unwrap();
        assert!(matches!(
            listen::bind(anywhere, false).await,
            Err(ListenError::NotLoopback { .. })
        ));
        assert!(listen::bind(anywhere, true).await.is_ok());
    });
}

#[test]
fn idle_connections_are_closed_for_new_ones_unless_they_have_a_task() {
    let server = Server::start();
    let mut owner = server.client();
    let task = owner.set_up(&streaming(ENDLESS, 20_000));
    let mut waiting = server.client();
    waiting.send(&infer("long", &task, "hello"));
    waiting.next();
    let mut idle: Vec<Client> = (0..400).map(|_| server.client()).collect();
    let mut late = server.client();
    assert_eq!(late.ask(&bare("p", "sys", "ping"))["error"]["code"], 0);
    assert!(idle[0].is_closed(), "the one that has been silent for longest");
    assert_eq!(idle[399].ask(&bare("p", "sys", "ping"))["error"]["code"], 0);
    assert_eq!(owner.ask(&bare("t", "llm", "taskinfo"))["data"], json!([task]));
    assert_eq!(waiting.next()["request_id"], "long");
}

#[test]
fn with_all_connections_in_use_another_one_is_refused_with_a_message() {
    let server = Server::start();
    let mut owner = server.client();
    let task = owner.set_up(&streaming(ENDLESS, 20_000));
    let mut busy: Vec<Client> = (0..255).map(|_| server.client()).collect();
    for client in &mut busy {
        client.send(&infer("long", &task, "hello"));
        client.send(&bare("p", "sys", "ping"));
    }
    // The inferences are registered when the pings behind them are answered.
    for client in &mut busy {
        while client.next()["request_id"] != "p" {}
    }
    let mut one_more = server.client();
    assert_eq!(error(&one_more.next()).0, -10);
    assert!(one_more.is_closed());
    drop(busy);
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        let mut client = server.client();
        client.send(&bare("p", "sys", "ping"));
        if client
            .next_within(Duration::from_secs(2))
            .is_some_and(|reply| reply["error"]["code"] == 0)
        {
            break;
        }
        assert!(Instant::now() < patience);
    }
}

#[test]
fn after_a_shutdown_connections_are_refused_and_nothing_hangs() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&streaming(ENDLESS, 20_000));
    client.send(&infer("long", &task, "hello"));
    client.next();
    let unit = std::sync::Arc::clone(&server.unit);
    drop(server);
    assert!(client.is_closed());
    let patience = Instant::now() + Duration::from_secs(5);
    while !unit.tasks().is_empty() {
        assert!(Instant::now() < patience, "the task has ended");
        std::thread::sleep(Duration::from_millis(10));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Any input leads to a reply, a refusal or no reply, and the module keeps working.
    #[test]
    fn no_input_stops_the_module(
        pieces in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            ("[a-z.0-9]{0,8}", "[a-z.]{0,10}", "[a-z.0-9]{0,12}").prop_map(|(work_id, action, object)| {
                json!({"request_id": "x", "work_id": work_id, "action": action, "object": object, "data": {"delta": 1}})
                    .to_string()
                    .into_bytes()
            }),
            Just(br#"{"RAW":3,"request_id":"r","work_id":"sys","action":"ping"}abc"#.to_vec()),
            prop::sample::select(vec!["llm", "llm.1000", "sys", "", ".", ".x", "llm.", "kws.1"]).prop_flat_map(|work_id| {
                prop::sample::select(vec!["setup", "inference", "exit", "taskinfo", "pause", "link", "softprefix.stop"])
                    .prop_map(move |action| bare("y", work_id, action).to_string().into_bytes())
            }),
        ], 1..8),
    ) {
        static SERVER: std::sync::OnceLock<Server> = std::sync::OnceLock::new();
        let server = SERVER.get_or_init(Server::start);
        let mut client = server.client();
        for piece in &pieces {
            client.write(piece);
        }
        client.stream.shutdown(Shutdown::Write).unwrap();
        client.stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut replies = Vec::new();
        client.stream.read_to_end(&mut replies).unwrap();
        for reply in serde_json::Deserializer::from_slice(&replies).into_iter::<serde_json::Value>() {
            prop_assert!(reply.unwrap()["error"]["code"].is_i64());
        }
        prop_assert_eq!(&server.client().ask(&bare("p", "sys", "ping"))["request_id"], "p");
    }
}
