//! The results file `compare_results.json`: what existing comparison scripts write and read, with our own fields in one object
//! of their own (`softprefix`), so that neither side disturbs the other.
//!
//! ```text
//! {"meta":    {host, port, model, system_prompt, user_prompt, response_format, input_object_for_infer, max_token_len, P, H, vals,
//!              saved_at_unix},
//!  "results": [{name, has_prefix, P, H, val|null, elapsed_sec, out_len, out_sha1, out_preview, out_text,
//!               "softprefix": {recipe, sha256, token_norms, usage, tokens, finish_reason, ttft_sec, error,
//!                              started_unix, acknowledged, echo, scores, rating}}],   baseline first
//!  "softprefix": {version, written_by, ...}}
//! ```
//! What is in `softprefix` has the form of the exported experiment
//! ([`JSON_SCHEMA`](crate::experiment::export::JSON_SCHEMA)); fields without a value are left out.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha1::{Digest, Sha1};

use crate::bilingual;
use crate::json::{self, Lenient};
use crate::language::Bilingual;

use crate::prefix::{MAX_HIDDEN_SIZE, MAX_LEN};

/// Version of all `softprefix` objects in a file, stated in the file's own one.
pub const EXTRA_VERSION: u32 = 1;

/// Key of our objects.
const EXTRA: &str = "softprefix";

const OBJECT: Bilingual<&str> = Bilingual {
    en: "an object",
    ja: "オブジェクト",
};
const TEXT: Bilingual<&str> = Bilingual {
    en: "a text",
    ja: "文字列",
};

/// Characters of a text that the preview shows.
const PREVIEW: usize = 120;

