//! A loaded model: engine, tokenizer, chat template and settings. `models` loads it; `scheduler` and `unit` run it.

use serde_json::{Map, Value};

use crate::engine::Engine;
pub use crate::engine::{LoadProgress, LoadStage};
pub use crate::errors::LoadError;
use crate::tokenizer::{ChatTemplate, Tokenizer};

/// A model with everything that an inference needs.
pub struct LoadedModel {
    /// The engine with the model's weights.
    pub engine: Box<dyn Engine>,
    /// The model's tokenizer.
    pub tokenizer: std::sync::Arc<Tokenizer>,
    /// Renders system prompt and user text as one text.
    pub template: ChatTemplate,
    /// Tokens that end an output.
    pub stop_tokens: Vec<u32>,
    /// The card's `mode_param`, with the `overrides` that the model was loaded with. A task's own settings (`max_token_len`, sampling) take
    /// precedence over these.
    pub settings: Map<String, Value>,
    /// SHA-256 of the model file, lower-case hex; `None` for a model in several files.
    pub digest: Option<String>,
}

/// A source of models for a unit.
pub trait ModelSource: Send + Sync {
    /// Returns the model cards, as `lsmode` lists them.
    fn cards(&self) -> Vec<Value>;

    /// Loads a model. Keys of `overrides`, those of a set-up that affect the loaded model, take precedence over the card's.
    ///
    /// # Errors
    /// A [`LoadError`].
    fn load(
        &self,
        model: &str,
        overrides: &Map<String, Value>,
        progress: &LoadProgress<'_>,
    ) -> Result<LoadedModel, LoadError>;
}
