//! What was run: cases, the points of the plot, and the measures that can be plotted.
//!
//! A case is everything but the prefix; its baseline is what all its runs are measured against.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use softprefix_core::compare::{Measure, Measures};

use super::{Finish, ModuleFacts, Origin, PromptForm, Sampling, Timings};

/// Names a run within this session. Ids only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub u64);

/// Names a case within this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CaseId(pub u64);

/// Everything that an output depends on, apart from the prefix. Two equal keys have the same baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseKey {
    /// The module's address; empty for the embedded one, whose port changes.
    pub module: String,
    pub model: String,
    pub system: String,
    pub user: String,
    pub max_tokens: usize,
    pub sampling: Sampling,
}

/// A case: its key, its baseline, and how far two baselines lie apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    pub id: CaseId,
    pub key: CaseKey,
    pub baseline: Option<BaselineRun>,
    pub noise: Noise,
    /// The baseline run again: what the noise floor was measured with, for the results file.
    pub repeats: Vec<BaselineRun>,
    /// H of the model it ran on.
    pub hidden_size: Option<usize>,
    /// The module it ran on, where that is known.
    pub facts: Option<Box<ModuleFacts>>,
}

/// A finished baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct BaselineRun {
    pub text: Arc<str>,
    pub timings: Timings,
    pub finish: Finish,
    pub tokens: Option<Vec<u32>>,
}

/// How far two runs of the baseline lie apart.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Noise {
    /// The baseline ran only once so far.
    #[default]
    Unknown,
    /// Two runs were equal, character by character.
    Deterministic,
    /// Two runs differ by this much: an effect inside is no effect.
    Floor(Box<Measures>),
}

impl Noise {
    /// Takes in what another repeat showed: once two baselines differed, equal ones prove nothing any more, and of two
    /// floors the lower one counts.
    pub fn learn(&mut self, shown: Self) {
        match (&*self, &shown) {
            (Self::Unknown, _) | (Self::Deterministic, Self::Floor(_)) => *self = shown,
            (Self::Floor(known), Self::Floor(new)) if new.chrf2 < known.chrf2 => *self = shown,
            _ => {}
        }
    }

    /// The noise floor in `measure`'s own units, where two baselines differ.
    pub fn floor(&self, measure: Measure) -> Option<f64> {
        match self {
            Self::Floor(measures) => measure.value(measures),
            Self::Unknown | Self::Deterministic => None,
        }
    }
}

/// One finished prefixed run: a point of the plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub id: RunId,
    pub case: CaseId,
    pub origin: Origin,
    /// P.
    pub len: usize,
    pub sha256: String,
    pub text: Arc<str>,
    pub measures: Measures,
    pub timings: Timings,
    pub finish: Finish,
    pub tokens: Option<Vec<u32>>,
    /// The output repeats itself beyond what its baseline does.
    pub collapsed: bool,
    /// Whether the module said that it took the prefix (its echo carries the digest of what was sent).
    pub applied: Applied,
}

impl Run {
    /// The x of its point: token norms where known, else the raw value.
    pub fn magnitude(&self) -> Option<f64> {
        self.origin.norms.or(self.origin.raw)
    }
}

/// Whether a prefix was applied, as far as can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The reply carries the digest of the prefix that was sent.
    Proven,
    /// No acceptance in the reply, but the output differs from the baseline beyond noise.
    Plausible,
    /// No acceptance, and the output equals the baseline although the prefix is large: it was probably ignored.
    Doubtful,
    /// No acceptance, and nothing can be concluded from the output.
    Unknown,
}

impl CaseKey {
    /// The key of what `prompt` asks of a module.
    pub fn new(module: String, model: String, prompt: &PromptForm) -> Self {
        Self {
            module,
            model,
            system: prompt.system.clone(),
            user: prompt.user.clone(),
            max_tokens: prompt.max_tokens,
            sampling: prompt.sampling,
        }
    }
}

/// A case and its runs: what a results file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub case: Case,
    pub runs: Vec<Run>,
}

/// How an inference ended.
#[derive(Debug, Clone, PartialEq)]
pub struct RunOutcome {
    /// The whole text.
    pub text: String,
    pub finish: Finish,
    pub timings: Timings,
    pub tokens: Option<Vec<u32>>,
    /// The reply carries the digest of the prefix that was sent.
    pub echoed: bool,
}
