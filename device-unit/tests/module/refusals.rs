//! Invalid input gets a clear error, and later valid input is answered.

use serde_json::{Value, json};

use crate::common::*;

fn task(client: &mut Client) -> String {
    client.set_up(&whole("tiny", 300))
}

/// Checks that a request is refused with `code` and a message that contains `words`, and that a valid one is answered afterwards.
fn refused(client: &mut Client, task: &str, more: Value, code: i64, words: &[&str]) {
    let reply = client.ask(&infer_with("bad", task, "hello", more));
    let (found, message) = error(&reply);
    assert_eq!(found, code, "{message}");
    for word in words {
        assert!(message.contains(word), "{message:?} names {word:?}");
    }
    assert_eq!((&reply["request_id"], &reply["work_id"]), (&json!("bad"), &json!(task)));
    assert_eq!(client.ask(&infer("good", task, "hello"))["error"]["code"], 0);
}

#[test]
fn a_text_that_the_chat_template_refuses_is_no_matter_of_its_length() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("picky", 300));
    let (code, message) = error(&client.ask(&infer("bad", &task, "six")));
    assert_eq!(code, -35, "{message}");
    assert!(
        message.contains("chat template") && message.contains("no x, please"),
        "{message}"
    );
    assert_eq!(client.ask(&infer("good", &task, "seven"))["error"]["code"], 0);
}

#[test]
fn a_prefix_of_the_wrong_width_is_refused_with_both_sizes_and_h() {
    let server = Server::start();
    let mut client = server.client();
    let task = task(&mut client);
    let wrong = json!({"soft_prefix": prefix(2, 896, 0.5)});
    refused(&mut client, &task, wrong, -30, &["3584 bytes", "256 bytes", "H = 64"]);
}

#[test]
fn a_prefix_that_is_not_base64_is_refused() {
    let server = Server::start();
    let mut client = server.client();
    let task = task(&mut client);
    refused(
        &mut client,
        &task,
        json!({"soft_prefix": {"len": 1, "data_b64": "%%%"}}),
        -30,
        &["base64"],
    );
    refused(
        &mut client,
        &task,
        json!({"soft_prefix": {"len": 1, "data_b64": 7}}),
        -30,
        &["data_b64"],
    );
    refused(
        &mut client,
        &task,
        json!({"soft_prefix": {"len": 1}}),
        -30,
        &["data_b64"],
    );
    refused(
        &mut client,
        &task,
        json!({"soft_prefix": "AAAA"}),
        -30,
        &["soft_prefix"],
    );
}

#[test]
fn a_length_that_is_zero_negative_huge_or_not_a_number_is_refused() {
    let server = Server::start();
    let mut client = server.client();
    let task = task(&mut client);
    let data = prefix(1, HIDDEN, 0.5)["data_b64"].clone();
    for len in [
        json!(0),
        json!(-1),
        json!(1e18),
        json!(18446744073709551615u64),
        json!("1"),
        json!(null),
        json!(1.5),
        json!([1]),
    ] {
        refused(
            &mut client,
            &task,
            json!({"soft_prefix": {"len": len, "data_b64": data}}),
            -30,
            &[],
        );
    }
}

#[test]
fn a_prefix_with_nan_or_infinity_is_refused() {
    let server = Server::start();
    let mut client = server.client();
    let task = task(&mut client);
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        refused(
            &mut client,
            &task,
            json!({"soft_prefix": prefix(1, HIDDEN, value)}),
            -31,
            &["finite"],
        );
    }
}

#[test]
fn a_prefix_in_plain_form_is_refused_instead_of_used_as_the_prompt() {
    let server = Server::start();
    let mut client = server.client();
    let task = task(&mut client);
    let mut plain = infer_with("bad", &task, "hello", json!({"soft_prefix": prefix(1, HIDDEN, 0.5)}));
    plain["object"] = json!("llm.utf-8");
    assert_eq!(error(&client.ask(&plain)).0, -33);
    refused(
        &mut client,
        &task,
        json!({"finish": false, "soft_prefix": prefix(1, HIDDEN, 0.5)}),
        -33,
        &["finish"],
    );
}

#[test]
fn prefix_and_prompt_beyond_the_window_are_refused_with_the_three_numbers() {
    let server = Server::start();
    let mut client = server.client();
    let task = task(&mut client);
    let budget = client.ask(&request(
        "b",
        &task,
        "softprefix.budget",
        "None",
        json!({"text": "hello"}),
    ))["data"]
        .clone();
    let prompt = budget["template"].as_u64().unwrap() + budget["prompt"].as_u64().unwrap();
    let more = json!({"soft_prefix": prefix(299, HIDDEN, 0.5)});
    refused(&mut client, &task, more, -32, &["299", &prompt.to_string(), "300"]);
    let wide = client.set_up(&whole("tiny", 5000));
    let reply = client.ask(&infer("bad", &wide, &"x".repeat(600)));
    let (code, message) = error(&reply);
    assert_eq!(code, -32);
    assert!(message.contains("512"), "the engine's window: {message}");
    assert_eq!(error(&client.ask(&infer("bad", &wide, &"x".repeat(4_000_000)))).0, -32);
}

