//! The proof asked of a stock module: a large prefix must change its text. It knows a session, and no plan.

use crate::client::{InferenceRequest, Task};
use crate::compare::{Measures, Noise, Verdict};
use crate::experiment::analysis::Proof;
use crate::experiment::session::{Session, SessionError};
use crate::prefix::{Magnitude, PrefixKind, PrefixRecipe, Rounding, SoftPrefix};
use crate::protocol::extension::Priority;

/// Whether a large prefix changes what a stock module says.
#[derive(Clone, Debug, PartialEq)]
pub struct Canary {
    /// What the two texts show.
    pub finding: CanaryFinding,
    /// The text without a prefix.
    pub baseline: String,
    /// The text with the large prefix.
    pub text: String,
}

/// What a canary showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanaryFinding {
    /// The text changed more than by itself.
    Applied,
    /// The text stayed the same.
    NoEffect,
    /// The module's texts differ so much by themselves that nothing can be said.
    CannotTell,
}

impl Canary {
    /// What a person should know.
    pub fn sentence(&self) -> &'static str {
        match self.finding {
            CanaryFinding::Applied => "A large prefix changes the text: this module uses prefixes.",
            CanaryFinding::NoEffect => Proof::NoEffect.sentence(),
            CanaryFinding::CannotTell => {
                "This module's texts differ from run to run as much as a large prefix changes them, so nothing proves that prefixes \
                 are used. Turn its sampling down, or run more baselines."
            }
        }
    }
}

/// The canary's prefix: the largest value of existing scripts.
const CANARY: PrefixRecipe = PrefixRecipe {
    kind: PrefixKind::Constant,
    len: 1,
    magnitude: Magnitude::Raw(2.0),
    rounding: Rounding::NearestEven,
};

/// Asks without a prefix and with a large one. Where the texts differ, asks without one again: perhaps they always do.
pub(super) async fn canary(session: &Session, task: &Task, prompt: &str) -> Result<Canary, SessionError> {
    let ask = async |prefix: Option<SoftPrefix>| -> Result<String, SessionError> {
        let request = InferenceRequest::new(prompt).prefix(prefix).priority(Priority::Batch);
        Ok(task.infer(request).outcome().await?.text)
    };
    let baseline = ask(None).await?;
    let text = ask(Some(session.build(&CANARY).await?)).await?;
    let measures = Measures::of(&baseline, &text);
    let finding = if measures.is_same() {
        CanaryFinding::NoEffect
    } else {
        let noise = Noise::of([&Measures::of(&baseline, &ask(None).await?)]);
        match Verdict::of(&measures, noise.as_ref()) {
            Verdict::InsideNoise => CanaryFinding::CannotTell,
            _ => CanaryFinding::Applied,
        }
    };
    Ok(Canary {
        finding,
        baseline,
        text,
    })
}
