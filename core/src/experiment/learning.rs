//! Learning as an experiment. Its records are runs with the best rows so far; the rows themselves are in a file beside its journal
//! ([`Library::rows_of`](super::Library::rows_of)).

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::record::ModuleIdentity;
use crate::prefix::{Learned, LearnedInit, LearningSettings};
use crate::protocol::learn::{DEFAULT_STEPS, Init, LearnFrame, LearnRequest, References};

/// Maximum number of characters of a prompt and a target in [`Learned`], which is part of every record of a run with the rows.
const SHOWN: usize = 200;
/// The text of [`Learned::objective`].
const OBJECTIVE: &str =
    "mean of -ln p over the targets' tokens, plus preserve_weight times the mean KL on the preserved prompts";

/// What a prefix is learned for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearnPlan {
    /// System prompt of the task.
    pub system: String,
    /// The request to the unit.
    pub request: LearnRequest,
}

/// The learning of a prefix, from its journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Learning {
    /// What the prefix is learned for.
    pub plan: LearnPlan,
    /// The unit's frames so far, without rows.
    pub frames: Vec<LearnFrame>,
}

impl LearnPlan {
    /// Returns how the best rows of `frame` were learned on `module`; `settings` are those of the first frame.
    pub fn learned(&self, settings: Option<LearningSettings>, module: &ModuleIdentity, frame: &LearnFrame) -> Learned {
        let request = &self.request;
        let data = json!({"examples": request.examples, "preserve": request.preserve});
        let first = request.examples.first();
        let beginning = |text: Option<&String>| text.map(|text| text.chars().take(SHOWN).collect()).unwrap_or_default();
        let init = match &request.init {
            Init::Target => LearnedInit::Target,
            Init::Words(words) => LearnedInit::Words(words.clone()),
            Init::Random => LearnedInit::Random,
            Init::Rows(_) => LearnedInit::Rows,
        };
        Learned {
            objective: OBJECTIVE.to_owned(),
            examples: request.examples.len(),
            preserved: request.preserve.len(),
            data_sha256: hex::encode(Sha256::digest(data.to_string())),
            first_prompt: beginning(first.map(|example| &example.prompt)),
            first_target: beginning(first.map(|example| &example.target)),
            init,
            norm_limit: request.norm_limit,
            seed: request.seed,
            settings,
            steps_asked: request.steps.unwrap_or(DEFAULT_STEPS),
            step: frame.best.step,
            loss: frame.best.loss.total,
            likelihood: frame.best.loss.likelihood,
            matched: frame.best.loss.matched,
            wanted: frame.best.loss.wanted,
            model: module.model.clone(),
            model_sha256: module.model_sha256.clone(),
            unit: module.unit.clone(),
        }
    }
}

impl Learning {
    /// Returns the last frame.
    pub fn last(&self) -> Option<&LearnFrame> {
        self.frames.last()
    }

    /// Returns the losses without a prefix, if the unit reported them.
    pub fn references(&self) -> Option<References> {
        self.frames.iter().find_map(|frame| frame.references)
    }

    /// Returns `true` if the unit has sent its last frame.
    pub fn is_finished(&self) -> bool {
        self.last().is_some_and(|frame| frame.finish)
    }
}
