//! Reads the input of an inference in any form: plain, in frames, as base64, or both.
//!
//! Frames are collected separately for each task, client and request; the stock unit has one buffer for all.

use std::collections::VecDeque;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use softprefix_core::prefix::SentPrefix;
use softprefix_core::protocol::extension::{InferenceOptions, MAX_DRAFT_TOKENS};
use softprefix_core::protocol::{Code, ErrorField};
use softprefix_core::sent::{Json, Object, Text};

use crate::budget::Charge;
use crate::request_text::Request;

/// Maximum number of partial prompts of one client.
const MAX_PARTIAL_PROMPTS_PER_CLIENT: usize = 64;
/// Maximum number of partial prompts of all clients.
const MAX_PARTIAL_PROMPTS: usize = 1024;
/// A flag's text is cut to this many bytes: enough for any spelling of false.
const FLAG_BYTES: usize = 4096;
/// An inference's options as JSON are cut to this many bytes, which makes longer ones unreadable (-22): each drafted id has at most ten
/// digits and a comma.
const OPTIONS_BYTES: usize = 4096 + 11 * MAX_DRAFT_TOKENS;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A complete input.
#[derive(Debug)]
pub struct Input {
    pub text: String,
    /// `soft_prefix` as sent, not decoded yet.
    pub prefix: Option<SentPrefix>,
    pub options: InferenceOptions,
    /// Whether options were sent, which only our own clients do.
    pub has_options: bool,
    /// Memory of the messages that contained the input.
    pub charge: Charge,
}

/// The `data` of a frame.
#[derive(Deserialize)]
struct Frame {
    #[serde(default)]
    delta: Text,
    index: Option<Text<32>>,
    #[serde(default)]
    finish: Text<FLAG_BYTES>,
    /// The prefix.
    soft_prefix: Option<SentPrefix>,
    /// [`InferenceOptions`] of our own clients, as JSON.
    #[serde(rename = "softprefix")]
    options: Option<Json<OPTIONS_BYTES>>,
}

/// Fields of a plain input's object that belong into a frame.
#[derive(Deserialize)]
struct MisplacedFields {
    #[serde(default, deserialize_with = "is_there")]
    soft_prefix: bool,
    #[serde(default, rename = "softprefix", deserialize_with = "is_there")]
    options: bool,
}

/// The name of a misplaced field in JSON.
fn misplaced(has_prefix: bool) -> &'static str {
    if has_prefix { "soft_prefix" } else { "softprefix" }
}

fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// Collects the frames of partial prompts.
#[derive(Debug, Default)]
pub struct Collector {
    partial_prompts: VecDeque<PartialPrompt>,
}

#[derive(Debug)]
struct PartialPrompt {
    work_id: String,
    client: Arc<str>,
    request_id: String,
    next_index: i64,
    text: String,
    /// Memory of the frames so far.
    charge: Charge,
}

impl Collector {
    /// Reads the data of one inference message. Returns `None` if more frames must follow.
    ///
    /// # Errors
    /// -25 ([`Code::STREAM_INDEX`]) for frames out of order and for data that is no frame, -23 ([`Code::BASE64`]) for invalid base64, -33
    /// ([`Code::PREFIX_UNUSABLE`]) for a prefix or options in the wrong place, -22 ([`Code::PARAMETER`]) for invalid options, -10
    /// ([`Code::NOT_AVAILABLE`]) for too many partial prompts.
    pub fn take(&mut self, client: &Arc<str>, request: Request) -> Result<Option<Input>, ErrorField> {
        let form = request.input_form();
        let mut input = if form.stream {
            match self.take_frame(client, request)? {
                Some(input) => input,
                None => return Ok(None),
            }
        } else {
            plain(request)?
        };
        if form.base64 {
            input.text = decode_base64(&input.text)?;
        }
        Ok(Some(input))
    }

    /// Drops the partial prompts of a disconnected client.
    pub fn remove_client(&mut self, client: &str) {
        self.partial_prompts.retain(|partial| &*partial.client != client);
    }

    /// Drops the partial prompts of a task that has ended.
    pub fn remove_task(&mut self, work_id: &str) {
        self.partial_prompts.retain(|partial| partial.work_id != work_id);
    }

