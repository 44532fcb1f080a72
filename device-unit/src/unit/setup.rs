//! The data of a set-up, validated like on the stock unit.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use softprefix_core::protocol::{Code, ErrorField};
use softprefix_core::sent::{Checked, Excerpt, OneOrMany};

/// Default of `max_token_len`, as on the stock unit (PROTOCOL 5.2).
pub const DEFAULT_MAX_TOKEN_LEN: usize = 127;

/// Keys that do not change how the model of a task is loaded: set-ups that differ only in these share one loaded model.
/// `model` is here because [`SetUpRequest::model_key`] has it anyway, and `system_prompt`, a key of model cards (PROTOCOL 5.2), because this
/// unit does not read it: the system prompt of a task is `prompt`.
const TASK_KEYS: &[&str] = &[
    "model",
    "response_format",
    "enoutput",
    "enkws",
    "prompt",
    "max_token_len",
    "seed",
    "enable_temperature",
    "temperature",
    "enable_top_p_sampling",
    "top_p",
    "enable_top_k_sampling",
    "top_k",
    "enable_repetition_penalty",
    "repetition_penalty",
    "penalty_window",
    "system_prompt",
];

/// Maximum number of inputs of a task; clients give one or two. Each can be a subscription to another unit.
pub const MAX_INPUTS: usize = 64;
/// Maximum number of keys of a set-up, so that it stays small in memory; a model card, whose keys it can override, has about two dozen.
const MAX_KEYS: usize = 256;
/// Maximum number of characters of a value that an error message quotes: enough to recognise it.
const MAX_EXCERPT_CHARACTERS: usize = 60;

/// The data of a set-up as it was sent: keys with scalar values. A list or an object is kept as an empty one, so that an error message can
/// show `[]` or `{}`.
#[derive(Debug, Default)]
pub struct SetUpData {
    /// All keys except `input`, at most [`MAX_KEYS`].
    entries: Map<String, Value>,
    input: Option<InputField>,
    has_too_many_keys: bool,
}

/// The value of `input`.
#[derive(Debug)]
enum InputField {
    /// A string, or a list of at most [`MAX_INPUTS`] strings.
    Names(Vec<String>),
    /// Anything else; the excerpt is for the error message.
    Invalid { excerpt: String },
}

impl<'de> Deserialize<'de> for SetUpData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SetUpVisitor;
        impl<'de> Visitor<'de> for SetUpVisitor {
            type Value = SetUpData;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<SetUpData, A::Error> {
                let mut data = SetUpData::default();
                while let Some(key) = entries.next_key::<String>()? {
                    if key == "input" {
                        data.input = entries.next_value()?;
                    } else if data.entries.len() < MAX_KEYS || data.entries.contains_key(&key) {
                        let ShallowValue(value) = entries.next_value()?;
                        data.entries.insert(key, value);
                    } else {
                        data.has_too_many_keys = true;
                        entries.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(data)
            }
        }
        deserializer.deserialize_map(SetUpVisitor)
    }
}

impl<'de> Deserialize<'de> for InputField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let sent = Checked::<OneOrMany<Checked<String>, MAX_INPUTS>>::deserialize(deserializer)?;
        Ok(match sent {
            Checked::Expected(OneOrMany(list)) if list.count > MAX_INPUTS => {
                let excerpt = format!("a list of {}", list.count);
                Self::Invalid { excerpt }
            }
            Checked::Expected(OneOrMany(list)) => {
                let names = list.items.into_iter().map(|item| match item {
                    Checked::Expected(name) => Ok(name),
                    Checked::Other(Excerpt(other)) => Err(format!("a list with {other} in it")),
                });
                match names.collect() {
                    Ok(names) => Self::Names(names),
                    Err(excerpt) => Self::Invalid { excerpt },
                }
            }
            Checked::Other(Excerpt(excerpt)) => Self::Invalid { excerpt },
        })
    }
}

/// A value without its elements.
struct ShallowValue(Value);

