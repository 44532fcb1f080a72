//! Command line options that several commands share: the module, and the prompt.

use clap::Args;
use softprefix_core::experiment::{Prompt, Settings};
use softprefix_core::protocol::Sampling;

use crate::model::{PRESETS, Target};

/// The module to run on.
#[derive(Debug, Args)]
pub(super) struct TargetArgs {
    /// Where to run: `embedded`, or HOST or HOST:PORT of a StackFlow module.
    #[arg(long, default_value = "embedded", value_parser = crate::start::target)]
    module: Target,
    /// Model: a name that `softprefix models` (or the module) lists, or a GGUF file.
    #[arg(long)]
    model: Option<String>,
    /// Exit tasks that earlier clients left if they take all task slots of the module.
    #[arg(long)]
    pub exit_tasks: bool,
}

impl TargetArgs {
    pub fn target(&self) -> Target {
        self.module.clone().with_model(self.model.clone())
    }
}

/// One prompt, and the limit of its outputs.
#[derive(Debug, Args)]
pub(super) struct PromptArgs {
    /// The user prompt.
    #[arg(long = "prompt", value_name = "PROMPT")]
    pub user: String,
    /// The system prompt.
    #[arg(long, default_value = PRESETS[0].system)]
    pub system: String,
    /// Maximum number of output tokens.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: u32,
}

impl PromptArgs {
    pub fn prompt(&self) -> Prompt {
        Prompt {
            system: self.system.clone(),
            user: self.user.clone(),
        }
    }

    pub fn settings(&self) -> Settings {
        Settings::new(self.max_tokens as usize, &Sampling::default())
    }
}
