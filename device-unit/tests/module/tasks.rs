//! Tasks and their inferences: set-up, input forms, prefixes, pause, exit, queries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use softprefix_core::prefix::{Rounding, SoftPrefix};
use softprefix_unit::model::ModelSource;
use softprefix_unit::unit::{Directory, LocalDirectory, Opening, Peer, Registration, ReplySink, Unit, UnitOptions};

use crate::common::*;

#[test]
fn an_inference_sent_right_after_the_set_up_reply_is_never_lost() {
    let server = Server::start();
    let mut client = server.client();
    for i in 0..40 {
        let task = client.set_up(&whole("tiny", 127));
        let reply = client.ask(&infer(&format!("i{i}"), &task, "hello"));
        assert_eq!(
            (&reply["request_id"], &reply["error"]["code"]),
            (&json!(format!("i{i}")), &json!(0))
        );
        assert_eq!(client.ask(&bare("e", &task, "exit"))["error"]["code"], 0);
    }
}

#[test]
fn an_exit_and_a_set_up_can_follow_each_other_without_waiting() {
    let server = Server::start();
    let mut client = server.client();
    let first = client.set_up(&streaming(ENDLESS, 20_000));
    client.set_up(&whole("tiny", 127));
    client.send(&infer("long", &first, "hello"));
    client.send(&bare("e", &first, "exit"));
    client.send(&request("s", "llm", "setup", "llm.setup", whole("tiny", 127)));
    let mut set_up = None;
    while set_up.is_none() {
        let reply = client.next();
        if reply["request_id"] == "s" {
            set_up = Some(reply);
        }
    }
    assert_eq!(set_up.unwrap()["error"]["code"], 0);
}

#[test]
fn other_requests_are_answered_while_a_model_loads() {
    let source = Arc::new(TinySource::new());
    let unit = Unit::new(Arc::clone(&source) as Arc<dyn ModelSource>, UnitOptions::default());
    let server = Server::serving(Arc::new(unit));
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 127));
    source.loading.close();
    let other = whole("halves", 127);
    client.send(&request("slow", "llm", "setup", "llm.setup", other));
    assert_eq!(client.ask(&bare("p", "sys", "ping"))["request_id"], "p");
    assert_eq!(client.ask(&infer("i", &task, "hello"))["request_id"], "i");
    assert_eq!(client.ask(&bare("t", "llm", "taskinfo"))["data"], json!([task]));
    source.loading.open();
    let set_up = client.next();
    assert_eq!(
        (&set_up["request_id"], &set_up["error"]["code"]),
        (&json!("slow"), &json!(0))
    );
}

#[test]
fn all_input_forms_of_one_text_give_the_same_answer() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 200));
    let plain = client.ask(&infer("q", &task, "hello"))["data"].clone();
    assert_ne!(plain, "");
    let mut ask =
        |object: &str, data: Value| client.ask(&request("q", &task, "inference", object, data))["data"].clone();
    assert_eq!(ask("llm.utf-8.base64", json!("aGVsbG8=")), plain);
    assert_eq!(ask("", json!("hello")), plain);
    assert_eq!(ask("llm.chat_completion", json!("hello")), plain);
    assert_eq!(
        ask(
            "llm.utf-8.stream",
            json!({"delta": "hello", "index": 0, "finish": true})
        ),
        plain
    );
    assert_eq!(
        ask(
            "llm.utf-8.stream.base64",
            json!({"delta": "aGVsbG8", "index": 0, "finish": true})
        ),
        plain
    );
    client.send(&request(
        "q",
        &task,
        "inference",
        "llm.utf-8.stream",
        json!({"delta": "hel", "index": 0, "finish": false}),
    ));
    let rest = json!({"delta": "lo", "index": 1, "finish": true});
    assert_eq!(
        client.ask(&request("q", &task, "inference", "llm.utf-8.stream", rest))["data"],
        plain
    );
    client.write(format!("{{\"RAW\":5,\"request_id\":\"q\",\"work_id\":\"{task}\",\"action\":\"inference\",\"object\":\"llm.utf-8.base64\"}}hello\n").as_bytes());
    assert_eq!(client.next()["data"], plain);
    client.write(
        format!("{{\"request_id\":\"q\",\"work_id\":\"{task}\",\"action\":\"inference\",\"data\":\"hello\"}}")
            .as_bytes(),
    );
    assert_eq!(client.next()["data"], plain, "without an object");
}

