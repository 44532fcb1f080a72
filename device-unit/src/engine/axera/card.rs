//! Model cards of a module: where `mode_<model>.json` is searched, and the parameters of an NPU model.

use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};
use softprefix_core::bilingual;
use softprefix_core::files;
use softprefix_core::prefix::MAX_HIDDEN_SIZE;

use crate::errors::LoadError;

/// Maximum size of a card.
const CARD_BYTES: u64 = 1 << 20;
/// Maximum number of layers; no model has as many.
const MAX_LAYERS: u64 = 1024;
/// Maximum size of a vocabulary; no model has as many.
const MAX_VOCAB: u64 = 1 << 24;
/// The `tokenizer_type` of models whose stock tokenizer is an HTTP server.
pub const HTTP_TOKENIZER: i64 = 2;

/// The folders of a module. Behind llm-sys they are read from its key store, so that a moved installation is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFolders {
    /// `config_base_mode_path`: the files of a model are in `base/<model>/`.
    pub base: PathBuf,
    /// `config_model_d`: the usual folder of the cards.
    pub cards: PathBuf,
    /// `config_base_mode_config_path`.
    pub etc: PathBuf,
    /// The working directory of the stock unit.
    pub current: PathBuf,
}

impl Default for ModelFolders {
    fn default() -> Self {
        Self {
            base: "/opt/m5stack/data/".into(),
            cards: "/opt/m5stack/data/models/".into(),
            etc: "/opt/m5stack/etc/".into(),
            current: "/opt/m5stack/".into(),
        }
    }
}

impl ModelFolders {
    /// Returns every path where the card of `model` can be, in the stock unit's order.
    #[must_use]
    pub fn candidates(&self, model: &str) -> Vec<PathBuf> {
        let (plain, prefixed) = (format!("{model}.json"), format!("mode_{model}.json"));
        let share = self.base.join("../share");
        [&self.current, &self.base.join(model), &self.cards, &self.etc, &share]
            .into_iter()
            .flat_map(|folder| [folder.join(&plain), folder.join(&prefixed)])
            .collect()
    }

    /// Finds and reads a card. The first file that opens is used, even if it is damaged, as the stock unit does.
    ///
    /// # Errors
    /// [`LoadError::UnknownModel`] if there is no card, [`LoadError::BadFile`] if it is not valid.
    pub fn card(&self, model: &str) -> Result<(PathBuf, Value), LoadError> {
        // The name becomes part of a path and must not leave the folders.
        if model.is_empty() || model.contains(['/', '\\', '\0']) || model == "." || model == ".." {
            return Err(LoadError::UnknownModel { name: model.to_owned() });
        }
        for path in self.candidates(model) {
            let text = match files::read_text(&path, CARD_BYTES) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    tracing::warn!(%error, "skipping {}", path.display());
                    continue;
                }
            };
            let card: Value = serde_json::from_str(&text).map_err(|error| {
                let reason = bilingual!("it is not JSON ({error})", "JSON ではありません（詳細：「{error}」）");
                LoadError::bad_file(&path, reason)
            })?;
            if !card.get("mode_param").is_some_and(Value::is_object) {
                let reason = bilingual!(
                    "it has no object \"mode_param\"",
                    "\"mode_param\" というオブジェクトがありません"
                );
                return Err(LoadError::bad_file(path, reason));
            }
            return Ok((path, card));
        }
        Err(LoadError::UnknownModel { name: model.to_owned() })
    }

    /// Returns the cards of all language models in the cards' folder, as `lsmode` lists them.
    #[must_use]
    pub fn all_cards(&self) -> Vec<Value> {
        let Ok(entries) = std::fs::read_dir(&self.cards) else {
            return Vec::new();
        };
        let mut paths: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "json"))
            .collect();
        paths.sort();
        paths
            .iter()
            .filter_map(|path| {
                let read = files::read_text(path, CARD_BYTES).map_err(|error| error.to_string());
                let card = read.and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()));
                card.inspect_err(|error| tracing::warn!("{} is not listed: {error}", path.display()))
                    .ok()
            })
            .collect()
    }
}

