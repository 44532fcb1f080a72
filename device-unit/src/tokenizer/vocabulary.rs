//! A byte-level BPE vocabulary, whatever file it came from. It knows nothing of files.

/// How text is cut before byte pairs are merged. Named as GGUF's `tokenizer.ggml.pre` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreTokenization {
    /// Qwen2 and Qwen2.5: NFC, the Qwen pattern (each digit alone).
    Qwen2,
    /// SmolLM and SmolLM2: each digit alone, then GPT-2's pattern.
    SmolLm,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Text, written in the byte-level alphabet.
    Normal,
    /// A mark that is no text: `<|im_start|>`.
    Control,
    /// Text found as a whole before anything else is done: `<tool_call>`.
    UserDefined,
    /// An id that fills the table up.
    Unused,
}

/// Tokens by id, and the merges by rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    /// Where it came from, for messages.
    pub source: String,
    /// Token texts: normal ones in the byte-level alphabet, the others as they are.
    pub tokens: Vec<String>,
    /// As many as there are tokens.
    pub kinds: Vec<TokenKind>,
    /// Pairs in the byte-level alphabet; the first is merged first.
    pub merges: Vec<(String, String)>,
    pub pre: PreTokenization,
    /// Tokens that end a text besides the marks of the template.
    pub ends: Vec<u32>,
}