    fn take_frame(&mut self, client: &Arc<str>, request: Request) -> Result<Option<Input>, ErrorField> {
        let frame = request
            .data::<Object<Frame>>()
            .ok()
            .flatten()
            .map(|Object(frame)| frame);
        let index = frame.as_ref().and_then(|frame| frame.index.as_ref());
        let index = index.and_then(|index| index.0.trim().parse::<i64>().ok());
        let place = self.find(client, &request, index);
        let mut partial = place.and_then(|place| self.partial_prompts.remove(place));
        // An invalid frame ends its prompt, and so does data that is no frame. The next prompt starts at index 0.
        let (Some(frame), Some(index)) = (frame, index) else {
            return Err(index_error());
        };
        if index == 0 {
            partial = None;
        } else if partial.as_ref().map(|partial| partial.next_index) != Some(index) {
            return Err(index_error());
        }
        // As on the stock unit, finish is true unless its text contains an f: a missing finish, 1 and "true" are true.
        let finish = !frame.finish.0.contains('f');
        let Request {
            request_id,
            work_id,
            mut charge,
            ..
        } = request;
        let text = match partial {
            Some(partial) => {
                charge.absorb(partial.charge);
                let mut text = partial.text;
                text.push_str(&frame.delta.0);
                text
            }
            None => frame.delta.0,
        };
        if finish {
            let has_options = frame.options.is_some();
            let options = frame.options.map(|options| read_options(&options.0)).transpose()?;
            return Ok(Some(Input {
                text,
                prefix: frame.soft_prefix,
                options: options.unwrap_or_default(),
                has_options,
                charge,
            }));
        }
        if frame.soft_prefix.is_some() || frame.options.is_some() {
            return Err(ErrorField::new(
                Code::PREFIX_UNUSABLE,
                format!(
                    "{} is in a frame with finish false, where it would have no effect; send it in the frame with finish true",
                    misplaced(frame.soft_prefix.is_some())
                ),
            ));
        }
        self.check_capacity(client)?;
        self.partial_prompts.push_back(PartialPrompt {
            work_id,
            client: Arc::clone(client),
            request_id,
            next_index: index.saturating_add(1),
            text,
            charge,
        });
        Ok(None)
    }

    /// Finds the prompt that a frame continues. Some clients use a new request_id for each frame: such a frame continues the client's only
    /// partial prompt if that expects its index.
    fn find(&self, client: &Arc<str>, request: &Request, index: Option<i64>) -> Option<usize> {
        let own = |partial: &PartialPrompt| partial.work_id == request.work_id && partial.client == *client;
        let same = |partial: &PartialPrompt| own(partial) && partial.request_id == request.request_id;
        self.partial_prompts.iter().position(same).or_else(|| {
            let index = index.filter(|&index| index > 0)?;
            let mut candidates = self
                .partial_prompts
                .iter()
                .enumerate()
                .filter(|(_, partial)| own(partial));
            let (place, only) = candidates.next()?;
            (candidates.next().is_none() && only.next_index == index).then_some(place)
        })
    }

    fn check_capacity(&self, client: &Arc<str>) -> Result<(), ErrorField> {
        let own = self
            .partial_prompts
            .iter()
            .filter(|partial| partial.client == *client)
            .count();
        if own >= MAX_PARTIAL_PROMPTS_PER_CLIENT || self.partial_prompts.len() >= MAX_PARTIAL_PROMPTS {
            return Err(ErrorField::new(
                Code::NOT_AVAILABLE,
                format!(
                    "Not available at the moment. {} prompts are incomplete ({own} of them from this client); send their \
                     frames with finish true first.",
                    self.partial_prompts.len()
                ),
            ));
        }
        Ok(())
    }
}

/// Reads a plain input: the text of any JSON value.
fn plain(request: Request) -> Result<Input, ErrorField> {
    if let Ok(Some(Object(fields))) = request.data::<Object<MisplacedFields>>()
        && (fields.soft_prefix || fields.options)
    {
        return Err(ErrorField::new(
            Code::PREFIX_UNUSABLE,
            format!(
                "{} is in plain data, where the whole object would be used as the prompt; send it in stream form (object \
                 \"llm.utf-8.stream\"), in the frame with finish true",
                misplaced(fields.soft_prefix)
            ),
        ));
    }
    let text = request.data::<Text>().map_err(|error| {
        ErrorField::parameter(format!("the data cannot be read ({error}); send the text as a string"))
    })?;
    Ok(Input {
        text: text.unwrap_or_default().0,
        prefix: None,
        options: InferenceOptions::default(),
        has_options: false,
        charge: request.charge,
    })
}