#[test]
fn an_empty_prompt_is_refused() {
    let server = Server::start();
    let mut client = server.client();
    let task = task(&mut client);
    assert_eq!(error(&client.ask(&infer("e", &task, ""))).0, -34);
    assert_eq!(
        error(&client.ask(&bare("e", &task, "inference"))).0,
        -34,
        "no data at all"
    );
    assert_eq!(
        error(&client.ask(&infer_with(
            "e",
            &task,
            "",
            json!({"soft_prefix": prefix(1, HIDDEN, 0.5)})
        )))
        .0,
        -34
    );
}

#[test]
fn options_of_the_wrong_type_are_refused() {
    let server = Server::start();
    let mut client = server.client();
    let task = task(&mut client);
    for options in [
        json!({"max_new_tokens": 0}),
        json!({"max_new_tokens": -5}),
        json!({"usage": "yes"}),
        json!([]),
    ] {
        refused(
            &mut client,
            &task,
            json!({"softprefix": options}),
            -22,
            &["max_new_tokens"],
        );
    }
}

#[test]
fn frames_out_of_order_and_invalid_base64_are_refused_to_their_sender() {
    let server = Server::start();
    let (mut a, mut b) = (server.client(), server.client());
    let task = task(&mut a);
    refused(&mut b, &task, json!({"index": 3}), -25, &["index"]);
    let reply = b.ask(&request("bad", &task, "inference", "llm.utf-8.base64", json!("!!!!")));
    assert_eq!(
        reply["error"],
        json!({"code": -23, "message": "Base64 decoding error."})
    );
    // No other client gets the error.
    a.expect_no_reply();
}

#[test]
fn a_third_task_is_refused_until_one_ends() {
    let server = Server::start();
    let mut client = server.client();
    let first = task(&mut client);
    task(&mut client);
    let third = request("third", "llm", "setup", "llm.setup", whole("tiny", 127));
    let reply = client.ask(&third);
    assert_eq!(
        (error(&reply), &reply["work_id"]),
        ((-21, "task full".into()), &json!("llm"))
    );
    client.ask(&bare("e", &first, "exit"));
    assert_eq!(client.ask(&third)["error"]["code"], 0);
}

#[test]
fn an_unknown_truncated_or_unsupported_model_is_refused_with_a_message() {
    let server = Server::start();
    let mut client = server.client();
    for (model, word) in [
        ("nosuch", "nosuch"),
        ("truncated", "truncated.gguf"),
        ("strange", "mamba"),
        ("text", "text.gguf"),
    ] {
        let reply = client.ask(&request("s", "llm", "setup", "llm.setup", whole(model, 127)));
        let (code, message) = error(&reply);
        assert_eq!(code, -5);
        assert!(
            message.starts_with("Model loading failed. ") && message.contains(word),
            "{message}"
        );
    }
    assert_eq!(
        client.ask(&bare("t", "llm", "taskinfo"))["data"],
        json!([]),
        "a failed set-up leaves no task"
    );
    task(&mut client);
}

#[test]
fn set_up_keys_of_the_wrong_type_are_refused() {
    let server = Server::start();
    let mut client = server.client();
    for (key, value) in [
        ("max_token_len", json!("127")),
        ("max_token_len", json!(-1)),
        ("top_k", json!("ten")),
        ("temperature", json!("hot")),
    ] {
        let mut data = whole("tiny", 127);
        data[key] = value;
        let (code, message) = error(&client.ask(&request("s", "llm", "setup", "llm.setup", data)));
        assert_eq!(code, -5);
        assert!(message.contains(key), "{message}");
    }
}

#[test]
fn an_inference_on_a_task_without_client_input_is_refused_instead_of_ignored() {
    let server = Server::start();
    let mut client = server.client();
    let mut data = whole("tiny", 127);
    data.as_object_mut().unwrap().remove("input");
    let task = client.set_up(&data);
    assert_eq!(error(&client.ask(&infer("i", &task, "hello"))).0, -4);
}

#[test]
fn actions_that_control_the_machine_are_refused() {
    let server = Server::start();
    let mut client = server.client();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("made");
    let command = format!("touch {}", file.display());
    let object = format!("sys.utf-8.file.{}", file.display());
    for (action, object, data) in [
        ("bashexec", "sys.utf-8", json!(command)),
        (
            "bashexec",
            "sys.utf-8.stream",
            json!({"index": 0, "delta": command, "finish": true}),
        ),
        ("push", &object, json!("text")),
        ("pull", "sys.base64.file./etc/hostname", json!("None")),
        ("update", "sys.x", json!("None")),
        ("upgrade", "sys.x", json!("llm_update_1.deb")),
        ("rmmode", "sys.x", json!("x")),
        ("reboot", "sys.x", json!("None")),
        ("uartsetup", "sys.uartsetup", json!({"baud": 115200})),
    ] {
        let (code, message) = error(&client.ask(&request("r", "sys", action, object, data)));
        assert_eq!(code, -3, "{action}");
        assert!(message.contains(action), "{message}");
    }
    assert!(!file.exists());
    // On the stock module these crash llm-sys if their data is missing; here they are refused like any other.
    for action in ["bashexec", "push", "pull", "rmmode", "uartsetup"] {
        assert_eq!(error(&client.ask(&bare("r", "sys", action))).0, -3);
    }
}
