//! How messages become bytes and bytes messages; what cards, codes and text streams say. The stock programs' habits are played by
//! small models of them: a brace counter and a text search, as they were observed.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use softprefix_core::protocol::card::ModelCard;
use softprefix_core::protocol::frame::{DEFAULT_LIMIT, is_field_name};
use softprefix_core::protocol::message::{CmmInfo, object, to_data};
use softprefix_core::protocol::{
    Code, DeltaJoiner, ErrorField, FrameError, FrameReader, Reply, Request, Sampling, SetUp, StreamData, StreamInput,
    TaskInfo, Utf8Cutter, encode,
};

const SYS: &str = include_str!("fixtures/conversations/sys.txt");
const LLM: &str = include_str!("fixtures/conversations/llm.txt");
const SOFT_PREFIX: &str = include_str!("fixtures/conversations/soft_prefix.txt");
const SPLIT: &str = include_str!("fixtures/conversations/split_utf8.txt");
const RESTART: &str = include_str!("fixtures/conversations/restart.txt");

const OPEN: &[u8] = b"{";

/// Every byte the stock programs sent in a recorded conversation, missing newlines included.
fn replies_of(conversation: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in conversation.lines() {
        if let Some(text) = line.strip_prefix("< ") {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(b'\n');
        } else if let Some(text) = line.strip_prefix("<! ") {
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

fn requests_of(conversation: &str) -> Vec<&str> {
    conversation
        .lines()
        .filter_map(|line| line.strip_prefix("> "))
        .collect()
}

/// Reads everything that `chunks` hold; panics on errors.
fn read_all<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut reader = FrameReader::default();
    let mut frames = Vec::new();
    for chunk in chunks {
        reader.push(chunk);
        while let Some(frame) = reader.next().unwrap() {
            frames.push(frame);
        }
    }
    reader.push(b"}");
    assert_eq!(reader.next(), Err(FrameError::Unbalanced), "the last message has ended");
    frames
}

/// What llm-sys would take for messages: braces counted, in strings too, unless a backslash stands before them.
fn stock_messages(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut messages, mut text, mut depth) = (Vec::new(), Vec::new(), 0);
    for (at, &byte) in bytes.iter().enumerate() {
        text.push(byte);
        let escaped = at > 0 && bytes[at - 1] == b'\\';
        match byte {
            b'{' if !escaped => depth += 1,
            b'}' if !escaped => depth -= 1,
            _ => {}
        }
        assert!(depth >= 0, "llm-sys would answer -1");
        if depth == 0 {
            if text.starts_with(b"{") && text.ends_with(b"}") {
                messages.push(text.clone());
            }
            text.clear();
        }
    }
    assert!(text.is_empty(), "llm-sys would wait for more");
    messages
}

/// What a stock unit would take for the string value of `key`: the first textual hit, up to the next quote that no backslash
/// precedes, unescaped by hand.
fn stock_string(text: &str, key: &str) -> String {
    let from = text.find(&format!("\"{key}\"")).unwrap() + key.len() + 2;
    let from = from + text[from..].find('"').unwrap() + 1;
    let bytes = text.as_bytes();
    let end = (from..bytes.len())
        .find(|&at| bytes[at] == b'"' && (at == from || bytes[at - 1] != b'\\'))
        .unwrap();
    let mut out = String::new();
    let mut chars = text[from..end].chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next().unwrap() {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'b' => out.push('\u{8}'),
            'u' => {
                let code: String = chars.by_ref().take(4).collect();
                out.push(char::from_u32(u32::from_str_radix(&code, 16).unwrap()).unwrap());
            }
            other => out.push(other),
        }
    }
    out
}

fn inference(text: &str) -> Request {
    Request::new("r1", "llm.1000", "inference").with(object::TEXT, text.into())
}