/// A results file.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ResultsFile {
    /// What all cases share.
    pub meta: Meta,
    /// The cases, baseline first.
    pub results: Vec<ResultEntry>,
    /// Our fields; absent in the files of existing scripts.
    #[serde(rename = "softprefix", skip_serializing_if = "Option::is_none")]
    pub extra: Option<FileExtra>,
    /// Number of unpaired surrogates (as Python writes bytes that it cannot decode) that were read as U+FFFD.
    #[serde(skip)]
    pub replaced: usize,
    /// Keys that neither side knows, kept for writing the file again.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What all cases of a results file share.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Meta {
    /// Host name or address of the module; empty where the file does not say.
    pub host: String,
    /// TCP port of the module; 0 where the file does not say.
    pub port: u16,
    /// Name of the model's card.
    pub model: String,
    /// System prompt of all cases.
    pub system_prompt: String,
    /// User's prompt of all cases.
    pub user_prompt: String,
    /// The set-up's output form, `llm.utf-8` or `llm.utf-8.stream`.
    pub response_format: String,
    /// `object` of the inference requests, `llm.utf-8` or `llm.utf-8.stream`.
    pub input_object_for_infer: String,
    /// Positions of the set-up: prefix + template + prompt + output. 0 where the file does not say.
    pub max_token_len: u64,
    /// Rows of each prefix.
    #[serde(rename = "P")]
    pub prefix_len: usize,
    /// The model's hidden size.
    #[serde(rename = "H")]
    pub hidden_size: usize,
    /// The raw values of the prefixes, in the order of the cases.
    pub vals: Vec<f64>,
    /// Seconds since 1970.
    #[serde(serialize_with = "whole_if_whole")]
    pub saved_at_unix: f64,
    /// Keys of `meta` that neither side knows, kept for writing the file again.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One case.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ResultEntry {
    /// `baseline`, `prefix_val_0.01` or any other name.
    pub name: String,
    /// Whether a prefix was sent, one of magnitude 0 included.
    pub has_prefix: bool,
    /// P; 0 for a baseline.
    #[serde(rename = "P")]
    pub prefix_len: usize,
    /// H; 0 where the file does not say.
    #[serde(rename = "H")]
    pub hidden_size: usize,
    /// Raw magnitude; `None` for a baseline, and for prefixes without a raw value.
    pub val: Option<f64>,
    /// Seconds from sending to the end of the output.
    pub elapsed_sec: f64,
    /// Code points of `out_text`.
    pub out_len: usize,
    /// SHA-1 of `out_text` as UTF-8, lower-case hex.
    pub out_sha1: String,
    /// The first 120 characters, with line feeds written as `\n`.
    pub out_preview: String,
    /// The output, or what there is of it where the case failed.
    pub out_text: String,
    /// Our fields; absent in the files of existing scripts.
    #[serde(rename = "softprefix", skip_serializing_if = "Option::is_none")]
    pub extra: Option<ResultExtra>,
    /// Keys of the case that neither side knows, kept for writing the file again.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Our fields of a results file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FileExtra {
    /// [`EXTRA_VERSION`].
    pub version: u32,
    /// Program and version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub written_by: String,
    /// All other fields of ours: those that `export/results.rs` writes by name (name, module, settings, plan), and those of newer versions.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Our fields of one case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResultExtra {
    /// The recipe of the prefix, as `core::prefix` writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Value>,
    /// SHA-256 of the prefix's bf16 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Median L2 norm of the prefix's rows, in token norms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_norms: Option<f64>,
    /// [`Usage`](crate::protocol::extension::Usage) as the unit sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Value>,
    /// Token ids of the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<u32>>,
    /// Why the output ended, by the serialised name of [`FinishReason`](crate::protocol::extension::FinishReason).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// Seconds to the first piece of text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft_sec: Option<f64>,
    /// Why the case failed; `out_text` then has the text that arrived before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// All other fields of ours: those that `export/results.rs` writes by name (started_unix, acknowledged, echo, scores, rating), and those
    /// of newer versions.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Why a results file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The file could not be written; one that was there is unchanged.
    #[error("cannot write {path}: {source}. Choose a folder that can be written to; every run is in the history.")]
    Write {
        /// Where it was to be written.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is empty, not UTF-8, not JSON, or JSON without `meta` and `results`.
    #[error(
        "this is not a results file: {}. Expected is JSON with \"meta\" and \"results\", as the comparison saves it.", .what.en
    )]
    NotAResultsFile {
        /// What it is instead, as a clause.
        what: Bilingual,
    },
    /// A required key is absent or null.
    #[error("this results file lacks {key} (found there: {}). It may have been cut or edited; save it again.", .found.en)]
    Missing {
        /// The key with its path, quoted.
        key: String,
        /// The first keys that are there instead.
        found: Bilingual,
    },
    /// A key holds a value of another type or out of range.
    #[error("in this results file {key} should be {}, but is {}. Correct it or save the file again.", .wanted.en, .found.en)]
    WrongType {
        /// The key with its path, quoted.
        key: String,
        /// What is expected, as a clause.
        wanted: Bilingual<&'static str>,
        /// What is there instead, as a clause.
        found: Bilingual,
    },
    /// `results` is an empty list.
    #[error("this results file has no results: \"results\" is empty. Run a comparison and save again.")]
    NoResults,
}

