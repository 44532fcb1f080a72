//! The chat template: system prompt and user text as the one text that the model gets.

use std::borrow::Cow;

#[cfg(feature = "cpu")]
use super::jinja::{JinjaTemplate, RenderError};
use super::{LONGEST_TEXT, TokenizerError};

/// A chat template: ChatML, or that of a model file.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    /// Whether a full stop is added to the system prompt.
    pub full_stop_after_system: bool,
    /// The file's own template, if it has one.
    #[cfg(feature = "cpu")]
    pub(super) own: Option<JinjaTemplate>,
    /// The token in front of each prompt, by its name, if the file asks for one.
    pub(super) bos: Option<String>,
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
            #[cfg(feature = "cpu")]
            own: None,
            bos: None,
        }
    }

    /// Plain ChatML, as SmolLM2's own template writes a system and a user turn.
    #[must_use]
    pub const fn chatml() -> Self {
        Self {
            full_stop_after_system: false,
            #[cfg(feature = "cpu")]
            own: None,
            bos: None,
        }
    }

    /// ChatML for a model by its architecture's name in GGUF: the stock unit's for `qwen2`, plain for others.
    #[must_use]
    pub fn for_architecture(architecture: &str) -> Self {
        if architecture == "qwen2" {
            Self::qwen_stock()
        } else {
            Self::chatml()
        }
    }

    /// The whole text, up to the beginning of the model's answer.
    ///
    /// # Errors
    /// [`TokenizerError::TextTooLong`] beyond [`LONGEST_TEXT`]; [`TokenizerError::TextRefused`] where a file's own template
    /// does not take these texts (ChatML takes all); [`TokenizerError::Template`] where this computer cannot render it.
    pub fn render(&self, system: &str, user: &str) -> Result<String, TokenizerError> {
        let bytes = system.len() + user.len();
        if bytes > LONGEST_TEXT {
            return Err(TokenizerError::TextTooLong {
                bytes,
                limit: LONGEST_TEXT,
            });
        }
        let system = if self.full_stop_after_system {
            Cow::Owned(format!("{system}."))
        } else {
            Cow::Borrowed(system)
        };
        let mut text = self.conversation(&system, user)?;
        // Many templates write it themselves.
        if let Some(bos) = self.bos.as_ref().filter(|bos| !text.starts_with(*bos)) {
            text.insert_str(0, bos);
        }
        Ok(text)
    }

    fn conversation(&self, system: &str, user: &str) -> Result<String, TokenizerError> {
        #[cfg(feature = "cpu")]
        if let Some(own) = &self.own {
            return own.render(system, user).map_err(|error| match error {
                RenderError::Refused(reason) => TokenizerError::TextRefused { reason },
                RenderError::Failed(detail) => TokenizerError::Template {
                    what: "the model".to_owned(),
                    reason: softprefix_core::bilingual!("{detail}", "詳細：「{detail}」"),
                },
            });
        }
        Ok(format!(
            "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_qwen_template_is_the_stock_units_with_its_added_full_stop() {
        assert_eq!(
            ChatTemplate::qwen_stock().render("You are helpful.", "Hi").unwrap(),
            "<|im_start|>system\nYou are helpful..<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn smollm2_gets_plain_chatml() {
        assert_eq!(
            ChatTemplate::for_architecture("llama").render("S", "U").unwrap(),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"
        );
    }
}