impl<'de> Deserialize<'de> for ShallowValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShallowVisitor;
        impl<'de> Visitor<'de> for ShallowVisitor {
            type Value = ShallowValue;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("any value")
            }

            fn visit_bool<E>(self, value: bool) -> Result<ShallowValue, E> {
                Ok(ShallowValue(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<ShallowValue, E> {
                Ok(ShallowValue(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<ShallowValue, E> {
                Ok(ShallowValue(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<ShallowValue, E> {
                Ok(ShallowValue(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<ShallowValue, E> {
                Ok(ShallowValue(value.into()))
            }

            fn visit_string<E>(self, value: String) -> Result<ShallowValue, E> {
                Ok(ShallowValue(value.into()))
            }

            fn visit_unit<E>(self) -> Result<ShallowValue, E> {
                Ok(ShallowValue(Value::Null))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<ShallowValue, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(ShallowValue(Value::Array(Vec::new())))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<ShallowValue, A::Error> {
                while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(ShallowValue(Value::Object(Map::new())))
            }
        }
        deserializer.deserialize_any(ShallowVisitor)
    }
}

/// A valid set-up.
#[derive(Debug, Clone, PartialEq)]
pub struct SetUpRequest {
    /// `model`: the name of the model.
    pub model: String,
    /// `response_format`: the `object` of its results. They are sent in frames if it contains `stream`.
    pub response_format: String,
    /// `enoutput`: whether results are sent to the client and not only published.
    pub enoutput: bool,
    /// `prompt`: the system prompt.
    pub system_prompt: String,
    /// `input`: what the task takes its prompts from, such as `llm` (clients) or `asr.1000` (another unit).
    pub inputs: Vec<String>,
    /// The keys of the set-up except `input`, and except those whose value is `null`: Python clients send `null` for what is not set.
    /// They take precedence over those of the model card.
    pub settings: Map<String, Value>,
}

impl SetUpRequest {
    /// Validates the data of a set-up; `None` stands for data that is not an object.
    ///
    /// # Errors
    /// The stock unit's code (-2 if the data is not an object, else -5) and a message with the key. If the data is not an object, the reply
    /// has the work id `kws`, as on the stock unit.
    pub fn validate(data: Option<SetUpData>) -> Result<Self, SetUpError> {
        let Some(SetUpData {
            entries: mut settings,
            input,
            has_too_many_keys,
        }) = data
        else {
            // Clients may depend on the stock unit's message and work id.
            return Err(SetUpError {
                error: ErrorField::new(Code::JSON, "json format error."),
                work_id: "kws",
            });
        };
        if has_too_many_keys {
            return Err(SetUpError::new(&format!(
                "The set-up has more than {MAX_KEYS} keys; leave out those that no model card has."
            )));
        }
        let text = |key: &'static str| match settings.get(key) {
            Some(Value::String(text)) => Ok(text.clone()),
            other => Err(invalid_key(key, other, "a string")),
        };
        let enoutput = match settings.get("enoutput") {
            Some(Value::Bool(enoutput)) => *enoutput,
            other => return Err(invalid_key("enoutput", other, "true or false")),
        };
        let inputs = match input {
            None => Vec::new(),
            Some(InputField::Names(inputs)) => inputs,
            Some(InputField::Invalid { excerpt }) => {
                let wanted = format!("a string or a list of at most {MAX_INPUTS} strings");
                return Err(wrong_value("input", &excerpt, &wanted));
            }
        };
        let (model, response_format, system_prompt) = (text("model")?, text("response_format")?, text("prompt")?);
        settings.retain(|_, value| !value.is_null());
        Ok(Self {
            model,
            response_format,
            enoutput,
            system_prompt,
            inputs,
            settings,
        })
    }

    /// Returns `true` if results are sent in frames.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        self.response_format.contains("stream")
    }

    /// Returns the settings that change how the model is loaded.
    #[must_use]
    pub fn model_settings(&self) -> Map<String, Value> {
        let kept = self
            .settings
            .iter()
            .filter(|(key, _)| !TASK_KEYS.contains(&key.as_str()));
        kept.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Returns the key of the loaded model: set-ups with equal keys share it.
    #[must_use]
    pub fn model_key(&self) -> String {
        format!("{} {}", self.model, Value::Object(self.model_settings()))
    }

    /// Returns the card's settings, overridden by those of the set-up.
    #[must_use]
    pub fn merged_over(&self, card_settings: &Map<String, Value>) -> Map<String, Value> {
        let mut settings = card_settings.clone();
        settings.extend(self.settings.clone());
        settings
    }

    /// Returns `max_token_len` of the set-up, else of the card unless it is `null`, else the default.
    ///
    /// # Errors
    /// -5 if it is not an integer above 0.
    pub fn max_token_len(&self, card_settings: &Map<String, Value>) -> Result<usize, SetUpError> {
        let Some(value) = self
            .settings
            .get("max_token_len")
            .or_else(|| card_settings.get("max_token_len"))
            .filter(|value| !value.is_null())
        else {
            return Ok(DEFAULT_MAX_TOKEN_LEN);
        };
        // A client may write a whole number as 127.0. For one beyond u64, such as 1e300, `as` gives the largest: it limits nothing either,
        // since the model's window is smaller.
        let whole = |number: f64| (number.fract() == 0.0 && number >= 1.0).then_some(number as u64);
        let number = value.as_u64().or_else(|| value.as_f64().and_then(whole));
        match number.and_then(|number| usize::try_from(number).ok()) {
            Some(positions) if positions > 0 => Ok(positions),
            _ => Err(invalid_key(
                "max_token_len",
                Some(value),
                "a whole number of positions, at least 1",
            )),
        }
    }
}

/// Why a set-up is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetUpError {
    pub error: ErrorField,
    /// The work id of the reply: `llm`, or what the stock unit has in its place.
    pub work_id: &'static str,
}

impl SetUpError {
    /// Creates the error -5: the stock message, then `sentence`.
    #[must_use]
    pub fn new(sentence: &str) -> Self {
        let stock = Code::MODEL_LOADING.stock_message().unwrap_or_default();
        Self {
            error: ErrorField::new(Code::MODEL_LOADING, format!("{stock} {sentence}")),
            work_id: "llm",
        }
    }
}

fn invalid_key(key: &str, value: Option<&Value>, wanted: &str) -> SetUpError {
    match value {
        None => SetUpError::new(&format!("The set-up has no {key:?}; give {wanted}.")),
        Some(value) => wrong_value(key, &excerpt_of(value), wanted),
    }
}

fn wrong_value(key: &str, excerpt: &str, wanted: &str) -> SetUpError {
    SetUpError::new(&format!("{key:?} is {excerpt}; give {wanted}."))
}

/// Shortens a value for an error message.
fn excerpt_of(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_EXCERPT_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(data: Option<Value>) -> Result<SetUpRequest, SetUpError> {
        SetUpRequest::validate(data.and_then(|data| serde_json::from_value(data).ok()))
    }

    #[test]
    fn a_set_up_with_too_many_keys_or_inputs_is_refused_and_elements_of_lists_are_dropped() {
        let mut data = valid();
        data["ext_scripts"] = json!([[1, 2], {"a": 1}]);
        assert_eq!(read(Some(data.clone())).unwrap().settings["ext_scripts"], json!([]));
        data["input"] = json!(vec!["llm"; 65]);
        assert!(
            read(Some(data.clone()))
                .unwrap_err()
                .error
                .message
                .contains("a list of 65")
        );
        data["input"] = json!(["llm", 7]);
        assert!(
            read(Some(data.clone()))
                .unwrap_err()
                .error
                .message
                .contains("with 7 in it")
        );
        data["input"] = json!("llm");
        for i in 0..300 {
            data[format!("key{i}")] = json!(i);
        }
        assert!(read(Some(data)).unwrap_err().error.message.contains("256 keys"));
    }

    fn valid() -> Value {
        json!({"model": "m", "response_format": "llm.utf-8", "enoutput": true, "prompt": "p", "input": "llm.utf-8"})
    }

    #[test]
    fn data_that_is_not_an_object_is_refused_with_the_work_id_kws_as_on_the_stock_unit() {
        for data in [None, Some(json!("None")), Some(json!([1])), Some(json!(null))] {
            let refusal = read(data).unwrap_err();
            assert_eq!(refusal.work_id, "kws");
            assert_eq!(refusal.error, ErrorField::new(Code::JSON, "json format error."));
        }
    }

    #[test]
    fn a_missing_or_invalid_required_key_is_named() {
        for key in ["model", "response_format", "enoutput", "prompt"] {
            let mut data = valid();
            data.as_object_mut().unwrap().remove(key);
            let missing = read(Some(data.clone())).unwrap_err();
            data[key] = json!(7);
            let wrong = read(Some(data)).unwrap_err();
            for refusal in [missing, wrong] {
                assert_eq!(refusal.error.code, Code::MODEL_LOADING);
                assert_eq!(refusal.work_id, "llm");
                assert!(
                    refusal.error.message.starts_with("Model loading failed. "),
                    "{}",
                    refusal.error.message
                );
                assert!(refusal.error.message.contains(key), "{}", refusal.error.message);
            }
        }
    }

    #[test]
    fn input_is_a_string_a_list_or_missing() {
        let mut data = valid();
        assert_eq!(read(Some(data.clone())).unwrap().inputs, ["llm.utf-8"]);
        data["input"] = json!(["llm.utf-8", "asr.1002"]);
        assert_eq!(read(Some(data.clone())).unwrap().inputs, ["llm.utf-8", "asr.1002"]);
        data.as_object_mut().unwrap().remove("input");
        assert_eq!(read(Some(data.clone())).unwrap().inputs, Vec::<String>::new());
        // Longer than what an error message quotes.
        let long = "n".repeat(60);
        data["input"] = json!(long);
        assert_eq!(read(Some(data.clone())).unwrap().inputs, [long]);
        for (other, quoted) in [(json!({"a": 1}), r#"{"a":1}"#), (json!(7), "7"), (json!(true), "true")] {
            data["input"] = other;
            let refusal = read(Some(data.clone())).unwrap_err();
            let sentence = format!("\"input\" is {quoted}; give a string or a list of at most 64 strings.");
            assert!(refusal.error.message.ends_with(&sentence), "{}", refusal.error.message);
        }
    }

    #[test]
    fn tasks_that_differ_only_in_their_own_settings_share_a_model() {
        let one = read(Some(valid())).unwrap();
        let mut data = valid();
        data["prompt"] = json!("another");
        data["max_token_len"] = json!(500);
        data["top_k"] = json!(1);
        assert_eq!(read(Some(data.clone())).unwrap().model_key(), one.model_key());
        data["b_dynamic_load_axmodel_layer"] = json!(true);
        assert_ne!(read(Some(data)).unwrap().model_key(), one.model_key());
    }

    #[test]
    fn a_key_that_is_null_counts_as_left_out() {
        let mut data = valid();
        let card = json!({"max_token_len": 1023, "temperature": 0.7})
            .as_object()
            .unwrap()
            .clone();
        for key in ["max_token_len", "temperature", "tokenizer_type", "input"] {
            data[key] = json!(null);
        }
        let set_up = read(Some(data)).unwrap();
        assert_eq!(set_up.max_token_len(&card).unwrap(), 1023);
        assert_eq!(set_up.merged_over(&card)["temperature"], 0.7);
        assert_eq!(set_up.inputs, Vec::<String>::new());
        assert_eq!(set_up.model_key(), read(Some(valid())).unwrap().model_key());
        let card = json!({"max_token_len": null}).as_object().unwrap().clone();
        assert_eq!(set_up.max_token_len(&card).unwrap(), 127);
    }

    #[test]
    fn max_token_len_comes_from_the_set_up_then_the_card_then_the_stock_unit() {
        let mut data = valid();
        let card = json!({"max_token_len": 1023}).as_object().unwrap().clone();
        assert_eq!(
            read(Some(data.clone())).unwrap().max_token_len(&Map::new()).unwrap(),
            127
        );
        assert_eq!(read(Some(data.clone())).unwrap().max_token_len(&card).unwrap(), 1023);
        data["max_token_len"] = json!(32);
        assert_eq!(read(Some(data.clone())).unwrap().max_token_len(&card).unwrap(), 32);
        data["max_token_len"] = json!(32.0);
        assert_eq!(read(Some(data.clone())).unwrap().max_token_len(&card).unwrap(), 32);
        data["max_token_len"] = json!(null);
        assert_eq!(
            read(Some(data.clone())).unwrap().max_token_len(&Map::new()).unwrap(),
            127
        );
        for wrong in [json!(0), json!(-1), json!("127"), json!(1.5), json!([300])] {
            data["max_token_len"] = wrong;
            assert!(read(Some(data.clone())).unwrap().max_token_len(&card).is_err());
        }
    }
}
