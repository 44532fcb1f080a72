//! Model cards as `lsmode` lists them. A field of an unexpected type is left out; the rest of the card is kept.

use serde_json::{Map, Value};

use super::extension::{self, MAX_POSITIONS};
use crate::prefix::MAX_HIDDEN_SIZE;

/// `max_token_len` of a stock unit where the card has none.
const STOCK_MAX_POSITIONS: usize = 127;

/// Above the size of any embedding table.
const MAX_VOCABULARY: usize = 1 << 26;

/// A model's card. Sizes that no model has are left out.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelCard {
    /// The name by which a set-up asks for the model (`mode`).
    pub name: String,
    /// The unit that runs it: `llm`, `asr`, `tts` ... (`type`).
    pub kind: String,
    /// H (`tokens_embed_size`); only language models have one.
    pub hidden_size: Option<usize>,
    /// Rows of the embedding table (`tokens_embed_num`).
    pub vocab_size: Option<usize>,
    /// Positions that prefix, prompt and output share unless the set-up gives another number (`max_token_len`).
    pub max_positions: Option<usize>,
    /// Positions the model can hold at most, and so the largest `max_token_len` that has an effect.
    pub window: Option<usize>,
    /// Most rows before the first output: prefix + template + prompt.
    pub prefill_window: Option<usize>,
    /// `capabilities`, such as `text_generation`; empty where the card has none.
    pub capabilities: Vec<String>,
    /// `homepage`: where the model comes from.
    pub homepage: Option<String>,
    /// Whether the card is from our unit.
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

    /// Reads the data of a `lsmode` reply: the cards, and the number of entries that are not cards.
    pub fn read_all(data: &Value) -> (Vec<Self>, usize) {
        let entries = data.as_array().map(Vec::as_slice).unwrap_or_default();
        let cards: Vec<Self> = entries.iter().filter_map(Self::read).collect();
        let unreadable = entries.len() - cards.len();
        (cards, unreadable)
    }

    /// Whether the LLM unit can set it up.
    pub fn is_language_model(&self) -> bool {
        self.kind == "llm" || (self.kind.is_empty() && self.hidden_size.is_some())
    }
}

fn text(object: &Map<String, Value>, key: &str) -> Option<String> {
    object.get(key)?.as_str().map(str::to_owned)
}

/// A whole number up to `most`, also where it is written as text or with a fraction of zero. Bounded, since memory is
/// reserved by these numbers.
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