impl ResultsFile {
    /// Reads a results file of ours or of an existing script. `meta`, `results` and each result's `name` and `out_text`
    /// are required; other keys may be absent, but not of another type.
    ///
    /// # Errors
    /// [`ResultsError`], which names the missing key or what was found instead.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ResultsError> {
        let not_one = |what: Bilingual| ResultsError::NotAResultsFile { what };
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(not_one(bilingual!("the file is empty", "ファイルが空です")));
        }
        std::str::from_utf8(bytes).map_err(|error| {
            let byte = error.valid_up_to();
            not_one(bilingual!(
                "it is not text (byte {byte} is not UTF-8)",
                "テキストではありません（{byte} バイト目が UTF-8 ではありません）"
            ))
        })?;
        let Lenient::<Value> { value, surrogates } = json::read(bytes).map_err(|error| {
            let (en, ja) = if error.is_eof() {
                ("it ends in the middle", "途中で終わっています")
            } else {
                ("it is not JSON", "JSON ではありません")
            };
            let (line, column) = (error.line(), error.column());
            not_one(bilingual!(
                "{en} (line {line}, column {column})",
                "{ja}（{line} 行 {column} バイト目）"
            ))
        })?;
        let Value::Object(top) = value else {
            let Bilingual { en, ja } = describe(&value);
            return Err(not_one(bilingual!("it is {en} at the top", "一番外側は、{ja}です")));
        };
        if !top.contains_key("meta") && !top.contains_key("results") {
            let Bilingual { en, ja } = names(&top);
            return Err(not_one(bilingual!(
                "it has neither \"meta\" nor \"results\", only {en}",
                "\"meta\" も \"results\" もありません（あるのは：{ja}）"
            )));
        }
        let mut top = Fields {
            at: String::new(),
            map: top,
        };
        let meta = Meta::take(Fields {
            at: "meta.".to_owned(),
            map: top.object("meta")?,
        })?;
        let is_newer = is_newer(top.map.get(EXTRA));
        let mut results = Vec::new();
        for (i, entry) in top.array("results")?.into_iter().enumerate() {
            let at = format!("results[{i}]");
            let Value::Object(map) = entry else {
                return Err(ResultsError::WrongType {
                    key: at,
                    wanted: OBJECT,
                    found: describe(&entry),
                });
            };
            results.push(ResultEntry::take(Fields { at: at + ".", map }, is_newer)?);
        }
        if results.is_empty() {
            return Err(ResultsError::NoResults);
        }
        let extra = top.extra::<FileExtra>(is_newer)?;
        Ok(Self {
            meta,
            results,
            extra,
            replaced: surrogates,
            other: top.map,
        })
    }

    /// The file's text: indented JSON, UTF-8, one line break at the end.
    ///
    /// # Errors
    /// Where a value has no JSON form, which is a fault of this program.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        crate::json::indented(self)
    }

    /// Writes the file atomically: at any moment, either the old or the new content is there.
    ///
    /// # Errors
    /// [`ResultsError::Write`].
    pub fn write(&self, path: &Path) -> Result<(), ResultsError> {
        let written = self
            .to_json()
            .map_err(std::io::Error::from)
            .and_then(|text| crate::files::write_whole(path, text.as_bytes()));
        written.map_err(|source| ResultsError::Write {
            path: path.to_owned(),
            source,
        })
    }

    /// Index of the baseline: the first case without a prefix that did not fail, else the first one called `baseline`, else the first one
    /// without a prefix, failed or not. `None` if there is none.
    pub fn baseline(&self) -> Option<usize> {
        let bare = self
            .results
            .iter()
            .position(|entry| !entry.has_prefix && !entry.is_failed());
        bare.or_else(|| self.results.iter().position(|entry| entry.name == "baseline"))
            .or_else(|| self.results.iter().position(|entry| !entry.has_prefix))
    }

    /// English sentences about replaced characters, and about entries whose text does not match their digest or length.
    pub fn doubts(&self) -> Vec<String> {
        let mut out = Vec::new();
        if self.replaced > 0 {
            out.push(format!(
                "{} characters of this file are halves of surrogate pairs and no text; each is read as U+FFFD (\u{FFFD}).",
                self.replaced
            ));
        }
        for entry in &self.results {
            let (sha1, len) = (sha1_hex(&entry.out_text), entry.out_text.chars().count());
            if !entry.out_sha1.is_empty() && !entry.out_sha1.eq_ignore_ascii_case(&sha1) {
                out.push(format!(
                    "The text of {:?} is not the one that was saved: its SHA-1 is {sha1}.",
                    entry.name
                ));
            } else if entry.out_len != 0 && entry.out_len != len {
                out.push(format!(
                    "{:?} says {} characters, its text has {len}.",
                    entry.name, entry.out_len
                ));
            }
        }
        out
    }
}

impl ResultEntry {
    /// A case with the fields that follow from its text (length, digest, preview).
    pub fn new(name: impl Into<String>, out_text: impl Into<String>, elapsed_sec: f64) -> Self {
        let out_text = out_text.into();
        Self {
            name: name.into(),
            elapsed_sec,
            out_len: out_text.chars().count(),
            out_sha1: sha1_hex(&out_text),
            out_preview: preview(&out_text),
            out_text,
            ..Self::default()
        }
    }

    /// The same case with a prefix of `prefix_len` rows and raw value `val`.
    pub fn with_prefix(mut self, prefix_len: usize, hidden_size: usize, val: Option<f64>) -> Self {
        self.has_prefix = true;
        self.prefix_len = prefix_len;
        self.hidden_size = hidden_size;
        self.val = val;
        self
    }

    /// The failure's sentence, if the case failed.
    pub fn error(&self) -> Option<&str> {
        self.extra.as_ref().and_then(|extra| extra.error.as_deref())
    }

    fn is_failed(&self) -> bool {
        self.error().is_some()
    }

