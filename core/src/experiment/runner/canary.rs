//! The check of a stock module before its results are believed: a large prefix must change its text.

use crate::client::{InferenceRequest, Task};
use crate::compare::{Measures, Noise, Verdict};
use crate::experiment::analysis::Proof;
use crate::experiment::session::{Session, SessionError};
use crate::language::{Bilingual, term};
use crate::prefix::{Magnitude, PrefixKind, PrefixRecipe, SoftPrefix};
use crate::protocol::extension::Priority;

/// The result of the check whether a large prefix changes the text of a stock module.
#[derive(Clone, Debug, PartialEq)]
pub struct Canary {
    /// The conclusion from the texts.
    pub finding: CanaryFinding,
    /// The text without a prefix.
    pub baseline: String,
    /// The text with the large prefix.
    pub text: String,
}

/// The conclusion of a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanaryFinding {
    /// The text changed beyond the noise.
    Applied,
    /// The text stayed the same.
    NoEffect,
    /// The module's texts differ so much without a prefix that the change proves nothing.
    Inconclusive,
}

impl Canary {
    /// The finding as a sentence, with a remedy where one is needed.
    pub fn sentence(&self) -> Bilingual<&'static str> {
        match self.finding {
            CanaryFinding::Applied => term(
                "A large prefix changes the output: this module applies prefixes.",
                "大きなプレフィックスで出力が変わります。このモジュールはプレフィックスを適用しています。",
            ),
            CanaryFinding::NoEffect => Proof::NoEffect.sentence(),
            CanaryFinding::Inconclusive => term(
                "This module's outputs differ from run to run as much as a large prefix changes them, so it is not known whether it \
                 applies prefixes. Lower the temperature.",
                "このモジュールは、大きなプレフィックスによる変化と同じくらい毎回の出力が揺れるので、プレフィックスを適用しているかどうかはわかりません。温度を下げてください。",
            ),
        }
    }
}

/// The canary's prefix: the largest value of existing scripts.
const CANARY: PrefixRecipe = PrefixRecipe::new(PrefixKind::Constant, 1, Magnitude::Raw(2.0));

/// Runs the prompt without a prefix and with a large one. Where the texts differ, runs it without one again, to measure
/// the noise.
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
            Verdict::InsideNoise => CanaryFinding::Inconclusive,
            _ => CanaryFinding::Applied,
        }
    };
    Ok(Canary {
        finding,
        baseline,
        text,
    })
}
