//! Text to tokens and back: GGUF vocabularies, `tokenizer.json`, `qwen.tiktoken`, all as one type, and the chat template.
//!
//! It knows text and token ids; it knows no engine and no transport.

mod template;

pub use template::ChatTemplate;

/// A byte-level BPE tokenizer with its special tokens.
pub struct Tokenizer {}
