//! Requests, replies and the data types of a client and of an LLM unit.
//!
//! Replies serialise with their keys in alphabetical order, as llm-sys sends them. Deserialisation tolerates what real modules
//! leave out.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::error::{Code, ErrorField};
use super::extension::{InferenceOptions, SoftPrefixEcho, SoftPrefixSupport, Usage};
use crate::prefix::SoftPrefixField;

/// `object` and `data` of messages that carry nothing.
pub const NONE: &str = "None";
/// The `request_id` of replies to messages that could not be read.
pub const UNREADABLE_REQUEST_ID: &str = "0";

/// `work_id` of llm-sys itself.
pub const SYS: &str = "sys";
/// `work_id` of the LLM unit as a whole: set-ups and the list of tasks.
pub const LLM: &str = "llm";

/// Actions of the stock programs.
pub mod action {
    /// Of llm-sys: answers at once, without data.
    pub const PING: &str = "ping";
    /// Of llm-sys: its version as text.
    pub const VERSION: &str = "version";
    /// Of llm-sys: file names of the installed units' programs.
    pub const VERSION2: &str = "version2";
    /// Of llm-sys: the cards of all models ([`ModelCard`](crate::protocol::ModelCard)).
    pub const LSMODE: &str = "lsmode";
    /// Of llm-sys: always refused with -10; [`TASKINFO`] lists tasks.
    pub const LSTASK: &str = "lstask";
    /// Of llm-sys: load, memory, temperature and network ([`HwInfo`](super::HwInfo)).
    pub const HWINFO: &str = "hwinfo";
    /// Of llm-sys: the NPU's memory ([`CmmInfo`](super::CmmInfo)).
    pub const CMMINFO: &str = "cmminfo";
    /// Of llm-sys: restarts all units; every task is gone.
    pub const RESET: &str = "reset";
    /// Of llm-sys: forwards a call to a unit by name.
    pub const UNIT_CALL: &str = "unit_call";
    /// Of a unit: makes a task ([`SetUp`](super::SetUp)).
    pub const SETUP: &str = "setup";
    /// Of a task: text in, text out.
    pub const INFERENCE: &str = "inference";
    /// Of a task: ends the running inference with its text so far.
    pub const PAUSE: &str = "pause";
    /// Of tasks of other units: resumes after a pause. The LLM unit refuses it (-18).
    pub const WORK: &str = "work";
    /// Of a task: ends it.
    pub const EXIT: &str = "exit";
    /// Of a unit: its tasks; of a task: its settings ([`TaskInfo`](super::TaskInfo)).
    pub const TASKINFO: &str = "taskinfo";
    /// Of a task: takes input from another unit's task.
    pub const LINK: &str = "link";
    /// Of a task: undoes [`LINK`].
    pub const UNLINK: &str = "unlink";
}

/// Values of `object`.
pub mod object {
    /// Whole texts.
    pub const TEXT: &str = "llm.utf-8";
    /// Texts in frames.
    pub const STREAM: &str = "llm.utf-8.stream";
    /// A set-up's request.
    pub const SETUP: &str = "llm.setup";
    /// Reply to `taskinfo` of the unit: work ids.
    pub const TASK_LIST: &str = "llm.tasklist";
    /// Reply to `taskinfo` of a task: its settings.
    pub const TASK_INFO: &str = "llm.taskinfo";
    /// Text replies of llm-sys.
    pub const SYS_TEXT: &str = "sys.utf-8";
    /// List replies of llm-sys.
    pub const SYS_STREAM: &str = "sys.utf-8.stream";
    /// Reply to [`action::LSMODE`](super::action::LSMODE).
    pub const LSMODE: &str = "sys.lsmode";
    /// Reply to [`action::HWINFO`](super::action::HWINFO).
    pub const HWINFO: &str = "sys.hwinfo";
    /// Reply to [`action::CMMINFO`](super::action::CMMINFO).
    pub const CMMINFO: &str = "sys.cmminfo";
}

