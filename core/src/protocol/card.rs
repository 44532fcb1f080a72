//! Model cards as `lsmode` lists them, read leniently: a card of which one field is odd is still a card. It opens no files.

use serde_json::{Map, Value};

use super::extension::{self, MAX_POSITIONS};
use crate::prefix::MAX_HIDDEN_SIZE;

/// What a stock unit takes for `max_token_len` where the card says nothing.
const STOCK_MAX_POSITIONS: usize = 127;

/// More rows than any embedding table has.
const MAX_VOCABULARY: usize = 1 << 26;

/// What a card tells about a model. Numbers are sizes that a model can have; others were left out.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelCard {
    /// The name a set-up asks for (`mode`).
    pub name: String,
    /// Which unit runs it: `llm`, `asr`, `tts` ... (`type`).
    pub kind: String,
    /// H (`tokens_embed_size`); only language models have one.
    pub hidden_size: Option<usize>,
    /// Rows of the embedding table (`tokens_embed_num`).
    pub vocab_size: Option<usize>,
    /// Positions that prefix, prompt and output share if the set-up says nothing (`max_token_len`).
    pub max_positions: Option<usize>,
    /// Positions the model can hold at most, and so the largest `max_token_len` that has an effect.
    pub window: Option<usize>,
    /// Most rows before the first output: prefix + template + prompt.
    pub prefill_window: Option<usize>,
    /// `capabilities`, such as `text_generation`; empty where the card has none.
    pub capabilities: Vec<String>,
    /// `homepage`: where the model comes from.
    pub homepage: Option<String>,
    /// Whether the card is of our unit.
    pub ours: bool,
    /// The card as it came.
    pub raw: Value,
}

impl ModelCard {
    /// Reads one card; `None` where it has no name.
    pub fn read(card: &Value) -> Option<Self> {
        let top = card.as_object()?;
        let name = top
            .get("mode")
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty())?
            .to_owned();
        let empty = Map::new();
        let param = top.get("mode_param").and_then(Value::as_object).unwrap_or(&empty);
        let flags = top.get("compile_flage").and_then(Value::as_str).unwrap_or_default();
        let kind = text(top, "type").unwrap_or_default();
        let language = kind == "llm" || kind == "vlm";
        let stated = number(param, "max_token_len", MAX_POSITIONS);
        let max_positions = stated.or(language.then_some(STOCK_MAX_POSITIONS));
        Some(Self {
            name,
            hidden_size: number(param, "tokens_embed_size", MAX_HIDDEN_SIZE),
            vocab_size: number(param, "tokens_embed_num", MAX_VOCABULARY),
            max_positions,
            window: flag(flags, "--kv_cache_len").or(stated),
            prefill_window: flag(flags, "--prefill_len").or(number(param, "prefill_token_num", MAX_POSITIONS)),
            capabilities: top.get("capabilities").map(texts).unwrap_or_default(),
            homepage: text(top, "homepage"),
            ours: extension::is_marked(card),
            kind,
            raw: card.clone(),
        })
    }

    /// Reads the data of a `lsmode` reply. What is no card is left out.
    pub fn read_all(data: &Value) -> Vec<Self> {
        data.as_array()
            .map(|cards| cards.iter().filter_map(Self::read).collect())
            .unwrap_or_default()
    }

    /// Whether a set-up of the LLM unit can name it.
    pub fn is_language_model(&self) -> bool {
        self.kind == "llm" || (self.kind.is_empty() && self.hidden_size.is_some())
    }
}

fn text(object: &Map<String, Value>, key: &str) -> Option<String> {
    object.get(key)?.as_str().map(str::to_owned)
}

/// A whole number up to `most`, also where it was written as text or with a fraction of zero. By these numbers memory is taken.
fn number(object: &Map<String, Value>, key: &str, most: usize) -> Option<usize> {
    let number: Option<usize> = match object.get(key)? {
        Value::Number(number) => number
            .as_u64()
            .and_then(|value| usize::try_from(value).ok())
            .or_else(|| {
                number
                    .as_f64()
                    .filter(|value| value.fract() == 0.0 && (0.0..1e15).contains(value))
                    .map(|value| value as usize)
            }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|&number| number <= most)
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::String(one) => vec![one.clone()],
        _ => Vec::new(),
    }
}

/// The number after `name` in a compiler's command line, as cards record it.
fn flag(flags: &str, name: &str) -> Option<usize> {
    let mut words = flags.split([' ', '=', ';']).filter(|word| !word.is_empty());
    words.find(|word| *word == name)?;
    words
        .next()?
        .parse()
        .ok()
        .filter(|&positions| positions <= MAX_POSITIONS)
}