#[test]
fn texts_with_braces_backslashes_and_any_script_arrive_and_replies_contain_no_brace() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 400));
    let mut answers = Vec::new();
    // One text in several spellings: as JSON, with escaped braces, and with the escapes of old clients.
    for spelling in [r"a { b } \\ c", r"a \u007b b \u007D \u005c c", r"a \{ b \} \\ c"] {
        client.write(format!("{{\"request_id\":\"q\",\"work_id\":\"{task}\",\"action\":\"inference\",\"object\":\"llm.utf-8\",\"data\":\"{spelling}\"}}\n").as_bytes());
        let text = client.next_text_within(Duration::from_secs(10)).unwrap();
        assert_eq!(
            text.matches('{').count(),
            2,
            "only the braces of the reply itself: {text}"
        );
        answers.push(serde_json::from_str::<Value>(&text).unwrap()["data"].clone());
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
    for text in ["C:\\", "日本語 😀", "tab\tnewline\n", "\u{0}", "say \"data\": \"x\""] {
        assert_eq!(client.ask(&infer("data", &task, text))["error"]["code"], 0, "{text:?}");
    }
}

#[test]
fn a_prefix_is_echoed_in_the_last_reply_and_does_not_affect_the_next_inference() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 300));
    let baseline = client.ask(&infer("b", &task, "hello"));
    assert_eq!(baseline["soft_prefix"], Value::Null);
    let prefixed = client.ask(&infer_with(
        "p",
        &task,
        "hello",
        json!({"soft_prefix": prefix(3, HIDDEN, 2.0)}),
    ));
    let sent = SoftPrefix::from_f32(HIDDEN, &vec![2.0; 3 * HIDDEN], Rounding::NearestEven).unwrap();
    assert_eq!(
        prefixed["soft_prefix"],
        json!({"len": 3, "hidden_size": HIDDEN, "sha256": sent.sha256()})
    );
    assert_ne!(prefixed["data"], baseline["data"]);
    assert_eq!(client.ask(&infer("b", &task, "hello"))["data"], baseline["data"]);

    let frames = client.set_up(&streaming("tiny", 300));
    client.send(&infer_with(
        "p",
        &frames,
        "hello",
        json!({"soft_prefix": prefix(3, HIDDEN, 2.0)}),
    ));
    let (text, last) = client.stream("p");
    assert_eq!(last["soft_prefix"], prefixed["soft_prefix"]);
    assert_eq!(
        text,
        prefixed["data"].as_str().unwrap(),
        "the joined frames are the whole text"
    );
}

#[test]
fn a_prefix_is_used_with_every_spelling_of_finish_that_the_stock_unit_accepts() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 300));
    for finish in [json!(true), json!("true"), json!(1)] {
        let more = json!({"finish": finish, "soft_prefix": prefix(1, HIDDEN, 2.0)});
        assert_eq!(
            client.ask(&infer_with("p", &task, "hello", more))["soft_prefix"]["len"],
            1
        );
    }
    let pretty = serde_json::to_string_pretty(&infer_with(
        "p",
        &task,
        "hello",
        json!({"soft_prefix": prefix(1, HIDDEN, 2.0)}),
    ));
    client.write(pretty.unwrap().as_bytes());
    assert_eq!(client.next()["soft_prefix"]["len"], 1, "pretty-printed");
}

