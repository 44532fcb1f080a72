//! Models in a module's folders for the NPU engine: card, layers, tokenizer and settings.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::{Map, Value};
use softprefix_core::files;

use crate::engine::EngineError;
use crate::engine::axera::{AxeraEngine, HTTP_TOKENIZER, ModelFolders, ModelParameters, Runtime, RuntimeError};
use crate::errors::LoadError;
use crate::model::{LoadProgress, LoadedModel, ModelSource};
use crate::tokenizer::{ChatTemplate, Tokenizer};

/// Largest settings file that is read.
const POST_CONFIG_BYTES: u64 = 1 << 20;
/// The tokenizer kind of a card (`tokenizer_type`) that is built into the stock unit.
const QWEN_TIKTOKEN: i64 = 1;

/// A [`ModelSource`] over a module's model folders. The runtime is opened for the first model and closed after the
/// last.
pub struct AxeraModels {
    folders: ModelFolders,
    libraries: Vec<PathBuf>,
    runtime: Mutex<Weak<Runtime>>,
}

impl AxeraModels {
    /// A source over `folders`, with the runtime from `libraries`, usually
    /// [`default_library_folders`](crate::engine::axera::default_library_folders).
    #[must_use]
    pub fn new(folders: ModelFolders, libraries: Vec<PathBuf>) -> Self {
        Self {
            folders,
            libraries,
            runtime: Mutex::new(Weak::new()),
        }
    }

    fn runtime(&self) -> Result<Arc<Runtime>, RuntimeError> {
        let mut shared = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = shared.upgrade() {
            return Ok(runtime);
        }
        let runtime = Runtime::open(&self.libraries)?;
        *shared = Arc::downgrade(&runtime);
        Ok(runtime)
    }
}

impl ModelSource for AxeraModels {
    fn cards(&self) -> Vec<Value> {
        self.folders.all_cards()
    }

    fn load(
        &self,
        model: &str,
        overrides: &Map<String, Value>,
        progress: &LoadProgress<'_>,
    ) -> Result<LoadedModel, LoadError> {
        let (card_path, card) = self.folders.card(model)?;
        let parameters = ModelParameters::read(&card_path, &card, overrides)?;
        let folder = self.folders.base.join(model);

        let tokenizer_file = match parameters.tokenizer_type {
            QWEN_TIKTOKEN => folder.join(&parameters.tokenizer_file),
            // The stock unit starts a Python server on this folder; its tokenizer.json has the same content.
            HTTP_TOKENIZER => folder.join("tokenizer/tokenizer.json"),
            other => {
                return Err(LoadError::BadSetting {
                    key: "tokenizer_type".into(),
                    value: other.to_string(),
                    remedy: "this unit reads qwen.tiktoken (1) and a tokenizer folder (2): keep the stock unit for this model".into(),
                });
            }
        };
        let tokenizer = if parameters.tokenizer_type == QWEN_TIKTOKEN {
            Tokenizer::from_qwen_tiktoken(&tokenizer_file)
        } else {
            Tokenizer::from_tokenizer_json(&tokenizer_file)
        }?;

        // The built-in tokenizer's template adds a full stop; the tokenizer servers apply the model's own, which does not.
        let template = if parameters.tokenizer_type == QWEN_TIKTOKEN {
            ChatTemplate::qwen_stock()
        } else {
            ChatTemplate::chatml()
        };
        let runtime = self.runtime().map_err(EngineError::from)?;
        let engine = AxeraEngine::load(&runtime, &folder, &parameters, progress)?;
        Ok(LoadedModel {
            engine: Box::new(engine),
            stop_tokens: tokenizer.stop_tokens(),
            tokenizer: Arc::new(tokenizer),
            template,
            settings: with_post_config(parameters.settings, &self.folders),
            digest: None,
        })
    }
}

/// `post_config.json` in the working folder holds sampling keys, below the card's and the set-up's.
fn with_post_config(mut settings: Map<String, Value>, folders: &ModelFolders) -> Map<String, Value> {
    let file = folders.current.join("post_config.json");
    let text = match files::read_text(&file, POST_CONFIG_BYTES) {
        Ok(text) => text,
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!("{} is ignored: {error}", file.display());
            }
            return settings;
        }
    };
    match serde_json::from_str::<Map<String, Value>>(&text) {
        Ok(post) => {
            for (key, value) in post {
                settings.entry(key).or_insert(value);
            }
        }
        Err(error) => tracing::warn!("{} is ignored: it is not a JSON object ({error})", file.display()),
    }
    settings
}