    /// `is_newer` is whether our fields are of a newer version.
    fn take(mut fields: Fields, is_newer: bool) -> Result<Self, ResultsError> {
        Ok(Self {
            name: fields.text_needed("name")?,
            out_text: fields.text_needed("out_text")?,
            has_prefix: fields.truth("has_prefix")?.unwrap_or(false),
            prefix_len: fields.count_up_to("P", MAX_LEN)?,
            hidden_size: fields.count_up_to("H", MAX_HIDDEN_SIZE)?,
            val: fields.number("val")?,
            elapsed_sec: fields.number("elapsed_sec")?.unwrap_or(0.0),
            out_len: fields.count("out_len")?,
            out_sha1: fields.text("out_sha1")?,
            out_preview: fields.text("out_preview")?,
            extra: fields.extra(is_newer)?,
            other: fields.map,
        })
    }
}

impl Meta {
    fn take(mut fields: Fields) -> Result<Self, ResultsError> {
        Ok(Self {
            host: fields.text("host")?,
            port: fields.count("port")?,
            model: fields.text("model")?,
            system_prompt: fields.text("system_prompt")?,
            user_prompt: fields.text("user_prompt")?,
            response_format: fields.text("response_format")?,
            input_object_for_infer: fields.text("input_object_for_infer")?,
            max_token_len: fields.count("max_token_len")?,
            prefix_len: fields.count_up_to("P", MAX_LEN)?,
            hidden_size: fields.count_up_to("H", MAX_HIDDEN_SIZE)?,
            vals: fields.numbers("vals")?,
            saved_at_unix: fields.number("saved_at_unix")?.unwrap_or(0.0),
            other: fields.map,
        })
    }
}

/// An object whose known keys are taken out one by one, which leaves the unknown ones. `at` precedes a key in messages.
struct Fields {
    at: String,
    map: Map<String, Value>,
}

impl Fields {
    /// The value of `key`; null counts as absent.
    fn take(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key).filter(|value| !value.is_null())
    }

    fn missing(&self, key: &str) -> ResultsError {
        ResultsError::Missing {
            key: format!("\"{}{key}\"", self.at),
            found: names(&self.map),
        }
    }

    fn wrong(&self, key: &str, wanted: Bilingual<&'static str>, found: &Value) -> ResultsError {
        ResultsError::WrongType {
            key: format!("\"{}{key}\"", self.at),
            wanted,
            found: describe(found),
        }
    }

    fn object(&mut self, key: &str) -> Result<Map<String, Value>, ResultsError> {
        match self.take(key) {
            Some(Value::Object(map)) => Ok(map),
            Some(other) => Err(self.wrong(key, OBJECT, &other)),
            None => Err(self.missing(key)),
        }
    }

    fn array(&mut self, key: &str) -> Result<Vec<Value>, ResultsError> {
        match self.take(key) {
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(self.wrong(
                key,
                Bilingual {
                    en: "a list",
                    ja: "リスト",
                },
                &other,
            )),
            None => Err(self.missing(key)),
        }
    }

    fn text_needed(&mut self, key: &str) -> Result<String, ResultsError> {
        match self.take(key) {
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.wrong(key, TEXT, &other)),
            None => Err(self.missing(key)),
        }
    }

    fn text(&mut self, key: &str) -> Result<String, ResultsError> {
        match self.take(key) {
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.wrong(key, TEXT, &other)),
            None => Ok(String::new()),
        }
    }

    fn truth(&mut self, key: &str) -> Result<Option<bool>, ResultsError> {
        match self.take(key) {
            Some(Value::Bool(truth)) => Ok(Some(truth)),
            Some(other) => Err(self.wrong(
                key,
                Bilingual {
                    en: "true or false",
                    ja: "true か false",
                },
                &other,
            )),
            None => Ok(None),
        }
    }

    fn number(&mut self, key: &str) -> Result<Option<f64>, ResultsError> {
        match self.take(key) {
            Some(value) => value.as_f64().map(Some).ok_or_else(|| {
                self.wrong(
                    key,
                    Bilingual {
                        en: "a number",
                        ja: "数",
                    },
                    &value,
                )
            }),
            None => Ok(None),
        }
    }

    /// A whole number from 0 to `most`; 0 where absent. Bounded, since memory is allocated by it later.
    fn count_up_to(&mut self, key: &str, most: usize) -> Result<usize, ResultsError> {
        let count: usize = self.count(key)?;
        if count > most {
            return Err(self.wrong(
                key,
                Bilingual {
                    en: "a size that a prefix can have",
                    ja: "プレフィックスの大きさとして使える数",
                },
                &count.into(),
            ));
        }
        Ok(count)
    }

    fn count<T: TryFrom<u64> + Default>(&mut self, key: &str) -> Result<T, ResultsError> {
        let Some(value) = self.take(key) else {
            return Ok(T::default());
        };
        json::whole(&value).and_then(|n| T::try_from(n).ok()).ok_or_else(|| {
            self.wrong(
                key,
                Bilingual {
                    en: "a whole number in its range",
                    ja: "範囲内の整数",
                },
                &value,
            )
        })
    }

    fn numbers(&mut self, key: &str) -> Result<Vec<f64>, ResultsError> {
        let Some(value) = self.take(key) else {
            return Ok(Vec::new());
        };
        let numbers = value
            .as_array()
            .map(|items| items.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>());
        numbers.flatten().ok_or_else(|| {
            self.wrong(
                key,
                Bilingual {
                    en: "a list of numbers",
                    ja: "数のリスト",
                },
                &value,
            )
        })
    }

    /// Our object; `None` where absent. One of a newer version stays among the unknown keys, since the rest of the file
    /// can still be read.
    fn extra<T: serde::de::DeserializeOwned>(&mut self, is_newer: bool) -> Result<Option<T>, ResultsError> {
        if is_newer {
            return Ok(None);
        }
        let Some(value) = self.take(EXTRA) else { return Ok(None) };
        serde_json::from_value(value)
            .map(Some)
            .map_err(|error| ResultsError::WrongType {
                key: format!("\"{}{EXTRA}\"", self.at),
                wanted: Bilingual {
                    en: "as this program writes it",
                    ja: "本ソフトが書く形",
                },
                found: bilingual!("{error}", "別のもの（詳細：「{error}」）"),
            })
    }
}