fn awkward_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just("\\".to_owned()),
        Just("\"".to_owned()),
        Just("\n".to_owned()),
        Just("\u{c}".to_owned()),
        Just("😀".to_owned()),
        Just("日本".to_owned()),
        Just("data".to_owned()),
        Just("\"data\"".to_owned()),
        Just("\\u007b".to_owned()),
        "[ -~]{0,6}",
        any::<char>()
            .prop_filter("a NUL ends a stock unit's string", |c| *c != '\0')
            .prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn awkward_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        awkward_text().prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((awkward_text(), inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn any_message_is_read_back_the_same_and_its_braces_balance_for_llm_sys(data in awkward_value(), id in awkward_text()) {
        let request = Request { request_id: id, ..Request::new("", "llm", "setup").with("llm.setup", json!({"x": data})) };
        let bytes = encode(&request);
        prop_assert_eq!(bytes.iter().filter(|&&byte| byte == b'\n').count(), 1);
        prop_assert_eq!(bytes.last(), Some(&b'\n'));
        prop_assert_eq!(serde_json::from_slice::<Request>(&bytes).unwrap(), request);
        prop_assert_eq!(stock_messages(&bytes[..bytes.len() - 1]), vec![bytes[..bytes.len() - 1].to_vec()]);
        prop_assert_eq!(read_all([&bytes[..]]), vec![bytes[..bytes.len() - 1].to_vec()]);
    }

    #[test]
    fn a_stock_unit_finds_any_prompt_as_it_was_written(text in awkward_text()) {
        let bytes = String::from_utf8(encode(&inference(&text))).unwrap();
        prop_assert_eq!(stock_string(&bytes, "data"), &text[..]);
        prop_assert_eq!(stock_string(&bytes, "request_id"), "r1");
        let frame = StreamInput { index: 0, finish: true, delta: text.clone(), soft_prefix: None, options: None };
        let request = Request::new("r1", "llm.1000", "inference").with(object::STREAM, to_data(&frame));
        let bytes = String::from_utf8(encode(&request)).unwrap();
        prop_assert_eq!(stock_string(&bytes, "delta"), text);
        let data = &bytes[bytes.find("\"data\"").unwrap()..];
        prop_assert!(data[data.find("\"index\"").unwrap()..].starts_with("\"index\":0"));
        prop_assert!(data[data.find("\"finish\"").unwrap()..].starts_with("\"finish\":true"));
    }

    #[test]
    fn messages_survive_being_cut_anywhere(values in prop::collection::vec(awkward_value(), 1..5), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20), newline in any::<bool>()) {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for value in values {
            let message = serde_json::to_vec(&json!({"v": value})).unwrap();
            bytes.extend_from_slice(&message);
            if newline {
                bytes.extend_from_slice(b"\r\n");
            }
            expected.push(message);
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        prop_assert_eq!(read_all(cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]])), expected);
    }

    #[test]
    fn the_reader_never_panics_and_never_holds_more_than_its_limit(chunks in prop::collection::vec(prop::collection::vec(prop_oneof![Just(b'{'), Just(b'}'), Just(b'"'), Just(b'\\'), Just(b'\n'), any::<u8>()], 0..40), 0..8)) {
        let mut reader = FrameReader::new(64);
        for chunk in chunks {
            reader.push(&chunk);
            loop {
                match reader.next() {
                    Ok(None) => break,
                    Ok(Some(frame)) => prop_assert!(frame.len() <= 64 && frame.starts_with(OPEN)),
                    Err(FrameError::TooLarge { .. }) => break,
                    Err(_) => {}
                }
            }
        }
    }

    #[test]
    fn cut_characters_join_to_the_whole_text(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xF0), Just(0x9F), Just(0x98), Just(0x80), Just(b'a')], 0..60), size in 1usize..7) {
        let mut cutter = Utf8Cutter::new();
        let mut text: String = bytes.chunks(size).map(|chunk| cutter.push(chunk)).collect();
        text.push_str(&cutter.finish());
        prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn braces_backslashes_and_form_feeds_are_written_as_the_stock_programs_need_them() {
    let written = |text: &str| {
        let bytes = String::from_utf8(encode(&inference(text))).unwrap();
        bytes
            .split_once("\"data\":")
            .unwrap()
            .1
            .trim_end()
            .trim_end_matches('}')
            .to_owned()
    };
    assert_eq!(written("a {b} c"), r#""a \u007bb\u007d c""#);
    assert_eq!(written("C:\\"), r#""C:\u005c""#);
    assert_eq!(written("\\\\"), r#""\\\u005c""#);
    assert_eq!(written("\\{"), r#""\\\u007b""#);
    assert_eq!(written("a\\nb"), r#""a\\nb""#);
    assert_eq!(written("\\\""), r#""\\\"""#);
    assert_eq!(written("日本 😀\n"), "\"日本 😀\\n\"");
    assert_eq!(written("\u{c}"), r#""\u000c""#);
    assert_eq!(written("index"), r#""\u0069ndex""#);
    assert_eq!(written("indexes"), r#""indexes""#);
    assert!(is_field_name("data") && !is_field_name("sp-1"));
}

#[test]
fn every_recorded_conversation_is_read_value_by_value_at_every_cut() {
    for conversation in [SYS, LLM, SOFT_PREFIX, SPLIT, RESTART] {
        let count = conversation.lines().filter(|line| line.starts_with('<')).count();
        let bytes = replies_of(conversation);
        for size in [1, 2, 3, 7, 64, 4096, bytes.len()] {
            let frames = read_all(bytes.chunks(size));
            assert_eq!(frames.len(), count, "in pieces of {size}");
            for frame in frames {
                let reply: Reply = serde_json::from_slice(&frame).unwrap();
                assert!(reply.created > 1_700_000_000);
                if reply.request_id == "0" {
                    assert!(!reply.error.code.is_ok());
                    continue;
                }
                // Read and written again, a reply is the same bytes: keys in order, compact, raw UTF-8.
                assert_eq!(
                    encode(&reply)[..encode(&reply).len() - 1],
                    frame[..],
                    "{}",
                    String::from_utf8_lossy(&frame)
                );
            }
        }
    }
}

#[test]
fn every_recorded_request_that_is_one_is_read_as_one() {
    for line in [LLM, SPLIT, RESTART].into_iter().flat_map(requests_of) {
        let request: Request = serde_json::from_str(line).unwrap();
        if request.action == "setup" && request.request_id != "sx" && request.request_id != "s6" {
            let set_up: SetUp = serde_json::from_value(request.data.unwrap()).unwrap();
            assert!(set_up.enoutput && set_up.input == ["llm.utf-8"]);
        }
    }
    let refused = |line: &str| serde_json::from_str::<Request>(line).unwrap_err();
    refused(r#"{"request_id":7,"work_id":"sys","action":"ping"}"#);
    refused(r#"{"request_id":"r3","action":"ping"}"#);
    refused(r#"{"request_id":"r3","work_id":"sys"}"#);
    refused("{hello}");
    let odd: Request =
        serde_json::from_str(r#"{"more":1,"action":"a","work_id":"w","request_id":"r","object":5,"data":null}"#)
            .unwrap();
    assert_eq!((odd.object.as_deref(), odd.data), (Some("5"), None));
}

#[test]
fn a_reply_without_a_newline_may_share_its_line_with_the_next() {
    let bytes = br#"{"request_id": "0","work_id": "sys","created": 1,"error":{"code":-1, "message":"reace reset"}}{"created":1,"data":"None","error":{"code":0,"message":""},"object":"None","request_id":"b","work_id":"sys"}"#;
    let frames = read_all([&bytes[..]]);
    assert_eq!(frames.len(), 2);
    let first: Reply = serde_json::from_slice(&frames[0]).unwrap();
    assert_eq!(
        (first.error.code, &first.object[..], &first.data),
        (Code::RESET, "", &json!("None"))
    );
}

#[test]
fn sixteen_mebibytes_pass_and_one_byte_more_does_not() {
    let mut message = b"{\"data\":\"".to_vec();
    message.resize(DEFAULT_LIMIT - 2, b'x');
    message.extend_from_slice(b"\"}");
    let frames = read_all(message.chunks(1 << 16));
    assert_eq!(frames[0].len(), DEFAULT_LIMIT);
    let mut reader = FrameReader::default();
    message.insert(9, b'x');
    let error = message.chunks(1 << 16).find_map(|chunk| {
        reader.push(chunk);
        reader.next().err()
    });
    let error = error.unwrap();
    assert_eq!(error, FrameError::TooLarge { limit: DEFAULT_LIMIT });
    assert!(error.to_string().contains("16777216 bytes"));
    reader.push(b"{}");
    assert!(reader.next().is_err(), "there is no way back into step");
}

#[test]
fn a_flood_without_a_newline_is_reported_once_and_not_kept() {
    let mut reader = FrameReader::new(1 << 20);
    let mut reports = 0;
    for _ in 0..1600 {
        reader.push(&[b'x'; 1 << 16]);
        while let Err(error) = reader.next() {
            assert!(matches!(error, FrameError::Garbage { .. }));
            reports += 1;
        }
    }
    assert_eq!(reports, 1);
    reader.push(b"\n{\"a\":1}");
    assert_eq!(reader.next().unwrap().unwrap(), b"{\"a\":1}");
}

#[test]
fn ten_thousand_messages_in_one_piece_are_ten_thousand_messages() {
    let mut bytes = Vec::new();
    for n in 0..10_000 {
        bytes.extend_from_slice(&encode(&Request::new(format!("r{n}"), "sys", "ping")));
    }
    assert_eq!(read_all([&bytes[..]]).len(), 10_000);
}

#[test]
fn what_is_no_json_ends_where_llm_sys_ends_it_and_the_next_message_is_read() {
    let mut reader = FrameReader::default();
    let mut next = |bytes: &[u8]| {
        reader.push(bytes);
        reader.next()
    };
    let ping = br#"{"request_id":"p","work_id":"sys","action":"ping"}"#;
    assert_eq!(next(b"{hello}").unwrap().unwrap(), b"{hello}");
    assert_eq!(
        next(b"{\"data\":\"line1\nline2\"}").unwrap().unwrap(),
        b"{\"data\":\"line1\nline2\"}"
    );
    assert_eq!(next(ping).unwrap().unwrap(), ping);
    // A quote without its partner would otherwise swallow everything to come.
    assert_eq!(next(b"{\"abc}\n").unwrap().unwrap(), b"{\"abc}\n");
    assert_eq!(next(ping).unwrap().unwrap(), ping);
    assert_eq!(next(b"}"), Err(FrameError::Unbalanced));
    assert_eq!(next(ping).unwrap().unwrap(), ping);
    assert_eq!(next(b"{\"a\n{\"} }").unwrap().unwrap(), b"{\"a\n{\"} }");
    assert!(
        matches!(next(b"HTTP/1.1 400 Bad Request\r\n"), Err(FrameError::Garbage { excerpt }) if excerpt.starts_with("HTTP/1.1 400"))
    );
    assert_eq!(next(ping).unwrap().unwrap(), ping);
}

#[test]
fn an_object_inside_an_array_is_found_as_llm_sys_finds_it() {
    let mut reader = FrameReader::default();
    reader.push(br#"[{"a":1},{"a":2}]"#);
    let mut frames = Vec::new();
    loop {
        match reader.next() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => break,
            Err(error) => assert!(!matches!(error, FrameError::TooLarge { .. })),
        }
    }
    assert_eq!(frames, [&br#"{"a":1}"#[..], br#"{"a":2}"#]);
}

#[test]
fn a_stream_frame_is_read_as_leniently_as_the_stock_unit_reads_it() {
    let read = |value: Value| serde_json::from_value::<StreamData>(value).unwrap();
    for yes in [json!(true), json!("true"), json!(1)] {
        assert!(read(json!({"delta": "a", "index": 0, "finish": yes})).finish);
    }
    assert!(read(json!({"delta": "a"})).finish);
    for no in [json!(false), json!("false"), json!("off")] {
        assert!(!read(json!({"delta": "a", "index": 0, "finish": no})).finish);
    }
    assert_eq!(read(json!({"delta": "a", "index": "0"})).index, 0);
    assert_eq!(
        read(json!({"delta": "a", "index": [], "soft_prefix": 5})).soft_prefix,
        Some(json!(5))
    );
}

#[test]
fn deltas_are_joined_in_the_order_of_arrival_with_any_indices() {
    let mut joiner = DeltaJoiner::new();
    for delta in ["日", "本", ""] {
        joiner.push(delta);
    }
    assert_eq!((joiner.text(), joiner.chunks()), ("日本", 2));
}

#[test]
fn a_character_is_held_back_until_it_is_whole() {
    let mut cutter = Utf8Cutter::new();
    assert_eq!(cutter.push("a日".as_bytes().split_at(2).0), "a");
    assert_eq!(cutter.push(&"日".as_bytes()[1..]), "日");
    assert_eq!(cutter.finish(), "");
    // These end in the byte BD, which is no reason to hold them back.
    assert_eq!(cutter.push("好½".as_bytes()), "好½");
}

#[test]
fn the_recorded_cards_have_name_width_and_window() {
    let reply = SYS
        .lines()
        .find(|line| line.contains("sys.lsmode"))
        .unwrap()
        .strip_prefix("< ")
        .unwrap();
    let reply: Reply = serde_json::from_str(reply).unwrap();
    let (cards, unreadable) = ModelCard::read_all(&reply.data);
    assert_eq!(unreadable, 0);
    let card = &cards[0];
    assert_eq!((&card.name[..], &card.kind[..]), ("qwen2.5-0.5B-prefill-20e", "llm"));
    assert_eq!((card.hidden_size, card.vocab_size), (Some(896), Some(151_936)));
    assert_eq!(
        (card.max_positions, card.window, card.prefill_window),
        (Some(127), Some(1023), Some(128))
    );
    assert!(!card.ours && card.is_language_model());
}

#[test]
fn odd_cards_are_read_as_far_as_they_can_be() {
    let (cards, unreadable) = ModelCard::read_all(&json!([
        {"mode": "a", "mode_param": {"tokens_embed_size": "1536", "max_token_len": 512.0}, "capabilities": "chat", "type": "llm"},
        {"mode": "b", "mode_param": [], "type": 5, "softprefix": {"version": 1}},
        {"mode": ""}, {"type": "llm"}, "text", null
    ]));
    assert_eq!((cards.len(), unreadable), (2, 4));
    assert_eq!(
        (cards[0].hidden_size, cards[0].max_positions, cards[0].window),
        (Some(1536), Some(512), Some(512))
    );
    assert_eq!(cards[0].capabilities, ["chat"]);
    assert!(cards[1].ours && !cards[1].is_language_model());
    assert_eq!(ModelCard::read_all(&json!("None")), (vec![], 0));
}

#[test]
fn a_set_up_is_written_as_the_stock_unit_expects_it() {
    let set_up = SetUp::new("qwen", "You {are} helpful")
        .streaming(true)
        .max_positions(256)
        .greedy();
    assert_eq!(
        to_data(&set_up),
        json!({
            "model": "qwen", "response_format": "llm.utf-8.stream", "enoutput": true, "prompt": "You {are} helpful",
            "input": "llm.utf-8", "max_token_len": 256, "enable_temperature": false, "enable_top_p_sampling": false,
            "enable_top_k_sampling": false, "enable_repetition_penalty": false
        })
    );
    let sampled = SetUp::new("q", "").sampling(&Sampling {
        temperature: Some(0.7),
        seed: Some(9),
        ..Sampling::default()
    });
    assert_eq!(sampled.settings["enable_temperature"], true);
    assert_eq!(
        (&sampled.settings["temperature"], &sampled.settings["seed"]),
        (&json!(0.7), &json!(9))
    );
    assert_eq!(serde_json::from_value::<SetUp>(to_data(&sampled)).unwrap(), sampled);
    for missing in ["model", "response_format", "enoutput", "prompt"] {
        let mut data = to_data(&set_up);
        data.as_object_mut().unwrap().remove(missing);
        assert!(serde_json::from_value::<SetUp>(data).is_err(), "{missing} is required");
    }
}

#[test]
fn task_information_distinguishes_our_unit_from_a_stock_one() {
    let stock = json!({"enoutput":true,"inputs":["llm.utf-8"],"model":"m","response_format":"llm.utf-8"});
    let info: TaskInfo = serde_json::from_value(stock.clone()).unwrap();
    assert_eq!(info.soft_prefix, None);
    assert_eq!(to_data(&info), stock);
    let mut ours = stock.clone();
    ours["soft_prefix"] = json!({"version": 1, "hidden_size": 896, "window": 1024, "features": ["embed", "stop"]});
    let support = serde_json::from_value::<TaskInfo>(ours).unwrap().soft_prefix.unwrap();
    assert!(support.has("stop") && !support.has("score"));
    let mut unreadable = stock;
    unreadable["soft_prefix"] = json!("yes");
    assert_eq!(
        serde_json::from_value::<TaskInfo>(unreadable).unwrap().soft_prefix,
        None
    );
}

#[test]
fn memory_that_a_board_without_an_npu_makes_up_is_read_as_none() {
    let read = |data: Value| serde_json::from_value::<CmmInfo>(data).unwrap();
    let real = CmmInfo {
        remain: 1_000_000,
        total: 3_145_728,
        used: 2_145_728,
    };
    assert_eq!(read(to_data(&real)), real);
    for made_up in [
        // As the stock llm-sys has sent it.
        json!({"remain": 0, "total": 9_853_867_305_873_377_280_u64, "used": 140_024_000_000_000_u64}),
        json!({"remain": 140_024_000_000_000_u64, "total": 94_000_000_000_000_u64, "used": 0}),
        json!({"remain": 7, "total": 5, "used": 0}),
        json!({"remain": -1, "total": 5, "used": 0}),
        json!({"remain": "much"}),
        json!({}),
    ] {
        assert_eq!(read(made_up), CmmInfo::default());
    }
}

#[test]
fn every_error_code_has_a_meaning_and_a_remedy() {
    let unknown = Code(-99);
    for code in Code::ALL {
        assert_ne!(code.meaning(), unknown.meaning(), "{code}");
        assert!(
            code.remedy().ends_with(['.', '?']) || code.remedy().ends_with(|c: char| c.is_alphanumeric()),
            "{code}"
        );
        assert_ne!(code.remedy(), unknown.remedy(), "{code}");
    }
    assert!(Code::UNIT_CALL.remedy().contains("GLIBCXX_3.4.30"));
    assert!(unknown.remedy().contains("journalctl"));
    // The spellings, errors of spelling included, are what clients of the stock programs compare with.
    for line in [SYS, LLM]
        .into_iter()
        .flat_map(str::lines)
        .filter_map(|line| line.strip_prefix("< "))
    {
        let reply: Reply = serde_json::from_str(line).unwrap();
        let stock = ErrorField::stock(reply.error.code);
        assert_eq!(
            reply.error.message.trim_end_matches('.'),
            stock.message.trim_end_matches('.')
        );
    }
}

#[test]
fn sizes_that_no_model_has_are_not_believed() {
    let huge = 1_000_000_000_000_u64;
    let card = json!({"mode": "m", "type": "llm", "compile_flage": "--prefill_len 99999999999 --kv_cache_len 99999999999",
                      "mode_param": {"tokens_embed_size": huge, "tokens_embed_num": huge, "max_token_len": huge.to_string()}});
    let card = ModelCard::read(&card).unwrap();
    assert_eq!((card.hidden_size, card.vocab_size), (None, None));
    assert_eq!((card.window, card.prefill_window), (None, None));

    let support = |hidden_size: u64, window: u64| {
        json!({"enoutput": true, "inputs": [], "model": "m", "response_format": "",
               "soft_prefix": {"version": 1, "hidden_size": hidden_size, "window": window, "concurrency": huge}})
    };
    let read = |info: Value| serde_json::from_value::<TaskInfo>(info).unwrap().soft_prefix;
    assert_eq!(read(support(huge, 9)), None);
    assert_eq!(read(support(896, huge)), None);
    assert_eq!(read(support(896, 9)).unwrap().concurrency, 1024);
}

#[test]
fn a_request_for_rows_is_read_without_a_tree_of_values() {
    use softprefix_core::protocol::extension::{EmbedRequest, NearestRequest};
    let read = |data: Value| serde_json::from_value::<EmbedRequest>(data);
    assert_eq!(
        read(json!({"text": "a", "x": [1]})).unwrap(),
        EmbedRequest::Text { text: "a".into() }
    );
    assert_eq!(
        read(json!({"tokens": [1, 2]})).unwrap(),
        EmbedRequest::Tokens { tokens: vec![1, 2] }
    );
    assert!(matches!(
        read(json!({"sample": {"count": 2, "seed": 7}})).unwrap(),
        EmbedRequest::Sample { .. }
    ));
    for wrong in [
        json!({}),
        json!([1]),
        json!({"tokens": [1, "2"]}),
        json!({"tokens": vec![7; (1 << 20) + 1]}),
    ] {
        assert!(read(wrong).is_err());
    }
    let nearest: NearestRequest = serde_json::from_value(json!({"len": 1, "data_b64": "AAA=", "k": 3})).unwrap();
    assert_eq!((nearest.rows.len, nearest.k), (1, 3));
    assert_eq!(
        serde_json::to_value(&nearest).unwrap(),
        json!({"len": 1, "data_b64": "AAA=", "k": 3})
    );
}