/// A request. `request_id`, `work_id` and `action` must be strings; unknown fields are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client and repeated in every reply; no [field name](super::frame::is_field_name).
    pub request_id: String,
    /// The addressee: [`SYS`], [`LLM`] or a task such as `llm.1000`.
    pub work_id: String,
    /// One of [`action`], or an extension's.
    pub action: String,
    /// The type of `data`: one of [`object`], or an action's name.
    #[serde(
        default,
        deserialize_with = "lenient_optional_string",
        skip_serializing_if = "Option::is_none"
    )]
    pub object: Option<String>,
    /// Serialised last: a unit finds fields by text search, and nothing inside the data may shadow one of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl Request {
    /// A request without `object` and `data`.
    pub fn new(request_id: impl Into<String>, work_id: impl Into<String>, action: impl Into<String>) -> Self {
        Self {
            request_id: request_id.into(),
            work_id: work_id.into(),
            action: action.into(),
            object: None,
            data: None,
        }
    }

    /// Sets `object` and `data`.
    #[must_use]
    pub fn with(mut self, object: impl Into<String>, data: Value) -> Self {
        self.object = Some(object.into());
        self.data = Some(data);
        self
    }
}

/// How an inference's text arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InputForm {
    /// Whether the text comes in frames `{delta, index, finish}`; otherwise `data` is the text.
    pub stream: bool,
    /// Whether the (joined) text is base64 of UTF-8.
    pub base64: bool,
}

impl InputForm {
    /// The form that an `object` asks for, by its substrings `stream` and `base64`, as the stock unit decides it.
    pub fn of(object: &str) -> Self {
        Self {
            stream: object.contains("stream"),
            base64: object.contains("base64"),
        }
    }
}

/// A reply. Serialises with its keys in alphabetical order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Seconds since 1970.
    #[serde(default, deserialize_with = "lenient_seconds")]
    pub created: u64,
    /// A text, a frame ([`StreamData`]) or an action's own type; [`NONE`] where there is none.
    #[serde(default = "none")]
    pub data: Value,
    /// Code 0 on success.
    pub error: ErrorField,
    /// The type of `data`; one of [`object`], or an action's name.
    #[serde(default, deserialize_with = "lenient_string")]
    pub object: String,
    /// That of the request; [`UNREADABLE_REQUEST_ID`] where it could not be read.
    #[serde(deserialize_with = "lenient_string")]
    pub request_id: String,
    /// Our unit only: the prefix that was put in front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft_prefix: Option<SoftPrefixEcho>,
    /// Our unit only: token counts and times, on the last reply of an inference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The sender: a task, or `llm` or `sys` in some errors.
    #[serde(default, deserialize_with = "lenient_string")]
    pub work_id: String,
}

impl Reply {
    /// Success without data.
    pub fn ok(request_id: impl Into<String>, work_id: impl Into<String>) -> Self {
        Self::data(request_id, work_id, NONE, none())
    }

    /// Success with data.
    pub fn data(
        request_id: impl Into<String>,
        work_id: impl Into<String>,
        object: impl Into<String>,
        data: Value,
    ) -> Self {
        Self {
            created: crate::time::now() as u64,
            data,
            error: ErrorField::ok(),
            object: object.into(),
            request_id: request_id.into(),
            soft_prefix: None,
            usage: None,
            work_id: work_id.into(),
        }
    }

    /// A failure.
    pub fn error(request_id: impl Into<String>, work_id: impl Into<String>, error: ErrorField) -> Self {
        Self {
            error,
            ..Self::ok(request_id, work_id)
        }
    }

    /// A failure with the stock programs' own message.
    pub fn stock_error(request_id: impl Into<String>, work_id: impl Into<String>, code: Code) -> Self {
        Self::error(request_id, work_id, ErrorField::stock(code))
    }
}

/// `data` of a set-up. The first four fields must be there; every other key is a setting that overrides the model card's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetUp {
    /// Name of the model's card.
    pub model: String,
    /// [`object::TEXT`] or [`object::STREAM`]; whatever contains `stream` streams. Empty:
    /// [`Module::set_up`](crate::client::Module::set_up) chooses; an empty one is never sent.
    pub response_format: String,
    /// Whether output is sent over TCP; otherwise only to units that are linked to the task.
    pub enoutput: bool,
    /// The system prompt.
    pub prompt: String,
    /// Where inferences come from. A list without an entry that contains `llm` ignores those from TCP.
    #[serde(default, deserialize_with = "one_or_many", serialize_with = "as_one_or_many")]
    pub input: Vec<String>,
    /// Maximum number of **positions**: prefix + prompt + output, not output tokens. A stock unit uses 127 if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_token_len: Option<u32>,
    /// Any other key of the card's `mode_param`, such as the sampling settings.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

