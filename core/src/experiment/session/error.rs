//! Errors of a session.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tokio::task::JoinError;

use crate::client::ClientError;
use crate::prefix::PrefixError;
use crate::protocol::extension::feature;

/// Why a module could not be used, or a prefix not be built on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum SessionError {
    /// The client's request failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The recipe gives no prefix for this model.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// `lsmode` names no model of the LLM unit, and none was asked for.
    #[error(
        "{address} lists no language model. Install one on the module (for example qwen2.5-0.5B-prefill-20e), or name one that it does \
         not list."
    )]
    NoLanguageModel {
        /// `host:port` of the module.
        address: String,
    },
    /// Neither card nor unit names H, so no prefix can be built.
    #[error(
        "the module does not report the width of its model's rows (no tokens_embed_size on the card). Choose another model, or install \
         softprefix-unit on the module."
    )]
    NoHiddenSize,
    /// The recipe needs rows that the unit does not give out.
    #[error(
        "this module's unit does not provide {}, so such a prefix cannot be made here. Choose another kind of prefix, or a module with \
         softprefix-unit.",
        what(.feature)
    )]
    Unsupported {
        /// The feature that the unit does not have, one of [`feature`].
        feature: Cow<'static, str>,
    },
    /// Work on a blocking thread panicked. It holds the message of the panic.
    #[error("a part of this program failed ({0}). Choose other settings and report this.")]
    Panicked(String),
}

impl From<JoinError> for SessionError {
    fn from(error: JoinError) -> Self {
        Self::Panicked(error.to_string())
    }
}

fn what(feature: &str) -> &'static str {
    match feature {
        feature::EMBED => "its embedding rows",
        feature::SAMPLE => "rows of tokens that it draws",
        _ => "what the prefix needs",
    }
}

impl SessionError {
    /// The message, where the module is the unit in this process or another one. The unit in this process is restarted by no service, so
    /// that none is named for it.
    pub fn message(&self, is_embedded: bool) -> String {
        match self {
            Self::Client(error) if is_embedded => error.local_message(),
            error => error.to_string(),
        }
    }

    /// Whether the task can no longer be used, so that a new set-up is needed.
    pub fn needs_set_up(&self) -> bool {
        matches!(self, Self::Client(error) if error.needs_set_up())
    }

    /// The same error with another text in place of the one that had arrived; unchanged where it has none.
    #[must_use]
    pub fn with_text(self, text: &str) -> Self {
        match self {
            Self::Client(error) => Self::Client(error.with_text(text)),
            other => other,
        }
    }

    /// The text that arrived before an inference failed.
    pub fn text_so_far(&self) -> Option<&str> {
        match self {
            Self::Client(error) => error.text_so_far(),
            _ => None,
        }
    }
}