#[test]
fn a_prefix_is_used_with_every_spelling_of_the_text() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 300));
    let sent = prefix(1, HIDDEN, 2.0);
    let base64 = json!({"delta": "aGVsbG8=", "index": 0, "finish": true, "soft_prefix": sent});
    let base64 = client.ask(&request("p", &task, "inference", "llm.utf-8.stream.base64", base64));
    let plain = client.ask(&infer_with("p", &task, "hello", json!({"soft_prefix": sent})));
    assert_eq!(base64["data"], plain["data"]);
    assert_eq!(base64["soft_prefix"], plain["soft_prefix"]);
    for spelling in [r"a \u007b b", r"a \{ b", "a { b"] {
        let message = format!(
            "{{\"request_id\":\"p\",\"work_id\":\"{task}\",\"action\":\"inference\",\"object\":\"llm.utf-8.stream\",\
             \"data\":{{\"soft_prefix\":{sent},\"delta\":\"{spelling}\",\"index\":0,\"finish\":true}}}}"
        );
        client.write(message.as_bytes());
        assert_eq!(client.next()["soft_prefix"]["len"], 1, "{spelling}");
    }
    let wide = infer_with("p", &task, "hi", json!({"soft_prefix": prefix(127, HIDDEN, 0.5)}));
    assert_eq!(client.ask(&wide)["soft_prefix"]["len"], 127);
}

#[test]
fn words_as_a_prefix_are_the_rows_that_the_unit_returns_for_them() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 300));
    let embedded = client.ask(&request(
        "e",
        &task,
        "softprefix.embed",
        "None",
        json!({"text": "the land"}),
    ));
    assert_eq!(embedded["object"], "softprefix.embed");
    let data = &embedded["data"];
    assert_eq!(data["len"], data["tokens"].as_array().unwrap().len());
    let texts: String = data["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts, "the land");
    let words = json!({"len": data["len"], "data_b64": data["data_b64"]});
    assert_eq!(
        client.ask(&infer_with("p", &task, "x", json!({"soft_prefix": words})))["soft_prefix"]["len"],
        data["len"]
    );
}

#[test]
fn the_vocabulary_and_the_budget_are_reported() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 300));
    let vocabulary = client.ask(&bare("v", &task, "softprefix.vocabulary"));
    let data = &vocabulary["data"];
    assert_eq!(data["hidden_size"], HIDDEN);
    let norm = |key: &str| data["percentiles"][key].as_f64().unwrap();
    assert!(0.0 < norm("1") && norm("1") <= norm("50") && norm("50") <= norm("99"));
    assert!(norm("99") <= data["max"].as_f64().unwrap());
    let budget = client.ask(&request(
        "b",
        &task,
        "softprefix.budget",
        "None",
        json!({"text": "xyz"}),
    ))["data"]
        .clone();
    assert_eq!((&budget["prompt"], &budget["window"]), (&json!(3), &json!(300)));
    let used = budget["template"].as_u64().unwrap() as usize + 3;
    // The budget is exact: a prefix up to the last position leaves one token, and one more row is refused.
    let fits = infer_with(
        "p",
        &task,
        "xyz",
        json!({"soft_prefix": prefix(300 - used, HIDDEN, 0.01), "softprefix": {"usage": true}}),
    );
    let reply = client.ask(&fits);
    assert_eq!(
        (&reply["usage"]["completion_tokens"], &reply["usage"]["finish_reason"]),
        (&json!(1), &json!("window"))
    );
    let too_much = infer_with(
        "p",
        &task,
        "xyz",
        json!({"soft_prefix": prefix(301 - used, HIDDEN, 0.01)}),
    );
    assert_eq!(error(&client.ask(&too_much)).0, -32);
}