/// The parameters of an NPU model: its card with the keys of a set-up on top.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelParameters {
    /// `tokenizer_type`: 1 is the stock unit's built-in Qwen tokenizer, 2 a tokenizer folder.
    pub tokenizer_type: i64,
    /// `url_tokenizer_model`, in the model's folder.
    pub tokenizer_file: String,
    /// `filename_tokens_embed`: rows of the embedding table, in the model's folder.
    pub embeddings_file: String,
    /// `filename_post_axmodel`: the output layer, in the model's folder.
    pub post_model_file: String,
    /// `template_filename_axmodel`, with `%d` for the layer's number.
    pub layer_template: String,
    /// `axmodel_num`: number of layer files.
    pub layers: usize,
    /// `tokens_embed_num`.
    pub vocab_size: usize,
    /// `tokens_embed_size`, H.
    pub hidden_size: usize,
    /// `b_dynamic_load_axmodel_layer`: load each layer for each use.
    pub dynamic_layers: bool,
    /// All of `mode_param` with the overrides.
    pub settings: Map<String, Value>,
}

impl ModelParameters {
    /// Reads `mode_param` of a card. Keys of `overrides` take precedence.
    ///
    /// # Errors
    /// [`LoadError::BadSetting`] with the key, its value and the allowed values.
    pub fn read(path: &Path, card: &Value, overrides: &Map<String, Value>) -> Result<Self, LoadError> {
        let mut settings = card
            .get("mode_param")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        for (key, value) in overrides {
            settings.insert(key.clone(), value.clone());
        }
        let bad = |key: &str, wanted: &str| LoadError::BadSetting {
            key: key.to_owned(),
            value: settings
                .get(key)
                .map_or_else(|| "missing".to_owned(), ToString::to_string),
            remedy: format!("{} needs {wanted} there", path.display()),
        };
        let text = |key: &str| {
            settings
                .get(key)
                .and_then(Value::as_str)
                .map(str::to_owned)
                .ok_or_else(|| bad(key, "a text"))
        };
        let count = |key: &str, most: u64| {
            let number = settings.get(key).and_then(Value::as_u64);
            number
                .filter(|n| (1..=most).contains(n))
                .and_then(|n| usize::try_from(n).ok())
                .ok_or_else(|| bad(key, &format!("a whole number from 1 to {most}")))
        };
        let flag = |key: &str| match settings.get(key) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| bad(key, "true or false")),
        };
        // File names are joined to the model's folder and must not leave it.
        let file = |key: &str| {
            let name = text(key)?;
            if stays_inside(&name) {
                Ok(name)
            } else {
                Err(bad(key, "a file name inside the model's folder"))
            }
        };
        let layer_template = file("template_filename_axmodel")?;
        if layer_template.matches("%d").count() != 1 {
            return Err(bad(
                "template_filename_axmodel",
                "a file name with one %d for the layer's number",
            ));
        }
        let tokenizer_type = settings
            .get("tokenizer_type")
            .and_then(Value::as_i64)
            .ok_or_else(|| bad("tokenizer_type", "a number"))?;
        Ok(Self {
            tokenizer_type,
            // The address of a tokenizer server is not a file name, and is not used.
            tokenizer_file: match tokenizer_type {
                HTTP_TOKENIZER => text("filename_tokenizer_model")?,
                _ => file("filename_tokenizer_model")?,
            },
            embeddings_file: file("filename_tokens_embed")?,
            post_model_file: file("filename_post_axmodel")?,
            layer_template,
            layers: count("axmodel_num", MAX_LAYERS)?,
            vocab_size: count("tokens_embed_num", MAX_VOCAB)?,
            hidden_size: count("tokens_embed_size", MAX_HIDDEN_SIZE as u64)?,
            dynamic_layers: flag("b_dynamic_load_axmodel_layer")?,
            settings,
        })
    }
}

