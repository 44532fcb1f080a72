//! How system prompt and user text become the one text that the model is given.

/// A chat template of the ChatML family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTemplate {
    /// The stock unit's built-in Qwen template adds a full stop to the system prompt (PROTOCOL 5.2).
    pub full_stop_after_system: bool,
}