#[test]
fn taskinfo_describes_the_units_features() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 100));
    let info = client.ask(&bare("t", &task, "taskinfo"))["data"]["soft_prefix"].clone();
    assert_eq!(
        (&info["version"], &info["hidden_size"], &info["window"]),
        (&json!(1), &json!(HIDDEN), &json!(100))
    );
    let mut features = json!([
        "embed",
        "sample",
        "vocabulary",
        "budget",
        "nearest",
        "stop",
        "stream",
        "score",
        "drafts"
    ]);
    if cfg!(feature = "learn") {
        features.as_array_mut().unwrap().push(json!("learn"));
    }
    assert_eq!(info["features"], features);
    assert!(info["concurrency"].as_u64().unwrap() > 1);
    assert!(info["unit"].as_str().unwrap().starts_with("softprefix-unit "));
    assert!(info["backend"].as_str().unwrap().starts_with("cpu/"));
}

#[test]
fn taskinfo_reports_how_the_weights_were_converted() {
    let server = Server::start();
    let mut client = server.client();
    // Seven matrices in each of two layers, and the output matrix.
    for (model, kind, how) in [("tiny", "Q8_0", "exact"), ("halves", "F16", "rounded")] {
        let task = client.set_up(&whole(model, 100));
        let info = client.ask(&bare("t", &task, "taskinfo"));
        assert_eq!(
            info["data"]["soft_prefix"]["weights"],
            json!([{"count": 15, "how": how, "kind": kind}])
        );
    }
}

#[test]
fn usage_counts_input_and_output() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole(ENDLESS, 10_000));
    let options = json!({"softprefix": {"usage": true, "max_new_tokens": 9}, "soft_prefix": prefix(2, HIDDEN, 0.1)});
    let usage = client.ask(&infer_with("u", &task, "xyz", options))["usage"].clone();
    assert_eq!(
        (
            &usage["prefix_len"],
            &usage["prompt_tokens"],
            &usage["completion_tokens"]
        ),
        (&json!(2), &json!(3), &json!(9))
    );
    assert_eq!(usage["tokens"].as_array().unwrap().len(), 9);
    assert_eq!(usage["finish_reason"], "length");
    assert!(usage["prefill_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn an_inference_can_select_its_form_independently_of_its_task() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 300));
    let text = client.ask(&infer("w", &task, "hello"))["data"].clone();
    client.send(&infer_with(
        "s",
        &task,
        "hello",
        json!({"softprefix": {"stream": true}}),
    ));
    let (joined, last) = client.stream("s");
    assert_eq!(json!(joined), text);
    assert_eq!(last["object"], "llm.utf-8.stream");
    let frames = client.set_up(&streaming("tiny", 300));
    let reply = client.ask(&infer_with(
        "w",
        &frames,
        "hello",
        json!({"softprefix": {"stream": false}}),
    ));
    assert_eq!((&reply["data"], &reply["object"]), (&text, &json!("llm.utf-8")));
}

#[test]
fn max_token_len_counts_positions_as_on_the_stock_unit() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole(ENDLESS, 150));
    let usage = client.ask(&infer_with("u", &task, "xyz", json!({"softprefix": {"usage": true}})))["usage"].clone();
    let prompt = usage["template_tokens"].as_u64().unwrap() + usage["prompt_tokens"].as_u64().unwrap();
    // The last token is never fed, so it takes no position.
    assert_eq!(usage["completion_tokens"].as_u64().unwrap(), 150 - prompt + 1);
    assert_eq!(usage["finish_reason"], "window");
}

#[test]
fn a_pause_ends_running_inferences_with_a_normal_last_frame_and_delays_no_later_ones() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&streaming(ENDLESS, 20_000));
    client.send(&infer("long", &task, "hello"));
    client.next();
    client.send(&bare("pause", &task, "pause"));
    let mut paused = false;
    let mut finished = false;
    while !(paused && finished) {
        let reply = client.next();
        assert_eq!(reply["error"]["code"], 0);
        if reply["request_id"] == "pause" {
            paused = true;
        } else {
            finished = reply["data"]["finish"] == true;
            // It ends long before its 20,000 tokens.
            assert!(reply["data"]["index"].as_u64() < Some(15_000), "{reply}");
        }
    }
    client.send(&infer_up_to("next", &task, "hello", 4));
    assert_ne!(client.stream("next").0, "");
}