impl SetUp {
    /// A set-up for inferences over TCP; the client chooses whether the output is streamed.
    pub fn new(model: impl Into<String>, system_prompt: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            response_format: String::new(),
            enoutput: true,
            prompt: system_prompt.into(),
            input: vec![object::TEXT.to_owned()],
            max_token_len: None,
            settings: Map::new(),
        }
    }

    /// Sets whether the output comes in frames or whole.
    #[must_use]
    pub fn streaming(mut self, streaming: bool) -> Self {
        self.response_format = if streaming { object::STREAM } else { object::TEXT }.to_owned();
        self
    }

    /// Whether the output comes in frames.
    pub fn is_streaming(&self) -> bool {
        self.response_format.contains("stream")
    }

    /// Appends `id` to the name of the input that takes inferences from TCP, and returns the new name; `None` without such an input.
    /// A unit looks only for `llm` in the name, and repeats all of it in [`TaskInfo::inputs`]: llm-sys gives out the same work ids again
    /// after a restart, and a client recognises its own task by this name.
    pub(crate) fn add_marker(&mut self, id: &str) -> Option<String> {
        let input = self.input.iter_mut().find(|input| input.contains(LLM))?;
        *input = format!("{input}.{id}");
        Some(input.clone())
    }

    /// Sets [`SetUp::max_token_len`].
    #[must_use]
    pub fn max_positions(mut self, positions: u32) -> Self {
        self.max_token_len = Some(positions);
        self
    }

    /// Always chooses the likeliest token: turns off the stock unit's default (top-k 10, unseeded) and every other
    /// sampling.
    #[must_use]
    pub fn greedy(self) -> Self {
        self.sampling(&Sampling::default())
    }

    /// Sets the sampling settings, under the card's names.
    #[must_use]
    pub fn sampling(mut self, sampling: &Sampling) -> Self {
        let mut set = |key: &str, value: Value| {
            self.settings.insert(key.to_owned(), value);
        };
        set("enable_temperature", sampling.temperature.is_some().into());
        set("enable_top_p_sampling", sampling.top_p.is_some().into());
        set("enable_top_k_sampling", sampling.top_k.is_some().into());
        set(
            "enable_repetition_penalty",
            sampling.repetition_penalty.is_some().into(),
        );
        if let Some(value) = sampling.temperature {
            set("temperature", value.into());
        }
        if let Some(value) = sampling.top_p {
            set("top_p", value.into());
        }
        if let Some(value) = sampling.top_k {
            set("top_k", value.into());
        }
        if let Some((penalty, window)) = sampling.repetition_penalty {
            set("repetition_penalty", penalty.into());
            set("penalty_window", window.into());
        }
        if let Some(seed) = sampling.seed {
            set("seed", seed.into());
        }
        self
    }
}

/// How the next token is drawn; the default is greedy. On the stock unit top-p overrides top-k, and there is no seed.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Sampling {
    /// Divisor of the logits; `None` leaves them as they are.
    pub temperature: Option<f64>,
    /// Least probability mass that is kept, 0 to 1.
    pub top_p: Option<f64>,
    /// Number of tokens that are kept.
    pub top_k: Option<u32>,
    /// The penalty, and the number of past tokens to which it applies.
    pub repetition_penalty: Option<(f64, u32)>,
    /// Seed of the draws; our unit only.
    pub seed: Option<u64>,
}

impl Sampling {
    /// Whether the likeliest token is taken each time: neither top-p nor top-k is in effect (a top-k of 0 is off), or the temperature or
    /// top-p is 0. A temperature alone draws nothing.
    #[must_use]
    pub fn is_greedy(&self) -> bool {
        let draws = self.top_p.is_some() || self.top_k.is_some_and(|k| k > 0);
        !draws || self.temperature == Some(0.0) || self.top_p == Some(0.0)
    }
}

/// `data` of an inference in stream form, as a client writes it. `soft_prefix` counts only in the frame with `finish` true.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StreamInput {
    /// Number of the frame, from 0.
    pub index: usize,
    /// Whether this is the last frame.
    pub finish: bool,
    /// The frame's piece of the text.
    pub delta: String,
    /// The prefix in its wire form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft_prefix: Option<SoftPrefixField>,
    /// Options that only our unit reads.
    #[serde(rename = "softprefix", skip_serializing_if = "Option::is_none")]
    pub options: Option<InferenceOptions>,
}

