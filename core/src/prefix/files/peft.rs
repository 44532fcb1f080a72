//! The configuration of a PEFT adapter: the checks on import, and the configuration that is written on export.

use serde_json::Value;

use super::table::Table;
use super::{FileError, MoreThanRows};
use crate::json;
use crate::prefix::SoftPrefix;

/// The entries of `adapter_config.json` that are checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Adapter {
    pub peft_type: String,
    pub base_model: Option<String>,
    virtual_tokens: Option<u64>,
    token_dim: Option<u64>,
}

impl Adapter {
    /// Reads the configuration, and refuses adapters that are not soft prefixes.
    pub fn read(file: &str, bytes: &[u8]) -> Result<Self, FileError> {
        let malformed = |detail: String| FileError::Malformed {
            file: file.to_owned(),
            kind: "adapter_config.json",
            detail,
        };
        let config: Value = json::read(bytes).map_err(|error| malformed(error.to_string()))?.value;
        let text = |key: &str| config.get(key).and_then(Value::as_str).map(str::to_owned);
        let number = |key: &str| match config.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => json::whole(value)
                .map(Some)
                .ok_or_else(|| malformed(format!("its {key} is no whole number"))),
        };
        let peft_type = text("peft_type").ok_or_else(|| malformed("it has no peft_type".to_owned()))?;
        match peft_type.as_str() {
            "PROMPT_TUNING" | "P_TUNING" => {}
            "PREFIX_TUNING" => {
                return Err(FileError::PrefixTuning {
                    file: file.to_owned(),
                    evidence: "its peft_type is PREFIX_TUNING".to_owned(),
                });
            }
            _ => {
                return Err(FileError::OtherAdapter {
                    file: file.to_owned(),
                    peft_type: peft_type.chars().take(40).collect(),
                });
            }
        }
        if let Some(what) = other_changes(&config).map_err(malformed)? {
            return Err(FileError::MoreThanRows {
                file: file.to_owned(),
                what,
            });
        }
        if let Some(submodules) = number("num_transformer_submodules")?.filter(|&count| count > 1) {
            return Err(FileError::EncoderDecoder {
                file: file.to_owned(),
                submodules,
            });
        }
        Ok(Self {
            peft_type,
            base_model: text("base_model_name_or_path").filter(|name| !name.is_empty()),
            virtual_tokens: number("num_virtual_tokens")?,
            token_dim: number("token_dim")?,
        })
    }

    /// Checks the table against the configuration.
    pub fn check(&self, file: &str, table: &Table<'_>) -> Result<(), FileError> {
        let disagrees = |what, stated, found| FileError::Disagrees {
            file: file.to_owned(),
            what,
            stated,
            found,
        };
        if let Some(stated) = self.token_dim.filter(|&stated| stated != table.width as u64) {
            let hidden_size = usize::try_from(stated).unwrap_or(0);
            if table.is_flattened(hidden_size) {
                return Err(FileError::flattened(file, table.width));
            }
            return Err(layers_of(table.width, hidden_size).map_or_else(
                || disagrees("columns (token_dim)", stated, table.width),
                |layers| FileError::PrefixTuning {
                    file: file.to_owned(),
                    evidence: format!(
                        "its rows have {} values, {layers} layers x 2 x token_dim {stated}",
                        table.width
                    ),
                },
            ));
        }
        match self.virtual_tokens.filter(|&stated| stated != table.rows as u64) {
            Some(stated) => Err(disagrees("rows (num_virtual_tokens)", stated, table.rows)),
            None => Ok(()),
        }
    }
}

/// What an adapter does to a model beside its rows; `None` where it does nothing else.
///
/// # Errors
/// The entry that cannot be understood, as a clause.
fn other_changes(config: &Value) -> Result<Option<MoreThanRows>, String> {
    match config.get("task_type") {
        None | Some(Value::Null) => {}
        Some(Value::String(task)) if task == "CAUSAL_LM" => {}
        Some(Value::String(task)) => {
            let task: String = task.chars().take(40).collect();
            return Ok(Some(MoreThanRows::OtherTask { task }));
        }
        Some(_) => return Err("its task_type is no text".to_owned()),
    }
    let saved: Option<Vec<&str>> = match config.get("modules_to_save") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::String(name)) => Some(vec![name]),
        Some(Value::Array(names)) => names.iter().map(Value::as_str).collect(),
        Some(_) => None,
    };
    let saved = saved.ok_or("its modules_to_save is no list of names")?;
    let names: String = saved.join(", ").chars().take(80).collect();
    Ok((!saved.is_empty()).then_some(MoreThanRows::Modules { names }))
}

/// The number of layers of a prefix-tuning adapter with rows of this width; `None` where the width fits none. Few layers
/// are the width of a larger model: 3584 is that of Qwen2.5-7B, and 2 x 2 x 896.
pub(super) fn layers_of(width: usize, token_dim: usize) -> Option<usize> {
    const FEWEST: usize = 10;
    let pair = token_dim.checked_mul(2).filter(|&pair| pair > 0)?;
    let layers = width / pair;
    (width.is_multiple_of(pair) && layers >= FEWEST).then_some(layers)
}

/// A configuration with which PEFT loads `prefix` as prompt tuning.
pub(super) fn config(prefix: &SoftPrefix, base_model: Option<&str>) -> Value {
    serde_json::json!({
        "base_model_name_or_path": base_model,
        "inference_mode": true,
        "num_attention_heads": null,
        "num_layers": null,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": prefix.len(),
        "peft_type": "PROMPT_TUNING",
        "prompt_tuning_init": "RANDOM",
        "prompt_tuning_init_text": null,
        "revision": null,
        "task_type": "CAUSAL_LM",
        "token_dim": prefix.hidden_size(),
        "tokenizer_name_or_path": null,
    })
}