/// Returns `true` if `name`, joined to a folder, is a path inside that folder.
fn stays_inside(name: &str) -> bool {
    let path = Path::new(name);
    !name.is_empty()
        && !name.contains(['\0', '\\'])
        && path.components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn folders(root: &Path) -> ModelFolders {
        let folders = ModelFolders {
            base: root.join("data"),
            cards: root.join("data/models"),
            etc: root.join("etc"),
            current: root.join("run"),
        };
        for folder in [&folders.base, &folders.cards, &folders.etc, &folders.current] {
            std::fs::create_dir_all(folder).unwrap();
        }
        folders
    }

    #[test]
    fn cards_are_searched_in_the_stock_units_order() {
        let root = tempfile::tempdir().unwrap();
        let folders = folders(root.path());
        let write =
            |path: PathBuf, mark: u64| std::fs::write(path, json!({"mode_param": {"mark": mark}}).to_string()).unwrap();
        write(folders.etc.join("mode_m.json"), 3);
        write(folders.cards.join("mode_m.json"), 2);
        assert_eq!(folders.card("m").unwrap().1["mode_param"]["mark"], 2);
        write(folders.current.join("m.json"), 1);
        assert_eq!(folders.card("m").unwrap().1["mode_param"]["mark"], 1);
    }

    #[test]
    fn the_candidate_paths_are_those_of_the_stock_unit() {
        let expected = [
            "/opt/m5stack/m.json",
            "/opt/m5stack/mode_m.json",
            "/opt/m5stack/data/m/m.json",
            "/opt/m5stack/data/m/mode_m.json",
            "/opt/m5stack/data/models/m.json",
            "/opt/m5stack/data/models/mode_m.json",
            "/opt/m5stack/etc/m.json",
            "/opt/m5stack/etc/mode_m.json",
            "/opt/m5stack/data/../share/m.json",
            "/opt/m5stack/data/../share/mode_m.json",
        ];
        assert_eq!(ModelFolders::default().candidates("m"), expected.map(PathBuf::from));
    }

    #[test]
    fn a_damaged_card_is_an_error_even_if_another_path_has_a_valid_one() {
        let root = tempfile::tempdir().unwrap();
        let folders = folders(root.path());
        std::fs::write(folders.cards.join("mode_m.json"), "{").unwrap();
        std::fs::write(folders.etc.join("mode_m.json"), r#"{"mode_param":{}}"#).unwrap();
        assert!(matches!(folders.card("m"), Err(LoadError::BadFile { path, .. }) if path.starts_with(&folders.cards)));
    }

    #[test]
    fn a_model_name_that_leaves_the_folders_is_unknown() {
        let root = tempfile::tempdir().unwrap();
        let folders = folders(root.path());
        std::fs::write(root.path().join("x.json"), r#"{"mode_param":{}}"#).unwrap();
        for name in ["../x", "", "..", "a/b", "x\0"] {
            assert!(
                matches!(folders.card(name), Err(LoadError::UnknownModel { .. })),
                "{name:?}"
            );
        }
    }

    #[test]
    fn keys_of_the_set_up_override_the_card() {
        let card = json!({"mode_param": {
            "tokenizer_type": 1, "filename_tokenizer_model": "qwen.tiktoken", "filename_tokens_embed": "e.bin",
            "filename_post_axmodel": "post.axmodel", "template_filename_axmodel": "l%d.axmodel", "axmodel_num": 24,
            "tokens_embed_num": 151936, "tokens_embed_size": 896, "max_token_len": 127 }});
        let overrides = json!({"max_token_len": 300, "enable_top_k_sampling": false});
        let parameters = ModelParameters::read(Path::new("c.json"), &card, overrides.as_object().unwrap()).unwrap();
        assert_eq!(parameters.settings["max_token_len"], 300);
        assert_eq!(parameters.hidden_size, 896);
        assert_eq!(parameters.settings["enable_top_k_sampling"], false);
    }

    #[test]
    fn an_invalid_or_missing_key_is_named() {
        for (key, value) in [
            ("axmodel_num", json!(0)),
            ("axmodel_num", json!(1_000_000_000_000_u64)),
            ("tokens_embed_size", json!(1_000_000_000_000_u64)),
            ("tokens_embed_num", json!(u64::MAX)),
            ("filename_tokenizer_model", json!("/dev/zero")),
            ("filename_tokens_embed", json!("../../etc/shadow")),
            ("filename_post_axmodel", json!("")),
            ("template_filename_axmodel", json!("/dev/%d")),
            ("tokens_embed_size", json!("896")),
            ("template_filename_axmodel", json!("a.axmodel")),
        ] {
            let mut card = json!({"mode_param": {
                "tokenizer_type": 1, "filename_tokenizer_model": "qwen.tiktoken", "filename_tokens_embed": "e.bin",
                "filename_post_axmodel": "post.axmodel", "template_filename_axmodel": "l%d.axmodel", "axmodel_num": 24,
                "tokens_embed_num": 151936, "tokens_embed_size": 896 }});
            card["mode_param"][key] = value;
            let error = ModelParameters::read(Path::new("c.json"), &card, &Map::new()).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }

    #[test]
    fn file_names_that_leave_the_folder_are_detected() {
        for inside in ["qwen.tiktoken", "tokenizer/tokenizer.json", "l%d.axmodel", "..x"] {
            assert!(stays_inside(inside), "{inside}");
        }
        for outside in ["", "/dev/zero", "..", "../x", "a/../../x", "./x", "a\\b", "a\0b"] {
            assert!(!stays_inside(outside), "{outside:?}");
        }
    }
}
