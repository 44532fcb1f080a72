//! A byte-level BPE vocabulary, from whatever file it was read.

/// How text is split before byte pairs are merged. Names are those of GGUF's `tokenizer.ggml.pre`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreTokenization {
    /// Qwen2 and Qwen2.5: NFC, the Qwen pattern (each digit alone).
    Qwen2,
    /// SmolLM and SmolLM2: each digit alone, then GPT-2's pattern.
    SmolLm,
}

/// The kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Text, written in the byte-level alphabet.
    Normal,
    /// A control token: `<|im_start|>`.
    Control,
    /// Text that is matched as a whole before splitting: `<tool_call>`.
    UserDefined,
    /// An unused id.
    Unused,
}

/// Tokens by id, and the merges by rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    /// Its file, for messages.
    pub source: String,
    /// Token texts: normal ones in the byte-level alphabet, the others literally.
    pub tokens: Vec<String>,
    /// One for each token.
    pub kinds: Vec<TokenKind>,
    /// Pairs in the byte-level alphabet; the first is merged first.
    pub merges: Vec<(String, String)>,
    /// How text is split before merging.
    pub pre: PreTokenization,
    /// Tokens that end a text besides the marks of the template.
    pub ends: Vec<u32>,
    /// The token that ends a turn of a chat; `None`: `<|im_end|>`, or else `<|endoftext|>`.
    pub turn_end: Option<u32>,
}