fn read_options(options: &str) -> Result<InferenceOptions, ErrorField> {
    let Object(options) = serde_json::from_str(options).map_err(|error| {
        ErrorField::parameter(format!(
                "the inference's \"softprefix\" cannot be read ({error}); give max_new_tokens (a whole number), usage and \
                 stream (true or false), priority (\"live\" or \"batch\") and draft_tokens (at most {MAX_DRAFT_TOKENS} ids), or leave them out"
            ),
        )
    })?;
    Ok(options)
}

/// Decodes standard base64 with optional padding. Like the stock unit, it then decodes JSON escapes once more.
fn decode_base64(text: &str) -> Result<String, ErrorField> {
    let wrong = || ErrorField::stock(Code::BASE64);
    let bytes = BASE64.decode(text).map_err(|_| wrong())?;
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    Ok(if text.contains('\\') { unescape(&text) } else { text })
}

/// Decodes JSON escapes; any other `\x` becomes `x`.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let Some(letter) = after.chars().next() else {
            // A backslash at the end is kept.
            out.push('\\');
            return out;
        };
        rest = &after[letter.len_utf8()..];
        match letter {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'u' => match unicode_escape(rest) {
                Some((character, after)) => {
                    out.push(character);
                    rest = after;
                }
                None => out.push('u'),
            },
            other => out.push(other),
        }
    }
    out.push_str(rest);
    out
}

/// Decodes the hexadecimal digits after `\u`, including the second half of a surrogate pair.
fn unicode_escape(rest: &str) -> Option<(char, &str)> {
    let hex = |text: &str| -> Option<u32> {
        let digits = text
            .get(..4)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        u32::from_str_radix(digits, 16).ok()
    };
    let first = hex(rest)?;
    let rest = &rest[4..];
    if let Some(character) = char::from_u32(first) {
        return Some((character, rest));
    }
    let second = rest
        .strip_prefix("\\u")
        .and_then(hex)
        .filter(|second| (0xdc00..0xe000).contains(second))?;
    let character = char::from_u32(0x10000 + ((first.checked_sub(0xd800)?) << 10) + (second - 0xdc00))?;
    Some((character, &rest[6..]))
}