#[test]
fn an_exit_is_answered_after_the_last_frame() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&streaming(ENDLESS, 20_000));
    client.send(&infer("long", &task, "hello"));
    client.next();
    client.send(&bare("exit", &task, "exit"));
    let mut last = Value::Null;
    loop {
        let reply = client.next();
        if reply["request_id"] == "exit" {
            break;
        }
        last = reply;
    }
    assert_eq!(last["data"]["finish"], true);
    assert_eq!(error(&client.ask(&infer("i", &task, "x"))).0, -4);
    assert_eq!(error(&client.ask(&bare("e", &task, "exit"))).0, -6);
}

#[test]
fn one_inference_can_be_stopped_while_others_continue() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole(ENDLESS, 20_000));
    let limit = json!({"softprefix": {"max_new_tokens": 4000}});
    // In one piece, so that the short one has not ended before the stop is sent.
    let all = [
        infer("long", &task, "hello"),
        infer_with("short", &task, "hello", limit),
        request("stop", &task, "softprefix.stop", "None", json!({"request_id": "long"})),
    ];
    let all: String = all.iter().map(|message| format!("{message}\n")).collect();
    client.write(all.as_bytes());
    let mut order = Vec::new();
    for _ in 0..3 {
        let reply = client.next();
        assert_eq!(reply["error"]["code"], 0, "{reply}");
        order.push(reply["request_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(order.last().unwrap(), "short", "{order:?}");
}

/// A client whose replies wait at a gate, and with them the thread that sends them.
#[derive(Default)]
struct GatedClient(Gate);

impl ReplySink for GatedClient {
    fn send(&self, _: Vec<u8>) {
        self.0.pass(1);
    }
}

#[test]
fn an_inference_that_is_stopped_before_it_is_prepared_ends_in_its_form_with_its_prefix_confirmed_and_its_usage() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 300));
    // The thread that prepares inferences is kept by another one, which it refuses.
    let other = Arc::new(GatedClient::default());
    other.0.close();
    let peer = Peer::new("other", Arc::clone(&other) as Arc<dyn ReplySink>);
    server.unit.infer_text(&task, "refused", String::new(), &peer);
    other.0.step_until_together(1);
    let sent = prefix(3, HIDDEN, 2.0);
    let options = json!({"usage": true, "stream": true});
    client.send(&infer_with(
        "stopped",
        &task,
        "hello",
        json!({"soft_prefix": sent, "softprefix": options}),
    ));
    let stop = request(
        "stop",
        &task,
        "softprefix.stop",
        "None",
        json!({"request_id": "stopped"}),
    );
    assert_eq!(client.ask(&stop)["request_id"], "stop", "the inference waits");
    other.0.open();
    let (text, last) = client.stream("stopped");
    assert_eq!(text, "");
    assert_eq!(
        last["soft_prefix"],
        json!({"len": 3, "hidden_size": HIDDEN, "sha256": sha256_of(&sent)})
    );
    let usage = &last["usage"];
    assert_eq!(
        (
            &usage["finish_reason"],
            &usage["prefix_len"],
            &usage["completion_tokens"]
        ),
        (&json!("stopped"), &json!(3), &json!(0))
    );
    client.expect_no_reply();
}

#[test]
fn a_stream_that_fails_gets_an_error_and_one_that_has_begun_also_its_final_frame() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&streaming(ENDLESS, 20_000));
    server.gate.fail_next_step();
    assert_eq!(error(&client.ask(&infer("at once", &task, "hello"))).0, -11);
    client.expect_no_reply();

    client.send(&infer("later", &task, "hello"));
    assert_eq!(client.next()["data"]["index"], 0);
    server.gate.fail_next_step();
    let failed = std::iter::repeat_with(|| client.next()).find(|reply| error(reply).0 != 0);
    assert_eq!(error(&failed.unwrap()).0, -11);
    let last = client.next();
    assert_eq!(
        (&last["request_id"], &last["data"]["finish"]),
        (&json!("later"), &json!(true))
    );
    client.expect_no_reply();
}

