//! A model ready for work: engine, tokenizer, chat template and what the model card says of them.
//!
//! This is the seam between those who load models (`models`) and those who run them (`scheduler`,
//! `unit`). It knows no transport and no file format.

use serde_json::{Map, Value};

use crate::engine::Engine;
pub use crate::engine::Progress;
pub use crate::errors::LoadError;
use crate::tokenizer::{ChatTemplate, Tokenizer};

/// Everything an inference needs of one model.
pub struct LoadedModel {
    /// The name it is asked for by (`model` in a set-up).
    pub name: String,
    pub engine: Box<dyn Engine>,
    pub tokenizer: std::sync::Arc<Tokenizer>,
    pub template: ChatTemplate,
    /// Tokens that end a text.
    pub stop_tokens: Vec<u32>,
    /// The card's `mode_param` with the set-up's keys over it: `max_token_len`, the sampling keys. Empty where a model has no card.
    pub settings: Map<String, Value>,
    /// SHA-256 of the model file, lower-case hex, where it is one file.
    pub digest: Option<String>,
}

/// Where the unit gets its models from.
pub trait ModelSource: Send + Sync {
    /// The model cards, as `lsmode` lists them.
    fn cards(&self) -> Vec<Value>;

    /// Loads the model that a set-up names. `overrides` is the set-up's `data`: its keys win over the card's.
    ///
    /// # Errors
    /// A [`LoadError`] that says what is wrong with which file.
    fn load(
        &self,
        model: &str,
        overrides: &Map<String, Value>,
        progress: &Progress<'_>,
    ) -> Result<LoadedModel, LoadError>;
}
