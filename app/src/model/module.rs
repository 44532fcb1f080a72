//! The module as the workbench sees it: where it is, how far the connection has come, what it is.
//!
//! It knows no socket; the bridge reports, this remembers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
pub use softprefix_core::experiment::session::{ConnectStep, ModuleFacts};

use super::{Problem, Vocabulary};

/// Which module to work with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The device unit inside this process, on a loopback port. `model` is a catalogue name or a path to a GGUF file;
    /// `None` takes the default.
    Embedded { model: Option<String> },
    /// A StackFlow module: `host:port`, and the model to set up; `None` takes the module's own choice of language models.
    Remote {
        address: String,
        #[serde(default)]
        model: Option<String>,
    },
}

impl Default for Target {
    fn default() -> Self {
        Self::Embedded { model: None }
    }
}

impl Target {
    /// The port that llm-sys listens on.
    pub const DEFAULT_PORT: u16 = 10001;

    /// The target with the model that was named beside it.
    #[must_use]
    pub fn with_model(self, model: Option<String>) -> Self {
        match (self, model) {
            (target, None) => target,
            (Self::Embedded { .. }, model) => Self::Embedded { model },
            (Self::Remote { address, .. }, model) => Self::Remote { address, model },
        }
    }

    /// Reads `embedded`, `host` or `host:port`; a missing port is [`Target::DEFAULT_PORT`].
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("embedded") {
            return Some(Self::default());
        }
        if text.is_empty() || text.contains(char::is_whitespace) || text.contains('/') {
            return None;
        }
        // A bare IPv6 address has several colons and no brackets: it has no port.
        let has_port = match text.rsplit_once(':') {
            Some((host, port)) if text.starts_with('[') || !host.contains(':') => {
                if host.is_empty() {
                    return None;
                }
                if text.starts_with('[') && text.ends_with(']') {
                    false
                } else {
                    match port.parse::<u16>() {
                        Ok(port) if port > 0 => true,
                        _ => return None,
                    }
                }
            }
            _ => false,
        };
        let address = if has_port {
            text.to_owned()
        } else if text.contains(':') && !text.starts_with('[') {
            format!("[{text}]:{}", Self::DEFAULT_PORT)
        } else {
            format!("{text}:{}", Self::DEFAULT_PORT)
        };
        Some(Self::Remote { address, model: None })
    }
}

/// How far the connection has come.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum ModuleState {
    /// Nothing was asked for yet, or the person cancelled.
    #[default]
    Idle,
    /// The embedded module's model arrives over the network.
    Fetching(FetchProgress),
    /// The embedded module reads its model. `fraction` in 0..=1.
    Loading { model: String, fraction: f32, what: String },
    /// The connection or the set-up is under way.
    Connecting { what: ConnectStep },
    /// Inferences can be sent.
    Ready(Box<ModuleFacts>),
    /// It did not work, or it was lost. The last facts stay readable where there were any.
    Failed {
        problem: Problem,
        last: Option<Box<ModuleFacts>>,
    },
    /// All places are taken by tasks of former clients; they are exited only when the person agrees.
    TaskFull { tasks: Vec<String> },
    /// The embedded module has no model: the person cancelled the fetch, or it failed (then `problem` says why).
    NoModel { problem: Option<Problem> },
}

impl ModuleState {
    /// What the module is, when it is ready.
    pub fn facts(&self) -> Option<&ModuleFacts> {
        match self {
            Self::Ready(facts) => Some(facts),
            _ => None,
        }
    }

    /// What the module is, or last was: what sliders go by while the module is away.
    pub fn last_facts(&self) -> Option<&ModuleFacts> {
        match self {
            Self::Ready(facts) => Some(facts),
            Self::Failed { last, .. } => last.as_deref(),
            _ => None,
        }
    }

    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready(_))
    }

    /// Whether something is under way that ends by itself.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Fetching(_) | Self::Loading { .. } | Self::Connecting { .. })
    }
}

/// The module that stays in use where another one was asked for and is not ready.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    pub target: Target,
    pub facts: ModuleFacts,
    pub vocabulary: Option<Arc<Vocabulary>>,
}

/// How far a fetch has come.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FetchProgress {
    pub model: String,
    /// Where it comes from: a host's name.
    pub source: String,
    pub done_bytes: u64,
    /// `None` while the size is not known.
    pub total_bytes: Option<u64>,
    /// What is being done, in one or two words: "fetching", "checking".
    pub what: String,
}

impl FetchProgress {
    /// Share done, 0..=1, where the size is known.
    pub fn fraction(&self) -> Option<f32> {
        self.total_bytes
            .filter(|&total| total > 0)
            .map(|total| (self.done_bytes as f64 / total as f64).min(1.0) as f32)
    }
}

/// A model that the embedded module can run, or fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelChoice {
    /// What [`Target::Embedded`] names it by.
    pub name: String,
    /// Size of the file, in bytes.
    pub bytes: Option<u64>,
    /// Whether the file is on this machine.
    pub present: bool,
    /// The one that a first start fetches.
    pub default: bool,
    /// One line about it; where it cannot be used, the sentence that says why.
    pub about: String,
    /// Whether a file that is here can be used.
    pub usable: bool,
}
