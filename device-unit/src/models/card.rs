//! Key facts of a model file, and the StackFlow model card made from them. Reads metadata only.

use std::path::Path;

use serde_json::{Map, Value, json};
use softprefix_core::bilingual;

use crate::engine::cpu::config::Config;
use crate::engine::cpu::tensors;
use crate::gguf::GgufFile;
use crate::model::LoadError;
use crate::tokenizer::{CHAT_TEMPLATE, Vocabulary};

use super::catalogue::{Entry, MODULE_QWEN};

/// Key facts of a model file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// `qwen2`, `qwen3` or `llama`.
    pub architecture: String,
    /// `general.name` of the file.
    pub title: Option<String>,
    /// `general.license`; `None` where the file names none.
    pub license: Option<String>,
    /// Transformer layers (`axmodel_num` on a card).
    pub layers: usize,
    /// H (`tokens_embed_size`).
    pub hidden_size: usize,
    /// Rows of the embedding table (`tokens_embed_num`).
    pub vocab_size: usize,
    /// Context length of the model, in positions (`max_token_len`).
    pub window: usize,
    /// Bytes of its files together.
    pub bytes: u64,
    /// Number of its files.
    pub parts: usize,
    /// Whether it has a chat template of its own.
    pub has_chat_template: bool,
}

impl ModelInfo {
    /// Reads the header of a GGUF file, and checks that the CPU engine can run it: architecture, every key, every
    /// tensor, the vocabulary and the chat template.
    ///
    /// # Errors
    /// Those of [`GgufFile::open`], [`Config::read`] and [`tensors::check`]; [`LoadError::Vocabulary`].
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        let file = GgufFile::open(path)?;
        let config = Config::read(&file)?;
        let vocab_size = tensors::check(&file, &config)?.rows();
        let tokens = Vocabulary::check_gguf(&file)?;
        if tokens > vocab_size {
            return Err(LoadError::bad_file(
                path,
                bilingual!(
                    "its vocabulary has {tokens} tokens, its embedding table {vocab_size} rows",
                    "語彙は {tokens} トークンですが、埋め込みの表は {vocab_size} 行です"
                ),
            ));
        }
        Ok(Self {
            title: file.str("general.name").map(str::to_owned),
            license: file.str("general.license").map(str::to_owned),
            layers: config.layers,
            hidden_size: config.hidden_size,
            vocab_size,
            window: config.window,
            architecture: config.architecture,
            bytes: file.bytes(),
            parts: file.part_count(),
            has_chat_template: file.str(CHAT_TEMPLATE).is_some_and(|template| !template.is_empty()),
        })
    }

    /// Whether it has H, layers and vocabulary of the module's Qwen, so that prefixes made for one fit the other.
    #[must_use]
    pub fn is_qwen_half_billion(&self) -> bool {
        self.architecture == "qwen2" && self.layers == 24 && self.hidden_size == 896
    }

    /// The card's `mode_param`: the defaults of a set-up.
    ///
    /// Under the module's name it has no `max_token_len`, as the module's card has none, where that means 127: a client
    /// that asks by that name gets the lengths of the module.
    #[must_use]
    pub fn mode_param(&self, file_name: &str, by_module_name: bool) -> Map<String, Value> {
        let mut param = Map::new();
        // 1 is the built-in Qwen tokenizer; 5 ("auto") says that the model brings its own.
        param.insert(
            "tokenizer_type".into(),
            json!(if self.architecture == "qwen2" { 1 } else { 5 }),
        );
        param.insert("axmodel_num".into(), json!(self.layers));
        param.insert("tokens_embed_num".into(), json!(self.vocab_size));
        param.insert("tokens_embed_size".into(), json!(self.hidden_size));
        if !by_module_name {
            param.insert("max_token_len".into(), json!(self.window));
        }
        param.insert("b_bos".into(), json!(false));
        param.insert("b_eos".into(), json!(false));
        param.insert("filename_model".into(), json!(file_name));
        param
    }

    /// The model card under the model's own name.
    #[must_use]
    pub fn card(&self, name: &str, file_name: &str, entry: Option<&Entry>) -> Value {
        json!({
            "mode": name,
            "type": "llm",
            "homepage": entry.map_or_else(String::new, |entry| format!("https://huggingface.co/{}", entry.hub.repository)),
            "capabilities": ["text_generation", "chat"],
            "input_type": ["llm.utf-8", "llm.utf-8.stream"],
            "output_type": ["llm.utf-8", "llm.utf-8.stream"],
            "mode_param": self.mode_param(file_name, false),
            "softprefix": {
                "title": entry.map(|entry| entry.title.to_owned()).or_else(|| self.title.clone()),
                "license": entry.map(|entry| entry.license.to_owned()).or_else(|| self.license.clone()),
                "architecture": self.architecture,
                "bytes": self.bytes,
            },
        })
    }

    /// The card under the module's name for it. `softprefix.alias_of` names the card that describes the same model.
    #[must_use]
    pub fn module_card(&self, name: &str, file_name: &str, entry: Option<&Entry>) -> Value {
        let mut card = self.card(name, file_name, entry);
        card["mode"] = json!(MODULE_QWEN);
        card["mode_param"] = self.mode_param(file_name, true).into();
        card["softprefix"]["alias_of"] = json!(name);
        card
    }
}