/// Whether the file's own object is of a newer version.
fn is_newer(extra: Option<&Value>) -> bool {
    let version = extra.and_then(|extra| extra.get("version")).and_then(Value::as_u64);
    version.is_some_and(|version| version > EXTRA_VERSION.into())
}

/// A description of a value, for messages.
fn describe(value: &Value) -> Bilingual {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => bilingual!("{value}", "{value} "),
        Value::String(text) => {
            let text: String = text.chars().take(30).collect();
            bilingual!("the text {text:?}", "文字列 {text:?} ")
        }
        Value::Array(items) => {
            let count = items.len();
            bilingual!("a list of {count}", "{count} 個のリスト")
        }
        Value::Object(map) => {
            let Bilingual { en, ja } = names(map);
            bilingual!("an object with {en}", "オブジェクト（中身：{ja}）")
        }
    }
}

/// The keys of an object, for messages.
fn names(map: &Map<String, Value>) -> Bilingual {
    const MOST: usize = 6;
    if map.is_empty() {
        return bilingual!("nothing", "なし");
    }
    let shorten = |key: &String| format!("{:?}", key.chars().take(30).collect::<String>());
    let keys: Vec<String> = map.keys().take(MOST).map(shorten).collect();
    let keys = keys.join(", ");
    match map.len().saturating_sub(MOST) {
        0 => keys.into(),
        more => bilingual!("{keys}, {more} more", "{keys} ほか {more} 個"),
    }
}

/// SHA-1 of the UTF-8 text, lower-case hex.
pub fn sha1_hex(text: &str) -> String {
    hex::encode(Sha1::digest(text.as_bytes()))
}

/// The first 120 characters, with line feeds written as `\n`, and `…` where there is more.
pub fn preview(text: &str) -> String {
    let mut out: String = text.chars().take(PREVIEW).collect::<String>().replace('\n', "\\n");
    if text.chars().nth(PREVIEW).is_some() {
        out.push('…');
    }
    out
}

/// Writes whole seconds without a fraction, as scripts do.
fn whole_if_whole<S: serde::Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.fract() == 0.0 && value.abs() < 9e15 {
        serializer.serialize_i64(*value as i64)
    } else {
        serializer.serialize_f64(*value)
    }
}