/// `data` of a streamed frame, in either direction, as it is read: lenient where the stock unit is. The extension
/// fields are kept as they came, so that each wrong type can be refused with its own message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamData {
    /// The frame's piece of the text.
    #[serde(default)]
    pub delta: String,
    /// True unless its text contains an `f`: missing, 1 and "true" are true.
    #[serde(default = "yes", deserialize_with = "lenient_finish")]
    pub finish: bool,
    /// Number of the frame, from 0, also read from a text; 0 if missing, -1 if it is no whole number.
    #[serde(default, deserialize_with = "lenient_index")]
    pub index: i64,
    /// The prefix as the peer sent it, unchecked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft_prefix: Option<Value>,
    /// The options as the peer sent them, unchecked.
    #[serde(default, rename = "softprefix", skip_serializing_if = "Option::is_none")]
    pub options: Option<Value>,
}

impl StreamData {
    /// A frame of output.
    pub fn output(delta: impl Into<String>, index: i64, finish: bool) -> Self {
        Self {
            delta: delta.into(),
            finish,
            index,
            soft_prefix: None,
            options: None,
        }
    }
}

/// `data` of `taskinfo llm.N`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskInfo {
    /// As [`SetUp::enoutput`].
    #[serde(default)]
    pub enoutput: bool,
    /// Where inferences come from, as [`SetUp::input`].
    #[serde(default)]
    pub inputs: Vec<String>,
    /// Name of the model's card.
    #[serde(default)]
    pub model: String,
    /// As [`SetUp::response_format`].
    #[serde(default)]
    pub response_format: String,
    /// What our unit adds; absent on a stock unit.
    #[serde(
        default,
        deserialize_with = "support_if_readable",
        skip_serializing_if = "Option::is_none"
    )]
    pub soft_prefix: Option<SoftPrefixSupport>,
}

/// `data` of `hwinfo`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HwInfo {
    /// Percent.
    #[serde(default)]
    pub cpu_loadavg: i64,
    /// Network interfaces; empty where the module names none.
    #[serde(default)]
    pub eth_info: Vec<EthInfo>,
    /// Percent.
    #[serde(default)]
    pub mem: i64,
    /// Thousandths of a degree Celsius.
    #[serde(default)]
    pub temperature: i64,
}

/// One network interface of [`HwInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EthInfo {
    /// Address as text.
    #[serde(default, deserialize_with = "lenient_string")]
    pub ip: String,
    /// Name of the interface, such as `eth0`.
    #[serde(default, deserialize_with = "lenient_string")]
    pub name: String,
    /// Link speed as the system names it.
    #[serde(default, deserialize_with = "lenient_string")]
    pub speed: String,
}

/// `data` of `cmminfo`: the NPU's memory in KiB. Without an NPU, a stock module sends zeros, and our unit the machine's
/// memory.
///
/// On a board without such memory the stock llm-sys sends uninitialised numbers, beyond an `i64` too: impossible ones
/// are read as zeros.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Map<String, Value>")]
pub struct CmmInfo {
    /// Free memory in KiB.
    pub remain: i64,
    /// All memory in KiB.
    pub total: i64,
    /// Memory in use, in KiB.
    pub used: i64,
}

impl From<Map<String, Value>> for CmmInfo {
    fn from(data: Map<String, Value>) -> Self {
        /// 4 TiB.
        const MOST: i64 = 1 << 32;
        let number = |key: &str| data.get(key).and_then(Value::as_i64);
        match (number("remain"), number("total"), number("used")) {
            (Some(remain), Some(total), Some(used))
                if (0..MOST).contains(&total) && (0..=total).contains(&remain) && (0..=total).contains(&used) =>
            {
                Self { remain, total, used }
            }
            _ => Self::default(),
        }
    }
}

/// A value of one of this protocol's types as `data`.
pub fn to_data<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_else(|_| none())
}

fn none() -> Value {
    Value::String(NONE.to_owned())
}

fn yes() -> bool {
    true
}

fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn lenient_string<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Value::deserialize(deserializer).map(text_of)
}

fn lenient_optional_string<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Value>::deserialize(deserializer)?.map(text_of))
}

fn lenient_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(Value::deserialize(deserializer)?
        .as_f64()
        .map_or(0, |seconds| seconds as u64))
}

fn lenient_finish<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(!text_of(Value::deserialize(deserializer)?).contains('f'))
}

fn lenient_index<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Number(number) => number.as_i64().unwrap_or(-1),
        Value::String(text) => text.trim().parse().unwrap_or(-1),
        _ => -1,
    })
}

fn support_if_readable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SoftPrefixSupport>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).ok())
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Array(items) => items.into_iter().map(text_of).collect(),
        Value::Null => Vec::new(),
        other => vec![text_of(other)],
    })
}

fn as_one_or_many<S: Serializer>(input: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    match input {
        [one] => serializer.serialize_str(one),
        many => many.serialize(serializer),
    }
}
