//! The module as the workbench sees it: its address, the state of the connection, and what it is. The bridge reports
//! changes as events; the workbench stores them in these types.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
pub use softprefix_core::experiment::session::{ConnectStep, ModuleFacts};
pub use softprefix_unit::model::LoadStage;

use super::{Bilingual, Problem, Vocabulary};

/// Which module to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The device unit inside this process, on a loopback port. `model` is a catalogue name or a path to a GGUF file;
    /// `None` takes the default.
    Embedded { model: Option<String> },
    /// A StackFlow module: `host:port`, and the model to set up; `None` takes the module's first language model.
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

    /// Returns the target with `model` in place of its own, where one is given.
    #[must_use]
    pub fn with_model(self, model: Option<String>) -> Self {
        match (self, model) {
            (target, None) => target,
            (Self::Embedded { .. }, model) => Self::Embedded { model },
            (Self::Remote { address, .. }, model) => Self::Remote { address, model },
        }
    }

    /// Parses `embedded`, `host` or `host:port`; the port defaults to [`Target::DEFAULT_PORT`].
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("embedded") {
            return Some(Self::default());
        }
        if text.is_empty() || text.contains(char::is_whitespace) || text.contains('/') {
            return None;
        }
        // A bare IPv6 address has several colons and no brackets, and thus no port.
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

/// State of the connection.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum ModuleState {
    /// Not connected yet, or the user cancelled.
    #[default]
    Idle,
    /// The embedded module's model is being downloaded.
    Fetching(FetchProgress),
    /// The embedded module loads its model. `fraction` is in 0..=1.
    Loading {
        model: String,
        fraction: f32,
        stage: LoadStage,
    },
    /// The connection is being opened or the model set up.
    Connecting { what: ConnectStep },
    /// Inferences can be sent.
    Ready(Box<ModuleFacts>),
    /// The connection failed or was lost. Keeps the last facts of this module, if it was ready before.
    Failed {
        problem: Problem,
        last: Option<Box<ModuleFacts>>,
        /// The next or current attempt to reconnect.
        retry: Option<Retry>,
    },
    /// All task slots are taken by tasks of earlier clients; they are exited only if the user agrees.
    TaskFull { tasks: Vec<String> },
    /// The embedded module has no model: the download was cancelled, or failed with `problem`.
    NoModel { problem: Option<Problem> },
}

impl ModuleState {
    /// Returns what the module is, while it is ready.
    pub fn facts(&self) -> Option<&ModuleFacts> {
        match self {
            Self::Ready(facts) => Some(facts),
            _ => None,
        }
    }

    /// Returns what the module is, or was before it was lost: sliders use it while the module is away.
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

    /// Returns whether a step is running that ends by itself.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Fetching(_) | Self::Loading { .. } | Self::Connecting { .. })
    }
}

/// An attempt to reconnect to a lost module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Counts from 1.
    pub attempt: usize,
    /// Maximum number of attempts.
    pub of: usize,
}

/// The module that stays connected after another one was requested and failed.
#[derive(Debug, Clone, PartialEq)]
pub struct PreviousModule {
    pub target: Target,
    pub facts: ModuleFacts,
    pub vocabulary: Option<Arc<Vocabulary>>,
}

/// Progress of a download.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FetchProgress {
    /// Its name among [`ModelChoice`]s.
    pub name: String,
    /// Its title.
    pub model: String,
    /// Name of the host that it comes from.
    pub source: String,
    pub done_bytes: u64,
    /// `None` while the size is unknown.
    pub total_bytes: Option<u64>,
    /// What is being done, in one or two words: "fetching", "checking".
    pub what: String,
}

impl FetchProgress {
    /// Returns the completed share, 0..=1, if the size is known.
    pub fn fraction(&self) -> Option<f32> {
        self.total_bytes
            .filter(|&total| total > 0)
            .map(|total| (self.done_bytes as f64 / total as f64).min(1.0) as f32)
    }
}

/// A model that is downloaded while another one is in use.
#[derive(Debug, Clone, PartialEq)]
pub enum BackgroundFetch {
    Fetching(FetchProgress),
    /// It was downloaded under this name, and is used as soon as nothing runs.
    Arrived(String),
    /// It could not be downloaded.
    Failed {
        name: String,
        problem: Problem,
    },
}

impl BackgroundFetch {
    /// Returns the progress, while it is downloaded.
    pub fn progress(&self) -> Option<&FetchProgress> {
        match self {
            Self::Fetching(progress) => Some(progress),
            _ => None,
        }
    }
}

/// A model that the embedded module can run or download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelChoice {
    /// The name that [`Target::Embedded`] uses.
    pub name: String,
    /// Size of the file, in bytes.
    pub bytes: Option<u64>,
    /// Whether the file is on this machine.
    pub present: bool,
    /// Whether it is taken, or downloaded, where no model is named.
    pub default: bool,
    /// One line about it; for a file that cannot be used, the reason.
    pub about: Bilingual,
    /// Whether a file on this machine can be used.
    pub usable: bool,
    /// Whether its digest is in the catalogue, or it is not a model of the catalogue.
    pub verified: bool,
}