#[test]
fn another_clients_query_does_not_redirect_a_stream() {
    let server = Server::start();
    let (mut a, mut b) = (server.client(), server.client());
    let task = a.set_up(&streaming(ENDLESS, 20_000));
    a.send(&infer_up_to("ia", &task, "hello", 300));
    a.next();
    assert_eq!(b.ask(&bare("tb", &task, "taskinfo"))["request_id"], "tb");
    b.send(&infer_up_to("ib", &task, "hello", 30));
    let (_, last) = a.stream("ia");
    assert_eq!(last["data"]["finish"], true);
    b.stream("ib");
    b.expect_no_reply();
}

#[test]
fn two_tasks_of_one_model_share_it_and_it_stays_loaded_for_the_next() {
    let source = Arc::new(TinySource::new());
    let server = Server::serving(Arc::new(Unit::new(
        Arc::clone(&source) as Arc<dyn ModelSource>,
        UnitOptions::default(),
    )));
    let mut client = server.client();
    let loads = || source.loads.load(Ordering::Relaxed);
    let first = client.set_up(&whole("tiny", 127));
    let second = client.set_up(&whole("tiny", 300));
    assert_eq!(loads(), 1);
    let long = client.ask(&infer("l", &second, "hello"))["data"]
        .as_str()
        .unwrap()
        .to_owned();
    let short = client.ask(&infer("s", &first, "hello"))["data"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        long.starts_with(short.trim_end_matches('\u{fffd}')),
        "{short:?} {long:?}"
    );
    for task in [first, second] {
        assert_eq!(client.ask(&bare("x", &task, "exit"))["error"]["code"], 0);
    }
    let third = client.set_up(&whole("tiny", 300));
    assert_eq!(loads(), 1, "the next set-up is quick");
    assert_eq!(client.ask(&infer("l", &third, "hello"))["data"], long.as_str());
    client.set_up(&whole(ENDLESS, 300));
    assert_eq!(loads(), 2);
}

#[test]
fn a_set_up_waits_for_a_model_that_is_already_loading() {
    let source = Arc::new(TinySource::new());
    let unit = Arc::new(Unit::new(
        Arc::clone(&source) as Arc<dyn ModelSource>,
        UnitOptions::default(),
    ));
    let server = Server::serving(Arc::clone(&unit));
    source.loading.close();
    let preloading = std::thread::spawn(move || unit.preload("tiny"));
    let patience = Instant::now() + Duration::from_secs(20);
    while source.loads.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < patience, "it is being loaded");
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut client = server.client();
    for id in ["first", "second"] {
        client.send(&request(id, "llm", "setup", "llm.setup", whole("tiny", 300)));
    }
    assert_eq!(client.ask(&bare("p", "sys", "ping"))["request_id"], "p");
    source.loading.open();
    for _ in 0..2 {
        assert_eq!(error(&client.next()).0, 0);
    }
    preloading.join().unwrap().unwrap();
    assert_eq!(source.loads.load(Ordering::Relaxed), 1);
}

#[test]
fn results_are_not_sent_to_the_client_if_enoutput_is_off() {
    let server = Server::start();
    let mut client = server.client();
    let mut data = whole("tiny", 127);
    data["enoutput"] = json!(false);
    let task = client.set_up(&data);
    client.send(&infer("quiet", &task, "hello"));
    client.wait_until_queued(&task);
    server.wait_until_idle();
    // Errors are still sent to their client.
    let refused = client.ask(&infer("loud", &task, ""));
    assert_eq!((&refused["request_id"], error(&refused).0), (&json!("loud"), -34));
}

