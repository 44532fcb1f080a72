//! The chat template: system prompt and user text as the one text that the model gets.

/// A chat template of the ChatML family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTemplate {
    /// Whether a full stop is added to the system prompt.
    pub full_stop_after_system: bool,
}

impl ChatTemplate {
    /// The template of the stock unit's built-in Qwen tokenizer, including the full stop after the system prompt.
    ///
    /// The full stop is added by the stock unit (StackFlow `main_llm`, read there and recorded in PROTOCOL 2.2 and
    /// 5.2), not Qwen's. It is one token in front of every answer, so outputs can be compared with a module's only if
    /// it is there; a system prompt that ends with a full stop gets a second one there, and here.
    #[must_use]
    pub const fn qwen_stock() -> Self {
        Self {
            full_stop_after_system: true,
        }
    }

    /// Plain ChatML, as SmolLM2's own template writes a system and a user turn.
    #[must_use]
    pub const fn chatml() -> Self {
        Self {
            full_stop_after_system: false,
        }
    }

    /// The template for a model by its architecture's name in GGUF: the stock unit's for `qwen2`, ChatML for others.
    #[must_use]
    pub fn for_architecture(architecture: &str) -> Self {
        if architecture == "qwen2" {
            Self::qwen_stock()
        } else {
            Self::chatml()
        }
    }

    /// The whole text, up to the beginning of the model's answer.
    #[must_use]
    pub fn render(&self, system: &str, user: &str) -> String {
        let stop = if self.full_stop_after_system { "." } else { "" };
        format!(
            "<|im_start|>system\n{system}{stop}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_qwen_template_is_the_stock_units_with_its_added_full_stop() {
        assert_eq!(
            ChatTemplate::qwen_stock().render("You are helpful.", "Hi"),
            "<|im_start|>system\nYou are helpful..<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn smollm2_gets_plain_chatml() {
        assert_eq!(
            ChatTemplate::for_architecture("llama").render("S", "U"),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"
        );
    }
}