fn index_error() -> ErrorField {
    ErrorField::stock(Code::STREAM_INDEX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::budget::{Budget, Purpose};

    const PLAIN: &str = "llm.utf-8";
    const STREAM: &str = "llm.utf-8.stream";
    const PLAIN_BASE64: &str = "llm.utf-8.base64";
    const STREAM_BASE64: &str = "llm.utf-8.stream.base64";

    fn request(request_id: &str, object: &str, data: &Value) -> Request {
        let header = json!({"request_id": request_id, "work_id": "llm.1000", "action": "inference", "object": object});
        let charge = Budget::default().message();
        Request::with_data(
            header.to_string().as_bytes(),
            json!({"data": data}).to_string().into_bytes(),
            charge,
        )
        .unwrap()
    }

    struct Client(Collector, Arc<str>);

    impl Client {
        fn new() -> Self {
            Self(Collector::default(), "8001".into())
        }

        fn send(&mut self, request_id: &str, object: &str, data: Value) -> Result<Option<Input>, ErrorField> {
            self.0.take(&self.1, request(request_id, object, &data))
        }

        fn text(&mut self, form: &str, data: Value) -> String {
            self.send("r", form, data).unwrap().expect("a whole input").text
        }
    }

    #[test]
    fn plain_data_of_any_type_is_the_prompt_as_text() {
        let mut client = Client::new();
        assert_eq!(client.text(PLAIN, json!("hello")), "hello");
        assert_eq!(client.text(PLAIN, json!(42)), "42");
        assert_eq!(client.text(PLAIN, json!(null)), "");
        assert_eq!(client.text(PLAIN, json!({"a": 1})), r#"{"a":1}"#);
    }

    #[test]
    fn frames_are_joined_in_order_and_run_at_finish() {
        let mut client = Client::new();
        for frame in [
            json!({"delta": "a", "index": 0, "finish": false}),
            json!({"delta": "b", "index": "1", "finish": "false"}),
        ] {
            assert!(client.send("r", STREAM, frame).unwrap().is_none());
        }
        assert_eq!(
            client.text(STREAM, json!({"delta": "c", "index": 2, "finish": true})),
            "abc"
        );
    }

    #[test]
    fn finish_is_true_unless_it_says_false() {
        let mut client = Client::new();
        for finish in [json!(true), json!("true"), json!(1)] {
            assert_eq!(
                client.text(STREAM, json!({"delta": "x", "index": 0, "finish": finish})),
                "x"
            );
        }
        assert_eq!(client.text(STREAM, json!({"delta": "x", "index": 0})), "x");
    }

    #[test]
    fn frames_out_of_order_are_refused_and_the_next_prompt_starts_at_index_0() {
        let mut client = Client::new();
        for data in [
            json!({"delta": "a", "index": 3, "finish": true}),
            json!({"delta": "a", "index": 1, "finish": true}),
            json!({"delta": "a", "index": -1, "finish": true}),
            json!({"delta": "a", "finish": true}),
            json!({"delta": "a", "index": {}, "finish": true}),
            json!("a string"),
        ] {
            let error = client.send("r", STREAM, data).unwrap_err();
            assert_eq!(error, ErrorField::stock(Code::STREAM_INDEX));
        }
        client
            .send("r", STREAM, json!({"delta": "a", "index": 0, "finish": false}))
            .unwrap();
        client
            .send("r", STREAM, json!({"delta": "c", "index": 2, "finish": false}))
            .unwrap_err();
        for wrong in [json!("no frame"), json!({"delta": "b", "index": "one"})] {
            client
                .send("r", STREAM, json!({"delta": "a", "index": 0, "finish": false}))
                .unwrap();
            client.send("r", STREAM, wrong).unwrap_err();
            let next = json!({"delta": "b", "index": 1, "finish": true});
            assert!(client.send("r", STREAM, next).is_err(), "the prompt has ended");
        }
        assert_eq!(
            client.text(STREAM, json!({"delta": "x", "index": 0, "finish": true})),
            "x"
        );
    }

    #[test]
    fn frames_of_two_clients_or_two_requests_do_not_mix() {
        let mut collector = Collector::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let half = |text: &str| json!({"delta": text, "index": 0, "finish": false});
        let rest = |text: &str| json!({"delta": text, "index": 1, "finish": true});
        for (client, id, text) in [(&a, "1", "A1"), (&a, "2", "A2"), (&b, "1", "B1")] {
            let taken = collector.take(client, request(id, STREAM, &half(text)));
            assert!(taken.unwrap().is_none());
        }
        for (client, id, text) in [(&b, "1", "B1x"), (&a, "2", "A2x"), (&a, "1", "A1x")] {
            let input = collector
                .take(client, request(id, STREAM, &rest("x")))
                .unwrap()
                .unwrap();
            assert_eq!(input.text, text);
        }
    }

    #[test]
    fn a_client_may_use_a_new_request_id_for_each_frame() {
        let mut client = Client::new();
        client
            .send("1", STREAM, json!({"delta": "a", "index": 0, "finish": false}))
            .unwrap();
        client
            .send("2", STREAM, json!({"delta": "b", "index": 1, "finish": false}))
            .unwrap();
        let input = client
            .send("3", STREAM, json!({"delta": "c", "index": 2, "finish": true}))
            .unwrap()
            .unwrap();
        assert_eq!(input.text, "abc");
    }

    #[test]
    fn base64_works_in_both_forms_with_or_without_padding() {
        let mut client = Client::new();
        assert_eq!(client.text(PLAIN_BASE64, json!("aGVsbG8=")), "hello");
        assert_eq!(client.text(PLAIN_BASE64, json!("aGVsbG8")), "hello");
        client
            .send(
                "r",
                STREAM_BASE64,
                json!({"delta": "aGVs", "index": 0, "finish": false}),
            )
            .unwrap();
        assert_eq!(
            client.text(STREAM_BASE64, json!({"delta": "bG8=", "index": 1, "finish": true})),
            "hello"
        );
        for wrong in ["!!!!", "aGVs bG8=", "/w=="] {
            assert_eq!(
                client.send("r", PLAIN_BASE64, json!(wrong)).unwrap_err(),
                ErrorField::stock(Code::BASE64)
            );
        }
    }

    #[test]
    fn escapes_inside_base64_are_undone_once_more() {
        let mut client = Client::new();
        let encoded = BASE64.encode(r#"a\n\u007b\"\ud83d\ude00\x\\"#);
        assert_eq!(client.text(PLAIN_BASE64, json!(encoded)), "a\n{\"😀x\\");
    }

    #[test]
    fn a_prefix_is_used_in_the_finish_frame_and_refused_elsewhere() {
        let mut client = Client::new();
        let prefix = json!({"len": 1, "data_b64": "AD8="});
        let data = json!({"delta": "a", "index": 0, "finish": true, "soft_prefix": prefix});
        assert_eq!(
            client.send("r", STREAM, data.clone()).unwrap().unwrap().prefix,
            Some(serde_json::from_value(prefix.clone()).unwrap())
        );
        let plain = client.send("r", PLAIN, data).unwrap_err();
        let early = json!({"delta": "a", "index": 0, "finish": false, "soft_prefix": prefix});
        let early = client.send("r", STREAM, early).unwrap_err();
        assert_eq!((plain.code, early.code), (Code::PREFIX_UNUSABLE, Code::PREFIX_UNUSABLE));
        assert!(plain.message.starts_with("soft_prefix is in plain data"), "{plain:?}");
        assert!(early.message.starts_with("soft_prefix is in a frame"), "{early:?}");
        let none = json!({"delta": "a", "index": 0, "finish": true, "soft_prefix": null});
        assert_eq!(client.send("r", STREAM, none).unwrap().unwrap().prefix, None);
    }

    #[test]
    fn options_outside_the_finish_frame_are_refused_by_their_own_name() {
        let mut client = Client::new();
        let data = json!({"delta": "a", "index": 0, "finish": false, "softprefix": {"usage": true}});
        for form in [STREAM, PLAIN] {
            let error = client.send("r", form, data.clone()).unwrap_err();
            assert_eq!(error.code, Code::PREFIX_UNUSABLE);
            assert!(error.message.starts_with("softprefix is in"), "{error:?}");
        }
    }

    #[test]
    fn invalid_options_are_refused_with_a_message() {
        let mut client = Client::new();
        for options in [
            json!({"max_new_tokens": "many"}),
            json!({"max_new_tokens": -1}),
            json!({"priority": "first"}),
            json!([]),
            json!(7),
        ] {
            let data = json!({"delta": "a", "index": 0, "finish": true, "softprefix": options});
            assert_eq!(client.send("r", STREAM, data).unwrap_err().code, Code::PARAMETER);
        }
    }

    #[test]
    fn partial_prompts_are_limited_and_dropped_with_their_client() {
        let mut client = Client::new();
        let half = json!({"delta": "a", "index": 0, "finish": false});
        for i in 0..MAX_PARTIAL_PROMPTS_PER_CLIENT {
            client.send(&i.to_string(), STREAM, half.clone()).unwrap();
        }
        assert_eq!(
            client.send("one more", STREAM, half.clone()).unwrap_err().code,
            Code::NOT_AVAILABLE
        );
        client.0.remove_client("8001");
        client.send("one more", STREAM, half).unwrap();
    }

    #[test]
    fn partial_prompts_keep_the_memory_of_their_frames_charged() {
        let budget = Budget::default();
        let mut client = Client::new();
        let mut send = |index: usize, finish: bool| {
            let mut frame = request("r", STREAM, &json!({"delta": "x", "index": index, "finish": finish}));
            frame.charge = budget.charge(Purpose::Requests, 100).unwrap();
            client.0.take(&client.1, frame).unwrap()
        };
        assert!(send(0, false).is_none() && send(1, false).is_none());
        assert_eq!(budget.used(Purpose::Requests), 200);
        let whole = send(2, true).unwrap();
        assert_eq!(budget.used(Purpose::Requests), 300);
        drop(whole);
        assert_eq!(budget.used(Purpose::Requests), 0);
    }

    proptest! {
        #[test]
        fn unescaping_never_panics_and_does_not_change_text_without_backslashes(text in ".*") {
            let plain: String = text.chars().filter(|&c| c != '\\').collect();
            prop_assert_eq!(unescape(&plain), plain);
            let _ = unescape(&text);
        }

        #[test]
        fn escaped_text_is_unescaped_to_the_original(text in ".*") {
            let escaped = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(unescape(&escaped[1..escaped.len() - 1]), text);
        }
    }
}