#[test]
fn reset_ends_all_tasks_and_keeps_the_connections() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&streaming(ENDLESS, 20_000));
    client.send(&infer("long", &task, "hello"));
    client.next();
    client.send(&bare("reset", "sys", "reset"));
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let reply = client.next();
        if reply["request_id"] == "reset" {
            assert_eq!(
                reply["error"],
                json!({"code": 0, "message": "llm server restarting ..."})
            );
            seen.push("reset");
        } else if reply["data"]["finish"] == true {
            seen.push("finish");
        }
    }
    assert_eq!(client.ask(&bare("t", "llm", "taskinfo"))["data"], json!([]));
}

#[test]
fn a_panic_while_loading_is_reported_and_frees_the_slot() {
    let server = Server::with(UnitOptions {
        max_tasks: 1,
        ..UnitOptions::default()
    });
    let mut client = server.client();
    let set_up = |model: &str| request("s", "llm", "setup", "llm.setup", whole(model, 64));
    let reply = client.ask(&set_up(PANICS_WHILE_LOADING));
    assert_ne!(reply["error"]["code"], 0, "{reply}");
    let message = reply["error"]["message"].as_str().unwrap();
    assert!(message.contains("failed unexpectedly; see the log"), "{message}");
    assert_eq!(client.ask(&set_up("tiny"))["error"]["code"], 0);
}

/// A directory that opens no task before the gate is opened.
struct GatedDirectory {
    numbers: LocalDirectory,
    opening: Gate,
}

impl Directory for GatedDirectory {
    fn register(&self) -> Result<Registration, String> {
        self.numbers.register()
    }

    fn open(&self, _: &Opening<'_>) -> Result<(), String> {
        self.opening.pass(1);
        Ok(())
    }
}

#[test]
fn a_task_that_is_being_connected_takes_one_slot() {
    let directory = Arc::new(GatedDirectory {
        numbers: LocalDirectory::default(),
        opening: Gate::default(),
    });
    let options = UnitOptions {
        max_tasks: 2,
        ..UnitOptions::default()
    };
    let unit = Unit::with_directory(
        Arc::new(TinySource::new()),
        options,
        Arc::clone(&directory) as Arc<dyn Directory>,
    );
    let server = Server::serving(Arc::new(unit));
    let mut client = server.client();
    let set_up = |id: &str| request(id, "llm", "setup", "llm.setup", whole("tiny", 64));
    directory.opening.close();
    client.send(&set_up("first"));
    directory.opening.step_until_together(1);
    client.send(&set_up("second"));
    let refused = client.ask(&set_up("third"));
    assert_eq!((&refused["request_id"], error(&refused).0), (&json!("third"), -21));
    directory.opening.open();
    // Both are connected at once, so either may be ready first.
    let mut ready = [client.next(), client.next()].map(|reply| {
        assert_eq!(error(&reply).0, 0, "{reply}");
        reply["request_id"].to_string()
    });
    ready.sort();
    assert_eq!(ready, ["\"first\"", "\"second\""]);
}

/// A directory that assigns numbers and fails to release them.
struct FailingDirectory(AtomicU32);

impl Directory for FailingDirectory {
    fn register(&self) -> Result<Registration, String> {
        let number = 1000 + self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Registration { number, outlet: None })
    }

    fn release(&self, work_id: &str, then: Box<dyn FnOnce(Result<(), String>) + Send>) {
        then(Err(format!(
            "{work_id} has ended, but its number was not given back: nobody answers"
        )));
    }
}

#[test]
fn a_number_that_cannot_be_released_is_reported_in_the_exits_reply() {
    let directory = Arc::new(FailingDirectory(AtomicU32::new(0)));
    let unit = Unit::with_directory(Arc::new(TinySource::new()), UnitOptions::default(), directory);
    let server = Server::serving(Arc::new(unit));
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 64));
    let reply = client.ask(&bare("e", &task, "exit"));
    assert_eq!(reply["error"]["code"], 0, "the task has ended all the same: {reply}");
    let message = reply["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("its number was not given back: nobody answers"),
        "{message}"
    );
    let tasks = client.ask(&bare("t", "llm", "taskinfo"))["data"].clone();
    assert_eq!(tasks, json!([]));
}
